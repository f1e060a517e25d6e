/* server.c - the process that offers a clone's originals to QEMU: its lock, its end, its sockets.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define LIVES 0 /* bytes of server.lock */
#define IS_USED 1
#define END_MS 10000
#define RELEASE_MS 2000 /* from the end of a reader until its server knows of it */
#define URI_START "nbd+unix:///?socket="
/* What stands for itself in a URI. */
#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_.-"

/* --- the lock --------------------------------------------------------------------------------- */

static int
open_lock (const char *dir, int flags)
{
  g_autofree char *path = g_build_filename (dir, "server.lock", NULL);

  return open (path, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static gboolean
is_locked (int fd, off_t byte, int *pid)
{
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

  if (fcntl (fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
    return FALSE;
  /* A process of another PID namespace has none here. */
  *pid = MAX (lock.l_pid, 0);
  return TRUE;
}

static H2kServerUse
look (int fd, int *pid)
{
  int ignored;

  *pid = 0;
  if (!is_locked (fd, LIVES, pid))
    return H2K_SERVER_NONE;
  return is_locked (fd, IS_USED, &ignored) ? H2K_SERVER_USED : H2K_SERVER_IDLE;
}

H2kServerUse
h2k_clone_server_use (const char *dir, int *pid)
{
  int fd = open_lock (dir, 0), found = 0;
  H2kServerUse use = fd < 0 ? H2K_SERVER_NONE : look (fd, &found);

  if (fd >= 0)
    close (fd);
  if (pid)
    *pid = found;
  return use;
}

static gboolean
set_lock (int fd, off_t byte, short type)
{
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

  return fcntl (fd, F_SETLK, &lock) == 0;
}

int
h2k_clone_server_lock (const char *dir, GError **error)
{
  int fd = open_lock (dir, O_CREAT), pid = 0;

  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s/server.lock", dir);
      return -1;
    }
  if (set_lock (fd, LIVES, F_WRLCK) && h2k_clone_server_holds (fd, dir))
    return fd;
  is_locked (fd, LIVES, &pid);
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
               "another process (PID %d) offers the originals of %s already, or the clone was "
               "deleted just now",
               pid, dir);
  close (fd);
  return -1;
}

gboolean
h2k_clone_server_holds (int fd, const char *dir)
{
  g_autofree char *path = g_build_filename (dir, "server.lock", NULL);
  struct stat here, there;

  return fstat (fd, &here) == 0 && lstat (path, &there) == 0 && here.st_dev == there.st_dev
         && here.st_ino == there.st_ino;
}

void
h2k_clone_server_set_used (int fd, gboolean used)
{
  set_lock (fd, IS_USED, used ? F_WRLCK : F_UNLCK);
}

/* --- its end ---------------------------------------------------------------------------------- */

static int
open_process (int pid)
{
#ifdef SYS_pidfd_open
  return (int)syscall (SYS_pidfd_open, pid, 0);
#else
  return -1;
#endif
}

/* Send SIGNAL to the process that has the lock, by PIDFD if there is one: that is this very
 * process, also when another one has got its number since. */
static void
send_signal (int pidfd, int pid, int signal)
{
#ifdef SYS_pidfd_send_signal
  if (pidfd >= 0 && syscall (SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0)
    return;
#endif
  if (pidfd < 0)
    kill (pid, signal);
}

/* Wait until nobody has the lock any more; a killed process may be slow to go, too. */
static gboolean
wait_for_end (int fd, guint ms)
{
  int pid;

  for (guint waited = 0; look (fd, &pid) != H2K_SERVER_NONE; waited += 10)
    {
      if (waited >= ms)
        return FALSE;
      g_usleep (10 * 1000);
    }
  return TRUE;
}

/* End the process PID, which had the lock FD when it was looked at. */
static gboolean
end_process (int fd, int pid)
{
  int pidfd = open_process (pid), again = 0;
  gboolean ended = look (fd, &again) == H2K_SERVER_NONE;

  if (!ended && again == pid)
    {
      send_signal (pidfd, pid, SIGTERM);
      ended = wait_for_end (fd, END_MS);
      if (!ended)
        send_signal (pidfd, pid, SIGKILL);
    }
  if (pidfd >= 0)
    close (pidfd);
  return ended || wait_for_end (fd, END_MS);
}

/* Who has read until just now is gone, and its server may not have seen it yet. */
static H2kServerUse
look_again (int fd, int *pid)
{
  H2kServerUse use = look (fd, pid);

  for (guint waited = 0; use == H2K_SERVER_USED && waited < RELEASE_MS; waited += 10)
    {
      g_usleep (10 * 1000);
      use = look (fd, pid);
    }
  return use;
}

static gboolean
stop (int fd, const char *dir, gboolean force, GError **error)
{
  int pid;
  H2kServerUse use = force ? look (fd, &pid) : look_again (fd, &pid);

  if (use == H2K_SERVER_NONE)
    return TRUE;
  if (use == H2K_SERVER_USED && !force)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                 "%s is in use: somebody reads its original through the process %d", dir, pid);
  else if (pid == 0 || !end_process (fd, pid))
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                 "the process (PID %d) that offers the originals of %s does not end; end it first",
                 pid, dir);
  else
    return TRUE;
  return FALSE;
}

gboolean
h2k_clone_server_stop (const char *dir, gboolean force, GError **error)
{
  int fd = open_lock (dir, 0);
  gboolean ok = fd < 0 || stop (fd, dir, force, error);

  if (fd >= 0)
    close (fd);
  return ok;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* Where programs of this user have their sockets: "/run/user/1000/hyper2kvm". A login's folder is
 * named also by those who have not logged in, so that a clone's name for it stays the same. */
static char *
runtime_folder (void)
{
  const char *folder = g_getenv ("XDG_RUNTIME_DIR");
  g_autofree char *login = g_strdup_printf ("/run/user/%u", (guint)geteuid ());

  if (geteuid () == 0)
    return g_strdup ("/run/hyper2kvm");
  if (folder && g_path_is_absolute (folder) && strspn (folder, PLAIN) == strlen (folder)
      && strlen (folder) < sizeof ((struct sockaddr_un *)NULL)->sun_path - 64)
    return g_build_filename (folder, "hyper2kvm", NULL);
  if (g_file_test (login, G_FILE_TEST_IS_DIR))
    return g_build_filename (login, "hyper2kvm", NULL);
  return g_strdup_printf ("/tmp/hyper2kvm-%u", (guint)geteuid ());
}

char *
h2k_clone_server_socket (const char *uuid, guint disk)
{
  g_autofree char *folder = runtime_folder ();

  return g_strdup_printf ("%s/%s/%u", folder, uuid, disk + 1);
}

char *
h2k_clone_server_uri (const char *socket)
{
  return g_strconcat (URI_START, socket, NULL);
}

char *
h2k_clone_server_uri_socket (const char *uri)
{
  const char *socket = uri + strlen (URI_START);

  if (!g_str_has_prefix (uri, URI_START) || !g_path_is_absolute (socket)
      || strspn (socket, PLAIN) != strlen (socket))
    return NULL;
  return g_strdup (socket);
}

/* FOLDER is there and this user's; as root others, the VMs' users, may look up names in it. */
static gboolean
make_own (const char *folder, GError **error)
{
  int mode = geteuid () == 0 ? 0711 : 0700, made = mkdir (folder, 0700);
  struct stat st;

  if (made == 0 ? chmod (folder, (mode_t)mode) != 0 : errno != EEXIST)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                   "cannot make %s, where this clone's sockets are to be%s", folder,
                   errno == ENOENT ? ": log in as its user, or let the user linger" : "");
  else if (lstat (folder, &st) != 0 || !S_ISDIR (st.st_mode) || st.st_uid != geteuid ()
           || st.st_mode & 022)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                 "%s has to be a folder of your own that nobody else can write to", folder);
  else
    return TRUE;
  return FALSE;
}

gboolean
h2k_clone_server_make_folder (const char *socket, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (socket), *outer = g_path_get_dirname (folder);

  return make_own (outer, error) && make_own (folder, error);
}
