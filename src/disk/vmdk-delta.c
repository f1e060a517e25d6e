/* vmdk-delta.c - reads the extents that ESX writes for snapshots. See vmdk-delta.h.
 *
 * Neither the directory nor the tables are held in memory: pieces of both go through the disk's
 * cache, in one form for both kinds of extent, 64-bit places in the file. Grains of a busy guest
 * lie in the file in the order in which they were written, which is not the disk's: the grains of
 * one request are therefore read in the file's order, and those that are close to each other
 * together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk-delta.h"

#define PIECE_ENTRIES 512                        /* of the directory, read and cached together */
#define PIECE_KEY (G_GUINT64_CONSTANT (1) << 63) /* in the cache, apart from tables */
#define OPEN_TABLES_MAX 1024   /* read at open: 2 GiB (COWD) or 16 GiB (seSparse) of delta */
#define EXTENT_TABLES_MAX 4    /* looked into for one answer about extents, and ... */
#define EXTENT_PIECES_MAX 64   /* ... pieces of the directory without tables */
#define SPAN_MAX (1024 * 1024) /* bytes of the file read at once for several runs */
#define GAP_MAX (32 * 1024)    /* bytes between two runs that are read for nothing */

/* --- errors ----------------------------------------------------------------------------------- */

gboolean
h2k_vmdk_delta_set_unsupported (const H2kFile *file, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: %s: delete (consolidate) the VM's snapshots, or export the VM as OVF or OVA, "
               "and use that",
               file->name, what);
  return FALSE;
}

gboolean
h2k_vmdk_delta_read_header (H2kFile *file, void *header, gsize length, GError **error)
{
  if (file->size < length)
    return h2k_vmdk_delta_set_corrupt (file, error, "it has only %" G_GUINT64_FORMAT " bytes",
                                       file->size);
  return h2k_file_pread (file, 0, length, header, error);
}

/* --- directory and tables --------------------------------------------------------------------- */

guint64
h2k_vmdk_delta_tables (guint64 size, guint32 grain_size)
{
  return (size - 1) / ((guint64)grain_size * H2K_VMDK_DELTA_ENTRIES) + 1;
}

gboolean
h2k_vmdk_delta_in_file (const H2kFile *file, guint64 first, guint64 count)
{
  guint64 sectors = file->size / H2K_VMDK_SECTOR;

  return first <= sectors && count <= sectors - first;
}

static const guint64 *
places (const H2kVmdkBlock *block)
{
  return (const guint64 *)(gconstpointer)block->data;
}

/* PLACE, if LENGTH bytes there are inside the file. */
static guint64
check_place (const H2kVmdkDelta *d, guint64 place, guint64 length)
{
  if (place > H2K_VMDK_PLACE_BAD && (place > d->file->size || length > d->file->size - place))
    return H2K_VMDK_PLACE_BAD;
  return place;
}

/* COUNT entries at byte AT of the file, not yet as places; a reference. */
static H2kVmdkBlock *
read_entries (const H2kVmdkDelta *d, guint64 key, guint64 at, guint count, GError **error)
{
  const guint size = d->layout->entry_size;
  g_autoptr (H2kVmdkBlock) block = h2k_vmdk_block_new (d, key, count * sizeof (guint64));
  g_autofree guint8 *raw = g_malloc ((gsize)count * size);
  guint64 *entries = (guint64 *)(gpointer)block->data;

  if (!h2k_file_pread (d->file, at, (gsize)count * size, raw, error))
    return NULL;
  for (guint i = 0; i < count; i++)
    entries[i] = size == 4 ? h2k_le32 (raw + i * 4) : h2k_le64 (raw + i * 8);
  return g_steal_pointer (&block);
}

static guint
entries_of_piece (const H2kVmdkDelta *d, guint64 piece)
{
  return (guint)MIN (d->tables - piece * PIECE_ENTRIES, PIECE_ENTRIES);
}

/* Entries of table T that stand for grains; the last table may be cut short. */
static guint
entries_of_table (const H2kVmdkDelta *d, guint64 t)
{
  return (guint)MIN (d->grains - t * H2K_VMDK_DELTA_ENTRIES, H2K_VMDK_DELTA_ENTRIES);
}

/* Piece PIECE of the directory: places of tables. A reference. */
static H2kVmdkBlock *
get_piece (const H2kVmdkDelta *d, guint64 piece, GError **error)
{
  g_autoptr (H2kVmdkBlock) block = h2k_vmdk_cache_get (d->cache, d, PIECE_KEY | piece);
  const guint count = entries_of_piece (d, piece), size = d->layout->entry_size;
  guint64 *p;

  if (block)
    return g_steal_pointer (&block);
  block = read_entries (d, PIECE_KEY | piece, d->directory + piece * PIECE_ENTRIES * size, count,
                        error);
  if (!block)
    return NULL;
  p = (guint64 *)(gpointer)block->data;
  for (guint i = 0; i < count; i++)
    p[i] = check_place (d, d->layout->table_place (d, p[i]),
                        (guint64)entries_of_table (d, piece * PIECE_ENTRIES + i) * size);
  h2k_vmdk_cache_put (d->cache, block);
  return g_steal_pointer (&block);
}

/* Table T, which starts at byte AT: places of grains. A reference. */
static H2kVmdkBlock *
get_table (const H2kVmdkDelta *d, guint64 t, guint64 at, GError **error)
{
  g_autoptr (H2kVmdkBlock) block = h2k_vmdk_cache_get (d->cache, d, t);
  const guint count = entries_of_table (d, t);
  guint64 *p, first = t * H2K_VMDK_DELTA_ENTRIES;

  if (block)
    return g_steal_pointer (&block);
  block = read_entries (d, t, at, count, error);
  if (!block)
    return NULL;
  p = (guint64 *)(gpointer)block->data;
  for (guint i = 0; i < count; i++)
    p[i] = check_place (d, d->layout->grain_place (d, p[i]),
                        MIN (d->base.grain_size, d->base.size - (first + i) * d->base.grain_size));
  h2k_vmdk_cache_put (d->cache, block);
  return g_steal_pointer (&block);
}

static gboolean
set_bad_table (const H2kVmdkDelta *d, guint64 t, GError **error)
{
  return h2k_vmdk_delta_set_corrupt (
      d->file, error,
      "the grain directory's entry %" G_GUINT64_FORMAT
      " is impossible or leads to a table that is not inside the file",
      t);
}

static gboolean
set_bad_grain (const H2kVmdkDelta *d, guint64 grain, GError **error)
{
  return h2k_vmdk_delta_set_corrupt (d->file, error,
                                     "the table's entry of grain %" G_GUINT64_FORMAT
                                     " (disk offset %" G_GUINT64_FORMAT
                                     ") is impossible or leads to data that is not inside the file",
                                     grain, grain * d->base.grain_size);
}

/* Where table T starts: TABLE is a reference to it, or NULL when it is not allocated. */
static gboolean
find_table (const H2kVmdkDelta *d, guint64 t, H2kVmdkBlock **table, GError **error)
{
  g_autoptr (H2kVmdkBlock) piece = get_piece (d, t / PIECE_ENTRIES, error);
  guint64 at;

  *table = NULL;
  if (!piece)
    return FALSE;
  at = places (piece)[t % PIECE_ENTRIES];
  if (at == H2K_VMDK_PLACE_BAD)
    return set_bad_table (d, t, error);
  if (at == H2K_VMDK_PLACE_NONE)
    return TRUE;
  *table = get_table (d, t, at, error);
  return *table != NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Bytes that lie together both in the file and in the request. */
typedef struct
{
  guint64 at; /* in the file */
  guint8 *out;
  gsize length;
} Run;

static void
add_run (GArray *runs, guint64 at, guint8 *out, gsize length)
{
  Run *last = runs->len ? &g_array_index (runs, Run, runs->len - 1) : NULL;

  if (last && last->at + last->length == at && last->out + last->length == out)
    last->length += length;
  else
    {
      Run run = {at, out, length};
      g_array_append_val (runs, run);
    }
}

static int
compare_runs (gconstpointer a, gconstpointer b)
{
  const Run *x = a, *y = b;

  return x->at < y->at ? -1 : x->at > y->at;
}

/* How many of COUNT sorted RUNS are read together, and how many bytes that is. */
static guint
plan_span (const Run *runs, guint count, gsize *length)
{
  guint n = 1;

  *length = runs->length;
  for (; n < count; n++)
    {
      guint64 end = runs->at + *length, reach = runs[n].at - runs->at + runs[n].length;
      if (runs[n].at > end + GAP_MAX || reach > SPAN_MAX)
        break;
      *length = MAX (*length, (gsize)reach);
    }
  return n;
}

static gboolean
read_runs (const H2kVmdkDelta *d, GArray *runs, GError **error)
{
  g_autofree guint8 *buffer = NULL;
  guint n;

  if (runs->len > 1)
    g_array_sort (runs, compare_runs);
  for (guint i = 0; i < runs->len; i += n)
    {
      const Run *first = &g_array_index (runs, Run, i);
      gsize length;

      n = plan_span (first, runs->len - i, &length);
      if (n > 1 && !buffer)
        buffer = g_malloc (SPAN_MAX);
      if (!h2k_file_pread (d->file, first->at, length, n > 1 ? buffer : first->out, error))
        return FALSE;
      for (guint k = 0; n > 1 && k < n; k++)
        memcpy (first[k].out, buffer + (first[k].at - first->at), first[k].length);
    }
  return TRUE;
}

/* LENGTH bytes from OFFSET on in the reach of TABLE; with KEEP, OUT stays where nothing is
 * allocated.
 */
static gboolean
read_table (const H2kVmdkDelta *d, const H2kVmdkBlock *table, guint64 offset, gsize length,
            gboolean keep, guint8 *out, GError **error)
{
  g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (Run));
  const guint32 grain_size = d->base.grain_size;

  while (length)
    {
      guint i = (guint)(offset / grain_size);
      guint32 within = (guint32)(offset % grain_size);
      gsize n = MIN (length, grain_size - within);
      guint64 place = places (table)[i];

      if (place == H2K_VMDK_PLACE_BAD)
        return set_bad_grain (d, table->index * H2K_VMDK_DELTA_ENTRIES + i, error);
      if (place > H2K_VMDK_PLACE_BAD)
        add_run (runs, place + within, out, n);
      else if (place == H2K_VMDK_PLACE_ZERO || !keep)
        memset (out, 0, n);
      offset += n;
      out += n;
      length -= n;
    }
  return read_runs (d, runs, error);
}

static gboolean
read_range (H2kVmdkSparse *s, guint64 offset, gsize length, gboolean keep, guint8 *out,
            GError **error)
{
  const H2kVmdkDelta *d = (H2kVmdkDelta *)s;
  const guint64 reach = (guint64)s->grain_size * H2K_VMDK_DELTA_ENTRIES;

  while (length)
    {
      gsize n = (gsize)MIN (length, reach - offset % reach);
      g_autoptr (H2kVmdkBlock) table = NULL;

      if (!find_table (d, offset / reach, &table, error))
        return FALSE;
      if (table && !read_table (d, table, offset % reach, n, keep, out, error))
        return FALSE;
      if (!table && !keep)
        memset (out, 0, n);
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
delta_pread (H2kVmdkSparse *s, guint64 offset, gsize length, guint8 *out, GError **error)
{
  return read_range (s, offset, length, FALSE, out, error);
}

static gboolean
delta_pread_over (H2kVmdkSparse *s, guint64 offset, gsize length, guint8 *out, GError **error)
{
  return read_range (s, offset, length, TRUE, out, error);
}

/* --- extents ---------------------------------------------------------------------------------- */

/* A bad entry is data, so that somebody tries to read it and is told. */
static H2kExtentKind
kind_of (guint64 place)
{
  return place == H2K_VMDK_PLACE_NONE   ? H2K_EXTENT_UNALLOCATED
         : place == H2K_VMDK_PLACE_ZERO ? H2K_EXTENT_ZERO
                                        : H2K_EXTENT_DATA;
}

/* Grains from GRAIN on, which has no table; as far as its piece of the directory reaches. */
static guint64
grains_without_table (const H2kVmdkDelta *d, guint64 grain, GError **error)
{
  guint64 t = grain / H2K_VMDK_DELTA_ENTRIES, i = t % PIECE_ENTRIES;
  g_autoptr (H2kVmdkBlock) piece = get_piece (d, t / PIECE_ENTRIES, error);

  if (!piece)
    return 0;
  for (; i < entries_of_piece (d, t / PIECE_ENTRIES); i++)
    if (places (piece)[i] != H2K_VMDK_PLACE_NONE)
      break;
  t = t - t % PIECE_ENTRIES + i;
  return MIN (t * H2K_VMDK_DELTA_ENTRIES, d->grains) - grain;
}

/* Grains from GRAIN on that are of one KIND, which is set; takes one from what may be looked at. 0:
 * ERROR is set. */
static guint64
same_kind (const H2kVmdkDelta *d, guint64 grain, H2kExtentKind *kind, guint *tables, guint *pieces,
           GError **error)
{
  guint64 t = grain / H2K_VMDK_DELTA_ENTRIES;
  guint first = (guint)(grain % H2K_VMDK_DELTA_ENTRIES), i = first;
  g_autoptr (H2kVmdkBlock) table = NULL;

  if (!find_table (d, t, &table, error))
    return 0;
  if (!table)
    {
      --*pieces;
      *kind = H2K_EXTENT_UNALLOCATED;
      return grains_without_table (d, grain, error);
    }
  --*tables;
  *kind = kind_of (places (table)[first]);
  while (i < entries_of_table (d, t) && kind_of (places (table)[i]) == *kind)
    i++;
  return i - first;
}

static gboolean
delta_extent (H2kVmdkSparse *s, guint64 offset, H2kExtent *extent, GError **error)
{
  const H2kVmdkDelta *d = (H2kVmdkDelta *)s;
  guint64 first = offset / s->grain_size, grain = first;
  guint tables = EXTENT_TABLES_MAX, pieces = EXTENT_PIECES_MAX;

  while (grain < d->grains && tables && pieces)
    {
      H2kExtentKind kind;
      guint64 n = same_kind (d, grain, &kind, &tables, &pieces, error);

      if (n == 0)
        return FALSE;
      if (grain == first)
        extent->kind = kind;
      if (kind != extent->kind)
        break;
      grain += n;
    }
  extent->offset = offset;
  extent->length = MIN (grain * s->grain_size, s->size) - offset;
  return TRUE;
}

/* --- life ------------------------------------------------------------------------------------- */

static void
delta_free (H2kVmdkSparse *s)
{
  H2kVmdkDelta *d = (H2kVmdkDelta *)s;

  h2k_file_unref (d->file);
  g_free (d);
}

static const H2kVmdkSparseOps delta_ops = {
    .pread = delta_pread,
    .pread_over = delta_pread_over,
    .extent = delta_extent,
    .free = delta_free,
};

static gboolean
check_table (const H2kVmdkDelta *d, guint64 t, guint64 at, GError **error)
{
  g_autoptr (H2kVmdkBlock) table = get_table (d, t, at, error);

  if (!table)
    return FALSE;
  for (guint i = 0; i < entries_of_table (d, t); i++)
    if (places (table)[i] == H2K_VMDK_PLACE_BAD)
      return set_bad_grain (d, t * H2K_VMDK_DELTA_ENTRIES + i, error);
  return TRUE;
}

/* Whether every table, and every grain of the first tables, is there as a whole. */
static gboolean
check_tables (const H2kVmdkDelta *d, GError **error)
{
  guint budget = OPEN_TABLES_MAX;

  for (guint64 first = 0; first < d->tables; first += PIECE_ENTRIES)
    {
      g_autoptr (H2kVmdkBlock) piece = get_piece (d, first / PIECE_ENTRIES, error);

      if (!piece)
        return FALSE;
      for (guint i = 0; i < entries_of_piece (d, first / PIECE_ENTRIES); i++)
        {
          guint64 at = places (piece)[i];
          if (at == H2K_VMDK_PLACE_BAD)
            return set_bad_table (d, first + i, error);
          if (at == H2K_VMDK_PLACE_NONE || budget == 0)
            continue;
          budget--;
          if (!check_table (d, first + i, at, error))
            return FALSE;
        }
    }
  return TRUE;
}

H2kVmdkSparse *
h2k_vmdk_delta_new (const H2kVmdkDelta *delta, GError **error)
{
  g_autoptr (H2kVmdkSparse) s = g_memdup2 (delta, sizeof *delta);
  H2kVmdkDelta *d = (H2kVmdkDelta *)s;

  s->ops = &delta_ops;
  h2k_file_ref (d->file);
  d->tables = h2k_vmdk_delta_tables (s->size, s->grain_size);
  d->grains = (s->size - 1) / s->grain_size + 1;
  if (d->tables > H2K_VMDK_TABLES_MAX)
    {
      h2k_vmdk_delta_set_corrupt (d->file, error,
                                  "it is for a disk of %" G_GUINT64_FORMAT
                                  " bytes, which is more than there can be",
                                  s->size);
      return NULL;
    }
  if (d->directory > d->file->size
      || d->tables * d->layout->entry_size > d->file->size - d->directory)
    {
      h2k_vmdk_delta_set_corrupt (d->file, error,
                                  "the grain directory (byte %" G_GUINT64_FORMAT
                                  ") is not inside the file",
                                  d->directory);
      return NULL;
    }
  return check_tables (d, error) ? g_steal_pointer (&s) : NULL;
}
