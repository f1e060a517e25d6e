/* vmdk-image.h - small sparse VMDKs made by hand, whole or broken on purpose, and what they hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/vmdk.h"

#include <libdeflate.h>

#define GRAIN_SECTORS 8
#define GRAIN_BYTES (GRAIN_SECTORS * 512)

typedef enum
{
  IMAGE_STREAM = 1 << 0,     /* compressed, with markers and a footer */
  IMAGE_COMPRESSED = 1 << 1, /* compressed, with the directory in front, as qemu-img does */
  IMAGE_ZERO_GRAINS = 1 << 2,
  IMAGE_NO_DESCRIPTOR = 1 << 3,
  IMAGE_DELTA = 1 << 4,      /* has a parent: parent.vmdk, CID 1234abcd */
  IMAGE_SHORT_LAST = 1 << 5, /* the last grain holds only what the capacity needs */
} ImageFlags;

typedef struct
{
  GByteArray *file;
  guint8 *content; /* what the disk reads as */
  gsize size;
} Image;

static inline void
image_clear (Image *image)
{
  g_byte_array_unref (image->file);
  g_free (image->content);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Image, image_clear)

static inline void
put_le (guint8 *p, guint64 value, guint bytes)
{
  for (guint i = 0; i < bytes; i++)
    p[i] = (guint8)(value >> (8 * i));
}

static inline guint8 *
image_grow (GByteArray *file, gsize bytes)
{
  guint old = file->len;

  g_byte_array_set_size (file, old + (guint)bytes);
  memset (file->data + old, 0, bytes);
  return file->data + old;
}

static inline guint32
image_end_sector (GByteArray *file)
{
  if (file->len % 512)
    image_grow (file, 512 - file->len % 512);
  return file->len / 512;
}

static inline void
image_marker (GByteArray *file, guint64 sectors, guint32 type)
{
  guint8 *p = image_grow (file, 512);

  put_le (p, sectors, 8);
  put_le (p + 12, type, 4);
}

/* Put grain I's CONTENT at the end of FILE; its first sector. */
static inline guint32
image_add_grain (GByteArray *file, guint i, const guint8 *content, gsize size, gboolean compressed)
{
  guint32 sector = image_end_sector (file);
  struct libdeflate_compressor *compressor;
  guint8 packed[2 * GRAIN_BYTES];
  gsize n;

  if (!compressed)
    {
      memcpy (image_grow (file, size), content, size);
      return sector;
    }
  compressor = libdeflate_alloc_compressor (6);
  n = libdeflate_zlib_compress (compressor, content, size, packed, sizeof packed);
  libdeflate_free_compressor (compressor);
  g_assert_cmpuint (n, >, 0);
  put_le (image_grow (file, 12), (guint64)i * GRAIN_SECTORS, 8);
  put_le (file->data + file->len - 4, n, 4);
  memcpy (image_grow (file, n), packed, n);
  image_end_sector (file);
  return sector;
}

/* The directory and its tables with their GTES at the end of FILE; the directory's first sector. */
static inline guint32
image_add_tables (GByteArray *file, const guint32 *gtes, guint grains, gboolean markers)
{
  guint tables = (grains + 511) / 512;
  g_autofree guint32 *sectors = g_new0 (guint32, tables);
  guint32 directory;
  guint8 *p;

  for (guint t = 0; t < tables; t++)
    {
      gboolean used = FALSE;
      for (guint e = t * 512; e < MIN (grains, (t + 1) * 512); e++)
        used |= gtes[e] != 0;
      if (!used)
        continue;
      if (markers)
        image_marker (file, 4, 1);
      sectors[t] = image_end_sector (file);
      p = image_grow (file, 2048);
      for (guint e = t * 512; e < MIN (grains, (t + 1) * 512); e++)
        put_le (p + (e % 512) * 4, gtes[e], 4);
    }
  if (markers)
    image_marker (file, (tables * 4 + 511) / 512, 2);
  directory = image_end_sector (file);
  p = image_grow (file, (tables * 4 + 511) / 512 * 512);
  for (guint t = 0; t < tables; t++)
    put_le (p + t * 4, sectors[t], 4);
  return directory;
}

/* Write GTES into the tables that DIRECTORY points to. */
static inline void
image_set_tables (GByteArray *file, guint32 directory, const guint32 *gtes, guint grains)
{
  for (guint i = 0; i < grains; i++)
    {
      guint32 table = h2k_le32 (file->data + directory * 512 + i / 512 * 4);
      put_le (file->data + table * 512 + i % 512 * 4, gtes[i], 4);
    }
}

static inline void
image_header (guint8 *p, ImageFlags flags, guint64 capacity, guint64 gd, guint64 rgd)
{
  gboolean compressed = (flags & (IMAGE_STREAM | IMAGE_COMPRESSED)) != 0;

  memcpy (p, "KDMV", 4);
  put_le (p + 4, compressed ? 3 : flags & IMAGE_ZERO_GRAINS ? 2 : 1, 4);
  put_le (p + 8,
          1 | (rgd ? 2 : 0) | (flags & IMAGE_ZERO_GRAINS ? 4 : 0) | (compressed ? 0x30000 : 0), 4);
  put_le (p + 12, capacity, 8);
  put_le (p + 20, GRAIN_SECTORS, 8);
  put_le (p + 28, flags & IMAGE_NO_DESCRIPTOR ? 0 : 1, 8);
  put_le (p + 36, flags & IMAGE_NO_DESCRIPTOR ? 0 : 2, 8);
  put_le (p + 44, 512, 4);
  put_le (p + 48, rgd, 8);
  put_le (p + 56, gd, 8);
  put_le (p + 64, 3, 8);
  memcpy (p + 73, "\n \r\n", 4);
  put_le (p + 77, compressed, 2);
}

/* A grain's content: pseudo-random, repetitive or, for every seventh, all zeros as data. */
static inline void
image_fill (guint8 *p, gsize size, guint i)
{
  guint32 x = i * 2654435761u + 12345;

  for (gsize k = 0; k < size && i % 7 != 6; k++)
    {
      x = x * 1664525 + 1013904223;
      p[k] = i % 2 ? (guint8)(x >> 24) : (guint8)(i + k / 64);
    }
}

/* A disk of SECTORS: a stream has its tables at the end, others in front. Of every five grains the
 * second is not allocated, and the fourth is a zero grain when FLAGS say so. */
static inline Image
image_make (guint64 sectors, ImageFlags flags)
{
  guint grains = (guint)((sectors + GRAIN_SECTORS - 1) / GRAIN_SECTORS);
  gboolean compressed = (flags & (IMAGE_STREAM | IMAGE_COMPRESSED)) != 0;
  g_autofree guint32 *gtes = g_new0 (guint32, grains);
  Image image = {g_byte_array_new (), NULL, (gsize)sectors * 512};
  g_autofree char *text = g_strdup_printf (
      "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=%s\ncreateType=\"%s\"\n%s"
      "RW %" G_GUINT64_FORMAT " SPARSE \"image.vmdk\"\nddb.adapterType = \"lsilogic\"\n",
      flags & IMAGE_DELTA ? "1234abcd" : "ffffffff",
      compressed ? "streamOptimized" : "monolithicSparse",
      flags & IMAGE_DELTA ? "parentFileNameHint=\"/vmfs/volumes/x/parent.vmdk\"\n" : "", sectors);
  guint32 gd = 0, rgd = 0;

  image.content = g_malloc0 ((gsize)grains * GRAIN_BYTES);
  image_grow (image.file, 3 * 512);
  if (!(flags & IMAGE_NO_DESCRIPTOR))
    memcpy (image.file->data + 512, text, strlen (text));
  if (!(flags & IMAGE_STREAM))
    {
      memset (gtes, 0xff, grains * sizeof *gtes); /* a place for every table */
      rgd = image_add_tables (image.file, gtes, grains, FALSE);
      gd = image_add_tables (image.file, gtes, grains, FALSE);
      memset (gtes, 0, grains * sizeof *gtes);
    }
  for (guint i = 0; i < grains; i++)
    {
      guint8 *content = image.content + (gsize)i * GRAIN_BYTES;
      gsize size = flags & IMAGE_SHORT_LAST ? MIN (GRAIN_BYTES, image.size - (gsize)i * GRAIN_BYTES)
                                            : GRAIN_BYTES;
      if (i % 5 == 1)
        continue;
      if (i % 5 == 3 && (flags & IMAGE_ZERO_GRAINS))
        gtes[i] = 1;
      else
        {
          image_fill (content, size, i);
          gtes[i] = image_add_grain (image.file, i, content, size, compressed);
        }
    }
  if (flags & IMAGE_STREAM)
    gd = image_add_tables (image.file, gtes, grains, TRUE);
  else
    {
      image_set_tables (image.file, rgd, gtes, grains);
      image_set_tables (image.file, gd, gtes, grains);
    }
  image_header (image.file->data, flags, sectors, flags & IMAGE_STREAM ? G_MAXUINT64 : gd, rgd);
  if (flags & IMAGE_STREAM)
    {
      image_marker (image.file, 1, 3);
      image_header (image_grow (image.file, 512), flags, sectors, gd, 0);
      image_marker (image.file, 0, 0);
    }
  return image;
}
