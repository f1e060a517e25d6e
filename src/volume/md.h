/* md.h - Linux software RAID: what a member's superblock says, and arrays as disks.
 *
 * After md(4), mdadm(8) and include/uapi/linux/raid/md_p.h: superblocks of version 0.90 (in either
 * byte order), 1.0, 1.1 and 1.2; linear, RAID 0, 1, 4, 5 and 10 with every layout. The rules by
 * which members count are the kernel's: one is up to date when it has seen the newest event but
 * one, unless that was its own failure; and, as mdadm has it, when it counts on the newest one.
 *
 * Thread-safety: what is returned is not changed any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

#define H2K_MD_NO_SLOT G_MAXUINT

typedef struct
{
  char version[5];  /* "0.90", "1.0", "1.1", "1.2" */
  char uuid[36];    /* of the array, as mdadm writes it: four groups with colons */
  char *name;       /* "host:name" or "name", escaped; NULL: none (0.90) */
  guint minor;      /* 0.90: of the array's preferred device, /dev/mdMINOR */
  int level;        /* -1: linear */
  guint layout;     /* the level's; RAID 0: 0: not said */
  guint64 chunk;    /* bytes; 0: none */
  guint raid_disks; /* how many slots the array has */
  guint64 size;     /* bytes of each member that the array uses; 0: all of data_size */

  guint slot; /* of this member, or H2K_MD_NO_SLOT: a spare, faulty, a journal */
  /* Of each member by its number, this one's being the first of these, as far as it knows: its
   * slot, or what is none. NULL: not used (0.90). */
  guint number, n_roles;
  guint16 *roles;
  guint8 *counted; /* of each slot: whether the array counts an active member in it, as far as this
                      one knows */
  guint64 data_offset, data_length; /* bytes: of this member's part of the array */
  guint64 events;
  gboolean is_dirty;       /* members may differ where the array was written last */
  gboolean is_recovering;  /* this member is being rebuilt */
  gboolean is_replacement; /* ... to take the place of another one */
  gboolean has_bitmap;     /* what changes is noted, for a member that comes back */
  gboolean has_bad_blocks;
  gboolean is_reshaping; /* the array is being changed */
  gboolean has_journal;  /* another device has what was written last */
  gboolean has_ppl;      /* RAID 5: members keep what parity is made from for a while */
} H2kMdMember;

/* Read the superblock of DISK. Errors: H2K_ERROR_FILESYSTEM (none, or a damaged one), those of the
 * disk. */
H2kMdMember *h2k_md_member_read (H2kDisk *disk, GError **error);
void h2k_md_member_free (H2kMdMember *member);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kMdMember, h2k_md_member_free)
/* The slot that MEMBER, which has roles, knows the member NUMBER in; H2K_MD_NO_SLOT: in none. */
guint h2k_md_slot_by (const H2kMdMember *member, guint number);

/* A member and the disk that it is on. */
typedef struct
{
  const H2kMdMember *member;
  H2kDisk *disk;
} H2kMdDisk;

/* The array of MEMBERS, all of one UUID, as a disk. NOTES (char *) gets what is to be reported.
 * Missing and stale members are done without where there are copies. Of an array that lacks a
 * member which it counts as active, or lacks any and has a bitmap, nothing is written, since that
 * member would come back without what was, and be believed (ALONE: it never comes back, so RAID 1
 * and 10 are written); nor where bad blocks are noted or a
 * member is being replaced. RAID 1 and 10 are written on all members, RAID 4 and 5 with their
 * parity, which needs all members. *FROZEN: it is not written for such a reason, which is in NOTES,
 * whether the members can be or not.
 * Errors: H2K_ERROR_SOURCE (a member that is needed is missing or stale, or there twice),
 * H2K_ERROR_UNSUPPORTED (RAID 6, a write journal, a reshape), H2K_ERROR_FILESYSTEM (members
 * contradict each other). */
H2kDisk *h2k_md_array_disk (const H2kMdDisk *members, guint n_members, gboolean alone,
                            GPtrArray *notes, gboolean *frozen, GError **error);
