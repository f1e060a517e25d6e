/* check.h - whether a filesystem is consistent in itself: what fsck would find, without changing
 * anything.
 *
 * What is looked at is what the volume holds after its journal was replayed, as the system would
 * mount it. Two kinds of findings are told apart: a corruption means that files are damaged, or
 * will be when somebody writes; a note is untidy, but does no harm (space that nothing uses, sums
 * that the kernel adds up again).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

#define H2K_FS_CHECK_FINDINGS 20 /* texts of each kind that are kept; all are counted */

typedef struct
{
  H2kProgressFunc progress; /* may be NULL; the caller's. Bytes of the tables of inodes */
  gpointer progress_data;

  gboolean checked; /* FALSE: REASON says why not */
  char *reason;
  const char *by; /* "native", "guestfs": the filesystem's own tools, in an appliance. Static */
  guint64 corruptions, notes;
  GPtrArray *findings; /* char *: the first corruptions, a line each, safe for terminals */
  GPtrArray *remarks;  /* char *: the same of the notes */
} H2kFsCheck;

H2kFsCheck *h2k_fs_check_new (void);
void h2k_fs_check_free (H2kFsCheck *check);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFsCheck, h2k_fs_check_free)

/* Check what FS lies on; its changes are flushed before. TRUE: CHECK says what was found. Nothing
 * is written by the check itself. Memory: a bit a block (of large filesystems in pieces of 64 MiB,
 * with a pass over the inodes for each), a byte an inode (of NTFS 20), 16 bytes a directory. What
 * an appliance serves is checked there, at the latest before its first change: h2k_guestfs_check().
 * Errors: those of the disk, H2K_ERROR_CANCELLED; H2K_ERROR_TOOL. */
gboolean h2k_fs_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error);

/* The findings in one line: "FIRST; SECOND; and 17 more". The caller's. */
char *h2k_fs_check_summary (const H2kFsCheck *check);

/* For drivers. _leave: it was not checked, FORMAT says why; what was found until then is forgotten.
 */
void h2k_fs_check_leave (H2kFsCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
void h2k_fs_check_copy (H2kFsCheck *to, const H2kFsCheck *from);
void h2k_fs_check_corrupt (H2kFsCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
void h2k_fs_check_note (H2kFsCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
