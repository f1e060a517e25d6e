/* initramfs-config.h - the guest's own configuration of what goes into its next initramfs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/modules.h"
#include "repair/repair.h"

/* Make the generator put DRIVERS (char *: module names) into every initramfs that the guest makes
 * by itself later. MODULES are those of its newest kernel; may be NULL.
 * Errors: H2K_ERROR_FILESYSTEM. */
gboolean h2k_initramfs_configure (H2kRepairContext *context, GPtrArray *drivers,
                                  const H2kModules *modules, GError **error);
