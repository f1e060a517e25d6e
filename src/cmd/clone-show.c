/* clone-show.c - hyper2kvm clone list, show, tree, verify: what there is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

int
cmd_clone_list (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "", "Lists the clones.", clone_json_entries, 0, 0);

  return code >= 0 ? code
                   : clone_answer (h2k_clones_list (clone_state_dir, clone_json, &error), &error);
}

int
cmd_clone_show (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Shows a clone: its original, layers and snapshots, sizes, and who uses it.",
                     clone_json_entries, 1, 1);

  return code >= 0 ? code
                   : clone_answer (h2k_clones_show (clone_state_dir, argv[1], clone_json, &error),
                                   &error);
}

int
cmd_clone_tree (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "[NAME]",
                          "Draws what lies on what, from the original up, of one clone or of all.",
                          clone_json_entries, 0, 1);

  return code >= 0 ? code
                   : clone_answer (h2k_clones_tree (clone_state_dir, argc > 1 ? argv[1] : NULL,
                                                    clone_json, &error),
                                   &error);
}

int
cmd_clone_verify (int argc, char **argv)
{
  gboolean full = FALSE, changed = FALSE;
  const GOptionEntry entries[] = {
      {"full", 0, 0, G_OPTION_ARG_NONE, &full,
       "compare every byte, of a clone that was made with --full", NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &clone_json, "print JSON", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  char *text;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Compares the original with what it was when the clone was made: exit code 12 "
                     "when it differs.",
                     entries, 1, 1);

  if (code >= 0)
    return code;
  text = h2k_clones_verify (clone_state_dir, argv[1], full, clone_json, cmd_progress, NULL,
                            cmd_cancellable (), &changed, &error);
  cmd_progress_finish ();
  code = clone_answer (text, &error);
  return code == EXIT_OK && changed ? EXIT_VERIFY : code;
}
