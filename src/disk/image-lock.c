/* image-lock.c - QEMU's locks on image files.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/image-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first byte of those that say what is done, and of those that say what others must not do;
 * the bits of QEMU's permissions are the distance from there. */
#define DOES_BASE 100
#define FORBIDS_BASE 200
#define PERM_READ 0
#define PERM_WRITE 1
#define PERM_RESIZE 3
#define PERM_ALL 4

#define USERS_MAX 8

/* Whether others hold a lock on one of LENGTH bytes from START on. */
static gboolean
is_locked (int fd, off_t start, off_t length)
{
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

  return fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

H2kImageUse
h2k_image_use_fd (int fd)
{
  if (is_locked (fd, DOES_BASE + PERM_WRITE, 1) || is_locked (fd, DOES_BASE + PERM_RESIZE, 1))
    return H2K_IMAGE_WRITTEN;
  return is_locked (fd, DOES_BASE, PERM_ALL) ? H2K_IMAGE_READ : H2K_IMAGE_FREE;
}

H2kImageUse
h2k_image_use (const char *path)
{
  int fd = open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  H2kImageUse use = fd < 0 ? H2K_IMAGE_FREE : h2k_image_use_fd (fd);

  if (fd >= 0)
    close (fd);
  return use;
}

/* --- who it is -------------------------------------------------------------------------------- */

static gboolean
process_has_open (const char *pid, const struct stat *st)
{
  g_autofree char *dir = g_strdup_printf ("/proc/%s/fd", pid);
  g_autoptr (GDir) fds = g_dir_open (dir, 0, NULL);
  const char *name;

  while (fds && (name = g_dir_read_name (fds)))
    {
      g_autofree char *path = g_build_filename (dir, name, NULL);
      struct stat here;
      if (stat (path, &here) == 0 && here.st_dev == st->st_dev && here.st_ino == st->st_ino)
        return TRUE;
    }
  return FALSE;
}

static char *
process_name (const char *pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%s/comm", pid);
  g_autofree char *comm = NULL;
  g_autofree char *escaped = NULL;

  if (!g_file_get_contents (path, &comm, NULL, NULL))
    return NULL;
  escaped = h2k_escape_text (g_strchomp (comm), -1);
  return g_strdup_printf ("%s (PID %s)", escaped, pid);
}

char *
h2k_file_users (const char *path)
{
  g_autoptr (GDir) proc = g_dir_open ("/proc", 0, NULL);
  g_autoptr (GPtrArray) users = g_ptr_array_new_with_free_func (g_free);
  const char *pid;
  struct stat st;

  if (!proc || stat (path, &st) != 0)
    return NULL;
  while (users->len < USERS_MAX && (pid = g_dir_read_name (proc)))
    if (g_ascii_isdigit (pid[0]) && atol (pid) != (long)getpid () && process_has_open (pid, &st))
      {
        char *name = process_name (pid);
        if (name)
          g_ptr_array_add (users, name);
      }
  if (users->len == 0)
    return NULL;
  g_ptr_array_add (users, NULL);
  return g_strjoinv (", ", (char **)users->pdata);
}

/* --- holding one ------------------------------------------------------------------------------ */

static gboolean
take (int fd, off_t start)
{
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};

  /* A filesystem without locks has none of QEMU's either. */
  return fcntl (fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

/* The locks are taken first and looked at then, as QEMU does it: of two that come at once, at
 * least one sees the other. */
static gboolean
take_all (int fd)
{
  static const off_t taken[] = {
      DOES_BASE + PERM_READ,     DOES_BASE + PERM_WRITE,     DOES_BASE + PERM_RESIZE,
      FORBIDS_BASE + PERM_WRITE, FORBIDS_BASE + PERM_RESIZE,
  };
  static const off_t looked_at[] = {
      DOES_BASE + PERM_WRITE,    DOES_BASE + PERM_RESIZE,    FORBIDS_BASE + PERM_READ,
      FORBIDS_BASE + PERM_WRITE, FORBIDS_BASE + PERM_RESIZE,
  };

  for (guint i = 0; i < G_N_ELEMENTS (taken); i++)
    if (!take (fd, taken[i]))
      return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (looked_at); i++)
    if (is_locked (fd, looked_at[i], 1))
      return FALSE;
  return TRUE;
}

int
h2k_image_lock (const char *path, GError **error)
{
  g_autofree char *users = NULL;
  int fd = open (path, O_RDONLY | O_CLOEXEC);

  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot open %s", path);
      return -1;
    }
  if (take_all (fd))
    return fd;
  close (fd);
  users = h2k_file_users (path);
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "%s is in use%s%s", path, users ? " by " : "",
               users ? users : "");
  return -1;
}
