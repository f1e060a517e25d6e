/* test-btrfs.c - files of btrfs: what is read is what the kernel sees in the same filesystem, or
 * what mkfs.btrfs was given; what is damaged is told, or read from its other copy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHECK(call)                                                                                \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_autoptr (GError) error = NULL;                                                               \
    gboolean ok_ = call;                                                                           \
    g_assert_no_error (error);                                                                     \
    g_assert_true (ok_);                                                                           \
  }                                                                                                \
  G_STMT_END

#define FAILS(call, error_code)                                                                    \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_autoptr (GError) error = NULL;                                                               \
    g_assert_false (call);                                                                         \
    g_assert_error (error, H2K_ERROR, error_code);                                                 \
  }                                                                                                \
  G_STMT_END

static void
run (const char *format, ...)
{
  g_autofree char *line = NULL, *output = NULL;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  if (image_run (&output, "%s", line) != 0)
    g_error ("%s: %s", line, output);
}

static gboolean
have_tools (void)
{
  return image_have ("mkfs.btrfs") && image_have ("btrfs");
}

static H2kDisk *
open_image (const char *name)
{
  g_autofree char *path = g_build_filename (image_dir (), name, NULL);
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, "raw", &error);

  g_assert_no_error (error);
  return disk;
}

static H2kFs *
open_fs (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  H2kFs *fs = h2k_fs_open (disk, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (fs->ops->name, ==, "btrfs");
  return fs;
}

static void
make_image (const char *options, const char *size)
{
  image_dir ();
  run ("rm -f @/image");
  run ("truncate -s %s @/image", size);
  run ("mkfs.btrfs -q -f %s @/image", options);
}

/* A namespace whose mounts go when this program ends, however it does. */
static gboolean
have_namespace (void)
{
  static int have = -1;

  if (have < 0)
    have = geteuid () == 0 && unshare (CLONE_NEWNS) == 0
           && mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
  return have;
}

/* Mount the top level of "@/image" at "@/mnt"; FALSE, and the test is skipped, where that cannot be
 * done. */
static gboolean
mount_image (const char *options)
{
  g_autofree char *output = NULL;

  run ("mkdir -p @/mnt");
  if (have_namespace ()
      && image_run (&output, "mount -t btrfs -o loop,nobarrier,subvolid=5%s @/image @/mnt", options)
             == 0)
    return TRUE;
  g_test_skip ("this filesystem cannot be mounted here");
  return FALSE;
}

/* --- populating ------------------------------------------------------------------------------- */

static char *
host_path (const char *name)
{
  return g_build_filename (image_dir (), "mnt", name, NULL);
}

/* PERIOD: how much can be packed; 0: nothing. */
static void
put_at (const char *name, guint64 offset, gsize length, guint period)
{
  g_autofree char *path = host_path (name);
  g_autofree guint8 *data = g_malloc (length + 1);
  g_autoptr (GRand) rand = g_rand_new_with_seed ((guint32)(offset + length + period));
  int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

  for (gsize i = 0; i < length; i++)
    data[i] = (guint8)(period ? (i / 97) * 13 + i % period : g_rand_int (rand));
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (pwrite (fd, data, length, (off_t)offset), ==, (gssize)length);
  close (fd);
}

static void
punch (const char *name, guint64 offset, guint64 length)
{
  g_autofree char *path = host_path (name);
  int fd = open (path, O_WRONLY | O_CLOEXEC);

  g_assert_cmpint (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                              (off_t)length),
                   ==, 0);
  close (fd);
}

static void
make_dir (const char *name, guint entries)
{
  g_autofree char *path = host_path (name), *first = g_build_filename (path, "first", NULL);

  g_assert_cmpint (mkdir (path, 0750), ==, 0);
  if (entries)
    g_assert_true (g_file_set_contents (first, name, -1, NULL));
  /* Beyond some thousands, names of an inode in one directory go elsewhere. */
  for (guint i = 1; i < entries; i++)
    {
      g_autofree char *file = g_strdup_printf ("%s/the entry number %u%s", path, i,
                                               i % 7 ? "" : " with quite some more characters");
      g_assert_cmpint (link (first, file), ==, 0);
      if (i % 5 == 0)
        g_assert_cmpint (unlink (file), ==, 0);
    }
}

static void
make_attributes (void)
{
  static const struct
  {
    const char *name, *attribute;
    guint length, count;
  } cases[] = {
      {"attr-short", "user.a", 5, 2},
      {"attr-empty", "user.none", 0, 1},
      {"attr-many", "user.many", 90, 200},
      {"attr-large", "user.large", 3000, 2},
      {"attr-label", "security.selinux", 30, 1},
      {"attr-trusted", "trusted.x", 30, 1},
  };
  static const guint8 capability[20] = {1, 0, 0, 2, 0, 0x20};
  g_autofree char *owned = host_path ("attr-capability");

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = host_path (cases[i].name);
      put_at (cases[i].name, 0, 3, 0);
      for (guint k = 0; k < cases[i].count; k++)
        {
          g_autofree char *attribute
              = k ? g_strdup_printf ("%s%u", cases[i].attribute, k) : g_strdup (cases[i].attribute);
          g_autofree char *value = g_strnfill (cases[i].length, (char)('a' + k % 26));
          g_assert_cmpint (setxattr (path, attribute, value, cases[i].length, 0), ==, 0);
        }
    }
  put_at ("attr-capability", 0, 3, 0);
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
      put_at (name, files[i].offset, files[i].length, files[i].period);
    }
  run ("sync -f @/mnt/%s", dir);
  for (guint i = 0; i < 40; i++)
    {
      g_autofree char *holes = g_build_filename (dir, "holes", NULL);
      g_autofree char *rewritten = g_build_filename (dir, "rewritten", NULL);
      punch (holes, i * 20000 + 1000, 9000);
      put_at (rewritten, i * 12288, 5000, i % 3 ? i : 0);
    }
  run ("fallocate -o 0 -l 300000 @/mnt/%s/unwritten", dir);
  run ("fallocate -n -o 700000 -l 1000000 @/mnt/%s/random", dir);
  {
    g_autofree char *unwritten = g_build_filename (dir, "unwritten", NULL);
    put_at (unwritten, 100000, 5000, 5);
  }
  run ("cp --reflink=always @/mnt/%s/big @/mnt/%s/reflink", dir, dir);
  {
    g_autofree char *reflink = g_build_filename (dir, "reflink", NULL);
    put_at (reflink, 1000000, 70000, 0);
  }
}

static void
make_special (void)
{
  g_autofree char *fifo = host_path ("fifo"), *null = host_path ("null");
  g_autofree char *owned = host_path ("owned"), *long_name = g_strnfill (255, 'n');
  g_autofree char *old = host_path ("time-old");
  struct timespec times[2] = {{-1000000000, 5}, {5000000000, 6}};

  put_at ("target", 0, 100, 1);
  run ("ln -s target @/mnt/link");
  run ("ln -s /%0300d @/mnt/link-long", 7);
  run ("ln -s /%0250d/%0250d/%0250d/%0250d @/mnt/link-longest", 1, 2, 3, 4);
  put_at (long_name, 0, 10, 1);
  put_at ("owned", 0, 1, 0);
  g_assert_cmpint (chown (owned, 70000, 80000), ==, 0);
  g_assert_cmpint (chmod (owned, 06711), ==, 0);
  g_assert_cmpint (mknod (null, S_IFCHR | 0600, makedev (300, 60000)), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0622), ==, 0);
  put_at ("time-old", 0, 1, 0);
  g_assert_cmpint (utimensat (AT_FDCWD, old, times, 0), ==, 0);
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

  run ("btrfs subvolume create @/mnt/root");
  run ("btrfs subvolume create @/mnt/root/var");
  run ("mkdir -p @/mnt/root/deep/er");
  run ("btrfs subvolume create @/mnt/root/deep/er/nested");
  run ("btrfs subvolume create @/mnt/.snapshots");
  run ("btrfs subvolume create @/mnt/removed");
  make_contents ("");
  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      run ("mkdir @/mnt/%s", kinds[i]);
      run ("btrfs property set @/mnt/%s compression %s", kinds[i], kinds[i]);
      make_contents (kinds[i]);
    }
  run ("mkdir @/mnt/unsummed");
  run ("chattr +C @/mnt/unsummed");
  make_contents ("unsummed");
  run ("cp -a @/mnt/lzo @/mnt/zstd @/mnt/root");
  run ("cp -a @/mnt/zlib @/mnt/root/deep/er/nested");
  make_dir ("dir-empty", 0);
  make_dir ("dir-few", 4);
  make_dir ("dir-many", 2500);
  make_attributes ();
  make_special ();
  run ("btrfs subvolume snapshot @/mnt/root @/mnt/.snapshots/1");
  run ("btrfs subvolume snapshot -r @/mnt/root @/mnt/.snapshots/2");
  put_at ("root/lzo/big", 100000, 300000, 0);
  put_at (".snapshots/1/zstd/new", 0, 30000, 5);
  run ("rm @/mnt/root/zstd/big @/mnt/.snapshots/1/lzo/small");
  run ("btrfs subvolume delete @/mnt/removed");
  run ("btrfs subvolume set-default @/mnt" DEFAULT_SUBVOLUME);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* What is read from AT on, of a file of SIZE bytes. */
static void
compare_piece (H2kFs *fs, const char *path, int fd, guint64 at, gsize length, guint64 size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, at, length, &error);
  gsize n = (gsize)MIN (length, size - MIN (size, at));
  g_autofree guint8 *real = g_malloc (length);

  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, n);
  g_assert_cmpint (pread (fd, real, length, (off_t)at), ==, (gssize)n);
  if (n && memcmp (real, g_bytes_get_data (bytes, NULL), n) != 0)
    g_error ("%s: other bytes at %" G_GUINT64_FORMAT, path, at);
}

static void
compare_content (H2kFs *fs, const char *path, const char *host, guint64 size)
{
  int fd = open (host, O_RDONLY | O_CLOEXEC);
  gsize step = 1000003;

  g_assert_cmpint (fd, >=, 0);
  for (guint64 at = 0; at <= MIN (size, 8u << 20); at += step)
    compare_piece (fs, path, fd, at, step, size);
  for (guint64 at = size - MIN (size, 3 * step); at <= size; at += step)
    compare_piece (fs, path, fd, at, step, size);
  compare_piece (fs, path, fd, size / 3, 1, size);
  compare_piece (fs, path, fd, size / 2, 4099, size);
  close (fd);
}

static void
compare_attributes (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list_xattr (fs, path, &error);
  g_autofree char *list = g_malloc (65536), *value = g_malloc (65536);
  gssize length = llistxattr (host, list, 65536);
  guint n = 0;

  g_assert_no_error (error);
  if (length < 0 && errno == EOPNOTSUPP) /* in place of a subvolume */
    length = 0;
  g_assert_cmpint (length, >=, 0);
  for (const char *name = list; name < list + length; name += strlen (name) + 1)
    {
      gssize size = lgetxattr (host, name, value, 65536);
      g_autoptr (GBytes) bytes = fs->ops->get_xattr (fs, path, name, &error);

      g_assert_no_error (error);
      g_assert_cmpint (size, >=, 0);
      if (!bytes)
        g_error ("%s: there is no %s", path, name);
      g_assert_cmpmem (value, size, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
      n++;
    }
  g_assert_cmpuint (n, ==, names->len);
  g_assert_null (fs->ops->get_xattr (fs, path, "user.that-is-not-there", &error));
  g_assert_no_error (error);
}

/* The numbers that were given to inodes: each belongs to one. */
static GHashTable *numbers;

static void
compare_stat (const H2kStat *st, const struct stat *real)
{
  g_autofree char *id = g_strdup_printf ("%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT,
                                         (guint64)real->st_dev, (guint64)real->st_ino);
  const char *other = g_hash_table_lookup (numbers, &st->inode);

  g_assert_cmpuint (st->mode, ==, real->st_mode);
  g_assert_cmpuint (st->uid, ==, real->st_uid);
  g_assert_cmpuint (st->gid, ==, real->st_gid);
  g_assert_cmpuint (st->size, ==, (guint64)real->st_size);
  g_assert_cmpuint (st->inode & ((1ull << 40) - 1), ==, real->st_ino);
  g_assert_cmpuint (st->nlink, ==, real->st_nlink);
  g_assert_cmpuint (st->rdev, ==, real->st_rdev);
  if (real->st_ino == 2)
    return;
  g_assert_cmpint (st->atime, ==, real->st_atime);
  g_assert_cmpint (st->mtime, ==, real->st_mtime);
  g_assert_cmpint (st->ctime, ==, real->st_ctime);
  if (other)
    g_assert_cmpstr (id, ==, other);
  else
    g_hash_table_insert (numbers, g_memdup2 (&st->inode, sizeof st->inode), g_steal_pointer (&id));
}

/* Compare what PATH, which is no directory, has besides its stat data. */
static void
compare_rest (H2kFs *fs, const char *path, const char *host, const H2kStat *st)
{
  if (S_ISREG (st->mode))
    compare_content (fs, path, host, st->size);
  if (S_ISLNK (st->mode))
    {
      g_autofree char *link = fs->ops->readlink (fs, path, NULL);
      g_autofree char *target = g_file_read_link (host, NULL);
      g_assert_cmpstr (link, ==, target);
    }
}

/* Compare PATH and all below it. Returns how many there were. */
static guint
compare (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GDir) dir = NULL;
  guint n = 1, n_real = 0;
  struct stat real;
  H2kStat st;

  CHECK (fs->ops->lstat (fs, path, &st, &error));
  if (lstat (host, &real) != 0)
    g_error ("%s is not there", path);
  compare_stat (&st, &real);
  if (strstr (path, "/the entry")) /* all the same */
    return 1;
  compare_attributes (fs, path, host);
  compare_rest (fs, path, host, &st);
  if (!S_ISDIR (st.mode))
    return 1;
  names = fs->ops->list (fs, path, NULL);
  dir = g_dir_open (host, 0, NULL);
  g_assert_nonnull (names);
  g_assert_nonnull (dir);
  while (g_dir_read_name (dir))
    n_real++;
  g_assert_cmpuint (names->len, ==, n_real);
  for (guint i = 0; i < names->len; i++)
    {
      const char *name = names->pdata[i];
      g_autofree char *sub = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", name, NULL);
      g_autofree char *sub_host = g_build_filename (host, name, NULL);
      n += compare (fs, sub, sub_host);
    }
  return n;
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
  g_autofree char *mnt = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_image (configs[i].mkfs, "600M");
  if (!mount_image (configs[i].mount))
    return;
  populate ();
  run ("umount @/mnt");
  disk = open_image ("image");
  fs = open_fs (disk);
  g_assert_null (fs->note);
  g_assert_true (mount_image (",ro,noatime"));
  mnt = g_build_filename (image_dir (), "mnt", NULL);
  numbers = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  g_assert_cmpuint (compare (fs, "/", mnt), >, 2000);
  g_clear_pointer (&numbers, g_hash_table_unref);
  assert_subvolumes (fs);
  run ("umount @/mnt");
  run ("rm @/image");
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
  put_at ("before", 0, 50000, 3);
  run ("sync -f @/mnt/before");
  put_at ("after", 0, 50000, 3);
  run ("sync @/mnt/after");
  run ("cp --sparse=always @/image @/copy");
  run ("umount @/mnt");
  disk = open_image ("copy");
  fs = open_fs (disk);
  g_assert_nonnull (strstr (fs->note, "log"));
  CHECK (fs->ops->lstat (fs, "/before", &st, &error));
  FAILS (fs->ops->lstat (fs, "/after", &st, &error), H2K_ERROR_FAILED);
  run ("rm @/image @/copy");
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
    run ("rm @/tree/sparse");
  if (small)
    run ("truncate -s 150001 @/tree/big");
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
  compare_rest (fs, name, host, &st);
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
  disk = open_image ("image");
  fs = open_fs (disk);
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
  disk = open_image ("image");
  fs = open_fs (disk);
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
      {136, "\x03", 1, H2K_ERROR_UNSUPPORTED, "of 3, 2 cannot be seen"},
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
  run ("btrfs -q subvolume create @/mnt/root");
  run ("mkdir @/mnt/root/swap");
  run ("btrfs -q subvolume create @/mnt/kept");
  run ("touch @/mnt/root/swapfile @/mnt/root/swap/swap.img @/mnt/kept/swapfile "
       "@/mnt/shared-swap");
  run ("chattr +C @/mnt/root/swapfile @/mnt/root/swap/swap.img @/mnt/kept/swapfile "
       "@/mnt/shared-swap");
  run ("sh -c 'cat @/tree/swapfile > @/mnt/root/swapfile'");
  run ("sh -c 'cat @/tree/swap/swap.img > @/mnt/root/swap/swap.img'");
  /* These count as what has to stay: checksums, a snapshot, a second file. */
  run ("cp @/tree/swapped-letters @/tree/swap.suspended @/mnt/");
  run ("sh -c 'cat @/tree/backup.img > @/mnt/kept/swapfile'");
  run ("btrfs -q subvolume snapshot @/mnt/kept @/mnt/kept-too");
  run ("sh -c 'cat @/tree/backup.img > @/mnt/shared-swap'");
  run ("chattr +C @/mnt");
  run ("cp --reflink=always @/mnt/shared-swap @/mnt/shared-too");
  run ("umount @/mnt");
  disk = open_image ("image");
  for (gboolean drop = FALSE; drop <= TRUE; drop++)
    {
      g_autoptr (H2kDisk) view = h2k_used_view_new (disk, drop, NULL, NULL);

      image_assert_swap_files (view, drop);
      g_assert_cmpuint (image_count_bytes (view, 0xe4), >, 2 * (3u << 20) - 2 * IMAGE_SWAP_REST);
      image_save (view, "copy");
      run ("btrfs check --check-data-csum @/copy");
    }
  run ("rm @/image @/copy");
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
  if (have_namespace ())
    image_run (NULL, "umount -q @/mnt");
  image_cleanup ();
  return result;
}
