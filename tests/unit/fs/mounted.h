/* mounted.h - filesystems that the kernel has mounted: files are made there, and those that a
 * driver of fs sees are compared with them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "images.h"
#include "mounted-files.h"

#include <sys/stat.h>

/* Whether anything can be mounted at all: there is a namespace whose mounts go when this program
 * ends, however it does. */
gboolean mounted_allowed (void);
/* Mount "@/image", which holds a TYPE, at "@/mnt"; OPTIONS are more of them, each behind a comma.
 * FALSE, and the test is skipped, where that cannot be done. The mounts go with the program. */
gboolean mounted_mount (const char *type, const char *options);
/* Unmount what a test may have left mounted. */
void mounted_cleanup (void);

/* Fail unless ST is what stat(2) says. A driver that numbers its inodes otherwise has its own. */
typedef void (*MountedStat) (const H2kStat *st, const struct stat *real);
void mounted_assert_stat (const H2kStat *st, const struct stat *real);

/* Fail unless the file PATH of FS has the content of the file HOST of this machine. */
void mounted_assert_content (H2kFs *fs, const char *path, const char *host);
/* Fail unless FS has at PATH and below what "@/mnt" has. Returns how many files that are. */
guint mounted_assert_same (H2kFs *fs, const char *path, MountedStat assert_stat);
