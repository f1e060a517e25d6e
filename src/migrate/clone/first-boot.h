/* first-boot.h - a clone of Windows starts from a known controller until it has met VirtIO.
 *
 * Which of the two definitions is right is said by the state that is started, not by what was
 * started before: after a reset the first boot is ahead once more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"
#include "migrate/clone/clones.h"

/* Where CLONE has the small disk of its first boot; the caller's. */
char *h2k_clone_first_boot_disk (const H2kClone *clone);

/* Whether the first boot is ahead in a state of CLONE, whose DISKS (H2kDisk *) these are: the clone
 * was made for one, and the service that this was left to is in its Windows still. A guest that
 * cannot be read has run since it was repaired: FALSE, with a message. Takes some tenths of a
 * second. */
gboolean h2k_clone_first_boot_is_ahead (const H2kClone *clone, GPtrArray *disks);

/* The machine of the first boot of what has FINAL, with the small disk at DISK, and the driver ISO
 * of CLONE if that is still there. The caller's. */
H2kDomain *h2k_clone_first_boot_machine (const H2kClone *clone, const H2kDomain *final,
                                         const char *disk);

/* The machine for the next start of CLONE, which no VM runs; FIRST: whether it is that of the first
 * boot. The caller's. NULL: errors: those of h2k_clone_open_image(). */
H2kDomain *h2k_clone_next_machine (const H2kClone *clone, gboolean *first, GError **error);
/* Say that MACHINE is that of the first boot, and what is to be done then. */
void h2k_clone_announce_first_boot (const H2kDomain *machine);
