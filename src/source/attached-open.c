/* attached-open.c - whether somebody holds a device or an image file, which only opening it tells.
 *
 * A filesystem, an array or a pool of the kernel claims its devices: O_EXCL (open(2)) fails with
 * EBUSY then, also on the disk that a claimed partition belongs to. QEMU holds locks on the images
 * that it has open: see disk/image-lock.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/attached.h"
#include "disk/image-lock.h"
#include "source/block.h"
#include "volume/zfs-label.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
  TRIES = 4,      /* who looks as we do holds it no longer than that */
  WAIT_US = 5000, /* between them */
};

/* The one user of PATH, which is made when there is none. */
static H2kAttachedUser *
user_of (H2kAttached *attached, const char *path)
{
  H2kAttachedUser *user;

  for (guint i = 0; i < attached->users->len; i++)
    {
      user = attached->users->pdata[i];
      if (g_str_equal (user->device, path))
        return user;
    }
  user = h2k_attached_user_new (path);
  g_ptr_array_add (attached->users, user);
  return user;
}

static void
add_use (H2kAttached *attached, const char *path, H2kUse use)
{
  H2kAttachedUser *user = user_of (attached, path);

  user->uses |= use;
  h2k_attached_user_finish (user);
}

static gboolean
is_used (const H2kAttached *attached, const char *path)
{
  for (guint i = 0; i < attached->users->len; i++)
    if (g_str_equal (((H2kAttachedUser *)attached->users->pdata[i])->device, path))
      return TRUE;
  return FALSE;
}

/* Open PATH and see that it is DEV (0: any). -1: errno says why not. */
static int
open_device (const char *root, const char *path, int flags, dev_t dev)
{
  g_autofree char *full = g_strconcat (root, path, NULL);
  int fd = open (full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
  struct stat st;

  if (fd < 0 || !dev)
    return fd;
  if (fstat (fd, &st) == 0 && S_ISBLK (st.st_mode) && st.st_rdev == dev)
    return fd;
  close (fd);
  errno = ENOENT;
  return -1;
}

/* 0, or why PATH could not be opened exclusively: EBUSY when somebody holds it for good. */
static int
claim (const char *root, const char *path, dev_t dev)
{
  int err = 0;

  for (guint i = 0; i < TRIES; i++)
    {
      int fd = open_device (root, path, O_EXCL, dev);
      err = fd < 0 ? errno : 0;
      if (fd >= 0)
        close (fd);
      if (err != EBUSY)
        break;
      g_usleep (WAIT_US);
    }
  return err;
}

static void
check_qemu (const char *root, H2kAttached *attached)
{
  int fd = open_device (attached->is_device ? root : "", attached->path, 0, attached->dev);

  if (fd < 0)
    {
      attached->open_errno = errno;
      return;
    }
  if (h2k_image_use_fd (fd) == H2K_IMAGE_WRITTEN)
    add_use (attached, attached->path, H2K_USE_QEMU);
  close (fd);
}

/* PATH is held by somebody who has left no trace in sysfs: that is what ZFS does, too. */
static void
add_holder (const char *root, H2kAttached *attached, const char *path)
{
  g_autofree char *full = g_strconcat (root, path, NULL), *text = NULL, *safe = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (full, "raw", NULL);
  g_autoptr (H2kZfsLabel) label = disk ? h2k_zfs_label_read (disk, NULL) : NULL;

  if (!label || !label->pool)
    {
      add_use (attached, path, H2K_USE_EXCLUSIVE);
      return;
    }
  text = g_strconcat ("ZFS pool ", label->pool, NULL);
  safe = h2k_escape_text (text, -1);
  g_ptr_array_add (user_of (attached, path)->stack,
                   g_strdelimit (g_steal_pointer (&safe), "\n\t", ' '));
  add_use (attached, path, H2K_USE_ZFS);
}

/* Which partitions nobody is known to use, but somebody holds. */
static gboolean
check_partitions (const char *root, H2kAttached *attached)
{
  gboolean found = FALSE;

  for (guint i = 0; i < attached->partitions->len; i++)
    {
      const char *path = attached->partitions->pdata[i];
      if (is_used (attached, path))
        found = TRUE;
      else if (claim (root, path, 0) == EBUSY)
        {
          add_holder (root, attached, path);
          found = TRUE;
        }
    }
  return found;
}

void
h2k_attached_try_open (const char *root, H2kAttached *attached)
{
  attached->open_errno = 0;
  check_qemu (root, attached);
  if (attached->open_errno || !attached->is_device)
    return;
  if (is_used (attached, attached->path) || claim (root, attached->path, attached->dev) != EBUSY)
    return;
  if (!check_partitions (root, attached))
    add_holder (root, attached, attached->path);
}
