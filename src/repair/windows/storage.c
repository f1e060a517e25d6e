/* storage.c - VirtIO storage drivers that Windows starts from.
 *
 * A driver that the boot loader loads needs its file, its service with Start 0 in the control set
 * that is booted, and a way from the device's id to the service: CriticalDeviceDatabase up to
 * Windows 7, DriverDatabase from Windows 8 on. What service, which ids and which files are the
 * INF's to say.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/database.h"
#include "repair/windows/installed.h"

#define BOOT_START 0u
#define MAX_LIST 65536u /* bytes of the list of entries that were made offline */
#define KERNEL_DRIVER 1u
#define STORAGE_GROUP "SCSI miniport"
#define WHY_SERVICE "the boot loader loads the driver of the VirtIO disk with the kernel"
#define LOCKDOWN                                                                                   \
  "Microsoft\\Windows\\CurrentVersion\\Setup\\PnpLockdownFiles\\%SystemRoot%/System32/drivers/"

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static char *
service_key (const char *control_set, const char *service)
{
  return g_strconcat (control_set, "\\Services\\", service, NULL);
}

/* --- what is there ---------------------------------------------------------------------------- */

/* Whether SERVICE is started at boot in each control set, and its driver is there and can be. */
static gboolean
is_ready (H2kRepairContext *context, H2kHive *system, const char *service)
{
  const H2kWindows *w = context->guest->windows;
  g_autofree char *file = g_strconcat (service, ".sys", NULL);
  g_autoptr (H2kInstalledDriver) installed = NULL;

  for (guint i = 0; i < w->control_sets->len; i++)
    {
      g_autofree char *key = service_key (w->control_sets->pdata[i], service);
      g_autofree char *override = g_strconcat (key, "\\StartOverride", NULL);
      guint32 start;
      if (!h2k_hive_get_dword (system, key, "Start", &start) || start != BOOT_START
          || h2k_hive_has_key (system, override))
        return FALSE;
    }
  installed = h2k_windows_installed_driver (context, service, file);
  return installed && !installed->wrong;
}

/* --- the service ------------------------------------------------------------------------------ */

typedef struct
{
  H2kRepairContext *context;
  const H2kDriver *driver;
  const H2kInf *inf; /* DRIVER's, or that of a newer package that Windows has */
  const H2kInfInstall *install;
  const H2kInfService *service;
  const char *oem;     /* NULL: none, as before Windows 8 */
  const char *package; /* where DRIVER is in the driver store; NULL: it is not */
  const char *image;   /* ImagePath of the file that stays; NULL: DRIVER's file is copied */
  const char *why;     /* it replaces another; NULL: there is none, or the same */
} Storage;

static gboolean
set (const Storage *s, const char *key, H2kRegValue *value, GError **error)
{
  return h2k_windows_set (s->context, H2K_HIVE_SYSTEM, key, value, WHY_SERVICE, error);
}

/* What the INF adds below the service's key. */
static gboolean
add_reg (const Storage *s, const char *key, GPtrArray *lines, GError **error)
{
  for (guint i = 0; i < lines->len; i++)
    {
      const H2kInfReg *line = lines->pdata[i];
      g_autofree char *below
          = *line->key ? g_strconcat (key, "\\", line->key, NULL) : g_strdup (key);
      gsize size = 0;
      const void *data = line->data ? g_bytes_get_data (line->data, &size) : NULL;

      if (line->root != H2K_INF_HKR || line->action != H2K_INF_REG_SET)
        continue;
      if (!set (s, below, h2k_reg_new (line->name, line->type, data, size), error))
        return FALSE;
    }
  return TRUE;
}

/* PnpInterface says on which kinds of bus the driver's devices are: 5 is PCI. Windows needs it to
 * start a port driver's devices by Plug and Play. */
static gboolean
add_parameters (const Storage *s, const char *key, GError **error)
{
  g_autofree char *interface = g_strconcat (key, "\\Parameters\\PnpInterface", NULL);

  return add_reg (s, key, s->service->reg, error)
         && set (s, interface, h2k_reg_dword ("5", 1), error);
}

static const char *
file_of (const H2kInfService *service)
{
  const char *slash = strrchr (service->binary, '\\');

  return slash ? slash + 1 : service->binary;
}

/* The packages that KEY belongs to, with this one: one that was installed before stays its owner.
 */
static H2kRegValue *
owners_with (const Storage *s, H2kWindowsHiveName name, const char *key)
{
  H2kHive *hive = h2k_windows_hive (s->context, name, NULL);
  g_auto (GStrv) old = hive ? h2k_hive_get_strings (hive, key, "Owners") : NULL;
  g_autoptr (GPtrArray) owners = g_ptr_array_new ();

  for (guint i = 0; old && old[i]; i++)
    g_ptr_array_add (owners, old[i]);
  if (!old || !g_strv_contains ((const char *const *)old, s->oem))
    g_ptr_array_add (owners, (char *)s->oem);
  g_ptr_array_add (owners, NULL);
  return h2k_reg_strings ("Owners", (const char *const *)owners->pdata);
}

static gboolean
add_service (const Storage *s, const char *control_set, GError **error)
{
  const H2kInfService *service = s->service;
  g_autofree char *key = service_key (control_set, service->name);
  g_autofree char *override = g_strconcat (key, "\\StartOverride", NULL);
  g_autofree char *image = s->image ? g_strdup (s->image)
                                    : g_strconcat ("System32\\drivers\\", file_of (service), NULL);
  const char *group = service->group && *service->group ? service->group : STORAGE_GROUP;

  return set (s, key, h2k_reg_dword ("Type", service->type ? service->type : KERNEL_DRIVER), error)
         && set (s, key, h2k_reg_dword ("Start", BOOT_START), error)
         && set (s, key, h2k_reg_dword ("ErrorControl", service->error_control), error)
         && set (s, key, h2k_reg_string ("Group", H2K_REG_SZ, group), error)
         && set (s, key, h2k_reg_dword ("Tag", 0x21), error)
         && set (s, key, h2k_reg_string ("ImagePath", H2K_REG_EXPAND_SZ, image), error)
         && (!*service->display_name.text
             || set (s, key, h2k_reg_string ("DisplayName", H2K_REG_SZ, service->display_name.text),
                     error))
         && (!s->oem || set (s, key, owners_with (s, H2K_HIVE_SYSTEM, key), error))
         && h2k_windows_remove_key (s->context, H2K_HIVE_SYSTEM, override,
                                    "it would override Start", error)
         && add_parameters (s, key, error);
}

static gboolean
add_event_log (const Storage *s, const char *control_set, GError **error)
{
  g_autofree char *key
      = g_strconcat (control_set, "\\Services\\EventLog\\System\\",
                     s->service->event_name ? s->service->event_name : s->service->name, NULL);

  if (s->service->event_log && s->service->event_reg->len)
    return add_reg (s, key, s->service->event_reg, error);
  return set (s, key,
              h2k_reg_string ("EventMessageFile", H2K_REG_EXPAND_SZ,
                              "%SystemRoot%\\System32\\IoLogMsg.dll"),
              error)
         && set (s, key, h2k_reg_dword ("TypesSupported", 7), error);
}

/* --- devices, up to Windows 7 ----------------------------------------------------------------- */

static gboolean
add_critical_devices (const Storage *s, const char *control_set, GError **error)
{
  const H2kInf *inf = s->inf;

  for (guint i = 0; i < inf->devices->len; i++)
    {
      const H2kInfDevice *device = inf->devices->pdata[i];
      if (device->install != s->install)
        continue;
      for (guint k = 0; device->ids[k]; k++)
        if (!h2k_windows_add_critical (s->context, control_set, device->ids[k], s->service->name,
                                       inf->class_guid, error))
          return FALSE;
    }
  return TRUE;
}

/* --- files ------------------------------------------------------------------------------------ */

/* The driver goes into System32\drivers whatever the INF says (newer ones leave it in the driver
 * store), since that is where ImagePath says that it is. */
static gboolean
copy_driver (const Storage *s, GError **error)
{
  const char *name = file_of (s->service);
  const H2kDriverFile *file = h2k_driver_find_file (s->driver, name);
  g_autofree char *below = g_strconcat ("System32/drivers/", name, NULL);
  g_autofree char *path = h2k_windows_path (s->context, below);
  g_autoptr (GBytes) data = file ? h2k_driver_file_read (file, error) : NULL;
  g_autofree char *summary = NULL, *reason = NULL;

  if (!file)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "%s: the driver %s of service %s is not in it",
                 s->driver->folder, name, s->service->name);
  if (!data)
    return FALSE;
  summary = g_strdup_printf ("%" G_GSIZE_FORMAT " bytes, from %s", g_bytes_get_size (data),
                             s->driver->folder);
  reason = g_strconcat ("it is the VirtIO disk's driver", s->why ? "; " : "", s->why ? s->why : "",
                        NULL);
  return h2k_repair_copy (s->context, path, data, 0644, summary, reason, error);
}

/* Windows 8 and later say which package a protected driver file belongs to. */
static gboolean
lock_file (const Storage *s, GError **error)
{
  g_autofree char *key = g_strconcat (LOCKDOWN, file_of (s->service), NULL);
  g_autofree char *source = g_strconcat ("%SystemRoot%\\System32\\DriverStore\\FileRepository\\",
                                         s->package, "\\", file_of (s->service), NULL);
  static const char why[] = "it says which driver package the file belongs to";

  return h2k_windows_set (s->context, H2K_HIVE_SOFTWARE, key, h2k_reg_dword ("Class", 4), why,
                          error)
         && h2k_windows_set (s->context, H2K_HIVE_SOFTWARE, key,
                             owners_with (s, H2K_HIVE_SOFTWARE, key), why, error)
         && h2k_windows_set (s->context, H2K_HIVE_SOFTWARE, key,
                             h2k_reg_string ("Source", H2K_REG_EXPAND_SZ, source), why, error);
}

/* --- one driver ------------------------------------------------------------------------------- */

static gboolean
inject_service (Storage *s, GError **error)
{
  const H2kWindows *w = s->context->guest->windows;
  gboolean is_old = !h2k_windows_is_at_least (w, 6, 2);

  if (!s->image && (!copy_driver (s, error) || (s->package && !lock_file (s, error))))
    return FALSE;
  for (guint i = 0; i < w->control_sets->len; i++)
    {
      const char *control_set = w->control_sets->pdata[i];
      if (!add_service (s, control_set, error) || !add_event_log (s, control_set, error)
          || (is_old && !add_critical_devices (s, control_set, error)))
        return FALSE;
    }
  return TRUE;
}

/* What the first boot forgets when the real package is installed: partial entries would disturb a
 * later upgrade of Windows. */
static void
note_offline (GString *list, const H2kDriver *driver, const char *package, const char *oem)
{
  g_autofree char *name = g_ascii_strdown (driver->inf_name, -1);

  g_string_append_printf (list, "%s\t%s\t%s\r\n", name, package, oem);
}

/* LIST goes to the first boot, with what an earlier run put there that no boot has dealt with yet:
 * another version's package. */
static gboolean
write_offline (H2kRepairContext *context, const GString *list, GError **error)
{
  static const char name[] = "data/offline-drivers.txt";
  g_autofree char *path = g_build_filename (h2k_windows_first_boot_dir (context), name, NULL);
  g_autoptr (GBytes) old = h2k_tree_read_optional (context->guest->tree, path, MAX_LIST, NULL);
  g_autoptr (GString) all = g_string_new (NULL);
  g_autoptr (GBytes) data = NULL;

  if (old)
    g_string_append_len (all, g_bytes_get_data (old, NULL), (gssize)g_bytes_get_size (old));
  if (all->len && all->str[all->len - 1] != '\n')
    g_string_append (all, "\r\n");
  for (const char *line = list->str, *end; *line; line = end)
    {
      g_autofree char *text = NULL;
      end = strchr (line, '\n') + 1;
      text = g_strndup (line, (gsize)(end - line));
      if (!strstr (all->str, text))
        g_string_append (all, text);
    }
  data = g_bytes_new (all->str, all->len);
  return h2k_windows_first_boot_file (context, name, data, NULL,
                                      "entries made offline go when the packages are installed",
                                      error);
}

/* Each service of INF that is a device's driver. */
static gboolean
inject_services (Storage *s, GError **error)
{
  gboolean injected = FALSE;

  for (guint i = 0; i < s->inf->installs->len; i++)
    {
      s->install = s->inf->installs->pdata[i];
      s->service = h2k_inf_function_service (s->install);
      if (!s->service)
        continue;
      if (!inject_service (s, error))
        return FALSE;
      injected = TRUE;
    }
  if (!injected)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "%s/%s installs no driver service",
                 s->driver->folder, s->driver->inf_name);
  return injected;
}

/* The package of DRIVER goes into the database of Windows 8 and later. */
static gboolean
inject_package (Storage *s, GString *offline, char **package, char **oem, GError **error)
{
  const H2kWindows *w = s->context->guest->windows;
  g_autoptr (GBytes) inf = NULL;

  if (!h2k_windows_is_at_least (w, 6, 2))
    return TRUE;
  inf = h2k_driver_file_read (s->driver->files->pdata[0], error);
  if (!inf)
    return FALSE;
  *package = h2k_windows_package_name (s->driver, &w->version, inf);
  if (!h2k_windows_add_package (s->context, s->driver, *package, inf, oem, error))
    return FALSE;
  note_offline (offline, s->driver, *package, *oem);
  s->package = *package;
  s->oem = *oem;
  return TRUE;
}

/* What the guest has of DRIVER already; NULL: nothing. */
static H2kInstalledDriver *
find_installed (H2kRepairContext *context, const H2kDriver *driver, const char **file)
{
  for (guint i = 0; i < driver->inf->installs->len; i++)
    {
      const H2kInfService *service = h2k_inf_function_service (driver->inf->installs->pdata[i]);
      if (service)
        {
          *file = file_of (service);
          return h2k_windows_installed_driver (context, service->name, *file);
        }
    }
  return NULL;
}

/* A newer driver that the guest has stays, with its package if Windows knows that; it is started at
 * boot like the other one. */
static gboolean
inject (H2kRepairContext *context, const H2kDriver *driver, GString *offline, GError **error)
{
  const char *file = NULL;
  g_autoptr (H2kInstalledDriver) installed = find_installed (context, driver, &file);
  g_autofree char *package = NULL, *oem = NULL, *why = NULL;
  gboolean keep = h2k_windows_keeps_driver (installed, driver, file, &why);
  Storage s = {.context = context, .driver = driver, .inf = driver->inf};

  if (keep)
    h2k_repair_warn (context, "%s", why);
  s.image = keep ? installed->image : NULL;
  s.why = keep ? NULL : why;
  if (keep && installed->inf)
    {
      s.inf = installed->inf;
      s.oem = h2k_windows_is_at_least (context->guest->windows, 6, 2) ? installed->oem : NULL;
    }
  else if (!inject_package (&s, offline, &package, &oem, error))
    return FALSE;
  return inject_services (&s, error);
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
inject_all (H2kRepairContext *context, GError **error)
{
  GPtrArray *drivers = h2k_windows_drivers (context, error);
  g_autoptr (GString) offline = g_string_new (NULL);

  for (guint i = 0; drivers && i < drivers->len; i++)
    {
      const H2kDriver *driver = drivers->pdata[i];
      if (driver->boot && !inject (context, driver, offline, error))
        return FALSE;
    }
  if (drivers && offline->len)
    return write_offline (context, offline, error);
  return drivers != NULL;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  H2kHive *system = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);

  if (!system)
    return FALSE;
  /* Drivers that are there and started need no others; of VirtIO SCSI's there is none for XP. */
  if (!context->options.virtio_win && is_ready (context, system, "viostor")
      && (!h2k_windows_is_at_least (context->guest->windows, 6, 0)
          || is_ready (context, system, "vioscsi")))
    return TRUE;
  return h2k_windows_does_without_drivers (context) || inject_all (context, error);
}

const H2kRepair h2k_repair_windows_storage = {
    .name = "windows-storage",
    .flag = H2K_REPAIR_VIRTIO,
    .why = "Windows stops with INACCESSIBLE_BOOT_DEVICE unless the driver of its disk is started "
           "with the kernel",
    .applies = applies,
    .run = run,
};
