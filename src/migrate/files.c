/* files.c - the files of a guest, for those who look at them or put some in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define OVERLAY_MEMORY ((guint64)64 << 20)

struct _H2kFiles
{
  GPtrArray *paths; /* char *: of the disks, as given */
  GPtrArray *disks; /* H2kDisk *: overlays */
  H2kGuest *guest;
};

H2kFiles *
h2k_files_open (GPtrArray *paths, const char *format, GPtrArray *keys, H2kBackend backend,
                GError **error)
{
  g_autoptr (H2kFiles) files = g_new0 (H2kFiles, 1);
  g_autoptr (H2kKeys) parsed = NULL;
  H2kGuestOptions options = {.backend = backend, .kvm_works = h2k_kvm_works};

  files->paths = g_ptr_array_new_with_free_func (g_free);
  files->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  parsed = h2k_keys_parse (keys, error);
  if (!parsed)
    return NULL;
  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (H2kDisk) disk = h2k_disk_open (paths->pdata[i], format, error);
      if (!disk)
        return NULL;
      g_ptr_array_add (files->paths, g_strdup (paths->pdata[i]));
      g_ptr_array_add (files->disks, h2k_overlay_new (disk, NULL, OVERLAY_MEMORY));
    }
  options.keys = parsed;
  files->guest = h2k_guest_open (files->disks, &options, error);
  return files->guest ? g_steal_pointer (&files) : NULL;
}

void
h2k_files_free (H2kFiles *files)
{
  if (!files)
    return;
  if (files->guest)
    h2k_guest_free (files->guest);
  g_ptr_array_unref (files->disks);
  g_ptr_array_unref (files->paths);
  g_free (files);
}

void
h2k_file_info_free (H2kFileInfo *info)
{
  if (!info)
    return;
  g_free (info->name);
  g_free (info->target);
  g_free (info);
}

static gboolean
refuse (const char *path, const char *why, GError **error)
{
  g_autofree char *safe = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: %s", safe, why);
  return FALSE;
}

/* A path with a slash at its end is a folder's. */
static gboolean
is_folder_path (const char *path)
{
  return path[0] && path[1] && g_str_has_suffix (path, "/");
}

/* --- paths ------------------------------------------------------------------------------------ */

/* The drives that there are, "C:, D:"; the caller's. */
static char *
list_drives (const H2kGuest *guest)
{
  GString *text = g_string_new (NULL);

  g_string_append_printf (text, "%c:", guest->windows->drive ? guest->windows->drive : 'C');
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const char *mount = ((H2kGuestVolume *)guest->volumes->pdata[i])->mountpoint;
      if (mount && g_ascii_isalpha (mount[1]) && g_str_equal (mount + 2, ":"))
        g_string_append_printf (text, ", %s", mount + 1);
    }
  return g_string_free (text, FALSE);
}

/* PATH, which begins with a drive's letter, from the root: the system's drive is the root itself
 * whatever its letter is, the others are mounted below it. */
static char *
drive_path (const H2kGuest *guest, const char *path, GError **error)
{
  char letter = g_ascii_toupper (path[0]), system = guest->windows->drive;
  g_autofree char *drive = g_strdup_printf ("/%c:", letter);
  g_autofree char *below = g_strdelimit (g_strdup (path + 2), "\\", '/');
  g_autofree char *safe = h2k_escape_text (path, -1), *drives = NULL;

  if (*below && *below != '/')
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "\"%s\" does not begin at the root of a drive, as %c:\\Windows does", safe,
                   letter);
      return NULL;
    }
  if (letter == (system ? system : 'C'))
    return *below ? g_steal_pointer (&below) : g_strdup ("/");
  for (guint i = 0; i < guest->volumes->len; i++)
    if (g_strcmp0 (((H2kGuestVolume *)guest->volumes->pdata[i])->mountpoint, drive) == 0)
      return g_strconcat (drive, *below ? below : "/", NULL);
  drives = list_drives (guest);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: the guest has no drive %c:, but %s", safe,
               letter, drives);
  return NULL;
}

char *
h2k_files_path (H2kFiles *files, const char *path, GError **error)
{
  g_autofree char *safe = NULL;

  if (path[0] == '/')
    return g_strdup (path);
  if (files->guest->windows && path[0] == '\\')
    return g_strdelimit (g_strdup (path), "\\", '/');
  if (files->guest->windows && g_ascii_isalpha (path[0]) && path[1] == ':')
    return drive_path (files->guest, path, error);
  safe = h2k_escape_text (path, -1);
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_USAGE,
      "\"%s\" is no absolute path: files of a guest are named from its root, as /etc/fstab", safe);
  return NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

H2kFileInfo *
h2k_files_stat (H2kFiles *files, const char *name, gboolean follow, GError **error)
{
  H2kTree *tree = files->guest->tree;
  g_autofree char *path = h2k_files_path (files, name, error);
  g_autoptr (H2kFileInfo) info = g_new0 (H2kFileInfo, 1);
  H2kStat st;

  if (!path)
    return NULL;
  follow |= is_folder_path (path);
  if (!(follow ? h2k_tree_stat (tree, path, &st, error) : h2k_tree_lstat (tree, path, &st, error)))
    return NULL;
  if (is_folder_path (path) && !S_ISDIR (st.mode))
    {
      refuse (path, "not a directory", error);
      return NULL;
    }
  *info = (H2kFileInfo){.name = g_path_get_basename (path),
                        .mode = st.mode,
                        .uid = st.uid,
                        .gid = st.gid,
                        .nlink = st.nlink,
                        .size = st.size,
                        .rdev = st.rdev,
                        .inode = st.inode,
                        .mtime = st.mtime};
  if (!h2k_tree_find_mount (tree, path, !follow, &info->mount, error))
    return NULL;
  if (S_ISLNK (st.mode))
    info->target = h2k_tree_readlink (tree, path, error);
  return S_ISLNK (st.mode) && !info->target ? NULL : g_steal_pointer (&info);
}

GPtrArray *
h2k_files_list (H2kFiles *files, const char *name, GError **error)
{
  g_autofree char *path = h2k_files_path (files, name, error);
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GPtrArray) entries
      = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_info_free);

  if (!path)
    return NULL;
  names = h2k_tree_read_dir (files->guest->tree, path, error);
  for (guint i = 0; names && i < names->len; i++)
    {
      g_autofree char *entry = g_build_filename (path, names->pdata[i], NULL);
      H2kFileInfo *info = h2k_files_stat (files, entry, FALSE, error);
      if (!info)
        return NULL;
      g_ptr_array_add (entries, info);
    }
  return names ? g_steal_pointer (&entries) : NULL;
}

GBytes *
h2k_files_read (H2kFiles *files, const char *name, guint64 offset, gsize length, GError **error)
{
  g_autofree char *path = h2k_files_path (files, name, error);

  if (!path)
    return NULL;
  if (is_folder_path (path))
    {
      refuse (path, "a slash at its end names a directory", error);
      return NULL;
    }
  return h2k_tree_read_range (files->guest->tree, path, offset, length, error);
}

/* --- putting files in ------------------------------------------------------------------------- */

#define PIECE ((gsize)1 << 20)

/* Whether PATH is a file, or can be made in a folder that is there. */
static gboolean
check_target (H2kTree *tree, const char *path, guint64 *old_size, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  gboolean as_folder = is_folder_path (path);
  g_autoptr (GError) local = NULL;
  H2kStat st;

  *old_size = 0;
  if (h2k_tree_stat (tree, path, &st, &local))
    {
      *old_size = st.size;
      if (S_ISDIR (st.mode))
        return refuse (path, "a folder of the guest; name the file in it", error);
      if (!S_ISREG (st.mode))
        return refuse (path, "not a regular file of the guest", error);
      return as_folder ? refuse (path, "a file of the guest, not a folder", error) : TRUE;
    }
  if (!g_error_matches (local, H2K_ERROR, H2K_ERROR_FAILED))
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (h2k_tree_is_link (tree, path))
    return refuse (path, "a link of the guest that leads nowhere", error);
  if (as_folder || !h2k_tree_is_dir (tree, folder))
    return refuse (as_folder ? path : folder, "no such folder in the guest", error);
  return TRUE;
}

/* Where it is not known what is free, writing tells. */
static gboolean
check_free_space (H2kTree *tree, const char *path, guint64 needed, guint64 old_size, GError **error)
{
  guint64 available = h2k_tree_free_space (tree, path);
  g_autofree char *safe = h2k_escape_text (path, -1);
  g_autofree char *need = h2k_format_size (needed);
  g_autofree char *have = h2k_format_size (available);

  if (available == 0 || needed <= available || needed - available <= old_size)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "%s: %s are needed (%" G_GUINT64_FORMAT " bytes), and %s are free on the guest's "
               "filesystem (%" G_GUINT64_FORMAT " bytes); free some space in the guest first",
               safe, need, needed, have, available);
  return FALSE;
}

/* What is read can be a FIFO to which nobody writes. */
static gboolean
wait_readable (int fd, GCancellable *cancellable, GError **error)
{
  GPollFD fds[2] = {{.fd = fd, .events = G_IO_IN}};
  gboolean wakes = g_cancellable_make_pollfd (cancellable, &fds[1]);

  /* That a signal comes is no reason to read. */
  while (g_poll (fds, wakes ? 2 : 1, -1) < 0 && errno == EINTR)
    ;
  if (wakes)
    g_cancellable_release_fd (cancellable);
  if (!g_cancellable_is_cancelled (cancellable))
    return TRUE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "interrupted");
  return FALSE;
}

#define NO_OFFSET G_MAXUINT64

/* Fill BUFFER with what is at OFFSET of a regular file, or with what comes next of anything else
 * (NO_OFFSET). *LENGTH becomes less at the end only. */
static gboolean
read_piece (int fd, guint64 offset, void *buffer, gsize *length, GCancellable *cancellable,
            GError **error)
{
  gsize wanted = *length;

  for (*length = 0; *length < wanted;)
    {
      char *rest = (char *)buffer + *length;
      gssize n;

      if (!wait_readable (fd, cancellable, error))
        return FALSE;
      n = offset == NO_OFFSET ? read (fd, rest, wanted - *length)
                              : pread (fd, rest, wanted - *length, (off_t)(offset + *length));
      if (n < 0 && (errno == EINTR || errno == EAGAIN))
        continue;
      if (n < 0)
        {
          h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot read what is to be put");
          return FALSE;
        }
      if (n == 0)
        return TRUE;
      *length += (gsize)n;
    }
  return TRUE;
}

static gboolean
put_stream (H2kTree *tree, const char *path, int fd, void *buffer, GCancellable *cancellable,
            GError **error)
{
  gsize n = PIECE;

  for (guint64 at = 0; n == PIECE; at += n)
    if (!read_piece (fd, NO_OFFSET, buffer, &n, cancellable, error)
        || (n && !h2k_tree_pwrite (tree, path, at, buffer, n, error)))
      return FALSE;
  return TRUE;
}

/* The first data at AT or behind it: from there to *END. Where holes are not told, all is data. */
static guint64
next_data (int fd, guint64 at, guint64 size, guint64 *end)
{
  off_t data = lseek (fd, (off_t)at, SEEK_DATA);
  off_t hole = data < 0 ? -1 : lseek (fd, data, SEEK_HOLE);

  *end = hole < 0 ? size : MIN ((guint64)hole, size);
  if (data < 0)
    return errno == ENXIO ? size : at;
  return MIN ((guint64)data, size);
}

static gboolean
put_range (H2kTree *tree, const char *path, int fd, guint64 at, guint64 end, void *buffer,
           GCancellable *cancellable, GError **error)
{
  for (gsize n; at < end; at += n)
    {
      gsize wanted = n = (gsize)MIN (end - at, PIECE);

      if (!read_piece (fd, at, buffer, &n, cancellable, error))
        return FALSE;
      if (n < wanted)
        {
          g_set_error_literal (error, H2K_ERROR, H2K_ERROR_SOURCE,
                               "what is to be put became shorter while it was read");
          return FALSE;
        }
      if (!h2k_tree_pwrite (tree, path, at, buffer, n, error))
        return FALSE;
    }
  return TRUE;
}

/* Its holes stay holes where the guest's filesystem has them. */
static gboolean
put_file (H2kTree *tree, const char *path, int fd, guint64 size, void *buffer,
          GCancellable *cancellable, GError **error)
{
  guint64 at, end, written = 0;

  while ((at = next_data (fd, written, size, &end)) < size)
    {
      if (!put_range (tree, path, fd, at, end, buffer, cancellable, error))
        return FALSE;
      written = end;
    }
  return written == size || h2k_tree_pwrite (tree, path, size - 1, "", 1, error);
}

gboolean
h2k_files_put (H2kFiles *files, const char *name, int fd, guint32 mode, GCancellable *cancellable,
               GError **error)
{
  H2kTree *tree = files->guest->tree;
  g_autofree char *path = h2k_files_path (files, name, error);
  g_autofree guint8 *buffer = g_malloc (PIECE);
  g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);
  guint64 needed, old_size;
  struct stat st;

  if (!path)
    return FALSE;
  if (fstat (fd, &st) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot read what is to be put");
      return FALSE;
    }
  needed = S_ISREG (st.st_mode) ? MIN ((guint64)st.st_blocks * 512, (guint64)st.st_size) : 0;
  if (!check_target (tree, path, &old_size, error)
      || !check_free_space (tree, path, needed, old_size, error)
      || !h2k_tree_write (tree, path, nothing, mode & 07777, error))
    return FALSE;
  /* Files of /proc and /sys have no size. */
  if (S_ISREG (st.st_mode) && st.st_size)
    return put_file (tree, path, fd, (guint64)st.st_size, buffer, cancellable, error);
  return put_stream (tree, path, fd, buffer, cancellable, error);
}

/* --- saving ----------------------------------------------------------------------------------- */

/* What QEMU calls the format of DISK, which an image can build on; NULL if it cannot. */
static const char *
backing_format (const H2kDisk *disk, GError **error)
{
  if (disk->files->len && !disk->origin && !strchr (disk->format, ':'))
    return g_str_equal (disk->format, "vhd") ? "vpc" : disk->format;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: no image can build on it, since it is no file of this host; convert it first",
               disk->name);
  return NULL;
}

static gboolean
save_disk (H2kFiles *files, guint i, const char *output, GPtrArray *paths,
           GCancellable *cancellable, GError **error)
{
  H2kDisk *overlay = files->disks->pdata[i];
  const char *format = backing_format (overlay->backing, error);
  g_autofree char *path = h2k_disk_output_path (output, i);
  g_autofree char *backing = g_canonicalize_filename (files->paths->pdata[i], NULL);

  if (!format || !h2k_qcow2_save_overlay (overlay, path, 0666, backing, format, cancellable, error))
    return FALSE;
  g_ptr_array_add (paths, g_steal_pointer (&path));
  return TRUE;
}

/* All of them or none. */
static gboolean
save_all (H2kFiles *files, const char *output, GPtrArray *paths, GCancellable *cancellable,
          GError **error)
{
  gboolean ok = TRUE;
  H2kExtent change;

  for (guint i = 0; ok && i < files->disks->len; i++)
    if (h2k_overlay_next_change (files->disks->pdata[i], 0, &change))
      ok = save_disk (files, i, output, paths, cancellable, error);
  for (guint i = 0; !ok && i < paths->len; i++)
    g_unlink (paths->pdata[i]);
  return ok;
}

gboolean
h2k_files_check_output (GPtrArray *paths, const char *output, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (output);

  for (guint i = 0; i < paths->len; i++)
    {
      g_autofree char *path = h2k_disk_output_path (output, i);
      struct stat st;

      if (lstat (path, &st) < 0)
        continue;
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                   "%s exists already, and nothing is replaced: choose another name", path);
      return FALSE;
    }
  if (faccessat (AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "no file can be made in %s", folder);
  return FALSE;
}

gboolean
h2k_files_save (H2kFiles *files, const char *output, GPtrArray *paths, GCancellable *cancellable,
                GError **error)
{
  g_autoptr (GPtrArray) saved = g_ptr_array_new_with_free_func (g_free);

  if (!h2k_guest_flush (files->guest, error)
      || !save_all (files, output, saved, cancellable, error))
    return FALSE;
  if (!saved->len)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, "nothing was changed");
  for (guint i = 0; paths && i < saved->len; i++)
    g_ptr_array_add (paths, g_strdup (saved->pdata[i]));
  return saved->len > 0;
}
