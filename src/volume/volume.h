/* volume.h - partition tables: the parts that a disk is made of.
 *
 * MBR with logical partitions (the chain of extended boot records), GPT (UEFI specification 2.10,
 * chapter 5: header and entry CRCs, the backup header when the primary one is bad).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef enum
{
  H2K_TABLE_NONE, /* no partition table: the disk itself is the one volume */
  H2K_TABLE_MBR,
  H2K_TABLE_GPT,
} H2kTableType;

/* One partition, or the whole disk where there is no table. */
typedef struct
{
  guint number;     /* as the kernel counts: sda5 is 5; 0: the whole disk */
  guint64 offset;   /* bytes */
  guint64 length;   /* bytes */
  guint8 mbr_type;  /* MBR: the type byte */
  gboolean active;  /* MBR: bootable flag; GPT: legacy BIOS bootable attribute */
  char *type_guid;  /* GPT: lower-case text; else NULL */
  char *part_uuid;  /* PARTUUID as udev writes it, lower case; NULL: none */
  char *part_label; /* GPT: UTF-8; else NULL */
  H2kDisk *disk;    /* the slice, a reference */
} H2kVolume;

typedef struct
{
  H2kTableType type;
  char *disk_id;        /* GPT disk GUID or MBR signature as 8 hex digits; NULL: none */
  gboolean from_backup; /* GPT: the primary header was bad */
  guint32 sector_size;  /* bytes that its numbers count in: the logical sectors that a VM has to
                         * have, also when the disk is an image that tells of none */
  GPtrArray *volumes;   /* H2kVolume *, by number */
  GPtrArray *warnings;  /* char *: what was odd and passed over, for the report */
} H2kTable;

/* Read the table of DISK. A disk without one is not an error. Partitions that do not fit the disk,
 * overlap or loop are left out with a warning.
 * Errors: H2K_ERROR_SOURCE, _FORMAT (the disk cannot be read). */
H2kTable *h2k_table_read (H2kDisk *disk, GError **error);
/* DISK as one volume, whatever looks like a table there. */
H2kTable *h2k_table_whole (H2kDisk *disk);
void h2k_table_free (H2kTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kTable, h2k_table_free)

/* What kind of system a partition is for: "esp", "bios-boot", "prep", "swap", "lvm", "raid",
 * "linux", "extended", "microsoft" (basic data), "msr", "recovery", "ldm" (a dynamic disk),
 * "storage-spaces", or "". Static. */
const char *h2k_volume_role (const H2kVolume *volume);
