/* test-cmdline.c - device names on kernel command lines, and what happens to real bootloader files
 * (of H2K_TESTDATA): only devices that are known change, and nothing else does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cmdline.h"

#define UUID "UUID=0123-4567"

static char *
rename_device (const char *key, const char *spec, gpointer data)
{
  guint *calls = data;

  if (calls)
    (*calls)++;
  return g_str_has_prefix (spec, "/dev/sd") || g_str_has_prefix (spec, "/dev/hd") ? g_strdup (UUID)
                                                                                  : NULL;
}

static void
test_parameters (void)
{
  static const struct
  {
    const char *before, *after;
  } cases[] = {
      {"root=/dev/sda1", "root=" UUID},
      {"ro root=/dev/sda1 quiet", "ro root=" UUID " quiet"},
      {"\"root=/dev/sda1\"", "\"root=" UUID "\""},
      {"'ro root=/dev/sda1'", "'ro root=" UUID "'"},
      {"kernelopts=root=/dev/sda1 ro", "kernelopts=root=" UUID " ro"},
      {"root=/dev/sda1 root=/dev/sda2", "root=" UUID " root=" UUID},
      {"resume=/dev/sda5 boot=/dev/sda1", "resume=" UUID " boot=" UUID},
      {"cryptdevice=/dev/sda2:root:allow-discards", "cryptdevice=" UUID ":root:allow-discards"},
      {"cryptopts=target=r,source=/dev/sda5,key=none",
       "cryptopts=target=r,source=" UUID ",key=none"},
      {"root=/dev/sda1;", "root=" UUID ";"},
      {"root=/dev/sda1\\", "root=" UUID "\\"},
      {"root=/dev/mapper/vg-root", NULL},
      {"root=UUID=1234", NULL},
      {"root=LABEL=/", NULL},
      {"root=hd0,msdos1", NULL},
      {"xroot=/dev/sda1", NULL},
      {"rd.root=/dev/sda1", NULL},
      {"noresume=/dev/sda1", NULL},
      {"console=/dev/sda1 init=/dev/sda1", NULL},
      {"root=", NULL},
      {"root=/dev/", NULL},
      {"", NULL},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *changed = h2k_cmdline_rename (cases[i].before, rename_device, NULL);
      g_assert_cmpstr (changed, ==, cases[i].after);
    }
}

static H2kLines *
lines_of (const char *text)
{
  g_autoptr (GBytes) bytes = g_bytes_new (text, strlen (text));

  return h2k_lines_new (bytes);
}

/* The default entry's first line, found by its number, title, id or the environment block. */
static void
test_default_entry (void)
{
  static const char menu[] = "function f {\n  true\n}\n"
                             "menuentry 'One' --class x $menuentry_id_option 'id-one' {\n"
                             "  if true; then\n    linux a\n  fi\n}\n"
                             "submenu 'More' {\n  menuentry 'Inner' {\n    linux b\n  }\n}\n"
                             "menuentry \"Three\" --id id-three {\n  linux c\n}\n";
  static const struct
  {
    const char *before, *saved;
    guint first, last;
  } cases[] = {
      {"set default=\"0\"\n", NULL, 4, 8},
      {"set default=2\n", NULL, 14, 16},
      {"set default='Three'\n", NULL, 14, 16},
      {"set default=id-three\n", NULL, 14, 16},
      {"set default=\"${saved_entry}\"\n", "id-three", 14, 16},
      {"set default=\"${saved_entry}\"\n", "More>Inner", 9, 13},
      {"set default=\"${saved_entry}\"\n", "1>0", 9, 13},
      {"set default=\"${saved_entry}\"\n", NULL, 4, 8},
      {"set default=99\n", NULL, 4, 8},
      {"default=id-gone\n", NULL, 4, 8},
      {"timeout=5\n", NULL, 4, 8},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *text = g_strconcat (cases[i].before, menu, NULL);
      g_autoptr (H2kLines) lines = lines_of (text);
      guint first = 0, last = 0;

      g_test_message ("%s%s", cases[i].before, cases[i].saved ? cases[i].saved : "");
      g_assert_true (h2k_grub_default_entry (lines, cases[i].saved, &first, &last));
      g_assert_cmpuint (first, ==, cases[i].first);
      g_assert_cmpuint (last, ==, cases[i].last);
    }
}

/* --- real files ------------------------------------------------------------------------------- */

static H2kLinesKind
kind_of (const char *path)
{
  static const struct
  {
    const char *part;
    H2kLinesKind kind;
  } kinds[] = {
      {"/loader/entries/", H2K_LINES_BLS}, {"typeone", H2K_LINES_BLS},
      {"extlinux", H2K_LINES_EXTLINUX},    {"grub.cfg", H2K_LINES_GRUB_CFG},
      {"grub2", H2K_LINES_GRUB_CFG},       {"grubby/test/grub.", H2K_LINES_GRUB_LEGACY},
  };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (strstr (path, kinds[i].part))
      return kinds[i].kind;
  return H2K_LINES_ANY;
}

/* Put back what was renamed: all else must be as it was. */
static void
claim_only_devices_changed (const char *path, GBytes *before, GBytes *after)
{
  g_autofree char *a = g_strndup (g_bytes_get_data (before, NULL), g_bytes_get_size (before));
  g_autofree char *b = g_strndup (g_bytes_get_data (after, NULL), g_bytes_get_size (after));
  g_autoptr (GRegex) regex
      = g_regex_new ("\\b(root|resume|boot)=(/dev/[sh]d[a-z]+[0-9]*|" UUID ")", 0, 0, NULL);
  g_autofree char *plain_a = g_regex_replace (regex, a, -1, 0, "\\1=X", 0, NULL);
  g_autofree char *plain_b = g_regex_replace (regex, b, -1, 0, "\\1=X", 0, NULL);

  g_test_message ("%s", path);
  g_assert_cmpstr (plain_a, ==, plain_b);
}

static guint
check_sample (const char *path)
{
  g_autofree char *data = NULL;
  g_autoptr (GBytes) before = NULL, after = NULL;
  g_autoptr (H2kLines) lines = NULL;
  gsize size;
  guint changes, first, last, calls = 0;
  H2kLinesKind kind = kind_of (path);

  g_assert_true (g_file_get_contents (path, &data, &size, NULL));
  before = g_bytes_new (data, size);
  lines = h2k_lines_new (before);
  changes = h2k_lines_rename (lines, kind, 0, G_MAXUINT, rename_device, &calls);
  after = h2k_lines_to_bytes (lines);
  claim_only_devices_changed (path, before, after);
  g_assert_cmpuint (h2k_lines_rename (lines, kind, 0, G_MAXUINT, rename_device, NULL), ==, 0);
  /* In the files that a loader reads every kernel's root is found. */
  if (kind != H2K_LINES_ANY)
    for (guint i = 0; i < h2k_lines_count (lines); i++)
      {
        const char *line = h2k_lines_get (lines, i);
        g_autofree char *text = g_strstrip (g_strdup (line));
        if (*text != '#' && !g_str_has_prefix (text, "set ") && strstr (text, " root=/dev/"))
          g_assert_null (g_regex_match_simple (" root=/dev/[sh]d", text, 0, 0) ? text : NULL);
      }
  if (kind == H2K_LINES_GRUB_CFG && strstr (data, "\nmenuentry "))
    g_assert_true (h2k_grub_default_entry (lines, NULL, &first, &last));
  return changes;
}

static void
walk (const char *dir, guint *files, guint *changes)
{
  g_autoptr (GDir) handle = g_dir_open (dir, 0, NULL);
  const char *name;

  while (handle && (name = g_dir_read_name (handle)))
    {
      g_autofree char *path = g_build_filename (dir, name, NULL);
      if (g_file_test (path, G_FILE_TEST_IS_DIR))
        walk (path, files, changes);
      else
        {
          *changes += check_sample (path);
          (*files)++;
        }
    }
}

static void
test_real_files (void)
{
  const char *data = g_getenv ("H2K_TESTDATA");
  g_autofree char *dir = data ? g_build_filename (data, "boot", NULL) : NULL;
  guint files = 0, changes = 0;

  if (!dir || !g_file_test (dir, G_FILE_TEST_IS_DIR))
    {
      g_test_skip ("the real samples are not here (H2K_TESTDATA)");
      return;
    }
  walk (dir, &files, &changes);
  g_test_message ("%u files, %u lines with devices", files, changes);
  g_assert_cmpuint (files, >, 30);
  g_assert_cmpuint (changes, >, 15);
}

/* Environment blocks, as GRUB writes them and as other programs damaged them. */
static void
test_real_blocks (void)
{
  static const char leapp[] = "boot/leapp/repos/system_upgrade/common/actors/scangrubconfig/tests/"
                              "files/corrupted_grubenv";
  static const struct
  {
    const char *name;
    gboolean valid;
  } blocks[] = {{"grubenv.correct", TRUE}, {"grubenv.wrong1", TRUE}, {"grubenv.wrong2", FALSE}};
  const char *data = g_getenv ("H2K_TESTDATA");

  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    {
      g_autofree char *path = g_build_filename (data ? data : "", leapp, blocks[i].name, NULL);
      g_autofree char *text = NULL;
      g_autoptr (GBytes) before = NULL, after = NULL;
      g_autofree char *saved = NULL;
      g_autoptr (GError) error = NULL;
      gsize size;

      if (!data || !g_file_get_contents (path, &text, &size, NULL))
        {
          g_test_skip ("the real samples are not here (H2K_TESTDATA)");
          return;
        }
      before = g_bytes_new (text, size);
      after = h2k_grubenv_rename (before, rename_device, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpint (after != NULL, ==, blocks[i].valid);
      saved = h2k_grubenv_get (before, "saved_entry");
      g_assert_cmpint (saved != NULL, ==, blocks[i].valid);
      if (after)
        g_assert_true (g_bytes_equal (before, after));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cmdline/parameters", test_parameters);
  g_test_add_func ("/cmdline/default-entry", test_default_entry);
  g_test_add_func ("/cmdline/real-files", test_real_files);
  g_test_add_func ("/cmdline/real-blocks", test_real_blocks);
  return g_test_run ();
}
