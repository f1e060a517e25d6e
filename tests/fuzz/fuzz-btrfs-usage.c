/* fuzz-btrfs-usage.c - any bytes as a btrfs filesystem, on one device or several, whose used blocks
 * are looked up. The first byte has options, btrfs-volume.h says what the rest is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "btrfs-volume.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = size ? btrfs_unpack (data + 1, size - 1) : NULL;

  if (disk)
    volume_ask (disk, data[0]);
  return 0;
}
