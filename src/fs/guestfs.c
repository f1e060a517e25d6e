/* guestfs.c - a filesystem's operations as calls of libguestfs.
 *
 * libguestfs follows symbolic links in most of its calls, so that each path is looked up before,
 * component by component; what was seen is remembered until something changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs-private.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CALL_SECONDS 300u
/* Messages of libguestfs hold 4 MiB. */
#define PIECE ((gsize)2 << 20)
#define MAX_READ ((guint64)2 << 30)
#define MAX_REMEMBERED 65536u
/* Each subvolume is a device with inodes of its own, so that both together name a file. */
#define DEVICE_SHIFT 44

/* --- the two ways ----------------------------------------------------------------------------- */

/* Whether the driver that reads the volume itself knows better than the appliance: nothing was
 * changed since it was opened. */
static H2kFs *
reader_of (GuestfsFs *fs)
{
  if (fs->mounted || !fs->reads)
    return NULL;
  if (!fs->reader)
    {
      GError *error = NULL;
      fs->reader = h2k_fs_open (fs->base.volume, &error);
      if (!fs->reader)
        {
          g_info ("%s: %s", fs->base.volume->name, error->message);
          g_clear_error (&error);
          fs->reads = FALSE;
        }
    }
  return fs->reader;
}

static char *
inside (const GuestfsFs *fs, const char *path)
{
  return g_strconcat (fs->mountpoint, strcmp (path, "/") == 0 ? "" : path, NULL);
}

static gboolean
refuse (const GuestfsFs *fs, H2kError code, const char *path, const char *why, GError **error)
{
  g_autofree char *safe = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s", fs->base.volume->name, safe, why);
  return FALSE;
}

/* --- looking ---------------------------------------------------------------------------------- */

static gboolean
ask_lstat (GuestfsFs *fs, guestfs_h *g, const char *path, H2kStat *st, GError **error)
{
  g_autofree char *p = inside (fs, path);
  struct guestfs_statns *s;

  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  s = guestfs_lstatns (g, p);
  if (!h2k_guestfs_end (fs->guestfs, s != NULL, path, error))
    {
      if (s)
        guestfs_free_statns (s);
      return FALSE;
    }
  *st = (H2kStat){.mode = (guint32)s->st_mode,
                  .uid = (guint32)s->st_uid,
                  .gid = (guint32)s->st_gid,
                  .size = (guint64)s->st_size,
                  .inode = (guint64)s->st_ino ^ (guint64)minor ((dev_t)s->st_dev) << DEVICE_SHIFT,
                  .rdev = (guint64)s->st_rdev,
                  .nlink = (guint32)s->st_nlink,
                  .atime = s->st_atime_sec,
                  .mtime = s->st_mtime_sec,
                  .ctime = s->st_ctime_sec,
                  .mtime_nsec = (guint32)s->st_mtime_nsec,
                  .ctime_nsec = (guint32)s->st_ctime_nsec};
  guestfs_free_statns (s);
  return TRUE;
}

/* One path, whatever is above it. */
static gboolean
remembered_lstat (GuestfsFs *fs, guestfs_h *g, const char *path, H2kStat *st, GError **error)
{
  g_autoptr (GError) local = NULL;
  gpointer known;

  if (g_hash_table_lookup_extended (fs->stats, path, NULL, &known))
    {
      if (!known)
        return refuse (fs, H2K_ERROR_FAILED, path, "no such file or directory", error);
      *st = *(H2kStat *)known;
      return TRUE;
    }
  if (g_hash_table_size (fs->stats) >= MAX_REMEMBERED)
    g_hash_table_remove_all (fs->stats);
  if (ask_lstat (fs, g, path, st, &local))
    {
      g_hash_table_insert (fs->stats, g_strdup (path), g_memdup2 (st, sizeof *st));
      return TRUE;
    }
  if (g_error_matches (local, H2K_ERROR, H2K_ERROR_FAILED))
    g_hash_table_insert (fs->stats, g_strdup (path), NULL);
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

/* PATH is a path without links in it, but perhaps for its last component. */
static gboolean
check_above (GuestfsFs *fs, guestfs_h *g, const char *path, GError **error)
{
  H2kStat st;

  for (const char *slash = strchr (path + 1, '/'); slash; slash = strchr (slash + 1, '/'))
    {
      g_autofree char *above = g_strndup (path, (gsize)(slash - path));

      if (!remembered_lstat (fs, g, above, &st, error))
        return FALSE;
      if (S_ISLNK (st.mode))
        return refuse (fs, H2K_ERROR_FILESYSTEM, path, "symbolic links are not followed here",
                       error);
      if (!S_ISDIR (st.mode))
        return refuse (fs, H2K_ERROR_FAILED, path, "not a directory", error);
    }
  return TRUE;
}

static gboolean
look (GuestfsFs *fs, guestfs_h **g, const char *path, H2kStat *st, GError **error)
{
  return h2k_guestfs_mount (fs, g, error) && check_above (fs, *g, path, error)
         && remembered_lstat (fs, *g, path, st, error);
}

/* The same for what has to be of one TYPE (S_IFREG...). */
static gboolean
look_for (GuestfsFs *fs, guestfs_h **g, const char *path, guint32 type, H2kStat *st, GError **error)
{
  if (!look (fs, g, path, st, error))
    return FALSE;
  if ((st->mode & S_IFMT) == type)
    return TRUE;
  return refuse (fs, H2K_ERROR_FILESYSTEM, path,
                 type == S_IFREG   ? "not a regular file"
                 : type == S_IFDIR ? "not a directory"
                                   : "not a symbolic link",
                 error);
}

static gboolean
guestfs_fs_lstat (H2kFs *base, const char *path, H2kStat *st, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  guestfs_h *g;

  return reader ? reader->ops->lstat (reader, path, st, error) : look (fs, &g, path, st, error);
}

static GPtrArray *
guestfs_fs_list (H2kFs *base, const char *path, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autofree char *p = inside (fs, path);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  struct guestfs_dirent_list *entries;
  guestfs_h *g;
  H2kStat st;
  gboolean ok;

  if (reader)
    return reader->ops->list (reader, path, error);
  if (!look_for (fs, &g, path, S_IFDIR, &st, error))
    return NULL;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  entries = guestfs_readdir (g, p);
  ok = h2k_guestfs_end (fs->guestfs, entries != NULL, path, error);
  for (guint i = 0; ok && i < entries->len; i++)
    if (strcmp (entries->val[i].name, ".") != 0 && strcmp (entries->val[i].name, "..") != 0)
      g_ptr_array_add (names, g_strdup (entries->val[i].name));
  if (entries)
    guestfs_free_dirent_list (entries);
  return ok ? g_steal_pointer (&names) : NULL;
}

static char *
guestfs_fs_readlink (H2kFs *base, const char *path, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autofree char *p = inside (fs, path);
  char *text, *target;
  guestfs_h *g;
  H2kStat st;

  if (reader)
    return reader->ops->readlink (reader, path, error);
  if (!look_for (fs, &g, path, S_IFLNK, &st, error))
    return NULL;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  text = guestfs_readlink (g, p);
  target = h2k_guestfs_end (fs->guestfs, text != NULL, path, error) ? g_strdup (text) : NULL;
  free (text);
  return target;
}

static GBytes *
guestfs_fs_read (H2kFs *base, const char *path, guint64 offset, gsize length, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autofree char *p = inside (fs, path);
  g_autoptr (GByteArray) bytes = g_byte_array_new ();
  guestfs_h *g;
  H2kStat st;

  if (reader)
    return reader->ops->read (reader, path, offset, length, error);
  if (!look_for (fs, &g, path, S_IFREG, &st, error))
    return NULL;
  length = offset < st.size ? (gsize)MIN (length, st.size - offset) : 0;
  if (length > MAX_READ)
    {
      refuse (fs, H2K_ERROR_FILESYSTEM, path, "too much to be read at once", error);
      return NULL;
    }
  while (bytes->len < length)
    {
      size_t got = 0;
      char *data;
      gboolean ok;

      h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
      data = guestfs_pread (g, p, (int)MIN (length - bytes->len, PIECE),
                            (int64_t)(offset + bytes->len), &got);
      ok = h2k_guestfs_end (fs->guestfs, data != NULL, path, error);
      if (ok)
        g_byte_array_append (bytes, (const guint8 *)data, (guint)got);
      free (data);
      if (ok && !got)
        ok = refuse (fs, H2K_ERROR_FILESYSTEM, path, "it ends before its size", error);
      if (!ok)
        return NULL;
    }
  return g_byte_array_free_to_bytes (g_steal_pointer (&bytes));
}

static H2kSubvolume *
new_subvolume (const struct guestfs_btrfssubvolume *from, guint64 default_id)
{
  H2kSubvolume *s = g_new0 (H2kSubvolume, 1);

  s->id = from->btrfssubvolume_id;
  s->path = g_strconcat ("/", from->btrfssubvolume_path, NULL);
  s->is_default = s->id == default_id;
  return s;
}

/* libguestfs tells neither which are snapshots nor which are read-only. */
static GPtrArray *
guestfs_fs_subvolumes (H2kFs *base, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autoptr (GPtrArray) all = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_subvolume_free);
  struct guestfs_btrfssubvolume_list *list = NULL;
  struct guestfs_btrfssubvolume top = {.btrfssubvolume_id = 5, .btrfssubvolume_path = (char *)""};
  int64_t default_id = -1;
  guestfs_h *g;
  gboolean ok;

  if (reader && reader->ops->subvolumes)
    return reader->ops->subvolumes (reader, error);
  if (strcmp (base->id.type, "btrfs") != 0)
    {
      struct guestfs_btrfssubvolume whole
          = {.btrfssubvolume_id = 0, .btrfssubvolume_path = (char *)""};
      g_ptr_array_add (all, new_subvolume (&whole, 0));
      return g_steal_pointer (&all);
    }
  if (!h2k_guestfs_mount (fs, &g, error))
    return NULL;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  default_id = guestfs_btrfs_subvolume_get_default (g, fs->mountpoint);
  if (default_id >= 0)
    list = guestfs_btrfs_subvolume_list (g, fs->mountpoint);
  ok = h2k_guestfs_end (fs->guestfs, list != NULL, NULL, error);
  if (ok)
    g_ptr_array_add (all, new_subvolume (&top, (guint64)default_id));
  for (guint i = 0; ok && i < list->len; i++)
    g_ptr_array_add (all, new_subvolume (&list->val[i], (guint64)default_id));
  if (list)
    guestfs_free_btrfssubvolume_list (list);
  return ok ? g_steal_pointer (&all) : NULL;
}

/* --- changing --------------------------------------------------------------------------------- */

/* PATH and what is said about its folder are not as they were; nor are the other names of the file,
 * which ST is of (NULL: there was none). */
static void
forget (GuestfsFs *fs, const char *path, const H2kStat *st)
{
  g_autofree char *above = g_path_get_dirname (path);

  if (st && st->nlink > 1 && !S_ISDIR (st->mode))
    g_hash_table_remove_all (fs->stats);
  g_hash_table_remove (fs->stats, path);
  g_hash_table_remove (fs->stats, above);
}

static gboolean
guestfs_fs_write (H2kFs *base, const char *path, guint64 offset, gconstpointer data, gsize length,
                  GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  guestfs_h *g;
  H2kStat st;

  if (!look_for (fs, &g, path, S_IFREG, &st, error))
    return FALSE;
  forget (fs, path, &st);
  for (gsize done = 0; done < length;)
    {
      int written;

      h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
      written = guestfs_pwrite (g, p, (const char *)data + done, MIN (length - done, PIECE),
                                (int64_t)(offset + done));
      if (!h2k_guestfs_end (fs->guestfs, written > 0, path, error))
        return FALSE;
      done += (gsize)written;
    }
  return TRUE;
}

static gboolean
guestfs_fs_truncate (H2kFs *base, const char *path, guint64 size, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  guestfs_h *g;
  H2kStat st;

  if (!look_for (fs, &g, path, S_IFREG, &st, error))
    return FALSE;
  forget (fs, path, &st);
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  return h2k_guestfs_end (fs->guestfs, guestfs_truncate_size (g, p, (int64_t)size) == 0, path,
                          error);
}

static gboolean
guestfs_fs_create (H2kFs *base, const char *path, guint32 mode, guint32 uid, guint32 gid,
                   const char *target, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  g_autoptr (GError) local = NULL;
  guestfs_h *g;
  gboolean ok;
  H2kStat st;

  if (look (fs, &g, path, &st, &local))
    return refuse (fs, H2K_ERROR_FILESYSTEM, path, "exists already", error);
  if (!g_error_matches (local, H2K_ERROR, H2K_ERROR_FAILED))
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  forget (fs, path, NULL);
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  if (target)
    ok = guestfs_ln_s (g, target, p) == 0;
  else if (S_ISDIR (mode))
    ok = guestfs_mkdir_mode (g, p, (int)(mode & 0700)) == 0;
  else
    ok = guestfs_touch (g, p) == 0;
  ok = ok && guestfs_lchown (g, (int)uid, (int)gid, p) == 0
       && (target || guestfs_chmod (g, (int)(mode & 07777), p) == 0);
  return h2k_guestfs_end (fs->guestfs, ok, path, error);
}

static gboolean
guestfs_fs_remove (H2kFs *base, const char *path, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  guestfs_h *g;
  H2kStat st;

  if (!look (fs, &g, path, &st, error))
    return FALSE;
  g_hash_table_remove_all (fs->stats); /* another name of the file has a link less */
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  return h2k_guestfs_end (fs->guestfs,
                          (S_ISDIR (st.mode) ? guestfs_rmdir (g, p) : guestfs_rm (g, p)) == 0, path,
                          error);
}

static gboolean
guestfs_fs_rename (H2kFs *base, const char *from, const char *to, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *a = inside (fs, from);
  g_autofree char *b = inside (fs, to);
  guestfs_h *g;
  H2kStat st;

  if (!look (fs, &g, from, &st, error) || !check_above (fs, g, to, error))
    return FALSE;
  g_hash_table_remove_all (fs->stats);
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  return h2k_guestfs_end (fs->guestfs, guestfs_rename (g, a, b) == 0, from, error);
}

static gboolean
guestfs_fs_set_stat (H2kFs *base, const char *path, const H2kStat *st, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  guestfs_h *g;
  gboolean ok;
  H2kStat now;

  if (!look (fs, &g, path, &now, error))
    return FALSE;
  forget (fs, path, &now);
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  ok = guestfs_lchown (g, (int)st->uid, (int)st->gid, p) == 0;
  /* Links have no permissions, and utimens would follow them. */
  if (ok && !S_ISLNK (now.mode))
    ok = guestfs_chmod (g, (int)(st->mode & 07777), p) == 0
         && guestfs_utimens (g, p, st->atime, 0, st->mtime, 0) == 0;
  return h2k_guestfs_end (fs->guestfs, ok, path, error);
}

/* --- attributes ------------------------------------------------------------------------------- */

/* Where a filesystem has no attributes there are none. */
static gboolean
end_attributes (GuestfsFs *fs, guestfs_h *g, gboolean ok, const char *path, gboolean *none,
                GError **error)
{
  g_autoptr (GError) local = NULL;

  *none = FALSE;
  if (h2k_guestfs_end (fs->guestfs, ok, path, &local))
    return TRUE;
  *none = g_error_matches (local, H2K_ERROR, H2K_ERROR_FILESYSTEM)
          && (guestfs_last_errno (g) == ENODATA || guestfs_last_errno (g) == EOPNOTSUPP);
  if (!*none)
    g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

static GPtrArray *
guestfs_fs_list_xattr (H2kFs *base, const char *path, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autofree char *p = inside (fs, path);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  struct guestfs_xattr_list *list;
  gboolean ok, none;
  guestfs_h *g;
  H2kStat st;

  if (reader)
    return reader->ops->list_xattr (reader, path, error);
  if (!look (fs, &g, path, &st, error))
    return NULL;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  list = guestfs_lgetxattrs (g, p);
  ok = end_attributes (fs, g, list != NULL, path, &none, error);
  for (guint i = 0; ok && i < list->len; i++)
    g_ptr_array_add (names, g_strdup (list->val[i].attrname));
  if (list)
    guestfs_free_xattr_list (list);
  return ok || none ? g_steal_pointer (&names) : NULL;
}

static GBytes *
guestfs_fs_get_xattr (H2kFs *base, const char *path, const char *name, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  g_autofree char *p = inside (fs, path);
  GBytes *bytes = NULL;
  guestfs_h *g;
  gboolean none;
  size_t size = 0;
  char *value;
  H2kStat st;

  if (reader)
    return reader->ops->get_xattr (reader, path, name, error);
  if (!look (fs, &g, path, &st, error))
    return NULL;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  value = guestfs_lgetxattr (g, p, name, &size);
  if (end_attributes (fs, g, value != NULL, path, &none, error))
    bytes = g_bytes_new (value, size);
  free (value);
  return bytes;
}

/* libguestfs takes values as strings: a zero byte can only be the last one, as of SELinux labels.
 */
static gboolean
guestfs_fs_set_xattr (H2kFs *base, const char *path, const char *name, GBytes *value,
                      GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  g_autofree char *p = inside (fs, path);
  gsize size = 0;
  const char *bytes = value ? g_bytes_get_data (value, &size) : NULL;
  /* Of an empty value there are no bytes. */
  g_autofree char *text = value ? g_strndup (bytes ? bytes : "", size) : NULL;
  gboolean ok, none;
  guestfs_h *g;
  H2kStat st;

  if (!look (fs, &g, path, &st, error))
    return FALSE;
  if (text && strlen (text) + 1 < size)
    return refuse (fs, H2K_ERROR_UNSUPPORTED, path, "libguestfs sets no attribute with zero bytes",
                   error);
  forget (fs, path, &st);
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  ok = text ? guestfs_lsetxattr (g, name, text, (int)size, p) == 0
            : guestfs_lremovexattr (g, name, p) == 0;
  if (end_attributes (fs, g, ok, path, &none, error) || (none && !value))
    return TRUE;
  return none ? refuse (fs, H2K_ERROR_UNSUPPORTED, path, "the filesystem has no attributes", error)
              : FALSE;
}

/* --- the whole -------------------------------------------------------------------------------- */

static guint64
guestfs_fs_free_space (H2kFs *base)
{
  GuestfsFs *fs = (GuestfsFs *)base;
  H2kFs *reader = reader_of (fs);
  struct guestfs_statvfs *s = NULL;
  guint64 bytes = 0;
  guestfs_h *g;

  if (reader && reader->ops->free_space)
    return reader->ops->free_space (reader);
  if (!h2k_guestfs_mount (fs, &g, NULL))
    return 0;
  h2k_guestfs_begin (fs->guestfs, CALL_SECONDS);
  s = guestfs_statvfs (g, fs->mountpoint);
  if (h2k_guestfs_end (fs->guestfs, s != NULL, NULL, NULL))
    bytes = (guint64)s->bavail * (guint64)s->bsize;
  if (s)
    guestfs_free_statvfs (s);
  return bytes;
}

/* Unmounting is what leaves a clean log, so that everybody else reads what was written. */
static gboolean
guestfs_fs_flush (H2kFs *base, GError **error)
{
  return h2k_guestfs_flush ((GuestfsFs *)base, error);
}

static void
guestfs_fs_close (H2kFs *base)
{
  GuestfsFs *fs = (GuestfsFs *)base;

  h2k_guestfs_remove (fs->guestfs, fs);
  h2k_fs_free (fs->reader);
  h2k_fs_check_free (fs->check);
  g_hash_table_unref (fs->stats);
  g_ptr_array_unref (fs->servers);
  g_free (fs->mountpoint);
  g_free (fs);
}

static const H2kFsOps guestfs_ops = {
    .name = "libguestfs",
    .lstat = guestfs_fs_lstat,
    .list = guestfs_fs_list,
    .readlink = guestfs_fs_readlink,
    .read = guestfs_fs_read,
    .subvolumes = guestfs_fs_subvolumes,
    .write = guestfs_fs_write,
    .truncate = guestfs_fs_truncate,
    .create = guestfs_fs_create,
    .remove = guestfs_fs_remove,
    .rename = guestfs_fs_rename,
    .set_stat = guestfs_fs_set_stat,
    .list_xattr = guestfs_fs_list_xattr,
    .get_xattr = guestfs_fs_get_xattr,
    .set_xattr = guestfs_fs_set_xattr,
    .free_space = guestfs_fs_free_space,
    .flush = guestfs_fs_flush,
    .close = guestfs_fs_close,
};

gboolean
h2k_guestfs_available (void)
{
  return TRUE;
}

gboolean
h2k_guestfs_takes (const H2kFsId *id)
{
  static const char *const types[]
      = {"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "f2fs", "jfs", "reiserfs", "nilfs2", NULL};

  return g_strv_contains (types, id->type);
}

H2kFs *
h2k_guestfs_open (H2kGuestfs *guestfs, H2kDisk *volume, const H2kFsId *id, H2kFs *reader,
                  GError **error)
{
  GuestfsFs *fs = g_new0 (GuestfsFs, 1);

  h2k_fs_init (&fs->base, &guestfs_ops, volume, id);
  fs->reader = reader;
  fs->reads = reader != NULL;
  fs->stats = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  fs->servers = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_nbd_server_free);
  h2k_guestfs_add (guestfs, fs);
  return &fs->base;
}

gboolean
h2k_guestfs_serves (const H2kFs *fs)
{
  return fs->ops == &guestfs_ops;
}
