/* btrfs.h - what the parts of the reader of files on btrfs share.
 *
 * After btrfs' "On-disk Format" and include/uapi/linux/btrfs_tree.h of Linux. btrfs.c opens, finds
 * names and reads what is in inodes; btrfs-data.c has the content of files, btrfs-unpack.c what is
 * compressed of it, btrfs-subvol.c the list of subvolumes. The trees are btrfs-tree.c's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/btrfs-tree.h"
#include "fs/fs.h"

extern const H2kFsOps h2k_btrfs_ops;

/* The inode of a subvolume's own directory. */
#define BTRFS_FIRST_INODE 256u

/* Types of items. */
enum
{
  BTRFS_INODE_ITEM = 1,
  BTRFS_INODE_REF = 12,
  BTRFS_XATTR_ITEM = 24,
  BTRFS_DIR_ITEM = 84,
  BTRFS_DIR_INDEX = 96,
  BTRFS_EXTENT_DATA = 108,
  BTRFS_EXTENT_CSUM = 128,
  BTRFS_ROOT_BACKREF = 144,
  BTRFS_ROOT_REF = 156,
};

/* A root item begins with an inode item; what is behind ROOT_LEVEL came later, and is only right
 * where the generation is there again. */
enum
{
  ROOT_GENERATION = 160,
  ROOT_LAST_SNAPSHOT = 200,
  ROOT_FLAGS = 208,
  ROOT_REFS = 216,
  ROOT_LEVEL = 238,
  ROOT_GENERATION_2 = 239,
  ROOT_PARENT_UUID = 263,
  ROOT_SIZE_2 = 279, /* with the parent's UUID */

  ROOT_FLAG_READONLY = 1,
};

typedef struct
{
  H2kFs base;
  BtrfsVolume volume;
  BtrfsRoot sums;     /* the tree of the data's checksums */
  GHashTable *roots;  /* BtrfsRoot * by their trees' ids */
  H2kCache *unpacked; /* extents that were compressed */
} BtrfsFs;

/* --- btrfs.c ---------------------------------------------------------------------------------- */

typedef struct
{
  BtrfsRoot root; /* of its subvolume */
  guint64 number;
  guint32 mode, uid, gid, nlink;
  guint64 size, rdev;
  gint64 atime, mtime, ctime;
  guint32 mtime_nsec, ctime_nsec;
  gboolean has_no_sums; /* the file's data are not checked */
} BtrfsInode;

/* The entry of a directory, or an attribute: the key of where it leads to, le16 25 length of the
 * data, le16 27 of the name, u8 29 type, the name, the data. */
typedef struct
{
  BtrfsKey location;
  const guint8 *name, *data;
  guint name_length, data_length;
} BtrfsEntry;

/* Where the subvolume ID is. */
gboolean h2k_btrfs_get_subvolume (BtrfsFs *fs, guint64 id, BtrfsRoot *root, GError **error);
/* Where a path leads to; a subvolume that a snapshot has no part of is an empty directory. */
gboolean h2k_btrfs_find (BtrfsFs *fs, const char *path, BtrfsInode *inode, GError **error);
/* Find NAME among the entries under the TYPE of OBJECT, which are sorted by their names' hashes.
 * CURSOR's item holds the entry; its leaf is NULL when there is none. */
gboolean h2k_btrfs_find_entry (BtrfsCursor *cursor, guint64 object, guint type, const char *name,
                               BtrfsEntry *entry, GError **error);

/* --- btrfs-data.c ----------------------------------------------------------------------------- */

/* Read LENGTH bytes of INODE; BUFFER holds zeros before. */
gboolean h2k_btrfs_read_file (BtrfsFs *fs, const BtrfsInode *inode, guint64 offset, gsize length,
                              guint8 *buffer, GError **error);

/* An H2kSwapPlaces. */
gboolean h2k_btrfs_swap_places (H2kFs *fs, const char *path, guint64 start, guint64 end,
                                GArray *ranges);

/* --- btrfs-unpack.c --------------------------------------------------------------------------- */

typedef enum
{
  BTRFS_PLAIN,
  BTRFS_ZLIB,
  BTRFS_LZO,
  BTRFS_ZSTD,
} BtrfsCompression;

/* Unpack into OUT, which holds zeros before; what comes out may be shorter. SECTOR: the
 * filesystem's. */
gboolean h2k_btrfs_unpack (BtrfsCompression compression, guint sector, const guint8 *in,
                           gsize in_length, guint8 *out, gsize out_length);

/* --- btrfs-subvol.c --------------------------------------------------------------------------- */

GPtrArray *h2k_btrfs_subvolumes (H2kFs *fs, GError **error);
