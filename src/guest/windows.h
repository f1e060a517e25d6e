/* windows.h - what an installed Windows is: its registry read, its state, its boot files found.
 *
 * Facts are those of Microsoft's documentation of the registry; releases from XP to 11 and Server
 * 2025. Texts are UTF-8 and not yet made safe for terminals.
 *
 * Thread-safety: as of guest.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/release.h"
#include "registry/hive.h"

/* Where the volume that starts Windows is mounted in the guest's tree, when it is not the system
 * volume itself. */
#define H2K_WINDOWS_BOOT "/boot:"

/* The service that ends a migration at the first boot on KVM, below "Services". */
#define H2K_FIRST_BOOT_SERVICE "h2k-firstboot"

/* An IPv4 configuration that the registry keeps for one interface. */
typedef struct
{
  char *guid;      /* "{...}": the interface */
  char *name;      /* of the connection, "Ethernet0"; may be NULL */
  char *device;    /* of the driver, "vmxnet3 Ethernet Adapter"; may be NULL */
  char *component; /* "pci\ven_15ad&dev_07b0"; may be NULL */
  char *service;   /* "vmxnet3ndis6"; may be NULL */
  char *instance;  /* "PCI\VEN_15AD&DEV_07B0&...\4&...": may be NULL */
  char *location;  /* sortable place on its bus; may be NULL */
  char *mac;       /* "00:50:56:01:02:03" where the registry tells; NULL: unknown */
  char *class_key; /* "0007" below the class of network adapters; NULL: none */
  gboolean dhcp;
  GStrv addresses; /* with MASKS, one to one; empty with DHCP */
  GStrv masks;
  GStrv gateways; /* with METRICS */
  GStrv metrics;
  char *dns;                /* servers, separated by commas; "" none */
  char *domain;             /* DNS suffix; "" none */
  guint32 interface_metric; /* 0: automatic */
  gboolean is_virtio;
} H2kWindowsNic;

/* What a hypervisor left in its guest. */
typedef struct
{
  const char *product;  /* "VMware Tools"; static */
  char *uninstall;      /* the product's key below Uninstall, for MSI "{GUID}"; NULL: none */
  gboolean uninstall32; /* it is in the 32-bit view of a 64-bit system */
  GPtrArray *services;  /* char *: services and drivers, as their keys are called */
} H2kWindowsTools;

/* A hive that was read. */
typedef struct
{
  char *path;     /* guest path */
  guint minor;    /* of its format: 1.MINOR */
  gboolean dirty; /* it has changes in its logs only */
  char *logs;     /* which of these were replayed, with commas; NULL: none */
  guint64 size;
} H2kWindowsHive;

/* One of the systems that the boot configuration offers. */
typedef struct
{
  char *id;          /* of a BCD: "{...}"; of boot.ini: its path */
  char *description; /* in the menu */
  char *path;        /* the loader, "\\Windows\\system32\\winload.exe"; NULL: boot.ini */
  char *root;        /* "\\Windows"; may be NULL */
  char *device;      /* where that is, in words */
  gboolean is_default;
  gboolean leads_to_system; /* as it is, it starts this Windows */
} H2kBootEntry;

/* The boot configuration as it is: a BCD or a boot.ini. */
typedef struct
{
  char *path;          /* guest path */
  char *default_entry; /* its id; NULL: none */
  GPtrArray *entries;  /* H2kBootEntry *; none when it cannot be read */
  gint64 timeout;      /* of the menu, in seconds; -1: not set */
  gboolean ems;        /* Emergency Management Services are on: they have the serial port */
  gboolean graphics_mode_disabled;
  GPtrArray *problems; /* char *: what keeps this Windows from starting, and what is odd */
} H2kBootStore;

typedef struct
{
  H2kFs *fs;          /* of the system volume; the guest's */
  char *root;         /* "/Windows" */
  char *config;       /* "/Windows/System32/config" */
  char drive;         /* 'C' as Windows calls the system volume; '\0': unknown */
  char *product_name; /* as the registry has it */
  char *name;         /* for people: "Windows 11 Pro" */
  char *edition;      /* "Professional", "ServerStandard"; may be empty */
  char *installation; /* "Client", "Server", "Server Core"; may be empty */
  char *release;      /* "21H2", "1709"; "Service Pack 1" before 10; may be empty */
  char *build_lab;    /* may be empty */
  H2kWindowsRelease version;
  guint revision; /* the update's number: 10.0.20348.REVISION */
  char *hostname;
  char *control_set;       /* "ControlSet001": the current one */
  GPtrArray *control_sets; /* char *: every one that may boot, the current one first */
  GPtrArray *virtio;       /* char *: VirtIO drivers whose services are installed */
  GPtrArray *nics;         /* H2kWindowsNic *, by their place */
  GPtrArray *tools;        /* H2kWindowsTools * */
  gboolean real_time_is_universal;
  gboolean secure_boot; /* was on when it last ran */
  gboolean tpm;         /* a TPM was there */
  gboolean bitlocker;   /* a volume of the disks is encrypted by BitLocker */
  gboolean bitlocker_suspended, bitlocker_locked; /* one that opens by its clear key; one that
                                                     does not open */
  gboolean dynamic_disks, storage_spaces, refs;
  gboolean hibernated, fast_startup, not_unmounted, dirty;
  gboolean pending_renames, pending_servicing, reboot_pending, setup_in_progress;
  gboolean first_boot_ahead; /* that service was put into it, and its work is not done */
  char *sysprep;             /* ImageState when it is not complete; NULL: it is */
  const char *boot;          /* guest path of the volume that is started: "" (the system's own) or
                              * H2K_WINDOWS_BOOT; NULL: none was found. Static */
  char *bcd;                 /* guest path of the BCD or of boot.ini; NULL: none */
  H2kBootStore *store;       /* what BCD has; NULL: none */
  char *hal;                 /* "acpiapic_up": which HAL was installed; NULL: unknown */
  guint max_vcpus;           /* that this HAL can run on; 0: any number */
  GPtrArray *hives;          /* H2kWindowsHive *: those that were read */
} H2kWindows;

void h2k_windows_free (H2kWindows *windows);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kWindows, h2k_windows_free)

/* The folder of the Windows that is installed on FS, "/Windows"; NULL: none. The caller's. */
char *h2k_windows_find_root (H2kFs *fs);

/* Whether Windows is at least MAJOR.MINOR: 6.1 is Windows 7, 6.2 is 8, 10.0 is 10. */
gboolean h2k_windows_is_at_least (const H2kWindows *windows, guint major, guint minor);

/* The services and drivers of PRODUCT that hyper2kvm knows: NULL-terminated; PRODUCT counts from 0,
 * NULL after the last one. NAME becomes the product's name. Static. */
const char *const *h2k_windows_tool_services (guint product, const char **name);
