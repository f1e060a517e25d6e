/* ntfs.c - opens an NTFS volume through libntfs-3g and reads its files.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"
#include "fs/usage.h"

/* Reads of more than this at once are refused: whoever reads bigger files reads pieces. */
#define MAX_READ ((guint64)2 << 30)
/* More names than this are in no directory, but could be in a hostile one. */
#define MAX_NAMES 10000000u

/* --- errors ----------------------------------------------------------------------------------- */

void
h2k_ntfs_begin (NtfsFs *ntfs)
{
  g_clear_error (&ntfs->disk_error);
}

gboolean
h2k_ntfs_refuse (NtfsFs *ntfs, H2kError code, GError **error, const char *path, const char *why)
{
  g_autofree char *quoted = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s", ntfs->base.volume->name, quoted, why);
  return FALSE;
}

static const struct
{
  int number;
  H2kError code;
  const char *why;
} reasons[] = {
    {ENOENT, H2K_ERROR_FAILED, "no such file or directory"},
    {ENOTDIR, H2K_ERROR_FAILED, "not a directory"},
    {ENOSPC, H2K_ERROR_FILESYSTEM,
     "the guest's filesystem is full; free some space in the guest first"},
    {EOPNOTSUPP, H2K_ERROR_UNSUPPORTED, "libntfs-3g cannot do this to a file of this kind"},
    {ENOSYS, H2K_ERROR_UNSUPPORTED, "libntfs-3g cannot do this"},
    {EROFS, H2K_ERROR_FILESYSTEM, "the filesystem is open for reading only"},
    {ENOTEMPTY, H2K_ERROR_FILESYSTEM, "the directory is not empty"},
    {EEXIST, H2K_ERROR_FILESYSTEM, "the name exists already"},
    {ENOMEM, H2K_ERROR_FILESYSTEM, "there is not enough memory for it"},
    {EIO, H2K_ERROR_FILESYSTEM, "the NTFS filesystem is corrupt; let chkdsk repair it"},
    {EINVAL, H2K_ERROR_FILESYSTEM, "the NTFS filesystem is corrupt; let chkdsk repair it"},
};

gboolean
h2k_ntfs_fail (NtfsFs *ntfs, GError **error, const char *path, const char *what)
{
  int number = errno;
  g_autofree char *quoted = h2k_escape_text (path, -1);
  H2kError code = H2K_ERROR_FILESYSTEM;
  const char *why = g_strerror (number);

  if (ntfs->disk_error)
    {
      g_propagate_prefixed_error (error, g_steal_pointer (&ntfs->disk_error),
                                  "%s: %s: %s: ", ntfs->base.volume->name, quoted, what);
      return FALSE;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (reasons); i++)
    if (reasons[i].number == number)
      {
        code = reasons[i].code;
        why = reasons[i].why;
      }
  if (number == ENOENT)
    return h2k_ntfs_refuse (ntfs, code, error, path, why);
  g_set_error (error, H2K_ERROR, (int)code, "%s: %s: %s: %s", ntfs->base.volume->name, quoted, what,
               why);
  return FALSE;
}

/* --- finding ---------------------------------------------------------------------------------- */

static void
forget_changes (ntfs_inode *ni)
{
  NInoClearDirty (ni);
  NInoAttrListClearDirty (ni);
  NInoFileNameClearDirty (ni);
}

gboolean
h2k_ntfs_close_file (ntfs_inode *ni)
{
  int saved;

  if (!ni || ntfs_inode_close (ni) == 0)
    return TRUE;
  saved = errno;
  /* The library keeps open what it cannot write. */
  forget_changes (ni);
  for (s32 i = 0; i < ni->nr_extents; i++)
    forget_changes (ni->extent_nis[i]);
  ntfs_inode_close (ni);
  errno = saved;
  return FALSE;
}

void
h2k_ntfs_close (ntfs_inode *ni)
{
  h2k_ntfs_close_file (ni);
}

gboolean
h2k_ntfs_is_dir (const ntfs_inode *ni)
{
  return (ni->mrec->flags & MFT_RECORD_IS_DIRECTORY) != 0;
}

/* The first records are the filesystem's own files, among them the root. */
static gboolean
is_own_file (guint64 ref)
{
  return MREF (ref) < FILE_first_user && MREF (ref) != FILE_root;
}

gboolean
h2k_ntfs_find_in (ntfs_inode *dir, const NtfsName *name, guint64 *ref)
{
  ntfs_volume *vol = dir->vol;

  errno = 0;
  NVolSetCaseSensitive (vol);
  *ref = ntfs_inode_lookup_by_name (dir, name->units, name->n);
  NVolClearCaseSensitive (vol);
  if (*ref == (guint64)-1 && errno == ENOENT)
    *ref = ntfs_inode_lookup_by_name (dir, name->units, name->n);
  if (*ref == (guint64)-1)
    return FALSE;
  if (is_own_file (*ref))
    errno = ENOENT;
  return !is_own_file (*ref);
}

/* Walk from the root along the LENGTH first bytes of PATH. */
static ntfs_inode *
walk (NtfsFs *ntfs, const char *path, gsize length, guint64 inside, GError **error)
{
  g_autoptr (ntfs_inode) ni = h2k_ntfs_open_record (ntfs, FILE_root);
  const char *p = path, *end = path + length;

  for (;;)
    {
      const char *start;
      guint64 ref;
      NtfsName name;

      if (!ni)
        break;
      if (inside && ni->mft_no == inside)
        {
          h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path,
                           "a directory cannot be moved into itself");
          return NULL;
        }
      while (p < end && *p == '/')
        p++;
      if (p == end)
        return g_steal_pointer (&ni);
      start = p;
      while (p < end && *p != '/')
        p++;
      errno = ENOTDIR;
      if (!h2k_ntfs_is_dir (ni) || h2k_ntfs_reparse_kind (ni) == NTFS_REPARSE_LINK)
        break;
      name.n = h2k_ntfs_to_utf16 (start, (gsize)(p - start), name.units, H2K_NTFS_MAX_UNITS);
      errno = ENOENT;
      if (name.n <= 0 || !h2k_ntfs_find_in (ni, &name, &ref))
        break;
      h2k_ntfs_close (ni);
      ni = h2k_ntfs_open_record (ntfs, ref);
      if (!ni && errno == ENOENT)
        errno = EIO; /* a name without a file */
    }
  h2k_ntfs_fail (ntfs, error, path, "cannot be opened");
  return NULL;
}

ntfs_inode *
h2k_ntfs_open_path (NtfsFs *ntfs, const char *path, GError **error)
{
  return walk (ntfs, path, strlen (path), 0, error);
}

ntfs_inode *
h2k_ntfs_open_parent (NtfsFs *ntfs, const char *path, guint64 inside, NtfsName *name,
                      GError **error)
{
  const char *slash = strrchr (path, '/'), *last = slash ? slash + 1 : path;
  ntfs_inode *dir;

  name->n = h2k_ntfs_to_utf16 (last, strlen (last), name->units, H2K_NTFS_MAX_UNITS);
  if (name->n <= 0 || strcmp (last, ".") == 0 || strcmp (last, "..") == 0)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FAILED, error, path, "not a name that can be changed");
      return NULL;
    }
  dir = walk (ntfs, path, (gsize)(last - path), inside, error);
  if (dir && (!h2k_ntfs_is_dir (dir) || h2k_ntfs_reparse_kind (dir) == NTFS_REPARSE_LINK))
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FAILED, error, path, "its parent is not a directory");
      g_clear_pointer (&dir, h2k_ntfs_close);
    }
  return dir;
}

gboolean
h2k_ntfs_check_plain (NtfsFs *ntfs, ntfs_inode *ni, const char *path, gboolean *wof, GError **error)
{
  g_autoptr (GBytes) point = NULL;
  gsize size = 0;
  const guint8 *data;

  *wof = FALSE;
  if (h2k_ntfs_is_dir (ni))
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path, "not a regular file");
  if (ni->flags & FILE_ATTR_ENCRYPTED)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                            "encrypted (EFS): only its user can decrypt it, in Windows");
  switch (h2k_ntfs_reparse_kind (ni))
    {
    case NTFS_REPARSE_NONE:
      return TRUE;
    case NTFS_REPARSE_LINK:
      return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path, "not a regular file");
    case NTFS_REPARSE_WOF:
      point = h2k_ntfs_read_reparse (ni);
      data = point ? g_bytes_get_data (point, &size) : NULL;
      *wof = data && h2k_ntfs_wof_known (data, size);
      return *wof
             || h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                                 "its content is in a WIM file, or compressed in a way that is "
                                 "not known; run \"compact /u /exe\" on it in Windows");
    case NTFS_REPARSE_OTHER:
      break;
    }
  return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                          "its content is elsewhere (deduplicated, in a cloud, or an image)");
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A time is an le64 of 100 ns since 1601. */
#define TICKS 10000000
#define SECONDS_TO_1970 11644473600

gint64
h2k_ntfs_seconds (ntfs_time when)
{
  gint64 ticks = (gint64)h2k_le64 (&when), seconds = ticks / TICKS;

  return seconds - (ticks % TICKS < 0) - SECONDS_TO_1970;
}

static guint32
nanoseconds (ntfs_time when)
{
  return (guint32)(h2k_le64 (&when) % TICKS * (1000000000 / TICKS));
}

ntfs_time
h2k_ntfs_time (gint64 seconds)
{
  seconds = CLAMP (seconds, -SECONDS_TO_1970, G_MAXINT64 / TICKS - SECONDS_TO_1970);
  return (ntfs_time)GINT64_TO_LE ((seconds + SECONDS_TO_1970) * TICKS);
}

/* A file's names, without the short ones that go with longer ones. */
static guint32
count_names (ntfs_inode *ni)
{
  g_autoptr (ntfs_attr_search_ctx) ctx = NULL;
  guint32 names = 0;

  if (le16_to_cpu (ni->mrec->link_count) <= 1)
    return 1;
  ctx = ntfs_attr_get_search_ctx (ni, NULL);
  while (ctx
         && ntfs_attr_lookup (AT_FILE_NAME, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, ctx) == 0)
    {
      const FILE_NAME_ATTR *name
          = (const FILE_NAME_ATTR *)((guint8 *)ctx->attr + le16_to_cpu (ctx->attr->value_offset));
      names += name->file_name_type != FILE_NAME_DOS;
    }
  return MAX (names, 1);
}

static guint64
content_size (ntfs_inode *ni)
{
  g_autoptr (ntfs_attr) na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);

  return na ? (guint64)MAX (na->data_size, 0) : 0;
}

static gboolean
ntfs_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (ntfs_inode) ni = NULL;
  NtfsReparse kind;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return FALSE;
  kind = h2k_ntfs_reparse_kind (ni);
  *st = (H2kStat){.mode = S_IFREG | 0755, .nlink = count_names (ni), .inode = ni->mft_no};
  if (kind == NTFS_REPARSE_LINK)
    {
      g_autofree char *target = h2k_ntfs_link_target (ni);
      st->mode = S_IFLNK | 0777;
      st->size = target ? strlen (target) : 0;
    }
  else if (h2k_ntfs_is_dir (ni))
    st->mode = S_IFDIR | 0755;
  else
    {
      st->size = content_size (ni);
      if (ni->flags & FILE_ATTR_READONLY)
        st->mode &= ~0222u;
    }
  st->mtime = h2k_ntfs_seconds (ni->last_data_change_time);
  st->atime = h2k_ntfs_seconds (ni->last_access_time);
  st->ctime = h2k_ntfs_seconds (ni->last_mft_change_time);
  st->mtime_nsec = nanoseconds (ni->last_data_change_time);
  st->ctime_nsec = nanoseconds (ni->last_mft_change_time);
  return TRUE;
}

static int
collect_name (void *data, const ntfschar *units, const int n, const int type, const s64 pos,
              const MFT_REF ref, const unsigned kind)
{
  GPtrArray *names = data;
  char name[H2K_NTFS_NAME_BYTES];

  if (type == FILE_NAME_DOS || MREF (ref) < FILE_first_user || n <= 0
      || (guint)n > H2K_NTFS_MAX_UNITS)
    return 0;
  h2k_ntfs_to_utf8 (units, (gsize)n, name);
  if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
    return 0;
  if (!*name || strchr (name, '/') || names->len == MAX_NAMES)
    {
      errno = EIO;
      return -1;
    }
  g_ptr_array_add (names, g_strdup (name));
  return 0;
}

static GPtrArray *
ntfs_list (H2kFs *fs, const char *path, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (ntfs_inode) ni = NULL;
  s64 pos = 0;
  int result;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return NULL;
  if (!h2k_ntfs_is_dir (ni) || h2k_ntfs_reparse_kind (ni) == NTFS_REPARSE_LINK)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FAILED, error, path, "not a directory");
      return NULL;
    }
  /* Else it would write names in lower case that have no other short one. */
  NVolSetCaseSensitive (ntfs->vol);
  result = ntfs_readdir (ni, &pos, names, collect_name);
  NVolClearCaseSensitive (ntfs->vol);
  if (result != 0)
    {
      h2k_ntfs_fail (ntfs, error, path, "cannot be listed");
      return NULL;
    }
  return g_steal_pointer (&names);
}

static char *
ntfs_read_link (H2kFs *fs, const char *path, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (ntfs_inode) ni = NULL;
  char *target;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return NULL;
  if (h2k_ntfs_reparse_kind (ni) != NTFS_REPARSE_LINK)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path, "not a symbolic link");
      return NULL;
    }
  target = h2k_ntfs_link_target (ni);
  if (!target)
    h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path,
                     "a link that leads nowhere: its reparse point makes no sense");
  return target;
}

/* Read what is there of the LENGTH bytes at OFFSET, of WOF or (NULL) of NA. */
static GBytes *
read_content (ntfs_attr *na, NtfsWof *wof, guint64 offset, gsize length)
{
  g_autofree guint8 *buffer = g_try_malloc (length);
  gboolean ok;

  if (!buffer)
    {
      errno = ENOMEM;
      return NULL;
    }
  ok = wof ? h2k_ntfs_wof_read (wof, offset, length, buffer)
           : h2k_ntfs_pread (na, offset, length, buffer);
  return ok ? g_bytes_new_take (g_steal_pointer (&buffer), length) : NULL;
}

static GBytes *
ntfs_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (ntfs_inode) ni = NULL;
  g_autoptr (ntfs_attr) na = NULL;
  g_autoptr (NtfsWof) wof = NULL;
  gboolean is_wof;
  GBytes *content;
  guint64 size;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni || !h2k_ntfs_check_plain (ntfs, ni, path, &is_wof, error))
    return NULL;
  na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);
  wof = na && is_wof ? h2k_ntfs_wof_open (ntfs, ni) : NULL;
  if (!na || (is_wof && !wof))
    {
      h2k_ntfs_fail (ntfs, error, path, "cannot be opened");
      return NULL;
    }
  size = (guint64)MAX (na->data_size, 0);
  length = (gsize)MIN (length, offset < size ? size - offset : 0);
  if (length == 0)
    return g_bytes_new (NULL, 0);
  if (length > MAX_READ)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path,
                       "the file is too large to be read at once");
      return NULL;
    }
  content = read_content (na, wof, offset, length);
  if (!content)
    h2k_ntfs_fail (ntfs, error, path, "cannot be read");
  return content;
}

static guint64
ntfs_free_space (H2kFs *fs)
{
  NtfsFs *ntfs = (NtfsFs *)fs;

  h2k_ntfs_begin (ntfs);
  if (!NVolFreeSpaceKnown (ntfs->vol) && ntfs_volume_get_free_space (ntfs->vol) != 0)
    return 0;
  return (guint64)MAX (ntfs->vol->free_clusters, 0) * ntfs->vol->cluster_size;
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
mount_volume (NtfsFs *ntfs, gboolean writable, GError **error)
{
  if (ntfs->vol)
    ntfs_umount (g_steal_pointer (&ntfs->vol), FALSE);
  ntfs->vol = h2k_ntfs_mount (ntfs, writable);
  if (!ntfs->vol)
    return h2k_ntfs_fail (ntfs, error, "/", "cannot be opened");
  /* What the library looks for by itself it finds only so: it has no cache of names here. */
  NVolClearCaseSensitive (ntfs->vol);
  ntfs->security = (struct SECURITY_CONTEXT){.vol = ntfs->vol, .pseccache = &ntfs->no_cache};
  return TRUE;
}

/* First for reading, since only then it is known whether the volume may be written. */
static gboolean
open_checked (NtfsFs *ntfs, GError **error)
{
  return h2k_ntfs_check_layout (ntfs, error) && mount_volume (ntfs, FALSE, error)
         && h2k_ntfs_find_state (ntfs, error)
         && (!ntfs->base.writable || ntfs->base.frozen || mount_volume (ntfs, TRUE, error));
}

static void
ntfs_close (H2kFs *fs)
{
  NtfsFs *ntfs = (NtfsFs *)fs;

  if (ntfs->vol)
    ntfs_umount (ntfs->vol, FALSE);
  g_hash_table_unref (ntfs->trusted);
  g_free (ntfs->chunk.data);
  g_clear_error (&ntfs->disk_error);
  g_free (ntfs);
}

static H2kFs *
ntfs_open (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  NtfsFs *ntfs = g_new0 (NtfsFs, 1);

  h2k_fs_init (&ntfs->base, &h2k_ntfs_ops, volume, id);
  ntfs->trusted = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  if (open_checked (ntfs, error))
    return &ntfs->base;
  h2k_fs_free (&ntfs->base);
  return NULL;
}

static gboolean
ntfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "ntfs");
}

const H2kNtfsState *
h2k_ntfs_state (H2kFs *fs)
{
  return fs->ops == &h2k_ntfs_ops ? &((NtfsFs *)fs)->state : NULL;
}

gboolean
h2k_ntfs_force (H2kFs *fs, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;

  if (!h2k_ntfs_state (fs))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: not an NTFS filesystem",
                   fs->volume->name);
      return FALSE;
    }
  if (!fs->frozen)
    return h2k_fs_check_writable (fs, error);
  if (!ntfs->state.log_unclean || ntfs->state.hibernated
      || ntfs_version_is_supported (ntfs->vol) != 0)
    return h2k_fs_check_writable (fs, error);
  if (!fs->writable)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, "/",
                            "the filesystem is open for reading only");
  h2k_ntfs_begin (ntfs);
  if (!mount_volume (ntfs, TRUE, error))
    return FALSE;
  if (ntfs_logfile_reset (ntfs->vol) != 0
      || ntfs_volume_write_flags (ntfs->vol, ntfs->vol->flags | VOLUME_IS_DIRTY) != 0)
    return h2k_ntfs_fail (ntfs, error, "/$LogFile", "cannot be reset");
  ntfs->state.forced = TRUE;
  g_clear_pointer (&fs->frozen, g_free);
  g_free (fs->note);
  fs->note = g_strdup ("what its log held was dropped, and it was marked as dirty: Windows runs "
                       "chkdsk on it when it starts");
  return TRUE;
}

/* --- where files lie -------------------------------------------------------------------------- */

/* LENGTH bytes from the byte AT of the master file table on, which lie in one cluster. */
static gboolean
add_record (const ntfs_volume *vol, guint64 at, guint32 length, GArray *places)
{
  LCN lcn = ntfs_rl_vcn_to_lcn (vol->mft_na->rl, (VCN)(at >> vol->cluster_size_bits));

  return lcn >= 0 && lcn < vol->nr_clusters
         && h2k_swap_files_add (places,
                                ((guint64)lcn << vol->cluster_size_bits)
                                    + (at & (vol->cluster_size - 1)),
                                length);
}

/* The file's record, which may hold all of it. */
static gboolean
add_records (const ntfs_inode *ni, GArray *places)
{
  const ntfs_volume *vol = ni->vol;
  guint32 piece = MIN (vol->mft_record_size, vol->cluster_size);
  guint64 start = (guint64)ni->mft_no << vol->mft_record_size_bits;

  for (guint32 done = 0; done < vol->mft_record_size; done += piece)
    if (!add_record (vol, start + done, piece, places))
      return FALSE;
  return TRUE;
}

static gboolean
add_runs (const ntfs_volume *vol, const runlist_element *rl, GArray *places)
{
  for (; rl && rl->length > 0; rl++)
    if (rl->lcn >= 0
        && (rl->lcn >= vol->nr_clusters || rl->length > vol->nr_clusters - rl->lcn
            || !h2k_swap_files_add (places, (guint64)rl->lcn << vol->cluster_size_bits,
                                    (guint64)rl->length << vol->cluster_size_bits)))
      return FALSE;
  return rl != NULL;
}

/* All of the file, whatever of it is asked for. */
static gboolean
ntfs_places (H2kFs *fs, const char *path, guint64 start, guint64 end, GArray *places)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (ntfs_inode) ni = NULL;
  g_autoptr (ntfs_attr) na = NULL;
  gboolean is_wof;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, NULL);
  if (!ni || !h2k_ntfs_check_plain (ntfs, ni, path, &is_wof, NULL) || is_wof
      || !add_records (ni, places))
    return FALSE;
  na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);
  if (!na)
    return FALSE;
  if (!NAttrNonResident (na))
    return !NInoAttrList (ni);
  return ntfs_attr_map_whole_runlist (na) == 0 && add_runs (ni->vol, na->rl, places);
}

const H2kFsOps h2k_ntfs_ops = {
    .name = "ntfs",
    .takes = ntfs_takes,
    .open = ntfs_open,
    .lstat = ntfs_lstat,
    .list = ntfs_list,
    .readlink = ntfs_read_link,
    .read = ntfs_read,
    .places = ntfs_places,
    .write = h2k_ntfs_write,
    .truncate = h2k_ntfs_truncate,
    .create = h2k_ntfs_create,
    .remove = h2k_ntfs_remove,
    .rename = h2k_ntfs_rename,
    .set_stat = h2k_ntfs_set_stat,
    .list_xattr = h2k_ntfs_list_xattr,
    .get_xattr = h2k_ntfs_get_xattr,
    .set_xattr = h2k_ntfs_set_xattr,
    .free_space = ntfs_free_space,
    .flush = h2k_ntfs_flush,
    .close = ntfs_close,
};
