/* xfs-inode.c - inodes of XFS, and where the blocks of their forks are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "fs/xfs.h"

#include <sys/stat.h>

/* Metadata is read by pieces: the images below are compressed by as much. */
#define CHUNK 65536u
#define MAX_LEVELS 9u

/* struct xfs_dinode, big-endian */
enum
{
  DI_MAGIC = 0,
  DI_MODE = 2,
  DI_VERSION = 4,
  DI_FORMAT = 5,
  DI_ONLINK = 6,
  DI_UID = 8,
  DI_GID = 12,
  DI_NLINK = 16,
  DI_BIG_NEXTENTS = 24,
  DI_ATIME = 32,
  DI_MTIME = 40,
  DI_CTIME = 48,
  DI_SIZE = 56,
  DI_NEXTENTS = 76, /* with many extents: of the attributes */
  DI_ANEXTENTS = 80,
  DI_FORKOFF = 82,
  DI_AFORMAT = 83,
  DI_FLAGS = 90,
  DI_CRC = 100, /* from here on since version 3 */
  DI_FLAGS2 = 120,
  DI_INO = 152,
  DI_UUID = 160,

  DI_SIZE_2 = 100,
  DI_SIZE_3 = 176,

  FLAG_REALTIME = 0x1,
  FLAG2_REFLINK = 0x2,
  FLAG2_BIGTIME = 0x8,
  FLAG2_NREXT64 = 0x10,
};

/* struct xfs_btree_block, long form; records begin without and with a checksum at */
enum
{
  BB_LEVEL = 4,
  BB_NUMRECS = 6,
  BB_RECORDS = 24,
  BB_UUID = 40,
  BB_CRC = 64,
  BB_CRC_RECORDS = 72,
};

/* --- reading ---------------------------------------------------------------------------------- */

static GBytes *
get_chunk (XfsFs *xfs, guint64 index, GError **error)
{
  GBytes *chunk = h2k_cache_get (xfs->chunks, index);
  g_autofree guint8 *data = NULL;
  gsize length;

  if (chunk)
    return chunk;
  length = (gsize)MIN ((guint64)CHUNK, xfs->base.volume->size - index * CHUNK);
  data = g_malloc (length);
  if (!h2k_disk_pread (xfs->base.volume, index * CHUNK, length, data, error))
    return NULL;
  chunk = g_bytes_new_take (g_steal_pointer (&data), length);
  h2k_cache_put (xfs->chunks, index, chunk);
  return chunk;
}

gboolean
h2k_xfs_read (XfsFs *xfs, guint64 offset, gsize length, guint8 *buffer, GError **error)
{
  if (offset > xfs->base.volume->size || length > xfs->base.volume->size - offset)
    return h2k_xfs_corrupt (xfs, error, "something lies behind its end");
  while (length)
    {
      g_autoptr (GBytes) chunk = get_chunk (xfs, offset / CHUNK, error);
      gsize at = offset % CHUNK, n = MIN (length, CHUNK - at);

      if (!chunk)
        return FALSE;
      memcpy (buffer, (const guint8 *)g_bytes_get_data (chunk, NULL) + at, n);
      buffer += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

/* --- inodes ----------------------------------------------------------------------------------- */

static guint64
flags2 (const guint8 *raw)
{
  return raw[DI_VERSION] >= 3 ? h2k_be64 (raw + DI_FLAGS2) : 0;
}

gboolean
h2k_xfs_may_share (const XfsInode *inode)
{
  return (flags2 (inode->raw) & FLAG2_REFLINK) != 0;
}

/* Seconds: of 32 bits, or nanoseconds since 1901 in 64. */
static gint64
get_time (const guint8 *raw, guint at)
{
  if (flags2 (raw) & FLAG2_BIGTIME)
    return (gint64)(h2k_be64 (raw + at) / 1000000000) + G_MININT32;
  return (gint32)h2k_be32 (raw + at);
}

static guint32
get_nanoseconds (const guint8 *raw, guint at)
{
  if (flags2 (raw) & FLAG2_BIGTIME)
    return (guint32)(h2k_be64 (raw + at) % 1000000000);
  return h2k_be32 (raw + at + 4);
}

static gboolean
inode_is_good (const XfsFs *xfs, const guint8 *raw, guint64 number)
{
  guint version = raw[DI_VERSION];
  gsize size = (gsize)1 << xfs->layout.inode_log;

  if (memcmp (raw, "IN", 2) != 0 || version < 1 || version > 3 || (version == 3) != xfs->layout.crc)
    return FALSE;
  return version < 3
         || (h2k_be64 (raw + DI_INO) == number && memcmp (raw + DI_UUID, xfs->layout.uuid, 16) == 0
             && h2k_xfs_crc_is_right (raw, size, DI_CRC));
}

gboolean
h2k_xfs_read_inode (XfsFs *xfs, guint64 number, XfsInode *inode, GError **error)
{
  const H2kXfsLayout *layout = &xfs->layout;
  guint per_block_log = layout->block_log - layout->inode_log;
  guint64 ag = number >> (layout->ag_log + per_block_log);
  guint64 place = number & (((guint64)1 << (layout->ag_log + per_block_log)) - 1);
  /* cppcheck-suppress ctuuninitvar ; only its address is taken */
  const guint8 *raw = inode->raw;

  if (ag >= layout->ag_count || place >> per_block_log >= h2k_xfs_ag_length (layout, ag))
    return h2k_xfs_corrupt (xfs, error, "an inode's number makes no sense");
  if (!h2k_xfs_read (xfs, h2k_xfs_offset (layout, ag, 0) + (place << layout->inode_log),
                     (gsize)1 << layout->inode_log, inode->raw, error))
    return FALSE;
  if (!inode_is_good (xfs, raw, number))
    return h2k_xfs_corrupt (xfs, error, "an inode is damaged");
  if (h2k_be16 (raw + DI_MODE) == 0)
    return h2k_xfs_corrupt (xfs, error, "an inode that has a name is not in use");
  inode->number = number;
  inode->mode = h2k_be16 (raw + DI_MODE);
  inode->uid = h2k_be32 (raw + DI_UID);
  inode->gid = h2k_be32 (raw + DI_GID);
  inode->nlink = raw[DI_VERSION] == 1 ? h2k_be16 (raw + DI_ONLINK) : h2k_be32 (raw + DI_NLINK);
  inode->size = h2k_be64 (raw + DI_SIZE);
  inode->atime = get_time (raw, DI_ATIME);
  inode->mtime = get_time (raw, DI_MTIME);
  inode->ctime = get_time (raw, DI_CTIME);
  inode->mtime_nsec = get_nanoseconds (raw, DI_MTIME);
  inode->ctime_nsec = get_nanoseconds (raw, DI_CTIME);
  inode->realtime = S_ISREG (inode->mode) && (h2k_be16 (raw + DI_FLAGS) & FLAG_REALTIME);
  return inode->size <= G_MAXINT64 || h2k_xfs_corrupt (xfs, error, "a file's size makes no sense");
}

gboolean
h2k_xfs_fork (const XfsFs *xfs, const XfsInode *inode, XfsForkKind kind, XfsFork *fork)
{
  const guint8 *raw = inode->raw;
  gsize core = raw[DI_VERSION] >= 3 ? DI_SIZE_3 : DI_SIZE_2;
  gsize room = ((gsize)1 << xfs->layout.inode_log) - core, data = raw[DI_FORKOFF] * (gsize)8;
  gboolean many = (flags2 (raw) & FLAG2_NREXT64) != 0;

  if (data > room)
    return FALSE;
  if (kind == XFS_DATA)
    {
      fork->format = raw[DI_FORMAT];
      fork->bytes = raw + core;
      fork->size = data ? data : room;
      fork->n_extents = many ? h2k_be64 (raw + DI_BIG_NEXTENTS) : h2k_be32 (raw + DI_NEXTENTS);
      return TRUE;
    }
  fork->format = raw[DI_AFORMAT];
  fork->bytes = raw + core + data;
  fork->size = room - data;
  fork->n_extents = many ? h2k_be32 (raw + DI_NEXTENTS) : h2k_be16 (raw + DI_ANEXTENTS);
  return data != 0;
}

/* --- where the blocks are --------------------------------------------------------------------- */

typedef struct
{
  guint64 start, count;
  guint64 block; /* with its group */
  gboolean unwritten;
} Record;

/* 1 bit: not written; 54: where in the file; 52: where on the volume; 21: how many. */
static Record
get_record (const guint8 *p)
{
  guint64 high = h2k_be64 (p), low = h2k_be64 (p + 8);

  return (Record){
      .start = high << 1 >> 10,
      .count = low & 0x1fffff,
      .block = (high & 0x1ff) << 43 | low >> 21,
      .unwritten = high >> 63,
  };
}

/* How many of N keys, of SIZE bytes each at the start of it, are not above BLOCK. */
static guint
count_up_to (const guint8 *keys, guint n, guint size, guint64 block)
{
  guint low = 0, high = n;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      /* A record has its start where no key has bits. */
      guint64 key = size == 8 ? h2k_be64 (keys + (gsize)middle * 8)
                              : get_record (keys + (gsize)middle * 16).start;
      if (key <= block)
        low = middle + 1;
      else
        high = middle;
    }
  return low;
}

/* Look BLOCK up among N records. What is not there reaches to the next one, or to LIMIT. */
static gboolean
map_in_records (const XfsFs *xfs, const guint8 *records, guint n, guint64 block, guint64 limit,
                XfsExtent *extent, GError **error)
{
  const H2kXfsLayout *layout = &xfs->layout;
  guint i = count_up_to (records, n, 16, block);
  Record record = i ? get_record (records + (gsize)(i - 1) * 16) : (Record){0};
  guint64 ag = record.block >> layout->ag_log;
  guint64 place = record.block & (((guint64)1 << layout->ag_log) - 1);

  if (i < n)
    limit = get_record (records + (gsize)i * 16).start;
  if (!i || block - record.start >= record.count)
    {
      *extent = (XfsExtent){block, limit - block, 0};
      return limit > block || h2k_xfs_corrupt (xfs, error, "a file's extents are in disorder");
    }
  if (record.start > block || ag >= layout->ag_count || place >= h2k_xfs_ag_length (layout, ag)
      || record.count > h2k_xfs_ag_length (layout, ag) - place)
    return h2k_xfs_corrupt (xfs, error, "a file's extent lies outside of the volume");
  extent->start = block;
  extent->count = record.count - (block - record.start);
  extent->offset = record.unwritten ? 0 : h2k_xfs_offset (layout, ag, place + block - record.start);
  return TRUE;
}

/* A node of a tree of extents. */
typedef struct
{
  guint level, n;
  const guint8 *keys, *children; /* of a leaf: the records */
} Node;

static gboolean
parse_node (const XfsFs *xfs, const XfsInode *inode, const guint8 *data, guint level, Node *node)
{
  gsize size = (gsize)1 << xfs->layout.block_log;
  gsize header = xfs->layout.crc ? BB_CRC_RECORDS : BB_RECORDS, most = (size - header) / 16;

  node->level = h2k_be16 (data + BB_LEVEL);
  node->n = h2k_be16 (data + BB_NUMRECS);
  node->keys = data + header;
  node->children = node->keys + most * 8;
  return node->level == level && node->n > 0 && node->n <= most
         && memcmp (data, xfs->layout.crc ? "BMA3" : "BMAP", 4) == 0
         && h2k_xfs_block_is_good (xfs, inode, data, size, BB_CRC, BB_UUID);
}

static gboolean
map_in_tree (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork, guint64 block,
             XfsExtent *extent, GError **error)
{
  const H2kXfsLayout *layout = &xfs->layout;
  gsize size = (gsize)1 << layout->block_log;
  g_autofree guint8 *data = g_malloc (size);
  gsize most = fork->size < 4 ? 0 : (fork->size - 4) / 16;
  Node node = {0};
  guint64 limit = G_MAXUINT64;

  if (most == 0)
    return h2k_xfs_corrupt (xfs, error, "a file's tree of extents is damaged");
  node = (Node){h2k_be16 (fork->bytes), h2k_be16 (fork->bytes + 2), fork->bytes + 4,
                fork->bytes + 4 + most * 8};
  if (node.level == 0 || node.level > MAX_LEVELS || node.n == 0 || node.n > most)
    return h2k_xfs_corrupt (xfs, error, "a file's tree of extents is damaged");
  while (node.level)
    {
      guint i = MAX (count_up_to (node.keys, node.n, 8, block), 1) - 1;
      guint64 child = h2k_be64 (node.children + (gsize)i * 8);
      guint64 ag = child >> layout->ag_log, place = child & (((guint64)1 << layout->ag_log) - 1);

      if (i + 1 < node.n)
        limit = MIN (limit, h2k_be64 (node.keys + (gsize)(i + 1) * 8));
      if (ag >= layout->ag_count || place >= h2k_xfs_ag_length (layout, ag))
        return h2k_xfs_corrupt (xfs, error, "a file's tree of extents is damaged");
      if (!h2k_xfs_read (xfs, h2k_xfs_offset (layout, ag, place), size, data, error))
        return FALSE;
      if (!parse_node (xfs, inode, data, node.level - 1, &node))
        return h2k_xfs_corrupt (xfs, error, "a file's tree of extents is damaged");
    }
  return map_in_records (xfs, node.keys, node.n, block, limit, extent, error);
}

gboolean
h2k_xfs_map (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork, guint64 block,
             XfsExtent *extent, GError **error)
{
  if (fork->format == XFS_BTREE)
    return map_in_tree (xfs, inode, fork, block, extent, error);
  if (fork->format != XFS_EXTENTS || fork->n_extents > fork->size / 16)
    return h2k_xfs_corrupt (xfs, error, "a file's extents are damaged");
  return map_in_records (xfs, fork->bytes, (guint)fork->n_extents, block, G_MAXUINT64, extent,
                         error);
}

gboolean
h2k_xfs_read_fork (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork, gboolean metadata,
                   guint64 offset, gsize length, guint8 *buffer, GError **error)
{
  guint log = xfs->layout.block_log;

  while (length)
    {
      guint64 inside = offset & (((guint64)1 << log) - 1);
      XfsExtent extent;
      gsize n;

      if (!h2k_xfs_map (xfs, inode, fork, offset >> log, &extent, error))
        return FALSE;
      n = extent.count > ((guint64)G_MAXINT64 >> log)
              ? length
              : (gsize)MIN (length, (extent.count << log) - inside);
      if (!extent.offset)
        memset (buffer, 0, n);
      else if (metadata
                   ? !h2k_xfs_read (xfs, extent.offset + inside, n, buffer, error)
                   : !h2k_disk_pread (xfs->base.volume, extent.offset + inside, n, buffer, error))
        return FALSE;
      buffer += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

gboolean
h2k_xfs_block_is_good (const XfsFs *xfs, const XfsInode *inode, const guint8 *data, gsize size,
                       gsize crc, gsize uuid)
{
  return !xfs->layout.crc
         || (memcmp (data + uuid, xfs->layout.uuid, 16) == 0
             && h2k_be64 (data + uuid + 16) == inode->number
             && h2k_xfs_crc_is_right (data, size, crc));
}
