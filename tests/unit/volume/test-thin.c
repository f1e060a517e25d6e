/* test-thin.c - thin pools: trees of any shape are read, damaged ones are refused.
 *
 * The pools are made here; those that the kernel made are in test-stack.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-thin.h"

#define BLOCK 4096u
#define DATA_BLOCK 65536u
#define METADATA_SIZE (32u << 20)
#define N_DATA 4096u /* blocks in the pool */
#define MAX_ENTRIES 252u

enum
{
  INTERNAL = 1,
  LEAF = 2,
};

/* --- pools made by hand ------------------------------------------------------------------------
 */

typedef struct
{
  H2kDisk *metadata, *data;
  guint64 next; /* the metadata's first free block */
} Pool;

static void
pool_clear (Pool *pool)
{
  h2k_disk_unref (pool->metadata);
  h2k_disk_unref (pool->data);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pool, pool_clear)

static void
put32 (guint8 *to, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (to, &value, sizeof value);
}

static void
put64 (guint8 *to, guint64 value)
{
  value = GUINT64_TO_LE (value);
  memcpy (to, &value, sizeof value);
}

static void
seal (Pool *pool, guint64 number, guint8 *block, guint32 salt)
{
  put32 (block, h2k_crc32c (~0u, block + 4, BLOCK - 4) ^ salt);
  g_assert_true (h2k_disk_pwrite (pool->metadata, number * BLOCK, BLOCK, block, NULL));
}

/* Put VALUE in the WIDTH bytes at AT of the block NUMBER; its checksum is made right. */
static void
change (Pool *pool, guint64 number, guint at, guint width, guint64 value)
{
  guint8 block[BLOCK];

  g_assert_true (h2k_disk_pread (pool->metadata, number * BLOCK, BLOCK, block, NULL));
  if (width == 8)
    put64 (block + at, value);
  else
    put32 (block + at, (guint32)value);
  seal (pool, number, block, number == 0 ? 160774 : 121107);
}

static guint64
put_node (Pool *pool, guint32 flags, const guint64 *keys, const guint64 *values, guint n)
{
  guint8 node[BLOCK] = {0};

  put32 (node + 4, flags);
  put64 (node + 8, pool->next);
  put32 (node + 16, n);
  put32 (node + 20, MAX_ENTRIES);
  put32 (node + 24, 8);
  for (guint i = 0; i < n; i++)
    {
      put64 (node + 32 + 8 * i, keys[i]);
      put64 (node + 32 + 8 * (MAX_ENTRIES + i), values[i]);
    }
  seal (pool, pool->next, node, 121107);
  return pool->next++;
}

/* A tree with PER entries in each node. Its root. */
static guint64
put_tree (Pool *pool, GArray *keys, GArray *values, guint per)
{
  g_autoptr (GArray) k = g_array_ref (keys), v = g_array_ref (values);
  guint32 flags = LEAF;

  for (;;)
    {
      GArray *up_keys = g_array_new (FALSE, FALSE, 8), *up_values = g_array_new (FALSE, FALSE, 8);
      guint i = 0;

      do
        {
          guint n = MIN (per, k->len - i);
          guint64 key = k->len ? g_array_index (k, guint64, i) : 0;
          guint64 node = put_node (pool, flags, (const guint64 *)k->data + i,
                                   (const guint64 *)v->data + i, n);
          g_array_append_val (up_keys, key);
          g_array_append_val (up_values, node);
          i += n;
        }
      while (i < k->len);
      g_array_unref (k);
      g_array_unref (v);
      k = up_keys;
      v = up_values;
      flags = INTERNAL;
      if (k->len == 1)
        return g_array_index (v, guint64, 0);
    }
}

static void
put_super (Pool *pool, guint64 root)
{
  guint8 super[BLOCK] = {0};

  put64 (super + 32, 27022010);
  put32 (super + 40, 2);
  put64 (super + 48, 7);
  put64 (super + 320, root);
  put32 (super + 336, DATA_BLOCK / 512);
  put32 (super + 340, BLOCK / 512);
  seal (pool, 0, super, 160774);
}

static void
pool_init (Pool *pool)
{
  pool->metadata = h2k_memory_disk_new (METADATA_SIZE);
  pool->data = h2k_memory_disk_new ((guint64)N_DATA * DATA_BLOCK);
  pool->next = 1;
}

static GArray *
numbers (const guint64 *list, guint n)
{
  GArray *array = g_array_new (FALSE, FALSE, 8);

  g_array_append_vals (array, list, n);
  return array;
}

/* A pool in which the device 5 has the block KEY at VALUE; the leaf is block 1, the root 2. */
static void
put_small (Pool *pool, guint64 key, guint64 value)
{
  guint64 device = 5, mapping = value << 24 | 3, root;

  pool_init (pool);
  root = put_node (pool, LEAF, &key, &mapping, 1);
  root = put_node (pool, LEAF, &device, &root, 1);
  put_super (pool, root);
}

static H2kThinPool *
open_pool (const Pool *pool)
{
  g_autoptr (GError) error = NULL;
  H2kThinPool *opened = h2k_thin_pool_open (pool->metadata, pool->data, "vg/pool", &error);

  g_assert_no_error (error);
  return opened;
}

/* --- what is there is read ---------------------------------------------------------------------
 */

/* The first bytes of each block of the pool say which one it is. */
static void
mark (Pool *pool)
{
  for (guint64 i = 0; i < N_DATA; i++)
    {
      guint64 marks[2] = {i + 1, ~i};
      g_assert_true (h2k_disk_pwrite (pool->data, i * DATA_BLOCK, 16, marks, NULL));
      g_assert_true (h2k_disk_pwrite (pool->data, (i + 1) * DATA_BLOCK - 16, 16, marks, NULL));
    }
}

/* N volume blocks from places in the pool, G_MAXUINT64: none. */
static guint64 *
random_layout (GRand *rand, guint n)
{
  guint64 *layout = g_new (guint64, n);

  for (guint i = 0; i < n;)
    {
      guint length = (guint)g_rand_int_range (rand, 1, g_rand_boolean (rand) ? 4 : 300);
      guint64 place = (guint64)g_rand_int_range (rand, 0, N_DATA);
      gboolean hole = g_rand_int_range (rand, 0, 3) == 0;

      for (; length && i < n; length--, i++)
        layout[i] = hole ? G_MAXUINT64 : place++ % N_DATA;
    }
  return layout;
}

static guint64
put_layout (Pool *pool, GRand *rand, const guint64 *layout, guint n)
{
  g_autoptr (GArray) keys = g_array_new (FALSE, FALSE, 8), values = g_array_new (FALSE, FALSE, 8);

  for (guint64 i = 0; i < n; i++)
    if (layout[i] != G_MAXUINT64)
      {
        guint64 value = layout[i] << 24 | g_rand_int (rand) >> 8;
        g_array_append_val (keys, i);
        g_array_append_val (values, value);
      }
  return put_tree (pool, keys, values, (guint)g_rand_int_range (rand, 3, MAX_ENTRIES + 1));
}

/* Every block of DISK is the one that LAYOUT says; where it has none ORIGIN's (may be NULL). */
static void
check_blocks (H2kDisk *disk, const guint64 *layout, H2kDisk *origin)
{
  g_autofree guint8 *block = g_malloc (DATA_BLOCK), *other = g_malloc (DATA_BLOCK);

  for (guint64 at = 0; at < disk->size; at += DATA_BLOCK)
    {
      guint64 place = layout[at / DATA_BLOCK];
      gsize n = (gsize)MIN (DATA_BLOCK, disk->size - at);
      g_assert_true (h2k_disk_pread (disk, at, n, block, NULL));
      memset (other, 0, n);
      if (place != G_MAXUINT64)
        {
          g_assert_cmpuint (h2k_le64 (block), ==, place + 1);
          g_assert_cmpuint (h2k_le64 (block + 8), ==, ~place);
          continue;
        }
      if (origin && at < origin->size)
        g_assert_true (h2k_disk_pread (origin, at, (gsize)MIN (n, origin->size - at), other, NULL));
      g_assert_cmpmem (block, n, other, n);
    }
}

/* Extents are the layout's, and as long as they can be. The pool's data has no holes but in the
 * middle of blocks. */
static void
check_extents (H2kDisk *disk, const guint64 *layout)
{
  guint64 at = 0;

  while (at < disk->size)
    {
      guint64 end = at;
      H2kExtent extent;

      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      while (end < disk->size && layout[end / DATA_BLOCK] == G_MAXUINT64)
        end += DATA_BLOCK;
      if (end > at)
        {
          g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
          g_assert_cmpuint (extent.length, ==, MIN (end, disk->size) - at);
        }
      else
        g_assert_cmpint (extent.kind, ==, H2K_EXTENT_DATA);
      at += extent.length;
    }
}

static void
check_shape (guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  guint n = (guint)g_rand_int_range (rand, 1, 4000);
  g_autofree guint64 *layout = random_layout (rand, n), *other = random_layout (rand, n);
  guint64 devices[] = {0, 3, 16777215}, roots[3], size = (guint64)n * DATA_BLOCK - 4096 * (n % 2);
  g_auto (Pool) made = {NULL};
  g_autoptr (H2kDisk) one = NULL, two = NULL, base = h2k_memory_disk_new (size / 2 / 512 * 512);
  g_autoptr (H2kThinPool) pool = NULL;
  g_autoptr (GArray) keys = NULL, values = NULL;
  g_autofree guint8 *noise = g_malloc (base->size);

  g_test_message ("seed %u: %u blocks", seed, n);
  for (guint64 i = 0; i < base->size; i++)
    noise[i] = (guint8)(i * 7 / 512);
  g_assert_true (h2k_disk_pwrite (base, 0, base->size, noise, NULL));
  pool_init (&made);
  mark (&made);
  roots[0] = put_layout (&made, rand, other, n);
  roots[1] = put_layout (&made, rand, layout, n);
  roots[2] = roots[0]; /* a snapshot */
  keys = numbers (devices, 3);
  values = numbers (roots, 3);
  put_super (&made, put_tree (&made, keys, values, 2));
  pool = open_pool (&made);
  one = h2k_thin_disk_new (pool, 3, size, NULL, "one", NULL);
  two = h2k_thin_disk_new (pool, 16777215, size, base, "two", NULL);
  g_assert_nonnull (one);
  g_assert_nonnull (two);
  g_assert_false (h2k_disk_is_writable (one));
  g_assert_null (h2k_thin_disk_new (pool, 4, size, NULL, "none", NULL));
  check_blocks (one, layout, NULL);
  check_blocks (two, other, base);
}

static void
test_shapes (void)
{
  for (guint32 seed = 1; seed <= 6; seed++)
    check_shape (seed);
}

/* One read goes over all that there is: runs, holes, ends of leaves. */
static void
test_long_read (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (42);
  guint n = 700;
  g_autofree guint64 *layout = random_layout (rand, n);
  gsize size = (gsize)n * DATA_BLOCK;
  g_autofree guint8 *all = g_malloc (size), *some = g_malloc (DATA_BLOCK);
  guint64 device = 1, root;
  g_auto (Pool) made = {NULL};
  g_autoptr (H2kThinPool) pool = NULL;
  g_autoptr (H2kDisk) disk = NULL;

  pool_init (&made);
  mark (&made);
  root = put_layout (&made, rand, layout, n);
  put_super (&made, put_node (&made, LEAF, &device, &root, 1));
  pool = open_pool (&made);
  disk = h2k_thin_disk_new (pool, 1, size, NULL, "volume", NULL);
  g_assert_true (h2k_disk_pread (disk, 100, size - 200, all + 100, NULL));
  for (guint i = 1; i + 1 < n; i++)
    {
      g_assert_true (h2k_disk_pread (disk, (guint64)i * DATA_BLOCK, DATA_BLOCK, some, NULL));
      g_assert_cmpmem (all + (gsize)i * DATA_BLOCK, DATA_BLOCK, some, DATA_BLOCK);
    }
}

/* Holes are one extent from one block that is there to the next one, over any number of leaves; so
 * are blocks, wherever they lie. */
static void
test_extents (void)
{
  guint n = 30000;
  g_autofree guint64 *layout = g_new (guint64, n);
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  g_autofree guint8 *full = g_malloc (DATA_BLOCK);
  guint64 device = 1, root;
  g_auto (Pool) made = {NULL};
  g_autoptr (H2kThinPool) pool = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;

  for (guint i = 0; i < n; i++)
    layout[i] = i > 100 && i < 900 ? (i * 5) % 16 : i > 29000 || i == 9 ? i % 16 : G_MAXUINT64;
  pool_init (&made);
  memset (full, 1, DATA_BLOCK);
  for (guint64 i = 0; i < 16; i++)
    g_assert_true (h2k_disk_pwrite (made.data, i * DATA_BLOCK, DATA_BLOCK, full, NULL));
  root = put_layout (&made, rand, layout, n);
  put_super (&made, put_node (&made, LEAF, &device, &root, 1));
  pool = open_pool (&made);
  disk = h2k_thin_disk_new (pool, 1, (guint64)n * DATA_BLOCK, NULL, "volume", NULL);
  check_extents (disk, layout);
  g_assert_true (h2k_disk_extent (disk, 101 * DATA_BLOCK, disk->size, &extent, NULL));
  g_assert_cmpuint (extent.length, ==, (guint64)799 * DATA_BLOCK);
}

/* A volume of which nothing was written. */
static void
test_empty (void)
{
  guint64 device = 1, root;
  g_auto (Pool) made = {NULL};
  g_autoptr (H2kThinPool) pool = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  guint8 bytes[512];
  H2kExtent extent;

  pool_init (&made);
  root = put_node (&made, LEAF, NULL, NULL, 0);
  put_super (&made, put_node (&made, LEAF, &device, &root, 1));
  pool = open_pool (&made);
  g_assert_cmpuint (h2k_thin_pool_block_size (pool), ==, DATA_BLOCK);
  g_assert_cmpuint (h2k_thin_pool_transaction (pool), ==, 7);
  g_assert_false (h2k_thin_pool_needs_check (pool));
  disk = h2k_thin_disk_new (pool, 1, G_MAXINT64 / 512 * 512, NULL, "volume", NULL);
  g_assert_true (h2k_disk_extent (disk, 0, disk->size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, disk->size);
  g_assert_true (h2k_disk_pread (disk, disk->size - 512, 512, bytes, NULL));
  g_assert_true (h2k_is_zero (bytes, sizeof bytes));
}

/* --- what is damaged is refused ----------------------------------------------------------------
 */

/* What is wrong is found when the pool is opened, the volume, or its block 8. */
static void
claim_damage (const Pool *made, H2kError code, const char *why)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kThinPool) pool = h2k_thin_pool_open (made->metadata, made->data, "vg/pool", &error);
  g_autoptr (H2kDisk) disk
      = pool ? h2k_thin_disk_new (pool, 5, 64 * DATA_BLOCK, NULL, "volume", &error) : NULL;
  guint8 bytes[512];

  if (disk && h2k_disk_pread (disk, 8 * DATA_BLOCK, sizeof bytes, bytes, &error))
    g_error ("it can be read; expected: %s", why);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, why) || !strstr (error->message, "vg/pool"))
    g_error ("\"%s\" does not say \"%s\"", error->message, why);
  if (disk)
    {
      H2kExtent extent;
      g_assert_false (h2k_disk_extent (disk, 8 * DATA_BLOCK, disk->size, &extent, NULL));
    }
}

/* In the block NUMBER something is changed. */
static const struct
{
  guint64 number;
  guint at, width;
  guint64 value;
  H2kError code;
  const char *why;
} damages[] = {
    {0, 32, 8, 27022011, H2K_ERROR_FILESYSTEM, "no superblock"},
    {0, 40, 4, 3, H2K_ERROR_UNSUPPORTED, "of version 3"},
    {0, 40, 4, 0, H2K_ERROR_UNSUPPORTED, "of version 0"},
    {0, 360, 4, 2, H2K_ERROR_UNSUPPORTED, "features 0x2"},
    {0, 8, 8, 1, H2K_ERROR_FILESYSTEM, "wrong sizes"},
    {0, 336, 4, 0, H2K_ERROR_FILESYSTEM, "wrong sizes"},
    {0, 336, 4, 129, H2K_ERROR_FILESYSTEM, "wrong sizes"},
    {0, 336, 4, 0xffffff80, H2K_ERROR_FILESYSTEM, "wrong sizes"},
    {0, 340, 4, 16, H2K_ERROR_FILESYSTEM, "wrong sizes"},
    {0, 320, 8, METADATA_SIZE / BLOCK, H2K_ERROR_FILESYSTEM, "place outside of the metadata"},
    {0, 320, 8, G_MAXUINT64, H2K_ERROR_FILESYSTEM, "place outside of the metadata"},
    {0, 320, 8, 9, H2K_ERROR_FILESYSTEM, "wrong checksum in block 9"},
    {0, 320, 8, 1, H2K_ERROR_FILESYSTEM, "has no device 5"},
    {1, 8, 8, 2, H2K_ERROR_FILESYSTEM, "another block's content in block 1"},
    {1, 4, 4, 0, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 4, 4, INTERNAL | LEAF, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 16, 4, MAX_ENTRIES + 1, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 16, 4, 2, H2K_ERROR_FILESYSTEM, "keys out of order"},
    {1, 20, 4, 255, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 20, 4, 0xffffffff, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 24, 4, 24, H2K_ERROR_FILESYSTEM, "wrong header"},
    {1, 32 + 8 * MAX_ENTRIES, 8, (guint64)N_DATA << 24, H2K_ERROR_FILESYSTEM,
     "place outside of the pool's data in block 1"},
    {1, 32 + 8 * MAX_ENTRIES, 8, G_MAXUINT64, H2K_ERROR_FILESYSTEM,
     "place outside of the pool's data"},
    {2, 32, 8, 6, H2K_ERROR_FILESYSTEM, "has no device 5"},
    {2, 16, 4, 0, H2K_ERROR_FILESYSTEM, "has no device 5"},
};

static void
test_damages (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (damages); i++)
    {
      g_auto (Pool) made = {NULL};
      put_small (&made, 8, 1);
      g_test_message ("damage %u", i);
      change (&made, damages[i].number, damages[i].at, damages[i].width, damages[i].value);
      claim_damage (&made, damages[i].code, damages[i].why);
    }
}

/* An internal node that leads to itself; a byte that changed; metadata that is cut off. */
static void
test_cycle (void)
{
  g_auto (Pool) made = {NULL}, torn = {NULL}, short_one = {NULL};
  guint64 key = 0, self;
  guint8 byte = 1;

  put_small (&made, 8, 1);
  self = made.next;
  put_node (&made, INTERNAL, &key, &self, 1);
  change (&made, 2, 32 + 8 * MAX_ENTRIES, 8, self);
  claim_damage (&made, H2K_ERROR_FILESYSTEM, "a tree that is too deep");
  put_small (&torn, 8, 1);
  g_assert_true (h2k_disk_pwrite (torn.metadata, BLOCK + 4000, 1, &byte, NULL));
  claim_damage (&torn, H2K_ERROR_FILESYSTEM, "wrong checksum in block 1");
  short_one.metadata = h2k_memory_disk_new (512);
  short_one.data = h2k_memory_disk_new (DATA_BLOCK);
  claim_damage (&short_one, H2K_ERROR_FILESYSTEM, "no superblock");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/thin/shapes", test_shapes);
  g_test_add_func ("/thin/long-read", test_long_read);
  g_test_add_func ("/thin/extents", test_extents);
  g_test_add_func ("/thin/empty", test_empty);
  g_test_add_func ("/thin/damages", test_damages);
  g_test_add_func ("/thin/cycle", test_cycle);
  return g_test_run ();
}
