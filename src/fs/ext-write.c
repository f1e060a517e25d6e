/* ext-write.c - changes files and directories of ext2, ext3 and ext4.
 *
 * Everything goes straight through libext2fs into the volume, except the bitmaps, the group
 * descriptors and the superblock, which h2k_ext_flush() writes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"

#include <stddef.h>
#include <sys/stat.h>

#ifndef EXT4_VERITY_FL
#  define EXT4_VERITY_FL 0x00100000
#endif

/* --- what may be changed ---------------------------------------------------------------------- */

gboolean
h2k_ext_load_bitmaps (ExtFs *ext, GError **error)
{
  errcode_t err;

  if (ext->fs->block_map && ext->fs->inode_map)
    return TRUE;
  err = ext2fs_read_bitmaps (ext->fs);
  if (err)
    return h2k_ext_fail (ext, err, error,
                         "cannot read the block bitmaps; run e2fsck on a copy of the disk first");
  return TRUE;
}

/* Begin an operation that changes the filesystem. */
static gboolean
begin_change (ExtFs *ext, guint64 length, GError **error)
{
  if (!ext->base.writable)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the filesystem is open for reading only");
  h2k_ext_begin (ext, length);
  return h2k_ext_load_bitmaps (ext, error);
}

static gboolean
check_file_flags (ExtFs *ext, const ExtInode *inode, const char *quoted, GError **error)
{
  if (inode->small.i_flags & EXT4_ENCRYPT_FL)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: encrypted (fscrypt), cannot be changed", quoted);
  if (inode->small.i_flags & EXT4_VERITY_FL)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: protected by fs-verity, cannot be changed", quoted);
  if (!S_ISREG (inode->small.i_mode))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: not a regular file", quoted);
  return TRUE;
}

static gboolean
check_dir_flags (ExtFs *ext, const ExtInode *dir, const char *quoted, GError **error)
{
  if (dir->small.i_flags & EXT4_ENCRYPT_FL)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: its directory is encrypted (fscrypt)", quoted);
  if (dir->small.i_flags & EXT4_CASEFOLD_FL)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: names in a directory without case (casefold) cannot be changed",
                           quoted);
  return TRUE;
}

/* --- inodes ----------------------------------------------------------------------------------- */

/* Whether the inode on disk has the field that ends at END bytes. */
static gboolean
has_field (const ExtFs *ext, const ExtInode *inode, gsize end)
{
  return EXT2_INODE_SIZE (ext->fs->super) > EXT2_GOOD_OLD_INODE_SIZE
         && (gsize)EXT2_GOOD_OLD_INODE_SIZE + inode->large.i_extra_isize >= end;
}

#define HAS_FIELD(ext, inode, field)                                                               \
  has_field (ext, inode,                                                                           \
             offsetof (struct ext2_inode_large, field)                                             \
                 + sizeof ((struct ext2_inode_large *)0)->field)

/* A time stamp: NANOSECONDS below the two bits that extend the seconds to 34 bits. */
static void
pack_time (gint64 seconds, guint32 nanoseconds, gboolean has_extra, guint32 *low, guint32 *extra)
{
  if (!has_extra)
    {
      *low = (guint32)CLAMP (seconds, G_MININT32, G_MAXINT32);
      return;
    }
  *low = (guint32)seconds;
  *extra = (guint32)(((seconds - (gint32)(guint32)seconds) >> 32) & 3) | nanoseconds << 2;
}

#define SET_TIME(ext, inode, name, seconds, nanoseconds)                                           \
  G_STMT_START                                                                                     \
  {                                                                                                \
    guint32 low_, extra_ = 0;                                                                      \
    gboolean has_extra_ = HAS_FIELD (ext, inode, name##_extra);                                    \
    pack_time (seconds, nanoseconds, has_extra_, &low_, &extra_);                                  \
    (inode)->large.name = low_;                                                                    \
    if (has_extra_)                                                                                \
      (inode)->large.name##_extra = extra_;                                                        \
  }                                                                                                \
  G_STMT_END

static void
touch (const ExtFs *ext, ExtInode *inode, gboolean content)
{
  gint64 now = g_get_real_time ();
  gint64 seconds = now / G_USEC_PER_SEC;
  guint32 nanoseconds = (guint32)(now % G_USEC_PER_SEC) * 1000;

  SET_TIME (ext, inode, i_ctime, seconds, nanoseconds);
  if (content)
    SET_TIME (ext, inode, i_mtime, seconds, nanoseconds);
}

static errcode_t
reread (ExtFs *ext, ExtInode *inode)
{
  return ext2fs_read_inode_full (ext->fs, inode->ino, &inode->small, sizeof inode->large);
}

static errcode_t
write_inode (ExtFs *ext, ExtInode *inode)
{
  return ext2fs_write_inode_full (ext->fs, inode->ino, &inode->small, sizeof inode->large);
}

/* Set ctime, and mtime when CONTENT says so, of what libext2fs may have changed meanwhile. */
static errcode_t
touch_on_disk (ExtFs *ext, ExtInode *inode, gboolean content)
{
  errcode_t err = reread (ext, inode);

  if (err)
    return err;
  touch (ext, inode, content);
  return write_inode (ext, inode);
}

static void
set_owner (ExtInode *inode, guint32 uid, guint32 gid)
{
  inode->large.i_uid = (guint16)uid;
  ext2fs_set_i_uid_high (inode->large, uid >> 16);
  inode->large.i_gid = (guint16)gid;
  ext2fs_set_i_gid_high (inode->large, gid >> 16);
}

/* --- freeing blocks --------------------------------------------------------------------------- */

/* Whether an extent ends with the filesystem's last block; an error when one goes past it. */
static errcode_t
touches_end (ext2_filsys fs, ExtInode *inode, gboolean *touches)
{
  guint64 blocks = ext2fs_blocks_count (fs->super);
  ext2_extent_handle_t handle;
  struct ext2fs_extent extent;
  errcode_t err;

  *touches = FALSE;
  if (!(inode->small.i_flags & EXT4_EXTENTS_FL))
    return 0;
  err = ext2fs_extent_open2 (fs, inode->ino, &inode->small, &handle);
  if (err)
    return err;
  for (err = ext2fs_extent_get (handle, EXT2_EXTENT_ROOT, &extent); !err;
       err = ext2fs_extent_get (handle, EXT2_EXTENT_NEXT, &extent))
    {
      if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF))
        continue;
      if (extent.e_pblk + extent.e_len > blocks)
        break;
      *touches |= extent.e_pblk + extent.e_len == blocks;
    }
  ext2fs_extent_free (handle);
  if (!err)
    return EXT2_ET_BAD_BLOCK_NUM;
  return err == EXT2_ET_EXTENT_NO_NEXT || err == EXT2_ET_NO_CURRENT_NODE ? 0 : err;
}

/* libext2fs (1.47.0 and others) takes an extent that ends with the filesystem's last block for one
 * that goes past it, and does not free it. While there is such a one, and none that really does,
 * the filesystem is made to look one block longer around the call. */
static errcode_t
stretch (ExtFs *ext, ExtInode *inode, gboolean *stretched)
{
  errcode_t err = touches_end (ext->fs, inode, stretched);

  if (!err && *stretched)
    ext2fs_blocks_count_add (ext->fs->super, 1);
  return err;
}

static void
unstretch (ExtFs *ext, gboolean stretched)
{
  if (stretched)
    ext2fs_blocks_count_set (ext->fs->super, ext2fs_blocks_count (ext->fs->super) - 1);
}

errcode_t
h2k_ext_punch (ExtFs *ext, ExtInode *inode, guint64 first)
{
  gboolean stretched;
  errcode_t err = stretch (ext, inode, &stretched);

  if (err)
    return err;
  err = ext2fs_punch (ext->fs, inode->ino, &inode->small, NULL, first, ~0ULL);
  unstretch (ext, stretched);
  return err;
}

static errcode_t
set_size (ExtFs *ext, ExtInode *inode, guint64 size)
{
  ext2_file_t file;
  gboolean stretched;
  errcode_t err, close_err;

  err = stretch (ext, inode, &stretched);
  if (err)
    return err;
  err = ext2fs_file_open2 (ext->fs, inode->ino, &inode->small, EXT2_FILE_WRITE, &file);
  if (!err)
    {
      err = ext2fs_file_set_size2 (file, (ext2_off64_t)size);
      close_err = ext2fs_file_close (file);
      err = err ? err : close_err;
    }
  unstretch (ext, stretched);
  return err;
}

/* --- files inside the inode ------------------------------------------------------------------- */

typedef struct ext2_xattr_handle XattrHandle;

static void
xattr_handle_close (XattrHandle *handle)
{
  ext2fs_xattrs_close (&handle);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (XattrHandle, xattr_handle_close)

static errcode_t
open_xattrs (ExtFs *ext, ext2_ino_t ino, XattrHandle **handle)
{
  errcode_t err = ext2fs_xattrs_open (ext->fs, ino, handle);

  return err ? err : ext2fs_xattrs_read (*handle);
}

/* Files inside the inode are kept as an attribute of this name, which nobody else sees. */
#define INLINE_DATA "system.data"

static errcode_t write_data (ext2_filsys fs, ExtInode *inode, guint64 offset, const guint8 *data,
                             gsize length);

/* Take the content out of INODE, which becomes an empty file of the ordinary kind. */
static errcode_t
empty_inline (ExtFs *ext, ExtInode *inode)
{
  ext2_extent_handle_t extents;
  XattrHandle *handle = NULL;
  errcode_t err = open_xattrs (ext, inode->ino, &handle);

  if (!err)
    {
      err = ext2fs_xattr_remove (handle, INLINE_DATA);
      err = err == EXT2_ET_EA_KEY_NOT_FOUND ? 0 : err;
    }
  if (handle)
    ext2fs_xattrs_close (&handle);
  if (!err)
    err = reread (ext, inode);
  if (err)
    return err;
  inode->small.i_flags &= ~(guint32)EXT4_INLINE_DATA_FL;
  memset (inode->small.i_block, 0, sizeof inode->small.i_block);
  inode->small.i_size = inode->small.i_size_high = 0;
  if (ext2fs_has_feature_extents (ext->fs->super))
    {
      err = ext2fs_extent_open2 (ext->fs, inode->ino, &inode->small, &extents);
      if (!err)
        ext2fs_extent_free (extents);
    }
  return err ? err : write_inode (ext, inode);
}

/* Files that are about to change get blocks of their own. (libext2fs would do it, but writes past
 * the end of a buffer when it is given more than a few blocks.) */
static errcode_t
convert_inline (ExtFs *ext, ExtInode *inode)
{
  g_autofree guint8 *data = NULL;
  guint64 size = EXT2_I_SIZE (&inode->small);
  size_t length = 0;
  errcode_t err;

  if (!(inode->small.i_flags & EXT4_INLINE_DATA_FL))
    return 0;
  err = ext2fs_inline_data_size (ext->fs, inode->ino, &length);
  if (err)
    return err;
  data = g_malloc0 (MAX (length, 1));
  err = ext2fs_inline_data_get (ext->fs, inode->ino, &inode->small, data, &length);
  if (!err)
    err = empty_inline (ext, inode);
  if (!err)
    err = write_data (ext->fs, inode, 0, data, (gsize)MIN (length, size));
  if (!err)
    err = reread (ext, inode);
  return err || size <= length ? err : set_size (ext, inode, size);
}

/* --- file data -------------------------------------------------------------------------------- */

static errcode_t
write_data (ext2_filsys fs, ExtInode *inode, guint64 offset, const guint8 *data, gsize length)
{
  ext2_file_t file;
  errcode_t err = ext2fs_file_open2 (fs, inode->ino, &inode->small, EXT2_FILE_WRITE, &file);
  errcode_t close_err;

  if (err)
    return err;
  err = ext2fs_file_llseek (file, offset, EXT2_SEEK_SET, NULL);
  while (!err && length)
    {
      guint written = 0;
      err = ext2fs_file_write (file, data, (guint)MIN (length, 1u << 30), &written);
      if (!err && !written)
        err = EXT2_ET_SHORT_WRITE;
      data += written;
      length -= written;
    }
  close_err = ext2fs_file_close (file);
  return err ? err : close_err;
}

gboolean
h2k_ext_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
               GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode inode;
  errcode_t err;

  if (!begin_change (ext, length, error) || !h2k_ext_find (ext, path, &inode, error)
      || !check_file_flags (ext, &inode, quoted, error))
    return FALSE;
  if (offset > G_MAXINT64 || length > G_MAXINT64 - offset)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: the file would be too large",
                           quoted);
  err = convert_inline (ext, &inode);
  if (!err)
    err = write_data (ext->fs, &inode, offset, data, length);
  if (!err)
    err = touch_on_disk (ext, &inode, TRUE);
  return err ? h2k_ext_fail (ext, err, error, "cannot write %s", quoted) : TRUE;
}

gboolean
h2k_ext_truncate (H2kFs *fs, const char *path, guint64 size, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode inode;
  errcode_t err;

  if (!begin_change (ext, 0, error) || !h2k_ext_find (ext, path, &inode, error)
      || !check_file_flags (ext, &inode, quoted, error))
    return FALSE;
  /* Freeing a big file's blocks takes a visit to each of its extents. */
  h2k_ext_begin (ext, EXT2_I_SIZE (&inode.small));
  err = convert_inline (ext, &inode);
  if (!err)
    err = set_size (ext, &inode, size);
  if (!err)
    err = touch_on_disk (ext, &inode, TRUE);
  return err ? h2k_ext_fail (ext, err, error, "cannot set the size of %s", quoted) : TRUE;
}

/* --- directory entries ------------------------------------------------------------------------ */

static int
entry_type (guint32 mode)
{
  static const guint8 types[16] = {
      [S_IFREG >> 12] = EXT2_FT_REG_FILE, [S_IFDIR >> 12] = EXT2_FT_DIR,
      [S_IFCHR >> 12] = EXT2_FT_CHRDEV,   [S_IFBLK >> 12] = EXT2_FT_BLKDEV,
      [S_IFIFO >> 12] = EXT2_FT_FIFO,     [S_IFSOCK >> 12] = EXT2_FT_SOCK,
      [S_IFLNK >> 12] = EXT2_FT_SYMLINK,
  };
  return types[(mode >> 12) & 15];
}

static errcode_t
add_entry (ExtFs *ext, ExtInode *dir, const char *name, const ExtInode *inode)
{
  int type = entry_type (inode->small.i_mode);
  errcode_t err = ext2fs_link (ext->fs, dir->ino, name, inode->ino, type);

  h2k_ext_forget_names (ext);
  if (err == EXT2_ET_DIR_NO_SPACE)
    {
      /* An index that is full has grown by itself as far as it can. */
      errcode_t read_err = reread (ext, dir);
      if (read_err || (dir->small.i_flags & EXT2_INDEX_FL))
        return read_err ? read_err : err;
      err = ext2fs_expand_dir (ext->fs, dir->ino);
      if (!err)
        err = ext2fs_link (ext->fs, dir->ino, name, inode->ino, type);
    }
  return err ? err : touch_on_disk (ext, dir, TRUE);
}

static errcode_t
remove_entry (ExtFs *ext, ExtInode *dir, const char *name, ext2_ino_t ino)
{
  errcode_t err = ext2fs_unlink (ext->fs, dir->ino, name, ino, 0);

  h2k_ext_forget_names (ext);
  return err ? err : touch_on_disk (ext, dir, TRUE);
}

/* A directory's link count says how many subdirectories it has, until there are too many (65000):
 * then it is 1 for good (dir_nlink). */
static errcode_t
add_to_links (ExtFs *ext, ExtInode *dir, int n)
{
  errcode_t err = reread (ext, dir);
  gint links;

  if (err)
    return err;
  links = dir->small.i_links_count;
  if (links <= 1)
    return 0;
  links += n;
  if (links >= EXT2_LINK_MAX)
    {
      if (!ext2fs_has_feature_dir_nlink (ext->fs->super))
        return EXT2_ET_TOO_MANY_REFS;
      links = 1;
    }
  dir->small.i_links_count = (guint16)MAX (links, 1);
  return write_inode (ext, dir);
}

/* Large attributes live in inodes of their own, which count their users. */
static errcode_t drop_ea_inodes (ExtFs *ext, ExtInode *inode);

errcode_t
h2k_ext_release_inode (ExtFs *ext, ExtInode *inode)
{
  errcode_t err = 0;

  if (ext2fs_has_feature_ea_inode (ext->fs->super))
    err = drop_ea_inodes (ext, inode);
  if (!err)
    err = ext2fs_free_ext_attr (ext->fs, inode->ino, &inode->large);
  if (!err && ext2fs_inode_has_valid_blocks2 (ext->fs, &inode->small))
    err = h2k_ext_punch (ext, inode, 0);
  if (err)
    return err;
  inode->small.i_links_count = 0;
  inode->small.i_dtime = (guint32)(g_get_real_time () / G_USEC_PER_SEC);
  ext2fs_inode_alloc_stats2 (ext->fs, inode->ino, -1, S_ISDIR (inode->small.i_mode));
  return write_inode (ext, inode);
}

/* One name of INODE is gone. */
static errcode_t
drop_link (ExtFs *ext, ExtInode *inode)
{
  errcode_t err = reread (ext, inode);

  if (err)
    return err;
  h2k_ext_begin (ext, EXT2_I_SIZE (&inode->small));
  if (S_ISDIR (inode->small.i_mode) || inode->small.i_links_count <= 1)
    return h2k_ext_release_inode (ext, inode);
  inode->small.i_links_count--;
  touch (ext, inode, FALSE);
  return write_inode (ext, inode);
}

static int
count_entry (struct ext2_dir_entry *entry, const char *name, gsize length, gpointer data)
{
  if ((length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.'))
    return 0;
  *(gboolean *)data = TRUE;
  return DIRENT_ABORT;
}

static gboolean
check_empty (ExtFs *ext, const ExtInode *dir, const char *path, GError **error)
{
  g_autofree char *quoted = h2k_ext_quote (path);
  gboolean occupied = FALSE;

  if (!h2k_ext_walk_dir (ext, dir, path, count_entry, &occupied, error))
    return FALSE;
  if (occupied)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: the directory is not empty",
                           quoted);
  return TRUE;
}

gboolean
h2k_ext_remove (H2kFs *fs, const char *path, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode parent, inode;
  const char *name;
  errcode_t err;

  if (!begin_change (ext, 0, error) || !h2k_ext_find_parent (ext, path, &parent, &name, error)
      || !h2k_ext_find (ext, path, &inode, error) || !check_dir_flags (ext, &parent, quoted, error))
    return FALSE;
  if (S_ISDIR (inode.small.i_mode) && !check_empty (ext, &inode, path, error))
    return FALSE;

  err = remove_entry (ext, &parent, name, inode.ino);
  if (!err && S_ISDIR (inode.small.i_mode))
    err = add_to_links (ext, &parent, -1);
  if (!err)
    err = drop_link (ext, &inode);
  return err ? h2k_ext_fail (ext, err, error, "cannot remove %s", quoted) : TRUE;
}

/* --- new inodes ------------------------------------------------------------------------------- */

static errcode_t
make_file (ExtFs *ext, ExtInode *inode, guint32 mode)
{
  ext2_filsys fs = ext->fs;
  errcode_t err = 0;

  memset (&inode->large, 0, sizeof inode->large);
  inode->small.i_mode = (guint16)mode;
  inode->small.i_links_count = 1;
  inode->small.i_generation = g_random_int ();
  if (ext2fs_has_feature_extents (fs->super))
    {
      /* Opening the tree of an inode without blocks writes an empty root into it. */
      ext2_extent_handle_t handle;
      err = ext2fs_extent_open2 (fs, inode->ino, &inode->small, &handle);
      if (!err)
        ext2fs_extent_free (handle);
    }
  if (!err)
    err = ext2fs_write_new_inode (fs, inode->ino, &inode->small);
  if (!err)
    ext2fs_inode_alloc_stats2 (fs, inode->ino, +1, 0);
  return err;
}

/* Make the inode INODE->ino without a name; the parent's link count is left alone. */
static errcode_t
make_inode (ExtFs *ext, ExtInode *parent, ExtInode *inode, guint32 mode, const char *target)
{
  errcode_t err, restored;
  guint16 links = parent->small.i_links_count;

  if (target)
    return ext2fs_symlink (ext->fs, parent->ino, inode->ino, NULL, target);
  if (!S_ISDIR (mode))
    return make_file (ext, inode, mode);

  /* libext2fs counts the new directory at its parent, but does not know dir_nlink. */
  err = ext2fs_mkdir (ext->fs, parent->ino, inode->ino, NULL);
  restored = reread (ext, parent);
  if (!restored && parent->small.i_links_count != links)
    {
      parent->small.i_links_count = links;
      restored = write_inode (ext, parent);
    }
  return err ? err : restored;
}

static errcode_t
finish_inode (ExtFs *ext, ExtInode *inode, guint32 mode, guint32 uid, guint32 gid)
{
  errcode_t err = reread (ext, inode);
  gint64 now = g_get_real_time ();

  if (err)
    return err;
  inode->small.i_mode = (guint16)((inode->small.i_mode & S_IFMT) | (mode & 07777));
  set_owner (inode, uid, gid);
  touch (ext, inode, TRUE);
  inode->large.i_atime = inode->large.i_mtime;
  if (HAS_FIELD (ext, inode, i_atime_extra))
    inode->large.i_atime_extra = inode->large.i_mtime_extra;
  if (HAS_FIELD (ext, inode, i_crtime_extra))
    SET_TIME (ext, inode, i_crtime, now / G_USEC_PER_SEC, (guint32)(now % G_USEC_PER_SEC) * 1000);
  return write_inode (ext, inode);
}

static gboolean
check_new (ExtFs *ext, const ExtInode *parent, const char *path, const char *name, guint32 mode,
           const char *target, GError **error)
{
  g_autofree char *quoted = h2k_ext_quote (path);
  guint32 type = target ? S_IFLNK : mode & S_IFMT;
  ext2_ino_t existing;

  if (!check_dir_flags (ext, parent, quoted, error)
      || !h2k_ext_lookup (ext, parent, path, name, strlen (name), &existing, error))
    return FALSE;
  if (existing)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: exists already", quoted);
  if (type && type != S_IFREG && type != S_IFDIR && type != S_IFLNK)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: device nodes, pipes and sockets cannot be made", quoted);
  if (target && (!*target || strlen (target) >= ext->fs->blocksize))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "%s: a symbolic link cannot be that long", quoted);
  return TRUE;
}

gboolean
h2k_ext_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                const char *target, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode parent, inode = {0};
  const char *name;
  errcode_t err;

  if (!begin_change (ext, 0, error) || !h2k_ext_find_parent (ext, path, &parent, &name, error)
      || !check_new (ext, &parent, path, name, mode, target, error))
    return FALSE;
  if (target)
    mode = S_IFLNK | 0777;
  else if (!(mode & S_IFMT))
    mode |= S_IFREG;

  err = ext2fs_new_inode (ext->fs, parent.ino, (int)mode, NULL, &inode.ino);
  if (!err)
    err = make_inode (ext, &parent, &inode, mode, target);
  if (!err)
    {
      err = finish_inode (ext, &inode, mode, uid, gid);
      if (!err && S_ISDIR (mode))
        err = add_to_links (ext, &parent, +1);
      if (!err && (err = add_entry (ext, &parent, name, &inode)))
        {
          if (S_ISDIR (mode))
            add_to_links (ext, &parent, -1);
          h2k_ext_release_inode (ext, &inode);
        }
    }
  return err ? h2k_ext_fail (ext, err, error, "cannot create %s", quoted) : TRUE;
}

/* --- rename ----------------------------------------------------------------------------------- */

static int
replace_parent (struct ext2_dir_entry *entry, const char *name, gsize length, gpointer data)
{
  if (length != 2 || name[0] != '.' || name[1] != '.')
    return 0;
  entry->inode = *(ext2_ino_t *)data;
  return DIRENT_CHANGED | DIRENT_ABORT;
}

/* The directory INODE has moved from one directory to another. */
static gboolean
move_directory (ExtFs *ext, ExtInode *inode, ExtInode *from, ExtInode *to, const char *path,
                GError **error)
{
  errcode_t err;

  if (from->ino == to->ino)
    return TRUE;
  h2k_ext_forget_names (ext);
  if (!h2k_ext_walk_dir (ext, inode, path, replace_parent, &to->ino, error))
    return FALSE;
  err = add_to_links (ext, from, -1);
  if (!err)
    err = add_to_links (ext, to, +1);
  return err ? h2k_ext_fail (ext, err, error, "cannot update link counts") : TRUE;
}

/* What stands under the new name goes, as rename(2) has it. */
static gboolean
replace_target (ExtFs *ext, const ExtInode *inode, ExtInode *parent, const char *path,
                const char *name, ext2_ino_t old_ino, GError **error)
{
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode old;
  errcode_t err;

  if (!h2k_ext_read_inode (ext, old_ino, path, &old, error))
    return FALSE;
  if (S_ISDIR (old.small.i_mode) != S_ISDIR (inode->small.i_mode))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "%s: a directory and a file cannot replace each other", quoted);
  if (S_ISDIR (old.small.i_mode) && !check_empty (ext, &old, path, error))
    return FALSE;
  err = remove_entry (ext, parent, name, old_ino);
  if (!err && S_ISDIR (old.small.i_mode))
    err = add_to_links (ext, parent, -1);
  if (!err)
    err = drop_link (ext, &old);
  return err ? h2k_ext_fail (ext, err, error, "cannot replace %s", quoted) : TRUE;
}

/* Whether TO lies below FROM (or is it). */
static gboolean
is_below (const char *from, const char *to)
{
  gsize length = strlen (from);

  return strncmp (from, to, length) == 0 && (to[length] == '/' || to[length] == 0);
}

gboolean
h2k_ext_rename (H2kFs *fs, const char *from, const char *to, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (from);
  g_autofree char *quoted_to = h2k_ext_quote (to);
  ExtInode from_dir, to_dir, inode;
  const char *from_name, *to_name;
  ext2_ino_t old_ino;
  errcode_t err;

  if (!begin_change (ext, 0, error)
      || !h2k_ext_find_parent (ext, from, &from_dir, &from_name, error)
      || !h2k_ext_find_parent (ext, to, &to_dir, &to_name, error)
      || !h2k_ext_find (ext, from, &inode, error)
      || !check_dir_flags (ext, &from_dir, quoted, error)
      || !check_dir_flags (ext, &to_dir, quoted_to, error)
      || !h2k_ext_lookup (ext, &to_dir, to, to_name, strlen (to_name), &old_ino, error))
    return FALSE;
  if (old_ino == inode.ino)
    return TRUE;
  if (S_ISDIR (inode.small.i_mode) && is_below (from, to))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "%s: a directory cannot be moved into itself", quoted);
  if (old_ino && !replace_target (ext, &inode, &to_dir, to, to_name, old_ino, error))
    return FALSE;

  err = add_entry (ext, &to_dir, to_name, &inode);
  if (!err)
    err = remove_entry (ext, &from_dir, from_name, inode.ino);
  if (!err)
    err = touch_on_disk (ext, &inode, FALSE);
  if (err)
    return h2k_ext_fail (ext, err, error, "cannot rename %s to %s", quoted, quoted_to);
  return S_ISDIR (inode.small.i_mode) ? move_directory (ext, &inode, &from_dir, &to_dir, to, error)
                                      : TRUE;
}

/* --- attributes ------------------------------------------------------------------------------- */

gboolean
h2k_ext_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  ExtInode inode;
  errcode_t err;

  if (!begin_change (ext, 0, error) || !h2k_ext_find (ext, path, &inode, error))
    return FALSE;
  inode.small.i_mode = (guint16)((inode.small.i_mode & S_IFMT) | (st->mode & 07777));
  set_owner (&inode, st->uid, st->gid);
  SET_TIME (ext, &inode, i_atime, st->atime, 0);
  SET_TIME (ext, &inode, i_mtime, st->mtime, 0);
  SET_TIME (ext, &inode, i_ctime, st->ctime, 0);
  err = write_inode (ext, &inode);
  return err ? h2k_ext_fail (ext, err, error, "cannot change the attributes of %s", quoted) : TRUE;
}

static int
collect_xattr (char *name, char *value, size_t length, void *data)
{
  if (!g_str_equal (name, INLINE_DATA))
    g_ptr_array_add (data, g_strdup (name));
  return 0;
}

static errcode_t
drop_ea_inodes (ExtFs *ext, ExtInode *inode)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (XattrHandle) handle = NULL;
  errcode_t err = open_xattrs (ext, inode->ino, &handle);

  if (!err)
    err = ext2fs_xattrs_iterate (handle, collect_xattr, names);
  for (guint i = 0; !err && i < names->len; i++)
    err = ext2fs_xattr_remove (handle, names->pdata[i]);
  return err ? err : reread (ext, inode);
}

GPtrArray *
h2k_ext_list_xattr (H2kFs *fs, const char *path, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *quoted = h2k_ext_quote (path);
  g_autoptr (XattrHandle) handle = NULL;
  ExtInode inode;
  errcode_t err;

  h2k_ext_begin (ext, 0);
  if (!h2k_ext_find (ext, path, &inode, error))
    return NULL;
  err = open_xattrs (ext, inode.ino, &handle);
  if (!err)
    err = ext2fs_xattrs_iterate (handle, collect_xattr, names);
  if (!err)
    return g_steal_pointer (&names);
  h2k_ext_fail (ext, err, error, "cannot read the attributes of %s", quoted);
  return NULL;
}

GBytes *
h2k_ext_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  g_autoptr (XattrHandle) handle = NULL;
  void *value = NULL;
  size_t length = 0;
  ExtInode inode;
  GBytes *bytes;
  errcode_t err;

  h2k_ext_begin (ext, 0);
  if (!h2k_ext_find (ext, path, &inode, error))
    return NULL;
  err = open_xattrs (ext, inode.ino, &handle);
  if (!err)
    err = ext2fs_xattr_get (handle, name, &value, &length);
  if (err)
    {
      if (err != EXT2_ET_EA_KEY_NOT_FOUND)
        h2k_ext_fail (ext, err, error, "cannot read the attribute %s of %s", name, quoted);
      return NULL;
    }
  bytes = g_bytes_new (value, length);
  ext2fs_free_mem (&value);
  return bytes;
}

gboolean
h2k_ext_set_xattr (H2kFs *fs, const char *path, const char *name, GBytes *value, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  g_autoptr (XattrHandle) handle = NULL;
  ExtInode inode;
  errcode_t err;

  if (!begin_change (ext, 0, error) || !h2k_ext_find (ext, path, &inode, error))
    return FALSE;
  if (g_str_equal (name, INLINE_DATA))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "%s: the attribute %s holds the file's content", quoted, name);
  err = open_xattrs (ext, inode.ino, &handle);
  if (!err && value)
    {
      gsize length;
      const void *data = g_bytes_get_data (value, &length);
      err = ext2fs_xattr_set (handle, name, data ? data : "", length);
    }
  else if (!err)
    err = ext2fs_xattr_remove (handle, name);
  if (err == EXT2_ET_EA_KEY_NOT_FOUND && !value)
    err = 0;
  if (!err)
    err = touch_on_disk (ext, &inode, FALSE);
  return err ? h2k_ext_fail (ext, err, error, "cannot set the attribute %s of %s", name, quoted)
             : TRUE;
}

/* --- flush ------------------------------------------------------------------------------------ */

#define ANY_CHANGE (EXT2_FLAG_CHANGED | EXT2_FLAG_DIRTY | EXT2_FLAG_IB_DIRTY | EXT2_FLAG_BB_DIRTY)

gboolean
h2k_ext_sync (ExtFs *ext, GError **error)
{
  errcode_t err;

  /* libext2fs would write the superblock even when nothing has changed. */
  if (!(ext->fs->flags & ANY_CHANGE))
    return TRUE;
  h2k_ext_begin (ext, 0);
  err = ext2fs_flush2 (ext->fs, 0);
  if (err)
    return h2k_ext_fail (ext, err, error, "cannot write the filesystem's superblock and bitmaps");
  ext->fs->flags &= ~ANY_CHANGE;
  return TRUE;
}

gboolean
h2k_ext_flush (H2kFs *fs, GError **error)
{
  return !fs->writable || h2k_ext_sync ((ExtFs *)fs, error);
}
