/* test-check.c - what the checks of image formats find: nothing in images that qemu-img made and
 * qemu-io wrote to, and what qemu-img check finds in damaged ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/qcow2.h"
#include "image-fixture.h"

enum /* what a check says */
{
  CLEAN,
  LEAKS,
  CORRUPT,
  REFUSED, /* an error: no check is possible */
  UNKNOWN, /* qemu-img knows no check for the format */
};

/* What we say; the findings, or the error's text, go to TEXT. */
static int
our_verdict (Fixture *f, const char *name, H2kCheck *check, char **text)
{
  g_autofree char *path = g_build_filename (f->folder, name, NULL);
  g_autoptr (GError) error = NULL;
  gboolean ok = h2k_disk_check (path, NULL, check, &error);

  g_ptr_array_add (check->findings, NULL);
  g_free (*text);
  *text = ok ? g_strjoinv ("\n", (char **)check->findings->pdata) : g_strdup (error->message);
  g_ptr_array_set_size (check->findings, (int)check->findings->len - 1);
  return !ok ? REFUSED : check->corruptions ? CORRUPT : check->leaks ? LEAKS : CLEAN;
}

static int
qemu_verdict (Fixture *f, const char *name, char **out)
{
  g_autofree char *command = g_strdup_printf ("qemu-img check -U %s", name);

  g_free (*out);
  switch (run_command (f, out, command))
    {
    case 0:
      return CLEAN;
    case 2:
      return CORRUPT;
    case 3:
      return LEAKS;
    case 63:
      return UNKNOWN;
    default:
      return REFUSED;
    }
}

static void
expect (Fixture *f, const char *name, int verdict, const char *words)
{
  g_autoptr (H2kCheck) check = h2k_check_new ();
  g_autofree char *text = NULL;
  int found = our_verdict (f, name, check, &text);

  if (found != verdict || !strstr (text, words))
    g_error ("%s: verdict %d instead of %d, and not \"%s\": %s", name, found, verdict, words, text);
}

/* Random writes, zeros and discards by QEMU. */
static void
scribble_zeros (Fixture *f, const char *name, const char *format, guint64 size, guint32 seed,
                gboolean only_writes)
{
  static const char *const verbs[] = {"write -P 3", "write -z", "write -P 9", "discard"};
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autoptr (GString) command = g_string_new ("qemu-io -t unsafe");

  for (guint i = 0; i < 14; i++)
    {
      guint64 offset = g_rand_int (rand) % (size - 400 * 512) / 512 * 512;
      g_string_append_printf (command, " -c '%s %" G_GUINT64_FORMAT " %u'",
                              verbs[only_writes ? 0 : g_rand_int (rand) % 4], offset,
                              (1 + g_rand_int (rand) % 400) * 512);
    }
  run (f, "%s -f %s %s", command->str, format, name);
}

/* --- clean images ----------------------------------------------------------------------------- */

static void
expect_clean (Fixture *f, const char *name)
{
  g_autoptr (H2kCheck) check = h2k_check_new ();
  g_autofree char *text = NULL, *out = NULL;
  int theirs = qemu_verdict (f, name, &out), ours = our_verdict (f, name, check, &text);

  if (theirs != CLEAN && theirs != UNKNOWN)
    g_error ("qemu-img does not call it clean: %s", out);
  if (ours != CLEAN)
    g_error ("it is not clean here: %s", text);
  g_assert_cmpuint (check->allocated, >, 0);
  g_assert_cmpuint (check->allocated, <=, check->units);
}

static void
test_clean (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *format, *options;
  } images[] = {
      {"qcow2", "compat=1.1"},
      {"qcow2", "compat=0.10"},
      {"qcow2", "cluster_size=512,refcount_bits=1"},
      {"qcow2", "cluster_size=4k,refcount_bits=64"},
      {"qcow2", "extended_l2=on,lazy_refcounts=on"},
      {"qcow2", "data_file=data,data_file_raw=on"},
      {"qcow2", "preallocation=metadata,cluster_size=2M"},
      {"vmdk", "subformat=monolithicSparse"},
      {"vmdk", "subformat=twoGbMaxExtentSparse"},
      {"vmdk", "zeroed_grain=on"},
      {"vpc", "subformat=dynamic"},
      {"vhdx", "subformat=dynamic,block_size=1M"},
      {"vhdx", "subformat=fixed"},
      {"vdi", "static=off"},
      {"vdi", "static=on"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (images); i++)
    {
      const char *format = images[i].format;

      run (f, "qemu-img create -q -f %s -o %s image 12M", format, images[i].options);
      scribble_zeros (f, "image", format, 11 * MIB, i, format[0] != 'q' || i == 1);
      expect_clean (f, "image");
    }
  /* It is known by its end alone. */
  run (f, "qemu-img create -q -f vpc -o subformat=fixed image.vhd 12M");
  expect (f, "image.vhd", CLEAN, "");
  /* All that a raw disk can be is readable. */
  run (f, "qemu-img create -q -f raw image 12M");
  expect (f, "image", CLEAN, "");
}

/* What only conversion makes, and more than one state in an image. */
static void
test_clean_more (Fixture *f, gconstpointer data)
{
  run (f, "qemu-img create -q -f qcow2 t 12M");
  scribble_zeros (f, "t", "qcow2", 12 * MIB, 1, FALSE);
  run (f, "qemu-img convert -t unsafe -f qcow2 -c -O qcow2 -o compression_type=zstd t c");
  expect_clean (f, "c");
  run (f, "qemu-img convert -t unsafe -f qcow2 -O vmdk -o subformat=streamOptimized t s");
  expect_clean (f, "s");
  run (f, "qemu-img snapshot -c one t");
  scribble_zeros (f, "t", "qcow2", 12 * MIB, 2, FALSE);
  run (f, "qemu-img snapshot -c two t");
  run (f, "qemu-img bitmap --add --enable t b0");
  scribble_zeros (f, "t", "qcow2", 12 * MIB, 3, FALSE);
  expect_clean (f, "t");
  run (f, "qemu-img snapshot -d one t");
  expect_clean (f, "t");
}

/* The image is open for reading only, and stays what it is. */
static void
test_never_written (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->folder, "t", NULL);
  g_autofree guint8 *before = NULL, *after = NULL;
  gsize size, size_after;

  run (f, "qemu-img create -q -f qcow2 t 12M");
  scribble_zeros (f, "t", "qcow2", 12 * MIB, 1, FALSE);
  before = load (f, "t", &size);
  before[size / 2] ^= 255;
  put_be (before + h2k_be64 (before + 48), 0, 8); /* the refcount table's first entry */
  save (f, "t", before, size);
  g_assert_cmpint (g_chmod (path, 0400), ==, 0);
  expect (f, "t", CORRUPT, "but a refcount of 0");
  after = load (f, "t", &size_after);
  g_assert_cmpmem (before, size, after, size_after);
}

/* --- damaged qcow2 ---------------------------------------------------------------------------- */

typedef struct
{
  guint8 *data;
  gsize size;
  guint64 cluster;
  GArray *places; /* guint64: where entries of tables are */
} Image;

static void
add_place (Image *image, guint64 at)
{
  g_array_append_val (image->places, at);
}

/* The entries of the refcount table, of the L1 table and of the L2 tables that are in use. */
static void
find_places (Image *image, guint entry_size)
{
  guint64 l1 = h2k_be64 (image->data + 40), entries = h2k_be32 (image->data + 36);

  add_place (image, h2k_be64 (image->data + 48));
  for (guint64 i = 0; i < entries; i++)
    {
      guint64 table = h2k_be64 (image->data + l1 + i * 8) & H2K_QCOW2_OFFSET_MASK;

      add_place (image, l1 + i * 8);
      for (guint64 at = table; table && at < table + image->cluster; at += entry_size)
        if (h2k_be64 (image->data + at))
          add_place (image, at);
    }
}

/* Change one entry, or one refcount, somehow. */
static void
damage (Image *image, GRand *rand)
{
  guint64 place
      = g_array_index (image->places, guint64, g_rand_int_range (rand, 0, (int)image->places->len));
  guint64 value = h2k_be64 (image->data + place);
  guint64 cluster = g_rand_int (rand) % (image->size / image->cluster) * image->cluster;
  guint64 block = h2k_be64 (image->data + h2k_be64 (image->data + 48));

  switch (g_rand_int_range (rand, 0, 6))
    {
    case 0:
      put_be (image->data + place, value ^ (guint64)1 << g_rand_int_range (rand, 0, 64), 8);
      break;
    case 1:
      put_be (image->data + place, (value & ~H2K_QCOW2_OFFSET_MASK) | cluster, 8);
      break;
    case 2:
      put_be (image->data + place, 0, 8);
      break;
    case 3:
      put_be (image->data + place, value ^ H2K_QCOW2_COPIED, 8);
      break;
    case 4:
      image->data[block + g_rand_int (rand) % 100] = (guint8)g_rand_int_range (rand, 0, 4);
      break;
    default:
      put_be (image->data + place, cluster | H2K_QCOW2_COPIED, 8);
    }
}

static void
compare_with_qemu (Fixture *f, const char *what, guint seed, guint *seen)
{
  g_autoptr (H2kCheck) check = h2k_check_new (), again = h2k_check_new ();
  g_autofree char *out = NULL, *text = NULL, *text_again = NULL;
  int theirs = qemu_verdict (f, "u", &out), ours = our_verdict (f, "u", check, &text), verdict;
  guint64 leaks = 0;
  char *at;

  if (theirs == REFUSED ? ours != REFUSED && ours != CORRUPT : ours != theirs)
    g_error ("%s, seed %u: qemu-img says %d: %s\nwe say %d: %s", what, seed, theirs, out, ours,
             text);
  seen[ours]++;
  if (theirs == LEAKS)
    {
      at = strstr (out, " leaked clusters");
      g_assert_nonnull (at);
      while (at > out && g_ascii_isdigit (at[-1]))
        at--;
      leaks = g_ascii_strtoull (at, NULL, 10);
      g_assert_cmpuint (check->leaks, ==, leaks);
    }
  /* The same in many passes. */
  h2k_qcow2_check_window = 5;
  verdict = our_verdict (f, "u", again, &text_again);
  g_assert_cmpint (verdict, ==, ours);
  h2k_qcow2_check_window = (guint64)1 << 24;
  g_assert_cmpuint (again->corruptions, ==, check->corruptions);
  g_assert_cmpuint (again->leaks, ==, check->leaks);
  g_assert_cmpuint (again->image_end, ==, check->image_end);
}

static void
test_damaged_qcow2 (Fixture *f, gconstpointer data)
{
  static const char *const options[]
      = {"compat=1.1", "compat=0.10", "cluster_size=4k,refcount_bits=32", "extended_l2=on"};
  guint seen[UNKNOWN] = {0};

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    {
      g_autoptr (GRand) rand = g_rand_new_with_seed (i);
      g_autofree guint8 *good = NULL;
      gsize size;

      run (f, "qemu-img create -q -f qcow2 -o %s t 12M", options[i]);
      run (f, "qemu-io -t unsafe -f qcow2 -c 'write -c -P 5 8M 1M' t");
      scribble_zeros (f, "t", "qcow2", 8 * MIB, i, i == 1);
      if (i == 2)
        {
          run (f, "qemu-img snapshot -c s t");
          scribble_zeros (f, "t", "qcow2", 8 * MIB, 100 + i, FALSE);
        }
      good = load (f, "t", &size);
      for (guint seed = 0; seed < 14; seed++)
        {
          g_autofree guint8 *copy = g_memdup2 (good, size);
          g_autoptr (GArray) places = g_array_new (FALSE, FALSE, sizeof (guint64));
          Image image = {copy, size, (guint64)1 << h2k_be32 (copy + 20), places};

          find_places (&image, i == 3 ? 16 : 8);
          damage (&image, rand);
          save (f, "u", copy, size);
          compare_with_qemu (f, options[i], seed, seen);
        }
    }
  g_assert_cmpuint (seen[CORRUPT], >, 20);
  g_assert_cmpuint (seen[LEAKS], >, 3);
}

static void
test_qcow2_findings (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  guint64 l1, l2, refcounts, old;
  gsize size;

  run (f, "qemu-img create -q -f qcow2 t 12M");
  run (f, "qemu-io -t unsafe -f qcow2 -c 'write 0 256k' t");
  image = load (f, "t", &size);
  l1 = h2k_be64 (image + 40);
  l2 = h2k_be64 (image + l1) & H2K_QCOW2_OFFSET_MASK;
  refcounts = h2k_be64 (image + h2k_be64 (image + 48));

  put_be (image + l2 + 12 * 8, H2K_QCOW2_COPIED | l1, 8);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "is used for different things");
  put_be (image + l2 + 12 * 8, 0, 8);

  old = h2k_be64 (image + l2);
  put_be (image + l2, 0, 8);
  save (f, "u", image, size);
  expect (f, "u", LEAKS, "has a refcount of 1, but 0 references");
  put_be (image + l2, old, 8);

  put_be (image + refcounts + 2 * (old << 8 >> 24), 0, 2);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "has 1 references, but a refcount of 0");
  put_be (image + refcounts + 2 * (old << 8 >> 24), 1, 2);

  put_be (image + l2, (guint64)1 << 40 | H2K_QCOW2_COPIED, 8);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "lies behind the end of the file");
  put_be (image + l2, old, 8);

  put_be (image + 72, H2K_QCOW2_CORRUPT, 8);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "marked as corrupt");
  put_be (image + 72, 0, 8);

  put_be (image + 48, 77, 8);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "the refcount table of 1 clusters at 77 is impossible");
}

/* --- the other formats ------------------------------------------------------------------------ */

static void
test_vdi (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  g_autofree char *out = NULL;
  guint32 map;
  gsize size;

  run (f, "qemu-img create -q -f vdi t 12M");
  run (f, "qemu-io -t unsafe -f vdi -c 'write 0 1M' -c 'write 3M 2M' t");
  image = load (f, "t", &size);
  map = h2k_le32 (image + 340);

  put_le (image + map + 4 * 4, 1, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "and so is another one");
  g_assert_cmpint (qemu_verdict (f, "u", &out), ==, CORRUPT);
  put_le (image + map + 4 * 4, 99, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "which is not there");
  g_assert_cmpint (qemu_verdict (f, "u", &out), ==, CORRUPT);
  put_le (image + map + 4 * 4, 0xffffffff, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "says that 3 blocks are allocated, but it is 2");
  g_assert_cmpint (qemu_verdict (f, "u", &out), ==, CORRUPT);
}

static void
test_vhd (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  guint32 bat = 1536, first;
  gsize size;

  run (f, "qemu-img create -q -f vpc t 12M");
  run (f, "qemu-io -t unsafe -f vpc -c 'write 0 1M' -c 'write 5M 2M' t");
  image = load (f, "t", &size);
  first = h2k_be32 (image + bat);
  g_assert_cmpuint (first, <, 100);

  put_be (image + bat + 4, first, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "overlaps another block");
  put_be (image + bat + 4, 2, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "overlaps another block, a header or the table");
  put_be (image + bat + 4, 100000, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "is not within the file's data");
  put_be (image + bat + 4, 0xffffffff, 4);
  image[40] ^= 1;
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "copy at the start is damaged");
  image[40] ^= 1;
  image[size - 512 + 40] ^= 1;
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "the footer is missing or damaged");
  image[size - 512 + 40] ^= 1;
  image[512 + 33] ^= 1;
  save (f, "u", image, size);
  expect (f, "u", REFUSED, "checksum of the dynamic disk header");
}

/* By the first entries of the region table. */
static guint64
find_bat (const guint8 *image)
{
  for (guint i = 0; i < 2; i++)
    {
      const guint8 *entry = image + 3 * 65536 + 16 + i * 32;
      if (h2k_le32 (entry) == 0x2dc27766)
        return h2k_le64 (entry + 16);
    }
  g_assert_not_reached ();
}

static void
test_vhdx (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL;
  g_autofree char *out = NULL;
  guint64 bat, first;
  gsize size;

  run (f, "qemu-img create -q -f vhdx -o block_size=1M t 12M");
  run (f, "qemu-io -t unsafe -f vhdx -c 'write 0 2M' t");
  image = load (f, "t", &size);
  bat = find_bat (image);
  first = h2k_le64 (image + bat);
  g_assert_cmpuint (first & 7, ==, 6);

  memcpy (image + bat + 8, image + bat, 8);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "overlaps another block");
  image[bat + 8 + 5] = 1; /* 1 TiB further */
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "does not lie within the file");
  g_assert_cmpint (qemu_verdict (f, "u", &out), !=, CLEAN);
  memset (image + bat + 8, 0, 8);
  image[bat + 8] = 5;
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "impossible state 5");
  image[bat + 8] = 0;
  image[4 * 65536 + 9] ^= 1;
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "region table's copy is damaged");
  image[4 * 65536 + 9] ^= 1;
  image[65536 + 100] ^= 1;
  save (f, "u", image, size);
  expect (f, "u", CLEAN, "note: one of the two headers");
}

static void
test_vmdk (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *image = NULL, *stream = NULL;
  g_autofree char *out = NULL;
  guint64 gt, rgt;
  guint32 grain;
  gsize size;

  run (f, "qemu-img create -q -f vmdk t 12M");
  run (f, "qemu-io -t unsafe -f vmdk -c 'write 0 1M' t");
  image = load (f, "t", &size);
  rgt = (guint64)h2k_le32 (image + h2k_le64 (image + 0x30) * 512) * 512;
  gt = (guint64)h2k_le32 (image + h2k_le64 (image + 0x38) * 512) * 512;
  grain = h2k_le32 (image + gt);

  put_le (image + gt + 4, grain, 4);
  put_le (image + rgt + 4, grain, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "overlaps something else");
  put_le (image + gt + 4, 1 << 30, 4);
  put_le (image + rgt + 4, 1 << 30, 4);
  put_le (image + gt + 8, 2, 4);
  put_le (image + rgt + 8, 2, 4);
  save (f, "u", image, size);
  expect (f, "u", REFUSED, "is not inside the file");
  g_assert_cmpint (qemu_verdict (f, "u", &out), !=, CLEAN);
  put_le (image + gt + 4, 0, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "and its redundant copy differ");
  put_le (image + rgt + 4, 0, 4);
  save (f, "u", image, size);
  expect (f, "u", CORRUPT, "grain 2 at sector 2");

  run (f, "qemu-img convert -t unsafe -f vmdk -O vmdk -o subformat=streamOptimized t s");
  stream = load (f, "s", &size);
  gt = (guint64)h2k_le32 (stream + h2k_le64 (stream + 0x38) * 512) * 512;
  grain = h2k_le32 (stream + gt + 4);
  stream[grain * 512 + 12 + 9] ^= 0xff;
  save (f, "u", stream, size);
  expect (f, "u", CORRUPT, "grain 1 (");
  expect (f, "u", CORRUPT, "be decompressed");
  stream[grain * 512 + 12 + 9] ^= 0xff;
  stream[grain * 512] ^= 1;
  save (f, "u", stream, size);
  expect (f, "u", CORRUPT, "the marker of another grain");
}

/* --- claims ----------------------------------------------------------------------------------- */

static void
test_claims (void)
{
  const guint64 far = (guint64)1 << 30;
  g_autoptr (H2kClaims) claims = h2k_claims_new (far * 2);
  guint found = 0, passes = 0;

  do
    {
      passes++;
      found += !h2k_claims_take (claims, 5, 20);
      found += !h2k_claims_take (claims, far - 3, 70);
      found += !h2k_claims_take (claims, far + 67, 1);
      found += !h2k_claims_take (claims, 25, 1000);
      found += !h2k_claims_take (claims, far * 2, 9);
      if (h2k_claims_first (claims))
        g_assert_false (h2k_claims_take (claims, 24, 1));
      else
        g_assert_false (h2k_claims_take (claims, far + 66, 9));
    }
  while (h2k_claims_next (claims));
  g_assert_cmpuint (passes, ==, 2);
  g_assert_cmpuint (found, ==, 0);
}

static void
test_errors (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kCheck) check = h2k_check_new ();
  g_autoptr (GError) error = NULL;

  g_assert_false (h2k_disk_check ("/nonexistent/image", NULL, check, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  save (f, "t.vmdk", "hello, this is no image, whatever its name may say", 50);
  expect (f, "t.vmdk", REFUSED, "is not a VMDK");
  for (guint i = 0; i < 2 * H2K_CHECK_FINDINGS; i++)
    h2k_check_corrupt (check, "%u", i);
  g_assert_cmpuint (check->findings->len, ==, H2K_CHECK_FINDINGS);
  g_assert_cmpuint (check->corruptions, ==, 2 * H2K_CHECK_FINDINGS);
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
  add ("/check/clean/by-qemu", test_clean);
  add ("/check/clean/converted-and-with-snapshots", test_clean_more);
  add ("/check/never-writes", test_never_written);
  add ("/check/qcow2/as-qemu-img", test_damaged_qcow2);
  add ("/check/qcow2/findings", test_qcow2_findings);
  add ("/check/vdi", test_vdi);
  add ("/check/vhd", test_vhd);
  add ("/check/vhdx", test_vhdx);
  add ("/check/vmdk", test_vmdk);
  g_test_add_func ("/check/claims/windows", test_claims);
  add ("/check/errors", test_errors);
  return g_test_run ();
}
