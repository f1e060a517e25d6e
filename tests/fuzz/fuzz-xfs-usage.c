/* fuzz-xfs-usage.c - any bytes as an XFS volume: which of its blocks are in use is asked, from the
 * start to the end and here and there.
 *
 * The input is a list of pieces (le32 offset, le16 length, bytes) that are laid over a volume of
 * zeros, so that small inputs make whole filesystems. Checksums are made right before, where there
 * is a structure with one, so that what lies behind them is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"

#include <stdint.h>

#define VOLUME_SIZE (40u << 20)
#define MAX_PIECES 256u

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
seal (guint8 *data, gsize size, gsize at)
{
  guint32 crc;

  memset (data + at, 0, 4);
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, size));
  memcpy (data + at, &crc, 4);
}

/* Seal the structure at OFFSET, if one begins there. */
static void
seal_at (H2kDisk *disk, guint32 offset, guint block, guint sector)
{
  g_autofree guint8 *data = g_malloc (65536);
  guint length = sector;

  if (offset > VOLUME_SIZE - 65536)
    return;
  h2k_disk_pread (disk, offset, 65536, data, NULL);
  if (memcmp (data, "XFSB", 4) == 0)
    seal (data, length, 224);
  else if (memcmp (data, "XAGF", 4) == 0)
    seal (data, length, 216);
  else if (memcmp (data, "AB3B", 4) == 0)
    seal (data, length = block, 52);
  else
    return;
  h2k_disk_pwrite (disk, offset, length, data, NULL);
}

static H2kDisk *
unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (VOLUME_SIZE);
  guint32 pieces[MAX_PIECES];
  guint8 head[104];
  guint n = 0, block, sector;

  while (size >= 6 && n < MAX_PIECES)
    {
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = MIN (MIN ((gsize)h2k_le16 (data + 4), size - 6), VOLUME_SIZE - offset);
      data += 6;
      size -= 6;
      if (length)
        h2k_disk_pwrite (disk, offset, length, data, NULL);
      data += length;
      size -= length;
      pieces[n++] = offset;
    }
  h2k_disk_pread (disk, 0, sizeof head, head, NULL);
  block = CLAMP (h2k_be32 (head + 4), 512, 65536);
  sector = CLAMP (h2k_be16 (head + 102), 512, 32768);
  for (guint i = 0; i < n; i++)
    seal_at (disk, pieces[i], block, sector);
  return disk;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = unpack (data, size);
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, TRUE, NULL);
  H2kExtent extent;

  for (guint64 at = 0, n = 0; usage && at < VOLUME_SIZE && n < 1000; n++)
    {
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= VOLUME_SIZE - at);
      at += extent.length;
    }
  for (guint64 at = VOLUME_SIZE; usage && at > 0; at -= MIN (at, 999999))
    usage->ops->used (usage, at - 1, &extent, NULL);
  return 0;
}
