/* md-parity.c - RAID 4 and 5.
 *
 * Where chunks lie follows raid5_compute_sector() in drivers/md/raid5.c of Linux.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md-parity.h"

#include "disk/formats.h"

/* What is read of a member at once to make up for another one, or to change the parity. */
#define MAX_PIECE (256u << 10)

typedef struct
{
  H2kDisk base;
  guint64 chunk;
  guint layout, n_members;
  H2kMapMember *members;
  GMutex lock; /* of a parity, from when it is read until it is written */
} ParityDisk;

/* A piece of a chunk. */
typedef struct
{
  guint data, parity; /* members */
  guint64 at;         /* on each member, from its part's start on */
  guint64 length;
} Piece;

/* On which member the first row's parity is, and by how many members it moves with each row;
 * whether a row's data begins on the first member, not behind the parity. */
static const struct
{
  gboolean from_last;
  guint step;
  gboolean in_order;
} layouts[] = {
    [H2K_PARITY_LEFT_ASYMMETRIC] = {TRUE, 1, TRUE},
    [H2K_PARITY_RIGHT_ASYMMETRIC] = {FALSE, 1, TRUE},
    [H2K_PARITY_LEFT_SYMMETRIC] = {TRUE, 1, FALSE},
    [H2K_PARITY_RIGHT_SYMMETRIC] = {FALSE, 1, FALSE},
    [H2K_PARITY_FIRST] = {FALSE, 0, FALSE},
    [H2K_PARITY_LAST] = {TRUE, 0, FALSE},
};

static void
locate (const ParityDisk *disk, guint64 offset, Piece *piece)
{
  guint n = disk->n_members, n_data = n - 1;
  guint64 number = offset / disk->chunk, into = offset % disk->chunk, row = number / n_data;
  guint turn = (guint)(row % n) * layouts[disk->layout].step, data = (guint)(number % n_data);

  piece->parity = layouts[disk->layout].from_last ? n_data - turn : turn;
  piece->data = layouts[disk->layout].in_order ? data + (data >= piece->parity)
                                               : (piece->parity + 1 + data) % n;
  piece->at = row * disk->chunk + into;
  piece->length = disk->chunk - into;
}

static void
exclusive_or (guint8 *to, const guint8 *from, gsize length)
{
  for (gsize i = 0; i < length; i++)
    to[i] ^= from[i];
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* What the member LOST has at AT, from all the others. */
static gboolean
make_up (const ParityDisk *disk, guint lost, guint64 at, gsize length, guint8 *buffer,
         GError **error)
{
  g_autofree guint8 *other = g_malloc (MIN (length, MAX_PIECE));

  memset (buffer, 0, length);
  for (gsize done = 0, n; done < length; done += n)
    {
      n = MIN (length - done, MAX_PIECE);
      for (guint i = 0; i < disk->n_members; i++)
        {
          const H2kMapMember *member = &disk->members[i];
          if (i == lost)
            continue;
          if (!h2k_disk_pread (member->disk, member->offset + at + done, n, other, error))
            return FALSE;
          exclusive_or (buffer + done, other, n);
        }
    }
  return TRUE;
}

static gboolean
parity_pread (H2kDisk *base, guint64 offset, gsize length, void *buffer, GError **error)
{
  ParityDisk *disk = (ParityDisk *)base;

  for (guint8 *p = buffer; length;)
    {
      const H2kMapMember *member;
      Piece piece;
      gsize n;

      locate (disk, offset, &piece);
      n = (gsize)MIN (piece.length, length);
      member = &disk->members[piece.data];
      if (h2k_map_is_readable (member)
              ? !h2k_disk_pread (member->disk, member->offset + piece.at, n, p, error)
              : !make_up (disk, piece.data, piece.at, n, p, error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

/* What the lost member would have at PIECE: nothing where none of the others has something. */
static gboolean
lost_extent (const ParityDisk *disk, const Piece *piece, H2kExtent *extent, GError **error)
{
  *extent = (H2kExtent){0, piece->length, H2K_EXTENT_UNALLOCATED};
  for (guint i = 0; i < disk->n_members; i++)
    {
      const H2kMapMember *member = &disk->members[i];
      guint64 at = member->offset + piece->at;
      H2kExtent part;

      if (i == piece->data)
        continue;
      if (!h2k_disk_extent (member->disk, at, at + extent->length, &part, error))
        return FALSE;
      extent->length = part.length;
      if (extent->kind != H2K_EXTENT_DATA && part.kind != H2K_EXTENT_UNALLOCATED)
        extent->kind = part.kind;
    }
  return TRUE;
}

static gboolean
piece_extent (H2kDisk *base, guint64 at, H2kExtent *extent, guint64 *length, GError **error)
{
  ParityDisk *disk = (ParityDisk *)base;
  const H2kMapMember *member;
  Piece piece;

  locate (disk, at, &piece);
  *length = piece.length;
  member = &disk->members[piece.data];
  at = member->offset + piece.at;
  if (h2k_map_is_readable (member))
    return h2k_disk_extent (member->disk, at, at + piece.length, extent, error);
  *length = 0; /* what one of the others ends may go on in the same kind */
  return lost_extent (disk, &piece, extent, error);
}

static gboolean
parity_extent (H2kDisk *base, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_map_join_extents (base, offset, piece_extent, extent, error);
}

/* --- writing, where all members are there ------------------------------------------------------
 */

/* Put the N bytes at DATA where PIECE lies: the parity changes by what the data changes. With the
 * lock: volumes on the array that share a row are written by several threads. */
static gboolean
write_piece (ParityDisk *disk, const Piece *piece, gsize n, const guint8 *data, GError **error)
{
  const H2kMapMember *to = &disk->members[piece->data], *parity = &disk->members[piece->parity];
  g_autofree guint8 *change = g_malloc (n), *sum = g_malloc (n);

  if (!h2k_disk_pread (to->disk, to->offset + piece->at, n, change, error)
      || !h2k_disk_pread (parity->disk, parity->offset + piece->at, n, sum, error))
    return FALSE;
  exclusive_or (sum, change, n);
  exclusive_or (sum, data, n);
  return h2k_disk_pwrite (to->disk, to->offset + piece->at, n, data, error)
         && h2k_disk_pwrite (parity->disk, parity->offset + piece->at, n, sum, error);
}

static gboolean
parity_pwrite (H2kDisk *base, guint64 offset, gsize length, const void *buffer, GError **error)
{
  ParityDisk *disk = (ParityDisk *)base;

  for (const guint8 *p = buffer; length;)
    {
      Piece piece;
      gboolean ok;
      gsize n;

      locate (disk, offset, &piece);
      n = (gsize)MIN (MIN (piece.length, length), MAX_PIECE);
      g_mutex_lock (&disk->lock);
      ok = write_piece (disk, &piece, n, p, error);
      g_mutex_unlock (&disk->lock);
      if (!ok)
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
parity_flush (H2kDisk *base, GError **error)
{
  ParityDisk *disk = (ParityDisk *)base;

  for (guint i = 0; i < disk->n_members; i++)
    if (!h2k_disk_flush (disk->members[i].disk, error))
      return FALSE;
  return TRUE;
}

static void
parity_finalize (H2kDisk *base)
{
  ParityDisk *disk = (ParityDisk *)base;

  for (guint i = 0; i < disk->n_members; i++)
    h2k_disk_unref (disk->members[i].disk);
  g_free (disk->members);
  g_mutex_clear (&disk->lock);
}

static const H2kDiskOps read_ops = {
    .pread = parity_pread,
    .extent = parity_extent,
    .finalize = parity_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = parity_pread,
    .extent = parity_extent,
    .pwrite = parity_pwrite,
    .flush = parity_flush,
    .finalize = parity_finalize,
};

/* --- all ---------------------------------------------------------------------------------------
 */

static gboolean
fits (const H2kMapMember *members, guint n, guint layout, guint64 chunk, guint64 length)
{
  guint64 size;

  if (n < 2 || layout >= G_N_ELEMENTS (layouts) || chunk == 0 || length < chunk
      || !g_uint64_checked_mul (&size, length, n - 1) || size > G_MAXINT64)
    return FALSE;
  for (guint i = 0; i < n; i++)
    if (!h2k_map_has_room (&members[i], length))
      return FALSE;
  return TRUE;
}

H2kDisk *
h2k_md_parity_disk (const H2kMapMember *members, guint n, guint layout, guint64 chunk,
                    guint64 member_length, gboolean writable, const char *name, GError **error)
{
  g_autofree char *safe = h2k_escape_text (name, -1);
  guint64 length = chunk ? member_length / chunk * chunk : 0;
  guint64 paths = 0;
  guint n_lost = 0;
  ParityDisk *disk;

  if (!fits (members, n, layout, chunk, length))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: its blocks do not fit the disks that they should lie on", safe);
      return NULL;
    }
  for (guint i = 0; i < n; i++)
    {
      n_lost += !h2k_map_is_readable (&members[i]);
      paths += members[i].disk ? MAX (members[i].disk->paths, 1) : 0;
      writable = writable && members[i].disk && h2k_disk_is_writable (members[i].disk);
    }
  if (n_lost > 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: it lacks %u of its %u members, and can do without one", safe, n_lost, n);
      return NULL;
    }
  if (!h2k_map_check_paths (paths, name, error))
    return NULL;
  disk = g_new0 (ParityDisk, 1);
  h2k_disk_init (&disk->base, writable && n_lost == 0 ? &write_ops : &read_ops, length * (n - 1),
                 "md", name);
  g_mutex_init (&disk->lock);
  disk->chunk = chunk;
  disk->layout = layout;
  disk->n_members = n;
  disk->members = g_memdup2 (members, n * sizeof *members);
  for (guint i = 0; i < n; i++)
    if (members[i].disk)
      {
        h2k_disk_ref (members[i].disk);
        h2k_disk_add_files (&disk->base, members[i].disk);
        disk->base.sector_size = MAX (disk->base.sector_size, members[i].disk->sector_size);
      }
  return &disk->base;
}
