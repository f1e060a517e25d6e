/* test-vmdk.c - VMware disks: made by hand, by qemu-img, and real ones; whole and damaged.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vmdk-image.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1024 * 1024)

/* --- a folder for each test ------------------------------------------------------------------- */

typedef struct
{
  char *path;
} Folder;

static void
folder_set_up (Folder *folder, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  folder->path = g_dir_make_tmp ("h2k-vmdk-XXXXXX", &error);
  g_assert_no_error (error);
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *child = g_build_filename (path, name, NULL);
      if (g_file_test (child, G_FILE_TEST_IS_DIR) && !g_file_test (child, G_FILE_TEST_IS_SYMLINK))
        remove_tree (child);
      else
        g_unlink (child);
    }
  g_rmdir (path);
}

static void
folder_tear_down (Folder *folder, gconstpointer data)
{
  remove_tree (folder->path);
  g_free (folder->path);
}

static char *
put (Folder *folder, const char *name, gconstpointer data, gsize size)
{
  char *path = g_build_filename (folder->path, name, NULL);
  int fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, data, size, 0), ==, 0);
  g_assert_cmpint (close (fd), ==, 0);
  return path;
}

static char *
put_text (Folder *folder, const char *name, const char *text)
{
  return put (folder, name, text, strlen (text));
}

static H2kDisk *
open_ok (const char *path)
{
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, NULL, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (disk->format, ==, "vmdk");
  return disk;
}

/* PATH is refused with CODE and a message that holds WORDS. */
static void
assert_refused (const char *path, int code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, "vmdk", &error);

  g_assert_null (disk);
  g_assert_error (error, H2K_ERROR, code);
  if (!strstr (error->message, words))
    g_error ("\"%s\" does not say \"%s\"", error->message, words);
}

/* The whole of DISK by extents; what is not data is left as the zeros it stands for. */
static guint8 *
read_by_extents (H2kDisk *disk, GError **error)
{
  g_autofree guint8 *data = g_malloc0 (disk->size);
  H2kExtent extent;

  for (guint64 offset = 0; offset < disk->size; offset += extent.length)
    {
      if (!h2k_disk_extent (disk, offset, disk->size, &extent, error))
        return NULL;
      g_assert_cmpuint (extent.length, >, 0);
      if (extent.kind == H2K_EXTENT_DATA
          && !h2k_disk_pread (disk, offset, extent.length, data + offset, error))
        return NULL;
    }
  return g_steal_pointer (&data);
}

/* DISK is CONTENT, read at once, by extents, and in pieces that start and end anywhere. */
static void
assert_content (H2kDisk *disk, const guint8 *content, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *whole = g_malloc (size), *parts = NULL;

  g_assert_cmpuint (disk->size, ==, size);
  g_assert_true (h2k_disk_pread (disk, 0, size, whole, &error));
  g_assert_no_error (error);
  g_assert_cmpmem (whole, size, content, size);
  parts = read_by_extents (disk, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (parts, size, content, size);
  for (guint i = 0; i < 200; i++)
    {
      gsize offset = (gsize)g_test_rand_int_range (0, (gint32)size);
      gsize length = (gsize)g_test_rand_int_range (1, (gint32)MIN (size - offset, 40000) + 1);
      memset (whole, 0xa5, length);
      g_assert_true (h2k_disk_pread (disk, offset, length, whole, &error));
      g_assert_no_error (error);
      g_assert_cmpmem (whole, length, content + offset, length);
    }
}

/* --- sparse extents made by hand -------------------------------------------------------------- */

static const struct
{
  const char *name;
  guint flags;
} layouts[] = {
    {"sparse", 0},
    {"zero grains", IMAGE_ZERO_GRAINS},
    {"stream", IMAGE_STREAM},
    {"stream with zero grains", IMAGE_STREAM | IMAGE_ZERO_GRAINS},
    {"stream with a short last grain", IMAGE_STREAM | IMAGE_SHORT_LAST},
    {"compressed, directory in front", IMAGE_COMPRESSED | IMAGE_ZERO_GRAINS},
    {"no descriptor", IMAGE_NO_DESCRIPTOR},
};

/* One grain, less than one, several, more than one table, more than one directory sector. */
static const guint64 sizes[] = {8, 3, 41, 4096 + 8 * 3 + 5, 4096 * 3};

static void
test_layouts (Folder *folder, gconstpointer data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    for (gsize k = 0; k < G_N_ELEMENTS (sizes); k++)
      {
        g_auto (Image) image = image_make (sizes[k], layouts[i].flags);
        g_autofree char *path = put (folder, "image.vmdk", image.file->data, image.file->len);
        g_autoptr (H2kDisk) disk = open_ok (path);
        g_test_message ("%s, %" G_GUINT64_FORMAT " sectors", layouts[i].name, sizes[k]);
        assert_content (disk, image.content, image.size);
        g_assert_cmpuint (disk->files->len, ==, 1);
        if (layouts[i].flags & IMAGE_NO_DESCRIPTOR)
          g_assert_null (h2k_vmdk_descriptor (disk));
        else
          g_assert_cmpstr (h2k_vmdk_descriptor (disk)->adapter_type, ==, "lsilogic");
        g_assert_cmpstr (disk->subformat, ==,
                         layouts[i].flags & (IMAGE_STREAM | IMAGE_COMPRESSED) ? "streamOptimized"
                                                                              : "monolithicSparse");
      }
}

/* An entry of 1 stands for zeros whether or not the header has the flag; a stream's directory may
 * be known to the footer alone. */
static void
test_loose_headers (Folder *folder, gconstpointer data)
{
  static const guint flags[] = {0, IMAGE_STREAM};

  for (gsize i = 0; i < G_N_ELEMENTS (flags); i++)
    {
      g_auto (Image) image = image_make (8 * 12, flags[i] | IMAGE_ZERO_GRAINS);
      guint8 *header = image.file->data;
      g_autoptr (H2kDisk) disk = NULL;
      g_autofree char *path = NULL;

      header[8] &= (guint8)~4u;
      if (flags[i] == IMAGE_STREAM)
        memset (header + 0x38, 0, 8);
      path = put (folder, "image.vmdk", image.file->data, image.file->len);
      disk = open_ok (path);
      assert_content (disk, image.content, image.size);
    }
}

/* The data of a flat disk without its descriptor, also when the format is said to be VMDK; but the
 * name alone does not make a sparse extent flat. */
static void
test_flat_alone (Folder *folder, gconstpointer data)
{
  static const guint8 content[1536] = {1, 2, 3};
  static const char *const formats[] = {NULL, "vmdk", "raw"};
  g_auto (Image) image = image_make (8, 0);
  g_autofree char *path = put (folder, "vm-flat.vmdk", content, sizeof content);
  g_autofree char *sparse = put (folder, "x-flat.vmdk", image.file->data, image.file->len);
  g_autoptr (H2kDisk) disk = open_ok (sparse);

  assert_content (disk, image.content, image.size);
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) flat = h2k_disk_open (path, formats[i], &error);

      g_assert_no_error (error);
      g_assert_cmpstr (flat->format, ==, "raw");
      assert_content (flat, content, sizeof content);
    }
}

/* A name whose bytes were kept, though the descriptor's encoding gives them another meaning. */
static void
test_names_of_other_encodings (Folder *folder, gconstpointer data)
{
  static const guint8 content[512] = {7};
  static const struct
  {
    const char *encoding, *written, *stored;
  } names[] = {
      {"windows-1252", "gr\xfc.img", "gr\xc3\xbc.img"},
      {"windows-1252", "kl\xfc.img", "kl\xfc.img"},
      {"windows-1252",
       "\xc3\xbc"
       "x.img",
       "\xc3\xbc"
       "x.img"}, /* it is UTF-8, whatever it says */
      {"Shift_JIS", "\x83\x65.img", "\xe3\x83\x86.img"},
      {"Shift_JIS", "\x83\x66.img", "\x83\x66.img"},
      {"GBK", "\xb4\xc5.img", "\xb4\xc5.img"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *text = g_strdup_printf ("version=1\nencoding=\"%s\"\nRW 1 FLAT \"%s\" 0\n",
                                               names[i].encoding, names[i].written);
      g_autofree char *path = put_text (folder, "d.vmdk", text);
      g_autoptr (H2kDisk) disk = NULL;

      g_free (put (folder, names[i].stored, content, sizeof content));
      disk = open_ok (path);
      assert_content (disk, content, sizeof content);
    }
}

static void
test_extent_kinds (Folder *folder, gconstpointer data)
{
  g_auto (Image) image = image_make (8 * 12, IMAGE_STREAM | IMAGE_ZERO_GRAINS);
  g_autofree char *path = put (folder, "image.vmdk", image.file->data, image.file->len);
  g_autoptr (H2kDisk) disk = open_ok (path);
  static const struct
  {
    guint grain, grains;
    H2kExtentKind kind;
  } runs[] = {
      {0, 1, H2K_EXTENT_DATA},         {1, 1, H2K_EXTENT_UNALLOCATED}, {2, 1, H2K_EXTENT_DATA},
      {3, 1, H2K_EXTENT_ZERO},         {4, 2, H2K_EXTENT_DATA},        {5, 1, H2K_EXTENT_DATA},
      {6, 1, H2K_EXTENT_UNALLOCATED},  {8, 1, H2K_EXTENT_ZERO},        {9, 2, H2K_EXTENT_DATA},
      {11, 1, H2K_EXTENT_UNALLOCATED},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (runs); i++)
    {
      H2kExtent extent;
      g_assert_true (
          h2k_disk_extent (disk, runs[i].grain * GRAIN_BYTES + 100, disk->size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==, runs[i].kind);
      g_assert_cmpuint (extent.offset, ==, runs[i].grain * GRAIN_BYTES + 100);
      g_assert_cmpuint (extent.length, ==, runs[i].grains * GRAIN_BYTES - 100);
    }
}

static gpointer
read_at_random (gpointer data)
{
  gpointer *arguments = data;
  H2kDisk *disk = arguments[0];
  const Image *image = arguments[1];
  g_autoptr (GRand) random = g_rand_new_with_seed (GPOINTER_TO_UINT (arguments[2]));
  g_autofree guint8 *buffer = g_malloc (200000);

  for (guint i = 0; i < 400; i++)
    {
      gsize offset = (gsize)g_rand_int_range (random, 0, (gint32)image->size);
      gsize max = i % 4 ? 5000 : 200000;
      gsize length
          = (gsize)g_rand_int_range (random, 1, (gint32)MIN (image->size - offset, max) + 1);
      if (!h2k_disk_pread (disk, offset, length, buffer, NULL)
          || memcmp (buffer, image->content + offset, length) != 0)
        return GUINT_TO_POINTER (1);
    }
  return NULL;
}

static void
test_many_threads (Folder *folder, gconstpointer data)
{
  for (guint flags = 0; flags <= IMAGE_STREAM; flags++)
    {
      g_auto (Image) image = image_make (4096 * 6 + 3, flags);
      g_autofree char *path = put (folder, "image.vmdk", image.file->data, image.file->len);
      g_autoptr (H2kDisk) disk = open_ok (path);
      gpointer arguments[8][3];
      GThread *threads[8];

      for (guint i = 0; i < 8; i++)
        {
          arguments[i][0] = disk;
          arguments[i][1] = &image;
          arguments[i][2] = GUINT_TO_POINTER (i + 1);
          threads[i] = g_thread_new ("reader", read_at_random, arguments[i]);
        }
      for (guint i = 0; i < 8; i++)
        g_assert_null (g_thread_join (threads[i]));
    }
}

static void
test_cache_is_bounded (void)
{
  g_autoptr (H2kVmdkCache) cache = h2k_vmdk_cache_new (10000);
  int owners[2];

  for (guint64 i = 0; i < 100; i++)
    {
      g_autoptr (H2kVmdkBlock) block = h2k_vmdk_block_new (&owners[i % 2], i, 1000);
      g_autoptr (H2kVmdkBlock) first = NULL;
      h2k_vmdk_cache_put (cache, block);
      h2k_vmdk_cache_put (cache, block);
      g_assert_cmpuint (h2k_vmdk_cache_bytes (cache), <=, 10000);
      first = h2k_vmdk_cache_get (cache, &owners[0], 0); /* used all the time: stays */
      g_assert_true (first && first->index == 0);
    }
  g_assert_null (h2k_vmdk_cache_get (cache, &owners[0], 2));
  g_assert_null (h2k_vmdk_cache_get (cache, &owners[0], 99));
  for (guint64 i = 91; i < 100; i++)
    {
      g_autoptr (H2kVmdkBlock) block = h2k_vmdk_cache_get (cache, &owners[i % 2], i);
      g_assert_true (block && block->index == i);
    }
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
test_broken_headers (Folder *folder, gconstpointer data)
{
  static const struct
  {
    guint flags;
    guint at, bytes;
    guint64 value;
    int code;
    const char *words;
  } cases[] = {
      {0, 0, 4, 0x12345678, H2K_ERROR_FORMAT, "not a VMDK"},
      {0, 0, 4, 0x44574f43, H2K_ERROR_FORMAT, "COWD"},
      {0, 0, 8, 0xcafebabe, H2K_ERROR_FORMAT, "seSparse"},
      {0, 4, 4, 4, H2K_ERROR_UNSUPPORTED, "version 4"},
      {0, 4, 4, 0, H2K_ERROR_UNSUPPORTED, "version 0"},
      {0, 12, 8, 0, H2K_ERROR_FORMAT, "capacity"},
      {0, 12, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "capacity"},
      {0, 12, 8, G_MAXINT64 / 512, H2K_ERROR_FORMAT, "capacity"},
      {0, 12, 8, 3 << 24, H2K_ERROR_FORMAT, "grain table"},
      {0, 12, 8, 4096 + 40 - 16, H2K_ERROR_FORMAT, "the descriptor"},
      {0, 12, 8, 4096 + 40 + 16, H2K_ERROR_FORMAT, "the descriptor"},
      {0, 20, 8, 0, H2K_ERROR_FORMAT, "grain size"},
      {0, 20, 8, 4, H2K_ERROR_FORMAT, "grain size"},
      {0, 20, 8, 24, H2K_ERROR_FORMAT, "grain size"},
      {0, 20, 8, 65536, H2K_ERROR_FORMAT, "grain size"},
      {0, 20, 8, G_GUINT64_CONSTANT (1) << 63, H2K_ERROR_FORMAT, "grain size"},
      {0, 28, 8, 1 << 20, H2K_ERROR_FORMAT, "embedded descriptor"},
      {0, 36, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "embedded descriptor"},
      {0, 44, 4, 0, H2K_ERROR_FORMAT, "grain table"},
      {0, 44, 4, 1024, H2K_ERROR_FORMAT, "grain table"},
      {IMAGE_COMPRESSED, 56, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "footer"},
      {0, 64, 8, 1 << 20, H2K_ERROR_FORMAT, "metadata"},
      {0, 73, 1, ' ', H2K_ERROR_FORMAT, "binary mode"},
      {0, 75, 1, '\n', H2K_ERROR_FORMAT, "binary mode"},
      {0, 77, 2, 2, H2K_ERROR_UNSUPPORTED, "compression algorithm 2"},
      {0, 77, 2, 1, H2K_ERROR_FORMAT, "flags"},
      {IMAGE_STREAM, 8, 4, 0x10001, H2K_ERROR_FORMAT, "flags"},
      {IMAGE_STREAM, 77, 2, 0, H2K_ERROR_FORMAT, "flags"},
      {IMAGE_STREAM, 12, 8, 4096, H2K_ERROR_FORMAT, "footer"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_auto (Image) image = image_make (4096 + 40, cases[i].flags);
      g_autofree char *path = NULL;
      put_le (image.file->data + cases[i].at, cases[i].value, cases[i].bytes);
      path = put (folder, "image.vmdk", image.file->data, image.file->len);
      g_test_message ("%" G_GSIZE_FORMAT ": byte %u", i, cases[i].at);
      assert_refused (path, cases[i].code, cases[i].words);
    }
}

/* Cut off anywhere, an image is refused, or reads as what it was. */
static void
test_truncation (Folder *folder, gconstpointer data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_auto (Image) image = image_make (8 * 21 + 3, layouts[i].flags);
      guint opened = 0;
      for (gsize length = 0; length < image.file->len; length += length < 2048 ? 13 : 127)
        {
          g_autofree char *path = put (folder, "image.vmdk", image.file->data, length);
          g_autoptr (GError) error = NULL;
          g_autoptr (H2kDisk) disk = h2k_disk_open (path, "vmdk", &error);
          if (!disk)
            {
              g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
              continue;
            }
          opened++;
          assert_content (disk, image.content, image.size);
        }
      /* It is seen when the image is opened; only padding can be missing. */
      g_assert_cmpuint (opened, <=, layouts[i].flags == IMAGE_STREAM ? 0 : 8);
    }
}

/* Where grain I of IMAGE is in the file, in bytes. */
static gsize
grain_position (const Image *image, guint i)
{
  guint64 gd = h2k_le64 (image->file->data + 56);
  guint32 table;

  if (gd == G_MAXUINT64)
    gd = h2k_le64 (image->file->data + image->file->len - 1024 + 56);
  table = h2k_le32 (image->file->data + gd * 512 + i / 512 * 4);
  return (gsize)h2k_le32 (image->file->data + table * 512 + i % 512 * 4) * 512;
}

static void
test_broken_grains (Folder *folder, gconstpointer data)
{
  static const struct
  {
    guint at, bytes;
    guint64 value;
    const char *words;
  } cases[] = {
      {0, 8, 0, "marker of another grain"},
      {0, 8, G_MAXUINT64, "marker of another grain"},
      {8, 4, 0, "compressed size"},
      {8, 4, 3, "cannot be decompressed"},
      {8, 4, G_MAXUINT32, "compressed size"},
      {8, 4, 2 * GRAIN_BYTES + 1, "compressed size"},
      {12, 1, 0xff, "cannot be decompressed"},
      {40, 4, 0xdeadbeef, "cannot be decompressed"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases) * 2; i++)
    {
      g_auto (Image) image = image_make (8 * 64, i % 2 ? IMAGE_STREAM : IMAGE_COMPRESSED);
      gsize position = grain_position (&image, 12);
      g_autofree guint8 *buffer = g_malloc (image.size);
      g_autofree char *path = NULL, *where = NULL;
      g_autoptr (GError) error = NULL, again = NULL;
      g_autoptr (H2kDisk) disk = NULL;

      put_le (image.file->data + position + cases[i / 2].at, cases[i / 2].value,
              cases[i / 2].bytes);
      path = put (folder, "image.vmdk", image.file->data, image.file->len);
      disk = open_ok (path);
      g_assert_false (h2k_disk_pread (disk, 0, image.size, buffer, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      where = g_strdup_printf ("grain 12 (at byte %d of the disk, at byte %" G_GSIZE_FORMAT
                               " of the file) ",
                               12 * GRAIN_BYTES, position);
      g_assert_nonnull (strstr (error->message, where));
      g_assert_nonnull (strstr (error->message, path));
      g_assert_nonnull (strstr (error->message, cases[i / 2].words));
      /* A part of it is no better, and stays so; the others are whole. */
      g_assert_false (h2k_disk_pread (disk, 12 * GRAIN_BYTES + 5, 1, buffer, NULL));
      g_assert_false (h2k_disk_pread (disk, 12 * GRAIN_BYTES + 5, 1, buffer, &again));
      g_assert_error (again, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_true (h2k_disk_pread (disk, 0, 12 * GRAIN_BYTES, buffer, NULL));
      g_assert_cmpmem (buffer, 12 * GRAIN_BYTES, image.content, 12 * GRAIN_BYTES);
      g_assert_true (h2k_disk_pread (disk, 13 * GRAIN_BYTES, 51 * GRAIN_BYTES, buffer, NULL));
      g_assert_cmpmem (buffer, 51 * GRAIN_BYTES, image.content + 13 * GRAIN_BYTES,
                       51 * GRAIN_BYTES);
    }
}

/* Any byte of the metadata may be anything: no crash, and what a compressed image yields is right
 * or an error, but for what its directory and tables no longer point to. */
static void
test_damage_anywhere (Folder *folder, gconstpointer data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_auto (Image) image = image_make (8 * 21 + 3, layouts[i].flags);
      for (guint n = 0; n < 100; n++)
        {
          gsize at = (gsize)g_test_rand_int_range (0, (gint32)image.file->len);
          guint8 old = image.file->data[at];
          g_autofree char *path = NULL;
          g_autofree guint8 *content = NULL;
          g_autoptr (H2kDisk) disk = NULL;

          image.file->data[at] = (guint8)g_test_rand_int ();
          path = put (folder, "image.vmdk", image.file->data, image.file->len);
          image.file->data[at] = old;
          disk = h2k_disk_open (path, "vmdk", NULL);
          if (disk && disk->size < 16 * MIB)
            content = read_by_extents (disk, NULL);
        }
    }
}

static void
test_redundant_directory (Folder *folder, gconstpointer data)
{
  g_auto (Image) image = image_make (4096 * 2, 0);
  guint64 gd = h2k_le64 (image.file->data + 56);
  g_autofree char *path = NULL;

  /* A table of the primary directory is outside the file. */
  put_le (image.file->data + gd * 512, image.file->len / 512 + 1, 4);
  path = put (folder, "image.vmdk", image.file->data, image.file->len);
  {
    g_autoptr (H2kDisk) disk = open_ok (path);
    assert_content (disk, image.content, image.size);
  }
  /* The primary directory is. */
  put_le (image.file->data + 56, image.file->len / 512, 8);
  g_free (put (folder, "image.vmdk", image.file->data, image.file->len));
  {
    g_autoptr (H2kDisk) disk = open_ok (path);
    assert_content (disk, image.content, image.size);
  }
  /* Both are. */
  put_le (image.file->data + 48, 0, 8);
  g_free (put (folder, "image.vmdk", image.file->data, image.file->len));
  assert_refused (path, H2K_ERROR_FORMAT, "grain directory");
}

static void
test_text_mode_transfer (Folder *folder, gconstpointer data)
{
  g_auto (Image) image = image_make (8 * 21, IMAGE_STREAM);
  g_autoptr (GByteArray) damaged = g_byte_array_new ();
  g_autofree char *path = NULL;

  for (guint i = 0; i < image.file->len; i++)
    {
      if (image.file->data[i] == '\n')
        g_byte_array_append (damaged, (const guint8 *)"\r", 1);
      g_byte_array_append (damaged, image.file->data + i, 1);
    }
  path = put (folder, "image.vmdk", damaged->data, damaged->len);
  assert_refused (path, H2K_ERROR_FORMAT, "fetch it again in binary mode");
}

/* --- descriptors and extents ------------------------------------------------------------------ */

static guint8 *
random_bytes (gsize size)
{
  guint8 *data = g_malloc (size);

  for (gsize i = 0; i < size; i++)
    data[i] = (guint8)g_test_rand_int ();
  return data;
}

static void
test_extents_of_all_types (Folder *folder, gconstpointer data)
{
  g_auto (Image) sparse = image_make (8 * 9, IMAGE_NO_DESCRIPTOR);
  g_auto (Image) rounded = image_make (8 * 5, IMAGE_NO_DESCRIPTOR | IMAGE_STREAM);
  g_autofree guint8 *flat = random_bytes (30 * 512), *content = g_malloc0 (114 * 512);
  g_autofree char *path = put_text (folder, "disk.vmdk",
                                    "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
                                    "createType=\"custom\"\n"
                                    "RW 10 FLAT \"a flat.vmdk\" 20\nRDONLY 72 SPARSE \"s.vmdk\"\n"
                                    "NOACCESS 3 ZERO\nRW 5 VMFS \"sub/v.vmdk\"\n"
                                    "RW 19 SPARSE \"r.vmdk\"\nRW 5 FLAT \"a flat.vmdk\"\n");
  g_autofree char *sub = g_build_filename (folder->path, "sub", NULL);
  g_autoptr (H2kDisk) disk = NULL;

  g_assert_cmpint (g_mkdir (sub, 0700), ==, 0);
  g_free (put (folder, "a flat.vmdk", flat, 30 * 512));
  g_free (put (folder, "s.vmdk", sparse.file->data, sparse.file->len));
  g_free (put (folder, "sub/v.vmdk", flat, 5 * 512));
  g_free (put (folder, "r.vmdk", rounded.file->data, rounded.file->len));
  memcpy (content, flat + 20 * 512, 10 * 512);
  memcpy (content + 10 * 512, sparse.content, 72 * 512);
  memcpy (content + 85 * 512, flat, 5 * 512);
  memcpy (content + 90 * 512, rounded.content, 19 * 512);
  memcpy (content + 109 * 512, flat, 5 * 512);

  /* 19 sectors of five grains of 8: too different to be rounding. */
  assert_refused (path, H2K_ERROR_FORMAT, "do not belong together");
  rounded.file->data[12] = 20;
  rounded.file->data[rounded.file->len - 1024 + 12] = 20;
  g_free (put (folder, "r.vmdk", rounded.file->data, rounded.file->len));
  disk = open_ok (path);
  assert_content (disk, content, 114 * 512);
  g_assert_cmpuint (disk->files->len, ==, 6);
  g_assert_cmpstr (disk->subformat, ==, "custom");
}

static void
test_names_that_are_refused (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *name;
    int code;
    const char *words;
  } cases[] = {
      {"missing-flat.vmdk", H2K_ERROR_SOURCE, "missing-flat.vmdk"},
      {"sub/missing-flat.vmdk", H2K_ERROR_SOURCE, "missing"},
      {"../outside/secret", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"sub/../../outside/secret", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"/etc/passwd", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"/no/such/file", H2K_ERROR_UNSUPPORTED, "copy it to"},
      {"/vmfs/volumes/5f/vm/beside", H2K_ERROR_UNSUPPORTED, "see that it is the file in"},
      {"/dev/zero", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"/proc/self/environ", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"link", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"link-folder/secret", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"sub", H2K_ERROR_UNSUPPORTED, "not a regular file"},
      {".", H2K_ERROR_UNSUPPORTED, "own folder"},
      {"pipe", H2K_ERROR_UNSUPPORTED, "not a regular file"},
      {"\x1b[2Jx", H2K_ERROR_SOURCE, "\\x1b[2Jx"},
  };
  g_autofree char *vm = g_build_filename (folder->path, "vm", NULL);
  g_autofree char *sub = g_build_filename (vm, "sub", NULL);
  g_autofree char *outside = g_build_filename (folder->path, "outside", NULL);
  g_autofree char *secret = g_build_filename (outside, "secret", NULL);
  g_autofree char *link = g_build_filename (vm, "link", NULL);
  g_autofree char *link_folder = g_build_filename (vm, "link-folder", NULL);
  g_autofree char *pipe = g_build_filename (vm, "pipe", NULL);

  g_assert_cmpint (g_mkdir (vm, 0700) | g_mkdir (sub, 0700) | g_mkdir (outside, 0700), ==, 0);
  g_free (put (folder, "outside/secret", "0123456789", 10));
  g_free (put (folder, "vm/beside", "0123456789", 10));
  g_assert_cmpint (symlink (secret, link) | symlink ("../outside", link_folder), ==, 0);
  g_assert_cmpint (mkfifo (pipe, 0600), ==, 0);
  for (gsize i = 0; i < G_N_ELEMENTS (cases) * 2; i++)
    {
      g_autofree char *text = g_strdup_printf ("version=1\nRW 1 %s \"%s\" 0\n",
                                               i % 2 ? "FLAT" : "SPARSE", cases[i / 2].name);
      g_autofree char *path = put_text (folder, "vm/disk.vmdk", text);
      assert_refused (path, cases[i / 2].code, cases[i / 2].words);
    }
}

/* A folder of links to descriptors, and absolute names inside the folder, are nothing bad. */
static void
test_names_that_are_fine (Folder *folder, gconstpointer data)
{
  g_autofree guint8 *flat = random_bytes (512);
  g_autofree char *file = put (folder, "flat.vmdk", flat, 512);
  g_autofree char *text = g_strdup_printf ("version=1\nRW 1 FLAT \"%s\" 0\n", file);
  g_autofree char *absolute = put_text (folder, "absolute.vmdk", text);
  g_autofree char *relative
      = put_text (folder, "relative.vmdk", "version=1\nRW 1 FLAT \"./x/../flat.vmdk\" 0\n");
  g_autofree char *links = g_build_filename (folder->path, "x", NULL);
  g_autofree char *link = g_build_filename (links, "link.vmdk", NULL);
  g_autoptr (H2kDisk) first = open_ok (absolute), second = NULL;

  assert_content (first, flat, 512);
  g_assert_cmpint (g_mkdir (links, 0700), ==, 0);
  second = open_ok (relative);
  assert_content (second, flat, 512);
  g_assert_cmpint (symlink ("../absolute.vmdk", link), ==, 0);
  {
    g_autoptr (H2kDisk) third = open_ok (link);
    assert_content (third, flat, 512);
  }
}

static void
test_disks_that_are_refused (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *file, *text;
    int code;
    const char *words;
  } cases[] = {
      {"a.vmdk", "version=1\nRW 9 FLAT \"flat.vmdk\" 0\n", H2K_ERROR_FORMAT, "truncated"},
      {"a.vmdk", "version=1\nRW 1 FLAT \"flat.vmdk\" 8\n", H2K_ERROR_FORMAT, "truncated"},
      {"a.vmdk", "version=1\nRW 1 SPARSE \"flat.vmdk\"\n", H2K_ERROR_FORMAT, "not a VMDK"},
      {"a.vmdk", "version=1\nRW 8 VMFSSPARSE \"flat.vmdk\"\n", H2K_ERROR_FORMAT, "not a VMDK"},
      {"a.vmdk", "version=1\nRW 8 SESPARSE \"flat.vmdk\"\n", H2K_ERROR_FORMAT, "not a VMDK"},
      {"a.vmdk", "version=1\nRW 1 VMFSRDM \"x\"\n", H2K_ERROR_UNSUPPORTED, "raw device mapping"},
      {"a.vmdk", "version=1\nNOACCESS 1 FLAT \"x\"\n", H2K_ERROR_UNSUPPORTED, "NOACCESS"},
      {"a.vmdk", "version=1\nencryptionKeys=\"v\"\nRW 1 ZERO\n", H2K_ERROR_UNSUPPORTED,
       "encrypted"},
      {"a.vmdk", "version=1\nRW 1 ZERO\nddb.iofilters = \"vmwarevmcrypt\"\n", H2K_ERROR_UNSUPPORTED,
       "encrypted"},
      {"a.vmdk", "version=1\nRW 1 FLA", H2K_ERROR_FORMAT, "line 2"},
      {"a.vmdk", "version=1\n", H2K_ERROR_FORMAT, "no extents"},
      {"a.vmdk", "just a text\n", H2K_ERROR_FORMAT, "not a VMDK"},
      {"a.vmdk", "", H2K_ERROR_FORMAT, "truncated"},
      {"a.vmdk", "version=1\nparentCID=1\nRW 1 ZERO\n", H2K_ERROR_FORMAT,
       "does not name its parent"},
      {"a.vmdk", "version=1\nparentCID=1\nparentFileNameHint=\"/x/gone.vmdk\"\nRW 1 ZERO\n",
       H2K_ERROR_SOURCE, "/gone.vmdk"},
      {"a.vmdk", "version=1\nparentCID=1\nparentFileNameHint=\"../up.vmdk\"\nRW 1 ZERO\n",
       H2K_ERROR_SOURCE, "up.vmdk"},
      {"a.vmdk", "version=1\nparentCID=1\nparentFileNameHint=\"zero.vmdk\"\nRW 1 ZERO\n",
       H2K_ERROR_FORMAT, "CID 00000002"},
      {"a.vmdk", "version=1\nCID=1\nparentCID=1\nparentFileNameHint=\"a.vmdk\"\nRW 1 ZERO\n",
       H2K_ERROR_FORMAT, "comes back"},
  };

  g_free (put_text (folder, "zero.vmdk", "version=1\nCID=2\nRW 1 ZERO\n"));
  {
    g_autofree guint8 *flat = g_malloc0 (8 * 512);
    g_free (put (folder, "flat.vmdk", flat, 8 * 512));
  }
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = put_text (folder, cases[i].file, cases[i].text);
      g_test_message ("%s", cases[i].text);
      assert_refused (path, cases[i].code, cases[i].words);
    }
}

static void
test_a_piece_is_no_disk (Folder *folder, gconstpointer data)
{
  g_auto (Image) image = image_make (8, IMAGE_NO_DESCRIPTOR);
  g_autofree char *path = put (folder, "disk-s001.vmdk", image.file->data, image.file->len);

  assert_refused (path, H2K_ERROR_FORMAT, "descriptor instead");
}

/* Only what looks like a VMDK, or is called one, is taken for one. */
static void
test_probing (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *name;
    gboolean is_raw;
  } cases[] = {
      {"disk.img", TRUE},       {"disk-flat.vmdk", TRUE}, {"disk-f001.vmdk", TRUE},
      {"disk-FLAT.VMDK", TRUE}, {"disk.vmdk", FALSE},     {"disk-1.VMDK", FALSE},
  };
  g_autofree guint8 *zeros = g_malloc0 (4096);

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = put (folder, cases[i].name, zeros, 4096);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) disk = h2k_disk_open (path, NULL, &error);
      if (cases[i].is_raw)
        g_assert_cmpstr (disk->format, ==, "raw");
      else
        g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
    }
}

static void
test_delta (Folder *folder, gconstpointer data)
{
  g_auto (Image) parent = image_make (8 * 21, 0), child = image_make (8 * 23, IMAGE_DELTA);
  g_autofree char *path = put (folder, "child.vmdk", child.file->data, child.file->len);
  g_autoptr (H2kDisk) disk = NULL;

  /* What the child does not hold (of every five grains the second) is the parent's. */
  for (guint i = 0; i < 21; i++)
    {
      guint32 gd = (guint32)h2k_le64 (parent.file->data + 56);
      guint32 table = h2k_le32 (parent.file->data + gd * 512);
      guint8 *gte = parent.file->data + table * 512 + i * 4;
      if (i % 5 != 1)
        continue;
      put_le (gte,
              image_add_grain (parent.file, i, parent.content + (i - 1) * GRAIN_BYTES, GRAIN_BYTES,
                               FALSE),
              4);
      memcpy (child.content + i * GRAIN_BYTES, parent.content + (i - 1) * GRAIN_BYTES, GRAIN_BYTES);
    }
  assert_refused (path, H2K_ERROR_SOURCE, "parent.vmdk");
  g_free (put (folder, "parent.vmdk", parent.file->data, parent.file->len));
  disk = open_ok (path);
  assert_content (disk, child.content, child.size);
  g_assert_cmpuint (disk->files->len, ==, 2);
  g_assert_nonnull (disk->backing);
}

/* --- images of qemu-img ----------------------------------------------------------------------- */

/* FALSE: the program failed. Its arguments end with NULL. */
G_GNUC_NULL_TERMINATED static gboolean
run (const char *program, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GSubprocess) process = NULL;
  va_list args;

  va_start (args, program);
  for (const char *arg = program; arg; arg = va_arg (args, const char *))
    g_ptr_array_add (argv, (gpointer)arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  process
      = g_subprocess_newv ((const char *const *)argv->pdata,
                           G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                           NULL);
  return process && g_subprocess_wait_check (process, NULL, NULL);
}

static gboolean
skip_without (const char *program)
{
  g_autofree char *path = g_find_program_in_path (program);

  if (!path)
    g_test_skip (program);
  return path == NULL;
}

static char *
sha256_of_disk (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *buffer = g_malloc (2 * MIB);
  gsize n;

  for (guint64 offset = 0; offset < disk->size; offset += n)
    {
      g_autoptr (GError) error = NULL;
      n = (gsize)MIN (2 * MIB, disk->size - offset);
      g_assert_true (h2k_disk_pread (disk, offset, n, buffer, &error));
      g_checksum_update (sum, buffer, (gssize)n);
    }
  return g_strdup (g_checksum_get_string (sum));
}

/* DISK reads as the raw image PATH, whose holes are not read. */
static void
assert_same_as_raw (H2kDisk *disk, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) raw = h2k_disk_open (path, "raw", &error);
  g_autofree guint8 *a = g_malloc (2 * MIB), *b = g_malloc (2 * MIB);
  H2kExtent x, y;
  gsize n;

  g_assert_no_error (error);
  g_assert_cmpuint (disk->size, ==, raw->size);
  for (guint64 offset = 0; offset < raw->size; offset += n)
    {
      guint64 limit = MIN (raw->size, offset + 2 * MIB);
      g_assert_true (h2k_disk_extent (disk, offset, raw->size, &x, NULL));
      g_assert_true (h2k_disk_extent (raw, offset, raw->size, &y, NULL));
      n = (gsize)(limit - offset);
      if (x.kind != H2K_EXTENT_DATA && y.kind != H2K_EXTENT_DATA)
        {
          n = (gsize)MIN (x.length, y.length);
          continue;
        }
      g_assert_true (h2k_disk_pread (disk, offset, n, a, &error));
      g_assert_true (h2k_disk_pread (raw, offset, n, b, &error));
      g_assert_no_error (error);
      g_assert_cmpmem (a, n, b, n);
    }
}

/* A sparse raw file of SIZE bytes with random pieces at random places, and at both ends. */
static char *
make_raw (Folder *folder, guint64 size, guint pieces)
{
  char *path = put (folder, "disk.raw", "", 0);
  int fd = g_open (path, O_RDWR | O_CLOEXEC, 0);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  for (guint i = 0; i < pieces; i++)
    {
      gsize n = (gsize)g_test_rand_int_range (1, 300000);
      guint64 at = i == 0   ? 0
                   : i == 1 ? size - n
                            : (guint64)(g_test_rand_double () * (double)(size - n));
      g_autofree guint8 *data = random_bytes (n);
      if (i % 3 == 2) /* compressible */
        for (gsize k = 0; k < n; k++)
          data[k] &= 1;
      g_assert_cmpint (h2k_pwrite_full (fd, data, n, at), ==, 0);
    }
  g_assert_cmpint (close (fd), ==, 0);
  return path;
}

static void
test_qemu_img (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *options;
    const char *subformat;
    gboolean chunked; /* split into 2 GiB: with a size beyond that */
  } formats[] = {
      {"subformat=streamOptimized", "streamOptimized", FALSE},
      {"subformat=monolithicSparse", "monolithicSparse", FALSE},
      {"subformat=monolithicSparse,zeroed_grain=on", "monolithicSparse", FALSE},
      {"subformat=monolithicFlat", "monolithicFlat", FALSE},
      {"subformat=twoGbMaxExtentSparse", "twoGbMaxExtentSparse", TRUE},
      {"subformat=twoGbMaxExtentFlat", "twoGbMaxExtentFlat", TRUE},
      {"subformat=streamOptimized", "streamOptimized", TRUE},
  };

  if (skip_without ("qemu-img"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      guint64 size = formats[i].chunked ? G_GUINT64_CONSTANT (5) << 30 : 9 * MIB;
      guint64 odd = 512 * (guint64)g_test_rand_int_range (1, 127);
      g_autofree char *raw = make_raw (folder, size + odd, 20);
      g_autofree char *path = g_build_filename (folder->path, "disk.vmdk", NULL);
      g_autoptr (H2kDisk) disk = NULL;

      g_assert_true (run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                          formats[i].options, raw, path, NULL));
      disk = open_ok (path);
      g_assert_cmpstr (disk->subformat, ==, formats[i].subformat);
      g_test_message ("%s, %" G_GUINT64_FORMAT " bytes", formats[i].options, disk->size);
      assert_same_as_raw (disk, raw);
    }
}

static void
test_qemu_img_delta (Folder *folder, gconstpointer data)
{
  g_autofree char *base = g_build_filename (folder->path, "base.vmdk", NULL);
  g_autofree char *child = g_build_filename (folder->path, "child.vmdk", NULL);
  g_autofree char *result = g_build_filename (folder->path, "result.raw", NULL);
  g_autofree char *raw = NULL;
  g_autoptr (H2kDisk) disk = NULL;

  if (skip_without ("qemu-img") || skip_without ("qemu-io"))
    return;
  raw = make_raw (folder, 9 * MIB, 20);
  g_assert_true (run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, base, NULL));
  g_assert_true (
      run ("qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", child, NULL));
  g_assert_true (run ("qemu-io", "-f", "vmdk", "-c", "write -P 7 1000k 300k", "-c",
                      "write -P 9 8M 1k", child, NULL));
  g_assert_true (run ("qemu-img", "convert", "-f", "vmdk", "-O", "raw", child, result, NULL));
  disk = open_ok (child);
  assert_same_as_raw (disk, result);
  /* The parent is written once more: the child's content is lost, and that is said. */
  g_assert_true (run ("qemu-io", "-f", "vmdk", "-c", "write -P 1 0 1k", base, NULL));
  assert_refused (child, H2K_ERROR_FORMAT, "changed after the snapshot");
}

/* --- real samples ----------------------------------------------------------------------------- */

/* The file that a line of the oracle names, unpacked if need be; NULL when it is not there. */
static char *
sample (Folder *folder, const char *root, const char *name)
{
  g_autofree char *path = g_build_filename (root, name, NULL);
  g_autofree char *base = g_path_get_basename (name);
  g_autofree char *copy = NULL;

  if (!g_file_test (path, G_FILE_TEST_EXISTS))
    return NULL;
  if (!g_str_has_suffix (name, ".bz2"))
    return g_steal_pointer (&path);
  copy = g_build_filename (folder->path, base, NULL);
  if (!run ("cp", path, copy, NULL) || !run ("bzip2", "-df", copy, NULL))
    return NULL;
  copy[strlen (copy) - strlen (".bz2")] = '\0';
  return g_steal_pointer (&copy);
}

static void
check_sample (const char *path, char **fields)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, NULL, &error);
  g_autofree char *sum = NULL;

  g_test_message ("%s", path);
  if (g_str_equal (fields[1], "REFUSED"))
    {
      g_assert_null (disk);
      g_assert_true (error->code == H2K_ERROR_FORMAT || error->code == H2K_ERROR_UNSUPPORTED
                     || error->code == H2K_ERROR_SOURCE);
      return;
    }
  g_assert_no_error (error);
  g_assert_cmpuint (disk->size, ==, g_ascii_strtoull (fields[2], NULL, 10));
  if (g_str_equal (fields[3], "skipped-large"))
    return;
  sum = sha256_of_disk (disk);
  g_assert_cmpstr (sum, ==, fields[3]);
}

/* qemu-img's reading of each sample is recorded beside them. */
static void
test_samples (Folder *folder, gconstpointer data)
{
  const char *root = g_getenv ("H2K_TESTDATA");
  g_autofree char *oracle = root ? g_build_filename (root, "oracle.tsv", NULL) : NULL;
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint found = 0;

  if (!oracle || !g_file_get_contents (oracle, &text, NULL, NULL))
    {
      g_test_skip ("H2K_TESTDATA does not name a folder of samples");
      return;
    }
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    {
      g_auto (GStrv) fields = g_strsplit (*line, "\t", -1);
      g_autofree char *path = NULL;
      if (g_strv_length (fields) < 3 || !g_str_has_prefix (fields[0], "vmdk/"))
        continue;
      path = sample (folder, root, fields[0]);
      if (!path)
        {
          g_test_message ("%s is not there", fields[0]);
          continue;
        }
      found++;
      check_sample (path, fields);
    }
  if (found == 0)
    g_test_skip ("no VMDK samples in H2K_TESTDATA");
}

/* The streams that ovftool and VirtualBox put into OVAs, against qemu-img. */
static void
test_appliances (Folder *folder, gconstpointer data)
{
  const char *root = g_getenv ("H2K_TESTDATA");
  g_autofree char *ovas = root ? g_build_filename (root, "ova", "virtualbox", NULL) : NULL;
  g_autofree char *raw = g_build_filename (folder->path, "result.raw", NULL);
  g_autoptr (GDir) dir = ovas ? g_dir_open (ovas, 0, NULL) : NULL;
  const char *name;
  guint found = 0;

  if (!dir)
    {
      g_test_skip ("H2K_TESTDATA does not name a folder of samples");
      return;
    }
  if (skip_without ("qemu-img") || skip_without ("tar"))
    return;
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *ova = g_build_filename (ovas, name, NULL);
      (void)run ("tar", "-xf", ova, "-C", folder->path, "--wildcards", "*.vmdk", NULL);
    }
  g_clear_pointer (&dir, g_dir_close);
  dir = g_dir_open (folder->path, 0, NULL);
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (folder->path, name, NULL);
      g_autoptr (H2kDisk) disk = NULL;
      if (!g_str_has_suffix (name, ".vmdk"))
        continue;
      found++;
      g_test_message ("%s", name);
      disk = open_ok (path);
      g_assert_true (run ("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, raw, NULL));
      assert_same_as_raw (disk, raw);
    }
  if (found == 0)
    g_test_skip ("no appliance with a VMDK in H2K_TESTDATA");
}

#define ADD(name, function)                                                                        \
  g_test_add ("/vmdk/" name, Folder, NULL, folder_set_up, function, folder_tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("sparse/layouts read back", test_layouts);
  ADD ("sparse/extents say data, zero, unallocated", test_extent_kinds);
  ADD ("sparse/headers that say less than they should", test_loose_headers);
  ADD ("alone/a flat extent", test_flat_alone);
  ADD ("descriptor/names in other encodings", test_names_of_other_encodings);
  ADD ("sparse/many threads read at once", test_many_threads);
  g_test_add_func ("/vmdk/sparse/the cache is bounded", test_cache_is_bounded);
  ADD ("damage/headers", test_broken_headers);
  ADD ("damage/truncation is seen when opening", test_truncation);
  ADD ("damage/compressed grains", test_broken_grains);
  ADD ("damage/any byte", test_damage_anywhere);
  ADD ("damage/the redundant directory helps", test_redundant_directory);
  ADD ("damage/text-mode transfer", test_text_mode_transfer);
  ADD ("extents/of all types", test_extents_of_all_types);
  ADD ("extents/names that are refused", test_names_that_are_refused);
  ADD ("extents/names that are fine", test_names_that_are_fine);
  ADD ("disks that are refused", test_disks_that_are_refused);
  ADD ("a piece is no disk", test_a_piece_is_no_disk);
  ADD ("probing", test_probing);
  ADD ("delta over its parent", test_delta);
  ADD ("qemu-img/all subformats", test_qemu_img);
  ADD ("qemu-img/delta", test_qemu_img_delta);
  ADD ("samples", test_samples);
  ADD ("appliances", test_appliances);
  return g_test_run ();
}
