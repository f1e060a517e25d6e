/* database.c - writes a driver package into DriverDatabase and the driver store.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/database.h"

#define DATABASE "DriverDatabase"
#define WHY "Windows finds the drivers of its devices there"
#define WHY_DEVICE "the device leads to its driver before Plug and Play has run"
#define MAX_OEM 4096u
#define FILETIME_EPOCH (G_GINT64_CONSTANT (11644473600)) /* seconds from 1601 to 1970 */
#define NOCLOBBER 0x20000u /* of a value's type there: what the device has already stays */
#define SIGNER "Microsoft Windows Hardware Compatibility Publisher"

/* What the functions below share. */
typedef struct
{
  H2kRepairContext *context;
  const H2kDriver *driver;
  const char *package; /* key below DriverPackages */
  const char *oem;
} Package;

char *
h2k_windows_package_name (const H2kDriver *driver, const H2kWindowsRelease *release, GBytes *inf)
{
  g_autofree char *digest = g_compute_checksum_for_bytes (G_CHECKSUM_SHA256, inf);
  g_autofree char *name = g_ascii_strdown (driver->inf_name, -1);

  return g_strdup_printf ("%s_%s_%.16s", name, h2k_windows_arch_name (release->arch), digest);
}

/* --- oemN.inf --------------------------------------------------------------------------------- */

static gboolean
is_used (H2kRepairContext *context, H2kHive *system, guint number)
{
  g_autofree char *name = g_strdup_printf ("oem%u.inf", number);
  g_autofree char *key = g_strconcat (DATABASE "\\DriverInfFiles\\", name, NULL);
  g_autofree char *file = g_strconcat ("INF/", name, NULL);
  g_autofree char *path = h2k_windows_path (context, file);

  return h2k_hive_has_key (system, key) || h2k_tree_exists (context->guest->tree, path);
}

/* The bits of OemInfMap, the first one the highest of its byte. */
static GByteArray *
read_map (H2kHive *system)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (system, DATABASE, "OemInfMap");
  GByteArray *map = g_byte_array_new ();
  gsize size = 0;
  const guint8 *data = value ? g_bytes_get_data (value->data, &size) : NULL;

  g_byte_array_append (map, data, (guint)MIN (size, MAX_OEM / 8));
  return map;
}

static gboolean
choose_oem (H2kRepairContext *context, H2kHive *system, char **oem, GError **error)
{
  g_autoptr (GByteArray) map = read_map (system);
  guint number = 0;

  while (number < MAX_OEM
         && ((number / 8 < map->len && map->data[number / 8] & (0x80 >> number % 8))
             || is_used (context, system, number)))
    number++;
  if (number == MAX_OEM)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_REPAIR,
                           "Windows has no number left for another driver package (oemN.inf): "
                           "remove those that no device uses");
      return FALSE;
    }
  while (map->len <= number / 8)
    g_byte_array_append (map, (const guint8 *)"", 1);
  map->data[number / 8] |= (guint8)(0x80 >> number % 8);
  *oem = g_strdup_printf ("oem%u.inf", number);
  return h2k_windows_set (context, H2K_HIVE_SYSTEM, DATABASE,
                          h2k_reg_binary ("OemInfMap", map->data, map->len),
                          "the number of the new driver package is taken", error);
}

/* --- values ----------------------------------------------------------------------------------- */

static gboolean
set (const Package *p, const char *key, H2kRegValue *value, GError **error)
{
  g_autofree char *whole = g_strconcat (DATABASE, *key ? "\\" : "", key, NULL);

  return h2k_windows_set (p->context, H2K_HIVE_SYSTEM, whole, value, WHY, error);
}

static gboolean
set_below (const Package *p, const char *key, H2kRegValue *value, GError **error)
{
  g_autofree char *whole
      = g_strconcat ("DriverPackages\\", p->package, *key ? "\\" : "", key, NULL);

  return set (p, whole, value, error);
}

static gboolean
add_key_below (const Package *p, const char *key, GError **error)
{
  g_autofree char *whole = g_strconcat (DATABASE "\\DriverPackages\\", p->package, "\\", key, NULL);

  return h2k_windows_add_key (p->context, H2K_HIVE_SYSTEM, whole, WHY, error);
}

static guint64
filetime_of_day (guint year, guint month, guint day)
{
  g_autoptr (GDateTime) date
      = year ? g_date_time_new_utc ((int)year, (int)month, (int)day, 0, 0, 0) : NULL;

  return date ? (guint64)(g_date_time_to_unix (date) + FILETIME_EPOCH) * 10000000 : 0;
}

static void
put (guint8 *at, guint64 value, guint length)
{
  for (guint i = 0; i < length; i++)
    at[i] = (guint8)(value >> (8 * i));
}

/* "00 ff ARCHITECTURE 00", class GUID, date and version of the driver. */
static H2kRegValue *
version_value (const Package *p, const H2kWindowsRelease *release)
{
  static const guint8 arches[]
      = {[H2K_WINDOWS_X86] = 0, [H2K_WINDOWS_AMD64] = 9, [H2K_WINDOWS_ARM64] = 12};
  static const guint8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  const H2kInf *inf = p->driver->inf;
  guint8 b[48] = {0x00, 0xff, arches[release->arch]};
  guint n = 0;

  for (const char *t = inf->class_guid; *t && n < 16; t++)
    if (g_ascii_isxdigit (*t) && g_ascii_isxdigit (t[1]))
      {
        b[8 + order[n++]]
            = (guint8)(g_ascii_xdigit_value (t[0]) << 4 | g_ascii_xdigit_value (t[1]));
        t++;
      }
  put (b + 24, filetime_of_day (inf->year, inf->month, inf->day), 8);
  for (guint i = 0; i < 4; i++)
    put (b + 32 + 2 * i, inf->version[3 - i], 2);
  return h2k_reg_binary ("Version", b, sizeof b);
}

static H2kRegValue *
time_value (const char *name)
{
  guint64 now = (guint64)g_get_real_time () * 10 + (guint64)FILETIME_EPOCH * 10000000;
  guint8 b[8];

  put (b, now, sizeof b);
  return h2k_reg_binary (name, b, sizeof b);
}

static gboolean
add_head (const Package *p, guint64 inf_size, GError **error)
{
  const H2kWindowsRelease *release = &p->context->guest->windows->version;
  const H2kInf *inf = p->driver->inf;
  g_autofree char *name = g_ascii_strdown (p->driver->inf_name, -1);
  g_autofree char *temp = h2k_windows_path (p->context, "Temp");
  g_autofree char *from = g_strdup_printf ("%c:%s", p->context->guest->windows->drive, temp);

  return set_below (p, "", h2k_reg_string ("", H2K_REG_SZ, p->oem), error)
         && set_below (p, "", version_value (p, release), error)
         && set_below (p, "", h2k_reg_string ("Provider", H2K_REG_SZ, inf->provider.text), error)
         && set_below (p, "", h2k_reg_string ("InfName", H2K_REG_SZ, name), error)
         && (!inf->catalog
             || set_below (p, "", h2k_reg_string ("Catalog", H2K_REG_SZ, inf->catalog), error))
         && set_below (p, "",
                       h2k_reg_string ("OemPath", H2K_REG_SZ, g_strdelimit (from, "/", '\\')),
                       error)
         && set_below (p, "", h2k_reg_string ("SignerName", H2K_REG_SZ, SIGNER), error)
         && set_below (p, "", h2k_reg_dword ("SignerScore", 0x0d000005), error)
         && set_below (p, "", h2k_reg_dword ("StatusFlags", 0x12), error)
         && set_below (p, "", h2k_reg_qword ("FileSize", inf_size), error)
         && set_below (p, "", time_value ("ImportDate"), error)
         && set (p, "", time_value ("UpdateDate"), error);
}

/* --- configurations --------------------------------------------------------------------------- */

/* What the INF adds to the registry below KEY of the package. */
static gboolean
add_reg (const Package *p, const char *key, GPtrArray *lines, GError **error)
{
  for (guint i = 0; i < lines->len; i++)
    {
      const H2kInfReg *line = lines->pdata[i];
      g_autofree char *below
          = *line->key ? g_strconcat (key, "\\", line->key, NULL) : g_strdup (key);
      gsize size = 0;
      const void *data = line->data ? g_bytes_get_data (line->data, &size) : NULL;

      if (line->root != H2K_INF_HKR)
        continue;
      if (line->action == H2K_INF_REG_KEY ? !add_key_below (p, below, error)
          : line->action == H2K_INF_REG_SET
              ? !set_below (p, below,
                            h2k_reg_new (line->name, line->type | (line->keep ? NOCLOBBER : 0),
                                         data, size),
                            error)
              : FALSE)
        return FALSE;
    }
  return TRUE;
}

static gboolean
add_configuration (const Package *p, const H2kInfInstall *install, GError **error)
{
  const H2kInfService *service = h2k_inf_function_service (install);
  g_autofree char *key = g_strconcat ("Configurations\\", install->decorated, NULL);
  g_autofree char *device = g_strconcat (key, "\\Device", NULL);
  g_autofree char *driver = g_strconcat (key, "\\Driver", NULL);

  if (!set_below (p, key, h2k_reg_dword ("ConfigFlags", 0), error)
      || !set_below (p, key, h2k_reg_dword ("ConfigScope", 7), error)
      || !add_reg (p, device, install->hw_reg, error) || !add_reg (p, driver, install->reg, error))
    return FALSE;
  if (!service)
    return TRUE;
  g_autofree char *services = g_strconcat (key, "\\Services\\", service->name, NULL);
  return set_below (p, key, h2k_reg_string ("Service", H2K_REG_SZ, service->name), error)
         && add_reg (p, services, service->reg, error);
}

/* A text as it is kept there: the name of a string, whose text is in Strings. */
static H2kRegValue *
token_value (const Package *p, const char *name, const H2kInfText *text, GError **error)
{
  g_autofree char *token = text->token ? g_ascii_strdown (text->token, -1) : NULL;
  g_autofree char *bare = NULL;
  gsize length = token ? strlen (token) : 0;

  if (length < 3 || token[0] != '%' || token[length - 1] != '%')
    return h2k_reg_string (name, H2K_REG_SZ, text->text);
  bare = g_strndup (token + 1, length - 2);
  if (!set_below (p, "Strings", h2k_reg_string (bare, H2K_REG_SZ, text->text), error))
    return NULL;
  return h2k_reg_string (name, H2K_REG_SZ, token);
}

static gboolean
add_descriptor (const Package *p, const H2kInfDevice *device, const char *id, GError **error)
{
  g_autofree char *key = g_strconcat ("Descriptors\\", id, NULL);
  H2kRegValue *value;

  if (!set_below (p, key, h2k_reg_string ("Configuration", H2K_REG_SZ, device->install->decorated),
                  error))
    return FALSE;
  value = token_value (p, "Description", &device->description, error);
  if (!value || !set_below (p, key, value, error))
    return FALSE;
  value = token_value (p, "Manufacturer", &device->manufacturer, error);
  return value && set_below (p, key, value, error);
}

/* How well an id fits: the first one of a line is the hardware id, and so on. */
static gboolean
add_device (const Package *p, const H2kInfDevice *device, GError **error)
{
  for (guint i = 0; i < 255 && device->ids[i]; i++)
    {
      g_autofree char *key = g_strconcat ("DeviceIds\\", device->ids[i], NULL);
      guint8 rank[] = {(guint8)(i + 1), 0xff, 0, 0};

      if (!set (p, key, h2k_reg_binary (p->oem, rank, sizeof rank), error)
          || !add_descriptor (p, device, device->ids[i], error))
        return FALSE;
    }
  return TRUE;
}

/* --- files ------------------------------------------------------------------------------------ */

static gboolean
copy_files (const Package *p, GError **error)
{
  for (guint i = 0; i < p->driver->files->len; i++)
    {
      const H2kDriverFile *file = p->driver->files->pdata[i];
      g_autofree char *name
          = g_strconcat ("System32/DriverStore/FileRepository/", p->package, "/", file->name, NULL);
      g_autofree char *path = h2k_windows_path (p->context, name);
      g_autofree char *size = h2k_format_size (file->size);
      g_autoptr (GBytes) data = h2k_driver_file_read (file, error);

      if (!data
          || !h2k_repair_copy (p->context, path, data, 0644, size,
                               "it belongs to the driver package", error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
copy_inf (const Package *p, GBytes *inf, GError **error)
{
  g_autofree char *name = g_strconcat ("INF/", p->oem, NULL);
  g_autofree char *path = h2k_windows_path (p->context, name);

  return h2k_repair_copy (p->context, path, inf, 0644, p->driver->inf_name,
                          "Windows looks for driver packages there", error);
}

/* --- all -------------------------------------------------------------------------------------- */

static gboolean
add_inf_file (const Package *p, GError **error)
{
  const H2kInf *inf = p->driver->inf;
  g_autofree char *key = g_strconcat ("DriverInfFiles\\", p->oem, NULL);
  g_autofree char *guid = g_ascii_strdown (inf->class_guid, -1);
  g_autofree char *class_key = g_strconcat ("DeviceIds\\", guid, NULL);
  const char *packages[] = {p->package, NULL};
  g_autoptr (GPtrArray) sections = g_ptr_array_new ();

  for (guint i = 0; i < inf->installs->len; i++)
    g_ptr_array_add (sections, ((H2kInfInstall *)inf->installs->pdata[i])->decorated);
  g_ptr_array_add (sections, NULL);
  return set (p, key, h2k_reg_strings ("", packages), error)
         && set (p, key, h2k_reg_string ("Active", H2K_REG_SZ, p->package), error)
         && set (p, key, h2k_reg_strings ("Configurations", (const char *const *)sections->pdata),
                 error)
         && set (p, class_key, h2k_reg_none (p->oem), error);
}

/* "oem3.inf", and nothing that would lead out of the folder INF. */
static gboolean
is_oem_name (const char *name)
{
  gsize digits = g_str_has_prefix (name, "oem") ? strspn (name + 3, "0123456789") : 0;

  return digits > 0 && digits < 10 && strcmp (name + 3 + digits, ".inf") == 0;
}

gboolean
h2k_windows_add_package (H2kRepairContext *context, const H2kDriver *driver, const char *package,
                         GBytes *inf, char **oem, GError **error)
{
  H2kHive *system = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autofree char *key = g_strconcat (DATABASE "\\DriverPackages\\", package, NULL);
  Package p = {.context = context, .driver = driver, .package = package};

  if (!system)
    return FALSE;
  *oem = h2k_hive_get_string (system, key, "");
  p.oem = *oem;
  if (*oem && is_oem_name (*oem))
    return copy_files (&p, error) && copy_inf (&p, inf, error);
  g_clear_pointer (oem, g_free);
  if (!choose_oem (context, system, oem, error))
    return FALSE;
  p.oem = *oem;
  if (!add_head (&p, g_bytes_get_size (inf), error) || !add_inf_file (&p, error))
    return FALSE;
  for (guint i = 0; i < driver->inf->installs->len; i++)
    if (!add_configuration (&p, driver->inf->installs->pdata[i], error))
      return FALSE;
  for (guint i = 0; i < driver->inf->devices->len; i++)
    if (!add_device (&p, driver->inf->devices->pdata[i], error))
      return FALSE;
  return copy_files (&p, error) && copy_inf (&p, inf, error);
}

/* --- before Windows 8 ------------------------------------------------------------------------- */

gboolean
h2k_windows_add_critical (H2kRepairContext *context, const char *control_set, const char *id,
                          const char *service, const char *class_guid, GError **error)
{
  g_autofree char *name = g_ascii_strdown (id, -1);
  g_autofree char *key = g_strconcat (control_set, "\\Control\\CriticalDeviceDatabase\\",
                                      g_strdelimit (name, "\\", '#'), NULL);

  return h2k_windows_set (context, H2K_HIVE_SYSTEM, key,
                          h2k_reg_string ("Service", H2K_REG_SZ, service), WHY_DEVICE, error)
         && h2k_windows_set (context, H2K_HIVE_SYSTEM, key,
                             h2k_reg_string ("ClassGUID", H2K_REG_SZ, class_guid), WHY_DEVICE,
                             error);
}
