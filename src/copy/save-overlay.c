/* save-overlay.c - the changes of an overlay as a small qcow2 over its unchanged base.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

/* The overlay's changes as data, everything else as nothing. */
static gboolean
change_extent (H2kDisk *overlay, guint64 offset, guint64 limit, H2kExtent *extent, GError **error)
{
  H2kExtent change;

  *extent = (H2kExtent){offset, limit - offset, H2K_EXTENT_UNALLOCATED};
  if (!h2k_overlay_next_change (overlay, offset, &change) || change.offset >= limit)
    return TRUE;
  if (change.offset > offset)
    extent->length = change.offset - offset;
  else
    *extent
        = (H2kExtent){offset, MIN (change.offset + change.length, limit) - offset, H2K_EXTENT_DATA};
  return TRUE;
}

gboolean
h2k_qcow2_save_encrypted (H2kDisk *overlay, const char *path, int mode, const char *backing,
                          const char *backing_format, const H2kImageLuks *luks,
                          GCancellable *cancellable, GError **error)
{
  const H2kOutputOptions options = {.format = "qcow2", .sync = TRUE, .luks = luks};
  const H2kCopyOptions copy = {.threads = 1};
  g_autoptr (H2kOutput) output = NULL;

  output = h2k_output_create (path, overlay->size, &options, overlay->files, mode, backing,
                              backing_format, error);
  return output
         && h2k_copy_extents (overlay, change_extent, output, &copy, cancellable, NULL, error)
         && h2k_output_commit (output, error);
}

gboolean
h2k_qcow2_save_overlay (H2kDisk *overlay, const char *path, int mode, const char *backing,
                        const char *backing_format, GCancellable *cancellable, GError **error)
{
  return h2k_qcow2_save_encrypted (overlay, path, mode, backing, backing_format, NULL, cancellable,
                                   error);
}
