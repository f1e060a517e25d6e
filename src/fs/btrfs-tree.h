/* btrfs-tree.h - superblock, chunks and trees of a btrfs filesystem on one device, as btrfs'
 * "On-disk Format" describes them. What lies in the trees is read by btrfs-usage.c and btrfs.c.
 *
 * Nothing is believed that its checksum, its place, its filesystem's id, its level, its owner and
 * its parent's idea of its generation and first key do not agree with.
 *
 * Errors of all functions: H2K_ERROR_FILESYSTEM (corrupt), H2K_ERROR_UNSUPPORTED, those of the
 * disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/cache.h"
#include "disk/disk.h"

#define BTRFS_SUPER_SIZE 4096u

/* Objects and types of items. */
#define BTRFS_ROOT_TREE 1u
#define BTRFS_EXTENT_TREE 2u
#define BTRFS_CHUNK_TREE 3u
#define BTRFS_TOP_TREE 5u
#define BTRFS_CSUM_TREE 7u
#define BTRFS_BLOCK_GROUP_TREE 11u
#define BTRFS_FIRST_CHUNK 256u

#define BTRFS_ROOT_ITEM 132u
#define BTRFS_EXTENT_ITEM 168u
#define BTRFS_METADATA_ITEM 169u
#define BTRFS_BLOCK_GROUP_ITEM 192u
#define BTRFS_CHUNK_ITEM 228u

/* Where the superblock and its copies are, on a device that is large enough. */
#define BTRFS_SUPER 65536u
#define BTRFS_N_SUPERS 3u
extern const guint64 h2k_btrfs_supers[BTRFS_N_SUPERS];

typedef struct
{
  guint64 objectid;
  guint type;
  guint64 offset;
} BtrfsKey;

/* OWNER is the tree's id. */
typedef struct
{
  guint64 owner, bytenr, generation;
  guint level;
} BtrfsRoot;

/* A range of logical addresses, and where its copies are on the device. */
typedef struct
{
  guint64 logical, length;
  guint n_copies;
  guint64 copies[2];
} BtrfsChunk;

/* What a volume is opened for. Files can be read where it cannot be told which blocks are in use:
 * with a log that was not replayed, with marks of errors, with features that change only how is
 * written. */
typedef enum
{
  BTRFS_FOR_USAGE,
  BTRFS_FOR_FILES,
} BtrfsPurpose;

typedef struct
{
  H2kDisk *disk;
  BtrfsPurpose purpose;
  guint8 fsid[16]; /* of the nodes */
  guint csum;      /* its type */
  guint node_size, sector_size;
  guint64 generation, devid, device_size, device_used;
  guint64 bytes_used;  /* by extents, each counted once */
  guint64 root_dir;    /* the directory in the root tree */
  gboolean has_log;    /* that was not replayed */
  gboolean has_errors; /* says the superblock */
  GArray *chunks;      /* BtrfsChunk, by logical address, apart from each other */
  BtrfsRoot chunk_tree, root_tree;
  BtrfsRoot extent_tree, block_groups; /* for usage */
  H2kCache *nodes;
} BtrfsVolume;

/* Read the superblock of DISK, which is borrowed, the chunks, and where the trees are. Clear VOLUME
 * in any case. */
gboolean h2k_btrfs_open (BtrfsVolume *volume, H2kDisk *disk, BtrfsPurpose purpose, GError **error);
void h2k_btrfs_clear (BtrfsVolume *volume);

gboolean h2k_btrfs_corrupt (const BtrfsVolume *volume, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* Where the tree ID is. */
gboolean h2k_btrfs_find_root (BtrfsVolume *volume, guint64 id, BtrfsRoot *root, GError **error);
/* Whether ID is that of a tree of files. */
gboolean h2k_btrfs_is_subvolume (guint64 id);

/* The chunk that holds LOGICAL, or NULL. */
const BtrfsChunk *h2k_btrfs_find_chunk (const BtrfsVolume *volume, guint64 logical);
/* The size of a checksum, and whether that at SUM is DATA's. */
guint h2k_btrfs_sum_size (const BtrfsVolume *volume);
gboolean h2k_btrfs_sum_is_right (const BtrfsVolume *volume, const guint8 *data, gsize length,
                                 const guint8 *sum);

/* A place in a tree. Zeros, but for the first two members, before it is used. */
typedef struct
{
  BtrfsVolume *volume;
  const BtrfsRoot *root;
  GBytes *leaf; /* NULL: behind the last item, or before the first one */
  guint slot;
  BtrfsKey key;       /* of the item */
  const guint8 *data; /* of the item, valid until the cursor moves */
  guint32 size;
  gboolean is_last; /* there is no leaf behind this one */
  BtrfsKey next_leaf;
} BtrfsCursor;

/* Go to the first item that is not before KEY. */
gboolean h2k_btrfs_seek (BtrfsCursor *cursor, const BtrfsKey *key, GError **error);
/* Go to the last item that is not behind KEY. */
gboolean h2k_btrfs_seek_back (BtrfsCursor *cursor, const BtrfsKey *key, GError **error);
gboolean h2k_btrfs_next (BtrfsCursor *cursor, GError **error);
void h2k_btrfs_cursor_clear (BtrfsCursor *cursor);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BtrfsCursor, h2k_btrfs_cursor_clear)
