/* raw-writer.c - raw outputs: data at its own place, holes where the disk is zero.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define UNIT H2K_IO_ALIGN
#define SECTOR 512u
/* Shorter runs of zeros are written with their neighbours: many small requests and a file in many
 * pieces cost more than the space. */
#define LEAST_HOLE (64u << 10)

typedef struct
{
  H2kWriter parent;
  H2kOutput *output;
  guint64 end; /* of what was placed so far */
} RawWriter;

static const H2kOptionWord preallocation_words[] = {{"off", H2K_PREALLOCATION_OFF},
                                                    {"falloc", H2K_PREALLOCATION_FALLOC},
                                                    {"full", H2K_PREALLOCATION_FULL},
                                                    {NULL, 0}};
static const H2kFormatOption raw_options[]
    = {{"preallocation", G_STRUCT_OFFSET (H2kOutputOptions, preallocation), preallocation_words},
       {NULL, 0, NULL}};

static H2kWriter *
raw_create (H2kOutput *output, GError **error)
{
  RawWriter *writer;

  if (output->options.compression != H2K_COMPRESS_NONE)
    {
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_USAGE,
          "raw disks cannot be compressed; use the format qcow2, or leave out the compression");
      return NULL;
    }
  writer = g_new0 (RawWriter, 1);
  writer->parent.ops = &h2k_raw_writer;
  writer->parent.unit = UNIT;
  writer->parent.reserve = H2K_RESERVE_EXTENTS;
  writer->parent.may_share = TRUE;
  writer->parent.length = output->size;
  writer->output = output;
  return &writer->parent;
}

/* Add [START, END) of the chunk; what is not a multiple of the alignment comes on its own. */
static void
add_run (H2kChunk *chunk, gsize start, gsize end)
{
  gsize middle = end - end % UNIT;

  if (middle > start)
    h2k_chunk_add_segment (chunk, chunk->offset + start, chunk->data + start, middle - start);
  if (end > middle)
    h2k_chunk_add_segment (chunk, chunk->offset + middle, chunk->data + middle, end - middle);
}

/* [START, END) of the chunk is zero. Only where the extents have data can there be anything to give
 * back; a dense output needs all of it. */
static void
add_hole (H2kChunk *chunk, gsize start, gsize end, gboolean dense)
{
  if (dense && start < end)
    h2k_chunk_add_segment (chunk, chunk->offset + start, NULL, end - start);
  for (guint i = 0; !dense && i < chunk->ranges->len; i++)
    {
      const H2kRange *range = &g_array_index (chunk->ranges, H2kRange, i);
      guint64 from = MAX (range->offset, chunk->offset + start);
      guint64 to = MIN (range->offset + range->length, chunk->offset + end);

      if (from < to)
        h2k_chunk_add_segment (chunk, from, NULL, to - from);
    }
}

void
h2k_raw_prepare (H2kChunk *chunk, gboolean dense, gboolean split)
{
  gsize start = 0, end = 0; /* of the run that is being collected */
  gsize length = (chunk->length + SECTOR - 1) / SECTOR * SECTOR;
  gsize written = 0, least = split ? UNIT : LEAST_HOLE;

  for (gsize at = 0; at < length; at += UNIT)
    {
      gsize n = MIN (UNIT, length - at);

      if (h2k_chunk_is_zero (chunk, at, n))
        continue;
      if (at - end >= least || end == 0)
        {
          add_run (chunk, start, end);
          add_hole (chunk, end, at, dense);
          written += end - start;
          start = at;
        }
      end = at + n;
    }
  add_run (chunk, start, end);
  add_hole (chunk, end, length, dense);
  written += end - start;
  chunk->bytes_zero = chunk->bytes_data > written ? chunk->bytes_data - written : 0;
}

void
h2k_raw_fill_gap (H2kOutput *output, H2kChunk *chunk, guint64 *end, guint64 start)
{
  H2kSegment gap = {*end, NULL, start - *end};

  if (output->dense && start > *end)
    g_array_prepend_val (chunk->segments, gap);
  *end = start + (chunk->length + SECTOR - 1) / SECTOR * SECTOR;
}

static gboolean
raw_prepare (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  H2kOutput *output = ((RawWriter *)writer)->output;

  h2k_raw_prepare (chunk, output->dense, g_atomic_int_get (&output->sharing) == H2K_SHARING_YES);
  return TRUE;
}

static gboolean
raw_place (H2kWriter *writer, H2kChunk *chunk, GError **error)
{
  RawWriter *w = (RawWriter *)writer;

  h2k_raw_fill_gap (w->output, chunk, &w->end, chunk->offset);
  return TRUE;
}

static gboolean
raw_finish (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error)
{
  RawWriter *w = (RawWriter *)writer;

  h2k_raw_fill_gap (w->output, chunk, &w->end, w->output->size);
  *file_length = w->output->size;
  return TRUE;
}

static void
raw_free (H2kWriter *writer)
{
  g_free (writer);
}

const H2kWriterOps h2k_raw_writer = {
    .format = "raw",
    .sinks = H2K_SINK_FILE | H2K_SINK_DEVICE | H2K_SINK_PIPE | H2K_SINK_NBD,
    .options = raw_options,
    .create = raw_create,
    .prepare = raw_prepare,
    .place = raw_place,
    .finish = raw_finish,
    .free = raw_free,
};
