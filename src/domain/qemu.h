/* qemu.h - QEMU's arguments for a domain, with what the boot test needs beyond domain.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

typedef struct
{
  const char *uefi_code; /* NULL: the machine's own firmware */
  const char *uefi_vars;
  const char *accel; /* "kvm" or "tcg"; NULL: either, so that nothing may be there that one lacks */
  /* A throw-away copy: no flushes to the host's disks, and a network that leads nowhere. */
  gboolean throwaway;
} H2kQemuSetup;

/* As h2k_domain_qemu_args(). */
GPtrArray *h2k_qemu_args (const H2kDomain *domain, const H2kQemuSetup *setup);

/* TEXT as a value in QEMU's comma-separated options. The caller's. */
char *h2k_qemu_quote (const char *text);
