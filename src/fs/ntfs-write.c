/* ntfs-write.c - changes files and directories of an NTFS volume.
 *
 * A new name is one of the POSIX name space, without a short one beside it, as ntfs-3g makes them
 * by default. Windows finds files by such names as by others; only its own kind of creation needs a
 * short name, for 16-bit programs. Where a name with a short one is changed or removed, both are.
 *
 * The volume's flags and its log, which is clean, stay as they are: the volume is not marked as
 * being in use, since nobody else can see it between the first change and h2k_ntfs_flush().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

gboolean
h2k_ntfs_begin_change (NtfsFs *ntfs, GError **error)
{
  h2k_ntfs_begin (ntfs);
  g_clear_pointer (&ntfs->chunk.data, g_free);
  return h2k_fs_check_writable (&ntfs->base, error)
         && (h2k_ntfs_trust_own (ntfs) || h2k_ntfs_fail (ntfs, error, "/", "cannot be changed"));
}

/* As h2k_ntfs_fail(). When it was the disk that failed, the volume is no longer consistent. */
static gboolean
fail_change (NtfsFs *ntfs, GError **error, const char *path, const char *what)
{
  ntfs->failed |= ntfs->disk_error != NULL;
  return h2k_ntfs_fail (ntfs, error, path, what);
}

/* Close NI, which writes its record, and the sizes and times that its directories have of it: they
 * are opened for that, so that they must not be open, and must have been closed before it. Errors
 * of before (OK is FALSE) are not covered by new ones. */
static gboolean
close_changed (ntfs_inode *ni, gboolean ok)
{
  NtfsFs *ntfs = ni->vol->dev->d_private;
  int saved = errno;
  gboolean closed = h2k_ntfs_close_file (ni);

  ntfs->failed |= !closed;
  if (!ok)
    errno = saved;
  return ok && closed;
}

/* --- content ---------------------------------------------------------------------------------- */

static void
touch_content (ntfs_inode *ni)
{
  ni->flags |= FILE_ATTR_ARCHIVE;
  NInoFileNameSetDirty (ni);
  ntfs_inode_update_times (ni, NTFS_UPDATE_MCTIME);
  ntfs_inode_mark_dirty (ni);
}

#define LEAST_PIECE 4096u

/* The library gives up on a volume whose free clusters are in many places when it is asked for many
 * at once: then it is asked for fewer. */
gboolean
h2k_ntfs_write_attr (ntfs_attr *na, guint64 offset, const guint8 *data, gsize length)
{
  gsize piece = 1u << 30;

  while (length)
    {
      s64 n = ntfs_attr_pwrite (na, (s64)offset, (s64)MIN (length, piece), data);
      if (n == 0 || (n < 0 && errno == ENOSPC))
        {
          piece = MIN (length, piece) / 2;
          errno = ENOSPC;
          if (piece >= LEAST_PIECE)
            continue;
        }
      if (n <= 0)
        return FALSE;
      offset += (guint64)n;
      data += n;
      length -= (gsize)n;
    }
  return TRUE;
}

static gboolean
close_attr (ntfs_attr *na, gboolean ok)
{
  int saved = errno;

  ntfs_attr_close (na);
  errno = saved;
  return ok;
}

/* Files up to this size are unpacked so that they can be changed. */
#define MAX_UNPACKED (128u << 20)

gboolean
h2k_ntfs_have_room (ntfs_volume *vol, guint64 size)
{
  if (!NVolFreeSpaceKnown (vol) && ntfs_volume_get_free_space (vol) != 0)
    return FALSE;
  errno = ENOSPC;
  return (guint64)MAX (vol->free_clusters, 0) << vol->cluster_size_bits >= size;
}

/* Put an ordinary attribute with CONTENT in the place of the compressed one. */
static gboolean
replace_content (ntfs_inode *ni, const guint8 *content, gsize size)
{
  ntfs_attr *na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);
  gboolean ok = na && ntfs_attr_rm (na) == 0;

  ntfs_attr_close (na);
  ni->flags &= ~(FILE_ATTR_COMPRESSED | FILE_ATTR_SPARSE_FILE);
  if (!ok || ntfs_attr_add (ni, AT_DATA, AT_UNNAMED, 0, NULL, 0) != 0)
    return FALSE;
  na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);
  return na && close_attr (na, h2k_ntfs_write_attr (na, 0, content, size));
}

/* Make a compressed file an ordinary one, of which the first KEEP bytes are kept: nothing that
 * changes compressed files is trusted (see ntfs-compressed.c). */
static gboolean
unpack_file (NtfsFs *ntfs, ntfs_inode *ni, const ntfs_attr *na, guint64 keep)
{
  gsize size = (gsize)MIN (keep, (guint64)MAX (na->data_size, 0));
  g_autofree guint8 *content = NULL;

  errno = EFBIG;
  if (size > MAX_UNPACKED || !h2k_ntfs_have_room (ntfs->vol, size))
    return FALSE;
  content = g_malloc (MAX (size, 1));
  if (!h2k_ntfs_pread ((ntfs_attr *)na, 0, size, content))
    return FALSE;
  if (replace_content (ni, content, size))
    return TRUE;
  ntfs->failed = TRUE;
  return FALSE;
}

/* The file called PATH and its content, of which the first KEEP bytes are of use, for a change. */
static ntfs_inode *
open_content (NtfsFs *ntfs, const char *path, guint64 keep, ntfs_attr **na, GError **error)
{
  g_autoptr (ntfs_inode) ni = NULL;
  gboolean ok = TRUE, wof;

  *na = NULL;
  if (!h2k_ntfs_begin_change (ntfs, error))
    return NULL;
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni || !h2k_ntfs_check_plain (ntfs, ni, path, &wof, error))
    return NULL;
  if (h2k_ntfs_trust_parents (ntfs, ni))
    {
      ok = !wof || h2k_ntfs_wof_unpack (ntfs, ni, keep);
      *na = ok ? ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0) : NULL;
    }
  if (*na && ((*na)->data_flags & ATTR_COMPRESSION_MASK))
    {
      ok = unpack_file (ntfs, ni, *na, keep);
      ntfs_attr_close (*na);
      *na = ok ? ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0) : NULL;
    }
  if (*na)
    return g_steal_pointer (&ni);
  fail_change (ntfs, error, path, ok ? "cannot be opened" : "compressed, cannot be unpacked");
  return NULL;
}

gboolean
h2k_ntfs_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
                GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  ntfs_attr *na;
  ntfs_inode *ni = open_content (ntfs, path, G_MAXUINT64, &na, error);
  gboolean ok;

  if (!ni)
    return FALSE;
  errno = EFBIG;
  ok = offset <= G_MAXINT64 && length <= G_MAXINT64 - offset
       && h2k_ntfs_write_attr (na, offset, data, length);
  ok = close_attr (na, ok);
  touch_content (ni);
  return close_changed (ni, ok) || fail_change (ntfs, error, path, "cannot be written");
}

gboolean
h2k_ntfs_truncate (H2kFs *fs, const char *path, guint64 size, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  ntfs_attr *na;
  ntfs_inode *ni = open_content (ntfs, path, size, &na, error);
  gboolean ok;

  if (!ni)
    return FALSE;
  errno = EFBIG;
  ok = size <= G_MAXINT64 && ntfs_attr_truncate (na, (s64)size) == 0;
  ok = close_attr (na, ok);
  touch_content (ni);
  return close_changed (ni, ok) || fail_change (ntfs, error, path, "cannot be resized");
}

/* --- new files -------------------------------------------------------------------------------- */

/* The first entry of $Secure, which a new file has until it gets its own descriptor. The library
 * would let everybody do everything with a file that has none. */
#define FIRST_SECURITY_ID 0x100

static gboolean
check_new (NtfsFs *ntfs, const char *path, guint32 mode, guint32 uid, guint32 gid,
           const char *target, GError **error)
{
  if (!target && !S_ISREG (mode) && !S_ISDIR (mode))
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                            "NTFS has no files of this kind");
  if (uid || gid)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                            "on an NTFS filesystem files have no owners of Unix");
  return TRUE;
}

/* What a new file gets beside its name. */
typedef struct
{
  gboolean is_dir;
  GBytes *descriptor;
  GBytes *link; /* the reparse point; NULL: none */
} NewFile;

static gboolean
fill_file (NtfsFs *ntfs, ntfs_inode *ni, const NewFile *file)
{
  gsize size;
  const char *bytes = g_bytes_get_data (file->descriptor, &size);

  if (ntfs_set_ntfs_acl (&ntfs->security, ni, bytes, size, 0) != 0)
    return FALSE;
  if (file->link)
    {
      bytes = g_bytes_get_data (file->link, &size);
      if (ntfs_set_ntfs_reparse_data (ni, bytes, size, 0) != 0)
        return FALSE;
    }
  else if (!file->is_dir)
    ni->flags |= FILE_ATTR_ARCHIVE;
  NInoFileNameSetDirty (ni);
  ntfs_inode_mark_dirty (ni);
  return TRUE;
}

/* Make FILE in DIR, which is closed in any case. FALSE: errno says why; there is no file then. */
static gboolean
make_file (NtfsFs *ntfs, ntfs_inode *dir, const NtfsName *name, const NewFile *file)
{
  le32 first = cpu_to_le32 (ntfs->vol->major_ver >= 3 ? FIRST_SECURITY_ID : 0);
  ntfs_inode *ni;
  int saved;

  errno = EIO;
  ni = ntfs_create (dir, first, name->units, (u8)name->n, file->is_dir ? S_IFDIR : S_IFREG);
  if (!ni)
    return close_changed (dir, FALSE);
  if (!fill_file (ntfs, ni, file))
    {
      saved = errno;
      ntfs_delete (ntfs->vol, NULL, ni, dir, name->units, (u8)name->n);
      errno = saved;
      return FALSE;
    }
  ntfs_inode_update_times (dir, NTFS_UPDATE_MCTIME);
  return close_changed (ni, close_changed (dir, TRUE));
}

/* Whether a link in the directory of PATH that leads to TARGET leads to a directory: Windows wants
 * to know. */
static gboolean
leads_to_directory (NtfsFs *ntfs, const char *path, const char *target)
{
  const char *slash = strrchr (path, '/');
  g_autofree char *dir = g_strndup (path, slash ? (gsize)(slash - path) : 0);
  g_autofree char *joined = g_build_filename (*target == '/' ? "/" : dir, target, NULL);
  g_autofree char *canonical = g_canonicalize_filename (joined, "/");
  g_autoptr (ntfs_inode) ni = h2k_ntfs_open_path (ntfs, canonical, NULL);

  return ni && h2k_ntfs_is_dir (ni);
}

/* The directory that is to have PATH, open, which has no such name yet. */
static ntfs_inode *
open_for_new (NtfsFs *ntfs, const char *path, NtfsName *name, GError **error)
{
  g_autoptr (ntfs_inode) dir = h2k_ntfs_open_parent (ntfs, path, 0, name, error);
  const char *why;
  guint64 ref;

  if (!dir)
    return NULL;
  if (!h2k_ntfs_trust_dir (ntfs, dir))
    {
      h2k_ntfs_fail (ntfs, error, path, "cannot be created");
      return NULL;
    }
  why = h2k_ntfs_judge_name (name->units, name->n);
  if (why)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, path, why);
      return NULL;
    }
  if (h2k_ntfs_find_in (dir, name, &ref))
    errno = EEXIST;
  if (errno != ENOENT)
    {
      h2k_ntfs_fail (ntfs, error, path, "cannot be created");
      return NULL;
    }
  return g_steal_pointer (&dir);
}

gboolean
h2k_ntfs_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                 const char *target, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (GBytes) descriptor = NULL, link = NULL;
  NewFile file = {.is_dir = !target && S_ISDIR (mode)};
  ntfs_inode *dir;
  NtfsName name;
  gboolean ok;

  if (!h2k_ntfs_begin_change (ntfs, error)
      || !check_new (ntfs, path, mode, uid, gid, target, error))
    return FALSE;
  if (target)
    {
      file.is_dir = leads_to_directory (ntfs, path, target);
      file.link = link = h2k_ntfs_make_link (target);
      if (!link)
        return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                                "its target is empty, too long, or no UTF-8");
    }
  dir = open_for_new (ntfs, path, &name, error);
  if (!dir)
    return FALSE;
  file.descriptor = descriptor = h2k_ntfs_inherit (dir, file.is_dir);
  ok = descriptor ? make_file (ntfs, dir, &name, &file) : close_changed (dir, FALSE);
  return ok || fail_change (ntfs, error, path, "cannot be created");
}

/* --- names ------------------------------------------------------------------------------------ */

gboolean
h2k_ntfs_remove (H2kFs *fs, const char *path, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  ntfs_inode *dir, *ni;
  guint64 ref;
  NtfsName name;

  if (!h2k_ntfs_begin_change (ntfs, error))
    return FALSE;
  dir = h2k_ntfs_open_parent (ntfs, path, 0, &name, error);
  if (!dir)
    return FALSE;
  ni = h2k_ntfs_trust_dir (ntfs, dir) && h2k_ntfs_find_in (dir, &name, &ref)
           ? h2k_ntfs_open_record (ntfs, ref)
           : NULL;
  if (!ni || !h2k_ntfs_trust_parents (ntfs, ni))
    {
      h2k_ntfs_fail (ntfs, error, path, "cannot be removed");
      h2k_ntfs_close (ni);
      h2k_ntfs_close (dir);
      return FALSE;
    }
  /* This closes both, also when it fails. */
  return ntfs_delete (ntfs->vol, NULL, ni, dir, name.units, (u8)name.n) == 0
         || fail_change (ntfs, error, path, "cannot be removed");
}

/* A name in a directory, by their numbers. */
typedef struct
{
  guint64 dir;
  NtfsName name;
} Place;

/* Give the file NUMBER another name. */
static gboolean
add_name (NtfsFs *ntfs, guint64 number, const Place *place)
{
  ntfs_inode *dir = h2k_ntfs_open_record (ntfs, place->dir), *ni;
  gboolean ok;

  if (!dir)
    return FALSE;
  ni = h2k_ntfs_open_record (ntfs, number);
  ok = ni && ntfs_link (ni, dir, place->name.units, (u8)place->name.n) == 0;
  if (ok)
    {
      ntfs_inode_update_times (ni, NTFS_UPDATE_CTIME);
      ntfs_inode_update_times (dir, NTFS_UPDATE_MCTIME);
    }
  ok = close_changed (dir, ok);
  return ni ? close_changed (ni, ok) : ok;
}

/* Remove a name of the file NUMBER, and the file with the last one. */
static gboolean
drop_name (NtfsFs *ntfs, guint64 number, const Place *place)
{
  ntfs_inode *dir = h2k_ntfs_open_record (ntfs, place->dir);
  ntfs_inode *ni = dir ? h2k_ntfs_open_record (ntfs, number) : NULL;

  if (ni)
    return ntfs_delete (ntfs->vol, NULL, ni, dir, place->name.units, (u8)place->name.n) == 0;
  if (dir)
    close_changed (dir, FALSE);
  return FALSE;
}

static gboolean
move_name (NtfsFs *ntfs, guint64 number, const Place *from, const Place *to)
{
  int saved;

  if (!add_name (ntfs, number, to))
    return FALSE;
  if (drop_name (ntfs, number, from))
    return TRUE;
  saved = errno;
  drop_name (ntfs, number, to);
  errno = saved;
  return FALSE;
}

/* Move the file NUMBER over the file OLD, which gets another name until that is done. */
static gboolean
replace (NtfsFs *ntfs, guint64 number, const Place *from, const Place *to, guint64 old)
{
  Place aside = {.dir = to->dir};
  g_autofree char *name = g_strdup_printf ("h2k-%016" G_GINT64_MODIFIER "x.tmp",
                                           (guint64)g_random_int () << 32 | g_random_int ());
  int saved;

  aside.name.n = h2k_ntfs_to_utf16 (name, strlen (name), aside.name.units, H2K_NTFS_MAX_UNITS);
  if (!move_name (ntfs, old, to, &aside))
    return FALSE;
  if (move_name (ntfs, number, from, to))
    return drop_name (ntfs, old, &aside);
  saved = errno;
  move_name (ntfs, old, &aside, to);
  errno = saved;
  return FALSE;
}

/* The file at PATH: its place, its number in *NUMBER (0: there is none), and whether it is a
 * directory. */
static gboolean
find_place (NtfsFs *ntfs, const char *path, guint64 inside, Place *place, guint64 *number,
            gboolean *is_dir, GError **error)
{
  g_autoptr (ntfs_inode) dir = h2k_ntfs_open_parent (ntfs, path, inside, &place->name, error);
  g_autoptr (ntfs_inode) ni = NULL;
  guint64 ref;

  *number = 0;
  *is_dir = FALSE;
  if (!dir)
    return FALSE;
  if (!h2k_ntfs_trust_dir (ntfs, dir))
    return h2k_ntfs_fail (ntfs, error, path, "cannot be changed");
  place->dir = dir->mft_no;
  if (!h2k_ntfs_find_in (dir, &place->name, &ref))
    return errno == ENOENT || h2k_ntfs_fail (ntfs, error, path, "cannot be found");
  *number = MREF (ref);
  ni = h2k_ntfs_open_record (ntfs, *number);
  *is_dir = ni && h2k_ntfs_is_dir (ni);
  return (ni && h2k_ntfs_trust_parents (ntfs, ni))
         || h2k_ntfs_fail (ntfs, error, path, "cannot be opened");
}

static gboolean
same_name (const NtfsFs *ntfs, const Place *a, const Place *b, IGNORE_CASE_BOOL how)
{
  return a->dir == b->dir
         && ntfs_names_are_equal (a->name.units, (gsize)a->name.n, b->name.units, (gsize)b->name.n,
                                  how, ntfs->vol->upcase, ntfs->vol->upcase_len);
}

/* Whether the file at FROM may take the place of the one at TO. */
static gboolean
check_replaced (NtfsFs *ntfs, const char *from, gboolean from_dir, const char *to, guint64 old,
                gboolean to_dir, GError **error)
{
  g_autoptr (ntfs_inode) ni = NULL;

  if (from_dir != to_dir)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, from_dir ? from : to,
                            "a directory and a file cannot take each other's name");
  if (!to_dir)
    return TRUE;
  ni = h2k_ntfs_open_record (ntfs, old);
  return (ni && ntfs_check_empty_dir (ni) == 0)
         || h2k_ntfs_fail (ntfs, error, to, "cannot be replaced");
}

gboolean
h2k_ntfs_rename (H2kFs *fs, const char *from, const char *to, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  gboolean from_dir, to_dir, ok;
  guint64 number, old;
  const char *why;
  Place a, b;

  if (!h2k_ntfs_begin_change (ntfs, error)
      || !find_place (ntfs, from, 0, &a, &number, &from_dir, error))
    return FALSE;
  errno = ENOENT;
  if (!number)
    return h2k_ntfs_fail (ntfs, error, from, "cannot be renamed");
  if (!find_place (ntfs, to, from_dir ? number : 0, &b, &old, &to_dir, error))
    return FALSE;
  why = h2k_ntfs_judge_name (b.name.units, b.name.n);
  if (why)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, to, why);
  if (old == number
      && (same_name (ntfs, &a, &b, CASE_SENSITIVE) || !same_name (ntfs, &a, &b, IGNORE_CASE)))
    return TRUE;
  if (old && old != number && !check_replaced (ntfs, from, from_dir, to, old, to_dir, error))
    return FALSE;
  ok = old && old != number ? replace (ntfs, number, &a, &b, old)
                            : move_name (ntfs, number, &a, &b);
  return ok || fail_change (ntfs, error, from, "cannot be renamed");
}

/* --- attributes ------------------------------------------------------------------------------- */

/* What is smaller than a second is kept where the second stays the same. */
static ntfs_time
set_seconds (ntfs_time old, gint64 seconds)
{
  return h2k_ntfs_seconds (old) == seconds ? old : h2k_ntfs_time (seconds);
}

gboolean
h2k_ntfs_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  ntfs_inode *ni;

  if (!h2k_ntfs_begin_change (ntfs, error))
    return FALSE;
  if (st->uid || st->gid)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                            "on an NTFS filesystem files have no owners of Unix");
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return FALSE;
  if (!h2k_ntfs_trust_parents (ntfs, ni))
    {
      h2k_ntfs_fail (ntfs, error, path, "its attributes cannot be changed");
      h2k_ntfs_close (ni);
      return FALSE;
    }
  if (!h2k_ntfs_is_dir (ni) && h2k_ntfs_reparse_kind (ni) != NTFS_REPARSE_LINK)
    {
      ni->flags &= ~FILE_ATTR_READONLY;
      ni->flags |= st->mode & 0222 ? 0 : FILE_ATTR_READONLY;
    }
  ni->last_data_change_time = set_seconds (ni->last_data_change_time, st->mtime);
  ni->last_access_time = set_seconds (ni->last_access_time, st->atime);
  ni->last_mft_change_time = set_seconds (ni->last_mft_change_time, st->ctime);
  NInoFileNameSetDirty (ni);
  ntfs_inode_mark_dirty (ni);
  return close_changed (ni, TRUE)
         || fail_change (ntfs, error, path, "its attributes cannot be changed");
}

/* --- the end ---------------------------------------------------------------------------------- */

gboolean
h2k_ntfs_flush (H2kFs *fs, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  ntfs_volume *vol = ntfs->vol;
  ntfs_inode *kept[] = {vol->mft_ni, vol->mftmirr_ni, vol->lcnbmp_ni, vol->vol_ni, vol->secure_ni};

  h2k_ntfs_begin (ntfs);
  if (ntfs->failed)
    return h2k_ntfs_refuse (ntfs, H2K_ERROR_FILESYSTEM, error, "/",
                            "a change was written in part, so that the filesystem is corrupt");
  for (gsize i = 0; i < G_N_ELEMENTS (kept); i++)
    if (kept[i] && NInoDirty (kept[i]) && ntfs_inode_sync (kept[i]) != 0)
      return fail_change (ntfs, error, "/", "cannot be flushed");
  return h2k_disk_flush (fs->volume, error);
}
