/* engine.c - one pass over a disk with all cores.
 *
 *                  ┌── free chunks ◄────────────────────────────────────────────┐
 *                  ▼                                                            │
 *   cursor ──► read, prepare ──► waiting ──► place, in the disk's order ──► write queue
 *
 * Every thread does whatever can be done next: write a chunk that has its place, else read another
 * one. A thread that has prepared the chunk whose turn it is places it and all that waited for it.
 * One more thread than asked for may read and prepare at a time, since one of them may wait for the
 * source. There are more for writing, and no more than those write at a time: so no core is idle
 * while writes are under way. The number of chunks bounds the memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/journal.h"

#define WRITING_THREADS 4
#define WAIT_SLICE (G_USEC_PER_SEC / 10)
#define RESERVED_RANGES_MAX 16384 /* a disk in more pieces is written without reserving them */

typedef struct
{
  H2kDisk *source;
  H2kExtentFunc extent;
  H2kOutput *output;
  H2kDisk *overlay; /* may be NULL */
  GCancellable *cancellable;
  H2kMeter meter;

  GMutex cursor_lock; /* for what follows */
  H2kCursor cursor;
  H2kRecord *previous; /* of the run that is taken up: the first that may be for the next chunk */
  gboolean has_previous;
  gboolean shares;  /* blocks of the source */
  gboolean unread;  /* what can be shared need not be read */
  guint64 rate;     /* bytes a second; 0: no limit */
  gint64 next_read; /* monotonic time when the limit allows the next one */
  guint64 cleared;  /* before here there is nothing of that run but what was asked for */

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
  guint writing; /* ... and those that write it */
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

static gboolean
can_write (const Engine *e)
{
  return e->placed.length && e->writing < WRITING_THREADS;
}

static gboolean
record_left_out (Engine *e, GArray *ranges, GError **error)
{
  g_autoptr (H2kRecord) record = h2k_record_new ();

  for (guint i = 0; i < ranges->len; i++)
    {
      const H2kRange *range = &g_array_index (ranges, H2kRange, i);
      h2k_record_take_zeros (record, range->offset, range->length);
      if (!h2k_journal_add (e->output->journal, record, error))
        return FALSE;
    }
  return TRUE;
}

/* Where CHUNK lies is written down, and what the file holds already is not written again. */
static gboolean
record_places (Engine *e, H2kChunk *chunk, GError **error)
{
  if (!e->output->journal)
    return TRUE;
  if (!record_left_out (e, chunk->left_out, error))
    return FALSE;
  /* Without a digest it would not be taken up, which costs nothing. */
  if (chunk->unread)
    return TRUE;
  h2k_record_set_places (chunk->record, chunk);
  if (chunk->loaded && h2k_record_same_places (chunk->record, chunk->previous))
    {
      h2k_record_drop_stored (chunk);
      return TRUE;
    }
  return h2k_journal_add (e->output->journal, chunk->record, error);
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
      if (!writer->ops->place (writer, chunk, error) || !record_places (e, chunk, error))
        return FALSE;
    }
  return TRUE;
}

static void
recycle (Engine *e, H2kChunk *chunk)
{
  if (chunk->loaded)
    e->stats.bytes_resumed += chunk->bytes_data;
  e->stats.bytes_read += chunk->bytes_read;
  e->stats.bytes_zero += chunk->bytes_zero;
  h2k_chunk_reset (chunk);
  g_ptr_array_add (e->free, chunk);
}

/* Each byte of the disk has its place in the file, and zeros are holes. */
static gboolean
has_fixed_places (const Engine *e)
{
  return e->output->writer->reserve == H2K_RESERVE_EXTENTS && !e->output->dense;
}

/* What an interrupted run left between the chunks of this one has to go, where bytes have their
 * place in the file whoever writes them. Called with the cursor's lock. */
static gboolean
clear_until (Engine *e, guint64 offset, GError **error)
{
  guint64 from = e->cleared;

  if (!e->output->previous || !has_fixed_places (e) || offset <= from)
    return TRUE;
  e->cleared = offset;
  return h2k_output_clear (e->output, from, offset - from, error);
}

/* Skip the previous run's records before OFFSET: this run has nothing there. */
static void
skip_previous (Engine *e, guint64 offset, GArray *left_out)
{
  while (e->has_previous && e->previous->offset < offset)
    {
      H2kRange range = {e->previous->offset, e->previous->length};
      g_array_append_val (left_out, range);
      e->has_previous = h2k_journal_reader_next (e->output->previous, e->previous);
    }
}

/* Give CHUNK the previous run's record of it, if there is one. Called with the cursor's lock. */
static void
find_previous (Engine *e, H2kChunk *chunk)
{
  H2kRecord *record = chunk->previous;

  skip_previous (e, chunk->offset, chunk->left_out);
  if (!e->has_previous || e->previous->offset != chunk->offset)
    return;
  chunk->previous = e->previous;
  e->previous = record;
  chunk->has_previous = TRUE;
  e->has_previous = h2k_journal_reader_next (e->output->previous, e->previous);
}

static gboolean
next_chunk (Engine *e, H2kChunk *chunk, GError **error)
{
  gboolean ok;

  g_mutex_lock (&e->cursor_lock);
  ok = h2k_cursor_next (&e->cursor, chunk, error)
       && clear_until (e, chunk->length ? chunk->offset : e->source->size, error);
  if (ok && chunk->length)
    {
      e->cleared = chunk->offset + chunk->length;
      find_previous (e, chunk);
    }
  g_mutex_unlock (&e->cursor_lock);
  return ok;
}

static gboolean
is_changed (Engine *e, const H2kChunk *chunk)
{
  H2kExtent change;

  return e->overlay && h2k_overlay_next_change (e->overlay, chunk->offset, &change)
         && change.offset < chunk->offset + chunk->length;
}

/* Wait until the limit of the rate allows that BYTES are read. */
static gboolean
wait_for_turn (Engine *e, guint64 bytes, GError **error)
{
  gint64 turn, now;

  if (!e->rate)
    return TRUE;
  g_mutex_lock (&e->cursor_lock);
  now = g_get_monotonic_time ();
  turn = MAX (now, e->next_read);
  e->next_read = turn + (gint64)((double)bytes / (double)e->rate * G_USEC_PER_SEC);
  g_mutex_unlock (&e->cursor_lock);
  for (; now < turn; now = g_get_monotonic_time ())
    {
      if (h2k_is_cancelled (e->cancellable, error))
        return FALSE;
      g_usleep ((gulong)MIN (turn - now, WAIT_SLICE));
    }
  return TRUE;
}

/* The chunk's content: from the output file if it is there already, else from the source. */
static gboolean
read_chunk (Engine *e, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  H2kWriter *writer = e->output->writer;
  gboolean changed = is_changed (e, chunk);

  if (!h2k_chunk_find_ranges (chunk, e->source, e->extent, error))
    return FALSE;
  chunk->loaded = chunk->has_previous && !changed
                  && h2k_record_load (chunk->previous, chunk, writer->unit, e->output->previous_fd);
  chunk->unread = e->unread && !chunk->loaded && h2k_share_fits (e->output, e->source, chunk);
  if (!chunk->loaded && !chunk->unread
      && (!wait_for_turn (e, chunk->bytes_data, error)
          || !h2k_chunk_read (chunk, e->source, error)))
    return FALSE;
  if (!chunk->loaded && e->output->previous && has_fixed_places (e)
      && !h2k_output_clear (e->output, chunk->offset, chunk->length, error))
    return FALSE;
  if ((!chunk->loaded || chunk->previous->units->len == 0)
      && !writer->ops->prepare (writer, chunk, compressor, error))
    return FALSE;
  if (!e->output->journal || chunk->unread)
    return TRUE;
  h2k_record_take (chunk->record, chunk, writer->unit, changed);
  /* Of packed units only the digest of what is stored was made now. */
  if (chunk->loaded)
    chunk->record->content = chunk->previous->content;
  return TRUE;
}

/* Read and prepare the next chunk. Called without the lock; CHUNK's length stays 0 at the end. */
static gboolean
fill_chunk (Engine *e, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  if (h2k_is_cancelled (e->cancellable, error) || !next_chunk (e, chunk, error))
    return FALSE;
  return !chunk->length || read_chunk (e, chunk, compressor, error);
}

/* Whoever takes work and leaves more wakes another thread for it; what a step makes is found by
 * the thread that made it. So no thread is woken in vain, and none sleeps beside work. */
static void
wake_another (Engine *e)
{
  if (can_write (e) || can_read (e))
    g_cond_signal (&e->changed);
}

/* Do one piece of work. Called with the lock, which is given up meanwhile. */
static gboolean
step (Engine *e, H2kCompressor *compressor, GError **error)
{
  gboolean ok;
  H2kChunk *chunk = can_write (e) ? g_queue_pop_head (&e->placed) : NULL;

  e->busy++;
  if (chunk)
    {
      guint64 bytes = chunk->bytes_data, shared = 0;

      e->writing++;
      wake_another (e);
      g_mutex_unlock (&e->lock);
      ok = e->shares ? h2k_share_write (e->output, e->source, chunk, &shared, error)
                     : h2k_output_write (e->output, chunk, error);
      h2k_meter_add (&e->meter, bytes);
      g_mutex_lock (&e->lock);
      e->writing--;
      e->stats.bytes_shared += shared;
      recycle (e, chunk);
    }
  else
    {
      chunk = g_ptr_array_steal_index_fast (e->free, e->free->len - 1);
      e->reading++;
      wake_another (e);
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

      if (!can_write (e) && !can_read (e))
        {
          g_cond_wait (&e->changed, &e->lock);
          continue;
        }
      if (!step (e, compressor, &error))
        h2k_keep_error (&e->error, error);
    }
  g_cond_broadcast (&e->changed);
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
  e->previous = h2k_record_new ();
  e->has_previous
      = e->output->previous && h2k_journal_reader_next (e->output->previous, e->previous);
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
  h2k_record_free (e->previous);
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

/* The journal is complete: it says what was copied, and nothing else. */
static gboolean
finish_journal (Engine *e, GError **error)
{
  g_autoptr (GArray) left_out = g_array_new (FALSE, FALSE, sizeof (H2kRange));

  if (!e->output->journal)
    return TRUE;
  skip_previous (e, G_MAXUINT64, left_out);
  return record_left_out (e, left_out, error) && h2k_journal_flush (e->output->journal, error);
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
  Engine e = {.source = source,
              .extent = extent,
              .output = output,
              .overlay = options ? options->overlay : NULL,
              .rate = options ? options->rate : 0,
              .cancellable = cancellable};
  guint threads = h2k_thread_count (options);
  guint64 total;
  gboolean ok;

  g_return_val_if_fail (!output->complete, FALSE);
  if (h2k_is_cancelled (cancellable, error) || !estimate (source, extent, &total, error))
    return FALSE;
  output->expected = total;
  output->cancellable = cancellable;
  e.shares = h2k_output_shares (output, source);
  e.unread = e.shares && options && options->no_digests;
  if (!e.shares)
    reserve (source, extent, output, total);
  h2k_meter_init (&e.meter, options, total);
  engine_init (&e, threads);
  h2k_run_threads (e.max_reading + WRITING_THREADS, engine_thread, &e);
  if (e.error)
    {
      /* For --resume: a record whose chunk was not written after all does no harm. */
      if (output->journal)
        h2k_journal_flush (output->journal, NULL);
      g_propagate_error (error, g_steal_pointer (&e.error));
    }
  else if (finish_journal (&e, error) && finish_output (output, error))
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
