/* test-btrfs.c - files of btrfs: what is read is what the kernel sees in the same filesystem, or
 * what mkfs.btrfs was given; what is damaged is told, or read from its other copy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "mounted.h"

#include "fs/usage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static gboolean
have_tools (void)
{
  return image_have ("mkfs.btrfs") && image_have ("btrfs");
}

static void
make_image (const char *options, const char *size)
{
  image_dir ();
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s %s @/image", size);
  image_must_run ("mkfs.btrfs -q -f %s @/image", options);
}

/* Mount the top level of "@/image" at "@/mnt". */
static gboolean
mount_image (const char *options)
{
  g_autofree char *all = g_strconcat (",nobarrier,subvolid=5", options, NULL);

  return mounted_mount ("btrfs", all);
}

/* --- populating ------------------------------------------------------------------------------- */

static void
make_attributes (void)
{
  static const MountedAttributes sets[] = {
      {"attr-short", "user.a", 5, 2},
      {"attr-empty", "user.none", 0, 1},
      {"attr-many", "user.many", 90, 200},
      {"attr-large", "user.large", 3000, 2},
      {"attr-label", "security.selinux", 30, 1},
      {"attr-trusted", "trusted.x", 30, 1},
  };
  static const guint8 capability[20] = {1, 0, 0, 2, 0, 0x20};
  g_autofree char *owned = mounted_path ("attr-capability");

  mounted_set_attributes (sets, G_N_ELEMENTS (sets));
  mounted_put ("attr-capability", 0, 3, 0);
  g_assert_cmpint (setxattr (owned, "security.capability", capability, sizeof capability, 0), ==,
                   0);
}

/* Files in all kinds of extents, below DIR. */
static void
make_contents (const char *dir)
{
  static const struct
  {
    const char *name;
    guint64 offset;
    gsize length;
    guint period;
  } files[] = {
      {"empty", 0, 0, 0},
      {"small", 0, 100, 7},
      {"inline", 0, 2000, 9},
      {"inline-random", 0, 900, 0},
      {"sector", 0, 4096, 3},
      {"sector-more", 0, 4097, 3},
      {"big", 0, 3000001, 11},
      {"random", 0, 700001, 0},
      {"mixed", 0, 300000, 5},
      {"mixed", 300000, 300000, 0},
      {"mixed", 600000, 99999, 60},
      {"sparse", 5000000, 100, 5},
      {"sparse", 40000001, 5000, 0},
      {"huge", 3ull << 40, 777, 4},
      {"holes", 0, 900000, 21},
      {"rewritten", 0, 500000, 13},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autofree char *name = g_build_filename (dir, files[i].name, NULL);
      mounted_put (name, files[i].offset, files[i].length, files[i].period);
    }
  image_must_run ("sync -f @/mnt/%s", dir);
  for (guint i = 0; i < 40; i++)
    {
      g_autofree char *holes = g_build_filename (dir, "holes", NULL);
      g_autofree char *rewritten = g_build_filename (dir, "rewritten", NULL);
      mounted_punch (holes, i * 20000 + 1000, 9000);
      mounted_put (rewritten, i * 12288, 5000, i % 3 ? i : 0);
    }
  image_must_run ("fallocate -o 0 -l 300000 @/mnt/%s/unwritten", dir);
  image_must_run ("fallocate -n -o 700000 -l 1000000 @/mnt/%s/random", dir);
  {
    g_autofree char *unwritten = g_build_filename (dir, "unwritten", NULL);
    mounted_put (unwritten, 100000, 5000, 5);
  }
  image_must_run ("cp --reflink=always @/mnt/%s/big @/mnt/%s/reflink", dir, dir);
  {
    g_autofree char *reflink = g_build_filename (dir, "reflink", NULL);
    mounted_put (reflink, 1000000, 70000, 0);
  }
}

static void
make_special (void)
{
  g_autofree char *fifo = mounted_path ("fifo"), *null = mounted_path ("null");
  g_autofree char *owned = mounted_path ("owned"), *long_name = g_strnfill (255, 'n');

  mounted_put ("target", 0, 100, 1);
  image_must_run ("ln -s target @/mnt/link");
  image_must_run ("ln -s /%0300d @/mnt/link-long", 7);
  image_must_run ("ln -s /%0250d/%0250d/%0250d/%0250d @/mnt/link-longest", 1, 2, 3, 4);
  mounted_put (long_name, 0, 10, 1);
  mounted_put ("owned", 0, 1, 0);
  g_assert_cmpint (chown (owned, 70000, 80000), ==, 0);
  g_assert_cmpint (chmod (owned, 06711), ==, 0);
  g_assert_cmpint (mknod (null, S_IFCHR | 0600, makedev (300, 60000)), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0622), ==, 0);
  mounted_put_times ("time-old", -1000000000, 5000000000);
}

/* The subvolumes that populate() makes. */
static const struct
{
  const char *path;
  gboolean is_snapshot, is_readonly;
} subvolumes[] = {
    {"/", FALSE, FALSE},           {"/root", FALSE, FALSE},
    {"/root/var", FALSE, FALSE},   {"/root/deep/er/nested", FALSE, FALSE},
    {"/.snapshots", FALSE, FALSE}, {"/.snapshots/1", TRUE, FALSE},
    {"/.snapshots/2", TRUE, TRUE},
};
#define DEFAULT_SUBVOLUME "/.snapshots/1"

static void
populate (void)
{
  static const char *const kinds[] = {"zlib", "lzo", "zstd"};

  image_must_run ("btrfs subvolume create @/mnt/root");
  image_must_run ("btrfs subvolume create @/mnt/root/var");
  image_must_run ("mkdir -p @/mnt/root/deep/er");
  image_must_run ("btrfs subvolume create @/mnt/root/deep/er/nested");
  image_must_run ("btrfs subvolume create @/mnt/.snapshots");
  image_must_run ("btrfs subvolume create @/mnt/removed");
  make_contents ("");
  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      image_must_run ("mkdir @/mnt/%s", kinds[i]);
      image_must_run ("btrfs property set @/mnt/%s compression %s", kinds[i], kinds[i]);
      make_contents (kinds[i]);
    }
  image_must_run ("mkdir @/mnt/unsummed");
  image_must_run ("chattr +C @/mnt/unsummed");
  make_contents ("unsummed");
  image_must_run ("cp -a @/mnt/lzo @/mnt/zstd @/mnt/root");
  image_must_run ("cp -a @/mnt/zlib @/mnt/root/deep/er/nested");
  mounted_make_dir ("dir-empty", 0, 0);
  mounted_make_dir ("dir-few", 4, 5);
  /* Beyond some thousands, names of an inode in one directory go elsewhere. */
  mounted_make_dir ("dir-many", 2500, 5);
  make_attributes ();
  make_special ();
  image_must_run ("btrfs subvolume snapshot @/mnt/root @/mnt/.snapshots/1");
  image_must_run ("btrfs subvolume snapshot -r @/mnt/root @/mnt/.snapshots/2");
  mounted_put ("root/lzo/big", 100000, 300000, 0);
  mounted_put (".snapshots/1/zstd/new", 0, 30000, 5);
  image_must_run ("rm @/mnt/root/zstd/big @/mnt/.snapshots/1/lzo/small");
  image_must_run ("btrfs subvolume delete @/mnt/removed");
  image_must_run ("btrfs subvolume set-default @/mnt" DEFAULT_SUBVOLUME);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* The numbers that were given to inodes: each belongs to one. */
static GHashTable *numbers;

/* Subvolumes number their inodes each for itself, and here they are told apart. */
static void
assert_stat (const H2kStat *st, const struct stat *real)
{
  g_autofree char *id = g_strdup_printf ("%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT,
                                         (guint64)real->st_dev, (guint64)real->st_ino);
  const char *other = g_hash_table_lookup (numbers, &st->inode);
  H2kStat bare = *st;

  bare.inode &= (1ull << 40) - 1;
  if (real->st_ino == 2) /* in place of a subvolume, with the time that it is now */
    {
      bare.atime = real->st_atime;
      bare.mtime = real->st_mtime;
      bare.ctime = real->st_ctime;
    }
  mounted_assert_stat (&bare, real);
  if (real->st_ino == 2)
    return;
  if (other)
    g_assert_cmpstr (id, ==, other);
  else
    g_hash_table_insert (numbers, g_memdup2 (&st->inode, sizeof st->inode), g_steal_pointer (&id));
}

static void
assert_subvolumes (H2kFs *fs)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) found = fs->ops->subvolumes (fs, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (found->len, ==, G_N_ELEMENTS (subvolumes));
  for (guint i = 0; i < found->len; i++)
    {
      const H2kSubvolume *subvolume = found->pdata[i];
      g_autofree char *id = NULL;

      g_assert_cmpstr (subvolume->path, ==, subvolumes[i].path);
      g_assert_cmpint (subvolume->is_snapshot, ==, subvolumes[i].is_snapshot);
      g_assert_cmpint (subvolume->is_readonly, ==, subvolumes[i].is_readonly);
      g_assert_cmpint (subvolume->is_default, ==, g_str_equal (subvolume->path, DEFAULT_SUBVOLUME));
      image_run (&id, "btrfs inspect-internal rootid @/mnt%s", subvolume->path);
      g_assert_cmpuint (strtoull (id, NULL, 10), ==, subvolume->id);
    }
}

static const struct
{
  const char *mkfs, *mount;
} configs[] = {
    {"-n 4096 -m single --csum xxhash", ",compress-force=lzo"},
    {"-n 65536 -O ^no-holes --csum sha256", ",compress-force=zstd:9"},
    {"--mixed -n 4096 --csum blake2", ",compress-force=zlib"},
    {"-d raid0 -m dup -O ^skinny-metadata -R ^free-space-tree", ",space_cache=v1,max_inline=0"},
};

static void
test_mounted (gconstpointer data)
{
  const guint i = GPOINTER_TO_UINT (data);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_image (configs[i].mkfs, "600M");
  if (!mount_image (configs[i].mount))
    return;
  populate ();
  image_must_run ("umount @/mnt");
  disk = image_open ("image");
  fs = image_open_fs (disk, "btrfs");
  g_assert_null (fs->note);
  g_assert_true (mount_image (",ro,noatime"));
  numbers = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  g_assert_cmpuint (mounted_assert_same (fs, "/", assert_stat), >, 2000);
  g_clear_pointer (&numbers, g_hash_table_unref);
  assert_subvolumes (fs);
  image_must_run ("umount @/mnt");
  image_must_run ("rm @/image");
}

/* What was written, and then synced by itself, is in the log only. */
static void
test_log (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  make_image ("", "300M");
  if (!mount_image (",commit=300"))
    return;
  mounted_put ("before", 0, 50000, 3);
  image_must_run ("sync -f @/mnt/before");
  mounted_put ("after", 0, 50000, 3);
  image_must_run ("sync @/mnt/after");
  image_must_run ("cp --sparse=always @/image @/copy");
  image_must_run ("umount @/mnt");
  disk = image_open ("copy");
  fs = image_open_fs (disk, "btrfs");
  g_assert_nonnull (strstr (fs->note, "log"));
  CHECK (fs->ops->lstat (fs, "/before", &st, &error));
  FAILS (fs->ops->lstat (fs, "/after", &st, &error), H2K_ERROR_FAILED);
  image_must_run ("rm @/image @/copy");
}

/* --- without mounting ------------------------------------------------------------------------- */

static const char *const rootdir_configs[] = {
    "-n 4096 -m dup -d dup", "-s 16384 -n 16384", "-s 65536 -n 65536 --csum xxhash",
    "--mixed -n 4096",       "--csum sha256",     "--csum blake2 -O ^no-holes",
    "-d raid0 -m single",
};

/* "@/image" with the files of "@/tree", or, when SMALL, with less of them. */
static void
make_rootdir (const char *options, gboolean small)
{
  g_autofree char *all = g_strdup_printf ("%s --rootdir @/tree", options);

  image_make_tree ();
  if (small)
    image_must_run ("rm @/tree/sparse");
  if (small)
    image_must_run ("truncate -s 150001 @/tree/big");
  {
    g_autofree char *big = g_build_filename (image_dir (), "tree", "big", NULL);
    g_assert_cmpint (setxattr (big, "user.comment", "text", 4, 0), ==, 0);
  }
  make_image (all, "130M");
}

static void
compare_rootdir (H2kFs *fs, const char *name)
{
  g_autofree char *host = g_build_filename (image_dir (), "tree", name, NULL);
  struct stat real;
  H2kStat st;

  CHECK (fs->ops->lstat (fs, name, &st, &error));
  g_assert_cmpint (lstat (host, &real), ==, 0);
  g_assert_cmpuint (st.mode, ==, real.st_mode);
  if (!g_str_equal (name, "/")) /* which mkfs.btrfs makes */
    g_assert_cmpint (st.mtime, ==, real.st_mtime);
  if (!S_ISDIR (st.mode))
    g_assert_cmpuint (st.size, ==, (guint64)real.st_size);
  if (S_ISREG (st.mode))
    mounted_assert_content (fs, name, host);
  if (S_ISLNK (st.mode))
    {
      g_autofree char *link = fs->ops->readlink (fs, name, NULL);
      g_autofree char *target = g_file_read_link (host, NULL);
      g_assert_cmpstr (link, ==, target);
    }
}

static void
test_rootdir (gconstpointer options)
{
  static const char *const names[]
      = {"/",     "/etc",  "/etc/fstab", "/etc/empty", "/etc/link", "/big",
         "/tiny", "/hard", "/longlink",  "/sparse",    "/fifo"};
  g_autoptr (GPtrArray) top = NULL;
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GBytes) value = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_rootdir (options, FALSE);
  disk = image_open ("image");
  fs = image_open_fs (disk, "btrfs");
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    compare_rootdir (fs, names[i]);
  top = fs->ops->list (fs, "/", NULL);
  g_assert_cmpuint (top->len, ==, 7);
  value = fs->ops->get_xattr (fs, "/big", "user.comment", NULL);
  g_assert_nonnull (value);
  g_assert_cmpmem (g_bytes_get_data (value, NULL), g_bytes_get_size (value), "text", 4);
  found = fs->ops->subvolumes (fs, NULL);
  g_assert_cmpuint (found->len, ==, 1);
  g_assert_cmpstr (((H2kSubvolume *)found->pdata[0])->path, ==, "/");
  g_assert_true (((H2kSubvolume *)found->pdata[0])->is_default);
  g_assert_cmpuint (fs->ops->free_space (fs), >, 50u << 20);
  g_assert_cmpuint (fs->ops->free_space (fs), <, disk->size - 700000);
}

static void
test_names (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  make_rootdir ("", FALSE);
  disk = image_open ("image");
  fs = image_open_fs (disk, "btrfs");
  FAILS (fs->ops->lstat (fs, "/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/big/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/etc/link/none", &st, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->list (fs, "/big", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->readlink (fs, "/big", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->read (fs, "/etc", 0, 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (h2k_fs_check_writable (fs, &error), H2K_ERROR_UNSUPPORTED);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* A digest of all that can be read below PATH; FALSE at the first error. */
static gboolean
digest (H2kFs *fs, const char *path, GChecksum *sum)
{
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GPtrArray) attributes = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autofree char *target = NULL, *stat_text = NULL;
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, NULL))
    return FALSE;
  stat_text = g_strdup_printf ("%s %o %u %u %" G_GUINT64_FORMAT " %u %" G_GINT64_FORMAT, path,
                               st.mode, st.uid, st.gid, st.size, st.nlink, st.mtime);
  g_checksum_update (sum, (const guchar *)stat_text, -1);
  attributes = fs->ops->list_xattr (fs, path, NULL);
  if (!attributes)
    return FALSE;
  for (guint i = 0; i < attributes->len; i++)
    g_checksum_update (sum, attributes->pdata[i], -1);
  if (S_ISLNK (st.mode))
    {
      target = fs->ops->readlink (fs, path, NULL);
      g_checksum_update (sum, (const guchar *)(target ? target : ""), -1);
      return target != NULL;
    }
  if (S_ISREG (st.mode))
    {
      bytes = fs->ops->read (fs, path, 0, (gsize)st.size, NULL);
      if (bytes)
        g_checksum_update (sum, g_bytes_get_data (bytes, NULL), (gssize)g_bytes_get_size (bytes));
      return bytes != NULL;
    }
  names = S_ISDIR (st.mode) ? fs->ops->list (fs, path, NULL) : NULL;
  for (guint i = 0; names && i < names->len; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      if (!digest (fs, sub, sum))
        return FALSE;
    }
  return !S_ISDIR (st.mode) || names;
}

/* The digest of all on DISK, or NULL. */
static char *
digest_disk (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);

  return fs && digest (fs, "/", sum) ? g_strdup (g_checksum_get_string (sum)) : NULL;
}

/* Flip a bit in each sector that is not all zeros. Nothing that is read is wrong; with two copies
 * of all, everything is read unless it was the superblock. */
static void
test_flips (gconstpointer options)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  gboolean has_copies = strstr (options, "dup") != NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree char *right = NULL;
  guint n_failed = 0, n = 0;

  if (!have_tools ())
    return;
  make_rootdir (options, TRUE);
  disk = image_load ("image");
  right = digest_disk (disk);
  g_assert_nonnull (right);
  for (guint64 at = 0; at + 4096 <= disk->size; at += 4096)
    {
      guint8 sector[4096], flipped;
      guint place = (guint)g_rand_int_range (rand, 0, 4096);
      g_autofree char *now = NULL;

      CHECK (h2k_disk_pread (disk, at, sizeof sector, sector, &error));
      if (h2k_is_zero (sector, sizeof sector))
        continue;
      flipped = sector[place] ^ (guint8)(1 << g_rand_int_range (rand, 0, 8));
      CHECK (h2k_disk_pwrite (disk, at + place, 1, &flipped, &error));
      now = digest_disk (disk);
      CHECK (h2k_disk_pwrite (disk, at + place, 1, &sector[place], &error));
      if (now)
        g_assert_cmpstr (now, ==, right);
      else
        g_assert_true (!has_copies || at == 65536);
      n_failed += now == NULL;
      n++;
    }
  g_assert_cmpuint (n, >, 60);
  g_assert_cmpuint (n_failed, >, has_copies ? 0 : 30);
}

/* Write LENGTH bytes of the superblock, and its checksum. */
static void
patch_super (H2kDisk *disk, guint at, const void *data, gsize length)
{
  guint8 super[4096];
  guint32 crc;

  CHECK (h2k_disk_pread (disk, 65536, sizeof super, super, &error));
  memcpy (super + at, data, length);
  crc = GUINT32_TO_LE (~h2k_crc32c (~0u, super + 32, sizeof super - 32));
  memcpy (super, &crc, sizeof crc);
  CHECK (h2k_disk_pwrite (disk, 65536, sizeof super, super, &error));
}

static void
test_super (void)
{
  static const struct
  {
    guint at;
    const char *bytes;
    gsize length;
    int code;
    const char *message;
  } cases[] = {
      {188 + 1, "\x13", 1, H2K_ERROR_UNSUPPORTED, "zoned"},
      {188 + 1, "\x63", 1, H2K_ERROR_UNSUPPORTED, "extent-tree-v2, raid-stripe-tree"},
      {188 + 4, "\x04", 1, H2K_ERROR_UNSUPPORTED, "incompat bit 34"},
      {136, "\x00", 1, H2K_ERROR_FILESYSTEM, "makes no sense"},
      {56 + 4, "\x02", 1, H2K_ERROR_UNSUPPORTED, "flags"},
      {80, "\0\0\0\0\0\1", 6, H2K_ERROR_FILESYSTEM, "lies nowhere"},
      {180 + 1, "\x13", 1, 0, NULL}, /* not invented yet, for those who write */
      {56 + 4, "\x01", 1, 0, NULL},  /* others may build on it */
      {56, "\x05", 1, 0, "errors were found"},
      {96, "\x00\x00\x01", 3, 0, "log tree"},
  };

  if (!have_tools ())
    return;
  make_rootdir ("", FALSE);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = image_load ("image");
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kFs) fs = NULL;

      patch_super (disk, cases[i].at, cases[i].bytes, cases[i].length);
      fs = h2k_fs_open (disk, &error);
      if (cases[i].code)
        g_assert_error (error, H2K_ERROR, cases[i].code);
      else
        g_assert_no_error (error);
      if (cases[i].message && !strstr (fs ? fs->note : error->message, cases[i].message))
        g_error ("%s: not %s", fs ? fs->note : error->message, cases[i].message);
      if (fs && !cases[i].message)
        g_assert_null (fs->note);
      if (fs)
        g_assert_cmpint (fs->frozen != NULL, ==, cases[i].at == 56 + 4);
    }
}

/* An error of the disk comes through as it is, whichever request meets it. */
static void
test_faults (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  guint n = 1;

  if (!have_tools ())
    return;
  make_rootdir ("-m dup -n 4096", FALSE);
  disk = image_load ("image");
  for (gboolean failed = TRUE; failed; n++)
    {
      g_autoptr (H2kDisk) faulty = faulty_disk_new (disk, n);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kFs) fs = h2k_fs_open (faulty, &error);
      g_autoptr (GBytes) bytes = fs ? fs->ops->read (fs, "/big", 0, 1 << 20, &error) : NULL;

      failed = bytes == NULL;
      if (failed)
        g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
    }
  g_assert_cmpuint (n, >, 10);
}

/* What was swapped out goes from the files that share nothing, and only from these; the filesystem
 * is in order. */
static void
test_swap_files (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;

  if (!have_tools () || !image_have ("mkswap"))
    return;
  image_make_swap_files ();
  make_image (data, "300M");
  if (!mount_image (""))
    return;
  image_must_run ("btrfs -q subvolume create @/mnt/root");
  image_must_run ("mkdir @/mnt/root/swap");
  image_must_run ("btrfs -q subvolume create @/mnt/kept");
  image_must_run ("touch @/mnt/root/swapfile @/mnt/root/swap/swap.img @/mnt/kept/swapfile "
                  "@/mnt/shared-swap");
  image_must_run ("chattr +C @/mnt/root/swapfile @/mnt/root/swap/swap.img @/mnt/kept/swapfile "
                  "@/mnt/shared-swap");
  image_must_run ("sh -c 'cat @/tree/swapfile > @/mnt/root/swapfile'");
  image_must_run ("sh -c 'cat @/tree/swap/swap.img > @/mnt/root/swap/swap.img'");
  /* These count as what has to stay: checksums, a snapshot, a second file. */
  image_must_run ("cp @/tree/swapped-letters @/tree/swap.suspended @/mnt/");
  image_must_run ("sh -c 'cat @/tree/backup.img > @/mnt/kept/swapfile'");
  image_must_run ("btrfs -q subvolume snapshot @/mnt/kept @/mnt/kept-too");
  image_must_run ("sh -c 'cat @/tree/backup.img > @/mnt/shared-swap'");
  image_must_run ("chattr +C @/mnt");
  image_must_run ("cp --reflink=always @/mnt/shared-swap @/mnt/shared-too");
  image_must_run ("umount @/mnt");
  disk = image_open ("image");
  for (gboolean drop = FALSE; drop <= TRUE; drop++)
    {
      g_autoptr (H2kDisk) view = h2k_used_view_new (disk, drop, NULL, NULL);

      image_assert_swap_files (view, drop);
      g_assert_cmpuint (image_count_bytes (view, 0xe4), >, 2 * (3u << 20) - 2 * IMAGE_SWAP_REST);
      image_save (view, "copy");
      image_must_run ("btrfs check --check-data-csum @/copy");
    }
  image_must_run ("rm @/image @/copy");
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/btrfs/mounted/%s%s", configs[i].mkfs, configs[i].mount);
      g_test_add_data_func (name, GUINT_TO_POINTER (i), test_mounted);
    }
  for (guint i = 0; i < G_N_ELEMENTS (rootdir_configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/btrfs/rootdir/%s", rootdir_configs[i]);
      g_test_add_data_func (name, rootdir_configs[i], test_rootdir);
    }
  g_test_add_func ("/btrfs/log", test_log);
  g_test_add_func ("/btrfs/names", test_names);
  g_test_add_data_func ("/btrfs/flips/dup", "-m dup -d dup -n 4096", test_flips);
  g_test_add_data_func ("/btrfs/flips/single", "-m single -d single -n 4096", test_flips);
  g_test_add_func ("/btrfs/super", test_super);
  g_test_add_func ("/btrfs/faults", test_faults);
  g_test_add_data_func ("/btrfs/swap-files/single", "-d single", test_swap_files);
  g_test_add_data_func ("/btrfs/swap-files/dup", "-d dup", test_swap_files);
  result = g_test_run ();
  mounted_cleanup ();
  image_cleanup ();
  return result;
}
