/* sink-device.c - a block device, which is overwritten where it stands.
 *
 * It is opened for this program alone (O_EXCL), which the kernel refuses when it is mounted, part
 * of an LVM group or of a RAID. What it held before is not zero, so zeros are written, too, by the
 * device itself where it can.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ZERO_AT_ONCE ((guint64)1 << 30) /* so that a signal need not wait for all */

static gboolean
device_matches (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && S_ISBLK (st.st_mode);
}

/* The number of the whole disk that device RDEV is, or is a partition of. */
static dev_t
whole_disk (dev_t rdev)
{
  g_autofree char *path
      = g_strdup_printf ("/sys/dev/block/%u:%u/partition", major (rdev), minor (rdev));
  g_autofree char *parent
      = g_strdup_printf ("/sys/dev/block/%u:%u/../dev", major (rdev), minor (rdev));
  g_autofree char *text = NULL;
  char *end;
  guint64 number;

  if (!g_file_test (path, G_FILE_TEST_EXISTS) || !g_file_get_contents (parent, &text, NULL, NULL))
    return rdev;
  number = g_ascii_strtoull (text, &end, 10);
  return *end == ':' ? makedev ((guint)number, (guint)g_ascii_strtoull (end + 1, NULL, 10)) : rdev;
}

/* The file that a loop device shows, or NULL. */
static char *
loop_file (dev_t rdev)
{
  g_autofree char *path
      = g_strdup_printf ("/sys/dev/block/%u:%u/loop/backing_file", major (rdev), minor (rdev));
  char *text = NULL;

  return g_file_get_contents (path, &text, NULL, NULL) ? g_strchomp (text) : NULL;
}

static gboolean
overlap (dev_t a, dev_t b)
{
  return a == b || whole_disk (a) == b || whole_disk (b) == a;
}

/* FALSE when a source is the device, a partition of it, the disk that it is a partition of, or the
 * file that it shows. */
static gboolean
check_device (const char *path, dev_t rdev, GPtrArray *sources, GError **error)
{
  g_autofree char *shown = loop_file (whole_disk (rdev));
  struct stat st, file;

  if (shown && stat (shown, &file) == 0 && !h2k_output_check_sources (path, &file, sources, error))
    return FALSE;
  for (guint i = 0; i < sources->len; i++)
    if (stat (sources->pdata[i], &st) == 0 && S_ISBLK (st.st_mode) && overlap (st.st_rdev, rdev))
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s is a source of this conversion (%s) or shares its disk and is never "
                     "written; choose another output",
                     path, (const char *)sources->pdata[i]);
        return FALSE;
      }
  return TRUE;
}

/* The device zeroes the range itself, and may give its space back; else zeros are written. */
static int
device_zero (H2kFdSink *sink, guint64 offset, guint64 length)
{
  int err = 0;

  for (guint64 n; length && !err; offset += n, length -= n)
    {
      guint64 range[2] = {offset, n = MIN (length, ZERO_AT_ONCE)};

      if (g_cancellable_is_cancelled (sink->parent.output->cancellable))
        return ECANCELED;
      if (fallocate (sink->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n)
              < 0
          && ioctl (sink->fd, BLKZEROOUT, range) < 0)
        err = h2k_fd_sink_write_zeros (sink, offset, n);
    }
  return err;
}

static void
device_free (H2kSink *base)
{
  h2k_fd_sink_clear ((H2kFdSink *)base);
  g_free (base->path);
  g_free (base);
}

static gboolean
open_device (H2kFdSink *sink, GPtrArray *sources, GError **error)
{
  H2kOutput *output = sink->parent.output;
  struct stat st;
  guint64 size;

  sink->fd = open (output->given, O_RDWR | O_EXCL | O_CLOEXEC);
  if (sink->fd < 0 || fstat (sink->fd, &st) < 0 || ioctl (sink->fd, BLKGETSIZE64, &size) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot open the device %s for writing%s",
                     output->given,
                     errno == EBUSY ? " (it is mounted, or part of a volume group or RAID)" : "");
      return FALSE;
    }
  if (!check_device (output->given, st.st_rdev, sources, error))
    return FALSE;
  if (size >= output->size)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "the device %s has %" G_GUINT64_FORMAT " bytes and the disk %" G_GUINT64_FORMAT
               ": choose a larger one",
               output->given, size, output->size);
  return FALSE;
}

static gboolean
check_options (const H2kOutput *output, GError **error)
{
  if (!output->options.force)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "%s is a device, all of which would be overwritten; --force does so",
                 output->given);
  else if (output->options.resume)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "a copy to a device cannot be taken up: leave out --resume");
  else if (output->options.preallocation)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "a device has its space: leave out preallocation");
  else
    return TRUE;
  return FALSE;
}

static H2kSink *
device_open (H2kOutput *output, GPtrArray *sources, int mode, GError **error)
{
  H2kFdSink *sink;

  if (!check_options (output, error))
    return NULL;
  sink = g_new0 (H2kFdSink, 1);
  sink->parent.ops = &h2k_device_sink;
  sink->parent.output = output;
  sink->parent.dense = TRUE;
  sink->parent.path = g_strdup (output->given);
  sink->zero = device_zero;
  h2k_fd_sink_init (sink);
  if (open_device (sink, sources, error))
    {
      h2k_fd_sink_open_direct (sink, FALSE);
      return &sink->parent;
    }
  device_free (&sink->parent);
  return NULL;
}

static gboolean
device_complete (H2kSink *base, guint64 length, GError **error)
{
  if (!base->output->options.sync || fsync (((H2kFdSink *)base)->fd) == 0)
    return TRUE;
  h2k_output_write_error (base->output, errno, error);
  return FALSE;
}

/* The device may be larger than the disk. */
static H2kDisk *
device_reopen (H2kSink *base, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_disk_open (base->path, "raw", error);

  return disk ? h2k_slice_new (disk, 0, base->output->size, base->output->given, error) : NULL;
}

const H2kSinkOps h2k_device_sink = {
    .kind = H2K_SINK_DEVICE,
    .name = "a block device",
    .matches = device_matches,
    .open = device_open,
    .write = h2k_fd_sink_write,
    .complete = device_complete,
    .reopen = device_reopen,
    .free = device_free,
};
