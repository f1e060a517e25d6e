/* fuzz-thin.c - any bytes as the metadata of a thin pool.
 *
 * The input is a list of pieces (le32 offset, le16 length, bytes) that are laid over metadata of
 * zeros. Each block gets its number and a right checksum, so that what lies behind them is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-thin.h"

#define BLOCK 4096u
#define METADATA_SIZE (64u * BLOCK)
#define DATA_SIZE (8u << 20)
#define VOLUME_SIZE (G_GUINT64_CONSTANT (1) << 40)
#define MAX_DEVICES 4u

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

static void
put_le32 (guint8 *to, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (to, &value, 4);
}

static H2kDisk *
unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (METADATA_SIZE);
  g_autofree guint8 *all = g_malloc0 (METADATA_SIZE);

  while (size >= 6)
    {
      guint32 offset = h2k_le32 (data) % METADATA_SIZE;
      gsize length = MIN (MIN ((gsize)h2k_le16 (data + 4), size - 6), METADATA_SIZE - offset);
      memcpy (all + offset, data + 6, length);
      data += 6 + length;
      size -= 6 + length;
    }
  for (guint i = 0; i < METADATA_SIZE / BLOCK; i++)
    {
      guint8 *block = all + i * BLOCK;
      put_le32 (block + 8, i);
      put_le32 (block + 12, 0);
      put_le32 (block, h2k_crc32c (~0u, block + 4, BLOCK - 4) ^ (i == 0 ? 160774 : 121107));
    }
  h2k_disk_pwrite (disk, 0, METADATA_SIZE, all, NULL);
  return disk;
}

/* Extents go on from one to the next, and what is none reads as zeros. */
static void
look_into (H2kDisk *disk)
{
  guint8 buffer[1024];
  H2kExtent extent;

  for (guint64 at = 0, n = 0; at < disk->size && n < 24; at += extent.length, n++)
    {
      gsize length = (gsize)MIN (sizeof buffer, disk->size - at);
      if (!h2k_disk_extent (disk, at, disk->size, &extent, NULL))
        return;
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= disk->size - at);
      length = (gsize)MIN (length, extent.length);
      if (h2k_disk_pread (disk, at, length, buffer, NULL) && extent.kind != H2K_EXTENT_DATA)
        g_assert (h2k_is_zero (buffer, length));
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (H2kDisk) metadata = unpack (data, size), blocks = h2k_memory_disk_new (DATA_SIZE);
  g_autoptr (H2kThinPool) pool = NULL;

  h2k_disk_pwrite (blocks, 1u << 20, 4, "data", NULL);
  pool = h2k_thin_pool_open (metadata, blocks, "pool", NULL);
  for (guint64 device = 0; pool && device < MAX_DEVICES; device++)
    {
      g_autoptr (H2kDisk) disk
          = h2k_thin_disk_new (pool, device, VOLUME_SIZE, NULL, "volume", NULL);
      if (disk)
        look_into (disk);
    }
  return 0;
}
