/* ext.h - the ext2/3/4 driver: what its files share.
 *
 * ext.c opens and reads, ext-write.c changes, ext-usage.c tells which blocks are in use,
 * ext-recover.c brings a filesystem that was not unmounted into order, ext-io.c is the channel
 * through which libext2fs reads and writes an H2kDisk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

#include <ext2fs/ext2fs.h>

/* Younger than libext2fs 1.46. */
#ifndef EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT
#  define EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT 0x10000
#endif

extern const H2kFsOps h2k_ext_ops;

/* --- ext-io.c --------------------------------------------------------------------------------- */

/* Open VOLUME with libext2fs; FLAGS as for ext2fs_open(). On failure returns libext2fs's code and
 * sets ERROR to the disk's own error if that was the reason. */
errcode_t h2k_ext_io_open (H2kDisk *volume, int flags, ext2_filsys *fs, GError **error);

/* Start an operation on FS that may transfer at most BUDGET times; what is more fails. Corrupt
 * trees can make libext2fs walk for years. */
void h2k_ext_io_begin (ext2_filsys fs, guint64 budget);

/* The disk's error behind the last failure, the caller's, or NULL. */
GError *h2k_ext_io_take_error (ext2_filsys fs);

/* --- ext.c ------------------------------------------------------------------------------------ */

typedef struct
{
  H2kFs base;
  ext2_filsys fs;
  gboolean changes;  /* the library may write to the volume: it is writable or an overlay of ours */
  GHashTable *names; /* see ext-names.c */
  guint n_names;
} ExtFs;

/* An inode with the fields past the first 128 bytes; what the disk's inode does not have is 0. */
typedef struct
{
  ext2_ino_t ino;
  union
  {
    struct ext2_inode_large large;
    struct ext2_inode small;
  };
} ExtInode;

gboolean h2k_ext_takes (const H2kFsId *id);
/* Open VOLUME as if it could not be written, whether it can or not. */
H2kFs *h2k_ext_open_read_only (H2kDisk *volume, const H2kFsId *id, GError **error);

/* Set ERROR for libext2fs's code ERR and return FALSE; FORMAT says what failed ("cannot read
 * /etc/fstab"). The disk's own error, if it was the reason, keeps its code. */
gboolean h2k_ext_fail (ExtFs *ext, errcode_t err, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);
/* The same for what is not libext2fs's error: "VOLUME: MESSAGE". */
gboolean h2k_ext_refuse (ExtFs *ext, H2kError code, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* Begin an operation that moves LENGTH bytes of file data. */
void h2k_ext_begin (ExtFs *ext, guint64 length);

/* PATH for messages; the caller's. */
char *h2k_ext_quote (const char *path);

/* Find PATH and read its inode. */
gboolean h2k_ext_find (ExtFs *ext, const char *path, ExtInode *inode, GError **error);
/* Find the directory that holds PATH's last component, which is returned in NAME. PATH "/" is an
 * error. */
gboolean h2k_ext_find_parent (ExtFs *ext, const char *path, ExtInode *parent, const char **name,
                              GError **error);
/* Look NAME, of LENGTH bytes, up in DIR, which is (a part of) PATH: *INO is 0 when it is not there.
 */
gboolean h2k_ext_lookup (ExtFs *ext, const ExtInode *dir, const char *path, const char *name,
                         gsize length, ext2_ino_t *ino, GError **error);
/* To be called where an entry of a directory changes. */
void h2k_ext_forget_names (ExtFs *ext);
gboolean h2k_ext_read_inode (ExtFs *ext, ext2_ino_t ino, const char *path, ExtInode *inode,
                             GError **error);
/* Call FUNC for each entry in use; a result other than 0 ends the walk (DIRENT_CHANGED and
 * DIRENT_ABORT as in libext2fs). */
typedef int (*ExtEntryFunc) (struct ext2_dir_entry *entry, const char *name, gsize length,
                             gpointer data);
gboolean h2k_ext_walk_dir (ExtFs *ext, const ExtInode *dir, const char *path, ExtEntryFunc func,
                           gpointer data, GError **error);

/* Open the volume with libext2fs (again); FLAGS as for ext2fs_open(). */
gboolean h2k_ext_reopen (ExtFs *ext, int flags, GError **error);

/* Largest directory that is walked: entries, used or not. */
#define H2K_EXT_MAX_ENTRIES (8u << 20)

/* --- ext-write.c ------------------------------------------------------------------------------ */

gboolean h2k_ext_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data,
                        gsize length, GError **error);
gboolean h2k_ext_truncate (H2kFs *fs, const char *path, guint64 size, GError **error);
gboolean h2k_ext_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                         const char *target, GError **error);
gboolean h2k_ext_remove (H2kFs *fs, const char *path, GError **error);
gboolean h2k_ext_rename (H2kFs *fs, const char *from, const char *to, GError **error);
gboolean h2k_ext_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error);
GPtrArray *h2k_ext_list_xattr (H2kFs *fs, const char *path, GError **error);
GBytes *h2k_ext_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error);
gboolean h2k_ext_set_xattr (H2kFs *fs, const char *path, const char *name, GBytes *value,
                            GError **error);
gboolean h2k_ext_flush (H2kFs *fs, GError **error);
/* The same without a look at H2kFs.writable. */
gboolean h2k_ext_sync (ExtFs *ext, GError **error);

/* Free the blocks, the attributes and the number of an inode whose link count is 0. */
errcode_t h2k_ext_release_inode (ExtFs *ext, ExtInode *inode);
/* Free the blocks of a file from the block FIRST on. */
errcode_t h2k_ext_punch (ExtFs *ext, ExtInode *inode, guint64 first);
/* Read the bitmaps, which is put off until something is allocated or freed. */
gboolean h2k_ext_load_bitmaps (ExtFs *ext, GError **error);

/* --- ext-swap.c ------------------------------------------------------------------------------- */

/* An H2kSwapPlaces. */
gboolean h2k_ext_swap_places (H2kFs *fs, const char *path, guint64 start, guint64 end,
                              GArray *ranges);

/* --- ext-recover.c ---------------------------------------------------------------------------- */

/* Write home what the journal holds. On a read-only volume an overlay takes the volume's place, so
 * that files read as they will after the replay. The filesystem is to be opened again. */
gboolean h2k_ext_replay_journal (ExtFs *ext, GError **error);
/* Bring the open filesystem into order after that: the counts in the superblock, the flag that
 * asks for a replay. */
gboolean h2k_ext_finish_replay (ExtFs *ext, GError **error);
/* Remove or truncate the inodes that were waiting for it when the guest stopped. */
gboolean h2k_ext_clear_orphans (ExtFs *ext, GError **error);
