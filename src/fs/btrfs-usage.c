/* btrfs-usage.c - which blocks of a btrfs filesystem on one device are in use.
 *
 * A part of the device that no chunk is mapped to is not in use, and of a chunk, what no item of
 * the extent tree covers. The extents of a chunk are looked up when it is asked for; when they do
 * not add up to what its block group item says, or cannot be read, all of the chunk is in use. So
 * are the first MiB, the copies of the superblock, and what lies behind the filesystem.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/bits.h"
#include "fs/btrfs.h"
#include "fs/usage.h"

/* The filesystem leaves this to boot loaders. */
#define RESERVED (1u << 20)
/* No chunk has anything next to a copy of the superblock. */
#define SUPER_STRIPE 65536u

/* Larger chunks count as full; none is made that large. */
#define MAX_BITMAP (2u << 20)
#define MAX_CACHED (4 * MAX_BITMAP)

/* A part of the device that a chunk is mapped to. */
typedef struct
{
  guint64 first, end;
  guint chunk;
} Stripe;

typedef struct
{
  H2kUsage base;
  BtrfsVolume btrfs;
  GArray *stripes;  /* Stripe, by offset, apart from each other */
  H2kCache *groups; /* by chunk: a bit a sector, 1: in use; or empty: all of it is */
  GArray *swap;     /* H2kExtent: what of the used blocks is dropped; sorted */
} BtrfsUsage;

static const BtrfsChunk *
get_chunk (const BtrfsUsage *usage, guint i)
{
  return &g_array_index (usage->btrfs.chunks, BtrfsChunk, i);
}

/* --- the extents of a chunk ------------------------------------------------------------------- */

static void
set_bits (guint8 *bits, guint64 from, guint64 to)
{
  for (; from < to && from % 8; from++)
    bits[from / 8] |= (guint8)(1 << (from % 8));
  memset (bits + from / 8, 0xff, from < to ? (to - from) / 8 : 0);
  for (guint64 i = MAX (from, to / 8 * 8); i < to; i++)
    bits[i / 8] |= (guint8)(1 << (i % 8));
}

/* Set the BITS of the extents of CHUNK; *SUM: how many bytes those are. */
static gboolean
mark_extents (BtrfsUsage *usage, const BtrfsChunk *chunk, guint8 *bits, guint64 *sum,
              GError **error)
{
  BtrfsVolume *btrfs = &usage->btrfs;
  guint64 end = chunk->logical + chunk->length, last = chunk->logical;
  g_auto (BtrfsCursor) cursor = {btrfs, &btrfs->extent_tree};
  const BtrfsKey first = {chunk->logical, 0, 0};

  if (!h2k_btrfs_seek (&cursor, &first, error))
    return FALSE;
  for (*sum = 0; cursor.leaf && cursor.key.objectid < end;)
    {
      guint64 start = cursor.key.objectid;
      guint64 length
          = cursor.key.type == BTRFS_METADATA_ITEM ? btrfs->node_size : cursor.key.offset;
      if (cursor.key.type == BTRFS_EXTENT_ITEM || cursor.key.type == BTRFS_METADATA_ITEM)
        {
          if (start < last || !length || length > end - start
              || (start | length) % btrfs->sector_size)
            return h2k_btrfs_corrupt (btrfs, error, "an extent is not where it can be");
          set_bits (bits, (start - chunk->logical) / btrfs->sector_size,
                    (start + length - chunk->logical) / btrfs->sector_size);
          *sum += length;
          last = start + length;
        }
      if (!h2k_btrfs_next (&cursor, error))
        return FALSE;
    }
  return TRUE;
}

/* A block group item: le64 bytes in use, le64 chunk tree, le64 flags. */
static gboolean
get_group_used (BtrfsUsage *usage, const BtrfsChunk *chunk, guint64 *used, GError **error)
{
  g_auto (BtrfsCursor) cursor = {&usage->btrfs, &usage->btrfs.block_groups};
  const BtrfsKey key = {chunk->logical, BTRFS_BLOCK_GROUP_ITEM, chunk->length};

  if (!h2k_btrfs_seek (&cursor, &key, error))
    return FALSE;
  if (!cursor.leaf || cursor.key.objectid != key.objectid || cursor.key.type != key.type
      || cursor.key.offset != key.offset || cursor.size < 24)
    return h2k_btrfs_corrupt (&usage->btrfs, error, "a chunk has no block group");
  *used = h2k_le64 (cursor.data);
  return TRUE;
}

/* The bits of a chunk, or an empty block when nothing is known about it; NULL: an error. */
static GBytes *
make_group (BtrfsUsage *usage, const BtrfsChunk *chunk, GError **error)
{
  guint64 sectors = chunk->length / usage->btrfs.sector_size, sum = 0, used = 0;
  gsize size = (gsize)(sectors / 8 + 1);
  g_autofree guint8 *bits = NULL;
  GError *reason = NULL;

  if (sectors / 8 + 1 > MAX_BITMAP)
    return g_bytes_new (NULL, 0);
  bits = g_malloc0 (size);
  if (mark_extents (usage, chunk, bits, &sum, &reason)
      && get_group_used (usage, chunk, &used, &reason))
    return sum == used ? g_bytes_new_take (g_steal_pointer (&bits), size) : g_bytes_new (NULL, 0);
  if (!g_error_matches (reason, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      g_propagate_error (error, reason);
      return NULL;
    }
  g_error_free (reason);
  return g_bytes_new (NULL, 0);
}

static GBytes *
get_group (BtrfsUsage *usage, guint chunk, GError **error)
{
  GBytes *group = h2k_cache_get (usage->groups, chunk);

  if (!group)
    {
      group = make_group (usage, get_chunk (usage, chunk), error);
      if (group)
        h2k_cache_put (usage->groups, chunk, group);
    }
  return group;
}

/* --- the device ------------------------------------------------------------------------------- */

static int
compare_stripes (gconstpointer a, gconstpointer b)
{
  const Stripe *p = a, *q = b;

  return p->first < q->first ? -1 : p->first > q->first;
}

/* Find out which parts of the device belong to which chunk: all that are said to be. */
static gboolean
map_device (BtrfsUsage *usage, GError **error)
{
  guint64 sum = 0;

  for (guint i = 0; i < usage->btrfs.chunks->len; i++)
    {
      const BtrfsChunk *chunk = get_chunk (usage, i);
      for (guint c = 0; c < chunk->n_copies; c++)
        {
          Stripe stripe = {chunk->copies[c], chunk->copies[c] + chunk->length, i};
          g_array_append_val (usage->stripes, stripe);
          sum += chunk->length;
        }
    }
  g_array_sort (usage->stripes, compare_stripes);
  for (guint i = 1; i < usage->stripes->len; i++)
    if (g_array_index (usage->stripes, Stripe, i).first
        < g_array_index (usage->stripes, Stripe, i - 1).end)
      return h2k_btrfs_corrupt (&usage->btrfs, error, "chunks lie over each other");
  return sum == usage->btrfs.device_used
         || h2k_btrfs_corrupt (&usage->btrfs, error,
                               "its chunks do not add up to what is in use of the device");
}

/* The stripe that holds OFFSET, or the next one behind it, or NULL. */
static const Stripe *
find_stripe (const BtrfsUsage *usage, guint64 offset)
{
  guint low = 0, high = usage->stripes->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      if (g_array_index (usage->stripes, Stripe, middle).end <= offset)
        low = middle + 1;
      else
        high = middle;
    }
  return low < usage->stripes->len ? &g_array_index (usage->stripes, Stripe, low) : NULL;
}

/* Whether OFFSET is always in use, and up to where that is so. */
static gboolean
is_reserved (const BtrfsUsage *usage, guint64 offset, guint64 *end)
{
  guint64 size = usage->base.volume->size;

  *end = offset < RESERVED                   ? MIN (RESERVED, size)
         : offset < usage->btrfs.device_size ? usage->btrfs.device_size
                                             : size;
  if (offset < RESERVED || offset >= usage->btrfs.device_size)
    return TRUE;
  for (guint i = 1; i < BTRFS_N_SUPERS; i++)
    {
      guint64 super = h2k_btrfs_supers[i];
      if (offset >= super && offset - super < SUPER_STRIPE)
        {
          *end = MIN (super + SUPER_STRIPE, *end);
          return TRUE;
        }
      if (offset < super)
        *end = MIN (*end, super);
    }
  return FALSE;
}

static gboolean
btrfs_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  BtrfsUsage *usage = (BtrfsUsage *)base;
  const Stripe *stripe = find_stripe (usage, offset);
  guint size = usage->btrfs.sector_size;
  g_autoptr (GBytes) group = NULL;
  const guint8 *bits;
  guint64 end, sector, run;
  gboolean used;
  gsize length;

  *extent = (H2kExtent){offset, 0, H2K_EXTENT_DATA};
  used = is_reserved (usage, offset, &end);
  if (used || !stripe || offset < stripe->first)
    {
      if (!used && stripe)
        end = MIN (end, stripe->first);
      extent->length = end - offset;
      extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
      return TRUE;
    }
  end = MIN (end, stripe->end);
  extent->length = end - offset;
  group = get_group (usage, stripe->chunk, error);
  if (!group)
    return FALSE;
  bits = g_bytes_get_data (group, &length);
  if (length == 0)
    return TRUE;
  sector = (offset - stripe->first) / size;
  used = bits[sector / 8] >> (sector % 8) & 1;
  run = h2k_bit_run (bits, sector, (stripe->end - stripe->first) / size, used);
  extent->length = MIN (end, stripe->first + (sector + run) * size) - offset;
  extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  if (used)
    h2k_swap_files_leave_out (usage->swap, extent);
  return TRUE;
}

/* --- the driver ------------------------------------------------------------------------------- */

static void
btrfs_usage_close (H2kUsage *base)
{
  BtrfsUsage *usage = (BtrfsUsage *)base;

  h2k_btrfs_clear (&usage->btrfs);
  g_array_unref (usage->stripes);
  g_array_unref (usage->swap);
  h2k_cache_free (usage->groups);
  g_free (usage);
}

static H2kUsage *
btrfs_usage_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  BtrfsUsage *usage = g_new0 (BtrfsUsage, 1);

  h2k_usage_init (&usage->base, &h2k_btrfs_usage_ops, volume);
  usage->stripes = g_array_new (FALSE, FALSE, sizeof (Stripe));
  usage->groups = h2k_cache_new (MAX_CACHED);
  usage->swap
      = h2k_swap_files_of (&h2k_btrfs_ops, volume, drop_swap ? id : NULL, h2k_btrfs_swap_places);
  if (h2k_btrfs_open (&usage->btrfs, volume, BTRFS_FOR_USAGE, error) && map_device (usage, error))
    return &usage->base;
  h2k_usage_free (&usage->base);
  return NULL;
}

static gboolean
btrfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "btrfs");
}

const H2kUsageOps h2k_btrfs_usage_ops = {
    .name = "btrfs",
    .takes = btrfs_takes,
    .open = btrfs_usage_open,
    .used = btrfs_used,
    .close = btrfs_usage_close,
};
