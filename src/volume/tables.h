/* tables.h - what the readers of partition tables share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "volume/volume.h"

/* One slot of a master or extended boot record. */
typedef struct
{
  guint8 active;
  guint8 type;
  guint32 start; /* sectors */
  guint32 count;
} H2kMbrEntry;

/* TRUE when SECTOR (512 bytes) ends with the boot record signature; the four entries are read. */
gboolean h2k_mbr_parse (const guint8 *sector, H2kMbrEntry entries[4]);
/* TRUE when one of the entries says that a GPT follows. */
gboolean h2k_mbr_is_protective (const H2kMbrEntry entries[4]);
/* Whether SECTOR is the boot sector of a FAT, exFAT or NTFS filesystem. */
gboolean h2k_is_filesystem_boot_sector (const guint8 *sector);

/* Add the partitions of the MBR to TABLE, the logical ones too. FALSE and no error when the entries
 * make no sense as a table. */
gboolean h2k_mbr_read (H2kTable *table, H2kDisk *disk, const guint8 *sector,
                       const H2kMbrEntry entries[4], GError **error);

/* Add the partitions of a GPT with sectors of SECTOR_SIZE to TABLE. FALSE and no error when neither
 * the primary nor the backup copy is good; then a warning says why, if there is anything. */
gboolean h2k_gpt_read (H2kTable *table, H2kDisk *disk, guint32 sector_size, GError **error);
/* Whether a GPT header's signature stands where the primary one belongs. */
gboolean h2k_gpt_is_there (H2kDisk *disk, guint32 sector_size);

/* Add VOLUME, of which number, offset, length and the identifiers are set, to TABLE, which owns it
 * then; with a warning instead when it does not fit the disk or overlaps another one. Extended
 * partitions are exempt from the latter. */
void h2k_table_add (H2kTable *table, H2kDisk *disk, H2kVolume *volume);
void h2k_table_warn (H2kTable *table, const char *format, ...) G_GNUC_PRINTF (2, 3);
H2kVolume *h2k_volume_new (guint number, guint64 offset, guint64 length);
