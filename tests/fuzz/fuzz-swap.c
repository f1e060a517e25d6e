/* fuzz-swap.c - any bytes as a volume with a swap space, in front of 64 KiB of zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (size + 65536);
  g_autoptr (H2kUsage) usage = NULL;
  H2kFsId id = {.type = "swap"};

  if (size)
    h2k_disk_pwrite (disk, 0, size, data, NULL);
  usage = h2k_swap_usage_ops.open (disk, &id, FALSE, NULL);
  for (guint64 at = 0; usage && at < disk->size;)
    {
      H2kExtent extent;
      g_assert (usage->ops->used (usage, at, &extent, NULL));
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= disk->size - at);
      /* The page that says what the rest is for always stays. */
      g_assert (at >= 4096 || extent.kind == H2K_EXTENT_DATA);
      at += extent.length;
    }
  h2k_usage_free (g_steal_pointer (&usage));
  return 0;
}
