/* md-parity.h - a disk whose blocks lie on others, with a parity for one that is lost: RAID 4
 * and 5.
 *
 * A row has one chunk of each member, and one of those is the others' exclusive or. Which one that
 * is, and in which order the others come, is the layout.
 *
 * Thread-safety: as of the members' disks; writes of several threads do not disturb the parity.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "volume/map.h"

/* In the numbers of md(4)'s superblocks. */
typedef enum
{
  H2K_PARITY_LEFT_ASYMMETRIC,
  H2K_PARITY_RIGHT_ASYMMETRIC,
  H2K_PARITY_LEFT_SYMMETRIC,
  H2K_PARITY_RIGHT_SYMMETRIC,
  H2K_PARITY_FIRST,
  H2K_PARITY_LAST,
} H2kParityLayout;

/* The disk of the N MEMBERS, of each of which MEMBER_LENGTH bytes are used, rounded down to whole
 * chunks. A member that is missing, or only to be written, is made up for. Writable when WRITABLE
 * says so and all members are there and writable: the parity follows what is written.
 * Errors: H2K_ERROR_FORMAT: it is no layout, or does not fit the members; H2K_ERROR_SOURCE: more
 * than one member is missing; H2K_ERROR_UNSUPPORTED: they lie on too much. */
H2kDisk *h2k_md_parity_disk (const H2kMapMember *members, guint n, guint layout, guint64 chunk,
                             guint64 member_length, gboolean writable, const char *name,
                             GError **error);
