/* btrfs-subvol.c - the subvolumes of a btrfs filesystem, and their paths: a subvolume's back
 * reference has its name and its directory, whose own references lead up to the top level.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs.h"

#define MAX_SUBVOLUMES 100000u
/* Of a path, with which also ends what goes in circles; and of all of them together. */
#define MAX_PATH 4096u
#define MAX_PATHS (64u << 20)
/* Names that are looked up in all, upwards and downwards. */
#define MAX_STEPS (4u << 20)

typedef struct
{
  BtrfsFs *fs;
  GPtrArray *subvolumes;
  guint64 default_id;
  gsize paths; /* bytes */
  guint steps;
} List;

static gboolean
too_many (const List *list, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: the btrfs filesystem has more subvolumes, or deeper nested ones, than can be "
               "listed",
               list->fs->base.volume->name);
  return FALSE;
}

/* Put "/NAME" before PATH. FALSE: no path has that. */
static gboolean
prepend (GString *path, const guint8 *name, gsize length)
{
  if (!length || length > 255 || path->len + length + 1 > MAX_PATH || memchr (name, 0, length)
      || memchr (name, '/', length))
    return FALSE;
  g_string_prepend_len (path, (const char *)name, (gssize)length);
  g_string_prepend_c (path, '/');
  return TRUE;
}

/* Go from the subvolume *ID, or the directory *DIR of it, to the directory that has it, and put the
 * name before PATH. *FOUND: whether there is one. Of a subvolume le64 0 is the directory, and le16
 * 16 the length of the name behind it; of a directory, whose key has it, le16 8. */
static gboolean
go_up (BtrfsFs *fs, guint64 *id, guint64 *dir, GString *path, gboolean *found, GError **error)
{
  gboolean is_root = *dir == BTRFS_FIRST_INODE;
  guint head = is_root ? 18 : 10;
  BtrfsRoot root = fs->volume.root_tree;
  g_auto (BtrfsCursor) cursor = {&fs->volume, &root};
  const BtrfsKey first = {is_root ? *id : *dir, is_root ? BTRFS_ROOT_BACKREF : BTRFS_INODE_REF, 0};

  *found = FALSE;
  if ((!is_root && !h2k_btrfs_get_subvolume (fs, *id, &root, error))
      || !h2k_btrfs_seek (&cursor, &first, error))
    return FALSE;
  if (!cursor.leaf || cursor.key.objectid != first.objectid || cursor.key.type != first.type
      || cursor.size < head || h2k_le16 (cursor.data + head - 2) > cursor.size - head)
    return TRUE;
  *found = prepend (path, cursor.data + head, h2k_le16 (cursor.data + head - 2));
  *dir = is_root ? h2k_le64 (cursor.data) : cursor.key.offset;
  if (is_root)
    *id = cursor.key.offset;
  return TRUE;
}

/* The path of the subvolume ID; *PATH stays NULL when there is none. */
static gboolean
find_path (List *list, guint64 id, char **path, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  guint64 tree = id, dir = BTRFS_FIRST_INODE;
  g_autoptr (GError) missing = NULL;
  gboolean found = TRUE;
  BtrfsInode inode;

  for (; found && (tree != BTRFS_TOP_TREE || dir != BTRFS_FIRST_INODE); list->steps += 2)
    if (list->steps >= MAX_STEPS)
      return too_many (list, error);
    else if (!h2k_btrfs_is_subvolume (tree))
      return TRUE;
    else if (!go_up (list->fs, &tree, &dir, text, &found, error))
      return FALSE;
  if (!found)
    return TRUE;
  if (!text->len)
    g_string_append_c (text, '/');
  /* The way down says whether that is so. */
  if (!h2k_btrfs_find (list->fs, text->str, &inode, &missing))
    {
      if (g_error_matches (missing, H2K_ERROR, H2K_ERROR_FAILED))
        return TRUE;
      g_propagate_error (error, g_steal_pointer (&missing));
      return FALSE;
    }
  if (inode.root.owner == id && inode.number == BTRFS_FIRST_INODE)
    *path = g_strndup (text->str, text->len);
  return TRUE;
}

static gboolean
is_snapshot (const guint8 *item, guint32 size)
{
  return size >= ROOT_SIZE_2 && memcmp (item + ROOT_GENERATION, item + ROOT_GENERATION_2, 8) == 0
         && !h2k_is_zero (item + ROOT_PARENT_UUID, 16);
}

/* Add the subvolume whose item CURSOR is at, unless it is being deleted or cannot be reached. */
static gboolean
add_subvolume (List *list, const BtrfsCursor *cursor, GError **error)
{
  const guint8 *item = cursor->data;
  g_autofree char *path = NULL;
  H2kSubvolume *subvolume;

  if (cursor->size <= ROOT_LEVEL)
    return h2k_btrfs_corrupt (cursor->volume, error, "a subvolume's item is cut off");
  if (h2k_le32 (item + ROOT_REFS) == 0)
    return TRUE;
  if (!find_path (list, cursor->key.objectid, &path, error))
    return FALSE;
  if (!path)
    return TRUE;
  list->paths += strlen (path);
  if (list->subvolumes->len >= MAX_SUBVOLUMES || list->paths > MAX_PATHS)
    return too_many (list, error);
  subvolume = g_new0 (H2kSubvolume, 1);
  subvolume->id = cursor->key.objectid;
  subvolume->path = g_steal_pointer (&path);
  subvolume->is_default = subvolume->id == list->default_id;
  subvolume->is_snapshot = is_snapshot (item, cursor->size);
  subvolume->is_readonly = h2k_le64 (item + ROOT_FLAGS) & ROOT_FLAG_READONLY;
  g_ptr_array_add (list->subvolumes, subvolume);
  return TRUE;
}

/* The entry "default" of the root tree's directory; without it, the top level is. */
static gboolean
find_default (List *list, GError **error)
{
  BtrfsVolume *volume = &list->fs->volume;
  g_auto (BtrfsCursor) cursor = {volume, &volume->root_tree};
  BtrfsEntry entry;

  list->default_id = BTRFS_TOP_TREE;
  if (!h2k_btrfs_find_entry (&cursor, volume->root_dir, BTRFS_DIR_ITEM, "default", &entry, error))
    return FALSE;
  if (cursor.leaf)
    list->default_id = entry.location.objectid;
  return TRUE;
}

GPtrArray *
h2k_btrfs_subvolumes (H2kFs *base, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_autoptr (GPtrArray) subvolumes
      = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_subvolume_free);
  g_auto (BtrfsCursor) cursor = {&fs->volume, &fs->volume.root_tree};
  List list = {.fs = fs, .subvolumes = subvolumes};
  BtrfsKey key = {BTRFS_TOP_TREE, BTRFS_ROOT_ITEM, 0};

  if (!find_default (&list, error) || !h2k_btrfs_seek (&cursor, &key, error))
    return NULL;
  /* Trees with a purpose, and inodes of caches, are in between. */
  while (cursor.leaf && cursor.key.objectid >> 48 == 0)
    {
      if (cursor.key.type == BTRFS_ROOT_ITEM && h2k_btrfs_is_subvolume (cursor.key.objectid)
          && !add_subvolume (&list, &cursor, error))
        return NULL;
      if (!h2k_btrfs_next (&cursor, error))
        return NULL;
    }
  return g_steal_pointer (&subvolumes);
}
