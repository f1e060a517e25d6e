/* fuzz-ntfs.c - any bytes as an NTFS volume whose files are looked at and changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "ntfs-volume.h"

static void
change (H2kFs *fs, const char *path, const guint8 *data, gsize size)
{
  g_autofree char *moved = g_strconcat (path, ".moved", NULL);

  fs->ops->write (fs, path, 700, data, MIN (size, 50000), NULL);
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

  if (!fs || !h2k_ntfs_state (fs))
    return 0;
  volume_look (fs, "/", 0, &budget);
  if (fs->frozen)
    h2k_ntfs_force (fs, NULL);
  if (fs->ops->create (fs, "/a directory of the fuzzer", S_IFDIR | 0755, 0, 0, NULL, NULL)
      && fs->ops->create (fs, "/a directory of the fuzzer/file", S_IFREG | 0644, 0, 0, NULL, NULL))
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
