/* test-vdi.c - VDI images that qemu-img made, read as QEMU reads them; what it does not write
 * (extra data, other block sizes, zero blocks) made by hand; corrupt ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image-fixture.h"

static void
test_layouts (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {"static=off", "static=on"};
  static const guint64 sizes[] = {512, 5 * MIB + 512, 9 * MIB};

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    for (guint j = 0; j < G_N_ELEMENTS (sizes); j++)
      {
        run (f, "qemu-img create -q -f vdi -o %s t.vdi %" G_GUINT64_FORMAT, options[i], sizes[j]);
        g_assert_true (check_as_qemu (f, "t.vdi", "vdi", "vdi") == (i ? sizes[j] : 0));
        scribble (f, "t.vdi", "vdi", sizes[j], i + j);
        g_assert_cmpuint (check_as_qemu (f, "t.vdi", "vdi", "vdi"), >, 0);
      }
}

static void
test_subformats (Fixture *f, gconstpointer data)
{
  static const char *const words[] = {"dynamic", "fixed"};

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    {
      g_autoptr (H2kDisk) disk = NULL;
      run (f, "qemu-img create -q -f vdi -o static=%s t.vdi 1M", i ? "on" : "off");
      disk = open_disk (f, "t.vdi", "vdi");
      g_assert_cmpstr (disk->subformat, ==, words[i]);
      g_assert_cmpuint (disk->files->len, ==, 1);
    }
}

static void
test_large (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint8 byte = 0;
  guint count = 0;

  run (f, "qemu-img create -q -f vdi t.vdi 2T");
  run (f, "qemu-io -t unsafe -f vdi -c 'write -P 0x33 1T 64k' t.vdi");
  disk = open_disk (f, "t.vdi", NULL);
  for (guint64 at = 0; at < disk->size; at += extent.length, count++)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      if (extent.kind == H2K_EXTENT_DATA)
        g_assert_cmpuint (at, ==, 1024 * GIB);
    }
  g_assert_cmpuint (count, <, 100);
  g_assert_true (h2k_disk_pread (disk, 1024 * GIB + 65535, 1, &byte, NULL));
  g_assert_cmpuint (byte, ==, 0x33);
}

/* --- made by hand ----------------------------------------------------------------------------- */

/* A VDI with blocks in random order, and in EXPECTED (of SIZE, rounded up to sectors) what it
 * holds. Each block of the file begins with EXTRA bytes of no use. */
static GByteArray *
make_vdi (guint64 size, guint32 block_size, guint32 extra, guint32 seed, guint8 *expected)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  guint32 blocks = (guint32)((size + block_size - 1) / block_size), used = 0;
  guint32 data = (512 + blocks * 4 + 511) / 512 * 512, stride = block_size + extra;
  GByteArray *image = g_byte_array_new ();
  g_autofree guint32 *order = g_new0 (guint32, blocks);

  g_byte_array_set_size (image, data);
  memset (image->data, 0, image->len);
  put_le (image->data + 64, 0xbeda107f, 4);
  put_le (image->data + 68, 0x10001, 4);
  put_le (image->data + 72, 400, 4);
  put_le (image->data + 76, 1, 4);
  put_le (image->data + 340, 512, 4);
  put_le (image->data + 344, data, 4);
  put_le (image->data + 360, 512, 4);
  put_le (image->data + 368, size, 8);
  put_le (image->data + 376, block_size, 4);
  put_le (image->data + 380, extra, 4);
  put_le (image->data + 384, blocks, 4);

  for (guint32 i = 0; i < blocks; i++)
    {
      order[i] = (guint32)g_rand_int_range (rand, -2, 4);
      if (order[i] < 4)
        order[i] = used++;
    }
  /* Some pairs change places. */
  for (guint32 i = 0; i + 1 < blocks; i += 3)
    if (order[i] < used && order[i + 1] < used)
      {
        guint32 other = order[i];
        order[i] = order[i + 1];
        order[i + 1] = other;
      }
  g_byte_array_set_size (image, data + used * stride);
  for (guint32 i = 0; i < blocks; i++)
    {
      guint64 start = (guint64)i * block_size,
              length = MIN (block_size, (size + 511) / 512 * 512 - start);
      guint8 *at = image->data + data + (gsize)order[i] * stride;
      put_le (image->data + 512 + 4 * i, order[i], 4);
      memset (expected + start, 0, length);
      if (order[i] >= used)
        continue;
      memset (at, 0xee, stride);
      for (guint64 j = 0; j < length; j += 64)
        at[extra + j] = expected[start + j] = (guint8)g_rand_int (rand);
      for (guint64 j = 0; j < length; j++)
        at[extra + j] = expected[start + j] = (guint8)(expected[start + j / 64 * 64] + j);
    }
  return image;
}

static void
test_by_hand (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 size;
    guint32 block_size, extra;
  } cases[] = {
      {5 * MIB, 1 << 20, 0},   {5 * MIB + 100, 1 << 20, 0},
      {3 * MIB, 1 << 16, 512}, {MIB + 512, 4096, 0},
      {70000, 512, 0},         {9 * MIB, 1 << 19, 65536},
      {4100 * 512, 512, 512},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      gsize size = (gsize)(cases[i].size + 511) / 512 * 512;
      g_autofree guint8 *expected = g_malloc (size);
      g_autoptr (GByteArray) image
          = make_vdi (cases[i].size, cases[i].block_size, cases[i].extra, i, expected);
      g_autoptr (H2kDisk) disk = NULL;
      save (f, "t.vdi", image->data, image->len);
      disk = open_disk (f, "t.vdi", NULL);
      check_content (disk, expected, size);
      check_extents (disk, expected);
      /* QEMU knows these alone. */
      if (cases[i].block_size == 1 << 20)
        check_as_qemu (f, "t.vdi", "vdi", "vdi");
    }
}

/* Zero and unallocated blocks are told apart. */
static void
test_kinds (Fixture *f, gconstpointer data)
{
  static const H2kExtentKind kinds[] = {H2K_EXTENT_DATA, H2K_EXTENT_ZERO, H2K_EXTENT_UNALLOCATED};
  static const guint32 entries[] = {0, 0, 0xfffffffe, 0xfffffffe, 0xffffffff, 0xffffffff};
  g_autofree guint8 *expected = g_malloc (6 * 4096);
  g_autoptr (GByteArray) image = make_vdi (6 * 4096, 4096, 0, 0, expected);
  g_autoptr (H2kDisk) disk = NULL;

  g_byte_array_set_size (image, 1024 + 4096);
  for (guint i = 0; i < 6; i++)
    put_le (image->data + 512 + 4 * i, entries[i], 4);
  save (f, "t.vdi", image->data, image->len);
  disk = open_disk (f, "t.vdi", NULL);
  for (guint i = 0; i < 3; i++)
    {
      H2kExtent extent;
      g_assert_true (h2k_disk_extent (disk, i * 8192, disk->size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, kinds[i]);
      g_assert_cmpuint (extent.length, ==, 8192);
    }
}

/* --- bad images ------------------------------------------------------------------------------- */

static void
test_bad_headers (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint offset;
    guint64 value;
    gsize size;
    H2kError code;
    const char *words;
  } bad[] = {
      {68, 2, 4, H2K_ERROR_UNSUPPORTED, "version 0.2"},
      {76, 3, 4, H2K_ERROR_UNSUPPORTED, "undo image"},
      {76, 4, 4, H2K_ERROR_UNSUPPORTED, "clonemedium"},
      {76, 77, 4, H2K_ERROR_UNSUPPORTED, "type 77"},
      {424, 1, 8, H2K_ERROR_UNSUPPORTED, "snapshot"},
      {447, 1, 1, H2K_ERROR_UNSUPPORTED, "snapshot"},
      {360, 4096, 4, H2K_ERROR_UNSUPPORTED, "sectors of 4096"},
      {340, 0, 4, H2K_ERROR_FORMAT, "map of 3 blocks at 0"},
      {340, 0xfffffe00, 4, H2K_ERROR_FORMAT, "not within the file"},
      {344, 512, 4, H2K_ERROR_FORMAT, "overlap the map"},
      {368, 0, 8, H2K_ERROR_FORMAT, "disk of 0 bytes"},
      {368, 3 * MIB + 1, 8, H2K_ERROR_FORMAT, "cannot have 3 blocks"},
      {368, G_MAXUINT64, 8, H2K_ERROR_FORMAT, "cannot have 3 blocks"},
      {376, 0, 4, H2K_ERROR_FORMAT, "blocks of 0 bytes"},
      {376, 3 << 19, 4, H2K_ERROR_FORMAT, "blocks of 1572864 bytes"},
      {376, 0x80000000, 4, H2K_ERROR_FORMAT, "blocks of 2147483648"},
      {380, 0xffffffff, 4, H2K_ERROR_FORMAT, "extra data"},
      {384, 0xffffffff, 4, H2K_ERROR_FORMAT, "not within the file"},
      {384, 2, 4, H2K_ERROR_FORMAT, "cannot have 2 blocks"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autofree guint8 *expected = g_malloc (3 * MIB);
      g_autoptr (GByteArray) image = make_vdi (3 * MIB, 1 << 20, 0, 1, expected);
      put_le (image->data + bad[i].offset, bad[i].value, bad[i].size);
      save (f, "t.vdi", image->data, image->len);
      expect_refusal (f, "t.vdi", NULL, bad[i].code, bad[i].words);
    }
}

static void
test_bad_blocks (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = g_malloc (3 * MIB);
  g_autoptr (GByteArray) image = make_vdi (3 * MIB, 1 << 20, 512, 1, expected);
  static const gsize sizes[] = {0, 1, 64, 72, 455, 512, 520};
  H2kExtent extent;

  put_le (image->data + 512, 0, 4);
  put_le (image->data + 516, 0xfffffffd, 4);
  save (f, "t.vdi", image->data, image->len);
  expect_read_error (f, "t.vdi", MIB, "truncated?");
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "t.vdi", NULL);
    g_assert_true (h2k_disk_extent (disk, 0, disk->size, &extent, NULL));
    g_assert_cmpuint (extent.length, ==, MIB);
    g_assert_false (h2k_disk_extent (disk, MIB, disk->size, &extent, NULL));
  }
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *path = g_build_filename (f->folder, "t.vdi", NULL);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) disk = NULL;
      save (f, "t.vdi", image->data, sizes[i]);
      disk = h2k_disk_open (path, "vdi", &error);
      if (disk)
        g_error ("%zu bytes are enough", sizes[i]);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }
  /* The end of a block is missing. */
  put_le (image->data + 516, 0, 4);
  save (f, "t.vdi", image->data, 1024 + 512 + MIB - 1);
  expect_read_error (f, "t.vdi", MIB - 512, "truncated");
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *path;
    void (*run) (Fixture *f, gconstpointer data);
  } tests[] = {
      {"/vdi/layouts of QEMU", test_layouts},
      {"/vdi/subformats", test_subformats},
      {"/vdi/2 TiB", test_large},
      {"/vdi/extra data, other block sizes, odd sizes", test_by_hand},
      {"/vdi/zero and unallocated blocks", test_kinds},
      {"/vdi/bad headers", test_bad_headers},
      {"/vdi/bad and missing blocks", test_bad_blocks},
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, Fixture, NULL, set_up, tests[i].run, tear_down);
  return g_test_run ();
}
