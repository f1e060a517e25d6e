/* domain.h - the VM's definition: libvirt domain XML and the QEMU command line.
 *
 * Follows libvirt's "Domain XML format" and libosinfo's identifiers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

typedef struct
{
  char *path;
  char *format; /* "qcow2" or "raw" */
  H2kBus bus;
} H2kDomainDisk;

typedef struct
{
  char *mac;     /* NULL: the hypervisor chooses */
  char *network; /* libvirt network name; NULL: "default" */
  char *was;     /* the network's name where the VM comes from, a comment; may be NULL */
} H2kDomainNic;

typedef struct
{
  char *name;
  char *uuid;        /* NULL: made from the name and the disks' paths */
  char *description; /* may be NULL */
  char *osinfo_id;   /* "http://debian.org/debian/12"; NULL: unknown */
  char *arch;        /* "x86_64" */
  H2kFirmware firmware;
  gboolean secure_boot; /* with the keys that everybody has; of UEFI on x86_64 only */
  gboolean tpm;         /* an emulated TPM 2.0 */
  guint memory_mib;
  guint vcpus;
  GPtrArray *disks; /* H2kDomainDisk *, first disk first */
  GPtrArray *nics;  /* H2kDomainNic * */
} H2kDomain;

H2kDomain *h2k_domain_new (const char *name);
void h2k_domain_free (H2kDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDomain, h2k_domain_free)
void h2k_domain_add_disk (H2kDomain *domain, const char *path, const char *format, H2kBus bus);
void h2k_domain_add_nic (H2kDomain *domain, const char *mac, const char *network);

/* libosinfo's id of a guest ("http://debian.org/debian/12"), the newest known release of the
 * distribution when its own is not known; NULL for an unknown distribution. The caller's. */
char *h2k_domain_osinfo_id (const char *distro, const char *version);

/* Whether the definition has Secure Boot: it was asked for, and the machine can have it. */
gboolean h2k_domain_is_secure (const H2kDomain *domain);

/* libvirt XML: machine q35 (pc for BIOS guests too old for it is not needed), virtio disks and
 * NICs, serial console, guest agent channel, rng, memballoon. Valid under virt-xml-validate. */
char *h2k_domain_to_xml (const H2kDomain *domain);

/* The QEMU arguments that all ways to run the domain share: machine, CPUs, memory, firmware, disks,
 * NICs with user networking, rng. Without program name, accelerator, display, serial and monitor.
 * char *, the caller's; not NULL-terminated. UEFI_CODE and UEFI_VARS are firmware files for UEFI
 * domains, else NULL. */
GPtrArray *h2k_domain_qemu_args (const H2kDomain *domain, const char *uefi_code,
                                 const char *uefi_vars);
/* A shell command for people that starts the VM with QEMU. The caller's. */
char *h2k_domain_qemu_command (const H2kDomain *domain);
