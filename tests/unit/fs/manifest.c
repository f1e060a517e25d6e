/* manifest.c - what a filesystem holds as text.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "manifest.h"

#include <sys/sysmacros.h>

static int
compare_text (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

char *
manifest_line (const char *path, const H2kStat *st, const char *what, GPtrArray *attributes)
{
  GString *line = g_string_new (path);

  g_string_append_printf (line, "\tmode=%06o uid=%u gid=%u size=%" G_GUINT64_FORMAT, st->mode,
                          st->uid, st->gid, st->size);
  g_string_append_printf (line, " inode=%" G_GUINT64_FORMAT " links=%u device=%u:%u", st->inode,
                          st->nlink, major (st->rdev), minor (st->rdev));
  g_string_append_printf (line,
                          " atime=%" G_GINT64_FORMAT " mtime=%" G_GINT64_FORMAT
                          " ctime=%" G_GINT64_FORMAT "\t%s",
                          st->atime, st->mtime, st->ctime, what);
  g_ptr_array_sort (attributes, compare_text);
  for (guint i = 0; i < attributes->len; i++)
    g_string_append_printf (line, "\t%s", (const char *)attributes->pdata[i]);
  return g_string_free (line, FALSE);
}

char *
manifest_attribute (const char *name, gconstpointer value, gsize length)
{
  g_autofree char *digest = g_compute_checksum_for_data (G_CHECKSUM_SHA256, value, length);

  return g_strdup_printf ("%s=%s", name, digest);
}

char *
manifest_text (GPtrArray *lines)
{
  GString *text = g_string_new (NULL);

  g_ptr_array_sort (lines, compare_text);
  for (guint i = 0; i < lines->len; i++)
    g_string_append_printf (text, "%s\n", (const char *)lines->pdata[i]);
  return g_string_free (text, FALSE);
}
