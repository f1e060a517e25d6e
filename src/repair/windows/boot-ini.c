/* boot-ini.c - a boot.ini whose default does not lead to Windows is put right.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/boot.h"

#define WHY "ntldr did not find Windows where the default of boot.ini said"

typedef struct
{
  H2kRepairContext *context;
  H2kGuest *guest;
  const char *file; /* its guest path */
  char *right;      /* "multi(0)disk(0)rdisk(0)partition(1)\WINDOWS" */
} Ini;

/* Where ntldr finds Windows. The caller's; NULL: it cannot. */
static char *
right_path (const H2kGuest *guest)
{
  guint disk, partition;
  g_autofree char *dir = g_strdelimit (g_strdup (guest->windows->root), "/", '\\');

  if (!h2k_windows_arc_of (guest, guest->root, &disk, &partition))
    return NULL;
  for (char *p = dir; *p; p++)
    *p = g_ascii_toupper (*p);
  return g_strdup_printf ("multi(0)disk(0)rdisk(%u)partition(%u)%s", disk, partition, dir);
}

static gboolean
write_ini (const Ini *ini, GBytes *data, GError **error)
{
  return h2k_windows_keep (ini->context, ini->file, error)
         && h2k_repair_write (ini->context, ini->file, data, 0644, WHY, error);
}

/* One that has nothing but this Windows. */
static gboolean
write_new (const Ini *ini, GError **error)
{
  g_autofree char *title = g_strdup (ini->guest->windows->name);
  g_autofree char *text = NULL;
  g_autoptr (GBytes) data = NULL;

  g_strcanon (title, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .-", ' ');
  text = g_strdup_printf ("[boot loader]\r\ntimeout=5\r\ndefault=%s\r\n[operating systems]\r\n"
                          "%s=\"%s\" /fastdetect\r\n",
                          ini->right, ini->right, title);
  data = g_bytes_new (text, strlen (text));
  return write_ini (ini, data, error);
}

/* Whether PATH leads to some other Windows that is there. */
static gboolean
is_anothers (const H2kGuest *guest, const char *path)
{
  H2kArcPath arc;
  H2kGuestVolume *volume = NULL;
  g_autofree char *dir = NULL;
  g_autofree char *hive = NULL;

  if (!path || !h2k_arc_parse (path, &arc))
    return path != NULL; /* "C:\": an older system, or its boot sector in a file */
  if (arc.kind == H2K_ARC_SCSI)
    return FALSE;
  volume = h2k_windows_follow_arc (guest, &arc);
  dir = h2k_windows_slashes (arc.dir);
  hive = g_strconcat (dir ? dir : "", "/System32/config/SYSTEM", NULL);
  return volume && dir && h2k_windows_has_file (volume, hive);
}

/* The entry that leads to Windows; with SAME_FOLDER one that would, were it for its partition. */
static H2kBootIniEntry *
find_entry (const Ini *ini, const H2kBootIni *file, gboolean same_folder)
{
  for (guint i = 0; i < file->entries->len; i++)
    {
      H2kBootIniEntry *entry = file->entries->pdata[i];
      g_autofree char *dir = NULL;
      H2kArcPath arc;

      if (!same_folder && h2k_windows_arc_is_system (ini->guest, entry->path))
        return entry;
      if (!same_folder || !h2k_arc_parse (entry->path, &arc)
          || is_anothers (ini->guest, entry->path))
        continue;
      dir = h2k_windows_slashes (arc.dir);
      if (dir && g_ascii_strcasecmp (dir, ini->guest->windows->root) == 0)
        return entry;
    }
  return NULL;
}

static void
set_default (H2kBootIni *file, const char *path)
{
  g_autofree char *line = g_strconcat ("default=", path, NULL);

  if (file->default_line >= 0)
    h2k_lines_set (file->lines, (guint)file->default_line, line);
  else if (file->loader_line >= 0)
    h2k_lines_insert (file->lines, (guint)file->loader_line + 1, line);
  else
    {
      h2k_lines_insert (file->lines, 0, "[boot loader]");
      h2k_lines_insert (file->lines, 1, line);
    }
}

static gboolean
repair (const Ini *ini, H2kBootIni *file, GError **error)
{
  H2kBootIniEntry *entry = find_entry (ini, file, FALSE);
  g_autofree char *line = NULL;
  g_autoptr (GBytes) data = NULL;

  if (entry)
    set_default (file, entry->path);
  else
    {
      entry = find_entry (ini, file, TRUE);
      line = g_strdup_printf ("%s=\"%s\" %s", ini->right, entry ? entry->title : "Windows",
                              entry ? entry->options : "/fastdetect");
      g_strchomp (line);
      if (entry)
        h2k_lines_set (file->lines, entry->line, line);
      else
        {
          h2k_lines_insert (file->lines, (guint)file->systems_line + 1, line);
          file->default_line += file->default_line > file->systems_line;
          file->loader_line += file->loader_line > file->systems_line;
        }
      set_default (file, ini->right);
    }
  data = h2k_lines_to_bytes (file->lines);
  return write_ini (ini, data, error);
}

static gboolean
check (const Ini *ini, H2kBootIni *file, GError **error)
{
  if (file->default_path && h2k_windows_arc_is_system (ini->guest, file->default_path))
    return TRUE;
  if (is_anothers (ini->guest, file->default_path))
    {
      h2k_repair_warn (ini->context, "the default of %s (%s) starts another system, and not %s",
                       ini->file, file->default_path, ini->guest->pretty_name);
      return TRUE;
    }
  return repair (ini, file, error);
}

gboolean
h2k_windows_repair_boot_ini (H2kRepairContext *context, GError **error)
{
  H2kGuest *guest = context->guest;
  g_autofree char *right = right_path (guest);
  Ini ini = {context, guest, guest->windows->bcd, right};
  g_autoptr (GBytes) data = NULL;
  g_autoptr (H2kBootIni) file = NULL;

  if (!right)
    {
      h2k_repair_warn (context, "%s was not checked: Windows is not on a partition of an MBR",
                       ini.file);
      return TRUE;
    }
  data = h2k_tree_read (guest->tree, ini.file, H2K_BOOT_INI_MAX, error);
  if (!data)
    return FALSE;
  file = h2k_boot_ini_parse (data);
  return file ? check (&ini, file, error) : write_new (&ini, error);
}
