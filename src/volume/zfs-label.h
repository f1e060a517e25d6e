/* zfs-label.h - the labels of a ZFS pool's devices: which pool it is, and what else belongs to it.
 *
 * "ZFS On-Disk Specification", chapter 1: each device has four labels of 256 KiB, two at its start
 * and two at its end, which say the same: pairs of names and values in XDR (RFC 4506) that name the
 * pool and describe the top-level device that this one is a part of. The files of a pool are not
 * read.
 *
 * Texts are the disk's: escape them (h2k_escape_text()) before people see them.
 *
 * Thread-safety: the functions may be called by any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef enum
{
  H2K_ZFS_ACTIVE, /* it was not exported: in use, or its host was turned off */
  H2K_ZFS_EXPORTED,
  H2K_ZFS_DESTROYED,
  H2K_ZFS_SPARE, /* no part of the pool yet */
  H2K_ZFS_CACHE, /* the same: its content is elsewhere, too */
  H2K_ZFS_UNKNOWN,
} H2kZfsState;

/* A device of the pool, or several that are put together. */
typedef struct
{
  char *type; /* "disk", "file"; "mirror", "raidz", "draid", "replacing", "spare", ... */
  guint64 guid;
  guint64 parity;      /* raidz, draid: how many of CHILDREN may be missing */
  char *path;          /* of a disk or a file: where its host had it; may be NULL */
  GPtrArray *children; /* H2kZfsVdev *; empty for disks and files */
} H2kZfsVdev;

typedef struct
{
  guint64 version; /* 1 to 28; 5000: it has features instead */
  char *pool;      /* its name; of spares and caches NULL */
  guint64 pool_guid;
  H2kZfsState state;
  guint64 txg;       /* the transaction group that wrote the label: it counts up */
  guint64 host_id;   /* of the host that used it last; 0: not told */
  char *hostname;    /* the same; may be NULL */
  guint64 guid;      /* of this device */
  guint64 top_guid;  /* of the top-level device that it belongs to */
  guint64 tops;      /* how many of these the pool has */
  H2kZfsVdev *top;   /* that top-level device; NULL: not told */
  gboolean is_sound; /* the label's checksum is right */
} H2kZfsLabel;

/* The label of DISK: of the four the newest one, those with a right checksum before all others.
 * NULL without an error: there is none that can be read. Errors: those of the disk. */
H2kZfsLabel *h2k_zfs_label_read (H2kDisk *disk, GError **error);
void h2k_zfs_label_free (H2kZfsLabel *label);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kZfsLabel, h2k_zfs_label_free)

/* Whether LABELS (H2kZfsLabel *, of devices of one pool) are of enough devices to import the pool.
 * If not, MISSING (may be NULL) gets what else it needs, for people; the caller's. */
gboolean h2k_zfs_is_complete (const GPtrArray *labels, char **missing);

/* "active", "exported", ... Static. */
const char *h2k_zfs_state_name (H2kZfsState state);
