/* map.c - a disk whose blocks lie on other disks.
 *
 * The geometry of copies is that of Linux's md(4), "RAID10": LINEAR, STRIPED, RAID0 and RAID1 are
 * RAID10 with one member, with one copy, or with as many near copies as members.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/map.h"

#include "disk/formats.h"

/* Chunks looked at to make one long extent of them. */
#define MAX_CHUNKS_OF_EXTENT 1024u
/* A volume on a thousand others that lie on sixty each. */
#define MAX_PATHS 65536u

typedef struct
{
  guint64 start, length; /* bytes of the mapped disk */
  H2kMapLayout layout;
  guint n_members;
  H2kMapMember *members;
} Run;

typedef struct
{
  H2kDisk base;
  GArray *runs; /* Run, by start, without gaps */
} MapDisk;

/* A piece of a chunk, wherever it lies. */
typedef struct
{
  guint64 length;
  guint n_copies;
  struct
  {
    const H2kMapMember *member;
    guint64 offset; /* on the member's disk */
  } copies[H2K_MAP_MAX_COPIES];
} Piece;

/* --- geometry ----------------------------------------------------------------------------------
 */

static const Run *
find_run (const MapDisk *map, guint64 offset)
{
  guint low = 0, high = map->runs->len;

  while (high - low > 1)
    {
      guint middle = low + (high - low) / 2;
      if (g_array_index (map->runs, Run, middle).start <= offset)
        low = middle;
      else
        high = middle;
    }
  return &g_array_index (map->runs, Run, low);
}

/* The member that has the next far copy of what lies on the member DEV: as many further as there
 * are near copies, around the end of its set. Members that fill no set belong to the last one. */
static guint
next_far_member (const Run *run, guint dev)
{
  guint set = run->layout.far_set, n = run->n_members, next = dev + run->layout.near;
  guint last_size = n % set ? set + n % set : 0, last = n - last_size;

  if (last_size && next > last)
    return last + (next - last) % last_size;
  return dev / set * set + next % set;
}

/* The copies of what lies at OFFSET of RUN, up to the end of the chunk. */
static void
locate (const Run *run, guint64 offset, Piece *piece)
{
  const H2kMapLayout *layout = &run->layout;
  guint64 number = offset / layout->chunk, into = offset % layout->chunk;
  guint64 place = number * layout->near, row = place / run->n_members;
  guint64 stride = layout->far_offset ? layout->chunk : layout->stride;
  guint first = (guint)(place % run->n_members);

  if (layout->far_offset)
    row *= layout->far;
  piece->length = MIN (layout->chunk - into, run->length - offset);
  piece->n_copies = 0;
  for (guint i = 0; i < layout->near; i++)
    {
      /* Near copies that do not fit into a row go on in the next one. */
      guint dev = (first + i) % run->n_members;
      guint64 rows = row + (first + i) / run->n_members * (layout->far_offset ? layout->far : 1);
      guint64 at = rows * layout->chunk + into;

      for (guint f = 0; f < layout->far; f++)
        {
          piece->copies[piece->n_copies].member = &run->members[dev];
          piece->copies[piece->n_copies++].offset = run->members[dev].offset + at;
          dev = next_far_member (run, dev);
          at += stride;
        }
    }
}

gboolean
h2k_map_is_readable (const H2kMapMember *member)
{
  return member->disk && !member->write_only;
}

gboolean
h2k_map_has_room (const H2kMapMember *member, guint64 length)
{
  return !member->disk
         || (member->offset <= member->disk->size && length <= member->disk->size - member->offset);
}

/* --- reading and writing -----------------------------------------------------------------------
 */

/* The first copy that can be read, then, if it fails, the others. */
static gboolean
read_piece (const Piece *piece, gsize length, void *buffer, GError **error)
{
  g_autoptr (GError) first = NULL;

  for (guint i = 0; i < piece->n_copies; i++)
    {
      g_autoptr (GError) failure = NULL;
      if (!h2k_map_is_readable (piece->copies[i].member))
        continue;
      if (h2k_disk_pread (piece->copies[i].member->disk, piece->copies[i].offset, length, buffer,
                          &failure))
        return TRUE;
      if (!first)
        first = g_steal_pointer (&failure);
    }
  g_assert (first); /* each chunk has a readable copy */
  g_propagate_error (error, g_steal_pointer (&first));
  return FALSE;
}

static gboolean
map_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  MapDisk *map = (MapDisk *)disk;

  for (guint8 *p = buffer; length;)
    {
      const Run *run = find_run (map, offset);
      Piece piece;
      gsize n;

      locate (run, offset - run->start, &piece);
      n = (gsize)MIN (piece.length, length);
      if (!read_piece (&piece, n, p, error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
map_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  MapDisk *map = (MapDisk *)disk;

  for (const guint8 *p = buffer; length;)
    {
      const Run *run = find_run (map, offset);
      Piece piece;
      gsize n;

      locate (run, offset - run->start, &piece);
      n = (gsize)MIN (piece.length, length);
      for (guint i = 0; i < piece.n_copies; i++)
        if (piece.copies[i].member->disk
            && !h2k_disk_pwrite (piece.copies[i].member->disk, piece.copies[i].offset, n, p, error))
          return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
map_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  MapDisk *map = (MapDisk *)disk;

  while (length)
    {
      const Run *run = find_run (map, offset);
      Piece piece;
      guint64 n;

      locate (run, offset - run->start, &piece);
      n = MIN (piece.length, length);
      for (guint i = 0; i < piece.n_copies; i++)
        if (piece.copies[i].member->disk
            && !h2k_disk_zero (piece.copies[i].member->disk, piece.copies[i].offset, n, error))
          return FALSE;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
map_flush (H2kDisk *disk, GError **error)
{
  MapDisk *map = (MapDisk *)disk;
  H2kDisk *last = NULL;

  for (guint i = 0; i < map->runs->len; i++)
    {
      const Run *run = &g_array_index (map->runs, Run, i);
      for (guint m = 0; m < run->n_members; m++)
        {
          H2kDisk *member = run->members[m].disk;
          if (member && member != last && !h2k_disk_flush (member, error))
            return FALSE;
          last = member ? member : last;
        }
    }
  return TRUE;
}

/* The extent of the chunk at AT, from the copy that is read first. */
static gboolean
piece_extent (H2kDisk *disk, guint64 at, H2kExtent *extent, guint64 *length, GError **error)
{
  MapDisk *map = (MapDisk *)disk;
  const Run *run = find_run (map, at);
  Piece piece;

  locate (run, at - run->start, &piece);
  *length = piece.length;
  for (guint i = 0; i < piece.n_copies; i++)
    if (h2k_map_is_readable (piece.copies[i].member))
      return h2k_disk_extent (piece.copies[i].member->disk, piece.copies[i].offset,
                              piece.copies[i].offset + piece.length, extent, error);
  g_assert_not_reached ();
}

static gboolean
map_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_map_join_extents (disk, offset, piece_extent, extent, error);
}

gboolean
h2k_map_join_extents (H2kDisk *disk, guint64 offset, H2kMapPieceFunc piece, H2kExtent *extent,
                      GError **error)
{
  guint64 at = offset;

  for (guint i = 0; i < MAX_CHUNKS_OF_EXTENT && at < disk->size; i++)
    {
      guint64 length = 0;
      H2kExtent part;

      if (!piece (disk, at, &part, &length, error))
        return FALSE;
      if (i > 0 && part.kind != extent->kind)
        break;
      extent->kind = part.kind;
      at += part.length;
      if (part.length < length)
        break;
    }
  extent->offset = offset;
  extent->length = at - offset;
  return TRUE;
}

static void
run_clear (gpointer data)
{
  Run *run = data;

  for (guint i = 0; i < run->n_members; i++)
    h2k_disk_unref (run->members[i].disk);
  g_free (run->members);
}

static void
map_finalize (H2kDisk *disk)
{
  g_array_unref (((MapDisk *)disk)->runs);
}

static const H2kDiskOps read_ops = {
    .pread = map_pread,
    .extent = map_extent,
    .finalize = map_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = map_pread,
    .extent = map_extent,
    .pwrite = map_pwrite,
    .zero = map_zero,
    .flush = map_flush,
    .finalize = map_finalize,
};

/* --- checks ------------------------------------------------------------------------------------
 */

/* The bytes that RUN takes of each of its members; FALSE when that is more than any disk has. */
static gboolean
member_length (const Run *run, guint64 *length)
{
  const H2kMapLayout *layout = &run->layout;
  guint64 chunks = (run->length - 1) / layout->chunk + 1, places, rows, strides = 0;

  if (!g_uint64_checked_mul (&places, chunks, layout->near))
    return FALSE;
  rows = (places - 1) / run->n_members + 1;
  return g_uint64_checked_mul (&rows, rows, layout->far_offset ? layout->far : 1)
         && g_uint64_checked_mul (length, rows, layout->chunk)
         && (layout->far_offset || g_uint64_checked_mul (&strides, layout->far - 1, layout->stride))
         && g_uint64_checked_add (length, *length, strides) && *length <= G_MAXINT64;
}

static gboolean
is_layout (const Run *run)
{
  const H2kMapLayout *layout = &run->layout;

  return run->length > 0 && run->length <= G_MAXINT64 && run->n_members > 0 && layout->near > 0
         && layout->far > 0 && layout->near <= run->n_members
         && layout->far <= run->n_members / layout->near
         && layout->near * layout->far <= H2K_MAP_MAX_COPIES && layout->far_set <= run->n_members;
}

/* Whether what RUN needs is on its members. */
static gboolean
fits (const Run *run)
{
  guint64 length;

  if (run->n_members == 1 || run->layout.near == run->n_members)
    length = run->length; /* what is behind the end of a mirror's last chunk is not there */
  else if (!member_length (run, &length))
    return FALSE;
  for (guint i = 0; i < run->n_members; i++)
    if (!h2k_map_has_room (&run->members[i], length))
      return FALSE;
  return TRUE;
}

/* Whether each chunk has a copy that can be read. The first N chunks are laid out in every way
 * there is. */
static gboolean
has_copies (const Run *run)
{
  for (guint64 i = 0; i < run->n_members; i++)
    {
      gboolean found = FALSE;
      Piece piece;

      if (i > (run->length - 1) / run->layout.chunk)
        break;
      locate (run, i * run->layout.chunk, &piece);
      for (guint c = 0; c < piece.n_copies; c++)
        found |= h2k_map_is_readable (piece.copies[c].member);
      if (!found)
        return FALSE;
    }
  return TRUE;
}

static void
copy_run (Run *run, const H2kMapRun *given, guint64 start)
{
  *run = (Run){start, given->length, given->layout, given->n_members, NULL};
  run->members = g_memdup2 (given->members, given->n_members * sizeof *given->members);
  for (guint i = 0; i < run->n_members; i++)
    if (run->members[i].disk)
      h2k_disk_ref (run->members[i].disk);
  if (run->layout.chunk == 0)
    run->layout.chunk = run->length;
  if (run->layout.far_set == 0)
    run->layout.far_set = run->n_members;
}

static gboolean
check_run (const Run *run, const char *name, GError **error)
{
  g_autofree char *safe = h2k_escape_text (name, -1);

  if (!is_layout (run) || !fits (run))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s: its blocks do not fit the disks that they should lie on", safe);
  else if (!has_copies (run))
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "%s: some of its blocks lie on no disk that is there", safe);
  else
    return TRUE;
  return FALSE;
}

gboolean
h2k_map_check_paths (guint64 paths, const char *name, GError **error)
{
  g_autofree char *safe = h2k_escape_text (name, -1);

  if (paths <= MAX_PATHS)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: its blocks lie on other volumes, and those on others, in too many ways", safe);
  return FALSE;
}

/* Those of a flush, or of what is written to one run. */
static guint64
count_paths (const H2kMapRun *runs, guint n_runs)
{
  const H2kDisk *last = NULL;
  guint64 flushed = 0, most = 0;

  for (guint i = 0; i < n_runs; i++)
    {
      guint64 deepest = 0;

      for (guint m = 0; m < runs[i].n_members; m++)
        {
          const H2kDisk *disk = runs[i].members[m].disk;
          guint64 paths = disk ? MAX (disk->paths, 1) : 0;

          deepest = MAX (deepest, paths);
          flushed = MIN (flushed + (disk != last ? paths : 0), G_MAXUINT32);
          last = disk ? disk : last;
        }
      most = MAX (most, MIN (deepest * runs[i].layout.near * runs[i].layout.far, G_MAXUINT32));
    }
  return MAX (most, flushed);
}

H2kDisk *
h2k_map_disk_new (const H2kMapRun *runs, guint n_runs, gboolean writable, const char *format,
                  const char *name, GError **error)
{
  g_autoptr (GArray) own = g_array_sized_new (FALSE, TRUE, sizeof (Run), n_runs);
  guint64 size = 0;
  guint32 sector_size = 512;
  MapDisk *map;

  g_array_set_clear_func (own, run_clear);
  for (guint i = 0; i < n_runs; i++)
    {
      Run run;
      copy_run (&run, &runs[i], size);
      g_array_append_val (own, run);
      if (!check_run (&run, name, error))
        return NULL;
      for (guint m = 0; m < run.n_members; m++)
        if (run.members[m].disk)
          {
            writable = writable && h2k_disk_is_writable (run.members[m].disk);
            sector_size = MAX (sector_size, run.members[m].disk->sector_size);
          }
      if (run.length > G_MAXINT64 - size)
        {
          g_autofree char *safe = h2k_escape_text (name, -1);
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: it is too large", safe);
          return NULL;
        }
      size += run.length;
    }
  if (!h2k_map_check_paths (count_paths (runs, n_runs), name, error))
    return NULL;
  map = g_new0 (MapDisk, 1);
  h2k_disk_init (&map->base, writable ? &write_ops : &read_ops, size, format, name);
  map->base.sector_size = sector_size;
  for (guint i = 0; i < n_runs; i++)
    for (guint m = 0; m < runs[i].n_members; m++)
      if (runs[i].members[m].disk)
        h2k_disk_add_files (&map->base, runs[i].members[m].disk);
  map->base.paths = count_paths (runs, n_runs);
  map->runs = g_steal_pointer (&own);
  return &map->base;
}
