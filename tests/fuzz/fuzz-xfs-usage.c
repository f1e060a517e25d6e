/* fuzz-xfs-usage.c - any bytes as an XFS volume: which of its blocks are in use is asked, from the
 * start to the end and here and there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "xfs-volume.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = xfs_unpack (data, size);
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, TRUE, NULL);
  H2kExtent extent;

  for (guint64 at = 0, n = 0; usage && at < VOLUME_SIZE && n < 1000; n++)
    {
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= VOLUME_SIZE - at);
      at += extent.length;
    }
  for (guint64 at = VOLUME_SIZE; usage && at > 0; at -= MIN (at, 999999))
    usage->ops->used (usage, at - 1, &extent, NULL);
  return 0;
}
