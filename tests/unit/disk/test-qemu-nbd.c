/* test-qemu-nbd.c - formats that only QEMU reads, and what becomes of the process that does it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"
#include "remote-fixture.h"

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
  expect_refusal (f, "r.raw", "luks", H2K_ERROR_UNSUPPORTED, "QEMU reads qed, ");
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
  add ("/qemu-nbd/leaves-nothing", test_leaves_nothing);
  add ("/qemu-nbd/refused", test_refused);
  add ("/qemu-nbd/protocols", test_protocols);
  add ("/qemu-nbd/no-qemu", test_no_qemu);
  return g_test_run ();
}
