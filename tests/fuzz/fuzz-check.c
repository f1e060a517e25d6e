/* fuzz-check.c - the input is an image of any format, without the zeros in it: it is checked, and
 * when no fault is found it is read, which then must find none either.
 *
 *   format, what stays unsealed (a byte each), the file's size (4 bytes, little endian),
 *   pieces: offset (4 bytes), length (2 bytes), content
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image.h"
#include "vhdx-seal.h"

#include "disk/check.h"

#define MAX_SIZE (8u << 20)
#define HEAD 6
#define PIECE_HEAD 6

static const H2kDiskFormat *const formats[]
    = {&h2k_raw_format, &h2k_qcow2_format, &h2k_vmdk_format,
       &h2k_vhd_format, &h2k_vdi_format,   &h2k_vhdx_format};

static char *path;
static guint8 image[MAX_SIZE]; /* zeros between the runs */

static gboolean
image_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  memcpy (buffer, image + offset, length);
  return TRUE;
}

static const H2kFileOps image_ops = {.pread = image_pread};

/* Put the pieces of DATA into the image, or zeros in their places. */
static void
fill (const guint8 *data, gsize size, gboolean clear)
{
  for (gsize at = HEAD; size - at >= PIECE_HEAD;)
    {
      gsize offset = h2k_le32 (data + at) % MAX_SIZE, length = h2k_le16 (data + at + 4);

      at += PIECE_HEAD;
      length = MIN (length, MIN (MAX_SIZE - offset, size - at));
      if (clear)
        memset (image + offset, 0, length);
      else
        memcpy (image + offset, data + at, length);
      at += length;
    }
}

/* Of an image in which nothing is wrong, every byte can be read. */
static void
read_all (const H2kDiskFormat *format, H2kFile *file)
{
  static guint8 buffer[MAX_READ];
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = format->open (file, NULL);
  H2kExtent extent;
  guint64 at = 0;

  /* What lies outside the file, a parent for one, is not there. */
  for (guint i = 0; disk && i < 64 && at < disk->size; i++, at += extent.length)
    if (!h2k_disk_extent (disk, at, disk->size, &extent, &error)
        || !h2k_disk_pread (disk, at, (gsize)MIN (extent.length, MAX_READ), buffer, &error))
      {
        if (g_error_matches (error, H2K_ERROR, H2K_ERROR_FORMAT))
          g_error ("%s: the check found nothing, but: %s", format->name, error->message);
        return;
      }
}

static void
check (const H2kDiskFormat *format, guint64 size)
{
  g_autoptr (H2kFile) file = g_new0 (H2kFile, 1);
  g_autoptr (H2kCheck) found = h2k_check_new ();
  g_autoptr (GError) error = NULL;
  gboolean ok;

  h2k_file_init (file, &image_ops, size, path);
  ok = format->check (file, found, &error);
  g_assert (ok == (error == NULL));
  g_assert (found->findings->len
            == MIN (found->corruptions + found->leaks + found->notes, H2K_CHECK_FINDINGS));
  g_assert (found->compressed <= found->allocated || found->corruptions);
  /* That a compressed cluster of a qcow2 can be decompressed is not checked, as in qemu-img. */
  if (ok && !found->corruptions && !(format == &h2k_qcow2_format && found->compressed))
    read_all (format, file);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  const H2kDiskFormat *format;

  if (!path)
    {
      path = image_path ("image");
      g_log_set_writer_func (image_say_little, NULL, NULL);
    }
  if (size < HEAD)
    return 0;
  format = formats[data[0] % G_N_ELEMENTS (formats)];
  fill (data, size, FALSE);
  if (format == &h2k_vhdx_format)
    vhdx_seal (image, data[1]);
  check (format, h2k_le32 (data + 2) % (MAX_SIZE + 1));
  fill (data, size, TRUE);
  if (format == &h2k_vhdx_format)
    memset (image, 0, 2 * H2K_VHDX_MIB); /* the checksums */
  return 0;
}
