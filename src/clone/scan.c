/* scan.c - what lies in a clone's folder: its layers and links, and what does not belong there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"
#include "disk/file.h"
#include "disk/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYERS_MAX 100000
#define DISKS_MAX 64
#define SCANS 5u
#define SCAN_PAUSE (20 * 1000) /* microseconds */

/* --- names ------------------------------------------------------------------------------------ */

char *
h2k_clone_disk_name (guint disk)
{
  return disk == 0 ? g_strdup ("disk.qcow2") : g_strdup_printf ("disk-%u.qcow2", disk + 1);
}

char *
h2k_clone_original_name (guint disk)
{
  return disk == 0 ? g_strdup ("../../original") : g_strdup_printf ("../../original-%u", disk + 1);
}

static char *
layer_dir (const H2kClone *clone, guint number)
{
  return g_strdup_printf ("%s/layers/%u", clone->dir, number);
}

char *
h2k_clone_image (const H2kClone *clone, guint number, guint disk)
{
  g_autofree char *name = h2k_clone_disk_name (disk);
  g_autofree char *dir = number ? layer_dir (clone, number) : NULL;

  return dir ? g_build_filename (dir, name, NULL)
             : g_build_filename (clone->dir, "current", name, NULL);
}

/* The number that TEXT is, as this part writes it; 0: none. */
static guint
parse_number (const char *text)
{
  guint64 number;

  if (text[0] == '0' || !g_ascii_string_to_unsigned (text, 10, 1, G_MAXINT32, &number, NULL))
    return 0;
  return (guint)number;
}

/* --- layers ----------------------------------------------------------------------------------- */

static void
layer_free (H2kLayer *layer)
{
  g_free (layer->snapshot);
  g_free (layer->description);
  g_free (layer);
}

/* The layer that the image PATH builds on: 0, the original, for everything that is no layer. */
static gboolean
read_parent (const char *path, guint *parent, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_auto (H2kQcow2Header) header = {0};
  g_autofree char *number = NULL;
  const char *slash;

  *parent = 0;
  if (!file || !h2k_qcow2_header_read (file, TRUE, &header, error))
    return FALSE;
  if (!header.backing_name || !g_str_has_prefix (header.backing_name, "../"))
    return TRUE;
  slash = strchr (header.backing_name + 3, '/');
  if (slash)
    number = g_strndup (header.backing_name + 3, (gsize)(slash - header.backing_name - 3));
  *parent = number ? parse_number (number) : 0;
  return TRUE;
}

gboolean
h2k_clone_image_backing (const char *path, char **name, char **format, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_auto (H2kQcow2Header) header = {0};

  if (!file || !h2k_qcow2_header_read (file, TRUE, &header, error))
    return FALSE;
  if (!header.backing_name)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s has no backing file", path);
      return FALSE;
    }
  *name = g_steal_pointer (&header.backing_name);
  *format = g_steal_pointer (&header.backing_format);
  return TRUE;
}

gboolean
h2k_clone_image_size (const char *path, guint64 *size, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_auto (H2kQcow2Header) header = {0};

  if (!file || !h2k_qcow2_header_read (file, FALSE, &header, error))
    return FALSE;
  *size = header.size;
  return TRUE;
}

/* FALSE: what kind of layer it is cannot be told. */
static gboolean
read_snapshot (const char *dir, H2kLayer *layer, GError **error)
{
  g_autofree char *path = g_build_filename (dir, "snapshot.json", NULL);
  g_autoptr (GError) local = NULL;
  g_autoptr (JsonObject) root = h2k_clone_read_json (path, &local);
  const char *name = h2k_json_string (root, "name");
  gint64 time = h2k_clone_parse_time (h2k_json_string (root, "created"));

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!root)
    return TRUE;
  if (!name || !h2k_clone_check_name ("a snapshot", name, NULL))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s has no name of a snapshot", path);
      return FALSE;
    }
  layer->snapshot = g_strdup (name);
  layer->description = g_strdup (h2k_json_string (root, "description"));
  if (time)
    layer->created = time;
  return TRUE;
}

/* A snapshot whose name is lost is a layer all the same, and stays. What the current one has is
 * left of an operation that was killed. */
static void
note_snapshot (H2kClone *clone, H2kLayer *layer)
{
  g_autofree char *dir = layer_dir (clone, layer->number);
  g_autoptr (GError) local = NULL;

  if (read_snapshot (dir, layer, &local) || layer->number == clone->current)
    return;
  g_warning ("the clone %s: %s; nothing is removed from the clone until that file is put right, or "
             "is removed because its layer need be no snapshot",
             clone->name, local->message);
  clone->damaged = TRUE;
}

static H2kLayer *
read_layer (H2kClone *clone, guint number, GError **error)
{
  g_autofree H2kLayer *layer = g_new0 (H2kLayer, 1);

  layer->number = number;
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_clone_image (clone, number, i);
      guint parent = 0;
      struct stat st;

      if (stat (path, &st) != 0)
        {
          h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "the image %s", path);
          return NULL;
        }
      if (clone->access != H2K_CLONE_PEEK && !read_parent (path, &parent, error))
        return NULL;
      layer->stored += (guint64)st.st_blocks * 512;
      layer->created = st.st_ctime;
      /* A merge that was killed has done some of the disks. */
      layer->parent = MAX (layer->parent, parent);
      if (parent >= number)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s builds on a later layer", path);
          return NULL;
        }
    }
  note_snapshot (clone, layer);
  return g_steal_pointer (&layer);
}

static guint
read_link (const H2kClone *clone, const char *name)
{
  g_autofree char *path = g_build_filename (clone->dir, name, NULL);
  char target[64];
  ssize_t length = readlink (path, target, sizeof target - 1);

  if (length < 0)
    return 0;
  target[length] = '\0';
  return g_str_has_prefix (target, "layers/") ? parse_number (target + strlen ("layers/")) : 0;
}

/* How many disks there are: as many as the first layer has images. */
static guint
count_disks (const H2kClone *clone)
{
  guint n = 0;

  for (; n < DISKS_MAX; n++)
    {
      g_autofree char *path = h2k_clone_image (clone, 0, n);
      if (access (path, F_OK) != 0)
        break;
    }
  return n;
}

static int
by_number (gconstpointer a, gconstpointer b)
{
  const H2kLayer *x = *(const H2kLayer *const *)a, *y = *(const H2kLayer *const *)b;

  return (x->number > y->number) - (x->number < y->number);
}

/* Another process has removed it since the folder was read. */
static gboolean
is_gone (const H2kClone *clone, guint number)
{
  g_autofree char *dir = layer_dir (clone, number);

  return !g_file_test (dir, G_FILE_TEST_IS_DIR);
}

static gboolean
read_layers (H2kClone *clone, GError **error)
{
  g_autofree char *path = g_build_filename (clone->dir, "layers", NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && clone->layers->len < LAYERS_MAX && (name = g_dir_read_name (dir)))
    {
      g_autoptr (GError) local = NULL;
      guint number = parse_number (name);
      H2kLayer *layer = number ? read_layer (clone, number, &local) : NULL;

      if (layer)
        g_ptr_array_add (clone->layers, layer);
      else if (number && !is_gone (clone, number))
        {
          g_warning ("the clone %s: layer %u cannot be read: %s", clone->name, number,
                     local->message);
          clone->damaged = TRUE;
        }
    }
  g_ptr_array_sort (clone->layers, by_number);
  return TRUE;
}

/* Every layer from NUMBER down is there. */
static gboolean
check_chain (const H2kClone *clone, guint number, const char *what, GError **error)
{
  for (guint at = number, steps = 0; at || !steps; steps++)
    {
      const H2kLayer *layer = h2k_clone_layer (clone, at);
      if (!layer)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                       "the clone %s is damaged: %s builds on the layer %u, which is missing or "
                       "damaged (see %s/layers)",
                       clone->name, what, at, clone->dir);
          return FALSE;
        }
      at = layer->parent;
    }
  return TRUE;
}

static gboolean
scan (H2kClone *clone, GError **error)
{
  g_clear_pointer (&clone->layers, g_ptr_array_unref);
  clone->layers = g_ptr_array_new_with_free_func ((GDestroyNotify)layer_free);
  clone->damaged = FALSE;
  clone->n_disks = count_disks (clone);
  clone->current = read_link (clone, "current");
  clone->base = read_link (clone, "base");
  if (clone->n_disks == 0 || !read_layers (clone, error))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "the clone %s is damaged: %s/current leads to no layer with a disk", clone->name,
                   clone->dir);
      return FALSE;
    }
  if (!check_chain (clone, clone->current, "the present state", error)
      || !check_chain (clone, clone->base, "the base", error))
    return FALSE;
  /* What would be a snapshot had the operation come to its end. */
  for (guint i = 0; i < clone->layers->len; i++)
    {
      H2kLayer *layer = clone->layers->pdata[i];
      if (layer->number == clone->current)
        g_clear_pointer (&layer->snapshot, g_free);
    }
  return TRUE;
}

/* Who only looks has no lock, and may have seen the links of one state and the layers of the next:
 * that passes. */
gboolean
h2k_clone_scan (H2kClone *clone, GError **error)
{
  for (guint tries = 1; clone->lock_fd < 0 && tries < SCANS; tries++)
    {
      if (scan (clone, NULL))
        return TRUE;
      g_usleep (SCAN_PAUSE);
    }
  return scan (clone, error);
}

const H2kLayer *
h2k_clone_layer (const H2kClone *clone, guint number)
{
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (layer->number == number)
        return layer;
    }
  return NULL;
}

const H2kLayer *
h2k_clone_snapshot (const H2kClone *clone, const char *snapshot)
{
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (g_strcmp0 (layer->snapshot, snapshot) == 0)
        return layer;
    }
  return NULL;
}

guint
h2k_clone_depth (const H2kClone *clone, guint number)
{
  const H2kLayer *layer = h2k_clone_layer (clone, number);
  guint depth = 0;

  /* A parent's number is smaller than its child's: this ends. */
  for (; layer; layer = h2k_clone_layer (clone, layer->parent))
    depth++;
  return depth;
}

H2kImageUse
h2k_clone_use (const H2kClone *clone)
{
  H2kImageUse use = H2K_IMAGE_FREE;

  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_clone_image (clone, 0, i);
      use = MAX (use, h2k_image_use (path));
    }
  return use;
}

/* --- what does not belong there --------------------------------------------------------------- */

static void
mark (const H2kClone *clone, GHashTable *needed, guint number)
{
  const H2kLayer *layer;

  while ((layer = h2k_clone_layer (clone, number))
         && g_hash_table_add (needed, GUINT_TO_POINTER (number)))
    number = layer->parent;
}

/* Whether NAME is one that this part gives folders: what else somebody has put there is his. */
static gboolean
is_left_over (const char *name)
{
  static const char *const starts[] = {"new-", "gone-"};

  for (guint i = 0; i < G_N_ELEMENTS (starts); i++)
    if (g_str_has_prefix (name, starts[i]) && parse_number (name + strlen (starts[i])))
      return TRUE;
  return FALSE;
}

/* A layer has its number when it is complete, not before. */
static void
remove_unfinished (const H2kClone *clone)
{
  g_autofree char *path = g_build_filename (clone->dir, "layers", NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    if (is_left_over (name))
      {
        g_autofree char *layer = g_build_filename (path, name, NULL);
        h2k_clone_remove_tree (layer);
      }
}

/* At once for those who look: without its number it is no layer, also when only some of it is left.
 */
static void
remove_layer (const H2kClone *clone, guint number)
{
  g_autofree char *dir = layer_dir (clone, number);
  g_autofree char *gone = g_strdup_printf ("%s/layers/gone-%u", clone->dir, number);

  if (rename (dir, gone) == 0)
    h2k_clone_remove_tree (gone);
}

void
h2k_clone_collect (H2kClone *clone)
{
  g_autoptr (GHashTable) needed = g_hash_table_new (NULL, NULL);
  g_autofree char *current = layer_dir (clone, clone->current);
  g_autofree char *snapshot = g_build_filename (current, "snapshot.json", NULL);

  remove_unfinished (clone);
  h2k_clone_set_live (clone);
  unlink (snapshot);
  /* Who knows what a layer that cannot be read needs. */
  if (clone->damaged)
    return;
  mark (clone, needed, clone->current);
  mark (clone, needed, clone->base);
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (layer->snapshot)
        mark (clone, needed, layer->number);
    }
  /* The newest ones first: what is left is whole at any time. */
  for (guint i = clone->layers->len; i-- > 0;)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (g_hash_table_contains (needed, GUINT_TO_POINTER (layer->number)))
        continue;
      g_info ("%s: removing the layer %u, which nothing needs", clone->name, layer->number);
      remove_layer (clone, layer->number);
      g_ptr_array_remove_index (clone->layers, i);
    }
}
