/* arch.h - what differs between the architectures that a domain can have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

typedef struct
{
  const char *guest;   /* H2kGuest's word */
  const char *libvirt; /* <type arch=...> */
  const char *machine; /* libvirt's and QEMU's machine type, an alias that follows QEMU's version */
  const char *emulator;
  const char *serial;    /* the first serial port in Linux, "ttyS0" */
  gboolean acpi;         /* <features><acpi/> is allowed */
  gboolean root_ports;   /* PCI Express: every device sits behind a root port of its own */
  gboolean always_uefi;  /* there is no other firmware for disks */
  gboolean ide;          /* the chipset has a SATA controller */
  const char *transport; /* suffix of QEMU's virtio devices: "pci" or "ccw" */
} H2kArch;

/* The entry of ARCH; x86_64's for an unknown one. */
const H2kArch *h2k_arch_get (const char *arch);

/* "vda", "sdb", ..., "sdaa" for disk number INDEX. The caller's. */
char *h2k_disk_target (const char *prefix, guint index);

/* Whether DISK is a block device of the host. */
gboolean h2k_domain_disk_is_device (const H2kDomainDisk *disk);

/* libvirt's and QEMU's machine type of DOMAIN. */
const char *h2k_domain_machine (const H2kDomain *domain);

/* How many CPUs the definition has: as many as it says, and the guest can use. */
guint h2k_domain_vcpus (const H2kDomain *domain);
