/* test-ntfs-wof.c - files of CompactOS: compressed by libwim, laid into volumes by ntfs-3g, read by
 * hyper2kvm, and ordinary files for ntfs-3g when hyper2kvm has changed them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/ntfs.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <wimlib.h>

/* Each time that libntfs-3g looks for the index of reparse points it loses its name. */
#ifdef __SANITIZE_ADDRESS__
#  include <sanitizer/lsan_interface.h>
#else
#  define __lsan_disable()
#  define __lsan_enable()
#endif

#define CHANGE(call)                                                                               \
  G_STMT_START                                                                                     \
  {                                                                                                \
    __lsan_disable ();                                                                             \
    CHECK (call);                                                                                  \
    __lsan_enable ();                                                                              \
  }                                                                                                \
  G_STMT_END

#define VOLUME_SIZE (64u << 20)
#define WOF 0x80000017

typedef struct
{
  const char *name;
  guint32 number; /* in the reparse point */
  enum wimlib_compression_type type;
  gsize chunk;
} Algorithm;

static const Algorithm algorithms[] = {
    {"XPRESS4K", 0, WIMLIB_COMPRESSION_TYPE_XPRESS, 4096},
    {"LZX", 1, WIMLIB_COMPRESSION_TYPE_LZX, 32768},
    {"XPRESS8K", 2, WIMLIB_COMPRESSION_TYPE_XPRESS, 8192},
    {"XPRESS16K", 3, WIMLIB_COMPRESSION_TYPE_XPRESS, 16384},
};
#define LZX (&algorithms[1])

/* --- making them ------------------------------------------------------------------------------ */

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
add_entry (GByteArray *table, guint64 place, gboolean is_long)
{
  guint64 le = GUINT64_TO_LE (place);

  g_byte_array_append (table, (guint8 *)&le, is_long ? 8 : 4);
}

/* What WofCompressedData has for CONTENT, followed by ZEROS bytes, whole chunks. */
static GByteArray *
pack (const Algorithm *algorithm, GBytes *content, guint64 zeros)
{
  struct wimlib_compressor *compressor;
  gsize size, chunk = algorithm->chunk;
  const guint8 *data = g_bytes_get_data (content, &size);
  g_autofree guint8 *packed = g_malloc (chunk), *nothing = g_malloc0 (chunk);
  GByteArray *table = g_byte_array_new ();
  g_autoptr (GByteArray) chunks = g_byte_array_new ();
  guint64 total = size + zeros;
  gsize length = 0;

  g_assert_cmpint (wimlib_create_compressor (algorithm->type, chunk, 0, &compressor), ==, 0);
  for (guint64 at = 0; at < total; at += chunk)
    {
      gsize n = (gsize)MIN (chunk, total - at);
      const guint8 *part = at < size ? data + at : nothing;
      if (at)
        add_entry (table, chunks->len, total > G_MAXUINT32);
      if (at < size + chunk || n < chunk) /* else the same as before */
        length = wimlib_compress (part, n, packed, n - 1, compressor);
      g_byte_array_append (chunks, length ? packed : part, (guint)(length ? length : n));
    }
  wimlib_free_compressor (compressor);
  return g_byte_array_append (table, chunks->data, chunks->len);
}

static char *
host_path (const char *name)
{
  return g_build_filename (image_dir (), "mnt", name, NULL);
}

static void
put_stream (const char *name, const char *stream, const GByteArray *data)
{
  g_autofree char *file = host_path (name), *path = g_strconcat (file, ":", stream, NULL);

  g_assert_true (g_file_set_contents_full (path, (char *)data->data, data->len,
                                           G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static void
put_point (const char *name, guint32 provider, guint32 algorithm)
{
  guint32 point[6] = {WOF, 16, 1, provider, 1, algorithm};
  g_autofree char *path = host_path (name);

  for (gsize i = 0; i < G_N_ELEMENTS (point); i++)
    point[i] = GUINT32_TO_LE (point[i]);
  g_assert_cmpint (lsetxattr (path, "system.ntfs_reparse_data", point, sizeof point, 0), ==, 0);
}

/* The file NAME: PACKED holds SIZE bytes. */
static void
put_packed (const char *name, guint32 algorithm, const GByteArray *packed, guint64 size)
{
  image_must_run ("truncate -s %" G_GUINT64_FORMAT " @/mnt/%s", size, name);
  put_stream (name, "WofCompressedData", packed);
  put_point (name, 2, algorithm);
}

static gboolean
mount_new (const char *options, guint64 size)
{
  g_setenv ("LC_ALL", "C.UTF-8", TRUE);
  if (!image_have ("mkntfs") || !image_have ("ntfs-3g") || !image_have ("ntfsresize")
      || !image_have ("ntfsinfo") || !image_have ("ntfscat"))
    return FALSE;
  if (geteuid () != 0 || access ("/dev/fuse", R_OK | W_OK) != 0)
    {
      g_test_skip ("mounting by ntfs-3g takes root and /dev/fuse");
      return FALSE;
    }
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s %" G_GUINT64_FORMAT " @/image", size);
  image_must_run ("mkntfs -F -q -Q -p 2048 -H 255 -S 63 %s @/image", options);
  image_must_run ("mkdir -p @/mnt");
  if (image_run (NULL, "ntfs-3g @/image @/mnt -o streams_interface=windows") != 0)
    {
      g_test_skip ("nothing can be mounted by ntfs-3g here");
      return FALSE;
    }
  return TRUE;
}

static H2kFs *
unmount (H2kDisk **disk)
{
  image_must_run ("umount @/mnt");
  *disk = image_load ("image");
  return image_open_fs (*disk, "ntfs");
}

/* --- looking at them -------------------------------------------------------------------------- */

static void
assert_content (H2kFs *fs, const char *path, GBytes *content)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);
  gsize size = g_bytes_get_size (content);
  H2kStat st;

  g_assert_no_error (error);
  g_assert_true (g_bytes_equal (bytes, content));
  g_assert_true (fs->ops->lstat (fs, path, &st, &error));
  g_assert_cmpuint (st.size, ==, size);
  for (gsize at = 0; at < size; at += size / 7 + 1)
    {
      g_autoptr (GBytes) part = fs->ops->read (fs, path, at, 5001, &error);
      g_autoptr (GBytes) wanted = g_bytes_new_from_bytes (content, at, MIN (5001, size - at));
      g_assert_no_error (error);
      g_assert_true (g_bytes_equal (part, wanted));
    }
}

/* For other programs PATH is an ordinary file with CONTENT, on a volume that is in order. */
static void
assert_ordinary (H2kDisk *disk, const char *path, GBytes *content, gboolean grown)
{
  g_autofree char *info = NULL, *text = NULL, *file = g_build_filename (image_dir (), "out", NULL);
  gsize length;

  image_save (disk, "check");
  image_must_run ("ntfsfix -n @/check");
  image_must_run ("ntfsresize -i -f @/check");
  g_assert_cmpint (image_run (&info, "ntfsinfo -f -F %s @/check", path), ==, 0);
  g_assert_null (strstr (info, "REPARSE"));
  /* What a file grows by is a hole. */
  g_assert_true (grown || !strstr (info, "SPARSE"));
  g_assert_null (strstr (info, "WofCompressedData"));
  image_must_run ("bash -c 'ntfscat -f @/check %s >@/out'", path);
  g_assert_true (g_file_get_contents (file, &text, &length, NULL));
  g_assert_cmpmem (text, length, g_bytes_get_data (content, NULL), g_bytes_get_size (content));
}

/* --- what Windows compressed ------------------------------------------------------------------ */

typedef struct
{
  gsize size;
  gboolean repetitive; /* else chunks are stored as they are */
} Sample;

static guint
list_samples (const Algorithm *algorithm, Sample *samples)
{
  gsize chunk = algorithm->chunk,
        sizes[] = {1, 700, chunk - 1, chunk, chunk + 1, 3 * chunk, 300001};
  guint n = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    for (guint repetitive = 0; repetitive < 2; repetitive++)
      samples[n++] = (Sample){sizes[i], repetitive != 0};
  return n;
}

static void
test_read (gconstpointer data)
{
  const Algorithm *algorithm = data;
  Sample samples[20];
  guint n = list_samples (algorithm, samples);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *name = g_strdup_printf ("file%u", i);
      g_autoptr (GBytes) content = seeded (i, samples[i].size, samples[i].repetitive);
      g_autoptr (GByteArray) packed = pack (algorithm, content, 0);
      put_packed (name, algorithm->number, packed, samples[i].size);
    }
  fs = unmount (&disk);
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *path = g_strdup_printf ("/file%u", i);
      g_autoptr (GBytes) content = seeded (i, samples[i].size, samples[i].repetitive);
      assert_content (fs, path, content);
    }
}

static void
test_write (gconstpointer data)
{
  const Algorithm *algorithm = data;
  Sample samples[20];
  guint n = list_samples (algorithm, samples);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *name = g_strdup_printf ("file%u", i);
      g_autoptr (GBytes) content = seeded (i, samples[i].size, samples[i].repetitive);
      g_autoptr (GByteArray) packed = pack (algorithm, content, 0);
      put_packed (name, algorithm->number, packed, samples[i].size);
    }
  fs = unmount (&disk);
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *path = g_strdup_printf ("/file%u", i);
      g_autoptr (GBytes) content = seeded (i, samples[i].size, samples[i].repetitive),
                         wanted = NULL;
      g_autoptr (GByteArray) changed = g_bytes_unref_to_array (g_bytes_ref (content));
      gsize at = samples[i].size / 2;

      assert_content (fs, path, content);
      g_byte_array_set_size (changed, (guint)MAX (changed->len, at + 7));
      memcpy (changed->data + at, "changed", 7);
      CHANGE (fs->ops->write (fs, path, at, "changed", 7, &error));
      wanted = g_bytes_new (changed->data, changed->len);
      assert_content (fs, path, wanted);
      CHECK (fs->ops->flush (fs, &error));
      assert_ordinary (disk, path, wanted, FALSE);
    }
}

static void
test_truncate (void)
{
  static const guint64 sizes[] = {0, 1, 32767, 32768, 50000, 200000, 500000};
  g_autoptr (GBytes) content = seeded (1, 200000, TRUE);
  g_autoptr (GByteArray) packed = pack (LZX, content, 0);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!mount_new ("-c 1024", VOLUME_SIZE))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *name = g_strdup_printf ("file%u", (guint)i);
      put_packed (name, LZX->number, packed, 200000);
    }
  fs = unmount (&disk);
  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *path = g_strdup_printf ("/file%u", (guint)i);
      g_autofree guint8 *data = g_malloc0 (MAX (sizes[i], 1));
      g_autoptr (GBytes) wanted = NULL;

      memcpy (data, g_bytes_get_data (content, NULL), (gsize)MIN (sizes[i], 200000));
      CHANGE (fs->ops->truncate (fs, path, sizes[i], &error));
      wanted = g_bytes_new (data, (gsize)sizes[i]);
      assert_content (fs, path, wanted);
      CHECK (fs->ops->flush (fs, &error));
      assert_ordinary (disk, path, wanted, sizes[i] > 200000);
    }
  CHANGE (fs->ops->rename (fs, "/file1", "/file2", &error));
  CHANGE (fs->ops->remove (fs, "/file3", &error));
  CHECK (fs->ops->flush (fs, &error));
  image_save (disk, "check");
  image_must_run ("ntfsresize -i -f @/check");
}

/* Files that are only moved or removed stay compressed, and take their reparse points along. */
static void
test_names (void)
{
  g_autoptr (GBytes) content = seeded (1, 100000, TRUE);
  g_autoptr (GByteArray) packed = pack (LZX, content, 0);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *info = NULL;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  put_packed ("a", LZX->number, packed, 100000);
  put_packed ("b", LZX->number, packed, 100000);
  put_packed ("c", LZX->number, packed, 100000);
  fs = unmount (&disk);
  CHANGE (fs->ops->rename (fs, "/a", "/b", &error));
  CHANGE (fs->ops->remove (fs, "/c", &error));
  assert_content (fs, "/b", content);
  CHECK (fs->ops->flush (fs, &error));
  image_save (disk, "check");
  image_must_run ("ntfsfix -n @/check");
  image_must_run ("ntfsresize -i -f @/check");
  g_assert_cmpint (image_run (&info, "ntfsinfo -f -F /b @/check"), ==, 0);
  g_assert_nonnull (strstr (info, "REPARSE"));
}

/* --- large ones ------------------------------------------------------------------------------- */

/* Of more than 4 GiB, where the table has entries of 8 bytes. */
static void
test_large (void)
{
  const guint64 zeros = 4ull << 30, size = zeros + 131072;
  g_autoptr (GBytes) content = seeded (3, 131072, TRUE);
  g_autoptr (GByteArray) packed = pack (LZX, content, zeros);
  g_autoptr (GBytes) start = NULL, end = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  put_packed ("large", LZX->number, packed, size);
  fs = unmount (&disk);
  CHECK (fs->ops->lstat (fs, "/large", &st, &error));
  g_assert_cmpuint (st.size, ==, size);
  start = fs->ops->read (fs, "/large", 0, 131072, NULL);
  g_assert_true (g_bytes_equal (start, content));
  end = fs->ops->read (fs, "/large", size - 100, 1000, NULL);
  g_assert_cmpuint (g_bytes_get_size (end), ==, 100);
  for (guint i = 0; i < 100; i++)
    g_assert_cmpuint (((const guint8 *)g_bytes_get_data (end, NULL))[i], ==, 0);
  /* It has no room here, which is known before anything is changed. */
  FAILS (fs->ops->write (fs, "/large", 0, "x", 1, &error), H2K_ERROR_FILESYSTEM);
  g_clear_pointer (&start, g_bytes_unref);
  start = fs->ops->read (fs, "/large", 0, 131072, NULL);
  g_assert_true (g_bytes_equal (start, content));
  CHANGE (fs->ops->truncate (fs, "/large", 131072, &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_ordinary (disk, "/large", content, FALSE);
}

/* --- what cannot be --------------------------------------------------------------------------- */

static void
test_unknown (void)
{
  static const struct
  {
    const char *name;
    guint32 provider, algorithm;
  } points[] = {{"wim", 1, 1}, {"provider", 3, 1}, {"algorithm", 2, 4}};
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (points); i++)
    {
      image_must_run ("truncate -s 1000 @/mnt/%s", points[i].name);
      put_point (points[i].name, points[i].provider, points[i].algorithm);
    }
  fs = unmount (&disk);
  for (gsize i = 0; i < G_N_ELEMENTS (points); i++)
    {
      g_autofree char *path = g_strconcat ("/", points[i].name, NULL);
      FAILS (fs->ops->read (fs, path, 0, 10, &error) != NULL, H2K_ERROR_UNSUPPORTED);
      FAILS (fs->ops->write (fs, path, 0, "x", 1, &error), H2K_ERROR_UNSUPPORTED);
      FAILS (fs->ops->truncate (fs, path, 0, &error), H2K_ERROR_UNSUPPORTED);
    }
}

typedef struct
{
  const char *name;
  guint at; /* in the stream, whose table has three entries */
  guint32 value;
  guint length;  /* of the stream; 0: all of it */
  gboolean none; /* there is no such stream */
} Damage;

static const Damage damages[] = {
    {"beyond", 0, 0xffffffff, 0, FALSE},
    {"behind", 4, 0x7fffffff, 0, FALSE},
    {"back", 8, 0, 0, FALSE},
    {"empty", 0, 0, 0, FALSE},
    {"short", 8, 0x100000, 0, FALSE},
    {"half-table", 0, 1, 7, FALSE},
    {"only-table", 0, 1, 12, FALSE},
    {"nothing", 0, 0, 1, FALSE},
    {"garbage", 12, 0xffffffff, 0, FALSE},
    {"missing", 0, 0, 0, TRUE},
};

static void
test_damage (gconstpointer data)
{
  const Algorithm *algorithm = data;
  gsize size = algorithm->chunk * 4 - 100;
  g_autoptr (GBytes) content = seeded (4, size, TRUE);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!mount_new ("-c 4096", VOLUME_SIZE))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (damages); i++)
    {
      const Damage *damage = &damages[i];
      g_autoptr (GByteArray) packed = pack (algorithm, content, 0);
      guint32 le = GUINT32_TO_LE (damage->value);

      memcpy (packed->data + damage->at, &le, sizeof le);
      if (damage->at >= 12)
        memset (packed->data + damage->at, 0xff, 600);
      if (damage->length)
        g_byte_array_set_size (packed, damage->length);
      if (!damage->none)
        put_packed (damage->name, algorithm->number, packed, size);
      else
        {
          image_must_run ("truncate -s %u @/mnt/%s", (guint)size, damage->name);
          put_point (damage->name, 2, algorithm->number);
        }
    }
  fs = unmount (&disk);
  for (gsize i = 0; i < G_N_ELEMENTS (damages); i++)
    {
      g_autofree char *path = g_strconcat ("/", damages[i].name, NULL);
      FAILS (fs->ops->read (fs, path, 0, size, &error) != NULL, H2K_ERROR_FILESYSTEM);
      FAILS (fs->ops->write (fs, path, 0, "x", 1, &error), H2K_ERROR_FILESYSTEM);
    }
  CHANGE (fs->ops->truncate (fs, "/garbage", 0, &error));
  CHANGE (fs->ops->write (fs, "/garbage", 0, "new", 3, &error));
  /* Nothing was changed of the others, so that what was is in order. */
  CHECK (fs->ops->flush (fs, &error));
  {
    g_autoptr (GBytes) wanted = g_bytes_new_static ("new", 3);
    assert_ordinary (disk, "/garbage", wanted, FALSE);
  }
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (algorithms); i++)
    {
      const Algorithm *algorithm = &algorithms[i];
      g_autofree char *read = g_strdup_printf ("/ntfs-wof/%s is read", algorithm->name);
      g_autofree char *write
          = g_strdup_printf ("/ntfs-wof/%s becomes an ordinary file when it changes",
                             algorithm->name);
      g_autofree char *damage
          = g_strdup_printf ("/ntfs-wof/%s that is damaged is refused", algorithm->name);

      g_test_add_data_func (read, algorithm, test_read);
      g_test_add_data_func (write, algorithm, test_write);
      g_test_add_data_func (damage, algorithm, test_damage);
    }
  g_test_add_func ("/ntfs-wof/of what is cut off nothing else is kept", test_truncate);
  g_test_add_func ("/ntfs-wof/a file that is only moved stays compressed", test_names);
  g_test_add_func ("/ntfs-wof/files of more than 4 GiB", test_large);
  g_test_add_func ("/ntfs-wof/what is in a WIM file is refused", test_unknown);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
