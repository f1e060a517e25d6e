/* test-resume.c - interrupted copies that are taken up: what comes out is what an uninterrupted run
 * makes, whatever was left by the interrupted one, and what was copied is not read again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KiB ((guint64)1 << 10)
#define MiB ((guint64)1 << 20)
#define IDENTITY "source: a layout\noptions: none"

typedef struct
{
  const char *name;
  H2kOutputOptions options;
} Variant;

static const Variant variants[] = {
    {"raw", {.format = "raw"}},
    {"qcow2", {.format = "qcow2"}},
    {"qcow2-4k", {.format = "qcow2", .cluster_size = 4096}},
    {"qcow2-zlib", {.format = "qcow2", .compression = H2K_COMPRESS_ZLIB}},
    {"qcow2-zstd", {.format = "qcow2", .compression = H2K_COMPRESS_ZSTD}},
    {"vmdk", {.format = "vmdk"}},
    {"vhd", {.format = "vhd"}},
    {"vhdx", {.format = "vhdx"}},
    {"vhdx-1m", {.format = "vhdx", .block_size = 1 << 20}},
};

typedef struct
{
  char *dir, *path;
  H2kOutputOptions options;
  H2kCopyStats stats;
} Fixture;

static void
fixture_init (Fixture *f, const H2kOutputOptions *options)
{
  *f = (Fixture){.dir = fixture_dir (), .options = *options};
  f->path = g_build_filename (f->dir, "disk", NULL);
  f->options.resume = TRUE;
  f->options.identity = IDENTITY;
}

static void
fixture_clear (Fixture *f)
{
  fixture_dir_remove (f->dir);
  g_free (f->path);
}

static LayoutDisk *
make_disk (guint32 seed)
{
  g_autoptr (GRand) random = g_rand_new_with_seed (seed);

  return layout_disk_new (random_pieces (random, 20 * MiB + 512 * (seed % 5), 4 * MiB), seed);
}

/* What an uninterrupted run makes. */
static char *
reference_sum (H2kDisk *disk, const H2kOutputOptions *options)
{
  H2kOutputOptions plain = *options;
  char *dir = fixture_dir ();
  g_autofree char *path = g_build_filename (dir, "disk", NULL);
  g_autoptr (GError) error = NULL;
  char *sum;

  plain.resume = FALSE;
  convert (disk, path, &plain, 2, NULL, NULL, &error);
  g_assert_no_error (error);
  sum = file_sum (path);
  fixture_dir_remove (dir);
  return sum;
}

/* A run that fails at its read number FAIL_AT; FALSE: it came to its end before. */
static gboolean
interrupt (Fixture *f, LayoutDisk *d, gint fail_at)
{
  g_autoptr (GError) error = NULL;
  gboolean ok;

  d->fail_at = d->reads + fail_at;
  ok = convert (&d->disk, f->path, &f->options, 2, NULL, &f->stats, &error);
  d->fail_at = 0;
  if (ok)
    return FALSE;
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
  g_assert_cmpuint (count_entries (f->dir), ==, 2);
  return TRUE;
}

static void
finish (Fixture *f, H2kDisk *disk, const char *sum)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kOutput) output
      = convert_and_keep (disk, f->path, &f->options, 2, NULL, &f->stats, &error);
  g_autofree char *mine = NULL;

  g_assert_no_error (error);
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
  mine = file_sum (f->path);
  g_assert_cmpstr (mine, ==, sum);
  h2k_verify (output, NULL, NULL, &error);
  g_assert_no_error (error);
}

static void
test_interrupted (gconstpointer data)
{
  const Variant *variant = data;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 6; i++)
    {
      LayoutDisk *d = make_disk (g_rand_int (random));
      g_autofree char *sum = reference_sum (&d->disk, &variant->options);
      guint stops = 1 + i % 3;
      Fixture f;

      fixture_init (&f, &variant->options);
      while (stops-- && interrupt (&f, d, 1 + g_rand_int_range (random, 0, 9)))
        ;
      if (g_file_test (f.path, G_FILE_TEST_EXISTS))
        g_assert_cmpint (g_unlink (f.path), ==, 0);
      finish (&f, &d->disk, sum);
      h2k_disk_unref (&d->disk);
      fixture_clear (&f);
    }
}

/* Nearly at the end: nearly nothing is read again. */
static void
test_not_read_twice (gconstpointer data)
{
  static const Piece pieces[] = {{40 * MiB, CONTENT_TEXT}, {40 * MiB, CONTENT_NOISE}};
  const Variant *variant = data;
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 5);
  g_autofree char *sum = reference_sum (&d->disk, &variant->options);
  gboolean interrupted;
  Fixture f;

  fixture_init (&f, &variant->options);
  interrupted = interrupt (&f, d, 38);
  g_assert_true (interrupted);
  finish (&f, &d->disk, sum);
  g_assert_cmpuint (f.stats.bytes_resumed, >=, 48 * MiB);
  g_assert_cmpuint (f.stats.bytes_read, <=, 32 * MiB);
  g_assert_cmpuint (f.stats.bytes_read + f.stats.bytes_resumed, ==, 80 * MiB);
  h2k_disk_unref (&d->disk);
  fixture_clear (&f);
}

/* The path of what was left, by its suffix. */
static char *
find_left (Fixture *f, const char *suffix)
{
  g_autoptr (GDir) d = g_dir_open (f->dir, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (d)))
    if (g_str_has_suffix (name, suffix))
      return g_build_filename (f->dir, name, NULL);
  g_assert_not_reached ();
}

/* Wrong bytes in what was left, or an end that is missing. */
static void
damage (const char *path, GRand *random, gboolean cut)
{
  struct stat st;
  int fd = open (path, O_RDWR);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (fstat (fd, &st), ==, 0);
  for (guint i = 0; !cut && i < 20; i++)
    {
      guint8 byte = (guint8)g_rand_int (random);
      off_t at = (off_t)(g_rand_double (random) * (double)st.st_size);
      g_assert_cmpint (h2k_pwrite_full (fd, &byte, 1, (guint64)at), ==, 0);
    }
  if (cut)
    g_assert_cmpint (ftruncate (fd, (off_t)(g_rand_double (random) * (double)st.st_size)), ==, 0);
  close (fd);
}

static void
test_damaged (gconstpointer data)
{
  const Variant *variant = data;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 4; i++)
    {
      LayoutDisk *d = make_disk (g_rand_int (random) | 1);
      g_autofree char *sum = reference_sum (&d->disk, &variant->options);
      Fixture f;

      fixture_init (&f, &variant->options);
      if (interrupt (&f, d, 4 + (gint)i % 3))
        {
          g_autofree char *left = find_left (&f, i & 1 ? ".part" : ".log");
          damage (left, random, i & 2);
        }
      else
        g_assert_cmpint (g_unlink (f.path), ==, 0);
      /* The header says of what it is a journal: without one all is copied anew. */
      {
        g_autoptr (GError) error = NULL;
        if (!convert (&d->disk, f.path, &f.options, 2, NULL, NULL, &error))
          {
            g_assert_false (i & 1);
            f.options.resume = FALSE;
          }
        else
          g_assert_cmpint (g_unlink (f.path), ==, 0);
        finish (&f, &d->disk, sum);
      }
      h2k_disk_unref (&d->disk);
      fixture_clear (&f);
    }
}

/* What the repairs change is never taken from the interrupted run, and what they do not change any
 * more is not left over. */
static void
test_changes (gconstpointer data)
{
  static const Piece pieces[]
      = {{8 * MiB, CONTENT_TEXT}, {8 * MiB, CONTENT_UNALLOCATED}, {24 * MiB, CONTENT_NOISE}};
  const Variant *variant = data;
  LayoutDisk *d = layout_disk_new (make_pieces (pieces, G_N_ELEMENTS (pieces)), 9);
  g_autofree guint8 *block = g_malloc (64 * KiB);

  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kDisk) first = h2k_overlay_new (&d->disk, NULL, MiB);
      g_autoptr (H2kDisk) second = h2k_overlay_new (&d->disk, NULL, MiB);
      g_autofree char *sum = NULL;
      H2kCopyOptions copy = {.threads = 2};
      g_autoptr (H2kOutput) output = NULL;
      g_autoptr (GError) error = NULL;
      Fixture f;

      memset (block, 0x11, 64 * KiB);
      g_assert_true (h2k_disk_pwrite (first, MiB, 64 * KiB, block, NULL));
      g_assert_true (h2k_disk_pwrite (first, 12 * MiB, 64 * KiB, block, NULL)); /* then unused */
      memset (block, 0x22, 64 * KiB);
      g_assert_true (h2k_disk_pwrite (second, MiB, 64 * KiB, block, NULL));
      if (i)
        g_assert_true (h2k_disk_pwrite (second, 5 * MiB, 64 * KiB, block, NULL));
      sum = reference_sum (second, &variant->options);

      fixture_init (&f, &variant->options);
      output = h2k_output_new (f.path, first->size, &f.options, NULL, &error);
      g_assert_no_error (error);
      copy.overlay = first;
      d->fail_at = d->reads + 14;
      g_assert_false (h2k_copy (first, output, &copy, NULL, NULL, NULL));
      d->fail_at = 0;
      h2k_output_free (output);

      copy.overlay = second;
      output = h2k_output_new (f.path, second->size, &f.options, NULL, &error);
      g_assert_no_error (error);
      h2k_copy (second, output, &copy, NULL, &f.stats, &error);
      g_assert_no_error (error);
      h2k_verify (output, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_true (h2k_output_commit (output, &error));
      if (variant->options.compression == H2K_COMPRESS_NONE)
        {
          g_autofree char *mine = file_sum (f.path);
          g_assert_cmpstr (mine, ==, sum);
        }
      g_assert_cmpuint (f.stats.bytes_resumed, >=, 2 * MiB);
      fixture_clear (&f);
    }
  h2k_disk_unref (&d->disk);
}

/* The engine has no more than ten chunks for two threads: who reads an eleventh has written one. */
static void
test_other_source (void)
{
  static const Piece plain[] = {{32 * MiB, CONTENT_NOISE}};
  LayoutDisk *d = layout_disk_new (make_pieces (plain, 1), 3); /* one read a chunk */
  g_autofree char *sum = reference_sum (&d->disk, &variants[1].options);
  g_autoptr (GError) error = NULL;
  gboolean interrupted;
  Fixture f;

  fixture_init (&f, &variants[1].options);
  interrupted = interrupt (&f, d, 12);
  g_assert_true (interrupted);
  f.options.identity = "source: another layout\noptions: none";
  g_assert_false (convert (&d->disk, f.path, &f.options, 2, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "another layout"));
  g_clear_error (&error);
  f.options.identity = "source: a layout\noptions: others";
  g_assert_false (convert (&d->disk, f.path, &f.options, 2, NULL, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
  g_clear_error (&error);
  g_assert_cmpuint (count_entries (f.dir), ==, 2);

  f.options.identity = IDENTITY;
  finish (&f, &d->disk, sum);
  g_assert_cmpuint (f.stats.bytes_resumed, >, 0);
  h2k_disk_unref (&d->disk);
  fixture_clear (&f);
}

static void
test_without_resume (void)
{
  LayoutDisk *d = make_disk (4);
  g_autofree char *sum = reference_sum (&d->disk, &variants[1].options);
  gboolean interrupted;
  Fixture f;

  fixture_init (&f, &variants[1].options);
  interrupted = interrupt (&f, d, 5);
  g_assert_true (interrupted);
  f.options.resume = FALSE;
  finish (&f, &d->disk, sum);
  g_assert_cmpuint (f.stats.bytes_resumed, ==, 0);
  h2k_disk_unref (&d->disk);
  fixture_clear (&f);
}

static void
test_two_at_once (void)
{
  LayoutDisk *d = make_disk (6);
  g_autoptr (H2kOutput) output = NULL;
  g_autoptr (GError) error = NULL;
  Fixture f;

  fixture_init (&f, &variants[1].options);
  output = h2k_output_new (f.path, d->disk.size, &f.options, NULL, &error);
  g_assert_no_error (error);
  g_assert_null (h2k_output_new (f.path, d->disk.size, &f.options, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_nonnull (strstr (error->message, "another run"));
  h2k_disk_unref (&d->disk);
  fixture_clear (&f);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    GTestDataFunc func;
  } tests[] = {
      {"interrupted", test_interrupted},
      {"not-read-twice", test_not_read_twice},
      {"damaged", test_damaged},
      {"changes", test_changes},
  };

  g_test_init (&argc, &argv, NULL);
  for (guint t = 0; t < G_N_ELEMENTS (tests); t++)
    for (guint i = 0; i < G_N_ELEMENTS (variants); i++)
      {
        g_autofree char *name = g_strdup_printf ("/resume/%s/%s", tests[t].name, variants[i].name);
        g_test_add_data_func (name, &variants[i], tests[t].func);
      }
  g_test_add_func ("/resume/other-source", test_other_source);
  g_test_add_func ("/resume/without-resume", test_without_resume);
  g_test_add_func ("/resume/two-at-once", test_two_at_once);
  return g_test_run ();
}
