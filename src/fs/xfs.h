/* xfs.h - what the parts of the XFS reader share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* Whether the log, LENGTH bytes at OFFSET of VOLUME, ends with the record that unmounting writes,
 * so that nothing in it has to be replayed. A log that makes no sense is not clean. UUID is the
 * filesystem's. Errors: those of the disk. */
gboolean h2k_xfs_log_is_clean (H2kDisk *volume, guint64 offset, guint64 length, const guint8 *uuid,
                               gboolean *clean, GError **error);
