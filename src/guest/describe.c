/* describe.c - the inspection as JSON and as text for people.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/describe.h"
#include "guest/private.h"

/* --- words ------------------------------------------------------------------------------------ */

const char *
h2k_firmware_name (H2kFirmware firmware)
{
  return firmware == H2K_FIRMWARE_UEFI ? "uefi" : "bios";
}

const char *
h2k_bootloader_name (H2kBootloader bootloader)
{
  static const char *const names[] = {
      [H2K_BOOTLOADER_UNKNOWN] = "unknown",
      [H2K_BOOTLOADER_GRUB2] = "grub2",
      [H2K_BOOTLOADER_GRUB_LEGACY] = "grub-legacy",
      [H2K_BOOTLOADER_SYSTEMD_BOOT] = "systemd-boot",
      [H2K_BOOTLOADER_EXTLINUX] = "extlinux",
      [H2K_BOOTLOADER_BOOTMGR] = "bootmgr",
      [H2K_BOOTLOADER_NTLDR] = "ntldr",
  };
  return names[bootloader];
}

const char *
h2k_initramfs_name (H2kInitramfsGenerator generator)
{
  static const char *const names[] = {
      [H2K_INITRAMFS_UNKNOWN] = "unknown", [H2K_INITRAMFS_TOOLS] = "initramfs-tools",
      [H2K_INITRAMFS_DRACUT] = "dracut",   [H2K_INITRAMFS_MKINITCPIO] = "mkinitcpio",
      [H2K_INITRAMFS_NONE] = "none",
  };
  return names[generator];
}

const char *
h2k_init_name (H2kInit init)
{
  static const char *const names[] = {
      [H2K_INIT_UNKNOWN] = "unknown", [H2K_INIT_SYSTEMD] = "systemd", [H2K_INIT_SYSV] = "sysvinit",
      [H2K_INIT_UPSTART] = "upstart", [H2K_INIT_OPENRC] = "openrc",
  };
  return names[init];
}

static const char *
table_name (H2kTableType type)
{
  static const char *const names[] = {
      [H2K_TABLE_NONE] = "none",
      [H2K_TABLE_MBR] = "mbr",
      [H2K_TABLE_GPT] = "gpt",
  };
  return names[type];
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* A member whose value is guest text; NULL becomes null. */
void
h2k_json_text (JsonBuilder *json, const char *key, const char *text)
{
  g_autofree char *safe = text ? h2k_escape_text (text, -1) : NULL;

  json_builder_set_member_name (json, key);
  if (safe)
    json_builder_add_string_value (json, safe);
  else
    json_builder_add_null_value (json);
}

void
h2k_json_number (JsonBuilder *json, const char *key, guint64 value)
{
  json_builder_set_member_name (json, key);
  json_builder_add_int_value (json, (gint64)MIN (value, G_MAXINT64));
}

void
h2k_json_texts (JsonBuilder *json, const char *key, GPtrArray *texts)
{
  json_builder_set_member_name (json, key);
  json_builder_begin_array (json);
  for (guint i = 0; i < texts->len; i++)
    {
      g_autofree char *safe = h2k_escape_text (g_ptr_array_index (texts, i), -1);
      json_builder_add_string_value (json, safe);
    }
  json_builder_end_array (json);
}

void
h2k_json_bool (JsonBuilder *json, const char *key, gboolean value)
{
  json_builder_set_member_name (json, key);
  json_builder_add_boolean_value (json, value);
}

/* An array of objects, whose members MEMBERS adds. */
void
h2k_json_objects (JsonBuilder *json, const char *key, GPtrArray *items,
                  void (*members) (JsonBuilder *json, gconstpointer item))
{
  json_builder_set_member_name (json, key);
  json_builder_begin_array (json);
  for (guint i = 0; i < items->len; i++)
    {
      json_builder_begin_object (json);
      members (json, items->pdata[i]);
      json_builder_end_object (json);
    }
  json_builder_end_array (json);
}

/* What VOLUME holds, and what becomes of that. */
static void
add_content (JsonBuilder *json, const H2kGuestVolume *volume)
{
  h2k_json_number (json, "size", volume->volume->length);
  h2k_json_text (json, "type", volume->id.type);
  h2k_json_text (json, "uuid", volume->id.uuid);
  h2k_json_text (json, "label", volume->id.label);
  h2k_json_text (json, "mountpoint", volume->mountpoint);
  h2k_json_text (json, "fstab", volume->spec);
  h2k_json_text (json, "subvolume", volume->subvolume);
  h2k_json_text (json, "backend", volume->backend);
  h2k_json_text (json, "backend_reason", volume->backend_why);
  h2k_json_bool (json, "opened", volume->fs != NULL);
  h2k_json_bool (json, "writable", volume->changeable);
  h2k_json_text (json, "problem", volume->node->problem ? volume->node->problem->message : NULL);
}

static void
add_volume (JsonBuilder *json, gconstpointer item)
{
  const H2kGuestVolume *volume = item;

  h2k_json_number (json, "number", volume->volume->number);
  h2k_json_number (json, "offset", volume->volume->offset);
  h2k_json_text (json, "role", h2k_volume_role (volume->volume));
  h2k_json_text (json, "part_uuid", volume->volume->part_uuid);
  h2k_json_text (json, "part_label", volume->volume->part_label);
  add_content (json, volume);
}

/* A volume that is made of others. */
static void
add_made (JsonBuilder *json, gconstpointer item)
{
  const H2kGuestVolume *volume = item;
  const H2kNode *node = volume->node;
  g_autoptr (GPtrArray) parents = g_ptr_array_new ();

  for (guint i = 0; i < node->parents->len; i++)
    g_ptr_array_add (parents, ((const H2kNode *)node->parents->pdata[i])->name);
  h2k_json_text (json, "kind", h2k_node_kind_name (node->kind));
  h2k_json_text (json, "name", node->name);
  h2k_json_texts (json, "devices", node->names);
  h2k_json_text (json, "layout", node->type);
  h2k_json_text (json, "own_uuid", node->uuid);
  h2k_json_texts (json, "lies_on", parents);
  h2k_json_text (json, "snapshot_of", node->origin ? node->origin->name : NULL);
  add_content (json, volume);
  h2k_json_texts (json, "notes", node->notes);
}

static void
add_remote (JsonBuilder *json, gconstpointer item)
{
  const H2kFstabEntry *entry = item;

  h2k_json_text (json, "mountpoint", entry->path);
  h2k_json_text (json, "type", entry->type);
  h2k_json_text (json, "source", entry->spec);
}

static void
add_kernel (JsonBuilder *json, gconstpointer item)
{
  const H2kKernel *kernel = item;

  h2k_json_text (json, "version", kernel->version);
  h2k_json_text (json, "image", kernel->image);
  h2k_json_text (json, "initramfs", kernel->initramfs);
  h2k_json_text (json, "modules", kernel->modules_dir);
}

/* Those of GUEST's volumes that are partitions of the disk INDEX, or, with G_MAXUINT, those that
 * are made of others; borrowed. */
static GPtrArray *
volumes_on (H2kGuest *guest, guint index)
{
  GPtrArray *found = g_ptr_array_new ();

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = guest->volumes->pdata[i];
      if (volume->node->depth ? index == G_MAXUINT : volume->disk == index)
        g_ptr_array_add (found, volume);
    }
  return found;
}

static void
add_disk (JsonBuilder *json, H2kGuest *guest, guint index)
{
  const H2kDisk *disk = g_ptr_array_index (guest->disks, index);
  const H2kTable *table = g_ptr_array_index (guest->tables, index);
  g_autoptr (GPtrArray) volumes = volumes_on (guest, index);

  json_builder_begin_object (json);
  h2k_json_text (json, "name", disk->name);
  h2k_json_text (json, "format", disk->format);
  h2k_json_text (json, "subformat", disk->subformat);
  h2k_json_number (json, "size", disk->size);
  h2k_json_number (json, "sector_size", disk->sector_size);
  h2k_json_text (json, "table", table_name (table->type));
  h2k_json_text (json, "id", table->disk_id);
  h2k_json_objects (json, "volumes", volumes, add_volume);
  json_builder_end_object (json);
}

static void
add_system (JsonBuilder *json, H2kGuest *guest)
{
  g_autofree const char **stacks = h2k_network_names (guest->network);

  h2k_json_text (json, "distro", guest->distro);
  h2k_json_text (json, "distro_like", guest->distro_like);
  h2k_json_text (json, "version", guest->version);
  h2k_json_text (json, "pretty_name", guest->pretty_name);
  h2k_json_text (json, "hostname", guest->hostname);
  h2k_json_text (json, "machine_id", guest->machine_id);
  h2k_json_text (json, "architecture", guest->arch);
  h2k_json_text (json, "firmware", h2k_firmware_name (guest->firmware));
  h2k_json_text (json, "bootloader", h2k_bootloader_name (guest->bootloader));
  h2k_json_text (json, "initramfs_generator", h2k_initramfs_name (guest->initramfs));
  h2k_json_text (json, "init", h2k_init_name (guest->init));
  json_builder_set_member_name (json, "network");
  json_builder_begin_array (json);
  for (guint i = 0; stacks[i]; i++)
    json_builder_add_string_value (json, stacks[i]);
  json_builder_end_array (json);
  h2k_json_texts (json, "hypervisor_tools", guest->vmware_tools);
  if (guest->windows)
    h2k_windows_to_json (guest->windows, json);
}

char *
h2k_guest_to_json (H2kGuest *guest)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  g_autoptr (JsonNode) root = NULL;
  g_autoptr (GPtrArray) made = volumes_on (guest, G_MAXUINT);

  json_builder_begin_object (json);
  add_system (json, guest);
  h2k_json_objects (json, "kernels", guest->kernels, add_kernel);
  json_builder_set_member_name (json, "disks");
  json_builder_begin_array (json);
  for (guint i = 0; i < guest->disks->len; i++)
    add_disk (json, guest, i);
  json_builder_end_array (json);
  h2k_json_objects (json, "volumes", made, add_made);
  h2k_json_objects (json, "remote_mounts", guest->remote, add_remote);
  h2k_json_texts (json, "warnings", guest->warnings);
  json_builder_end_object (json);
  root = json_builder_get_root (json);
  return json_to_string (root, TRUE);
}

/* --- text ------------------------------------------------------------------------------------- */

/* Rows of cells whose columns are as wide as they have to be. The last cell of a row is not
 * padded; widths count characters. */
static void
append_table (GString *out, const char *indent, GPtrArray *rows)
{
  gsize width[8] = {0};

  for (guint r = 0; r < rows->len; r++)
    {
      char **row = g_ptr_array_index (rows, r);
      for (guint c = 0; row[c]; c++)
        width[c] = MAX (width[c], (gsize)g_utf8_strlen (row[c], -1));
    }
  for (guint r = 0; r < rows->len; r++)
    {
      char **row = g_ptr_array_index (rows, r);

      g_string_append (out, indent);
      for (guint c = 0; row[c]; c++)
        {
          gsize pad = row[c + 1] ? width[c] + 2 - (gsize)g_utf8_strlen (row[c], -1) : 0;
          g_string_append (out, row[c]);
          while (pad--)
            g_string_append_c (out, ' ');
        }
      while (g_str_has_suffix (out->str, " "))
        g_string_truncate (out, out->len - 1);
      g_string_append_c (out, '\n');
    }
}

static void
strv_free (gpointer data)
{
  g_strfreev (data);
}

/* A cell: guest text made safe, on one line; nothing is "-". */
static char *
cell (const char *text)
{
  char *safe = h2k_escape_text (text && *text ? text : "-", -1);

  return g_strdelimit (safe, "\n\t", ' ');
}

/* CELLS: at most 7, ended by NULL. */
static void
add_row (GPtrArray *rows, const char *const *cells)
{
  g_autoptr (GPtrArray) row = g_ptr_array_new ();

  for (; *cells; cells++)
    g_ptr_array_add (row, cell (*cells));
  g_ptr_array_add (row, NULL);
  g_ptr_array_add (rows, g_ptr_array_steal (row, NULL));
}
#define CELLS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
append_windows (GPtrArray *rows, const H2kWindows *windows)
{
  g_autoptr (GPtrArray) lines = h2k_windows_to_lines (windows);

  for (guint i = 0; i + 1 < lines->len; i += 2)
    add_row (rows, CELLS (lines->pdata[i], lines->pdata[i + 1]));
}

static void
append_system (GString *out, H2kGuest *guest)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (strv_free);
  g_autofree const char **stacks = h2k_network_names (guest->network);
  g_autofree char *network = g_strjoinv (", ", (char **)stacks);
  g_autofree char *tools = NULL;

  add_row (rows, CELLS ("System:", guest->pretty_name));
  add_row (rows, CELLS ("Host name:", guest->hostname));
  add_row (rows, CELLS ("Architecture:", guest->arch));
  add_row (rows, CELLS ("Firmware:", h2k_firmware_name (guest->firmware)));
  add_row (rows, CELLS ("Bootloader:", h2k_bootloader_name (guest->bootloader)));
  if (guest->windows)
    append_windows (rows, guest->windows);
  else
    {
      add_row (rows, CELLS ("Initramfs by:", h2k_initramfs_name (guest->initramfs)));
      add_row (rows, CELLS ("Init:", h2k_init_name (guest->init)));
      add_row (rows, CELLS ("Network by:", network));
    }
  g_ptr_array_add (guest->vmware_tools, NULL);
  tools = g_strjoinv (", ", (char **)guest->vmware_tools->pdata);
  g_ptr_array_remove_index (guest->vmware_tools, guest->vmware_tools->len - 1);
  add_row (rows, CELLS ("Guest tools:", tools));
  append_table (out, "", rows);
}

static void
append_disk (GString *out, H2kGuest *guest, guint index)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (strv_free);
  const H2kDisk *disk = g_ptr_array_index (guest->disks, index);
  const H2kTable *table = g_ptr_array_index (guest->tables, index);
  g_autofree char *name = cell (disk->name);
  g_autofree char *size = h2k_format_size (disk->size);

  g_string_append_printf (out, "\nDisk %u: %s (%s%s%s, %s, partition table: %s)\n", index + 1, name,
                          disk->format, disk->subformat ? " " : "",
                          disk->subformat ? disk->subformat : "", size, table_name (table->type));
  add_row (rows, CELLS ("NR", "SIZE", "TYPE", "UUID", "LABEL", "MOUNTED", "FSTAB"));
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autofree char *number = g_strdup_printf ("%u", volume->volume->number);
      g_autofree char *length = h2k_format_size (volume->volume->length);
      const char *role = h2k_volume_role (volume->volume);

      if (volume->disk == index && volume->node->depth == 0)
        add_row (rows,
                 CELLS (number, length, *volume->id.type ? volume->id.type : role, volume->id.uuid,
                        volume->id.label, volume->mountpoint ? volume->mountpoint : "",
                        volume->spec ? volume->spec : ""));
    }
  append_table (out, "  ", rows);
}

/* The names of what NODE lies on. The caller's. */
static char *
parent_names (const H2kNode *node)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < node->parents->len; i++)
    g_string_append_printf (text, "%s%s", i ? "; " : "",
                            ((const H2kNode *)node->parents->pdata[i])->name);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* "thin", "thin snapshot of /dev/vg/root". The caller's. */
static char *
layout_name (const H2kNode *node)
{
  const char *type = node->type ? node->type : h2k_node_kind_name (node->kind);

  return node->origin
             ? g_strdup_printf ("%s snapshot of %s", type, (char *)node->origin->names->pdata[0])
             : g_strdup (type);
}

static void
append_made (GString *out, H2kGuest *guest)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (strv_free);

  add_row (rows, CELLS ("VOLUME", "SIZE", "LAYOUT", "TYPE", "UUID", "MOUNTED", "LIES ON"));
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      const H2kNode *node = volume->node;
      g_autofree char *length = h2k_format_size (volume->volume->length);
      g_autofree char *parents = parent_names (node), *layout = layout_name (node);

      if (node->depth > 0)
        add_row (rows, CELLS (node->names->len ? node->names->pdata[0] : node->name, length, layout,
                              volume->id.type, volume->id.uuid,
                              volume->mountpoint ? volume->mountpoint : "", parents));
    }
  if (rows->len == 1)
    return;
  g_string_append (out, "\nVolumes on these:\n");
  append_table (out, "  ", rows);
}

/* What there is on the disks, but could not be read. */
static void
append_problems (GString *out, const H2kGuest *guest)
{
  g_autoptr (GString) problems = g_string_new (NULL);
  g_autofree char *safe = NULL;

  if (!h2k_guest_list_problems (guest, problems))
    return;
  safe = cell (problems->str);
  g_string_append_printf (out, "\nNot read: %s\n", safe);
}

static void
append_remote (GString *out, H2kGuest *guest)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (strv_free);

  add_row (rows, CELLS ("MOUNTED", "TYPE", "FROM"));
  for (guint i = 0; i < guest->remote->len; i++)
    {
      const H2kFstabEntry *entry = g_ptr_array_index (guest->remote, i);
      add_row (rows, CELLS (entry->path, entry->type, entry->spec));
    }
  if (rows->len == 1)
    return;
  g_string_append (out, "\nMounted from elsewhere, not looked at:\n");
  append_table (out, "  ", rows);
}

static void
append_kernels (GString *out, H2kGuest *guest)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (strv_free);

  add_row (rows, CELLS ("VERSION", "IMAGE", "INITRAMFS", "MODULES"));
  for (guint i = 0; i < guest->kernels->len; i++)
    {
      const H2kKernel *kernel = g_ptr_array_index (guest->kernels, i);
      add_row (rows, CELLS (kernel->version, kernel->image ? kernel->image : "",
                            kernel->initramfs ? kernel->initramfs : "",
                            kernel->modules_dir ? kernel->modules_dir : ""));
    }
  g_string_append (out, "\nKernels, the newest first:\n");
  append_table (out, "  ", rows);
}

char *
h2k_guest_to_text (H2kGuest *guest)
{
  GString *out = g_string_new (NULL);

  append_system (out, guest);
  for (guint i = 0; i < guest->disks->len; i++)
    append_disk (out, guest, i);
  append_made (out, guest);
  append_problems (out, guest);
  append_remote (out, guest);
  if (guest->kernels->len)
    append_kernels (out, guest);
  for (guint i = 0; i < guest->warnings->len; i++)
    {
      g_autofree char *text = cell (g_ptr_array_index (guest->warnings, i));
      g_string_append_printf (out, "%sWarning: %s\n", i ? "" : "\n", text);
    }
  return g_string_free (out, FALSE);
}
