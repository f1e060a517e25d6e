/* stack.h - every volume on a guest's disks: partitions, and what is made of them.
 *
 * Partitions may be members of md arrays, LVM groups, LUKS containers, BitLocker volumes or btrfs
 * filesystems on several devices; what comes out of these may be a member again, and so on, until
 * nothing new appears. The result is a list of volumes, each a disk that reads, and where all below
 * it is an overlay writes, through to the guest's disks. Whatever is incomplete, damaged or locked
 * is in the list, too, with the reason.
 *
 * An array or group whose members are not all there is put together only when nothing else can
 * bring them up. At most 16 layers lie over each other, and there are at most 4096 volumes; what is
 * beyond that is left out with a warning.
 *
 * Thread-safety: one thread at a time, but the volumes' disks as any other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"
#include "volume/keys.h"
#include "volume/volume.h"

typedef enum
{
  H2K_NODE_DISK,      /* a whole disk: one without a partition table, or a member as a whole */
  H2K_NODE_PARTITION, /* also of an md array */
  H2K_NODE_LV,
  H2K_NODE_MD,
  H2K_NODE_LUKS,      /* what is in a container */
  H2K_NODE_BITLOCKER, /* what is in a BitLocker volume */
  H2K_NODE_BTRFS,     /* the devices of one filesystem: a disk of fs/btrfs-devices.h */
} H2kNodeKind;

typedef struct _H2kNode H2kNode;
struct _H2kNode
{
  H2kNodeKind kind;
  guint disk;        /* the first of the guest's disks that it lies on */
  H2kVolume *volume; /* owned by a table or by the stack; its disk is NULL when it cannot be read */
  H2kFsId id;        /* what it holds */
  char *name;        /* for messages: "disk 1, partition 2", "logical volume vg/root" */
  GPtrArray *names;  /* char *: what the guest may call it, "/dev/..."; the usual one first */
  char *uuid; /* the logical volume's, the array's, the container's, ...; NULL: it has none */
  char *type; /* "raid1", "thin", "linear, striped", "LUKS2"; NULL: there is no more to say */
  GPtrArray *parents;    /* H2kNode *: what it lies on */
  const H2kNode *origin; /* the thin volume that it was a snapshot of when it was made, if that is
                            still there; else NULL */
  GPtrArray *notes;      /* char *: for the report */
  gboolean frozen;       /* it is not written, whether the disks can be or not: NOTES say why */
  char *identity;        /* of a logical volume, or of the container whose content it is: see lvm.h,
                            luks.h and bitlocker.h; else NULL */
  gboolean is_member;    /* it was taken for a part of something else */
  GError *problem;       /* why it, or what should be in it, cannot be read; NULL: it can */
  guint depth;           /* 0: a partition */
};

typedef struct
{
  GPtrArray *tables;   /* H2kTable *: of the disks */
  GPtrArray *inner;    /* H2kTable *: of md arrays that are partitioned */
  GPtrArray *nodes;    /* H2kNode *; what lies on another one comes behind it */
  GPtrArray *warnings; /* char *, for the report */
} H2kStack;

/* Find the volumes on DISKS (H2kDisk *). KEYS (may be NULL) open LUKS containers and
 * BitLocker volumes; these last are not written then, unless they are suspended.
 * Errors: those of the disks. What is wrong with a volume is said in its node. */
H2kStack *h2k_stack_new (GPtrArray *disks, const H2kKeys *keys, GError **error);
/* The same. ALONE: the VM has these disks and will never have others, so that mirrors are written
 * without the members that they lack. */
H2kStack *h2k_stack_new_alone (GPtrArray *disks, const H2kKeys *keys, gboolean alone,
                               GError **error);
void h2k_stack_free (H2kStack *stack);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kStack, h2k_stack_free)

/* The one volume that is called NAME ("/dev/vg/root"); NULL: none, or several are. */
H2kNode *h2k_stack_find (const H2kStack *stack, const char *name);
/* Whether NODE lies on OTHER, on however many layers. */
gboolean h2k_node_lies_on (const H2kNode *node, const H2kNode *other);
/* The guest itself calls NODE by NAME ("/dev/mapper/root"): make that the first of its names. */
void h2k_node_prefer_name (const H2kNode *node, const char *name);
/* Whether NODE is a snapshot of OTHER, or of one of its snapshots. */
gboolean h2k_node_is_snapshot_of (const H2kNode *node, const H2kNode *other);
/* Why NODE could not be written even if the disks can be, for people; the caller's. NULL: there is
 * no such reason. */
char *h2k_node_why_read_only (const H2kNode *node);

/* "partition", "lvm-lv", "md", "luks", "bitlocker", "btrfs", "disk". Static. */
const char *h2k_node_kind_name (H2kNodeKind kind);

/* /dev/mapper's name of the volume LV in the group VG: dashes inside the names are doubled. The
 * caller's. */
char *h2k_lvm_mapper_name (const char *vg, const char *lv);
