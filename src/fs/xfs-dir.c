/* xfs-dir.c - directories of XFS: inside the inode, or in blocks that begin with a header.
 *
 * A directory is read as a whole into a table. So what finds names in it by their hashes (leaf and
 * node blocks, beyond LEAF_OFFSET) need not be read, and not be believed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/xfs.h"

#include <sys/stat.h>

/* Entries of one directory, and of all that are kept. */
#define MAX_ENTRIES (4u << 20)
#define MAX_KEPT (256u << 10)
/* Where in a directory its index begins. */
#define LEAF_OFFSET ((guint64)1 << 35)

/* struct xfs_dir3_blk_hdr; entries begin without and with a checksum at */
enum
{
  DIR_CRC = 4,
  DIR_UUID = 24,
  DIR_ENTRIES = 16,
  DIR_CRC_ENTRIES = 64,

  FREE_TAG = 0xffff,
};

void
h2k_xfs_dir_free (gpointer data)
{
  XfsDir *dir = data;

  g_hash_table_unref (dir->entries);
  g_free (dir);
}

/* Put an entry into the table; what cannot be part of a path is left out. */
static gboolean
add_entry (const XfsFs *xfs, XfsDir *dir, const guint8 *name, guint length, guint64 number,
           GError **error)
{
  if (length == 0 || memchr (name, 0, length) || memchr (name, '/', length)
      || (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.'))
    return TRUE;
  if (g_hash_table_size (dir->entries) >= MAX_ENTRIES)
    return h2k_xfs_corrupt (xfs, error, "a directory has too many entries");
  g_hash_table_replace (dir->entries, g_strndup ((const char *)name, length),
                        g_memdup2 (&number, sizeof number));
  return TRUE;
}

/* A number of the 4 or 8 bytes at P. */
static guint64
get_number (const guint8 *p, guint width)
{
  return width == 8 ? h2k_be64 (p) & (((guint64)1 << 56) - 1) : h2k_be32 (p);
}

/* Inside the inode: how many, how many of them with large numbers, the parent; for each the length
 * of its name, a cookie of 2 bytes, the name, maybe the type, the number. */
static gboolean
read_short (const XfsFs *xfs, XfsDir *dir, const XfsInode *inode, const XfsFork *fork,
            GError **error)
{
  gsize size = (gsize)MIN (fork->size, inode->size);
  const guint8 *p = fork->bytes, *end = p + size;
  guint width = size >= 2 && p[1] ? 8 : 4, type = xfs->layout.has_type ? 1 : 0, n;

  if (size < 2 + width)
    return h2k_xfs_corrupt (xfs, error, "a directory is cut off");
  n = p[0];
  p += 2 + width;
  for (guint i = 0; i < n; i++)
    {
      gsize length = end - p >= 3 ? p[0] : 0;
      if (end - p < 3 || (gsize)(end - p) < 3 + length + type + width)
        return h2k_xfs_corrupt (xfs, error, "a directory is cut off");
      if (!add_entry (xfs, dir, p + 3, (guint)length, get_number (p + 3 + length + type, width),
                      error))
        return FALSE;
      p += 3 + length + type + width;
    }
  return TRUE;
}

/* Where the entries of a block end: one that is the whole directory has an index at its end. */
static gboolean
find_end (const XfsFs *xfs, const guint8 *block, gsize size, gsize *end)
{
  static const char *const magics[2][2] = {{"XD2D", "XD2B"}, {"XDD3", "XDB3"}};
  gboolean crc = xfs->layout.crc;
  guint64 index;

  *end = size;
  if (memcmp (block, magics[crc][0], 4) == 0)
    return TRUE;
  if (memcmp (block, magics[crc][1], 4) != 0)
    return FALSE;
  index = 8 + (guint64)h2k_be32 (block + size - 8) * 8;
  *end = index <= size ? size - (gsize)index : 0;
  return index <= size;
}

static gboolean
read_block (const XfsFs *xfs, XfsDir *dir, const XfsInode *inode, const guint8 *block, gsize size,
            GError **error)
{
  gsize at = xfs->layout.crc ? DIR_CRC_ENTRIES : DIR_ENTRIES, end;
  guint type = xfs->layout.has_type ? 1 : 0;

  if (!find_end (xfs, block, size, &end)
      || !h2k_xfs_block_is_good (xfs, inode, block, size, DIR_CRC, DIR_UUID))
    return h2k_xfs_corrupt (xfs, error, "a directory is damaged");
  while (at < end)
    {
      gboolean is_free = end - at >= 4 && h2k_be16 (block + at) == FREE_TAG;
      gsize length = is_free ? h2k_be16 (block + at + 2) : 0;

      /* The number, the length, the name, maybe the type, a tag of 2 bytes. */
      if (!is_free && end - at >= 9)
        length = (8u + 1 + block[at + 8] + type + 2 + 7) & ~7u;
      if (length < 8 || length % 8 || length > end - at)
        return h2k_xfs_corrupt (xfs, error, "a directory is damaged");
      if (!is_free
          && !add_entry (xfs, dir, block + at + 9, block[at + 8], get_number (block + at, 8),
                         error))
        return FALSE;
      at += length;
    }
  return TRUE;
}

static gboolean
read_blocks (XfsFs *xfs, XfsDir *dir, const XfsInode *inode, const XfsFork *fork, GError **error)
{
  guint log = xfs->layout.block_log;
  gsize size = (gsize)1 << (log + xfs->layout.dir_log);
  g_autofree guint8 *block = g_malloc (size);
  guint64 left = (xfs->layout.blocks >> xfs->layout.dir_log) + 1,
          step = (guint64)1 << xfs->layout.dir_log;

  for (guint64 at = 0; at < LEAF_OFFSET >> log;)
    {
      XfsExtent extent;

      if (!h2k_xfs_map (xfs, inode, fork, at, &extent, error))
        return FALSE;
      if (!extent.offset)
        {
          at += MIN (extent.count, LEAF_OFFSET >> log);
          at = (at + step - 1) / step * step;
          continue;
        }
      if (left-- == 0)
        return h2k_xfs_corrupt (xfs, error, "a directory is larger than the volume");
      if (!h2k_xfs_read_fork (xfs, inode, fork, TRUE, at << log, size, block, error)
          || !read_block (xfs, dir, inode, block, size, error))
        return FALSE;
      at += step;
    }
  return TRUE;
}

const XfsDir *
h2k_xfs_read_dir (XfsFs *xfs, const XfsInode *inode, GError **error)
{
  XfsDir *dir = g_hash_table_lookup (xfs->dirs, &inode->number);
  gboolean ok;
  XfsFork fork;

  if (dir)
    return dir;
  if (!h2k_xfs_fork (xfs, inode, XFS_DATA, &fork))
    {
      h2k_xfs_corrupt (xfs, error, "a directory's inode is damaged");
      return NULL;
    }
  dir = g_new0 (XfsDir, 1);
  dir->number = inode->number;
  dir->entries = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  ok = fork.format == XFS_LOCAL ? read_short (xfs, dir, inode, &fork, error)
                                : read_blocks (xfs, dir, inode, &fork, error);
  if (!ok)
    {
      h2k_xfs_dir_free (dir);
      return NULL;
    }
  if (xfs->entries > MAX_KEPT)
    {
      g_hash_table_remove_all (xfs->dirs);
      xfs->entries = 0;
    }
  g_hash_table_insert (xfs->dirs, &dir->number, dir);
  xfs->entries += g_hash_table_size (dir->entries) + 1;
  return dir;
}
