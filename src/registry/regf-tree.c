/* regf-tree.c - walks through all keys of a hive.
 *
 * A hive is walked without recursion: a stack has the keys on the way down, and for each of these
 * the offsets of its keys, in one array for all levels.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/regf-tree.h"
#include "registry/private.h"

#define MAX_TEXTS 8u
#define SHARED "it shares a cell with something else"

H2kDamage *
h2k_damage_new (void)
{
  H2kDamage *damage = g_new0 (H2kDamage, 1);

  damage->places = g_hash_table_new (NULL, NULL);
  damage->texts = g_ptr_array_new_with_free_func (g_free);
  return damage;
}

void
h2k_damage_free (H2kDamage *damage)
{
  if (!damage)
    return;
  g_hash_table_unref (damage->places);
  g_ptr_array_unref (damage->texts);
  g_free (damage);
}

void
h2k_damage_add (H2kDamage *damage, guint32 offset, H2kDamageKind kind, const char *path,
                const char *what)
{
  gpointer key = GUINT_TO_POINTER (offset);
  guint old = GPOINTER_TO_UINT (g_hash_table_lookup (damage->places, key));

  g_hash_table_insert (damage->places, key, GUINT_TO_POINTER (old | kind));
  if (kind == H2K_DAMAGED_VALUE)
    damage->n_values++;
  if (damage->n++ < MAX_TEXTS)
    {
      g_autofree char *escaped = path ? h2k_escape_text (path, -1) : NULL;

      g_ptr_array_add (damage->texts,
                       path ? g_strdup_printf ("key \"%s\": %s", escaped, what) : g_strdup (what));
    }
}

gboolean
h2k_damage_has (const H2kDamage *damage, guint32 offset, H2kDamageKind kind)
{
  return (GPOINTER_TO_UINT (g_hash_table_lookup (damage->places, GUINT_TO_POINTER (offset))) & kind)
         != 0;
}

/* --- one hive --------------------------------------------------------------------------------- */

typedef struct
{
  guint32 key;
  guint first, next; /* of its keys, in the array of the walk */
} Level;

typedef struct
{
  const H2kRegf *regf;
  H2kDamage *damage;
  GArray *levels;       /* Level */
  GArray *keys;         /* guint32 */
  guint8 *seen;         /* a bit each 8 bytes */
  GHashTable *security; /* offsets of those that are intact */
  /* What is still to come at most, since everything is there once: cells that are named many times
   * would take forever. */
  guint64 keys_left, values_left, big_left;
} Walk;

static gboolean
set_seen (Walk *walk, guint32 offset)
{
  guint8 bit = (guint8)(1 << offset / 8 % 8);
  gboolean was = (walk->seen[offset / 64] & bit) != 0;

  walk->seen[offset / 64] |= bit;
  return was;
}

/* From the root, which is left out. The caller's. */
static char *
path_of (const Walk *walk)
{
  GString *path = g_string_new ("");

  for (guint i = 1; i < walk->levels->len && path->len < 4096; i++)
    {
      g_autofree char *name = h2k_regf_key_name (
          h2k_regf_key (walk->regf, g_array_index (walk->levels, Level, i).key));

      g_string_append_printf (path, i > 1 ? "\\%s" : "%s", name);
    }
  return g_string_free (path, FALSE);
}

static void
add_damage (Walk *walk, guint32 offset, H2kDamageKind kind, const char *what)
{
  g_autofree char *path = walk->damage->n < MAX_TEXTS ? path_of (walk) : g_strdup ("");

  h2k_damage_add (walk->damage, offset, kind, path, what);
}

/* Whether the cell at OFFSET is met for the first time. One that two things share is taken away
 * from both when hivex changes one of them. */
static gboolean
claim (Walk *walk, guint32 offset)
{
  return !set_seen (walk, offset);
}

/* The cells of the lists in the cell at OFFSET, of keys. */
static gboolean
claim_lists (Walk *walk, guint32 offset)
{
  const H2kRegfList *list = h2k_regf_cell (walk->regf, offset, sizeof *list, NULL);
  gboolean first = claim (walk, offset);

  if (memcmp (list->magic, "ri", 2) == 0)
    for (guint i = 0; i < GUINT16_FROM_LE (list->n) && first; i++)
      first = claim (walk, GUINT32_FROM_LE (list->items[i]));
  return first;
}

/* The cells of the value at OFFSET, which is intact. */
static gboolean
claim_value (Walk *walk, guint32 offset)
{
  const H2kRegfValue *value = h2k_regf_value (walk->regf, offset);
  guint32 length = GUINT32_FROM_LE (value->length), data = GUINT32_FROM_LE (value->data);
  const H2kRegfBig *big;
  const guint8 *segments;
  gboolean first = claim (walk, offset);

  if (length & H2K_REGF_INLINE || length == 0)
    return first;
  first = claim (walk, data) && first;
  if (!h2k_regf_is_big (walk->regf, length))
    return first;
  big = h2k_regf_cell (walk->regf, data, sizeof *big, NULL);
  segments = h2k_regf_cell (walk->regf, GUINT32_FROM_LE (big->segments), 0, NULL);
  first = claim (walk, GUINT32_FROM_LE (big->segments)) && first;
  for (guint i = 0; i < GUINT16_FROM_LE (big->n) && first; i++)
    first = claim (walk, h2k_le32 (segments + 4 * i));
  return first;
}

static gboolean
is_value_intact (Walk *walk, guint32 offset)
{
  const H2kRegfValue *value = h2k_regf_cell (walk->regf, offset, sizeof *value, NULL);
  guint32 length = value ? GUINT32_FROM_LE (value->length) & ~H2K_REGF_INLINE : 0;

  if (length > H2K_REGF_BIG)
    {
      if (length > walk->big_left)
        return FALSE;
      walk->big_left -= length;
    }
  return h2k_regf_value (walk->regf, offset) != NULL;
}

static void
check_values (Walk *walk, guint32 offset, const H2kRegfKey *key)
{
  guint32 n;
  const guint8 *values = h2k_regf_list_values (walk->regf, key, &n);

  if ((!values && n > 0) || n > walk->values_left
      || (GUINT16_FROM_LE (key->flags) & H2K_REGF_KEY_PREDEFINED && key->n_values != 0))
    {
      add_damage (walk, offset, H2K_DAMAGED_VALUES, "its list of values is damaged");
      return;
    }
  walk->values_left -= n;
  if (n > 0 && !claim (walk, GUINT32_FROM_LE (key->values)))
    add_damage (walk, offset, H2K_DAMAGED_OTHER, SHARED);
  for (guint32 i = 0; i < n; i++)
    {
      guint32 at = h2k_le32 (values + 4 * (gsize)i);

      if (!is_value_intact (walk, at))
        add_damage (walk, at, H2K_DAMAGED_VALUE, "a value of it is damaged");
      else if (!claim_value (walk, at))
        add_damage (walk, offset, H2K_DAMAGED_OTHER, SHARED);
    }
}

static const H2kRegfSecurity *
security_at (const H2kRegf *regf, guint32 offset)
{
  gsize length;
  const H2kRegfSecurity *item = h2k_regf_cell (regf, offset, sizeof *item, &length);

  return item && memcmp (item->magic, "sk", 2) == 0
                 && GUINT32_FROM_LE (item->length) <= length - sizeof *item
             ? item
             : NULL;
}

static gboolean
is_security_intact (Walk *walk, guint32 offset)
{
  const H2kRegfSecurity *item;

  if (g_hash_table_contains (walk->security, GUINT_TO_POINTER (offset)))
    return TRUE;
  item = security_at (walk->regf, offset);
  if (!item || item->n_references == 0 || !security_at (walk->regf, GUINT32_FROM_LE (item->next))
      || !security_at (walk->regf, GUINT32_FROM_LE (item->previous)) || !claim (walk, offset))
    return FALSE;
  g_hash_table_add (walk->security, GUINT_TO_POINTER (offset));
  return TRUE;
}

static void
check_other (Walk *walk, guint32 offset, const H2kRegfKey *key, guint32 parent)
{
  guint length = GUINT16_FROM_LE (key->class_length);
  guint32 class_name = GUINT32_FROM_LE (key->class_name);

  if (!is_security_intact (walk, GUINT32_FROM_LE (key->security)))
    add_damage (walk, offset, H2K_DAMAGED_OTHER, "its security is damaged");
  if (parent != H2K_REGF_NONE && GUINT32_FROM_LE (key->parent) != parent)
    add_damage (walk, offset, H2K_DAMAGED_OTHER, "another key is named as the one above it");
  if (class_name == H2K_REGF_NONE ? length > 0
                                  : !h2k_regf_cell (walk->regf, class_name, length, NULL))
    add_damage (walk, offset, H2K_DAMAGED_OTHER, "its class is damaged");
  else if (class_name != H2K_REGF_NONE && !claim (walk, class_name))
    add_damage (walk, offset, H2K_DAMAGED_OTHER, SHARED);
}

/* Whether each of the keys from FIRST on is one, and is met for the first time. */
static gboolean
are_keys (Walk *walk, guint first)
{
  for (guint i = first; i < walk->keys->len; i++)
    {
      guint32 offset = g_array_index (walk->keys, guint32, i);

      if (!h2k_regf_key (walk->regf, offset) || set_seen (walk, offset))
        return FALSE;
    }
  return TRUE;
}

static void
enter (Walk *walk, guint32 offset, guint32 parent)
{
  const H2kRegfKey *key = h2k_regf_key (walk->regf, offset);
  Level level = {offset, walk->keys->len, walk->keys->len};
  gboolean intact;

  g_array_append_val (walk->levels, level);
  check_values (walk, offset, key);
  check_other (walk, offset, key, parent);
  intact = walk->levels->len <= H2K_REGF_DEPTH && GUINT32_FROM_LE (key->n_keys) <= walk->keys_left
           && h2k_regf_list_keys (walk->regf, key, walk->keys) && are_keys (walk, level.first);
  if (intact)
    {
      walk->keys_left -= walk->keys->len - level.first;
      if (walk->keys->len > level.first && !claim_lists (walk, GUINT32_FROM_LE (key->keys)))
        add_damage (walk, offset, H2K_DAMAGED_OTHER, SHARED);
    }
  else
    {
      g_array_set_size (walk->keys, level.first);
      add_damage (walk, offset, H2K_DAMAGED_KEYS, "its list of keys is damaged");
    }
}

void
h2k_regf_check_tree (const H2kRegf *regf, H2kDamage *damage)
{
  Walk walk = {regf, damage};
  guint32 root = GUINT32_FROM_LE (h2k_regf_base (regf)->root);

  if (!h2k_regf_key (regf, root))
    {
      h2k_damage_add (damage, root, H2K_DAMAGED_KEYS | H2K_DAMAGED_VALUES, "", "it is missing");
      return;
    }
  walk.levels = g_array_new (FALSE, FALSE, sizeof (Level));
  walk.keys = g_array_new (FALSE, FALSE, sizeof (guint32));
  walk.security = g_hash_table_new (NULL, NULL);
  walk.seen = g_malloc0 (regf->length / 64 + 1);
  walk.keys_left = walk.values_left = regf->length / sizeof (H2kRegfValue);
  walk.big_left = regf->length;
  set_seen (&walk, root);
  enter (&walk, root, H2K_REGF_NONE);
  while (walk.levels->len > 0)
    {
      Level *level = &g_array_index (walk.levels, Level, walk.levels->len - 1);

      if (level->next < walk.keys->len)
        enter (&walk, g_array_index (walk.keys, guint32, level->next++), level->key);
      else
        {
          g_array_set_size (walk.keys, level->first);
          g_array_set_size (walk.levels, walk.levels->len - 1);
        }
    }
  g_array_unref (walk.levels);
  g_array_unref (walk.keys);
  g_hash_table_unref (walk.security);
  g_free (walk.seen);
}
