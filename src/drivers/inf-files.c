/* inf-files.c - the files of a driver package and where they go: "INF CopyFiles Directive",
 * "DestinationDirs", "SourceDisksFiles" and "SourceDisksNames Section" of Microsoft's driver
 * documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

/* Where SetupAPI puts what DestinationDirs does not tell of: System32. */
#define DIRID_DEFAULT 11

void
h2k_inf_file_free (H2kInfFile *file)
{
  g_free (file->source);
  g_free (file->source_dir);
  g_free (file->target);
  g_free (file->subdir);
  g_free (file);
}

/* TEXT, a path that the INF gives, as a relative one without "..", with SEPARATOR between its
 * parts; NULL and an error when it is none. */
static char *
plain_path (InfDoc *doc, const char *text, char separator, guint line)
{
  g_auto (GStrv) parts = g_strsplit_set (text, "/\\", -1);
  GString *path = g_string_new (NULL);
  gboolean good = TRUE;

  for (char **part = parts; *part; part++)
    {
      if (**part == '\0' || strcmp (*part, ".") == 0)
        continue;
      good = good && strcmp (*part, "..") != 0;
      for (const char *c = *part; *c; c++)
        good = good && (guchar)*c >= 0x20 && *c != 0x7f && !strchr (":*?\"<>|", *c);
      if (path->len > 0)
        g_string_append_c (path, separator);
      g_string_append (path, *part);
    }
  if (!good)
    {
      g_autofree char *safe = h2k_escape_text (text, -1);
      h2k_inf_fail (doc, line, H2K_ERROR_FORMAT, "\"%s\" is no path that a driver package may have",
                    safe);
      g_string_truncate (path, 0);
    }
  return g_string_free (path, FALSE);
}

/* TEXT as the name of a file, without folders. */
static char *
plain_name (InfDoc *doc, const char *text, guint line)
{
  g_autofree char *name = plain_path (doc, text, '/', line);

  if (!doc->error && (*name == '\0' || strchr (name, '/')))
    {
      g_autofree char *safe = h2k_escape_text (text, -1);
      h2k_inf_fail (doc, line, H2K_ERROR_FORMAT, "\"%s\" is not the name of a file", safe);
    }
  return g_steal_pointer (&name);
}

/* --- where files come from -------------------------------------------------------------------- */

/* The line for KEY in [SECTION.amd64] or [SECTION]. */
static InfLine *
find_of_arch (InfDoc *doc, const char *section, const char *key)
{
  g_autofree char *of_arch
      = g_strdup_printf ("%s.%s", section, h2k_windows_arch_name (doc->target->arch));
  InfLine *line = h2k_inf_first (h2k_inf_section (doc, of_arch), key);

  return line ? line : h2k_inf_first (h2k_inf_section (doc, section), key);
}

/* The folder of a file of which LINE of SourceDisksFiles tells: that of its disk, and its own. */
static char *
folder_of (InfDoc *doc, const InfLine *line)
{
  g_autofree char *disk_id = h2k_inf_text (doc, line, 0);
  InfLine *disk = find_of_arch (doc, "SourceDisksNames", disk_id);
  g_autofree char *root = h2k_inf_text (doc, disk, 3);
  g_autofree char *subdir = h2k_inf_text (doc, line, 1);
  g_autofree char *whole = g_strdup_printf ("%s\\%s", root, subdir);

  return plain_path (doc, whole, '/', line->number);
}

static void
add_package_file (GPtrArray *files, GHashTable *seen, const char *folder, const char *name)
{
  g_autofree char *path = *folder ? g_strdup_printf ("%s/%s", folder, name) : g_strdup (name);

  if (*name == '\0' || !g_hash_table_add (seen, g_utf8_strdown (path, -1)))
    return;
  g_ptr_array_add (files, g_steal_pointer (&path));
}

static void
add_listed (InfDoc *doc, const char *section_name, GPtrArray *files, GHashTable *seen)
{
  const InfSection *section = h2k_inf_section (doc, section_name);

  for (guint i = 0; section && i < section->lines->len; i++)
    {
      const InfLine *line = section->lines->pdata[i];
      g_autofree char *name = NULL, *folder = NULL;

      if (!line->key || !h2k_inf_charge (doc, line->number))
        continue;
      name = plain_name (doc, line->key, line->number);
      folder = folder_of (doc, line);
      add_package_file (files, seen, folder, name);
    }
}

static void
add_copied (const GPtrArray *copied, GPtrArray *files, GHashTable *seen)
{
  for (guint i = 0; i < copied->len; i++)
    {
      const H2kInfFile *file = copied->pdata[i];
      add_package_file (files, seen, file->source_dir, file->source);
    }
}

GPtrArray *
h2k_inf_package_files (InfDoc *doc, const H2kInf *inf)
{
  GPtrArray *files = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *of_arch
      = g_strdup_printf ("SourceDisksFiles.%s", h2k_windows_arch_name (doc->target->arch));

  if (inf->catalog)
    {
      g_autofree char *name = plain_name (doc, inf->catalog, 0);
      add_package_file (files, seen, "", name);
    }
  for (guint i = 0; i < inf->installs->len; i++)
    {
      const H2kInfInstall *install = inf->installs->pdata[i];
      add_copied (install->files, files, seen);
      add_copied (install->co_files, files, seen);
    }
  add_listed (doc, of_arch, files, seen);
  add_listed (doc, "SourceDisksFiles", files, seen);
  return files;
}

/* --- where files go --------------------------------------------------------------------------- */

static void
set_destination (InfDoc *doc, const char *list, H2kInfFile *file)
{
  InfSection *section = h2k_inf_section (doc, "DestinationDirs");
  InfLine *line = h2k_inf_first (section, list);
  g_autofree char *subdir = NULL;

  if (!line)
    line = h2k_inf_first (section, "DefaultDestDir");
  subdir = h2k_inf_text (doc, line, 1);
  file->dirid = line ? (gint32)h2k_inf_number (doc, line, 0, DIRID_DEFAULT) : DIRID_DEFAULT;
  file->subdir = plain_path (doc, subdir, '\\', line ? line->number : 0);
}

/* SOURCE is copied to TARGET in the folder of the file list LIST. */
static void
add_file (InfDoc *doc, const char *source, const char *target, const char *list, guint32 flags,
          guint number, GPtrArray *files)
{
  H2kInfFile *file;
  InfLine *line;

  if (!h2k_inf_charge (doc, number))
    return;
  file = g_new0 (H2kInfFile, 1);
  file->source = plain_name (doc, source, number);
  file->target = plain_name (doc, target, number);
  file->flags = flags;
  line = find_of_arch (doc, "SourceDisksFiles", source);
  file->source_dir = line ? folder_of (doc, line) : g_strdup ("");
  set_destination (doc, list, file);
  g_ptr_array_add (files, file);
}

static void
add_list (InfDoc *doc, const char *name, guint number, GPtrArray *files)
{
  const InfSection *section = h2k_inf_section (doc, name);

  if (!section)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      h2k_inf_fail (doc, number, H2K_ERROR_FORMAT, "there is no section [%s] of files to copy",
                    safe);
      return;
    }
  for (guint i = 0; i < section->lines->len && !doc->error; i++)
    {
      const InfLine *line = section->lines->pdata[i];
      const char *target = h2k_inf_raw (line, 0), *source = h2k_inf_raw (line, 1);
      add_file (doc, *source ? source : target, target, name, h2k_inf_number (doc, line, 3, 0),
                line->number, files);
    }
}

void
h2k_inf_read_files (InfDoc *doc, const InfSection *section, GPtrArray *list)
{
  const InfLine *line;
  guint cursor = 0;

  while ((line = h2k_inf_next (doc, section, "CopyFiles", &cursor)))
    for (guint i = 0; i < line->fields->len && h2k_inf_charge (doc, line->number); i++)
      {
        g_autofree char *name = h2k_inf_text (doc, line, i);
        if (*name == '@')
          add_file (doc, name + 1, name + 1, "DefaultDestDir", 0, line->number, list);
        else if (*name)
          add_list (doc, name, line->number, list);
      }
}
