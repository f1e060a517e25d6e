/* private.h - what the files of this folder share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

/* Fill everything about GUEST that its mounted tree says: distribution to hypervisor's parts. */
void h2k_guest_identify (H2kGuest *guest);

/* The same for a Windows; TEMP_DIR as of H2kGuestOptions. Errors: those of h2k_hive_open(). */
gboolean h2k_guest_identify_windows (H2kGuest *guest, const char *temp_dir, GError **error);
/* Whether VOLUME holds an installed Windows. */
gboolean h2k_guest_is_windows (const H2kGuestVolume *volume);

/* Fill GUEST's kernels. */
void h2k_guest_find_kernels (H2kGuest *guest);

/* Whether TREE holds an installed system; the tree needs the root filesystem only. FALSE without an
 * error: there is none; with one (H2K_ERROR_FILESYSTEM, the disk's): that cannot be seen. */
gboolean h2k_guest_is_system (H2kTree *tree, GError **error);
/* The name for people of the system in TREE. The caller's. */
char *h2k_guest_pretty_name (H2kTree *tree);

void h2k_guest_warn (H2kGuest *guest, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* "disk 1, partition 2" for messages. The caller's. */
char *h2k_guest_volume_name (const H2kGuestVolume *volume);

/* Compare version texts as people do: runs of digits by their value. As strcmp(). */
int h2k_version_compare (const char *a, const char *b);

/* The value of a shell assignment's right side: quotes removed, escapes undone. The caller's. */
char *h2k_shell_value (const char *text);

/* --- the steps of h2k_guest_open() ------------------------------------------------------------ */

/* Open every filesystem that can be; ERRORS gets, by volume, why another one is not open
 * (GError *, or NULL). A corrupt one only matters when the system turns out to need it. */
gboolean h2k_guest_open_filesystems (H2kGuest *guest, const H2kGuestOptions *options,
                                     GPtrArray *errors, GError **error);
/* Find the volume that is the root, and on btrfs its subvolume. ANY: of several systems the first
 * one is taken. */
gboolean h2k_guest_choose_root (H2kGuest *guest, gboolean any, GPtrArray *errors, GError **error);
/* Mount it, and on it what its fstab names. */
gboolean h2k_guest_mount_all (H2kGuest *guest, GPtrArray *errors, GError **error);

/* --- for these ----------------------------------------------------------------------------------
 */

/* The entries of TREE's fstab that name block devices, the upper mountpoints first (H2kFstabEntry
 * *; the caller's), and in REMOTE (may be NULL) those that name servers. */
GPtrArray *h2k_guest_read_fstab (H2kTree *tree, GPtrArray *remote, GError **error);
/* The tree of one candidate's root filesystem alone. The caller's. */
H2kTree *h2k_guest_lone_tree (H2kGuest *guest, H2kGuestVolume *volume);
/* Of the systems on one filesystem: the one that is booted. The others are its snapshots. *WHY
 * (NULL before) becomes the first reason why some of it could not be looked at; NULL: all was. */
void h2k_guest_choose_subvolume (H2kGuest *guest, H2kGuestVolume *volume, GError **why);
/* The subvolume that ENTRY names, as a path with a slash; NULL: it names none. The caller's. */
char *h2k_subvolume_named (const H2kFstabEntry *entry, GPtrArray *subvolumes);
/* The one that is mounted where none is named. */
const char *h2k_subvolume_default (GPtrArray *subvolumes);
/* Add to TEXT what the system may lie on, but what cannot be read: a key is missing, or a disk. The
 * first of these problems, GUEST's; NULL: there are none. */
const GError *h2k_guest_list_problems (const H2kGuest *guest, GString *text);
