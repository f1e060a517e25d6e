/* clones.c - the operations on clones by name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/clones.h"
#include "clone/fingerprint.h"
#include "migrate/clone/encrypt.h"
#include "migrate/clone/original-reader.h"
#include "util/json.h"

#include <sys/stat.h>

/* --- what all of them need --- */

void
h2k_opened_clone_clear (H2kOpenedClone *o)
{
  g_clear_pointer (&o->clone, h2k_clone_free);
  g_clear_pointer (&o->store, h2k_clone_store_free);
}

gboolean
h2k_clones_open (const char *state_dir, const char *name, H2kCloneAccess access, H2kOpenedClone *o,
                 GError **error)
{
  o->store = h2k_clone_store_open (state_dir, error);
  o->clone = o->store ? h2k_clone_open (o->store, name, access, error) : NULL;
  return o->clone != NULL;
}

JsonObject *
h2k_clones_original (const H2kClone *clone, guint disk)
{
  return h2k_json_element (h2k_json_array (clone->root, "originals"), disk);
}

char *
h2k_clones_json (JsonNode *node)
{
  g_autofree char *text = json_to_string (node, TRUE);

  return g_strconcat (text, "\n", NULL);
}

/* --- verify ----------------------------------------------------------------------------------- */

static JsonObject *
fingerprint_of (const H2kClone *clone, guint disk, GError **error)
{
  JsonObject *original = h2k_clones_original (clone, disk);
  JsonObject *fingerprint = h2k_json_object (original, "fingerprint");

  if (fingerprint && h2k_json_string (original, "path"))
    return fingerprint;
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_SOURCE,
      "the clone %s does not know what its original was like: its clone.json was lost; if "
      "the original was not changed since, `hyper2kvm clone rebase %s` with its path notes "
      "that",
      clone->name, clone->name);
  return NULL;
}

gboolean
h2k_clones_compare_original (const H2kClone *clone, guint disk, H2kDisk *source, gboolean full,
                             const H2kCopyOptions *progress, GCancellable *cancellable,
                             GPtrArray **found, GError **error)
{
  JsonObject *before = fingerprint_of (clone, disk, error);
  g_autoptr (JsonObject) now = NULL;

  if (before && full && !json_object_has_member (before, "content"))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "the clone %s was made without --full, so there is no digest of everything to "
                 "compare with; without --full, verify compares what there is",
                 clone->name);
  else if (before)
    now = h2k_fingerprint_new (source, full, progress, cancellable, error);
  if (!now)
    return FALSE;
  *found = h2k_fingerprint_compare (before, now);
  return TRUE;
}

/* What is compared is the file that clone.json names, and what the VM reads is that which its image
 * leads to. */
static void
compare_target (const H2kClone *clone, guint disk, GPtrArray *found)
{
  JsonObject *original = h2k_clones_original (clone, disk);
  const char *path = h2k_json_string (original, "path");
  g_autofree char *target = h2k_clone_original_target (clone, disk);
  g_autofree char *absolute = target ? g_canonicalize_filename (target, clone->dir) : NULL;
  g_autofree char *shown = target ? h2k_escape_line (target) : NULL;
  struct stat a, b;

  if (!path || !target || h2k_json_string (original, "served") || stat (path, &a) != 0)
    return;
  if (stat (absolute, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
    g_ptr_array_add (found, g_strdup_printf ("the clone's disk lies over another file, %s", shown));
}

gboolean
h2k_clones_original_differs (const H2kClone *clone, guint disk, gboolean full,
                             const H2kCopyOptions *progress, GCancellable *cancellable,
                             GPtrArray **found, GError **error)
{
  g_autoptr (H2kDisk) source = h2k_original_open (h2k_clones_original (clone, disk), error);

  if (!source
      || !h2k_clones_compare_original (clone, disk, source, full, progress, cancellable, found,
                                       error))
    return FALSE;
  compare_target (clone, disk, *found);
  return TRUE;
}

/* The differences of disk DISK, as an object for the answer. */
static JsonObject *
verify_disk (const H2kClone *clone, guint disk, gboolean full, const H2kCopyOptions *progress,
             GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) found = NULL;
  JsonArray *differences;
  JsonObject *o;

  if (!h2k_clones_original_differs (clone, disk, full, progress, cancellable, &found, error))
    return NULL;
  differences = json_array_new ();
  for (guint i = 0; i < found->len; i++)
    json_array_add_string_element (differences, found->pdata[i]);
  o = json_object_new ();
  json_object_set_string_member (o, "path",
                                 h2k_json_string (h2k_clones_original (clone, disk), "path"));
  json_object_set_boolean_member (o, "changed", found->len > 0);
  json_object_set_boolean_member (o, "everything-compared", full);
  json_object_set_array_member (o, "differences", differences);
  return o;
}

static char *
verify_text (JsonArray *disks)
{
  GString *out = g_string_new (NULL);

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *o = json_array_get_object_element (disks, i);
      JsonArray *differences = json_object_get_array_member (o, "differences");
      g_autofree char *path = h2k_escape_line (h2k_json_string (o, "path"));
      gboolean full = json_object_get_boolean_member (o, "everything-compared");

      if (json_array_get_length (differences) == 0)
        g_string_append_printf (out, "%s: as it was (%s)\n", path,
                                full ? "every byte compared"
                                     : "partition tables, filesystems and samples compared");
      for (guint n = 0; n < json_array_get_length (differences); n++)
        g_string_append_printf (out, "%s: CHANGED: %s\n", path,
                                json_array_get_string_element (differences, n));
    }
  return g_string_free (out, FALSE);
}

char *
h2k_clones_verify (const char *state_dir, const char *name, gboolean full, gboolean json,
                   H2kProgressFunc progress, gpointer progress_data, GCancellable *cancellable,
                   gboolean *changed, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (H2kClone) clone = store ? h2k_clone_open (store, name, H2K_CLONE_LOOK, error) : NULL;
  const H2kCopyOptions options = {.progress = progress, .progress_data = progress_data};
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_ARRAY);
  JsonArray *disks = json_array_new ();

  json_node_take_array (node, disks);
  if (changed)
    *changed = FALSE;
  if (!clone)
    return NULL;
  for (guint i = 0; i < clone->n_disks; i++)
    {
      JsonObject *o = verify_disk (clone, i, full, &options, cancellable, error);
      if (!o)
        return NULL;
      json_array_add_object_element (disks, o);
      if (changed)
        *changed |= json_object_get_boolean_member (o, "changed");
    }
  return json ? h2k_clones_json (node) : verify_text (disks);
}

/* --- operations ------------------------------------------------------------------------------- */

void
h2k_clones_use_key_file (const char *path)
{
  h2k_clone_use_key_file (path);
}

/* The end of each operation. */
static gboolean
finish (const H2kClone *clone, gboolean ok, GError **error)
{
  return ok && h2k_clone_write_definition (clone, error);
}

static void
warn_of_depth (const H2kClone *clone)
{
  guint depth = h2k_clone_depth (clone, clone->current);

  if (depth > H2K_CLONE_LAYERS_WARN)
    g_warning ("%u layers lie over the original now, and each makes reads slower: drop snapshots "
               "that are not needed, and make fewer layers by `hyper2kvm clone merge %s`",
               depth, clone->name);
}

gboolean
h2k_clones_snapshot (const char *state_dir, const char *name, const char *snapshot,
                     const char *description, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
      || !finish (o.clone, h2k_clone_take_snapshot (o.clone, snapshot, description, error), error))
    return FALSE;
  warn_of_depth (o.clone);
  return TRUE;
}

gboolean
h2k_clones_drop_snapshot (const char *state_dir, const char *name, const char *snapshot,
                          GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
         && finish (o.clone, h2k_clone_drop_snapshot (o.clone, snapshot, error), error);
}

gboolean
h2k_clones_reset (const char *state_dir, const char *name, const char *snapshot, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
         && h2k_clone_drop_memory (o.clone, error)
         && finish (o.clone, h2k_clone_reset (o.clone, snapshot, error), error);
}

gboolean
h2k_clones_commit (const char *state_dir, const char *name, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
      || !finish (o.clone, h2k_clone_commit (o.clone, error), error))
    return FALSE;
  warn_of_depth (o.clone);
  return TRUE;
}

gboolean
h2k_clones_merge (const char *state_dir, const char *name, GCancellable *cancellable, guint *merged,
                  GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
         && finish (o.clone, h2k_clone_merge (o.clone, cancellable, merged, error), error);
}

char *
h2k_clones_folder (const char *state_dir, const char *name, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_PEEK, &o, error) ? g_strdup (o.clone->dir)
                                                                      : NULL;
}

/* A definition without its disks would stay in libvirt. One that cannot be taken out there, since
 * libvirt is gone, is none either. */
static gboolean
forget_domain (H2kCloneStore *store, const char *name, GError **error)
{
  g_autoptr (H2kClone) clone = h2k_clone_open (store, name, H2K_CLONE_CHANGE, NULL);
  g_autoptr (GError) local = NULL;

  if (!clone || !h2k_json_string (clone->root, "libvirt")
      || h2k_clone_forget_domain (clone, &local))
    return TRUE;
  if (g_error_matches (local, H2K_ERROR, H2K_ERROR_OUTPUT))
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  g_warning ("%s", local->message);
  return TRUE;
}

gboolean
h2k_clones_delete (const char *state_dir, const char *name, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);

  return store && forget_domain (store, name, error) && h2k_clone_delete (store, name, error);
}
