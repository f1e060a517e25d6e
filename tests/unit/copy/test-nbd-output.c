/* test-nbd-output.c - NBD exports as outputs: nbdkit with all its moods, and qemu-nbd.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../disk/nbd-fixture.h"
#include "fixture.h"

#define SIZE ((guint64)6 << 20)
#define SIZE_OF_VHDX ((guint64)40 << 20)

/* --- what is copied, and where to ------------------------------------------------------------- */

static LayoutDisk *
random_disk (guint64 size, guint32 seed)
{
  g_autoptr (GRand) random = g_rand_new_with_seed (seed);

  return layout_disk_new (random_pieces (random, size, 300000), seed);
}

/* The export's file, full of what is no zero. Its content, the caller's. */
static guint8 *
make_old (Fixture *f, guint64 size)
{
  guint8 *old = g_malloc (size);

  for (guint64 i = 0; i < size; i++)
    old[i] = (guint8)(i % 251 + 1);
  save (f, "export", old, size);
  return old;
}

static void
fill_export (Fixture *f, guint64 size)
{
  g_free (make_old (f, size));
}

static guint8 *
load_reference (Fixture *f, LayoutDisk *disk)
{
  g_autofree char *path = g_build_filename (f->folder, "reference", NULL);
  gsize size;

  layout_write_reference (disk, path);
  return load (f, "reference", &size);
}

static void
refuse_output (const char *path, guint64 size, const H2kOutputOptions *options, GPtrArray *sources,
               H2kError code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kOutput) output = h2k_output_new (path, size, options, sources, &error);

  if (output)
    g_error ("%s was taken, but \"%s\" was expected", path, words);
  check_error (error, code, words);
}

/* --- content ---------------------------------------------------------------------------------- */

static const char *const servers[] = {
    "file export",
    "--filter=noextents file export",
    "--filter=noextents --filter=nozero file export",
    "--filter=multi-conn file export multi-conn-mode=disable",
    "--filter=noextents --filter=error file export error-zero=EINVAL error-zero-rate=100%",
    "--filter=blocksize-policy file export blocksize-error-policy=error blocksize-minimum=512 "
    "blocksize-maximum=64K",
    "--filter=blocksize-policy file export blocksize-error-policy=error blocksize-minimum=4096 "
    "blocksize-preferred=4096 blocksize-maximum=1M",
    "--filter=noextents --filter=blocksize-policy file export blocksize-error-policy=error "
    "blocksize-minimum=64K blocksize-preferred=64K blocksize-maximum=64K",
    "--filter=noextents --filter=nozero --filter=blocksize-policy file export "
    "blocksize-error-policy=error blocksize-minimum=64K blocksize-preferred=64K "
    "blocksize-maximum=128K",
};

/* Copy a random disk to SERVER's export of EXPORT_SIZE bytes, all of which are old data, and read
 * it back. */
static void
copy_to_server (Fixture *f, const char *server, const char *format, H2kCompression compression,
                guint64 size, guint64 export_size, guint32 seed)
{
  const H2kOutputOptions options
      = {.format = format, .compression = compression, .force = TRUE, .sync = TRUE};
  g_autofree guint8 *old = make_old (f, export_size);
  g_autofree char *uri = uri_of (f);
  g_autoptr (GError) error = NULL;
  GSubprocess *process = start_nbdkit (f, server);

  g_test_message ("%s, seed %u: %s", format, seed, server);
  {
    g_autoptr (H2kDisk) disk = &random_disk (size, seed)->disk;
    g_autofree guint8 *reference = load_reference (f, (LayoutDisk *)disk);
    g_autoptr (H2kOutput) output
        = convert_and_keep (disk, uri, &options, seed % 2 ? 1 : 4, NULL, NULL, &error);

    g_assert_no_error (error);
    g_assert_false (h2k_output_is_doubtful (output));
    h2k_verify (output, NULL, NULL, &error);
    g_assert_no_error (error);
    if (g_str_equal (format, "raw"))
      {
        gsize length;
        g_autofree guint8 *got = load (f, "export", &length);

        g_assert_cmpuint (length, ==, export_size);
        g_assert_true (memcmp (got, reference, size) == 0);
        /* What lies behind the disk is not touched. */
        g_assert_true (memcmp (got + size, old + size, export_size - size) == 0);
      }
  }
  stop_server (process);
  if (!g_str_equal (format, "raw"))
    {
      g_autofree char *path = g_build_filename (f->folder, "export", NULL);
      g_autofree char *reference = g_build_filename (f->folder, "reference", NULL);
      assert_qemu_agrees (path, format, reference);
    }
}

static void
test_raw (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (servers); i++)
    {
      copy_to_server (f, servers[i], "raw", H2K_COMPRESS_NONE, SIZE, SIZE, i);
      /* No multiple of anything, in a larger export. */
      copy_to_server (f, servers[i], "raw", H2K_COMPRESS_NONE, SIZE + 1536 + 512 * i,
                      SIZE + 3 * 65536, 100 + i);
    }
  /* The export ends in the middle of the server's blocks, but the disk before. */
  copy_to_server (f, servers[7], "raw", H2K_COMPRESS_NONE, SIZE - 512, SIZE + 512, 200);
  copy_to_server (f, servers[8], "raw", H2K_COMPRESS_NONE, SIZE, SIZE + 4096, 201);
}

static void
test_images (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (servers); i++)
    {
      copy_to_server (f, servers[i], "qcow2", i % 2 ? H2K_COMPRESS_NONE : H2K_COMPRESS_ZLIB, SIZE,
                      SIZE + MIB, 300 + i);
      if (i % 3 == 0)
        copy_to_server (f, servers[i], "vhdx", H2K_COMPRESS_NONE, SIZE, SIZE_OF_VHDX, 400 + i);
      /* Its footer stands at the very end. */
      if (i < 6 && i % 2 == 0)
        copy_to_server (f, servers[i], "vhd", H2K_COMPRESS_NONE, SIZE, SIZE + 512, 500 + i);
    }
}

/* Servers that keep one client, that end with it, or that store the disk in their own format. */
static void
test_qemu_nbd (Fixture *f, gconstpointer data)
{
  static const char *const how[] = {"raw", "qcow2"};
  const H2kOutputOptions options = {.format = "raw", .force = TRUE, .sync = TRUE};
  g_autofree char *uri = g_strdup_printf ("nbd+unix:///disk?socket=%s/sock", f->folder);

  for (guint i = 0; i < G_N_ELEMENTS (how); i++)
    {
      g_autoptr (H2kDisk) disk = &random_disk (SIZE, 600 + i)->disk;
      g_autofree char *reference = g_build_filename (f->folder, "reference", NULL);
      g_autofree char *socket = g_build_filename (f->folder, "sock", NULL);
      g_autofree char *path = g_build_filename (f->folder, "export", NULL);
      g_autoptr (GError) error = NULL;
      GSubprocess *server;

      layout_write_reference ((LayoutDisk *)disk, reference);
      run (f, "qemu-img create -q -f %s export %" G_GUINT64_FORMAT, how[i], SIZE);
      run (f, "qemu-io -f %s -c 'write -q -P 7 0 %" G_GUINT64_FORMAT "' export", how[i], SIZE);
      server = start_server (f, "qemu-nbd -k %s -x disk -f %s export", socket, how[i]);
      while (!g_file_test (socket, G_FILE_TEST_EXISTS))
        g_usleep (10000);
      {
        g_autoptr (H2kOutput) output
            = convert_and_keep (disk, uri, &options, 4, NULL, NULL, &error);

        g_assert_no_error (error);
        h2k_verify (output, NULL, NULL, &error);
        g_assert_no_error (error);
      }
      /* It ends with its last client. */
      g_assert_true (g_subprocess_wait (server, NULL, NULL));
      g_object_unref (server);
      assert_qemu_agrees (path, how[i], reference);
    }
}

/* --- requests --------------------------------------------------------------------------------- */

/* Copy a disk with 64 KiB of data, 1 MiB of zeros that were data, and holes. */
static void
copy_sparse (Fixture *f, const char *server, const char *options)
{
  const Piece pieces[] = {{MIB, CONTENT_UNALLOCATED},
                          {65536, CONTENT_NOISE},
                          {MIB, CONTENT_DATA_ZERO},
                          {MIB - 65536, CONTENT_ZERO},
                          {3 * MIB, CONTENT_ZERO}};
  const H2kOutputOptions output_options = {.format = "raw", .force = TRUE, .sync = TRUE};
  g_autoptr (H2kDisk) disk = &layout_disk_new (make_pieces (pieces, 5), 1)->disk;
  g_autofree char *args = g_strdup_printf ("--filter=log %s logfile=log %s", server, options);
  g_autofree char *uri = uri_of (f);
  g_autoptr (GError) error = NULL;
  GSubprocess *process = start_nbdkit (f, args);

  g_assert_cmpuint (disk->size, ==, SIZE);
  convert (disk, uri, &output_options, 4, NULL, NULL, &error);
  g_assert_no_error (error);
  stop_server (process);
}

static void
test_requests (Fixture *f, gconstpointer data)
{
  fill_export (f, SIZE);
  copy_sparse (f, "--filter=noextents file export", "");
  g_assert_cmpuint (count_in_log (f, " Write "), ==, 1);
  g_assert_cmpuint (count_in_log (f, " Zero "), >, 0);
  g_assert_cmpuint (count_in_log (f, " Zero "), <, 8);
  g_assert_cmpuint (count_in_log (f, " Flush "), ==, 1);
  g_assert_cmpuint (count_in_log (f, " Trim "), ==, 0);
  /* What is zero already is not written again. */
  copy_sparse (f, "memory 6M", "");
  g_assert_cmpuint (count_in_log (f, " Write "), ==, 1);
  g_assert_cmpuint (count_in_log (f, " Zero "), ==, 0);
  copy_sparse (f, "--filter=noextents --filter=nozero file export", "");
  g_assert_cmpuint (count_in_log (f, " Write "), >, 1);
  g_assert_cmpuint (count_in_log (f, " Zero "), ==, 0);
}

static void
test_connections (Fixture *f, gconstpointer data)
{
  static const char *const filters[]
      = {"--filter=delay --filter=multi-conn file export wdelay=5ms multi-conn-mode=disable",
         "--filter=delay file export wdelay=5ms"};
  const H2kOutputOptions options = {.format = "raw", .force = TRUE, .sync = TRUE};
  g_autofree char *uri = uri_of (f);

  fill_export (f, SIZE);
  for (guint i = 0; i < G_N_ELEMENTS (filters); i++)
    {
      g_autofree char *args = g_strdup_printf ("--filter=log %s logfile=log", filters[i]);
      g_autoptr (H2kDisk) disk = &random_disk (SIZE, 700 + i)->disk;
      g_autoptr (GError) error = NULL;
      GSubprocess *server = start_nbdkit (f, args);

      {
        g_autoptr (H2kOutput) output
            = convert_and_keep (disk, uri, &options, 4, NULL, NULL, &error);
        g_assert_no_error (error);
        /* What it needs no other connection for. */
        h2k_verify (output, NULL, NULL, &error);
        g_assert_no_error (error);
      }
      stop_server (server);
      if (i == 0)
        g_assert_cmpuint (count_in_log (f, " Connect "), ==, 1);
      else
        g_assert_cmpuint (count_in_log (f, " Connect "), >, 1);
      g_assert_cmpuint (count_in_log (f, " Connect "), <=, 8);
    }
}

/* --- servers that fail ------------------------------------------------------------------------ */

static void
expect_failure (Fixture *f, const char *format, H2kError code, const char *words)
{
  const H2kOutputOptions options = {.format = format, .force = TRUE, .sync = TRUE};
  g_autoptr (H2kDisk) disk = &random_disk (SIZE, 800)->disk;
  g_autofree char *uri = uri_of (f);
  g_autoptr (GError) error = NULL;

  if (convert (disk, uri, &options, 4, NULL, NULL, &error))
    g_error ("it was copied, but \"%s\" was expected", words);
  check_error (error, code, words);
}

static void
test_errors (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *server;
    const char *format;
    H2kError code;
    const char *words;
  } cases[] = {
      {"--filter=error file export error-pwrite=EIO error-pwrite-rate=100%", "raw",
       H2K_ERROR_OUTPUT, "cannot write"},
      {"--filter=error file export error-pwrite=ENOSPC error-pwrite-rate=100%", "raw",
       H2K_ERROR_NO_SPACE, "No space left"},
      {"--filter=error file export error-pwrite=ENOSPC error-pwrite-rate=100%", "qcow2",
       H2K_ERROR_NO_SPACE, "No space left"},
      {"eval get_size='echo 6M' pread='head -c $3 /dev/zero' pwrite='cat >/dev/null' "
       "can_write='exit 0' can_flush='exit 0' flush='echo EIO >&2; exit 1'",
       "raw", H2K_ERROR_OUTPUT, "cannot flush"},
      /* Found out while it is written. */
      {"memory 1M", "qcow2", H2K_ERROR_NO_SPACE, "needs more"},
  };

  fill_export (f, SIZE);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      GSubprocess *server = start_nbdkit (f, cases[i].server);
      gint64 start = g_get_monotonic_time ();

      expect_failure (f, cases[i].format, cases[i].code, cases[i].words);
      g_assert_cmpint (g_get_monotonic_time () - start, <, 3 * G_USEC_PER_SEC);
      stop_server (server);
    }
}

typedef struct
{
  H2kDisk *disk;
  const char *uri;
  GCancellable *cancellable; /* may be NULL */
  H2kOutput *output;
  GError *error;
} Copy;

static gpointer
run_copy (gpointer data)
{
  const H2kOutputOptions options = {.format = "raw", .force = TRUE, .sync = TRUE};
  Copy *copy = data;

  if (copy->cancellable)
    g_cancellable_push_current (copy->cancellable);
  copy->output = convert_and_keep (copy->disk, copy->uri, &options, 2, copy->cancellable, NULL,
                                   &copy->error);
  if (copy->cancellable)
    g_cancellable_pop_current (copy->cancellable);
  return NULL;
}

/* The server ends in the middle and starts again with ARGS. The copy comes to its end, but it is
 * said that it must be verified. */
static void
test_server_comes_back (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *first, *then;
    gboolean kept;
  } cases[] = {
      {"--filter=delay file export wdelay=600ms", "file export", TRUE},
      {"--filter=delay --filter=multi-conn file export wdelay=150ms multi-conn-mode=disable",
       "--filter=multi-conn file export multi-conn-mode=disable", TRUE},
      /* What it had taken is lost. */
      {"--filter=delay --filter=multi-conn memory 6M wdelay=120ms multi-conn-mode=disable",
       "memory 6M", FALSE},
  };
  g_autofree char *uri = uri_of (f);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      const Piece pieces[] = {{SIZE, CONTENT_NOISE}};
      g_autoptr (H2kDisk) disk = &layout_disk_new (make_pieces (pieces, 1), i)->disk;
      g_autofree guint8 *reference = load_reference (f, (LayoutDisk *)disk);
      Copy copy = {.disk = disk, .uri = uri};
      GSubprocess *server;
      GThread *thread;

      fill_export (f, SIZE);
      server = start_nbdkit (f, cases[i].first);
      thread = g_thread_new ("copy", run_copy, &copy);
      g_usleep (300000);
      stop_server (server);
      server = start_nbdkit (f, cases[i].then);
      g_thread_join (thread);
      g_assert_no_error (copy.error);
      g_assert_true (h2k_output_is_doubtful (copy.output));
      g_assert_cmpint (h2k_verify (copy.output, NULL, NULL, &copy.error), ==, cases[i].kept);
      if (cases[i].kept)
        {
          gsize size;
          g_autofree guint8 *got = load (f, "export", &size);
          g_assert_true (size == SIZE && memcmp (got, reference, SIZE) == 0);
        }
      else
        g_assert_error (copy.error, H2K_ERROR, H2K_ERROR_VERIFY);
      g_clear_error (&copy.error);
      h2k_output_free (copy.output);
      stop_server (server);
    }
}

static void
test_server_is_gone (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = &random_disk (SIZE, 900)->disk;
  g_autofree char *uri = uri_of (f);
  Copy copy = {.disk = disk, .uri = uri};
  GSubprocess *server;
  GThread *thread;

  fill_export (f, SIZE);
  server = start_nbdkit (f, "--filter=delay file export wdelay=600ms");
  thread = g_thread_new ("copy", run_copy, &copy);
  g_usleep (300000);
  stop_server (server);
  g_thread_join (thread);
  g_assert_null (copy.output);
  check_error (copy.error, H2K_ERROR_OUTPUT, "cannot connect");
  g_clear_error (&copy.error);
}

/* Cancelled while the server keeps silent, or is away. */
static void
test_cancelled (Fixture *f, gconstpointer data)
{
  g_autofree char *uri = uri_of (f);

  fill_export (f, SIZE);
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      g_autoptr (H2kDisk) disk = &random_disk (SIZE, 1000)->disk;
      Copy copy = {.disk = disk, .uri = uri, .cancellable = cancellable};
      GSubprocess *server = start_nbdkit (f, "--filter=delay file export wdelay=600");
      GThread *thread = g_thread_new ("copy", run_copy, &copy);
      gint64 start;

      g_usleep (300000);
      if (i == 1)
        {
          stop_server (server);
          g_usleep (300000);
        }
      start = g_get_monotonic_time ();
      g_cancellable_cancel (cancellable);
      g_thread_join (thread);
      g_assert_cmpint (g_get_monotonic_time () - start, <, G_USEC_PER_SEC);
      g_assert_error (copy.error, H2K_ERROR, H2K_ERROR_CANCELLED);
      g_clear_error (&copy.error);
      if (i == 0)
        stop_server (server);
    }
}

/* --- what is refused -------------------------------------------------------------------------- */

static void
test_refused (Fixture *f, gconstpointer data)
{
  H2kOutputOptions options = {.format = "raw", .force = TRUE};
  g_autofree guint8 *old = make_old (f, SIZE), *now = NULL;
  g_autofree char *uri = uri_of (f), *other = g_strconcat (uri, "&x=y", NULL);
  g_autoptr (GPtrArray) sources = g_ptr_array_new ();
  GSubprocess *server = start_nbdkit (f, "file export");
  gsize size;

  refuse_output (uri, SIZE + 1, &options, NULL, H2K_ERROR_NO_SPACE, "choose a larger one");
  options.format = "vhd";
  refuse_output (uri, SIZE - MIB, &options, NULL, H2K_ERROR_USAGE, "an export of 5243392 bytes");
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_NO_SPACE, "choose a larger one");
  options.format = "vmdk";
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_USAGE, "cannot be written to an NBD export");
  options.format = "qcow2";
  {
    g_autoptr (H2kOutput) output = h2k_output_new (uri, 99 * SIZE, &options, NULL, NULL);
    g_autoptr (GError) error = NULL;

    g_assert_false (h2k_output_check_space (output, 99 * SIZE, &error));
    check_error (error, H2K_ERROR_NO_SPACE, "in the export");
  }
  options.preallocation = H2K_PREALLOCATION_FULL;
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_USAGE, "leave out preallocation");
  options.preallocation = H2K_PREALLOCATION_OFF;
  options.resume = TRUE;
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_USAGE, "leave out --resume");
  options.resume = FALSE;
  g_ptr_array_add (sources, other);
  refuse_output (uri, SIZE, &options, sources, H2K_ERROR_USAGE, "source of this conversion");
  options.force = FALSE;
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_OUTPUT_EXISTS, "--force");
  stop_server (server);

  options.force = TRUE;
  options.format = "raw";
  /* What lies behind the last whole block cannot be written. */
  g_free (old);
  old = make_old (f, SIZE + 512);
  server = start_nbdkit (f, servers[7]);
  refuse_output (uri, SIZE + 512, &options, NULL, H2K_ERROR_NO_SPACE, "has room for 6291456 bytes");
  stop_server (server);
  server = start_nbdkit (f, "-r file export");
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_OUTPUT, "read-only");
  stop_server (server);
  refuse_output (uri, SIZE, &options, NULL, H2K_ERROR_OUTPUT, "cannot connect");
  now = load (f, "export", &size);
  g_assert_true (size == SIZE + 512 && memcmp (now, old, size) == 0);
}

static void
test_uris (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *uri;
    H2kError code;
    const char *words;
  } cases[] = {
      {"https://me:secret@127.0.0.1/x?secret", H2K_ERROR_USAGE, "cannot be written to"},
      {"ssh://me:secret@127.0.0.1/x", H2K_ERROR_USAGE, "cannot be written to"},
      {"foo://127.0.0.1/x", H2K_ERROR_USAGE, "cannot be written to"},
      {"nbd://me:secret@127.0.0.1:1/x", H2K_ERROR_OUTPUT,
       "nbd://***@127.0.0.1:1/x: cannot connect"},
  };
  const H2kOutputOptions options = {.format = "raw", .force = TRUE};

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kOutput) output = h2k_output_new (cases[i].uri, SIZE, &options, NULL, &error);

      g_assert_null (output);
      check_error (error, cases[i].code, cases[i].words);
      g_assert_null (strstr (error->message, "secret"));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_setenv ("H2K_PATIENCE", "3", TRUE);
  add ("/nbd-output/raw", test_raw);
  add ("/nbd-output/images", test_images);
  add ("/nbd-output/qemu-nbd", test_qemu_nbd);
  add ("/nbd-output/requests", test_requests);
  add ("/nbd-output/connections", test_connections);
  add ("/nbd-output/errors", test_errors);
  add ("/nbd-output/server-comes-back", test_server_comes_back);
  add ("/nbd-output/server-is-gone", test_server_is_gone);
  add ("/nbd-output/cancelled", test_cancelled);
  add ("/nbd-output/refused", test_refused);
  add ("/nbd-output/uris", test_uris);
  return g_test_run ();
}
