/* output.c - a file that gets its name only when it is complete.
 *
 * It is written as .NAME.h2k-XXXXXX.part in the output's directory. The writing process holds a
 * flock() on it, so that a later run can tell what a killed one left behind from what a living one
 * is writing. (flock() and not fcntl(): QEMU's own locks must not meet ours when the file is tested
 * before it gets its name.)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define TEMP_MARK ".h2k-"
#define TEMP_SUFFIX ".part"
#define TEMP_RANDOM 6
#define TEMP_EXTRA (1 + (sizeof TEMP_MARK - 1) + TEMP_RANDOM + (sizeof TEMP_SUFFIX - 1))
#define MAX_IOV 256
#define SECTOR 512u

static const H2kWriterOps *const writers[] = {&h2k_qcow2_writer, &h2k_raw_writer};

/* --- names ------------------------------------------------------------------------------------ */

/* The part of a temporary file's name before the random characters. */
static char *
temp_prefix (const char *path)
{
  g_autofree char *name = g_path_get_basename (path);

  return g_strdup_printf (".%.*s" TEMP_MARK, (int)(NAME_MAX - TEMP_EXTRA), name);
}

static gboolean
is_temp_name (const char *name, const char *prefix)
{
  return g_str_has_prefix (name, prefix) && g_str_has_suffix (name, TEMP_SUFFIX)
         && strlen (name) == strlen (prefix) + TEMP_RANDOM + sizeof TEMP_SUFFIX - 1;
}

static gboolean
is_same_file (const struct stat *a, const struct stat *b)
{
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Remove one file that nobody is writing any more. Every doubt leaves it alone. */
static void
remove_if_stale (int dir_fd, const char *name)
{
  struct stat here, there;
  int fd = openat (dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0)
    return;
  if (fstat (fd, &here) == 0 && S_ISREG (here.st_mode) && here.st_uid == geteuid ()
      && flock (fd, LOCK_EX | LOCK_NB) == 0
      && fstatat (dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && is_same_file (&here, &there)
      && unlinkat (dir_fd, name, 0) == 0)
    g_info ("removed %s, which a killed run had left", name);
  close (fd);
}

static void
remove_stale (int dir_fd, const char *dir, const char *prefix)
{
  g_autoptr (GDir) d = g_dir_open (dir, 0, NULL);
  const char *name;

  while (d && (name = g_dir_read_name (d)))
    if (is_temp_name (name, prefix))
      remove_if_stale (dir_fd, name);
}

/* --- checks before anything is created -------------------------------------------------------- */

static gboolean
check_sources (const char *path, const struct stat *st, GPtrArray *sources, GError **error)
{
  struct stat source;

  for (guint i = 0; sources && i < sources->len; i++)
    if (stat (sources->pdata[i], &source) == 0 && is_same_file (st, &source))
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s is a source of this conversion (%s) and is never written; choose another "
                     "output",
                     path, (const char *)sources->pdata[i]);
        return FALSE;
      }
  return TRUE;
}

/* What stands at PATH already, if anything. */
static gboolean
check_existing (const char *path, const H2kOutputOptions *options, GPtrArray *sources,
                GError **error)
{
  struct stat st, link;

  if (lstat (path, &link) < 0)
    {
      if (errno == ENOENT)
        return TRUE;
      h2k_set_errno (error, errno == ENAMETOOLONG ? H2K_ERROR_USAGE : H2K_ERROR_OUTPUT, errno,
                     "cannot create the output %s", path);
      return FALSE;
    }
  if (stat (path, &st) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "the output %s is a symbolic link that leads nowhere; remove it", path);
      return FALSE;
    }
  if (!check_sources (path, &st, sources, error))
    return FALSE;
  if (S_ISDIR (st.st_mode))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "the output %s is a directory; name a file in it", path);
  else if (!S_ISREG (st.st_mode))
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "the output %s is a device or another special file; convert into a regular file, "
                 "then copy that to the device with `qemu-img convert -n`",
                 path);
  else if (!options->force)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "the output %s exists already; --force replaces it", path);
  else
    return TRUE;
  return FALSE;
}

static const H2kWriterOps *
find_writer (const H2kOutputOptions *options, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (writers); i++)
    if (g_strcmp0 (options->format, writers[i]->format) == 0)
      return writers[i];
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "unknown output format \"%s\"; qcow2 and raw are known",
               options->format ? options->format : "");
  return NULL;
}

/* --- creation --------------------------------------------------------------------------------- */

/* Create a temporary file and lock it; between the two another run may take it for a stale one, in
 * which case the next name is tried. Returns an errno value. */
static int
create_temp (H2kOutput *output, const char *dir, const char *prefix, int mode)
{
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  struct stat here, there;

  for (guint tries = 0; tries < 100; tries++)
    {
      char random[TEMP_RANDOM + 1] = "";
      g_autofree char *name = NULL;
      int fd;

      for (guint i = 0; i < TEMP_RANDOM; i++)
        random[i] = letters[g_random_int_range (0, sizeof letters - 1)];
      name = g_strconcat (prefix, random, TEMP_SUFFIX, NULL);
      fd = openat (output->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
      if (fd < 0 && errno == EEXIST)
        continue;
      if (fd < 0)
        return errno;
      if (flock (fd, LOCK_EX | LOCK_NB) == 0 || errno == ENOSYS || errno == ENOTSUP)
        if (fstat (fd, &here) == 0
            && fstatat (output->dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0
            && is_same_file (&here, &there))
          {
            output->fd = fd;
            output->temp = g_build_filename (dir, name, NULL);
            return 0;
          }
      close (fd);
    }
  return EEXIST;
}

/* Direct I/O is tried out, since no interface says beforehand what a filesystem will take. The
 * first block stays zeros until the writer's last step. */
static void
probe_direct (H2kOutput *output)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", output->fd);
  guint8 *block = h2k_aligned_new0 (H2K_IO_ALIGN);

  output->direct_fd = open (path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (output->direct_fd >= 0 && pwrite (output->direct_fd, block, H2K_IO_ALIGN, 0) != H2K_IO_ALIGN)
    {
      close (output->direct_fd);
      output->direct_fd = -1;
    }
  if (ftruncate (output->fd, 0) < 0)
    g_info ("%s: %s", output->temp, g_strerror (errno));
  free (block);
}

static gboolean
open_temp (H2kOutput *output, int mode, GError **error)
{
  g_autofree char *dir = g_path_get_dirname (output->path);
  g_autofree char *prefix = temp_prefix (output->path);
  int err;

  output->dir_fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (output->dir_fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot open the directory %s of the output %s (create it, or choose another "
                     "output)",
                     dir, output->given);
      return FALSE;
    }
  remove_stale (output->dir_fd, dir, prefix);
  err = create_temp (output, dir, prefix, mode);
  if (err)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                     "cannot create the output %s in %s (make the directory writable, or choose "
                     "another output)",
                     output->given, dir);
      return FALSE;
    }
  return TRUE;
}

H2kOutput *
h2k_output_create (const char *path, guint64 size, const H2kOutputOptions *options,
                   GPtrArray *sources, int mode, const char *backing, const char *backing_format,
                   GError **error)
{
  const H2kWriterOps *ops = find_writer (options, error);
  g_autoptr (H2kOutput) output = NULL;
  g_autofree char *name = g_path_get_basename (path);

  if (!ops || !check_existing (path, options, sources, error))
    return NULL;
  if (strlen (name) > NAME_MAX || !*path || g_str_has_suffix (path, "/"))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "the output \"%s\" is not a file name%s",
                   path, strlen (name) > NAME_MAX ? ": it is too long" : "");
      return NULL;
    }
  output = g_new0 (H2kOutput, 1);
  g_mutex_init (&output->lock);
  output->dir_fd = output->fd = output->direct_fd = -1;
  output->given = g_strdup (path);
  /* A link stays a link: what is replaced is the file it leads to. */
  output->path = realpath (path, NULL);
  if (!output->path)
    output->path = g_strdup (path);
  output->options = *options;
  output->options.format = ops->format;
  output->backing = g_strdup (backing);
  output->backing_format = g_strdup (backing_format);
  /* Guests see whole sectors only. */
  output->size = (size + SECTOR - 1) / SECTOR * SECTOR;
  output->writer = ops->create (output, error);
  if (!output->writer || !open_temp (output, mode, error))
    return NULL;
  probe_direct (output);
  if (output->writer->extents && ftruncate (output->fd, (off_t)output->size) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot make the output %s %" G_GUINT64_FORMAT " bytes long", path,
                     output->size);
      return NULL;
    }
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
  return output->temp;
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
  if (output->temp && !output->committed)
    unlink (output->temp);
  if (output->writer)
    output->writer->ops->free (output->writer);
  if (output->direct_fd >= 0)
    close (output->direct_fd);
  if (output->fd >= 0)
    close (output->fd);
  if (output->dir_fd >= 0)
    close (output->dir_fd);
  g_mutex_clear (&output->lock);
  g_free (output->path);
  g_free (output->given);
  g_free (output->temp);
  g_free (output->backing);
  g_free (output->backing_format);
  g_free (output);
}

/* --- space ------------------------------------------------------------------------------------ */

/* Bytes that may still be written, or G_MAXUINT64 when the filesystem does not say. */
static guint64
available_space (H2kOutput *output)
{
  struct statvfs st;

  if (fstatvfs (output->dir_fd, &st) < 0 || st.f_blocks == 0)
    return G_MAXUINT64;
  return (guint64)st.f_bavail * st.f_frsize;
}

static void
set_no_space (H2kOutput *output, guint64 needed, guint64 available, const char *what,
              GError **error)
{
  g_autofree char *n = h2k_format_size (needed);
  g_autofree char *a = h2k_format_size (available);

  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "%s %s: %s (%" G_GUINT64_FORMAT " bytes) needed, %s (%" G_GUINT64_FORMAT
               " bytes) available on its filesystem; free some space, raise the quota or choose "
               "another place",
               what, output->given, n, needed, a, available);
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

static void
set_write_error (H2kOutput *output, int err, GError **error)
{
  guint64 written, left;

  g_mutex_lock (&output->lock);
  written = output->written;
  left = output->expected > written ? output->expected - written : 0;
  g_mutex_unlock (&output->lock);
  if (err == ENOSPC || err == EDQUOT)
    set_no_space (output, MAX (left, SECTOR), available_space (output),
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

/* Start the writeback of what was just written through the page cache, and wait for what was
 * written some time ago and drop it: the cache holds a bounded part of the file. */
static void
write_behind (H2kOutput *output, H2kRange recent)
{
  H2kRange old;

  if (!recent.length)
    return;
  sync_file_range (output->fd, (off_t)recent.offset, (off_t)recent.length, SYNC_FILE_RANGE_WRITE);
  g_mutex_lock (&output->lock);
  old = output->behind[output->n_behind % H2K_BEHIND];
  output->behind[output->n_behind++ % H2K_BEHIND] = recent;
  g_mutex_unlock (&output->lock);
  if (!old.length)
    return;
  sync_file_range (output->fd, (off_t)old.offset, (off_t)old.length,
                   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
                       | SYNC_FILE_RANGE_WAIT_AFTER);
  posix_fadvise (output->fd, (off_t)old.offset, (off_t)old.length, POSIX_FADV_DONTNEED);
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
write_vector (H2kOutput *output, struct iovec *iov, int n, gsize length, guint64 offset,
              gboolean direct, H2kRange *cached)
{
  while (length)
    {
      gssize done = pwritev (direct ? output->direct_fd : output->fd, iov, n, (off_t)offset);

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

gboolean
h2k_output_reserve (H2kOutput *output, guint64 offset, guint64 length)
{
  guint64 size = output->writer->extents ? output->size : 0;
  struct statfs fs;

  /* Through the page cache nothing is gained, and FAT writes zeros instead. */
  if (output->direct_fd < 0 || fstatfs (output->fd, &fs) < 0 || fs.f_type == MSDOS_SUPER_MAGIC)
    return FALSE;
  if (fallocate (output->fd, 0, (off_t)offset, (off_t)length) == 0)
    {
      output->reserved = TRUE;
      return TRUE;
    }
  g_debug ("%s: no space is reserved: %s", output->temp, g_strerror (errno));
  /* A part may have been taken: the file is made anew. */
  if (ftruncate (output->fd, 0) < 0 || ftruncate (output->fd, (off_t)size) < 0)
    g_info ("%s: %s", output->temp, g_strerror (errno));
  output->reserved = FALSE;
  return FALSE;
}

/* Give back what was reserved for zeros. That it is not possible costs only space. */
static void
punch_hole (H2kOutput *output, const H2kSegment *s)
{
  if (output->reserved)
    (void)fallocate (output->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)s->offset,
                     (off_t)s->length);
}

gboolean
h2k_output_write (H2kOutput *output, H2kChunk *chunk, GError **error)
{
  const H2kSegment *s = &g_array_index (chunk->segments, H2kSegment, 0);
  gboolean can_direct = output->direct_fd >= 0;
  struct iovec iov[MAX_IOV];
  H2kRange cached = {0, 0};

  for (guint i = 0, n; i < chunk->segments->len; i += n)
    {
      gsize length = 0;
      int err;

      if (!s[i].data)
        {
          punch_hole (output, &s[i]);
          n = 1;
          continue;
        }
      n = request_length (&s[i], chunk->segments->len - i, can_direct);
      for (guint k = 0; k < n; k++)
        {
          iov[k] = (struct iovec){(void *)s[i + k].data, s[i + k].length};
          length += s[i + k].length;
        }
      err = write_vector (output, iov, (int)n, length, s[i].offset,
                          can_direct && is_aligned (&s[i]), &cached);
      if (err)
        {
          set_write_error (output, err, error);
          return FALSE;
        }
      g_mutex_lock (&output->lock);
      output->written += length;
      g_mutex_unlock (&output->lock);
    }
  write_behind (output, cached);
  return TRUE;
}

gboolean
h2k_output_complete (H2kOutput *output, guint64 length, GError **error)
{
  if (ftruncate (output->fd, (off_t)length) < 0 || (output->options.sync && fsync (output->fd) < 0))
    {
      set_write_error (output, errno, error);
      return FALSE;
    }
  output->complete = TRUE;
  return TRUE;
}

/* --- the final name --------------------------------------------------------------------------- */

/* Give TEMP the name PATH if nothing has it. Returns an errno value. */
static int
rename_no_replace (const char *temp, const char *path)
{
  if (renameat2 (AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return errno;
  if (link (temp, path) < 0)
    return errno;
  unlink (temp);
  return 0;
}

gboolean
h2k_output_commit (H2kOutput *output, GError **error)
{
  int err = 0;

  g_return_val_if_fail (!output->committed, FALSE);
  if (!output->complete)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "the output %s was not written to its end and gets no name", output->given);
      return FALSE;
    }
  if (output->options.sync && fsync (output->fd) < 0)
    err = errno;
  else if (output->options.force)
    err = rename (output->temp, output->path) < 0 ? errno : 0;
  else
    err = rename_no_replace (output->temp, output->path);
  if (err == EEXIST)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "the output %s has appeared in the meantime; --force replaces it", output->given);
  else if (err)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "cannot give the output its name %s",
                   output->given);
  if (err)
    return FALSE;
  output->committed = TRUE;
  /* The name is there; only whether it survives a power cut is in doubt. */
  if (output->options.sync && fsync (output->dir_fd) < 0)
    g_warning ("cannot flush the directory of %s: %s", output->given, g_strerror (errno));
  return TRUE;
}
