/* btrfs-usage.c - which blocks of the devices of a btrfs filesystem are in use.
 *
 * A part of a device that no chunk is mapped to is not in use, and of a chunk, what no item of the
 * extent tree covers. The extents of a chunk are looked up when it is asked for; when they do not
 * add up to what its block group item says, or cannot be read, all of the chunk is in use. So are
 * of each device the first MiB, the copies of the superblock, and what lies behind the filesystem.
 *
 * Parity is that of whole rows, unused sectors included: when a sector is in use, so are those at
 * its place in all stripes. Otherwise what is computed from parity would be wrong in the copy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/bits.h"
#include "fs/btrfs-devices.h"
#include "fs/btrfs.h"
#include "fs/usage.h"

/* The filesystem leaves this to boot loaders. */
#define RESERVED (1u << 20)
/* No chunk has anything next to a copy of the superblock. */
#define SUPER_STRIPE 65536u

/* Larger chunks count as full; none is made that large. */
#define MAX_BITMAP (2u << 20)
#define MAX_CACHED (4 * MAX_BITMAP)

/* Of a chunk that is cut into pieces, as much is looked at at once. */
#define MAX_STEP (16u << 20)

/* A part of a device that a chunk is mapped to: its stripe NUMBER. */
typedef struct
{
  guint64 first, end; /* on the volume */
  guint chunk, number;
} Stripe;

typedef struct
{
  H2kUsage base;
  BtrfsVolume btrfs;
  GArray *stripes;  /* Stripe, of all devices, by offset, apart from each other */
  H2kCache *groups; /* by chunk: a bit a sector, 1: in use; or empty: all of it is */
  GArray *swap;     /* H2kExtent: what of the used blocks is dropped; sorted */
} BtrfsUsage;

static const BtrfsChunk *
get_chunk (const BtrfsUsage *usage, guint i)
{
  return &g_array_index (usage->btrfs.map.chunks, BtrfsChunk, i);
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

/* Of a chunk with parity, what is in use in one column is so in all of them. */
static void
spread_rows (const BtrfsUsage *usage, const BtrfsChunk *chunk, guint8 *bits)
{
  guint in_piece = BTRFS_PIECE / usage->btrfs.sector_size;
  guint64 row_sectors = (guint64)in_piece * chunk->n_columns;

  for (guint64 row = 0; row < chunk->length / usage->btrfs.sector_size; row += row_sectors)
    for (guint i = 0; i < in_piece; i++)
      {
        gboolean used = FALSE;
        for (guint c = 0; c < chunk->n_columns && !used; c++)
          used = h2k_bit_get (bits, row + (guint64)c * in_piece + i);
        for (guint c = 0; c < chunk->n_columns && used; c++)
          set_bits (bits, row + (guint64)c * in_piece + i, row + (guint64)c * in_piece + i + 1);
      }
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
    {
      if (sum != used)
        return g_bytes_new (NULL, 0);
      if (chunk->n_parity)
        spread_rows (usage, chunk, bits);
      return g_bytes_new_take (g_steal_pointer (&bits), size);
    }
  if (!g_error_matches (reason, H2K_ERROR, H2K_ERROR_FILESYSTEM)
      && !g_error_matches (reason, H2K_ERROR, H2K_ERROR_UNSUPPORTED))
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

/* --- the devices ------------------------------------------------------------------------------ */

static int
compare_stripes (gconstpointer a, gconstpointer b)
{
  const Stripe *p = a, *q = b;

  return p->first < q->first ? -1 : p->first > q->first;
}

/* Add the stripes of chunk I that are there; the devices' entries of SUMS grow by their lengths. */
static void
map_chunk (BtrfsUsage *usage, guint i, guint64 *sums)
{
  const BtrfsChunk *chunk = get_chunk (usage, i);
  guint64 length = h2k_btrfs_stripe_length (chunk);

  for (guint n = 0; n < chunk->n_stripes; n++)
    {
      const BtrfsStripe *on
          = &g_array_index (usage->btrfs.map.stripes, BtrfsStripe, chunk->first + n);
      const BtrfsDevice *device = &g_array_index (usage->btrfs.devices, BtrfsDevice, on->device);
      guint64 first = device->start + on->offset;
      Stripe stripe = {first, first + length, i, n};

      if (device->start == BTRFS_NOWHERE)
        continue;
      g_array_append_val (usage->stripes, stripe);
      sums[on->device] += length;
    }
}

/* Whether the chunks on each device add up to what it says itself, and the filesystem has the
 * devices that it should have. */
static gboolean
check_devices (BtrfsUsage *usage, const guint64 *sums, GError **error)
{
  const BtrfsVolume *btrfs = &usage->btrfs;
  guint64 listed = 0;

  for (guint i = 0; i < btrfs->devices->len; i++)
    {
      const BtrfsDevice *device = &g_array_index (btrfs->devices, BtrfsDevice, i);
      listed += device->is_listed;
      if (!device->is_listed)
        return h2k_btrfs_corrupt (btrfs, error,
                                  "device %" G_GUINT64_FORMAT " is not one of its own",
                                  device->devid);
      if (device->start != BTRFS_NOWHERE && sums[i] != device->used)
        return h2k_btrfs_corrupt (btrfs, error,
                                  "its chunks do not add up to what is in use of the device");
    }
  return listed == btrfs->n_devices
         || h2k_btrfs_corrupt (btrfs, error, "it does not have as many devices as it says");
}

/* Find out which parts of the devices belong to which chunk: all that are said to be. */
static gboolean
map_devices (BtrfsUsage *usage, GError **error)
{
  g_autofree guint64 *sums = g_new0 (guint64, usage->btrfs.devices->len);

  for (guint i = 0; i < usage->btrfs.map.chunks->len; i++)
    map_chunk (usage, i, sums);
  g_array_sort (usage->stripes, compare_stripes);
  for (guint i = 1; i < usage->stripes->len; i++)
    if (g_array_index (usage->stripes, Stripe, i).first
        < g_array_index (usage->stripes, Stripe, i - 1).end)
      return h2k_btrfs_corrupt (&usage->btrfs, error, "chunks lie over each other");
  return check_devices (usage, sums, error);
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

/* The device that has OFFSET of the volume. */
static const BtrfsDevice *
find_device (const BtrfsUsage *usage, guint64 offset)
{
  const BtrfsDevice *device = &g_array_index (usage->btrfs.devices, BtrfsDevice, 0);

  while (offset - device->start >= device->room)
    device++;
  return device;
}

/* Whether OFFSET is always in use, and up to where that is so. */
static gboolean
is_reserved (const BtrfsUsage *usage, guint64 offset, guint64 *end)
{
  const BtrfsDevice *device = find_device (usage, offset);
  guint64 start = device->start, size = device->size, room = device->room;

  offset -= start;
  *end = start + (offset < RESERVED ? MIN (RESERVED, room) : offset < size ? size : room);
  if (offset < RESERVED || offset >= size)
    return TRUE;
  for (guint i = 1; i < BTRFS_N_SUPERS; i++)
    {
      guint64 super = h2k_btrfs_supers[i];
      if (offset >= super && offset - super < SUPER_STRIPE)
        {
          *end = MIN (start + super + SUPER_STRIPE, *end);
          return TRUE;
        }
      if (offset < super)
        *end = MIN (*end, start + super);
    }
  return FALSE;
}

/* Whether sector number SECTOR of a stripe is in use. */
static gboolean
is_used (const BtrfsUsage *usage, const Stripe *stripe, const guint8 *bits, guint64 sector)
{
  const BtrfsChunk *chunk = get_chunk (usage, stripe->chunk);
  guint in_piece = BTRFS_PIECE / usage->btrfs.sector_size;
  /* Stripes of chunks with parity have data of all columns, and these are all the same. */
  guint column = chunk->n_parity ? 0 : stripe->number / chunk->n_copies;
  guint64 row = sector / in_piece;

  return h2k_bit_get (bits, (row * chunk->n_columns + column) * in_piece + sector % in_piece);
}

/* How many sectors of a stripe are in the same state from FIRST on. *USED: whether that is in use.
 */
static guint64
find_run (const BtrfsUsage *usage, const Stripe *stripe, const guint8 *bits, guint64 first,
          gboolean *used)
{
  const BtrfsChunk *chunk = get_chunk (usage, stripe->chunk);
  guint size = usage->btrfs.sector_size;
  guint64 end = (stripe->end - stripe->first) / size, sector = first + 1;

  *used = is_used (usage, stripe, bits, first);
  if (chunk->n_columns == 1)
    return h2k_bit_run (bits, first, end, *used);
  end = MIN (end, first + MAX_STEP / size);
  while (sector < end && is_used (usage, stripe, bits, sector) == *used)
    sector++;
  return sector - first;
}

static gboolean
btrfs_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  BtrfsUsage *usage = (BtrfsUsage *)base;
  const Stripe *stripe = find_stripe (usage, offset);
  guint size = usage->btrfs.sector_size;
  g_autoptr (GBytes) group = NULL;
  guint64 end, sector, run;
  const guint8 *bits;
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
  run = find_run (usage, stripe, bits, sector, &used);
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
  if (h2k_btrfs_open (&usage->btrfs, volume, BTRFS_FOR_USAGE, error) && map_devices (usage, error))
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
    .whole = h2k_btrfs_whole,
    .open = btrfs_usage_open,
    .used = btrfs_used,
    .close = btrfs_usage_close,
};
