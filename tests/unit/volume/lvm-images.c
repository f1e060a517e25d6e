/* lvm-images.c - physical volumes as LVM2 made them, for tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "lvm-images.h"

#define SIZE (1u << 30)

H2kDisk *
lvm_load (const char *name)
{
  g_autofree char *path
      = g_build_filename (g_getenv ("G_TEST_SRCDIR"), "fuzz", "corpus", "lvm", name, NULL);
  g_autofree char *data = NULL;
  H2kDisk *disk = h2k_memory_disk_new (SIZE);
  gsize size;

  g_assert_true (g_file_get_contents (path, &data, &size, NULL));
  for (gsize at = 0; at + 6 <= size;)
    {
      gsize length = h2k_le16 (data + at + 4);
      g_assert_true (h2k_disk_pwrite (disk, h2k_le32 (data + at), length, data + at + 6, NULL));
      at += 6 + length;
    }
  return disk;
}

static void
write_le (H2kDisk *disk, guint64 offset, guint length, guint64 value)
{
  value = GUINT64_TO_LE (value);
  g_assert_true (h2k_disk_pwrite (disk, offset, length, &value, NULL));
}

/* LVM's CRC: a start value of its own, and no inversion. */
static guint32
crc_of (const void *data, gsize length)
{
  return ~h2k_crc32 (~0xf597a6cfu, data, length);
}

void
lvm_seal (H2kDisk *disk, guint64 offset)
{
  guint8 header[512];

  g_assert_true (h2k_disk_pread (disk, offset, sizeof header, header, NULL));
  write_le (disk, offset, 4, crc_of (header + 4, sizeof header - 4));
}

char *
lvm_text (H2kDisk *disk, guint64 offset)
{
  guint8 header[512];
  char *text;
  guint64 at, size;

  g_assert_true (h2k_disk_pread (disk, offset, sizeof header, header, NULL));
  at = h2k_le64 (header + 40);
  size = h2k_le64 (header + 48);
  g_assert_cmpuint (at + size, <=, h2k_le64 (header + 32)); /* not wrapped */
  text = g_malloc0 (size + 1);
  g_assert_true (h2k_disk_pread (disk, offset + at, size, text, NULL));
  return text;
}

void
lvm_edit (H2kDisk *disk, guint64 offset, const char *from, const char *to)
{
  g_autofree char *text = lvm_text (disk, offset);
  g_autoptr (GString) edited = g_string_new (text);
  guint8 at[8];

  g_assert_cmpuint (g_string_replace (edited, from, to, 0), >, 0);
  g_assert_true (h2k_disk_pread (disk, offset + 40, sizeof at, at, NULL));
  g_assert_true (
      h2k_disk_pwrite (disk, offset + h2k_le64 (at), edited->len + 1, edited->str, NULL));
  write_le (disk, offset + 48, 8, edited->len + 1);
  write_le (disk, offset + 56, 4, crc_of (edited->str, edited->len + 1));
  lvm_seal (disk, offset);
}
