/* inf.c - what an INF file installs on one release of Windows: its Version, Manufacturer and Models
 * sections, after Microsoft's driver documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

static void
device_free (H2kInfDevice *device)
{
  h2k_inf_text_clear (&device->description);
  h2k_inf_text_clear (&device->manufacturer);
  g_strfreev (device->ids);
  g_free (device);
}

void
h2k_inf_free (H2kInf *inf)
{
  g_free (inf->name);
  g_free (inf->class_name);
  g_free (inf->class_guid);
  h2k_inf_text_clear (&inf->provider);
  g_free (inf->catalog);
  g_free (inf->models);
  g_clear_pointer (&inf->devices, g_ptr_array_unref);
  g_clear_pointer (&inf->installs, g_ptr_array_unref);
  g_clear_pointer (&inf->files, g_ptr_array_unref);
  g_clear_pointer (&inf->warnings, g_ptr_array_unref);
  g_free (inf);
}

/* --- [Version] -------------------------------------------------------------------------------- */

/* "{4D36E97B-...}" in upper case, or "". */
static char *
read_guid (InfDoc *doc, const InfLine *line)
{
  g_autofree char *text = h2k_inf_text (doc, line, 0);
  gsize length = strlen (text);
  g_autofree char *bare = NULL;

  if (*text == '\0')
    return g_strdup ("");
  bare = length == 38 && text[0] == '{' && text[37] == '}' ? g_strndup (text + 1, 36) : NULL;
  if (!bare || !g_uuid_string_is_valid (bare))
    {
      g_autofree char *safe = h2k_escape_text (text, -1);
      h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "ClassGuid \"%s\" is no GUID in braces",
                    safe);
    }
  return g_ascii_strup (text, -1);
}

/* "mm/dd/yyyy". */
static gboolean
parse_date (const char *text, guint *year, guint *month, guint *day)
{
  g_auto (GStrv) parts = g_strsplit_set (text, "/-", -1);
  guint64 m, d, y;

  if (g_strv_length (parts) != 3 || !g_ascii_string_to_unsigned (parts[0], 10, 1, 12, &m, NULL)
      || !g_ascii_string_to_unsigned (parts[1], 10, 1, 31, &d, NULL)
      || !g_ascii_string_to_unsigned (parts[2], 10, 1601, 9999, &y, NULL)
      || !g_date_valid_dmy ((GDateDay)d, (GDateMonth)m, (GDateYear)y))
    return FALSE;
  *year = (guint)y;
  *month = (guint)m;
  *day = (guint)d;
  return TRUE;
}

/* "w.x.y.z"; what is not given is 0. */
static gboolean
parse_version (const char *text, guint16 version[4])
{
  g_auto (GStrv) parts = g_strsplit (text, ".", -1);
  guint64 number;

  if (g_strv_length (parts) > 4)
    return FALSE;
  for (guint i = 0; parts[i]; i++)
    {
      g_strstrip (parts[i]);
      if (!g_ascii_string_to_unsigned (parts[i], 10, 0, G_MAXUINT16, &number, NULL))
        return FALSE;
      version[i] = (guint16)number;
    }
  return TRUE;
}

static void
read_driver_ver (InfDoc *doc, const InfLine *line, H2kInf *inf)
{
  g_autofree char *date = h2k_inf_text (doc, line, 0);
  g_autofree char *version = h2k_inf_text (doc, line, 1);

  if (!line)
    return;
  if (!parse_date (date, &inf->year, &inf->month, &inf->day))
    h2k_inf_warn (doc, line->number, "the date of DriverVer is not month/day/year");
  if (*version && !parse_version (version, inf->version))
    {
      memset (inf->version, 0, sizeof inf->version);
      h2k_inf_warn (doc, line->number, "the version of DriverVer is not four numbers of 16 bits");
    }
}

static char *
read_catalog (InfDoc *doc, InfSection *section)
{
  g_autofree char *of_arch
      = g_strconcat ("CatalogFile.", h2k_inf_nt_arch (doc->target->arch), NULL);
  const char *const keys[] = {of_arch, "CatalogFile.NT", "CatalogFile"};

  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    {
      g_autofree char *name = h2k_inf_text (doc, h2k_inf_first (section, keys[i]), 0);
      if (*name)
        return g_steal_pointer (&name);
    }
  return NULL;
}

static void
read_version (InfDoc *doc, H2kInf *inf)
{
  InfSection *section = h2k_inf_section (doc, "Version");
  const InfLine *signature = h2k_inf_first (section, "Signature");
  const InfLine *provider = h2k_inf_first (section, "Provider");
  g_autofree char *text = h2k_inf_text (doc, signature, 0);

  if (g_ascii_strcasecmp (text, "$Windows NT$") != 0 && g_ascii_strcasecmp (text, "$Chicago$") != 0)
    h2k_inf_fail (
        doc, signature ? signature->number : 0, H2K_ERROR_FORMAT,
        "there is no [Version] with the signature \"$Windows NT$\": this is no INF file of "
        "Windows");
  inf->class_name = h2k_inf_text (doc, h2k_inf_first (section, "Class"), 0);
  inf->class_guid = read_guid (doc, h2k_inf_first (section, "ClassGuid"));
  inf->provider = h2k_inf_token (doc, h2k_inf_raw (provider, 0), provider ? provider->number : 0);
  read_driver_ver (doc, h2k_inf_first (section, "DriverVer"), inf);
  inf->catalog = read_catalog (doc, section);
  inf->pnp_lockdown = h2k_inf_number (doc, h2k_inf_first (section, "PnpLockdown"), 0, 0) == 1;
}

/* --- [Manufacturer] and Models ---------------------------------------------------------------- */

/* INSTALLS finds by name what was read before. */
static const H2kInfInstall *
get_install (InfDoc *doc, const char *name, guint number, H2kInf *inf, GHashTable *installs)
{
  g_autofree char *key = g_utf8_strdown (name, -1);
  H2kInfInstall *install = g_hash_table_lookup (installs, key);

  if (install || doc->error)
    return install;
  install = h2k_inf_read_install (doc, name, number);
  if (install)
    {
      g_ptr_array_add (inf->installs, install);
      g_hash_table_insert (installs, g_steal_pointer (&key), install);
    }
  return install;
}

/* Fields 1 and on: the hardware id, which may be empty, and compatible ids. */
static void
read_ids (InfDoc *doc, const InfLine *line, H2kInfDevice *device)
{
  g_autoptr (GPtrArray) ids = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 1; i < line->fields->len && h2k_inf_charge (doc, line->number); i++)
    {
      g_autofree char *id = h2k_inf_text (doc, line, i);
      if (*id == '\0')
        continue;
      device->n_hardware_ids |= i == 1;
      g_ptr_array_add (ids, g_steal_pointer (&id));
    }
  g_ptr_array_add (ids, NULL);
  device->ids = (GStrv)g_ptr_array_free (g_steal_pointer (&ids), FALSE);
}

static void
read_models (InfDoc *doc, const InfLine *maker, const InfSection *models, H2kInf *inf,
             GHashTable *installs)
{
  const char *maker_name = maker->key ? maker->key : h2k_inf_raw (maker, 0);

  for (guint i = 0; i < models->lines->len; i++)
    {
      const InfLine *line = models->lines->pdata[i];
      g_autofree char *install = h2k_inf_text (doc, line, 0);
      H2kInfDevice *device;

      if (!h2k_inf_charge (doc, line->number))
        return;
      if (!line->key || *install == '\0')
        continue;
      device = g_new0 (H2kInfDevice, 1);
      g_ptr_array_add (inf->devices, device);
      device->description = h2k_inf_token (doc, line->key, line->number);
      device->manufacturer = h2k_inf_token (doc, maker_name, maker->number);
      device->install = get_install (doc, install, line->number, inf, installs);
      read_ids (doc, line, device);
    }
}

static void
read_manufacturers (InfDoc *doc, H2kInf *inf)
{
  g_autoptr (GHashTable) installs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  const InfSection *section = h2k_inf_section (doc, "Manufacturer");

  for (guint i = 0; section && i < section->lines->len && !doc->error; i++)
    {
      const InfLine *line = section->lines->pdata[i];
      g_autofree char *name = h2k_inf_text (doc, line, 0);
      const char *decoration = "";
      const InfSection *models = h2k_inf_models (doc, line, name, &decoration);

      if (!models || !h2k_inf_charge (doc, line->number))
        continue;
      read_models (doc, line, models, inf, installs);
      if (!inf->models && inf->devices->len > 0)
        inf->models = g_strdup (decoration);
    }
  if (inf->devices->len == 0)
    {
      g_autofree char *target = h2k_windows_release_to_string (doc->target);
      h2k_inf_fail (doc, 0, H2K_ERROR_UNSUPPORTED, "it has no devices for %s", target);
    }
}

H2kInf *
h2k_inf_parse (const void *data, gsize size, const char *name, const H2kWindowsRelease *target,
               GError **error)
{
  g_autoptr (InfDoc) doc = h2k_inf_doc_new (data, size, name, target);
  g_autoptr (H2kInf) inf = g_new0 (H2kInf, 1);

  inf->name = g_strdup (name);
  inf->devices = g_ptr_array_new_with_free_func ((GDestroyNotify)device_free);
  inf->installs = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_inf_install_free);
  if (!doc->error)
    read_version (doc, inf);
  if (!doc->error)
    read_manufacturers (doc, inf);
  if (!doc->error)
    inf->files = h2k_inf_package_files (doc, inf);
  if (doc->error)
    {
      g_propagate_error (error, g_steal_pointer (&doc->error));
      return NULL;
    }
  inf->warnings = g_ptr_array_ref (doc->warnings);
  return g_steal_pointer (&inf);
}

const H2kInfService *
h2k_inf_function_service (const H2kInfInstall *install)
{
  for (guint i = 0; i < install->services->len; i++)
    {
      const H2kInfService *service = install->services->pdata[i];
      if (service->is_function)
        return service->name ? service : NULL;
    }
  return NULL;
}
