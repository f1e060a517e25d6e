/* scratch.c - a directory of its own for each test program: TMPDIR leads there, and it goes when
 * the program ends, whichever way that is.
 *
 * A test that fails aborts, and who is killed cannot clean up: so another process waits for the
 * end, which it sees as the end of a pipe whose other side only the program has.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void
remove_at_end (const char *dir, int end)
{
  int null;
  char byte;

  /* What ends the program is not to end this one, and nobody is to wait for its output. */
  setsid ();
  signal (SIGHUP, SIG_IGN);
  end = fcntl (end, F_DUPFD, 10);
  null = open ("/dev/null", O_RDWR);
  for (int fd = 0; null >= 0 && fd < 3; fd++)
    dup2 (null, fd);
  dup2 (end, 3);
  closefrom (4);
  while (read (3, &byte, 1) > 0 || errno == EINTR)
    errno = 0;
  execlp ("rm", "rm", "-rf", "--", dir, (char *)NULL);
  _exit (1);
}

/* A grandchild, so that the tests have no child which they did not start. */
static pid_t
start_remover (const char *dir, const int ends[2])
{
  pid_t child = fork ();

  if (child == 0)
    {
      close (ends[1]);
      if (fork () == 0)
        remove_at_end (dir, ends[0]);
      _exit (0);
    }
  close (ends[0]);
  return child < 0 ? child : waitpid (child, NULL, 0);
}

__attribute__ ((constructor)) static void
make_scratch (void)
{
  const char *parent = getenv ("TMPDIR");
  char dir[4096];
  int ends[2];

  if (snprintf (dir, sizeof dir, "%s/h2k-test-XXXXXX", parent && *parent ? parent : "/var/tmp")
          >= (int)sizeof dir
      || !mkdtemp (dir) || setenv ("TMPDIR", dir, 1) != 0 || pipe2 (ends, O_CLOEXEC) != 0
      || start_remover (dir, ends) < 0)
    {
      perror ("a directory for the test");
      exit (99);
    }
}
