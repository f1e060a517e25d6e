/* clone-virt.c - hyper2kvm clone define, undefine, start, console, stop, resume, limit.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static char *connect_uri;

#define CONNECT                                                                                    \
  {                                                                                                \
    "connect", 0, 0, G_OPTION_ARG_STRING, &connect_uri,                                            \
        "libvirt's URI (default: qemu:///system for root, qemu:///session for others)", "URI"      \
  }

int
cmd_clone_define (int argc, char **argv)
{
  const GOptionEntry entries[] = {CONNECT, {NULL}};
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Defines a clone's VM in libvirt, or defines it anew.", entries, 1, 1);

  return code >= 0 ? code
                   : clone_done (h2k_clones_define (clone_state_dir, argv[1], connect_uri, &error),
                                 &error);
}

int
cmd_clone_undefine (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Takes a clone's VM out of libvirt. The clone stays as it is.", NULL, 1, 1);

  return code >= 0 ? code
                   : clone_done (h2k_clones_undefine (clone_state_dir, argv[1], &error), &error);
}

int
cmd_clone_start (int argc, char **argv)
{
  gboolean unsafe = FALSE, no_watch = FALSE;
  const GOptionEntry entries[] = {
      CONNECT,
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &unsafe,
       "start it although its original has changed", NULL},
      {"no-watch", 0, 0, G_OPTION_ARG_NONE, &no_watch,
       "do not watch its growth: it may fill its filesystem", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Starts a clone's VM with libvirt, in which it is defined first where it "
                          "is not.",
                          entries, 1, 1);

  if (code >= 0)
    return code;
  if (!h2k_clones_start (clone_state_dir, argv[1], connect_uri, unsafe, &error))
    return cmd_fail (error);
  if (!no_watch)
    clone_watch_in_background (argv[1], FALSE);
  return EXIT_OK;
}

int
cmd_clone_console (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) args = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Puts the serial console of a VM that libvirt runs on the terminal: "
                          "Ctrl-] leaves it.",
                          NULL, 1, 1);

  if (code >= 0)
    return code;
  args = h2k_clones_console_args (clone_state_dir, argv[1], &error);
  if (!args)
    return cmd_fail (error);
  signal (SIGPIPE, SIG_DFL);
  execv (args[0], args);
  fprintf (stderr, "hyper2kvm: error: cannot start %s: %s\n", args[0], g_strerror (errno));
  return EXIT_TOOL;
}

int
cmd_clone_stop (int argc, char **argv)
{
  CloneStop stop = CLONE_STOP_DEFAULT;
  const GOptionEntry entries[] = {CLONE_STOP_ENTRIES (stop), {NULL}};
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Shuts a clone's VM down, as its power button does, and waits for that.",
                          entries, 1, 1);

  if (code >= 0)
    return code;
  if (stop.timeout < 0)
    return cmd_usage ("clone stop", "no time is negative");
  return clone_done (h2k_clones_stop (clone_state_dir, argv[1], (guint)stop.timeout, stop.force,
                                      cmd_cancellable (), &error),
                     &error);
}

int
cmd_clone_resume (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "NAME",
                          "Lets a VM go on that was paused for want of space, when there is some.",
                          NULL, 1, 1);

  return code >= 0 ? code
                   : clone_done (h2k_clones_resume (clone_state_dir, argv[1], &error), &error);
}

int
cmd_clone_limit (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  guint64 size = 0;
  int code = clone_parse (&argc, &argv, "NAME SIZE",
                          "Sets what a clone's layers may take on the host's disk at most: 20G, or "
                          "none.",
                          NULL, 2, 2);

  if (code >= 0)
    return code;
  if (!g_str_equal (argv[2], "none") && !clone_parse_size (argv[2], &size))
    return cmd_usage ("clone limit", "\"%s\" is no size: give 500M, 20G, 1T or none", argv[2]);
  return clone_done (h2k_clones_limit (clone_state_dir, argv[1], size, &error), &error);
}
