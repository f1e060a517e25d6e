/* slice.c - a part of another disk as a disk of its own: a partition.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

typedef struct
{
  H2kDisk disk;
  H2kDisk *parent;
  guint64 start; /* in the parent */
} Slice;

static gboolean
slice_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Slice *slice = (Slice *)disk;
  return h2k_disk_pread (slice->parent, slice->start + offset, length, buffer, error);
}

static gboolean
slice_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  Slice *slice = (Slice *)disk;
  return h2k_disk_pwrite (slice->parent, slice->start + offset, length, buffer, error);
}

static gboolean
slice_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  Slice *slice = (Slice *)disk;
  return h2k_disk_zero (slice->parent, slice->start + offset, length, error);
}

static gboolean
slice_flush (H2kDisk *disk, GError **error)
{
  return h2k_disk_flush (((Slice *)disk)->parent, error);
}

static gboolean
slice_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Slice *slice = (Slice *)disk;

  if (!h2k_disk_extent (slice->parent, slice->start + offset, slice->start + disk->size, extent,
                        error))
    return FALSE;
  extent->offset = offset;
  return TRUE;
}

static gboolean
slice_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  Slice *slice = (Slice *)disk;

  return h2k_disk_stored (slice->parent, slice->start + offset, length, stored);
}

static void
slice_finalize (H2kDisk *disk)
{
  h2k_disk_unref (((Slice *)disk)->parent);
}

static const H2kDiskOps read_ops = {
    .pread = slice_pread,
    .extent = slice_extent,
    .stored = slice_stored,
    .finalize = slice_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = slice_pread,
    .extent = slice_extent,
    .stored = slice_stored,
    .pwrite = slice_pwrite,
    .zero = slice_zero,
    .flush = slice_flush,
    .finalize = slice_finalize,
};

H2kDisk *
h2k_slice_new (H2kDisk *parent, guint64 offset, guint64 length, const char *name, GError **error)
{
  Slice *slice;

  if (length == 0 || offset > parent->size || length > parent->size - offset)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                   " do not fit into %s of %" G_GUINT64_FORMAT " bytes",
                   safe, length, offset, parent->name, parent->size);
      return NULL;
    }
  slice = g_new0 (Slice, 1);
  h2k_disk_init (&slice->disk, h2k_disk_is_writable (parent) ? &write_ops : &read_ops, length,
                 "slice", name);
  slice->disk.sector_size = parent->sector_size;
  h2k_disk_add_files (&slice->disk, parent);
  slice->parent = h2k_disk_ref (parent);
  slice->start = offset;
  return &slice->disk;
}
