/* test-manifest.c - manifests are read as ovftool, VirtualBox and OpenSSL write them, and nothing
 * that would leave a file unverified passes for one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/source.h"

#define HEX40 "0123456789abcdef0123456789ABCDEF01234567"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX96 HEX64 "0123456789abcdef0123456789abcdef"
#define HEX128 HEX64 HEX64

static GPtrArray *
parse (const char *text, GError **error)
{
  return h2k_manifest_parse (text, strlen (text), "vm.mf", error);
}

static void
assert_entry (GPtrArray *entries, guint i, GChecksumType algorithm, const char *file,
              const char *digest)
{
  const H2kManifestEntry *entry = entries->pdata[i];

  g_assert_cmpint (entry->algorithm, ==, algorithm);
  g_assert_cmpstr (entry->file, ==, file);
  g_assert_cmpstr (entry->digest, ==, digest);
}

static void
test_lines (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *lower = g_ascii_strdown (HEX40, -1);
  g_autoptr (GPtrArray) entries = parse ("\xef\xbb\xbfSHA256(vm.ovf)= " HEX64 "\r\n"
                                         "SHA1 (a (copy).vmdk) = " HEX40 "\n"
                                         "\n  sha512(./disks/b=1.vmdk)=" HEX128 " \r\n"
                                         "SHA384(vm.ovf)= " HEX96,
                                         &error);

  g_assert_no_error (error);
  g_assert_cmpuint (entries->len, ==, 4);
  assert_entry (entries, 0, G_CHECKSUM_SHA256, "vm.ovf", HEX64);
  assert_entry (entries, 1, G_CHECKSUM_SHA1, "a (copy).vmdk", lower);
  assert_entry (entries, 2, G_CHECKSUM_SHA512, "disks/b=1.vmdk", HEX128);
  assert_entry (entries, 3, G_CHECKSUM_SHA384, "vm.ovf", HEX96);
}

static void
test_refused (void)
{
  static const struct
  {
    const char *text;
    H2kError code;
    const char *says;
  } cases[] = {
      {"MD5(vm.ovf)= 0123456789abcdef0123456789abcdef\n", H2K_ERROR_UNSUPPORTED, "line 1"},
      {"SHA1(vm.ovf)= " HEX40 "\nSHA3-256(a)= " HEX64, H2K_ERROR_UNSUPPORTED, "line 2"},
      {"SHA256(vm.ovf)= " HEX40, H2K_ERROR_FORMAT, "64 hexadecimal"},
      {"SHA1(vm.ovf)= " HEX64, H2K_ERROR_FORMAT, "40 hexadecimal"},
      {"SHA1(vm.ovf)= 0123456789abcdefg123456789ABCDEF01234567", H2K_ERROR_FORMAT, "hexadecimal"},
      {"SHA1(vm.ovf)=", H2K_ERROR_FORMAT, "hexadecimal"},
      {"SHA1(vm.ovf) " HEX40, H2K_ERROR_FORMAT, "not understood"},
      {HEX40 "  vm.ovf\n", H2K_ERROR_FORMAT, "not understood"},
      {"SHA1(vm.ovf x= " HEX40, H2K_ERROR_FORMAT, "not understood"},
      {"SHA1()= " HEX40, H2K_ERROR_FORMAT, "is empty"},
      {"SHA1(/etc/passwd)= " HEX40, H2K_ERROR_FORMAT, "is absolute"},
      {"SHA1(C:\\disk.vmdk)= " HEX40, H2K_ERROR_FORMAT, "is absolute"},
      {"SHA1(a/../../b)= " HEX40, H2K_ERROR_FORMAT, "leads out"},
      {"SHA1(a\\..\\b)= " HEX40, H2K_ERROR_FORMAT, "leads out"},
      {"SHA1(./)= " HEX40, H2K_ERROR_FORMAT, "names a folder"},
      {"SHA1(a\tb)= " HEX40, H2K_ERROR_FORMAT, "control"},
      {"SHA1(a\xff)= " HEX40, H2K_ERROR_FORMAT, "not UTF-8"},
      {"SHA1(a)= " HEX40 "\nSHA1(./a)= " HEX40, H2K_ERROR_FORMAT, "second checksum"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GPtrArray) entries = parse (cases[i].text, &error);
      g_test_message ("%s", cases[i].says);
      g_assert_null (entries);
      g_assert_error (error, H2K_ERROR, (int)cases[i].code);
      g_assert_nonnull (strstr (error->message, cases[i].says));
      g_assert_true (g_str_has_prefix (error->message, "vm.mf: "));
      g_assert_true (g_utf8_validate (error->message, -1, NULL));
    }
}

/* What stands behind a zero byte is not skipped in silence; padding at the end is. */
static void
test_zero_bytes (void)
{
  static const char inside[] = "SHA1(a)= " HEX40 "\n\0SHA1(b)= " HEX40;
  static const char after[] = "SHA1(a)= " HEX40 "\n\0\0";
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) entries = h2k_manifest_parse (inside, sizeof inside - 1, "vm.mf", &error);

  g_assert_null (entries);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_clear_error (&error);
  entries = h2k_manifest_parse (after, sizeof after, "vm.mf", &error);
  g_assert_no_error (error);
  g_assert_cmpuint (entries->len, ==, 1);
}

static void
test_too_long (void)
{
  gsize size = H2K_DESCRIPTION_MAX + 1;
  g_autofree char *text = g_malloc (size);
  g_autoptr (GError) error = NULL;

  memset (text, '\n', size);
  g_assert_null (h2k_manifest_parse (text, size, "vm.mf", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
}

/* The member FILE of the archive OVA. */
static GBytes *
member (const char *ova, const char *file)
{
  const char *argv[] = {"tar", "xOf", ova, file, NULL};
  g_autoptr (GSubprocess) tar = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
  g_autoptr (GError) error = NULL;
  GBytes *bytes = NULL;

  g_assert_nonnull (tar);
  g_subprocess_communicate (tar, NULL, NULL, &bytes, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_successful (tar));
  return bytes;
}

/* How many ENTRIES are the digests of members of OVA. */
static guint
count_right (GPtrArray *entries, const char *ova)
{
  guint right = 0;

  for (guint i = 0; i < entries->len; i++)
    {
      const H2kManifestEntry *entry = entries->pdata[i];
      g_autoptr (GBytes) bytes = member (ova, entry->file);
      g_autofree char *digest = g_compute_checksum_for_bytes (entry->algorithm, bytes);
      right += strcmp (digest, entry->digest) == 0;
    }
  return right;
}

static void
test_real_archives (void)
{
  static const struct
  {
    const char *ova;
    guint entries, right;
  } archives[] = {
      {"tdAppliance1-t1", 0, 0},
      {"tdAppliance1-t2", 1, 1},
      {"tdAppliance1-t2-ovftool-4.1.0", 2, 2},
      {"tdAppliance1-t3", 1, 1},
      {"tdAppliance1-t3-ovftool-4.1.0", 2, 2},
      {"tdAppliance1-t5", 1, 1},
      {"tdAppliance1-t5-ovftool-4.1.0", 2, 2},
      {"tdAppliance1-t7-bad-instance", 3, 3},
  };
  const char *data = g_getenv ("H2K_TESTDATA");

  if (!data)
    {
      g_test_skip ("H2K_TESTDATA, with real archives, is not set");
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (archives); i++)
    {
      g_autofree char *ova = g_strdup_printf ("%s/ova/virtualbox/%s.ova", data, archives[i].ova);
      g_autofree char *mf = g_strconcat (archives[i].ova, ".mf", NULL);
      g_autoptr (GBytes) text = member (ova, mf);
      g_autoptr (GError) error = NULL;
      g_autoptr (GPtrArray) entries = NULL;
      entries
          = h2k_manifest_parse (g_bytes_get_data (text, NULL), g_bytes_get_size (text), mf, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (entries->len, ==, archives[i].entries);
      g_assert_cmpuint (count_right (entries, ova), ==, archives[i].right);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/manifest/lines-of-all-writers-are-read", test_lines);
  g_test_add_func ("/manifest/what-would-not-verify-is-refused", test_refused);
  g_test_add_func ("/manifest/nothing-hides-behind-a-zero-byte", test_zero_bytes);
  g_test_add_func ("/manifest/a-huge-file-is-refused", test_too_long);
  g_test_add_func ("/manifest/the-digests-of-real-archives-are-found", test_real_archives);
  return g_test_run ();
}
