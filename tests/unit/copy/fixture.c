/* fixture.c - disks with a known layout, and what the tests ask qemu-img about the results.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

static guint64
mix (guint64 x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static void
fill (LayoutDisk *d, Content content, guint64 offset, gsize length, guint8 *out)
{
  g_assert (offset % 8 == 0 && length % 8 == 0);
  switch (content)
    {
    case CONTENT_NOISE:
    case CONTENT_TEXT:
      for (gsize i = 0; i < length; i += 8)
        {
          guint64 word = mix (d->seed + (offset + i) / 8);
          if (content == CONTENT_TEXT)
            word = mix (word & 15) | 1;
          memcpy (out + i, &word, 8);
        }
      break;
    case CONTENT_DATA_ZERO:
    case CONTENT_ZERO:
      memset (out, 0, length);
      break;
    case CONTENT_UNALLOCATED:
      memset (out, 0xee, length);
      break;
    }
}

/* The piece that holds OFFSET. */
static guint
find_piece (LayoutDisk *d, guint64 offset)
{
  guint low = 0, high = d->pieces->len;

  while (high - low > 1)
    {
      guint middle = (low + high) / 2;
      if (d->starts[middle] <= offset)
        low = middle;
      else
        high = middle;
    }
  return low;
}

static guint64
piece_end (LayoutDisk *d, guint i)
{
  return d->starts[i] + g_array_index (d->pieces, Piece, i).length;
}

static gboolean
layout_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  LayoutDisk *d = (LayoutDisk *)disk;
  gint read = g_atomic_int_add (&d->reads, 1) + 1;
  guint8 *out = buffer;

  if (d->cancel_at && read == d->cancel_at)
    g_cancellable_cancel (d->cancellable);
  if (d->fail_at && read >= d->fail_at)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "injected fault at %" G_GUINT64_FORMAT,
                   offset);
      return FALSE;
    }
  for (guint i = find_piece (d, offset); length; i++)
    {
      gsize n = (gsize)MIN (length, piece_end (d, i) - offset);

      fill (d, g_array_index (d->pieces, Piece, i).content, offset, n, out);
      out += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
layout_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  static const H2kExtentKind kinds[] = {
      [CONTENT_NOISE] = H2K_EXTENT_DATA,
      [CONTENT_TEXT] = H2K_EXTENT_DATA,
      [CONTENT_DATA_ZERO] = H2K_EXTENT_DATA,
      [CONTENT_ZERO] = H2K_EXTENT_ZERO,
      [CONTENT_UNALLOCATED] = H2K_EXTENT_UNALLOCATED,
  };
  LayoutDisk *d = (LayoutDisk *)disk;
  guint i = find_piece (d, offset);

  *extent = (H2kExtent){offset, piece_end (d, i) - offset,
                        kinds[g_array_index (d->pieces, Piece, i).content]};
  return TRUE;
}

static void
layout_finalize (H2kDisk *disk)
{
  LayoutDisk *d = (LayoutDisk *)disk;

  g_array_unref (d->pieces);
  g_free (d->starts);
}

static const H2kDiskOps layout_ops
    = {.pread = layout_pread, .extent = layout_extent, .finalize = layout_finalize};

LayoutDisk *
layout_disk_new (GArray *pieces, guint64 seed)
{
  LayoutDisk *d = g_new0 (LayoutDisk, 1);
  guint64 size = 0;

  d->seed = mix (seed);
  d->pieces = pieces;
  d->starts = g_new0 (guint64, pieces->len + 1);
  for (guint i = 0; i < pieces->len; i++)
    {
      d->starts[i] = size;
      size += g_array_index (pieces, Piece, i).length;
    }
  h2k_disk_init (&d->disk, &layout_ops, size, "layout", "test layout");
  return d;
}

GArray *
make_pieces (const Piece *pieces, guint n)
{
  return g_array_append_vals (g_array_new (FALSE, FALSE, sizeof (Piece)), pieces, n);
}

GArray *
random_pieces (GRand *random, guint64 size, guint64 longest)
{
  GArray *pieces = make_pieces (NULL, 0);

  while (size)
    {
      static const guint units[] = {512, 4096, 65536};
      guint unit = units[g_rand_int_range (random, 0, 3)];
      guint64 n = unit * (1 + g_rand_int (random) % MAX (longest / unit, 1));
      Piece piece = {MIN (n, size), (Content)g_rand_int_range (random, 0, 5)};

      g_array_append_val (pieces, piece);
      size -= piece.length;
    }
  return pieces;
}

void
layout_write_reference (LayoutDisk *d, const char *path)
{
  g_autofree guint8 *buffer = g_malloc (65536);
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t)d->disk.size), ==, 0);
  for (guint i = 0; i < d->pieces->len; i++)
    {
      Content content = g_array_index (d->pieces, Piece, i).content;

      if (content != CONTENT_NOISE && content != CONTENT_TEXT)
        continue;
      for (guint64 at = d->starts[i]; at < piece_end (d, i); at += 65536)
        {
          gsize n = (gsize)MIN (65536, piece_end (d, i) - at);
          fill (d, content, at, n, buffer);
          g_assert_cmpint (h2k_pwrite_full (fd, buffer, n, at), ==, 0);
        }
    }
  close (fd);
}

static gboolean
fault_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  FaultFile *f = (FaultFile *)file;
  gint read = g_atomic_int_add (&f->reads, 1) + 1;

  if ((!f->fail_at || (f->once ? read != f->fail_at : read < f->fail_at))
      && (f->bad < offset || f->bad - offset >= length))
    return h2k_file_pread (f->below, offset, length, buffer, error);
  g_atomic_int_inc (&f->failed);
  memset (buffer, 0xee, length);
  h2k_set_errno (error, H2K_ERROR_SOURCE, EIO, "%s: injected fault at %" G_GUINT64_FORMAT,
                 file->name, offset);
  return FALSE;
}

static gboolean
fault_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_file_extent (((FaultFile *)file)->below, offset, extent, error);
}

static void
fault_finalize (H2kFile *file)
{
  h2k_file_unref (((FaultFile *)file)->below);
}

static const H2kFileOps fault_ops
    = {.pread = fault_pread, .extent = fault_extent, .finalize = fault_finalize};

FaultFile *
fault_file_new (H2kFile *below)
{
  FaultFile *f = g_new0 (FaultFile, 1);

  h2k_file_init (&f->file, &fault_ops, below->size, below->path);
  f->file.dev = below->dev;
  f->file.ino = below->ino;
  f->below = below;
  f->bad = G_MAXUINT64;
  return f;
}

char *
fixture_dir (void)
{
  g_autoptr (GError) error = NULL;
  char *dir = g_dir_make_tmp ("h2k-copy-XXXXXX", &error);

  g_assert_no_error (error);
  return dir;
}

static int
remove_entry (const char *path, const struct stat *st, int kind, struct FTW *walk)
{
  return remove (path);
}

void
fixture_dir_remove (char *dir)
{
  g_assert_cmpint (nftw (dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), ==, 0);
  g_free (dir);
}

guint
count_entries (const char *dir)
{
  g_autoptr (GDir) d = g_dir_open (dir, 0, NULL);
  guint n = 0;

  g_assert_nonnull (d);
  while (g_dir_read_name (d))
    n++;
  return n;
}

char *
file_sum (const char *path)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *buffer = g_malloc (65536);
  int fd = open (path, O_RDONLY);
  off_t size, at;

  g_assert_cmpint (fd, >=, 0);
  size = lseek (fd, 0, SEEK_END);
  g_checksum_update (sum, (guint8 *)&size, sizeof size);
  for (at = 0; (at = lseek (fd, at, SEEK_DATA)) >= 0 && at < size; at += 65536)
    {
      gsize n;

      at -= at % 65536;
      n = (gsize)MIN (65536, size - at);
      g_assert_cmpint (h2k_pread_full (fd, buffer, n, (guint64)at), ==, 0);
      if (h2k_is_zero (buffer, n))
        continue;
      g_checksum_update (sum, (guint8 *)&at, sizeof at);
      g_checksum_update (sum, buffer, (gssize)n);
    }
  close (fd);
  return g_strdup (g_checksum_get_string (sum));
}

int
run_program (char **output, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  int status = -1;
  va_list args;

  va_start (args, output);
  for (char *arg; (arg = va_arg (args, char *));)
    g_ptr_array_add (argv, arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  g_spawn_sync (NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &text, NULL,
                &status, &error);
  g_assert_no_error (error);
  if (output)
    *output = g_steal_pointer (&text);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

gboolean
have_qemu_img (void)
{
  g_autofree char *path = g_find_program_in_path ("qemu-img");

  if (!path)
    g_test_skip ("qemu-img is not installed");
  return path != NULL;
}

void
assert_qemu_agrees (const char *path, const char *format, const char *reference)
{
  g_autofree char *text = NULL;

  if (g_str_equal (format, "vhd"))
    format = "vpc";
  if (!g_str_equal (format, "raw") && !g_str_equal (format, "vpc"))
    {
      int status = run_program (&text, "qemu-img", "check", "-f", format, path, NULL);
      if (status)
        g_test_message ("%s", text);
      g_assert_cmpint (status, ==, 0);
      g_clear_pointer (&text, g_free);
    }
  g_assert_cmpint (run_program (NULL, "qemu-img", "compare", "-f", format, "-F", "raw", path,
                                reference, NULL),
                   ==, 0);
}

H2kOutput *
convert_and_keep (H2kDisk *disk, const char *path, const H2kOutputOptions *options, guint threads,
                  GCancellable *cancellable, H2kCopyStats *stats, GError **error)
{
  const H2kCopyOptions copy = {.threads = threads};
  g_autoptr (H2kOutput) output = h2k_output_new (path, disk->size, options, NULL, error);

  if (!output || !h2k_copy (disk, output, &copy, cancellable, stats, error)
      || !h2k_output_commit (output, error))
    return NULL;
  return g_steal_pointer (&output);
}

gboolean
convert (H2kDisk *disk, const char *path, const H2kOutputOptions *options, guint threads,
         GCancellable *cancellable, H2kCopyStats *stats, GError **error)
{
  g_autoptr (H2kOutput) output
      = convert_and_keep (disk, path, options, threads, cancellable, stats, error);

  return output != NULL;
}
