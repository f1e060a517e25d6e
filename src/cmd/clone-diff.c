/* clone-diff.c - hyper2kvm clone diff.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <stdio.h>

static void
print_text (const char *text, gpointer data)
{
  gboolean *finished = data;

  if (!*finished)
    cmd_progress_finish ();
  *finished = TRUE;
  fputs (text, stdout);
}

static int
check_operands (int argc, char **argv, const H2kCloneDiffOptions *options)
{
  if (argc == 4 && options->to)
    return cmd_usage (argv[0], "\"%s\" and --to both name the second state", argv[3]);
  if (options->original && argc > 2)
    return cmd_usage (argv[0], "--original is the first state, so give the second one with --to");
  return -1;
}

int
cmd_clone_diff (int argc, char **argv)
{
  H2kCloneDiffOptions options = {0};
  g_auto (GStrv) keys = NULL;
  g_autofree char *to = NULL;
  gboolean exit_code = FALSE, differ, finished = FALSE;
  const GOptionEntry entries[] = {
      {"to", 0, 0, G_OPTION_ARG_STRING, &to,
       "the second state, a snapshot (default: the present state)", "S"},
      {"original", 0, 0, G_OPTION_ARG_NONE, &options.original,
       "compare with the original, so that the repair is seen, too", NULL},
      {"blocks", 0, 0, G_OPTION_ARG_NONE, &options.blocks,
       "print where blocks differ, and look at no files", NULL},
      {"exit-code", 0, 0, G_OPTION_ARG_NONE, &exit_code, "exit with 1 when there is a difference",
       NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &options.json, "print JSON", NULL},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys, "a LUKS container's key; may be repeated",
       "DEV:file:F"},
      {"backend", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_backend,
       "what reads the guest's files: auto (default), native or guestfs", "WHICH"},
      {NULL},
  };
  g_autoptr (GPtrArray) specs = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME [S [S]]",
                          "Prints the files that were added (A), changed (M) and removed (D) from "
                          "one state of a clone\nto another: from what a reset goes back to, or "
                          "the snapshot S, to the present state.",
                          entries, 1, 3);

  options.to = to;
  if (code >= 0 || (code = check_operands (argc, argv, &options)) >= 0)
    return code;
  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (specs, keys[i]);
  options.name = argv[1];
  options.state_dir = clone_state_dir;
  options.from = argc > 2 ? argv[2] : NULL;
  options.to = argc > 3 ? argv[3] : to;
  options.keys = specs;
  options.backend = cmd_backend ();
  if (!h2k_clones_diff (&options, print_text, &finished, cmd_progress, NULL, cmd_cancellable (),
                        &differ, &error))
    {
      cmd_progress_finish ();
      code = cmd_fail (error);
      return code == EXIT_FAILED && exit_code ? EXIT_SOURCE : code; /* 1 says that they differ */
    }
  return cmd_end_output (exit_code && differ ? EXIT_FAILED : EXIT_OK);
}
