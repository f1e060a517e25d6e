/* fuzz-ntfs.c - any bytes as an NTFS volume whose files are looked at and changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define VOLUME_SIZE (16u << 20)
#include "volume.h"

#include "fs/ntfs.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned int seed);
const char *__lsan_default_suppressions (void);

/* libntfs-3g loses the name of an index that a volume lacks, and what it had opened when a mount
 * fails. What hyper2kvm itself loses of the library's is looked for by the unit tests. */
const char *
__lsan_default_suppressions (void)
{
  return "leak:libntfs-3g.so\n";
}

/* Most of an input is structures that lead to each other: what is inserted or removed would only
 * break the list of pieces. So a few bytes are changed where they are. */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
  static const guint8 values[] = {0, 1, 2, 3, 7, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xfe, 0xff};
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);

  for (gint n = g_rand_int_range (rand, 1, 8); size && n > 0; n--)
    {
      gsize at = g_rand_int (rand) % size;
      gint width = g_rand_int_range (rand, 1, 5);
      for (gint i = 0; i < width && at < size; i++, at++)
        data[at] = g_rand_boolean (rand) ? values[g_rand_int (rand) % sizeof values]
                                         : (guint8)(data[at] + g_rand_int_range (rand, -3, 4));
    }
  return size;
}

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
