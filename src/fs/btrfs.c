/* btrfs.c - files on btrfs, read-only: opening, finding names, reading.
 *
 * A path begins at the top level, as under a mount with subvolid=5, and goes through subvolumes as
 * through directories. The log tree is not replayed: when there is one, files read as they were at
 * the last commit.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Reads of more than this at once are refused: whoever reads bigger files reads pieces. */
#define MAX_READ ((guint64)2 << 30)
#define MAX_LINK 4096u
#define MAX_ENTRIES (4u << 20)
#define MAX_ROOTS 4096u
#define MAX_UNPACKED (4u << 20)

/* What Linux gives a directory that stands for a subvolume that is not there. */
#define EMPTY_DIRECTORY 2u

/* struct btrfs_inode_item */
enum
{
  INODE_SIZE = 16,
  INODE_NLINK = 40,
  INODE_UID = 44,
  INODE_GID = 48,
  INODE_MODE = 52,
  INODE_RDEV = 56,
  INODE_FLAGS = 64,
  INODE_ATIME = 112,
  INODE_CTIME = 124,
  INODE_MTIME = 136,
  INODE_ITEM_SIZE = 160,

  INODE_FLAG_NODATASUM = 1,
};

#define ENTRY_SIZE 30u
#define REF_SIZE 18u

static gboolean
refuse (const BtrfsFs *fs, H2kError code, GError **error, const char *path, const char *why)
{
  g_autofree char *quoted = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s", fs->base.volume->name, quoted, why);
  return FALSE;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* The entry at *AT of the item; *AT gets where the next one is. */
static gboolean
parse_entry (const BtrfsCursor *cursor, guint32 *at, BtrfsEntry *entry, GError **error)
{
  const guint8 *p = cursor->data + *at;
  guint32 left = cursor->size - *at;

  if (left < ENTRY_SIZE)
    return h2k_btrfs_corrupt (cursor->volume, error, "a directory's entry is cut off");
  entry->location = (BtrfsKey){h2k_le64 (p), p[8], h2k_le64 (p + 9)};
  entry->data_length = h2k_le16 (p + 25);
  entry->name_length = h2k_le16 (p + 27);
  entry->name = p + ENTRY_SIZE;
  entry->data = entry->name + entry->name_length;
  if (entry->name_length + entry->data_length > left - ENTRY_SIZE)
    return h2k_btrfs_corrupt (cursor->volume, error, "a directory's entry is cut off");
  *at += ENTRY_SIZE + entry->name_length + entry->data_length;
  return TRUE;
}

gboolean
h2k_btrfs_find_entry (BtrfsCursor *cursor, guint64 object, guint type, const char *name,
                      BtrfsEntry *entry, GError **error)
{
  gsize length = strlen (name);
  const BtrfsKey key = {object, type, h2k_crc32c (~1u, name, length)};

  if (!h2k_btrfs_seek (cursor, &key, error))
    return FALSE;
  if (cursor->leaf && cursor->key.objectid == object && cursor->key.type == type
      && cursor->key.offset == key.offset)
    for (guint32 at = 0; at < cursor->size;)
      {
        if (!parse_entry (cursor, &at, entry, error))
          return FALSE;
        if (entry->name_length == length && memcmp (entry->name, name, length) == 0)
          return TRUE;
      }
  h2k_btrfs_cursor_clear (cursor);
  return TRUE;
}

/* --- inodes ----------------------------------------------------------------------------------- */

static gboolean
read_inode (BtrfsFs *fs, const BtrfsRoot *root, guint64 number, BtrfsInode *inode, GError **error)
{
  g_auto (BtrfsCursor) cursor = {&fs->volume, root};
  const BtrfsKey key = {number, BTRFS_INODE_ITEM, 0};
  const guint8 *item;
  guint64 device;

  if (!h2k_btrfs_seek (&cursor, &key, error))
    return FALSE;
  if (!cursor.leaf || cursor.key.objectid != number || cursor.key.type != BTRFS_INODE_ITEM
      || cursor.key.offset != 0 || cursor.size < INODE_ITEM_SIZE)
    return h2k_btrfs_corrupt (&fs->volume, error, "a name leads to no inode");
  item = cursor.data;
  device = h2k_le64 (item + INODE_RDEV);
  *inode = (BtrfsInode){
      .root = *root,
      .number = number,
      .mode = h2k_le32 (item + INODE_MODE),
      .uid = h2k_le32 (item + INODE_UID),
      .gid = h2k_le32 (item + INODE_GID),
      .nlink = h2k_le32 (item + INODE_NLINK),
      .size = h2k_le64 (item + INODE_SIZE),
      /* As the kernel has it in memory: 12 bits and 20. */
      .rdev = makedev ((guint)(device >> 20) & 0xfff, (guint)device & 0xfffff),
      .atime = (gint64)h2k_le64 (item + INODE_ATIME),
      .mtime = (gint64)h2k_le64 (item + INODE_MTIME),
      .ctime = (gint64)h2k_le64 (item + INODE_CTIME),
      .mtime_nsec = h2k_le32 (item + INODE_MTIME + 8),
      .ctime_nsec = h2k_le32 (item + INODE_CTIME + 8),
      .has_no_sums = (h2k_le64 (item + INODE_FLAGS) & INODE_FLAG_NODATASUM) != 0,
  };
  return inode->size <= G_MAXINT64
         || h2k_btrfs_corrupt (&fs->volume, error, "a file's size makes no sense");
}

gboolean
h2k_btrfs_get_subvolume (BtrfsFs *fs, guint64 id, BtrfsRoot *root, GError **error)
{
  const BtrfsRoot *known = g_hash_table_lookup (fs->roots, &id);
  BtrfsRoot *copy;

  if (known)
    {
      *root = *known;
      return TRUE;
    }
  if (!h2k_btrfs_is_subvolume (id))
    return h2k_btrfs_corrupt (&fs->volume, error, "a name leads to no subvolume");
  if (!h2k_btrfs_find_root (&fs->volume, id, root, error))
    return FALSE;
  if (g_hash_table_size (fs->roots) >= MAX_ROOTS)
    g_hash_table_remove_all (fs->roots);
  copy = g_memdup2 (root, sizeof *root);
  g_hash_table_insert (fs->roots, &copy->owner, copy);
  return TRUE;
}

/* --- finding ---------------------------------------------------------------------------------- */

/* Whether the subvolume ID is in DIR under NAME: a snapshot has the entries of what was mounted in
 * its original, but not the subvolumes. A reference: le64 0 directory, le16 16 length of the
 * name, the name. */
static gboolean
has_subvolume (BtrfsFs *fs, const BtrfsInode *dir, guint64 id, const char *name, gboolean *has,
               GError **error)
{
  g_auto (BtrfsCursor) cursor = {&fs->volume, &fs->volume.root_tree};
  const BtrfsKey key = {dir->root.owner, BTRFS_ROOT_REF, id};
  gsize length = strlen (name);

  if (!h2k_btrfs_seek (&cursor, &key, error))
    return FALSE;
  *has = cursor.leaf && cursor.key.objectid == key.objectid && cursor.key.type == key.type
         && cursor.key.offset == id && cursor.size == REF_SIZE + length
         && h2k_le64 (cursor.data) == dir->number && h2k_le16 (cursor.data + 16) == length
         && memcmp (cursor.data + REF_SIZE, name, length) == 0;
  return TRUE;
}

/* Go into the subvolume ID, which DIR has under NAME. */
static gboolean
enter_subvolume (BtrfsFs *fs, const BtrfsInode *dir, guint64 id, const char *name,
                 BtrfsInode *inode, GError **error)
{
  gboolean has;
  BtrfsRoot root;

  if (!has_subvolume (fs, dir, id, name, &has, error))
    return FALSE;
  if (has)
    return h2k_btrfs_get_subvolume (fs, id, &root, error)
           && read_inode (fs, &root, BTRFS_FIRST_INODE, inode, error);
  *inode = *dir;
  inode->number = EMPTY_DIRECTORY;
  inode->mode = S_IFDIR | 0755;
  inode->nlink = 1;
  inode->size = 0;
  return TRUE;
}

static gboolean
check_dir (const BtrfsFs *fs, const BtrfsInode *inode, const char *path, GError **error)
{
  if (S_ISDIR (inode->mode))
    return TRUE;
  if (S_ISLNK (inode->mode))
    return refuse (fs, H2K_ERROR_FILESYSTEM, error, path, "symbolic links are not followed here");
  return refuse (fs, H2K_ERROR_FAILED, error, path, "not a directory");
}

/* Go from the directory INODE to what it has under NAME. PATH: for messages. */
static gboolean
step (BtrfsFs *fs, BtrfsInode *inode, const char *name, const char *path, GError **error)
{
  const BtrfsInode dir = *inode;
  g_auto (BtrfsCursor) cursor = {&fs->volume, &dir.root};
  BtrfsEntry entry;

  if (!check_dir (fs, inode, path, error)
      || !h2k_btrfs_find_entry (&cursor, dir.number, BTRFS_DIR_ITEM, name, &entry, error))
    return FALSE;
  if (!cursor.leaf || dir.number == EMPTY_DIRECTORY)
    return refuse (fs, H2K_ERROR_FAILED, error, path, "no such file or directory");
  if (entry.location.type == BTRFS_INODE_ITEM)
    return read_inode (fs, &dir.root, entry.location.objectid, inode, error);
  if (entry.location.type == BTRFS_ROOT_ITEM)
    return enter_subvolume (fs, &dir, entry.location.objectid, name, inode, error);
  return h2k_btrfs_corrupt (&fs->volume, error, "a name leads to nothing that can be in a path");
}

gboolean
h2k_btrfs_find (BtrfsFs *fs, const char *path, BtrfsInode *inode, GError **error)
{
  const char *p = path;
  BtrfsRoot top;

  if (!h2k_btrfs_get_subvolume (fs, BTRFS_TOP_TREE, &top, error)
      || !read_inode (fs, &top, BTRFS_FIRST_INODE, inode, error))
    return FALSE;
  for (p += strspn (p, "/"); *p; p += strspn (p, "/"))
    {
      gsize n = strcspn (p, "/");
      g_autofree char *name = g_strndup (p, n);
      if (!step (fs, inode, name, path, error))
        return FALSE;
      p += n;
    }
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Subvolumes number their inodes each for itself: the tree's id is laid over the upper bits, 0 for
 * the top level. Unique as long as inodes have no more than 40 bits and trees no more than 24. */
static guint64
inode_number (const BtrfsInode *inode)
{
  guint64 tree = inode->root.owner;

  return inode->number ^ (tree == BTRFS_TOP_TREE ? 0 : tree << 40);
}

static gboolean
btrfs_lstat (H2kFs *base, const char *path, H2kStat *st, GError **error)
{
  BtrfsInode inode;

  if (!h2k_btrfs_find ((BtrfsFs *)base, path, &inode, error))
    return FALSE;
  *st = (H2kStat){
      .mode = inode.mode,
      .uid = inode.uid,
      .gid = inode.gid,
      .size = inode.size,
      .inode = inode_number (&inode),
      .nlink = inode.nlink,
      .atime = inode.atime,
      .mtime = inode.mtime,
      .ctime = inode.ctime,
      .mtime_nsec = inode.mtime_nsec,
      .ctime_nsec = inode.ctime_nsec,
  };
  if (S_ISCHR (st->mode) || S_ISBLK (st->mode))
    st->rdev = inode.rdev;
  return TRUE;
}

/* Add the name of the one entry that CURSOR is at; what cannot be part of a path is left out. */
static gboolean
add_name (const BtrfsCursor *cursor, GPtrArray *names, GError **error)
{
  BtrfsEntry entry = {0};
  guint32 at = 0;

  if (!parse_entry (cursor, &at, &entry, error))
    return FALSE;
  if (names->len >= MAX_ENTRIES)
    return h2k_btrfs_corrupt (cursor->volume, error, "a directory has too many entries");
  if (entry.name_length && !memchr (entry.name, 0, entry.name_length)
      && !memchr (entry.name, '/', entry.name_length)
      && (entry.name_length > 2 || memcmp (entry.name, "..", entry.name_length) != 0))
    g_ptr_array_add (names, g_strndup ((const char *)entry.name, entry.name_length));
  return TRUE;
}

static GPtrArray *
btrfs_list (H2kFs *base, const char *path, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_auto (BtrfsCursor) cursor = {&fs->volume};
  BtrfsInode inode;
  BtrfsKey first;

  if (!h2k_btrfs_find (fs, path, &inode, error) || !check_dir (fs, &inode, path, error))
    return NULL;
  if (inode.number == EMPTY_DIRECTORY)
    return g_steal_pointer (&names);
  cursor.root = &inode.root;
  first = (BtrfsKey){inode.number, BTRFS_DIR_INDEX, 0};
  if (!h2k_btrfs_seek (&cursor, &first, error))
    return NULL;
  while (cursor.leaf && cursor.key.objectid == inode.number && cursor.key.type == BTRFS_DIR_INDEX)
    if (!add_name (&cursor, names, error) || !h2k_btrfs_next (&cursor, error))
      return NULL;
  return g_steal_pointer (&names);
}

static GBytes *
btrfs_read (H2kFs *base, const char *path, guint64 offset, gsize length, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_autofree guint8 *buffer = NULL;
  const char *why = NULL;
  BtrfsInode inode;

  if (!h2k_btrfs_find (fs, path, &inode, error))
    return NULL;
  length = (gsize)MIN (length, offset < inode.size ? inode.size - offset : 0);
  if (!S_ISREG (inode.mode))
    why = "not a regular file";
  else if (length > MAX_READ || !(buffer = g_try_malloc0 (MAX (length, 1))))
    why = "the file is too large to be read at once";
  if (why)
    {
      refuse (fs, H2K_ERROR_FILESYSTEM, error, path, why);
      return NULL;
    }
  if (!h2k_btrfs_read_file (fs, &inode, offset, length, buffer, error))
    return NULL;
  return g_bytes_new_take (g_steal_pointer (&buffer), length);
}

static char *
btrfs_readlink (H2kFs *base, const char *path, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_autofree guint8 *target = NULL;
  BtrfsInode inode;

  if (!h2k_btrfs_find (fs, path, &inode, error))
    return NULL;
  if (!S_ISLNK (inode.mode) || inode.size == 0 || inode.size > MAX_LINK)
    {
      refuse (fs, H2K_ERROR_FILESYSTEM, error, path,
              S_ISLNK (inode.mode) ? "a symbolic link of impossible length"
                                   : "not a symbolic link");
      return NULL;
    }
  target = g_malloc0 (inode.size + 1);
  if (!h2k_btrfs_read_file (fs, &inode, 0, (gsize)inode.size, target, error))
    return NULL;
  return (char *)g_steal_pointer (&target);
}

static GPtrArray *
btrfs_list_xattr (H2kFs *base, const char *path, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_auto (BtrfsCursor) cursor = {&fs->volume};
  BtrfsInode inode;
  BtrfsKey first;

  if (!h2k_btrfs_find (fs, path, &inode, error))
    return NULL;
  cursor.root = &inode.root;
  first = (BtrfsKey){inode.number, BTRFS_XATTR_ITEM, 0};
  if (!h2k_btrfs_seek (&cursor, &first, error))
    return NULL;
  while (cursor.leaf && cursor.key.objectid == inode.number && cursor.key.type == BTRFS_XATTR_ITEM)
    {
      BtrfsEntry entry = {0};
      for (guint32 at = 0; at < cursor.size;)
        {
          if (!parse_entry (&cursor, &at, &entry, error))
            return NULL;
          g_ptr_array_add (names, g_strndup ((const char *)entry.name, entry.name_length));
        }
      if (!h2k_btrfs_next (&cursor, error))
        return NULL;
    }
  return g_steal_pointer (&names);
}

static GBytes *
btrfs_get_xattr (H2kFs *base, const char *path, const char *name, GError **error)
{
  BtrfsFs *fs = (BtrfsFs *)base;
  g_auto (BtrfsCursor) cursor = {&fs->volume};
  BtrfsInode inode;
  BtrfsEntry entry;

  if (!h2k_btrfs_find (fs, path, &inode, error))
    return NULL;
  cursor.root = &inode.root;
  if (!h2k_btrfs_find_entry (&cursor, inode.number, BTRFS_XATTR_ITEM, name, &entry, error)
      || !cursor.leaf)
    return NULL;
  return g_bytes_new (entry.data, entry.data_length);
}

/* An upper bound: what is stored twice takes twice as much. */
static guint64
btrfs_free_space (H2kFs *base)
{
  const BtrfsVolume *volume = &((BtrfsFs *)base)->volume;

  return volume->size - MIN (volume->bytes_used, volume->size);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void add_note (BtrfsFs *fs, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add_note (BtrfsFs *fs, const char *format, ...)
{
  g_autofree char *text = NULL, *before = g_steal_pointer (&fs->base.note);
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  fs->base.note = before ? g_strjoin ("; ", before, text, NULL) : g_steal_pointer (&text);
}

/* What is to be known of its devices, and whether they allow changes: what is written while one is
 * away, or to a seed, makes several filesystems out of one. */
static void
look_at_devices (BtrfsFs *fs)
{
  const BtrfsVolume *volume = &fs->volume;
  g_autofree char *missing = h2k_btrfs_missing_devices (volume);

  if (missing)
    {
      add_note (fs, "%s is on none of the disks: what the others have no copy of cannot be read",
                missing);
      fs->base.frozen = g_strdup_printf ("%s is missing: give every disk of the VM", missing);
    }
  else if (volume->is_seed)
    fs->base.frozen = g_strdup ("it is a seed device, which other filesystems may build on");
  for (guint i = 0; i < volume->devices->len; i++)
    {
      const BtrfsDevice *device = &g_array_index (volume->devices, BtrfsDevice, i);
      /* When the system stopped between two superblocks, it is one less. */
      if (!device->is_behind || volume->generation - device->generation < 2)
        continue;
      add_note (fs, "%s was away while the others were written", device->name);
      if (!fs->base.frozen)
        fs->base.frozen = g_strdup_printf ("%s was away while its other devices were written: run "
                                           "btrfs scrub in the guest",
                                           device->name);
    }
}

static gboolean
open_checked (BtrfsFs *fs, GError **error)
{
  BtrfsInode top;

  if (!h2k_btrfs_open (&fs->volume, fs->base.volume, BTRFS_FOR_FILES, error)
      || !h2k_btrfs_find_root (&fs->volume, BTRFS_CSUM_TREE, &fs->sums, error)
      || !h2k_btrfs_find (fs, "/", &top, error))
    return FALSE;
  if (fs->volume.has_errors)
    add_note (fs, "its superblock says that errors were found in it; look at it with btrfs check");
  else if (fs->volume.has_log)
    add_note (fs, "it was not unmounted: its log tree was not replayed, so that files may read as "
                  "they were before the last changes");
  look_at_devices (fs);
  return S_ISDIR (top.mode)
         || h2k_btrfs_corrupt (&fs->volume, error, "its root is not a directory");
}

static void
btrfs_close (H2kFs *base)
{
  BtrfsFs *fs = (BtrfsFs *)base;

  h2k_btrfs_clear (&fs->volume);
  g_hash_table_unref (fs->roots);
  h2k_cache_free (fs->unpacked);
  g_free (fs);
}

static H2kFs *
btrfs_open (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  BtrfsFs *fs = g_new0 (BtrfsFs, 1);

  h2k_fs_init (&fs->base, &h2k_btrfs_ops, volume, id);
  fs->roots = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, g_free);
  fs->unpacked = h2k_cache_new (MAX_UNPACKED);
  if (open_checked (fs, error))
    return &fs->base;
  h2k_fs_free (&fs->base);
  return NULL;
}

static gboolean
btrfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "btrfs");
}

const H2kFsOps h2k_btrfs_ops = {
    .name = "btrfs",
    .takes = btrfs_takes,
    .open = btrfs_open,
    .lstat = btrfs_lstat,
    .list = btrfs_list,
    .readlink = btrfs_readlink,
    .read = btrfs_read,
    .subvolumes = h2k_btrfs_subvolumes,
    .list_xattr = btrfs_list_xattr,
    .get_xattr = btrfs_get_xattr,
    .free_space = btrfs_free_space,
    .close = btrfs_close,
};
