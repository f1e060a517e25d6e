/* verify.c - two disks compared, and the finished file read back through the reader of its format
 * and compared with the source.
 *
 * Nothing of the writers is used: what is compared is what QEMU will be given, from the disk and
 * not from the page cache.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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
  g_autoptr (H2kChunk) expected = h2k_chunk_new (H2K_WINDOW, 0, 0);
  g_autoptr (H2kChunk) actual = h2k_chunk_new (H2K_WINDOW, 0, 0);

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

/* What is read back must come from the storage. */
static gboolean
drop_cache (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  int err = fd < 0 ? errno : 0;

  if (fd >= 0 && fsync (fd) < 0)
    err = errno;
  if (fd >= 0)
    {
      posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED);
      close (fd);
    }
  if (err)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "cannot flush %s before reading it back", path);
  return err == 0;
}

static gboolean
check_sizes (guint64 expected, H2kDisk *output, GError **error)
{
  if (output->size == expected)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s reads back as a disk of %" G_GUINT64_FORMAT
               " bytes instead of %" G_GUINT64_FORMAT,
               output->name, output->size, expected);
  return FALSE;
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

/* OUTPUT must hold SOURCE in SIZE bytes. */
static gboolean
verify_disk (H2kDisk *source, H2kDisk *output, guint64 size, const H2kCopyOptions *options,
             GCancellable *cancellable, GError **error)
{
  guint64 differs;

  if (!check_sizes (size, output, error)
      || !h2k_compare (source, output, options, cancellable, &differs, error))
    return FALSE;
  if (differs == G_MAXUINT64)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s, read back, differs from %s at offset %" G_GUINT64_FORMAT
               " of the disk; check the storage below it and convert again",
               output->name, source->name, differs);
  return FALSE;
}

gboolean
h2k_verify (H2kDisk *source, const char *path, const char *format, const H2kCopyOptions *options,
            GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) output = NULL;

  return drop_cache (path, error) && (output = h2k_disk_open (path, format, error))
         && verify_disk (source, output, (source->size + 511) / 512 * 512, options, cancellable,
                         error);
}

gboolean
h2k_output_verify (H2kDisk *source, H2kOutput *output, const H2kCopyOptions *options,
                   GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) disk = NULL;

  if (output->sink->path && !drop_cache (output->sink->path, error))
    return FALSE;
  disk = h2k_output_reopen (output, error);
  return disk && verify_disk (source, disk, output->size, options, cancellable, error);
}
