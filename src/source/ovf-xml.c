/* ovf-xml.c - see ovf-xml.h. The parser is libxml2's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/ovf-xml.h"

#include <libxml/parser.h>

/* libxml2 compares every attribute of a tag with every other one, and looks names of namespaces up
 * one by one: within these bounds hostile files do not keep it busy for minutes. */
#define MAX_ATTRIBUTES 256
#define MAX_NAMESPACES 4096

static const struct
{
  const char *start;
  const char *end; /* up to a slash */
  H2kOvfNs ns;
} namespaces[] = {
    {"http://schemas.dmtf.org/ovf/envelope/", "", H2K_OVF_NS_OVF},
    {"http://www.vmware.com/schema/ovf/1/envelope", "", H2K_OVF_NS_OVF},
    {"http://schemas.dmtf.org/", "SettingData", H2K_OVF_NS_SETTINGS},
    {"http://schemas.dmtf.org/", "SettingData.xsd", H2K_OVF_NS_SETTINGS},
    {"http://www.vmware.com/schema/ovf", "", H2K_OVF_NS_VMWARE},
    {"http://www.virtualbox.org/", "", H2K_OVF_NS_VIRTUALBOX},
    {"http://www.innotek.de/VirtualBox-settings", "", H2K_OVF_NS_VIRTUALBOX},
};

H2kOvfNs
h2k_ovf_ns (const xmlNs *ns)
{
  const char *uri = ns ? (const char *)ns->href : NULL;
  g_autofree char *copy = NULL;

  if (!uri || *uri == '\0')
    return H2K_OVF_NS_OVF;
  copy = g_strdup (uri);
  if (g_str_has_suffix (copy, "/"))
    copy[strlen (copy) - 1] = '\0';
  for (gsize i = 0; i < G_N_ELEMENTS (namespaces); i++)
    if (g_str_has_prefix (uri, namespaces[i].start) && g_str_has_suffix (copy, namespaces[i].end))
      return namespaces[i].ns;
  return H2K_OVF_NS_OTHER;
}

static char *
take_text (xmlChar *text)
{
  char *copy = g_strdup ((const char *)text);

  xmlFree (text);
  return copy ? g_strstrip (copy) : NULL;
}

char *
h2k_ovf_text (const xmlNode *node)
{
  g_autofree char *text = node ? take_text (xmlNodeGetContent (node)) : NULL;

  return text && *text ? g_steal_pointer (&text) : NULL;
}

char *
h2k_ovf_attr_ns (const xmlNode *node, H2kOvfNs ns, const char *key)
{
  for (const xmlAttr *attr = node ? node->properties : NULL; attr; attr = attr->next)
    if (strcmp ((const char *)attr->name, key) == 0 && h2k_ovf_ns (attr->ns) == ns)
      return take_text (xmlNodeGetContent ((const xmlNode *)attr));
  return NULL;
}

char *
h2k_ovf_attr (const xmlNode *node, const char *key)
{
  return h2k_ovf_attr_ns (node, H2K_OVF_NS_OVF, key);
}

/* Whether the xsi:type of NODE, "PREFIX:KIND_Type", says KIND. */
static gboolean
has_type (const xmlNode *node, const char *kind)
{
  g_autofree char *type = NULL, *expected = g_strconcat (kind, "_Type", NULL);
  const char *local;

  for (const xmlAttr *attr = node->properties; attr && !type; attr = attr->next)
    if (strcmp ((const char *)attr->name, "type") == 0 && attr->ns
        && h2k_ovf_ns (attr->ns) == H2K_OVF_NS_OTHER)
      type = take_text (xmlNodeGetContent ((const xmlNode *)attr));
  local = type ? strrchr (type, ':') : NULL;
  return type && strcmp (local ? local + 1 : type, expected) == 0;
}

gboolean
h2k_ovf_is (const xmlNode *node, const char *kind)
{
  const char *name = (const char *)node->name;

  if (node->type != XML_ELEMENT_NODE || h2k_ovf_ns (node->ns) != H2K_OVF_NS_OVF)
    return FALSE;
  if (strcmp (name, "Section") == 0 || strcmp (name, "Content") == 0)
    return has_type (node, kind);
  return strcmp (name, kind) == 0;
}

static xmlNode *
first_of (xmlNode *node, const char *kind)
{
  while (node && !h2k_ovf_is (node, kind))
    node = node->next;
  return node;
}

xmlNode *
h2k_ovf_child (const xmlNode *node, const char *kind)
{
  return first_of (node ? node->children : NULL, kind);
}

xmlNode *
h2k_ovf_next (const xmlNode *node, const char *kind)
{
  return first_of (node->next, kind);
}

/* The start of a DTD: nothing that it could declare is wanted, least of all entities. */
static void
refuse_dtd (void *context, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
  xmlParserCtxt *parser = context;

  *(gboolean *)parser->_private = TRUE;
  xmlStopParser (parser);
}

static void
set_xml_error (xmlParserCtxt *parser, const char *name, GError **error)
{
  const xmlError *problem = xmlCtxtGetLastError (parser);
  g_autofree char *message
      = h2k_escape_text (problem && problem->message ? problem->message : "not XML", -1);

  g_strchomp (message);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: line %d of the OVF is not well-formed: %s: it is truncated or was edited "
               "wrongly",
               name, problem ? problem->line : 1, message);
}

/* What TEXT, at a '<', skips over up to its END; NULL: it is a tag. */
static const char *
skip_markup (const char *text)
{
  static const struct
  {
    const char *start, *end;
  } markup[] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};

  for (gsize i = 0; i < G_N_ELEMENTS (markup); i++)
    if (g_str_has_prefix (text, markup[i].start))
      {
        const char *end = strstr (text, markup[i].end);
        return end ? end : text + strlen (text);
      }
  return NULL;
}

/* Past the tag that starts at TEXT; counts its ATTRIBUTES and, in total, the NAMESPACES. */
static const char *
scan_tag (const char *text, guint *attributes, guint *namespace_count)
{
  *attributes = 0;
  while (*text && *text != '>')
    {
      gsize n = strcspn (text, "=\"'>");
      if (g_strstr_len (text, (gssize)n, "xmlns"))
        ++*namespace_count;
      text += n;
      if (*text == '=')
        ++*attributes;
      if (*text == '"' || *text == '\'')
        text = strchr (text + 1, *text);
      if (!text || !*text)
        return "";
      if (*text != '>')
        text++;
    }
  return text;
}

static gboolean
check_tags (const char *text, const char *name, GError **error)
{
  guint attributes, namespace_count = 0;

  while ((text = strchr (text, '<')))
    {
      const char *end = skip_markup (text);
      text = end ? end : scan_tag (text, &attributes, &namespace_count);
      if (!end && (attributes > MAX_ATTRIBUTES || namespace_count > MAX_NAMESPACES))
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "%s: has more than %d attributes in one tag or %d namespaces: it is not an "
                       "OVF or was made to keep readers busy",
                       name, MAX_ATTRIBUTES, MAX_NAMESPACES);
          return FALSE;
        }
    }
  return TRUE;
}

xmlDoc *
h2k_ovf_load (const char *text, const char *name, GError **error)
{
  xmlParserCtxt *parser;
  gboolean has_dtd = FALSE;
  xmlDoc *doc;

  if (!check_tags (text, name, error))
    return NULL;
  parser = xmlNewParserCtxt ();
  if (!parser)
    g_error ("out of memory for an XML parser");
  parser->_private = &has_dtd;
  parser->sax->internalSubset = refuse_dtd;
  doc = xmlCtxtReadMemory (parser, text, (int)strlen (text), NULL, NULL,
                           XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING
                               | XML_PARSE_NOCDATA);
  if (has_dtd)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: has a document type declaration, which no OVF needs and which could make the "
                 "reader load or expand anything; remove it",
                 name);
  else if (!doc)
    set_xml_error (parser, name, error);
  if (has_dtd)
    g_clear_pointer (&doc, xmlFreeDoc);
  xmlFreeParserCtxt (parser);
  return doc;
}
