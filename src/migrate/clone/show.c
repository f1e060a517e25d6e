/* show.c - what there is to be said about clones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/fingerprint.h"
#include "clone/server.h"
#include "clone/storage.h"
#include "disk/file.h"
#include "migrate/clone/start.h"
#include "migrate/clone/vm.h"
#include "util/json.h"

#include <errno.h>
#include <sys/stat.h>

/* --- parts of the answers --------------------------------------------------------------------- */

static guint
count_snapshots (const H2kClone *clone)
{
  guint n = 0;

  for (guint i = 0; i < clone->layers->len; i++)
    n += ((const H2kLayer *)clone->layers->pdata[i])->snapshot != NULL;
  return n;
}

/* What can be seen of an original at a glance; NULL: nothing is wrong. */
static const char *
original_trouble (JsonObject *original)
{
  const char *path = h2k_json_string (original, "path");
  JsonObject *fingerprint = h2k_json_object (original, "fingerprint");
  struct stat st;

  /* A list asks no servers. */
  if (path && h2k_file_is_uri (path))
    return "not known";
  if (!path || stat (path, &st) != 0)
    return "missing";
  if (!fingerprint)
    return "not known";
  return h2k_fingerprint_files_changed (fingerprint) ? "changed" : NULL;
}

static const char *
health (const H2kClone *clone)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      const char *trouble = original_trouble (h2k_clones_original (clone, i));
      if (trouble)
        return trouble;
    }
  return "ok";
}

static const char *
state_of (const H2kClone *clone)
{
  return h2k_clone_use (clone) == H2K_IMAGE_WRITTEN ? "running" : "shut off";
}

/* --- list ------------------------------------------------------------------------------------- */

static JsonObject *
summary (const H2kClone *clone)
{
  JsonObject *o = json_object_new ();
  const char *original = h2k_json_string (h2k_clones_original (clone, 0), "path");
  const char *created = h2k_json_string (clone->root, "created");

  json_object_set_string_member (o, "name", clone->name);
  json_object_set_string_member (o, "state", state_of (clone));
  json_object_set_string_member (o, "original", original ? original : "");
  json_object_set_string_member (o, "original-health", health (clone));
  json_object_set_string_member (o, "created", created ? created : "");
  json_object_set_int_member (o, "stored", (gint64)h2k_clone_stored (clone));
  json_object_set_int_member (o, "snapshots", count_snapshots (clone));
  json_object_set_string_member (o, "folder", clone->dir);
  return o;
}

static JsonObject *
damaged_summary (const char *name, const GError *error)
{
  JsonObject *o = json_object_new ();

  json_object_set_string_member (o, "name", name);
  json_object_set_string_member (o, "state", "damaged");
  json_object_set_string_member (o, "problem", error->message);
  return o;
}

static char *
list_text (JsonArray *clones)
{
  GString *out = g_string_new (NULL);
  guint width = (guint)strlen ("NAME");

  for (guint i = 0; i < json_array_get_length (clones); i++)
    width
        = MAX (width,
               (guint)strlen (h2k_json_string (json_array_get_object_element (clones, i), "name")));
  g_string_append_printf (out, "%-*s  STATE     SIZE        SNAPSHOTS  ORIGINAL\n", (int)width,
                          "NAME");
  for (guint i = 0; i < json_array_get_length (clones); i++)
    {
      JsonObject *o = json_array_get_object_element (clones, i);
      const char *state = h2k_json_string (o, "state"),
                 *trouble = h2k_json_string (o, "original-health");
      g_autofree char *size = NULL;
      g_autofree char *original = NULL;

      if (g_str_equal (state, "damaged"))
        {
          g_string_append_printf (out, "%-*s  damaged   %s\n", (int)width,
                                  h2k_json_string (o, "name"), h2k_json_string (o, "problem"));
          continue;
        }
      size = h2k_format_size ((guint64)json_object_get_int_member (o, "stored"));
      original = h2k_escape_line (h2k_json_string (o, "original"));
      g_string_append_printf (out, "%-*s  %-8s  %-10s  %9" G_GINT64_FORMAT "  %s%s%s%s\n",
                              (int)width, h2k_json_string (o, "name"), state, size,
                              json_object_get_int_member (o, "snapshots"), original,
                              g_str_equal (trouble, "ok") ? "" : " (",
                              g_str_equal (trouble, "ok") ? "" : trouble,
                              g_str_equal (trouble, "ok") ? "" : ")");
    }
  return g_string_free (out, FALSE);
}

char *
h2k_clones_list (const char *state_dir, gboolean json, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (GPtrArray) names = store ? h2k_clone_store_list (store, error) : NULL;
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_ARRAY);
  JsonArray *clones = json_array_new ();

  json_node_take_array (node, clones);
  if (!names)
    return NULL;
  for (guint i = 0; i < names->len; i++)
    {
      g_autoptr (GError) local = NULL;
      g_autoptr (H2kClone) clone = h2k_clone_open (store, names->pdata[i], H2K_CLONE_PEEK, &local);
      json_array_add_object_element (clones, clone ? summary (clone)
                                                   : damaged_summary (names->pdata[i], local));
    }
  return json ? h2k_clones_json (node) : list_text (clones);
}

/* --- show ------------------------------------------------------------------------------------- */

static JsonObject *
layer_json (const H2kClone *clone, const H2kLayer *layer)
{
  JsonObject *o = json_object_new ();
  g_autofree char *created = h2k_clone_time_text (layer->created);
  g_autofree char *image = h2k_clone_image (clone, layer->number, 0);

  json_object_set_int_member (o, "layer", layer->number);
  json_object_set_int_member (o, "parent", layer->parent);
  json_object_set_string_member (o, "image", image);
  json_object_set_int_member (o, "stored", (gint64)layer->stored);
  json_object_set_string_member (o, "created", created);
  json_object_set_boolean_member (o, "current", layer->number == clone->current);
  json_object_set_boolean_member (o, "base", layer->number == clone->base);
  if (layer->snapshot)
    json_object_set_string_member (o, "snapshot", layer->snapshot);
  if (layer->description)
    json_object_set_string_member (o, "description", layer->description);
  return o;
}

static JsonArray *
originals_json (const H2kClone *clone)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < clone->n_disks; i++)
    {
      JsonObject *original = h2k_clones_original (clone, i);
      const char *trouble = original_trouble (original);
      JsonObject *o = json_object_new ();
      static const char *const keys[] = {"path", "format", "subformat", "serial", "served"};

      for (guint k = 0; k < G_N_ELEMENTS (keys); k++)
        if (h2k_json_string (original, keys[k]))
          json_object_set_string_member (o, keys[k], h2k_json_string (original, keys[k]));
      json_object_set_string_member (o, "health", trouble ? trouble : "ok");
      json_array_add_object_element (array, o);
    }
  return array;
}

static void
add_users (const H2kClone *clone, JsonObject *o)
{
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  g_autofree char *users = h2k_file_users (image);

  if (users)
    json_object_set_string_member (o, "users", users);
}

/* Who runs it, and where it is defined. */
static void
add_machine (const H2kClone *clone, JsonObject *o)
{
  g_autoptr (H2kCloneVm) vm = h2k_clone_vm_find (clone, FALSE, NULL);
  g_autofree char *where = vm ? vm->ops->where (vm) : NULL;

  if (where)
    json_object_set_string_member (o, "runs-in", where);
  if (vm && vm->ops->state (vm) == H2K_VM_PAUSED)
    json_object_set_boolean_member (o, "paused", TRUE);
  if (h2k_json_string (clone->root, "libvirt"))
    json_object_set_string_member (o, "libvirt", h2k_json_string (clone->root, "libvirt"));
  if (h2k_clone_max_size (clone) > 0)
    json_object_set_int_member (o, "max-size", (gint64)h2k_clone_max_size (clone));
}

static void
add_server (const H2kClone *clone, JsonObject *o)
{
  int pid;

  if (h2k_clone_server_use (clone->dir, &pid) != H2K_SERVER_NONE)
    json_object_set_int_member (o, "server", pid);
}

static void
add_room (const H2kClone *clone, JsonObject *o)
{
  g_autoptr (H2kStorage) storage = h2k_storage_of (clone->dir, NULL);

  if (!storage)
    return;
  json_object_set_int_member (o, "available", (gint64)storage->available);
  json_object_set_string_member (o, "filesystem", storage->type);
}

static void
add_encryption (const H2kClone *clone, JsonObject *o)
{
  g_autofree char *file = h2k_clone_key_file (clone);

  json_object_set_string_member (o, "encrypted", "luks");
  if (file)
    json_object_set_string_member (o, "key-file", file);
}

static JsonObject *
details (const H2kClone *clone)
{
  JsonObject *o = summary (clone);
  JsonArray *layers = json_array_new ();
  static const char *const keys[] = {"uuid", "guest", "firmware", "hyper2kvm"};

  for (guint k = 0; k < G_N_ELEMENTS (keys); k++)
    if (h2k_json_string (clone->root, keys[k]))
      json_object_set_string_member (o, keys[k], h2k_json_string (clone->root, keys[k]));
  json_object_set_int_member (o, "grown", (gint64)h2k_clone_layer (clone, clone->current)->stored);
  if (h2k_clone_is_encrypted (clone))
    add_encryption (clone, o);
  json_object_set_int_member (o, "depth", h2k_clone_depth (clone, clone->current));
  add_room (clone, o);
  add_users (clone, o);
  add_server (clone, o);
  add_machine (clone, o);
  json_object_set_array_member (o, "originals", originals_json (clone));
  json_object_set_array_member (o, "layers", layers);
  for (guint i = 0; i < clone->layers->len; i++)
    json_array_add_object_element (layers, layer_json (clone, clone->layers->pdata[i]));
  return o;
}

static void
line (GString *out, const char *name, const char *value)
{
  g_autofree char *escaped = value ? h2k_escape_line (value) : NULL;

  if (escaped && *escaped)
    g_string_append_printf (out, "%-11s %s\n", name, escaped);
}

static void
size_line (GString *out, const char *name, guint64 bytes, const char *more)
{
  g_autofree char *size = h2k_format_size (bytes);

  g_string_append_printf (out, "%-11s %s%s\n", name, size, more);
}

static void
show_snapshots (const H2kClone *clone, GString *out)
{
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *time = h2k_clone_time_text (layer->created);
      g_autofree char *description
          = layer->description ? h2k_escape_line (layer->description) : g_strdup ("");
      g_autofree char *size = h2k_format_size (layer->stored);

      if (layer->snapshot)
        g_string_append_printf (out, "%-11s %s  %s  %s  %s\n", "snapshot:", layer->snapshot, time,
                                size, description);
    }
}

static char *
show_text (const H2kClone *clone, JsonObject *o)
{
  GString *out = g_string_new (NULL);
  guint depth = h2k_clone_depth (clone, clone->current);

  line (out, "name:", clone->name);
  line (out, "state:", h2k_json_flag (o, "paused") ? "paused" : h2k_json_string (o, "state"));
  line (out, "runs in:", h2k_json_string (o, "runs-in"));
  line (out, "used by:", h2k_json_string (o, "users"));
  if (json_object_has_member (o, "server"))
    g_string_append_printf (out, "%-11s PID %" G_GINT64_FORMAT " reads the original for QEMU\n",
                            "server:", json_object_get_int_member (o, "server"));
  line (out, "libvirt:", h2k_json_string (o, "libvirt"));
  line (out, "guest:", h2k_json_string (o, "guest"));
  line (out, "firmware:", h2k_json_string (o, "firmware"));
  line (out, "created:", h2k_json_string (o, "created"));
  line (out, "encrypted:", h2k_json_string (o, "encrypted"));
  line (out, "key file:", h2k_json_string (o, "key-file"));
  for (guint i = 0; i < clone->n_disks; i++)
    {
      JsonObject *original = h2k_clones_original (clone, i);
      const char *trouble = original_trouble (original), *path = h2k_json_string (original, "path");
      g_autofree char *text
          = g_strdup_printf ("%s, %s", path ? path : "?", trouble ? trouble : "as it was");
      line (out, "original:", text);
    }
  size_line (out, "size:", h2k_clone_stored (clone), "");
  if (h2k_clone_max_size (clone) > 0)
    size_line (out, "at most:", h2k_clone_max_size (clone), "");
  size_line (out, "grown:", h2k_clone_layer (clone, clone->current)->stored,
             " since the last snapshot or reset");
  g_string_append_printf (out, "%-11s %u over the original%s\n", "layers:", depth,
                          depth > H2K_CLONE_LAYERS_WARN
                              ? ": reads get slower, `hyper2kvm clone merge` makes fewer of them"
                              : "");
  show_snapshots (clone, out);
  line (out, "folder:", clone->dir);
  return g_string_free (out, FALSE);
}

char *
h2k_clones_show (const char *state_dir, const char *name, gboolean json, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (H2kClone) clone = store ? h2k_clone_open (store, name, H2K_CLONE_LOOK, error) : NULL;
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  if (!clone)
    return NULL;
  json_node_take_object (node, details (clone));
  return json ? h2k_clones_json (node) : show_text (clone, json_node_get_object (node));
}

/* --- tree ------------------------------------------------------------------------------------- */

static void
draw_layers (const H2kClone *clone, guint parent, const char *indent, GString *out)
{
  guint last = 0;

  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (layer->parent == parent)
        last = layer->number;
    }
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      g_autofree char *size = h2k_format_size (layer->stored);
      g_autofree char *below = g_strconcat (indent, layer->number == last ? "    " : "│   ", NULL);

      if (layer->parent != parent)
        continue;
      g_string_append_printf (out, "%s%s%s%s%s%s  %s\n", indent,
                              layer->number == last ? "└── " : "├── ",
                              layer->snapshot ? "snapshot " : "",
                              layer->snapshot                   ? layer->snapshot
                              : layer->number == clone->current ? clone->name
                              : layer->number == clone->base    ? "base"
                                                                : "layer",
                              layer->snapshot && layer->number == clone->base ? " (base)" : "",
                              layer->number == clone->current ? " (now)" : "", size);
      draw_layers (clone, layer->number, below, out);
    }
}

static void
draw (const H2kClone *clone, GString *out)
{
  const char *path = h2k_json_string (h2k_clones_original (clone, 0), "path");
  const char *trouble = health (clone);
  g_autofree char *escaped = h2k_escape_line (path ? path : "?");

  g_string_append_printf (out, "%s%s%s%s\n", escaped, g_str_equal (trouble, "ok") ? "" : " (",
                          g_str_equal (trouble, "ok") ? "" : trouble,
                          g_str_equal (trouble, "ok") ? "" : ")");
  draw_layers (clone, 0, "", out);
}

char *
h2k_clones_tree (const char *state_dir, const char *name, gboolean json, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_ARRAY);
  g_autoptr (GString) out = g_string_new (NULL);
  JsonArray *array = json_array_new ();

  json_node_take_array (node, array);
  if (!store)
    return NULL;
  if (name)
    {
      names = g_ptr_array_new_with_free_func (g_free);
      g_ptr_array_add (names, g_strdup (name));
    }
  else if (!(names = h2k_clone_store_list (store, error)))
    return NULL;
  for (guint i = 0; i < names->len; i++)
    {
      g_autoptr (GError) local = NULL;
      g_autoptr (H2kClone) clone = h2k_clone_open (store, names->pdata[i], H2K_CLONE_LOOK, &local);

      if (clone)
        {
          json_array_add_object_element (array, details (clone));
          draw (clone, out);
        }
      else if (name)
        {
          g_propagate_error (error, g_steal_pointer (&local));
          return NULL;
        }
      else
        g_warning ("%s", local->message);
    }
  return json ? h2k_clones_json (node) : g_strdup (out->str);
}
