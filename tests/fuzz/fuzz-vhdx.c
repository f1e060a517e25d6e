/* fuzz-vhdx.c - the input is the interesting parts of a VHDX file, without the mebibytes between
 * them: the file is built from it, its checksums are made right, and then it is opened and read.
 * What an extent calls zero has to read as zeros. A differencing image has a parent to find.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image.h"
#include "vhdx-seal.h"

#define FILE_SIZE (6 * H2K_VHDX_MIB)

/* Where the input's bytes go, one part after the other; the first byte is for itself: which
 * checksums are as in the input. */
static const struct
{
  gsize offset, length;
} parts[] = {
    {0x0, 8},      /* signature */
    {0x10000, 80}, /* headers */
    {0x20000, 80},
    {0x30000, 112}, /* region tables */
    {0x40000, 112},
    {0x200000, 256}, /* metadata table */
    {0x210000, 512}, /* and items */
    {0x300000, 128}, /* the first blocks' BAT entries */
    {0x308000, 16},  /* of chunk 0's bitmap */
    {0x400000, 64},  /* a sector bitmap, or data */
    {VHDX_LOG_OFFSET, VHDX_LOG_BYTES},
    {0x1fe000, 8192}, /* the log's end */
};

static char *parent, *child;
static guint8 image[FILE_SIZE]; /* zeros outside the parts */

static gboolean
image_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  memcpy (buffer, image + offset, length);
  return TRUE;
}

static const H2kFileOps image_ops = {.pread = image_pread};

static void
build (const guint8 *data, gsize size)
{
  gsize at = 1;

  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++)
    {
      gsize n = at < size ? MIN (parts[i].length, size - at) : 0;
      memset (image + parts[i].offset, 0, parts[i].length);
      if (n)
        memcpy (image + parts[i].offset, data + at, n);
      at += parts[i].length;
    }
  vhdx_seal (image, size ? data[0] : 0);
}

/* The first input that is an image of its own is every later one's parent. */
static void
keep_as_parent (const H2kDisk *disk)
{
  if (disk && !disk->backing && !g_file_test (parent, G_FILE_TEST_EXISTS)
      && !g_file_set_contents (parent, (const char *)image, FILE_SIZE, NULL))
    g_error ("cannot write to %s", parent);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFile) file = g_new0 (H2kFile, 1);
  g_autoptr (H2kDisk) disk = NULL;

  if (!parent)
    {
      parent = image_path ("p.vhdx");
      child = image_path ("child.vhdx");
      g_log_set_writer_func (image_say_little, NULL, NULL);
    }
  build (data, size);
  h2k_file_init (file, &image_ops, FILE_SIZE, child);
  disk = h2k_vhdx_format.open (file, NULL);
  keep_as_parent (disk);
  image_read (disk);
  return 0;
}
