/* ntfs-device.c - an H2kDisk as a device of libntfs-3g.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#include <fcntl.h>

static NtfsFs *
fs_of (const struct ntfs_device *dev)
{
  return dev->d_private;
}

static int
device_open (struct ntfs_device *dev, int flags)
{
  NDevSetOpen (dev);
  if ((flags & O_ACCMODE) == O_RDONLY)
    NDevSetReadOnly (dev);
  return 0;
}

static int
device_close (struct ntfs_device *dev)
{
  NDevClearOpen (dev);
  return 0;
}

/* Whether COUNT bytes at OFFSET are on the disk: a file system that leads elsewhere is corrupt,
 * which says nothing about the disk. */
static gboolean
is_inside (const H2kDisk *disk, s64 offset, s64 count)
{
  if (offset >= 0 && count >= 0 && (guint64)offset <= disk->size
      && (guint64)count <= disk->size - (guint64)offset)
    return TRUE;
  errno = EIO;
  return FALSE;
}

static s64
finish (NtfsFs *ntfs, gboolean ok, s64 count, GError *error)
{
  if (ok)
    return count;
  if (!ntfs->disk_error)
    ntfs->disk_error = g_steal_pointer (&error);
  g_clear_error (&error);
  errno = EIO;
  return -1;
}

static s64
device_pread (struct ntfs_device *dev, void *buffer, s64 count, s64 offset)
{
  H2kDisk *disk = fs_of (dev)->base.volume;
  GError *error = NULL;
  gboolean ok;

  if (!is_inside (disk, offset, count))
    return -1;
  ok = count == 0 || h2k_disk_pread (disk, (guint64)offset, (gsize)count, buffer, &error);
  return finish (fs_of (dev), ok, count, error);
}

static s64
device_pwrite (struct ntfs_device *dev, const void *buffer, s64 count, s64 offset)
{
  H2kDisk *disk = fs_of (dev)->base.volume;
  GError *error = NULL;
  gboolean ok;

  if (NDevReadOnly (dev))
    {
      errno = EROFS;
      return -1;
    }
  if (!is_inside (disk, offset, count))
    return -1;
  ok = count == 0 || h2k_disk_pwrite (disk, (guint64)offset, (gsize)count, buffer, &error);
  return finish (fs_of (dev), ok, count, error);
}

/* The library looks with these for the volume's last sector. */
static s64
device_seek (struct ntfs_device *dev, s64 offset, int whence)
{
  NtfsFs *ntfs = fs_of (dev);
  s64 from = whence == SEEK_CUR ? ntfs->position : 0;

  if (whence == SEEK_END)
    from = (s64)ntfs->base.volume->size;
  if (offset < -from || offset > G_MAXINT64 - from)
    {
      errno = EINVAL;
      return -1;
    }
  return ntfs->position = from + offset;
}

static s64
device_read (struct ntfs_device *dev, void *buffer, s64 count)
{
  NtfsFs *ntfs = fs_of (dev);
  s64 n = device_pread (dev, buffer, count, ntfs->position);

  ntfs->position += MAX (n, 0);
  return n;
}

static s64
device_write (struct ntfs_device *dev, const void *buffer, s64 count)
{
  NtfsFs *ntfs = fs_of (dev);
  s64 n = device_pwrite (dev, buffer, count, ntfs->position);

  ntfs->position += MAX (n, 0);
  return n;
}

/* The disk is flushed by h2k_ntfs_flush(), not whenever the library thinks so. */
static int
device_sync (struct ntfs_device *dev)
{
  return 0;
}

static int
device_stat (struct ntfs_device *dev, struct stat *st)
{
  *st = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1};
  st->st_size = (off_t)fs_of (dev)->base.volume->size;
  return 0;
}

static int
device_ioctl (struct ntfs_device *dev, unsigned long request, void *argument)
{
  errno = EOPNOTSUPP;
  return -1;
}

static struct ntfs_device_operations operations = {
    .open = device_open,
    .close = device_close,
    .seek = device_seek,
    .read = device_read,
    .write = device_write,
    .pread = device_pread,
    .pwrite = device_pwrite,
    .sync = device_sync,
    .stat = device_stat,
    .ioctl = device_ioctl,
};

/* The library speaks of files by number and of guests' text as it is: for developers only. */
static int
log_message (const char *function, const char *file, int line, u32 level, void *data,
             const char *format, va_list args)
{
  g_autofree char *text = g_strdup_vprintf (format, args);
  g_autofree char *escaped = h2k_escape_text (g_strchomp (text), -1);

  g_debug ("libntfs-3g: %s: %s", function, escaped);
  return (int)strlen (text);
}

static gpointer
set_up_library (gpointer data)
{
  ntfs_log_set_handler (log_message);
  /* Names that the library converts itself are only labels. */
  ntfs_set_char_encoding ("utf8");
  return NULL;
}

ntfs_volume *
h2k_ntfs_mount (NtfsFs *ntfs, gboolean writable)
{
  static GOnce once = G_ONCE_INIT;
  ntfs_mount_flags flags = NTFS_MNT_FORENSIC | NTFS_MNT_IGNORE_HIBERFILE;
  struct ntfs_device *dev;
  ntfs_volume *vol;
  int saved;

  g_once (&once, set_up_library, NULL);
  dev = ntfs_device_alloc (ntfs->base.volume->name, 0, &operations, ntfs);
  if (!dev)
    return NULL;
  /* FORENSIC: without looking at the log, which is done by ntfs-state.c, and without changing
   * anything meanwhile. */
  vol = ntfs_device_mount (dev, flags | (writable ? NTFS_MNT_NONE : NTFS_MNT_RDONLY));
  if (vol)
    return vol;
  saved = errno;
  ntfs_device_free (dev);
  errno = saved;
  return NULL;
}
