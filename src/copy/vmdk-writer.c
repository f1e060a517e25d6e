/* vmdk-writer.c - stream-optimised VMDK outputs, after VMware's "Virtual Disk Format 5.0".
 *
 * This is what OVF templates hold and what ESXi, vSphere and ovftool import. The file is written
 * from its start to its end, each byte once:
 *
 *   header, descriptor │ grain … grain │ marker, grain table │ grain … │ marker, directory │
 *   marker, footer │ end of stream
 *
 * A grain is 64 KiB of the disk as a zlib stream behind its own number and length; grains of zeros
 * are left out. The table of 512 grains follows them. Since the directory's place is not known at
 * the start, the header says that it is in the footer, which is a copy of the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <libdeflate.h>

#define SECTOR 512u
#define GRAIN (64u << 10)
#define GRAIN_SECTORS (GRAIN / SECTOR)
#define GTES 512u                        /* grains of a table */
#define OVERHEAD_SECTORS GRAIN_SECTORS   /* header and descriptor; the first grain follows */
#define DESCRIPTOR_SECTORS 20u           /* what VMware's own programs have */
#define GD_AT_END G_MAXUINT64            /* look for the directory in the footer */
#define MAX_SIZE ((guint64)62 << 40)     /* of a disk, by vSphere */
#define PACKED_UNIT (GRAIN + 2 * SECTOR) /* more than a grain that cannot be compressed takes */
#define DEFLATE_LEVEL 2 /* as small as the sixth of zlib here, at a quarter of the time */

#define VMDK_MAGIC 0x564d444bu /* "KDMV" */
#define VMDK_VERSION 3
#define FLAG_NEWLINE (1u << 0)
#define FLAG_COMPRESSED (1u << 16)
#define FLAG_MARKERS (1u << 17)
#define COMPRESS_DEFLATE 1
#define MARKER_TABLE 1
#define MARKER_DIRECTORY 2
#define MARKER_FOOTER 3

typedef struct __attribute__ ((packed))
{
  guint32 magic;           /* 0 */
  guint32 version;         /* 4 */
  guint32 flags;           /* 8 */
  guint64 capacity;        /* 12: sectors, as everything that follows */
  guint64 grain_size;      /* 20 */
  guint64 descriptor_at;   /* 28 */
  guint64 descriptor_size; /* 36 */
  guint32 gtes_per_gt;     /* 44 */
  guint64 rgd_at;          /* 48 */
  guint64 gd_at;           /* 56 */
  guint64 overhead;        /* 64 */
  guint8 unclean_shutdown; /* 72 */
  char newline[4];         /* 73: what a transfer as text would damage */
  guint16 compression;     /* 77 */
  guint8 padding[433];     /* 79 */
} VmdkHeader;

G_STATIC_ASSERT (sizeof (VmdkHeader) == SECTOR);

/* Before everything but a grain; takes a sector. */
typedef struct __attribute__ ((packed))
{
  guint64 sectors; /* that follow */
  guint32 size;    /* 0: no grain */
  guint32 type;
} VmdkMarker;

typedef struct __attribute__ ((packed))
{
  guint64 lba;
  guint32 size; /* of the data that follow at once */
} VmdkGrain;

typedef struct
{
  H2kWriter parent;
  H2kOutput *output;
  guint32 *directory; /* host order: sectors of the tables; 0: none */
  guint32 tables;
  guint64 table;      /* the one being filled; G_MAXUINT64: none */
  guint32 gtes[GTES]; /* its entries, little endian */
  guint64 next;       /* sector of the file; 0: nothing is written yet */
  GMutex lock;        /* for what follows */
  GPtrArray *spare;   /* libdeflate's compressors that no thread uses */
} VmdkWriter;

/* --- the descriptor --------------------------------------------------------------------------- */

enum
{
  ADAPTER_LSILOGIC,
  ADAPTER_BUSLOGIC,
  ADAPTER_LEGACY_ESX,
  ADAPTER_IDE,
};

static const H2kOptionWord adapter_words[] = {{"lsilogic", ADAPTER_LSILOGIC},
                                              {"buslogic", ADAPTER_BUSLOGIC},
                                              {"legacyESX", ADAPTER_LEGACY_ESX},
                                              {"ide", ADAPTER_IDE},
                                              {NULL, 0}};
static const H2kOptionWord subformat_words[] = {{"streamOptimized", 0}, {NULL, 0}};
static const H2kFormatOption vmdk_options[]
    = {{"subformat", G_STRUCT_OFFSET (H2kOutputOptions, no_choice), subformat_words},
       {"adapter_type", G_STRUCT_OFFSET (H2kOutputOptions, adapter), adapter_words},
       {"hwversion", G_STRUCT_OFFSET (H2kOutputOptions, hw_version), NULL},
       {NULL, 0, NULL}};

/* What the adapters' firmware makes of a disk, by its size. */
static const struct
{
  gboolean ide;
  guint64 below;
  guint heads;
  guint sectors;
} geometries[] = {{TRUE, G_MAXUINT64, 16, 63},
                  {FALSE, (guint64)1 << 30, 64, 32},
                  {FALSE, (guint64)2 << 30, 128, 32},
                  {FALSE, G_MAXUINT64, 255, 63}};

/* The extent's name has no meaning in a file that holds its own descriptor. */
static char *
extent_name (H2kOutput *output)
{
  char *name = g_path_get_basename (output->path);

  for (const char *c = name; *c; c++)
    if ((guchar)*c < ' ' || *c == '"' || *c == 0x7f)
      {
        g_free (name);
        return g_strdup ("disk.vmdk");
      }
  return name;
}

static char *
make_descriptor (VmdkWriter *w)
{
  const H2kOutputOptions *o = &w->output->options;
  guint64 sectors = w->output->size / SECTOR;
  g_autofree char *name = extent_name (w->output);
  guint32 cid = h2k_crc32 ((guint32)sectors, name, strlen (name)) & 0x7fffffff;
  guint g = 0;

  while (geometries[g].ide != (o->adapter == ADAPTER_IDE) || w->output->size >= geometries[g].below)
    g++;
  return g_strdup_printf ("# Disk DescriptorFile\n"
                          "version=1\n"
                          "encoding=\"UTF-8\"\n"
                          "CID=%08x\n"
                          "parentCID=ffffffff\n"
                          "createType=\"streamOptimized\"\n"
                          "\n"
                          "# Extent description\n"
                          "RW %" G_GUINT64_FORMAT " SPARSE \"%s\"\n"
                          "\n"
                          "# The Disk Data Base\n"
                          "#DDB\n"
                          "\n"
                          "ddb.virtualHWVersion = \"%u\"\n"
                          "ddb.geometry.cylinders = \"%" G_GUINT64_FORMAT "\"\n"
                          "ddb.geometry.heads = \"%u\"\n"
                          "ddb.geometry.sectors = \"%u\"\n"
                          "ddb.adapterType = \"%s\"\n",
                          cid, sectors, name, o->hw_version ? o->hw_version : 7,
                          MAX (sectors / (geometries[g].heads * geometries[g].sectors), 1),
                          geometries[g].heads, geometries[g].sectors,
                          adapter_words[o->adapter].word);
}

/* --- creation --------------------------------------------------------------------------------- */

static gboolean
check_options (H2kOutput *output, GError **error)
{
  if (output->options.compression == H2K_COMPRESS_ZSTD)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "VMDKs are compressed with zlib: leave out the compression");
  else if (output->options.hw_version > 99)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "-o hwversion=%u: choose a hardware version from 1 to 99",
                 output->options.hw_version);
  else if (output->size > MAX_SIZE)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "a disk of %" G_GUINT64_FORMAT " bytes is too large for a VMDK (62 TiB)",
                 output->size);
  else
    return TRUE;
  return FALSE;
}

static H2kWriter *
vmdk_create (H2kOutput *output, GError **error)
{
  VmdkWriter *w;

  if (!check_options (output, error))
    return NULL;
  output->options.compression = H2K_COMPRESS_NONE; /* that is, none of the engine's */
  /* The capacity has to be whole grains, and not 0. */
  output->size = MAX ((output->size + GRAIN - 1) / GRAIN, 1) * GRAIN;
  w = g_new0 (VmdkWriter, 1);
  w->parent.ops = &h2k_vmdk_writer;
  w->parent.unit = GRAIN;
  w->parent.packed_unit = PACKED_UNIT;
  w->output = output;
  w->tables = (guint32)((output->size / GRAIN + GTES - 1) / GTES);
  w->directory = g_new0 (guint32, w->tables + 1);
  w->table = G_MAXUINT64;
  g_mutex_init (&w->lock);
  w->spare = g_ptr_array_new_with_free_func ((GDestroyNotify)libdeflate_free_compressor);
  return &w->parent;
}

static void
vmdk_free (H2kWriter *writer)
{
  VmdkWriter *w = (VmdkWriter *)writer;

  g_ptr_array_unref (w->spare);
  g_mutex_clear (&w->lock);
  g_free (w->directory);
  g_free (w);
}

/* --- any thread ------------------------------------------------------------------------------- */

static struct libdeflate_compressor *
take_compressor (VmdkWriter *w)
{
  struct libdeflate_compressor *c = NULL;

  g_mutex_lock (&w->lock);
  if (w->spare->len)
    c = g_ptr_array_steal_index_fast (w->spare, w->spare->len - 1);
  g_mutex_unlock (&w->lock);
  if (!c)
    c = libdeflate_alloc_compressor (DEFLATE_LEVEL);
  if (!c)
    g_error ("out of memory: a compressor");
  return c;
}

static void
give_compressor (VmdkWriter *w, struct libdeflate_compressor *c)
{
  g_mutex_lock (&w->lock);
  g_ptr_array_add (w->spare, c);
  g_mutex_unlock (&w->lock);
}

/* The grain at DATA as it is in the file, whole sectors. Returns its length. */
static gsize
pack_grain (struct libdeflate_compressor *c, const guint8 *data, guint64 lba, guint8 *out)
{
  gsize n = libdeflate_zlib_compress (c, data, GRAIN, out + sizeof (VmdkGrain),
                                      PACKED_UNIT - sizeof (VmdkGrain));
  VmdkGrain head = {GUINT64_TO_LE (lba), GUINT32_TO_LE ((guint32)n)};
  gsize end = sizeof head + n, length = (end + SECTOR - 1) / SECTOR * SECTOR;

  g_assert (n > 0);
  memcpy (out, &head, sizeof head);
  memset (out + end, 0, length - end);
  return length;
}

static gboolean
vmdk_prepare (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *unused, GError **error)
{
  VmdkWriter *w = (VmdkWriter *)writer;
  struct libdeflate_compressor *c = take_compressor (w);
  gsize packed = 0, zero = 0;

  chunk->n_units = (guint)((chunk->length + GRAIN - 1) / GRAIN);
  for (guint i = 0; i < chunk->n_units; i++)
    {
      const guint8 *data = chunk->data + (gsize)i * GRAIN;
      gboolean is_zero = h2k_is_zero (data, GRAIN);
      gsize n = 0;

      if (!is_zero)
        n = pack_grain (c, data, chunk->offset / SECTOR + i * GRAIN_SECTORS,
                        chunk->packed + packed);
      else
        zero += MIN (GRAIN, chunk->length - (gsize)i * GRAIN);
      chunk->units[i] = (H2kUnit){n ? H2K_UNIT_PACKED : H2K_UNIT_ZERO, (guint32)packed, (guint32)n};
      packed += n;
    }
  give_compressor (w, c);
  chunk->bytes_zero = MIN (zero, chunk->bytes_data);
  return TRUE;
}

/* --- in the disk's order ---------------------------------------------------------------------- */

/* SECTORS sectors of the file, zeroed, which are the next ones. */
static guint8 *
append (VmdkWriter *w, H2kChunk *chunk, guint64 sectors)
{
  guint8 *buffer = h2k_chunk_add_buffer (chunk, sectors * SECTOR);

  h2k_chunk_add_segment (chunk, w->next * SECTOR, buffer, sectors * SECTOR);
  w->next += sectors;
  return buffer;
}

/* The same, behind a marker that announces them. */
static guint8 *
append_marked (VmdkWriter *w, H2kChunk *chunk, guint32 type, guint64 sectors)
{
  VmdkMarker marker = {GUINT64_TO_LE (sectors), 0, GUINT32_TO_LE (type)};
  guint8 *buffer = append (w, chunk, 1 + sectors);

  memcpy (buffer, &marker, sizeof marker);
  return buffer + SECTOR;
}

static void
fill_header (VmdkWriter *w, guint8 *out, guint64 gd_at)
{
  VmdkHeader h = {
      .magic = GUINT32_TO_LE (VMDK_MAGIC),
      .version = GUINT32_TO_LE (VMDK_VERSION),
      .flags = GUINT32_TO_LE (FLAG_NEWLINE | FLAG_COMPRESSED | FLAG_MARKERS),
      .capacity = GUINT64_TO_LE (w->output->size / SECTOR),
      .grain_size = GUINT64_TO_LE (GRAIN_SECTORS),
      .descriptor_at = GUINT64_TO_LE (1),
      .descriptor_size = GUINT64_TO_LE (DESCRIPTOR_SECTORS),
      .gtes_per_gt = GUINT32_TO_LE (GTES),
      .gd_at = GUINT64_TO_LE (gd_at),
      .overhead = GUINT64_TO_LE (OVERHEAD_SECTORS),
      .newline = {'\n', ' ', '\r', '\n'},
      .compression = GUINT16_TO_LE (COMPRESS_DEFLATE),
  };

  memcpy (out, &h, sizeof h);
}

static void
start_file (VmdkWriter *w, H2kChunk *chunk)
{
  g_autofree char *descriptor = make_descriptor (w);
  guint8 *out;

  if (w->next)
    return;
  g_assert (strlen (descriptor) <= DESCRIPTOR_SECTORS * SECTOR);
  out = append (w, chunk, OVERHEAD_SECTORS);
  fill_header (w, out, GD_AT_END);
  memcpy (out + SECTOR, descriptor, strlen (descriptor));
}

/* The table that is being filled goes to the file. */
static void
end_table (VmdkWriter *w, H2kChunk *chunk)
{
  if (w->table == G_MAXUINT64)
    return;
  w->directory[w->table] = (guint32)(w->next + 1);
  memcpy (append_marked (w, chunk, MARKER_TABLE, sizeof w->gtes / SECTOR), w->gtes, sizeof w->gtes);
  memset (w->gtes, 0, sizeof w->gtes);
  w->table = G_MAXUINT64;
}

static gboolean
check_length (VmdkWriter *w, GError **error)
{
  if (w->next <= G_MAXUINT32)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s becomes larger than the 2 TiB that a stream-optimised VMDK can have",
               w->output->given);
  return FALSE;
}

/* A chunk's grains lie one behind the other, and belong to one table. */
static gboolean
vmdk_place (H2kWriter *writer, H2kChunk *chunk, GError **error)
{
  VmdkWriter *w = (VmdkWriter *)writer;
  guint64 first = chunk->offset / GRAIN, table = first / GTES;
  gsize length = 0;

  start_file (w, chunk);
  if (w->table != table)
    end_table (w, chunk);
  for (guint i = 0; i < chunk->n_units; i++)
    if (chunk->units[i].kind == H2K_UNIT_PACKED)
      {
        w->table = table;
        w->gtes[(first + i) % GTES] = GUINT32_TO_LE ((guint32)(w->next + length / SECTOR));
        length += chunk->units[i].length;
      }
  if (length)
    h2k_chunk_add_segment (chunk, w->next * SECTOR, chunk->packed, length);
  w->next += length / SECTOR;
  return check_length (w, error);
}

static gboolean
vmdk_finish (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error)
{
  VmdkWriter *w = (VmdkWriter *)writer;
  guint64 sectors = (w->tables * sizeof (guint32) + SECTOR - 1) / SECTOR, gd_at;
  guint8 *out;

  start_file (w, chunk);
  end_table (w, chunk);
  out = append_marked (w, chunk, MARKER_DIRECTORY, sectors);
  gd_at = w->next - sectors;
  for (guint32 i = 0; i < w->tables; i++)
    {
      guint32 at = GUINT32_TO_LE (w->directory[i]);
      memcpy (out + i * sizeof at, &at, sizeof at);
    }
  fill_header (w, append_marked (w, chunk, MARKER_FOOTER, 1), gd_at);
  append (w, chunk, 1); /* the end of the stream is a marker of zeros */
  *file_length = w->next * SECTOR;
  return check_length (w, error);
}

const H2kWriterOps h2k_vmdk_writer = {
    .format = "vmdk",
    .sinks = H2K_SINK_FILE | H2K_SINK_PIPE,
    .options = vmdk_options,
    .create = vmdk_create,
    .prepare = vmdk_prepare,
    .place = vmdk_place,
    .finish = vmdk_finish,
    .free = vmdk_free,
};
