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

  gboolean wants_check; /* before the first change, and after changes */
  gboolean touched;     /* it was mounted since the last check */
  gboolean refused;     /* it was corrupt before the first change */
  H2kFsCheck *check;    /* the last one; NULL: none */
} GuestfsFs;

/* Mount FS, starting the appliance if it does not run. Sets *HANDLE. */
gboolean h2k_guestfs_mount (GuestfsFs *fs, guestfs_h **handle, GError **error);
gboolean h2k_guestfs_unmount (GuestfsFs *fs, GError **error);
/* Unmount it and check what was changed; the appliance ends with its last one. */
gboolean h2k_guestfs_flush (GuestfsFs *fs, GError **error);
/* Before and after each call of libguestfs, which is given SECONDS. OK: whether it succeeded.
 * PATH (may be NULL) is for the message. Errors: H2K_ERROR_FAILED: there is no such file;
 * H2K_ERROR_FILESYSTEM, _TOOL, _CANCELLED. */
void h2k_guestfs_begin (H2kGuestfs *guestfs, guint seconds);
/* The same for a call that may take hours: SECONDS are counted from the last request of the
 * appliance to its disks. */
void h2k_guestfs_begin_work (H2kGuestfs *guestfs, guint seconds);
gboolean h2k_guestfs_end (H2kGuestfs *guestfs, gboolean ok, const char *path, GError **error);
/* What SCRIPT, shell commands that succeed, print in the appliance that is running. It is
 * guestfsd's own shell, not one of the guest. The caller's. */
char *h2k_guestfs_shell (H2kGuestfs *guestfs, const char *script, GError **error);
/* The volume's device there. */
char *h2k_guestfs_device (const GuestfsFs *fs);
/* Check FS, which is not mounted, in the appliance, which runs; FS has the result. */
gboolean h2k_guestfs_run_check (GuestfsFs *fs, GError **error);
/* Unless FS may be changed, say why. */
gboolean h2k_guestfs_is_sound (const GuestfsFs *fs, GError **error);
void h2k_guestfs_add (H2kGuestfs *guestfs, GuestfsFs *fs);
void h2k_guestfs_remove (H2kGuestfs *guestfs, GuestfsFs *fs);
