/* btrfs-tree.h - superblocks, chunks and trees of a btrfs filesystem, as btrfs' "On-disk Format"
 * describes them. What lies in the trees is read by btrfs-usage.c and btrfs.c.
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
#include "fs/corrupt.h"

#define BTRFS_SUPER_SIZE 4096u

/* Objects and types of items. */
#define BTRFS_ROOT_TREE 1u
#define BTRFS_EXTENT_TREE 2u
#define BTRFS_CHUNK_TREE 3u
#define BTRFS_TOP_TREE 5u
#define BTRFS_CSUM_TREE 7u
#define BTRFS_BLOCK_GROUP_TREE 11u
#define BTRFS_DEVICES 1u
#define BTRFS_FIRST_CHUNK 256u

#define BTRFS_ROOT_ITEM 132u
#define BTRFS_EXTENT_ITEM 168u
#define BTRFS_METADATA_ITEM 169u
#define BTRFS_BLOCK_GROUP_ITEM 192u
#define BTRFS_DEVICE_ITEM 216u
#define BTRFS_CHUNK_ITEM 228u

#define BTRFS_MAX_LEVEL 8u

/* Where the superblock and its copies are, on a device that is large enough. */
#define BTRFS_SUPER 65536u
#define BTRFS_N_SUPERS 3u
extern const guint64 h2k_btrfs_supers[BTRFS_N_SUPERS];

/* Some of what is in it, and a flag: nobody writes to its devices. */
enum
{
  BTRFS_SUPER_FSID = 32,
  BTRFS_SUPER_FLAGS = 56,
  BTRFS_SUPER_GENERATION = 72,
  BTRFS_SUPER_DEVICES = 136, /* how many there are */
  BTRFS_SUPER_DEVICE = 201,  /* the number of the one that it is on */
};
#define BTRFS_FLAG_SEED (1ull << 32)
#define BTRFS_RO_COMPAT_BLOCK_GROUP_TREE 0x8u

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

/* One of the devices that the filesystem lies on. */
typedef struct
{
  guint64 devid;
  guint8 uuid[16];
  guint64 start;      /* on the volume's disk; BTRFS_NOWHERE: it is missing */
  guint64 room;       /* bytes there */
  guint64 size, used; /* bytes: all that it has, and what of that is in chunks */
  guint64 generation;
  const char *name;   /* the disk's */
  gboolean is_behind; /* it was last written before the newest one was */
  gboolean is_listed; /* the chunk tree has it, too */
} BtrfsDevice;
#define BTRFS_NOWHERE G_MAXUINT64
#define BTRFS_MAX_DEVICES 1024u

/* The part of a chunk that is on one device. */
typedef struct
{
  guint device;
  guint64 offset; /* on the device */
} BtrfsStripe;

/* A range of logical addresses, and where it lies. Data goes over the columns in pieces of
 * BTRFS_PIECE bytes, each column being as many stripes side by side as there are copies; with
 * parity, which takes columns of its own, everything moves on by one stripe with each row. */
typedef struct
{
  guint64 logical, length;
  guint
      first; /* of its stripes; missing ones, and those behind the others, come last in a column */
  guint n_stripes, n_copies, n_parity;
  guint n_columns; /* of data */
} BtrfsChunk;
#define BTRFS_PIECE 65536u

typedef struct
{
  GArray *chunks;  /* BtrfsChunk, by logical address, apart from each other */
  GArray *stripes; /* BtrfsStripe */
} BtrfsMap;

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
  guint64 generation, n_devices;
  guint64 size;        /* of all devices */
  guint64 bytes_used;  /* by extents, each counted once */
  guint64 root_dir;    /* the directory in the root tree */
  gboolean has_log;    /* that was not replayed */
  gboolean has_errors; /* says the superblock */
  gboolean is_seed;
  GArray *devices; /* BtrfsDevice: those that are there, by where they begin, then missing ones */
  BtrfsMap map;
  BtrfsRoot chunk_tree, root_tree;
  BtrfsRoot extent_tree, block_groups; /* for usage */
  H2kCache *nodes;
} BtrfsVolume;

/* Read the superblocks of DISK, which is borrowed and may be one of btrfs-devices.h, the chunks,
 * and where the trees are. Clear VOLUME in any case. */
gboolean h2k_btrfs_open (BtrfsVolume *volume, H2kDisk *disk, BtrfsPurpose purpose, GError **error);
void h2k_btrfs_clear (BtrfsVolume *volume);

/* Set that it is corrupt (see corrupt.h), or that something in it is not understood. Always FALSE.
 */
#define h2k_btrfs_corrupt(btrfs, error, ...)                                                       \
  h2k_set_fs_corrupt ((btrfs)->disk, error, "btrfs", "look at it with btrfs check", __VA_ARGS__)
gboolean h2k_btrfs_unsupported (const BtrfsVolume *volume, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* --- btrfs-super.c ---------------------------------------------------------------------------- */

/* Read the superblock of one device, whose checksum has to be right. */
gboolean h2k_btrfs_read_super (H2kDisk *disk, BtrfsPurpose purpose, guint8 *super, GError **error);
/* Read those of all devices of VOLUME; SUPER gets the newest one. */
gboolean h2k_btrfs_read_supers (BtrfsVolume *volume, guint8 *super, GError **error);
/* The size of a checksum, and whether that at SUM is DATA's. */
guint h2k_btrfs_sum_size (const BtrfsVolume *volume);
gboolean h2k_btrfs_sum_is_right (const BtrfsVolume *volume, const guint8 *data, gsize length,
                                 const guint8 *sum);
/* Whether a block agrees with the checksum that it begins with. */
gboolean h2k_btrfs_block_is_right (const BtrfsVolume *volume, const guint8 *block, gsize length);

/* --- btrfs-chunk.c ---------------------------------------------------------------------------- */

void h2k_btrfs_map_clear (BtrfsMap *map);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BtrfsMap, h2k_btrfs_map_clear)

/* Add the chunk at LOGICAL whose item is in SIZE bytes of DATA; *USED: how many of these it has. */
gboolean h2k_btrfs_add_chunk (BtrfsVolume *volume, BtrfsMap *map, guint64 logical,
                              const guint8 *data, gsize size, gsize *used, GError **error);
/* Take MAP, whose chunks become the volume's. */
gboolean h2k_btrfs_set_map (BtrfsVolume *volume, BtrfsMap *map, GError **error);
/* Note that the chunk tree lists the device whose item is in SIZE bytes of DATA. */
gboolean h2k_btrfs_list_device (BtrfsVolume *volume, const guint8 *data, gsize size,
                                GError **error);
/* The chunk that holds LOGICAL, or NULL. */
const BtrfsChunk *h2k_btrfs_find_chunk (const BtrfsVolume *volume, guint64 logical);
/* How much of the LENGTH bytes at LOGICAL, which is in CHUNK, lies in one piece. */
guint64 h2k_btrfs_piece (const BtrfsChunk *chunk, guint64 logical, guint64 length);
/* Where on the volume's disk copy number COPY of LOGICAL is; FALSE: on a missing device. */
gboolean h2k_btrfs_place (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical,
                          guint copy, guint64 *place);
/* Bytes of CHUNK on each of its devices. */
guint64 h2k_btrfs_stripe_length (const BtrfsChunk *chunk);
/* Say which devices would be needed to read LOGICAL. FALSE. */
gboolean h2k_btrfs_set_missing (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical,
                                GError **error);
/* "device 2 (UUID ...), ...": the missing ones, or NULL. The caller's. */
char *h2k_btrfs_missing_devices (const BtrfsVolume *volume);

/* --- btrfs-tree.c ----------------------------------------------------------------------------- */

/* Where the tree ID is. */
gboolean h2k_btrfs_find_root (BtrfsVolume *volume, guint64 id, BtrfsRoot *root, GError **error);
/* Whether ID is that of a tree of files. */
gboolean h2k_btrfs_is_subvolume (guint64 id);

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
