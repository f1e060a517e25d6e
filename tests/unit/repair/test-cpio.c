/* test-cpio.c - newc archives: what GNU cpio writes is read, what is written GNU cpio reads, and
 * damaged ones are refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cpio.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

static gsize
keep_small (const H2kCpioEntry *entry, gpointer data)
{
  return 16;
}

/* "mode name size content" lines. */
static gboolean
note (const H2kCpioEntry *entry, GBytes *content, gpointer data, GError **error)
{
  g_string_append_printf (data, "%o %s %u %s\n", entry->mode, entry->name, entry->size,
                          content ? (const char *)g_bytes_get_data (content, NULL) : "-");
  return TRUE;
}

static const H2kCpioHandler handler = {keep_small, note};

/* The listing of BYTES, fed in pieces of STEP; NULL with an error. */
static char *
list (GBytes *bytes, gsize step, GError **error)
{
  GString *text = g_string_new (NULL);
  g_autoptr (H2kCpioReader) reader = h2k_cpio_reader_new (&handler, text);
  gsize size, used;
  const guint8 *p = g_bytes_get_data (bytes, &size);
  gboolean ok = TRUE;

  for (gsize i = 0; i < size && ok; i += used)
    {
      gsize n = MIN (step, size - i);
      ok = h2k_cpio_reader_feed (reader, p + i, n, &used, error);
      if (ok && used < n)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "stopped at %zu", i + used);
          ok = FALSE;
        }
    }
  if (ok && !h2k_cpio_reader_at_rest (reader))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "truncated");
      ok = FALSE;
    }
  return g_string_free (text, !ok);
}

static GBytes *
sample (void)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
  g_autoptr (GBytes) text = g_bytes_new_static ("hello", 5);
  g_autoptr (GBytes) large = g_bytes_new_take (g_strnfill (1000, 'x'), 1000);

  h2k_cpio_writer_add (writer, "dir", S_IFDIR | 0755, NULL);
  h2k_cpio_writer_add (writer, "dir/file", S_IFREG | 0644, text);
  h2k_cpio_writer_add (writer, "dir/large", S_IFREG | 0600, large);
  h2k_cpio_writer_add (writer, "link", S_IFLNK | 0777, text);
  return h2k_cpio_writer_finish (writer);
}

static const char listing[] = "40755 dir 0 \n"
                              "100644 dir/file 5 hello\n"
                              "100600 dir/large 1000 -\n"
                              "120777 link 5 hello\n";

static void
test_round_trip (void)
{
  g_autoptr (GBytes) archive = sample ();

  g_assert_cmpuint (g_bytes_get_size (archive) % 4, ==, 0);
  for (gsize step = 1; step < 300; step += 7)
    {
      g_autoptr (GError) error = NULL;
      g_autofree char *text = list (archive, step, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (text, ==, listing);
    }
}

static GBytes *
joined (GBytes *a, gsize zeros, GBytes *b)
{
  GByteArray *all = g_byte_array_new ();
  guint at;

  g_byte_array_append (all, g_bytes_get_data (a, NULL), (guint)g_bytes_get_size (a));
  at = all->len;
  g_byte_array_set_size (all, at + (guint)zeros);
  memset (all->data + at, 0, zeros);
  g_byte_array_append (all, g_bytes_get_data (b, NULL), (guint)g_bytes_get_size (b));
  return g_byte_array_free_to_bytes (all);
}

static void
test_rows_of_archives (void)
{
  g_autoptr (GBytes) one = sample ();
  g_autoptr (GBytes) junk = g_bytes_new_static ("junk", 4);
  g_autoptr (GBytes) close_by = joined (one, 0, one);
  g_autoptr (GBytes) apart = joined (one, 512, one);
  g_autoptr (GBytes) unaligned = joined (one, 2, one);
  g_autoptr (GBytes) followed = joined (one, 8, junk);
  g_autofree char *twice = g_strconcat (listing, listing, NULL);
  g_autofree char *stop = g_strdup_printf ("stopped at %zu", g_bytes_get_size (one) + 8);
  g_autofree char *a = list (close_by, 50, NULL);
  g_autofree char *b = list (apart, 50, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_cmpstr (a, ==, twice);
  g_assert_cmpstr (b, ==, twice);
  g_assert_null (list (unaligned, 50, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_clear_error (&error);
  g_assert_null (list (followed, 50, &error));
  g_assert_cmpstr (error->message, ==, stop);
}

/* Where the header's field I begins. */
#define FIELD(i) (6 + 8 * (i))

static void
test_damage (void)
{
  static const struct
  {
    gsize offset;
    const char *bytes;
  } cases[] = {
      {0, "070707"},
      {FIELD (1), "0000zzzz"},
      {FIELD (11), "00000000"},
      {FIELD (11), "00001001"},
      {FIELD (11), "ffffffff"},
      {110, "aaaa"},
  };
  g_autoptr (GBytes) archive = sample ();
  gsize size;
  const guint8 *p = g_bytes_get_data (archive, &size);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      guint8 *copy = g_memdup2 (p, size);
      g_autoptr (GBytes) bytes = NULL;
      g_autoptr (GError) error = NULL;
      memcpy (copy + cases[i].offset, cases[i].bytes, strlen (cases[i].bytes));
      bytes = g_bytes_new_take (copy, size);
      g_assert_null (list (bytes, size, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }
  for (gsize n = 1; n < size; n += 3)
    {
      g_autoptr (GBytes) bytes = g_bytes_new (p, n);
      g_assert_null (list (bytes, size, NULL));
    }
}

static void
test_hostile_names (void)
{
  static const struct
  {
    const char *name;
    const char *seen; /* NULL: passed over */
  } cases[] = {
      {".", NULL},  {"./a//b/", "a/b"}, {"x/../../etc/passwd", NULL},
      {"..", NULL}, {"a/./b", "a/b"},   {"a..b", "a..b"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
      g_autoptr (GBytes) archive = NULL;
      g_autofree char *text = NULL;
      g_autofree char *expected
          = cases[i].seen ? g_strdup_printf ("100644 %s 0 \n", cases[i].seen) : g_strdup ("");
      h2k_cpio_writer_add (writer, cases[i].name, S_IFREG | 0644, NULL);
      archive = h2k_cpio_writer_finish (writer);
      text = list (archive, 4096, NULL);
      g_assert_cmpstr (text, ==, expected);
    }
}

/* The names that `cpio --list` prints for ARCHIVE. */
static void
test_gnu_cpio_reads (void)
{
  g_autoptr (GBytes) archive = sample ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GSubprocess) cpio
      = g_subprocess_new (G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error,
                          "cpio", "--list", "--quiet", NULL);
  g_autoptr (GBytes) out = NULL;

  if (!cpio)
    {
      g_test_skip ("cpio is not installed");
      return;
    }
  g_assert_true (g_subprocess_communicate (cpio, archive, NULL, &out, NULL, &error));
  g_assert_true (g_subprocess_get_successful (cpio));
  g_assert_cmpmem (g_bytes_get_data (out, NULL), g_bytes_get_size (out),
                   "dir\ndir/file\ndir/large\nlink\n", 28);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cpio/what is written is read, in pieces of any size", test_round_trip);
  g_test_add_func ("/cpio/archives follow each other at multiples of 4", test_rows_of_archives);
  g_test_add_func ("/cpio/damage is an error", test_damage);
  g_test_add_func ("/cpio/names stay inside the root", test_hostile_names);
  g_test_add_func ("/cpio/GNU cpio lists what is written", test_gnu_cpio_reads);
  return g_test_run ();
}
