/* qcow2.c - QEMU's copy-on-write images, versions 2 and 3, with backing files, for reading.
 *
 * Follows docs/interop/qcow2.txt of QEMU. Where that leaves room, QEMU's behaviour counts: a data
 * cluster that the file ends in reads as zeros from there on, and compressed data only has to fill
 * its cluster. A cluster that begins behind the end of the file is an error here, though: the file
 * was truncated.
 *
 * A guest offset leads through the L1 table, which is held in memory, to a slice of an L2 table,
 * of which a bounded number is cached. Neither lock is held while anything is read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "disk/formats.h"

#include <libdeflate.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define MIN_CLUSTER_BITS 9
#define MAX_CLUSTER_BITS 21
#define MAX_L1_BYTES ((guint64)32 << 20) /* QEMU's limit */
#define SLICE_BYTES 16384                /* of an L2 table, read and cached at once */
#define SLICE_CACHE ((gsize)2 << 20)     /* bytes; 16 GiB of a disk with 64 KiB clusters */
#define CLUSTER_CACHE ((gsize)2 << 20)   /* bytes of unpacked clusters, for small reads */
#define MAX_SPAN ((guint64)2 << 20)      /* of compressed data, read at once */
#define MAX_PIECES 4                     /* of an extent, merged */

#define OFFSET_MASK ((guint64)0x00fffffffffffe00)
#define ENTRY_COMPRESSED ((guint64)1 << 62)
#define ENTRY_ZERO ((guint64)1)

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

#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u

enum
{
  FEATURE_DIRTY = 0,
  FEATURE_CORRUPT = 1,
  FEATURE_DATA_FILE = 2,
  FEATURE_COMPRESSION_TYPE = 3,
  FEATURE_EXTENDED_L2 = 4,
};

/* The header, checked. */
typedef struct
{
  guint version;
  guint cluster_bits;
  guint64 size;
  guint64 l1_offset;
  guint64 features;
  gboolean zstd;
  char *backing_name;   /* NULL: none */
  char *backing_format; /* NULL: not recorded */
} Header;

typedef struct
{
  H2kDisk disk;
  H2kFile *file;
  guint version;
  guint cluster_bits;
  guint l2_bits; /* of an index into an L2 table */
  guint slice_bits;
  gboolean zstd;
  guint64 l1_offset, l1_bytes; /* what of it is used */
  guint64 *l1;                 /* as in the file, in host byte order */
  guint64 l1_count;
  H2kCache *slices;   /* by number of the slice on the disk */
  H2kCache *clusters; /* unpacked, by number of the cluster on the disk */
} Qcow2;

typedef enum
{
  KIND_UNALLOCATED, /* the backing file's */
  KIND_ZERO,
  KIND_DATA,
  KIND_COMPRESSED,
} Kind;

/* Where a cluster, or a run of them, is. */
typedef struct
{
  Kind kind;
  guint64 host;     /* data and compressed: offset in the file */
  guint64 host_end; /* compressed: where the last one's data end at the latest */
} Place;

static guint64
cluster_size (const Qcow2 *q)
{
  return (guint64)1 << q->cluster_bits;
}

static gboolean set_corrupt (GError **error, const char *name, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* Always FALSE. */
static gboolean
set_corrupt (GError **error, const char *name, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: the qcow2 image is corrupt: %s; fetch it again, or look at it with "
               "\"qemu-img check\"",
               name, what);
  return FALSE;
}

/* --- the mapping ------------------------------------------------------------------------------ */

/* The slice that describes guest cluster NUMBER; NULL and no error when it is unallocated. */
static GBytes *
get_slice (Qcow2 *q, guint64 number, GError **error)
{
  guint64 l1_index = number >> q->l2_bits, slice = number >> q->slice_bits;
  guint64 table = q->l1[l1_index] & OFFSET_MASK, at;
  gsize bytes = (gsize)8 << q->slice_bits;
  GBytes *block;
  guint8 *data;
  gboolean ok;

  if (table == 0)
    return NULL;
  block = h2k_cache_get (q->slices, slice);
  if (block)
    return block;

  if (table % cluster_size (q))
    set_corrupt (error, q->disk.name, "the L2 table %" G_GUINT64_FORMAT " is not aligned",
                 l1_index);
  else if (table >= q->file->size || cluster_size (q) > q->file->size - table)
    set_corrupt (error, q->disk.name,
                 "the L2 table %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                 " lies behind the end of the file at %" G_GUINT64_FORMAT,
                 l1_index, table, q->file->size);
  else if (table < q->l1_offset + q->l1_bytes && q->l1_offset < table + cluster_size (q))
    set_corrupt (error, q->disk.name, "the L2 table %" G_GUINT64_FORMAT " overlaps the L1 table",
                 l1_index);
  else
    {
      at = table + (slice << q->slice_bits) % ((guint64)1 << q->l2_bits) * 8;
      data = g_malloc (bytes);
      ok = h2k_file_pread (q->file, at, bytes, data, error);
      block = g_bytes_new_take (data, bytes);
      if (ok)
        {
          h2k_cache_put (q->slices, slice, block);
          return block;
        }
      g_prefix_error (error, "the L2 table cannot be read: ");
      g_bytes_unref (block);
    }
  return NULL;
}

static gboolean
check_place (Qcow2 *q, guint64 number, guint64 host, guint64 length, GError **error)
{
  if (host >= q->file->size)
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                        ", behind the end of the file at %" G_GUINT64_FORMAT " (truncated?)",
                        number << q->cluster_bits, host, q->file->size);
  if (host < sizeof (Qcow2Header)
      || (host < q->l1_offset + q->l1_bytes && q->l1_offset < host + length))
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT
                        " overlaps the header or the L1 table",
                        number << q->cluster_bits);
  return TRUE;
}

/* What an L2 entry says about guest cluster NUMBER. */
static gboolean
decode_entry (Qcow2 *q, guint64 number, guint64 entry, Place *place, GError **error)
{
  guint offset_bits = 62 - (q->cluster_bits - 8);
  guint64 sectors;

  *place = (Place){.kind = KIND_UNALLOCATED};
  if (entry & ENTRY_COMPRESSED)
    {
      place->kind = KIND_COMPRESSED;
      place->host = entry & (((guint64)1 << offset_bits) - 1);
      sectors = (entry & (ENTRY_COMPRESSED - 1)) >> offset_bits;
      place->host_end = place->host / 512 * 512 + (sectors + 1) * 512;
      return check_place (q, number, place->host, 1, error);
    }
  if (entry & ENTRY_ZERO)
    {
      place->kind = KIND_ZERO;
      return q->version >= 3
             || set_corrupt (error, q->disk.name,
                             "the cluster at disk offset %" G_GUINT64_FORMAT
                             " has a zero flag, which version 2 does not know",
                             number << q->cluster_bits);
    }
  place->host = entry & OFFSET_MASK;
  if (place->host == 0)
    return TRUE;
  place->kind = KIND_DATA;
  if (place->host % cluster_size (q))
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                        ", which is not aligned",
                        number << q->cluster_bits, place->host);
  return check_place (q, number, place->host, cluster_size (q), error);
}

/* Whether NEXT, the Nth cluster of a run, belongs to RUN; if so it is taken in. Without PLACES it
 * is enough that it is of the same kind. */
static gboolean
join_run (const Qcow2 *q, gboolean places, Place *run, const Place *next, guint64 n)
{
  if (n == 0)
    {
      *run = *next;
      return TRUE;
    }
  if (next->kind != run->kind)
    return FALSE;
  if (places && run->kind == KIND_DATA)
    return next->host == run->host + (n << q->cluster_bits);
  if (places && run->kind == KIND_COMPRESSED)
    {
      /* QEMU packs one behind the other, often into the same sector. */
      if (next->host < run->host || next->host > run->host_end
          || next->host_end > run->host + MAX_SPAN || next->host_end < run->host_end)
        return FALSE;
      run->host_end = next->host_end;
    }
  return TRUE;
}

/* The place of OFFSET, and in END how far it goes on, LIMIT at the most: clusters that follow each
 * other in the file, or any of one kind when PLACES do not matter; then no more than one slice is
 * read. Trouble behind the first cluster ends the run, it is no error yet. */
static gboolean
find_run (Qcow2 *q, guint64 offset, guint64 limit, gboolean places, Place *run, guint64 *end,
          GError **error)
{
  guint64 entries = (guint64)1 << q->slice_bits, first = offset >> q->cluster_bits, number = first;
  guint64 last = (limit - 1) >> q->cluster_bits;
  gboolean same = TRUE;

  while (same && number <= last)
    {
      g_autoptr (GError) failure = NULL;
      g_autoptr (GBytes) slice = get_slice (q, number, &failure);
      const guint8 *data = slice ? g_bytes_get_data (slice, NULL) : NULL;
      guint64 stop = MIN (last, number | (entries - 1));
      Place place = {.kind = KIND_UNALLOCATED};

      if (!data && !failure) /* nothing at all below this L1 entry */
        {
          same = join_run (q, places, run, &place, number - first);
          if (same)
            number = (number | (((guint64)1 << q->l2_bits) - 1)) + 1;
          continue;
        }
      while (same && !failure && number <= stop)
        {
          guint64 entry = h2k_be64 (data + number % entries * 8);
          same = decode_entry (q, number, entry, &place, &failure)
                 && join_run (q, places, run, &place, number - first);
          number += same;
        }
      if (failure && number == first)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      same = same && !failure && places;
    }
  *end = MIN (limit, number << q->cluster_bits);
  return TRUE;
}

/* --- compressed clusters ---------------------------------------------------------------------- */

static void
free_inflater (gpointer inflater)
{
  libdeflate_free_decompressor (inflater);
}

static void
free_zstd (gpointer context)
{
  ZSTD_freeDCtx (context);
}

static GPrivate inflaters = G_PRIVATE_INIT (free_inflater);
static GPrivate zstd_contexts = G_PRIVATE_INIT (free_zstd);

/* With zlib, for data that libdeflate does not take: without an end, or longer than the cluster.
 * All that is asked is that OUT gets full. */
static gboolean
inflate_slowly (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  z_stream stream = {.next_in = (Bytef *)in,
                     .avail_in = (uInt)in_length,
                     .next_out = out,
                     .avail_out = (uInt)out_length};
  int result;

  if (inflateInit2 (&stream, -15) != Z_OK)
    return FALSE;
  result = inflate (&stream, Z_FINISH);
  inflateEnd (&stream);
  return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0;
}

/* Raw deflate data; what follows their end, up to the sector's, is not ours. */
static gboolean
unpack_zlib (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  struct libdeflate_decompressor *inflater = g_private_get (&inflaters);
  gsize used, made;

  if (!inflater)
    {
      inflater = libdeflate_alloc_decompressor ();
      g_private_set (&inflaters, inflater);
    }
  if (inflater
      && libdeflate_deflate_decompress_ex (inflater, in, in_length, out, out_length, &used, &made)
             == LIBDEFLATE_SUCCESS)
    return made == out_length;
  return inflate_slowly (in, in_length, out, out_length);
}

/* Several frames, or one that goes on behind the cluster. */
static gboolean
unpack_zstd_slowly (ZSTD_DCtx *context, const guint8 *in, gsize in_length, guint8 *out,
                    gsize out_length)
{
  ZSTD_inBuffer input = {in, in_length, 0};
  ZSTD_outBuffer output = {out, out_length, 0};

  ZSTD_DCtx_reset (context, ZSTD_reset_session_only);
  /* A window never needs to be larger than a cluster; a frame could ask for 128 MiB. */
  ZSTD_DCtx_setParameter (context, ZSTD_d_windowLogMax, MAX_CLUSTER_BITS + 2);
  while (output.pos < output.size)
    {
      gsize in_before = input.pos, out_before = output.pos;
      gsize result = ZSTD_decompressStream (context, &output, &input);
      if (ZSTD_isError (result) || (input.pos == in_before && output.pos == out_before))
        return FALSE;
    }
  return TRUE;
}

static gboolean
unpack_zstd (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  ZSTD_DCtx *context = g_private_get (&zstd_contexts);
  gsize frame = ZSTD_findFrameCompressedSize (in, in_length);

  if (!context)
    {
      context = ZSTD_createDCtx ();
      if (!context)
        return FALSE;
      g_private_set (&zstd_contexts, context);
    }
  if (!ZSTD_isError (frame)
      && ZSTD_decompressDCtx (context, out, out_length, in, frame) == out_length)
    return TRUE;
  return unpack_zstd_slowly (context, in, in_length, out, out_length);
}

/* Read the packed data from HOST to END, or to the end of the file. The caller's. */
static guint8 *
read_packed (Qcow2 *q, guint64 host, guint64 end, GError **error)
{
  gsize length = (gsize)(MIN (end, q->file->size) - host);
  g_autofree guint8 *data = g_malloc (length);

  return h2k_file_pread (q->file, host, length, data, error) ? g_steal_pointer (&data) : NULL;
}

/* Unpack cluster NUMBER, which is at PLACE, into OUT. DATA holds the file from START on. */
static gboolean
unpack (Qcow2 *q, guint64 number, const Place *place, const guint8 *data, guint64 start,
        guint8 *out, GError **error)
{
  const guint8 *in = data + (place->host - start);
  gsize length = (gsize)(MIN (place->host_end, q->file->size) - place->host);
  gboolean ok = q->zstd ? unpack_zstd (in, length, out, cluster_size (q))
                        : unpack_zlib (in, length, out, cluster_size (q));

  return ok
         || set_corrupt (error, q->disk.name,
                         "the compressed cluster at disk offset %" G_GUINT64_FORMAT
                         " cannot be unpacked",
                         number << q->cluster_bits);
}

/* Cluster NUMBER unpacked, from the cache if it is there. The caller's reference. */
static GBytes *
get_unpacked (Qcow2 *q, guint64 number, const Place *place, GError **error)
{
  GBytes *block = h2k_cache_get (q->clusters, number);
  g_autofree guint8 *packed = NULL, *out = NULL;

  if (block)
    return block;
  out = g_malloc (cluster_size (q));
  packed = read_packed (q, place->host, place->host_end, error);
  if (!packed || !unpack (q, number, place, packed, place->host, out, error))
    return NULL;
  block = g_bytes_new_take (g_steal_pointer (&out), cluster_size (q));
  h2k_cache_put (q->clusters, number, block);
  return block;
}

/* A part of one compressed cluster. */
static gboolean
read_part (Qcow2 *q, const Place *place, guint64 offset, gsize length, guint8 *out, GError **error)
{
  g_autoptr (GBytes) block = get_unpacked (q, offset >> q->cluster_bits, place, error);

  if (!block)
    return FALSE;
  memcpy (out, (const guint8 *)g_bytes_get_data (block, NULL) + offset % cluster_size (q), length);
  return TRUE;
}

/* COUNT whole compressed clusters of RUN: one read, then each is unpacked where it belongs. */
static gboolean
read_packed_run (Qcow2 *q, const Place *run, guint64 number, guint64 count, guint8 *out,
                 GError **error)
{
  g_autofree guint8 *packed = read_packed (q, run->host, run->host_end, error);

  if (!packed)
    return FALSE;
  for (guint64 i = 0; i < count; i++)
    {
      guint64 at = (number + i) << q->cluster_bits, end;
      Place place;

      if (!find_run (q, at, at + 1, TRUE, &place, &end, error))
        return FALSE;
      if (place.kind != KIND_COMPRESSED || place.host < run->host || place.host_end > run->host_end)
        return set_corrupt (error, q->disk.name, "the file changes while it is read");
      if (!unpack (q, number + i, &place, packed, run->host, out + (i << q->cluster_bits), error))
        return FALSE;
    }
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
read_data (Qcow2 *q, guint64 host, gsize length, guint8 *out, GError **error)
{
  gsize inside = host < q->file->size ? (gsize)MIN (length, q->file->size - host) : 0;

  memset (out + inside, 0, length - inside);
  return h2k_file_pread (q->file, MIN (host, q->file->size), inside, out, error);
}

/* Zeros where there is no backing file, or it is shorter. */
static gboolean
read_backing (Qcow2 *q, guint64 offset, gsize length, guint8 *out, GError **error)
{
  H2kDisk *backing = q->disk.backing;
  gsize inside
      = backing && offset < backing->size ? (gsize)MIN (length, backing->size - offset) : 0;

  memset (out + inside, 0, length - inside);
  return inside == 0 || h2k_disk_pread (backing, offset, inside, out, error);
}

static gboolean
read_compressed (Qcow2 *q, const Place *run, guint64 offset, guint64 *end, guint8 *out,
                 GError **error)
{
  guint64 size = cluster_size (q);

  if (offset % size || *end - offset < size)
    {
      *end = MIN (*end, (offset / size + 1) * size);
      return read_part (q, run, offset, (gsize)(*end - offset), out, error);
    }
  *end -= *end % size;
  return read_packed_run (q, run, offset / size, (*end - offset) / size, out, error);
}

static gboolean
qcow2_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Qcow2 *q = (Qcow2 *)disk;
  guint64 limit = offset + length, end;
  gboolean ok = TRUE;

  for (guint8 *out = buffer; ok && offset < limit; out += end - offset, offset = end)
    {
      Place run;

      if (!find_run (q, offset, limit, TRUE, &run, &end, error))
        return FALSE;
      if (run.kind == KIND_DATA)
        ok = read_data (q, run.host + offset % cluster_size (q), (gsize)(end - offset), out, error);
      else if (run.kind == KIND_COMPRESSED)
        ok = read_compressed (q, &run, offset, &end, out, error);
      else if (run.kind == KIND_UNALLOCATED)
        ok = read_backing (q, offset, (gsize)(end - offset), out, error);
      else
        memset (out, 0, (gsize)(end - offset));
    }
  return ok;
}

/* One piece of an extent: a run of clusters, or what the backing file has in their place. */
static gboolean
find_piece (Qcow2 *q, guint64 offset, H2kExtent *piece, gboolean *below, GError **error)
{
  static const H2kExtentKind kinds[] = {
      [KIND_UNALLOCATED] = H2K_EXTENT_UNALLOCATED,
      [KIND_ZERO] = H2K_EXTENT_ZERO,
      [KIND_DATA] = H2K_EXTENT_DATA,
      [KIND_COMPRESSED] = H2K_EXTENT_DATA,
  };
  H2kDisk *backing = q->disk.backing;
  guint64 end;
  Place run = {0};

  if (!find_run (q, offset, q->disk.size, FALSE, &run, &end, error))
    return FALSE;
  if (run.kind == KIND_UNALLOCATED && backing && offset < backing->size)
    {
      *below = TRUE;
      return h2k_disk_extent (backing, offset, MIN (end, backing->size), piece, error);
    }
  *below = FALSE;
  *piece = (H2kExtent){offset, end - offset, kinds[run.kind]};
  return TRUE;
}

static gboolean
qcow2_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Qcow2 *q = (Qcow2 *)disk;
  gboolean below;

  if (!find_piece (q, offset, extent, &below, error))
    return FALSE;
  /* What comes from the backing file is not joined: each image of a chain would ask the next one
   * several times, and a long chain for ever. */
  for (guint i = 1; i < MAX_PIECES && !below && extent->length < disk->size - offset; i++)
    {
      H2kExtent piece;

      if (!find_piece (q, offset + extent->length, &piece, &below, NULL)
          || piece.kind != extent->kind)
        break; /* trouble there is told to those who ask about it */
      extent->length += piece.length;
    }
  return TRUE;
}

static void
qcow2_finalize (H2kDisk *disk)
{
  Qcow2 *q = (Qcow2 *)disk;

  h2k_file_unref (q->file);
  h2k_cache_free (q->slices);
  h2k_cache_free (q->clusters);
  g_free (q->l1);
}

static const H2kDiskOps qcow2_ops = {
    .pread = qcow2_pread,
    .extent = qcow2_extent,
    .finalize = qcow2_finalize,
};

/* --- the header ------------------------------------------------------------------------------- */

static void
clear_header (Header *header)
{
  g_free (header->backing_name);
  g_free (header->backing_format);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Header, clear_header)

/* What the image itself calls an incompatible feature, for people. */
static char *
feature_name (const guint8 *table, gsize length, guint bit)
{
  for (; length >= 48; table += 48, length -= 48)
    if (table[0] == 0 && table[1] == bit)
      {
        g_autofree char *name = g_strndup ((const char *)table + 2, 46);
        g_autofree char *safe = h2k_escape_text (name, -1);
        return g_strdup_printf ("\"%s\" (bit %u)", safe, bit);
      }
  return g_strdup_printf ("bit %u", bit);
}

static gboolean
check_features (const Header *header, const char *name, const guint8 *names, gsize names_length,
                GError **error)
{
  static const struct
  {
    guint bit;
    H2kError code;
    const char *what;
  } refused[] = {
      {FEATURE_CORRUPT, H2K_ERROR_FORMAT,
       "is marked as corrupt; repair a copy of it with \"qemu-img check -r all\""},
      {FEATURE_DATA_FILE, H2K_ERROR_UNSUPPORTED,
       "keeps its data in an external data file; convert it with \"qemu-img convert\" first"},
      {FEATURE_EXTENDED_L2, H2K_ERROR_UNSUPPORTED,
       "has extended L2 entries (subclusters); convert it with \"qemu-img convert\" first"},
  };
  guint64 known = 1 << FEATURE_DIRTY | 1 << FEATURE_COMPRESSION_TYPE;

  for (gsize i = 0; i < G_N_ELEMENTS (refused); i++)
    if (header->features >> refused[i].bit & 1)
      {
        g_set_error (error, H2K_ERROR, (int)refused[i].code, "%s: the qcow2 image %s", name,
                     refused[i].what);
        return FALSE;
      }
  if (header->features & ~known)
    {
      guint bit = (guint)__builtin_ctzll (header->features & ~known);
      g_autofree char *feature = feature_name (names, names_length, bit);
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the qcow2 image uses the feature %s, which is not known here", name,
                   feature);
      return FALSE;
    }
  return TRUE;
}

/* The header extensions between START and END of HEAD. */
static gboolean
parse_extensions (Header *header, const char *name, const guint8 *head, gsize start, gsize end,
                  GError **error)
{
  const guint8 *names = NULL;
  gsize names_length = 0;

  while (end - start >= 8)
    {
      guint32 type = h2k_be32 (head + start), length = h2k_be32 (head + start + 4);

      start += 8;
      if (type == EXTENSION_END)
        break;
      if (length > end - start)
        return set_corrupt (error, name, "a header extension is too long");
      if (type == EXTENSION_BACKING_FORMAT)
        {
          g_free (header->backing_format);
          header->backing_format = g_strndup ((const char *)head + start, length);
        }
      else if (type == EXTENSION_FEATURE_NAMES)
        {
          names = head + start;
          names_length = length;
        }
      start += MIN (end - start, ((gsize)length + 7) / 8 * 8);
    }
  return check_features (header, name, names, names_length, error);
}

static gboolean
parse_backing (Header *header, const Qcow2Header *raw, const char *name, const guint8 *head,
               gsize length, GError **error)
{
  guint64 offset = h2k_be64 (raw->backing_file_offset);
  guint32 size = h2k_be32 (raw->backing_file_size);

  if (offset == 0 || size == 0)
    return TRUE;
  if (size > 1023 || offset > length || size > length - offset)
    return set_corrupt (error, name, "the backing file's name is not within the first cluster");
  header->backing_name = g_strndup ((const char *)head + offset, size);
  return TRUE;
}

/* The features of version 3. */
static gboolean
parse_v3 (Header *header, const Qcow2Header *raw, const char *name, gsize *header_length,
          GError **error)
{
  guint8 type;

  *header_length = h2k_be32 (raw->header_length);
  if (*header_length < 104 || *header_length % 8
      || *header_length > (gsize)1 << header->cluster_bits)
    return set_corrupt (error, name, "the header's length is impossible");
  if (h2k_be32 (raw->refcount_order) > 6)
    return set_corrupt (error, name, "the width of the reference counts is impossible");
  header->features = h2k_be64 (raw->incompatible_features);
  type = *header_length > 104 ? raw->compression_type : 0;
  if ((type != 0) != (header->features >> FEATURE_COMPRESSION_TYPE & 1))
    return set_corrupt (error, name, "the compression type contradicts the features");
  if (type > 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the qcow2 image's compression type %u is not known here", name, type);
      return FALSE;
    }
  header->zstd = type == 1;
  return TRUE;
}

static gboolean
check_version (const Qcow2Header *raw, const char *name, GError **error)
{
  guint32 version = h2k_be32 (raw->version), crypt = h2k_be32 (raw->crypt_method);
  g_autofree char *why = NULL;

  if (version == 1)
    why = g_strdup (
        "is of the old format qcow; convert it with \"qemu-img convert -f qcow\" first");
  else if (version != 2 && version != 3)
    why = g_strdup_printf ("is of version %u, which is not known here", version);
  else if (crypt)
    why = g_strdup_printf ("is encrypted (%s); decrypt it with \"qemu-img convert\" first",
                           crypt == 1   ? "AES"
                           : crypt == 2 ? "LUKS"
                                        : "method unknown");
  if (why)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: the qcow2 image %s", name, why);
  return why == NULL;
}

/* Check the header at the start of HEAD, the file's first LENGTH bytes: its first cluster, or all
 * of a smaller file. */
static gboolean
parse_header (Header *header, const char *name, const guint8 *head, gsize length, GError **error)
{
  g_autofree guint8 *padded = g_malloc0 (sizeof (Qcow2Header));
  const Qcow2Header *raw = (const Qcow2Header *)padded;
  gsize header_length = 72, backing;

  memcpy (padded, head, MIN (length, sizeof (Qcow2Header)));
  if (length < 72 || memcmp (raw->magic, "QFI\xfb", 4) != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: is not a qcow2 image", name);
      return FALSE;
    }
  if (!check_version (raw, name, error))
    return FALSE;
  header->version = h2k_be32 (raw->version);
  header->cluster_bits = h2k_be32 (raw->cluster_bits);
  header->size = h2k_be64 (raw->size);
  header->l1_offset = h2k_be64 (raw->l1_table_offset);
  if (header->cluster_bits < MIN_CLUSTER_BITS || header->cluster_bits > MAX_CLUSTER_BITS)
    return set_corrupt (error, name, "clusters of 2^%u bytes are impossible", header->cluster_bits);
  if (header->size < 512 || header->size > G_MAXINT64)
    return set_corrupt (error, name, "a disk of %" G_GUINT64_FORMAT " bytes is impossible",
                        header->size);
  if (header->version >= 3 && !parse_v3 (header, raw, name, &header_length, error))
    return FALSE;
  length = MIN (length, (gsize)1 << header->cluster_bits);
  if (length < header_length)
    return set_corrupt (error, name, "the file ends within the header");
  backing = (gsize)MIN (h2k_be64 (raw->backing_file_offset), length);
  return parse_extensions (header, name, head, header_length,
                           backing ? MAX (backing, header_length) : length, error)
         && parse_backing (header, raw, name, head, length, error);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* As much of the L1 table as the disk's size calls for. */
static gboolean
load_l1 (Qcow2 *q, guint64 offset, guint64 entries, GError **error)
{
  guint64 per_entry = (guint64)1 << (q->cluster_bits + q->l2_bits);
  guint64 needed = (q->disk.size - 1) / per_entry + 1;
  const char *name = q->disk.name;

  if (needed > MAX_L1_BYTES / 8)
    return set_corrupt (error, name,
                        "a disk of %" G_GUINT64_FORMAT
                        " bytes is too large for clusters of %" G_GUINT64_FORMAT " bytes",
                        q->disk.size, cluster_size (q));
  if (entries < needed)
    return set_corrupt (error, name,
                        "the L1 table has %" G_GUINT64_FORMAT " entries, %" G_GUINT64_FORMAT
                        " are needed",
                        entries, needed);
  if (offset == 0 || offset % cluster_size (q) || offset > q->file->size
      || needed * 8 > q->file->size - offset)
    return set_corrupt (error, name,
                        "the L1 table at %" G_GUINT64_FORMAT
                        " is not aligned or not within the file (truncated?)",
                        offset);
  q->l1_offset = offset;
  q->l1_bytes = needed * 8;
  q->l1_count = needed;
  q->l1 = g_malloc (q->l1_bytes);
  if (!h2k_file_pread (q->file, offset, q->l1_bytes, q->l1, error))
    return FALSE;
  for (guint64 i = 0; i < needed; i++)
    q->l1[i] = GUINT64_FROM_BE (q->l1[i]);
  return TRUE;
}

/* The file that NAME of an image at PATH means, as QEMU resolves it; NULL for what is none. */
static char *
resolve_backing (const char *path, const char *name, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path), *safe = h2k_escape_text (name, -1);
  const char *colon = strchr (name, ':'), *slash = strchr (name, '/');

  if (g_str_has_prefix (name, "file:"))
    name += strlen ("file:");
  else if (g_str_has_prefix (name, "json:") || (colon && (!slash || colon < slash)))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the backing file \"%s\" is not a local file; copy it here and point the "
                   "image to it with \"qemu-img rebase -u\", or flatten the chain first",
                   path, safe);
      return NULL;
    }
  return g_path_is_absolute (name) ? g_strdup (name) : g_build_filename (folder, name, NULL);
}

/* Without a recorded format it is found by content; h2k_disk_open() then sees to it that what a
 * guest wrote onto a raw disk names no further files. */
static gboolean
open_backing (Qcow2 *q, const char *path, const Header *header, GError **error)
{
  g_autofree char *backing = NULL;
  const char *format = header->backing_format;

  if (!header->backing_name)
    return TRUE;
  backing = resolve_backing (path, header->backing_name, error);
  if (!backing)
    return FALSE;
  /* Old QEMUs recorded the protocol instead. */
  if (format && (g_str_equal (format, "file") || g_str_equal (format, "host_device")))
    format = "raw";
  q->disk.backing = h2k_disk_open (backing, format, error);
  if (!q->disk.backing)
    {
      g_prefix_error (error, "%s: cannot open its backing file: ", q->disk.name);
      return FALSE;
    }
  h2k_disk_add_files (&q->disk, q->disk.backing);
  return TRUE;
}

static H2kDisk *
qcow2_open (H2kFile *file, GError **error)
{
  gsize length = (gsize)MIN (file->size, (guint64)1 << MAX_CLUSTER_BITS);
  g_autofree guint8 *head = g_malloc (MAX (length, 1));
  g_auto (Header) header = {0};
  g_autoptr (H2kDisk) disk = (H2kDisk *)g_new0 (Qcow2, 1);
  Qcow2 *q = (Qcow2 *)disk;

  h2k_disk_init (disk, &qcow2_ops, 0, "qcow2", file->path);
  g_ptr_array_add (disk->files, g_strdup (file->path));
  q->file = h2k_file_ref (file);
  if (!h2k_file_pread (file, 0, length, head, error)
      || !parse_header (&header, file->name, head, length, error))
    return NULL;

  /* As QEMU: whole sectors only. */
  disk->size = header.size / 512 * 512;
  disk->subformat = g_strdup_printf ("version %u", header.version);
  q->version = header.version;
  q->cluster_bits = header.cluster_bits;
  q->l2_bits = q->cluster_bits - 3;
  q->slice_bits = (guint)g_bit_nth_msf (MIN (cluster_size (q), SLICE_BYTES), -1) - 3;
  q->zstd = header.zstd;
  q->slices = h2k_cache_new (SLICE_CACHE);
  q->clusters = h2k_cache_new (MAX (CLUSTER_CACHE, 2 * cluster_size (q)));
  if (!load_l1 (q, header.l1_offset, h2k_be32 (((Qcow2Header *)head)->l1_size), error)
      || !open_backing (q, file->path, &header, error))
    return NULL;
  return g_steal_pointer (&disk);
}

static int
qcow2_probe (const guint8 *head, gsize length, const char *path)
{
  return length >= 72 && memcmp (head, "QFI\xfb", 4) == 0 ? 100 : 0;
}

const H2kDiskFormat h2k_qcow2_format = {"qcow2", qcow2_probe, qcow2_open};
