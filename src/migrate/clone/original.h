/* original.h - disks that clones can lie over: what they have to be, and what a clone notes of
 * them.
 *
 * Thread-safety: any number of threads, each with objects of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"
#include "source/attached.h"

/* What PATH is: a whole disk or an image on this host, and nothing that belongs to a clone of
 * STORE (NULL: it may lie anywhere). The caller's. Errors: H2K_ERROR_UNSUPPORTED (it is on a
 * server), _USAGE (a partition, or a clone's own), those of h2k_attached_of_path(). */
H2kAttached *h2k_original_look (const H2kCloneStore *store, const char *path, GError **error);
/* Whether neither this host nor a VM uses it. Errors: H2K_ERROR_SOURCE; the message says who. */
gboolean h2k_original_check_unused (const H2kAttached *attached, GError **error);
/* Its name that stays the same when the host is started again. ATTACHED's. */
const char *h2k_original_path (const H2kAttached *attached);

/* What QEMU calls the format of DISK, if it reads it, and each image below it, as this program
 * does (qemu-img is asked where it is installed); NULL: it does not. Static, or DISK's. */
const char *h2k_original_qemu_format (const H2kDisk *disk);
/* The same. Errors: H2K_ERROR_UNSUPPORTED: QEMU does not read DISK as this program does. */
const char *h2k_original_check_format (const H2kDisk *disk, GError **error);

/* An element of "originals" of a clone.json (docs/clone.md): DISK, which was opened from ATTACHED
 * (NULL: it is on a server, and the path is for the caller to add), with its fingerprint. FULL,
 * PROGRESS, CANCELLABLE and errors as of h2k_fingerprint_new(). The caller's. */
JsonObject *h2k_original_describe (const H2kAttached *attached, H2kDisk *disk, gboolean full,
                                   const H2kCopyOptions *progress, GCancellable *cancellable,
                                   GError **error);
/* The files of ORIGINAL, such an element, that lie in the folder FROM will be in the folder TO. */
void h2k_original_move (JsonObject *original, const char *from, const char *to);
