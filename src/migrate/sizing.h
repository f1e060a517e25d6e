/* sizing.h - how large a VM on this host should be for a guest.
 *
 * Thread-safety: any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/resources.h"
#include "guest/guest.h"

/* This host's memory, MiB; 0: it cannot be told. */
guint64 h2k_host_memory_mib (void);

/* libosinfo's name of GUEST, the caller's; NULL: it has none. */
char *h2k_guest_osinfo_id (const H2kGuest *guest);

/* What GUEST (NULL: it is not known) needs of a host with HOST_MIB of memory and HOST_CPUS. PRODUCT
 * is what it was made into ("proxmox-ve"; NULL: nothing); IS_WINDOWS tells of a Windows that could
 * not be read. */
void h2k_size_guest (const H2kGuest *guest, const char *product, gboolean is_windows,
                     guint64 host_mib, guint host_cpus, H2kSizing *sizing);
