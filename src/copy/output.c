/* output.c - a writer and a sink put together: creation, space, errors, the end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/journal.h"
#include "disk/file.h"
#include "disk/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define SECTOR 512u

/* The first that takes a path has it. */
static const H2kSinkOps *const sinks[] = {
    &h2k_pipe_sink,
    &h2k_device_sink,
    &h2k_nbd_sink,
    &h2k_file_sink,
};

/* --- creation --------------------------------------------------------------------------------- */

gboolean
h2k_output_check_sources (const char *path, const struct stat *st, GPtrArray *sources,
                          GError **error)
{
  struct stat source;

  for (guint i = 0; sources && i < sources->len; i++)
    if (stat (sources->pdata[i], &source) == 0 && source.st_dev == st->st_dev
        && source.st_ino == st->st_ino)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s is a source of this conversion (%s) and is never written; choose another "
                     "output",
                     path, (const char *)sources->pdata[i]);
        return FALSE;
      }
  return TRUE;
}

static const H2kSinkOps *
find_sink (const char *path, const char *shown, const H2kOutputOptions *options, GError **error)
{
  for (guint i = 0; i + 1 < G_N_ELEMENTS (sinks) && !options->files_only; i++)
    if (sinks[i]->matches (path))
      return sinks[i];
  if (options->files_only || !h2k_file_is_uri (path))
    return sinks[G_N_ELEMENTS (sinks) - 1];
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "%s: cannot be written to; an output is a file, a block device, an NBD export "
               "(nbd://, nbds://, nbd+unix://, nbds+unix://) or - for standard output. A file of "
               "that name is given as ./%s",
               shown, shown);
  return NULL;
}

/* PATH for messages. */
static char *
shown_path (const char *path)
{
  g_autofree char *shown = h2k_file_is_uri (path) ? h2k_uri_shown (path) : NULL;

  return shown ? h2k_escape_text (shown, -1) : g_strdup (path);
}

/* What the image records: QEMU takes relative names from the image's own folder. */
static char *
backing_name (const char *output, const char *backing)
{
  g_autofree char *folder = g_path_get_dirname (output);
  g_autofree char *from = g_canonicalize_filename (folder, NULL);
  char *path = g_canonicalize_filename (backing, NULL);
  gsize n = g_str_equal (from, "/") ? 0 : strlen (from);

  /* A colon would make a protocol of what stands before it. */
  if (!g_path_is_absolute (backing) && strncmp (path, from, n) == 0 && path[n] == '/'
      && !strchr (path + n, ':'))
    memmove (path, path + n + 1, strlen (path + n + 1) + 1);
  return path;
}

/* Open the backing file; SOURCES gets its files, so that none of them is overwritten. */
static gboolean
open_backing (H2kOutput *output, const H2kWriterOps *writer, GPtrArray *sources, GError **error)
{
  const H2kOutputOptions *o = &output->options;

  if (!o->backing)
    return TRUE;
  if (!writer->backing)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s has no backing files: leave out --backing, or choose qcow2", writer->format);
      return FALSE;
    }
  output->base = h2k_disk_open (o->backing, o->backing_format, error);
  if (!output->base)
    {
      g_prefix_error (error, "cannot open the backing file: ");
      return FALSE;
    }
  output->backing = backing_name (output->given, o->backing);
  output->backing_format
      = g_strdup (g_str_equal (output->base->format, "vhd") ? "vpc" : output->base->format);
  g_ptr_array_add (sources, (char *)o->backing);
  for (guint i = 0; i < output->base->files->len; i++)
    g_ptr_array_add (sources, output->base->files->pdata[i]);
  return TRUE;
}

/* A journal without a name, for the verification alone. */
static gboolean
start_journal (H2kOutput *output, GError **error)
{
  g_autofree char *path = NULL;

  if (output->journal || !output->sink->ops->reopen)
    return TRUE;
  output->journal_fd = g_file_open_tmp ("h2k-journal-XXXXXX", &path, error);
  if (output->journal_fd < 0)
    return FALSE;
  g_unlink (path);
  output->journal = h2k_journal_new (output->journal_fd, "", error);
  return output->journal != NULL;
}

H2kOutput *
h2k_output_create (const char *path, guint64 size, const H2kOutputOptions *options,
                   GPtrArray *sources, int mode, const char *backing, const char *backing_format,
                   GError **error)
{
  g_autofree char *shown = shown_path (path);
  const H2kWriterOps *writer = h2k_writer_find (options->format, error);
  const H2kSinkOps *sink = writer ? find_sink (path, shown, options, error) : NULL;
  g_autoptr (GPtrArray) keep = g_ptr_array_new (); /* files that are not written */
  g_autoptr (H2kOutput) output = NULL;

  if (!sink)
    return NULL;
  if (!(writer->sinks & sink->kind))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "%s: %s cannot be written to %s", shown,
                   writer->format, sink->name);
      return NULL;
    }
  output = g_new0 (H2kOutput, 1);
  g_mutex_init (&output->lock);
  output->given = g_steal_pointer (&shown);
  output->path = g_strdup (path);
  output->options = *options;
  output->options.format = writer->format;
  output->identity = g_strdup (options->identity ? options->identity : "");
  output->options.identity = output->identity;
  output->journal_fd = output->previous_fd = -1;
  output->backing = g_strdup (backing);
  output->backing_format = g_strdup (backing_format);
  /* Guests see whole sectors only. */
  output->size = (size + SECTOR - 1) / SECTOR * SECTOR;
  if (sources)
    g_ptr_array_extend (keep, sources, NULL, NULL);
  if (!open_backing (output, writer, keep, error))
    return NULL;
  output->writer = writer->create (output, error);
  output->sink = output->writer ? sink->open (output, keep, mode, error) : NULL;
  if (!output->sink || !start_journal (output, error))
    return NULL;
  output->dense = output->sink->dense || output->options.preallocation == H2K_PREALLOCATION_FULL;
  return g_steal_pointer (&output);
}

H2kOutput *
h2k_output_new (const char *path, guint64 size, const H2kOutputOptions *options, GPtrArray *sources,
                GError **error)
{
  return h2k_output_create (path, size, options, sources, 0644, NULL, NULL, error);
}

const char *
h2k_output_temp_path (H2kOutput *output)
{
  return output->sink->path;
}

const char *
h2k_output_path (H2kOutput *output)
{
  return output->path;
}

void
h2k_output_free (H2kOutput *output)
{
  if (!output)
    return;
  if (output->sink)
    output->sink->ops->free (output->sink);
  if (output->writer)
    output->writer->ops->free (output->writer);
  h2k_journal_reader_free (output->previous);
  h2k_journal_free (output->journal);
  if (output->journal_fd >= 0)
    close (output->journal_fd);
  g_mutex_clear (&output->lock);
  g_free (output->identity);
  g_free (output->path);
  g_free (output->given);
  if (output->base)
    h2k_disk_unref (output->base);
  g_free (output->backing);
  g_free (output->backing_format);
  g_free (output);
}

/* --- space ------------------------------------------------------------------------------------ */

static guint64
available_space (H2kOutput *output)
{
  const H2kSinkOps *ops = output->sink ? output->sink->ops : NULL;

  return ops && ops->available ? ops->available (output->sink) : G_MAXUINT64;
}

static void
set_no_space (H2kOutput *output, guint64 needed, guint64 available, const char *what,
              GError **error)
{
  g_autofree char *n = h2k_format_size (needed);
  g_autofree char *a = h2k_format_size (available);

  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "%s %s: %s (%" G_GUINT64_FORMAT " bytes) needed, %s (%" G_GUINT64_FORMAT
               " bytes) available %s",
               what, output->given, n, needed, a, available, output->sink->ops->room);
}

gboolean
h2k_output_check_space (H2kOutput *output, guint64 needed, GError **error)
{
  guint64 available = available_space (output);

  if (needed <= available)
    return TRUE;
  set_no_space (output, needed, available, "not enough space for the output", error);
  return FALSE;
}

void
h2k_output_write_error (H2kOutput *output, int err, GError **error)
{
  guint64 written, left, available = available_space (output);

  g_mutex_lock (&output->lock);
  written = output->written;
  left = output->expected > written ? output->expected - written : 0;
  g_mutex_unlock (&output->lock);
  if (err == ECANCELED && h2k_is_cancelled (output->cancellable, error))
    return;
  if ((err == ENOSPC || err == EDQUOT) && available != G_MAXUINT64)
    set_no_space (output, MAX (left, SECTOR), available,
                  err == EDQUOT ? "the disk quota is used up while writing the output"
                                : "no space left while writing the output",
                  error);
  else
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                   "cannot write the output %s (after %" G_GUINT64_FORMAT " bytes)%s",
                   output->given, written,
                   err == EFBIG ? "; its filesystem or the file size limit (ulimit -f) does not "
                                  "allow so large a file"
                                : "");
}

/* --- writing ---------------------------------------------------------------------------------- */

gboolean
h2k_output_reserve (H2kOutput *output, guint64 offset, guint64 length)
{
  H2kSink *sink = output->sink;

  return sink->ops->reserve && sink->ops->reserve (sink, offset, length);
}

gboolean
h2k_output_clear (H2kOutput *output, guint64 offset, guint64 length, GError **error)
{
  struct stat st;

  if (fstat (output->previous_fd, &st) == 0 && offset >= (guint64)st.st_size)
    return TRUE;
  if (fallocate (output->previous_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                 (off_t)length)
      == 0)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                 "cannot clear what an interrupted run left in %s; leave out --resume to start "
                 "afresh",
                 output->given);
  return FALSE;
}

gboolean
h2k_output_write (H2kOutput *output, H2kChunk *chunk, GError **error)
{
  const H2kSegment *segments = &g_array_index (chunk->segments, H2kSegment, 0);
  guint n = chunk->segments->len;
  guint64 bytes = 0;

  if (n && !output->sink->ops->write (output->sink, segments, n, error))
    return FALSE;
  for (guint i = 0; i < n; i++)
    bytes += segments[i].data ? segments[i].length : 0;
  g_mutex_lock (&output->lock);
  output->written += bytes;
  g_mutex_unlock (&output->lock);
  return TRUE;
}

gboolean
h2k_output_complete (H2kOutput *output, guint64 length, GError **error)
{
  output->complete = output->sink->ops->complete (output->sink, length, error);
  return output->complete;
}

gboolean
h2k_output_is_doubtful (H2kOutput *output)
{
  return output->sink->ops->is_doubtful && output->sink->ops->is_doubtful (output->sink);
}

H2kDisk *
h2k_output_reopen (H2kOutput *output, GError **error)
{
  if (output->sink->ops->reopen)
    return output->sink->ops->reopen (output->sink, error);
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "%s cannot be read back: leave out --verify",
               output->sink->ops->name);
  return NULL;
}

gboolean
h2k_output_commit (H2kOutput *output, GError **error)
{
  H2kSink *sink = output->sink;

  g_return_val_if_fail (!output->committed, FALSE);
  if (!output->complete)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "the output %s was not written to its end and gets no name", output->given);
      return FALSE;
    }
  if (sink->ops->commit && !sink->ops->commit (sink, error))
    return FALSE;
  output->committed = TRUE;
  return TRUE;
}
