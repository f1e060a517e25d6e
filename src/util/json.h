/* json.h - members of JSON objects that may have been written by anybody.
 *
 * Each function gives what is asked for when the member is there and of that type. OBJECT may be
 * NULL: nothing is in it. What is returned belongs to OBJECT. Thread-safety: as of OBJECT.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <json-glib/json-glib.h>

/* The document in the LENGTH bytes of TEXT, which anybody may have written; NULL: it is none, or
 * nested deeper than 64 times: json-glib's parser recurses. What that takes beyond RFC 8259, as
 * comments, is refused. The caller's. Errors: JSON_PARSER_ERROR. */
JsonNode *h2k_json_parse (const char *text, gsize length, GError **error);

/* NULL: there is none. */
const char *h2k_json_string (JsonObject *object, const char *key);
JsonObject *h2k_json_object (JsonObject *object, const char *key);
JsonArray *h2k_json_array (JsonObject *object, const char *key);
/* OTHERWISE: there is none. */
gint64 h2k_json_int (JsonObject *object, const char *key, gint64 otherwise);
/* FALSE, too, when there is none. */
gboolean h2k_json_flag (JsonObject *object, const char *key);
/* The object that is element I (from 0) of ARRAY, which may be NULL. */
JsonObject *h2k_json_element (JsonArray *array, guint i);
