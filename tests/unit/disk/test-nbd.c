/* test-nbd.c - exports of nbdkit and qemu-nbd, read as they are, with servers that fail.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "remote-fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

#define SIZE ((gsize)9 << 20)

static char *
uri_of (Fixture *f)
{
  return g_strdup_printf ("nbd+unix:///?socket=%s/sock", f->folder);
}

/* Until somebody listens there. */
static void
wait_for_socket (Fixture *f)
{
  g_autofree char *path = g_build_filename (f->folder, "sock", NULL);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  for (guint i = 0; i < 1000; i++)
    if (connect (fd, (struct sockaddr *)&address, sizeof address) == 0)
      break;
    else
      g_usleep (10000);
  close (fd);
}

static GSubprocess *
start_nbdkit (Fixture *f, const char *args)
{
  g_autofree char *path = g_build_filename (f->folder, "sock", NULL);
  GSubprocess *server;

  g_unlink (path);
  server = start_server (f, "nbdkit -f -U sock --log=null %s", args);
  wait_for_socket (f);
  return server;
}

static guint
count_in_log (Fixture *f, const char *word)
{
  gsize size;
  g_autofree char *log = (char *)load (f, "log", &size);
  guint n = 0;

  for (const char *at = log; (at = strstr (at, word)); at++)
    n++;
  return n;
}

static void
test_content (Fixture *f, gconstpointer data)
{
  static const char *const servers[] = {
      "file r.raw",
      "--filter=noextents file r.raw",
      ("--filter=blocksize-policy file r.raw blocksize-minimum=4096 blocksize-maximum=64K "
       "blocksize-error-policy=error"),
      "--filter=multi-conn file r.raw multi-conn-mode=disable",
      "--filter=nocache --no-sr file r.raw",
  };
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 1);
  g_autofree char *uri = uri_of (f);

  for (guint i = 0; i < G_N_ELEMENTS (servers); i++)
    {
      GSubprocess *server = start_nbdkit (f, servers[i]);
      {
        g_autoptr (H2kDisk) disk = open_uri (uri);

        g_assert_cmpstr (disk->format, ==, "raw");
        g_assert_cmpstr (disk->subformat, ==, "nbd");
        g_assert_cmpuint (disk->files->len, ==, 0);
        g_assert_false (h2k_disk_is_writable (disk));
        check_threads (disk, expected);
        if (i == 0 || i == 2)
          g_assert_cmpuint (check_extents (disk, expected), <, SIZE / 2);
        else
          check_extents (disk, expected);
      }
      stop_server (server);
    }
}

/* What is not read is not asked for, and connections are as many as the server wants. */
static void
test_requests (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 2);
  g_autofree char *uri = uri_of (f);
  GSubprocess *server = start_nbdkit (
      f, "--filter=log --filter=multi-conn file r.raw logfile=log multi-conn-mode=disable");

  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    guint8 byte;

    for (guint i = 0; i < 1000; i++)
      g_assert_true (h2k_disk_pread (disk, 100000 + i, 1, &byte, NULL));
    /* The head, the tail, and the block. */
    g_assert_cmpuint (count_in_log (f, " Read "), <=, 3);
    check_threads (disk, expected);
  }
  stop_server (server);
  /* wait_for_socket() is not logged, since it does not negotiate. */
  g_assert_cmpuint (count_in_log (f, " Connect "), ==, 1);
  g_assert_cmpuint (count_in_log (f, " Write "), ==, 0);

  server = start_nbdkit (f, "--filter=log --filter=delay file r.raw logfile=log rdelay=20ms");
  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    check_threads (disk, expected);
  }
  stop_server (server);
  g_assert_cmpuint (count_in_log (f, " Connect "), >, 1);
  g_assert_cmpuint (count_in_log (f, " Connect "), <=, 8);
}

/* Thousands of extents come in few answers. */
static void
test_many_extents (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->folder, "r.raw", NULL), *uri = uri_of (f);
  g_autofree guint8 *expected = g_malloc0 (32 * MIB);
  int fd = g_open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  GSubprocess *server;

  g_assert_cmpint (ftruncate (fd, 32 * MIB), ==, 0);
  for (guint64 at = 0; at < 32 * MIB; at += 16384)
    {
      memset (expected + at, 7, 4096);
      g_assert_cmpint (h2k_pwrite_full (fd, expected + at, 4096, at), ==, 0);
    }
  close (fd);
  server = start_nbdkit (f, "--filter=log file r.raw logfile=log");
  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    /* Where the file system has no such small holes there are fewer. */
    g_assert_cmpuint (check_extents (disk, expected), >=, 8 * MIB);
  }
  stop_server (server);
  g_assert_cmpuint (count_in_log (f, " Extents "), <, 64);
}

static void
test_server_errors (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 3);
  g_autofree char *uri = uri_of (f);
  g_autofree char *args
      = g_strdup_printf ("--filter=error file r.raw error-pread=EIO error-pread-rate=100%% "
                         "error-pread-file=%s/fail",
                         f->folder);
  GSubprocess *server = start_nbdkit (f, args);

  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    g_autofree char *fail = g_build_filename (f->folder, "fail", NULL);

    save (f, "fail", "", 0);
    refuse_read (disk, H2K_ERROR_SOURCE, "cannot read");
    g_unlink (fail);
    check_content (disk, expected, SIZE);
  }
  stop_server (server);
}

static gpointer
expect_change (gpointer disk)
{
  refuse_read (disk, H2K_ERROR_SOURCE, "changed while it was read");
  return NULL;
}

/* The server ends while DISK is read, and starts again with ARGS. A server ends with the thread
 * that started it, so this is the one that waits. */
static GSubprocess *
restart (Fixture *f, GSubprocess *server, const char *args, GThreadFunc func, gpointer data)
{
  GThread *thread;

  stop_server (server);
  thread = g_thread_new ("reader", func, data);
  g_usleep (500000);
  server = start_nbdkit (f, args);
  g_thread_join (thread);
  return server;
}

static void
test_server_comes_back (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 4);
  g_autofree char *uri = uri_of (f);
  GSubprocess *server = start_nbdkit (f, "file r.raw");

  make_any (f, "other.raw", SIZE - 512);
  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    Reader reader = {disk, expected};

    server = restart (f, server, "file r.raw", read_all, &reader);
    server = restart (f, server, "file other.raw", expect_change, disk);
  }
  stop_server (server);
}

static void
test_server_is_gone (Fixture *f, gconstpointer data)
{
  g_autofree char *uri = uri_of (f);
  g_autoptr (H2kDisk) disk = NULL;
  GSubprocess *server;

  make_any (f, "r.raw", SIZE);
  server = start_nbdkit (f, "file r.raw");
  disk = open_uri (uri);
  stop_server (server);
  check_cancelling (disk);
  refuse_read (disk, H2K_ERROR_SOURCE, "cannot connect");
  /* It is not waited for again. */
  refuse_read (disk, H2K_ERROR_SOURCE, "cannot connect");
}

static void
test_stall (Fixture *f, gconstpointer data)
{
  g_autofree char *uri = uri_of (f);
  g_autoptr (GError) error = NULL;
  GSubprocess *server;

  make_any (f, "r.raw", SIZE);
  server = start_nbdkit (f, "--filter=delay file r.raw rdelay=600");
  {
    g_autoptr (H2kDisk) disk = h2k_disk_open (uri, "raw", &error);

    g_assert_no_error (error);
    check_cancelling (disk);
    refuse_read (disk, H2K_ERROR_SOURCE, "has not answered for 3 seconds");
  }
  stop_server (server);
}

/* Formats work over NBD; further files are not followed from there. */
static void
test_formats (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 7);
  g_autofree char *uri = uri_of (f);
  GSubprocess *server;

  run (f, "qemu-img convert -f raw -O qcow2 r.raw r.qcow2");
  server = start_nbdkit (f, "file r.qcow2");
  {
    g_autoptr (H2kDisk) disk = open_uri (uri);
    g_assert_cmpstr (disk->format, ==, "qcow2");
    g_assert_cmpuint (disk->files->len, ==, 0);
    check_content (disk, expected, SIZE);
    check_extents (disk, expected);
  }
  stop_server (server);

  run (f, "qemu-img create -q -f qcow2 -b %s/r.qcow2 -F qcow2 top.qcow2", f->folder);
  server = start_nbdkit (f, "file top.qcow2");
  refuse_uri (uri, H2K_ERROR_UNSUPPORTED, "not followed");
  stop_server (server);

  run (f, "qemu-img convert -f raw -O qed r.raw r.qed");
  server = start_nbdkit (f, "file r.qed");
  refuse_uri (uri, H2K_ERROR_UNSUPPORTED, "download it first");
  stop_server (server);
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 8);
  g_autofree char *uri = uri_of (f), *path = g_build_filename (f->folder, "sock", NULL);
  g_autofree char *export = g_strdup_printf ("nbd+unix:///there?socket=%s", path);
  g_autofree char *wrong = g_strdup_printf ("nbd+unix:///%%1b[31m?socket=%s", path);
  g_autofree char *secret = g_strdup ("nbd://user:secret@127.0.0.1:1/x");
  GSubprocess *server;

  refuse_uri (uri, H2K_ERROR_SOURCE, "cannot connect");
  refuse_uri (secret, H2K_ERROR_SOURCE, "nbd://***@127.0.0.1:1/x: cannot connect");
  refuse_uri ("nbd://", H2K_ERROR_SOURCE, "cannot connect");
  server = start_server (f, "qemu-nbd -r -t -k %s -f raw -x there r.raw", path);
  wait_for_socket (f);
  refuse_uri (wrong, H2K_ERROR_SOURCE, "cannot connect");
  {
    g_autoptr (H2kDisk) disk = open_uri (export);
    check_content (disk, expected, SIZE);
  }
  stop_server (server);
  {
    g_autofree char *local = g_build_filename (f->folder, "nbd:", NULL);
    g_autofree char *file = g_build_filename (local, "x", NULL), *cwd = g_get_current_dir ();
    g_autoptr (H2kDisk) disk = NULL;

    g_mkdir (local, 0700);
    run (f, "mv r.raw nbd:/x");
    g_chdir (f->folder);
    refuse_uri ("nbd://x", H2K_ERROR_SOURCE, "cannot connect");
    disk = open_uri ("./nbd://x");
    g_assert_cmpuint (disk->files->len, ==, 1);
    check_content (disk, expected, SIZE);
    g_chdir (cwd);
    g_unlink (file);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_setenv ("H2K_PATIENCE", "3", TRUE);
  add ("/nbd/content", test_content);
  add ("/nbd/requests", test_requests);
  add ("/nbd/many-extents", test_many_extents);
  add ("/nbd/server-errors", test_server_errors);
  add ("/nbd/server-comes-back", test_server_comes_back);
  add ("/nbd/server-is-gone", test_server_is_gone);
  add ("/nbd/stall", test_stall);
  add ("/nbd/formats", test_formats);
  add ("/nbd/refused", test_refused);
  return g_test_run ();
}
