/* memory.c - a sparse, writable disk in memory: pages in a hash table, zeros where there is none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/disk.h"

#define PAGE 65536

typedef struct
{
  H2kDisk disk;
  GHashTable *pages; /* guint64 number -> guint8[PAGE] */
} MemoryDisk;

/* A piece of a request that lies within one page. */
typedef struct
{
  guint64 number;
  gsize start, length;
} Piece;

static Piece
first_piece (guint64 offset, guint64 length)
{
  gsize start = (gsize)(offset % PAGE);

  return (Piece){offset / PAGE, start, (gsize)MIN (length, PAGE - start)};
}

static gboolean
memory_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  MemoryDisk *memory = (MemoryDisk *)disk;

  for (guint8 *p = buffer; length;)
    {
      Piece piece = first_piece (offset, length);
      const guint8 *page = g_hash_table_lookup (memory->pages, &piece.number);
      if (page)
        memcpy (p, page + piece.start, piece.length);
      else
        memset (p, 0, piece.length);
      p += piece.length;
      offset += piece.length;
      length -= piece.length;
    }
  return TRUE;
}

static gboolean
memory_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  MemoryDisk *memory = (MemoryDisk *)disk;

  for (const guint8 *p = buffer; length;)
    {
      Piece piece = first_piece (offset, length);
      guint8 *page = g_hash_table_lookup (memory->pages, &piece.number);
      if (!page)
        {
          page = g_malloc0 (PAGE);
          g_hash_table_insert (memory->pages, g_memdup2 (&piece.number, sizeof piece.number), page);
        }
      memcpy (page + piece.start, p, piece.length);
      p += piece.length;
      offset += piece.length;
      length -= piece.length;
    }
  return TRUE;
}

/* Empty pages are dropped, so that what is zero again is unallocated again. */
static gboolean
memory_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  MemoryDisk *memory = (MemoryDisk *)disk;
  guint64 end = offset + length;
  GHashTableIter iter;
  gpointer key, value;

  g_hash_table_iter_init (&iter, memory->pages);
  while (g_hash_table_iter_next (&iter, &key, &value))
    {
      guint64 start = *(guint64 *)key * PAGE;
      guint64 from = MAX (start, offset), to = MIN (start + PAGE, end);
      if (from >= to)
        continue;
      memset ((guint8 *)value + (from - start), 0, (gsize)(to - from));
      if (h2k_is_zero (value, PAGE))
        g_hash_table_iter_remove (&iter);
    }
  return TRUE;
}

static gboolean
memory_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  MemoryDisk *memory = (MemoryDisk *)disk;
  guint64 number = offset / PAGE, end = MIN (number + 1024, (disk->size + PAGE - 1) / PAGE);
  gboolean present = g_hash_table_contains (memory->pages, &number);

  do
    number++;
  while (number < end && g_hash_table_contains (memory->pages, &number) == present);
  extent->length = MIN (number * PAGE, disk->size) - offset;
  extent->kind = present ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  return TRUE;
}

static void
memory_finalize (H2kDisk *disk)
{
  g_hash_table_unref (((MemoryDisk *)disk)->pages);
}

static const H2kDiskOps memory_ops = {
    .pread = memory_pread,
    .extent = memory_extent,
    .pwrite = memory_pwrite,
    .zero = memory_zero,
    .finalize = memory_finalize,
};

H2kDisk *
h2k_memory_disk_new (guint64 size)
{
  MemoryDisk *memory = g_new0 (MemoryDisk, 1);

  h2k_disk_init (&memory->disk, &memory_ops, size, "memory", "memory disk");
  memory->pages = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  return &memory->disk;
}
