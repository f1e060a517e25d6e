/* xfs.h - what the parts of the XFS reader share.
 *
 * After "XFS Algorithms & Data Structures", 3rd edition, and fs/xfs/libxfs/xfs_format.h of Linux.
 * xfs-super.c reads the superblock, xfs-log.c looks at the log, xfs-usage.c tells which blocks are
 * in use. The driver of files: xfs.c opens and reads, xfs-inode.c has inodes and where their blocks
 * are, xfs-dir.c directories, xfs-attr.c attributes. It only reads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/corrupt.h"
#include "fs/fs.h"

/* --- xfs-super.c ------------------------------------------------------------------------------ */

/* From a superblock that makes sense: all the numbers fit to each other and to the volume. */
typedef struct
{
  guint block_log; /* sizes as powers of 2: a block, 9 to 16 */
  guint ag_log;    /* the bits of a block's number that are its place in its group */
  guint inode_log;
  guint dir_log; /* a directory's block in blocks */
  guint32 sector_size, ag_blocks, ag_count;
  guint64 blocks, free_blocks;
  guint64 root;      /* the root directory's inode */
  gboolean crc;      /* version 5: the structures carry checksums, their place and their owner */
  gboolean has_type; /* of the file, in directories */
  guint8 uuid[16];   /* as the structures carry it */
  guint64 log;       /* bytes; 0: on another device */
  guint64 log_size;  /* bytes */
} H2kXfsLayout;

/* Errors: those of the disk, H2K_ERROR_FILESYSTEM, H2K_ERROR_UNSUPPORTED. */
gboolean h2k_xfs_read_layout (H2kDisk *volume, H2kXfsLayout *layout, GError **error);
/* Set ERROR to "VOLUME: the XFS filesystem WHY" and return FALSE. */
gboolean h2k_xfs_fail (H2kDisk *volume, H2kError code, GError **error, const char *why);
/* The blocks of group AG. */
guint32 h2k_xfs_ag_length (const H2kXfsLayout *layout, guint64 ag);
/* Where BLOCK of group AG lies on the volume, in bytes. */
guint64 h2k_xfs_offset (const H2kXfsLayout *layout, guint64 ag, guint64 block);
/* Whether the CRC-32C at AT, taken over all of DATA with itself as zeros, is right. */
gboolean h2k_xfs_crc_is_right (const guint8 *data, gsize size, gsize at);

/* --- xfs-log.c -------------------------------------------------------------------------------- */

/* Whether the log of LAYOUT, which is not on another device, ends with the record that unmounting
 * writes, so that nothing in it has to be replayed. A log that makes no sense is not clean. Errors:
 * those of the disk. */
gboolean h2k_xfs_log_is_clean (H2kDisk *volume, const H2kXfsLayout *layout, gboolean *clean,
                               GError **error);

/* --- xfs-inode.c ------------------------------------------------------------------------------ */

extern const H2kFsOps h2k_xfs_ops;

/* An H2kSwapPlaces of xfs.c. */
gboolean h2k_xfs_swap_places (H2kFs *fs, const char *path, guint64 start, guint64 end,
                              GArray *ranges);

typedef struct
{
  H2kFs base;
  H2kXfsLayout layout;
  struct _H2kCache *chunks; /* of the volume, for metadata */
  GHashTable *dirs;         /* XfsDir by their inodes */
  guint64 entries;          /* in all of DIRS */
} XfsFs;

typedef enum
{
  XFS_DATA,
  XFS_ATTRIBUTES,
} XfsForkKind;

/* How a fork keeps what it has. */
typedef enum
{
  XFS_DEVICE = 0,
  XFS_LOCAL = 1,
  XFS_EXTENTS = 2,
  XFS_BTREE = 3,
} XfsFormat;

typedef struct
{
  XfsFormat format;
  const guint8 *bytes; /* in the inode */
  gsize size;
  guint64 n_extents;
} XfsFork;

#define H2K_XFS_MAX_INODE 2048u

typedef struct
{
  guint64 number;
  guint32 mode, uid, gid, nlink;
  guint64 size;
  gint64 atime, mtime, ctime;
  guint32 mtime_nsec, ctime_nsec;
  gboolean realtime;
  guint8 raw[H2K_XFS_MAX_INODE];
} XfsInode;

/* Where the block at START, and COUNT - 1 more, of a fork are. */
typedef struct
{
  guint64 start, count;
  guint64 offset; /* bytes on the volume; 0: they are zeros */
} XfsExtent;

/* Set that it is corrupt (see corrupt.h). Always FALSE. */
#define h2k_xfs_corrupt(xfs, error, ...)                                                           \
  h2k_set_fs_corrupt ((xfs)->base.volume, error, "XFS", "run xfs_repair on a copy of it",          \
                      __VA_ARGS__)
/* Read metadata. */
gboolean h2k_xfs_read (XfsFs *xfs, guint64 offset, gsize length, guint8 *buffer, GError **error);
gboolean h2k_xfs_read_inode (XfsFs *xfs, guint64 number, XfsInode *inode, GError **error);
/* FALSE when there is no such fork. */
gboolean h2k_xfs_fork (const XfsFs *xfs, const XfsInode *inode, XfsForkKind kind, XfsFork *fork);
/* The extent with BLOCK; what is not mapped, up to G_MAXUINT64, counts as zeros. */
gboolean h2k_xfs_map (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork, guint64 block,
                      XfsExtent *extent, GError **error);
/* The bytes of a fork that has extents, cached when they are METADATA. */
gboolean h2k_xfs_read_fork (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork,
                            gboolean metadata, guint64 offset, gsize length, guint8 *buffer,
                            GError **error);
/* Whether version 5's fields of a block that belongs to INODE are right: the checksum at CRC, the
 * UUID and the owner at UUID and behind it. TRUE for version 4. */
gboolean h2k_xfs_block_is_good (const XfsFs *xfs, const XfsInode *inode, const guint8 *data,
                                gsize size, gsize crc, gsize uuid);

/* Whether the blocks of INODE may be those of other files, too. */
gboolean h2k_xfs_may_share (const XfsInode *inode);

/* --- xfs-dir.c -------------------------------------------------------------------------------- */

typedef struct
{
  guint64 number;
  GHashTable *entries; /* guint64 *: inodes by their names */
} XfsDir;

void h2k_xfs_dir_free (gpointer dir);
/* The directory INODE, owned by XFS until the next one is read. */
const XfsDir *h2k_xfs_read_dir (XfsFs *xfs, const XfsInode *inode, GError **error);

/* --- xfs-attr.c ------------------------------------------------------------------------------- */

/* Extended attributes as H2kFsOps has them, of INODE. */
GPtrArray *h2k_xfs_list_attributes (XfsFs *xfs, const XfsInode *inode, GError **error);
GBytes *h2k_xfs_get_attribute (XfsFs *xfs, const XfsInode *inode, const char *name, GError **error);
