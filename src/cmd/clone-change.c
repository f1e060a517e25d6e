/* clone-change.c - hyper2kvm clone snapshot, reset, commit, merge, delete.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <stdio.h>

int
cmd_clone_snapshot (int argc, char **argv)
{
  g_autofree char *name = NULL;
  g_autofree char *description = NULL;
  g_autofree char *drop = NULL;
  const GOptionEntry entries[] = {
      {"name", 0, 0, G_OPTION_ARG_STRING, &name, "the snapshot's name", "S"},
      {"description", 0, 0, G_OPTION_ARG_STRING, &description, "what it is, for people", "TEXT"},
      {"drop", 0, 0, G_OPTION_ARG_STRING, &drop, "forget this snapshot instead", "S"},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Keeps the present state of a clone that does not run as a snapshot.",
                          entries, 1, 1);

  if (code >= 0)
    return code;
  if ((name != NULL) + (drop != NULL) != 1)
    return cmd_usage ("clone snapshot", "give --name S, or --drop S");
  return clone_done (drop ? h2k_clones_drop_snapshot (clone_state_dir, argv[1], drop, &error)
                          : h2k_clones_snapshot (clone_state_dir, argv[1], name, description,
                                                 &error),
                     &error);
}

int
cmd_clone_reset (int argc, char **argv)
{
  g_autofree char *to = NULL;
  gboolean stop_first = FALSE;
  CloneStop stop = CLONE_STOP_DEFAULT;
  const GOptionEntry entries[] = {
      {"to", 0, 0, G_OPTION_ARG_STRING, &to,
       "the snapshot to go back to (default: the clone as it was made, or last committed)", "S"},
      {"stop", 0, 0, G_OPTION_ARG_NONE, &stop_first, "shut the VM down first when it runs", NULL},
      CLONE_STOP_ENTRIES (stop),
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME", "Throws away what the VM has written.", entries, 1, 1);

  if (code >= 0)
    return code;
  if (stop.timeout < 0)
    return cmd_usage ("clone reset", "no time is negative");
  return clone_done ((!stop_first
                      || h2k_clones_stop (clone_state_dir, argv[1], (guint)stop.timeout, stop.force,
                                          cmd_cancellable (), &error))
                         && h2k_clones_reset (clone_state_dir, argv[1], to, &error),
                     &error);
}

int
cmd_clone_commit (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Makes the present state the one that a reset goes back to. The original is "
                     "not written.",
                     NULL, 1, 1);

  return code >= 0 ? code
                   : clone_done (h2k_clones_commit (clone_state_dir, argv[1], &error), &error);
}

int
cmd_clone_merge (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  guint merged;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Makes one of layers between which lies no snapshot, so that reads are fast "
                     "again.",
                     NULL, 1, 1);

  if (code >= 0)
    return code;
  if (!h2k_clones_merge (clone_state_dir, argv[1], cmd_cancellable (), &merged, &error))
    return cmd_fail (error);
  printf ("%u layer%s merged\n", merged, merged == 1 ? "" : "s");
  return cmd_end_output (EXIT_OK);
}

int
cmd_clone_delete (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME…",
                     "Removes clones and all of their states. Their originals stay as they are.",
                     NULL, 1, G_MAXINT - 1);

  for (int i = 1; i < argc && code < 0; i++)
    if (!h2k_clones_delete (clone_state_dir, argv[i], &error))
      return cmd_fail (error);
  return code >= 0 ? code : EXIT_OK;
}
