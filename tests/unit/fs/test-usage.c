/* test-usage.c - the blocks in use are those that dumpe2fs does not list as free.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/usage.h"

#include <glib/gstdio.h>

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
  g_autoptr (H2kUsage) usage = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *used = NULL;
  guint size, extents = 0;

  if (!image_have ("dumpe2fs"))
    return;
  disk = image_mke2fs (options, "40M", TRUE);
  usage = h2k_usage_open (disk, FALSE, &error);
  g_assert_no_error (error);
  size = block_size_of (disk);
  used = blocks_by_dumpe2fs (disk->size / size, strstr (options, "bigalloc") ? 4 : 1);
  for (guint64 at = 0; at < disk->size;)
    {
      H2kExtent extent;
      g_assert_true (usage->ops->used (usage, at, &extent, &error));
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
  g_autoptr (H2kUsage) usage = NULL;
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
  usage = h2k_usage_open (disk, FALSE, NULL);
  g_assert_true (usage->ops->used (usage, 0, &extent, NULL));
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

/* An MBR with one Linux partition. */
static void
write_table (H2kDisk *disk)
{
  const guint32 start = GUINT32_TO_LE (START / 512), sectors = GUINT32_TO_LE (SIZE / 512);
  guint8 sector[512] = {0};

  sector[446 + 4] = 0x83;
  memcpy (sector + 446 + 8, &start, sizeof start);
  memcpy (sector + 446 + 12, &sectors, sizeof sectors);
  sector[510] = 0x55;
  sector[511] = 0xaa;
  g_assert_true (h2k_disk_pwrite (disk, 0, sizeof sector, sector, NULL));
}

/* Deleted data everywhere, and a filesystem over it that is smaller than its partition. */
static H2kDisk *
make_disk (void)
{
  H2kDisk *disk = h2k_memory_disk_new (START + SIZE + TAIL);
  g_autoptr (H2kDisk) image = image_mke2fs ("-t ext4 -b 4096", "38M", TRUE);
  g_autofree guint8 *junk = g_malloc (SIZE);

  memset (junk, 0xa5, SIZE);
  for (guint64 at = 0; at < disk->size; at += 1u << 20)
    g_assert_true (h2k_disk_pwrite (disk, at, 1u << 20, junk, NULL));
  g_assert_true (h2k_disk_pread (image, 0, 38u << 20, junk, NULL));
  for (guint64 at = 0; at < 38u << 20; at += 4096)
    if (!h2k_is_zero (junk + at, 4096))
      g_assert_true (h2k_disk_pwrite (disk, START + at, 4096, junk + at, NULL));
  write_table (disk);
  return disk;
}

static guint64
count_data (H2kDisk *view)
{
  guint64 data = 0;

  for (guint64 at = 0; at < view->size;)
    {
      H2kExtent extent;
      g_assert_true (h2k_disk_extent (view, at, view->size, &extent, NULL));
      g_assert_true (extent.kind == H2K_EXTENT_DATA || at >= START);
      g_assert_true (extent.kind == H2K_EXTENT_DATA || at + extent.length <= START + (38u << 20));
      data += extent.kind == H2K_EXTENT_DATA ? extent.length : 0;
      at += extent.length;
    }
  return data;
}

static void
test_view (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) view = NULL;
  g_autoptr (GError) error = NULL;
  guint64 data;
  GThread *threads[4];
  Reader reader;

  if (!image_have ("mke2fs"))
    return;
  disk = make_disk ();
  view = h2k_used_view_new (disk, FALSE, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (view->size, ==, disk->size);
  g_assert_false (h2k_disk_is_writable (view));
  data = count_data (view);
  g_assert_cmpuint (data, <, 20u << 20);
  g_assert_cmpuint (data, >=, START + TAIL + (2u << 20));

  reader = (Reader){view, disk};
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("reader", read_around, &reader);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

/* A filesystem that was not unmounted is copied whole, and that is said. */
static void
test_unclean (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) view = NULL;
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  guint8 flags;

  if (!image_have ("mke2fs"))
    return;
  disk = make_disk ();
  g_assert_true (h2k_disk_pread (disk, START + 1024 + 96, 1, &flags, NULL));
  flags |= 4; /* s_feature_incompat: the journal is to be replayed */
  g_assert_true (h2k_disk_pwrite (disk, START + 1024 + 96, 1, &flags, NULL));
  view = h2k_used_view_new (disk, FALSE, notes, NULL);
  g_assert_nonnull (view);
  g_assert_cmpuint (count_data (view), ==, disk->size);
  g_assert_cmpuint (notes->len, ==, 1);
}

/* What was swapped out goes, the header and everything else stays, and the files are in order. */
static void
test_swap_files (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;

  if (!image_have ("mke2fs") || !image_have ("mkswap"))
    return;
  image_make_swap_files ();
  disk = image_mke2fs (data, "48M", TRUE);
  for (gboolean drop = FALSE; drop <= TRUE; drop++)
    {
      g_autoptr (H2kDisk) view = h2k_used_view_new (disk, drop, NULL, NULL);

      image_assert_swap_files (view, drop);
      image_assert_clean (view);
      if (drop)
        {
          image_save (view, "dropped");
          g_assert_cmpint (image_run (NULL, "debugfs -R 'dump /swapfile @/swapfile' @/dropped"), ==,
                           0);
          g_assert_cmpint (image_run (NULL, "swaplabel @/swapfile"), ==, 0);
        }
    }
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  image_make_tree ();
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/usage/bitmaps/%s", configs[i]);
      g_test_add_data_func (name, configs[i], test_bitmaps);
    }
  g_test_add_func ("/usage/bad-bitmap", test_bad_bitmap);
  g_test_add_func ("/usage/view", test_view);
  g_test_add_func ("/usage/unclean", test_unclean);
  g_test_add_data_func ("/usage/swap-files/extents", "-t ext4 -b 4096", test_swap_files);
  g_test_add_data_func ("/usage/swap-files/indirect", "-t ext3 -b 1024", test_swap_files);
  g_test_add_data_func ("/usage/swap-files/bigalloc", "-t ext4 -O bigalloc -C 16384",
                        test_swap_files);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
