/* packed.c - what lies compressed by zstd below tests/fixtures/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "packed.h"

#include <zstd.h>

#define BLOCK 65536u
#define MAX_SIZE (96u << 20)

/* The content, with a zero behind it; NULL when there is no such file. */
static char *
unpack (const char *folder, const char *name, const char *file, gsize *size)
{
  g_autofree char *path = g_test_build_filename (G_TEST_DIST, "fixtures", folder, name, file, NULL);
  g_autofree char *packed = NULL, *data = NULL;
  unsigned long long length;
  gsize packed_size;

  if (!g_file_get_contents (path, &packed, &packed_size, NULL))
    return NULL;
  length = ZSTD_getFrameContentSize (packed, packed_size);
  g_assert_cmpuint (length, <=, MAX_SIZE);
  data = g_malloc (length + 1);
  g_assert_cmpuint (ZSTD_decompress (data, length, packed, packed_size), ==, length);
  data[length] = 0;
  *size = (gsize)length;
  return g_steal_pointer (&data);
}

H2kDisk *
packed_disk (const char *folder, const char *name, const char *file)
{
  gsize size = 0;
  g_autofree char *data = unpack (folder, name, file, &size);
  g_autoptr (H2kDisk) base = data ? h2k_memory_disk_new (size) : NULL;

  for (gsize at = 0; at < size; at += BLOCK)
    {
      gsize n = MIN (BLOCK, size - at);
      if (!h2k_is_zero (data + at, n))
        g_assert_true (h2k_disk_pwrite (base, at, n, data + at, NULL));
    }
  return base ? h2k_overlay_new (base, NULL, MAX_SIZE) : NULL;
}

char *
packed_text (const char *folder, const char *name, const char *file)
{
  gsize size;
  char *text = unpack (folder, name, file, &size);

  g_assert_nonnull (text);
  return text;
}
