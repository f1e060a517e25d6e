/* test-jbd2.c - journals written here by the book, and by debugfs, are replayed as e2fsck does.
 *
 * With `--write-corpus DIR` the journals are saved for fuzz-jbd2 instead.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "fs/jbd2.h"
#include "images.h"

#define BLOCK 1024u
#define LOG_BLOCKS 64u /* the journal: blocks 1 to 64 of the volume */
#define FS_BLOCKS 256u

enum
{
  REVOKE = 0x1,
  WIDE = 0x2,
  ASYNC = 0x4,
  V2 = 0x8,
  V3 = 0x10,
};

typedef struct
{
  const char *name;
  guint32 compat, incompat;
} Config;

static const Config configs[] = {
    {"plain", 0, REVOKE},   {"64bit", 0, REVOKE | WIDE},
    {"v1", 1, REVOKE},      {"v1-async-64bit", 1, REVOKE | WIDE | ASYNC},
    {"v2", 0, REVOKE | V2}, {"v2-64bit", 0, REVOKE | V2 | WIDE},
    {"v3", 0, REVOKE | V3}, {"v3-64bit", 0, REVOKE | V3 | WIDE},
};

/* --- a journal writer ------------------------------------------------------------------------- */

typedef struct
{
  const Config *config;
  guint8 log[LOG_BLOCKS][BLOCK];
  guint32 at, sequence, seed, v1;
  gboolean unlike_uuid; /* tags repeat the UUID */
  guint64 time;
} Writer;

static void
be32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_BE (value);
  memcpy (p, &value, 4);
}

static void
be16 (guint8 *p, guint value)
{
  p[0] = (guint8)(value >> 8);
  p[1] = (guint8)value;
}

/* CRC-32, most significant bit first, bit by bit. */
static guint32
slow_crc32_be (guint32 crc, const guint8 *p, gsize length)
{
  while (length--)
    {
      crc ^= (guint32)*p++ << 24;
      for (int bit = 0; bit < 8; bit++)
        crc = crc & 0x80000000u ? (crc << 1) ^ 0x04c11db7u : crc << 1;
    }
  return crc;
}

static gboolean
has_csum (const Writer *w)
{
  return (w->config->incompat & (V2 | V3)) != 0;
}

static guint8 *
next_block (Writer *w, guint32 type)
{
  guint8 *block = w->log[w->at];

  w->at = w->at + 1 == LOG_BLOCKS ? 1 : w->at + 1;
  memset (block, 0, BLOCK);
  if (type)
    {
      be32 (block, 0xc03b3998u);
      be32 (block + 4, type);
      be32 (block + 8, w->sequence);
    }
  return block;
}

static void
seal (Writer *w, guint8 *block, gsize at)
{
  if (has_csum (w))
    be32 (block + at, h2k_crc32c (w->seed, block, BLOCK));
}

static void
writer_init (Writer *w, const Config *config, guint32 start, guint32 sequence)
{
  guint8 *sb = w->log[0];

  memset (w, 0, sizeof *w);
  w->config = config;
  w->at = start;
  w->sequence = sequence;
  w->time = 1000;
  be32 (sb, 0xc03b3998u);
  be32 (sb + 4, 4);
  be32 (sb + 0x0c, BLOCK);
  be32 (sb + 0x10, LOG_BLOCKS);
  be32 (sb + 0x14, 1);
  be32 (sb + 0x18, sequence);
  be32 (sb + 0x1c, start);
  be32 (sb + 0x24, config->compat);
  be32 (sb + 0x28, config->incompat);
  memcpy (sb + 0x30, "journal's  uuid!", 16);
  if (has_csum (w))
    {
      sb[0x50] = 4;
      be32 (sb + 0xfc, h2k_crc32c (~0u, sb, BLOCK));
    }
  w->seed = h2k_crc32c (~0u, sb + 0x30, 16);
}

/* What transaction SEQUENCE writes into block NUMBER; every third looks like a journal block. */
static void
fill (guint8 *data, guint64 number, guint32 sequence)
{
  memset (data, (int)(number * 5 + sequence * 3), BLOCK);
  if (number % 3 == 0)
    be32 (data, 0xc03b3998u);
}

static gsize
put_tag (Writer *w, guint8 *p, guint64 number, guint flags, const guint8 *logged)
{
  guint8 sequence[4];
  guint32 crc;
  gsize size = 8;

  be32 (sequence, w->sequence);
  crc = h2k_crc32c (h2k_crc32c (w->seed, sequence, 4), logged, BLOCK);
  be32 (p, (guint32)number);
  if (w->config->incompat & V3)
    {
      be32 (p + 4, flags);
      be32 (p + 8, (guint32)(number >> 32));
      be32 (p + 12, crc);
      size = 16;
    }
  else
    {
      be16 (p + 4, has_csum (w) ? crc & 0xffff : 0);
      be16 (p + 6, flags);
      size += w->config->incompat & WIDE ? 4 : 0;
      size += w->config->incompat & V2 ? 2 : 0;
    }
  if (!(flags & 2))
    size += 16;
  return size;
}

/* A descriptor and the COUNT blocks from FIRST on. */
static void
put_blocks (Writer *w, guint64 first, guint count)
{
  guint8 *descriptor = next_block (w, 1);
  gsize at = 12;

  for (guint i = 0; i < count; i++)
    {
      guint8 *data = next_block (w, 0);
      guint flags = (i && !w->unlike_uuid ? 2u : 0) | (i + 1 == count ? 8u : 0);
      fill (data, first + i, w->sequence);
      if (h2k_be32 (data) == 0xc03b3998u)
        {
          be32 (data, 0);
          flags |= 1;
        }
      at += put_tag (w, descriptor + at, first + i, flags, data);
    }
  seal (w, descriptor, BLOCK - 4);
  /* Checksums v1 go over all of it in order. */
  w->v1 = slow_crc32_be (w->v1, descriptor, BLOCK);
  for (guint i = 0, block = (guint)(descriptor - w->log[0]) / BLOCK; i < count; i++)
    {
      block = block + 1 == LOG_BLOCKS ? 1 : block + 1;
      w->v1 = slow_crc32_be (w->v1, w->log[block], BLOCK);
    }
}

static void
put_revoke (Writer *w, guint64 number)
{
  guint8 *block = next_block (w, 5);
  gsize size = w->config->incompat & WIDE ? 8 : 4;

  be32 (block + 12, (guint32)(16 + size));
  be32 (block + 16 + size - 4, (guint32)number);
  seal (w, block, BLOCK - 4);
}

static void
put_commit (Writer *w)
{
  guint8 *block = next_block (w, 2);

  be32 (block + 52, (guint32)++w->time);
  if (w->config->compat & 1)
    {
      block[12] = 1;
      block[13] = 4;
      be32 (block + 16, w->v1);
    }
  else
    seal (w, block, 16);
  w->sequence++;
  w->v1 = ~0u;
}

/* Three transactions that go round the end of the log and of the sequence numbers. */
static void
write_log (Writer *w, const Config *config)
{
  writer_init (w, config, LOG_BLOCKS - 7, 0xfffffffeu);
  w->v1 = ~0u;
  put_blocks (w, 100, 4);
  put_blocks (w, 110, 2);
  put_commit (w);
  put_blocks (w, 102, 3);
  put_revoke (w, 110);
  put_commit (w);
  w->unlike_uuid = TRUE;
  put_blocks (w, 120, 5);
  put_commit (w);
}

/* --- replaying it ----------------------------------------------------------------------------- */

static gboolean
map (gpointer data, guint32 index, guint64 *block, GError **error)
{
  *block = 1 + (guint64)index;
  return TRUE;
}

static H2kDisk *
make_volume (const Writer *w)
{
  H2kDisk *disk = h2k_memory_disk_new (FS_BLOCKS * BLOCK);

  g_assert_true (h2k_disk_pwrite (disk, BLOCK, sizeof w->log, w->log, NULL));
  return disk;
}

static gboolean
replay (H2kDisk *disk, H2kReplay *result, GError **error)
{
  const H2kJournal journal
      = {.block_size = BLOCK, .length = LOG_BLOCKS, .fs_blocks = FS_BLOCKS, .map = map};

  return h2k_jbd2_replay (disk, &journal, result, error);
}

/* Block NUMBER is what transaction SEQUENCE wrote; 0: still zeros. */
static void
assert_block (H2kDisk *disk, guint64 number, gboolean written, guint32 sequence)
{
  guint8 expected[BLOCK] = {0}, found[BLOCK];

  if (written)
    fill (expected, number, sequence);
  g_assert_true (h2k_disk_pread (disk, number * BLOCK, BLOCK, found, NULL));
  g_assert_cmpmem (found, BLOCK, expected, BLOCK);
}

static void
test_replay (gconstpointer data)
{
  g_autofree Writer *w = g_new (Writer, 1);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  guint8 sb[BLOCK];
  H2kReplay result;

  write_log (w, data);
  disk = make_volume (w);
  replay (disk, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result.transactions, ==, 3);
  g_assert_cmpuint (result.blocks, ==, 4 + 1 + 3 + 5);
  g_assert_cmpuint (result.revoked, ==, 1);
  g_assert_cmpuint (result.failed_commit, ==, 0);
  assert_block (disk, 100, TRUE, 0xfffffffeu);
  assert_block (disk, 102, TRUE, 0xffffffffu);
  assert_block (disk, 103, TRUE, 0xffffffffu);
  assert_block (disk, 110, FALSE, 0);
  assert_block (disk, 111, TRUE, 0xfffffffeu);
  for (guint i = 120; i < 125; i++)
    assert_block (disk, i, TRUE, 0);
  assert_block (disk, 125, FALSE, 0);

  /* The journal is empty now, with a valid superblock. */
  g_assert_true (h2k_disk_pread (disk, BLOCK, BLOCK, sb, NULL));
  g_assert_cmpuint (h2k_be32 (sb + 0x1c), ==, 0);
  g_assert_cmpuint (h2k_be32 (sb + 0x18), ==, 2);
  replay (disk, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result.blocks, ==, 0);
}

/* Without its commit block a transaction never was. */
static void
test_incomplete (gconstpointer data)
{
  g_autofree Writer *w = g_new (Writer, 1);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  H2kReplay result;

  writer_init (w, data, 5, 77);
  w->v1 = ~0u;
  put_blocks (w, 100, 2);
  put_commit (w);
  put_blocks (w, 100, 2);
  put_revoke (w, 101);
  disk = make_volume (w);
  replay (disk, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result.transactions, ==, 1);
  assert_block (disk, 100, TRUE, 77);
  assert_block (disk, 101, TRUE, 77);
}

/* The log ends at a commit whose checksum is wrong. */
static void
test_bad_commit (gconstpointer data)
{
  const Config *config = data;
  g_autofree Writer *w = g_new (Writer, 1);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  H2kReplay result;

  if (!config->compat && !(config->incompat & (V2 | V3)))
    return;
  writer_init (w, config, 5, 77);
  w->v1 = ~0u;
  put_blocks (w, 100, 2);
  put_commit (w);
  put_blocks (w, 100, 3);
  put_commit (w);
  w->log[w->at - 1][17] ^= 1;
  disk = make_volume (w);
  replay (disk, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result.transactions, ==, 1);
  g_assert_cmpuint (result.failed_commit, ==, config->incompat & ASYNC ? 0 : 78);
  assert_block (disk, 100, TRUE, 77);
  assert_block (disk, 102, FALSE, 0);
}

static void
assert_fails (Writer *w, int code, const char *word)
{
  g_autoptr (H2kDisk) disk = make_volume (w);
  g_autoptr (GError) error = NULL;
  H2kReplay result;

  g_assert_false (replay (disk, &result, &error));
  g_assert_error (error, H2K_ERROR, code);
  if (!strstr (error->message, word))
    g_error ("\"%s\" is not in: %s", word, error->message);
}

static void
test_broken (void)
{
  const Config *v3 = &configs[6], *plain = &configs[0];
  g_autofree Writer *w = g_new (Writer, 1);

  write_log (w, v3);
  w->log[LOG_BLOCKS - 6][500] ^= 1;
  assert_fails (w, H2K_ERROR_FILESYSTEM, "checksum");
  write_log (w, v3);
  w->log[LOG_BLOCKS - 7][500] ^= 1;
  assert_fails (w, H2K_ERROR_FILESYSTEM, "checksum");
  write_log (w, v3);
  w->log[0][0x18] ^= 1;
  assert_fails (w, H2K_ERROR_FILESYSTEM, "superblock has a wrong checksum");
  write_log (w, plain);
  w->log[0][0x2a] = 1;
  assert_fails (w, H2K_ERROR_UNSUPPORTED, "features");
  write_log (w, plain);
  be32 (w->log[0] + 0x10, LOG_BLOCKS + 1);
  assert_fails (w, H2K_ERROR_FILESYSTEM, "its file has");
  write_log (w, plain);
  be32 (w->log[0] + 0x1c, LOG_BLOCKS);
  assert_fails (w, H2K_ERROR_FILESYSTEM, "starts at block");
  writer_init (w, plain, 5, 1);
  put_blocks (w, FS_BLOCKS - 1, 2);
  put_commit (w);
  assert_fails (w, H2K_ERROR_FILESYSTEM, "behind the filesystem's end");
}

/* A log that never ends does not keep us. */
static void
test_endless (void)
{
  g_autofree Writer *w = g_new (Writer, 1);
  g_autoptr (H2kDisk) disk = NULL;
  H2kReplay result;

  writer_init (w, &configs[0], 1, 9);
  for (guint i = 1; i < LOG_BLOCKS; i++)
    put_revoke (w, 7);
  disk = make_volume (w);
  g_assert_true (replay (disk, &result, NULL));
  g_assert_cmpuint (result.transactions, ==, 0);
}

static void
le (guint8 *p, guint size, guint32 value)
{
  for (guint i = 0; i < size; i++)
    p[i] = (guint8)(value >> (8 * i));
}

/* Fast commits follow the last transaction in an area of their own; old ones lie there, too. */
static void
test_fast_commit (void)
{
  const Config config = {"fast", 0, REVOKE | 0x20};
  const H2kJournal journal = {.block_size = BLOCK, .length = 1300, .fs_blocks = 2000, .map = map};
  g_autofree Writer *w = g_new (Writer, 1);

  for (guint valid = 0; valid < 3; valid++)
    {
      g_autoptr (H2kDisk) disk = h2k_memory_disk_new (2000 * BLOCK);
      g_autoptr (GError) error = NULL;
      guint8 fc[BLOCK] = {0};
      H2kReplay result;

      writer_init (w, &config, 1, 5);
      be32 (w->log[0] + 0x10, 1300);
      be32 (w->log[0] + 0x54, 200);
      put_blocks (w, 1500, 2);
      put_commit (w);
      le (fc, 2, 9); /* head: features, transaction */
      le (fc + 2, 2, 8);
      le (fc + 8, 4, valid == 0 ? 5 : 6);
      le (fc + 12, 2, 8); /* tail: transaction, checksum */
      le (fc + 14, 2, BLOCK - 16);
      le (fc + 16, 4, valid == 0 ? 5 : 6);
      le (fc + 20, 4, h2k_crc32c (0, fc, 20) ^ (valid == 1));
      g_assert_true (h2k_disk_pwrite (disk, BLOCK, sizeof w->log, w->log, NULL));
      g_assert_true (h2k_disk_pwrite (disk, (1 + 1101) * BLOCK, BLOCK, fc, NULL));
      if (valid == 2)
        {
          g_assert_false (h2k_jbd2_replay (disk, &journal, &result, &error));
          g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
          continue;
        }
      h2k_jbd2_replay (disk, &journal, &result, &error);
      g_assert_no_error (error);
      assert_block (disk, 1500, TRUE, 5);
    }
}

/* --- against e2fsck --------------------------------------------------------------------------- */

static const char *const images[] = {
    "-t ext4", "-t ext4 -b 1024",           "-t ext4 -O ^64bit,^metadata_csum -b 2048",
    "-t ext3", "-t ext4 -O ^metadata_csum", "-t ext4 -O metadata_csum_seed",
};

/* debugfs writes four transactions into the journal, e2fsck and we replay them. */
static void
test_debugfs (gconstpointer options)
{
  g_autofree char *path = g_build_filename (image_dir (), "commands", NULL);
  g_autofree char *junk = g_build_filename (image_dir (), "junk", NULL);
  g_autofree guint8 *data = g_malloc (400000);
  const char *commands = "jo%s\njw -b 6000-6019 @/junk\njw -b 6100-6109 @/junk\njw -r 6000-6004\n"
                         "jw -b 6003-6008 @/junk\njc\nquit\n";
  g_autofree char *script = NULL;
  g_autoptr (GString) expanded = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) reference = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GError) error = NULL;
  gboolean csum = strstr (options, "^metadata_csum") == NULL && !strstr (options, "ext3");
  guint8 a[4096], b[4096];

  if (!image_have ("debugfs"))
    return;
  for (guint i = 0; i < 400000; i++)
    data[i] = (guint8)(i / 1024 + i);
  for (guint i = 0; i < 400000; i += 3072) /* needs escaping */
    be32 (data + i, 0xc03b3998u);
  g_assert_true (g_file_set_contents (junk, (char *)data, 400000, NULL));
  script = g_strdup_printf (commands, csum ? " -c" : "");
  expanded = g_string_new (script);
  g_string_replace (expanded, "@", image_dir (), 0);
  g_assert_true (g_file_set_contents (path, expanded->str, -1, NULL));
  h2k_disk_unref (image_mke2fs (options, "32M", TRUE));
  g_assert_cmpint (image_run (NULL, "debugfs -w -f @/commands @/image"), ==, 0);
  disk = image_load ("image");
  image_run (NULL, "e2fsck -fy @/image");
  reference = image_load ("image");

  fs = h2k_fs_open (disk, &error);
  g_assert_no_error (error);
  g_assert_true (fs->journal_replayed);
  g_assert_cmpuint (fs->journal_blocks, >, 20);
  g_assert_true (fs->ops->flush (fs, NULL));
  image_assert_clean (disk);
  for (guint64 at = 6000 * 1024; at < 26 << 20; at += sizeof a)
    {
      g_assert_true (h2k_disk_pread (disk, at, sizeof a, a, NULL));
      g_assert_true (h2k_disk_pread (reference, at, sizeof b, b, NULL));
      if (memcmp (a, b, sizeof a) != 0)
        g_error ("%s: differs from e2fsck's replay at %" G_GUINT64_FORMAT, (const char *)options,
                 at);
    }
}

/* A source that may not be written is seen as it will be after the replay. */
static void
test_read_only (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) frozen = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GError) error = NULL;
  guint8 before[4096], after[4096];

  if (!image_have ("debugfs"))
    return;
  h2k_disk_unref (image_mke2fs ("-t ext4", "32M", TRUE));
  image_run (NULL, "debugfs -w -f @/commands @/image");
  disk = image_load ("image");
  g_assert_true (h2k_disk_pread (disk, 0, sizeof before, before, NULL));
  /* Reads everything, since the journal is not replayed, and writes nothing. */
  frozen = h2k_used_view_new (disk, FALSE, NULL, &error);
  g_assert_no_error (error);
  fs = h2k_fs_open (frozen, &error);
  g_assert_no_error (error);
  g_assert_false (fs->writable);
  bytes = fs->ops->read (fs, "/etc/fstab", 0, 100, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, 14);
  g_assert_false (fs->ops->remove (fs, "/tiny", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_true (h2k_disk_pread (disk, 0, sizeof after, after, NULL));
  g_assert_cmpmem (before, sizeof before, after, sizeof after);
}

static int
write_corpus (const char *dir)
{
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree Writer *w = g_new (Writer, 1);
      g_autofree char *path = g_build_filename (dir, configs[i].name, NULL);
      g_autoptr (GByteArray) data = g_byte_array_new ();
      write_log (w, &configs[i]);
      g_byte_array_append (data, (const guint8 *)"", 1);
      g_byte_array_append (data, w->log[0], sizeof w->log);
      if (!g_file_set_contents (path, (char *)data->data, data->len, NULL))
        return 1;
    }
  return 0;
}

int
main (int argc, char **argv)
{
  int result;

  if (argc == 3 && g_str_equal (argv[1], "--write-corpus"))
    return write_corpus (argv[2]);
  g_test_init (&argc, &argv, NULL);
  image_make_tree ();
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *all = g_strdup_printf ("/jbd2/replay/%s", configs[i].name);
      g_autofree char *part = g_strdup_printf ("/jbd2/incomplete/%s", configs[i].name);
      g_autofree char *bad = g_strdup_printf ("/jbd2/bad-commit/%s", configs[i].name);
      g_test_add_data_func (all, &configs[i], test_replay);
      g_test_add_data_func (part, &configs[i], test_incomplete);
      g_test_add_data_func (bad, &configs[i], test_bad_commit);
    }
  g_test_add_func ("/jbd2/broken", test_broken);
  g_test_add_func ("/jbd2/endless", test_endless);
  g_test_add_func ("/jbd2/fast-commit", test_fast_commit);
  for (gsize i = 0; i < G_N_ELEMENTS (images); i++)
    {
      g_autofree char *name = g_strdup_printf ("/jbd2/debugfs/%s", images[i]);
      g_test_add_data_func (name, images[i], test_debugfs);
    }
  g_test_add_func ("/jbd2/read-only", test_read_only);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
