/* test-replay.c - the replay of transaction logs: real ones, with the result that Windows made of
 * them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "hives.h"

#include "registry/regf-log.h"

#include <glib/gstdio.h>

typedef struct
{
  const char *hive, *logs[3];
} Sample;

static const Sample old_dirty
    = {"yarp/OldDirtyHive/OldDirtyHive", {"yarp/OldDirtyHive/OldDirtyHive.LOG1"}};
static const Sample bad_base
    = {"yarp/BadBaseBlockHive/BadBaseBlockHive", {"yarp/BadBaseBlockHive/BadBaseBlockHive.LOG1"}};
static const Sample bad_log_1
    = {"yarp/BadLogHive1/BadLogHive", {"yarp/BadLogHive1/BadLogHive.LOG1"}};
static const Sample bad_log_2
    = {"yarp/BadLogHive2/BadLogHive", {"yarp/BadLogHive2/BadLogHive.LOG1"}};
static const Sample windows_10
    = {"regipy/SYSTEM_B.xz", {"regipy/SYSTEM_B.LOG1.xz", "regipy/SYSTEM_B.LOG2.xz"}};
static const Sample swapped
    = {"regipy/SYSTEM_B.xz", {"regipy/SYSTEM_B.LOG2.xz", "regipy/SYSTEM_B.LOG1.xz"}};
static const Sample no_logs = {"regipy/SYSTEM_2.xz"};

/* FS with the sample's files; NULL: skipped. */
static H2kFs *
fs_with (const Sample *sample)
{
  static const char *const names[] = {"/config/HIVE.LOG1", "/config/hive.log2", "/config/HIVE.LOG"};
  g_autoptr (GBytes) hive = hives_sample (sample->hive);
  H2kFs *fs = hive ? hives_fs_new ("fat", 64u << 20) : NULL;

  if (!fs || !image_have ("reglookup"))
    return NULL;
  hives_put (fs, "/config/HIVE", hive);
  for (guint i = 0; i < 3; i++)
    if (sample->logs[i])
      {
        g_autoptr (GBytes) log = hives_sample (sample->logs[i]);

        hives_put (fs, names[i], log);
      }
  return fs;
}

static gboolean
has_note (const H2kHiveInfo *info, const char *text)
{
  for (guint i = 0; i < info->notes->len; i++)
    if (strstr (info->notes->pdata[i], text))
      return TRUE;
  return FALSE;
}

/* What the replay alone makes of the sample. */
static H2kRegf *
replay (const Sample *sample)
{
  g_autoptr (GPtrArray) logs = g_ptr_array_new_with_free_func ((GDestroyNotify)g_bytes_unref);
  g_autoptr (GBytes) hive = hives_sample (sample->hive);
  g_autoptr (GError) error = NULL;
  H2kRegfLog raw[2];
  H2kRegfReplay result = {0};
  H2kRegf *regf;
  guint n = 0;

  if (!hive)
    return NULL;
  regf = h2k_regf_new (NULL, g_bytes_get_size (hive), &error);
  g_assert_no_error (error);
  memcpy (regf->data, g_bytes_get_data (hive, NULL), g_bytes_get_size (hive));
  for (; n < 2 && sample->logs[n]; n++)
    {
      GBytes *log = hives_sample (sample->logs[n]);

      g_ptr_array_add (logs, log);
      raw[n] = (H2kRegfLog){"LOG", g_bytes_get_data (log, NULL), g_bytes_get_size (log)};
    }
  h2k_regf_replay (regf, raw, n, &result, &error);
  g_assert_no_error (error);
  h2k_regf_replay_clear (&result);
  return regf;
}

/* Windows wrote the hive after it had loaded it: the first bin has the time of that, and one key a
 * largest length of its values' names that is right. All other bytes are the same. */
static void
test_bytes_of_windows_7 (void)
{
  static const gsize other[] = {0x1014, 0x1018, 0x6bdc8};
  g_autoptr (GBytes) expected = hives_sample ("yarp/OldDirtyHive/RecoveredHive_Windows7");
  const Sample *const samples[] = {&old_dirty, &bad_base};

  for (guint i = 0; expected && i < 2; i++)
    {
      g_autoptr (H2kRegf) regf = replay (samples[i]);
      const guint8 *windows = g_bytes_get_data (expected, NULL);
      guint next = 0;

      g_assert_cmpuint (regf->size, ==, g_bytes_get_size (expected));
      for (gsize at = 4096; at < regf->size; at += 4)
        if (memcmp (regf->data + at, windows + at, 4) != 0)
          {
            g_assert_cmpuint (next, <, G_N_ELEMENTS (other));
            g_assert_cmpuint (at, ==, other[next]);
            next++;
          }
    }
}

/* The content of the hive after the replay, through an edit that is taken back by the comparison:
 * what a commit writes but for one new key. */
static GBytes *
replayed_content (H2kFs *fs)
{
  g_autoptr (H2kHive) hive = hives_open (fs, TRUE);

  CHECK (h2k_hive_add_key (hive, "zz_h2k", &error));
  CHECK (h2k_hive_commit (hive, &error));
  return hives_get (fs, "/config/HIVE");
}

static void
test_windows_7 (void)
{
  static const char *const ours[] = {"zz_h2k", NULL};
  g_autoptr (GBytes) expected = hives_sample ("yarp/OldDirtyHive/RecoveredHive_Windows7");
  const Sample *const samples[] = {&old_dirty, &bad_base};

  for (guint i = 0; expected && i < 2; i++)
    {
      g_autoptr (H2kFs) fs = fs_with (samples[i]);
      g_autoptr (H2kHive) hive = hives_open (fs, FALSE);
      const H2kHiveInfo *info = h2k_hive_info (hive);
      g_autoptr (GBytes) content = NULL;
      g_auto (GStrv) a = NULL, b = NULL;

      g_assert_true (info->was_dirty);
      g_assert_cmpint (info->header_recovered, ==, i == 1);
      g_assert_cmpuint (info->minor, ==, 3);
      g_assert_cmpuint (info->replayed->len, ==, 1);
      g_assert_cmpstr (info->replayed->pdata[0], ==, "HIVE.LOG1");
      g_assert_cmpuint (info->n_pages, ==, 64);
      g_assert_cmpuint (info->notes->len, ==, 0);
      content = replayed_content (fs);
      a = hives_dump (expected);
      b = hives_dump (content);
      hives_assert_same (a, b, ours);
    }
}

/* The digest is that of the bins after the 24 entries were applied one by one by another program.
 */
static void
test_bytes_of_windows_10 (void)
{
  const Sample *const samples[] = {&windows_10, &swapped};

  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kRegf) regf = replay (samples[i]);
      g_autofree char *digest = NULL;

      if (!regf)
        return;
      digest
          = g_compute_checksum_for_data (G_CHECKSUM_SHA256, regf->data + 4096, regf->size - 4096);
      g_assert_cmpstr (digest, ==,
                       "18df453410086f0eee8ed7161a9e8f63b2977225aab5d30e5894eda30e0d882d");
    }
}

static void
test_windows_10 (void)
{
  const Sample *const samples[] = {&windows_10, &swapped};

  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kFs) fs = fs_with (samples[i]);
      g_autoptr (H2kHive) hive = fs ? hives_open (fs, FALSE) : NULL;
      const H2kHiveInfo *info;
      guint32 current = 0;

      if (!hive)
        return;
      info = h2k_hive_info (hive);
      g_assert_true (info->was_dirty);
      g_assert_cmpuint (info->replayed->len, ==, 2);
      g_assert_cmpstr (info->replayed->pdata[i], ==, "HIVE.LOG1");
      g_assert_cmpuint (info->n_entries, ==, 24);
      g_assert_cmpuint (info->n_pages, ==, 315);
      g_assert_cmpuint (info->sequence, ==, 2130);
      g_assert_cmpuint (info->notes->len, ==, 0);
      g_assert_true (h2k_hive_get_dword (hive, "Select", "Current", &current));
      g_assert_cmpuint (current, ==, 1);
    }
}

static void
test_bad_logs (void)
{
  const Sample *const samples[] = {&bad_log_1, &bad_log_2, &no_logs};
  const char *const reasons[] = {"wrong checksum", "no bitmap", "no log completes it"};

  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (H2kFs) fs = fs_with (samples[i]);
      g_autoptr (H2kHive) hive = fs ? hives_open (fs, FALSE) : NULL;
      const H2kHiveInfo *info;

      if (!hive)
        return;
      info = h2k_hive_info (hive);
      g_assert_true (info->was_dirty);
      g_assert_cmpuint (info->replayed->len, ==, 0);
      g_assert_true (has_note (info, reasons[i]));
      g_assert_true (has_note (info, "taken as it is"));
    }
}

static void
test_lost_base (void)
{
  g_autoptr (H2kFs) fs = fs_with (&bad_base);

  if (!fs)
    return;
  CHECK (fs->ops->remove (fs, "/config/HIVE.LOG1", &error));
  FAILS (h2k_hive_open (fs, "/config/HIVE", FALSE, NULL, &error), H2K_ERROR_FORMAT);
}

/* What is left of a damaged hive is read; Windows has to repair it before anybody edits it. */
static void
test_damaged (void)
{
  static const struct
  {
    Sample sample;
    const char *key, *lost, *note;
  } cases[] = {
      {{"yarp/BadSubkeyHive"}, "1", "3\\subkey", "key \"3\": its list of keys"},
      {{"yarp/TruncatedHive"},
       "key_with_many_subkeys",
       "key_with_many_subkeys\\1",
       "it ends after 8192 of 487424 bytes"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kFs) fs = fs_with (&cases[i].sample);
      g_autoptr (H2kHive) hive = fs ? hives_open (fs, TRUE) : NULL;

      if (!hive)
        return;
      g_assert_true (h2k_hive_has_key (hive, cases[i].key));
      g_assert_false (h2k_hive_has_key (hive, cases[i].lost));
      g_assert_true (has_note (h2k_hive_info (hive), cases[i].note));
      FAILS (h2k_hive_add_key (hive, "new", &error), H2K_ERROR_REPAIR);
      CHECK (h2k_hive_commit (hive, &error));
    }
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/registry/replay/Windows 7 made the same of an old log", test_windows_7);
  g_test_add_func ("/registry/replay/Windows 7 made the same bytes of an old log",
                   test_bytes_of_windows_7);
  g_test_add_func ("/registry/replay/entries of new logs make the bytes that they are to make",
                   test_bytes_of_windows_10);
  g_test_add_func ("/registry/replay/both logs of Windows 10 are applied, whichever is first",
                   test_windows_10);
  g_test_add_func (
      "/registry/replay/a log that does not fit is told of, and the hive taken as it is",
      test_bad_logs);
  g_test_add_func ("/registry/replay/a damaged base block that no log has is an error",
                   test_lost_base);
  g_test_add_func ("/registry/replay/a damaged hive is read, but not edited", test_damaged);
  status = g_test_run ();
  image_cleanup ();
  return status;
}
