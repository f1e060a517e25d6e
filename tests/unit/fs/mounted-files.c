/* mounted-files.c - files as the tests of fs need them, in a filesystem that is mounted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "mounted-files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

void
mounted_put (const char *name, guint64 offset, gsize length, guint period)
{
  g_autofree char *path = mounted_path (name);
  g_autofree guint8 *data = g_malloc (length + 1);
  g_autoptr (GRand) rand = g_rand_new_with_seed ((guint32)(offset + length + period));
  int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

  for (gsize i = 0; i < length; i++)
    data[i] = (guint8)(period ? (i / 97) * 13 + i % period : g_rand_int (rand));
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (pwrite (fd, data, length, (off_t)offset), ==, (gssize)length);
  close (fd);
}

void
mounted_punch (const char *name, guint64 offset, guint64 length)
{
  g_autofree char *path = mounted_path (name);
  int fd = open (path, O_WRONLY | O_CLOEXEC);

  g_assert_cmpint (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                              (off_t)length),
                   ==, 0);
  close (fd);
}

void
mounted_make_dir (const char *name, guint entries, guint removed_every)
{
  g_autofree char *path = mounted_path (name), *first = g_build_filename (path, "first", NULL);

  g_assert_cmpint (mkdir (path, 0750), ==, 0);
  if (entries)
    g_assert_true (g_file_set_contents (first, name, -1, NULL));
  for (guint i = 1; i < entries; i++)
    {
      g_autofree char *file = g_strdup_printf ("%s/the entry number %u%s", path, i,
                                               i % 7 ? "" : " with quite some more characters");
      g_assert_cmpint (link (first, file), ==, 0);
      if (removed_every && i % removed_every == 0)
        g_assert_cmpint (unlink (file), ==, 0);
    }
}

void
mounted_put_times (const char *name, gint64 atime, gint64 mtime)
{
  g_autofree char *path = mounted_path (name);
  struct timespec times[2] = {{atime, 5}, {mtime, 6}};

  mounted_put (name, 0, 1, 1);
  g_assert_cmpint (utimensat (AT_FDCWD, path, times, 0), ==, 0);
}

void
mounted_set_attributes (const MountedAttributes *sets, gsize n)
{
  for (gsize i = 0; i < n; i++)
    {
      g_autofree char *path = mounted_path (sets[i].name);
      mounted_put (sets[i].name, 0, 3, 0);
      for (guint k = 0; k < sets[i].count; k++)
        {
          g_autofree char *attribute
              = k ? g_strdup_printf ("%s%u", sets[i].attribute, k) : g_strdup (sets[i].attribute);
          g_autofree char *value = g_strnfill (sets[i].length, (char)('a' + k % 26));
          g_assert_cmpint (setxattr (path, attribute, value, sets[i].length, 0), ==, 0);
        }
    }
}
