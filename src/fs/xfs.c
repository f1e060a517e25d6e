/* xfs.c - XFS, read-only: opening, finding names, reading.
 *
 * Versions 4 and 5 with all that Linux 6.6 makes by default. The log is not replayed: when it holds
 * changes, files read as they were before them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "fs/xfs.h"

#include "disk/cache.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Reads of more than this at once are refused: whoever reads bigger files reads pieces. */
#define MAX_READ ((guint64)2 << 30)
#define MAX_CACHED (8u << 20)
#define MAX_LINK 1024u

/* Of a link outside of its inode, since version 5. */
enum
{
  LINK_HEADER = 56,
  LINK_BYTES = 8,
  LINK_CRC = 12,
  LINK_UUID = 16,
};

static gboolean
refuse (const XfsFs *xfs, H2kError code, GError **error, const char *path, const char *why)
{
  g_autofree char *quoted = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s", xfs->base.volume->name, quoted, why);
  return FALSE;
}

/* --- finding ---------------------------------------------------------------------------------- */

static const XfsDir *
open_dir (XfsFs *xfs, const XfsInode *inode, const char *path, GError **error)
{
  if (S_ISDIR (inode->mode))
    return h2k_xfs_read_dir (xfs, inode, error);
  if (S_ISLNK (inode->mode))
    refuse (xfs, H2K_ERROR_FILESYSTEM, error, path, "symbolic links are not followed here");
  else
    refuse (xfs, H2K_ERROR_FAILED, error, path, "not a directory");
  return NULL;
}

static gboolean
find (XfsFs *xfs, const char *path, XfsInode *inode, GError **error)
{
  const char *p = path;

  if (!h2k_xfs_read_inode (xfs, xfs->layout.root, inode, error))
    return FALSE;
  for (p += strspn (p, "/"); *p; p += strspn (p, "/"))
    {
      gsize n = strcspn (p, "/");
      g_autofree char *name = g_strndup (p, n);
      const XfsDir *dir = open_dir (xfs, inode, path, error);
      const guint64 *number = dir ? g_hash_table_lookup (dir->entries, name) : NULL;

      if (!dir)
        return FALSE;
      if (!number)
        return refuse (xfs, H2K_ERROR_FAILED, error, path, "no such file or directory");
      if (!h2k_xfs_read_inode (xfs, *number, inode, error))
        return FALSE;
      p += n;
    }
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* As System V has it: 14 bits and 18. */
static guint64
device_number (const XfsFs *xfs, const XfsInode *inode)
{
  XfsFork fork;
  guint32 dev;

  if (!h2k_xfs_fork (xfs, inode, XFS_DATA, &fork) || fork.size < 4)
    return 0;
  dev = h2k_be32 (fork.bytes);
  return makedev (dev >> 18 & 0x3fff, dev & 0x3ffff);
}

static gboolean
xfs_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  XfsInode inode;

  if (!find (xfs, path, &inode, error))
    return FALSE;
  *st = (H2kStat){
      .mode = inode.mode,
      .uid = inode.uid,
      .gid = inode.gid,
      .size = inode.size,
      .inode = inode.number,
      .nlink = inode.nlink,
      .atime = inode.atime,
      .mtime = inode.mtime,
      .ctime = inode.ctime,
      .mtime_nsec = inode.mtime_nsec,
      .ctime_nsec = inode.ctime_nsec,
  };
  if (S_ISCHR (st->mode) || S_ISBLK (st->mode))
    st->rdev = device_number (xfs, &inode);
  return TRUE;
}

static GPtrArray *
xfs_list (H2kFs *fs, const char *path, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  GPtrArray *names;
  GHashTableIter iter;
  const XfsDir *dir;
  XfsInode inode;
  gpointer name;

  if (!find (xfs, path, &inode, error) || !(dir = open_dir (xfs, &inode, path, error)))
    return NULL;
  names = g_ptr_array_new_with_free_func (g_free);
  g_hash_table_iter_init (&iter, dir->entries);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_ptr_array_add (names, g_strdup (name));
  return names;
}

static GBytes *
xfs_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  g_autofree guint8 *buffer = NULL;
  const char *why = NULL;
  XfsInode inode;
  XfsFork fork;

  if (!find (xfs, path, &inode, error))
    return NULL;
  length = (gsize)MIN (length, offset < inode.size ? inode.size - offset : 0);
  if (!S_ISREG (inode.mode))
    why = "not a regular file";
  else if (length > MAX_READ || !(buffer = g_try_malloc (MAX (length, 1))))
    why = "the file is too large to be read at once";
  if (why)
    refuse (xfs, H2K_ERROR_FILESYSTEM, error, path, why);
  else if (inode.realtime)
    refuse (xfs, H2K_ERROR_UNSUPPORTED, error, path,
            "the file is on the filesystem's realtime device");
  if (why || inode.realtime)
    return NULL;
  if (!h2k_xfs_fork (xfs, &inode, XFS_DATA, &fork))
    {
      h2k_xfs_corrupt (xfs, error, "an inode is damaged");
      return NULL;
    }
  if (length && !h2k_xfs_read_fork (xfs, &inode, &fork, FALSE, offset, length, buffer, error))
    return NULL;
  return g_bytes_new_take (g_steal_pointer (&buffer), length);
}

/* Read a link that is not in its inode. Since version 5 each of its extents has a header. */
static gboolean
read_link_blocks (XfsFs *xfs, const XfsInode *inode, const XfsFork *fork, guint8 *target,
                  GError **error)
{
  guint log = xfs->layout.block_log;
  gsize header = xfs->layout.crc ? LINK_HEADER : 0, per_block = ((gsize)1 << log) - header;
  guint64 blocks = (inode->size + per_block - 1) / per_block;
  g_autofree guint8 *data = g_malloc ((gsize)blocks << log);

  for (guint64 done = 0, at = 0, n; done < inode->size; done += n)
    {
      XfsExtent extent;
      gsize size;

      if (at >= blocks)
        return h2k_xfs_corrupt (xfs, error, "a symbolic link is cut off");
      if (!h2k_xfs_map (xfs, inode, fork, at, &extent, error))
        return FALSE;
      extent.count = MIN (extent.count, blocks - at);
      size = (gsize)extent.count << log;
      if (!h2k_xfs_read_fork (xfs, inode, fork, TRUE, at << log, size, data, error))
        return FALSE;
      n = MIN (inode->size - done, size - header);
      if (header
          && (memcmp (data, "XSLM", 4) != 0 || h2k_be32 (data + LINK_BYTES) != n
              || !h2k_xfs_block_is_good (xfs, inode, data, size, LINK_CRC, LINK_UUID)))
        return h2k_xfs_corrupt (xfs, error, "a symbolic link is damaged");
      memcpy (target + done, data + header, n);
      at += extent.count;
    }
  return TRUE;
}

static char *
xfs_readlink (H2kFs *fs, const char *path, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  g_autofree guint8 *target = NULL;
  XfsInode inode;
  XfsFork fork;

  if (!find (xfs, path, &inode, error))
    return NULL;
  if (!S_ISLNK (inode.mode))
    {
      refuse (xfs, H2K_ERROR_FILESYSTEM, error, path, "not a symbolic link");
      return NULL;
    }
  if (inode.size == 0 || inode.size > MAX_LINK || !h2k_xfs_fork (xfs, &inode, XFS_DATA, &fork)
      || (fork.format == XFS_LOCAL && inode.size > fork.size))
    {
      refuse (xfs, H2K_ERROR_FILESYSTEM, error, path, "a symbolic link of impossible length");
      return NULL;
    }
  target = g_malloc0 (inode.size + 1);
  if (fork.format == XFS_LOCAL)
    memcpy (target, fork.bytes, inode.size);
  else if (!read_link_blocks (xfs, &inode, &fork, target, error))
    return NULL;
  return (char *)g_steal_pointer (&target);
}

static GPtrArray *
xfs_list_xattr (H2kFs *fs, const char *path, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  XfsInode inode;

  return find (xfs, path, &inode, error) ? h2k_xfs_list_attributes (xfs, &inode, error) : NULL;
}

static GBytes *
xfs_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error)
{
  XfsFs *xfs = (XfsFs *)fs;
  XfsInode inode;

  return find (xfs, path, &inode, error) ? h2k_xfs_get_attribute (xfs, &inode, name, error) : NULL;
}

static guint64
xfs_free_space (H2kFs *fs)
{
  const H2kXfsLayout *layout = &((XfsFs *)fs)->layout;

  return MIN (layout->free_blocks, layout->blocks) << layout->block_log;
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
open_checked (XfsFs *xfs, GError **error)
{
  gboolean clean = TRUE;
  XfsInode root;

  if (!h2k_xfs_read_layout (xfs->base.volume, &xfs->layout, error))
    return FALSE;
  if (!xfs->layout.log)
    xfs->base.note = g_strdup ("its log is on another device: changes that are only there cannot "
                               "be seen");
  else if (!h2k_xfs_log_is_clean (xfs->base.volume, &xfs->layout, &clean, error))
    return FALSE;
  if (!clean)
    xfs->base.note = g_strdup ("it was not unmounted: its log was not replayed, so that files may "
                               "read as they were before the last changes");
  if (!h2k_xfs_read_inode (xfs, xfs->layout.root, &root, error))
    return FALSE;
  return S_ISDIR (root.mode) || h2k_xfs_corrupt (xfs, error, "its root is not a directory");
}

static void
xfs_close (H2kFs *fs)
{
  XfsFs *xfs = (XfsFs *)fs;

  h2k_cache_free (xfs->chunks);
  g_hash_table_unref (xfs->dirs);
  g_free (xfs);
}

static H2kFs *
xfs_open (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  XfsFs *xfs = g_new0 (XfsFs, 1);

  h2k_fs_init (&xfs->base, &h2k_xfs_ops, volume, id);
  xfs->chunks = h2k_cache_new (MAX_CACHED);
  xfs->dirs = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, h2k_xfs_dir_free);
  if (open_checked (xfs, error))
    return &xfs->base;
  h2k_fs_free (&xfs->base);
  return NULL;
}

/* --- swap files ------------------------------------------------------------------------------- */

gboolean
h2k_xfs_swap_places (H2kFs *fs, const char *path, guint64 start, guint64 end, GArray *ranges)
{
  XfsFs *xfs = (XfsFs *)fs;
  guint log = xfs->layout.block_log, steps = 0;
  guint64 block = (start + ((guint64)1 << log) - 1) >> log;
  XfsExtent extent;
  XfsInode inode;
  XfsFork fork;

  if (!find (xfs, path, &inode, NULL) || inode.realtime || h2k_xfs_may_share (&inode)
      || !h2k_xfs_fork (xfs, &inode, XFS_DATA, &fork))
    return FALSE;
  for (; block < end >> log; block += extent.count)
    {
      if (steps++ > 2 * H2K_SWAP_MAX_RANGES
          || !h2k_xfs_map (xfs, &inode, &fork, block, &extent, NULL))
        return FALSE;
      extent.count = MIN (extent.count, (end >> log) - block);
      /* What was never written stays: it reads as zeros. */
      if (extent.offset && !h2k_swap_files_add (ranges, extent.offset, extent.count << log))
        return FALSE;
    }
  return TRUE;
}

static gboolean
xfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "xfs");
}

const H2kFsOps h2k_xfs_ops = {
    .name = "xfs",
    .takes = xfs_takes,
    .open = xfs_open,
    .lstat = xfs_lstat,
    .list = xfs_list,
    .readlink = xfs_readlink,
    .read = xfs_read,
    .places = h2k_xfs_swap_places,
    .list_xattr = xfs_list_xattr,
    .get_xattr = xfs_get_xattr,
    .free_space = xfs_free_space,
    .close = xfs_close,
};
