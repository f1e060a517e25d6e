/* compare.c - the contents of two disks compared with all cores.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

typedef struct
{
  H2kDisk *longer;
  H2kDisk *shorter; /* counts as zeros behind its end */
  GCancellable *cancellable;
  H2kMeter meter;

  GMutex lock; /* for what follows */
  H2kCursor cursor;
  GError *error;
  guint64 differs; /* lowest offset that differs */
} Comparison;

/* The first offset where EXPECTED and ACTUAL differ; N if nowhere. */
static gsize
first_difference (const guint8 *expected, const guint8 *actual, gsize n)
{
  gsize at = 0;

  if (memcmp (expected, actual, n) == 0)
    return n;
  while (expected[at] == actual[at])
    at++;
  return at;
}

/* Compare one window. The windows are handed out in order and each one taken is finished, so that
 * the lowest difference found is the first of the disk. */
static gboolean
compare_chunk (Comparison *c, H2kChunk *expected, H2kChunk *actual, GError **error)
{
  guint64 left = c->shorter->size - MIN (expected->offset, c->shorter->size);
  gsize n = (gsize)MIN (left, expected->length), at;

  if (h2k_is_cancelled (c->cancellable, error)
      || !h2k_chunk_find_ranges (expected, c->longer, h2k_disk_extent, error)
      || !h2k_chunk_read (expected, c->longer, error)
      || !h2k_disk_pread (c->shorter, MIN (expected->offset, c->shorter->size), n, actual->data,
                          error))
    return FALSE;
  memset (actual->data + n, 0, expected->length - n);
  at = first_difference (expected->data, actual->data, expected->length);
  if (at < expected->length)
    {
      g_mutex_lock (&c->lock);
      c->differs = MIN (c->differs, expected->offset + at);
      g_mutex_unlock (&c->lock);
    }
  h2k_meter_add (&c->meter, expected->bytes_data);
  return TRUE;
}

static gpointer
compare_thread (gpointer data)
{
  Comparison *c = data;
  g_autoptr (H2kChunk) expected = h2k_chunk_new (H2K_WINDOW, 0, FALSE);
  g_autoptr (H2kChunk) actual = h2k_chunk_new (H2K_WINDOW, 0, FALSE);

  g_mutex_lock (&c->lock);
  while (!c->error && c->differs == G_MAXUINT64)
    {
      GError *error = NULL;
      gboolean ok = h2k_cursor_next (&c->cursor, expected, &error);

      if (ok && !expected->length)
        break;
      if (ok)
        {
          g_mutex_unlock (&c->lock);
          ok = compare_chunk (c, expected, actual, &error);
          g_mutex_lock (&c->lock);
        }
      if (!ok)
        h2k_keep_error (&c->error, error);
    }
  g_mutex_unlock (&c->lock);
  return NULL;
}

gboolean
h2k_compare (H2kDisk *a, H2kDisk *b, const H2kCopyOptions *options, GCancellable *cancellable,
             guint64 *differs, GError **error)
{
  Comparison c = {.longer = a->size < b->size ? b : a,
                  .shorter = a->size < b->size ? a : b,
                  .cancellable = cancellable,
                  .differs = G_MAXUINT64};
  guint64 total;

  if (!h2k_copy_estimate (c.longer, &total, error))
    return FALSE;
  c.cursor = (H2kCursor){.disk = c.longer,
                         .other = c.shorter,
                         .extent = h2k_disk_extent,
                         .window = H2K_WINDOW};
  g_mutex_init (&c.lock);
  h2k_meter_init (&c.meter, options, total);
  h2k_run_threads (h2k_thread_count (options), compare_thread, &c);
  /* A difference that was found counts, whatever happened elsewhere to stop the search. */
  if (c.differs != G_MAXUINT64 && g_error_matches (c.error, H2K_ERROR, H2K_ERROR_CANCELLED))
    g_clear_error (&c.error);
  if (!c.error)
    h2k_meter_finish (&c.meter);
  *differs = c.differs;
  g_mutex_clear (&c.lock);
  h2k_meter_clear (&c.meter);
  if (c.error)
    g_propagate_error (error, c.error);
  return c.error == NULL;
}
