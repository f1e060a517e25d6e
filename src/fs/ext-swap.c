/* ext-swap.c - where the swap files of an ext filesystem keep what was swapped out.
 *
 * Swap files are known by their header, and by a name with "swap" in it at the places where
 * installers and administrators put them: an image of a swap partition that somebody keeps as a
 * file is not one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"
#include "fs/usage.h"

#define MAX_FILES 64u     /* looking each one up walks the folder */
#define MAX_RANGES 65536u /* of all swap files: more pieces are kept */

static const char *const folders[] = {"/", "/swap"};

typedef struct
{
  ExtFs *ext;
  GArray *ranges;     /* H2kExtent: bytes of the volume */
  guint files;        /* looked at so far */
  guint64 start, end; /* of the file that is looked at: bytes that mean nothing */
  gboolean strange;
} Search;

static gboolean
has_swap_name (const char *name)
{
  g_autofree char *lower = g_ascii_strdown (name, -1);

  return strstr (lower, "swap") != NULL;
}

/* A block of the file: remember it if it holds nothing but swapped pages. */
static int
add_block (ext2_filsys fs, blk64_t *block, e2_blkcnt_t number, blk64_t parent, int offset,
           void *data)
{
  Search *search = data;
  guint64 at = (guint64)number * fs->blocksize, place = *block * fs->blocksize;
  H2kExtent *last = search->ranges->len
                        ? &g_array_index (search->ranges, H2kExtent, search->ranges->len - 1)
                        : NULL;

  if (number < 0 || at < search->start || at + fs->blocksize > search->end)
    return 0;
  if (*block < fs->super->s_first_data_block || *block >= ext2fs_blocks_count (fs->super)
      || search->ranges->len >= MAX_RANGES)
    {
      search->strange = TRUE;
      return BLOCK_ABORT;
    }
  if (last && last->offset + last->length == place)
    last->length += fs->blocksize;
  else
    {
      H2kExtent range = {place, fs->blocksize, H2K_EXTENT_UNALLOCATED};
      g_array_append_val (search->ranges, range);
    }
  return 0;
}

/* Whether the file is a swap space; START and END of SEARCH are set. */
static gboolean
is_swap_file (Search *search, const char *path, ExtInode *inode)
{
  guint64 size;
  g_autoptr (GBytes) header = NULL;
  const guint8 *data;
  gsize length;

  if (!h2k_ext_find (search->ext, path, inode, NULL) || !LINUX_S_ISREG (inode->small.i_mode)
      || inode->small.i_flags & (EXT4_ENCRYPT_FL | EXT4_INLINE_DATA_FL))
    return FALSE;
  size = EXT2_I_SIZE (&inode->small);
  header = search->ext->base.ops->read (&search->ext->base, path, 0,
                                        (gsize)MIN (size, H2K_SWAP_HEADER), NULL);
  data = header ? g_bytes_get_data (header, &length) : NULL;
  return data && h2k_swap_parse (path, data, length, size, &search->start, &search->end, NULL);
}

static void
look_at_file (Search *search, const char *path)
{
  guint before = search->ranges->len;
  ExtInode inode;
  errcode_t err;

  if (!is_swap_file (search, path, &inode))
    return;
  search->strange = FALSE;
  h2k_ext_begin (search->ext, search->end);
  err = ext2fs_block_iterate3 (search->ext->fs, inode.ino,
                               BLOCK_FLAG_DATA_ONLY | BLOCK_FLAG_READ_ONLY, NULL, add_block,
                               search);
  if (err || search->strange)
    {
      g_autofree char *quoted = h2k_ext_quote (path);
      g_info ("%s: %s is kept: where it lies is not clear", search->ext->base.volume->name, quoted);
      g_array_set_size (search->ranges, before);
    }
}

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const H2kExtent *p = a, *q = b;

  return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* Blocks that two files claim are nobody's to drop. */
static gboolean
overlap (const GArray *ranges)
{
  for (guint i = 1; i < ranges->len; i++)
    {
      const H2kExtent *last = &g_array_index (ranges, H2kExtent, i - 1);
      if (g_array_index (ranges, H2kExtent, i).offset < last->offset + last->length)
        return TRUE;
    }
  return FALSE;
}

GArray *
h2k_ext_swap_ranges (ExtFs *ext)
{
  g_autoptr (GArray) ranges = g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  Search search = {.ext = ext, .ranges = ranges};

  for (gsize i = 0; i < G_N_ELEMENTS (folders); i++)
    {
      g_autoptr (GPtrArray) names = ext->base.ops->list (&ext->base, folders[i], NULL);

      for (guint n = 0; names && n < names->len; n++)
        if (has_swap_name (names->pdata[n]) && search.files++ < MAX_FILES)
          {
            g_autofree char *path = g_build_filename (folders[i], names->pdata[n], NULL);
            look_at_file (&search, path);
          }
    }
  g_array_sort (ranges, compare_ranges);
  if (overlap (ranges))
    g_array_set_size (ranges, 0);
  return g_steal_pointer (&ranges);
}
