/* sibling.c - the files that an image may name: those beside it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

#include <stdlib.h>

/* Whether the absolute, resolved PATH lies below FOLDER. */
static gboolean
is_below (const char *path, const char *folder)
{
  gsize n = strlen (folder);

  if (n && folder[n - 1] == '/')
    n--;
  return strncmp (path, folder, n) == 0 && path[n] == '/';
}

gboolean
h2k_is_beside (const char *path, const char *image)
{
  g_autofree char *folder = g_path_get_dirname (image);
  /* The folder that IMAGE's path names or, when that is a link, the one that it leads to. */
  g_autofree char *named = realpath (folder, NULL), *file = realpath (image, NULL);
  g_autofree char *led = file ? g_path_get_dirname (file) : NULL;

  if (is_below (path, "/dev") || is_below (path, "/proc") || is_below (path, "/sys"))
    return FALSE;
  return (named && is_below (path, named)) || (led && is_below (path, led));
}

char *
h2k_sibling_find (const char *image, const char *name)
{
  g_autofree char *folder = g_path_get_dirname (image);
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *resolved = g_path_is_absolute (name) ? NULL : realpath (path, NULL);

  if (!resolved || !h2k_is_beside (resolved, image)
      || !g_file_test (resolved, G_FILE_TEST_IS_REGULAR))
    return NULL;
  return g_steal_pointer (&path);
}
