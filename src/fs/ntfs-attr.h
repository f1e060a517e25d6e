/* ntfs-attr.h - the records and attributes of an NTFS volume, read only as far as is needed to know
 * which of its clusters are in use. As "NTFS Documentation" (Russon, Fledel) describes them.
 *
 * Nothing is cached but the runs of the $MFT. Offsets and lengths are bytes unless they are called
 * clusters (LCN: on the volume, VCN: in a stream).
 *
 * Errors of all functions: H2K_ERROR_FILESYSTEM (corrupt), H2K_ERROR_UNSUPPORTED, those of the
 * disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"
#include "fs/corrupt.h"

/* Attribute types. */
#define NTFS_STANDARD_INFORMATION 0x10u
#define NTFS_ATTRIBUTE_LIST 0x20u
#define NTFS_FILE_NAME 0x30u
#define NTFS_VOLUME_INFORMATION 0x70u
#define NTFS_DATA 0x80u
#define NTFS_INDEX_ROOT 0x90u
#define NTFS_INDEX_ALLOCATION 0xa0u
#define NTFS_BITMAP 0xb0u
#define NTFS_END 0xffffffffu

/* A reference to a file: le16 of its sequence number above the record's number. */
#define NTFS_RECORD_NUMBER(ref) ((ref)&0xffffffffffffull)
#define NTFS_SEQUENCE(ref) ((guint16)((ref) >> 48))

/* File records with a fixed number. */
enum
{
  NTFS_FILE_MFT,
  NTFS_FILE_MFTMIRR,
  NTFS_FILE_LOGFILE,
  NTFS_FILE_VOLUME,
  NTFS_FILE_ATTRDEF,
  NTFS_FILE_ROOT,
  NTFS_FILE_BITMAP,
  NTFS_FILE_BOOT,
  NTFS_FILE_BADCLUS,
  NTFS_FILE_SECURE,
  NTFS_FILE_UPCASE,
};

#define NTFS_SPARSE G_MAXUINT64 /* as the LCN of a run */

typedef struct
{
  guint64 vcn, lcn, count; /* clusters */
} NtfsRun;

/* The contents of one attribute. */
typedef struct
{
  guint8 *value;             /* when it is resident, else NULL */
  GArray *runs;              /* NtfsRun, without a gap from VCN 0 on */
  guint64 size, initialized; /* what is behind INITIALIZED reads as zeros */
  guint16 flags;             /* not 0: compressed, encrypted or sparse */
} NtfsStream;

typedef struct
{
  H2kDisk *disk;
  guint cluster_size, record_size;
  guint64 n_clusters;
  guint64 mft; /* LCN */
  NtfsStream *mft_stream;
} NtfsVolume;

/* Look at the boot sector of DISK, which is borrowed, and at the $MFT's own record. Clear VOLUME
 * in any case. */
gboolean h2k_ntfs_open (NtfsVolume *volume, H2kDisk *disk, GError **error);
void h2k_ntfs_clear (NtfsVolume *volume);

/* Set *STREAM to the attribute of TYPE and NAME ("" for none) of the file with the number RECORD,
 * or to NULL when the file has no such attribute. SEQUENCE is the one of the reference to it, or 0.
 */
gboolean h2k_ntfs_stream (NtfsVolume *volume, guint64 record, guint sequence, guint32 type,
                          const char *name, NtfsStream **stream, GError **error);
/* The same of the file whose first RECORD is at hand, checked. */
gboolean h2k_ntfs_stream_in (NtfsVolume *volume, const guint8 *record, guint64 number, guint32 type,
                             const char *name, NtfsStream **stream, GError **error);
void h2k_ntfs_stream_free (NtfsStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (NtfsStream, h2k_ntfs_stream_free)

/* Read LENGTH bytes at OFFSET of STREAM, as they lie on the disk. */
gboolean h2k_ntfs_read (NtfsVolume *volume, const NtfsStream *stream, guint64 offset, gsize length,
                        void *buffer, GError **error);

/* Check the LENGTH bytes of a record called MAGIC and put back the bytes that its update sequence
 * array replaced. */
gboolean h2k_ntfs_fix (guint8 *record, gsize length, const char *magic);

/* Whether a record of SIZE bytes, which h2k_ntfs_fix() has seen, is in use and its attributes, up
 * to the one of type NTFS_END, lie inside it, with their names, values and where runs begin. */
gboolean h2k_ntfs_check_record (const guint8 *record, guint32 size);

/* Steps through the runs of one attribute that is not resident, in a record that was checked. */
typedef struct
{
  const guint8 *p, *end;
  guint64 vcn, lcn;
  gboolean damaged;
} NtfsRuns;

void h2k_ntfs_runs_begin (NtfsRuns *runs, const guint8 *attr);
/* The next run, which lies on the volume. FALSE: there is none, or (RUNS->damaged) it makes no
 * sense. */
gboolean h2k_ntfs_runs_next (const NtfsVolume *volume, NtfsRuns *runs, NtfsRun *run);

/* The value of the attribute list ATTR; the caller's. */
NtfsStream *h2k_ntfs_read_list (NtfsVolume *volume, const guint8 *attr, GError **error);
/* Where the entry at AT of an attribute list ends, or 0 when it is none. */
gsize h2k_ntfs_list_end (const NtfsStream *list, gsize at);

/* Set that it is corrupt (see corrupt.h). Always FALSE. */
#define h2k_ntfs_corrupt(ntfs, error, ...)                                                         \
  h2k_set_fs_corrupt ((ntfs)->disk, error, "NTFS", "let chkdsk repair it", __VA_ARGS__)
