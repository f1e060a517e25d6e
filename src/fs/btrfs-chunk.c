/* btrfs-chunk.c - where logical addresses of a btrfs filesystem lie on its devices: chunks of all
 * profiles. What parity stands for is not computed.
 *
 * After read_one_chunk() and btrfs_map_block() of Linux (fs/btrfs/volumes.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-tree.h"
#include "fs/fs.h"

#define MAX_CHUNKS (256u << 10)
#define MAX_STRIPES (512u << 10)

/* A chunk's item: le64 0 length, le64 16 length of a piece, le64 24 type, le16 44 number of
 * stripes, le16 46 of those side by side, the stripes; each le64 0 device, le64 8 offset, 16 UUID
 * of the device. */
#define CHUNK 48u
#define STRIPE 32u

/* A device's item, which is also in its superblock: le64 0 number, 66 UUID, 82 its filesystem's. */
#define DEVICE 98u

/* Data, system, metadata. */
#define KINDS 7ull

typedef struct
{
  guint64 type; /* the bit */
  guint min, max, copies, parity;
} Profile;

static const Profile profiles[] = {
    {0, 1, 1, 1, 0},            /* single */
    {1u << 3, 1, 0xffff, 1, 0}, /* RAID0 */
    {1u << 4, 2, 2, 2, 0},      /* RAID1 */
    {1u << 5, 2, 2, 2, 0},      /* DUP */
    {1u << 6, 2, 0xffff, 2, 0}, /* RAID10 */
    {1u << 7, 2, 0xffff, 1, 1}, /* RAID5 */
    {1u << 8, 3, 0xffff, 1, 2}, /* RAID6 */
    {1u << 9, 3, 3, 3, 0},      /* RAID1C3 */
    {1u << 10, 4, 4, 4, 0},     /* RAID1C4 */
};
#define RAID10 (1u << 6)

/* --- devices ---------------------------------------------------------------------------------- */

static BtrfsDevice *
get_device (const BtrfsVolume *volume, guint i)
{
  return &g_array_index (volume->devices, BtrfsDevice, i);
}

/* The device of this number and UUID, which is missing when it is not known yet. */
static gboolean
find_device (BtrfsVolume *volume, guint64 devid, const guint8 *uuid, guint *found, GError **error)
{
  BtrfsDevice missing = {.devid = devid, .start = BTRFS_NOWHERE};

  for (guint i = 0; i < volume->devices->len; i++)
    if (get_device (volume, i)->devid == devid
        && memcmp (get_device (volume, i)->uuid, uuid, sizeof missing.uuid) == 0)
      {
        *found = i;
        return TRUE;
      }
  if (volume->devices->len >= BTRFS_MAX_DEVICES)
    return h2k_btrfs_corrupt (volume, error, "it names too many devices");
  memcpy (missing.uuid, uuid, sizeof missing.uuid);
  *found = volume->devices->len;
  g_array_append_val (volume->devices, missing);
  return TRUE;
}

gboolean
h2k_btrfs_list_device (BtrfsVolume *volume, const guint8 *data, gsize size, GError **error)
{
  guint found;

  if (size < DEVICE)
    return h2k_btrfs_corrupt (volume, error, "a device's item is cut off");
  if (!find_device (volume, h2k_le64 (data), data + 66, &found, error))
    return FALSE;
  get_device (volume, found)->is_listed = TRUE;
  return memcmp (data + 82, volume->fsid, sizeof volume->fsid) == 0
         || h2k_btrfs_unsupported (volume, error,
                                   "that was grown from a seed device, which is still a part of "
                                   "it: remove that in the guest (btrfs device remove)");
}

static void
describe (const BtrfsDevice *device, GString *text)
{
  char uuid[37];

  h2k_fs_format_uuid (device->uuid, uuid);
  g_string_append_printf (text, "%sdevice %" G_GUINT64_FORMAT " (UUID %s)", text->len ? ", " : "",
                          device->devid, uuid);
}

char *
h2k_btrfs_missing_devices (const BtrfsVolume *volume)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < volume->devices->len; i++)
    if (get_device (volume, i)->start == BTRFS_NOWHERE)
      describe (get_device (volume, i), text);
  return text->len ? g_strdup (text->str) : NULL;
}

/* --- reading items ---------------------------------------------------------------------------- */

void
h2k_btrfs_map_clear (BtrfsMap *map)
{
  g_clear_pointer (&map->chunks, g_array_unref);
  g_clear_pointer (&map->stripes, g_array_unref);
}

static gboolean
is_in_one_piece (const BtrfsChunk *chunk)
{
  return chunk->n_columns == 1 && chunk->n_parity == 0;
}

guint64
h2k_btrfs_stripe_length (const BtrfsChunk *chunk)
{
  return chunk->length / chunk->n_columns;
}

/* Find out how CHUNK, whose item is DATA, is laid out. */
static gboolean
parse_layout (const BtrfsVolume *volume, const guint8 *data, BtrfsChunk *chunk, GError **error)
{
  guint64 type = h2k_le64 (data + 24) & ~KINDS;
  const Profile *profile = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (profiles); i++)
    if (profiles[i].type == type)
      profile = &profiles[i];
  if (!profile)
    return h2k_btrfs_unsupported (volume, error,
                                  "with the unknown profile 0x%" G_GINT64_MODIFIER "x", type);
  if (chunk->n_stripes < profile->min || chunk->n_stripes > profile->max
      || chunk->n_stripes % profile->copies || (type == RAID10 && h2k_le16 (data + 46) != 2))
    return h2k_btrfs_corrupt (volume, error, "a chunk has an impossible number of stripes");
  chunk->n_copies = profile->copies;
  chunk->n_parity = profile->parity;
  chunk->n_columns = (chunk->n_stripes - profile->parity) / profile->copies;
  if (is_in_one_piece (chunk))
    return TRUE;
  if (h2k_le64 (data + 16) != BTRFS_PIECE)
    return h2k_btrfs_unsupported (volume, error, "with pieces that are not of 64 KiB");
  return chunk->length % ((guint64)chunk->n_columns * BTRFS_PIECE) == 0
         || h2k_btrfs_corrupt (volume, error, "a chunk has an impossible size");
}

/* How gladly a copy there is read. */
static guint
rank (const BtrfsVolume *volume, const BtrfsStripe *stripe)
{
  const BtrfsDevice *device = get_device (volume, stripe->device);

  return device->start == BTRFS_NOWHERE ? 2 : device->is_behind ? 1 : 0;
}

/* Sort the copies in each column of CHUNK. */
static void
sort_copies (const BtrfsVolume *volume, const BtrfsMap *map, const BtrfsChunk *chunk)
{
  BtrfsStripe *stripes = &g_array_index (map->stripes, BtrfsStripe, chunk->first);

  for (guint i = 0; i < chunk->n_stripes; i++)
    for (guint k = i;
         k % chunk->n_copies && rank (volume, &stripes[k]) < rank (volume, &stripes[k - 1]); k--)
      {
        BtrfsStripe stripe = stripes[k];
        stripes[k] = stripes[k - 1];
        stripes[k - 1] = stripe;
      }
}

static gboolean
add_stripes (BtrfsVolume *volume, BtrfsMap *map, const BtrfsChunk *chunk, const guint8 *data,
             GError **error)
{
  guint64 length = h2k_btrfs_stripe_length (chunk);

  for (guint i = 0; i < chunk->n_stripes; i++, data += STRIPE)
    {
      BtrfsStripe stripe = {0, h2k_le64 (data + 8)};
      const BtrfsDevice *device;

      if (!find_device (volume, h2k_le64 (data), data + 16, &stripe.device, error))
        return FALSE;
      device = get_device (volume, stripe.device);
      if (device->start != BTRFS_NOWHERE
          && (stripe.offset % volume->sector_size || length > device->size
              || stripe.offset > device->size - length))
        return h2k_btrfs_corrupt (volume, error, "a chunk is not on its device");
      g_array_append_val (map->stripes, stripe);
    }
  sort_copies (volume, map, chunk);
  return TRUE;
}

gboolean
h2k_btrfs_add_chunk (BtrfsVolume *volume, BtrfsMap *map, guint64 logical, const guint8 *data,
                     gsize size, gsize *used, GError **error)
{
  BtrfsChunk chunk = {.logical = logical};

  if (!map->chunks)
    {
      map->chunks = g_array_new (FALSE, FALSE, sizeof (BtrfsChunk));
      map->stripes = g_array_new (FALSE, FALSE, sizeof (BtrfsStripe));
    }
  if (size < CHUNK)
    return h2k_btrfs_corrupt (volume, error, "a chunk is too short");
  chunk.length = h2k_le64 (data);
  chunk.n_stripes = h2k_le16 (data + 44);
  chunk.first = map->stripes->len;
  *used = CHUNK + chunk.n_stripes * STRIPE;
  if (*used > size)
    return h2k_btrfs_corrupt (volume, error, "a chunk is too short");
  if (!chunk.length || (chunk.length | logical) % volume->sector_size || logical > G_MAXINT64
      || chunk.length > G_MAXINT64 - logical || map->chunks->len >= MAX_CHUNKS
      || chunk.n_stripes > MAX_STRIPES - map->stripes->len)
    return h2k_btrfs_corrupt (volume, error, "a chunk has an impossible size");
  if (!parse_layout (volume, data, &chunk, error)
      || !add_stripes (volume, map, &chunk, data + CHUNK, error))
    return FALSE;
  g_array_append_val (map->chunks, chunk);
  return TRUE;
}

static int
compare_chunks (gconstpointer a, gconstpointer b)
{
  const BtrfsChunk *p = a, *q = b;

  return p->logical < q->logical ? -1 : p->logical > q->logical;
}

gboolean
h2k_btrfs_set_map (BtrfsVolume *volume, BtrfsMap *map, GError **error)
{
  if (!map->chunks)
    return h2k_btrfs_corrupt (volume, error, "it has no chunks");
  g_array_sort (map->chunks, compare_chunks);
  h2k_btrfs_map_clear (&volume->map);
  volume->map = *map;
  *map = (BtrfsMap){NULL, NULL};
  for (guint i = 1; i < volume->map.chunks->len; i++)
    {
      const BtrfsChunk *before = &g_array_index (volume->map.chunks, BtrfsChunk, i - 1);
      if (before->logical + before->length
          > g_array_index (volume->map.chunks, BtrfsChunk, i).logical)
        return h2k_btrfs_corrupt (volume, error, "chunks lie over each other");
    }
  return TRUE;
}

/* --- looking up ------------------------------------------------------------------------------- */

const BtrfsChunk *
h2k_btrfs_find_chunk (const BtrfsVolume *volume, guint64 logical)
{
  guint low = 0, high = volume->map.chunks->len;
  const BtrfsChunk *chunk;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      chunk = &g_array_index (volume->map.chunks, BtrfsChunk, middle);
      if (chunk->logical + chunk->length <= logical)
        low = middle + 1;
      else
        high = middle;
    }
  if (low == volume->map.chunks->len)
    return NULL;
  chunk = &g_array_index (volume->map.chunks, BtrfsChunk, low);
  return chunk->logical <= logical ? chunk : NULL;
}

guint64
h2k_btrfs_piece (const BtrfsChunk *chunk, guint64 logical, guint64 length)
{
  guint64 offset = logical - chunk->logical;

  length = MIN (length, chunk->length - offset);
  return is_in_one_piece (chunk) ? length : MIN (length, BTRFS_PIECE - offset % BTRFS_PIECE);
}

/* The stripe that has copy number COPY of LOGICAL; *OFFSET gets where in it. */
static const BtrfsStripe *
find_stripe (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical, guint copy,
             guint64 *offset)
{
  const BtrfsStripe *stripes = &g_array_index (volume->map.stripes, BtrfsStripe, chunk->first);
  guint64 number, row;
  guint column;

  *offset = logical - chunk->logical;
  if (is_in_one_piece (chunk))
    return stripes + copy;
  number = *offset / BTRFS_PIECE;
  row = number / chunk->n_columns;
  column = (guint)(number % chunk->n_columns);
  *offset = row * BTRFS_PIECE + *offset % BTRFS_PIECE;
  return chunk->n_parity ? stripes + (row + column) % chunk->n_stripes
                         : stripes + column * chunk->n_copies + copy;
}

gboolean
h2k_btrfs_place (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical, guint copy,
                 guint64 *place)
{
  guint64 offset;
  const BtrfsStripe *stripe = find_stripe (volume, chunk, logical, copy, &offset);
  const BtrfsDevice *device = get_device (volume, stripe->device);

  *place = device->start + stripe->offset + offset;
  return device->start != BTRFS_NOWHERE;
}

gboolean
h2k_btrfs_set_missing (const BtrfsVolume *volume, const BtrfsChunk *chunk, guint64 logical,
                       GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autofree char *all = h2k_btrfs_missing_devices (volume);
  guint64 place, offset;

  for (guint i = 0; i < chunk->n_copies; i++)
    if (!h2k_btrfs_place (volume, chunk, logical, i, &place))
      describe (get_device (volume, find_stripe (volume, chunk, logical, i, &offset)->device),
                text);
  if (!text->len) /* what begins at LOGICAL goes on there */
    g_string_append (text, all);
  if (chunk->n_parity)
    return h2k_btrfs_unsupported (volume, error,
                                  "of RAID%u with a device missing, since nothing is computed from "
                                  "parity: %s is on none of the disks. Give every disk of the VM",
                                  chunk->n_parity + 4, text->str);
  /* To a copy of the disks that are there nothing is missing: it only knows less about them. */
  g_set_error (error, H2K_ERROR,
               volume->purpose == BTRFS_FOR_FILES ? H2K_ERROR_SOURCE : H2K_ERROR_FILESYSTEM,
               "%s: what is needed of the btrfs filesystem lies on %s, which is on none of the "
               "disks: give every disk of the VM",
               volume->disk->name, text->str);
  return FALSE;
}
