/* ext-names.c - looks names up in directories.
 *
 * libext2fs goes through a directory from its start and verifies the checksum of each block, every
 * time; who walks through a tree looks every name up. So the names of a directory are kept from the
 * second time on that something is looked up in it, until anything changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"

#define NAMES_MAX 262144u /* kept of all directories together */

typedef struct
{
  const char *name;
  gsize length;
  ext2_ino_t ino;
} Search;

static int
compare_entry (struct ext2_dir_entry *entry, const char *name, gsize length, gpointer data)
{
  Search *search = data;

  if (length != search->length || memcmp (name, search->name, length) != 0)
    return 0;
  search->ino = entry->inode;
  return DIRENT_ABORT;
}

/* Of a name that is there twice the first one counts. A name with a zero byte cannot be asked for.
 */
static int
keep_entry (struct ext2_dir_entry *entry, const char *name, gsize length, gpointer data)
{
  GHashTable *names = data;
  g_autofree char *key = g_strndup (name, length);

  if (strlen (key) == length && !g_hash_table_contains (names, key))
    g_hash_table_insert (names, g_steal_pointer (&key), GUINT_TO_POINTER (entry->inode));
  return g_hash_table_size (names) < NAMES_MAX ? 0 : DIRENT_ABORT;
}

void
h2k_ext_forget_names (ExtFs *ext)
{
  g_clear_pointer (&ext->names, g_hash_table_unref);
  ext->n_names = 0;
}

/* A place for the names of the directory INO, still empty. */
static void
add_names (ExtFs *ext, ext2_ino_t ino)
{
  if (!ext->names)
    ext->names = g_hash_table_new_full (NULL, NULL, NULL, (GDestroyNotify)g_hash_table_unref);
  g_hash_table_replace (ext->names, GUINT_TO_POINTER (ino),
                        g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL));
}

/* The names of DIR, name -> inode number; NULL: they are not kept. Borrowed. */
static GHashTable *
names_of (ExtFs *ext, const ExtInode *dir, const char *path)
{
  gpointer key = GUINT_TO_POINTER (dir->ino);
  GHashTable *names = ext->names ? g_hash_table_lookup (ext->names, key) : NULL;

  if (names && g_hash_table_size (names)) /* "." at least */
    return names;
  if (ext->n_names >= NAMES_MAX)
    {
      h2k_ext_forget_names (ext);
      names = NULL;
    }
  if (!names) /* the first time */
    {
      add_names (ext, dir->ino);
      return NULL;
    }
  /* Of a directory that is damaged in a part, what is before that can be found without this. */
  if (!h2k_ext_walk_dir (ext, dir, path, keep_entry, names, NULL)
      || g_hash_table_size (names) >= NAMES_MAX)
    {
      g_hash_table_remove (ext->names, key);
      return NULL;
    }
  ext->n_names += g_hash_table_size (names);
  return names;
}

gboolean
h2k_ext_lookup (ExtFs *ext, const ExtInode *dir, const char *path, const char *name, gsize length,
                ext2_ino_t *ino, GError **error)
{
  g_autofree char *key = g_strndup (name, length);
  Search search = {name, length};
  GHashTable *names = names_of (ext, dir, path);

  if (names)
    search.ino = GPOINTER_TO_UINT (g_hash_table_lookup (names, key));
  else if (!h2k_ext_walk_dir (ext, dir, path, compare_entry, &search, error))
    return FALSE;
  *ino = search.ino;
  return TRUE;
}
