/* fat.c - FAT12, FAT16 and FAT32: opening, finding names, reading.
 *
 * "Microsoft Extensible Firmware Initiative FAT32 File System Specification" 1.03; where that is
 * silent, what fs/fat of the Linux kernel does. Times are taken as UTC. There are no owners, modes
 * and links: files look as in a mount by root with Linux's defaults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat.h"

#include <sys/stat.h>

/* Reads of more than this at once are refused: whoever reads bigger files reads pieces. */
#define MAX_READ ((guint64)2 << 30)

gboolean
h2k_fat_refuse (FatFs *fat, H2kError code, GError **error, const char *path, const char *why)
{
  g_autofree char *quoted = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s", fat->base.volume->name, quoted, why);
  return FALSE;
}

/* --- finding ---------------------------------------------------------------------------------- */

gboolean
h2k_fat_is_dir (const FatFile *file)
{
  return !file->dir || (file->raw[SLOT_ATTRIBUTES] & FAT_DIRECTORY);
}

guint32
h2k_fat_first (const FatFs *fat, const FatFile *file)
{
  if (!file->dir)
    return fat->layout.bits == 32 ? (guint32)fat->layout.root : 0;
  return h2k_le16 (file->raw + SLOT_CLUSTER_LOW)
         | (fat->layout.bits == 32 ? (guint32)h2k_le16 (file->raw + SLOT_CLUSTER_HIGH) << 16 : 0);
}

guint32
h2k_fat_size (const FatFile *file)
{
  return h2k_le32 (file->raw + SLOT_SIZE);
}

FatDir *
h2k_fat_open_dir (FatFs *fat, const FatFile *file, const char *path, GError **error)
{
  guint32 first = h2k_fat_first (fat, file);

  if (!h2k_fat_is_dir (file))
    h2k_fat_refuse (fat, H2K_ERROR_FAILED, error, path, "not a directory");
  else if (file->dir && first == 0)
    h2k_fat_corrupt (fat->base.volume, error, "a directory has no place");
  else
    return h2k_fat_dir_load (fat, first, error);
  return NULL;
}

/* Walk from the root along the LENGTH first bytes of PATH. */
static gboolean
find (FatFs *fat, const char *path, gsize length, guint32 inside, FatFile *file, GError **error)
{
  const char *p = path, *end = path + length;

  h2k_fat_file_clear (file);
  for (;;)
    {
      g_autoptr (FatDir) dir = NULL;
      g_autofree char *name = NULL;
      const char *start;

      while (p < end && *p == '/')
        p++;
      if (p == end)
        return TRUE;
      start = p;
      while (p < end && *p != '/')
        p++;
      dir = h2k_fat_open_dir (fat, file, path, error);
      if (!dir)
        return FALSE;
      h2k_fat_file_clear (file);
      name = g_strndup (start, (gsize)(p - start));
      if (!h2k_fat_dir_find (dir, name, file))
        return h2k_fat_refuse (fat, H2K_ERROR_FAILED, error, path, "no such file or directory");
      if (inside && h2k_fat_is_dir (file) && h2k_fat_first (fat, file) == inside)
        return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                               "a directory cannot be moved into itself");
    }
}

gboolean
h2k_fat_find (FatFs *fat, const char *path, FatFile *file, GError **error)
{
  return find (fat, path, strlen (path), 0, file, error);
}

FatDir *
h2k_fat_find_parent (FatFs *fat, const char *path, guint32 inside, const char **name,
                     GError **error)
{
  const char *slash = strrchr (path, '/');
  g_auto (FatFile) parent = {0};

  *name = slash ? slash + 1 : path;
  if (!**name || strcmp (*name, ".") == 0 || strcmp (*name, "..") == 0)
    {
      h2k_fat_refuse (fat, H2K_ERROR_FAILED, error, path, "not a name that can be changed");
      return NULL;
    }
  if (!find (fat, path, (gsize)(*name - path), inside, &parent, error))
    return NULL;
  if (!h2k_fat_is_dir (&parent))
    {
      h2k_fat_refuse (fat, H2K_ERROR_FAILED, error, path, "its parent is not a directory");
      return NULL;
    }
  return h2k_fat_open_dir (fat, &parent, path, error);
}

/* --- reading ---------------------------------------------------------------------------------- */

static gint64
unpack_time (guint date, guint time)
{
  g_autoptr (GDateTime) when
      = g_date_time_new_utc (1980 + (int)(date >> 9), (int)(date >> 5 & 15), (int)(date & 31),
                             (int)(time >> 11), (int)(time >> 5 & 63), (int)(time & 31) * 2);

  return when ? g_date_time_to_unix (when) : 0;
}

static gboolean
fat_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};
  const guint8 *raw = file.raw;

  h2k_fat_begin (fat);
  if (!h2k_fat_find (fat, path, &file, error))
    return FALSE;
  *st = (H2kStat){.mode = h2k_fat_is_dir (&file) ? S_IFDIR | 0755 : S_IFREG | 0755, .nlink = 1};
  st->inode = 1;
  if (!file.dir)
    return TRUE;
  if (raw[SLOT_ATTRIBUTES] & FAT_READ_ONLY)
    st->mode &= ~0222u;
  st->size = h2k_fat_is_dir (&file) ? 0 : h2k_fat_size (&file);
  st->inode = h2k_fat_dir_offset (fat, file.dir, file.slot) / H2K_FAT_SLOT;
  st->mtime = unpack_time (h2k_le16 (raw + SLOT_WRITTEN + 2), h2k_le16 (raw + SLOT_WRITTEN));
  st->atime = unpack_time (h2k_le16 (raw + SLOT_ACCESSED), 0);
  st->ctime = st->mtime;
  return TRUE;
}

static GPtrArray *
fat_list (H2kFs *fs, const char *path, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_auto (FatFile) file = {0};
  g_autoptr (FatDir) dir = NULL;
  guint at = 0;

  h2k_fat_begin (fat);
  if (!h2k_fat_find (fat, path, &file, error)
      || !(dir = h2k_fat_open_dir (fat, &file, path, error)))
    return NULL;
  h2k_fat_file_clear (&file);
  while (h2k_fat_dir_next (dir, &at, &file))
    if (*file.name)
      g_ptr_array_add (names, g_strdup (file.name));
  return g_steal_pointer (&names);
}

static char *
fat_readlink (H2kFs *fs, const char *path, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};

  h2k_fat_begin (fat);
  if (h2k_fat_find (fat, path, &file, error))
    h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, "not a symbolic link");
  return NULL;
}

/* Find the cluster with the number INDEX of the chain that begins with FIRST. */
static gboolean
skip (FatFs *fat, guint32 first, guint32 index, guint32 *cluster, GError **error)
{
  guint32 at = 0;

  *cluster = first;
  if (first == fat->last_first && index >= fat->last_index)
    {
      at = fat->last_index;
      *cluster = fat->last_cluster;
    }
  if (first < 2 || first >= fat->layout.end)
    return h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters begins nowhere");
  for (; at < index && *cluster; at++)
    if (!h2k_fat_next (fat, *cluster, cluster, error))
      return FALSE;
  return *cluster || h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters is short");
}

/* The runs of the LENGTH bytes at OFFSET; *INSIDE is where in the first of them OFFSET is. */
static GArray *
map (FatFs *fat, guint32 first, guint64 offset, guint64 length, guint64 *inside, GError **error)
{
  g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (FatRun));
  guint32 size = fat->layout.cluster, index = (guint32)(offset / size), cluster;
  guint64 wanted, count;

  *inside = offset % size;
  wanted = (*inside + length + size - 1) / size;
  if (!skip (fat, first, index, &cluster, error)
      || !h2k_fat_collect (fat, cluster, wanted, runs, &count, error))
    return NULL;
  if (count < wanted)
    {
      h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters is short");
      return NULL;
    }
  fat->last_first = first;
  fat->last_index = index + (guint32)(wanted - 1);
  fat->last_cluster = h2k_fat_last_of (runs);
  return g_steal_pointer (&runs);
}

static GBytes *
fat_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};
  g_autoptr (GArray) runs = NULL;
  g_autofree guint8 *buffer = NULL;
  guint64 inside;
  guint32 size;

  h2k_fat_begin (fat);
  if (!h2k_fat_find (fat, path, &file, error))
    return NULL;
  if (h2k_fat_is_dir (&file))
    {
      h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, "not a regular file");
      return NULL;
    }
  size = h2k_fat_size (&file);
  length = (gsize)MIN (length, offset < size ? size - offset : 0);
  if (length == 0)
    return g_bytes_new (NULL, 0);
  if (length > MAX_READ)
    {
      h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                      "the file is too large to be read at once");
      return NULL;
    }
  runs = map (fat, h2k_fat_first (fat, &file), offset, length, &inside, error);
  if (!runs)
    return NULL;
  buffer = g_malloc (length);
  if (!h2k_fat_transfer (fat, FAT_READ, runs, inside, length, buffer, error))
    return NULL;
  return g_bytes_new_take (g_steal_pointer (&buffer), length);
}

static GPtrArray *
fat_list_xattr (H2kFs *fs, const char *path, GError **error)
{
  H2kStat st;

  return fat_lstat (fs, path, &st, error) ? g_ptr_array_new_with_free_func (g_free) : NULL;
}

static GBytes *
fat_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error)
{
  H2kStat st;

  fat_lstat (fs, path, &st, error);
  return NULL;
}

static guint64
fat_free_space (H2kFs *fs)
{
  FatFs *fat = (FatFs *)fs;
  guint64 count;

  h2k_fat_begin (fat);
  return h2k_fat_count_free (fat, &count, NULL) ? count * fat->layout.cluster : 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* What the volume says of its free clusters is a hint, unless it was not unmounted. */
static gboolean
read_info (FatFs *fat, GError **error)
{
  guint8 info[512];
  guint32 count, next;

  if (!fat->layout.info)
    return TRUE;
  if (!h2k_disk_pread (fat->base.volume, fat->layout.info, sizeof info, info, error))
    return FALSE;
  if (memcmp (info, "RRaA", 4) != 0 || memcmp (info + 484, "rrAa", 4) != 0)
    {
      fat->layout.info = 0;
      return TRUE;
    }
  count = h2k_le32 (info + 488);
  next = h2k_le32 (info + 492);
  if (fat->left_clean && count <= fat->layout.end - 2)
    fat->info_free = count;
  if (next >= 2 && next < fat->layout.end)
    fat->next_free = next;
  return TRUE;
}

static gboolean
open_checked (FatFs *fat, GError **error)
{
  g_autoptr (FatDir) root = NULL;
  guint32 entry;

  if (!h2k_fat_read_layout (fat->base.volume, &fat->layout, error)
      || !h2k_fat_get (fat, 1, &entry, error))
    return FALSE;
  fat->left_clean = !(fat->layout.state & (H2K_FAT_STATE_DIRTY | H2K_FAT_STATE_ERRORS))
                    && h2k_fat_left_clean (&fat->layout, entry);
  if (!fat->left_clean)
    fat->base.note = g_strdup ("it was not unmounted cleanly, or had errors: let chkdsk or "
                               "fsck.fat look at it in the guest");
  root = h2k_fat_open_dir (fat, &(FatFile){0}, "/", error);
  return root && read_info (fat, error);
}

static void
fat_close (H2kFs *fs)
{
  FatFs *fat = (FatFs *)fs;

  h2k_fat_chains_clear (fat);
  g_free (fat);
}

static H2kFs *
fat_open (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  FatFs *fat = g_new0 (FatFs, 1);

  h2k_fs_init (&fat->base, &h2k_fat_ops, volume, id);
  h2k_fat_chains_init (fat);
  h2k_fat_begin (fat);
  if (open_checked (fat, error))
    return &fat->base;
  h2k_fs_free (&fat->base);
  return NULL;
}

static gboolean
fat_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "vfat");
}

const H2kFsOps h2k_fat_ops = {
    .name = "fat",
    .takes = fat_takes,
    .open = fat_open,
    .lstat = fat_lstat,
    .list = fat_list,
    .readlink = fat_readlink,
    .read = fat_read,
    .write = h2k_fat_write,
    .truncate = h2k_fat_truncate,
    .create = h2k_fat_create,
    .remove = h2k_fat_remove,
    .rename = h2k_fat_rename,
    .set_stat = h2k_fat_set_stat,
    .list_xattr = fat_list_xattr,
    .get_xattr = fat_get_xattr,
    .free_space = fat_free_space,
    .flush = h2k_fat_flush,
    .close = fat_close,
};
