/* test-clone-compare.c - the blocks in which states of a clone differ.
 *
 * What a VM writes is written by qemu-io; what the states hold is read by qemu-img.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/compare.h"

#include <glib/gstdio.h>
#include <stdlib.h>

#define UNIT H2K_COMPARE_UNIT
#define SIZE (1u << 20)
#define N_UNITS (SIZE / UNIT)

typedef struct
{
  char *dir;
  char *original;
  H2kCloneStore *store;
  H2kClone *clone;
} Fixture;

static void
make_clone (Fixture *f, guint8 byte)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kCloneDraft) draft = h2k_clone_draft_new (f->store, "vm", &error);
  g_autoptr (H2kDisk) disk = h2k_disk_open (f->original, "raw", &error);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);

  g_assert_no_error (error);
  g_assert_true (h2k_disk_pwrite (overlay, 3 * UNIT, 1, &byte, &error));
  g_assert_true (h2k_clone_draft_add_disk (draft, overlay, f->original, "raw", NULL, &error));
  g_assert_true (h2k_clone_draft_commit (draft, &error));
}

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *content = g_malloc0 (SIZE);
  g_autofree char *store = NULL;

  f->dir = g_dir_make_tmp ("compare-XXXXXX", &error);
  g_assert_no_error (error);
  f->original = g_build_filename (f->dir, "original.raw", NULL);
  for (guint i = 0; i < N_UNITS / 2; i++)
    memset (content + (gsize)i * UNIT, (int)(i % 3), UNIT);
  g_assert_true (g_file_set_contents (f->original, (char *)content, SIZE, &error));
  store = g_build_filename (f->dir, "store", NULL);
  f->store = h2k_clone_store_open (store, &error);
  g_assert_no_error (error);
  make_clone (f, 'R');
  f->clone = h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, &error);
  g_assert_no_error (error);
}

static int
run (const char *const *argv, char **output)
{
  g_autofree char *messages = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, output, &messages,
                &status, &error);
  g_assert_no_error (error);
  return g_spawn_check_wait_status (status, NULL) ? 0 : WEXITSTATUS (status);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  const char *argv[] = {"rm", "-rf", f->dir, NULL};

  h2k_clone_free (f->clone);
  h2k_clone_store_free (f->store);
  g_assert_cmpint (run (argv, NULL), ==, 0);
  g_free (f->original);
  g_free (f->dir);
}

/* A command of qemu-io on what the VM writes to. */
static void G_GNUC_PRINTF (2, 3) guest (Fixture *f, const char *format, ...)
{
  g_autofree char *image = h2k_clone_image (f->clone, 0, 0);
  g_autofree char *command = NULL;
  va_list args;

  va_start (args, format);
  command = g_strdup_vprintf (format, args);
  va_end (args);
  const char *argv[] = {"qemu-io", "-d", "unmap", "-f", "qcow2", "-c", command, image, NULL};
  if (run (argv, NULL) != 0)
    g_error ("%s on %s", command, image);
}

/* --- what differs ----------------------------------------------------------------------------- */

static char *
image_of (Fixture *f, guint layer)
{
  return layer ? h2k_clone_image (f->clone, layer, 0) : g_strdup (f->original);
}

/* The bytes of a state as QEMU reads them. */
static guint8 *
read_state (Fixture *f, guint layer)
{
  g_autofree char *image = image_of (f, layer);
  g_autofree char *raw = g_build_filename (f->dir, "state.raw", NULL);
  const char *argv[]
      = {"qemu-img", "convert", "-U", "-f", layer ? "qcow2" : "raw", "-O", "raw", image, raw, NULL};
  char *content;
  gsize length;

  g_assert_cmpint (run (argv, NULL), ==, 0);
  g_assert_true (g_file_get_contents (raw, &content, &length, NULL));
  g_assert_cmpuint (length, ==, SIZE);
  return (guint8 *)content;
}

typedef struct
{
  guint8 differs[N_UNITS];
  guint64 end; /* of the last range */
  guint ranges, most;
} Found;

static gboolean
take (guint64 offset, guint64 length, gpointer data)
{
  Found *found = data;

  g_assert_cmpuint (length, >, 0);
  g_assert_cmpuint (offset % UNIT, ==, 0);
  g_assert_cmpuint (length % UNIT, ==, 0);
  g_assert_true (found->ranges == 0 || offset > found->end);
  g_assert_cmpuint (offset + length, <=, SIZE);
  memset (found->differs + offset / UNIT, 1, length / UNIT);
  found->end = offset + length;
  return ++found->ranges != found->most;
}

static void
find (Fixture *f, guint from, guint to, Found *found)
{
  g_auto (H2kCloneState) a = {0}, b = {0};
  g_autoptr (GError) error = NULL;

  h2k_clone_open_states (f->clone, from, to, 0, &a, &b, &error);
  g_assert_no_error (error);
  h2k_clone_compare_states (&a, &b, take, found, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
}

/* That is what QEMU sees. Returns how many units differ. */
static guint
check (Fixture *f, guint from, guint to)
{
  g_autofree guint8 *a = read_state (f, from), *b = read_state (f, to);
  g_autofree char *before = image_of (f, from), *after = image_of (f, to);
  const char *argv[] = {"qemu-img", "compare", "-U", before, after, NULL};
  Found found = {0};
  guint count = 0;

  find (f, from, to, &found);
  for (guint i = 0; i < N_UNITS; i++)
    {
      gboolean differs = memcmp (a + (gsize)i * UNIT, b + (gsize)i * UNIT, UNIT) != 0;
      g_assert_cmpuint (found.differs[i], ==, differs);
      count += differs;
    }
  g_assert_cmpint (run (argv, NULL), ==, count ? 1 : 0);
  return count;
}

static void
test_written (Fixture *f, gconstpointer data)
{
  guint base = f->clone->base, current = f->clone->current;

  g_assert_cmpuint (check (f, base, current), ==, 0);
  g_assert_cmpuint (check (f, 0, current), ==, 1);
  guest (f, "write -P 7 %u %u", 10 * UNIT, 5 * UNIT);
  g_assert_cmpuint (check (f, base, current), ==, 5);
  g_assert_cmpuint (check (f, current, base), ==, 5);
  g_assert_cmpuint (check (f, 0, current), ==, 6);
  g_assert_cmpuint (check (f, current, current), ==, 0);
}

static void
test_same_bytes (Fixture *f, gconstpointer data)
{
  guest (f, "write -P 2 %u %u", 5 * UNIT, UNIT);      /* as it was */
  guest (f, "write -z %u %u", 6 * UNIT, UNIT);        /* was zeros */
  guest (f, "write -P 0 %u %u", SIZE / 2, SIZE / 4);  /* too */
  guest (f, "discard %u %u", SIZE / 4 * 3, SIZE / 4); /* too */
  g_assert_cmpuint (check (f, f->clone->base, f->clone->current), ==, 0);
  guest (f, "write -z %u %u", 7 * UNIT, UNIT);
  g_assert_cmpuint (check (f, f->clone->base, f->clone->current), ==, 1);
}

static void
test_branches (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint one, two;

  guest (f, "write -P 7 0 %u", UNIT);
  g_assert_true (h2k_clone_take_snapshot (f->clone, "one", NULL, &error));
  g_assert_true (h2k_clone_reset (f->clone, NULL, &error));
  guest (f, "write -P 7 0 %u", UNIT); /* the same on the other branch */
  guest (f, "write -P 8 %u %u", UNIT, UNIT);
  g_assert_true (h2k_clone_take_snapshot (f->clone, "two", NULL, &error));
  one = h2k_clone_snapshot (f->clone, "one")->number;
  two = h2k_clone_snapshot (f->clone, "two")->number;
  g_assert_cmpuint (check (f, one, two), ==, 1);
  g_assert_cmpuint (check (f, two, one), ==, 1);
  g_assert_cmpuint (check (f, f->clone->base, two), ==, 2);
  g_assert_cmpuint (check (f, 0, two), ==, 3);
}

static void
test_stops (Fixture *f, gconstpointer data)
{
  Found found = {.most = 2};

  for (guint i = 0; i < 5; i++)
    guest (f, "write -P 9 %u %u", (20 + 4 * i) * UNIT, UNIT);
  find (f, f->clone->base, f->clone->current, &found);
  g_assert_cmpuint (found.ranges, ==, 2);
}

/* A state: the original, the base, the present one, or a snapshot. */
static guint
any_state (Fixture *f, GRand *rand)
{
  guint n = (guint)g_rand_int_range (rand, 0, (gint32)f->clone->layers->len + 1);

  return n ? ((const H2kLayer *)f->clone->layers->pdata[n - 1])->number : 0;
}

static void
step (Fixture *f, GRand *rand, guint *snapshots)
{
  guint start = (guint)g_rand_int_range (rand, 0, N_UNITS);
  guint length = (guint)g_rand_int_range (rand, 1, 1 + (gint32)MIN (300, N_UNITS - start));
  guint kind = (guint)g_rand_int_range (rand, 0, 10);
  g_autoptr (GError) error = NULL;
  g_autofree char *name = NULL;

  if (kind < 5)
    guest (f, "write -P %d %u %u", g_rand_int_range (rand, 0, 4), start * UNIT, length * UNIT);
  else if (kind < 7)
    guest (f, "%s %u %u", kind == 5 ? "write -z -u" : "discard", start * UNIT, length * UNIT);
  else if (kind < 9)
    {
      name = g_strdup_printf ("s%u", (*snapshots)++);
      h2k_clone_take_snapshot (f->clone, name, NULL, &error);
    }
  else if (*snapshots)
    {
      name = g_strdup_printf ("s%d", g_rand_int_range (rand, 0, (gint32)*snapshots));
      h2k_clone_reset (f->clone, name, &error);
    }
  g_assert_no_error (error);
}

static void
test_random (Fixture *f, gconstpointer data)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (GPOINTER_TO_UINT (data));
  guint snapshots = 0;

  for (guint i = 0; i < 24; i++)
    {
      step (f, rand, &snapshots);
      if (i % 2)
        check (f, any_state (f, rand), any_state (f, rand));
    }
}

/* --- marks ------------------------------------------------------------------------------------ */

static void
test_marks (void)
{
  g_autoptr (H2kMarks) marks = h2k_marks_new ();
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new ((guint64)1 << 40);
  g_autoptr (H2kDisk) marked = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  g_autoptr (GArray) starts = g_array_new (FALSE, FALSE, sizeof (guint64));
  guint64 at = 0;
  H2kExtent extent;

  /* More than are kept apart: none may get lost. */
  for (guint i = 0; i < 700000; i++)
    {
      at += UNIT * (guint64)g_rand_int_range (rand, 1, 100);
      h2k_marks_add (marks, at, UNIT);
      g_array_append_val (starts, at);
      at += UNIT;
    }
  g_assert_cmpuint (marks->ranges->len, <=, 1u << 19);
  marked = h2k_marked_disk_new (disk, marks);
  for (guint i = 0; i < starts->len; i++)
    {
      g_assert_true (
          h2k_disk_extent (marked, g_array_index (starts, guint64, i), disk->size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
      g_assert_cmpuint (extent.length, >=, UNIT);
    }
  g_assert_true (h2k_disk_extent (marked, at, disk->size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, disk->size - at);
}

static void
test_marks_apart (void)
{
  g_autoptr (H2kMarks) marks = h2k_marks_new ();
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (100 * UNIT);
  g_autoptr (H2kDisk) marked = NULL;
  H2kExtent extent;

  h2k_marks_add (marks, 10 * UNIT, UNIT);
  h2k_marks_add (marks, 11 * UNIT, UNIT);
  h2k_marks_add (marks, 20 * UNIT, 2 * UNIT);
  g_assert_cmpuint (marks->ranges->len, ==, 2);
  marked = h2k_marked_disk_new (disk, marks);
  g_assert_true (h2k_disk_extent (marked, 0, disk->size, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, 10 * UNIT);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_true (h2k_disk_extent (marked, 10 * UNIT, disk->size, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, 2 * UNIT);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_true (h2k_disk_extent (marked, 12 * UNIT, disk->size, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, 8 * UNIT);
  g_assert_true (h2k_disk_extent (marked, 21 * UNIT, disk->size, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, UNIT);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/compare/what was written differs", Fixture, NULL, setup, test_written, teardown);
  g_test_add ("/compare/the same bytes and zeros written again do not", Fixture, NULL, setup,
              test_same_bytes, teardown);
  g_test_add ("/compare/states on different branches", Fixture, NULL, setup, test_branches,
              teardown);
  g_test_add ("/compare/who has seen enough ends it", Fixture, NULL, setup, test_stops, teardown);
  for (guint seed = 1; seed <= 3; seed++)
    {
      g_autofree char *name
          = g_strdup_printf ("/compare/random writes, snapshots and resets, seed %u", seed);
      g_test_add (name, Fixture, GUINT_TO_POINTER (seed), setup, test_random, teardown);
    }
  g_test_add_func ("/compare/marks that touch are one", test_marks_apart);
  g_test_add_func ("/compare/of too many marks the nearest ones are joined", test_marks);
  return g_test_run ();
}
