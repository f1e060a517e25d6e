/* ext-check-dir.c - looks at every directory: its entries, and where it hangs in the tree.
 *
 * Documentation/filesystems/ext4: directory.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext-check.h"

#include <stdlib.h>

#define MAX_BLOCKS (1u << 20) /* of one directory */
#define HEADER 8u             /* of an entry, before its name */
#define MIN_ENTRY 12u

typedef struct
{
  ExtCheck *c;
  ExtCheckDir *dir;
  const struct ext2_inode_large *inode;
  GArray *leaves;   /* ExtCheckLeaf */
  GPtrArray *names; /* of a block: the entries */
  int hash_version;
  gboolean too_big;
} Walk;

static void say (const Walk *w, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
say (const Walk *w, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  h2k_fs_check_corrupt (w->c->result, "directory inode %u: %s", w->dir->ino, text);
}

static ExtCheckDir *
find_dir (ExtCheck *c, guint32 ino)
{
  guint low = 0, high = c->dirs->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      ExtCheckDir *dir = &g_array_index (c->dirs, ExtCheckDir, middle);
      if (dir->ino == ino)
        return dir;
      if (dir->ino < ino)
        low = middle + 1;
      else
        high = middle;
    }
  return NULL;
}

/* --- one entry -------------------------------------------------------------------------------- */

typedef struct
{
  const guint8 *raw, *name;
  guint32 ino;
  guint name_length, type, number; /* in its block */
} Entry;

static char *
quote (const Entry *e)
{
  return h2k_escape_text ((const char *)e->name, (gssize)e->name_length);
}

static gboolean
is_called (const Entry *e, const char *name)
{
  return e->name_length == strlen (name) && memcmp (e->name, name, e->name_length) == 0;
}

/* Whether an inode may have a name: not those that are the filesystem's own. */
static gboolean
may_have_name (const ExtCheck *c, guint32 ino)
{
  const struct ext2_super_block *super = c->fs->super;

  return ino <= super->s_inodes_count && (ino == EXT2_ROOT_INO || ino >= EXT2_FIRST_INODE (super));
}

static void
check_type (const Walk *w, const Entry *e, guint type)
{
  g_autofree char *name = NULL;
  gboolean typed = ext2fs_has_feature_filetype (w->c->fs->super);

  if (e->type == type || (!typed && e->type == 0))
    return;
  name = quote (e);
  if (typed && e->type == 0)
    h2k_fs_check_note (w->c->result, "directory inode %u: the entry \"%s\" has no type",
                       w->dir->ino, name);
  else
    say (w, "the entry \"%s\" is of type %u, the inode %u it leads to is of type %u", name, e->type,
         e->ino, type);
}

/* The directory to which an entry leads has this one as its parent, and no other. */
static void
set_parent (const Walk *w, const Entry *e)
{
  ExtCheckDir *dir = find_dir (w->c, e->ino);
  g_autofree char *name = NULL;

  if (!dir)
    return;
  if (!dir->parent && e->ino != EXT2_ROOT_INO)
    {
      dir->parent = w->dir->ino;
      return;
    }
  name = quote (e);
  say (w, "the entry \"%s\" is a second name of the directory inode %u", name, e->ino);
}

static void
check_name (const Walk *w, const Entry *e)
{
  gboolean encrypted = w->inode->i_flags & EXT4_ENCRYPT_FL;
  g_autofree char *name = quote (e);

  if (e->name_length == 0)
    say (w, "an entry that leads to inode %u has no name", e->ino);
  else if (is_called (e, ".") || is_called (e, ".."))
    say (w, "a second entry \"%s\"", name);
  else if (!encrypted
           && (memchr (e->name, '/', e->name_length) || memchr (e->name, 0, e->name_length)))
    say (w, "the name \"%s\" has a character that no name can have", name);
}

static void
note_hash (const Walk *w, const Entry *e, ExtCheckLeaf *leaf)
{
  ext2_dirhash_t hash, minor;

  if (w->hash_version < 0
      || ext2fs_dirhash (w->hash_version, (const char *)e->name, (int)e->name_length,
                         w->c->fs->super->s_hash_seed, &hash, &minor)
             != 0)
    return;
  leaf->min = MIN (leaf->min, hash);
  leaf->max = MAX (leaf->max, hash);
}

/* Where an entry leads to. FALSE: nowhere. */
static gboolean
check_target (const Walk *w, const Entry *e)
{
  const guint8 *state = h2k_ext_check_inode (w->c, e->ino);
  g_autofree char *name = NULL;
  gboolean named = may_have_name (w->c, e->ino);

  if (named && state && (*state & EXT_CHECK_USED))
    {
      check_type (w, e, *state & EXT_CHECK_TYPE);
      h2k_ext_check_link (w->c, e->ino);
      return TRUE;
    }
  name = quote (e);
  say (w, "the entry \"%s\" leads to inode %u, which %s", name, e->ino,
       named ? "is not in use" : "cannot have a name");
  return FALSE;
}

static void
check_entry (Walk *w, const Entry *e, ExtCheckLeaf *leaf)
{
  const guint8 *state;

  check_name (w, e);
  if (!check_target (w, e))
    return;
  state = h2k_ext_check_inode (w->c, e->ino);
  if ((*state & EXT_CHECK_TYPE) == EXT2_FT_DIR)
    set_parent (w, e);
  if (leaf)
    note_hash (w, e, leaf);
  g_ptr_array_add (w->names, (gpointer)e->raw);
}

/* The first two entries are always the same. */
static void
check_dot (Walk *w, const Entry *e)
{
  static const char *const names[] = {".", ".."};
  const char *name = names[e->number];

  if (!is_called (e, name) || !e->ino || (e->number == 0 && e->ino != w->dir->ino))
    {
      say (w, "its entry \"%s\" is missing or wrong", name);
      return;
    }
  if (check_target (w, e) && e->number == 1)
    w->dir->dotdot = e->ino;
}

/* --- one block -------------------------------------------------------------------------------- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  const guint8 *x = *(const guint8 *const *)a, *y = *(const guint8 *const *)b;

  /* Of the 16 bits only 8 are the length where entries have types; longer names there are not. */
  if (x[6] != y[6])
    return x[6] < y[6] ? -1 : 1;
  return memcmp (x + HEADER, y + HEADER, x[6]);
}

static void
check_same_names (Walk *w)
{
  g_ptr_array_sort (w->names, compare_names);
  for (guint i = 1; i < w->names->len; i++)
    if (compare_names (&w->names->pdata[i - 1], &w->names->pdata[i]) == 0)
      {
        const guint8 *raw = w->names->pdata[i];
        g_autofree char *name = h2k_escape_text ((const char *)raw + HEADER, raw[6]);
        say (w, "two entries are called \"%s\"", name);
      }
  g_ptr_array_set_size (w->names, 0);
}

/* The entries in SIZE bytes. DOTS: the first two are "." and "..". */
static void
check_entries (Walk *w, const guint8 *data, gsize size, gboolean dots, ExtCheckLeaf *leaf)
{
  gsize at = 0;

  for (guint n = 0; at < size; n++)
    {
      const guint8 *raw = data + at;
      Entry e = {.raw = raw, .name = raw + HEADER, .number = n};
      guint length = 0;

      if (size - at < MIN_ENTRY)
        break;
      ext2fs_get_rec_len (w->c->fs, (struct ext2_dir_entry *)raw, &length);
      e.ino = h2k_le32 (raw);
      e.name_length = raw[6];
      e.type = raw[7];
      if (length < MIN_ENTRY || length % 4 || length > size - at || e.name_length + HEADER > length)
        break;
      if (dots && n < 2)
        check_dot (w, &e);
      else if (e.ino)
        check_entry (w, &e, leaf);
      at += length;
    }
  if (at < size)
    say (w, "its entries cannot be followed behind byte %" G_GSIZE_FORMAT " of a block", at);
  check_same_names (w);
}

static gboolean
check_block (Walk *w, guint number, GError **error)
{
  ExtCheck *c = w->c;
  ExtCheckLeaf *leaf = &g_array_index (w->leaves, ExtCheckLeaf, number);
  gboolean ok;

  leaf->min = G_MAXUINT32;
  leaf->max = 0;
  if (!leaf->physical)
    {
      say (w, "its block %u is missing", number);
      return TRUE;
    }
  if (!h2k_ext_check_read (c, leaf->physical, c->block, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (!ext2fs_dir_block_csum_verify (c->fs, w->dir->ino, (struct ext2_dir_entry *)c->block))
    say (w, "its block %u (block %" G_GUINT64_FORMAT ") has a wrong checksum", number,
         leaf->physical);
  if (number == 0 && (w->inode->i_flags & EXT2_INDEX_FL))
    w->hash_version = h2k_ext_check_hash_version (c, w->inode, c->block);
  check_entries (w, c->block, c->fs->blocksize, number == 0, leaf);
  return TRUE;
}

/* --- one directory ---------------------------------------------------------------------------- */

static void
collect_run (ExtMap *map, guint64 logical, guint64 physical, guint64 count, gboolean written)
{
  Walk *w = map->data;
  guint old = w->leaves->len;

  if (logical + count > MAX_BLOCKS)
    {
      w->too_big = TRUE;
      return;
    }
  if (logical + count > old)
    g_array_set_size (w->leaves, (guint)(logical + count));
  for (guint64 i = 0; i < count; i++)
    g_array_index (w->leaves, ExtCheckLeaf, logical + i).physical = physical + i;
}

/* A small directory lies in its inode: its parent's number and entries, which may go on in an
 * attribute. */
static gboolean
check_inline (Walk *w, GError **error)
{
  ExtCheck *c = w->c;
  Entry self
      = {.name = (const guint8 *)".", .name_length = 1, .ino = w->dir->ino, .type = EXT2_FT_DIR};
  Entry parent = {.name = (const guint8 *)"..", .name_length = 2, .number = 1, .type = EXT2_FT_DIR};
  gsize size = 0, own = sizeof w->inode->i_block;
  g_autofree guint8 *data = NULL;
  errcode_t err = ext2fs_inline_data_size (c->fs, w->dir->ino, &size);

  if (!err && (size < own || size > c->fs->blocksize || size != EXT2_I_SIZE (w->inode)))
    err = EXT2_ET_DIR_CORRUPTED;
  if (!err)
    {
      data = g_malloc0 (size);
      err = ext2fs_inline_data_get (c->fs, w->dir->ino, (struct ext2_inode *)w->inode, data, &size);
    }
  if (err)
    return h2k_ext_check_failure (c, err, error, "directory inode %u: its content in the inode",
                                  w->dir->ino);
  check_dot (w, &self);
  parent.ino = h2k_le32 (data);
  check_dot (w, &parent);
  check_entries (w, data + 4, own - 4, FALSE, NULL);
  if (size > own)
    check_entries (w, data + own, size - own, FALSE, NULL);
  return TRUE;
}

static gboolean
check_blocks (Walk *w, GError **error)
{
  ExtCheck *c = w->c;
  ExtMap map = {
      .c = c, .ino = w->dir->ino, .inode = w->inode, .quiet = TRUE, .run = collect_run, .data = w};

  if (!h2k_ext_check_map (&map, error))
    return FALSE;
  if (w->too_big)
    say (w, "it is larger than a directory can be");
  c->claimed += w->leaves->len;
  if (c->claimed > 2 * c->end + 65536)
    c->stop = TRUE;
  for (guint i = 0; i < w->leaves->len && !c->stop; i++)
    if (!check_block (w, i, error))
      return FALSE;
  if (c->stop || w->too_big || !(w->inode->i_flags & EXT2_INDEX_FL))
    return TRUE;
  return h2k_ext_check_index (c, w->dir->ino, w->leaves, error);
}

static gboolean
check_dir (ExtCheck *c, ExtCheckDir *dir, GPtrArray *names, guint8 *raw, gsize size, GError **error)
{
  g_autoptr (GArray) leaves = g_array_new (FALSE, TRUE, sizeof (ExtCheckLeaf));
  Walk w = {.c = c,
            .dir = dir,
            .inode = (struct ext2_inode_large *)raw,
            .leaves = leaves,
            .names = names,
            .hash_version = -1};
  errcode_t err;

  memset (raw, 0, size);
  err = ext2fs_read_inode_full (c->fs, dir->ino, (struct ext2_inode *)raw, (int)size);
  if (err && err != EXT2_ET_INODE_CSUM_INVALID)
    return h2k_ext_check_failure (c, err, error, "inode %u cannot be read", dir->ino);
  if (w.inode->i_flags & EXT4_INLINE_DATA_FL)
    return check_inline (&w, error);
  return check_blocks (&w, error);
}

/* --- the tree --------------------------------------------------------------------------------- */

static void
check_place (ExtCheck *c, const ExtCheckDir *dir)
{
  if (dir->ino == EXT2_ROOT_INO)
    {
      if (dir->dotdot && dir->dotdot != EXT2_ROOT_INO)
        h2k_fs_check_corrupt (c->result, "\"..\" of the root leads to inode %u", dir->dotdot);
    }
  else if (!dir->parent)
    h2k_fs_check_corrupt (c->result, "the directory inode %u is in no directory", dir->ino);
  else if (dir->dotdot && dir->dotdot != dir->parent)
    h2k_fs_check_corrupt (c->result,
                          "the directory inode %u is in inode %u, but its \"..\" leads to %u",
                          dir->ino, dir->parent, dir->dotdot);
}

/* Go up from DIR, the search number SEARCH, until another search's path is met. */
static void
check_loop (ExtCheck *c, ExtCheckDir *dir, guint32 search)
{
  while (dir && !dir->visited)
    {
      dir->visited = search;
      dir = dir->parent ? find_dir (c, dir->parent) : NULL;
    }
  if (dir && dir->visited == search && dir->ino != EXT2_ROOT_INO)
    h2k_fs_check_corrupt (c->result, "the directory inode %u is below itself", dir->ino);
}

gboolean
h2k_ext_check_dirs (ExtCheck *c, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  gsize size = MAX (EXT2_INODE_SIZE (c->fs->super), sizeof (struct ext2_inode_large));
  g_autofree guint8 *raw = g_malloc (size);

  c->claimed = c->tree_blocks = 0;
  for (guint i = 0; i < c->dirs->len && !c->stop; i++)
    if (h2k_is_cancelled (c->cancellable, error)
        || !check_dir (c, &g_array_index (c->dirs, ExtCheckDir, i), names, raw, size, error))
      return FALSE;
  if (c->stop)
    {
      h2k_fs_check_corrupt (c->result, "the directories claim more blocks than there are");
      return TRUE;
    }
  if (!find_dir (c, EXT2_ROOT_INO))
    h2k_fs_check_corrupt (c->result, "there is no root directory");
  for (guint i = 0; i < c->dirs->len; i++)
    {
      ExtCheckDir *dir = &g_array_index (c->dirs, ExtCheckDir, i);
      check_place (c, dir);
      check_loop (c, dir, i + 1);
    }
  return TRUE;
}
