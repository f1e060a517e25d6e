/* fuzz-vdi.c - the input is a VDI image: it is opened, and its extents and content are read. What
 * an extent calls zero has to read as zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

#include <stdint.h>

#define MAX_READ (256 * 1024)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFile) file = h2k_file_new_memory ("/nonexistent/image.vdi", data, size);
  g_autoptr (H2kDisk) disk = h2k_vdi_format.open (file, NULL);
  g_autofree guint8 *buffer = g_malloc (MAX_READ);
  H2kExtent extent;
  guint64 at = 0;

  for (guint i = 0; disk && i < 64 && at < disk->size; i++, at += extent.length)
    {
      gsize n;
      if (!h2k_disk_extent (disk, at, disk->size, &extent, NULL))
        extent = (H2kExtent){at, 512, H2K_EXTENT_DATA};
      n = (gsize)MIN (extent.length, MAX_READ);
      if (h2k_disk_pread (disk, at, n, buffer, NULL) && extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (buffer, n));
      h2k_disk_pread (disk, at + n - 1, 1, buffer, NULL);
    }
  return 0;
}
