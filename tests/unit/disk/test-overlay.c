/* test-overlay.c - the copy-on-write overlay against a plain array, spilling, full disks, threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/disk.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#define KIB 1024
#define MIB (1024 * KIB)

/* A base that counts what is read from it; half of its clusters are unallocated. */
typedef struct
{
  H2kDisk disk;
  H2kDisk *memory;
  gint reads;
  guint64 bytes;
} CountingDisk;

static gboolean
counting_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  CountingDisk *counting = (CountingDisk *)disk;

  g_atomic_int_inc (&counting->reads);
  counting->bytes += length;
  return h2k_disk_pread (counting->memory, offset, length, buffer, error);
}

static gboolean
counting_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_disk_extent (((CountingDisk *)disk)->memory, offset, G_MAXUINT64, extent, error);
}

static void
counting_finalize (H2kDisk *disk)
{
  h2k_disk_unref (((CountingDisk *)disk)->memory);
}

static const H2kDiskOps counting_ops = {
    .pread = counting_pread,
    .extent = counting_extent,
    .finalize = counting_finalize,
};

static H2kDisk *
counting_disk_new (guint8 *content, gsize size, GRand *rand)
{
  CountingDisk *counting = g_new0 (CountingDisk, 1);

  h2k_disk_init (&counting->disk, &counting_ops, size, "counting", "base");
  counting->memory = h2k_memory_disk_new (size);
  for (gsize at = 0; at < size; at += 64 * KIB)
    if (!rand || g_rand_boolean (rand))
      {
        gsize n = MIN (64 * KIB, size - at);
        for (gsize i = 0; i < n; i++)
          content[at + i] = (guint8)(rand ? g_rand_int (rand) : (at + i) % 251 + 1);
        g_assert_true (h2k_disk_pwrite (counting->memory, at, n, content + at, NULL));
      }
  counting->bytes = 0;
  return &counting->disk;
}

static void
assert_content (H2kDisk *disk, const guint8 *expected)
{
  g_autofree guint8 *got = g_malloc (disk->size);
  g_autoptr (GError) error = NULL;

  h2k_disk_pread (disk, 0, disk->size, got, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (got, disk->size, expected, disk->size);
}

/* The extents cover the disk without gaps, and what they call zero is zero. */
static void
assert_extents (H2kDisk *disk, const guint8 *expected)
{
  g_autoptr (GError) error = NULL;
  H2kExtent extent;

  for (guint64 at = 0; at < disk->size; at += extent.length)
    {
      h2k_disk_extent (disk, at, disk->size, &extent, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (extent.offset, ==, at);
      g_assert_cmpuint (extent.length, >, 0);
      g_assert_cmpuint (extent.length, <=, disk->size - at);
      if (extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (expected + at, extent.length));
    }
}

/* Everything outside the listed changes is the base's; they are whole clusters, in order. */
static void
assert_changes (H2kDisk *overlay, const guint8 *base, const guint8 *expected)
{
  guint64 at = 0;
  H2kExtent change;

  while (h2k_overlay_next_change (overlay, at, &change))
    {
      g_assert_cmpuint (change.offset, >=, at);
      g_assert_cmpuint (change.offset % (64 * KIB), ==, 0);
      g_assert_true ((change.offset + change.length) % (64 * KIB) == 0
                     || change.offset + change.length == overlay->size);
      g_assert_cmpmem (base + at, change.offset - at, expected + at, change.offset - at);
      if (change.kind == H2K_EXTENT_ZERO)
        g_assert_true (h2k_is_zero (expected + change.offset, change.length));
      at = change.offset + change.length;
    }
  g_assert_cmpmem (base + at, overlay->size - at, expected + at, overlay->size - at);
}

static void
random_operation (H2kDisk *overlay, guint8 *expected, GRand *rand)
{
  g_autoptr (GError) error = NULL;
  guint64 size = overlay->size, offset = (guint64)g_rand_int_range (rand, 0, (int)size);
  guint64 most = g_rand_int_range (rand, 0, 20) ? 200 * KIB : 6 * MIB;
  guint64 wanted = (guint64)g_rand_int_range (rand, 1, (int)most);
  guint64 length = MIN (size - offset, wanted);
  g_autofree guint8 *data = g_malloc0 (length);

  switch (g_rand_int_range (rand, 0, 4))
    {
    case 0: /* block-aligned, as filesystems write */
      offset &= ~(guint64)4095;
      length = MIN (size - offset, (length + 4095) / 4096 * 4096);
      data = g_realloc (data, length);
      G_GNUC_FALLTHROUGH;
    case 1:
      for (guint64 i = 0; i < length; i++)
        data[i] = (guint8)(i / 8192 % 3 ? g_rand_int (rand) : 0);
      h2k_disk_pwrite (overlay, offset, length, data, &error);
      memcpy (expected + offset, data, length);
      break;
    case 2:
      h2k_disk_zero (overlay, offset, length, &error);
      memset (expected + offset, 0, length);
      break;
    default:
      h2k_disk_pread (overlay, offset, length, data, &error);
      g_assert_cmpmem (data, length, expected + offset, length);
    }
  g_assert_no_error (error);
}

static void
test_property (gconstpointer limit)
{
  static const gsize sizes[] = {13 * MIB, 9 * MIB + 512, 64 * KIB + 4096 + 1536, 512};

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (GRand) rand = g_rand_new_with_seed (4711 + i);
      g_autofree guint8 *base = g_malloc0 (sizes[i]), *expected = NULL;
      g_autoptr (H2kDisk) disk = counting_disk_new (base, sizes[i], rand);
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, GPOINTER_TO_SIZE (limit));

      expected = g_memdup2 (base, sizes[i]);
      for (guint n = 0; n < 300; n++)
        {
          random_operation (overlay, expected, rand);
          if (n % 60 == 59)
            {
              assert_content (overlay, expected);
              assert_extents (overlay, expected);
              assert_changes (overlay, base, expected);
            }
        }
      g_assert_cmpuint (h2k_overlay_bytes (overlay), <=, sizes[i] + 64 * KIB);
      assert_content (disk, base);
      h2k_overlay_reset (overlay);
      g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 0);
      assert_content (overlay, base);
    }
}

static void
test_cost (void)
{
  gsize size = 8 * MIB;
  g_autofree guint8 *base = g_malloc0 (size), *buffer = g_malloc0 (size);
  g_autoptr (H2kDisk) disk = counting_disk_new (base, size, NULL);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 64 * MIB);
  CountingDisk *counting = (CountingDisk *)disk;
  H2kExtent extent;

  /* Whole blocks are written without reading; a part of one reads that block. */
  memset (buffer, 7, size);
  g_assert_true (h2k_disk_pwrite (overlay, 4096, 8192, buffer, NULL));
  g_assert_cmpuint (counting->bytes, ==, 0);
  g_assert_true (h2k_disk_pwrite (overlay, 1 * MIB + 100, 8, buffer, NULL));
  g_assert_cmpuint (counting->bytes, ==, 4096);
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 128 * KIB);

  /* Zeros take no place, whichever way they are written. */
  g_assert_true (h2k_disk_zero (overlay, 4 * MIB, 4 * MIB, NULL));
  memset (buffer, 0, size);
  g_assert_true (h2k_disk_pwrite (overlay, 2 * MIB, 1 * MIB, buffer, NULL));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 128 * KIB);
  g_assert_true (h2k_disk_extent (overlay, 4 * MIB, size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_ZERO);
  g_assert_cmpuint (extent.length, ==, 4 * MIB);
  g_assert_true (h2k_overlay_next_change (overlay, 3 * MIB, &extent));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_ZERO);
  g_assert_cmpuint (extent.offset, ==, 4 * MIB);
  g_assert_cmpuint (extent.length, ==, 4 * MIB);

  /* A written cluster that becomes zero gives its place back. */
  g_assert_true (h2k_disk_zero (overlay, 0, 64 * KIB, NULL));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 64 * KIB);

  /* An unchanged range is one read of the base. */
  counting->reads = 0;
  g_assert_true (h2k_disk_pread (overlay, 3 * MIB, 1 * MIB, buffer, NULL));
  g_assert_cmpint (counting->reads, ==, 1);
}

/* Zeroing and reading a very large disk neither takes long nor much memory. */
static void
test_huge (void)
{
  g_autoptr (H2kDisk) base = h2k_memory_disk_new ((guint64)64 << 40);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, NULL, 1 * MIB);
  H2kExtent extent;
  guint8 byte = 1;
  guint64 at = 0;

  g_assert_true (h2k_disk_zero (overlay, (guint64)1 << 40, (guint64)1 << 37, NULL));
  g_assert_true (h2k_disk_pwrite (overlay, ((guint64)64 << 40) - 1, 1, &byte, NULL));
  g_assert_true (h2k_overlay_next_change (overlay, 0, &extent));
  g_assert_cmpuint (extent.offset, ==, (guint64)1 << 40);
  g_assert_cmpuint (extent.length, ==, (guint64)1 << 37);
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 64 * KIB);
  byte = 0;
  g_assert_true (h2k_disk_pread (overlay, ((guint64)64 << 40) - 1, 1, &byte, NULL));
  g_assert_cmpuint (byte, ==, 1);
  for (guint n = 0; at < overlay->size; n++, at += extent.length)
    {
      g_assert_true (h2k_disk_extent (overlay, at, overlay->size, &extent, NULL));
      g_assert_cmpuint (n, <, 2000000);
    }
}

static void
assert_no_space (H2kDisk *overlay)
{
  g_autofree guint8 *data = g_malloc (1 * MIB), *back = g_malloc (1 * MIB);
  g_autoptr (GError) error = NULL;
  guint64 at;

  memset (data, 0x5a, 1 * MIB);
  for (at = 0; at < 16 * MIB; at += 1 * MIB)
    if (!h2k_disk_pwrite (overlay, at, 1 * MIB, data, &error))
      break;
  g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE);
  g_assert_nonnull (strstr (error->message, "--temp-dir"));
  g_assert_nonnull (strstr (error->message, " free"));
  g_assert_cmpuint (at, >, 0);
  /* What was written before is still there. */
  g_assert_true (h2k_disk_pread (overlay, at - 1 * MIB, 1 * MIB, back, NULL));
  g_assert_cmpmem (back, 1 * MIB, data, 1 * MIB);
}

static void
test_file_limit (void)
{
  g_autoptr (H2kDisk) base = h2k_memory_disk_new (16 * MIB);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, NULL, 2 * MIB);
  struct rlimit old, low;

  g_assert_cmpint (getrlimit (RLIMIT_FSIZE, &old), ==, 0);
  low = old;
  low.rlim_cur = 3 * MIB;
  signal (SIGXFSZ, SIG_IGN);
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &low), ==, 0);
  assert_no_space (overlay);
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &old), ==, 0);
}

static void
test_full_filesystem (void)
{
  g_autofree char *folder = g_dir_make_tmp ("h2k-overlay-XXXXXX", NULL);

  if (mount ("tmpfs", folder, "tmpfs", 0, "size=4m") != 0)
    g_test_skip ("mounting a small tmpfs needs root");
  else
    {
      g_autoptr (H2kDisk) base = h2k_memory_disk_new (16 * MIB);
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, folder, 1 * MIB);
      assert_no_space (overlay);
      /* The space comes back, and nothing is left in the folder. */
      h2k_overlay_reset (overlay);
      assert_no_space (overlay);
      g_clear_pointer (&overlay, h2k_disk_unref);
      g_assert_cmpint (umount (folder), ==, 0);
    }
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

static void
test_no_temp_dir (void)
{
  g_autoptr (H2kDisk) base = h2k_memory_disk_new (1 * MIB);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, "/nonexistent/folder", 0);
  g_autoptr (GError) error = NULL;

  g_assert_false (h2k_disk_pwrite (overlay, 0, 4, "data", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_nonnull (strstr (error->message, "/nonexistent/folder"));
}

typedef struct
{
  H2kDisk *overlay;
  const guint8 *base;
  gint stop;
} Race;

/* Each 8-byte word is either the base's or the writer's. */
static gpointer
read_all_the_time (gpointer data)
{
  Race *race = data;
  g_autofree guint8 *buffer = g_malloc (1 * MIB);
  H2kExtent extent;
  gsize loops = 0;

  for (guint64 at = 0; !g_atomic_int_get (&race->stop) || loops == 0; loops++)
    {
      g_assert_true (h2k_disk_pread (race->overlay, at, 1 * MIB, buffer, NULL));
      g_assert_true (h2k_disk_extent (race->overlay, at, G_MAXUINT64, &extent, NULL));
      for (gsize i = 0; i < 1 * MIB; i++)
        g_assert_true (buffer[i] == race->base[at + i] || buffer[i] == 0xee || buffer[i] == 0);
      at = (at + 768 * KIB) % (7 * MIB);
    }
  return NULL;
}

static void
test_threads (void)
{
  gsize size = 8 * MIB;
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  g_autofree guint8 *base = g_malloc0 (size), *data = g_malloc (64 * KIB);
  g_autoptr (H2kDisk) disk = counting_disk_new (base, size, NULL);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 * MIB);
  Race race = {overlay, base, 0};
  GThread *threads[3];

  memset (data, 0xee, 64 * KIB);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("reader", read_all_the_time, &race);
  for (guint i = 0; i < 400; i++)
    {
      guint64 at = (guint64)g_rand_int_range (rand, 0, (int)size - 64 * KIB);
      guint64 length = (guint64)g_rand_int_range (rand, 1, 64 * KIB);
      if (i % 3)
        g_assert_true (h2k_disk_pwrite (overlay, at, length, data, NULL));
      else
        g_assert_true (h2k_disk_zero (overlay, at, length, NULL));
    }
  g_atomic_int_set (&race.stop, 1);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

/* Where the disk says that bytes lie in a file they are the disk's; changes are not in it. */
static void
test_stored (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (77);
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("h2k-stored-XXXXXX", &path, NULL);
  g_autoptr (H2kDisk) base = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (H2kDisk) slice = NULL;
  guint8 there[4096], here[4096];
  guint64 in_file = 0;

  g_assert_cmpint (fd, >=, 0);
  for (guint64 at = 0; at < 2 * MIB; at += sizeof there)
    {
      for (gsize i = 0; i < sizeof there; i++)
        there[i] = (guint8)g_rand_int (rand);
      g_assert_cmpint (pwrite (fd, there, sizeof there, (off_t)at), ==, sizeof there);
    }
  close (fd);
  base = h2k_disk_open (path, "raw", NULL);
  overlay = h2k_overlay_new (base, NULL, MIB);
  slice = h2k_slice_new (overlay, 512, 2 * MIB - 1024, "part", NULL);
  g_assert_nonnull (slice);
  for (guint i = 0; i < 20; i++)
    {
      guint64 at = (guint64)g_rand_int_range (rand, 0, 2 * MIB - 8192);
      memset (here, (int)i, sizeof here);
      g_assert_true (i % 5 ? h2k_disk_pwrite (overlay, at, 777, here, NULL)
                           : h2k_disk_zero (overlay, at, 5000, NULL));
    }
  for (guint64 at = 0; at < slice->size; at += 512)
    {
      gsize n = (gsize)MIN (sizeof there, slice->size - at);
      H2kStored stored;

      if (!h2k_disk_stored (slice, at, n, &stored))
        continue;
      n = (gsize)stored.length;
      g_assert_cmpuint (n, >, 0);
      g_assert_cmpint (pread (stored.fd, there, n, (off_t)stored.offset), ==, n);
      g_assert_true (h2k_disk_pread (slice, at, n, here, NULL));
      g_assert_cmpmem (there, n, here, n);
      in_file += MIN (n, 512);
    }
  g_assert_cmpuint (in_file, >, slice->size / 2);
  g_assert_cmpuint (in_file, <, slice->size - 20 * 512);
  g_unlink (path);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/overlay/equals-an-array/in-memory", GSIZE_TO_POINTER (64 * MIB),
                        test_property);
  g_test_add_data_func ("/overlay/equals-an-array/spilling", GSIZE_TO_POINTER (256 * KIB),
                        test_property);
  g_test_add_data_func ("/overlay/equals-an-array/all-spilled", GSIZE_TO_POINTER (0),
                        test_property);
  g_test_add_func ("/overlay/reads-and-stores-only-what-changes", test_cost);
  g_test_add_func ("/overlay/says-what-lies-in-a-file", test_stored);
  g_test_add_func ("/overlay/huge-disk", test_huge);
  g_test_add_func ("/overlay/file-size-limit-is-no-space", test_file_limit);
  g_test_add_func ("/overlay/full-filesystem-is-no-space", test_full_filesystem);
  g_test_add_func ("/overlay/missing-temp-dir", test_no_temp_dir);
  g_test_add_func ("/overlay/readers-beside-a-writer", test_threads);
  return g_test_run ();
}
