/* compare.c - in which blocks two states of a clone's disk differ.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/compare.h"

#define PIECE (1u << 20)

void
h2k_clone_state_clear (H2kCloneState *state)
{
  g_clear_pointer (&state->disk, h2k_disk_unref);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* What the images say that the original is, so that it is opened as they would. */
static H2kDisk *
open_original (const H2kClone *clone, guint disk, GError **error)
{
  g_autofree char *path = h2k_clone_image (clone, clone->base, disk);
  g_autoptr (H2kDisk) top = h2k_clone_open_image (clone, clone->base, disk, error);
  H2kDisk *at = top;

  for (guint n = h2k_clone_depth (clone, clone->base); at && n; n--)
    at = at->backing;
  if (top && !at)
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "%s has fewer images below it than the clone %s has layers", path, clone->name);
  return at ? h2k_disk_ref (at) : NULL;
}

static H2kDisk *
open_layer (const H2kClone *clone, guint number, guint disk, GError **error)
{
  if (number == 0)
    return open_original (clone, disk, error);
  if (!h2k_clone_layer (clone, number))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "the clone %s has no layer %u", clone->name,
                   number);
      return NULL;
    }
  return h2k_clone_open_image (clone, number, disk, error);
}

static guint
parent_of (const H2kClone *clone, guint number)
{
  const H2kLayer *layer = h2k_clone_layer (clone, number);

  return layer ? layer->parent : 0;
}

gboolean
h2k_clone_open_states (const H2kClone *clone, guint from, guint to, guint disk, H2kCloneState *a,
                       H2kCloneState *b, GError **error)
{
  guint x = from, y = to;

  a->layers = b->layers = 0;
  /* A parent's number is smaller than its child's: the larger one is not the common ancestor. */
  while (x != y)
    if (x > y)
      {
        x = parent_of (clone, x);
        a->layers++;
      }
    else
      {
        y = parent_of (clone, y);
        b->layers++;
      }
  a->disk = open_layer (clone, from, disk, error);
  b->disk = a->disk ? open_layer (clone, to, disk, error) : NULL;
  return b->disk != NULL;
}

/* --- what was written ------------------------------------------------------------------------- */

typedef struct
{
  const H2kCloneState *states[2];
  guint64 size; /* of the larger one */
  guint8 *buffers[2];
  H2kDifferenceFunc func;
  gpointer data;
  H2kExtent pending; /* found, and maybe going on */
  gboolean stopped;
} Comparison;

/* Whether an image of STATE has something at OFFSET, and how far that goes at least. */
static gboolean
is_written (const H2kCloneState *state, guint64 offset, guint64 *length, gboolean *written,
            GError **error)
{
  H2kDisk *image = state->disk;
  H2kExtent extent;

  /* An image that ends here hides what lies below it. */
  for (guint n = 0; n < state->layers && image; n++, image = image->backing)
    if (offset >= image->size)
      *written = TRUE;
    else if (!h2k_disk_own_extent (image, offset, image->size, &extent, error))
      return FALSE;
    else
      {
        *written |= extent.kind != H2K_EXTENT_UNALLOCATED;
        *length = MIN (*length, extent.length);
      }
  if (image && offset >= image->size)
    *written = TRUE;
  else if (image)
    *length = MIN (*length, image->size - offset);
  return TRUE;
}

static gboolean
next_written (const Comparison *c, guint64 offset, H2kExtent *extent, GError **error)
{
  gboolean written = FALSE;
  guint64 length = c->size - offset;

  for (guint i = 0; i < 2; i++)
    if (!is_written (c->states[i], offset, &length, &written, error))
      return FALSE;
  *extent = (H2kExtent){offset, length, written ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
count_written (const Comparison *c, guint64 *total, GError **error)
{
  H2kExtent extent;

  *total = 0;
  for (guint64 at = 0; at < c->size; at += extent.length)
    {
      if (!next_written (c, at, &extent, error))
        return FALSE;
      if (extent.kind == H2K_EXTENT_DATA)
        *total += extent.length;
    }
  return TRUE;
}

/* --- comparing -------------------------------------------------------------------------------- */

static void
flush (Comparison *c)
{
  if (c->pending.length && !c->stopped)
    c->stopped = !c->func (c->pending.offset, c->pending.length, c->data);
  c->pending.length = 0;
}

static void
differs (Comparison *c, guint64 offset, guint64 length)
{
  if (c->pending.length && c->pending.offset + c->pending.length == offset)
    {
      c->pending.length += length;
      return;
    }
  flush (c);
  c->pending = (H2kExtent){.offset = offset, .length = length};
}

/* Read a piece of one of the disks; *ZERO: it holds nothing and was not read. What the extents say
 * costs nothing to know. */
static gboolean
read_piece (Comparison *c, guint i, guint64 offset, gsize length, gboolean *zero, GError **error)
{
  H2kDisk *disk = c->states[i]->disk;
  gsize there = offset < disk->size ? (gsize)MIN (length, disk->size - offset) : 0;
  H2kExtent extent = {0};

  if (there && !h2k_disk_extent (disk, offset, offset + there, &extent, error))
    return FALSE;
  *zero = !there || (extent.length == there && extent.kind != H2K_EXTENT_DATA);
  if (*zero)
    return TRUE;
  memset (c->buffers[i] + there, 0, length - there);
  return h2k_disk_pread (disk, offset, there, c->buffers[i], error);
}

static gboolean
compare_piece (Comparison *c, guint64 offset, gsize length, GError **error)
{
  gboolean zero[2];

  for (guint i = 0; i < 2; i++)
    if (!read_piece (c, i, offset, length, &zero[i], error))
      return FALSE;
  if (zero[0] && zero[1])
    return TRUE;
  for (guint i = 0; i < 2; i++)
    if (zero[i])
      memset (c->buffers[i], 0, length);
  if (memcmp (c->buffers[0], c->buffers[1], length) == 0)
    return TRUE;
  for (gsize at = 0; at < length; at += H2K_COMPARE_UNIT)
    {
      gsize n = MIN (length - at, H2K_COMPARE_UNIT);
      if (memcmp (c->buffers[0] + at, c->buffers[1] + at, n) != 0)
        differs (c, offset + at, n);
    }
  return TRUE;
}

static gboolean
compare_all (Comparison *c, H2kProgressFunc progress, gpointer progress_data, guint64 total,
             GCancellable *cancellable, GError **error)
{
  guint64 done = 0;
  H2kExtent extent;

  for (guint64 at = 0; at < c->size && !c->stopped; at += extent.length)
    {
      if (h2k_is_cancelled (cancellable, error) || !next_written (c, at, &extent, error))
        return FALSE;
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      /* Pieces begin where units do, so that ranges are whole units. */
      extent.length = MIN (extent.length, PIECE - at % PIECE);
      if (!compare_piece (c, at, (gsize)extent.length, error))
        return FALSE;
      done += extent.length;
      if (progress)
        progress ("compare", MIN (done, total), total, progress_data);
    }
  flush (c);
  return TRUE;
}

gboolean
h2k_clone_compare_states (const H2kCloneState *a, const H2kCloneState *b, H2kDifferenceFunc func,
                          gpointer data, H2kProgressFunc progress, gpointer progress_data,
                          GCancellable *cancellable, GError **error)
{
  Comparison c
      = {.states = {a, b}, .size = MAX (a->disk->size, b->disk->size), .func = func, .data = data};
  guint64 total;
  gboolean ok = count_written (&c, &total, error);

  for (guint i = 0; i < 2 && ok; i++)
    c.buffers[i] = g_malloc (PIECE);
  ok = ok && compare_all (&c, progress, progress_data, total, cancellable, error);
  for (guint i = 0; i < 2; i++)
    g_free (c.buffers[i]);
  return ok;
}
