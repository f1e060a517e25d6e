/* ext-recover.c - brings a filesystem whose guest was not shut down into order: replays its journal
 * and clears up the files that were about to be removed or cut off, as the kernel does when it
 * mounts such a filesystem.
 *
 * Documentation/filesystems/ext4 of the Linux kernel: journal.rst, orphan.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"
#include "fs/jbd2.h"

#include <sys/stat.h>

/* What an overlay over a read-only volume may hold in memory before it uses a temporary file. */
#define OVERLAY_LIMIT (64u << 20)

/* --- the journal ------------------------------------------------------------------------------ */

typedef struct
{
  ExtFs *ext;
  ExtInode inode;
} JournalFile;

static gboolean
map_journal (gpointer data, guint32 index, guint64 *block, GError **error)
{
  JournalFile *file = data;
  errcode_t err;
  blk64_t found = 0;

  h2k_ext_begin (file->ext, 0);
  err = ext2fs_bmap2 (file->ext->fs, file->inode.ino, &file->inode.small, NULL, 0, index, NULL,
                      &found);
  *block = found;
  return err ? h2k_ext_fail (file->ext, err, error, "cannot find the journal's blocks") : TRUE;
}

/* The journal's inode; the superblock keeps a copy of where its blocks are. */
static gboolean
find_journal (ExtFs *ext, JournalFile *file, GError **error)
{
  struct ext2_super_block *super = ext->fs->super;
  ExtInode *inode = &file->inode;
  errcode_t err;

  file->ext = ext;
  inode->ino = super->s_journal_inum;
  if (!ext2fs_has_feature_journal (super))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the filesystem asks for its journal to be replayed but has none: run "
                           "e2fsck on a copy of the disk first");
  if (!inode->ino)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "the filesystem's journal, which has to be replayed, is on another "
                           "device: shut the virtual machine down cleanly first");

  h2k_ext_begin (ext, 0);
  err = ext2fs_read_inode_full (ext->fs, inode->ino, &inode->small, sizeof inode->large);
  if ((err || !S_ISREG (inode->small.i_mode) || !inode->small.i_links_count)
      && super->s_jnl_backup_type == EXT3_JNL_BACKUP_BLOCKS)
    {
      memset (&inode->large, 0, sizeof inode->large);
      memcpy (inode->small.i_block, super->s_jnl_blocks, EXT2_N_BLOCKS * 4);
      inode->small.i_size_high = super->s_jnl_blocks[15];
      inode->small.i_size = super->s_jnl_blocks[16];
      inode->small.i_mode = S_IFREG | 0600;
      inode->small.i_links_count = 1;
      if (h2k_le16 (inode->small.i_block) == EXT3_EXT_MAGIC)
        inode->small.i_flags = EXT4_EXTENTS_FL;
      err = 0;
    }
  if (err)
    return h2k_ext_fail (ext, err, error, "cannot read the journal's inode");
  if (!S_ISREG (inode->small.i_mode) || !inode->small.i_links_count)
    return h2k_ext_refuse (
        ext, H2K_ERROR_FILESYSTEM, error,
        "the journal's inode is corrupt: run e2fsck on a copy of the disk first");
  return TRUE;
}

/* Files of a read-only volume are looked at as they are after the replay. */
static void
put_overlay (ExtFs *ext)
{
  H2kDisk *volume = ext->base.volume;

  ext->base.volume = h2k_overlay_new (volume, NULL, OVERLAY_LIMIT);
  ext->changes = TRUE;
  h2k_disk_unref (volume);
}

/* The kernel does not mount what these say. */
static gboolean
check_replay (ExtFs *ext, const H2kReplay *replay, GError **error)
{
  if (!replay->failed_commit && !replay->fs_error)
    return TRUE;
  if (!ext->base.writable)
    {
      g_warning ("%s: the filesystem's journal has errors; its files are shown as they were before",
                 ext->base.volume->name);
      return TRUE;
    }
  if (replay->failed_commit)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "transaction %u in the filesystem's journal has a wrong checksum: run "
                           "e2fsck on it in the virtual machine, or on a copy of the disk, first",
                           replay->failed_commit);
  return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                         "the kernel has noted an error (%d) in the filesystem's journal: run "
                         "e2fsck on it in the virtual machine, or on a copy of the disk, first",
                         replay->fs_error);
}

gboolean
h2k_ext_replay_journal (ExtFs *ext, GError **error)
{
  JournalFile file = {0};
  H2kJournal journal = {.map = map_journal, .data = &file};
  H2kReplay replay;
  guint64 length;

  if (!ext->changes)
    put_overlay (ext);
  /* Checksums may be wrong as long as the journal has not been replayed. */
  if (!h2k_ext_reopen (ext, EXT2_FLAG_IGNORE_CSUM_ERRORS, error)
      || !find_journal (ext, &file, error))
    return FALSE;
  journal.block_size = ext->fs->blocksize;
  journal.fs_blocks = ext2fs_blocks_count (ext->fs->super);
  length = EXT2_I_SIZE (&file.inode.small) / journal.block_size;
  journal.length = (guint32)MIN (length, G_MAXUINT32);
  if (!h2k_jbd2_replay (ext->base.volume, &journal, &replay, error))
    {
      g_prefix_error (error, "%s: ", ext->base.volume->name);
      return FALSE;
    }
  ext->base.journal_replayed = replay.blocks > 0;
  ext->base.journal_blocks = replay.blocks;
  g_debug ("%s: journal: %u transactions, %" G_GUINT64_FORMAT " blocks written, %" G_GUINT64_FORMAT
           " revoked",
           ext->base.volume->name, replay.transactions, replay.blocks, replay.revoked);
  return check_replay (ext, &replay, error);
}

/* The kernel keeps the sums in the superblock up to date only now and then: add them up again. */
static void
sum_up (ext2_filsys fs)
{
  guint64 blocks = 0, inodes = 0;

  for (dgrp_t g = 0; g < fs->group_desc_count; g++)
    {
      blocks += ext2fs_bg_free_blocks_count (fs, g);
      inodes += ext2fs_bg_free_inodes_count (fs, g);
    }
  ext2fs_free_blocks_count_set (fs->super, EXT2FS_C2B (fs, blocks));
  fs->super->s_free_inodes_count = (guint32)MIN (inodes, fs->super->s_inodes_count);
}

gboolean
h2k_ext_finish_replay (ExtFs *ext, GError **error)
{
  sum_up (ext->fs);
  ext2fs_clear_feature_journal_needs_recovery (ext->fs->super);
  ext2fs_mark_super_dirty (ext->fs);
  return h2k_ext_sync (ext, error);
}

/* --- orphans ---------------------------------------------------------------------------------- */

/* Zero what lies behind the end of a file in its last block. */
static errcode_t
clear_tail (ext2_filsys fs, ExtInode *inode)
{
  guint64 size = EXT2_I_SIZE (&inode->small);
  g_autofree guint8 *block = g_malloc (fs->blocksize);
  gsize used = size % fs->blocksize;
  blk64_t physical = 0;
  int flags = 0;
  errcode_t err;

  if (used == 0)
    return 0;
  err = ext2fs_bmap2 (fs, inode->ino, &inode->small, NULL, 0, size / fs->blocksize, &flags,
                      &physical);
  if (err || !physical || (flags & BMAP_RET_UNINIT))
    return err;
  err = io_channel_read_blk64 (fs->io, physical, 1, block);
  if (err)
    return err;
  memset (block + used, 0, fs->blocksize - used);
  return io_channel_write_blk64 (fs->io, physical, 1, block);
}

/* A file that was being cut off when the guest stopped: its size is set already. */
static errcode_t
cut_off (ExtFs *ext, ExtInode *inode)
{
  ext2_filsys fs = ext->fs;
  guint64 size = EXT2_I_SIZE (&inode->small);
  guint64 first = size / fs->blocksize + (size % fs->blocksize ? 1 : 0);
  errcode_t err = 0;

  if (!(inode->small.i_flags & EXT4_INLINE_DATA_FL)
      && ext2fs_inode_has_valid_blocks2 (fs, &inode->small))
    {
      err = clear_tail (fs, inode);
      if (!err)
        err = h2k_ext_punch (ext, inode, first);
    }
  if (err)
    return err;
  inode->small.i_dtime = 0;
  return ext2fs_write_inode_full (fs, inode->ino, &inode->small, sizeof inode->large);
}

/* Clear up the orphan INO; *NEXT is the one that its inode leads to. */
static gboolean
clear_orphan (ExtFs *ext, ext2_ino_t ino, ext2_ino_t *next, GError **error)
{
  struct ext2_super_block *super = ext->fs->super;
  ExtInode inode = {.ino = ino};
  errcode_t err;

  if (ino < EXT2_FIRST_INODE (super) || ino > super->s_inodes_count)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the list of orphaned inodes is corrupt: run e2fsck on a copy of the "
                           "disk first");
  h2k_ext_begin (ext, 0);
  err = ext2fs_read_inode_full (ext->fs, ino, &inode.small, sizeof inode.large);
  if (!err)
    {
      if (next)
        *next = inode.small.i_dtime;
      h2k_ext_begin (ext, EXT2_I_SIZE (&inode.small));
      if (inode.small.i_links_count)
        err = cut_off (ext, &inode);
      else if (ext2fs_test_inode_bitmap2 (ext->fs->inode_map, ino))
        err = h2k_ext_release_inode (ext, &inode);
    }
  return err ? h2k_ext_fail (ext, err, error, "cannot clear up the orphaned inode %u", ino) : TRUE;
}

static gboolean
clear_list (ExtFs *ext, GError **error)
{
  ext2_ino_t ino = ext->fs->super->s_last_orphan;

  if (ino && !h2k_ext_load_bitmaps (ext, error))
    return FALSE;
  for (guint32 n = 0; ino; n++)
    {
      ext2_ino_t next = 0;
      if (n > ext->fs->super->s_inodes_count)
        return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                               "the list of orphaned inodes is a loop: run e2fsck on a copy of the "
                               "disk first");
      if (!clear_orphan (ext, ino, &next, error))
        return FALSE;
      ino = next;
      ext->fs->super->s_last_orphan = ino;
      ext2fs_mark_super_dirty (ext->fs);
    }
  return TRUE;
}

#ifdef EXT4_FEATURE_COMPAT_ORPHAN_FILE

/* A block of the orphan file: inode numbers and, at its end, a magic number and a checksum. */
static gboolean
clear_orphan_block (ExtFs *ext, ext2_ino_t file, guint64 physical, GError **error)
{
  ext2_filsys fs = ext->fs;
  g_autofree guint8 *block = g_malloc (fs->blocksize);
  guint n = (fs->blocksize - 8) / 4;
  errcode_t err;
  gboolean changed = FALSE;

  h2k_ext_begin (ext, 0);
  err = io_channel_read_blk64 (fs->io, physical, 1, block);
  if (err)
    return h2k_ext_fail (ext, err, error, "cannot read the file of orphaned inodes");
  if (h2k_le32 (block + fs->blocksize - 8) != EXT4_ORPHAN_BLOCK_MAGIC
      || !ext2fs_orphan_file_block_csum_verify (fs, file, physical, (char *)block))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the file of orphaned inodes is corrupt: run e2fsck on a copy of the "
                           "disk first");
  for (guint i = 0; i < n; i++)
    {
      ext2_ino_t ino = h2k_le32 (block + 4 * i);
      if (!ino)
        continue;
      if (!h2k_ext_load_bitmaps (ext, error) || !clear_orphan (ext, ino, NULL, error))
        return FALSE;
      memset (block + 4 * i, 0, 4);
      changed = TRUE;
    }
  if (!changed)
    return TRUE;
  h2k_ext_begin (ext, 0);
  err = ext2fs_orphan_file_block_csum_set (fs, file, physical, (char *)block);
  if (!err)
    err = io_channel_write_blk64 (fs->io, physical, 1, block);
  return err ? h2k_ext_fail (ext, err, error, "cannot write the file of orphaned inodes") : TRUE;
}

/* Larger files are not made by anybody: mke2fs limits them to 512 blocks. */
#  define MAX_ORPHAN_BLOCKS 4096u

static gboolean
clear_orphan_file (ExtFs *ext, GError **error)
{
  struct ext2_super_block *super = ext->fs->super;
  ExtInode file;
  guint64 blocks;

  if (!ext2fs_has_feature_orphan_present (super))
    return TRUE;
  if (!h2k_ext_read_inode (ext, super->s_orphan_file_inum, "the file of orphaned inodes", &file,
                           error))
    return FALSE;
  blocks = EXT2_I_SIZE (&file.small) / ext->fs->blocksize;
  for (guint64 i = 0; i < MIN (blocks, MAX_ORPHAN_BLOCKS); i++)
    {
      blk64_t physical = 0;
      errcode_t err;
      h2k_ext_begin (ext, 0);
      err = ext2fs_bmap2 (ext->fs, file.ino, &file.small, NULL, 0, i, NULL, &physical);
      if (!err && !physical)
        err = EXT2_ET_FILESYSTEM_CORRUPTED;
      if (err)
        return h2k_ext_fail (ext, err, error, "cannot find the blocks of the orphaned inodes");
      if (!clear_orphan_block (ext, file.ino, physical, error))
        return FALSE;
    }
  ext2fs_clear_feature_orphan_present (super);
  ext2fs_mark_super_dirty (ext->fs);
  return TRUE;
}

#else /* libext2fs before 1.47 */

static gboolean
clear_orphan_file (ExtFs *ext, GError **error)
{
  if (ext->fs->super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
    return h2k_ext_refuse (
        ext, H2K_ERROR_UNSUPPORTED, error,
        "the filesystem has orphaned inodes in a file (orphan_file), which needs "
        "libext2fs 1.47: shut the virtual machine down cleanly first");
  return TRUE;
}

#endif

gboolean
h2k_ext_clear_orphans (ExtFs *ext, GError **error)
{
  return clear_list (ext, error) && clear_orphan_file (ext, error);
}
