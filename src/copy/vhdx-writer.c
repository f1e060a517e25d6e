/* vhdx-writer.c - dynamic VHDX outputs, after Microsoft's [MS-VHDX].
 *
 *   MiB 0: identifier, headers, region tables │ 1: log, empty │ 2: metadata │ 3: block table │
 * blocks
 *
 * A block gets its place when the disk's order comes to its first data; what of it is not written
 * is a hole of the file. Blocks of zeros have none. The first MiB comes last: until then the file
 * is no VHDX.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define KiB ((guint64)1 << 10)
#define MiB ((guint64)1 << 20)
#define GiB ((guint64)1 << 30)
#define TiB ((guint64)1 << 40)
#define SECTOR 512u
#define PHYSICAL_SECTOR 4096u /* what Hyper-V gives new disks */
#define MAX_SIZE (64 * TiB)
#define MAX_ENTRIES (2u << 20) /* of the block table, which is held in memory */

#define HEADER_AT (64 * KiB)
#define HEADER_SIZE (4 * KiB)
#define REGIONS_AT (192 * KiB)
#define REGIONS_SIZE (64 * KiB)
#define LOG_AT MiB
#define METADATA_AT (2 * MiB)
#define METADATA_ITEMS (64 * KiB) /* behind the table of them */
#define BAT_AT (3 * MiB)

#define BLOCK_ZERO 2u
#define BLOCK_PRESENT 6u
#define ITEM_DISK (1u << 1)
#define ITEM_REQUIRED (1u << 2)

typedef struct
{
  guint32 a;
  guint16 b, c;
  guint8 d[8];
} Guid;

typedef struct __attribute__ ((packed))
{
  char signature[4];    /* 0: "head" */
  guint32 checksum;     /* 4: CRC-32C of the 4 KiB, this being 0 */
  guint64 sequence;     /* 8 */
  guint8 file_guid[16]; /* 16: changes whenever the file does */
  guint8 data_guid[16]; /* 32: changes whenever what guests see does */
  guint8 log_guid[16];  /* 48: 0: the log is empty */
  guint16 log_version;  /* 64 */
  guint16 version;      /* 66 */
  guint32 log_length;   /* 68 */
  guint64 log_offset;   /* 72 */
} VhdxHeader;

G_STATIC_ASSERT (sizeof (VhdxHeader) == 80);

typedef struct __attribute__ ((packed))
{
  guint8 guid[16];  /* 0 */
  guint64 offset;   /* 16 */
  guint32 length;   /* 24 */
  guint32 required; /* 28 */
} VhdxRegion;

typedef struct __attribute__ ((packed))
{
  char signature[4];     /* 0: "regi" */
  guint32 checksum;      /* 4: of the 64 KiB */
  guint32 count;         /* 8 */
  guint32 reserved;      /* 12 */
  VhdxRegion regions[2]; /* 16 */
} VhdxRegions;

typedef struct __attribute__ ((packed))
{
  guint8 guid[16];  /* 0 */
  guint32 offset;   /* 16: in the metadata's region */
  guint32 length;   /* 20 */
  guint32 flags;    /* 24 */
  guint32 reserved; /* 28 */
} VhdxItem;

typedef struct
{
  H2kWriter parent;
  H2kOutput *output;
  GChecksum *identity;
  guint32 block;   /* bytes */
  guint64 blocks;  /* of the disk */
  guint64 ratio;   /* blocks between two entries for sector bitmaps */
  guint64 entries; /* of the table, bitmaps' included */
  guint64 *bat;    /* host order */
  guint64 data_at; /* where the blocks begin */
  guint64 next;    /* of the next block */
  guint64 end;     /* of what has data, so far */
} VhdxWriter;

static const Guid region_bat
    = {0x2dc27766, 0xf623, 0x4200, {0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}};
static const Guid region_metadata
    = {0x8b7ca206, 0x4790, 0x4b9a, {0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}};
static const Guid item_parameters
    = {0xcaa16737, 0xfa36, 0x4d43, {0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}};
static const Guid item_size
    = {0x2fa54224, 0xcd1b, 0x4876, {0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}};
static const Guid item_id
    = {0xbeca12ab, 0xb2e6, 0x4523, {0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46}};
static const Guid item_sector
    = {0x8141bf1d, 0xa96f, 0x4709, {0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f}};
static const Guid item_physical
    = {0xcda348c7, 0x445d, 0x4471, {0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56}};

/* --- creation --------------------------------------------------------------------------------- */

static const H2kOptionWord subformat_words[] = {{"dynamic", 0}, {NULL, 0}};
static const H2kFormatOption vhdx_options[]
    = {{"subformat", G_STRUCT_OFFSET (H2kOutputOptions, no_choice), subformat_words},
       {"block_size", G_STRUCT_OFFSET (H2kOutputOptions, block_size), NULL},
       {NULL, 0, NULL}};

/* As QEMU chooses them. */
static const struct
{
  guint64 up_to;
  guint32 block;
} block_sizes[]
    = {{GiB, 8u << 20}, {100 * GiB, 16u << 20}, {32 * TiB, 32u << 20}, {G_MAXUINT64, 64u << 20}};

static guint32
default_block (guint64 size)
{
  guint i = 0;

  while (size > block_sizes[i].up_to)
    i++;
  return block_sizes[i].block;
}

static gboolean
check_options (H2kOutput *output, GError **error)
{
  guint32 block = output->options.block_size;

  if (output->options.compression != H2K_COMPRESS_NONE)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "VHDXs cannot be compressed: leave out the compression");
  else if (block && (block < MiB || block > 256 * MiB || (block & (block - 1))))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "-o block_size=%u: choose a power of two from 1M to 256M", block);
  else if (output->size > MAX_SIZE)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "a disk of %" G_GUINT64_FORMAT " bytes is too large for a VHDX (64 TiB)",
                 output->size);
  else if (block && output->size / block > MAX_ENTRIES / 2)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "-o block_size=%u: too small for a disk of %" G_GUINT64_FORMAT " bytes", block,
                 output->size);
  else
    return TRUE;
  return FALSE;
}

static H2kWriter *
vhdx_create (H2kOutput *output, GError **error)
{
  VhdxWriter *w;

  if (!check_options (output, error))
    return NULL;
  output->size = MAX (output->size, SECTOR); /* a VHDX cannot be empty */
  w = g_new0 (VhdxWriter, 1);
  w->parent.ops = &h2k_vhdx_writer;
  w->parent.unit = H2K_IO_ALIGN;
  w->output = output;
  w->identity = g_checksum_new (G_CHECKSUM_SHA256);
  w->block = output->options.block_size ? output->options.block_size : default_block (output->size);
  w->blocks = (output->size + w->block - 1) / w->block;
  /* A bitmap of 1 MiB, one bit a sector. */
  w->ratio = (MiB * 8 * SECTOR) / w->block;
  w->entries = w->blocks ? w->blocks + (w->blocks - 1) / w->ratio : 0;
  w->bat = g_new0 (guint64, w->entries + 1);
  for (guint64 b = 0; b < w->blocks; b++)
    w->bat[b + b / w->ratio] = BLOCK_ZERO;
  w->data_at = BAT_AT + MAX ((w->entries * sizeof *w->bat + MiB - 1) / MiB, 1) * MiB;
  w->next = w->end = w->data_at;
  return &w->parent;
}

static void
vhdx_free (H2kWriter *writer)
{
  VhdxWriter *w = (VhdxWriter *)writer;

  g_checksum_free (w->identity);
  g_free (w->bat);
  g_free (w);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static gboolean
vhdx_prepare (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  h2k_raw_prepare (chunk, FALSE, FALSE);
  h2k_identity_prepare (chunk);
  return TRUE;
}

/* Where the block of the disk is in the file; it gets a place if it has none. */
static guint64
block_place (VhdxWriter *w, guint64 block)
{
  guint64 *entry = &w->bat[block + block / w->ratio];

  if (*entry == BLOCK_ZERO)
    {
      *entry = w->next | BLOCK_PRESENT;
      w->next += w->block;
    }
  return *entry & ~(MiB - 1);
}

/* What lies between the last data and UNTIL is a hole. In a file that an interrupted run left there
 * may be something else: that run may have had data there, or another block. */
static void
add_hole (VhdxWriter *w, GArray *segments, guint64 until)
{
  H2kSegment hole = {w->end, NULL, until - w->end};

  if (w->output->previous && hole.length)
    g_array_append_val (segments, hole);
  w->end = until;
}

/* The segments' offsets become those in the file, in which they ascend, too: blocks get their
 * places in the disk's order. One that goes over several blocks becomes several. */
static gboolean
vhdx_place (H2kWriter *writer, H2kChunk *chunk, GError **error)
{
  VhdxWriter *w = (VhdxWriter *)writer;
  GArray *segments = g_array_new (FALSE, FALSE, sizeof (H2kSegment));

  h2k_identity_place (w->identity, chunk);
  for (guint i = 0; i < chunk->segments->len; i++)
    {
      H2kSegment s = g_array_index (chunk->segments, H2kSegment, i);

      while (s.data && s.length)
        {
          guint64 within = s.offset % w->block;
          H2kSegment part = {block_place (w, s.offset / w->block) + within, s.data,
                             MIN (s.length, w->block - within)};

          add_hole (w, segments, part.offset);
          g_array_append_val (segments, part);
          w->end = part.offset + part.length;
          s.offset += part.length;
          s.data += part.length;
          s.length -= part.length;
        }
    }
  g_array_unref (chunk->segments);
  chunk->segments = segments;
  return TRUE;
}

/* --- the first MiBs --------------------------------------------------------------------------- */

static void
put_guid (guint8 *out, const Guid *guid)
{
  guint32 a = GUINT32_TO_LE (guid->a);
  guint16 b = GUINT16_TO_LE (guid->b), c = GUINT16_TO_LE (guid->c);

  memcpy (out, &a, 4);
  memcpy (out + 4, &b, 2);
  memcpy (out + 6, &c, 2);
  memcpy (out + 8, guid->d, 8);
}

/* The CRC-32C of LENGTH bytes goes to their checksum's place, which is 0 now. */
static void
put_checksum (guint8 *data, gsize length)
{
  guint32 sum = GUINT32_TO_LE (~h2k_crc32c (~0u, data, length));

  memcpy (data + G_STRUCT_OFFSET (VhdxHeader, checksum), &sum, sizeof sum);
}

static void
put_header (VhdxWriter *w, guint8 *out, guint64 sequence)
{
  VhdxHeader h = {
      .signature = {'h', 'e', 'a', 'd'},
      .sequence = GUINT64_TO_LE (sequence),
      .version = GUINT16_TO_LE (1),
      .log_length = GUINT32_TO_LE ((guint32)MiB),
      .log_offset = GUINT64_TO_LE (LOG_AT),
  };

  h2k_identity_uuid (w->identity, "file", w->output->size, h.file_guid);
  h2k_identity_uuid (w->identity, "data", w->output->size, h.data_guid);
  memcpy (out, &h, sizeof h);
  put_checksum (out, HEADER_SIZE);
}

static void
put_regions (VhdxWriter *w, guint8 *out)
{
  VhdxRegions r = {
      .signature = {'r', 'e', 'g', 'i'},
      .count = GUINT32_TO_LE (2),
      .regions = {{.offset = GUINT64_TO_LE (BAT_AT),
                   .length = GUINT32_TO_LE ((guint32)(w->data_at - BAT_AT)),
                   .required = GUINT32_TO_LE (1)},
                  {.offset = GUINT64_TO_LE (METADATA_AT),
                   .length = GUINT32_TO_LE ((guint32)MiB),
                   .required = GUINT32_TO_LE (1)}},
  };

  put_guid (r.regions[0].guid, &region_bat);
  put_guid (r.regions[1].guid, &region_metadata);
  memcpy (out, &r, sizeof r);
  put_checksum (out, REGIONS_SIZE);
}

static void
add_start (VhdxWriter *w, H2kChunk *chunk)
{
  static const char creator[] = "hyper2kvm";
  guint8 *out = h2k_chunk_add_buffer (chunk, MiB);

  memcpy (out, "vhdxfile", 8);
  for (gsize i = 0; i < sizeof creator - 1; i++)
    out[8 + 2 * i] = (guint8)creator[i]; /* UTF-16 */
  put_header (w, out + HEADER_AT, 1);
  put_header (w, out + 2 * HEADER_AT, 2);
  put_regions (w, out + REGIONS_AT);
  put_regions (w, out + REGIONS_AT + REGIONS_SIZE);
  h2k_chunk_add_segment (chunk, 0, out, MiB);
}

static void
add_metadata (VhdxWriter *w, H2kChunk *chunk)
{
  guint64 size = GUINT64_TO_LE (w->output->size);
  guint32 parameters[] = {GUINT32_TO_LE (w->block), 0};
  guint32 sector = GUINT32_TO_LE (SECTOR), physical = GUINT32_TO_LE (PHYSICAL_SECTOR);
  guint8 id[16], *out = h2k_chunk_add_buffer (chunk, 2 * METADATA_ITEMS);
  const struct
  {
    const Guid *guid;
    const void *data;
    guint32 length;
    guint32 flags;
  } items[] = {
      {&item_parameters, parameters, sizeof parameters, ITEM_REQUIRED},
      {&item_size, &size, sizeof size, ITEM_REQUIRED | ITEM_DISK},
      {&item_id, id, sizeof id, ITEM_REQUIRED | ITEM_DISK},
      {&item_sector, &sector, sizeof sector, ITEM_REQUIRED | ITEM_DISK},
      {&item_physical, &physical, sizeof physical, ITEM_REQUIRED | ITEM_DISK},
  };
  guint16 count = GUINT16_TO_LE (G_N_ELEMENTS (items));
  guint32 at = METADATA_ITEMS;

  h2k_identity_uuid (w->identity, "disk", w->output->size, id);
  memcpy (out, "metadata", 8);
  memcpy (out + 10, &count, sizeof count);
  for (guint i = 0; i < G_N_ELEMENTS (items); i++)
    {
      VhdxItem item = {.offset = GUINT32_TO_LE (at),
                       .length = GUINT32_TO_LE (items[i].length),
                       .flags = GUINT32_TO_LE (items[i].flags)};

      put_guid (item.guid, items[i].guid);
      memcpy (out + (i + 1) * sizeof item, &item, sizeof item);
      memcpy (out + at, items[i].data, items[i].length);
      at += items[i].length;
    }
  h2k_chunk_add_segment (chunk, METADATA_AT, out, 2 * METADATA_ITEMS);
}

static gboolean
vhdx_finish (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error)
{
  VhdxWriter *w = (VhdxWriter *)writer;
  gsize length = (gsize)(w->data_at - BAT_AT);
  guint64 *bat = (guint64 *)(void *)h2k_chunk_add_buffer (chunk, length);

  add_hole (w, chunk->segments, w->next);
  for (guint64 i = 0; i < w->entries; i++)
    bat[i] = GUINT64_TO_LE (w->bat[i]);
  h2k_chunk_add_segment (chunk, BAT_AT, bat, length);
  add_metadata (w, chunk);
  add_start (w, chunk);
  *file_length = w->next;
  return TRUE;
}

const H2kWriterOps h2k_vhdx_writer = {
    .format = "vhdx",
    .sinks = H2K_SINK_FILE | H2K_SINK_NBD,
    .options = vhdx_options,
    .create = vhdx_create,
    .prepare = vhdx_prepare,
    .place = vhdx_place,
    .finish = vhdx_finish,
    .free = vhdx_free,
};
