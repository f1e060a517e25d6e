/* fat-write.c - changes files and directories of FAT12, FAT16 and FAT32. fat.h says in which order.
 *
 * As with Linux, the boot sector says that the volume is in use from the first change until
 * h2k_fat_flush(), and a volume that was not unmounted cleanly stays marked so.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat.h"

#include <sys/stat.h>

/* Tables up to this size are counted for FSInfo when it had no number to go on from. */
#define MAX_COUNTED (4u << 20)
/* 1980-01-01 and 2107-12-31 23:59:58. */
#define FIRST_TIME G_GINT64_CONSTANT (315532800)
#define LAST_TIME G_GINT64_CONSTANT (4354819198)

static gboolean
begin_change (FatFs *fat, GError **error)
{
  h2k_fat_begin (fat);
  fat->last_first = 0;
  return h2k_fs_check_writable (&fat->base, error);
}

static gboolean
write_state (FatFs *fat, guint8 state, GError **error)
{
  return h2k_disk_pwrite (fat->base.volume, fat->layout.state_at, 1, &state, error);
}

/* From here on the operation writes. */
static gboolean
begin_writing (FatFs *fat, GError **error)
{
  fat->changed = TRUE;
  if (!fat->left_clean || fat->marked || !fat->layout.state_kept)
    return TRUE;
  fat->marked = write_state (fat, fat->layout.state | H2K_FAT_STATE_DIRTY, error);
  return fat->marked;
}

/* The disk failed while the operation wrote. */
static gboolean
broken_off (FatFs *fat)
{
  h2k_fat_undo (fat);
  fat->failed = TRUE;
  fat->free_clusters = fat->info_free = -1;
  return FALSE;
}

/* --- entries ---------------------------------------------------------------------------------- */

static void
put_le16 (guint8 *p, guint value)
{
  guint16 v = GUINT16_TO_LE ((guint16)value);
  memcpy (p, &v, sizeof v);
}

static void
set_first (const FatFs *fat, guint8 *raw, guint32 cluster)
{
  put_le16 (raw + SLOT_CLUSTER_LOW, cluster & 0xffff);
  /* What FAT12 and FAT16 have there is somebody else's. */
  if (fat->layout.bits == 32)
    put_le16 (raw + SLOT_CLUSTER_HIGH, cluster >> 16);
}

static void
set_size (guint8 *raw, guint32 size)
{
  guint32 v = GUINT32_TO_LE (size);
  memcpy (raw + SLOT_SIZE, &v, sizeof v);
}

static void
pack_time (gint64 seconds, guint *date, guint *time)
{
  g_autoptr (GDateTime) when
      = g_date_time_new_from_unix_utc (CLAMP (seconds, FIRST_TIME, LAST_TIME));

  *date = (guint)(g_date_time_get_year (when) - 1980) << 9
          | (guint)g_date_time_get_month (when) << 5 | (guint)g_date_time_get_day_of_month (when);
  *time = (guint)g_date_time_get_hour (when) << 11 | (guint)g_date_time_get_minute (when) << 5
          | (guint)g_date_time_get_second (when) / 2;
}

static void
set_times (guint8 *raw, gint64 mtime, gint64 atime)
{
  guint date, time;

  pack_time (mtime, &date, &time);
  put_le16 (raw + SLOT_WRITTEN, time);
  put_le16 (raw + SLOT_WRITTEN + 2, date);
  pack_time (atime, &date, &time);
  put_le16 (raw + SLOT_ACCESSED, date);
}

static gint64
now (void)
{
  return g_get_real_time () / G_USEC_PER_SEC;
}

/* A new entry without a name. */
static void
make_entry (const FatFs *fat, guint8 raw[H2K_FAT_SLOT], guint attributes, guint32 first)
{
  memset (raw, 0, H2K_FAT_SLOT);
  raw[SLOT_ATTRIBUTES] = (guint8)attributes;
  set_first (fat, raw, first);
  set_times (raw, now (), now ());
  memcpy (raw + SLOT_CREATED, raw + SLOT_WRITTEN, 4);
}

/* --- content ---------------------------------------------------------------------------------- */

/* All the clusters of FILE; NULL when they cannot be its own. */
static GArray *
whole_chain (FatFs *fat, const FatFile *file, guint64 *count, GError **error)
{
  g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (FatRun));
  guint32 first = h2k_fat_first (fat, file), size = h2k_fat_is_dir (file) ? 0 : h2k_fat_size (file);

  if (fat->layout.bits == 32 && first == fat->layout.root)
    {
      h2k_fat_corrupt (fat->base.volume, error, "a file is where the root directory is");
      return NULL;
    }
  if (!h2k_fat_collect (fat, first, fat->layout.end, runs, count, error))
    return NULL;
  if (*count * fat->layout.cluster < size)
    {
      h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters is short");
      return NULL;
    }
  return g_steal_pointer (&runs);
}

/* Find the regular file PATH, which is to change. */
static gboolean
find_file (FatFs *fat, const char *path, FatFile *file, GError **error)
{
  return h2k_fat_find (fat, path, file, error)
         && (!h2k_fat_is_dir (file)
             || h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, "not a regular file"));
}

/* Write the entry of FILE, whose content has changed to be SIZE bytes from the cluster FIRST on. */
static gboolean
write_entry (FatFs *fat, FatFile *file, guint32 first, guint32 size, GError **error)
{
  set_first (fat, file->raw, first);
  set_size (file->raw, size);
  set_times (file->raw, now (), now ());
  file->raw[SLOT_ATTRIBUTES] |= FAT_ARCHIVE;
  h2k_fat_dir_replace (file);
  return h2k_fat_dir_write (fat, file->dir, error);
}

/* Write DATA (or nothing) at OFFSET. What lies between the old end and OFFSET, and behind the new
 * end in its cluster, becomes zeros: FAT has no holes. */
static gboolean
write_content (FatFs *fat, const FatFile *file, const GArray *runs, guint64 offset,
               gconstpointer data, gsize length, GError **error)
{
  guint64 old = h2k_fat_size (file), end = offset + length, cluster = fat->layout.cluster;
  guint64 tail = end > old ? (cluster - end % cluster) % cluster : 0;

  /* The buffer is only read from. */
  return (offset <= old || h2k_fat_transfer (fat, FAT_ZERO, runs, old, offset - old, NULL, error))
         && (tail == 0 || h2k_fat_transfer (fat, FAT_ZERO, runs, end, tail, NULL, error))
         && h2k_fat_transfer (fat, FAT_WRITE, runs, offset, length, (guint8 *)data, error);
}

/* Write LENGTH bytes at OFFSET of the file PATH, which grows as needed, if only up to OFFSET. */
static gboolean
put (FatFs *fat, const char *path, FatFile *file, guint64 offset, gconstpointer data, gsize length,
     GError **error)
{
  guint64 size = fat->layout.cluster, have, need, end = offset + length;
  g_autoptr (GArray) runs = NULL;

  if (offset > H2K_FAT_MAX_SIZE || length > H2K_FAT_MAX_SIZE - offset)
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                           "a file on a FAT filesystem is smaller than 4 GiB");
  runs = whole_chain (fat, file, &have, error);
  if (!runs)
    return FALSE;
  need = (MAX (end, h2k_fat_size (file)) + size - 1) / size;
  if (need > have && !h2k_fat_extend (fat, h2k_fat_last_of (runs), need - have, runs, error))
    return FALSE;

  if (!begin_writing (fat, error) || !write_content (fat, file, runs, offset, data, length, error)
      || !h2k_fat_commit (fat, error)
      || !write_entry (fat, file, runs->len ? g_array_index (runs, FatRun, 0).first : 0,
                       (guint32)MAX (end, h2k_fat_size (file)), error))
    return broken_off (fat);
  return TRUE;
}

gboolean
h2k_fat_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
               GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};

  return begin_change (fat, error) && find_file (fat, path, &file, error)
         && (length == 0 || put (fat, path, &file, offset, data, length, error));
}

static gboolean
shorten (FatFs *fat, FatFile *file, guint32 size, GError **error)
{
  guint64 have, keep = ((guint64)size + fat->layout.cluster - 1) / fat->layout.cluster;
  g_autoptr (GArray) runs = whole_chain (fat, file, &have, error);

  if (!runs || (have > keep && !h2k_fat_cut (fat, runs, keep, error)))
    return FALSE;
  if (!begin_writing (fat, error)
      || !write_entry (fat, file, keep ? h2k_fat_first (fat, file) : 0, size, error)
      || !h2k_fat_commit (fat, error))
    return broken_off (fat);
  return TRUE;
}

gboolean
h2k_fat_truncate (H2kFs *fs, const char *path, guint64 size, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};

  if (!begin_change (fat, error) || !find_file (fat, path, &file, error))
    return FALSE;
  if (size < h2k_fat_size (&file))
    return shorten (fat, &file, (guint32)size, error);
  return put (fat, path, &file, size, NULL, 0, error);
}

/* --- making and removing ---------------------------------------------------------------------- */

/* The cluster that ".." names in a directory inside PARENT: 0 for the root, whatever it has. */
static guint32
dot_dot (const FatFs *fat, const FatDir *parent)
{
  return fat->layout.bits == 32 && parent->first == fat->layout.root ? 0 : parent->first;
}

/* Fill the cluster of a new directory. */
static gboolean
write_new_dir (FatFs *fat, const FatDir *parent, const GArray *runs, GError **error)
{
  g_autofree guint8 *slots = g_malloc0 (fat->layout.cluster);

  make_entry (fat, slots, FAT_DIRECTORY, h2k_fat_last_of (runs));
  memcpy (slots, ".          ", 11);
  make_entry (fat, slots + H2K_FAT_SLOT, FAT_DIRECTORY, dot_dot (fat, parent));
  memcpy (slots + H2K_FAT_SLOT, "..         ", 11);
  return h2k_fat_transfer (fat, FAT_WRITE, runs, 0, fat->layout.cluster, slots, error);
}

static gboolean
check_new (FatFs *fat, const char *path, guint32 mode, guint32 uid, guint32 gid, const char *target,
           GError **error)
{
  guint32 type = mode & S_IFMT;
  const char *why = NULL;

  if (target || type == S_IFLNK)
    why = "a FAT filesystem has no symbolic links";
  else if (type && type != S_IFREG && type != S_IFDIR)
    why = "a FAT filesystem has no device nodes, pipes and sockets";
  else if (uid || gid)
    why = "on a FAT filesystem every file is root's";
  return !why || h2k_fat_refuse (fat, H2K_ERROR_UNSUPPORTED, error, path, why);
}

gboolean
h2k_fat_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                const char *target, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (FatRun));
  g_autoptr (FatDir) parent = NULL;
  g_auto (FatFile) old = {0};
  guint8 raw[H2K_FAT_SLOT];
  const char *name;
  gboolean is_dir = S_ISDIR (mode);

  if (!begin_change (fat, error) || !check_new (fat, path, mode, uid, gid, target, error)
      || !(parent = h2k_fat_find_parent (fat, path, 0, &name, error)))
    return FALSE;
  if (h2k_fat_dir_find (parent, name, &old))
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, "exists already");
  if (is_dir && !h2k_fat_extend (fat, 0, 1, runs, error))
    return FALSE;
  make_entry (fat, raw,
              (is_dir ? FAT_DIRECTORY : FAT_ARCHIVE)
                  | (is_dir || (mode & 0222) || !(mode & 07777) ? 0 : FAT_READ_ONLY),
              h2k_fat_last_of (runs));
  if (!h2k_fat_dir_add (fat, parent, path, name, raw, error))
    return FALSE;

  if (!begin_writing (fat, error) || (is_dir && !write_new_dir (fat, parent, runs, error))
      || !h2k_fat_dir_write_new (fat, parent, error) || !h2k_fat_commit (fat, error)
      || !h2k_fat_dir_write (fat, parent, error))
    return broken_off (fat);
  return TRUE;
}

/* Find out whether FILE can go, and have its clusters freed: pending. */
static gboolean
give_up (FatFs *fat, const FatFile *file, const char *path, GError **error)
{
  g_autoptr (FatDir) dir = NULL;
  g_autoptr (GArray) runs = NULL;
  FatFile inside;
  guint64 count;
  guint at = 0;

  if (h2k_fat_is_dir (file))
    {
      dir = h2k_fat_open_dir (fat, file, path, error);
      if (!dir)
        return FALSE;
      if (h2k_fat_dir_next (dir, &at, &inside))
        return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                               "the directory is not empty");
    }
  runs = whole_chain (fat, file, &count, error);
  return runs && h2k_fat_cut (fat, runs, 0, error);
}

/* Find PATH, which is to get or to lose a name. */
static gboolean
find_named (FatFs *fat, const char *path, FatFile *file, GError **error)
{
  return h2k_fat_find (fat, path, file, error)
         && (file->dir
             || h2k_fat_refuse (fat, H2K_ERROR_FAILED, error, path,
                                "not a name that can be changed"));
}

gboolean
h2k_fat_remove (H2kFs *fs, const char *path, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};

  if (!begin_change (fat, error) || !find_named (fat, path, &file, error)
      || !give_up (fat, &file, path, error))
    return FALSE;
  h2k_fat_dir_remove (file.dir, &file);
  if (!begin_writing (fat, error) || !h2k_fat_dir_write (fat, file.dir, error)
      || !h2k_fat_commit (fat, error))
    return broken_off (fat);
  return TRUE;
}

/* --- rename ----------------------------------------------------------------------------------- */

/* What a rename changes besides the entry's own directory. */
typedef struct
{
  FatFile from; /* with its directory */
  FatDir *to;   /* the same one, or another */
  FatDir *dir;  /* what is moved, when its ".." has to change */
} Rename;

static void
rename_clear (Rename *rename)
{
  h2k_fat_file_clear (&rename->from);
  h2k_fat_dir_unref (rename->to);
  h2k_fat_dir_unref (rename->dir);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Rename, rename_clear)

/* A directory goes to another one: change its "..", in memory. */
static gboolean
prepare_dot_dot (FatFs *fat, Rename *rename, const char *path, GError **error)
{
  FatFile entry = {.first = 1, .slot = 1};

  if (!h2k_fat_is_dir (&rename->from) || rename->to == rename->from.dir)
    return TRUE;
  rename->dir = h2k_fat_open_dir (fat, &rename->from, path, error);
  if (!rename->dir)
    return FALSE;
  entry.dir = rename->dir;
  if (rename->dir->end < 2)
    return h2k_fat_corrupt (fat->base.volume, error, "a directory has no entry for its parent");
  memcpy (entry.raw, rename->dir->slots + H2K_FAT_SLOT, H2K_FAT_SLOT);
  if (memcmp (entry.raw, "..         ", 11) != 0)
    return h2k_fat_corrupt (fat->base.volume, error, "a directory has no entry for its parent");
  set_first (fat, entry.raw, dot_dot (fat, rename->to));
  h2k_fat_dir_replace (&entry);
  return TRUE;
}

/* Put the file into the entry OLD, whose own one is given up, as rename(2) has it. */
static gboolean
replace_old (FatFs *fat, Rename *rename, FatFile *old, const char *path, GError **error)
{
  gboolean is_dir = h2k_fat_is_dir (&rename->from);

  if (is_dir != h2k_fat_is_dir (old))
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                           is_dir ? "exists, and is not a directory" : "exists, as a directory");
  if (!give_up (fat, old, path, error))
    return FALSE;
  memcpy (old->raw + 11, rename->from.raw + 11, H2K_FAT_SLOT - 11);
  old->raw[SLOT_CASE] = rename->to->slots[(gsize)old->slot * H2K_FAT_SLOT + SLOT_CASE];
  h2k_fat_dir_replace (old);
  h2k_fat_dir_remove (rename->from.dir, &rename->from);
  return TRUE;
}

static gboolean
write_rename (FatFs *fat, Rename *rename, gboolean replaces, GError **error)
{
  /* New clusters of a directory come before what refers to them, freed ones after that. */
  if (!begin_writing (fat, error)
      || (!replaces
          && !(h2k_fat_dir_write_new (fat, rename->to, error) && h2k_fat_commit (fat, error)))
      || !h2k_fat_dir_write (fat, rename->to, error)
      || (rename->dir && !h2k_fat_dir_write (fat, rename->dir, error))
      || (rename->to != rename->from.dir && !h2k_fat_dir_write (fat, rename->from.dir, error))
      || (replaces && !h2k_fat_commit (fat, error)))
    return broken_off (fat);
  return TRUE;
}

gboolean
h2k_fat_rename (H2kFs *fs, const char *from, const char *to, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (Rename) rename = {0};
  g_auto (FatFile) old = {0};
  gboolean found;
  const char *name;

  if (!begin_change (fat, error) || !find_named (fat, from, &rename.from, error))
    return FALSE;
  rename.to
      = h2k_fat_find_parent (fat, to,
                             h2k_fat_is_dir (&rename.from) ? h2k_fat_first (fat, &rename.from) : 0,
                             &name, error);
  if (!rename.to)
    return FALSE;
  if (rename.to->first == rename.from.dir->first)
    {
      h2k_fat_dir_unref (rename.to);
      rename.to = h2k_fat_dir_ref (rename.from.dir);
    }
  found = h2k_fat_dir_find (rename.to, name, &old);
  if (found && old.dir == rename.from.dir && old.slot == rename.from.slot)
    {
      if (strcmp (old.name, name) == 0)
        return TRUE;
      found = FALSE;
    }
  if (!prepare_dot_dot (fat, &rename, from, error))
    return FALSE;
  if (found)
    return replace_old (fat, &rename, &old, to, error) && write_rename (fat, &rename, TRUE, error);
  h2k_fat_dir_remove (rename.from.dir, &rename.from);
  return h2k_fat_dir_add (fat, rename.to, to, name, rename.from.raw, error)
         && write_rename (fat, &rename, FALSE, error);
}

/* --- attributes, flushing --------------------------------------------------------------------- */

gboolean
h2k_fat_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  g_auto (FatFile) file = {0};

  if (!begin_change (fat, error) || !h2k_fat_find (fat, path, &file, error))
    return FALSE;
  if (st->uid || st->gid)
    return h2k_fat_refuse (fat, H2K_ERROR_UNSUPPORTED, error, path,
                           "on a FAT filesystem every file is root's");
  if (!file.dir)
    return TRUE;
  set_times (file.raw, st->mtime, st->atime);
  if (!h2k_fat_is_dir (&file))
    {
      file.raw[SLOT_ATTRIBUTES] &= (guint8)~FAT_READ_ONLY;
      file.raw[SLOT_ATTRIBUTES] |= st->mode & 0222 ? 0 : FAT_READ_ONLY;
    }
  h2k_fat_dir_replace (&file);
  if (!begin_writing (fat, error) || !h2k_fat_dir_write (fat, file.dir, error))
    return broken_off (fat);
  return TRUE;
}

/* FSInfo: the number of free clusters, or that it is not known, and where to look for one. */
static gboolean
write_info (FatFs *fat, GError **error)
{
  guint32 info[2];
  guint64 count;

  if (!fat->layout.info)
    return TRUE;
  if (fat->info_free < 0 && fat->layout.table_size <= MAX_COUNTED)
    if (!h2k_fat_count_free (fat, &count, error))
      return FALSE;
  if (fat->free_clusters >= 0)
    fat->info_free = fat->free_clusters;
  if (fat->info_free > (gint64)fat->layout.end - 2)
    fat->info_free = -1;
  info[0] = GUINT32_TO_LE (fat->info_free < 0 ? G_MAXUINT32 : (guint32)fat->info_free);
  info[1] = GUINT32_TO_LE (fat->next_free < fat->layout.end ? (guint32)fat->next_free : 2);
  return h2k_disk_pwrite (fat->base.volume, fat->layout.info + 488, sizeof info, info, error);
}

gboolean
h2k_fat_flush (H2kFs *fs, GError **error)
{
  FatFs *fat = (FatFs *)fs;

  if (!fat->changed)
    return TRUE;
  h2k_fat_begin (fat);
  if (!write_info (fat, error) || !h2k_disk_flush (fat->base.volume, error))
    return FALSE;
  if (fat->marked && !fat->failed)
    {
      if (!write_state (fat, fat->layout.state, error) || !h2k_disk_flush (fat->base.volume, error))
        return FALSE;
      fat->marked = FALSE;
    }
  fat->changed = FALSE;
  return TRUE;
}
