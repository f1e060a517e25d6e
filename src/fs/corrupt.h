/* fs/corrupt.h - one wording for what is wrong with a filesystem, whatever its type.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef H2K_FS_CORRUPT_H
#define H2K_FS_CORRUPT_H

#include "disk/disk.h"

/* Set H2K_ERROR_FILESYSTEM: the filesystem of TYPE ("XFS") on VOLUME is corrupt, in what (FORMAT),
 * and what is to be done about it (ADVICE: "run xfs_repair on a copy of it"). Always FALSE. */
gboolean h2k_set_fs_corrupt (const H2kDisk *volume, GError **error, const char *type,
                             const char *advice, const char *format, ...) G_GNUC_PRINTF (5, 6);

#endif
