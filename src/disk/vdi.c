/* vdi.c - VirtualBox's disk images, version 1.1, dynamic and fixed, for reading.
 *
 * There is no specification; follows VirtualBox (VDICore.h, VDI.cpp) and QEMU's notes on it. A map
 * of 32-bit entries leads from each block of the disk to a block of the file; the blocks of the
 * file begin with extra data, which is of no use here (and which nobody writes).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/formats.h"
#include "disk/blockmap.h"

#define MAGIC 0xbeda107fu
#define VERSION_1_1 0x00010001u

#define TYPE_DYNAMIC 1
#define TYPE_FIXED 2
#define TYPE_UNDO 3
#define TYPE_DIFFERENCING 4

#define ENTRY_UNALLOCATED 0xffffffffu
#define ENTRY_ZERO 0xfffffffeu

#define MAX_BLOCK_SIZE ((guint32)1 << 30)
#define MAX_PIECES 16 /* slices of the map that are looked at for one extent */

/* All numbers are little-endian. */
typedef struct __attribute__ ((packed))
{
  char text[64];              /* 0: for people */
  guint8 signature[4];        /* 64 */
  guint8 version[4];          /* 68: minor in the lower half */
  guint8 header_size[4];      /* 72: of what follows, from here on */
  guint8 image_type[4];       /* 76 */
  guint8 image_flags[4];      /* 80 */
  char description[256];      /* 84 */
  guint8 offset_blocks[4];    /* 340: of the map */
  guint8 offset_data[4];      /* 344 */
  guint8 cylinders[4];        /* 348 */
  guint8 heads[4];            /* 352 */
  guint8 sectors[4];          /* 356 */
  guint8 sector_size[4];      /* 360 */
  guint8 unused[4];           /* 364 */
  guint8 disk_size[8];        /* 368 */
  guint8 block_size[4];       /* 376 */
  guint8 block_extra[4];      /* 380: bytes in front of each block */
  guint8 blocks[4];           /* 384 */
  guint8 blocks_allocated[4]; /* 388 */
  guint8 uuid_create[16];     /* 392 */
  guint8 uuid_modify[16];     /* 408 */
  guint8 uuid_linkage[16];    /* 424: of the parent, zero when there is none */
  guint8 uuid_parent[16];     /* 440: the parent's uuid_modify */
} VdiHeader;
G_STATIC_ASSERT (sizeof (VdiHeader) == 456);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VdiHeader, disk_size) == 368);

typedef struct
{
  H2kDisk disk;
  H2kFile *file;
  H2kBlockMap *map;
  guint block_bits;
  guint64 stride;      /* from block to block in the file */
  guint64 data_offset; /* of the first block's own data in the file */
} Vdi;

/* What a run of blocks is, and where. */
typedef struct
{
  H2kExtentKind kind;
  guint64 host; /* of data: offset in the file of the first block */
} Run;

#define set_corrupt(error, ...) h2k_set_corrupt (error, "VDI", __VA_ARGS__)

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
decode_entry (const Vdi *v, guint64 number, guint32 entry, Run *run, GError **error)
{
  *run = (Run){.kind = H2K_EXTENT_UNALLOCATED};
  if (entry == ENTRY_UNALLOCATED)
    return TRUE;
  run->kind = entry == ENTRY_ZERO ? H2K_EXTENT_ZERO : H2K_EXTENT_DATA;
  if (entry == ENTRY_ZERO)
    return TRUE;
  /* An entry has 32 bits and a block at most 2^31 bytes with its extra data: no overflow. */
  run->host = v->data_offset + entry * v->stride;
  return run->host < v->file->size
         || set_corrupt (error, v->disk.name,
                         "the block at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                         ", behind the end of the file at %" G_GUINT64_FORMAT " (truncated?)",
                         number << v->block_bits, run->host, v->file->size);
}

/* The run of blocks that holds OFFSET, and in END how far it goes on, LIMIT at the most: of one
 * kind and, with PLACES, one behind the other in the file. It ends with the slice of the map.
 * Trouble behind the first block ends it, it is no error yet. */
static gboolean
find_run (Vdi *v, guint64 offset, guint64 limit, gboolean places, Run *run, guint64 *end,
          GError **error)
{
  guint64 first = offset >> v->block_bits, number = first;
  guint64 stop = MIN ((limit - 1) >> v->block_bits, first | (H2K_BLOCK_MAP_SLICE - 1));
  g_autoptr (GBytes) slice = h2k_block_map_slice (v->map, first, error);
  const guint8 *entries;
  Run next;

  if (!slice)
    return FALSE;
  entries = g_bytes_get_data (slice, NULL);
  if (!decode_entry (v, first, h2k_le32 (entries + first % H2K_BLOCK_MAP_SLICE * 4), run, error))
    return FALSE;
  for (number++; number <= stop; number++)
    if (!decode_entry (v, number, h2k_le32 (entries + number % H2K_BLOCK_MAP_SLICE * 4), &next,
                       NULL)
        || next.kind != run->kind
        || (places && run->kind == H2K_EXTENT_DATA
            && next.host != run->host + ((number - first) << v->block_bits)))
      break;
  *end = MIN (limit, number << v->block_bits);
  return TRUE;
}

static gboolean
vdi_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Vdi *v = (Vdi *)disk;
  guint64 limit = offset + length, end;
  guint8 *out = buffer;

  for (; offset < limit; out += end - offset, offset = end)
    {
      guint64 inside = offset & (((guint64)1 << v->block_bits) - 1);
      Run run;

      if (!find_run (v, offset, limit, TRUE, &run, &end, error))
        return FALSE;
      if (run.kind != H2K_EXTENT_DATA)
        memset (out, 0, (gsize)(end - offset));
      else if (!h2k_file_pread (v->file, run.host + inside, (gsize)(end - offset), out, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
vdi_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Vdi *v = (Vdi *)disk;
  guint64 end, more;
  Run run, next;

  if (!find_run (v, offset, disk->size, FALSE, &run, &end, error))
    return FALSE;
  for (guint i = 1; i < MAX_PIECES && end < disk->size; i++, end = more)
    if (!find_run (v, end, disk->size, FALSE, &next, &more, NULL) || next.kind != run.kind)
      break; /* trouble there is told to those who ask about it */
  *extent = (H2kExtent){offset, end - offset, run.kind};
  return TRUE;
}

static void
vdi_finalize (H2kDisk *disk)
{
  Vdi *v = (Vdi *)disk;

  h2k_block_map_free (v->map);
  h2k_file_unref (v->file);
}

static const H2kDiskOps vdi_ops = {
    .pread = vdi_pread,
    .extent = vdi_extent,
    .finalize = vdi_finalize,
};

/* --- the header ------------------------------------------------------------------------------- */

static gboolean
check_kind (const VdiHeader *h, const char *name, GError **error)
{
  guint32 version = h2k_le32 (h->version), type = h2k_le32 (h->image_type);
  gboolean linked = !h2k_is_zero (h->uuid_linkage, 16) || !h2k_is_zero (h->uuid_parent, 16);
  g_autofree char *why = NULL;

  if (version != VERSION_1_1)
    why = g_strdup_printf ("is of version %u.%u; clone it with a recent VirtualBox (\"VBoxManage "
                           "clonemedium\"), which writes version 1.1",
                           version >> 16, version & 0xffff);
  else if (type == TYPE_UNDO)
    why = g_strdup ("is an undo image, which only holds changes to another one; let VirtualBox "
                    "commit or discard them, then take the disk itself");
  else if (type == TYPE_DIFFERENCING || linked)
    why = g_strdup ("is a snapshot's, which only holds the differences to its parent; delete the "
                    "VM's snapshots in VirtualBox, which merges them into the disk, or write the "
                    "whole state to a new image with \"VBoxManage clonemedium THIS NEW.vdi\"");
  else if (type != TYPE_DYNAMIC && type != TYPE_FIXED)
    why = g_strdup_printf ("is of type %u, which is not known here", type);
  else if (h2k_le32 (h->sector_size) != 512 && h2k_le32 (h->sector_size) != 0)
    why = g_strdup_printf ("has sectors of %u bytes; only 512 are known",
                           h2k_le32 (h->sector_size));
  if (why)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: the VDI image %s", name, why);
  return why == NULL;
}

/* Sizes and offsets: nothing overflows later. */
static gboolean
check_layout (const VdiHeader *h, const H2kFile *file, GError **error)
{
  guint64 size = h2k_le64 (h->disk_size), blocks = h2k_le32 (h->blocks);
  guint64 block_size = h2k_le32 (h->block_size), map = h2k_le32 (h->offset_blocks);

  if (block_size < 512 || block_size > MAX_BLOCK_SIZE || block_size & (block_size - 1))
    return set_corrupt (error, file->name, "blocks of %" G_GUINT64_FORMAT " bytes are impossible",
                        block_size);
  if (h2k_le32 (h->block_extra) > block_size)
    return set_corrupt (error, file->name,
                        "%u bytes of extra data in front of each block are "
                        "impossible",
                        h2k_le32 (h->block_extra));
  if (size == 0 || size > blocks * block_size)
    return set_corrupt (error, file->name,
                        "a disk of %" G_GUINT64_FORMAT " bytes cannot have %" G_GUINT64_FORMAT
                        " blocks of %" G_GUINT64_FORMAT " bytes",
                        size, blocks, block_size);
  if (map < sizeof (VdiHeader) || map > file->size || blocks * 4 > file->size - map)
    return set_corrupt (error, file->name,
                        "the map of %" G_GUINT64_FORMAT " blocks at %" G_GUINT64_FORMAT
                        " is not within the file of %" G_GUINT64_FORMAT " bytes (truncated?)",
                        blocks, map, file->size);
  if (h2k_le32 (h->offset_data) < map + blocks * 4)
    return set_corrupt (error, file->name, "the data at %u overlap the map of the blocks",
                        h2k_le32 (h->offset_data));
  return TRUE;
}

static H2kDisk *
vdi_open (H2kFile *file, GError **error)
{
  g_autoptr (H2kDisk) disk = NULL;
  VdiHeader h;
  Vdi *v;

  if (!h2k_file_pread (file, 0, sizeof h, &h, error))
    return NULL;
  if (h2k_le32 (h.signature) != MAGIC)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: is not a VDI image", file->name);
      return NULL;
    }
  if (!check_kind (&h, file->name, error) || !check_layout (&h, file, error))
    return NULL;

  v = g_new0 (Vdi, 1);
  disk = &v->disk;
  /* VirtualBox makes disks of odd sizes from raw ones; the blocks have room for a whole sector. */
  h2k_disk_init (disk, &vdi_ops, (h2k_le64 (h.disk_size) + 511) / 512 * 512, "vdi", file->path);
  disk->subformat = g_strdup (h2k_le32 (h.image_type) == TYPE_FIXED ? "fixed" : "dynamic");
  g_ptr_array_add (disk->files, g_strdup (file->path));
  v->file = h2k_file_ref (file);
  v->map = h2k_block_map_new (file, h2k_le32 (h.offset_blocks), h2k_le32 (h.blocks));
  v->block_bits = (guint)g_bit_nth_msf (h2k_le32 (h.block_size), -1);
  v->stride = (guint64)h2k_le32 (h.block_size) + h2k_le32 (h.block_extra);
  v->data_offset = (guint64)h2k_le32 (h.offset_data) + h2k_le32 (h.block_extra);
  return g_steal_pointer (&disk);
}

/* --- checking --------------------------------------------------------------------------------- */

/* Block I of the disk, which has BLOCKS; ENTRY says where it is. */
static void
check_block (const Vdi *v, guint64 i, guint32 entry, guint64 blocks, H2kClaims *claims,
             H2kCheck *check)
{
  guint64 host = v->data_offset + entry * v->stride;

  if (h2k_claims_first (claims))
    check->allocated++;
  if (entry < blocks && host < v->file->size)
    {
      check->image_end = MAX (check->image_end, MIN (host + v->stride, v->file->size));
      if (!h2k_claims_take (claims, entry, 1))
        h2k_check_corrupt (check,
                           "block %" G_GUINT64_FORMAT
                           " of the disk is in block %u of the file, and so is another one",
                           i, entry);
    }
  else if (h2k_claims_first (claims))
    h2k_check_corrupt (check,
                       "block %" G_GUINT64_FORMAT
                       " of the disk is in block %u of the file, which is not there",
                       i, entry);
}

static gboolean
check_map (Vdi *v, guint64 blocks, H2kClaims *claims, H2kCheck *check, GError **error)
{
  for (guint64 first = 0; first < blocks; first += H2K_BLOCK_MAP_SLICE)
    {
      g_autoptr (GBytes) slice = h2k_block_map_slice (v->map, first, error);
      const guint8 *entries = slice ? g_bytes_get_data (slice, NULL) : NULL;

      if (!slice)
        return FALSE;
      for (guint64 i = first; i < MIN (blocks, first + H2K_BLOCK_MAP_SLICE); i++)
        {
          guint32 entry = h2k_le32 (entries + (i - first) * 4);
          if (entry != ENTRY_UNALLOCATED && entry != ENTRY_ZERO)
            check_block (v, i, entry, blocks, claims, check);
        }
    }
  return TRUE;
}

static gboolean
vdi_check (H2kFile *file, H2kCheck *check, GError **error)
{
  g_autoptr (H2kDisk) disk = vdi_open (file, error);
  g_autoptr (H2kClaims) claims = NULL;
  VdiHeader h;

  if (!disk || !h2k_file_pread (file, 0, sizeof h, &h, error))
    return FALSE;
  check->units = h2k_le32 (h.blocks);
  claims = h2k_claims_new (check->units);
  do
    if (!check_map ((Vdi *)disk, check->units, claims, check, error))
      return FALSE;
  while (h2k_claims_next (claims));
  if (check->allocated != h2k_le32 (h.blocks_allocated))
    h2k_check_corrupt (check,
                       "the header says that %u blocks are allocated, but it is %" G_GUINT64_FORMAT,
                       h2k_le32 (h.blocks_allocated), check->allocated);
  return TRUE;
}

static int
vdi_probe (const guint8 *head, gsize length, const char *path)
{
  return length >= sizeof (VdiHeader) && h2k_le32 (head + 64) == MAGIC ? 100 : 0;
}

const H2kDiskFormat h2k_vdi_format = {"vdi", vdi_probe, vdi_open, vdi_check};
