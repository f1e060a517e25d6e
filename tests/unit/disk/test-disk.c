/* test-disk.c - raw files and devices, what is refused, memory disks, slices, the checks in front.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "disk/disk.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define KIB 1024
#define MIB ((guint64)1 << 20)

static char *folder;

static char *
path_of (const char *name)
{
  return g_build_filename (folder, name, NULL);
}

/* A file of SIZE bytes with TEXT at OFFSET, holes elsewhere. */
static char *
make_file (const char *name, guint64 size, guint64 offset, const char *text)
{
  char *path = path_of (name);
  int fd = g_open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, text, strlen (text), offset), ==, 0);
  close (fd);
  return path;
}

static H2kDisk *
open_disk (const char *path, const char *format)
{
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, format, &error);

  g_assert_no_error (error);
  return disk;
}

static void
expect_refusal (const char *path, const char *format, H2kError code, const char *words)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_disk_open (path, format, &error));
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, words))
    g_error ("\"%s\" is not in: %s", words, error->message);
}

/* --- raw -------------------------------------------------------------------------------------- */

static void
test_raw_sparse (void)
{
  g_autofree char *path = make_file ("sparse.raw", 64 * MIB, 16 * MIB, "here");
  g_autoptr (H2kDisk) disk = open_disk (path, NULL);
  guint64 at = 0, data = 0;
  char buffer[8];
  H2kExtent extent;

  g_assert_cmpstr (disk->format, ==, "raw");
  g_assert_cmpuint (disk->size, ==, 64 * MIB);
  g_assert_cmpuint (disk->sector_size, ==, 512);
  g_assert_cmpstr (disk->files->pdata[0], ==, path);
  g_assert_false (h2k_disk_is_writable (disk));
  for (; at < disk->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      g_assert_cmpuint (extent.offset, ==, at);
      if (extent.kind == H2K_EXTENT_DATA)
        {
          g_assert_true (at <= 16 * MIB && 16 * MIB < at + extent.length);
          data += extent.length;
        }
    }
  g_assert_cmpuint (data, >, 0);
  if (data == disk->size)
    g_test_message ("this filesystem does not tell holes");
  else
    g_assert_cmpuint (data, <=, 2 * MIB);
  /* In the middle, and cut off. */
  g_assert_true (h2k_disk_extent (disk, 16 * MIB + 2, 16 * MIB + 3, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_cmpuint (extent.length, ==, 1);
  g_assert_true (h2k_disk_pread (disk, 16 * MIB, sizeof buffer, buffer, NULL));
  g_assert_cmpmem (buffer, sizeof buffer, "here\0\0\0\0", 8);
}

/* The last sector is filled up with zeros. */
static void
test_raw_odd_size (void)
{
  g_autofree char *path = make_file ("odd.raw", 1000, 996, "last");
  g_autoptr (H2kDisk) disk = open_disk (path, "raw");
  char buffer[512];
  H2kExtent extent;

  g_assert_cmpuint (disk->size, ==, 1024);
  memset (buffer, 'x', sizeof buffer);
  g_assert_true (h2k_disk_pread (disk, 512, sizeof buffer, buffer, NULL));
  g_assert_cmpmem (buffer + 484, 6, "last\0\0", 6);
  g_assert_true (h2k_is_zero (buffer + 488, 24));
  for (guint64 at = 0; at < 1024; at += extent.length)
    g_assert_true (h2k_disk_extent (disk, at, 1024, &extent, NULL));
  g_assert_true (h2k_disk_pread (disk, 1020, 4, buffer, NULL));
  g_assert_true (h2k_is_zero (buffer, 4));
}

/* The file is opened for reading only: nothing about it changes. */
static void
test_raw_untouched (void)
{
  g_autofree char *path = make_file ("ro.raw", 1 * MIB, 0, "data");
  struct stat before, after;
  char buffer[4];

  g_assert_cmpint (g_chmod (path, 0400), ==, 0);
  g_assert_cmpint (stat (path, &before), ==, 0);
  {
    g_autoptr (H2kDisk) disk = open_disk (path, NULL);
    g_autoptr (GError) error = NULL;
    g_assert_true (h2k_disk_pread (disk, 0, 4, buffer, NULL));
    g_assert_false (h2k_disk_pwrite (disk, 0, 4, buffer, &error));
    g_assert_nonnull (strstr (error->message, "for reading only"));
    g_clear_error (&error);
    g_assert_false (h2k_disk_zero (disk, 0, 4, &error));
    g_assert_error (error, H2K_ERROR, H2K_ERROR_FAILED);
  }
  g_assert_cmpint (stat (path, &after), ==, 0);
  g_assert_cmpint (before.st_mtim.tv_nsec, ==, after.st_mtim.tv_nsec);
  g_assert_cmpint (before.st_ctim.tv_nsec, ==, after.st_ctim.tv_nsec);
}

static void
test_shrinking_file (void)
{
  g_autofree char *path = make_file ("shrink.raw", 1 * MIB, 0, "data");
  g_autoptr (H2kDisk) disk = open_disk (path, NULL);
  g_autoptr (GError) error = NULL;
  char buffer[16];

  g_assert_cmpint (truncate (path, 4096), ==, 0);
  g_assert_false (h2k_disk_pread (disk, 8192, sizeof buffer, buffer, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "unexpected end of file"));
}

static void
test_block_device (void)
{
  g_autofree char *path = make_file ("loop.raw", 3 * MIB, 2 * MIB, "on a device");
  g_autofree char *device = NULL;
  struct loop_config config = {.block_size = 4096, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
  int control = g_open ("/dev/loop-control", O_RDWR | O_CLOEXEC, 0), loop = -1;
  int file = g_open (path, O_RDWR | O_CLOEXEC, 0);
  int number = control >= 0 ? ioctl (control, LOOP_CTL_GET_FREE) : -1;

  if (number >= 0)
    {
      device = g_strdup_printf ("/dev/loop%d", number);
      loop = g_open (device, O_RDWR | O_CLOEXEC, 0);
    }
  config.fd = (guint32)file;
  if (loop < 0 || ioctl (loop, LOOP_CONFIGURE, &config) != 0)
    g_test_skip ("there are no loop devices here, or root is needed for them");
  else
    {
      g_autoptr (H2kDisk) disk = open_disk (device, NULL);
      char buffer[11];
      H2kExtent extent;
      g_assert_cmpstr (disk->subformat, ==, "device");
      g_assert_cmpuint (disk->size, ==, 3 * MIB);
      g_assert_cmpuint (disk->sector_size, ==, 4096);
      g_assert_true (h2k_disk_pread (disk, 2 * MIB, sizeof buffer, buffer, NULL));
      g_assert_cmpmem (buffer, sizeof buffer, "on a device", 11);
      g_assert_true (h2k_disk_extent (disk, 0, disk->size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
      g_assert_cmpuint (extent.length, ==, 3 * MIB);
    }
  if (loop >= 0)
    close (loop);
  if (control >= 0)
    close (control);
  close (file);
}

/* --- refusals --------------------------------------------------------------------------------- */

static void
test_not_a_disk (void)
{
  g_autofree char *missing = path_of ("missing"), *fifo = path_of ("fifo"),
                  *socket_path = path_of ("socket"), *empty = make_file ("empty", 0, 0, "");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_strlcpy (address.sun_path, socket_path, sizeof address.sun_path);
  g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  expect_refusal (missing, NULL, H2K_ERROR_SOURCE, "No such file");
  expect_refusal (folder, NULL, H2K_ERROR_SOURCE, "is a folder");
  expect_refusal (fifo, NULL, H2K_ERROR_SOURCE, "is a FIFO");
  expect_refusal (socket_path, NULL, H2K_ERROR_SOURCE, "socket");
  expect_refusal ("/dev/null", "raw", H2K_ERROR_SOURCE, "is a character device");
  expect_refusal (empty, NULL, H2K_ERROR_FORMAT, "is empty");
  expect_refusal (empty, "raw", H2K_ERROR_FORMAT, "is empty");
  expect_refusal (empty, "qcow2", H2K_ERROR_FORMAT, "is not a qcow2 image");
  expect_refusal (empty, "nix", H2K_ERROR_USAGE, "the known ones are raw, ");
  expect_refusal ("evil\x1b[2J", NULL, H2K_ERROR_SOURCE, "evil\\x1b[2J");
  close (fd);
}

/* Containers are not taken for raw disks, unless the user says so. */
static void
test_foreign_containers (void)
{
  static const struct
  {
    guint64 offset;
    const char *magic, *words;
  } foreign[] = {
      {0, "\x1f\x8b\x08", "gzip"},
      {0, "\3757zXZ", "xz"},
      {257, "ustar", "tar"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (foreign); i++)
    {
      g_autofree char *path = make_file ("x", 1 * MIB, foreign[i].offset, foreign[i].magic);
      g_autoptr (H2kDisk) disk = NULL;
      expect_refusal (path, NULL, H2K_ERROR_UNSUPPORTED, foreign[i].words);
      disk = open_disk (path, "raw");
      g_assert_cmpuint (disk->size, ==, 1 * MIB);
    }
}

/* --- the wrappers, memory and slices ---------------------------------------------------------- */

static void
test_ranges (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (1 * MIB);
  static const guint64 ranges[][2] = {
      {MIB, 1}, {MIB - 1, 2}, {G_MAXUINT64, 1}, {1, G_MAXUINT64}, {G_MAXUINT64, G_MAXUINT64},
  };
  char buffer[2] = {0};
  H2kExtent extent;

  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    {
      g_autoptr (GError) read = NULL, write = NULL, zero = NULL;
      g_assert_false (h2k_disk_pread (disk, ranges[i][0], ranges[i][1], buffer, &read));
      g_assert_error (read, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_false (h2k_disk_pwrite (disk, ranges[i][0], ranges[i][1], buffer, &write));
      g_assert_error (write, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_false (h2k_disk_zero (disk, ranges[i][0], ranges[i][1], &zero));
      g_assert_error (zero, H2K_ERROR, H2K_ERROR_FORMAT);
    }
  g_assert_true (h2k_disk_pread (disk, MIB, 0, NULL, NULL));
  g_assert_false (h2k_disk_extent (disk, MIB, G_MAXUINT64, &extent, NULL));
  g_assert_false (h2k_disk_extent (disk, 10, 10, &extent, NULL));
  g_assert_true (h2k_disk_extent (disk, MIB - 1, G_MAXUINT64, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, 1);
}

static void
test_memory (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (1 * MIB + 100);
  g_autofree guint8 *all = g_malloc (disk->size);
  H2kExtent extent;

  g_assert_true (h2k_disk_is_writable (disk));
  g_assert_true (h2k_disk_pwrite (disk, 65530, 12, "over an edge", NULL));
  g_assert_true (h2k_disk_pread (disk, 0, disk->size, all, NULL));
  g_assert_cmpmem (all + 65530, 12, "over an edge", 12);
  g_assert_true (h2k_is_zero (all, 65530) && h2k_is_zero (all + 65542, disk->size - 65542));
  g_assert_true (h2k_disk_extent (disk, 100, G_MAXUINT64, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_cmpuint (extent.length, ==, 2 * 65536 - 100);
  g_assert_true (h2k_disk_zero (disk, 65536, 6, NULL));
  g_assert_true (h2k_disk_extent (disk, 65536, G_MAXUINT64, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, disk->size - 65536);
}

static void
test_slice (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (1 * MIB);
  g_autoptr (H2kDisk) slice = NULL, inner = NULL;
  g_autoptr (GError) error = NULL;
  static const guint64 bad[][2] = {{0, 0}, {MIB, 1}, {1, MIB}, {G_MAXUINT64, 2}, {2, G_MAXUINT64}};
  char buffer[4];
  H2kExtent extent;

  disk->sector_size = 4096;
  slice = h2k_slice_new (disk, 64 * KIB, 512 * KIB, "partition 1", &error);
  g_assert_no_error (error);
  inner = h2k_slice_new (slice, 64 * KIB, 64 * KIB, "inner", &error);
  g_assert_no_error (error);
  g_assert_cmpuint (slice->sector_size, ==, 4096);
  g_assert_cmpstr (slice->name, ==, "partition 1");
  g_assert_true (h2k_disk_pwrite (inner, 10, 4, "deep", &error));
  g_assert_true (h2k_disk_pread (disk, 128 * KIB + 10, 4, buffer, &error));
  g_assert_cmpmem (buffer, 4, "deep", 4);
  g_assert_true (h2k_disk_extent (slice, 0, G_MAXUINT64, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, 64 * KIB);
  g_assert_true (h2k_disk_extent (slice, 128 * KIB, G_MAXUINT64, &extent, NULL));
  g_assert_cmpuint (extent.offset, ==, 128 * KIB);
  g_assert_cmpuint (extent.length, ==, 384 * KIB);
  g_assert_true (h2k_disk_zero (inner, 0, 64 * KIB, NULL));
  g_assert_false (h2k_disk_pread (slice, 512 * KIB, 1, buffer, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) refusal = NULL;
      g_assert_null (h2k_slice_new (disk, bad[i][0], bad[i][1], "bad", &refusal));
      g_assert_error (refusal, H2K_ERROR, H2K_ERROR_FORMAT);
    }
}

/* The parent lives as long as its slice; a slice of what cannot be written cannot be either. */
static void
test_slice_of_raw (void)
{
  g_autofree char *path = make_file ("slice.raw", 1 * MIB, 4096, "part");
  H2kDisk *disk = open_disk (path, NULL);
  g_autoptr (H2kDisk) slice = h2k_slice_new (disk, 4096, 4096, "part", NULL);
  char buffer[4];

  h2k_disk_unref (disk);
  g_assert_false (h2k_disk_is_writable (slice));
  g_assert_true (h2k_disk_pread (slice, 0, 4, buffer, NULL));
  g_assert_cmpmem (buffer, 4, "part", 4);
  g_assert_cmpstr (slice->files->pdata[0], ==, path);
}

static void
test_cache (void)
{
  H2kCache *cache = h2k_cache_new (1000);
  GBytes *block;

  for (guint64 i = 0; i < 10; i++)
    {
      g_autoptr (GBytes) new = g_bytes_new_take (g_malloc0 (250), 250);
      h2k_cache_put (cache, i, new);
      block = h2k_cache_get (cache, 0); /* stays, since it is used */
      g_assert_nonnull (block);
      g_bytes_unref (block);
    }
  for (guint64 i = 1; i < 10; i++)
    {
      block = h2k_cache_get (cache, i);
      g_assert_true ((block != NULL) == (i >= 7));
      g_clear_pointer (&block, g_bytes_unref);
    }
  /* One that is too large is not kept, and what is in use outlives the cache. */
  block = g_bytes_new_take (g_malloc0 (2000), 2000);
  h2k_cache_put (cache, 99, block);
  g_bytes_unref (block);
  g_assert_null (h2k_cache_get (cache, 99));
  block = g_bytes_new_static ("kept", 4);
  h2k_cache_put (cache, 5, block);
  h2k_cache_free (cache);
  g_assert_cmpstr (g_bytes_get_data (block, NULL), ==, "kept");
  g_bytes_unref (block);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("h2k-disk-XXXXXX", NULL);
  g_test_add_func ("/disk/raw/sparse", test_raw_sparse);
  g_test_add_func ("/disk/raw/odd-size", test_raw_odd_size);
  g_test_add_func ("/disk/raw/is-never-written", test_raw_untouched);
  g_test_add_func ("/disk/raw/shrinking-file", test_shrinking_file);
  g_test_add_func ("/disk/raw/block-device", test_block_device);
  g_test_add_func ("/disk/refused/not-a-disk", test_not_a_disk);
  g_test_add_func ("/disk/refused/foreign-containers", test_foreign_containers);
  g_test_add_func ("/disk/ranges-are-checked", test_ranges);
  g_test_add_func ("/disk/memory", test_memory);
  g_test_add_func ("/disk/slice", test_slice);
  g_test_add_func ("/disk/slice-of-raw", test_slice_of_raw);
  g_test_add_func ("/disk/cache", test_cache);
  result = g_test_run ();
  {
    g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name (dir)))
      {
        g_autofree char *path = path_of (name);
        g_unlink (path);
      }
  }
  g_rmdir (folder);
  g_free (folder);
  return result;
}
