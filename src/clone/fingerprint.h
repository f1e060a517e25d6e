/* fingerprint.h - whether the original under a clone is still what it was.
 *
 * An overlay over a base that has changed is a corrupt disk. So a clone knows, of each original:
 *
 *   file      size, time of the last change and inode of the files that it lies in
 *   version   of an image on a server: its length, and what the server tells one content from
 *             another by, which is an ETag or a date
 *   table     a digest of the partition tables, both copies
 *   volumes   of each filesystem and each physical volume its kind, UUID, and a digest of its
 *             beginning, where the counters are that every mount and every write changes
 *   samples   a digest of blocks spread over the disk
 *   content   a digest of everything; only when that was asked for
 *
 * All but the last are read in milliseconds whatever the disk's size. The kinds and names of the
 * keys of the JSON object are those above.
 *
 * Thread-safety: any number of threads, each with a disk of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/copy.h"
#include "volume/stack.h"

#include <json-glib/json-glib.h>

/* The fingerprint of DISK, the caller's. FULL: with a digest of everything; PROGRESS is told of it
 * in the phase "digest". Errors: those of the disk, H2K_ERROR_CANCELLED. */
JsonObject *h2k_fingerprint_new (H2kDisk *disk, gboolean full, const H2kCopyOptions *progress,
                                 GCancellable *cancellable, GError **error);

/* What is otherwise in NOW than in BEFORE: char *, a sentence each, empty when nothing is. What one
 * of them does not have is not compared. The caller's. */
GPtrArray *h2k_fingerprint_compare (JsonObject *before, JsonObject *now);

/* Whether the files that BEFORE, a fingerprint, was made of have changed as far as their size, time
 * and inode say. Nothing is read. */
gboolean h2k_fingerprint_files_changed (JsonObject *before);
