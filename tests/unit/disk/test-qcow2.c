/* test-qcow2.c - images that qemu-img and qemu-io made, read as QEMU reads them; corrupt ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image-fixture.h"

#define H2K_COMPRESSED_ENTRY ((guint64)1 << 62 | 0x50000)

/* --- helpers ---------------------------------------------------------------------------------- */

static void
patch_be (Fixture *f, const char *name, guint64 offset, guint64 value, gsize size)
{
  guint64 big = GUINT64_TO_BE (value);
  patch (f, name, offset, (guint8 *)&big + 8 - size, size);
}

static guint64
peek_be (Fixture *f, const char *name, guint64 offset, gsize size)
{
  g_autofree char *path = path_of (f, name);
  guint8 data[8] = {0};
  int fd = g_open (path, O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (h2k_pread_full (fd, data + 8 - size, size, offset), ==, 0);
  close (fd);
  return h2k_be64 (data);
}

/* A raw disk with compressible, random and empty stretches. */
static void
make_raw (Fixture *f, const char *name, gsize size, guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autofree guint8 *data = g_malloc0 (size);

  for (gsize at = 0, n; at < size; at += n)
    {
      int kind = g_rand_int_range (rand, 0, 3);
      n = (gsize)g_rand_int_range (rand, 1, 300000);
      n = MIN (n, size - at);
      for (gsize i = 0; kind && i < n; i++)
        data[at + i] = (guint8)(kind == 1 ? g_rand_int (rand) : (at + i) / 100 % 7 * 31);
    }
  save (f, name, data, size);
}

/* Random writes, zeros and discards by QEMU. */
static void
scribble_zeros (Fixture *f, const char *name, guint64 size, guint32 seed, gboolean v3)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autoptr (GString) command = g_string_new ("qemu-io -t unsafe");

  for (guint i = 0; i < 30; i++)
    {
      guint64 offset = g_rand_int (rand) % size / 512 * 512;
      guint64 wanted = (1 + g_rand_int (rand) % 400) * 512;
      guint64 length = MIN (wanted, size - offset);
      const char *verb[] = {"write -P 0x%x", "write -z", "discard", "write -z -u"};
      guint kind = i % 2 ? 0 : v3 ? g_rand_int (rand) % 4 : 0;
      g_autofree char *what = g_strdup (verb[kind]);
      if (kind == 0)
        {
          g_free (what);
          what = g_strdup_printf ("write -P 0x%x", g_rand_int_range (rand, 1, 256));
        }
      g_string_append_printf (command, " -c '%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "'", what,
                              offset, length);
    }
  run (f, "%s -f qcow2 %s", command->str, name);
}

static void
make_good (Fixture *f, const char *options)
{
  run (f, "qemu-img create -q -f qcow2 -o %s t.qcow2 1G", options);
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 1 0 128k' -c 'write -P 2 600M 64k' t.qcow2");
}

/* --- what QEMU makes -------------------------------------------------------------------------- */

static void
test_layouts (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {
      "compat=1.1",
      "compat=0.10",
      "cluster_size=512",
      "cluster_size=512,compat=0.10",
      "cluster_size=4k,refcount_bits=1",
      "cluster_size=2M",
      "cluster_size=256k,lazy_refcounts=on",
      "preallocation=metadata",
      "preallocation=full,cluster_size=16k",
      "refcount_bits=64",
      "extended_l2=on",
      "extended_l2=on,cluster_size=16k",
      "extended_l2=on,cluster_size=2M",
      "extended_l2=on,cluster_size=128k,preallocation=metadata",
      "data_file=data",
      "data_file=data,data_file_raw=on",
      "data_file=data,preallocation=metadata,cluster_size=4k",
      "data_file=data,extended_l2=on,cluster_size=32k",
  };
  guint64 size = 9 * MIB + 512;

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    {
      run (f, "qemu-img create -q -f qcow2 -o %s t.qcow2 %" G_GUINT64_FORMAT, options[i], size);
      check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
      scribble_zeros (f, "t.qcow2", size, i, !strstr (options[i], "0.10"));
      check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
    }
}

static void
test_compressed (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {
      "compression_type=zlib",
      "compression_type=zstd",
      "compression_type=zlib,cluster_size=2M",
      "compression_type=zstd,cluster_size=2M",
      "compression_type=zlib,cluster_size=512",
      "compression_type=zstd,cluster_size=4k",
      "compat=0.10",
  };

  make_raw (f, "t.raw", 11 * MIB + 1536, 3);
  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    {
      guint64 bytes;
      run (f, "qemu-img convert -t unsafe -c -f raw -O qcow2 -o %s t.raw t.qcow2", options[i]);
      bytes = check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
      g_assert_cmpuint (bytes, >, 4 * MIB);
      /* Mixed with ordinary clusters, and written out of order. */
      scribble_zeros (f, "t.qcow2", 11 * MIB, 50 + i, i != 6);
      check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
      run (f, "qemu-img convert -t unsafe -W -m 8 -c -f raw -O qcow2 -o %s t.raw u.qcow2",
           options[i]);
      check_as_qemu (f, "u.qcow2", "qcow2", "qcow2");
    }
}

static void
test_chain (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree char *path = NULL;

  /* The base is shorter than the middle, which is longer than the top. */
  make_raw (f, "base.raw", 5 * MIB + 1024, 7);
  run (f, "qemu-img create -q -f qcow2 -b base.raw -F raw middle.qcow2 12M");
  scribble_zeros (f, "middle.qcow2", 12 * MIB, 8, TRUE);
  check_as_qemu (f, "middle.qcow2", "qcow2", "qcow2");
  run (f, "qemu-img create -q -f qcow2 -o cluster_size=4k -b middle.qcow2 -F qcow2 top.qcow2 10M");
  scribble_zeros (f, "top.qcow2", 10 * MIB, 9, TRUE);
  check_as_qemu (f, "top.qcow2", "qcow2", "qcow2");

  /* Relative names count from the image, not from where we are. Files are absolute. */
  disk = open_disk (f, "top.qcow2", NULL);
  g_assert_cmpuint (disk->files->len, ==, 3);
  path = path_of (f, "base.raw");
  g_assert_cmpstr (disk->files->pdata[2], ==, path);
  g_assert_cmpstr (disk->backing->name, !=, disk->name);

  run (f, "qemu-img create -q -f qcow2 -b '%s/middle.qcow2' -F qcow2 absolute.qcow2 12M",
       f->folder);
  check_as_qemu (f, "absolute.qcow2", "qcow2", "qcow2");
  run (f, "qemu-img rebase -q -u -f qcow2 -b 'file:middle.qcow2' -F qcow2 absolute.qcow2");
  check_as_qemu (f, "absolute.qcow2", "qcow2", "qcow2");
}

/* Subclusters over a backing file, and compressed clusters between them. */
static void
test_subclusters (Fixture *f, gconstpointer data)
{
  guint64 l1, l2;

  make_raw (f, "base.raw", 5 * MIB + 1024, 17);
  run (f, "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=32k -b base.raw -F raw "
          "middle.qcow2 12M");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -c -P 7 1M 96k' -c 'write -P 8 1088k 1k' "
          "middle.qcow2");
  scribble_zeros (f, "middle.qcow2", 12 * MIB, 18, TRUE);
  check_as_qemu (f, "middle.qcow2", "qcow2", "qcow2");
  run (f, "qemu-img create -q -f qcow2 -o extended_l2=on -b middle.qcow2 -F qcow2 top.qcow2 10M");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -c -P 9 1M 64k' -c 'write -z 1060k 4k' top.qcow2");
  check_as_qemu (f, "top.qcow2", "qcow2", "qcow2");
  scribble_zeros (f, "top.qcow2", 10 * MIB, 19, TRUE);
  check_as_qemu (f, "top.qcow2", "qcow2", "qcow2");

  /* The bitmap says of one subcluster that it is allocated and that it reads as zeros. */
  run (f, "qemu-img create -q -f qcow2 -o extended_l2=on t.qcow2 1G");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 1 0 128k' t.qcow2");
  l1 = peek_be (f, "t.qcow2", 40, 8);
  l2 = peek_be (f, "t.qcow2", l1, 8) << 1 >> 1;
  patch_be (f, "t.qcow2", l2 + 24, G_MAXUINT64, 8);
  expect_read_error (f, "t.qcow2", 65536, "bitmap of subclusters");
  /* Subclusters are allocated, but no cluster is. */
  patch_be (f, "t.qcow2", l2 + 16, 0, 8);
  patch_be (f, "t.qcow2", l2 + 24, 1, 8);
  expect_read_error (f, "t.qcow2", 65536, "bitmap of subclusters");
}

static void
test_data_file (Fixture *f, gconstpointer data)
{
  g_autofree char *expected = path_of (f, "data");
  guint64 l1, l2;

  run (f, "qemu-img create -q -f qcow2 -o data_file=%s t.qcow2 8M", expected);
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 5 1M 2M' t.qcow2");
  check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "t.qcow2", NULL);
    g_assert_cmpuint (disk->files->len, ==, 2);
    g_assert_cmpstr (disk->files->pdata[1], ==, expected);
  }

  run (f, "mkdir away");
  run (f, "mv data away/data");
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_SOURCE, "looked for in the image's folder");
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_SOURCE, f->folder);
  run (f, "ln -s /etc/hosts data");
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_SOURCE, "chain is broken");
  run (f, "rm data");
  run (f, "ln t.qcow2 data");
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_FORMAT, "its own external data file");
  run (f, "mv -f away/data data");
  run (f, "rmdir away");

  l1 = peek_be (f, "t.qcow2", 40, 8);
  l2 = peek_be (f, "t.qcow2", l1, 8) << 1 >> 1;
  patch_be (f, "t.qcow2", l2 + 16 * 8, 0, 8);
  patch_be (f, "t.qcow2", l2 + 17 * 8, 0x100000, 8);
  expect_read_error (f, "t.qcow2", 17 * 65536, "at another offset");
  patch_be (f, "t.qcow2", l2 + 17 * 8, H2K_COMPRESSED_ENTRY, 8);
  expect_read_error (f, "t.qcow2", 17 * 65536, "is compressed");
}

/* What qemu-img lists, in its order; a damaged table is no obstacle to reading the disk. */
static void
test_snapshots (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GPtrArray) snapshots = NULL, none = NULL;
  g_autoptr (GError) error = NULL;
  const H2kSnapshot *s;
  gint64 now = g_get_real_time () / G_USEC_PER_SEC;
  guint64 table;

  make_good (f, "compat=1.1");
  disk = open_disk (f, "t.qcow2", NULL);
  none = h2k_disk_snapshots (disk, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (none->len, ==, 0);
  g_clear_pointer (&disk, h2k_disk_unref);

  run (f, "qemu-img snapshot -c first t.qcow2");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 3 0 64k' t.qcow2");
  run (f, "qemu-img resize -q t.qcow2 2G");
  run (f, "qemu-img snapshot -c 'with a space' t.qcow2");
  run (f, "qemu-img bitmap --add t.qcow2 bitmap0");
  disk = open_disk (f, "t.qcow2", NULL);
  snapshots = h2k_disk_snapshots (disk, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (snapshots->len, ==, 2);
  s = snapshots->pdata[0];
  g_assert_cmpstr (s->id, ==, "1");
  g_assert_cmpstr (s->name, ==, "first");
  g_assert_cmpuint (s->disk_size, ==, 1024 * MIB);
  g_assert_cmpuint (s->vm_state_size, ==, 0);
  g_assert_cmpint (ABS ((gint64)s->date_sec - now), <, 60);
  s = snapshots->pdata[1];
  g_assert_cmpstr (s->id, ==, "2");
  g_assert_cmpstr (s->name, ==, "with a space");
  g_assert_cmpuint (s->disk_size, ==, 2048 * MIB);

  table = peek_be (f, "t.qcow2", 64, 8);
  patch_be (f, "t.qcow2", table + 24, 3723004005006, 8);
  patch_be (f, "t.qcow2", table + 36, 1025, 4);
  g_clear_pointer (&snapshots, g_ptr_array_unref);
  snapshots = h2k_disk_snapshots (disk, &error);
  g_assert_null (snapshots);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "1025 bytes of extra data"));
  {
    guint8 byte = 0;
    g_assert_true (h2k_disk_pread (disk, 0, 1, &byte, NULL));
    g_assert_cmpuint (byte, ==, 3);
  }
  g_clear_error (&error);
  patch_be (f, "t.qcow2", 60, 65537, 4);
  g_clear_pointer (&disk, h2k_disk_unref);
  disk = open_disk (f, "t.qcow2", NULL);
  snapshots = h2k_disk_snapshots (disk, &error);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
}

/* Zeros in the top hide the base's data; the extents look through. */
static void
test_extents (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  static const struct
  {
    guint64 offset, length; /* MiB */
    H2kExtentKind kind;
  } expected[] = {
      {0, 1, H2K_EXTENT_DATA},                          /* the base's */
      {1, 1, H2K_EXTENT_ZERO}, {2, 1, H2K_EXTENT_DATA}, /* the top's */
      {3, 1, H2K_EXTENT_DATA}, {4, 3, H2K_EXTENT_UNALLOCATED},
      {7, 1, H2K_EXTENT_ZERO}, {8, 1, H2K_EXTENT_UNALLOCATED},
  };
  guint64 at = 0;

  run (f, "qemu-img create -q -f qcow2 base.qcow2 4M");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write 0 4M' base.qcow2");
  run (f, "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 9M");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -z 1M 1M' -c 'write 2M 1M' -c 'write -z 7M 1M' "
          "top.qcow2");
  disk = open_disk (f, "top.qcow2", NULL);
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++)
    while (at < (expected[i].offset + expected[i].length) * MIB)
      {
        H2kExtent extent;
        guint64 limit = (expected[i].offset + expected[i].length) * MIB;
        g_assert_true (h2k_disk_extent (disk, at, limit, &extent, NULL));
        g_assert_cmpint (extent.kind, ==, expected[i].kind);
        at += extent.length;
      }
}

static void
test_large (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint8 buffer[4096];
  guint count = 0;

  run (f, "qemu-img create -q -f qcow2 t.qcow2 60T");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 0x33 40T 64k' t.qcow2");
  disk = open_disk (f, "t.qcow2", NULL);
  for (guint64 at = 0; at < disk->size; at += extent.length, count++)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      if (extent.kind == H2K_EXTENT_DATA)
        g_assert_cmpuint (at, ==, (guint64)40 << 40);
    }
  g_assert_cmpuint (count, <, 10);
  g_assert_true (h2k_disk_pread (disk, (guint64)40 << 40, sizeof buffer, buffer, NULL));
  g_assert_cmpuint (buffer[4095], ==, 0x33);
}

/* --- threads ---------------------------------------------------------------------------------- */

typedef struct
{
  H2kDisk *disk;
  const guint8 *expected;
  guint32 seed;
} Reader;

static gpointer
read_randomly (gpointer data)
{
  Reader *reader = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (reader->seed);
  g_autofree guint8 *got = g_malloc (2 * MIB);

  for (guint i = 0; i < 300; i++)
    {
      gsize offset = g_rand_int (rand) % reader->disk->size;
      gsize most = MIN (reader->disk->size - offset, i % 3 ? 10000 : 2 * MIB);
      gsize length = 1 + g_rand_int (rand) % most;
      H2kExtent extent;
      g_assert_true (h2k_disk_pread (reader->disk, offset, length, got, NULL));
      g_assert_cmpmem (got, length, reader->expected + offset, length);
      g_assert_true (h2k_disk_extent (reader->disk, offset, offset + length, &extent, NULL));
    }
  return NULL;
}

static void
test_threads (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  GThread *threads[4];
  Reader readers[4];
  gsize size;

  make_raw (f, "base.raw", 24 * MIB, 21);
  run (f, "qemu-img convert -t unsafe -c -f raw -O qcow2 -o compression_type=zstd,cluster_size=4k "
          "base.raw "
          "base.qcow2");
  run (f, "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 t.qcow2");
  scribble_zeros (f, "t.qcow2", 24 * MIB, 22, TRUE);
  run (f, "qemu-img convert -O raw t.qcow2 expected.raw");
  expected = load (f, "expected.raw", &size);
  disk = open_disk (f, "t.qcow2", "qcow2");
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    {
      readers[i] = (Reader){disk, expected, i};
      threads[i] = g_thread_new ("reader", read_randomly, &readers[i]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

/* --- bad images ------------------------------------------------------------------------------- */

static void
test_bad_headers (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 offset, value;
    gsize size;
    H2kError code;
    const char *words;
  } bad[] = {
      {4, 1, 4, H2K_ERROR_FORMAT, "QEMU cannot read it"},
      {4, 4, 4, H2K_ERROR_UNSUPPORTED, "version 4"},
      {8, 65530, 8, H2K_ERROR_FORMAT, "backing file's name"},
      {8, G_MAXUINT64, 8, H2K_ERROR_FORMAT, "backing file's name"},
      {20, 8, 4, H2K_ERROR_FORMAT, "clusters of 2^8"},
      {20, 22, 4, H2K_ERROR_FORMAT, "clusters of 2^22"},
      {20, 0xffffffff, 4, H2K_ERROR_FORMAT, "clusters of 2^"},
      {24, 0, 8, H2K_ERROR_FORMAT, "a disk of 0 bytes"},
      {24, G_MAXUINT64, 8, H2K_ERROR_FORMAT, "impossible"},
      {24, (guint64)G_MAXINT64, 8, H2K_ERROR_FORMAT, "too large for clusters"},
      {24, (guint64)2 << 40, 8, H2K_ERROR_FORMAT, "are needed"},
      {32, 1, 4, H2K_ERROR_UNSUPPORTED, "AES"},
      {32, 2, 4, H2K_ERROR_FORMAT, "LUKS header"},
      {36, 1, 4, H2K_ERROR_FORMAT, "the L1 table has 1 entries, 2 are needed"},
      {40, 0, 8, H2K_ERROR_FORMAT, "L1 table at 0"},
      {40, 0x30001, 8, H2K_ERROR_FORMAT, "not aligned"},
      {40, (guint64)1 << 40, 8, H2K_ERROR_FORMAT, "not within the file"},
      {40, G_MAXUINT64 - 0xffff, 8, H2K_ERROR_FORMAT, "not within the file"},
      {72, 2, 8, H2K_ERROR_FORMAT, "marked as corrupt"},
      {72, 4, 8, H2K_ERROR_FORMAT, "data file's name is not recorded"},
      {72, 8, 8, H2K_ERROR_FORMAT, "compression type contradicts"},
      {72, (guint64)1 << 63, 8, H2K_ERROR_UNSUPPORTED, "bit 63"},
      {96, 7, 4, H2K_ERROR_FORMAT, "reference counts"},
      {100, 103, 4, H2K_ERROR_FORMAT, "header's length"},
      {100, 0xfffffff8, 4, H2K_ERROR_FORMAT, "header's length"},
      {104, 1, 1, H2K_ERROR_FORMAT, "compression type contradicts"},
      {116, 0x7fffffff, 4, H2K_ERROR_FORMAT, "extension is too long"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      make_good (f, "compat=1.1");
      if (bad[i].offset == 8)
        patch_be (f, "t.qcow2", 16, 100, 4);
      patch_be (f, "t.qcow2", bad[i].offset, bad[i].value, bad[i].size);
      expect_refusal (f, "t.qcow2", NULL, bad[i].code, bad[i].words);
    }
  make_good (f, "cluster_size=8k");
  patch_be (f, "t.qcow2", 72, 16, 8);
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_FORMAT, "too small for subclusters");
  make_good (f, "compression_type=zstd");
  patch_be (f, "t.qcow2", 104, 9, 1);
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "compression type 9");
}

static void
test_unknown_feature (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  guint8 *table;
  gsize size;

  make_good (f, "compat=1.1");
  image = load (f, "t.qcow2", &size);
  /* The entry of the dirty bit: kind, bit number, name. */
  table = memmem (image, 4096, "\0\0dirty bit", 11);
  g_assert_nonnull (table);
  table[1] = 40;
  memcpy (table + 2, "time \x1b[31mtravel", 16);
  image[72 + 2] = 1; /* bit 40 */
  save (f, "t.qcow2", image, size);
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "\"time \\x1b[31mtravel\" (bit 40)");
}

/* The dirty bit only says that reference counts may be wrong. */
static void
test_dirty (Fixture *f, gconstpointer data)
{
  make_good (f, "compat=1.1");
  patch_be (f, "t.qcow2", 72, 1, 8);
  {
    g_autoptr (H2kDisk) disk = open_disk (f, "t.qcow2", NULL);
    guint8 byte = 0;
    g_assert_true (h2k_disk_pread (disk, 600 * MIB, 1, &byte, NULL));
    g_assert_cmpuint (byte, ==, 2);
  }
}

static void
test_bad_tables (Fixture *f, gconstpointer data)
{
  guint64 l1, l2, copied = (guint64)1 << 63;
  static const struct
  {
    guint64 l1, l2; /* the entry's new value; 0: as it is */
    const char *words;
  } bad[] = {
      {0x50200, 0, "L2 table 0 is not aligned"},
      {(guint64)1 << 40, 0, "behind the end of the file"},
      {0x30000, 0, "overlaps the L1 table"},
      {0, 0x50200, "not aligned"},
      {0, (guint64)1 << 40, "truncated?"},
      {0, 0x30000, "overlaps the header or the L1 table"},
      {0, (guint64)1 << 62, "overlaps the header"},
      {0, (guint64)1 << 62 | (guint64)1 << 50, "truncated?"},
      {0, (guint64)1 << 62 | 0x50000, "cannot be unpacked"},
      {0, (guint64)1 << 62 | (guint64)255 << 54 | 0x50000, "cannot be unpacked"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      make_good (f, "compat=1.1");
      l1 = peek_be (f, "t.qcow2", 40, 8);
      g_assert_cmpuint (l1, ==, 0x30000);
      l2 = peek_be (f, "t.qcow2", l1, 8) & ~copied;
      if (bad[i].l1)
        patch_be (f, "t.qcow2", l1, bad[i].l1, 8);
      if (bad[i].l2)
        patch_be (f, "t.qcow2", l2 + 8, bad[i].l2, 8);
      expect_read_error (f, "t.qcow2", 65536, bad[i].words);
    }

  make_good (f, "compat=0.10");
  l2 = peek_be (f, "t.qcow2", peek_be (f, "t.qcow2", 40, 8), 8) & ~copied;
  patch_be (f, "t.qcow2", l2 + 8, 1, 8);
  expect_read_error (f, "t.qcow2", 65536, "zero flag");
}

static void
test_truncated (Fixture *f, gconstpointer data)
{
  static const gsize sizes[] = {0, 3, 71, 90, 4096, 0x30000};
  g_autofree guint8 *image = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree guint8 *tail = g_malloc (65536);
  gsize size;

  make_good (f, "compat=1.1");
  image = load (f, "t.qcow2", &size);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *path = path_of (f, "cut.qcow2");
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) cut = NULL;
      save (f, "cut.qcow2", image, sizes[i]);
      cut = h2k_disk_open (path, "qcow2", &error);
      g_assert_null (cut);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }

  /* The last cluster is missing: an error. A part of it: zeros, as in QEMU. */
  save (f, "cut.qcow2", image, size - 65536);
  expect_read_error (f, "cut.qcow2", 600 * MIB, "truncated?");
  save (f, "cut.qcow2", image, size - 60000);
  disk = open_disk (f, "cut.qcow2", NULL);
  g_assert_true (h2k_disk_pread (disk, 600 * MIB, 65536, tail, NULL));
  g_assert_cmpuint (tail[5535], ==, 2);
  g_assert_true (h2k_is_zero (tail + 5536, 60000));
}

static void
test_bad_chains (Fixture *f, gconstpointer data)
{
  run (f, "qemu-img create -q -f qcow2 a.qcow2 1M");
  run (f, "qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2 1M");
  run (f, "qemu-img rebase -q -u -b b.qcow2 -F qcow2 a.qcow2");
  expect_refusal (f, "b.qcow2", NULL, H2K_ERROR_FORMAT, "comes back to this file");
  run (f, "qemu-img rebase -q -u -b a.qcow2 -F qcow2 a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_FORMAT, "comes back to this file");

  run (f, "qemu-img rebase -q -u -b gone.qcow2 -F qcow2 a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_SOURCE,
                  "its backing file \"gone.qcow2\" is missing");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_SOURCE, f->folder);
  run (f, "qemu-img rebase -q -u -b /gone/b.qcow2 -F qcow2 a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_SOURCE, "a file of that name beside the image");
  run (f, "qemu-img rebase -q -u -b nbd://host/x -F raw a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "not a local file");
  run (f, "qemu-img rebase -q -u -b 'json:{\"driver\":\"null-co\"}' -F raw a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "not a local file");
  run (f, "qemu-img rebase -q -u -b /dev/zero -F raw a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_SOURCE, "a character device");
  run (f, "qemu-img rebase -q -u -b b.qcow2 -F luks a.qcow2");
  expect_refusal (f, "a.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "\"luks\" is not known");
}

/* A guest can write the header of such an image to the start of its raw disk. */
static void
test_names_from_a_guest (Fixture *f, gconstpointer data)
{
  static const char *const refused[] = {"t.raw", "t.img", "t.DISK", "inner/snapshot1"};
  g_autofree char *inner = path_of (f, "inner");
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (g_mkdir (inner, 0700), ==, 0);
  run (f, "qemu-img create -q -f raw secret.raw 1M");
  for (guint i = 0; i < G_N_ELEMENTS (refused); i++)
    {
      g_autoptr (H2kDisk) named = NULL;

      run (f, "qemu-img create -q -f qcow2 -F raw -b %s/secret.raw %s", f->folder, refused[i]);
      expect_refusal (f, refused[i], NULL, H2K_ERROR_UNSUPPORTED,
                      "secret.raw, which is not followed");
      named = open_disk (f, refused[i], "qcow2");
      g_assert_nonnull (named->backing);
    }
  run (f, "qemu-img create -q -f qcow2 -F raw -b secret.raw snapshot1");
  h2k_disk_unref (open_disk (f, "snapshot1", NULL));
  /* The same folder, however the two are named. */
  run (f, "qemu-img create -q -f qcow2 -F raw -b %s/inner/../secret.raw snapshot2", f->folder);
  h2k_disk_unref (open_disk (f, "snapshot2", NULL));
  g_assert_cmpint (g_chdir (f->folder), ==, 0);
  disk = h2k_disk_open ("snapshot2", NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (g_chdir ("/"), ==, 0);
}

static void
test_deep_chain (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  gsize size;

  run (f, "qemu-img create -q -f qcow2 -o cluster_size=512 0.qcow2 64k");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write -P 9 1k 1k' 0.qcow2");
  run (f, "qemu-img create -q -f qcow2 -o cluster_size=512 -b 0.qcow2 -F qcow2 t.qcow2");
  image = load (f, "t.qcow2", &size);
  for (guint i = 1; i < 128; i++)
    {
      g_autofree char *name = g_strdup_printf ("%u.qcow2", i);
      g_autofree char *below = g_strdup_printf ("%u.qcow2", i - 1);
      guint64 at = h2k_be64 (image + 8);
      save (f, name, image, size);
      patch (f, name, at, below, strlen (below));
      patch_be (f, name, 16, strlen (below), 4);
    }
  check_as_qemu (f, "100.qcow2", "qcow2", "qcow2");
  {
    g_autoptr (H2kDisk) deep = open_disk (f, "127.qcow2", NULL);
    guint8 byte = 0;
    g_assert_true (h2k_disk_pread (deep, 1024, 1, &byte, NULL));
    g_assert_cmpuint (byte, ==, 9);
  }
  save (f, "128.qcow2", image, size);
  patch (f, "128.qcow2", h2k_be64 (image + 8), "127.qcow2", 9);
  patch_be (f, "128.qcow2", 16, 9, 4);
  expect_refusal (f, "128.qcow2", NULL, H2K_ERROR_FORMAT, "longer than 128");
}

/* A backing file whose format nobody recorded is found by content, but what a guest may have
 * written onto a raw disk opens no further file. */
static void
test_unrecorded_format (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  gsize size;

  make_raw (f, "secret.raw", 1 * MIB, 1);
  run (f, "qemu-img create -q -f qcow2 -b secret.raw -F raw evil.qcow2");
  run (f, "qemu-img create -q -f qcow2 -b evil.qcow2 -F qcow2 t.qcow2");
  check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");

  image = load (f, "t.qcow2", &size);
  for (gsize i = 72; i < 4096; i++)
    if (h2k_be32 (image + i) == 0xe2792aca)
      patch_be (f, "t.qcow2", i, 0x12345678, 4);
  expect_refusal (f, "t.qcow2", NULL, H2K_ERROR_UNSUPPORTED, "secret.raw");

  run (f, "qemu-img convert -f qcow2 -O qcow2 evil.qcow2 harmless.qcow2");
  run (f, "mv harmless.qcow2 evil.qcow2");
  check_as_qemu (f, "t.qcow2", "qcow2", "qcow2");
}

/* --- real samples ----------------------------------------------------------------------------- */

static char *
checksum (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *buffer = g_malloc (1 * MIB);
  g_autoptr (GError) error = NULL;

  for (guint64 at = 0; at < disk->size; at += 1 * MIB)
    {
      gsize n = (gsize)MIN (1 * MIB, disk->size - at);
      h2k_disk_pread (disk, at, n, buffer, &error);
      g_assert_no_error (error);
      g_checksum_update (sum, buffer, (gssize)n);
    }
  return g_strdup (g_checksum_get_string (sum));
}

/* The sample at PATH has the size and the content that qemu-img found in it. */
static void
check_sample (const char *path, char **fields)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, NULL, &error);
  g_autofree char *sum = NULL;

  g_assert_no_error (error);
  g_assert_cmpstr (disk->format, ==, fields[1]);
  g_assert_cmpuint (disk->size, ==, g_ascii_strtoull (fields[2], NULL, 10));
  sum = checksum (disk);
  g_assert_cmpstr (sum, ==, fields[3]);
}

static void
test_samples (Fixture *f, gconstpointer data)
{
  const char *testdata = g_getenv ("H2K_TESTDATA");
  g_autofree char *oracle = g_build_filename (testdata ? testdata : "", "oracle.tsv", NULL);
  g_autofree char *table = NULL;
  g_auto (GStrv) lines = NULL;
  guint count = 0;

  if (!testdata || !g_file_get_contents (oracle, &table, NULL, NULL))
    {
      g_test_skip ("H2K_TESTDATA does not name the folder of real samples");
      return;
    }
  lines = g_strsplit (table, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) fields = g_strsplit (lines[i], "\t", -1);
      g_autofree char *path = g_build_filename (testdata, fields[0] ? fields[0] : "", NULL);

      if (g_strv_length (fields) < 4
          || !(g_str_equal (fields[1], "qcow2") || g_str_equal (fields[1], "raw")))
        continue;
      if (!g_file_test (path, G_FILE_TEST_EXISTS))
        {
          g_test_message ("%s is absent", path);
          continue;
        }
      if (g_str_has_suffix (path, ".gz"))
        {
          run (f, "sh -c 'gzip -dc %s > sample'", path);
          g_free (path);
          path = path_of (f, "sample");
        }
      check_sample (path, fields);
      count++;
    }
  if (count == 0)
    g_test_skip ("there are no qcow2 or raw samples");
}

static void
add (const char *path, void (*test) (Fixture *, gconstpointer))
{
  g_test_add (path, Fixture, NULL, set_up, test, tear_down);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add ("/qcow2/as-qemu/layouts", test_layouts);
  add ("/qcow2/as-qemu/compressed", test_compressed);
  add ("/qcow2/as-qemu/chain", test_chain);
  add ("/qcow2/as-qemu/subclusters", test_subclusters);
  add ("/qcow2/as-qemu/data-file", test_data_file);
  add ("/qcow2/snapshots", test_snapshots);
  add ("/qcow2/extents-look-through", test_extents);
  add ("/qcow2/large-and-sparse", test_large);
  add ("/qcow2/threads", test_threads);
  add ("/qcow2/refused/headers", test_bad_headers);
  add ("/qcow2/refused/unknown-feature-is-named", test_unknown_feature);
  add ("/qcow2/refused/tables", test_bad_tables);
  add ("/qcow2/refused/truncated", test_truncated);
  add ("/qcow2/refused/chains", test_bad_chains);
  add ("/qcow2/refused/deep-chain", test_deep_chain);
  add ("/qcow2/refused/names-from-a-guest", test_names_from_a_guest);
  add ("/qcow2/refused/guest-written-backing-name", test_unrecorded_format);
  add ("/qcow2/dirty-is-read", test_dirty);
  add ("/disk/real-samples", test_samples);
  return g_test_run ();
}
