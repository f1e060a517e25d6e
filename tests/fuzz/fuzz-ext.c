/* fuzz-ext.c - any bytes as a volume: recognise it, open it, look at all its files, change a
 * little.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/check.h"

#define VOLUME_SIZE (4u << 20)
#include "volume.h"

static void
look_at_usage (H2kDisk *disk)
{
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, TRUE, NULL);

  for (guint64 at = 0, n = 0; usage && at < VOLUME_SIZE && n < 1000; n++)
    {
      H2kExtent extent;
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.length > 0);
      at += extent.length;
    }
}

static void
check (H2kFs *fs)
{
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();

  h2k_fs_check (fs, result, NULL, NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = volume_unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  guint budget = 50;

  if (!fs)
    return 0;
  check (fs);
  volume_look (fs, "/", 0, &budget);
  look_at_usage (disk);
  if (fs->ops->create (fs, "/fuzz", 0644, 0, 0, NULL, NULL)
      && fs->ops->write (fs, "/fuzz", 3000, data, size, NULL))
    fs->ops->remove (fs, "/fuzz", NULL);
  fs->ops->flush (fs, NULL);
  check (fs);
  return 0;
}
