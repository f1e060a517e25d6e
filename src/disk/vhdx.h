/* vhdx.h - what the files of the VHDX reader share.
 *
 *   vhdx.c         the disk: headers, regions, metadata, and what blocks hold
 *   vhdx-log.c     the log's replay
 *   vhdx-parent.c  the parent of a differencing disk
 *   vhdx-check.c   both copies of everything, and all of the block allocation table
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/cache.h"
#include "disk/formats.h"

#define H2K_VHDX_MIB ((guint64)1 << 20)
#define H2K_VHDX_TABLE_BYTES 65536 /* of the region table; what headers are apart */

#define H2K_VHDX_GUID(a, b, c, d, e, f, g, h, i, j, k)                                             \
  {                                                                                                \
    {                                                                                              \
      (guint8) (a), (guint8)((a) >> 8), (guint8)((a) >> 16), (guint8)((a) >> 24), (guint8)(b),     \
          (guint8)((b) >> 8), (guint8)(c), (guint8)((c) >> 8), d, e, f, g, h, i, j, k              \
    }                                                                                              \
  }

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

/* --- the disk --------------------------------------------------------------------------------- */

/* States of a block, in the lowest three bits of its entry. */
enum
{
  H2K_VHDX_NOT_PRESENT = 0, /* the parent's */
  H2K_VHDX_UNDEFINED = 1,
  H2K_VHDX_ZERO = 2,
  H2K_VHDX_UNMAPPED = 3,
  H2K_VHDX_FULLY_PRESENT = 6, /* of a bitmap block: present */
  H2K_VHDX_PARTIALLY_PRESENT = 7,
};

/* A part of the file. */
typedef struct
{
  guint64 offset, length;
} H2kVhdxRange;

static inline gboolean
h2k_vhdx_overlaps (const H2kVhdxRange *a, const H2kVhdxRange *b)
{
  return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

typedef struct
{
  H2kDisk disk;
  H2kFile *file;               /* with its log replayed */
  H2kVhdxGuid data_write_guid; /* what children know this disk's content by */
  H2kVhdxRange log, bat, metadata;
  guint32 block_size;
  guint ratio_bits; /* of the number of blocks that share a sector bitmap block */
  gboolean has_parent;
  H2kCache *pages; /* by number of the page in the file */
} H2kVhdx;

/* Where a block with the BAT's ENTRY is in the file. */
static inline guint64
h2k_vhdx_entry_host (guint64 entry)
{
  return entry >> 20 << 20;
}

/* The image in FILE with its log replayed, but without its parent; a H2kVhdx. LOCATOR is set to
 * where the parent is described. Errors: those of opening. */
H2kDisk *h2k_vhdx_open_alone (H2kFile *file, H2kVhdxRange *locator, GError **error);
/* Open the parent that is described at PLACE, if there has to be one. */
gboolean h2k_vhdx_open_parent (H2kVhdx *v, const H2kVhdxRange *place, GError **error);
/* The usual text of GUID, the caller's. */
char *h2k_vhdx_guid_to_text (const H2kVhdxGuid *guid);
/* Whether the LENGTH bytes at DATA begin with SIGNATURE and the right checksum. */
gboolean h2k_vhdx_is_intact (const void *data, gsize length, const char *signature);
/* For the table of formats: see check.h. */
gboolean h2k_vhdx_check (H2kFile *file, H2kCheck *check, GError **error);
