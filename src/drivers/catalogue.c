/* catalogue.c - reads virtio-win.json. Strict: a member that is not known is more often a slip of
 * the pen than of no matter.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/catalogue.h"

#include <json-glib/json-glib.h>

/* What is read now, and the first error. */
typedef struct
{
  const char *file; /* escaped */
  GError *error;
} Reader;

static void fail (Reader *reader, const char *place, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
fail (Reader *reader, const char *place, const char *format, ...)
{
  g_autofree char *what = NULL, *safe = h2k_escape_text (place, -1);
  va_list args;

  if (reader->error)
    return;
  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (&reader->error, H2K_ERROR, H2K_ERROR_USAGE, "%s: %s: %s", reader->file, safe, what);
}

static char *
place_of (const char *parent, const char *member)
{
  return *parent ? g_strdup_printf ("%s.%s", parent, member) : g_strdup (member);
}

static char *
place_at (const char *parent, guint i)
{
  return g_strdup_printf ("%s[%u]", parent, i);
}

/* --- values ----------------------------------------------------------------------------------- */

/* NODE as an object with no members but those of KNOWN. NULL: an error. */
static JsonObject *
get_object (Reader *reader, JsonNode *node, const char *place, const char *const *known)
{
  JsonObject *object = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  g_autoptr (GList) members = object ? json_object_get_members (object) : NULL;

  if (!object)
    fail (reader, *place ? place : "the file", "an object { } is expected");
  for (GList *member = members; member && known; member = member->next)
    if (!g_strv_contains (known, member->data))
      {
        g_autofree char *at = place_of (place, member->data);
        g_autofree char *names = g_strjoinv (", ", (char **)known);
        fail (reader, at, "it is not known; there are %s", names);
      }
  return reader->error ? NULL : object;
}

/* The member NAME of OBJECT as an array; NULL: an error. */
static JsonArray *
get_array (Reader *reader, JsonObject *object, const char *name, const char *place)
{
  g_autofree char *at = place_of (place, name);
  JsonNode *node = json_object_get_member (object, name);

  if (node && JSON_NODE_HOLDS_ARRAY (node))
    return json_node_get_array (node);
  fail (reader, at, node ? "an array [ ] is expected" : "it is missing; an array [ ] is expected");
  return NULL;
}

static gboolean
is_text (JsonNode *node)
{
  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING;
}

static const char *
get_text (Reader *reader, JsonObject *object, const char *name, const char *place)
{
  g_autofree char *at = place_of (place, name);
  JsonNode *node = json_object_get_member (object, name);

  if (is_text (node) && *json_node_get_string (node))
    return json_node_get_string (node);
  fail (reader, at, node ? "a text is expected" : "it is missing; a text is expected");
  return "";
}

static gboolean
get_boolean (Reader *reader, JsonObject *object, const char *name, const char *place)
{
  g_autofree char *at = place_of (place, name);
  JsonNode *node = json_object_get_member (object, name);

  if (!node)
    return FALSE;
  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN)
    fail (reader, at, "true or false is expected");
  return !reader->error && json_node_get_boolean (node);
}

/* The texts of ARRAY (NULL: none); never NULL. What is used as a path stays inside the source. */
static GStrv
get_texts (Reader *reader, JsonArray *array, const char *place, gboolean paths)
{
  guint n = array ? json_array_get_length (array) : 0;
  GStrv texts = g_new0 (char *, n + 1);

  for (guint i = 0; i < n; i++)
    {
      JsonNode *node = json_array_get_element (array, i);
      g_autofree char *at = place_at (place, i);
      g_auto (GStrv) parts = NULL;

      texts[i] = g_strdup (is_text (node) ? json_node_get_string (node) : "");
      if (!is_text (node))
        fail (reader, at, "a text is expected");
      parts = g_strsplit (texts[i], "/", -1);
      if (paths && (g_strv_contains ((const char *const *)parts, "..") || texts[i][0] == '/'))
        fail (reader, at, "it leaves the source");
    }
  return texts;
}

/* The same of OBJECT's member NAME, which has to be there and, if FULL, not to be empty. */
static GStrv
get_list (Reader *reader, JsonObject *object, const char *name, const char *place, gboolean full)
{
  g_autofree char *at = place_of (place, name);
  JsonArray *array = get_array (reader, object, name, place);

  if (array && full && json_array_get_length (array) == 0)
    fail (reader, at, "it is empty");
  return get_texts (reader, array, at, TRUE);
}

/* "10.0" */
static void
get_version (Reader *reader, JsonObject *object, const char *name, const char *place, guint *major,
             guint *minor)
{
  g_autofree char *at = place_of (place, name);
  const char *text = get_text (reader, object, name, place);
  g_auto (GStrv) parts = g_strsplit (text, ".", -1);
  guint64 high = 0, low = 0;

  if (g_strv_length (parts) != 2 || !g_ascii_string_to_unsigned (parts[0], 10, 0, 1000, &high, NULL)
      || !g_ascii_string_to_unsigned (parts[1], 10, 0, 1000, &low, NULL))
    fail (reader, at, "a version such as \"10.0\" is expected");
  *major = (guint)high;
  *minor = (guint)low;
}

/* The place of TEXT in NAMES, which ends with NULL. */
static guint
get_choice (Reader *reader, JsonObject *object, const char *name, const char *place,
            const char *const *names)
{
  g_autofree char *at = place_of (place, name);
  const char *text = get_text (reader, object, name, place);
  g_autofree char *choices = g_strjoinv ("\", \"", (char **)names);

  for (guint i = 0; names[i]; i++)
    if (strcmp (names[i], text) == 0)
      return i;
  fail (reader, at, "one of \"%s\" is expected", choices);
  return 0;
}

/* --- sections --------------------------------------------------------------------------------- */

static void
read_by_arch (Reader *reader, JsonObject *top, const char *name, gboolean required, GStrv lists[3])
{
  static const char *const known[] = {"x86", "amd64", "arm64", NULL};
  JsonNode *node = json_object_get_member (top, name);
  JsonObject *object = get_object (reader, node, name, known);

  for (guint i = 0; i < 3; i++)
    {
      gboolean has = object && json_object_has_member (object, known[i]);
      lists[i] = object && (has || required) ? get_list (reader, object, known[i], name, required)
                                             : g_new0 (char *, 1);
    }
}

static void
read_folders (Reader *reader, JsonObject *top, H2kCatalogue *catalogue)
{
  JsonObject *object
      = get_object (reader, json_object_get_member (top, "folders"), "folders", NULL);
  g_autoptr (GList) members = object ? json_object_get_members (object) : NULL;

  for (GList *member = members; member; member = member->next)
    g_hash_table_replace (catalogue->folders, g_utf8_strdown (member->data, -1),
                          get_list (reader, object, member->data, "folders", FALSE));
}

static void
release_free (H2kCatalogueRelease *release)
{
  g_free (release->name);
  g_strfreev (release->folders);
  g_free (release);
}

/* "builds": [first, last] */
static void
read_builds (Reader *reader, JsonObject *object, const char *place, H2kCatalogueRelease *release)
{
  g_autofree char *at = place_of (place, "builds");
  JsonArray *array;
  guint64 builds[2] = {0};

  release->last_build = G_MAXUINT32;
  if (!json_object_has_member (object, "builds"))
    return;
  array = get_array (reader, object, "builds", place);
  for (guint i = 0; array && i < 2 && json_array_get_length (array) == 2; i++)
    {
      JsonNode *node = json_array_get_element (array, i);
      gint64 build = JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_INT64
                         ? json_node_get_int (node)
                         : -1;
      builds[i] = build >= 0 && build <= G_MAXUINT32 ? (guint64)build : G_MAXUINT64;
    }
  release->first_build = builds[0];
  release->last_build = builds[1];
  if (builds[1] == 0 || builds[1] == G_MAXUINT64 || builds[0] > builds[1])
    fail (reader, at, "two numbers are expected, the first and the last build");
}

static void
read_release (Reader *reader, JsonNode *node, const char *place, GPtrArray *releases)
{
  static const char *const known[] = {"name", "version", "kind", "builds", "folders", NULL};
  static const char *const kinds[] = {"client", "server", NULL};
  JsonObject *object = get_object (reader, node, place, known);
  H2kCatalogueRelease *release;

  if (!object)
    return;
  release = g_new0 (H2kCatalogueRelease, 1);
  g_ptr_array_add (releases, release);
  release->name = g_strdup (get_text (reader, object, "name", place));
  get_version (reader, object, "version", place, &release->major, &release->minor);
  release->server = get_choice (reader, object, "kind", place, kinds) == 1;
  read_builds (reader, object, place, release);
  release->folders = get_list (reader, object, "folders", place, TRUE);
}

static void
device_free (H2kCatalogueDevice *device)
{
  g_free (device->id);
  g_free (device);
}

static void
read_device (Reader *reader, JsonNode *node, const char *place, GPtrArray *devices)
{
  static const char *const known[] = {"id", "since", "optional", NULL};
  JsonObject *object = get_object (reader, node, place, known);
  H2kCatalogueDevice *device;

  if (!object)
    return;
  device = g_new0 (H2kCatalogueDevice, 1);
  g_ptr_array_add (devices, device);
  device->id = g_strdup (get_text (reader, object, "id", place));
  if (json_object_has_member (object, "since"))
    get_version (reader, object, "since", place, &device->major, &device->minor);
  device->optional = get_boolean (reader, object, "optional", place);
}

static void
driver_free (H2kCatalogueDriver *driver)
{
  g_free (driver->name);
  g_strfreev (driver->folders);
  g_strfreev (driver->infs);
  g_free (driver->class_guid);
  g_strfreev (driver->services);
  g_ptr_array_unref (driver->devices);
  g_free (driver);
}

typedef void (*ReadElement) (Reader *reader, JsonNode *node, const char *place, GPtrArray *list);

static void
read_elements (Reader *reader, JsonObject *object, const char *name, const char *place,
               ReadElement read, GPtrArray *list)
{
  g_autofree char *at = place_of (place, name);
  JsonArray *array = get_array (reader, object, name, place);
  guint n = array ? json_array_get_length (array) : 0;

  for (guint i = 0; i < n && !reader->error; i++)
    {
      g_autofree char *element = place_at (at, i);
      read (reader, json_array_get_element (array, i), element, list);
    }
}

static void
read_driver (Reader *reader, JsonNode *node, const char *place, GPtrArray *drivers)
{
  static const char *const known[]
      = {"name", "folders", "infs", "role", "boot", "class", "services", "devices", NULL};
  static const char *const roles[] = {"storage", "network", "other", NULL};
  JsonObject *object = get_object (reader, node, place, known);
  H2kCatalogueDriver *driver;

  if (!object)
    return;
  driver = g_new0 (H2kCatalogueDriver, 1);
  g_ptr_array_add (drivers, driver);
  driver->devices = g_ptr_array_new_with_free_func ((GDestroyNotify)device_free);
  driver->name = g_strdup (get_text (reader, object, "name", place));
  driver->folders = get_list (reader, object, "folders", place, TRUE);
  driver->infs = get_list (reader, object, "infs", place, TRUE);
  driver->role = get_choice (reader, object, "role", place, roles);
  driver->boot = get_boolean (reader, object, "boot", place);
  if (json_object_has_member (object, "class"))
    driver->class_guid = g_strdup (get_text (reader, object, "class", place));
  driver->services = get_list (reader, object, "services", place, FALSE);
  read_elements (reader, object, "devices", place, read_device, driver->devices);
}

/* --- the file --------------------------------------------------------------------------------- */

static void
read_top (Reader *reader, JsonNode *node, H2kCatalogue *catalogue)
{
  static const char *const known[]
      = {"about",   "format",   "installed", "roots",       "architectures",
         "folders", "releases", "drivers",   "guest-agent", NULL};
  JsonObject *top = get_object (reader, node, "", known);
  JsonNode *format = top ? json_object_get_member (top, "format") : NULL;
  JsonArray *installed = top ? get_array (reader, top, "installed", "") : NULL;

  if (!top || !installed)
    return;
  if (!format || !JSON_NODE_HOLDS_VALUE (format) || json_node_get_int (format) != 1)
    fail (reader, "format", "1 is expected: the file is for another version of hyper2kvm");
  catalogue->installed = get_texts (reader, installed, "installed", FALSE);
  catalogue->roots = get_list (reader, top, "roots", "", TRUE);
  read_by_arch (reader, top, "architectures", TRUE, catalogue->architectures);
  read_folders (reader, top, catalogue);
  read_elements (reader, top, "releases", "", read_release, catalogue->releases);
  read_elements (reader, top, "drivers", "", read_driver, catalogue->drivers);
  read_by_arch (reader, top, "guest-agent", FALSE, catalogue->guest_agents);
}

H2kCatalogue *
h2k_catalogue_parse (GBytes *json, const char *name, GError **error)
{
  g_autoptr (H2kCatalogue) catalogue = g_new0 (H2kCatalogue, 1);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) syntax = NULL;
  gsize size;
  const char *text = g_bytes_get_data (json, &size);
  Reader reader = {0};

  catalogue->name = h2k_escape_text (name, -1);
  catalogue->folders
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_strfreev);
  catalogue->releases = g_ptr_array_new_with_free_func ((GDestroyNotify)release_free);
  catalogue->drivers = g_ptr_array_new_with_free_func ((GDestroyNotify)driver_free);
  reader.file = catalogue->name;
  if (!g_utf8_validate (text, (gssize)size, NULL)
      || !json_parser_load_from_data (parser, text, (gssize)size, &syntax))
    {
      const char *what = syntax ? syntax->message : "it is not a text in UTF-8";
      g_autofree char *safe
          = h2k_escape_text (g_str_has_prefix (what, "<data>:") ? what + 7 : what, -1);
      fail (&reader, "this is no JSON", "%s", safe);
    }
  else
    read_top (&reader, json_parser_get_root (parser), catalogue);
  if (reader.error)
    {
      g_propagate_error (error, reader.error);
      return NULL;
    }
  return g_steal_pointer (&catalogue);
}

void
h2k_catalogue_free (H2kCatalogue *catalogue)
{
  g_free (catalogue->name);
  g_strfreev (catalogue->installed);
  g_strfreev (catalogue->roots);
  g_hash_table_unref (catalogue->folders);
  g_ptr_array_unref (catalogue->releases);
  g_ptr_array_unref (catalogue->drivers);
  for (guint i = 0; i < 3; i++)
    {
      g_strfreev (catalogue->architectures[i]);
      g_strfreev (catalogue->guest_agents[i]);
    }
  g_free (catalogue);
}

const H2kCatalogueRelease *
h2k_catalogue_find (const H2kCatalogue *catalogue, const H2kWindowsRelease *release)
{
  for (guint i = 0; i < catalogue->releases->len; i++)
    {
      const H2kCatalogueRelease *known = catalogue->releases->pdata[i];
      if (known->major == release->major && known->minor == release->minor
          && known->server == (release->product != H2K_WINDOWS_CLIENT)
          && release->build >= known->first_build && release->build <= known->last_build)
        return known;
    }
  return NULL;
}
