/* ntfs-check.h - the check of NTFS volumes, and what its files share.
 *
 * ntfs-check.c reads the $MFT in large pieces, and compares in the end what was counted;
 * ntfs-check-record.c looks at one file record, ntfs-check-index.c at one index, ntfs-check-own.c
 * at what the filesystem itself needs.
 *
 * Faults are what chkdsk would repair because it matters. What Windows itself leaves behind (space
 * that is marked as used, times and sizes in directories that are older than those of the files) is
 * a note, or nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/check.h"
#include "fs/ntfs-attr.h"

/* The check of FS, see check.h. */
gboolean h2k_ntfs_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error);

/* --- ntfs-check.c ----------------------------------------------------------------------------- */

enum
{
  NTFS_CHECK_IN_USE = 1,
  NTFS_CHECK_DAMAGED = 2, /* nothing in it could be looked at */
  NTFS_CHECK_PART = 4,    /* it holds attributes of another file */
};

/* What is known of a file record. Names and entries, and the attributes of a file that has several
 * records and what its list says of them, are sums: what belongs together is added once and taken
 * off once, so that 0 is left, in which order ever they are found. */
typedef struct
{
  guint32 names;   /* names of the file, less the entries of directories that lead to it */
  guint32 parts;   /* attributes, less what the attribute list says */
  guint16 links;   /* as its record says */
  guint16 n_names; /* as there are */
  guint16 n_entries;
  guint8 flags;
} NtfsCheckFile;

/* An entry of $SDS begins with le32 0 hash of the descriptor, le32 4 its id, le64 8 where the entry
 * is, le32 16 its length with these 20 bytes. */
#define H2K_NTFS_SDS_HEADER 20u

/* A security descriptor of $Secure. */
typedef struct
{
  guint64 offset; /* in $SDS */
  guint32 id, length;
} NtfsCheckSecurity;

typedef struct
{
  NtfsVolume volume;
  H2kFsCheck *result;
  GCancellable *cancellable;

  guint64 n_records;
  NtfsCheckFile *files;
  guint8 *records_used; /* the $MFT's bitmap */
  guint64 n_unused;     /* records that are marked there but not in use */
  guint64 n_spare;      /* blocks of indexes likewise */
  gboolean lost;        /* something was damaged that had names or entries of other files */

  guint64 first, end; /* clusters of this pass */
  gboolean first_pass;
  guint8 *taken; /* a bit for each of them */

  guint16 *upcase;    /* of 65536 units */
  GArray *securities; /* NtfsCheckSecurity, by id; NULL: which ones there are is not known */
} NtfsCheck;

/* Something is wrong with the file NUMBER. */
void h2k_ntfs_check_say (NtfsCheck *c, guint64 number, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* FAILURE, which is taken, came up at the file NUMBER: a fault of the filesystem is said (TRUE:
 * WHAT is wrong), one of the disk goes to ERROR. */
gboolean h2k_ntfs_check_failure (NtfsCheck *c, guint64 number, const char *what, GError *failure,
                                 GError **error);
/* The file with the number CHILD has or had the NAME of N units in the directory DIR; both are
 * references. */
guint32 h2k_ntfs_check_name_sum (guint64 dir, guint64 child, const guint8 *name, guint n);

/* --- ntfs-check-record.c ---------------------------------------------------------------------- */

/* Look at the file record NUMBER, which is in use and was checked, and at the indexes in it. */
gboolean h2k_ntfs_check_file (NtfsCheck *c, guint64 number, const guint8 *record, GError **error);

/* --- ntfs-check-index.c ----------------------------------------------------------------------- */

/* -1, 0, 1: how Windows sorts two names. */
int h2k_ntfs_check_collate (const NtfsCheck *c, const guint8 *a, guint n_a, const guint8 *b,
                            guint n_b);

/* What an index is of. */
typedef enum
{
  NTFS_CHECK_NAMES,
  NTFS_CHECK_IDS,    /* of security descriptors; they go to c->securities */
  NTFS_CHECK_HASHES, /* of them */
  NTFS_CHECK_OTHER,
} NtfsCheckKind;

/* Look at the index NAME of the file NUMBER, whose reference is REF. RECORD: its first one, NULL:
 * it is to be read. *N_ENTRIES, which may be NULL, gets their number. */
gboolean h2k_ntfs_check_index (NtfsCheck *c, guint64 ref, const guint8 *record, const char *name,
                               NtfsCheckKind kind, guint64 *n_entries, GError **error);

/* --- ntfs-check-own.c ------------------------------------------------------------------------- */

/* Boot sectors, $MFTMirr, $UpCase, $Secure. */
gboolean h2k_ntfs_check_own (NtfsCheck *c, GError **error);
