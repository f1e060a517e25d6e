/* draft.c - a clone that is being made: a folder whose name no clone can have, until it is whole.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BASE_LAYER 1
#define FIRST_LAYER 2

/* Remove what killed runs left of clones: a living one holds its lock. */
static void
remove_stale (H2kCloneStore *store)
{
  g_autoptr (GDir) dir = g_dir_open (store->clones, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *path = NULL;
      int lock;
      if (name[0] != '.' || !(strstr (name, ".new-") || strstr (name, ".gone-")))
        continue;
      path = g_build_filename (store->clones, name, NULL);
      lock = h2k_clone_lock (path);
      if (lock < 0 && g_file_test (path, G_FILE_TEST_EXISTS))
        continue;
      h2k_clone_remove_tree (path);
      if (lock >= 0)
        close (lock);
    }
}

/* Held, where the filesystem can, while the store is looked through and a folder is made: one that
 * has no lock yet looks like what a killed run left. */
static int
hold_store (H2kCloneStore *store)
{
  int fd = open (store->clones, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  while (fd >= 0 && flock (fd, LOCK_EX) != 0 && errno == EINTR)
    ;
  return fd;
}

static gboolean
already_there (const char *name, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
               "there is a clone %s already: choose another name, or delete it by `hyper2kvm clone "
               "delete %s`",
               name, name);
  return FALSE;
}

static gboolean
make_dirs (H2kCloneDraft *draft, GError **error)
{
  int mode = geteuid () == 0 ? 0711 : 0700;
  g_autofree char *layers = g_build_filename (draft->dir, "layers", NULL);
  g_autofree char *first = g_strdup_printf ("%s/%d", layers, BASE_LAYER);

  if (mkdir (draft->dir, (mode_t)mode) == 0 && mkdir (layers, (mode_t)mode) == 0
      && mkdir (first, (mode_t)mode) == 0 && (draft->lock_fd = h2k_clone_lock (draft->dir)) >= 0)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s", draft->dir);
  return FALSE;
}

gboolean
h2k_clone_check_new (H2kCloneStore *store, const char *name, GError **error)
{
  g_autofree char *dir = NULL;
  struct stat st;

  if (!h2k_clone_check_name ("a clone", name, error))
    return FALSE;
  dir = g_build_filename (store->clones, name, NULL);
  return lstat (dir, &st) != 0 || already_there (name, error);
}

char *
h2k_clone_draft_nvram (const H2kCloneDraft *draft)
{
  return g_strdup_printf ("%s/layers/%d/nvram.fd", draft->dir, BASE_LAYER);
}

H2kCloneDraft *
h2k_clone_draft_new (H2kCloneStore *store, const char *name, GError **error)
{
  g_autoptr (H2kCloneDraft) draft = g_new0 (H2kCloneDraft, 1);
  g_autofree char *temp = NULL;
  gboolean ok;
  int held;

  draft->store = store;
  draft->lock_fd = -1;
  if (!h2k_clone_check_new (store, name, error))
    return NULL;
  draft->name = g_strdup (name);
  draft->final_dir = g_build_filename (store->clones, name, NULL);
  temp = g_strdup_printf (".%s.new-%08x", name, g_random_int ());
  draft->dir = g_build_filename (store->clones, temp, NULL);
  draft->root = json_object_new ();
  held = hold_store (store);
  remove_stale (store);
  ok = make_dirs (draft, error);
  if (held >= 0)
    close (held);
  return ok ? g_steal_pointer (&draft) : NULL;
}

/* Make TO share the blocks of FROM, the file PATH. */
static gboolean
share_blocks (const H2kCloneDraft *draft, const char *path, int from, int to, GError **error)
{
  if (ioctl (to, FICLONE, from) != 0)
    h2k_set_errno (error, errno == ENOSPC ? H2K_ERROR_NO_SPACE : H2K_ERROR_UNSUPPORTED, errno,
                   "there can be no snapshot of %s in %s: that takes a filesystem with reflinks "
                   "(btrfs, XFS) and both on the same one; make a snapshot of it yourself and "
                   "clone that, or choose a folder beside it with --state-dir",
                   path, draft->store->dir);
  else if (fsync (to) != 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot flush the snapshot of %s", path);
  else
    return TRUE;
  return FALSE;
}

char *
h2k_clone_draft_snapshot (H2kCloneDraft *draft, guint disk, const char *path, GError **error)
{
  g_autofree char *name
      = disk == 0 ? g_strdup ("snapshot") : g_strdup_printf ("snapshot-%u", disk + 1);
  g_autofree char *target = g_build_filename (draft->dir, name, NULL);
  int from = open (path, O_RDONLY | O_CLOEXEC), to = -1;
  gboolean ok = FALSE;

  if (from < 0)
    h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot open %s", path);
  else if ((to = open (target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400)) < 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s", target);
  else
    ok = share_blocks (draft, path, from, to, error);
  if (from >= 0)
    close (from);
  if (to >= 0)
    close (to);
  return ok ? g_steal_pointer (&target) : NULL;
}

/* How the clone's folder gets to ORIGINAL: what lies in it moves with it. */
static const char *
link_target (const H2kCloneDraft *draft, const char *original)
{
  gsize length = strlen (draft->dir);

  return g_str_has_prefix (original, draft->dir) && original[length] == '/' ? original + length + 1
                                                                            : original;
}

gboolean
h2k_clone_draft_encrypt (H2kCloneDraft *draft, H2kImageKey *key, const char *path, GError **error)
{
  g_autofree char *absolute = g_canonicalize_filename (path, NULL);
  JsonObject *encryption = json_object_new ();

  json_object_set_string_member (encryption, "format", "luks");
  json_object_set_string_member (encryption, "key-file", absolute);
  json_object_set_object_member (draft->root, "encryption", encryption);
  return h2k_image_luks_new (key, &draft->luks, error);
}

char *
h2k_clone_draft_base_image (const H2kCloneDraft *draft, guint disk)
{
  g_autofree char *name = h2k_clone_disk_name (disk);

  return g_strdup_printf ("%s/layers/%d/%s", draft->final_dir, BASE_LAYER, name);
}

char *
h2k_clone_draft_live_image (const H2kCloneDraft *draft, guint disk)
{
  g_autofree char *name = h2k_clone_disk_name (disk);

  return g_strdup_printf ("%s/layers/%d/" H2K_CLONE_LIVE "/%s", draft->final_dir, FIRST_LAYER,
                          name);
}

/* Definitions name the current layer of an encrypted clone by it: see h2k_clone_live_image(). */
static gboolean
set_live (const H2kCloneDraft *draft, GError **error)
{
  g_autofree char *link = g_strdup_printf ("%s/layers/%d/" H2K_CLONE_LIVE, draft->dir, FIRST_LAYER);

  return !draft->luks.header || h2k_clone_set_link (link, ".", error);
}

gboolean
h2k_clone_draft_add_disk (H2kCloneDraft *draft, H2kDisk *overlay, const char *original,
                          const char *format, GCancellable *cancellable, GError **error)
{
  g_autofree char *name = h2k_clone_disk_name (draft->n_disks);
  g_autofree char *path = g_strdup_printf ("%s/layers/%d/%s", draft->dir, BASE_LAYER, name);
  g_autofree char *relative = h2k_clone_original_name (draft->n_disks);
  g_autofree char *link = g_build_filename (draft->dir, relative + strlen ("../../"), NULL);
  /* QEMU looks for an original's other files beside the name that it has for it. */
  gboolean is_file = g_path_is_absolute (original), by_link = is_file && overlay->files->len == 1;

  if (is_file && !h2k_clone_set_link (link, link_target (draft, original), error))
    return FALSE;
  if (!h2k_qcow2_save_encrypted (overlay, path, 0600, by_link ? relative : original, format,
                                 draft->luks.header ? &draft->luks : NULL, cancellable, error))
    return FALSE;
  draft->n_disks++;
  return TRUE;
}

gboolean
h2k_clone_draft_link (H2kCloneDraft *draft, guint disk, const char *target, GError **error)
{
  g_autofree char *relative = h2k_clone_original_name (disk);
  g_autofree char *link = g_build_filename (draft->dir, relative + strlen ("../../"), NULL);

  return h2k_clone_set_link (link, link_target (draft, target), error);
}

static gboolean
set_links (H2kCloneDraft *draft, GError **error)
{
  g_autofree char *base = g_build_filename (draft->dir, "base", NULL);
  g_autofree char *current = g_build_filename (draft->dir, "current", NULL);

  return h2k_clone_set_link (base, "layers/" G_STRINGIFY (BASE_LAYER), error)
         && h2k_clone_set_link (current, "layers/" G_STRINGIFY (FIRST_LAYER), error);
}

gboolean
h2k_clone_draft_commit (H2kCloneDraft *draft, GError **error)
{
  g_autofree char *state = g_build_filename (draft->dir, "clone.json", NULL);

  if (!h2k_clone_new_layer (draft->dir, FIRST_LAYER, BASE_LAYER, draft->n_disks, error)
      || !h2k_clone_write_json (state, draft->root, error) || !set_links (draft, error)
      || !set_live (draft, error))
    return FALSE;
  if (renameat2 (AT_FDCWD, draft->dir, AT_FDCWD, draft->final_dir, RENAME_NOREPLACE) != 0)
    {
      if (errno == EEXIST)
        return already_there (draft->name, error);
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s", draft->final_dir);
      return FALSE;
    }
  draft->committed = TRUE;
  return h2k_clone_sync_dir (draft->store->clones, error);
}

void
h2k_clone_draft_free (H2kCloneDraft *draft)
{
  if (!draft)
    return;
  if (draft->dir && !draft->committed)
    h2k_clone_remove_tree (draft->dir);
  if (draft->lock_fd >= 0)
    close (draft->lock_fd);
  g_clear_pointer (&draft->root, json_object_unref);
  h2k_image_luks_clear (&draft->luks);
  g_free (draft->name);
  g_free (draft->dir);
  g_free (draft->final_dir);
  g_free (draft);
}
