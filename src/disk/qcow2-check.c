/* qcow2-check.c - whether a qcow2 image is consistent: every table is walked, the references to
 * each cluster of the file are counted and compared with the reference count that the image keeps.
 *
 * Counts are made for a window of the file at a time (64 MiB of counters: 1 TiB of a file with
 * clusters of 64 KiB), with one walk over the tables for each window that something points into.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "disk/check.h"
#include "disk/qcow2.h"

#define DEFAULT_WINDOW ((guint64)1 << 24)  /* clusters */
#define BLOCK_CACHE ((gsize)4 << 20)       /* bytes of refcount blocks */
#define MAX_TABLE_BYTES ((guint64)8 << 20) /* of the refcount table; QEMU's limit */
#define MAX_BITMAPS 65535u
#define MAX_BITMAP_TABLE 0x8000000u /* entries; QEMU's limit */

#define L1_RESERVED ((guint64)0x7f000000000001ff)
#define L2_RESERVED ((guint64)0x3f000000000001fe)
#define TABLE_RESERVED ((guint64)0x1ff)

/* Of a counter: who points to the cluster, above the number of references. */
enum
{
  USE_META = 1 << 28,
  USE_L2 = 1 << 29,
  USE_DATA = 1 << 30,
  COUNT_MASK = USE_META - 1,
};

guint64 h2k_qcow2_check_window = DEFAULT_WINDOW;

typedef struct
{
  H2kFile *file;
  H2kCheck *check;
  H2kQcow2Header header;
  guint cluster_bits;
  guint entry_bits;     /* of the size of an L2 entry */
  guint64 clusters;     /* of the file */
  GPtrArray *snapshots; /* H2kQcow2Snapshot; NULL: the table cannot be read */
  guint64 snapshots_end;
  guint64 *refcount_table; /* in host byte order, all that is in the file */
  guint64 refcount_entries;
  H2kCache *blocks; /* of reference counts */
  GBytes *block;    /* the last one */
  guint64 block_index;
  gboolean first;     /* the pass in which entries are judged */
  guint32 *counts;    /* of the window */
  guint64 start, end; /* of the window: clusters */
  guint64 next;       /* the first cluster behind it that something points to */
} Check;

static guint64
cluster_size (const Check *c)
{
  return (guint64)1 << c->cluster_bits;
}

/* Say it in the first pass only. */
#define corrupt(c, ...)                                                                            \
  do                                                                                               \
    if ((c)->first)                                                                                \
      h2k_check_corrupt ((c)->check, __VA_ARGS__);                                                 \
  while (0)

/* Count a reference to each cluster of LENGTH bytes at OFFSET. FALSE: they are not in the file;
 * the last cluster may be cut short. */
static gboolean
claim (Check *c, guint use, guint64 offset, guint64 length, const char *what, guint64 index)
{
  guint64 first = offset >> c->cluster_bits, stop;

  if (length == 0)
    return TRUE;
  if (offset > G_MAXINT64 || length > G_MAXINT64
      || (offset + length > c->file->size && offset + length - c->file->size >= cluster_size (c)))
    {
      corrupt (c,
               "%s %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT " lies behind the end of the file",
               what, index, offset);
      return FALSE;
    }
  stop = MIN (((offset + length - 1) >> c->cluster_bits) + 1, c->clusters);
  if (stop > c->end && stop > first)
    c->next = MIN (c->next, MAX (first, c->end));
  for (guint64 i = MAX (first, c->start); i < MIN (stop, c->end); i++)
    {
      guint32 *count = &c->counts[i - c->start];
      if ((*count & COUNT_MASK) < COUNT_MASK)
        ++*count;
      *count |= use;
    }
  return TRUE;
}

/* --- the image's own reference counts --------------------------------------------------------- */

static guint64
block_entries (const Check *c)
{
  return cluster_size (c) * 8 / c->header.refcount_bits;
}

static gboolean
is_good_block (const Check *c, guint64 entry)
{
  return entry && !(entry & TABLE_RESERVED) && entry % cluster_size (c) == 0
         && entry <= c->file->size && c->file->size - entry >= cluster_size (c);
}

/* Block INDEX; NULL without an error: there is none, or the table's entry is bad. */
static const guint8 *
get_block (Check *c, guint64 index, GError **error)
{
  guint64 at = index < c->refcount_entries ? c->refcount_table[index] : 0;

  if (!is_good_block (c, at))
    return NULL;
  if (c->block && c->block_index == index)
    return g_bytes_get_data (c->block, NULL);
  g_clear_pointer (&c->block, g_bytes_unref);
  c->block = h2k_cache_get (c->blocks, index);
  if (!c->block)
    {
      g_autofree guint8 *data = g_malloc (cluster_size (c));

      if (!h2k_file_pread (c->file, at, cluster_size (c), data, error))
        return NULL;
      c->block = g_bytes_new_take (g_steal_pointer (&data), cluster_size (c));
      h2k_cache_put (c->blocks, index, c->block);
    }
  c->block_index = index;
  return g_bytes_get_data (c->block, NULL);
}

/* Entry I of BLOCK; of entries smaller than a byte the first one is the lowest. */
static guint64
block_entry (const guint8 *block, guint bits, guint64 i)
{
  switch (bits)
    {
    case 8:
      return block[i];
    case 16:
      return h2k_be16 (block + i * 2);
    case 32:
      return h2k_be32 (block + i * 4);
    case 64:
      return h2k_be64 (block + i * 8);
    default:
      return block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
    }
}

static gboolean
get_refcount (Check *c, guint64 cluster, guint64 *refcount, GError **error)
{
  g_autoptr (GError) failure = NULL;
  const guint8 *block = get_block (c, cluster / block_entries (c), &failure);

  if (failure)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
  *refcount = block ? block_entry (block, c->header.refcount_bits, cluster % block_entries (c)) : 0;
  return TRUE;
}

static gboolean
load_refcount_table (Check *c, GError **error)
{
  guint64 offset = c->header.refcount_table_offset;
  guint64 bytes = c->header.refcount_table_clusters << c->cluster_bits;

  if (offset % cluster_size (c) || bytes == 0 || bytes > MAX_TABLE_BYTES || offset > c->file->size
      || bytes > c->file->size - offset)
    {
      h2k_check_corrupt (c->check,
                         "the refcount table of %" G_GUINT64_FORMAT
                         " clusters at %" G_GUINT64_FORMAT " is impossible or not in the file",
                         c->header.refcount_table_clusters, offset);
      return TRUE;
    }
  c->refcount_table = g_malloc (bytes);
  c->refcount_entries = bytes / 8;
  if (!h2k_file_pread (c->file, offset, bytes, c->refcount_table, error))
    return FALSE;
  for (guint64 i = 0; i < c->refcount_entries; i++)
    c->refcount_table[i] = GUINT64_FROM_BE (c->refcount_table[i]);
  return TRUE;
}

static void
walk_refcounts (Check *c)
{
  claim (c, USE_META, c->header.refcount_table_offset, c->refcount_entries * 8,
         "the refcount table", 0);
  for (guint64 i = 0; i < c->refcount_entries; i++)
    {
      guint64 at = c->refcount_table[i];

      if (at == 0)
        continue;
      if (is_good_block (c, at))
        claim (c, USE_META, at, cluster_size (c), "refcount block", i);
      else
        corrupt (c,
                 "refcount block %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                 " is not aligned or not in the file",
                 i, at);
    }
}

/* --- L1 and L2 tables ------------------------------------------------------------------------- */

/* The flag says that nobody else points to what is at OFFSET, and has to be right: QEMU writes
 * there without looking at the reference count. */
static gboolean
check_copied (Check *c, guint64 entry, guint64 offset, const char *what, guint64 index,
              GError **error)
{
  guint64 refcount;

  if (!get_refcount (c, offset >> c->cluster_bits, &refcount, error))
    return FALSE;
  if ((refcount == 1) != !!(entry & H2K_QCOW2_COPIED))
    h2k_check_corrupt (c->check,
                       "the copied flag of %s %" G_GUINT64_FORMAT
                       " is wrong: the refcount of its cluster at %" G_GUINT64_FORMAT
                       " is %" G_GUINT64_FORMAT,
                       what, index, offset, refcount);
  return TRUE;
}

static void
walk_compressed (Check *c, guint64 number, guint64 entry, guint64 bitmap)
{
  guint64 end, host = h2k_qcow2_compressed_place (c->cluster_bits, entry, &end);

  if (entry & H2K_QCOW2_COPIED)
    corrupt (c, "compressed cluster %" G_GUINT64_FORMAT " has the copied flag", number);
  if ((c->header.features & H2K_QCOW2_DATA_FILE) || bitmap)
    {
      corrupt (c,
               "cluster %" G_GUINT64_FORMAT
               " is compressed, but has subclusters or is in an external data file",
               number);
      return;
    }
  claim (c, USE_DATA, host, end - host, "compressed cluster", number);
}

static gboolean
walk_entry (Check *c, guint64 number, const guint8 *data, gboolean active, GError **error)
{
  guint64 entry = h2k_be64 (data), bitmap = c->entry_bits == 4 ? h2k_be64 (data + 8) : 0;
  guint64 host = entry & H2K_QCOW2_OFFSET_MASK;
  gboolean external = !!(c->header.features & H2K_QCOW2_DATA_FILE);
  gboolean normal = host || (external && (entry & H2K_QCOW2_COPIED));

  if (active && c->first && ((entry & H2K_QCOW2_COMPRESSED) || normal))
    c->check->allocated++;
  if (entry & H2K_QCOW2_COMPRESSED)
    {
      c->check->compressed += active && c->first;
      walk_compressed (c, number, entry, bitmap);
      return TRUE;
    }
  if ((entry & L2_RESERVED) || ((entry & H2K_QCOW2_ZERO) && c->header.version < 3))
    corrupt (c,
             "the entry of cluster %" G_GUINT64_FORMAT " has reserved bits: %#" G_GINT64_MODIFIER
             "x",
             number, entry);
  if ((guint32)bitmap & (guint32)(bitmap >> 32) || (!normal && (guint32)bitmap))
    corrupt (c, "cluster %" G_GUINT64_FORMAT " has an impossible bitmap of subclusters", number);
  if (!normal)
    return TRUE;
  if (host % cluster_size (c))
    {
      corrupt (c, "cluster %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT " is not aligned", number,
               host);
      return TRUE;
    }
  if (external && host != number << c->cluster_bits)
    corrupt (c,
             "cluster %" G_GUINT64_FORMAT " is at another offset, %" G_GUINT64_FORMAT
             ", of the external data file",
             number, host);
  if (external)
    {
      if (active && !(entry & H2K_QCOW2_COPIED))
        corrupt (c, "cluster %" G_GUINT64_FORMAT " of the external data file has no copied flag",
                 number);
      return TRUE;
    }
  if (!claim (c, USE_DATA, host, cluster_size (c), "cluster", number))
    return TRUE;
  return !active || !c->first || check_copied (c, entry, host, "cluster", number, error);
}

static gboolean
walk_l2 (Check *c, guint64 index, guint64 offset, gboolean active, guint8 *table, GError **error)
{
  guint64 entries = cluster_size (c) >> c->entry_bits;

  if (!h2k_file_pread (c->file, offset, cluster_size (c), table, error))
    return FALSE;
  for (guint64 i = 0; i < entries; i++)
    {
      const guint8 *entry = table + (i << c->entry_bits);

      if (!h2k_is_zero (entry, (gsize)1 << c->entry_bits)
          && !walk_entry (c, index * entries + i, entry, active, error))
        return FALSE;
    }
  return TRUE;
}

static int
compare_entries (gconstpointer a, gconstpointer b, gpointer l1)
{
  guint64 x = ((const guint64 *)l1)[*(const guint32 *)a] & H2K_QCOW2_OFFSET_MASK;
  guint64 y = ((const guint64 *)l1)[*(const guint32 *)b] & H2K_QCOW2_OFFSET_MASK;

  return x < y ? -1 : x > y ? 1 : *(const guint32 *)a < *(const guint32 *)b ? -1 : 1;
}

/* The entries of L1 that are not empty, in the order of their L2 tables in the file: those are read
 * from front to back, and the same one twice in a row is seen. */
static guint32 *
sort_entries (guint64 *l1, guint32 entries, guint32 *count)
{
  guint32 *order = g_new (guint32, MAX (entries, 1));

  *count = 0;
  for (guint32 i = 0; i < entries; i++)
    if (l1[i])
      order[(*count)++] = i;
  if (*count)
    g_qsort_with_data (order, (gint)*count, sizeof *order, compare_entries, l1);
  return order;
}

static gboolean
walk_tables (Check *c, guint64 *l1, guint32 entries, gboolean active, GError **error)
{
  g_autofree guint8 *table = g_malloc (cluster_size (c));
  guint32 count;
  g_autofree guint32 *order = sort_entries (l1, entries, &count);
  guint64 last = 0;

  for (guint32 i = 0; i < count; i++)
    {
      guint64 entry = l1[order[i]], offset = entry & H2K_QCOW2_OFFSET_MASK;

      if (entry & L1_RESERVED)
        corrupt (c, "the entry of L2 table %u has reserved bits: %#" G_GINT64_MODIFIER "x",
                 order[i], entry);
      if (offset == 0)
        {
          if (entry & H2K_QCOW2_COPIED)
            corrupt (c, "the entry of L2 table %u has the copied flag, but no table", order[i]);
          continue;
        }
      if (offset % cluster_size (c) || offset > c->file->size
          || c->file->size - offset < cluster_size (c))
        {
          corrupt (c, "L2 table %u at %" G_GUINT64_FORMAT " is not aligned or not in the file",
                   order[i], offset);
          continue;
        }
      claim (c, USE_L2, offset, cluster_size (c), "L2 table", order[i]);
      if (offset == last)
        {
          corrupt (c, "L2 table %u at %" G_GUINT64_FORMAT " is used twice", order[i], offset);
          continue;
        }
      last = offset;
      if ((active && c->first && !check_copied (c, entry, offset, "L2 table", order[i], error))
          || !walk_l2 (c, order[i], offset, active, table, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
walk_l1 (Check *c, guint64 offset, guint64 entries, gboolean active, guint64 index, GError **error)
{
  g_autofree guint64 *l1 = NULL;

  if (entries == 0)
    return TRUE;
  if (entries * 8 > H2K_QCOW2_MAX_L1_BYTES || offset % cluster_size (c) || offset > c->file->size
      || entries * 8 > c->file->size - offset)
    {
      corrupt (c,
               "the L1 table of %" G_GUINT64_FORMAT " entries at %" G_GUINT64_FORMAT
               " is impossible or not in the file",
               entries, offset);
      return TRUE;
    }
  claim (c, USE_META, offset, entries * 8, "L1 table", index);
  l1 = g_malloc (entries * 8);
  if (!h2k_file_pread (c->file, offset, entries * 8, l1, error))
    return FALSE;
  for (guint64 i = 0; i < entries; i++)
    l1[i] = GUINT64_FROM_BE (l1[i]);
  return walk_tables (c, l1, (guint32)entries, active, error);
}

/* --- snapshots and bitmaps -------------------------------------------------------------------- */

static int
compare_snapshots (gconstpointer a, gconstpointer b)
{
  guint64 x = (*(H2kQcow2Snapshot *const *)a)->l1_offset;
  guint64 y = (*(H2kQcow2Snapshot *const *)b)->l1_offset;

  return x < y ? -1 : x > y;
}

/* Sorted by their L1 tables, none of which may be another one's: walking the same tables for each
 * of 65536 snapshots would take for ever. */
static gboolean
load_snapshots (Check *c, GError **error)
{
  g_autoptr (GError) failure = NULL;
  guint64 end = 0;

  c->snapshots = h2k_qcow2_snapshots (c->file, &c->header, &c->snapshots_end, &failure);
  if (!c->snapshots)
    return h2k_check_failure (c->check, g_steal_pointer (&failure), error);
  g_ptr_array_sort (c->snapshots, compare_snapshots);
  for (guint i = 0; i < c->snapshots->len;)
    {
      const H2kQcow2Snapshot *s = c->snapshots->pdata[i];

      if (s->l1_entries && (s->l1_offset < end || s->l1_offset == c->header.l1_offset))
        {
          h2k_check_corrupt (c->check,
                             "the L1 table of a snapshot at %" G_GUINT64_FORMAT
                             " overlaps another L1 table",
                             s->l1_offset);
          g_ptr_array_remove_index (c->snapshots, i);
          continue;
        }
      end = s->l1_offset + (guint64)s->l1_entries * 8;
      i++;
    }
  return TRUE;
}

static gboolean
walk_snapshots (Check *c, GError **error)
{
  if (!c->snapshots)
    return TRUE;
  if (c->header.snapshots)
    claim (c, USE_META, c->header.snapshots_offset, c->snapshots_end - c->header.snapshots_offset,
           "the snapshot table", 0);
  for (guint i = 0; i < c->snapshots->len; i++)
    {
      const H2kQcow2Snapshot *s = c->snapshots->pdata[i];

      if (!walk_l1 (c, s->l1_offset, s->l1_entries, FALSE, i + 1, error))
        return FALSE;
    }
  return TRUE;
}

/* The table of one dirty bitmap, and the clusters that hold it. */
static gboolean
walk_bitmap (Check *c, guint index, guint64 offset, guint32 entries, GError **error)
{
  g_autofree guint8 *piece = g_malloc (cluster_size (c));

  if (entries > MAX_BITMAP_TABLE || offset % cluster_size (c)
      || !claim (c, USE_META, offset, (guint64)entries * 8, "the table of bitmap", index))
    {
      corrupt (c, "the table of bitmap %u is impossible or not in the file", index);
      return TRUE;
    }
  for (guint64 done = 0; done < entries; done += cluster_size (c) / 8)
    {
      guint64 n = MIN (entries - done, cluster_size (c) / 8);

      if (!h2k_file_pread (c->file, offset + done * 8, n * 8, piece, error))
        return FALSE;
      for (guint64 i = 0; i < n; i++)
        {
          guint64 entry = h2k_be64 (piece + i * 8), host = entry & H2K_QCOW2_OFFSET_MASK;

          if ((entry & ~H2K_QCOW2_OFFSET_MASK & ~(guint64)1) || host % cluster_size (c)
              || (host && (entry & 1)))
            corrupt (c, "an entry of the table of bitmap %u is impossible", index);
          else if (host)
            claim (c, USE_META, host, cluster_size (c), "a cluster of bitmap", index);
        }
    }
  return TRUE;
}

/* Without the autoclear bit some program that knows no bitmaps has written to the image: what they
 * take counts as leaked. */
static gboolean
walk_bitmaps (Check *c, GError **error)
{
  guint64 at = c->header.bitmaps_offset, end = at + c->header.bitmaps_size;
  guint8 raw[24]; /* table's offset, entries, flags, type, granularity, sizes of name and rest */

  if (!(c->header.autoclear & H2K_QCOW2_BITMAPS) || c->header.bitmaps == 0)
    return TRUE;
  if (c->header.bitmaps > MAX_BITMAPS || end < at || at % cluster_size (c)
      || !claim (c, USE_META, at, c->header.bitmaps_size, "the directory of bitmaps", 0))
    {
      corrupt (c, "the directory of %u bitmaps is impossible or not in the file",
               c->header.bitmaps);
      return TRUE;
    }
  for (guint i = 0; i < c->header.bitmaps; i++)
    {
      if (at > end || end - at < sizeof raw)
        {
          corrupt (c, "the directory of bitmaps ends within bitmap %u", i);
          return TRUE;
        }
      if (!h2k_file_pread (c->file, at, sizeof raw, raw, error)
          || !walk_bitmap (c, i, h2k_be64 (raw), h2k_be32 (raw + 8), error))
        return FALSE;
      at += (sizeof raw + h2k_be16 (raw + 18) + (guint64)h2k_be32 (raw + 20) + 7) / 8 * 8;
    }
  return TRUE;
}

/* --- passes ----------------------------------------------------------------------------------- */

static gboolean
walk (Check *c, GError **error)
{
  claim (c, USE_META, 0, cluster_size (c), "the header", 0);
  claim (c, USE_META, c->header.luks_offset, c->header.luks_length, "the LUKS header", 0);
  walk_refcounts (c);
  return walk_l1 (c, c->header.l1_offset, c->header.l1_entries, TRUE, 0, error)
         && walk_snapshots (c, error) && walk_bitmaps (c, error);
}

static void
judge_cluster (Check *c, guint64 cluster, guint32 count, guint64 refcount)
{
  guint32 references = count & COUNT_MASK, uses = count & ~(guint32)COUNT_MASK;

  if ((uses & (uses - 1)) || (uses == USE_META && references > 1))
    h2k_check_corrupt (c->check,
                       "cluster %" G_GUINT64_FORMAT " of the file is used for different things",
                       cluster);
  if (refcount < references)
    h2k_check_corrupt (c->check,
                       "cluster %" G_GUINT64_FORMAT " of the file has %u references, but a "
                       "refcount of %" G_GUINT64_FORMAT,
                       cluster, references, refcount);
  else if (refcount > references)
    h2k_check_leak (c->check,
                    "cluster %" G_GUINT64_FORMAT " of the file has a refcount of %" G_GUINT64_FORMAT
                    ", but %u references",
                    cluster, refcount, references);
  if (refcount || references)
    c->check->image_end = (cluster + 1) << c->cluster_bits;
}

/* Compare the window's counts with the image's. */
static gboolean
judge (Check *c, GError **error)
{
  for (guint64 i = c->start; i < c->end; i++)
    {
      guint64 refcount;

      if (!get_refcount (c, i, &refcount, error))
        return FALSE;
      if (refcount != c->counts[i - c->start] || refcount)
        judge_cluster (c, i, c->counts[i - c->start], refcount);
    }
  return TRUE;
}

/* The next window begins where something points to, or where the image counts references. */
static gboolean
next_window (Check *c)
{
  guint64 next = c->next, per_block = block_entries (c);

  for (guint64 i = c->end / per_block; i < c->refcount_entries && i * per_block < next; i++)
    if (is_good_block (c, c->refcount_table[i]))
      {
        next = MAX (i * per_block, c->end);
        break;
      }
  if (next >= c->clusters)
    return FALSE;
  c->start = next;
  c->end = next + MIN (c->clusters - next, h2k_qcow2_check_window);
  c->next = G_MAXUINT64;
  c->first = FALSE;
  memset (c->counts, 0, MIN (c->clusters, h2k_qcow2_check_window) * sizeof *c->counts);
  return TRUE;
}

static gboolean
run (Check *c, GError **error)
{
  gboolean ok;

  if (c->header.features & H2K_QCOW2_CORRUPT)
    h2k_check_corrupt (c->check, "the image is marked as corrupt");
  c->first = TRUE;
  c->end = MIN (c->clusters, h2k_qcow2_check_window);
  c->next = G_MAXUINT64;
  c->counts = g_new0 (guint32, c->end);
  c->blocks = h2k_cache_new (MAX (BLOCK_CACHE, 2 * cluster_size (c)));
  ok = load_refcount_table (c, error) && load_snapshots (c, error);
  while (ok)
    {
      ok = walk (c, error) && judge (c, error);
      if (!ok || !next_window (c))
        break;
    }
  return ok;
}

gboolean
h2k_qcow2_check (H2kFile *file, H2kCheck *check, GError **error)
{
  Check c = {.file = file, .check = check};
  gboolean ok = h2k_qcow2_header_read (file, TRUE, &c.header, error);

  if (ok)
    {
      c.cluster_bits = c.header.cluster_bits;
      c.entry_bits = c.header.features & H2K_QCOW2_EXTENDED_L2 ? 4 : 3;
      c.clusters = (file->size >> c.cluster_bits) + !!(file->size % cluster_size (&c));
      check->unit = "clusters";
      check->units = (c.header.size - 1) / cluster_size (&c) + 1;
      ok = run (&c, error);
    }
  g_clear_pointer (&c.snapshots, g_ptr_array_unref);
  g_clear_pointer (&c.block, g_bytes_unref);
  h2k_cache_free (c.blocks);
  h2k_qcow2_header_clear (&c.header);
  g_free (c.refcount_table);
  g_free (c.counts);
  return ok;
}
