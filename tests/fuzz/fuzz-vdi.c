/* fuzz-vdi.c - the input is a VDI image: it is opened, and its extents and content are read. What
 * an extent calls zero has to read as zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFile) file = h2k_file_new_memory ("/nonexistent/image.vdi", data, size);
  g_autoptr (H2kDisk) disk = h2k_vdi_format.open (file, NULL);

  image_read (disk);
  return 0;
}
