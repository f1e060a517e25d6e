/* formats.h - what the backends of the disk part share: the formats, and how host files are opened.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

extern const H2kDiskFormat h2k_raw_format;
extern const H2kDiskFormat h2k_qcow2_format;
extern const H2kDiskFormat h2k_vmdk_format;

/* A regular file or a block device, open for reading only. */
typedef struct
{
  int fd;              /* -1: not open */
  gboolean is_device;  /* a block device */
  guint64 size;        /* bytes */
  guint32 sector_size; /* of the device; 512 for a file */
  guint64 dev, ino;    /* which file it is (a device: its own number, and 0) */
} H2kHostFile;

/* Open PATH O_RDONLY | O_CLOEXEC; close() the fd. Folders, FIFOs, sockets and character devices are
 * refused. Errors: H2K_ERROR_SOURCE. */
gboolean h2k_host_file_open (const char *path, H2kHostFile *file, GError **error);

/* Backends open the further files of a chain (backing files, parents) with h2k_disk_open() while
 * their own opening is under way. It then refuses loops and chains that are too deep, and guards
 * against a guest that writes an image header onto its raw disk: a file that was opened without a
 * known format (FORMAT NULL) by another one must not name further files itself. Backends should
 * therefore pass the format that the image records. */

/* Say that DISK also reads every file of OTHER, in order and without repetitions. */
void h2k_disk_add_files (H2kDisk *disk, H2kDisk *other);
