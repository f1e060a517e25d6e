/* test-commit.c - hives that are written back: every form of list, failures at any point, and what
 * is refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "hives.h"
#include "memory-fs.h"
#include "windows.h"

#include <sys/resource.h>

/* There in a program that is built with the address sanitizer alone. */
void __asan_init (void) __attribute__ ((weak));

/* --- forms of lists --------------------------------------------------------------------------- */

/* The seed NAME of the fuzzer as a hive: its base block's first 512 bytes, then bins. */
static GBytes *
made_hive (const char *name)
{
  g_autofree char *path = g_test_build_filename (G_TEST_DIST, "fuzz", "corpus", "regf", name, NULL);
  g_autofree char *data = NULL;
  gsize length, size;
  guint8 *hive;

  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  size = 4096 + (length - 512 + 4095) / 4096 * 4096;
  hive = g_malloc0 (size);
  memcpy (hive, data, 512);
  memcpy (hive + 4096, data + 512, length - 512);
  return g_bytes_new_take (hive, size);
}

static H2kFs *
fs_with (GBytes *content)
{
  H2kFs *fs = memory_fs_new ();

  g_byte_array_append (memory_fs_file (fs, "/config/HIVE"), g_bytes_get_data (content, NULL),
                       (guint)g_bytes_get_size (content));
  return fs;
}

static void
assert_keys (H2kHive *hive, const char *expected)
{
  g_autoptr (GPtrArray) keys = h2k_hive_list_keys (hive, "");
  g_autofree char *joined = NULL;

  g_ptr_array_add (keys, NULL);
  joined = g_strjoinv (" ", (GStrv)keys->pdata);
  g_assert_cmpstr (joined, ==, expected);
}

static H2kRegf *
content_of (H2kFs *fs)
{
  g_autoptr (GBytes) content = hives_get (fs, "/config/HIVE");

  return windows_load (content);
}

/* Keys are put where they belong, and lists that become empty go. */
static void
test_lists (gconstpointer data)
{
  const char *form = data;
  g_autoptr (GBytes) content = made_hive (form);
  g_autoptr (H2kFs) fs = fs_with (content);
  g_autoptr (H2kHive) hive = hives_open (fs, TRUE);
  g_autoptr (H2kRegf) added = NULL, some = NULL, none = NULL;
  static const char *const all[] = {"Aa", "A_b", "AB[", "Bb", "Cc", "Dd", "Zz"};

  g_assert_cmpuint (h2k_hive_info (hive)->notes->len, ==, 0);
  CHECK (h2k_hive_add_key (hive, "Zz", &error));
  CHECK (h2k_hive_add_key (hive, "A_b", &error));
  CHECK (h2k_hive_add_key (hive, "AB[", &error));
  CHECK (h2k_hive_commit (hive, &error));
  assert_keys (hive, "Aa AB[ A_b Bb Cc Dd Zz");
  added = content_of (fs);
  windows_assert_sound (added);
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    g_assert_cmpuint (windows_find (added, all[i]), !=, H2K_REGF_NONE);
  if (g_str_has_suffix (form, "li"))
    {
      FAILS (h2k_hive_remove_key (hive, "Cc", &error), H2K_ERROR_REPAIR);
      g_assert_true (h2k_hive_has_key (hive, "Cc"));
      return;
    }
  CHECK (h2k_hive_remove_key (hive, "CC", &error));
  CHECK (h2k_hive_remove_key (hive, "dd", &error));
  CHECK (h2k_hive_remove_key (hive, "zz", &error));
  CHECK (h2k_hive_commit (hive, &error));
  assert_keys (hive, "Aa AB[ A_b Bb");
  some = content_of (fs);
  windows_assert_sound (some);
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    CHECK (h2k_hive_remove_key (hive, all[i], &error));
  CHECK (h2k_hive_commit (hive, &error));
  assert_keys (hive, "");
  none = content_of (fs);
  windows_assert_sound (none);
}

/* --- edits on edits --------------------------------------------------------------------------- */

static void
test_edits_on_edits (void)
{
  g_autoptr (GBytes) content = hives_empty (5);
  g_autoptr (H2kFs) fs = fs_with (content);
  g_autoptr (H2kHive) hive = hives_open (fs, TRUE);
  g_autoptr (H2kRegValue) one = h2k_reg_dword ("v", 1), two = h2k_reg_qword ("V", 2);
  g_autoptr (H2kRegValue) none = h2k_reg_none ("");
  g_autoptr (GPtrArray) values = NULL;
  guint64 number = 0;

  CHECK (h2k_hive_set (hive, "a\\b", one, &error));
  CHECK (h2k_hive_set (hive, "A\\B", two, &error));
  CHECK (h2k_hive_set (hive, "a\\b\\c", one, &error));
  CHECK (h2k_hive_remove_value (hive, "a\\b\\c", "V", &error));
  CHECK (h2k_hive_remove_key (hive, "a\\b\\C", &error));
  CHECK (h2k_hive_set (hive, "gone\\below", one, &error));
  CHECK (h2k_hive_remove_key (hive, "gone", &error));
  CHECK (h2k_hive_set (hive, "back\\old", one, &error));
  CHECK (h2k_hive_remove_key (hive, "back", &error));
  CHECK (h2k_hive_set (hive, "Back", none, &error));
  CHECK (h2k_hive_commit (hive, &error));
  g_assert_true (h2k_hive_get_qword (hive, "a\\b", "v", &number) && number == 2);
  values = h2k_hive_list_values (hive, "a\\b");
  g_assert_cmpuint (values->len, ==, 1);
  assert_keys (hive, "a Back");
  g_assert_false (h2k_hive_has_key (hive, "a\\b\\c"));
  g_assert_false (h2k_hive_has_key (hive, "back\\old"));
  CHECK (h2k_hive_remove_key (hive, "back", &error));
  CHECK (h2k_hive_set (hive, "back\\new", one, &error));
  CHECK (h2k_hive_commit (hive, &error));
  g_assert_true (h2k_hive_has_key (hive, "Back\\NEW"));
  {
    g_autoptr (H2kRegf) regf = content_of (fs);

    windows_assert_sound (regf);
  }
}

static void
test_refused (void)
{
  g_autofree guint8 *data = g_malloc0 (20000);
  g_autofree char *long_name = g_strnfill (256, 'n');
  g_autoptr (GBytes) big = made_hive ("big"), layered = made_hive ("layered");
  g_autoptr (GBytes) empty = hives_empty (5), old = hives_empty (3), ancient = hives_empty (1);
  g_autoptr (H2kFs) fs = fs_with (empty), old_fs = fs_with (old), big_fs = fs_with (big);
  g_autoptr (H2kFs) layered_fs = NULL, ancient_fs = fs_with (ancient);
  g_autoptr (H2kHive) hive = hives_open (fs, TRUE), read_only = hives_open (fs, FALSE);
  g_autoptr (H2kHive) old_hive = hives_open (old_fs, TRUE), big_hive = hives_open (big_fs, TRUE);
  g_autoptr (H2kHive) layered_hive = NULL;
  g_autoptr (H2kRegValue) value = h2k_reg_binary ("v", data, 20000), one = h2k_reg_dword ("v", 1);
  guint8 *base = g_memdup2 (g_bytes_get_data (layered, NULL), g_bytes_get_size (layered));
  g_autoptr (GBytes) flagged = g_bytes_new_take (base, g_bytes_get_size (layered));

  base[144] |= 2;
  hives_seal (base);
  layered_fs = fs_with (flagged);
  layered_hive = hives_open (layered_fs, TRUE);
  g_assert_true (h2k_hive_info (layered_hive)->is_differencing);

  FAILS (h2k_hive_set (hive, "", value, &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_add_key (hive, long_name, &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_add_key (hive, "a\\\\b", &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_remove_key (hive, "", &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_set (read_only, "", one, &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_set (layered_hive, "", one, &error), H2K_ERROR_REPAIR);
  /* It would write the large value anew, in a form that Windows does not know. */
  FAILS (h2k_hive_set (big_hive, "", one, &error), H2K_ERROR_REPAIR);
  CHECK (h2k_hive_set (big_hive, "Aa", one, &error));
  CHECK (h2k_hive_commit (big_hive, &error));
  /* Before 1.4 there is no other form. */
  CHECK (h2k_hive_set (old_hive, "", value, &error));
  CHECK (h2k_hive_commit (old_hive, &error));
  FAILS (h2k_hive_open (ancient_fs, "/config/HIVE", FALSE, NULL, &error), H2K_ERROR_UNSUPPORTED);
  FAILS (h2k_hive_open (fs, "/config/NONE", FALSE, NULL, &error), H2K_ERROR_FAILED);
}

static void
put_data_offset (H2kRegf *regf, guint32 value, guint32 offset)
{
  offset = GUINT32_TO_LE (offset);
  memcpy (regf->data + H2K_REGF_BASE + value + 4 + G_STRUCT_OFFSET (H2kRegfValue, data), &offset,
          4);
}

/* A value whose data are gone: other keys can be edited, and it stays as it is. */
static void
test_damaged_value (void)
{
  g_autoptr (GBytes) empty = hives_empty (5), broken = NULL;
  g_autoptr (H2kFs) fs = fs_with (empty), broken_fs = NULL;
  g_autoptr (H2kHive) hive = hives_open (fs, TRUE), broken_hive = NULL;
  g_autoptr (H2kRegValue) eight = h2k_reg_qword ("eight", 8), one = h2k_reg_dword ("v", 1);
  g_autoptr (H2kRegf) regf = NULL;
  guint32 n, offset;

  CHECK (h2k_hive_set (hive, "a\\b", eight, &error));
  CHECK (h2k_hive_set (hive, "c", one, &error));
  CHECK (h2k_hive_commit (hive, &error));
  regf = content_of (fs);
  offset = h2k_le32 (
      h2k_regf_list_values (regf, h2k_regf_key (regf, windows_find (regf, "a\\b")), &n));
  put_data_offset (regf, offset, 0x7ffffff8);
  broken = g_bytes_new (regf->data, regf->size);
  broken_fs = fs_with (broken);
  broken_hive = hives_open (broken_fs, TRUE);
  g_assert_cmpuint (h2k_hive_info (broken_hive)->notes->len, ==, 1);
  g_assert_null (h2k_hive_get (broken_hive, "a\\b", "eight"));
  FAILS (h2k_hive_set (broken_hive, "a\\b", one, &error), H2K_ERROR_REPAIR);
  FAILS (h2k_hive_remove_key (broken_hive, "a", &error), H2K_ERROR_REPAIR);
  CHECK (h2k_hive_set (broken_hive, "a", one, &error));
  CHECK (h2k_hive_add_key (broken_hive, "a\\b\\below", &error));
  CHECK (h2k_hive_remove_key (broken_hive, "c", &error));
  CHECK (h2k_hive_commit (broken_hive, &error));
  g_assert_true (h2k_hive_has_key (broken_hive, "a\\b\\below"));
}

/* --- failures --------------------------------------------------------------------------------- */

/* Whichever write fails: it is an error; before the hive is touched, no trace is left. */
static void
test_failures (void)
{
  g_autoptr (GBytes) content = made_hive ("dirty");
  g_autoptr (H2kRegValue) one = h2k_reg_dword ("v", 1);
  guint n = 0;
  gboolean ok;

  do
    {
      g_autoptr (H2kFs) fs = fs_with (content);
      g_autoptr (H2kHive) hive = NULL;
      g_autoptr (GError) failure = NULL;
      g_autoptr (GBytes) after = NULL;
      H2kStat st;

      memory_fs_file (fs, "/config/HIVE.LOG1");
      g_byte_array_append (memory_fs_file (fs, "/config/HIVE.LOG2"), (const guint8 *)"junk", 4);
      hive = hives_open (fs, TRUE);
      CHECK (h2k_hive_set (hive, "Aa\\new", one, &error));
      memory_fs_fail_at (fs, ++n);
      ok = h2k_hive_commit (hive, &failure);
      after = hives_get (fs, "/config/HIVE");
      if (ok)
        {
          g_assert_no_error (failure);
          g_assert_cmpuint (memory_fs_changes (fs), ==, n - 1);
          break;
        }
      g_assert_error (failure, H2K_ERROR, H2K_ERROR_REPAIR);
      g_assert_nonnull (strstr (failure->message, "no space left"));
      /* Two files are kept with three changes each, then a flush. */
      if (n <= 7)
        {
          g_assert_true (g_bytes_equal (content, after));
          g_assert_false (fs->ops->lstat (fs, "/config/HIVE.h2k-backup", &st, NULL));
          g_assert_false (fs->ops->lstat (fs, "/config/HIVE.LOG2.h2k-backup", &st, NULL));
        }
      memory_fs_fail_at (fs, 0);
      FAILS (h2k_hive_commit (hive, &error), H2K_ERROR_REPAIR);
      FAILS (h2k_hive_set (hive, "Aa\\other", one, &error), H2K_ERROR_REPAIR);
    }
  while (n < 100);
  g_assert_cmpuint (n, >, 9);
  g_assert_cmpuint (n, <, 30);
}

/* A volume without room for the backup. */
static void
test_full (void)
{
  g_autoptr (H2kFs) fs = hives_fs_new ("fat", 64u << 20);
  g_autoptr (GBytes) content = hives_empty (5), after = NULL;
  g_autoptr (H2kRegValue) one = h2k_reg_dword ("v", 1);
  g_autoptr (H2kHive) hive = NULL;
  g_autofree guint8 *junk = g_malloc0 (1 << 20);
  H2kStat st;

  if (!fs)
    return;
  hives_put (fs, "/config/HIVE", content);
  CHECK (fs->ops->create (fs, "/filler", 0100644, 0, 0, NULL, &error));
  for (guint64 at = 0; fs->ops->write (fs, "/filler", at, junk, 1 << 20, NULL); at += 1 << 20)
    ;
  CHECK (fs->ops->lstat (fs, "/filler", &st, &error));
  for (guint64 at = st.size; fs->ops->write (fs, "/filler", at, junk, 4096, NULL); at += 4096)
    ;
  hive = hives_open (fs, TRUE);
  CHECK (h2k_hive_set (hive, "new", one, &error));
  FAILS (h2k_hive_commit (hive, &error), H2K_ERROR_REPAIR);
  after = hives_get (fs, "/config/HIVE");
  g_assert_true (g_bytes_equal (content, after));
  g_assert_false (fs->ops->lstat (fs, "/config/HIVE.h2k-backup", &st, NULL));
}

/* --- other filesystems, and size -------------------------------------------------------------- */

static void
test_file (gconstpointer type)
{
  g_autoptr (H2kFs) fs = hives_fs_new (type, 64u << 20);
  g_autoptr (GBytes) content = hives_empty (3);
  g_autoptr (H2kRegValue) one = h2k_reg_dword ("v", 1);
  g_autoptr (H2kHive) hive = NULL;
  H2kStat before, after, backup;

  if (!fs)
    return;
  hives_put (fs, "/config/HIVE", content);
  CHECK (fs->ops->lstat (fs, "/config/HIVE", &before, &error));
  hive = hives_open (fs, TRUE);
  CHECK (h2k_hive_set (hive, "new", one, &error));
  CHECK (h2k_hive_commit (hive, &error));
  CHECK (fs->ops->lstat (fs, "/config/HIVE", &after, &error));
  CHECK (fs->ops->lstat (fs, "/config/HIVE.h2k-backup", &backup, &error));
  g_assert_cmpuint (after.inode, ==, before.inode);
  g_assert_cmpuint (after.size, >, before.size);
  g_assert_cmpuint (backup.size, ==, before.size);
  g_assert_cmpuint (backup.mtime, ==, before.mtime);
}

/* hives_empty() with a second bin, where the root's N values of one byte are. */
static GBytes *
many_values (guint32 n)
{
  guint32 length = (32 + 4 + 4 * n + 4 + 32 * n + 8 + 4095) / 4096 * 4096, word;
  guint8 *hive = g_malloc0 (8192 + length), *bin = hive + 8192, *values;
  g_autoptr (GBytes) first = hives_empty (5);

  memcpy (hive, g_bytes_get_data (first, NULL), 8192);
  memcpy (bin, "hbin", 4);
  memcpy (bin + 4, (guint32[]){4096, length}, 8);
  word = 0 - (4 + 4 * n + 4) / 8 * 8;
  memcpy (bin + 32, &word, 4);
  values = bin + 32 - (gint32)word;
  for (guint32 i = 0; i < n; i++, values += 32)
    {
      g_autofree char *name = g_strdup_printf ("v%06u", i);

      word = -32u;
      memcpy (values, &word, 4);
      *(H2kRegfValue *)(values + 4) = (H2kRegfValue){{'v', 'k'}, 7, H2K_REGF_INLINE | 1, 1, 3, 1};
      memcpy (values + 24, name, 7);
      word = (guint32)(values - hive) - 4096;
      memcpy (bin + 36 + 4 * i, &word, 4);
    }
  word = (guint32)(hive + 8192 + length - values);
  memcpy (values, &word, 4);
  memcpy (hive + 4096 + 36 + 36, (guint32[]){n, 4096 + 32}, 8);
  memcpy (hive + 40, (guint32[]){4096 + length}, 4);
  hives_seal (hive);
  return g_bytes_new_take (hive, 8192 + length);
}

static void
test_many_values (void)
{
  for (guint i = 0; i < 2; i++)
    {
      guint32 n = i == 0 ? 50000 : 120000;
      g_autoptr (GBytes) content = many_values (n);
      g_autoptr (H2kFs) fs = fs_with (content);
      g_autoptr (H2kHive) hive = hives_open (fs, TRUE);
      g_autoptr (H2kRegValue) one = h2k_reg_dword ("one", 1), last = NULL;
      g_autoptr (GPtrArray) values = h2k_hive_list_values (hive, "");
      g_autofree char *name = g_strdup_printf ("V%06u", n - 1);

      g_assert_cmpuint (h2k_hive_info (hive)->notes->len, ==, 0);
      g_assert_cmpuint (values->len, ==, n);
      last = h2k_hive_get (hive, "", name);
      g_assert_nonnull (last);
      if (i == 0)
        CHECK (h2k_hive_set (hive, "", one, &error));
      else
        FAILS (h2k_hive_set (hive, "", one, &error), H2K_ERROR_REPAIR);
      CHECK (h2k_hive_set (hive, "new", one, &error));
      CHECK (h2k_hive_commit (hive, &error));
      g_clear_pointer (&values, g_ptr_array_unref);
      values = h2k_hive_list_values (hive, "");
      g_assert_cmpuint (values->len, ==, i == 0 ? n + 1 : n);
    }
}

#define LARGE_BINS 12800u /* of 16 KiB: 200 MiB */
#define LARGE_BIN 16384u

/* Write a hive of 200 MiB to PATH: hives_empty(), and then bins with one value of the root each. */
static void
put_large (H2kFs *fs, const char *path)
{
  g_autoptr (GBytes) first = hives_empty (3);
  g_autofree guint8 *hive = g_memdup2 (g_bytes_get_data (first, NULL), 8192);
  g_autofree guint8 *bin = g_malloc0 (LARGE_BIN), *list = g_malloc0 (65536);
  guint32 numbers[3] = {0, LARGE_BIN}, at = 4096, n;
  guint8 *root = hive + 4096 + 36;

  memcpy (list, "hbin", 4);
  numbers[0] = at;
  numbers[1] = 65536;
  memcpy (list + 4, numbers, 8);
  n = -(65536u - 32);
  memcpy (list + 32, &n, 4);
  CHECK (fs->ops->create (fs, path, 0100644, 0, 0, NULL, &error));
  for (guint i = 0; i < LARGE_BINS; i++)
    {
      guint32 place = 4096 + 65536 + i * LARGE_BIN, value = place + 32;
      g_autofree char *name = g_strdup_printf ("v%07u", i);
      H2kRegfValue *raw = (H2kRegfValue *)(bin + 36);

      memcpy (list + 36 + 4 * i, &value, 4);
      memcpy (bin, "hbin", 4);
      memcpy (bin + 4, &place, 4);
      n = LARGE_BIN;
      memcpy (bin + 8, &n, 4);
      n = -32u;
      memcpy (bin + 32, &n, 4);
      *raw = (H2kRegfValue){{'v', 'k'}, 8, LARGE_BIN - 68, place + 64, H2K_REG_BINARY, 1};
      memcpy (raw->name, name, 8);
      n = -(LARGE_BIN - 64u);
      memcpy (bin + 64, &n, 4);
      memset (bin + 68, (int)i, LARGE_BIN - 68);
      CHECK (fs->ops->write (fs, path, 4096 + (guint64)place, bin, LARGE_BIN, &error));
    }
  n = LARGE_BINS;
  memcpy (root + 36, &n, 4);
  memcpy (root + 40, (guint32[]){at + 32}, 4);
  n = 4096 + 65536 + LARGE_BINS * LARGE_BIN;
  memcpy (hive + 40, &n, 4);
  hives_seal (hive);
  CHECK (fs->ops->write (fs, path, 0, hive, 8192, &error));
  CHECK (fs->ops->write (fs, path, 8192, list, 65536, &error));
}

/* Memory of its own that this process has, in bytes. */
static guint64
own_memory (void)
{
  g_autofree char *status = NULL;
  const char *line;

  g_assert_true (g_file_get_contents ("/proc/self/status", &status, NULL, NULL));
  line = strstr (status, "VmData:");
  g_assert_nonnull (line);
  return g_ascii_strtoull (line + 7, NULL, 10) << 10;
}

/* In a process of its own, which cannot have more memory than ALLOWED bytes besides what it has. */
static void
limit_memory (guint64 allowed)
{
  struct rlimit limit;

  g_assert_cmpint (getrlimit (RLIMIT_DATA, &limit), ==, 0);
  limit.rlim_cur = own_memory () + allowed;
  g_assert_cmpint (setrlimit (RLIMIT_DATA, &limit), ==, 0);
}

static void
test_large (void)
{
  if (g_test_subprocess ())
    {
      g_autoptr (H2kDisk) raw = NULL, disk = NULL;
      g_autoptr (H2kFs) fs = NULL;
      g_autoptr (H2kRegValue) one = h2k_reg_dword ("v", 1), found = NULL;
      g_autoptr (H2kHive) hive = NULL;

      image_must_run ("truncate -s 600M @/large");
      image_must_run ("mkfs.fat -F 32 -s 8 @/large");
      raw = image_open ("large");
      disk = h2k_overlay_new (raw, NULL, 4 << 20);
      fs = image_open_fs (disk, "fat");
      put_large (fs, "/HIVE");
      limit_memory (32u << 20);
      hive = h2k_hive_open (fs, "/HIVE", TRUE, NULL, NULL);
      g_assert_nonnull (hive);
      found = h2k_hive_get (hive, "", "V0012799");
      g_assert_nonnull (found);
      /* hivex has the hive in memory once, and a map of its cells. */
      limit_memory (248u << 20);
      CHECK (h2k_hive_set (hive, "new\\key", one, &error));
      CHECK (h2k_hive_commit (hive, &error));
      g_assert_true (h2k_hive_has_key (hive, "new\\key"));
      return;
    }
  if (!image_have ("mkfs.fat"))
    return;
  if (__asan_init)
    {
      g_test_skip ("a sanitizer needs more memory");
      return;
    }
  g_test_trap_subprocess (NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
  g_test_trap_assert_passed ();
}

int
main (int argc, char **argv)
{
  static const char *const forms[] = {"lh", "lf", "li", "ri-lh", "ri-li"};
  int status;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (forms); i++)
    {
      g_autofree char *path
          = g_strconcat ("/registry/commit/keys come and go in lists of the form/", forms[i], NULL);

      g_test_add_data_func (path, forms[i], test_lists);
    }
  g_test_add_func ("/registry/commit/the last of many edits counts", test_edits_on_edits);
  g_test_add_func ("/registry/commit/what hivex would do wrong is refused", test_refused);
  g_test_add_func ("/registry/commit/a damaged value keeps its own key from being edited",
                   test_damaged_value);
  g_test_add_func ("/registry/commit/a write that fails is an error, whichever it is",
                   test_failures);
  g_test_add_func ("/registry/commit/a full volume leaves the hive as it is", test_full);
  g_test_add_data_func ("/registry/commit/the file stays the same one, its backup is as old/ext",
                        "ext", test_file);
  g_test_add_data_func ("/registry/commit/the file stays the same one, its backup is as old/ntfs",
                        "ntfs", test_file);
  g_test_add_func ("/registry/commit/more values than hivex lists are read, but not changed",
                   test_many_values);
  g_test_add_func ("/registry/commit/a hive of 200 MiB needs its size in memory once, to be edited",
                   test_large);
  status = g_test_run ();
  image_cleanup ();
  return status;
}
