/* qcow2-unpack.c - compressed clusters of qcow2 images: raw deflate data, or zstd.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/qcow2.h"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

static void
free_inflater (gpointer inflater)
{
  libdeflate_free_decompressor (inflater);
}

static void
free_zstd (gpointer context)
{
  ZSTD_freeDCtx (context);
}

static GPrivate inflaters = G_PRIVATE_INIT (free_inflater);
static GPrivate zstd_contexts = G_PRIVATE_INIT (free_zstd);

/* With zlib, for data that libdeflate does not take: without an end, or longer than the cluster.
 * All that is asked is that OUT gets full. */
static gboolean
inflate_slowly (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  z_stream stream = {.next_in = (Bytef *)in,
                     .avail_in = (uInt)in_length,
                     .next_out = out,
                     .avail_out = (uInt)out_length};
  int result;

  if (inflateInit2 (&stream, -15) != Z_OK)
    return FALSE;
  result = inflate (&stream, Z_FINISH);
  inflateEnd (&stream);
  return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0;
}

/* Raw deflate data; what follows their end, up to the sector's, is not ours. */
static gboolean
unpack_zlib (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  struct libdeflate_decompressor *inflater = g_private_get (&inflaters);
  gsize used, made;

  if (!inflater)
    {
      inflater = libdeflate_alloc_decompressor ();
      g_private_set (&inflaters, inflater);
    }
  if (inflater
      && libdeflate_deflate_decompress_ex (inflater, in, in_length, out, out_length, &used, &made)
             == LIBDEFLATE_SUCCESS)
    return made == out_length;
  return inflate_slowly (in, in_length, out, out_length);
}

/* Several frames, or one that goes on behind the cluster. */
static gboolean
unpack_zstd_slowly (ZSTD_DCtx *context, const guint8 *in, gsize in_length, guint8 *out,
                    gsize out_length)
{
  ZSTD_inBuffer input = {in, in_length, 0};
  ZSTD_outBuffer output = {out, out_length, 0};

  ZSTD_DCtx_reset (context, ZSTD_reset_session_only);
  /* A window never needs to be larger than a cluster; a frame could ask for 128 MiB. */
  ZSTD_DCtx_setParameter (context, ZSTD_d_windowLogMax, H2K_QCOW2_MAX_CLUSTER_BITS + 2);
  while (output.pos < output.size)
    {
      gsize in_before = input.pos, out_before = output.pos;
      gsize result = ZSTD_decompressStream (context, &output, &input);
      if (ZSTD_isError (result) || (input.pos == in_before && output.pos == out_before))
        return FALSE;
    }
  return TRUE;
}

static gboolean
unpack_zstd (const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  ZSTD_DCtx *context = g_private_get (&zstd_contexts);
  gsize frame = ZSTD_findFrameCompressedSize (in, in_length);

  if (!context)
    {
      context = ZSTD_createDCtx ();
      if (!context)
        return FALSE;
      g_private_set (&zstd_contexts, context);
    }
  if (!ZSTD_isError (frame)
      && ZSTD_decompressDCtx (context, out, out_length, in, frame) == out_length)
    return TRUE;
  return unpack_zstd_slowly (context, in, in_length, out, out_length);
}

gboolean
h2k_qcow2_unpack (gboolean zstd, const guint8 *in, gsize in_length, guint8 *out, gsize out_length)
{
  return zstd ? unpack_zstd (in, in_length, out, out_length)
              : unpack_zlib (in, in_length, out, out_length);
}
