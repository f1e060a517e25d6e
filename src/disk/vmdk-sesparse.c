/* vmdk-sesparse.c - seSparse extents: the deltas of snapshots on VMFS 6, and on VMFS 5 of disks
 * larger than 2 TiB.
 *
 * VMware does not document the format. What is known was found out by others and is as in QEMU's
 * block/vmdk.c and its commit 98eb9733f4cf: the constant header says where the parts of the file
 * are, in sectors; directory and tables have 64-bit entries, whose highest four bits are a type.
 * Anything that nobody has seen yet is refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk-delta.h"

#define CONST_MAGIC G_GUINT64_CONSTANT (0xcafebabe)
#define VOLATILE_MAGIC G_GUINT64_CONSTANT (0xcafecafe)
#define VERSION G_GUINT64_CONSTANT (0x0000000200000001) /* 2.1 */
#define GRAIN_SECTORS 8
#define TABLE_SECTORS (H2K_VMDK_DELTA_ENTRIES * 8 / H2K_VMDK_SECTOR)

/* An entry of the directory: this, and the table's number below it. */
#define TABLE_MASK G_GUINT64_CONSTANT (0xffffffff00000000)
#define TABLE_ALLOCATED G_GUINT64_CONSTANT (0x1000000000000000)

/* An entry of a table. The grain's number is in the rest: its lowest 12 bits are the highest ones
 * there. */
#define TYPE_SHIFT 60
enum
{
  TYPE_UNALLOCATED = 0,
  TYPE_UNMAPPED = 1, /* by the guest, with SCSI UNMAP */
  TYPE_ZERO = 2,
  TYPE_ALLOCATED = 3,
};

/* The names are those that ESXi writes into its log when it makes such a file. */
typedef struct __attribute__ ((packed))
{
  guint64 constMagic;           /* 0x00 */
  guint64 version;              /* 0x08 */
  guint64 capacity;             /* 0x10: sectors, as all that follow */
  guint64 grainSize;            /* 0x18 */
  guint64 grainTableSize;       /* 0x20 */
  guint64 flags;                /* 0x28 */
  guint64 reserved[4];          /* 0x30 */
  guint64 volatileHeaderOffset; /* 0x50 */
  guint64 volatileHeaderSize;   /* 0x58 */
  guint64 journalHeaderOffset;  /* 0x60 */
  guint64 journalHeaderSize;    /* 0x68 */
  guint64 journalOffset;        /* 0x70 */
  guint64 journalSize;          /* 0x78 */
  guint64 grainDirectoryOffset; /* 0x80 */
  guint64 grainDirectorySize;   /* 0x88 */
  guint64 grainTablesOffset;    /* 0x90 */
  guint64 grainTablesSize;      /* 0x98 */
  guint64 freeBitmapOffset;     /* 0xa0 */
  guint64 freeBitmapSize;       /* 0xa8 */
  guint64 backMapOffset;        /* 0xb0 */
  guint64 backMapSize;          /* 0xb8 */
  guint64 grainOffset;          /* 0xc0 */
  guint64 grainSpace;           /* 0xc8 */
  guint8 pad[304];              /* 0xd0 */
} ConstHeader;
G_STATIC_ASSERT (sizeof (ConstHeader) == H2K_VMDK_SECTOR);

typedef struct __attribute__ ((packed))
{
  guint64 volatileMagic;    /* 0x00 */
  guint64 freeGTNumber;     /* 0x08 */
  guint64 nextTxnSeqNumber; /* 0x10 */
  guint64 replayJournal;    /* 0x18 */
  guint8 pad[480];          /* 0x20 */
} VolatileHeader;
G_STATIC_ASSERT (sizeof (VolatileHeader) == H2K_VMDK_SECTOR);

/* --- entries ---------------------------------------------------------------------------------- */

static guint64
table_place (const H2kVmdkDelta *delta, guint64 entry)
{
  const guint64 length = TABLE_SECTORS * H2K_VMDK_SECTOR, number = entry & ~TABLE_MASK;

  if (entry == 0)
    return H2K_VMDK_PLACE_NONE;
  if ((entry & TABLE_MASK) != TABLE_ALLOCATED || number >= delta->tables_length / length)
    return H2K_VMDK_PLACE_BAD;
  return delta->tables_start + number * length;
}

static guint64
grain_place (const H2kVmdkDelta *delta, guint64 entry)
{
  guint64 number = (entry & G_GUINT64_CONSTANT (0x0fff000000000000)) >> 48
                   | (entry & G_GUINT64_CONSTANT (0x0000ffffffffffff)) << 12;

  switch (entry >> TYPE_SHIFT)
    {
    case TYPE_UNALLOCATED:
      return entry == 0 ? H2K_VMDK_PLACE_NONE : H2K_VMDK_PLACE_BAD;
    case TYPE_UNMAPPED:
    case TYPE_ZERO:
      return H2K_VMDK_PLACE_ZERO;
    case TYPE_ALLOCATED:
      if (number > (delta->file->size - delta->grains_start) / delta->base.grain_size)
        return H2K_VMDK_PLACE_BAD;
      return delta->grains_start + number * delta->base.grain_size;
    default:
      return H2K_VMDK_PLACE_BAD;
    }
}

static const H2kVmdkDeltaLayout layout = {
    .entry_size = 8,
    .table_place = table_place,
    .grain_place = grain_place,
};

/* --- headers ---------------------------------------------------------------------------------- */

/* What every seSparse file that is known says of itself. */
static gboolean
check_fixed (const H2kFile *file, const ConstHeader *h, GError **error)
{
  const guint64 version = GUINT64_FROM_LE (h->version), grain = GUINT64_FROM_LE (h->grainSize);
  const guint64 table = GUINT64_FROM_LE (h->grainTableSize);

  if (GUINT64_FROM_LE (h->constMagic) != CONST_MAGIC)
    return h2k_vmdk_delta_set_corrupt (file, error, "it has no seSparse header");
  if (version != VERSION)
    return h2k_vmdk_delta_set_unsupported (file, error,
                                           "version %" G_GUINT64_FORMAT
                                           ".%u of the seSparse format",
                                           version >> 32, (guint)version);
  if (grain != GRAIN_SECTORS || table != TABLE_SECTORS)
    return h2k_vmdk_delta_set_unsupported (file, error,
                                           "an seSparse extent with grains of %" G_GUINT64_FORMAT
                                           " and grain tables of %" G_GUINT64_FORMAT " sectors",
                                           grain, table);
  if (h->flags || !h2k_is_zero (h->reserved, sizeof h->reserved)
      || !h2k_is_zero (h->pad, sizeof h->pad))
    return h2k_vmdk_delta_set_unsupported (file, error,
                                           "its header has unknown flags (0x%" G_GINT64_MODIFIER
                                           "x) or fields",
                                           GUINT64_FROM_LE (h->flags));
  return TRUE;
}

/* What the size of the disk and of the file allow. */
static gboolean
check_areas (const H2kFile *file, const ConstHeader *h, GError **error)
{
  const guint64 capacity = GUINT64_FROM_LE (h->capacity);
  const struct
  {
    const char *what;
    guint64 offset, size;
  } areas[] = {
      {"volatile header", GUINT64_FROM_LE (h->volatileHeaderOffset), 1},
      {"grain directory", GUINT64_FROM_LE (h->grainDirectoryOffset),
       GUINT64_FROM_LE (h->grainDirectorySize)},
      {"area of grain tables", GUINT64_FROM_LE (h->grainTablesOffset), 0},
      {"area of grains", GUINT64_FROM_LE (h->grainOffset), 0},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (areas); i++)
    if (areas[i].offset == 0 || !h2k_vmdk_delta_in_file (file, areas[i].offset, areas[i].size))
      return h2k_vmdk_delta_set_corrupt (file, error,
                                         "the %s (sector %" G_GUINT64_FORMAT
                                         ") is not inside the file",
                                         areas[i].what, areas[i].offset);
  if (capacity == 0 || capacity > G_MAXINT64 / H2K_VMDK_SECTOR
      || h2k_vmdk_delta_tables (capacity * H2K_VMDK_SECTOR, GRAIN_SECTORS * H2K_VMDK_SECTOR)
             > areas[1].size * (H2K_VMDK_SECTOR / 8))
    return h2k_vmdk_delta_set_corrupt (file, error,
                                       "its grain directory is too small for its capacity"
                                       " (%" G_GUINT64_FORMAT " sectors)",
                                       capacity);
  return TRUE;
}

/* A journal that has to be replayed holds changes of the tables, and how it does is not known. */
static gboolean
check_volatile (H2kFile *file, guint64 sector, GError **error)
{
  VolatileHeader h;

  if (!h2k_file_pread (file, sector * H2K_VMDK_SECTOR, sizeof h, &h, error))
    return FALSE;
  if (GUINT64_FROM_LE (h.volatileMagic) != VOLATILE_MAGIC)
    return h2k_vmdk_delta_set_corrupt (file, error, "its second (volatile) header is damaged");
  if (!h.replayJournal)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s was not closed cleanly, and only ESXi can replay its journal: power the VM on "
               "there and shut it down, or delete (consolidate) its snapshots, and fetch the files "
               "again",
               file->name);
  return FALSE;
}

H2kVmdkSparse *
h2k_vmdk_sesparse_open (H2kFile *file, H2kVmdkCache *tables, H2kVmdkCache *grains, GError **error)
{
  H2kVmdkDelta delta = {.layout = &layout, .file = file, .cache = tables};
  ConstHeader h;

  if (!h2k_vmdk_delta_read_header (file, &h, sizeof h, error) || !check_fixed (file, &h, error)
      || !check_areas (file, &h, error)
      || !check_volatile (file, GUINT64_FROM_LE (h.volatileHeaderOffset), error))
    return NULL;
  delta.base.size = GUINT64_FROM_LE (h.capacity) * H2K_VMDK_SECTOR;
  delta.base.grain_size = GRAIN_SECTORS * H2K_VMDK_SECTOR;
  delta.directory = GUINT64_FROM_LE (h.grainDirectoryOffset) * H2K_VMDK_SECTOR;
  delta.tables_start = GUINT64_FROM_LE (h.grainTablesOffset) * H2K_VMDK_SECTOR;
  delta.tables_length
      = MIN (GUINT64_FROM_LE (h.grainTablesSize), G_MAXUINT64 / H2K_VMDK_SECTOR) * H2K_VMDK_SECTOR;
  delta.grains_start = GUINT64_FROM_LE (h.grainOffset) * H2K_VMDK_SECTOR;
  return h2k_vmdk_delta_new (&delta, error);
}
