/* firmware.h - the host's UEFI firmware files for a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

typedef struct
{
  char *code; /* mapped read-only */
  char *vars; /* the template that each VM gets a copy of */
} H2kUefiFiles;

void h2k_uefi_files_free (H2kUefiFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kUefiFiles, h2k_uefi_files_free)

/* Firmware for ARCH without Secure Boot, which boots signed and unsigned systems alike: from QEMU's
 * firmware descriptors, else from the distributions' usual places. ROOT is put before every path
 * ("" but in tests). Errors: H2K_ERROR_TOOL names the packages to install. */
H2kUefiFiles *h2k_uefi_find (const char *root, const char *arch, GError **error);
/* Firmware for ARCH with Secure Boot and the keys that everybody has in its variables, from QEMU's
 * descriptors, as libvirt chooses it; NULL: there is none. */
H2kUefiFiles *h2k_uefi_find_secure (const char *root, const char *arch);
