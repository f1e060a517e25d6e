/* fuzz-btrfs.c - any bytes as a btrfs volume whose files are looked at.
 *
 * The input is pieces as volume.h has them. The checksums of the superblock and of all tree blocks
 * that a piece lies in are put right, since no fuzzer would guess one; those of data are not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"
#include "volume.h"

static void
seal (H2kDisk *disk, guint32 at, guint size)
{
  g_autofree guint8 *block = g_malloc (size);
  guint32 crc;

  if (at > VOLUME_SIZE - size || !h2k_disk_pread (disk, at, size, block, NULL))
    return;
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, block + 32, size - 32));
  h2k_disk_pwrite (disk, at, sizeof crc, &crc, NULL);
}

/* Data has no place where a tree block has its own address. */
static gboolean
is_node (H2kDisk *disk, guint32 at, const guint8 *fsid)
{
  guint8 header[101];

  return at <= VOLUME_SIZE - sizeof header && h2k_disk_pread (disk, at, sizeof header, header, NULL)
         && memcmp (header + 32, fsid, 16) == 0;
}

static void
seal_pieces (H2kDisk *disk, const guint8 *data, gsize size)
{
  guint8 super[4096];
  guint node_size;

  h2k_disk_pread (disk, 65536, sizeof super, super, NULL);
  node_size = h2k_le32 (super + 148);
  if (node_size < 4096 || node_size > 65536)
    node_size = 4096;
  while (size > 6)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = data[3] >> 7 ? 1 : h2k_le16 (data + 4), n = MIN (length, size - 6);

      for (guint32 at = offset / node_size * node_size; at < offset + n; at += node_size)
        if (is_node (disk, at, super + 32))
          seal (disk, at, node_size);
      data += 6 + n;
      size -= 6 + n;
    }
  seal (disk, 65536, sizeof super);
}

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
  g_autoptr (H2kDisk) disk = volume_unpack (data, size);
  g_autoptr (GPtrArray) subvolumes = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint budget = 60;

  seal_pieces (disk, data, size);
  fs = h2k_fs_open (disk, NULL);
  if (!fs || !fs->ops->subvolumes)
    return 0;
  subvolumes = fs->ops->subvolumes (fs, NULL);
  look (fs, "/", 0, &budget);
  return 0;
}
