/* fuzz-xfs.c - any bytes as an XFS volume whose files are looked at.
 *
 * The input is a list of pieces (le32 offset, le16 length, bytes) that are laid over a volume of
 * zeros, so that small inputs make whole filesystems. Checksums are made right before, where there
 * is a structure with one, so that what lies behind them is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"

#include <stdint.h>
#include <sys/stat.h>

#define VOLUME_SIZE (40u << 20)
#define MAX_PIECES 256u

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
seal (guint8 *data, gsize size, gsize at)
{
  guint32 crc;

  memset (data + at, 0, 4);
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, size));
  memcpy (data + at, &crc, 4);
}

typedef struct
{
  guint sector, block, inode, dir;
} Sizes;

/* Seal the structure at DATA, if one begins there. */
static void
seal_one (guint8 *data, const Sizes *sizes)
{
  guint magic = h2k_be16 (data + 8);

  if (memcmp (data, "XFSB", 4) == 0)
    seal (data, sizes->sector, 224);
  else if (memcmp (data, "IN", 2) == 0)
    seal (data, sizes->inode, 100);
  else if (memcmp (data, "XDB3", 4) == 0 || memcmp (data, "XDD3", 4) == 0)
    seal (data, sizes->dir, 4);
  else if (memcmp (data, "BMA3", 4) == 0)
    seal (data, sizes->block, 64);
  else if (memcmp (data, "XSLM", 4) == 0 || memcmp (data, "XARM", 4) == 0 || magic == 0x3bee
           || magic == 0x3ebe)
    seal (data, sizes->block, 12);
}

/* Seal what begins in the LENGTH bytes at OFFSET. */
static void
seal_range (H2kDisk *disk, guint32 offset, gsize length, const Sizes *sizes)
{
  guint32 first = offset / sizes->inode * sizes->inode;
  gsize n = MIN ((gsize)VOLUME_SIZE - first, length + sizes->inode);
  g_autofree guint8 *data = g_malloc0 (n + 65536);

  h2k_disk_pread (disk, first, MIN (n + 65536, VOLUME_SIZE - first), data, NULL);
  for (gsize at = 0; at < n; at += sizes->inode)
    seal_one (data + at, sizes);
  h2k_disk_pwrite (disk, first, MIN (n + 65536, VOLUME_SIZE - first), data, NULL);
}

static H2kDisk *
unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (VOLUME_SIZE);
  guint32 offsets[MAX_PIECES];
  gsize lengths[MAX_PIECES];
  guint8 head[256];
  guint n = 0;
  Sizes sizes;

  while (size >= 6 && n < MAX_PIECES)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = MIN (MIN ((gsize)h2k_le16 (data + 4), size - 6), VOLUME_SIZE - offset);
      data += 6;
      size -= 6;
      if (length)
        h2k_disk_pwrite (disk, offset, length, data, NULL);
      data += length;
      size -= length;
      offsets[n] = offset;
      lengths[n++] = length;
    }
  h2k_disk_pread (disk, 0, sizeof head, head, NULL);
  sizes.sector = CLAMP (h2k_be16 (head + 102), 512, 32768);
  sizes.block = CLAMP (h2k_be32 (head + 4), 512, 65536);
  sizes.inode = CLAMP (h2k_be16 (head + 104), 256, 2048);
  sizes.dir = (guint)MIN ((guint64)sizes.block << MIN (head[192], 7), 65536);
  for (guint i = 0; i < n; i++)
    seal_range (disk, offsets[i], lengths[i], &sizes);
  return disk;
}

static void
look (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autoptr (GPtrArray) attributes = NULL;
      g_autoptr (GBytes) start = NULL;
      g_autoptr (GBytes) end = NULL;
      g_autofree char *target = NULL;
      H2kStat st;

      --*budget;
      if (!fs->ops->lstat (fs, sub, &st, NULL))
        continue;
      attributes = fs->ops->list_xattr (fs, sub, NULL);
      for (guint k = 0; attributes && k < attributes->len && k < 20; k++)
        {
          GBytes *value = fs->ops->get_xattr (fs, sub, attributes->pdata[k], NULL);
          g_clear_pointer (&value, g_bytes_unref);
        }
      target = fs->ops->readlink (fs, sub, NULL);
      start = fs->ops->read (fs, sub, 0, 100000, NULL);
      end = fs->ops->read (fs, sub, st.size - MIN (st.size, 5000), 100000, NULL);
      if (depth < 4)
        look (fs, sub, depth + 1, budget);
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  guint budget = 60;

  if (fs && g_str_equal (fs->ops->name, "xfs"))
    look (fs, "/", 0, &budget);
  return 0;
}
