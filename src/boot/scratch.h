/* scratch.h - the throw-away copy of a VM that the boot test starts.
 *
 * A private directory with one qcow2 overlay a disk, backed by the VM's own disks, which are only
 * read, and a copy of the firmware's variables.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "boot/boot.h"

typedef struct
{
  char *dir;
  H2kDomain *domain; /* the VM with the overlays for disks */
  char *uefi_code;   /* NULL: BIOS */
  char *uefi_vars;
  char *nonce;         /* what the marker unit reports; NULL: there is none */
  char *no_marker_why; /* why there is no marker unit; NULL: there is one, or it is not wanted */
} H2kScratch;

/* Whether it is the first-boot service of DOMAIN's guest whose report is waited for. */
gboolean h2k_boot_by_firstboot (const H2kDomain *domain, const H2kBootOptions *options);

/* Errors: H2K_ERROR_OUTPUT (no directory), _NO_SPACE, those of h2k_disk_open(); H2K_ERROR_TOOL when
 * UEFI firmware is needed and not installed; H2K_ERROR_BOOT when OPTIONS ask for the marker unit
 * and the guest cannot have it. */
H2kScratch *h2k_scratch_new (const H2kDomain *domain, const H2kBootOptions *options,
                             GError **error);
/* Removes the directory and what is in it. */
void h2k_scratch_free (H2kScratch *scratch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kScratch, h2k_scratch_free)
