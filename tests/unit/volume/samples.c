/* samples.c - the disks of tests/fixtures/volumes/, in memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "samples.h"

#include <glib/gstdio.h>
#include <unistd.h>
#include <zstd.h>

#define BLOCK 65536u

static H2kDisk *
load_disk (const char *path)
{
  g_autofree char *packed = NULL, *data = NULL;
  g_autoptr (H2kDisk) base = NULL;
  unsigned long long size;
  gsize length;

  if (!g_file_get_contents (path, &packed, &length, NULL))
    return NULL;
  size = ZSTD_getFrameContentSize (packed, length);
  g_assert_cmpuint (size, <, 64u << 20);
  data = g_malloc (size);
  g_assert_cmpuint (ZSTD_decompress (data, size, packed, length), ==, size);
  base = h2k_memory_disk_new (size);
  for (gsize at = 0; at < size; at += BLOCK)
    {
      gsize n = MIN (BLOCK, size - at);
      if (!h2k_is_zero (data + at, n))
        g_assert_true (h2k_disk_pwrite (base, at, n, data + at, NULL));
    }
  return h2k_overlay_new (base, NULL, 64u << 20);
}

GPtrArray *
sample_load (const char *name)
{
  GPtrArray *disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (guint i = 1;; i++)
    {
      g_autofree char *file = g_strdup_printf ("disk%u.zst", i);
      g_autofree char *path
          = g_test_build_filename (G_TEST_DIST, "fixtures", "volumes", name, file, NULL);
      H2kDisk *disk = load_disk (path);
      if (!disk)
        break;
      g_ptr_array_add (disks, disk);
    }
  g_assert_cmpuint (disks->len, >, 0);
  return disks;
}

char *
sample_numbers (guint n)
{
  GString *text = g_string_new (NULL);

  for (guint i = 1; i <= n; i++)
    g_string_append_printf (text, "%u\n", i);
  return g_string_free (text, FALSE);
}

void
sample_claim_clean (H2kDisk *disk)
{
  g_autofree char *path = NULL, *output = NULL, *buffer = g_malloc (BLOCK);
  const char *argv[] = {"e2fsck", "-fn", NULL, NULL};
  int status, fd = g_file_open_tmp ("h2k-sample-XXXXXX", &path, NULL);

  g_assert_cmpint (ftruncate (fd, (off_t)disk->size), ==, 0);
  for (guint64 at = 0; at < disk->size; at += BLOCK)
    {
      gsize n = (gsize)MIN (BLOCK, disk->size - at);
      g_assert_true (h2k_disk_pread (disk, at, n, buffer, NULL));
      if (!h2k_is_zero (buffer, n))
        g_assert_cmpint (h2k_pwrite_full (fd, buffer, n, at), ==, 0);
    }
  close (fd);
  argv[2] = path;
  g_assert_true (g_spawn_sync (NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                               &output, NULL, &status, NULL));
  g_unlink (path);
  if (status)
    g_error ("e2fsck: %s", output);
}
