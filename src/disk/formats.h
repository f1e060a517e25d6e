/* formats.h - what the backends of the disk part share: the formats, and how chains are opened.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"
#include "disk/image-key.h"

extern const H2kDiskFormat h2k_raw_format;
extern const H2kDiskFormat h2k_qcow2_format;
extern const H2kDiskFormat h2k_vmdk_format;
extern const H2kDiskFormat h2k_vhd_format;
extern const H2kDiskFormat h2k_vdi_format;
extern const H2kDiskFormat h2k_vhdx_format;

/* Backends open the further files of a chain (backing files, parents) with h2k_disk_open() while
 * their own opening is under way. It then refuses loops and chains that are too deep, and guards
 * against a guest that writes an image header onto its raw disk: a file that was opened without a
 * known format (FORMAT NULL) by another one must not name further files itself. Backends should
 * therefore pass the format that the image records. */

/* What the finder of disk.h knows of NAME, which the image at PATH has for the file below it; NULL
 * without an error: nothing. */
H2kDisk *h2k_disk_find_backing (const char *path, const char *name, GError **error);

/* Set H2K_ERROR_FORMAT: the image NAME (already escaped) of KIND ("qcow2") is corrupt, and in what.
 * Always FALSE. */
gboolean h2k_set_corrupt (GError **error, const char *kind, const char *name, const char *format,
                          ...) G_GNUC_PRINTF (4, 5);

/* Whether the image whose opening is under way in this thread, if any, may name the further file
 * PATH: not when either of them is on a server. Errors: H2K_ERROR_UNSUPPORTED. */
gboolean h2k_may_name_files (const char *path, GError **error);

/* What the encrypted images of the chain that is opened in this thread are opened with; NULL:
 * nothing.
 */
H2kImageKey *h2k_opening_key (void);

/* Formats that QEMU reads and nothing here does; see qemu-nbd.c. The one that FILE begins (or ends)
 * with, or NULL. */
const char *h2k_qemu_probe (H2kFile *file, const guint8 *head, gsize length);
/* Whether FORMAT is one of them. */
gboolean h2k_qemu_knows (const char *format);
/* Their names, for messages. Static. */
const char *h2k_qemu_formats (void);
/* Open FILE as FORMAT with qemu-nbd. Errors: H2K_ERROR_TOOL (missing or failed), _SOURCE,
 * _UNSUPPORTED (names further files, is on a server). */
H2kDisk *h2k_qemu_open (H2kFile *file, const char *format, GError **error);

/* Set H2K_ERROR_SOURCE: the image (its name already escaped) names a file, its WHAT ("parent"), as
 * NAMED, and there is none at PLACE ("as /path", "in the folder ..."). Always FALSE. */
gboolean h2k_set_missing (GError **error, const char *image, const char *what, const char *named,
                          const char *place);

/* As h2k_disk_pread() and h2k_file_pread(), but behind the end there are zeros; DISK may be NULL.
 */
gboolean h2k_disk_pread_or_zero (H2kDisk *disk, guint64 offset, gsize length, void *buffer,
                                 GError **error);
gboolean h2k_file_pread_or_zero (H2kFile *file, guint64 offset, gsize length, void *buffer,
                                 GError **error);

/* Say that DISK lies on OTHER: that it has its paths, and also reads every file of it, in order and
 * without repetitions. */
void h2k_disk_add_files (H2kDisk *disk, H2kDisk *other);

/* Whether PATH, which is absolute and without links, lies in IMAGE's folder or below it: in the one
 * that IMAGE's path names, or the one that IMAGE leads to when it is a link. Never in /dev, /proc
 * and /sys. */
gboolean h2k_is_beside (const char *path, const char *image);
/* The file that IMAGE names as NAME, relative to IMAGE's own folder: its path when it is a regular
 * file in that folder or below it, wherever symbolic links lead; else NULL, since a disk image must
 * not choose files of this host. The caller's. */
char *h2k_sibling_find (const char *image, const char *name);
