/* fuzz-fat-usage.c - any bytes as a FAT volume whose used blocks are looked up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  volume_look (data, size);
  return 0;
}
