/* serve.h - originals that QEMU does not read itself, offered to it by a process of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"
#include "hyper2kvm.h"

/* h2k_clones_serve() of a clone that is open. */
gboolean h2k_clone_serve (const H2kClone *clone, H2kCloneServeFlags flags,
                          GCancellable *cancellable, GError **error);
