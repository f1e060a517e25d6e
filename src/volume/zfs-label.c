/* zfs-label.c - reads the labels of ZFS devices.
 *
 * "ZFS On-Disk Specification" (2006), 1.2 and 1.3. A list of pairs begins with a version and flags;
 * each pair says how long it is, then name, type, number of elements, values; a pair of length 0
 * ends the list. Lists lie in lists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/zfs-label.h"

#include "util/digest.h"

enum
{
  LABEL_SIZE = 256 << 10,
  PAIRS_AT = 16 << 10,    /* behind a boot block's space and its header */
  PAIRS_SIZE = 112 << 10, /* with the checksum */
  TAIL_SIZE = 40,         /* at their end: a magic number and the checksum */
  HEAD_SIZE = 4,          /* before them: encoding, byte order */
  ENCODING_XDR = 1,
  MAX_DEPTH = 8, /* a spare that replaces a disk of a mirror: 4 */
};

#define TAIL_MAGIC G_GUINT64_CONSTANT (0x0210da7ab10c7a11)

/* Types of values; others are passed over. */
enum
{
  TYPE_UINT64 = 8,
  TYPE_STRING = 9,
  TYPE_LIST = 19,
  TYPE_LISTS = 20,
};

/* --- pairs ------------------------------------------------------------------------------------ */

typedef struct
{
  const guint8 *at, *end;
} Cursor;

typedef struct
{
  const char *name; /* NAME_LENGTH bytes */
  gsize name_length;
  guint32 type, count;
  Cursor value;
} Pair;

static gboolean
take_u32 (Cursor *cursor, guint32 *value)
{
  if (cursor->end - cursor->at < 4)
    return FALSE;
  *value = h2k_be32 (cursor->at);
  cursor->at += 4;
  return TRUE;
}

/* LENGTH bytes, filled up to a multiple of four. */
static gboolean
take_text (Cursor *cursor, const char **text, gsize *length)
{
  guint32 n;

  if (!take_u32 (cursor, &n) || n > (gsize)(cursor->end - cursor->at))
    return FALSE;
  *text = (const char *)cursor->at;
  *length = n;
  cursor->at += MIN ((gsize)(cursor->end - cursor->at), ((gsize)n + 3) & ~(gsize)3);
  return TRUE;
}

/* Take the next pair of LIST; FALSE at its end, which is behind the pair of length 0 if all is
 * well. */
static gboolean
next_pair (Cursor *list, Pair *pair)
{
  const guint8 *start = list->at;
  guint32 size, unpacked;

  if (!take_u32 (list, &size) || !take_u32 (list, &unpacked) || size < 8
      || size > (gsize)(list->end - start))
    return FALSE;
  pair->value = (Cursor){list->at, start + size};
  list->at = start + size;
  return take_text (&pair->value, &pair->name, &pair->name_length)
         && take_u32 (&pair->value, &pair->type) && take_u32 (&pair->value, &pair->count);
}

static gboolean
is_called (const Pair *pair, const char *name)
{
  return pair->name_length == strlen (name) && memcmp (pair->name, name, pair->name_length) == 0;
}

/* Go behind the version and the flags of a list. */
static gboolean
enter_list (Cursor *cursor)
{
  guint32 version, flags;

  return take_u32 (cursor, &version) && take_u32 (cursor, &flags) && version == 0;
}

static void
get_number (const Pair *pair, guint64 *number)
{
  if (pair->type == TYPE_UINT64 && pair->value.end - pair->value.at >= 8)
    *number = h2k_be64 (pair->value.at);
}

/* A text of one line; the first one counts. */
static void
get_text (const Pair *pair, char **text)
{
  Cursor value = pair->value;
  const char *bytes;
  gsize length;

  if (pair->type == TYPE_STRING && !*text && take_text (&value, &bytes, &length))
    *text = g_strndup (bytes, length);
}

/* --- the tree of devices ---------------------------------------------------------------------- */

static void
vdev_free (H2kZfsVdev *vdev)
{
  if (!vdev)
    return;
  g_free (vdev->type);
  g_free (vdev->path);
  g_ptr_array_unref (vdev->children);
  g_free (vdev);
}

static H2kZfsVdev *vdev_parse (Cursor *list, guint depth);

static void
parse_children (const Pair *pair, guint depth, GPtrArray *children)
{
  Cursor lists = pair->value;

  for (guint32 i = 0; i < pair->count && lists.at < lists.end; i++)
    {
      H2kZfsVdev *child = vdev_parse (&lists, depth + 1);
      if (!child)
        return;
      g_ptr_array_add (children, child);
    }
}

/* Take the device that the list at LIST describes. */
static H2kZfsVdev *
vdev_parse (Cursor *list, guint depth)
{
  H2kZfsVdev *vdev;
  Pair pair;

  if (depth > MAX_DEPTH || !enter_list (list))
    return NULL;
  vdev = g_new0 (H2kZfsVdev, 1);
  vdev->children = g_ptr_array_new_with_free_func ((GDestroyNotify)vdev_free);
  while (next_pair (list, &pair))
    if (is_called (&pair, "type"))
      get_text (&pair, &vdev->type);
    else if (is_called (&pair, "guid"))
      get_number (&pair, &vdev->guid);
    else if (is_called (&pair, "nparity"))
      get_number (&pair, &vdev->parity);
    else if (is_called (&pair, "path"))
      get_text (&pair, &vdev->path);
    else if (is_called (&pair, "children") && pair.type == TYPE_LISTS && !vdev->children->len)
      parse_children (&pair, depth, vdev->children);
  if (!vdev->type)
    vdev->type = g_strdup ("");
  return vdev;
}

/* --- a label ---------------------------------------------------------------------------------- */

void
h2k_zfs_label_free (H2kZfsLabel *label)
{
  if (!label)
    return;
  g_free (label->pool);
  g_free (label->hostname);
  vdev_free (label->top);
  g_free (label);
}

static H2kZfsState
state_of (guint64 number)
{
  return number < H2K_ZFS_UNKNOWN ? (H2kZfsState)number : H2K_ZFS_UNKNOWN;
}

static void
take_pair (H2kZfsLabel *label, const Pair *pair)
{
  guint64 state = G_MAXUINT64;
  const struct
  {
    const char *name;
    guint64 *number;
    char **text;
  } known[] = {
      {"version", &label->version, NULL},
      {"name", NULL, &label->pool},
      {"state", &state, NULL},
      {"txg", &label->txg, NULL},
      {"pool_guid", &label->pool_guid, NULL},
      {"hostid", &label->host_id, NULL},
      {"hostname", NULL, &label->hostname},
      {"guid", &label->guid, NULL},
      {"top_guid", &label->top_guid, NULL},
      {"vdev_children", &label->tops, NULL},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (known); i++)
    if (is_called (pair, known[i].name) && known[i].number)
      get_number (pair, known[i].number);
    else if (is_called (pair, known[i].name))
      get_text (pair, known[i].text);
  if (state != G_MAXUINT64)
    label->state = state_of (state);
}

/* BYTES are what lies between a label's boot header and its ring of uberblocks. */
static H2kZfsLabel *
parse (const guint8 *bytes)
{
  g_autoptr (H2kZfsLabel) label = g_new0 (H2kZfsLabel, 1);
  Cursor list = {bytes + HEAD_SIZE, bytes + PAIRS_SIZE - TAIL_SIZE};
  Pair pair;

  label->state = H2K_ZFS_UNKNOWN;
  if (bytes[0] != ENCODING_XDR || !enter_list (&list))
    return NULL;
  while (next_pair (&list, &pair))
    if (is_called (&pair, "vdev_tree") && pair.type == TYPE_LIST && !label->top)
      label->top = vdev_parse (&(Cursor){pair.value.at, pair.value.end}, 0);
    else
      take_pair (label, &pair);
  /* What every label has had since the first version. */
  return label->version && label->guid ? g_steal_pointer (&label) : NULL;
}

/* The checksum is SHA-256 over all the bytes with their place on the device in the checksum's
 * place, in the byte order of the host that wrote it. */
static gboolean
is_sound (guint8 *bytes, guint64 offset)
{
  guint8 *tail = bytes + PAIRS_SIZE - TAIL_SIZE, stored[32], sum[32];
  gboolean little = h2k_le64 (tail) == TAIL_MAGIC;
  guint64 place = little ? GUINT64_TO_LE (offset) : GUINT64_TO_BE (offset);

  if (!little && h2k_be64 (tail) != TAIL_MAGIC)
    return FALSE;
  memcpy (stored, tail + 8, sizeof stored);
  memset (tail + 8, 0, sizeof stored);
  memcpy (tail + 8, &place, sizeof place);
  h2k_sha256 (bytes, PAIRS_SIZE, sum);
  for (guint i = 0; i < 4; i++)
    if (h2k_be64 (sum + 8 * i) != (little ? h2k_le64 (stored + 8 * i) : h2k_be64 (stored + 8 * i)))
      return FALSE;
  return TRUE;
}

static gboolean
is_better (const H2kZfsLabel *label, const H2kZfsLabel *best)
{
  if (!best || label->is_sound != best->is_sound)
    return !best || label->is_sound;
  return label->txg > best->txg;
}

/* Read the label at OFFSET and keep the better one in BEST. */
static gboolean
look_at (H2kDisk *disk, guint64 offset, guint8 *bytes, H2kZfsLabel **best, GError **error)
{
  static const guint8 name[] = "\0\0\0\7version";
  H2kZfsLabel *label;

  /* Its first pair tells most of what is none. */
  if (!h2k_disk_pread (disk, offset + PAIRS_AT, 64, bytes, error))
    return FALSE;
  if (memcmp (bytes + 20, name, sizeof name - 1) != 0)
    return TRUE;
  if (!h2k_disk_pread (disk, offset + PAIRS_AT, PAIRS_SIZE, bytes, error))
    return FALSE;
  label = parse (bytes);
  if (label)
    label->is_sound = is_sound (bytes, offset + PAIRS_AT);
  if (label && is_better (label, *best))
    {
      h2k_zfs_label_free (*best);
      *best = g_steal_pointer (&label);
    }
  h2k_zfs_label_free (label);
  return TRUE;
}

H2kZfsLabel *
h2k_zfs_label_read (H2kDisk *disk, GError **error)
{
  guint64 size = disk->size / LABEL_SIZE * LABEL_SIZE;
  const guint64 places[] = {0, LABEL_SIZE, size - 2 * LABEL_SIZE, size - LABEL_SIZE};
  g_autofree guint8 *bytes = g_malloc (PAIRS_SIZE);
  H2kZfsLabel *best = NULL;

  for (gsize i = 0; size >= 4 * LABEL_SIZE && i < G_N_ELEMENTS (places); i++)
    if (!look_at (disk, places[i], bytes, &best, error))
      {
        h2k_zfs_label_free (best);
        return NULL;
      }
  return best;
}

/* --- the pool --------------------------------------------------------------------------------- */

static gboolean
has_guid (const GPtrArray *labels, guint64 guid)
{
  for (guint i = 0; i < labels->len; i++)
    if (((const H2kZfsLabel *)labels->pdata[i])->guid == guid)
      return TRUE;
  return FALSE;
}

/* Of the leaves below VDEV that are not there, into NAMES. Whether it works without them. */
static gboolean
is_there (const H2kZfsVdev *vdev, const GPtrArray *labels, GPtrArray *names)
{
  gboolean has_parity
      = g_str_has_prefix (vdev->type, "raidz") || g_str_has_prefix (vdev->type, "draid");
  guint64 there = 0,
          needed = has_parity ? vdev->children->len - MIN (vdev->parity, vdev->children->len) : 1;

  if (g_str_equal (vdev->type, "hole") || g_str_equal (vdev->type, "indirect"))
    return TRUE;
  if (vdev->children->len == 0)
    {
      gboolean found = has_guid (labels, vdev->guid);
      if (!found)
        g_ptr_array_add (names, g_strdup (vdev->path ? vdev->path : vdev->type));
      return found;
    }
  for (guint i = 0; i < vdev->children->len; i++)
    there += is_there (vdev->children->pdata[i], labels, names);
  return there >= needed;
}

static const H2kZfsLabel *
newest (const GPtrArray *labels)
{
  const H2kZfsLabel *best = NULL;

  for (guint i = 0; i < labels->len; i++)
    {
      const H2kZfsLabel *label = labels->pdata[i];
      if (label->top && (!best || label->txg > best->txg))
        best = label;
    }
  return best;
}

/* What is missing of the top-level devices that LABELS tell of. Each is described by the newest
 * label of one of its own devices. Returns how many are told of. */
static guint64
check_tops (const GPtrArray *labels, GString *missing)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_int64_hash, g_int64_equal);

  for (guint i = 0; i < labels->len; i++)
    {
      const H2kZfsLabel *label = labels->pdata[i];
      g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
      if (!label->top || !g_hash_table_add (seen, (gpointer)&label->top_guid)
          || is_there (label->top, labels, names))
        continue;
      for (guint j = 0; j < names->len; j++)
        g_string_append_printf (missing, "%s%s", missing->len ? ", " : "",
                                (const char *)names->pdata[j]);
    }
  return g_hash_table_size (seen);
}

gboolean
h2k_zfs_is_complete (const GPtrArray *labels, char **missing)
{
  const H2kZfsLabel *label = newest (labels);
  g_autoptr (GString) text = g_string_new (NULL);
  guint64 tops = check_tops (labels, text), wanted = label ? MAX (label->tops, 1) : 1;

  if (tops < wanted)
    g_string_append_printf (text,
                            "%s%" G_GUINT64_FORMAT " of the pool's %" G_GUINT64_FORMAT
                            " top-level devices",
                            text->len ? ", " : "", wanted - tops, wanted);
  if (missing)
    *missing = text->len ? g_strdup (text->str) : NULL;
  return text->len == 0;
}

const char *
h2k_zfs_state_name (H2kZfsState state)
{
  static const char *const names[]
      = {"active", "exported", "destroyed", "spare", "cache", "unknown"};

  return names[MIN (state, H2K_ZFS_UNKNOWN)];
}
