/* find.c - which drivers of a source serve a guest: the folders that the catalogue names, each
 * tried against what its INF and its driver say of themselves.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/pe.h"
#include "drivers/source.h"

/* What is being looked for. NOTES may be NULL. */
typedef struct
{
  H2kDriverSource *source;
  const H2kCatalogueRelease *known;
  const H2kWindowsRelease *release;
  const H2kCatalogueDriver *driver;
  GPtrArray *notes;
} Search;

/* Tell people. The text is escaped here. */
static void note (const Search *search, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
note (const Search *search, const char *format, ...)
{
  g_autofree char *text = NULL, *safe = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  safe = h2k_escape_text (text, -1);
  if (search->notes)
    g_ptr_array_add (search->notes, g_strdup_printf ("%s: %s", search->driver->name, safe));
}

void
h2k_driver_free (H2kDriver *driver)
{
  g_free (driver->name);
  g_free (driver->folder);
  g_free (driver->os);
  g_free (driver->fallback);
  g_free (driver->inf_name);
  g_clear_pointer (&driver->inf, h2k_inf_free);
  g_ptr_array_unref (driver->files);
  g_free (driver);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDriver, h2k_driver_free)

const H2kDriverFile *
h2k_driver_find_file (const H2kDriver *driver, const char *name)
{
  g_autofree char *wanted = g_utf8_strdown (name, -1);

  for (guint i = 0; i < driver->files->len; i++)
    {
      const H2kDriverFile *file = driver->files->pdata[i];
      g_autofree char *lower = g_utf8_strdown (file->name, -1);
      if (strcmp (lower, wanted) == 0)
        return file;
    }
  return NULL;
}

static gboolean
has_suffix (const char *name, const char *suffix)
{
  gsize length = strlen (name), n = strlen (suffix);

  return length >= n && g_ascii_strcasecmp (name + length - n, suffix) == 0;
}

/* --- a candidate ------------------------------------------------------------------------------ */

/* Whether NODE is a driver for the guest's processor. */
static gboolean
check_image (const Search *search, const H2kDriverNode *node, GError **error)
{
  g_autoptr (GBytes) bytes = h2k_driver_tree_read (search->source->tree, node, error);
  gsize size = 0;
  const void *data = bytes ? g_bytes_get_data (bytes, &size) : NULL;
  g_autofree char *safe = h2k_escape_text (node->path, -1);
  H2kPe pe;

  if (!bytes || !h2k_pe_parse (data, size, node->path, &pe, error))
    return FALSE;
  if (!pe.has_arch || pe.arch != search->release->arch)
    {
      g_autofree char *other = g_strdup_printf ("machine 0x%04x", pe.machine);
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s is for %s, the guest for %s", safe,
                   pe.has_arch ? h2k_windows_arch_name (pe.arch) : other,
                   h2k_windows_arch_name (search->release->arch));
      return FALSE;
    }
  if (!pe.is_driver || !pe.is_whole)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s is %s", safe,
                 pe.is_driver ? "cut off" : "a program, not a driver");
  return pe.is_driver && pe.is_whole;
}

/* Whether FOLDER has the files that are copied: drivers have to be there and fit; what else is
 * missing is noted. */
static gboolean
check_files (const Search *search, const H2kDriverNode *folder, const GPtrArray *files,
             GHashTable *checked, GError **error)
{
  for (guint i = 0; i < files->len; i++)
    {
      const H2kInfFile *file = files->pdata[i];
      g_autofree char *path = g_strjoin ("/", file->source_dir, file->source, NULL);
      const H2kDriverNode *node = h2k_driver_tree_find (search->source->tree, folder, path);
      g_autofree char *safe = h2k_escape_text (file->source, -1);
      gboolean is_driver = has_suffix (file->source, ".sys");

      if (!g_hash_table_add (checked, g_utf8_strdown (path, -1)))
        continue;
      if (!node && is_driver)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s, which its INF copies, is missing",
                       safe);
          return FALSE;
        }
      if (!node)
        note (search, "%s, which its INF copies, is missing in %s: Windows may not install it",
              safe, folder->path);
      else if (is_driver && !check_image (search, node, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
check_package (const Search *search, const H2kDriverNode *folder, const H2kInf *inf, GError **error)
{
  g_autoptr (GHashTable) checked = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < inf->installs->len; i++)
    {
      const H2kInfInstall *install = inf->installs->pdata[i];
      if (search->driver->boot && !h2k_inf_function_service (install))
        {
          g_autofree char *safe = h2k_escape_text (install->decorated, -1);
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "[%s] of its INF installs no driver service", safe);
          return FALSE;
        }
      if (!check_files (search, folder, install->files, checked, error)
          || !check_files (search, folder, install->co_files, checked, error))
        return FALSE;
    }
  return TRUE;
}

static void
add_file (const Search *search, const H2kDriverNode *folder, const H2kDriverNode *node,
          GHashTable *added, GPtrArray *files)
{
  const char *name;

  if (!node || node->is_folder || !g_hash_table_add (added, (gpointer)node))
    return;
  name = *folder->path ? node->path + strlen (folder->path) + 1 : node->path;
  if (node->size <= H2K_DRIVER_FILE_MAX)
    g_ptr_array_add (files, h2k_driver_file_new (search->source, name, node));
  else
    note (search, "%s is larger than a driver's file may be and is left out", node->name);
}

/* The INF, what it names, and, in a folder of the driver's own, what else lies there. */
static GPtrArray *
list_files (const Search *search, const H2kDriverPlace *place, const H2kDriverNode *inf_node,
            const H2kInf *inf)
{
  GPtrArray *files = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_driver_file_free);
  g_autoptr (GHashTable) added = g_hash_table_new (NULL, NULL);

  add_file (search, place->folder, inf_node, added, files);
  for (guint i = 0; i < inf->files->len; i++)
    add_file (search, place->folder,
              h2k_driver_tree_find (search->source->tree, place->folder, inf->files->pdata[i]),
              added, files);
  for (guint i = 0; !place->shared && i < place->folder->children->len; i++)
    {
      const H2kDriverNode *node = place->folder->children->pdata[i];
      if (!has_suffix (node->name, ".pdb") && !has_suffix (node->name, ".inf"))
        add_file (search, place->folder, node, added, files);
    }
  return files;
}

/* What INF_NODE of PLACE is for the guest; NULL and an error: nothing. */
static H2kDriver *
try_place (const Search *search, const H2kDriverPlace *place, const H2kDriverNode *inf_node,
           GError **error)
{
  g_autoptr (H2kInf) inf = NULL;
  g_autoptr (GBytes) bytes = h2k_driver_tree_read (search->source->tree, inf_node, error);
  gsize size = 0;
  const void *data = bytes ? g_bytes_get_data (bytes, &size) : NULL;
  H2kDriver *driver;

  if (!bytes)
    return NULL;
  inf = h2k_inf_parse (data, size, inf_node->path, search->release, error);
  if (!inf || !check_package (search, place->folder, inf, error))
    return NULL;
  driver = g_new0 (H2kDriver, 1);
  driver->name = g_strdup (search->driver->name);
  driver->role = search->driver->role;
  driver->boot = search->driver->boot;
  driver->folder = g_strdup (place->folder->path);
  driver->os = g_strdup (place->os);
  driver->inf_name = g_strdup (inf_node->name);
  driver->files = list_files (search, place, inf_node, inf);
  driver->inf = g_steal_pointer (&inf);
  return driver;
}

/* --- facts ------------------------------------------------------------------------------------ */

static gboolean
has_device (const H2kInf *inf, const char *prefix)
{
  for (guint i = 0; i < inf->devices->len; i++)
    {
      const H2kInfDevice *device = inf->devices->pdata[i];
      for (char **id = device->ids; *id; id++)
        if (g_ascii_strncasecmp (*id, prefix, strlen (prefix)) == 0)
          return TRUE;
    }
  return FALSE;
}

static void
compare_devices (const Search *search, const H2kInf *inf)
{
  const GPtrArray *facts = search->driver->devices;

  for (guint i = 0; i < facts->len; i++)
    {
      const H2kCatalogueDevice *fact = facts->pdata[i];
      const H2kWindowsRelease *release = search->release;
      gboolean expected = release->major > fact->major
                          || (release->major == fact->major && release->minor >= fact->minor);
      if (expected && !fact->optional && !has_device (inf, fact->id))
        note (search, "%s has no device %s, which it should have; the INF counts", inf->name,
              fact->id);
    }
}

static void
compare_service (const Search *search, const H2kInf *inf, const H2kInfInstall *install)
{
  const H2kInfService *service = h2k_inf_function_service (install);
  const char *name = service ? service->name : NULL;
  gboolean known = !name && !search->driver->services[0];

  for (char **fact = search->driver->services; name && *fact; fact++)
    known |= g_ascii_strcasecmp (*fact, name) == 0;
  if (!known)
    {
      g_autofree char *facts = g_strjoinv (", ", search->driver->services);
      note (search, "the service of %s is %s, where %s is expected; the INF counts", inf->name,
            name ? name : "none", *facts ? facts : "none");
    }
  if (service && search->driver->boot && service->start != 0)
    note (search, "%s does not start %s at boot (StartType %u), but the guest needs it then",
          inf->name, service->name, service->start);
}

static void
compare_facts (const Search *search, const H2kInf *inf)
{
  if (search->driver->class_guid
      && g_ascii_strcasecmp (search->driver->class_guid, inf->class_guid) != 0)
    note (search, "the class of %s is %s, where %s is expected; the INF counts", inf->name,
          inf->class_guid, search->driver->class_guid);
  for (guint i = 0; i < inf->installs->len; i++)
    compare_service (search, inf, inf->installs->pdata[i]);
  compare_devices (search, inf);
  for (guint i = 0; i < inf->warnings->len; i++)
    note (search, "%s", (const char *)inf->warnings->pdata[i]);
}

/* --- the search ------------------------------------------------------------------------------- */

/* The first folder whose INF called INF_NAME serves. REASONS gets why others do not. NULL: none. */
static H2kDriver *
find_driver (const Search *search, const char *inf_name, GString *reasons)
{
  g_autoptr (GPtrArray) places = h2k_driver_source_places (search->source, search->driver,
                                                           search->known, search->release->arch);
  g_autofree char *rejected = NULL;

  for (guint i = 0; i < places->len; i++)
    {
      const H2kDriverPlace *place = places->pdata[i];
      const H2kDriverNode *node
          = h2k_driver_tree_find (search->source->tree, place->folder, inf_name);
      g_autoptr (GError) error = NULL;
      H2kDriver *driver;

      if (!node || node->is_folder)
        continue;
      driver = try_place (search, place, node, &error);
      if (driver)
        {
          if (rejected)
            driver->fallback = g_steal_pointer (&rejected);
          else if (place->rank > 0)
            driver->fallback = g_strdup_printf ("there is none for %s", search->known->folders[0]);
          if (driver->fallback && place->rank > 0)
            note (search, "%s is taken for %s: %s", driver->folder, search->known->name,
                  driver->fallback);
          return driver;
        }
      note (search, "%s is passed over: %s", place->folder->path, error->message);
      g_string_append_printf (reasons, "%s%s", reasons->len > 0 ? "; " : "", error->message);
      if (!rejected)
        {
          g_autofree char *why
              = g_strdup_printf ("%s does not fit: %s", place->folder->path, error->message);
          rejected = h2k_escape_text (why, -1);
        }
    }
  return NULL;
}

static void
set_nothing_fits (const Search *search, const GString *reasons, GError **error)
{
  g_autofree char *release = h2k_windows_release_to_string (search->release);
  g_autofree char *list = h2k_driver_source_list (search->source, NULL);

  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s has no storage driver for %s%s%s%s%s%s; it has them for %s: take a release of "
               "virtio-win that serves this guest",
               search->source->describe, search->known ? search->known->name : release,
               search->known ? " (" : "", search->known ? release : "", search->known ? ")" : "",
               reasons->len > 0 ? ": " : "", reasons->str, *list ? list : "nothing");
}

GPtrArray *
h2k_driver_source_find (H2kDriverSource *source, const H2kWindowsRelease *release, GPtrArray *notes,
                        GError **error)
{
  g_autoptr (GPtrArray) drivers = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_driver_free);
  g_autoptr (GString) reasons = g_string_new (NULL);
  Search search = {source, h2k_catalogue_find (source->catalogue, release), release, NULL, notes};
  gboolean has_storage = FALSE;

  for (guint i = 0; search.known && i < source->catalogue->drivers->len; i++)
    {
      g_autoptr (GString) others = g_string_new (NULL);
      gboolean found = FALSE;

      search.driver = source->catalogue->drivers->pdata[i];
      for (char **inf = search.driver->infs; *inf; inf++)
        {
          gboolean boot = search.driver->boot && search.driver->role == H2K_DRIVER_STORAGE;
          H2kDriver *driver = find_driver (&search, *inf, boot ? reasons : others);
          if (!driver)
            continue;
          compare_facts (&search, driver->inf);
          g_ptr_array_add (drivers, driver);
          has_storage |= boot;
          found = TRUE;
        }
      if (!found && search.driver->role == H2K_DRIVER_NETWORK)
        note (&search, "the source has none for %s: the guest gets no such driver",
              search.known->name);
    }
  if (!has_storage)
    {
      set_nothing_fits (&search, reasons, error);
      return NULL;
    }
  return g_steal_pointer (&drivers);
}
