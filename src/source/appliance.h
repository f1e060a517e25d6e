/* appliance.h - an exported VM: its description, and its disks opened where they lie.
 *
 * Thread-safety: an appliance is used by one thread at a time, but h2k_appliance_verify() may run
 * beside the reading of the disks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"
#include "source/source.h"

typedef struct
{
  H2kVm *vm;
  GPtrArray *disks;     /* H2kDisk *, as in VM */
  GPtrArray *checked;   /* H2kFile *: what the manifest has digests of ... */
  GPtrArray *manifest;  /* ... and H2kManifestEntry *, one for each of them; may be NULL */
  GPtrArray *unchecked; /* char *: the disks' files that a manifest should name and does not */
} H2kAppliance;

/* Open the appliance that PATH describes: an OVA (a tar archive, whose members are read in place),
 * an OVF with its files beside it, or a VMware configuration (.vmx). KIND is "ova", "ovf" or "vmx".
 * Nothing is unpacked. The description's own digest is verified at once.
 * Errors: H2K_ERROR_SOURCE (a file is missing), _FORMAT, _UNSUPPORTED, _USAGE (another kind). */
H2kAppliance *h2k_appliance_open (const char *path, const char *kind, GError **error);
void h2k_appliance_free (H2kAppliance *appliance);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kAppliance, h2k_appliance_free)

/* Read every file that the manifest names and compare its digest. TRUE also without a manifest.
 * Errors: H2K_ERROR_FORMAT (a digest differs), _SOURCE, _CANCELLED. */
gboolean h2k_appliance_verify (H2kAppliance *appliance, GCancellable *cancellable, GError **error);
