/* fuzz-luks.c - LUKS headers, as far as they are read before libcryptsetup sees them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/luks.h"

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (8u << 20), content = NULL;
  g_autoptr (H2kLuksHeader) header = NULL;
  g_autoptr (GBytes) key = NULL;
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
  return 0;
}
