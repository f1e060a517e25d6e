/* put.c - hyper2kvm put: files put into an image that builds on a disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_MODE 0644 /* of what comes from no file */

static gboolean
is_stdin (const char *local)
{
  return g_str_equal (local, "-");
}

static gboolean
cannot_read (const char *local, const char *why, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "cannot read %s: %s", local, why);
  return FALSE;
}

/* A device has no end, and what a directory gives is no file. */
static gboolean
check_local (const char *local, GError **error)
{
  struct stat st;

  if (is_stdin (local))
    return TRUE;
  if (stat (local, &st) < 0 || faccessat (AT_FDCWD, local, R_OK, AT_EACCESS) < 0)
    return cannot_read (local, g_strerror (errno), error);
  if (S_ISDIR (st.st_mode))
    return cannot_read (local, "it is a folder, and files are put one by one", error);
  if (!S_ISREG (st.st_mode) && !S_ISFIFO (st.st_mode))
    return cannot_read (local, "it is neither a file nor a FIFO", error);
  return TRUE;
}

static gboolean
put (H2kFiles *files, const char *local, const char *path, GError **error)
{
  int fd = is_stdin (local) ? dup (STDIN_FILENO) : open (local, O_RDONLY | O_CLOEXEC);
  struct stat st;
  gboolean ok;

  if (fd < 0 || fstat (fd, &st) < 0)
    {
      cannot_read (local, g_strerror (errno), error);
      if (fd >= 0)
        close (fd);
      return FALSE;
    }
  ok = h2k_files_put (files, path, fd, S_ISREG (st.st_mode) ? st.st_mode & 0777 : NEW_MODE,
                      cmd_cancellable (), error);
  close (fd);
  return ok;
}

/* Each of LOCALS under its name into PATH if that is a folder, else the only one to PATH itself. */
static int
put_all (H2kFiles *files, char **locals, int n, const char *operand)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = h2k_files_path (files, operand, &error);
  g_autoptr (H2kFileInfo) there = path ? h2k_files_stat (files, path, TRUE, NULL) : NULL;
  gboolean is_folder = there && S_ISDIR (there->mode);

  if (!path)
    return cmd_fail (error);
  if (n > 1 && !is_folder)
    return cmd_usage ("put", "%s: several files need a folder that is there", path);
  for (int i = 0; i < n; i++)
    {
      g_autofree char *name = g_path_get_basename (locals[i]);
      g_autofree char *target = is_folder ? g_build_filename (path, name, NULL) : g_strdup (path);

      if (is_folder && is_stdin (locals[i]))
        return cmd_usage ("put", "%s is a folder: name the file that standard input becomes", path);
      if (!put (files, locals[i], target, &error))
        return cmd_fail (error);
    }
  return -1;
}

/* Whether OUTPUT is called what it will not be. */
static gboolean
is_misnamed (const char *output)
{
  static const char *const others[] = {".raw", ".vmdk", ".vhd", ".vpc", ".vhdx", ".vdi", ".ova"};
  const char *dot = strrchr (output, '.');

  for (guint i = 0; dot && i < G_N_ELEMENTS (others); i++)
    if (g_ascii_strcasecmp (dot, others[i]) == 0)
      return TRUE;
  return FALSE;
}

/* What can be said before the guest is opened, which may take its time. */
static int
check (GPtrArray *disks, char **locals, int n, const char *output)
{
  g_autoptr (GError) error = NULL;

  if (is_misnamed (output))
    return cmd_usage ("put", "%s: the new image is a qcow2, since it builds on a disk: name it so",
                      output);
  if (!h2k_files_check_output (disks, output, &error))
    return cmd_fail (error);
  for (int i = 0; i < n; i++)
    if (!check_local (locals[i], &error))
      return cmd_fail (error);
  return -1;
}

int
cmd_put (int argc, char **argv)
{
  g_autofree char *output = NULL;
  const GOptionEntry entries[] = {
      {"to-output", 'o', 0, G_OPTION_ARG_FILENAME, &output, "the new image, a qcow2", "FILE"},
      {NULL},
  };
  int first, code = cmd_parse (&argc, &argv, "DISK LOCAL… PATH",
                               "Puts files of this host into the guest on a VM's disks: into a new "
                               "qcow2 that builds on\nthe disk and holds only what changed. The "
                               "disk itself is not written. LOCAL may be -,\nstandard input.",
                               entries, cmd_guest_entries, NULL);
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (GPtrArray) saved = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;

  if (code < 0 && !output)
    return cmd_usage ("put", "--to-output is needed: the disk itself is never written");
  if (code < 0)
    code = cmd_find_disks (argc, argv, 2, &first, disks);
  if (code < 0)
    code = check (disks, argv + first, argc - 1 - first, output);
  if (code < 0)
    code = cmd_open_disks (disks, &files);
  if (code < 0)
    code = put_all (files, argv + first, argc - 1 - first, argv[argc - 1]);
  if (code >= 0)
    return code;
  if (!h2k_files_save (files, output, saved, cmd_cancellable (), &error))
    return cmd_fail (error);
  for (guint i = 0; i < saved->len; i++)
    g_message ("wrote %s", (char *)saved->pdata[i]);
  return EXIT_OK;
}
