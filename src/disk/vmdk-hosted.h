/* vmdk-hosted.h - hosted sparse extents: what their reader shares with their check.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/formats.h"
#include "disk/vmdk.h"

#define H2K_VMDK_TABLE_ENTRIES 512
#define H2K_VMDK_TABLE_BYTES (H2K_VMDK_TABLE_ENTRIES * 4)
/* Zeros. The header should have a flag for it, but there are writers that leave it out, and no
 * grain or table can be in sector 1. */
#define H2K_VMDK_GTE_ZERO 1u

enum
{
  H2K_VMDK_FLAG_NEWLINE_TEST = 1 << 0,
  H2K_VMDK_FLAG_REDUNDANT_TABLES = 1 << 1,
  H2K_VMDK_FLAG_ZERO_GRAINS = 1 << 2,
  H2K_VMDK_FLAG_COMPRESSED = 1 << 16,
  H2K_VMDK_FLAG_MARKERS = 1 << 17,
};

/* What precedes a compressed grain's data, directly. */
typedef struct __attribute__ ((packed))
{
  guint64 lba;  /* 0x00: first sector in the extent */
  guint32 size; /* 0x08: bytes of compressed data */
} H2kVmdkGrainMarker;
G_STATIC_ASSERT (sizeof (H2kVmdkGrainMarker) == 12);

/* An open extent. */
typedef struct
{
  H2kVmdkSparse base;
  H2kFile *file;
  const char *name; /* the file's */
  guint64 grains;
  guint32 flags;
  guint64 descriptor_offset, descriptor_size; /* bytes */
  guint64 gd_sector, rgd_sector;              /* 0: there is none */
  gboolean by_copy;                           /* the redundant directory had to be used */
  guint32 *directory;                      /* first sector of each table, 0 or H2K_VMDK_GTE_ZERO */
  H2kVmdkCache *table_cache, *grain_cache; /* the disk's */
  gint asked;                              /* atomic: pieces of the file asked for so far */
} H2kVmdkHosted;

/* Entry I of a table. */
static inline guint32
h2k_vmdk_hosted_entry (const H2kVmdkBlock *table, guint i)
{
  return h2k_le32 (table->data + i * 4);
}

/* Entries of table I that stand for grains; the last table may be cut short. */
guint h2k_vmdk_hosted_table_entries (const H2kVmdkHosted *s, guint64 i);
gboolean h2k_vmdk_hosted_has_table (const H2kVmdkHosted *s, guint64 i);
/* Table I, which has_table(); a reference. */
H2kVmdkBlock *h2k_vmdk_hosted_get_table (H2kVmdkHosted *s, guint64 i, GError **error);
H2kExtentKind h2k_vmdk_hosted_entry_kind (const H2kVmdkHosted *s, guint32 entry);
/* Check the marker at RECORD (at least a marker's bytes are there) of GRAIN, which ENTRY leads to:
 * the data's size, or 0. */
gsize h2k_vmdk_hosted_check_marker (const H2kVmdkHosted *s, guint64 grain, guint32 entry,
                                    const guint8 *record, GError **error);
/* Decompress SIZE bytes of DATA into OUT, a whole grain's space. */
gboolean h2k_vmdk_hosted_inflate (const H2kVmdkHosted *s, guint64 grain, guint32 entry,
                                  const guint8 *data, gsize size, guint8 *out, GError **error);
/* See check.h. */
gboolean h2k_vmdk_hosted_check (H2kVmdkSparse *sparse, H2kCheck *check, GError **error);
