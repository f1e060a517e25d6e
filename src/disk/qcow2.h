/* qcow2.h - what the files of the qcow2 reader share.
 *
 *   qcow2.c            the disk: from guest offsets to clusters and subclusters, and what they hold
 *   qcow2-header.c     the header and its extensions
 *   qcow2-snapshots.c  the table of internal snapshots
 *   qcow2-unpack.c     compressed clusters
 *   qcow2-luks.c       encrypted images: their LUKS header, and clusters of theirs
 *   qcow2-check.c      reference counts and tables, all of them
 *
 * Follows docs/interop/qcow2.txt of QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/formats.h"
#include "disk/image-key.h"

#define H2K_QCOW2_MIN_CLUSTER_BITS 9
#define H2K_QCOW2_MAX_CLUSTER_BITS 21
#define H2K_QCOW2_SUBCLUSTERS 32
#define H2K_QCOW2_MAX_L1_BYTES ((guint64)32 << 20) /* QEMU's limit */
#define H2K_QCOW2_CRYPT_LUKS 2u
#define H2K_QCOW2_MAX_LUKS ((guint64)16 << 20) /* bytes of a LUKS header; QEMU's have 2 MiB */

/* Entries of the L1 table, of L2 tables, and of the refcount table. */
#define H2K_QCOW2_OFFSET_MASK ((guint64)0x00fffffffffffe00)
#define H2K_QCOW2_COPIED ((guint64)1 << 63)
#define H2K_QCOW2_COMPRESSED ((guint64)1 << 62)
#define H2K_QCOW2_ZERO ((guint64)1)

/* All numbers are big-endian. */
typedef struct __attribute__ ((packed))
{
  guint8 magic[4];                   /* 0: "QFI\xfb" */
  guint8 version[4];                 /* 4 */
  guint8 backing_file_offset[8];     /* 8 */
  guint8 backing_file_size[4];       /* 16 */
  guint8 cluster_bits[4];            /* 20 */
  guint8 size[8];                    /* 24: of the disk, bytes */
  guint8 crypt_method[4];            /* 32 */
  guint8 l1_size[4];                 /* 36: entries */
  guint8 l1_table_offset[8];         /* 40 */
  guint8 refcount_table_offset[8];   /* 48 */
  guint8 refcount_table_clusters[4]; /* 56 */
  guint8 nb_snapshots[4];            /* 60 */
  guint8 snapshots_offset[8];        /* 64: here ends version 2 */
  guint8 incompatible_features[8];   /* 72 */
  guint8 compatible_features[8];     /* 80 */
  guint8 autoclear_features[8];      /* 88 */
  guint8 refcount_order[4];          /* 96 */
  guint8 header_length[4];           /* 100 */
  guint8 compression_type;           /* 104: when header_length is larger than that */
} Qcow2Header;
G_STATIC_ASSERT (G_STRUCT_OFFSET (Qcow2Header, incompatible_features) == 72);
G_STATIC_ASSERT (G_STRUCT_OFFSET (Qcow2Header, compression_type) == 104);

enum
{
  H2K_QCOW2_DIRTY = 1 << 0, /* incompatible features */
  H2K_QCOW2_CORRUPT = 1 << 1,
  H2K_QCOW2_DATA_FILE = 1 << 2,
  H2K_QCOW2_COMPRESSION_TYPE = 1 << 3,
  H2K_QCOW2_EXTENDED_L2 = 1 << 4,
  H2K_QCOW2_BITMAPS = 1 << 0, /* autoclear features */
  H2K_QCOW2_DATA_FILE_RAW = 1 << 1,
};

/* The header, checked. */
typedef struct
{
  guint version;
  guint cluster_bits;
  guint refcount_bits;
  guint64 size;
  guint64 l1_offset, l1_entries;
  guint64 refcount_table_offset, refcount_table_clusters;
  guint64 snapshots_offset;
  guint32 snapshots;
  guint64 features, autoclear;
  gboolean zstd;
  guint32 bitmaps; /* as their extension says; to be ignored without the autoclear bit */
  guint64 bitmaps_offset, bitmaps_size;
  char *backing_name;               /* NULL: none */
  char *backing_format;             /* NULL: not recorded */
  char *data_name;                  /* the external data file's; NULL: none or not recorded */
  gboolean encrypted;               /* with LUKS, whose header lies at ... */
  guint64 luks_offset, luks_length; /* ... these bytes of the file: whole clusters */
} H2kQcow2Header;

/* Read the header of FILE. What makes the image unreadable is an error, being marked as corrupt
 * among it unless ALLOW_CORRUPT. Errors: H2K_ERROR_SOURCE, _FORMAT, _UNSUPPORTED. */
gboolean h2k_qcow2_header_read (H2kFile *file, gboolean allow_corrupt, H2kQcow2Header *header,
                                GError **error);
void h2k_qcow2_header_clear (H2kQcow2Header *header);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kQcow2Header, h2k_qcow2_header_clear)

/* An internal snapshot and where its L1 table is. */
typedef struct
{
  H2kSnapshot info;
  guint64 l1_offset;
  guint32 l1_entries;
} H2kQcow2Snapshot;

/* H2kQcow2Snapshot *, as the table has them; END (may be NULL) is set to where the table ends in
 * the file. Errors: H2K_ERROR_FORMAT, _SOURCE. */
GPtrArray *h2k_qcow2_snapshots (H2kFile *file, const H2kQcow2Header *header, guint64 *end,
                                GError **error);

/* The LUKS header of the image FILE, which is encrypted. Errors: H2K_ERROR_SOURCE. */
GBytes *h2k_qcow2_luks_header (H2kFile *file, const H2kQcow2Header *header, GError **error);
/* Read LENGTH bytes at OFFSET of FILE and decrypt them; behind the file's end there are zeros. A
 * sector's number is its place in the file. */
gboolean h2k_qcow2_luks_read (H2kLuksCipher *cipher, H2kFile *file, guint64 offset, gsize length,
                              guint8 *out, GError **error);

/* Unpack one cluster, which has to fill OUT; what follows it in IN is not looked at. */
gboolean h2k_qcow2_unpack (gboolean zstd, const guint8 *in, gsize in_length, guint8 *out,
                           gsize out_length);

/* Where the data of a compressed cluster's ENTRY start, and in END where they end at the latest. */
static inline guint64
h2k_qcow2_compressed_place (guint cluster_bits, guint64 entry, guint64 *end)
{
  guint offset_bits = 62 - (cluster_bits - 8);
  guint64 host = entry & (((guint64)1 << offset_bits) - 1);
  guint64 sectors = (entry & (H2K_QCOW2_COMPRESSED - 1)) >> offset_bits;

  *end = host / 512 * 512 + (sectors + 1) * 512;
  return host;
}

/* Clusters of the file whose references are counted in one pass; tests make it small. */
extern guint64 h2k_qcow2_check_window;
/* For the table of formats: see check.h. */
gboolean h2k_qcow2_check (H2kFile *file, H2kCheck *check, GError **error);
