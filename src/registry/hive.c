/* hive.c - hives opened and read.
 *
 * hivex trusts much of what it reads, and runs over the end of the file or in circles where a hive
 * was made to do that to it. So all cells, keys and values are checked first, and hivex is asked of
 * none that is damaged.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"
#include "registry/regf-log.h"

#include <errno.h>

#define CHUNK (1u << 20)
/* A log is a few times smaller than its hive. */
#define MAX_LOG (1u << 30)

/* --- opening ---------------------------------------------------------------------------------- */

/* The file PATH in a mapped copy of which the first SIZE bytes are the file's. */
static H2kRegf *
load (H2kFs *fs, const char *path, guint64 most, const char *temp_dir, guint64 *size,
      GError **error)
{
  g_autoptr (H2kRegf) copy = NULL;
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, error))
    return NULL;
  *size = st.size;
  if ((st.mode & 0170000) != 0100000 || st.size == 0 || st.size > most)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "it has an impossible size");
      return NULL;
    }
  copy = h2k_regf_new (temp_dir, st.size, error);
  for (guint64 at = 0; copy && at < st.size; at += CHUNK)
    {
      gsize length = (gsize)MIN (st.size - at, CHUNK);
      g_autoptr (GBytes) bytes = fs->ops->read (fs, path, at, length, error);

      if (!bytes)
        return NULL;
      memcpy (copy->data + at, g_bytes_get_data (bytes, NULL),
              MIN (length, g_bytes_get_size (bytes)));
    }
  return g_steal_pointer (&copy);
}

/* The logs that lie beside the hive, in the order in which Windows tries them. */
static gboolean
find_logs (H2kHive *hive, GError **error)
{
  static const char *const suffixes[] = {".LOG1", ".LOG2", ".LOG"};
  g_autofree char *dir = g_path_get_dirname (hive->path);
  g_autofree char *base = g_path_get_basename (hive->path);
  g_autoptr (GPtrArray) names = hive->fs->ops->list (hive->fs, dir, error);

  if (!names)
    return FALSE;
  g_ptr_array_set_free_func (names, g_free);
  for (guint s = 0; s < G_N_ELEMENTS (suffixes); s++)
    {
      g_autofree char *wanted = g_strconcat (base, suffixes[s], NULL);

      for (guint i = 0; i < names->len; i++)
        {
          g_autofree char *valid = g_utf8_make_valid (names->pdata[i], -1);

          if (h2k_reg_same_name (valid, wanted))
            g_ptr_array_add (hive->logs, g_build_filename (dir, names->pdata[i], NULL));
        }
    }
  return TRUE;
}

static void
take_notes (H2kHive *hive, GPtrArray *notes)
{
  for (guint i = 0; i < notes->len; i++)
    g_ptr_array_add (hive->info.notes, h2k_escape_text (notes->pdata[i], -1));
}

/* Replay the logs into the copy. */
static gboolean
replay (H2kHive *hive, GError **error)
{
  g_autofree H2kRegfLog *logs = g_new0 (H2kRegfLog, hive->logs->len + 1);
  g_autoptr (GPtrArray) copies = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_regf_free);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const H2kRegfBase *base = h2k_regf_base (hive->regf);
  H2kRegfReplay result = {0};
  guint n = 0;
  gboolean ok, clean = h2k_regf_base_is_valid (base) && base->sequence1 == base->sequence2;

  for (guint i = 0; i < hive->logs->len && !clean; i++)
    {
      const char *path = hive->logs->pdata[i];
      guint64 size = 0;
      g_autoptr (GError) problem = NULL;
      H2kRegf *copy = load (hive->fs, path, MAX_LOG, hive->temp_dir, &size, &problem);

      if (!copy && size > 0)
        {
          g_autofree char *note = g_strdup_printf ("%s is not used: %s", path, problem->message);

          g_ptr_array_add (hive->info.notes, h2k_escape_text (note, -1));
        }
      if (!copy)
        continue;
      g_ptr_array_add (copies, copy);
      g_ptr_array_add (names, g_path_get_basename (path));
      logs[n++] = (H2kRegfLog){names->pdata[names->len - 1], copy->data, (gsize)size};
    }
  ok = h2k_regf_replay (hive->regf, logs, n, &result, error);
  take_notes (hive, result.notes);
  hive->info.was_dirty = result.was_dirty;
  hive->info.header_recovered = result.header_recovered;
  hive->info.n_entries = result.n_entries;
  hive->info.n_pages = result.n_pages;
  hive->info.sequence = result.sequence;
  hive->highest = result.highest;
  for (guint i = 0; i < result.replayed->len; i++)
    g_ptr_array_add (hive->info.replayed, h2k_escape_text (result.replayed->pdata[i], -1));
  h2k_regf_replay_clear (&result);
  return ok;
}

static gboolean
check_version (H2kHive *hive, GError **error)
{
  const H2kRegfBase *base = h2k_regf_base (hive->regf);

  hive->info.major = GUINT32_FROM_LE (base->major);
  hive->info.minor = GUINT32_FROM_LE (base->minor);
  hive->info.written = GUINT64_FROM_LE (base->written);
  hive->info.is_differencing
      = hive->info.minor >= 6 && GUINT32_FROM_LE (base->flags) & H2K_REGF_FLAG_LAYERED;
  if (hive->info.major == 1 && hive->info.minor >= 2 && hive->info.minor <= 6
      && GUINT32_FROM_LE (base->format) == 1)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "version %u.%u of hives is not known",
               hive->info.major, hive->info.minor);
  return FALSE;
}

/* Find out what of the copy is intact. */
static gboolean
check (H2kHive *hive, GError **error)
{
  g_autofree char *wrong = h2k_regf_check_bins (hive->regf, TRUE);
  guint32 root = GUINT32_FROM_LE (h2k_regf_base (hive->regf)->root);

  if (wrong)
    h2k_damage_add (hive->damage, H2K_REGF_NONE, H2K_DAMAGED_OTHER, NULL, wrong);
  if (!h2k_regf_key (hive->regf, root))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s", wrong ? wrong : "its root is missing");
      return FALSE;
    }
  h2k_regf_base (hive->regf)->length = GUINT32_TO_LE (hive->regf->length);
  h2k_regf_set_clean (hive->regf, hive->info.sequence);
  h2k_regf_check_tree (hive->regf, hive->damage);
  take_notes (hive, hive->damage->texts);
  return TRUE;
}

gboolean
h2k_hive_open_hivex (H2kHive *hive, gboolean writable, GError **error)
{
  char path[64];

  g_clear_pointer (&hive->hivex, hivex_close);
  g_snprintf (path, sizeof path, "/proc/self/fd/%d", hive->regf->fd);
  hive->hivex = hivex_open (path, writable ? HIVEX_OPEN_WRITE : 0);
  hive->hivex_writes = writable;
  if (!hive->hivex)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "hivex cannot open it: %s",
                 g_strerror (errno));
  return hive->hivex != NULL;
}

static H2kHive *
hive_new (H2kFs *fs, const char *path, gboolean writable, const char *temp_dir)
{
  H2kHive *hive = g_new0 (H2kHive, 1);

  hive->fs = fs;
  hive->path = g_strdup (path);
  hive->temp_dir = g_strdup (temp_dir);
  hive->writable = writable;
  hive->logs = g_ptr_array_new_with_free_func (g_free);
  hive->info.replayed = g_ptr_array_new_with_free_func (g_free);
  hive->info.notes = g_ptr_array_new_with_free_func (g_free);
  hive->info.backups = g_ptr_array_new_with_free_func (g_free);
  hive->damage = h2k_damage_new ();
  hive->edits = g_hash_table_new_full (NULL, NULL, NULL, (GDestroyNotify)h2k_regf_edit_free);
  return hive;
}

static gboolean
open_hive (H2kHive *hive, GError **error)
{
  hive->regf = load (hive->fs, hive->path, (guint64)H2K_REGF_MAX + H2K_REGF_BASE, hive->temp_dir,
                     &hive->info.size, error);
  if (!hive->regf)
    return FALSE;
  if (memcmp (h2k_regf_base (hive->regf)->magic, "regf", 4) != 0
      || hive->regf->size < H2K_REGF_BASE + H2K_REGF_PAGE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "it is no registry hive");
      return FALSE;
    }
  return find_logs (hive, error) && replay (hive, error) && check_version (hive, error)
         && check (hive, error) && h2k_hive_open_hivex (hive, FALSE, error);
}

H2kHive *
h2k_hive_open (H2kFs *fs, const char *path, gboolean writable, const char *temp_dir, GError **error)
{
  g_autoptr (H2kHive) hive = hive_new (fs, path, writable, temp_dir);
  g_autofree char *escaped = h2k_escape_text (path, -1);

  if ((writable && !h2k_fs_check_writable (fs, error)) || !open_hive (hive, error))
    {
      g_prefix_error (error, "%s: ", escaped);
      return NULL;
    }
  return g_steal_pointer (&hive);
}

void
h2k_hive_free (H2kHive *hive)
{
  if (!hive)
    return;
  g_clear_pointer (&hive->hivex, hivex_close);
  h2k_regf_free (hive->regf);
  h2k_damage_free (hive->damage);
  g_hash_table_unref (hive->edits);
  g_ptr_array_unref (hive->logs);
  g_ptr_array_unref (hive->info.replayed);
  g_ptr_array_unref (hive->info.notes);
  g_ptr_array_unref (hive->info.backups);
  g_free (hive->broken);
  g_free (hive->path);
  g_free (hive->temp_dir);
  g_free (hive);
}

const H2kHiveInfo *
h2k_hive_info (const H2kHive *hive)
{
  return &hive->info;
}

const char *
h2k_hive_path (const H2kHive *hive)
{
  return hive->path;
}

/* --- keys ------------------------------------------------------------------------------------- */

static gboolean
is_damaged (const H2kHive *hive, gsize place, H2kDamageKind kind)
{
  return h2k_damage_has (hive->damage, H2K_HIVEX_OFFSET (place), kind);
}

/* hivex has limits: a key of more than 70000 keys or 110000 values is none that it lists, nor are
 * data of more than 8 MB, or names that are not valid UTF-16. It does not change any of these
 * either: so they are as they were found. */

/* The keys in NODE, 0 at the end; NULL: they cannot be read. The caller's. */
static hive_node_h *
list_nodes (H2kHive *hive, hive_node_h node)
{
  const H2kRegfKey *key;
  g_autoptr (GArray) keys = NULL;
  hive_node_h *nodes, at;

  if (is_damaged (hive, node, H2K_DAMAGED_KEYS))
    return NULL;
  nodes = hivex_node_children (hive->hivex, node);
  key = nodes ? NULL : h2k_regf_key (hive->regf, H2K_HIVEX_OFFSET (node));
  if (!key)
    return nodes;
  keys = g_array_new (FALSE, FALSE, sizeof (guint32));
  if (!h2k_regf_list_keys (hive->regf, key, keys))
    return NULL;
  nodes = g_new0 (hive_node_h, keys->len + 1);
  for (at = 0; at < keys->len; at++)
    nodes[at] = H2K_REGF_BASE + (hive_node_h)g_array_index (keys, guint32, at);
  return nodes;
}

static char *
name_of (H2kHive *hive, hive_node_h node)
{
  char *name = hivex_node_name (hive->hivex, node);
  const H2kRegfKey *key = name ? NULL : h2k_regf_key (hive->regf, H2K_HIVEX_OFFSET (node));

  return key ? h2k_regf_key_name (key) : name;
}

hive_node_h
h2k_hive_find_child (H2kHive *hive, hive_node_h node, const char *child)
{
  g_autofree hive_node_h *nodes = list_nodes (hive, node);

  for (gsize i = 0; nodes && nodes[i]; i++)
    {
      g_autofree char *name = name_of (hive, nodes[i]);

      if (name && h2k_reg_same_name (name, child))
        return nodes[i];
    }
  return 0;
}

hive_node_h
h2k_hive_find (H2kHive *hive, const char *key)
{
  g_auto (GStrv) names = g_strsplit (key, "\\", -1);
  hive_node_h node = hivex_root (hive->hivex);

  for (guint i = 0; names[i] && node; i++)
    node = h2k_hive_find_child (hive, node, names[i]);
  return node;
}

gboolean
h2k_hive_has_key (H2kHive *hive, const char *key)
{
  return hive->hivex && h2k_hive_find (hive, key) != 0;
}

GPtrArray *
h2k_hive_list_keys (H2kHive *hive, const char *key)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  hive_node_h node = hive->hivex ? h2k_hive_find (hive, key) : 0;
  g_autofree hive_node_h *nodes = node ? list_nodes (hive, node) : NULL;

  for (gsize i = 0; nodes && nodes[i]; i++)
    {
      char *name = name_of (hive, nodes[i]);

      if (name)
        g_ptr_array_add (names, name);
    }
  return names;
}

/* --- values ----------------------------------------------------------------------------------- */

/* The value at PLACE; NULL: it cannot be read, or has another name than WANTED (may be NULL). */
static H2kRegValue *
read_value (H2kHive *hive, hive_value_h place, const char *wanted)
{
  const H2kRegfValue *raw = NULL;
  g_autofree char *name = NULL, *data = NULL;
  g_autoptr (GBytes) bytes = NULL;
  hive_type type;
  gsize length;

  if (is_damaged (hive, place, H2K_DAMAGED_VALUE))
    return NULL;
  name = hivex_value_key (hive->hivex, place);
  if (!name && (raw = h2k_regf_value (hive->regf, H2K_HIVEX_OFFSET (place))) != NULL)
    name = h2k_regf_value_name (raw);
  if (!name || (wanted && !h2k_reg_same_name (name, wanted)))
    return NULL;
  data = hivex_value_value (hive->hivex, place, &type, &length);
  if (data)
    return h2k_reg_new (name, type, data, length);
  raw = h2k_regf_value (hive->regf, H2K_HIVEX_OFFSET (place));
  if (!raw)
    return NULL;
  bytes = h2k_regf_value_data (hive->regf, raw);
  return h2k_reg_new (name, GUINT32_FROM_LE (raw->type), g_bytes_get_data (bytes, NULL),
                      g_bytes_get_size (bytes));
}

/* The values of KEY, 0 at the end; NULL: there are none. The caller's. */
static hive_value_h *
list_places (H2kHive *hive, const char *key)
{
  hive_node_h node = hive->hivex ? h2k_hive_find (hive, key) : 0;
  const H2kRegfKey *raw;
  const guint8 *list;
  hive_value_h *places;
  guint32 n;

  if (!node || is_damaged (hive, node, H2K_DAMAGED_VALUES))
    return NULL;
  places = hivex_node_values (hive->hivex, node);
  raw = places ? NULL : h2k_regf_key (hive->regf, H2K_HIVEX_OFFSET (node));
  if (!raw)
    return places;
  list = h2k_regf_list_values (hive->regf, raw, &n);
  places = g_new0 (hive_value_h, (gsize)n + 1);
  for (guint32 i = 0; i < n; i++)
    places[i] = H2K_REGF_BASE + (hive_value_h)h2k_le32 (list + 4 * (gsize)i);
  return places;
}

GPtrArray *
h2k_hive_list_values (H2kHive *hive, const char *key)
{
  GPtrArray *values = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_reg_value_free);
  g_autofree hive_value_h *places = list_places (hive, key);

  for (gsize i = 0; places && places[i]; i++)
    {
      H2kRegValue *value = read_value (hive, places[i], NULL);

      if (value)
        g_ptr_array_add (values, value);
    }
  return values;
}

H2kRegValue *
h2k_hive_get (H2kHive *hive, const char *key, const char *name)
{
  g_autofree hive_value_h *places = list_places (hive, key);
  H2kRegValue *value = NULL;

  for (gsize i = 0; places && places[i] && !value; i++)
    value = read_value (hive, places[i], name);
  return value;
}

gboolean
h2k_hive_get_dword (H2kHive *hive, const char *key, const char *name, guint32 *out)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, name);

  return h2k_reg_value_dword (value, out);
}

gboolean
h2k_hive_get_qword (H2kHive *hive, const char *key, const char *name, guint64 *out)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, name);

  return h2k_reg_value_qword (value, out);
}

char *
h2k_hive_get_string (H2kHive *hive, const char *key, const char *name)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, name);

  return h2k_reg_value_string (value);
}

GStrv
h2k_hive_get_strings (H2kHive *hive, const char *key, const char *name)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, name);

  return h2k_reg_value_strings (value);
}
