/* ext-check-map.c - follows the blocks of an inode, whichever way they are listed.
 *
 * Documentation/filesystems/ext4: ifork.rst. What follows is bounded: a block of a tree that is
 * taken already is not gone into, and in all there cannot be more of them than the filesystem has
 * blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext-check.h"

#include <sys/stat.h>

#define MAX_WRITTEN 32768u /* blocks of an extent; longer ones were never written */

static void say (const ExtMap *map, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
say (const ExtMap *map, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  if (map->quiet || !map->c->report)
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  h2k_fs_check_corrupt (map->c->result, "inode %u: %s", map->ino, text);
}

/* Of a block of the tree itself. FALSE: it must not be gone into. */
static gboolean
enter (ExtMap *map, guint64 block)
{
  ExtCheck *c = map->c;

  if (c->tree_blocks++ > c->end)
    c->stop = TRUE;
  if (c->stop)
    return FALSE;
  map->clusters++;
  map->previous = block;
  return map->quiet || h2k_ext_check_take (c, block >> c->bits, 1, map->ino);
}

/* --- extents ---------------------------------------------------------------------------------- */

typedef struct
{
  const guint8 *data; /* from its header on */
  guint next, n, depth;
  guint64 end; /* logical; what lies here must lie before it */
} Level;

static guint64
extent_start (const guint8 *p)
{
  return h2k_le32 (p + 8) | (guint64)h2k_le16 (p + 6) << 32;
}

static guint64
index_block (const guint8 *p)
{
  return h2k_le32 (p + 4) | (guint64)h2k_le16 (p + 8) << 32;
}

static gboolean
read_header (const guint8 *data, gsize size, Level *level)
{
  *level = (Level){.data = data, .end = G_MAXUINT64};
  if (ext2fs_extent_header_verify ((void *)data, (int)size) != 0)
    return FALSE;
  level->n = h2k_le16 (data + 2);
  level->depth = h2k_le16 (data + 6);
  return TRUE;
}

/* Why an extent cannot be; NULL: it can. */
static const char *
extent_fault (const ExtMap *map, const Level *level, guint64 logical, guint64 physical,
              guint32 count, gboolean written)
{
  const ExtCheck *c = map->c;
  gint64 size = (gint64)((EXT2_I_SIZE (map->inode) + c->fs->blocksize - 1) / c->fs->blocksize);
  gboolean beyond = !written && (gint64)(logical + count) > size;
  gboolean is_dir = S_ISDIR (map->inode->i_mode);

  if (!h2k_ext_check_is_inside (c, physical))
    return "starts outside the filesystem";
  if ((gint64)logical < map->last)
    return "is out of order";
  if (count == 0)
    return "has no blocks";
  if (logical + count > level->end && !beyond)
    return "reaches into the next part of the tree";
  if (count > c->end - physical)
    return "ends outside the filesystem";
  if (is_dir && !written)
    return "of a directory was never written";
  return NULL;
}

static void
take_extent (ExtMap *map, const Level *level, const guint8 *p)
{
  guint64 logical = h2k_le32 (p), physical = extent_start (p);
  guint32 count = h2k_le16 (p + 4);
  gboolean written = count <= MAX_WRITTEN;
  const char *fault;

  if (!written)
    count -= MAX_WRITTEN;
  fault = extent_fault (map, level, logical, physical, count, written);
  if (fault)
    {
      say (map, "the extent of its block %" G_GUINT64_FORMAT " (block %" G_GUINT64_FORMAT ") %s",
           logical, physical, fault);
      return;
    }
  map->run (map, logical, physical, count, written);
  map->last = (gint64)(logical + count - 1);
  map->previous = physical + count - 1;
  if (written)
    map->last_data = map->last;
}

/* Go from an entry of an index, at P in LEVEL, to the part of the tree below it. *BELOW has none of
 * it when it cannot be used. */
static gboolean
descend (ExtMap *map, const Level *level, const guint8 *p, guint8 *data, Level *below,
         GError **error)
{
  ExtCheck *c = map->c;
  guint64 block = index_block (p), logical = h2k_le32 (p);
  gboolean ok;

  *below = (Level){.data = data};
  if (!h2k_ext_check_is_inside (c, block) || (gint64)logical < map->last)
    {
      say (map, "the index of its extents leads to block %" G_GUINT64_FORMAT ", which is %s", block,
           (gint64)logical < map->last ? "out of order" : "outside the filesystem");
      return TRUE;
    }
  if (!enter (map, block))
    return TRUE;
  if (!h2k_ext_check_read (c, block, data, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (!read_header (data, c->fs->blocksize, below) || below->depth != level->depth - 1)
    {
      say (map, "block %" G_GUINT64_FORMAT " is no part of a tree of extents", block);
      below->n = 0;
      return TRUE;
    }
  if (!ext2fs_extent_block_csum_verify (c->fs, map->ino, (struct ext3_extent_header *)data))
    say (map, "block %" G_GUINT64_FORMAT " of its extents has a wrong checksum", block);
  if (below->n && h2k_le32 (data + 12) != logical)
    say (map,
         "block %" G_GUINT64_FORMAT " of its extents begins at %u instead of %" G_GUINT64_FORMAT,
         block, h2k_le32 (data + 12), logical);
  below->end = level->next < level->n ? h2k_le32 (p + 12) : level->end;
  return TRUE;
}

static gboolean
map_extents (ExtMap *map, GError **error)
{
  ExtCheck *c = map->c;
  Level levels[EXT_CHECK_DEPTH];
  guint n = 1;

  if (!read_header ((const guint8 *)map->inode->i_block, sizeof map->inode->i_block, &levels[0])
      || levels[0].depth >= EXT_CHECK_DEPTH)
    {
      say (map, "it has no valid list of extents");
      return TRUE;
    }
  while (n && !c->stop)
    {
      Level *level = &levels[n - 1];
      const guint8 *p;

      if (level->next == level->n)
        {
          n--;
          continue;
        }
      p = level->data + 12 + 12 * (gsize)level->next++;
      if (level->depth == 0)
        take_extent (map, level, p);
      else if (descend (map, level, p, c->levels[n], &levels[n], error))
        n++;
      else
        return FALSE;
    }
  return TRUE;
}

/* --- indirect blocks -------------------------------------------------------------------------- */

/* The resize inode lists blocks that the filesystem has for itself already, but for its first. */
static gboolean
is_resize (const ExtMap *map)
{
  return map->ino == EXT2_RESIZE_INO;
}

static void
take_block (ExtMap *map, guint64 logical, guint32 block)
{
  if (block == 0)
    return;
  if (!h2k_ext_check_is_inside (map->c, block))
    {
      say (map, "its block %" G_GUINT64_FORMAT " is %u, outside the filesystem", logical, block);
      return;
    }
  if (is_resize (map))
    map->clusters++;
  else
    map->run (map, logical, block, 1, TRUE);
  map->last = map->last_data = (gint64)logical;
  map->previous = block;
}

/* Read the indirect block BLOCK into DATA. *OK: it can be used. */
static gboolean
read_indirect (ExtMap *map, guint32 block, gboolean top, guint8 *data, gboolean *ok, GError **error)
{
  *ok = FALSE;
  if (!h2k_ext_check_is_inside (map->c, block))
    {
      say (map, "its indirect block %u is outside the filesystem", block);
      return TRUE;
    }
  if (is_resize (map) && !top)
    map->clusters++;
  else if (!enter (map, block))
    return TRUE;
  return h2k_ext_check_read (map->c, block, data, ok, error);
}

typedef struct
{
  guint next;
  guint64 step; /* blocks below one entry */
} Indirect;

/* The tree below BLOCK, with DEPTH (1 to 3) levels, from the file's block LOGICAL on. */
static gboolean
map_indirect (ExtMap *map, guint32 block, guint depth, guint64 logical, GError **error)
{
  ExtCheck *c = map->c;
  guint n_entries = c->fs->blocksize / 4, n = 1;
  Indirect levels[3] = {{0, depth == 1   ? 1
                            : depth == 2 ? n_entries
                                         : (guint64)n_entries * n_entries}};
  gboolean ok;

  if (!read_indirect (map, block, TRUE, c->levels[0], &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  while (n && !c->stop)
    {
      Indirect *level = &levels[n - 1];
      guint32 entry;

      if (level->next == n_entries)
        {
          n--;
          continue;
        }
      entry = h2k_le32 (c->levels[n - 1] + 4 * (gsize)level->next++);
      if (level->step == 1)
        take_block (map, logical, entry);
      else if (entry)
        {
          if (!read_indirect (map, entry, FALSE, c->levels[n], &ok, error))
            return FALSE;
          if (ok)
            {
              levels[n++] = (Indirect){0, level->step / n_entries};
              continue;
            }
        }
      logical += level->step;
    }
  return TRUE;
}

static gboolean
map_blocks (ExtMap *map, GError **error)
{
  guint64 logical = EXT2_NDIR_BLOCKS, size = map->c->fs->blocksize / 4, step = size;

  for (guint i = 0; i < EXT2_NDIR_BLOCKS; i++)
    take_block (map, i, map->inode->i_block[i]);
  for (guint depth = 1; depth <= 3; depth++)
    {
      guint32 block = map->inode->i_block[EXT2_NDIR_BLOCKS + depth - 1];
      if (block && !map_indirect (map, block, depth, logical, error))
        return FALSE;
      logical += step;
      step *= size;
    }
  return TRUE;
}

gboolean
h2k_ext_check_map (ExtMap *map, GError **error)
{
  map->last = map->last_data = -1;
  if (map->inode->i_flags & EXT4_EXTENTS_FL)
    return map_extents (map, error);
  return map_blocks (map, error);
}
