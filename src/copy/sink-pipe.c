/* sink-pipe.c - standard output: what is written comes from the start to the end, each byte once.
 *
 * Chunks are placed in the disk's order but written by any thread, so each waits for its turn. The
 * engine hands chunks out to be written in the order of their places: whoever waits here waits for
 * a thread that is writing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define POLL_MS 200 /* between two looks whether the copy was cancelled */

typedef struct
{
  H2kSink parent;
  int fd;
  guint8 *zeros; /* H2K_WINDOW bytes */
  GMutex lock;   /* for what follows */
  GCond changed;
  guint64 position;
  gboolean failed;
} PipeSink;

static gboolean
pipe_matches (const char *path)
{
  return g_str_equal (path, "-");
}

static void
pipe_free (H2kSink *base)
{
  PipeSink *sink = (PipeSink *)base;

  close (sink->fd);
  free (sink->zeros);
  g_mutex_clear (&sink->lock);
  g_cond_clear (&sink->changed);
  g_free (sink);
}

static H2kSink *
pipe_open (H2kOutput *output, GPtrArray *sources, int mode, GError **error)
{
  PipeSink *sink;
  struct stat st;
  int fd;

  if (isatty (STDOUT_FILENO))
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                           "standard output is a terminal: redirect it, or name a file");
      return NULL;
    }
  if (output->options.resume)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                           "what went to standard output cannot be taken up: leave out --resume");
      return NULL;
    }
  fd = fcntl (STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (fd < 0 || fstat (fd, &st) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot write to standard output");
      if (fd >= 0)
        close (fd);
      return NULL;
    }
  if (!h2k_output_check_sources ("standard output", &st, sources, error))
    {
      close (fd);
      return NULL;
    }
  sink = g_new0 (PipeSink, 1);
  sink->parent.ops = &h2k_pipe_sink;
  sink->parent.output = output;
  sink->parent.dense = TRUE;
  sink->fd = fd;
  sink->zeros = h2k_aligned_new0 (H2K_WINDOW);
  g_mutex_init (&sink->lock);
  g_cond_init (&sink->changed);
  return &sink->parent;
}

/* Returns an errno value. A reader that does not read must not keep a cancelled copy alive. */
static int
write_all (PipeSink *sink, const guint8 *data, gsize length)
{
  while (length)
    {
      struct pollfd poll_fd = {.fd = sink->fd, .events = POLLOUT};
      gssize n;

      if (g_cancellable_is_cancelled (sink->parent.output->cancellable))
        return ECANCELED;
      if (poll (&poll_fd, 1, POLL_MS) == 0)
        continue;
      /* A pipe that can be written has room for some bytes at least; for the rest this waits. */
      n = write (sink->fd, data, MIN (length, (gsize)64 << 10));
      if (n < 0 && errno != EINTR && errno != EAGAIN)
        return errno;
      if (n > 0)
        {
          data += n;
          length -= (gsize)n;
        }
    }
  return 0;
}

static int
write_segment (PipeSink *sink, const H2kSegment *segment)
{
  int err = 0;

  if (segment->data)
    return write_all (sink, segment->data, segment->length);
  for (guint64 left = segment->length; left && !err; left -= MIN (left, H2K_WINDOW))
    err = write_all (sink, sink->zeros, MIN (left, H2K_WINDOW));
  return err;
}

static gboolean
pipe_write (H2kSink *base, const H2kSegment *segments, guint n, GError **error)
{
  PipeSink *sink = (PipeSink *)base;
  guint64 position = segments[0].offset;
  int err = 0;

  g_mutex_lock (&sink->lock);
  while (sink->position != position && !sink->failed)
    g_cond_wait (&sink->changed, &sink->lock);
  if (sink->failed)
    err = EPIPE;
  g_mutex_unlock (&sink->lock);
  for (guint i = 0; i < n && !err; i++)
    {
      g_assert (segments[i].offset == position);
      err = write_segment (sink, &segments[i]);
      position += segments[i].length;
    }
  g_mutex_lock (&sink->lock);
  sink->position = position;
  sink->failed = sink->failed || err;
  g_cond_broadcast (&sink->changed);
  g_mutex_unlock (&sink->lock);
  if (err)
    h2k_output_write_error (base->output, err, error);
  return err == 0;
}

static gboolean
pipe_complete (H2kSink *base, guint64 length, GError **error)
{
  PipeSink *sink = (PipeSink *)base;
  int err = 0;

  g_assert (sink->position == length);
  /* It may be a file; of pipes and sockets nothing can be flushed. */
  if (base->output->options.sync && fsync (sink->fd) < 0 && errno != EINVAL && errno != EROFS
      && errno != ENOTSUP)
    err = errno;
  if (err)
    h2k_output_write_error (base->output, err, error);
  return err == 0;
}

const H2kSinkOps h2k_pipe_sink = {
    .kind = H2K_SINK_PIPE,
    .name = "standard output",
    .matches = pipe_matches,
    .open = pipe_open,
    .write = pipe_write,
    .complete = pipe_complete,
    .free = pipe_free,
};
