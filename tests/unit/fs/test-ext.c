/* test-ext.c - files of ext2, ext3 and ext4: what is read and written is what e2fsprogs sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char *const configs[] = {
    "-t ext4 -b 4096",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048 -O ^64bit,^metadata_csum",
    "-t ext4 -O ^metadata_csum,uninit_bg",
    "-t ext4 -b 4096 -O metadata_csum_seed -I 512",
    "-t ext4 -b 4096 -O inline_data",
    "-t ext4 -b 4096 -O bigalloc -C 16384",
    "-t ext4 -b 4096 -O ea_inode,large_dir",
    "-t ext4 -O ^flex_bg,^resize_inode,meta_bg",
    "-t ext4 -O ^has_journal,^extents,^64bit,^dir_index",
    "-t ext4 -g 1024 -b 1024",
    "-t ext4 -I 128 -O ^metadata_csum",
    "-t ext3 -b 4096",
    "-t ext3 -b 1024",
    "-t ext2 -b 4096",
    "-t ext2 -O none -b 1024",
};

/* One of each change. */
static void
change_everything (H2kFs *fs)
{
  const H2kFsOps *ops = fs->ops;
  g_autofree guint8 *data = g_malloc (3000000);
  g_autofree char *target = g_strnfill (200, 't');
  H2kStat st;

  for (guint i = 0; i < 3000000; i++)
    data[i] = (guint8)(i * 13 + i / 997);
  CHECK (ops->create (fs, "/new", 0640, 70000, 80000, NULL, &error));
  CHECK (ops->write (fs, "/new", 0, data, 3000000, &error));
  CHECK (ops->write (fs, "/new", 9000001, "end", 3, &error));
  CHECK (ops->write (fs, "/tiny", 0, data, 5000, &error));
  CHECK (ops->write (fs, "/sparse", 1000001, data, 100000, &error));
  CHECK (ops->truncate (fs, "/big", 123457, &error));
  CHECK (ops->truncate (fs, "/big", 200000, &error));
  CHECK (ops->create (fs, "/dir", S_IFDIR | 02775, 1, 2, NULL, &error));
  CHECK (ops->create (fs, "/dir/short", 0, 3, 4, "short", &error));
  CHECK (ops->create (fs, "/dir/long", 0, 0, 0, target, &error));
  for (guint i = 0; i < 600; i++)
    {
      g_autofree char *path = g_strdup_printf ("/dir/a-file-with-a-rather-long-name-%u", i);
      image_put (fs, path, path);
    }
  for (guint i = 0; i < 600; i += 3)
    {
      g_autofree char *path = g_strdup_printf ("/dir/a-file-with-a-rather-long-name-%u", i);
      CHECK (ops->remove (fs, path, &error));
    }
  CHECK (ops->create (fs, "/etc/sub", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (ops->rename (fs, "/dir", "/etc/sub/moved", &error));
  CHECK (ops->rename (fs, "/etc/fstab", "/etc/empty", &error));
  CHECK (ops->remove (fs, "/hard", &error));
  CHECK (ops->remove (fs, "/longlink", &error));
  CHECK (ops->lstat (fs, "/new", &st, &error));
  g_assert_cmpuint (st.uid, ==, 70000);
  g_assert_cmpuint (st.gid, ==, 80000);
  g_assert_cmpuint (st.mode, ==, S_IFREG | 0640);
  st.mode = 0600;
  st.mtime = st.atime = st.ctime = 1700000000;
  CHECK (ops->set_stat (fs, "/new", &st, &error));
}

static void
test_changes (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFs) again = NULL;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs (data, "32M", TRUE);
  fs = image_open_fs (disk, "ext");
  image_assert_same_tree (disk, fs);
  change_everything (fs);
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
  image_assert_same_tree (disk, fs);
  again = image_open_fs (disk, "ext");
  image_assert_same_tree (disk, again);
}

static void
test_nothing_written (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs ("-t ext4 -b 4096", "64M", TRUE);
  overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  fs = image_open_fs (overlay, "ext");
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 0);
  image_put (fs, "/etc/fstab", "UUID=2 / ext4\n");
  CHECK (fs->ops->flush (fs, &error));
  /* The file's block, its inode, the superblock: not a copy of each bitmap. */
  g_assert_cmpuint (h2k_overlay_bytes (overlay), <=, 5 * 65536);
}

static gboolean
is_there (H2kFs *fs, const char *path)
{
  H2kStat st;

  return fs->ops->lstat (fs, path, &st, NULL) && fs->ops->lstat (fs, path, &st, NULL);
}

/* Names that were looked up before, and are kept, change like those that were not; also where the
 * inode of a directory becomes another directory. */
static void
test_names (void)
{
  g_autoptr (H2kDisk) disk = image_mke2fs ("-t ext4", "16M", FALSE);
  g_autoptr (H2kFs) fs = image_open_fs (disk, "ext");
  H2kStat st, other;

  CHECK (fs->ops->create (fs, "/d", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/f", S_IFDIR | 0755, 0, 0, NULL, &error));
  image_put (fs, "/d/a", "a");
  image_put (fs, "/d/b", "b");
  g_assert_true (is_there (fs, "/d/a") && is_there (fs, "/d/b") && !is_there (fs, "/d/c"));
  CHECK (fs->ops->rename (fs, "/d/a", "/d/c", &error));
  g_assert_true (!is_there (fs, "/d/a") && is_there (fs, "/d/b") && is_there (fs, "/d/c"));
  CHECK (fs->ops->remove (fs, "/d/b", &error));
  g_assert_true (!is_there (fs, "/d/b") && is_there (fs, "/d/c"));
  CHECK (fs->ops->rename (fs, "/d/c", "/f/c", &error));
  g_assert_true (!is_there (fs, "/d/c") && is_there (fs, "/f/c"));
  CHECK (fs->ops->rename (fs, "/f", "/d/f", &error));
  g_assert_true (!is_there (fs, "/f") && is_there (fs, "/d/f/c"));
  CHECK (fs->ops->lstat (fs, "/d", &st, &error));
  CHECK (fs->ops->lstat (fs, "/d/f/..", &other, &error));
  g_assert_cmpuint (st.inode, ==, other.inode);
  CHECK (fs->ops->rename (fs, "/d/f", "/f", &error));
  CHECK (fs->ops->lstat (fs, "/d", &st, &error));
  CHECK (fs->ops->remove (fs, "/d", &error));
  CHECK (fs->ops->create (fs, "/e", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->lstat (fs, "/e", &other, &error));
  g_assert_cmpuint (st.inode, ==, other.inode);
  g_assert_true (is_there (fs, "/f/c") && !is_there (fs, "/e/f") && !is_there (fs, "/e/x"));
  image_put (fs, "/e/x", "x");
  g_assert_true (is_there (fs, "/e/x"));
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
}

static void
test_stat (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!image_have ("mke2fs"))
    return;
  h2k_disk_unref (image_mke2fs ("-t ext4", "16M", TRUE));
  image_run (NULL, "debugfs -w -R 'mknod null c 300 60000' @/image");
  image_run (NULL, "debugfs -w -R 'set_inode_field /big mtime @0x1f0000000' @/image");
  disk = image_load ("image");
  fs = image_open_fs (disk, "ext");
  CHECK (fs->ops->lstat (fs, "/null", &st, &error));
  g_assert_true (S_ISCHR (st.mode));
  g_assert_cmpuint (st.rdev, ==, makedev (300, 60000));
  CHECK (fs->ops->lstat (fs, "/tiny", &st, &error));
  g_assert_cmpuint (st.mode, ==, S_IFREG | 04750);
  g_assert_cmpuint (st.nlink, ==, 2);
  CHECK (fs->ops->lstat (fs, "/", &st, &error));
  g_assert_cmpuint (st.inode, ==, 2);
  /* A time after 2038 survives. */
  st.mode = 0755;
  st.mtime = G_GINT64_CONSTANT (5000000000);
  CHECK (fs->ops->set_stat (fs, "/big", &st, &error));
  CHECK (fs->ops->lstat (fs, "/big", &st, &error));
  g_assert_cmpint (st.mtime, ==, G_GINT64_CONSTANT (5000000000));
  st.mtime = -5;
  CHECK (fs->ops->set_stat (fs, "/big", &st, &error));
  CHECK (fs->ops->lstat (fs, "/big", &st, &error));
  g_assert_cmpint (st.mtime, ==, -5);
}

static void
test_errors (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs ("-t ext4", "16M", TRUE);
  fs = image_open_fs (disk, "ext");
  FAILS (fs->ops->lstat (fs, "/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/tiny/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->read (fs, "/none", 0, 1, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->remove (fs, "/none", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->rename (fs, "/none", "/x", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/none/x", 0644, 0, 0, NULL, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/etc/link/x", &st, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->read (fs, "/etc", 0, 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->readlink (fs, "/tiny", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->remove (fs, "/etc", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->create (fs, "/tiny", 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/etc", "/etc/x", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/etc", "/tiny", &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
}

static void
test_full (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree guint8 *data = g_malloc (8 << 20);

  if (!image_have ("mke2fs"))
    return;
  memset (data, 'x', 8 << 20);
  disk = image_mke2fs ("-t ext4 -O ^has_journal", "4M", FALSE);
  fs = image_open_fs (disk, "ext");
  g_assert_cmpuint (fs->ops->free_space (fs), <, 4 << 20);
  CHECK (fs->ops->create (fs, "/x", 0644, 0, 0, NULL, &error));
  FAILS (fs->ops->write (fs, "/x", 0, data, 8 << 20, &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->remove (fs, "/x", &error));
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
}

static void
test_xattrs (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) label = g_bytes_new_static ("system_u:object_r:etc_t:s0", 27);
  g_autoptr (GBytes) large = g_bytes_new_take (g_strnfill (600, 'v'), 600);
  g_autoptr (GBytes) got = NULL;
  g_autoptr (GBytes) none = NULL;
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GError) none_error = NULL;
  g_autofree char *output = NULL;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs (options, "16M", TRUE);
  fs = image_open_fs (disk, "ext");
  CHECK (fs->ops->set_xattr (fs, "/etc/fstab", "security.selinux", label, &error));
  CHECK (fs->ops->set_xattr (fs, "/etc/fstab", "user.large", large, &error));
  CHECK (fs->ops->set_xattr (fs, "/etc/fstab", "user.gone", label, &error));
  CHECK (fs->ops->set_xattr (fs, "/etc/fstab", "user.gone", NULL, &error));
  CHECK (fs->ops->set_xattr (fs, "/etc/fstab", "user.never", NULL, &error));
  CHECK (fs->ops->set_xattr (fs, "/etc", "security.selinux", label, &error));
  /* New content leaves them alone. */
  CHECK (fs->ops->truncate (fs, "/etc/fstab", 0, &error));
  image_put (fs, "/etc/fstab",
             "a new and longer content of this file, which had another one before\n");
  got = fs->ops->get_xattr (fs, "/etc/fstab", "user.large", NULL);
  g_assert_nonnull (got);
  g_assert_true (g_bytes_equal (got, large));
  none = fs->ops->get_xattr (fs, "/etc/fstab", "user.gone", &none_error);
  g_assert_null (none);
  g_assert_no_error (none_error);
  names = fs->ops->list_xattr (fs, "/etc/fstab", NULL);
  g_assert_cmpuint (names->len, ==, 2);
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
  g_assert_cmpint (image_run (&output, "debugfs -R 'ea_get /etc/fstab security.selinux' @/check"),
                   ==, 0);
  g_assert_nonnull (strstr (output, "system_u:object_r:etc_t:s0"));
  CHECK (fs->ops->remove (fs, "/etc/fstab", &error));
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
}

/* --- random changes against a model ----------------------------------------------------------- */

typedef struct
{
  gboolean is_dir;
  GByteArray *data;
} Node;

static void
node_free (gpointer p)
{
  Node *node = p;

  if (node->data)
    g_byte_array_unref (node->data);
  g_free (node);
}

static char *
pick (GHashTable *model, GRand *rand, gboolean dir)
{
  g_autofree gpointer *keys = g_hash_table_get_keys_as_array (model, NULL);
  guint n = g_hash_table_size (model), start = g_rand_int_range (rand, 0, (gint32)n);

  for (guint i = 0; i < n; i++)
    {
      const char *path = keys[(start + i) % n];
      Node *node = g_hash_table_lookup (model, path);
      if (node->is_dir == dir)
        return g_strdup (path);
    }
  return NULL;
}

static char *
new_name (GHashTable *model, GRand *rand)
{
  g_autofree char *dir = pick (model, rand, TRUE);
  g_autofree char *pad = g_strnfill ((gsize)g_rand_int_range (rand, 0, 120), 'p');

  return g_strdup_printf ("%s/%u%s", g_str_equal (dir, "/") ? "" : dir, g_rand_int (rand), pad);
}

static gboolean
has_children (GHashTable *model, const char *dir)
{
  g_autofree char *prefix = g_strconcat (dir, "/", NULL);
  GHashTableIter iter;
  gpointer path;

  g_hash_table_iter_init (&iter, model);
  while (g_hash_table_iter_next (&iter, &path, NULL))
    if (g_str_has_prefix (path, prefix))
      return TRUE;
  return FALSE;
}

static void
random_write (H2kFs *fs, Node *node, const char *path, GRand *rand)
{
  guint offset = (guint)g_rand_int_range (rand, 0, 150000);
  guint length = (guint)g_rand_int_range (rand, 0, 40000);
  g_autofree guint8 *data = g_malloc (length + 1);
  guint old = node->data->len;

  for (guint i = 0; i < length; i++)
    data[i] = (guint8)g_rand_int (rand);
  CHECK (fs->ops->write (fs, path, offset, data, length, &error));
  if (length == 0)
    return;
  if (offset + length > old)
    {
      g_byte_array_set_size (node->data, offset + length);
      memset (node->data->data + old, 0, offset + length - old);
    }
  memcpy (node->data->data + offset, data, length);
}

static void
random_step (H2kFs *fs, GHashTable *model, GRand *rand)
{
  guint what = (guint)g_rand_int_range (rand, 0, 100);
  g_autofree char *fresh = new_name (model, rand);
  g_autofree char *path = pick (model, rand, what < 12);
  Node *node = path ? g_hash_table_lookup (model, path) : NULL;

  if (what < 6 || (what >= 12 && what < 40) || !path)
    {
      gboolean is_dir = what < 6;
      CHECK (fs->ops->create (fs, fresh, is_dir ? S_IFDIR | 0755 : 0644, 0, 0, NULL, &error));
      node = g_new0 (Node, 1);
      node->is_dir = is_dir;
      node->data = is_dir ? NULL : g_byte_array_new ();
      g_hash_table_insert (model, g_steal_pointer (&fresh), node);
    }
  else if (what < 12)
    {
      if (g_str_equal (path, "/") || has_children (model, path))
        return;
      CHECK (fs->ops->remove (fs, path, &error));
      g_hash_table_remove (model, path);
    }
  else if (what < 70)
    random_write (fs, node, path, rand);
  else if (what < 80)
    {
      guint size = (guint)g_rand_int_range (rand, 0, 100000), old = node->data->len;
      CHECK (fs->ops->truncate (fs, path, size, &error));
      g_byte_array_set_size (node->data, size);
      if (size > old)
        memset (node->data->data + old, 0, size - old);
    }
  else if (what < 90)
    {
      gpointer old_path;
      CHECK (fs->ops->rename (fs, path, fresh, &error));
      g_hash_table_steal_extended (model, path, &old_path, NULL);
      g_free (old_path);
      g_hash_table_insert (model, g_steal_pointer (&fresh), node);
    }
  else
    {
      CHECK (fs->ops->remove (fs, path, &error));
      g_hash_table_remove (model, path);
    }
}

static void
compare_model (H2kFs *fs, GHashTable *model)
{
  GHashTableIter iter;
  gpointer path, value;

  g_hash_table_iter_init (&iter, model);
  while (g_hash_table_iter_next (&iter, &path, &value))
    {
      Node *node = value;
      g_autoptr (GBytes) bytes = NULL;
      g_autoptr (GError) error = NULL;
      if (node->is_dir)
        continue;
      bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);
      g_assert_no_error (error);
      g_assert_cmpmem (node->data->data, node->data->len, g_bytes_get_data (bytes, NULL),
                       g_bytes_get_size (bytes));
    }
}

static void
test_random (gconstpointer options)
{
  g_autoptr (GHashTable) model = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, node_free);
  g_autoptr (GRand) rand = g_rand_new_with_seed (g_str_hash (options));
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  Node *root = g_new0 (Node, 1);

  if (!image_have ("mke2fs"))
    {
      g_free (root);
      return;
    }
  root->is_dir = TRUE;
  g_hash_table_insert (model, g_strdup ("/"), root);
  disk = image_mke2fs (options, "32M", FALSE);
  fs = image_open_fs (disk, "ext");
  for (guint i = 0; i < 500; i++)
    random_step (fs, model, rand);
  compare_model (fs, model);
  CHECK (fs->ops->flush (fs, &error));
  image_assert_clean (disk);
  image_assert_same_tree (disk, fs);
}

/* --- broken disks and images ------------------------------------------------------------------ */

static void
walk (H2kFs *fs, const char *path, guint depth)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && i < 200; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autofree char *target = NULL;
      g_autoptr (GBytes) bytes = NULL;
      H2kStat st;
      if (!fs->ops->lstat (fs, sub, &st, NULL))
        continue;
      if (S_ISLNK (st.mode))
        target = fs->ops->readlink (fs, sub, NULL);
      else if (S_ISREG (st.mode))
        bytes = fs->ops->read (fs, sub, 0, 100000, NULL);
      else if (S_ISDIR (st.mode) && depth < 6)
        walk (fs, sub, depth + 1);
    }
}

/* Do a little of everything; TRUE when all of it worked. */
static gboolean
try_everything (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, error);
  g_autoptr (GBytes) bytes = NULL;
  g_autofree char *text = g_strnfill (20000, 'x');

  return fs && (bytes = fs->ops->read (fs, "/big", 0, G_MAXSIZE, error))
         && fs->ops->create (fs, "/etc/d", S_IFDIR | 0755, 0, 0, NULL, error)
         && fs->ops->create (fs, "/etc/d/f", 0644, 0, 0, NULL, error)
         && fs->ops->write (fs, "/etc/d/f", 0, text, 20000, error)
         && fs->ops->rename (fs, "/etc/d/f", "/tiny", error) && fs->ops->remove (fs, "/big", error)
         && fs->ops->flush (fs, error);
}

static void
test_faults (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) counter = NULL;
  g_autoptr (H2kDisk) scratch = NULL;
  guint requests;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs ("-t ext4 -b 1024", "24M", TRUE);
  scratch = h2k_overlay_new (disk, NULL, 64 << 20);
  counter = faulty_disk_new (scratch, 0);
  CHECK (try_everything (counter, &error));
  requests = faulty_disk_requests (counter);
  g_assert_cmpuint (requests, >, 20);
  for (guint i = 1; i <= requests; i++)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 64 << 20);
      g_autoptr (H2kDisk) faulty = faulty_disk_new (overlay, i);
      g_autoptr (GError) error = NULL;
      g_assert_false (try_everything (faulty, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
      g_assert_nonnull (strstr (error->message, "injected fault"));
    }
}

static void
test_bit_flips (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (20240131);

  if (!image_have ("mke2fs"))
    return;
  for (guint config = 0; config < 3; config++)
    {
      static const char *const options[] = {"-t ext4 -b 1024 -O ^metadata_csum,^64bit,inline_data",
                                            "-t ext4 -b 4096", "-t ext3 -b 1024"};
      g_autoptr (H2kDisk) base = image_mke2fs (options[config], "24M", TRUE);
      for (guint n = 0; n < 150; n++)
        {
          g_autoptr (H2kDisk) overlay = h2k_overlay_new (base, NULL, 16 << 20);
          g_autoptr (H2kFs) fs = NULL;
          for (guint i = 0; i < 40; i++)
            {
              /* Most of what matters is near the start. */
              guint64 at = (guint64)g_rand_int_range (rand, 1024, i % 2 ? 400000 : 3000000);
              guint8 byte;
              g_assert_true (h2k_disk_pread (overlay, at, 1, &byte, NULL));
              byte ^= (guint8)(1 << g_rand_int_range (rand, 0, 8));
              g_assert_true (h2k_disk_pwrite (overlay, at, 1, &byte, NULL));
            }
          fs = h2k_fs_open (overlay, NULL);
          if (!fs)
            continue;
          walk (fs, "/", 0);
          try_everything (overlay, NULL);
        }
    }
}

static void
poke (H2kDisk *disk, guint64 at, guint32 value)
{
  value = GUINT32_TO_LE (value);
  g_assert_true (h2k_disk_pwrite (disk, at, 4, &value, NULL));
}

static guint32
peek (H2kDisk *disk, guint64 at)
{
  guint32 value;

  g_assert_true (h2k_disk_pread (disk, at, 4, &value, NULL));
  return GUINT32_FROM_LE (value);
}

static void
assert_refused (H2kDisk *disk, int code, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, &error);

  g_assert_null (fs);
  g_assert_error (error, H2K_ERROR, code);
  if (!strstr (error->message, word))
    g_error ("\"%s\" is not in: %s", word, error->message);
}

static void
test_states (void)
{
  const char *plain = "-t ext4 -O ^metadata_csum";
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) truncated = NULL;
  g_autoptr (H2kDisk) unclean = NULL;
  guint32 saved;

  if (!image_have ("mke2fs"))
    return;
  disk = image_mke2fs (plain, "16M", FALSE);
  saved = peek (disk, 1024 + 58);
  poke (disk, 1024 + 58, saved | 2);
  assert_refused (disk, H2K_ERROR_FILESYSTEM, "e2fsck");
  poke (disk, 1024 + 58, saved);
  saved = peek (disk, 1024 + 96);
  poke (disk, 1024 + 96, saved | 0x1000);
  assert_refused (disk, H2K_ERROR_UNSUPPORTED, "dirdata");
  poke (disk, 1024 + 96, saved | 0x40000000);
  assert_refused (disk, H2K_ERROR_UNSUPPORTED, "0x40000000");
  poke (disk, 1024 + 96, saved);
  truncated = h2k_slice_new (disk, 0, 8 << 20, "half", NULL);
  assert_refused (truncated, H2K_ERROR_FILESYSTEM, "larger than its volume");
  unclean = image_mke2fs ("-t ext2", "16M", FALSE);
  poke (unclean, 1024 + 58, peek (unclean, 1024 + 58) & ~1u);
  assert_refused (unclean, H2K_ERROR_FILESYSTEM, "no journal");
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  image_make_tree ();
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/ext/changes/%s", configs[i]);
      g_autofree char *random = g_strdup_printf ("/ext/random/%s", configs[i]);
      g_autofree char *xattrs = g_strdup_printf ("/ext/xattrs/%s", configs[i]);
      g_test_add_data_func (name, configs[i], test_changes);
      g_test_add_data_func (random, configs[i], test_random);
      if (!strstr (configs[i], "none"))
        g_test_add_data_func (xattrs, configs[i], test_xattrs);
    }
  g_test_add_func ("/ext/nothing-written", test_nothing_written);
  g_test_add_func ("/ext/names", test_names);
  g_test_add_func ("/ext/stat", test_stat);
  g_test_add_func ("/ext/errors", test_errors);
  g_test_add_func ("/ext/full", test_full);
  g_test_add_func ("/ext/faults", test_faults);
  g_test_add_func ("/ext/bit-flips", test_bit_flips);
  g_test_add_func ("/ext/states", test_states);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
