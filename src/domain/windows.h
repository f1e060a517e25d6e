/* windows.h - what Windows wants of its machine, by release.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

#define H2K_SPINLOCK_RETRIES "8191"

/* Something of Hyper-V that KVM offers to a Windows guest. */
typedef struct
{
  const char *libvirt; /* <features><hyperv><...>; NULL: it is none of those */
  const char *qemu;    /* of -cpu */
  guint version;       /* Windows' that it is for, as MAJOR << 8 | MINOR, and later ones */
  gboolean kvm_only;   /* QEMU's emulation does not start with it */
} H2kEnlightenment;

/* Number NUMBER of those for DOMAIN, in the order in which they build on each other; NULL: there
 * are no more. */
const H2kEnlightenment *h2k_windows_enlightenment (const H2kDomain *domain, guint number);

/* Whether it has a driver for USB 3 controllers, which cost the host less than the others. */
gboolean h2k_windows_has_xhci (const H2kDomainWindows *windows);
