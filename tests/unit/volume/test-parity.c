/* test-parity.c - RAID 4 and 5: blocks lie where the layout says, and one lost member is made up
 * for.
 *
 * The arrays are made here, after the drawings below; those that Linux made are in test-stack.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md-parity.h"

#define CHUNK 4096u
#define N 4u
#define ROWS 16u
#define SIZE (ROWS * CHUNK * (N - 1))
#define OFFSET 8192u

/* The first rows on four members, by the numbers of chunks; P is the parity. They go on likewise
 * every four rows. */
static const struct
{
  guint layout;
  const char *rows[4];
} drawings[] = {
    {H2K_PARITY_LEFT_ASYMMETRIC, {"012P", "34P5", "6P78", "P9AB"}},
    {H2K_PARITY_RIGHT_ASYMMETRIC, {"P012", "3P45", "67P8", "9ABP"}},
    {H2K_PARITY_LEFT_SYMMETRIC, {"012P", "45P3", "8P67", "P9AB"}},
    {H2K_PARITY_RIGHT_SYMMETRIC, {"P012", "5P34", "78P6", "9ABP"}},
    {H2K_PARITY_FIRST, {"P012", "P345", "P678", "P9AB"}},
    {H2K_PARITY_LAST, {"012P", "345P", "678P", "9ABP"}},
};

typedef struct
{
  H2kMapMember members[N];
  guint8 content[SIZE];
} Array;

static void
array_clear (Array *array)
{
  for (guint i = 0; i < N; i++)
    h2k_disk_unref (array->members[i].disk);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Array, array_clear)

/* Put CONTENT onto the members as ROWS draw it. */
static void
lay_out (Array *array, const char *const *rows)
{
  for (guint row = 0; row < ROWS; row++)
    {
      guint8 parity[CHUNK] = {0};
      guint64 at = OFFSET + row * CHUNK;
      guint place = 0;

      for (guint m = 0; m < N; m++)
        {
          char c = rows[row % 4][m];
          guint number = row / 4 * 12 + (guint)g_ascii_xdigit_value (c);
          const guint8 *chunk = array->content + number * CHUNK;

          if (c == 'P')
            {
              place = m;
              continue;
            }
          for (guint i = 0; i < CHUNK; i++)
            parity[i] ^= chunk[i];
          g_assert_true (h2k_disk_pwrite (array->members[m].disk, at, CHUNK, chunk, NULL));
        }
      g_assert_true (h2k_disk_pwrite (array->members[place].disk, at, CHUNK, parity, NULL));
    }
}

static void
array_init (Array *array, GRand *rand, const char *const *rows)
{
  for (guint i = 0; i < SIZE; i++)
    array->content[i] = (guint8)g_rand_int_range (rand, 0, 256);
  for (guint i = 0; i < N; i++)
    array->members[i] = (H2kMapMember){
        .disk = h2k_memory_disk_new (OFFSET + ROWS * CHUNK + 100),
        .offset = OFFSET,
    };
  lay_out (array, rows);
}

/* Without the member LOST (N: all are there); *WRITE_ONLY: it is there, but not to be read. */
static H2kDisk *
open_without (const Array *array, guint layout, guint lost, gboolean write_only)
{
  H2kMapMember members[N];
  g_autoptr (GError) error = NULL;
  H2kDisk *disk;

  memcpy (members, array->members, sizeof members);
  if (lost < N && write_only)
    members[lost].write_only = TRUE;
  else if (lost < N)
    members[lost].disk = NULL;
  disk = h2k_md_parity_disk (members, N, layout, CHUNK, ROWS * CHUNK + 99, TRUE, "array", &error);
  g_assert_no_error (error);
  g_assert_cmpuint (disk->size, ==, SIZE);
  g_assert_cmpint (h2k_disk_is_writable (disk), ==, lost == N);
  return disk;
}

static void
check_content (H2kDisk *disk, GRand *rand, const guint8 *content)
{
  g_autofree guint8 *buffer = g_malloc (SIZE);

  g_assert_true (h2k_disk_pread (disk, 0, SIZE, buffer, NULL));
  g_assert_cmpmem (buffer, SIZE, content, SIZE);
  for (guint i = 0; i < 50; i++)
    {
      guint at = (guint)g_rand_int_range (rand, 0, SIZE - 1);
      guint n = (guint)g_rand_int_range (rand, 1, (gint32)MIN (SIZE - at, 5 * CHUNK));
      g_assert_true (h2k_disk_pread (disk, at, n, buffer, NULL));
      g_assert_cmpmem (buffer, n, content + at, n);
    }
}

/* With all members and without each of them. */
static void
check_all (const Array *array, guint layout, GRand *rand)
{
  for (guint lost = 0; lost <= N; lost++)
    {
      g_autoptr (H2kDisk) disk = open_without (array, layout, lost, lost % 2);
      check_content (disk, rand, array->content);
    }
}

static void
test_layouts (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);

  for (guint i = 0; i < G_N_ELEMENTS (drawings); i++)
    {
      g_auto (Array) array = {0};
      array_init (&array, rand, drawings[i].rows);
      check_all (&array, drawings[i].layout, rand);
    }
}

/* What is written leaves the members as if it had been there from the start: the parity, too. */
static void
test_writes (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (6);
  g_autofree guint8 *buffer = g_malloc (SIZE);

  for (guint i = 0; i < G_N_ELEMENTS (drawings); i++)
    {
      g_auto (Array) array = {0};
      g_autoptr (H2kDisk) disk = NULL;

      array_init (&array, rand, drawings[i].rows);
      disk = open_without (&array, drawings[i].layout, N, FALSE);
      for (guint k = 0; k < 60; k++)
        {
          guint at = (guint)g_rand_int_range (rand, 0, SIZE - 1);
          guint n = (guint)g_rand_int_range (rand, 1, (gint32)MIN (SIZE - at, 5 * CHUNK));
          for (guint b = 0; b < n; b++)
            buffer[b] = (guint8)g_rand_int (rand);
          if (k % 10 == 9)
            {
              memset (buffer, 0, n);
              g_assert_true (h2k_disk_zero (disk, at, n, NULL));
            }
          else
            g_assert_true (h2k_disk_pwrite (disk, at, n, buffer, NULL));
          memcpy (array.content + at, buffer, n);
        }
      g_assert_true (h2k_disk_flush (disk, NULL));
      check_all (&array, drawings[i].layout, rand);
    }
}

/* Chunks that nothing was written to are no data, with all members and with one lost. */
static void
test_extents (void)
{
  for (guint lost = 0; lost <= N; lost++)
    {
      g_auto (Array) array = {0};
      g_autoptr (H2kDisk) disk = NULL;
      g_autofree guint8 *full = g_malloc (1u << 20);
      H2kMapMember *m = array.members;
      H2kExtent extent;
      guint64 data = 0;

      for (guint i = 0; i < N; i++)
        m[i] = (H2kMapMember){.disk = h2k_memory_disk_new (64u << 20)};
      memset (full, 7, 1u << 20);
      disk = h2k_md_parity_disk (m, N, 2, 1u << 20, 64u << 20, TRUE, "array", NULL);
      g_assert_true (h2k_disk_pwrite (disk, 100u << 20, 1u << 20, full, NULL));
      h2k_disk_unref (disk);
      if (lost < N)
        g_clear_pointer (&m[lost].disk, h2k_disk_unref);
      disk = h2k_md_parity_disk (m, N, 2, 1u << 20, 64u << 20, TRUE, "array", NULL);
      for (guint64 at = 0; at < disk->size; at += extent.length)
        {
          g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
          if (extent.kind == H2K_EXTENT_DATA)
            data += extent.length;
          else
            g_assert_false (at <= 100u << 20 && at + extent.length > 100u << 20);
        }
      g_assert_cmpuint (data, >=, 1u << 20);
      g_assert_cmpuint (data, <=, 3u << 20);
    }
}

static void
test_refused (void)
{
  g_auto (Array) array = {0};
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  g_autoptr (GError) error = NULL;
  H2kMapMember two_lost[N];
  static const struct
  {
    guint n, layout;
    guint64 chunk, length;
  } bad[] = {
      {1, 2, CHUNK, ROWS * CHUNK},
      {N, 6, CHUNK, ROWS * CHUNK},
      {N, G_MAXUINT, CHUNK, ROWS * CHUNK},
      {N, 2, 0, ROWS * CHUNK},
      {N, 2, CHUNK, CHUNK - 1},
      {N, 2, CHUNK, (ROWS + 1) * CHUNK},
      {N, 2, CHUNK, G_MAXUINT64},
      {N, 2, G_MAXUINT64, G_MAXUINT64},
  };

  array_init (&array, rand, drawings[2].rows);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_assert_null (h2k_md_parity_disk (array.members, bad[i].n, bad[i].layout, bad[i].chunk,
                                         bad[i].length, TRUE, "array", &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      g_clear_error (&error);
    }
  memcpy (two_lost, array.members, sizeof two_lost);
  two_lost[0].disk = two_lost[3].disk = NULL;
  g_assert_null (h2k_md_parity_disk (two_lost, N, 2, CHUNK, ROWS * CHUNK, TRUE, "array", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
}

/* --- several writers ---------------------------------------------------------------------------
 */

#define N_WRITES 4000u

typedef struct
{
  H2kDisk *disk;
  guint number; /* of the chunk */
} Writer;

static gpointer
write_often (gpointer data)
{
  const Writer *writer = data;
  guint8 chunk[CHUNK];

  for (guint i = 0; i < N_WRITES; i++)
    {
      memset (chunk, (int)(i * 7 + writer->number), sizeof chunk);
      g_assert_true (h2k_disk_pwrite (writer->disk, writer->number * CHUNK, CHUNK, chunk, NULL));
    }
  return NULL;
}

/* The chunks of a row have one parity: what several volumes on the array write there at once, all
 * goes into it. */
static void
test_writers (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  g_auto (Array) array = {0};
  g_autoptr (H2kDisk) disk = NULL;
  guint8 sum[CHUNK] = {0}, chunk[CHUNK];
  GThread *threads[N - 1];
  Writer writers[N - 1];

  array_init (&array, rand, drawings[2].rows);
  disk = open_without (&array, H2K_PARITY_LEFT_SYMMETRIC, N, FALSE);
  for (guint i = 0; i < N - 1; i++)
    {
      writers[i] = (Writer){disk, i};
      threads[i] = g_thread_new ("writer", write_often, &writers[i]);
    }
  for (guint i = 0; i < N - 1; i++)
    g_thread_join (threads[i]);
  for (guint m = 0; m < N; m++)
    {
      g_assert_true (h2k_disk_pread (array.members[m].disk, OFFSET, CHUNK, chunk, NULL));
      for (guint i = 0; i < CHUNK; i++)
        sum[i] ^= chunk[i];
    }
  g_assert_true (h2k_is_zero (sum, sizeof sum));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/parity/layouts", test_layouts);
  g_test_add_func ("/parity/writes", test_writes);
  g_test_add_func ("/parity/extents", test_extents);
  g_test_add_func ("/parity/refused", test_refused);
  g_test_add_func ("/parity/writers", test_writers);
  return g_test_run ();
}
