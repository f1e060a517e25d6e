/* test-xfs.c - files of XFS: what is read is what the kernel sees in the same filesystem, or what
 * mkfs.xfs was given. New kernels do not mount version 4 any more: what an older one saw is in
 * tests/fixtures/xfs-v4/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../packed.h"
#include "manifest.h"
#include "mounted.h"
#include "usages.h"
#include "xfs-files.h"

#include <sys/sysmacros.h>

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

static void
make_image (const char *options, const char *size)
{
  image_dir ();
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s %s @/image", size);
  image_must_run ("mkfs.xfs -q -f %s @/image", options);
}

/* The same with junk where the kernel writes nothing, so that it shows when that is read. */
static void
make_junk_image (const char *options, guint mebibytes)
{
  usage_make_image ((guint64)mebibytes << 20, 0xa5);
  image_must_run ("mkfs.xfs -q -f -K %s @/image", options);
}

/* --- what the kernel sees --------------------------------------------------------------------- */

static void
test_mounted (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mkfs.xfs"))
    return;
  if (*(const char *)options)
    make_image (options, "400M");
  else
    make_junk_image (options, 320);
  if (!mounted_mount ("xfs", ""))
    return;
  xfs_files_make ();
  image_must_run ("umount @/mnt");
  disk = image_open ("image");
  fs = image_open_fs (disk, "xfs");
  g_assert_null (fs->note);
  g_assert_true (mounted_mount ("xfs", ",ro,noatime"));
  g_assert_cmpuint (mounted_assert_same (fs, "/", mounted_assert_stat), >, 8000);
  image_must_run ("umount @/mnt");
  image_must_run ("rm @/image");
}

/* --- what an older kernel saw --------------------------------------------------------------- */

static const char *const samples[] = XFS_FILES_SAMPLES;

static char *
digest_of_file (H2kFs *fs, const char *path, guint64 size)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  const gsize step = 1000003;

  for (guint64 at = 0; at < size; at += step)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GBytes) bytes = fs->ops->read (fs, path, at, step, &error);
      g_assert_no_error (error);
      g_checksum_update (sum, g_bytes_get_data (bytes, NULL), (gssize)g_bytes_get_size (bytes));
    }
  return g_strdup (g_checksum_get_string (sum));
}

static GPtrArray *
attributes_of (H2kFs *fs, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list_xattr (fs, path, &error);
  GPtrArray *attributes = g_ptr_array_new_with_free_func (g_free);

  g_assert_no_error (error);
  for (guint i = 0; i < names->len; i++)
    {
      g_autoptr (GBytes) value = fs->ops->get_xattr (fs, path, names->pdata[i], &error);
      g_assert_no_error (error);
      g_assert_nonnull (value);
      g_ptr_array_add (attributes,
                       manifest_attribute (names->pdata[i], g_bytes_get_data (value, NULL),
                                           g_bytes_get_size (value)));
    }
  return attributes;
}

static char *
line_of (H2kFs *fs, const char *path, const H2kStat *st)
{
  g_autoptr (GPtrArray) attributes = attributes_of (fs, path);
  g_autofree char *what = NULL;

  if (S_ISREG (st->mode))
    what = digest_of_file (fs, path, st->size);
  if (S_ISLNK (st->mode))
    what = fs->ops->readlink (fs, path, NULL);
  return manifest_line (path, st, what ? what : "", attributes);
}

/* The file PATH and all below it, into LINES. */
static void
list_all (H2kFs *fs, GPtrArray *lines, const char *path)
{
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GError) error = NULL;
  H2kStat st;

  fs->ops->lstat (fs, path, &st, &error);
  g_assert_no_error (error);
  g_ptr_array_add (lines, line_of (fs, path, &st));
  if (!S_ISDIR (st.mode))
    return;
  names = fs->ops->list (fs, path, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *sub = g_build_filename (path, names->pdata[i], NULL);
      list_all (fs, lines, sub);
    }
}

/* DISK has the files of the manifest of SAMPLE: these, as they are, and no others. */
static void
assert_manifest (H2kDisk *disk, const char *sample)
{
  g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *expected = packed_text ("xfs-v4", sample, "manifest.zst");
  g_autoptr (H2kFs) fs = image_open_fs (disk, "xfs");
  g_auto (GStrv) expected_lines = g_strsplit (expected, "\n", -1);
  g_autofree char *text = NULL;

  g_assert_null (fs->note);
  list_all (fs, lines, "/");
  text = manifest_text (lines);
  for (guint i = 0; i < lines->len && expected_lines[i]; i++)
    g_assert_cmpstr (lines->pdata[i], ==, expected_lines[i]);
  g_assert_cmpstr (text, ==, expected);
  g_assert_cmpuint (lines->len, >, 8000);
}

static void
test_sample (gconstpointer sample)
{
  g_autoptr (H2kDisk) disk = packed_disk ("xfs-v4", sample, "image.zst");

  g_assert_nonnull (disk);
  assert_manifest (disk, sample);
}

/* What is not in use is not needed for anything. */
static void
test_sample_usage (gconstpointer sample)
{
  g_autoptr (H2kDisk) disk = packed_disk ("xfs-v4", sample, "image.zst");
  g_autoptr (H2kDisk) copy = NULL;
  g_autofree char *output = NULL;
  guint64 in_use;

  g_assert_nonnull (disk);
  if (!image_have ("xfs_repair"))
    return;
  copy = usage_copy (disk, FALSE, &in_use);
  g_assert_cmpuint (in_use, <, disk->size / 2);
  assert_manifest (copy, sample);
  image_save (copy, "image");
  if (image_run (&output, "xfs_repair -n -f @/image") != 0)
    g_error ("%s", output);
  image_must_run ("rm @/image");
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
  image_must_run ("dd if=/dev/urandom of=@/one bs=1000 count=7");
  image_must_run ("dd if=/dev/urandom of=@/two bs=100000 count=17");
}

static void
assert_same_file (H2kFs *fs, const char *path, const char *name)
{
  g_autofree char *host = g_build_filename (image_dir (), name, NULL);

  mounted_assert_content (fs, path, host);
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
  disk = image_open ("image");
  fs = image_open_fs (disk, "xfs");
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
  disk = image_open ("image");
  fs = image_open_fs (disk, "xfs");
  CHECK (fs->ops->lstat (fs, "/one", &st, &error));
  g_clear_pointer (&fs, h2k_fs_free);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    image_must_run ("xfs_db -x -c 'inode %" G_GUINT64_FORMAT "' -c 'attr_set %s -v %u %s' @/image",
                    st.inode, cases[i].flag, cases[i].length, strchr (cases[i].name, '.') + 1);
  for (guint i = 0; i < n_filled; i++)
    image_must_run ("xfs_db -x -c 'inode %" G_GUINT64_FORMAT
                    "' -c 'attr_set -u -v 150 filled%u' @/image",
                    st.inode, i);
  fs = image_open_fs (disk, "xfs");
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
  disk = image_open ("image");
  overlay = h2k_overlay_new (disk, NULL, 4 << 20);
  fs = image_open_fs (overlay, "xfs");
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
  fs = image_open_fs (overlay, "xfs");
  assert_proto (fs);
  /* A leaf that is none any more. */
  g_assert_true (h2k_disk_pwrite (overlay, (first + 5) * BLOCK, 1, "X", NULL));
  g_clear_pointer (&fs, h2k_fs_free);
  fs = image_open_fs (overlay, "xfs");
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
  disk = image_open ("image");
  overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  fs = image_open_fs (overlay, "xfs");
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
  image_must_run ("truncate -s 80M @/log");
  make_proto_image ("-l logdev=@/log,size=64m");
  disk = image_open ("image");
  fs = image_open_fs (disk, "xfs");
  g_assert_nonnull (fs->note);
  g_assert_nonnull (strstr (fs->note, "another device"));
  assert_proto (fs);
  g_clear_pointer (&fs, h2k_fs_free);
  h2k_disk_unref (g_steal_pointer (&disk));

  make_proto_image ("");
  if (!image_have ("xfs_io") || !mounted_mount ("xfs", ""))
    return;
  mounted_put ("new", 0, 5000, 13);
  image_must_run ("xfs_io -x -c 'shutdown -f' @/mnt");
  image_must_run ("umount @/mnt");
  disk = image_open ("image");
  fs = image_open_fs (disk, "xfs");
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
  disk = image_open ("image");
  whole = image_open_fs (disk, "xfs");
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
      /* Of version 4 there are samples. */
      if (!strstr (configs[i], "crc=0"))
        g_test_add_data_func (mounted, configs[i], test_mounted);
      g_test_add_data_func (proto, configs[i], test_proto);
    }
  for (gsize i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *files = g_strdup_printf ("/xfs/sample/%s/files", samples[i]);
      g_autofree char *usage = g_strdup_printf ("/xfs/sample/%s/usage", samples[i]);
      g_test_add_data_func (files, samples[i], test_sample);
      g_test_add_data_func (usage, samples[i], test_sample_usage);
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
