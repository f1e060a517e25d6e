/* samples.c - the disks of tests/fixtures/volumes/, in memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "samples.h"

#include "../packed.h"

#include <glib/gstdio.h>
#include <unistd.h>

#define BLOCK 65536u

GPtrArray *
sample_load (const char *name)
{
  GPtrArray *disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (guint i = 1;; i++)
    {
      g_autofree char *file = g_strdup_printf ("disk%u.zst", i);
      H2kDisk *disk = packed_disk ("volumes", name, file);
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
