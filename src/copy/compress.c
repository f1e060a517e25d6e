/* compress.c - compression of single qcow2 clusters.
 *
 * zlib clusters are raw deflate streams. QEMU writes them with a window of 4 KiB and opens them
 * with inflateInit2 (-12); that its zlib takes longer distances, too, when the whole output is at
 * hand is promised nowhere, so they are kept to 4 KiB, which of the compressors at hand only zlib's
 * own can do. zstd clusters are one frame each, without a checksum.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#define DEFLATE_WINDOW_BITS 12
#define DEFLATE_MEM_LEVEL 9

struct _H2kCompressor
{
  gboolean zlib;
  z_stream deflate;
  ZSTD_CCtx *zstd;
};

H2kCompressor *
h2k_compressor_new (H2kCompression kind)
{
  H2kCompressor *c = g_new0 (H2kCompressor, 1);

  if (kind == H2K_COMPRESS_ZLIB)
    {
      int ret = deflateInit2 (&c->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW_BITS,
                              DEFLATE_MEM_LEVEL, Z_DEFAULT_STRATEGY);
      g_assert_cmpint (ret, ==, Z_OK);
      c->zlib = TRUE;
    }
  else
    {
      c->zstd = ZSTD_createCCtx ();
      g_assert_nonnull (c->zstd);
    }
  return c;
}

void
h2k_compressor_free (H2kCompressor *c)
{
  if (!c)
    return;
  if (c->zlib)
    deflateEnd (&c->deflate);
  ZSTD_freeCCtx (c->zstd);
  g_free (c);
}

gsize
h2k_compress (H2kCompressor *c, const void *in, gsize length, void *out, gsize limit)
{
  gsize n;

  if (c->zstd)
    {
      n = ZSTD_compressCCtx (c->zstd, out, limit, in, length, ZSTD_CLEVEL_DEFAULT);
      return ZSTD_isError (n) ? 0 : n;
    }
  deflateReset (&c->deflate);
  c->deflate.next_in = in;
  c->deflate.avail_in = (uInt)length;
  c->deflate.next_out = out;
  c->deflate.avail_out = (uInt)limit;
  return deflate (&c->deflate, Z_FINISH) == Z_STREAM_END ? limit - c->deflate.avail_out : 0;
}
