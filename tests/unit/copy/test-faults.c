/* test-faults.c - reads, writes and flushes that fail at seeded points: the error is the right one,
 * the source is what it was, nothing stands under the final name, and what --resume makes of it is
 * what an undisturbed run makes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include "copy/fd-calls.h"
#include "hyper2kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define KiB ((guint64)1 << 10)
#define MiB ((guint64)1 << 20)
#define MAX_IOV 256
#define DISK_SIZE (3 * MiB + 512)

typedef struct
{
  const char *name;
  H2kOutputOptions options;
} Variant;

/* As sources, and as outputs. */
static const Variant variants[] = {
    {"raw", {.format = "raw"}},
    {"qcow2", {.format = "qcow2"}},
    {"qcow2-zlib", {.format = "qcow2", .compression = H2K_COMPRESS_ZLIB}},
    {"qcow2-zstd", {.format = "qcow2", .compression = H2K_COMPRESS_ZSTD}},
    {"vmdk", {.format = "vmdk"}},
    {"vhdx", {.format = "vhdx", .block_size = 1 << 20}},
    {"vhd", {.format = "vhd"}},
};

#define N_VARIANTS G_N_ELEMENTS (variants)

static char *source_dir;
static char *source_paths[N_VARIANTS], *source_sums[N_VARIANTS];
static char *output_sums[N_VARIANTS][N_VARIANTS]; /* by source and output */
static guint points;                              /* faults that something met with */

/* --- calls that fail -------------------------------------------------------------------------- */

static const struct
{
  const char *name;
  int err;
  H2kError code;
} failures[] = {
    {"EIO", EIO, H2K_ERROR_OUTPUT},
    {"ENOSPC", ENOSPC, H2K_ERROR_NO_SPACE},
    {"EFBIG", EFBIG, H2K_ERROR_OUTPUT},
    {"EDQUOT", EDQUOT, H2K_ERROR_NO_SPACE},
};

/* The call with number AT (from 1) of one kind fails, or is cut short; 0: none. */
static struct
{
  gint write_at, fsync_at, truncate_at, short_at;
  gboolean always; /* and all behind it */
  int err;
  gint writes, fsyncs, truncates, met;
} fault;

static gboolean
is_met (gint number, gint at)
{
  if (!at || (fault.always ? number < at : number != at))
    return FALSE;
  g_atomic_int_inc (&fault.met);
  return TRUE;
}

/* Write the first half of what is asked for, of more than a byte, to any boundary. */
static ssize_t
write_short (int fd, const struct iovec *iov, int n, off_t offset, gint number)
{
  struct iovec part[MAX_IOV];
  gsize length = 0, left;
  int used = 0;

  g_assert_cmpint (n, <=, MAX_IOV);
  for (int i = 0; i < n; i++)
    length += iov[i].iov_len;
  left = MAX (length / 2 - (gsize)number % MAX (length / 4, 1), 1);
  for (; left; used++)
    {
      part[used] = (struct iovec){iov[used].iov_base, MIN (iov[used].iov_len, left)};
      left -= part[used].iov_len;
    }
  return pwritev (fd, part, used, offset);
}

static ssize_t
fault_pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  gint number = g_atomic_int_add (&fault.writes, 1) + 1;

  if (is_met (number, fault.write_at))
    {
      errno = fault.err;
      return -1;
    }
  return is_met (number, fault.short_at) ? write_short (fd, iov, n, offset, number)
                                         : pwritev (fd, iov, n, offset);
}

static int
fault_fsync (int fd)
{
  if (!is_met (g_atomic_int_add (&fault.fsyncs, 1) + 1, fault.fsync_at))
    return fsync (fd);
  errno = fault.err;
  return -1;
}

static int
fault_ftruncate (int fd, off_t length)
{
  if (!is_met (g_atomic_int_add (&fault.truncates, 1) + 1, fault.truncate_at))
    return ftruncate (fd, length);
  errno = fault.err;
  return -1;
}

/* --- sources and outputs ---------------------------------------------------------------------- */

static void
make_sources (void)
{
  source_dir = fixture_dir ();
  for (guint i = 0; i < N_VARIANTS; i++)
    {
      g_autoptr (GRand) random = g_rand_new_with_seed (i);
      g_autoptr (GError) error = NULL;
      LayoutDisk *d = layout_disk_new (random_pieces (random, DISK_SIZE, 512 * KiB), i);

      source_paths[i] = g_build_filename (source_dir, variants[i].name, NULL);
      convert (&d->disk, source_paths[i], &variants[i].options, 2, NULL, NULL, &error);
      g_assert_no_error (error);
      source_sums[i] = file_sum (source_paths[i]);
      h2k_disk_unref (&d->disk);
    }
}

static void
remove_sources (void)
{
  for (guint i = 0; i < N_VARIANTS; i++)
    {
      g_free (source_paths[i]);
      g_free (source_sums[i]);
      for (guint j = 0; j < N_VARIANTS; j++)
        g_free (output_sums[i][j]);
    }
  fixture_dir_remove (source_dir);
}

/* Source S. FILE (may be NULL) is its file, whose faults are to be set. */
static H2kDisk *
open_source (guint s, FaultFile **file)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFile) below = h2k_file_open (source_paths[s], &error);
  FaultFile *f;
  H2kDisk *disk;

  g_assert_no_error (error);
  f = fault_file_new (g_steal_pointer (&below));
  disk = h2k_disk_open_file (&f->file, variants[s].options.format, &error);
  g_assert_no_error (error);
  if (file)
    *file = f;
  h2k_file_unref (&f->file); /* the disk has it */
  return disk;
}

typedef struct
{
  guint source, output; /* variants */
  char *dir, *path;
  H2kOutputOptions options;
  H2kCopyStats stats;
} Run;

static void
run_init (Run *r, guint source, guint output, gboolean resume)
{
  *r = (Run){source, output, fixture_dir (), NULL, variants[output].options, {0}};
  r->path = g_build_filename (r->dir, "disk", NULL);
  r->options.resume = resume;
  r->options.identity = "source: an image\noptions: some";
}

static void
run_clear (Run *r)
{
  g_autofree char *sum = file_sum (source_paths[r->source]);

  g_assert_cmpstr (sum, ==, source_sums[r->source]);
  fixture_dir_remove (r->dir);
  g_free (r->path);
}

/* What an undisturbed run makes. */
static const char *
undisturbed (guint source, guint output)
{
  char **sum = &output_sums[source][output];

  if (!*sum)
    {
      g_autoptr (H2kDisk) disk = open_source (source, NULL);
      g_autoptr (GError) error = NULL;
      Run r;

      run_init (&r, source, output, FALSE);
      convert (disk, r.path, &r.options, 2, NULL, NULL, &error);
      g_assert_no_error (error);
      *sum = file_sum (r.path);
      run_clear (&r);
    }
  return *sum;
}

/* The output is there, whole, and nothing else. */
static void
assert_complete (Run *r)
{
  g_autofree char *sum = file_sum (r->path);

  g_assert_cmpstr (sum, ==, undisturbed (r->source, r->output));
  g_assert_cmpuint (count_entries (r->dir), ==, 1);
}

/* Nothing has the final name; what there is can be taken up, or was removed. */
static void
assert_failed (Run *r, const GError *error, H2kError code)
{
  g_assert_error (error, H2K_ERROR, (int)code);
  g_assert_false (g_file_test (r->path, G_FILE_TEST_EXISTS));
  if (!r->options.resume)
    g_assert_cmpuint (count_entries (r->dir), ==, 0);
  points++;
}

static void
finish (Run *r)
{
  g_autoptr (H2kDisk) disk = open_source (r->source, NULL);
  g_autoptr (GError) error = NULL;

  convert (disk, r->path, &r->options, 2, NULL, &r->stats, &error);
  g_assert_no_error (error);
  assert_complete (r);
}

/* --- sources that cannot be read -------------------------------------------------------------- */

static void
test_read_errors (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), before = points;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 10; i++)
    {
      guint source = (i + output) % N_VARIANTS;
      FaultFile *file;
      g_autoptr (H2kDisk) disk = open_source (source, &file);
      g_autoptr (GError) error = NULL;
      gboolean ok;
      Run r;

      run_init (&r, source, output, i % 5 != 0);
      if (i < 6)
        {
          file->fail_at = file->reads + g_rand_int_range (random, 1, 4);
          file->once = i % 2;
        }
      else
        file->bad = (guint64)(g_rand_double (random) * (double)file->file.size);
      file->failed = 0;
      ok = convert (disk, r.path, &r.options, 2, NULL, &r.stats, &error);
      g_assert_cmpint (ok, ==, file->failed == 0); /* what nobody needs may be bad */
      if (ok)
        assert_complete (&r);
      else
        {
          assert_failed (&r, error, H2K_ERROR_SOURCE);
          finish (&r);
        }
      run_clear (&r);
    }
  g_assert_cmpuint (points - before, >=, 4);
  g_test_message ("%u faults", points - before);
}

/* The first read of each kind of image, the second, and so on, up to the one that opens it. */
static void
test_opening (gconstpointer data)
{
  guint source = GPOINTER_TO_UINT (data);
  guint i = 0;

  for (gboolean opened = FALSE; !opened; i++)
    {
      g_autoptr (H2kFile) file = NULL;
      g_autoptr (H2kDisk) disk = NULL;
      g_autoptr (GError) error = NULL;
      FaultFile *f = fault_file_new (h2k_file_open (source_paths[source], NULL));

      file = &f->file;
      f->fail_at = (gint)i + 1;
      disk = h2k_disk_open_file (file, variants[source].options.format, &error);
      opened = disk != NULL;
      if (opened)
        g_assert_cmpint (f->failed, ==, 0);
      else
        g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
      points += !opened;
    }
  g_assert_cmpuint (i, <, 30);
}

/* The file becomes shorter while it is read: its end is not taken for zeros. */
static void
test_short_reads (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), before = points;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint source = 0; source < N_VARIANTS; source += 2)
    {
      g_autoptr (H2kDisk) disk = open_source (source, NULL);
      g_autoptr (GError) error = NULL;
      g_autofree char *content = NULL;
      gsize size;
      Run r;

      run_init (&r, source, output, TRUE);
      g_assert_true (g_file_get_contents (source_paths[source], &content, &size, NULL));
      g_assert_cmpint (truncate (source_paths[source],
                                 g_rand_int_range (random, 1000, (gint32)size / 2)),
                       ==, 0);
      convert (disk, r.path, &r.options, 2, NULL, NULL, &error);
      assert_failed (&r, error, H2K_ERROR_SOURCE);
      g_assert_true (g_file_set_contents (source_paths[source], content, (gssize)size, NULL));
      finish (&r);
      run_clear (&r);
    }
  g_assert_cmpuint (points - before, ==, (N_VARIANTS + 1) / 2);
}

static void
change_source (const char *phase, guint64 done, guint64 total, gpointer data)
{
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};

  g_assert_cmpint (utimensat (AT_FDCWD, data, times, 0), ==, 0);
}

static void
test_changing_source (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), source = (output + 1) % N_VARIANTS;
  g_autoptr (H2kConvertOptions) options = h2k_convert_options_new ();
  struct timespec before[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 2}};
  g_autoptr (GError) error = NULL;
  Run r;

  run_init (&r, source, output, TRUE);
  options->source = g_strdup (source_paths[source]);
  options->output = g_strdup (r.path);
  g_free (options->output_format);
  options->output_format = g_strdup (r.options.format);
  options->compression = r.options.compression;
  options->resume = TRUE;
  options->fast = TRUE;
  options->threads = 2;
  options->progress = change_source;
  options->progress_data = source_paths[source];
  g_assert_cmpint (utimensat (AT_FDCWD, source_paths[source], before, 0), ==, 0);

  g_assert_false (h2k_convert (options, NULL, &error));
  assert_failed (&r, error, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "changed while it was read"));
  g_clear_error (&error);
  options->progress = NULL;
  g_assert_false (h2k_convert (options, NULL, &error));
  assert_failed (&r, error, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "changed since"));
  g_clear_error (&error);
  options->resume = FALSE;
  h2k_convert (options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (count_entries (r.dir), ==, 1);
  run_clear (&r);
}

/* --- outputs that cannot be written ----------------------------------------------------------- */

/* A run of SOURCE into R with the faults that are set. */
static gboolean
run_with_faults (Run *r, GError **error)
{
  static const H2kFdCalls real = {pwritev, fsync, ftruncate};
  g_autoptr (H2kDisk) disk = open_source (r->source, NULL);
  gboolean ok;

  h2k_fd_calls = (H2kFdCalls){fault_pwritev, fault_fsync, fault_ftruncate};
  fault.writes = fault.fsyncs = fault.truncates = fault.met = 0;
  ok = convert (disk, r->path, &r->options, 2, NULL, &r->stats, error);
  h2k_fd_calls = real;
  return ok;
}

/* How many writes there are when nothing fails. */
static gint
count_writes (guint source, guint output)
{
  static gint known[N_VARIANTS][N_VARIANTS];
  g_autoptr (GError) error = NULL;
  Run r;

  if (known[source][output])
    return known[source][output];
  run_init (&r, source, output, TRUE);
  memset (&fault, 0, sizeof fault);
  run_with_faults (&r, &error);
  g_assert_no_error (error);
  run_clear (&r);
  return known[source][output] = fault.writes;
}

static void
test_write_errors (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), before = points;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 9; i++)
    {
      guint source = (i + output) % N_VARIANTS;
      gint writes = count_writes (source, output);
      g_autoptr (GError) error = NULL;
      Run r;

      run_init (&r, source, output, i % 5 != 0);
      memset (&fault, 0, sizeof fault);
      fault.write_at = g_rand_int_range (random, 1, writes + 1);
      fault.err = failures[i % G_N_ELEMENTS (failures)].err;
      fault.always = i % 3 != 0;
      /* Sometimes half of what was to be written before is there. */
      fault.short_at = i % 2 ? fault.write_at - 1 : 0;
      if (run_with_faults (&r, &error))
        assert_complete (&r); /* another number of writes: the threads decide */
      else
        {
          assert_failed (&r, error, failures[i % G_N_ELEMENTS (failures)].code);
          finish (&r);
        }
      run_clear (&r);
    }
  g_assert_cmpuint (points - before, >=, 4);
  g_test_message ("%u faults", points - before);
}

static void
test_short_writes (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data);

  for (guint i = 0; i < 4; i++)
    {
      guint source = (output + 2 * i) % N_VARIANTS;
      g_autoptr (GError) error = NULL;
      Run r;

      run_init (&r, source, output, FALSE);
      memset (&fault, 0, sizeof fault);
      fault.short_at = 1 + (gint)i % 3;
      fault.always = i % 2;
      run_with_faults (&r, &error);
      g_assert_no_error (error);
      g_assert_cmpint (fault.met, >, 0);
      points++;
      assert_complete (&r);
      run_clear (&r);
    }
}

/* At the end of the copy, and before the file gets its name. */
static void
test_flushes (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data);

  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (GError) error = NULL;
      Run r;

      run_init (&r, (output + i) % N_VARIANTS, output, i >= 2);
      r.options.sync = TRUE;
      memset (&fault, 0, sizeof fault);
      fault.fsync_at = 1 + (gint)i % 2;
      fault.err = i == 2 ? ENOSPC : EIO;
      g_assert_false (run_with_faults (&r, &error));
      g_assert_cmpint (fault.met, ==, 1);
      assert_failed (&r, error, i == 2 ? H2K_ERROR_NO_SPACE : H2K_ERROR_OUTPUT);
      finish (&r);
      g_assert_true (!r.options.resume || r.stats.bytes_resumed > 0);
      run_clear (&r);
    }
}

static void
test_lengths (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), before = points;

  for (gint at = 1; at <= 3; at++)
    {
      g_autoptr (GError) error = NULL;
      Run r;

      run_init (&r, output, output, at != 2);
      memset (&fault, 0, sizeof fault);
      fault.truncate_at = at;
      fault.err = failures[at % G_N_ELEMENTS (failures)].err;
      if (!run_with_faults (&r, &error))
        {
          g_assert_cmpint (error->code, ==, failures[at % G_N_ELEMENTS (failures)].code);
          assert_failed (&r, error, (H2kError)error->code);
          finish (&r);
        }
      run_clear (&r);
    }
  g_assert_cmpuint (points - before, >=, 2);
}

/* --- filesystems that are full ---------------------------------------------------------------- */

static char *no_mounts; /* why there can be none */

static gboolean
write_text (const char *path, const char *text)
{
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  gboolean ok = fd >= 0 && write (fd, text, strlen (text)) == (gssize)strlen (text);

  if (fd >= 0)
    close (fd);
  return ok;
}

/* Mounts of this process's own; a user who is not root becomes one among them. */
static void
enter_namespace (void)
{
  uid_t uid = geteuid ();
  gid_t gid = getegid ();

  if (unshare (uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
    {
      no_mounts
          = g_strdup_printf ("mounting needs root, or user namespaces: %s", g_strerror (errno));
      return;
    }
  if (uid != 0)
    {
      g_autofree char *uids = g_strdup_printf ("%u %u 1", (guint)uid, (guint)uid);
      g_autofree char *gids = g_strdup_printf ("%u %u 1", (guint)gid, (guint)gid);

      if (!write_text ("/proc/self/uid_map", uids) || !write_text ("/proc/self/setgroups", "deny")
          || !write_text ("/proc/self/gid_map", gids))
        no_mounts = g_strdup ("user namespaces cannot be set up");
    }
  if (!no_mounts && mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    no_mounts = g_strdup_printf ("mounts cannot be made private: %s", g_strerror (errno));
}

static gboolean
mount_tmpfs (const char *dir, guint64 size, gulong flags)
{
  g_autofree char *options = g_strdup_printf ("size=%" G_GUINT64_FORMAT "k", size / KiB);

  if (mount ("tmpfs", dir, "tmpfs", flags, options) == 0)
    return TRUE;
  no_mounts = g_strdup_printf ("a tmpfs cannot be mounted: %s", g_strerror (errno));
  return FALSE;
}

static void
test_full (gconstpointer data)
{
  guint output = GPOINTER_TO_UINT (data), before = points;
  g_autoptr (GRand) random = g_rand_new_with_seed (g_test_rand_int ());

  for (guint i = 0; i < 4 && !no_mounts; i++)
    {
      guint source = (output + i) % N_VARIANTS;
      guint64 size = (guint64)g_rand_int_range (random, 2, 128) * 4 * KiB;
      g_autoptr (H2kDisk) disk = open_source (source, NULL);
      g_autoptr (GError) error = NULL;
      gboolean ok;
      Run r;

      run_init (&r, source, output, i != 0);
      if (mount_tmpfs (r.dir, size, 0))
        {
          if (convert (disk, r.path, &r.options, 2, NULL, NULL, &error))
            assert_complete (&r);
          else
            {
              assert_failed (&r, error, H2K_ERROR_NO_SPACE);
              ok = mount_tmpfs (r.dir, 64 * MiB, MS_REMOUNT);
              g_assert_true (ok);
              finish (&r);
            }
          g_assert_cmpint (umount2 (r.dir, MNT_DETACH), ==, 0);
        }
      run_clear (&r);
    }
  if (no_mounts)
    {
      g_test_skip (no_mounts);
      return;
    }
  g_assert_cmpuint (points - before, >=, 2);
  g_test_message ("%u faults", points - before);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    GTestDataFunc func;
  } tests[] = {
      {"opening", test_opening},
      {"read-errors", test_read_errors},
      {"short-reads", test_short_reads},
      {"changing-source", test_changing_source},
      {"write-errors", test_write_errors},
      {"short-writes", test_short_writes},
      {"flushes", test_flushes},
      {"lengths", test_lengths},
      {"full", test_full},
  };
  int status;

  g_test_init (&argc, &argv, NULL);
  enter_namespace (); /* while there is one thread */
  make_sources ();
  for (guint t = 0; t < G_N_ELEMENTS (tests); t++)
    for (guint i = 0; i < N_VARIANTS; i++)
      {
        g_autofree char *name = g_strdup_printf ("/faults/%s/%s", tests[t].name, variants[i].name);
        g_test_add_data_func (name, GUINT_TO_POINTER (i), tests[t].func);
      }
  status = g_test_run ();
  g_print ("# %u faults\n", points);
  remove_sources ();
  g_free (no_mounts);
  return status;
}
