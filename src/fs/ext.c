/* ext.c - ext2, ext3 and ext4 by libext2fs: opening, finding names, reading.
 *
 * On-disk format: Documentation/filesystems/ext4 of the Linux kernel. libext2fs does the layout;
 * this file decides what may be touched, bounds what a corrupt image can make it do, and words the
 * errors.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"

#include <errno.h>
#include <et/com_err.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Reads of more than this at once are refused: whoever reads bigger files reads pieces. */
#define MAX_READ ((guint64)2 << 30)
#define MAX_GROUPS (8u << 20)

/* --- errors ----------------------------------------------------------------------------------- */

char *
h2k_ext_quote (const char *path)
{
  return h2k_escape_text (path, -1);
}

gboolean
h2k_ext_fail (ExtFs *ext, errcode_t err, GError **error, const char *format, ...)
{
  g_autoptr (GError) cause = ext->fs ? h2k_ext_io_take_error (ext->fs) : NULL;
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);

  if (cause)
    g_set_error (error, cause->domain, cause->code, "%s: %s: %s", ext->base.volume->name, what,
                 cause->message);
  else if (err == EXT2_ET_BLOCK_ALLOC_FAIL || err == EXT2_ET_INODE_ALLOC_FAIL || err == ENOSPC)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                 "%s: %s: the guest's filesystem is full; free some space in the guest first",
                 ext->base.volume->name, what);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: %s: %s", ext->base.volume->name, what,
                 error_message (err));
  return FALSE;
}

gboolean
h2k_ext_refuse (ExtFs *ext, H2kError code, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, (int)code, "%s: %s", ext->base.volume->name, what);
  return FALSE;
}

static gboolean
refuse_missing (ExtFs *ext, const char *path, GError **error)
{
  g_autofree char *quoted = h2k_ext_quote (path);

  return h2k_ext_refuse (ext, H2K_ERROR_FAILED, error, "%s: no such file or directory", quoted);
}

void
h2k_ext_begin (ExtFs *ext, guint64 length)
{
  guint64 blocks = ext2fs_blocks_count (ext->fs->super);

  /* More than any honest directory or tree of extents takes, and soon at its end. */
  h2k_ext_io_begin (ext->fs, 10000 + 2 * MIN (blocks, 1u << 20) + 8 * (length / ext->fs->blocksize)
                                 + 4 * (guint64)ext->fs->group_desc_count);
}

/* --- inodes and names ------------------------------------------------------------------------- */

gboolean
h2k_ext_read_inode (ExtFs *ext, ext2_ino_t ino, const char *path, ExtInode *inode, GError **error)
{
  errcode_t err;

  memset (inode, 0, sizeof *inode);
  inode->ino = ino;
  err = ext2fs_read_inode_full (ext->fs, ino, &inode->small, sizeof inode->large);
  if (err || inode->small.i_mode == 0 || inode->small.i_links_count == 0)
    {
      g_autofree char *quoted = h2k_ext_quote (path);
      if (err)
        return h2k_ext_fail (ext, err, error, "cannot read inode %u of %s", ino, quoted);
      return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                             "%s names inode %u, which is not in use: the filesystem is corrupt, "
                             "run e2fsck on a copy of it first",
                             quoted, ino);
    }
  return TRUE;
}

typedef struct
{
  ExtEntryFunc func;
  gpointer data;
  guint count;
  gboolean too_many;
} Walk;

static int
walk_entry (ext2_ino_t dir, int kind, struct ext2_dir_entry *entry, int offset, int blocksize,
            char *buf, void *data)
{
  Walk *walk = data;

  if (++walk->count > H2K_EXT_MAX_ENTRIES)
    {
      walk->too_many = TRUE;
      return DIRENT_ABORT;
    }
  /* The checksum at a block's end poses as an unused entry. */
  if (entry->inode == 0)
    return 0;
  return walk->func (entry, entry->name, (gsize)ext2fs_dirent_name_len (entry), walk->data);
}

gboolean
h2k_ext_walk_dir (ExtFs *ext, const ExtInode *dir, const char *path, ExtEntryFunc func,
                  gpointer data, GError **error)
{
  const gboolean is_dir = S_ISDIR (dir->small.i_mode);
  const gboolean encrypted = is_dir && dir->small.i_flags & EXT4_ENCRYPT_FL;
  Walk walk = {func, data};
  g_autofree char *quoted = NULL;
  errcode_t err = 0;

  /* Every block gives at least one call this way, so that the count bounds the walk. */
  if (is_dir && !encrypted)
    err = ext2fs_dir_iterate2 (ext->fs, dir->ino, DIRENT_FLAG_INCLUDE_EMPTY, NULL, walk_entry,
                               &walk);
  if (!err && walk.too_many)
    err = EXT2_ET_DIR_CORRUPTED;
  if (is_dir && !encrypted && !err)
    return TRUE;
  quoted = h2k_ext_quote (path);
  if (!is_dir)
    return h2k_ext_refuse (ext, H2K_ERROR_FAILED, error, "%s: not a directory", quoted);
  if (encrypted)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "%s: the directory is encrypted (fscrypt), its names cannot be read",
                           quoted);
  return h2k_ext_fail (ext, err, error, "cannot read the directory %s", quoted);
}

/* Walk from the root along the LENGTH first bytes of PATH. */
static gboolean
find (ExtFs *ext, const char *path, gsize length, ExtInode *inode, GError **error)
{
  const char *p = path, *end = path + length;

  if (!h2k_ext_read_inode (ext, EXT2_ROOT_INO, "/", inode, error))
    return FALSE;
  for (;;)
    {
      const char *name;
      ext2_ino_t ino;

      while (p < end && *p == '/')
        p++;
      if (p == end)
        return TRUE;
      name = p;
      while (p < end && *p != '/')
        p++;
      if (S_ISLNK (inode->small.i_mode))
        {
          g_autofree char *link = h2k_escape_text (path, name - path);
          return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                                 "%s: symbolic links are not followed here", link);
        }
      if (!h2k_ext_lookup (ext, inode, path, name, (gsize)(p - name), &ino, error))
        return FALSE;
      if (!ino)
        return refuse_missing (ext, path, error);
      if (!h2k_ext_read_inode (ext, ino, path, inode, error))
        return FALSE;
    }
}

gboolean
h2k_ext_find (ExtFs *ext, const char *path, ExtInode *inode, GError **error)
{
  return find (ext, path, strlen (path), inode, error);
}

gboolean
h2k_ext_find_parent (ExtFs *ext, const char *path, ExtInode *parent, const char **name,
                     GError **error)
{
  const char *slash = strrchr (path, '/');
  g_autofree char *quoted = NULL;

  *name = slash ? slash + 1 : path;
  if (!**name || strcmp (*name, ".") == 0 || strcmp (*name, "..") == 0)
    {
      quoted = h2k_ext_quote (path);
      return h2k_ext_refuse (ext, H2K_ERROR_FAILED, error, "%s: not a name that can be changed",
                             quoted);
    }
  if (strlen (*name) > EXT2_NAME_LEN)
    {
      quoted = h2k_ext_quote (path);
      return h2k_ext_refuse (ext, H2K_ERROR_FAILED, error, "%s: the name is too long", quoted);
    }
  if (!find (ext, path, (gsize)(*name - path), parent, error))
    return FALSE;
  if (!S_ISDIR (parent->small.i_mode))
    {
      quoted = h2k_ext_quote (path);
      return h2k_ext_refuse (ext, H2K_ERROR_FAILED, error, "%s: its parent is not a directory",
                             quoted);
    }
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Seconds of a time stamp: ext4 keeps bits 32 and 33 of it below the nanoseconds. */
static gint64
full_time (guint32 seconds, guint32 extra, gboolean has_extra)
{
  gint64 time = (gint32)seconds;

  if (has_extra)
    time += (gint64)(extra & 3) << 32;
  return time;
}

/* Old device numbers (8 bits each) are in the first word, new ones in the second. */
static guint64
device_number (const struct ext2_inode *inode)
{
  guint32 old = inode->i_block[0], new = inode->i_block[1];

  if (old)
    return makedev ((old >> 8) & 0xff, old & 0xff);
  return makedev ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xfff00));
}

static guint32
nanoseconds (guint32 extra, gboolean has_extra)
{
  return has_extra ? MIN (extra >> 2, 999999999u) : 0;
}

static gboolean
ext_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  ExtInode inode;
  const struct ext2_inode_large *large = &inode.large;
  guint extra;

  h2k_ext_begin (ext, 0);
  if (!h2k_ext_find (ext, path, &inode, error))
    return FALSE;
  extra = EXT2_INODE_SIZE (ext->fs->super) > EXT2_GOOD_OLD_INODE_SIZE ? large->i_extra_isize : 0;
  *st = (H2kStat){
      .mode = large->i_mode,
      .uid = inode_uid (*large),
      .gid = inode_gid (*large),
      .size = EXT2_I_SIZE (large),
      .inode = inode.ino,
      .nlink = large->i_links_count,
      .atime = full_time (large->i_atime, large->i_atime_extra, extra >= 20),
      .mtime = full_time (large->i_mtime, large->i_mtime_extra, extra >= 12),
      .ctime = full_time (large->i_ctime, large->i_ctime_extra, extra >= 8),
      .mtime_nsec = nanoseconds (large->i_mtime_extra, extra >= 12),
      .ctime_nsec = nanoseconds (large->i_ctime_extra, extra >= 8),
  };
  if (S_ISCHR (st->mode) || S_ISBLK (st->mode))
    st->rdev = device_number (&inode.small);
  return TRUE;
}

static int
collect_name (struct ext2_dir_entry *entry, const char *name, gsize length, gpointer data)
{
  GPtrArray *names = data;

  /* A slash or a NUL cannot be part of a name: such an entry has no path. */
  if (length == 0 || memchr (name, '/', length) || memchr (name, 0, length)
      || (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.'))
    return 0;
  g_ptr_array_add (names, g_strndup (name, length));
  return 0;
}

static GPtrArray *
ext_list (H2kFs *fs, const char *path, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  ExtInode inode;

  h2k_ext_begin (ext, 0);
  if (!h2k_ext_find (ext, path, &inode, error)
      || !h2k_ext_walk_dir (ext, &inode, path, collect_name, names, error))
    return NULL;
  return g_steal_pointer (&names);
}

/* Where the block LOGICAL of a file lies: *PHYSICAL is 0 in a hole. *COUNT is how many blocks, at
 * most MAX, follow on the disk as they do in the file. */
static errcode_t
map_run (ext2_filsys fs, ExtInode *inode, guint64 logical, guint64 max, guint64 *physical,
         guint64 *count)
{
  for (*count = 0; *count < max; ++*count)
    {
      blk64_t block = 0;
      int flags = 0;
      errcode_t err
          = ext2fs_bmap2 (fs, inode->ino, &inode->small, NULL, 0, logical + *count, &flags, &block);
      if (err)
        return err;
      if (flags & BMAP_RET_UNINIT)
        block = 0;
      if (*count == 0)
        *physical = block;
      else if (block != (*physical ? *physical + *count : 0))
        break;
    }
  return 0;
}

#define RUN_BYTES (1u << 20)

/* Read whole blocks into BUFFER. */
static errcode_t
read_blocks (ext2_filsys fs, ExtInode *inode, guint64 logical, guint64 count, guint8 *buffer)
{
  while (count)
    {
      guint64 physical = 0, run;
      errcode_t err
          = map_run (fs, inode, logical, MIN (count, RUN_BYTES / fs->blocksize), &physical, &run);
      if (err)
        return err;
      if (!physical)
        memset (buffer, 0, run * fs->blocksize);
      else if ((err = io_channel_read_blk64 (fs->io, physical, (int)run, buffer)))
        return err;
      buffer += run * fs->blocksize;
      logical += run;
      count -= run;
    }
  return 0;
}

/* The LENGTH bytes at OFFSET, which lie inside the file. */
static errcode_t
read_range (ext2_filsys fs, ExtInode *inode, guint64 offset, gsize length, guint8 *buffer)
{
  guint size = fs->blocksize;
  guint64 first = offset / size, last = (offset + length - 1) / size;
  g_autofree guint8 *block = g_malloc (size);
  gsize head = offset % size;
  errcode_t err;

  if (head || length < size)
    {
      gsize n = MIN (length, size - head);
      if ((err = read_blocks (fs, inode, first++, 1, block)))
        return err;
      memcpy (buffer, block + head, n);
      buffer += n;
      length -= n;
    }
  if (length >= size)
    {
      guint64 count = length / size;
      if ((err = read_blocks (fs, inode, first, count, buffer)))
        return err;
      buffer += count * size;
      length -= count * size;
    }
  if (length == 0)
    return 0;
  if ((err = read_blocks (fs, inode, last, 1, block)))
    return err;
  memcpy (buffer, block, length);
  return 0;
}

/* Files so small that they live in the inode. */
static errcode_t
read_inline (ext2_filsys fs, ExtInode *inode, guint64 offset, gsize length, guint8 *buffer)
{
  g_autofree guint8 *data = NULL;
  gsize size = 0;
  errcode_t err = ext2fs_inline_data_size (fs, inode->ino, &size);

  if (err)
    return err;
  data = g_malloc0 (MAX (size, 1));
  err = ext2fs_inline_data_get (fs, inode->ino, &inode->small, data, &size);
  if (err)
    return err;
  memset (buffer, 0, length);
  if (offset < size)
    memcpy (buffer, data + offset, MIN (length, size - offset));
  return 0;
}

static errcode_t
read_data (ext2_filsys fs, ExtInode *inode, guint64 offset, gsize length, guint8 *buffer)
{
  if (length == 0)
    return 0;
  if (inode->small.i_flags & EXT4_INLINE_DATA_FL)
    return read_inline (fs, inode, offset, length, buffer);
  return read_range (fs, inode, offset, length, buffer);
}

static GBytes *
ext_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  g_autofree guint8 *buffer = NULL;
  ExtInode inode;
  guint64 size;
  errcode_t err;

  h2k_ext_begin (ext, MIN (length, MAX_READ));
  if (!h2k_ext_find (ext, path, &inode, error))
    return NULL;
  if (!S_ISREG (inode.small.i_mode))
    {
      h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: not a regular file", quoted);
      return NULL;
    }
  if (inode.small.i_flags & EXT4_ENCRYPT_FL)
    {
      h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error, "%s: the file is encrypted (fscrypt)",
                      quoted);
      return NULL;
    }
  size = EXT2_I_SIZE (&inode.small);
  length = (gsize)MIN (length, offset < size ? size - offset : 0);
  if (length > MAX_READ || !(buffer = g_try_malloc (MAX (length, 1))))
    {
      h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                      "%s: %" G_GUINT64_FORMAT " bytes are too many to read at once", quoted, size);
      return NULL;
    }
  err = read_data (ext->fs, &inode, offset, length, buffer);
  if (err)
    {
      h2k_ext_fail (ext, err, error, "cannot read %s", quoted);
      return NULL;
    }
  return g_bytes_new_take (g_steal_pointer (&buffer), length);
}

static char *
ext_readlink (H2kFs *fs, const char *path, GError **error)
{
  ExtFs *ext = (ExtFs *)fs;
  g_autofree char *quoted = h2k_ext_quote (path);
  g_autofree char *target = NULL;
  ExtInode inode;
  guint64 size;
  errcode_t err = 0;

  h2k_ext_begin (ext, 0);
  if (!h2k_ext_find (ext, path, &inode, error))
    return NULL;
  size = EXT2_I_SIZE (&inode.small);
  if (!S_ISLNK (inode.small.i_mode) || (inode.small.i_flags & EXT4_ENCRYPT_FL))
    {
      h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error, "%s: %s", quoted,
                      S_ISLNK (inode.small.i_mode) ? "the link is encrypted (fscrypt)"
                                                   : "not a symbolic link");
      return NULL;
    }
  if (size == 0 || size > ext->fs->blocksize)
    {
      h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                      "%s: a symbolic link of impossible length %" G_GUINT64_FORMAT, quoted, size);
      return NULL;
    }
  target = g_malloc0 (size + 1);
  if (!(inode.small.i_flags & EXT4_INLINE_DATA_FL) && ext2fs_is_fast_symlink (&inode.small))
    memcpy (target, inode.small.i_block, MIN (size, sizeof inode.small.i_block));
  else
    err = read_data (ext->fs, &inode, 0, size, (guint8 *)target);
  if (err)
    {
      h2k_ext_fail (ext, err, error, "cannot read the symbolic link %s", quoted);
      return NULL;
    }
  return g_steal_pointer (&target);
}

static guint64
ext_free_space (H2kFs *fs)
{
  ExtFs *ext = (ExtFs *)fs;
  const struct ext2_super_block *super = ext->fs->super;
  guint64 blocks = ext2fs_free_blocks_count (ext->fs->super);

  return MIN (blocks, ext2fs_blocks_count ((struct ext2_super_block *)super)) * ext->fs->blocksize;
}

/* --- opening ---------------------------------------------------------------------------------- */

typedef struct
{
  guint32 bit;
  const char *name; /* as mke2fs calls it */
} Feature;

/* What this driver reads. The rest, known by name or not, is refused. */
#define INCOMPAT_READ                                                                              \
  (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT2_FEATURE_INCOMPAT_META_BG  \
   | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_MMP       \
   | EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE                                \
   | EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR                              \
   | EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_ENCRYPT                             \
   | EXT4_FEATURE_INCOMPAT_CASEFOLD)

/* What it writes, too. Files under fs-verity are refused one by one. */
#define RO_COMPAT_WRITE                                                                            \
  (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE                         \
   | EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM                            \
   | EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE                         \
   | EXT4_FEATURE_RO_COMPAT_QUOTA | EXT4_FEATURE_RO_COMPAT_BIGALLOC                                \
   | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | EXT4_FEATURE_RO_COMPAT_PROJECT                         \
   | EXT4_FEATURE_RO_COMPAT_VERITY | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)

static const Feature incompat_names[] = {
    {EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression"},
    {EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev"},
    {EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata"},
};

static const Feature ro_compat_names[] = {
    {EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot"},
    {EXT4_FEATURE_RO_COMPAT_REPLICA, "replica"},
    {EXT4_FEATURE_RO_COMPAT_READONLY, "read-only"},
    {EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks"},
};

/* "dirdata, 0x20000": the features in BITS by name. */
static char *
name_features (guint32 bits, const Feature *names, gsize n)
{
  GString *text = g_string_new (NULL);

  for (guint32 bit = 1; bit; bit <<= 1)
    {
      const char *name = NULL;
      if (!(bits & bit))
        continue;
      for (gsize i = 0; i < n && !name; i++)
        name = names[i].bit == bit ? names[i].name : NULL;
      if (name)
        g_string_append_printf (text, "%s%s", text->len ? ", " : "", name);
      else
        g_string_append_printf (text, "%s0x%x", text->len ? ", " : "", bit);
    }
  return g_string_free (text, FALSE);
}

static gboolean
check_features (ExtFs *ext, const struct ext2_super_block *sb, GError **error)
{
  guint32 incompat = GUINT32_FROM_LE (sb->s_feature_incompat) & ~(guint32)INCOMPAT_READ;
  guint32 ro_compat = GUINT32_FROM_LE (sb->s_feature_ro_compat) & ~(guint32)RO_COMPAT_WRITE;
  g_autofree char *names = NULL;

  if (incompat)
    {
      names = name_features (incompat, incompat_names, G_N_ELEMENTS (incompat_names));
      return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                             "the filesystem has features that are not supported: %s", names);
    }
  if (ro_compat && ext->base.writable)
    {
      names = name_features (ro_compat, ro_compat_names, G_N_ELEMENTS (ro_compat_names));
      return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                             "the filesystem has features that allow it to be read only: %s",
                             names);
    }
  return TRUE;
}

/* Sizes that do not fit the volume or each other, before libext2fs allocates memory by them. */
static gboolean
check_geometry (ExtFs *ext, const struct ext2_super_block *sb, GError **error)
{
  guint32 shift = GUINT32_FROM_LE (sb->s_log_block_size);
  guint32 per_group = GUINT32_FROM_LE (sb->s_blocks_per_group);
  guint64 blocks = GUINT32_FROM_LE (sb->s_blocks_count);
  guint64 size = ext->base.volume->size;

  if (GUINT32_FROM_LE (sb->s_feature_incompat) & EXT4_FEATURE_INCOMPAT_64BIT)
    blocks |= (guint64)GUINT32_FROM_LE (sb->s_blocks_count_hi) << 32;
  if (shift > 6 || per_group < 8 || blocks <= GUINT32_FROM_LE (sb->s_first_data_block)
      || blocks / per_group > MAX_GROUPS)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the superblock is corrupt (block size 2^%u, %" G_GUINT64_FORMAT
                           " blocks in groups of %u)",
                           shift + 10, blocks, per_group);
  if (blocks > size >> (shift + 10))
    {
      g_autofree char *need
          = h2k_format_size (MIN (blocks, G_MAXUINT64 >> (shift + 10)) << (shift + 10));
      g_autofree char *have = h2k_format_size (size);
      return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                             "the filesystem (%s) is larger than its volume (%s): the disk was "
                             "truncated or its partition shrunk",
                             need, have);
    }
  return TRUE;
}

/* Bitmaps and inode tables must lie inside the filesystem. */
static gboolean
check_groups (ExtFs *ext, GError **error)
{
  ext2_filsys fs = ext->fs;
  guint64 end = ext2fs_blocks_count (fs->super);
  guint64 first = fs->super->s_first_data_block;

  for (dgrp_t g = 0; g < fs->group_desc_count; g++)
    {
      guint64 table = ext2fs_inode_table_loc (fs, g);
      guint64 blocks = ext2fs_block_bitmap_loc (fs, g);
      guint64 inodes = ext2fs_inode_bitmap_loc (fs, g);
      if (blocks <= first || blocks >= end || inodes <= first || inodes >= end || table <= first
          || table >= end || fs->inode_blocks_per_group > end - table)
        return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                               "the descriptor of block group %u is corrupt: run e2fsck on a copy "
                               "of the disk first",
                               g);
    }
  return TRUE;
}

/* States in which changing a filesystem would do more harm. */
static gboolean
check_state (ExtFs *ext, const struct ext2_super_block *sb, GError **error)
{
  guint state = GUINT16_FROM_LE (sb->s_state);
  gboolean journal = GUINT32_FROM_LE (sb->s_feature_compat) & EXT3_FEATURE_COMPAT_HAS_JOURNAL;

  if (!ext->base.writable)
    return TRUE;
  if (state & EXT2_ERROR_FS)
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the kernel has marked the filesystem as having errors: run e2fsck on "
                           "it in the virtual machine, or on a copy of the disk, first");
  if (!journal && !(state & EXT2_VALID_FS))
    return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                           "the filesystem has no journal and was not unmounted: shut the virtual "
                           "machine down, or run e2fsck on a copy of the disk, first");
  return TRUE;
}

static gboolean
open_library (ExtFs *ext, int flags, GError **error)
{
  g_autoptr (GError) cause = NULL;
  errcode_t err = h2k_ext_io_open (ext->base.volume, flags | EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP,
                                   &ext->fs, &cause);

  if (!err)
    return TRUE;
  ext->fs = NULL;
  if (cause)
    {
      g_propagate_prefixed_error (error, g_steal_pointer (&cause),
                                  "%s: cannot open the filesystem: ", ext->base.volume->name);
      return FALSE;
    }
  return h2k_ext_refuse (ext, H2K_ERROR_FILESYSTEM, error,
                         "cannot open the filesystem: %s; run e2fsck on a copy of the disk first",
                         error_message (err));
}

gboolean
h2k_ext_reopen (ExtFs *ext, int flags, GError **error)
{
  if (ext->fs)
    ext2fs_free (ext->fs);
  ext->fs = NULL;
  return open_library (ext, flags, error) && check_groups (ext, error);
}

/* Open a filesystem whose journal has to be replayed. What was checked before may be different in
 * the superblock that the journal held. */
static gboolean
open_dirty (ExtFs *ext, GError **error)
{
  return h2k_ext_replay_journal (ext, error) && h2k_ext_reopen (ext, EXT2_FLAG_RW, error)
         && check_state (ext, ext->fs->super, error) && h2k_ext_finish_replay (ext, error)
         && h2k_ext_clear_orphans (ext, error) && h2k_ext_sync (ext, error);
}

static gboolean
open_checked (ExtFs *ext, GError **error)
{
  struct ext2_super_block sb;

  if (!h2k_disk_pread (ext->base.volume, SUPERBLOCK_OFFSET, sizeof sb, &sb, error))
    return FALSE;
  if (!check_features (ext, &sb, error) || !check_geometry (ext, &sb, error)
      || !check_state (ext, &sb, error))
    return FALSE;
  if (GUINT32_FROM_LE (sb.s_feature_incompat) & EXT3_FEATURE_INCOMPAT_RECOVER)
    return open_dirty (ext, error);
  return h2k_ext_reopen (ext, ext->changes ? EXT2_FLAG_RW : 0, error)
         && (!ext->changes || h2k_ext_clear_orphans (ext, error));
}

static void
ext_close (H2kFs *fs)
{
  ExtFs *ext = (ExtFs *)fs;

  if (ext->fs)
    ext2fs_free (ext->fs);
  h2k_ext_forget_names (ext);
  g_free (ext);
}

static gpointer
register_messages (gpointer unused)
{
  initialize_ext2_error_table ();
  return NULL;
}

static H2kFs *
open_as (H2kDisk *volume, const H2kFsId *id, gboolean writable, GError **error)
{
  static GOnce once = G_ONCE_INIT;
  ExtFs *ext = g_new0 (ExtFs, 1);

  g_once (&once, register_messages, NULL);
  h2k_fs_init (&ext->base, &h2k_ext_ops, volume, id);
  ext->changes = ext->base.writable = writable;
  if (open_checked (ext, error))
    return &ext->base;
  h2k_fs_free (&ext->base);
  return NULL;
}

static H2kFs *
ext_open (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  return open_as (volume, id, h2k_disk_is_writable (volume), error);
}

H2kFs *
h2k_ext_open_read_only (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  return open_as (volume, id, FALSE, error);
}

gboolean
h2k_ext_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "ext2") || g_str_equal (id->type, "ext3")
         || g_str_equal (id->type, "ext4");
}

const H2kFsOps h2k_ext_ops = {
    .name = "ext",
    .takes = h2k_ext_takes,
    .open = ext_open,
    .lstat = ext_lstat,
    .list = ext_list,
    .readlink = ext_readlink,
    .read = ext_read,
    .places = h2k_ext_swap_places,
    .write = h2k_ext_write,
    .truncate = h2k_ext_truncate,
    .create = h2k_ext_create,
    .remove = h2k_ext_remove,
    .rename = h2k_ext_rename,
    .set_stat = h2k_ext_set_stat,
    .list_xattr = h2k_ext_list_xattr,
    .get_xattr = h2k_ext_get_xattr,
    .set_xattr = h2k_ext_set_xattr,
    .free_space = ext_free_space,
    .flush = h2k_ext_flush,
    .close = ext_close,
};
