/* lvm-thin.h - the volumes of a thin pool as disks, read only.
 *
 * After Documentation/admin-guide/device-mapper/thin-provisioning.rst of Linux, dm-thin-metadata.c
 * and persistent-data/ there. A pool is two volumes: one has the blocks, the other one says, in a
 * tree of trees, which of them each thin volume has. Snapshots share blocks, and blocks that were
 * never written are nowhere: that is why nothing is written here.
 *
 * Thread-safety: as any H2kDisk; pools do not change.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct _H2kThinPool H2kThinPool;

/* The pool of METADATA and DATA, which are referenced; NAME is for messages. Errors:
 * H2K_ERROR_FILESYSTEM (damaged, or it does not fit DATA), H2K_ERROR_UNSUPPORTED (of another
 * version); those of the disk. */
H2kThinPool *h2k_thin_pool_open (H2kDisk *metadata, H2kDisk *data, const char *name,
                                 GError **error);
void h2k_thin_pool_unref (H2kThinPool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kThinPool, h2k_thin_pool_unref)

guint64 h2k_thin_pool_block_size (const H2kThinPool *pool); /* bytes */
/* A number that LVM counts up with each change that it has the pool make. */
guint64 h2k_thin_pool_transaction (const H2kThinPool *pool);
/* Whether the kernel found an error in it, and asks for a check. */
gboolean h2k_thin_pool_needs_check (const H2kThinPool *pool);

/* The thin volume DEVICE as a disk of SIZE bytes (> 0). Blocks that it does not have are those of
 * ORIGIN (may be NULL), or not allocated. Keeps a reference of POOL and ORIGIN. Errors:
 * H2K_ERROR_FILESYSTEM (there is no such device; damaged metadata); those of the disk. Damage
 * further down is found where it is read. */
H2kDisk *h2k_thin_disk_new (H2kThinPool *pool, guint64 device, guint64 size, H2kDisk *origin,
                            const char *name, GError **error);
