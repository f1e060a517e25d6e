/* share.c - blocks of the source that become the output's without being copied (reflinks), where
 * both files lie on one filesystem that can do that, as btrfs and XFS can.
 *
 * A chunk all of which can be shared is not even read, unless a digest of it is asked for. What
 * cannot be shared after all is copied.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define PROBED_EXTENTS 64u /* until it is clear that there is nothing to be shared */

static gboolean
is_aligned (const H2kStored *stored, guint64 offset)
{
  return (stored->offset | stored->length | offset) % H2K_IO_ALIGN == 0;
}

/* Try it with the first block of the source that lies somewhere as it is. */
static gboolean
probe (H2kOutput *output, H2kDisk *source)
{
  const H2kSinkOps *ops = output->sink->ops;
  guint64 at = 0;

  if (!ops->can_share || !output->writer->may_share || output->base
      || output->options.preallocation != H2K_PREALLOCATION_OFF)
    return FALSE;
  for (guint i = 0; i < PROBED_EXTENTS && at + H2K_IO_ALIGN <= source->size; i++)
    {
      H2kExtent extent;
      H2kStored stored;

      if (!h2k_disk_extent (source, at, source->size, &extent, NULL))
        return FALSE;
      if (extent.kind == H2K_EXTENT_DATA && extent.length >= H2K_IO_ALIGN
          && h2k_disk_stored (source, at, H2K_IO_ALIGN, &stored) && is_aligned (&stored, 0))
        return ops->can_share (output->sink, stored.fd, stored.offset);
      at = extent.offset + extent.length;
    }
  return FALSE;
}

gboolean
h2k_output_shares (H2kOutput *output, H2kDisk *source)
{
  H2kSharing sharing = (H2kSharing)g_atomic_int_get (&output->sharing);

  if (sharing == H2K_SHARING_UNKNOWN)
    {
      sharing = probe (output, source) ? H2K_SHARING_YES : H2K_SHARING_NO;
      g_atomic_int_set (&output->sharing, (int)sharing);
      if (sharing == H2K_SHARING_YES)
        g_info ("%s shares blocks with its source", output->given);
    }
  return sharing == H2K_SHARING_YES;
}

/* Whether the LENGTH bytes at OFFSET lie where the filesystem can share them. */
static gboolean
is_shareable (H2kDisk *source, guint64 offset, guint64 length)
{
  H2kStored stored;

  for (; length; offset += stored.length, length -= stored.length)
    if (!h2k_disk_stored (source, offset, length, &stored) || !is_aligned (&stored, offset))
      return FALSE;
  return TRUE;
}

gboolean
h2k_share_fits (H2kOutput *output, H2kDisk *source, const H2kChunk *chunk)
{
  for (guint i = 0; i < chunk->ranges->len; i++)
    {
      const H2kRange *range = &g_array_index (chunk->ranges, H2kRange, i);

      /* Of a unit that is used in part, the rest must not come along. */
      if ((range->offset | range->length) % output->writer->unit
          || !is_shareable (source, range->offset, range->length))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_chunk_is_zero (const H2kChunk *chunk, gsize at, gsize length)
{
  guint64 start = chunk->offset + at;

  if (!chunk->unread)
    return h2k_is_zero (chunk->data + at, length);
  for (guint i = 0; i < chunk->ranges->len; i++)
    {
      const H2kRange *range = &g_array_index (chunk->ranges, H2kRange, i);

      if (range->offset < start + length && start < range->offset + range->length)
        return FALSE;
    }
  return TRUE;
}

/* Let the output have the bytes at OFFSET of the disk at PLACE of the file. Returns how many of the
 * LENGTH ones it has now. */
static gsize
share_piece (H2kOutput *output, H2kDisk *source, guint64 offset, guint64 place, gsize length)
{
  guint64 there = offset < source->size ? MIN (length, source->size - offset) : 0;
  H2kStored stored;

  if (!there || !h2k_output_shares (output, source)
      || !h2k_disk_stored (source, offset, there, &stored))
    return 0;
  stored.length -= stored.length % H2K_IO_ALIGN;
  if (!stored.length || !is_aligned (&stored, place))
    return 0;
  if (output->sink->ops->share (output->sink, &stored, place))
    return (gsize)stored.length;
  g_info ("%s: blocks are copied from here on", output->given);
  g_atomic_int_set (&output->sharing, H2K_SHARING_NO);
  return 0;
}

/* Add bytes that have to be written to SEGMENTS. */
static void
add_left (GArray *segments, guint64 offset, const guint8 *data, gsize length)
{
  H2kSegment *last
      = segments->len ? &g_array_index (segments, H2kSegment, segments->len - 1) : NULL;
  H2kSegment segment = {offset, data, length};

  if (last && last->data && last->data + last->length == data
      && last->offset + last->length == offset)
    last->length += length;
  else
    g_array_append_val (segments, segment);
}

/* Share what can be of SEGMENT, which lies at AT of CHUNK's data, and add the rest to LEFT. */
static gboolean
share_segment (H2kOutput *output, H2kDisk *source, H2kChunk *chunk, const H2kSegment *segment,
               GArray *left, guint64 *shared, GError **error)
{
  gsize at = (gsize)(segment->data - chunk->data);

  for (gsize done = 0, n; done < segment->length; done += n)
    {
      n = share_piece (output, source, chunk->offset + at + done, segment->offset + done,
                       segment->length - done);
      *shared += n;
      if (n)
        continue;
      n = MIN (H2K_IO_ALIGN, segment->length - done);
      if (chunk->unread
          && !h2k_disk_pread (source, chunk->offset + at + done, n, chunk->data + at + done, error))
        return FALSE;
      chunk->bytes_read += chunk->unread ? n : 0;
      add_left (left, segment->offset + done, segment->data + done, n);
    }
  return TRUE;
}

gboolean
h2k_share_write (H2kOutput *output, H2kDisk *source, H2kChunk *chunk, guint64 *shared,
                 GError **error)
{
  g_autoptr (GArray) left = g_array_new (FALSE, FALSE, sizeof (H2kSegment));

  for (guint i = 0; i < chunk->segments->len; i++)
    {
      const H2kSegment *s = &g_array_index (chunk->segments, H2kSegment, i);

      if (!s->data || s->data < chunk->data || s->data >= chunk->data + chunk->capacity)
        g_array_append_val (left, *s);
      else if (!share_segment (output, source, chunk, s, left, shared, error))
        return FALSE;
    }
  g_array_set_size (chunk->segments, 0);
  g_array_append_vals (chunk->segments, left->data, left->len);
  return h2k_output_write (output, chunk, error);
}
