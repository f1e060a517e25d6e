/* test-ext-check.c - the check of ext2, ext3 and ext4 finds what `e2fsck -fn` finds.
 *
 * Filesystems of many kinds, whole and damaged by chance and by debugfs, are given to both. What
 * e2fsck calls clean must be clean. H2K_CHECK_ROUNDS multiplies how many are damaged.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/check.h"
#include "images.h"

#include <glib/gstdio.h>

static const char *const configs[] = {
    "-t ext4 -b 4096",
    "-t ext4 -b 1024",
    "-t ext4 -b 1024 -N 600 -O ^metadata_csum,^64bit",
    "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg",
    "-t ext4 -b 4096 -O metadata_csum_seed -I 512",
    "-t ext4 -b 4096 -O inline_data",
    "-t ext4 -b 1024 -O inline_data,^metadata_csum",
    "-t ext4 -b 4096 -O bigalloc -C 16384",
    "-t ext4 -b 1024 -O bigalloc,^metadata_csum -C 8192",
    "-t ext4 -b 4096 -O ea_inode,large_dir,encrypt",
    "-t ext4 -b 1024 -O casefold,project,quota",
    "-t ext4 -b 1024 -O ^flex_bg,^resize_inode,meta_bg -g 1024",
    "-t ext4 -b 1024 -O ^has_journal,^extents,^64bit,^metadata_csum -g 2048",
    "-t ext4 -b 2048 -O mmp,verity,stable_inodes",
    "-t ext4 -b 4096 -I 128 -O ^metadata_csum",
    "-t ext4 -b 1024 -O orphan_file,fast_commit,sparse_super2",
    "-t ext3 -b 4096",
    "-t ext3 -b 1024 -O dir_index",
    "-t ext2 -b 4096",
    "-t ext2 -b 1024 -O none",
};

static GHashTable *made; /* H2kDisk by its configuration */
static guint n_same, n_missed, n_false, n_clean;

/* Directories that are flat, deep and indexed; files with holes, links, devices and attributes. */
static void
populate (void)
{
  g_autofree char *big = g_strnfill (300000, 'b');
  g_autofree char *at = g_build_filename (image_dir (), "tree", NULL);

  image_run (NULL, "rm -rf @/tree");
  image_run (NULL, "mkdir -p @/tree/flat @/tree/a/b/c/d/e/f @/tree/empty @/tree/etc");
  for (guint i = 0; i < 400; i++)
    {
      g_autofree char *path
          = g_strdup_printf ("%s/flat/a-file-with-a-name-of-some-length-%u", at, i * 7919 % 1000);
      g_assert_true (g_file_set_contents (path, path, i % 30, NULL));
    }
  for (guint i = 0; i < 40; i++)
    {
      g_autofree char *path = g_strdup_printf ("%s/a/b/dir%u", at, i);
      g_mkdir (path, 0755);
    }
  for (guint i = 0; i < 5; i++)
    {
      g_autofree char *path = g_strdup_printf ("%s/etc/file%u", at, i);
      g_assert_true (g_file_set_contents (path, big, 300000 >> (2 * i), NULL));
    }
  image_run (NULL, "dd if=@/tree/etc/file0 of=@/tree/etc/sparse bs=1k seek=20000 count=50");
  image_run (NULL,
             "dd if=@/tree/etc/file0 of=@/tree/etc/sparse bs=1k seek=500 conv=notrunc count=3");
  image_run (NULL, "ln -s file1 @/tree/etc/short");
  image_run (NULL, "ln -s %0200d @/tree/etc/long", 7);
  image_run (NULL, "ln @/tree/etc/file2 @/tree/etc/hard");
  image_run (NULL, "mkfifo @/tree/etc/fifo");
}

/* The image "@/image" with attributes, which mke2fs leaves out, and an index. */
static void
finish (void)
{
  g_autofree char *script = g_build_filename (image_dir (), "script", NULL);
  g_autofree char *value = g_strnfill (300, 'v');
  g_autofree char *text
      = g_strdup_printf ("ea_set /etc/file1 user.small x\nea_set /etc/file2 user.large %s\n"
                         "ea_set /etc/file3 security.selinux system_u:object_r:etc_t:s0\n"
                         "ea_set /a user.large %s\nmknod /etc/null c 1 3\n",
                         value, value);

  g_assert_true (g_file_set_contents (script, text, -1, NULL));
  image_run (NULL, "debugfs -w -f @/script @/image");
  image_run (NULL, "e2fsck -fyD @/image");
}

/* What is said about the filesystem on DISK; NULL: nothing. The caller's. */
static char *
check (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 16 << 20);
  g_autoptr (H2kFs) fs = h2k_fs_open (overlay, error);
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();

  if (!fs || !h2k_fs_check (fs, result, NULL, error))
    return NULL;
  g_assert_true (result->checked);
  g_assert_cmpuint (result->findings->len, ==, MIN (result->corruptions, H2K_FS_CHECK_FINDINGS));
  for (guint i = 0; i < result->findings->len; i++)
    g_assert_true (g_utf8_validate (result->findings->pdata[i], -1, NULL));
  if (result->corruptions)
    return h2k_fs_check_summary (result);
  return result->notes ? g_strconcat ("note: ", result->remarks->pdata[0], NULL) : NULL;
}

/* Both look at DISK. WHAT was done to it. */
static void
compare (H2kDisk *disk, const char *config, const char *what)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *said = NULL, *output = NULL;
  gboolean found, wanted;

  image_save (disk, "check");
  /* With -n it ends well after some faults, which it has named. */
  wanted = image_run (&output, "e2fsck -fn @/check") != 0 || strstr (output, "? no")
           || strstr (output, "IGNORED");
  said = check (disk, &error);
  found = said || error;
  n_same += found == wanted;
  n_clean += !wanted;
  n_missed += wanted && !found;
  n_false += found && !wanted;
  if (wanted && !found && g_getenv ("H2K_CHECK_ROUNDS"))
    g_test_message ("missed (%s): %s: %s", config, what, output);
  if (found && !wanted)
    {
      g_test_message ("%s: %s: %s\n%s", config, what, said ? said : error->message, output);
      g_test_fail ();
    }
}

/* The filesystem for CONFIG, a reference; made once. */
static H2kDisk *
make (const char *config)
{
  g_autofree char *output = NULL;
  H2kDisk *disk = g_hash_table_lookup (made, config);

  if (disk)
    return h2k_disk_ref (disk);

  image_run (NULL, "rm -f @/image");
  if (image_run (&output, "mke2fs -q -F -L label -E lazy_itable_init=1 -d @/tree %s @/image 12M",
                 config)
      != 0)
    {
      g_test_skip (output);
      return NULL;
    }
  finish ();
  disk = image_load ("image");
  g_hash_table_insert (made, (gpointer)config, disk);
  return h2k_disk_ref (disk);
}

static void
test_clean (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *said = NULL;

  if (!image_have ("e2fsck") || !(disk = make (data)))
    return;
  image_assert_clean (disk);
  said = check (disk, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (said, ==, NULL);
}

/* --- damage by chance ------------------------------------------------------------------------- */

/* A place where there is something: damage of zeros far from everything shows nothing. */
static guint64
pick_place (H2kDisk *disk, GRand *rand)
{
  guint8 chunk[64];

  for (;;)
    {
      guint64 at = g_rand_int (rand) % (disk->size / sizeof chunk) * sizeof chunk;
      g_assert_true (h2k_disk_pread (disk, at, sizeof chunk, chunk, NULL));
      /* The content of files. */
      if (!h2k_is_zero (chunk, sizeof chunk) && memcmp (chunk, "bbbbbbbb", 8) != 0)
        return at;
    }
}

static char *
damage (H2kDisk *disk, GRand *rand)
{
  guint64 at = pick_place (disk, rand);
  guint kind = g_rand_int (rand) % 4, n = 1;
  guint8 bytes[64];

  g_assert_true (h2k_disk_pread (disk, at, sizeof bytes, bytes, NULL));
  if (kind == 0)
    bytes[g_rand_int (rand) % 64] ^= (guint8)(1 << g_rand_int (rand) % 8);
  else if (kind == 1)
    memset (bytes, 0, n = 64);
  else
    for (n = kind == 2 ? 4 : 64; n; n--)
      bytes[g_rand_int (rand) % 64] = (guint8)g_rand_int (rand);
  g_assert_true (h2k_disk_pwrite (disk, at, sizeof bytes, bytes, NULL));
  return g_strdup_printf ("damage %u at %" G_GUINT64_FORMAT, kind, at);
}

static guint
rounds (void)
{
  const char *text = g_getenv ("H2K_CHECK_ROUNDS");

  return text ? (guint)g_ascii_strtoull (text, NULL, 10) : 1;
}

static void
test_damage (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (g_str_hash (data));

  if (!image_have ("e2fsck") || !(disk = make (data)))
    return;
  for (guint i = 0; i < 3 * rounds (); i++)
    {
      g_autoptr (H2kDisk) copy = h2k_overlay_new (disk, NULL, 16 << 20);
      g_autofree char *what = damage (copy, rand);
      compare (copy, data, what);
    }
}

/* --- damage by debugfs, with right checksums -------------------------------------------------- */

static const char *const commands[] = {
    "clri /etc/file1",
    "clri /a/b",
    "clri /flat",
    "sif /etc/file1 links_count 3",
    "sif /etc/hard links_count 1",
    "sif /a/b links_count 30",
    "sif /etc/file0 size 10",
    "sif /etc/file0 block[1] 0",
    "sif /etc/file0 blocks 8",
    "sif /etc/file0 mode 0",
    "sif /etc/file0 mode 040755",
    "sif /a/b mode 0100644",
    "sif /etc/file1 dtime 1700000000",
    "sif /etc/short size 3",
    "sif /etc/long size 3",
    "sif /etc/fifo size 3",
    "sif /a size 100",
    "sif /etc/file2 file_acl 99999999",
    "sif /etc/file2 faddr 5",
    "sif /etc/file2 flags 0x80000000",
    "sif /flat flags 0",
    "sif /etc/file3 extra_isize 3",
    "freeb 400 20",
    "setb 9000 5",
    "freei <20>",
    "seti <300>",
    "unlink /etc/file1",
    "unlink /a/b/dir7",
    "link /a/b /etc/second",
    "link /etc/file3 /etc/third",
    "unlink /a/b/c",
    "kill_file /etc/file0",
    "kill_file /flat",
    "ssv free_blocks_count 5",
    "ssv free_inodes_count 5",
    "ssv last_orphan 30",
    "set_bg 0 free_blocks_count 3",
    "set_bg 0 free_inodes_count 3",
    "set_bg 0 used_dirs_count 3",
    "set_bg 0 itable_unused 0",
    "set_bg 0 checksum 1",
    "set_bg 0 inode_table 100",
    "set_bg 0 block_bitmap 100",
    "undel <13> /etc/back",
    "fallocate /etc/file1 100 110",
    "punch /etc/file0 0 5",
    "mkdir /etc/new",
    "rm /etc/file0",
};

static void
test_debugfs (gconstpointer data)
{
  g_autoptr (H2kDisk) whole = NULL;

  /* What files take of quotas is not checked. */
  if (strstr (data, "quota") || !image_have ("e2fsck") || !(whole = make (data)))
    return;
  for (guint i = rounds () > 1 ? 0 : g_str_hash (data) % 16;
       i<G_N_ELEMENTS (commands); i += rounds ()> 1 ? 1 : 8)
    {
      g_autoptr (H2kDisk) disk = NULL;

      image_save (whole, "image");
      image_run (NULL, "debugfs -w -R '%s' @/image", commands[i]);
      disk = image_load ("image");
      compare (disk, data, commands[i]);
    }
}

/* The numbers of all comparisons; a check that finds nothing any more fails here. */
static void
test_agreement (void)
{
  guint all = n_same + n_missed + n_false;

  g_test_message (
      "%u filesystems, %u clean for e2fsck: %u judged the same, %u missed, %u false alarms", all,
      n_clean, n_same, n_missed, n_false);
  if (!all)
    {
      g_test_skip ("nothing was compared");
      return;
    }
  g_assert_cmpuint (n_false, ==, 0);
  g_assert_cmpuint (n_missed * 25, <=, all);
}

/* --- borders ---------------------------------------------------------------------------------- */

static void
test_cancel (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  if (!image_have ("e2fsck") || !(disk = make (configs[0])))
    return;
  fs = h2k_fs_open (disk, &error);
  g_assert_no_error (error);
  g_cancellable_cancel (cancellable);
  g_assert_false (h2k_fs_check (fs, result, cancellable, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_CANCELLED);
}

/* An error of the disk is one of the check, too, and no finding. */
static void
test_faults (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint n_failed = 0;

  if (!image_have ("e2fsck") || !(disk = make (configs[0])))
    return;
  for (guint fail_at = 1; fail_at < 200; fail_at++)
    {
      g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, fail_at);
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (faulty, NULL, 16 << 20);
      g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kFs) fs = h2k_fs_open (overlay, &error);

      if (fs && h2k_fs_check (fs, result, NULL, &error))
        {
          g_assert_cmpuint (faulty_disk_requests (faulty), <, fail_at);
          g_assert_cmpuint (result->corruptions, ==, 0);
          break;
        }
      g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
      n_failed++;
    }
  g_assert_cmpuint (n_failed, >, 10);
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  image_dir ();
  populate ();
  made = g_hash_table_new_full (NULL, NULL, NULL, (GDestroyNotify)h2k_disk_unref);
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *clean = g_strdup_printf ("/fs/ext-check/clean/%s", configs[i]);
      g_autofree char *chance = g_strdup_printf ("/fs/ext-check/damage/%s", configs[i]);
      g_autofree char *debugfs = g_strdup_printf ("/fs/ext-check/debugfs/%s", configs[i]);
      g_test_add_data_func (clean, configs[i], test_clean);
      g_test_add_data_func (chance, configs[i], test_damage);
      g_test_add_data_func (debugfs, configs[i], test_debugfs);
    }
  g_test_add_func ("/fs/ext-check/cancel", test_cancel);
  g_test_add_func ("/fs/ext-check/faults", test_faults);
  /* A suite of its own, behind those that it sums up. */
  g_test_add_func ("/fs/ext-check-agreement/all", test_agreement);
  status = g_test_run ();
  g_hash_table_unref (made);
  image_cleanup ();
  return status;
}
