/* test-clone-luks.c - encrypted clones: what needs their key and what does not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/clone.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (64u << 10)
#define SIZE (BLOCK * 8)
#define MARKER "NOBODY IS TO SEE THIS"

typedef struct
{
  char *dir, *original, *key_file;
  H2kCloneStore *store;
} Fixture;

static void
set_key (Fixture *f, const char *key)
{
  g_assert_true (
      g_file_set_contents_full (f->key_file, key, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

/* An encrypted clone "c", into which the repair wrote the marker. */
static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *store = NULL;
  g_autofree char *zeros = g_malloc0 (SIZE);
  g_autoptr (H2kImageKey) key = NULL;
  g_autoptr (H2kCloneDraft) draft = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) overlay = NULL;

  f->dir = g_dir_make_tmp ("clone-luks-XXXXXX", &error);
  f->original = g_build_filename (f->dir, "original.raw", NULL);
  f->key_file = g_build_filename (f->dir, "key", NULL);
  store = g_build_filename (f->dir, "store", NULL);
  g_file_set_contents (f->original, zeros, SIZE, &error);
  set_key (f, "right");
  f->store = h2k_clone_store_open (store, &error);
  key = h2k_image_key_read (f->key_file, &error);
  disk = h2k_disk_open (f->original, "raw", &error);
  g_assert_no_error (error);
  overlay = h2k_overlay_new (disk, NULL, G_MAXUINT64);
  h2k_disk_pwrite (overlay, BLOCK, strlen (MARKER), MARKER, &error);
  draft = h2k_clone_draft_new (f->store, "c", &error);
  g_assert_no_error (error);
  g_assert_true (h2k_clone_draft_encrypt (draft, key, f->key_file, &error));
  g_assert_true (h2k_clone_draft_add_disk (draft, overlay, f->original, "raw", NULL, &error));
  g_assert_true (h2k_clone_draft_commit (draft, &error));
  g_assert_no_error (error);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  const char *argv[] = {"rm", "-rf", f->dir, NULL};

  h2k_clone_use_key_file (NULL);
  h2k_clone_store_free (f->store);
  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
  g_free (f->original);
  g_free (f->key_file);
  g_free (f->dir);
}

static H2kClone *
open_clone (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  H2kClone *clone = h2k_clone_open (f->store, "c", H2K_CLONE_CHANGE, &error);

  g_assert_no_error (error);
  return clone;
}

static void
check_marker (H2kClone *clone)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_clone_open_image (clone, clone->current, 0, &error);
  char got[sizeof MARKER] = {0};

  g_assert_no_error (error);
  g_assert_true (h2k_disk_pread (disk, BLOCK, strlen (MARKER), got, &error));
  g_assert_cmpstr (got, ==, MARKER);
}

/* Only the current layer has the name for definitions. */
static void
check_live (const H2kClone *clone)
{
  g_autofree char *live = h2k_clone_live_image (clone, 0);
  g_autofree char *image = h2k_clone_image (clone, clone->current, 0);
  struct stat a, b;

  g_assert_cmpint (stat (live, &a), ==, 0);
  g_assert_cmpint (stat (image, &b), ==, 0);
  g_assert_cmpuint (a.st_ino, ==, b.st_ino);
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *link = g_strdup_printf ("%s/layers/%u/live", clone->dir, layer->number);

      g_assert_cmpint (g_lstat (link, &a), ==, layer->number == clone->current ? 0 : -1);
    }
}

static void
test_layers (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kClone) clone = open_clone (f);
  g_autoptr (GError) error = NULL;
  guint merged = 0;

  g_assert_true (h2k_clone_is_encrypted (clone));
  check_live (clone);
  g_unlink (f->key_file);
  h2k_clone_take_snapshot (clone, "s", NULL, &error);
  g_assert_no_error (error);
  check_live (clone);
  h2k_clone_reset (clone, "s", &error);
  g_assert_no_error (error);
  check_live (clone);
  h2k_clone_commit (clone, &error);
  h2k_clone_drop_snapshot (clone, "s", &error);
  g_assert_no_error (error);
  check_live (clone);
  g_assert_false (h2k_clone_merge (clone, NULL, &merged, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  set_key (f, "right");
  h2k_clone_merge (clone, NULL, &merged, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (merged, >, 0);
  check_live (clone);
  check_marker (clone);
}

static void
test_keys (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kClone) clone = open_clone (f);
  g_autofree char *moved = g_build_filename (f->dir, "moved", NULL);
  g_autoptr (H2kImageKey) key = NULL;
  g_autoptr (GError) error = NULL;

  set_key (f, "wrong");
  g_assert_false (h2k_clone_read_key (clone, &key, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "does not open it"));
  g_assert_null (h2k_clone_open_image (clone, clone->current, 0, NULL));
  set_key (f, "right");
  g_assert_cmpint (g_rename (f->key_file, moved), ==, 0);
  g_clear_error (&error);
  g_assert_false (h2k_clone_read_key (clone, &key, &error));
  g_assert_nonnull (strstr (error->message, "--key-file"));
  h2k_clone_use_key_file (moved);
  check_marker (clone);
}

/* A killed operation had taken the name; the next one puts it back. */
static void
test_live_again (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kClone) clone = open_clone (f);
  g_autofree char *link = g_strdup_printf ("%s/layers/%u/live", clone->dir, clone->current);
  g_autofree char *old = g_strdup_printf ("%s/layers/1/live", clone->dir);

  g_assert_cmpint (g_unlink (link), ==, 0);
  g_assert_cmpint (symlink (".", old), ==, 0);
  g_clear_pointer (&clone, h2k_clone_free);
  clone = open_clone (f);
  check_live (clone);
}

static void
test_hidden (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kClone) clone = open_clone (f);

  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *path = h2k_clone_image (clone, layer->number, 0);
      g_autofree char *content = NULL;
      gsize length;

      g_assert_true (g_file_get_contents (path, &content, &length, NULL));
      g_assert_null (memmem (content, length, MARKER, strlen (MARKER)));
    }
}

#define ADD(name, func) g_test_add ("/clone-luks/" name, Fixture, NULL, setup, func, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  h2k_luks_format_iterations = 1000;
  ADD ("layers are made without the key, and merged with it", test_layers);
  ADD ("a key that is wrong or missing is refused, another file takes its place", test_keys);
  ADD ("the name for definitions comes back after a kill", test_live_again);
  ADD ("what the repair wrote is in no image", test_hidden);
  return g_test_run ();
}
