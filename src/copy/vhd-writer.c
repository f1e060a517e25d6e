/* vhd-writer.c - fixed VHD outputs, after Microsoft's "Virtual Hard Disk Image Format
 * Specification", such that Azure takes them: the disk as it is, whole MiB, and a footer.
 *
 * The footer has the disk's size twice, as bytes and as a geometry, which cannot express every
 * size. The geometry here is the one that the specification's algorithm gives. That the size
 * counts, as it does for Azure and Hyper-V, QEMU knows by the creator: it is the one that QEMU
 * itself writes with its option force_size.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define SECTOR 512u
#define MiB (1u << 20)
#define MAX_SIZE ((guint64)2040 << 30)
#define VHD_FEATURES 2 /* a bit that is always set */
#define VHD_VERSION 0x00010000
#define VHD_FIXED 2
#define VHD_MAX_CHS (65535ull * 16 * 255)

typedef struct __attribute__ ((packed))
{
  char cookie[8];          /* 0 */
  guint32 features;        /* 8 */
  guint32 version;         /* 12 */
  guint64 data_offset;     /* 16 */
  guint32 timestamp;       /* 24: seconds since 2000 */
  char creator[4];         /* 28 */
  guint32 creator_version; /* 32 */
  char creator_os[4];      /* 36 */
  guint64 original_size;   /* 40 */
  guint64 current_size;    /* 48 */
  guint16 cylinders;       /* 56 */
  guint8 heads;            /* 58 */
  guint8 sectors;          /* 59 */
  guint32 type;            /* 60 */
  guint32 checksum;        /* 64 */
  guint8 uuid[16];         /* 68 */
  guint8 saved_state;      /* 84 */
  guint8 reserved[427];    /* 85 */
} VhdFooter;

G_STATIC_ASSERT (sizeof (VhdFooter) == SECTOR);

typedef struct
{
  H2kWriter parent;
  H2kOutput *output;
  GChecksum *identity;
  guint64 end; /* of what was placed so far */
} VhdWriter;

static const H2kOptionWord subformat_words[] = {{"fixed", 0}, {NULL, 0}};
static const H2kOptionWord on_words[] = {{"on", 0}, {NULL, 0}};
static const H2kFormatOption vhd_options[]
    = {{"subformat", G_STRUCT_OFFSET (H2kOutputOptions, no_choice), subformat_words},
       {"force_size", G_STRUCT_OFFSET (H2kOutputOptions, no_choice), on_words},
       {NULL, 0, NULL}};

static H2kWriter *
vhd_create (H2kOutput *output, GError **error)
{
  VhdWriter *w;

  if (output->options.compression != H2K_COMPRESS_NONE)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                           "VHDs cannot be compressed: leave out the compression");
      return NULL;
    }
  if (output->size > MAX_SIZE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "a disk of %" G_GUINT64_FORMAT
                   " bytes is too large for a VHD (2040 GiB); choose vhdx",
                   output->size);
      return NULL;
    }
  output->size = MAX ((output->size + MiB - 1) / MiB, 1) * MiB;
  w = g_new0 (VhdWriter, 1);
  w->parent.ops = &h2k_vhd_writer;
  w->parent.unit = H2K_IO_ALIGN;
  w->parent.reserve = H2K_RESERVE_EXTENTS;
  w->parent.length = output->size + sizeof (VhdFooter);
  w->parent.fills = TRUE;
  w->output = output;
  w->identity = g_checksum_new (G_CHECKSUM_SHA256);
  return &w->parent;
}

static void
vhd_free (H2kWriter *writer)
{
  g_checksum_free (((VhdWriter *)writer)->identity);
  g_free (writer);
}

static gboolean
vhd_prepare (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  h2k_raw_prepare (chunk, ((VhdWriter *)writer)->output->dense, FALSE);
  h2k_identity_prepare (chunk);
  return TRUE;
}

static gboolean
vhd_place (H2kWriter *writer, H2kChunk *chunk, GError **error)
{
  VhdWriter *w = (VhdWriter *)writer;

  h2k_raw_fill_gap (w->output, chunk, &w->end, chunk->offset);
  h2k_identity_place (w->identity, chunk);
  return TRUE;
}

/* The specification's appendix "CHS calculation". */
static void
set_geometry (VhdFooter *footer, guint64 total)
{
  guint64 spt = 17, heads, tracks;

  total = MIN (total, VHD_MAX_CHS);
  tracks = total / spt;
  heads = MAX ((tracks + 1023) / 1024, 4);
  if (total >= 65535ull * 16 * 63)
    {
      spt = 255;
      heads = 16;
      tracks = total / spt;
    }
  else if (tracks >= heads * 1024 || heads > 16)
    {
      spt = 31;
      heads = 16;
      tracks = total / spt;
      if (tracks >= heads * 1024)
        {
          spt = 63;
          tracks = total / spt;
        }
    }
  footer->cylinders = GUINT16_TO_BE ((guint16)(tracks / heads));
  footer->heads = (guint8)heads;
  footer->sectors = (guint8)spt;
}

static gboolean
vhd_finish (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error)
{
  VhdWriter *w = (VhdWriter *)writer;
  guint64 size = w->output->size;
  VhdFooter *f = (VhdFooter *)(void *)h2k_chunk_add_buffer (chunk, sizeof *f);
  guint32 sum = 0;

  *f = (VhdFooter){
      .cookie = "conectix",
      .features = GUINT32_TO_BE (VHD_FEATURES),
      .version = GUINT32_TO_BE (VHD_VERSION),
      .data_offset = G_MAXUINT64,
      .creator = {'q', 'e', 'm', '2'},
      .creator_version = GUINT32_TO_BE (0x00050003),
      .creator_os = {'W', 'i', '2', 'k'},
      .original_size = GUINT64_TO_BE (size),
      .current_size = GUINT64_TO_BE (size),
      .type = GUINT32_TO_BE (VHD_FIXED),
  };
  set_geometry (f, size / SECTOR);
  h2k_identity_uuid (w->identity, "vhd", size, f->uuid);
  for (gsize i = 0; i < sizeof *f; i++)
    sum += ((const guint8 *)f)[i];
  f->checksum = GUINT32_TO_BE (~sum);
  h2k_raw_fill_gap (w->output, chunk, &w->end, size);
  h2k_chunk_add_segment (chunk, size, f, sizeof *f);
  *file_length = size + sizeof *f;
  return TRUE;
}

const H2kWriterOps h2k_vhd_writer = {
    .format = "vhd",
    .alias = "vpc",
    .sinks = H2K_SINK_FILE | H2K_SINK_PIPE | H2K_SINK_NBD,
    .options = vhd_options,
    .create = vhd_create,
    .prepare = vhd_prepare,
    .place = vhd_place,
    .finish = vhd_finish,
    .free = vhd_free,
};
