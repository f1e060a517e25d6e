/* tree.c - the folders and files of a driver source.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/tree.h"
#include "drivers/virtio-win.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* An ISO of virtio-win has some 3000 files three folders deep; the installed package is one folder
 * deeper, in two layouts. */
#define MAX_DEPTH 6
#define MAX_NODES 50000

struct _H2kDriverTree
{
  char *name;  /* escaped */
  H2kIso *iso; /* NULL: a folder */
  int fd;      /* of the folder; -1: an ISO */
  guint n_nodes;
  GHashTable *seen; /* offsets of an ISO's folders: one that contains itself is left out */
  H2kDriverNode *top;
};

static void
node_free (H2kDriverNode *node)
{
  g_free (node->name);
  g_free (node->path);
  g_clear_pointer (&node->by_name, g_hash_table_unref);
  g_clear_pointer (&node->children, g_ptr_array_unref);
  g_free (node);
}

static H2kDriverNode *
node_new (const H2kDriverNode *parent, const char *name, gboolean is_folder)
{
  H2kDriverNode *node = g_new0 (H2kDriverNode, 1);

  node->name = g_strdup (name);
  node->path
      = parent && *parent->path ? g_strdup_printf ("%s/%s", parent->path, name) : g_strdup (name);
  node->is_folder = is_folder;
  if (is_folder)
    {
      node->children = g_ptr_array_new_with_free_func ((GDestroyNotify)node_free);
      node->by_name = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    }
  return node;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  const H2kDriverNode *const *left = a, *const *right = b;

  return strcmp ((*left)->name, (*right)->name);
}

/* When FOLDER has all its children: put them in order, and find them by name. Of two whose names
 * differ in case alone the first counts. */
static void
finish_folder (H2kDriverNode *folder)
{
  g_ptr_array_sort (folder->children, compare_names);
  for (guint i = 0; i < folder->children->len; i++)
    {
      H2kDriverNode *child = folder->children->pdata[i];
      g_autofree char *lower = g_utf8_strdown (child->name, -1);
      if (!g_hash_table_contains (folder->by_name, lower))
        g_hash_table_insert (folder->by_name, g_steal_pointer (&lower), child);
    }
}

static gboolean
count_node (H2kDriverTree *tree, GError **error)
{
  if (++tree->n_nodes <= MAX_NODES)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s has more than %d files: name the ISO of virtio-win, or the folder that it was "
               "unpacked to",
               tree->name, MAX_NODES);
  return FALSE;
}

/* --- ISO images ------------------------------------------------------------------------------- */

static gboolean
walk_iso (H2kDriverTree *tree, H2kDriverNode *folder, const H2kIsoEntry *where, guint depth,
          GError **error)
{
  g_autoptr (GPtrArray) entries = NULL;
  gint64 offset = (gint64)where->offset;

  if (depth > MAX_DEPTH || g_hash_table_contains (tree->seen, &offset))
    return TRUE;
  g_hash_table_add (tree->seen, g_memdup2 (&offset, sizeof offset));
  entries = h2k_iso_list (tree->iso, where, error);
  if (!entries)
    return FALSE;
  for (guint i = 0; i < entries->len; i++)
    {
      const H2kIsoEntry *entry = entries->pdata[i];
      H2kDriverNode *node;

      if (!count_node (tree, error))
        return FALSE;
      node = node_new (folder, entry->name, entry->is_folder);
      node->size = entry->size;
      node->offset = entry->offset;
      g_ptr_array_add (folder->children, node);
      if (entry->is_folder && !walk_iso (tree, node, entry, depth + 1, error))
        return FALSE;
    }
  finish_folder (folder);
  return TRUE;
}

/* --- folders ---------------------------------------------------------------------------------- */

static gboolean walk_folder (H2kDriverTree *tree, H2kDriverNode *folder, int fd, guint depth,
                             GError **error);

/* Add the entry NAME of the folder that PARENT_FD is. What cannot be opened is left out. */
static gboolean
add_entry (H2kDriverTree *tree, H2kDriverNode *folder, int parent_fd, const char *name, guint depth,
           GError **error)
{
  struct stat info;
  H2kDriverNode *node;
  int fd;

  if (!g_utf8_validate (name, -1, NULL) || fstatat (parent_fd, name, &info, 0) < 0
      || !(S_ISREG (info.st_mode) || S_ISDIR (info.st_mode)))
    return TRUE;
  if (!count_node (tree, error))
    return FALSE;
  node = node_new (folder, name, S_ISDIR (info.st_mode));
  node->size = S_ISREG (info.st_mode) ? (guint64)info.st_size : 0;
  g_ptr_array_add (folder->children, node);
  if (!node->is_folder || depth >= MAX_DEPTH)
    return TRUE;
  fd = openat (parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 || walk_folder (tree, node, fd, depth + 1, error);
}

/* FD is closed. */
static gboolean
walk_folder (H2kDriverTree *tree, H2kDriverNode *folder, int fd, guint depth, GError **error)
{
  DIR *dir = fdopendir (fd);
  struct dirent *entry;
  gboolean good = TRUE;

  if (!dir)
    {
      close (fd);
      return TRUE;
    }
  while (good && (entry = readdir (dir)))
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0)
      good = add_entry (tree, folder, dirfd (dir), entry->d_name, depth, error);
  closedir (dir);
  finish_folder (folder);
  return good;
}

static GBytes *
read_from_folder (H2kDriverTree *tree, const H2kDriverNode *node, GError **error)
{
  g_autofree guint8 *data = NULL;
  g_autofree char *safe = h2k_escape_text (node->path, -1);
  int fd = openat (tree->fd, node->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int err;

  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s: %s cannot be opened", tree->name, safe);
      return NULL;
    }
  data = g_malloc (MAX (node->size, 1));
  err = node->size > 0 ? h2k_pread_full (fd, data, node->size, 0) : 0;
  close (fd);
  if (err != 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, err, "%s: %s cannot be read", tree->name, safe);
      return NULL;
    }
  return g_bytes_new_take (g_steal_pointer (&data), node->size);
}

/* --- trees ------------------------------------------------------------------------------------ */

static H2kDriverTree *
tree_new (const char *name)
{
  H2kDriverTree *tree = g_new0 (H2kDriverTree, 1);

  tree->name = g_strdup (name);
  tree->fd = -1;
  tree->seen = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  tree->top = node_new (NULL, "", TRUE);
  return tree;
}

H2kDriverTree *
h2k_driver_tree_new_iso (H2kIso *iso, const char *name, GError **error)
{
  H2kDriverTree *tree = tree_new (name);

  tree->iso = iso;
  if (walk_iso (tree, tree->top, h2k_iso_root (iso), 0, error))
    return tree;
  h2k_driver_tree_free (tree);
  return NULL;
}

H2kDriverTree *
h2k_driver_tree_new_folder (const char *path, const char *name, GError **error)
{
  H2kDriverTree *tree = tree_new (name);
  int fd;

  tree->fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fd = tree->fd < 0 ? -1 : openat (tree->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s cannot be opened", name);
  else if (walk_folder (tree, tree->top, fd, 0, error))
    return tree;
  h2k_driver_tree_free (tree);
  return NULL;
}

void
h2k_driver_tree_free (H2kDriverTree *tree)
{
  g_clear_pointer (&tree->iso, h2k_iso_free);
  if (tree->fd >= 0)
    close (tree->fd);
  g_hash_table_unref (tree->seen);
  node_free (tree->top);
  g_free (tree->name);
  g_free (tree);
}

const H2kDriverNode *
h2k_driver_tree_find (const H2kDriverTree *tree, const H2kDriverNode *node, const char *path)
{
  g_auto (GStrv) parts = g_strsplit (path, "/", -1);

  if (!node)
    node = tree->top;
  for (char **part = parts; *part && node; part++)
    {
      g_autofree char *lower = g_utf8_strdown (*part, -1);
      if (*lower)
        node = node->is_folder ? g_hash_table_lookup (node->by_name, lower) : NULL;
    }
  return node;
}

GBytes *
h2k_driver_tree_read (H2kDriverTree *tree, const H2kDriverNode *node, GError **error)
{
  if (node->is_folder || node->size > H2K_DRIVER_FILE_MAX)
    {
      g_autofree char *safe = h2k_escape_text (node->path, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: %s is a folder, or too large for a file of a driver", tree->name, safe);
      return NULL;
    }
  return tree->iso ? h2k_iso_read (tree->iso, node->offset, node->size, error)
                   : read_from_folder (tree, node, error);
}
