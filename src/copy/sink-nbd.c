/* sink-nbd.c - an export of an NBD server, which is overwritten where it stands.
 *
 * What it held before is not zero. A disk's own bytes (raw, a fixed VHD) are written with all their
 * zeros. Other images leave gaps, and where they end is known at the end: for them the export is
 * made zero a bit further than anything is written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"
#include "disk/nbd.h"

#define CLEAR_AHEAD ((guint64)64 << 20)

typedef struct
{
  H2kSink parent;
  H2kFile *file;
  guint64 room;  /* bytes that can be written */
  GMutex lock;   /* held while the export is made zero */
  guint64 clear; /* up to here it was, or is written densely */
} NbdSink;

static void
nbd_free (H2kSink *base)
{
  NbdSink *sink = (NbdSink *)base;

  if (sink->file)
    h2k_file_unref (sink->file);
  g_mutex_clear (&sink->lock);
  g_free (sink);
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
check_options (const H2kOutput *output, GError **error)
{
  if (output->options.resume)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "a copy to an NBD export cannot be taken up: leave out --resume");
  else if (output->options.preallocation >= H2K_PREALLOCATION_FALLOC)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "an NBD export has its space: leave out preallocation");
  else if (output->options.backing)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "an image in an NBD export has no folder where its backing file could "
                         "be found: leave out --backing");
  else if (!output->options.force)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "%s is an NBD export, all of which would be overwritten; --force does so",
                 output->given);
  else
    return TRUE;
  return FALSE;
}

static gboolean
check_source (const H2kOutput *output, GPtrArray *sources, GError **error)
{
  for (guint i = 0; i < sources->len; i++)
    if (h2k_nbd_same_export (sources->pdata[i], output->path))
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s is a source of this conversion and is never written; choose another "
                     "output",
                     output->given);
        return FALSE;
      }
  return TRUE;
}

static gboolean
check_size (const H2kOutput *output, guint64 size, GError **error)
{
  guint64 wanted = output->writer->length;

  if (size >= wanted && (size == wanted || !output->writer->fills))
    return TRUE;
  if (size < wanted)
    g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
                 "the export %s has room for %" G_GUINT64_FORMAT
                 " bytes and the output (%s) %" G_GUINT64_FORMAT ": choose a larger one",
                 output->given, size, output->options.format, wanted);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "the export %s has room for %" G_GUINT64_FORMAT
                 " bytes, but a %s must end where its place ends: choose an export of "
                 "%" G_GUINT64_FORMAT " bytes",
                 output->given, size, output->options.format, wanted);
  return FALSE;
}

static H2kSink *
nbd_open (H2kOutput *output, GPtrArray *sources, int mode, GError **error)
{
  H2kFile *file = NULL;
  NbdSink *sink;

  if (check_options (output, error) && check_source (output, sources, error))
    file = h2k_nbd_open_output (output->path, error);
  if (file && !check_size (output, h2k_nbd_room (file), error))
    g_clear_pointer (&file, h2k_file_unref);
  if (!file)
    return NULL;
  sink = g_new0 (NbdSink, 1);
  sink->parent.ops = &h2k_nbd_sink;
  sink->parent.output = output;
  sink->parent.dense = output->writer->length > 0;
  sink->file = file;
  sink->room = h2k_nbd_room (file);
  sink->clear = sink->parent.dense ? G_MAXUINT64 : 0;
  g_mutex_init (&sink->lock);
  return &sink->parent;
}

/* --- writing ---------------------------------------------------------------------------------- */

static gboolean
check_room (NbdSink *sink, guint64 end, GError **error)
{
  if (end <= sink->room)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "the export %s has room for %" G_GUINT64_FORMAT
               " bytes, and the %s needs more: choose a larger one",
               sink->parent.output->given, sink->room, sink->parent.output->options.format);
  return FALSE;
}

/* Nobody writes to what this makes zero before it is done. */
static gboolean
clear_until (NbdSink *sink, guint64 end, GError **error)
{
  gboolean ok = TRUE;

  g_mutex_lock (&sink->lock);
  while (ok && sink->clear < end)
    {
      guint64 n = MIN (CLEAR_AHEAD, sink->room - sink->clear);

      ok = h2k_nbd_write (sink->file, sink->clear, n, NULL, error);
      sink->clear += ok ? n : 0;
    }
  g_mutex_unlock (&sink->lock);
  return ok;
}

/* How many segments from S on, of N, are one piece of memory and of the export. */
static guint
request_length (const H2kSegment *s, guint n)
{
  guint i;

  for (i = 1; i < n && s[0].data; i++)
    if (s[i].data != s[i - 1].data + s[i - 1].length
        || s[i].offset != s[i - 1].offset + s[i - 1].length)
      break;
  return i;
}

static gboolean
nbd_write (H2kSink *base, const H2kSegment *segments, guint count, GError **error)
{
  NbdSink *sink = (NbdSink *)base;

  for (guint i = 0, n; i < count; i += n)
    {
      const H2kSegment *s = &segments[i], *last;
      guint64 end;

      n = request_length (s, count - i);
      last = &s[n - 1];
      end = last->offset + last->length;
      if (!check_room (sink, end, error) || !clear_until (sink, end, error))
        return FALSE;
      if ((s->data || base->dense)
          && !h2k_nbd_write (sink->file, s->offset, end - s->offset, s->data, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
nbd_complete (H2kSink *base, guint64 length, GError **error)
{
  NbdSink *sink = (NbdSink *)base;

  return check_room (sink, length, error) && clear_until (sink, length, error)
         && (!base->output->options.sync || h2k_nbd_flush (sink->file, error));
}

static gboolean
nbd_is_doubtful (H2kSink *base)
{
  return h2k_nbd_was_lost (((NbdSink *)base)->file);
}

/* The export may be larger than the disk. */
static H2kDisk *
nbd_reopen (H2kSink *base, GError **error)
{
  H2kOutput *output = base->output;
  g_autoptr (H2kFile) file = h2k_nbd_reopen (((NbdSink *)base)->file);
  g_autoptr (H2kDisk) disk = h2k_disk_open_file (file, output->options.format, error);

  if (!disk || disk->size <= output->size || !g_str_equal (output->options.format, "raw"))
    return g_steal_pointer (&disk);
  return h2k_slice_new (disk, 0, output->size, output->given, error);
}

static guint64
nbd_available (H2kSink *base)
{
  return ((NbdSink *)base)->room;
}

const H2kSinkOps h2k_nbd_sink = {
    .kind = H2K_SINK_NBD,
    .name = "an NBD export",
    .room = "in the export; choose a larger one",
    .matches = h2k_nbd_is_uri,
    .open = nbd_open,
    .write = nbd_write,
    .complete = nbd_complete,
    .is_doubtful = nbd_is_doubtful,
    .reopen = nbd_reopen,
    .available = nbd_available,
    .free = nbd_free,
};
