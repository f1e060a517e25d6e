/* ext-check-index.c - looks at the index of a large directory, a tree over the hashes of names.
 *
 * Documentation/filesystems/ext4: directory.rst, "Hash Tree Directories".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext-check.h"

#define MAX_LEVELS 4u
#define ROOT_INFO 24u /* behind the entries "." and ".." */
#define NODE_START 8u /* behind an entry that is as long as the block */
#define BLOCK_MASK 0x0fffffffu

int
h2k_ext_check_hash_version (ExtCheck *c, const struct ext2_inode_large *inode, const guint8 *root)
{
  guint version = root[ROOT_INFO + 4];

  /* Names are hashed in other forms there. */
  if (inode->i_flags & (EXT4_CASEFOLD_FL | EXT4_ENCRYPT_FL))
    return -1;
  if (version > EXT2_HASH_TEA)
    return -1;
  return (int)version + (c->fs->super->s_flags & EXT2_FLAGS_UNSIGNED_HASH ? 3 : 0);
}

typedef struct
{
  const guint8 *entries; /* hash and block each; the first hash is the limit and the count */
  guint next, n;
  guint32 min, max;
} Level;

typedef struct
{
  ExtCheck *c;
  guint32 ino;
  GArray *leaves;
  Level levels[MAX_LEVELS];
  guint n_levels; /* of the index */
} Index;

static void say (const Index *x, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
say (const Index *x, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  h2k_fs_check_corrupt (x->c->result, "directory inode %u: its index: %s", x->ino, text);
}

/* The table at START of a block. */
static gboolean
open_level (const Index *x, const guint8 *data, gsize start, guint32 min, guint32 max, Level *level)
{
  gsize room = (x->c->fs->blocksize - start) / 8;
  guint limit = h2k_le16 (data + start), count = h2k_le16 (data + start + 2);
  guint32 previous = 0;

  *level = (Level){data + start, 0, count, min, max};
  if ((limit != room && limit != room - 1) || count == 0 || count > limit)
    {
      say (x, "it has %u of %u entries, where there is room for %" G_GSIZE_FORMAT, count, limit,
           room);
      level->n = 0;
      return FALSE;
    }
  for (guint i = 1; i < count; i++)
    {
      guint32 hash = h2k_le32 (level->entries + 8 * (gsize)i) & ~1u;
      if (i > 1 && hash < previous)
        {
          say (x, "its hashes are out of order");
          return TRUE;
        }
      previous = hash;
    }
  return TRUE;
}

static void
check_leaf (const Index *x, guint32 block, const ExtCheckLeaf *leaf, guint32 min, guint32 max)
{
  if (leaf->min <= leaf->max && (leaf->min < min || leaf->max > max))
    say (x, "names in its block %u have hashes from 0x%08x to 0x%08x, which belong elsewhere",
         block, leaf->min, leaf->max);
}

/* The entry NEXT of LEVEL: a leaf, or a part of the index that is read into DATA. *DOWN: go on
 * there. */
static gboolean
follow (Index *x, Level *level, gboolean to_leaf, guint8 *data, Level *below, gboolean *down,
        GError **error)
{
  const guint8 *entry = level->entries + 8 * (gsize)level->next;
  guint32 block = h2k_le32 (entry + 4) & BLOCK_MASK;
  guint32 min = level->next ? h2k_le32 (entry) & ~1u : level->min;
  guint32 max = level->next + 1 < level->n ? h2k_le32 (entry + 8) & ~1u : level->max;
  ExtCheckLeaf *leaf;
  gboolean ok;

  *down = FALSE;
  level->next++;
  if (block == 0 || block >= x->leaves->len)
    {
      say (x, "it leads to block %u of %u", block, x->leaves->len);
      return TRUE;
    }
  leaf = &g_array_index (x->leaves, ExtCheckLeaf, block);
  if (leaf->referenced)
    say (x, "it leads to block %u twice", block);
  if (leaf->referenced || !leaf->physical)
    return TRUE;
  leaf->referenced = TRUE;
  if (to_leaf)
    {
      check_leaf (x, block, leaf, min, max);
      return TRUE;
    }
  if (!h2k_ext_check_read (x->c, leaf->physical, data, &ok, error))
    return FALSE;
  *down = ok && open_level (x, data, NODE_START, min, max, below);
  return TRUE;
}

static gboolean
walk (Index *x, GError **error)
{
  guint n = 1;

  while (n)
    {
      Level *level = &x->levels[n - 1];
      gboolean down;

      if (level->next == level->n)
        {
          n--;
          continue;
        }
      if (!follow (x, level, n == x->n_levels, x->c->levels[n], &x->levels[n % MAX_LEVELS], &down,
                   error))
        return FALSE;
      n += down;
    }
  return TRUE;
}

/* What lies behind the entries "." and ".." of the first block. */
static gboolean
open_root (Index *x, const guint8 *root)
{
  const guint8 *info = root + ROOT_INFO;
  guint most = ext2fs_has_feature_largedir (x->c->fs->super) ? 3 : 2;

  if (h2k_le32 (info) != 0 || info[5] != 8 || info[6] >= most || (info[7] & 1)
      || (info[4] > EXT2_HASH_TEA && info[4] != EXT2_HASH_SIPHASH))
    {
      say (x, "its root is not valid");
      return FALSE;
    }
  x->n_levels = info[6] + 1u;
  return open_level (x, root, ROOT_INFO + 8, 0, G_MAXUINT32 - 1, &x->levels[0]);
}

gboolean
h2k_ext_check_index (ExtCheck *c, guint32 ino, GArray *leaves, GError **error)
{
  Index x = {.c = c, .ino = ino, .leaves = leaves};
  ExtCheckLeaf *first = leaves->len ? &g_array_index (leaves, ExtCheckLeaf, 0) : NULL;
  gboolean ok;

  if (!first || !first->physical)
    return TRUE;
  if (!h2k_ext_check_read (c, first->physical, c->levels[0], &ok, error))
    return FALSE;
  if (!ok || !open_root (&x, c->levels[0]))
    return TRUE;
  if (!walk (&x, error))
    return FALSE;
  for (guint i = 1; i < leaves->len; i++)
    if (!g_array_index (leaves, ExtCheckLeaf, i).referenced)
      {
        say (&x, "it does not lead to block %u", i);
        break;
      }
  return TRUE;
}
