/* xfs-super.c - the superblock of XFS.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/xfs.h"

/* struct xfs_dsb, big-endian */
enum
{
  SB_BLOCKSIZE = 4,
  SB_DBLOCKS = 8,
  SB_UUID = 32,
  SB_LOGSTART = 48,
  SB_ROOTINO = 56,
  SB_AGBLOCKS = 84,
  SB_AGCOUNT = 88,
  SB_LOGBLOCKS = 96,
  SB_VERSION = 100,
  SB_SECTSIZE = 102,
  SB_INODESIZE = 104,
  SB_BLOCKLOG = 120,
  SB_SECTLOG = 121,
  SB_INODELOG = 122,
  SB_INOPBLOG = 123,
  SB_AGBLKLOG = 124,
  SB_INPROGRESS = 126,
  SB_FDBLOCKS = 144,
  SB_SHARED_VN = 179,
  SB_DIRBLKLOG = 192,
  SB_FEATURES2 = 200,
  SB_BAD_FEATURES2 = 204,
  SB_RO_COMPAT = 212,
  SB_INCOMPAT = 216,
  SB_CRC = 224,
  SB_META_UUID = 248,
};

enum
{
  VERSION_MASK = 0xf,
  VERSION_DIRV2 = 0x2000,
  VERSION_MOREBITS = 0x8000,
  /* lazy counters, attr2, parent (never used), 32-bit project IDs, CRC, file types */
  FEATURES2_FTYPE = 0x200,
  KNOWN_FEATURES2 = 0x2 | 0x8 | 0x10 | 0x80 | 0x100 | FEATURES2_FTYPE,
  /* finobt, rmapbt, reflink, inobtcount */
  KNOWN_RO_COMPAT = 0x1 | 0x2 | 0x4 | 0x8,
  INCOMPAT_FTYPE = 0x1,
  INCOMPAT_META_UUID = 0x4,
  INCOMPAT_NEEDSREPAIR = 0x10,
  /* file types, sparse inodes, big timestamps, large extent counts, exchange-range, parents */
  KNOWN_INCOMPAT
  = INCOMPAT_FTYPE | 0x2 | INCOMPAT_META_UUID | 0x8 | INCOMPAT_NEEDSREPAIR | 0x20 | 0x40 | 0x80,
};

gboolean
h2k_xfs_fail (H2kDisk *volume, H2kError code, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, (int)code, "%s: the XFS filesystem %s", volume->name, why);
  return FALSE;
}

gboolean
h2k_xfs_crc_is_right (const guint8 *data, gsize size, gsize at)
{
  static const guint8 zeros[4];
  guint32 crc = h2k_crc32c (~0u, data, at);

  crc = h2k_crc32c (crc, zeros, sizeof zeros);
  crc = h2k_crc32c (crc, data + at + 4, size - at - 4);
  return ~crc == h2k_le32 (data + at);
}

guint32
h2k_xfs_ag_length (const H2kXfsLayout *layout, guint64 ag)
{
  return (guint32)MIN (layout->blocks - ag * layout->ag_blocks, layout->ag_blocks);
}

guint64
h2k_xfs_offset (const H2kXfsLayout *layout, guint64 ag, guint64 block)
{
  return (ag * layout->ag_blocks + block) << layout->block_log;
}

static gboolean
is_power (guint32 value, guint log)
{
  return log < 32 && value == 1u << log;
}

/* The sizes of things. */
static gboolean
parse_sizes (H2kXfsLayout *layout, const guint8 *sb)
{
  layout->block_log = sb[SB_BLOCKLOG];
  layout->inode_log = sb[SB_INODELOG];
  layout->dir_log = sb[SB_DIRBLKLOG];
  layout->ag_log = sb[SB_AGBLKLOG];
  layout->sector_size = h2k_be16 (sb + SB_SECTSIZE);
  return layout->block_log >= 9 && layout->block_log <= 16
         && is_power (h2k_be32 (sb + SB_BLOCKSIZE), layout->block_log) && layout->sector_size >= 512
         && is_power (layout->sector_size, sb[SB_SECTLOG])
         && layout->sector_size <= 1u << layout->block_log && layout->inode_log >= 8
         && layout->inode_log <= 11 && is_power (h2k_be16 (sb + SB_INODESIZE), layout->inode_log)
         && layout->inode_log + sb[SB_INOPBLOG] == layout->block_log
         && layout->dir_log + layout->block_log <= 16;
}

/* The groups. */
static gboolean
parse_groups (H2kXfsLayout *layout, const guint8 *sb, guint64 size)
{
  layout->blocks = h2k_be64 (sb + SB_DBLOCKS);
  layout->free_blocks = h2k_be64 (sb + SB_FDBLOCKS);
  layout->ag_blocks = h2k_be32 (sb + SB_AGBLOCKS);
  layout->ag_count = h2k_be32 (sb + SB_AGCOUNT);
  layout->root = h2k_be64 (sb + SB_ROOTINO);
  if (layout->ag_blocks < 64 || layout->ag_blocks > G_MAXINT32 || layout->ag_log > 31
      || layout->ag_blocks > 1u << layout->ag_log
      || ((guint64)layout->ag_blocks << layout->block_log) < 1u << 24 || layout->ag_count == 0)
    return FALSE;
  /* The smallest group has 64 blocks: its headers are there, whatever the sector size. */
  return layout->blocks <= size >> layout->block_log
         && layout->blocks >= (guint64)(layout->ag_count - 1) * layout->ag_blocks + 64
         && layout->blocks <= (guint64)layout->ag_count * layout->ag_blocks;
}

/* The log's place. */
static gboolean
parse_log (H2kXfsLayout *layout, const guint8 *sb)
{
  guint64 log = h2k_be64 (sb + SB_LOGSTART), ag = log >> layout->ag_log;
  guint64 block = log & (((guint64)1 << layout->ag_log) - 1), length = h2k_be32 (sb + SB_LOGBLOCKS);

  if (log == 0)
    return TRUE;
  layout->log_size = length << layout->block_log;
  layout->log = h2k_xfs_offset (layout, ag, block);
  return ag < layout->ag_count && block < h2k_xfs_ag_length (layout, ag)
         && length <= h2k_xfs_ag_length (layout, ag) - block;
}

static gboolean
check_features (H2kDisk *volume, const guint8 *sb, GError **error)
{
  guint version = h2k_be16 (sb + SB_VERSION);
  guint32 features2 = h2k_be32 (sb + SB_FEATURES2) | h2k_be32 (sb + SB_BAD_FEATURES2);

  if ((version & VERSION_MASK) != 4 && (version & VERSION_MASK) != 5)
    return h2k_xfs_fail (volume, H2K_ERROR_UNSUPPORTED, error, "is of an unknown version");
  if (!(version & VERSION_DIRV2))
    return h2k_xfs_fail (volume, H2K_ERROR_UNSUPPORTED, error, "has directories of version 1");
  if (((version & VERSION_MOREBITS) && (features2 & ~(guint32)KNOWN_FEATURES2)) || sb[SB_SHARED_VN])
    return h2k_xfs_fail (volume, H2K_ERROR_UNSUPPORTED, error, "has unknown features");
  if ((version & VERSION_MASK) == 4)
    return TRUE;
  if (h2k_be32 (sb + SB_INCOMPAT) & INCOMPAT_NEEDSREPAIR)
    return h2k_xfs_fail (volume, H2K_ERROR_UNSUPPORTED, error,
                         "has to be repaired: run xfs_repair");
  if ((h2k_be32 (sb + SB_INCOMPAT) & ~(guint32)KNOWN_INCOMPAT)
      || (h2k_be32 (sb + SB_RO_COMPAT) & ~(guint32)KNOWN_RO_COMPAT))
    return h2k_xfs_fail (volume, H2K_ERROR_UNSUPPORTED, error, "has unknown features");
  return TRUE;
}

gboolean
h2k_xfs_read_layout (H2kDisk *volume, H2kXfsLayout *layout, GError **error)
{
  g_autofree guint8 *sb = g_malloc (65536);
  gboolean meta_uuid;
  guint32 sector;

  *layout = (H2kXfsLayout){0};
  if (volume->size < 65536)
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error, "is cut off");
  if (!h2k_disk_pread (volume, 0, 65536, sb, error))
    return FALSE;
  sector = h2k_be16 (sb + SB_SECTSIZE);
  if (memcmp (sb, "XFSB", 4) != 0 || sector < 512)
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error, "has no superblock");
  layout->crc = (h2k_be16 (sb + SB_VERSION) & VERSION_MASK) == 5;
  if (layout->crc && !h2k_xfs_crc_is_right (sb, sector, SB_CRC))
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error,
                         "has a superblock with a wrong checksum");
  if (!check_features (volume, sb, error))
    return FALSE;
  if (sb[SB_INPROGRESS])
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error, "was not finished when it was made");
  if (!parse_sizes (layout, sb) || !parse_groups (layout, sb, volume->size)
      || !parse_log (layout, sb))
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error,
                         "has a damaged superblock, or is larger than its volume");
  layout->has_type = layout->crc ? h2k_be32 (sb + SB_INCOMPAT) & INCOMPAT_FTYPE
                                 : (h2k_be16 (sb + SB_VERSION) & VERSION_MOREBITS)
                                       && (h2k_be32 (sb + SB_FEATURES2) & FEATURES2_FTYPE);
  meta_uuid = layout->crc && (h2k_be32 (sb + SB_INCOMPAT) & INCOMPAT_META_UUID);
  memcpy (layout->uuid, sb + (meta_uuid ? SB_META_UUID : SB_UUID), 16);
  return TRUE;
}
