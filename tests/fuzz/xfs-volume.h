/* xfs-volume.h - any bytes as an XFS volume. Checksums are made right where there is a structure
 * with one, so that what lies behind them is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#define VOLUME_SIZE (40u << 20)
#include "volume.h"

#define MAX_PIECES 256u

/* The units that the superblock says structures have, in bytes. */
typedef struct
{
  guint sector, block, inode, dir;
} XfsSizes;

static inline void
xfs_put_sum (guint8 *data, gsize size, gsize at)
{
  guint32 crc;

  memset (data + at, 0, 4);
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, size));
  memcpy (data + at, &crc, 4);
}

/* Seal the structure at DATA, if one begins there. */
static inline void
xfs_seal (guint8 *data, const XfsSizes *sizes)
{
  const struct
  {
    const char *magic;
    guint at; /* of the magic */
    guint size, sum_at;
  } structures[] = {
      {"XFSB", 0, sizes->sector, 224},   {"XAGF", 0, sizes->sector, 216},
      {"IN", 0, sizes->inode, 100},      {"XDB3", 0, sizes->dir, 4},
      {"XDD3", 0, sizes->dir, 4},        {"BMA3", 0, sizes->block, 64},
      {"AB3B", 0, sizes->block, 52},     {"XSLM", 0, sizes->block, 12},
      {"XARM", 0, sizes->block, 12},     {"\x3b\xee", 8, sizes->block, 12},
      {"\x3e\xbe", 8, sizes->block, 12},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (structures); i++)
    if (memcmp (data + structures[i].at, structures[i].magic, strlen (structures[i].magic)) == 0)
      {
        xfs_put_sum (data, structures[i].size, structures[i].sum_at);
        return;
      }
}

/* Seal what begins at PIECE, and where an inode can begin in it. */
static inline void
xfs_seal_piece (H2kDisk *disk, const VolumePiece *piece, const XfsSizes *sizes)
{
  guint32 first = piece->offset / sizes->inode * sizes->inode;
  gsize n = MIN ((gsize)VOLUME_SIZE - first, piece->length + sizes->inode);
  gsize length = MIN (n + 65536, VOLUME_SIZE - first);
  g_autofree guint8 *data = g_malloc0 (n + 65536);

  h2k_disk_pread (disk, first, length, data, NULL);
  if (piece->offset - first < n)
    xfs_seal (data + (piece->offset - first), sizes);
  for (gsize at = 0; at < n; at += sizes->inode)
    xfs_seal (data + at, sizes);
  h2k_disk_pwrite (disk, first, length, data, NULL);
}

static inline H2kDisk *
xfs_unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = volume_unpack (data, size);
  guint8 head[256];
  VolumePiece piece;
  XfsSizes sizes;

  h2k_disk_pread (disk, 0, sizeof head, head, NULL);
  sizes.sector = CLAMP (h2k_be16 (head + 102), 512, 32768);
  sizes.block = CLAMP (h2k_be32 (head + 4), 512, 65536);
  sizes.inode = CLAMP (h2k_be16 (head + 104), 256, 2048);
  sizes.dir = (guint)MIN ((guint64)sizes.block << MIN (head[192], 7), 65536);
  for (guint n = 0; n < MAX_PIECES && volume_next_piece (&data, &size, &piece); n++)
    xfs_seal_piece (disk, &piece, &sizes);
  return disk;
}
