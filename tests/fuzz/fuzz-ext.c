/* fuzz-ext.c - any bytes as a volume: recognise it, open it, look at all its files, change a
 * little.
 *
 * The input is a list of pieces (le32 offset, le16 length, bytes) that are laid over a volume of
 * zeros, so that small inputs make whole filesystems.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/check.h"
#include "fs/usage.h"

#include <stdint.h>
#include <sys/stat.h>

#define VOLUME_SIZE (4u << 20)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static H2kDisk *
unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (VOLUME_SIZE);

  while (size >= 6)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = MIN (MIN ((gsize)h2k_le16 (data + 4), size - 6), VOLUME_SIZE - offset);
      data += 6;
      size -= 6;
      if (length)
        h2k_disk_pwrite (disk, offset, length, data, NULL);
      data += length;
      size -= length;
    }
  return disk;
}

static void
walk (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autoptr (GPtrArray) xattrs = NULL;
      g_autoptr (GBytes) bytes = NULL;
      g_autofree char *target = NULL;
      H2kStat st;

      --*budget;
      if (!fs->ops->lstat (fs, sub, &st, NULL))
        continue;
      xattrs = fs->ops->list_xattr (fs, sub, NULL);
      if (S_ISLNK (st.mode))
        target = fs->ops->readlink (fs, sub, NULL);
      else if (S_ISREG (st.mode))
        bytes = fs->ops->read (fs, sub, 0, 65536, NULL);
      else if (S_ISDIR (st.mode) && depth < 4)
        walk (fs, sub, depth + 1, budget);
    }
}

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
  g_autoptr (H2kDisk) disk = unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  guint budget = 50;

  if (!fs)
    return 0;
  check (fs);
  walk (fs, "/", 0, &budget);
  look_at_usage (disk);
  if (fs->ops->create (fs, "/fuzz", 0644, 0, 0, NULL, NULL)
      && fs->ops->write (fs, "/fuzz", 3000, data, size, NULL))
    fs->ops->remove (fs, "/fuzz", NULL);
  fs->ops->flush (fs, NULL);
  check (fs);
  return 0;
}
