/* ntfs.h - the state of an NTFS volume, for those who decide whether it may be changed.
 *
 * The driver reads every NTFS volume. It writes only to one that its Windows has let go of: a
 * hibernated Windows would overwrite what we change with what it remembers, and the records in the
 * log of a volume that was not shut down would undo it. Such a volume has H2kFs.frozen set.
 *
 * Names are compared without case, as Windows does; one that differs in nothing is preferred.
 * Directories that Windows has made case-sensitive are no exception.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

extern const H2kFsOps h2k_ntfs_ops;

typedef struct
{
  gboolean hibernated; /* hiberfil.sys has a memory image that Windows is to continue from */
  /* That image was written by Windows 8 or later, whose ordinary "Shut down" leaves one, too
   * ("Fast Startup"). From the volume alone it cannot be told which of the two it was;
   * HiberbootEnabled in the registry says whether it can have been Fast Startup. */
  gboolean fast_startup;
  gboolean log_unclean; /* $LogFile holds changes that were not carried out yet, or may do so */
  /* Of log_unclean: Windows 8 or later did not hand the volume over; it does so when it is shut
   * down in full. A data volume of a hibernated Windows looks like this as well. */
  gboolean log_in_use;
  gboolean dirty_flag;                          /* Windows runs chkdsk when it next starts */
  gboolean forced;                              /* by h2k_ntfs_force() */
  guint version_major, version_minor;           /* 3.1 since Windows XP */
  guint sector_size, cluster_size, record_size; /* bytes */
  guint64 serial;                               /* as the boot sector has it */
} H2kNtfsState;

/* The state that FS was found in; NULL when it is no NTFS volume. Valid as long as FS. */
const H2kNtfsState *h2k_ntfs_state (H2kFs *fs);

/* Make FS writable though its log is not clean, for a user who asks for it: what the log holds is
 * lost, and the volume is marked as dirty so that Windows runs chkdsk on it. Nothing is done to a
 * volume that is writable already. Errors: H2K_ERROR_UNSUPPORTED (no NTFS, hibernated, an unknown
 * version), H2K_ERROR_FILESYSTEM (the volume is open for reading only; corrupt), those of the disk.
 */
gboolean h2k_ntfs_force (H2kFs *fs, GError **error);
