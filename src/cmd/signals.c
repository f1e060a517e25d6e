/* signals.c - Ctrl-C and SIGTERM become a cancelled GCancellable; cleaning up is the library's.
 *
 * The handler only writes to a pipe, since little else is allowed there; a thread waits at its
 * other end. Signals stay unblocked, so that programs that are started get them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int signal_pipe[2];
static int came; /* atomic */

static void
handler (int signum)
{
  int saved = errno;
  char c = (char)signum;

  if (write (signal_pipe[1], &c, 1) != 1)
    _exit (EXIT_SIGNAL + signum);
  errno = saved;
}

static gpointer
wait_for_signal (gpointer data)
{
  GCancellable *cancellable = data;
  char c;

  while (read (signal_pipe[0], &c, 1) == 1)
    {
      struct sigaction action = {.sa_handler = SIG_DFL};
      g_atomic_int_set (&came, c);
      g_cancellable_cancel (cancellable);
      sigaction (c, &action, NULL);
    }
  return NULL;
}

GCancellable *
cmd_cancellable (void)
{
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
  static GCancellable *cancellable;
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

  if (cancellable)
    return cancellable;
  cancellable = g_cancellable_new ();
  if (pipe2 (signal_pipe, O_CLOEXEC) != 0)
    return cancellable;
  g_thread_unref (g_thread_new ("signals", wait_for_signal, cancellable));
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    sigaction (signals[i], &action, NULL);
  return cancellable;
}

int
cmd_signal (void)
{
  return g_atomic_int_get (&came);
}
