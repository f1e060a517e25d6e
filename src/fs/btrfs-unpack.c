/* btrfs-unpack.c - extents of btrfs that are compressed: a zlib stream, LZO by segments, or a zstd
 * frame. After "Compression" of btrfs' documentation and fs/btrfs/lzo.c of Linux.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs.h"

#include <libdeflate.h>
#include <lzo/lzo1x.h>
#include <zstd.h>

/* What follows the stream, up to the sector's end, is not ours. */
static gboolean
unpack_zlib (guint sector, const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor ();
  gsize used, made;
  gboolean ok;

  ok = inflater
       && libdeflate_zlib_decompress_ex (inflater, in, in_length, out, out_length, &used, &made)
              == LIBDEFLATE_SUCCESS;
  if (inflater)
    libdeflate_free_decompressor (inflater);
  return ok;
}

/* le32 length of all, then segments: le32 length, data. Each makes a sector, the last one maybe
 * less, and the length of none lies on both sides of a sector's end. */
static gboolean
unpack_lzo (guint sector, const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  gsize end = in_length >= 4 ? h2k_le32 (in) : 0, done = 0;

  if (lzo_init () != LZO_E_OK || end < 4 || end > in_length)
    return FALSE;
  for (gsize at = 4; at < end && done < out_length;)
    {
      lzo_uint made = MIN (out_length - done, sector);
      gsize length;

      if (sector - at % sector < 4)
        at += sector - at % sector;
      if (at > end || end - at < 4)
        return FALSE;
      length = h2k_le32 (in + at);
      at += 4;
      if (length > end - at
          || lzo1x_decompress_safe (in + at, length, out + done, &made, NULL) != LZO_E_OK)
        return FALSE;
      at += length;
      done += made;
      /* A shorter one in the middle would move what follows. */
      if (made < sector && at < end && done < out_length)
        return FALSE;
    }
  return TRUE;
}

static gboolean
unpack_zstd (guint sector, const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  gsize frame = ZSTD_findFrameCompressedSize (in, in_length);

  return !ZSTD_isError (frame) && !ZSTD_isError (ZSTD_decompress (out, out_length, in, frame));
}

gboolean
h2k_btrfs_unpack (BtrfsCompression compression, guint sector, const guint8 *in, gsize in_length,
                  guint8 *out, gsize out_length)
{
  static gboolean (*const unpackers[]) (guint, const guint8 *, gsize, guint8 *, gsize)
      = {[BTRFS_ZLIB] = unpack_zlib, [BTRFS_LZO] = unpack_lzo, [BTRFS_ZSTD] = unpack_zstd};

  return compression < G_N_ELEMENTS (unpackers) && unpackers[compression]
         && unpackers[compression](sector, in, in_length, out, out_length);
}
