/* test-qcow2-luks.c - encrypted qcow2 images: what QEMU writes is read here, and the other way
 * round; hostile headers are refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image-fixture.h"

#include "copy/copy.h"
#include "disk/check.h"
#include "disk/image-key.h"

#define SIZE (4 * MIB)
#define PASSPHRASE "correct horse\n"
#define MARKER "THIS MUST NOT BE SEEN"
#define SECRET "--object secret,id=s,file=key "

/* --- helpers ---------------------------------------------------------------------------------- */

static H2kImageKey *
key_of (Fixture *f, const char *passphrase)
{
  g_autofree char *path = path_of (f, "key");
  g_autoptr (GError) error = NULL;
  H2kImageKey *key;

  save (f, "key", passphrase, strlen (passphrase));
  key = h2k_image_key_read (path, &error);
  g_assert_no_error (error);
  return key;
}

static H2kDisk *
open_with (Fixture *f, const char *name, H2kImageKey *key, GError **error)
{
  g_autofree char *path = path_of (f, name);

  return h2k_disk_open_with (path, "qcow2", key, error);
}

/* Opening NAME with KEY fails so. */
static void
refused (Fixture *f, const char *name, H2kImageKey *key, H2kError code, const char *says)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = open_with (f, name, key, &error);

  g_assert_null (disk);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, says))
    g_error ("\"%s\" is not in: %s", says, error->message);
}

/* What QEMU reads in the image NAME, which builds on nothing encrypted. */
static guint8 *
read_by_qemu (Fixture *f, const char *name)
{
  gsize size;

  run (f,
       "qemu-img convert " SECRET "--image-opts -O raw "
       "driver=qcow2,encrypt.key-secret=s,file.filename=%s plain.raw",
       name);
  return load (f, "plain.raw", &size);
}

/* An overlay of SIZE bytes over "base.raw" with some of everything. */
static H2kDisk *
make_changes (Fixture *f, guint8 **expected)
{
  g_autofree guint8 *base = g_malloc (SIZE);
  g_autoptr (H2kDisk) disk = NULL;
  H2kDisk *overlay;
  g_autoptr (GError) error = NULL;

  for (gsize i = 0; i < SIZE; i++)
    base[i] = (guint8)(i * 7 + i / 4096);
  save (f, "base.raw", base, SIZE);
  disk = open_disk (f, "base.raw", "raw");
  overlay = h2k_overlay_new (disk, NULL, SIZE);
  for (guint i = 0; i < 5; i++)
    h2k_disk_pwrite (overlay, i * 300001, strlen (MARKER), MARKER, &error);
  h2k_disk_zero (overlay, 2 * MIB, 200000, &error);
  h2k_disk_pwrite (overlay, SIZE - 5, 5, "tail.", &error);
  g_assert_no_error (error);
  *expected = g_malloc (SIZE);
  h2k_disk_pread (overlay, 0, SIZE, *expected, &error);
  g_assert_no_error (error);
  return overlay;
}

/* NAME: the changes, encrypted with a new volume key. */
static guint8 *
make_image (Fixture *f, const char *name, H2kImageKey *key)
{
  g_auto (H2kImageLuks) luks = {0};
  g_autofree char *path = path_of (f, name);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  guint8 *expected;

  overlay = make_changes (f, &expected);
  h2k_image_luks_new (key, &luks, &error);
  g_assert_no_error (error);
  h2k_qcow2_save_encrypted (overlay, path, 0600, "base.raw", "raw", &luks, NULL, &error);
  g_assert_no_error (error);
  return expected;
}

/* --- peers ------------------------------------------------------------------------------------ */

static void
test_qemu_reads_ours (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE);
  g_autofree guint8 *expected = make_image (f, "a.qcow2", key);
  g_autofree guint8 *file = NULL, *theirs = NULL;
  gsize size;

  g_assert_nonnull (strstr (run (f, "qemu-img check " SECRET "--image-opts "
                                    "driver=qcow2,encrypt.key-secret=s,file.filename=a.qcow2"),
                            "No errors"));
  g_assert_nonnull (strstr (run (f, "qemu-img info a.qcow2"), "format: luks"));
  theirs = read_by_qemu (f, "a.qcow2");
  g_assert_cmpmem (theirs, SIZE, expected, SIZE);
  file = load (f, "a.qcow2", &size);
  g_assert_null (memmem (file, size, MARKER, strlen (MARKER)));
}

static void
test_own_images (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE), again = NULL;
  g_autofree guint8 *expected = make_image (f, "a.qcow2", key);
  g_autofree char *path = path_of (f, "key"), *image = path_of (f, "a.qcow2");
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kCheck) check = h2k_check_new ();
  g_autoptr (GError) error = NULL;
  H2kStored stored;

  again = h2k_image_key_read (path, &error);
  g_assert_no_error (error);
  disk = open_with (f, "a.qcow2", again, &error);
  g_assert_no_error (error);
  check_content (disk, expected, SIZE);
  check_extents (disk, expected);
  /* The bytes in the file are not the disk's, but those of the base are. */
  g_assert_false (h2k_disk_stored (disk, 0, 4096, &stored));
  g_assert_true (h2k_disk_stored (disk, 3 * MIB, 4096, &stored));
  g_assert_true (h2k_disk_check (image, "qcow2", check, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (check->corruptions, ==, 0);
  g_assert_cmpuint (check->leaks, ==, 0);
}

static void
test_layer_without_key (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE);
  g_autoptr (H2kDisk) nothing = h2k_memory_disk_new (SIZE), over = NULL;
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (nothing, NULL, 0);
  g_auto (H2kImageLuks) luks = {0};
  g_autofree char *path = path_of (f, "b.qcow2"), *other = path_of (f, "c.qcow2");
  g_autofree guint8 *expected = make_image (f, "a.qcow2", key);
  g_autoptr (GError) error = NULL;

  g_assert_true (h2k_image_luks_new (key, &luks, NULL));
  g_clear_pointer (&luks.cipher, h2k_luks_cipher_unref);
  h2k_qcow2_save_encrypted (overlay, path, 0600, "a.qcow2", "qcow2", &luks, NULL, &error);
  g_assert_no_error (error);
  over = open_with (f, "b.qcow2", key, &error);
  g_assert_no_error (error);
  check_content (over, expected, SIZE);
  run (f, "qemu-io " SECRET "--image-opts -c \"write -P 9 1M 3k\" "
          "driver=qcow2,encrypt.key-secret=s,backing.encrypt.key-secret=s,backing.driver=qcow2,"
          "backing.file.filename=a.qcow2,file.filename=b.qcow2");
  g_clear_pointer (&over, h2k_disk_unref);
  over = open_with (f, "b.qcow2", key, &error);
  g_assert_no_error (error);
  memset (expected + MIB, 9, 3072);
  check_content (over, expected, SIZE);
  /* Data need the key. */
  h2k_disk_pwrite (overlay, 0, 5, "hello", NULL);
  g_assert_false (
      h2k_qcow2_save_encrypted (overlay, other, 0600, "a.qcow2", "qcow2", &luks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_false (g_file_test (other, G_FILE_TEST_EXISTS));
}

/* QEMU gives up when the host is too busy for it to measure how fast it is. */
static void
create_by_qemu (Fixture *f, const char *options)
{
  run (f,
       "sh -c \"for i in 1 2 3 4 5 6 7 8 9; do qemu-img create -q " SECRET "-f qcow2 -o "
       "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,%s a.qcow2 4M && exit; "
       "done; exit 1\"",
       options);
}

static void
test_qemus_images (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {
      "cluster_size=64k",
      "cluster_size=16k,extended_l2=on",
      ("cluster_size=512,encrypt.cipher-alg=serpent-256,encrypt.cipher-mode=cbc,"
       "encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256"),
  };
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE);

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    {
      g_autofree guint8 *expected = NULL;
      g_autoptr (H2kDisk) disk = NULL;
      g_autoptr (GError) error = NULL;

      create_by_qemu (f, options[i]);
      run (f,
           "qemu-io " SECRET "--image-opts -c \"write -P 1 0 1M\" -c \"write -P 2 1234560 5000\" "
           "-c \"write -z 512k 128k\" -c \"discard 0 64k\" -c \"write -P 3 4193792 512\" "
           "-c \"write -P 5 2M 700k\" -c \"discard 2200k 100k\" "
           "driver=qcow2,discard=unmap,encrypt.key-secret=s,file.filename=a.qcow2");
      expected = read_by_qemu (f, "a.qcow2");
      disk = open_with (f, "a.qcow2", key, &error);
      g_assert_no_error (error);
      check_content (disk, expected, SIZE);
      check_extents (disk, expected);
    }
}

/* --- keys ------------------------------------------------------------------------------------- */

static void
test_wrong_keys (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kImageKey) right = key_of (f, PASSPHRASE), wrong = NULL;

  g_free (make_image (f, "a.qcow2", right));
  wrong = key_of (f, "correct horse"); /* the line's end counts */
  refused (f, "a.qcow2", wrong, H2K_ERROR_SOURCE, "the key that was given does not open it");
  refused (f, "a.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "no key was given");
}

static void
test_key_files (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *content;
    gsize length;
    int mode;
    const char *says; /* NULL: it is taken */
  } rows[] = {
      {"x", 1, 0600, NULL},
      {"x\n", 2, 0400, NULL},
      {"x", 1, 0640, "by others than its owner"},
      {"x", 1, 0604, "by others than its owner"},
      {"x", 1, 0620, "by others than its owner"},
      {"", 0, 0600, "is empty"},
      {"a\0b", 3, 0600, "is no text"},
      {"\xff\xfe", 2, 0600, "is no text"},
  };
  g_autofree char *path = path_of (f, "k"), *missing = path_of (f, "missing");
  g_autoptr (GError) none = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kImageKey) key = NULL;

      save (f, "k", rows[i].content, rows[i].length);
      g_assert_cmpint (g_chmod (path, rows[i].mode), ==, 0);
      key = h2k_image_key_read (path, &error);
      if (!rows[i].says)
        {
          g_assert_no_error (error);
          g_assert_cmpuint (g_bytes_get_size (h2k_image_key_secret (key)), ==, rows[i].length);
          continue;
        }
      g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
      g_assert_nonnull (strstr (error->message, rows[i].says));
    }
  g_assert_null (h2k_image_key_read (missing, &none));
  g_assert_error (none, H2K_ERROR, H2K_ERROR_SOURCE);
}

/* --- hostile images --------------------------------------------------------------------------- */

/* Where the extension of a small image of ours begins. */
#define EXTENSION 112
#define LUKS 65536

static void
test_hostile (Fixture *f, gconstpointer data)
{
  static const struct
  {
    gsize at;
    guint64 value;
    gsize size;
    H2kError code;
    const char *says;
  } rows[] = {
      {32, 1, 4, H2K_ERROR_UNSUPPORTED, "is encrypted (AES)"},
      {32, 3, 4, H2K_ERROR_UNSUPPORTED, "method unknown"},
      {32, 0, 4, H2K_ERROR_FORMAT, "does not belong there"},
      {EXTENSION, 0x12345678, 4, H2K_ERROR_FORMAT, "the LUKS header is not aligned"},
      {EXTENSION + 4, 8, 4, H2K_ERROR_FORMAT, "does not belong there"},
      {EXTENSION + 8, 0, 8, H2K_ERROR_FORMAT, "not aligned"},
      {EXTENSION + 8, LUKS + 512, 8, H2K_ERROR_FORMAT, "not aligned"},
      {EXTENSION + 8, (guint64)1 << 62, 8, H2K_ERROR_FORMAT, "not within the file"},
      {EXTENSION + 8, G_MAXUINT64 & ~(guint64)0xffff, 8, H2K_ERROR_FORMAT, "not within the file"},
      {EXTENSION + 16, 0, 8, H2K_ERROR_FORMAT, "not within the file"},
      {EXTENSION + 16, G_MAXUINT64, 8, H2K_ERROR_FORMAT, "not within the file"},
      {EXTENSION + 16, 300, 8, H2K_ERROR_FORMAT, "do not fit"},
      {EXTENSION + 16, 4096, 8, H2K_ERROR_FORMAT, "do not fit"},
      {LUKS, 0, 8, H2K_ERROR_FORMAT, "no LUKS header"},
      {LUKS + 6, 2, 2, H2K_ERROR_FORMAT, "damaged"},
      {LUKS + 6, 3, 2, H2K_ERROR_FORMAT, "no LUKS header"},
      {LUKS + 40, 0x6374722d706c6169, 8, H2K_ERROR_UNSUPPORTED, ""},
      {LUKS + 108, 100000, 4, H2K_ERROR_FORMAT, "damaged"},
      {LUKS + 164, 0xffffffff, 4, H2K_ERROR_UNSUPPORTED, "iterations"},
      {LUKS + 208 + 4, 0xffffffff, 4, H2K_ERROR_UNSUPPORTED, "iterations"},
      {LUKS + 208 + 40, 0x7fffffff, 4, H2K_ERROR_FORMAT, "too large"},
  };
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE);
  g_autofree guint8 *file = NULL;
  gsize size;

  g_free (make_image (f, "a.qcow2", key));
  file = load (f, "a.qcow2", &size);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autofree guint8 *bad = g_memdup2 (file, size);

      g_test_message ("row %u", i);
      put_be (bad + rows[i].at, rows[i].value, rows[i].size);
      save (f, "bad.qcow2", bad, size);
      refused (f, "bad.qcow2", key, rows[i].code, rows[i].says);
    }
  save (f, "bad.qcow2", file, LUKS + 4096);
  refused (f, "bad.qcow2", key, H2K_ERROR_FORMAT, "not within the file");
}

/* Whoever can write to the file could have it read without the key. */
static void
test_compressed (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kImageKey) key = key_of (f, PASSPHRASE);
  g_autofree guint8 *file = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  guint8 byte;
  gsize size;
  guint64 l2;

  g_free (make_image (f, "a.qcow2", key));
  file = load (f, "a.qcow2", &size);
  l2 = h2k_be64 (file + h2k_be64 (file + 40)) & 0x00fffffffffffe00;
  put_be (file + l2, h2k_be64 (file + l2) | (guint64)1 << 62, 8);
  save (f, "bad.qcow2", file, size);
  disk = open_with (f, "bad.qcow2", key, &error);
  g_assert_no_error (error);
  g_assert_false (h2k_disk_pread (disk, 0, 1, &byte, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "is compressed"));
}

#define ADD(name, func) g_test_add ("/qcow2-luks/" name, Fixture, NULL, set_up, func, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  h2k_luks_format_iterations = 1000;
  ADD ("QEMU reads what is written here, in which no plaintext is", test_qemu_reads_ours);
  ADD ("what is written here is read here, and consistent", test_own_images);
  ADD ("an empty layer needs no key to be made, data do", test_layer_without_key);
  ADD ("what QEMU writes is read here", test_qemus_images);
  ADD ("another key, or none, is refused", test_wrong_keys);
  ADD ("key files are private texts", test_key_files);
  ADD ("hostile headers are refused", test_hostile);
  ADD ("a compressed cluster is refused", test_compressed);
  return g_test_run ();
}
