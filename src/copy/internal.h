/* internal.h - what the files of this part share: outputs, chunks and the table of writers.
 *
 * A chunk is a window of the disk, aligned to the window's size. It goes through
 *
 *   read (any thread) ──► prepare (any thread) ──► place (in the disk's order) ──► write (any
 * thread)
 *
 * Only place() decides where something lies in the file, so the file's bytes do not depend on the
 * number of threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/copy.h"

#define H2K_WINDOW (1u << 20) /* the least size of a chunk */
#define H2K_IO_ALIGN 4096u    /* of memory, offset and length for direct I/O */
#define H2K_MAX_THREADS 64u

/* A range of the disk (in a chunk) or of the file. */
typedef struct
{
  guint64 offset;
  guint64 length;
} H2kRange;

/* Bytes that belong at a place in the file; DATA lives as long as its chunk. NULL: zeros, which
 * need no place when the file was zero there. */
typedef struct
{
  guint64 offset;
  const guint8 *data;
  gsize length;
} H2kSegment;

typedef enum
{
  H2K_UNIT_UNUSED, /* the extents say that there is nothing */
  H2K_UNIT_ZERO,   /* read, and all zeros */
  H2K_UNIT_PLAIN,
  H2K_UNIT_PACKED, /* compressed: LENGTH bytes at OFFSET of the chunk's PACKED */
} H2kUnitKind;

typedef struct
{
  H2kUnitKind kind;
  guint32 offset;
  guint32 length;
} H2kUnit;

typedef struct
{
  guint64 number;      /* in the disk's order, from 0 */
  guint64 offset;      /* on the disk */
  gsize length;        /* the window's size, less at the disk's end */
  gsize capacity;      /* of DATA and PACKED */
  guint8 *data;        /* LENGTH bytes, then zeros up to CAPACITY */
  guint8 *packed;      /* compressed units one after the other; NULL when not asked for */
  guint n_units;       /* units that LENGTH covers */
  H2kUnit *units;      /* one for each of the writer's units (clusters) */
  GArray *ranges;      /* H2kRange: what holds data, ascending */
  GArray *segments;    /* H2kSegment: what to write */
  GPtrArray *metadata; /* aligned buffers that segments point to */
  guint64 bytes_data;  /* covered by RANGES */
  guint64 bytes_read;  /* really read */
  guint64 bytes_zero;  /* read and not written, being zeros */
} H2kChunk;

/* Zeroed memory, aligned for direct I/O; for free(). */
guint8 *h2k_aligned_new0 (gsize length);

H2kChunk *h2k_chunk_new (gsize capacity, gsize unit, gboolean packed);
void h2k_chunk_free (H2kChunk *chunk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kChunk, h2k_chunk_free)
void h2k_chunk_reset (H2kChunk *chunk);
void h2k_chunk_add_segment (H2kChunk *chunk, guint64 offset, const void *data, gsize length);
/* A zeroed, aligned buffer that lives as long as what is in CHUNK. */
guint8 *h2k_chunk_add_buffer (H2kChunk *chunk, gsize length);

/* How a disk's extents are asked for: h2k_disk_extent() or a view of its changes. */
typedef gboolean (*H2kExtentFunc) (H2kDisk *disk, guint64 offset, guint64 limit, H2kExtent *extent,
                                   GError **error);

/* Fill the chunk's ranges from the extents of its window. */
gboolean h2k_chunk_find_ranges (H2kChunk *chunk, H2kDisk *disk, H2kExtentFunc extent,
                                GError **error);
/* Read the chunk's ranges into its data; the rest of the data becomes zeros. */
gboolean h2k_chunk_read (H2kChunk *chunk, H2kDisk *disk, GError **error);

/* Goes through a disk, window by window, past those without data. Not thread-safe. OTHER (may be
 * NULL) is a second disk whose data count too. */
typedef struct
{
  H2kDisk *disk;
  H2kDisk *other;
  H2kExtentFunc extent;
  gsize window;
  guint64 offset;    /* where the next window may start */
  guint64 number;    /* of the next chunk */
  guint64 known_end; /* everything from OFFSET to here is data */
} H2kCursor;

/* FALSE with ERROR set on errors; CHUNK's length is 0 at the end of the disk. */
gboolean h2k_cursor_next (H2kCursor *cursor, H2kChunk *chunk, GError **error);

/* Run FUNC (DATA) in THREADS threads, the calling one among them, and wait for all. */
void h2k_run_threads (guint threads, GThreadFunc func, gpointer data);
guint h2k_thread_count (const H2kCopyOptions *options);

/* Keeps the error that is to be reported: the first, but any other one before a cancellation.
 * Takes ERROR. */
void h2k_keep_error (GError **kept, GError *error);

/* Throttled progress. */
typedef struct
{
  const H2kCopyOptions *options; /* may be NULL */
  GMutex lock;
  guint64 total;
  guint64 done;
  gint64 last; /* monotonic time of the last call */
} H2kMeter;

void h2k_meter_init (H2kMeter *meter, const H2kCopyOptions *options, guint64 total);
void h2k_meter_add (H2kMeter *meter, guint64 bytes);
void h2k_meter_finish (H2kMeter *meter);
void h2k_meter_clear (H2kMeter *meter);

/* Compression of one cluster after the other, one object a thread. */
typedef struct _H2kCompressor H2kCompressor;
H2kCompressor *h2k_compressor_new (H2kCompression kind);
void h2k_compressor_free (H2kCompressor *compressor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCompressor, h2k_compressor_free)
/* Returns the bytes written to OUT, or 0 when they would be more than LIMIT. */
gsize h2k_compress (H2kCompressor *compressor, const void *in, gsize length, void *out,
                    gsize limit);

/* --- outputs ---------------------------------------------------------------------------------- */

typedef struct _H2kWriter H2kWriter;

typedef struct
{
  const char *format;
  /* Errors: H2K_ERROR_USAGE. */
  H2kWriter *(*create) (H2kOutput *output, GError **error);
  /* Sort the units of a chunk that was read: zero, plain, packed. Any thread. */
  void (*prepare) (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor);
  /* Give every unit its place and add the segments to write. In the order of the chunks' numbers,
   * one thread at a time. */
  gboolean (*place) (H2kWriter *writer, H2kChunk *chunk, GError **error);
  /* Add what is still missing (metadata) to CHUNK, which is empty, and set the file's length. */
  gboolean (*finish) (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error);
  void (*free) (H2kWriter *writer);
} H2kWriterOps;

/* Every writer's structure begins with this. */
struct _H2kWriter
{
  const H2kWriterOps *ops;
  guint32 unit;      /* bytes of a unit: what is zero or not, compressed or not */
  gboolean extents;  /* the file has to be as long as the disk from the start */
  gboolean may_pack; /* units may be compressed */
};

extern const H2kWriterOps h2k_qcow2_writer;
extern const H2kWriterOps h2k_raw_writer;

#define H2K_BEHIND 32u /* buffered writes that may be in the page cache */

struct _H2kOutput
{
  char *path;  /* the final name */
  char *given; /* as the user wrote it, for messages */
  char *temp;
  int dir_fd;
  int fd;        /* holds the lock; page cache */
  int direct_fd; /* the same file without the page cache, or -1 */
  guint64 size;  /* virtual, whole sectors */
  H2kOutputOptions options;
  char *backing; /* qcow2: a backing file, or NULL */
  char *backing_format;
  H2kWriter *writer;
  gboolean complete;
  gboolean committed;
  gboolean reserved; /* the file has space where nothing is written yet */
  GMutex lock;       /* for what follows */
  guint64 written;
  guint64 expected; /* bytes that will have been written; for messages */
  H2kRange behind[H2K_BEHIND];
  guint n_behind;
};

/* What h2k_output_new() does; further arguments may be NULL. */
H2kOutput *h2k_output_create (const char *path, guint64 size, const H2kOutputOptions *options,
                              GPtrArray *sources, int mode, const char *backing,
                              const char *backing_format, GError **error);

/* Take space for a range of the file, which is not written yet. FALSE: not possible here, and what
 * was taken is given back. Called before anything is written. */
gboolean h2k_output_reserve (H2kOutput *output, guint64 offset, guint64 length);

/* Write the segments of CHUNK. Any thread. */
gboolean h2k_output_write (H2kOutput *output, H2kChunk *chunk, GError **error);

/* Set the file's length and flush what is asked for: the output is complete. */
gboolean h2k_output_complete (H2kOutput *output, guint64 length, GError **error);

/* The engine with another view of SOURCE's extents. */
gboolean h2k_copy_extents (H2kDisk *source, H2kExtentFunc extent, H2kOutput *output,
                           const H2kCopyOptions *options, GCancellable *cancellable,
                           H2kCopyStats *stats, GError **error);
