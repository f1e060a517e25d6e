/* compress.c - compression of single qcow2 clusters.
 *
 * "zlib" clusters are raw deflate streams (RFC 1951; the qcow2 specification says no more). QEMU's
 * own writer keeps distances to 4 KiB, its reader does not ask for that: it inflates a cluster with
 * one call into a buffer of a whole cluster, so that every distance leads into what was just
 * written there, whatever window was announced. libdeflate uses distances up to 32 KiB, which is
 * what makes its second level as small as zlib's sixth here, at a quarter of the time.
 * zstd clusters are one frame each, without a checksum.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#include <libdeflate.h>
#include <zstd.h>

#define DEFLATE_LEVEL 2

struct _H2kCompressor
{
  struct libdeflate_compressor *deflate; /* one of the two */
  ZSTD_CCtx *zstd;
};

H2kCompressor *
h2k_compressor_new (H2kCompression kind)
{
  H2kCompressor *c = g_new0 (H2kCompressor, 1);

  if (kind == H2K_COMPRESS_ZLIB)
    c->deflate = libdeflate_alloc_compressor (DEFLATE_LEVEL);
  else
    c->zstd = ZSTD_createCCtx ();
  if (!c->deflate && !c->zstd)
    g_error ("out of memory: a compressor");
  return c;
}

void
h2k_compressor_free (H2kCompressor *c)
{
  if (!c)
    return;
  if (c->deflate)
    libdeflate_free_compressor (c->deflate);
  ZSTD_freeCCtx (c->zstd);
  g_free (c);
}

gsize
h2k_compress (H2kCompressor *c, const void *in, gsize length, void *out, gsize limit)
{
  gsize n;

  if (c->deflate)
    return libdeflate_deflate_compress (c->deflate, in, length, out, limit);
  n = ZSTD_compressCCtx (c->zstd, out, limit, in, length, ZSTD_CLEVEL_DEFAULT);
  return ZSTD_isError (n) ? 0 : n;
}
