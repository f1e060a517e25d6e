/* json.c - members of JSON objects that may have been written by anybody.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/json.h"

#include <string.h>

#define MAX_DEPTH 64u

/* --- parsing ---------------------------------------------------------------------------------- */

/* The end of the string that begins at P, behind its last quote, or END. */
static const char *
skip_string (const char *p, const char *end)
{
  for (p++; p < end && *p != '"'; p++)
    if (*p == '\\' && p + 1 < end)
      p++;
  return p < end ? p + 1 : end;
}

/* Whether the parser can be let at it: outside strings there are the characters of JSON only, so
 * that strings begin where they do for the parser, and brackets are not nested deeply. */
static gboolean
is_safe (const char *p, const char *end)
{
  guint depth = 0;

  while (p < end)
    if (*p == '"')
      p = skip_string (p, end);
    else if (!g_ascii_isalnum (*p) && (!*p || !strchr ("{}[],:+-. \t\r\n", *p)))
      return FALSE;
    else
      {
        if ((*p == '{' || *p == '[') && ++depth > MAX_DEPTH)
          return FALSE;
        if ((*p == '}' || *p == ']') && depth > 0)
          depth--;
        p++;
      }
  return TRUE;
}

JsonNode *
h2k_json_parse (const char *text, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonNode *root;

  if (!is_safe (text, text + length))
    {
      g_set_error_literal (error, JSON_PARSER_ERROR, JSON_PARSER_ERROR_INVALID_BAREWORD,
                           "it has characters that are not JSON, or is nested too deeply");
      return NULL;
    }
  if (!json_parser_load_from_data (parser, text, (gssize)length, error))
    return NULL;
  if (!(root = json_parser_steal_root (parser)))
    g_set_error_literal (error, JSON_PARSER_ERROR, JSON_PARSER_ERROR_PARSE, "it is empty");
  return root;
}

/* --- members ---------------------------------------------------------------------------------- */

static JsonNode *
member (JsonObject *object, const char *key)
{
  return object != NULL ? json_object_get_member (object, key) : NULL;
}

static JsonNode *
value (JsonObject *object, const char *key, GType type)
{
  JsonNode *node = member (object, key);

  return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == type
             ? node
             : NULL;
}

const char *
h2k_json_string (JsonObject *object, const char *key)
{
  JsonNode *node = value (object, key, G_TYPE_STRING);

  return node != NULL ? json_node_get_string (node) : NULL;
}

gint64
h2k_json_int (JsonObject *object, const char *key, gint64 otherwise)
{
  JsonNode *node = value (object, key, G_TYPE_INT64);

  return node != NULL ? json_node_get_int (node) : otherwise;
}

gboolean
h2k_json_flag (JsonObject *object, const char *key)
{
  JsonNode *node = value (object, key, G_TYPE_BOOLEAN);

  return node != NULL && json_node_get_boolean (node);
}

JsonObject *
h2k_json_object (JsonObject *object, const char *key)
{
  JsonNode *node = member (object, key);

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

JsonArray *
h2k_json_array (JsonObject *object, const char *key)
{
  JsonNode *node = member (object, key);

  return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

JsonObject *
h2k_json_element (JsonArray *array, guint i)
{
  JsonNode *node = array != NULL && i < json_array_get_length (array)
                       ? json_array_get_element (array, i)
                       : NULL;

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}
