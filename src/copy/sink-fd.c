/* sink-fd.c - writing to a file descriptor at any place, past the page cache where that is
 * possible: what regular files and block devices have in common.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/fd-calls.h"
#include "copy/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_IOV 256
#define ZEROS_AT_ONCE H2K_WINDOW

H2kFdCalls h2k_fd_calls = {.pwritev = pwritev, .fsync = fsync, .ftruncate = ftruncate};

void
h2k_fd_sink_init (H2kFdSink *sink)
{
  sink->fd = sink->direct_fd = -1;
  g_mutex_init (&sink->lock);
}

void
h2k_fd_sink_clear (H2kFdSink *sink)
{
  if (sink->direct_fd >= 0)
    close (sink->direct_fd);
  if (sink->fd >= 0)
    close (sink->fd);
  g_mutex_clear (&sink->lock);
}

/* Direct I/O is tried out, since no interface says beforehand what a filesystem will take. */
void
h2k_fd_sink_open_direct (H2kFdSink *sink, gboolean probe)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", sink->fd);
  guint8 *block = h2k_aligned_new0 (H2K_IO_ALIGN);

  sink->direct_fd = open (path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (probe && sink->direct_fd >= 0
      && pwrite (sink->direct_fd, block, H2K_IO_ALIGN, 0) != H2K_IO_ALIGN)
    {
      close (sink->direct_fd);
      sink->direct_fd = -1;
    }
  free (block);
}

/* Start the writeback of what was just written through the page cache, and wait for what was
 * written some time ago and drop it: the cache holds a bounded part of the file. */
static void
write_behind (H2kFdSink *sink, H2kRange recent)
{
  H2kRange old;

  if (!recent.length)
    return;
  sync_file_range (sink->fd, (off_t)recent.offset, (off_t)recent.length, SYNC_FILE_RANGE_WRITE);
  g_mutex_lock (&sink->lock);
  old = sink->behind[sink->n_behind % H2K_BEHIND];
  sink->behind[sink->n_behind++ % H2K_BEHIND] = recent;
  g_mutex_unlock (&sink->lock);
  if (!old.length)
    return;
  sync_file_range (sink->fd, (off_t)old.offset, (off_t)old.length,
                   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
                       | SYNC_FILE_RANGE_WAIT_AFTER);
  posix_fadvise (sink->fd, (off_t)old.offset, (off_t)old.length, POSIX_FADV_DONTNEED);
}

static void
extend_range (H2kRange *range, guint64 offset, guint64 length)
{
  guint64 start = range->length ? MIN (range->offset, offset) : offset;
  guint64 end = MAX (range->offset + range->length, offset + length);

  *range = (H2kRange){start, end - start};
}

static gboolean
is_aligned (const H2kSegment *s)
{
  return (s->offset | s->length | (gsize)s->data) % H2K_IO_ALIGN == 0;
}

/* Write IOV (LENGTH bytes) at OFFSET. What direct I/O does not take, or only in part, goes through
 * the page cache, and is added to CACHED. Returns an errno value. */
static int
write_vector (H2kFdSink *sink, struct iovec *iov, int n, gsize length, guint64 offset,
              gboolean direct, H2kRange *cached)
{
  while (length)
    {
      gssize done
          = h2k_fd_calls.pwritev (direct ? sink->direct_fd : sink->fd, iov, n, (off_t)offset);

      if (done < 0 && errno == EINTR)
        continue;
      if (done < 0 && direct && errno == EINVAL)
        {
          direct = FALSE;
          continue;
        }
      if (done <= 0)
        return done < 0 ? errno : EIO;
      if (!direct)
        extend_range (cached, offset, (gsize)done);
      if (done % H2K_IO_ALIGN)
        direct = FALSE;
      offset += (gsize)done;
      length -= (gsize)done;
      for (; n && (gsize)done >= iov->iov_len; iov++, n--)
        done -= (gssize)iov->iov_len;
      if (n)
        {
          iov->iov_base = (guint8 *)iov->iov_base + done;
          iov->iov_len -= (gsize)done;
        }
    }
  return 0;
}

/* How many segments from S on, of N, make one request: neighbours in the file with data, all of
 * them fit for direct I/O or none. */
static guint
request_length (const H2kSegment *s, guint n, gboolean direct)
{
  guint i;

  for (i = 1; i < MIN (n, MAX_IOV); i++)
    if (!s[i].data || s[i].offset != s[i - 1].offset + s[i - 1].length
        || (direct && is_aligned (&s[i]) != is_aligned (&s[0])))
      break;
  return i;
}

static int
write_request (H2kFdSink *sink, const H2kSegment *s, guint n, H2kRange *cached)
{
  struct iovec iov[MAX_IOV];
  gsize length = 0;

  for (guint i = 0; i < n; i++)
    {
      iov[i] = (struct iovec){(void *)s[i].data, s[i].length};
      length += s[i].length;
    }
  return write_vector (sink, iov, (int)n, length, s[0].offset,
                       sink->direct_fd >= 0 && is_aligned (&s[0]), cached);
}

gboolean
h2k_fd_sink_write (H2kSink *base, const H2kSegment *segments, guint count, GError **error)
{
  H2kFdSink *sink = (H2kFdSink *)base;
  H2kRange cached = {0, 0};
  int err = 0;

  for (guint i = 0, n; i < count && !err; i += n)
    if (segments[i].data)
      {
        n = request_length (&segments[i], count - i, sink->direct_fd >= 0);
        err = write_request (sink, &segments[i], n, &cached);
      }
    else
      {
        n = 1;
        err = sink->zero (sink, segments[i].offset, segments[i].length);
      }
  if (err)
    {
      h2k_output_write_error (base->output, err, error);
      return FALSE;
    }
  write_behind (sink, cached);
  return TRUE;
}

int
h2k_fd_sink_write_zeros (H2kFdSink *sink, guint64 offset, guint64 length)
{
  guint8 *zeros = h2k_aligned_new0 (ZEROS_AT_ONCE);
  int err = 0;

  for (gsize n; length && !err; offset += n, length -= n)
    {
      H2kRange cached = {0, 0};
      H2kSegment s = {offset, zeros, 0};

      /* Up to the next boundary, so that all that follows is fit for direct I/O. */
      n = (gsize)MIN (length, ZEROS_AT_ONCE - offset % ZEROS_AT_ONCE);
      if (n > H2K_IO_ALIGN)
        n -= n % H2K_IO_ALIGN;
      s.length = n;
      err = g_cancellable_is_cancelled (sink->parent.output->cancellable)
                ? ECANCELED
                : write_request (sink, &s, 1, &cached);
      write_behind (sink, cached);
    }
  free (zeros);
  return err;
}
