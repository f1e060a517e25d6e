/* vmdk-cowd.c - ESX Server sparse extents ("COWD", vmfsSparse): the deltas of snapshots on VMFS 3
 * and 5, as "ESX Server Sparse Extents" of VMware's "Virtual Disk Format 5.0".
 *
 * Entries are 32-bit sectors of the file, 0 means nothing there. A grain is one sector as a rule.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk-delta.h"

#define VERSION 1
#define FLAGS_KNOWN 3u          /* what the specification says that they are */
#define GRAIN_SECTORS_MAX 32768 /* 16 MiB */

typedef struct __attribute__ ((packed))
{
  char magicNumber[4];       /* 0x000: "COWD" */
  guint32 version;           /* 0x004 */
  guint32 flags;             /* 0x008 */
  guint32 numSectors;        /* 0x00c: of the disk */
  guint32 grainSize;         /* 0x010: sectors */
  guint32 gdOffset;          /* 0x014: sectors */
  guint32 numGDEntries;      /* 0x018 */
  guint32 freeSector;        /* 0x01c: the first one behind all that is in use */
  char parentFileName[1024]; /* 0x020: of old; today the descriptor names the parent */
  guint32 parentGeneration;  /* 0x420 */
  guint32 generation;        /* 0x424 */
  char name[60];             /* 0x428 */
  char description[512];     /* 0x464 */
  guint32 savedGeneration;   /* 0x664 */
  guint8 reserved[8];        /* 0x668 */
  guint32 uncleanShutdown;   /* 0x670 */
  guint8 padding[396];       /* 0x674 */
} COWDisk_Header;
G_STATIC_ASSERT (sizeof (COWDisk_Header) == 4 * H2K_VMDK_SECTOR);

/* Both entries of the directory and of tables. Nothing lies inside the header. */
static guint64
place (const H2kVmdkDelta *delta, guint64 entry)
{
  if (entry == 0)
    return H2K_VMDK_PLACE_NONE;
  if (entry < sizeof (COWDisk_Header) / H2K_VMDK_SECTOR)
    return H2K_VMDK_PLACE_BAD;
  return entry * H2K_VMDK_SECTOR;
}

static const H2kVmdkDeltaLayout layout = {
    .entry_size = 4,
    .table_place = place,
    .grain_place = place,
};

/* Check header H field by field and take over what is needed. */
static gboolean
parse_header (H2kVmdkDelta *delta, const COWDisk_Header *h, GError **error)
{
  const guint32 capacity = GUINT32_FROM_LE (h->numSectors), grain = GUINT32_FROM_LE (h->grainSize);
  const guint32 version = GUINT32_FROM_LE (h->version), flags = GUINT32_FROM_LE (h->flags);
  const guint32 entries = GUINT32_FROM_LE (h->numGDEntries);
  const guint32 free_sector = GUINT32_FROM_LE (h->freeSector);
  H2kFile *file = delta->file;

  if (memcmp (h->magicNumber, "COWD", 4) != 0)
    return h2k_vmdk_delta_set_corrupt (file, error, "it does not start with \"COWD\"");
  if (version != VERSION)
    return h2k_vmdk_delta_set_unsupported (file, error, "version %u of the COWD format", version);
  if (flags & ~FLAGS_KNOWN)
    return h2k_vmdk_delta_set_unsupported (file, error, "its header has unknown flags (0x%x)",
                                           flags);
  if (capacity == 0)
    return h2k_vmdk_delta_set_corrupt (file, error, "its header says that it has no sectors");
  if (grain == 0 || grain > GRAIN_SECTORS_MAX)
    return h2k_vmdk_delta_set_corrupt (file, error,
                                       "its header has an impossible grain size (%u sectors)",
                                       grain);

  delta->base.size = (guint64)capacity * H2K_VMDK_SECTOR;
  delta->base.grain_size = grain * H2K_VMDK_SECTOR;
  if (GUINT32_FROM_LE (h->gdOffset) < sizeof *h / H2K_VMDK_SECTOR)
    return h2k_vmdk_delta_set_corrupt (file, error, "its grain directory is inside the header");
  delta->directory = (guint64)GUINT32_FROM_LE (h->gdOffset) * H2K_VMDK_SECTOR;
  if (entries < h2k_vmdk_delta_tables (delta->base.size, delta->base.grain_size))
    return h2k_vmdk_delta_set_corrupt (file, error,
                                       "its grain directory has %u entries, too few for %u sectors",
                                       entries, capacity);
  if (!h2k_vmdk_delta_in_file (file, free_sector, 0))
    return h2k_vmdk_delta_set_corrupt (file, error,
                                       "it has %" G_GUINT64_FORMAT
                                       " bytes, and its header says that %" G_GUINT64_FORMAT
                                       " are in use",
                                       file->size, (guint64)free_sector * H2K_VMDK_SECTOR);
  if (h->uncleanShutdown)
    g_debug ("%s was not closed cleanly", file->name);
  return TRUE;
}

H2kVmdkSparse *
h2k_vmdk_cowd_open (H2kFile *file, H2kVmdkCache *tables, H2kVmdkCache *grains, GError **error)
{
  H2kVmdkDelta delta = {.layout = &layout, .file = file, .cache = tables};
  COWDisk_Header header;

  if (!h2k_vmdk_delta_read_header (file, &header, sizeof header, error)
      || !parse_header (&delta, &header, error))
    return NULL;
  return h2k_vmdk_delta_new (&delta, error);
}
