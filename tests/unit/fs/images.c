/* images.c - filesystem images made by the real tools, for the tests of fs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

const char *
image_dir (void)
{
  if (!dir)
    {
      const char *path = g_getenv ("PATH");
      g_autofree char *longer
          = g_strconcat (path ? path : "/usr/bin:/bin", ":/usr/sbin:/sbin", NULL);
      g_setenv ("PATH", longer, TRUE);
      g_setenv ("LC_ALL", "C", TRUE);
      dir = g_dir_make_tmp ("h2k-fs-XXXXXX", NULL);
      g_assert_nonnull (dir);
    }
  return dir;
}

void
image_cleanup (void)
{
  if (dir)
    image_run (NULL, "rm -rf @");
  g_clear_pointer (&dir, g_free);
}

static int
run_line (char **output, const char *line)
{
  g_autofree char *out = NULL, *err = NULL;
  g_auto (GStrv) argv = NULL;
  g_autoptr (GString) expanded = g_string_new (line);
  int status = 0;

  g_string_replace (expanded, "@", image_dir (), 0);
  g_assert_true (g_shell_parse_argv (expanded->str, NULL, &argv, NULL));
  if (!g_spawn_sync (NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status, NULL))
    return -1;
  if (output)
    *output = g_strconcat (out, err, NULL);
  return WIFEXITED (status) ? WEXITSTATUS (status) : 255;
}

int
image_run (char **output, const char *format, ...)
{
  g_autofree char *line = NULL;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  return run_line (output, line);
}

void
image_must_run (const char *format, ...)
{
  g_autofree char *line = NULL, *output = NULL;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  if (run_line (&output, line) != 0)
    g_error ("%s: %s", line, output);
}

gboolean
image_have (const char *program)
{
  g_autofree char *path = NULL;

  image_dir ();
  path = g_find_program_in_path (program);
  if (!path)
    {
      g_autofree char *why = g_strdup_printf ("%s is not installed", program);
      g_test_skip (why);
    }
  return path != NULL;
}

H2kDisk *
image_open (const char *name)
{
  g_autofree char *path = g_build_filename (image_dir (), name, NULL);
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, "raw", &error);

  g_assert_no_error (error);
  return disk;
}

H2kFs *
image_open_fs (H2kDisk *disk, const char *type)
{
  g_autoptr (GError) error = NULL;
  H2kFs *fs = h2k_fs_open (disk, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (fs->ops->name, ==, type);
  return fs;
}

void
image_put (H2kFs *fs, const char *path, const char *text)
{
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, NULL))
    CHECK (fs->ops->create (fs, path, 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, path, 0, text, strlen (text), &error));
}

H2kDisk *
image_load (const char *name)
{
  g_autofree char *path = g_build_filename (image_dir (), name, NULL);
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, NULL);
  const char *data;
  gsize size;
  H2kDisk *disk;

  g_assert_nonnull (file);
  data = g_mapped_file_get_contents (file);
  size = g_mapped_file_get_length (file);
  disk = h2k_memory_disk_new (size);
  for (gsize at = 0; at < size; at += 65536)
    {
      gsize n = MIN (65536, size - at);
      if (!h2k_is_zero (data + at, n))
        g_assert_true (h2k_disk_pwrite (disk, at, n, data + at, NULL));
    }
  return disk;
}

void
image_save (H2kDisk *disk, const char *name)
{
  g_autofree char *path = g_build_filename (image_dir (), name, NULL);
  FILE *file = fopen (path, "we");
  guint8 buffer[65536];

  g_assert_nonnull (file);
  for (guint64 at = 0; at < disk->size; at += sizeof buffer)
    {
      gsize n = (gsize)MIN (sizeof buffer, disk->size - at);
      g_assert_true (h2k_disk_pread (disk, at, n, buffer, NULL));
      if (h2k_is_zero (buffer, n))
        continue;
      g_assert_cmpint (fseeko (file, (off_t)at, SEEK_SET), ==, 0);
      g_assert_cmpuint (fwrite (buffer, 1, n, file), ==, n);
    }
  g_assert_cmpint (fflush (file), ==, 0);
  g_assert_cmpint (ftruncate (fileno (file), (off_t)disk->size), ==, 0);
  fclose (file);
}

static void
put_file (const char *name, const void *data, gsize length)
{
  g_autofree char *path = g_build_filename (image_dir (), "tree", name, NULL);

  g_assert_true (g_file_set_contents (path, data, (gssize)length, NULL));
}

void
image_make_tree (void)
{
  g_autofree guint8 *big = g_malloc (700000);
  g_autofree char *path = g_build_filename (image_dir (), "tree", "etc", NULL);

  image_run (NULL, "rm -rf @/tree");
  g_assert_cmpint (g_mkdir_with_parents (path, 0755), ==, 0);
  for (guint i = 0; i < 700000; i++)
    big[i] = (guint8)(i * 7 + i / 251);
  put_file ("etc/fstab", "UUID=1 / ext4\n", 14);
  put_file ("etc/empty", "", 0);
  put_file ("big", big, 700000);
  put_file ("tiny", "x", 1);
  image_run (NULL, "ln -s ../etc/fstab @/tree/etc/link");
  image_run (NULL, "ln -s %0100d @/tree/longlink", 7);
  image_run (NULL, "ln @/tree/tiny @/tree/hard");
  image_run (NULL, "dd if=@/tree/big of=@/tree/sparse bs=1k seek=20000 count=5");
  image_run (NULL, "chmod 4750 @/tree/tiny");
  image_run (NULL, "mkfifo @/tree/fifo");
}

H2kDisk *
image_mke2fs (const char *options, const char *size, gboolean populated)
{
  g_autofree char *output = NULL;
  int status;

  image_run (NULL, "rm -f @/image");
  status = image_run (&output, "mke2fs -q -F -L label %s %s @/image %s", options,
                      populated ? "-d @/tree" : "", size);
  if (status != 0)
    g_error ("mke2fs %s: %s", options, output);
  return image_load ("image");
}

void
image_assert_clean (H2kDisk *disk)
{
  g_autofree char *output = NULL;

  image_save (disk, "check");
  if (image_run (&output, "e2fsck -fn @/check") != 0)
    g_error ("e2fsck: %s", output);
}

static void
compare_file (H2kFs *fs, const char *path, const char *host, const H2kStat *st, struct stat *real)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *ours = NULL;

  if (S_ISLNK (st->mode))
    {
      g_autofree char *target = g_file_read_link (host, NULL);
      ours = fs->ops->readlink (fs, path, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (ours, ==, target);
    }
  else if (S_ISREG (st->mode))
    {
      g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);
      gsize length;
      g_assert_no_error (error);
      g_assert_true (g_file_get_contents (host, &ours, &length, NULL));
      /* rdump gives files inside the inode all the 60 bytes of the place. */
      if (length == 60 && st->size < length && h2k_is_zero (ours + st->size, length - st->size))
        length = st->size;
      else
        g_assert_cmpuint (st->size, ==, (guint64)real->st_size);
      g_assert_cmpmem (ours, length, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
    }
}

static guint
compare_dir (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, &error);
  g_autoptr (GDir) real_dir = g_dir_open (host, 0, NULL);
  guint n_real = 0, n = 0;
  const char *name;

  g_assert_no_error (error);
  g_assert_nonnull (real_dir);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autofree char *sub_host = g_build_filename (host, names->pdata[i], NULL);
      struct stat real;
      H2kStat st;

      g_assert_true (fs->ops->lstat (fs, sub, &st, &error));
      if (S_ISFIFO (st.mode) || S_ISCHR (st.mode)) /* rdump leaves them out */
        continue;
      n++;
      g_assert_cmpint (lstat (sub_host, &real), ==, 0);
      g_assert_cmpuint (st.mode & S_IFMT, ==, real.st_mode & S_IFMT);
      if (geteuid () == 0 && !S_ISLNK (st.mode))
        {
          g_assert_cmpuint (st.mode & 0777, ==, real.st_mode & 0777);
          g_assert_cmpuint (st.uid, ==, real.st_uid);
          g_assert_cmpuint (st.gid, ==, real.st_gid);
          if (!S_ISDIR (st.mode))
            g_assert_cmpint (st.mtime, ==, real.st_mtime);
        }
      compare_file (fs, sub, sub_host, &st, &real);
      if (S_ISDIR (st.mode))
        n += compare_dir (fs, sub, sub_host);
    }
  while ((name = g_dir_read_name (real_dir)))
    n_real++;
  g_assert_cmpuint (n_real, <=, names->len);
  return n;
}

void
image_assert_same_tree (H2kDisk *disk, H2kFs *fs)
{
  g_autofree char *output = NULL;
  g_autofree char *host = g_build_filename (image_dir (), "dump", NULL);

  image_save (disk, "check");
  image_run (NULL, "rm -rf @/dump");
  g_assert_cmpint (g_mkdir (host, 0755), ==, 0);
  g_assert_cmpint (image_run (&output, "debugfs -R 'rdump / @/dump' @/check"), ==, 0);
  g_assert_cmpuint (compare_dir (fs, "/", host), >, 0);
}

/* --- faults ----------------------------------------------------------------------------------- */

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  guint fail_at, requests;
  gboolean writes_only, once;
} FaultyDisk;

static gboolean
fault (FaultyDisk *faulty, GError **error)
{
  if (++faulty->requests < faulty->fail_at || !faulty->fail_at
      || (faulty->once && faulty->requests > faulty->fail_at))
    return FALSE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_SOURCE, "injected fault");
  return TRUE;
}

static gboolean
faulty_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  FaultyDisk *faulty = (FaultyDisk *)disk;

  return (faulty->writes_only || !fault (faulty, error))
         && h2k_disk_pread (faulty->disk, offset, length, buffer, error);
}

static gboolean
faulty_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  FaultyDisk *faulty = (FaultyDisk *)disk;

  return !fault (faulty, error) && h2k_disk_pwrite (faulty->disk, offset, length, buffer, error);
}

static void
faulty_finalize (H2kDisk *disk)
{
  h2k_disk_unref (((FaultyDisk *)disk)->disk);
}

static const H2kDiskOps faulty_ops = {
    .pread = faulty_pread,
    .pwrite = faulty_pwrite,
    .finalize = faulty_finalize,
};

H2kDisk *
faulty_disk_new (H2kDisk *disk, guint fail_at)
{
  FaultyDisk *faulty = g_new0 (FaultyDisk, 1);

  h2k_disk_init (&faulty->base, &faulty_ops, disk->size, "faulty", "faulty disk");
  faulty->disk = h2k_disk_ref (disk);
  faulty->fail_at = fail_at;
  return &faulty->base;
}

H2kDisk *
faulty_disk_new_for_writes (H2kDisk *disk, guint fail_at, gboolean once)
{
  H2kDisk *faulty = faulty_disk_new (disk, fail_at);

  ((FaultyDisk *)faulty)->writes_only = TRUE;
  ((FaultyDisk *)faulty)->once = once;
  return faulty;
}

guint
faulty_disk_requests (H2kDisk *disk)
{
  return ((FaultyDisk *)disk)->requests;
}

/* --- swap files ---------------------------------------------------------------------------------
 */

#define SWAP_SIZE (3u << 20)

/* A file in "@/tree" that is full of JUNK, and a swap space when SWAP. */
static void
make_swap_file (const char *name, guint8 junk, gboolean swap)
{
  g_autofree char *path = g_build_filename (image_dir (), "tree", name, NULL);
  g_autofree char *data = g_malloc (SWAP_SIZE);

  memset (data, junk, SWAP_SIZE);
  g_assert_true (g_file_set_contents (path, data, SWAP_SIZE, NULL));
  g_chmod (path, 0600);
  if (swap)
    g_assert_cmpint (image_run (NULL, "mkswap -q @/tree/%s", name), ==, 0);
  else if (junk == 'S') /* of a system that is suspended to it */
    {
      memset (data, 0, 4096);
      data[1024] = 1;
      memcpy (data + 4086, "S1SUSPEND", 9);
      g_assert_true (g_file_set_contents (path, data, SWAP_SIZE, NULL));
    }
}

guint64
image_count_bytes (H2kDisk *view, guint8 byte)
{
  g_autofree guint8 *block = g_malloc (1u << 20);
  guint64 count = 0;

  for (guint64 at = 0; at < view->size; at += 1u << 20)
    {
      gsize n = (gsize)MIN (1u << 20, view->size - at);
      g_assert_true (h2k_disk_pread (view, at, n, block, NULL));
      for (gsize i = 0; i < n; i++)
        count += block[i] == byte;
    }
  return count;
}

static const struct
{
  const char *name;
  guint8 junk;
  gboolean is_swap, dropped;
} swap_files[] = {
    {"swapfile", 0xe1, TRUE, TRUE},          {"swap/swap.img", 0xe2, TRUE, TRUE},
    {"swapped-letters", 0xe3, FALSE, FALSE}, /* no header */
    {"backup.img", 0xe4, TRUE, FALSE},       /* kept by somebody */
    {"swap.suspended", 'S', FALSE, FALSE},
};

void
image_make_swap_files (void)
{
  image_run (NULL, "rm -rf @/tree");
  image_run (NULL, "mkdir -p @/tree/swap");
  for (gsize i = 0; i < G_N_ELEMENTS (swap_files); i++)
    make_swap_file (swap_files[i].name, swap_files[i].junk, swap_files[i].is_swap);
}

void
image_assert_swap_files (H2kDisk *view, gboolean dropped)
{
  for (gsize i = 0; i < G_N_ELEMENTS (swap_files); i++)
    {
      guint64 left = image_count_bytes (view, swap_files[i].junk);
      if (dropped && swap_files[i].dropped)
        g_assert_cmpuint (left, <, IMAGE_SWAP_REST);
      else
        g_assert_cmpuint (left, >, SWAP_SIZE - IMAGE_SWAP_REST);
    }
}
