/* test-identify.c - types, UUIDs and labels are those that blkid prints.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

typedef struct
{
  const char *name, *size, *program, *command;
} Sample;

/* "@" is the directory of the test, "%" of mke2fs and others stands for itself. */
static const Sample samples[] = {
    {"ext2", "8M", "mke2fs", "mke2fs -q -F -t ext2 -L root @/image"},
    {"ext3", "16M", "mke2fs", "mke2fs -q -F -t ext3 @/image"},
    {"ext4", "16M", "mke2fs", "mke2fs -q -F -t ext4 -L 'a b' @/image"},
    {"ext4-without-journal", "16M", "mke2fs", "mke2fs -q -F -t ext4 -O ^has_journal @/image"},
    {"journal-device", "16M", "mke2fs", "mke2fs -q -F -O journal_dev @/image"},
    {"swap-4k", "1M", "mkswap", "mkswap -L swap @/image"},
    {"swap-64k", "2M", "mkswap", "mkswap -p 65536 @/image"},
    {"xfs", "512M", "mkfs.xfs", "mkfs.xfs -q -f -L xlabel @/image"},
    {"btrfs", "256M", "mkfs.btrfs", "mkfs.btrfs -q -f -L 'label of btrfs' @/image"},
    {"fat12", "1M", "mkfs.fat", "mkfs.fat -F 12 -n TWELVE @/image"},
    {"fat16", "32M", "mkfs.fat", "mkfs.fat -F 16 -n SIXTEEN -i 0badcafe @/image"},
    {"fat32", "64M", "mkfs.fat", "mkfs.fat -F 32 -n EFI @/image"},
    {"fat32-4k-sectors", "512M", "mkfs.fat", "mkfs.fat -F 32 -S 4096 -n EFI4K @/image"},
    {"fat-without-label", "8M", "mkfs.fat", "mkfs.fat @/image"},
    {"ntfs", "8M", "mkntfs", "mkntfs -q -F -Q -L Windows @/image"},
    {"luks1", "4M", "cryptsetup",
     "cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 @/image @/key"},
    {"luks2", "32M", "cryptsetup",
     "cryptsetup -q luksFormat --type luks2 --label crypt --pbkdf pbkdf2 "
     "--pbkdf-force-iterations 1000 @/image @/key"},
    {"iso9660", "1M", "genisoimage", "genisoimage -quiet -V CDLABEL -o @/image @/tree"},
    {"joliet", "1M", "genisoimage", "genisoimage -quiet -J -V CDLABEL -o @/image @/tree"},
    {"nothing", "1M", "true", "true"},
};

/* The value of KEY in `blkid -p -o export`. */
static char *
value_of (const char *output, const char *key)
{
  g_auto (GStrv) lines = g_strsplit (output, "\n", -1);
  g_autofree char *prefix = g_strconcat (key, "=", NULL);

  for (guint i = 0; lines[i]; i++)
    if (g_str_has_prefix (lines[i], prefix))
      return g_strcompress (lines[i] + strlen (prefix));
  return g_strdup ("");
}

static void
assert_like_blkid (void)
{
  g_autofree char *output = NULL;
  g_autofree char *type = NULL;
  g_autofree char *uuid = NULL;
  g_autofree char *label = NULL;
  g_autoptr (H2kDisk) disk = image_load ("image");
  g_autoptr (GError) error = NULL;
  H2kFsId id;

  image_run (&output, "blkid -p -o export @/image");
  type = value_of (output, "TYPE");
  uuid = value_of (output, "UUID");
  label = value_of (output, "LABEL");
  h2k_fs_identify (disk, &id, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (id.type, ==, type);
  g_assert_cmpstr (id.uuid, ==, uuid);
  g_assert_cmpstr (id.label, ==, label);
}

static void
test_sample (gconstpointer data)
{
  const Sample *sample = data;
  g_autofree char *output = NULL;

  if (!image_have (sample->program) || !image_have ("blkid"))
    return;
  image_run (NULL, "rm -f @/image");
  image_run (NULL, "truncate -s %s @/image", sample->size);
  if (image_run (&output, "%s", sample->command) != 0)
    {
      g_test_skip (output);
      return;
    }
  assert_like_blkid ();
}

static void
put_le32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (p, &value, 4);
}

static void
save_with (guint64 size, guint64 at, const void *data, gsize length)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (size);

  g_assert_true (h2k_disk_pwrite (disk, at, length, data, NULL));
  image_save (disk, "image");
}

/* md's tool needs the kernel's driver; these are its superblocks by the book. */
static void
test_md (void)
{
  static const guint64 size = 16 << 20;
  const guint64 places[] = {size - 16 * 512, 0, 4096};
  guint8 sb[4096] = {0};

  if (!image_have ("blkid"))
    return;
  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      memset (sb, 0, sizeof sb);
      put_le32 (sb, 0xa92b4efc);
      put_le32 (sb + 4, 1);
      memcpy (sb + 16, "0123456789abcdef", 16);
      memcpy (sb + 32, "host:data", 9);
      put_le32 (sb + 144, (guint32)(places[i] / 512));
      save_with (size, places[i], sb, sizeof sb);
      assert_like_blkid ();
    }
  memset (sb, 0, sizeof sb);
  put_le32 (sb, 0xa92b4efc);
  put_le32 (sb + 8, 90);
  put_le32 (sb + 20, 0x01020304);
  for (guint i = 13; i < 16; i++)
    put_le32 (sb + 4 * i, 0x11223344 * (i - 12));
  save_with (size, size - 65536, sb, sizeof sb);
  assert_like_blkid ();
}

static void
test_lvm (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (4 << 20);
  guint8 label[512] = {0};
  H2kFsId id;

  memcpy (label, "LABELONE", 8);
  label[8] = 1;
  put_le32 (label + 20, 32);
  memcpy (label + 24, "LVM2 001", 8);
  memcpy (label + 32, "aBcDeF0123456789aBcDeF0123456789", 32);
  g_assert_true (h2k_disk_pwrite (disk, 512, sizeof label, label, NULL));
  g_assert_true (h2k_fs_identify (disk, &id, NULL));
  g_assert_cmpstr (id.type, ==, "LVM2_member");
  g_assert_cmpstr (id.uuid, ==, "aBcDeF-0123-4567-89aB-cDeF-0123-456789");
}

static void
test_suspended (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kFsId id;

  if (!image_have ("mkswap"))
    return;
  image_run (NULL, "rm -f @/image");
  image_run (NULL, "truncate -s 1M @/image");
  image_run (NULL, "mkswap -U 01234567-89ab-cdef-0123-456789abcdef @/image");
  disk = image_load ("image");
  g_assert_true (h2k_disk_pwrite (disk, 4086, 10, "S1SUSPEND\0", NULL));
  g_assert_true (h2k_fs_identify (disk, &id, NULL));
  g_assert_cmpstr (id.type, ==, "swap");
  g_assert_cmpstr (id.uuid, ==, "01234567-89ab-cdef-0123-456789abcdef");
}

/* Hostile labels reach terminals. */
static void
test_escaped (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kFsId id;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs ("-t ext4", "8M", FALSE);
  g_assert_true (h2k_disk_pwrite (disk, 1024 + 120, 8, "a\033[2J\xff\xfe!", NULL));
  g_assert_true (h2k_fs_identify (disk, &id, NULL));
  g_assert_null (strchr (id.label, '\033'));
  g_assert_true (g_utf8_validate (id.label, -1, NULL));
}

static void
test_tiny (void)
{
  for (guint64 size = 1; size < 70000; size = size * 3 / 2 + 1)
    {
      g_autoptr (H2kDisk) disk = h2k_memory_disk_new (size);
      H2kFsId id;
      g_assert_true (h2k_fs_identify (disk, &id, NULL));
      g_assert_cmpstr (id.type, ==, "");
    }
}

static void
test_fault (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (1 << 20);
  g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, 3);
  g_autoptr (GError) error = NULL;
  H2kFsId id;

  g_assert_false (h2k_fs_identify (faulty, &id, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
}

int
main (int argc, char **argv)
{
  g_autofree char *key = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  key = g_build_filename (image_dir (), "key", NULL);
  g_assert_true (g_file_set_contents (key, "secret", 6, NULL));
  image_make_tree ();
  for (gsize i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *name = g_strdup_printf ("/identify/%s", samples[i].name);
      g_test_add_data_func (name, &samples[i], test_sample);
    }
  g_test_add_func ("/identify/md", test_md);
  g_test_add_func ("/identify/lvm", test_lvm);
  g_test_add_func ("/identify/suspended", test_suspended);
  g_test_add_func ("/identify/escaped", test_escaped);
  g_test_add_func ("/identify/tiny", test_tiny);
  g_test_add_func ("/identify/fault", test_fault);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
