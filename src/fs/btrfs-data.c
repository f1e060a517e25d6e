/* btrfs-data.c - the content of files on btrfs: extents in the tree or in chunks, holes, and the
 * checksum of every sector. What does not agree with its checksum is read from the chunk's other
 * copies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs.h"
#include "fs/usage.h"

/* No compressed extent is larger, neither before nor afterwards. */
#define MAX_COMPRESSED (128u << 10)
#define PIECE (256u << 10)

#define CSUM_OBJECT ((guint64)-10)

/* An extent item: le64 8 size unpacked, u8 16 compression, u8 17 encryption, le16 18 another
 * encoding, u8 20 type. Either the data follow at 21, or le64 21 address, le64 29 length there,
 * le64 37 offset in what is there (unpacked), le64 45 length. */
enum
{
  EXTENT_INLINE_SIZE = 21,
  EXTENT_SIZE = 53,
};

typedef enum
{
  INLINE = 0,
  REGULAR = 1,
  PREALLOCATED = 2,
} ExtentType;

typedef struct
{
  guint64 start, length; /* in the file */
  ExtentType type;
  BtrfsCompression compression;
  guint64 unpacked; /* bytes */
  guint64 address;  /* 0: a hole */
  guint64 stored;   /* bytes there */
  guint64 offset;   /* in what is there */
  const guint8 *bytes;
  gsize n_bytes; /* of an inline one */
} Extent;

/* --- checksums -------------------------------------------------------------------------------- */

/* The checksum of the sector at LOGICAL, valid until CURSOR moves, or NULL when it has none. An
 * item has those of as many sectors as it is long, from its key's offset on. */
static gboolean
find_sum (BtrfsCursor *cursor, guint64 logical, const guint8 **sum, GError **error)
{
  const BtrfsVolume *volume = cursor->volume;
  const BtrfsKey key = {CSUM_OBJECT, BTRFS_EXTENT_CSUM, logical};
  guint size = h2k_btrfs_sum_size (volume);

  *sum = NULL;
  /* Twice: where CURSOR is now, and where it should be. */
  for (guint i = 0; i < 2; i++)
    {
      guint64 first = cursor->key.offset;
      if (cursor->leaf && cursor->key.objectid == CSUM_OBJECT
          && cursor->key.type == BTRFS_EXTENT_CSUM && first <= logical
          && (logical - first) / volume->sector_size < cursor->size / size)
        {
          *sum = cursor->data + (logical - first) / volume->sector_size * size;
          return (logical - first) % volume->sector_size == 0
                 || h2k_btrfs_corrupt (volume, error, "checksums are between sectors");
        }
      if (i == 0 && !h2k_btrfs_seek_back (cursor, &key, error))
        return FALSE;
    }
  return TRUE;
}

/* Read a sector, which SUM does not agree with as copy number FIRST of CHUNK has it, from another.
 */
static gboolean
read_other_copy (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical, guint first,
                 const guint8 *sum, guint8 *sector, GError **error)
{
  gboolean all_there = TRUE;
  guint64 place;

  for (guint i = 0; i < chunk->n_copies; i++)
    {
      if (i == first)
        continue;
      if (!h2k_btrfs_place (volume, chunk, logical, i, &place))
        {
          all_there = FALSE;
          continue;
        }
      if (!h2k_disk_pread (volume->disk, place, volume->sector_size, sector, error))
        return FALSE;
      if (h2k_btrfs_sum_is_right (volume, sector, volume->sector_size, sum))
        return TRUE;
    }
  return all_there ? h2k_btrfs_corrupt (volume, error,
                                        "the data at %" G_GUINT64_FORMAT
                                        " do not agree with their checksum",
                                        logical)
                   : h2k_btrfs_set_missing (volume, chunk, logical, error);
}

/* Check the LENGTH bytes that copy number COPY of CHUNK has at LOGICAL, all in one piece. */
static gboolean
check_data (BtrfsCursor *sums, const BtrfsInode *inode, const BtrfsChunk *chunk, guint64 logical,
            guint copy, gsize length, guint8 *data, GError **error)
{
  const BtrfsVolume *volume = sums->volume;

  for (gsize at = 0; at < length; at += volume->sector_size)
    {
      const guint8 *sum;
      if (!find_sum (sums, logical + at, &sum, error))
        return FALSE;
      if (!sum && !inode->has_no_sums)
        return h2k_btrfs_corrupt (volume, error,
                                  "the data at %" G_GUINT64_FORMAT " have no checksum",
                                  logical + at);
      if (sum && !h2k_btrfs_sum_is_right (volume, data + at, volume->sector_size, sum)
          && !read_other_copy (volume, chunk, logical + at, copy, sum, data + at, error))
        return FALSE;
    }
  return TRUE;
}

/* Read whole sectors, all in one piece, from the first copy that is there. */
static gboolean
read_piece (BtrfsCursor *sums, const BtrfsInode *inode, const BtrfsChunk *chunk, guint64 logical,
            gsize length, guint8 *data, GError **error)
{
  const BtrfsVolume *volume = sums->volume;
  guint64 place;

  for (guint i = 0; i < chunk->n_copies; i++)
    if (h2k_btrfs_place (volume, chunk, logical, i, &place))
      return h2k_disk_pread (volume->disk, place, length, data, error)
             && check_data (sums, inode, chunk, logical, i, length, data, error);
  return h2k_btrfs_set_missing (volume, chunk, logical, error);
}

/* Read whole sectors. */
static gboolean
read_sectors (BtrfsCursor *sums, const BtrfsInode *inode, guint64 logical, gsize length,
              guint8 *data, GError **error)
{
  while (length)
    {
      const BtrfsChunk *chunk = h2k_btrfs_find_chunk (sums->volume, logical);
      gsize n;

      if (!chunk)
        return h2k_btrfs_corrupt (sums->volume, error, "a file's extent lies nowhere");
      n = (gsize)h2k_btrfs_piece (chunk, logical, length);
      if (!read_piece (sums, inode, chunk, logical, n, data, error))
        return FALSE;
      data += n;
      logical += n;
      length -= n;
    }
  return TRUE;
}

/* --- extents ---------------------------------------------------------------------------------- */

static gboolean
parse_inline (const BtrfsCursor *cursor, Extent *extent)
{
  extent->bytes = cursor->data + EXTENT_INLINE_SIZE;
  extent->n_bytes = cursor->size - EXTENT_INLINE_SIZE;
  extent->length = extent->unpacked;
  return extent->start == 0 && extent->length <= MAX_COMPRESSED
         && (extent->compression != BTRFS_PLAIN || extent->n_bytes == extent->length);
}

static gboolean
parse_placed (const BtrfsCursor *cursor, Extent *extent)
{
  guint sector = cursor->volume->sector_size;
  const guint8 *data = cursor->data;
  guint64 there;

  if (cursor->size != EXTENT_SIZE)
    return FALSE;
  extent->address = h2k_le64 (data + 21);
  extent->stored = h2k_le64 (data + 29);
  extent->offset = h2k_le64 (data + 37);
  extent->length = h2k_le64 (data + 45);
  there = extent->compression == BTRFS_PLAIN ? extent->stored : extent->unpacked;
  if (!extent->length || extent->length > G_MAXINT64 || extent->start > G_MAXINT64 - extent->length
      || (extent->start | extent->length) % sector)
    return FALSE;
  if (extent->address == 0)
    return TRUE;
  if ((extent->address | extent->stored | extent->offset) % sector || extent->stored > G_MAXINT64
      || extent->address > G_MAXINT64 - extent->stored || extent->offset > there
      || extent->length > there - extent->offset)
    return FALSE;
  return extent->compression == BTRFS_PLAIN
         || (extent->stored <= MAX_COMPRESSED && extent->unpacked <= MAX_COMPRESSED);
}

/* The extent that CURSOR is at. */
static gboolean
parse_extent (const BtrfsCursor *cursor, Extent *extent, GError **error)
{
  const guint8 *data = cursor->data;

  *extent = (Extent){.start = cursor->key.offset};
  if (cursor->size < EXTENT_INLINE_SIZE || data[20] > PREALLOCATED)
    return h2k_btrfs_corrupt (cursor->volume, error, "a file's extent is damaged");
  if (data[16] > BTRFS_ZSTD || data[17] || h2k_le16 (data + 18))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: a file on this btrfs filesystem is encrypted, or encoded in an unknown way",
                   cursor->volume->disk->name);
      return FALSE;
    }
  extent->unpacked = h2k_le64 (data + 8);
  extent->compression = data[16];
  extent->type = data[20];
  return (extent->type == INLINE ? parse_inline (cursor, extent) : parse_placed (cursor, extent))
         || h2k_btrfs_corrupt (cursor->volume, error, "a file's extent makes no sense");
}

/* What a compressed extent holds. */
static GBytes *
unpack_extent (BtrfsCursor *sums, BtrfsFs *fs, const BtrfsInode *inode, const Extent *extent,
               GError **error)
{
  /* Addresses are those of sectors. */
  guint64 key = extent->address | extent->compression;
  GBytes *block = extent->type == INLINE ? NULL : h2k_cache_get (fs->unpacked, key);
  gsize n = extent->type == INLINE ? extent->n_bytes : (gsize)extent->stored;
  /* A file's end was once rounded up before it was compressed. */
  gsize room = (gsize)extent->unpacked + fs->volume.sector_size;
  g_autofree guint8 *in = NULL, *out = NULL;

  if (block && g_bytes_get_size (block) == extent->unpacked)
    return block;
  g_clear_pointer (&block, g_bytes_unref);
  if (extent->type != INLINE)
    {
      in = g_malloc (n + 1);
      if (!read_sectors (sums, inode, extent->address, n, in, error))
        return NULL;
    }
  room -= room % fs->volume.sector_size;
  out = g_malloc0 (room);
  if (!h2k_btrfs_unpack (extent->compression, fs->volume.sector_size, in ? in : extent->bytes, n,
                         out, room))
    {
      h2k_btrfs_corrupt (&fs->volume, error, "a compressed extent is damaged");
      return NULL;
    }
  block = g_bytes_new_take (g_steal_pointer (&out), (gsize)extent->unpacked);
  if (extent->type != INLINE)
    h2k_cache_put (fs->unpacked, key, block);
  return block;
}

/* Read LENGTH bytes at AT of what is at the address of an extent that is not compressed. */
static gboolean
read_plain (BtrfsCursor *sums, const BtrfsInode *inode, const Extent *extent, guint64 at,
            gsize length, guint8 *buffer, GError **error)
{
  guint sector = sums->volume->sector_size;
  g_autofree guint8 *piece = g_malloc (MIN (length + 2 * (gsize)sector, PIECE));

  while (length)
    {
      gsize skip = at % sector, whole = (skip + MIN (length, PIECE) + sector - 1) / sector * sector;
      gsize n;

      whole = MIN (whole, PIECE);
      n = MIN (length, whole - skip);
      if (!read_sectors (sums, inode, extent->address + (at - skip), whole, piece, error))
        return FALSE;
      memcpy (buffer, piece + skip, n);
      buffer += n;
      at += n;
      length -= n;
    }
  return TRUE;
}

/* Read LENGTH bytes at AT of EXTENT. */
static gboolean
read_extent (BtrfsCursor *sums, BtrfsFs *fs, const BtrfsInode *inode, const Extent *extent,
             guint64 at, gsize length, guint8 *buffer, GError **error)
{
  g_autoptr (GBytes) block = NULL;

  if (extent->type == PREALLOCATED || (extent->type == REGULAR && !extent->address))
    return TRUE;
  if (extent->compression != BTRFS_PLAIN)
    {
      block = unpack_extent (sums, fs, inode, extent, error);
      if (!block)
        return FALSE;
      memcpy (buffer, (const guint8 *)g_bytes_get_data (block, NULL) + extent->offset + at, length);
      return TRUE;
    }
  if (extent->type != INLINE)
    return read_plain (sums, inode, extent, extent->offset + at, length, buffer, error);
  memcpy (buffer, extent->bytes + at, length);
  return TRUE;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Go to the extent of INODE that holds OFFSET, or what is next to it. */
static gboolean
seek_extent (BtrfsCursor *cursor, const BtrfsInode *inode, guint64 offset, GError **error)
{
  const BtrfsKey key = {inode->number, BTRFS_EXTENT_DATA, offset};

  if (!h2k_btrfs_seek_back (cursor, &key, error))
    return FALSE;
  return (cursor->leaf && cursor->key.objectid == inode->number
          && cursor->key.type == BTRFS_EXTENT_DATA)
         || h2k_btrfs_seek (cursor, &key, error);
}

gboolean
h2k_btrfs_read_file (BtrfsFs *fs, const BtrfsInode *inode, guint64 offset, gsize length,
                     guint8 *buffer, GError **error)
{
  g_auto (BtrfsCursor) cursor = {&fs->volume, &inode->root};
  g_auto (BtrfsCursor) sums = {&fs->volume, &fs->sums};
  guint64 end = offset + length, last = 0;

  if (!length)
    return TRUE;
  if (!seek_extent (&cursor, inode, offset, error))
    return FALSE;
  while (cursor.leaf && cursor.key.objectid == inode->number && cursor.key.type == BTRFS_EXTENT_DATA
         && cursor.key.offset < end)
    {
      guint64 from, to;
      Extent extent;

      if (!parse_extent (&cursor, &extent, error))
        return FALSE;
      if (extent.start < last)
        return h2k_btrfs_corrupt (&fs->volume, error, "a file's extents lie over each other");
      last = extent.start + extent.length;
      from = MAX (offset, extent.start);
      to = MIN (end, last);
      if (from < to
          && !read_extent (&sums, fs, inode, &extent, from - extent.start, (gsize)(to - from),
                           buffer + (from - offset), error))
        return FALSE;
      if (!h2k_btrfs_next (&cursor, error))
        return FALSE;
    }
  return TRUE;
}

/* --- swap files ------------------------------------------------------------------------------- */

/* When the subvolume of INODE was last copied: extents that are not younger are the copy's, too. */
static gboolean
last_snapshot (BtrfsFs *fs, const BtrfsInode *inode, guint64 *generation)
{
  g_auto (BtrfsCursor) cursor = {&fs->volume, &fs->volume.root_tree};
  const BtrfsKey key = {inode->root.owner, BTRFS_ROOT_ITEM, 0};

  if (!h2k_btrfs_seek (&cursor, &key, NULL) || !cursor.leaf || cursor.key.objectid != key.objectid
      || cursor.key.type != BTRFS_ROOT_ITEM || cursor.size < ROOT_FLAGS)
    return FALSE;
  *generation = h2k_le64 (cursor.data + ROOT_LAST_SNAPSHOT);
  return TRUE;
}

/* Whether one file alone refers to EXTENT, once. CURSOR is one of the extent tree. */
static gboolean
is_alone (BtrfsCursor *cursor, const Extent *extent)
{
  const BtrfsKey key = {extent->address, BTRFS_EXTENT_ITEM, extent->stored};

  return h2k_btrfs_seek (cursor, &key, NULL) && cursor->leaf && cursor->key.objectid == key.objectid
         && cursor->key.type == key.type && cursor->key.offset == key.offset && cursor->size >= 8
         && h2k_le64 (cursor->data) == 1;
}

/* All copies of LENGTH bytes at LOGICAL. Those that are cut into pieces, Linux does not swap to,
 * and what has parity has to stay as it is. */
static gboolean
add_places (const BtrfsVolume *volume, guint64 logical, guint64 length, GArray *ranges)
{
  while (length)
    {
      const BtrfsChunk *chunk = h2k_btrfs_find_chunk (volume, logical);
      guint64 n, place;

      if (!chunk || chunk->n_columns > 1 || chunk->n_parity)
        return FALSE;
      n = h2k_btrfs_piece (chunk, logical, length);
      for (guint i = 0; i < chunk->n_copies; i++)
        if (h2k_btrfs_place (volume, chunk, logical, i, &place)
            && !h2k_swap_files_add (ranges, place, n))
          return FALSE;
      logical += n;
      length -= n;
    }
  return TRUE;
}

/* As Linux does for swap files in use (btrfs_swap_activate()): they have no checksums, are not
 * packed, and share nothing with other files or snapshots. */
gboolean
h2k_btrfs_swap_places (H2kFs *base, const char *path, guint64 start, guint64 end, GArray *ranges)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  BtrfsRoot extents;
  BtrfsInode inode;
  guint64 snapshot, last = 0;
  guint steps = 0;

  if (!h2k_btrfs_find (fs, path, &inode, NULL) || !inode.has_no_sums
      || !last_snapshot (fs, &inode, &snapshot)
      || !h2k_btrfs_find_root (&fs->volume, BTRFS_EXTENT_TREE, &extents, NULL))
    return FALSE;
  g_auto (BtrfsCursor) cursor = {&fs->volume, &inode.root};
  g_auto (BtrfsCursor) refs = {&fs->volume, &extents};
  start += fs->volume.sector_size - 1;
  start -= start % fs->volume.sector_size;
  end -= end % fs->volume.sector_size;
  if (!seek_extent (&cursor, &inode, start, NULL))
    return FALSE;
  for (; cursor.leaf && cursor.key.objectid == inode.number && cursor.key.type == BTRFS_EXTENT_DATA
         && cursor.key.offset < end;)
    {
      guint64 from, to;
      Extent extent;

      if (steps++ > H2K_SWAP_MAX_RANGES || !parse_extent (&cursor, &extent, NULL)
          || extent.type == INLINE || extent.compression != BTRFS_PLAIN || extent.start < last)
        return FALSE;
      last = extent.start + extent.length;
      from = MAX (start, extent.start);
      to = MIN (end, last);
      if (from < to && extent.type == REGULAR && extent.address
          && (h2k_le64 (cursor.data) <= snapshot || !is_alone (&refs, &extent)
              || !add_places (&fs->volume, extent.address + extent.offset + (from - extent.start),
                              to - from, ranges)))
        return FALSE;
      if (!h2k_btrfs_next (&cursor, NULL))
        return FALSE;
    }
  return TRUE;
}
