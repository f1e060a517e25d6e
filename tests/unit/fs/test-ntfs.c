/* test-ntfs.c - files of NTFS: what is read and written is what ntfs-3g and its tools see, and
 * ntfsresize, which accounts for every cluster, and ntfsfix have nothing to complain about.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/ntfs.h"

#include <sys/stat.h>

typedef struct
{
  const char *options; /* of mkntfs */
  guint64 size;
} Config;

static const Config configs[] = {
    {"-c 512", 16 << 20},     {"-c 1024", 24 << 20},         {"-c 4096", 40 << 20},
    {"-c 65536", 128 << 20},  {"-s 4096 -c 4096", 48 << 20}, {"-c 2097152", 512 << 20},
    {"-C -c 4096", 40 << 20}, {"-s 1024 -c 2048", 24 << 20},
};

#define PLAIN "-c 4096"
#define PLAIN_SIZE (40u << 20)

static gboolean
have_tools (void)
{
  g_setenv ("LC_ALL", "C.UTF-8", TRUE);
  return image_have ("mkntfs") && image_have ("ntfsresize") && image_have ("ntfsfix")
         && image_have ("ntfscat") && image_have ("ntfsls") && image_have ("ntfscp");
}

static void
make_image (const char *options, guint64 size)
{
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s %" G_GUINT64_FORMAT " @/image", size);
  image_must_run ("mkntfs -F -q -Q -p 2048 -H 255 -S 63 %s @/image", options);
}

static H2kFs *
make_fs (const char *options, guint64 size, H2kDisk **disk)
{
  make_image (options, size);
  *disk = image_load ("image");
  return image_open_fs (*disk, "ntfs");
}

/* DISK must be in order for ntfs-3g's tools. */
static void
assert_clean (H2kDisk *disk)
{
  image_save (disk, "check");
  image_must_run ("ntfsfix -n @/check");
  image_must_run ("ntfsresize -c -f -f @/check");
}

static void
assert_text (H2kFs *fs, const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);

  g_assert_no_error (error);
  g_assert_cmpmem (text, strlen (text), g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
}

static gboolean
has_name (H2kFs *fs, const char *dir, const char *name)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, dir, NULL);

  for (guint i = 0; i < names->len; i++)
    if (g_str_equal (names->pdata[i], name))
      return TRUE;
  return FALSE;
}

/* What another program reads from the file PATH of the image NAME. */
static void
assert_peer_text (const char *image, const char *path, const char *text)
{
  g_autofree char *output = NULL;

  g_assert_cmpint (image_run (&output, "ntfscat -f @/%s %s", image, path), ==, 0);
  g_assert_cmpstr (output, ==, text);
}

static void
test_operations (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (config->options, config->size, &disk);
  g_assert_null (fs->frozen);
  CHECK (fs->ops->create (fs, "/Windows", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/Windows/System32", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/Windows/System32/a.sys", S_IFREG | 0644, 0, 0, NULL, &error));
  image_put (fs, "/windows/SYSTEM32/A.SYS", "hello");
  assert_text (fs, "/Windows/System32/a.sys", "hello");
  CHECK (fs->ops->lstat (fs, "/WINDOWS/system32/a.SYS", &st, &error));
  g_assert_cmpuint (st.size, ==, 5);
  g_assert_true (S_ISREG (st.mode));
  g_assert_true (has_name (fs, "/windows", "System32"));
  CHECK (fs->ops->truncate (fs, "/Windows/System32/a.sys", 100000, &error));
  CHECK (fs->ops->write (fs, "/Windows/System32/a.sys", 99990, "0123456789", 10, &error));
  CHECK (fs->ops->truncate (fs, "/Windows/System32/a.sys", 3, &error));
  assert_text (fs, "/Windows/System32/a.sys", "hel");
  CHECK (fs->ops->rename (fs, "/Windows/System32/a.sys", "/Windows/b.sys", &error));
  FAILS (fs->ops->lstat (fs, "/Windows/System32/a.sys", &st, &error), H2K_ERROR_FAILED);
  assert_text (fs, "/windows/B.sys", "hel");
  FAILS (fs->ops->remove (fs, "/Windows", &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->remove (fs, "/Windows/System32", &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_peer_text ("check", "/Windows/b.sys", "hel");
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/ntfs/files are made, written, renamed and removed "
                                               "(mkntfs %s)",
                                               configs[i].options);
      g_test_add_data_func (name, &configs[i], test_operations);
    }
  result = g_test_run ();
  image_cleanup ();
  return result;
}
