/* marks.c - ranges of a disk that are to be found again on the volumes that lie on it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/compare.h"
#include "disk/formats.h"

#define MARKS_MAX (1u << 19)
#define MARKS_LEAST_GAP 4096u

H2kMarks *
h2k_marks_new (void)
{
  H2kMarks *marks = g_new0 (H2kMarks, 1);

  marks->ranges = g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  marks->nearest = 1;
  return marks;
}

void
h2k_marks_free (H2kMarks *marks)
{
  if (!marks)
    return;
  g_array_unref (marks->ranges);
  g_free (marks);
}

/* Whether it became part of the last range. */
static gboolean
extend_last (GArray *ranges, guint length, guint64 nearest, const H2kExtent *range)
{
  H2kExtent *last = length ? &g_array_index (ranges, H2kExtent, length - 1) : NULL;

  if (!last || range->offset - (last->offset + last->length) >= nearest)
    return FALSE;
  last->length = range->offset + range->length - last->offset;
  return TRUE;
}

/* Cover gaps, larger and larger ones, until half of the ranges are gone. */
static void
make_room (H2kMarks *marks)
{
  GArray *ranges = marks->ranges;

  while (ranges->len > MARKS_MAX / 2)
    {
      guint kept = 0;

      marks->nearest = MAX (marks->nearest * 2, MARKS_LEAST_GAP);
      for (guint i = 0; i < ranges->len; i++)
        {
          H2kExtent range = g_array_index (ranges, H2kExtent, i);
          if (!extend_last (ranges, kept, marks->nearest, &range))
            g_array_index (ranges, H2kExtent, kept++) = range;
        }
      g_array_set_size (ranges, kept);
    }
}

void
h2k_marks_add (H2kMarks *marks, guint64 offset, guint64 length)
{
  const H2kExtent range = {offset, length, H2K_EXTENT_DATA};

  if (extend_last (marks->ranges, marks->ranges->len, marks->nearest, &range))
    return;
  g_array_append_val (marks->ranges, range);
  if (marks->ranges->len > MARKS_MAX)
    make_room (marks);
}

/* --- a disk whose extents they are ------------------------------------------------------------ */

typedef struct
{
  H2kDisk disk;
  const H2kMarks *marks;
} Marked;

static gboolean
marked_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  return h2k_disk_pread (disk->backing, offset, length, buffer, error);
}

static gboolean
marked_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  const GArray *ranges = ((Marked *)disk)->marks->ranges;
  guint low = 0, high = ranges->len;
  const H2kExtent *range;

  *extent = (H2kExtent){offset, disk->size - offset, H2K_EXTENT_UNALLOCATED};
  while (low < high)
    {
      guint middle = (low + high) / 2;
      range = &g_array_index (ranges, H2kExtent, middle);
      if (range->offset + range->length <= offset)
        low = middle + 1;
      else
        high = middle;
    }
  if (low == ranges->len)
    return TRUE;
  range = &g_array_index (ranges, H2kExtent, low);
  if (range->offset > offset)
    {
      extent->length = MIN (extent->length, range->offset - offset);
      return TRUE;
    }
  extent->kind = H2K_EXTENT_DATA;
  extent->length = MIN (extent->length, range->offset + range->length - offset);
  return TRUE;
}

static const H2kDiskOps marked_ops = {
    .pread = marked_pread,
    .extent = marked_extent,
};

H2kDisk *
h2k_marked_disk_new (H2kDisk *disk, const H2kMarks *marks)
{
  Marked *marked = g_new0 (Marked, 1);

  h2k_disk_init (&marked->disk, &marked_ops, disk->size, "marked", disk->name);
  marked->disk.sector_size = disk->sector_size;
  h2k_disk_add_files (&marked->disk, disk);
  marked->disk.backing = h2k_disk_ref (disk);
  marked->marks = marks;
  return &marked->disk;
}
