/* copy.h - the one-pass parallel copy engine and the output writers.
 *
 *   extents of the source ──► chunks ──► worker threads: pread, find zeros, compress ──► writer
 *
 * An H2kOutput is a file under a temporary name in the output's own directory; it gets its final
 * name only by h2k_output_commit(), and is removed when it is freed without that. It may as well be
 * a block device, an NBD export or standard output, which have no name to be given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/image-key.h"

typedef struct _H2kOutput H2kOutput;

typedef enum
{
  H2K_PREALLOCATION_OFF,
  H2K_PREALLOCATION_METADATA, /* every block has its place in the file */
  H2K_PREALLOCATION_FALLOC,   /* and space on the filesystem */
  H2K_PREALLOCATION_FULL,     /* and is written */
} H2kPreallocation;

typedef struct
{
  const char *format;         /* "qcow2", "raw", "vmdk", "vhdx" or "vhd" */
  H2kCompression compression; /* qcow2 only */
  gboolean force;             /* replace an existing PATH at commit; overwrite a device or export */
  gboolean sync;              /* fsync the file and its directory at commit */
  gboolean resume;            /* take up an interrupted run, and leave this one to be taken up */
  const char *identity;       /* what is copied, for RESUME: lines of "what: its state" */
  gboolean files_only;        /* PATH is a file's name, whatever it looks like */
  const char *backing;        /* qcow2: only what differs from this image is written; or NULL */
  const char *backing_format; /* NULL: found by content */
  const H2kImageLuks *luks;   /* qcow2: how it is encrypted, during the output's life; or NULL */
  /* What h2k_output_options_parse() fills; 0: the format's default. */
  guint32 cluster_size;     /* qcow2 */
  guint32 compat;           /* qcow2: its version, 2 or 3 */
  guint32 compression_type; /* qcow2: H2kCompression that the header names */
  guint32 preallocation;    /* qcow2, raw: H2kPreallocation */
  guint32 block_size;       /* vhdx */
  guint32 adapter;          /* vmdk: entry of its table */
  guint32 hw_version;       /* vmdk */
  guint32 no_choice;        /* options that can have one value only */
} H2kOutputOptions;

/* Sort "key=value,..." of the format that OPTIONS name into OPTIONS. The keys are those of
 * `qemu-img convert -o` where it has them. Errors: H2K_ERROR_USAGE. */
gboolean h2k_output_options_parse (const char *text, H2kOutputOptions *options, GError **error);

/* Start an output of SIZE virtual bytes at PATH: a file's name, a block device, the URI of an NBD
 * export, or "-" for standard output. SOURCES (char *, may be NULL) are host files that PATH must
 * not be, also through links, and URIs.
 * Errors: H2K_ERROR_OUTPUT_EXISTS, _OUTPUT, _USAGE (PATH is a source; unknown format; compressed
 * raw; a format that cannot be written to such a place; the interrupted run copied something else),
 * _NO_SPACE, _SOURCE (the source has changed since the interrupted run), those of h2k_disk_open()
 * for the backing file. */
H2kOutput *h2k_output_new (const char *path, guint64 size, const H2kOutputOptions *options,
                           GPtrArray *sources, GError **error);

/* Check that the output's filesystem can hold NEEDED more bytes; the message of H2K_ERROR_NO_SPACE
 * has both numbers. */
gboolean h2k_output_check_space (H2kOutput *output, guint64 needed, GError **error);

/* Where the content is until the commit; NULL: in no file. Owned by OUTPUT. */
const char *h2k_output_temp_path (H2kOutput *output);
/* The finished content, opened afresh through the reader of its format. Errors: those of
 * h2k_disk_open(), H2K_ERROR_USAGE when it cannot be read back. */
H2kDisk *h2k_output_reopen (H2kOutput *output, GError **error);
/* Whether an OUTPUT that is complete has to be verified: a server that was away may have lost what
 * it had taken. */
gboolean h2k_output_is_doubtful (H2kOutput *output);
const char *h2k_output_path (H2kOutput *output);

/* Give the finished file its final name. Errors: H2K_ERROR_OUTPUT, _OUTPUT_EXISTS. */
gboolean h2k_output_commit (H2kOutput *output, GError **error);
void h2k_output_free (H2kOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kOutput, h2k_output_free)

typedef struct
{
  guint threads; /* 0: one a core */
  guint64 rate;  /* most bytes a second that are read from the source; 0: as fast as possible */
  gboolean no_digests; /* h2k_verify() will not be called: what can be shared is not read */
  H2kDisk *overlay;    /* whose changes are never taken from an interrupted run; may be NULL */
  const char *progress_phase;
  H2kProgressFunc progress; /* may be NULL; called by one thread at a time */
  gpointer progress_data;
} H2kCopyOptions;

typedef struct
{
  guint64 bytes_total;   /* virtual size */
  guint64 bytes_read;    /* read from the source disk */
  guint64 bytes_zero;    /* read and found to be zero */
  guint64 bytes_skipped; /* zero or unallocated by the extents, never read */
  guint64 bytes_resumed; /* that an interrupted run had copied; not in bytes_read */
  guint64 bytes_shared;  /* that the output has in common with the source's file; may be in
                          * bytes_read, are not in bytes_written */
  guint64 bytes_written; /* data written to the output file, after compression, with metadata */
} H2kCopyStats;

/* Whether OUTPUT can have blocks of SOURCE's file without a copy of them (reflinks): both on one
 * filesystem that can do that, and the blocks as they are in both. Such blocks take no space. */
gboolean h2k_output_shares (H2kOutput *output, H2kDisk *source);

/* The bytes that h2k_copy() would have to read, from the extents alone. */
gboolean h2k_copy_estimate (H2kDisk *source, guint64 *bytes, GError **error);

/* Copy SOURCE into OUTPUT and make it complete (metadata written, data flushed if the output's
 * options say so). Memory use is bounded by the threads, not by the disk.
 * Errors: those of h2k_disk_pread(), H2K_ERROR_OUTPUT, _NO_SPACE, _CANCELLED. */
gboolean h2k_copy (H2kDisk *source, H2kOutput *output, const H2kCopyOptions *options,
                   GCancellable *cancellable, H2kCopyStats *stats, GError **error);

/* Find the first offset where the contents of A and B differ: DIFFERS, G_MAXUINT64 when they are
 * the same. The shorter disk counts as zeros behind its end. Errors: those of h2k_disk_pread(),
 * H2K_ERROR_CANCELLED. */
gboolean h2k_compare (H2kDisk *a, H2kDisk *b, const H2kCopyOptions *options,
                      GCancellable *cancellable, guint64 *differs, GError **error);

/* Read OUTPUT, which is complete, back through the reader of its format, opened afresh, and compare
 * it with the digests that were made of what was copied while it was copied: every used block, and
 * every other one with zeros. The source is not read again.
 * Errors: H2K_ERROR_VERIFY names the first offset that differs, H2K_ERROR_USAGE: what was written
 * there cannot be read back; those of h2k_disk_open(). */
gboolean h2k_verify (H2kOutput *output, const H2kCopyOptions *options, GCancellable *cancellable,
                     GError **error);

/* Save the changes of OVERLAY as a qcow2 at PATH, a file of mode MODE (less the umask), whose
 * backing file is BACKING in BACKING_FORMAT; a relative name is meant from PATH's folder, a URI is
 * QEMU's. PATH must not exist; it is complete or absent. Errors: H2K_ERROR_OUTPUT, _OUTPUT_EXISTS,
 * _NO_SPACE, _CANCELLED. */
gboolean h2k_qcow2_save_overlay (H2kDisk *overlay, const char *path, int mode, const char *backing,
                                 const char *backing_format, GCancellable *cancellable,
                                 GError **error);
/* The same, encrypted with LUKS (may be NULL). One that is locked does for an overlay without
 * changes. */
gboolean h2k_qcow2_save_encrypted (H2kDisk *overlay, const char *path, int mode,
                                   const char *backing, const char *backing_format,
                                   const H2kImageLuks *luks, GCancellable *cancellable,
                                   GError **error);
