/* test-luks.c - key slots that ask for too much are left out, and every cipher opens.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "samples.h"

#include "disk/luks.h"
#include "volume/stack.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "H2K_TEST_LUKS_KEY"
#define GIB_IN_KIB ((guint64)1 << 20)

/* struct luks_phdr */
enum
{
  DIGEST_ITERATIONS = 164,
  SLOTS = 208,
  SLOT_LENGTH = 48,
  SLOT_ITERATIONS = 4,
  SLOT_MATERIAL = 40,
};

static const char right[] = "correct horse", wrong[] = "another horse";

/* --- bounds ------------------------------------------------------------------------------------
 */

static void
test_judge (void)
{
  static const struct
  {
    const char *kdf;
    guint64 iterations, memory, lanes, host;
    const char *says; /* NULL: it is tried */
  } rows[] = {
      {"pbkdf2", 1000, 0, 0, 0, NULL},
      {"pbkdf2", 1000000000, 0, 0, 0, NULL},
      {"pbkdf2", 1000000001, 0, 0, 0, "asks for 1000000001 iterations of PBKDF2"},
      {"pbkdf2", G_MAXUINT64, 0, 0, 0, "asks for 18446744073709551615 iterations"},
      {"argon2id", 4, GIB_IN_KIB, 4, 2 * GIB_IN_KIB, NULL},
      {"argon2id", 4, 4 * GIB_IN_KIB, 4, G_MAXUINT64, NULL},
      {"argon2id", 4, 4 * GIB_IN_KIB + 1, 4, G_MAXUINT64, "at most 4194304 are given"},
      {"argon2i", 4, GIB_IN_KIB, 4, GIB_IN_KIB - 1, "this host has 1048575 left"},
      {"argon2i", 4, GIB_IN_KIB, 17, G_MAXUINT64, "asks for 17 threads (argon2i)"},
      {"argon2id", 2048, GIB_IN_KIB, 4, G_MAXUINT64, NULL},
      {"argon2id", 2049, GIB_IN_KIB, 4, G_MAXUINT64, "1048576 KiB of memory 2049 times"},
      {"argon2id", G_MAXUINT64, 8, 1, G_MAXUINT64, "takes too long on any machine"},
      {"argon2id", G_MAXUINT64, 0, 1, G_MAXUINT64, NULL}, /* libcryptsetup refuses it */
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autofree char *why = h2k_luks_judge (rows[i].kdf, rows[i].iterations, rows[i].memory,
                                             rows[i].lanes, rows[i].host);
      g_test_message ("row %u: %s", i, why ? why : "");
      g_assert_cmpint (why == NULL, ==, rows[i].says == NULL);
      g_assert_true (!why || strstr (why, rows[i].says));
    }
}

/* --- hostile headers ---------------------------------------------------------------------------
 */

static void
write_be32 (H2kDisk *disk, guint64 offset, guint32 value)
{
  value = GUINT32_TO_BE (value);
  g_assert_true (h2k_disk_pwrite (disk, offset, sizeof value, &value, NULL));
}

static guint32
read_be32 (H2kDisk *disk, guint64 offset)
{
  guint8 value[4];

  g_assert_true (h2k_disk_pread (disk, offset, sizeof value, value, NULL));
  return h2k_be32 (value);
}

static GBytes *
unlock (H2kDisk *disk, const char *const *passphrases, gint64 *time_left, GError **error)
{
  g_autoptr (GPtrArray) secrets = g_ptr_array_new_with_free_func ((GDestroyNotify)g_bytes_unref);
  g_autoptr (H2kLuksHeader) header = h2k_luks_header_read (disk, error);

  g_assert_nonnull (header);
  for (; *passphrases; passphrases++)
    g_ptr_array_add (secrets, g_bytes_new_static (*passphrases, strlen (*passphrases)));
  return h2k_luks_unlock (disk, header, secrets, time_left, error);
}

/* No process was left behind. */
static void
assert_no_child (void)
{
  g_assert_cmpint (waitpid (-1, NULL, WNOHANG), ==, -1);
}

/* No key slot of DISK opens, and the error says TEXT, at once. */
static void
assert_refused (H2kDisk *disk, const char *text)
{
  const char *const passphrases[] = {right, NULL};
  gint64 time_left = H2K_LUKS_TIME, start = g_get_monotonic_time ();
  g_autoptr (GError) error = NULL;

  g_assert_null (unlock (disk, passphrases, &time_left, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  if (!strstr (error->message, text))
    g_error ("\"%s\" does not say \"%s\"", error->message, text);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 5 * G_TIME_SPAN_SECOND);
  assert_no_child ();
}

static void
assert_opens (H2kDisk *disk, const char *const *passphrases)
{
  gint64 time_left = H2K_LUKS_TIME;
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) key = unlock (disk, passphrases, &time_left, &error);

  g_assert_no_error (error);
  g_assert_nonnull (key);
  g_assert_cmpuint (g_bytes_get_size (key), ==, 16);
  assert_no_child ();
}

static void
test_luks1 (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  H2kDisk *disk = disks->pdata[0];
  const char *const passphrases[] = {wrong, right, NULL};
  guint32 digest = read_be32 (disk, DIGEST_ITERATIONS);

  assert_opens (disk, passphrases);
  write_be32 (disk, SLOTS + SLOT_ITERATIONS, G_MAXUINT32);
  assert_refused (disk, "key slot 0 asks for 4294967295 iterations of PBKDF2");
  write_be32 (disk, SLOTS + SLOT_ITERATIONS, 1000);
  write_be32 (disk, DIGEST_ITERATIONS, 3000000000u);
  assert_refused (disk, "the digest of its key asks for 3000000000 iterations of PBKDF2");
  write_be32 (disk, DIGEST_ITERATIONS, digest);
  assert_opens (disk, passphrases);
}

/* A key slot that is not tried does not keep the next one from being. */
static void
test_next_slot (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  H2kDisk *disk = disks->pdata[0];
  const char *const passphrases[] = {wrong, right, NULL};
  guint64 from = (guint64)read_be32 (disk, SLOTS + SLOT_MATERIAL) * 512;
  guint64 to = (guint64)read_be32 (disk, SLOTS + SLOT_LENGTH + SLOT_MATERIAL) * 512;
  g_autofree guint8 *material = g_malloc (64000);
  guint8 slot[SLOT_MATERIAL];

  /* The second one is the first one, elsewhere; what is in it does not depend on where it is. */
  g_assert_true (h2k_disk_pread (disk, from, 64000, material, NULL));
  g_assert_true (h2k_disk_pwrite (disk, to, 64000, material, NULL));
  g_assert_true (h2k_disk_pread (disk, SLOTS, sizeof slot, slot, NULL));
  g_assert_true (h2k_disk_pwrite (disk, SLOTS + SLOT_LENGTH, sizeof slot, slot, NULL));
  write_be32 (disk, SLOTS + SLOT_ITERATIONS, G_MAXUINT32);
  assert_opens (disk, passphrases);
}

/* What takes too long is ended, and tried with no other key. */
static void
test_deadline (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  const char *const passphrases[] = {wrong, wrong, right, NULL};
  gint64 time_left = G_TIME_SPAN_SECOND / 5, start = g_get_monotonic_time ();
  g_autoptr (GError) error = NULL;

  write_be32 (disks->pdata[0], SLOTS + SLOT_ITERATIONS, 1000000000);
  g_assert_null (unlock (disks->pdata[0], passphrases, &time_left, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "key slot 0 asks for 1000000000 iterations of PBKDF2, "
                                            "which did not end in the 0 seconds"));
  g_assert_cmpint (time_left, <=, 0);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 10 * G_TIME_SPAN_SECOND);
  assert_no_child ();
  g_clear_error (&error);
  write_be32 (disks->pdata[0], SLOTS + SLOT_ITERATIONS, 1000);
  g_assert_null (unlock (disks->pdata[0], passphrases, &time_left, &error));
  g_assert_nonnull (strstr (error->message, "the time for that is over"));
}

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (G_USEC_PER_SEC / 5);
  g_cancellable_cancel (cancellable);
  return NULL;
}

/* Ctrl-C ends the search for volumes as soon as it comes. */
static void
test_cancel (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  gint64 start = g_get_monotonic_time ();
  g_autoptr (GError) error = NULL;
  GThread *thread;

  write_be32 (disks->pdata[0], SLOTS + SLOT_ITERATIONS, 1000000000);
  g_setenv (VARIABLE, right, TRUE);
  g_assert_true (h2k_keys_add (keys, "all:env:" VARIABLE, NULL));
  g_cancellable_push_current (cancellable);
  thread = g_thread_new ("cancel", cancel_soon, cancellable);
  g_assert_null (h2k_stack_new (disks, keys, &error));
  g_cancellable_pop_current (cancellable);
  g_thread_join (thread);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 10 * G_TIME_SPAN_SECOND);
  assert_no_child ();
}

/* --- LUKS2 -------------------------------------------------------------------------------------
 */

#define L2_HEADER 4096u
#define L2_SIZE 16384u
#define L2_CHECKSUM 448u

/* In the JSON area of the first header of DISK, put TO for all from FROM up to END; the checksum is
 * made right. */
static void
edit_json (H2kDisk *disk, const char *from, const char *end, const char *to)
{
  g_autofree guint8 *header = g_malloc0 (L2_SIZE + 1);
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  char *json = (char *)header + L2_HEADER, *start, *stop;
  g_autofree char *rest = NULL;
  gsize length = 32;

  g_assert_true (h2k_disk_pread (disk, 0, L2_SIZE, header, NULL));
  start = strstr (json, from);
  g_assert_nonnull (start);
  stop = strstr (start, end);
  g_assert_nonnull (stop);
  rest = g_strdup (stop + strlen (end));
  memset (start, 0, (gsize)((char *)header + L2_SIZE - start));
  g_strlcpy (start, to, (gsize)((char *)header + L2_SIZE - start));
  g_strlcat (start, rest, (gsize)((char *)header + L2_SIZE - start));
  memset (header + L2_CHECKSUM, 0, 64);
  g_checksum_update (sum, header, L2_SIZE);
  g_checksum_get_digest (sum, header + L2_CHECKSUM, &length);
  g_assert_true (h2k_disk_pwrite (disk, 0, L2_SIZE, header, NULL));
}

/* The container of the sample "luks2-on-lvm". STACK keeps it. */
static H2kDisk *
open_luks2 (GPtrArray *disks, H2kStack **stack)
{
  const H2kNode *node;

  *stack = h2k_stack_new (disks, NULL, NULL);
  g_assert_nonnull (*stack);
  node = h2k_stack_find (*stack, "/dev/vg/secret");
  g_assert_nonnull (node);
  return node->volume->disk;
}

static void
test_luks2 (void)
{
#define SALT "\"salt\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}"
  static const struct
  {
    const char *kdf, *says;
  } rows[] = {
      {"{\"type\":\"argon2id\",\"time\":4,\"memory\":8388608,\"cpus\":4," SALT,
       "key slot 0 asks for 8388608 KiB of memory (argon2id)"},
      {"{\"type\":\"argon2id\",\"time\":2147483647,\"memory\":65536,\"cpus\":4," SALT,
       "key slot 0 asks to fill 65536 KiB of memory 2147483647 times (argon2id)"},
      {"{\"type\":\"argon2i\",\"time\":4,\"memory\":1048576,\"cpus\":100000," SALT,
       "key slot 0 asks for 100000 threads (argon2i)"},
      {"{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":2000000000," SALT,
       "key slot 0 asks for 2000000000 iterations of PBKDF2"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (GPtrArray) disks = sample_load ("luks2-on-lvm");
      g_autoptr (H2kStack) stack = NULL;
      H2kDisk *disk = open_luks2 (disks, &stack);

      edit_json (disk, "{\"type\":\"pbkdf2\"", "}", rows[i].kdf);
      assert_refused (disk, rows[i].says);
    }
}

/* A digest that takes too long to check. */
static void
test_luks2_digest (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks2-on-lvm");
  g_autoptr (H2kStack) stack = NULL;
  H2kDisk *disk = open_luks2 (disks, &stack);

  edit_json (disk, "\"digests\":{\"0\":{", "\"iterations\":1000",
             "\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],\"segments\":[\"0\"],"
             "\"hash\":\"sha256\",\"iterations\":2000000000");
  assert_refused (disk, "the digest of its key asks for 2000000000 iterations");
}

/* --- ciphers -----------------------------------------------------------------------------------
 */

static char *
digest_of (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *data = g_malloc (disk->size);

  g_assert_true (h2k_disk_pread (disk, 0, disk->size, data, NULL));
  g_checksum_update (sum, data, (gssize)disk->size);
  return g_strdup (g_checksum_get_string (sum));
}

/* Write a little, from the middle of a sector on, and read it and what is around it. */
static void
check_write (H2kDisk *disk)
{
  guint8 before[9000], after[9000];

  g_assert_true (h2k_disk_pread (disk, 3000, sizeof before, before, NULL));
  memset (before + 1000, 'x', 5000);
  g_assert_true (h2k_disk_pwrite (disk, 4000, 5000, before + 1000, NULL));
  g_assert_true (h2k_disk_pread (disk, 3000, sizeof after, after, NULL));
  g_assert_cmpmem (before, sizeof before, after, sizeof after);
}

/* What Linux wrote into containers of each kind, and read from them, is what is read here. */
static void
test_ciphers (void)
{
  g_autofree char *path
      = g_test_build_filename (G_TEST_DIST, "fixtures", "volumes", "luks-ciphers", "digests", NULL);
  g_autoptr (GPtrArray) disks = sample_load ("luks-ciphers");
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  g_autoptr (H2kStack) stack = NULL;
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint n = 0;

  g_setenv (VARIABLE, right, TRUE);
  g_assert_true (h2k_keys_add (keys, "all:env:" VARIABLE, NULL));
  stack = h2k_stack_new (disks, keys, NULL);
  g_assert_nonnull (stack);
  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (; lines[n] && *lines[n]; n++)
    {
      g_auto (GStrv) words = g_strsplit (lines[n], "  ", 2);
      const H2kNode *node = h2k_stack_find (stack, words[1]);
      g_autofree char *digest = NULL;

      g_test_message ("%s", words[1]);
      for (guint i = 0; !node && i < stack->nodes->len; i++)
        if (((const H2kNode *)stack->nodes->pdata[i])->problem)
          g_test_message ("%s", ((const H2kNode *)stack->nodes->pdata[i])->problem->message);
      g_assert_nonnull (node);
      digest = digest_of (node->volume->disk);
      g_assert_cmpstr (digest, ==, words[0]);
      check_write (node->volume->disk);
    }
  g_assert_cmpuint (n, ==, 12);
}

/* Format PATH with the words of OPTIONS; FALSE: there is no cryptsetup. */
static gboolean
format (const char *path, const char *options)
{
  g_autofree char *key = g_strconcat (path, ".key", NULL);
  g_autofree char *line = g_strdup_printf (
      "cryptsetup -q luksFormat --disable-locks --offset 8192 -c aes-xts-plain64 -s 512 %s "
      "--key-file %s %s",
      options, key, path);
  int status = -1;

  g_assert_true (g_file_set_contents (key, right, -1, NULL));
  g_assert_true (g_file_set_contents (path, "", 0, NULL));
  g_assert_cmpint (truncate (path, 6 << 20), ==, 0);
  if (!g_spawn_command_line_sync (line, NULL, NULL, &status, NULL))
    return FALSE;
  g_assert_cmpint (status, ==, 0);
  g_unlink (key);
  return TRUE;
}

/* What luks-key.c makes of a passphrase is what libcryptsetup makes of it. */
static void
test_same_key (void)
{
  static const char *const options[] = {
      "--type luks1 --hash sha512 --pbkdf-force-iterations 1000",
      "--type luks2 --pbkdf pbkdf2 --hash sha256 --pbkdf-force-iterations 2000",
      "--type luks2 --pbkdf argon2i --pbkdf-force-iterations 4 --pbkdf-memory 2048 "
      "--pbkdf-parallel 1",
      "--type luks2 --pbkdf argon2id --pbkdf-force-iterations 5 --pbkdf-memory 1111 "
      "--pbkdf-parallel 2",
  };
  g_autofree char *dir = g_dir_make_tmp ("h2k-luks-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (dir, "image", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    {
      const char *const passphrases[] = {right, NULL};
      g_autoptr (H2kDisk) disk = NULL, area = NULL;
      g_autoptr (H2kLuksHeader) header = NULL;
      g_autoptr (H2kLuksSlot) slot = NULL;
      gint64 time_left = H2K_LUKS_TIME;
      g_autoptr (GBytes) key = NULL;
      guint8 own[H2K_LUKS_MAX_KEY];

      g_test_message ("%s", options[i]);
      if (!format (path, options[i]))
        {
          g_test_skip ("cryptsetup is not installed");
          break;
        }
      disk = h2k_disk_open (path, "raw", NULL);
      key = unlock (disk, passphrases, &time_left, NULL);
      g_assert_nonnull (key);
      header = h2k_luks_header_read (disk, NULL);
      slot = h2k_luks_slot_read (disk, header, 0, NULL);
      g_assert_nonnull (slot);
      area = h2k_slice_new (disk, slot->offset, h2k_luks_slot_area (slot), "area", NULL);
      g_assert_cmpint (h2k_luks_slot_open (slot, area, wrong, strlen (wrong), own), ==, -EPERM);
      g_assert_cmpint (h2k_luks_slot_open (slot, area, right, strlen (right), own), ==, 0);
      g_assert_cmpmem (own, slot->volume_key_size, g_bytes_get_data (key, NULL),
                       g_bytes_get_size (key));
    }
  g_unlink (path);
  g_rmdir (dir);
}

/* What is none is refused by its name. */
static void
test_other_ciphers (void)
{
  static const char *const ciphers[]
      = {"aes-xts-plain64be",    "aes-cbc-essiv:md5",     "aes-lrw-benbi",
         "aes-ctr-plain64",      "cast5-cbc-plain64",     "aes-cbc-tcw",
         "blowfish-xts-plain64", "capi:xts(aes)-plain64", ""};
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (1u << 20);
  guint8 bytes[32] = {1};
  g_autoptr (GBytes) key = g_bytes_new (bytes, sizeof bytes);

  for (guint i = 0; i < G_N_ELEMENTS (ciphers); i++)
    {
      H2kLuksHeader header
          = {.version = 2, .cipher = (char *)ciphers[i], .data_offset = 4096, .sector_size = 512};
      g_autoptr (GError) error = NULL;
      g_autofree char *text = g_strdup_printf ("the cipher %s with a key of 256 bits", ciphers[i]);

      g_assert_null (h2k_luks_disk_new (disk, &header, key, "content", &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
      g_assert_nonnull (strstr (error->message, text));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/luks/judge", test_judge);
  g_test_add_func ("/luks/luks1", test_luks1);
  g_test_add_func ("/luks/next-slot", test_next_slot);
  g_test_add_func ("/luks/deadline", test_deadline);
  g_test_add_func ("/luks/cancel", test_cancel);
  g_test_add_func ("/luks/luks2", test_luks2);
  g_test_add_func ("/luks/luks2-digest", test_luks2_digest);
  g_test_add_func ("/luks/ciphers", test_ciphers);
  g_test_add_func ("/luks/same-key", test_same_key);
  g_test_add_func ("/luks/other-ciphers", test_other_ciphers);
  return g_test_run ();
}
