/* clone.c - one clone: its state, and the operations on it.
 *
 * Each operation prepares a new layer and ends by making "current" lead to it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"
#include "clone/server.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
find_clone (H2kCloneStore *store, const char *name, char **dir, GError **error)
{
  struct stat st;

  if (!h2k_clone_check_name ("a clone", name, error))
    return FALSE;
  *dir = g_build_filename (store->clones, name, NULL);
  if (lstat (*dir, &st) == 0 && S_ISDIR (st.st_mode))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "there is no clone %s in %s: see `hyper2kvm clone list`", name, store->dir);
  return FALSE;
}

static int
lock_clone (const char *name, const char *dir, GError **error)
{
  int fd = h2k_clone_lock (dir);

  if (fd < 0 && errno == EWOULDBLOCK)
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "the clone %s is being changed by another process; try again when that is done",
                 name);
  else if (fd < 0)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot lock the clone %s, by %s/lock", name,
                   dir);
  return fd;
}

/* Enough of a clone.json to go on with; what only it knew is lost. */
static JsonObject *
rebuild_state (const H2kClone *clone)
{
  JsonObject *root = json_object_new ();
  JsonArray *originals = json_array_new ();

  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *target = h2k_clone_original_target (clone, i);
      JsonObject *original = json_object_new ();

      json_object_set_string_member (original, "path", target ? target : "");
      json_array_add_object_element (originals, original);
    }
  json_object_set_string_member (root, "name", clone->name);
  json_object_set_boolean_member (root, "rebuilt", TRUE);
  json_object_set_array_member (root, "originals", originals);
  return root;
}

/* A damaged clone.json may need no more than a comma: the first one of a clone is kept. */
static gboolean
keep_damaged (const char *path, GError **error)
{
  g_autofree char *kept = g_strconcat (path, ".damaged", NULL);

  if (link (path, kept) == 0 || errno == EEXIST)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot keep the damaged %s as %s", path, kept);
  return FALSE;
}

static gboolean
read_state (H2kClone *clone, GError **error)
{
  g_autofree char *path = g_build_filename (clone->dir, "clone.json", NULL);
  g_autoptr (GError) local = NULL;

  clone->root = h2k_clone_read_json (path, &local);
  if (clone->root)
    return TRUE;
  if (local && !g_error_matches (local, H2K_ERROR, H2K_ERROR_FORMAT))
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  g_warning ("%s; it is made again from what lies beside it, but the fingerprint of the original "
             "and what is known of the VM are gone%s",
             local ? local->message : "clone.json is lost",
             local ? ": put it right before the clone is changed, which keeps it as "
                     "clone.json.damaged"
                   : "");
  clone->root = rebuild_state (clone);
  return clone->lock_fd < 0
         || ((!local || keep_damaged (path, error)) && h2k_clone_save (clone, error));
}

H2kClone *
h2k_clone_open (H2kCloneStore *store, const char *name, H2kCloneAccess access, GError **error)
{
  g_autoptr (H2kClone) clone = g_new0 (H2kClone, 1);

  clone->store = store;
  clone->access = access;
  clone->lock_fd = -1;
  clone->key = g_new0 (H2kImageKey *, 1);
  clone->name = g_strdup (name);
  if (!find_clone (store, name, &clone->dir, error)
      || (access == H2K_CLONE_CHANGE
          && (clone->lock_fd = lock_clone (name, clone->dir, error)) < 0))
    return NULL;
  if (!h2k_clone_scan (clone, error) || !read_state (clone, error)
      || !h2k_clone_settle_originals (clone, error))
    return NULL;
  if (access == H2K_CLONE_CHANGE)
    h2k_clone_collect (clone);
  return g_steal_pointer (&clone);
}

void
h2k_clone_free (H2kClone *clone)
{
  if (!clone)
    return;
  if (clone->lock_fd >= 0)
    close (clone->lock_fd);
  g_clear_pointer (&clone->root, json_object_unref);
  h2k_image_key_unref (*clone->key);
  g_free (clone->key);
  g_clear_pointer (&clone->layers, g_ptr_array_unref);
  g_free (clone->name);
  g_free (clone->dir);
  g_free (clone);
}

gboolean
h2k_clone_save (H2kClone *clone, GError **error)
{
  g_autofree char *path = g_build_filename (clone->dir, "clone.json", NULL);

  return h2k_clone_write_json (path, clone->root, error);
}

/* --- layers ----------------------------------------------------------------------------------- */

/* An empty image over BACKING, of which only the size is asked, encrypted as LUKS says, which may
 * be locked. */
static gboolean
make_image (const char *path, guint64 size, const char *backing, const H2kImageLuks *luks,
            GError **error)
{
  g_autoptr (H2kDisk) nothing = h2k_memory_disk_new (size);
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (nothing, NULL, 0);

  return h2k_qcow2_save_encrypted (overlay, path, 0600, backing, "qcow2",
                                   luks->header ? luks : NULL, NULL, error);
}

static gboolean
make_images (const char *dir, const char *parent_dir, guint parent, guint n_disks, GError **error)
{
  for (guint i = 0; i < n_disks; i++)
    {
      g_autofree char *name = h2k_clone_disk_name (i);
      g_autofree char *path = g_build_filename (dir, name, NULL);
      g_autofree char *below = g_build_filename (parent_dir, name, NULL);
      g_autofree char *backing = g_strdup_printf ("../%u/%s", parent, name);
      g_auto (H2kImageLuks) luks = {0};
      guint64 size;

      if (!h2k_clone_image_size (below, &size, error)
          || !h2k_image_luks_read (below, NULL, &luks, error)
          || !make_image (path, size, backing, &luks, error))
        return FALSE;
    }
  return TRUE;
}

/* What belongs to a state beside the disks: UEFI's variables, which name what is booted, and, under
 * swtpm's own name, what the TPM keeps. */
static const char *const parts[] = {"nvram.fd", "tpm2-00.permall"};

static gboolean
copy_part (const char *from_dir, const char *to_dir, const char *name, GError **error)
{
  g_autofree char *from = g_build_filename (from_dir, name, NULL);
  g_autofree char *to = g_build_filename (to_dir, name, NULL);
  g_autofree char *data = NULL;
  g_autoptr (GError) local = NULL;
  gsize length;

  if (!g_file_get_contents (from, &data, &length, &local))
    {
      if (g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return TRUE;
    }
  else if (g_file_set_contents_full (to, data, (gssize)length,
                                     G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                     0600, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "cannot copy the VM's state: %s",
               local->message);
  return FALSE;
}

static gboolean
copy_parts (const char *from_dir, const char *to_dir, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    if (!copy_part (from_dir, to_dir, parts[i], error))
      return FALSE;
  return TRUE;
}

/* Of a clone that a system's libvirt starts, what the VM writes to belongs to the user as whom that
 * runs QEMU: so does the next layer's. */
static void
keep_owner (const char *clone_dir, const char *layer, const char *name)
{
  g_autofree char *old = g_build_filename (clone_dir, "current", name, NULL);
  g_autofree char *new = g_build_filename (layer, name, NULL);
  struct stat st;

  if (geteuid () == 0 && stat (old, &st) == 0 && st.st_uid != 0
      && lchown (new, st.st_uid, st.st_gid) != 0)
    g_debug ("%s keeps its owner", new);
}

static void
keep_owners (const char *clone_dir, const char *layer, guint n_disks)
{
  for (guint i = 0; i < n_disks; i++)
    {
      g_autofree char *name = h2k_clone_disk_name (i);
      keep_owner (clone_dir, layer, name);
    }
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    keep_owner (clone_dir, layer, parts[i]);
}

gboolean
h2k_clone_new_layer (const char *clone_dir, guint number, guint parent, guint n_disks,
                     GError **error)
{
  g_autofree char *layers = g_build_filename (clone_dir, "layers", NULL);
  g_autofree char *below = g_strdup_printf ("%s/%u", layers, parent);
  g_autofree char *final = g_strdup_printf ("%s/%u", layers, number);
  g_autofree char *temp = g_strdup_printf ("%s/new-%u", layers, number);

  if (mkdir (temp, geteuid () == 0 ? 0711 : 0700) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s", temp);
      return FALSE;
    }
  if (make_images (temp, below, parent, n_disks, error) && copy_parts (below, temp, error)
      && h2k_clone_sync_dir (temp, error))
    {
      keep_owners (clone_dir, temp, n_disks);
      if (rename (temp, final) == 0)
        return h2k_clone_sync_dir (layers, error);
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot name %s", final);
    }
  h2k_clone_remove_tree (temp);
  return FALSE;
}

/* --- operations ------------------------------------------------------------------------------- */

void
h2k_clone_unlock_images (ImageLocks *fds)
{
  for (guint i = 0; i < fds->len; i++)
    close (g_array_index (fds, int, i));
  g_array_unref (fds);
}

ImageLocks *
h2k_clone_lock_images (const H2kClone *clone, GError **error)
{
  g_autoptr (ImageLocks) fds = g_array_new (FALSE, FALSE, sizeof (int));

  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_clone_image (clone, clone->current, i);
      int fd = h2k_image_lock (path, error);
      if (fd < 0)
        {
          g_prefix_error (error, "the clone %s runs, stop it first: ", clone->name);
          return NULL;
        }
      g_array_append_val (fds, fd);
    }
  return g_steal_pointer (&fds);
}

static guint
next_number (const H2kClone *clone)
{
  const H2kLayer *last = clone->layers->pdata[clone->layers->len - 1];

  return last->number + 1;
}

/* Put an empty layer over PARENT in place of the current one. */
static gboolean
go_on_from (H2kClone *clone, guint parent, GError **error)
{
  guint number = next_number (clone);
  g_autofree char *link = g_build_filename (clone->dir, "current", NULL);
  g_autofree char *target = g_strdup_printf ("layers/%u", number);

  /* First of all: from here on no definition names the present layer. */
  return h2k_clone_remove_live (clone, clone->current, error)
         && h2k_clone_new_layer (clone->dir, number, parent, clone->n_disks, error)
         && h2k_clone_set_link (link, target, error);
}

gboolean
h2k_clone_settle (H2kClone *clone, gboolean ok, GError **error)
{
  ok = h2k_clone_scan (clone, ok ? error : NULL) && ok;
  h2k_clone_collect (clone);
  return ok;
}

static gboolean
write_snapshot (const H2kClone *clone, const char *name, const char *description, GError **error)
{
  g_autofree char *path
      = g_strdup_printf ("%s/layers/%u/snapshot.json", clone->dir, clone->current);
  g_autofree char *now = h2k_clone_time_text (g_get_real_time () / G_USEC_PER_SEC);
  g_autoptr (JsonObject) root = json_object_new ();

  json_object_set_string_member (root, "name", name);
  if (description)
    json_object_set_string_member (root, "description", description);
  json_object_set_string_member (root, "created", now);
  return h2k_clone_write_json (path, root, error);
}

gboolean
h2k_clone_take_snapshot (H2kClone *clone, const char *name, const char *description, GError **error)
{
  g_autoptr (ImageLocks) locks = NULL;

  if (!h2k_clone_check_name ("a snapshot", name, error))
    return FALSE;
  if (h2k_clone_snapshot (clone, name))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                   "the clone %s has a snapshot %s already", clone->name, name);
      return FALSE;
    }
  if (!(locks = h2k_clone_lock_images (clone, error)))
    return FALSE;
  return h2k_clone_settle (clone,
                           write_snapshot (clone, name, description, error)
                               && go_on_from (clone, clone->current, error),
                           error);
}

const H2kLayer *
h2k_clone_find_snapshot (const H2kClone *clone, const char *name, GError **error)
{
  const H2kLayer *layer = h2k_clone_snapshot (clone, name);

  if (!layer)
    {
      g_autofree char *escaped = h2k_escape_text (name, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "the clone %s has no snapshot \"%s\": see `hyper2kvm clone show %s`",
                   clone->name, escaped, clone->name);
    }
  return layer;
}

gboolean
h2k_clone_reset (H2kClone *clone, const char *snapshot, GError **error)
{
  const H2kLayer *to = snapshot ? h2k_clone_find_snapshot (clone, snapshot, error)
                                : h2k_clone_layer (clone, clone->base);
  g_autoptr (ImageLocks) locks = to ? h2k_clone_lock_images (clone, error) : NULL;

  return locks && h2k_clone_settle (clone, go_on_from (clone, to->number, error), error);
}

gboolean
h2k_clone_drop_snapshot (H2kClone *clone, const char *snapshot, GError **error)
{
  const H2kLayer *layer = h2k_clone_find_snapshot (clone, snapshot, error);
  g_autofree char *dir = NULL;
  g_autofree char *path = NULL;

  if (!layer)
    return FALSE;
  dir = g_strdup_printf ("%s/layers/%u", clone->dir, layer->number);
  path = g_build_filename (dir, "snapshot.json", NULL);
  if (unlink (path) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot remove %s", path);
      return FALSE;
    }
  return h2k_clone_settle (clone, h2k_clone_sync_dir (dir, error), error);
}

gboolean
h2k_clone_commit (H2kClone *clone, GError **error)
{
  g_autofree char *link = g_build_filename (clone->dir, "base", NULL);
  g_autofree char *target = g_strdup_printf ("layers/%u", clone->current);
  g_autoptr (ImageLocks) locks = h2k_clone_lock_images (clone, error);

  /* Between the two the clone has its old base, and a layer more. */
  return locks
         && h2k_clone_settle (clone,
                              go_on_from (clone, clone->current, error)
                                  && h2k_clone_set_link (link, target, error),
                              error);
}

/* Whether a VM runs on any of its layers; it need not be whole for that. */
static gboolean
is_running (const char *dir)
{
  g_autofree char *layers = g_build_filename (dir, "layers", NULL);
  g_autoptr (GDir) outer = g_dir_open (layers, 0, NULL);
  const char *layer;

  while (outer && (layer = g_dir_read_name (outer)))
    {
      g_autofree char *path = g_build_filename (layers, layer, NULL);
      g_autoptr (GDir) inner = g_dir_open (path, 0, NULL);
      const char *name;
      while (inner && (name = g_dir_read_name (inner)))
        {
          g_autofree char *image = g_build_filename (path, name, NULL);
          if (h2k_image_use (image) == H2K_IMAGE_WRITTEN)
            return TRUE;
        }
    }
  return FALSE;
}

static gboolean
remove_clone (H2kCloneStore *store, const char *name, const char *dir, GError **error)
{
  g_autofree char *base = g_strdup_printf (".%s.gone-%08x", name, g_random_int ());
  g_autofree char *gone = g_build_filename (store->clones, base, NULL);

  if (is_running (dir))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the clone %s runs: stop it first", name);
      return FALSE;
    }
  if (!h2k_clone_server_stop (dir, FALSE, error))
    return FALSE;
  if (rename (dir, gone) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot remove %s", dir);
      return FALSE;
    }
  /* Whoever opened it before it lost its name has its locks by now. */
  if (is_running (gone) && rename (gone, dir) == 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "the clone %s was started just now: stop it "
                   "first",
                   name);
      return FALSE;
    }
  h2k_clone_remove_tree (gone);
  if (access (gone, F_OK) == 0)
    g_warning ("the clone %s is gone, but not all of its files could be removed: look into %s, or "
               "the next `clone create` tries again",
               name, gone);
  return h2k_clone_sync_dir (store->clones, error);
}

gboolean
h2k_clone_delete (H2kCloneStore *store, const char *name, GError **error)
{
  g_autofree char *dir = NULL;
  gboolean ok;
  int lock;

  if (!find_clone (store, name, &dir, error) || (lock = lock_clone (name, dir, error)) < 0)
    return FALSE;
  ok = remove_clone (store, name, dir, error);
  close (lock);
  return ok;
}
