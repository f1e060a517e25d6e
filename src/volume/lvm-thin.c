/* lvm-thin.c - thin pools: which blocks of the pool a thin volume has.
 *
 * After drivers/md/dm-thin-metadata.c and drivers/md/persistent-data/dm-btree*.{c,h} of Linux. The
 * metadata comes in blocks of 4 KiB, each with its own number and a checksum, and a block that the
 * superblock leads to is never overwritten: what the superblock says is consistent whenever the
 * guest stopped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-thin.h"

#include "disk/cache.h"
#include "disk/formats.h"

#define SECTOR 512u
#define BLOCK 4096u
#define CACHE_BYTES (4u << 20) /* the leaves of 250,000 blocks */
/* Nodes hold up to 252 entries, and at least a third of that: 2^64 keys are 11 deep. */
#define MAX_DEPTH 16u
/* Pieces looked at to make one long extent of them. */
#define MAX_RUNS_OF_EXTENT 1024u

/* struct thin_disk_superblock, the first block; little-endian */
enum
{
  SUPER_CHECKSUM = 0, /* of what follows in the block */
  SUPER_FLAGS = 4,
  SUPER_NUMBER = 8,
  SUPER_MAGIC = 32,
  SUPER_VERSION = 40,
  SUPER_TRANSACTION = 48,
  SUPER_MAPPING_ROOT = 320,
  SUPER_DATA_BLOCK = 336,     /* sectors */
  SUPER_METADATA_BLOCK = 340, /* sectors */
  SUPER_INCOMPATIBLE = 360,
  SUPER_MAGIC_VALUE = 27022010,
  SUPER_SALT = 160774,
  SUPER_NEEDS_CHECK = 1,
  SUPER_MIN_VERSION = 1,
  SUPER_MAX_VERSION = 2,
};

/* The sizes of data blocks that there are, in sectors: 64 KiB to 1 GiB */
#define MIN_DATA_BLOCK 128u
#define MAX_DATA_BLOCK (1u << 21)

/* struct node_header: keys and values follow, each with room for the most that there can be */
enum
{
  NODE_CHECKSUM = 0,
  NODE_FLAGS = 4,
  NODE_NUMBER = 8,
  NODE_ENTRIES = 16,
  NODE_MAX_ENTRIES = 20,
  NODE_VALUE_SIZE = 24,
  NODE_KEYS = 32,
  NODE_INTERNAL = 1,
  NODE_LEAF = 2,
  NODE_SALT = 121107,
};

/* Of a leaf's value: the block, and when it was allotted. */
#define TIME_BITS 24

struct _H2kThinPool
{
  gatomicrefcount ref_count;
  H2kDisk *metadata, *data;
  H2kCache *nodes; /* by their numbers; only such as were found good */
  char *name;      /* escaped */
  guint64 block_size, n_blocks;
  guint64 root;
  guint64 transaction;
  gboolean needs_check;
};

typedef struct
{
  H2kDisk base;
  H2kThinPool *pool;
  H2kDisk *origin;
  guint64 root;
} ThinDisk;

static gboolean
damaged (const H2kThinPool *pool, guint64 block, const char *what, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "the metadata of the thin pool %s is damaged: %s in block %" G_GUINT64_FORMAT
               ": repair it in the guest with lvconvert --repair",
               pool->name, what, block);
  return FALSE;
}

/* --- the tree ----------------------------------------------------------------------------------
 */

/* The checksum that begins BLOCK. */
static gboolean
is_sealed (const guint8 *block, guint32 salt)
{
  return (h2k_crc32c (~0u, block + 4, BLOCK - 4) ^ salt) == h2k_le32 (block);
}

static guint64
node_key (const guint8 *node, guint i)
{
  return h2k_le64 (node + NODE_KEYS + 8 * i);
}

static guint64
node_value (const guint8 *node, guint i)
{
  return h2k_le64 (node + NODE_KEYS + 8 * (h2k_le32 (node + NODE_MAX_ENTRIES) + i));
}

/* Everything that is relied upon later. All values of these trees are numbers of 64 bits. */
static gboolean
check_node (const H2kThinPool *pool, guint64 number, const guint8 *node, GError **error)
{
  guint32 n = h2k_le32 (node + NODE_ENTRIES), max = h2k_le32 (node + NODE_MAX_ENTRIES);
  guint32 flags = h2k_le32 (node + NODE_FLAGS);

  if (!is_sealed (node, NODE_SALT))
    return damaged (pool, number, "wrong checksum", error);
  if (h2k_le64 (node + NODE_NUMBER) != number)
    return damaged (pool, number, "another block's content", error);
  if ((flags != NODE_INTERNAL && flags != NODE_LEAF) || h2k_le32 (node + NODE_VALUE_SIZE) != 8
      || max > (BLOCK - NODE_KEYS) / 16 || n > max || (flags == NODE_INTERNAL && n == 0))
    return damaged (pool, number, "wrong header", error);
  for (guint i = 1; i < n; i++)
    if (node_key (node, i) <= node_key (node, i - 1))
      return damaged (pool, number, "keys out of order", error);
  return TRUE;
}

static GBytes *
get_node (H2kThinPool *pool, guint64 number, GError **error)
{
  GBytes *node = h2k_cache_get (pool->nodes, number);
  g_autofree guint8 *data = NULL;

  if (node)
    return node;
  if (number >= pool->metadata->size / BLOCK)
    {
      damaged (pool, number, "place outside of the metadata", error);
      return NULL;
    }
  data = g_malloc (BLOCK);
  if (!h2k_disk_pread (pool->metadata, number * BLOCK, BLOCK, data, error)
      || !check_node (pool, number, data, error))
    return NULL;
  node = g_bytes_new_take (g_steal_pointer (&data), BLOCK);
  h2k_cache_put (pool->nodes, number, node);
  return node;
}

/* The first entry of NODE whose key is KEY or more; their number: there is none. */
static guint
first_entry (const guint8 *node, guint64 key)
{
  guint low = 0, high = h2k_le32 (node + NODE_ENTRIES);

  while (low < high)
    {
      guint middle = low + (high - low) / 2;
      if (node_key (node, middle) < key)
        low = middle + 1;
      else
        high = middle;
    }
  return low;
}

/* A leaf, and what is known of the keys in it. */
typedef struct
{
  GBytes *leaf;  /* NULL: there are no keys from the one that was looked for to LIMIT */
  guint64 limit; /* keys from here on are in other leaves; > the key that was looked for */
} Place;

static void
place_clear (Place *place)
{
  g_clear_pointer (&place->leaf, g_bytes_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

/* Go down from the node ROOT to the leaf that KEY is in, if it is anywhere. */
static gboolean
find_leaf (H2kThinPool *pool, guint64 root, guint64 key, Place *place, GError **error)
{
  guint64 number = root;

  place->limit = G_MAXUINT64;
  for (guint depth = 0; depth < MAX_DEPTH; depth++)
    {
      g_autoptr (GBytes) bytes = get_node (pool, number, error);
      const guint8 *node;
      guint behind;

      if (!bytes)
        return FALSE;
      node = g_bytes_get_data (bytes, NULL);
      if (h2k_le32 (node + NODE_FLAGS) == NODE_LEAF)
        {
          place->leaf = g_steal_pointer (&bytes);
          return TRUE;
        }
      behind = key == G_MAXUINT64 ? h2k_le32 (node + NODE_ENTRIES) : first_entry (node, key + 1);
      if (behind < h2k_le32 (node + NODE_ENTRIES))
        place->limit = MIN (place->limit, node_key (node, behind));
      if (behind == 0)
        return TRUE;
      number = node_value (node, behind - 1);
    }
  return damaged (pool, number, "a tree that is too deep", error);
}

/* --- volumes -----------------------------------------------------------------------------------
 */

/* Blocks of a thin volume that lie one behind the other, or are nowhere. */
typedef struct
{
  guint64 length; /* blocks, > 0 */
  gboolean is_mapped;
  guint64 data; /* which of the pool's blocks the first one is */
} Run;

/* How many entries of LEAF from the one at FIRST on go on both in the volume and in the pool. */
static guint64
count_entries (const guint8 *leaf, guint first, guint64 limit)
{
  guint64 key = node_key (leaf, first), data = node_value (leaf, first) >> TIME_BITS;
  guint n = 1, max = h2k_le32 (leaf + NODE_ENTRIES) - first;

  while (n < max && node_key (leaf, first + n) == key + n && key + n < limit
         && node_value (leaf, first + n) >> TIME_BITS == data + n)
    n++;
  return n;
}

/* The run that begins with BLOCK: at most MAX blocks, and none behind the end of a leaf. */
static gboolean
find_run (ThinDisk *disk, guint64 block, guint64 max, Run *run, GError **error)
{
  H2kThinPool *pool = disk->pool;
  g_auto (Place) place = {NULL};
  const guint8 *leaf;
  guint64 next;
  guint i;

  if (!find_leaf (pool, disk->root, block, &place, error))
    return FALSE;
  leaf = place.leaf ? g_bytes_get_data (place.leaf, NULL) : NULL;
  i = leaf ? first_entry (leaf, block) : 0;
  next = leaf && i < h2k_le32 (leaf + NODE_ENTRIES) ? MIN (node_key (leaf, i), place.limit)
                                                    : place.limit;
  *run = (Run){MIN (next - block, max), FALSE, 0};
  if (next > block)
    return TRUE;
  run->is_mapped = TRUE;
  run->length = MIN (count_entries (leaf, i, place.limit), max);
  run->data = node_value (leaf, i) >> TIME_BITS;
  if (run->data >= pool->n_blocks || run->length > pool->n_blocks - run->data)
    return damaged (pool, h2k_le64 (leaf + NODE_NUMBER), "a place outside of the pool's data",
                    error);
  return TRUE;
}

/* The same in bytes: the run that holds OFFSET, of at most LENGTH bytes from there on. *DATA is
 * where they lie in the pool. */
static gboolean
find_bytes (ThinDisk *disk, guint64 offset, guint64 *length, gboolean *is_mapped, guint64 *data,
            GError **error)
{
  guint64 size = disk->pool->block_size, into = offset % size;
  Run run;

  if (!find_run (disk, offset / size, (into + *length - 1) / size + 1, &run, error))
    return FALSE;
  *length = MIN (run.length * size - into, *length);
  *is_mapped = run.is_mapped;
  *data = run.data * size + into;
  return TRUE;
}

static gboolean
thin_pread (H2kDisk *base, guint64 offset, gsize length, void *buffer, GError **error)
{
  ThinDisk *disk = (ThinDisk *)base;

  for (guint8 *p = buffer; length;)
    {
      guint64 n = length, data;
      gboolean is_mapped;

      if (!find_bytes (disk, offset, &n, &is_mapped, &data, error))
        return FALSE;
      if (is_mapped ? !h2k_disk_pread (disk->pool->data, data, (gsize)n, p, error)
                    : !h2k_disk_pread_or_zero (disk->origin, offset, (gsize)n, p, error))
        return FALSE;
      p += n;
      offset += n;
      length -= (gsize)n;
    }
  return TRUE;
}

/* The extent at OFFSET within the run there, by what it lies on. */
static gboolean
run_extent (ThinDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  guint64 length = disk->base.size - offset, data;
  gboolean is_mapped;

  if (!find_bytes (disk, offset, &length, &is_mapped, &data, error))
    return FALSE;
  if (is_mapped)
    return h2k_disk_extent (disk->pool->data, data, data + length, extent, error);
  if (disk->origin && offset < disk->origin->size)
    return h2k_disk_extent (disk->origin, offset, MIN (offset + length, disk->origin->size), extent,
                            error);
  *extent = (H2kExtent){offset, length, H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
thin_extent (H2kDisk *base, guint64 offset, H2kExtent *extent, GError **error)
{
  ThinDisk *disk = (ThinDisk *)base;
  guint64 at = offset;

  for (guint i = 0; i < MAX_RUNS_OF_EXTENT && at < base->size; i++)
    {
      H2kExtent part;
      if (!run_extent (disk, at, &part, error))
        return FALSE;
      if (i > 0 && part.kind != extent->kind)
        break;
      extent->kind = part.kind;
      at += part.length;
    }
  extent->offset = offset;
  extent->length = at - offset;
  return TRUE;
}

static void
thin_finalize (H2kDisk *base)
{
  ThinDisk *disk = (ThinDisk *)base;

  h2k_thin_pool_unref (disk->pool);
  h2k_disk_unref (disk->origin);
}

static const H2kDiskOps thin_ops = {
    .pread = thin_pread,
    .extent = thin_extent,
    .finalize = thin_finalize,
};

H2kDisk *
h2k_thin_disk_new (H2kThinPool *pool, guint64 device, guint64 size, H2kDisk *origin,
                   const char *name, GError **error)
{
  g_auto (Place) place = {NULL};
  const guint8 *leaf;
  ThinDisk *disk;
  guint i;

  if (!find_leaf (pool, pool->root, device, &place, error))
    return NULL;
  leaf = place.leaf ? g_bytes_get_data (place.leaf, NULL) : NULL;
  i = leaf ? first_entry (leaf, device) : 0;
  if (!leaf || i == h2k_le32 (leaf + NODE_ENTRIES) || node_key (leaf, i) != device)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                   "%s: the thin pool %s has no device %" G_GUINT64_FORMAT, safe, pool->name,
                   device);
      return NULL;
    }
  disk = g_new0 (ThinDisk, 1);
  h2k_disk_init (&disk->base, &thin_ops, size, "lvm", name);
  disk->base.sector_size = pool->data->sector_size;
  disk->root = node_value (leaf, i);
  disk->pool = pool;
  g_atomic_ref_count_inc (&pool->ref_count);
  h2k_disk_add_files (&disk->base, pool->data);
  h2k_disk_add_files (&disk->base, pool->metadata);
  if (origin)
    {
      disk->origin = h2k_disk_ref (origin);
      h2k_disk_add_files (&disk->base, origin);
    }
  return &disk->base;
}

/* --- the pool ----------------------------------------------------------------------------------
 */

static gboolean
parse_super (H2kThinPool *pool, const guint8 *super, GError **error)
{
  guint32 sectors = h2k_le32 (super + SUPER_DATA_BLOCK), version = h2k_le32 (super + SUPER_VERSION);

  if (h2k_le64 (super + SUPER_MAGIC) != SUPER_MAGIC_VALUE)
    return damaged (pool, 0, "no superblock", error);
  if (!is_sealed (super, SUPER_SALT))
    return damaged (pool, 0, "wrong checksum", error);
  if (version < SUPER_MIN_VERSION || version > SUPER_MAX_VERSION
      || h2k_le32 (super + SUPER_INCOMPATIBLE) != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "the metadata of the thin pool %s is of version %u with the features 0x%x, "
                   "which is not known",
                   pool->name, version, h2k_le32 (super + SUPER_INCOMPATIBLE));
      return FALSE;
    }
  if (h2k_le64 (super + SUPER_NUMBER) != 0
      || h2k_le32 (super + SUPER_METADATA_BLOCK) != BLOCK / SECTOR || sectors < MIN_DATA_BLOCK
      || sectors > MAX_DATA_BLOCK || sectors % MIN_DATA_BLOCK != 0)
    return damaged (pool, 0, "wrong sizes", error);
  pool->block_size = (guint64)sectors * SECTOR;
  pool->n_blocks = pool->data->size / pool->block_size;
  pool->root = h2k_le64 (super + SUPER_MAPPING_ROOT);
  pool->transaction = h2k_le64 (super + SUPER_TRANSACTION);
  pool->needs_check = (h2k_le32 (super + SUPER_FLAGS) & SUPER_NEEDS_CHECK) != 0;
  return TRUE;
}

H2kThinPool *
h2k_thin_pool_open (H2kDisk *metadata, H2kDisk *data, const char *name, GError **error)
{
  g_autoptr (H2kThinPool) pool = g_new0 (H2kThinPool, 1);
  g_autofree guint8 *super = g_malloc (BLOCK);

  g_atomic_ref_count_init (&pool->ref_count);
  pool->metadata = h2k_disk_ref (metadata);
  pool->data = h2k_disk_ref (data);
  pool->nodes = h2k_cache_new (CACHE_BYTES);
  pool->name = h2k_escape_text (name, -1);
  if (metadata->size < BLOCK)
    {
      damaged (pool, 0, "no superblock", error);
      return NULL;
    }
  if (!h2k_disk_pread (metadata, 0, BLOCK, super, error) || !parse_super (pool, super, error))
    return NULL;
  return g_steal_pointer (&pool);
}

void
h2k_thin_pool_unref (H2kThinPool *pool)
{
  if (!pool || !g_atomic_ref_count_dec (&pool->ref_count))
    return;
  h2k_cache_free (pool->nodes);
  h2k_disk_unref (pool->metadata);
  h2k_disk_unref (pool->data);
  g_free (pool->name);
  g_free (pool);
}

guint64
h2k_thin_pool_block_size (const H2kThinPool *pool)
{
  return pool->block_size;
}

guint64
h2k_thin_pool_transaction (const H2kThinPool *pool)
{
  return pool->transaction;
}

gboolean
h2k_thin_pool_needs_check (const H2kThinPool *pool)
{
  return pool->needs_check;
}
