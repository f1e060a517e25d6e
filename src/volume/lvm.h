/* lvm.h - LVM2 metadata: which extents of a physical volume belong to which logical volume.
 *
 * After lib/format_text/layout.h of LVM2 and lvmcache(7), pvck(8), lvm.conf(5). The label, in one
 * of the first four sectors, leads to the metadata areas; each of those is a ring buffer that holds
 * the volume group's description as text, under a checksum, with a number that grows by one with
 * each change. Nothing is written, and nothing needs the group's other volumes.
 *
 * Thread-safety: what is returned is not changed any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

#define H2K_LVM_NO_PV G_MAXUINT
#define H2K_LVM_NO_LV G_MAXUINT

/* Extents of a physical volume. */
typedef struct
{
  guint pv; /* which of the group's, or H2K_LVM_NO_PV: the area is another logical volume */
  guint64 start, count;
  guint lv; /* which other one; else H2K_LVM_NO_LV */
} H2kLvmArea;

/* Another logical volume that a segment is made of. */
typedef struct
{
  char *key, *name; /* what it is to the segment ("raids", "metadata", "pool"), and of what name */
  guint lv;         /* which of the group's, or H2K_LVM_NO_LV: there is none of that name */
} H2kLvmPart;

/* A piece of a logical volume. */
typedef struct
{
  guint64 start, count; /* extents of the logical volume */
  char *type;           /* "striped", "snapshot", "thin-pool"...: LVM's word for it */
  gboolean is_linear;   /* AREAS is one area of COUNT extents, mapped one to one */
  GArray *areas;        /* H2kLvmArea: where it lies; none where it is made of other volumes */
  GArray *parts;        /* H2kLvmPart: those volumes, as they come */
  /* Of the types that have them, else 0. */
  guint64 stripe_size; /* bytes */
  guint64 data_copies;
  guint64 chunk_size;  /* bytes: of a thin pool's blocks */
  guint64 region_size; /* bytes: what a bit of a mirror's log is about */
  guint64 device_id, transaction_id;
  guint64 reshape_count; /* extents of each image that hold no data: before or behind those */
} H2kLvmSegment;

typedef struct
{
  char *name, *uuid;
  /* An ordinary volume that the guest uses as it is: linear, visible, readable, without flags, and
   * no part of another volume (snapshot, pool, cache, mirror...). The segments cover it without a
   * gap. */
  gboolean is_plain;
  GStrv status; /* "READ", "WRITE", "VISIBLE", and what is not ordinary */
  guint64 extents;
  GPtrArray *segments; /* H2kLvmSegment *, by start */
} H2kLvmLv;

typedef struct
{
  char *name;       /* "pv0": what the description calls it */
  char *uuid;       /* with dashes */
  char *device;     /* what it was called where the group was changed last; NULL: not said */
  guint64 pe_start; /* bytes: where its first extent begins */
  guint64 pe_count;
  gboolean is_missing;
} H2kLvmPv;

typedef struct
{
  char *name, *uuid;
  guint64 seqno;
  guint64 extent_size; /* bytes */
  gboolean is_exported, is_partial;
  GPtrArray *pvs; /* H2kLvmPv * */
  GPtrArray *lvs; /* H2kLvmLv *, hidden ones too */
} H2kLvmGroup;

typedef struct
{
  guint64 offset, length; /* bytes */
} H2kLvmRange;

/* A physical volume and what it says about its group. */
typedef struct
{
  char uuid[39];       /* with dashes */
  guint64 data_offset; /* bytes: where its label says that extents begin */
  GArray *areas;       /* H2kLvmRange: the metadata areas */
  H2kLvmGroup *group;  /* NULL: it belongs to none, or its metadata is kept elsewhere */
  guint pv;            /* which of the group's it is */
  /* NULL, or why GROUP may not be the group's present state: an area that is damaged, areas that do
   * not agree, a change that was interrupted. Static. */
  const char *doubt;
} H2kLvmMember;

/* Read the metadata of VOLUME: the newest state whose checksum is right.
 * Errors: H2K_ERROR_FILESYSTEM (no label, damaged metadata), H2K_ERROR_UNSUPPORTED (a kind of
 * segment or a format that is not known); those of the disk. */
H2kLvmMember *h2k_lvm_member_read (H2kDisk *volume, GError **error);
void h2k_lvm_member_free (H2kLvmMember *member);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLvmMember, h2k_lvm_member_free)

/* A group from its description as vgcfgbackup(8) writes it, too; NAME is for messages. Errors:
 * H2K_ERROR_FILESYSTEM, H2K_ERROR_UNSUPPORTED. */
H2kLvmGroup *h2k_lvm_group_parse (const char *name, const char *text, gsize length, GError **error);
void h2k_lvm_group_free (H2kLvmGroup *group);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLvmGroup, h2k_lvm_group_free)

/* What tells LV, as GROUP describes it, from every other volume and description: their UUIDs, the
 * description's number, and LV's name. The caller's. */
char *h2k_lvm_lv_identity (const H2kLvmGroup *group, const H2kLvmLv *lv);

/* A plain logical volume of MEMBER's group whose extents all lie on VOLUME, as a read-only disk;
 * keeps a reference of VOLUME. NULL and no error: it is not plain, or lies elsewhere, too.
 * Errors: H2K_ERROR_FILESYSTEM: its extents do not fit into VOLUME. */
H2kDisk *h2k_lvm_lv_disk (H2kDisk *volume, const H2kLvmMember *member, const H2kLvmLv *lv,
                          GError **error);
