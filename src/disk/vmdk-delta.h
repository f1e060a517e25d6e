/* vmdk-delta.h - what vmdk-cowd.c and vmdk-sesparse.c share: the two kinds of extent that ESX
 * writes for snapshots differ in their headers and in what an entry says, not in how they are read.
 *
 * A directory points to tables of 4096 entries, which point to grains that are never compressed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/formats.h"
#include "disk/vmdk.h"

#define H2K_VMDK_DELTA_ENTRIES 4096

/* Where an entry leads: a byte of the file, or one of these, which are inside every header. */
enum
{
  H2K_VMDK_PLACE_NONE = 0, /* not allocated: the parent's */
  H2K_VMDK_PLACE_ZERO = 1, /* reads as zeros, whatever the parent holds */
  H2K_VMDK_PLACE_BAD = 2,  /* no legal entry, or outside the file */
};

typedef struct _H2kVmdkDelta H2kVmdkDelta;

typedef struct
{
  guint entry_size; /* bytes of an entry, 4 or 8 */
  /* Where ENTRY of the directory or of a table leads, which need not be inside the file. */
  guint64 (*table_place) (const H2kVmdkDelta *delta, guint64 entry);
  guint64 (*grain_place) (const H2kVmdkDelta *delta, guint64 entry);
} H2kVmdkDeltaLayout;

struct _H2kVmdkDelta
{
  H2kVmdkSparse base; /* its size and grain size are set from the header */
  const H2kVmdkDeltaLayout *layout;
  H2kFile *file;
  H2kVmdkCache *cache;                               /* the disk's, for tables */
  guint64 directory;                                 /* first byte */
  guint64 tables_start, tables_length, grains_start; /* bytes; for the layout's functions */
  guint64 tables, grains;                            /* how many the disk's size needs */
};

/* A copy of DELTA, whose numbers of tables and grains need not be set, as an extent that holds
 * references of its own. Checks the directory and, within a budget, the tables: a file that was cut
 * off is known now. Errors: H2K_ERROR_FORMAT, _SOURCE. */
H2kVmdkSparse *h2k_vmdk_delta_new (const H2kVmdkDelta *delta, GError **error);

/* Tables that cover SIZE bytes with grains of GRAIN_SIZE. */
guint64 h2k_vmdk_delta_tables (guint64 size, guint32 grain_size);
/* Whether COUNT sectors from FIRST on are in the file. */
gboolean h2k_vmdk_delta_in_file (const H2kFile *file, guint64 first, guint64 count);

/* Read the header of LENGTH bytes at the start of FILE. */
gboolean h2k_vmdk_delta_read_header (H2kFile *file, void *header, gsize length, GError **error);

/* Set H2K_ERROR_FORMAT or H2K_ERROR_UNSUPPORTED and return FALSE. */
#define h2k_vmdk_delta_set_corrupt(file, error, ...)                                               \
  h2k_set_corrupt (error, "VMDK", (file)->name, __VA_ARGS__)
gboolean h2k_vmdk_delta_set_unsupported (const H2kFile *file, GError **error, const char *format,
                                         ...) G_GNUC_PRINTF (3, 4);
