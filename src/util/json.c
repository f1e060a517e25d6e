/* json.c - members of JSON objects that may have been written by anybody.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/json.h"

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
