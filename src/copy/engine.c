/* engine.c - one pass over a disk with all cores.
 *
 *                  ┌── free chunks ◄────────────────────────────────────────────┐
 *                  ▼                                                            │
 *   cursor ──► read, prepare ──► waiting ──► place, in the disk's order ──► write queue
 *
 * Every thread does whatever can be done next: write a chunk that has its place, else read another
 * one. A thread that has prepared the chunk whose turn it is places it and all that waited for it.
 * Some more threads than asked for are started, so that no core is idle while writes are under way,
 * and one more than asked for may read and prepare at a time: one of them may wait for the source.
 * The number of chunks bounds the memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define WRITING_THREADS 4
#define RESERVED_RANGES_MAX 16384 /* a disk in more pieces is written without reserving them */

typedef struct
{
  H2kDisk *source;
  H2kExtentFunc extent;
  H2kOutput *output;
  GCancellable *cancellable;
  H2kMeter meter;

  GMutex cursor_lock;
  H2kCursor cursor;

  GMutex lock; /* for what follows */
  GCond changed;
  GPtrArray *free;     /* chunks */
  H2kChunk **waiting;  /* prepared, by number modulo N_CHUNKS */
  GQueue placed;       /* to be written */
  guint n_chunks;      /* all there are */
  guint64 next_number; /* whose turn it is to be placed */
  guint busy;          /* threads at work on a chunk ... */
  guint reading;       /* ... and those of them that read and prepare it */
  guint max_reading;
  gboolean at_end;
  GError *error;
  H2kCopyStats stats;
} Engine;

static gboolean
has_work (const Engine *e)
{
  return e->busy || e->placed.length || !e->at_end;
}

static gboolean
can_read (const Engine *e)
{
  return !e->at_end && e->free->len && e->reading < e->max_reading;
}

/* Everything from the lowest number on that is prepared gets its place. Called with the lock. */
static gboolean
place_waiting (Engine *e, GError **error)
{
  H2kWriter *writer = e->output->writer;
  H2kChunk *chunk;

  while ((chunk = e->waiting[e->next_number % e->n_chunks]))
    {
      e->waiting[e->next_number % e->n_chunks] = NULL;
      e->next_number++;
      g_queue_push_tail (&e->placed, chunk);
      if (!writer->ops->place (writer, chunk, error))
        return FALSE;
    }
  return TRUE;
}

static void
recycle (Engine *e, H2kChunk *chunk)
{
  e->stats.bytes_read += chunk->bytes_read;
  e->stats.bytes_zero += chunk->bytes_zero;
  h2k_chunk_reset (chunk);
  g_ptr_array_add (e->free, chunk);
}

/* Read and prepare the next chunk. Called without the lock; CHUNK's length stays 0 at the end. */
static gboolean
fill_chunk (Engine *e, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  H2kWriter *writer = e->output->writer;
  gboolean ok;

  if (h2k_is_cancelled (e->cancellable, error))
    return FALSE;
  g_mutex_lock (&e->cursor_lock);
  ok = h2k_cursor_next (&e->cursor, chunk, error);
  g_mutex_unlock (&e->cursor_lock);
  if (!ok || !chunk->length)
    return ok;
  if (!h2k_chunk_find_ranges (chunk, e->source, e->extent, error)
      || !h2k_chunk_read (chunk, e->source, error))
    return FALSE;
  return writer->ops->prepare (writer, chunk, compressor, error);
}

/* Do one piece of work. Called with the lock, which is given up meanwhile. */
static gboolean
step (Engine *e, H2kCompressor *compressor, GError **error)
{
  gboolean ok;
  H2kChunk *chunk = g_queue_pop_head (&e->placed);

  e->busy++;
  if (chunk)
    {
      guint64 bytes = chunk->bytes_data;

      g_mutex_unlock (&e->lock);
      ok = h2k_output_write (e->output, chunk, error);
      h2k_meter_add (&e->meter, bytes);
      g_mutex_lock (&e->lock);
      recycle (e, chunk);
    }
  else
    {
      chunk = g_ptr_array_steal_index_fast (e->free, e->free->len - 1);
      e->reading++;
      g_mutex_unlock (&e->lock);
      ok = fill_chunk (e, chunk, compressor, error);
      g_mutex_lock (&e->lock);
      e->reading--;
      e->at_end = e->at_end || (ok && !chunk->length);
      if (ok && chunk->length)
        {
          e->waiting[chunk->number % e->n_chunks] = chunk;
          ok = place_waiting (e, error);
        }
      else
        recycle (e, chunk);
    }
  e->busy--;
  return ok;
}

static gpointer
engine_thread (gpointer data)
{
  Engine *e = data;
  H2kCompression kind = e->output->options.compression;
  g_autoptr (H2kCompressor) compressor
      = e->output->writer->may_pack ? h2k_compressor_new (kind) : NULL;

  g_mutex_lock (&e->lock);
  while (!e->error && has_work (e))
    {
      GError *error = NULL;

      if (!e->placed.length && !can_read (e))
        {
          g_cond_wait (&e->changed, &e->lock);
          continue;
        }
      if (!step (e, compressor, &error))
        h2k_keep_error (&e->error, error);
      g_cond_broadcast (&e->changed);
    }
  g_mutex_unlock (&e->lock);
  return NULL;
}

static void
engine_init (Engine *e, guint threads)
{
  H2kWriter *writer = e->output->writer;
  gsize window = MAX (H2K_WINDOW, writer->unit);

  g_mutex_init (&e->cursor_lock);
  g_mutex_init (&e->lock);
  g_cond_init (&e->changed);
  g_queue_init (&e->placed);
  e->cursor = (H2kCursor){.disk = e->source,
                          .other = e->output->base,
                          .extent = e->extent,
                          .window = window,
                          .all = writer->all_chunks};
  /* One in each thread's hands, and some that wait for their turn. */
  e->n_chunks = threads + WRITING_THREADS + MIN (threads, 8) + 2;
  e->max_reading = threads + 1;
  e->waiting = g_new0 (H2kChunk *, e->n_chunks);
  e->free = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_chunk_free);
  for (guint i = 0; i < e->n_chunks; i++)
    g_ptr_array_add (e->free, h2k_chunk_new (window, writer->unit, writer->packed_unit));
}

static void
engine_clear (Engine *e)
{
  H2kChunk *chunk;

  for (guint i = 0; i < e->n_chunks; i++)
    h2k_chunk_free (e->waiting[i]);
  while ((chunk = g_queue_pop_head (&e->placed)))
    h2k_chunk_free (chunk);
  g_ptr_array_unref (e->free);
  g_free (e->waiting);
  g_mutex_clear (&e->cursor_lock);
  g_mutex_clear (&e->lock);
  g_cond_clear (&e->changed);
  h2k_meter_clear (&e->meter);
}

static gboolean
finish_output (H2kOutput *output, GError **error)
{
  g_autoptr (H2kChunk) tail = h2k_chunk_new (0, 0, 0);
  guint64 length = 0;

  return output->writer->ops->finish (output->writer, tail, &length, error)
         && h2k_output_write (output, tail, error) && h2k_output_complete (output, length, error);
}

static gboolean
estimate (H2kDisk *source, H2kExtentFunc extent, guint64 *bytes, GError **error)
{
  H2kExtent e;

  *bytes = 0;
  for (guint64 at = 0; at < source->size; at = e.offset + e.length)
    {
      if (!extent (source, at, source->size, &e, error))
        return FALSE;
      if (e.kind == H2K_EXTENT_DATA)
        *bytes += e.length;
    }
  return TRUE;
}

/* Space that is there already is written without taking turns, which filesystems else enforce for
 * direct writes into holes and past the end: TOTAL bytes of the file when the writer fills it from
 * its start, or where the extents have data. Only an optimisation, so nothing fails here. */
static void
reserve (H2kDisk *source, H2kExtentFunc extent, H2kOutput *output, guint64 total)
{
  H2kExtent e;
  guint64 end = 0, start = 0; /* of the range that is being collected */

  if (output->writer->reserve == H2K_RESERVE_START)
    h2k_output_reserve (output, 0, total);
  if (output->writer->reserve != H2K_RESERVE_EXTENTS)
    return;
  for (guint64 at = 0, n = 0; at < source->size; at = e.offset + e.length)
    {
      if (!extent (source, at, source->size, &e, NULL) || n > RESERVED_RANGES_MAX)
        return;
      if (e.kind != H2K_EXTENT_DATA)
        continue;
      if (e.offset != end)
        {
          if (end > start && !h2k_output_reserve (output, start, end - start))
            return;
          start = e.offset;
          n++;
        }
      end = e.offset + e.length;
    }
  if (end > start)
    h2k_output_reserve (output, start, end - start);
}

gboolean
h2k_copy_estimate (H2kDisk *source, guint64 *bytes, GError **error)
{
  return estimate (source, h2k_disk_extent, bytes, error);
}

gboolean
h2k_copy_extents (H2kDisk *source, H2kExtentFunc extent, H2kOutput *output,
                  const H2kCopyOptions *options, GCancellable *cancellable, H2kCopyStats *stats,
                  GError **error)
{
  Engine e = {.source = source, .extent = extent, .output = output, .cancellable = cancellable};
  guint threads = h2k_thread_count (options);
  guint64 total;
  gboolean ok;

  g_return_val_if_fail (!output->complete, FALSE);
  if (h2k_is_cancelled (cancellable, error) || !estimate (source, extent, &total, error))
    return FALSE;
  output->expected = total;
  output->cancellable = cancellable;
  reserve (source, extent, output, total);
  h2k_meter_init (&e.meter, options, total);
  engine_init (&e, threads);
  h2k_run_threads (threads + WRITING_THREADS, engine_thread, &e);
  if (e.error)
    g_propagate_error (error, g_steal_pointer (&e.error));
  else if (finish_output (output, error))
    h2k_meter_finish (&e.meter);
  ok = output->complete;
  e.stats.bytes_total = source->size;
  e.stats.bytes_skipped = source->size - MIN (total, source->size);
  e.stats.bytes_written = output->written;
  output->cancellable = NULL;
  if (stats)
    *stats = e.stats;
  engine_clear (&e);
  return ok;
}

gboolean
h2k_copy (H2kDisk *source, H2kOutput *output, const H2kCopyOptions *options,
          GCancellable *cancellable, H2kCopyStats *stats, GError **error)
{
  g_return_val_if_fail (source->size <= output->size, FALSE);
  return h2k_copy_extents (source, h2k_disk_extent, output, options, cancellable, stats, error);
}
