/* memory-fs.h - files in memory as a filesystem: enough of one for a hive, and one that fails when
 * it is told to.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

/* An empty one. h2k_fs_free() frees it. */
H2kFs *memory_fs_new (void);
/* The content of the file PATH, made when it is missing; owned by FS. */
GByteArray *memory_fs_file (H2kFs *fs, const char *path);
/* The Nth change from now on fails; 0: none does. */
void memory_fs_fail_at (H2kFs *fs, guint n);
/* How many changes there were. */
guint memory_fs_changes (H2kFs *fs);
