/* regf-key.c - keys and values in the cells of a hive.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"
#include "registry/regf.h"

/* LENGTH bytes of a name, one a character or two. */
static char *
decode_name (const guint8 *name, gsize length, gboolean latin1)
{
  GString *text;

  if (!latin1)
    return h2k_reg_decode (name, length / 2);
  text = g_string_sized_new (length);
  for (gsize i = 0; i < length; i++)
    g_string_append_unichar (text, name[i]);
  return g_string_free (text, FALSE);
}

const H2kRegfKey *
h2k_regf_key (const H2kRegf *regf, guint32 offset)
{
  gsize length;
  const H2kRegfKey *key = h2k_regf_cell (regf, offset, sizeof *key, &length);

  if (!key || memcmp (key->magic, "nk", 2) != 0
      || GUINT16_FROM_LE (key->name_length) > length - sizeof *key)
    return NULL;
  return key;
}

char *
h2k_regf_key_name (const H2kRegfKey *key)
{
  return decode_name (key->name, GUINT16_FROM_LE (key->name_length),
                      GUINT16_FROM_LE (key->flags) & H2K_REGF_KEY_LATIN1);
}

/* The lists that "ri" names are no "ri" themselves. */
static gboolean
list_keys (const H2kRegf *regf, guint32 offset, gboolean nested, guint32 limit, GArray *keys)
{
  gsize length;
  const H2kRegfList *list = h2k_regf_cell (regf, offset, sizeof *list, &length);
  gboolean wide, is_root;
  guint n;

  if (!list)
    return FALSE;
  is_root = memcmp (list->magic, "ri", 2) == 0;
  wide = memcmp (list->magic, "lf", 2) == 0 || memcmp (list->magic, "lh", 2) == 0;
  n = GUINT16_FROM_LE (list->n);
  if ((!wide && !is_root && memcmp (list->magic, "li", 2) != 0) || (is_root && nested)
      || n > (length - sizeof *list) / (wide ? 8 : 4))
    return FALSE;
  for (guint i = 0; i < n; i++)
    {
      guint32 item = GUINT32_FROM_LE (list->items[wide ? 2 * i : i]);

      if (is_root)
        {
          if (!list_keys (regf, item, TRUE, limit, keys))
            return FALSE;
        }
      else if (keys->len >= limit)
        return FALSE;
      else
        g_array_append_val (keys, item);
    }
  return TRUE;
}

gboolean
h2k_regf_list_keys (const H2kRegf *regf, const H2kRegfKey *key, GArray *keys)
{
  guint32 n = GUINT32_FROM_LE (key->n_keys);
  guint before = keys->len;

  if (n == 0)
    return TRUE;
  /* No more than there are cells. */
  if (n > regf->length / 8)
    return FALSE;
  return list_keys (regf, GUINT32_FROM_LE (key->keys), FALSE, before + n, keys)
         && keys->len == before + n;
}

const guint8 *
h2k_regf_list_values (const H2kRegf *regf, const H2kRegfKey *key, guint32 *n)
{
  *n = GUINT16_FROM_LE (key->flags) & H2K_REGF_KEY_PREDEFINED ? 0 : GUINT32_FROM_LE (key->n_values);
  return *n == 0 ? NULL : h2k_regf_cell (regf, GUINT32_FROM_LE (key->values), 4 * (gsize)*n, NULL);
}

/* --- values ----------------------------------------------------------------------------------- */

/* Append the big data at OFFSET, LENGTH bytes in all, to OUT, which may be NULL; FALSE: damaged. */
static gboolean
read_big (const H2kRegf *regf, guint32 offset, guint32 length, GByteArray *out)
{
  const H2kRegfBig *big = h2k_regf_cell (regf, offset, sizeof *big, NULL);
  guint n = (length + H2K_REGF_BIG - 1) / H2K_REGF_BIG;
  const guint8 *segments;

  if (!big || memcmp (big->magic, "db", 2) != 0 || GUINT16_FROM_LE (big->n) != n)
    return FALSE;
  segments = h2k_regf_cell (regf, GUINT32_FROM_LE (big->segments), 4 * n, NULL);
  for (guint i = 0; segments && i < n; i++)
    {
      guint32 part = MIN (length, H2K_REGF_BIG);
      const guint8 *data = h2k_regf_cell (regf, h2k_le32 (segments + 4 * i), part, NULL);

      if (!data)
        return FALSE;
      if (out)
        g_byte_array_append (out, data, part);
      length -= part;
    }
  return segments != NULL;
}

gboolean
h2k_regf_is_big (const H2kRegf *regf, guint32 length)
{
  return length > H2K_REGF_BIG && GUINT32_FROM_LE (h2k_regf_base (regf)->minor) > 3;
}

const H2kRegfValue *
h2k_regf_value (const H2kRegf *regf, guint32 offset)
{
  gsize cell;
  const H2kRegfValue *value = h2k_regf_cell (regf, offset, sizeof *value, &cell);
  guint32 length, data;

  if (!value || memcmp (value->magic, "vk", 2) != 0
      || GUINT16_FROM_LE (value->name_length) > cell - sizeof *value)
    return NULL;
  length = GUINT32_FROM_LE (value->length);
  data = GUINT32_FROM_LE (value->data);
  if (length & H2K_REGF_INLINE)
    return (length & ~H2K_REGF_INLINE) <= 4 ? value : NULL;
  if (length == 0)
    return value;
  /* No data are longer than all cells, so that segments which are there many times cost no more. */
  if (h2k_regf_is_big (regf, length))
    return length <= regf->length && read_big (regf, data, length, NULL) ? value : NULL;
  return h2k_regf_cell (regf, data, length, NULL) ? value : NULL;
}

char *
h2k_regf_value_name (const H2kRegfValue *value)
{
  return decode_name (value->name, GUINT16_FROM_LE (value->name_length),
                      GUINT16_FROM_LE (value->flags) & H2K_REGF_VALUE_LATIN1);
}

GBytes *
h2k_regf_value_data (const H2kRegf *regf, const H2kRegfValue *value)
{
  guint32 length = GUINT32_FROM_LE (value->length), data = GUINT32_FROM_LE (value->data);

  if (length & H2K_REGF_INLINE)
    return g_bytes_new (&value->data, length & ~H2K_REGF_INLINE);
  if (length == 0)
    return g_bytes_new (NULL, 0);
  if (h2k_regf_is_big (regf, length))
    {
      GByteArray *out = g_byte_array_sized_new (length);

      read_big (regf, data, length, out);
      return g_byte_array_free_to_bytes (out);
    }
  return g_bytes_new (h2k_regf_cell (regf, data, length, NULL), length);
}
