/* get.c - hyper2kvm get: copy files and folders out of a guest.
 *
 * What a guest calls its files is no reason to write anywhere but below the folder that was asked
 * for: everything is made relative to an open folder, and no link is followed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((gsize)1 << 20)

typedef struct
{
  H2kFiles *files;
  guint64 skipped; /* devices, sockets and FIFOs */
} Get;

static gboolean
fail (const char *path, GError **error)
{
  int err = errno;
  g_autofree char *safe = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR,
               err == EEXIST   ? H2K_ERROR_OUTPUT_EXISTS
               : err == ENOSPC ? H2K_ERROR_NO_SPACE
                               : H2K_ERROR_OUTPUT,
               "cannot write %s: %s", safe, g_strerror (err));
  return FALSE;
}

static gboolean
write_all (int fd, const char *data, gsize length)
{
  while (length)
    {
      gssize n = write (fd, data, length);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return FALSE;
      data += n;
      length -= (gsize)n;
    }
  return TRUE;
}

static gboolean
copy_content (Get *get, const char *path, int fd, const char *name, GError **error)
{
  for (guint64 at = 0;;)
    {
      g_autoptr (GBytes) bytes = h2k_files_read (get->files, path, at, PIECE, error);
      gsize n = bytes ? g_bytes_get_size (bytes) : 0;

      if (!bytes)
        return FALSE;
      if (n == 0)
        return TRUE;
      if (g_cancellable_set_error_if_cancelled (cmd_cancellable (), error))
        return FALSE;
      if (!write_all (fd, g_bytes_get_data (bytes, NULL), n))
        return fail (name, error);
      at += n;
    }
}

/* A new file NAME in DIR_FD; one that could not be copied whole is removed. */
static gboolean
get_file (Get *get, const char *path, const H2kFileInfo *info, int dir_fd, const char *name,
          GError **error)
{
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = info->mtime}};
  int fd = openat (dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  gboolean ok;

  if (fd < 0)
    return fail (name, error);
  ok = copy_content (get, path, fd, name, error);
  /* Whoever may read the image gets the file, but not with the guest's special bits. */
  if (ok && (fchmod (fd, info->mode & 0777) < 0 || futimens (fd, times) < 0))
    ok = fail (name, error);
  if (close (fd) < 0 && ok)
    ok = fail (name, error);
  if (!ok)
    unlinkat (dir_fd, name, 0);
  return ok;
}

static gboolean get_entry (Get *get, const char *path, const CmdFolder *outer,
                           const H2kFileInfo *info, int dir_fd, const char *name, GError **error);

static gboolean
get_folder (Get *get, const char *path, const CmdFolder *outer, const H2kFileInfo *info, int dir_fd,
            const char *name, GError **error)
{
  const CmdFolder folder = {outer, info};
  g_autoptr (GPtrArray) entries = NULL;
  gboolean ok = TRUE;
  int fd;

  if (!cmd_may_enter (outer, info, error))
    return FALSE;
  entries = h2k_files_list (get->files, path, error);
  if (!entries)
    return FALSE;
  if (mkdirat (dir_fd, name, 0700) < 0)
    return fail (name, error);
  fd = openat (dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return fail (name, error);
  for (guint i = 0; ok && i < entries->len; i++)
    {
      const H2kFileInfo *entry = entries->pdata[i];
      g_autofree char *whole = g_build_filename (path, entry->name, NULL);
      ok = get_entry (get, whole, &folder, entry, fd, entry->name, error);
    }
  if (ok && fchmod (fd, (info->mode & 0777) | 0700) < 0)
    ok = fail (name, error);
  close (fd);
  return ok;
}

static gboolean
get_entry (Get *get, const char *path, const CmdFolder *outer, const H2kFileInfo *info, int dir_fd,
           const char *name, GError **error)
{
  if (S_ISDIR (info->mode))
    return get_folder (get, path, outer, info, dir_fd, name, error);
  if (S_ISREG (info->mode))
    return get_file (get, path, info, dir_fd, name, error);
  if (S_ISLNK (info->mode))
    return symlinkat (info->target, dir_fd, name) == 0 || fail (name, error);
  get->skipped++;
  return TRUE;
}

/* Where PATH goes: into the folder LOCAL if that is one, else to LOCAL itself. */
static gboolean
get_to (Get *get, const char *operand, const char *local, GError **error)
{
  g_autofree char *path = h2k_files_path (get->files, operand, error);
  g_autoptr (H2kFileInfo) info = path ? h2k_files_stat (get->files, path, TRUE, error) : NULL;
  gboolean is_dir = g_file_test (local, G_FILE_TEST_IS_DIR);
  g_autofree char *folder = is_dir ? g_strdup (local) : g_path_get_dirname (local);
  g_autofree char *name = g_path_get_basename (is_dir && path ? path : local);
  gboolean ok;
  int fd;

  if (!info)
    return FALSE;
  if (!S_ISREG (info->mode) && !S_ISDIR (info->mode))
    {
      g_autofree char *safe = h2k_escape_text (path, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED,
                   "%s is a device, socket or FIFO of the guest, which is not copied", safe);
      return FALSE;
    }
  if (g_str_equal (name, "/") || g_str_equal (name, "."))
    {
      g_free (name);
      name = g_strdup ("root");
    }
  fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return fail (folder, error);
  ok = get_entry (get, path, NULL, info, fd, name, error);
  close (fd);
  return ok;
}

int
cmd_get (int argc, char **argv)
{
  g_autofree char *local = NULL;
  const GOptionEntry entries[] = {
      {"output", 'o', 0, G_OPTION_ARG_FILENAME, &local,
       "the folder that gets the copies, or the copy's name (default: here)", "LOCAL"},
      {NULL},
  };
  int first,
      code = cmd_parse (&argc, &argv, "DISK PATH…",
                        "Copies files and folders of the guest on a VM's disks to this host. "
                        "Permissions and times\nare kept, owners are not; nothing that is "
                        "there is replaced. The disks are not written.",
                        entries, cmd_guest_entries, NULL);
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (GError) error = NULL;
  Get get = {0};

  if (code < 0)
    code = cmd_open_guest (argc, argv, 1, &first, &files);
  if (code >= 0)
    return code;
  get.files = files;
  if (argc - first > 1 && local && !g_file_test (local, G_FILE_TEST_IS_DIR))
    return cmd_usage ("get", "%s: several copies need a folder", local);
  for (int i = first; i < argc; i++)
    if (!get_to (&get, argv[i], local ? local : ".", &error))
      return cmd_fail (error);
  if (get.skipped)
    g_warning ("%" G_GUINT64_FORMAT " devices, sockets and FIFOs were left out", get.skipped);
  return EXIT_OK;
}
