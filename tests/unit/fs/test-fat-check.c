/* test-fat-check.c - the check of FAT volumes finds what `fsck.fat -n` finds in their chains.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/check.h"
#include "fs/fat-table.h"
#include "images.h"

#include <sys/stat.h>

static const char *const configs[] = {
    "-F 12 -s 4 -C @/image 4096",
    "-F 16 -s 4 -C @/image 16384",
    "-F 32 -s 1 -C @/image 40960",
};

static guint n_same, n_missed;

static void
put (H2kFs *fs, const char *path, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *data = g_strnfill (size, 'd');

  g_assert_true (fs->ops->create (fs, path, 0644, 0, 0, NULL, &error));
  g_assert_true (size == 0 || fs->ops->write (fs, path, 0, data, size, &error));
}

static H2kDisk *
make (const char *config)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mkfs.fat") || !image_have ("fsck.fat"))
    return NULL;
  image_run (NULL, "rm -f @/image");
  g_assert_cmpint (image_run (NULL, "mkfs.fat %s", config), ==, 0);
  disk = image_load ("image");
  fs = h2k_fs_open (disk, NULL);
  g_assert_nonnull (fs);
  put (fs, "/large", 100000);
  put (fs, "/empty", 0);
  g_assert_true (fs->ops->create (fs, "/sub", S_IFDIR | 0755, 0, 0, NULL, NULL));
  g_assert_true (fs->ops->create (fs, "/sub/lower", S_IFDIR | 0755, 0, 0, NULL, NULL));
  for (guint i = 0; i < 40; i++)
    {
      g_autofree char *path = g_strdup_printf ("/sub/lower/a file with a long name %u", i);
      put (fs, path, i * 700);
    }
  g_assert_true (fs->ops->remove (fs, "/sub/lower/a file with a long name 9", NULL));
  g_assert_true (fs->ops->flush (fs, NULL));
  return g_steal_pointer (&disk);
}

/* How many faults there are; those that keep it from being opened are one. */
static guint64
count_faults (H2kDisk *disk, char **summary)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 16 << 20);
  g_autoptr (H2kFs) fs = h2k_fs_open (overlay, &error);

  if (!fs)
    {
      *summary = g_strdup (error->message);
      return 1;
    }
  g_assert_true (h2k_fs_check (fs, result, NULL, &error));
  g_assert_true (result->checked);
  *summary = h2k_fs_check_summary (result);
  return result->corruptions;
}

static void
test_clean (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = make (data);
  g_autofree char *summary = NULL;

  if (!disk)
    return;
  image_save (disk, "check");
  g_assert_cmpint (image_run (NULL, "fsck.fat -n @/check"), ==, 0);
  count_faults (disk, &summary);
  g_assert_cmpstr (summary, ==, "");
}

/* Change an entry of the table, in both copies or in one. */
static void
damage (H2kDisk *disk, GRand *rand)
{
  g_autofree guint8 *window = g_malloc (H2K_FAT_WINDOW_BYTES);
  H2kFatLayout layout;
  guint64 at;
  gsize length;
  guint i = (guint)g_rand_int_range (rand, 2, 60), last;
  gboolean both = g_rand_boolean (rand);

  g_assert_true (h2k_fat_read_layout (disk, &layout, NULL));
  g_assert_true (h2k_fat_read_window (disk, &layout, 0, window, NULL, NULL));
  last = (guint)MIN (layout.end + 50, h2k_fat_ones (&layout));
  h2k_fat_set_entry (&layout, window, i,
                     g_rand_boolean (rand) ? (guint32)g_rand_int_range (rand, 0, 70)
                                           : (guint32)g_rand_int_range (rand, 2, (gint32)last));
  at = h2k_fat_window_at (&layout, 0, &length);
  for (guint copy = 0; copy < (both ? layout.copies : 1); copy++)
    g_assert_true (
        h2k_disk_pwrite (disk, layout.table + copy * layout.table_size + at, length, window, NULL));
}

static void
test_damage (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = make (data);
  g_autoptr (GRand) rand = g_rand_new_with_seed (g_str_hash (data));

  for (guint i = 0; disk && i < 25; i++)
    {
      g_autoptr (H2kDisk) copy = h2k_overlay_new (disk, NULL, 16 << 20);
      g_autofree char *output = NULL, *summary = NULL;
      gboolean wanted, found;

      damage (copy, rand);
      image_save (copy, "check");
      wanted = image_run (&output, "fsck.fat -n @/check") != 0;
      found = count_faults (copy, &summary) > 0;
      n_same += wanted == found;
      /* Clusters that belong to nothing are no fault here. */
      if (wanted && !found && !strstr (output, "Reclaimed") && !strstr (output, "length is >"))
        {
          n_missed++;
          g_test_message ("missed: %s", output);
        }
      if (found && !wanted)
        g_test_message ("false alarm: %s\n%s", summary, output);
      g_assert_false (found && !wanted);
    }
}

static void
test_agreement (void)
{
  g_test_message ("%u judged the same, %u missed", n_same, n_missed);
  if (n_same)
    g_assert_cmpuint (n_missed * 20, <=, n_same);
  else
    g_test_skip ("nothing was compared");
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *clean = g_strdup_printf ("/fs/fat-check/clean/%u", i);
      g_autofree char *chance = g_strdup_printf ("/fs/fat-check/damage/%u", i);
      g_test_add_data_func (clean, configs[i], test_clean);
      g_test_add_data_func (chance, configs[i], test_damage);
    }
  g_test_add_func ("/fs/fat-check-agreement/all", test_agreement);
  status = g_test_run ();
  image_cleanup ();
  return status;
}
