/* store.c - where the clones lie, and what their names may be.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LENGTH 64u
#define JSON_MAX ((off_t)16 << 20)

gboolean
h2k_clone_check_name (const char *what, const char *name, GError **error)
{
  gsize length = strlen (name);
  gboolean good = length > 0 && length <= NAME_LENGTH && g_ascii_isalnum (name[0]);

  for (gsize i = 0; i < length && good; i++)
    good = g_ascii_isalnum (name[i]) || strchr ("._-", name[i]);
  if (!good)
    {
      g_autofree char *escaped = h2k_escape_text (name, (gssize)MIN (length, 200));

      g_strdelimit (escaped, "\n\t", '?');
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "\"%s\" cannot be %s's name: choose up to %u letters, digits, dots, underscores "
                   "and hyphens, the first one a letter or digit",
                   escaped, what, NAME_LENGTH);
    }
  return good;
}

/* --- the folder ------------------------------------------------------------------------------- */

static char *
default_dir (void)
{
  if (geteuid () == 0)
    return g_strdup ("/var/lib/hyper2kvm");
  return g_build_filename (g_get_user_data_dir (), "hyper2kvm", NULL);
}

/* A folder to which somebody else can write could be exchanged below our feet. */
static gboolean
make_dir (const char *dir, gboolean parents, GError **error)
{
  int mode = geteuid () == 0 ? 0711 : 0700;
  struct stat st;

  if ((parents ? g_mkdir_with_parents (dir, mode) : mkdir (dir, (mode_t)mode)) != 0
      && errno != EEXIST)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make the folder %s for clones", dir);
      return FALSE;
    }
  if (stat (dir, &st) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot look at %s", dir);
      return FALSE;
    }
  if (S_ISDIR (st.st_mode) && st.st_uid == geteuid () && !(st.st_mode & 0022))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
               "%s cannot hold clones: %s; make it a folder of your own with mode %04o, or name "
               "another one by --state-dir",
               dir,
               !S_ISDIR (st.st_mode)     ? "it is no folder"
               : st.st_uid != geteuid () ? "it belongs to another user"
                                         : "other users can write to it",
               (guint)mode);
  return FALSE;
}

H2kCloneStore *
h2k_clone_store_open (const char *dir, GError **error)
{
  g_autofree char *chosen = dir ? g_strdup (dir) : default_dir ();
  g_autoptr (H2kCloneStore) store = g_new0 (H2kCloneStore, 1);
  char *path;

  if (!make_dir (chosen, TRUE, error))
    return NULL;
  /* Without links, so that it can be told what lies in it. */
  if (!(path = realpath (chosen, NULL)))
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot look at %s", chosen);
      return NULL;
    }
  store->dir = g_strdup (path);
  free (path);
  store->clones = g_build_filename (store->dir, "clones", NULL);
  if (!make_dir (store->clones, FALSE, error))
    return NULL;
  return g_steal_pointer (&store);
}

void
h2k_clone_store_free (H2kCloneStore *store)
{
  if (!store)
    return;
  g_free (store->dir);
  g_free (store->clones);
  g_free (store);
}

static int
by_name (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

GPtrArray *
h2k_clone_store_list (H2kCloneStore *store, GError **error)
{
  g_autoptr (GDir) dir = NULL;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) local = NULL;
  const char *name;

  dir = g_dir_open (store->clones, 0, &local);
  if (!dir)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "cannot list the clones: %s",
                   local->message);
      return NULL;
    }
  while ((name = g_dir_read_name (dir)))
    if (h2k_clone_check_name ("a clone", name, NULL))
      g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, by_name);
  return g_steal_pointer (&names);
}

/* --- files ------------------------------------------------------------------------------------ */

void
h2k_clone_remove_tree (const char *path)
{
  g_autoptr (GDir) dir = NULL;
  struct stat st;
  const char *name;

  if (lstat (path, &st) != 0)
    return;
  if (!S_ISDIR (st.st_mode))
    {
      unlink (path);
      return;
    }
  dir = g_dir_open (path, 0, NULL);
  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *inner = g_build_filename (path, name, NULL);
      h2k_clone_remove_tree (inner);
    }
  rmdir (path);
}

gboolean
h2k_clone_sync_dir (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean ok = fd >= 0 && fsync (fd) == 0;

  if (!ok)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot flush %s", path);
  if (fd >= 0)
    close (fd);
  return ok;
}

gboolean
h2k_clone_set_link (const char *path, const char *target, GError **error)
{
  g_autofree char *dir = g_path_get_dirname (path);
  g_autofree char *temp = g_strconcat (path, ".new", NULL);

  unlink (temp);
  if (symlink (target, temp) != 0 || rename (temp, path) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot set the link %s", path);
      unlink (temp);
      return FALSE;
    }
  return h2k_clone_sync_dir (dir, error);
}

gboolean
h2k_clone_write_json (const char *path, JsonObject *root, GError **error)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = NULL;
  g_autofree char *line = NULL;
  g_autoptr (GError) local = NULL;

  json_node_set_object (node, root);
  text = json_to_string (node, TRUE);
  line = g_strconcat (text, "\n", NULL);
  if (g_file_set_contents_full (path, line, -1,
                                G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                &local))
    return TRUE;
  g_set_error (error, H2K_ERROR,
               g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? H2K_ERROR_NO_SPACE
                                                                         : H2K_ERROR_OUTPUT,
               "cannot write %s: %s", path, local->message);
  return FALSE;
}

/* NULL, with or without an error: as h2k_clone_read_json() has it. */
static char *
read_text (const char *path, gsize *length, GError **error)
{
  g_autofree char *text = NULL;
  g_autoptr (GError) local = NULL;
  struct stat st;

  if (stat (path, &st) == 0 && (!S_ISREG (st.st_mode) || st.st_size > JSON_MAX))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s is no file of at most %u MiB", path,
                 (guint)(JSON_MAX >> 20));
  else if (g_file_get_contents (path, &text, length, &local))
    return g_steal_pointer (&text);
  else if (!g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "cannot read %s: %s", path, local->message);
  return NULL;
}

JsonObject *
h2k_clone_read_json (const char *path, GError **error)
{
  gsize length;
  g_autofree char *text = read_text (path, &length, error);
  g_autoptr (GError) local = NULL;
  g_autoptr (JsonNode) root = text ? h2k_json_parse (text, length, &local) : NULL;

  if (root && JSON_NODE_HOLDS_OBJECT (root))
    return json_object_ref (json_node_get_object (root));
  if (text)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s is no JSON object%s%s", path,
                 local ? ": " : "", local ? local->message : "");
  return NULL;
}

char *
h2k_clone_time_text (gint64 time)
{
  g_autoptr (GDateTime) date = g_date_time_new_from_unix_utc (time);

  return date ? g_date_time_format (date, "%Y-%m-%dT%H:%M:%SZ") : g_strdup ("");
}

gint64
h2k_clone_parse_time (const char *text)
{
  g_autoptr (GDateTime) date = text ? g_date_time_new_from_iso8601 (text, NULL) : NULL;

  return date ? g_date_time_to_unix (date) : 0;
}

int
h2k_clone_lock (const char *dir)
{
  g_autofree char *path = g_build_filename (dir, "lock", NULL);
  struct stat here, there;
  int fd = open (path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err = EWOULDBLOCK;

  if (fd < 0)
    return -1;
  /* Whoever removes a clone holds its lock: what was got of a file that is gone is no lock. */
  if (flock (fd, LOCK_EX | LOCK_NB) != 0)
    err = errno;
  else if (fstat (fd, &here) == 0 && stat (path, &there) == 0 && here.st_ino == there.st_ino
           && here.st_dev == there.st_dev)
    return fd;
  close (fd);
  errno = err;
  return -1;
}
