/* boot-ini.c - reads boot.ini.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/boot-ini.h"

#define MAX_ENTRIES 64u /* ntldr shows ten */

static void
entry_free (gpointer data)
{
  H2kBootIniEntry *entry = data;

  g_free (entry->path);
  g_free (entry->title);
  g_free (entry->options);
  g_free (entry);
}

void
h2k_boot_ini_free (H2kBootIni *ini)
{
  if (!ini)
    return;
  h2k_lines_free (ini->lines);
  g_free (ini->default_path);
  g_ptr_array_unref (ini->entries);
  g_free (ini);
}

/* "NAME = VALUE": VALUE without blanks around it. The caller's; NULL: another line. */
static char *
value_of (const char *line, const char *name)
{
  gsize n = strlen (name);

  line += strspn (line, " \t");
  if (g_ascii_strncasecmp (line, name, n) != 0)
    return NULL;
  line += n + strspn (line + n, " \t");
  return *line == '=' ? g_strstrip (g_strdup (line + 1)) : NULL;
}

static void
read_loader (H2kBootIni *ini, guint number, const char *line)
{
  g_autofree char *path = value_of (line, "default");
  g_autofree char *timeout = value_of (line, "timeout");

  if (path && ini->default_line < 0)
    {
      ini->default_line = (int)number;
      ini->default_path = g_steal_pointer (&path);
    }
  if (timeout && ini->timeout_line < 0)
    {
      ini->timeout_line = (int)number;
      ini->timeout = g_ascii_strtoll (timeout, NULL, 10);
    }
}

/* PATH="TITLE" OPTIONS */
static void
read_system (H2kBootIni *ini, guint number, const char *line)
{
  const char *equals = strchr (line, '=');
  H2kBootIniEntry *entry;
  const char *p, *end;

  if (!equals || ini->entries->len == MAX_ENTRIES)
    return;
  entry = g_new0 (H2kBootIniEntry, 1);
  entry->line = number;
  entry->path = g_strstrip (g_strndup (line, (gsize)(equals - line)));
  p = equals + 1 + strspn (equals + 1, " \t");
  end = *p == '"' ? strchr (p + 1, '"') : NULL;
  if (end)
    {
      entry->title = g_strndup (p + 1, (gsize)(end - p - 1));
      p = end + 1;
    }
  else
    {
      entry->title = g_strndup (p, strcspn (p, " \t"));
      p += strlen (entry->title);
    }
  entry->options = g_strstrip (g_strdup (p));
  g_ptr_array_add (ini->entries, entry);
}

static void
read_lines (H2kBootIni *ini)
{
  enum
  {
    NONE,
    LOADER,
    SYSTEMS
  } section
      = NONE;

  for (guint i = 0; i < h2k_lines_count (ini->lines); i++)
    {
      const char *line = h2k_lines_get (ini->lines, i);
      const char *text = line + strspn (line, " \t");

      if (g_ascii_strncasecmp (text, "[boot loader]", 13) == 0
          || g_ascii_strncasecmp (text, "[flexboot]", 10) == 0)
        {
          section = LOADER;
          ini->loader_line = (int)i;
        }
      else if (g_ascii_strncasecmp (text, "[operating systems]", 19) == 0)
        {
          section = SYSTEMS;
          ini->systems_line = (int)i;
        }
      else if (*text == '[')
        section = NONE;
      else if (section == LOADER)
        read_loader (ini, i, line);
      else if (section == SYSTEMS && *text && *text != ';')
        read_system (ini, i, line);
    }
}

H2kBootIni *
h2k_boot_ini_parse (GBytes *data)
{
  g_autoptr (H2kBootIni) ini = NULL;
  gsize size;
  const char *text = g_bytes_get_data (data, &size);

  if (size == 0 || size > H2K_BOOT_INI_MAX || memchr (text, '\0', size))
    return NULL;
  ini = g_new0 (H2kBootIni, 1);
  ini->lines = h2k_lines_new (data);
  ini->entries = g_ptr_array_new_with_free_func (entry_free);
  ini->loader_line = ini->default_line = ini->timeout_line = ini->systems_line = -1;
  ini->timeout = -1;
  read_lines (ini);
  return ini->entries->len ? g_steal_pointer (&ini) : NULL;
}

/* --- ARC paths -------------------------------------------------------------------------------- */

/* "NAME(NUMBER)" at *P, which goes behind it. */
static gboolean
take (const char **p, const char *name, guint base, guint64 *number)
{
  gsize n = strlen (name);
  char *end;

  if (g_ascii_strncasecmp (*p, name, n) != 0 || (*p)[n] != '(' || !g_ascii_isxdigit ((*p)[n + 1]))
    return FALSE;
  *number = g_ascii_strtoull (*p + n + 1, &end, base);
  if (*end != ')' || *number > G_MAXUINT32)
    return FALSE;
  *p = end + 1;
  return TRUE;
}

gboolean
h2k_arc_parse (const char *text, H2kArcPath *arc)
{
  guint64 first, second, disk, partition;

  memset (arc, 0, sizeof *arc);
  if (take (&text, "multi", 10, &first))
    arc->kind = H2K_ARC_MULTI;
  else if (take (&text, "scsi", 10, &first))
    arc->kind = H2K_ARC_SCSI;
  else if (take (&text, "signature", 16, &first))
    arc->kind = H2K_ARC_SIGNATURE;
  else
    return FALSE;
  if (!take (&text, "disk", 10, &second) || !take (&text, "rdisk", 10, &disk)
      || !take (&text, "partition", 10, &partition))
    return FALSE;
  arc->signature = arc->kind == H2K_ARC_SIGNATURE ? (guint32)first : 0;
  /* What counts SCSI disks is disk(), but nothing is made of that here. */
  arc->disk = (guint)disk;
  arc->partition = (guint)partition;
  arc->dir = text;
  return *text == '\\';
}
