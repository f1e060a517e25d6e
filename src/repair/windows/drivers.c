/* drivers.c - the other VirtIO drivers, installed by Windows itself when it first boots.
 *
 * Their packages lie in the folder of the first-boot service, and DevicePath names it, too, so that
 * Plug and Play finds them even if the service does not run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/installed.h"

#define WHY "Windows installs the driver at its first boot"
#define CURRENT_VERSION "Microsoft\\Windows\\CurrentVersion"

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

/* The folder of DRIVER's package: two INFs of one driver share it. */
static gboolean
stage (H2kRepairContext *context, const H2kDriver *driver, GError **error)
{
  for (guint i = 0; i < driver->files->len; i++)
    {
      const H2kDriverFile *file = driver->files->pdata[i];
      g_autofree char *name = g_strconcat ("drivers/", driver->name, "/", file->name, NULL);
      g_autofree char *summary
          = g_strdup_printf ("%" G_GUINT64_FORMAT " bytes, from %s", file->size, driver->folder);
      g_autoptr (GBytes) data = h2k_driver_file_read (file, error);

      if (!data || !h2k_windows_first_boot_file (context, name, data, summary, WHY, error))
        return FALSE;
    }
  return TRUE;
}

/* Folders where Plug and Play looks for INF files, each of them itself and not those below it. */
static gboolean
set_device_path (H2kRepairContext *context, GPtrArray *folders, GError **error)
{
  H2kHive *software = h2k_windows_hive (context, H2K_HIVE_SOFTWARE, error);
  g_autofree char *old = NULL, *lower = NULL;
  g_auto (GStrv) listed = NULL;
  g_autoptr (GString) path = NULL;

  if (!software)
    return FALSE;
  old = h2k_hive_get_string (software, CURRENT_VERSION, "DevicePath");
  path = g_string_new (old && *old ? old : "%SystemRoot%\\inf");
  lower = g_ascii_strdown (path->str, -1);
  listed = g_strsplit (lower, ";", -1);
  for (guint i = 0; i < folders->len; i++)
    {
      g_autofree char *guest
          = g_build_filename (h2k_windows_first_boot_dir (context), folders->pdata[i], NULL);
      g_autofree char *native
          = g_strdup_printf ("%%SystemDrive%%%s", g_strdelimit (guest, "/", '\\'));
      g_autofree char *entry = g_ascii_strdown (native, -1);
      if (!g_strv_contains ((const char *const *)listed, entry))
        g_string_append_printf (path, ";%s", native);
    }
  return h2k_windows_set (context, H2K_HIVE_SOFTWARE, CURRENT_VERSION,
                          h2k_reg_string ("DevicePath", H2K_REG_EXPAND_SZ, path->str),
                          "Plug and Play finds the drivers there", error);
}

/* Whether everything that there is a driver for is installed, so that no source is needed. */
static gboolean
is_installed (const H2kWindows *w)
{
  return g_ptr_array_find_with_equal_func (w->virtio, "netkvm", g_str_equal, NULL);
}

/* Whether Windows has a newer package of DRIVER, which it would prefer: of those for storage, that
 * is told when they are made to start at boot. */
static gboolean
has_newer (H2kRepairContext *context, const H2kDriver *driver)
{
  gboolean newer = FALSE;

  for (guint i = 0; i < driver->inf->installs->len && !newer; i++)
    {
      const H2kInfService *service = h2k_inf_function_service (driver->inf->installs->pdata[i]);
      const char *slash = service ? strrchr (service->binary, '\\') : NULL;
      const char *file = slash ? slash + 1 : service ? service->binary : NULL;
      g_autoptr (H2kInstalledDriver) installed
          = service ? h2k_windows_installed_driver (context, service->name, file) : NULL;
      g_autofree char *why = NULL;

      newer = h2k_windows_keeps_driver (installed, driver, file, &why) && installed->inf;
      if (newer && !driver->boot)
        h2k_repair_warn (context, "%s", why);
    }
  return newer;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  g_autoptr (GPtrArray) folders = g_ptr_array_new_with_free_func (g_free);
  GPtrArray *drivers;

  if (!context->options.virtio_win && is_installed (context->guest->windows))
    return TRUE;
  if (h2k_windows_does_without_drivers (context))
    {
      h2k_repair_warn (context,
                       "no VirtIO drivers are named (--virtio-win-iso) or installed here: Windows "
                       "gets none, and its disks and network adapters stay of kinds that it has "
                       "drivers for");
      return TRUE;
    }
  drivers = h2k_windows_drivers (context, error);
  for (guint i = 0; drivers && i < drivers->len; i++)
    {
      const H2kDriver *driver = drivers->pdata[i];
      char *folder;

      if (has_newer (context, driver))
        continue;
      folder = g_strconcat ("drivers/", driver->name, NULL);
      if (!g_ptr_array_find_with_equal_func (folders, folder, g_str_equal, NULL))
        g_ptr_array_add (folders, folder);
      else
        g_free (folder);
      if (!stage (context, driver, error))
        return FALSE;
    }
  return drivers && set_device_path (context, folders, error);
}

const H2kRepair h2k_repair_windows_drivers = {
    .name = "windows-drivers",
    .flag = H2K_REPAIR_VIRTIO,
    .why = "the network and the other VirtIO devices need drivers, too",
    .applies = applies,
    .run = run,
};
