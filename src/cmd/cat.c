/* cat.c - hyper2kvm cat: print files of a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

#define PIECE ((gsize)1 << 20)

/* What standard output does not take is told of at the end. */
static gboolean
print_file (H2kFiles *files, const char *path, GError **error)
{
  for (guint64 at = 0;;)
    {
      g_autoptr (GBytes) bytes = h2k_files_read (files, path, at, PIECE, error);
      gsize n = bytes ? g_bytes_get_size (bytes) : 0;

      if (!bytes)
        return FALSE;
      if (n == 0)
        return TRUE;
      if (fwrite (g_bytes_get_data (bytes, NULL), 1, n, stdout) != n)
        return TRUE;
      at += n;
    }
}

int
cmd_cat (int argc, char **argv)
{
  int first, code = cmd_parse (&argc, &argv, "DISK PATH…",
                               "Prints files of the guest on a VM's disks as they are. Nothing is "
                               "written.",
                               cmd_guest_entries, NULL, NULL);
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (GError) error = NULL;

  if (code < 0)
    code = cmd_open_guest (argc, argv, 1, &first, &files);
  if (code >= 0)
    return code;
  for (int i = first; i < argc && !ferror (stdout); i++)
    if (!print_file (files, argv[i], &error))
      {
        fflush (stdout);
        return cmd_fail (error);
      }
  return cmd_end_output (EXIT_OK);
}
