/* ntfs-check-index.c - walks one index of a volume that is checked, in the order of its keys.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/bits.h"
#include "fs/ntfs-check.h"
#include "fs/ntfs-node.h"

#define MAX_ROOT 65536u
/* The blocks of an index are read at once when they are not more than this; else one by one. */
#define MAX_AT_ONCE (8u << 20)
#define MAX_BITMAP (16u << 20)
#define MAX_IDS (16u << 20)

#define RULE_NAMES 1u
#define MAX_KEY 510u

typedef struct
{
  NtfsCheck *c;
  guint64 ref, number; /* of the file that has the index */
  NtfsCheckKind kind;
  guint block_size, unit;
  NtfsStream *blocks; /* NULL: there are none */
  guint64 n_blocks;
  guint8 *content; /* all of them; NULL: they are read one by one */
  guint8 *seen;    /* a bit a block */

  guint8 key[MAX_KEY]; /* the one before */
  guint n_key;         /* units of a name, bytes of others */
  guint64 n_entries;
  gboolean unsorted, strange;
  const char *why; /* it cannot be walked */
} Walk;

/* --- keys ------------------------------------------------------------------------------------- */

int
h2k_ntfs_check_collate (const NtfsCheck *c, const guint8 *a, guint n_a, const guint8 *b, guint n_b)
{
  for (guint i = 0; i < MIN (n_a, n_b); i++)
    {
      guint16 x = h2k_le16 (a + i * 2), y = h2k_le16 (b + i * 2);
      if (c->upcase)
        {
          x = c->upcase[x];
          y = c->upcase[y];
        }
      if (x != y)
        return x < y ? -1 : 1;
    }
  return n_a < n_b ? -1 : n_a > n_b;
}

static void
keep_key (Walk *w, const guint8 *key, guint n, gsize size)
{
  memcpy (w->key, key, size);
  w->n_key = n;
}

/* Names that differ in case only are both there in directories that tell case; which comes first
 * is no matter. */
static void
check_name (Walk *w, const guint8 *entry)
{
  const guint8 *key = entry + H2K_NTFS_ENTRY_KEY, *name = key + H2K_NTFS_NAME;
  guint64 child = h2k_le64 (entry), number = NTFS_RECORD_NUMBER (child);
  guint n = key[H2K_NTFS_NAME_UNITS];

  w->strange |= !n || h2k_le64 (key) != w->ref;
  if (w->n_entries)
    {
      int order = h2k_ntfs_check_collate (w->c, w->key, w->n_key, name, n);
      w->unsorted
          |= order > 0 || (order == 0 && n == w->n_key && memcmp (w->key, name, n * 2) == 0);
    }
  keep_key (w, name, n, n * 2);
  if (number >= w->c->n_records)
    {
      h2k_ntfs_check_say (w->c, w->number,
                          "an entry leads to file %" G_GUINT64_FORMAT ", which is not there",
                          number);
      return;
    }
  w->c->files[number].n_entries++;
  w->c->files[number].names -= h2k_ntfs_check_name_sum (w->ref, child, name, n);
}

/* A key is le32 each: the id, or (first) the hash. The data are the entry's header in $SDS. */
static void
check_security (Walk *w, const guint8 *entry)
{
  const guint8 *key = entry + H2K_NTFS_ENTRY_KEY;
  gsize size = w->kind == NTFS_CHECK_IDS ? 4 : 8;

  if (h2k_le16 (entry + 10) != size || h2k_le16 (entry + 2) < H2K_NTFS_SDS_HEADER)
    {
      w->strange = TRUE;
      return;
    }
  if (w->n_entries)
    {
      guint64 before = h2k_le32 (w->key), now = h2k_le32 (key);
      if (size == 8)
        {
          before = before << 32 | h2k_le32 (w->key + 4);
          now = now << 32 | h2k_le32 (key + 4);
        }
      w->unsorted |= before >= now;
    }
  keep_key (w, key, (guint)size, size);
  if (w->kind == NTFS_CHECK_IDS && w->c->securities->len < MAX_IDS)
    {
      const guint8 *data = entry + h2k_le16 (entry);
      NtfsCheckSecurity security = {h2k_le64 (data + 8), h2k_le32 (key), h2k_le32 (data + 16)};
      g_array_append_val (w->c->securities, security);
    }
}

static void
check_key (Walk *w, const guint8 *entry)
{
  if (w->kind == NTFS_CHECK_NAMES)
    check_name (w, entry);
  else if (w->kind != NTFS_CHECK_OTHER)
    check_security (w, entry);
  w->n_entries++;
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* FALSE: WHY is set, or ERROR is, by the disk. */
static gboolean walk_node (Walk *w, const guint8 *data, gsize size, guint depth, GError **error);

static gboolean
refuse (Walk *w, const char *why)
{
  w->why = why;
  return FALSE;
}

static gboolean
walk_block (Walk *w, guint64 number, guint depth, GError **error)
{
  guint64 at = number > G_MAXINT64 / w->unit ? G_MAXUINT64 : number * w->unit;
  guint64 i = at / w->block_size;
  g_autofree guint8 *own = NULL;
  guint8 *block;

  if (at % w->block_size || i >= w->n_blocks)
    return refuse (w, "leads to a block that is not there");
  if (h2k_bit_get (w->seen, i) || depth > H2K_NTFS_MAX_DEPTH)
    return refuse (w, "leads to a block twice");
  w->seen[i / 8] |= (guint8)(1 << i % 8);
  if (w->content)
    block = w->content + at;
  else
    {
      block = own = g_malloc (w->block_size);
      if (!h2k_ntfs_read (&w->c->volume, w->blocks, at, w->block_size, block, error))
        return FALSE;
    }
  if (!h2k_ntfs_fix (block, w->block_size, "INDX") || h2k_le64 (block + 16) != number)
    return refuse (w, "has a damaged block");
  return walk_node (w, block + H2K_NTFS_BLOCK_NODE, w->block_size - H2K_NTFS_BLOCK_NODE, depth,
                    error);
}

static gboolean
walk_node (Walk *w, const guint8 *data, gsize size, guint depth, GError **error)
{
  NtfsNode node;
  const guint8 *entry;
  guint length;

  if (!h2k_ntfs_node_open (&node, data, size, w->kind == NTFS_CHECK_NAMES))
    return refuse (w, "has a damaged node");
  do
    {
      if (!h2k_ntfs_node_next (&node, &entry, &length))
        return refuse (w, "has a damaged entry");
      if (node.children && !walk_block (w, h2k_le64 (entry + length - 8), depth + 1, error))
        return FALSE;
      if (!(h2k_le16 (entry + 12) & H2K_NTFS_ENTRY_IS_END))
        check_key (w, entry);
    }
  while (!(h2k_le16 (entry + 12) & H2K_NTFS_ENTRY_IS_END));
  return TRUE;
}

/* --- the whole -------------------------------------------------------------------------------- */

static gboolean
get_stream (Walk *w, const guint8 *record, guint32 type, const char *name, NtfsStream **stream,
            GError **error)
{
  return record ? h2k_ntfs_stream_in (&w->c->volume, record, w->number, type, name, stream, error)
                : h2k_ntfs_stream (&w->c->volume, w->number, 0, type, name, stream, error);
}

/* Find the blocks, and read them unless they are too many. */
static gboolean
open_blocks (Walk *w, const guint8 *record, const char *name, NtfsStream **blocks, GError **error)
{
  if (!get_stream (w, record, NTFS_INDEX_ALLOCATION, name, blocks, error))
    return FALSE;
  w->blocks = *blocks;
  if (!w->blocks)
    return TRUE;
  if (w->blocks->value || w->blocks->flags & 0xff || w->blocks->size > w->c->volume.disk->size)
    return refuse (w, "has blocks of an impossible size");
  w->n_blocks = w->blocks->size / w->block_size;
  w->seen = g_malloc0 ((gsize)w->n_blocks / 8 + 1);
  if (w->blocks->size > MAX_AT_ONCE)
    return TRUE;
  w->content = g_malloc ((gsize)w->blocks->size + 1);
  return h2k_ntfs_read (&w->c->volume, w->blocks, 0, (gsize)w->blocks->size, w->content, error);
}

/* The bitmap has a bit for each block. */
static gboolean
compare_bitmap (Walk *w, const guint8 *record, const char *name, GError **error)
{
  g_autoptr (NtfsStream) stream = NULL;
  g_autofree guint8 *bits = NULL;

  if (!w->blocks)
    return TRUE;
  if (!get_stream (w, record, NTFS_BITMAP, name, &stream, error))
    return FALSE;
  if (!stream || stream->size > MAX_BITMAP || stream->size < (w->n_blocks + 7) / 8)
    return refuse (w, "has a bitmap of an impossible size");
  bits = g_malloc ((gsize)stream->size + 1);
  if (!h2k_ntfs_read (&w->c->volume, stream, 0, (gsize)stream->size, bits, error))
    return FALSE;
  for (guint64 i = 0; i < w->n_blocks; i++)
    if (h2k_bit_get (w->seen, i) && !h2k_bit_get (bits, i))
      return refuse (w, "has a block that is free in its bitmap");
    else if (!h2k_bit_get (w->seen, i) && h2k_bit_get (bits, i))
      w->c->n_spare++;
  return TRUE;
}

static gboolean
walk_index (Walk *w, const guint8 *record, const char *name, GError **error)
{
  g_autoptr (NtfsStream) root = NULL, blocks = NULL;
  gboolean of_names = w->kind == NTFS_CHECK_NAMES;

  if (!get_stream (w, record, NTFS_INDEX_ROOT, name, &root, error))
    return FALSE;
  if (!root || !root->value || root->size < H2K_NTFS_ROOT_NODE || root->size > MAX_ROOT)
    return refuse (w, "has no root");
  w->block_size = h2k_le32 (root->value + 8);
  if (w->block_size < 512 || w->block_size > H2K_NTFS_MAX_BLOCK
      || (w->block_size & (w->block_size - 1)))
    return refuse (w, "has blocks of an impossible size");
  if (of_names
          ? h2k_le32 (root->value) != NTFS_FILE_NAME || h2k_le32 (root->value + 4) != RULE_NAMES
          : h2k_le32 (root->value) != 0)
    return refuse (w, "is of something that is not known");
  w->unit = h2k_ntfs_block_unit (w->block_size, w->c->volume.cluster_size);
  return open_blocks (w, record, name, &blocks, error)
         && walk_node (w, root->value + H2K_NTFS_ROOT_NODE, (gsize)root->size - H2K_NTFS_ROOT_NODE,
                       0, error)
         && compare_bitmap (w, record, name, error);
}

/* Say what WALK found. FALSE is the disk's error. */
static gboolean
say (Walk *w, const char *name, GError *failure, GError **error)
{
  g_autofree char *what = NULL;

  if (w->unsorted)
    h2k_ntfs_check_say (w->c, w->number, "its index %s is not sorted, or has a key twice", name);
  if (w->strange)
    h2k_ntfs_check_say (w->c, w->number, "its index %s has entries that cannot be in it", name);
  if (!w->why && !failure)
    return TRUE;
  w->c->lost = TRUE;
  if (w->why)
    {
      h2k_ntfs_check_say (w->c, w->number, "its index %s %s", name, w->why);
      return TRUE;
    }
  what = g_strdup_printf ("its index %s cannot be read", name);
  return h2k_ntfs_check_failure (w->c, w->number, what, failure, error);
}

gboolean
h2k_ntfs_check_index (NtfsCheck *c, guint64 ref, const guint8 *record, const char *name,
                      NtfsCheckKind kind, guint64 *n_entries, GError **error)
{
  Walk w = {.c = c, .ref = ref, .number = NTFS_RECORD_NUMBER (ref), .kind = kind};
  GError *failure = NULL;
  gboolean ok;

  walk_index (&w, record, name, &failure);
  ok = say (&w, name, failure, error);
  if (n_entries)
    *n_entries = w.n_entries;
  g_free (w.content);
  g_free (w.seen);
  return ok;
}
