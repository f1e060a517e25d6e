/* test-bitlocker.c - suspended BitLocker volumes are opened, read and written as dislocker does it,
 * and hostile metadata are refused.
 *
 * The volumes are made by tests/windows/make-bitlocker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "volume/stack.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

#define SIZE (1u << 20)
#define METADATA 65536u
#define PLACES "0x20000,0x60000,0xa0000,0xe0000"
#define PLACES_VISTA "0x20000,0x60000,0xa0000"

/* One of the copies of the metadata. */
enum
{
  BLOCK_SIZE = 8,
  BLOCK_STATE = 12,
  BLOCK_ENCRYPTED_SIZE = 16,
  BLOCK_HEADER_SECTORS = 28,
  BLOCK_METADATA = 32,
  BLOCK_HEADER = 56,
  DATA_SIZE = 64,
  DATA_METHOD = 100,
  DATA_ENTRIES = 112,
};

static const guint64 copies[] = {0x20000, 0x60000, 0xa0000};

typedef struct
{
  H2kDisk *disk; /* in memory */
  guint8 *shown; /* what it shows, SIZE bytes */
} Sample;

static char *
scratch_file (const char *name)
{
  return g_build_filename (g_get_tmp_dir (), name, NULL);
}

static H2kDisk *
load (const char *path)
{
  g_autofree char *data = NULL;
  gsize length;
  H2kDisk *disk;

  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  disk = h2k_memory_disk_new (length);
  g_assert_true (h2k_disk_pwrite (disk, 0, length, data, NULL));
  return disk;
}

/* A volume of chance; of Vista, NTFS' boot sector is at both ends. */
static char *
make_plain (void)
{
  char *path = scratch_file ("plain.img");
  g_autofree guint8 *data = g_malloc (SIZE);
  g_autoptr (GRand) chance = g_rand_new_with_seed (1);
  const guint64 sectors = GUINT64_TO_LE (SIZE / 512 - 1), mirror = GUINT64_TO_LE (77);

  for (guint i = 0; i < SIZE; i++)
    data[i] = (guint8)g_rand_int (chance);
  memcpy (data, "\xeb\x52\x90NTFS    \0\2\4", 14);
  memcpy (data + 40, &sectors, 8);
  memcpy (data + 56, &mirror, 8);
  memcpy (data + 510, "\x55\xaa", 2);
  memcpy (data + SIZE - 512, data, 512);
  g_assert_true (g_file_set_contents (path, (char *)data, SIZE, NULL));
  return path;
}

/* OPTIONS are those of make-bitlocker, by blanks. */
static Sample
sample_new (const char *options)
{
  g_autofree char *maker = g_test_build_filename (G_TEST_DIST, "windows", "make-bitlocker", NULL);
  g_autofree char *plain = make_plain (), *image = scratch_file ("volume.img");
  g_autofree char *shown = scratch_file ("shown.img"), *command = NULL;
  const char *places = strstr (options, "--vista") ? PLACES_VISTA : PLACES;
  Sample sample = {NULL, NULL};
  int status;
  gsize length;

  command = g_strdup_printf ("/usr/bin/python3 '%s' --places %s --shown '%s' %s '%s' '%s'", maker,
                             places, shown, options, plain, image);
  g_assert_true (g_spawn_command_line_sync (command, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
  sample.disk = load (image);
  g_assert_true (g_file_get_contents (shown, (char **)&sample.shown, &length, NULL));
  g_assert_cmpuint (length, ==, SIZE);
  return sample;
}

static void
sample_clear (Sample *sample)
{
  h2k_disk_unref (sample->disk);
  g_free (sample->shown);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Sample, sample_clear)

static H2kDisk *
open_content (H2kDisk *disk)
{
  GError *error = NULL;
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (disk, &error);
  g_autoptr (GBytes) fvek = NULL;
  H2kDisk *content;

  g_assert_no_error (error);
  fvek = h2k_bitlocker_clear_key (volume, "test", &error);
  g_assert_no_error (error);
  g_assert_nonnull (fvek);
  content = h2k_bitlocker_disk_new (disk, volume, fvek, "test", &error);
  g_assert_no_error (error);
  return content;
}

static void
claim_shows (H2kDisk *content, const guint8 *expected)
{
  g_autofree guint8 *data = g_malloc (SIZE);

  g_assert_cmpuint (content->size, ==, SIZE);
  g_assert_true (h2k_disk_pread (content, 0, SIZE, data, NULL));
  g_assert_cmpmem (data, SIZE, expected, SIZE);
}

/* --- reading and writing -----------------------------------------------------------------------
 */

static const struct
{
  const char *options, *cipher;
  gboolean read_by_dislocker; /* that of Debian 12 does not open those of Vista */
} kinds[] = {
    {"--method cbc-128-diffuser", "AES-CBC 128 with diffuser", TRUE},
    {"--method cbc-256-diffuser", "AES-CBC 256 with diffuser", TRUE},
    {"--method cbc-128", "AES-CBC 128", TRUE},
    {"--method cbc-256", "AES-CBC 256", TRUE},
    {"--method xts-128", "AES-XTS 128", TRUE},
    {"--method xts-256", "AES-XTS 256", TRUE},
    {"--method xts-128 --sector 4096", "AES-XTS 128", FALSE},
    {"--method cbc-256-diffuser --sector 4096", "AES-CBC 256 with diffuser", FALSE},
    {"--method cbc-128 --sector 4096", "AES-CBC 128", FALSE},
    {"--method xts-128 --encrypted 0x90000", "AES-XTS 128", TRUE},
    {"--method xts-128 --encrypted 0xe1000", "AES-XTS 128", TRUE},
    {"--method cbc-128-diffuser --vista", "AES-CBC 128 with diffuser", FALSE},
    {"--method cbc-256 --vista", "AES-CBC 256", FALSE},
};

static void
test_read (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_auto (Sample) sample = sample_new (kinds[i].options);
      g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (sample.disk, NULL);
      g_autoptr (H2kDisk) content = open_content (sample.disk);
      g_autoptr (GRand) chance = g_rand_new_with_seed (i);

      g_test_message ("%s", kinds[i].options);
      g_assert_cmpstr (volume->cipher->name, ==, kinds[i].cipher);
      g_assert_cmpuint (volume->protectors, ==, H2K_BITLOCKER_CLEAR_KEY);
      claim_shows (content, sample.shown);
      for (guint n = 0; n < 200; n++)
        {
          guint at = (guint)g_rand_int_range (chance, 0, SIZE);
          gsize length = (gsize)g_rand_int_range (chance, 1, 150000);
          g_autofree guint8 *data = g_malloc (length);

          length = MIN (length, SIZE - at);
          g_assert_true (h2k_disk_pread (content, at, length, data, NULL));
          g_assert_cmpmem (data, length, sample.shown + at, length);
        }
    }
}

/* Writes LENGTH bytes of chance at AT, but zeros where the metadata are. */
static void
write_some (H2kDisk *content, guint8 *model, GRand *chance, guint at, guint length,
            const H2kBitlocker *volume)
{
  for (guint i = at; i < at + length; i++)
    {
      guint64 end;
      gboolean own = h2k_bitlocker_is_own (volume, i, &end) && i >= volume->header_size;
      gboolean boot = i < 512 || i >= SIZE - 512; /* of Vista: not to be changed everywhere */

      if (!own && !boot)
        model[i] = (guint8)g_rand_int (chance);
    }
  g_assert_true (h2k_disk_pwrite (content, at, length, model + at, NULL));
}

static void
claim_dislocker_agrees (H2kDisk *disk, const guint8 *model)
{
  g_autofree char *image = scratch_file ("written.img"), *seen = scratch_file ("seen.img");
  g_autofree guint8 *data = g_malloc (SIZE);
  g_autofree char *command = NULL, *shown = NULL;
  gsize length;
  int status;

  g_assert_true (h2k_disk_pread (disk, 0, SIZE, data, NULL));
  g_assert_true (g_file_set_contents (image, (char *)data, SIZE, NULL));
  command = g_strdup_printf ("dislocker-file -q -r -V '%s' -c -- '%s'", image, seen);
  g_assert_true (g_spawn_command_line_sync (command, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
  g_assert_true (g_file_get_contents (seen, &shown, &length, NULL));
  /* It shows as much as is encrypted. */
  g_assert_cmpuint (length, >, METADATA);
  g_assert_cmpmem (shown, length, model, MIN (length, SIZE));
  g_assert_cmpint (g_unlink (seen), ==, 0);
}

static void
test_write (void)
{
  g_autofree char *dislocker = g_find_program_in_path ("dislocker-file");

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_auto (Sample) sample = sample_new (kinds[i].options);
      g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (sample.disk, NULL);
      g_autoptr (H2kDisk) content = open_content (sample.disk);
      g_autoptr (GRand) chance = g_rand_new_with_seed (i);
      g_autofree guint8 *before = g_malloc (METADATA), *after = g_malloc (METADATA);

      g_test_message ("%s", kinds[i].options);
      g_assert_true (h2k_disk_pread (sample.disk, copies[1], METADATA, before, NULL));
      for (guint n = 0; n < 100; n++)
        {
          guint at = (guint)g_rand_int_range (chance, 0, SIZE);
          guint length = (guint)g_rand_int_range (chance, 1, n % 4 ? 2000 : 150000);
          write_some (content, sample.shown, chance, at, MIN (length, SIZE - at), volume);
        }
      claim_shows (content, sample.shown);
      g_assert_true (h2k_disk_pread (sample.disk, copies[1], METADATA, after, NULL));
      g_assert_cmpmem (before, volume->metadata_size, after, volume->metadata_size);
      if (dislocker && kinds[i].read_by_dislocker)
        claim_dislocker_agrees (sample.disk, sample.shown);
    }
  if (!dislocker)
    g_test_message ("dislocker is not installed: nobody else looked at what was written");
}

static void
test_own_places (void)
{
  g_auto (Sample) sample = sample_new ("");
  g_autoptr (H2kDisk) content = open_content (sample.disk);
  guint8 data[1024] = {0};

  for (guint i = 0; i < G_N_ELEMENTS (copies); i++)
    g_assert_true (h2k_disk_pwrite (content, copies[i] + 100, sizeof data, data, NULL));
  data[600] = 1;
  for (guint i = 0; i < G_N_ELEMENTS (copies); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_false (h2k_disk_pwrite (content, copies[i] + 100, sizeof data, data, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
    }
  g_assert_false (h2k_disk_pwrite (content, 0xe0000, sizeof data, data, NULL));
  claim_shows (content, sample.shown);
}

/* Vista keeps two fields of the boot sector. */
static void
test_boot_sector_of_vista (void)
{
  g_auto (Sample) sample = sample_new ("--vista --method cbc-128");
  g_autoptr (H2kDisk) content = open_content (sample.disk);
  guint8 boot[512], raw[512];

  for (guint64 at = 0; at < SIZE; at += SIZE - 512)
    {
      g_assert_true (h2k_disk_pread (content, at, sizeof boot, boot, NULL));
      g_assert_cmpmem (boot + 3, 8, "NTFS    ", 8);
      g_assert_cmpuint (h2k_le64 (boot + 56), ==, 77);
      boot[100] ^= 0xff;
      g_assert_true (h2k_disk_pwrite (content, at, sizeof boot, boot, NULL));
      g_assert_true (h2k_disk_pread (sample.disk, at, sizeof raw, raw, NULL));
      g_assert_cmpmem (raw + 3, 8, "-FVE-FS-", 8);
      g_assert_cmpuint (h2k_le64 (raw + 56), ==, copies[0] / 2048);
      g_assert_cmpint (raw[100], ==, boot[100]);
      boot[56]++;
      g_assert_false (h2k_disk_pwrite (content, at, sizeof boot, boot, NULL));
    }
}

/* --- metadata ----------------------------------------------------------------------------------
 */

static void
put (H2kDisk *disk, guint64 at, guint64 value, gsize length)
{
  value = GUINT64_TO_LE (value);
  g_assert_true (h2k_disk_pwrite (disk, at, length, &value, NULL));
}

/* The checksum of the copy at AT is made right again. */
static void
seal (H2kDisk *disk, guint64 at)
{
  g_autofree guint8 *block = g_malloc (METADATA);
  gsize length;

  g_assert_true (h2k_disk_pread (disk, at, METADATA, block, NULL));
  length = h2k_le16 (block + BLOCK_SIZE) * 16u;
  if (length + 8 <= METADATA)
    put (disk, at + length + 4, h2k_crc32 (0, block, length), 4);
}

/* FIELD in all copies. */
static void
put_sealed (H2kDisk *disk, guint field, guint64 value, gsize length)
{
  for (guint i = 0; i < G_N_ELEMENTS (copies); i++)
    {
      put (disk, copies[i] + field, value, length);
      seal (disk, copies[i]);
    }
}

static void
test_copies (void)
{
  g_auto (Sample) sample = sample_new ("");
  g_autoptr (H2kDisk) content = NULL;
  g_autoptr (GError) error = NULL;

  put (sample.disk, copies[0] + 200, 0x1234567, 4);
  put (sample.disk, copies[1], 0, 8);
  content = open_content (sample.disk);
  claim_shows (content, sample.shown);
  put (sample.disk, copies[2] + DATA_METHOD, 0x8005, 2);
  g_assert_null (h2k_bitlocker_read (sample.disk, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (error->message, "repair-bde"));
}

static void
test_refused (void)
{
  static const struct
  {
    const char *options;
    guint field;
    guint64 value;
    gsize length;
    int code;
    const char *says;
  } rows[] = {
      {"--states 5,4", 0, 0, 0, H2K_ERROR_UNSUPPORTED, "encryption has not ended"},
      {"--states 2,4", 0, 0, 0, H2K_ERROR_UNSUPPORTED, "manage-bde -resume"},
      {"--states 5,1", 0, 0, 0, H2K_ERROR_UNSUPPORTED, "decryption has not ended"},
      {"--states 4,1", 0, 0, 0, H2K_ERROR_UNSUPPORTED, "decryption has not ended"},
      {"", DATA_METHOD, 0x8006, 2, H2K_ERROR_UNSUPPORTED, "0x8006 is not known"},
      {"", BLOCK_ENCRYPTED_SIZE, 0, 8, H2K_ERROR_FILESYSTEM, "the encrypted size"},
      {"", BLOCK_HEADER, 0, 8, H2K_ERROR_FILESYSTEM, "the encrypted size"},
      {"", BLOCK_HEADER, 0xe0200, 8, H2K_ERROR_FILESYSTEM, "two places"},
      {"", BLOCK_HEADER_SECTORS, 17, 4, H2K_ERROR_FILESYSTEM, "two places"},
      {"", BLOCK_HEADER_SECTORS, 0xffffffff, 4, H2K_ERROR_FILESYSTEM, "two places"},
      {"", BLOCK_METADATA, 0x20200, 8, H2K_ERROR_FILESYSTEM, "different places"},
      {"", BLOCK_METADATA + 16, 0, 8, H2K_ERROR_FILESYSTEM, "different places"},
      {"", DATA_SIZE, 47, 4, H2K_ERROR_FILESYSTEM, "the size of the entries"},
      {"", DATA_SIZE, 0xffffffff, 4, H2K_ERROR_FILESYSTEM, "the size of the entries"},
      {"", BLOCK_SIZE, 6, 2, H2K_ERROR_FILESYSTEM, "no copy"},
      {"", BLOCK_SIZE, 0xffff, 2, H2K_ERROR_FILESYSTEM, "no copy"},
      /* The first entry is no entry, so that there are no others. */
      {"", DATA_ENTRIES, 7, 2, 0, NULL},
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_auto (Sample) sample = sample_new (rows[i].options);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kBitlocker) volume = NULL;

      if (rows[i].length)
        put_sealed (sample.disk, rows[i].field, rows[i].value, rows[i].length);
      volume = h2k_bitlocker_read (sample.disk, &error);
      g_test_message ("row %u: %s", i, error ? error->message : "");
      if (rows[i].says)
        {
          g_assert_error (error, H2K_ERROR, rows[i].code);
          g_assert_nonnull (strstr (error->message, rows[i].says));
          continue;
        }
      g_assert_no_error (error);
      g_assert_null (h2k_bitlocker_clear_key (volume, "test", &error));
      g_assert_no_error (error);
    }
}

/* Places that lie over each other, or beyond the end. */
static void
test_places (void)
{
  static const struct
  {
    guint copy;
    guint64 place;
  } rows[] = {
      {0, 0x1000},  {0, SIZE - 512},        {2, 0x60200},
      {2, 0xdfe00}, {1, G_MAXUINT64 - 511}, {1, 1u << 31},
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_auto (Sample) sample = sample_new ("");
      g_autoptr (GError) error = NULL;

      put (sample.disk, 0xb0 + 8 * rows[i].copy, rows[i].place, 8);
      put_sealed (sample.disk, BLOCK_METADATA + 8 * rows[i].copy, rows[i].place, 8);
      g_assert_null (h2k_bitlocker_read (sample.disk, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
    }
}

static void
test_boot_sector (void)
{
  static const struct
  {
    guint at;
    guint64 value;
    gsize length;
    int code;
  } rows[] = {
      {11, 0, 2, H2K_ERROR_FILESYSTEM},   {11, 8192, 2, H2K_ERROR_FILESYSTEM},
      {11, 513, 2, H2K_ERROR_FILESYSTEM}, {0xa0, 0, 8, H2K_ERROR_UNSUPPORTED},
      {3, 0, 8, H2K_ERROR_FILESYSTEM},
  };
  static const guint8 on_write[16] = {0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d,
                                      0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8};
  g_auto (Sample) sample = sample_new ("");
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (H2kDisk) changed = h2k_overlay_new (sample.disk, NULL, SIZE);
      g_autoptr (GError) local = NULL;

      put (changed, rows[i].at, rows[i].value, rows[i].length);
      g_assert_null (h2k_bitlocker_read (changed, &local));
      g_assert_error (local, H2K_ERROR, rows[i].code);
    }
  g_assert_true (h2k_disk_pwrite (sample.disk, 0xa0, sizeof on_write, on_write, NULL));
  g_assert_null (h2k_bitlocker_read (sample.disk, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "encryption has not ended"));
}

/* A bit of a key, of its MAC or of its nonce. */
static void
test_wrong_key (void)
{
  g_auto (Sample) sample = sample_new ("");
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (sample.disk, NULL);
  gsize length;
  const guint8 *entries = g_bytes_get_data (volume->entries, &length);
  const guint8 *at = entries;
  H2kBitlockerEntry entry;
  guint tried = 0;

  for (gsize left = length; h2k_bitlocker_next (&at, &left, &entry);)
    for (gsize i = 30; entry.type >= 2 && entry.type <= 3 && i < entry.length; i += 7)
      {
        g_autoptr (H2kDisk) changed = h2k_overlay_new (sample.disk, NULL, SIZE);
        gsize place = DATA_ENTRIES + (gsize)(entry.data - entries) + i;
        g_autoptr (H2kBitlocker) other = NULL;
        g_autoptr (GError) error = NULL;
        g_autoptr (GBytes) fvek = NULL;

        put_sealed (changed, (guint)place, entry.data[i] ^ 1u, 1);
        other = h2k_bitlocker_read (changed, &error);
        g_assert_no_error (error);
        fvek = h2k_bitlocker_clear_key (other, "test", &error);
        if (fvek) /* the entry's version, and its key's method */
          continue;
        g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
        tried++;
      }
  g_assert_cmpuint (tried, >, 20);
}

/* --- the stack ---------------------------------------------------------------------------------
 */

static H2kNode *
content_of (const H2kStack *stack)
{
  for (guint i = 0; i < stack->nodes->len; i++)
    if (((H2kNode *)stack->nodes->pdata[i])->kind == H2K_NODE_BITLOCKER)
      return stack->nodes->pdata[i];
  return NULL;
}

static void
test_stack (void)
{
  g_auto (Sample) sample = sample_new ("--protector tpm --protector clear-key");
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kStack) stack = NULL;
  const H2kNode *content;

  g_ptr_array_add (disks, sample.disk);
  stack = h2k_stack_new (disks, NULL, NULL);
  content = content_of (stack);
  g_assert_nonnull (content);
  g_assert_cmpstr (content->type, ==, "BitLocker, AES-XTS 128, suspended (clear key)");
  g_assert_cmpstr (h2k_node_kind_name (content->kind), ==, "bitlocker");
  g_assert_true (h2k_disk_is_writable (content->volume->disk));
  claim_shows (content->volume->disk, sample.shown);
}

static void
test_locked (void)
{
  g_auto (Sample) sample = sample_new ("--protector tpm --protector tpm");
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kStack) stack = NULL;
  const H2kNode *node;

  g_ptr_array_add (disks, sample.disk);
  stack = h2k_stack_new (disks, NULL, NULL);
  node = stack->nodes->pdata[0];
  g_assert_cmpuint (stack->nodes->len, ==, 1);
  g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (node->problem->message, "opens with a TPM, not with a clear key"));
  g_assert_nonnull (strstr (node->problem->message, "manage-bde -protectors -disable"));
}

/* --- passwords ---------------------------------------------------------------------------------
 */

static GBytes *
unlock (const Sample *sample, const char *secret)
{
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (sample->disk, NULL);
  g_autoptr (GPtrArray) secrets = g_ptr_array_new ();
  g_autoptr (GBytes) bytes = g_bytes_new_static (secret, strlen (secret));
  gint64 time_left = G_TIME_SPAN_MINUTE;
  GError *error = NULL;
  GBytes *fvek;

  g_ptr_array_add (secrets, bytes);
  fvek = h2k_bitlocker_unlock (volume, secrets, &time_left, &error);
  g_assert_no_error (error);
  return fvek;
}

static void
test_passwords (void)
{
  static const struct
  {
    const char *secret;
    gboolean opens;
  } rows[] = {
      {"471207-278498-422125-177177-561902-537405-468006-693451", TRUE},
      {"pass phrase \u00e4\u4e16", TRUE},
      {"471207-278498-422125-177177-561902-537405-468006-693440", FALSE},
      {"471207-278498-422125-177177-561902-537405-468006-693452", FALSE},
      {"pass phrase", FALSE},
      {"\xff\xfe", FALSE},
      {"", FALSE},
  };
  g_auto (Sample) sample = sample_new ("--protector password --protector recovery");

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (GBytes) fvek = unlock (&sample, rows[i].secret);

      g_assert_cmpint (fvek != NULL, ==, rows[i].opens);
      if (fvek)
        {
          g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (sample.disk, NULL);
          g_autoptr (H2kDisk) content
              = h2k_bitlocker_disk_new (sample.disk, volume, fvek, "test", NULL);
          claim_shows (content, sample.shown);
        }
    }
}

/* Windows would not start from it: it is read, but not written. */
static void
test_opened_by_key (void)
{
  g_auto (Sample) sample = sample_new ("--protector recovery");
  g_autofree char *file = scratch_file ("recovery.txt");
  g_autofree char *spec = g_strconcat ("all:file:", file, NULL);
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  g_autoptr (H2kStack) stack = NULL;
  g_autofree char *why = NULL;

  g_assert_true (g_file_set_contents (file,
                                      "471207-278498-422125-177177-561902-537405-468006-693451\n",
                                      -1, NULL));
  g_assert_true (h2k_keys_add (keys, spec, NULL));
  g_ptr_array_add (disks, sample.disk);
  stack = h2k_stack_new (disks, keys, NULL);
  g_assert_nonnull (content_of (stack));
  claim_shows (content_of (stack)->volume->disk, sample.shown);
  g_assert_true (content_of (stack)->frozen);
  why = h2k_node_why_read_only (content_of (stack));
  g_assert_nonnull (strstr (why, "BitLocker is not suspended"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bitlocker/every cipher is read, of Vista and of Windows 7 and later",
                   test_read);
  g_test_add_func ("/bitlocker/what is written is read the same by dislocker", test_write);
  g_test_add_func ("/bitlocker/the places of the metadata read as zeros and are not written",
                   test_own_places);
  g_test_add_func ("/bitlocker/the boot sector of Vista keeps what is BitLocker's",
                   test_boot_sector_of_vista);
  g_test_add_func ("/bitlocker/one whole copy of the metadata is enough", test_copies);
  g_test_add_func ("/bitlocker/what cannot be opened is refused with its reason", test_refused);
  g_test_add_func ("/bitlocker/places that overlap or lie outside are refused", test_places);
  g_test_add_func ("/bitlocker/a boot sector that cannot be is refused", test_boot_sector);
  g_test_add_func ("/bitlocker/a key that was changed does not open it", test_wrong_key);
  g_test_add_func ("/bitlocker/a suspended volume is a volume of the stack", test_stack);
  g_test_add_func ("/bitlocker/a locked one is not, and says what to do", test_locked);
  g_test_add_func ("/bitlocker/a recovery password and a password open it", test_passwords);
  g_test_add_func ("/bitlocker/what a key that was given opens is not written", test_opened_by_key);
  return g_test_run ();
}
