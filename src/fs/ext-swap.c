/* ext-swap.c - where the blocks of an ext filesystem's swap files lie.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"
#include "fs/usage.h"

typedef struct
{
  GArray *ranges;     /* H2kExtent: bytes of the volume */
  guint64 start, end; /* of the file: bytes that mean nothing */
  gboolean strange;
} Search;

/* A block of the file: remember it if it holds nothing but swapped pages. */
static int
add_block (ext2_filsys fs, blk64_t *block, e2_blkcnt_t number, blk64_t parent, int offset,
           void *data)
{
  Search *search = data;
  guint64 at = (guint64)number * fs->blocksize;

  if (number < 0 || at < search->start || at + fs->blocksize > search->end)
    return 0;
  search->strange = *block < fs->super->s_first_data_block
                    || *block >= ext2fs_blocks_count (fs->super)
                    || !h2k_swap_files_add (search->ranges, *block * fs->blocksize, fs->blocksize);
  return search->strange ? BLOCK_ABORT : 0;
}

gboolean
h2k_ext_swap_places (H2kFs *fs, const char *path, guint64 start, guint64 end, GArray *ranges)
{
  ExtFs *ext = (ExtFs *)fs;
  Search search = {.ranges = ranges, .start = start, .end = end};
  ExtInode inode;

  if (!h2k_ext_find (ext, path, &inode, NULL)
      || inode.small.i_flags & (EXT4_ENCRYPT_FL | EXT4_INLINE_DATA_FL))
    return FALSE;
  h2k_ext_begin (ext, end);
  return !ext2fs_block_iterate3 (ext->fs, inode.ino, BLOCK_FLAG_DATA_ONLY | BLOCK_FLAG_READ_ONLY,
                                 NULL, add_block, &search)
         && !search.strange;
}
