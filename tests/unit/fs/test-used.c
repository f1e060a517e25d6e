/* test-used.c - the blocks in use are those that dumpe2fs does not list as free.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include <stdlib.h>

static const char *const configs[] = {
    "-t ext4 -b 4096",
    "-t ext4 -b 1024",
    "-t ext4 -O ^metadata_csum,uninit_bg -g 2048 -b 1024",
    "-t ext4 -b 4096 -O bigalloc -C 16384",
    "-t ext4 -O ^flex_bg,^resize_inode,meta_bg -b 1024",
    "-t ext3 -b 4096",
    "-t ext2 -b 1024 -O none",
};

/* A byte a block: 1 when it is in use. Clusters of RATIO blocks are listed by their first block. */
static guint8 *
blocks_by_dumpe2fs (guint64 n_blocks, guint ratio)
{
  g_autofree char *output = NULL;
  g_auto (GStrv) lines = NULL;
  guint8 *used = g_malloc (n_blocks);

  memset (used, 1, n_blocks);
  g_assert_cmpint (image_run (&output, "dumpe2fs @/image"), ==, 0);
  lines = g_strsplit (output, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) ranges = NULL;
      /* "  Free blocks: 12, 20-31"; the line before it counts them without the colon's list. */
      if (!g_str_has_prefix (lines[i], "  Free blocks: "))
        continue;
      ranges = g_strsplit (lines[i] + 15, ", ", -1);
      for (guint r = 0; ranges[r] && *ranges[r]; r++)
        {
          char *end;
          guint64 from = strtoull (ranges[r], &end, 10), to = from;
          if (*end == '-')
            to = strtoull (end + 1, NULL, 10);
          to += ratio - 1;
          g_assert_cmpuint (to, <, n_blocks);
          memset (used + from, 0, to - from + 1);
        }
    }
  return used;
}

static guint
block_size_of (H2kDisk *disk)
{
  guint32 shift;

  g_assert_true (h2k_disk_pread (disk, 1024 + 24, 4, &shift, NULL));
  return 1024u << GUINT32_FROM_LE (shift);
}

static void
test_bitmaps (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *used = NULL;
  guint size, extents = 0;

  if (!image_have ("dumpe2fs"))
    return;
  disk = image_mke2fs (options, "40M", TRUE);
  fs = h2k_fs_open (disk, &error);
  g_assert_no_error (error);
  size = block_size_of (disk);
  used = blocks_by_dumpe2fs (disk->size / size, strstr (options, "bigalloc") ? 4 : 1);
  for (guint64 at = 0; at < disk->size;)
    {
      H2kExtent extent;
      g_assert_true (fs->ops->used (fs, at, &extent, &error));
      g_assert_cmpuint (extent.offset, ==, at);
      g_assert_cmpuint (extent.length, >, 0);
      g_assert_cmpuint (extent.length % size, ==, 0);
      for (guint64 b = at / size; b < (at + extent.length) / size; b++)
        g_assert_cmpuint (used[b], ==, extent.kind == H2K_EXTENT_DATA);
      at += extent.length;
      extents++;
    }
  g_assert_cmpuint (extents, <, disk->size / size / 8);
}

/* What an untrustworthy bitmap says is free is copied all the same. */
static void
test_bad_bitmap (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *output = NULL;
  H2kExtent extent;
  guint64 bitmap;
  guint8 byte = 0;
  char *line;

  if (!image_have ("dumpe2fs"))
    return;
  h2k_disk_unref (image_mke2fs ("-t ext4 -b 4096", "40M", FALSE));
  image_run (&output, "dumpe2fs @/image");
  line = strstr (output, "Block bitmap at ");
  g_assert_nonnull (line);
  bitmap = strtoull (line + 16, NULL, 10) * 4096;
  disk = image_load ("image");
  g_assert_true (h2k_disk_pwrite (disk, bitmap, 1, &byte, NULL));
  fs = h2k_fs_open (disk, NULL);
  g_assert_true (fs->ops->used (fs, 0, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_cmpuint (extent.length, ==, disk->size);
}

/* --- the view --------------------------------------------------------------------------------- */

#define START (1u << 20)
#define SIZE (40u << 20)
#define TAIL (3u << 20)

typedef struct
{
  H2kDisk *view, *disk;
  H2kFs *fs;
} Reader;

/* Reads at odd places give what the disk has where the filesystem uses it, and zeros elsewhere. */
static gpointer
read_around (gpointer data)
{
  Reader *reader = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  g_autofree guint8 *a = g_malloc (300000);
  g_autofree guint8 *b = g_malloc (300000);

  for (guint i = 0; i < 100; i++)
    {
      guint64 at = (guint64)g_rand_int_range (rand, 0, (gint32)(reader->view->size - 300000));
      gsize length = (gsize)g_rand_int_range (rand, 1, 300000);
      g_assert_true (h2k_disk_pread (reader->view, at, length, a, NULL));
      g_assert_true (h2k_disk_pread (reader->disk, at, length, b, NULL));
      for (guint64 p = at; p < at + length;)
        {
          H2kExtent extent;
          guint64 end;
          g_assert_true (h2k_disk_extent (reader->view, p, at + length, &extent, NULL));
          end = p + extent.length;
          if (extent.kind == H2K_EXTENT_DATA)
            g_assert_true (memcmp (a + (p - at), b + (p - at), end - p) == 0);
          else
            g_assert_true (h2k_is_zero (a + (p - at), end - p));
          p = end;
        }
    }
  return NULL;
}

static void
test_view (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (START + SIZE + TAIL);
  g_autoptr (H2kDisk) part = NULL;
  g_autoptr (H2kDisk) image = NULL;
  g_autoptr (H2kDisk) view = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GPtrArray) filesystems = g_ptr_array_new ();
  g_autoptr (GArray) offsets = g_array_new (FALSE, FALSE, sizeof (guint64));
  g_autofree guint8 *junk = g_malloc (SIZE);
  guint64 offset = START, data = 0;
  GThread *threads[4];
  Reader reader;

  if (!image_have ("mke2fs"))
    return;
  /* Deleted data everywhere, and a filesystem over it that is smaller than its partition. */
  memset (junk, 0xa5, SIZE);
  for (guint64 at = 0; at < disk->size; at += 1u << 20)
    g_assert_true (h2k_disk_pwrite (disk, at, 1u << 20, junk, NULL));
  image = image_mke2fs ("-t ext4 -b 4096", "38M", TRUE);
  g_assert_true (h2k_disk_pread (image, 0, 38u << 20, junk, NULL));
  for (guint64 at = 0; at < 38u << 20; at += 4096)
    if (!h2k_is_zero (junk + at, 4096))
      g_assert_true (h2k_disk_pwrite (disk, START + at, 4096, junk + at, NULL));
  part = h2k_slice_new (disk, START, SIZE, "part", NULL);
  fs = h2k_fs_open (part, NULL);
  g_assert_nonnull (fs);
  g_ptr_array_add (filesystems, fs);
  g_array_append_val (offsets, offset);
  view = h2k_used_view_new (disk, filesystems, offsets);
  g_assert_cmpuint (view->size, ==, disk->size);
  g_assert_false (h2k_disk_is_writable (view));

  for (guint64 at = 0; at < view->size;)
    {
      H2kExtent extent;
      g_assert_true (h2k_disk_extent (view, at, view->size, &extent, NULL));
      g_assert_true (extent.kind == H2K_EXTENT_DATA || at >= START);
      g_assert_true (extent.kind == H2K_EXTENT_DATA || at + extent.length <= START + (38u << 20));
      data += extent.kind == H2K_EXTENT_DATA ? extent.length : 0;
      at += extent.length;
    }
  g_assert_cmpuint (data, <, 20u << 20);
  g_assert_cmpuint (data, >=, START + TAIL + (2u << 20));

  reader = (Reader){view, disk, fs};
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("reader", read_around, &reader);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  image_make_tree ();
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/used/bitmaps/%s", configs[i]);
      g_test_add_data_func (name, configs[i], test_bitmaps);
    }
  g_test_add_func ("/used/bad-bitmap", test_bad_bitmap);
  g_test_add_func ("/used/view", test_view);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
