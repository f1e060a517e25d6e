/* merge.c - layers that only the next one needs become one with it.
 *
 * The image of the upper layer is replaced by one that has what both have, over the image below
 * both: what a guest reads is the same before and after each replacement, so there is no moment at
 * which the clone is not whole.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"
#include "copy/internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the image UPPER, or its backing file, has itself as data; what only lies below both as
 * nothing. Zeros count as data: they hide what is below. */
static gboolean
two_layers (H2kDisk *upper, guint64 offset, guint64 limit, H2kExtent *extent, GError **error)
{
  H2kExtent lower;

  if (!h2k_disk_own_extent (upper, offset, limit, extent, error))
    return FALSE;
  if (extent->kind == H2K_EXTENT_UNALLOCATED && upper->backing && offset < upper->backing->size)
    {
      if (!h2k_disk_own_extent (upper->backing, offset, MIN (limit, offset + extent->length),
                                &lower, error))
        return FALSE;
      *extent = lower;
    }
  if (extent->kind == H2K_EXTENT_ZERO)
    extent->kind = H2K_EXTENT_DATA;
  return TRUE;
}

/* The name by which LAYER's image gets to what is below. */
static char *
backing_name (const H2kClone *clone, const H2kLayer *layer, guint disk, char **format,
              GError **error)
{
  g_autofree char *path = h2k_clone_image (clone, layer->number, disk);
  char *name = NULL;

  g_clear_pointer (format, g_free);
  return h2k_clone_image_backing (path, &name, format, error) ? name : NULL;
}

/* Put what LOWER and UPPER have into UPPER's image. */
static gboolean
merge_disk (const H2kClone *clone, const H2kLayer *lower, const H2kLayer *upper, guint disk,
            GCancellable *cancellable, GError **error)
{
  H2kOutputOptions options = {.format = "qcow2", .sync = TRUE, .force = TRUE};
  const H2kCopyOptions copy = {.threads = 1};
  g_autofree char *path = h2k_clone_image (clone, upper->number, disk);
  g_autofree char *format = NULL;
  g_autofree char *over = backing_name (clone, upper, disk, &format, error);
  g_autofree char *backing = over ? backing_name (clone, lower, disk, &format, error) : NULL;
  g_auto (H2kImageLuks) luks = {0};
  g_autoptr (H2kDisk) source = NULL;
  g_autoptr (H2kOutput) output = NULL;

  if (!backing)
    return FALSE;
  /* Done already, by a merge that was killed before it came to the other disks. */
  if (g_str_equal (over, backing))
    return TRUE;
  if (!(source = h2k_clone_open_image (clone, upper->number, disk, error))
      || !h2k_image_luks_read (path, *clone->key, &luks, error))
    return FALSE;
  options.luks = luks.header ? &luks : NULL;
  output = h2k_output_create (path, source->size, &options, NULL, 0600, backing, format, error);
  return output && h2k_copy_extents (source, two_layers, output, &copy, cancellable, NULL, error)
         && h2k_output_commit (output, error);
}

/* Whether only one layer needs NUMBER, and no name leads to it. */
static gboolean
is_between (const H2kClone *clone, guint number)
{
  const H2kLayer *layer = h2k_clone_layer (clone, number);
  guint children = 0;

  if (!layer || layer->snapshot || number == clone->base || number == clone->current)
    return FALSE;
  for (guint i = 0; i < clone->layers->len; i++)
    children += ((const H2kLayer *)clone->layers->pdata[i])->parent == number;
  return children == 1;
}

/* A layer that can be merged with the one below it; NULL: there is none. */
static const H2kLayer *
find_upper (const H2kClone *clone)
{
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (is_between (clone, layer->parent))
        return layer;
    }
  return NULL;
}

gboolean
h2k_clone_merge (H2kClone *clone, GCancellable *cancellable, guint *count, GError **error)
{
  g_autoptr (ImageLocks) locks = h2k_clone_lock_images (clone, error);
  const H2kLayer *upper;

  if (count)
    *count = 0;
  if (!locks)
    return FALSE;
  while ((upper = find_upper (clone)))
    {
      const H2kLayer *lower = h2k_clone_layer (clone, upper->parent);
      for (guint disk = 0; disk < clone->n_disks; disk++)
        if (!merge_disk (clone, lower, upper, disk, cancellable, error))
          return h2k_clone_settle (clone, FALSE, error);
      /* A killed run merges the same layers again, disks that were done included. */
      if (!h2k_clone_settle (clone, TRUE, error))
        return FALSE;
      if (count)
        ++*count;
    }
  return TRUE;
}
