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

#include <sys/stat.h>

#define H2K_WINDOW (2u << 20) /* the least size of a chunk */
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

typedef struct _H2kRecord H2kRecord; /* journal.h */
typedef struct _H2kJournal H2kJournal;
typedef struct _H2kJournalReader H2kJournalReader;

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
  guint64 number; /* in the disk's order, from 0 */
  guint64 offset; /* on the disk */
  gsize length;   /* the window's size, less at the disk's end */
  gsize capacity; /* of DATA and PACKED */
  guint8 *data;   /* LENGTH bytes, then zeros up to CAPACITY */
  guint8 *packed; /* compressed units one after the other; NULL when not asked for */
  gsize packed_capacity;
  guint n_units;       /* units that LENGTH covers */
  H2kUnit *units;      /* one for each of the writer's units (clusters) */
  GArray *ranges;      /* H2kRange: what holds data, ascending */
  GArray *segments;    /* H2kSegment: what to write */
  GPtrArray *metadata; /* aligned buffers that segments point to */
  guint32 digest;      /* h2k_identity_prepare()'s */
  guint64 bytes_data;  /* covered by RANGES */
  guint64 bytes_read;  /* really read */
  guint64 bytes_zero;  /* read and not written, being zeros */
  H2kRecord *record;   /* for the journal */
  H2kRecord *previous; /* of the run that this one takes up, when it has one for this chunk ... */
  gboolean has_previous;
  GArray *left_out; /* H2kRange: what that run copied before this chunk and this one does not */
  gboolean loaded;  /* ... and the chunk's content was taken from the output file by it */
  gboolean unread;  /* its content is not in DATA: the output gets it by h2k_share_write() */
} H2kChunk;

/* Zeroed memory, aligned for direct I/O; for free(). */
guint8 *h2k_aligned_new0 (gsize length);

/* PACKED: bytes of PACKED that each unit needs; 0: none. */
H2kChunk *h2k_chunk_new (gsize capacity, gsize unit, gsize packed);
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
  gboolean all;      /* windows without data count, too */
  guint64 offset;    /* where the next window may start */
  guint64 number;    /* of the next chunk */
  guint64 known_end; /* everything from OFFSET to here is data */
} H2kCursor;

/* FALSE with ERROR set on errors; CHUNK's length is 0 at the end of the disk. */
gboolean h2k_cursor_next (H2kCursor *cursor, H2kChunk *chunk, GError **error);

/* Run FUNC (DATA) in THREADS threads, the calling one among them, and wait for all. The calling
 * one's current cancellable is theirs, too: it ends what waits for a server. */
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

/* --- outputs ----------------------------------------------------------------------------------
 *
 * An output is a writer, which knows the format (what goes where), and a sink, which knows where
 * the bytes go. Neither knows the other's kinds.
 */

typedef struct _H2kWriter H2kWriter;
typedef struct _H2kSink H2kSink;

typedef enum
{
  H2K_SINK_FILE = 1 << 0,   /* a regular file, under a temporary name until it is complete */
  H2K_SINK_DEVICE = 1 << 1, /* a block device */
  H2K_SINK_PIPE = 1 << 2,   /* standard output: from the start to the end, each byte once */
  H2K_SINK_NBD = 1 << 3,    /* an export of an NBD server */
} H2kSinkKind;

/* What of the file is worth having space before it is written. */
typedef enum
{
  H2K_RESERVE_NOTHING,
  H2K_RESERVE_START,   /* as much as there are data, from the start: the file is filled in order */
  H2K_RESERVE_EXTENTS, /* where the disk has data: each byte has its place from the beginning */
} H2kReserve;

/* An option of a format, as qemu-img spells it, and the guint32 of H2kOutputOptions that it sets.
 */
typedef struct
{
  const char *word;
  guint32 value;
} H2kOptionWord;

typedef struct
{
  const char *name;
  gsize field;                /* its offset */
  const H2kOptionWord *words; /* ends with an entry without a word; NULL: a number of bytes */
} H2kFormatOption;

extern const H2kOptionWord h2k_option_off[];

typedef struct
{
  const char *format;
  const char *alias;              /* what QEMU calls it, if it does otherwise; or NULL */
  guint sinks;                    /* H2kSinkKind: where it can be written to */
  gboolean backing;               /* an image can build on another one */
  const H2kFormatOption *options; /* ends with an entry without a name */
  /* May enlarge the output's size where the format cannot have every size, and sets the members of
   * H2kWriter below. Errors: H2K_ERROR_USAGE. */
  H2kWriter *(*create) (H2kOutput *output, GError **error);
  /* Sort the units of a chunk that was read: zero, plain, packed. Any thread. */
  gboolean (*prepare) (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor,
                       GError **error);
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
  guint32 unit;        /* bytes of a unit: what is zero or not, compressed or not */
  guint32 packed_unit; /* bytes of PACKED that a unit may need; 0: units are not compressed */
  gboolean may_pack;   /* prepare() gets a compressor of the kind that the options name */
  gboolean all_chunks; /* windows without data come as chunks, too */
  gboolean may_share;  /* takes chunks that were not read */
  H2kReserve reserve;
  guint64 length; /* of the file, where the writer gives dense outputs each byte of it; else 0 */
  gboolean fills; /* readers look for something at the file's end: nothing may lie behind it */
};

extern const H2kWriterOps h2k_qcow2_writer;
extern const H2kWriterOps h2k_raw_writer;
extern const H2kWriterOps h2k_vhd_writer;
extern const H2kWriterOps h2k_vhdx_writer;
extern const H2kWriterOps h2k_vmdk_writer;

typedef struct
{
  H2kSinkKind kind;
  const char *name; /* for messages */
  const char *room; /* what limits available(), and what to do about it, for messages */
  gboolean (*matches) (const char *path);
  /* Open what the output's path names. What stands there is checked, and that it is none of
   * SOURCES (char *). MODE: of a new file. Errors: those of h2k_output_new(). */
  H2kSink *(*open) (H2kOutput *output, GPtrArray *sources, int mode, GError **error);
  /* As h2k_output_reserve(). NULL: nothing can be reserved. */
  gboolean (*reserve) (H2kSink *sink, guint64 offset, guint64 length);
  /* Write N segments. Any thread. Errors: H2K_ERROR_OUTPUT, _NO_SPACE, _CANCELLED. */
  gboolean (*write) (H2kSink *sink, const H2kSegment *segments, guint n, GError **error);
  /* Whether blocks of the file FD can become blocks of this one without a copy: tried out with
   * those at OFFSET. NULL: never. */
  gboolean (*can_share) (H2kSink *sink, int fd, guint64 offset);
  /* Let the file have the bytes of STORED at OFFSET, all multiples of H2K_IO_ALIGN. Any thread.
   * FALSE: they have to be copied. */
  gboolean (*share) (H2kSink *sink, const H2kStored *stored, guint64 offset);
  /* Everything is written, LENGTH bytes: flush it if the output's options say so. */
  gboolean (*complete) (H2kSink *sink, guint64 length, GError **error);
  /* Whether what was written may be lost all the same. NULL: it is not. */
  gboolean (*is_doubtful) (H2kSink *sink);
  /* NULL: there is no name to be given. */
  gboolean (*commit) (H2kSink *sink, GError **error);
  /* The content, opened afresh. NULL: it cannot be read back. */
  H2kDisk *(*reopen) (H2kSink *sink, GError **error);
  /* Bytes that may still be written; G_MAXUINT64 when nobody says. NULL: they are not limited, or
   * were checked by open(). */
  guint64 (*available) (H2kSink *sink);
  void (*free) (H2kSink *sink);
} H2kSinkOps;

/* Every sink's structure begins with this. */
struct _H2kSink
{
  const H2kSinkOps *ops;
  H2kOutput *output;
  char *path;     /* where the content is until the commit, or NULL */
  gboolean dense; /* what is not written is not zero: zeros have to be written, too */
};

extern const H2kSinkOps h2k_device_sink;
extern const H2kSinkOps h2k_file_sink;
extern const H2kSinkOps h2k_nbd_sink;
extern const H2kSinkOps h2k_pipe_sink;

struct _H2kOutput
{
  char *path;   /* the final name */
  char *given;  /* as the user wrote it, or what may be shown of that, for messages */
  guint64 size; /* virtual, whole sectors */
  H2kOutputOptions options;
  char *backing; /* qcow2: the name of a backing file, or NULL ... */
  char *backing_format;
  H2kDisk *base; /* ... and its content, when what it has is left out */
  H2kWriter *writer;
  H2kSink *sink;
  gboolean dense; /* every byte of the disk is in a segment */
  gboolean complete;
  gboolean committed;
  GCancellable *cancellable; /* during the copy; may be NULL */
  int sharing;               /* H2kSharing; atomic */
  char *identity;
  int journal_fd;             /* or -1 */
  H2kJournal *journal;        /* what was done; NULL: the sink cannot be read back */
  H2kJournalReader *previous; /* what the run did that this one takes up, or NULL ... */
  int previous_fd;            /* ... and the file that it wrote; the sink's */
  GMutex lock;                /* for what follows */
  guint64 written;
  guint64 expected; /* bytes that will have been written; for messages */
};

/* Whether the source's blocks can be the output's, too. */
typedef enum
{
  H2K_SHARING_UNKNOWN,
  H2K_SHARING_NO,
  H2K_SHARING_YES,
} H2kSharing;

/* --- sharing blocks instead of copying them: share.c -------------------------------------------
 */

/* Whether CHUNK, whose ranges were found, need not be read: all that is in use of its units can be
 * shared. */
gboolean h2k_share_fits (H2kOutput *output, H2kDisk *source, const H2kChunk *chunk);
/* Whether nothing is in use of LENGTH bytes at AT of CHUNK, which was not read, or they are zeros.
 */
gboolean h2k_chunk_is_zero (const H2kChunk *chunk, gsize at, gsize length);
/* Write the segments of CHUNK, by sharing where that is possible; SHARED: how many bytes were. Any
 * thread. Errors: those of h2k_output_write() and of h2k_disk_pread(). */
gboolean h2k_share_write (H2kOutput *output, H2kDisk *source, H2kChunk *chunk, guint64 *shared,
                          GError **error);

/* What h2k_output_new() does; further arguments may be NULL. */
H2kOutput *h2k_output_create (const char *path, guint64 size, const H2kOutputOptions *options,
                              GPtrArray *sources, int mode, const char *backing,
                              const char *backing_format, GError **error);

/* Take space for a range of the file, which is not written yet. FALSE: not possible here, and what
 * was taken is given back. Called before anything is written. */
gboolean h2k_output_reserve (H2kOutput *output, guint64 offset, guint64 length);

/* Make a range of a file that was there before this run holes. Any thread. */
gboolean h2k_output_clear (H2kOutput *output, guint64 offset, guint64 length, GError **error);

/* Write the segments of CHUNK. Any thread. */
gboolean h2k_output_write (H2kOutput *output, H2kChunk *chunk, GError **error);

/* Set the file's length and flush what is asked for: the output is complete. */
gboolean h2k_output_complete (H2kOutput *output, guint64 length, GError **error);

/* For sinks: writing failed with errno value ERR. */
void h2k_output_write_error (H2kOutput *output, int err, GError **error);
/* For sinks: FALSE when ST is one of SOURCES. */
gboolean h2k_output_check_sources (const char *path, const struct stat *st, GPtrArray *sources,
                                   GError **error);

/* The engine with another view of SOURCE's extents. */
gboolean h2k_copy_extents (H2kDisk *source, H2kExtentFunc extent, H2kOutput *output,
                           const H2kCopyOptions *options, GCancellable *cancellable,
                           H2kCopyStats *stats, GError **error);

/* --- files and devices: what sink-fd.c offers to sinks ---------------------------------------- */

#define H2K_BEHIND 32u /* buffered writes that may be in the page cache */

typedef struct _H2kFdSink H2kFdSink;

struct _H2kFdSink
{
  H2kSink parent;
  int fd;        /* page cache */
  int direct_fd; /* the same without the page cache, or -1 */
  /* Make a range read as zeros. Returns an errno value. */
  int (*zero) (H2kFdSink *sink, guint64 offset, guint64 length);
  GMutex lock; /* for what follows */
  H2kRange behind[H2K_BEHIND];
  guint n_behind;
};

void h2k_fd_sink_init (H2kFdSink *sink);
/* Closes what is open. */
void h2k_fd_sink_clear (H2kFdSink *sink);
/* Open direct_fd if fd can be written so; PROBE: find out by writing zeros to the start. */
void h2k_fd_sink_open_direct (H2kFdSink *sink, gboolean probe);
/* H2kSinkOps' write. */
gboolean h2k_fd_sink_write (H2kSink *sink, const H2kSegment *segments, guint n, GError **error);
/* Write zeros. Returns an errno value. */
int h2k_fd_sink_write_zeros (H2kFdSink *sink, guint64 offset, guint64 length);

/* --- for formats that keep the disk as it is ---------------------------------------------------
 */

/* Add what of CHUNK is not zero as segments at their offsets on the disk, and zeros where there may
 * be something else: all of them when DENSE. Short runs of zeros are written with their neighbours
 * unless SPLIT. */
void h2k_raw_prepare (H2kChunk *chunk, gboolean dense, gboolean split);
/* For a dense output: put zeros from *END to START, where CHUNK begins, before its segments. Sets
 * *END to the chunk's end. */
void h2k_raw_fill_gap (H2kOutput *output, H2kChunk *chunk, guint64 *end, guint64 start);

/* --- identifiers made of the disk's content -----------------------------------------------------
 */

/* From prepare() and from place(). */
void h2k_identity_prepare (H2kChunk *chunk);
void h2k_identity_place (GChecksum *sum, const H2kChunk *chunk);
/* The 16 bytes for PURPOSE of a disk of SIZE bytes. */
void h2k_identity_uuid (const GChecksum *sum, const char *purpose, guint64 size, guint8 *uuid);

/* The writer of FORMAT. Errors: H2K_ERROR_USAGE. */
const H2kWriterOps *h2k_writer_find (const char *format, GError **error);
