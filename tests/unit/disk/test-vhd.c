/* test-vhd.c - VHD images that qemu-img and other programs made, read as QEMU reads them; what it
 * cannot write or read (differencing disks, partial bitmaps, old footers) made by hand; corrupt
 * ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image-fixture.h"

#define BLOCK ((gsize)65536) /* of images made by hand */

/* --- images made by hand ---------------------------------------------------------------------- */

static void
put_sum (guint8 *data, gsize length, gsize at)
{
  guint32 sum = 0;

  memset (data + at, 0, 4);
  for (gsize i = 0; i < length; i++)
    sum += data[i];
  put_be (data + at, ~sum, 4);
}

/* A footer of a disk of SIZE bytes; its identifier is filled with ID. */
static void
make_footer (guint8 *footer, guint type, guint64 size, guint8 id)
{
  memset (footer, 0, 512);
  memcpy (footer, "conectix", 8);
  put_be (footer + 8, 2, 4);
  put_be (footer + 12, 0x10000, 4);
  put_be (footer + 16, type == 2 ? G_MAXUINT64 : 512, 8);
  memcpy (footer + 28, "win ", 4);
  put_be (footer + 40, size, 8);
  put_be (footer + 48, size, 8);
  put_be (footer + 60, type, 4);
  memset (footer + 68, id, 16);
  put_sum (footer, 512, 64);
}

/* An empty dynamic disk, or the child of PARENT_ID; the name of the parent is not set. Its header
 * is at 512, the BAT at 4096, the data from 8192 on. */
static GByteArray *
make_sparse (guint64 size, gsize block, guint8 id, guint8 parent_id)
{
  GByteArray *image = g_byte_array_new ();
  guint64 blocks = (size + block - 1) / block;
  gsize start = MAX (8192, (4096 + blocks * 4 + 511) / 512 * 512);

  g_byte_array_set_size (image, (guint)start + 512);
  memset (image->data, 0xff, image->len);
  make_footer (image->data, parent_id ? 4 : 3, size, id);
  memset (image->data + 512, 0, 1024);
  memcpy (image->data + 512, "cxsparse", 8);
  put_be (image->data + 520, G_MAXUINT64, 8);
  put_be (image->data + 528, 4096, 8);
  put_be (image->data + 536, 0x10000, 4);
  put_be (image->data + 540, blocks, 4);
  put_be (image->data + 544, block, 4);
  memset (image->data + 552, parent_id, 16);
  put_sum (image->data + 512, 1024, 36);
  memcpy (image->data + start, image->data, 512);
  return image;
}

/* Write LENGTH bytes of VALUE at OFFSET, both in sectors, also to EXPECTED. Only the sectors' own
 * bits are set, and what is not written holds garbage. */
static void
write_sectors (GByteArray *image, guint8 *expected, guint64 offset, guint64 length, guint8 value)
{
  gsize unit = h2k_be32 (image->data + 544), bitmap = (unit + 2 * MIB - 1) / (2 * MIB) * 512;

  for (guint64 s = offset; s < offset + length; s++)
    {
      guint8 *entry = image->data + 4096 + s * 512 / unit * 4, *block;
      guint in = (guint)(s % (unit / 512));
      if (h2k_be32 (entry) == 0xffffffff)
        {
          guint at = image->len - 512;
          put_be (entry, at / 512, 4);
          g_byte_array_set_size (image, image->len + (guint)(bitmap + unit));
          memmove (image->data + image->len - 512, image->data, 512);
          memset (image->data + at, 0, bitmap);
          memset (image->data + at + bitmap, 0xee, unit);
          entry = image->data + 4096 + s * 512 / unit * 4;
        }
      block = image->data + h2k_be32 (entry) * 512;
      block[in / 8] |= (guint8)(0x80 >> in % 8);
      memset (block + bitmap + in * 512, value, 512);
      memset (expected + s * 512, value, 512);
    }
}

static void
write_randomly (GByteArray *image, guint8 *expected, guint64 size, guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);

  for (guint i = 0; i < 20; i++)
    {
      guint64 sectors = size / 512, offset = g_rand_int (rand) % sectors;
      guint64 wanted = 1 + g_rand_int (rand) % (i % 2 ? 30 : 300);
      write_sectors (image, expected, offset, MIN (wanted, sectors - offset),
                     (guint8)g_rand_int_range (rand, 0, 256));
    }
}

/* Name the parent by locator INDEX of platform CODE: UTF-16 text, or a URL for "MacX". */
static void
put_locator (GByteArray *image, guint index, const char *code, const char *name)
{
  guint8 *locator = image->data + 512 + 576 + 24 * index;
  guint at = 1536 + 256 * index, n = 0;

  for (; name[n]; n++)
    if (g_str_equal (code, "MacX"))
      image->data[at + n] = (guint8)name[n];
    else
      put_le (image->data + at + 2 * n, (guint8)name[n], 2);
  memcpy (locator, code, 4);
  put_be (locator + 4, 512, 4);
  put_be (locator + 8, g_str_equal (code, "MacX") ? n : 2 * n, 4);
  put_be (locator + 16, at, 8);
  put_sum (image->data + 512, 1024, 36);
}

static void
put_unicode_name (GByteArray *image, const char *name)
{
  for (guint n = 0; name[n]; n++)
    put_be (image->data + 512 + 64 + 2 * n, (guint8)name[n], 2);
  put_sum (image->data + 512, 1024, 36);
}

static void
check_image (Fixture *f, const char *name, const guint8 *expected, gsize size)
{
  g_autoptr (H2kDisk) disk = open_disk (f, name, NULL);

  g_assert_cmpstr (disk->format, ==, "vhd");
  check_content (disk, expected, size);
  check_extents (disk, expected);
}

/* --- what QEMU makes -------------------------------------------------------------------------- */

static void
test_layouts (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {
      "subformat=dynamic",
      "subformat=dynamic,force_size=on",
      "subformat=fixed",
      "subformat=fixed,force_size=on",
  };
  static const guint64 sizes[] = {5 * MIB, 11 * MIB + 512, 70 * MIB};

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    for (guint j = 0; j < G_N_ELEMENTS (sizes); j++)
      {
        run (f, "qemu-img create -q -f vpc -o %s t.vhd %" G_GUINT64_FORMAT, options[i], sizes[j]);
        /* The footer of a fixed disk shares its block of the filesystem with the last sectors. */
        g_assert_cmpuint (check_as_qemu (f, "t.vhd", "vhd", "vpc"), <, 65536);
        scribble (f, "t.vhd", "vpc", 5 * MIB, 4 * i + j);
        g_assert_cmpuint (check_as_qemu (f, "t.vhd", "vhd", "vpc"), >, 65536);
      }
}

static void
test_large (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint8 byte = 0;
  guint count = 0;

  run (f, "qemu-img create -q -f vpc -o force_size=on t.vhd 2040G");
  run (f, "qemu-io -t unsafe -f vpc -c 'write -P 0x33 1T 64k' t.vhd");
  disk = open_disk (f, "t.vhd", NULL);
  g_assert_cmpuint (disk->size, ==, 2040 * GIB);
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

/* --- samples of other programs ---------------------------------------------------------------- */

/* Copy sample NAME, unpacked, to t.vhd. */
static gboolean
get_sample (Fixture *f, const char *name)
{
  const char *samples = g_getenv ("H2K_TESTDATA");
  g_autofree char *path = samples ? g_build_filename (samples, "vhd", name, NULL) : NULL;
  g_autofree char *quoted = path ? g_shell_quote (path) : NULL;

  if (!path || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA does not name the samples");
      return FALSE;
    }
  if (g_str_has_suffix (name, ".bz2"))
    run (f, "sh -c 'bunzip2 -c \"$0\" > t.vhd' %s", quoted);
  else
    run (f, "sh -c 'cat \"$0\" > t.vhd' %s", quoted);
  return TRUE;
}

static void
test_dfvfs (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *content = g_malloc (4212736);
  g_autofree char *sum = NULL;

  if (!get_sample (f, "dfvfs/test_data/ext2.vhd"))
    return;
  g_assert_cmpuint (check_as_qemu (f, "t.vhd", "vhd", "vpc"), >, 0);
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "t.vhd", NULL);
    g_assert_cmpuint (disk->size, ==, 4212736);
    g_assert_true (h2k_disk_pread (disk, 0, 4212736, content, NULL));
  }
  sum = g_compute_checksum_for_data (G_CHECKSUM_SHA256, content, 4212736);
  g_assert_cmpstr (sum, ==, "870be7ae16c1fa8faab05c6eb9205dc9a7ae35c5f552c5cf8a267c0bc6a5cb99");
}

/* An image of Virtual PC, whose geometry is smaller than its current size. QEMU writes onto it, at
 * the last sector that it sees, too. */
static void
test_virtual_pc (Fixture *f, gconstpointer data)
{
  static const guint64 places[] = {5 * GIB, 100 * GIB + 12 * MIB, 136363130880 - 65536};
  g_autoptr (H2kDisk) empty = NULL, disk = NULL;
  guint64 found = 0;
  H2kExtent extent;
  guint8 buffer[65536];

  if (!get_sample (f, "qemu-iotests/virtualpc-dynamic.vhd.bz2"))
    return;
  empty = open_disk (f, "t.vhd", NULL);
  g_assert_cmpuint (empty->size, ==, 136363130880);
  for (guint64 at = 0; at < empty->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (empty, at, empty->size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
    }
  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    run (f, "qemu-io -t unsafe -f vpc -c 'write -P %u %" G_GUINT64_FORMAT " 64k' t.vhd", 7 + i,
         places[i]);
  disk = open_disk (f, "t.vhd", NULL);
  g_assert_cmpuint (disk->size, ==, 136363130880);
  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_assert_true (h2k_disk_pread (disk, places[i], sizeof buffer, buffer, NULL));
      g_assert_cmpuint (buffer[0], ==, 7 + i);
      g_assert_cmpuint (buffer[65535], ==, 7 + i);
    }
  for (guint64 at = 0; at < disk->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      g_assert_cmpuint (found, <, G_N_ELEMENTS (places));
      g_assert_cmpuint (at, ==, places[found++] / (2 * MIB) * (2 * MIB));
    }
  g_assert_cmpuint (found, ==, G_N_ELEMENTS (places));
}

/* --- the size --------------------------------------------------------------------------------- */

static void
test_sizes (Fixture *f, gconstpointer data)
{
  /* 4 heads with 17 sectors: 68 sectors a cylinder. */
  static const struct
  {
    const char *creator;
    guint cylinders;
    guint64 current, stored, written, size; /* sectors; written: one with data */
  } cases[] = {
      {"win ", 100, 6820, 6820, 0, 6820},
      {"win ", 110, 6820, 7480, 0, 6820},
      {"vbox", 100, 6820, 6820, 0, 6820}, /* QEMU 7 would cut it off */
      {"wa\0\0", 100, 8192, 8192, 0, 8192},
      {"vpc ", 100, 6820, 6820, 0, 6800},
      {"vpc ", 100, 6820, 6820, 6799, 6800},
      {"vpc ", 100, 6820, 6820, 6800, 6820}, /* Hyper-V went on with it */
      {"vpc ", 100, 6820, 6820, 6819, 6820},
      {"vpc ", 100, 6868, 6868, 0, 6868}, /* a cylinder more is no rounding */
      {"vpc ", 0, 6820, 6820, 0, 6820},
      {"vpc ", 100, 0, 6820, 0, 6800},
      {"qemu", 101, 6820, 6868, 6860, 6868}, /* QEMU rounds up */
      {"qemu", 101, 6820, 6820, 0, 6820},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      gsize bytes = (gsize)cases[i].stored * 512;
      g_autofree guint8 *image = g_malloc0 (bytes + 512);
      guint8 *footer = image + bytes;
      g_autoptr (H2kDisk) disk = NULL;

      make_footer (footer, 2, cases[i].current * 512, 1);
      memcpy (footer + 28, cases[i].creator, 4);
      put_be (footer + 56, cases[i].cylinders, 2);
      footer[58] = 4;
      footer[59] = 17;
      put_sum (footer, 512, 64);
      image[cases[i].written * 512 + 100] = 9;
      save (f, "t.vhd", image, bytes + 512);
      disk = open_disk (f, "t.vhd", NULL);
      if (disk->size != cases[i].size * 512)
        g_error ("case %u has %" G_GUINT64_FORMAT " sectors", i, disk->size / 512);
      check_content (disk, image, disk->size);
    }
}

/* --- fixed disks and footers ------------------------------------------------------------------ */

static void
test_fixed (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = g_malloc0 (MIB + 512);
  g_autoptr (H2kDisk) raw = NULL, named = NULL;

  /* What a guest writes at the start is not taken for the footer. */
  make_footer (image, 3, 64 * MIB, 7);
  image[MIB - 1] = 5;
  make_footer (image + MIB, 2, MIB, 1);
  save (f, "t.vhd", image, MIB + 512);
  check_image (f, "t.vhd", image, MIB);

  /* Virtual PC's first footers had 511 bytes. */
  save (f, "t.vhd", image, MIB + 511);
  check_image (f, "t.vhd", image, MIB);

  /* The footer tells, whatever the name; without a good one the name does, or the user. */
  memset (image, 0, 512);
  save (f, "T.AVHD", image, MIB + 512);
  check_image (f, "T.AVHD", image, MIB);
  save (f, "t.img", image, MIB + 512);
  check_image (f, "t.img", image, MIB);
  save (f, "t", image, MIB + 511);
  named = open_disk (f, "t", NULL);
  g_assert_cmpstr (named->subformat, ==, "fixed");
  check_content (named, image, MIB);
  image[MIB + 80] ^= 1; /* then the last sector is as good as any */
  save (f, "t.img", image, MIB + 512);
  raw = open_disk (f, "t.img", NULL);
  g_assert_cmpstr (raw->format, ==, "raw");
  expect_refusal (f, "t.img", "vhd", H2K_ERROR_FORMAT, "footer is damaged");
  image[MIB + 80] ^= 1;
  save (f, "raw.vhd", image, MIB);
  expect_refusal (f, "raw.vhd", NULL, H2K_ERROR_FORMAT, "name the format \"raw\"");
  save (f, "short.vhd", image + 4096, MIB + 512 - 4096);
  expect_refusal (f, "short.vhd", NULL, H2K_ERROR_FORMAT, "truncated?");
}

/* One of a dynamic disk's two footers is enough. */
static void
test_footers (Fixture *f, gconstpointer data)
{
  gsize size = 20 * BLOCK + 1024;
  g_autofree guint8 *expected = g_malloc0 (size);
  g_autoptr (GByteArray) image = make_sparse (size, BLOCK, 1, 0);
  guint last;

  write_randomly (image, expected, size, 4);
  last = image->len - 512;
  for (guint i = 0; i < 512; i += 73)
    {
      image->data[i] ^= 1;
      save (f, "t.vhd", image->data, image->len);
      check_image (f, "t.vhd", expected, size);
      image->data[i] ^= 1;
      image->data[last + i] ^= 1;
      save (f, "t.vhd", image->data, image->len);
      check_image (f, "t.vhd", expected, size);
      image->data[last + i] ^= 1;
    }
  save (f, "t.vhd", image->data, last);
  check_image (f, "t.vhd", expected, size);
  image->data[50] ^= 1;
  save (f, "t.vhd", image->data, last);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "no good copy");
  image->data[last + 60] ^= 1;
  save (f, "t.vhd", image->data, image->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "no good copy");
}

/* --- bitmaps ---------------------------------------------------------------------------------- */

static void
test_bitmaps (Fixture *f, gconstpointer data)
{
  static const gsize blocks[] = {512, 1024, 4096, BLOCK, 2 * MIB, 4 * MIB};

  for (guint32 i = 0; i < G_N_ELEMENTS (blocks); i++)
    {
      gsize size = 5 * MIB - 512 * i;
      g_autofree guint8 *expected = g_malloc0 (size);
      g_autoptr (GByteArray) image = make_sparse (size, blocks[i], 1, 0);

      write_randomly (image, expected, size, i);
      save (f, "t.vhd", image->data, image->len);
      check_image (f, "t.vhd", expected, size);
    }
}

/* A block without any bit: its writer keeps no bitmaps. */
static void
test_no_bitmap (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = g_malloc0 (2 * BLOCK);
  g_autoptr (GByteArray) image = make_sparse (2 * BLOCK, BLOCK, 1, 0);
  gsize at;

  write_sectors (image, expected, 128, 128, 3);
  at = (gsize)h2k_be32 (image->data + 4100) * 512;
  memset (image->data + at, 0, 16);
  save (f, "t.vhd", image->data, image->len);
  check_image (f, "t.vhd", expected, 2 * BLOCK);
  /* One bit is enough to take it at its word. */
  image->data[at + 15] = 1;
  memset (expected + BLOCK, 0, BLOCK - 512);
  save (f, "t.vhd", image->data, image->len);
  check_image (f, "t.vhd", expected, 2 * BLOCK);
}

/* --- differencing disks ----------------------------------------------------------------------- */

static void
test_chain (Fixture *f, gconstpointer data)
{
  gsize size = 30 * BLOCK;
  g_autofree guint8 *expected = g_malloc0 (size);
  g_autofree char *path = g_build_filename (f->folder, "base.vhd", NULL);

  for (guint8 i = 1; i <= 4; i++)
    {
      static const char *const names[] = {"", "base.vhd", "b.avhd", "c.avhd", "d.avhd"};
      g_autoptr (GByteArray) image = make_sparse (size, BLOCK, i, i - 1);
      g_autofree char *hint = g_strdup_printf (".\\%s", names[i - 1]);

      write_randomly (image, expected, size, i);
      if (i > 1)
        put_locator (image, 2, "W2ru", hint);
      save (f, names[i], image->data, image->len);
      check_image (f, names[i], expected, size);
    }
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "d.avhd", NULL);
    g_assert_cmpstr (disk->subformat, ==, "differencing");
    g_assert_cmpuint (disk->files->len, ==, 4);
    g_assert_cmpstr (disk->files->pdata[3], ==, path);
  }
}

/* The parent is fixed, and smaller than its child. */
static void
test_fixed_parent (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = g_malloc0 (10 * BLOCK);
  g_autoptr (GByteArray) image = make_sparse (10 * BLOCK, BLOCK, 2, 1);

  memset (expected, 0x77, 5 * BLOCK - 512);
  make_footer (expected + 5 * BLOCK - 512, 2, 5 * BLOCK - 512, 1);
  save (f, "base.vhd", expected, 5 * BLOCK);
  memset (expected + 5 * BLOCK - 512, 0, 512);
  put_unicode_name (image, "base.vhd");
  write_randomly (image, expected, 10 * BLOCK, 11);
  save (f, "t.vhd", image->data, image->len);
  check_image (f, "t.vhd", expected, 10 * BLOCK);
}

static void
test_names (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *code, *name;
    gboolean found;
  } cases[] = {
      {"W2ru", ".\\base.vhd", TRUE},
      {"W2ru", "base.vhd", TRUE},
      {"W2ru", ".\\sub\\deep.vhd", TRUE},
      {"W2ru", "..\\Templates\\base.vhd", TRUE},
      {"W2ku", "C:\\VMs\\base.vhd", TRUE},
      {"W2ku", "\\\\host\\share\\base.vhd", TRUE},
      {"MacX", "file://localhost/Users/me/base.vhd", TRUE},
      {"MacX", "file://localhost/Users/me/b%61se.vhd", TRUE},
      {"W2ru", "..\\outside.vhd", FALSE},
      {"W2ru", "sub\\..\\..\\outside.vhd", FALSE},
      {"W2ru", "link.vhd", FALSE},
      {"W2ru", "..", FALSE},
      {"W2ru", ".\\", FALSE},
      {"W2ru", "sub", FALSE},
      {"W2ku", "C:\\gone.vhd", FALSE},
      {"MacX", "file://localhost/a%2fbase.vhd", FALSE},
      {"Wi2r", "base.vhd", FALSE},
  };
  g_autoptr (GByteArray) base = make_sparse (2 * BLOCK, BLOCK, 1, 0);

  run (f, "mkdir -p in/sub");
  save (f, "outside.vhd", base->data, base->len);
  save (f, "in/base.vhd", base->data, base->len);
  save (f, "in/sub/deep.vhd", base->data, base->len);
  run (f, "ln -s ../outside.vhd in/link.vhd");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GByteArray) image = make_sparse (2 * BLOCK, BLOCK, 2, 1);
      put_locator (image, i % 3, cases[i].code, cases[i].name);
      save (f, "in/t.vhd", image->data, image->len);
      if (cases[i].found)
        h2k_disk_unref (open_disk (f, "in/t.vhd", NULL));
      else
        expect_refusal (f, "in/t.vhd", NULL, H2K_ERROR_SOURCE, "01010101-0101-0101-0101-0101");
    }
  run (f, "rm -r in");
}

static void
test_bad_chains (Fixture *f, gconstpointer data)
{
  g_autoptr (GByteArray) base = make_sparse (2 * BLOCK, BLOCK, 3, 0);
  g_autoptr (GByteArray) image = make_sparse (2 * BLOCK, BLOCK, 2, 1);

  save (f, "t.vhd", image->data, image->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_SOURCE, "its name is not recorded");
  put_unicode_name (image, "C:\\x\\gone\x1b.vhd");
  save (f, "t.vhd", image->data, image->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_SOURCE, "gone\\x1b.vhd");
  put_locator (image, 0, "W2ru", "base.vhd");
  save (f, "t.vhd", image->data, image->len);
  save (f, "base.vhd", base->data, base->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "has 03030303-0303-0303-0303-0303");
  save (f, "base.vhd", base->data, 700);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "cannot open its parent");
  put_locator (image, 0, "W2ru", "t.vhd");
  save (f, "t.vhd", image->data, image->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "comes back to this file");
  /* Locators that lie behind the end or are too long count as missing. */
  put_be (image->data + 512 + 576 + 16, G_MAXUINT64 - 5, 8);
  put_be (image->data + 512 + 576 + 24 + 8, 0xffffffff, 4);
  put_sum (image->data + 512, 1024, 36);
  save (f, "t.vhd", image->data, image->len);
  expect_refusal (f, "t.vhd", NULL, H2K_ERROR_SOURCE, "looked for in");
}

/* The work for an extent grows with the chain's length, no faster. */
static void
test_deep_chain (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint count = 0;

  for (guint8 i = 1; i <= 60; i++)
    {
      g_autoptr (GByteArray) image = make_sparse (1024 * GIB, 64 * MIB, i, i - 1);
      g_autofree char *name = g_strdup_printf ("%u.vhd", i);
      g_autofree char *below = g_strdup_printf ("%u.vhd", i - 1);
      if (i > 1)
        put_unicode_name (image, below);
      save (f, name, image->data, image->len);
    }
  disk = open_disk (f, "60.vhd", NULL);
  for (guint64 at = 0; at < disk->size; at += extent.length, count++)
    g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
  g_assert_cmpuint (count, <=, 4);
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
    const char *words;
  } bad[] = {
      {16, 1024, 8, "no dynamic disk header at 1024"},
      {16, G_MAXUINT64, 8, "are needed"},
      {48, 0, 8, "has no size"},
      {48, 8 * BLOCK + 512, 8, "only room for"},
      {48, G_MAXUINT64, 8, "only room for"},
      {60, 1, 4, "no good copy"},
      {60, 5, 4, "no good copy"},
      {512, 0, 1, "no dynamic disk header at 512"},
      {528, 0, 8, "table of 8 blocks at 0"},
      {528, 1 << 30, 8, "not within the file"},
      {528, G_MAXUINT64 - 8, 8, "not within the file"},
      {540, 7, 4, "only room for"},
      {540, 0, 4, "only room for"},
      {540, 0xffffffff, 4, "not within the file"},
      {544, 0, 4, "blocks of 0 bytes"},
      {544, 256, 4, "blocks of 256 bytes"},
      {544, 3 << 16, 4, "blocks of 196608 bytes"},
      {544, BLOCK / 2, 4, "only room for"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GByteArray) image = make_sparse (8 * BLOCK, BLOCK, 1, 0);
      put_be (image->data + bad[i].offset, bad[i].value, bad[i].size);
      put_sum (image->data, 512, 64);
      put_sum (image->data + 512, 1024, 36);
      memcpy (image->data + image->len - 512, image->data, 512);
      save (f, "t.vhd", image->data, image->len);
      expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, bad[i].words);
    }
  {
    g_autoptr (GByteArray) image = make_sparse (8 * BLOCK, BLOCK, 1, 0);
    image->data[1400] ^= 1;
    save (f, "t.vhd", image->data, image->len);
    expect_refusal (f, "t.vhd", NULL, H2K_ERROR_FORMAT, "checksum of the dynamic disk header");
  }
}

static void
test_bad_blocks (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint32 entry;
    const char *words;
  } bad[] = {
      {0, "overlaps the header"}, {8, "overlaps the header"}, {7, "overlaps the header"},
      {0xfffffffe, "truncated?"}, {64, "truncated?"},         {18, "truncated"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GByteArray) image = make_sparse (2 * BLOCK, BLOCK, 1, 0);
      g_autoptr (H2kDisk) disk = NULL;
      H2kExtent extent;
      guint8 byte = 9;

      put_be (image->data + 4096 + 4, bad[i].entry, 4);
      image->data[18 * 512 - 512] = 0;
      g_byte_array_set_size (image, 8192 + 1536);
      memset (image->data + 8704, 0xff, 1024);
      save (f, "t.vhd", image->data, image->len);
      expect_read_error (f, "t.vhd", 2 * BLOCK - 512, bad[i].words);
      /* The rest is readable. */
      disk = open_disk (f, "t.vhd", NULL);
      g_assert_true (h2k_disk_pread (disk, BLOCK - 1, 1, &byte, NULL));
      g_assert_cmpuint (byte, ==, 0);
      g_assert_true (h2k_disk_extent (disk, 0, disk->size, &extent, NULL));
      g_assert_cmpuint (extent.length, ==, BLOCK);
    }
}

static void
test_truncated (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = g_malloc0 (8 * BLOCK);
  g_autoptr (GByteArray) image = make_sparse (8 * BLOCK, BLOCK, 1, 0);
  static const gsize sizes[] = {0, 1, 510, 511, 512, 600, 1535, 1536, 4096, 4127};

  write_sectors (image, expected, 0, 1024, 6);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *path = g_build_filename (f->folder, "t.vhd", NULL);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) disk = NULL;

      save (f, "t.vhd", image->data, sizes[i]);
      disk = h2k_disk_open (path, "vhd", &error);
      if (disk)
        g_error ("%zu bytes are enough", sizes[i]);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }
  save (f, "t.vhd", image->data, image->len - 1024);
  expect_read_error (f, "t.vhd", 8 * BLOCK - 512, "truncated");
}

static GLogWriterOutput
ignore_message (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  return level == G_LOG_LEVEL_MESSAGE ? G_LOG_WRITER_HANDLED
                                      : g_log_writer_default (level, fields, n, data);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *path;
    void (*run) (Fixture *f, gconstpointer data);
  } tests[] = {
      {"/vhd/layouts of QEMU", test_layouts},
      {"/vhd/2040 GiB", test_large},
      {"/vhd/sample of dfvfs", test_dfvfs},
      {"/vhd/sample of Virtual PC", test_virtual_pc},
      {"/vhd/geometry or current size", test_sizes},
      {"/vhd/fixed disks are known by their end", test_fixed},
      {"/vhd/one good footer is enough", test_footers},
      {"/vhd/sectors that were not written", test_bitmaps},
      {"/vhd/blocks without a bitmap", test_no_bitmap},
      {"/vhd/chain", test_chain},
      {"/vhd/fixed parent", test_fixed_parent},
      {"/vhd/parent names", test_names},
      {"/vhd/bad chains", test_bad_chains},
      {"/vhd/deep chain", test_deep_chain},
      {"/vhd/bad headers", test_bad_headers},
      {"/vhd/bad blocks", test_bad_blocks},
      {"/vhd/truncated", test_truncated},
  };

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, Fixture, NULL, set_up, tests[i].run, tear_down);
  /* It is said when a footer's copy is used: not here. */
  g_log_set_writer_func (ignore_message, NULL, NULL);
  return g_test_run ();
}
