/* clone-run.c - hyper2kvm clone run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void
print_command (char *const *args, const char *more)
{
  for (guint i = 0; args[i]; i++)
    {
      g_autofree char *quoted = g_shell_quote (args[i]);
      printf ("%s%s", i ? " " : "", quoted);
    }
  printf ("%s\n", more);
}

/* QEMU takes the place of this program: its exit status, signals and terminal are QEMU's own. */
int
cmd_clone_run (int argc, char **argv)
{
  gboolean screen = FALSE, unsafe = FALSE, print = FALSE, no_watch = FALSE;
  const GOptionEntry entries[] = {
      {"vnc", 0, 0, G_OPTION_ARG_NONE, &screen,
       "have the screen on VNC, on 127.0.0.1 from port 5900 on (default: no screen)", NULL},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &unsafe,
       "start it although its original has changed", NULL},
      {"no-watch", 0, 0, G_OPTION_ARG_NONE, &no_watch,
       "do not watch its growth: it may fill its filesystem", NULL},
      {"print", 0, 0, G_OPTION_ARG_NONE, &print,
       "print QEMU's command line (before it that of a TPM), start nothing", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) args = NULL, tpm = NULL;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Starts a clone's VM with QEMU, without libvirt, with its serial console on "
                     "the terminal:\nCtrl-A X ends it, Ctrl-A H tells more.",
                     entries, 1, 1);

  if (code >= 0)
    return code;
  args = h2k_clones_run_args (clone_state_dir, argv[1], screen, unsafe, &error);
  if (args)
    tpm = h2k_clones_tpm_args (clone_state_dir, argv[1], &error);
  if (error)
    return cmd_fail (error);
  if (print && tpm)
    print_command (tpm, " --daemon");
  if (print)
    print_command (args, "");
  code = cmd_end_output (EXIT_OK);
  if (print || code != EXIT_OK)
    return code;
  if (!no_watch)
    clone_watch_in_background (argv[1], TRUE);
  if (tpm && !h2k_clones_start_tpm (tpm, &error))
    return cmd_fail (error);
  signal (SIGPIPE, SIG_DFL);
  execv (args[0], args);
  fprintf (stderr, "hyper2kvm: error: cannot start %s: %s\n", args[0], g_strerror (errno));
  return EXIT_TOOL;
}
