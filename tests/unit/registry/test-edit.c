/* test-edit.c - hives that are edited: real ones, clean and dirty; another reader sees the edits
 * and nothing else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "hives.h"
#include "windows.h"

#include <hivex.h>

static const char *const services[]
    = {"viostor", "vio_stor", "VIO", "vioscsi^", "zz", "1394", "vio[", "netkvm"};

/* Some of everything, below "KEY\\". */
static void
edit (H2kHive *hive, const char *key)
{
  const char *const list[] = {"one", "two", NULL};
  g_autoptr (H2kRegValue) start = h2k_reg_dword ("Start", 0);
  g_autoptr (H2kRegValue) image = h2k_reg_string ("ImagePath", H2K_REG_EXPAND_SZ, "System32\\x");
  g_autoptr (H2kRegValue) group = h2k_reg_string ("Group", H2K_REG_SZ, "SCSI \303\244 miniport");
  g_autoptr (H2kRegValue) owners = h2k_reg_strings ("Owners", list);
  g_autoptr (H2kRegValue) none = h2k_reg_none ("oem1.inf");
  g_autoptr (H2kRegValue) odd = h2k_reg_new ("odd", 0xffff0012, "\1\2\3\4\5", 5);
  g_autoptr (H2kRegValue) size = h2k_reg_qword ("Size", 1u << 30);
  H2kRegValue *const values[] = {start, image, group, owners, none, odd, size};

  for (guint i = 0; i < G_N_ELEMENTS (services); i++)
    {
      g_autofree char *path = g_strconcat (key, "\\", services[i], "\\Parameters", NULL);

      for (guint j = 0; j < G_N_ELEMENTS (values); j++)
        CHECK (h2k_hive_set (hive, path, values[j], &error));
    }
}

static void
assert_edited (H2kHive *hive, const char *key)
{
  for (guint i = 0; i < G_N_ELEMENTS (services); i++)
    {
      g_autofree char *path = g_strconcat (key, "\\", services[i], "\\PARAMETERS", NULL);
      g_autofree char *image = h2k_hive_get_string (hive, path, "imagepath");
      g_autofree char *group = h2k_hive_get_string (hive, path, "Group");
      g_auto (GStrv) owners = h2k_hive_get_strings (hive, path, "Owners");
      g_autoptr (GPtrArray) values = h2k_hive_list_values (hive, path);
      guint32 start = 1;
      guint64 size = 0;

      g_assert_cmpuint (values->len, ==, 7);
      g_assert_true (h2k_hive_get_dword (hive, path, "Start", &start) && start == 0);
      g_assert_true (h2k_hive_get_qword (hive, path, "Size", &size) && size == 1u << 30);
      g_assert_cmpstr (image, ==, "System32\\x");
      g_assert_cmpstr (group, ==, "SCSI \303\244 miniport");
      g_assert_cmpuint (g_strv_length (owners), ==, 2);
    }
}

typedef struct
{
  const char *name, *sample, *logs[2];
  const char *key;     /* gets new keys */
  const char *fs;      /* NULL: FAT */
  gboolean no_removal; /* the keys in KEY are in lists that hivex takes none from */
} Case;

/* The first three have tens of thousands of keys, which take minutes with a sanitizer; the others
 * are enough for that. */
#ifdef __SANITIZE_ADDRESS__
#  define FIRST 3
#else
#  define FIRST 0
#endif

static const Case cases[] = {
    {"Windows 7, clean", "regipy/SYSTEM.xz", {NULL}, "ControlSet001\\Services"},
    {"Windows 8.1, dirty without logs", "regipy/SYSTEM_2.xz", {NULL}, "ControlSet001\\Services"},
    {"Windows 10, dirty",
     "regipy/SYSTEM_B.xz",
     {"regipy/SYSTEM_B.LOG1.xz", "regipy/SYSTEM_B.LOG2.xz"},
     "ControlSet001\\Services",
     "ntfs"},
    {"Windows 7, old log",
     "yarp/OldDirtyHive/OldDirtyHive",
     {"yarp/OldDirtyHive/OldDirtyHive.LOG1"},
     "new"},
    {"a BCD", "regipy/BCD.xz", {NULL}, "Objects"},
    {"many keys", "yarp/ManySubkeysHive", {NULL}, "key_with_many_subkeys", NULL, TRUE},
    {"names in Unicode", "yarp/UnicodeHive", {NULL}, "new"},
    {"big data", "yarp/BigDataHive", {NULL}, "new"},
    {"hivex's own", "hivex/images/special", {NULL}, "new"},
};

static H2kFs *
fs_with (const Case *test)
{
  static const char *const names[] = {"/config/HIVE.LOG1", "/config/HIVE.LOG2"};
  g_autoptr (GBytes) hive = hives_sample (test->sample);
  H2kFs *fs = hive ? hives_fs_new (test->fs ? test->fs : "fat", 128u << 20) : NULL;

  if (!fs || !image_have ("reglookup"))
    return NULL;
  hives_put (fs, "/config/HIVE", hive);
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GBytes) log
          = test->logs[i] ? hives_sample (test->logs[i]) : g_bytes_new_static ("", 0);

      hives_put (fs, names[i], log);
    }
  return fs;
}

static gboolean
same_file (H2kFs *fs, const char *a, const char *sample)
{
  g_autoptr (GBytes) x = hives_get (fs, a), y = hives_sample (sample);

  return x && g_bytes_equal (x, y);
}

static void
assert_backups (H2kFs *fs, const Case *test)
{
  H2kStat st;

  g_assert_true (same_file (fs, "/config/HIVE.h2k-backup", test->sample));
  for (guint i = 0; i < 2; i++)
    {
      g_autofree char *log = g_strdup_printf ("/config/HIVE.LOG%u", i + 1);
      g_autofree char *backup = g_strconcat (log, ".h2k-backup", NULL);

      CHECK (fs->ops->lstat (fs, log, &st, &error));
      g_assert_cmpuint (st.size, ==, 0);
      if (test->logs[i])
        g_assert_true (same_file (fs, backup, test->logs[i]));
      else
        g_assert_false (fs->ops->lstat (fs, backup, &st, NULL));
    }
}

/* In this one references were not counted as Windows does. */
static gboolean
was_sound (const Case *test)
{
  return strcmp (test->sample, "hivex/images/special") != 0;
}

/* The hive as another reader sees it, and Windows would find all of it. */
static GStrv
dump (H2kFs *fs, const Case *test, gboolean edited)
{
  g_autoptr (GBytes) content = hives_get (fs, "/config/HIVE");
  g_autoptr (H2kRegf) regf = windows_load (content);

  if (was_sound (test))
    windows_assert_sound (regf);
  for (guint i = 0; i < G_N_ELEMENTS (services); i++)
    {
      g_autofree char *path = g_strconcat (test->key, "\\", services[i], "\\Parameters", NULL);

      g_assert_cmpint (windows_find (regf, path) != H2K_REGF_NONE, ==, edited);
    }
  return hives_dump (content);
}

static void
remove_all (H2kHive *hive, const Case *test)
{
  for (guint i = 0; i < G_N_ELEMENTS (services); i++)
    {
      g_autofree char *path = g_strconcat (test->key, "\\", services[i], NULL);

      if (test->no_removal)
        FAILS (h2k_hive_remove_key (hive, path, &error), H2K_ERROR_REPAIR);
      else
        CHECK (h2k_hive_remove_key (hive, path, &error));
    }
  if (strcmp (test->key, "new") == 0)
    CHECK (h2k_hive_remove_key (hive, "new", &error));
}

static void
test_edit (gconstpointer data)
{
  const Case *test = data;
  g_autoptr (H2kFs) fs = fs_with (test);
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autofree char *below = g_strdelimit (g_strconcat ("/", test->key, "/", NULL), "\\", '/');
  g_autofree char *itself = g_strconcat ("/", test->key, ",KEY", NULL);
  const char *const allowed[] = {below, itself, NULL};
  g_auto (GStrv) before = NULL, edited = NULL, removed = NULL;
  guint32 sequence;

  if (!hive)
    return;
  sequence = h2k_hive_info (hive)->sequence;
  /* What is there before: the replayed hive, through an edit that is undone. */
  CHECK (h2k_hive_add_key (hive, "zz_h2k", &error));
  CHECK (h2k_hive_commit (hive, &error));
  assert_backups (fs, test);
  CHECK (h2k_hive_remove_key (hive, "ZZ_h2k", &error));
  CHECK (h2k_hive_commit (hive, &error));
  before = dump (fs, test, FALSE);

  edit (hive, test->key);
  assert_edited (hive, test->key);
  g_assert_true (h2k_hive_is_changed (hive));
  CHECK (h2k_hive_commit (hive, &error));
  g_assert_false (h2k_hive_is_changed (hive));
  assert_edited (hive, test->key);
  g_assert_cmpuint (h2k_hive_info (hive)->sequence, ==, sequence + 3);
  assert_backups (fs, test);
  edited = dump (fs, test, TRUE);
  hives_assert_same (before, edited, allowed);

  remove_all (hive, test);
  CHECK (h2k_hive_commit (hive, &error));
  removed = dump (fs, test, test->no_removal);
  hives_assert_same (before, removed, test->no_removal ? allowed : allowed + 2);
}

/* --- what stays ------------------------------------------------------------------------------- */

/* A second run finds everything as it should be, and writes nothing. */
static void
test_again (void)
{
  g_autoptr (H2kFs) fs = fs_with (&cases[2]);
  g_autoptr (GBytes) first = NULL, second = NULL;
  H2kStat st;

  if (!fs)
    return;
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kHive) hive = hives_open (fs, TRUE);

      edit (hive, "ControlSet001\\Services");
      CHECK (h2k_hive_remove_key (hive, "ControlSet001\\Enum\\SW", &error));
      CHECK (h2k_hive_remove_value (hive, "Select", "Default", &error));
      g_assert_cmpint (h2k_hive_is_changed (hive), ==, i == 0);
      CHECK (h2k_hive_commit (hive, &error));
      g_assert_cmpuint (h2k_hive_info (hive)->backups->len, ==, i == 0 ? 3 : 0);
      if (i == 0)
        first = hives_get (fs, "/config/HIVE");
      else
        second = hives_get (fs, "/config/HIVE");
    }
  g_assert_true (g_bytes_equal (first, second));
  g_assert_false (fs->ops->lstat (fs, "/config/HIVE.h2k-backup.h2k-backup", &st, NULL));
}

/* A dirty hive that is only looked at, or edited in vain, stays dirty. */
static void
test_untouched (void)
{
  const Case *test = &cases[2];
  g_autoptr (H2kFs) fs = fs_with (test);
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autoptr (H2kRegValue) current = NULL;
  H2kStat st;

  if (!hive)
    return;
  current = h2k_hive_get (hive, "Select", "Current");
  CHECK (h2k_hive_set (hive, "SELECT", current, &error));
  CHECK (h2k_hive_add_key (hive, "controlset001\\services", &error));
  CHECK (h2k_hive_remove_key (hive, "no\\such\\key", &error));
  CHECK (h2k_hive_remove_value (hive, "Select", "no such value", &error));
  g_assert_false (h2k_hive_is_changed (hive));
  CHECK (h2k_hive_commit (hive, &error));
  g_assert_true (same_file (fs, "/config/HIVE", test->sample));
  g_assert_true (same_file (fs, "/config/HIVE.LOG1", test->logs[0]));
  g_assert_true (same_file (fs, "/config/HIVE.LOG2", test->logs[1]));
  g_assert_false (fs->ops->lstat (fs, "/config/HIVE.h2k-backup", &st, NULL));
}

static gint64
time_of (GBytes *content, const char *key)
{
  g_autoptr (H2kRegf) regf = windows_load (content);

  return (gint64)GUINT64_FROM_LE (h2k_regf_key (regf, windows_find (regf, key))->written);
}

/* The times of keys that were changed, and of no others. */
static void
test_times (void)
{
  static const char *const changed[]
      = {"Select", "ControlSet001\\Services\\viostor", "ControlSet001\\Services"};
  static const char *const same[] = {"ControlSet001", "MountedDevices", "Setup"};
  g_autoptr (H2kFs) fs = fs_with (&cases[0]);
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autoptr (H2kRegValue) failed = h2k_reg_dword ("Failed", 77);
  g_autoptr (GBytes) before = NULL, after = NULL;
  gint64 now = g_get_real_time () * 10 + G_GINT64_CONSTANT (116444736000000000);

  if (!hive)
    return;
  before = hives_get (fs, "/config/HIVE");
  CHECK (h2k_hive_set (hive, "Select", failed, &error));
  CHECK (h2k_hive_set (hive, "ControlSet001\\Services\\viostor", failed, &error));
  CHECK (h2k_hive_commit (hive, &error));
  after = hives_get (fs, "/config/HIVE");
  for (guint i = 0; i < 3; i++)
    {
      g_assert_cmpint (ABS (time_of (after, changed[i]) - now), <, 600 * (gint64)10000000);
      g_assert_cmpint (time_of (after, same[i]), ==, time_of (before, same[i]));
    }
  g_assert_cmpint (ABS ((gint64)h2k_hive_info (hive)->written - now), <, 600 * (gint64)10000000);
}

/* Only pages that differ are written. */
static void
test_pages (void)
{
  g_autoptr (H2kFs) fs = fs_with (&cases[0]);
  g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;
  g_autoptr (H2kRegValue) failed = h2k_reg_dword ("Failed", 77);
  g_autoptr (GBytes) before = NULL, after = NULL;
  const guint8 *a, *b;
  guint n = 0;

  if (!hive)
    return;
  before = hives_get (fs, "/config/HIVE");
  CHECK (h2k_hive_set (hive, "Select", failed, &error));
  CHECK (h2k_hive_commit (hive, &error));
  after = hives_get (fs, "/config/HIVE");
  a = g_bytes_get_data (before, NULL);
  b = g_bytes_get_data (after, NULL);
  for (gsize at = 0; at < g_bytes_get_size (before); at += 4096)
    n += memcmp (a + at, b + at, 4096) != 0;
  /* The base block, the first bin's time and the key; what is new is in a bin of its own. */
  g_assert_cmpuint (n, <=, 5);
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  for (guint i = FIRST; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = g_strconcat ("/registry/edit/real hive/", cases[i].name, NULL);

      g_test_add_data_func (path, &cases[i], test_edit);
    }
  g_test_add_func ("/registry/edit/a second run changes nothing", test_again);
  g_test_add_func ("/registry/edit/a dirty hive that gets no edit stays as it is", test_untouched);
  g_test_add_func ("/registry/edit/times of changed keys are set, and of no others", test_times);
  g_test_add_func ("/registry/edit/few pages of a large hive change", test_pages);
  status = g_test_run ();
  image_cleanup ();
  return status;
}
