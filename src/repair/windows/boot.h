/* boot.h - the parts of the repair of what starts Windows.
 *
 * Thread-safety: one thread at a time. Errors of all: H2K_ERROR_REPAIR when Windows would not
 * start, and those of the tree, the registry and the disks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/windows-store.h"
#include "repair/repair.h"

/* The BCD: its default entry, and where that leads. */
gboolean h2k_windows_repair_bcd (H2kRepairContext *context, GError **error);
/* A BCD that cannot be read is replaced by a new one for this Windows alone, made from the template
 * that bcdboot uses. WHY is what is wrong with it. */
gboolean h2k_windows_rebuild_bcd (H2kRepairContext *context, const char *why, GError **error);
/* boot.ini, which may be damaged. */
gboolean h2k_windows_repair_boot_ini (H2kRepairContext *context, GError **error);
/* What the BIOS loads: the master boot record, and the boot sector of the volume that is started.
 */
gboolean h2k_windows_repair_sectors (H2kRepairContext *context, GError **error);

/* Keep the guest's file PATH as "PATH.h2k-backup", if there is none yet. */
gboolean h2k_windows_keep (H2kRepairContext *context, const char *path, GError **error);
/* A change of what is no file: WHERE in words, BEFORE and AFTER are lines of text. */
void h2k_windows_record_place (H2kRepairContext *context, const char *where, const char *before,
                               const char *after, const char *reason);
/* Write the edits of the BCD in HIVE, and record its backup. */
gboolean h2k_windows_commit_store (H2kRepairContext *context, H2kHive *hive, GError **error);
