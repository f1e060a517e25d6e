/* test-usage-lvm.c - of an LVM2 physical volume, what no logical volume has is not in use, and of
 * ordinary logical volumes what their filesystems do not use.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../volume/lvm-images.h"
#include "images.h"

#include "fs/usage.h"

#define MIB ((guint64)1 << 20)
#define PE(n) (MIB + (guint64)(n)*4 * MIB)
#define N_PE 255u

static guint8
get_kind (H2kUsage *usage, guint64 offset, guint64 *length)
{
  g_autoptr (GError) error = NULL;
  H2kExtent extent;
  gboolean ok = usage->ops->used (usage, offset, &extent, &error);

  g_assert_no_error (error);
  g_assert_true (ok);
  g_assert_cmpuint (extent.offset, ==, offset);
  g_assert_cmpuint (extent.length, >, 0);
  g_assert_cmpuint (extent.length, <=, usage->volume->size - offset);
  if (length)
    *length = extent.length;
  return (guint8)extent.kind;
}

static H2kUsage *
open_usage (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  H2kUsage *usage = h2k_usage_open (disk, FALSE, &error);

  g_assert_no_error (error);
  return usage;
}

/* All of the range is of KIND. */
static void
assert_all (H2kUsage *usage, guint64 start, guint64 end, guint8 kind)
{
  for (guint64 at = start, length; at < end; at += length)
    g_assert_cmpint (get_kind (usage, at, &length), ==, kind);
}

/* The range of USAGE is as INNER says about itself from INNER_START on. */
static void
assert_same (H2kUsage *usage, guint64 start, guint64 end, H2kUsage *inner, guint64 inner_start)
{
  guint64 length = 0, inner_length = 0;

  for (guint64 at = start; at < end; at += MIN (length, inner_length))
    g_assert_cmpint (get_kind (usage, at, &length), ==,
                     get_kind (inner, at - start + inner_start, &inner_length));
}

static void
copy_in (H2kDisk *disk, guint64 offset, H2kDisk *from, guint64 start, guint64 length)
{
  g_autofree guint8 *buffer = g_malloc (65536);

  for (guint64 at = 0; at < length; at += 65536)
    {
      g_assert_true (h2k_disk_pread (from, start + at, 65536, buffer, NULL));
      if (!h2k_is_zero (buffer, 65536))
        g_assert_true (h2k_disk_pwrite (disk, offset + at, 65536, buffer, NULL));
    }
}

static H2kDisk *
make_xfs (const char *options)
{
  image_run (NULL, "rm -f @/xfs");
  g_assert_cmpint (image_run (NULL, "truncate -s 320M @/xfs"), ==, 0);
  g_assert_cmpint (image_run (NULL, "mkfs.xfs -q %s @/xfs", options), ==, 0);
  return image_load ("xfs");
}

static gboolean
have_tools (void)
{
  return image_have ("mke2fs") && image_have ("mkfs.xfs") && image_have ("mkswap");
}

/* The sample "linear" with a filesystem in each of the logical volumes but one: root is ext4 in two
 * pieces, data is XFS, swap_1 is swap. */
static H2kDisk *
make_system (void)
{
  H2kDisk *disk = lvm_load ("linear");
  g_autoptr (H2kDisk) ext = image_mke2fs ("-t ext4 -b 4096", "64M", TRUE);
  g_autoptr (H2kDisk) xfs = make_xfs ("");

  copy_in (disk, PE (0), ext, 0, 40 * MIB);
  copy_in (disk, PE (98), ext, 40 * MIB, 24 * MIB);
  copy_in (disk, PE (10), xfs, 0, 320 * MIB);
  image_run (NULL, "truncate -s 32M @/swap");
  g_assert_cmpint (image_run (NULL, "mkswap @/swap"), ==, 0);
  {
    g_autoptr (H2kDisk) swap = image_load ("swap");
    copy_in (disk, PE (90), swap, 0, 32 * MIB);
  }
  return disk;
}

static void
test_linear (void)
{
  g_autoptr (H2kDisk) disk = NULL, ext = NULL, xfs = NULL;
  g_autoptr (H2kUsage) usage = NULL, in_ext = NULL, in_xfs = NULL;
  guint64 length;

  if (!have_tools ())
    return;
  disk = make_system ();
  ext = image_load ("image");
  xfs = image_load ("xfs");
  usage = open_usage (disk);
  in_ext = open_usage (ext);
  in_xfs = open_usage (xfs);
  for (guint round = 0; round < 2; round++)
    {
      assert_all (usage, 0, PE (0), H2K_EXTENT_DATA);
      assert_same (usage, PE (98), PE (104), in_ext, 40 * MIB);
      assert_same (usage, PE (0), PE (10), in_ext, 0);
      assert_same (usage, PE (10), PE (90), in_xfs, 0);
      assert_all (usage, PE (90), PE (90) + 4096, H2K_EXTENT_DATA);
      assert_all (usage, PE (90) + 4096, PE (98), H2K_EXTENT_UNALLOCATED);
      assert_all (usage, PE (129), PE (133), H2K_EXTENT_DATA);
      /* Removed, and never used: one extent each. */
      g_assert_cmpint (get_kind (usage, PE (104), &length), ==, H2K_EXTENT_UNALLOCATED);
      g_assert_cmpuint (length, ==, PE (129) - PE (104));
      g_assert_cmpint (get_kind (usage, PE (133) + 7, &length), ==, H2K_EXTENT_UNALLOCATED);
      g_assert_cmpuint (length, ==, PE (N_PE) - PE (133) - 7);
      /* The second metadata area. */
      g_assert_cmpint (get_kind (usage, PE (N_PE), &length), ==, H2K_EXTENT_DATA);
      g_assert_cmpuint (length, ==, disk->size - PE (N_PE));
    }
}

/* Through the view the group and its filesystems are what they were. */
static void
test_view (void)
{
  g_autoptr (H2kDisk) disk = NULL, view = NULL;
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *junk = g_malloc (65536), *got = g_malloc (65536);
  guint64 data = 0;
  H2kExtent extent;

  if (!have_tools ())
    return;
  disk = make_system ();
  memset (junk, 0xa5, 65536);
  for (guint64 at = PE (104); at < PE (129); at += 65536)
    g_assert_true (h2k_disk_pwrite (disk, at, 65536, junk, NULL));
  view = h2k_used_view_new (disk, FALSE, notes, NULL);
  g_assert_cmpuint (notes->len, ==, 0);
  for (guint64 at = 0; at < view->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (view, at, view->size, &extent, NULL));
      data += extent.kind == H2K_EXTENT_DATA ? extent.length : 0;
    }
  g_assert_cmpuint (data, <, 100 * MIB);
  g_assert_true (h2k_disk_pread (view, PE (110), 65536, got, NULL));
  g_assert_true (h2k_is_zero (got, 65536));

  /* root, as a kernel would put it together, with what the view lets through. */
  {
    g_autoptr (H2kDisk) root = h2k_memory_disk_new (64 * MIB);
    copy_in (root, 0, view, PE (0), 40 * MIB);
    copy_in (root, 40 * MIB, view, PE (98), 24 * MIB);
    image_assert_clean (root);
  }
  if (image_have ("xfs_repair"))
    {
      g_autoptr (H2kDisk) xfs = h2k_memory_disk_new (320 * MIB);
      copy_in (xfs, 0, view, PE (10), 320 * MIB);
      image_save (xfs, "check");
      g_assert_cmpint (image_run (NULL, "xfs_repair -n @/check"), ==, 0);
    }
}

/* A small filesystem at each of the extents NUMBERS. */
static void
put_filesystems (H2kDisk *disk, const guint *numbers, guint n)
{
  g_autoptr (H2kDisk) ext = image_mke2fs ("-t ext4 -b 4096", "20M", FALSE);

  for (guint i = 0; i < n; i++)
    copy_in (disk, PE (numbers[i]), ext, 0, 20 * MIB);
}

/* What snapshots, pools, mirrors and moves are made of is never looked into, and their hidden
 * volumes' extents are in use. */
static void
test_kinds (gconstpointer name)
{
  static const guint starts[] = {0, 60, 70};
  g_autoptr (H2kDisk) disk = lvm_load (name);
  g_autoptr (H2kUsage) usage = NULL;
  gboolean moving = g_str_equal (name, "pvmove");

  if (!image_have ("mke2fs"))
    return;
  put_filesystems (disk, starts, G_N_ELEMENTS (starts));
  usage = open_usage (disk);
  assert_all (usage, 0, PE (17), H2K_EXTENT_DATA);
  assert_all (usage, PE (17), PE (19), H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (19), PE (28), H2K_EXTENT_DATA);
  assert_all (usage, PE (28), PE (40), H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (40), PE (50), moving ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (50), PE (60), H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (60) + 19 * MIB, PE (60) + 20 * MIB, H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (70), PE (78), H2K_EXTENT_DATA);
  assert_all (usage, PE (78), PE (N_PE), H2K_EXTENT_UNALLOCATED);
}

/* Volumes that other disks have a part of are in use where they are. */
static void
test_group (void)
{
  static const guint starts[] = {0, 10, 18};
  g_autoptr (H2kDisk) disk = lvm_load ("group"), second = lvm_load ("group-second");
  g_autoptr (H2kUsage) usage = NULL, on_second = NULL;

  if (!image_have ("mke2fs"))
    return;
  put_filesystems (disk, starts, G_N_ELEMENTS (starts));
  usage = open_usage (disk);
  assert_all (usage, PE (0) + 19 * MIB, PE (0) + 20 * MIB, H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (10), PE (23), H2K_EXTENT_DATA);
  assert_all (usage, PE (23), PE (N_PE), H2K_EXTENT_UNALLOCATED);
  on_second = open_usage (second);
  assert_all (on_second, 0, PE (13), H2K_EXTENT_DATA);
  assert_all (on_second, PE (13), PE (N_PE), H2K_EXTENT_UNALLOCATED);
}

/* A volume with partitions, one with a group of its own, and a filesystem that cannot be trusted
 * are in use; what is around them is not touched by that. */
static void
test_inside (void)
{
  static const guint8 partition[66] = {[4] = 0x83, [9] = 8, [13] = 64, [64] = 0x55, [65] = 0xaa};
  g_autoptr (H2kDisk) disk = NULL, group = lvm_load ("group");
  g_autoptr (H2kUsage) usage = NULL;

  if (!have_tools ())
    return;
  disk = make_system ();
  g_assert_true (h2k_disk_pwrite (disk, PE (0) + 446, sizeof partition, partition, NULL));
  g_assert_true (h2k_disk_pwrite (disk, PE (10) + 126, 1, "\1", NULL)); /* its checksum is wrong */
  copy_in (disk, PE (129), group, 0, MIB);
  usage = open_usage (disk);
  assert_all (usage, PE (0), PE (90), H2K_EXTENT_DATA);
  assert_all (usage, PE (98), PE (104), H2K_EXTENT_DATA);
  assert_all (usage, PE (90) + 4096, PE (98), H2K_EXTENT_UNALLOCATED);
  assert_all (usage, PE (129), PE (133), H2K_EXTENT_DATA);
  assert_all (usage, PE (104), PE (129), H2K_EXTENT_UNALLOCATED);
}

/* More filesystems than are kept open at once. */
static void
test_many (void)
{
  g_autoptr (H2kDisk) disk = lvm_load ("linear"), ext = NULL;
  g_autoptr (H2kUsage) usage = NULL, inner = NULL;
  g_autoptr (GString) lvs = g_string_new ("logical_volumes {\n");
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);

  if (!image_have ("mke2fs"))
    return;
  for (guint i = 0; i < 20; i++)
    g_string_append_printf (
        lvs,
        "v%u { id = \"%u\" status = [\"READ\", \"VISIBLE\"] flags = [] segment1 { start_extent = 0 "
        "extent_count = 5 type = \"striped\" stripe_count = 1 stripes = [\"pv0\", %u] } }\n",
        i, i, 20 + 7 * i);
  g_string_append (lvs, "}\nold {\n");
  lvm_edit (disk, LVM_FIRST_AREA, "logical_volumes {\n", lvs->str);
  lvm_edit (disk, LVM_SECOND_AREA, "logical_volumes {\n", lvs->str);
  ext = image_mke2fs ("-t ext4 -b 1024", "20M", TRUE);
  for (guint i = 0; i < 20; i++)
    copy_in (disk, PE (20 + 7 * i), ext, 0, 20 * MIB);
  usage = open_usage (disk);
  inner = open_usage (ext);
  for (guint i = 0; i < 60; i++)
    {
      guint lv = (guint)g_rand_int_range (rand, 0, 20);
      assert_same (usage, PE (20 + 7 * lv), PE (25 + 7 * lv), inner, 0);
      assert_all (usage, PE (25 + 7 * lv), PE (27 + 7 * lv), H2K_EXTENT_UNALLOCATED);
    }
}

/* --- doubt ------------------------------------------------------------------------------------ */

static void
assert_refused (H2kDisk *disk, const char *reason)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, &error);

  g_assert_null (usage);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  if (!strstr (error->message, reason))
    g_error ("'%s' does not say '%s'", error->message, reason);
}

static void
test_doubt (void)
{
  static const struct
  {
    const char *sample, *from, *to, *reason;
  } cases[] = {
      {"exported", NULL, NULL, "exported"},
      {"group", "flags = []\ndev_size", "flags = [\"MISSING\"]\ndev_size", "misses"},
      {"group", "status = [\"RESIZEABLE\"", "status = [\"PARTIAL\"", "misses"},
      {"kinds", "\"pv0\", 60", "\"pv0\", 69", "the same extents"},
      {"kinds", "\"pv0\", 60", "\"pv0\", 250", "not there"},
      {"kinds", "pe_count = 255", "pe_count = 256", "not where"},
      {"kinds", "pe_start = 2048", "pe_start = 2056", "not where"},
      {"kinds", "pe_start = 2048", "pe_start = 1024", "not where"},
  };
  g_autoptr (H2kDisk) damaged = lvm_load ("kinds"), areas = lvm_load ("linear"),
                      empty = lvm_load ("kinds"), other = lvm_load ("kinds");
  guint8 zeros[64] = {0};

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = lvm_load (cases[i].sample);
      if (cases[i].from)
        lvm_edit (disk, LVM_FIRST_AREA, cases[i].from, cases[i].to);
      assert_refused (disk, cases[i].reason);
    }
  g_assert_true (h2k_disk_pwrite (damaged, LVM_FIRST_AREA + 100, 1, "x", NULL));
  assert_refused (damaged, "no metadata");
  lvm_edit (areas, LVM_SECOND_AREA, "seqno = 8", "seqno = 9");
  assert_refused (areas, "do not agree");
  g_assert_true (h2k_disk_pwrite (empty, LVM_FIRST_AREA + 40, sizeof zeros, zeros, NULL));
  lvm_seal (empty, LVM_FIRST_AREA);
  assert_refused (empty, "no metadata");
  g_assert_true (h2k_disk_pwrite (other, 0, 4, "XFSB", NULL));
  assert_refused (other, "xfs");
}

static void
test_disk_error (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint n = 1;
  gboolean failed = TRUE;

  if (!have_tools ())
    return;
  disk = make_system ();
  /* Steps that grow, so that it does not take long. */
  for (; failed; n += 1 + n / 8)
    {
      g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, n);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kUsage) usage = h2k_usage_open (faulty, FALSE, &error);
      H2kExtent extent;
      for (guint64 at = 0; usage && at < disk->size; at += extent.length)
        if (!usage->ops->used (usage, at, &extent, &error))
          break;
      failed = error != NULL;
      if (failed)
        g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
    }
  g_assert_cmpuint (n, >, 50);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  image_make_tree ();
  g_test_add_func ("/lvm-usage/linear", test_linear);
  g_test_add_func ("/lvm-usage/view", test_view);
  g_test_add_data_func ("/lvm-usage/kinds", "kinds", test_kinds);
  g_test_add_data_func ("/lvm-usage/pvmove", "pvmove", test_kinds);
  g_test_add_func ("/lvm-usage/group", test_group);
  g_test_add_func ("/lvm-usage/inside", test_inside);
  g_test_add_func ("/lvm-usage/many", test_many);
  g_test_add_func ("/lvm-usage/doubt", test_doubt);
  g_test_add_func ("/lvm-usage/disk-error", test_disk_error);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
