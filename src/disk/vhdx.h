/* vhdx.h - what the two halves of the VHDX reader share: the log's replay and everything above it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

#define H2K_VHDX_MIB ((guint64)1 << 20)

typedef struct
{
  guint8 bytes[16]; /* as in the file */
} H2kVhdxGuid;

static inline gboolean
h2k_vhdx_guid_equal (const H2kVhdxGuid *a, const H2kVhdxGuid *b)
{
  return memcmp (a, b, sizeof *a) == 0;
}

/* CRC-32C of LENGTH bytes at DATA, of which the four at 4 are the checksum itself and count as
 * zeros; not inverted yet, so that it can go on. */
guint32 h2k_vhdx_crc (const guint8 *data, gsize length);

/* FILE as it will be once the updates in its log have been made: the log has LENGTH bytes at
 * OFFSET, both multiples of 1 MiB, and its entries bear GUID. FILE itself is not changed; the
 * result keeps a reference to it, and memory for the log. Says with a message that this happened.
 * Errors: H2K_ERROR_FORMAT (no complete sequence of entries, or the file is shorter than the log
 * knows it), _UNSUPPORTED (a log of unreasonable size), _SOURCE. */
H2kFile *h2k_vhdx_log_replay (H2kFile *file, guint64 offset, guint32 length,
                              const H2kVhdxGuid *guid, GError **error);
