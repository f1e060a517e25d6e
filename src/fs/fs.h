/* fs.h - files on a volume. Which blocks of it are in use is usage.h's.
 *
 * Paths are absolute inside the filesystem, without "." and "..", and no symbolic link in them is
 * followed, not even in the middle (that is an error): links are resolved by guest/tree.h, which
 * knows all the mounts.
 *
 * Thread-safety: one filesystem is used by one thread at a time.
 *
 * A new driver is one file and one line in the table of fs.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct _H2kFs H2kFs;

/* What a volume holds, from its superblock alone. */
typedef struct
{
  char
      type[24];   /* "ext2" "ext3" "ext4" "swap" "xfs" "btrfs" "vfat" "ntfs" "LVM2_member"
                     "crypto_LUKS" "linux_raid_member" "iso9660", or "" when unknown; blkid's names */
  char uuid[64];  /* as blkid prints it; "" when there is none */
  char label[68]; /* UTF-8, escaped with h2k_escape_text(); "" when there is none */
} H2kFsId;

/* Recognise VOLUME. Unknown content is not an error. */
gboolean h2k_fs_identify (H2kDisk *volume, H2kFsId *id, GError **error);
/* The 16 bytes of UUID as text of 36 characters, and its end. */
void h2k_fs_format_uuid (const guint8 *uuid, char *text);

typedef struct
{
  guint32 mode; /* type and permissions as in struct stat */
  guint32 uid, gid;
  guint64 size;
  guint64 inode;
  guint64 rdev; /* major:minor of device nodes as makedev() */
  guint32 nlink;
  gint64 atime, mtime, ctime;     /* seconds */
  guint32 mtime_nsec, ctime_nsec; /* what is above them; 0 where that is not kept */
} H2kStat;

/* A tree of files within a filesystem that can be mounted by itself. */
typedef struct
{
  guint64 id;
  char *path;           /* from the top level, which is "/"; names are not escaped */
  gboolean is_default;  /* what a mount shows that does not say which one */
  gboolean is_snapshot; /* made as a copy of another one */
  gboolean is_readonly;
} H2kSubvolume;

void h2k_subvolume_free (H2kSubvolume *subvolume);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kSubvolume, h2k_subvolume_free)

typedef struct
{
  const char *name; /* driver, for example "ext" */
  /* Whether the driver takes filesystems of this type. */
  gboolean (*takes) (const H2kFsId *id);
  /* Errors of all: H2K_ERROR_FILESYSTEM, and those of the disk; a name that does not exist is
   * H2K_ERROR_FAILED everywhere, so that "missing" and "corrupt" are told apart. */
  H2kFs *(*open) (H2kDisk *volume, const H2kFsId *id, GError **error);

  gboolean (*lstat) (H2kFs *fs, const char *path, H2kStat *st, GError **error);
  /* Names without "." and "..", in any order: char *, the caller's. */
  GPtrArray *(*list) (H2kFs *fs, const char *path, GError **error);
  char *(*readlink) (H2kFs *fs, const char *path, GError **error);
  GBytes *(*read) (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error);
  /* The subvolumes, by id: H2kSubvolume *, the caller's, the top level among them, and those left
   * out that cannot be reached from there. A path of the other operations starts at the top level,
   * whichever is the default one; below it, a subvolume is a directory. NULL where a filesystem
   * has no subvolumes. */
  GPtrArray *(*subvolumes) (H2kFs *fs, GError **error);

  /* Changing. A driver that only reads leaves these, to flush, NULL: h2k_fs_check_writable().
   *
   * Write into an existing regular file; past its end it grows. */
  gboolean (*write) (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
                     GError **error);
  gboolean (*truncate) (H2kFs *fs, const char *path, guint64 size, GError **error);
  /* Make an inode: a regular file, a directory, or (TARGET not NULL) a symbolic link. */
  gboolean (*create) (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                      const char *target, GError **error);
  /* Remove a name; a directory must be empty. */
  gboolean (*remove) (H2kFs *fs, const char *path, GError **error);
  gboolean (*rename) (H2kFs *fs, const char *from, const char *to, GError **error);
  /* Set mode (permissions only), owner and times (seconds) from ST. */
  gboolean (*set_stat) (H2kFs *fs, const char *path, const H2kStat *st, GError **error);
  /* Extended attributes with their prefix ("security.selinux"). get: NULL without an error when
   * there is none. set: VALUE NULL removes; NULL where the filesystem has no attributes. */
  GPtrArray *(*list_xattr) (H2kFs *fs, const char *path, GError **error);
  GBytes *(*get_xattr) (H2kFs *fs, const char *path, const char *name, GError **error);
  gboolean (*set_xattr) (H2kFs *fs, const char *path, const char *name, GBytes *value,
                         GError **error);

  /* Add to PLACES (H2kExtent) where the bytes START to END of a regular file lie on the volume,
   * whole blocks only, or all that it lies on. FALSE: that is not clear. NULL: never. */
  gboolean (*places) (H2kFs *fs, const char *path, guint64 start, guint64 end, GArray *places);

  /* Bytes that new files can take. */
  guint64 (*free_space) (H2kFs *fs);
  /* Write everything that is cached to the volume. */
  gboolean (*flush) (H2kFs *fs, GError **error);
  void (*close) (H2kFs *fs); /* without flushing */
} H2kFsOps;

struct _H2kFs
{
  const H2kFsOps *ops;
  H2kDisk *volume; /* a reference */
  H2kFsId id;
  gboolean writable;
  gboolean journal_replayed; /* the log held changes and was replayed into VOLUME */
  guint64 journal_blocks;    /* how many blocks the replay wrote */
  char *note;   /* what is to be known of the state it was found in ("it was not unmounted"); NULL:
                 * nothing */
  char *frozen; /* why it must not be changed by anybody, though it can be read; NULL: it may be */
};

/* Open what VOLUME holds. A writable volume (an overlay) gets the filesystem's journal replayed
 * and is opened for writing; a read-only one is opened as it lies there.
 * Errors: H2K_ERROR_UNSUPPORTED (no driver: the type is in the message), H2K_ERROR_FILESYSTEM
 * (corrupt), those of the disk. */
H2kFs *h2k_fs_open (H2kDisk *volume, GError **error);
/* Whether FS can be changed; before that nothing else than reading is done to it. Errors:
 * H2K_ERROR_UNSUPPORTED (no driver writes this type, or it is frozen), H2K_ERROR_FILESYSTEM (the
 * volume is open for reading only). */
gboolean h2k_fs_check_writable (H2kFs *fs, GError **error);
void h2k_fs_free (H2kFs *fs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFs, h2k_fs_free)

/* The filesystem that FS is a folder of by h2k_fs_subtree_new(), and which one: ROOT gets its path,
 * FS's. FS itself and "" when it is none. */
H2kFs *h2k_fs_whole (H2kFs *fs, const char **root);
/* The folder ROOT of WHOLE, which has to live longer, as a filesystem of its own. Flushing it
 * flushes WHOLE. */
H2kFs *h2k_fs_subtree_new (H2kFs *whole, const char *root);

/* For drivers. */
void h2k_fs_init (H2kFs *fs, const H2kFsOps *ops, H2kDisk *volume, const H2kFsId *id);
