/* file.c - files and block devices of this host, bytes in memory, and the table of URI schemes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/file.h"
#include "disk/formats.h"
#include "disk/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HINT_PIECE (256u << 10) /* the kernel cuts larger requests short */

typedef struct
{
  H2kFile file;
  int fd;
  GMutex lock;
  H2kExtent last; /* under LOCK: some filesystems (tmpfs) walk a whole extent at each question */
} HostFile;

typedef struct
{
  H2kFile file;
  guint8 *data;
} MemoryFile;

/* --- files of this host ----------------------------------------------------------------------- */

static gboolean
host_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  int err = h2k_pread_full (((HostFile *)file)->fd, buffer, length, offset);

  if (err)
    h2k_set_errno (error, H2K_ERROR_SOURCE, err,
                   "%s: cannot read %" G_GSIZE_FORMAT " bytes at offset %" G_GUINT64_FORMAT,
                   file->name, length, offset);
  return err == 0;
}

/* What lseek(2) says about OFFSET. A file system that cannot tell says that all is data. */
static void
ask_filesystem (HostFile *host, guint64 offset, H2kExtent *extent)
{
  off_t data = lseek (host->fd, (off_t)offset, SEEK_DATA), hole;

  *extent = (H2kExtent){offset, host->file.size - offset, H2K_EXTENT_DATA};
  if (data < 0)
    {
      /* Nothing but a hole up to the end; of a file that was cut meanwhile the end is missing. */
      if (errno == ENXIO && lseek (host->fd, 0, SEEK_END) >= (off_t)host->file.size)
        extent->kind = H2K_EXTENT_UNALLOCATED;
    }
  else if ((guint64)data > offset)
    {
      extent->length = MIN ((guint64)data, host->file.size) - offset;
      extent->kind = H2K_EXTENT_UNALLOCATED;
    }
  else
    {
      hole = lseek (host->fd, (off_t)offset, SEEK_HOLE);
      if (hole > (off_t)offset && (guint64)hole < host->file.size)
        extent->length = (guint64)hole - offset;
    }
}

static gboolean
host_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  HostFile *host = (HostFile *)file;

  if (file->is_device)
    return TRUE;
  g_mutex_lock (&host->lock);
  if (offset < host->last.offset || offset - host->last.offset >= host->last.length)
    ask_filesystem (host, offset, &host->last);
  *extent = (H2kExtent){offset, host->last.length - (offset - host->last.offset), host->last.kind};
  g_mutex_unlock (&host->lock);
  return TRUE;
}

static gboolean
host_stored (H2kFile *file, guint64 offset, guint64 length, H2kStored *stored)
{
  *stored = (H2kStored){((HostFile *)file)->fd, offset, length};
  return !file->is_device;
}

static void
host_will_need (H2kFile *file, guint64 offset, guint64 length)
{
  for (guint64 at = offset; at < offset + length; at += HINT_PIECE)
    (void)posix_fadvise (((HostFile *)file)->fd, (off_t)at, HINT_PIECE, POSIX_FADV_WILLNEED);
}

static void
host_finalize (H2kFile *file)
{
  HostFile *host = (HostFile *)file;

  close (host->fd);
  g_mutex_clear (&host->lock);
}

static const H2kFileOps host_ops = {
    .pread = host_pread,
    .extent = host_extent,
    .stored = host_stored,
    .will_need = host_will_need,
    .finalize = host_finalize,
};

static const char *
kind_of_file (mode_t mode)
{
  return S_ISDIR (mode)    ? "a folder"
         : S_ISFIFO (mode) ? "a FIFO"
         : S_ISSOCK (mode) ? "a socket"
         : S_ISCHR (mode)  ? "a character device"
                           : "not a file";
}

/* Fill in what the kernel knows about the open FD. */
static gboolean
look_at (HostFile *host, GError **error)
{
  H2kFile *file = &host->file;
  int sector_size = 512;
  struct stat st;

  if (fstat (host->fd, &st) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s: cannot open the disk image", file->name);
      return FALSE;
    }
  file->dev = st.st_dev;
  file->ino = st.st_ino;
  file->size = (guint64)st.st_size;
  if (S_ISREG (st.st_mode))
    return TRUE;
  if (!S_ISBLK (st.st_mode))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: is %s; a disk image is a file or a block device", file->name,
                   kind_of_file (st.st_mode));
      return FALSE;
    }
  file->is_device = TRUE;
  file->dev = st.st_rdev;
  file->ino = 0;
  if (ioctl (host->fd, BLKGETSIZE64, &file->size) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s: cannot find out the device's size",
                     file->name);
      return FALSE;
    }
  if (ioctl (host->fd, BLKSSZGET, &sector_size) == 0 && sector_size == 4096)
    file->sector_size = 4096;
  return TRUE;
}

static H2kFile *
open_host (const char *path, GError **error)
{
  g_autofree char *name = h2k_escape_text (path, -1);
  g_autoptr (H2kFile) file = NULL;
  HostFile *host;
  /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s: cannot open the disk image", name);
      return NULL;
    }
  host = g_new0 (HostFile, 1);
  host->fd = fd;
  g_mutex_init (&host->lock);
  file = &host->file;
  h2k_file_init (file, &host_ops, 0, path);
  return look_at (host, error) ? g_steal_pointer (&file) : NULL;
}

/* --- servers ---------------------------------------------------------------------------------- */

/* One line a scheme. */
static const struct
{
  const char *scheme;
  H2kFile *(*open) (const char *uri, GError **error);
} schemes[] = {
    {"nbd", h2k_nbd_open},       {"nbds", h2k_nbd_open},   {"nbd+unix", h2k_nbd_open},
    {"nbds+unix", h2k_nbd_open}, {"https", h2k_http_open}, {"http", h2k_http_open},
    {"ssh", h2k_sftp_open},      {"sftp", h2k_sftp_open},  {"iscsi", h2k_qemu_open_uri},
};

gboolean
h2k_file_is_uri (const char *path)
{
  g_autofree char *scheme = g_uri_parse_scheme (path);

  return scheme && g_str_has_prefix (path + strlen (scheme), "://");
}

static H2kFile *
open_uri (const char *uri, GError **error)
{
  g_autofree char *scheme = g_uri_parse_scheme (uri), *shown = h2k_uri_shown (uri);
  g_autofree char *safe = h2k_escape_text (shown, -1);
  g_autoptr (GString) known = g_string_new (NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (schemes); i++)
    {
      if (g_ascii_strcasecmp (schemes[i].scheme, scheme) == 0)
        return schemes[i].open (uri, error);
      g_string_append_printf (known, "%s%s://", i ? ", " : "", schemes[i].scheme);
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "%s: this kind of URI is not known; the known ones are %s. A file of that name is "
               "given as ./%s",
               safe, known->str, safe);
  return NULL;
}

H2kFile *
h2k_file_open (const char *path, GError **error)
{
  if (!h2k_may_name_files (path, error))
    return NULL;
  return h2k_file_is_uri (path) ? open_uri (path, error) : open_host (path, error);
}

/* --- memory ----------------------------------------------------------------------------------- */

static gboolean
memory_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  memcpy (buffer, ((MemoryFile *)file)->data + offset, length);
  return TRUE;
}

static void
memory_finalize (H2kFile *file)
{
  g_free (((MemoryFile *)file)->data);
}

static const H2kFileOps memory_ops = {
    .pread = memory_pread,
    .finalize = memory_finalize,
};

H2kFile *
h2k_file_new_memory (const char *path, const void *data, gsize size)
{
  MemoryFile *memory = g_new0 (MemoryFile, 1);

  h2k_file_init (&memory->file, &memory_ops, size, path);
  memory->data = g_memdup2 (data, size);
  return &memory->file;
}

/* --- all kinds -------------------------------------------------------------------------------- */

void
h2k_file_init (H2kFile *file, const H2kFileOps *ops, guint64 size, const char *path)
{
  file->ops = ops;
  g_atomic_ref_count_init (&file->ref_count);
  file->size = size;
  file->sector_size = 512;
  file->path = g_strdup (path);
  file->name = h2k_escape_text (path, -1);
}

H2kFile *
h2k_file_ref (H2kFile *file)
{
  g_atomic_ref_count_inc (&file->ref_count);
  return file;
}

void
h2k_file_unref (H2kFile *file)
{
  if (!file || !g_atomic_ref_count_dec (&file->ref_count))
    return;
  if (file->ops->finalize)
    file->ops->finalize (file);
  g_free (file->version);
  g_free (file->path);
  g_free (file->name);
  g_free (file);
}

gboolean
h2k_file_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  if (offset <= file->size && length <= file->size - offset)
    return length == 0 || file->ops->pread (file, offset, length, buffer, error);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s ends at byte %" G_GUINT64_FORMAT ", but %" G_GSIZE_FORMAT
               " bytes at %" G_GUINT64_FORMAT " are needed: it is truncated or corrupt; fetch it "
               "again",
               file->name, file->size, length, offset);
  return FALSE;
}

gboolean
h2k_file_pread_or_zero (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  gsize inside = offset < file->size ? (gsize)MIN (length, file->size - offset) : 0;

  memset ((guint8 *)buffer + inside, 0, length - inside);
  return inside == 0 || h2k_file_pread (file, offset, inside, buffer, error);
}

gboolean
h2k_file_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  g_return_val_if_fail (offset < file->size, FALSE);
  *extent = (H2kExtent){offset, file->size - offset, H2K_EXTENT_DATA};
  return !file->ops->extent || file->ops->extent (file, offset, extent, error);
}

gboolean
h2k_file_stored (H2kFile *file, guint64 offset, guint64 length, H2kStored *stored)
{
  return file->ops->stored && offset < file->size
         && file->ops->stored (file, offset, MIN (length, file->size - offset), stored);
}

void
h2k_file_will_need (H2kFile *file, guint64 offset, guint64 length)
{
  if (file->ops->will_need && offset < file->size)
    file->ops->will_need (file, offset, MIN (length, file->size - offset));
}
