/* verify.c - the finished file read back through the reader of its format and compared with the
 * source.
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
  H2kDisk *source;
  H2kDisk *output;
  GCancellable *cancellable;
  H2kMeter meter;

  GMutex lock; /* for what follows */
  H2kCursor cursor;
  GError *error;
  guint64 differs; /* lowest offset that differs */
} Verify;

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
compare_chunk (Verify *v, H2kChunk *expected, H2kChunk *actual, GError **error)
{
  gsize at;

  if (h2k_is_cancelled (v->cancellable, error)
      || !h2k_chunk_find_ranges (expected, v->source, h2k_disk_extent, error)
      || !h2k_chunk_read (expected, v->source, error)
      || !h2k_disk_pread (v->output, expected->offset, expected->length, actual->data, error))
    return FALSE;
  at = first_difference (expected->data, actual->data, expected->length);
  if (at < expected->length)
    {
      g_mutex_lock (&v->lock);
      v->differs = MIN (v->differs, expected->offset + at);
      g_mutex_unlock (&v->lock);
    }
  h2k_meter_add (&v->meter, expected->bytes_data);
  return TRUE;
}

static gpointer
verify_thread (gpointer data)
{
  Verify *v = data;
  g_autoptr (H2kChunk) expected = h2k_chunk_new (H2K_WINDOW, 0, FALSE);
  g_autoptr (H2kChunk) actual = h2k_chunk_new (H2K_WINDOW, 0, FALSE);

  g_mutex_lock (&v->lock);
  while (!v->error && v->differs == G_MAXUINT64)
    {
      GError *error = NULL;
      gboolean ok = h2k_cursor_next (&v->cursor, expected, &error);

      if (ok && !expected->length)
        break;
      if (ok)
        {
          g_mutex_unlock (&v->lock);
          ok = compare_chunk (v, expected, actual, &error);
          g_mutex_lock (&v->lock);
        }
      if (!ok)
        h2k_keep_error (&v->error, error);
    }
  g_mutex_unlock (&v->lock);
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
check_sizes (H2kDisk *source, H2kDisk *output, GError **error)
{
  guint64 expected = (source->size + 511) / 512 * 512;

  if (output->size == expected)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s reads back as a disk of %" G_GUINT64_FORMAT
               " bytes instead of %" G_GUINT64_FORMAT,
               output->name, output->size, expected);
  return FALSE;
}

gboolean
h2k_verify (H2kDisk *source, const char *path, const char *format, const H2kCopyOptions *options,
            GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) output = NULL;
  Verify v = {.source = source, .cancellable = cancellable, .differs = G_MAXUINT64};
  guint64 total;

  if (!drop_cache (path, error) || !(output = h2k_disk_open (path, format, error))
      || !check_sizes (source, output, error) || !h2k_copy_estimate (source, &total, error))
    return FALSE;
  v.output = output;
  v.cursor = (H2kCursor){.disk = source,
                         .other = output,
                         .extent = h2k_disk_extent,
                         .window = H2K_WINDOW};
  g_mutex_init (&v.lock);
  h2k_meter_init (&v.meter, options, total);
  h2k_run_threads (h2k_thread_count (options), verify_thread, &v);
  if (v.differs != G_MAXUINT64
      && (!v.error || g_error_matches (v.error, H2K_ERROR, H2K_ERROR_CANCELLED)))
    {
      g_clear_error (&v.error);
      g_set_error (&v.error, H2K_ERROR, H2K_ERROR_VERIFY,
                   "%s, read back, differs from %s at offset %" G_GUINT64_FORMAT
                   " of the disk; check the storage below it and convert again",
                   path, source->name, v.differs);
    }
  if (!v.error)
    h2k_meter_finish (&v.meter);
  g_mutex_clear (&v.lock);
  h2k_meter_clear (&v.meter);
  if (v.error)
    g_propagate_error (error, v.error);
  return v.error == NULL;
}
