/* test-rebase.c - clones over another original: what every state reads, and kills in the middle.
 *
 * What a VM writes is written by qemu-io, and images are judged by qemu-img.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/clone.h"
#include "clone/fingerprint.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK (64u << 10)
#define N_BLOCKS 40u
#define SIZE (BLOCK * N_BLOCKS)
#define N_SNAPSHOTS 3u

typedef struct
{
  char *dir;
  H2kCloneStore *store;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *store = NULL;

  f->dir = g_dir_make_tmp ("rebase-XXXXXX", &error);
  g_assert_no_error (error);
  store = g_build_filename (f->dir, "store", NULL);
  f->store = h2k_clone_store_open (store, &error);
  g_assert_no_error (error);
}

static char *
run (const char *const *argv)
{
  g_autofree char *output = NULL, *messages = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &messages,
                &status, &error);
  g_assert_no_error (error);
  if (!g_spawn_check_wait_status (status, &error))
    g_error ("%s: %s%s", argv[0], output, messages);
  return g_steal_pointer (&output);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  const char *argv[] = {"rm", "-rf", f->dir, NULL};

  h2k_clone_store_free (f->store);
  g_free (run (argv));
  g_free (f->dir);
}

/* --- originals -------------------------------------------------------------------------------- */

static char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->dir, name, NULL);
}

/* A raw disk of BLOCKS blocks; a third of them are holes. OTHER blocks are changed in it. */
static void
make_original (Fixture *f, const char *name, guint32 seed, guint blocks, guint other)
{
  g_autofree char *path = path_of (f, name);
  g_autofree guint8 *content = g_malloc0 ((gsize)blocks * BLOCK);
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);

  for (guint i = 0; i < blocks; i++)
    if (i % 3)
      for (guint n = 0; n < BLOCK; n += 512)
        content[i * BLOCK + n] = (guint8)g_rand_int (rand);
  for (guint i = 0; i < other; i++)
    {
      guint at = (guint)g_rand_int_range (rand, 0, (gint32)(SIZE - 1));
      content[at] ^= 0x55;
    }
  /* A hole where there was something, and the other way round. */
  if (other)
    {
      memset (content + 4 * BLOCK, 0, BLOCK);
      memset (content + 9 * BLOCK, 'n', BLOCK);
    }
  g_assert_true (g_file_set_contents (path, (char *)content, (gssize)blocks * BLOCK, NULL));
}

static void
convert (Fixture *f, const char *from, const char *to, const char *format)
{
  g_autofree char *source = path_of (f, from), *target = path_of (f, to);
  const char *argv[] = {"qemu-img", "convert", "-f", "raw", "-O", format, source, target, NULL};

  g_free (run (argv));
}

/* A descriptor and an extent, which it names as seen from itself. */
static void
convert_flat (Fixture *f, const char *from, const char *to)
{
  g_autofree char *source = path_of (f, from), *target = path_of (f, to);
  const char *argv[]
      = {"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat",
         source,     target,    NULL};

  g_free (run (argv));
}

static void
make_clone (Fixture *f, const char *original)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kCloneDraft) draft = h2k_clone_draft_new (f->store, "vm", &error);
  g_autofree char *path = path_of (f, original);
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, "raw", &error);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  JsonArray *originals = json_array_new ();
  JsonObject *o = json_object_new ();

  g_assert_no_error (error);
  json_object_set_string_member (o, "path", path);
  json_object_set_string_member (o, "format", "raw");
  json_array_add_object_element (originals, o);
  json_object_set_array_member (draft->root, "originals", originals);
  g_assert_true (h2k_disk_pwrite (overlay, BLOCK + 4096, 6, "repair", &error));
  g_assert_true (h2k_clone_draft_add_disk (draft, overlay, path, "raw", NULL, &error));
  g_assert_true (h2k_clone_draft_commit (draft, &error));
}

static H2kClone *
open_clone (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  H2kClone *clone = h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, &error);

  g_assert_no_error (error);
  return clone;
}

/* Random writes, zeros, and a snapshot after each third of them. */
static void
use_clone (H2kClone *clone, GRand *rand)
{
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i <= N_SNAPSHOTS; i++)
    {
      g_autofree char *image = h2k_clone_image (clone, 0, 0);
      g_autofree char *name = g_strdup_printf ("s%u", i);
      g_autofree char *write
          = g_strdup_printf ("write -P %d %d 4096", g_rand_int_range (rand, 1, 255),
                             g_rand_int_range (rand, 0, SIZE / 4096) * 4096);
      g_autofree char *zero
          = g_strdup_printf ("write -z %u %u", (guint)g_rand_int_range (rand, 0, N_BLOCKS) * BLOCK,
                             BLOCK);
      const char *argv[] = {"qemu-io", "-f", "qcow2", "-c", write, "-c", zero, image, NULL};

      g_free (run (argv));
      if (i < N_SNAPSHOTS)
        g_assert_true (h2k_clone_take_snapshot (clone, name, NULL, &error));
    }
  /* A layer over the base that two need. */
  g_assert_true (h2k_clone_reset (clone, "s0", &error));
}

/* A digest of what each state reads, as QEMU sees it: base, snapshots, present. */
static char *
states_of (const H2kClone *clone)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *image = h2k_clone_image (clone, layer->number, 0);
      g_autofree char *flat = g_strconcat (image, ".flat", NULL);
      const char *argv[] = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, flat, NULL};
      const char *check[] = {"qemu-img", "check", "-q", "-f", "qcow2", image, NULL};
      const char *sum[] = {"sha256sum", flat, NULL};
      g_autofree char *digest = NULL;

      g_free (run (argv));
      g_free (run (check));
      digest = run (sum);
      g_string_append_printf (text, "%u %.64s\n", layer->number, digest);
      g_unlink (flat);
    }
  return g_string_free (text, FALSE);
}

static gboolean
rebase (Fixture *f, H2kClone *clone, const char *name, const char *format, gboolean keep,
        GCancellable *cancellable, GError **error)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (JsonObject) original = json_object_new ();
  g_autoptr (H2kDisk) before = keep ? h2k_clone_open_original (clone, 0, error) : NULL;
  g_autoptr (H2kDisk) after = h2k_disk_open (path, format, error);
  H2kCloneOriginal to = {.original = original,
                         .format = format,
                         .several = after && after->files->len > 1,
                         .before = before,
                         .after = keep ? after : NULL};

  json_object_set_string_member (original, "path", path);
  json_object_set_string_member (original, "format", format);
  return (before || !keep) && after && h2k_clone_rebase (clone, 0, &to, cancellable, error);
}

static const char *
original_path (const H2kClone *clone)
{
  return json_object_get_string_member (
      json_array_get_object_element (json_object_get_array_member (clone->root, "originals"), 0),
      "path");
}

/* What clone.json says is what the images lie over, and QEMU finds the same. */
static void
check_consistent (const H2kClone *clone)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) original = h2k_clone_open_original (clone, 0, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (original->files->pdata[0], ==, original_path (clone));
  g_assert_false (json_object_has_member (
      json_array_get_object_element (json_object_get_array_member (clone->root, "originals"), 0),
      "rebased"));
}

/* --- claims ----------------------------------------------------------------------------------- */

/* Over one original after the other, of other formats and contents; the one before is gone then. */
static void
test_states_stay (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *name, *format;
    gboolean keep;
  } steps[] = {
      {"copy.raw", "raw", FALSE},   {"copy.qcow2", "qcow2", FALSE},
      {"other.raw", "raw", TRUE},   {"third.qcow2", "qcow2", TRUE},
      {"larger.raw", "raw", TRUE},  {"copy.vmdk", "vmdk", TRUE},
      {"flat.vmdk", "vmdk", FALSE}, {"other-flat.vmdk", "vmdk", TRUE},
      {"copy2.vmdk", "vmdk", TRUE},
  };
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *before = NULL, *last = path_of (f, "original.raw");

  make_original (f, "original.raw", 1, N_BLOCKS, 0);
  make_original (f, "copy.raw", 1, N_BLOCKS, 0);
  make_original (f, "other.raw", 1, N_BLOCKS, 20);
  make_original (f, "third.raw", 3, N_BLOCKS, 5);
  make_original (f, "larger.raw", 4, N_BLOCKS + 7, 5);
  convert (f, "copy.raw", "copy.qcow2", "qcow2");
  convert (f, "copy.raw", "copy.vmdk", "vmdk");
  convert (f, "copy.raw", "copy2.vmdk", "vmdk");
  convert_flat (f, "copy.raw", "flat.vmdk");
  convert_flat (f, "other.raw", "other-flat.vmdk");
  convert (f, "third.raw", "third.qcow2", "qcow2");
  make_clone (f, "original.raw");
  clone = open_clone (f);
  use_clone (clone, rand);
  before = states_of (clone);
  for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
    {
      g_autofree char *after = NULL;

      /* What has the same content needs no old original. */
      if (!steps[i].keep)
        g_assert_cmpint (g_unlink (last), ==, 0);
      g_assert_true (
          rebase (f, clone, steps[i].name, steps[i].format, steps[i].keep, NULL, &error));
      g_assert_no_error (error);
      g_unlink (last);
      g_free (last);
      last = path_of (f, steps[i].name);
      g_clear_pointer (&clone, h2k_clone_free);
      clone = open_clone (f);
      g_assert_cmpstr (original_path (clone), ==, last);
      check_consistent (clone);
      after = states_of (clone);
      g_assert_cmpstr (after, ==, before);
    }
  g_assert_true (h2k_clone_reset (clone, "s2", &error));
  g_assert_true (h2k_clone_merge (clone, NULL, NULL, &error));
}

static void
test_cancelled (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *original = path_of (f, "original.raw");

  make_original (f, "original.raw", 1, N_BLOCKS, 0);
  make_original (f, "other.raw", 1, N_BLOCKS, 20);
  convert (f, "original.raw", "copy.qcow2", "qcow2");
  make_clone (f, "original.raw");
  clone = open_clone (f);
  g_cancellable_cancel (cancellable);
  g_assert_false (rebase (f, clone, "other.raw", "raw", TRUE, cancellable, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
  g_clear_error (&error);
  g_assert_false (rebase (f, clone, "copy.qcow2", "qcow2", FALSE, cancellable, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
  g_assert_cmpstr (original_path (clone), ==, original);
  check_consistent (clone);
}

/* Lost with the link at its second name: what the images say counts. */
static void
test_lost_state (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *json = NULL, *copy = path_of (f, "copy.qcow2");

  make_original (f, "original.raw", 1, N_BLOCKS, 0);
  convert (f, "original.raw", "copy.qcow2", "qcow2");
  make_clone (f, "original.raw");
  clone = open_clone (f);
  g_assert_true (rebase (f, clone, "copy.qcow2", "qcow2", FALSE, NULL, &error));
  json = g_build_filename (clone->dir, "clone.json", NULL);
  g_clear_pointer (&clone, h2k_clone_free);
  g_unlink (json);
  clone = open_clone (f);
  g_assert_cmpstr (original_path (clone), ==, copy);
}

/* --- killed ----------------------------------------------------------------------------------- */

static void
rebase_and_kill (Fixture *f, const char *name, const char *format, gboolean keep, gulong delay)
{
  pid_t pid = fork ();
  int status;

  g_assert_cmpint (pid, >=, 0);
  if (pid == 0)
    {
      H2kClone *clone = h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, NULL);
      _exit (clone && rebase (f, clone, name, format, keep, NULL, NULL) ? 0 : 1);
    }
  g_usleep (delay);
  kill (pid, SIGKILL);
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_assert_true (WIFSIGNALED (status) || WEXITSTATUS (status) == 0);
}

static void
test_kill (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *name, *format;
    gboolean keep;
  } targets[] = {{"copy.raw", "raw", FALSE},
                 {"copy.qcow2", "qcow2", FALSE},
                 {"flat.vmdk", "vmdk", FALSE},
                 {"other.raw", "raw", TRUE},
                 {"original.raw", "raw", TRUE}};
  g_autoptr (GRand) rand = g_rand_new_with_seed (77);
  g_autofree char *before = NULL;
  guint moved = 0, stayed = 0;

  make_original (f, "original.raw", 1, N_BLOCKS, 0);
  make_original (f, "copy.raw", 1, N_BLOCKS, 0);
  make_original (f, "other.raw", 1, N_BLOCKS, 20);
  convert (f, "copy.raw", "copy.qcow2", "qcow2");
  convert_flat (f, "copy.raw", "flat.vmdk");
  make_clone (f, "original.raw");
  {
    g_autoptr (H2kClone) clone = open_clone (f);
    use_clone (clone, rand);
    before = states_of (clone);
  }
  for (guint round = 0; round < 60; round++)
    {
      const guint kind = round % G_N_ELEMENTS (targets);
      g_autofree char *path = path_of (f, targets[kind].name), *after = NULL;
      g_autoptr (H2kClone) clone = NULL;
      g_autoptr (GError) error = NULL;

      rebase_and_kill (f, targets[kind].name, targets[kind].format, targets[kind].keep,
                       (gulong)g_rand_int_range (rand, 0, 100000));
      clone = open_clone (f);
      check_consistent (clone);
      if (g_str_equal (original_path (clone), path))
        moved++;
      else
        stayed++;
      if (round % 3 == 2)
        {
          after = states_of (clone);
          g_assert_cmpstr (after, ==, before);
        }
      /* The next kind is of the same content only over the first three. */
      g_assert_true (
          rebase (f, clone, targets[kind].name, targets[kind].format, TRUE, NULL, &error));
      check_consistent (clone);
    }
  g_test_message ("%u moved, %u stayed", moved, stayed);
  g_assert_cmpuint (moved, >, 0);
  g_assert_cmpuint (stayed, >, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_test_add ("/rebase/every-state-reads-the-same", Fixture, NULL, setup, test_states_stay,
              teardown);
  g_test_add ("/rebase/cancelled-nothing-has-changed", Fixture, NULL, setup, test_cancelled,
              teardown);
  g_test_add ("/rebase/lost-state-is-made-again", Fixture, NULL, setup, test_lost_state, teardown);
  g_test_add ("/rebase/killed-it-lies-over-one-or-the-other", Fixture, NULL, setup, test_kill,
              teardown);
  return g_test_run ();
}
