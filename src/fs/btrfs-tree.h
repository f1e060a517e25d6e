/* btrfs-tree.h - superblock, chunks and trees of a btrfs filesystem on one device, read only as far
 * as is needed to know which of its blocks are in use. As btrfs' "On-disk Format" describes them.
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

typedef struct
{
  H2kDisk *disk;
  guint8 fsid[16]; /* of the nodes */
  guint csum;      /* its type */
  guint node_size, sector_size;
  guint64 generation, devid, device_size, device_used;
  GArray *chunks; /* BtrfsChunk, by logical address, apart from each other */
  BtrfsRoot chunk_tree, root_tree, extent_tree, block_groups;
  H2kCache *nodes;
} BtrfsVolume;

/* Read the superblock of DISK, which is borrowed, the chunks, and where the trees are. Clear VOLUME
 * in any case. */
gboolean h2k_btrfs_open (BtrfsVolume *volume, H2kDisk *disk, GError **error);
void h2k_btrfs_clear (BtrfsVolume *volume);

gboolean h2k_btrfs_corrupt (const BtrfsVolume *volume, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* A place in a tree. Zeros, but for the first two members, before it is used. */
typedef struct
{
  BtrfsVolume *volume;
  const BtrfsRoot *root;
  GBytes *leaf; /* NULL: behind the last item */
  guint slot;
  BtrfsKey key;       /* of the item */
  const guint8 *data; /* of the item, valid until the cursor moves */
  guint32 size;
  gboolean is_last; /* there is no leaf behind this one */
  BtrfsKey next_leaf;
} BtrfsCursor;

/* Go to the first item that is not before KEY. */
gboolean h2k_btrfs_seek (BtrfsCursor *cursor, const BtrfsKey *key, GError **error);
gboolean h2k_btrfs_next (BtrfsCursor *cursor, GError **error);
void h2k_btrfs_cursor_clear (BtrfsCursor *cursor);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BtrfsCursor, h2k_btrfs_cursor_clear)
