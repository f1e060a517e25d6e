/* resources.h - how much memory and how many CPUs a VM should have.
 *
 * What an operating system needs is read from libosinfo's database (osinfo-db: one XML file a
 * system), without the library, which loads all of it.
 *
 * Thread-safety: any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

typedef struct
{
  guint minimum_mib, recommended_mib; /* memory; 0: not told */
  guint minimum_cpus, recommended_cpus;
  char *source; /* who says so, for people: "libosinfo, for debian.org/debian/12" */
} H2kResources;

void h2k_resources_clear (H2kResources *resources);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kResources, h2k_resources_clear)

/* What the system with OSINFO_ID (h2k_domain_osinfo_id(); may be NULL) needs on ARCH ("x86_64").
 * DATABASE is the folder that has the systems; NULL: where osinfo-db is installed. FALSE: there is
 * nothing about it. */
gboolean h2k_resources_of_os (const char *database, const char *osinfo_id, const char *arch,
                              H2kResources *resources);

typedef struct
{
  guint memory_mib, vcpus;
  char *why_memory, *why_vcpus; /* for people */
} H2kSizing;

void h2k_sizing_clear (H2kSizing *sizing);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kSizing, h2k_sizing_clear)

/* What a VM gets on a host with HOST_MIB of memory and HOST_CPUS: what is recommended, at most half
 * of the host's memory and all of its CPUs, at least the minimum. MAX_VCPUS is what the guest can
 * use (0: any number). */
void h2k_sizing_choose (const H2kResources *resources, guint64 host_mib, guint host_cpus,
                        guint max_vcpus, H2kSizing *sizing);
