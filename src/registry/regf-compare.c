/* regf-compare.c - whether a hive is another one with some edits.
 *
 * Keys do not move when a hive is edited, and neither do values and data of keys that are not: so
 * these are compared where they lie. What was edited is compared by name and content.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"
#include "registry/regf-tree.h"

H2kRegfEdit *
h2k_regf_edit_new (void)
{
  H2kRegfEdit *edit = g_new0 (H2kRegfEdit, 1);

  edit->values
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)h2k_reg_value_free);
  edit->keys = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  return edit;
}

void
h2k_regf_edit_free (H2kRegfEdit *edit)
{
  g_hash_table_unref (edit->values);
  g_hash_table_unref (edit->keys);
  g_free (edit);
}

typedef struct
{
  const H2kRegf *before, *after;
  GHashTable *edits;
  GArray *todo; /* Pair: keys that are to be compared yet */
  char *wrong;
} Compare;

typedef struct
{
  guint32 key;
  gboolean is_new; /* in AFTER alone */
} Pair;

static void
set_wrong (Compare *compare, guint32 key, const char *what)
{
  g_autofree char *name = h2k_regf_key_name (h2k_regf_key (compare->after, key));
  g_autofree char *escaped = h2k_escape_text (name, -1);

  if (!compare->wrong)
    compare->wrong = g_strdup_printf ("key \"%s\" at 0x%x: %s", escaped, key, what);
}

/* Whether the cells at OFFSET have the same LENGTH bytes in both. */
static gboolean
same_bytes (const Compare *compare, guint32 offset, gsize length)
{
  const void *a = h2k_regf_cell (compare->before, offset, length, NULL);
  const void *b = h2k_regf_cell (compare->after, offset, length, NULL);

  return a && b && memcmp (a, b, length) == 0;
}

/* --- values ----------------------------------------------------------------------------------- */

/* One that is damaged is to stay so. */
static gboolean
same_damage (const Compare *compare, guint32 offset)
{
  gsize length;

  if (h2k_regf_value (compare->after, offset))
    return FALSE;
  return !h2k_regf_cell (compare->before, offset, 0, &length)
         || same_bytes (compare, offset, length);
}

static gboolean
same_value (const Compare *compare, guint32 offset)
{
  const H2kRegfValue *value = h2k_regf_value (compare->before, offset);
  guint32 length = value ? GUINT32_FROM_LE (value->length) : 0;
  g_autoptr (GBytes) a = NULL, b = NULL;

  if (!value)
    return same_damage (compare, offset);
  if (!same_bytes (compare, offset, sizeof *value + GUINT16_FROM_LE (value->name_length)))
    return FALSE;
  if (length & H2K_REGF_INLINE || length == 0)
    return TRUE;
  if (length <= H2K_REGF_BIG)
    return same_bytes (compare, GUINT32_FROM_LE (value->data), length);
  value = h2k_regf_value (compare->after, offset);
  if (!value)
    return FALSE;
  a = h2k_regf_value_data (compare->before, value);
  b = h2k_regf_value_data (compare->after, value);
  return g_bytes_equal (a, b);
}

static gboolean
same_values (const Compare *compare, guint32 offset)
{
  guint32 n, m;
  const guint8 *a
      = h2k_regf_list_values (compare->before, h2k_regf_key (compare->before, offset), &n);
  const guint8 *b
      = h2k_regf_list_values (compare->after, h2k_regf_key (compare->after, offset), &m);

  if (n != m || (n > 0 && memcmp (a, b, 4 * (gsize)n) != 0))
    return FALSE;
  for (guint32 i = 0; i < n; i++)
    if (!same_value (compare, h2k_le32 (a + 4 * (gsize)i)))
      return FALSE;
  return TRUE;
}

/* Values of a key one after the other: those that were edited, or the others. */
typedef struct
{
  const H2kRegf *regf;
  const guint8 *list;
  guint32 n, next;
  GHashTable *edited; /* folded names */
  gboolean wanted;
} Values;

static Values
values_of (const H2kRegf *regf, guint32 offset, GHashTable *edited, gboolean wanted)
{
  Values values = {regf, .edited = edited, .wanted = wanted};

  values.list = h2k_regf_list_values (regf, h2k_regf_key (regf, offset), &values.n);
  return values;
}

/* The caller's; NULL: there are no more. */
static H2kRegValue *
next_value (Values *values)
{
  while (values->next < values->n)
    {
      guint32 at = h2k_le32 (values->list + 4 * (gsize)values->next++);
      const H2kRegfValue *raw = h2k_regf_value (values->regf, at);
      g_autofree char *name = h2k_regf_value_name (raw), *folded = h2k_reg_fold (name);
      H2kRegValue *value;

      if (g_hash_table_contains (values->edited, folded) != values->wanted)
        continue;
      value = g_new0 (H2kRegValue, 1);
      value->name = g_steal_pointer (&name);
      value->type = GUINT32_FROM_LE (raw->type);
      value->data = h2k_regf_value_data (values->regf, raw);
      return value;
    }
  return NULL;
}

static gboolean
is_equal (const H2kRegValue *a, const H2kRegValue *b)
{
  return a->type == b->type && g_bytes_equal (a->data, b->data);
}

/* The values of an edited key that were not to be changed. */
static gboolean
same_other_values (const Compare *compare, Pair pair, GHashTable *edited)
{
  Values before = {0}, after = values_of (compare->after, pair.key, edited, FALSE);

  if (!pair.is_new)
    before = values_of (compare->before, pair.key, edited, FALSE);
  while (TRUE)
    {
      g_autoptr (H2kRegValue) a = next_value (&before), b = next_value (&after);

      if (!a || !b)
        return !a && !b;
      if (strcmp (a->name, b->name) != 0 || !is_equal (a, b))
        return FALSE;
    }
}

/* Each value that was to be set is there once, and no other one of these. */
static gboolean
has_edited_values (const Compare *compare, guint32 offset, GHashTable *edited)
{
  Values values = values_of (compare->after, offset, edited, TRUE);
  GHashTableIter iter;
  gpointer value;
  guint expected = 0, n = 0;

  g_hash_table_iter_init (&iter, edited);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    expected += value != NULL;
  while (TRUE)
    {
      g_autoptr (H2kRegValue) have = next_value (&values);
      g_autofree char *folded = have ? h2k_reg_fold (have->name) : NULL;
      const H2kRegValue *want = have ? g_hash_table_lookup (edited, folded) : NULL;

      if (!have)
        return n == expected;
      if (!want || !is_equal (have, want))
        return FALSE;
      n++;
    }
}

static void
compare_values (Compare *compare, Pair pair, H2kRegfEdit *edit)
{
  gboolean edited = pair.is_new || (edit && g_hash_table_size (edit->values) > 0);

  if (!edited && !same_values (compare, pair.key))
    set_wrong (compare, pair.key, "its values are other ones");
  if (edited && !same_other_values (compare, pair, edit->values))
    set_wrong (compare, pair.key, "a value changed that was not to be");
  if (edited && !has_edited_values (compare, pair.key, edit->values))
    set_wrong (compare, pair.key, "the values that were set are not there");
}

/* --- keys ------------------------------------------------------------------------------------- */

/* What an edit does not change of a key. */
static gboolean
same_key (const Compare *compare, guint32 offset, gboolean edited)
{
  const H2kRegfKey *a = h2k_regf_key (compare->before, offset);
  const H2kRegfKey *b = h2k_regf_key (compare->after, offset);
  guint length = GUINT16_FROM_LE (a->name_length);

  if (!b || a->flags != b->flags || a->name_length != b->name_length
      || memcmp (a->name, b->name, length) != 0 || a->parent != b->parent
      || a->security != b->security || a->class_length != b->class_length
      || a->class_name != b->class_name || a->access != b->access)
    return FALSE;
  if (a->class_length != 0
      && !same_bytes (compare, GUINT32_FROM_LE (a->class_name), GUINT16_FROM_LE (a->class_length)))
    return FALSE;
  return edited || memcmp (a, b, sizeof *a) == 0;
}

static int
by_offset (gconstpointer a, gconstpointer b)
{
  guint32 x = *(const guint32 *)a, y = *(const guint32 *)b;

  return x < y ? -1 : x > y;
}

/* The keys in the key at OFFSET, by offset, those left out that EDIT (may be NULL) removes or adds
 * as REMOVED says. Those of them that it adds are appended to TODO (may be NULL). */
static GArray *
read_keys (const Compare *compare, const H2kRegf *regf, guint32 offset, H2kRegfEdit *edit,
           gboolean after)
{
  g_autoptr (GArray) all = g_array_new (FALSE, FALSE, 4);
  GArray *keys = g_array_new (FALSE, FALSE, 4);

  h2k_regf_list_keys (regf, h2k_regf_key (regf, offset), all);
  for (guint i = 0; i < all->len; i++)
    {
      guint32 at = g_array_index (all, guint32, i);
      g_autofree char *name = edit ? h2k_regf_key_name (h2k_regf_key (regf, at)) : NULL;
      g_autofree char *folded = edit ? h2k_reg_fold (name) : NULL;

      if (!edit || !g_hash_table_contains (edit->keys, folded))
        g_array_append_val (keys, at);
      else if (after && GPOINTER_TO_INT (g_hash_table_lookup (edit->keys, folded)))
        {
          Pair pair = {at, TRUE};

          g_array_append_val (compare->todo, pair);
        }
      else if (after)
        g_array_append_val (keys, at);
    }
  g_array_sort (keys, by_offset);
  return keys;
}

static void
compare_keys (Compare *compare, Pair pair, H2kRegfEdit *edit)
{
  guint todo = compare->todo->len, expected = 0;
  g_autoptr (GArray) b = read_keys (compare, compare->after, pair.key, edit, TRUE);
  g_autoptr (GArray) a = NULL;
  GHashTableIter iter;
  gpointer there;

  if (edit)
    {
      g_hash_table_iter_init (&iter, edit->keys);
      while (g_hash_table_iter_next (&iter, NULL, &there))
        expected += GPOINTER_TO_INT (there);
    }
  if (compare->todo->len - todo != expected)
    set_wrong (compare, pair.key, "the keys that were made are not there");
  a = pair.is_new ? g_array_new (FALSE, FALSE, 4)
                  : read_keys (compare, compare->before, pair.key, edit, FALSE);
  if (a->len != b->len || (a->len > 0 && memcmp (a->data, b->data, 4 * (gsize)a->len) != 0))
    {
      set_wrong (compare, pair.key, "it has other keys than it was to have");
      return;
    }
  for (guint i = 0; i < a->len; i++)
    {
      Pair next = {g_array_index (a, guint32, i), FALSE};

      g_array_append_val (compare->todo, next);
    }
}

char *
h2k_regf_compare (const H2kRegf *before, const H2kRegf *after, GHashTable *edits)
{
  Compare compare = {before, after, edits};
  Pair pair = {GUINT32_FROM_LE (h2k_regf_base (before)->root), FALSE};

  compare.todo = g_array_new (FALSE, FALSE, sizeof (Pair));
  if (h2k_regf_base (before)->root != h2k_regf_base (after)->root)
    set_wrong (&compare, pair.key, "it is the root no more");
  g_array_append_val (compare.todo, pair);
  while (compare.todo->len > 0 && !compare.wrong)
    {
      H2kRegfEdit *edit;

      pair = g_array_index (compare.todo, Pair, compare.todo->len - 1);
      g_array_set_size (compare.todo, compare.todo->len - 1);
      edit = g_hash_table_lookup (edits, GUINT_TO_POINTER (pair.key));
      if (pair.is_new ? !edit : !same_key (&compare, pair.key, edit != NULL))
        set_wrong (&compare, pair.key, "it is another one");
      else
        {
          compare_values (&compare, pair, edit);
          compare_keys (&compare, pair, edit);
        }
    }
  g_array_unref (compare.todo);
  return compare.wrong;
}
