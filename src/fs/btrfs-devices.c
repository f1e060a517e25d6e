/* btrfs-devices.c - the devices of a btrfs filesystem as one disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-devices.h"

#include "disk/formats.h"
#include "fs/btrfs-tree.h"
#include "fs/fs.h"
#include "volume/map.h"

typedef struct
{
  H2kDisk base;
  H2kDisk *map;
  GPtrArray *volumes; /* H2kDisk *, references */
} Devices;

static H2kDisk *
map_of (H2kDisk *disk)
{
  return ((Devices *)disk)->map;
}

static gboolean
devices_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  return h2k_disk_pread (map_of (disk), offset, length, buffer, error);
}

static gboolean
devices_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_disk_extent (map_of (disk), offset, disk->size, extent, error);
}

static gboolean
devices_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  return h2k_disk_pwrite (map_of (disk), offset, length, buffer, error);
}

static gboolean
devices_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  return h2k_disk_zero (map_of (disk), offset, length, error);
}

static gboolean
devices_flush (H2kDisk *disk, GError **error)
{
  return h2k_disk_flush (map_of (disk), error);
}

static void
devices_finalize (H2kDisk *disk)
{
  Devices *devices = (Devices *)disk;

  h2k_disk_unref (devices->map);
  g_ptr_array_unref (devices->volumes);
}

static const H2kDiskOps read_ops = {
    .pread = devices_pread,
    .extent = devices_extent,
    .finalize = devices_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = devices_pread,
    .extent = devices_extent,
    .pwrite = devices_pwrite,
    .zero = devices_zero,
    .flush = devices_flush,
    .finalize = devices_finalize,
};

GPtrArray *
h2k_btrfs_devices_of (H2kDisk *disk)
{
  return disk->ops == &read_ops || disk->ops == &write_ops ? ((Devices *)disk)->volumes : NULL;
}

static void
disk_unref (gpointer data)
{
  h2k_disk_unref (data);
}

H2kDisk *
h2k_btrfs_devices_new (GPtrArray *volumes, const char *uuid, gboolean writable, GError **error)
{
  g_autofree H2kMapRun *runs = g_new0 (H2kMapRun, volumes->len);
  g_autofree H2kMapMember *members = g_new0 (H2kMapMember, volumes->len);
  g_autofree char *name = g_strdup_printf ("btrfs filesystem %s", uuid);
  H2kDisk *map;
  Devices *devices;

  for (guint i = 0; i < volumes->len; i++)
    {
      members[i].disk = volumes->pdata[i];
      runs[i] = (H2kMapRun){members[i].disk->size, {.near = 1, .far = 1}, 1, &members[i]};
    }
  map = h2k_map_disk_new (runs, volumes->len, writable, "btrfs", name, error);
  if (!map)
    return NULL;
  devices = g_new0 (Devices, 1);
  h2k_disk_init (&devices->base, h2k_disk_is_writable (map) ? &write_ops : &read_ops, map->size,
                 "btrfs", name);
  devices->base.sector_size = map->sector_size;
  devices->map = map;
  devices->volumes = g_ptr_array_new_with_free_func (disk_unref);
  for (guint i = 0; i < volumes->len; i++)
    {
      g_ptr_array_add (devices->volumes, h2k_disk_ref (volumes->pdata[i]));
      h2k_disk_add_files (&devices->base, volumes->pdata[i]);
    }
  return &devices->base;
}

gboolean
h2k_btrfs_device_read (H2kDisk *volume, H2kBtrfsDevice *device, GError **error)
{
  g_autofree guint8 *super = g_malloc (BTRFS_SUPER_SIZE);

  if (!h2k_btrfs_read_super (volume, BTRFS_FOR_FILES, super, error))
    return FALSE;
  *device = (H2kBtrfsDevice){
      .n_devices = h2k_le64 (super + BTRFS_SUPER_DEVICES),
      .devid = h2k_le64 (super + BTRFS_SUPER_DEVICE),
      .generation = h2k_le64 (super + BTRFS_SUPER_GENERATION),
      .is_seed = (h2k_le64 (super + BTRFS_SUPER_FLAGS) & BTRFS_FLAG_SEED) != 0,
  };
  h2k_fs_format_uuid (super + BTRFS_SUPER_FSID, device->uuid);
  return TRUE;
}

/* Whether OTHER, which may hold anything, is a device of the filesystem UUID. */
static gboolean
belongs_to (H2kDisk *other, const char *uuid, gboolean *belongs, GError **error)
{
  H2kFsId id;

  if (!h2k_fs_identify (other, &id, error))
    return FALSE;
  *belongs = g_str_equal (id.type, "btrfs") && g_str_equal (id.uuid, uuid);
  return TRUE;
}

H2kDisk *
h2k_btrfs_whole (H2kDisk *volume, GPtrArray *volumes, guint64 *start, GError **error)
{
  g_autoptr (GPtrArray) found = g_ptr_array_new ();
  gboolean has_own = FALSE;
  H2kBtrfsDevice device;
  guint64 size = 0;

  *start = 0;
  if (h2k_btrfs_devices_of (volume))
    return h2k_disk_ref (volume);
  if (!h2k_btrfs_device_read (volume, &device, error))
    return NULL;
  if (device.n_devices <= 1)
    return h2k_disk_ref (volume);
  for (guint i = 0; i < volumes->len; i++)
    {
      H2kDisk *other = volumes->pdata[i];
      gboolean belongs = other == volume;

      if (!belongs && !belongs_to (other, device.uuid, &belongs, error))
        return NULL;
      if (!belongs)
        continue;
      if (other == volume)
        *start = size;
      has_own = has_own || other == volume;
      size += other->size;
      g_ptr_array_add (found, other);
    }
  if (!has_own)
    {
      *start = size;
      g_ptr_array_add (found, volume);
    }
  return h2k_btrfs_devices_new (found, device.uuid, FALSE, error);
}
