/* test-zfs-label.c - the labels of real pools, made by zfs-fuse: tests/fixtures/zfs/.
 *
 * Of the devices only the labels' pairs are there, all four of them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../packed.h"

#include "volume/zfs-label.h"

#define LABEL_SIZE ((guint64)256 << 10)
#define PAIRS_AT (16u << 10)
#define NAME_AT (PAIRS_AT + 0x4c) /* of the pool, in the fixtures' labels */

static H2kDisk *
disk_of (const char *pool, guint number)
{
  g_autofree char *file = g_strdup_printf ("disk%u.zst", number);

  return packed_disk ("zfs", pool, file);
}

static H2kZfsLabel *
read_label (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  H2kZfsLabel *label = h2k_zfs_label_read (disk, &error);

  g_assert_no_error (error);
  return label;
}

/* The labels of the disks of POOL whose numbers are the digits of NUMBERS. */
static GPtrArray *
labels_of (const char *pool, const char *numbers)
{
  GPtrArray *labels = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_zfs_label_free);

  for (; *numbers; numbers++)
    {
      g_autoptr (H2kDisk) disk = disk_of (pool, (guint)(*numbers - '0'));
      g_ptr_array_add (labels, read_label (disk));
    }
  return labels;
}

static void
test_mirror (void)
{
  g_autoptr (GPtrArray) labels = labels_of ("mirror", "12");
  const H2kZfsLabel *label = labels->pdata[0], *other = labels->pdata[1];

  g_assert_cmpstr (label->pool, ==, "tank");
  g_assert_cmpuint (label->version, ==, 23);
  g_assert_cmpint (label->state, ==, H2K_ZFS_ACTIVE);
  g_assert_cmpstr (h2k_zfs_state_name (label->state), ==, "active");
  g_assert_cmpstr (label->hostname, ==, "vm");
  g_assert_cmpuint (label->txg, ==, 4);
  g_assert_cmpuint (label->tops, ==, 1);
  g_assert_true (label->is_sound);
  g_assert_cmpuint (label->pool_guid, ==, other->pool_guid);
  g_assert_cmpuint (label->guid, !=, other->guid);
  g_assert_cmpstr (label->top->type, ==, "mirror");
  g_assert_cmpuint (label->top->guid, ==, label->top_guid);
  g_assert_cmpuint (label->top->children->len, ==, 2);
  g_assert_cmpstr (((H2kZfsVdev *)label->top->children->pdata[1])->path, ==, "/tmp/disks/b");
}

static void
test_exported (void)
{
  g_autoptr (GPtrArray) labels = labels_of ("raidz", "1");
  const H2kZfsLabel *label = labels->pdata[0];

  g_assert_cmpint (label->state, ==, H2K_ZFS_EXPORTED);
  g_assert_cmpstr (label->top->type, ==, "raidz");
  g_assert_cmpuint (label->top->parity, ==, 1);
}

static void
test_complete (void)
{
  static const struct
  {
    const char *pool, *disks, *missing;
  } cases[] = {
      {"mirror", "1", NULL},
      {"mirror", "2", NULL},
      {"raidz", "123", NULL},
      {"raidz", "13", NULL},
      {"raidz", "2", "/tmp/disks/c, /tmp/disks/e"},
      {"two", "12", NULL},
      {"two", "13", NULL},
      {"two", "1", "1 of the pool's 2 top-level devices"},
      {"two", "23", "1 of the pool's 2 top-level devices"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GPtrArray) labels = labels_of (cases[i].pool, cases[i].disks);
      g_autofree char *missing = NULL;
      gboolean complete = h2k_zfs_is_complete (labels, &missing);
      g_test_message ("%s %s", cases[i].pool, cases[i].disks);
      g_assert_cmpstr (missing, ==, cases[i].missing);
      g_assert_true (complete == !cases[i].missing);
    }
}

static void
overwrite (H2kDisk *disk, guint64 offset, gsize length, guint8 byte)
{
  g_autofree guint8 *bytes = g_malloc (length);

  memset (bytes, byte, length);
  g_assert_true (h2k_disk_pwrite (disk, offset, length, bytes, NULL));
}

/* Any one of the four is enough. */
static void
test_one_label_left (void)
{
  for (guint left = 0; left < 4; left++)
    {
      g_autoptr (H2kDisk) disk = disk_of ("mirror", 1);
      const guint64 places[]
          = {0, LABEL_SIZE, disk->size - 2 * LABEL_SIZE, disk->size - LABEL_SIZE};
      g_autoptr (H2kZfsLabel) label = NULL;
      for (guint i = 0; i < 4; i++)
        if (i != left)
          overwrite (disk, places[i], LABEL_SIZE, 0);
      label = read_label (disk);
      g_assert_nonnull (label);
      g_assert_true (label->is_sound);
      g_assert_cmpstr (label->pool, ==, "tank");
    }
}

/* The last label may not end with the device. */
static void
test_odd_size (void)
{
  g_autoptr (H2kDisk) disk = disk_of ("mirror", 1), odd = NULL;
  g_autoptr (H2kZfsLabel) label = NULL;

  overwrite (disk, 0, 2 * LABEL_SIZE, 0);
  odd = h2k_memory_disk_new (disk->size + 12345);
  for (guint64 at = disk->size - 2 * LABEL_SIZE; at < disk->size; at += LABEL_SIZE)
    {
      g_autofree guint8 *bytes = g_malloc (LABEL_SIZE);
      g_assert_true (h2k_disk_pread (disk, at, LABEL_SIZE, bytes, NULL));
      g_assert_true (h2k_disk_pwrite (odd, at, LABEL_SIZE, bytes, NULL));
    }
  label = read_label (odd);
  g_assert_cmpstr (label->pool, ==, "tank");
}

static void
test_damaged (void)
{
  g_autoptr (H2kDisk) disk = disk_of ("mirror", 1);
  g_autoptr (H2kZfsLabel) label = NULL, damaged = NULL;

  overwrite (disk, NAME_AT, 1, 'x');
  label = read_label (disk);
  g_assert_true (label->is_sound);
  g_assert_cmpstr (label->pool, ==, "tank");
  overwrite (disk, LABEL_SIZE, LABEL_SIZE, 0);
  overwrite (disk, disk->size - 2 * LABEL_SIZE, 2 * LABEL_SIZE, 0);
  damaged = read_label (disk);
  g_assert_false (damaged->is_sound);
  g_assert_nonnull (strchr (damaged->pool, 'x'));
}

static void
test_none (void)
{
  static const guint64 sizes[] = {1, 4096, LABEL_SIZE, 3 * LABEL_SIZE, 64 << 20};

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (H2kDisk) disk = h2k_memory_disk_new (sizes[i]);
      g_assert_null (read_label (disk));
    }
}

/* Lengths that lead beyond the pairs, behind each other, nowhere. */
static void
test_lengths (void)
{
  static const guint32 values[] = {0, 1, 7, 8, 12, 0x7fffffff, 0x80000000, 0xffffffff, 0x1c000};

  for (guint at = 12; at < 1400; at += 4)
    for (gsize i = 0; i < G_N_ELEMENTS (values); i++)
      {
        static H2kDisk *disk;
        guint32 value = GUINT32_TO_BE (values[i]), before;
        g_autoptr (H2kZfsLabel) label = NULL;
        if (!disk)
          {
            disk = disk_of ("mirror", 1);
            overwrite (disk, LABEL_SIZE, LABEL_SIZE, 0);
            overwrite (disk, disk->size - 2 * LABEL_SIZE, 2 * LABEL_SIZE, 0);
          }
        g_assert_true (h2k_disk_pread (disk, PAIRS_AT + at, 4, &before, NULL));
        g_assert_true (h2k_disk_pwrite (disk, PAIRS_AT + at, 4, &value, NULL));
        label = read_label (disk);
        g_assert_true (!label || !label->is_sound || before == value);
        g_assert_true (h2k_disk_pwrite (disk, PAIRS_AT + at, 4, &before, NULL));
        if (at + 4 >= 1400 && i + 1 == G_N_ELEMENTS (values))
          h2k_disk_unref (disk);
      }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/zfs-label/a mirror's label names pool, host and both devices", test_mirror);
  g_test_add_func ("/zfs-label/an exported pool says so", test_exported);
  g_test_add_func ("/zfs-label/which devices are enough for the pool", test_complete);
  g_test_add_func ("/zfs-label/one label of four is enough", test_one_label_left);
  g_test_add_func ("/zfs-label/the end of a device of odd size", test_odd_size);
  g_test_add_func ("/zfs-label/a label with a wrong checksum counts when there is no other",
                   test_damaged);
  g_test_add_func ("/zfs-label/what is none is no error", test_none);
  g_test_add_func ("/zfs-label/wrong lengths lead nowhere", test_lengths);
  return g_test_run ();
}
