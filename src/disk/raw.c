/* raw.c - raw images in regular files (sparse ones too, lseek(2)) and block devices.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

#include <errno.h>
#include <unistd.h>

typedef struct
{
  H2kDisk disk;
  H2kHostFile file;
  GMutex lock;
  H2kExtent last; /* under LOCK: some filesystems (tmpfs) walk a whole extent at each question */
} RawDisk;

static gboolean
raw_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  RawDisk *raw = (RawDisk *)disk;
  gsize inside = offset < raw->file.size ? (gsize)MIN (length, raw->file.size - offset) : 0;
  int err = h2k_pread_full (raw->file.fd, buffer, inside, offset);

  if (err)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, err,
                     "%s: cannot read %" G_GSIZE_FORMAT " bytes at offset %" G_GUINT64_FORMAT,
                     disk->name, inside, offset);
      return FALSE;
    }
  /* The last sector of a file whose size is no multiple of 512. */
  memset ((guint8 *)buffer + inside, 0, length - inside);
  return TRUE;
}

/* What lseek(2) says about OFFSET. A file system that cannot tell says that all is data. */
static void
ask_filesystem (RawDisk *raw, guint64 offset, H2kExtent *extent)
{
  off_t data = lseek (raw->file.fd, (off_t)offset, SEEK_DATA), hole;

  *extent = (H2kExtent){offset, raw->disk.size - offset, H2K_EXTENT_DATA};
  if (data < 0)
    {
      if (errno == ENXIO) /* nothing but a hole up to the end */
        extent->kind = H2K_EXTENT_UNALLOCATED;
    }
  else if ((guint64)data > offset)
    {
      extent->length = (guint64)data - offset;
      extent->kind = H2K_EXTENT_UNALLOCATED;
    }
  else
    {
      hole = lseek (raw->file.fd, (off_t)offset, SEEK_HOLE);
      if (hole > (off_t)offset && (guint64)hole < raw->file.size)
        extent->length = (guint64)hole - offset;
    }
  extent->length = MIN (extent->length, raw->disk.size - offset);
}

static gboolean
raw_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  RawDisk *raw = (RawDisk *)disk;

  if (raw->file.is_device)
    return TRUE;
  g_mutex_lock (&raw->lock);
  if (offset < raw->last.offset || offset - raw->last.offset >= raw->last.length)
    ask_filesystem (raw, offset, &raw->last);
  *extent = (H2kExtent){offset, raw->last.length - (offset - raw->last.offset), raw->last.kind};
  g_mutex_unlock (&raw->lock);
  return TRUE;
}

static void
raw_finalize (H2kDisk *disk)
{
  RawDisk *raw = (RawDisk *)disk;

  close (raw->file.fd);
  g_mutex_clear (&raw->lock);
}

static const H2kDiskOps raw_ops = {
    .pread = raw_pread,
    .extent = raw_extent,
    .finalize = raw_finalize,
};

static int
raw_probe (const guint8 *head, gsize length, const char *path)
{
  return 1;
}

static H2kDisk *
raw_open (const char *path, GError **error)
{
  H2kHostFile file;
  RawDisk *raw;

  if (!h2k_host_file_open (path, &file, error))
    return NULL;
  if (file.size == 0 || file.size > G_MAXINT64 - 511)
    {
      g_autofree char *name = h2k_escape_text (path, -1);
      close (file.fd);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: %s", name,
                   file.size ? "is too large for a disk" : "is empty, so it is no disk image");
      return NULL;
    }
  raw = g_new0 (RawDisk, 1);
  h2k_disk_init (&raw->disk, &raw_ops, (file.size + 511) / 512 * 512, "raw", path);
  raw->disk.subformat = g_strdup (file.is_device ? "device" : "file");
  raw->disk.sector_size = file.sector_size;
  raw->file = file;
  g_mutex_init (&raw->lock);
  g_ptr_array_add (raw->disk.files, g_strdup (path));
  return &raw->disk;
}

const H2kDiskFormat h2k_raw_format = {"raw", raw_probe, raw_open};
