/* test-log.c - transaction logs that are made here: which ones are applied, and how far.
 *
 * The hive has four bins without keys; what logs write is seen in their free cells.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/regf-log.h"

#define BINS 4u
#define TIME G_GUINT64_CONSTANT (0x1d29627f1c8a860)
/* Free room of bin N. */
#define AT(n) ((n)*H2K_REGF_PAGE + 1024)

static void
put32 (guint8 *at, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (at, &value, 4);
}

static void
make_base (guint8 *data, guint32 first, guint32 second, guint32 type, guint64 written)
{
  H2kRegfBase *base = (H2kRegfBase *)data;

  memcpy (base->magic, "regf", 4);
  base->sequence1 = GUINT32_TO_LE (first);
  base->sequence2 = GUINT32_TO_LE (second);
  base->written = GUINT64_TO_LE (written);
  base->major = base->format = base->cluster = GUINT32_TO_LE (1);
  base->minor = GUINT32_TO_LE (5);
  base->type = GUINT32_TO_LE (type);
  base->root = GUINT32_TO_LE (32);
  base->length = GUINT32_TO_LE (BINS * H2K_REGF_PAGE);
  base->checksum = GUINT32_TO_LE (h2k_regf_checksum (base));
}

static void
make_bin (guint8 *bin, guint32 offset)
{
  guint64 written = GUINT64_TO_LE (TIME);

  memcpy (bin, "hbin", 4);
  put32 (bin + 4, offset);
  put32 (bin + 8, H2K_REGF_PAGE);
  memcpy (bin + 20, &written, 8);
  put32 (bin + 32, H2K_REGF_PAGE - 32);
}

static H2kRegf *
hive_new (guint32 first, guint32 second)
{
  g_autoptr (GError) error = NULL;
  H2kRegf *regf = h2k_regf_new (NULL, H2K_REGF_BASE + BINS * H2K_REGF_PAGE, &error);

  g_assert_no_error (error);
  make_base (regf->data, first, second, 0, TIME);
  for (guint32 i = 0; i < BINS; i++)
    make_bin (regf->data + H2K_REGF_BASE + i * H2K_REGF_PAGE, i * H2K_REGF_PAGE);
  return regf;
}

/* What the hive has at OFFSET. */
static guint8
seen (const H2kRegf *regf, guint32 offset)
{
  return regf->data[H2K_REGF_BASE + offset];
}

/* --- logs ------------------------------------------------------------------------------------- */

static GByteArray *
log_new (guint32 type, guint32 sequence, guint64 written)
{
  GByteArray *log = g_byte_array_new ();

  g_byte_array_set_size (log, 512);
  memset (log->data, 0, 512);
  make_base (log->data, sequence, sequence, type, written);
  return log;
}

/* Append LENGTH bytes BYTE. */
static void
fill (GByteArray *log, guint8 byte, guint length)
{
  guint at = log->len;

  g_byte_array_set_size (log, at + length);
  memset (log->data + at, byte, length);
}

static void
seal_entry (guint8 *entry)
{
  guint64 hash = GUINT64_TO_LE (h2k_regf_hash (entry + 40, h2k_le32 (entry + 4) - 40));

  memcpy (entry + 24, &hash, 8);
  hash = GUINT64_TO_LE (h2k_regf_hash (entry, 32));
  memcpy (entry + 32, &hash, 8);
}

/* An entry that writes a page of SIZE bytes BYTE to OFFSET; returns where it is. */
static guint
add_entry (GByteArray *log, guint32 sequence, guint32 bins, guint32 offset, guint32 size,
           guint8 byte)
{
  guint at = log->len, length = (48 + size + 511) / 512 * 512;

  fill (log, 0, 48);
  fill (log, byte, size);
  fill (log, 0, length - 48 - size);
  memcpy (log->data + at, "HvLE", 4);
  put32 (log->data + at + 4, length);
  put32 (log->data + at + 12, sequence);
  put32 (log->data + at + 16, bins * H2K_REGF_PAGE);
  put32 (log->data + at + 20, 1);
  put32 (log->data + at + 40, offset);
  put32 (log->data + at + 44, size);
  seal_entry (log->data + at);
  return at;
}

/* An old log that makes bin 1 all BYTE behind its first sector. */
static GByteArray *
old_log (guint32 type, guint64 written, guint8 byte)
{
  GByteArray *log = log_new (type, 6, written);

  g_byte_array_append (log, (const guint8 *)"DIRT", 4);
  fill (log, 0, 1);
  fill (log, 0xfe, 1);
  fill (log, 0, 512 - 6);
  fill (log, byte, 7 * 512);
  return log;
}

static void
run (H2kRegf *regf, GByteArray *first, GByteArray *second, H2kRegfReplay *replay)
{
  const H2kRegfLog logs[2] = {{"LOG1", first ? first->data : NULL, first ? first->len : 0},
                              {"LOG2", second ? second->data : NULL, second ? second->len : 0}};
  g_autoptr (GError) error = NULL;
  gboolean ok = h2k_regf_replay (regf, logs, 2, replay, &error);

  g_assert_no_error (error);
  g_assert_true (ok);
  g_assert_true (h2k_regf_base_is_valid (regf->data));
  g_assert_cmpuint (h2k_regf_base (regf)->sequence1, ==, h2k_regf_base (regf)->sequence2);
  g_clear_pointer (&first, g_byte_array_unref);
  g_clear_pointer (&second, g_byte_array_unref);
}

static gboolean
has_note (const H2kRegfReplay *replay, const char *text)
{
  for (guint i = 0; i < replay->notes->len; i++)
    if (strstr (replay->notes->pdata[i], text))
      return TRUE;
  return FALSE;
}

#define ASSERT_NOTE(replay, text)                                                                  \
  G_STMT_START                                                                                     \
  {                                                                                                \
    if (!has_note (replay, text))                                                                  \
      g_error ("no note \"%s\", but %u: %s", text, (replay)->notes->len,                           \
               (replay)->notes->len > 0 ? (char *)(replay)->notes->pdata[0] : "");                 \
  }                                                                                                \
  G_STMT_END

/* --- the new format --------------------------------------------------------------------------- */

static void
test_chain (void)
{
  for (guint swapped = 0; swapped < 2; swapped++)
    for (guint wrapped = 0; wrapped < 2; wrapped++)
      {
        guint32 s = wrapped ? 0xfffffffe : 5;
        g_autoptr (H2kRegf) regf = hive_new (s + 1, s);
        GByteArray *early = log_new (6, s, 0), *late = log_new (6, s + 2, 0);
        H2kRegfReplay replay = {0};

        add_entry (early, s, BINS, AT (0), 512, 'a');
        add_entry (early, s + 1, BINS, AT (1), 512, 'b');
        add_entry (late, s + 2, BINS, AT (1), 16, 'c');
        run (regf, swapped ? late : early, swapped ? early : late, &replay);
        g_assert_true (replay.was_dirty);
        g_assert_cmpuint (replay.n_entries, ==, 3);
        g_assert_cmpuint (replay.n_pages, ==, 3);
        g_assert_cmpuint (replay.sequence, ==, s + 2);
        g_assert_cmpuint (replay.highest, ==, s + 2);
        g_assert_cmpuint (replay.replayed->len, ==, 2);
        g_assert_cmpstr (replay.replayed->pdata[0], ==, swapped ? "LOG2" : "LOG1");
        g_assert_cmpuint (seen (regf, AT (0)), ==, 'a');
        g_assert_cmpuint (seen (regf, AT (1)), ==, 'c');
        g_assert_cmpuint (seen (regf, AT (1) + 16), ==, 'b');
        g_assert_cmpuint (replay.notes->len, ==, 0);
        h2k_regf_replay_clear (&replay);
      }
}

typedef enum
{
  HASH_1,
  HASH_2,
  TORN,
  CUT,
  SEQUENCE,
  OUTSIDE,
  TOO_MANY,
  NO_PAGES,
  LENGTH,
  HUGE_LENGTH,
} Defect;

/* Of the second of three entries; what comes before it is applied. */
static const struct
{
  const char *name;
  Defect defect;
  const char *note;
} defects[] = {
    {"hash of the pages", HASH_1, "wrong hash"},
    {"hash of the header", HASH_2, "header has a wrong hash"},
    {"torn", TORN, "torn"},
    {"cut off", CUT, "torn"},
    {"gap in the sequence", SEQUENCE, "another sequence number"},
    {"page outside of the hive", OUTSIDE, "outside of the hive"},
    {"more pages than bytes", TOO_MANY, "contradicts itself"},
    {"no pages", NO_PAGES, "contradicts itself"},
    {"length of the hive", LENGTH, "contradicts itself"},
    {"length that grew without pages", HUGE_LENGTH, "impossible length"},
};

static void
break_entry (GByteArray *log, guint at, Defect defect)
{
  guint8 *entry = log->data + at;
  static const struct
  {
    guint field;
    guint32 value;
  } fields[] = {[TORN] = {4, 0x10000},
                [SEQUENCE] = {12, 9},
                [OUTSIDE] = {40, BINS * H2K_REGF_PAGE - 8},
                [TOO_MANY] = {20, 200},
                [NO_PAGES] = {20, 0},
                [LENGTH] = {16, 4095},
                [HUGE_LENGTH] = {16, 0x40000000}};

  if (defect == HASH_1)
    entry[60] ^= 1;
  else if (defect == HASH_2)
    entry[8] ^= 1;
  else if (defect == CUT)
    g_byte_array_set_size (log, at + 512);
  else
    {
      put32 (entry + fields[defect].field, fields[defect].value);
      if (defect == TORN)
        {
          guint64 hash = GUINT64_TO_LE (h2k_regf_hash (entry, 32));

          memcpy (entry + 32, &hash, 8);
        }
      else
        seal_entry (entry);
    }
}

static void
test_defect (gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data), at;
  g_autoptr (H2kRegf) regf = hive_new (6, 5);
  GByteArray *log = log_new (6, 5, 0), *other = log_new (6, 8, 0);
  H2kRegfReplay replay = {0};

  add_entry (log, 5, BINS, AT (0), 512, 'a');
  at = add_entry (log, 6, BINS, AT (1), 512, 'b');
  add_entry (log, 7, BINS, AT (2), 512, 'c');
  add_entry (other, 8, BINS, AT (3), 512, 'd');
  break_entry (log, at, defects[i].defect);
  run (regf, log, other, &replay);
  g_assert_cmpuint (replay.n_entries, ==, 1);
  g_assert_cmpuint (replay.sequence, ==, 5);
  g_assert_cmpuint (seen (regf, AT (0)), ==, 'a');
  for (guint32 bin = 1; bin < BINS; bin++)
    g_assert_cmpuint (seen (regf, AT (bin)), ==, 0);
  g_assert_cmpuint (regf->size, ==, H2K_REGF_BASE + BINS * H2K_REGF_PAGE);
  ASSERT_NOTE (&replay, defects[i].note);
  ASSERT_NOTE (&replay, "LOG2 is not used: it does not continue LOG1");
  h2k_regf_replay_clear (&replay);
}

/* Entries that are in the hive already, and logs that are no logs. */
static void
test_unfit (void)
{
  static const struct
  {
    guint32 sequence;
    guint at;
    const char *note;
  } cases[] = {{3, 0, "older than the hive"},
               {5, 509, "wrong checksum"},
               {5, 4, "was not completed"},
               {5, 0, NULL}};

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kRegf) regf = hive_new (6, 5);
      GByteArray *log = log_new (6, cases[i].sequence, 0);
      H2kRegfReplay replay = {0};

      add_entry (log, cases[i].sequence, BINS, AT (0), 512, 'a');
      if (cases[i].at)
        log->data[cases[i].at] ^= 0x80;
      if (cases[i].at == 4)
        put32 (log->data + 508, h2k_regf_checksum (log->data));
      run (regf, log, NULL, &replay);
      g_assert_true (replay.was_dirty);
      g_assert_cmpuint (replay.n_entries, ==, cases[i].note ? 0 : 1);
      g_assert_cmpuint (seen (regf, AT (0)), ==, cases[i].note ? 0 : 'a');
      if (cases[i].note)
        {
          ASSERT_NOTE (&replay, cases[i].note);
          ASSERT_NOTE (&replay, "taken as it is");
        }
      h2k_regf_replay_clear (&replay);
    }
}

/* When the earlier log was written into the hive, the later one goes on alone. */
static void
test_later_alone (void)
{
  g_autoptr (H2kRegf) regf = hive_new (8, 7);
  GByteArray *early = log_new (6, 5, 0), *late = log_new (6, 9, 0);
  H2kRegfReplay replay = {0};

  add_entry (early, 5, BINS, AT (0), 512, 'a');
  add_entry (late, 9, BINS, AT (1), 512, 'b');
  run (regf, early, late, &replay);
  g_assert_cmpuint (replay.n_entries, ==, 1);
  g_assert_cmpuint (seen (regf, AT (0)), ==, 0);
  g_assert_cmpuint (seen (regf, AT (1)), ==, 'b');
  g_assert_cmpuint (replay.sequence, ==, 9);
  h2k_regf_replay_clear (&replay);
}

static void
test_clean (void)
{
  g_autoptr (H2kRegf) regf = hive_new (5, 5);
  GByteArray *new = log_new (6, 5, 0), *old = old_log (1, TIME, 'x');
  H2kRegfReplay replay = {0};

  add_entry (new, 5, BINS, AT (0), 512, 'a');
  run (regf, new, old, &replay);
  g_assert_false (replay.was_dirty);
  g_assert_cmpuint (replay.n_entries, ==, 0);
  g_assert_cmpuint (replay.notes->len, ==, 0);
  g_assert_cmpuint (seen (regf, AT (0)), ==, 0);
  g_assert_cmpuint (seen (regf, AT (1)), ==, 0);
  h2k_regf_replay_clear (&replay);
}

static void
test_growth (void)
{
  g_autoptr (H2kRegf) regf = hive_new (6, 5);
  GByteArray *log = log_new (6, 5, 0);
  guint at = add_entry (log, 5, BINS + 1, BINS * H2K_REGF_PAGE, H2K_REGF_PAGE, 0);
  H2kRegfReplay replay = {0};

  make_bin (log->data + at + 48, BINS * H2K_REGF_PAGE);
  put32 (log->data + at + 8, 1);
  seal_entry (log->data + at);
  run (regf, log, NULL, &replay);
  g_assert_cmpuint (replay.n_entries, ==, 1);
  g_assert_cmpuint (regf->size, ==, H2K_REGF_BASE + (BINS + 1) * H2K_REGF_PAGE);
  g_assert_null (h2k_regf_check_bins (regf, FALSE));
  g_assert_cmpuint (regf->length, ==, (BINS + 1) * H2K_REGF_PAGE);
  g_assert_cmpuint (GUINT32_FROM_LE (h2k_regf_base (regf)->flags), ==, 1);
  h2k_regf_replay_clear (&replay);
}

static void
test_base_from_new_log (void)
{
  g_autoptr (H2kRegf) regf = hive_new (6, 5);
  GByteArray *early = log_new (6, 5, 0), *late = log_new (6, 6, 0);
  H2kRegfReplay replay = {0};

  put32 (regf->data + 24, 77);
  add_entry (early, 5, BINS, AT (0), 512, 'a');
  add_entry (late, 6, BINS, AT (1), 512, 'b');
  run (regf, early, late, &replay);
  g_assert_true (replay.header_recovered);
  g_assert_cmpuint (replay.n_entries, ==, 1);
  g_assert_cmpuint (seen (regf, AT (0)), ==, 0);
  g_assert_cmpuint (seen (regf, AT (1)), ==, 'b');
  g_assert_cmpuint (GUINT32_FROM_LE (h2k_regf_base (regf)->minor), ==, 5);
  g_assert_cmpuint (h2k_regf_base (regf)->type, ==, 0);
  ASSERT_NOTE (&replay, "only the later log is");
  h2k_regf_replay_clear (&replay);
}

/* --- the old format --------------------------------------------------------------------------- */

static void
test_old (void)
{
  static const struct
  {
    guint64 first, second; /* when the logs were written; 0: no log */
    guint32 type;
    guint8 expected;
  } cases[] = {
      {TIME, 0, 1, 'a'},
      {TIME, 0, 2, 'a'},
      {TIME - 1, 0, 1, 0},
      {0, TIME, 1, 'b'},
      {TIME, TIME + 1, 1, 'a'},
      {TIME + 1, TIME, 1, 'b'},
      {TIME - 1, TIME + 1, 1, 'b'},
      {TIME + 1, TIME + 2, 1, 'b'},
      {TIME - 2, TIME - 1, 1, 0},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kRegf) regf = hive_new (6, 5);
      GByteArray *first = cases[i].first ? old_log (cases[i].type, cases[i].first, 'a') : NULL;
      GByteArray *second = cases[i].second ? old_log (cases[i].type, cases[i].second, 'b') : NULL;
      H2kRegfReplay replay = {0};

      run (regf, first, second, &replay);
      g_assert_cmpuint (seen (regf, AT (1)), ==, cases[i].expected);
      g_assert_cmpuint (seen (regf, AT (0)), ==, 0);
      g_assert_cmpuint (seen (regf, AT (2)), ==, 0);
      g_assert_cmpuint (seen (regf, H2K_REGF_PAGE), ==, 'h');
      g_assert_cmpuint (replay.n_pages, ==, cases[i].expected ? 7 : 0);
      if (!cases[i].expected)
        ASSERT_NOTE (&replay, "none of its logs was written with it");
      h2k_regf_replay_clear (&replay);
    }
}

static void
test_old_torn (void)
{
  g_autoptr (H2kRegf) regf = hive_new (6, 5);
  GByteArray *log = old_log (1, TIME, 'a');
  H2kRegfReplay replay = {0};

  g_byte_array_set_size (log, log->len - 1);
  run (regf, log, NULL, &replay);
  g_assert_cmpuint (seen (regf, AT (1)), ==, 0);
  ASSERT_NOTE (&replay, "torn");
  h2k_regf_replay_clear (&replay);
}

/* The time is the first bin's then. */
static void
test_base_from_old_log (void)
{
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (H2kRegf) regf = hive_new (6, 5);
      GByteArray *log = old_log (1, TIME, 'a');
      const H2kRegfLog logs[1] = {{"LOG", log->data, log->len}};
      g_autoptr (GError) error = NULL;
      H2kRegfReplay replay = {0};

      memset (regf->data, 0xee, 512);
      if (i == 1)
        regf->data[H2K_REGF_BASE] = 'x';
      g_assert_cmpint (h2k_regf_replay (regf, logs, 1, &replay, &error), ==, i == 0);
      if (i == 0)
        {
          g_assert_true (replay.header_recovered);
          g_assert_true (h2k_regf_base_is_valid (regf->data));
          g_assert_cmpuint (seen (regf, AT (1)), ==, 'a');
        }
      else
        g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      h2k_regf_replay_clear (&replay);
      g_byte_array_unref (log);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/registry/log/entries of both logs are applied in their order", test_chain);
  for (guint i = 0; i < G_N_ELEMENTS (defects); i++)
    {
      g_autofree char *path
          = g_strconcat ("/registry/log/replay ends before an entry with a wrong/", defects[i].name,
                         NULL);

      g_test_add_data_func (path, GUINT_TO_POINTER (i), test_defect);
    }
  g_test_add_func ("/registry/log/a log that does not fit is told of", test_unfit);
  g_test_add_func ("/registry/log/the later log is used without an earlier one that is written",
                   test_later_alone);
  g_test_add_func ("/registry/log/logs of a clean hive mean nothing", test_clean);
  g_test_add_func ("/registry/log/a hive grows with its log", test_growth);
  g_test_add_func ("/registry/log/a damaged base block comes from the later new log",
                   test_base_from_new_log);
  g_test_add_func ("/registry/log/the old log is the one that was written with the hive, or later",
                   test_old);
  g_test_add_func ("/registry/log/a torn old log is not used", test_old_torn);
  g_test_add_func ("/registry/log/a damaged base block comes from an old log of the same time",
                   test_base_from_old_log);
  return g_test_run ();
}
