/* fuzz-btrfs-usage.c - any bytes as a btrfs volume whose used blocks are looked up.
 *
 * The checksums of the superblock and of all tree blocks that a piece lies in are put right, since
 * no fuzzer would guess one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume.h"

static void
seal (H2kDisk *disk, guint32 at, guint size)
{
  g_autofree guint8 *block = g_malloc (size);
  guint32 crc;

  if (at > VOLUME_SIZE - size || !h2k_disk_pread (disk, at, size, block, NULL))
    return;
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, block + 32, size - 32));
  h2k_disk_pwrite (disk, at, sizeof crc, &crc, NULL);
}

static void
seal_pieces (H2kDisk *disk, const guint8 *data, gsize size)
{
  guint8 super[4096];
  guint node_size;

  h2k_disk_pread (disk, 65536, sizeof super, super, NULL);
  node_size = h2k_le32 (super + 148);
  if (node_size < 4096 || node_size > 65536)
    node_size = 4096;
  while (size > 6)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = data[3] >> 7 ? 1 : h2k_le16 (data + 4), n = MIN (length, size - 6);

      for (guint32 at = offset / node_size * node_size; at < offset + n; at += node_size)
        seal (disk, at, node_size);
      data += 6 + n;
      size -= 6 + n;
    }
  seal (disk, 65536, sizeof super);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = size ? volume_unpack (data + 1, size - 1) : NULL;

  if (!disk)
    return 0;
  seal_pieces (disk, data + 1, size - 1);
  volume_ask (disk, data[0]);
  return 0;
}
