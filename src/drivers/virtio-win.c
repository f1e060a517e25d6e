/* virtio-win.c - opens a source of virtio drivers, and knows how its folders are laid out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/source.h"
#include "virtio-win-json.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CONFIG (1u << 20)
#define LABEL_PREFIX "virtio-win-"

GBytes *
h2k_virtio_win_json (void)
{
  return g_bytes_new_static (virtio_win_json, sizeof virtio_win_json);
}

/* --- layout ----------------------------------------------------------------------------------- */

/* The release's folder of the catalogue that a folder called NAME is; NULL: none. */
static const char *
folder_of_release (const H2kCatalogue *catalogue, const char *name)
{
  for (guint i = 0; i < catalogue->releases->len; i++)
    {
      const H2kCatalogueRelease *release = catalogue->releases->pdata[i];
      for (char **os = release->folders; *os; os++)
        {
          g_autofree char *lower = g_utf8_strdown (*os, -1);
          GStrv others = g_hash_table_lookup (catalogue->folders, lower);
          if (g_ascii_strcasecmp (*os, name) == 0)
            return *os;
          for (char **other = others; other && *other; other++)
            if (g_ascii_strcasecmp (*other, name) == 0)
              return *os;
        }
    }
  return NULL;
}

static gboolean
is_one_of (const GStrv names, const char *name)
{
  for (char **one = names; *one; one++)
    if (g_ascii_strcasecmp (*one, name) == 0)
      return TRUE;
  return FALSE;
}

static const char *
arch_of_folder (const H2kCatalogue *catalogue, const char *name)
{
  for (guint i = 0; i < 3; i++)
    if (is_one_of (catalogue->architectures[i], name))
      return h2k_windows_arch_name (i);
  return NULL;
}

static gboolean
has_inf (const H2kDriverNode *folder, const H2kCatalogueDriver *driver)
{
  for (char **inf = driver->infs; *inf; inf++)
    {
      g_autofree char *lower = g_utf8_strdown (*inf, -1);
      if (folder->by_name && g_hash_table_contains (folder->by_name, lower))
        return TRUE;
    }
  return FALSE;
}

/* FOUND: a release's folder of the catalogue, GHashTable of names of architectures. */
static void
note_found (const H2kCatalogue *catalogue, const char *os_name, const char *arch_name,
            const H2kDriverNode *folder, const H2kCatalogueDriver *driver, GHashTable *found)
{
  const char *os = folder_of_release (catalogue, os_name);
  const char *arch = arch_of_folder (catalogue, arch_name);
  GHashTable *archs;

  if (!os || !arch || !has_inf (folder, driver))
    return;
  archs = g_hash_table_lookup (found, os);
  if (!archs)
    {
      archs = g_hash_table_new (g_str_hash, g_str_equal);
      g_hash_table_insert (found, (char *)os, archs);
    }
  g_hash_table_add (archs, (char *)arch);
}

/* Look at TOP/OS/ARCH (BY_ARCH: TOP is a processor's folder, and its folders are releases'). */
static void
list_below (const H2kCatalogue *catalogue, const H2kDriverNode *top, gboolean by_arch,
            const H2kCatalogueDriver *driver, GHashTable *found)
{
  for (guint i = 0; i < top->children->len; i++)
    {
      const H2kDriverNode *os = top->children->pdata[i];
      if (by_arch)
        note_found (catalogue, os->name, top->name, os, driver, found);
      for (guint j = 0; os->is_folder && !by_arch && j < os->children->len; j++)
        {
          const H2kDriverNode *arch = os->children->pdata[j];
          note_found (catalogue, os->name, arch->name, arch, driver, found);
        }
    }
}

static void
list_driver (H2kDriverSource *source, const H2kCatalogueDriver *driver, GHashTable *found)
{
  const H2kCatalogue *catalogue = source->catalogue;

  for (char **path = catalogue->roots; *path; path++)
    {
      const H2kDriverNode *root = h2k_driver_tree_find (source->tree, NULL, *path);
      for (guint i = 0; root && root->is_folder && i < root->children->len; i++)
        {
          const H2kDriverNode *child = root->children->pdata[i];
          if (!child->is_folder)
            continue;
          if (is_one_of (driver->folders, child->name))
            list_below (catalogue, child, FALSE, driver, found);
          if (arch_of_folder (catalogue, child->name))
            list_below (catalogue, child, TRUE, driver, found);
        }
    }
}

static char *
join_sorted (GHashTable *names)
{
  g_autoptr (GList) keys = g_list_sort (g_hash_table_get_keys (names), (GCompareFunc)strcmp);
  GString *text = g_string_new (NULL);

  for (GList *key = keys; key; key = key->next)
    g_string_append_printf (text, "%s%s", text->len > 0 ? ", " : "", (char *)key->data);
  return g_string_free (text, FALSE);
}

char *
h2k_driver_source_list (H2kDriverSource *source, const H2kCatalogueDriver *driver)
{
  g_autoptr (GHashTable) found
      = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_hash_table_unref);
  g_autoptr (GList) keys = NULL;
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < source->catalogue->drivers->len; i++)
    {
      const H2kCatalogueDriver *one = source->catalogue->drivers->pdata[i];
      if (one == driver || (!driver && one->role == H2K_DRIVER_STORAGE))
        list_driver (source, one, found);
    }
  keys = g_list_sort (g_hash_table_get_keys (found), (GCompareFunc)strcmp);
  for (GList *key = keys; key; key = key->next)
    {
      g_autofree char *archs = join_sorted (g_hash_table_lookup (found, key->data));
      g_autofree char *safe = h2k_escape_text (key->data, -1);
      g_string_append_printf (text, "%s%s (%s)", text->len > 0 ? ", " : "", safe, archs);
    }
  return g_string_free (text, FALSE);
}

/* --- places ----------------------------------------------------------------------------------- */

static void
add_place (H2kDriverSource *source, const char *path, const char *os, guint rank, gboolean shared,
           GPtrArray *places)
{
  const H2kDriverNode *folder = h2k_driver_tree_find (source->tree, NULL, path);
  H2kDriverPlace *place;

  if (!folder || !folder->is_folder)
    return;
  for (guint i = 0; i < places->len; i++)
    if (((H2kDriverPlace *)places->pdata[i])->folder == folder)
      return;
  place = g_new0 (H2kDriverPlace, 1);
  *place = (H2kDriverPlace){os, rank, folder, shared};
  g_ptr_array_add (places, place);
}

/* The folders called OS_NAME, in both layouts. */
static void
add_places (H2kDriverSource *source, const H2kCatalogueDriver *driver, H2kWindowsArch arch,
            const char *os_name, const char *os, guint rank, GPtrArray *places)
{
  const H2kCatalogue *catalogue = source->catalogue;

  for (char **root = catalogue->roots; *root; root++)
    for (char **name = catalogue->architectures[arch]; *name; name++)
      {
        for (char **folder = driver->folders; *folder; folder++)
          {
            g_autofree char *path = g_strjoin ("/", *root, *folder, os_name, *name, NULL);
            add_place (source, path, os, rank, FALSE, places);
          }
        g_autofree char *path = g_strjoin ("/", *root, *name, os_name, NULL);
        add_place (source, path, os, rank, TRUE, places);
      }
}

GPtrArray *
h2k_driver_source_places (H2kDriverSource *source, const H2kCatalogueDriver *driver,
                          const H2kCatalogueRelease *release, H2kWindowsArch arch)
{
  GPtrArray *places = g_ptr_array_new_with_free_func (g_free);

  for (guint rank = 0; release->folders[rank]; rank++)
    {
      const char *os = release->folders[rank];
      g_autofree char *lower = g_utf8_strdown (os, -1);
      GStrv others = g_hash_table_lookup (source->catalogue->folders, lower);

      add_places (source, driver, arch, os, os, rank, places);
      for (char **other = others; other && *other; other++)
        add_places (source, driver, arch, *other, os, rank, places);
    }
  return places;
}

/* --- files ------------------------------------------------------------------------------------ */

H2kDriverFile *
h2k_driver_file_new (H2kDriverSource *source, const char *name, const H2kDriverNode *node)
{
  H2kDriverFile *file = g_new0 (H2kDriverFile, 1);

  file->name = g_strdup (name);
  file->size = node->size;
  file->source = h2k_driver_source_ref (source);
  file->node = (gpointer)node;
  return file;
}

void
h2k_driver_file_free (H2kDriverFile *file)
{
  h2k_driver_source_unref (file->source);
  g_free (file->name);
  g_free (file);
}

GBytes *
h2k_driver_file_read (const H2kDriverFile *file, GError **error)
{
  return h2k_driver_tree_read (file->source->tree, file->node, error);
}

H2kDriverFile *
h2k_driver_source_guest_agent (H2kDriverSource *source, H2kWindowsArch arch)
{
  for (char **path = source->catalogue->guest_agents[arch]; *path; path++)
    {
      const H2kDriverNode *node = h2k_driver_tree_find (source->tree, NULL, *path);
      if (node && !node->is_folder && node->size <= H2K_DRIVER_FILE_MAX)
        return h2k_driver_file_new (source, node->name, node);
    }
  return NULL;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The bytes of the configuration PATH, which is SAFE in messages. */
static GBytes *
read_config_file (const char *path, const char *safe, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  g_autofree char *text = NULL;
  struct stat info;
  int err;

  if (fd < 0 || fstat (fd, &info) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_USAGE, errno, "%s cannot be opened", safe);
      return NULL;
    }
  if (!S_ISREG (info.st_mode) || info.st_size > MAX_CONFIG)
    {
      close (fd);
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s: no file, or more than the 1 MiB that a table of drivers may have", safe);
      return NULL;
    }
  text = g_malloc ((gsize)info.st_size + 1);
  err = info.st_size > 0 ? h2k_pread_full (fd, text, (gsize)info.st_size, 0) : 0;
  close (fd);
  if (err != 0)
    {
      h2k_set_errno (error, H2K_ERROR_USAGE, err, "%s cannot be read", safe);
      return NULL;
    }
  return g_bytes_new_take (g_steal_pointer (&text), (gsize)info.st_size);
}

static H2kCatalogue *
read_config (const char *path, GError **error)
{
  g_autofree char *safe = path ? h2k_escape_text (path, -1) : NULL;
  g_autoptr (GBytes) json = path ? read_config_file (path, safe, error) : h2k_virtio_win_json ();

  return json ? h2k_catalogue_parse (json, path ? path : "virtio-win.json (built in)", error)
              : NULL;
}

/* NAME is "virtio-win-0.1.285" or some such, or a path that ends so. */
static char *
version_of (const char *name)
{
  g_autofree char *base = g_path_get_basename (name);
  const char *version = base + strlen (LABEL_PREFIX);

  if (g_ascii_strncasecmp (base, LABEL_PREFIX, strlen (LABEL_PREFIX)) != 0
      || !g_ascii_isdigit (*version))
    return NULL;
  return g_strndup (version, strspn (version, "0123456789.-"));
}

static gboolean
open_iso (H2kDriverSource *source, const char *path, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_autofree char *safe_label = NULL;
  H2kIso *iso = file ? h2k_iso_open (file, error) : NULL;

  if (!iso)
    return FALSE;
  source->label = g_strdup (h2k_iso_label (iso));
  source->version = version_of (source->label);
  source->path = file->server ? NULL : g_canonicalize_filename (path, NULL);
  safe_label = h2k_escape_text (source->label, -1);
  source->describe = *source->label ? g_strdup_printf ("%s (%s)", safe_label, file->name)
                                    : g_strdup (file->name);
  source->tree = h2k_driver_tree_new_iso (iso, file->name, error);
  return source->tree != NULL;
}

static gboolean
open_folder (H2kDriverSource *source, const char *path, GError **error)
{
  g_autofree char *whole = g_canonicalize_filename (path, NULL);

  source->version = version_of (whole);
  source->describe = g_strdup (source->name);
  source->tree = h2k_driver_tree_new_folder (path, source->name, error);
  return source->tree != NULL;
}

/* The first place of the installed package that is there; NULL and an error: none. */
static const char *
find_installed (const H2kCatalogue *catalogue, GError **error)
{
  g_autofree char *all = g_strjoinv (", ", catalogue->installed);
  g_autofree char *safe = h2k_escape_text (all, -1);

  for (char **path = catalogue->installed; *path; path++)
    if (g_file_test (*path, G_FILE_TEST_EXISTS))
      return *path;
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_SOURCE,
      "no package of virtio drivers for Windows is installed (there is none of %s): install "
      "virtio-win, or name its ISO or a folder with its files (--virtio-win-iso); "
      "with --bus sata or ide Windows needs none",
      safe);
  return NULL;
}

static gboolean
has_drivers (H2kDriverSource *source)
{
  for (guint i = 0; i < source->catalogue->drivers->len; i++)
    {
      g_autofree char *list = h2k_driver_source_list (source, source->catalogue->drivers->pdata[i]);
      if (*list)
        return TRUE;
    }
  return FALSE;
}

H2kDriverSource *
h2k_driver_source_open (const char *path, const char *config, GError **error)
{
  g_autoptr (H2kDriverSource) source = g_new0 (H2kDriverSource, 1);
  gboolean is_folder;

  g_atomic_ref_count_init (&source->ref_count);
  source->catalogue = read_config (config, error);
  if (source->catalogue && !path)
    path = find_installed (source->catalogue, error);
  if (!source->catalogue || !path)
    return NULL;
  source->name = h2k_escape_text (path, -1);
  is_folder = !h2k_file_is_uri (path) && g_file_test (path, G_FILE_TEST_IS_DIR);
  if (!(is_folder ? open_folder : open_iso) (source, path, error))
    return NULL;
  if (!has_drivers (source))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s has no virtio drivers for Windows: folders such as viostor/w10/amd64 or "
                   "amd64/w10 are expected",
                   source->describe);
      return NULL;
    }
  return g_steal_pointer (&source);
}

H2kDriverSource *
h2k_driver_source_ref (H2kDriverSource *source)
{
  g_atomic_ref_count_inc (&source->ref_count);
  return source;
}

void
h2k_driver_source_unref (H2kDriverSource *source)
{
  if (!g_atomic_ref_count_dec (&source->ref_count))
    return;
  g_clear_pointer (&source->catalogue, h2k_catalogue_free);
  g_clear_pointer (&source->tree, h2k_driver_tree_free);
  g_free (source->name);
  g_free (source->describe);
  g_free (source->label);
  g_free (source->version);
  g_free (source->path);
  g_free (source);
}

const char *
h2k_driver_source_describe (H2kDriverSource *source)
{
  return source->describe;
}

const char *
h2k_driver_source_label (H2kDriverSource *source)
{
  return source->label;
}

const char *
h2k_driver_source_version (H2kDriverSource *source)
{
  return source->version;
}

const char *
h2k_driver_source_path (H2kDriverSource *source)
{
  return source->path;
}
