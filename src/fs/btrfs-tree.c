/* btrfs-tree.c - the trees of a btrfs filesystem: nodes, and places in them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-tree.h"

#define MAX_CACHED (8u << 20)

/* The header of a node: csum, fsid 32, le64 48 address, le64 80 generation, le64 88 owner,
 * le32 96 items, u8 100 level. Behind it, keys with le32 offset and le32 size of an item's data
 * (level 0), or with le64 address and le64 generation of a node. */
#define HEADER 101u
#define KEY 17u
#define ITEM (KEY + 8u)
#define POINTER (KEY + 16u)

/* --- nodes ------------------------------------------------------------------------------------ */

static BtrfsKey
get_key (const guint8 *p)
{
  return (BtrfsKey){h2k_le64 (p), p[8], h2k_le64 (p + 9)};
}

static int
compare_keys (const BtrfsKey *a, const BtrfsKey *b)
{
  if (a->objectid != b->objectid)
    return a->objectid < b->objectid ? -1 : 1;
  if (a->type != b->type)
    return a->type < b->type ? -1 : 1;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static guint
n_items (const guint8 *node)
{
  return h2k_le32 (node + 96);
}

static BtrfsKey
key_of (const guint8 *node, guint slot)
{
  return get_key (node + HEADER + slot * (node[100] ? POINTER : ITEM));
}

/* Whether the node is what it should be in itself. */
static gboolean
check_node (const BtrfsVolume *volume, const guint8 *node, guint64 logical)
{
  guint room = volume->node_size - HEADER, n = n_items (node), level = node[100];

  if (!h2k_btrfs_block_is_right (volume, node, volume->node_size)
      || memcmp (node + 32, volume->fsid, sizeof volume->fsid) != 0
      || h2k_le64 (node + 48) != logical || h2k_le64 (node + 80) > volume->generation
      || level >= BTRFS_MAX_LEVEL || n > room / (level ? POINTER : ITEM) || (level && n == 0))
    return FALSE;
  for (guint i = 0; i < n; i++)
    {
      const guint8 *item = node + HEADER + i * ITEM;
      BtrfsKey key = key_of (node, i), before;
      if (i)
        {
          before = key_of (node, i - 1);
          if (compare_keys (&before, &key) >= 0)
            return FALSE;
        }
      if (level == 0
          && (h2k_le32 (item + KEY) > room
              || h2k_le32 (item + KEY + 4) > room - h2k_le32 (item + KEY)))
        return FALSE;
    }
  return TRUE;
}

/* Read a copy of a node, which may go over several pieces. *THERE: whether it is on devices that
 * are. */
static gboolean
read_copy (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical, guint copy,
           guint8 *data, gboolean *there, GError **error)
{
  guint64 n, place;

  *there = TRUE;
  for (guint at = 0; at < volume->node_size; at += (guint)n)
    {
      n = h2k_btrfs_piece (chunk, logical + at, volume->node_size - at);
      *there = h2k_btrfs_place (volume, chunk, logical + at, copy, &place);
      if (!*there)
        return TRUE;
      if (!h2k_disk_pread (volume->disk, place, (gsize)n, data + at, error))
        return FALSE;
    }
  return TRUE;
}

/* Read the node at LOGICAL of CHUNK into DATA, from the first of its copies that is in order and no
 * older one. */
static gboolean
read_any_copy (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical,
               guint64 generation, guint8 *data, GError **error)
{
  gboolean there, all_there = TRUE;

  for (guint i = 0; i < chunk->n_copies; i++)
    {
      if (!read_copy (volume, chunk, logical, i, data, &there, error))
        return FALSE;
      if (there && check_node (volume, data, logical) && h2k_le64 (data + 80) == generation)
        return TRUE;
      all_there = all_there && there;
    }
  return all_there
             ? h2k_btrfs_corrupt (volume, error,
                                  "the tree block at %" G_GUINT64_FORMAT " is damaged", logical)
             : h2k_btrfs_set_missing (volume, chunk, logical, error);
}

static GBytes *
read_node (BtrfsVolume *volume, guint64 logical, guint64 generation, GError **error)
{
  const BtrfsChunk *chunk = h2k_btrfs_find_chunk (volume, logical);
  GBytes *node = h2k_cache_get (volume->nodes, logical);
  g_autofree guint8 *data = NULL;

  if (node)
    return node;
  if (!chunk || logical % volume->sector_size
      || volume->node_size > chunk->logical + chunk->length - logical)
    {
      h2k_btrfs_corrupt (volume, error, "a tree block lies nowhere");
      return NULL;
    }
  data = g_malloc (volume->node_size);
  if (!read_any_copy (volume, chunk, logical, generation, data, error))
    return NULL;
  node = g_bytes_new_take (g_steal_pointer (&data), volume->node_size);
  h2k_cache_put (volume->nodes, logical, node);
  return node;
}

gboolean
h2k_btrfs_is_subvolume (guint64 id)
{
  /* Beyond 48 bits are groups of quotas, and trees with a purpose, which count downwards. */
  return id == BTRFS_TOP_TREE || (id >= 256 && id >> 48 == 0);
}

/* Snapshots share nodes with the subvolume that they were made of. */
static gboolean
owner_fits (guint64 owner, guint64 tree)
{
  return owner == tree || (h2k_btrfs_is_subvolume (owner) && h2k_btrfs_is_subvolume (tree));
}

/* The node that its parent, or the root, says is at LOGICAL. FIRST: its first key, or NULL. */
static GBytes *
get_node (BtrfsVolume *volume, guint64 tree, guint64 logical, guint64 generation, guint level,
          const BtrfsKey *first, GError **error)
{
  g_autoptr (GBytes) node = read_node (volume, logical, generation, error);
  const guint8 *data;
  BtrfsKey key;

  if (!node)
    return NULL;
  data = g_bytes_get_data (node, NULL);
  if (first && n_items (data))
    key = key_of (data, 0);
  if (data[100] != level || h2k_le64 (data + 80) != generation
      || !owner_fits (h2k_le64 (data + 88), tree)
      || (first && (!n_items (data) || compare_keys (&key, first) != 0)))
    {
      h2k_btrfs_corrupt (volume, error,
                         "the tree block at %" G_GUINT64_FORMAT
                         " is not the one that belongs there",
                         logical);
      return NULL;
    }
  return g_steal_pointer (&node);
}

/* The first slot of NODE whose key is not before KEY. */
static guint
find_slot (const guint8 *node, const BtrfsKey *key)
{
  guint low = 0, high = n_items (node);

  while (low < high)
    {
      guint middle = (low + high) / 2;
      BtrfsKey other = key_of (node, middle);
      if (compare_keys (&other, key) < 0)
        low = middle + 1;
      else
        high = middle;
    }
  return low;
}

/* --- cursors ---------------------------------------------------------------------------------- */

void
h2k_btrfs_cursor_clear (BtrfsCursor *cursor)
{
  g_clear_pointer (&cursor->leaf, g_bytes_unref);
}

/* Go to the leaf in which KEY would be. */
static gboolean
find_leaf (BtrfsCursor *cursor, const BtrfsKey *key, GError **error)
{
  const BtrfsRoot *root = cursor->root;
  g_autoptr (GBytes) node = get_node (cursor->volume, root->owner, root->bytenr, root->generation,
                                      root->level, NULL, error);

  h2k_btrfs_cursor_clear (cursor);
  cursor->is_last = TRUE;
  for (guint level = root->level; node && level > 0; level--)
    {
      const guint8 *data = g_bytes_get_data (node, NULL), *pointer;
      guint slot = find_slot (data, key);
      BtrfsKey first = {0};
      GBytes *child;

      if (slot < n_items (data))
        first = key_of (data, slot);
      /* The child whose first key is not behind KEY, or else the first one. */
      if (slot && (slot == n_items (data) || compare_keys (&first, key) > 0))
        slot--;
      first = key_of (data, slot);
      if (slot + 1 < n_items (data))
        {
          cursor->is_last = FALSE;
          cursor->next_leaf = key_of (data, slot + 1);
        }
      pointer = data + HEADER + slot * POINTER + KEY;
      child = get_node (cursor->volume, root->owner, h2k_le64 (pointer), h2k_le64 (pointer + 8),
                        level - 1, &first, error);
      g_bytes_unref (node);
      node = child;
    }
  cursor->leaf = g_steal_pointer (&node);
  return cursor->leaf != NULL;
}

static void
set_slot (BtrfsCursor *cursor, guint slot)
{
  const guint8 *leaf = g_bytes_get_data (cursor->leaf, NULL);
  const guint8 *item = leaf + HEADER + slot * ITEM;

  cursor->slot = slot;
  cursor->key = get_key (item);
  cursor->data = leaf + HEADER + h2k_le32 (item + KEY);
  cursor->size = h2k_le32 (item + KEY + 4);
}

gboolean
h2k_btrfs_seek (BtrfsCursor *cursor, const BtrfsKey *key, GError **error)
{
  BtrfsKey wanted = *key;

  for (;;)
    {
      const guint8 *leaf;
      guint slot;
      if (!find_leaf (cursor, &wanted, error))
        return FALSE;
      leaf = g_bytes_get_data (cursor->leaf, NULL);
      slot = find_slot (leaf, &wanted);
      if (slot < n_items (leaf))
        {
          set_slot (cursor, slot);
          return TRUE;
        }
      if (cursor->is_last)
        {
          h2k_btrfs_cursor_clear (cursor);
          return TRUE;
        }
      if (compare_keys (&cursor->next_leaf, &wanted) <= 0)
        return h2k_btrfs_corrupt (cursor->volume, error, "a tree is not in order");
      wanted = cursor->next_leaf;
    }
}

/* The leaf in which KEY would be begins with a key that is not behind it, unless all are. */
gboolean
h2k_btrfs_seek_back (BtrfsCursor *cursor, const BtrfsKey *key, GError **error)
{
  const guint8 *leaf;
  BtrfsKey found = {0};
  guint slot;

  if (!find_leaf (cursor, key, error))
    return FALSE;
  leaf = g_bytes_get_data (cursor->leaf, NULL);
  slot = find_slot (leaf, key);
  if (slot < n_items (leaf))
    found = key_of (leaf, slot);
  if (slot < n_items (leaf) && compare_keys (&found, key) == 0)
    set_slot (cursor, slot);
  else if (slot)
    set_slot (cursor, slot - 1);
  else
    h2k_btrfs_cursor_clear (cursor);
  return TRUE;
}

gboolean
h2k_btrfs_next (BtrfsCursor *cursor, GError **error)
{
  BtrfsKey next = cursor->next_leaf;

  if (cursor->slot + 1 < n_items (g_bytes_get_data (cursor->leaf, NULL)))
    {
      set_slot (cursor, cursor->slot + 1);
      return TRUE;
    }
  if (cursor->is_last)
    {
      h2k_btrfs_cursor_clear (cursor);
      return TRUE;
    }
  if (compare_keys (&next, &cursor->key) <= 0)
    return h2k_btrfs_corrupt (cursor->volume, error, "a tree is not in order");
  return h2k_btrfs_seek (cursor, &next, error);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The chunks that are needed to read the chunk tree are in the superblock: keys and items. */
static gboolean
read_system_chunks (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  gsize end = h2k_le32 (super + 160), used = 0;
  g_auto (BtrfsMap) map = {NULL, NULL};

  if (end > 2048)
    return h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
  super += 811;
  for (gsize at = 0; at < end; at += KEY + used)
    if (end - at < KEY || super[at + 8] != BTRFS_CHUNK_ITEM)
      return h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
    else if (!h2k_btrfs_add_chunk (volume, &map, get_key (super + at).offset, super + at + KEY,
                                   end - at - KEY, &used, error))
      return FALSE;
  return h2k_btrfs_set_map (volume, &map, error);
}

/* The tree has the devices, and then the chunks. */
static gboolean
read_chunk_tree (BtrfsVolume *volume, GError **error)
{
  g_auto (BtrfsCursor) cursor = {volume, &volume->chunk_tree};
  const BtrfsKey first = {BTRFS_DEVICES, BTRFS_DEVICE_ITEM, 0};
  g_auto (BtrfsMap) map = {NULL, NULL};
  gsize used;

  if (!h2k_btrfs_seek (&cursor, &first, error))
    return FALSE;
  while (cursor.leaf && cursor.key.objectid <= BTRFS_FIRST_CHUNK)
    {
      if (cursor.key.objectid == BTRFS_DEVICES && cursor.key.type == BTRFS_DEVICE_ITEM
          && !h2k_btrfs_list_device (volume, cursor.data, cursor.size, error))
        return FALSE;
      if (cursor.key.objectid == BTRFS_FIRST_CHUNK && cursor.key.type == BTRFS_CHUNK_ITEM
          && !h2k_btrfs_add_chunk (volume, &map, cursor.key.offset, cursor.data, cursor.size, &used,
                                   error))
        return FALSE;
      if (!h2k_btrfs_next (&cursor, error))
        return FALSE;
    }
  return h2k_btrfs_set_map (volume, &map, error);
}

/* A root item: le64 160 generation, le64 176 address, u8 238 level. */
gboolean
h2k_btrfs_find_root (BtrfsVolume *volume, guint64 id, BtrfsRoot *root, GError **error)
{
  g_auto (BtrfsCursor) cursor = {volume, &volume->root_tree};
  const BtrfsKey key = {id, BTRFS_ROOT_ITEM, 0};

  if (!h2k_btrfs_seek (&cursor, &key, error))
    return FALSE;
  if (!cursor.leaf || cursor.key.objectid != id || cursor.key.type != BTRFS_ROOT_ITEM
      || cursor.size < 239 || cursor.data[238] >= BTRFS_MAX_LEVEL)
    return h2k_btrfs_corrupt (volume, error, "it has no tree %" G_GUINT64_FORMAT, id);
  *root = (BtrfsRoot){id, h2k_le64 (cursor.data + 176), h2k_le64 (cursor.data + 160),
                      cursor.data[238]};
  return TRUE;
}

static gboolean
find_usage_roots (BtrfsVolume *volume, gboolean has_groups, GError **error)
{
  if (!h2k_btrfs_find_root (volume, BTRFS_EXTENT_TREE, &volume->extent_tree, error))
    return FALSE;
  volume->block_groups = volume->extent_tree;
  return !has_groups
         || h2k_btrfs_find_root (volume, BTRFS_BLOCK_GROUP_TREE, &volume->block_groups, error);
}

gboolean
h2k_btrfs_open (BtrfsVolume *volume, H2kDisk *disk, BtrfsPurpose purpose, GError **error)
{
  g_autofree guint8 *super = g_malloc (BTRFS_SUPER_SIZE);

  *volume = (BtrfsVolume){.disk = disk, .purpose = purpose, .nodes = h2k_cache_new (MAX_CACHED)};
  volume->devices = g_array_new (FALSE, FALSE, sizeof (BtrfsDevice));
  return h2k_btrfs_read_supers (volume, super, error) && read_system_chunks (volume, super, error)
         && read_chunk_tree (volume, error)
         && (purpose == BTRFS_FOR_FILES
             || find_usage_roots (volume,
                                  (h2k_le64 (super + 180) & BTRFS_RO_COMPAT_BLOCK_GROUP_TREE) != 0,
                                  error));
}

void
h2k_btrfs_clear (BtrfsVolume *volume)
{
  h2k_btrfs_map_clear (&volume->map);
  g_clear_pointer (&volume->devices, g_array_unref);
  g_clear_pointer (&volume->nodes, h2k_cache_free);
}
