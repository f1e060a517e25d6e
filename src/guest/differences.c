/* differences.c - which files differ between two states of a filesystem.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/differences.h"

#include "fs/usage.h"

#include <sys/stat.h>

#define MAX_DEPTH 2048u
#define PIECE (1u << 20)

typedef struct
{
  const H2kTreePair *pair;
  H2kFileDifferenceFunc func;
  gpointer data;
  GCancellable *cancellable;
  GString *path; /* inside the filesystems; "" is their root */
  gboolean stopped;
} Walk;

/* The folders that the walk is in, the innermost one first. */
typedef struct Folder
{
  const struct Folder *outer;
  guint64 inodes[2];
  guint depth;
} Folder;

/* A name: what it is in both states. */
typedef struct
{
  gboolean there[2];
  H2kStat st[2];
  char *targets[2];
} Entry;

const char *
h2k_aspect_name (H2kAspects aspect)
{
  static const char *const names[]
      = {"content", "type", "mode", "owner", "times", "target", "device", "xattrs", "links"};

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (aspect == 1u << i)
      return names[i];
  return "";
}

static const char *
inner_path (const Walk *w)
{
  return w->path->len ? w->path->str : "/";
}

/* What is wrong with one file does not end the comparison; what is with the disk does. */
static gboolean
is_bearable (const GError *why)
{
  return g_error_matches (why, H2K_ERROR, H2K_ERROR_FILESYSTEM)
         || g_error_matches (why, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
         || g_error_matches (why, H2K_ERROR, H2K_ERROR_FAILED);
}

/* --- telling ---------------------------------------------------------------------------------- */

static void
tell (Walk *w, const Entry *entry, H2kAspects aspects, const char *problem)
{
  const char *prefix = w->pair->prefix;
  gboolean is_root = !w->path->len && (!*prefix || g_str_has_suffix (prefix, ":"));
  g_autofree char *path = g_strconcat (prefix, is_root ? "/" : w->path->str, NULL);
  H2kFileDifference difference = {.path = path, .aspects = aspects, .problem = problem};

  for (guint i = 0; i < 2; i++)
    if (entry && entry->there[i])
      {
        difference.stats[i] = &entry->st[i];
        difference.targets[i] = entry->targets[i];
      }
  if (!w->stopped)
    w->stopped = !w->func (&difference, w->data);
}

/* TRUE: WHY, which is freed, was told of as a problem of ENTRY. */
static gboolean
tell_problem (Walk *w, const Entry *entry, GError *why, GError **error)
{
  gboolean bearable = is_bearable (why);

  if (bearable)
    tell (w, entry, 0, why->message);
  if (bearable)
    g_error_free (why);
  else
    g_propagate_error (error, why);
  return bearable;
}

/* --- contents --------------------------------------------------------------------------------- */

/* Where the file lies on its volume. NULL: that is not known. */
static GArray *
places_of (H2kFs *fs, const char *path, guint64 size)
{
  g_autoptr (GArray) places = g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  guint64 end = (size | 0xfffff) + 1; /* whole blocks */

  if (!fs->ops->places || size > G_MAXINT64 || !fs->ops->places (fs, path, 0, end, places))
    return NULL;
  return g_steal_pointer (&places);
}

static gboolean
is_marked (H2kDisk *volume, const GArray *places)
{
  H2kExtent extent;

  for (guint i = 0; i < places->len; i++)
    {
      const H2kExtent *place = &g_array_index (places, H2kExtent, i);
      guint64 end = place->offset + place->length;
      for (guint64 at = place->offset; at < end; at += extent.length)
        if (end > volume->size || !h2k_disk_extent (volume, at, end, &extent, NULL)
            || extent.kind != H2K_EXTENT_UNALLOCATED)
          return TRUE;
    }
  return FALSE;
}

/* Whether a file whose inode was not written lies on blocks none of which differs. What else tells:
 * blocks that were written past the filesystem. */
static gboolean
lies_on_the_same (Walk *w, const Entry *entry, gboolean *known)
{
  *known = FALSE;
  for (guint i = 0; i < 2; i++)
    {
      H2kFs *fs = w->pair->fs[i];
      g_autoptr (GArray) places
          = w->pair->marked ? places_of (fs, inner_path (w), entry->st[i].size) : NULL;
      if (!places)
        return FALSE;
      *known = TRUE;
      if (is_marked (fs->volume, places))
        return FALSE;
    }
  return TRUE;
}

static gboolean
same_bytes (Walk *w, guint64 size, gboolean *same, GError **error)
{
  *same = TRUE;
  for (guint64 at = 0; at < size && *same; at += PIECE)
    {
      gsize length = (gsize)MIN (size - at, PIECE);
      g_autoptr (GBytes) a = NULL, b = NULL;
      H2kFs *before = w->pair->fs[0], *after = w->pair->fs[1];

      if (h2k_is_cancelled (w->cancellable, error)
          || !(a = before->ops->read (before, inner_path (w), at, length, error))
          || !(b = after->ops->read (after, inner_path (w), at, length, error)))
        return FALSE;
      *same = g_bytes_equal (a, b);
    }
  return TRUE;
}

/* FAT's times are coarse, and its inodes are places in a folder. */
static gboolean
has_weak_times (const H2kFs *fs)
{
  return strcmp (fs->id.type, "vfat") == 0;
}

static gboolean
content_differs (Walk *w, const Entry *entry, gboolean touched, gboolean *differs, GError **error)
{
  gboolean known, same;

  *differs = entry->st[0].size != entry->st[1].size;
  if (*differs || entry->st[0].size == 0)
    return TRUE;
  /* Where a file lies is not known everywhere; its times are. */
  if (!touched
      && (lies_on_the_same (w, entry, &known) || (!known && !has_weak_times (w->pair->fs[1]))))
    return TRUE;
  if (!same_bytes (w, entry->st[0].size, &same, error))
    return FALSE;
  *differs = !same;
  return TRUE;
}

/* --- extended attributes ---------------------------------------------------------------------- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

static gboolean
same_xattr (H2kFs *const *fs, const char *path, const char *name, gboolean *same, GError **error)
{
  GError *why[2] = {NULL, NULL};
  g_autoptr (GBytes) before = fs[0]->ops->get_xattr (fs[0], path, name, &why[0]);
  g_autoptr (GBytes) after = why[0] ? NULL : fs[1]->ops->get_xattr (fs[1], path, name, &why[1]);

  *same = before && after && g_bytes_equal (before, after);
  for (guint i = 0; i < 2; i++)
    if (why[i])
      {
        g_propagate_error (error, why[i]);
        return FALSE;
      }
  return TRUE;
}

/* All but NTFS's times, which are told as such, and which a folder has new ones of with each file
 * in it. */
static GPtrArray *
xattr_names (H2kFs *fs, const char *path, GError **error)
{
  GPtrArray *names = fs->ops->list_xattr (fs, path, error);
  guint times;

  if (!names)
    return NULL;
  if (g_ptr_array_find_with_equal_func (names, "system.ntfs_times", g_str_equal, &times))
    g_ptr_array_remove_index_fast (names, times);
  g_ptr_array_sort (names, compare_names);
  return names;
}

static gboolean
xattrs_differ (Walk *w, gboolean *differ, GError **error)
{
  H2kFs *const *fs = w->pair->fs;
  const char *path = inner_path (w);
  g_autoptr (GPtrArray) before = NULL, after = NULL;

  *differ = FALSE;
  for (guint i = 0; i < 2; i++)
    if (!fs[i]->ops->list_xattr || !fs[i]->ops->get_xattr)
      return TRUE;
  if (!(before = xattr_names (fs[0], path, error)) || !(after = xattr_names (fs[1], path, error)))
    return FALSE;
  *differ = before->len != after->len;
  for (guint n = 0; n < before->len && !*differ; n++)
    {
      const char *name = before->pdata[n];
      gboolean same = strcmp (name, after->pdata[n]) == 0;
      if (same && !same_xattr (fs, path, name, &same, error))
        return FALSE;
      *differ = !same;
    }
  return TRUE;
}

/* --- one name --------------------------------------------------------------------------------- */

/* What STAT alone tells. */
static H2kAspects
compare_stats (const Entry *entry)
{
  const H2kStat *a = &entry->st[0], *b = &entry->st[1];
  gboolean folders = S_ISDIR (a->mode) && S_ISDIR (b->mode);
  gboolean devices = S_ISBLK (b->mode) || S_ISCHR (b->mode);
  H2kAspects aspects = 0;

  if ((a->mode & S_IFMT) != (b->mode & S_IFMT))
    return H2K_ASPECT_TYPE;
  if (devices && a->rdev != b->rdev)
    aspects |= H2K_ASPECT_DEVICE;
  if ((a->mode & 07777) != (b->mode & 07777))
    aspects |= H2K_ASPECT_MODE;
  if (a->uid != b->uid || a->gid != b->gid)
    aspects |= H2K_ASPECT_OWNER;
  if (!folders && a->nlink != b->nlink)
    aspects |= H2K_ASPECT_LINKS;
  if (!folders
      && (a->mtime != b->mtime || a->ctime != b->ctime || a->mtime_nsec != b->mtime_nsec
          || a->ctime_nsec != b->ctime_nsec))
    aspects |= H2K_ASPECT_TIMES;
  return aspects;
}

/* Whether the inode was written, or is another one. */
static gboolean
is_touched (const Entry *entry, H2kAspects aspects)
{
  const H2kStat *a = &entry->st[0], *b = &entry->st[1];

  return aspects || a->inode != b->inode || a->mtime != b->mtime || a->ctime != b->ctime
         || a->mtime_nsec != b->mtime_nsec || a->ctime_nsec != b->ctime_nsec
         || (!S_ISDIR (b->mode) && a->size != b->size);
}

static gboolean
compare_entry (Walk *w, const Entry *entry, GError **error)
{
  H2kAspects aspects = compare_stats (entry);
  gboolean touched = is_touched (entry, aspects), differs = FALSE;
  GError *why = NULL;

  if (!(aspects & H2K_ASPECT_TYPE) && S_ISREG (entry->st[1].mode)
      && !content_differs (w, entry, touched, &differs, &why))
    return tell_problem (w, entry, why, error);
  if (differs)
    aspects |= H2K_ASPECT_CONTENT;
  if (entry->targets[0] && entry->targets[1] && strcmp (entry->targets[0], entry->targets[1]) != 0)
    aspects |= H2K_ASPECT_TARGET;
  differs = FALSE;
  if (touched && !(aspects & H2K_ASPECT_TYPE) && !xattrs_differ (w, &differs, &why))
    return tell_problem (w, entry, why, error);
  if (differs)
    aspects |= H2K_ASPECT_XATTRS;
  if (aspects)
    tell (w, entry, aspects, NULL);
  return TRUE;
}

static void
entry_clear (Entry *entry)
{
  for (guint i = 0; i < 2; i++)
    g_clear_pointer (&entry->targets[i], g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Entry, entry_clear)

/* Look at the walk's path where ENTRY says that it is there. */
static gboolean
look (Walk *w, Entry *entry, GError **error)
{
  for (guint i = 0; i < 2; i++)
    {
      H2kFs *fs = w->pair->fs[i];

      if (!entry->there[i])
        continue;
      if (!fs->ops->lstat (fs, inner_path (w), &entry->st[i], error))
        {
          entry->there[i] = FALSE;
          return FALSE;
        }
      if (S_ISLNK (entry->st[i].mode)
          && !(entry->targets[i] = fs->ops->readlink (fs, inner_path (w), error)))
        return FALSE;
    }
  return TRUE;
}

/* --- folders ---------------------------------------------------------------------------------- */

static gboolean compare_folders (Walk *w, const Entry *entry, const Folder *outer, GError **error);

static gboolean
compare_name (Walk *w, const gboolean *there, const Folder *folder, GError **error)
{
  g_auto (Entry) entry = {.there = {there[0], there[1]}};
  GError *why = NULL;

  if (h2k_is_cancelled (w->cancellable, error))
    return FALSE;
  if (!look (w, &entry, &why))
    return tell_problem (w, &entry, why, error);
  if (!there[0] || !there[1])
    tell (w, &entry, 0, NULL);
  else if (!compare_entry (w, &entry, error))
    return FALSE;
  return compare_folders (w, &entry, folder, error);
}

/* The sorted names of the walk's folder, none where it is not there. */
static GPtrArray *
read_names (Walk *w, const Entry *entry, guint i, GError **error)
{
  H2kFs *fs = w->pair->fs[i];
  GPtrArray *names;

  if (!entry->there[i] || !S_ISDIR (entry->st[i].mode))
    return g_ptr_array_new ();
  names = fs->ops->list (fs, inner_path (w), error);
  if (names)
    g_ptr_array_sort (names, compare_names);
  return names;
}

static gboolean
merge_names (Walk *w, const GPtrArray *a, const GPtrArray *b, const Folder *folder, GError **error)
{
  gsize length = w->path->len;

  for (guint i = 0, j = 0; (i < a->len || j < b->len) && !w->stopped;)
    {
      int order = i == a->len ? 1 : j == b->len ? -1 : strcmp (a->pdata[i], b->pdata[j]);
      const gboolean there[2] = {order <= 0, order >= 0};

      g_string_append_c (w->path, '/');
      g_string_append (w->path, there[0] ? a->pdata[i] : b->pdata[j]);
      if (!compare_name (w, there, folder, error))
        return FALSE;
      g_string_truncate (w->path, length);
      i += there[0];
      j += there[1];
      /* A damaged folder may have a name twice. */
      while (there[0] && i < a->len && strcmp (a->pdata[i], a->pdata[i - 1]) == 0)
        i++;
      while (there[1] && j < b->len && strcmp (b->pdata[j], b->pdata[j - 1]) == 0)
        j++;
    }
  return TRUE;
}

/* Why the walk must not go on into ENTRY; NULL: it may. */
static const char *
why_not_into (const Folder *folder)
{
  if (folder->depth > MAX_DEPTH)
    return "too many folders lie in each other";
  for (const Folder *outer = folder->outer; outer; outer = outer->outer)
    for (guint i = 0; i < 2; i++)
      if (folder->inodes[i] && outer->inodes[i] == folder->inodes[i])
        return "the folder lies in itself: the filesystem is corrupt";
  return NULL;
}

/* What is in the walk's folder, if it is one in one of the states at least. */
static gboolean
compare_folders (Walk *w, const Entry *entry, const Folder *outer, GError **error)
{
  Folder folder = {.outer = outer, .depth = outer ? outer->depth + 1 : 0};
  g_autoptr (GPtrArray) before = NULL, after = NULL;
  GError *why = NULL;
  const char *refused;
  gboolean any = FALSE;

  for (guint i = 0; i < 2; i++)
    if (entry->there[i] && S_ISDIR (entry->st[i].mode))
      {
        folder.inodes[i] = entry->st[i].inode;
        any = TRUE;
      }
  if (!any || w->stopped || (w->pair->skip && g_hash_table_contains (w->pair->skip, w->path->str)))
    return TRUE;
  if ((refused = why_not_into (&folder)))
    {
      tell (w, entry, 0, refused);
      return TRUE;
    }
  if (!(before = read_names (w, entry, 0, &why)) || !(after = read_names (w, entry, 1, &why)))
    return tell_problem (w, entry, why, error);
  return merge_names (w, before, after, &folder, error);
}

gboolean
h2k_trees_compare (const H2kTreePair *pair, H2kFileDifferenceFunc func, gpointer data,
                   GCancellable *cancellable, GError **error)
{
  Walk w = {.pair = pair, .func = func, .data = data, .cancellable = cancellable};
  g_auto (Entry) root = {.there = {pair->fs[0] != NULL, pair->fs[1] != NULL}};
  GError *why = NULL;
  gboolean ok;

  w.path = g_string_new (NULL);
  if (!look (&w, &root, &why))
    ok = tell_problem (&w, &root, why, error);
  else
    ok = (!root.there[0] || !root.there[1] || compare_entry (&w, &root, error))
         && compare_folders (&w, &root, NULL, error);
  g_string_free (w.path, TRUE);
  return ok;
}
