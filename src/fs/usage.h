/* usage.h - which blocks of a volume are in use, so that the others are neither read nor copied.
 *
 * A driver reads the allocation structures of one kind of volume, on demand and within bounded
 * memory. It needs no more than that: a volume whose files cannot be read may well have one.
 * Whatever cannot be trusted (a checksum that is wrong, counts that do not agree) is in use: too
 * much is copied then, never too little.
 *
 * Thread-safety: one H2kUsage is used by one thread at a time; the view serialises by itself.
 *
 * A new driver is one file and one line in the table of usage.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

typedef struct _H2kUsage H2kUsage;

typedef struct
{
  const char *name; /* for example "xfs" */
  /* Whether the driver takes volumes of this type. */
  gboolean (*takes) (const H2kFsId *id);
  /* VOLUME together with what of VOLUMES (H2kDisk *) it is one with, as one disk; *START gets where
   * it begins there. Without any, VOLUME itself. Errors as of open. NULL: volumes of this type
   * stand alone. */
  H2kDisk *(*whole) (H2kDisk *volume, GPtrArray *volumes, guint64 *start, GError **error);
  /* Look at VOLUME, which is not written. Errors: H2K_ERROR_UNSUPPORTED (a feature that the driver
   * does not know) and H2K_ERROR_FILESYSTEM (not unmounted cleanly, corrupt), after which the
   * volume is copied whole; those of the disk. */
  H2kUsage *(*open) (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error);
  /* Whether the block at OFFSET of the volume is in use: DATA or UNALLOCATED, as long as is cheap
   * to find out, never past the volume's end. Errors: those of the disk. */
  gboolean (*used) (H2kUsage *usage, guint64 offset, H2kExtent *extent, GError **error);
  /* Free what the driver holds, the structure included, not the H2kUsage's own members. */
  void (*close) (H2kUsage *usage);
} H2kUsageOps;

/* A driver's structure begins with this. */
struct _H2kUsage
{
  const H2kUsageOps *ops;
  H2kDisk *volume; /* a reference */
};

/* What VOLUME holds must have been flushed, and must not change while the result is used.
 * DROP_SWAP: the contents of the guest's swap and hibernation files are not in use either.
 * Errors: H2K_ERROR_UNSUPPORTED (no driver; a feature that is not known), H2K_ERROR_FILESYSTEM:
 * the volume has to be copied whole; those of the disk. */
H2kUsage *h2k_usage_open (H2kDisk *volume, gboolean drop_swap, GError **error);
void h2k_usage_free (H2kUsage *usage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kUsage, h2k_usage_free)

/* For drivers: fill the shared part. */
void h2k_usage_init (H2kUsage *usage, const H2kUsageOps *ops, H2kDisk *volume);

/* Bytes of a swap space, at most, that h2k_swap_parse() wants to see. */
#define H2K_SWAP_HEADER 65536u

/* The swap space of SIZE bytes whose first LENGTH ones are HEADER: what lies from START to END
 * means nothing once the system has been shut down. Errors: H2K_ERROR_FILESYSTEM (no header,
 * damaged, a system was suspended to it); NAME is for these. */
gboolean h2k_swap_parse (const char *name, const guint8 *header, gsize length, guint64 size,
                         guint64 *start, guint64 *end, GError **error);

/* --- swap-files.c ------------------------------------------------------------------------------
 */

#define H2K_SWAP_MAX_RANGES 65536u /* of all swap files of a filesystem: more pieces are kept */

/* Add to RANGES by h2k_swap_files_add(), in the file's order, where the bytes START to END of the
 * swap file PATH lie on the volume; whole blocks only. FALSE: that is not clear, or another file
 * has them, too. */
typedef gboolean (*H2kSwapPlaces) (H2kFs *fs, const char *path, guint64 start, guint64 end,
                                   GArray *ranges);

/* What of the filesystem's blocks holds swapped pages, which nobody needs after a shutdown: sorted
 * H2kExtent, bytes of the volume, the caller's. What is not clear is left out. */
GArray *h2k_swap_files_find (H2kFs *fs, H2kSwapPlaces places);
/* The same for what the driver OPS opens on VOLUME. ID NULL, or files that cannot be read: none. */
GArray *h2k_swap_files_of (const H2kFsOps *ops, H2kDisk *volume, const H2kFsId *id,
                           H2kSwapPlaces places);
/* FALSE: there are too many. */
gboolean h2k_swap_files_add (GArray *ranges, guint64 offset, guint64 length);
/* Cut EXTENT, which is in use, where swapped pages of RANGES begin or end. */
void h2k_swap_files_leave_out (const GArray *ranges, H2kExtent *extent);

/* The drivers. */
extern const H2kUsageOps h2k_ext_usage_ops;
extern const H2kUsageOps h2k_xfs_usage_ops;
extern const H2kUsageOps h2k_swap_usage_ops;
extern const H2kUsageOps h2k_ntfs_usage_ops;
extern const H2kUsageOps h2k_fat_usage_ops;
extern const H2kUsageOps h2k_btrfs_usage_ops;
extern const H2kUsageOps h2k_lvm_usage_ops;

/* --- what one disk does not tell ---------------------------------------------------------------
 *
 * Volumes that were put together or opened elsewhere, KNOWN below: char * -> H2kDisk *, by
 * h2k_luks_identity(), h2k_bitlocker_identity() and h2k_lvm_lv_identity(). A container whose
 * content is not among them is in use as a whole, and so is a logical volume that does not lie on
 * one physical volume alone.
 */

/* As h2k_usage_open(). KNOWN may be NULL; the usage keeps a reference. */
H2kUsage *h2k_usage_open_known (H2kDisk *volume, GHashTable *known, gboolean drop_swap,
                                GError **error);
/* As the driver's open(), by the volume's type. */
H2kUsage *h2k_luks_usage_new (H2kDisk *volume, GHashTable *known, gboolean drop_swap,
                              GError **error);
H2kUsage *h2k_bitlocker_usage_new (H2kDisk *volume, GHashTable *known, gboolean drop_swap,
                                   GError **error);
H2kUsage *h2k_lvm_usage_new (H2kDisk *volume, GHashTable *known, gboolean drop_swap,
                             GError **error);

/* A view of disk number I of DISKS (H2kDisk *), which are a guest's, in which unused blocks are
 * unallocated extents and read as zeros. The volumes are those of its partition table, or the disk
 * itself; for what one is made of together with those of the other disks, these are read, too.
 * NOTES (char *, may be NULL) gets a line for each volume with a known type that has to be copied
 * whole, and why. Partition tables, boot loaders, gaps and volumes of unknown type stay as they
 * are. The view is read-only and safe for use by several threads; DISKS must not change while it is
 * used.
 * Errors: those of the disks. */
H2kDisk *h2k_used_view_of (GPtrArray *disks, guint i, gboolean drop_swap, GPtrArray *notes,
                           GError **error);
/* The same with what is KNOWN (may be NULL). */
H2kDisk *h2k_used_view_known (GPtrArray *disks, guint i, GHashTable *known, gboolean drop_swap,
                              GPtrArray *notes, GError **error);
/* The same for a disk alone. */
H2kDisk *h2k_used_view_new (H2kDisk *disk, gboolean drop_swap, GPtrArray *notes, GError **error);
