/* qcow2-writer.c - qcow2 outputs, versions 2 and 3, after QEMU's docs/interop/qcow2.txt.
 *
 * The file is written from its start to its end and never read:
 *
 *   header │ L2 table, clusters … │ L2 table, clusters … refcount block … │ L1, refcounts │
 *
 * An L2 table gets its place before the first cluster that it maps and is written when the disk's
 * order has left its range; a refcount block follows the range of the file that it counts. So one
 * of each is in memory, with the L1 and the refcount table (8 bytes for 512 MiB of disk and for 2
 * GiB of file, with clusters of 64 KiB). The header comes last: until then the file is no qcow2.
 *
 * Compressed clusters are packed byte by byte into host clusters of their own, each of which counts
 * the compressed clusters that touch it.
 *
 * An encrypted image has its LUKS header behind its own; each cluster is encrypted when its place
 * is known, which is what the numbers of its sectors are made from.
 *
 * Over a backing file only the clusters that differ from it are stored. With preallocation every
 * cluster gets a place, in the disk's order.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <stdlib.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */
#define QCOW2_V2_HEADER 72      /* bytes */
#define QCOW2_REFCOUNT_ORDER 4  /* 16 bits a cluster */
#define QCOW2_INCOMPAT_COMPRESSION (1u << 3)
#define QCOW2_COMPRESSION_ZSTD 1
#define QCOW2_EXT_END 0
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_LUKS 0x0537be77u
#define QCOW2_CRYPT_LUKS 2
#define QCOW2_COPIED (1ull << 63)
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO 1ull
#define QCOW2_MAX_BACKING 1023

/* Limits of QEMU. */
#define MAX_L1_BYTES (32u << 20)
#define MAX_REFTABLE_BYTES (8u << 20)
#define MIN_CLUSTER 512u
#define MAX_CLUSTER (2u << 20)
#define DEFAULT_CLUSTER (64u << 10)

typedef struct __attribute__ ((packed))
{
  guint32 magic;                   /* 0 */
  guint32 version;                 /* 4 */
  guint64 backing_file_offset;     /* 8 */
  guint32 backing_file_size;       /* 16 */
  guint32 cluster_bits;            /* 20 */
  guint64 size;                    /* 24 */
  guint32 crypt_method;            /* 32 */
  guint32 l1_size;                 /* 36 */
  guint64 l1_table_offset;         /* 40 */
  guint64 refcount_table_offset;   /* 48 */
  guint32 refcount_table_clusters; /* 56 */
  guint32 nb_snapshots;            /* 60 */
  guint64 snapshots_offset;        /* 64 */
  guint64 incompatible_features;   /* 72 */
  guint64 compatible_features;     /* 80 */
  guint64 autoclear_features;      /* 88 */
  guint32 refcount_order;          /* 96 */
  guint32 header_length;           /* 100 */
  guint8 compression_type;         /* 104 */
  guint8 padding[7];               /* 105 */
} Qcow2Header;

G_STATIC_ASSERT (sizeof (Qcow2Header) == 112);

typedef struct __attribute__ ((packed))
{
  guint32 type;
  guint32 length;
} Qcow2Extension;

typedef struct
{
  H2kWriter parent;
  H2kOutput *output;
  guint32 cluster;    /* bytes */
  guint cluster_bits; /* its logarithm */
  guint64 l2_entries; /* in a table */

  guint64 *l1; /* host order */
  guint32 l1_size;
  guint64 l2_index;  /* entry of L1 that L2 belongs to; G_MAXUINT64: none */
  guint64 *l2;       /* big endian, as in the file */
  guint64 next;      /* the first host cluster that is free, as a number */
  guint64 pack_at;   /* where the next compressed cluster goes, in bytes of the file ... */
  guint64 pack_end;  /* ... and the end of the clusters allocated for it */
  GArray *reftable;  /* guint64: offsets of the refcount blocks that are complete */
  guint16 *refcount; /* of the block that is being filled, host order */

  gboolean preallocate; /* every cluster of the disk has one in the file */
  GMutex lock;          /* for what follows */
  GPtrArray *spare;     /* H2kChunk *: for reading the backing file */
} Qcow2Writer;

static const H2kOptionWord compat_words[]
    = {{"0.10", 2}, {"1.1", 3}, {"v2", 2}, {"v3", 3}, {NULL, 0}};
static const H2kOptionWord compression_words[]
    = {{"zlib", H2K_COMPRESS_ZLIB}, {"zstd", H2K_COMPRESS_ZSTD}, {NULL, 0}};
static const H2kOptionWord preallocation_words[] = {{"off", H2K_PREALLOCATION_OFF},
                                                    {"metadata", H2K_PREALLOCATION_METADATA},
                                                    {"falloc", H2K_PREALLOCATION_FALLOC},
                                                    {"full", H2K_PREALLOCATION_FULL},
                                                    {NULL, 0}};
static const H2kFormatOption qcow2_options[]
    = {{"cluster_size", G_STRUCT_OFFSET (H2kOutputOptions, cluster_size), NULL},
       {"compat", G_STRUCT_OFFSET (H2kOutputOptions, compat), compat_words},
       {"compression_type", G_STRUCT_OFFSET (H2kOutputOptions, compression_type),
        compression_words},
       {"preallocation", G_STRUCT_OFFSET (H2kOutputOptions, preallocation), preallocation_words},
       {"lazy_refcounts", G_STRUCT_OFFSET (H2kOutputOptions, no_choice), h2k_option_off},
       {NULL, 0, NULL}};

static guint64
refcounts_per_block (const Qcow2Writer *q)
{
  return q->cluster * 8ull / (1u << QCOW2_REFCOUNT_ORDER);
}

static guint64
clusters_for (const Qcow2Writer *q, guint64 bytes)
{
  return (bytes + q->cluster - 1) >> q->cluster_bits;
}

/* --- creation --------------------------------------------------------------------------------- */

static gboolean
check_geometry (H2kOutput *output, guint32 cluster, GError **error)
{
  guint64 l1_size = 0;

  if (cluster < MIN_CLUSTER || cluster > MAX_CLUSTER || (cluster & (cluster - 1)))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "a qcow2 cluster size is a power of two from 512 bytes to 2 MiB, not %u",
                   cluster);
      return FALSE;
    }
  l1_size = output->size / cluster / (cluster / 8);
  if (l1_size >= MAX_L1_BYTES / 8)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "a disk of %" G_GUINT64_FORMAT
                   " bytes is too large for qcow2 clusters of %u bytes; choose larger ones",
                   output->size, cluster);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_backing (H2kOutput *output, guint32 cluster, GError **error)
{
  gsize room = cluster - sizeof (Qcow2Header) - 3 * sizeof (Qcow2Extension) - 32, most;

  if (!output->backing)
    return TRUE;
  most = MIN (QCOW2_MAX_BACKING, room - strlen (output->backing_format));
  if (strlen (output->backing) <= most)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
               "the path of the backing file of %s is longer than the %" G_GSIZE_FORMAT
               " bytes that qcow2 can hold with clusters of %u bytes; move it to a shorter path: "
               "%s",
               output->given, most, cluster, output->backing);
  return FALSE;
}

/* What QEMU does not have either. */
static gboolean
check_combination (H2kOutput *output, GError **error)
{
  const H2kOutputOptions *o = &output->options;
  gboolean zstd = o->compression == H2K_COMPRESS_ZSTD || o->compression_type == H2K_COMPRESS_ZSTD;

  if (o->compat == 2 && zstd)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "zstd needs a newer qcow2: leave out compat=0.10");
  else if (o->preallocation && o->compression)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "compressed clusters have no place beforehand: leave out preallocation");
  else if (o->luks && (o->compression || o->preallocation || o->compat == 2))
    g_set_error_literal (
        error, H2K_ERROR, H2K_ERROR_USAGE,
        "an encrypted qcow2 is neither compressed nor preallocated, nor of the old "
        "version");
  else if (o->preallocation && output->backing)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "preallocation would hide the backing file: leave out one of the two");
  else
    return TRUE;
  return FALSE;
}

/* The clusters that the LUKS header takes: those of the first refcount block have to do. */
static gboolean
place_luks (Qcow2Writer *q, const H2kImageLuks *luks, GError **error)
{
  guint64 clusters = luks ? clusters_for (q, g_bytes_get_size (luks->header)) : 0;

  if (1 + clusters >= refcounts_per_block (q))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "qcow2 clusters of %u bytes are too small for encryption; choose larger ones",
                   q->cluster);
      return FALSE;
    }
  for (guint64 i = 0; i < clusters; i++)
    q->refcount[q->next++] = 1;
  return TRUE;
}

static void
qcow2_free (H2kWriter *writer)
{
  Qcow2Writer *q = (Qcow2Writer *)writer;

  free (q->l2);
  g_free (q->l1);
  g_free (q->refcount);
  g_array_unref (q->reftable);
  g_ptr_array_unref (q->spare);
  g_mutex_clear (&q->lock);
  g_free (q);
}

static H2kWriter *
qcow2_create (H2kOutput *output, GError **error)
{
  H2kOutputOptions *o = &output->options;
  guint32 cluster = o->cluster_size ? o->cluster_size : DEFAULT_CLUSTER;
  Qcow2Writer *q;

  if (o->compression && o->compression_type)
    o->compression = o->compression_type;
  if (!check_geometry (output, cluster, error) || !check_backing (output, cluster, error)
      || !check_combination (output, error))
    return NULL;
  q = g_new0 (Qcow2Writer, 1);
  q->parent.ops = &h2k_qcow2_writer;
  q->parent.unit = cluster;
  q->parent.may_pack = o->compression != H2K_COMPRESS_NONE;
  q->parent.packed_unit = q->parent.may_pack ? cluster : 0;
  q->preallocate = q->parent.all_chunks = o->preallocation != H2K_PREALLOCATION_OFF;
  if (!q->preallocate && !q->parent.may_pack)
    q->parent.reserve = H2K_RESERVE_START;
  q->parent.may_share = !q->parent.may_pack && !o->luks;
  q->output = output;
  q->cluster = cluster;
  q->cluster_bits = (guint)g_bit_nth_lsf (cluster, -1);
  q->l2_entries = cluster / sizeof (guint64);
  q->l1_size = (guint32)((output->size + cluster * q->l2_entries - 1) / (cluster * q->l2_entries));
  q->l1_size = MAX (q->l1_size, 1);
  q->l1 = g_new0 (guint64, q->l1_size);
  q->l2_index = G_MAXUINT64;
  q->reftable = g_array_new (FALSE, TRUE, sizeof (guint64));
  q->refcount = g_new0 (guint16, refcounts_per_block (q));
  q->refcount[0] = 1; /* the header */
  q->next = 1;
  g_mutex_init (&q->lock);
  q->spare = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_chunk_free);
  if (place_luks (q, o->luks, error))
    return &q->parent;
  qcow2_free (&q->parent);
  return NULL;
}

/* --- any thread ------------------------------------------------------------------------------- */

/* Mark the units that the chunk's ranges touch. */
static void
mark_used (H2kChunk *chunk, guint32 cluster)
{
  for (guint i = 0; i < chunk->n_units; i++)
    chunk->units[i] = (H2kUnit){H2K_UNIT_UNUSED, 0, 0};
  for (guint i = 0; i < chunk->ranges->len; i++)
    {
      const H2kRange *r = &g_array_index (chunk->ranges, H2kRange, i);
      guint64 first = (r->offset - chunk->offset) / cluster;
      guint64 last = (r->offset + r->length - 1 - chunk->offset) / cluster;

      for (guint64 u = first; u <= last; u++)
        chunk->units[u].kind = H2K_UNIT_ZERO;
    }
}

/* Mark the units that are not what the backing file has; THERE is for its content. */
static gboolean
mark_different (H2kChunk *chunk, guint32 cluster, H2kDisk *base, H2kChunk *there, GError **error)
{
  h2k_chunk_reset (there);
  there->offset = chunk->offset;
  there->length = chunk->length;
  if (!h2k_chunk_find_ranges (there, base, h2k_disk_extent, error)
      || !h2k_chunk_read (there, base, error))
    return FALSE;
  for (guint i = 0; i < chunk->n_units; i++)
    {
      gsize at = (gsize)i * cluster, n = MIN (cluster, chunk->length - at);
      gboolean same = memcmp (chunk->data + at, there->data + at, n) == 0;

      chunk->units[i] = (H2kUnit){same ? H2K_UNIT_UNUSED : H2K_UNIT_ZERO, 0, 0};
    }
  return TRUE;
}

static gboolean
leave_out_base (Qcow2Writer *q, H2kChunk *chunk, GError **error)
{
  H2kChunk *there = NULL;
  gboolean ok;

  g_mutex_lock (&q->lock);
  if (q->spare->len)
    there = g_ptr_array_steal_index_fast (q->spare, q->spare->len - 1);
  g_mutex_unlock (&q->lock);
  if (!there)
    there = h2k_chunk_new (chunk->capacity, 0, 0);
  ok = mark_different (chunk, q->cluster, q->output->base, there, error);
  g_mutex_lock (&q->lock);
  g_ptr_array_add (q->spare, there);
  g_mutex_unlock (&q->lock);
  if (!ok)
    g_prefix_error (error, "reading the backing file: ");
  return ok;
}

static gboolean
qcow2_prepare (H2kWriter *writer, H2kChunk *chunk, H2kCompressor *compressor, GError **error)
{
  Qcow2Writer *q = (Qcow2Writer *)writer;
  guint32 cluster = writer->unit;
  gsize packed = 0, zero = 0;

  chunk->n_units = (guint)((chunk->length + cluster - 1) / cluster);
  mark_used (chunk, cluster);
  if (q->output->base && !leave_out_base (q, chunk, error))
    return FALSE;
  for (guint i = 0; i < chunk->n_units; i++)
    {
      H2kUnit *unit = &chunk->units[i];
      const guint8 *data = chunk->data + (gsize)i * cluster;
      gsize n = 0;

      if (unit->kind == H2K_UNIT_UNUSED)
        continue;
      if (h2k_chunk_is_zero (chunk, (gsize)i * cluster, cluster))
        {
          zero += MIN (cluster, chunk->length - (gsize)i * cluster);
          continue;
        }
      /* Less than a sector saved is not worth a decompression at each read. */
      if (compressor)
        n = h2k_compress (compressor, data, cluster, chunk->packed + packed,
                          cluster - MIN (cluster / 2, 512));
      *unit = (H2kUnit){n ? H2K_UNIT_PACKED : H2K_UNIT_PLAIN, (guint32)packed, (guint32)n};
      packed += n;
    }
  chunk->bytes_zero = MIN (zero, chunk->bytes_data);
  return TRUE;
}

/* --- in the disk's order ---------------------------------------------------------------------- */

static void
add_be64_table (H2kChunk *chunk, guint64 offset, const guint64 *table, gsize entries,
                gsize file_bytes)
{
  guint64 *out = (guint64 *)(void *)h2k_chunk_add_buffer (chunk, file_bytes);

  for (gsize i = 0; i < entries; i++)
    out[i] = GUINT64_TO_BE (table[i]);
  h2k_chunk_add_segment (chunk, offset, out, file_bytes);
}

/* The refcount block that is being filled goes to host cluster AT, and the next one starts. */
static void
write_refcounts (Qcow2Writer *q, H2kChunk *chunk, guint64 at)
{
  guint64 n = refcounts_per_block (q);
  guint16 *out = (guint16 *)(void *)h2k_chunk_add_buffer (chunk, q->cluster);
  guint64 offset = at << q->cluster_bits;

  for (guint64 i = 0; i < n; i++)
    out[i] = GUINT16_TO_BE (q->refcount[i]);
  h2k_chunk_add_segment (chunk, offset, out, q->cluster);
  g_array_append_val (q->reftable, offset);
  memset (q->refcount, 0, n * sizeof *q->refcount);
}

/* A free host cluster, with a refcount of one. A compressed cluster never lies across the ends of
 * two refcount blocks' ranges, because the block of the first one comes between. */
static guint64
allocate (Qcow2Writer *q, H2kChunk *chunk)
{
  guint64 per_block = refcounts_per_block (q);

  if (q->next == (q->reftable->len + 1) * per_block)
    {
      q->pack_at = q->pack_end = 0;
      write_refcounts (q, chunk, q->next);
      q->refcount[0] = 1;
      q->next++;
    }
  q->refcount[q->next % per_block] = 1;
  return q->next++;
}

/* The place of a compressed cluster of LENGTH bytes. */
static guint64
allocate_packed (Qcow2Writer *q, H2kChunk *chunk, gsize length)
{
  guint64 per_block = refcounts_per_block (q);
  guint64 at, first;

  if (q->pack_at + length > q->pack_end)
    {
      guint64 cluster = allocate (q, chunk) << q->cluster_bits;

      if (q->pack_end != cluster)
        q->pack_at = cluster;
      q->pack_end = cluster + q->cluster;
    }
  at = q->pack_at;
  first = (at >> q->cluster_bits) % per_block;
  /* The cluster at PACK_AT is shared, unless it was allocated just now and starts here. */
  if (at % q->cluster && q->refcount[first] < G_MAXUINT16)
    q->refcount[first]++;
  q->pack_at += length;
  if (q->refcount[first] == G_MAXUINT16)
    q->pack_at = q->pack_end = 0;
  return at;
}

static guint64
packed_entry (const Qcow2Writer *q, guint64 at, gsize length)
{
  guint shift = 62 - (q->cluster_bits - 8);
  guint64 sectors = ((at + length - 1) >> 9) - (at >> 9);

  return QCOW2_COMPRESSED | sectors << shift | at;
}

/* The L2 table goes to its place. */
static void
write_l2 (Qcow2Writer *q, H2kChunk *chunk)
{
  if (q->l2_index == G_MAXUINT64)
    return;
  h2k_chunk_add_segment (chunk, q->l1[q->l2_index] & ~QCOW2_COPIED, q->l2, q->cluster);
  g_ptr_array_add (chunk->metadata, q->l2);
  q->l2 = NULL;
  q->l2_index = G_MAXUINT64;
}

/* The bytes of unit I as they are in the file at AT. NULL: an error. */
static const guint8 *
encrypt_unit (Qcow2Writer *q, H2kChunk *chunk, guint i, guint64 at, GError **error)
{
  const H2kImageLuks *luks = q->output->options.luks;
  const guint8 *plain = chunk->data + (gsize)i * q->cluster;
  guint8 *own;

  if (!luks)
    return plain;
  if (!luks->cipher)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: is encrypted, and its key was not given", q->output->given);
      return NULL;
    }
  own = h2k_chunk_add_buffer (chunk, q->cluster);
  memcpy (own, plain, q->cluster);
  return h2k_luks_cipher_run (luks->cipher, at / 512, own, q->cluster, TRUE, error) ? own : NULL;
}

static gboolean
place_unit (Qcow2Writer *q, H2kChunk *chunk, guint i, GError **error)
{
  const H2kUnit *unit = &chunk->units[i];
  guint64 index = (chunk->offset >> q->cluster_bits) + i;
  guint64 entry = QCOW2_ZERO, at;
  const guint8 *bytes;

  if (index / q->l2_entries != q->l2_index)
    {
      write_l2 (q, chunk);
      q->l2_index = index / q->l2_entries;
      q->l1[q->l2_index] = allocate (q, chunk) << q->cluster_bits | QCOW2_COPIED;
      q->l2 = (guint64 *)(void *)h2k_aligned_new0 (q->cluster);
    }
  if (unit->kind == H2K_UNIT_PLAIN)
    {
      at = allocate (q, chunk) << q->cluster_bits;
      bytes = encrypt_unit (q, chunk, i, at, error);
      if (!bytes)
        return FALSE;
      h2k_chunk_add_segment (chunk, at, bytes, q->cluster);
      entry = at | QCOW2_COPIED;
    }
  else if (unit->kind == H2K_UNIT_PACKED)
    {
      at = allocate_packed (q, chunk, unit->length);
      h2k_chunk_add_segment (chunk, at, chunk->packed + unit->offset, unit->length);
      entry = packed_entry (q, at, unit->length);
    }
  else if (q->preallocate || q->output->options.compat == 2) /* which has no mark for zeros */
    {
      at = allocate (q, chunk) << q->cluster_bits;
      h2k_chunk_add_segment (chunk, at, NULL, q->cluster);
      entry = at | QCOW2_COPIED;
    }
  q->l2[index % q->l2_entries] = GUINT64_TO_BE (entry);
  return TRUE;
}

static gboolean
check_reftable (Qcow2Writer *q, guint64 entries, GError **error)
{
  if (entries < MAX_REFTABLE_BYTES / sizeof (guint64))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s becomes too large for qcow2 clusters of %u bytes; choose larger ones",
               q->output->given, q->cluster);
  return FALSE;
}

/* The units of one L2 table, compressed ones first: each time the two kinds alternate, what is left
 * of a host cluster is lost. */
static gboolean
qcow2_place (H2kWriter *writer, H2kChunk *chunk, GError **error)
{
  Qcow2Writer *q = (Qcow2Writer *)writer;
  guint group = (guint)MIN (q->l2_entries, chunk->n_units);

  for (guint start = 0; start < chunk->n_units; start += group)
    for (guint pass = 0; pass < 2; pass++)
      for (guint i = start; i < MIN (start + group, chunk->n_units); i++)
        {
          H2kUnitKind kind = chunk->units[i].kind;
          gboolean stored = kind == H2K_UNIT_PLAIN || kind == H2K_UNIT_PACKED
                            || (kind == H2K_UNIT_ZERO && q->output->backing) || q->preallocate;

          if (stored && (kind == H2K_UNIT_PACKED) == (pass == 0)
              && !place_unit (q, chunk, i, error))
            return FALSE;
        }
  return check_reftable (q, q->reftable->len, error);
}

/* --- the end ---------------------------------------------------------------------------------- */

static gsize
add_extension (guint8 *header, gsize at, guint32 type, const char *text)
{
  gsize length = text ? strlen (text) : 0;
  Qcow2Extension extension = {GUINT32_TO_BE (type), GUINT32_TO_BE ((guint32)length)};

  memcpy (header + at, &extension, sizeof extension);
  if (length)
    memcpy (header + at + sizeof extension, text, length);
  return at + sizeof extension + (length + 7) / 8 * 8;
}

/* The LUKS header behind the image's own, and the extension that leads to it, at AT of HEADER. */
static gsize
add_luks (Qcow2Writer *q, H2kChunk *chunk, guint8 *header, gsize at)
{
  const H2kImageLuks *luks = q->output->options.luks;
  gsize length;
  const guint8 *data = g_bytes_get_data (luks->header, &length);
  Qcow2Extension extension = {GUINT32_TO_BE (QCOW2_EXT_LUKS), GUINT32_TO_BE (16)};
  const guint64 place[2] = {GUINT64_TO_BE (q->cluster), GUINT64_TO_BE ((guint64)length)};

  /* Most of it is key slots that are not in use. */
  for (gsize done = 0; done < length; done += q->cluster)
    {
      gsize n = MIN (q->cluster, length - done);
      guint8 *copy = NULL;

      if (h2k_is_zero (data + done, n))
        continue;
      copy = h2k_chunk_add_buffer (chunk, q->cluster);
      memcpy (copy, data + done, n);
      h2k_chunk_add_segment (chunk, q->cluster + done, copy, q->cluster);
    }
  memcpy (header + at, &extension, sizeof extension);
  memcpy (header + at + sizeof extension, place, sizeof place);
  return at + sizeof extension + sizeof place;
}

static void
add_header (Qcow2Writer *q, H2kChunk *chunk, guint64 l1_at, guint64 table_at,
            guint64 table_clusters)
{
  guint8 *header = h2k_chunk_add_buffer (chunk, q->cluster);
  const H2kOutputOptions *o = &q->output->options;
  gboolean v2 = o->compat == 2;
  gboolean zstd = o->compression == H2K_COMPRESS_ZSTD || o->compression_type == H2K_COMPRESS_ZSTD;
  gsize size = v2 ? QCOW2_V2_HEADER : sizeof (Qcow2Header), at = size;
  Qcow2Header h = {
      .magic = GUINT32_TO_BE (QCOW2_MAGIC),
      .version = GUINT32_TO_BE (v2 ? 2 : 3),
      .cluster_bits = GUINT32_TO_BE (q->cluster_bits),
      .size = GUINT64_TO_BE (q->output->size),
      .l1_size = GUINT32_TO_BE (q->l1_size),
      .l1_table_offset = GUINT64_TO_BE (l1_at << q->cluster_bits),
      .refcount_table_offset = GUINT64_TO_BE (table_at << q->cluster_bits),
      .refcount_table_clusters = GUINT32_TO_BE ((guint32)table_clusters),
      .incompatible_features = GUINT64_TO_BE (zstd ? QCOW2_INCOMPAT_COMPRESSION : 0),
      .refcount_order = GUINT32_TO_BE (QCOW2_REFCOUNT_ORDER),
      .header_length = GUINT32_TO_BE (sizeof h),
      .compression_type = zstd ? QCOW2_COMPRESSION_ZSTD : 0,
  };

  if (o->luks)
    {
      h.crypt_method = GUINT32_TO_BE (QCOW2_CRYPT_LUKS);
      at = add_luks (q, chunk, header, at);
    }
  if (q->output->backing)
    {
      at = add_extension (header, at, QCOW2_EXT_BACKING_FORMAT, q->output->backing_format);
      at = add_extension (header, at, QCOW2_EXT_END, NULL);
      h.backing_file_offset = GUINT64_TO_BE (at);
      h.backing_file_size = GUINT32_TO_BE ((guint32)strlen (q->output->backing));
      memcpy (header + at, q->output->backing, strlen (q->output->backing));
    }
  memcpy (header, &h, size);
  h2k_chunk_add_segment (chunk, 0, header, q->cluster);
}

/* What tables have of zeros at their ends stays a hole of a new file: an image without data takes
 * some pages instead of some clusters. */
static void
leave_zero_tails (Qcow2Writer *q, H2kChunk *chunk)
{
  const H2kOutput *output = q->output;

  if (output->sink->ops->kind != H2K_SINK_FILE || output->dense || output->previous)
    return;
  for (guint i = 0; i < chunk->segments->len; i++)
    {
      H2kSegment *s = &g_array_index (chunk->segments, H2kSegment, i);
      while (s->length > H2K_IO_ALIGN && s->length % H2K_IO_ALIGN == 0
             && h2k_is_zero (s->data + s->length - H2K_IO_ALIGN, H2K_IO_ALIGN))
        s->length -= H2K_IO_ALIGN;
    }
}

/* The tail of the file, all of it in consecutive clusters after what is allocated already:
 * L1 table, refcount table, and the refcount blocks from the one being filled to the one that
 * counts the last of themselves. */
static gboolean
qcow2_finish (H2kWriter *writer, H2kChunk *chunk, guint64 *file_length, GError **error)
{
  Qcow2Writer *q = (Qcow2Writer *)writer;
  guint64 per_block = refcounts_per_block (q);
  guint64 l1_at, table_at, blocks_at, table = 1, first = q->reftable->len, blocks = first + 1;

  write_l2 (q, chunk);
  l1_at = q->next;
  table_at = l1_at + clusters_for (q, (guint64)q->l1_size * sizeof (guint64));
  /* More blocks need more room, which may need more blocks; each step can only grow. */
  for (gboolean fits = FALSE; !fits;)
    {
      table = clusters_for (q, blocks * sizeof (guint64));
      blocks_at = table_at + table;
      fits = blocks * per_block >= blocks_at + (blocks - first);
      blocks += !fits;
    }
  if (!check_reftable (q, blocks, error))
    return FALSE;
  *file_length = (blocks_at + (blocks - first)) << q->cluster_bits;

  add_be64_table (chunk, l1_at << q->cluster_bits, q->l1, q->l1_size,
                  (table_at - l1_at) << q->cluster_bits);
  for (guint64 b = first; b < blocks; b++)
    {
      for (guint64 c = MAX (q->next, b * per_block);
           c < MIN (*file_length >> q->cluster_bits, (b + 1) * per_block); c++)
        q->refcount[c % per_block] = 1;
      write_refcounts (q, chunk, blocks_at + (b - first));
    }
  add_be64_table (chunk, table_at << q->cluster_bits, (guint64 *)(void *)q->reftable->data,
                  q->reftable->len, table << q->cluster_bits);
  add_header (q, chunk, l1_at, table_at, table);
  leave_zero_tails (q, chunk);
  return TRUE;
}

const H2kWriterOps h2k_qcow2_writer = {
    .format = "qcow2",
    .sinks = H2K_SINK_FILE | H2K_SINK_NBD,
    .backing = TRUE,
    .options = qcow2_options,
    .create = qcow2_create,
    .prepare = qcow2_prepare,
    .place = qcow2_place,
    .finish = qcow2_finish,
    .free = qcow2_free,
};
