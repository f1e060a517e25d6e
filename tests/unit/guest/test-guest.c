/* test-guest.c - every folder of tests/guest is a claim about what is found on some disks: the
 * files and partitions as in tests/repair, and "expect", JSON paths into the inspection with their
 * values, or "error". Then device names, version order and shell values.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disks.h"
#include "guest/fstab.h"
#include "guest/private.h"

#include <json-glib/json-glib.h>

static const struct
{
  const char *name;
  H2kError code;
} codes[] = {
    {"NO_OS", H2K_ERROR_NO_OS},
    {"UNSUPPORTED", H2K_ERROR_UNSUPPORTED},
    {"FILESYSTEM", H2K_ERROR_FILESYSTEM},
    {"SOURCE", H2K_ERROR_SOURCE},
};

/* The value at PATH as JSON text, a string without its quotes; all of them where "[*]" says so. */
static char *
value_at (JsonNode *root, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) result = json_path_query (path, root, &error);
  JsonArray *array;

  g_assert_no_error (error);
  array = json_node_get_array (result);
  if (strstr (path, "[*]"))
    return json_to_string (result, FALSE);
  g_assert_cmpuint (json_array_get_length (array), ==, 1);
  if (JSON_NODE_HOLDS_VALUE (json_array_get_element (array, 0))
      && json_node_get_value_type (json_array_get_element (array, 0)) == G_TYPE_STRING)
    return g_strdup (json_array_get_string_element (array, 0));
  return json_to_string (json_array_get_element (array, 0), FALSE);
}

static void
claim_expected (const char *dir, H2kGuest *guest)
{
  g_autoptr (GPtrArray) lines = test_lines (dir, "expect");
  g_autofree char *text = h2k_guest_to_json (guest);
  g_autofree char *people = h2k_guest_to_text (guest);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) root = json_from_string (text, &error);

  g_assert_no_error (error);
  g_assert_nonnull (lines);
  for (guint i = 0; i < lines->len; i++)
    {
      char *path = lines->pdata[i];
      char *wanted = strchr (path, ' ');
      g_autofree char *found = NULL;

      g_assert_nonnull (wanted);
      *wanted++ = '\0';
      found = value_at (root, path);
      if (!g_pattern_match_simple (wanted, found))
        g_test_fail_printf ("%s is %s, not %s", path, found, wanted);
    }
  /* What people read has no control characters but line ends. */
  for (const char *p = people; *p; p++)
    if (g_ascii_iscntrl (*p) && *p != '\n')
      g_test_fail_printf ("a control character in: %s", people);
}

static void
claim_error (GPtrArray *expected, const GError *error)
{
  for (guint i = 0; i < G_N_ELEMENTS (codes); i++)
    if (strcmp (codes[i].name, expected->pdata[0]) == 0)
      {
        g_assert_error (error, H2K_ERROR, (int)codes[i].code);
        if (!g_regex_match_simple (expected->pdata[1], error->message, 0, 0))
          g_test_fail_printf ("the message is: %s", error->message);
        return;
      }
  g_test_fail_printf ("no such error: %s", (char *)expected->pdata[0]);
}

static void
test_case (gconstpointer data)
{
  const char *dir = data;
  g_autoptr (TestDisks) disks = test_disks_new (dir);
  g_autoptr (GPtrArray) expected_error = test_lines (dir, "error");
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (test_disks_get (disks), NULL, &error);

  if (expected_error)
    {
      g_assert_null (guest);
      claim_error (expected_error, error);
      return;
    }
  g_assert_no_error (error);
  claim_expected (dir, guest);
}

/* --- names ------------------------------------------------------------------------------------ */

static void
test_device_names (void)
{
  /* Partition numbers on two disks; 0: none. */
  static const struct
  {
    const char *spec;
    guint disk, number;
    gboolean stable;
  } cases[] = {
      {"/dev/sda1", 0, 1, FALSE},
      {"sda1", 0, 1, FALSE},
      {"/dev/sdb1", 1, 1, FALSE},
      {"/dev/hdb5", 1, 5, FALSE},
      {"/dev/xvda5", 0, 5, FALSE},
      {"/dev/vda1", 0, 1, FALSE},
      {"/dev/nvme1n1p5", 1, 5, FALSE},
      {"/dev/nvme0n2p1", 0, 0, FALSE},
      {"/dev/mmcblk0p1", 0, 1, FALSE},
      {"/dev/sda", 0, 0, FALSE},
      {"/dev/sda9", 0, 0, FALSE},
      {"/dev/sdzz1", 0, 0, FALSE},
      {"/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1", 0, 0, FALSE},
      {"/dev/disk/by-id/dm-name-vg-root", 0, 0, TRUE},
      {"UUID=aaaaaaaa-0000-4000-8000-000000000001", 0, 1, TRUE},
      {"UUID=AAAAAAAA-0000-4000-8000-000000000001", 0, 1, TRUE},
      {"UUID=\"aaaaaaaa-0000-4000-8000-000000000001\"", 0, 1, TRUE},
      {"'UUID=aaaaaaaa-0000-4000-8000-000000000001'", 0, 1, TRUE},
      {"/dev/disk/by-uuid/bbbbbbbb-0000-4000-8000-000000000001", 1, 1, TRUE},
      {"PARTUUID=5eed0002-05", 1, 5, TRUE},
      {"/dev/disk/by-partuuid/5eed0001-01", 0, 1, TRUE},
      {"UUID=", 0, 0, TRUE},
      {"LABEL=none", 0, 0, TRUE},
      {"/dev/mapper/vg-root", 0, 0, TRUE},
      {"/dev/md0", 0, 0, TRUE},
      {"/dev/sr0", 0, 0, TRUE},
      {"/dev/sda1x", 0, 0, TRUE},
      {"/dev/sda00000000000000000001", 0, 0, TRUE},
      {"tmpfs", 0, 0, TRUE},
      {"", 0, 0, TRUE},
  };
  g_autofree char *dir = g_test_build_filename (G_TEST_DIST, "guest", "two-disks", NULL);
  g_autoptr (TestDisks) disks = test_disks_new (dir);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (test_disks_get (disks), NULL, &error);

  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      gboolean stable;
      const H2kGuestVolume *volume = h2k_guest_find_volume (guest, cases[i].spec, &stable);

      g_test_message ("%s", cases[i].spec);
      g_assert_cmpint (stable, ==, cases[i].stable);
      g_assert_cmpuint (volume ? volume->volume->number : 0, ==, cases[i].number);
      if (volume)
        g_assert_cmpuint (volume->disk, ==, cases[i].disk);
    }
}

static void
test_version_order (void)
{
  static const char *const ascending[] = {"2.6.32-754.el6",       "2.6.32-1000.el6",
                                          "3.10.0-1160.80.1.el7", "5.4.0-26-generic",
                                          "5.4.0-100-generic",    "5.14.0-70.el9",
                                          "6.1.0-9-amd64",        "6.1.0-18-amd64",
                                          "6.1.0-0018-amd64x",    "10.0"};

  for (guint i = 0; i < G_N_ELEMENTS (ascending); i++)
    for (guint k = 0; k < G_N_ELEMENTS (ascending); k++)
      {
        int order = h2k_version_compare (ascending[i], ascending[k]);
        g_assert_cmpint (order < 0, ==, i < k);
        g_assert_cmpint (order > 0, ==, i > k);
      }
  g_assert_cmpint (h2k_version_compare ("1.01", "1.1"), ==, 0);
}

static void
test_shell_values (void)
{
  static const struct
  {
    const char *text, *value;
  } cases[] = {
      {"debian", "debian"},
      {"\"Debian GNU/Linux 12 (bookworm)\"", "Debian GNU/Linux 12 (bookworm)"},
      {"'single \\ \" quoted'", "single \\ \" quoted"},
      {"\"a \\\"b\\\" \\$c \\n\"", "a \"b\" $c \\n"},
      {"plain\\ blank # comment", "plain blank"},
      {"a'b'\"c\"", "abc"},
      {"\"never closed", "never closed"},
      {"", ""},
      {"\\", "\\"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *value = h2k_shell_value (cases[i].text);
      g_assert_cmpstr (value, ==, cases[i].value);
    }
}

static void
test_fstab_lines (void)
{
  g_autoptr (H2kFstabEntry) entry
      = h2k_fstab_parse (" \t/dev/sda1  /mnt/a\\040b\\134c ext4 rw,nofail\t0 2\r");
  static const char *const none[] = {"", "   ", "# /dev/sda1 / ext4", "  #x y", "alone"};

  g_assert_cmpuint (entry->spec_start, ==, 2);
  g_assert_cmpuint (entry->spec_length, ==, 9);
  g_assert_cmpstr (entry->path, ==, "/mnt/a b\\c");
  g_assert_true (h2k_fstab_has_option (entry, "nofail"));
  g_assert_false (h2k_fstab_has_option (entry, "no"));
  for (guint i = 0; i < G_N_ELEMENTS (none); i++)
    g_assert_null (h2k_fstab_parse (none[i]));
}

int
main (int argc, char **argv)
{
  g_autofree char *dir = NULL;
  g_autoptr (GDir) handle = NULL;
  const char *name;

  g_test_init (&argc, &argv, NULL);
  dir = g_test_build_filename (G_TEST_DIST, "guest", NULL);
  handle = g_dir_open (dir, 0, NULL);
  g_assert_nonnull (handle);
  while ((name = g_dir_read_name (handle)))
    {
      g_autofree char *test = g_strdup_printf ("/guest/found/%s", name);
      if (*name != '.')
        g_test_add_data_func_full (test, g_build_filename (dir, name, NULL), test_case, g_free);
    }
  g_test_add_func ("/guest/device-names", test_device_names);
  g_test_add_func ("/guest/version-order", test_version_order);
  g_test_add_func ("/guest/shell-values", test_shell_values);
  g_test_add_func ("/guest/fstab-lines", test_fstab_lines);
  return g_test_run ();
}
