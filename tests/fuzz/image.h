/* image.h - what the targets of the formats of disk images share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/formats.h"

#include <stdint.h>

#define MAX_READ (256u << 10)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* The path of the file NAME in a folder that nobody else has, and that goes with the program. */
static inline char *
image_path (const char *name)
{
  return g_build_filename (g_get_tmp_dir (), name, NULL);
}

/* A log writer: what is wrong with images is not told, what is wrong with us is. */
static inline GLogWriterOutput
image_say_little (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  return level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)
             ? g_log_writer_default (level, fields, n, data)
             : G_LOG_WRITER_HANDLED;
}

/* Read DISK (which may be NULL). What an extent calls zero has to read as zeros. */
static inline void
image_read (H2kDisk *disk)
{
  static guint8 buffer[MAX_READ];
  H2kExtent extent;
  guint64 at = 0;

  for (guint i = 0; disk && i < 64 && at < disk->size; i++, at += extent.length)
    {
      gsize n;
      if (!h2k_disk_extent (disk, at, disk->size, &extent, NULL))
        extent = (H2kExtent){at, 512, H2K_EXTENT_DATA};
      n = (gsize)MIN (extent.length, MAX_READ);
      if (h2k_disk_pread (disk, at, n, buffer, NULL) && extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (buffer, n));
      /* A small piece of a cluster goes another way. */
      h2k_disk_pread (disk, at + n - 1, 1, buffer, NULL);
    }
}
