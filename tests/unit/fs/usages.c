/* usages.c - what the tests of all drivers of fs/usage.h do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "usages.h"

#include <glib/gstdio.h>

void
usage_make_image (guint64 size, guint8 junk)
{
  g_autofree char *path = g_build_filename (image_dir (), "image", NULL);
  g_autofree guint8 *block = g_malloc (1u << 20);
  FILE *file;

  g_unlink (path);
  file = fopen (path, "we");
  g_assert_nonnull (file);
  memset (block, junk, 1u << 20);
  if (junk == 0)
    image_run (NULL, "truncate -s %" G_GUINT64_FORMAT " @/image", size);
  for (guint64 at = 0; junk && at < size; at += 1u << 20)
    {
      gsize n = (gsize)MIN (1u << 20, size - at);
      g_assert_cmpuint (fwrite (block, 1, n, file), ==, n);
    }
  g_assert_cmpint (fclose (file), ==, 0);
}

void
usage_make_files (guint n, guint max)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (n);
  g_autofree guint8 *data = g_malloc (max);

  image_run (NULL, "rm -rf @/tree");
  image_run (NULL, "mkdir @/tree");
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *name = g_strdup_printf ("f%u", i);
      g_autofree char *path = g_build_filename (image_dir (), "tree", name, NULL);
      gint32 length = g_rand_int_range (rand, 1, (gint32)max);
      for (gint32 b = 0; b < length; b++)
        data[b] = (guint8)(g_rand_int (rand) | 1);
      g_assert_true (g_file_set_contents (path, (char *)data, length, NULL));
    }
}

static gboolean
next_extent (H2kUsage *usage, guint64 at, H2kExtent *extent)
{
  g_autoptr (GError) error = NULL;

  if (at >= usage->volume->size)
    return FALSE;
  usage->ops->used (usage, at, extent, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (extent->offset, ==, at);
  g_assert_cmpuint (extent->length, >, 0);
  g_assert_cmpuint (extent->length, <=, usage->volume->size - at);
  g_assert_true (extent->kind == H2K_EXTENT_DATA || extent->kind == H2K_EXTENT_UNALLOCATED);
  return TRUE;
}

static H2kUsage *
open_usage (H2kDisk *disk, gboolean drop_swap)
{
  g_autoptr (GError) error = NULL;
  H2kUsage *usage = h2k_usage_open (disk, drop_swap, &error);

  g_assert_no_error (error);
  return usage;
}

H2kDisk *
usage_copy (H2kDisk *disk, gboolean drop_swap, guint64 *in_use)
{
  g_autoptr (H2kUsage) usage = open_usage (disk, drop_swap);
  g_autofree guint8 *buffer = g_malloc (1u << 20);
  H2kDisk *copy = h2k_memory_disk_new (disk->size);
  guint64 total = 0, in_row = 0;
  H2kExtent extent;
  int last = -1;

  for (guint64 at = 0; next_extent (usage, at, &extent); at += extent.length)
    {
      in_row = last == (int)extent.kind ? in_row + 1 : 0;
      last = (int)extent.kind;
      g_assert_cmpuint (in_row, <, 100);
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      total += extent.length;
      for (guint64 p = at; p < at + extent.length;)
        {
          gsize n = (gsize)MIN (1u << 20, at + extent.length - p);
          g_assert_true (h2k_disk_pread (disk, p, n, buffer, NULL));
          if (!h2k_is_zero (buffer, n))
            g_assert_true (h2k_disk_pwrite (copy, p, n, buffer, NULL));
          p += n;
        }
    }
  if (in_use)
    *in_use = total;
  return copy;
}

guint8 *
usage_map (H2kDisk *disk, guint size, gboolean drop_swap)
{
  g_autoptr (H2kUsage) usage = open_usage (disk, drop_swap);
  guint8 *map = g_malloc0 (disk->size / size + 1);
  H2kExtent extent;

  for (guint64 at = 0; next_extent (usage, at, &extent); at += extent.length)
    if (extent.kind == H2K_EXTENT_DATA)
      memset (map + at / size, 1, (at + extent.length + size - 1) / size - at / size);
  return map;
}

void
usage_assert_refused (H2kDisk *disk, const char *reason)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, TRUE, &error);

  g_assert_null (usage);
  g_assert_true (g_error_matches (error, H2K_ERROR, H2K_ERROR_FILESYSTEM)
                 || g_error_matches (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED));
  if (!strstr (error->message, reason))
    g_error ("\"%s\" does not say: %s", error->message, reason);
}

/* Whether all of DISK could be asked about. */
static gboolean
ask_all (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, TRUE, error);
  H2kExtent extent;

  for (guint64 at = 0; usage && at < disk->size; at += extent.length)
    if (!usage->ops->used (usage, at, &extent, error))
      return FALSE;
  return usage != NULL;
}

void
usage_assert_faults (H2kDisk *disk)
{
  guint step = 1;

  for (guint n = 1;; n += step)
    {
      g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, n);
      g_autoptr (GError) error = NULL;
      gboolean ok = ask_all (faulty, &error);

      if (faulty_disk_requests (faulty) < n)
        {
          g_assert_true (ok);
          g_assert_cmpuint (n, >, 5);
          return;
        }
      g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
      step = 1 + n / 40;
    }
}

H2kDisk *
usage_patched (H2kDisk *disk, guint64 offset, const void *data, gsize length)
{
  H2kDisk *copy = h2k_overlay_new (disk, NULL, 1u << 26);

  g_assert_true (h2k_disk_pwrite (copy, offset, length, data, NULL));
  return copy;
}
