/* chunk.c - windows of a disk: finding those with data, reading them, and the small helpers that
 * the copy and the verification share (threads, progress, the one error to report).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/journal.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Two ranges with less between them are read at once, and the gap is cleared: a grain or a
 * readahead window holds both anyway. */
#define MERGE_GAP (64u << 10)

/* Of most machines. Direct I/O pins one page instead of hundreds, and a machine that is virtual
 * itself looks up addresses less often: an eighth less time for stream-optimised VMDKs. */
#define HUGE_PAGE (2u << 20)

#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 10)

guint8 *
h2k_aligned_new0 (gsize length)
{
  void *p = NULL;
  gboolean huge = length >= HUGE_PAGE;

  if (posix_memalign (&p, huge ? HUGE_PAGE : H2K_IO_ALIGN, length))
    g_error ("out of memory: %" G_GSIZE_FORMAT " bytes", length);
  if (huge)
    madvise (p, length, MADV_HUGEPAGE);
  return memset (p, 0, length);
}

H2kChunk *
h2k_chunk_new (gsize capacity, gsize unit, gsize packed)
{
  H2kChunk *chunk = g_new0 (H2kChunk, 1);

  chunk->capacity = capacity;
  chunk->data = capacity ? h2k_aligned_new0 (capacity) : NULL;
  chunk->packed_capacity = packed ? capacity / unit * packed : 0;
  chunk->packed = packed ? h2k_aligned_new0 (chunk->packed_capacity) : NULL;
  chunk->units = g_new0 (H2kUnit, unit ? capacity / unit : 0);
  chunk->ranges = g_array_new (FALSE, FALSE, sizeof (H2kRange));
  chunk->segments = g_array_new (FALSE, FALSE, sizeof (H2kSegment));
  chunk->metadata = g_ptr_array_new_with_free_func (free);
  chunk->record = h2k_record_new ();
  chunk->previous = h2k_record_new ();
  chunk->left_out = g_array_new (FALSE, FALSE, sizeof (H2kRange));
  return chunk;
}

void
h2k_chunk_free (H2kChunk *chunk)
{
  if (!chunk)
    return;
  free (chunk->data);
  free (chunk->packed);
  g_free (chunk->units);
  g_array_unref (chunk->ranges);
  g_array_unref (chunk->segments);
  g_ptr_array_unref (chunk->metadata);
  h2k_record_free (chunk->record);
  h2k_record_free (chunk->previous);
  g_array_unref (chunk->left_out);
  g_free (chunk);
}

void
h2k_chunk_reset (H2kChunk *chunk)
{
  chunk->length = 0;
  chunk->n_units = 0;
  chunk->bytes_data = chunk->bytes_read = chunk->bytes_zero = 0;
  chunk->has_previous = chunk->loaded = chunk->unread = FALSE;
  g_array_set_size (chunk->ranges, 0);
  g_array_set_size (chunk->segments, 0);
  g_array_set_size (chunk->left_out, 0);
  g_ptr_array_set_size (chunk->metadata, 0);
}

void
h2k_chunk_add_segment (H2kChunk *chunk, guint64 offset, const void *data, gsize length)
{
  H2kSegment segment = {offset, data, length};

  g_array_append_val (chunk->segments, segment);
}

guint8 *
h2k_chunk_add_buffer (H2kChunk *chunk, gsize length)
{
  guint8 *buffer = h2k_aligned_new0 (length);

  g_ptr_array_add (chunk->metadata, buffer);
  return buffer;
}

gboolean
h2k_chunk_find_ranges (H2kChunk *chunk, H2kDisk *disk, H2kExtentFunc extent, GError **error)
{
  guint64 end = MIN (chunk->offset + chunk->length, disk->size);

  for (guint64 at = chunk->offset; at < end;)
    {
      H2kExtent e;
      H2kRange *last = chunk->ranges->len
                           ? &g_array_index (chunk->ranges, H2kRange, chunk->ranges->len - 1)
                           : NULL;

      if (!extent (disk, at, end, &e, error))
        return FALSE;
      at = e.offset + e.length;
      if (e.kind != H2K_EXTENT_DATA)
        continue;
      chunk->bytes_data += e.length;
      if (last && last->offset + last->length == e.offset)
        last->length += e.length;
      else
        {
          H2kRange range = {e.offset, e.length};
          g_array_append_val (chunk->ranges, range);
        }
    }
  return TRUE;
}

static gboolean
read_range (H2kChunk *chunk, H2kDisk *disk, const H2kRange *range, GError **error)
{
  chunk->bytes_read += range->length;
  return h2k_disk_pread (disk, range->offset, range->length,
                         chunk->data + (range->offset - chunk->offset), error);
}

/* Read ranges FIRST to LAST in one request if possible. What lies between them is not needed, so
 * that an error there must not matter. */
static gboolean
read_group (H2kChunk *chunk, H2kDisk *disk, guint first, guint last, GError **error)
{
  H2kRange *ranges = &g_array_index (chunk->ranges, H2kRange, 0);
  H2kRange all
      = {ranges[first].offset, ranges[last].offset + ranges[last].length - ranges[first].offset};

  if (first == last)
    return read_range (chunk, disk, &all, error);
  if (read_range (chunk, disk, &all, NULL))
    return TRUE;
  for (guint i = first; i <= last; i++)
    if (!read_range (chunk, disk, &ranges[i], error))
      return FALSE;
  return TRUE;
}

gboolean
h2k_chunk_read (H2kChunk *chunk, H2kDisk *disk, GError **error)
{
  H2kRange *ranges = &g_array_index (chunk->ranges, H2kRange, 0);
  guint64 at = chunk->offset;

  for (guint first = 0, last; first < chunk->ranges->len; first = last + 1)
    {
      for (last = first; last + 1 < chunk->ranges->len; last++)
        if (ranges[last + 1].offset - (ranges[last].offset + ranges[last].length) >= MERGE_GAP)
          break;
      if (!read_group (chunk, disk, first, last, error))
        return FALSE;
    }
  for (guint i = 0; i < chunk->ranges->len; i++)
    {
      memset (chunk->data + (at - chunk->offset), 0, ranges[i].offset - at);
      at = ranges[i].offset + ranges[i].length;
    }
  memset (chunk->data + (at - chunk->offset), 0, chunk->capacity - (at - chunk->offset));
  return TRUE;
}

/* The extent at OFFSET of the disk, joined with the other one's if there is one. */
static gboolean
cursor_extent (H2kCursor *cursor, guint64 offset, H2kExtent *extent, GError **error)
{
  H2kExtent other;

  if (!cursor->extent (cursor->disk, offset, cursor->disk->size, extent, error))
    return FALSE;
  if (!cursor->other || offset >= cursor->other->size)
    return TRUE;
  if (!h2k_disk_extent (cursor->other, offset, cursor->other->size, &other, error))
    return FALSE;
  if ((extent->kind == H2K_EXTENT_DATA) == (other.kind == H2K_EXTENT_DATA))
    extent->length = MIN (extent->length, other.length);
  else if (other.kind == H2K_EXTENT_DATA)
    *extent = other;
  return TRUE;
}

gboolean
h2k_cursor_next (H2kCursor *cursor, H2kChunk *chunk, GError **error)
{
  guint64 size = cursor->disk->size;

  h2k_chunk_reset (chunk);
  while (!cursor->all && cursor->offset < size && cursor->known_end <= cursor->offset)
    {
      H2kExtent extent;

      if (!cursor_extent (cursor, cursor->offset, &extent, error))
        return FALSE;
      if (extent.kind == H2K_EXTENT_DATA)
        cursor->known_end = extent.offset + extent.length;
      else
        cursor->offset = extent.offset + extent.length;
    }
  if (cursor->offset >= size)
    return TRUE;
  chunk->number = cursor->number++;
  chunk->offset = cursor->offset - cursor->offset % cursor->window;
  chunk->length = MIN (cursor->window, size - chunk->offset);
  cursor->offset = chunk->offset + chunk->length;
  return TRUE;
}

typedef struct
{
  GThreadFunc func;
  gpointer data;
  GCancellable *cancellable; /* may be NULL */
} Work;

static gpointer
run_work (gpointer data)
{
  const Work *work = data;
  gpointer result;

  if (work->cancellable)
    g_cancellable_push_current (work->cancellable);
  result = work->func (work->data);
  if (work->cancellable)
    g_cancellable_pop_current (work->cancellable);
  return result;
}

void
h2k_run_threads (guint threads, GThreadFunc func, gpointer data)
{
  g_autoptr (GPtrArray) started = g_ptr_array_new ();
  Work work = {func, data, g_cancellable_get_current ()};

  /* Fewer threads than asked for only take longer. */
  for (guint i = 1; i < threads; i++)
    {
      GThread *thread = g_thread_try_new ("h2k-copy", run_work, &work, NULL);
      if (!thread)
        break;
      g_ptr_array_add (started, thread);
    }
  func (data);
  for (guint i = 0; i < started->len; i++)
    g_thread_join (started->pdata[i]);
}

guint
h2k_thread_count (const H2kCopyOptions *options)
{
  guint threads = options ? options->threads : 0;

  if (!threads)
    threads = g_get_num_processors ();
  return MIN (threads, H2K_MAX_THREADS);
}

void
h2k_keep_error (GError **kept, GError *error)
{
  if (*kept
      && (!g_error_matches (*kept, H2K_ERROR, H2K_ERROR_CANCELLED)
          || g_error_matches (error, H2K_ERROR, H2K_ERROR_CANCELLED)))
    {
      g_error_free (error);
      return;
    }
  g_clear_error (kept);
  *kept = error;
}

void
h2k_meter_init (H2kMeter *meter, const H2kCopyOptions *options, guint64 total)
{
  memset (meter, 0, sizeof *meter);
  g_mutex_init (&meter->lock);
  meter->options = options && options->progress ? options : NULL;
  meter->total = total;
}

void
h2k_meter_clear (H2kMeter *meter)
{
  g_mutex_clear (&meter->lock);
}

static void
meter_report (H2kMeter *meter)
{
  const H2kCopyOptions *o = meter->options;

  o->progress (o->progress_phase ? o->progress_phase : "copy", meter->done, meter->total,
               o->progress_data);
}

void
h2k_meter_add (H2kMeter *meter, guint64 bytes)
{
  gint64 now = meter->options ? g_get_monotonic_time () : 0;

  if (!meter->options)
    return;
  g_mutex_lock (&meter->lock);
  meter->done = MIN (meter->done + bytes, meter->total);
  if (now - meter->last >= PROGRESS_INTERVAL && meter->done < meter->total)
    {
      meter->last = now;
      meter_report (meter);
    }
  g_mutex_unlock (&meter->lock);
}

void
h2k_meter_finish (H2kMeter *meter)
{
  if (!meter->options)
    return;
  meter->done = meter->total;
  meter_report (meter);
}
