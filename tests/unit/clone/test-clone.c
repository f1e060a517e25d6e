/* test-clone.c - clones in a store: layers, snapshots, resets, merges, and kills in the middle.
 *
 * What a VM writes is written by qemu-io, and images are judged by qemu-img.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/clone.h"
#include "disk/image-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK (64u << 10)
#define N_BLOCKS 32u
#define SIZE (BLOCK * N_BLOCKS)

/* --- a store and what a VM does --------------------------------------------------------------- */

typedef struct
{
  char *dir;
  char *original;
  H2kCloneStore *store;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *content = g_malloc (SIZE);
  g_autofree char *store = NULL;

  f->dir = g_dir_make_tmp ("clone-XXXXXX", &error);
  g_assert_no_error (error);
  f->original = g_build_filename (f->dir, "original.raw", NULL);
  for (guint i = 0; i < N_BLOCKS; i++)
    memset (content + (gsize)i * BLOCK, 'A', BLOCK);
  g_file_set_contents (f->original, (char *)content, SIZE, &error);
  g_assert_no_error (error);
  store = g_build_filename (f->dir, "store", NULL);
  f->store = h2k_clone_store_open (store, &error);
  g_assert_no_error (error);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  const char *argv[] = {"rm", "-rf", f->dir, NULL};

  h2k_clone_store_free (f->store);
  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
  g_free (f->original);
  g_free (f->dir);
}

/* A clone of the original on DISKS disks whose repair wrote 'R' into block 1. */
static gboolean
make_clone (Fixture *f, const char *name, guint disks, GError **error)
{
  g_autoptr (H2kCloneDraft) draft = h2k_clone_draft_new (f->store, name, error);

  if (!draft)
    return FALSE;
  for (guint i = 0; i < disks; i++)
    {
      g_autoptr (H2kDisk) disk = h2k_disk_open (f->original, "raw", error);
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
      g_autofree guint8 *block = g_malloc (BLOCK);

      memset (block, 'R', BLOCK);
      g_assert_true (h2k_disk_pwrite (overlay, BLOCK, BLOCK, block, error));
      if (!h2k_clone_draft_add_disk (draft, overlay, f->original, "raw", NULL, error))
        return FALSE;
    }
  return h2k_clone_draft_commit (draft, error);
}

static H2kClone *
open_clone (Fixture *f, const char *name)
{
  g_autoptr (GError) error = NULL;
  H2kClone *clone = h2k_clone_open (f->store, name, H2K_CLONE_CHANGE, &error);

  g_assert_no_error (error);
  return clone;
}

static char *
run (const char *const *argv)
{
  g_autofree char *output = NULL;
  g_autofree char *messages = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &messages,
                &status, &error);
  g_assert_no_error (error);
  if (!g_spawn_check_wait_status (status, &error))
    g_error ("%s: %s%s", argv[0], output, messages);
  return g_steal_pointer (&output);
}

/* Writes of the VM: BYTE into block BLOCK of a disk; a byte of 0 discards it. */
static void
guest_write (const H2kClone *clone, guint disk, guint block, guint8 byte)
{
  g_autofree char *image = h2k_clone_image (clone, 0, disk);
  g_autofree char *command = byte
                                 ? g_strdup_printf ("write -P %u %u %u", byte, block * BLOCK, BLOCK)
                                 : g_strdup_printf ("write -z %u %u", block * BLOCK, BLOCK);
  const char *argv[] = {"qemu-io", "-f", "qcow2", "-c", command, image, NULL};

  g_free (run (argv));
}

/* What a VM would read: a byte a block. */
static void
read_state (const char *image, guint8 *state)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (image, "qcow2", &error);
  g_autofree guint8 *block = g_malloc (BLOCK);

  g_assert_no_error (error);
  g_assert_cmpuint (disk->size, ==, SIZE);
  for (guint i = 0; i < N_BLOCKS; i++)
    {
      g_assert_true (h2k_disk_pread (disk, (guint64)i * BLOCK, BLOCK, block, &error));
      g_assert_true (memcmp (block, block + 1, BLOCK - 1) == 0);
      state[i] = block[0];
    }
}

static guint8
read_block (const H2kClone *clone, guint disk, guint block)
{
  g_autofree char *image = h2k_clone_image (clone, 0, disk);
  guint8 state[N_BLOCKS];

  read_state (image, state);
  return state[block];
}

static void
check_image (const char *image)
{
  const char *argv[] = {"qemu-img", "check", "-q", "-f", "qcow2", image, NULL};

  g_free (run (argv));
}

static guint warned;

static GLogWriterOutput
count_warnings (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  if (level & G_LOG_LEVEL_WARNING)
    warned++;
  return G_LOG_WRITER_HANDLED;
}

/* --- claims ----------------------------------------------------------------------------------- */

static void
test_create (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autoptr (GPtrArray) names = NULL;
  g_autofree char *image = NULL;
  struct stat st;

  g_assert_true (make_clone (f, "vm", 2, &error));
  g_assert_no_error (error);
  clone = open_clone (f, "vm");
  g_assert_cmpuint (clone->n_disks, ==, 2);
  g_assert_cmpuint (clone->layers->len, ==, 2);
  for (guint disk = 0; disk < 2; disk++)
    {
      g_assert_cmpint (read_block (clone, disk, 0), ==, 'A');
      g_assert_cmpint (read_block (clone, disk, 1), ==, 'R');
    }
  image = h2k_clone_image (clone, 0, 1);
  check_image (image);
  g_assert_cmpint (stat (image, &st), ==, 0);
  g_assert_cmpuint (st.st_mode & 0777, ==, 0600);
  g_assert_cmpuint (st.st_blocks * 512, <, 1 << 20);

  /* Not twice, and the attempt leaves nothing. */
  g_assert_false (make_clone (f, "vm", 1, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  names = h2k_clone_store_list (f->store, NULL);
  g_assert_cmpuint (names->len, ==, 1);
}

static void
test_names (Fixture *f, gconstpointer data)
{
  static const char *const bad[] = {
      "",
      ".",
      "..",
      "../up",
      "a/b",
      "/etc",
      ".hidden",
      "-option",
      "a b",
      "a\nb",
      "\x1b[2Jx",
      "name;rm",
      "na\xc3\xafve",
      "*",
      "a23456789012345678901234567890123456789012345678901234567890123456789",
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GError) open_error = NULL;
      g_assert_null (h2k_clone_draft_new (f->store, bad[i], &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
      g_assert_null (strchr (error->message, 0x1b));
      g_assert_null (h2k_clone_open (f->store, bad[i], H2K_CLONE_LOOK, &open_error));
      g_assert_error (open_error, H2K_ERROR, H2K_ERROR_USAGE);
    }
}

/* A link in the place of a clone leads nowhere: not to be opened, made over, or removed. */
static void
test_link (Fixture *f, gconstpointer data)
{
  g_autofree char *link = g_build_filename (f->store->clones, "evil", NULL);
  g_autofree char *victim = g_build_filename (f->dir, "victim", NULL);
  g_autofree char *file = g_build_filename (victim, "file", NULL);
  g_autoptr (GError) error = NULL;

  g_mkdir (victim, 0755);
  g_file_set_contents (file, "x", 1, NULL);
  g_assert_cmpint (symlink (victim, link), ==, 0);
  g_assert_null (h2k_clone_open (f->store, "evil", H2K_CLONE_CHANGE, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  g_assert_false (h2k_clone_delete (f->store, "evil", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  g_assert_false (make_clone (f, "evil", 1, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  g_assert_true (g_file_test (file, G_FILE_TEST_EXISTS));
}

static void
test_snapshot_and_reset (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  const H2kLayer *layer;

  g_assert_true (make_clone (f, "vm", 2, &error));
  clone = open_clone (f, "vm");
  guest_write (clone, 0, 2, 'x');
  guest_write (clone, 1, 3, 'y');
  g_assert_true (h2k_clone_take_snapshot (clone, "one", "the first", &error));
  guest_write (clone, 0, 2, 'z');
  guest_write (clone, 1, 3, 0);
  g_assert_cmpint (read_block (clone, 1, 3), ==, 0);

  g_assert_true (h2k_clone_reset (clone, "one", &error));
  g_assert_cmpint (read_block (clone, 0, 2), ==, 'x');
  g_assert_cmpint (read_block (clone, 1, 3), ==, 'y');
  g_assert_true (h2k_clone_reset (clone, NULL, &error));
  g_assert_cmpint (read_block (clone, 0, 2), ==, 'A');
  g_assert_cmpint (read_block (clone, 0, 1), ==, 'R');
  layer = h2k_clone_snapshot (clone, "one");
  g_assert_nonnull (layer);
  g_assert_cmpstr (layer->description, ==, "the first");
  /* base, "one", and the current one: what was reset is gone. */
  g_assert_cmpuint (clone->layers->len, ==, 3);

  g_assert_false (h2k_clone_take_snapshot (clone, "one", NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS);
  g_clear_error (&error);
  g_assert_false (h2k_clone_reset (clone, "two", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  g_assert_true (h2k_clone_drop_snapshot (clone, "one", &error));
  g_assert_cmpuint (clone->layers->len, ==, 2);
}

static void
test_commit_and_merge (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  guint count;

  g_assert_true (make_clone (f, "vm", 2, &error));
  clone = open_clone (f, "vm");
  guest_write (clone, 0, 2, 'x');
  guest_write (clone, 0, 3, 0);
  g_assert_true (h2k_clone_commit (clone, &error));
  guest_write (clone, 0, 2, 'y');
  g_assert_true (h2k_clone_take_snapshot (clone, "s", NULL, &error));
  g_assert_cmpuint (h2k_clone_depth (clone, clone->current), ==, 4);
  g_assert_true (h2k_clone_merge (clone, NULL, &count, &error));
  g_assert_no_error (error);
  /* The repair's layer went into the base. */
  g_assert_cmpuint (count, ==, 1);
  g_assert_cmpuint (h2k_clone_depth (clone, clone->current), ==, 3);
  g_assert_true (h2k_clone_drop_snapshot (clone, "s", &error));
  g_assert_true (h2k_clone_merge (clone, NULL, &count, &error));
  g_assert_cmpuint (count, ==, 1);
  g_assert_cmpint (read_block (clone, 0, 1), ==, 'R');
  g_assert_cmpint (read_block (clone, 0, 2), ==, 'y');
  g_assert_cmpint (read_block (clone, 0, 3), ==, 0);
  g_assert_true (h2k_clone_reset (clone, NULL, &error));
  g_assert_cmpint (read_block (clone, 0, 1), ==, 'R');
  g_assert_cmpint (read_block (clone, 0, 2), ==, 'x');
  g_assert_cmpint (read_block (clone, 0, 3), ==, 0);
  g_assert_cmpint (read_block (clone, 1, 2), ==, 'A');
}

/* A QEMU that writes to a clone holds its locks: every change is refused while it does. */
static void
test_running (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autoptr (GSubprocess) qemu = NULL;
  g_autofree char *image = NULL;
  g_autofree char *users = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  clone = open_clone (f, "vm");
  image = h2k_clone_image (clone, 0, 0);
  g_assert_cmpint (h2k_clone_use (clone), ==, H2K_IMAGE_FREE);
  qemu = g_subprocess_new (G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE,
                           &error, "qemu-io", "-f", "qcow2", image, NULL);
  g_assert_no_error (error);
  for (guint i = 0; i < 3000 && h2k_clone_use (clone) != H2K_IMAGE_WRITTEN; i++)
    g_usleep (10000);
  g_assert_cmpint (h2k_clone_use (clone), ==, H2K_IMAGE_WRITTEN);
  users = h2k_file_users (image);
  g_assert_nonnull (strstr (users, "qemu-io"));

  g_assert_false (h2k_clone_reset (clone, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_nonnull (strstr (error->message, "runs"));
  g_assert_nonnull (strstr (error->message, "qemu-io"));
  g_clear_error (&error);
  g_assert_false (h2k_clone_take_snapshot (clone, "s", NULL, &error));
  g_clear_error (&error);
  g_assert_false (h2k_clone_commit (clone, &error));
  g_clear_error (&error);
  g_assert_false (h2k_clone_merge (clone, NULL, NULL, &error));
  g_clear_error (&error);
  g_clear_pointer (&clone, h2k_clone_free);
  g_assert_false (h2k_clone_delete (f->store, "vm", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_clear_error (&error);

  g_subprocess_force_exit (qemu);
  g_subprocess_wait (qemu, NULL, NULL);
  g_assert_true (h2k_clone_delete (f->store, "vm", &error));
  g_assert_null (h2k_clone_open (f->store, "vm", H2K_CLONE_LOOK, &error));
}

/* The other way round: what is being changed cannot be started. */
static void
test_lock_holds_qemu_off (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *image = NULL;
  g_autofree char *messages = NULL;
  int fd, status;

  g_assert_true (make_clone (f, "vm", 1, &error));
  clone = open_clone (f, "vm");
  image = h2k_clone_image (clone, 0, 0);
  fd = h2k_image_lock (image, &error);
  g_assert_cmpint (fd, >=, 0);
  const char *argv[] = {"qemu-io", "-f", "qcow2", "-c", "read 0 512", image, NULL};
  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                NULL, NULL, &messages, &status, &error);
  g_assert_no_error (error);
  g_assert_cmpint (status, !=, 0);
  g_assert_nonnull (strstr (messages, "lock"));
  close (fd);
  guest_write (clone, 0, 0, 'q');
}

static void
test_lost_state (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *path = NULL, *damaged = NULL, *kept = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  path = g_build_filename (f->store->clones, "vm", "clone.json", NULL);
  damaged = g_strconcat (path, ".damaged", NULL);
  g_file_set_contents (path, "{\"name\": \"vm\", ", -1, NULL);
  warned = 0;
  clone = open_clone (f, "vm");
  g_assert_cmpuint (warned, >, 0);
  g_assert_cmpstr (json_object_get_string_member (
                       json_array_get_object_element (
                           json_object_get_array_member (clone->root, "originals"), 0),
                       "path"),
                   ==, f->original);
  g_clear_pointer (&clone, h2k_clone_free);
  clone = open_clone (f, "vm");
  g_assert_true (json_object_get_boolean_member (clone->root, "rebuilt"));
  g_assert_true (h2k_clone_take_snapshot (clone, "still-works", NULL, &error));
  /* Who made the mistake can put it right. */
  g_assert_true (g_file_get_contents (damaged, &kept, NULL, NULL));
  g_assert_cmpstr (kept, ==, "{\"name\": \"vm\", ");
}

/* What cannot be read may be as good as ever, so it is not replaced. */
static void
test_unreadable_state (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  path = g_build_filename (f->store->clones, "vm", "clone.json", NULL);
  /* A link that leads to itself: as root, there are no rights that are missing. */
  g_assert_cmpint (g_unlink (path), ==, 0);
  g_assert_cmpint (symlink ("clone.json", path), ==, 0);
  g_assert_null (h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_true (g_file_test (path, G_FILE_TEST_IS_SYMLINK));
}

/* A copy of a layer that somebody has made is no leftover. */
static void
test_foreign_folders (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *name;
    gboolean stays;
  } folders[] = {{"2.bak", TRUE}, {"new", TRUE},    {"new-x", TRUE},  {"gone-1x", TRUE},
                 {"-3", TRUE},    {"new-7", FALSE}, {"gone-1", FALSE}};
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  for (guint i = 0; i < G_N_ELEMENTS (folders); i++)
    {
      g_autofree char *path
          = g_build_filename (f->store->clones, "vm/layers", folders[i].name, NULL);
      g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
    }
  clone = open_clone (f, "vm");
  g_assert_true (h2k_clone_reset (clone, NULL, &error));
  for (guint i = 0; i < G_N_ELEMENTS (folders); i++)
    {
      g_autofree char *path = g_build_filename (clone->dir, "layers", folders[i].name, NULL);
      g_assert_true (g_file_test (path, G_FILE_TEST_IS_DIR) == folders[i].stays);
    }
}

/* Whatever is in a clone.json, the clone can be listed and removed. */
static void
test_hostile_state (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *path = NULL, *text = g_malloc (4 << 20);

  memset (text, '[', 4 << 20);
  g_assert_true (make_clone (f, "vm", 1, &error));
  path = g_build_filename (f->store->clones, "vm", "clone.json", NULL);
  g_file_set_contents (path, text, 4 << 20, NULL);
  clone = h2k_clone_open (f->store, "vm", H2K_CLONE_PEEK, &error);
  g_assert_no_error (error);
  g_assert_true (h2k_clone_delete (f->store, "vm", &error));
}

/* A layer that cannot be read may hold the only way to others: nothing is removed then. */
static void
test_damaged_layer (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *image = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  clone = open_clone (f, "vm");
  g_assert_true (h2k_clone_take_snapshot (clone, "s", NULL, &error));
  image = h2k_clone_image (clone, h2k_clone_snapshot (clone, "s")->number, 0);
  g_assert_true (h2k_clone_reset (clone, NULL, &error));
  g_clear_pointer (&clone, h2k_clone_free);
  g_file_set_contents (image, "no image", -1, NULL);
  warned = 0;
  clone = open_clone (f, "vm");
  g_assert_cmpuint (warned, >, 0);
  g_assert_true (clone->damaged);
  g_assert_true (g_file_test (image, G_FILE_TEST_EXISTS));
  g_clear_pointer (&clone, h2k_clone_free);
  g_assert_true (h2k_clone_delete (f->store, "vm", &error));
}

/* The same of a snapshot whose name cannot be read, by a typing error or the disk. */
static void
test_damaged_snapshot (Fixture *f, gconstpointer data)
{
  static const char *const texts[] = {"{\"name\": \"s\", ", "{}", "[]", "{\"name\": \"../s\"}"};
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autofree char *path = NULL, *good = NULL;
  guint number;

  g_assert_true (make_clone (f, "vm", 1, &error));
  clone = open_clone (f, "vm");
  g_assert_true (h2k_clone_take_snapshot (clone, "s", NULL, &error));
  number = h2k_clone_snapshot (clone, "s")->number;
  path = g_strdup_printf ("%s/layers/%u/snapshot.json", clone->dir, number);
  g_assert_true (g_file_get_contents (path, &good, NULL, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_clear_pointer (&clone, h2k_clone_free);
      g_file_set_contents (path, texts[i], -1, NULL);
      warned = 0;
      clone = open_clone (f, "vm");
      g_assert_cmpuint (warned, >, 0);
      g_assert_true (h2k_clone_reset (clone, NULL, &error));
      g_assert_nonnull (h2k_clone_layer (clone, number));
    }
  g_clear_pointer (&clone, h2k_clone_free);
  g_file_set_contents (path, good, -1, NULL);
  clone = open_clone (f, "vm");
  g_assert_true (h2k_clone_reset (clone, "s", &error));
}

/* Two at once: one of them is told. */
static void
test_two_processes (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  g_autoptr (H2kClone) other = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  clone = open_clone (f, "vm");
  g_assert_null (h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  other = h2k_clone_open (f->store, "vm", H2K_CLONE_LOOK, &error);
  g_assert_no_error (error);
}

static gpointer
make_drafts (gpointer data)
{
  Fixture *f = data;

  for (guint i = 0; i < 100; i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kCloneDraft) draft = h2k_clone_draft_new (f->store, "vm", &error);

      g_assert_no_error (error);
      g_assert_true (g_file_test (draft->dir, G_FILE_TEST_IS_DIR));
    }
  return NULL;
}

/* Each takes the others' new folders for no leftovers. */
static void
test_many_at_once (Fixture *f, gconstpointer data)
{
  GThread *threads[8];

  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("create", make_drafts, f);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

/* What stands in the way is said, not that another process has it. */
static void
test_no_lock (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL;

  g_assert_true (make_clone (f, "vm", 1, &error));
  path = g_build_filename (f->store->clones, "vm", "lock", NULL);
  g_assert_cmpint (g_unlink (path), ==, 0);
  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  g_assert_null (h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
  g_assert_nonnull (strstr (error->message, g_strerror (EISDIR)));
}

/* A clone of which something could not be removed takes its space still. */
static void
test_delete_tells_what_is_left (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *layer = NULL;
  g_autoptr (GPtrArray) names = NULL;

  if (geteuid () == 0)
    {
      g_test_skip ("root can remove everything");
      return;
    }
  g_assert_true (make_clone (f, "vm", 1, &error));
  layer = g_build_filename (f->store->clones, "vm", "layers", "1", NULL);
  g_assert_cmpint (g_chmod (layer, 0500), ==, 0);
  warned = 0;
  g_assert_true (h2k_clone_delete (f->store, "vm", &error));
  g_assert_cmpuint (warned, ==, 1);
  names = h2k_clone_store_list (f->store, &error);
  g_assert_cmpuint (names->len, ==, 0);
  const char *argv[] = {"chmod", "-R", "u+w", f->dir, NULL};
  g_free (run (argv));
}

/* Who looks while another process changes it sees one of the states, never a damaged clone. */
static gpointer
reset_often (gpointer data)
{
  Fixture *f = data;

  for (guint i = 0; i < 40; i++)
    {
      g_autoptr (H2kClone) clone = h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, NULL);
      g_assert_true (clone && h2k_clone_reset (clone, NULL, NULL));
    }
  return NULL;
}

static void
test_looked_at_meanwhile (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  GThread *thread;

  g_assert_true (make_clone (f, "vm", 2, &error));
  warned = 0;
  thread = g_thread_new ("resets", reset_often, f);
  for (guint i = 0; i < 400; i++)
    {
      g_autoptr (H2kClone) clone = h2k_clone_open (f->store, "vm", H2K_CLONE_LOOK, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (h2k_clone_depth (clone, clone->current), ==, 2);
    }
  g_thread_join (thread);
  g_assert_cmpuint (warned, ==, 0);
}

static void
test_foreign_store (Fixture *f, gconstpointer data)
{
  g_autofree char *dir = g_build_filename (f->dir, "open-to-all", NULL);
  g_autoptr (GError) error = NULL;

  g_mkdir (dir, 0777);
  g_chmod (dir, 0777);
  g_assert_null (h2k_clone_store_open (dir, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_OUTPUT);
}

/* --- against a model -------------------------------------------------------------------------- */

#define MAX_SNAPSHOTS 6u
/* What a sanitizer is to find shows itself in the first ones. */
#ifdef __SANITIZE_ADDRESS__
#  define STEPS 1000u
#else
#  define STEPS 10000u
#endif

typedef struct
{
  guint8 current[N_BLOCKS];
  guint8 base[N_BLOCKS];
  guint8 snapshots[MAX_SNAPSHOTS][N_BLOCKS];
  gboolean has[MAX_SNAPSHOTS];
} Model;

static void
compare_state (const H2kClone *clone, guint layer, const guint8 *expected)
{
  g_autofree char *image = h2k_clone_image (clone, layer, 0);
  guint8 state[N_BLOCKS];

  read_state (image, state);
  g_assert_cmpmem (state, N_BLOCKS, expected, N_BLOCKS);
}

static void
compare (const H2kClone *clone, const Model *m)
{
  compare_state (clone, 0, m->current);
  compare_state (clone, clone->base, m->base);
  for (guint i = 0; i < MAX_SNAPSHOTS; i++)
    {
      char name[] = {(char)('a' + i), '\0'};
      const H2kLayer *layer = h2k_clone_snapshot (clone, name);
      g_assert_cmpint (layer != NULL, ==, m->has[i]);
      if (layer)
        compare_state (clone, layer->number, m->snapshots[i]);
    }
}

static JsonArray *
qemu_img_json (JsonParser *parser, const char *const *argv)
{
  g_autofree char *text = run (argv);

  g_assert_true (json_parser_load_from_data (parser, text, -1, NULL));
  return json_node_get_array (json_parser_get_root (parser));
}

/* How many images lie over the one that BLOCK is in. */
static guint
depth_of_block (H2kDisk *disk, guint block)
{
  g_autoptr (GError) error = NULL;
  H2kExtent extent = {0};
  guint depth = 0;

  for (; disk->backing; disk = disk->backing, depth++)
    {
      g_assert_true (
          h2k_disk_own_extent (disk, (guint64)block * BLOCK, disk->size, &extent, &error));
      if (extent.kind != H2K_EXTENT_UNALLOCATED)
        break;
    }
  return depth;
}

/* Every block is in the image of the chain that qemu-img finds it in. */
static void
compare_map (const H2kClone *clone, const char *image)
{
  const char *argv[] = {"qemu-img", "map", "--output=json", image, NULL};
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonArray *map = qemu_img_json (parser, argv);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (image, "qcow2", &error);
  guint checked = 0;

  g_assert_no_error (error);
  for (guint i = 0; i < json_array_get_length (map); i++)
    {
      JsonObject *o = json_array_get_object_element (map, i);
      gint64 start = json_object_get_int_member (o, "start");
      gint64 end = start + json_object_get_int_member (o, "length");
      for (gint64 block = start / BLOCK; block < end / BLOCK; block++, checked++)
        g_assert_cmpuint (depth_of_block (disk, (guint)block), ==,
                          json_object_get_int_member (o, "depth"));
    }
  g_assert_cmpuint (checked, ==, disk->size / BLOCK);
}

/* What qemu-img says of the chain: as deep as we think, all of it consistent. */
static void
compare_with_qemu_img (const H2kClone *clone)
{
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  const char *argv[] = {"qemu-img", "info", "--backing-chain", "--output=json", image, NULL};
  g_autoptr (JsonParser) parser = json_parser_new ();

  g_assert_cmpuint (json_array_get_length (qemu_img_json (parser, argv)), ==,
                    h2k_clone_depth (clone, clone->current) + 1);
  compare_map (clone, image);
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *path = h2k_clone_image (clone, layer->number, 0);
      check_image (path);
    }
}

static void
step (H2kClone *clone, Model *m, GRand *rand)
{
  g_autoptr (GError) error = NULL;
  guint kind = (guint)g_rand_int_range (rand, 0, 100);
  guint i = (guint)g_rand_int_range (rand, 0, MAX_SNAPSHOTS);
  guint block = (guint)g_rand_int_range (rand, 0, N_BLOCKS);
  guint8 byte = (guint8)g_rand_int_range (rand, 0, 256);
  char name[] = {(char)('a' + i), '\0'};
  gboolean ok;

  if (kind < 15)
    {
      guest_write (clone, 0, block, byte);
      m->current[block] = byte;
    }
  else if (kind < 45)
    {
      ok = h2k_clone_take_snapshot (clone, name, NULL, &error);
      g_assert_cmpint (ok, ==, !m->has[i]);
      if (ok)
        memcpy (m->snapshots[i], m->current, N_BLOCKS);
      m->has[i] = TRUE;
    }
  else if (kind < 70)
    {
      ok = h2k_clone_reset (clone, name, &error);
      g_assert_cmpint (ok, ==, m->has[i]);
      if (ok)
        memcpy (m->current, m->snapshots[i], N_BLOCKS);
    }
  else if (kind < 75)
    {
      g_assert_true (h2k_clone_reset (clone, NULL, &error));
      memcpy (m->current, m->base, N_BLOCKS);
    }
  else if (kind < 93)
    {
      ok = h2k_clone_drop_snapshot (clone, name, &error);
      g_assert_cmpint (ok, ==, m->has[i]);
      m->has[i] = FALSE;
    }
  else if (kind < 95)
    {
      g_assert_true (h2k_clone_commit (clone, &error));
      memcpy (m->base, m->current, N_BLOCKS);
    }
  else
    g_assert_true (h2k_clone_merge (clone, NULL, NULL, &error));
}

static void
test_model (Fixture *f, gconstpointer data)
{
  const char *steps = g_getenv ("H2K_CLONE_STEPS");
  guint n = steps ? (guint)atoi (steps) : STEPS;
  g_autoptr (GRand) rand = g_rand_new_with_seed (6);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kClone) clone = NULL;
  Model m = {0};

  g_assert_true (make_clone (f, "vm", 1, &error));
  memset (m.current, 'A', N_BLOCKS);
  m.current[1] = 'R';
  memcpy (m.base, m.current, N_BLOCKS);
  for (guint i = 0; i < n; i++)
    {
      if (i % 16 == 0)
        {
          g_clear_pointer (&clone, h2k_clone_free);
          clone = open_clone (f, "vm");
        }
      step (clone, &m, rand);
      if (i % 50 == 0)
        compare (clone, &m);
      if (i % 500 == 0)
        compare_with_qemu_img (clone);
      /* A chain as long as time goes on is what merging is for. */
      if (h2k_clone_depth (clone, clone->current) > 20)
        g_assert_true (h2k_clone_merge (clone, NULL, NULL, &error));
    }
  compare (clone, &m);
  compare_with_qemu_img (clone);
}

/* --- killed ----------------------------------------------------------------------------------- */

typedef gboolean (*Operation) (H2kClone *clone);

static gboolean
do_snapshot (H2kClone *clone)
{
  return h2k_clone_take_snapshot (clone, "new", NULL, NULL);
}

static gboolean
do_reset (H2kClone *clone)
{
  return h2k_clone_reset (clone, "old", NULL);
}

static gboolean
do_commit (H2kClone *clone)
{
  return h2k_clone_commit (clone, NULL);
}

static gboolean
do_merge (H2kClone *clone)
{
  return h2k_clone_merge (clone, NULL, NULL, NULL);
}

static gboolean
do_drop (H2kClone *clone)
{
  return h2k_clone_drop_snapshot (clone, "old", NULL);
}

/* The operation in a process of its own, which is killed after DELAY microseconds. */
static void
operate_and_kill (Fixture *f, Operation operation, gulong delay)
{
  pid_t pid = fork ();
  int status;

  g_assert_cmpint (pid, >=, 0);
  if (pid == 0)
    {
      H2kClone *clone = h2k_clone_open (f->store, "vm", H2K_CLONE_CHANGE, NULL);
      _exit (clone && operation (clone) ? 0 : 1);
    }
  g_usleep (delay);
  kill (pid, SIGKILL);
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_assert_true (WIFSIGNALED (status) || WEXITSTATUS (status) == 0);
}

/* Block 2 has 'x' at the snapshot "old", 'y' now, and 'A' at the base, unless the operation has
 * changed that. */
static void
check_after_kill (Fixture *f, guint operation)
{
  g_autoptr (H2kClone) clone = open_clone (f, "vm");
  g_autofree char *base = h2k_clone_image (clone, clone->base, 0);
  const H2kLayer *old = h2k_clone_snapshot (clone, "old");
  const H2kLayer *new = h2k_clone_snapshot (clone, "new");
  guint8 state[N_BLOCKS];
  guint8 now = read_block (clone, 0, 2);

  g_assert_cmpint (read_block (clone, 1, 2), ==, now); /* both disks are of one state */
  g_assert_true (now == 'y' || (operation == 1 && now == 'x'));
  read_state (base, state);
  g_assert_true (state[2] == 'A' || (operation == 2 && state[2] == 'y'));
  g_assert_true (old || operation == 4);
  for (guint i = 0; i < 2; i++)
    {
      const H2kLayer *layer = i ? new : old;
      g_autofree char *image = layer ? h2k_clone_image (clone, layer->number, 0) : NULL;
      if (!image)
        continue;
      read_state (image, state);
      g_assert_cmpint (state[2], ==, i ? 'y' : 'x');
      check_image (image);
    }
  for (guint i = 0; i < clone->layers->len; i++)
    g_assert_cmpuint (((const H2kLayer *)clone->layers->pdata[i])->number, >, 0);
}

static void
test_kill (Fixture *f, gconstpointer data)
{
  static const Operation operations[] = {do_snapshot, do_reset, do_commit, do_merge, do_drop};
  g_autoptr (GRand) rand = g_rand_new_with_seed (66);

  for (guint round = 0; round < 100; round++)
    {
      guint kind = round % G_N_ELEMENTS (operations);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kClone) clone = NULL;

      g_assert_true (make_clone (f, "vm", 2, &error));
      clone = open_clone (f, "vm");
      /* A layer to be merged lies between the base and the snapshot. */
      g_assert_true (h2k_clone_take_snapshot (clone, "between", NULL, &error));
      for (guint disk = 0; disk < 2; disk++)
        guest_write (clone, disk, 2, 'x');
      g_assert_true (h2k_clone_take_snapshot (clone, "old", NULL, &error));
      g_assert_true (h2k_clone_drop_snapshot (clone, "between", &error));
      for (guint disk = 0; disk < 2; disk++)
        guest_write (clone, disk, 2, 'y');
      g_clear_pointer (&clone, h2k_clone_free);
      operate_and_kill (f, operations[kind], (gulong)g_rand_int_range (rand, 0, 60000));
      check_after_kill (f, kind);
      g_assert_true (h2k_clone_delete (f->store, "vm", &error));
    }
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *path;
    void (*run) (Fixture *f, gconstpointer data);
  } tests[] = {
      {"/clone/has-the-original-and-the-repair", test_create},
      {"/clone/hostile-names-go-nowhere", test_names},
      {"/clone/links-go-nowhere", test_link},
      {"/clone/snapshot-and-reset", test_snapshot_and_reset},
      {"/clone/commit-and-merge", test_commit_and_merge},
      {"/clone/nothing-is-changed-while-it-runs", test_running},
      {"/clone/what-is-changed-cannot-be-started", test_lock_holds_qemu_off},
      {"/clone/lost-state-is-made-again", test_lost_state},
      {"/clone/unreadable-state-is-left-alone", test_unreadable_state},
      {"/clone/what-others-put-there-stays", test_foreign_folders},
      {"/clone/hostile-state-is-no-state", test_hostile_state},
      {"/clone/nothing-is-removed-from-what-is-damaged", test_damaged_layer},
      {"/clone/snapshots-without-a-name-stay", test_damaged_snapshot},
      {"/clone/one-process-changes-it", test_two_processes},
      {"/clone/many-are-made-at-once", test_many_at_once},
      {"/clone/without-a-lock-nothing-is-changed", test_no_lock},
      {"/clone/delete-tells-what-is-left", test_delete_tells_what_is_left},
      {"/clone/looked-at-while-it-changes", test_looked_at_meanwhile},
      {"/clone/store-that-others-can-write-to-is-refused", test_foreign_store},
      {"/clone/killed-it-is-in-the-state-before-or-after", test_kill},
      {"/clone/random-operations-as-the-model", test_model},
  };

  g_test_init (&argc, &argv, NULL);
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_log_set_writer_func (count_warnings, NULL, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, Fixture, NULL, setup, tests[i].run, teardown);
  return g_test_run ();
}
