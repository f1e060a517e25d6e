/* fixture.h - disks with a known layout for the tests of the copy engine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/copy.h"
#include "disk/file.h"

typedef enum
{
  CONTENT_NOISE,       /* data that does not compress */
  CONTENT_TEXT,        /* data that does */
  CONTENT_DATA_ZERO,   /* data by the extents, but zeros */
  CONTENT_ZERO,        /* an extent of zeros */
  CONTENT_UNALLOCATED, /* an extent nobody uses: reading it gives garbage that must not get out */
} Content;

typedef struct
{
  guint64 length;
  Content content;
} Piece;

typedef struct
{
  H2kDisk disk;
  guint64 seed;
  GArray *pieces;  /* Piece */
  guint64 *starts; /* of the pieces */
  /* Faults: the read with this number (from 1) fails or cancels; 0: none. */
  gint fail_at;
  gint cancel_at;
  GCancellable *cancellable;
  gint reads;
} LayoutDisk;

/* PIECES (taken) make up the disk. */
LayoutDisk *layout_disk_new (GArray *pieces, guint64 seed);
/* Pieces of random kinds and lengths, multiples of 512, SIZE bytes together. */
GArray *random_pieces (GRand *random, guint64 size, guint64 longest);
GArray *make_pieces (const Piece *pieces, guint n);

/* A file that cannot always be read: what lies below a format's reader. */
typedef struct
{
  H2kFile file;
  H2kFile *below;
  /* Faults: the read with this number (from 1) fails, and those behind it unless ONCE; 0: none. */
  gint fail_at;
  gboolean once;
  guint64 bad; /* no read of this byte succeeds; G_MAXUINT64: none */
  gint reads;
  gint failed; /* reads that did */
} FaultFile;

/* BELOW is taken. */
FaultFile *fault_file_new (H2kFile *below);

/* What a reader of the converted disk must see, as a sparse raw file. */
void layout_write_reference (LayoutDisk *disk, const char *path);

/* A directory of its own for each test, removed with all that is in it. */
char *fixture_dir (void);
void fixture_dir_remove (char *dir);
/* How many entries DIR has. */
guint count_entries (const char *dir);

/* A checksum of the file's length and bytes, quick for sparse files. */
char *file_sum (const char *path);

/* Run a program; returns its exit status. OUTPUT (may be NULL) gets what it printed. */
int run_program (char **output, ...) G_GNUC_NULL_TERMINATED;
/* FALSE, with the test marked as skipped, when there is no qemu-img. */
gboolean have_qemu_img (void);
/* `qemu-img check` finds nothing, and `qemu-img compare` with the raw file REFERENCE neither. */
void assert_qemu_agrees (const char *path, const char *format, const char *reference);

/* Convert DISK to PATH and give it its name. */
gboolean convert (H2kDisk *disk, const char *path, const H2kOutputOptions *options, guint threads,
                  GCancellable *cancellable, H2kCopyStats *stats, GError **error);
/* The same; the output is the caller's, to be verified. */
H2kOutput *convert_and_keep (H2kDisk *disk, const char *path, const H2kOutputOptions *options,
                             guint threads, GCancellable *cancellable, H2kCopyStats *stats,
                             GError **error);
