/* tar.h - members of tar archives as files, read in place.
 *
 * ustar (POSIX.1-1988), pax headers (POSIX.1-2001: path, size) and GNU's long names and binary
 * numbers; what OVA files are made of (DMTF DSP0243, 5.3).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

typedef struct
{
  char *name;     /* as in the archive, UTF-8 not guaranteed */
  guint64 offset; /* of the content in the archive, bytes */
  guint64 size;   /* bytes */
} H2kTarMember;

/* Whether the first bytes of a file (at least 512) are a tar header. */
gboolean h2k_tar_probe (const guint8 *head, gsize length);

/* The regular files in ARCHIVE, H2kTarMember in the archive's order. Reads the headers only.
 * Errors: H2K_ERROR_FORMAT (damaged, truncated, too many members), _UNSUPPORTED (a sparse member),
 * _SOURCE. */
GPtrArray *h2k_tar_list (H2kFile *archive, GError **error);

/* The content of MEMBER; keeps a reference to ARCHIVE. Its path is the archive's. */
H2kFile *h2k_tar_open (H2kFile *archive, const H2kTarMember *member);
