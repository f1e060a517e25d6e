/* mounted.c - filesystems that the kernel has mounted: files are made there, and those that a
 * driver of fs sees are compared with them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

gboolean
mounted_allowed (void)
{
  static int have = -1;

  if (have < 0)
    have = geteuid () == 0 && unshare (CLONE_NEWNS) == 0
           && mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
  return have;
}

gboolean
mounted_mount (const char *type, const char *options)
{
  g_autofree char *output = NULL;

  image_must_run ("mkdir -p @/mnt");
  if (mounted_allowed ()
      && image_run (&output, "mount -t %s -o loop%s @/image @/mnt", type, options) == 0)
    return TRUE;
  g_test_skip ("this filesystem cannot be mounted here");
  return FALSE;
}

void
mounted_cleanup (void)
{
  if (mounted_allowed ())
    image_run (NULL, "umount -q @/mnt");
}

char *
mounted_path (const char *name)
{
  return g_build_filename (image_dir (), "mnt", name, NULL);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* What is read from AT on, of a file of SIZE bytes. */
static void
assert_piece (H2kFs *fs, const char *path, int fd, guint64 at, gsize length, guint64 size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, at, length, &error);
  gsize n = (gsize)MIN (length, size - MIN (size, at));
  g_autofree guint8 *real = g_malloc (length);

  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, n);
  g_assert_cmpint (pread (fd, real, length, (off_t)at), ==, (gssize)n);
  if (n && memcmp (real, g_bytes_get_data (bytes, NULL), n) != 0)
    g_error ("%s: other bytes at %" G_GUINT64_FORMAT, path, at);
}

void
mounted_assert_content (H2kFs *fs, const char *path, const char *host)
{
  const guint64 whole = 64u << 20, start = 8u << 20; /* of huge files with holes: both ends */
  int fd = open (host, O_RDONLY | O_CLOEXEC);
  gsize step = 1000003;
  struct stat real;
  guint64 size;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (fstat (fd, &real), ==, 0);
  size = (guint64)real.st_size;
  for (guint64 at = 0; at <= (size > whole ? start : size); at += step)
    assert_piece (fs, path, fd, at, step, size);
  for (guint64 at = size - MIN (size, 3 * step); at <= size; at += step)
    assert_piece (fs, path, fd, at, step, size);
  assert_piece (fs, path, fd, size / 3, 1, size);
  assert_piece (fs, path, fd, size / 2, 4099, size);
  close (fd);
}

static void
assert_attributes (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list_xattr (fs, path, &error);
  g_autofree char *list = g_malloc (65536), *value = g_malloc (65536);
  gssize length = llistxattr (host, list, 65536);
  guint n = 0;

  g_assert_no_error (error);
  if (length < 0 && errno == EOPNOTSUPP) /* in place of a subvolume */
    length = 0;
  g_assert_cmpint (length, >=, 0);
  for (const char *name = list; name < list + length; name += strlen (name) + 1)
    {
      gssize size = lgetxattr (host, name, value, 65536);
      g_autoptr (GBytes) bytes = fs->ops->get_xattr (fs, path, name, &error);

      g_assert_no_error (error);
      g_assert_cmpint (size, >=, 0);
      if (!bytes)
        g_error ("%s: there is no %s", path, name);
      g_assert_cmpmem (value, size, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
      n++;
    }
  g_assert_cmpuint (n, ==, names->len);
  g_assert_null (fs->ops->get_xattr (fs, path, "user.that-is-not-there", &error));
  g_assert_no_error (error);
}

void
mounted_assert_stat (const H2kStat *st, const struct stat *real)
{
  g_assert_cmpuint (st->mode, ==, real->st_mode);
  g_assert_cmpuint (st->uid, ==, real->st_uid);
  g_assert_cmpuint (st->gid, ==, real->st_gid);
  g_assert_cmpuint (st->size, ==, (guint64)real->st_size);
  g_assert_cmpuint (st->inode, ==, real->st_ino);
  g_assert_cmpuint (st->nlink, ==, real->st_nlink);
  g_assert_cmpuint (st->rdev, ==, real->st_rdev);
  g_assert_cmpint (st->atime, ==, real->st_atime);
  g_assert_cmpint (st->mtime, ==, real->st_mtime);
  g_assert_cmpint (st->ctime, ==, real->st_ctime);
}

/* All names of the directory PATH, which is HOST here. */
static GPtrArray *
assert_names (H2kFs *fs, const char *path, const char *host)
{
  GPtrArray *names = fs->ops->list (fs, path, NULL);
  g_autoptr (GDir) dir = g_dir_open (host, 0, NULL);
  guint n_real = 0;

  g_assert_nonnull (names);
  g_assert_nonnull (dir);
  while (g_dir_read_name (dir))
    n_real++;
  g_assert_cmpuint (names->len, ==, n_real);
  return names;
}

guint
mounted_assert_same (H2kFs *fs, const char *path, MountedStat assert_stat)
{
  g_autofree char *host = mounted_path (path);
  g_autoptr (GPtrArray) names = NULL;
  guint n = 1;
  struct stat real;
  H2kStat st;

  CHECK (fs->ops->lstat (fs, path, &st, &error));
  if (lstat (host, &real) != 0)
    g_error ("%s is not there", path);
  assert_stat (&st, &real);
  if (strstr (path, "/the entry")) /* all the same */
    return 1;
  assert_attributes (fs, path, host);
  if (S_ISREG (st.mode))
    mounted_assert_content (fs, path, host);
  if (S_ISLNK (st.mode))
    {
      g_autofree char *link = fs->ops->readlink (fs, path, NULL);
      g_autofree char *target = g_file_read_link (host, NULL);
      g_assert_cmpstr (link, ==, target);
    }
  if (!S_ISDIR (st.mode))
    return 1;
  names = assert_names (fs, path, host);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      n += mounted_assert_same (fs, sub, assert_stat);
    }
  return n;
}
