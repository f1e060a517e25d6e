/* put.c - hyper2kvm put: a file put into an image that builds on a disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static gboolean
put (H2kFiles *files, const char *local, const char *path, GError **error)
{
  g_autoptr (H2kFileInfo) there = h2k_files_stat (files, path, TRUE, NULL);
  g_autofree char *name = g_path_get_basename (local), *data = NULL;
  g_autofree char *target
      = there && S_ISDIR (there->mode) ? g_build_filename (path, name, NULL) : g_strdup (path);
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GError) reason = NULL;
  struct stat st;
  gsize length;

  if (stat (local, &st) < 0 || !g_file_get_contents (local, &data, &length, &reason))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "cannot read %s: %s", local,
                   reason ? reason->message : g_strerror (errno));
      return FALSE;
    }
  bytes = g_bytes_new_take (g_steal_pointer (&data), length);
  return h2k_files_write (files, target, bytes, st.st_mode & 0777, error);
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
                               "disk itself is not written.",
                               entries, cmd_guest_entries, NULL);
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (GPtrArray) saved = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;

  if (code < 0 && !output)
    return cmd_usage ("put", "--to-output is needed: the disk itself is never written");
  if (code < 0)
    code = cmd_open_guest (argc, argv, 2, &first, &files);
  if (code >= 0)
    return code;
  for (int i = first; i + 1 < argc; i++)
    if (!put (files, argv[i], argv[argc - 1], &error))
      return cmd_fail (error);
  if (!h2k_files_save (files, output, saved, &error))
    return cmd_fail (error);
  for (guint i = 0; i < saved->len; i++)
    g_message ("wrote %s", (char *)saved->pdata[i]);
  return EXIT_OK;
}
