/* test-verify.c - the output read back, and overlays saved as qcow2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define KiB ((guint64)1 << 10)
#define MiB ((guint64)1 << 20)

typedef struct
{
  const char *name;
  H2kOutputOptions options;
} Variant;

static const Variant variants[] = {
    {"raw", {.format = "raw"}},
    {"qcow2", {.format = "qcow2"}},
    {"qcow2-zlib", {.format = "qcow2", .compression = H2K_COMPRESS_ZLIB}},
    {"qcow2-zstd", {.format = "qcow2", .compression = H2K_COMPRESS_ZSTD}},
};

static const Piece pieces[] = {{3 * MiB, CONTENT_NOISE},
                               {8 * MiB + 512, CONTENT_UNALLOCATED},
                               {2 * MiB, CONTENT_TEXT},
                               {2 * MiB - 512, CONTENT_DATA_ZERO},
                               {MiB, CONTENT_ZERO}};

/* Write BYTE to OFFSET of the file; FALSE when it is there already. */
static gboolean
poke (const char *path, guint64 offset, guint8 byte)
{
  int fd = open (path, O_RDWR);
  guint8 old;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (h2k_pread_full (fd, &old, 1, offset), ==, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, &byte, 1, offset), ==, 0);
  close (fd);
  return old != byte;
}

/* The output is found good without the source's being read again. */
static void
test_verify (gconstpointer data)
{
  const Variant *variant = data;
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 1);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  g_autoptr (GCancellable) cancelled = g_cancellable_new ();
  g_autoptr (H2kOutput) output = NULL;
  g_autoptr (GError) error = NULL;
  int reads;

  output = convert_and_keep (&d->disk, path, &variant->options, 2, NULL, NULL, &error);
  g_assert_no_error (error);
  reads = d->reads;
  h2k_verify (output, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (d->reads, ==, reads);

  g_cancellable_cancel (cancelled);
  g_assert_false (h2k_verify (output, NULL, cancelled, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* The first offset that MESSAGE names. */
static guint64
named_offset (const GError *error)
{
  const char *p = strstr (error->message, "offset ");

  g_assert_nonnull (p);
  return g_ascii_strtoull (p + 7, NULL, 10);
}

/* One wrong byte anywhere in the file's data is found. */
static void
test_wrong_byte (gconstpointer data)
{
  const Variant *variant = data;
  GRand *random = g_rand_new_with_seed (g_test_rand_int ());
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, 1), 1); /* plain clusters in any case */
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  gboolean raw = g_str_equal (variant->options.format, "raw");

  for (guint i = 0; i < 8; i++)
    {
      H2kOutputOptions options = variant->options;
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kOutput) output = NULL;
      guint64 at = (guint64)g_rand_int (random) % (3 * MiB);

      options.force = i > 0;
      output = convert_and_keep (&d->disk, path, &options, 2, NULL, NULL, &error);
      g_assert_no_error (error);
      /* A header and an L2 table come before the first cluster. */
      if (!poke (path, at + (raw ? 0 : 128 * KiB), 0x55))
        continue;
      g_assert_false (h2k_verify (output, NULL, NULL, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_VERIFY);
      g_assert_cmpuint (named_offset (error), ==, at - at % (2 * MiB));
      g_assert_nonnull (strstr (error->message, path));
    }
  g_rand_free (random);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

static void
test_first_difference (void)
{
  char *dir = fixture_dir ();
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 1);
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  const H2kCopyOptions copy = {.threads = 8};
  g_autoptr (H2kOutput) output = NULL;
  g_autoptr (GError) error = NULL;

  output = convert_and_keep (&d->disk, path, &variants[0].options, 2, NULL, NULL, &error);
  g_assert_no_error (error);
  /* Where the source has nothing; then in data as well. */
  g_assert_true (poke (path, 9 * MiB, 1));
  g_assert_false (h2k_verify (output, &copy, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_VERIFY);
  g_assert_cmpuint (named_offset (error), ==, 9 * MiB);
  g_clear_error (&error);
  poke (path, 2 * MiB + 7, 0x55);
  poke (path, 2 * MiB + 9, 0x55);
  poke (path, 2 * MiB + 10, 0xaa);
  for (guint i = 0; i < 10; i++)
    {
      g_assert_false (h2k_verify (output, &copy, NULL, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_VERIFY);
      g_assert_cmpuint (named_offset (error), ==, 2 * MiB);
      g_clear_error (&error);
    }
  g_assert_cmpint (truncate (path, 16 * MiB), ==, 0);
  g_assert_false (h2k_verify (output, &copy, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_VERIFY);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

/* --- overlays --------------------------------------------------------------------------------- */

/* A base on disk in a file, an overlay with changes of all kinds, saved; and the overlay's content
 * as a raw file. SIZE need not be whole clusters. */
static void
check_saved_overlay (guint64 size, guint changes, guint32 seed)
{
  char *dir = fixture_dir ();
  g_autofree char *base_path = g_build_filename (dir, "base.raw", NULL);
  g_autofree char *path = g_build_filename (dir, "clone.qcow2", NULL);
  g_autofree char *flat = g_build_filename (dir, "flat.raw", NULL);
  g_autofree char *info = NULL;
  GRand *random = g_rand_new_with_seed (seed);
  LayoutDisk *d = layout_disk_new (random_pieces (random, size, MiB), seed);
  g_autoptr (H2kDisk) base = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *buffer = g_malloc (256 * KiB);
  struct stat st;
  mode_t mask;

  layout_write_reference (d, base_path);
  base = h2k_disk_open (base_path, "raw", &error);
  g_assert_no_error (error);
  overlay = h2k_overlay_new (base, dir, MiB);
  for (guint i = 0; i < changes; i++)
    {
      guint64 at = (guint64)g_rand_int (random) % size;
      guint64 longest = 1 + (guint64)g_rand_int (random) % (256 * KiB);
      guint64 n = MIN (longest, size - at);

      memset (buffer, (int)(i + 1), n);
      if (i % 3 == 2)
        h2k_disk_zero (overlay, at, n, &error);
      else
        h2k_disk_pwrite (overlay, at, n, buffer, &error);
      g_assert_no_error (error);
    }
  mask = umask (027);
  h2k_qcow2_save_overlay (overlay, path, 0666, base_path, "raw", NULL, &error);
  umask (mask);
  g_assert_no_error (error);
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 07777, ==, 0640);
  g_assert_cmpuint ((guint64)st.st_size, <=, h2k_overlay_bytes (overlay) + 6 * 64 * KiB);
  convert (overlay, flat, &variants[0].options, 2, NULL, NULL, &error);
  g_assert_no_error (error);
  assert_qemu_agrees (path, "qcow2", flat);
  g_assert_cmpint (run_program (&info, "qemu-img", "info", "--output=json", path, NULL), ==, 0);
  g_assert_nonnull (strstr (info, "\"backing-filename-format\": \"raw\""));
  g_assert_nonnull (strstr (info, base_path));

  g_assert_false (h2k_qcow2_save_overlay (overlay, path, 0666, base_path, "raw", NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  g_clear_error (&error);
  g_assert_false (
      h2k_qcow2_save_overlay (overlay, base_path, 0666, base_path, "raw", NULL, &error));
  g_assert_nonnull (error);
  g_rand_free (random);
  h2k_disk_unref (&d->disk);
  fixture_dir_remove (dir);
}

static void
test_save_overlay (void)
{
  static const guint64 sizes[] = {512, 64 * KiB, 5 * MiB + 512, 24 * MiB};

  for (guint i = 0; have_qemu_img () && i < G_N_ELEMENTS (sizes); i++)
    for (guint changes = 0; changes < 12; changes += 5)
      check_saved_overlay (sizes[i], changes, (guint32)g_test_rand_int ());
}

static void
test_long_backing_path (void)
{
  char *dir = fixture_dir ();
  g_autoptr (H2kDisk) base = h2k_memory_disk_new (MiB);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, dir, MiB);
  g_autofree char *path = g_build_filename (dir, "clone.qcow2", NULL);
  g_autofree char *name = g_strnfill (1023, 'b');
  g_autofree char *backing = g_build_filename ("/", name, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_false (h2k_qcow2_save_overlay (overlay, path, 0666, backing, "raw", NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_nonnull (strstr (error->message, "1023"));
  g_assert_cmpuint (count_entries (dir), ==, 0);
  fixture_dir_remove (dir);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (variants); i++)
    {
      g_autofree char *good = g_strconcat ("/verify/good/", variants[i].name, NULL);
      g_autofree char *wrong = g_strconcat ("/verify/wrong-byte/", variants[i].name, NULL);
      g_test_add_data_func (good, &variants[i], test_verify);
      g_test_add_data_func (wrong, &variants[i], test_wrong_byte);
    }
  g_test_add_func ("/verify/first-difference", test_first_difference);
  g_test_add_func ("/overlay/save", test_save_overlay);
  g_test_add_func ("/overlay/long-backing-path", test_long_backing_path);
  return g_test_run ();
}
