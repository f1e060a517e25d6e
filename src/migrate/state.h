/* state.h - what the files of a source looked like when they were opened, and digests of outputs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/copy.h"

/* The state of everything that DISK reads, chains included: a line "source NAME: size, time of the
 * last change, inode" for each file, to be compared with what it is later. The caller's. */
char *h2k_source_state (H2kDisk *disk);
/* FALSE with H2K_ERROR_SOURCE when the state of DISK is not BEFORE any more. */
gboolean h2k_source_check (H2kDisk *disk, const char *before, GError **error);

/* The identity of a copy of DISK with OPTIONS: the state of its source, and what the bytes of the
 * output depend on. The caller's. */
char *h2k_copy_identity (H2kDisk *disk, const H2kOutputOptions *options, gboolean sparsify,
                         gboolean drop_swap);

/* Write the SHA-256 digests of PATHS (char *) into PATH, as sha256sum does: `sha256sum -c` in that
 * folder checks them. PATH is complete or absent.
 * Errors: H2K_ERROR_OUTPUT, _NO_SPACE, _CANCELLED. */
gboolean h2k_write_checksums (GPtrArray *paths, const char *path, gboolean sync,
                              const H2kCopyOptions *options, GCancellable *cancellable,
                              GError **error);
