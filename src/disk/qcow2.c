/* qcow2.c - QEMU's copy-on-write images, versions 2 and 3, with backing files, for reading.
 *
 * Follows docs/interop/qcow2.txt of QEMU. Where that leaves room, QEMU's behaviour counts: a data
 * cluster that the file ends in reads as zeros from there on, and compressed data only has to fill
 * its cluster. A cluster that begins behind the end of the file is an error here, though: the file
 * was truncated.
 *
 * A guest offset leads through the L1 table, which is held in memory, to a slice of an L2 table,
 * of which a bounded number is cached. Neither lock is held while anything is read. The smallest
 * piece that is mapped, a unit, is a cluster, or a subcluster where L2 entries are extended.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "disk/qcow2.h"

#define SLICE_BYTES 16384              /* of an L2 table, read and cached at once */
#define SLICE_CACHE ((gsize)2 << 20)   /* bytes; 16 GiB of a disk with 64 KiB clusters */
#define CLUSTER_CACHE ((gsize)2 << 20) /* bytes of unpacked clusters, for small reads */
#define MAX_SPAN ((guint64)2 << 20)    /* of compressed data, read at once */
#define MAX_PIECES 4                   /* of an extent, merged */

typedef struct
{
  H2kDisk disk;
  H2kFile *file;
  H2kFile *data;         /* where the data clusters are: FILE, or the external data file */
  H2kQcow2Header header; /* without the strings */
  H2kLuksCipher *cipher; /* NULL: it is not encrypted */
  guint cluster_bits;
  guint unit_bits;    /* of a unit's size */
  guint entry_bits;   /* of an L2 entry's size: 3, or 4 when it is extended */
  guint l2_bits;      /* of an index into an L2 table */
  guint slice_bits;   /* of an index into a slice */
  guint64 l1_bytes;   /* what of the L1 table is used */
  guint64 *l1;        /* as in the file, in host byte order */
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

/* Where a unit, or a run of them, is. */
typedef struct
{
  Kind kind;
  guint64 host;     /* data: offset in the data file; compressed: of its cluster, in the file */
  guint64 host_end; /* compressed: where the last one's data end at the latest */
} Place;

static guint64
cluster_size (const Qcow2 *q)
{
  return (guint64)1 << q->cluster_bits;
}

#define set_corrupt(error, ...) h2k_set_corrupt (error, "qcow2", __VA_ARGS__)

/* --- the mapping ------------------------------------------------------------------------------ */

/* The slice that describes guest cluster NUMBER; NULL and no error when it is unallocated. */
static GBytes *
get_slice (Qcow2 *q, guint64 number, GError **error)
{
  guint64 l1_index = number >> q->l2_bits, slice = number >> q->slice_bits;
  guint64 table = q->l1[l1_index] & H2K_QCOW2_OFFSET_MASK, at;
  gsize bytes = (gsize)1 << (q->slice_bits + q->entry_bits);
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
  else if (table < q->header.l1_offset + q->l1_bytes
           && q->header.l1_offset < table + cluster_size (q))
    set_corrupt (error, q->disk.name, "the L2 table %" G_GUINT64_FORMAT " overlaps the L1 table",
                 l1_index);
  else
    {
      at = table + ((slice << q->slice_bits) % ((guint64)1 << q->l2_bits) << q->entry_bits);
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
check_place (Qcow2 *q, guint64 number, guint64 host, guint64 length, H2kFile *file, GError **error)
{
  guint64 offset = number << q->cluster_bits;

  if (host >= file->size)
    return set_corrupt (error, file->name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                        ", behind the end of the file at %" G_GUINT64_FORMAT " (truncated?)",
                        offset, host, file->size);
  if (file != q->file)
    return host == offset
           || set_corrupt (error, q->disk.name,
                           "the cluster at disk offset %" G_GUINT64_FORMAT
                           " is at another offset, %" G_GUINT64_FORMAT
                           ", of the external data file",
                           offset, host);
  if (host < sizeof (Qcow2Header)
      || (host < q->header.l1_offset + q->l1_bytes && q->header.l1_offset < host + length))
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT
                        " overlaps the header or the L1 table",
                        offset);
  return TRUE;
}

/* What the entry of guest cluster NUMBER says about the cluster as a whole. */
static gboolean
decode_cluster (Qcow2 *q, guint64 number, guint64 entry, Place *place, GError **error)
{
  *place = (Place){.kind = KIND_UNALLOCATED};
  if (entry & H2K_QCOW2_COMPRESSED)
    {
      place->kind = KIND_COMPRESSED;
      place->host = h2k_qcow2_compressed_place (q->cluster_bits, entry, &place->host_end);
      if (q->data != q->file)
        return set_corrupt (error, q->disk.name,
                            "the cluster at disk offset %" G_GUINT64_FORMAT
                            " is compressed, which it cannot be in an external data file",
                            number << q->cluster_bits);
      /* QEMU writes none, and would take the bytes of anybody who does for the guest's. */
      if (q->cipher)
        return set_corrupt (error, q->disk.name,
                            "the cluster at disk offset %" G_GUINT64_FORMAT
                            " is compressed, which it cannot be in an encrypted image",
                            number << q->cluster_bits);
      return check_place (q, number, place->host, 1, q->file, error);
    }
  if ((entry & H2K_QCOW2_ZERO) && q->entry_bits == 3)
    {
      place->kind = KIND_ZERO;
      return q->header.version >= 3
             || set_corrupt (error, q->disk.name,
                             "the cluster at disk offset %" G_GUINT64_FORMAT
                             " has a zero flag, which version 2 does not know",
                             number << q->cluster_bits);
    }
  place->host = entry & H2K_QCOW2_OFFSET_MASK;
  /* Offset 0 is a place like any other in an external data file. */
  if (place->host == 0 && (q->data == q->file || !(entry & H2K_QCOW2_COPIED)))
    return TRUE;
  place->kind = KIND_DATA;
  if (place->host % cluster_size (q))
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                        ", which is not aligned",
                        number << q->cluster_bits, place->host);
  return check_place (q, number, place->host, cluster_size (q), q->data, error);
}

/* Subcluster SUB of a cluster at PLACE, which is moved there, by the BITMAP of its entry: the lower
 * half has a bit for each one that is allocated, the upper half for each one that reads as zeros.
 * UNITS: how many from SUB on are of the same kind. */
static gboolean
decode_subcluster (Qcow2 *q, guint64 number, guint sub, guint64 bitmap, Place *place, guint *units,
                   GError **error)
{
  guint32 allocated = (guint32)bitmap, zero = (guint32)(bitmap >> 32), same;

  if ((allocated & zero) || (allocated && place->kind == KIND_UNALLOCATED))
    return set_corrupt (error, q->disk.name,
                        "the cluster at disk offset %" G_GUINT64_FORMAT
                        " has an impossible bitmap of subclusters",
                        number << q->cluster_bits);
  if (allocated >> sub & 1)
    {
      same = allocated;
      place->host += (guint64)sub << q->unit_bits;
    }
  else
    {
      place->kind = zero >> sub & 1 ? KIND_ZERO : KIND_UNALLOCATED;
      same = place->kind == KIND_ZERO ? zero : ~(allocated | zero);
    }
  /* The ones in a row from bit SUB on; the shift brings in zeros. */
  same = ~(same >> sub);
  *units = same ? (guint)__builtin_ctz (same) : H2K_QCOW2_SUBCLUSTERS;
  return TRUE;
}

/* What UNIT is by the SLICE of its cluster, and how many UNITS from there on, all of its cluster,
 * are of that kind. */
static gboolean
decode_unit (Qcow2 *q, guint64 unit, const guint8 *slice, Place *place, guint *units,
             GError **error)
{
  guint64 number = unit >> (q->cluster_bits - q->unit_bits);
  guint64 index = number & (((guint64)1 << q->slice_bits) - 1);
  const guint8 *entry = slice + (index << q->entry_bits);
  guint sub = (guint)(unit - (number << (q->cluster_bits - q->unit_bits)));

  *units = (1u << (q->cluster_bits - q->unit_bits)) - sub;
  if (!decode_cluster (q, number, h2k_be64 (entry), place, error))
    return FALSE;
  return q->entry_bits == 3 || place->kind == KIND_COMPRESSED
         || decode_subcluster (q, number, sub, h2k_be64 (entry + 8), place, units, error);
}

/* Whether NEXT, N units behind the start of RUN, belongs to it; if so it is taken in. Without
 * PLACES it is enough that it is of the same kind. */
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
    return next->host == run->host + (n << q->unit_bits);
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

/* The place of OFFSET's unit, and in END how far it goes on, LIMIT at the most: units that follow
 * each other in the file, or any of one kind when PLACES do not matter; then no more than one slice
 * is read. Trouble behind the first unit ends the run, it is no error yet. */
static gboolean
find_run (Qcow2 *q, guint64 offset, guint64 limit, gboolean places, Place *run, guint64 *end,
          GError **error)
{
  guint ratio_bits = q->cluster_bits - q->unit_bits, units;
  guint64 per_slice = (guint64)1 << (q->slice_bits + ratio_bits);
  guint64 per_table = (guint64)1 << (q->l2_bits + ratio_bits);
  guint64 first = offset >> q->unit_bits, unit = first, last = (limit - 1) >> q->unit_bits;
  gboolean same = TRUE;

  while (same && unit <= last)
    {
      g_autoptr (GError) failure = NULL;
      g_autoptr (GBytes) slice = get_slice (q, unit >> ratio_bits, &failure);
      const guint8 *data = slice ? g_bytes_get_data (slice, NULL) : NULL;
      guint64 stop = MIN (last, unit | (per_slice - 1));
      Place place = {.kind = KIND_UNALLOCATED};

      if (!data && !failure) /* nothing at all below this L1 entry */
        {
          same = join_run (q, places, run, &place, unit - first);
          if (same)
            unit = (unit | (per_table - 1)) + 1;
          continue;
        }
      while (same && !failure && unit <= stop)
        {
          same = decode_unit (q, unit, data, &place, &units, &failure)
                 && join_run (q, places, run, &place, unit - first);
          unit += same ? units : 0;
        }
      if (failure && unit == first)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      same = same && !failure && places;
    }
  *end = MIN (limit, unit << q->unit_bits);
  return TRUE;
}

/* --- compressed clusters ---------------------------------------------------------------------- */

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

  return h2k_qcow2_unpack (q->header.zstd, in, length, out, cluster_size (q))
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

/* LENGTH bytes of clusters that are not compressed, from HOST on. */
static gboolean
read_data (Qcow2 *q, guint64 host, gsize length, guint8 *out, GError **error)
{
  return q->cipher ? h2k_qcow2_luks_read (q->cipher, q->data, host, length, out, error)
                   : h2k_file_pread_or_zero (q->data, host, length, out, error);
}

static gboolean
qcow2_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Qcow2 *q = (Qcow2 *)disk;
  guint64 limit = offset + length, end, unit_size = (guint64)1 << q->unit_bits;
  gboolean ok = TRUE;

  for (guint8 *out = buffer; ok && offset < limit; out += end - offset, offset = end)
    {
      Place run;

      if (!find_run (q, offset, limit, TRUE, &run, &end, error))
        return FALSE;
      if (run.kind == KIND_DATA)
        ok = read_data (q, run.host + offset % unit_size, (gsize)(end - offset), out, error);
      else if (run.kind == KIND_COMPRESSED)
        ok = read_compressed (q, &run, offset, &end, out, error);
      else if (run.kind == KIND_UNALLOCATED)
        ok = h2k_disk_pread_or_zero (disk->backing, offset, (gsize)(end - offset), out, error);
      else
        memset (out, 0, (gsize)(end - offset));
    }
  return ok;
}

/* What of PIECE, whose clusters are in the external data file, is a hole of that file: metadata
 * that was reserved in advance calls everything data. */
static gboolean
find_hole (Qcow2 *q, H2kExtent *piece, GError **error)
{
  H2kExtent extent;

  if (piece->offset >= q->data->size)
    return TRUE;
  if (!h2k_file_extent (q->data, piece->offset, &extent, error))
    return FALSE;
  piece->length = MIN (piece->length, extent.length);
  piece->kind = extent.kind;
  return TRUE;
}

static const H2kExtentKind kinds[] = {
    [KIND_UNALLOCATED] = H2K_EXTENT_UNALLOCATED,
    [KIND_ZERO] = H2K_EXTENT_ZERO,
    [KIND_DATA] = H2K_EXTENT_DATA,
    [KIND_COMPRESSED] = H2K_EXTENT_DATA,
};

static gboolean
qcow2_own_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Qcow2 *q = (Qcow2 *)disk;
  Place run = {0};
  guint64 end;

  if (!find_run (q, offset, disk->size, FALSE, &run, &end, error))
    return FALSE;
  *extent = (H2kExtent){offset, end - offset, kinds[run.kind]};
  return TRUE;
}

/* One piece of an extent: a run of clusters, or what the backing file has in their place. */
static gboolean
find_piece (Qcow2 *q, guint64 offset, H2kExtent *piece, gboolean *below, GError **error)
{
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
  return run.kind != KIND_DATA || q->data == q->file || find_hole (q, piece, error);
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

static gboolean
qcow2_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  Qcow2 *q = (Qcow2 *)disk;
  guint64 end, inside = offset % ((guint64)1 << q->unit_bits);
  Place run = {0};

  if (!find_run (q, offset, offset + length, TRUE, &run, &end, NULL))
    return FALSE;
  if (run.kind == KIND_DATA)
    return !q->cipher && h2k_file_stored (q->data, run.host + inside, end - offset, stored);
  if (run.kind != KIND_UNALLOCATED || !disk->backing || offset >= disk->backing->size)
    return FALSE;
  return h2k_disk_stored (disk->backing, offset, MIN (end, disk->backing->size) - offset, stored);
}

static GPtrArray *
qcow2_snapshots (H2kDisk *disk, GError **error)
{
  Qcow2 *q = (Qcow2 *)disk;

  return h2k_qcow2_snapshots (q->file, &q->header, NULL, error);
}

static void
qcow2_finalize (H2kDisk *disk)
{
  Qcow2 *q = (Qcow2 *)disk;

  h2k_file_unref (q->data);
  h2k_file_unref (q->file);
  h2k_luks_cipher_unref (q->cipher);
  h2k_cache_free (q->slices);
  h2k_cache_free (q->clusters);
  h2k_qcow2_header_clear (&q->header);
  g_free (q->l1);
}

static const H2kDiskOps qcow2_ops = {
    .pread = qcow2_pread,
    .extent = qcow2_extent,
    .own_extent = qcow2_own_extent,
    .stored = qcow2_stored,
    .snapshots = qcow2_snapshots,
    .finalize = qcow2_finalize,
};

/* --- opening ---------------------------------------------------------------------------------- */

/* As much of the L1 table as the disk's size calls for. */
static gboolean
load_l1 (Qcow2 *q, GError **error)
{
  guint64 per_entry = (guint64)1 << (q->cluster_bits + q->l2_bits);
  guint64 needed = (q->disk.size - 1) / per_entry + 1, offset = q->header.l1_offset;
  const char *name = q->disk.name;

  if (needed > H2K_QCOW2_MAX_L1_BYTES / 8)
    return set_corrupt (error, name,
                        "a disk of %" G_GUINT64_FORMAT
                        " bytes is too large for clusters of %" G_GUINT64_FORMAT " bytes",
                        q->disk.size, cluster_size (q));
  if (q->header.l1_entries < needed)
    return set_corrupt (error, name,
                        "the L1 table has %" G_GUINT64_FORMAT " entries, %" G_GUINT64_FORMAT
                        " are needed",
                        q->header.l1_entries, needed);
  if (offset == 0 || offset % cluster_size (q) || offset > q->file->size
      || needed * 8 > q->file->size - offset)
    return set_corrupt (error, name,
                        "the L1 table at %" G_GUINT64_FORMAT
                        " is not aligned or not within the file (truncated?)",
                        offset);
  q->l1_bytes = needed * 8;
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

static gboolean
set_missing_backing (const Qcow2 *q, const char *path, GError **error)
{
  g_autofree char *base = g_path_get_basename (path);
  g_autofree char *sibling = h2k_sibling_find (q->file->path, base);
  g_autofree char *place
      = g_strdup_printf ("as %s%s%s", path,
                         sibling ? ", but there is a file of that name beside the image, to which "
                                   "\"qemu-img rebase -u -b\" can point a copy: "
                                 : "",
                         sibling ? sibling : "");

  return h2k_set_missing (error, q->disk.name, "backing file", q->header.backing_name, place);
}

/* A name that is no file's, which is WHY it is not followed: unless somebody knows it. */
static gboolean
find_backing (Qcow2 *q, const GError *why, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (!q->file->server)
    q->disk.backing = h2k_disk_find_backing (q->file->path, q->header.backing_name, &local);
  if (q->disk.backing)
    h2k_disk_add_files (&q->disk, q->disk.backing);
  else
    g_propagate_error (error, local ? g_steal_pointer (&local) : g_error_copy (why));
  return q->disk.backing != NULL;
}

/* Without a recorded format it is found by content; h2k_disk_open() then sees to it that what a
 * guest wrote onto a raw disk names no further files. */
static gboolean
open_backing (Qcow2 *q, GError **error)
{
  g_autofree char *backing = NULL;
  g_autoptr (GError) local = NULL;
  const char *format = q->header.backing_format;

  if (!q->header.backing_name)
    return TRUE;
  backing = resolve_backing (q->file->path, q->header.backing_name, &local);
  if (!backing)
    return find_backing (q, local, error);
  /* Old QEMUs recorded the protocol instead. */
  if (format && (g_str_equal (format, "file") || g_str_equal (format, "host_device")))
    format = "raw";
  if (h2k_may_name_files (backing, NULL) && !g_file_test (backing, G_FILE_TEST_EXISTS))
    return set_missing_backing (q, backing, error);
  q->disk.backing = h2k_disk_open (backing, format, error);
  if (!q->disk.backing)
    {
      g_prefix_error (error, "%s: cannot open its backing file: ", q->disk.name);
      return FALSE;
    }
  h2k_disk_add_files (&q->disk, q->disk.backing);
  return TRUE;
}

/* The external data file: the one that the image names, which has to lie beside it. */
static gboolean
open_data_file (Qcow2 *q, GError **error)
{
  const char *name = q->header.data_name;
  g_autofree char *base = name ? g_path_get_basename (name) : NULL, *path = NULL;

  if (!(q->header.features & H2K_QCOW2_DATA_FILE))
    {
      q->data = h2k_file_ref (q->file);
      return TRUE;
    }
  if (!name)
    return set_corrupt (error, q->disk.name, "the external data file's name is not recorded");
  path = h2k_sibling_find (q->file->path, name);
  if (!path && g_path_is_absolute (name))
    path = h2k_sibling_find (q->file->path, base);
  if (!path)
    {
      g_autofree char *folder = g_path_get_dirname (q->file->path);
      g_autofree char *place = g_strdup_printf ("in the image's folder %s", folder);
      return h2k_set_missing (error, q->disk.name, "external data file", name, place);
    }
  q->data = h2k_file_open (path, error);
  if (!q->data)
    return FALSE;
  if (q->data->dev == q->file->dev && q->data->ino == q->file->ino)
    return set_corrupt (error, q->disk.name, "the image is its own external data file");
  g_ptr_array_add (q->disk.files, g_steal_pointer (&path));
  return TRUE;
}

/* Before the mapping is used: the cipher's presence says that clusters are encrypted. */
static gboolean
unlock (Qcow2 *q, GError **error)
{
  H2kImageKey *key = h2k_opening_key ();
  g_autoptr (GBytes) header = NULL;

  if (!q->header.encrypted)
    return TRUE;
  if (!key)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the qcow2 image is encrypted (LUKS), and no key was given; decrypt it with "
                   "\"qemu-img convert\" first",
                   q->disk.name);
      return FALSE;
    }
  header = h2k_qcow2_luks_header (q->file, &q->header, error);
  q->cipher = header ? h2k_image_key_unlock (key, q->disk.name, header, error) : NULL;
  return q->cipher != NULL;
}

static void
set_geometry (Qcow2 *q)
{
  gboolean extended = !!(q->header.features & H2K_QCOW2_EXTENDED_L2);

  q->cluster_bits = q->header.cluster_bits;
  q->unit_bits = q->cluster_bits - (extended ? 5 : 0);
  q->entry_bits = extended ? 4 : 3;
  q->l2_bits = q->cluster_bits - q->entry_bits;
  q->slice_bits = (guint)g_bit_nth_msf (MIN (cluster_size (q), SLICE_BYTES), -1) - q->entry_bits;
}

static H2kDisk *
qcow2_open (H2kFile *file, GError **error)
{
  g_autoptr (H2kDisk) disk = (H2kDisk *)g_new0 (Qcow2, 1);
  Qcow2 *q = (Qcow2 *)disk;

  h2k_disk_init (disk, &qcow2_ops, 0, "qcow2", file->path);
  g_ptr_array_add (disk->files, g_strdup (file->path));
  q->file = h2k_file_ref (file);
  if (!h2k_qcow2_header_read (file, FALSE, &q->header, error))
    return NULL;

  /* As QEMU: whole sectors only. */
  disk->size = q->header.size / 512 * 512;
  disk->subformat = g_strdup_printf ("version %u", q->header.version);
  set_geometry (q);
  q->slices = h2k_cache_new (SLICE_CACHE);
  q->clusters = h2k_cache_new (MAX (CLUSTER_CACHE, 2 * cluster_size (q)));
  if (!unlock (q, error) || !load_l1 (q, error) || !open_data_file (q, error)
      || !open_backing (q, error))
    return NULL;
  return g_steal_pointer (&disk);
}

static int
qcow2_probe (const guint8 *head, gsize length, const char *path)
{
  return length >= 72 && memcmp (head, "QFI\xfb", 4) == 0 ? 100 : 0;
}

const H2kDiskFormat h2k_qcow2_format = {"qcow2", qcow2_probe, qcow2_open, h2k_qcow2_check};
