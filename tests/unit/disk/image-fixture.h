/* image-fixture.h - a folder with images made by qemu-img or by hand, for the tests of formats.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define KIB ((guint64)1 << 10)
#define MIB ((guint64)1 << 20)
#define GIB ((guint64)1 << 30)

typedef struct
{
  char *folder;
} Fixture;

static inline void
set_up (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("h2k-image-XXXXXX", NULL);
  g_assert_nonnull (f->folder);
}

static inline void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *child = g_build_filename (path, name, NULL);
      if (g_file_test (child, G_FILE_TEST_IS_DIR) && !g_file_test (child, G_FILE_TEST_IS_SYMLINK))
        remove_tree (child);
      g_unlink (child);
    }
  g_rmdir (path);
}

static inline void
tear_down (Fixture *f, gconstpointer data)
{
  remove_tree (f->folder);
  g_free (f->folder);
}

static inline char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->folder, name, NULL);
}

/* Run COMMAND, its arguments split as by a shell, in the fixture's folder; its exit code. */
static inline int
run_command (Fixture *f, char **out, const char *command)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (
      G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE);
  g_autoptr (GSubprocess) process = NULL;
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) argv = NULL;

  g_assert_true (g_shell_parse_argv (command, NULL, &argv, NULL));
  g_subprocess_launcher_set_cwd (launcher, f->folder);
  process = g_subprocess_launcher_spawnv (launcher, (const char *const *)argv, &error);
  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, out, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_if_exited (process));
  return g_subprocess_get_exit_status (process);
}

static inline char *run (Fixture *f, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* The same of a program that succeeds. What it printed is freed with the next call. */
static inline char *
run (Fixture *f, const char *format, ...)
{
  g_autofree char *command = NULL;
  static char *out;
  va_list args;

  va_start (args, format);
  command = g_strdup_vprintf (format, args);
  va_end (args);
  g_clear_pointer (&out, g_free);
  if (run_command (f, &out, command) != 0)
    g_error ("%s: %s", command, out);
  return out;
}

static inline H2kDisk *
open_disk (Fixture *f, const char *name, const char *format)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, format, &error);

  g_assert_no_error (error);
  return disk;
}

static inline guint8 *
load (Fixture *f, const char *name, gsize *size)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (GError) error = NULL;
  char *data;

  g_file_get_contents (path, &data, size, &error);
  g_assert_no_error (error);
  return (guint8 *)data;
}

static inline void
save (Fixture *f, const char *name, const void *data, gsize size)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (GError) error = NULL;

  g_unlink (path);
  g_file_set_contents_full (path, data, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600, &error);
  g_assert_no_error (error);
}

/* SIZE bytes of a file that is there become those at DATA. */
static inline void
patch (Fixture *f, const char *name, guint64 offset, const void *data, gsize size)
{
  g_autofree char *path = path_of (f, name);
  int fd = g_open (path, O_WRONLY | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, data, size, offset), ==, 0);
  close (fd);
}

static inline void
put_be (guint8 *at, guint64 value, gsize size)
{
  for (gsize i = 0; i < size; i++)
    at[i] = (guint8)(value >> (8 * (size - 1 - i)));
}

static inline void
put_le (guint8 *at, guint64 value, gsize size)
{
  for (gsize i = 0; i < size; i++)
    at[i] = (guint8)(value >> (8 * i));
}

/* The extents cover the disk; what they call zero is zero. Returns the bytes of data. */
static inline guint64
check_extents (H2kDisk *disk, const guint8 *expected)
{
  g_autoptr (GError) error = NULL;
  H2kExtent extent;
  guint64 data = 0;

  for (guint64 at = 0; at < disk->size; at += extent.length)
    {
      h2k_disk_extent (disk, at, disk->size, &extent, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (extent.offset, ==, at);
      g_assert_cmpuint (extent.length, >, 0);
      g_assert_cmpuint (extent.length, <=, disk->size - at);
      if (extent.kind == H2K_EXTENT_DATA)
        data += extent.length;
      else
        g_assert_true (h2k_is_zero (expected + at, extent.length));
    }
  return data;
}

/* DISK reads as EXPECTED: at once, and in random pieces. */
static inline void
check_content (H2kDisk *disk, const guint8 *expected, gsize size)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (99);
  g_autofree guint8 *got = g_malloc (size);
  g_autoptr (GError) error = NULL;

  g_assert_cmpuint (disk->size, ==, size);
  h2k_disk_pread (disk, 0, size, got, &error);
  g_assert_no_error (error);
  g_assert_true (memcmp (got, expected, size) == 0);
  for (guint i = 0; i < 100; i++)
    {
      gsize offset = g_rand_int (rand) % size;
      gsize most = MIN (size - offset, i % 2 ? 5000 : 3 * MIB);
      gsize length = 1 + g_rand_int (rand) % most;
      h2k_disk_pread (disk, offset, length, got, &error);
      g_assert_no_error (error);
      g_assert_true (memcmp (got, expected + offset, length) == 0);
    }
}

/* The image NAME reads as qemu-img reads it as QEMU_FORMAT. Returns the bytes of data. */
static inline guint64
check_as_qemu (Fixture *f, const char *name, const char *format, const char *qemu_format)
{
  g_autoptr (H2kDisk) disk = open_disk (f, name, NULL);
  g_autofree guint8 *expected = NULL;
  gsize size;

  g_assert_cmpstr (disk->format, ==, format);
  g_assert_false (h2k_disk_is_writable (disk));
  run (f, "qemu-img convert -U -t unsafe -f %s -O raw %s expected.raw", qemu_format, name);
  expected = load (f, "expected.raw", &size);
  check_content (disk, expected, size);
  return check_extents (disk, expected);
}

/* Random writes by QEMU. */
static inline void
scribble (Fixture *f, const char *name, const char *qemu_format, guint64 size, guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autoptr (GString) command = g_string_new ("qemu-io -t unsafe");

  for (guint i = 0; i < 20; i++)
    {
      guint64 offset = (guint64)(g_rand_double (rand) * (double)size) / 512 * 512;
      guint64 wanted = (1 + g_rand_int (rand) % 400) * 512;
      g_string_append_printf (command,
                              " -c 'write -P %d %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "'",
                              g_rand_int_range (rand, 0, 256), offset, MIN (wanted, size - offset));
    }
  run (f, "%s -f %s %s", command->str, qemu_format, name);
}

static inline void
expect_refusal (Fixture *f, const char *name, const char *format, H2kError code, const char *words)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, format, &error);

  if (disk)
    g_error ("opened, but \"%s\" was expected", words);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, words))
    g_error ("\"%s\" is not in: %s", words, error->message);
}

static inline void
expect_read_error (Fixture *f, const char *name, guint64 offset, const char *words)
{
  g_autoptr (H2kDisk) disk = open_disk (f, name, NULL);
  g_autoptr (GError) error = NULL;
  guint8 buffer[512];

  g_assert_false (h2k_disk_pread (disk, offset, sizeof buffer, buffer, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  if (!strstr (error->message, words))
    g_error ("\"%s\" is not in: %s", words, error->message);
}
