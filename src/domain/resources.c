/* resources.c - what an operating system needs, as libosinfo's database has it.
 *
 * osinfo-db: os/VENDOR/SHORT-ID.xml, <resources arch="..."> with <minimum> and <recommended>, each
 * with <n-cpus> and <ram> in bytes; those of the architecture before those of "all".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/resources.h"

#include <libxml/parser.h>

enum
{
  MAX_ANCESTORS = 8, /* a system may say that it needs what another one needs */
  USUAL_MIB = 2048,  /* where nothing is told */
  USUAL_CPUS = 2,
};

void
h2k_resources_clear (H2kResources *resources)
{
  g_clear_pointer (&resources->source, g_free);
}

void
h2k_sizing_clear (H2kSizing *sizing)
{
  g_clear_pointer (&sizing->why_memory, g_free);
  g_clear_pointer (&sizing->why_vcpus, g_free);
}

/* --- the database ----------------------------------------------------------------------------- */

/* The file about "http://debian.org/debian/12": "debian.org/debian-12.xml". NULL: none. */
static char *
file_of (const char *database, const char *id)
{
  const char *vendor = strstr (id, "://"), *path;
  g_autofree char *host = NULL, *name = NULL;

  if (!vendor || !(path = strchr (vendor + 3, '/')) || strstr (id, ".."))
    return NULL;
  host = g_strndup (vendor + 3, (gsize)(path - vendor - 3));
  name = g_strdelimit (g_strdup (path + 1), "/", '-');
  return g_strdup_printf ("%s/%s/%s.xml", database, host, name);
}

/* What a name in the database's folder has between PREFIX and its extension as a number; -1: it is
 * another one. */
static double
release_of (const char *name, const char *prefix)
{
  gsize length = strlen (prefix), all = strlen (name);
  g_autofree char *text = NULL;
  char *end;
  double release;

  if (!g_str_has_prefix (name, prefix) || !g_str_has_suffix (name, ".xml")
      || !g_ascii_isdigit (name[length]))
    return -1;
  text = g_strndup (name + length, all - length - strlen (".xml"));
  release = g_ascii_strtod (text, &end);
  return *end ? -1 : release;
}

/* The id of the newest release that the database knows before the one of ID: it is older than what
 * it is asked about. NULL: none. The caller's. */
static char *
older_release (const char *database, const char *id)
{
  g_autofree char *file = file_of (database, id), *folder = file ? g_path_get_dirname (file) : NULL;
  const char *slash = strrchr (id, '/');
  g_autofree char *base = file ? g_path_get_basename (file) : NULL, *prefix = NULL;
  double wanted = slash ? g_ascii_strtod (slash + 1, NULL) : 0, best = -1;
  g_autoptr (GDir) dir = folder ? g_dir_open (folder, 0, NULL) : NULL;
  const char *name, *dash = base ? strrchr (base, '-') : NULL;

  if (!dir || !dash || wanted <= 0)
    return NULL;
  prefix = g_strndup (base, (gsize)(dash - base) + 1);
  while ((name = g_dir_read_name (dir)))
    {
      double release = release_of (name, prefix);
      if (release < wanted && release > best)
        best = release;
    }
  return best < 0 ? NULL : g_strdup_printf ("%.*s/%g", (int)(slash - id), id, best);
}

static xmlDoc *
read_xml (const char *path)
{
  return xmlReadFile (path, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static xmlNode *
find_child (xmlNode *node, const char *name)
{
  for (xmlNode *child = node ? node->children : NULL; child; child = child->next)
    if (child->type == XML_ELEMENT_NODE && g_str_equal ((const char *)child->name, name))
      return child;
  return NULL;
}

static gboolean
attribute_is (xmlNode *node, const char *name, const char *value)
{
  xmlChar *text = xmlGetProp (node, (const xmlChar *)name);
  gboolean same = text && g_str_equal ((const char *)text, value);

  xmlFree (text);
  return same;
}

/* The number in the child NAME of NODE, in units of UNIT. VALUE stays when there is none. */
static void
get_number (xmlNode *node, const char *name, guint64 unit, guint *value)
{
  xmlNode *child = find_child (node, name);
  xmlChar *text = child ? xmlNodeGetContent (child) : NULL;
  guint64 number = text ? g_ascii_strtoull ((const char *)text, NULL, 10) / unit : 0;

  if (number > 0 && number <= G_MAXUINT)
    *value = (guint)number;
  xmlFree (text);
}

static void
take_resources (xmlNode *node, H2kResources *resources)
{
  xmlNode *minimum = find_child (node, "minimum"), *recommended = find_child (node, "recommended");

  get_number (minimum, "ram", 1 << 20, &resources->minimum_mib);
  get_number (minimum, "n-cpus", 1, &resources->minimum_cpus);
  get_number (recommended, "ram", 1 << 20, &resources->recommended_mib);
  get_number (recommended, "n-cpus", 1, &resources->recommended_cpus);
}

/* Take what OS has for ARCH. PARENT gets the id of the system that it refers to. */
static void
take_os (xmlNode *os, const char *arch, H2kResources *resources, char **parent)
{
  const char *wanted[] = {"all", arch};

  for (gsize i = 0; i < G_N_ELEMENTS (wanted); i++)
    for (xmlNode *node = os->children; node; node = node->next)
      {
        if (node->type != XML_ELEMENT_NODE || !g_str_equal ((const char *)node->name, "resources")
            || !attribute_is (node, "arch", wanted[i]))
          continue;
        take_resources (node, resources);
        if (attribute_is (node, "inherit", "true") && !*parent)
          {
            xmlNode *other = find_child (os, "derives-from");
            xmlChar *id = other ? xmlGetProp (other, (const xmlChar *)"id") : NULL;
            *parent = g_strdup ((const char *)id);
            xmlFree (id);
          }
      }
}

static gboolean
is_told (const H2kResources *resources)
{
  return resources->minimum_mib || resources->recommended_mib;
}

gboolean
h2k_resources_of_os (const char *database, const char *osinfo_id, const char *arch,
                     H2kResources *resources)
{
  g_autofree char *id = g_strdup (osinfo_id);

  *resources = (H2kResources){0};
  database = database ? database : "/usr/share/osinfo/os";
  for (guint i = 0; id && i < MAX_ANCESTORS && !is_told (resources); i++)
    {
      g_autofree char *path = file_of (database, id);
      xmlDoc *doc = path ? read_xml (path) : NULL;
      xmlNode *os = doc ? find_child (xmlDocGetRootElement (doc), "os") : NULL;
      char *parent = NULL;
      if (!doc)
        parent = older_release (database, id);
      if (os)
        take_os (os, g_str_equal (arch, "i386") ? "i686" : arch, resources, &parent);
      if (is_told (resources))
        resources->source = g_strdup_printf ("libosinfo, of %s", strstr (id, "://") + 3);
      xmlFreeDoc (doc);
      g_free (id);
      id = parent;
    }
  return is_told (resources);
}

/* --- the choice ------------------------------------------------------------------------------- */

static void
choose_memory (const H2kResources *resources, guint64 host_mib, H2kSizing *sizing)
{
  guint minimum = resources->minimum_mib;
  guint wanted = resources->recommended_mib ? resources->recommended_mib : MAX (minimum, USUAL_MIB);
  guint64 half = host_mib / 2;
  g_autoptr (GString) why = g_string_new (NULL);

  wanted = MAX (wanted, minimum);
  if (resources->recommended_mib)
    g_string_append_printf (why, "%u MiB are recommended", resources->recommended_mib);
  else
    g_string_append_printf (why, "%u MiB are usual", wanted);
  if (minimum)
    g_string_append_printf (why, ", %u MiB the least", minimum);
  if (resources->source)
    g_string_append_printf (why, " (%s)", resources->source);
  sizing->memory_mib = wanted;
  if (host_mib && wanted > half)
    {
      sizing->memory_mib = MAX ((guint)half, MAX (minimum, 1));
      g_string_append_printf (why, "; half of this host's %" G_GUINT64_FORMAT " MiB is %s",
                              host_mib, half < minimum ? "less than that" : "the most it gets");
    }
  sizing->why_memory = g_string_free (g_steal_pointer (&why), FALSE);
}

static void
choose_vcpus (const H2kResources *resources, guint host_cpus, guint max_vcpus, H2kSizing *sizing)
{
  guint wanted = resources->recommended_cpus ? resources->recommended_cpus
                                             : MAX (resources->minimum_cpus, USUAL_CPUS);
  const char *why = resources->recommended_cpus ? "as recommended" : "as usual";

  if (host_cpus && wanted > host_cpus)
    {
      wanted = host_cpus;
      why = "as many as this host has";
    }
  if (max_vcpus && wanted > max_vcpus)
    {
      wanted = max_vcpus;
      why = "as many as the guest can use";
    }
  sizing->vcpus = wanted;
  sizing->why_vcpus = g_strdup (why);
}

void
h2k_sizing_choose (const H2kResources *resources, guint64 host_mib, guint host_cpus,
                   guint max_vcpus, H2kSizing *sizing)
{
  *sizing = (H2kSizing){0};
  choose_memory (resources, host_mib, sizing);
  choose_vcpus (resources, host_cpus, max_vcpus, sizing);
}
