/* test-copy.c - the engine and its writers: what comes out is what went in, whatever the layout,
 * the format, the compression and the number of threads; and nothing comes out when something
 * fails.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KiB ((guint64)1 << 10)
#define MiB ((guint64)1 << 20)
#define GiB ((guint64)1 << 30)
#define TiB ((guint64)1 << 40)

typedef struct
{
  const char *name;
  H2kOutputOptions options;
} Variant;

static const Variant variants[] = {
    {"qcow2", {.format = "qcow2"}},
    {"raw", {.format = "raw"}},
    {"qcow2-zlib", {.format = "qcow2", .compression = H2K_COMPRESS_ZLIB}},
    {"qcow2-zstd", {.format = "qcow2", .compression = H2K_COMPRESS_ZSTD}},
    {"qcow2-512", {.format = "qcow2", .cluster_size = 512}},
    {"qcow2-4k-zlib", {.format = "qcow2", .cluster_size = 4096, .compression = H2K_COMPRESS_ZLIB}},
    {"qcow2-2m-zstd",
     {.format = "qcow2", .cluster_size = 2u << 20, .compression = H2K_COMPRESS_ZSTD, .sync = TRUE}},
    {"qcow2-v2", {.format = "qcow2", .compat = 2, .cluster_size = 16384}},
    {"vmdk", {.format = "vmdk"}},
    {"vhdx", {.format = "vhdx", .block_size = 1u << 20}},
    {"vhd", {.format = "vhd"}},
};

/* Convert with 1, 2 and 8 threads: the same bytes each time, and qemu-img sees the same disk. */
static void
check_layout (LayoutDisk *d, const char *dir, const Variant *variant)
{
  static const guint threads[] = {1, 2, 8};
  g_autofree char *reference = g_build_filename (dir, "reference", NULL);
  g_autofree char *first = NULL;

  layout_write_reference (d, reference);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    {
      g_autofree char *path = g_build_filename (dir, "output", NULL);
      g_autofree char *sum = NULL;
      g_autoptr (GError) error = NULL;
      const H2kOutputOptions *options = &variant->options;
      H2kCopyStats stats;
      struct stat st;

      convert (&d->disk, path, options, threads[i], NULL, &stats, &error);
      g_assert_no_error (error);
      g_assert_cmpint (stat (path, &st), ==, 0);
      g_assert_cmpuint (stats.bytes_total, ==, d->disk.size);
      g_assert_cmpuint (stats.bytes_skipped + stats.bytes_read, >=, stats.bytes_total);
      if (g_str_equal (options->format, "qcow2"))
        g_assert_cmpuint ((guint64)st.st_size
                              % (options->cluster_size ? options->cluster_size : 65536),
                          ==, 0);
      sum = file_sum (path);
      if (first)
        g_assert_cmpstr (sum, ==, first);
      else
        {
          first = g_strdup (sum);
          assert_qemu_agrees (path, options->format, reference);
        }
      g_assert_cmpint (unlink (path), ==, 0);
    }
  g_assert_cmpuint (count_entries (dir), ==, 1);
}

static void
test_layouts (gconstpointer data)
{
  static const guint64 sizes[] = {512, 64 * KiB, MiB + 512, 5 * MiB - 512, 9 * MiB + 4096};
  const Variant *variant = data;
  GRand *random;

  if (!have_qemu_img ())
    return;
  random = g_rand_new_with_seed (g_test_rand_int ());
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      char *dir = fixture_dir ();
      GArray *pieces = random_pieces (random, sizes[i], i % 2 ? 64 * KiB : MiB);
      LayoutDisk *d = layout_disk_new (pieces, i);

      check_layout (d, dir, variant);
      h2k_disk_unref (&d->disk);
      fixture_dir_remove (dir);
    }
  g_rand_free (random);
}

/* Uniform and huge disks. 600 MiB needs a second L2 table of the default kind, 2 TiB a great many,
 * nearly all of which must not be there. */
static void
test_special (gconstpointer data)
{
  static const Piece empty[] = {{MiB, CONTENT_UNALLOCATED}};
  static const Piece zeros[] = {{3 * MiB, CONTENT_DATA_ZERO}, {512, CONTENT_DATA_ZERO}};
  static const Piece full[] = {{5 * MiB + 1024, CONTENT_NOISE}};
  static const Piece wide[] = {{2 * MiB, CONTENT_TEXT},
                               {510 * MiB - 512, CONTENT_ZERO},
                               {2 * MiB, CONTENT_NOISE},
                               {86 * MiB, CONTENT_UNALLOCATED},
                               {512, CONTENT_TEXT}};
  static const Piece sparse[]
      = {{512, CONTENT_TEXT},      {TiB, CONTENT_UNALLOCATED},
         {MiB, CONTENT_NOISE},     {700 * GiB, CONTENT_ZERO},
         {64 * KiB, CONTENT_TEXT}, {324 * GiB - MiB - 64 * KiB - 512, CONTENT_UNALLOCATED}};
  static const struct
  {
    const Piece *pieces;
    guint n;
  } layouts[] = {{empty, 1}, {zeros, 2}, {full, 1}, {wide, 5}, {sparse, 6}};
  const Variant *variant = data;

  if (!have_qemu_img ())
    return;
  for (guint i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      char *dir = fixture_dir ();
      LayoutDisk *d = layout_disk_new (make_pieces (layouts[i].pieces, layouts[i].n), i);

      /* Clusters of 512 bytes map 128 GiB at most, a VHD has 2040 GiB, and qemu-img takes minutes
       * for the holes of a VMDK or VHDX. */
      if (d->disk.size < TiB
          || (variant->options.cluster_size != 512 && variant->options.format[0] != 'v'))
        check_layout (d, dir, variant);
      h2k_disk_unref (&d->disk);
      fixture_dir_remove (dir);
    }
}

/* A raw file of 2 TiB holds what is there and holes. */
static void
test_raw_sparse (void)
{
  static const Piece pieces[] = {{MiB, CONTENT_NOISE},
                                 {2 * TiB - 2 * MiB, CONTENT_UNALLOCATED},
                                 {512 * KiB, CONTENT_DATA_ZERO},
                                 {512 * KiB, CONTENT_TEXT}};
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 1);
  g_autofree char *path = g_build_filename (dir, "disk.raw", NULL);
  g_autofree char *reference = g_build_filename (dir, "reference", NULL);
  g_autoptr (GError) error = NULL;
  struct stat st;

  convert (&d->disk, path, &variants[1].options, 2, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmpuint ((guint64)st.st_size, ==, 2 * TiB);
  g_assert_cmpuint ((guint64)st.st_blocks * 512, <=, 2 * MiB);
  if (have_qemu_img ())
    {
      layout_write_reference (d, reference);
      assert_qemu_agrees (path, "raw", reference);
    }
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

static void
test_empty_disk (void)
{
  /* Some formats cannot be empty. */
  static const struct
  {
    const char *format;
    guint size;
  } least[] = {{"qcow2", 0}, {"raw", 0}, {"vmdk", 65536}, {"vhdx", 512}, {"vhd", 1048576}};
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (NULL, 0), 1);

  for (guint i = 0; have_qemu_img () && i < G_N_ELEMENTS (variants); i++)
    {
      g_autofree char *path = g_build_filename (dir, variants[i].name, NULL);
      g_autofree char *info = NULL;
      g_autoptr (GError) error = NULL;
      const char *format = variants[i].options.format;
      gboolean vhd = g_str_equal (format, "vhd");
      g_autofree char *size = NULL;

      for (guint k = 0; k < G_N_ELEMENTS (least); k++)
        if (g_str_equal (least[k].format, format))
          size = g_strdup_printf ("\"virtual-size\": %u,", least[k].size);
      convert (&d->disk, path, &variants[i].options, 2, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpint (run_program (&info, "qemu-img", "info", "-f", vhd ? "vpc" : format,
                                    "--output=json", path, NULL),
                       ==, 0);
      g_assert_nonnull (strstr (info, size));
      if (g_str_equal (format, "qcow2"))
        g_assert_cmpint (run_program (NULL, "qemu-img", "check", path, NULL), ==, 0);
    }
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* More compressed clusters than one refcount block counts, so that blocks lie between them. */
static void
test_many_refcount_blocks (void)
{
  static const Piece pieces[]
      = {{2 * MiB, CONTENT_TEXT}, {3 * MiB / 2, CONTENT_NOISE}, {2 * MiB, CONTENT_TEXT}};
  static const Variant small[] = {
      {"zlib", {.format = "qcow2", .cluster_size = 1024, .compression = H2K_COMPRESS_ZLIB}},
      {"zstd", {.format = "qcow2", .cluster_size = 1024, .compression = H2K_COMPRESS_ZSTD}},
      {"plain", {.format = "qcow2", .cluster_size = 1024}},
  };

  for (guint i = 0; have_qemu_img () && i < G_N_ELEMENTS (small); i++)
    {
      char *dir = fixture_dir ();
      LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 7);

      check_layout (d, dir, &small[i]);
      h2k_disk_unref (&d->disk);
      fixture_dir_remove (dir);
    }
}

/* QEMU reads deflate streams whose distances are longer than those that it writes itself. */
static void
test_far_distances (void)
{
  const H2kOutputOptions options = {.format = "qcow2", .compression = H2K_COMPRESS_ZLIB};
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (4 * MiB);
  g_autoptr (GRand) random = g_rand_new_with_seed (32);
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *cluster = g_malloc (64 * KiB);
  g_autofree char *image = g_malloc0 (4 * MiB);
  char *dir = fixture_dir ();
  g_autofree char *reference = g_build_filename (dir, "reference", NULL);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  H2kCopyStats stats;

  for (guint64 at = 0; at < disk->size; at += 64 * KiB)
    {
      for (guint i = 0; i < 64 * KiB; i++)
        cluster[i] = i < 24 * KiB ? (guint8)g_rand_int (random) : cluster[i - 24 * KiB];
      g_assert_true (h2k_disk_pwrite (disk, at, 64 * KiB, cluster, NULL));
      memcpy (image + at, cluster, 64 * KiB);
    }
  g_assert_true (g_file_set_contents (reference, image, 4 * MiB, &error));
  convert (disk, path, &options, 2, NULL, &stats, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (stats.bytes_written, <, 5 * MiB / 2); /* a window of 4 KiB would find nothing */
  if (have_qemu_img ())
    assert_qemu_agrees (path, "qcow2", reference);
  fixture_dir_remove (dir);
}

static void
test_skips_and_counts (void)
{
  static const Piece pieces[] = {{4 * MiB, CONTENT_NOISE},
                                 {32 * MiB, CONTENT_UNALLOCATED},
                                 {2 * MiB, CONTENT_DATA_ZERO},
                                 {2 * MiB, CONTENT_ZERO}};
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 3);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  g_autoptr (GError) error = NULL;
  H2kCopyStats stats;
  guint64 estimate;
  struct stat st;

  g_assert_true (h2k_copy_estimate (&d->disk, &estimate, &error));
  g_assert_cmpuint (estimate, ==, 6 * MiB);
  convert (&d->disk, path, &variants[0].options, 2, NULL, &stats, &error);
  g_assert_no_error (error);
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmpuint (stats.bytes_read, ==, 6 * MiB);
  g_assert_cmpuint (stats.bytes_zero, ==, 2 * MiB);
  g_assert_cmpuint (stats.bytes_skipped, ==, 34 * MiB);
  /* The header and four tables are a cluster each, of which little is not zero. */
  g_assert_cmpuint ((guint64)st.st_size, ==, 4 * MiB + 5 * 64 * KiB);
  g_assert_cmpuint (stats.bytes_written, ==, 4 * MiB + 5 * 4 * KiB);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* Unused blocks between used ones may be read along, but an error in them does not matter. */
typedef struct
{
  H2kDisk disk;
} HoleyDisk;

static gboolean
holey_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  if (offset < 12 * KiB && offset + length > 8 * KiB)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "a bad sector");
      return FALSE;
    }
  memset (buffer, 0x41, length);
  return TRUE;
}

static gboolean
holey_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  gboolean used = (offset / (4 * KiB)) % 2 == 1;

  *extent = (H2kExtent){offset, 4 * KiB - offset % (4 * KiB),
                        used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static void
test_error_in_unused_block (void)
{
  static const H2kDiskOps ops = {.pread = holey_pread, .extent = holey_extent};
  char *dir = fixture_dir ();
  HoleyDisk *d = g_new0 (HoleyDisk, 1);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;
  gsize length;

  h2k_disk_init (&d->disk, &ops, 64 * KiB, "test", "disk with a bad sector");
  convert (&d->disk, path, &variants[1].options, 1, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_file_get_contents (path, &text, &length, NULL));
  g_assert_cmpuint (length, ==, 64 * KiB);
  for (gsize i = 0; i < length; i++)
    g_assert_cmpint (text[i], ==, i / (4 * KiB) % 2 ? 0x41 : 0);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* --- failures --------------------------------------------------------------------------------- */

static void
test_read_error (void)
{
  static const Piece pieces[] = {{24 * MiB, CONTENT_TEXT}};

  for (guint i = 0; i < G_N_ELEMENTS (variants); i++)
    for (gint at = 1; at <= 12; at += 5)
      {
        char *dir = fixture_dir ();
        LayoutDisk *d = layout_disk_new (make_pieces (pieces, 1), 3);
        g_autofree char *path = g_build_filename (dir, "disk", NULL);
        g_autoptr (GError) error = NULL;

        d->fail_at = at;
        g_assert_false (convert (&d->disk, path, &variants[i].options, 4, NULL, NULL, &error));
        g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
        g_assert_nonnull (strstr (error->message, "injected"));
        g_assert_cmpuint (count_entries (dir), ==, 0);
        h2k_disk_unref (&d->disk);
        fixture_dir_remove (dir);
      }
}

static void
test_cancel (void)
{
  static const Piece pieces[] = {{24 * MiB, CONTENT_TEXT}};
  GRand *random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 21; i++)
    {
      char *dir = fixture_dir ();
      LayoutDisk *d = layout_disk_new (make_pieces (pieces, 1), 3);
      g_autofree char *path = g_build_filename (dir, "disk", NULL);
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      g_autoptr (GError) error = NULL;
      const Variant *variant = &variants[i % G_N_ELEMENTS (variants)];
      gboolean fails = i % 3 == 2;
      int expected = fails ? (int)H2K_ERROR_SOURCE : (int)H2K_ERROR_CANCELLED;
      guint threads = (guint)g_rand_int_range (random, 1, 9);

      /* A chunk is a read here (the largest clusters make 12), and each thread may be reading its
       * last one when the cancellation comes; one more chunk has to be asked for. */
      d->cancellable = cancellable;
      d->cancel_at = g_rand_int_range (random, 1, 4);
      /* The error that comes after the cancellation is the one to be told. */
      d->fail_at = fails ? d->cancel_at : 0;
      g_assert_false (
          convert (&d->disk, path, &variant->options, threads, cancellable, NULL, &error));
      g_assert_error (error, H2K_ERROR, expected);
      g_assert_cmpuint (count_entries (dir), ==, 0);
      h2k_disk_unref (&d->disk);
      fixture_dir_remove (dir);
    }
  g_rand_free (random);
}

static void
test_no_space (void)
{
  static const Piece pieces[] = {{24 * MiB, CONTENT_NOISE}};
  char *dir = fixture_dir ();

  if (mount ("tmpfs", dir, "tmpfs", 0, "size=4m"))
    {
      g_test_skip ("mounting a small filesystem needs root");
      fixture_dir_remove (dir);
      return;
    }
  for (guint i = 0; i < G_N_ELEMENTS (variants); i++)
    {
      LayoutDisk *d = layout_disk_new (make_pieces (pieces, 1), 3);
      g_autofree char *path = g_build_filename (dir, "disk", NULL);
      g_autoptr (GError) error = NULL;

      g_assert_false (convert (&d->disk, path, &variants[i].options, 4, NULL, NULL, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE);
      g_assert_nonnull (strstr (error->message, path));
      g_assert_nonnull (strstr (error->message, "needed"));
      g_assert_cmpuint (count_entries (dir), ==, 0);
      h2k_disk_unref (&d->disk);
    }
  g_assert_cmpint (umount2 (dir, MNT_DETACH), ==, 0);
  fixture_dir_remove (dir);
}

/* The limit is the process's, hence a process of its own. */
static void
test_file_size_limit (void)
{
  static const Piece pieces[] = {{24 * MiB, CONTENT_NOISE}};
  struct rlimit limit = {4 * MiB, 4 * MiB};
  char *dir;
  LayoutDisk *d;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;

  if (!g_test_subprocess ())
    {
      g_test_trap_subprocess (NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
      g_test_trap_assert_passed ();
      return;
    }
  signal (SIGXFSZ, SIG_IGN);
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &limit), ==, 0);
  dir = fixture_dir ();
  path = g_build_filename (dir, "disk", NULL);
  d = layout_disk_new (make_pieces (pieces, 1), 3);
  g_assert_false (convert (&d->disk, path, &variants[0].options, 2, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_cmpuint (count_entries (dir), ==, 0);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

static void
test_bad_geometry (void)
{
  static const Piece pieces[] = {{TiB, CONTENT_UNALLOCATED}};
  static const H2kOutputOptions bad[] = {
      {.format = "qcow2", .cluster_size = 512}, /* too small for 1 TiB */
      {.format = "qcow2", .cluster_size = 1000},
      {.format = "qcow2", .cluster_size = 4u << 20},
      {.format = "raw", .compression = H2K_COMPRESS_ZLIB},
      {.format = "vdi"},
      {.format = NULL},
  };
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, 1), 3);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_false (convert (&d->disk, path, &bad[i], 1, NULL, NULL, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
      g_assert_cmpuint (count_entries (dir), ==, 0);
    }
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* --- progress --------------------------------------------------------------------------------- */

typedef struct
{
  gint inside;
  guint calls;
  guint64 done;
  guint64 total;
} Progress;

static void
on_progress (const char *phase, guint64 done, guint64 total, gpointer data)
{
  Progress *p = data;

  g_assert_cmpint (g_atomic_int_add (&p->inside, 1), ==, 0);
  g_assert_cmpstr (phase, ==, "copying");
  g_assert_cmpuint (done, >=, p->done);
  g_assert_cmpuint (done, <=, total);
  p->calls++;
  p->done = done;
  p->total = total;
  g_atomic_int_add (&p->inside, -1);
}

static void
test_progress (void)
{
  static const Piece pieces[] = {{24 * MiB, CONTENT_NOISE}, {MiB, CONTENT_ZERO}};
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, 2), 3);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  g_autoptr (GError) error = NULL;
  Progress progress = {0};
  const H2kCopyOptions copy = {.threads = 4,
                               .progress_phase = "copying",
                               .progress = on_progress,
                               .progress_data = &progress};
  g_autoptr (H2kOutput) output
      = h2k_output_new (path, d->disk.size, &variants[0].options, NULL, &error);

  g_assert_no_error (error);
  h2k_copy (&d->disk, output, &copy, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (progress.calls, >=, 1);
  g_assert_cmpuint (progress.calls, <=, 24);
  g_assert_cmpuint (progress.done, ==, 24 * MiB);
  g_assert_cmpuint (progress.total, ==, 24 * MiB);
  h2k_disk_unref (&d->disk);
  g_clear_pointer (&output, h2k_output_free);
  fixture_dir_remove (dir);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (variants); i++)
    {
      g_autofree char *layouts = g_strconcat ("/copy/layouts/", variants[i].name, NULL);
      g_autofree char *special = g_strconcat ("/copy/special/", variants[i].name, NULL);
      g_test_add_data_func (layouts, &variants[i], test_layouts);
      g_test_add_data_func (special, &variants[i], test_special);
    }
  g_test_add_func ("/copy/raw-is-sparse", test_raw_sparse);
  g_test_add_func ("/copy/empty-disk", test_empty_disk);
  g_test_add_func ("/copy/many-refcount-blocks", test_many_refcount_blocks);
  g_test_add_func ("/copy/far-distances", test_far_distances);
  g_test_add_func ("/copy/skips-and-counts", test_skips_and_counts);
  g_test_add_func ("/copy/error-in-unused-block", test_error_in_unused_block);
  g_test_add_func ("/copy/read-error", test_read_error);
  g_test_add_func ("/copy/cancel", test_cancel);
  g_test_add_func ("/copy/no-space", test_no_space);
  g_test_add_func ("/copy/file-size-limit", test_file_size_limit);
  g_test_add_func ("/copy/bad-geometry", test_bad_geometry);
  g_test_add_func ("/copy/progress", test_progress);
  return g_test_run ();
}
