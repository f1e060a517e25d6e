/* test-http.c - files on a web server that behaves, and on one that does not (tests/http-server).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"
#include "remote-fixture.h"

#define SIZE ((gsize)6 << 20)

typedef struct
{
  Fixture *f;
  GSubprocess *process;
  guint64 port;
} Server;

static Server
serve (Fixture *f)
{
  g_autofree char *program = g_test_build_filename (G_TEST_DIST, "http-server", NULL);
  Server server = {f, start_server (f, "python3 %s .", program), 0};
  g_autoptr (GDataInputStream) out
      = g_data_input_stream_new (g_subprocess_get_stdout_pipe (server.process));
  g_autofree char *line = g_data_input_stream_read_line (out, NULL, NULL, NULL);

  g_assert_nonnull (line);
  server.port = g_ascii_strtoull (line, NULL, 10);
  return server;
}

static char *
uri_of (const Server *server, const char *how)
{
  return g_strdup_printf ("http://127.0.0.1:%" G_GUINT64_FORMAT "/%s/r.raw", server->port, how);
}

/* Whole, from several threads, whatever the server does. */
static void
test_content (Fixture *f, gconstpointer data)
{
  static const char *const hows[] = {
      "plain",   "bare",    "weak",   "redirect", "drop-300000", "busy-1",
      "flood-3", "stall-1", "less-4", "noranges", "chunked",
  };
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 1);
  Server server = serve (f);

  for (guint i = 0; i < G_N_ELEMENTS (hows); i++)
    {
      g_autofree char *uri = uri_of (&server, hows[i]);
      g_autoptr (H2kDisk) disk = open_uri (uri);

      g_assert_cmpstr (disk->format, ==, "raw");
      g_assert_cmpstr (disk->subformat, ==, "http");
      g_assert_cmpstr (disk->name, ==, uri);
      g_assert_cmpuint (disk->files->len, ==, 0);
      if (i < 2)
        check_threads (disk, expected);
      else
        check_once (disk, expected);
    }
  stop_server (server.process);
}

/* What the server refuses at once. */
static void
test_refused (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *how;
    H2kError code;
    const char *words;
  } bad[] = {
      {"status-404", H2K_ERROR_SOURCE, "no such file"},
      {"status-403", H2K_ERROR_SOURCE, "refuses"},
      {"status-401", H2K_ERROR_SOURCE, "user and password"},
      {"status-418", H2K_ERROR_SOURCE, "unexpected HTTP status 418"},
      {"later", H2K_ERROR_SOURCE, "come back after 86000 seconds"},
      {"large", H2K_ERROR_UNSUPPORTED, "download it first"},
      {"nosize", H2K_ERROR_SOURCE, "does not say how large"},
      {"loop", H2K_ERROR_SOURCE, "redirects too often"},
      {"elsewhere-0", H2K_ERROR_SOURCE, "not http or https"},
      {"longer", H2K_ERROR_SOURCE, "more than the part"},
  };
  Server server = serve (f);

  make_any (f, "r.raw", SIZE);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autofree char *uri = uri_of (&server, bad[i].how);
      refuse_uri (uri, bad[i].code, bad[i].words);
    }
  save (f, "r.raw", "", 0);
  {
    g_autofree char *uri = uri_of (&server, "plain");
    refuse_uri (uri, H2K_ERROR_FORMAT, "is empty");
  }
  stop_server (server.process);
}

/* What goes wrong while the file is read. */
static void
test_read_errors (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *how, *words;
  } bad[] = {
      {"changing-3", "changed while it was read"},
      {"deaf-3", "changed while it was read"},
      {"growing-3", "changed while it was read"},
      {"shifted-3", "another part"},
      {"down-3", "HTTP status 503"},
  };
  Server server = serve (f);

  make_any (f, "r.raw", SIZE);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autofree char *uri = uri_of (&server, bad[i].how);
      g_autoptr (H2kDisk) disk = open_uri (uri);
      refuse_read (disk, H2K_ERROR_SOURCE, bad[i].words);
    }
  {
    g_autofree char *uri = uri_of (&server, "plain");
    g_autoptr (H2kDisk) disk = open_uri (uri);
    stop_server (server.process);
    refuse_read (disk, H2K_ERROR_SOURCE, "onnect");
    refuse_uri (uri, H2K_ERROR_SOURCE, "onnect");
  }
}

static void
test_cancelling (Fixture *f, gconstpointer data)
{
  Server server = serve (f);
  g_autofree char *uri = uri_of (&server, "stall-99");
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = NULL;

  make_any (f, "r.raw", SIZE);
  disk = h2k_disk_open (uri, "raw", &error);
  g_assert_no_error (error);
  check_cancelling (disk);
  stop_server (server.process);
}

/* Small reads become few requests. */
static void
test_requests (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 5);
  Server server = serve (f);
  g_autofree char *uri = uri_of (&server, "plain");
  g_autoptr (H2kDisk) disk = open_uri (uri);
  g_autofree char *stats = NULL;
  guint8 buffer[4096];
  guint64 requests;

  for (guint64 at = 0; at < SIZE; at += sizeof buffer)
    {
      g_assert_true (h2k_disk_pread (disk, at, sizeof buffer, buffer, NULL));
      g_assert_true (memcmp (buffer, expected + at, sizeof buffer) == 0);
    }
  run (f,
       "python3 -c 'import urllib.request as r; "
       "open(\"stats\", \"wb\").write(r.urlopen(\"http://127.0.0.1:%" G_GUINT64_FORMAT
       "/stats\").read())'",
       server.port);
  {
    gsize size;
    stats = (char *)load (f, "stats", &size);
  }
  g_assert_true (g_str_has_prefix (stats, "{\"requests\": "));
  requests = g_ascii_strtoull (stats + strlen ("{\"requests\": "), NULL, 10);
  g_assert_cmpuint (requests, <=, 12);
  g_assert_nonnull (strstr (stats, "\"at_once\": 1"));
  stop_server (server.process);
}

static void
test_names (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *uri, *shown;
  } names[] = {
      {"https://host/a/b.vmdk", "https://host/a/b.vmdk"},
      {"HTTPS://user:secret@host:8443/b.vmdk?sig=secret#x", "https://***@host:8443/b.vmdk"},
      {"https://user:sec@ret@host/b", "https://***@host/b"},
      {"https://user:sec/ret@host/b", "https://***"},
      {"http://[::1]:80/b", "http://[::1]:80/b"},
      {"https://host?sig=secret", "https://host"},
      {"nbd+unix:///x?socket=/run/s", "nbd+unix:///x?socket=/run/s"},
      {"iscsi://user%secret@host/iqn/1", "iscsi://***@host/iqn/1"},
      {"./plain", "./plain"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *shown = h2k_uri_shown (names[i].uri);
      g_assert_cmpstr (shown, ==, names[i].shown);
    }
  refuse_uri ("http://user:secret@127.0.0.1:1/x", H2K_ERROR_SOURCE, "http://***@127.0.0.1:1/x: ");
  refuse_uri ("gopher://user:secret@x/y", H2K_ERROR_USAGE, "gopher://***@x/y: this kind of URI");
}

static void
test_login (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = make_raw (f, "r.raw", SIZE, 6);
  Server server = serve (f);
  g_autofree char *uri = g_strdup_printf ("http://user:secret@127.0.0.1:%" G_GUINT64_FORMAT
                                          "/auth/r.raw?token=secret",
                                          server.port);
  g_autoptr (H2kDisk) disk = open_uri (uri);

  check_content (disk, expected, SIZE);
  g_assert_null (strstr (disk->name, "secret"));
  stop_server (server.process);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_setenv ("H2K_PATIENCE", "3", TRUE);
  g_setenv ("no_proxy", "127.0.0.1", TRUE);
  add ("/http/content", test_content);
  add ("/http/refused", test_refused);
  add ("/http/read-errors", test_read_errors);
  add ("/http/cancelling", test_cancelling);
  add ("/http/requests", test_requests);
  add ("/http/login", test_login);
  add ("/uri/names", test_names);
  return g_test_run ();
}
