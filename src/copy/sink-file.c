/* sink-file.c - a file that gets its name only when it is complete.
 *
 * It is written as .NAME.h2k-XXXXXX.part in the output's directory, with its journal as
 * .NAME.h2k-XXXXXX.log beside it. The writing process holds a
 * flock() on it, so that a later run can tell what a killed one left behind from what a living one
 * is writing. (flock() and not fcntl(): QEMU's own locks must not meet ours when the file is tested
 * before it gets its name.)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/fd-calls.h"
#include "copy/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TEMP_MARK ".h2k-"
#define TEMP_SUFFIX ".part"
#define JOURNAL_SUFFIX ".log"
#define NEW_JOURNAL_SUFFIX ".new"
#define TEMP_RANDOM 6
#define TEMP_EXTRA (1 + (sizeof TEMP_MARK - 1) + TEMP_RANDOM + (sizeof TEMP_SUFFIX - 1))

typedef struct
{
  H2kFdSink parent; /* its fd holds the lock */
  int dir_fd;
  gboolean named;    /* it has its final name */
  gboolean reserved; /* the file has space where nothing is written yet */
} FileSink;

/* --- names ------------------------------------------------------------------------------------ */

/* The part of a temporary file's name before the random characters. */
static char *
temp_prefix (const char *path)
{
  g_autofree char *name = g_path_get_basename (path);

  return g_strdup_printf (".%.*s" TEMP_MARK, (int)(NAME_MAX - TEMP_EXTRA), name);
}

static gboolean
is_temp_name (const char *name, const char *prefix, const char *suffix)
{
  return g_str_has_prefix (name, prefix) && g_str_has_suffix (name, suffix)
         && strlen (name) == strlen (prefix) + TEMP_RANDOM + strlen (suffix);
}

/* What belongs to the temporary file TEMP and has another SUFFIX. */
static char *
with_suffix (const char *temp, const char *suffix)
{
  return g_strdup_printf ("%.*s%s", (int)(strlen (temp) - strlen (TEMP_SUFFIX)), temp, suffix);
}

static gboolean
is_same_file (const struct stat *a, const struct stat *b)
{
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Open a temporary file that nobody is writing any more, and lock it. -1: there is a doubt, in
 * which case it is left alone. BUSY (may be NULL) is set when a living run has it. */
static int
open_stale (int dir_fd, const char *name, int flags, gboolean *busy)
{
  struct stat here, there;
  int fd = openat (dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd < 0)
    return -1;
  if (fstat (fd, &here) == 0 && S_ISREG (here.st_mode) && here.st_uid == geteuid ())
    {
      if (flock (fd, LOCK_EX | LOCK_NB) == 0)
        {
          if (fstatat (dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0
              && is_same_file (&here, &there))
            return fd;
        }
      else if (busy && errno == EWOULDBLOCK)
        *busy = TRUE;
    }
  close (fd);
  return -1;
}

static void
remove_temp (int dir_fd, const char *name)
{
  g_autofree char *journal = with_suffix (name, JOURNAL_SUFFIX);
  g_autofree char *new_journal = with_suffix (name, NEW_JOURNAL_SUFFIX);

  unlinkat (dir_fd, journal, 0);
  unlinkat (dir_fd, new_journal, 0);
  unlinkat (dir_fd, name, 0);
}

/* Remove what killed runs left. A journal alone is one whose output got its name. */
static void
remove_stale (int dir_fd, const char *dir, const char *prefix)
{
  g_autoptr (GDir) d = g_dir_open (dir, 0, NULL);
  const char *name;

  while (d && (name = g_dir_read_name (d)))
    if (is_temp_name (name, prefix, TEMP_SUFFIX))
      {
        int fd = open_stale (dir_fd, name, O_RDONLY, NULL);
        if (fd < 0)
          continue;
        remove_temp (dir_fd, name);
        g_info ("removed %s, which a killed run had left", name);
        close (fd);
      }
    else if (is_temp_name (name, prefix, JOURNAL_SUFFIX)
             || is_temp_name (name, prefix, NEW_JOURNAL_SUFFIX))
      {
        g_autofree char *temp
            = g_strdup_printf ("%.*s" TEMP_SUFFIX, (int)(strlen (prefix) + TEMP_RANDOM), name);
        if (faccessat (dir_fd, temp, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
          unlinkat (dir_fd, name, 0);
      }
}

/* --- checks before anything is created -------------------------------------------------------- */

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
  if (!h2k_output_check_sources (path, &st, sources, error))
    return FALSE;
  if (S_ISDIR (st.st_mode))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "the output %s is a directory; name a file in it", path);
  else if (!S_ISREG (st.st_mode))
    g_set_error (
        error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
        "the output %s is a character device or another special file; name a regular file, "
        "a block device, or - for standard output",
        path);
  else if (!options->force)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "the output %s exists already; --force replaces it", path);
  else
    return TRUE;
  return FALSE;
}

/* --- creation --------------------------------------------------------------------------------- */

/* Create a temporary file and lock it; between the two another run may take it for a stale one, in
 * which case the next name is tried. Returns an errno value. */
static int
create_temp (FileSink *sink, const char *dir, const char *prefix, int mode)
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
      fd = openat (sink->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
      if (fd < 0 && errno == EEXIST)
        continue;
      if (fd < 0)
        return errno;
      if (flock (fd, LOCK_EX | LOCK_NB) == 0 || errno == ENOSYS || errno == ENOTSUP)
        if (fstat (fd, &here) == 0 && fstatat (sink->dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0
            && is_same_file (&here, &there))
          {
            sink->parent.fd = fd;
            sink->parent.parent.path = g_build_filename (dir, name, NULL);
            return 0;
          }
      close (fd);
    }
  return EEXIST;
}

/* --- journals, and taking up what an interrupted run left ---------------------------------------
 */

static int
create_beside (FileSink *sink, const char *suffix, GError **error)
{
  g_autofree char *path = with_suffix (sink->parent.parent.path, suffix);
  int fd;

  unlink (path);
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot create the journal %s", path);
  return fd;
}

static gboolean
start_journal (FileSink *sink, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  output->journal_fd = create_beside (sink, JOURNAL_SUFFIX, error);
  if (output->journal_fd < 0)
    return FALSE;
  output->journal = h2k_journal_new (output->journal_fd, output->identity, error);
  return output->journal != NULL;
}

/* The first line in which two identities differ must be told to the user. */
static gboolean
check_identity (FileSink *sink, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  g_auto (GStrv) then = g_strsplit (h2k_journal_identity (output->journal), "\n", -1);
  g_auto (GStrv) now = g_strsplit (output->identity, "\n", -1);
  guint i = 0;
  gboolean source;

  while (then[i] && now[i] && g_str_equal (then[i], now[i]))
    i++;
  if (!then[i] && !now[i])
    return TRUE;
  source = (now[i] && g_str_has_prefix (now[i], "source"))
           || (then[i] && g_str_has_prefix (then[i], "source"));
  g_set_error (error, H2K_ERROR, source ? H2K_ERROR_SOURCE : H2K_ERROR_USAGE,
               "%s cannot be resumed: %s (then \"%s\", now \"%s\"); leave out --resume to start "
               "afresh",
               output->given,
               source ? "the source has changed since the interrupted run"
                      : "the interrupted run had other options",
               then[i] ? then[i] : "", now[i] ? now[i] : "");
  return FALSE;
}

/* What is taken over has to come from the storage: pages that could not be written to it stay in
 * the cache and look sound. */
static void
forget_cached (int fd)
{
  (void)h2k_fd_calls.fsync (fd);
  posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Read the journal of sink->parent.parent.path; FALSE without an error when there is none that can
 * be used. */
static gboolean
resume_journal (FileSink *sink, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  g_autofree char *path = with_suffix (sink->parent.parent.path, JOURNAL_SUFFIX);
  g_autofree char *new_path = with_suffix (sink->parent.parent.path, NEW_JOURNAL_SUFFIX);
  int old_fd = open (path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

  if (old_fd < 0)
    return FALSE;
  output->journal_fd = create_beside (sink, NEW_JOURNAL_SUFFIX, error);
  if (output->journal_fd >= 0)
    output->journal = h2k_journal_resume (old_fd, output->journal_fd, error);
  close (old_fd);
  if (!output->journal || !check_identity (sink, error))
    return FALSE;
  if (rename (new_path, path) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot replace the journal %s", path);
      return FALSE;
    }
  output->previous = h2k_journal_reader_new (output->journal);
  output->previous_fd = sink->parent.fd;
  if (output->options.sync)
    forget_cached (sink->parent.fd);
  return TRUE;
}

static void
forget_journal (FileSink *sink)
{
  H2kOutput *output = sink->parent.parent.output;
  g_autofree char *path = with_suffix (sink->parent.parent.path, NEW_JOURNAL_SUFFIX);

  g_clear_pointer (&output->journal, h2k_journal_free);
  if (output->journal_fd >= 0)
    close (output->journal_fd);
  output->journal_fd = -1;
  unlink (path);
}

/* The newest of the outputs that interrupted runs left, locked and with its journal. FALSE without
 * an error when there is none. */
static gboolean
adopt_temp (FileSink *sink, const char *dir, const char *prefix, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  g_autoptr (GDir) d = g_dir_open (dir, 0, NULL);
  g_autofree char *newest = NULL;
  gboolean busy = FALSE;
  gint64 newest_time = G_MININT64;
  const char *name;

  while (d && (name = g_dir_read_name (d)))
    {
      struct stat st;
      if (!is_temp_name (name, prefix, TEMP_SUFFIX)
          || fstatat (sink->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0
          || st.st_mtim.tv_sec < newest_time)
        continue;
      newest_time = st.st_mtim.tv_sec;
      g_free (newest);
      newest = g_strdup (name);
    }
  if (!newest)
    return FALSE;
  sink->parent.fd = open_stale (sink->dir_fd, newest, O_RDWR, &busy);
  if (busy)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                 "%s is being written by another run: wait for its end", output->given);
  if (sink->parent.fd < 0)
    return FALSE;
  sink->parent.parent.path = g_build_filename (dir, newest, NULL);
  if (resume_journal (sink, error))
    return TRUE;
  forget_journal (sink);
  /* What cannot be taken up is left alone if that is an error, else it is in the way. */
  if (!*error)
    remove_temp (sink->dir_fd, newest);
  close (sink->parent.fd);
  sink->parent.fd = -1;
  g_clear_pointer (&sink->parent.parent.path, g_free);
  return FALSE;
}

static gboolean
open_temp (FileSink *sink, int mode, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  g_autofree char *dir = g_path_get_dirname (output->path);
  g_autofree char *prefix = temp_prefix (output->path);
  GError *local = NULL;
  int err;

  sink->dir_fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (sink->dir_fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot open the directory %s of the output %s (create it, or choose another "
                     "output)",
                     dir, output->given);
      return FALSE;
    }
  if (output->options.resume && adopt_temp (sink, dir, prefix, &local))
    return TRUE;
  if (local)
    {
      g_propagate_error (error, local);
      return FALSE;
    }
  remove_stale (sink->dir_fd, dir, prefix);
  err = create_temp (sink, dir, prefix, mode);
  if (err)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                     "cannot create the output %s in %s (make the directory writable, or choose "
                     "another output)",
                     output->given, dir);
      return FALSE;
    }
  return start_journal (sink, error);
}

/* Without its final name the file goes away, unless another run is to take it up. */
static void
abandon (FileSink *sink)
{
  H2kOutput *output = sink->parent.parent.output;
  g_autofree char *name = g_path_get_basename (sink->parent.parent.path);

  if (output->options.resume && output->journal)
    {
      /* On a full filesystem that fails: what is not written down is copied once more. */
      h2k_journal_flush (output->journal, NULL);
      g_info ("what was copied is kept in %s: the same command with --resume goes on",
              sink->parent.parent.path);
    }
  else
    remove_temp (sink->dir_fd, name);
}

static void
file_free (H2kSink *base)
{
  FileSink *sink = (FileSink *)base;

  if (base->path && !sink->named)
    abandon (sink);
  h2k_fd_sink_clear (&sink->parent);
  if (sink->dir_fd >= 0)
    close (sink->dir_fd);
  g_free (base->path);
  g_free (sink);
}

/* Make a hole of what an interrupted run may have left in a range, up to the file's end. Returns an
 * errno value. */
static int
clear_range (H2kFdSink *base, guint64 offset, guint64 length)
{
  struct stat st;

  if (fstat (base->fd, &st) < 0)
    return errno;
  if (offset >= (guint64)st.st_size
      || fallocate (base->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                    (off_t)length)
             == 0)
    return 0;
  return h2k_fd_sink_write_zeros (base, offset, MIN (length, (guint64)st.st_size - offset));
}

/* Zeros need no place; what was reserved for them is given back, unless it was asked for. That this
 * is not possible costs only space. */
static int
file_zero (H2kFdSink *base, guint64 offset, guint64 length)
{
  FileSink *sink = (FileSink *)base;
  H2kOutput *output = base->parent.output;

  if (output->options.preallocation == H2K_PREALLOCATION_FULL)
    return h2k_fd_sink_write_zeros (base, offset, length);
  if (output->previous)
    return clear_range (base, offset, length);
  if (sink->reserved && output->options.preallocation == H2K_PREALLOCATION_OFF)
    (void)fallocate (base->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length);
  return 0;
}

/* Space for all that the file will hold, if that was asked for. Returns an errno value. */
static int
preallocate (FileSink *sink, guint64 length)
{
  H2kPreallocation preallocation = sink->parent.parent.output->options.preallocation;

  if (preallocation < H2K_PREALLOCATION_FALLOC || length == 0)
    return 0;
  return posix_fallocate (sink->parent.fd, 0, (off_t)length);
}

/* The start of the file stays zeros until the writer's last step, or is written by it. */
static gboolean
prepare_file (FileSink *sink, GError **error)
{
  H2kOutput *output = sink->parent.parent.output;
  int fd = sink->parent.fd, err = 0;

  h2k_fd_sink_open_direct (&sink->parent, output->previous == NULL);
  if (!output->previous && h2k_fd_calls.ftruncate (fd, 0) < 0)
    err = errno;
  if (!err && output->writer->reserve == H2K_RESERVE_EXTENTS
      && h2k_fd_calls.ftruncate (fd, (off_t)output->size) < 0)
    err = errno;
  if (!err)
    err = preallocate (sink, output->size);
  if (err == ENOSPC || err == EDQUOT)
    h2k_output_write_error (output, err, error);
  else if (err)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                   "cannot make the output %s %" G_GUINT64_FORMAT " bytes long", output->given,
                   output->size);
  return err == 0;
}

static gboolean
file_matches (const char *path)
{
  return TRUE;
}

static H2kSink *
file_open (H2kOutput *output, GPtrArray *sources, int mode, GError **error)
{
  FileSink *sink;
  g_autofree char *name = g_path_get_basename (output->given);
  char *real;

  if (!check_existing (output->given, &output->options, sources, error))
    return NULL;
  if (strlen (name) > NAME_MAX || !*output->given || g_str_has_suffix (output->given, "/"))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "the output \"%s\" is not a file name%s",
                   output->given, strlen (name) > NAME_MAX ? ": it is too long" : "");
      return NULL;
    }
  /* A link stays a link: what is replaced is the file it leads to. */
  real = realpath (output->given, NULL);
  if (real)
    {
      g_free (output->path);
      output->path = real;
    }
  sink = g_new0 (FileSink, 1);
  sink->parent.parent.ops = &h2k_file_sink;
  sink->parent.parent.output = output;
  h2k_fd_sink_init (&sink->parent);
  sink->parent.zero = file_zero;
  sink->dir_fd = -1;
  if (open_temp (sink, mode, error) && prepare_file (sink, error))
    return &sink->parent.parent;
  file_free (&sink->parent.parent);
  return NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

static gboolean
file_reserve (H2kSink *base, guint64 offset, guint64 length)
{
  FileSink *sink = (FileSink *)base;
  H2kOutput *output = base->output;
  int fd = sink->parent.fd;
  guint64 size = output->writer->reserve == H2K_RESERVE_EXTENTS ? output->size : 0;
  struct statfs fs;

  if (output->options.preallocation >= H2K_PREALLOCATION_FALLOC)
    return TRUE;
  if (output->previous)
    return FALSE;
  /* Through the page cache nothing is gained, and FAT writes zeros instead. */
  if (sink->parent.direct_fd < 0 || fstatfs (fd, &fs) < 0 || fs.f_type == MSDOS_SUPER_MAGIC)
    return FALSE;
  if (fallocate (fd, 0, (off_t)offset, (off_t)length) == 0)
    {
      sink->reserved = TRUE;
      return TRUE;
    }
  g_debug ("%s: no space is reserved: %s", base->path, g_strerror (errno));
  /* A part may have been taken: the file is made anew. */
  if (h2k_fd_calls.ftruncate (fd, 0) < 0 || h2k_fd_calls.ftruncate (fd, (off_t)size) < 0)
    g_info ("%s: %s", base->path, g_strerror (errno));
  sink->reserved = FALSE;
  return FALSE;
}

/* Tried with a file that nobody sees. */
static gboolean
file_can_share (H2kSink *base, int fd, guint64 offset)
{
  struct file_clone_range range = {fd, offset, H2K_IO_ALIGN, 0};
  int probe = openat (((FileSink *)base)->dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  gboolean ok = probe >= 0 && ioctl (probe, FICLONERANGE, &range) == 0;

  if (probe >= 0)
    close (probe);
  return ok;
}

static gboolean
file_share (H2kSink *base, const H2kStored *stored, guint64 offset)
{
  struct file_clone_range range = {stored->fd, stored->offset, stored->length, offset};

  return ioctl (((FileSink *)base)->parent.fd, FICLONERANGE, &range) == 0;
}

static gboolean
file_complete (H2kSink *base, guint64 length, GError **error)
{
  FileSink *sink = (FileSink *)base;
  int err = 0;

  if (h2k_fd_calls.ftruncate (sink->parent.fd, (off_t)length) < 0)
    err = errno;
  if (!err)
    err = preallocate (sink, length);
  if (!err && base->output->options.sync && h2k_fd_calls.fsync (sink->parent.fd) < 0)
    err = errno;
  if (err)
    h2k_output_write_error (base->output, err, error);
  return err == 0;
}

static guint64
file_available (H2kSink *base)
{
  struct statvfs st;

  if (fstatvfs (((FileSink *)base)->dir_fd, &st) < 0 || st.f_blocks == 0)
    return G_MAXUINT64;
  return (guint64)st.f_bavail * st.f_frsize;
}

/* What is read back must come from the storage. */
static gboolean
drop_cache (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  int err = fd < 0 ? errno : 0;

  if (fd >= 0 && h2k_fd_calls.fsync (fd) < 0)
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

static H2kDisk *
file_reopen (H2kSink *base, GError **error)
{
  const char *path = ((FileSink *)base)->named ? base->output->path : base->path;

  return drop_cache (path, error) ? h2k_disk_open (path, base->output->options.format, error)
                                  : NULL;
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

static void
remove_journal (FileSink *sink)
{
  g_autofree char *path = with_suffix (sink->parent.parent.path, JOURNAL_SUFFIX);

  unlink (path);
}

static gboolean
file_commit (H2kSink *base, GError **error)
{
  FileSink *sink = (FileSink *)base;
  H2kOutput *output = base->output;
  int err = 0;

  if (output->options.sync && h2k_fd_calls.fsync (sink->parent.fd) < 0)
    err = errno;
  else if (output->options.force)
    err = rename (base->path, output->path) < 0 ? errno : 0;
  else
    err = rename_no_replace (base->path, output->path);
  if (err == EEXIST)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "the output %s has appeared in the meantime; --force replaces it", output->given);
  else if (err)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "cannot give the output its name %s",
                   output->given);
  if (err)
    return FALSE;
  sink->named = TRUE;
  remove_journal (sink);
  /* The name is there; only whether it survives a power cut is in doubt. */
  if (output->options.sync && h2k_fd_calls.fsync (sink->dir_fd) < 0)
    g_warning ("cannot flush the directory of %s: %s", output->given, g_strerror (errno));
  return TRUE;
}

const H2kSinkOps h2k_file_sink = {
    .kind = H2K_SINK_FILE,
    .name = "a file",
    .room = "on its filesystem; free some space, raise the quota or choose another place",
    .matches = file_matches,
    .open = file_open,
    .reserve = file_reserve,
    .write = h2k_fd_sink_write,
    .can_share = file_can_share,
    .share = file_share,
    .complete = file_complete,
    .commit = file_commit,
    .reopen = file_reopen,
    .available = file_available,
    .free = file_free,
};
