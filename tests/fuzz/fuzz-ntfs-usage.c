/* fuzz-ntfs-usage.c - any bytes as a NTFS volume whose used blocks are looked up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = size ? volume_unpack (data + 1, size - 1) : NULL;

  if (disk)
    volume_ask (disk, data[0]);
  return 0;
}
