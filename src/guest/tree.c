/* tree.c - the guest's filesystems mounted into each other, with links resolved inside the tree
 * as path_resolution(7) says for a process after a chroot.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/tree.h"

#include <sys/stat.h>

#define MAX_LINKS 40
#define MAX_NAME 1020 /* bytes: NTFS has 255 UTF-16 units */
#define MAX_PATH (64 * 1024)
#define MAX_GLOB 100000
#define DEFAULT_LIMIT (16 * 1024 * 1024)
#define SELINUX_LABEL "security.selinux"
#define AT_END G_MAXUINT64

typedef struct
{
  char *path; /* resolved; "/" for the root */
  H2kFs *fs;
} Mount;

struct _H2kTree
{
  GPtrArray *mounts; /* Mount * */
};

/* A resolved path on the filesystem that holds it. */
typedef struct
{
  H2kFs *fs;
  const char *path; /* inside FS; lives as long as the resolved path it was made of */
} Place;

typedef enum
{
  WALK_FOUND,
  WALK_MISSING,
  WALK_ERROR
} Walk;

static void
mount_free (gpointer data)
{
  Mount *mount = data;

  g_free (mount->path);
  g_free (mount);
}

H2kTree *
h2k_tree_new (void)
{
  H2kTree *tree = g_new0 (H2kTree, 1);

  tree->mounts = g_ptr_array_new_with_free_func (mount_free);
  return tree;
}

void
h2k_tree_free (H2kTree *tree)
{
  if (!tree)
    return;
  g_ptr_array_unref (tree->mounts);
  g_free (tree);
}

/* --- errors ----------------------------------------------------------------------------------- */

static gboolean
fail (GError **error, H2kError code, const char *path, const char *why)
{
  g_autofree char *safe = h2k_escape_text (path, -1);

  g_set_error (error, H2K_ERROR, (int)code, "%s: %s", safe, why);
  return FALSE;
}

/* Put the guest's path in front of a driver's message. */
static gboolean
named (GError **error, const char *path)
{
  g_autofree char *safe = h2k_escape_text (path, -1);

  g_prefix_error (error, "%s: ", safe);
  return FALSE;
}

/* --- resolving -------------------------------------------------------------------------------- */

/* RESOLVED on the filesystem with the longest mountpoint above it. */
static gboolean
place_of (H2kTree *tree, const char *resolved, Place *place, GError **error)
{
  gsize best = 0;

  place->fs = NULL;
  for (guint i = 0; i < tree->mounts->len; i++)
    {
      const Mount *mount = g_ptr_array_index (tree->mounts, i);
      gsize n = strcmp (mount->path, "/") == 0 ? 0 : strlen (mount->path);

      if (place->fs && n < best)
        continue;
      if (strncmp (resolved, mount->path, n) != 0 || (resolved[n] && resolved[n] != '/'))
        continue;
      best = n;
      place->fs = mount->fs;
      place->path = resolved[n] ? resolved + n : "/";
    }
  return place->fs ? TRUE : fail (error, H2K_ERROR_FAILED, resolved, "nothing is mounted there");
}

static Walk
lstat_resolved (H2kTree *tree, const char *resolved, H2kStat *st, GError **error)
{
  g_autoptr (GError) local = NULL;
  Place place;

  if (!place_of (tree, resolved, &place, error))
    return WALK_ERROR;
  if (place.fs->ops->lstat (place.fs, place.path, st, &local))
    return WALK_FOUND;
  if (g_error_matches (local, H2K_ERROR, H2K_ERROR_FAILED))
    return WALK_MISSING;
  g_propagate_error (error, g_steal_pointer (&local));
  named (error, resolved);
  return WALK_ERROR;
}

static char *
readlink_resolved (H2kTree *tree, const char *resolved, GError **error)
{
  Place place;
  char *target;

  if (!place_of (tree, resolved, &place, error))
    return NULL;
  target = place.fs->ops->readlink (place.fs, place.path, error);
  if (!target)
    named (error, resolved);
  return target;
}

static void
go_up (GString *at)
{
  const char *slash = strrchr (at->str, '/');

  g_string_truncate (at, slash ? (gsize)(slash - at->str) : 0);
}

static void
go_down (GString *at, const char *name, gsize length)
{
  g_string_append_c (at, '/');
  g_string_append_len (at, name, (gssize)length);
}

/* Add what is left of a path whose first component is missing, so that it can be created. A ".."
 * there leads nowhere: AT becomes empty. */
static Walk
missing (GString *at, const char *rest)
{
  for (rest += strspn (rest, "/"); *rest; rest += strspn (rest, "/"))
    {
      gsize n = strcspn (rest, "/");
      if (n == 2 && memcmp (rest, "..", 2) == 0)
        {
          g_string_truncate (at, 0);
          return WALK_MISSING;
        }
      if (!(n == 1 && *rest == '.'))
        go_down (at, rest, n);
      rest += n;
    }
  return WALK_MISSING;
}

/* Walk PATH from the root. AT becomes the resolved path, also when something is missing ("": it
 * could not even be created); ST what is there. */
static Walk
walk (H2kTree *tree, const char *path, gboolean nofollow, GString *at, H2kStat *st, GError **error)
{
  g_autofree char *todo = g_strdup (path);
  const char *rest = todo;
  guint links = 0;
  Walk found;

  g_string_truncate (at, 0);
  found = lstat_resolved (tree, "/", st, error);
  for (rest += strspn (rest, "/"); found == WALK_FOUND && *rest; rest += strspn (rest, "/"))
    {
      const char *name = rest;
      gsize n = strcspn (rest, "/");

      rest += n;
      if (!S_ISDIR (st->mode) || n > MAX_NAME)
        {
          g_string_truncate (at, 0);
          return WALK_MISSING;
        }
      if (n == 1 && *name == '.')
        continue;
      if (n == 2 && memcmp (name, "..", 2) == 0)
        {
          go_up (at);
          found = lstat_resolved (tree, at->len ? at->str : "/", st, error);
          continue;
        }
      go_down (at, name, n);
      found = lstat_resolved (tree, at->str, st, error);
      if (found == WALK_MISSING)
        return missing (at, rest);
      if (found == WALK_FOUND && S_ISLNK (st->mode) && !(nofollow && !rest[strspn (rest, "/")]))
        {
          g_autofree char *target = NULL;
          char *longer;

          if (++links > MAX_LINKS)
            {
              fail (error, H2K_ERROR_FAILED, path, "too many levels of symbolic links");
              return WALK_ERROR;
            }
          target = readlink_resolved (tree, at->str, error);
          if (!target)
            return WALK_ERROR;
          if (!*target)
            {
              g_string_truncate (at, 0);
              return WALK_MISSING;
            }
          longer = g_strconcat (target, "/", rest, NULL);
          g_free (todo);
          todo = longer;
          rest = todo;
          if (strlen (todo) > MAX_PATH)
            {
              fail (error, H2K_ERROR_FILESYSTEM, path, "its links make too long a path");
              return WALK_ERROR;
            }
          if (*todo == '/')
            g_string_truncate (at, 0);
          else
            go_up (at);
          found = lstat_resolved (tree, at->len ? at->str : "/", st, error);
        }
    }
  if (at->len == 0)
    g_string_assign (at, "/");
  return found;
}

/* The walk for functions to which a missing file is an error. */
static gboolean
find (H2kTree *tree, const char *path, gboolean nofollow, GString *at, H2kStat *st, GError **error)
{
  switch (walk (tree, path, nofollow, at, st, error))
    {
    case WALK_FOUND:
      return TRUE;
    case WALK_MISSING:
      return fail (error, H2K_ERROR_FAILED, path, "no such file or directory in the guest");
    case WALK_ERROR:
    default:
      return FALSE;
    }
}

char *
h2k_tree_resolve (H2kTree *tree, const char *path, gboolean nofollow)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;

  return walk (tree, path, nofollow, at, &st, NULL) == WALK_FOUND ? g_strdup (at->str) : NULL;
}

void
h2k_tree_mount (H2kTree *tree, const char *path, H2kFs *fs)
{
  Mount *mount = g_new0 (Mount, 1);

  mount->path = tree->mounts->len ? h2k_tree_resolve (tree, path, FALSE) : NULL;
  if (!mount->path)
    mount->path = g_canonicalize_filename (path, "/");
  mount->fs = fs;
  g_ptr_array_add (tree->mounts, mount);
}

H2kFs *
h2k_tree_get_mount (H2kTree *tree, guint number, const char **path)
{
  const Mount *mount = number < tree->mounts->len ? tree->mounts->pdata[number] : NULL;

  if (mount)
    *path = mount->path;
  return mount ? mount->fs : NULL;
}

/* --- looking ---------------------------------------------------------------------------------- */

gboolean
h2k_tree_stat (H2kTree *tree, const char *path, H2kStat *st, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);

  return find (tree, path, FALSE, at, st, error);
}

gboolean
h2k_tree_lstat (H2kTree *tree, const char *path, H2kStat *st, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);

  return find (tree, path, TRUE, at, st, error);
}

gboolean
h2k_tree_find_mount (H2kTree *tree, const char *path, gboolean nofollow, guint *number,
                     GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;
  Place place;

  if (!find (tree, path, nofollow, at, &st, error) || !place_of (tree, at->str, &place, error))
    return FALSE;
  for (guint i = 0; i < tree->mounts->len; i++)
    if (((Mount *)tree->mounts->pdata[i])->fs == place.fs)
      *number = i;
  return TRUE;
}

H2kFs *
h2k_tree_subtree (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;
  Place place;

  if (!find (tree, path, FALSE, at, &st, error) || !place_of (tree, at->str, &place, error))
    return NULL;
  if (S_ISDIR (st.mode))
    return h2k_fs_subtree_new (place.fs, place.path);
  fail (error, H2K_ERROR_FAILED, path, "not a directory");
  return NULL;
}

gboolean
h2k_tree_exists (H2kTree *tree, const char *path)
{
  H2kStat st;

  return h2k_tree_stat (tree, path, &st, NULL);
}

gboolean
h2k_tree_is_dir (H2kTree *tree, const char *path)
{
  H2kStat st;

  return h2k_tree_stat (tree, path, &st, NULL) && S_ISDIR (st.mode);
}

gboolean
h2k_tree_is_file (H2kTree *tree, const char *path)
{
  H2kStat st;

  return h2k_tree_stat (tree, path, &st, NULL) && S_ISREG (st.mode);
}

gboolean
h2k_tree_is_link (H2kTree *tree, const char *path)
{
  H2kStat st;

  return h2k_tree_lstat (tree, path, &st, NULL) && S_ISLNK (st.mode);
}

char *
h2k_tree_readlink (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;

  if (!find (tree, path, TRUE, at, &st, error))
    return NULL;
  if (!S_ISLNK (st.mode))
    {
      fail (error, H2K_ERROR_FILESYSTEM, path, "not a symbolic link");
      return NULL;
    }
  return readlink_resolved (tree, at->str, error);
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *
h2k_tree_list (H2kTree *tree, const char *path)
{
  g_autoptr (GString) at = g_string_new (NULL);
  g_autoptr (GError) local = NULL;
  GPtrArray *names = NULL;
  H2kStat st;
  Place place;

  if (find (tree, path, FALSE, at, &st, NULL) && S_ISDIR (st.mode)
      && place_of (tree, at->str, &place, NULL))
    names = place.fs->ops->list (place.fs, place.path, &local);
  if (local)
    {
      g_autofree char *safe = h2k_escape_text (at->str, -1);
      g_warning ("%s: %s", safe, local->message);
    }
  if (!names)
    return g_ptr_array_new_with_free_func (g_free);
  g_ptr_array_sort (names, compare_names);
  return names;
}

GPtrArray *
h2k_tree_read_dir (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  GPtrArray *names;
  H2kStat st;
  Place place;

  if (!find (tree, path, FALSE, at, &st, error))
    return NULL;
  if (!S_ISDIR (st.mode))
    {
      fail (error, H2K_ERROR_FAILED, path, "not a directory");
      return NULL;
    }
  if (!place_of (tree, at->str, &place, error))
    return NULL;
  names = place.fs->ops->list (place.fs, place.path, error);
  if (names)
    g_ptr_array_sort (names, compare_names);
  return names;
}

/* The paths PREFIX/NAME of those names that match WORD. */
static void
glob_step (H2kTree *tree, const char *prefix, const char *word, GPtrArray *out)
{
  g_autoptr (GPatternSpec) spec = g_pattern_spec_new (word);
  g_autoptr (GPtrArray) names = h2k_tree_list (tree, *prefix ? prefix : "/");

  for (guint i = 0; i < names->len && out->len < MAX_GLOB; i++)
    {
      const char *name = g_ptr_array_index (names, i);
      if ((*name != '.' || *word == '.') && g_pattern_spec_match_string (spec, name))
        g_ptr_array_add (out, g_strconcat (prefix, "/", name, NULL));
    }
}

GPtrArray *
h2k_tree_glob (H2kTree *tree, const char *pattern)
{
  g_auto (GStrv) words = g_strsplit (pattern, "/", -1);
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);

  g_ptr_array_add (paths, g_strdup (""));
  for (guint w = 0; words[w]; w++)
    {
      GPtrArray *next;

      if (!*words[w])
        continue;
      next = g_ptr_array_new_with_free_func (g_free);
      for (guint i = 0; i < paths->len; i++)
        if (strpbrk (words[w], "*?"))
          glob_step (tree, paths->pdata[i], words[w], next);
        else
          g_ptr_array_add (next, g_strconcat (paths->pdata[i], "/", words[w], NULL));
      g_ptr_array_unref (paths);
      paths = next;
    }
  /* Words without a wildcard were taken on trust. */
  for (guint i = paths->len; i > 0; i--)
    {
      H2kStat st;
      if (!h2k_tree_lstat (tree, paths->pdata[i - 1], &st, NULL))
        g_ptr_array_remove_index (paths, i - 1);
    }
  g_ptr_array_sort (paths, compare_names);
  return paths;
}

/* --- reading ---------------------------------------------------------------------------------- */

static GBytes *
read_place (H2kTree *tree, const char *resolved, guint64 offset, gsize length, GError **error)
{
  GBytes *data;
  Place place;

  if (length == 0)
    return g_bytes_new (NULL, 0);
  if (!place_of (tree, resolved, &place, error))
    return NULL;
  data = place.fs->ops->read (place.fs, place.path, offset, length, error);
  if (!data)
    named (error, resolved);
  return data;
}

static GBytes *
read_whole (H2kTree *tree, const char *path, const char *resolved, const H2kStat *st, gsize limit,
            GError **error)
{
  if (limit == 0)
    limit = DEFAULT_LIMIT;
  if (!S_ISREG (st->mode))
    {
      fail (error, H2K_ERROR_FILESYSTEM, path, "not a regular file");
      return NULL;
    }
  if (st->size > limit)
    {
      g_autofree char *safe = h2k_escape_text (path, -1);
      g_autofree char *size = h2k_format_size (st->size);
      g_autofree char *most = h2k_format_size (limit);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                   "%s: %s is too large for such a file (at most %s)", safe, size, most);
      return NULL;
    }
  return read_place (tree, resolved, 0, (gsize)st->size, error);
}

GBytes *
h2k_tree_read (H2kTree *tree, const char *path, gsize limit, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;

  if (!find (tree, path, FALSE, at, &st, error))
    return NULL;
  return read_whole (tree, path, at->str, &st, limit, error);
}

GBytes *
h2k_tree_read_optional (H2kTree *tree, const char *path, gsize limit, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;

  /* A link to /dev/null, which masks many files, leads to no file either. */
  if (walk (tree, path, FALSE, at, &st, error) != WALK_FOUND || !S_ISREG (st.mode))
    return NULL;
  return read_whole (tree, path, at->str, &st, limit, error);
}

GBytes *
h2k_tree_read_range (H2kTree *tree, const char *path, guint64 offset, gsize length, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;

  if (!find (tree, path, FALSE, at, &st, error))
    return NULL;
  if (!S_ISREG (st.mode))
    {
      fail (error, H2K_ERROR_FAILED, path, "not a regular file");
      return NULL;
    }
  if (offset >= st.size)
    return g_bytes_new (NULL, 0);
  return read_place (tree, at->str, offset, (gsize)MIN (length, st.size - offset), error);
}

GBytes *
h2k_tree_get_xattr (H2kTree *tree, const char *path, const char *name, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  g_autoptr (GError) local = NULL;
  GBytes *value;
  H2kStat st;
  Place place;

  if (!find (tree, path, FALSE, at, &st, error) || !place_of (tree, at->str, &place, error))
    return NULL;
  if (!place.fs->ops->get_xattr)
    return NULL;
  value = place.fs->ops->get_xattr (place.fs, place.path, name, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      named (error, path);
    }
  return value;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The place of a resolved path, on a filesystem that can be written. */
static gboolean
writable_place (H2kTree *tree, const char *resolved, Place *place, GError **error)
{
  if (!place_of (tree, resolved, place, error))
    return FALSE;
  return h2k_fs_check_writable (place->fs, error) ? TRUE : named (error, resolved);
}

static gboolean
touch (Place *place, const char *resolved, H2kStat *st, GError **error)
{
  st->mtime = st->ctime = g_get_real_time () / G_USEC_PER_SEC;
  return place->fs->ops->set_stat (place->fs, place->path, st, error) ? TRUE
                                                                      : named (error, resolved);
}

/* Give a new file its directory's label. An unlabelled file would be denied to every confined
 * service; the directory's type is what the kernel itself gives by default. */
static gboolean
inherit_label (H2kTree *tree, const char *resolved, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (resolved);
  g_autoptr (GBytes) label = NULL;
  g_autoptr (GError) local = NULL;
  Place above, place;

  if (!place_of (tree, parent, &above, error) || !place_of (tree, resolved, &place, error))
    return FALSE;
  if (!above.fs->ops->get_xattr || !place.fs->ops->set_xattr)
    return TRUE;
  label = above.fs->ops->get_xattr (above.fs, above.path, SELINUX_LABEL, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return named (error, parent);
    }
  if (!label)
    return TRUE;
  return place.fs->ops->set_xattr (place.fs, place.path, SELINUX_LABEL, label, error)
             ? TRUE
             : named (error, resolved);
}

static gboolean
create (H2kTree *tree, const char *resolved, guint32 mode, const char *target, GError **error)
{
  Place place;

  if (!writable_place (tree, resolved, &place, error))
    return FALSE;
  if (!place.fs->ops->create (place.fs, place.path, mode, 0, 0, target, error))
    return named (error, resolved);
  return inherit_label (tree, resolved, error);
}

/* Make the directories above a resolved path. */
static gboolean
make_parents (H2kTree *tree, const char *resolved, GError **error)
{
  for (const char *slash = strchr (resolved + 1, '/'); slash; slash = strchr (slash + 1, '/'))
    {
      g_autofree char *dir = g_strndup (resolved, (gsize)(slash - resolved));
      H2kStat st;
      Walk found = lstat_resolved (tree, dir, &st, error);

      if (found == WALK_ERROR
          || (found == WALK_MISSING && !create (tree, dir, S_IFDIR | 0755, NULL, error)))
        return FALSE;
      if (found == WALK_FOUND && !S_ISDIR (st.mode))
        return fail (error, H2K_ERROR_FILESYSTEM, dir, "not a directory");
    }
  return TRUE;
}

/* Where PATH is or is to be made, with everything above it made. FOUND says whether it exists. */
static gboolean
prepare (H2kTree *tree, const char *path, gboolean nofollow, GString *at, H2kStat *st,
         gboolean *found, GError **error)
{
  Walk result = walk (tree, path, nofollow, at, st, error);

  *found = result == WALK_FOUND;
  if (result == WALK_MISSING && at->len == 0)
    return fail (error, H2K_ERROR_FILESYSTEM, path, "cannot be made: a part is not a directory");
  return result == WALK_FOUND || (result == WALK_MISSING && make_parents (tree, at->str, error));
}

gboolean
h2k_tree_write (H2kTree *tree, const char *path, GBytes *data, guint32 mode, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  gsize size;
  const void *bytes = g_bytes_get_data (data, &size);
  gboolean found;
  H2kStat st;
  Place place;

  if (!prepare (tree, path, FALSE, at, &st, &found, error)
      || !writable_place (tree, at->str, &place, error))
    return FALSE;
  if (found && !S_ISREG (st.mode))
    return fail (error, H2K_ERROR_FILESYSTEM, path, "not a regular file");
  if (!found
      && (!create (tree, at->str, S_IFREG | (mode & 07777), NULL, error)
          || lstat_resolved (tree, at->str, &st, error) != WALK_FOUND))
    return FALSE;
  if (st.size > size && !place.fs->ops->truncate (place.fs, place.path, size, error))
    return named (error, at->str);
  if (size && !place.fs->ops->write (place.fs, place.path, 0, bytes, size, error))
    return named (error, at->str);
  return touch (&place, at->str, &st, error);
}

/* Into the regular file PATH; AT_END: behind what it holds. */
static gboolean
write_part (H2kTree *tree, const char *path, guint64 offset, gconstpointer data, gsize length,
            GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;
  Place place;

  if (!find (tree, path, FALSE, at, &st, error) || !writable_place (tree, at->str, &place, error))
    return FALSE;
  if (!S_ISREG (st.mode))
    return fail (error, H2K_ERROR_FILESYSTEM, path, "not a regular file");
  if (offset == AT_END)
    offset = st.size;
  if (length && !place.fs->ops->write (place.fs, place.path, offset, data, length, error))
    return named (error, at->str);
  return touch (&place, at->str, &st, error);
}

gboolean
h2k_tree_append (H2kTree *tree, const char *path, GBytes *data, GError **error)
{
  gsize size;
  const void *bytes = g_bytes_get_data (data, &size);

  return write_part (tree, path, AT_END, bytes, size, error);
}

gboolean
h2k_tree_pwrite (H2kTree *tree, const char *path, guint64 offset, gconstpointer data, gsize length,
                 GError **error)
{
  return write_part (tree, path, offset, data, length, error);
}

gboolean
h2k_tree_mkdir (H2kTree *tree, const char *path, guint32 mode, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  gboolean found;
  H2kStat st;

  if (!prepare (tree, path, FALSE, at, &st, &found, error))
    return FALSE;
  if (!found)
    return create (tree, at->str, S_IFDIR | (mode & 07777), NULL, error);
  return S_ISDIR (st.mode) ? TRUE
                           : fail (error, H2K_ERROR_FILESYSTEM, path, "exists, no directory");
}

static gboolean
remove_resolved (H2kTree *tree, const char *resolved, GError **error)
{
  Place place;

  if (!writable_place (tree, resolved, &place, error))
    return FALSE;
  return place.fs->ops->remove (place.fs, place.path, error) ? TRUE : named (error, resolved);
}

gboolean
h2k_tree_symlink (H2kTree *tree, const char *target, const char *path, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  gboolean found;
  H2kStat st;

  if (!prepare (tree, path, TRUE, at, &st, &found, error))
    return FALSE;
  if (found && S_ISDIR (st.mode))
    return fail (error, H2K_ERROR_FILESYSTEM, path, "is a directory");
  if (found && !remove_resolved (tree, at->str, error))
    return FALSE;
  return create (tree, at->str, S_IFLNK | 0777, target, error);
}

gboolean
h2k_tree_remove (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;
  Walk result = walk (tree, path, TRUE, at, &st, error);

  if (result != WALK_FOUND)
    return result == WALK_MISSING;
  return remove_resolved (tree, at->str, error);
}

gboolean
h2k_tree_rename (H2kTree *tree, const char *from, const char *to, GError **error)
{
  g_autoptr (GString) source = g_string_new (NULL);
  g_autoptr (GString) target = g_string_new (NULL);
  gboolean found;
  H2kStat st, old;
  Place a, b;

  if (!find (tree, from, TRUE, source, &st, error)
      || !prepare (tree, to, TRUE, target, &old, &found, error)
      || !writable_place (tree, source->str, &a, error)
      || !writable_place (tree, target->str, &b, error))
    return FALSE;
  if (a.fs != b.fs)
    return fail (error, H2K_ERROR_FILESYSTEM, to, "is on another filesystem");
  if (strcmp (source->str, target->str) == 0)
    return TRUE;
  if (found && !remove_resolved (tree, target->str, error))
    return FALSE;
  return a.fs->ops->rename (a.fs, a.path, b.path, error) ? TRUE : named (error, from);
}

/* --- the whole -------------------------------------------------------------------------------- */

guint64
h2k_tree_free_space (H2kTree *tree, const char *path)
{
  g_autoptr (GString) at = g_string_new (NULL);
  H2kStat st;
  Place place;

  if (walk (tree, path, FALSE, at, &st, NULL) == WALK_ERROR
      || !place_of (tree, at->str, &place, NULL) || !place.fs->ops->free_space)
    return 0;
  return place.fs->ops->free_space (place.fs);
}

gboolean
h2k_tree_flush (H2kTree *tree, GError **error)
{
  for (guint i = 0; i < tree->mounts->len; i++)
    {
      const Mount *mount = g_ptr_array_index (tree->mounts, i);
      if (mount->fs->writable && mount->fs->ops->flush && !mount->fs->ops->flush (mount->fs, error))
        return named (error, mount->path);
    }
  return TRUE;
}
