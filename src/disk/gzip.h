/* gzip.h - files that are made of other files: what a gzip file holds, and chunks joined.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

/* Whether the first bytes of a file are gzip's. */
gboolean h2k_gzip_probe (const guint8 *head, gsize length);

/* What PACKED, a gzip file (RFC 1952), holds, as a file that is read at any offset. PACKED is read
 * and unpacked once to learn its size and to note points from which unpacking can start again:
 * every 4 MiB of what it holds, less densely in large files, so that there are at most 1024 (32 MiB
 * of memory). Every checksum in it is verified then. Reading from front to back unpacks once more.
 * Keeps a reference to PACKED; the path is PACKED's.
 * Errors: H2K_ERROR_FORMAT (damaged, truncated), _SOURCE. */
H2kFile *h2k_gzip_open (H2kFile *packed, GError **error);

/* From point to point at first, bytes; tests make it small. */
extern guint64 h2k_gzip_span;

/* PARTS (H2kFile *, at least one) one behind the other, as a file called NAME. Keeps references. */
H2kFile *h2k_file_new_joined (GPtrArray *parts, const char *name);
