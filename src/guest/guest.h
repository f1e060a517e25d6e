/* guest.h - one installed operating system: its disks, its mounted tree, and what it is.
 *
 * Thread-safety: one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/guestfs.h"
#include "guest/fstab.h"
#include "guest/tree.h"
#include "guest/windows.h"
#include "volume/stack.h"

/* A volume on the guest's disks: a partition, or what is made of partitions. */
typedef struct
{
  const H2kNode *node; /* what it lies on, what it is called; owned by the guest's stack */
  guint disk;          /* the first that it lies on; 0: the guest's first */
  H2kVolume *volume;   /* the node's */
  H2kFsId id;
  H2kFs *fs;           /* NULL: not opened */
  const char *backend; /* what serves its files: "native", "libguestfs", "native, libguestfs" (the
                          one reads, the other one writes); NULL: nothing */
  const char *backend_why;
  gboolean changeable; /* a migration could change its files: on an overlay, by a backend */
  char *subvolume;     /* that the system's root, or the first mount, shows; NULL: all of it */
  char *mountpoint;    /* in the guest; NULL: not mounted */
  char *spec;          /* fstab's first field for it; NULL: none */
} H2kGuestVolume;

typedef enum
{
  H2K_FIRMWARE_BIOS,
  H2K_FIRMWARE_UEFI
} H2kFirmware;

typedef enum
{
  H2K_BOOTLOADER_UNKNOWN,
  H2K_BOOTLOADER_GRUB2,
  H2K_BOOTLOADER_GRUB_LEGACY,
  H2K_BOOTLOADER_SYSTEMD_BOOT,
  H2K_BOOTLOADER_EXTLINUX,
  H2K_BOOTLOADER_BOOTMGR, /* Windows since Vista */
  H2K_BOOTLOADER_NTLDR,   /* Windows before it */
} H2kBootloader;

typedef enum
{
  H2K_INITRAMFS_UNKNOWN,
  H2K_INITRAMFS_TOOLS,
  H2K_INITRAMFS_DRACUT,
  H2K_INITRAMFS_MKINITCPIO,
  H2K_INITRAMFS_NONE, /* the kernels have none */
} H2kInitramfsGenerator;

typedef enum
{
  H2K_INIT_UNKNOWN,
  H2K_INIT_SYSTEMD,
  H2K_INIT_SYSV,
  H2K_INIT_UPSTART,
  H2K_INIT_OPENRC,
} H2kInit;

typedef enum
{
  H2K_NET_IFUPDOWN = 1 << 0,
  H2K_NET_NETPLAN = 1 << 1,
  H2K_NET_NETWORKD = 1 << 2,
  H2K_NET_NETWORK_MANAGER = 1 << 3,
  H2K_NET_IFCFG = 1 << 4, /* Red Hat's and SUSE's network-scripts */
} H2kNetworkStacks;

typedef struct
{
  char *version;     /* as in /lib/modules/VERSION */
  char *image;       /* guest path of vmlinuz; NULL: modules without an image */
  char *initramfs;   /* guest path; NULL: none */
  char *modules_dir; /* "/lib/modules/VERSION" with links resolved; NULL: none */
} H2kKernel;

/* How a guest is opened. All may be 0. */
typedef struct
{
  const H2kKeys *keys; /* for its LUKS containers */
  H2kBackend backend;
  H2kKvmFunc kvm_works; /* for the libguestfs appliance */
  gboolean force_dirty; /* NTFS that was not unmounted is made writable: h2k_ntfs_force() */
  gboolean any_system;  /* of several systems the first one is taken, with a warning */
  gboolean alone;       /* there will never be other disks: h2k_stack_new_alone() */
  const char *temp_dir; /* for what does not fit in memory; NULL: $TMPDIR or /var/tmp */
} H2kGuestOptions;

typedef struct
{
  H2kTree *tree;
  H2kGuestfs *guestfs; /* NULL: there is none */
  GPtrArray *subtrees; /* H2kFs *: parts of the volumes' filesystems that are mounted */
  GPtrArray *disks;    /* H2kDisk *, references, in the order given */
  H2kStack *stack;     /* what lies on them */
  GPtrArray *tables;   /* H2kTable *, one a disk; the stack's */
  GPtrArray *volumes;  /* H2kGuestVolume *, one for each of the stack's nodes */
  GPtrArray *remote;   /* H2kFstabEntry *: what fstab mounts from servers, and nobody looks at */
  GPtrArray *warnings; /* char *, for the report */

  H2kGuestVolume *root;
  char *distro;      /* os-release ID, "debian"; "unknown" */
  char *distro_like; /* ID_LIKE; may be empty */
  char *version;     /* VERSION_ID; may be empty */
  char *pretty_name; /* for people */
  char *hostname;    /* may be empty */
  char *machine_id;  /* may be empty */
  char *arch;        /* "x86_64" "i686" "aarch64" "ppc64le" "s390x" "riscv64" or "unknown" */
  H2kFirmware firmware;
  H2kBootloader bootloader;
  H2kInitramfsGenerator initramfs;
  H2kInit init;
  H2kNetworkStacks network;
  H2kWindows *windows;     /* NULL: it is another system */
  GPtrArray *kernels;      /* H2kKernel *, newest first */
  GPtrArray *vmware_tools; /* char *: names of the old hypervisor's parts that are installed */
} H2kGuest;

/* Find and mount the system on DISKS (H2kDisk *; overlays for a guest that is to be repaired).
 * OPTIONS may be NULL. Entries of its fstab that cannot be mounted and are not needed are warnings.
 * With H2K_BACKEND_AUTO libguestfs opens what no driver here reads, and on writable disks changes
 * what no driver here writes; nothing of it is started before that is done.
 * Errors: H2K_ERROR_NO_OS (none, or more than one: the message lists them), H2K_ERROR_UNSUPPORTED
 * (it lies on what cannot be read: the message says what), H2K_ERROR_SOURCE (a disk or a key is
 * missing), H2K_ERROR_FILESYSTEM, the disk's. */
H2kGuest *h2k_guest_open (GPtrArray *disks, const H2kGuestOptions *options, GError **error);
void h2k_guest_free (H2kGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kGuest, h2k_guest_free)

/* Write everything that is cached to the guest's disks. That is not what is mounted alone: others
 * were looked at, too, and an appliance that did so is at work on them until then. Errors: those of
 * H2kFsOps. */
gboolean h2k_guest_flush (H2kGuest *guest, GError **error);

/* The volume that a device name in the guest's files means: "/dev/sda1", "sda1", "/dev/vda1",
 * "/dev/xvda1", "/dev/hda1", "/dev/nvme0n1p1" (letters and numbers count disks in the order
 * given), "UUID=...", "LABEL=...", "PARTUUID=...", "PARTLABEL=...", also quoted, and
 * "/dev/disk/by-{uuid,label,partuuid,partlabel,path,id}/...", and the names of logical volumes, md
 * arrays and open LUKS containers. NULL: none, or it cannot be known.
 * STABLE (may be NULL) says whether the name still means the same after the disks' bus changed; it
 * is set for NULL, too. What is not a disk or a partition (LVM, md, "/dev/sr0", "tmpfs") is stable,
 * found or not. */
H2kGuestVolume *h2k_guest_find_volume (H2kGuest *guest, const char *spec, gboolean *stable);

/* Disk NUMBER of GUEST without what is not in use on it, as h2k_used_view_of() with what is known
 * of the guest's volumes: containers that were opened and logical volumes on several disks are
 * looked into. The guest must live as long. Errors: those of the disks. */
H2kDisk *h2k_guest_used_view (H2kGuest *guest, guint number, gboolean drop_swap, GPtrArray *notes,
                              GError **error);

/* Words for people and JSON: "grub2", "initramfs-tools", "systemd", "bios". Static. */
const char *h2k_firmware_name (H2kFirmware firmware);
const char *h2k_bootloader_name (H2kBootloader bootloader);
const char *h2k_initramfs_name (H2kInitramfsGenerator generator);
const char *h2k_init_name (H2kInit init);
/* NULL-terminated: "ifupdown", "netplan"... Free with g_free() (the words are static). */
const char **h2k_network_names (H2kNetworkStacks stacks);

/* The inspection as JSON (the caller's) and as text for people. */
char *h2k_guest_to_json (H2kGuest *guest);
char *h2k_guest_to_text (H2kGuest *guest);
