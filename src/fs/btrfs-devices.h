/* btrfs-devices.h - a btrfs filesystem on several devices: what each superblock says of its own,
 * and all of them as one disk.
 *
 * That disk has the devices one behind the other, in the order in which they were found. It can be
 * opened like any volume: the drivers of btrfs, the appliance and the stack of volumes know it for
 * what it is by h2k_btrfs_devices_of(). Devices may be missing; the drivers say which.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct
{
  char uuid[37];     /* of the filesystem, as it is mounted by */
  guint64 n_devices; /* that belong to it */
  guint64 devid;     /* of this one */
  guint64 generation;
  gboolean is_seed; /* no device that belongs to it is ever written again */
} H2kBtrfsDevice;

/* What the superblock on VOLUME says. Errors: H2K_ERROR_FILESYSTEM (damaged),
 * H2K_ERROR_UNSUPPORTED, those of the disk. */
gboolean h2k_btrfs_device_read (H2kDisk *volume, H2kBtrfsDevice *device, GError **error);

/* The VOLUMES (H2kDisk *, at least one) of the filesystem UUID as one disk. Writable when each is,
 * and WRITABLE says so. Errors: H2K_ERROR_FORMAT (too large). */
H2kDisk *h2k_btrfs_devices_new (GPtrArray *volumes, const char *uuid, gboolean writable,
                                GError **error);
/* What such a disk is made of: H2kDisk *, the disk's. NULL: it is another one. */
GPtrArray *h2k_btrfs_devices_of (H2kDisk *disk);

/* VOLUME, which holds btrfs, together with those of VOLUMES (H2kDisk *) that hold the other devices
 * of its filesystem; it is alone when it needs no others. *START gets where it begins there.
 * Errors: H2K_ERROR_FILESYSTEM (damaged; a device is there twice), _UNSUPPORTED, those of the disk.
 */
H2kDisk *h2k_btrfs_whole (H2kDisk *volume, GPtrArray *volumes, guint64 *start, GError **error);
