/* regf-tidy.c - lists of keys as Windows relies on them.
 *
 * Windows finds a key by binary search among names in upper case. hivex sorts by lower case, which
 * differs for "_" and some others, hashes bytes of UTF-8, and leaves lists behind that are empty.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"

typedef struct
{
  guint32 key;
  guint8 hint[4]; /* what the list has beside the offset */
} Item;

/* The units of NAME in upper case. The caller's. */
static gunichar2 *
upper_case (const char *name, glong *length)
{
  g_autofree char *folded = h2k_reg_fold (name);

  return g_utf8_to_utf16 (folded, -1, NULL, length, NULL);
}

static int
compare_names (const char *a, const char *b)
{
  glong n, m;
  g_autofree gunichar2 *x = upper_case (a, &n), *y = upper_case (b, &m);

  for (glong i = 0; i < MIN (n, m); i++)
    if (x[i] != y[i])
      return x[i] < y[i] ? -1 : 1;
  return n < m ? -1 : n > m;
}

/* What a list of the kind MAGIC has beside the offset of a key: its hash or first characters. */
static void
set_hint (const char *magic, const char *name, guint8 *hint)
{
  glong length;
  g_autofree gunichar2 *units = upper_case (name, &length);
  guint32 hash = 0;

  for (glong i = 0; i < length; i++)
    hash = hash * 37 + units[i];
  hash = GUINT32_TO_LE (hash);
  if (memcmp (magic, "lh", 2) == 0)
    memcpy (hint, &hash, 4);
  else
    {
      memset (hint, 0, 4);
      for (guint i = 0; i < 4 && *name; i++, name = g_utf8_next_char (name))
        hint[i] = g_utf8_get_char (name) < 256 ? (guint8)g_utf8_get_char (name) : 0;
    }
}

static char *
name_of (const H2kRegf *regf, guint32 offset)
{
  return h2k_regf_key_name (h2k_regf_key (regf, offset));
}

static H2kRegfList *
list_at (const H2kRegf *regf, guint32 offset)
{
  return (H2kRegfList *)h2k_regf_cell (regf, offset, sizeof (H2kRegfList), NULL);
}

static gboolean
is_wide (const H2kRegfList *leaf)
{
  return memcmp (leaf->magic, "lh", 2) == 0 || memcmp (leaf->magic, "lf", 2) == 0;
}

/* The keys of the leaf: what was made by EDIT is appended to NEW, the others to ITEMS. */
static void
read_leaf (const H2kRegf *regf, H2kRegfList *leaf, const H2kRegfEdit *edit, GArray *items,
           GArray *new)
{
  guint step = is_wide (leaf) ? 2 : 1;
  /* Hashes came with 1.5, but hivex makes them in any hive. */
  gboolean convert
      = GUINT32_FROM_LE (h2k_regf_base (regf)->minor) < 5 && memcmp (leaf->magic, "lh", 2) == 0;

  if (convert)
    leaf->magic[1] = 'f';

  for (guint i = 0; i < GUINT16_FROM_LE (leaf->n); i++)
    {
      Item item = {GUINT32_FROM_LE (leaf->items[step * i])};
      g_autofree char *name = name_of (regf, item.key), *folded = h2k_reg_fold (name);

      if (convert)
        set_hint (leaf->magic, name, item.hint);
      else if (step == 2)
        memcpy (item.hint, &leaf->items[2 * i + 1], 4);
      if (!GPOINTER_TO_INT (g_hash_table_lookup (edit->keys, folded)))
        g_array_append_val (items, item);
      else
        {
          set_hint (leaf->magic, name, item.hint);
          g_array_append_val (new, item);
        }
    }
}

/* Fill the leaf with ITEMS from *NEXT on, as many as it has. */
static void
fill_leaf (H2kRegfList *leaf, const GArray *items, guint *next)
{
  guint step = is_wide (leaf) ? 2 : 1;

  for (guint i = 0; i < GUINT16_FROM_LE (leaf->n); i++)
    {
      const Item *item = &g_array_index (items, Item, (*next)++);

      leaf->items[step * i] = GUINT32_TO_LE (item->key);
      if (step == 2)
        memcpy (&leaf->items[2 * i + 1], item->hint, 4);
    }
}

/* Put ITEM where its name belongs among ITEMS, which are sorted. */
static void
insert (const H2kRegf *regf, GArray *items, Item item)
{
  g_autofree char *name = name_of (regf, item.key);
  guint from = 0, to = items->len;

  while (from < to)
    {
      guint middle = from + (to - from) / 2;
      g_autofree char *other = name_of (regf, g_array_index (items, Item, middle).key);

      if (compare_names (name, other) < 0)
        to = middle;
      else
        from = middle + 1;
    }
  g_array_insert_val (items, from, item);
}

/* Take leaves without keys out of the list of leaves. */
static void
drop_empty (H2kRegf *regf, H2kRegfList *root)
{
  guint n = 0;

  for (guint i = 0; i < GUINT16_FROM_LE (root->n); i++)
    {
      guint32 offset = GUINT32_FROM_LE (root->items[i]);
      const H2kRegfList *leaf = list_at (regf, offset);

      if (leaf && leaf->n == 0)
        h2k_regf_free_cell (regf, offset);
      else
        root->items[n++] = root->items[i];
    }
  root->n = GUINT16_TO_LE (n);
}

/* Free the lists of a key that has no keys any more. */
static void
drop_lists (H2kRegf *regf, H2kRegfKey *key)
{
  guint32 offset = GUINT32_FROM_LE (key->keys);
  H2kRegfList *list = offset == H2K_REGF_NONE ? NULL : list_at (regf, offset);

  key->keys = H2K_REGF_NONE;
  if (!list)
    return;
  if (memcmp (list->magic, "ri", 2) == 0)
    drop_empty (regf, list);
  h2k_regf_free_cell (regf, offset);
}

/* Keys that were there stay in their order, which is Windows' own. */
static void
sort_lists (H2kRegf *regf, const H2kRegfKey *key, const H2kRegfEdit *edit)
{
  g_autoptr (GArray) items = g_array_new (FALSE, FALSE, sizeof (Item));
  g_autoptr (GArray) new = g_array_new (FALSE, FALSE, sizeof (Item));
  H2kRegfList *list = list_at (regf, GUINT32_FROM_LE (key->keys));
  gboolean is_root = memcmp (list->magic, "ri", 2) == 0;
  guint next = 0, n_leaves;

  if (is_root)
    drop_empty (regf, list);
  n_leaves = is_root ? GUINT16_FROM_LE (list->n) : 1;
  for (guint i = 0; i < n_leaves; i++)
    read_leaf (regf, is_root ? list_at (regf, GUINT32_FROM_LE (list->items[i])) : list, edit, items,
               new);
  for (guint i = 0; i < new->len; i++)
    insert (regf, items, g_array_index (new, Item, i));
  for (guint i = 0; i < n_leaves; i++)
    fill_leaf (is_root ? list_at (regf, GUINT32_FROM_LE (list->items[i])) : list, items, &next);
}

void
h2k_regf_tidy_key (H2kRegf *regf, guint32 offset, const H2kRegfEdit *edit, guint64 now)
{
  H2kRegfKey *key = (H2kRegfKey *)h2k_regf_key (regf, offset);
  g_autoptr (GArray) keys = g_array_new (FALSE, FALSE, 4);

  /* What is damaged is found later. */
  if (!key || !h2k_regf_list_keys (regf, key, keys))
    return;
  for (guint i = 0; i < keys->len; i++)
    if (!h2k_regf_key (regf, g_array_index (keys, guint32, i)))
      return;
  key->written = GUINT64_TO_LE (now);
  if (key->n_keys == 0)
    drop_lists (regf, key);
  else if (g_hash_table_size (edit->keys) > 0)
    sort_lists (regf, key, edit);
  if (key->n_values == 0)
    key->values = H2K_REGF_NONE;
}
