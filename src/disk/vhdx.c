/* vhdx.c - Hyper-V's VHDX images for reading: fixed, dynamic and differencing ones.
 *
 * Follows [MS-VHDX]. A log that was not played into the file is played over it (vhdx-log.c), and
 * everything but the headers is read through that. Blocks in the states that leave their content
 * open (not present, undefined, unmapped) read as zeros, as in QEMU.
 *
 * Block allocation table and sector bitmaps are read by pages, of which a bounded number is cached:
 * the table of the largest disk has 512 MiB. No lock is held while anything is read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vhdx.h"

#define MIB H2K_VHDX_MIB
#define MAX_DISK ((guint64)64 << 40)
#define BITMAP_SECTORS ((guint64)1 << 23) /* that a sector bitmap block of 1 MiB describes */
#define MAX_ENTRIES 2047                  /* of the region table and the metadata table */
#define HEADER_BYTES 4096
#define PAGE ((guint64)16384)       /* of the BAT and of bitmaps, read and cached at once */
#define PAGE_CACHE ((gsize)2 << 20) /* bytes */
#define MAX_STEPS 4096u             /* of a run: blocks, stretches of a bitmap, pages of blocks */
#define MAX_PIECES 16               /* of an extent that the host's file is asked about */

/* All numbers are little-endian; GUIDs are as Windows has them in memory. */
typedef struct __attribute__ ((packed))
{
  guint8 signature[4];         /* 0: "head" */
  guint8 checksum[4];          /* 4: CRC-32C of the 4 KiB */
  guint8 sequence_number[8];   /* 8 */
  H2kVhdxGuid file_write_guid; /* 16 */
  H2kVhdxGuid data_write_guid; /* 32 */
  H2kVhdxGuid log_guid;        /* 48: zero: there is nothing to replay */
  guint8 log_version[2];       /* 64 */
  guint8 version[2];           /* 66 */
  guint8 log_length[4];        /* 68 */
  guint8 log_offset[8];        /* 72 */
  guint8 reserved[4016];       /* 80 */
} VhdxHeader;
G_STATIC_ASSERT (sizeof (VhdxHeader) == HEADER_BYTES);

typedef struct __attribute__ ((packed))
{
  guint8 signature[4];   /* 0: "regi" */
  guint8 checksum[4];    /* 4: CRC-32C of the 64 KiB */
  guint8 entry_count[4]; /* 8 */
  guint8 reserved[4];    /* 12 */
} RegionHeader;
G_STATIC_ASSERT (sizeof (RegionHeader) == 16);

typedef struct __attribute__ ((packed))
{
  H2kVhdxGuid guid;      /* 0 */
  guint8 file_offset[8]; /* 16 */
  guint8 length[4];      /* 24 */
  guint8 required[4];    /* 28 */
} RegionEntry;
G_STATIC_ASSERT (sizeof (RegionEntry) == 32);

typedef struct __attribute__ ((packed))
{
  guint8 signature[8];   /* 0: "metadata" */
  guint8 reserved[2];    /* 8 */
  guint8 entry_count[2]; /* 10 */
  guint8 reserved2[20];  /* 12 */
} MetadataHeader;
G_STATIC_ASSERT (sizeof (MetadataHeader) == 32);

typedef struct __attribute__ ((packed))
{
  H2kVhdxGuid item_id; /* 0 */
  guint8 offset[4];    /* 16: in the region */
  guint8 length[4];    /* 20 */
  guint8 flags[4];     /* 24 */
  guint8 reserved2[4]; /* 28 */
} MetadataEntry;
G_STATIC_ASSERT (sizeof (MetadataEntry) == 32);

#define ITEM_IS_USER 1u
#define ITEM_IS_REQUIRED 4u

#define PARAMETER_LEAVE_ALLOCATED 1u
#define PARAMETER_HAS_PARENT 2u

static const H2kVhdxGuid bat_region
    = H2K_VHDX_GUID (0x2dc27766, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
static const H2kVhdxGuid metadata_region
    = H2K_VHDX_GUID (0x8b7ca206, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
typedef enum
{
  ITEM_PARAMETERS,
  ITEM_DISK_SIZE,
  ITEM_DISK_ID,
  ITEM_LOGICAL_SECTOR,
  ITEM_PHYSICAL_SECTOR,
  ITEM_LOCATOR,
  N_ITEMS,
} ItemId;

static const struct
{
  H2kVhdxGuid guid;
  guint32 length; /* at least */
  const char *name;
} known_items[N_ITEMS] = {
    [ITEM_PARAMETERS]
    = {H2K_VHDX_GUID (0xcaa16737, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b),
       8, "file parameters"},
    [ITEM_DISK_SIZE]
    = {H2K_VHDX_GUID (0x2fa54224, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8),
       8, "virtual disk size"},
    [ITEM_DISK_ID]
    = {H2K_VHDX_GUID (0xbeca12ab, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46),
       16, "virtual disk id"},
    [ITEM_LOGICAL_SECTOR]
    = {H2K_VHDX_GUID (0x8141bf1d, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f),
       4, "logical sector size"},
    [ITEM_PHYSICAL_SECTOR]
    = {H2K_VHDX_GUID (0xcda348c7, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56),
       4, "physical sector size"},
    [ITEM_LOCATOR]
    = {H2K_VHDX_GUID (0xa8d35f2d, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c),
       20, "parent locator"},
};

/* Where the metadata items are in the file; length 0: absent. */
typedef struct
{
  H2kVhdxRange items[N_ITEMS];
} Metadata;

typedef enum
{
  KIND_PARENT,
  KIND_UNALLOCATED,
  KIND_ZERO,
  KIND_DATA,
} Kind;

/* What stands for a stretch of the disk. */
typedef struct
{
  Kind kind;
  guint64 host; /* data: offset in the file */
  guint64 end;  /* on the disk */
} Piece;

/* The page that was looked at last, so that the cache is not asked for every entry. */
typedef struct
{
  guint64 number;
  GBytes *bytes; /* NULL: none yet */
} Cursor;

static void
clear_cursor (Cursor *cursor)
{
  g_bytes_unref (cursor->bytes);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Cursor, clear_cursor)

#define set_corrupt(error, ...) h2k_set_corrupt (error, "VHDX", __VA_ARGS__)

/* --- the mapping ------------------------------------------------------------------------------ */

/* LENGTH bytes at OFFSET of the file, which lie in one page, by way of CURSOR. */
static const guint8 *
peek (H2kVhdx *v, Cursor *cursor, guint64 offset, GError **error)
{
  guint64 number = offset / PAGE;
  gsize length = (gsize)MIN (PAGE, v->file->size - number * PAGE);
  g_autofree guint8 *data = NULL;

  if (!cursor->bytes || cursor->number != number)
    {
      g_clear_pointer (&cursor->bytes, g_bytes_unref);
      cursor->number = number;
      cursor->bytes = h2k_cache_get (v->pages, number);
    }
  if (!cursor->bytes)
    {
      data = g_malloc (length);
      if (!h2k_file_pread (v->file, number * PAGE, length, data, error))
        return NULL;
      cursor->bytes = g_bytes_new_take (g_steal_pointer (&data), length);
      h2k_cache_put (v->pages, number, cursor->bytes);
    }
  return (const guint8 *)g_bytes_get_data (cursor->bytes, NULL) + offset % PAGE;
}

/* Check that LENGTH bytes at HOST are there for what WHAT and NUMBER say. */
static gboolean
check_place (const H2kVhdx *v, const char *what, guint64 number, guint64 host, guint64 length,
             GError **error)
{
  const H2kVhdxRange range = {host, length};

  if (host > v->file->size || length > v->file->size - host)
    return set_corrupt (error, v->disk.name,
                        "the %s %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                        " does not lie within the file, which ends at %" G_GUINT64_FORMAT
                        " (truncated?)",
                        what, number, host, v->file->size);
  if (host < MIB || h2k_vhdx_overlaps (&range, &v->log) || h2k_vhdx_overlaps (&range, &v->bat)
      || h2k_vhdx_overlaps (&range, &v->metadata))
    return set_corrupt (error, v->disk.name,
                        "the %s %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                        " overlaps the headers, the log or a region",
                        what, number, host);
  return TRUE;
}

/* The BAT's entry INDEX. */
static gboolean
get_entry (H2kVhdx *v, Cursor *cursor, guint64 index, guint64 *entry, GError **error)
{
  const guint8 *data = peek (v, cursor, v->bat.offset + index * 8, error);

  if (data)
    *entry = h2k_le64 (data);
  return data != NULL;
}

/* How many bits from FIRST on are like it, LIMIT at the most; MAP holds them, the lowest first. */
static guint64
count_like (const guint8 *map, guint64 first, guint64 limit)
{
  gboolean set = map[first / 8] >> first % 8 & 1;
  guint8 full = set ? 0xff : 0;
  guint64 at = first;

  while (at < limit)
    {
      if (at % 8 == 0 && limit - at >= 8 && map[at / 8] == full)
        at += 8;
      else if ((map[at / 8] >> at % 8 & 1) == set)
        at++;
      else
        break;
    }
  return at - first;
}

/* OFFSET lies in a block that is present in part: narrow PIECE down to the sectors that the bitmap
 * gives to the same side as OFFSET's. */
static gboolean
consult_bitmap (H2kVhdx *v, guint64 offset, Piece *piece, GError **error)
{
  guint64 sector = offset / v->disk.sector_size, chunk = sector / BITMAP_SECTORS;
  guint64 bit = sector % BITMAP_SECTORS, page_bits = PAGE * 8, in_page = bit % page_bits;
  guint64 index = (chunk << v->ratio_bits) + chunk + ((guint64)1 << v->ratio_bits);
  guint64 entry, last, count;
  g_auto (Cursor) bat = {0}, bitmap = {0};
  const guint8 *map;

  if (!get_entry (v, &bat, index, &entry, error))
    return FALSE;
  if ((entry & 7) != H2K_VHDX_FULLY_PRESENT)
    return set_corrupt (error, v->disk.name,
                        "the sector bitmap block %" G_GUINT64_FORMAT
                        " is missing, but a block needs it",
                        chunk);
  if (!check_place (v, "sector bitmap block", chunk, h2k_vhdx_entry_host (entry), MIB, error))
    return FALSE;
  map = peek (v, &bitmap, h2k_vhdx_entry_host (entry) + bit / page_bits * PAGE, error);
  if (!map)
    return FALSE;
  last = (piece->end - 1) / v->disk.sector_size - sector; /* the last one, counted from SECTOR */
  count = count_like (map, in_page, MIN (page_bits, in_page + last + 1));
  piece->end = MIN (piece->end, (sector + count) * v->disk.sector_size);
  if (!(map[in_page / 8] >> in_page % 8 & 1))
    piece->kind = KIND_PARENT;
  return TRUE;
}

/* How many blocks from BLOCK on are in STATE, as far as the page goes that CURSOR is at: one step
 * for the whole page of an empty disk's table. */
static guint64
count_blocks (const H2kVhdx *v, const Cursor *cursor, guint64 block, guint state)
{
  guint64 ratio = (guint64)1 << v->ratio_bits, last = (v->disk.size - 1) / v->block_size;
  guint64 index = block + (block >> v->ratio_bits), in_page = index % (PAGE / 8);
  guint64 most = MIN (MIN (PAGE / 8 - in_page, ratio - block % ratio), last - block + 1);
  const guint8 *first = (const guint8 *)g_bytes_get_data (cursor->bytes, NULL) + in_page * 8;
  guint64 n = 1;

  if (memcmp (first, first + 8, (most - 1) * 8) == 0) /* all are alike */
    return most;
  while (n < most && (first[n * 8] & 7u) == state) /* in the lowest bits of the first byte */
    n++;
  return n;
}

/* What stands for the disk from OFFSET on: the rest of its block, a part of that, or some blocks of
 * which none is in the file. */
static gboolean
find_piece (H2kVhdx *v, Cursor *cursor, guint64 offset, Piece *piece, GError **error)
{
  static const Kind kinds[8] = {
      [H2K_VHDX_NOT_PRESENT] = KIND_UNALLOCATED,
      [H2K_VHDX_UNDEFINED] = KIND_UNALLOCATED,
      [H2K_VHDX_ZERO] = KIND_ZERO,
      [H2K_VHDX_UNMAPPED] = KIND_UNALLOCATED,
      [H2K_VHDX_FULLY_PRESENT] = KIND_DATA,
      [H2K_VHDX_PARTIALLY_PRESENT] = KIND_DATA,
  };
  guint64 block = offset / v->block_size, start = block * v->block_size, entry;
  guint state;

  if (!get_entry (v, cursor, block + (block >> v->ratio_bits), &entry, error))
    return FALSE;
  state = entry & 7;
  piece->kind = kinds[state];
  piece->host = h2k_vhdx_entry_host (entry) + (offset - start);
  piece->end = start + v->block_size;
  if (kinds[state] != KIND_DATA)
    piece->end = start + count_blocks (v, cursor, block, state) * v->block_size;
  piece->end = MIN (piece->end, v->disk.size);
  if (state == H2K_VHDX_NOT_PRESENT && v->has_parent)
    piece->kind = KIND_PARENT;
  if (state == 4 || state == 5 || (state == H2K_VHDX_PARTIALLY_PRESENT && !v->has_parent))
    return set_corrupt (error, v->disk.name,
                        "block %" G_GUINT64_FORMAT " is in state %u, which is impossible here",
                        block, state);
  if (piece->kind == KIND_DATA
      && !check_place (v, "block", block, h2k_vhdx_entry_host (entry), piece->end - start, error))
    return FALSE;
  return state != H2K_VHDX_PARTIALLY_PRESENT || consult_bitmap (v, offset, piece, error);
}

/* What stands for the disk from OFFSET on, LIMIT at the most, as far as it is of one kind and, for
 * data, in one piece in the file. Trouble behind the first block ends that, it is no error yet. */
static gboolean
find_run (H2kVhdx *v, guint64 offset, guint64 limit, Piece *run, GError **error)
{
  g_auto (Cursor) cursor = {0};
  Piece next;

  if (!find_piece (v, &cursor, offset, run, error))
    return FALSE;
  for (guint64 i = 1; i < MAX_STEPS && run->end < limit; i++)
    {
      g_autoptr (GError) later = NULL;

      if (!find_piece (v, &cursor, run->end, &next, &later) || next.kind != run->kind
          || (run->kind == KIND_DATA && next.host != run->host + (run->end - offset)))
        break;
      run->end = next.end;
    }
  run->end = MIN (run->end, limit);
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
vhdx_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  H2kVhdx *v = (H2kVhdx *)disk;
  guint64 limit = offset + length;
  guint8 *out = buffer;
  gboolean ok = TRUE;

  while (ok && offset < limit)
    {
      Piece run;
      gsize n;

      if (!find_run (v, offset, limit, &run, error))
        return FALSE;
      n = (gsize)(run.end - offset);
      if (run.kind == KIND_DATA)
        ok = h2k_file_pread (v->file, run.host, n, out, error);
      else if (run.kind == KIND_PARENT)
        ok = h2k_disk_pread_or_zero (disk->backing, offset, n, out, error);
      else
        memset (out, 0, n);
      offset = run.end;
      out += n;
    }
  return ok;
}

/* One piece of an extent: a run, or a part of it that the parent or the host's file (which may have
 * holes) tells apart. */
static gboolean
find_extent (H2kVhdx *v, guint64 offset, H2kExtent *extent, GError **error)
{
  H2kDisk *parent = v->disk.backing;
  H2kExtent host;
  Piece run;

  if (!find_run (v, offset, v->disk.size, &run, error))
    return FALSE;
  *extent = (H2kExtent){offset, run.end - offset, H2K_EXTENT_UNALLOCATED};
  if (run.kind == KIND_ZERO)
    extent->kind = H2K_EXTENT_ZERO;
  else if (run.kind == KIND_DATA)
    {
      if (!h2k_file_extent (v->file, run.host, &host, error))
        return FALSE;
      extent->kind = host.kind;
      extent->length = MIN (extent->length, host.length);
    }
  else if (run.kind == KIND_PARENT && offset < parent->size)
    return h2k_disk_extent (parent, offset, MIN (run.end, parent->size), extent, error);
  return TRUE;
}

static gboolean
vhdx_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  H2kVhdx *v = (H2kVhdx *)disk;

  if (!find_extent (v, offset, extent, error))
    return FALSE;
  for (guint i = 1; i < MAX_PIECES && extent->length < disk->size - offset; i++)
    {
      g_autoptr (GError) later = NULL; /* for those who ask about it */
      H2kExtent next;

      if (!find_extent (v, offset + extent->length, &next, &later) || next.kind != extent->kind)
        break;
      extent->length += next.length;
    }
  return TRUE;
}

static void
vhdx_finalize (H2kDisk *disk)
{
  H2kVhdx *v = (H2kVhdx *)disk;

  h2k_file_unref (v->file);
  h2k_cache_free (v->pages);
}

static const H2kDiskOps vhdx_ops = {
    .pread = vhdx_pread,
    .extent = vhdx_extent,
    .finalize = vhdx_finalize,
};

/* --- headers ------------------------------------------------------------------------------- */

char *
h2k_vhdx_guid_to_text (const H2kVhdxGuid *guid)
{
  const guint8 *b = guid->bytes;

  return g_strdup_printf ("{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}", h2k_le32 (b),
                          h2k_le16 (b + 4), h2k_le16 (b + 6), b[8], b[9], b[10], b[11], b[12],
                          b[13], b[14], b[15]);
}

gboolean
h2k_vhdx_is_intact (const void *data, gsize length, const char *signature)
{
  const guint8 *bytes = data;

  return memcmp (bytes, signature, 4) == 0 && ~h2k_vhdx_crc (bytes, length) == h2k_le32 (bytes + 4);
}

/* Choose the current one of the two headers. Disk2vhd writes the same one twice, which the
 * specification does not foresee. */
static gboolean
choose_header (H2kFile *file, VhdxHeader *header, GError **error)
{
  g_autofree VhdxHeader *other = g_new (VhdxHeader, 1);
  gboolean first, second;
  guint64 number, other_number;

  if (!h2k_file_pread (file, H2K_VHDX_TABLE_BYTES, sizeof *header, header, error)
      || !h2k_file_pread (file, 2 * H2K_VHDX_TABLE_BYTES, sizeof *other, other, error))
    return FALSE;
  first = h2k_vhdx_is_intact (header, sizeof *header, "head");
  second = h2k_vhdx_is_intact (other, sizeof *other, "head");
  number = h2k_le64 (header->sequence_number);
  other_number = h2k_le64 (other->sequence_number);
  if (!first && !second)
    return set_corrupt (error, file->name, "both headers are damaged");
  if (first && second && number == other_number && memcmp (header, other, sizeof *other) != 0)
    return set_corrupt (error, file->name, "two different headers have the same sequence number");
  if (!first || !second)
    g_message ("%s: one of the two headers is damaged; the other one is used", file->name);
  if (!first || (second && other_number > number))
    *header = *other;
  return TRUE;
}

/* Check HEADER, and replay the log if there is one to replay. */
static gboolean
read_log (H2kVhdx *v, const VhdxHeader *header, H2kFile *file, GError **error)
{
  static const H2kVhdxGuid none = {{0}};
  gboolean dirty = !h2k_vhdx_guid_equal (&header->log_guid, &none);
  guint version = h2k_le16 (header->version), log_version = h2k_le16 (header->log_version);

  v->log = (H2kVhdxRange){h2k_le64 (header->log_offset), h2k_le32 (header->log_length)};
  v->data_write_guid = header->data_write_guid;
  if (version != 1 || (dirty && log_version != 0))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the VHDX image is of version %u, and its log of version %u; only 1 and 0 "
                   "are known",
                   file->name, version, log_version);
      return FALSE;
    }
  if (v->log.offset % MIB || v->log.length % MIB || v->log.offset > G_MAXINT64
      || (v->log.length && v->log.offset < MIB))
    return set_corrupt (error, file->name, "the log's place is impossible");
  v->file = dirty ? h2k_vhdx_log_replay (file, v->log.offset, (guint32)v->log.length,
                                         &header->log_guid, error)
                  : h2k_file_ref (file);
  return v->file != NULL;
}

/* --- regions ---------------------------------------------------------------------------------- */

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const H2kVhdxRange *x = a, *y = b;

  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Take in the region that ENTRY describes. */
static gboolean
add_region (H2kVhdx *v, const RegionEntry *entry, GArray *ranges, GError **error)
{
  H2kVhdxRange range = {h2k_le64 (entry->file_offset), h2k_le32 (entry->length)};
  H2kVhdxRange *known = h2k_vhdx_guid_equal (&entry->guid, &bat_region)        ? &v->bat
                        : h2k_vhdx_guid_equal (&entry->guid, &metadata_region) ? &v->metadata
                                                                               : NULL;
  g_autofree char *guid = h2k_vhdx_guid_to_text (&entry->guid);

  if (!known && h2k_le32 (entry->required) & 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the VHDX image needs the region %s, which is not known here", v->file->name,
                   guid);
      return FALSE;
    }
  if (range.offset < MIB || range.offset % MIB || range.length % MIB || range.length == 0
      || range.offset > G_MAXINT64 || (known && known->length))
    return set_corrupt (error, v->file->name, "the region %s is listed twice or impossible", guid);
  if (known && (range.offset > v->file->size || range.length > v->file->size - range.offset))
    return set_corrupt (error, v->file->name,
                        "the region %s does not lie within the file (truncated?)", guid);
  if (known)
    *known = range;
  g_array_append_val (ranges, range);
  return TRUE;
}

static gboolean
parse_regions (H2kVhdx *v, const guint8 *table, GError **error)
{
  g_autoptr (GArray) ranges = g_array_new (FALSE, FALSE, sizeof (H2kVhdxRange));
  guint32 count = h2k_le32 (((const RegionHeader *)table)->entry_count);
  const RegionEntry *entries = (const RegionEntry *)(table + sizeof (RegionHeader));

  if (count > MAX_ENTRIES)
    return set_corrupt (error, v->file->name, "the region table has %u entries", count);
  for (guint32 i = 0; i < count; i++)
    if (!add_region (v, &entries[i], ranges, error))
      return FALSE;
  if (!v->bat.length || !v->metadata.length)
    return set_corrupt (error, v->file->name, "the %s region is missing",
                        v->bat.length ? "metadata" : "block allocation table's");
  if (v->log.length)
    g_array_append_val (ranges, v->log);
  g_array_sort (ranges, compare_ranges);
  for (guint i = 1; i < ranges->len; i++)
    if (h2k_vhdx_overlaps (&g_array_index (ranges, H2kVhdxRange, i - 1),
                           &g_array_index (ranges, H2kVhdxRange, i)))
      return set_corrupt (error, v->file->name, "two regions, or one and the log, overlap");
  return TRUE;
}

static gboolean
read_regions (H2kVhdx *v, GError **error)
{
  g_autofree guint8 *table = g_malloc (H2K_VHDX_TABLE_BYTES);

  for (guint i = 3; i <= 4; i++)
    {
      if (!h2k_file_pread (v->file, i * H2K_VHDX_TABLE_BYTES, H2K_VHDX_TABLE_BYTES, table, error))
        return FALSE;
      if (h2k_vhdx_is_intact (table, H2K_VHDX_TABLE_BYTES, "regi"))
        return parse_regions (v, table, error);
      if (i == 3)
        g_message ("%s: the region table is damaged; its copy is used", v->file->name);
    }
  return set_corrupt (error, v->file->name, "both copies of the region table are damaged");
}

/* --- metadata --------------------------------------------------------------------------------- */

static gboolean
add_item (const H2kVhdx *v, const MetadataEntry *entry, Metadata *metadata, GError **error)
{
  guint32 offset = h2k_le32 (entry->offset), length = h2k_le32 (entry->length);
  guint32 flags = h2k_le32 (entry->flags), id = 0;
  g_autofree char *guid = h2k_vhdx_guid_to_text (&entry->item_id);

  while (id < N_ITEMS
         && (flags & ITEM_IS_USER || !h2k_vhdx_guid_equal (&entry->item_id, &known_items[id].guid)))
    id++;
  if (id == N_ITEMS && flags & ITEM_IS_REQUIRED)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the VHDX image needs the metadata item %s, which is not known here",
                   v->file->name, guid);
      return FALSE;
    }
  if (length ? offset < H2K_VHDX_TABLE_BYTES || length > MIB || offset > v->metadata.length
                   || length > v->metadata.length - offset
             : offset != 0)
    return set_corrupt (error, v->file->name, "the metadata item %s is not within its region",
                        guid);
  if (id == N_ITEMS)
    return TRUE;
  if (metadata->items[id].length || length < known_items[id].length)
    return set_corrupt (error, v->file->name, "the %s is listed twice or too short",
                        known_items[id].name);
  metadata->items[id] = (H2kVhdxRange){v->metadata.offset + offset, length};
  return TRUE;
}

static gboolean
read_metadata_table (const H2kVhdx *v, Metadata *metadata, GError **error)
{
  g_autofree guint8 *table = g_malloc (H2K_VHDX_TABLE_BYTES);
  const MetadataHeader *header = (const MetadataHeader *)table;
  const MetadataEntry *entries = (const MetadataEntry *)(table + sizeof *header);
  guint count;

  if (!h2k_file_pread (v->file, v->metadata.offset, H2K_VHDX_TABLE_BYTES, table, error))
    return FALSE;
  count = h2k_le16 (header->entry_count);
  if (memcmp (header->signature, "metadata", 8) != 0 || count > MAX_ENTRIES)
    return set_corrupt (error, v->file->name, "the metadata table is damaged");
  for (guint i = 0; i < count; i++)
    if (!add_item (v, &entries[i], metadata, error))
      return FALSE;
  for (guint i = 0; i < N_ITEMS; i++)
    if (i != ITEM_LOCATOR && !metadata->items[i].length)
      return set_corrupt (error, v->file->name, "the %s is missing", known_items[i].name);
  return TRUE;
}

static gboolean
is_sector_size (guint32 size)
{
  return size == 512 || size == 4096;
}

/* The disk's geometry. */
static gboolean
read_parameters (H2kVhdx *v, const Metadata *metadata, GError **error)
{
  guint8 raw[ITEM_LOCATOR][8] = {{0}};
  guint32 flags, logical, physical;
  guint64 size;

  for (guint i = 0; i < ITEM_LOCATOR; i++)
    if (!h2k_file_pread (v->file, metadata->items[i].offset, MIN (8, known_items[i].length), raw[i],
                         error))
      return FALSE;
  v->block_size = h2k_le32 (raw[ITEM_PARAMETERS]);
  flags = h2k_le32 (raw[ITEM_PARAMETERS] + 4);
  size = h2k_le64 (raw[ITEM_DISK_SIZE]);
  logical = h2k_le32 (raw[ITEM_LOGICAL_SECTOR]);
  physical = h2k_le32 (raw[ITEM_PHYSICAL_SECTOR]);
  if (v->block_size < MIB || v->block_size > 256 * MIB || v->block_size & (v->block_size - 1))
    return set_corrupt (error, v->file->name, "blocks of %u bytes are impossible", v->block_size);
  if (!is_sector_size (logical) || !is_sector_size (physical))
    return set_corrupt (error, v->file->name, "sectors of %u bytes (physical: %u) are impossible",
                        logical, physical);
  if (size == 0 || size > MAX_DISK || size % logical)
    return set_corrupt (error, v->file->name, "a disk of %" G_GUINT64_FORMAT " bytes is impossible",
                        size);
  v->has_parent = flags & PARAMETER_HAS_PARENT;
  v->disk.size = size;
  v->disk.sector_size = logical;
  v->disk.subformat = g_strdup (v->has_parent                       ? "differencing"
                                : flags & PARAMETER_LEAVE_ALLOCATED ? "fixed"
                                                                    : "dynamic");
  v->ratio_bits = (guint)(g_bit_storage (BITMAP_SECTORS * logical) - g_bit_storage (v->block_size));
  return TRUE;
}

/* The table has to reach the last block, and in a differencing disk the bitmap block behind it. */
static gboolean
check_bat (const H2kVhdx *v, GError **error)
{
  guint64 last = (v->disk.size - 1) / v->block_size, chunk = last >> v->ratio_bits;
  guint64 entries
      = v->has_parent ? (chunk + 1) * (((guint64)1 << v->ratio_bits) + 1) : last + chunk + 1;

  return entries <= v->bat.length / 8
         || set_corrupt (error, v->file->name,
                         "the block allocation table has room for %" G_GUINT64_FORMAT
                         " entries, and the disk needs %" G_GUINT64_FORMAT,
                         v->bat.length / 8, entries);
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
check_identifier (H2kFile *file, GError **error)
{
  guint8 signature[8];

  if (file->size >= sizeof signature
      && !h2k_file_pread (file, 0, sizeof signature, signature, error))
    return FALSE;
  if (file->size >= sizeof signature && memcmp (signature, "vhdxfile", 8) == 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: is not a VHDX image", file->name);
  return FALSE;
}

H2kDisk *
h2k_vhdx_open_alone (H2kFile *file, H2kVhdxRange *locator, GError **error)
{
  g_autofree VhdxHeader *header = g_new (VhdxHeader, 1);
  g_autoptr (H2kDisk) disk = (H2kDisk *)g_new0 (H2kVhdx, 1);
  H2kVhdx *v = (H2kVhdx *)disk;
  Metadata metadata = {0};

  h2k_disk_init (disk, &vhdx_ops, 0, "vhdx", file->path);
  g_ptr_array_add (disk->files, g_strdup (file->path));
  v->pages = h2k_cache_new (PAGE_CACHE);
  if (!check_identifier (file, error) || !choose_header (file, header, error)
      || !read_log (v, header, file, error) || !read_regions (v, error)
      || !read_metadata_table (v, &metadata, error) || !read_parameters (v, &metadata, error)
      || !check_bat (v, error))
    return NULL;
  *locator = metadata.items[ITEM_LOCATOR];
  return g_steal_pointer (&disk);
}

static H2kDisk *
vhdx_open (H2kFile *file, GError **error)
{
  H2kVhdxRange locator;
  g_autoptr (H2kDisk) disk = h2k_vhdx_open_alone (file, &locator, error);

  return disk && h2k_vhdx_open_parent ((H2kVhdx *)disk, &locator, error) ? g_steal_pointer (&disk)
                                                                         : NULL;
}

/* A file called .vhdx is claimed whatever it holds, so that a damaged one is not taken for a raw
 * disk. */
static int
vhdx_probe (const guint8 *head, gsize length, const char *path)
{
  if (length >= 8 && memcmp (head, "vhdxfile", 8) == 0)
    return 100;
  return path && g_regex_match_simple ("\\.a?vhdx$", path, G_REGEX_CASELESS | G_REGEX_RAW, 0)
             ? 2 /* raw is sure by 1 */
             : 0;
}

const H2kDiskFormat h2k_vhdx_format = {"vhdx", vhdx_probe, vhdx_open, h2k_vhdx_check};
