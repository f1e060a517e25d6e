/* foreign.h - volumes that no driver here knows, recognised by libblkid: pools, clustered and
 * journalled filesystems, members of firmware RAID.
 *
 * Thread-safety: any number of threads at once, on distinct disks or the same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

typedef struct
{
  char type[32];  /* libblkid's: "bcachefs", "ceph_bluestore", "VMFS_volume_member", "drbd", ... */
  char usage[16]; /* the same: "filesystem", "raid", "crypto", "other" */
  char version[32]; /* "" when there is none */
  char uuid[64];
  char label[68]; /* escaped */
} H2kForeign;

/* Recognise VOLUME by its first and last megabytes. FALSE without an error: it cannot be, or more
 * than one thing is on it. Errors: those of the disk; H2K_ERROR_FAILED (no memory). */
gboolean h2k_foreign_identify (H2kDisk *volume, H2kForeign *id, GError **error);
