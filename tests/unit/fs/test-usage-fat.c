/* test-usage-fat.c - the clusters in use are those with an entry in the table, decoded here in
 * another way, and a copy without the others is as good as the original.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "usages.h"

typedef struct
{
  const char *options;
  guint64 size;
  guint bits; /* of an entry */
} Config;

static const Config configs[] = {
    {"-F 12", 1440u << 10, 12},
    {"-F 12 -s 8 -f 1", 8u << 20, 12},
    {"-F 12 -S 2048 -s 2", 12u << 20, 12},
    {"-F 16 -s 1", 20u << 20, 16},
    {"-F 16 -s 8 -f 4", (32u << 20) + 512 * 5, 16},
    {"-F 16 -S 4096 -s 1", 40u << 20, 16},
    {"-F 32 -s 1", 36u << 20, 32},
    {"-F 32 -S 1024 -s 1", 72u << 20, 32},
};

#define N_FILES 12u

static gboolean
have_tools (void)
{
  g_setenv ("MTOOLS_SKIP_CHECK", "1", TRUE);
  return image_have ("mkfs.fat") && image_have ("mcopy") && image_have ("fsck.fat");
}

/* "@/image" with files in pieces, of which some were deleted again. */
static void
make_image (const Config *config)
{
  usage_make_image (config->size, 0xa5);
  image_must_run ("mkfs.fat %s @/image", config->options);
  usage_make_files (N_FILES, 100000);
  image_must_run ("mmd -i @/image ::/dir");
  for (guint i = 0; i < N_FILES; i++)
    image_must_run ("mcopy -i @/image @/tree/f%u ::/%sf%u", i, i % 2 ? "dir/" : "", i);
  for (guint i = 0; i < N_FILES; i += 3)
    image_must_run ("mdel -i @/image ::/%sf%u", i % 2 ? "dir/" : "", i);
  /* This one goes into the holes. */
  image_must_run ("mcopy -i @/image @/tree/f0 ::/f0");
}

/* "@/copy" has the files of "@/image", and is in order if that is to be checked. */
static void
assert_whole (gboolean check)
{
  if (check)
    image_must_run ("fsck.fat -n @/copy");
  image_must_run ("rm -rf @/out");
  image_must_run ("mkdir @/out");
  for (guint i = 0; i < N_FILES; i++)
    if (i == 0 || i % 3)
      {
        image_must_run ("mcopy -n -i @/copy ::/%sf%u @/out/f%u", i % 2 ? "dir/" : "", i, i);
        image_must_run ("cmp @/tree/f%u @/out/f%u", i, i);
      }
}

/* The volume's layout and table, for a look at them that is not the driver's. */
typedef struct
{
  guint64 data, cluster, n_clusters; /* bytes, bytes, count */
  guint64 fat;                       /* bytes */
} Layout;

static Layout
get_layout (H2kDisk *disk)
{
  Layout layout = {0};
  guint64 sector, sectors, fat_sectors;
  guint8 boot[512];

  g_assert_true (h2k_disk_pread (disk, 0, sizeof boot, boot, NULL));
  sector = h2k_le16 (boot + 11);
  sectors = h2k_le16 (boot + 19) ? h2k_le16 (boot + 19) : h2k_le32 (boot + 32);
  fat_sectors = h2k_le16 (boot + 22) ? h2k_le16 (boot + 22) : h2k_le32 (boot + 36);
  layout.fat = h2k_le16 (boot + 14) * sector;
  layout.cluster = boot[13] * sector;
  layout.data = layout.fat + boot[16] * fat_sectors * sector + h2k_le16 (boot + 17) * 32;
  layout.data = (layout.data + sector - 1) / sector * sector;
  layout.n_clusters = (sectors * sector - layout.data) / layout.cluster;
  return layout;
}

/* The entry of CLUSTER, bit by bit. */
static guint32
entry_of (H2kDisk *disk, const Layout *layout, guint bits, guint64 cluster)
{
  guint64 first = cluster * bits;
  guint32 value = 0;

  for (guint i = 0; i < (bits == 32 ? 28 : bits); i++)
    {
      guint8 byte;
      g_assert_true (h2k_disk_pread (disk, layout->fat + (first + i) / 8, 1, &byte, NULL));
      value |= (guint32)(byte >> ((first + i) % 8) & 1) << i;
    }
  return value;
}

static void
assert_same_table (H2kDisk *disk, guint bits)
{
  Layout layout = get_layout (disk);
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, NULL);
  guint64 at = layout.data, end = layout.data + layout.n_clusters * layout.cluster;
  guint64 n_free = 0;
  H2kExtent extent;

  g_assert_nonnull (usage);
  g_assert_true (usage->ops->used (usage, 0, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, layout.data);
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  for (; at < end; at += extent.length)
    {
      g_assert_true (usage->ops->used (usage, at, &extent, NULL));
      g_assert_cmpuint (extent.length % layout.cluster, ==, 0);
      for (guint64 p = at; p < at + extent.length; p += layout.cluster)
        {
          guint64 cluster = (p - layout.data) / layout.cluster + 2;
          gboolean used = entry_of (disk, &layout, bits, cluster) != 0;
          g_assert_cmpint (used, ==, extent.kind == H2K_EXTENT_DATA);
          n_free += !used;
        }
    }
  g_assert_cmpuint (at, ==, end);
  if (end < disk->size)
    {
      g_assert_true (usage->ops->used (usage, end, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
      g_assert_cmpuint (extent.length, ==, disk->size - end);
    }
  g_assert_cmpuint (n_free * layout.cluster, >, disk->size / 3);
}

static void
test_config (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) copy = NULL;

  if (!have_tools ())
    return;
  make_image (config);
  disk = image_load ("image");
  assert_same_table (disk, config->bits);
  copy = usage_copy (disk, FALSE, NULL);
  image_save (copy, "copy");
  assert_whole (!strstr (config->options, "-f 4")); /* that fsck.fat does not read */
}

/* --- hand-made changes ------------------------------------------------------------------------ */

static H2kDisk *
make_fat (const char *options, guint64 size)
{
  if (!have_tools ())
    return NULL;
  usage_make_image (size, 0xa5);
  image_must_run ("mkfs.fat %s @/image", options);
  usage_make_files (1, 30000);
  image_must_run ("mcopy -i @/image @/tree/f0 ::/f0");
  return image_load ("image");
}

static void
test_unclean (void)
{
  static const struct
  {
    const char *options;
    guint64 size;
    guint state;     /* the place of the byte in the boot sector */
    guint64 mask[2]; /* for the entry 1: not unmounted, errors */
  } cases[] = {
      {"-F 12", 2u << 20, 37, {0, 0}},
      {"-F 16 -s 1", 10u << 20, 37, {0x8000, 0x4000}},
      {"-F 32 -s 1", 36u << 20, 65, {0x08000000, 0x04000000}},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = make_fat (cases[i].options, cases[i].size);
      Layout layout;
      if (!disk)
        return;
      layout = get_layout (disk);
      for (guint8 flag = 1; flag <= 2; flag++)
        {
          g_autoptr (H2kDisk) patched = usage_patched (disk, cases[i].state, &flag, 1);
          usage_assert_refused (patched, "marked as dirty");
        }
      for (guint m = 0; m < 2 && cases[i].mask[m]; m++)
        {
          guint bytes = cases[i].mask[m] > 0xffff ? 4 : 2;
          guint32 entry;
          g_autoptr (H2kDisk) patched = usage_patched (disk, disk->size - 1, "", 1);
          guint64 size = (layout.data - layout.fat) / 2;
          g_assert_true (h2k_disk_pread (disk, layout.fat + bytes, 4, &entry, NULL));
          entry = GUINT32_TO_LE (GUINT32_FROM_LE (entry) & ~(guint32)cases[i].mask[m]);
          if (bytes == 2) /* the fixed root directory is behind the tables */
            size = (layout.data - layout.fat - 512 * 32) / 2;
          for (guint copy = 0; copy < 2; copy++)
            g_assert_true (
                h2k_disk_pwrite (patched, layout.fat + bytes + copy * size, bytes, &entry, NULL));
          usage_assert_refused (patched, "was not unmounted");
        }
    }
}

/* Where the copies of the table differ, everything is in use; elsewhere the table is believed. */
static void
test_copies_differ (void)
{
  g_autoptr (H2kDisk) disk = make_fat ("-F 32 -s 1", 36u << 20);
  g_autoptr (H2kDisk) patched = NULL;
  g_autoptr (H2kDisk) first = NULL;
  g_autoptr (H2kDisk) active = NULL;
  g_autoptr (H2kUsage) usage = NULL;
  Layout layout;
  guint64 second, in_use, less;
  H2kExtent extent;
  guint16 flags;

  if (!disk)
    return;
  layout = get_layout (disk);
  second = layout.fat + (layout.data - layout.fat) / 2;
  patched = usage_patched (disk, second + 40000 * 4, "\1", 1);
  usage = h2k_usage_open (patched, FALSE, NULL);
  g_assert_nonnull (usage);
  g_assert_true (
      usage->ops->used (usage, layout.data + (40000 - 2) * layout.cluster, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
  g_assert_true (
      usage->ops->used (usage, layout.data + (60000 - 2) * layout.cluster, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);

  first = usage_patched (disk, second + 4 * 4, "\1", 1);
  usage_assert_refused (first, "copies");

  /* Only the second one is active: it alone counts. */
  flags = GUINT16_TO_LE (0x81);
  active = usage_patched (disk, 40, &flags, 2);
  g_assert_true (h2k_disk_pwrite (active, second + 40000 * 4, 1, "\1", NULL));
  h2k_disk_unref (usage_copy (disk, FALSE, &in_use));
  h2k_disk_unref (usage_copy (active, FALSE, &less));
  g_assert_cmpuint (less, ==, in_use + layout.cluster);
}

/* Bad clusters are in use. */
static void
test_bad_clusters (void)
{
  g_autoptr (H2kDisk) disk = make_fat ("-F 16 -s 1", 10u << 20);
  Layout layout;
  guint64 size, before, after;

  if (!disk)
    return;
  layout = get_layout (disk);
  size = (layout.data - layout.fat - 512 * 32) / 2;
  h2k_disk_unref (usage_copy (disk, FALSE, &before));
  for (guint copy = 0; copy < 2; copy++)
    g_assert_true (
        h2k_disk_pwrite (disk, layout.fat + copy * size + 9000 * 2, 2, "\xf7\xff", NULL));
  h2k_disk_unref (usage_copy (disk, FALSE, &after));
  g_assert_cmpuint (after, ==, before + layout.cluster);
}

/* Few clusters for FAT32, but Linux and Windows take it for one, and so does its boot sector. */
static void
test_small_fat32 (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) copy = NULL;

  if (!have_tools ())
    return;
  usage_make_image (36u << 20, 0xa5);
  image_must_run ("mkfs.fat %s @/image", (const char *)options); /* mcopy does not take it */
  disk = image_load ("image");
  assert_same_table (disk, 32);
  copy = usage_copy (disk, TRUE, NULL);
  image_save (copy, "copy");
  image_must_run ("fsck.fat -n @/copy");
}

/* 4085 clusters or so: not everybody agrees whether that is FAT12 or FAT16. */
static void
test_doubtful (void)
{
  g_autoptr (H2kDisk) disk = make_fat ("-F 16 -s 1", 10u << 20);
  Layout layout;
  guint16 sectors;

  if (!disk)
    return;
  layout = get_layout (disk);
  sectors = GUINT16_TO_LE ((guint16)(layout.data / 512 + 4090));
  g_assert_true (h2k_disk_pwrite (disk, 19, 2, &sectors, NULL));
  usage_assert_refused (disk, "either of two kinds");
}

/* --- the files of the root directory ---------------------------------------------------------- */

static void
put_file (const char *name, const char *magic, guint size)
{
  g_autofree char *path = g_build_filename (image_dir (), "file", NULL);
  g_autofree char *data = g_malloc0 (size);

  memcpy (data, magic, 4);
  g_assert_true (g_file_set_contents (path, data, size, NULL));
  image_must_run ("mcopy -o -i @/image @/file ::/%s", name);
}

static void
test_swap_files (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = make_fat (options, strstr (options, "12") ? 4u << 20 : 36u << 20);
  g_autoptr (H2kDisk) with = NULL;
  g_autoptr (H2kDisk) copy = NULL;
  guint64 all, rest;

  if (!disk)
    return;
  put_file ("hiberfil.sys", "wake", 100000);
  put_file ("a", "aaaa", 30000);
  put_file ("b", "bbbb", 60000);
  image_must_run ("mdel -i @/image ::/a"); /* so that the next one is in pieces */
  put_file ("PAGEFILE.SYS", "page", 300000);
  put_file ("pagefile.sy", "page", 300000);
  with = image_load ("image");
  h2k_disk_unref (usage_copy (with, FALSE, &all));
  copy = usage_copy (with, TRUE, &rest);
  g_assert_cmpuint (all - rest, >=, 400000);
  g_assert_cmpuint (all - rest, <, 400000 + 2 * 4096);
  image_save (copy, "copy");
  image_must_run ("fsck.fat -n @/copy");
  image_must_run ("mcopy -n -i @/copy ::/b @/b");
  image_must_run ("mcopy -n -i @/image ::/b @/b0");
  image_must_run ("cmp @/b @/b0");

  put_file ("hiberfil.sys", "hibr", 100000);
  h2k_disk_unref (copy);
  copy = image_load ("image");
  usage_assert_refused (copy, "hibernated");
}

/* It was a btrfs filesystem once, or is one now. */
static void
test_two_signs (void)
{
  g_autoptr (H2kDisk) disk = make_fat ("-F 32 -s 1", 36u << 20);
  g_autoptr (H2kDisk) patched = NULL;

  if (!disk)
    return;
  patched = usage_patched (disk, 65600, "_BHRfS_M", 8);
  usage_assert_refused (patched, "signature of btrfs");
}

static void
test_damage (void)
{
  g_autoptr (H2kDisk) disk = make_fat ("-F 32 -s 1", 36u << 20);
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  guint refused = 0;

  if (!disk)
    return;
  usage_assert_faults (disk);
  for (guint i = 0; i < 300; i++)
    {
      guint8 byte = (guint8)g_rand_int (rand);
      guint64 at = (guint)g_rand_int_range (rand, 11, 90);
      g_autoptr (H2kDisk) patched = usage_patched (disk, at, &byte, 1);
      g_autoptr (H2kUsage) usage = h2k_usage_open (patched, TRUE, NULL);
      H2kExtent extent;
      refused += !usage;
      for (guint64 p = 0; usage && p < disk->size; p += extent.length)
        {
          g_assert_true (usage->ops->used (usage, p, &extent, NULL));
          g_assert_cmpuint (extent.length, >, 0);
        }
    }
  g_assert_cmpuint (refused, >, 20);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/usage-fat/config/%s", configs[i].options);
      g_test_add_data_func (name, &configs[i], test_config);
    }
  g_test_add_func ("/usage-fat/unclean", test_unclean);
  g_test_add_func ("/usage-fat/copies-differ", test_copies_differ);
  g_test_add_func ("/usage-fat/bad-clusters", test_bad_clusters);
  g_test_add_data_func ("/usage-fat/small-fat32/512", "-F 32 -s 8 -a", test_small_fat32);
  g_test_add_data_func ("/usage-fat/small-fat32/4096", "-F 32 -S 4096 -s 1", test_small_fat32);
  g_test_add_func ("/usage-fat/doubtful", test_doubtful);
  g_test_add_data_func ("/usage-fat/swap-files/12", "-F 12", test_swap_files);
  g_test_add_data_func ("/usage-fat/swap-files/16", "-F 16", test_swap_files);
  g_test_add_data_func ("/usage-fat/swap-files/32", "-F 32 -s 1", test_swap_files);
  g_test_add_func ("/usage-fat/two-signs", test_two_signs);
  g_test_add_func ("/usage-fat/damage", test_damage);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
