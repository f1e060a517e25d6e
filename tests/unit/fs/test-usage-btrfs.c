/* test-usage-btrfs.c - the blocks in use are those of the extents that `btrfs inspect-internal
 * dump-tree` lists, where it says that their chunks are, and a copy without the others is as good
 * as the original.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "usages.h"

#include <stdlib.h>

#define SECTOR 4096u
#define SIZE ((118u << 20) + 5 * 4096 + 512)
#define N_FILES 200u

static const char *const configs[] = {
    "-m dup -n 4096",     "-m single -d single",
    "--mixed -n 4096",    "-m dup -d dup --csum sha256",
    "-n 65536",           "-O ^no-holes -R free-space-tree",
    "--csum xxhash",      "--csum blake2",
    "-d raid0 -m single", "-O ^skinny-metadata -n 4096",
};

static gboolean
have_tools (void)
{
  return image_have ("mkfs.btrfs") && image_have ("btrfs");
}

/* "@/image" with the files of "@/tree". */
static H2kDisk *
make_image (const char *options, guint8 junk)
{
  if (!have_tools ())
    return NULL;
  usage_make_image (SIZE, junk);
  usage_make_files (N_FILES, 12000);
  image_must_run ("mkfs.btrfs -q -f %s --rootdir @/tree @/image", options);
  return image_load ("image");
}

/* "@/copy" has the files of "@/tree", and is in order. */
static void
assert_whole (void)
{
  image_must_run ("btrfs check --check-data-csum @/copy");
  image_must_run ("rm -rf @/out");
  image_must_run ("mkdir @/out");
  image_must_run ("btrfs restore @/copy @/out");
  image_must_run ("diff -r @/tree @/out");
}

static char **
dump_tree (const char *tree)
{
  g_autofree char *output = NULL;

  g_assert_cmpint (image_run (&output, "btrfs inspect-internal dump-tree -t %s @/image", tree), ==,
                   0);
  return g_strsplit (output, "\n", -1);
}

/* A byte a sector of the logical addresses up to END: 1 where an extent is. */
static guint8 *
logical_map (guint64 end, guint node_size)
{
  g_auto (GStrv) lines = dump_tree ("extent");
  guint8 *map = g_malloc0 (end / SECTOR);

  for (guint i = 0; lines[i]; i++)
    {
      const char *key = strstr (lines[i], " key (");
      guint64 start, length;
      char *rest;
      if (!key)
        continue;
      start = strtoull (key + 6, &rest, 10);
      if (g_str_has_prefix (rest, " EXTENT_ITEM "))
        length = strtoull (rest + 13, NULL, 10);
      else if (g_str_has_prefix (rest, " METADATA_ITEM "))
        length = node_size;
      else
        continue;
      g_assert_cmpuint (start + length, <=, end);
      memset (map + start / SECTOR, 1, length / SECTOR);
    }
  return map;
}

/* A byte a sector of the device: 1 where something is that has to be copied. */
static guint8 *
device_map (H2kDisk *disk)
{
  g_auto (GStrv) lines = dump_tree ("chunk");
  const guint64 end = 1u << 30;
  guint8 super[4096], *map = g_malloc0 (disk->size / SECTOR + 1);
  g_autofree guint8 *logical = NULL;
  guint64 start = 0, length = 0;

  g_assert_true (h2k_disk_pread (disk, 65536, sizeof super, super, NULL));
  logical = logical_map (end, h2k_le32 (super + 148));
  for (guint i = 0; lines[i]; i++)
    {
      const char *p;
      if ((p = strstr (lines[i], "CHUNK_ITEM ")))
        start = strtoull (p + 11, NULL, 10);
      else if ((p = strstr (lines[i], "length ")))
        length = strtoull (p + 7, NULL, 10);
      else if ((p = strstr (lines[i], " devid 1 offset ")))
        {
          guint64 offset = strtoull (p + 16, NULL, 10);
          g_assert_cmpuint (start + length, <=, end);
          g_assert_cmpuint (offset + length, <=, disk->size);
          memcpy (map + offset / SECTOR, logical + start / SECTOR, length / SECTOR);
        }
    }
  memset (map, 1, (1u << 20) / SECTOR);
  memset (map + (64u << 20) / SECTOR, 1, 65536 / SECTOR);
  for (guint64 at = h2k_le64 (super + 209) / SECTOR; at <= disk->size / SECTOR; at++)
    map[at] = 1;
  return map;
}

static void
test_config (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = make_image (options, g_str_equal (options, configs[0]) ? 0xa5 : 0);
  g_autoptr (H2kDisk) copy = NULL;
  g_autofree guint8 *theirs = NULL, *ours = NULL;
  guint64 in_use;

  if (!disk)
    return;
  theirs = device_map (disk);
  ours = usage_map (disk, SECTOR, FALSE);
  for (guint64 i = 0; i < disk->size / SECTOR; i++)
    if (ours[i] != theirs[i])
      g_error ("sector %" G_GUINT64_FORMAT ": %u, not %u", i, ours[i], theirs[i]);
  copy = usage_copy (disk, FALSE, &in_use);
  g_assert_cmpuint (in_use, <, 16u << 20);
  image_save (copy, "copy");
  assert_whole ();
}

/* --- hand-made changes ------------------------------------------------------------------------ */

/* Put the checksum into the LENGTH bytes of a block. */
static void
seal (guint8 *block, gsize length)
{
  guint32 crc = GUINT32_TO_LE (~h2k_crc32c (~0u, block + 32, length - 32));

  memset (block, 0, 32);
  memcpy (block, &crc, sizeof crc);
}

/* DISK with LENGTH bytes of its superblock replaced. */
static H2kDisk *
patch_super (H2kDisk *disk, guint at, const void *data, gsize length)
{
  guint8 super[4096];

  g_assert_true (h2k_disk_pread (disk, 65536, sizeof super, super, NULL));
  memcpy (super + at, data, length);
  seal (super, sizeof super);
  return usage_patched (disk, 65536, super, sizeof super);
}

static void
test_super (void)
{
  static const struct
  {
    guint at;
    const char *bytes;
    gsize length;
    const char *reason;
  } cases[] = {
      {188 + 1, "\x13", 1, "features"}, /* zoned */
      {188 + 1, "\x23", 1, "features"}, /* extent tree v2 */
      {188 + 1, "\x43", 1, "features"}, /* RAID stripe tree */
      {188 + 4, "\x01", 1, "features"}, /* not invented yet */
      {180, "\x13", 1, "features"},     /* not invented yet, read-only */
      {96, "\x00\x00\x01", 3, "has not been replayed"},
      {136, "\x02", 1, "as many devices as it says"},
      {56, "\x05", 1, "it says so itself"}, /* errors were seen */
      {56 + 4, "\x01", 1, "flags"},         /* a seed device */
      {196, "\x07", 1, "type 7"},
      {148, "\x00\x30", 2, "makes no sense"},     /* nodes of 12 KiB */
      {209, "\0\0\0\0\0\1", 6, "makes no sense"}, /* longer than the volume */
      {217, "\0\x10", 2, "do not add up"},
      {160, "\xff\xff", 2, "makes no sense"},
      {80, "\0\0\0\0\0\1", 6, "lies nowhere"},
      {72, "\x01", 1, "newer"},
  };
  g_autoptr (H2kDisk) disk = make_image ("-m single", 0);
  g_autoptr (H2kDisk) damaged = NULL;
  g_autoptr (H2kDisk) signs = NULL;

  if (!disk)
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) patched
          = patch_super (disk, cases[i].at, cases[i].bytes, cases[i].length);
      usage_assert_refused (patched, cases[i].reason);
    }
  damaged = usage_patched (disk, 65536 + 1000, "\xff", 1);
  usage_assert_refused (damaged, "superblock is damaged");
  signs = usage_patched (disk, 0, "XFSB", 4);
  h2k_disk_unref (signs);
  signs
      = usage_patched (disk, 4120,
                       "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x65\x82\x65\xf5\x7f\x48\xba\x6d\x81", 17);
  usage_assert_refused (signs, "signature of bcache");
}

/* A copy of the superblock that is newer than the first one: the first one is not to be believed.
 */
static void
test_newer_copy (void)
{
  g_autoptr (H2kDisk) disk = make_image ("-m single", 0);
  g_autoptr (H2kDisk) patched = NULL;
  guint8 super[4096];

  if (!disk)
    return;
  g_assert_true (h2k_disk_pread (disk, 64u << 20, sizeof super, super, NULL));
  super[72]++;
  seal (super, sizeof super);
  patched = usage_patched (disk, 64u << 20, super, sizeof super);
  usage_assert_refused (patched, "newer");
}

/* Where the first line of `dump-tree -t TREE` that contains TEXT says the block is. */
static guint64
block_with (const char *tree, const char *text)
{
  g_auto (GStrv) lines = dump_tree (tree);
  guint64 block = 0;

  for (guint i = 0; lines[i]; i++)
    if (g_str_has_prefix (lines[i], "leaf ") || g_str_has_prefix (lines[i], "node "))
      block = strtoull (lines[i] + 5, NULL, 10);
    else if (strstr (lines[i], text))
      return block;
  g_assert_not_reached ();
}

/* Where the item with a key of TYPE is in NODE, which begins with its key's object OBJECT, or any
 * object when that is 0. */
static guint8 *
find_item (guint8 *node, guint type, guint64 object)
{
  for (guint i = 0; i < h2k_le32 (node + 96); i++)
    {
      guint8 *item = node + 101 + i * 25;
      if (item[8] == type && (!object || h2k_le64 (item) == object))
        return item;
    }
  g_assert_not_reached ();
}

/* Block groups whose extents do not add up are in use, and the others are as before. */
static void
test_wrong_sum (void)
{
  g_autoptr (H2kDisk) disk = make_image ("--mixed -n 4096", 0);
  g_autoptr (H2kDisk) patched = NULL;
  guint8 node[4096], *item;
  guint64 at, before, after, logical, length;

  if (!disk)
    return;
  h2k_disk_unref (usage_copy (disk, FALSE, &before));
  /* In a new image, logical addresses are those of the device. */
  at = block_with ("extent", "flags DATA|METADATA");
  g_assert_true (h2k_disk_pread (disk, at, sizeof node, node, NULL));
  g_assert_cmpuint (h2k_le64 (node + 48), ==, at);
  item = find_item (node, 192, 0);
  logical = h2k_le64 (item);
  length = h2k_le64 (item + 9);
  node[101 + h2k_le32 (item + 17) + 1] ^= 0x10;
  seal (node, sizeof node);
  patched = usage_patched (disk, at, node, sizeof node);
  h2k_disk_unref (usage_copy (patched, FALSE, &after));
  g_assert_cmpuint (after, >, before + (1u << 20));
  g_assert_cmpuint (after, <=, before + length);
  g_assert_cmpuint (logical, >, 0);
}

/* The id of the tree blocks is not that of the filesystem any more. */
static void
test_metadata_uuid (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree guint8 *theirs = NULL, *ours = NULL;

  if (!have_tools () || !image_have ("btrfstune"))
    return;
  h2k_disk_unref (make_image ("-m single", 0));
  image_must_run ("btrfstune -f -m @/image");
  disk = image_load ("image");
  theirs = device_map (disk);
  ours = usage_map (disk, SECTOR, FALSE);
  g_assert_cmpmem (ours, disk->size / SECTOR, theirs, disk->size / SECTOR);
}

#define NODE 16384u

/* Put into LEAF the block group items that are listed in the extent tree, and nothing else; *SPACE
 * gets the address of some free tree block. */
static void
list_groups (guint8 *leaf, guint64 *space)
{
  g_auto (GStrv) lines = dump_tree ("extent");
  guint n = 0, data = NODE - 101;

  memset (leaf + 96, 0, NODE - 96);
  for (guint i = 0; lines[i]; i++)
    {
      const char *key = strstr (lines[i], " key ("), *used, *flags;
      guint8 *item = leaf + 101 + n * 25;
      guint64 numbers[5];
      char *rest;
      if (!key || !strstr (key, "BLOCK_GROUP_ITEM"))
        continue;
      used = strstr (lines[i + 1], "used ");
      flags = strstr (lines[i + 1], "flags ");
      numbers[0] = strtoull (key + 6, &rest, 10);
      numbers[1] = strtoull (rest + 18, NULL, 10);
      numbers[2] = strtoull (used + 5, NULL, 10);
      numbers[3] = 256;
      numbers[4] = 0;
      if (strstr (flags, "METADATA"))
        *space = numbers[0] + numbers[1] - NODE;
      for (guint j = 0; j < 5; j++)
        numbers[j] = GUINT64_TO_LE (numbers[j]);
      data -= 24;
      memcpy (item, &numbers[0], 8);
      item[8] = 192;
      memcpy (item + 9, &numbers[1], 8);
      item[17] = (guint8)data;
      item[18] = (guint8)(data >> 8);
      item[21] = 24;
      memcpy (leaf + 101 + data, &numbers[2], 24);
      n++;
    }
  leaf[96] = (guint8)n;
}

/* Add the root of the tree 11 to the root tree's LEAF: like that of the extent tree, but at BYTENR.
 */
static void
add_root (guint8 *leaf, guint64 bytenr)
{
  guint n = h2k_le32 (leaf + 96), lowest = NODE, at = 0;
  guint8 *extents = find_item (leaf, 132, 2), *item;

  for (guint i = 0; i < n; i++)
    {
      lowest = MIN (lowest, h2k_le32 (leaf + 101 + i * 25 + 17));
      if (h2k_le64 (leaf + 101 + i * 25) < 11)
        at = i + 1;
    }
  g_assert_cmpuint (lowest, >, (n + 1) * 25 + 439);
  lowest -= 439;
  memcpy (leaf + 101 + lowest, leaf + 101 + h2k_le32 (extents + 17), 439);
  bytenr = GUINT64_TO_LE (bytenr);
  memcpy (leaf + 101 + lowest + 176, &bytenr, 8);
  leaf[101 + lowest + 238] = 0; /* level */
  item = leaf + 101 + at * 25;
  memmove (item + 25, item, (n - at) * 25);
  memset (item, 0, 25);
  item[0] = 11;
  item[8] = 132;
  item[17] = (guint8)lowest;
  item[18] = (guint8)(lowest >> 8);
  item[21] = (guint8)439;
  item[22] = 439 >> 8;
  leaf[96]++;
}

/* Not every mkfs.btrfs makes a block group tree, so this one is made by hand: the groups are
 * looked up in it and no longer in the extent tree. */
static void
test_block_group_tree (void)
{
  g_autoptr (H2kDisk) disk = make_image ("-m single -n 16384", 0);
  g_autoptr (H2kDisk) tree = NULL;
  g_autoptr (H2kDisk) wrong = NULL;
  g_autoptr (H2kDisk) none = NULL;
  guint8 root[NODE], leaf[NODE], ro_compat;
  guint64 root_at, space = 0, le, before, after;

  if (!disk)
    return;
  h2k_disk_unref (usage_copy (disk, FALSE, &before));
  g_assert_true (h2k_disk_pread (disk, 65536 + 180, 1, &ro_compat, NULL));
  ro_compat |= 8;
  none = patch_super (disk, 180, &ro_compat, 1);
  usage_assert_refused (none, "has no tree 11");

  root_at = block_with ("root", "EXTENT_TREE ROOT_ITEM");
  g_assert_true (
      h2k_disk_pread (disk, block_with ("extent", "METADATA_ITEM"), sizeof leaf, leaf, NULL));
  g_assert_true (h2k_disk_pread (disk, root_at, sizeof root, root, NULL));
  list_groups (leaf, &space);
  memcpy (leaf + 80, root + 101 + h2k_le32 (find_item (root, 132, 2) + 17) + 160, 8);
  le = GUINT64_TO_LE (space);
  memcpy (leaf + 48, &le, 8);
  leaf[88] = 11;
  seal (leaf, sizeof leaf);
  add_root (root, space);
  seal (root, sizeof root);
  tree = patch_super (disk, 180, &ro_compat, 1);
  g_assert_true (h2k_disk_pwrite (tree, root_at, sizeof root, root, NULL));
  g_assert_true (h2k_disk_pwrite (tree, space, sizeof leaf, leaf, NULL));
  h2k_disk_unref (usage_copy (tree, FALSE, &after));
  g_assert_cmpuint (before, ==, after);

  leaf[101 + h2k_le32 (leaf + 101 + 17) + 1] ^= 0x10;
  seal (leaf, sizeof leaf);
  wrong = usage_patched (tree, space, leaf, sizeof leaf);
  h2k_disk_unref (usage_copy (wrong, FALSE, &after));
  g_assert_cmpuint (after, >, before + (1u << 20));
}

/* A damaged block of the extent tree has a second copy; without that, everything whose extents it
 * lists is in use. */
static void
test_damaged_node (void)
{
  g_autoptr (H2kDisk) dup = make_image ("-m dup", 0);
  g_autoptr (H2kDisk) single = NULL;
  g_autoptr (H2kDisk) patched = NULL;
  guint64 logical, first = 0, before, after;

  if (!dup)
    return;
  h2k_disk_unref (usage_copy (dup, FALSE, &before));
  logical = block_with ("extent", "EXTENT_ITEM");
  {
    g_auto (GStrv) lines = dump_tree ("chunk");
    guint64 start = 0;
    for (guint i = 0; lines[i] && !first; i++)
      {
        const char *p;
        if ((p = strstr (lines[i], "CHUNK_ITEM ")))
          start = strtoull (p + 11, NULL, 10);
        else if (start <= logical && logical - start < 32u << 20
                 && (p = strstr (lines[i], "stripe 0 devid 1 offset "))
                 && logical - start < 8u << 20)
          first = strtoull (p + 24, NULL, 10) + logical - start;
      }
  }
  patched = usage_patched (dup, first + 200, "\xff\xff\xff", 3);
  h2k_disk_unref (usage_copy (patched, FALSE, &after));
  g_assert_cmpuint (before, ==, after);

  single = make_image ("-m single -n 4096", 0);
  h2k_disk_unref (usage_copy (single, FALSE, &before));
  h2k_disk_unref (patched);
  patched = usage_patched (single, block_with ("extent", "EXTENT_ITEM") + 200, "\xff\xff\xff", 3);
  h2k_disk_unref (usage_copy (patched, FALSE, &after));
  g_assert_cmpuint (after, >, before + (4u << 20));
}

static void
test_faults (void)
{
  g_autoptr (H2kDisk) disk = make_image ("-m dup -n 4096", 0);

  if (disk)
    usage_assert_faults (disk);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/usage-btrfs/config/%s", configs[i]);
      g_test_add_data_func (name, configs[i], test_config);
    }
  g_test_add_func ("/usage-btrfs/super", test_super);
  g_test_add_func ("/usage-btrfs/newer-copy", test_newer_copy);
  g_test_add_func ("/usage-btrfs/wrong-sum", test_wrong_sum);
  g_test_add_func ("/usage-btrfs/metadata-uuid", test_metadata_uuid);
  g_test_add_func ("/usage-btrfs/block-group-tree", test_block_group_tree);
  g_test_add_func ("/usage-btrfs/damaged-node", test_damaged_node);
  g_test_add_func ("/usage-btrfs/faults", test_faults);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
