/* fuzz-btrfs.c - any bytes as a btrfs filesystem, on one device or several, whose files are looked
 * at. btrfs-volume.h says what the input is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "btrfs-volume.h"
#include "fs/fs.h"

static void
look_at (H2kFs *fs, const char *path)
{
  g_autoptr (GPtrArray) attributes = fs->ops->list_xattr (fs, path, NULL);
  g_autofree char *target = fs->ops->readlink (fs, path, NULL);
  g_autoptr (GBytes) start = NULL;
  g_autoptr (GBytes) end = NULL;
  H2kStat st;

  for (guint i = 0; attributes && i < attributes->len && i < 20; i++)
    {
      GBytes *value = fs->ops->get_xattr (fs, path, attributes->pdata[i], NULL);
      g_clear_pointer (&value, g_bytes_unref);
    }
  g_assert (!target || strlen (target) <= 4096);
  if (!fs->ops->lstat (fs, path, &st, NULL))
    return;
  start = fs->ops->read (fs, path, 0, 300000, NULL);
  end = fs->ops->read (fs, path, st.size - MIN (st.size, 5001), 100000, NULL);
  g_assert (!start || g_bytes_get_size (start) == MIN (st.size, 300000));
}

static void
look (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      --*budget;
      look_at (fs, sub);
      if (depth < 5)
        look (fs, sub, depth + 1, budget);
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = btrfs_unpack (data, size);
  g_autoptr (GPtrArray) subvolumes = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint budget = 60;

  fs = h2k_fs_open (disk, NULL);
  if (!fs || !fs->ops->subvolumes)
    return 0;
  subvolumes = fs->ops->subvolumes (fs, NULL);
  look (fs, "/", 0, &budget);
  return 0;
}
