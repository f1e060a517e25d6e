/* remote-fixture.h - servers on this host for the tests of sources that are not local files.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "image-fixture.h"

#include <signal.h>
#include <sys/prctl.h>

static inline void
end_with_parent (gpointer data)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

/* Start a server in the fixture's folder; what it prints is to be had with a pipe. */
static inline GSubprocess *start_server (Fixture *f, const char *format, ...) G_GNUC_PRINTF (2, 3);

static inline GSubprocess *
start_server (Fixture *f, const char *format, ...)
{
  g_autoptr (GSubprocessLauncher) launcher
      = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE);
  g_autofree char *command = NULL;
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) argv = NULL;
  GSubprocess *process;
  va_list args;

  va_start (args, format);
  command = g_strdup_vprintf (format, args);
  va_end (args);
  g_assert_true (g_shell_parse_argv (command, NULL, &argv, NULL));
  g_subprocess_launcher_set_cwd (launcher, f->folder);
  g_subprocess_launcher_set_child_setup (launcher, end_with_parent, NULL, NULL);
  process = g_subprocess_launcher_spawnv (launcher, (const char *const *)argv, &error);
  g_assert_no_error (error);
  return process;
}

static inline void
stop_server (GSubprocess *process)
{
  g_subprocess_force_exit (process);
  g_subprocess_wait (process, NULL, NULL);
  g_object_unref (process);
}

/* A raw disk of SIZE bytes, random data and holes. Its content, the caller's. */
static inline guint8 *
make_raw (Fixture *f, const char *name, gsize size, guint32 seed)
{
  g_autofree char *path = g_build_filename (f->folder, name, NULL);
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  guint8 *data = g_malloc0 (size);
  int fd = g_open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  for (guint i = 0; i < 24; i++)
    {
      gsize offset = g_rand_int (rand) % size / 4096 * 4096;
      gsize wanted = (1 + g_rand_int (rand) % 60) * 4096;
      gsize length = MIN (size - offset, wanted);
      for (gsize k = 0; k < length; k++)
        data[offset + k] = (guint8)g_rand_int (rand);
      g_assert_cmpint (h2k_pwrite_full (fd, data + offset, length, offset), ==, 0);
    }
  close (fd);
  return data;
}

/* The same, when the content does not matter. */
static inline void
make_any (Fixture *f, const char *name, gsize size)
{
  g_free (make_raw (f, name, size, 0));
}

static inline H2kDisk *
open_uri (const char *uri)
{
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (uri, NULL, &error);

  g_assert_no_error (error);
  return disk;
}

static inline void
check_error (const GError *error, H2kError code, const char *words)
{
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, words))
    g_error ("\"%s\" is not in: %s", words, error->message);
}

static inline void
refuse_uri (const char *uri, H2kError code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (uri, NULL, &error);

  if (disk)
    g_error ("%s was opened, but \"%s\" was expected", uri, words);
  check_error (error, code, words);
}

/* Read the whole disk once, in large pieces. */
static inline void
check_once (H2kDisk *disk, const guint8 *expected)
{
  g_autofree guint8 *buffer = g_malloc (MIB);
  g_autoptr (GError) error = NULL;

  for (guint64 at = 0; at < disk->size; at += MIB)
    {
      gsize n = (gsize)MIN (MIB, disk->size - at);
      h2k_disk_pread (disk, at, n, buffer, &error);
      g_assert_no_error (error);
      g_assert_true (memcmp (buffer, expected + at, n) == 0);
    }
}

/* Read the whole disk until that fails. */
static inline void
refuse_read (H2kDisk *disk, H2kError code, const char *words)
{
  g_autofree guint8 *buffer = g_malloc (MIB);
  g_autoptr (GError) error = NULL;

  for (guint64 at = 0; !error && at < disk->size; at += MIB)
    h2k_disk_pread (disk, at, (gsize)MIN (MIB, disk->size - at), buffer, &error);
  if (!error)
    g_error ("everything was read, but \"%s\" was expected", words);
  check_error (error, code, words);
}

static inline gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (300000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

/* A read that waits for the server ends when it is cancelled. */
static inline void
check_cancelling (H2kDisk *disk)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  gint64 start = g_get_monotonic_time ();
  GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);

  g_cancellable_push_current (cancellable);
  refuse_read (disk, H2K_ERROR_CANCELLED, "");
  g_cancellable_pop_current (cancellable);
  g_assert_cmpint (g_get_monotonic_time () - start, <, 3 * G_USEC_PER_SEC);
  g_thread_join (thread);
}

typedef struct
{
  H2kDisk *disk;
  const guint8 *expected;
} Reader;

static inline gpointer
read_all (gpointer data)
{
  const Reader *reader = data;

  check_content (reader->disk, reader->expected, reader->disk->size);
  return NULL;
}

static inline void
check_threads (H2kDisk *disk, const guint8 *expected)
{
  Reader reader = {disk, expected};
  GThread *threads[4];

  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("read", read_all, &reader);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

static inline void
add (const char *path, void (*test) (Fixture *, gconstpointer))
{
  g_test_add (path, Fixture, NULL, set_up, test, tear_down);
}
