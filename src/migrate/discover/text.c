/* text.c - what h2k_discover() found, as a table for people in 80 columns.
 *
 * All texts were escaped when they were put into the JSON objects.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/discover/discover.h"

enum
{
  COLUMNS = 80,
  DISK_WIDTH = 14,
  SIZE_WIDTH = 9,
  SYSTEM_WIDTH = 38,
  BOOTS_WIDTH = 5,
};

/* --- cells ------------------------------------------------------------------------------------ */

static guint
width_of (const char *text)
{
  guint width = 0;

  for (; *text; text = g_utf8_next_char (text))
    {
      gunichar c = g_utf8_get_char (text);
      width += g_unichar_iszerowidth (c) ? 0 : g_unichar_iswide (c) ? 2 : 1;
    }
  return width;
}

/* The bytes of TEXT that fit into WIDTH columns. */
static gsize
bytes_within (const char *text, guint width)
{
  const char *at = text;

  while (*at)
    {
      const char *next = g_utf8_next_char (at);
      gunichar c = g_utf8_get_char (at);
      guint own = g_unichar_iszerowidth (c) ? 0 : g_unichar_iswide (c) ? 2 : 1;
      if (own > width)
        break;
      width -= own;
      at = next;
    }
  return (gsize)(at - text);
}

/* TEXT in WIDTH columns, cut if it is longer. */
static void
add_cell (GString *line, const char *text, guint width)
{
  guint own = width_of (text);

  if (own > width)
    {
      gsize bytes = bytes_within (text, width - 1);
      g_string_append_len (line, text, (gssize)bytes);
      g_string_append (line, "…");
      own = width; /* a wide letter may leave one free */
    }
  else
    g_string_append (line, text);
  g_string_append_printf (line, "%*s", (int)(width - own), "");
}

static void
end_line (GString *text)
{
  while (text->len && text->str[text->len - 1] == ' ')
    g_string_truncate (text, text->len - 1);
  g_string_append_c (text, '\n');
}

/* TITLE and then WORDS, on as many lines as it takes, behind INDENT blanks. */
static void
add_note (GString *text, guint indent, const char *title, const char *words)
{
  g_auto (GStrv) parts = g_strsplit (words, " ", -1);
  guint column = indent + width_of (title);

  g_string_append_printf (text, "%*s%s", (int)indent, "", title);
  for (char **part = parts; *part; part++)
    {
      guint width = width_of (*part);
      if (column + 1 + width > COLUMNS && column > indent + 2)
        {
          end_line (text);
          g_string_append_printf (text, "%*s", (int)indent + 1, "");
          column = indent + 1;
        }
      g_string_append_printf (text, " %s", *part);
      column += 1 + width;
    }
  end_line (text);
}

/* --- words ------------------------------------------------------------------------------------ */

static const struct
{
  const char *role, *words;
} role_words[] = {
    {"bios-boot", "BIOS boot"},
    {"esp", "EFI system"},
    {"prep", "PReP boot"},
    {"msr", "Microsoft reserved"},
    {"lvm", "LVM"},
    {"md", "RAID member"},
    {"luks", "LUKS"},
    {"zfs", "ZFS"},
    {"zfs-cache", "ZFS cache"},
    {"zfs-spare", "ZFS spare"},
    {"boot", "/boot"},
    {"windows", "Windows"},
    {"windows-boot", "Windows boot"},
    {"windows-recovery", "Windows recovery"},
    {"bitlocker", "BitLocker"},
    {"dynamic-disk", "dynamic disk"},
    {"storage-spaces", "Storage Spaces"},
};

static const char *
role_text (const char *role)
{
  for (gsize i = 0; role && i < G_N_ELEMENTS (role_words); i++)
    if (g_str_equal (role_words[i].role, role))
      return role_words[i].words;
  return role ? role : "";
}

static gboolean
is_true (JsonObject *object, const char *name)
{
  return json_object_has_member (object, name) && json_object_get_boolean_member (object, name);
}

static gint64
number (JsonObject *object, const char *name)
{
  return json_object_has_member (object, name) ? json_object_get_int_member (object, name) : 0;
}

static guint
count (JsonObject *object, const char *name)
{
  return json_object_has_member (object, name)
             ? json_array_get_length (json_object_get_array_member (object, name))
             : 0;
}

/* Whether a partition of DISK has ROLE. */
static gboolean
has_role (JsonObject *disk, const char *role)
{
  for (guint i = 0; i < count (disk, "partitions"); i++)
    {
      JsonObject *part
          = json_array_get_object_element (json_object_get_array_member (disk, "partitions"), i);
      if (g_strcmp0 (discover_text (part, "role"), role) == 0)
        return TRUE;
    }
  return FALSE;
}

static char *
pool_words (JsonObject *disk)
{
  JsonObject *pool;
  const char *host;

  if (count (disk, "pools") == 0)
    return NULL;
  pool = json_array_get_object_element (json_object_get_array_member (disk, "pools"), 0);
  host = discover_text (pool, "hostname");
  return g_strdup_printf ("ZFS pool %s%s%s%s", discover_text (pool, "name"), host ? " (" : "",
                          host ? host : "", host ? ")" : "");
}

/* "Debian GNU/Linux 12" of "Debian GNU/Linux 12 (bookworm)". The caller's. */
static char *
short_name (JsonObject *system)
{
  const char *name = discover_text (system, "name"), *end = name ? strstr (name, " (") : NULL;

  return !name ? g_strdup ("unknown system")
               : g_strndup (name, end && end > name ? (gsize)(end - name) : strlen (name));
}

/* What the disk holds. The caller's. */
static char *
system_words (JsonObject *disk)
{
  static const struct
  {
    const char *role, *words;
  } others[] = {
      {"luks", "encrypted (LUKS)"},
      {"bitlocker", "encrypted (BitLocker)"},
      {"lvm", "part of LVM"},
      {"md", "part of a RAID"},
      {"bcachefs", "bcachefs"},
      {"storage-spaces", "Storage Spaces"},
      {"vmfs", "VMFS datastore"},
      {"dynamic-disk", "Windows dynamic disk"},
      {"ceph", "Ceph OSD"},
      {"drbd", "DRBD"},
      {"refs", "ReFS"},
      {"btrfs", "part of a btrfs"},
      {"zfs-cache", "ZFS cache"},
      {"zfs-spare", "ZFS spare"},
      {"data", "data, no system"},
      {"unknown", "unknown content"},
  };
  JsonObject *system = discover_object (disk, "system");
  g_autofree char *pool = pool_words (disk), *name = system ? short_name (system) : NULL;
  const char *host = system ? discover_text (system, "hostname") : NULL;

  if (system && host && *host)
    return g_strdup_printf ("%s (%s)", name, host);
  if (system)
    return g_strdup_printf ("%s%s%s", name, pool ? ", " : "", pool ? pool : "");
  if (pool)
    return g_steal_pointer (&pool);
  for (gsize i = 0; i < G_N_ELEMENTS (others); i++)
    if (has_role (disk, others[i].role))
      return g_strdup (others[i].words);
  return g_strdup (is_true (disk, "readable") ? "empty" : "?");
}

static const char *
boots_words (JsonObject *disk)
{
  const char *firmware = discover_text (disk, "firmware");

  if (!firmware)
    return "?";
  if (!is_true (disk, "bootable"))
    return "no";
  return g_str_equal (firmware, "both") ? "both" : g_str_equal (firmware, "uefi") ? "UEFI" : "BIOS";
}

static guint64
size_of (JsonObject *disk)
{
  return (guint64)number (disk,
                          json_object_has_member (disk, "virtual_size") ? "virtual_size" : "size");
}

/* --- a disk ----------------------------------------------------------------------------------- */

static void
add_row (GString *text, JsonObject *disk)
{
  const char *path = discover_text (disk, "path");
  g_autofree char *size = h2k_format_size (size_of (disk)), *system = system_words (disk);

  if (width_of (path) > DISK_WIDTH)
    {
      g_string_append (text, path);
      end_line (text);
      path = "";
    }
  add_cell (text, path, DISK_WIDTH);
  g_string_append_printf (text, " %*s  ", SIZE_WIDTH, size_of (disk) ? size : "");
  add_cell (text, system, SYSTEM_WIDTH);
  g_string_append (text, "  ");
  add_cell (text, boots_words (disk), BOOTS_WIDTH);
  g_string_append_printf (text, "  %s",
                          discover_object (disk, "error") ? "UNREAD"
                          : is_true (disk, "in_use")      ? "in use"
                                                          : "");
  end_line (text);
}

static void
add_users (GString *text, JsonObject *disk)
{
  for (guint i = 0; i < count (disk, "users"); i++)
    {
      JsonObject *user
          = json_array_get_object_element (json_object_get_array_member (disk, "users"), i);
      g_autofree char *words = NULL;
      const char *device = discover_text (user, "device");
      gboolean same = g_strcmp0 (device, discover_text (disk, "path")) == 0;
      words = g_strconcat (same ? "" : device, same ? "" : " is ", discover_text (user, "text"),
                           NULL);
      add_note (text, 2, "in use:", words);
    }
}

static void
add_texts (GString *text, JsonObject *disk, const char *name, const char *title)
{
  for (guint i = 0; i < count (disk, name); i++)
    add_note (text, 2, title,
              json_array_get_string_element (json_object_get_array_member (disk, name), i));
}

static void
add_notes (GString *text, JsonObject *disk)
{
  JsonObject *error = discover_object (disk, "error");
  const char *advice = error ? discover_text (error, "advice") : NULL;

  if (error)
    add_note (text, 2, "not read:", discover_text (error, "message"));
  if (advice)
    add_note (text, 2, "to do:", advice);
  if (discover_text (disk, "kind") && g_str_equal (discover_text (disk, "kind"), "partition"))
    add_note (text, 2, "a partition of", discover_text (disk, "whole_disk"));
  add_users (text, disk);
  add_texts (text, disk, "lacks", "lacks:");
}

/* --- details ---------------------------------------------------------------------------------- */

static void
add_hardware (GString *text, JsonObject *disk)
{
  static const char *const members[]
      = {"transport", "model", "serial", "format", "by_id", "backing_file"};
  g_autofree char *sectors = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (members); i++)
    {
      const char *value = discover_text (disk, members[i]);
      g_autofree char *title = g_strdelimit (g_strconcat (members[i], ":", NULL), "_", ' ');
      if (value)
        add_note (text, 2, title, value);
    }
  sectors = g_strdup_printf ("%" G_GINT64_FORMAT " bytes, physically %" G_GINT64_FORMAT "%s%s%s",
                             number (disk, "logical_sector_size"),
                             MAX (number (disk, "physical_sector_size"),
                                  number (disk, "logical_sector_size")),
                             is_true (disk, "removable") ? "; removable" : "",
                             is_true (disk, "rotational") ? "; rotating" : "",
                             is_true (disk, "read_only") ? "; read-only" : "");
  add_note (text, 2, "sectors:", sectors);
}

static void
add_part (GString *text, JsonObject *part, const char *name)
{
  g_autofree char *size = h2k_format_size ((guint64)number (part, "size"));
  const char *type = discover_text (part, "type"), *label = discover_text (part, "label");
  const char *place = discover_text (part, "mountpoint");

  if (!label)
    label = discover_text (part, "pool");
  g_string_append (text, "    ");
  add_cell (text, name, 12);
  g_string_append_printf (text, " %*s  ", SIZE_WIDTH, size);
  add_cell (text, role_text (discover_text (part, "role")), 18);
  g_string_append (text, " ");
  add_cell (text, type ? type : "", 12);
  g_string_append (text, " ");
  add_cell (text, place ? place : label ? label : "", 19);
  end_line (text);
}

static void
add_parts (GString *text, JsonObject *disk)
{
  for (guint i = 0; i < count (disk, "partitions"); i++)
    {
      JsonObject *part
          = json_array_get_object_element (json_object_get_array_member (disk, "partitions"), i);
      g_autofree char *name = number (part, "number")
                                  ? g_strdup_printf ("%" G_GINT64_FORMAT, number (part, "number"))
                                  : g_strdup ("all");
      add_part (text, part, name);
    }
  for (guint i = 0; i < count (disk, "volumes"); i++)
    {
      JsonObject *part
          = json_array_get_object_element (json_object_get_array_member (disk, "volumes"), i);
      const char *name = discover_text (part, "name");
      if (name && g_str_has_prefix (name, "/dev/"))
        name += strlen ("/dev/");
      add_part (text, part, name ? name : "");
    }
}

static void
add_details (GString *text, JsonObject *disk)
{
  JsonObject *needs = discover_object (disk, "resources");
  g_autofree char *vm = NULL;
  static const char *const starts[] = {"bios", "uefi"};

  add_hardware (text, disk);
  for (gsize i = 0; i < G_N_ELEMENTS (starts); i++)
    if (discover_text (disk, starts[i]))
      add_note (text, 2, i == 0 ? "BIOS:" : "UEFI:", discover_text (disk, starts[i]));
  if (needs)
    {
      vm = g_strdup_printf ("%" G_GINT64_FORMAT " MiB of memory: %s; %" G_GINT64_FORMAT " CPUs: %s",
                            number (needs, "memory_mib"), discover_text (needs, "why_memory"),
                            number (needs, "vcpus"), discover_text (needs, "why_vcpus"));
      add_note (text, 2, "a VM needs", vm);
    }
  add_texts (text, disk, "warnings", "note:");
  add_parts (text, disk);
}

char *
discover_to_text (JsonObject *root, gboolean details)
{
  JsonArray *disks = discover_array (root, "disks");
  guint n = json_array_get_length (disks);
  GString *text = g_string_new (NULL);

  if (n == 0)
    g_string_append (text, "No disks were found.\n");
  else
    g_string_append_printf (text, "%-*s %*s  %-*s  %-*s  %s\n", DISK_WIDTH, "DISK", SIZE_WIDTH,
                            "SIZE", SYSTEM_WIDTH, "SYSTEM", BOOTS_WIDTH, "BOOTS", "STATE");
  for (guint i = 0; i < n; i++)
    {
      JsonObject *disk = json_array_get_object_element (disks, i);
      add_row (text, disk);
      add_notes (text, disk);
      if (details)
        add_details (text, disk);
    }
  return g_string_free (text, FALSE);
}
