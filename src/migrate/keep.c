/* keep.c - old outputs under a second name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/keep.h"

#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct _H2kKeep
{
  GPtrArray *paths; /* char *: of which there is a second name */
};

static char *
kept_name (const char *path)
{
  return g_strconcat (path, ".h2k-old", NULL);
}

static gboolean
is_there (const char *path)
{
  struct stat st;

  return lstat (path, &st) == 0;
}

H2kKeep *
h2k_keep_new (void)
{
  H2kKeep *keep = g_new0 (H2kKeep, 1);

  keep->paths = g_ptr_array_new_with_free_func (g_free);
  return keep;
}

/* PATH becomes what KEPT is. Two names of one file stay two when one is renamed to the other. */
static int
put_back (const char *kept, const char *path)
{
  if (g_rename (kept, path) < 0)
    return errno;
  g_unlink (kept);
  return 0;
}

void
h2k_keep_free (H2kKeep *keep)
{
  if (!keep)
    return;
  for (guint i = 0; i < keep->paths->len; i++)
    {
      const char *path = keep->paths->pdata[i];
      g_autofree char *kept = kept_name (path);
      int err = put_back (kept, path);
      if (err)
        g_warning ("%s could not get its name back and is %s: %s", path, kept, g_strerror (err));
    }
  g_ptr_array_unref (keep->paths);
  g_free (keep);
}

gboolean
h2k_keep_file (H2kKeep *keep, const char *path, GError **error)
{
  g_autofree char *kept = kept_name (path);
  struct stat st;
  int err = 0;

  if (lstat (path, &st) < 0)
    return TRUE;
  g_unlink (kept);
  if (S_ISDIR (st.st_mode))
    err = EISDIR;
  /* Some filesystems have no second names: then the first one is missing for a moment. */
  else if (linkat (AT_FDCWD, path, AT_FDCWD, kept, 0) < 0 && g_rename (path, kept) < 0)
    err = errno;
  if (err)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                     "%s cannot be kept until what replaces it is complete", path);
      return FALSE;
    }
  g_ptr_array_add (keep->paths, g_strdup (path));
  return TRUE;
}

gboolean
h2k_keep_has (const H2kKeep *keep, const char *path)
{
  return g_ptr_array_find_with_equal_func (keep->paths, path, g_str_equal, NULL);
}

void
h2k_keep_discard (H2kKeep *keep)
{
  for (guint i = keep->paths->len; i-- > 0;)
    {
      g_autofree char *kept = kept_name (keep->paths->pdata[i]);
      g_unlink (kept);
    }
  g_ptr_array_set_size (keep->paths, 0);
}

gboolean
h2k_keep_recover (const GPtrArray *paths, GError **error)
{
  const char *last = paths->pdata[paths->len - 1];
  g_autofree char *last_kept = kept_name (last);
  gboolean stands = is_there (last) && !is_there (last_kept);

  for (guint i = 0; i < paths->len; i++)
    {
      const char *path = paths->pdata[i];
      g_autofree char *kept = kept_name (path);
      int err = 0;

      if (!is_there (kept))
        continue;
      if (stands && is_there (path))
        g_unlink (kept);
      else
        err = put_back (kept, path);
      if (err)
        {
          h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                         "%s, which a run that was killed left as %s, cannot get its name back",
                         path, kept);
          return FALSE;
        }
      g_message ("%s: an earlier run was killed while it replaced it; %s", path,
                 stands ? "the new one stands" : "the old one is back");
    }
  return TRUE;
}
