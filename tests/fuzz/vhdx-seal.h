/* vhdx-seal.h - the checksums of a VHDX made right: a fuzzer would hardly ever find them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/vhdx.h"

#define VHDX_LOG_OFFSET H2K_VHDX_MIB
#define VHDX_LOG_BYTES 16384u

static inline void
vhdx_seal_part (guint8 *image, gsize offset, gsize length)
{
  guint32 crc = GUINT32_TO_LE (~h2k_vhdx_crc (image + offset, length));

  memcpy (image + offset + 4, &crc, 4);
}

/* Entries that lie in one piece in the log's first bytes. */
static inline void
vhdx_seal_log (guint8 *image)
{
  for (gsize at = VHDX_LOG_OFFSET; at < VHDX_LOG_OFFSET + VHDX_LOG_BYTES; at += 4096)
    {
      guint32 length = h2k_le32 (image + at + 8);
      if (memcmp (image + at, "loge", 4) == 0 && length >= 4096
          && length <= VHDX_LOG_OFFSET + H2K_VHDX_MIB - at)
        vhdx_seal_part (image, at, length);
    }
}

/* IMAGE has 2 MiB at least. KEEP says what stays as it is: bit 0: the headers' checksums, 1: the
 * region tables', 2: the log entries'. */
static inline void
vhdx_seal (guint8 *image, guint8 keep)
{
  for (gsize i = 1; i <= 2; i++)
    {
      if (!(keep & 1))
        vhdx_seal_part (image, i * 0x10000, 4096);
      if (!(keep & 2))
        vhdx_seal_part (image, (i + 2) * 0x10000, 65536);
    }
  if (!(keep & 4))
    vhdx_seal_log (image);
}
