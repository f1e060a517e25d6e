/* xfs-files.h - one of everything that XFS stores in a way of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

/* Make it in the filesystem that is mounted. */
void xfs_files_make (void);

/* The samples of tests/fixtures/xfs-v4/, which have it, too. */
#define XFS_FILES_SAMPLES                                                                          \
  {                                                                                                \
    "default", "oldest", "block-512", "block-2048"                                                 \
  }
