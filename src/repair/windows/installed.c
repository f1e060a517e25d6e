/* installed.c - a driver that Windows has already, compared with another one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/installed.h"

#include "guest/tree.h"

#define DATABASE "DriverDatabase"
#define MAX_INF (512u << 10) /* those of drivers without a user interface are much smaller */
#define MAX_INFS 2000u

void
h2k_installed_driver_free (H2kInstalledDriver *installed)
{
  if (!installed)
    return;
  g_free (installed->path);
  g_free (installed->image);
  g_free (installed->wrong);
  g_clear_pointer (&installed->inf, h2k_inf_free);
  g_free (installed->oem);
  g_free (installed);
}

/* --- its file --------------------------------------------------------------------------------- */

/* The path below Windows' folder that ImagePath leads to, with slashes; NULL: it leads elsewhere,
 * from where the boot loader loads nothing. The caller's. */
static char *
below_windows (const H2kWindows *w, const char *image)
{
  g_autofree char *native = g_strdelimit (g_strdup (w->root), "/", '\\');
  g_autofree char *root = g_strdup_printf ("%c:%s\\", w->drive ? w->drive : 'C', native);
  const char *const starts[] = {"\\SystemRoot\\", "%SystemRoot%\\", root};

  if (g_str_has_prefix (image, "\\??\\"))
    image += 4;
  for (guint i = 0; i < G_N_ELEMENTS (starts); i++)
    if (g_ascii_strncasecmp (image, starts[i], strlen (starts[i])) == 0)
      return g_strdelimit (g_strdup (image + strlen (starts[i])), "\\", '/');
  return *image == '\\' || *image == '%' || !*image || image[1] == ':'
             ? NULL
             : g_strdelimit (g_strdup (image), "\\", '/');
}

/* Where the service has its file, below Windows' folder; IMAGE_PATH becomes what leads there. Both
 * are the caller's. */
static char *
find_file (H2kRepairContext *context, H2kHive *system, const char *service, const char *file,
           char **image_path)
{
  const H2kWindows *w = context->guest->windows;
  g_autofree char *key = g_strconcat (w->control_set, "\\Services\\", service, NULL);
  g_autofree char *image = h2k_hive_get_string (system, key, "ImagePath");
  g_autofree char *below = image ? below_windows (w, image) : NULL;
  g_autofree char *path = below ? h2k_windows_path (context, below) : NULL;

  if (!path || !h2k_tree_is_file (context->guest->tree, path))
    {
      g_free (below);
      below = g_strconcat ("System32/drivers/", file, NULL);
      g_clear_pointer (&image, g_free);
    }
  /* The boot loader expands nothing and knows no letters. */
  *image_path = g_strconcat (image && *image == '\\' && image[1] != '?' ? "\\SystemRoot\\" : "",
                             below, NULL);
  g_strdelimit (*image_path, "/", '\\');
  return g_steal_pointer (&below);
}

/* What is wrong with the file, for this Windows; else its headers are in PE. */
static char *
read_file (H2kRepairContext *context, const char *path, H2kPe *pe)
{
  H2kWindowsArch arch = context->guest->windows->version.arch;
  g_autoptr (GBytes) data
      = h2k_tree_read_optional (context->guest->tree, path, H2K_DRIVER_FILE_MAX, NULL);
  gsize size = 0;
  const void *bytes = data ? g_bytes_get_data (data, &size) : NULL;

  if (!data)
    return g_strdup ("cannot be read");
  if (!h2k_pe_parse (bytes, size, path, pe, NULL))
    return g_strdup ("is no driver");
  if (!pe->has_arch || pe->arch != arch)
    return g_strdup_printf ("is for %s, the guest for %s",
                            pe->has_arch ? h2k_windows_arch_name (pe->arch) : "another processor",
                            h2k_windows_arch_name (arch));
  if (!pe->is_driver || !pe->is_whole)
    return g_strdup (pe->is_driver ? "is cut off" : "is a program, no driver");
  return NULL;
}

/* --- its package ------------------------------------------------------------------------------ */

/* Earlier (-1), the same, or later (1). */
static int
compare_versions (const guint16 a[4], const guint16 b[4])
{
  for (guint i = 0; i < 4; i++)
    if (a[i] != b[i])
      return a[i] < b[i] ? -1 : 1;
  return 0;
}

static int
compare_packages (const H2kInf *a, const H2kInf *b)
{
  guint x = (a->year * 16 + a->month) * 32 + a->day, y = (b->year * 16 + b->month) * 32 + b->day;

  return x != y ? (x < y ? -1 : 1) : compare_versions (a->version, b->version);
}

static gboolean
installs_service (const H2kInf *inf, const H2kInfInstall *install, const char *name)
{
  const H2kInfService *service = h2k_inf_function_service (install);

  return service && g_ascii_strcasecmp (service->name, name) == 0;
}

/* Whether DriverDatabase leads from INF's devices to OEM's package, as Windows 8 and later need
 * it. */
static gboolean
is_in_database (H2kHive *system, const H2kInf *inf, const char *oem)
{
  g_autofree char *key = g_strconcat (DATABASE "\\DriverInfFiles\\", oem, NULL);
  g_autofree char *active = h2k_hive_get_string (system, key, "Active");
  g_autofree char *package
      = active ? g_strconcat (DATABASE "\\DriverPackages\\", active, NULL) : NULL;

  if (!package || !h2k_hive_has_key (system, package))
    return FALSE;
  for (guint i = 0; i < inf->devices->len; i++)
    {
      const H2kInfDevice *device = inf->devices->pdata[i];
      for (guint k = 0; device->ids[k]; k++)
        {
          g_autofree char *id = g_strconcat (DATABASE "\\DeviceIds\\", device->ids[k], NULL);
          g_autoptr (H2kRegValue) value = h2k_hive_get (system, id, oem);
          if (!value)
            return FALSE;
        }
    }
  return TRUE;
}

/* "oem3.inf" */
static gboolean
is_oem_name (const char *name)
{
  gsize digits = g_ascii_strncasecmp (name, "oem", 3) == 0 ? strspn (name + 3, "0123456789") : 0;

  return digits > 0 && digits < 10 && g_ascii_strcasecmp (name + 3 + digits, ".inf") == 0;
}

/* The INF in Windows' folder INF, if it is of SERVICE and Windows knows it. */
static H2kInf *
read_package (H2kRepairContext *context, H2kHive *system, const char *oem, const char *service)
{
  const H2kWindows *w = context->guest->windows;
  g_autofree char *below = g_strconcat ("INF/", oem, NULL);
  g_autofree char *path = h2k_windows_path (context, below);
  g_autofree char *name = g_ascii_strdown (oem, -1);
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, MAX_INF, NULL);
  gsize size = 0;
  const void *bytes = data ? g_bytes_get_data (data, &size) : NULL;
  g_autoptr (H2kInf) inf = data ? h2k_inf_parse (bytes, size, oem, &w->version, NULL) : NULL;
  gboolean is_its = FALSE;

  for (guint i = 0; inf && i < inf->installs->len; i++)
    is_its |= installs_service (inf, inf->installs->pdata[i], service);
  if (!is_its || (h2k_windows_is_at_least (w, 6, 2) && !is_in_database (system, inf, name)))
    return NULL;
  return g_steal_pointer (&inf);
}

static void
find_package (H2kRepairContext *context, H2kHive *system, const char *service,
              H2kInstalledDriver *installed)
{
  g_autofree char *folder = h2k_windows_path (context, "INF");
  g_autoptr (GPtrArray) names = h2k_tree_list (context->guest->tree, folder);
  guint n = 0;

  for (guint i = 0; i < names->len && n < MAX_INFS; i++)
    {
      const char *name = names->pdata[i];
      H2kInf *inf = is_oem_name (name) ? read_package (context, system, name, service) : NULL;

      n += is_oem_name (name);
      if (inf && installed->inf && compare_packages (inf, installed->inf) <= 0)
        g_clear_pointer (&inf, h2k_inf_free);
      if (!inf)
        continue;
      g_clear_pointer (&installed->inf, h2k_inf_free);
      g_free (installed->oem);
      installed->inf = inf;
      installed->oem = g_ascii_strdown (name, -1);
    }
}

H2kInstalledDriver *
h2k_windows_installed_driver (H2kRepairContext *context, const char *service, const char *file)
{
  H2kHive *system = h2k_windows_hive (context, H2K_HIVE_SYSTEM, NULL);
  g_autofree char *image = NULL;
  g_autofree char *below = system ? find_file (context, system, service, file, &image) : NULL;
  g_autofree char *path = below ? h2k_windows_path (context, below) : NULL;
  H2kInstalledDriver *installed;

  if (!path || !h2k_tree_is_file (context->guest->tree, path))
    return NULL;
  installed = g_new0 (H2kInstalledDriver, 1);
  installed->wrong = read_file (context, path, &installed->pe);
  if (installed->wrong)
    installed->pe = (H2kPe){0};
  else
    find_package (context, system, service, installed);
  installed->path = g_steal_pointer (&path);
  installed->image = g_steal_pointer (&image);
  return installed;
}

/* --- which one -------------------------------------------------------------------------------- */

static char *
version_text (const guint16 version[4])
{
  return g_strdup_printf ("%u.%u.%u.%u", version[0], version[1], version[2], version[3]);
}

static char *
package_text (const H2kInf *inf)
{
  g_autofree char *version = version_text (inf->version);

  return g_strdup_printf ("%s of %04u-%02u-%02u", version, inf->year, inf->month, inf->day);
}

/* Earlier, the same or later: FILE of the guest than the other. Without versions: the same. */
static int
compare_files (const H2kPe *a, const H2kPe *b)
{
  return a->has_version && b->has_version ? compare_versions (a->file_version, b->file_version) : 0;
}

/* What the two are called, in the words of what tells them apart. */
static void
name_versions (const H2kInstalledDriver *installed, const H2kDriver *driver, const H2kPe *pe,
               gboolean by_package, char **have, char **other)
{
  *have = by_package ? package_text (installed->inf) : version_text (installed->pe.file_version);
  *other = by_package ? package_text (driver->inf) : version_text (pe->file_version);
}

gboolean
h2k_windows_keeps_driver (const H2kInstalledDriver *installed, const H2kDriver *driver,
                          const char *file, char **why)
{
  const H2kDriverFile *theirs = installed ? h2k_driver_find_file (driver, file) : NULL;
  g_autoptr (GBytes) data = theirs ? h2k_driver_file_read (theirs, NULL) : NULL;
  gsize size = 0;
  const void *bytes = data ? g_bytes_get_data (data, &size) : NULL;
  g_autofree char *have = NULL, *other = NULL;
  H2kPe pe = {0};
  int files, result;
  gboolean by_package;

  *why = NULL;
  if (!data || !h2k_pe_parse (bytes, size, file, &pe, NULL))
    return FALSE;
  if (installed->wrong)
    {
      *why = g_strdup_printf ("the one that was there %s", installed->wrong);
      return FALSE;
    }
  result = files = compare_files (&installed->pe, &pe);
  if (installed->inf)
    result = compare_packages (installed->inf, driver->inf);
  /* Where they disagree, the file is not that package's, which waits in the driver store, or lent
   * its devices to the file when that was kept by itself. */
  by_package = installed->inf && (files == 0 || result == files);
  if (!by_package)
    result = files;
  name_versions (installed, driver, &pe, by_package, &have, &other);
  if (result < 0)
    *why = g_strdup_printf ("the one that was there is older: %s, and this one is %s", have, other);
  if (result > 0)
    *why = g_strdup_printf ("%s of the guest is %s%s%s%s and stays, since it is newer than %s of "
                            "%s",
                            file, have, by_package ? " (" : "", by_package ? installed->oem : "",
                            by_package ? ")" : "", other, driver->folder);
  return result > 0;
}
