/* fuzz-xfs.c - any bytes as an XFS volume whose files are looked at.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "xfs-volume.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = xfs_unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  guint budget = 60;

  if (fs && g_str_equal (fs->ops->name, "xfs"))
    volume_look (fs, "/", 0, &budget);
  return 0;
}
