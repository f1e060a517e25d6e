/* windows-store.h - where the boot configuration of a Windows leads on the guest's disks, and
 * whether that starts it.
 *
 * Thread-safety: as of guest.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/boot-ini.h"
#include "guest/guest.h"
#include "registry/bcd.h"

/* The volume that has the boot configuration; NULL: none was found. */
H2kGuestVolume *h2k_windows_boot_volume (const H2kGuest *guest);

/* The BCD; TEMP_DIR may be NULL. Errors: of h2k_hive_open() and, when WRITABLE, those of
 * h2k_fs_check_writable(). */
H2kHive *h2k_windows_open_store (const H2kGuest *guest, gboolean writable, const char *temp_dir,
                                 GError **error);

typedef enum
{
  H2K_LEADS_NOWHERE, /* to a partition that these disks do not have, or it is no device */
  H2K_LEADS_TO,      /* to a volume */
  H2K_LEADS_UNKNOWN, /* elsewhere: a RAM disk, a file, whatever has the program */
} H2kLeads;

/* VOLUME is set for H2K_LEADS_TO. */
H2kLeads h2k_windows_follow (const H2kGuest *guest, const H2kBcdDevice *device,
                             H2kGuestVolume **volume);
/* What Windows takes VOLUME for: its partition, also where BitLocker lies between. VOLUME's. */
const H2kVolume *h2k_windows_partition (const H2kGuestVolume *volume);

/* The device that leads to VOLUME. FALSE: it is no partition, or its disk has no identifier. */
gboolean h2k_windows_device_of (const H2kGuest *guest, const H2kGuestVolume *volume,
                                H2kBcdDevice *device);

/* The file PATH of Windows, "\Windows\system32\winload.exe", as guest paths are written: with
 * slashes; NULL when it is none. The caller's. */
char *h2k_windows_slashes (const char *path);
/* Whether VOLUME has the file PATH, which has slashes. FALSE when it cannot be read. */
gboolean h2k_windows_has_file (const H2kGuestVolume *volume, const char *path);
/* The program that the firmware of GUEST starts this Windows by, in a loader's words:
 * "\Windows\system32\winload.efi". NULL: it is not there. The caller's. */
char *h2k_windows_winload (const H2kGuest *guest);

/* What is wrong with a loader of this Windows. */
typedef enum
{
  H2K_LOADER_DEVICE = 1 << 0,    /* its program's partition */
  H2K_LOADER_OS_DEVICE = 1 << 1, /* the partition of Windows */
  H2K_LOADER_PATH = 1 << 2,      /* the program: missing, or for another firmware */
  H2K_LOADER_ROOT = 1 << 3,      /* the folder of Windows */
} H2kLoaderFaults;

typedef enum
{
  H2K_LOADER_OURS,    /* starts this Windows, once what is wrong with it is not */
  H2K_LOADER_ANOTHER, /* starts another one, which is there */
  H2K_LOADER_LOST,    /* another one, which is not on these disks */
  H2K_LOADER_UNKNOWN, /* a RAM disk, a virtual disk, or what cannot be looked into */
} H2kLoaderOwner;

/* FAULTS is set for H2K_LOADER_OURS. */
H2kLoaderOwner h2k_windows_judge_loader (const H2kGuest *guest, const H2kBcdObject *loader,
                                         H2kLoaderFaults *faults);

/* The number of VOLUME's partition in an ARC path, and of its disk; FALSE: it has none. */
gboolean h2k_windows_arc_of (const H2kGuest *guest, const H2kGuestVolume *volume, guint *disk,
                             guint *partition);
/* The volume that ARC leads to; NULL: none. For H2K_ARC_SCSI it is a guess. */
H2kGuestVolume *h2k_windows_follow_arc (const H2kGuest *guest, const H2kArcPath *arc);
/* Whether PATH leads to this Windows in a way that works on KVM. */
gboolean h2k_windows_arc_is_system (const H2kGuest *guest, const char *path);
