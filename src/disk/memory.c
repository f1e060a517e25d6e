/* memory.c - a sparse, writable disk in memory: pages in an ordered tree, zeros where there is
 * none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/disk.h"

#define PAGE 65536

typedef struct
{
  H2kDisk disk;
  GTree *pages; /* guint64 number -> guint8[PAGE] */
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
      const guint8 *page = g_tree_lookup (memory->pages, &piece.number);
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
      guint8 *page = g_tree_lookup (memory->pages, &piece.number);
      if (!page)
        {
          page = g_malloc0 (PAGE);
          g_tree_insert (memory->pages, g_memdup2 (&piece.number, sizeof piece.number), page);
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
  guint64 end = offset + length, number = offset / PAGE;

  for (GTreeNode *node = g_tree_lower_bound (memory->pages, &number), *next; node; node = next)
    {
      guint8 *page = g_tree_node_value (node);
      guint64 from, to;

      number = *(guint64 *)g_tree_node_key (node);
      from = MAX (number * PAGE, offset);
      to = MIN ((number + 1) * PAGE, end);
      if (from >= to)
        break;
      memset (page + from % PAGE, 0, (gsize)(to - from));
      next = g_tree_node_next (node);
      if (h2k_is_zero (page, PAGE))
        g_tree_remove (memory->pages, &number);
    }
  return TRUE;
}

static gboolean
memory_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  MemoryDisk *memory = (MemoryDisk *)disk;
  guint64 number = offset / PAGE, end = disk->size;
  GTreeNode *node = g_tree_lower_bound (memory->pages, &number);

  if (node && *(guint64 *)g_tree_node_key (node) == number)
    {
      for (; node && *(guint64 *)g_tree_node_key (node) == number; node = g_tree_node_next (node))
        number++;
      end = MIN (number * PAGE, disk->size);
    }
  else
    {
      extent->kind = H2K_EXTENT_UNALLOCATED;
      if (node)
        end = *(guint64 *)g_tree_node_key (node) * PAGE;
    }
  extent->length = end - offset;
  return TRUE;
}

static void
memory_finalize (H2kDisk *disk)
{
  g_tree_unref (((MemoryDisk *)disk)->pages);
}

static int
compare_numbers (gconstpointer a, gconstpointer b, gpointer unused)
{
  guint64 x = *(const guint64 *)a, y = *(const guint64 *)b;
  return x < y ? -1 : x > y;
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
  memory->pages = g_tree_new_full (compare_numbers, NULL, g_free, g_free);
  return &memory->disk;
}
