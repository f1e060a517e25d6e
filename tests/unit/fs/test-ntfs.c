/* test-ntfs.c - files of NTFS: what is read and written is what ntfs-3g and its tools see, and
 * ntfsresize, which accounts for every cluster, and ntfsfix have nothing to complain about.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/check.h"
#include "fs/ntfs.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* libntfs-3g keeps for ever what it cannot write: the inodes of a disk that fails, and those that
 * it had opened when a mount fails; and a name, each time that it makes a link. */
#ifdef __SANITIZE_ADDRESS__
#  include <sanitizer/lsan_interface.h>
#else
#  define __lsan_disable()
#  define __lsan_enable()
#endif

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

/* DISK must be in order for ntfs-3g's tools, and for the check. */
static void
assert_clean (H2kDisk *disk)
{
  g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
  g_autoptr (H2kFs) fs = image_open_fs (disk, "ntfs");
  g_autofree char *found = NULL, *accounted = NULL;

  CHECK (h2k_fs_check (fs, check, NULL, &error));
  g_assert_true (check->checked);
  found = h2k_fs_check_summary (check);
  g_assert_cmpstr (found, ==, "");
  image_save (disk, "check");
  image_must_run ("ntfsfix -n @/check");
  /* It would not make a full volume smaller, but has accounted for its clusters by then. */
  if (image_run (&accounted, "ntfsresize -i -f @/check") != 0)
    g_assert_nonnull (strstr (accounted, "Volume is full"));
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

/* --- what another program wrote --------------------------------------------------------------- */

/* Mount "@/image" by ntfs-3g at "@/mnt". FALSE, and the test is skipped, where that cannot be. */
static gboolean
mount_image (const char *options)
{
  if (geteuid () != 0 || access ("/dev/fuse", R_OK | W_OK) != 0 || !image_have ("ntfs-3g")
      || !image_have ("umount"))
    {
      g_test_skip ("mounting by ntfs-3g takes root and /dev/fuse");
      return FALSE;
    }
  image_must_run ("mkdir -p @/mnt");
  if (image_run (NULL, "ntfs-3g @/image @/mnt -o %s", options) != 0)
    {
      g_test_skip ("nothing can be mounted by ntfs-3g here");
      return FALSE;
    }
  return TRUE;
}

static void
unmount_image (void)
{
  image_must_run ("umount @/mnt");
}

static void
put_host_file (const char *path, gconstpointer data, gsize length)
{
  g_autofree char *host = g_build_filename (image_dir (), "mnt", path, NULL);

  g_assert_true (
      g_file_set_contents_full (host, data, (gssize)length, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static GBytes *
seeded (guint32 seed, gsize length, gboolean repetitive)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  guint8 *data = g_malloc (length);

  for (gsize i = 0; i < length; i++)
    if (repetitive && i > 100 && g_rand_int (rand) % 8)
      data[i] = data[i - 1 - g_rand_int (rand) % 60];
    else
      data[i] = (guint8)g_rand_int (rand);
  return g_bytes_new_take (data, length);
}

static void
assert_content (H2kFs *fs, const char *path, GBytes *content)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);
  gsize size = g_bytes_get_size (content);

  g_assert_no_error (error);
  g_assert_true (g_bytes_equal (bytes, content));
  for (gsize at = 0; at < size; at += size / 7 + 1)
    {
      g_autoptr (GBytes) part = fs->ops->read (fs, path, at, 5001, &error);
      g_autoptr (GBytes) wanted = g_bytes_new_from_bytes (content, at, MIN (5001, size - at));
      g_assert_no_error (error);
      g_assert_true (g_bytes_equal (part, wanted));
    }
}

static void
set_host_xattr (const char *path, const char *name, gconstpointer value, gsize size)
{
  g_autofree char *host = g_build_filename (image_dir (), "mnt", path, NULL);

  g_assert_cmpint (lsetxattr (host, name, value, size, 0), ==, 0);
}

static void
test_compressed (void)
{
  static const gsize sizes[] = {100, 4096, 60000, 65536, 65537, 300000};
  guint32 attributes = 0x800;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  if (!mount_image ("compression"))
    return;
  image_must_run ("mkdir @/mnt/packed");
  set_host_xattr ("packed", "system.ntfs_attrib", &attributes, sizeof attributes);
  for (guint i = 0; i < 2 * G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *name = g_strdup_printf ("packed/file%u", i);
      g_autoptr (GBytes) content = seeded (i, sizes[i / 2], i % 2);
      put_host_file (name, g_bytes_get_data (content, NULL), g_bytes_get_size (content));
    }
  unmount_image ();
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  for (guint i = 0; i < 2 * G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *name = g_strdup_printf ("/packed/file%u", i);
      g_autoptr (GBytes) content = seeded (i, sizes[i / 2], i % 2);
      g_autoptr (GByteArray) changed = g_bytes_unref_to_array (g_bytes_ref (content));
      g_autoptr (GBytes) wanted = NULL;

      assert_content (fs, name, content);
      CHECK (fs->ops->write (fs, name, 50, "changed", 7, &error));
      memcpy (changed->data + 50, "changed", 7);
      wanted = g_bytes_new (changed->data, changed->len);
      assert_content (fs, name, wanted);
      CHECK (fs->ops->truncate (fs, name, 80, &error));
      CHECK (fs->ops->truncate (fs, name, 0, &error));
      CHECK (fs->ops->write (fs, name, 0, "all new", 7, &error));
      assert_text (fs, name, "all new");
    }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_peer_text ("check", "/packed/file11", "all new");
}

static void
test_names (void)
{
  H2kStat st;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  static const struct
  {
    const char *made, *asked;
  } names[] = {
      {"ntoskrnl.exe", "NTOSKRNL.EXE"},
      {"Program Files (x86)", "program files (X86)"},
      {"\303\234ml\303\244ut \342\202\254", "\303\274ML\303\204UT \342\202\254"},
      {"\360\237\230\200 smile", "\360\237\230\200 SMILE"},
      {"lone \355\240\200 surrogate", "LONE \355\240\200 surrogate"},
      {"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
       "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
       "2345678901234567890123456789012345678901234567890123456789012345678901234",
       NULL},
  };

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *made = g_strconcat ("/", names[i].made, NULL);
      g_autofree char *asked = g_strconcat ("/", names[i].asked, NULL);
      CHECK (fs->ops->create (fs, made, S_IFREG | 0644, 0, 0, NULL, &error));
      g_assert_true (has_name (fs, "/", names[i].made));
      if (!names[i].asked)
        continue;
      CHECK (fs->ops->lstat (fs, asked, &st, &error));
      FAILS (fs->ops->create (fs, asked, S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
    }
  FAILS (fs->ops->lstat (fs, "/$MFT", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/$MFT", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->remove (fs, "/$Secure", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/a:b", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->create (fs, "/dot.", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->create (fs, "/bad \377", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/ntoskrnl.exe/x", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/none/x", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FAILED);
  {
    g_autoptr (GPtrArray) all = fs->ops->list (fs, "/", NULL);
    g_assert_cmpuint (all->len, ==, G_N_ELEMENTS (names));
  }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

static void
test_case_twins (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  if (!mount_image ("rw"))
    return;
  put_host_file ("twin", "lower", 5);
  put_host_file ("TWIN", "upper", 5);
  unmount_image ();
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  assert_text (fs, "/twin", "lower");
  assert_text (fs, "/TWIN", "upper");
  CHECK (fs->ops->remove (fs, "/twin", &error));
  assert_text (fs, "/twin", "upper");
  assert_text (fs, "/TWIN", "upper");
}

/* A reparse point: its TAG, and SIZE bytes of data. */
static GByteArray *
reparse_point (guint32 tag, gconstpointer data, gsize size)
{
  GByteArray *point = g_byte_array_new ();
  guint32 head[2] = {GUINT32_TO_LE (tag), GUINT32_TO_LE ((guint32)size)};

  g_byte_array_append (point, (guint8 *)head, sizeof head);
  return g_byte_array_append (point, data, (guint)size);
}

/* That of a link to TARGET; FLAGS -1: a junction. */
static GByteArray *
link_point (const char *target, int flags)
{
  glong n;
  g_autofree gunichar2 *units = g_utf8_to_utf16 (target, -1, NULL, &n, NULL);
  guint16 size = (guint16)(n * 2);
  guint16 head[6]
      = {0, GUINT16_TO_LE (size), GUINT16_TO_LE (size), 0, GUINT16_TO_LE ((guint16)flags), 0};
  g_autoptr (GByteArray) data = g_byte_array_new ();

  g_byte_array_append (data, (guint8 *)head, flags < 0 ? 8 : 12);
  g_byte_array_append (data, (guint8 *)units, size);
  return reparse_point (flags < 0 ? 0xa0000003 : 0xa000000c, data->data, data->len);
}

static void
test_links (void)
{
  static const struct
  {
    const char *name, *target, *wanted;
    int flags;
  } links[] = {
      {"junction", "\\??\\C:\\Users\\All", "/Users/All", -1},
      {"drive", "\\??\\D:\\", "/", -1},
      {"volume", "\\??\\Volume{1234}\\x", "\\??\\Volume{1234}\\x", -1},
      {"relative", "..\\other\\file", "../other/file", 1},
      {"rooted", "\\Windows\\x", "/Windows/x", 1},
      {"absolute", "\\??\\C:\\a b\\c", "/a b/c", 0},
      {"share", "\\??\\UNC\\server\\x", "\\??\\UNC\\server\\x", 0},
  };
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  if (!mount_image ("rw"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (links); i++)
    {
      g_autoptr (GByteArray) point = link_point (links[i].target, links[i].flags);
      image_must_run ("%s @/mnt/%s", links[i].flags < 0 ? "mkdir" : "touch", links[i].name);
      set_host_xattr (links[i].name, "system.ntfs_reparse_data", point->data, point->len);
    }
  unmount_image ();
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  for (gsize i = 0; i < G_N_ELEMENTS (links); i++)
    {
      g_autofree char *path = g_strconcat ("/", links[i].name, NULL);
      g_autofree char *below = g_strconcat (path, "/x", NULL);
      g_autofree char *target = fs->ops->readlink (fs, path, NULL);
      g_assert_cmpstr (target, ==, links[i].wanted);
      CHECK (fs->ops->lstat (fs, path, &st, &error));
      g_assert_true (S_ISLNK (st.mode));
      FAILS (fs->ops->lstat (fs, below, &st, &error), H2K_ERROR_FAILED);
      FAILS (fs->ops->list (fs, path, &error) != NULL, H2K_ERROR_FAILED);
      FAILS (fs->ops->read (fs, path, 0, 10, &error) != NULL, H2K_ERROR_FILESYSTEM);
    }
}

static void
test_new_links (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *relative = NULL, *absolute = NULL, *output = NULL;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  CHECK (fs->ops->create (fs, "/d", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/d/file", S_IFREG | 0644, 0, 0, NULL, &error));
  __lsan_disable ();
  CHECK (fs->ops->create (fs, "/to-file", S_IFLNK | 0777, 0, 0, "d/file", &error));
  CHECK (fs->ops->create (fs, "/d/to-dir", S_IFLNK | 0777, 0, 0, "/d", &error));
  __lsan_enable ();
  relative = fs->ops->readlink (fs, "/to-file", NULL);
  absolute = fs->ops->readlink (fs, "/d/to-dir", NULL);
  g_assert_cmpstr (relative, ==, "d/file");
  g_assert_cmpstr (absolute, ==, "/d");
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  image_must_run ("cp @/check @/image");
  if (!mount_image ("ro"))
    return;
  g_assert_cmpint (image_run (&output, "readlink -f @/mnt/to-file"), ==, 0);
  g_assert_true (g_str_has_suffix (output, "/mnt/d/file\n"));
  unmount_image ();
}

static void
test_elsewhere (void)
{
  g_autoptr (GByteArray) dedup = reparse_point (0x80000013, "0123456789abcdef", 16);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  if (!mount_image ("streams_interface=xattr"))
    return;
  put_host_file ("dedup", "", 0);
  set_host_xattr ("dedup", "system.ntfs_reparse_data", dedup->data, dedup->len);
  put_host_file ("plain", "content", 7);
  set_host_xattr ("plain", "user.Zone.Identifier", "[ZoneTransfer]", 14);
  unmount_image ();
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  CHECK (fs->ops->lstat (fs, "/dedup", &st, &error));
  g_assert_true (S_ISREG (st.mode));
  FAILS (fs->ops->read (fs, "/dedup", 0, 10, &error) != NULL, H2K_ERROR_UNSUPPORTED);
  FAILS (fs->ops->write (fs, "/dedup", 0, "x", 1, &error), H2K_ERROR_UNSUPPORTED);
  {
    g_autoptr (GBytes) stream = fs->ops->get_xattr (fs, "/plain", "user.Zone.Identifier", NULL);
    g_autoptr (GPtrArray) names = fs->ops->list_xattr (fs, "/plain", NULL);
    g_assert_cmpmem (g_bytes_get_data (stream, NULL), g_bytes_get_size (stream), "[ZoneTransfer]",
                     14);
    g_assert_true (
        g_ptr_array_find_with_equal_func (names, "user.Zone.Identifier", g_str_equal, NULL));
    g_assert_null (fs->ops->get_xattr (fs, "/plain", "user.none", NULL));
  }
  assert_text (fs, "/plain", "content");
}

/* --- a lot ------------------------------------------------------------------------------------ */

static void
test_big_directory (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GPtrArray) names = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (config->options, config->size, &disk);
  CHECK (fs->ops->create (fs, "/big", S_IFDIR | 0755, 0, 0, NULL, &error));
  for (guint i = 0; i < 5000; i++)
    {
      g_autofree char *path
          = g_strdup_printf ("/big/A rather long name of the file %u", i * 7 % 5000);
      CHECK (fs->ops->create (fs, path, S_IFREG | 0644, 0, 0, NULL, &error));
    }
  names = fs->ops->list (fs, "/big", NULL);
  g_assert_cmpuint (names->len, ==, 5000);
  CHECK (fs->ops->lstat (fs, "/BIG/a RATHER long name of the file 4321", &st, &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  for (guint i = 0; i < 5000; i++)
    {
      g_autofree char *path = g_strdup_printf ("/big/a rather long name of the file %u", i);
      CHECK (fs->ops->remove (fs, path, &error));
    }
  CHECK (fs->ops->remove (fs, "/big", &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

static void
test_fragments (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) small = seeded (1, 4096, FALSE), large = seeded (2, 6 << 20, FALSE);
  GError *local = NULL;
  guint n = 0;

  if (!have_tools ())
    return;
  fs = make_fs ("-c 1024", 24 << 20, &disk);
  for (; !local; n++)
    {
      g_autofree char *path = g_strdup_printf ("/f%u", n);
      if (fs->ops->create (fs, path, S_IFREG | 0644, 0, 0, NULL, &local))
        fs->ops->write (fs, path, 0, g_bytes_get_data (small, NULL), 4096, &local);
    }
  g_assert_error (local, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (local->message, "full"));
  g_clear_error (&local);
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  for (guint i = 0; i < n; i += 2)
    {
      g_autofree char *path = g_strdup_printf ("/f%u", i);
      fs->ops->remove (fs, path, NULL);
    }
  g_test_message ("%u files, %" G_GUINT64_FORMAT " bytes are free", n, fs->ops->free_space (fs));
  CHECK (fs->ops->create (fs, "/large", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, "/large", 0, g_bytes_get_data (large, NULL), 6 << 20, &error));
  assert_content (fs, "/large", large);
  for (guint i = 1; i + 1 < n; i += 2)
    {
      g_autofree char *path = g_strdup_printf ("/f%u", i);
      assert_content (fs, path, small);
    }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  CHECK (fs->ops->truncate (fs, "/large", 3000001, &error));
  CHECK (fs->ops->rename (fs, "/large", "/f1", &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

static void
test_full (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) data = seeded (3, 1 << 20, FALSE);
  guint64 before, at = 0;
  GError *local = NULL;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  before = fs->ops->free_space (fs);
  g_assert_cmpuint (before, >, 30 << 20);
  CHECK (fs->ops->create (fs, "/kept", S_IFREG | 0644, 0, 0, NULL, &error));
  image_put (fs, "/kept", "kept");
  CHECK (fs->ops->create (fs, "/large", S_IFREG | 0644, 0, 0, NULL, &error));
  for (; fs->ops->write (fs, "/large", at, g_bytes_get_data (data, NULL), 1 << 20, &local);
       at += 1 << 20)
    ;
  g_assert_error (local, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (local->message, "full"));
  g_clear_error (&local);
  g_assert_cmpuint (at, >, before - (2 << 20));
  g_assert_cmpuint (fs->ops->free_space (fs), <, 1 << 20);
  assert_text (fs, "/kept", "kept");
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  CHECK (fs->ops->remove (fs, "/large", &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  g_assert_cmpuint (fs->ops->free_space (fs), >, before - (1 << 20));
}

static void
test_sparse (void)
{
  const guint64 far = 5ull << 30;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) start = NULL, end = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  CHECK (fs->ops->create (fs, "/sparse", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->truncate (fs, "/sparse", far, &error));
  CHECK (fs->ops->write (fs, "/sparse", far - 10, "across the end", 14, &error));
  CHECK (fs->ops->lstat (fs, "/sparse", &st, &error));
  g_assert_cmpuint (st.size, ==, far + 4);
  end = fs->ops->read (fs, "/sparse", far - 12, 100, NULL);
  g_assert_cmpmem (g_bytes_get_data (end, NULL), g_bytes_get_size (end), "\0\0across the end", 16);
  start = fs->ops->read (fs, "/sparse", 12345, 100000, NULL);
  g_assert_true (h2k_is_zero (g_bytes_get_data (start, NULL), 100000));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

/* --- nothing more than asked ------------------------------------------------------------------ */

static void
assert_unchanged (H2kDisk *disk)
{
  image_save (disk, "after");
  image_must_run ("cmp @/image @/after");
}

static void
test_look (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kFs *fs;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  CHECK (fs->ops->create (fs, "/dir", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/dir/file", S_IFREG | 0644, 0, 0, NULL, &error));
  image_put (fs, "/dir/file", "text");
  CHECK (fs->ops->flush (fs, &error));
  h2k_fs_free (fs);
  image_save (disk, "image");

  fs = image_open_fs (disk, "ntfs");
  g_assert_true (fs->writable);
  CHECK (fs->ops->lstat (fs, "/dir/file", &st, &error));
  assert_text (fs, "/dir/file", "text");
  g_assert_true (has_name (fs, "/dir", "file"));
  g_ptr_array_unref (fs->ops->list_xattr (fs, "/dir/file", NULL));
  g_assert_cmpuint (fs->ops->free_space (fs), >, 0);
  CHECK (fs->ops->flush (fs, &error));
  h2k_fs_free (fs);
  assert_unchanged (disk);
}

static void
test_read_only (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  disk = image_open ("image");
  fs = image_open_fs (disk, "ntfs");
  g_assert_false (fs->writable);
  FAILS (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (h2k_ntfs_force (fs, &error), H2K_ERROR_FILESYSTEM);
}

static void
test_huge_volume (void)
{
  g_autoptr (H2kDisk) disk = NULL, counting = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  image_must_run ("rm -f @/huge");
  image_must_run ("truncate -s 2T @/huge");
  if (image_run (NULL, "mkntfs -F -q -Q -p 2048 -H 255 -S 63 @/huge") != 0)
    {
      g_test_skip ("there is no room for the metadata of a volume of 2 TiB");
      return;
    }
  disk = image_open ("huge");
  counting = faulty_disk_new (disk, 0);
  fs = image_open_fs (counting, "ntfs");
  g_assert_cmpuint (faulty_disk_requests (counting), <, 300);
  image_must_run ("rm -f @/huge");
}

/* --- names that move -------------------------------------------------------------------------- */

static void
test_rename (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  CHECK (fs->ops->create (fs, "/a", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/a/sub", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/b", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/one", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/two", S_IFREG | 0644, 0, 0, NULL, &error));
  image_put (fs, "/one", "1");
  image_put (fs, "/two", "22");
  CHECK (fs->ops->rename (fs, "/one", "/ONE", &error));
  g_assert_true (has_name (fs, "/", "ONE") && !has_name (fs, "/", "one"));
  CHECK (fs->ops->rename (fs, "/one", "/TWO", &error));
  assert_text (fs, "/two", "1");
  FAILS (fs->ops->lstat (fs, "/one", &st, &error), H2K_ERROR_FAILED);
  CHECK (fs->ops->rename (fs, "/two", "/two", &error));
  FAILS (fs->ops->rename (fs, "/a", "/a/sub/x", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/b", "/a", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/two", "/a", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/none", "/x", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->rename (fs, "/two", "/a|b", &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->rename (fs, "/a", "/b", &error));
  CHECK (fs->ops->rename (fs, "/two", "/b/sub/file", &error));
  CHECK (fs->ops->lstat (fs, "/b/sub/file", &st, &error));
  g_assert_cmpuint (st.nlink, ==, 1);
  {
    g_autoptr (GPtrArray) names = fs->ops->list (fs, "/", NULL);
    g_assert_cmpuint (names->len, ==, 1);
  }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_peer_text ("check", "/b/sub/file", "1");
}

static void
test_attributes (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) before = NULL, after = NULL, hidden = NULL, read = NULL;
  guint32 attributes = GUINT32_TO_LE (0x22);
  H2kStat st, again;

  if (!have_tools ())
    return;
  fs = make_fs (PLAIN, PLAIN_SIZE, &disk);
  CHECK (fs->ops->create (fs, "/file", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->lstat (fs, "/file", &st, &error));
  before = fs->ops->get_xattr (fs, "/file", "system.ntfs_times", NULL);
  CHECK (fs->ops->set_stat (fs, "/file", &st, &error));
  after = fs->ops->get_xattr (fs, "/file", "system.ntfs_times", NULL);
  g_assert_true (g_bytes_equal (before, after));
  st.mode = S_IFREG | 0444;
  st.mtime = 1000000000;
  st.atime = -1000;
  CHECK (fs->ops->set_stat (fs, "/file", &st, &error));
  CHECK (fs->ops->lstat (fs, "/file", &again, &error));
  g_assert_cmpint (again.mtime, ==, 1000000000);
  g_assert_cmpint (again.atime, ==, -1000);
  g_assert_cmpuint (again.mode & 0222, ==, 0);
  st.uid = 5;
  FAILS (fs->ops->set_stat (fs, "/file", &st, &error), H2K_ERROR_UNSUPPORTED);
  hidden = g_bytes_new (&attributes, sizeof attributes);
  CHECK (fs->ops->set_xattr (fs, "/file", "system.ntfs_attrib", hidden, &error));
  read = fs->ops->get_xattr (fs, "/file", "system.ntfs_attrib", NULL);
  g_assert_true (g_bytes_equal (read, hidden));
  FAILS (fs->ops->set_xattr (fs, "/file", "user.x", hidden, &error), H2K_ERROR_UNSUPPORTED);
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

/* --- disks that fail -------------------------------------------------------------------------- */

static gboolean
change_some (H2kFs *fs)
{
  static char block[20000];

  return fs->ops->create (fs, "/dir", S_IFDIR | 0755, 0, 0, NULL, NULL)
         && fs->ops->create (fs, "/dir/file", S_IFREG | 0644, 0, 0, NULL, NULL)
         && fs->ops->write (fs, "/dir/file", 0, block, sizeof block, NULL)
         && fs->ops->rename (fs, "/dir/file", "/file", NULL)
         && fs->ops->truncate (fs, "/file", 100, NULL) && fs->ops->remove (fs, "/dir", NULL)
         && fs->ops->flush (fs, NULL);
}

static void
test_failing_disk (void)
{
  g_autoptr (H2kDisk) good = NULL;
  gboolean done = FALSE;

  if (!have_tools ())
    return;
  make_image (PLAIN, PLAIN_SIZE);
  good = image_load ("image");
  __lsan_disable ();
  for (guint n = 1; !done; n++)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (good, NULL, 64 << 20);
      g_autoptr (H2kDisk) faulty = faulty_disk_new (overlay, n);
      g_autoptr (GError) local = NULL;
      g_autoptr (H2kFs) fs = h2k_fs_open (faulty, &local);

      g_assert_cmpuint (n, <, 2000);
      done = fs && change_some (fs) && faulty_disk_requests (faulty) < n;
      /* What is said to have been done was done. */
      if (fs && !done)
        g_assert_false (change_some (fs) && faulty_disk_requests (faulty) < n);
    }
  __lsan_enable ();
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
  g_test_add_func ("/ntfs/compressed files are read, and become ordinary ones when they change",
                   test_compressed);
  g_test_add_func ("/ntfs/names are found without case, and cannot be what Windows forbids",
                   test_names);
  g_test_add_func ("/ntfs/of names that differ in case the very one is preferred", test_case_twins);
  g_test_add_func ("/ntfs/symbolic links and junctions lead to paths", test_links);
  g_test_add_func ("/ntfs/links are made that ntfs-3g follows", test_new_links);
  g_test_add_func ("/ntfs/content that is elsewhere is refused, streams are attributes",
                   test_elsewhere);
  g_test_add_data_func ("/ntfs/a directory of 5000 names", &configs[2], test_big_directory);
  g_test_add_data_func ("/ntfs/a directory of 5000 names, clusters of 512 bytes", &configs[0],
                        test_big_directory);
  g_test_add_func ("/ntfs/files in thousands of pieces", test_fragments);
  g_test_add_func ("/ntfs/a full volume stays consistent", test_full);
  g_test_add_func ("/ntfs/sparse files of more than 4 GiB", test_sparse);
  g_test_add_func ("/ntfs/looking at a volume writes nothing to it", test_look);
  g_test_add_func ("/ntfs/a read-only disk is never changed", test_read_only);
  g_test_add_func ("/ntfs/a volume of 2 TiB is opened with few requests", test_huge_volume);
  g_test_add_func ("/ntfs/files and directories are renamed, also over others", test_rename);
  g_test_add_func ("/ntfs/times and attributes are kept and set", test_attributes);
  g_test_add_func ("/ntfs/errors of the disk are errors of the operation", test_failing_disk);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
