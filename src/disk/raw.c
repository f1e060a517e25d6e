/* raw.c - raw images in regular files (sparse ones too) and block devices.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/formats.h"

#define CHECK_PIECE ((gsize)1 << 20)

typedef struct
{
  H2kDisk disk;
  H2kFile *file;
} RawDisk;

static gboolean
raw_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  /* The last sector of a file may be cut short. */
  return h2k_file_pread_or_zero (((RawDisk *)disk)->file, offset, length, buffer, error);
}

static gboolean
raw_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  H2kFile *file = ((RawDisk *)disk)->file;

  if (offset >= file->size)
    return TRUE;
  if (!h2k_file_extent (file, offset, extent, error))
    return FALSE;
  if (extent->offset + extent->length == file->size)
    extent->length = disk->size - offset;
  return TRUE;
}

static gboolean
raw_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  return h2k_file_stored (((RawDisk *)disk)->file, offset, length, stored);
}

static void
raw_finalize (H2kDisk *disk)
{
  h2k_file_unref (((RawDisk *)disk)->file);
}

static const H2kDiskOps raw_ops = {
    .pread = raw_pread,
    .extent = raw_extent,
    .stored = raw_stored,
    .finalize = raw_finalize,
};

static int
raw_probe (const guint8 *head, gsize length, const char *path)
{
  return 1;
}

static H2kDisk *
raw_open (H2kFile *file, GError **error)
{
  RawDisk *raw;

  if (file->size == 0 || file->size > G_MAXINT64 - 511)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: %s", file->name,
                   file->size ? "is too large for a disk" : "is empty, so it is no disk image");
      return NULL;
    }
  raw = g_new0 (RawDisk, 1);
  h2k_disk_init (&raw->disk, &raw_ops, (file->size + 511) / 512 * 512, "raw", file->path);
  raw->disk.subformat = g_strdup (file->server      ? file->server
                                  : file->is_device ? "device"
                                                    : "file");
  raw->disk.sector_size = file->sector_size;
  raw->file = h2k_file_ref (file);
  g_ptr_array_add (raw->disk.files, g_strdup (file->path));
  return &raw->disk;
}

/* There is nothing to contradict itself: what can be said is that all of it can be read. */
static gboolean
raw_check (H2kFile *file, H2kCheck *check, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (CHECK_PIECE);
  H2kExtent extent;

  check->unit = "bytes";
  check->units = file->size;
  check->image_end = file->size;
  for (guint64 at = 0; at < file->size; at += extent.length)
    {
      if (!h2k_file_extent (file, at, &extent, error))
        return FALSE;
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      extent.length = MIN (extent.length, CHECK_PIECE);
      check->allocated += extent.length;
      if (!h2k_file_pread (file, at, (gsize)extent.length, buffer, error))
        return FALSE;
    }
  return TRUE;
}

const H2kDiskFormat h2k_raw_format = {"raw", raw_probe, raw_open, raw_check};
