/* ntfs-private.h - the NTFS driver: what its files share.
 *
 * ntfs.c opens and reads, ntfs-write.c changes, ntfs-device.c lets libntfs-3g read and write an
 * H2kDisk, ntfs-state.c finds out in which state a volume was left, ntfs-names.c knows names,
 * ntfs-acl.c makes the security descriptors of new files, ntfs-reparse.c knows links and other
 * files that are not what they seem, ntfs-wof.c those that CompactOS compressed, ntfs-xattr.c shows
 * what Windows keeps beside a file's content.
 * ntfs-attr.h, which reads without libntfs-3g, is beside them.
 *
 * libntfs-3g keeps an open file (ntfs_inode) as a copy of its record. Two copies of one record
 * would overwrite each other, so that no file is open twice, and none between two operations but
 * those the library itself keeps open ($MFT, $Bitmap, $Volume, $Secure).
 *
 * Beware: its functions return 0 or -1 and set errno; some close what they are given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/ntfs.h"

#include <errno.h>
#include <sys/stat.h>

#include <ntfs-3g/types.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/index.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/reparse.h>
#include <ntfs-3g/security.h>
#include <ntfs-3g/volume.h>
#include <ntfs-3g/xattrs.h>

/* A piece of a file of CompactOS, unpacked. */
typedef struct
{
  guint64 file, index;
  guint8 *data; /* NULL: none */
} NtfsWofChunk;

typedef struct
{
  H2kFs base;
  H2kNtfsState state;
  ntfs_volume *vol;
  struct SECURITY_CONTEXT security;
  struct PERMISSIONS_CACHE *no_cache; /* NULL: what SECURITY has to point to */
  s64 position;                       /* of the device */
  GError *disk_error;                 /* why the last operation of the device failed */
  GHashTable *trusted;                /* guint64: directories that were checked */
  gboolean trusts_own;                /* the filesystem's own indexes were checked */
  gboolean failed;                    /* a change was written in part */
  NtfsWofChunk chunk;                 /* the last one that was read */
} NtfsFs;

/* Forget the errors of the operation before. */
void h2k_ntfs_begin (NtfsFs *ntfs);
/* Set ERROR to "VOLUME: PATH: WHY" and return FALSE. */
gboolean h2k_ntfs_refuse (NtfsFs *ntfs, H2kError code, GError **error, const char *path,
                          const char *why);
/* libntfs-3g could not do WHAT ("cannot be read") to PATH; errno says why. Returns FALSE. */
gboolean h2k_ntfs_fail (NtfsFs *ntfs, GError **error, const char *path, const char *what);

/* --- ntfs-device.c ---------------------------------------------------------------------------- */

/* Open the volume through libntfs-3g, which writes nothing to it as long as nothing is changed.
 * NULL: errno or ntfs->disk_error says why. */
ntfs_volume *h2k_ntfs_mount (NtfsFs *ntfs, gboolean writable);

/* --- ntfs-state.c ----------------------------------------------------------------------------- */

/* Look at the boot sector, and at what libntfs-3g trusts, before it does. */
gboolean h2k_ntfs_check_layout (NtfsFs *ntfs, GError **error);
/* Fill STATE, and set base.frozen and base.note. */
gboolean h2k_ntfs_find_state (NtfsFs *ntfs, GError **error);

/* --- ntfs-names.c ----------------------------------------------------------------------------- */

#define H2K_NTFS_MAX_UNITS 255u
/* Bytes of the longest name: a unit is three at most, two that belong together are four. */
#define H2K_NTFS_NAME_BYTES (H2K_NTFS_MAX_UNITS * 3 + 1)

/* N units of UTF-16 as UTF-8. Surrogates that have no partner, which Windows allows, are three
 * bytes as others are ("WTF-8"), so that every name can be told from any other and be found by it.
 * BUFFER has 3 * N + 1 bytes. Returns how many there are without the zero at the end. */
gsize h2k_ntfs_to_utf8 (const ntfschar *units, gsize n, char *buffer);
/* The LENGTH bytes of TEXT in UTF-16, at most MAX units. Returns how many; -1: too long, or not
 * WTF-8. */
int h2k_ntfs_to_utf16 (const char *text, gsize length, ntfschar *units, gsize max);
/* Why a new file cannot have this name, or NULL. */
const char *h2k_ntfs_judge_name (const ntfschar *units, int n);

/* --- ntfs.c ----------------------------------------------------------------------------------- */

typedef struct
{
  ntfschar units[H2K_NTFS_MAX_UNITS];
  int n;
} NtfsName;

/* Find NAME in DIR, without regard to case when it is not there as it stands. The reference of its
 * file goes to *REF. FALSE: errno is ENOENT, or says what is wrong. */
gboolean h2k_ntfs_find_in (ntfs_inode *dir, const NtfsName *name, guint64 *ref);
/* The file called PATH, open. */
ntfs_inode *h2k_ntfs_open_path (NtfsFs *ntfs, const char *path, GError **error);
/* The directory that has PATH's last component, open; NAME gets that. INSIDE (0: none) is the
 * number of a directory that PATH must not lead into. */
ntfs_inode *h2k_ntfs_open_parent (NtfsFs *ntfs, const char *path, guint64 inside, NtfsName *name,
                                  GError **error);
gboolean h2k_ntfs_is_dir (const ntfs_inode *ni);
/* Whether NI is a regular file whose content is here, where it seems to be or (*WOF) compressed by
 * CompactOS; sets ERROR if not. */
gboolean h2k_ntfs_check_plain (NtfsFs *ntfs, ntfs_inode *ni, const char *path, gboolean *wof,
                               GError **error);
/* Seconds since 1970 of a time of NTFS, rounded down, and back. */
gint64 h2k_ntfs_seconds (ntfs_time when);
ntfs_time h2k_ntfs_time (gint64 seconds);
/* Close NI, and free it also if it cannot be written (FALSE: errno says why). */
gboolean h2k_ntfs_close_file (ntfs_inode *ni);
void h2k_ntfs_close (ntfs_inode *ni);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ntfs_inode, h2k_ntfs_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ntfs_attr, ntfs_attr_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ntfs_attr_search_ctx, ntfs_attr_put_search_ctx)

/* --- ntfs-compressed.c ------------------------------------------------------------------------ */

/* Unpack LZNT1 from IN; OUT_SIZE is a multiple of 4096. What is not there is zeros. */
gboolean h2k_ntfs_unpack (const guint8 *in, gsize in_size, guint8 *out, gsize out_size);
/* Read exactly LENGTH bytes, which must be there, of an attribute. FALSE: errno says why. */
gboolean h2k_ntfs_pread (ntfs_attr *na, guint64 offset, gsize length, void *buffer);
/* Whether the library can read by itself what it needs of NI, without unpacking it. */
gboolean h2k_ntfs_trust (ntfs_inode *ni);
/* The file with the number in REF, if it can be trusted so far. NULL: errno says why. */
ntfs_inode *h2k_ntfs_open_record (NtfsFs *ntfs, guint64 ref);

/* --- ntfs-index.c ----------------------------------------------------------------------------- */

/* Whether libntfs-3g may change the entries of DIR, or those that other directories have of it.
 * Files with names there must not be open, but for DIR. FALSE: errno says why. */
gboolean h2k_ntfs_trust_dir (NtfsFs *ntfs, ntfs_inode *dir);
/* Whether it may change the entries that directories have of NI. None of them must be open that is
 * not trusted yet. */
gboolean h2k_ntfs_trust_parents (NtfsFs *ntfs, ntfs_inode *ni);
/* The same for the filesystem's own indexes. */
gboolean h2k_ntfs_trust_own (NtfsFs *ntfs);

/* --- ntfs-acl.c ------------------------------------------------------------------------------- */

/* The security descriptor of NI. NULL: errno is ENOENT (it has none), or says why. */
GBytes *h2k_ntfs_read_descriptor (ntfs_inode *ni);
/* Whether a self-relative security descriptor of SIZE bytes makes sense. */
gboolean h2k_ntfs_check_descriptor (const guint8 *descriptor, gsize size);
/* The security descriptor that Windows would give to a new file (IS_DIR: directory) in DIR if
 * LocalSystem made it. NULL: the directory's own makes no sense, errno is set. */
GBytes *h2k_ntfs_inherit (ntfs_inode *dir, gboolean is_dir);

/* --- ntfs-reparse.c --------------------------------------------------------------------------- */

/* What NI, which has a reparse point, really is. */
typedef enum
{
  NTFS_REPARSE_NONE,  /* what it seems to be */
  NTFS_REPARSE_LINK,  /* a symbolic link or a junction */
  NTFS_REPARSE_WOF,   /* compressed by CompactOS, see ntfs-wof.c */
  NTFS_REPARSE_OTHER, /* its content is elsewhere */
} NtfsReparse;

NtfsReparse h2k_ntfs_reparse_kind (ntfs_inode *ni);
/* The reparse point of NI as it is. NULL: there is none, or it cannot be read. */
GBytes *h2k_ntfs_read_reparse (ntfs_inode *ni);
/* Where a link leads, as a path or, if that is no place on a volume, as text. NULL: it makes no
 * sense. */
char *h2k_ntfs_link_target (ntfs_inode *ni);
/* The value of a reparse point that leads to TARGET; NULL: it cannot be written so. */
GBytes *h2k_ntfs_make_link (const char *target);

/* --- ntfs-wof.c ------------------------------------------------------------------------------- */

/* A file of CompactOS whose content is being read. */
typedef struct _NtfsWof NtfsWof;

/* Whether a reparse point of WOF, SIZE bytes with its header, is one whose content is in the file:
 * it may be in a WIM file elsewhere, or compressed in a way that is not known. */
gboolean h2k_ntfs_wof_known (const guint8 *point, gsize size);
/* Open the content of NI, which has to stay open. NULL: errno says why. */
NtfsWof *h2k_ntfs_wof_open (NtfsFs *ntfs, ntfs_inode *ni);
void h2k_ntfs_wof_free (NtfsWof *wof);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (NtfsWof, h2k_ntfs_wof_free)
/* Read exactly LENGTH bytes, which must be there. FALSE: errno says why. */
gboolean h2k_ntfs_wof_read (NtfsWof *wof, guint64 offset, gsize length, guint8 *buffer);
/* Make NI an ordinary file, as Windows does before it changes one, of which the first KEEP bytes
 * are kept. FALSE: errno says why; when it was too late to leave it as it was, ntfs->failed is set.
 */
gboolean h2k_ntfs_wof_unpack (NtfsFs *ntfs, ntfs_inode *ni, guint64 keep);

/* --- ntfs-write.c ----------------------------------------------------------------------------- */

/* Write all of DATA. FALSE: errno says why. */
gboolean h2k_ntfs_write_attr (ntfs_attr *na, guint64 offset, const guint8 *data, gsize length);
/* Whether SIZE bytes are free; errno is ENOSPC if not. */
gboolean h2k_ntfs_have_room (ntfs_volume *vol, guint64 size);
gboolean h2k_ntfs_begin_change (NtfsFs *ntfs, GError **error);
gboolean h2k_ntfs_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data,
                         gsize length, GError **error);
gboolean h2k_ntfs_truncate (H2kFs *fs, const char *path, guint64 size, GError **error);
gboolean h2k_ntfs_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                          const char *target, GError **error);
gboolean h2k_ntfs_remove (H2kFs *fs, const char *path, GError **error);
gboolean h2k_ntfs_rename (H2kFs *fs, const char *from, const char *to, GError **error);
gboolean h2k_ntfs_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error);
gboolean h2k_ntfs_flush (H2kFs *fs, GError **error);

/* --- ntfs-xattr.c ----------------------------------------------------------------------------- */

GPtrArray *h2k_ntfs_list_xattr (H2kFs *fs, const char *path, GError **error);
GBytes *h2k_ntfs_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error);
gboolean h2k_ntfs_set_xattr (H2kFs *fs, const char *path, const char *name, GBytes *value,
                             GError **error);
