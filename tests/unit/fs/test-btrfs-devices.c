/* test-btrfs-devices.c - btrfs on several devices: whatever the profile and the order, files read
 * as the kernel reads them, with devices missing, damaged or behind as far as copies reach; copies
 * of the used blocks are as good as the originals, parity included.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "mounted.h"
#include "usages.h"

#include "fs/btrfs-devices.h"
#include "guest/guest.h"

#define SIZE (200u << 20)
#define MAX_DEVICES 4u
#define ALL ((1u << MAX_DEVICES) - 1)

static void
disk_unref (gpointer data)
{
  h2k_disk_unref (data);
}

static gboolean
have_tools (void)
{
  return image_have ("mkfs.btrfs") && image_have ("btrfs");
}

/* Which inode belongs to which subvolume is another test's matter. */
static void
assert_stat (const H2kStat *st, const struct stat *real)
{
  H2kStat bare = *st;

  bare.inode = real->st_ino;
  mounted_assert_stat (&bare, real);
}

/* --- devices ---------------------------------------------------------------------------------- */

/* "@/dev0", "@/dev1", ... with an empty filesystem. */
static void
make_devices (const char *options, guint n)
{
  g_autoptr (GString) names = g_string_new (NULL);

  image_dir ();
  for (guint i = 0; i < n; i++)
    {
      image_must_run ("rm -f @/dev%u", i);
      image_must_run ("truncate -s %u @/dev%u", SIZE + i * (8u << 20), i);
      g_string_append_printf (names, " @/dev%u", i);
    }
  image_must_run ("mkfs.btrfs -q -f %s%s", options, names->str);
}

/* Mount those of the N devices "@/NAME0", ... whose bits are in WHICH at "@/mnt". The test is
 * skipped where that cannot be done. */
static gboolean
mount_devices (const char *name, guint n, guint which, const char *options)
{
  g_autoptr (GString) loops = g_string_new (NULL), devices = g_string_new (NULL);
  g_autofree char *first = NULL;
  gboolean ok = mounted_allowed ();

  image_must_run ("mkdir -p @/mnt");
  image_run (NULL, "btrfs device scan --forget"); /* what was unmounted before */
  for (guint i = 0; ok && i < n; i++)
    {
      g_autofree char *output = NULL;

      if (!(which & 1u << i))
        continue;
      ok = image_run (&output, "losetup -f --show @/%s%u", name, i) == 0;
      if (!ok)
        break;
      g_strstrip (output);
      g_string_append_printf (loops, " %s", output);
      g_string_append_printf (devices, ",device=%s", output);
      if (!first)
        first = g_steal_pointer (&output);
    }
  ok = ok
       && image_run (NULL, "mount -t btrfs -o nodiscard,nobarrier%s%s %s @/mnt", options,
                     devices->str, first)
              == 0;
  /* They go when they are unmounted. */
  if (loops->len)
    image_must_run ("losetup -d%s", loops->str);
  if (!ok)
    g_test_skip ("this filesystem cannot be mounted here");
  return ok;
}

/* The devices of "@/NAME..." whose bits are in WHICH, the last one first. */
static GPtrArray *
open_devices (const char *name, guint n, guint which)
{
  GPtrArray *disks = g_ptr_array_new_with_free_func (disk_unref);

  for (guint i = n; i-- > 0;)
    if (which & 1u << i)
      {
        g_autofree char *file = g_strdup_printf ("%s%u", name, i);
        g_ptr_array_add (disks, image_open (file));
      }
  return disks;
}

/* All DISKS as one, the way that a driver gets it. */
static H2kDisk *
join (GPtrArray *disks)
{
  g_autoptr (GError) error = NULL;
  H2kBtrfsDevice device;
  H2kDisk *whole;

  h2k_btrfs_device_read (disks->pdata[0], &device, &error);
  g_assert_no_error (error);
  whole = h2k_btrfs_devices_new (disks, device.uuid, TRUE, &error);
  g_assert_no_error (error);
  return whole;
}

static H2kDisk *
join_devices (const char *name, guint n, guint which)
{
  g_autoptr (GPtrArray) disks = open_devices (name, n, which);

  return join (disks);
}

/* --- content ---------------------------------------------------------------------------------- */

/* Files in pieces, packed, small ones, and what is no longer used. WITH_UNSUMMED: also such without
 * checksums, of which nobody can tell whether they are right. */
static void
fill (gboolean with_unsummed)
{
  mounted_put ("junk", 0, 4000001, 0);
  image_must_run ("sync -f @/mnt");
  image_must_run ("rm @/mnt/junk");
  image_must_run ("sync -f @/mnt");
  mounted_put ("big", 0, 3000001, 0);
  mounted_put ("inline", 0, 1000, 0);
  mounted_put ("sparse", 3000001, 300000, 0);
  image_must_run ("mkdir @/mnt/packed @/mnt/many @/mnt/unsummed");
  image_must_run ("btrfs property set @/mnt/packed compression zstd");
  mounted_put ("packed/text", 0, 2000001, 11);
  for (guint i = 0; i < 120; i++)
    {
      g_autofree char *name = g_strdup_printf ("many/%03u", i);
      mounted_put (name, 0, i * 611, i % 3 ? i : 0);
    }
  image_must_run ("chattr +C @/mnt/unsummed");
  if (with_unsummed)
    mounted_put ("unsummed/file", 0, 700001, 0);
  /* Some sectors of rows are free again. */
  image_must_run ("sync -f @/mnt");
  image_must_run ("sh -c 'rm @/mnt/many/*[258]'");
}

typedef struct
{
  const char *options;
  guint n, spare; /* devices, and how many of these can be missing */
} Profile;

static const Profile profiles[] = {
    {"-d single -m raid1 --csum xxhash", 3, 0},
    {"-d raid0 -m raid0 -n 65536", 3, 0},
    {"-d raid1 -m raid1 -n 4096", 3, 1},
    {"--mixed -n 4096 -d raid1 -m raid1", 2, 1},
    {"-d raid1c4 -m raid1c3 --csum sha256", 4, 2},
    {"-d raid10 -m raid10", 4, 1},
    {"-d raid5 -m raid1", 3, 0},
    {"-d raid5 -m raid5", 2, 0},
    {"-d raid6 -m raid6", 4, 0},
};

static gboolean
has_parity (const Profile *profile)
{
  return strstr (profile->options, "raid5") || strstr (profile->options, "raid6");
}

/* Make the devices of PROFILE, and mount them for reading. */
static gboolean
prepare (const Profile *profile)
{
  if (!have_tools ())
    return FALSE;
  make_devices (profile->options, profile->n);
  if (!mount_devices ("dev", profile->n, ALL, ""))
    return FALSE;
  fill (profile->spare == 0);
  image_must_run ("umount @/mnt");
  return mount_devices ("dev", profile->n, ALL, ",ro,noatime");
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The error says which device would be needed, and how to give it. */
static void
assert_missing (const GError *error, const Profile *profile)
{
  int code = has_parity (profile) && error->code == H2K_ERROR_UNSUPPORTED ? H2K_ERROR_UNSUPPORTED
                                                                          : H2K_ERROR_SOURCE;

  g_assert_error (error, H2K_ERROR, code);
  if (!strstr (error->message, "device ") || !strstr (error->message, "(UUID ")
      || !strstr (error->message, "ive every disk"))
    g_error ("what is missing is not said: %s", error->message);
}

/* What can be read of a filesystem without some devices is right; the rest says what is missing.
 * Returns how much could not be read. */
static guint
read_rest (H2kDisk *disk, const Profile *profile)
{
  static const char *const names[] = {"big", "sparse", "packed/text", "inline"};
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, &error);
  guint failed = 0;

  if (!fs)
    {
      assert_missing (error, profile);
      return 1;
    }
  g_assert_nonnull (strstr (fs->note, "is on none of the disks"));
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *host = mounted_path (names[i]), *real = NULL;
      g_autofree char *path = g_strconcat ("/", names[i], NULL);
      g_autoptr (GBytes) bytes = NULL;
      gsize length;

      g_assert_true (g_file_get_contents (host, &real, &length, NULL));
      g_clear_error (&error);
      bytes = fs->ops->read (fs, path, 0, length, &error);
      if (bytes)
        g_assert_cmpmem (real, length, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
      else
        assert_missing (error, profile);
      failed += bytes == NULL;
    }
  return failed;
}

/* With one device less, or with as few as there have to be. */
static void
check_missing (const Profile *profile)
{
  guint failed = 0;

  for (guint i = 0; i < profile->n; i++)
    {
      guint lost = 0;
      g_autoptr (H2kDisk) disk = NULL;

      for (guint k = 0; k < MAX (profile->spare, 1); k++)
        lost |= 1u << (i + k) % profile->n;
      disk = join_devices ("dev", profile->n, ALL & ~lost);
      if (profile->spare == 0)
        failed += read_rest (disk, profile);
      else
        {
          g_autoptr (H2kFs) fs = image_open_fs (disk, "btrfs");
          g_autoptr (GError) error = NULL;

          g_assert_nonnull (strstr (fs->note, "is on none of the disks"));
          g_assert_nonnull (fs->frozen);
          g_assert_false (h2k_fs_check_writable (fs, &error));
          g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
          g_assert_nonnull (strstr (error->message, "is missing: give every disk"));
          g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
        }
    }
  g_assert_cmpint (failed > 0, ==, profile->spare == 0);
}

/* What is between the superblocks of a device is zeros: all of it is read from the others. */
static void
check_damaged (const Profile *profile)
{
  for (guint i = 0; i < profile->n; i += profile->n - 1)
    {
      g_autoptr (GPtrArray) disks = open_devices ("dev", profile->n, ALL);
      g_autoptr (H2kDisk) whole = NULL;
      g_autoptr (H2kFs) fs = NULL;

      for (guint k = 0; k < profile->spare; k++)
        {
          guint number = (i + k) % disks->len;
          H2kDisk *disk = disks->pdata[number];
          H2kDisk *damaged = h2k_overlay_new (disk, NULL, 1u << 20);

          g_assert_true (h2k_disk_zero (damaged, 1u << 20, 63u << 20, NULL));
          g_assert_true (
              h2k_disk_zero (damaged, (64u << 20) + 65536, disk->size - (64u << 20) - 65536, NULL));
          h2k_disk_unref (disk);
          disks->pdata[number] = damaged;
        }
      whole = join (disks);
      fs = image_open_fs (whole, "btrfs");
      g_assert_null (fs->note);
      g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
    }
}

/* --- copying ---------------------------------------------------------------------------------- */

/* "@/copy0", ... are the used blocks of "@/dev0", ... */
static void
copy_used (const Profile *profile)
{
  g_autoptr (GPtrArray) disks = open_devices ("dev", profile->n, ALL);
  g_autoptr (H2kDisk) whole = join (disks);
  g_autoptr (H2kDisk) copy = NULL;
  guint64 in_use, at = 0;

  copy = usage_copy (whole, FALSE, &in_use);
  g_assert_cmpuint (in_use, <, (14u << 20) * profile->n);
  for (guint i = 0; i < disks->len; i++)
    {
      H2kDisk *disk = disks->pdata[i];
      g_autoptr (H2kDisk) part = h2k_slice_new (copy, at, disk->size, "part", NULL);
      g_autofree char *name = g_strdup_printf ("copy%u", profile->n - 1 - i);

      image_save (part, name);
      at += disk->size;
    }
}

/* The copies have all the files, in all their mirrors and by parity. FS: the originals. */
static void
check_copies (const Profile *profile, H2kFs *fs)
{
  guint lost = strstr (profile->options, "-d raid6") ? 2
               : has_parity (profile)                ? 1
                                                     : profile->spare;

  g_assert_true (mount_devices ("copy", profile->n, ALL, ",ro,noatime"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
  image_must_run ("btrfs scrub start -B -r @/mnt");
  image_must_run ("umount @/mnt");
  for (guint i = 0; lost && i < profile->n; i += profile->n - 1)
    {
      guint without = 1u << i | 1u << (i + lost - 1) % profile->n;

      g_assert_true (mount_devices ("copy", profile->n, ALL & ~without, ",ro,degraded,noatime"));
      g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
      image_must_run ("umount @/mnt");
    }
}

static void
test_profile (gconstpointer data)
{
  const Profile *profile = data;
  g_autoptr (H2kDisk) whole = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!prepare (profile))
    return;
  whole = join_devices ("dev", profile->n, ALL);
  fs = image_open_fs (whole, "btrfs");
  g_assert_null (fs->note);
  g_assert_null (fs->frozen);
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
  check_missing (profile);
  if (profile->spare)
    check_damaged (profile);
  image_must_run ("umount @/mnt");
  copy_used (profile);
  check_copies (profile, fs);
  for (guint i = 0; i < profile->n; i++)
    image_must_run ("rm @/dev%u @/copy%u", i, i);
}

/* --- other states ----------------------------------------------------------------------------- */

/* A device that was away while its mirror was written is read last, and nothing is written before
 * they are made the same. */
static void
check_behind (guint behind)
{
  guint there = ALL & ~(1u << behind);
  g_autoptr (H2kDisk) whole = NULL;
  g_autoptr (H2kFs) fs = NULL;

  make_devices ("-d raid1 -m raid1", 2);
  if (!mount_devices ("dev", 2, ALL, ""))
    return;
  fill (TRUE);
  image_must_run ("umount @/mnt");
  for (guint i = 0; i < 2; i++)
    {
      g_assert_true (mount_devices ("dev", 2, there, ",degraded"));
      mounted_put ("unsummed/file", 100000 * i, 50000, 3);
      mounted_put ("big", 2000000 * i, 50000, 3);
      image_must_run ("sync -f @/mnt");
      mounted_put ("unsummed/file", 300000 + 100000 * i, 50000, 3);
      image_must_run ("umount @/mnt");
    }
  g_assert_true (mount_devices ("dev", 2, there, ",ro,degraded,noatime"));
  whole = join_devices ("dev", 2, ALL);
  fs = image_open_fs (whole, "btrfs");
  g_assert_nonnull (strstr (fs->note, "was away while"));
  g_assert_nonnull (strstr (fs->frozen, "scrub"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
  image_must_run ("umount @/mnt");
  usage_assert_refused (whole, "is behind its other devices");
}

static void
test_behind (void)
{
  if (!have_tools ())
    return;
  for (guint i = 0; i < 2; i++)
    check_behind (i);
}

/* A device that is there twice: nobody knows which one is meant. */
static void
test_twins (void)
{
  g_autoptr (GPtrArray) disks = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) whole = NULL;
  g_autoptr (H2kStack) stack = NULL;
  const H2kNode *node;

  if (!have_tools ())
    return;
  make_devices ("-d raid1 -m raid1", 2);
  disks = open_devices ("dev", 2, ALL);
  g_ptr_array_add (disks, image_open ("dev1"));
  whole = join (disks);
  g_assert_null (h2k_fs_open (whole, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (error->message, "device 2 of it is there more than once"));
  g_clear_error (&error);
  stack = h2k_stack_new (disks, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (stack->nodes->len, ==, 4);
  node = stack->nodes->pdata[3];
  g_assert_true (node->kind == H2K_NODE_BTRFS);
  g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (node->problem->message, "on disk 1 and on disk 3"));
}

/* A seed device is read and not written; what grew out of it is refused. */
static void
test_seed (void)
{
  g_autofree char *loop = NULL;
  g_autoptr (H2kDisk) seed = NULL;
  g_autoptr (H2kDisk) sprout = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools () || !image_have ("btrfstune"))
    return;
  make_devices ("-d single -m dup", 1);
  if (!mount_devices ("dev", 1, ALL, ""))
    return;
  fill (FALSE);
  image_must_run ("umount @/mnt");
  image_must_run ("btrfstune -S 1 @/dev0");
  seed = image_open ("dev0");
  fs = image_open_fs (seed, "btrfs");
  g_assert_null (fs->note);
  g_assert_false (h2k_fs_check_writable (fs, &error));
  g_assert_nonnull (strstr (error->message, "seed device"));
  g_clear_error (&error);
  usage_assert_refused (seed, "flags");

  image_must_run ("rm -f @/dev1");
  image_must_run ("truncate -s %u @/dev1", SIZE);
  g_assert_true (mount_devices ("dev", 1, 1, ",noatime"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
  g_assert_cmpint (image_run (&loop, "losetup -f --show @/dev1"), ==, 0);
  image_must_run ("btrfs device add -f -K %s @/mnt", g_strstrip (loop));
  image_must_run ("mount -o remount,rw @/mnt");
  mounted_put ("new", 0, 100000, 0);
  image_must_run ("umount @/mnt");
  image_must_run ("losetup -d %s", loop);
  sprout = image_open ("dev1");
  g_assert_null (h2k_fs_open (sprout, &error));
  if (!strstr (error->message, "seed device"))
    g_error ("%s", error->message);
}

/* The id of the tree blocks is not that of the filesystem any more. */
static void
test_metadata_uuid (void)
{
  static const Profile profile = {"-d raid0 -m raid1", 2, 0};
  g_autoptr (H2kDisk) whole = NULL;
  g_autofree char *loops = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint64 in_use;

  if (!image_have ("btrfstune") || !prepare (&profile))
    return;
  image_must_run ("umount @/mnt");
  g_assert_cmpint (image_run (&loops, "sh -c 'losetup -f --show @/dev0; losetup -f --show @/dev1'"),
                   ==, 0);
  g_strdelimit (g_strstrip (loops), "\n", ' ');
  image_must_run (
      "sh -c 'for d in %s; do btrfs device scan -q $d; last=$d; done; btrfstune -f -m $last'",
      loops);
  image_must_run ("losetup -d %s", loops);
  whole = join_devices ("dev", 2, ALL);
  fs = image_open_fs (whole, "btrfs");
  g_assert_true (mount_devices ("dev", 2, ALL, ",ro,noatime"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 80);
  image_must_run ("umount @/mnt");
  h2k_disk_unref (usage_copy (whole, FALSE, &in_use));
  g_assert_cmpuint (in_use, <, 20u << 20);
}

/* --- guests ----------------------------------------------------------------------------------- */

#define START (1u << 20)

/* DISK as the first partition of an MBR. */
static H2kDisk *
put_into_partition (H2kDisk *disk)
{
  H2kDisk *whole = h2k_memory_disk_new (START + disk->size);
  g_autofree guint8 *block = g_malloc (1u << 20);
  guint32 start = GUINT32_TO_LE (START / 512), length = GUINT32_TO_LE ((guint32)(disk->size / 512));
  guint8 mbr[512] = {[446 + 4] = 0x83, [510] = 0x55, [511] = 0xaa};

  memcpy (mbr + 446 + 8, &start, 4);
  memcpy (mbr + 446 + 12, &length, 4);
  g_assert_true (h2k_disk_pwrite (whole, 0, sizeof mbr, mbr, NULL));
  for (guint64 at = 0; at < disk->size; at += 1u << 20)
    {
      gsize n = (gsize)MIN (1u << 20, disk->size - at);

      g_assert_true (h2k_disk_pread (disk, at, n, block, NULL));
      if (!h2k_is_zero (block, n))
        g_assert_true (h2k_disk_pwrite (whole, START + at, n, block, NULL));
    }
  return whole;
}

/* A system on two devices, the second one of which is a partition. */
static GPtrArray *
make_guest (const char *options)
{
  g_autofree char *all = g_strdup_printf ("-L pool %s", options);
  GPtrArray *disks;
  H2kDisk *second;

  if (!have_tools ())
    return NULL;
  make_devices (all, 2);
  if (!mount_devices ("dev", 2, ALL, ""))
    return NULL;
  image_must_run ("btrfs -q subvolume create @/mnt/root");
  image_must_run ("mkdir -p @/mnt/root/etc @/mnt/root/usr/bin @/mnt/root/data");
  image_must_run ("ln -s usr/bin @/mnt/root/bin");
  image_must_run ("sh -c 'echo root:x:0:0::/:/bin/sh > @/mnt/root/etc/passwd'");
  image_must_run ("sh -c 'printf \"ID=debian\\nPRETTY_NAME=\\\"Debian on two\\\"\\n\" > "
                  "@/mnt/root/etc/os-release'");
  image_must_run ("sh -c 'echo LABEL=pool / btrfs subvol=root 0 0 > @/mnt/root/etc/fstab'");
  mounted_put ("root/data/file", 0, 3000000, 0);
  image_must_run ("umount @/mnt");
  disks = open_devices ("dev", 2, 1);
  second = image_open ("dev1");
  g_ptr_array_add (disks, put_into_partition (second));
  h2k_disk_unref (second);
  return disks;
}

static H2kGuest *
open_guest (GPtrArray *disks, GError **error)
{
  const H2kGuestOptions options = {.backend = H2K_BACKEND_NATIVE};

  return h2k_guest_open (disks, &options, error);
}

/* The filesystem is one volume, whichever of its names is used, and inspect says what it lies on.
 */
static void
test_guest (void)
{
  static const char *const names[]
      = {"LABEL=pool", "/dev/disk/by-label/pool", "/dev/sda", "/dev/sdb1", "/dev/vdb1"};
  g_autoptr (GPtrArray) disks = make_guest ("-d raid0 -m raid1");
  g_autoptr (H2kGuest) guest = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *json = NULL, *text = NULL, *uuid = NULL;
  guint n_open = 0;

  if (!disks)
    return;
  guest = open_guest (disks, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (guest->pretty_name, ==, "Debian on two");
  g_assert_true (guest->root->node->kind == H2K_NODE_BTRFS);
  g_assert_cmpuint (guest->root->disk, ==, 0);
  uuid = g_strconcat ("UUID=", guest->root->id.uuid, NULL);
  g_assert_true (h2k_guest_find_volume (guest, uuid, NULL) == guest->root);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_assert_true (h2k_guest_find_volume (guest, names[i], NULL) == guest->root);
  for (guint i = 0; i < guest->volumes->len; i++)
    n_open += ((const H2kGuestVolume *)guest->volumes->pdata[i])->fs != NULL;
  g_assert_cmpuint (n_open, ==, 1);
  g_assert_true (h2k_tree_is_file (guest->tree, "/data/file"));
  json = h2k_guest_to_json (guest);
  text = h2k_guest_to_text (guest);
  g_assert_nonnull (strstr (json, "\"kind\" : \"btrfs\""));
  g_assert_nonnull (strstr (json, "\"disk 2, partition 1\""));
  g_assert_nonnull (strstr (text, "2 of 2 devices"));
  g_assert_nonnull (strstr (text, "disk 1; disk 2, partition 1"));
  g_assert_cmpuint (guest->warnings->len, ==, 0);
}

/* A byte a sector of VIEW: 1 where it has data. */
static guint8 *
data_map (H2kDisk *view, guint64 *sum)
{
  guint8 *map = g_malloc0 (view->size / 4096 + 1);
  H2kExtent extent;

  *sum = 0;
  for (guint64 at = 0; at < view->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (view, at, view->size, &extent, NULL));
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      memset (map + at / 4096, 1, (at % 4096 + extent.length + 4095) / 4096);
      *sum += extent.length;
    }
  return map;
}

/* The view of disk number I, which becomes "@/copyI". */
static void
check_view (GPtrArray *disks, guint i)
{
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) view = h2k_used_view_of (disks, i, FALSE, notes, &error);
  g_autoptr (H2kDisk) part = NULL;
  g_autoptr (H2kDisk) alone = NULL;
  g_autofree char *name = g_strdup_printf ("copy%u", i);
  g_autofree guint8 *map = NULL, *map_alone = NULL;
  guint64 sum, sum_alone;

  g_assert_no_error (error);
  map = data_map (view, &sum);
  g_assert_cmpuint (sum, <, 5u << 20);
  part = i ? h2k_slice_new (view, START, view->size - START, "part", NULL) : h2k_disk_ref (view);
  image_save (part, name);
  /* Without the others, what is not known is in use, too. */
  alone = h2k_used_view_new (disks->pdata[i], FALSE, notes, &error);
  g_assert_no_error (error);
  map_alone = data_map (alone, &sum_alone);
  g_assert_cmpuint (sum_alone, >=, sum);
  for (guint64 k = 0; k < view->size / 4096; k++)
    g_assert_cmpuint (map_alone[k], >=, map[k]);
  if (notes->len)
    g_assert_nonnull (strstr (notes->pdata[0], "is on none of the disks"));
}

/* Each disk of a guest is copied without what is not in use, its other disks being looked at. */
static void
test_views (void)
{
  g_autoptr (GPtrArray) disks = make_guest ("-d raid0 -m raid0");
  g_autoptr (H2kDisk) whole = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!disks)
    return;
  for (guint i = 0; i < disks->len; i++)
    check_view (disks, i);
  whole = join_devices ("dev", 2, ALL);
  fs = image_open_fs (whole, "btrfs");
  g_assert_true (mount_devices ("copy", 2, ALL, ",noatime"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 5);
  image_must_run ("btrfs scrub start -B @/mnt");
  image_must_run ("umount @/mnt");
}

/* Without one of its disks a mirrored guest can be looked at, and not be changed; another one
 * cannot, and what is missing is said. */
static void
test_guest_missing (void)
{
  g_autoptr (GPtrArray) disks = make_guest ("-d raid1 -m raid1");
  g_autoptr (GBytes) text = g_bytes_new_static ("changed\n", 8);
  g_autoptr (GPtrArray) left = g_ptr_array_new_with_free_func (disk_unref);
  g_autoptr (H2kGuest) guest = NULL;
  g_autoptr (GError) error = NULL;

  if (!disks)
    return;
  g_ptr_array_add (left, h2k_overlay_new (disks->pdata[1], NULL, 1u << 20));
  guest = open_guest (left, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (guest->warnings->len, ==, 1);
  g_assert_nonnull (strstr (guest->warnings->pdata[0], "device 1 (UUID "));
  g_assert_false (h2k_tree_write (guest->tree, "/etc/hostname", text, 0644, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "device 1 (UUID "));
  g_clear_error (&error);
  g_clear_pointer (&guest, h2k_guest_free);

  g_ptr_array_unref (disks);
  disks = make_guest ("-d single -m raid0");
  g_ptr_array_remove_index (disks, 0);
  g_assert_null (open_guest (disks, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "device 1 (UUID "));
  g_assert_nonnull (strstr (error->message, "ive every disk"));
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (profiles); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/btrfs-devices/%s on %u", profiles[i].options, profiles[i].n);
      g_test_add_data_func (name, &profiles[i], test_profile);
    }
  g_test_add_func ("/btrfs-devices/behind", test_behind);
  g_test_add_func ("/btrfs-devices/twins", test_twins);
  g_test_add_func ("/btrfs-devices/seed", test_seed);
  g_test_add_func ("/btrfs-devices/metadata-uuid", test_metadata_uuid);
  g_test_add_func ("/btrfs-devices/guest", test_guest);
  g_test_add_func ("/btrfs-devices/views", test_views);
  g_test_add_func ("/btrfs-devices/guest-missing", test_guest_missing);
  result = g_test_run ();
  mounted_cleanup ();
  image_cleanup ();
  return result;
}
