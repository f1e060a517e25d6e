/* test-gzip.c - gzip files read at any offset, and files joined from chunks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/gzip.h"

#include <zlib.h>

#define MIB ((gsize)1 << 20)

/* SIZE bytes of text, of noise and of zeros. */
static guint8 *
make_content (gsize size, guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  guint8 *data = g_malloc0 (size + 1);

  for (gsize at = 0, n; at < size; at += n)
    {
      int kind = g_rand_int_range (rand, 0, 3);
      n = MIN ((gsize)g_rand_int_range (rand, 1, 200000), size - at);
      for (gsize i = 0; kind && i < n; i++)
        data[at + i]
            = (guint8)(kind == 1 ? g_rand_int (rand) : (at + i) * (at + i) / 100 % 90 + 32);
    }
  return data;
}

/* One member, appended to OUT: a flush after each FLUSH bytes makes blocks end there. */
static void
add_member (GByteArray *out, const guint8 *data, gsize size, int level, gsize flush)
{
  z_stream stream = {0};
  guint8 buffer[65536];
  int result = Z_OK;

  g_assert_cmpint (deflateInit2 (&stream, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), ==, Z_OK);
  do
    {
      gsize n = MIN (flush, size);
      int how = n == size ? Z_FINISH : Z_SYNC_FLUSH;

      stream.next_in = (Bytef *)data;
      stream.avail_in = (uInt)n;
      do
        {
          stream.next_out = buffer;
          stream.avail_out = sizeof buffer;
          result = deflate (&stream, how);
          g_byte_array_append (out, buffer, (guint)(sizeof buffer - stream.avail_out));
        }
      while (stream.avail_out == 0);
      data += n;
      size -= n;
    }
  while (result != Z_STREAM_END);
  deflateEnd (&stream);
}

static H2kFile *
open_gzip (const GByteArray *packed, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_new_memory ("/disk.gz", packed->data, packed->len);

  return h2k_gzip_open (file, error);
}

static void
check_random (H2kFile *file, const guint8 *data, gsize size, guint32 seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autofree guint8 *got = g_malloc (MIB);

  for (guint i = 0; i < 120; i++)
    {
      gsize offset = g_rand_int (rand) % size;
      gsize n = 1 + g_rand_int (rand) % MIN (size - offset, i % 3 ? 3000 : MIB);

      g_assert_true (h2k_file_pread (file, offset, n, got, NULL));
      g_assert_cmpmem (got, n, data + offset, n);
    }
}

static void
check_content (const GByteArray *packed, const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFile) file = open_gzip (packed, &error);
  g_autofree guint8 *got = g_malloc (size + 1);

  g_assert_no_error (error);
  g_assert_cmpuint (file->size, ==, size);
  g_assert_true (h2k_file_pread (file, 0, size, got, &error));
  g_assert_cmpmem (got, size, data, size);
  if (size)
    check_random (file, data, size, 7);
  g_assert_false (h2k_file_pread (file, size, 1, got, &error));
}

static void
test_layouts (void)
{
  static const struct
  {
    gsize size;
    int level;
    gsize flush;
  } layouts[] = {
      {0, 6, MIB},       {1, 6, MIB},          {300, 0, MIB},       {9 * MIB + 77, 6, 100 * MIB},
      {9 * MIB, 0, MIB}, {7 * MIB, 9, 100000}, {5 * MIB, 1, 16384},
  };
  const guint64 span = h2k_gzip_span;

  for (guint pass = 0; pass < 2; pass++)
    {
      for (guint i = 0; i < G_N_ELEMENTS (layouts); i++)
        {
          g_autofree guint8 *data = make_content (layouts[i].size, i);
          g_autoptr (GByteArray) packed = g_byte_array_new ();

          add_member (packed, data, layouts[i].size, layouts[i].level, layouts[i].flush);
          check_content (packed, data, layouts[i].size);
        }
      h2k_gzip_span = 60000;
    }
  h2k_gzip_span = span;
}

/* Files that were joined with cat, empty ones among them; zeros at the end, as on a tape. */
static void
test_members (void)
{
  static const gsize sizes[] = {100000, 0, 1, 3 * MIB, 70000, 0};
  const guint64 span = h2k_gzip_span;
  g_autofree guint8 *data = make_content (4 * MIB, 3);
  g_autoptr (GByteArray) packed = g_byte_array_new ();
  guint8 zeros[512] = {0};
  gsize at = 0;

  h2k_gzip_span = 20000;
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      add_member (packed, data + at, sizes[i], (int)i, 30000);
      at += sizes[i];
    }
  check_content (packed, data, at);
  g_byte_array_append (packed, zeros, sizeof zeros);
  check_content (packed, data, at);
  h2k_gzip_span = span;
}

/* More places to start at than are kept: they get further apart. */
static void
test_many_points (void)
{
  const guint64 span = h2k_gzip_span;
  gsize size = 9 * MIB;
  g_autofree guint8 *data = make_content (size, 5);
  g_autoptr (GByteArray) packed = g_byte_array_new ();

  h2k_gzip_span = 1;
  add_member (packed, data, size, 1, 3000);
  check_content (packed, data, size);
  h2k_gzip_span = span;
}

typedef struct
{
  H2kFile *file;
  const guint8 *data;
  gsize size;
  guint32 seed;
} Work;

static gpointer
work (gpointer data)
{
  const Work *w = data;

  check_random (w->file, w->data, w->size, w->seed);
  return NULL;
}

static void
test_threads (void)
{
  const guint64 span = h2k_gzip_span;
  gsize size = 12 * MIB;
  g_autofree guint8 *data = make_content (size, 6);
  g_autoptr (GByteArray) packed = g_byte_array_new ();
  g_autoptr (H2kFile) file = NULL;
  GThread *threads[4];
  Work works[4];

  h2k_gzip_span = 300000;
  add_member (packed, data, size, 3, 100000);
  file = open_gzip (packed, NULL);
  g_assert_nonnull (file);
  for (guint i = 0; i < 4; i++)
    {
      works[i] = (Work){file, data, size, i};
      threads[i] = g_thread_new ("work", work, &works[i]);
    }
  for (guint i = 0; i < 4; i++)
    g_thread_join (threads[i]);
  h2k_gzip_span = span;
}

static void
expect_damaged (const GByteArray *packed)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFile) file = open_gzip (packed, &error);

  g_assert_null (file);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "/disk.gz"));
}

static void
test_damage (void)
{
  g_autofree guint8 *data = make_content (2 * MIB, 4);
  g_autoptr (GByteArray) packed = g_byte_array_new ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  guint whole;

  add_member (packed, data, 2 * MIB, 6, MIB);
  whole = packed->len;
  /* Data, checksum or length: each bit counts behind the header. */
  for (guint i = 0; i < 40; i++)
    {
      guint at = 10 + g_rand_int (rand) % (whole - 10);
      if (i < 8)
        at = whole - 1 - i;
      packed->data[at] ^= 1u << g_rand_int_range (rand, 0, 8);
      expect_damaged (packed);
      packed->len = 0;
      add_member (packed, data, 2 * MIB, 6, MIB);
    }
  for (guint i = 0; i < 40; i++)
    {
      packed->len = i < 30 ? i : g_rand_int (rand) % whole;
      expect_damaged (packed);
    }
  packed->len = whole;
  g_byte_array_append (packed, (const guint8 *)"rubbish", 7);
  expect_damaged (packed);
}

static void
test_join (void)
{
  g_autofree guint8 *data = make_content (MIB, 8), *got = g_malloc (MIB);
  g_autoptr (GPtrArray) parts = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_unref);
  g_autoptr (H2kFile) joined = NULL;
  static const gsize sizes[] = {100000, 100000, 100000, 700000, 48576};
  gsize at = 0;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); at += sizes[i++])
    g_ptr_array_add (parts, h2k_file_new_memory ("/disk.000000000", data + at, sizes[i]));
  joined = h2k_file_new_joined (parts, "/disk");
  g_assert_cmpuint (joined->size, ==, MIB);
  g_assert_true (h2k_file_pread (joined, 0, MIB, got, NULL));
  g_assert_cmpmem (got, MIB, data, MIB);
  check_random (joined, data, MIB, 2);
  g_assert_false (h2k_file_pread (joined, MIB - 1, 2, got, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/gzip/layouts", test_layouts);
  g_test_add_func ("/gzip/members", test_members);
  g_test_add_func ("/gzip/many-points", test_many_points);
  g_test_add_func ("/gzip/threads", test_threads);
  g_test_add_func ("/gzip/damage", test_damage);
  g_test_add_func ("/join", test_join);
  return g_test_run ();
}
