/* test-xfs.c - files of XFS: what is read is what the kernel sees in the same filesystem, or what
 * mkfs.xfs was given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *const configs[] = {
    "",
    "-m bigtime=1,inobtcount=1,reflink=1,rmapbt=1 -i nrext64=1",
    "-m bigtime=0,reflink=0,finobt=0 -i size=2048,sparse=0",
    "-b size=1024 -i size=512 -n size=4096",
    "-b size=1024 -n size=8192 -d agcount=3",
    "-n size=65536 -s size=4096",
    "-m crc=0",
    "-m crc=0,finobt=0 -i size=256,attr=1 -n ftype=0",
    "-m crc=0 -b size=512 -n size=4096,ftype=1 -i size=256",
    "-m crc=0 -b size=2048 -i size=1024",
};

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

static H2kDisk *
open_image (void)
{
  g_autofree char *path = g_build_filename (image_dir (), "image", NULL);
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
  g_assert_cmpstr (fs->ops->name, ==, "xfs");
  return fs;
}

static void
make_image (const char *options, const char *size)
{
  image_dir ();
  run ("rm -f @/image");
  run ("truncate -s %s @/image", size);
  run ("mkfs.xfs -q -f %s @/image", options);
}

/* The same with junk where the kernel writes nothing, so that it shows when that is read. */
static void
make_junk_image (const char *options, guint mebibytes)
{
  g_autofree char *path = g_build_filename (image_dir (), "image", NULL);
  g_autofree guint8 *junk = g_malloc (1 << 20);
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

  memset (junk, 0xa5, 1 << 20);
  for (guint i = 0; i < mebibytes; i++)
    g_assert_cmpint (write (fd, junk, 1 << 20), ==, 1 << 20);
  close (fd);
  run ("mkfs.xfs -q -f -K %s @/image", options);
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

/* Mount "@/image" at "@/mnt"; FALSE, and the test is skipped, where that cannot be done. */
static gboolean
mount_image (const char *options)
{
  g_autofree char *output = NULL;

  run ("mkdir -p @/mnt");
  if (have_namespace ()
      && image_run (&output, "mount -t xfs -o loop%s @/image @/mnt", options) == 0)
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

static void
put_at (const char *name, guint64 offset, gsize length)
{
  g_autofree char *path = host_path (name);
  g_autofree guint8 *data = g_malloc (length + 1);
  int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

  for (gsize i = 0; i < length; i++)
    data[i] = (guint8)((i + offset) * 13 + (i + offset) / 251);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (pwrite (fd, data, length, (off_t)offset), ==, (gssize)length);
  close (fd);
}

static void
make_dir (const char *name, guint entries, guint removed_every)
{
  g_autofree char *path = host_path (name), *first = g_build_filename (path, "first", NULL);

  g_assert_cmpint (mkdir (path, 0750), ==, 0);
  if (entries)
    g_assert_true (g_file_set_contents (first, name, -1, NULL));
  for (guint i = 1; i < entries; i++)
    {
      g_autofree char *file = g_strdup_printf ("%s/the entry number %u%s", path, i,
                                               i % 7 ? "" : " with quite some more characters");
      g_assert_cmpint (link (first, file), ==, 0);
      if (removed_every && i % removed_every == 0)
        g_assert_cmpint (unlink (file), ==, 0);
    }
}

/* Files in pieces: holes in FILE at every other block. */
static void
make_pieces (const char *name, guint pieces)
{
  g_autofree char *path = host_path (name);
  int fd;

  put_at (name, 0, pieces * 8192u);
  fd = open (path, O_WRONLY | O_CLOEXEC);
  for (guint i = 0; i < pieces; i++)
    g_assert_cmpint (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)i * 8192,
                                4096),
                     ==, 0);
  close (fd);
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
      {"attr-leaf", "user.leaf", 300, 3},
      {"attr-many", "user.many", 90, 200},
      {"attr-large", "user.large", 9000, 2},
      {"attr-largest", "user.largest", 65536, 1},
      {"attr-label", "security.selinux", 30, 1},
      {"attr-trusted", "trusted.x", 30, 1},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = host_path (cases[i].name);
      put_at (cases[i].name, 0, 3);
      for (guint k = 0; k < cases[i].count; k++)
        {
          g_autofree char *attribute
              = k ? g_strdup_printf ("%s%u", cases[i].attribute, k) : g_strdup (cases[i].attribute);
          g_autofree char *value = g_strnfill (cases[i].length, (char)('a' + k % 26));
          g_assert_cmpint (setxattr (path, attribute, value, cases[i].length, 0), ==, 0);
        }
    }
}

static void
set_times (const char *name, gint64 seconds)
{
  g_autofree char *path = host_path (name);
  struct timespec times[2] = {{seconds, 5}, {seconds + 1, 6}};

  put_at (name, 0, 1);
  g_assert_cmpint (utimensat (AT_FDCWD, path, times, 0), ==, 0);
}

static void
populate (void)
{
  g_autofree char *fifo = host_path ("fifo"), *null = host_path ("null");
  g_autofree char *owned = host_path ("owned"), *deep = g_strdup ("deep");

  put_at ("empty", 0, 0);
  put_at ("small", 0, 100);
  put_at ("big", 0, 3000000);
  put_at ("sparse", 5000000, 100);
  put_at ("sparse", 40000001, 5000);
  make_pieces ("pieces-some", 15);
  make_pieces ("pieces-many", 3000);
  put_at ("unwritten", 100000, 5000);
  run ("fallocate -o 0 -l 300000 @/mnt/unwritten");
  make_dir ("dir-empty", 0, 0);
  make_dir ("dir-short", 4, 3);
  make_dir ("dir-block", 30, 4);
  make_dir ("dir-leaf", 700, 3);
  make_dir ("dir-node", 10000, 5);
  for (guint i = 0; i < 40; i++)
    {
      char *next = g_build_filename (deep, "deeper", NULL);
      make_dir (deep, 1, 0);
      g_free (deep);
      deep = next;
    }
  run ("ln -s small @/mnt/link");
  run ("ln -s /%0300d @/mnt/link-long", 7);
  run ("ln -s /%0250d/%0250d/%0250d/%0250d @/mnt/link-longest", 1, 2, 3, 4);
  make_attributes ();
  put_at ("owned", 0, 1);
  g_assert_cmpint (chown (owned, 70000, 80000), ==, 0);
  g_assert_cmpint (chmod (owned, 06711), ==, 0);
  g_assert_cmpint (mknod (null, S_IFCHR | 0600, makedev (300, 60000)), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0622), ==, 0);
  set_times ("time-old", -1000000000);
  set_times ("time-late", 2147483000);
  set_times ("time-later", G_GINT64_CONSTANT (5000000000)); /* cut off without bigtime */
}

/* --- comparing -------------------------------------------------------------------------------- */

static void
compare_content (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GMappedFile) file = g_mapped_file_new (host, FALSE, NULL);
  const char *data;
  gsize size, step = 1000003;

  g_assert_nonnull (file);
  data = g_mapped_file_get_contents (file);
  size = g_mapped_file_get_length (file);
  for (gsize at = 0; at <= size; at += step)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GBytes) bytes = fs->ops->read (fs, path, at, step, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (g_bytes_get_size (bytes), ==, MIN (step, size - at));
      if (size > at)
        g_assert_true (memcmp (data + at, g_bytes_get_data (bytes, NULL), MIN (step, size - at))
                       == 0);
    }
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

static void
compare_stat (const H2kStat *st, const struct stat *real)
{
  g_assert_cmpuint (st->mode, ==, real->st_mode);
  g_assert_cmpuint (st->uid, ==, real->st_uid);
  g_assert_cmpuint (st->gid, ==, real->st_gid);
  g_assert_cmpuint (st->size, ==, (guint64)real->st_size);
  g_assert_cmpuint (st->inode, ==, real->st_ino);
  g_assert_cmpuint (st->nlink, ==, real->st_nlink);
  g_assert_cmpuint (st->rdev, ==, real->st_rdev);
  g_assert_cmpint (st->atime, ==, real->st_atime);
  g_assert_cmpint (st->mtime, ==, real->st_mtime);
  g_assert_cmpint (st->ctime, ==, real->st_ctime);
}

/* Compare PATH and all below it. Returns how many there were. */
static guint
compare (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GDir) dir = NULL;
  g_autofree char *target = NULL;
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
  if (S_ISREG (st.mode))
    compare_content (fs, path, host);
  if (S_ISLNK (st.mode))
    {
      g_autofree char *link = fs->ops->readlink (fs, path, NULL);
      target = g_file_read_link (host, NULL);
      g_assert_cmpstr (link, ==, target);
    }
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
test_mounted (gconstpointer options)
{
  g_autofree char *mnt = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mkfs.xfs"))
    return;
  if (*(const char *)options)
    make_image (options, "400M");
  else
    make_junk_image (options, 320);
  if (!mount_image (""))
    return;
  populate ();
  run ("umount @/mnt");
  disk = open_image ();
  fs = open_fs (disk);
  g_assert_null (fs->note);
  g_assert_true (mount_image (",ro,noatime"));
  mnt = g_build_filename (image_dir (), "mnt", NULL);
  g_assert_cmpuint (compare (fs, "/", mnt), >, 8000);
  run ("umount @/mnt");
  run ("rm @/image");
}

/* --- without mounting ------------------------------------------------------------------------- */

#define N_MANY 1500u

/* mkfs.xfs 6.1 makes links that are not in their inode as version 4 has them. */
static guint link_length;

/* "@/proto": a tree as mkfs.xfs takes it, with the files "@/one" and "@/two". */
static void
make_proto (void)
{
  g_autofree char *path = g_build_filename (image_dir (), "proto", NULL);
  g_autofree char *target = g_strnfill (link_length, 't');
  g_autoptr (GString) text = g_string_new ("-\n0 0\nd--755 5 6\n");

  g_string_append_printf (text, "one ---644 0 0 %s/one\n", image_dir ());
  g_string_append_printf (text, "two -u-755 7 8 %s/two\n", image_dir ());
  g_string_append_printf (text, "link l--777 0 0 one/two\nlonglink l--777 0 0 %s\n", target);
  g_string_append (text, "null c--666 0 0 1 3\ndir d--750 1 2\n");
  g_string_append_printf (text, "inside ---600 0 0 %s/one\n$\nmany d--750 1 2\n", image_dir ());
  for (guint i = 0; i < N_MANY; i++)
    g_string_append_printf (text, "the-entry-number-%u ---600 %u 0 /dev/null\n", i, i);
  g_string_append (text, "$\n$\n");
  g_assert_true (g_file_set_contents (path, text->str, -1, NULL));
  run ("dd if=/dev/urandom of=@/one bs=1000 count=7");
  run ("dd if=/dev/urandom of=@/two bs=100000 count=17");
}

static void
assert_same_file (H2kFs *fs, const char *path, const char *name)
{
  g_autofree char *host = g_build_filename (image_dir (), name, NULL);

  compare_content (fs, path, host);
}

static void
assert_proto (H2kFs *fs)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, "/", NULL);
  g_autoptr (GPtrArray) many = fs->ops->list (fs, "/many", NULL);
  g_autofree char *link = fs->ops->readlink (fs, "/link", NULL);
  g_autofree char *longlink = fs->ops->readlink (fs, "/longlink", NULL);
  g_autofree char *target = g_strnfill (link_length, 't');
  H2kStat st;

  g_assert_cmpuint (names->len, ==, 7);
  g_assert_cmpuint (many->len, ==, N_MANY);
  g_assert_cmpstr (link, ==, "one/two");
  g_assert_cmpstr (longlink, ==, target);
  for (guint i = 0; i < N_MANY; i++)
    {
      g_autofree char *path = g_strdup_printf ("/many/the-entry-number-%u", i);
      CHECK (fs->ops->lstat (fs, path, &st, &error));
      g_assert_cmpuint (st.uid, ==, i);
    }
  assert_same_file (fs, "/one", "one");
  assert_same_file (fs, "/two", "two");
  assert_same_file (fs, "/dir/inside", "one");
  CHECK (fs->ops->lstat (fs, "/two", &st, &error));
  g_assert_cmpuint (st.mode, ==, S_IFREG | 04755);
  g_assert_cmpuint (st.uid, ==, 7);
  g_assert_cmpuint (st.gid, ==, 8);
  CHECK (fs->ops->lstat (fs, "/null", &st, &error));
  g_assert_cmpuint (st.mode, ==, S_IFCHR | 0666);
  g_assert_cmpuint (st.rdev, ==, makedev (1, 3));
  CHECK (fs->ops->lstat (fs, "/", &st, &error));
  g_assert_cmpuint (st.uid, ==, 5);
}

static void
make_proto_image (const char *options)
{
  g_autofree char *all = g_strdup_printf ("-p @/proto %s", options);

  link_length = strstr (options, "crc=0") ? 1000 : 50;
  make_proto ();
  make_image (all, "300M");
}

static void
test_proto (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mkfs.xfs"))
    return;
  image_dir ();
  make_proto_image (options);
  disk = open_image ();
  fs = open_fs (disk);
  assert_proto (fs);
}

/* The attributes that xfs_db sets; new kernels do not mount version 4 any more. */
static void
test_attributes (gconstpointer options)
{
  static const struct
  {
    const char *flag, *name;
    guint length;
  } cases[] = {{"-u", "user.small", 10},
               {"-r", "trusted.r", 200},
               {"-s", "security.s", 40},
               {"-u", "user.large", 20000},
               {"-u", "user.more", 3000}};
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  const guint n_filled = 40;
  H2kStat st;

  if (!image_have ("mkfs.xfs") || !image_have ("xfs_db"))
    return;
  make_proto_image (options);
  disk = open_image ();
  fs = open_fs (disk);
  CHECK (fs->ops->lstat (fs, "/one", &st, &error));
  g_clear_pointer (&fs, h2k_fs_free);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    run ("xfs_db -x -c 'inode %" G_GUINT64_FORMAT "' -c 'attr_set %s -v %u %s' @/image", st.inode,
         cases[i].flag, cases[i].length, strchr (cases[i].name, '.') + 1);
  for (guint i = 0; i < n_filled; i++)
    run ("xfs_db -x -c 'inode %" G_GUINT64_FORMAT "' -c 'attr_set -u -v 150 filled%u' @/image",
         st.inode, i);
  fs = open_fs (disk);
  names = fs->ops->list_xattr (fs, "/one", NULL);
  g_assert_cmpuint (names->len, ==, G_N_ELEMENTS (cases) + n_filled);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *value = g_strnfill (cases[i].length, 'v');
      g_autoptr (GBytes) bytes = fs->ops->get_xattr (fs, "/one", cases[i].name, NULL);
      g_assert_nonnull (bytes);
      g_assert_cmpmem (value, cases[i].length, g_bytes_get_data (bytes, NULL),
                       g_bytes_get_size (bytes));
    }
  assert_proto (fs);
}

static void
put_be (guint8 *p, guint length, guint64 value)
{
  for (guint i = 0; i < length; i++)
    p[i] = (guint8)(value >> (length - 1 - i) * 8);
}

/* A block of a tree of extents in version 4, at the byte OFFSET. KEYS are COUNT words for a node,
 * and the numbers of its children; for a leaf pairs of words. */
static void
put_node (H2kDisk *disk, guint64 offset, gsize size, guint level, const guint64 *keys,
          const guint64 *children, guint count)
{
  g_autofree guint8 *data = g_malloc0 (size);
  gsize most = (size - 24) / 16;

  memcpy (data, "BMAP", 4);
  put_be (data + 4, 2, level);
  put_be (data + 6, 2, count);
  for (guint i = 0; i < count; i++)
    if (level)
      {
        put_be (data + 24 + i * 8, 8, keys[i]);
        put_be (data + 24 + most * 8 + i * 8, 8, children[i]);
      }
    else
      {
        put_be (data + 24 + i * 16, 8, keys[2 * i]);
        put_be (data + 32 + i * 16, 8, keys[2 * i + 1]);
      }
  g_assert_true (h2k_disk_pwrite (disk, offset, size, data, NULL));
}

/* The file "/two" of version 4, which has one extent, gets one a block, in a tree of three levels
 * at the end of the first group. */
static void
test_old_tree (void)
{
  enum
  {
    BLOCK = 1024,
    PER_LEAF = 40,
    BLOCKS = 1661,
    LEAVES = (BLOCKS + PER_LEAF - 1) / PER_LEAF,
  };
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint64 keys[LEAVES], children[LEAVES], at, inode_at, start, first;
  guint8 head[128], raw[256];
  H2kStat st;

  if (!image_have ("mkfs.xfs"))
    return;
  make_proto_image ("-m crc=0 -b size=1024 -i size=256");
  disk = open_image ();
  overlay = h2k_overlay_new (disk, NULL, 4 << 20);
  fs = open_fs (overlay);
  CHECK (fs->ops->lstat (fs, "/two", &st, &error));
  g_clear_pointer (&fs, h2k_fs_free);
  g_assert_true (h2k_disk_pread (disk, 0, sizeof head, head, NULL));
  at = h2k_be32 (head + 84) - 200; /* blocks of the first group, all free */
  inode_at = st.inode * 256;       /* which is in the first group */
  g_assert_true (h2k_disk_pread (disk, inode_at, sizeof raw, raw, NULL));
  g_assert_cmpuint (h2k_be32 (raw + 76), ==, 1);
  start = (h2k_be64 (raw + 100) & 0x1ff) << 43 | h2k_be64 (raw + 108) >> 21;
  first = at;
  for (guint leaf = 0; leaf < LEAVES; leaf++)
    {
      guint64 records[2 * PER_LEAF];
      guint n = 0;
      keys[leaf] = (guint64)leaf * PER_LEAF;
      children[leaf] = at + leaf;
      for (; n < PER_LEAF && keys[leaf] + n < BLOCKS; n++)
        {
          guint64 block = start + keys[leaf] + n;
          records[2 * n] = (keys[leaf] + n) << 9 | block >> 43;
          records[2 * n + 1] = block << 21 | 1;
        }
      put_node (overlay, (at + leaf) * BLOCK, BLOCK, 0, records, NULL, n);
    }
  at += LEAVES;
  put_node (overlay, at * BLOCK, BLOCK, 1, keys, children, LEAVES);
  raw[5] = 3; /* a tree */
  put_be (raw + 76, 4, BLOCKS);
  memset (raw + 100, 0, 156);
  put_be (raw + 100, 2, 2);
  put_be (raw + 102, 2, 1);
  put_be (raw + 104 + (156 - 4) / 16 * 8, 8, at);
  g_assert_true (h2k_disk_pwrite (overlay, inode_at, sizeof raw, raw, NULL));
  fs = open_fs (overlay);
  assert_proto (fs);
  /* A leaf that is none any more. */
  g_assert_true (h2k_disk_pwrite (overlay, (first + 5) * BLOCK, 1, "X", NULL));
  g_clear_pointer (&fs, h2k_fs_free);
  fs = open_fs (overlay);
  FAILS (fs->ops->read (fs, "/two", 0, G_MAXSIZE, &error), H2K_ERROR_FILESYSTEM);
}

static void
test_errors (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (H2kDisk) slice = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!image_have ("mkfs.xfs"))
    return;
  image_dir ();
  make_proto_image ("");
  disk = open_image ();
  overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  fs = open_fs (overlay);
  FAILS (fs->ops->lstat (fs, "/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/one/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/link/two", &st, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->list (fs, "/one", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->read (fs, "/dir", 0, 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->readlink (fs, "/one", &error), H2K_ERROR_FILESYSTEM);
  /* It could be written, but nobody here does that. */
  g_assert_false (fs->writable);
  FAILS (h2k_fs_check_writable (fs, &error), H2K_ERROR_UNSUPPORTED);
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 0);
  slice = h2k_slice_new (disk, 0, 200 << 20, "slice", NULL);
  FAILS (h2k_fs_open (slice, &error), H2K_ERROR_FILESYSTEM);
}

/* A log that has to be replayed, or that is elsewhere, is told of. */
static void
test_logs (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mkfs.xfs"))
    return;
  image_dir ();
  run ("truncate -s 80M @/log");
  make_proto_image ("-l logdev=@/log,size=64m");
  disk = open_image ();
  fs = open_fs (disk);
  g_assert_nonnull (fs->note);
  g_assert_nonnull (strstr (fs->note, "another device"));
  assert_proto (fs);
  g_clear_pointer (&fs, h2k_fs_free);
  h2k_disk_unref (g_steal_pointer (&disk));

  make_proto_image ("");
  if (!image_have ("xfs_io") || !mount_image (""))
    return;
  put_at ("new", 0, 5000);
  run ("xfs_io -x -c 'shutdown -f' @/mnt");
  run ("umount @/mnt");
  disk = open_image ();
  fs = open_fs (disk);
  g_assert_nonnull (fs->note);
  g_assert_nonnull (strstr (fs->note, "not unmounted"));
  assert_same_file (fs, "/one", "one");
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
visit (H2kFs *fs, const char *path, guint depth, guint *failures)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  *failures += !names;
  for (guint i = 0; names && i < names->len; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      GBytes *bytes;
      H2kStat st;

      if (!fs->ops->lstat (fs, sub, &st, NULL))
        {
          ++*failures;
          continue;
        }
      if (S_ISDIR (st.mode) && depth < 5)
        visit (fs, sub, depth + 1, failures);
      bytes = fs->ops->read (fs, sub, 0, 100000, NULL);
      *failures += S_ISREG (st.mode) && !bytes;
      g_clear_pointer (&bytes, g_bytes_unref);
    }
}

/* Any byte of the metadata may be another one. With checksums that is always noticed. */
static void
test_damage (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  g_autoptr (H2kFs) whole = NULL;
  guint refused = 0, rounds = 300;
  H2kStat st;

  if (!image_have ("mkfs.xfs"))
    return;
  image_dir ();
  make_proto_image (options);
  disk = open_image ();
  whole = open_fs (disk);
  CHECK (whole->ops->lstat (whole, "/", &st, &error));
  for (guint i = 0; i < rounds; i++)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
      g_autoptr (H2kFs) fs = NULL;
      guint failures = 0;
      guint8 byte;
      /* The root's inode and those behind it: it is the number of a place in the first group. */
      guint64 at = st.inode * 512 + (guint64)g_rand_int_range (rand, 0, 5 * 512);

      g_assert_true (h2k_disk_pread (disk, at, 1, &byte, NULL));
      byte = (guint8)(byte + (guint)g_rand_int_range (rand, 1, 256));
      g_assert_true (h2k_disk_pwrite (overlay, at, 1, &byte, NULL));
      fs = h2k_fs_open (overlay, NULL);
      if (fs)
        visit (fs, "/", 0, &failures);
      refused += !fs || failures;
    }
  if (strstr (options, "crc=0"))
    g_assert_cmpuint (refused, >, rounds / 100);
  else
    g_assert_cmpuint (refused, >, rounds / 2);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *mounted = g_strdup_printf ("/xfs/mounted/%zu%s", i, configs[i]);
      g_autofree char *proto = g_strdup_printf ("/xfs/proto/%zu%s", i, configs[i]);
      g_test_add_data_func (mounted, configs[i], test_mounted);
      g_test_add_data_func (proto, configs[i], test_proto);
    }
  g_test_add_data_func ("/xfs/damage/crc", "", test_damage);
  g_test_add_data_func ("/xfs/damage/no-crc", "-m crc=0 -i size=512", test_damage);
  g_test_add_data_func ("/xfs/attributes/no-crc", "-m crc=0", test_attributes);
  g_test_add_data_func ("/xfs/attributes/crc", "-b size=1024", test_attributes);
  g_test_add_func ("/xfs/old-tree", test_old_tree);
  g_test_add_func ("/xfs/errors", test_errors);
  g_test_add_func ("/xfs/logs", test_logs);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
