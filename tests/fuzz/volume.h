/* volume.h - any bytes as a volume, for the targets of fs/usage.h.
 *
 * The first byte has options. The rest is a list of pieces that are laid over a volume of zeros, so
 * that small inputs make whole filesystems: le32 offset, le16 length, bytes. The topmost bit of the
 * offset: one byte instead, with which LENGTH times 256 bytes are filled (MAX_FILL at most).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/usage.h"

#include <stdint.h>

#define VOLUME_SIZE (256u << 20)
#define MAX_FILL (256u << 10)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static inline H2kDisk *
volume_unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (VOLUME_SIZE);

  while (size > 6)
    {
      gboolean fill = data[3] >> 7;
      guint32 offset = h2k_le32 (data) % VOLUME_SIZE;
      gsize length = h2k_le16 (data + 4), n;

      data += 6;
      size -= 6;
      n = fill ? 1 : MIN (length, size);
      length = MIN (fill ? MIN (length * 256, MAX_FILL) : n, VOLUME_SIZE - offset);
      if (fill && length)
        {
          g_autofree guint8 *block = g_malloc (length);
          memset (block, data[0], length);
          h2k_disk_pwrite (disk, offset, length, block, NULL);
        }
      else if (length)
        h2k_disk_pwrite (disk, offset, length, data, NULL);
      data += n;
      size -= n;
    }
  return disk;
}

/* Ask about the first extents of the volume, and about those at some other places. */
static inline void
volume_ask (H2kDisk *disk, guint8 options)
{
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, options & 1, NULL);
  guint64 at = 0;

  for (guint n = 0; usage && at < VOLUME_SIZE && n < 500; n++)
    {
      H2kExtent extent;
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0);
      g_assert (extent.length <= VOLUME_SIZE - at);
      at += extent.length;
      if (n > 400)
        at += options * 65536u;
    }
}
