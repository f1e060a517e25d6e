/* test-util.c - lines, diffs, escaping, checksums, MAC addresses.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/digest.h"
#include "util/json.h"

#include <errno.h>
#include <glib/gstdio.h>

static GBytes *
bytes_of (const char *text)
{
  return g_bytes_new (text, strlen (text));
}

static void
test_lines_keep_bytes (void)
{
  static const char *const texts[]
      = {"", "\n", "a", "a\nb", "a\nb\n", "a\r\n\r\nb\r\n", "\n\n a \n"};

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (GBytes) in = bytes_of (texts[i]);
      g_autoptr (H2kLines) lines = h2k_lines_new (in);
      g_autoptr (GBytes) out = h2k_lines_to_bytes (lines);
      g_assert_true (g_bytes_equal (in, out));
    }
}

static void
test_lines_edit (void)
{
  g_autoptr (GBytes) in = bytes_of ("one\r\ntwo\r\nthree");
  g_autoptr (H2kLines) lines = h2k_lines_new (in);
  g_autoptr (GBytes) out = NULL, expected = bytes_of ("zero\r\none\r\nTWO\r\nthree\r\nfour\r\n");

  g_assert_cmpuint (h2k_lines_count (lines), ==, 3);
  g_assert_cmpstr (h2k_lines_get (lines, 1), ==, "two");
  h2k_lines_set (lines, 1, "TWO");
  h2k_lines_insert (lines, 0, "zero");
  h2k_lines_insert (lines, 4, "four");
  h2k_lines_insert (lines, 4, "gone");
  h2k_lines_remove (lines, 4);
  out = h2k_lines_to_bytes (lines);
  g_assert_true (g_bytes_equal (out, expected));
}

static void
test_escape (void)
{
  static const struct
  {
    const char *in, *out;
  } cases[] = {
      {"plain\ttext\n", "plain\ttext\n"},
      {"\033[31mred", "\\x1b[31mred"},
      {"caf\xc3\xa9", "caf\xc3\xa9"},
      {"caf\xe9", "caf\\xe9"},
      {"\xe2\x80\xaegnp.exe", "\\xe2\\x80\\xaegnp.exe"}, /* right-to-left override */
      {"\x7f\r", "\\x7f\\x0d"},
      {"\xc2\x9b"
       "31m",
       "\\xc2\\x9b31m"}, /* the one-character escape sequence of C1 */
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *got = h2k_escape_text (cases[i].in, -1);
      g_assert_cmpstr (got, ==, cases[i].out);
    }
  g_autofree char *nul = h2k_escape_text ("a\0b", 3);
  g_assert_cmpstr (nul, ==, "a\\x00b");
}

static void
test_diff (void)
{
  g_autoptr (GBytes) a = bytes_of ("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n");
  g_autoptr (GBytes) b = bytes_of ("1\n2\n3\nfour\n5\n6\n7\n8\n9\n10\n11\n12\n13");
  g_autofree char *got = h2k_text_diff ("/f", a, b);
  g_autofree char *created = h2k_text_diff ("/f", NULL, b);
  g_autofree char *same = h2k_text_diff ("/f", a, a);
  g_autoptr (GBytes) binary = g_bytes_new ("\0\1", 2);
  g_autofree char *of_binary = h2k_text_diff ("/f", binary, a);

  g_assert_cmpstr (got, ==,
                   "--- a/f\n+++ b/f\n@@ -1,7 +1,7 @@\n 1\n 2\n 3\n-4\n+four\n 5\n 6\n 7\n"
                   "@@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13\n\\ No newline at end of file\n");
  g_assert_true (g_str_has_prefix (created, "--- /dev/null\n+++ b/f\n@@ -0,0 +1,13 @@\n+1\n"));
  g_assert_cmpstr (same, ==, "--- a/f\n+++ b/f\n");
  g_assert_true (g_str_has_prefix (of_binary, "Binary file /f: 2 -> "));
}

/* Their line ends are told once, unless these are what differs. */
static void
test_diff_crlf (void)
{
  g_autoptr (GBytes) a = bytes_of ("1\r\n2\r\n3\r\n"), b = bytes_of ("1\r\ntwo\r\n3\r\n");
  g_autoptr (GBytes) unix_ends = bytes_of ("1\n2\n3\n"), mixed = bytes_of ("1\r\n2\n3\r\n");
  g_autoptr (GBytes) open_end = bytes_of ("1\r\n2\r\n3");
  g_autofree char *edited = h2k_text_diff ("/f", a, b), *created = h2k_text_diff ("/f", NULL, a);
  g_autofree char *removed = h2k_text_diff ("/f", a, NULL);
  g_autofree char *ends = h2k_text_diff ("/f", a, unix_ends);
  g_autofree char *one = h2k_text_diff ("/f", a, mixed);
  g_autofree char *last = h2k_text_diff ("/f", a, open_end);

  g_assert_cmpstr (edited, ==,
                   "(CRLF line ends)\n--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n");
  g_assert_cmpstr (created, ==,
                   "(CRLF line ends)\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,3 @@\n+1\n+2\n+3\n");
  g_assert_cmpstr (removed, ==,
                   "(CRLF line ends)\n--- a/f\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-1\n-2\n-3\n");
  g_assert_cmpstr (ends, ==,
                   "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n-1\\x0d\n-2\\x0d\n-3\\x0d\n+1\n+2\n+3\n");
  g_assert_cmpstr (one, ==, "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n 1\\x0d\n-2\\x0d\n+2\n 3\\x0d\n");
  g_assert_cmpstr (last, ==,
                   "(CRLF line ends)\n--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n 1\n 2\n-3\n+3\n"
                   "\\ No newline at end of file\n");
}

/* patch(1) is the judge: every diff of random texts leads from one to the other. */
static void
test_diff_random (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  g_autofree char *dir = g_dir_make_tmp ("h2k-diff-XXXXXX", NULL);
  g_autofree char *file = g_build_filename (dir, "f", NULL);
  g_autofree char *diff_file = g_build_filename (dir, "diff", NULL);
  g_autofree char *patch = g_find_program_in_path ("patch");

  if (!patch)
    {
      g_test_skip ("patch is not installed");
      return;
    }
  for (guint round = 0; round < 30; round++)
    {
      g_autoptr (GString) a = g_string_new (NULL), b = g_string_new (NULL);
      g_autoptr (GBytes) from = NULL, to = NULL;
      g_autofree char *diff = NULL, *result = NULL;
      int status;

      for (int i = g_rand_int_range (rand, 1, 60); i > 0; i--)
        {
          int what = g_rand_int_range (rand, 0, 10);
          g_autofree char *line = g_strdup_printf ("line %d\n", g_rand_int_range (rand, 0, 20));
          if (what != 0)
            g_string_append (a, line);
          if (what != 1)
            g_string_append (b, line);
        }
      g_string_append (a, "end\n");
      from = g_bytes_new (a->str, a->len);
      to = g_bytes_new (b->str, b->len);
      diff = h2k_text_diff ("/f", from, to);
      g_assert_true (g_file_set_contents (file, a->str, (gssize)a->len, NULL));
      g_assert_true (g_file_set_contents (diff_file, diff, -1, NULL));
      const char *argv[] = {patch, "-s", "--no-backup-if-mismatch", file, diff_file, NULL};
      g_assert_true (g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL,
                                   NULL, &status, NULL));
      g_assert_cmpint (status, ==, 0);
      if (b->len) /* patch removes a file that becomes empty */
        {
          g_assert_true (g_file_get_contents (file, &result, NULL, NULL));
          g_assert_cmpstr (result, ==, b->str);
        }
    }
  g_unlink (file);
  g_unlink (diff_file);
  g_rmdir (dir);
}

/* As GLib computes them; BLAKE2b of "abc" is RFC 7693's algorithm with 32 bytes, as b2sum -l 256
 * prints it. */
static void
test_digests (void)
{
  static const GChecksumType types[]
      = {G_CHECKSUM_SHA1, G_CHECKSUM_SHA256, G_CHECKSUM_SHA384, G_CHECKSUM_SHA512};
  static const guint8 blake2b[] = {0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72, 0x31, 0x71, 0xef,
                                   0x3f, 0xee, 0x98, 0x57, 0x9b, 0x94, 0x96, 0x4e, 0x3b, 0xb1, 0xcb,
                                   0x3e, 0x42, 0x72, 0x62, 0xc8, 0xc0, 0x68, 0xd5, 0x23, 0x19};
  guint8 sum[32];

  for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
    {
      g_autoptr (H2kDigest) digest = h2k_digest_new (types[i]);
      g_autofree char *expected = g_compute_checksum_for_string (types[i], "hyper2kvm", -1);

      h2k_digest_update (digest, "hyper", 5);
      h2k_digest_update (digest, "2kvm", 4);
      g_assert_cmpstr (h2k_digest_text (digest), ==, expected);
      g_assert_cmpstr (h2k_digest_text (digest), ==, expected);
    }
  h2k_blake2b_256 ("abc", 3, sum);
  g_assert_cmpmem (sum, sizeof sum, blake2b, sizeof blake2b);
}

static void
test_zero (void)
{
  guint8 data[4099] = {0};

  for (gsize n = 0; n < sizeof data; n = n * 2 + 1)
    g_assert_true (h2k_is_zero (data, n));
  for (gsize i = 0; i < sizeof data; i += 13)
    {
      data[i] = 1;
      g_assert_false (h2k_is_zero (data, sizeof data));
      data[i] = 0;
    }
}

/* The check values of the CRC catalogue for "123456789". */
static void
test_crc (void)
{
  g_assert_cmphex (h2k_crc32 (0, "123456789", 9), ==, 0xcbf43926);
  g_assert_cmphex (~h2k_crc32c (~0u, "123456789", 9), ==, 0xe3069283);
}

static void
test_mac (void)
{
  g_autofree char *a = h2k_mac_parse ("00-50-56-AA-BB-CC");
  g_autofree char *seeded = h2k_mac_from_seed ("x", 0), *other = h2k_mac_from_seed ("x", 1);
  g_autofree char *again = h2k_mac_from_seed ("x", 0);

  g_assert_cmpstr (a, ==, "00:50:56:aa:bb:cc");
  g_assert_null (h2k_mac_parse ("00:50:56:aa:bb"));
  g_assert_null (h2k_mac_parse ("01:00:5e:00:00:01"));
  g_assert_null (h2k_mac_parse ("00:00:00:00:00:00"));
  g_assert_null (h2k_mac_parse ("00:50:56:aa:bb:cc:dd"));
  g_assert_null (h2k_mac_parse ("0:50:56:aa:bb:cc:d"));
  g_assert_null (h2k_mac_parse ("00:-1:56:aa:bb:cc"));
  g_assert_null (h2k_mac_parse ("00: 1:56:aa:bb:cc"));
  g_assert_null (h2k_mac_parse ("00:50:56:aa:bb:0x"));
  g_assert_true (g_str_has_prefix (seeded, "52:54:00:"));
  g_assert_cmpstr (seeded, ==, again);
  g_assert_cmpstr (seeded, !=, other);
}

static void
test_errno (void)
{
  g_autoptr (GError) error = NULL;

  h2k_set_errno (&error, H2K_ERROR_OUTPUT, ENOSPC, "%s", "file");
  g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE);
}

/* "[[...", DEPTH times, behind BEFORE; CLOSED: a document. */
static gboolean
parses (const char *before, guint depth, gboolean closed)
{
  g_autoptr (GString) text = g_string_new (before);
  g_autoptr (JsonNode) node = NULL;
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < depth; i++)
    g_string_append_c (text, '[');
  for (guint i = 0; closed && i < depth; i++)
    g_string_append_c (text, ']');
  node = h2k_json_parse (text->str, text->len, &error);
  g_assert_true ((node == NULL) == (error != NULL));
  return node != NULL;
}

/* The parser recurses, and its stack is not endless. */
static void
test_json (void)
{
  static const char text[] = "{\"[[\\\"[\\\\\": [1, -2.5e+3, true, null, \"/*\"]}\n";
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = h2k_json_parse (text, strlen (text), &error);

  g_assert_no_error (error);
  g_assert_true (JSON_NODE_HOLDS_OBJECT (node));
  g_assert_true (parses ("", 64, TRUE));
  g_assert_false (parses ("", 65, TRUE));
  g_assert_false (parses ("", 5000000, TRUE));
  g_assert_false (parses ("/*\"*/", 5000000, FALSE));
  g_assert_false (parses ("//\"\n", 5000000, FALSE));
  g_assert_false (parses ("#\"\n", 5000000, FALSE));
  g_assert_false (parses ("'\"'", 5000000, FALSE));
  g_assert_false (parses ("\"", 5000000, FALSE));
  g_assert_false (parses ("", 0, TRUE));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/util/lines keep every byte", test_lines_keep_bytes);
  g_test_add_func ("/util/lines edit", test_lines_edit);
  g_test_add_func ("/util/escape", test_escape);
  g_test_add_func ("/util/diff", test_diff);
  g_test_add_func ("/util/diff of texts with CRLF", test_diff_crlf);
  g_test_add_func ("/util/diff leads from one text to the other", test_diff_random);
  g_test_add_func ("/util/zero", test_zero);
  g_test_add_func ("/util/digests", test_digests);
  g_test_add_func ("/util/crc", test_crc);
  g_test_add_func ("/util/mac", test_mac);
  g_test_add_func ("/util/nested JSON is refused", test_json);
  g_test_add_func ("/util/no space is told apart", test_errno);
  return g_test_run ();
}
