/* test-initramfs-image.c - images made by the real tools in every compression and layout are read,
 * and what is appended is read by independent tools.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-image.h"

#include <sys/stat.h>

/* --- helpers ---------------------------------------------------------------------------------- */

/* What the program ARGV prints for INPUT; NULL: not installed, or it fails. */
static GBytes *
filter (const char *const *argv, GBytes *input)
{
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv,
                           G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE
                               | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                           NULL);
  GBytes *out = NULL;

  if (!process)
    return NULL;
  g_assert_true (g_subprocess_communicate (process, input, NULL, &out, NULL, NULL));
  if (!g_subprocess_get_successful (process))
    g_clear_pointer (&out, g_bytes_unref);
  return out;
}

static GBytes *
joined (GBytes *a, gsize zeros, GBytes *b)
{
  GByteArray *all = g_byte_array_new ();
  g_autofree guint8 *padding = g_malloc0 (zeros + 1);

  g_byte_array_append (all, g_bytes_get_data (a, NULL), (guint)g_bytes_get_size (a));
  g_byte_array_append (all, padding, (guint)zeros);
  g_byte_array_append (all, g_bytes_get_data (b, NULL), (guint)g_bytes_get_size (b));
  return g_byte_array_free_to_bytes (all);
}

static void
add (H2kCpioWriter *writer, const char *name, guint32 mode, const char *content)
{
  g_autoptr (GBytes) bytes = content ? g_bytes_new_static (content, strlen (content)) : NULL;
  h2k_cpio_writer_add (writer, name, mode, bytes);
}

static GBytes *
early (void)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();

  add (writer, "kernel", S_IFDIR | 0755, NULL);
  add (writer, "kernel/x86", S_IFDIR | 0755, NULL);
  add (writer, "kernel/x86/microcode.bin", S_IFREG | 0644, "microcode");
  return h2k_cpio_writer_finish (writer);
}

#define LARGE (9u << 20) /* more than one block of lz4 */
#define NOISE (2u << 20) /* more than one read of the file */

/* An archive of merged-/usr layout with SIZE bytes, the first of which do not compress well. */
static GBytes *
payload (gsize size)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  guint8 *noise = g_malloc0 (size);
  g_autoptr (GBytes) bytes = NULL;

  for (gsize i = 0; i < MIN (size, NOISE); i++)
    noise[i] = (guint8)(g_rand_int (rand) & 0x3f);
  bytes = g_bytes_new_take (noise, size);
  add (writer, "conf", S_IFDIR | 0755, NULL);
  add (writer, "conf/modules", S_IFREG | 0644, "mptspi\n");
  h2k_cpio_writer_add (writer, "noise", S_IFREG | 0644, bytes);
  add (writer, "usr", S_IFDIR | 0755, NULL);
  add (writer, "usr/lib", S_IFDIR | 0755, NULL);
  add (writer, "lib", S_IFLNK | 0777, "usr/lib");
  return h2k_cpio_writer_finish (writer);
}

static GBytes *
addition (void)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();

  add (writer, "usr/lib/added", S_IFREG | 0644, "added");
  return h2k_cpio_writer_finish (writer);
}

static GBytes *
read_bytes (guint64 offset, gsize length, gpointer data, GError **error)
{
  return g_bytes_new_from_bytes (data, offset, length);
}

static H2kInitramfs *
read_image (GBytes *bytes, GError **error)
{
  return h2k_initramfs_read (read_bytes, bytes, g_bytes_get_size (bytes), 0, error);
}

/* --- every compression ------------------------------------------------------------------------ */

static const struct Compression
{
  const char *name;
  const char *pack[5];
  const char *unpack[4];
  H2kPayload payload;
  H2kPayload added; /* how an addition behind it is compressed */
} compressions[] = {
    {"none", {"cat"}, {"cat"}, H2K_PAYLOAD_NONE, H2K_PAYLOAD_NONE},
    {"gzip", {"gzip", "-nc"}, {"gzip", "-dc"}, H2K_PAYLOAD_GZIP, H2K_PAYLOAD_GZIP},
    {"xz", {"xz", "--check=crc32", "-0c"}, {"xz", "-dc"}, H2K_PAYLOAD_XZ, H2K_PAYLOAD_XZ},
    {"xz in blocks",
     {"xz", "--check=crc32", "-0c", "--block-size=1MiB"},
     {"xz", "-dc"},
     H2K_PAYLOAD_XZ,
     H2K_PAYLOAD_XZ},
    {"zstd", {"zstd", "-qc"}, {"zstd", "-dqc"}, H2K_PAYLOAD_ZSTD, H2K_PAYLOAD_ZSTD},
    {"lz4", {"lz4", "-lqc"}, {"lz4", "-dqc"}, H2K_PAYLOAD_LZ4, H2K_PAYLOAD_LZ4},
    {"lzma", {"xz", "--format=lzma", "-0c"}, {NULL}, H2K_PAYLOAD_LZMA, H2K_PAYLOAD_NONE},
    {"bzip2", {"bzip2", "-c"}, {NULL}, H2K_PAYLOAD_BZIP2, H2K_PAYLOAD_NONE},
};

static void
check_members (const H2kInitramfs *image, gboolean has_early)
{
  const H2kInitramfsMember *modules = h2k_initramfs_member (image, "conf/modules");
  const H2kInitramfsMember *lib = h2k_initramfs_member (image, "lib");

  g_assert_nonnull (modules);
  g_assert_cmpmem (g_bytes_get_data (modules->content, NULL), g_bytes_get_size (modules->content),
                   "mptspi\n", 7);
  g_assert_cmpstr (lib->target, ==, "usr/lib");
  g_assert_true (!has_early == !h2k_initramfs_member (image, "kernel/x86/microcode.bin"));
  g_assert_null (h2k_initramfs_member (image, "noise")->content);
}

/* What stands behind the early archive is one stream (or archive) to the guest's tools, and they
 * find FIRST and the addition in it. */
static void
check_with_tools (const struct Compression *c, GBytes *image, gsize start, GBytes *first)
{
  g_autoptr (GBytes) main_part
      = g_bytes_new_from_bytes (image, start, g_bytes_get_size (image) - start);
  g_autoptr (GBytes) plain = filter (c->unpack, main_part);
  g_autoptr (GBytes) second = addition ();
  g_autoptr (GBytes) both = joined (first, 0, second);

  g_assert_nonnull (plain);
  g_assert_true (g_bytes_equal (plain, both));
}

/* Read the image made of PLAIN, append to it, read again. */
static void
check_layout (const struct Compression *c, GBytes *plain, gboolean with_early, gsize zeros)
{
  g_autoptr (GBytes) packed = filter (c->pack, plain);
  g_autoptr (GBytes) before = with_early ? early () : g_bytes_new (NULL, 0);
  g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);
  gsize start = (g_bytes_get_size (before) + 511) / 512 * 512;
  g_autoptr (GBytes) bytes = joined (before, start - g_bytes_get_size (before), packed);
  g_autoptr (GBytes) whole = joined (bytes, zeros, nothing);
  g_autoptr (GBytes) archive = addition ();
  g_autoptr (GBytes) more = NULL;
  g_autoptr (GBytes) longer = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kInitramfs) image = read_image (whole, &error);
  g_autoptr (H2kInitramfs) again = NULL;
  H2kPayload added;

  g_assert_no_error (error);
  check_members (image, with_early);
  g_assert_cmpint (image->payload, ==, c->payload);
  g_assert_cmpuint (image->segments, ==, with_early && c->payload != H2K_PAYLOAD_NONE ? 2 : 1);
  g_assert_cmpuint (image->end, ==,
                    g_bytes_get_size (bytes) + (c->payload == H2K_PAYLOAD_NONE ? zeros : 0));

  more = h2k_initramfs_pack (image, archive, &added, &error);
  g_assert_no_error (error);
  g_assert_cmpint (added, ==, zeros && c->payload == H2K_PAYLOAD_LZ4 ? H2K_PAYLOAD_NONE : c->added);
  longer = joined (whole, 0, more);
  again = read_image (longer, &error);
  g_assert_no_error (error);
  check_members (again, with_early);
  g_assert_nonnull (h2k_initramfs_member (again, "usr/lib/added"));
  if (*c->unpack && !zeros)
    check_with_tools (c, longer, start, plain);
}

static gboolean
can_compress (const struct Compression *c)
{
  g_autoptr (GBytes) plain = early ();
  g_autoptr (GBytes) packed = filter (c->pack, plain);

  if (!packed)
    g_test_skip ("the program that compresses is not installed");
  return packed != NULL;
}

static void
test_compression (gconstpointer data)
{
  const struct Compression *c = data;
  g_autoptr (GBytes) large = payload (LARGE);
  g_autoptr (GBytes) small = payload (5000);

  if (!can_compress (c))
    return;
  check_layout (c, large, TRUE, 0);
  check_layout (c, small, FALSE, 0);
  for (gsize zeros = 1; zeros <= 9; zeros += 2)
    check_layout (c, small, TRUE, zeros);
}

/* An lz4 stream has no end of its own: a word of zeros ends it, and less than that only at the
 * file's end. */
static void
test_lz4_padding (void)
{
  static const char *const pack[] = {"lz4", "-lqc", NULL};
  g_autoptr (GBytes) plain = early ();
  g_autoptr (GBytes) packed = filter (pack, plain);
  g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);

  if (!packed)
    {
      g_test_skip ("lz4 is not installed");
      return;
    }
  for (gsize zeros = 1; zeros < 9; zeros++)
    {
      g_autoptr (GBytes) whole = joined (packed, zeros, nothing);
      g_autoptr (H2kInitramfs) image = read_image (whole, NULL);
      g_autoptr (GBytes) more = NULL;
      const char *p;
      H2kPayload how;

      g_assert_cmpuint (image->end, ==, g_bytes_get_size (packed));
      more = h2k_initramfs_pack (image, plain, &how, NULL);
      p = memchr (g_bytes_get_data (more, NULL), '0', g_bytes_get_size (more));
      gsize padding = (gsize)(p - (const char *)g_bytes_get_data (more, NULL));
      g_assert_cmpuint (zeros + padding, >=, 4);
      g_assert_cmpuint ((g_bytes_get_size (whole) + padding) % 4, ==, 0);
    }
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
check_error (GBytes *bytes, H2kError code, const char *word)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (read_image (bytes, &error));
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, word))
    g_error ("\"%s\" does not say \"%s\"", error->message, word);
}

static void
check_text (const char *text, gsize size, H2kError code, const char *word)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static (text, size);
  check_error (bytes, code, word);
}

static void
test_not_an_image (void)
{
  static const char lzo[] = "\x89LZO\0\r\n\x1a\n and more";
  g_autoptr (GBytes) one = early ();
  g_autoptr (GBytes) config = g_bytes_new_static ("xx\n\0\0\0\0\0\0\0\0\0#BOOTCONFIG\n", 24);
  g_autoptr (GBytes) with_config = joined (one, 0, config);

  check_text ("", 0, H2K_ERROR_FORMAT, "empty");
  check_text ("\0\0\0\0\0", 5, H2K_ERROR_FORMAT, "empty");
  check_text ("hello world, hello", 18, H2K_ERROR_FORMAT, "byte 0");
  check_text (lzo, sizeof lzo, H2K_ERROR_UNSUPPORTED, "lzo");
  check_error (with_config, H2K_ERROR_UNSUPPORTED, "boot configuration");
}

static void
test_truncated (gconstpointer data)
{
  const struct Compression *c = data;
  g_autoptr (GBytes) plain = early ();
  g_autoptr (GBytes) packed = can_compress (c) ? filter (c->pack, plain) : NULL;
  gsize size = packed ? g_bytes_get_size (packed) : 0;

  for (gsize n = 4; n < size; n++)
    {
      g_autoptr (GBytes) cut = g_bytes_new_from_bytes (packed, 0, n);
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kInitramfs) image = read_image (cut, &error);
      /* GNU cpio pads to blocks of 512 and bare zeros may be missing. */
      g_assert_true ((error != NULL) == (image == NULL));
      g_assert_true (error || c->payload == H2K_PAYLOAD_NONE);
      g_assert_true (!error || error->domain == H2K_ERROR);
    }
}

static void
test_damaged (gconstpointer data)
{
  const struct Compression *c = data;
  g_autoptr (GBytes) plain = early ();
  g_autoptr (GBytes) packed = can_compress (c) ? filter (c->pack, plain) : NULL;
  gsize size = 0;
  const guint8 *p = packed ? g_bytes_get_data (packed, &size) : NULL;

  for (gsize i = 0; i < size; i++)
    {
      guint8 *copy = g_memdup2 (p, size);
      g_autoptr (GBytes) bytes = NULL;
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kInitramfs) image = NULL;
      copy[i] ^= 0x55;
      bytes = g_bytes_new_take (copy, size);
      /* Not every byte matters; none may crash or hang. */
      image = read_image (bytes, &error);
      g_assert_true (!image == !!error);
    }
}

/* 200 MiB of zeros in a few KiB. */
static void
test_bomb (void)
{
  static const char *const pack[] = {"gzip", "-nc", NULL};
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
  g_autoptr (GBytes) zeros = g_bytes_new_take (g_malloc0 (64 << 20), 64 << 20);
  g_autoptr (GBytes) plain = NULL;
  g_autoptr (GBytes) packed = NULL;
  g_autoptr (GError) error = NULL;

  h2k_cpio_writer_add (writer, "zeros", S_IFREG | 0644, zeros);
  plain = h2k_cpio_writer_finish (writer);
  packed = filter (pack, plain);
  g_assert_nonnull (packed);
  g_assert_null (
      h2k_initramfs_read (read_bytes, packed, g_bytes_get_size (packed), 16 << 20, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
}

/* --- links ------------------------------------------------------------------------------------ */

static void
test_resolve (void)
{
  static const struct
  {
    const char *name, *path;
  } cases[] = {
      {"lib/modules/6.1", "usr/lib/modules/6.1"},
      {"/lib", "usr/lib"},
      {"bin/sh", "usr/bin/busybox"},
      {"up/x", "x"},
      {"absent/../lib/a", "usr/lib/a"},
      {"loop/a", NULL},
      {"../../lib", "usr/lib"},
      {"", ""},
      {"empty/a", "a"},
  };
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
  g_autoptr (GBytes) archive = NULL;
  g_autoptr (H2kInitramfs) image = NULL;

  add (writer, "lib", S_IFLNK | 0777, "usr/lib");
  add (writer, "bin", S_IFLNK | 0777, "/usr/./bin");
  add (writer, "usr", S_IFDIR | 0755, NULL);
  add (writer, "usr/bin", S_IFDIR | 0755, NULL);
  add (writer, "usr/bin/sh", S_IFLNK | 0777, "busybox");
  add (writer, "up", S_IFLNK | 0777, "../../..");
  add (writer, "loop", S_IFLNK | 0777, "loop2");
  add (writer, "loop2", S_IFLNK | 0777, "loop");
  add (writer, "empty", S_IFLNK | 0777, NULL);
  archive = h2k_cpio_writer_finish (writer);
  image = read_image (archive, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = h2k_initramfs_resolve (image, cases[i].name);
      g_assert_cmpstr (path, ==, cases[i].path);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (compressions); i++)
    {
      static const struct
      {
        const char *claim;
        GTestDataFunc func;
      } claims[] = {
          {"is read and extended", test_compression},
          {"is refused when it is truncated", test_truncated},
          {"does no harm when it is damaged", test_damaged},
      };
      for (guint k = 0; k < G_N_ELEMENTS (claims); k++)
        {
          g_autofree char *path
              = g_strdup_printf ("/initramfs-image/%s/%s", compressions[i].name, claims[k].claim);
          g_test_add_data_func (path, &compressions[i], claims[k].func);
        }
    }
  g_test_add_func ("/initramfs-image/zeros end an lz4 stream", test_lz4_padding);
  g_test_add_func ("/initramfs-image/what is no image is refused", test_not_an_image);
  g_test_add_func ("/initramfs-image/unpacking is limited", test_bomb);
  g_test_add_func ("/initramfs-image/links are followed inside the image", test_resolve);
  return g_test_run ();
}
