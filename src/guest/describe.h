/* describe.h - members of JSON objects, for the inspection. Texts of the guest are made safe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/windows.h"

#include <json-glib/json-glib.h>

/* A member whose value is guest text; NULL becomes null. */
void h2k_json_text (JsonBuilder *json, const char *key, const char *text);
void h2k_json_number (JsonBuilder *json, const char *key, guint64 value);
void h2k_json_bool (JsonBuilder *json, const char *key, gboolean value);
/* An array of texts (char *). */
void h2k_json_texts (JsonBuilder *json, const char *key, GPtrArray *texts);
/* An array of objects, whose members MEMBERS adds. */
void h2k_json_objects (JsonBuilder *json, const char *key, GPtrArray *items,
                       void (*members) (JsonBuilder *json, gconstpointer item));

/* The member "windows". */
void h2k_windows_to_json (const H2kWindows *windows, JsonBuilder *json);
/* For people: a name and its text in turn, char *; the caller's. */
GPtrArray *h2k_windows_to_lines (const H2kWindows *windows);
