/* attached.h - the block devices of this host: what they are, and what the host does with them.
 *
 * Everything is read from sysfs (Documentation/ABI/{stable,testing}/sysfs-block,
 * sysfs-class-block), /proc/self/mountinfo, /proc/swaps and udev's links, as files: neither root
 * nor another program is needed, and nothing is written. What people can give their devices as
 * names (model, serial, mount points, volume groups) is escaped with h2k_escape_text() already.
 *
 * ROOT is put before every path that is read: "" for this host, a folder that looks like one for
 * tests. Paths in the results are without it.
 *
 * Thread-safety: any number of threads at once; one object is used by one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

#include <sys/types.h>

/* What the host does with a device, directly or through what is stacked on it. */
typedef enum
{
  H2K_USE_MOUNTED = 1 << 0,
  H2K_USE_SWAP = 1 << 1,
  H2K_USE_LVM = 1 << 2,       /* active logical volumes */
  H2K_USE_MD = 1 << 3,        /* a running array */
  H2K_USE_CRYPT = 1 << 4,     /* an open LUKS container or the like */
  H2K_USE_MULTIPATH = 1 << 5, /* it is one of the paths to a disk */
  H2K_USE_DM = 1 << 6,        /* another device of the device mapper */
  H2K_USE_LOOP = 1 << 7,      /* attached as a loop device */
  H2K_USE_STACKED = 1 << 8,   /* something else: bcache, ... */
  H2K_USE_ZFS = 1 << 9,       /* opened exclusively, and a member of a ZFS pool */
  H2K_USE_QEMU = 1 << 10,     /* a QEMU that may write to it holds its image lock */
  H2K_USE_EXCLUSIVE = 1 << 11 /* opened exclusively (O_EXCL) by the kernel or a program */
} H2kUse;

typedef struct
{
  char *device;           /* the disk, the partition, or the image file that is used */
  guint uses;             /* H2kUse */
  GPtrArray *stack;       /* char *: what is on it, lowest first: "md127", "LVM vg0" */
  GPtrArray *mountpoints; /* char * */
  char *text;             /* for people: "LVM vg0, mounted on / and /var, swap" */
} H2kAttachedUser;

/* A block device, or an image file. */
typedef struct
{
  char *path;         /* "/dev/nvme0n1"; of a file: absolute, links resolved */
  char *name;         /* the kernel's: "nvme0n1"; of a file NULL */
  char *by_id;        /* "/dev/disk/by-id/nvme-..."; NULL: udev has made none */
  dev_t dev;          /* of a file 0 */
  gboolean is_device; /* FALSE: an image file */
  gboolean is_partition;
  guint partition;        /* its number; 0: none */
  char *whole_disk;       /* of a partition the disk's path, else PATH */
  char *transport;        /* "sata", "nvme", "usb", "virtio", "sas", "scsi", "iscsi", "fc", "mmc",
                           * "loop", "nbd", "multipath", "lvm", "md", "dm", ..., "file" */
  char *model, *serial;   /* NULL: not told */
  char *backing_file;     /* of a loop device; else NULL */
  guint64 size;           /* bytes; of a file: the file's, whatever the disk's in it is */
  guint32 logical_sector; /* bytes; of a file 512 */
  guint32 physical_sector;
  gboolean removable, rotational, read_only;
  GPtrArray *partitions; /* char *: the kernel's partitions of a disk, "/dev/sda1", by number */
  GPtrArray *users;      /* H2kAttachedUser *: empty when nothing is known to use it. Of a disk
                          * also what its partitions are used for; of a partition its own, and
                          * those of the disk as a whole */
  int open_errno;        /* why it could not be opened to see whether it is in use: EACCES, ...;
                          * 0: it could, or that was not tried. ENOENT also when /dev has no such
                          * node */
} H2kAttached;

void h2k_attached_free (H2kAttached *attached);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kAttached, h2k_attached_free)

/* What PATH is: a device node or a link to one, or an image file. The device is opened for reading
 * as h2k_attached_try_open() does it. Errors: H2K_ERROR_SOURCE (missing; a folder; a device that
 * sysfs does not know). */
H2kAttached *h2k_attached_of_path (const char *root, const char *path, GError **error);
/* The same by the device's number, without opening it. Errors: as above. */
H2kAttached *h2k_attached_of_dev (const char *root, dev_t dev, GError **error);

/* The whole disks that are attached, by name: H2kAttached *, the caller's. Without those that have
 * no medium, CD-ROM and floppy drives, RAM disks, and what is made of other disks (logical volumes,
 * arrays), unless firmware and guests see it as a disk: multipath devices, whose paths are left
 * out, and firmware RAID. None of them is opened. Errors: H2K_ERROR_SOURCE (no sysfs). */
GPtrArray *h2k_attached_list (const char *root, GError **error);

/* Open the device and its partitions for reading, exclusively and for a moment, which tells uses
 * that sysfs does not: ZFS, filesystems of other mount namespaces, programs. Adds to the users;
 * sets open_errno. A disk that hangs makes this hang. */
void h2k_attached_try_open (const char *root, H2kAttached *attached);

/* All uses for people: "/dev/sda1: mounted on /boot; /dev/sda2: LVM vg0, mounted on /"; NULL when
 * there are none. The caller's. */
char *h2k_attached_users_text (const H2kAttached *attached);
