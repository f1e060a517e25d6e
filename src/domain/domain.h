/* domain.h - the VM's definition: libvirt domain XML and the QEMU command line.
 *
 * Follows libvirt's "Domain XML format" and libosinfo's identifiers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

#include <json-glib/json-glib.h>

/* How the images of a disk are encrypted (QEMU's LUKS): one key for all of them. */
typedef struct
{
  char *key_file;   /* absolute */
  char *secret;     /* UUID of libvirt's secret */
  GPtrArray *below; /* char *: the encrypted qcow2 images that it builds on, the next one first */
} H2kDomainLuks;

/* Without images below it. The caller's. */
H2kDomainLuks *h2k_domain_luks_new (const char *key_file, const char *secret);
H2kDomainLuks *h2k_domain_luks_copy (const H2kDomainLuks *luks); /* may be NULL */
void h2k_domain_luks_free (H2kDomainLuks *luks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDomainLuks, h2k_domain_luks_free)

typedef struct
{
  char *path;
  char *format; /* "qcow2" or "raw" */
  H2kBus bus;
  /* Its number among the disks, which its place on the PCI bus is made from; two disks may have the
   * same, on different buses. */
  guint place;
  /* What the guest is told of its sectors, bytes: the least that it can write, and what is best. 0:
   * 512 and nothing. */
  guint32 logical_block, physical_block;
  gboolean direct;     /* past the host's page cache; the filesystem under PATH has to be able to */
  H2kDomainLuks *luks; /* NULL: it is not encrypted, or not by QEMU */
} H2kDomainDisk;

/* What a NIC looks like to the guest. The others than VirtIO are for guests without its driver. */
typedef enum
{
  H2K_NIC_VIRTIO,
  H2K_NIC_E1000E,
  H2K_NIC_E1000,
  H2K_NIC_RTL8139,
} H2kNicModel;

typedef struct
{
  char *mac;     /* NULL: the hypervisor chooses */
  char *network; /* libvirt network name; NULL: "default" */
  char *was;     /* the network's name where the VM comes from, a comment; may be NULL */
  H2kNicModel model;
  gboolean user; /* in the XML, too, a network of QEMU's own, for which no rights are needed */
} H2kDomainNic;

/* What a Windows guest needs to have said of it. Everything else that Windows wants of its machine
 * follows from this: see windows.c. */
typedef struct
{
  guint major, minor, build; /* 10, 0, 26100; Windows XP is 5, 1, 2600 */
  gboolean server;
  gboolean rtc_utc; /* RealTimeIsUniversal: the machine's clock is not set to local time */
} H2kDomainWindows;

typedef struct
{
  char *name;
  char *uuid;        /* NULL: made from the name and the disks' paths */
  char *description; /* may be NULL */
  char *osinfo_id;   /* "http://debian.org/debian/12"; NULL: unknown */
  char *arch;        /* "x86_64" */
  H2kFirmware firmware;
  char *nvram;          /* UEFI's variables, a file that is there; NULL: the hypervisor makes one */
  gboolean secure_boot; /* with the keys that everybody has; of UEFI on x86_64 only */
  gboolean tpm;         /* an emulated TPM 2.0 */
  guint memory_mib;
  guint vcpus;
  GPtrArray *disks;          /* H2kDomainDisk *, first disk first */
  GPtrArray *nics;           /* H2kDomainNic * */
  GPtrArray *cdroms;         /* char *: paths of ISO images */
  H2kDomainWindows *windows; /* NULL: another system */
  /* x86: the chipset of 1996 instead of q35, for guests without a driver for AHCI, and for VirtIO
   * drivers that know the devices from before version 1.0 only. So is every machine with a disk on
   * IDE. */
  gboolean i440fx;
  /* Of the XML, and not kept as JSON: for a host where KVM does not work; and "+UID:+GID", as which
   * libvirt runs QEMU and changes no file's owner (NULL: as libvirt is configured). */
  gboolean emulated;
  char *dac_label;
} H2kDomain;

H2kDomain *h2k_domain_new (const char *name);
H2kDomain *h2k_domain_copy (const H2kDomain *domain);
void h2k_domain_free (H2kDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDomain, h2k_domain_free)
void h2k_domain_add_disk (H2kDomain *domain, const char *path, const char *format, H2kBus bus);
void h2k_domain_add_nic (H2kDomain *domain, const char *mac, const char *network);
void h2k_domain_add_cdrom (H2kDomain *domain, const char *path);

/* Say that the guest is this Windows, and set what follows from it: the osinfo id, and the i440fx
 * for what came before Windows 7 and Server 2008 R2. ARCH has to be set before. */
void h2k_domain_set_windows (H2kDomain *domain, const H2kDomainWindows *windows);
/* The same, from what the inspection found. */
void h2k_domain_take_windows (H2kDomain *domain, const H2kWindows *windows);
/* Whether the machine is an i440fx: it was asked for, or a disk needs it, and ARCH has it. */
gboolean h2k_domain_is_i440fx (const H2kDomain *domain);
/* The NIC for this Windows when there is no VirtIO driver for it: one that it brings a driver for
 * (on x86; on ARM it has none). */
H2kNicModel h2k_domain_windows_nic (const H2kDomainWindows *windows);
/* The most CPUs that the guest can use; 0: no limit is known. The definition has no more. */
guint h2k_domain_max_vcpus (const H2kDomain *domain);

/* UUID, or what stands for it in the definition when that is NULL. The caller's. */
char *h2k_domain_get_uuid (const H2kDomain *domain);
/* Give each NIC without a MAC one that is made from the UUID: it is the same in all definitions of
 * the VM. To be called when all disks are there, since the UUID is made from their paths. */
void h2k_domain_fix_macs (H2kDomain *domain);

/* The definition for a Windows guest's first boot on KVM. Plug and Play binds VirtIO drivers, and
 * trusts them from then on, when it meets their devices in a system that runs: so the disks of
 * FINAL are on SATA (i440fx: on IDE, as many as there is room for), and EXTRA_DISK, a raw file, is
 * a small disk of the kind and in the place that FINAL's first VirtIO disk has. DRIVER_ISO (may be
 * NULL) is in a CD-ROM drive. Name, UUID, MACs, firmware and places of the NICs are FINAL's. FINAL
 * should have had h2k_domain_fix_macs(). The caller's. */
H2kDomain *h2k_domain_bootstrap_new (const H2kDomain *final, const char *extra_disk,
                                     const char *driver_iso);

/* libosinfo's id of a guest ("http://debian.org/debian/12"), the newest known release of the
 * distribution when its own is not known; NULL for an unknown distribution. The caller's. */
char *h2k_domain_osinfo_id (const char *distro, const char *version);
/* The same of a Windows; BUILD tells 10 from 11 and the servers from each other. The caller's. */
char *h2k_domain_windows_osinfo_id (guint major, guint minor, guint build, gboolean server);

/* All of DOMAIN but its description and CD-ROMs as JSON, and the domain of such an object, in which
 * what is missing or of another type is as in a new domain. Both are the caller's. */
JsonObject *h2k_domain_to_json (const H2kDomain *domain);
H2kDomain *h2k_domain_from_json (JsonObject *object);

/* Whether the definition has Secure Boot: it was asked for, and the machine can have it. */
gboolean h2k_domain_is_secure (const H2kDomain *domain);

/* libvirt XML: machine q35, or pc where h2k_domain_is_i440fx(), disks and NICs as told, serial
 * console, guest agent channel, rng, memballoon. Valid under virt-xml-validate. */
char *h2k_domain_to_xml (const H2kDomain *domain);

/* The QEMU arguments that all ways to run the domain share: machine, CPUs, memory, firmware, disks,
 * NICs with user networking, rng. Without program name, accelerator, display, serial and monitor;
 * of Hyper-V for Windows with what both accelerators take.
 * char *, the caller's; not NULL-terminated. UEFI_CODE and UEFI_VARS are firmware files for UEFI
 * domains, else NULL. */
GPtrArray *h2k_domain_qemu_args (const H2kDomain *domain, const char *uefi_code,
                                 const char *uefi_vars);
/* A shell command for people that starts the VM with QEMU. The caller's. */
char *h2k_domain_qemu_command (const H2kDomain *domain);
