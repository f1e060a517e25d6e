/* test-nbd.c - exports of nbdkit and qemu-nbd, read as they are, with servers that fail.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "nbd-fixture.h"

#include "disk/nbd.h"

#include <netinet/in.h>

#define SIZE ((gsize)9 << 20)

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

/* What names one export is known to be one. */
static void
test_same_export (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *a, *b;
    gboolean same;
  } pairs[] = {
      {"nbd://host/x", "nbd://HOST:10809/x", TRUE},
      {"nbd://host/x", "NBDS://user:secret@host/x?tls-certificates=/y", TRUE},
      {"nbd://host", "nbd://host/", TRUE},
      {"nbd://localhost/x", "nbd://127.0.0.1/%78", TRUE},
      {"nbd://[::1]/x", "nbd:///x", TRUE},
      {"nbd+unix:///x?socket=/nowhere/s", "nbds+unix:///x?tls-psk-file=k&socket=/nowhere/s", TRUE},
      {"nbd://host/x", "nbd://host/y", FALSE},
      {"nbd://host/x", "nbd://host:10810/x", FALSE},
      {"nbd://host/x", "nbd://other/x", FALSE},
      {"nbd+unix:///x?socket=/nowhere/s", "nbd+unix:///x?socket=/nowhere/t", FALSE},
      {"nbd+unix:///x?socket=/nowhere/s", "nbd+unix:///?socket=/nowhere/s", FALSE},
      {"nbd://host/x", "https://host:10809/x", FALSE},
      {"nbd://host/x", "host/x", FALSE},
  };
  g_autofree char *one = g_strdup_printf ("nbd+unix:///?socket=%s/sock", f->folder);
  g_autofree char *two = g_strdup_printf ("nbd+unix:///?socket=%s/./link", f->folder);
  g_autofree char *link = g_build_filename (f->folder, "link", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (pairs); i++)
    if (h2k_nbd_same_export (pairs[i].a, pairs[i].b) != pairs[i].same)
      g_error ("%s and %s", pairs[i].a, pairs[i].b);
  save (f, "sock", "", 0);
  g_assert_cmpint (symlink ("sock", link), ==, 0);
  g_assert_true (h2k_nbd_same_export (one, two));
}

/* A certificate of the authority CA for NAME, or, without CA, an authority. */
static void
make_certificate (Fixture *f, const char *folder, const char *ca, const char *name)
{
  g_autofree char *path = g_build_filename (f->folder, folder, NULL);

  g_mkdir (path, 0700);
  if (!ca)
    {
      run (f,
           "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=%s -keyout %s/ca-key.pem "
           "-out %s/ca-cert.pem",
           name, folder, folder);
      return;
    }
  run (f, "cp %s/ca-cert.pem %s", ca, folder);
  save (f, "extensions", "subjectAltName=DNS:localhost\n", 29);
  run (f, "openssl req -newkey rsa:2048 -nodes -subj /CN=%s -keyout %s/server-key.pem -out request",
       name, folder);
  run (f,
       "openssl x509 -req -in request -days 2 -CA %s/ca-cert.pem -CAkey %s/ca-key.pem "
       "-CAcreateserial -extfile extensions -out %s/server-cert.pem",
       ca, ca, folder);
}

/* A port of this host that is free now. */
static guint
free_port (void)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  g_assert_cmpint (getsockname (fd, (struct sockaddr *)&address, &length), ==, 0);
  close (fd);
  return ntohs (address.sin_port);
}

static void
wait_for_port (guint port)
{
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
                                .sin_port = htons ((guint16)port)};
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  for (guint i = 0; i < 1000; i++)
    if (connect (fd, (struct sockaddr *)&address, sizeof address) == 0)
      break;
    else
      g_usleep (10000);
  close (fd);
}

/* TLS counts only when the server's certificate is checked. */
static void
test_tls (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 9);
  guint port = free_port ();
  g_autofree char *uri = g_strdup_printf ("nbds://localhost:%u/", port);
  g_autofree char *trusted = g_strdup_printf ("%s?tls-certificates=%s/trust", uri, f->folder);
  g_autofree char *other = g_strdup_printf ("%s?tls-certificates=%s/other", uri, f->folder);
  g_autofree char *nothing = g_strdup_printf ("%s?tls-certificates=%s/none", uri, f->folder);
  g_autofree char *name
      = g_strdup_printf ("nbds://127.0.0.1:%u/?tls-certificates=%s/trust", port, f->folder);
  g_autofree char *plain = g_strdup_printf ("nbd://localhost:%u/", port);
  GSubprocess *server;

  make_certificate (f, "ca", NULL, "ca");
  make_certificate (f, "other", NULL, "other");
  make_certificate (f, "server", "ca", "localhost");
  run (f, "mkdir trust none");
  run (f, "cp ca/ca-cert.pem trust");
  server = start_server (f,
                         "nbdkit -f -i 127.0.0.1 -p %u --log=null --tls=require "
                         "--tls-certificates=%s/server file r.raw",
                         port, f->folder);
  wait_for_port (port);
  {
    g_autoptr (H2kDisk) disk = open_uri (trusted);
    check_threads (disk, expected);
  }
  refuse_uri (nothing, H2K_ERROR_USAGE, "no ca-cert.pem to check");
  refuse_uri (other, H2K_ERROR_SOURCE, "certificate verification");
  refuse_uri (name, H2K_ERROR_SOURCE, "certificate verification");
  refuse_uri (plain, H2K_ERROR_SOURCE, "requires TLS");
  stop_server (server);
  run (f, "rm -r ca other server trust none");
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
  add ("/nbd/same-export", test_same_export);
  add ("/nbd/tls", test_tls);
  return g_test_run ();
}
