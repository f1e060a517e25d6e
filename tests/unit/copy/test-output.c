/* test-output.c - the output's names: nothing is overwritten, nothing is left behind, and two runs
 * do not disturb each other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const H2kOutputOptions qcow2 = {.format = "qcow2"};
static const H2kOutputOptions qcow2_force = {.format = "qcow2", .force = TRUE, .sync = TRUE};
static const Piece one_piece[] = {{128 << 10, CONTENT_NOISE}};

typedef struct
{
  char *dir;
  char *path; /* dir/disk.qcow2 */
  LayoutDisk *disk;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->dir = fixture_dir ();
  f->path = g_build_filename (f->dir, "disk.qcow2", NULL);
  f->disk = layout_disk_new (make_pieces (one_piece, 1), 1);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  h2k_disk_unref (&f->disk->disk);
  g_free (f->path);
  fixture_dir_remove (f->dir);
}

/* PATH is refused with CODE, and MESSAGE names it and has HINT. */
static void
assert_refused (Fixture *f, const char *path, const H2kOutputOptions *options, GPtrArray *sources,
                H2kError code, const char *hint)
{
  g_autoptr (GError) error = NULL;
  H2kOutput *output = h2k_output_new (path, f->disk->disk.size, options, sources, &error);

  g_assert_null (output);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, hint) || !strstr (error->message, path))
    g_error ("\"%s\" lacks \"%s\" or \"%s\"", error->message, hint, path);
}

static H2kOutput *
new_output (Fixture *f, const H2kOutputOptions *options)
{
  g_autoptr (GError) error = NULL;
  H2kOutput *output = h2k_output_new (f->path, f->disk->disk.size, options, NULL, &error);

  g_assert_no_error (error);
  return output;
}

static void
copy_into (Fixture *f, H2kOutput *output)
{
  g_autoptr (GError) error = NULL;

  h2k_copy (&f->disk->disk, output, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
}

static void
test_name_comes_last (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kOutput) output = new_output (f, &qcow2);
  g_autoptr (GError) error = NULL;
  struct stat st;
  mode_t mask = umask (0);

  umask (mask);
  g_assert_cmpuint (count_entries (f->dir), ==, 2); /* with its journal */
  g_assert_cmpstr (h2k_output_path (output), ==, f->path);
  g_assert_true (g_str_has_prefix (h2k_output_temp_path (output), f->dir));
  g_assert_false (h2k_output_commit (output, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_clear_error (&error);
  copy_into (f, output);
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
  h2k_output_commit (output, &error);
  g_assert_no_error (error);
  g_assert_cmpint (stat (f->path, &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 07777, ==, 0644 & ~mask);
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
}

static void
test_free_removes (Fixture *f, gconstpointer data)
{
  H2kOutput *output = new_output (f, &qcow2);

  copy_into (f, output);
  h2k_output_free (output);
  g_assert_cmpuint (count_entries (f->dir), ==, 0);
}

static void
test_existing (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  g_assert_true (g_file_set_contents (f->path, "precious", -1, NULL));
  assert_refused (f, f->path, &qcow2, NULL, H2K_ERROR_OUTPUT_EXISTS, "--force");
  g_assert_true (g_file_get_contents (f->path, &text, NULL, NULL));
  g_assert_cmpstr (text, ==, "precious");
  convert (&f->disk->disk, f->path, &qcow2_force, 1, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
  if (have_qemu_img ())
    g_assert_cmpint (run_program (NULL, "qemu-img", "check", f->path, NULL), ==, 0);
}

static void
test_appears_meanwhile (Fixture *f, gconstpointer data)
{
  H2kOutput *output = new_output (f, &qcow2);
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  copy_into (f, output);
  g_assert_true (g_file_set_contents (f->path, "precious", -1, NULL));
  g_assert_false (h2k_output_commit (output, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  g_assert_nonnull (strstr (error->message, "--force"));
  h2k_output_free (output);
  g_assert_true (g_file_get_contents (f->path, &text, NULL, NULL));
  g_assert_cmpstr (text, ==, "precious");
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
}

static void
test_link_stays_link (Fixture *f, gconstpointer data)
{
  g_autofree char *target = g_build_filename (f->dir, "target", NULL);
  g_autoptr (GError) error = NULL;
  struct stat st;

  g_assert_true (g_file_set_contents (target, "old", -1, NULL));
  g_assert_cmpint (symlink ("target", f->path), ==, 0);
  convert (&f->disk->disk, f->path, &qcow2_force, 1, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (lstat (f->path, &st), ==, 0);
  g_assert_true (S_ISLNK (st.st_mode));
  g_assert_cmpint (stat (target, &st), ==, 0);
  g_assert_cmpint (st.st_size, >, 128 << 10);
  g_assert_cmpint (unlink (target), ==, 0);
  assert_refused (f, f->path, &qcow2_force, NULL, H2K_ERROR_OUTPUT, "link");
}

static void
test_source_is_output (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) sources = g_ptr_array_new ();
  g_autofree char *hard = g_build_filename (f->dir, "hard", NULL);
  g_autofree char *soft = g_build_filename (f->dir, "soft", NULL);
  g_autofree char *missing = g_build_filename (f->dir, "missing", NULL);

  g_ptr_array_add (sources, missing);
  g_ptr_array_add (sources, f->path);
  g_assert_true (g_file_set_contents (f->path, "source", -1, NULL));
  g_assert_cmpint (link (f->path, hard), ==, 0);
  g_assert_cmpint (symlink (f->path, soft), ==, 0);
  assert_refused (f, f->path, &qcow2_force, sources, H2K_ERROR_USAGE, "source");
  assert_refused (f, hard, &qcow2_force, sources, H2K_ERROR_USAGE, "source");
  assert_refused (f, soft, &qcow2_force, sources, H2K_ERROR_USAGE, "source");
  assert_refused (f, soft, &qcow2, sources, H2K_ERROR_USAGE, "source");
}

static void
test_impossible_places (Fixture *f, gconstpointer data)
{
  g_autofree char *no_dir = g_build_filename (f->dir, "no", "disk", NULL);
  g_autofree char *in_file = g_build_filename (f->path, "disk", NULL);
  g_autofree char *name = g_strnfill (256, 'n');
  g_autofree char *long_name = g_build_filename (f->dir, name, NULL);
  g_autofree char *fifo = g_build_filename (f->dir, "fifo", NULL);
  g_autofree char *slash = g_strconcat (f->dir, "/new/", NULL);

  g_assert_true (g_file_set_contents (f->path, "file", -1, NULL));
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  assert_refused (f, no_dir, &qcow2, NULL, H2K_ERROR_OUTPUT, "create it");
  assert_refused (f, in_file, &qcow2, NULL, H2K_ERROR_OUTPUT, "Not a directory");
  assert_refused (f, long_name, &qcow2, NULL, H2K_ERROR_USAGE, "too long");
  assert_refused (f, f->dir, &qcow2_force, NULL, H2K_ERROR_USAGE, "is a directory");
  assert_refused (f, fifo, &qcow2_force, NULL, H2K_ERROR_UNSUPPORTED, "device");
  assert_refused (f, "/dev/null", &qcow2_force, NULL, H2K_ERROR_UNSUPPORTED, "device");
  assert_refused (f, slash, &qcow2, NULL, H2K_ERROR_USAGE, "file name");
  assert_refused (f, "", &qcow2, NULL, H2K_ERROR_USAGE, "file name");
}

static void
test_read_only_directory (Fixture *f, gconstpointer data)
{
  if (mount ("tmpfs", f->dir, "tmpfs", MS_RDONLY, "size=1m"))
    {
      g_test_skip ("mounting a read-only filesystem needs root");
      return;
    }
  assert_refused (f, f->path, &qcow2, NULL, H2K_ERROR_OUTPUT, "Read-only");
  g_assert_cmpint (umount2 (f->dir, MNT_DETACH), ==, 0);
}

/* A name as long as the filesystem allows leaves no room for the temporary one's additions. */
static void
test_longest_name (Fixture *f, gconstpointer data)
{
  g_autofree char *name = g_strnfill (255, 'n');
  g_autofree char *path = g_build_filename (f->dir, name, NULL);
  g_autoptr (GError) error = NULL;

  convert (&f->disk->disk, path, &qcow2, 1, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_file_test (path, G_FILE_TEST_IS_REGULAR));
}

static void
test_relative_path (Fixture *f, gconstpointer data)
{
  g_autofree char *before = g_get_current_dir ();
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (g_chdir (f->dir), ==, 0);
  convert (&f->disk->disk, "here.qcow2", &qcow2, 1, NULL, NULL, &error);
  g_assert_cmpint (g_chdir (before), ==, 0);
  g_assert_no_error (error);
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
}

/* Two runs with the same output: both can write, the first to finish has the name. */
static void
test_two_runs (Fixture *f, gconstpointer data)
{
  H2kOutput *one = new_output (f, &qcow2);
  H2kOutput *two = new_output (f, &qcow2);
  g_autoptr (GError) error = NULL;

  g_assert_cmpuint (count_entries (f->dir), ==, 4);
  copy_into (f, one);
  copy_into (f, two);
  h2k_output_commit (two, &error);
  g_assert_no_error (error);
  g_assert_false (h2k_output_commit (one, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  h2k_output_free (one);
  h2k_output_free (two);
  g_assert_cmpuint (count_entries (f->dir), ==, 1);
}

/* What a killed process was writing is removed by the next run for the same name; another name's is
 * left alone, and so is what a living process writes. */
static void
test_killed_run (Fixture *f, gconstpointer data)
{
  g_autofree char *other = g_build_filename (f->dir, "other.qcow2", NULL);
  g_autofree char *alike = g_build_filename (f->dir, ".disk.qcow2.h2k-abcdef.part.txt", NULL);
  int ready[2], status;
  char byte;
  pid_t pid;
  H2kOutput *output;

  g_assert_cmpint (pipe (ready), ==, 0);
  pid = fork ();
  if (pid == 0)
    {
      prctl (PR_SET_PDEATHSIG, SIGKILL);
      if (!h2k_output_new (f->path, 4096, &qcow2, NULL, NULL)
          || !h2k_output_new (other, 4096, &qcow2, NULL, NULL) || write (ready[1], "x", 1) != 1)
        _exit (1);
      for (;;)
        pause ();
    }
  g_assert_cmpint (read (ready[0], &byte, 1), ==, 1);
  g_assert_cmpuint (count_entries (f->dir), ==, 4);
  output = new_output (f, &qcow2);
  g_assert_cmpuint (count_entries (f->dir), ==, 6);
  h2k_output_free (output);
  g_assert_cmpuint (count_entries (f->dir), ==, 4);

  g_assert_cmpint (kill (pid, SIGKILL), ==, 0);
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_assert_true (g_file_set_contents (alike, "a user's file", -1, NULL));
  output = new_output (f, &qcow2);
  g_assert_cmpuint (count_entries (f->dir), ==, 5);
  h2k_output_free (output);
  g_assert_cmpuint (count_entries (f->dir), ==, 3);
  g_assert_true (g_file_test (alike, G_FILE_TEST_EXISTS));
  close (ready[0]);
  close (ready[1]);
}

static void
test_space (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kOutput) output = new_output (f, &qcow2);
  g_autoptr (GError) error = NULL;

  g_assert_true (h2k_output_check_space (output, 1, &error));
  g_assert_no_error (error);
  g_assert_false (h2k_output_check_space (output, G_MAXINT64, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE);
  g_assert_nonnull (strstr (error->message, f->path));
  g_assert_nonnull (strstr (error->message, "9223372036854775807 bytes) needed"));
  g_assert_nonnull (strstr (error->message, "available"));
}

#define ADD(name, func) g_test_add ("/output/" name, Fixture, NULL, set_up, func, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("name-comes-last", test_name_comes_last);
  ADD ("free-removes", test_free_removes);
  ADD ("existing", test_existing);
  ADD ("appears-meanwhile", test_appears_meanwhile);
  ADD ("link-stays-link", test_link_stays_link);
  ADD ("source-is-output", test_source_is_output);
  ADD ("impossible-places", test_impossible_places);
  ADD ("read-only-directory", test_read_only_directory);
  ADD ("longest-name", test_longest_name);
  ADD ("relative-path", test_relative_path);
  ADD ("two-runs", test_two_runs);
  ADD ("killed-run", test_killed_run);
  ADD ("space", test_space);
  return g_test_run ();
}
