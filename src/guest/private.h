/* private.h - what the files of this folder share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

/* Fill everything about GUEST that its mounted tree says: distribution to hypervisor's parts. */
void h2k_guest_identify (H2kGuest *guest);

/* Fill GUEST's kernels. */
void h2k_guest_find_kernels (H2kGuest *guest);

/* Whether TREE holds an installed system; the tree needs the root filesystem only. */
gboolean h2k_guest_is_system (H2kTree *tree);
/* The name for people of the system in TREE. The caller's. */
char *h2k_guest_pretty_name (H2kTree *tree);

void h2k_guest_warn (H2kGuest *guest, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* "disk 1, partition 2" for messages. The caller's. */
char *h2k_guest_volume_name (const H2kGuestVolume *volume);

/* Compare version texts as people do: runs of digits by their value. As strcmp(). */
int h2k_version_compare (const char *a, const char *b);

/* The value of a shell assignment's right side: quotes removed, escapes undone. The caller's. */
char *h2k_shell_value (const char *text);
