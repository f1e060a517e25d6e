/* xfs-files.c - one of everything that XFS stores in a way of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "xfs-files.h"

#include "mounted-files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Files in pieces: holes in FILE at every other block. */
static void
make_pieces (const char *name, guint pieces)
{
  mounted_put (name, 0, pieces * 8192u, 13);
  for (guint i = 0; i < pieces; i++)
    mounted_punch (name, i * 8192u, 4096);
}

static const MountedAttributes attributes[] = {
    {"attr-short", "user.a", 5, 2},
    {"attr-empty", "user.none", 0, 1},
    {"attr-leaf", "user.leaf", 300, 3},
    {"attr-many", "user.many", 90, 200},
    {"attr-large", "user.large", 9000, 2},
    {"attr-largest", "user.largest", 65536, 1},
    {"attr-label", "security.selinux", 30, 1},
    {"attr-trusted", "trusted.x", 30, 1},
};

static void
make_link (const char *name, const char *target)
{
  g_autofree char *path = mounted_path (name);

  g_assert_cmpint (symlink (target, path), ==, 0);
}

static void
make_links (void)
{
  g_autofree char *longer = g_strdup_printf ("/%0300d", 7);
  g_autofree char *longest = g_strdup_printf ("/%0250d/%0250d/%0250d/%0250d", 1, 2, 3, 4);

  make_link ("link", "small");
  make_link ("link-long", longer);
  make_link ("link-longest", longest);
}

/* Blocks that nobody wrote, on both sides of ones that are written. */
static void
make_unwritten (const char *name)
{
  g_autofree char *path = mounted_path (name);
  int fd;

  mounted_put (name, 100000, 5000, 13);
  fd = open (path, O_WRONLY | O_CLOEXEC);
  g_assert_cmpint (fallocate (fd, 0, 0, 300000), ==, 0);
  close (fd);
}

static void
make_dirs (void)
{
  g_autofree char *deep = g_strdup ("deep");

  mounted_make_dir ("dir-empty", 0, 0);
  mounted_make_dir ("dir-short", 4, 3);
  mounted_make_dir ("dir-block", 30, 4);
  mounted_make_dir ("dir-leaf", 700, 3);
  mounted_make_dir ("dir-node", 10000, 5);
  for (guint i = 0; i < 40; i++)
    {
      char *next = g_build_filename (deep, "deeper", NULL);
      mounted_make_dir (deep, 1, 0);
      g_free (deep);
      deep = next;
    }
}

void
xfs_files_make (void)
{
  g_autofree char *fifo = mounted_path ("fifo"), *null = mounted_path ("null");
  g_autofree char *owned = mounted_path ("owned");

  mounted_put ("empty", 0, 0, 13);
  mounted_put ("small", 0, 100, 13);
  mounted_put ("big", 0, 3000000, 13);
  mounted_put ("sparse", 5000000, 100, 13);
  mounted_put ("sparse", 40000001, 5000, 13);
  make_pieces ("pieces-some", 15);
  make_pieces ("pieces-many", 3000);
  make_unwritten ("unwritten");
  make_dirs ();
  make_links ();
  mounted_set_attributes (attributes, G_N_ELEMENTS (attributes));
  mounted_put ("owned", 0, 1, 13);
  g_assert_cmpint (chown (owned, 70000, 80000), ==, 0);
  g_assert_cmpint (chmod (owned, 06711), ==, 0);
  g_assert_cmpint (mknod (null, S_IFCHR | 0600, makedev (300, 60000)), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0622), ==, 0);
  mounted_put_times ("time-old", -1000000000, -999999999);
  mounted_put_times ("time-late", 2147483000, 2147483001);
  /* Cut off without bigtime. */
  mounted_put_times ("time-later", G_GINT64_CONSTANT (5000000000), G_GINT64_CONSTANT (5000000001));
}
