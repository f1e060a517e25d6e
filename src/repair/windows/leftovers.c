/* leftovers.c - what other hypervisors left in Windows, and drivers that hang off their hardware,
 * is kept from starting; a stop code of the first boot stays on the screen.
 *
 * Nothing is deleted: a service whose Start is 4 can be enabled again, and the product's own
 * uninstaller, which the first boot runs, still finds it. Every control set is treated, since
 * Windows falls back to another one when the current one does not boot.
 *
 * Names in UpperFilters and LowerFilters are those of Microsoft's "Device filter driver ordering":
 * a device whose filter does not start does not start either (code 39, or code 19 of its class),
 * and when the device is the system's disk that is stop 0x7B. So a driver is never disabled without
 * its name being taken from all such lists.
 *
 * Dump drivers need nothing: Windows itself loads a copy of the driver of the system's disk when it
 * starts, as dump_viostor or dump_vioscsi, and no key names it. DumpFilters are another matter:
 * these are drivers of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/session.h"

#define CRASH_CONTROL "Control\\CrashControl"
#define START_DISABLED 4
#define MAX_KEYS 8192u     /* that are looked at in one key */
#define MAX_DEVICES 65536u /* of one control set */

static const char *const run_keys[] = {"Microsoft\\Windows\\CurrentVersion\\Run",
                                       "WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Run"};
static const char *const uninstall_keys[]
    = {"Microsoft\\Windows\\CurrentVersion\\Uninstall\\",
       "WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\"};

/* Services that stay as they are. VSS asks every provider that is registered with it and fails a
 * backup when one cannot be started; this one is harmless, starts on demand alone, and goes with
 * its registration when the product is uninstalled. */
static const char *const kept_services[] = {"vmvss"};

/* Products that are not uninstalled: the installer of Hyper-V's integration services for Windows
 * before Vista replaced parts of Windows itself (the HAL among them), and without a VMBus its
 * drivers do nothing. */
static const char *const kept_products[] = {"Hyper-V integration services"};

/* What the tools start for each user who logs on. */
static const struct
{
  const char *product;
  const char *values[4];
} run_values[] = {
    {"VMware Tools", {"VMware User Process", "VMware Tools"}},
    {"Parallels Tools", {"Parallels Tools Center"}},
    {"VirtualBox Guest Additions", {"VBoxTray"}},
};

/* Drivers of Windows before 8 that stop or hang a machine whose hardware they were not installed
 * for. virt-v2v disables the first two, too. Where they are missing Windows halts idle processors
 * by itself. */
static const struct
{
  const char *service;
  const char *reason;
} hardware_drivers[] = {
    {"intelppm", "it may stop Windows with 0x7E or hang where the processor is another one than at "
                 "installation (Microsoft KB 888372), and a virtual one has no power states"},
    {"Processor", "as intelppm it manages power states that a virtual processor does not have, and "
                  "may stop Windows with 0x7E (Microsoft KB 888372)"},
    {"agp440", "the VM has no AGP bridge, and Windows may hang while it loads the driver of one"},
};

/* --- names ------------------------------------------------------------------------------------ */

static gboolean
is_in (const char *const *list, gsize count, const char *name)
{
  for (gsize i = 0; i < count && list[i]; i++)
    if (g_ascii_strcasecmp (list[i], name) == 0)
      return TRUE;
  return FALSE;
}

#define IS_IN(list, name) is_in (list, G_N_ELEMENTS (list), name)

/* Whether SERVICE belongs to a hypervisor's tools and is to be disabled. */
static gboolean
is_of_tools (const char *service)
{
  const char *product;
  const char *const *services;

  if (IS_IN (kept_services, service))
    return FALSE;
  for (guint i = 0; (services = h2k_windows_tool_services (i, &product)) != NULL; i++)
    if (is_in (services, G_MAXSIZE, service))
      return TRUE;
  return FALSE;
}

/* --- services --------------------------------------------------------------------------------- */

static gboolean
disable_service (H2kRepairContext *context, const char *set, const char *service,
                 const char *reason, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autofree char *key = g_strconcat (set, "\\Services\\", service, NULL);
  g_autofree char *override = g_strconcat (key, "\\StartOverride", NULL);
  guint32 start;

  if (!hive)
    return FALSE;
  if (!h2k_hive_get_dword (hive, key, "Start", &start))
    return TRUE;
  /* It counts more than Start. */
  return h2k_windows_remove_key (context, H2K_HIVE_SYSTEM, override, reason, error)
         && h2k_windows_set (context, H2K_HIVE_SYSTEM, key, h2k_reg_dword ("Start", START_DISABLED),
                             reason, error);
}

static gboolean
disable_tools (H2kRepairContext *context, const char *set, GError **error)
{
  const char *product;
  const char *const *services;

  for (guint i = 0; (services = h2k_windows_tool_services (i, &product)) != NULL; i++)
    {
      g_autofree char *reason
          = g_strdup_printf ("it belongs to %s, which has no use on KVM", product);

      for (guint s = 0; services[s]; s++)
        if (is_of_tools (services[s])
            && !disable_service (context, set, services[s], reason, error))
          return FALSE;
    }
  return TRUE;
}

static gboolean
disable_hardware_drivers (H2kRepairContext *context, const char *set, GError **error)
{
  if (h2k_windows_is_at_least (context->guest->windows, 6, 2))
    return TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (hardware_drivers); i++)
    if (!disable_service (context, set, hardware_drivers[i].service, hardware_drivers[i].reason,
                          error))
      return FALSE;
  return TRUE;
}

/* --- filters ---------------------------------------------------------------------------------- */

/* Whether the filter NAME, a service or its file, is one of tools and does not start: that it is
 * missing altogether is as bad. */
static gboolean
is_dead_filter (H2kHive *hive, const char *set, const char *name)
{
  gsize length = strlen (name) - (g_str_has_suffix (name, ".sys") ? 4 : 0);
  g_autofree char *service = g_strndup (name, length);
  g_autofree char *key = g_strconcat (set, "\\Services\\", service, NULL);
  guint32 start;

  return is_of_tools (service)
         && (!h2k_hive_get_dword (hive, key, "Start", &start) || start == START_DISABLED);
}

/* Take dead filters from the list VALUE of KEY; the others keep their order. */
static gboolean
clean_list (H2kRepairContext *context, H2kHive *hive, const char *set, const char *key,
            const char *value, GError **error)
{
  g_auto (GStrv) list = h2k_hive_get_strings (hive, key, value);
  g_autoptr (GPtrArray) alive = g_ptr_array_new ();
  const char *reason = "it names a disabled driver of the old hypervisor, without which Windows "
                       "starts no such device";

  for (guint i = 0; list && list[i]; i++)
    if (!is_dead_filter (hive, set, list[i]))
      g_ptr_array_add (alive, list[i]);
  if (!list || alive->len == g_strv_length (list))
    return TRUE;
  g_ptr_array_add (alive, NULL);
  if (alive->len == 1)
    return h2k_windows_remove_value (context, H2K_HIVE_SYSTEM, key, value, reason, error);
  return h2k_windows_set (context, H2K_HIVE_SYSTEM, key,
                          h2k_reg_strings (value, (const char *const *)alive->pdata), reason,
                          error);
}

static gboolean
clean_key (H2kRepairContext *context, H2kHive *hive, const char *set, const char *key,
           GError **error)
{
  return clean_list (context, hive, set, key, "UpperFilters", error)
         && clean_list (context, hive, set, key, "LowerFilters", error);
}

/* KEY and the keys LEVELS below it: classes are one level down, devices three. */
static gboolean
clean_below (H2kRepairContext *context, H2kHive *hive, const char *set, const char *key,
             guint levels, guint *left, GError **error)
{
  g_autoptr (GPtrArray) names = NULL;

  if (levels == 0)
    return clean_key (context, hive, set, key, error);
  names = h2k_hive_list_keys (hive, key);
  for (guint i = 0; names && i < MIN (names->len, MAX_KEYS) && *left > 0; i++)
    {
      g_autofree char *below = g_strconcat (key, "\\", (const char *)names->pdata[i], NULL);

      --*left;
      if (!clean_below (context, hive, set, below, levels - 1, left, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
clean_filters (H2kRepairContext *context, const char *set, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autofree char *classes = g_strconcat (set, "\\Control\\Class", NULL);
  g_autofree char *devices = g_strconcat (set, "\\Enum", NULL);
  g_autofree char *crash = g_strconcat (set, "\\" CRASH_CONTROL, NULL);
  guint left = MAX_DEVICES;

  return hive && clean_below (context, hive, set, classes, 1, &left, error)
         && clean_below (context, hive, set, devices, 3, &left, error)
         && clean_list (context, hive, set, crash, "DumpFilters", error);
}

/* --- stop codes ------------------------------------------------------------------------------- */

/* Of the current control set alone, since only its value can be restored. One that is 0 or missing
 * does not restart, and may be what an earlier run made of it. */
static gboolean
show_stop_codes (H2kRepairContext *context, GError **error)
{
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autofree char *key
      = g_strconcat (context->guest->windows->control_set, "\\" CRASH_CONTROL, NULL);
  g_autoptr (H2kRegValue) old = hive ? h2k_hive_get (hive, key, "AutoReboot") : NULL;
  guint32 number = 0;

  if (!hive)
    return FALSE;
  if (!old || !h2k_reg_value_dword (old, &number) || number == 0
      || !h2k_windows_has_first_boot (context) || h2k_windows_first_boot_is_over (context))
    return TRUE;
  h2k_windows_restore_later (context,
                             "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\" CRASH_CONTROL,
                             "AutoReboot", old);
  return h2k_windows_set (context, H2K_HIVE_SYSTEM, key, h2k_reg_dword ("AutoReboot", 0),
                          "a stop code of the first boot stays on the screen; the end of the first "
                          "boot restores the value",
                          error);
}

/* --- for the first boot ----------------------------------------------------------------------- */

/* KEY=TEXT as a line, unless TEXT is more than one. */
static void
add_line (GString *out, const char *key, const char *text)
{
  for (const char *p = text; *p; p++)
    if (g_ascii_iscntrl (*p))
      return;
  if (*text)
    g_string_append_printf (out, "%s=%s\r\n", key, text);
}

/* The product's name, if Windows Installer installed it: other uninstallers ask questions. */
static void
add_product (H2kHive *software, const H2kWindowsTools *tools, GString *out)
{
  g_autofree char *key = NULL, *name = NULL;

  if (!tools->uninstall || tools->uninstall[0] != '{')
    return;
  key = g_strconcat (uninstall_keys[tools->uninstall32 ? 1 : 0], tools->uninstall, NULL);
  name = h2k_hive_get_string (software, key, "DisplayName");
  if (name)
    add_line (out, "product", name);
}

static void
add_run_values (H2kHive *software, const H2kWindowsTools *tools, GString *out)
{
  for (guint i = 0; i < G_N_ELEMENTS (run_values); i++)
    for (guint v = 0; g_str_equal (run_values[i].product, tools->product)
                      && v < G_N_ELEMENTS (run_values[i].values) && run_values[i].values[v];
         v++)
      {
        const char *name = run_values[i].values[v];
        g_autofree char *native = h2k_hive_get_string (software, run_keys[0], name);
        g_autofree char *other = h2k_hive_get_string (software, run_keys[1], name);

        if (native || other)
          add_line (out, "run", name);
      }
}

static void
add_services (const H2kWindowsTools *tools, GString *out)
{
  for (guint i = 0; i < tools->services->len; i++)
    if (is_of_tools (tools->services->pdata[i]))
      add_line (out, "service", tools->services->pdata[i]);
}

/* Services are named again since an uninstaller that fails half-way may enable them. */
static gboolean
write_old_tools (H2kRepairContext *context, GError **error)
{
  const GPtrArray *tools = context->guest->windows->tools;
  H2kHive *software;
  g_autoptr (GString) head = g_string_new (NULL), services = g_string_new (NULL);
  g_autoptr (GBytes) data = NULL;

  if (tools->len == 0)
    return TRUE;
  software = h2k_windows_hive (context, H2K_HIVE_SOFTWARE, error);
  if (!software)
    return FALSE;
  for (guint i = 0; i < tools->len; i++)
    {
      const H2kWindowsTools *one = tools->pdata[i];

      if (IS_IN (kept_products, one->product))
        continue;
      add_product (software, one, head);
      add_run_values (software, one, head);
      add_services (one, services);
    }
  if (head->len == 0)
    return TRUE;
  g_string_prepend (head, "; Written by hyper2kvm: what the old hypervisor's tools left.\r\n"
                          "[tools]\r\n");
  g_string_append (head, services->str);
  data = g_bytes_new (head->str, head->len);
  return h2k_windows_first_boot_file (context, "data/old-tools.ini", data, NULL,
                                      "the old hypervisor's tools are uninstalled at the first "
                                      "boot",
                                      error);
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const GPtrArray *sets = context->guest->windows->control_sets;
  guint changes = context->changes->len;

  for (guint i = 0; i < sets->len; i++)
    if (!disable_tools (context, sets->pdata[i], error)
        || !disable_hardware_drivers (context, sets->pdata[i], error)
        || !clean_filters (context, sets->pdata[i], error))
      return FALSE;
  /* An uninstaller that has failed once is not tried again at each migration. */
  if (h2k_windows_has_first_boot (context)
      && (context->changes->len > changes || !h2k_windows_first_boot_is_over (context))
      && !write_old_tools (context, error))
    return FALSE;
  return show_stop_codes (context, error);
}

const H2kRepair h2k_repair_windows_leftovers = {
    .name = "windows-leftovers",
    .flag = H2K_REPAIR_TOOLS,
    .why = "drivers of the old hypervisor and of its hardware may stop or hang Windows on KVM",
    .applies = applies,
    .run = run,
};
