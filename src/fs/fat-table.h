/* fat-table.h - how a FAT12, FAT16 or FAT32 volume is laid out, and its file allocation table.
 *
 * Clusters are numbered from 2 on. The table has an entry a cluster: 0 when it is free, else the
 * number of the next one of its chain, or a mark. It is read by windows of H2K_FAT_WINDOW entries.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"
#include "fs/corrupt.h"

/* Even, so that a pair of FAT12 is not torn apart. */
#define H2K_FAT_WINDOW 16384u
#define H2K_FAT_WINDOW_BYTES (H2K_FAT_WINDOW * 4)

typedef struct
{
  guint bits;            /* of an entry: 12, 16 or 32 (of which 28 count) */
  guint sector, cluster; /* bytes */
  guint64 table;         /* bytes; the first copy of the table that counts */
  guint64 table_size;    /* bytes */
  guint copies;          /* that have to agree */
  guint64 root;          /* FAT32: the first cluster; else where the directory is, in bytes */
  guint64 root_size;     /* bytes; 0: FAT32 */
  guint64 data;          /* bytes: the cluster 2 */
  guint64 end;           /* behind the last cluster that has an entry */
  guint64 info;          /* bytes: the FSInfo sector; 0: there is none */
  guint state_at;        /* where the boot sector has the state of the volume */
  gboolean state_kept;   /* it does have one, which may be changed */
  guint8 state, medium;  /* as in the boot sector */
} H2kFatLayout;

/* What Linux and Windows NT set in H2kFatLayout.state while they have the volume; after errors. */
#define H2K_FAT_STATE_DIRTY 1u
#define H2K_FAT_STATE_ERRORS 2u

/* Set that it is corrupt (see corrupt.h). Always FALSE. */
#define h2k_fat_corrupt(volume, error, ...)                                                        \
  h2k_set_fs_corrupt (volume, error, "FAT", "let chkdsk or fsck.fat repair it", __VA_ARGS__)

/* Read and check the boot sector. Errors: those of the disk, H2K_ERROR_FILESYSTEM, and
 * H2K_ERROR_UNSUPPORTED when it cannot be told which of two kinds it is. */
gboolean h2k_fat_read_layout (H2kDisk *volume, H2kFatLayout *layout, GError **error);

/* Read the window INDEX into WINDOW (H2K_FAT_WINDOW_BYTES). AGREE (may be NULL) says whether all
 * the copies hold the same. */
gboolean h2k_fat_read_window (H2kDisk *volume, const H2kFatLayout *layout, guint64 index,
                              guint8 *window, gboolean *agree, GError **error);
/* Where the window INDEX begins in a copy of the table, and how much of it there is, in bytes. */
guint64 h2k_fat_window_at (const H2kFatLayout *layout, guint64 index, gsize *length);

/* The entry I of a window. */
guint32 h2k_fat_entry (const H2kFatLayout *layout, const guint8 *window, guint i);
/* Set it; the bits of FAT32 that are not the entry's stay. */
void h2k_fat_set_entry (const H2kFatLayout *layout, guint8 *window, guint i, guint32 entry);

/* An entry whose bits are all set: the last one of a chain. From ones - 7 on they mean the same. */
guint32 h2k_fat_ones (const H2kFatLayout *layout);
/* Whether ENTRY, that of cluster 1, says that the volume was left cleanly and without errors. */
gboolean h2k_fat_left_clean (const H2kFatLayout *layout, guint32 entry);
