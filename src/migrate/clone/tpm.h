/* tpm.h - the TPM of a clone's VM that runs without libvirt.
 *
 * Thread-safety: any thread. What starts swtpm is in hyper2kvm.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"
#include "domain/domain.h"

/* Add to ARGS (char *), QEMU's, the TPM that DOMAIN, CLONE's machine, has. */
void h2k_clone_tpm_add (const H2kClone *clone, const H2kDomain *domain, GPtrArray *args);
