/* clone-rebase.c - hyper2kvm clone rebase: a clone over an original that lies elsewhere.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

int
cmd_clone_rebase (int argc, char **argv)
{
  g_autoptr (H2kRebaseOptions) options = h2k_rebase_options_new ();
  g_auto (GStrv) disks = NULL;
  const GOptionEntry entries[] = {
      {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &disks,
       "the original of a further disk; may be repeated", "FILE"},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &options->format,
       "the originals' format (default: found by content)", "FMT"},
      {"full", 0, 0, G_OPTION_ARG_NONE, &options->full,
       "compare every byte with the old original, or with its digest", NULL},
      {"keep-content", 0, 0, G_OPTION_ARG_NONE, &options->keep_content,
       "where the old and the new original differ, keep what the clone reads in its lowest layer",
       NULL},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &options->unsafe,
       "take a disk that is in use: the clone is corrupt when it changes", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME DISK",
                          "Puts a clone over an original that was moved, copied or converted: exit "
                          "code 12 when DISK\nholds something else.",
                          entries, 2, 2);
  gboolean ok;

  if (code >= 0)
    return code;
  options->name = g_strdup (argv[1]);
  options->state_dir = g_strdup (clone_state_dir);
  g_ptr_array_add (options->disks, g_strdup (argv[2]));
  for (guint i = 0; disks && disks[i]; i++)
    g_ptr_array_add (options->disks, g_strdup (disks[i]));
  options->progress = cmd_progress;
  ok = h2k_clones_rebase (options, cmd_cancellable (), &error);
  cmd_progress_finish ();
  return clone_done (ok, &error);
}
