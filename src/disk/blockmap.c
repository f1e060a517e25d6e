/* blockmap.c - slices of a table of 32-bit entries, cached by their number.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/blockmap.h"
#include "disk/cache.h"

#define CACHE_BYTES ((gsize)1 << 20)

struct _H2kBlockMap
{
  H2kFile *file;
  guint64 offset, entries;
  H2kCache *slices;
};

H2kBlockMap *
h2k_block_map_new (H2kFile *file, guint64 offset, guint64 entries)
{
  H2kBlockMap *map = g_new0 (H2kBlockMap, 1);

  map->file = file;
  map->offset = offset;
  map->entries = entries;
  map->slices = h2k_cache_new (CACHE_BYTES);
  return map;
}

void
h2k_block_map_free (H2kBlockMap *map)
{
  if (!map)
    return;
  h2k_cache_free (map->slices);
  g_free (map);
}

GBytes *
h2k_block_map_slice (H2kBlockMap *map, guint64 index, GError **error)
{
  guint64 slice = index / H2K_BLOCK_MAP_SLICE, first = slice * H2K_BLOCK_MAP_SLICE;
  gsize bytes = (gsize)MIN (H2K_BLOCK_MAP_SLICE, map->entries - first) * 4;
  GBytes *block = h2k_cache_get (map->slices, slice);
  g_autofree guint8 *data = NULL;

  g_return_val_if_fail (index < map->entries, NULL);
  if (block)
    return block;
  data = g_malloc (bytes);
  if (!h2k_file_pread (map->file, map->offset + first * 4, bytes, data, error))
    return NULL;
  block = g_bytes_new_take (g_steal_pointer (&data), bytes);
  h2k_cache_put (map->slices, slice, block);
  return block;
}
