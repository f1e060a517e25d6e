/* cmdline.c - kernel parameters that name devices, in all the files that bootloaders keep them in.
 *
 * The kernel's own are in its admin-guide/kernel-parameters; dracut.cmdline(7), initramfs-tools(7),
 * systemd's kernel-command-line(7) and mkinitcpio's hooks add theirs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cmdline.h"

#define GRUBENV_HEADER "# GRUB Environment Block\n"
#define BLANKS " \t"
#define DEVICE_ENDS " \t\r\n\"'`;}\\,"

/* Parameters whose value is, or begins with, a device. */
static const struct
{
  const char *key;
  gboolean colon; /* a colon ends the device */
} parameters[] = {
    {"root", FALSE},                          /* the kernel and every initramfs */
    {"resume", FALSE},                        /* hibernation */
    {"boot", FALSE},                          /* dracut's FIPS check looks for /boot there */
    {"real_root", FALSE},                     /* genkernel */
    {"mount.usr", FALSE},                     /* systemd */
    {"cryptdevice", TRUE},                    /* mkinitcpio: device:name:options */
    {"cryptkey", TRUE},    {"source", FALSE}, /* initramfs-tools' cryptopts=target=...,source=... */
};

/* What may stand before a parameter: the start, a blank, a quote, the "=" of an assignment that
 * holds a whole command line, or the "," of cryptopts. */
static gboolean
begins_word (const char *text, const char *p)
{
  return p == text || strchr (" \t\"'=,", p[-1]) != NULL;
}

/* Length of the device that VALUE begins with. */
static gsize
device_length (const char *value, gboolean colon)
{
  return strcspn (value, colon ? DEVICE_ENDS ":" : DEVICE_ENDS);
}

/* Append the parameter at *P with its device renamed, and move on; FALSE: none starts there. */
static gboolean
rename_at (GString *out, const char **p, H2kRenameFunc rename, gpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (parameters); i++)
    {
      gsize n = strlen (parameters[i].key);
      g_autofree char *spec = NULL, *name = NULL;
      const char *value = *p + n + 1;
      gsize length;

      if (strncmp (*p, parameters[i].key, n) != 0 || (*p)[n] != '='
          || !g_str_has_prefix (value, "/dev/"))
        continue;
      length = device_length (value, parameters[i].colon);
      spec = g_strndup (value, length);
      name = rename (parameters[i].key, spec, data);
      if (!name)
        return FALSE;
      g_string_append_len (out, *p, (gssize)n + 1);
      g_string_append (out, name);
      *p = value + length;
      return TRUE;
    }
  return FALSE;
}

char *
h2k_cmdline_rename (const char *text, H2kRenameFunc rename, gpointer data)
{
  g_autoptr (GString) out = g_string_new (NULL);
  gboolean changed = FALSE;

  for (const char *p = text; *p;)
    if (begins_word (text, p) && rename_at (out, &p, rename, data))
      changed = TRUE;
    else
      g_string_append_c (out, *p++);
  return changed ? g_string_free (g_steal_pointer (&out), FALSE) : NULL;
}

/* --- which lines ------------------------------------------------------------------------------ */

static gboolean
is_one_of (const char *word, gsize length, const char *const *words)
{
  for (; *words; words++)
    if (strlen (*words) == length && g_ascii_strncasecmp (*words, word, length) == 0)
      return TRUE;
  return FALSE;
}

/* "set name=" or "name=", but not GRUB's own root, which is a device as GRUB counts them: virtio
 * disks are hd0, too, so that it stays right. */
static gboolean
sets_variable (const char *line)
{
  const char *p = line;
  gsize n;

  if (g_str_has_prefix (p, "set") && p[3] && strchr (BLANKS, p[3]))
    p += 3 + strspn (p + 3, BLANKS);
  n = strspn (p, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "_");
  return n > 0 && p[n] == '=' && !(n == 4 && strncmp (p, "root", 4) == 0);
}

gboolean
h2k_line_has_parameters (H2kLinesKind kind, const char *line)
{
  static const char *const grub_words[]
      = {"linux", "linux16", "linuxefi", "module", "module2", "multiboot", "multiboot2", NULL};
  static const char *const legacy_words[] = {"kernel", "module", NULL};
  static const char *const bls_words[] = {"options", NULL};
  static const char *const extlinux_words[] = {"append", "kernel", "linux", NULL};
  const char *p = line + strspn (line, BLANKS);
  gsize n = strcspn (p, BLANKS);

  switch (kind)
    {
    case H2K_LINES_GRUB_CFG:
      return is_one_of (p, n, grub_words) || sets_variable (p);
    case H2K_LINES_GRUB_LEGACY:
      return is_one_of (p, n, legacy_words) || g_str_has_prefix (p, "# kopt");
    case H2K_LINES_GRUB_DEFAULT:
      p += g_str_has_prefix (p, "export ") ? 7 : 0;
      return g_str_has_prefix (p, "GRUB_CMDLINE_");
    case H2K_LINES_BLS:
      return is_one_of (p, n, bls_words);
    case H2K_LINES_EXTLINUX:
      return is_one_of (p, n, extlinux_words);
    case H2K_LINES_DRACUT:
      return g_str_has_prefix (p, "kernel_cmdline");
    case H2K_LINES_ANY:
      return *p != '#' && *p;
    default:
      return FALSE;
    }
}

static gboolean
goes_on (const char *line)
{
  gsize n = strlen (line);

  return n > 0 && line[n - 1] == '\\' && !(n > 1 && line[n - 2] == '\\');
}

guint
h2k_lines_rename (H2kLines *lines, H2kLinesKind kind, guint first, guint last, H2kRenameFunc rename,
                  gpointer data)
{
  gboolean continued = FALSE;
  guint changes = 0;

  for (guint i = first; i < h2k_lines_count (lines) && i <= last; i++)
    {
      const char *line = h2k_lines_get (lines, i);
      gboolean here = continued || h2k_line_has_parameters (kind, line);
      g_autofree char *changed = NULL;

      continued = here && goes_on (line);
      if (here)
        changed = h2k_cmdline_rename (line, rename, data);
      if (!changed)
        continue;
      h2k_lines_set (lines, i, changed);
      changes++;
    }
  return changes;
}

/* --- environment block ------------------------------------------------------------------------ */

static gboolean
is_grubenv (GBytes *data)
{
  gsize size;
  const char *text = g_bytes_get_data (data, &size);

  return size > strlen (GRUBENV_HEADER) && size <= 64 * 1024
         && memcmp (text, GRUBENV_HEADER, strlen (GRUBENV_HEADER)) == 0
         && !memchr (text, '\0', size);
}

/* Where the padding lies: the run of '#' at the end that starts a line; editors leave line ends
 * behind it. A full block has none. */
static void
find_padding (const char *text, gsize size, gsize *start, gsize *length)
{
  gsize end = size;

  while (end > 0 && strchr ("\r\n", text[end - 1]))
    end--;
  *start = end;
  while (*start > 0 && text[*start - 1] == '#')
    (*start)--;
  *length = end - *start;
  if (*length > 0 && *start >= strlen (GRUBENV_HEADER) && text[*start - 1] == '\n')
    return;
  *start = size;
  *length = 0;
}

GBytes *
h2k_grubenv_rename (GBytes *data, H2kRenameFunc rename, gpointer data_of_rename, GError **error)
{
  g_autofree char *variables = NULL, *changed = NULL;
  gsize size, start, length;
  const char *text = g_bytes_get_data (data, &size);
  GString *out;

  if (!is_grubenv (data))
    return NULL;
  find_padding (text, size, &start, &length);
  variables = g_strndup (text, start);
  changed = h2k_cmdline_rename (variables, rename, data_of_rename);
  if (!changed)
    return g_bytes_ref (data);
  if (strlen (changed) > start + length)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                   "the variables do not fit into the block of %" G_GSIZE_FORMAT
                   " bytes when devices are named by UUID",
                   size);
      return NULL;
    }
  out = g_string_new (changed);
  if (out->len < start + length && out->str[out->len - 1] != '\n')
    g_string_append_c (out, '\n');
  while (out->len < start + length)
    g_string_append_c (out, '#');
  g_string_append_len (out, text + start + length, (gssize)(size - start - length));
  return g_string_free_to_bytes (out);
}

char *
h2k_grubenv_get (GBytes *data, const char *key)
{
  g_autoptr (H2kLines) lines = is_grubenv (data) ? h2k_lines_new (data) : NULL;
  gsize n = strlen (key);

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      if (strncmp (line, key, n) == 0 && line[n] == '=')
        return g_strdup (line + n + 1);
    }
  return NULL;
}

/* --- the default entry ------------------------------------------------------------------------ */

typedef struct
{
  guint first, last;
  char *title, *id;
} Entry;

static void
entry_clear (gpointer data)
{
  Entry *entry = data;

  g_free (entry->title);
  g_free (entry->id);
}

/* The word or quoted text at P. */
static char *
quoted (const char *p)
{
  p += strspn (p, BLANKS);
  if (*p == '\'' || *p == '"')
    return g_strndup (p + 1, strcspn (p + 1, *p == '"' ? "\"" : "'"));
  return g_strndup (p, strcspn (p, BLANKS "{"));
}

/* What follows --id or the variable that grub-mkconfig puts in its place. */
static char *
entry_id (const char *line)
{
  static const char *const before[] = {"$menuentry_id_option", "${menuentry_id_option}", "--id"};

  for (guint i = 0; i < G_N_ELEMENTS (before); i++)
    {
      const char *p = strstr (line, before[i]);
      if (p)
        return quoted (p + strlen (before[i]) + strspn (p + strlen (before[i]), "="));
    }
  return NULL;
}

/* The top-level entries and submenus. Braces that count end a line (an opening one) or begin it. */
static GArray *
parse_entries (const H2kLines *lines)
{
  GArray *entries = g_array_new (FALSE, TRUE, sizeof (Entry));
  guint depth = 0, entry_depth = 0;
  gboolean inside = FALSE;

  g_array_set_clear_func (entries, entry_clear);
  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      g_autofree char *line = g_strstrip (g_strdup (h2k_lines_get ((H2kLines *)lines, i)));
      gsize word = strcspn (line, BLANKS);
      gboolean opens = g_str_has_suffix (line, "{");

      if (!inside && opens
          && ((word == 9 && strncmp (line, "menuentry", 9) == 0)
              || (word == 7 && strncmp (line, "submenu", 7) == 0)))
        {
          Entry entry = {i, h2k_lines_count (lines) - 1, quoted (line + word), entry_id (line)};
          g_array_append_val (entries, entry);
          inside = TRUE;
          entry_depth = depth;
        }
      depth += opens;
      if (*line == '}' && depth > 0 && --depth == entry_depth && inside)
        {
          g_array_index (entries, Entry, entries->len - 1).last = i;
          inside = FALSE;
        }
    }
  return entries;
}

/* The last plain value of GRUB's variable "default" before the first entry; a variable in it means
 * what the environment block says. */
static char *
default_value (const H2kLines *lines, guint end, const char *saved_entry)
{
  g_autofree char *value = NULL;

  for (guint i = 0; i < end; i++)
    {
      const char *line = h2k_lines_get ((H2kLines *)lines, i);

      line += strspn (line, BLANKS);
      if (g_str_has_prefix (line, "set "))
        line += 4;
      if (!g_str_has_prefix (line, "default="))
        continue;
      line += strlen ("default=");
      if (strstr (line, "next_entry"))
        continue;
      g_free (value);
      value = strchr (line, '$') ? g_strdup (saved_entry) : quoted (line);
    }
  return g_steal_pointer (&value);
}

gboolean
h2k_grub_default_entry (const H2kLines *lines, const char *saved_entry, guint *first, guint *last)
{
  g_autoptr (GArray) entries = parse_entries (lines);
  g_autofree char *value = NULL;
  const Entry *found;

  if (entries->len == 0)
    return FALSE;
  found = &g_array_index (entries, Entry, 0);
  value = default_value (lines, found->first, saved_entry);
  if (value)
    {
      char *inner = strchr (value, '>'); /* an entry of a submenu: all of it is looked at */
      char *end;
      guint64 n;

      if (inner)
        *inner = '\0';
      n = g_ascii_strtoull (value, &end, 10);
      if (*value && !*end && n < entries->len)
        found = &g_array_index (entries, Entry, n);
      for (guint i = 0; i < entries->len; i++)
        {
          const Entry *entry = &g_array_index (entries, Entry, i);
          if (g_strcmp0 (entry->title, value) == 0 || g_strcmp0 (entry->id, value) == 0)
            found = entry;
        }
    }
  *first = found->first;
  *last = found->last;
  return TRUE;
}
