/* windows-describe.c - what is known of a Windows, as JSON and for people.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/describe.h"
#include "guest/windows-private.h"

static const char *
product_name (H2kWindowsProduct product)
{
  return product == H2K_WINDOWS_DOMAIN_CONTROLLER ? "domain controller"
         : product == H2K_WINDOWS_SERVER          ? "server"
                                                  : "client";
}

/* "10.0.20348.1726". The caller's. */
static char *
full_version (const H2kWindows *w)
{
  const H2kWindowsRelease *v = &w->version;

  return w->revision ? g_strdup_printf ("%u.%u.%u.%u", v->major, v->minor, v->build, w->revision)
                     : g_strdup_printf ("%u.%u.%u", v->major, v->minor, v->build);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void
add_strv (JsonBuilder *json, const char *key, char **texts)
{
  g_autoptr (GPtrArray) array = g_ptr_array_new ();

  for (; *texts; texts++)
    g_ptr_array_add (array, *texts);
  h2k_json_texts (json, key, array);
}

static void
add_nic (JsonBuilder *json, gconstpointer item)
{
  const H2kWindowsNic *nic = item;

  h2k_json_text (json, "guid", nic->guid);
  h2k_json_text (json, "name", nic->name);
  h2k_json_text (json, "device", nic->device);
  h2k_json_text (json, "component", nic->component);
  h2k_json_text (json, "service", nic->service);
  h2k_json_text (json, "instance", nic->instance);
  h2k_json_text (json, "mac", nic->mac);
  h2k_json_bool (json, "virtio", nic->is_virtio);
  h2k_json_bool (json, "dhcp", nic->dhcp);
  add_strv (json, "addresses", nic->addresses);
  add_strv (json, "masks", nic->masks);
  add_strv (json, "gateways", nic->gateways);
  h2k_json_text (json, "dns", nic->dns);
  h2k_json_text (json, "domain", nic->domain);
}

static void
add_tools (JsonBuilder *json, gconstpointer item)
{
  const H2kWindowsTools *tools = item;

  h2k_json_text (json, "product", tools->product);
  h2k_json_text (json, "uninstall", tools->uninstall);
  h2k_json_texts (json, "services", tools->services);
}

static void
add_hive (JsonBuilder *json, gconstpointer item)
{
  const H2kWindowsHive *hive = item;
  g_autofree char *format = g_strdup_printf ("1.%u", hive->minor);

  h2k_json_text (json, "path", hive->path);
  h2k_json_text (json, "format", format);
  h2k_json_number (json, "size", hive->size);
  h2k_json_bool (json, "dirty", hive->dirty);
  h2k_json_text (json, "replayed_logs", hive->logs);
}

static void
add_entry (JsonBuilder *json, gconstpointer item)
{
  const H2kBootEntry *entry = item;

  h2k_json_text (json, "id", entry->id);
  h2k_json_text (json, "description", entry->description);
  h2k_json_text (json, "path", entry->path);
  h2k_json_text (json, "system_root", entry->root);
  h2k_json_text (json, "device", entry->device);
  h2k_json_bool (json, "default", entry->is_default);
  h2k_json_bool (json, "leads_to_system", entry->leads_to_system);
}

static void
add_store (JsonBuilder *json, const H2kBootStore *store)
{
  json_builder_set_member_name (json, "boot");
  if (!store)
    {
      json_builder_add_null_value (json);
      return;
    }
  json_builder_begin_object (json);
  h2k_json_text (json, "store", store->path);
  h2k_json_text (json, "default", store->default_entry);
  h2k_json_objects (json, "entries", store->entries, add_entry);
  json_builder_set_member_name (json, "timeout");
  if (store->timeout < 0)
    json_builder_add_null_value (json);
  else
    json_builder_add_int_value (json, store->timeout);
  h2k_json_bool (json, "ems", store->ems);
  h2k_json_bool (json, "graphics_mode_disabled", store->graphics_mode_disabled);
  h2k_json_texts (json, "problems", store->problems);
  json_builder_end_object (json);
}

static void
add_state (JsonBuilder *json, const H2kWindows *w)
{
  const struct
  {
    const char *key;
    gboolean value;
  } states[] = {
      {"hibernated", w->hibernated},
      {"fast_startup", w->fast_startup},
      {"not_unmounted", w->not_unmounted},
      {"dirty", w->dirty},
      {"bitlocker", w->bitlocker},
      {"bitlocker_suspended", w->bitlocker_suspended},
      {"dynamic_disks", w->dynamic_disks},
      {"storage_spaces", w->storage_spaces},
      {"refs", w->refs},
      {"pending_file_renames", w->pending_renames},
      {"pending_servicing", w->pending_servicing},
      {"reboot_pending", w->reboot_pending},
      {"setup_in_progress", w->setup_in_progress},
      {"first_boot_ahead", w->first_boot_ahead},
      {"secure_boot", w->secure_boot},
      {"tpm", w->tpm},
  };

  for (guint i = 0; i < G_N_ELEMENTS (states); i++)
    h2k_json_bool (json, states[i].key, states[i].value);
  h2k_json_text (json, "sysprep", w->sysprep);
}

static void
add_version (JsonBuilder *json, const H2kWindows *w)
{
  g_autofree char *version = full_version (w);

  h2k_json_text (json, "product_name", w->product_name);
  h2k_json_text (json, "name", w->name);
  h2k_json_text (json, "edition", w->edition);
  h2k_json_text (json, "installation", w->installation);
  h2k_json_text (json, "role", product_name (w->version.product));
  h2k_json_text (json, "release", w->release);
  h2k_json_text (json, "version", version);
  h2k_json_number (json, "major", w->version.major);
  h2k_json_number (json, "minor", w->version.minor);
  h2k_json_number (json, "build", w->version.build);
  h2k_json_number (json, "ubr", w->revision);
  h2k_json_text (json, "build_lab", w->build_lab);
}

void
h2k_windows_to_json (const H2kWindows *w, JsonBuilder *json)
{
  char drive[3] = {w->drive, ':', '\0'};

  json_builder_set_member_name (json, "windows");
  json_builder_begin_object (json);
  add_version (json, w);
  h2k_json_text (json, "system_root", w->root);
  h2k_json_text (json, "system_drive", w->drive ? drive : NULL);
  h2k_json_text (json, "control_set", w->control_set);
  h2k_json_texts (json, "control_sets", w->control_sets);
  h2k_json_text (json, "boot_configuration", w->bcd);
  add_store (json, w->store);
  h2k_json_text (json, "hal", w->hal);
  h2k_json_number (json, "max_vcpus", w->max_vcpus);
  h2k_json_bool (json, "clock_is_utc", w->real_time_is_universal);
  h2k_json_texts (json, "virtio_drivers", w->virtio);
  add_state (json, w);
  h2k_json_objects (json, "nics", w->nics, add_nic);
  h2k_json_objects (json, "tools", w->tools, add_tools);
  h2k_json_objects (json, "hives", w->hives, add_hive);
  json_builder_end_object (json);
}

/* --- for people ------------------------------------------------------------------------------- */

static void
add_line (GPtrArray *lines, const char *name, char *text)
{
  g_ptr_array_add (lines, g_strdup (name));
  g_ptr_array_add (lines, text);
}

static char *
join (GPtrArray *texts)
{
  g_autoptr (GString) all = g_string_new (NULL);

  for (guint i = 0; i < texts->len; i++)
    g_string_append_printf (all, "%s%s", i ? ", " : "", (char *)texts->pdata[i]);
  return g_string_free (g_steal_pointer (&all), FALSE);
}

/* Only what is worth a word. */
static char *
state_text (const H2kWindows *w)
{
  const struct
  {
    gboolean is;
    const char *text;
  } states[] = {
      {w->hibernated && !w->fast_startup, "hibernated"},
      {w->fast_startup, "shut down with Fast Startup, or hibernated"},
      {w->not_unmounted && !w->hibernated, "not unmounted"},
      {w->dirty, "to be checked by chkdsk"},
      {w->pending_renames, "file renames pending"},
      {w->pending_servicing, "servicing pending"},
      {w->reboot_pending, "restart pending"},
      {w->setup_in_progress, "setup in progress"},
      {w->first_boot_ahead, "its first boot on KVM is ahead"},
      {w->sysprep != NULL, "generalized by sysprep"},
      {w->bitlocker_suspended, "BitLocker suspended (clear key)"},
      {w->bitlocker_locked, "BitLocker on a volume"},
      {w->dynamic_disks, "dynamic disks"},
      {w->storage_spaces, "Storage Spaces"},
  };
  g_autoptr (GPtrArray) texts = g_ptr_array_new ();

  for (guint i = 0; i < G_N_ELEMENTS (states); i++)
    if (states[i].is)
      g_ptr_array_add (texts, (char *)states[i].text);
  return texts->len ? join (texts) : g_strdup ("shut down");
}

static char *
nic_text (const H2kWindowsNic *nic)
{
  g_autofree char *addresses = g_strjoinv (" ", nic->addresses);
  const char *device = nic->device ? nic->device : nic->component;

  return g_strdup_printf ("%s%s%s%s%s, %s", nic->name ? nic->name : "", nic->name ? ": " : "",
                          device ? device : "?", nic->mac ? ", " : "", nic->mac ? nic->mac : "",
                          nic->dhcp ? "DHCP" : addresses);
}

GPtrArray *
h2k_windows_to_lines (const H2kWindows *w)
{
  GPtrArray *lines = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *version = full_version (w);

  add_line (lines, "Version:",
            g_strdup_printf ("%s%s%s, %s%s%s", version, *w->release ? ", " : "", w->release,
                             product_name (w->version.product), *w->edition ? ", " : "",
                             w->edition));
  add_line (lines, "Installed in:",
            w->drive ? g_strdup_printf ("%c:%s", w->drive, w->root) : g_strdup (w->root));
  add_line (lines, "Control sets:", join (w->control_sets));
  add_line (lines, "State:", state_text (w));
  for (guint i = 0; w->store && i < w->store->problems->len; i++)
    add_line (lines, i ? "" : "Boot problems:", g_strdup (w->store->problems->pdata[i]));
  add_line (lines, "VirtIO drivers:", w->virtio->len ? join (w->virtio) : g_strdup ("none"));
  for (guint i = 0; i < w->nics->len; i++)
    add_line (lines, i ? "" : "Network:", nic_text (w->nics->pdata[i]));
  return lines;
}
