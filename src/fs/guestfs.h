/* guestfs.h - files on volumes that no driver here writes, by way of a libguestfs appliance.
 *
 * Each volume is an NBD export of this process on a private socket, so that what the appliance
 * writes lands where everybody else's writes do. Everything is done as late as possible: the
 * appliance starts with all of its volumes when the first of them needs it, which is with the first
 * change where a driver of our own reads the files, and ends when they are flushed. An appliance
 * that does not answer in time, or not at all, is killed: whatever is asked of it then fails. What
 * reads and writes a volume has time as long as it goes on with that, within reason.
 *
 * Thread-safety: one thread at a time, for one H2kGuestfs and all of its filesystems.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/check.h"

typedef struct _H2kGuestfs H2kGuestfs;

/* Whether KVM runs guests on this host; WHY (may be NULL) becomes a static reason when not. */
typedef gboolean (*H2kKvmFunc) (const char **why);

/* One appliance, not started. KVM_WORKS is asked before it starts; NULL: it is emulated. */
H2kGuestfs *h2k_guestfs_new (H2kKvmFunc kvm_works);
/* After all of its filesystems are freed. Nothing of the appliance is left. */
void h2k_guestfs_free (H2kGuestfs *guestfs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kGuestfs, h2k_guestfs_free)

/* Whether this program was built with libguestfs. */
gboolean h2k_guestfs_available (void);
/* Whether an appliance can be expected to mount this type. */
gboolean h2k_guestfs_takes (const H2kFsId *id);

/* The files on VOLUME. READER (may be NULL; taken, also on errors) is the volume opened by another
 * driver, which reads as long as nothing was changed, and again after a flush. Nothing is started.
 * Errors: H2K_ERROR_UNSUPPORTED (built without libguestfs). Errors of the operations: as of
 * H2kFsOps; H2K_ERROR_TOOL (the appliance does not start, or ended), H2K_ERROR_CANCELLED. */
H2kFs *h2k_guestfs_open (H2kGuestfs *guestfs, H2kDisk *volume, const H2kFsId *id, H2kFs *reader,
                         GError **error);

/* Whether FS was opened by h2k_guestfs_open(). */
gboolean h2k_guestfs_serves (const H2kFs *fs);
/* h2k_fs_check() of such a filesystem, by its own tools. No appliance is started for that: when
 * none has FS mounted, CHECK says so, and from then on FS is checked before its first change, which
 * fails when it is corrupt, as all further ones do, with H2K_ERROR_FILESYSTEM; and again when its
 * changes are flushed. What was found then is told by further calls. */
gboolean h2k_guestfs_check (H2kFs *fs, H2kFsCheck *check, GError **error);
/* What the last check found, FS's; NULL: there was none, or another driver serves FS. *REFUSED (may
 * be NULL): it was before the first change, which was refused. */
const H2kFsCheck *h2k_guestfs_last_check (H2kFs *fs, gboolean *refused);
