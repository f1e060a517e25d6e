/* fuzz-luks.c - LUKS headers, what their key slots ask for, and those that do not ask for much.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* Open the key slots that do not ask for much, as if the passphrase were right up to the digest. */
static void
open_slots (H2kDisk *disk, const H2kLuksHeader *header)
{
  guint8 key[H2K_LUKS_MAX_KEY];

  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (H2kLuksSlot) slot = h2k_luks_slot_read (disk, header, i, NULL);
      g_autoptr (H2kDisk) area = NULL;

      if (!slot || slot->iterations > 10 || slot->digest_iterations > 10 || slot->memory_kib > 256
          || slot->lanes > 4)
        continue;
      area = h2k_slice_new (disk, slot->offset, h2k_luks_slot_area (slot), "area", NULL);
      if (!area)
        g_error ("the key slot is not on the disk");
      h2k_luks_slot_open (slot, area, "", 0, key);
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (8u << 20), content = NULL;
  g_autoptr (H2kLuksHeader) header = NULL;
  g_autoptr (GPtrArray) secrets = g_ptr_array_new ();
  g_autoptr (GBytes) key = NULL;
  gint64 time_left = H2K_LUKS_TIME;
  guint8 zeros[64] = {1}, bytes[700];

  if (size > 0)
    h2k_disk_pwrite (disk, 0, MIN (size, 8u << 20), data, NULL);
  header = h2k_luks_header_read (disk, NULL);
  if (!header)
    return 0;
  /* Whatever it says, what it says is on the disk. */
  key = g_bytes_new (zeros, size % 2 ? 32 : 64);
  content = h2k_luks_disk_new (disk, header, key, "content", NULL);
  if (content
      && !h2k_disk_pread (content, content->size / 2,
                          (gsize)MIN (sizeof bytes, content->size - content->size / 2), bytes,
                          NULL))
    g_error ("the content is not on the disk");
  h2k_luks_start_gcrypt ();
  open_slots (disk, header);
  g_assert_null (h2k_luks_unlock (disk, header, secrets, &time_left, NULL));
  return 0;
}
