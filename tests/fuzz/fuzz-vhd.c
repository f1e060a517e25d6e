/* fuzz-vhd.c - the input is a VHD image, with its checksums made right: it is opened, and its
 * extents and content are read. What an extent calls zero has to read as zeros. Beside it lies one
 * image that a differencing disk may name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image.h"

#define PARENT_SIZE 8192

/* Set the checksum at AT of the LENGTH bytes of DATA. */
static void
put_sum (guint8 *data, gsize length, gsize at)
{
  guint32 sum = 0;

  memset (data + at, 0, 4);
  for (gsize i = 0; i < length; i++)
    sum += data[i];
  sum = GUINT32_TO_BE (~sum);
  memcpy (data + at, &sum, 4);
}

/* A fixed disk, whose identifier is all ones. */
static void
make_parent (void)
{
  g_autofree char *parent = image_path ("parent.vhd");
  guint8 data[PARENT_SIZE + 512] = {0}, *footer = data + PARENT_SIZE;

  memset (data + 1024, 0x55, 4096);
  memcpy (footer, "conectix", 8);
  footer[54] = PARENT_SIZE >> 8;
  footer[63] = 2;
  memset (footer + 68, 1, 16);
  put_sum (footer, 512, 64);
  if (!g_file_set_contents (parent, (char *)data, sizeof data, NULL))
    g_error ("cannot write to %s", parent);
}

static void
fix_sums (guint8 *data, gsize size)
{
  guint64 header = size >= 512 ? h2k_be64 (data + 16) : 0;

  if (size < 512)
    return;
  if (header <= size && size - header >= 1024 && memcmp (data + header, "cxsparse", 8) == 0)
    put_sum (data + header, 1024, 36);
  if (memcmp (data, "conectix", 8) == 0)
    put_sum (data, 512, 64);
  if (memcmp (data + size - 512, "conectix", 8) == 0)
    put_sum (data + size - 512, 512, 64);
  if (memcmp (data + size - 511, "conectix", 8) == 0)
    put_sum (data + size - 511, 511, 64);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static char *image;
  g_autofree guint8 *copy = g_memdup2 (data, size);
  g_autoptr (H2kFile) file = NULL;
  g_autoptr (H2kDisk) disk = NULL;

  if (!image)
    {
      image = image_path ("image.vhd");
      make_parent ();
      g_log_set_writer_func (image_say_little, NULL, NULL);
    }
  fix_sums (copy, size);
  file = h2k_file_new_memory (image, copy, size);
  disk = h2k_vhd_format.open (file, NULL);
  image_read (disk);
  return 0;
}
