/* test-usage-xfs.c - the blocks of an XFS filesystem that are in use are those that xfs_db does not
 * list as free, and the ones that the free lists hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../packed.h"
#include "images.h"
#include "xfs-files.h"

#include "fs/usage.h"

#include <stdlib.h>

typedef struct
{
  const char *name, *size, *options;
} Config;

static const Config configs[] = {
    {"default", "300M", ""},
    {"rmapbt", "300M", "-m rmapbt=1,bigtime=1,inobtcount=1"},
    {"no-reflink", "300M", "-m reflink=0,finobt=0 -i sparse=0"},
    {"nrext64", "300M", "-i nrext64=1,sparse=1"},
    {"block-1k", "1000001K", "-b size=1024 -d agcount=7"},
    {"block-2k-sector-2k", "300M", "-b size=2048 -s size=2048"},
    {"block-64k-sector-4k", "600M", "-b size=65536 -s size=4096"},
    {"sector-4k", "301M", "-s size=4096"},
    {"no-crc", "300M", "-m crc=0"},
    {"no-crc-block-512", "300M", "-m crc=0,finobt=0 -b size=512"},
    {"log-version-1", "300M", "-m crc=0,finobt=0 -l version=1"},
    {"short-last-group", "323M", "-d agsize=80m"},
    {"log-in-group-0", "300M", "-l agnum=0"},
    {"stripes", "1G", "-d su=64k,sw=4 -l su=256k"},
    {"tiny", "32M", "--unsupported -l size=6m"},
    {"100-gib", "100G", "-d agcount=9"},
};

static const char *const samples[] = XFS_FILES_SAMPLES;

typedef struct
{
  guint64 start, count; /* blocks, as if groups had no gaps */
} Run;

static int
compare_runs (gconstpointer a, gconstpointer b)
{
  const Run *p = a, *q = b;

  return p->start < q->start ? -1 : p->start > q->start;
}

/* A copy in memory, which can be damaged. */
static H2kDisk *
open_overlay (void)
{
  g_autoptr (H2kDisk) disk = image_open ("image");

  return h2k_overlay_new (disk, NULL, 16u << 20);
}

static guint64
read_be (H2kDisk *disk, guint64 offset, guint length)
{
  guint8 bytes[8];
  guint64 value = 0;

  g_assert_true (h2k_disk_pread (disk, offset, length, bytes, NULL));
  for (guint i = 0; i < length; i++)
    value = value << 8 | bytes[i];
  return value;
}

static void
write_be (H2kDisk *disk, guint64 offset, guint length, guint64 value)
{
  guint8 bytes[8];

  for (guint i = 0; i < length; i++)
    bytes[i] = (guint8)(value >> (length - 1 - i) * 8);
  g_assert_true (h2k_disk_pwrite (disk, offset, length, bytes, NULL));
}

/* Make the CRC-32C at OFFSET + AT of a structure of SIZE bytes right again. */
static void
seal (H2kDisk *disk, guint64 offset, gsize size, gsize at)
{
  g_autofree guint8 *data = g_malloc (size);
  guint32 crc;

  g_assert_true (h2k_disk_pread (disk, offset, size, data, NULL));
  memset (data + at, 0, 4);
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, size));
  g_assert_true (h2k_disk_pwrite (disk, offset + at, 4, &crc, NULL));
}

static gboolean
is_on_free_list (H2kDisk *disk, guint64 group, guint sector, gboolean crc, guint32 block)
{
  guint64 agf = group + sector, list = group + 3 * sector + (crc ? 36 : 0);
  guint size = (sector - (crc ? 36 : 0)) / 4, first = (guint)read_be (disk, agf + 40, 4);

  for (guint i = 0, n = (guint)read_be (disk, agf + 48, 4); i < n; i++)
    if (read_be (disk, list + (first + i) % size * 4, 4) == block)
      return TRUE;
  return FALSE;
}

/* What xfs_db lists as free, without the groups' free lists. */
static GArray *
free_by_xfs_db (H2kDisk *disk)
{
  GArray *runs = g_array_new (FALSE, FALSE, sizeof (Run));
  g_autofree char *output = NULL;
  g_auto (GStrv) lines = NULL;
  guint64 block = read_be (disk, 4, 4), group = read_be (disk, 84, 4);
  guint sector = (guint)read_be (disk, 102, 2);
  gboolean crc = (read_be (disk, 100, 2) & 15) == 5;

  g_assert_cmpint (image_run (&output, "xfs_db -r -c 'freesp -d' @/image"), ==, 0);
  lines = g_strsplit (output, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    {
      char *end;
      guint64 ag = strtoull (lines[i], &end, 10), start, count;
      Run run;
      if (strstr (lines[i], "from"))
        break;
      if (end == lines[i])
        continue;
      start = strtoull (end, &end, 10);
      count = strtoull (end, &end, 10);
      if (count == 1 && is_on_free_list (disk, ag * group * block, sector, crc, (guint32)start))
        continue;
      run = (Run){ag * group + start, count};
      g_array_append_val (runs, run);
    }
  g_array_sort (runs, compare_runs);
  return runs;
}

static void
append_run (GArray *runs, guint64 start, guint64 count)
{
  Run *last = runs->len ? &g_array_index (runs, Run, runs->len - 1) : NULL;
  Run run = {start, count};

  if (last && last->start + last->count == start)
    last->count += count;
  else
    g_array_append_val (runs, run);
}

/* What the driver says is free; *N_CALLS counts how often it was asked. */
static GArray *
free_by_driver (H2kUsage *usage, guint64 block, guint *n_calls)
{
  GArray *runs = g_array_new (FALSE, FALSE, sizeof (Run));
  g_autoptr (GError) error = NULL;

  *n_calls = 0;
  for (guint64 at = 0; at < usage->volume->size; ++*n_calls)
    {
      H2kExtent extent;
      gboolean ok = usage->ops->used (usage, at, &extent, &error);
      g_assert_no_error (error);
      g_assert_true (ok);
      g_assert_cmpuint (extent.offset, ==, at);
      g_assert_cmpuint (extent.length, >, 0);
      g_assert_cmpuint (extent.length, <=, usage->volume->size - at);
      if (extent.kind == H2K_EXTENT_UNALLOCATED)
        {
          g_assert_cmpuint (at % block, ==, 0);
          g_assert_cmpuint (extent.length % block, ==, 0);
          append_run (runs, at / block, extent.length / block);
        }
      at += extent.length;
    }
  return runs;
}

static guint
assert_same (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, &error);
  g_autoptr (GArray) expected = free_by_xfs_db (disk);
  g_autoptr (GArray) got = NULL;
  guint n_calls;

  g_assert_no_error (error);
  got = free_by_driver (usage, read_be (disk, 4, 4), &n_calls);
  g_assert_cmpuint (expected->len, >, 0);
  g_assert_cmpmem (expected->data, expected->len * sizeof (Run), got->data,
                   got->len * sizeof (Run));
  g_assert_cmpuint (n_calls, <=, 2 * got->len + 2 * read_be (disk, 88, 4) + 1);
  return got->len;
}

/* Answers do not depend on what was asked before. */
static void
assert_same_at_random (H2kDisk *disk)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (11);
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, NULL);
  guint64 block = read_be (disk, 4, 4);
  g_autoptr (GArray) runs = free_by_xfs_db (disk);

  for (guint i = 0; i < 2000; i++)
    {
      guint64 at = (guint64)(g_rand_double (rand) * (double)disk->size);
      gboolean is_free = FALSE;
      H2kExtent extent;
      for (guint r = 0; r < runs->len && !is_free; r++)
        {
          const Run *run = &g_array_index (runs, Run, r);
          is_free = at / block >= run->start && at / block < run->start + run->count;
        }
      g_assert_true (usage->ops->used (usage, at, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, is_free ? H2K_EXTENT_UNALLOCATED : H2K_EXTENT_DATA);
    }
}

/* --- images ----------------------------------------------------------------------------------- */

#define N_FILES 800u

static void
make_proto (void)
{
  g_autoptr (GString) proto = g_string_new ("/none\n0 0\nd--755 0 0\n");
  g_autofree char *path = g_build_filename (image_dir (), "proto", NULL);

  image_make_tree ();
  g_string_append_printf (proto, "big ---644 0 0 %s/tree/big\n", image_dir ());
  for (guint i = 0; i < N_FILES; i++)
    g_string_append_printf (proto, "f%u ---644 0 0 %s/tree/etc/fstab\n", i, image_dir ());
  g_string_append (proto, "$\n");
  g_assert_true (g_file_set_contents (path, proto->str, -1, NULL));
}

static char *made; /* what the image is, while nobody has changed it */

static void
make_image (const char *size, const char *options)
{
  g_autofree char *output = NULL, *name = g_strconcat (size, " ", options, NULL);

  if (g_strcmp0 (made, name) == 0)
    return;
  g_free (made);
  made = g_steal_pointer (&name);
  image_run (NULL, "rm -f @/image");
  g_assert_cmpint (image_run (NULL, "truncate -s %s @/image", size), ==, 0);
  if (image_run (&output, "mkfs.xfs -q -f -p @/proto %s @/image", options) != 0)
    g_error ("mkfs.xfs %s: %s", options, output);
}

static gboolean
have_tools (void)
{
  return image_have ("mkfs.xfs") && image_have ("xfs_db");
}

static void
test_config (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (H2kDisk) disk = NULL;

  if (!have_tools ())
    return;
  make_image (config->size, config->options);
  disk = image_open ("image");
  assert_same (disk);
  assert_same_at_random (disk);
}

/* As a kernel left it, which had many files to make and to remove. */
static void
test_sample (gconstpointer sample)
{
  g_autoptr (H2kDisk) disk = packed_disk ("xfs-v4", sample, "image.zst");

  g_assert_nonnull (disk);
  if (!have_tools ())
    return;
  g_clear_pointer (&made, g_free);
  image_save (disk, "image");
  assert_same (disk);
}

/* Every other file is destroyed, and xfs_repair makes trees of several levels over what is left. */
static void
test_fragmented (gconstpointer options)
{
  g_autoptr (GString) line = g_string_new ("xfs_db -x");
  g_autoptr (H2kDisk) disk = NULL;

  if (!have_tools () || !image_have ("xfs_repair"))
    return;
  make_image ("300M", options);
  for (guint i = 0; i < N_FILES; i += 2)
    g_string_append_printf (line, " -c 'path /f%u' -c 'write core.mode 0'", i);
  g_clear_pointer (&made, g_free);
  image_run (NULL, "%s @/image", line->str);
  image_run (NULL, "xfs_repair @/image");
  g_assert_cmpint (image_run (NULL, "xfs_repair -n @/image"), ==, 0);
  disk = image_open ("image");
  g_assert_cmpuint (read_be (disk, read_be (disk, 102, 2) + 28, 4), >, 1);
  g_assert_cmpuint (assert_same (disk), >, 100);
  assert_same_at_random (disk);
}

/* --- more extents than are held at once ---------------------------------------------------------
 */

#define MANY 300000u
#define MANY_FIRST 4000u /* blocks of the group; its tree lies before them */
#define MANY_TREE 2000u

#define LEAF_MAX ((4096u - 56) / 8)
#define NODE_MAX ((4096u - 56) / 12)

typedef struct
{
  guint32 block, first; /* where a node lies, and its first key */
} Child;

/* A node of group 1's tree with N records or keys (each START and 1), and POINTERS (NULL: a leaf).
 */
static void
write_node (H2kDisk *disk, guint level, guint32 block, guint n, const guint32 *starts,
            const guint32 *pointers)
{
  guint64 at = (read_be (disk, 84, 4) + block) * 4096;
  guint8 uuid[16];

  g_assert_true (h2k_disk_pread (disk, 32, 16, uuid, NULL));
  write_be (disk, at, 4, 0x41423342);
  write_be (disk, at + 4, 2, level);
  write_be (disk, at + 6, 2, n);
  write_be (disk, at + 8, 8, G_MAXUINT64); /* no neighbours are needed */
  write_be (disk, at + 16, 8, at / 512);
  g_assert_true (h2k_disk_pwrite (disk, at + 32, 16, uuid, NULL));
  write_be (disk, at + 48, 4, 1);
  for (guint i = 0; i < n; i++)
    {
      write_be (disk, at + 56 + i * 8, 8, (guint64)starts[i] << 32 | 1);
      if (pointers)
        write_be (disk, at + 56 + NODE_MAX * 8 + i * 4, 4, pointers[i]);
    }
  seal (disk, at, 4096, 52);
}

/* The nodes of LEVEL over the ones of BELOW; their blocks begin at *BLOCK. */
static GArray *
write_level (H2kDisk *disk, guint level, const GArray *below, guint32 *block)
{
  GArray *nodes = g_array_new (FALSE, FALSE, sizeof (Child));

  for (guint i = 0; i < below->len; i += NODE_MAX, ++*block)
    {
      Child node = {*block, g_array_index (below, Child, i).first};
      guint32 starts[NODE_MAX] = {0}, pointers[NODE_MAX] = {0};
      guint n = MIN (NODE_MAX, below->len - i);
      for (guint r = 0; r < n; r++)
        {
          starts[r] = g_array_index (below, Child, i + r).first;
          pointers[r] = g_array_index (below, Child, i + r).block;
        }
      write_node (disk, level, *block, n, starts, pointers);
      g_array_append_val (nodes, node);
    }
  return nodes;
}

/* Every other block from MANY_FIRST on as a free extent of group 1, in a tree of three levels. */
static void
write_many (H2kDisk *disk)
{
  g_autoptr (GArray) leaves = g_array_new (FALSE, FALSE, sizeof (Child));
  g_autoptr (GArray) nodes = NULL, root = NULL;
  guint64 agf = read_be (disk, 84, 4) * 4096 + 512;
  guint32 block = MANY_TREE;

  for (guint i = 0; i < MANY; i += LEAF_MAX, block++)
    {
      Child leaf = {block, MANY_FIRST + 2 * i};
      guint32 starts[LEAF_MAX] = {0};
      guint n = MIN (LEAF_MAX, MANY - i);
      for (guint r = 0; r < n; r++)
        starts[r] = MANY_FIRST + 2 * (i + r);
      write_node (disk, 0, block, n, starts, NULL);
      g_array_append_val (leaves, leaf);
    }
  nodes = write_level (disk, 1, leaves, &block);
  root = write_level (disk, 2, nodes, &block);
  g_assert_cmpuint (root->len, ==, 1);
  write_be (disk, agf + 16, 4, block - 1);
  write_be (disk, agf + 28, 4, 3);
  write_be (disk, agf + 52, 4, MANY);
  write_be (disk, agf + 56, 4, 1);
  seal (disk, agf, 512, 216);
}

static void
test_many (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kUsage) usage = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  guint64 group;
  H2kExtent extent;

  if (!have_tools ())
    return;
  make_image ("12G", "");
  disk = open_overlay ();
  group = read_be (disk, 84, 4) * 4096;
  write_many (disk);
  usage = h2k_usage_open (disk, FALSE, NULL);
  g_assert_true (usage->ops->used (usage, group, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, (guint64)MANY_FIRST * 4096);
  for (guint i = 0; i < 2 * MANY; i++)
    {
      guint64 at = group + (guint64)(MANY_FIRST + i) * 4096;
      g_assert_true (usage->ops->used (usage, at, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, i % 2 ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED);
      g_assert_cmpuint (extent.length, ==, i == 2 * MANY - 1 ? 2 * group - at : 4096);
    }
  for (guint n = 0; n < 20; n++)
    {
      guint i = (guint)g_rand_int_range (rand, 0, 2 * MANY - 1);
      guint64 at = group + (guint64)(MANY_FIRST + i) * 4096 + 1000;
      g_assert_true (usage->ops->used (usage, at, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, i % 2 ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED);
      g_assert_cmpuint (extent.length, ==, 3096);
    }
}

static void
test_new_uuid (void)
{
  g_autoptr (H2kDisk) disk = NULL;

  if (!have_tools ())
    return;
  make_image ("300M", "");
  g_clear_pointer (&made, g_free);
  image_run (NULL, "xfs_db -x -c 'uuid generate' @/image");
  disk = image_open ("image");
  g_assert_cmpuint (read_be (disk, 216, 4) & 4, !=, 0); /* the structures keep the old one */
  assert_same (disk);
}

/* --- what is not trusted ---------------------------------------------------------------------- */

static void
assert_refused (H2kDisk *disk, H2kError code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, &error);

  g_assert_error (error, H2K_ERROR, (int)code);
  g_assert_null (usage);
}

/* Nothing of the GROUP is free, and the others are not touched by that. */
static void
assert_group_in_use (H2kDisk *disk, guint64 group)
{
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, NULL);
  guint64 length = read_be (disk, 84, 4) * read_be (disk, 4, 4), groups = read_be (disk, 88, 4);
  H2kExtent extent;

  g_assert_nonnull (usage);
  for (guint64 ag = 0; ag < groups; ag++)
    {
      g_assert_true (usage->ops->used (usage, ag * length, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
      if (ag == group)
        g_assert_cmpuint (extent.length, ==, length);
      else
        g_assert_cmpuint (extent.length, <, length);
    }
}

typedef struct
{
  const char *name;
  gboolean in_tree; /* in the root of group 1's tree, not in its AGF */
  guint offset, length;
  guint64 value;
  gboolean sealed; /* with a checksum that is right */
} Damage;

static const Damage damages[] = {
    {"agf-checksum", FALSE, 52, 4, 17, FALSE},
    {"agf-magic", FALSE, 0, 4, 0x58414749, TRUE},
    {"agf-number", FALSE, 8, 4, 0, TRUE},
    {"agf-length", FALSE, 12, 4, 19199, TRUE},
    {"agf-uuid", FALSE, 64, 4, 1, TRUE},
    {"free-blocks", FALSE, 52, 4, 17, TRUE},
    {"longest", FALSE, 56, 4, 17, TRUE},
    {"levels-too-many", FALSE, 28, 4, 10, TRUE},
    {"levels-wrong", FALSE, 28, 4, 2, TRUE},
    {"root-outside", FALSE, 16, 4, 19200, TRUE},
    {"root-elsewhere", FALSE, 16, 4, 2, TRUE},
    {"tree-checksum", TRUE, 56, 4, 11, FALSE},
    {"tree-magic", TRUE, 0, 4, 0x41423343, TRUE},
    {"tree-level", TRUE, 4, 2, 1, TRUE},
    {"tree-too-many-records", TRUE, 6, 2, 600, TRUE},
    {"tree-fewer-records", TRUE, 6, 2, 0, TRUE},
    {"tree-block-number", TRUE, 16, 8, 8, TRUE},
    {"tree-owner", TRUE, 48, 4, 2, TRUE},
    {"record-in-headers", TRUE, 56, 4, 0, TRUE},
    {"record-past-end", TRUE, 60, 4, 19200, TRUE},
};

static void
test_damage (gconstpointer data)
{
  const Damage *damage = data;
  g_autoptr (H2kDisk) disk = NULL;
  guint64 group, at;

  if (!have_tools ())
    return;
  make_image ("300M", "");
  disk = open_overlay ();
  group = read_be (disk, 84, 4) * 4096;
  at = damage->in_tree ? group + read_be (disk, group + 512 + 16, 4) * 4096 : group + 512;
  write_be (disk, at + damage->offset, damage->length, damage->value);
  if (damage->sealed)
    seal (disk, at, damage->in_tree ? 4096 : 512, damage->in_tree ? 52 : 216);
  assert_group_in_use (disk, 1);
}

/* An extent that reaches into the log is no free one, even when all the counts agree. */
static void
test_log_is_never_free (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint64 group, tree, log;

  if (!have_tools ())
    return;
  make_image ("300M", "");
  disk = open_overlay ();
  log = read_be (disk, 48, 8) >> read_be (disk, 124, 1);
  group = log * read_be (disk, 84, 4) * 4096;
  tree = group + read_be (disk, group + 512 + 16, 4) * 4096;
  g_assert_cmpuint (read_be (disk, tree + 6, 2), ==, 1);
  /* The four blocks between belong to the free list. */
  write_be (disk, tree + 56, 4, read_be (disk, tree + 56, 4) - 5);
  write_be (disk, tree + 60, 4, read_be (disk, tree + 60, 4) + 5);
  write_be (disk, group + 512 + 52, 4, read_be (disk, group + 512 + 52, 4) + 5);
  write_be (disk, group + 512 + 56, 4, read_be (disk, group + 512 + 56, 4) + 5);
  seal (disk, tree, 4096, 52);
  seal (disk, group + 512, 512, 216);
  assert_group_in_use (disk, log);
}

static void
test_superblock (void)
{
  static const struct
  {
    guint offset, length;
    guint64 value;
    gboolean sealed;
    H2kError code;
  } cases[] = {
      {0, 4, 0x58465342, FALSE, H2K_ERROR_FAILED}, /* no change */
      {8, 8, 76799, FALSE, H2K_ERROR_FILESYSTEM},  /* the checksum */
      {8, 8, 76801, TRUE, H2K_ERROR_FILESYSTEM},   /* larger than the volume */
      {48, 8, 0, TRUE, H2K_ERROR_FILESYSTEM},      /* an external log */
      {48, 8, 0x7fffffffffff, TRUE, H2K_ERROR_FILESYSTEM},
      {84, 4, 0, TRUE, H2K_ERROR_FILESYSTEM},
      {88, 4, 5, TRUE, H2K_ERROR_FILESYSTEM},
      {96, 4, 0xffffffff, TRUE, H2K_ERROR_FILESYSTEM},
      {120, 1, 17, TRUE, H2K_ERROR_FILESYSTEM},
      {124, 1, 63, TRUE, H2K_ERROR_FILESYSTEM},
      {126, 1, 1, TRUE, H2K_ERROR_FILESYSTEM},
      {100, 2, 0xb4a3, FALSE, H2K_ERROR_UNSUPPORTED},    /* version 3 */
      {216, 4, 0xb | 0x10, TRUE, H2K_ERROR_UNSUPPORTED}, /* needsrepair */
      {216, 4, 0xb | 0x100, TRUE, H2K_ERROR_UNSUPPORTED},
      {212, 4, 0xd | 0x10, TRUE, H2K_ERROR_UNSUPPORTED},
      {200, 4, 0x18a | 0x400, TRUE, H2K_ERROR_UNSUPPORTED},
      {65600, 8, 0x5f42485266535f4d, FALSE, H2K_ERROR_FILESYSTEM}, /* btrfs on top */
  };

  if (!have_tools ())
    return;
  make_image ("300M", "");
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = open_overlay ();
      write_be (disk, cases[i].offset, cases[i].length, cases[i].value);
      if (cases[i].sealed)
        seal (disk, 0, 512, 224);
      if (cases[i].code == H2K_ERROR_FAILED)
        assert_same (disk);
      else
        assert_refused (disk, cases[i].code);
    }
}

/* --- the log ---------------------------------------------------------------------------------- */

static guint64
log_offset (H2kDisk *disk)
{
  guint64 start = read_be (disk, 48, 8), shift = read_be (disk, 124, 1);

  return ((start >> shift) * read_be (disk, 84, 4) + (start & ((1u << shift) - 1)))
         * read_be (disk, 4, 4);
}

/* A record of one operation with FLAGS at BLOCK of the log: a header and SIZE blocks. */
static void
write_record (H2kDisk *disk, guint32 cycle, guint32 block, guint size, guint8 flags)
{
  guint64 at = log_offset (disk) + (guint64)block * 512;
  guint8 header[512], data[512] = {0};

  /* The first record has the filesystem's UUID. */
  g_assert_true (h2k_disk_pread (disk, log_offset (disk), 512, header, NULL));
  g_assert_true (h2k_disk_pwrite (disk, at, 512, header, NULL));
  write_be (disk, at, 4, 0xfeedbabe);
  write_be (disk, at + 4, 4, cycle);
  write_be (disk, at + 8, 4, 2);
  write_be (disk, at + 12, 4, size * 512);
  write_be (disk, at + 16, 8, (guint64)cycle << 32 | block);
  write_be (disk, at + 24, 8, (guint64)cycle << 32 | block); /* the tail: nothing older matters */
  write_be (disk, at + 40, 4, 1);
  write_be (disk, at + 320, 4, 32768);
  data[9] = flags;
  for (guint i = 1; i <= size; i++)
    {
      g_assert_true (h2k_disk_pwrite (disk, at + i * 512, 512, data, NULL));
      write_be (disk, at + i * 512, 4, cycle);
    }
}

/* xfs_logprint's opinion of what DISK is. */
static gboolean
is_clean_by_logprint (H2kDisk *disk)
{
  g_autofree char *output = NULL;

  image_save (disk, "logged");
  image_run (&output, "xfs_logprint -t @/logged");
  return strstr (output, "<CLEAN>") != NULL;
}

static void
test_log (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint32 blocks;

  if (!have_tools () || !image_have ("xfs_logprint"))
    return;
  make_image ("32M", "--unsupported -l size=6m");
  disk = open_overlay ();
  blocks = (guint32)read_be (disk, 96, 4) * 8;
  g_assert_true (is_clean_by_logprint (disk));

  /* Something was written since the filesystem was made... */
  write_record (disk, 1, 2, 3, 0);
  g_assert_false (is_clean_by_logprint (disk));
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
  /* ...and unmounted. */
  write_record (disk, 1, 6, 1, 0x20);
  g_assert_true (is_clean_by_logprint (disk));
  assert_same (disk);
  /* A block got lost. */
  write_be (disk, log_offset (disk) + 4 * 512, 4, 0);
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
  write_be (disk, log_offset (disk) + 4 * 512, 4, 1);

  /* Filled to the end, and around. */
  for (guint32 at = 8; at < blocks; at += 8)
    write_record (disk, 1, at, 7, 0);
  g_assert_false (is_clean_by_logprint (disk));
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
  write_record (disk, 1, blocks - 2, 1, 0x20);
  write_record (disk, 1, blocks - 8, 5, 0);
  g_assert_true (is_clean_by_logprint (disk));
  assert_same (disk);
  write_record (disk, 2, 0, 7, 0);
  g_assert_false (is_clean_by_logprint (disk));
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
  write_record (disk, 2, 8, 1, 0x20);
  g_assert_true (is_clean_by_logprint (disk));
  assert_same (disk);

  /* Cycles that cannot follow each other, and no log at all. */
  write_be (disk, log_offset (disk) + 4, 4, 9);
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
  g_assert_true (h2k_disk_zero (disk, log_offset (disk), (guint64)blocks * 512, NULL));
  assert_refused (disk, H2K_ERROR_FILESYSTEM);
}

/* What the tools write when they make a new log in an old filesystem. */
static void
test_new_log (void)
{
  g_autoptr (H2kDisk) disk = NULL;

  if (!have_tools ())
    return;
  make_image ("300M", "");
  g_clear_pointer (&made, g_free);
  g_assert_cmpint (image_run (NULL, "xfs_db -x -c 'logformat -c 5 -s 32768' @/image"), ==, 0);
  disk = image_open ("image");
  g_assert_cmpuint (read_be (disk, log_offset (disk) + 4, 4), ==, 5);
  assert_same (disk);
}

static void
test_disk_error (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint n;

  if (!have_tools ())
    return;
  make_image ("300M", "");
  disk = image_open ("image");
  {
    g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, 0);
    g_autoptr (H2kUsage) usage = h2k_usage_open (faulty, FALSE, NULL);
    guint calls;
    g_array_unref (free_by_driver (usage, 4096, &calls));
    n = faulty_disk_requests (faulty);
  }
  for (guint i = 1; i <= n; i++)
    {
      g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, i);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kUsage) usage = h2k_usage_open (faulty, FALSE, &error);
      H2kExtent extent;
      for (guint64 at = 0; usage && at < disk->size; at += extent.length)
        if (!usage->ops->used (usage, at, &extent, &error))
          break;
      g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
    }
}

/* What was swapped out goes, and the filesystem is in order. */
static void
test_swap_files (gconstpointer data)
{
  static const char proto[] = "/\n0 0\nd--755 0 0\n"
                              "swapfile ---600 0 0 %s/swapfile\n"
                              "swapped-letters ---600 0 0 %s/swapped-letters\n"
                              "backup.img ---600 0 0 %s/backup.img\n"
                              "swap.suspended ---600 0 0 %s/swap.suspended\n"
                              "swap d--755 0 0\nswap.img ---600 0 0 %s/swap/swap.img\n$\n$\n";
  g_autofree char *path = g_build_filename (image_dir (), "swap-proto", NULL);
  g_autofree char *tree = g_build_filename (image_dir (), "tree", NULL);
  g_autofree char *text = g_strdup_printf (proto, tree, tree, tree, tree, tree);
  g_autoptr (H2kDisk) disk = NULL;

  if (!image_have ("mkfs.xfs") || !image_have ("mkswap"))
    return;
  image_make_swap_files ();
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  g_clear_pointer (&made, g_free);
  image_run (NULL, "rm -f @/image");
  g_assert_cmpint (image_run (NULL, "truncate -s 300M @/image"), ==, 0);
  g_assert_cmpint (image_run (NULL, "mkfs.xfs -q -f -p @/swap-proto %s @/image",
                              (const char *)data),
                   ==, 0);
  disk = image_open ("image");
  for (gboolean drop = FALSE; drop <= TRUE; drop++)
    {
      g_autoptr (H2kDisk) view = h2k_used_view_new (disk, drop, NULL, NULL);

      image_assert_swap_files (view, drop);
      image_save (view, "dropped");
      g_assert_cmpint (image_run (NULL, "xfs_repair -n -f @/dropped"), ==, 0);
    }
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  make_proto ();
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strconcat ("/xfs/free/", configs[i].name, NULL);
      g_test_add_data_func (name, &configs[i], test_config);
    }
  for (gsize i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *name = g_strconcat ("/xfs/sample/", samples[i], NULL);
      g_test_add_data_func (name, samples[i], test_sample);
    }
  g_test_add_data_func ("/xfs/fragmented/1k", "-b size=1024 -m rmapbt=1", test_fragmented);
  g_test_add_data_func ("/xfs/fragmented/no-crc-512", "-m crc=0,finobt=0 -b size=512",
                        test_fragmented);
  g_test_add_func ("/xfs/many", test_many);
  g_test_add_func ("/xfs/new-uuid", test_new_uuid);
  for (gsize i = 0; i < G_N_ELEMENTS (damages); i++)
    {
      g_autofree char *name = g_strconcat ("/xfs/damage/", damages[i].name, NULL);
      g_test_add_data_func (name, &damages[i], test_damage);
    }
  g_test_add_func ("/xfs/damage/log-is-never-free", test_log_is_never_free);
  g_test_add_func ("/xfs/superblock", test_superblock);
  g_test_add_func ("/xfs/log", test_log);
  g_test_add_func ("/xfs/new-log", test_new_log);
  g_test_add_func ("/xfs/disk-error", test_disk_error);
  /* The last, since they take away what the others' images are made of. */
  g_test_add_data_func ("/xfs/swap-files/default", "", test_swap_files);
  g_test_add_data_func ("/xfs/swap-files/no-crc-512", "-m crc=0,finobt=0 -b size=512",
                        test_swap_files);
  result = g_test_run ();
  image_cleanup ();
  g_free (made);
  return result;
}
