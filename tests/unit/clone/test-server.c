/* test-server.c - the lock of the process that serves a clone's originals, and its sockets.
 *
 * Record locks are a process's: the one that serves is a child here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/server.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct
{
  char *dir;
  GPid child;
  int tell, hear; /* a byte either way */
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp ("server-XXXXXX", NULL);
  g_assert_nonnull (f->dir);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  g_autofree char *lock = g_build_filename (f->dir, "server.lock", NULL);

  if (f->child)
    {
      kill (f->child, SIGKILL);
      waitpid (f->child, NULL, 0);
      close (f->tell);
      close (f->hear);
    }
  g_unlink (lock);
  g_assert_cmpint (g_rmdir (f->dir), ==, 0);
  g_free (f->dir);
}

/* Takes the lock, says so, and does what it is told: 'u' used, 'i' idle. */
static void
serve (const char *dir, int hear, int tell)
{
  int fd = h2k_clone_server_lock (dir, NULL);
  char word = fd >= 0 ? 'y' : 'n';

  while (write (tell, &word, 1) == 1 && read (hear, &word, 1) == 1)
    h2k_clone_server_set_used (fd, word == 'u');
  _exit (0);
}

static char
tell (Fixture *f, char word)
{
  char answer = 0;

  g_assert_cmpint (word ? write (f->tell, &word, 1) : 1, ==, 1);
  g_assert_cmpint (read (f->hear, &answer, 1), ==, 1);
  return answer;
}

static char
start (Fixture *f)
{
  int there[2], back[2];

  g_assert_cmpint (pipe (there), ==, 0);
  g_assert_cmpint (pipe (back), ==, 0);
  f->child = fork ();
  g_assert_cmpint (f->child, >=, 0);
  if (f->child == 0)
    {
      close (there[1]);
      serve (f->dir, there[0], back[1]);
    }
  close (there[0]);
  close (back[1]);
  f->tell = there[1];
  f->hear = back[0];
  return tell (f, 0);
}

static void
test_use (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int pid;
  char said;

  g_assert_cmpint (h2k_clone_server_use (f->dir, &pid), ==, H2K_SERVER_NONE);
  said = start (f);
  g_assert_cmpint (said, ==, 'y');
  g_assert_cmpint (h2k_clone_server_use (f->dir, &pid), ==, H2K_SERVER_IDLE);
  g_assert_cmpint (pid, ==, f->child);
  tell (f, 'u');
  g_assert_cmpint (h2k_clone_server_use (f->dir, NULL), ==, H2K_SERVER_USED);
  g_assert_cmpint (h2k_clone_server_lock (f->dir, &error), ==, -1);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  tell (f, 'i');
  g_assert_cmpint (h2k_clone_server_use (f->dir, NULL), ==, H2K_SERVER_IDLE);
}

/* A dead one leaves nothing that would have to be tidied up. */
static void
test_killed (Fixture *f, gconstpointer data)
{
  int fd;

  start (f);
  kill (f->child, SIGKILL);
  waitpid (f->child, NULL, 0);
  f->child = 0;
  close (f->tell);
  close (f->hear);
  g_assert_cmpint (h2k_clone_server_use (f->dir, NULL), ==, H2K_SERVER_NONE);
  fd = h2k_clone_server_lock (f->dir, NULL);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
}

static void
test_stop (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (h2k_clone_server_stop (f->dir, FALSE, &error));
  start (f);
  tell (f, 'u');
  g_assert_false (h2k_clone_server_stop (f->dir, FALSE, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_clear_error (&error);
  g_assert_true (h2k_clone_server_stop (f->dir, TRUE, &error));
  g_assert_no_error (error);
  g_assert_cmpint (h2k_clone_server_use (f->dir, NULL), ==, H2K_SERVER_NONE);
}

/* Whoever deletes a clone takes the lock's file with it. */
static void
test_deleted (Fixture *f, gconstpointer data)
{
  g_autofree char *lock = g_build_filename (f->dir, "server.lock", NULL);
  int fd = h2k_clone_server_lock (f->dir, NULL);

  g_assert_true (h2k_clone_server_holds (fd, f->dir));
  g_unlink (lock);
  g_assert_false (h2k_clone_server_holds (fd, f->dir));
  close (fd);
}

static void
test_names (void)
{
  static const char *const bad[] = {
      "nbd+unix:///?socket=relative", "nbd+unix:///?socket=/a%20b", "nbd://host/x",
      "nbd+unix:///?socket=/a&x=1",   "nbd+unix:///?socket=/a b",   "",
  };
  g_autofree char *socket = h2k_clone_server_socket ("3f6a1c9e-7b42-4d18-9c55-a01e2d7f8b64", 11);
  g_autofree char *uri = h2k_clone_server_uri (socket);
  g_autofree char *again = h2k_clone_server_uri_socket (uri);

  g_assert_true (g_str_has_suffix (socket, "/hyper2kvm/3f6a1c9e-7b42-4d18-9c55-a01e2d7f8b64/12")
                 || g_str_has_prefix (socket, "/tmp/hyper2kvm-"));
  g_assert_cmpuint (strlen (socket), <, 108);
  g_assert_cmpstr (again, ==, socket);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_null (h2k_clone_server_uri_socket (bad[i]));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/server/the-lock-says-who-serves", Fixture, NULL, setup, test_use, teardown);
  g_test_add ("/server/a-killed-one-leaves-nothing", Fixture, NULL, setup, test_killed, teardown);
  g_test_add ("/server/it-is-ended-unless-used", Fixture, NULL, setup, test_stop, teardown);
  g_test_add ("/server/a-deleted-clone-has-none", Fixture, NULL, setup, test_deleted, teardown);
  g_test_add_func ("/server/sockets-have-short-plain-names", test_names);
  return g_test_run ();
}
