/* test-qemu-nbd.c - formats that only QEMU reads, and what becomes of the process that does it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"
#include "remote-fixture.h"

#include <zlib.h>

#define SIZE ((gsize)9 << 20)

/* How many qemu-nbds this process has. */
static guint
children (void)
{
  g_autofree char *list = NULL;
  g_auto (GStrv) pids = NULL;
  g_autofree char *path = g_strdup_printf ("/proc/self/task/%d/children", getpid ());

  if (!g_file_get_contents (path, &list, NULL, NULL))
    return G_MAXUINT;
  pids = g_strsplit (g_strstrip (list), " ", -1);
  return *pids && **pids ? g_strv_length (pids) : 0;
}

static void
test_formats (Fixture *f, gconstpointer data)
{
  static const char *const formats[] = {"qed", "parallels", "qcow"};
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 1);

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      g_autofree char *name = g_strdup_printf ("qemu:%s", formats[i]);
      g_autofree char *path = g_build_filename (f->folder, "odd,\"name\" \xc3\xa4", NULL);

      run (f, "qemu-img convert -f raw -O %s r.raw t", formats[i]);
      run (f, "mv t '%s'", path);
      {
        g_autoptr (H2kDisk) disk = open_uri (path);
        g_assert_cmpstr (disk->format, ==, name);
        g_assert_cmpuint (disk->files->len, ==, 1);
        g_assert_cmpstr (disk->files->pdata[0], ==, path);
        g_assert_false (h2k_disk_is_writable (disk));
        check_threads (disk, expected);
        check_extents (disk, expected);
      }
      if (children () != G_MAXUINT)
        g_assert_cmpuint (children (), ==, 0);
    }
}

/* --- formats that QEMU reads and does not write -------------------------------------------------
 */

#define CHUNK ((gsize)256 << 10)

static void
add_be (GByteArray *out, guint bytes, guint64 value)
{
  guint64 be = GUINT64_TO_BE (value);

  g_byte_array_append (out, (const guint8 *)&be + 8 - bytes, bytes);
}

static void
add_le32 (GByteArray *out, guint32 value)
{
  guint32 le = GUINT32_TO_LE (value);

  g_byte_array_append (out, (const guint8 *)&le, 4);
}

/* TEXT, with zeros up to LENGTH. */
static void
add_text (GByteArray *out, const char *text, guint length)
{
  guint end = out->len + length;

  g_byte_array_append (out, (const guint8 *)text, (guint)strlen (text));
  while (out->len < end)
    add_be (out, 1, 0);
}

static void
add_zlib (GByteArray *out, const guint8 *data, gsize length)
{
  uLongf packed = compressBound (length);
  g_autofree guint8 *buffer = g_malloc (packed);

  g_assert_cmpint (compress (buffer, &packed, data, length), ==, Z_OK);
  g_byte_array_append (out, buffer, (guint)packed);
}

/* Bochs' growing image, version 2: a catalog of extents, each behind the bitmap of its sectors. */
static GByteArray *
make_bochs (const guint8 *data)
{
  const guint n = SIZE / CHUNK, bitmap = CHUNK / 512 / 8;
  GByteArray *out = g_byte_array_new ();
  guint next = 0;

  add_text (out, "Bochs Virtual HD Image", 32);
  add_text (out, "Redolog", 16);
  add_text (out, "Growing", 16);
  add_le32 (out, 0x20000);
  add_le32 (out, 512);
  add_le32 (out, n);
  add_le32 (out, bitmap);
  add_le32 (out, CHUNK);
  add_le32 (out, 0);
  add_le32 (out, SIZE);
  add_text (out, "", 512 - out->len);
  for (guint i = 0; i < n; i++)
    add_le32 (out, h2k_is_zero (data + i * CHUNK, CHUNK) ? ~0u : next++);
  for (guint i = 0; i < n; i++)
    {
      const guint8 *chunk = data + i * CHUNK;
      guint start = out->len;

      if (h2k_is_zero (chunk, CHUNK))
        continue;
      add_text (out, "", MAX (512, bitmap));
      for (guint k = 0; k < CHUNK / 512; k++)
        if (!h2k_is_zero (chunk + k * 512, 512))
          out->data[start + k / 8] |= (guint8)(1u << k % 8);
      g_byte_array_append (out, chunk, CHUNK);
    }
  return out;
}

/* A compressed loop device: a shell script that mounts itself, and deflated blocks. */
static GByteArray *
make_cloop (const guint8 *data)
{
  const guint n = SIZE / CHUNK;
  g_autoptr (GByteArray) blocks = g_byte_array_new ();
  GByteArray *out = g_byte_array_new ();
  guint start = 128 + 8 + (n + 1) * 8;

  add_text (
      out, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n",
      128);
  add_be (out, 4, CHUNK);
  add_be (out, 4, n);
  for (guint i = 0; i < n; i++)
    {
      add_be (out, 8, start + blocks->len);
      add_zlib (blocks, data + i * CHUNK, CHUNK);
    }
  add_be (out, 8, start + blocks->len);
  g_byte_array_append (out, blocks->data, blocks->len);
  return out;
}

static void
add_dmg_chunk (GByteArray *mish, guint32 type, guint64 at, guint64 length, const GByteArray *out,
               guint start)
{
  add_be (mish, 4, type);
  add_be (mish, 4, 0);
  add_be (mish, 8, at / 512);
  add_be (mish, 8, length / 512);
  add_be (mish, 8, start);
  add_be (mish, 8, out->len - start);
}

/* Apple's disk image: chunks that are zeros, plain or deflated, a table of them within a property
 * list, and a trailer that tells where that is. */
static GByteArray *
make_dmg (const guint8 *data)
{
  g_autoptr (GByteArray) mish = g_byte_array_new ();
  GByteArray *out = g_byte_array_new ();
  g_autofree char *table = NULL, *plist = NULL;
  guint plist_at, trailer;

  add_text (mish, "mish", 4);
  add_be (mish, 4, 1);
  add_be (mish, 8, 0);
  add_be (mish, 8, SIZE / 512);
  add_text (mish, "", 204 - mish->len);
  for (guint64 at = 0; at < SIZE; at += CHUNK)
    {
      guint start = out->len;

      if (h2k_is_zero (data + at, CHUNK))
        add_dmg_chunk (mish, 2, at, CHUNK, out, start);
      else if (at / CHUNK % 3 == 0)
        {
          g_byte_array_append (out, data + at, CHUNK);
          add_dmg_chunk (mish, 1, at, CHUNK, out, start);
        }
      else
        {
          add_zlib (out, data + at, CHUNK);
          add_dmg_chunk (mish, 0x80000005u, at, CHUNK, out, start);
        }
    }
  add_dmg_chunk (mish, 0xffffffffu, SIZE, 0, out, out->len);
  table = g_base64_encode (mish->data, mish->len);
  plist = g_strdup_printf ("<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>"
                           "<key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data"
                           "</key><data>%s</data></dict></array></dict></dict></plist>",
                           table);
  plist_at = out->len;
  add_text (out, plist, (guint)strlen (plist));
  trailer = out->len;
  add_text (out, "koly", 4);
  add_be (out, 4, 4);
  add_be (out, 4, 512);
  add_text (out, "", 0xd8 - (out->len - trailer));
  add_be (out, 8, plist_at);
  add_be (out, 8, trailer - plist_at);
  add_text (out, "", 0x1ec - (out->len - trailer));
  add_be (out, 8, SIZE / 512);
  add_text (out, "", 512 - (out->len - trailer));
  return out;
}

static void
test_read_only_formats (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *format;
    GByteArray *(*make) (const guint8 *data);
    gint damage; /* a byte that makes it unreadable; negative: of the trailer */
  } formats[] = {{"bochs", make_bochs, 64}, {"cloop", make_cloop, 131}, {"dmg", make_dmg, -0xd8}};
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 5);

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      g_autofree char *name = g_strdup_printf ("qemu:%s", formats[i].format);
      g_autofree char *path = g_build_filename (f->folder, formats[i].format, NULL);
      g_autoptr (GByteArray) image = formats[i].make (expected);

      save (f, formats[i].format, image->data, image->len);
      {
        g_autoptr (H2kDisk) disk = open_uri (path);
        g_assert_cmpstr (disk->format, ==, name);
        check_content (disk, expected, SIZE);
      }
      image->data[formats[i].damage < 0 ? image->len - 512 + (guint)-formats[i].damage
                                        : (guint)formats[i].damage]
          ^= 0x41;
      save (f, formats[i].format, image->data, image->len);
      expect_refusal (f, formats[i].format, NULL, H2K_ERROR_FORMAT, "QEMU cannot read it");
    }
}

/* --- what becomes of the process ----------------------------------------------------------------
 */

/* Neither the socket nor its folder has a name when the disk is open. */
static void
test_leaves_nothing (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 2);
  g_autofree char *tmp = g_build_filename (g_get_tmp_dir (), NULL);
  g_autoptr (GDir) dir = NULL;
  const char *name;

  run (f, "qemu-img convert -f raw -O qed r.raw t.qed");
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "t.qed", "qed");
    g_autoptr (GError) error = NULL;

    check_content (disk, expected, SIZE);
    dir = g_dir_open (tmp, 0, &error);
    g_assert_no_error (error);
    while ((name = g_dir_read_name (dir)))
      if (g_str_has_prefix (name, "hyper2kvm-"))
        {
          /* Others' runs may have theirs for a moment: only sockets without a process are wrong. */
          g_autofree char *path = g_build_filename (tmp, name, "nbd", NULL);
          g_usleep (500000);
          g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
        }
  }
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  gsize size;

  make_any (f, "r.raw", SIZE);
  run (f, "qemu-img convert -f raw -O qed r.raw base.qed");
  run (f, "qemu-img create -q -f qed -b base.qed -F qed top.qed");
  expect_refusal (f, "top.qed", NULL, H2K_ERROR_UNSUPPORTED, "builds on another image");
  run (f, "qemu-img create -q -f qcow -b base.qed -F qed top.qcow");
  expect_refusal (f, "top.qcow", NULL, H2K_ERROR_UNSUPPORTED, "builds on another image");
  run (f, "qemu-img create -q -f qcow --object secret,id=s,data=k -o "
          "encrypt.format=aes,encrypt.key-secret=s secret.qcow 1M");
  expect_refusal (f, "secret.qcow", NULL, H2K_ERROR_UNSUPPORTED, "is encrypted");
  expect_refusal (f, "r.raw", "qed", H2K_ERROR_FORMAT, "QEMU cannot read it");
  expect_refusal (f, "r.raw", "luks", H2K_ERROR_USAGE, "QEMU reads qed, ");
  image = load (f, "base.qed", &size);
  {
    g_autoptr (H2kFile) file = h2k_file_new_memory ("base.qed", image, size);
    g_autoptr (GError) error = NULL;
    g_assert_null (h2k_disk_open_file (file, NULL, &error));
    check_error (error, H2K_ERROR_UNSUPPORTED, "unpack it first");
  }
  image[12] ^= 0xff; /* the table size */
  save (f, "bad.qed", image, size);
  expect_refusal (f, "bad.qed", NULL, H2K_ERROR_FORMAT, "QEMU cannot read it");
}

/* The same server for protocols: our own formats on top. */
static void
test_protocols (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 4);
  g_autofree char *path = g_build_filename (f->folder, "t.vmdk", NULL);
  g_autofree char *uri = g_strconcat ("file:", path, NULL);
  g_autoptr (GError) error = NULL;

  run (f, "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized r.raw t.vmdk");
  {
    g_autoptr (H2kFile) file = h2k_qemu_open_uri (uri, &error);
    g_autoptr (H2kDisk) disk = file ? h2k_disk_open_file (file, NULL, &error) : NULL;
    g_assert_no_error (error);
    g_assert_cmpstr (disk->format, ==, "vmdk");
    g_assert_cmpuint (disk->files->len, ==, 0);
    check_content (disk, expected, SIZE);
  }
  refuse_uri ("iscsi://127.0.0.1:1/iqn.2000-01.x:y/1", H2K_ERROR_SOURCE, "qemu-nbd cannot read it");
}

static void
test_no_qemu (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_strdup (g_getenv ("PATH"));

  make_any (f, "r.raw", SIZE);
  run (f, "qemu-img convert -f raw -O qed r.raw t.qed");
  g_setenv ("PATH", f->folder, TRUE);
  expect_refusal (f, "t.qed", NULL, H2K_ERROR_TOOL, "install the package qemu-utils");
  g_setenv ("PATH", path, TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_setenv ("H2K_PATIENCE", "5", TRUE);
  add ("/qemu-nbd/formats", test_formats);
  add ("/qemu-nbd/read-only-formats", test_read_only_formats);
  add ("/qemu-nbd/leaves-nothing", test_leaves_nothing);
  add ("/qemu-nbd/refused", test_refused);
  add ("/qemu-nbd/protocols", test_protocols);
  add ("/qemu-nbd/no-qemu", test_no_qemu);
  return g_test_run ();
}
