/* fuzz-fat.c - any bytes as a FAT volume whose files are looked at and changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume.h"

#include "fs/fs.h"

#include <sys/stat.h>

/* Look at what is in PATH, and at a little of what is below it. */
static void
look (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autoptr (GBytes) start = NULL;
      g_autoptr (GBytes) far = NULL;
      H2kStat st;

      --*budget;
      g_assert (g_utf8_validate (names->pdata[i], -1, NULL));
      if (!fs->ops->lstat (fs, sub, &st, NULL))
        continue;
      if (S_ISDIR (st.mode) && depth < 4)
        look (fs, sub, depth + 1, budget);
      start = fs->ops->read (fs, sub, 0, 65536, NULL);
      far = fs->ops->read (fs, sub, st.size - MIN (st.size, 5000), 65536, NULL);
    }
}

static void
change (H2kFs *fs, const char *path, const guint8 *data, gsize size)
{
  g_autofree char *moved = g_strconcat (path, ".moved", NULL);

  fs->ops->write (fs, path, 700, data, MIN (size, 5000), NULL);
  fs->ops->truncate (fs, path, 300, NULL);
  fs->ops->rename (fs, path, moved, NULL);
  fs->ops->remove (fs, moved, NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = size ? volume_unpack (data + 1, size - 1) : NULL;
  g_autoptr (H2kFs) fs = disk ? h2k_fs_open (disk, NULL) : NULL;
  g_autoptr (GPtrArray) names = NULL;
  guint budget = 40;

  if (!fs || !g_str_equal (fs->ops->name, "fat"))
    return 0;
  look (fs, "/", 0, &budget);
  if (fs->ops->create (fs, "/a directory of the fuzzer", S_IFDIR | 0755, 0, 0, NULL, NULL)
      && fs->ops->create (fs, "/a directory of the fuzzer/file", 0644, 0, 0, NULL, NULL))
    fs->ops->write (fs, "/a directory of the fuzzer/file", 0, data, size, NULL);
  names = fs->ops->list (fs, "/", NULL);
  for (guint i = 0; names && i < names->len && i < 10; i++)
    {
      g_autofree char *path = g_strconcat ("/", names->pdata[i], NULL);
      change (fs, path, data, size);
    }
  fs->ops->free_space (fs);
  fs->ops->flush (fs, NULL);
  return 0;
}
