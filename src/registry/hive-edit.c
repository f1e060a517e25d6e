/* hive-edit.c - edits of a hive, made by hivex in memory and noted for the check of the result.
 *
 * What hivex would do wrong is refused before it is tried: it writes every value of a key anew when
 * one changes, so none of these may be one that it cannot write.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"

#include <errno.h>

/* Windows' limits, in characters and bytes. */
#define MAX_KEY_NAME 255
#define MAX_VALUE_NAME 16383
#define MAX_DATA 1000000u /* hivex's */

static gboolean G_GNUC_PRINTF (4, 5)
    fail (const H2kHive *hive, const char *key, GError **error, const char *format, ...)
{
  g_autofree char *path = h2k_escape_text (hive->path, -1);
  g_autofree char *escaped = h2k_escape_text (key, -1);
  g_autofree char *reason = NULL;
  va_list args;

  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "%s: key \"%s\" cannot be changed: %s", path,
               escaped, reason);
  return FALSE;
}

/* hivex failed in the middle of something. */
static gboolean
break_off (H2kHive *hive, const char *key, GError **error)
{
  const char *reason = g_strerror (errno);

  g_free (hive->broken);
  hive->broken = g_strdup_printf ("an earlier edit failed: %s", reason);
  return fail (hive, key, error, "hivex: %s", reason);
}

/* Make sure that HIVE can be edited at all; KEY is for the message. */
static gboolean
begin (H2kHive *hive, const char *key, GError **error)
{
  if (!hive->writable)
    return fail (hive, key, error, "the hive is open for reading only");
  if (hive->broken)
    return fail (hive, key, error, "%s", hive->broken);
  if (hive->info.is_differencing)
    return fail (hive, key, error, "the hive holds the changes of another one only");
  if (hive->damage->n > hive->damage->n_values)
    return fail (hive, key, error, "the hive is damaged: %s; let Windows repair it first",
                 (const char *)hive->damage->texts->pdata[0]);
  if (hive->hivex_writes || h2k_hive_open_hivex (hive, TRUE, NULL))
    return TRUE;
  hive->broken = g_strdup_printf ("hivex cannot open it for writing: %s", g_strerror (errno));
  return fail (hive, key, error, "%s", hive->broken);
}

static H2kRegfEdit *
edit_of (H2kHive *hive, hive_node_h node)
{
  gpointer offset = GUINT_TO_POINTER (H2K_HIVEX_OFFSET (node));
  H2kRegfEdit *edit = g_hash_table_lookup (hive->edits, offset);

  if (!edit)
    {
      edit = h2k_regf_edit_new ();
      g_hash_table_insert (hive->edits, offset, edit);
    }
  return edit;
}

/* Whether a key or value can have NAME of at most MAX characters. */
static gboolean
is_name (const char *name, glong max)
{
  glong length = 0;
  g_autofree gunichar2 *units = g_utf8_to_utf16 (name, -1, NULL, &length, NULL);

  return units && length <= max;
}

/* --- keys ------------------------------------------------------------------------------------- */

static hive_node_h
make_child (H2kHive *hive, hive_node_h parent, const char *name, const char *key, GError **error)
{
  hive_node_h node;

  if (!*name || !is_name (name, MAX_KEY_NAME))
    {
      fail (hive, key, error, "a key cannot have such a name");
      return 0;
    }
  node = hivex_node_add_child (hive->hivex, parent, name);
  if (!node)
    {
      break_off (hive, key, error);
      return 0;
    }
  g_hash_table_insert (edit_of (hive, parent)->keys, h2k_reg_fold (name), GINT_TO_POINTER (TRUE));
  edit_of (hive, node)->is_new = TRUE;
  return node;
}

/* The key named KEY, which is made when it is missing; 0: error. */
static hive_node_h
make_key (H2kHive *hive, const char *key, GError **error)
{
  g_auto (GStrv) names = g_strsplit (key, "\\", -1);
  hive_node_h node = hivex_root (hive->hivex);

  if (g_strv_length (names) >= H2K_REGF_DEPTH / 2)
    {
      fail (hive, key, error, "it lies too deep");
      return 0;
    }
  for (guint i = 0; names[i] && node; i++)
    {
      hive_node_h child = h2k_hive_find_child (hive, node, names[i]);

      node = child ? child : make_child (hive, node, names[i], key, error);
    }
  return node;
}

gboolean
h2k_hive_add_key (H2kHive *hive, const char *key, GError **error)
{
  return h2k_hive_has_key (hive, key)
         || (begin (hive, key, error) && make_key (hive, key, error) != 0);
}

/* --- values ----------------------------------------------------------------------------------- */

static void
clear_values (hive_set_value *values, gsize n)
{
  for (gsize i = 0; i < n; i++)
    {
      g_free (values[i].key);
      g_free (values[i].value);
    }
  g_free (values);
}

static gboolean
is_too_long (const H2kHive *hive, gsize length)
{
  return length > MAX_DATA || (length > H2K_REGF_BIG && hive->info.minor > 3);
}

static gboolean
is_damaged (const H2kHive *hive, hive_value_h place)
{
  return h2k_damage_has (hive->damage, H2K_HIVEX_OFFSET (place), H2K_DAMAGED_VALUE);
}

/* The value at PLACE as hivex sets it. FALSE: it would not become what it was. */
static gboolean
take_value (H2kHive *hive, hive_value_h place, hive_set_value *value)
{
  if (is_damaged (hive, place))
    return FALSE;
  value->key = hivex_value_key (hive->hivex, place);
  value->value = hivex_value_value (hive->hivex, place, &value->t, &value->len);
  return value->key && value->value
         && strlen (value->key) == hivex_value_key_len (hive->hivex, place)
         && !is_too_long (hive, value->len);
}

/* All values of NODE but the one named WITHOUT, with room for one more; *FOUND says where that one
 * was, or has the number of all. NULL: error. */
static hive_set_value *
take_values (H2kHive *hive, hive_node_h node, const char *without, gsize *n, gsize *found)
{
  g_autofree hive_value_h *places = hivex_node_values (hive->hivex, node);
  hive_set_value *values;
  gsize count = 0;

  /* More than it lists. */
  if (!places)
    return NULL;
  for (*n = 0; places[count]; count++)
    ;
  values = g_new0 (hive_set_value, count + 1);
  *found = G_MAXSIZE;
  for (gsize i = 0; i < count; i++)
    {
      g_autofree char *name
          = is_damaged (hive, places[i]) ? NULL : hivex_value_key (hive->hivex, places[i]);

      if (name && *found == G_MAXSIZE && h2k_reg_same_name (name, without))
        *found = *n;
      else if (take_value (hive, places[i], &values[*n]))
        ++*n;
      else
        {
          clear_values (values, *n + 1);
          return NULL;
        }
    }
  if (*found == G_MAXSIZE)
    *found = *n;
  return values;
}

/* Put VALUE (NULL: nothing) in place of the value NAME of NODE. */
static gboolean
replace_value (H2kHive *hive, hive_node_h node, const char *key, const char *name,
               const H2kRegValue *value, GError **error)
{
  gsize n, at, length;
  hive_set_value *values = take_values (hive, node, name, &n, &at);
  gboolean ok;

  if (!values)
    return fail (hive, key, error,
                 "it has more values, or one with data or a name, than hivex can write back");
  if (value)
    {
      gconstpointer data = g_bytes_get_data (value->data, &length);

      memmove (&values[at + 1], &values[at], (n - at) * sizeof *values);
      values[at] = (hive_set_value){g_strdup (value->name), value->type, length,
                                    g_memdup2 (length > 0 ? data : "", MAX (length, 1))};
      n++;
    }
  ok = hivex_node_set_values (hive->hivex, node, n, values, 0) == 0;
  clear_values (values, n);
  if (!ok)
    return break_off (hive, key, error);
  g_hash_table_insert (edit_of (hive, node)->values, h2k_reg_fold (name),
                       value ? h2k_reg_new (value->name, value->type,
                                            g_bytes_get_data (value->data, NULL), length)
                             : NULL);
  return TRUE;
}

gboolean
h2k_hive_set (H2kHive *hive, const char *key, const H2kRegValue *value, GError **error)
{
  g_autoptr (H2kRegValue) old = h2k_hive_get (hive, key, value->name);
  hive_node_h node;

  if (old && old->type == value->type && g_bytes_equal (old->data, value->data))
    return TRUE;
  if (is_too_long (hive, g_bytes_get_size (value->data)))
    return fail (hive, key, error, "data of %" G_GSIZE_FORMAT " bytes are too long for hivex",
                 g_bytes_get_size (value->data));
  if (!is_name (value->name, MAX_VALUE_NAME))
    return fail (hive, key, error, "a value cannot have such a name");
  if (!begin (hive, key, error))
    return FALSE;
  node = make_key (hive, key, error);
  if (!node)
    return FALSE;
  return replace_value (hive, node, key, value->name, value, error);
}

gboolean
h2k_hive_remove_value (H2kHive *hive, const char *key, const char *name, GError **error)
{
  g_autoptr (H2kRegValue) old = h2k_hive_get (hive, key, name);

  if (!old)
    return TRUE;
  if (!begin (hive, key, error))
    return FALSE;
  return replace_value (hive, h2k_hive_find (hive, key), key, name, NULL, error);
}

/* --- removal of keys -------------------------------------------------------------------------- */

/* Whether all lists of the keys in the key at OFFSET are such that hivex removes one from. */
static gboolean
has_lists_with_names (const H2kRegf *regf, guint32 offset)
{
  const H2kRegfKey *key = h2k_regf_key (regf, offset);
  const H2kRegfList *list
      = key ? h2k_regf_cell (regf, GUINT32_FROM_LE (key->keys), sizeof *list, NULL) : NULL;

  /* hivex makes the list of a key that has none. */
  if (key && key->n_keys == 0)
    return TRUE;
  if (!list || memcmp (list->magic, "ri", 2) != 0)
    return list && memcmp (list->magic, "li", 2) != 0;
  for (guint i = 0; i < GUINT16_FROM_LE (list->n); i++)
    {
      const H2kRegfList *leaf
          = h2k_regf_cell (regf, GUINT32_FROM_LE (list->items[i]), sizeof *leaf, NULL);

      if (!leaf || memcmp (leaf->magic, "li", 2) == 0)
        return FALSE;
    }
  return TRUE;
}

static int
forget_node (hive_h *hivex, void *data, hive_node_h node, const char *name)
{
  H2kHive *hive = data;

  g_hash_table_remove (hive->edits, GUINT_TO_POINTER (H2K_HIVEX_OFFSET (node)));
  return 0;
}

/* Whether hivex can take the values of NODE away: else stops the visit. */
static int
check_node (hive_h *hivex, void *data, hive_node_h node, const char *name)
{
  g_autofree hive_value_h *places = hivex_node_values (hivex, node);

  for (gsize i = 0; places && places[i]; i++)
    if (is_damaged (data, places[i]))
      return -1;
  return places ? 0 : -1;
}

gboolean
h2k_hive_remove_key (H2kHive *hive, const char *key, GError **error)
{
  static const struct hivex_visitor check = {.node_start = check_node};
  static const struct hivex_visitor forget = {.node_start = forget_node};
  hive_node_h node = hive->hivex ? h2k_hive_find (hive, key) : 0, parent;
  g_autofree char *name = NULL;
  H2kRegfEdit *edit;

  if (!node)
    return TRUE;
  if (node == hivex_root (hive->hivex))
    return fail (hive, key, error, "it is the root");
  if (!begin (hive, key, error))
    return FALSE;
  parent = hivex_node_parent (hive->hivex, node);
  name = hivex_node_name (hive->hivex, node);
  edit = edit_of (hive, parent);
  if (!edit->is_new && !has_lists_with_names (hive->regf, H2K_HIVEX_OFFSET (parent)))
    return fail (hive, key, error, "it is in a list of a form that hivex cannot change");
  if (!name || hivex_visit_node (hive->hivex, node, &check, sizeof check, hive, 0) != 0)
    return fail (hive, key, error, "there is a value or name in it that hivex cannot remove");
  if (hivex_visit_node (hive->hivex, node, &forget, sizeof forget, hive, 0) != 0
      || hivex_node_delete_child (hive->hivex, node) != 0)
    return break_off (hive, key, error);
  g_hash_table_insert (edit->keys, h2k_reg_fold (name), GINT_TO_POINTER (FALSE));
  return TRUE;
}

gboolean
h2k_hive_is_changed (const H2kHive *hive)
{
  return g_hash_table_size (hive->edits) > 0;
}
