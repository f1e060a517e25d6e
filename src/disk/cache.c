/* cache.c - blocks by number in a hash table, in the order of their use.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"

typedef struct
{
  guint64 key;
  GBytes *block;
  GList link; /* in the order of use; its data is this entry */
} Entry;

struct _H2kCache
{
  GMutex lock;
  GHashTable *entries;
  GQueue used; /* the last used first */
  gsize bytes, max_bytes;
};

static void
free_entry (gpointer data)
{
  Entry *entry = data;

  g_bytes_unref (entry->block);
  g_free (entry);
}

H2kCache *
h2k_cache_new (gsize max_bytes)
{
  H2kCache *cache = g_new0 (H2kCache, 1);

  g_mutex_init (&cache->lock);
  cache->entries = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, free_entry);
  cache->max_bytes = max_bytes;
  return cache;
}

void
h2k_cache_free (H2kCache *cache)
{
  if (!cache)
    return;
  g_hash_table_unref (cache->entries);
  g_mutex_clear (&cache->lock);
  g_free (cache);
}

GBytes *
h2k_cache_get (H2kCache *cache, guint64 key)
{
  GBytes *block = NULL;
  Entry *entry;

  g_mutex_lock (&cache->lock);
  entry = g_hash_table_lookup (cache->entries, &key);
  if (entry)
    {
      g_queue_unlink (&cache->used, &entry->link);
      g_queue_push_head_link (&cache->used, &entry->link);
      block = g_bytes_ref (entry->block);
    }
  g_mutex_unlock (&cache->lock);
  return block;
}

void
h2k_cache_put (H2kCache *cache, guint64 key, GBytes *block)
{
  Entry *entry;

  g_mutex_lock (&cache->lock);
  if (g_bytes_get_size (block) <= cache->max_bytes && !g_hash_table_contains (cache->entries, &key))
    {
      entry = g_new0 (Entry, 1);
      entry->key = key;
      entry->block = g_bytes_ref (block);
      entry->link.data = entry;
      g_hash_table_insert (cache->entries, &entry->key, entry);
      g_queue_push_head_link (&cache->used, &entry->link);
      cache->bytes += g_bytes_get_size (block);
    }
  while (cache->bytes > cache->max_bytes)
    {
      entry = g_queue_peek_tail (&cache->used);
      cache->bytes -= g_bytes_get_size (entry->block);
      g_queue_unlink (&cache->used, &entry->link);
      g_hash_table_remove (cache->entries, &entry->key);
    }
  g_mutex_unlock (&cache->lock);
}
