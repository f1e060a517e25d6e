/* ext-check-inode.c - looks at every inode: its fields, its extended attributes, its blocks.
 *
 * Documentation/filesystems/ext4: inodes.rst, attributes.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext-check.h"

#include <sys/stat.h>

#define SCAN_BLOCKS 32
#define MAX_DIRS (8u << 20)
#define TABLE_INODES 4096u /* between two looks at the clock */

typedef struct
{
  ExtCheck *c;
  guint32 ino;
  guint8 *raw; /* EXT2_INODE_SIZE bytes */
  const struct ext2_inode_large *inode;
  guint type; /* EXT2_FT_* */
  gboolean reserved;
  gboolean large_attributes; /* some have inodes of their own */
} Inode;

static void say (const Inode *i, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
say (const Inode *i, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  h2k_fs_check_corrupt (i->c->result, "inode %u: %s", i->ino, text);
}

static guint
type_of (guint mode)
{
  static const guint8 types[16] = {
      [S_IFREG >> 12] = EXT2_FT_REG_FILE, [S_IFDIR >> 12] = EXT2_FT_DIR,
      [S_IFCHR >> 12] = EXT2_FT_CHRDEV,   [S_IFBLK >> 12] = EXT2_FT_BLKDEV,
      [S_IFIFO >> 12] = EXT2_FT_FIFO,     [S_IFSOCK >> 12] = EXT2_FT_SOCK,
      [S_IFLNK >> 12] = EXT2_FT_SYMLINK,
  };

  return types[mode >> 12 & 15];
}

/* --- what is remembered ----------------------------------------------------------------------- */

/* Inodes that no directory has: the filesystem's own, and those that hold large attributes. */
static gboolean
is_hidden (const Inode *i)
{
  const struct ext2_super_block *super = i->c->fs->super;

#ifdef EXT4_FEATURE_COMPAT_ORPHAN_FILE
  if (i->ino == super->s_orphan_file_inum)
    return TRUE;
#endif
  return i->reserved || i->ino == super->s_prj_quota_inum || (i->inode->i_flags & EXT4_EA_INODE_FL);
}

/* Directories with more links than can be counted have one; the index is a must for that many. */
static gboolean
is_uncounted (const Inode *i)
{
  return is_hidden (i)
         || (i->type == EXT2_FT_DIR && i->inode->i_links_count == 1
             && ((i->inode->i_flags & EXT2_INDEX_FL)
                 || ext2fs_has_feature_dir_nlink (i->c->fs->super)));
}

static void
remember (const Inode *i)
{
  ExtCheck *c = i->c;
  guint8 *state = h2k_ext_check_inode (c, i->ino);
  guint links = i->inode->i_links_count;

  if (!state)
    return;
  if (is_uncounted (i))
    links = EXT_CHECK_UNCOUNTED;
  else if (links >= EXT_CHECK_UNCOUNTED)
    {
      g_hash_table_insert (c->links, GUINT_TO_POINTER (i->ino), GINT_TO_POINTER ((int)links));
      links = EXT_CHECK_MANY;
    }
  *state = (guint8)(i->type | EXT_CHECK_USED | links << EXT_CHECK_LINKS_SHIFT);
  if (i->type != EXT2_FT_DIR)
    return;
  if (c->dirs->len >= MAX_DIRS)
    {
      c->stop = TRUE;
      c->result->checked = FALSE;
      return;
    }
  g_array_append_val (c->dirs, ((ExtCheckDir){.ino = i->ino}));
}

/* --- fields ----------------------------------------------------------------------------------- */

/* A symbolic link without blocks has its target in the inode. */
static void
check_fast_link (const Inode *i)
{
  guint64 size = EXT2_I_SIZE (i->inode);

  if (i->inode->i_flags & EXT4_ENCRYPT_FL)
    return;
  if (strnlen ((const char *)i->inode->i_block, sizeof i->inode->i_block) != size)
    say (i, "the symbolic link's target is not as long as its size says (%" G_GUINT64_FORMAT ")",
         size);
}

static void
check_link (const Inode *i)
{
  guint64 size = EXT2_I_SIZE (i->inode);

  if (size == 0 || size > i->c->fs->blocksize || (i->inode->i_flags & EXT2_INDEX_FL))
    say (i, "a symbolic link with a size of %" G_GUINT64_FORMAT, size);
  else if (!(i->inode->i_flags & EXT4_INLINE_DATA_FL)
           && ext2fs_is_fast_symlink ((struct ext2_inode *)i->inode))
    check_fast_link (i);
  if ((i->inode->i_flags & EXT4_EXTENTS_FL)
      && (ext2fs_is_fast_symlink ((struct ext2_inode *)i->inode)
          || !ext2fs_inode_has_valid_blocks2 (i->c->fs, (struct ext2_inode *)i->inode)))
    say (i, "a short symbolic link with extents");
}

/* Devices, pipes and sockets have nothing but their inode. */
static void
check_special (const Inode *i)
{
  const guint32 none = EXT2_INDEX_FL | EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL;

  if (i->inode->i_flags & none)
    say (i, "a device, pipe or socket with flags (0x%x) of files with content", i->inode->i_flags);
  if (EXT2_I_SIZE (i->inode))
    say (i, "a device, pipe or socket with a size of %" G_GUINT64_FORMAT,
         (guint64)EXT2_I_SIZE (i->inode));
}

/* Ways to keep content that the filesystem has not, or that exclude each other. */
static void
check_flags (const Inode *i)
{
  struct ext2_super_block *super = i->c->fs->super;
  guint32 flags = i->inode->i_flags;
  gboolean extents = ext2fs_has_feature_extents (super);

  if ((flags & EXT4_INLINE_DATA_FL) && (flags & EXT4_EXTENTS_FL))
    say (i, "it has extents and holds its content itself, too");
  if ((flags & EXT4_EXTENTS_FL) && !extents)
    say (i, "it has extents, which the filesystem has not");
  if ((flags & EXT4_INLINE_DATA_FL) && !ext2fs_has_feature_inline_data (super))
    say (i, "it holds its content itself, which the filesystem does not do");
  if ((flags & EXT2_INDEX_FL) && (i->type != EXT2_FT_DIR || !ext2fs_has_feature_dir_index (super)))
    say (i, "it is marked as an indexed directory, which it is not");
  if ((flags & EXT4_CASEFOLD_FL)
      && (i->type != EXT2_FT_DIR || !ext2fs_has_feature_casefold (super)))
    say (i, "it is marked as a directory that ignores case, which it is not");
  if (extents && !(flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL))
      && (i->type == EXT2_FT_REG_FILE || i->type == EXT2_FT_DIR)
      && ext2fs_extent_header_verify ((void *)i->inode->i_block, sizeof i->inode->i_block) == 0)
    say (i, "it has extents, but is not marked as having them");
}

static void
check_fields (const Inode *i)
{
  const struct ext2_inode_large *inode = i->inode;
  struct ext2_super_block *super = i->c->fs->super;
  gboolean hurd = super->s_creator_os == EXT2_OS_HURD;

  if (i->ino == EXT2_ROOT_INO && i->type != EXT2_FT_DIR)
    say (i, "the root is no directory");
  if (i->reserved)
    return;
  if (i->type == 0)
    say (i, "its mode is impossible (0%o)", inode->i_mode);
  if (inode->i_dtime)
    h2k_fs_check_note (i->c->result, "inode %u: it is in use, but has a time of deletion", i->ino);
  if (inode->i_faddr
      || (!hurd && inode->osd2.linux2.l_i_file_acl_high && !ext2fs_has_feature_64bit (super))
      || (!hurd && inode->osd2.linux2.l_i_blocks_hi && !ext2fs_has_feature_huge_file (super)))
    say (i, "fields that must be zero are not");
  check_flags (i);
  if (i->type == EXT2_FT_SYMLINK)
    check_link (i);
  else if (i->type && i->type != EXT2_FT_REG_FILE && i->type != EXT2_FT_DIR)
    check_special (i);
}

/* Those that are reserved and have no use in this filesystem must be empty. */
static void
check_reserved (const Inode *i)
{
  const struct ext2_super_block *super = i->c->fs->super;
  guint mode = i->inode->i_mode;
  gboolean own = i->ino == super->s_journal_inum || i->ino == super->s_usr_quota_inum
                 || i->ino == super->s_grp_quota_inum || i->ino == EXT2_RESIZE_INO;
  gboolean ok = mode == 0;

  if (own)
    ok = ok || i->type == EXT2_FT_REG_FILE;
  else if (i->ino == EXT2_BOOT_LOADER_INO)
    ok = i->type != EXT2_FT_DIR;
  else if (i->ino == EXT4_USR_QUOTA_INO || i->ino == EXT4_GRP_QUOTA_INO)
    ok = !i->inode->i_links_count && !i->inode->i_blocks;
  if (!ok)
    say (i, "a reserved inode with an impossible mode (0%o)", mode);
}

/* --- extended attributes ---------------------------------------------------------------------- */

static gboolean
has_hash (const guint8 *entry, const guint8 *value)
{
  struct ext2_ext_attr_entry *e = (struct ext2_ext_attr_entry *)entry;
  guint32 hash = h2k_le32 (entry + 12);

  /* Names beyond ASCII were hashed in two ways. */
  for (guint i = 0; i < entry[0]; i++)
    if (entry[16 + i] & 0x80)
      return TRUE;
  return ext2fs_ext_attr_hash_entry (e, (void *)value) == hash;
}

/* The entries from DATA + FIRST on; their values lie at offsets from BASE, all in SIZE bytes. In an
 * inode a hash of 0 stands for none. *LARGE: some values lie elsewhere. NULL: they are valid, else
 * why not. */
static const char *
attributes_fault (const ExtCheck *c, const guint8 *data, gsize first, gsize base, gsize size,
                  gboolean in_inode, gboolean *large)
{
  gsize at = first, values = size;

  while (at + 4 <= size && h2k_le32 (data + at) != 0)
    {
      const guint8 *entry = data + at;
      gsize length = size - at >= 16 ? EXT2_EXT_ATTR_LEN (entry[0]) : size + 1;
      guint32 inum, value_size;
      gsize offset;

      if (length > size - at)
        return "an extended attribute reaches beyond its place";
      offset = base + h2k_le16 (entry + 2);
      inum = h2k_le32 (entry + 4);
      value_size = h2k_le32 (entry + 8);
      at += length;
      if (inum)
        {
          if (!ext2fs_has_feature_ea_inode (c->fs->super))
            return "an extended attribute lies in an inode, which the filesystem does not do";
          *large = TRUE;
          continue;
        }
      if (value_size == 0)
        continue;
      if (offset > size || value_size > size - offset
          || EXT2_EXT_ATTR_SIZE (value_size) > size - offset)
        return "the value of an extended attribute reaches beyond its place";
      values = MIN (values, offset);
      if (!(in_inode && h2k_le32 (entry + 12) == 0) && !has_hash (entry, data + offset))
        return "an extended attribute does not have the hash that it should have";
    }
  return at > values ? "values of extended attributes lie over their names" : NULL;
}

static void
check_body (Inode *i)
{
  ExtCheck *c = i->c;
  gsize size = EXT2_INODE_SIZE (c->fs->super);
  guint extra;
  gsize start;
  const char *fault;

  if (size <= EXT2_GOOD_OLD_INODE_SIZE)
    return;
  extra = i->inode->i_extra_isize;
  if (extra == 0)
    return;
  if (extra < 4 || extra > size - EXT2_GOOD_OLD_INODE_SIZE || extra % 4)
    {
      say (i, "an impossible extra size of %u", extra);
      return;
    }
  start = EXT2_GOOD_OLD_INODE_SIZE + extra;
  if (size - start < 8 || h2k_le32 (i->raw + start) != EXT2_EXT_ATTR_MAGIC)
    return;
  fault = attributes_fault (c, i->raw, start + 4, start + 4, size, TRUE, &i->large_attributes);
  if (fault)
    say (i, "%s", fault);
}

/* Content in the inode goes on in an attribute, which must be there even when it is empty. */
static gboolean
check_inline (const Inode *i, GError **error)
{
  gsize size;
  errcode_t err = ext2fs_inline_data_size (i->c->fs, i->ino, &size);

  if (!err || err == EXT2_ET_INODE_CSUM_INVALID)
    return TRUE;
  return h2k_ext_check_failure (i->c, err, error, "inode %u: its content in the inode", i->ino);
}

/* The attributes' block, when the first inode that refers to it is looked at. */
static gboolean
check_attribute_block (const Inode *i, guint64 block, ExtCheckShared *shared, GError **error)
{
  ExtCheck *c = i->c;
  const char *fault;
  gboolean ok;

  if (!h2k_ext_check_read (c, block, c->block, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (h2k_le32 (c->block) != EXT2_EXT_ATTR_MAGIC || h2k_le32 (c->block + 8) != 1)
    {
      say (i, "block %" G_GUINT64_FORMAT " has no extended attributes", block);
      return TRUE;
    }
  shared->recorded = h2k_le32 (c->block + 4);
  if (!ext2fs_ext_attr_block_csum_verify (c->fs, i->ino, block, (void *)c->block))
    say (i, "block %" G_GUINT64_FORMAT " of extended attributes has a wrong checksum", block);
  fault = attributes_fault (c, c->block, 32, 0, c->fs->blocksize, FALSE, &shared->large);
  if (fault)
    say (i, "block %" G_GUINT64_FORMAT ": %s", block, fault);
  return TRUE;
}

/* Blocks of attributes may be shared. *CLUSTERS: as the inode counts them. */
static gboolean
take_attributes (Inode *i, guint64 *clusters, GError **error)
{
  ExtCheck *c = i->c;
  guint64 block = ext2fs_file_acl_block (c->fs, (struct ext2_inode *)i->inode);
  ExtCheckShared *shared = NULL;

  if (block == 0)
    return TRUE;
  if (!h2k_ext_check_is_inside (c, block) || !ext2fs_has_feature_xattr (c->fs->super))
    {
      if (c->report)
        say (i, "its extended attributes are said to be in block %" G_GUINT64_FORMAT, block);
      return TRUE;
    }
  *clusters += 1;
  if (!c->report)
    return TRUE;
  shared = g_hash_table_lookup (c->attribute_blocks, GSIZE_TO_POINTER (block));
  if (!shared)
    {
      shared = g_new0 (ExtCheckShared, 1);
      shared->ino = i->ino;
      g_hash_table_insert (c->attribute_blocks, GSIZE_TO_POINTER (block), shared);
      if (!check_attribute_block (i, block, shared, error))
        return FALSE;
    }
  shared->owners++;
  i->large_attributes |= shared->large;
  return TRUE;
}

/* --- blocks and sizes ------------------------------------------------------------------------- */

static void
take_run (ExtMap *map, guint64 logical, guint64 physical, guint64 count, gboolean written)
{
  ExtCheck *c = map->c;
  guint64 first = physical >> c->bits, last = (physical + count - 1) >> c->bits;
  guint64 *beginning = map->data;

  if (logical == 0)
    *beginning = physical;
  /* What follows in the same cluster is no new one. */
  if (c->bits && map->previous && map->previous >> c->bits == first)
    first++;
  if (first > last)
    return;
  h2k_ext_check_take (c, first, last - first + 1, map->ino);
  map->clusters += last - first + 1;
}

/* The largest size that a list of blocks can reach. */
static guint64
largest_size (const ExtCheck *c, gboolean extents)
{
  guint64 n = c->fs->blocksize / 4;

  if (extents)
    return ((guint64)c->fs->blocksize << 32) - 1;
  return (EXT2_NDIR_BLOCKS + n + n * n + n * n * n) * c->fs->blocksize;
}

static void
check_dir_size (const Inode *i, const ExtMap *map)
{
  ExtCheck *c = i->c;
  guint64 size = EXT2_I_SIZE (i->inode), blocks = size / c->fs->blocksize;
  guint64 mapped = (guint64)(map->last + 1);

  if (i->inode->i_flags & EXT4_INLINE_DATA_FL)
    return;
  if (map->clusters == 0)
    say (i, "a directory without a block");
  else if (size % c->fs->blocksize || blocks > mapped
           || (blocks < mapped && mapped - blocks > c->fs->super->s_prealloc_dir_blocks))
    say (i, "a directory of %" G_GUINT64_FORMAT " bytes with %" G_GUINT64_FORMAT " blocks", size,
         mapped);
}

static void
check_file_size (const Inode *i, const ExtMap *map)
{
  guint64 size = EXT2_I_SIZE (i->inode);
  gboolean extents = i->inode->i_flags & EXT4_EXTENTS_FL;

  if (map->last_data >= 0 && size < (guint64)map->last_data * i->c->fs->blocksize
      && !(i->inode->i_flags & EXT4_VERITY_FL))
    say (i, "it has a size of %" G_GUINT64_FORMAT ", but data up to its block %" G_GINT64_FORMAT,
         size, map->last_data);
  else if (i->type == EXT2_FT_REG_FILE && size > G_MAXINT32
           && !ext2fs_has_feature_large_file (i->c->fs->super))
    say (i, "a size of %" G_GUINT64_FORMAT ", and the filesystem has no large files", size);
  else if (size > largest_size (i->c, extents))
    say (i, "a size of %" G_GUINT64_FORMAT " is more than it can have", size);
}

static void
check_size (const Inode *i, const ExtMap *map)
{
  ext2_filsys fs = i->c->fs;
  gboolean huge
      = ext2fs_has_feature_huge_file (fs->super) && (i->inode->i_flags & EXT4_HUGE_FILE_FL);
  guint64 blocks = map->clusters << i->c->bits;
  guint64 recorded = ext2fs_inode_i_blocks (fs, (struct ext2_inode *)i->inode);

  if (i->type == EXT2_FT_DIR)
    check_dir_size (i, map);
  else if (i->type != EXT2_FT_SYMLINK)
    check_file_size (i, map);
  if (!huge)
    blocks *= fs->blocksize / 512;
  /* Large attributes in inodes of their own count here, too. */
  if (blocks != recorded && i->ino != EXT2_BAD_INO && fs->super->s_creator_os != EXT2_OS_HURD
      && !i->large_attributes)
    say (i, "it counts %" G_GUINT64_FORMAT " blocks%s, but has %" G_GUINT64_FORMAT, recorded,
         huge ? "" : " of 512 bytes", blocks);
}

/* What stands in the first block of those whose content matters. */
static gboolean
check_content (const Inode *i, guint64 beginning, GError **error)
{
  ExtCheck *c = i->c;
  guint64 size = EXT2_I_SIZE (i->inode);
  gboolean journal = i->ino == c->fs->super->s_journal_inum, ok;
  gboolean link = i->type == EXT2_FT_SYMLINK && !(i->inode->i_flags & EXT4_ENCRYPT_FL);

  if (!beginning || (!journal && !link))
    return TRUE;
  if (!h2k_ext_check_read (c, beginning, c->block, &ok, error))
    return FALSE;
  /* JBD2_MAGIC_NUMBER, a superblock of version 1 or 2, and the block size. */
  if (ok && journal
      && (h2k_be32 (c->block) != 0xc03b3998 || h2k_be32 (c->block + 4) < 3
          || h2k_be32 (c->block + 4) > 4 || h2k_be32 (c->block + 12) != c->fs->blocksize
          || h2k_be32 (c->block + 16) > size / c->fs->blocksize))
    say (i, "the journal's superblock is not valid");
  else if (ok && link && strnlen ((const char *)c->block, c->fs->blocksize) != size)
    say (i, "the symbolic link's target is not as long as its size says (%" G_GUINT64_FORMAT ")",
         size);
  return TRUE;
}

static gboolean
take_blocks (Inode *i, GError **error)
{
  ExtCheck *c = i->c;
  struct ext2_inode *small = (struct ext2_inode *)i->inode;
  guint64 beginning = 0;
  ExtMap map = {.c = c,
                .ino = i->ino,
                .inode = i->inode,
                .run = take_run,
                .data = &beginning,
                .last = -1,
                .last_data = -1};

  if (!take_attributes (i, &map.clusters, error))
    return FALSE;
  if ((i->ino == EXT2_BAD_INO || ext2fs_inode_has_valid_blocks2 (c->fs, small))
      && !h2k_ext_check_map (&map, error))
    return FALSE;
  if (!c->report || c->stop)
    return TRUE;
  check_size (i, &map);
  return check_content (i, beginning, error);
}

/* --- all -------------------------------------------------------------------------------------- */

/* What an inode that is not in use should not look like. */
static void
check_unused (const Inode *i)
{
  if (i->inode->i_mode && !i->inode->i_dtime)
    h2k_fs_check_note (i->c->result, "inode %u: it is not in use, but was never deleted", i->ino);
}

/* The list of orphans goes through the times of deletion: one left looks like an inode's number.
 * Clocks that were that wrong themselves prove nothing. */
static void
check_orphan (const Inode *i)
{
  const struct ext2_super_block *super = i->c->fs->super;
  guint32 n = super->s_inodes_count, dtime = i->inode->i_dtime;

  if (dtime && dtime < n && (!super->s_wtime || super->s_wtime >= n)
      && (!super->s_mtime || super->s_mtime >= n)
      && (!super->s_mkfs_time || super->s_mkfs_time >= n))
    h2k_fs_check_note (i->c->result, "inode %u: it was left on the list of orphans", i->ino);
}

static gboolean
check_inode (Inode *i, gboolean bad_sum, GError **error)
{
  ExtCheck *c = i->c;

  i->reserved = i->ino < EXT2_FIRST_INODE (c->fs->super) && i->ino != EXT2_ROOT_INO;
  i->type = type_of (i->inode->i_mode);
  i->large_attributes = FALSE;
  if (c->report && bad_sum)
    say (i, "its checksum is wrong");
  if (c->report)
    check_orphan (i);
  if (!i->inode->i_links_count && !i->reserved)
    {
      if (c->report)
        check_unused (i);
      return TRUE;
    }
  if (c->report)
    {
      remember (i);
      check_fields (i);
      if (i->reserved)
        check_reserved (i);
      else
        check_body (i);
    }
  if (c->report && !i->reserved && (i->inode->i_flags & EXT4_INLINE_DATA_FL)
      && !check_inline (i, error))
    return FALSE;
  return take_blocks (i, error);
}

/* Libext2fs knows which parts of the tables are in use. */
static gboolean
scan (ExtCheck *c, ext2_inode_scan s, GError **error)
{
  gsize size = MAX (EXT2_INODE_SIZE (c->fs->super), sizeof (struct ext2_inode_large));
  g_autofree guint8 *raw = g_malloc0 (size);
  Inode i = {.c = c, .raw = raw, .inode = (struct ext2_inode_large *)raw};
  ext2_ino_t ino = 0;

  for (guint n = 0; !c->stop; n++)
    {
      errcode_t err = ext2fs_get_next_inode_full (s, &ino, (struct ext2_inode *)raw,
                                                  (int)EXT2_INODE_SIZE (c->fs->super));

      if (n % TABLE_INODES == 0 && h2k_is_cancelled (c->cancellable, error))
        return FALSE;
      if (n % TABLE_INODES == 0 && c->result->progress)
        c->result->progress ("check", (guint64)ino * EXT2_INODE_SIZE (c->fs->super),
                             (guint64)c->fs->super->s_inodes_count * EXT2_INODE_SIZE (c->fs->super),
                             c->result->progress_data);
      if (err == EXT2_ET_BAD_BLOCK_IN_INODE_TABLE)
        continue;
      if (err && err != EXT2_ET_INODE_CSUM_INVALID)
        {
          c->stop = TRUE;
          return h2k_ext_check_failure (c, err, error, "the tables of inodes cannot be read");
        }
      if (!ino)
        break;
      i.ino = ino;
      if (!check_inode (&i, err == EXT2_ET_INODE_CSUM_INVALID, error))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_ext_check_inodes (ExtCheck *c, GError **error)
{
  ext2_inode_scan s = NULL;
  errcode_t err;
  gboolean ok;

  /* It reads the list of bad blocks, too, which may lead anywhere. */
  h2k_ext_begin (c->ext, 0);
  err = ext2fs_open_inode_scan (c->fs, SCAN_BLOCKS, &s);
  h2k_ext_io_begin (c->fs, G_MAXUINT64);
  if (err)
    {
      c->stop = TRUE;
      return h2k_ext_check_failure (c, err, error, "the tables of inodes cannot be read");
    }
  ok = scan (c, s, error);
  ext2fs_close_inode_scan (s);
  return ok;
}
