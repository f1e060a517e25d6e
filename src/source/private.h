/* private.h - what the parsers of descriptions share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "source/source.h"

/* More is a broken or hostile description: hypervisors stop at a few hundred. */
#define H2K_VM_MAX_DEVICES 1024

H2kVm *h2k_vm_new (void);
void h2k_vm_disk_free (H2kVmDisk *disk);
void h2k_vm_nic_free (H2kVmNic *nic);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmDisk, h2k_vm_disk_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmNic, h2k_vm_nic_free)

/* Move DISK, of VM, to place INDEX among the disks. */
void h2k_vm_move_disk (H2kVm *vm, H2kVmDisk *disk, guint index);
/* Append DISK or NIC, which VM then owns. Errors: H2K_ERROR_UNSUPPORTED when there are too many. */
gboolean h2k_vm_add_disk (H2kVm *vm, H2kVmDisk *disk, const char *name, GError **error);
gboolean h2k_vm_add_nic (H2kVm *vm, H2kVmNic *nic, const char *name, GError **error);

/* A NUL-terminated copy of TEXT without NULs at its end. Errors: H2K_ERROR_FORMAT for what is too
 * long to be a description or has NULs inside, after which readers could disagree about it. The
 * caller's. */
char *h2k_description_copy (const char *text, gsize size, const char *name, GError **error);

/* PATH in UTF-8 as a plain relative one, without "." and empty parts. Errors: H2K_ERROR_FORMAT for
 * what is empty, absolute, not text or leads out of the folder. The caller's. */
char *h2k_plain_path (const char *path, const char *name, GError **error);
