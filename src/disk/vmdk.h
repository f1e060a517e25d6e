/* vmdk.h - VMware disks: what the files of the reader share, and what its tests and fuzz target
 * see.
 *
 * A VMDK is a descriptor (a text) that lists extents. The descriptor is a file of its own, or lies
 * inside a sparse extent that is the whole disk. Written from "Virtual Disk Format 5.0" (VMware).
 *
 *   vmdk.c             the disk: opens the extents and finds the one that holds an offset
 *   vmdk-descriptor.c  the text
 *   vmdk-sparse.c      hosted sparse extents, stream-optimised (compressed) ones among them
 *   vmdk-check.c       all of their tables and grains
 *   vmdk-cowd.c        ESX Server sparse extents, of snapshots (vmfsSparse)
 *   vmdk-sesparse.c    seSparse extents, of newer snapshots
 *   vmdk-delta.c       what the two have in common
 *   vmdk-cache.c       a bounded cache of grain tables or decompressed grains
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

#define H2K_VMDK_SECTOR 512
/* A descriptor larger than this is not one. */
#define H2K_VMDK_DESCRIPTOR_MAX (1024 * 1024)
/* Grain tables of a disk, whose directories are held in memory (16 MiB): 128 TiB with grains of 64
 * KiB. */
#define H2K_VMDK_TABLES_MAX (4 * 1024 * 1024)
#define H2K_VMDK_NO_PARENT 0xffffffffu

/* --- descriptor ------------------------------------------------------------------------------- */

typedef enum
{
  H2K_VMDK_RW,
  H2K_VMDK_RDONLY,
  H2K_VMDK_NOACCESS,
} H2kVmdkAccess;

typedef enum
{
  H2K_VMDK_FLAT,
  H2K_VMDK_SPARSE,
  H2K_VMDK_ZERO,
  H2K_VMDK_VMFS,
  H2K_VMDK_VMFSSPARSE,
  H2K_VMDK_SESPARSE,
  H2K_VMDK_VMFSRDM,
  H2K_VMDK_VMFSRAW,
} H2kVmdkExtentType;

typedef struct
{
  H2kVmdkAccess access;
  H2kVmdkExtentType type;
  guint64 sectors; /* > 0; the sum over all extents fits in 63 bits of bytes */
  char *name;      /* as written; NULL for ZERO */
  guint64 offset;  /* first sector in the file */
  guint line;      /* in the descriptor, from 1 */
} H2kVmdkExtent;

typedef struct
{
  guint version;
  char *encoding; /* NULL: not said */
  guint32 cid;
  guint32 parent_cid;     /* H2K_VMDK_NO_PARENT: none */
  char *create_type;      /* NULL: not said */
  char *parent_hint;      /* parentFileNameHint, may be NULL */
  char *change_track;     /* changeTrackPath, may be NULL */
  char *adapter_type;     /* "ide", "buslogic", "lsilogic", "legacyESX", "pvscsi"; may be NULL */
  char *uuid;             /* ddb.uuid, may be NULL */
  char *long_content_id;  /* may be NULL */
  char *hardware_version; /* ddb.virtualHWVersion, may be NULL */
  char *tools_version;    /* may be NULL */
  char *thin_provisioned; /* "1", or NULL */
  char *io_filters;       /* ddb.iofilters, may be NULL */
  char *encryption_keys;  /* an encrypted disk; may be NULL */
  guint32 cylinders, heads, sectors; /* 0: not said */
  GArray *extents;                   /* H2kVmdkExtent, at least one */
} H2kVmdkDescriptor;

/* Parse TEXT (SIZE bytes; ends at the first NUL). NAME is for messages. File names and strings are
 * converted to UTF-8 when the descriptor names another encoding. Errors: H2K_ERROR_FORMAT,
 * H2K_ERROR_UNSUPPORTED (an encoding that is not known). */
H2kVmdkDescriptor *h2k_vmdk_descriptor_parse (const char *text, gsize size, const char *name,
                                              GError **error);
void h2k_vmdk_descriptor_free (H2kVmdkDescriptor *descriptor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmdkDescriptor, h2k_vmdk_descriptor_free)

/* Whether the first bytes of a file look like a descriptor. */
gboolean h2k_vmdk_is_descriptor (const guint8 *head, gsize length);

/* The descriptor of an open VMDK, the disk's; NULL for a disk of another format, or without one. */
const H2kVmdkDescriptor *h2k_vmdk_descriptor (H2kDisk *disk);

/* --- cache ------------------------------------------------------------------------------------ */

/* A grain table or a decompressed grain: filled in by who made it, then never changed. */
typedef struct
{
  gatomicrefcount references;
  gconstpointer owner; /* the extent */
  guint64 index;       /* of the table or grain in the extent */
  gsize size;
  GList link; /* in the cache's list */
  guint8 data[];
} H2kVmdkBlock;

H2kVmdkBlock *h2k_vmdk_block_new (gconstpointer owner, guint64 index, gsize size);
void h2k_vmdk_block_unref (H2kVmdkBlock *block);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmdkBlock, h2k_vmdk_block_unref)

/* The most recently used blocks, LIMIT bytes of them, or one if that is larger. Thread-safe; the
 * lock is held for a look-up, never for I/O. */
typedef struct _H2kVmdkCache H2kVmdkCache;

H2kVmdkCache *h2k_vmdk_cache_new (gsize limit);
void h2k_vmdk_cache_free (H2kVmdkCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmdkCache, h2k_vmdk_cache_free)
/* A reference to the block, or NULL. */
H2kVmdkBlock *h2k_vmdk_cache_get (H2kVmdkCache *cache, gconstpointer owner, guint64 index);
/* Keeps a reference of its own. A block that another thread has put meanwhile stays. */
void h2k_vmdk_cache_put (H2kVmdkCache *cache, H2kVmdkBlock *block);
gsize h2k_vmdk_cache_bytes (H2kVmdkCache *cache);

/* --- sparse extents --------------------------------------------------------------------------- */

typedef struct _H2kVmdkSparse H2kVmdkSparse;

/* What a kind of sparse extent implements. Ranges lie inside the extent and are not empty. As pread
 * and extent of H2kDiskOps, with offsets in the extent; what is not allocated reads as zeros, and
 * whoever has a parent asks for extents first. Thread-safe. */
typedef struct
{
  gboolean (*pread) (H2kVmdkSparse *sparse, guint64 offset, gsize length, guint8 *out,
                     GError **error);
  /* As pread, but OUT keeps what it holds where nothing is allocated. NULL: cannot. */
  gboolean (*pread_over) (H2kVmdkSparse *sparse, guint64 offset, gsize length, guint8 *out,
                          GError **error);
  gboolean (*extent) (H2kVmdkSparse *sparse, guint64 offset, H2kExtent *extent, GError **error);
  /* See check.h. NULL: extents are asked for, which looks at each table. */
  gboolean (*check) (H2kVmdkSparse *sparse, H2kCheck *check, GError **error);
  void (*free) (H2kVmdkSparse *sparse);
} H2kVmdkSparseOps;

/* The part that every kind shares; its structure begins with it. */
struct _H2kVmdkSparse
{
  const H2kVmdkSparseOps *ops;
  guint64 size;        /* capacity in bytes */
  guint32 grain_size;  /* bytes */
  guint32 tables;      /* entries of a directory that is held in memory */
  gboolean compressed; /* stream-optimised */
};

/* The sparse extent in FILE. TABLES and GRAINS are the disk's caches and outlive the extent. Reads
 * the grain directory, and grain tables to see that the file is complete. Errors:
 * H2K_ERROR_FORMAT, _UNSUPPORTED, _SOURCE. */
typedef H2kVmdkSparse *H2kVmdkSparseOpen (H2kFile *file, H2kVmdkCache *tables, H2kVmdkCache *grains,
                                          GError **error);
H2kVmdkSparseOpen h2k_vmdk_sparse_open;   /* hosted: "KDMV" */
H2kVmdkSparseOpen h2k_vmdk_cowd_open;     /* ESX Server: "COWD" */
H2kVmdkSparseOpen h2k_vmdk_sesparse_open; /* seSparse */

static inline void
h2k_vmdk_sparse_free (H2kVmdkSparse *sparse)
{
  if (sparse)
    sparse->ops->free (sparse);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVmdkSparse, h2k_vmdk_sparse_free)

/* The embedded descriptor's text of a hosted extent, the caller's; its length in SIZE. NULL without
 * ERROR set: there is none. */
char *h2k_vmdk_sparse_read_descriptor (H2kVmdkSparse *sparse, gsize *size, GError **error);
