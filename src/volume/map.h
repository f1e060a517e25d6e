/* map.h - a disk whose blocks lie on other disks: what device-mapper calls a table.
 *
 * A mapped disk is a row of runs. Each run lies on one or more members by one geometry, of which
 * the common layouts are special cases:
 *
 *   linear           one member
 *   striped, RAID0   several members, one copy of each chunk
 *   mirror, RAID1    several members, as many near copies
 *   RAID10           near copies lie side by side, far copies a stride further down
 *
 * A chunk is read from its first copy that can be, and written to all copies.
 *
 * Thread-safety: as any H2kDisk. What is given is copied; disks are referenced.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

#define H2K_MAP_MAX_COPIES 64u

typedef struct
{
  H2kDisk *disk;       /* NULL: it is missing */
  guint64 offset;      /* bytes: where its part begins */
  gboolean write_only; /* it is being rebuilt: it gets what is written, but does not tell */
} H2kMapMember;

/* Where the copies of a chunk lie. */
typedef struct
{
  guint64 chunk;       /* bytes; 0: the whole run is one */
  guint near, far;     /* copies of each kind, at least 1; both together: near * far */
  gboolean far_offset; /* far copies lie in the next row, not a stride further down */
  guint far_set;       /* far copies stay within so many members; 0: all of them are one set */
  guint64 stride;      /* bytes: from one far copy to the next, unless far_offset */
} H2kMapLayout;

typedef struct
{
  guint64 length; /* bytes of the mapped disk, > 0 */
  H2kMapLayout layout;
  guint n_members;
  const H2kMapMember *members;
} H2kMapRun;

/* A disk of the N_RUNS runs, one behind the other. FORMAT and NAME as in H2kDisk. Writable when
 * every member is, and WRITABLE says so.
 * Errors: H2K_ERROR_FORMAT: a run does not fit its members, or is no layout at all;
 * H2K_ERROR_SOURCE: there are chunks no copy of which can be read; H2K_ERROR_UNSUPPORTED: it lies
 * on too much. */
H2kDisk *h2k_map_disk_new (const H2kMapRun *runs, guint n_runs, gboolean writable,
                           const char *format, const char *name, GError **error);

/* What is written to a mapped disk goes down all the paths there are to the disks below, in the
 * worst case, and a flush does. Layers over layers of many members have more than anybody can wait
 * for: whether NAME, with PATHS, has few enough. Errors: H2K_ERROR_UNSUPPORTED. */
gboolean h2k_map_check_paths (guint64 paths, const char *name, GError **error);

/* --- for other disks that are made of pieces of members ----------------------------------------
 */

gboolean h2k_map_is_readable (const H2kMapMember *member);
/* Whether MEMBER, if it is there, has LENGTH bytes. */
gboolean h2k_map_has_room (const H2kMapMember *member, guint64 length);

/* The extent at AT of the piece there. LENGTH gets how long the piece is from there on: behind a
 * shorter extent comes another kind. */
typedef gboolean (*H2kMapPieceFunc) (H2kDisk *disk, guint64 at, H2kExtent *extent, guint64 *length,
                                     GError **error);
/* The extent at OFFSET: those of the pieces (a thousand at the most) that are of one kind. */
gboolean h2k_map_join_extents (H2kDisk *disk, guint64 offset, H2kMapPieceFunc piece,
                               H2kExtent *extent, GError **error);
