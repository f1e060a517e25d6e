/* btrfs-tree.c - superblock, chunks and trees of a btrfs filesystem on one device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-tree.h"

#include "util/digest.h"

#include <xxhash.h>

#define MAX_NODE 65536u
#define MAX_LEVEL 8u
#define MAX_CHUNKS (256u << 10)
#define MAX_CACHED (8u << 20)

/* The header of a node: csum, fsid 32, le64 48 address, le64 80 generation, le64 88 owner,
 * le32 96 items, u8 100 level. Behind it, keys with le32 offset and le32 size of an item's data
 * (level 0), or with le64 address and le64 generation of a node. */
#define HEADER 101u
#define KEY 17u
#define ITEM (KEY + 8u)
#define POINTER (KEY + 16u)

#define CHUNK 48u /* without the stripes */
#define STRIPE 32u

const guint64 h2k_btrfs_supers[BTRFS_N_SUPERS] = {BTRFS_SUPER, 64ull << 20, 256ull << 30};

gboolean
h2k_btrfs_corrupt (const BtrfsVolume *volume, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: the btrfs filesystem is corrupt: %s; look at it with btrfs check",
               volume->disk->name, text);
  return FALSE;
}

static gboolean unsupported (const BtrfsVolume *volume, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

static gboolean
unsupported (const BtrfsVolume *volume, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  if (volume->purpose == BTRFS_FOR_FILES)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: files cannot be read from a btrfs filesystem %s", volume->disk->name, text);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: which blocks are in use is not known for a btrfs filesystem %s",
                 volume->disk->name, text);
  return FALSE;
}

/* --- checksums -------------------------------------------------------------------------------- */

static void
sum_crc32c (const guint8 *data, gsize length, guint8 *sum)
{
  guint32 crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, length));

  memcpy (sum, &crc, sizeof crc);
}

/* As a number with the lowest byte first, not in xxHash's canonical order. */
static void
sum_xxhash64 (const guint8 *data, gsize length, guint8 *sum)
{
  guint64 hash = GUINT64_TO_LE (XXH64 (data, length, 0));

  memcpy (sum, &hash, sizeof hash);
}

static void
sum_sha256 (const guint8 *data, gsize length, guint8 *sum)
{
  h2k_sha256 (data, length, sum);
}

static void
sum_blake2b (const guint8 *data, gsize length, guint8 *sum)
{
  h2k_blake2b_256 (data, length, sum);
}

/* By the number in the superblock. */
static const struct
{
  guint size;
  void (*sum) (const guint8 *data, gsize length, guint8 *sum);
} csums[] = {
    {4, sum_crc32c},
    {8, sum_xxhash64},
    {32, sum_sha256},
    {32, sum_blake2b},
};

guint
h2k_btrfs_sum_size (const BtrfsVolume *volume)
{
  return csums[volume->csum].size;
}

gboolean
h2k_btrfs_sum_is_right (const BtrfsVolume *volume, const guint8 *data, gsize length,
                        const guint8 *sum)
{
  guint8 right[32];

  csums[volume->csum].sum (data, length, right);
  return memcmp (right, sum, csums[volume->csum].size) == 0;
}

/* The checksum at the beginning of a block is that of what is behind its 32 bytes. */
static gboolean
check_sum (const BtrfsVolume *volume, const guint8 *block, gsize length)
{
  return h2k_btrfs_sum_is_right (volume, block + 32, length - 32, block);
}

/* --- chunks ----------------------------------------------------------------------------------- */

const BtrfsChunk *
h2k_btrfs_find_chunk (const BtrfsVolume *volume, guint64 logical)
{
  guint low = 0, high = volume->chunks->len;
  const BtrfsChunk *chunk;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      chunk = &g_array_index (volume->chunks, BtrfsChunk, middle);
      if (chunk->logical + chunk->length <= logical)
        low = middle + 1;
      else
        high = middle;
    }
  if (low == volume->chunks->len)
    return NULL;
  chunk = &g_array_index (volume->chunks, BtrfsChunk, low);
  return chunk->logical <= logical ? chunk : NULL;
}

/* Where the data of a chunk is on one device: once, twice, or striped over one. */
static gboolean
is_known_profile (guint64 type, guint n_stripes)
{
  guint64 profile = type & ~7ull; /* data, system, metadata */

  return (profile == 0 && n_stripes == 1) || (profile == 8 && n_stripes == 1)
         || (profile == 32 && n_stripes == 2);
}

/* Add the chunk at LOGICAL whose item is in SIZE bytes of DATA: le64 0 length, le64 24 type, le16
 * 44 number of stripes; each le64 0 device, le64 8 offset. *USED: how many of the bytes it has. */
static gboolean
add_chunk (const BtrfsVolume *volume, GArray *chunks, guint64 logical, const guint8 *data,
           gsize size, gsize *used, GError **error)
{
  BtrfsChunk chunk = {.logical = logical};
  guint n;

  if (size < CHUNK + STRIPE)
    return h2k_btrfs_corrupt (volume, error, "a chunk is too short");
  n = h2k_le16 (data + 44);
  *used = CHUNK + n * STRIPE;
  if (*used > size)
    return h2k_btrfs_corrupt (volume, error, "a chunk is too short");
  if (!is_known_profile (h2k_le64 (data + 24), n))
    return unsupported (volume, error, "with a profile of several devices");
  chunk.length = h2k_le64 (data);
  chunk.n_copies = n;
  if (!chunk.length || (chunk.length | logical) % volume->sector_size
      || chunk.length > volume->device_size || logical > G_MAXINT64 - chunk.length
      || chunks->len >= MAX_CHUNKS)
    return h2k_btrfs_corrupt (volume, error, "a chunk has an impossible size");
  for (guint i = 0; i < n; i++)
    {
      const guint8 *stripe = data + CHUNK + i * STRIPE;
      chunk.copies[i] = h2k_le64 (stripe + 8);
      if (h2k_le64 (stripe) != volume->devid || chunk.copies[i] % volume->sector_size
          || chunk.copies[i] > volume->device_size - chunk.length)
        return h2k_btrfs_corrupt (volume, error, "a chunk is not on the device");
    }
  g_array_append_val (chunks, chunk);
  return TRUE;
}

static int
compare_chunks (gconstpointer a, gconstpointer b)
{
  const BtrfsChunk *p = a, *q = b;

  return p->logical < q->logical ? -1 : p->logical > q->logical;
}

/* Take CHUNKS, which become the volume's. */
static gboolean
set_chunks (BtrfsVolume *volume, GArray *chunks, GError **error)
{
  g_array_sort (chunks, compare_chunks);
  g_clear_pointer (&volume->chunks, g_array_unref);
  volume->chunks = chunks;
  for (guint i = 1; i < chunks->len; i++)
    {
      const BtrfsChunk *before = &g_array_index (chunks, BtrfsChunk, i - 1);
      if (before->logical + before->length > g_array_index (chunks, BtrfsChunk, i).logical)
        return h2k_btrfs_corrupt (volume, error, "chunks lie over each other");
    }
  return TRUE;
}

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

  if (!check_sum (volume, node, volume->node_size)
      || memcmp (node + 32, volume->fsid, sizeof volume->fsid) != 0
      || h2k_le64 (node + 48) != logical || h2k_le64 (node + 80) > volume->generation
      || level >= MAX_LEVEL || n > room / (level ? POINTER : ITEM) || (level && n == 0))
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

/* The node at LOGICAL, from the first of its copies that is in order and no older one. */
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
  for (guint i = 0; i < chunk->n_copies; i++)
    {
      if (!h2k_disk_pread (volume->disk, chunk->copies[i] + (logical - chunk->logical),
                           volume->node_size, data, error))
        return NULL;
      if (!check_node (volume, data, logical) || h2k_le64 (data + 80) != generation)
        continue;
      node = g_bytes_new_take (g_steal_pointer (&data), volume->node_size);
      h2k_cache_put (volume->nodes, logical, node);
      return node;
    }
  h2k_btrfs_corrupt (volume, error, "the tree block at %" G_GUINT64_FORMAT " is damaged", logical);
  return NULL;
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

/* --- the superblock --------------------------------------------------------------------------- */

/* Features, by their bits. What has no name here is not known, and what is set must be known: of
 * the first kind by everybody, of the other by those who write, or look at what only they use. */
typedef struct
{
  const char *name;
  gboolean is_known;
} Feature;

static const Feature incompat_features[64] = {
    {"mixed-backref", TRUE},
    {"default-subvol", TRUE},
    {"mixed-bg", TRUE},
    {"compress-lzo", TRUE},
    {"compress-zstd", TRUE},
    {"big-metadata", TRUE},
    {"extref", TRUE},
    {"raid56", TRUE},
    {"skinny-metadata", TRUE},
    {"no-holes", TRUE},
    {"metadata-uuid", TRUE},
    {"raid1c34", TRUE},
    {"zoned", FALSE},
    {"extent-tree-v2", FALSE},
    {"raid-stripe-tree", FALSE},
    [16] = {"simple-quota", TRUE},
    {"remap-tree", FALSE},
};
static const Feature ro_compat_features[64] = {
    {"free-space-tree", TRUE},
    {"free-space-tree-valid", TRUE},
    {"verity", TRUE},
    {"block-group-tree", TRUE},
};

#define INCOMPAT_METADATA_UUID 0x400u
#define RO_COMPAT_BLOCK_GROUP_TREE 0x8u

/* Flags: written, relocation; errors were seen; others may only be written to another device. */
#define FLAGS_KNOWN 7ull
#define FLAG_ERROR 4u
#define FLAG_SEED (1ull << 32)

static gboolean
is_power_of_2 (guint n)
{
  return n && !(n & (n - 1));
}

/* Add those of the features SET to NAMES that are not known. */
static void
add_unknown (GString *names, const Feature *features, const char *kind, guint64 set)
{
  for (guint i = 0; i < 64; i++)
    {
      const char *separator = names->len ? ", " : "";
      if (!(set >> i & 1) || features[i].is_known)
        continue;
      if (features[i].name)
        g_string_append_printf (names, "%s%s", separator, features[i].name);
      else
        g_string_append_printf (names, "%s%s bit %u", separator, kind, i);
    }
}

static gboolean
check_features (const BtrfsVolume *volume, const guint8 *super, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);

  add_unknown (names, incompat_features, "incompat", h2k_le64 (super + 188));
  if (volume->purpose == BTRFS_FOR_USAGE)
    add_unknown (names, ro_compat_features, "ro_compat", h2k_le64 (super + 180));
  return !names->len || unsupported (volume, error, "with the features %s", names->str);
}

static gboolean
check_state (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  guint64 flags = h2k_le64 (super + 56), devices = h2k_le64 (super + 136);
  guint64 known = FLAGS_KNOWN | (volume->purpose == BTRFS_FOR_FILES ? FLAG_SEED : 0);

  volume->has_errors = (flags & FLAG_ERROR) != 0;
  volume->has_log = h2k_le64 (super + 96) != 0;
  if (volume->has_errors && volume->purpose == BTRFS_FOR_USAGE)
    return h2k_btrfs_corrupt (volume, error, "it says so itself");
  if (flags & ~known)
    return unsupported (volume, error, "with the flags 0x%" G_GINT64_MODIFIER "x", flags);
  if (!check_features (volume, super, error))
    return FALSE;
  if (devices > 1)
    return unsupported (volume, error,
                        "on several devices: of %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT
                        " cannot be seen from here",
                        devices, devices - 1);
  if (volume->has_log && volume->purpose == BTRFS_FOR_USAGE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: its log has not been replayed",
                   volume->disk->name);
      return FALSE;
    }
  return TRUE;
}

/* No copy of the superblock may be newer than the first one. */
static gboolean
check_copies (const BtrfsVolume *volume, const guint8 *super, GError **error)
{
  g_autofree guint8 *copy = g_malloc (BTRFS_SUPER_SIZE);

  for (guint i = 1; i < BTRFS_N_SUPERS; i++)
    {
      if (h2k_btrfs_supers[i] + BTRFS_SUPER_SIZE > volume->disk->size)
        return TRUE;
      if (!h2k_disk_pread (volume->disk, h2k_btrfs_supers[i], BTRFS_SUPER_SIZE, copy, error))
        return FALSE;
      if (memcmp (copy + 32, super + 32, 16) == 0 && memcmp (copy + 64, super + 64, 8) == 0
          && check_sum (volume, copy, BTRFS_SUPER_SIZE)
          && h2k_le64 (copy + 72) > volume->generation)
        return h2k_btrfs_corrupt (volume, error, "a copy of its superblock is newer");
    }
  return TRUE;
}

/* Take over what SUPER says. */
static gboolean
parse_super (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  gboolean has_uuid = (h2k_le64 (super + 188) & INCOMPAT_METADATA_UUID) != 0;

  memcpy (volume->fsid, super + (has_uuid ? 571 : 32), sizeof volume->fsid);
  volume->generation = h2k_le64 (super + 72);
  volume->sector_size = h2k_le32 (super + 144);
  volume->node_size = h2k_le32 (super + 148);
  volume->devid = h2k_le64 (super + 201);
  volume->device_size = h2k_le64 (super + 209);
  volume->device_used = h2k_le64 (super + 217);
  volume->bytes_used = h2k_le64 (super + 120);
  volume->root_dir = h2k_le64 (super + 128);
  volume->root_tree
      = (BtrfsRoot){BTRFS_ROOT_TREE, h2k_le64 (super + 80), volume->generation, super[198]};
  volume->chunk_tree
      = (BtrfsRoot){BTRFS_CHUNK_TREE, h2k_le64 (super + 88), h2k_le64 (super + 164), super[199]};
  return (h2k_le64 (super + 48) == BTRFS_SUPER && h2k_le64 (super + 136) == 1
          && is_power_of_2 (volume->sector_size) && volume->sector_size >= 2048
          && is_power_of_2 (volume->node_size) && volume->node_size >= volume->sector_size
          && volume->node_size <= MAX_NODE && super[198] < MAX_LEVEL && super[199] < MAX_LEVEL
          && volume->device_size <= volume->disk->size
          && h2k_le64 (super + 112) == volume->device_size)
         || h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
}

static gboolean
read_super (BtrfsVolume *volume, guint8 *super, GError **error)
{
  if (!h2k_disk_pread (volume->disk, BTRFS_SUPER, BTRFS_SUPER_SIZE, super, error))
    return FALSE;
  volume->csum = h2k_le16 (super + 196);
  if (volume->csum >= G_N_ELEMENTS (csums))
    return unsupported (volume, error, "with checksums of type %u", volume->csum);
  if (!check_sum (volume, super, BTRFS_SUPER_SIZE))
    return h2k_btrfs_corrupt (volume, error, "its superblock is damaged");
  return check_state (volume, super, error) && parse_super (volume, super, error)
         && check_copies (volume, super, error);
}

/* The chunks that are needed to read the chunk tree are in the superblock: keys and items. */
static gboolean
read_system_chunks (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  g_autoptr (GArray) chunks = g_array_new (FALSE, FALSE, sizeof (BtrfsChunk));
  gsize end = h2k_le32 (super + 160), used = 0;

  if (end > 2048)
    return h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
  super += 811;
  for (gsize at = 0; at < end; at += KEY + used)
    if (end - at < KEY || super[at + 8] != BTRFS_CHUNK_ITEM)
      return h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
    else if (!add_chunk (volume, chunks, get_key (super + at).offset, super + at + KEY,
                         end - at - KEY, &used, error))
      return FALSE;
  return set_chunks (volume, g_steal_pointer (&chunks), error);
}

static gboolean
read_chunk_tree (BtrfsVolume *volume, GError **error)
{
  g_autoptr (GArray) chunks = g_array_new (FALSE, FALSE, sizeof (BtrfsChunk));
  g_auto (BtrfsCursor) cursor = {volume, &volume->chunk_tree};
  const BtrfsKey first = {BTRFS_FIRST_CHUNK, BTRFS_CHUNK_ITEM, 0};
  gsize used;

  if (!h2k_btrfs_seek (&cursor, &first, error))
    return FALSE;
  while (cursor.leaf && cursor.key.objectid == BTRFS_FIRST_CHUNK
         && cursor.key.type == BTRFS_CHUNK_ITEM)
    if (!add_chunk (volume, chunks, cursor.key.offset, cursor.data, cursor.size, &used, error)
        || !h2k_btrfs_next (&cursor, error))
      return FALSE;
  return set_chunks (volume, g_steal_pointer (&chunks), error);
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
      || cursor.size < 239 || cursor.data[238] >= MAX_LEVEL)
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
  return read_super (volume, super, error) && read_system_chunks (volume, super, error)
         && read_chunk_tree (volume, error)
         && (purpose == BTRFS_FOR_FILES
             || find_usage_roots (volume,
                                  (h2k_le64 (super + 180) & RO_COMPAT_BLOCK_GROUP_TREE) != 0,
                                  error));
}

void
h2k_btrfs_clear (BtrfsVolume *volume)
{
  g_clear_pointer (&volume->chunks, g_array_unref);
  g_clear_pointer (&volume->nodes, h2k_cache_free);
}
