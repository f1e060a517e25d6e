/* test-usage-swap.c - of what mkswap makes only the header is in use, unless a system sleeps in it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/usage.h"

#define SIZE (8u << 20)

static const char *const layouts[] = {
    "4096", "8192", "16384", "32768", "65536",
};

/* An image full of old data with `mkswap OPTIONS` over it. */
static H2kDisk *
make_swap (const char *options)
{
  g_autofree char *path = g_build_filename (image_dir (), "swap", NULL);
  g_autofree char *junk = g_malloc (SIZE);

  memset (junk, 0xa5, SIZE);
  g_assert_true (g_file_set_contents (path, junk, SIZE, NULL));
  g_assert_cmpint (image_run (NULL, "mkswap -f %s @/swap", options), ==, 0);
  return image_load ("swap");
}

/* What is used from the start, what is not, and what is used again behind that. */
static void
assert_layout (H2kDisk *disk, guint64 header, guint64 end)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, &error);
  H2kExtent extent;

  g_assert_no_error (error);
  g_assert_true (usage->ops->used (usage, 10, &extent, &error));
  g_assert_cmpuint (extent.offset, ==, 10);
  g_assert_cmpuint (extent.length, ==, header - 10);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_true (usage->ops->used (usage, header, &extent, &error));
  g_assert_cmpuint (extent.length, ==, end - header);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  if (end == disk->size)
    return;
  g_assert_true (usage->ops->used (usage, end, &extent, &error));
  g_assert_cmpuint (extent.length, ==, disk->size - end);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
}

static void
assert_kept (H2kDisk *disk, const char *reason)
{
  for (gboolean drop_swap = FALSE; drop_swap <= TRUE; drop_swap++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kUsage) usage = h2k_usage_open (disk, drop_swap, &error);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
      g_assert_nonnull (strstr (error->message, reason));
      g_assert_null (usage);
    }
}

static void
swap_bytes (H2kDisk *disk, guint64 offset, guint n)
{
  for (guint i = 0; i < n; i++)
    {
      guint32 word;
      g_assert_true (h2k_disk_pread (disk, offset + 4 * i, 4, &word, NULL));
      word = GUINT32_SWAP_LE_BE (word);
      g_assert_true (h2k_disk_pwrite (disk, offset + 4 * i, 4, &word, NULL));
    }
}

static void
test_page_size (gconstpointer page)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree char *options = g_strconcat ("-L label -p ", page, NULL);
  guint64 size = g_ascii_strtoull (page, NULL, 10);

  if (!image_have ("mkswap"))
    return;
  disk = make_swap (options);
  assert_layout (disk, size, SIZE);
  /* The same of a machine with the other byte order. */
  swap_bytes (disk, 1024, 3);
  assert_layout (disk, size, SIZE);
}

/* What follows the swap space's last page is not its own. */
static void
test_smaller_than_volume (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint32 last = GUINT32_TO_LE (1023);

  if (!image_have ("mkswap"))
    return;
  disk = make_swap ("");
  g_assert_true (h2k_disk_pwrite (disk, 1028, 4, &last, NULL));
  assert_layout (disk, 4096, 4u << 20);
}

static void
test_suspended (void)
{
  static const char *const marks[]
      = {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"};

  if (!image_have ("mkswap"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (marks); i++)
    {
      g_autoptr (H2kDisk) disk = make_swap ("");
      assert_layout (disk, 4096, SIZE);
      g_assert_true (h2k_disk_pwrite (disk, 4086, strlen (marks[i]), marks[i], NULL));
      assert_kept (disk, "suspended");
    }
}

static void
test_old_version (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (SIZE);
  guint8 page[4096] = {0};

  memcpy (page + 4086, "SWAP-SPACE", 10);
  memset (page, 0xff, 128); /* 1024 pages, of which the last word's stay */
  page[0] = 0xfe;
  g_assert_true (h2k_disk_pwrite (disk, 0, sizeof page, page, NULL));
  assert_layout (disk, 4096, (1024 - 64) * 4096);
  memset (page, 0xff, 4086); /* more than there are */
  g_assert_true (h2k_disk_pwrite (disk, 0, sizeof page, page, NULL));
  assert_kept (disk, "larger");
  memset (page, 0, 4086);
  g_assert_true (h2k_disk_pwrite (disk, 0, sizeof page, page, NULL));
  assert_kept (disk, "damaged");
}

/* Nothing is dropped where the header makes no sense, or where something else may lie. */
static void
test_doubt (void)
{
  static const struct
  {
    guint64 offset;
    const char *bytes;
    gsize length;
    const char *reason;
  } cases[] = {
      {1028, "\0\0\0\0", 4, "damaged"},
      {1028, "\0\x08\0\0", 4, "larger"},
      {1100, "\1", 1, "damaged"},
      {8182, "SWAPSPACE2", 10, "several"},
      {0, "XFSB", 4, "xfs"},
      {1080, "\x53\xef", 2, "ext4"},
      {65600, "_BHRfS_M", 8, "btrfs"},
      {3, "NTFS    ", 8, "ntfs"},
      {16408, "version", 7, "zfs"},
      {65526, "S1SUSPEND", 9, "suspended"},
  };

  if (!image_have ("mkswap"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = make_swap ("");
      g_assert_true (
          h2k_disk_pwrite (disk, cases[i].offset, cases[i].length, cases[i].bytes, NULL));
      assert_kept (disk, cases[i].reason);
    }
}

/* In the view, old contents are gone and the header is as it was. */
static void
test_view (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) view = NULL;
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  g_autofree guint8 *a = g_malloc (SIZE);
  guint8 header[4096];

  if (!image_have ("mkswap"))
    return;
  disk = make_swap ("");
  view = h2k_used_view_new (disk, FALSE, notes, NULL);
  g_assert_cmpuint (notes->len, ==, 0);
  g_assert_true (h2k_disk_pread (disk, 0, sizeof header, header, NULL));
  g_assert_true (h2k_disk_pread (view, 0, SIZE, a, NULL));
  g_assert_cmpmem (a, sizeof header, header, sizeof header);
  g_assert_true (h2k_is_zero (a + sizeof header, SIZE - sizeof header));
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_autofree char *name = g_strconcat ("/swap/page-size/", layouts[i], NULL);
      g_test_add_data_func (name, layouts[i], test_page_size);
    }
  g_test_add_func ("/swap/smaller-than-volume", test_smaller_than_volume);
  g_test_add_func ("/swap/suspended", test_suspended);
  g_test_add_func ("/swap/old-version", test_old_version);
  g_test_add_func ("/swap/doubt", test_doubt);
  g_test_add_func ("/swap/view", test_view);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
