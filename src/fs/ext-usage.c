/* ext-usage.c - which blocks of an ext2, ext3 or ext4 filesystem are in use.
 *
 * From the block bitmaps on the disk, read group by group when they are asked for: all of a large
 * filesystem's bitmaps would not fit in memory. A bitmap that cannot be trusted (its checksum or
 * its count of free blocks is wrong) counts as full, because too much is copied then, not too
 * little. For the same reason what lies outside of all groups is in use: the boot block before the
 * first one and the rest of the volume behind the last one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/bits.h"
#include "fs/ext.h"
#include "fs/usage.h"

#define N_CACHED 32u
/* Groups that are looked at to make one extent longer. */
#define MAX_MERGE 256u

typedef struct
{
  guint64 group; /* G_MAXUINT64: none */
  guint8 *bits;  /* one a cluster, 1: in use; NULL: the whole group is in use */
} Group;

typedef struct
{
  H2kUsage base;
  ExtFs *ext;
  Group groups[N_CACHED]; /* group G can only be in slot G % N_CACHED */
  gsize bytes;            /* of a bitmap */
  GArray *swap;           /* H2kExtent: what of the used blocks is dropped; sorted */
} ExtUsage;

static guint
clusters_in_group (ext2_filsys fs, dgrp_t group)
{
  return (guint)EXT2FS_NUM_B2C (fs, (guint)ext2fs_group_blocks_count (fs, group));
}

static void
set_bits (guint8 *bits, guint from, guint to)
{
  for (guint i = from; i < to; i++)
    bits[i / 8] |= (guint8)(1 << (i % 8));
}

/* Mark the COUNT blocks from FIRST on as far as they lie in GROUP. */
static void
mark_blocks (ext2_filsys fs, dgrp_t group, guint8 *bits, guint64 first, guint64 count)
{
  guint64 start = ext2fs_group_first_block2 (fs, group);
  guint64 end = start + (guint64)ext2fs_group_blocks_count (fs, group);
  guint64 from = MAX (first, start), to = MIN (first + count, end);

  if (from < to)
    set_bits (bits, (guint)((from - start) >> fs->cluster_ratio_bits),
              (guint)(((to - 1 - start) >> fs->cluster_ratio_bits) + 1));
}

/* A group whose bitmap was never written holds nothing but the filesystem's own structures. */
static void
make_bitmap (ext2_filsys fs, dgrp_t group, guint8 *bits)
{
  dgrp_t flex = fs->super->s_log_groups_per_flex < 31 ? 1u << fs->super->s_log_groups_per_flex : 1;
  dgrp_t first = ext2fs_has_feature_flex_bg (fs->super) ? group - group % flex : group;
  dgrp_t last = MIN (fs->group_desc_count, first + MIN (flex, 65536u));
  blk64_t super = 0, old_desc = 0, new_desc = 0;
  blk_t used = 0;

  if (ext2fs_super_and_bgd_loc2 (fs, group, &super, &old_desc, &new_desc, &used) == 0)
    {
      guint64 start = ext2fs_group_first_block2 (fs, group);
      if (super || group == 0)
        mark_blocks (fs, group, bits, start, 1);
      if (old_desc)
        mark_blocks (fs, group, bits, old_desc,
                     fs->desc_blocks + (guint64)fs->super->s_reserved_gdt_blocks);
      if (new_desc)
        mark_blocks (fs, group, bits, new_desc, 1);
    }
  for (dgrp_t g = first; g < last; g++)
    {
      mark_blocks (fs, group, bits, ext2fs_block_bitmap_loc (fs, g), 1);
      mark_blocks (fs, group, bits, ext2fs_inode_bitmap_loc (fs, g), 1);
      mark_blocks (fs, group, bits, ext2fs_inode_table_loc (fs, g), fs->inode_blocks_per_group);
    }
}

static gboolean
is_trusted (ext2_filsys fs, dgrp_t group, guint8 *block, gsize bytes)
{
  guint clusters = clusters_in_group (fs, group), in_use = 0;

  if (!ext2fs_block_bitmap_csum_verify (fs, group, (char *)block, (int)bytes))
    return FALSE;
  for (guint i = 0; i < clusters / 8; i++)
    in_use += (guint)__builtin_popcount (block[i]);
  for (guint i = clusters / 8 * 8; i < clusters; i++)
    in_use += h2k_bit_get (block, i);
  return clusters - in_use == ext2fs_bg_free_blocks_count (fs, group);
}

/* Read the bitmap of GROUP into BLOCK; *FULL is set when it cannot be trusted. */
static errcode_t
read_bitmap (ext2_filsys fs, dgrp_t group, guint8 *block, gsize bytes, gboolean *full)
{
  errcode_t err;

  *full = FALSE;
  if (ext2fs_has_group_desc_csum (fs) && ext2fs_bg_flags_test (fs, group, EXT2_BG_BLOCK_UNINIT))
    {
      *full = !ext2fs_group_desc_csum_verify (fs, group);
      memset (block, 0, fs->blocksize);
      make_bitmap (fs, group, block);
      return 0;
    }
  err = io_channel_read_blk64 (fs->io, ext2fs_block_bitmap_loc (fs, group), 1, block);
  *full = !err && !is_trusted (fs, group, block, bytes);
  return err;
}

static gboolean
get_group (ExtUsage *usage, dgrp_t group, const guint8 **bits, GError **error)
{
  ext2_filsys fs = usage->ext->fs;
  Group *slot = &usage->groups[group % N_CACHED];
  gboolean full;
  errcode_t err;

  if (slot->group != group)
    {
      g_autofree guint8 *block = g_malloc (fs->blocksize);
      slot->group = G_MAXUINT64;
      g_clear_pointer (&slot->bits, g_free);
      err = read_bitmap (fs, group, block, usage->bytes, &full);
      if (err)
        return h2k_ext_fail (usage->ext, err, error, "cannot read the block bitmap of group %u",
                             group);
      if (!full)
        slot->bits = g_steal_pointer (&block);
      slot->group = group;
    }
  *bits = slot->bits;
  return TRUE;
}

/* How many of the clusters from FIRST to END are in the state USED, without a gap. */
static guint
run_length (const guint8 *bits, guint first, guint end, gboolean used)
{
  if (!bits)
    return used ? end - first : 0;
  return (guint)h2k_bit_run (bits, first, end, used);
}

/* The extent of the filesystem's own blocks at BLOCK. */
static gboolean
used_blocks (ExtUsage *usage, guint64 block, guint64 *count, gboolean *used, GError **error)
{
  ext2_filsys fs = usage->ext->fs;
  dgrp_t group = ext2fs_group_of_blk2 (fs, block);

  *count = 0;
  for (guint merged = 0; merged < MAX_MERGE && group < fs->group_desc_count; merged++, group++)
    {
      guint64 start = ext2fs_group_first_block2 (fs, group);
      guint64 blocks = (guint64)ext2fs_group_blocks_count (fs, group);
      guint first = (guint)((block + *count - start) >> fs->cluster_ratio_bits);
      guint end = clusters_in_group (fs, group), run;
      const guint8 *bits = NULL;

      if (!get_group (usage, group, &bits, error))
        return FALSE;
      if (merged == 0)
        *used = !bits || h2k_bit_get (bits, first);
      run = run_length (bits, first, end, *used);
      if (run == 0)
        break;
      *count = MIN (((guint64)(first + run) << fs->cluster_ratio_bits), blocks) + start - block;
      if (first + run < end)
        break;
    }
  return TRUE;
}

static gboolean
ext_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  ExtUsage *usage = (ExtUsage *)base;
  ext2_filsys fs = usage->ext->fs;
  guint size = fs->blocksize;
  guint64 first = (guint64)fs->super->s_first_data_block * size;
  guint64 end = ext2fs_blocks_count (fs->super) * size;
  guint64 count;
  gboolean used = TRUE;

  extent->offset = offset;
  extent->kind = H2K_EXTENT_DATA;
  if (offset < first || offset >= end)
    {
      extent->length = (offset < first ? first : base->volume->size) - offset;
      return TRUE;
    }
  /* Bitmaps are one block each. */
  if (fs->super->s_clusters_per_group > size * 8)
    {
      extent->length = end - offset;
      return TRUE;
    }
  h2k_ext_begin (usage->ext, 0);
  if (!used_blocks (usage, offset / size, &count, &used, error))
    return FALSE;
  extent->length = (offset / size + count) * size - offset;
  extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  if (used)
    h2k_swap_files_leave_out (usage->swap, extent);
  return TRUE;
}

static void
ext_usage_close (H2kUsage *base)
{
  ExtUsage *usage = (ExtUsage *)base;

  for (guint i = 0; i < N_CACHED; i++)
    g_free (usage->groups[i].bits);
  g_array_unref (usage->swap);
  if (usage->ext)
    h2k_fs_free (&usage->ext->base);
  g_free (usage);
}

static H2kUsage *
ext_usage_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  g_autoptr (H2kFs) fs = h2k_ext_open_read_only (volume, id, error);
  ExtUsage *usage;

  if (!fs)
    return NULL;
  if (fs->journal_replayed)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: its journal has not been replayed",
                   volume->name);
      return NULL;
    }
  usage = g_new0 (ExtUsage, 1);
  h2k_usage_init (&usage->base, &h2k_ext_usage_ops, volume);
  usage->ext = (ExtFs *)g_steal_pointer (&fs);
  usage->bytes = usage->ext->fs->super->s_clusters_per_group / 8;
  for (guint i = 0; i < N_CACHED; i++)
    usage->groups[i].group = G_MAXUINT64;
  usage->swap = drop_swap ? h2k_swap_files_find (&usage->ext->base, h2k_ext_swap_places)
                          : g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  return &usage->base;
}

const H2kUsageOps h2k_ext_usage_ops = {
    .name = "ext",
    .takes = h2k_ext_takes,
    .open = ext_usage_open,
    .used = ext_used,
    .close = ext_usage_close,
};
