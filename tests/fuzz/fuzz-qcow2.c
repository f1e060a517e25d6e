/* fuzz-qcow2.c - the input is a qcow2 image: it is opened, and its extents and content are read.
 * What an extent calls zero has to read as zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/disk.h"

#include <glib/gstdio.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_READ (256 * 1024)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static char *folder, *image;

static void
clean_up (void)
{
  g_unlink (image);
  g_rmdir (folder);
}

/* Names with a slash could lead to any file of this machine; others stay in the folder. */
static void
tame_backing_name (guint8 *data, gsize size)
{
  guint64 offset, length;

  if (size < 72)
    return;
  offset = h2k_be64 (data + 8);
  length = h2k_be32 (data + 16);
  if (offset < size && length <= size - offset && !memchr (data + offset, '/', length)
      && !memmem (data + offset, length, "..", 2))
    return;
  memset (data + 8, 0, 8);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autofree guint8 *copy = g_malloc (size + 1), *buffer = g_malloc (MAX_READ);
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint64 at = 0;

  if (!folder)
    {
      folder = g_dir_make_tmp ("h2k-fuzz-XXXXXX", NULL);
      image = g_build_filename (folder, "image", NULL);
      atexit (clean_up);
    }
  if (size)
    memcpy (copy, data, size);
  tame_backing_name (copy, size);
  if (!g_file_set_contents_full (image, (char *)copy, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600,
                                 NULL))
    g_error ("cannot write to %s", image);
  disk = h2k_disk_open (image, "qcow2", NULL);
  for (guint i = 0; disk && i < 64 && at < disk->size; i++, at += extent.length)
    {
      gsize n;
      gboolean mapped = h2k_disk_extent (disk, at, disk->size, &extent, NULL);
      if (!mapped)
        extent = (H2kExtent){at, 512, H2K_EXTENT_DATA};
      n = (gsize)MIN (extent.length, MAX_READ);
      if (h2k_disk_pread (disk, at, n, buffer, NULL) && extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (buffer, n));
      /* A small piece of a cluster goes another way. */
      h2k_disk_pread (disk, at + n - 1, 1, buffer, NULL);
    }
  return 0;
}
