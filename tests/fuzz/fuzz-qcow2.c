/* fuzz-qcow2.c - the input is a qcow2 image: it is opened, and its extents and content are read.
 * What an extent calls zero has to read as zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image.h"

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
  static char *image;
  g_autofree guint8 *copy = g_malloc (size + 1);
  g_autoptr (H2kDisk) disk = NULL;

  if (!image)
    image = image_path ("image");
  if (size)
    memcpy (copy, data, size);
  tame_backing_name (copy, size);
  if (!g_file_set_contents_full (image, (char *)copy, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600,
                                 NULL))
    g_error ("cannot write to %s", image);
  disk = h2k_disk_open (image, "qcow2", NULL);
  image_read (disk);
  return 0;
}
