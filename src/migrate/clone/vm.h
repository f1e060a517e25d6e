/* vm.h - the running VM of a clone, whoever runs it: libvirt, or a QEMU that `clone run`
 * started.
 *
 * Thread-safety: a VM is used by one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "migrate/clone/clones.h"

typedef struct _H2kCloneVm H2kCloneVm;

typedef enum
{
  H2K_VM_GONE,
  H2K_VM_RUNNING,
  H2K_VM_PAUSED,
} H2kVmState;

/* How one of those who run VMs is spoken to. Errors of all: H2K_ERROR_TOOL. */
typedef struct
{
  /* "libvirt at qemu:///system", for people; the caller's. */
  char *(*where) (H2kCloneVm *vm);
  H2kVmState (*state) (H2kCloneVm *vm);
  gboolean (*pause) (H2kCloneVm *vm, GError **error);
  gboolean (*resume) (H2kCloneVm *vm, GError **error);
  /* Press the power button; the guest does what it likes. */
  gboolean (*shutdown) (H2kCloneVm *vm, GError **error);
  /* Pull the plug. */
  gboolean (*destroy) (H2kCloneVm *vm, GError **error);
  /* Wake who watches when IMAGE, the current one of a disk, is written to from byte OFFSET of its
   * file on; once. */
  gboolean (*set_threshold) (H2kCloneVm *vm, const char *image, guint64 offset, GError **error);
  void (*free) (H2kCloneVm *vm);
} H2kCloneVmOps;

struct _H2kCloneVm
{
  const H2kCloneVmOps *ops;
  int fd; /* readable when something happened, then to be given to h2k_clone_vm_drain(); -1: none */
};

/* The VM of CLONE. WATCHING: its events are wanted, too. NULL without an error: it does not run;
 * errors: H2K_ERROR_OUTPUT: something else runs it. */
H2kCloneVm *h2k_clone_vm_find (const H2kClone *clone, gboolean watching, GError **error);
void h2k_clone_vm_drain (H2kCloneVm *vm);
void h2k_clone_vm_free (H2kCloneVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCloneVm, h2k_clone_vm_free)

/* The sockets of `clone run`'s QEMU, by name: for commands, for who watches, and of the TPM. The
 * caller's. */
#define H2K_CLONE_SOCKET_QMP "qmp.sock"
#define H2K_CLONE_SOCKET_WATCH "watch.sock"
#define H2K_CLONE_SOCKET_TPM "tpm.sock"
char *h2k_clone_vm_socket (const H2kClone *clone, const char *name);

/* The backends. NULL without an error: it does not run there. */
H2kCloneVm *h2k_clone_vm_of_libvirt (const H2kClone *clone, gboolean watching, GError **error);
H2kCloneVm *h2k_clone_vm_of_qemu (const H2kClone *clone, gboolean watching, GError **error);
