/* windows.c - as windows.h says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "windows.h"

H2kRegf *
windows_load (GBytes *hive)
{
  gsize size;
  gconstpointer data = g_bytes_get_data (hive, &size);
  g_autoptr (GError) error = NULL;
  H2kRegf *regf = h2k_regf_new (NULL, size, &error);

  g_assert_no_error (error);
  memcpy (regf->data, data, size);
  g_assert_null (h2k_regf_check_bins (regf, FALSE));
  return regf;
}

static char *
name_of (const H2kRegf *regf, guint32 offset)
{
  const H2kRegfKey *key = h2k_regf_key (regf, offset);

  g_assert_nonnull (key);
  return h2k_regf_key_name (key);
}

static const H2kRegfList *
list_at (const H2kRegf *regf, guint32 offset)
{
  const H2kRegfList *list = h2k_regf_cell (regf, offset, sizeof *list, NULL);

  g_assert_nonnull (list);
  return list;
}

static guint
step_of (const H2kRegfList *list)
{
  return list->magic[1] == 'i' ? 1 : 2;
}

static guint32
item_of (const H2kRegfList *list, guint i)
{
  return GUINT32_FROM_LE (list->items[step_of (list) * i]);
}

/* ASCII names are enough here; others are compared as they are. */
static int
compare (const char *a, const char *b)
{
  g_autofree char *x = g_ascii_strup (a, -1), *y = g_ascii_strup (b, -1);

  return strcmp (x, y);
}

static guint32
search (const H2kRegf *regf, const H2kRegfList *list, const char *name)
{
  int from = 0, to = GUINT16_FROM_LE (list->n) - 1;

  while (from <= to)
    {
      int middle = (from + to) / 2;
      guint32 offset = item_of (list, (guint)middle);
      const H2kRegfList *leaf = memcmp (list->magic, "ri", 2) == 0 ? list_at (regf, offset) : NULL;
      g_autofree char *first = name_of (regf, leaf ? item_of (leaf, 0) : offset);
      g_autofree char *last
          = name_of (regf, leaf ? item_of (leaf, GUINT16_FROM_LE (leaf->n) - 1u) : offset);

      if (compare (name, first) < 0)
        to = middle - 1;
      else if (compare (name, last) > 0)
        from = middle + 1;
      else
        return leaf ? search (regf, leaf, name) : offset;
    }
  return H2K_REGF_NONE;
}

guint32
windows_find (const H2kRegf *regf, const char *key)
{
  g_auto (GStrv) names = g_strsplit (key, "\\", -1);
  guint32 at = GUINT32_FROM_LE (h2k_regf_base (regf)->root);

  for (guint i = 0; names[i] && at != H2K_REGF_NONE; i++)
    {
      const H2kRegfKey *node = h2k_regf_key (regf, at);

      at = node->n_keys == 0
               ? H2K_REGF_NONE
               : search (regf, list_at (regf, GUINT32_FROM_LE (node->keys)), names[i]);
    }
  return at;
}

/* --- all of it -------------------------------------------------------------------------------- */

static gboolean
is_ascii (const char *name)
{
  return g_str_is_ascii (name);
}

static void
check_leaf (const H2kRegf *regf, const H2kRegfList *leaf, char **last)
{
  g_assert_cmpuint (leaf->n, >, 0);
  if (GUINT32_FROM_LE (h2k_regf_base (regf)->minor) < 5)
    g_assert_cmpint (leaf->magic[1], !=, 'h');
  for (guint i = 0; i < GUINT16_FROM_LE (leaf->n); i++)
    {
      char *name = name_of (regf, item_of (leaf, i));
      guint32 hash = 0;

      if (is_ascii (name) && *last && is_ascii (*last) && compare (*last, name) >= 0)
        g_error ("%s comes before %s", *last, name);
      for (const char *c = name; *c; c++)
        hash = hash * 37 + (guint8)g_ascii_toupper (*c);
      if (is_ascii (name) && memcmp (leaf->magic, "lh", 2) == 0)
        g_assert_cmpuint (GUINT32_FROM_LE (leaf->items[2 * i + 1]), ==, hash);
      if (is_ascii (name) && memcmp (leaf->magic, "lf", 2) == 0)
        g_assert_cmpmem (&leaf->items[2 * i + 1], MIN (4, strlen (name)), name,
                         MIN (4, strlen (name)));
      g_free (*last);
      *last = name;
    }
}

static void
check_key (const H2kRegf *regf, guint32 offset, GHashTable *references)
{
  const H2kRegfKey *key = h2k_regf_key (regf, offset);
  g_autoptr (GArray) keys = g_array_new (FALSE, FALSE, 4);
  gpointer security = GUINT_TO_POINTER (GUINT32_FROM_LE (key->security));
  g_autofree char *last = NULL;
  const H2kRegfList *list;

  g_hash_table_insert (references, security,
                       GUINT_TO_POINTER (
                           GPOINTER_TO_UINT (g_hash_table_lookup (references, security)) + 1));
  if (key->n_keys == 0)
    return;
  list = list_at (regf, GUINT32_FROM_LE (key->keys));
  if (memcmp (list->magic, "ri", 2) != 0)
    check_leaf (regf, list, &last);
  else
    for (guint i = 0; i < GUINT16_FROM_LE (list->n); i++)
      check_leaf (regf, list_at (regf, item_of (list, i)), &last);
  g_assert_true (h2k_regf_list_keys (regf, key, keys));
  for (guint i = 0; i < keys->len; i++)
    check_key (regf, g_array_index (keys, guint32, i), references);
}

void
windows_assert_sound (const H2kRegf *regf)
{
  const H2kRegfBase *base = h2k_regf_base (regf);
  g_autoptr (GHashTable) references = g_hash_table_new (NULL, NULL);
  GHashTableIter iter;
  gpointer offset, n;

  g_assert_true (h2k_regf_base_is_valid (base));
  g_assert_cmpuint (base->sequence1, ==, base->sequence2);
  g_assert_cmpuint (base->type, ==, 0);
  g_assert_cmpuint (GUINT32_FROM_LE (base->length), ==, regf->length);
  check_key (regf, GUINT32_FROM_LE (base->root), references);
  g_hash_table_iter_init (&iter, references);
  while (g_hash_table_iter_next (&iter, &offset, &n))
    {
      const H2kRegfSecurity *security
          = h2k_regf_cell (regf, GPOINTER_TO_UINT (offset), sizeof *security, NULL);

      g_assert_nonnull (security);
      g_assert_cmpuint (GUINT32_FROM_LE (security->n_references), ==, GPOINTER_TO_UINT (n));
    }
}
