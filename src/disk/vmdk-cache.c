/* vmdk-cache.c - the most recently used grain tables or decompressed grains, within a byte limit.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"

struct _H2kVmdkCache
{
  GMutex lock;
  GHashTable *blocks; /* set of H2kVmdkBlock, by owner and index */
  GQueue recent;      /* the same, most recently used first */
  gsize limit;
  gsize bytes;
};

H2kVmdkBlock *
h2k_vmdk_block_new (gconstpointer owner, guint64 index, gsize size)
{
  H2kVmdkBlock *block = g_malloc (sizeof *block + size);

  g_atomic_ref_count_init (&block->references);
  block->owner = owner;
  block->index = index;
  block->size = size;
  block->link = (GList){.data = block};
  return block;
}

void
h2k_vmdk_block_unref (H2kVmdkBlock *block)
{
  if (block && g_atomic_ref_count_dec (&block->references))
    g_free (block);
}

static guint
block_hash (gconstpointer key)
{
  const H2kVmdkBlock *block = key;
  guint64 h
      = ((guint64)(gsize)block->owner ^ block->index) * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);

  return (guint)(h >> 32);
}

static gboolean
block_equal (gconstpointer a, gconstpointer b)
{
  const H2kVmdkBlock *x = a, *y = b;

  return x->owner == y->owner && x->index == y->index;
}

H2kVmdkCache *
h2k_vmdk_cache_new (gsize limit)
{
  H2kVmdkCache *cache = g_new0 (H2kVmdkCache, 1);

  g_mutex_init (&cache->lock);
  g_queue_init (&cache->recent);
  cache->blocks = g_hash_table_new (block_hash, block_equal);
  cache->limit = limit;
  return cache;
}

static void
evict_last (H2kVmdkCache *cache)
{
  H2kVmdkBlock *block = g_queue_pop_tail_link (&cache->recent)->data;

  g_hash_table_remove (cache->blocks, block);
  cache->bytes -= block->size;
  h2k_vmdk_block_unref (block);
}

void
h2k_vmdk_cache_free (H2kVmdkCache *cache)
{
  if (!cache)
    return;
  while (cache->recent.length)
    evict_last (cache);
  g_hash_table_unref (cache->blocks);
  g_mutex_clear (&cache->lock);
  g_free (cache);
}

H2kVmdkBlock *
h2k_vmdk_cache_get (H2kVmdkCache *cache, gconstpointer owner, guint64 index)
{
  H2kVmdkBlock key = {.owner = owner, .index = index};
  H2kVmdkBlock *block;

  g_mutex_lock (&cache->lock);
  block = g_hash_table_lookup (cache->blocks, &key);
  if (block)
    {
      g_queue_unlink (&cache->recent, &block->link);
      g_queue_push_head_link (&cache->recent, &block->link);
      g_atomic_ref_count_inc (&block->references);
    }
  g_mutex_unlock (&cache->lock);
  return block;
}

void
h2k_vmdk_cache_put (H2kVmdkCache *cache, H2kVmdkBlock *block)
{
  g_mutex_lock (&cache->lock);
  if (!g_hash_table_contains (cache->blocks, block))
    {
      g_atomic_ref_count_inc (&block->references);
      g_hash_table_add (cache->blocks, block);
      g_queue_push_head_link (&cache->recent, &block->link);
      cache->bytes += block->size;
      while (cache->bytes > cache->limit && cache->recent.length > 1)
        evict_last (cache);
    }
  g_mutex_unlock (&cache->lock);
}

gsize
h2k_vmdk_cache_bytes (H2kVmdkCache *cache)
{
  gsize bytes;

  g_mutex_lock (&cache->lock);
  bytes = cache->bytes;
  g_mutex_unlock (&cache->lock);
  return bytes;
}
