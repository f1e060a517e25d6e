/* used.c - a disk without the blocks that no filesystem on it uses.
 *
 * What lies in no filesystem (partition tables, boot loaders, gaps) stays as it is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"

typedef struct
{
  guint64 offset, end; /* on the disk */
  H2kFs *fs;
} Part;

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  GArray *parts; /* Part, by offset, apart from each other */
  GMutex lock;   /* filesystems are used by one thread at a time */
} UsedView;

/* The part that holds OFFSET, or the next one behind it, or NULL. */
static const Part *
find_part (const UsedView *view, guint64 offset)
{
  guint low = 0, high = view->parts->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      if (g_array_index (view->parts, Part, middle).end <= offset)
        low = middle + 1;
      else
        high = middle;
    }
  return low < view->parts->len ? &g_array_index (view->parts, Part, low) : NULL;
}

/* Whether the filesystems use what lies at OFFSET, and how far that goes. */
static gboolean
used_at (UsedView *view, guint64 offset, guint64 *length, gboolean *used, GError **error)
{
  const Part *part = find_part (view, offset);
  H2kExtent extent;
  gboolean ok;

  *used = TRUE;
  if (!part || offset < part->offset)
    {
      *length = (part ? part->offset : view->base.size) - offset;
      return TRUE;
    }
  g_mutex_lock (&view->lock);
  ok = part->fs->ops->used (part->fs, offset - part->offset, &extent, error);
  g_mutex_unlock (&view->lock);
  if (!ok)
    return FALSE;
  *used = extent.kind == H2K_EXTENT_DATA;
  *length = MIN (extent.length, part->end - offset);
  return TRUE;
}

static gboolean
used_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  UsedView *view = (UsedView *)disk;
  guint8 *p = buffer;

  while (length)
    {
      guint64 run;
      gboolean used;
      gsize n;
      if (!used_at (view, offset, &run, &used, error))
        return FALSE;
      n = (gsize)MIN (run, length);
      if (!used)
        memset (p, 0, n);
      else if (!h2k_disk_pread (view->disk, offset, n, p, error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
used_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  UsedView *view = (UsedView *)disk;
  guint64 run;
  gboolean used;

  if (!used_at (view, offset, &run, &used, error))
    return FALSE;
  if (used)
    return h2k_disk_extent (view->disk, offset, offset + run, extent, error);
  *extent = (H2kExtent){offset, run, H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static void
used_finalize (H2kDisk *disk)
{
  UsedView *view = (UsedView *)disk;

  h2k_disk_unref (view->disk);
  g_array_unref (view->parts);
  g_mutex_clear (&view->lock);
}

static const H2kDiskOps used_ops = {
    .pread = used_pread,
    .extent = used_extent,
    .finalize = used_finalize,
};

static int
compare_parts (gconstpointer a, gconstpointer b)
{
  const Part *p = a, *q = b;

  return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* Leave out parts that reach into their predecessor: then nobody knows whose the blocks are. */
static void
drop_overlaps (GArray *parts)
{
  for (guint i = 1; i < parts->len;)
    {
      const Part *p = &g_array_index (parts, Part, i - 1);
      if (g_array_index (parts, Part, i).offset >= p->end)
        i++;
      else
        g_array_remove_range (parts, i - 1, 2);
      if (i > parts->len)
        i = parts->len;
    }
}

H2kDisk *
h2k_used_view_new (H2kDisk *disk, GPtrArray *filesystems, GArray *offsets)
{
  UsedView *view = g_new0 (UsedView, 1);

  g_assert (filesystems->len == offsets->len);
  h2k_disk_init (&view->base, &used_ops, disk->size, "used", disk->name);
  view->base.sector_size = disk->sector_size;
  view->disk = h2k_disk_ref (disk);
  view->parts = g_array_new (FALSE, FALSE, sizeof (Part));
  g_mutex_init (&view->lock);
  for (guint i = 0; i < filesystems->len; i++)
    {
      H2kFs *fs = filesystems->pdata[i];
      guint64 offset = g_array_index (offsets, guint64, i);
      Part part = {offset, offset + fs->volume->size, fs};
      if (fs->ops->used && offset <= disk->size && fs->volume->size <= disk->size - offset)
        g_array_append_val (view->parts, part);
    }
  g_array_sort (view->parts, compare_parts);
  drop_overlaps (view->parts);
  return &view->base;
}
