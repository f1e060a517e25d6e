/* payload.c - gzip, xz, zstd, lz4 (legacy frame), lzma and bzip2 by their own libraries, because
 * the byte at which a stream ends has to be known: the next segment begins there.
 *
 * The magics: Linux, lib/decompress.c. The lz4 legacy frame: lz4_Frame_format.md, "Legacy frame",
 * and Linux, lib/decompress_unlz4.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/payload.h"

#include <bzlib.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lz4hc.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#define OUTPUT (256u << 10)

static gboolean
damaged (GError **error, const char *what)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "damaged %s data", what);
  return FALSE;
}

/* --- gzip ------------------------------------------------------------------------------------- */

static gpointer
gzip_open (void)
{
  z_stream *z = g_new0 (z_stream, 1);

  if (inflateInit2 (z, 15 + 16) != Z_OK)
    g_clear_pointer (&z, g_free);
  return z;
}

static gboolean
gzip_step (gpointer state, H2kPayloadStep *step, GError **error)
{
  z_stream *z = state;
  int r;

  z->next_in = (Bytef *)step->in;
  z->avail_in = (uInt)step->in_size;
  z->next_out = step->out;
  z->avail_out = (uInt)step->out_size;
  r = inflate (z, Z_NO_FLUSH);
  step->in_used = step->in_size - z->avail_in;
  step->out_used = step->out_size - z->avail_out;
  step->ended = r == Z_STREAM_END;
  return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR || damaged (error, "gzip");
}

static void
gzip_close (gpointer state)
{
  inflateEnd (state);
  g_free (state);
}

static GBytes *
gzip_pack (GBytes *data)
{
  struct libdeflate_compressor *c = libdeflate_alloc_compressor (6);
  gsize size, bound, n;
  const void *bytes = g_bytes_get_data (data, &size);
  guint8 *out;

  if (!c)
    return NULL;
  bound = libdeflate_gzip_compress_bound (c, size);
  out = g_malloc (bound);
  n = libdeflate_gzip_compress (c, bytes, size, out, bound);
  libdeflate_free_compressor (c);
  g_assert (n > 0);
  return g_bytes_new_take (out, n);
}

/* --- xz and lzma ------------------------------------------------------------------------------ */

#define LZMA_MEMORY (100ull << 20) /* the largest preset of xz needs 65 MiB */

static gpointer
lzma_open (lzma_ret (*init) (lzma_stream *, uint64_t))
{
  lzma_stream *s = g_new0 (lzma_stream, 1);
  lzma_ret r = init (s, LZMA_MEMORY);

  if (r != LZMA_OK)
    g_clear_pointer (&s, g_free);
  return s;
}

static lzma_ret
init_xz (lzma_stream *s, uint64_t memory)
{
  return lzma_stream_decoder (s, memory, 0);
}

static gpointer
xz_open (void)
{
  return lzma_open (init_xz);
}

static gpointer
lzma_alone_open (void)
{
  return lzma_open (lzma_alone_decoder);
}

static gboolean
lzma_step (gpointer state, H2kPayloadStep *step, GError **error)
{
  lzma_stream *s = state;
  lzma_ret r;

  s->next_in = step->in;
  s->avail_in = step->in_size;
  s->next_out = step->out;
  s->avail_out = step->out_size;
  r = lzma_code (s, LZMA_RUN);
  step->in_used = step->in_size - s->avail_in;
  step->out_used = step->out_size - s->avail_out;
  step->ended = r == LZMA_STREAM_END;
  if (r == LZMA_MEMLIMIT_ERROR)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "xz data that needs %" G_GUINT64_FORMAT " MiB of memory to unpack",
                 lzma_memusage (s) >> 20);
  else if (r != LZMA_OK && r != LZMA_STREAM_END && r != LZMA_BUF_ERROR)
    damaged (error, "xz");
  else
    return TRUE;
  return FALSE;
}

static void
lzma_close (gpointer state)
{
  lzma_end (state);
  g_free (state);
}

/* CRC32 is the only check that the kernel knows. */
static GBytes *
xz_pack (GBytes *data)
{
  gsize size, n = 0;
  const void *bytes = g_bytes_get_data (data, &size);
  gsize bound = lzma_stream_buffer_bound (size);
  guint8 *out = g_malloc (bound);

  if (lzma_easy_buffer_encode (0, LZMA_CHECK_CRC32, NULL, bytes, size, out, &n, bound) != LZMA_OK)
    g_clear_pointer (&out, g_free);
  return out ? g_bytes_new_take (g_realloc (out, n), n) : NULL;
}

/* --- zstd ------------------------------------------------------------------------------------- */

static gpointer
zstd_open (void)
{
  ZSTD_DStream *d = ZSTD_createDStream ();

  /* The kernel's own limit: 128 MiB. */
  if (d)
    ZSTD_DCtx_setParameter (d, ZSTD_d_windowLogMax, 27);
  return d;
}

static gboolean
zstd_step (gpointer state, H2kPayloadStep *step, GError **error)
{
  ZSTD_inBuffer in = {step->in, step->in_size, 0};
  ZSTD_outBuffer out = {step->out, step->out_size, 0};
  size_t r = ZSTD_decompressStream (state, &out, &in);

  step->in_used = in.pos;
  step->out_used = out.pos;
  step->ended = r == 0;
  if (ZSTD_isError (r))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "damaged zstd data: %s",
                 ZSTD_getErrorName (r));
  return !ZSTD_isError (r);
}

static void
zstd_close (gpointer state)
{
  ZSTD_freeDStream (state);
}

static GBytes *
zstd_pack (GBytes *data)
{
  gsize size, bound, n;
  const void *bytes = g_bytes_get_data (data, &size);
  ZSTD_CCtx *c = ZSTD_createCCtx ();
  guint8 *out;

  if (!c)
    return NULL;
  bound = ZSTD_compressBound (size);
  out = g_malloc (bound);
  ZSTD_CCtx_setParameter (c, ZSTD_c_compressionLevel, 3);
  ZSTD_CCtx_setParameter (c, ZSTD_c_checksumFlag, 1);
  n = ZSTD_compress2 (c, out, bound, bytes, size);
  ZSTD_freeCCtx (c);
  if (ZSTD_isError (n))
    g_clear_pointer (&out, g_free);
  return out ? g_bytes_new_take (g_realloc (out, n), n) : NULL;
}

/* --- lz4, the legacy frame -------------------------------------------------------------------- */

/* The magic, then blocks: 4 bytes of compressed size (little-endian) and the data, each of at most
 * LZ4_BLOCK plain bytes. There is no end mark: the stream ends with the input, at a size of zero
 * (padding: Linux since 5.14 stops there), and goes on behind another magic. */
#define LZ4_MAGIC 0x184c2102u
#define LZ4_BLOCK (8u << 20)
#define LZ4_BOUND ((guint32)LZ4_COMPRESSBOUND (LZ4_BLOCK))

/* There is no state between blocks. */
static gpointer
lz4_open (void)
{
  return g_malloc0 (1);
}

static gboolean
lz4_step (gpointer state, H2kPayloadStep *step, GError **error)
{
  guint32 size = step->in_size >= 4 ? h2k_le32 (step->in) : 0;
  int n;

  if (step->in_size < 4 && !step->in_last)
    step->in_need = 4;
  else if (size == 0)
    step->ended = TRUE;
  else if (size == LZ4_MAGIC)
    step->in_used = 4;
  else if (size > LZ4_BOUND || (size > step->in_size - 4 && step->in_last))
    return damaged (error, "lz4");
  else if (size > step->in_size - 4)
    step->in_need = 4 + size;
  else
    {
      n = LZ4_decompress_safe ((const char *)step->in + 4, (char *)step->out, (int)size,
                               (int)step->out_size);
      if (n < 0)
        return damaged (error, "lz4");
      step->in_used = 4 + size;
      step->out_used = (gsize)n;
    }
  return TRUE;
}

static GBytes *
lz4_pack (GBytes *data)
{
  gsize size;
  const char *bytes = g_bytes_get_data (data, &size);
  g_autoptr (GByteArray) out = g_byte_array_new ();
  g_autofree char *block = g_malloc (LZ4_BOUND);
  guint32 word = GUINT32_TO_LE (LZ4_MAGIC);

  g_byte_array_append (out, (const guint8 *)&word, 4);
  while (size)
    {
      int n = (int)MIN (size, LZ4_BLOCK);
      int packed = LZ4_compress_HC (bytes, block, n, (int)LZ4_BOUND, LZ4HC_CLEVEL_MIN);
      g_assert (packed > 0);
      word = GUINT32_TO_LE ((guint32)packed);
      g_byte_array_append (out, (const guint8 *)&word, 4);
      g_byte_array_append (out, (const guint8 *)block, (guint)packed);
      bytes += n;
      size -= (gsize)n;
    }
  return g_byte_array_free_to_bytes (g_steal_pointer (&out));
}

/* --- bzip2 ------------------------------------------------------------------------------------ */

static gpointer
bzip2_open (void)
{
  bz_stream *b = g_new0 (bz_stream, 1);

  if (BZ2_bzDecompressInit (b, 0, 0) != BZ_OK)
    g_clear_pointer (&b, g_free);
  return b;
}

static gboolean
bzip2_step (gpointer state, H2kPayloadStep *step, GError **error)
{
  bz_stream *b = state;
  int r;

  b->next_in = (char *)step->in;
  b->avail_in = (unsigned)step->in_size;
  b->next_out = (char *)step->out;
  b->avail_out = (unsigned)step->out_size;
  r = BZ2_bzDecompress (b);
  step->in_used = step->in_size - b->avail_in;
  step->out_used = step->out_size - b->avail_out;
  step->ended = r == BZ_STREAM_END;
  return r == BZ_OK || r == BZ_STREAM_END || damaged (error, "bzip2");
}

static void
bzip2_close (gpointer state)
{
  BZ2_bzDecompressEnd (state);
  g_free (state);
}

#define MAGIC(bytes) bytes, sizeof bytes - 1

const H2kPayloadOps h2k_payloads[] = {
    {H2K_PAYLOAD_GZIP, "gzip", MAGIC ("\x1f\x8b"), OUTPUT, gzip_open, gzip_step, gzip_close,
     gzip_pack},
    {H2K_PAYLOAD_XZ, "xz",
     MAGIC ("\xfd"
            "7zXZ\0"),
     OUTPUT, xz_open, lzma_step, lzma_close, xz_pack},
    {H2K_PAYLOAD_ZSTD, "zstd", MAGIC ("\x28\xb5\x2f\xfd"), OUTPUT, zstd_open, zstd_step, zstd_close,
     zstd_pack},
    {H2K_PAYLOAD_LZ4, "lz4", MAGIC ("\x02\x21\x4c\x18"), LZ4_BLOCK, lz4_open, lz4_step, g_free,
     lz4_pack},
    {H2K_PAYLOAD_LZMA, "lzma", MAGIC ("\x5d\x00\x00"), OUTPUT, lzma_alone_open, lzma_step,
     lzma_close, NULL},
    {H2K_PAYLOAD_BZIP2, "bzip2", MAGIC ("BZh"), OUTPUT, bzip2_open, bzip2_step, bzip2_close, NULL},
    {H2K_PAYLOAD_NONE, "lzo", MAGIC ("\x89LZO"), 0, NULL, NULL, NULL, NULL},
    {.name = NULL},
};

const H2kPayloadOps *
h2k_payload_find (GBytes *data)
{
  gsize size;
  const void *bytes = g_bytes_get_data (data, &size);

  for (const H2kPayloadOps *ops = h2k_payloads; ops->name; ops++)
    if (size >= ops->magic_size && memcmp (bytes, ops->magic, ops->magic_size) == 0)
      return ops;
  return NULL;
}

static gboolean
unpack_all (const H2kPayloadOps *ops, gpointer state, GBytes *data, GByteArray *all, gsize limit,
            GError **error)
{
  g_autofree guint8 *out = g_malloc (ops->out_size);
  H2kPayloadStep step = {.ended = FALSE};
  gsize size, pos = 0;
  const guint8 *bytes = g_bytes_get_data (data, &size);

  while (!step.ended)
    {
      step = (H2kPayloadStep){.in = bytes + pos,
                              .in_size = size - pos,
                              .in_last = TRUE,
                              .out = out,
                              .out_size = ops->out_size};
      if (!ops->step (state, &step, error))
        return FALSE;
      pos += step.in_used;
      if ((!step.ended && step.in_used == 0 && step.out_used == 0)
          || all->len + step.out_used > limit)
        return damaged (error, ops->name);
      g_byte_array_append (all, out, (guint)step.out_used);
    }
  return TRUE;
}

GBytes *
h2k_payload_unpack (const H2kPayloadOps *ops, GBytes *data, gsize limit, GError **error)
{
  g_autoptr (GByteArray) all = g_byte_array_new ();
  gpointer state = ops->open ();
  gboolean ok = FALSE;

  g_assert (limit < G_MAXUINT - ops->out_size);
  if (state)
    {
      ok = unpack_all (ops, state, data, all, limit, error);
      ops->close (state);
    }
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "the %s library failed", ops->name);
  return ok ? g_byte_array_free_to_bytes (g_steal_pointer (&all)) : NULL;
}
