/* fuzz-vhd.c - the input is a VHD image, with its checksums made right: it is opened, and its
 * extents and content are read. What an extent calls zero has to read as zeros. Beside it lies one
 * image that a differencing disk may name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

#include <glib/gstdio.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_READ (256 * 1024)
#define PARENT_SIZE 8192

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static char *folder, *image, *parent;

static void
clean_up (void)
{
  g_unlink (parent);
  g_rmdir (folder);
}

static GLogWriterOutput
ignore_message (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  return level == G_LOG_LEVEL_MESSAGE ? G_LOG_WRITER_HANDLED
                                      : g_log_writer_default (level, fields, n, data);
}

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
  guint8 data[PARENT_SIZE + 512] = {0}, *footer = data + PARENT_SIZE;

  memset (data + 1024, 0x55, 4096);
  memcpy (footer, "conectix", 8);
  footer[54] = PARENT_SIZE >> 8;
  footer[63] = 2;
  memset (footer + 68, 1, 16);
  put_sum (footer, 512, 64);
  folder = g_dir_make_tmp ("h2k-fuzz-XXXXXX", NULL);
  image = g_build_filename (folder, "image.vhd", NULL);
  parent = g_build_filename (folder, "parent.vhd", NULL);
  if (!g_file_set_contents (parent, (char *)data, sizeof data, NULL))
    g_error ("cannot write to %s", parent);
  atexit (clean_up);
  g_log_set_writer_func (ignore_message, NULL, NULL);
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
  g_autofree guint8 *copy = g_memdup2 (data, size), *buffer = g_malloc (MAX_READ);
  g_autoptr (H2kFile) file = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint64 at = 0;

  if (!folder)
    make_parent ();
  fix_sums (copy, size);
  file = h2k_file_new_memory (image, copy, size);
  disk = h2k_vhd_format.open (file, NULL);
  for (guint i = 0; disk && i < 64 && at < disk->size; i++, at += extent.length)
    {
      gsize n;
      if (!h2k_disk_extent (disk, at, disk->size, &extent, NULL))
        extent = (H2kExtent){at, 512, H2K_EXTENT_DATA};
      n = (gsize)MIN (extent.length, MAX_READ);
      if (h2k_disk_pread (disk, at, n, buffer, NULL) && extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (buffer, n));
      h2k_disk_pread (disk, at + n - 1, 1, buffer, NULL);
    }
  return 0;
}
