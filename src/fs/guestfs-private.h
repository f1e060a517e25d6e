/* guestfs-private.h - what the appliance and the driver of its files share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/nbd-server.h"
#include "fs/guestfs.h"

#include <guestfs.h>

typedef struct
{
  H2kFs base;
  H2kGuestfs *guestfs;
  H2kFs *reader;    /* NULL: there is none, or it is of no use while changes are made */
  gboolean reads;   /* there is a driver that reads it */
  char label[16];   /* of the appliance's device */
  char *mountpoint; /* in the appliance */
  gboolean mounted;
  GPtrArray *servers; /* H2kNbdServer *: of the devices that it lies on */
  GHashTable *stats;  /* what lstat said, by path; NULL: nothing is there */
} GuestfsFs;

/* Mount FS, starting the appliance if it does not run. Sets *HANDLE. */
gboolean h2k_guestfs_mount (GuestfsFs *fs, guestfs_h **handle, GError **error);
/* Unmount it; the appliance ends with its last one. */
gboolean h2k_guestfs_unmount (GuestfsFs *fs, GError **error);
/* Before and after each call of libguestfs, which is given SECONDS. OK: whether it succeeded.
 * PATH (may be NULL) is for the message. Errors: H2K_ERROR_FAILED: there is no such file;
 * H2K_ERROR_FILESYSTEM, _TOOL, _CANCELLED. */
void h2k_guestfs_begin (H2kGuestfs *guestfs, guint seconds);
gboolean h2k_guestfs_end (H2kGuestfs *guestfs, gboolean ok, const char *path, GError **error);
void h2k_guestfs_add (H2kGuestfs *guestfs, GuestfsFs *fs);
void h2k_guestfs_remove (H2kGuestfs *guestfs, GuestfsFs *fs);
