/* btrfs-volume.h - any bytes as a btrfs filesystem on one device or several.
 *
 * The input is pieces as volume.h has them. Each quarter of the volume that has the mark of a
 * superblock where that belongs begins a device. The checksums of the superblocks and of all tree
 * blocks that a piece lies in are put right, since no fuzzer would guess one; those of data are
 * not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "volume.h"

#include "fs/btrfs-devices.h"

#define BTRFS_MAX_DEVICES 4u
#define BTRFS_DEVICE_SIZE (VOLUME_SIZE / BTRFS_MAX_DEVICES)
#define BTRFS_SUPER 65536u

static inline void
btrfs_seal (H2kDisk *disk, guint32 at, guint size)
{
  g_autofree guint8 *block = g_malloc (size);
  guint32 crc;

  if (at > VOLUME_SIZE - size || !h2k_disk_pread (disk, at, size, block, NULL))
    return;
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, block + 32, size - 32));
  h2k_disk_pwrite (disk, at, sizeof crc, &crc, NULL);
}

/* Data has no place where a tree block has its filesystem's id. */
static inline gboolean
btrfs_is_node (H2kDisk *disk, guint32 at, const guint8 *super)
{
  guint8 header[101];

  return at <= VOLUME_SIZE - sizeof header && h2k_disk_pread (disk, at, sizeof header, header, NULL)
         && (memcmp (header + 32, super + 32, 16) == 0
             || memcmp (header + 32, super + 571, 16) == 0);
}

static inline void
btrfs_seal_pieces (H2kDisk *disk, const guint8 *data, gsize size)
{
  guint8 super[4096];
  guint node_size;

  h2k_disk_pread (disk, BTRFS_SUPER, sizeof super, super, NULL);
  node_size = h2k_le32 (super + 148);
  if (node_size < 4096 || node_size > 65536)
    node_size = 4096;
  while (size > 6)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = data[3] >> 7 ? 1 : h2k_le16 (data + 4), n = MIN (length, size - 6);

      for (guint32 at = offset / node_size * node_size; at < offset + n; at += node_size)
        if (btrfs_is_node (disk, at, super))
          btrfs_seal (disk, at, node_size);
      data += 6 + n;
      size -= 6 + n;
    }
}

static inline gboolean
btrfs_is_device (H2kDisk *disk, guint32 start)
{
  char mark[8];

  return h2k_disk_pread (disk, start + BTRFS_SUPER + 64, sizeof mark, mark, NULL)
         && memcmp (mark, "_BHRfS_M", sizeof mark) == 0;
}

static inline void
btrfs_unref (gpointer data)
{
  h2k_disk_unref (data);
}

static inline H2kDisk *
btrfs_unpack (const guint8 *data, gsize size)
{
  g_autoptr (H2kDisk) disk = volume_unpack (data, size);
  g_autoptr (GPtrArray) devices = g_ptr_array_new_with_free_func (btrfs_unref);
  guint32 start = 0;

  btrfs_seal_pieces (disk, data, size);
  btrfs_seal (disk, BTRFS_SUPER, 4096);
  for (guint32 end = BTRFS_DEVICE_SIZE; end <= VOLUME_SIZE; end += BTRFS_DEVICE_SIZE)
    {
      if (end < VOLUME_SIZE && !btrfs_is_device (disk, end))
        continue;
      if (end < VOLUME_SIZE)
        btrfs_seal (disk, end + BTRFS_SUPER, 4096);
      g_ptr_array_add (devices, h2k_slice_new (disk, start, end - start, "device", NULL));
      start = end;
    }
  return devices->len > 1 ? h2k_btrfs_devices_new (devices, "any", FALSE, NULL)
                          : g_steal_pointer (&disk);
}
