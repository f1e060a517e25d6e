/* lvm-map.h - the logical volumes of a group as disks.
 *
 * Linear and striped volumes on any number of physical volumes; RAID 0, 1 and 10, and mirrors of
 * the old kind. Of a RAID volume or mirror whose images are not all there and up to date only those
 * that are count, and it is not written: LVM would bring the others up to date from its notes of
 * what was written, which would not have this. The origin of a snapshot is read, but not written
 * either, and so are thin volumes, their snapshots, and those with an external origin.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "volume/lvm.h"

typedef struct
{
  H2kDisk *disk;    /* NULL: it cannot be read */
  GError *problem;  /* why not: H2K_ERROR_SOURCE (a physical volume is missing), _UNSUPPORTED,
                     * _FILESYSTEM (damaged), those of the disk; NULL: it was not looked at */
  const char *note; /* NULL, or why it is read-only, for the report. Static. */
} H2kLvmDisk;

/* The disks of GROUP's visible volumes, and of what these are made of, by the volumes' numbers.
 * PVS are the group's physical volumes by their numbers, NULL for what is missing. They are
 * writable where all that they lie on is. H2kLvmDisk, the caller's. */
GArray *h2k_lvm_group_disks (const H2kLvmGroup *group, H2kDisk *const *pvs);

/* Whether it is one that the guest uses, and no part of another one. */
gboolean h2k_lvm_lv_is_visible (const H2kLvmLv *lv);
/* The volume of the group that SEGMENT calls KEY ("origin", "thin_pool"), or H2K_LVM_NO_LV. */
guint h2k_lvm_segment_part (const H2kLvmSegment *segment, const char *key);
/* What the guest calls it: a snapshot has the name of what it keeps its blocks in. Its own. */
const char *h2k_lvm_lv_name (const H2kLvmLv *lv);
