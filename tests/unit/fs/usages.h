/* usages.h - what the tests of all drivers of fs/usage.h do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "images.h"

#include "fs/usage.h"

/* "@/image" of SIZE bytes that are all JUNK: what lies in unused blocks is then no zeros. */
void usage_make_image (guint64 size, guint8 junk);
/* "@/tree" with the files f0, f1, ... of seeded random lengths (under MAX) and contents. */
void usage_make_files (guint n, guint max);

/* DISK as it is after a copy: what is not in use reads as zeros. IN_USE (may be NULL) gets how many
 * bytes are. The driver must not fail, and its extents must be as long as can be. */
H2kDisk *usage_copy (H2kDisk *disk, gboolean drop_swap, guint64 *in_use);
/* A byte a block of SIZE bytes: 1 when it is in use. */
guint8 *usage_map (H2kDisk *disk, guint size, gboolean drop_swap);
/* The driver must refuse DISK, with H2K_ERROR_FILESYSTEM or _UNSUPPORTED and REASON in the message.
 */
void usage_assert_refused (H2kDisk *disk, const char *reason);
/* Errors of the disk come through as they are, whichever request meets them. */
void usage_assert_faults (H2kDisk *disk);

/* Write LENGTH bytes at OFFSET of a copy of DISK. */
H2kDisk *usage_patched (H2kDisk *disk, guint64 offset, const void *data, gsize length);
