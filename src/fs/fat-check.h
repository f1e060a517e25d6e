/* fat-check.h - the check of FAT volumes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/check.h"

/* The check of FS, see check.h. */
gboolean h2k_fat_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error);
