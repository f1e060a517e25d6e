/* gzip.c - what a gzip file (RFC 1952) holds, read at any offset.
 *
 * A deflate stream can be unpacked from the start of any of its blocks when the 32 KiB in front of
 * that are known. While the file is read for the first time, such points are noted; a read then
 * unpacks from the nearest one before it. What was unpacked is cached by blocks, and the places
 * where reading stopped are kept, so that reading on costs no more than unpacking once.
 *
 * One thread unpacks at a time: what others ask for meanwhile is as a rule what comes next.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/gzip.h"
#include "disk/cache.h"
#include "disk/formats.h"

#include <zlib.h>

#define WINDOW 32768
#define MAX_POINTS 1024
#define BLOCK ((gsize)256 << 10) /* unpacked and cached at once */
#define BLOCK_CACHE ((gsize)16 << 20)
#define INPUT ((gsize)64 << 10)
#define MAX_READERS 4

guint64 h2k_gzip_span = (guint64)4 << 20;

/* Where unpacking can start. */
typedef struct
{
  guint64 out; /* offset in what the file holds */
  guint64 in;  /* offset in the file of the first whole byte */
  guint bits;  /* of the byte in front of it, that belong to the block */
  guint8 window[WINDOW];
} Point;

/* A place where unpacking has come to. */
typedef struct
{
  gboolean open; /* the stream is set up */
  gboolean raw;  /* in the member that the point is in; the next ones are read with their headers */
  z_stream stream;
  guint64 in;   /* of the file: behind what is in the buffer */
  guint64 out;  /* what comes next */
  guint64 used; /* when, by a counter */
  guint8 input[INPUT];
} Reader;

typedef struct
{
  H2kFile file;
  H2kFile *packed;
  GPtrArray *points; /* Point *, in order; the first one is the start */
  guint64 span;
  H2kCache *blocks;
  GMutex lock; /* of what follows */
  Reader readers[MAX_READERS];
  guint64 counter;
} GzipFile;

#define set_corrupt(error, ...) h2k_set_corrupt (error, "gzip", __VA_ARGS__)

static gboolean
set_damaged (const GzipFile *gz, const Reader *r, GError **error)
{
  return set_corrupt (error, gz->packed->name,
                      "what it holds cannot be unpacked behind byte %" G_GUINT64_FORMAT " (%s)",
                      r->out, r->stream.msg ? r->stream.msg : "it ends too early");
}

/* --- unpacking -------------------------------------------------------------------------------- */

/* Have input, if there is more of the file. */
static gboolean
fill (GzipFile *gz, Reader *r, GError **error)
{
  gsize n = (gsize)MIN (INPUT, gz->packed->size - r->in);

  if (r->stream.avail_in || n == 0)
    return TRUE;
  if (!h2k_file_pread (gz->packed, r->in, n, r->input, error))
    return FALSE;
  r->in += n;
  r->stream.next_in = r->input;
  r->stream.avail_in = (uInt)n;
  return TRUE;
}

/* The next byte of the file into BYTE; -1 in it at the end. */
static gboolean
next_byte (GzipFile *gz, Reader *r, int *byte, GError **error)
{
  if (!fill (gz, r, error))
    return FALSE;
  *byte = -1;
  if (r->stream.avail_in)
    {
      *byte = *r->stream.next_in++;
      r->stream.avail_in--;
    }
  return TRUE;
}

/* Behind a member: go on to the next one. ENDED: there is none; zeros at the end count as none. */
static gboolean
next_member (GzipFile *gz, Reader *r, gboolean *ended, GError **error)
{
  int byte = 0;

  for (guint i = 0; r->raw && i < 8; i++) /* CRC-32 and length: they were verified */
    if (!next_byte (gz, r, &byte, error))
      return FALSE;
  r->raw = FALSE;
  do
    if (!next_byte (gz, r, &byte, error))
      return FALSE;
  while (byte == 0);
  *ended = byte == -1;
  if (*ended)
    return TRUE;
  if (byte != 0x1f)
    return set_corrupt (error, gz->packed->name, "something that is not gzip follows at its end");
  r->stream.next_in--;
  r->stream.avail_in++;
  return inflateReset2 (&r->stream, 31) == Z_OK || set_damaged (gz, r, error);
}

/* Unpack up to LENGTH bytes into OUT: GOT of them, 0 only at the end. With FLUSH Z_BLOCK it stops
 * at the end of each block, also with nothing got; then ENDED tells the end. */
static gboolean
unpack (GzipFile *gz, Reader *r, guint8 *out, gsize length, int flush, gsize *got, gboolean *ended,
        GError **error)
{
  *got = 0;
  *ended = FALSE;
  while (*got < length && !*ended)
    {
      int result;

      if (!fill (gz, r, error))
        return FALSE;
      r->stream.next_out = out + *got;
      r->stream.avail_out = (uInt)(length - *got);
      result = inflate (&r->stream, flush);
      r->out += length - *got - r->stream.avail_out;
      /* No progress that shows, but there is more to go on with. */
      if (result == Z_BUF_ERROR && (r->stream.avail_in || r->in < gz->packed->size))
        result = Z_OK;
      if (result != Z_OK && result != Z_STREAM_END)
        return set_damaged (gz, r, error);
      *got = length - r->stream.avail_out;
      if (result == Z_STREAM_END && !next_member (gz, r, ended, error))
        return FALSE;
      if (flush == Z_BLOCK)
        break;
    }
  return TRUE;
}

static void
close_reader (Reader *r)
{
  if (r->open)
    inflateEnd (&r->stream);
  r->open = FALSE;
}

/* Set READER to POINT; the start of the file, when that is NULL. */
static gboolean
start_at (GzipFile *gz, Reader *r, const Point *point, GError **error)
{
  int byte = 0;

  close_reader (r);
  memset (&r->stream, 0, sizeof r->stream);
  r->raw = point != NULL;
  r->in = point ? point->in - (point->bits ? 1 : 0) : 0;
  r->out = point ? point->out : 0;
  if (inflateInit2 (&r->stream, point ? -15 : 31) != Z_OK)
    return set_damaged (gz, r, error);
  r->open = TRUE;
  if (!point)
    return TRUE;
  if (point->bits && !next_byte (gz, r, &byte, error))
    return FALSE;
  if (point->bits
      && (byte < 0
          || inflatePrime (&r->stream, (int)point->bits, byte >> (8 - point->bits)) != Z_OK))
    return set_damaged (gz, r, error);
  return point->out == 0 || inflateSetDictionary (&r->stream, point->window, WINDOW) == Z_OK
         || set_damaged (gz, r, error);
}

/* --- the index -------------------------------------------------------------------------------- */

/* Note where READER is. RING holds the last 32 KiB, its oldest byte at LEFT. */
static void
add_point (GzipFile *gz, const Reader *r, const guint8 *ring, gsize left)
{
  Point *point = g_new (Point, 1);

  point->out = r->out;
  point->in = r->in - r->stream.avail_in;
  point->bits = (guint)r->stream.data_type & 7;
  memcpy (point->window, ring + left, WINDOW - left);
  memcpy (point->window + WINDOW - left, ring, left);
  g_ptr_array_add (gz->points, point);
  if (gz->points->len < MAX_POINTS)
    return;
  /* Every other one goes, and those to come are as far apart. */
  for (guint i = 1; i < gz->points->len; i++)
    g_ptr_array_remove_index (gz->points, i);
  gz->span *= 2;
}

/* Unpack everything once. A gzip file that holds nothing is one. */
static gboolean
build_index (GzipFile *gz, Reader *r, GError **error)
{
  g_autofree guint8 *ring = g_malloc0 (WINDOW);
  guint64 last = 0;
  gboolean ended = FALSE;
  gsize at = 0, got;

  if (!start_at (gz, r, NULL, error))
    return FALSE;
  while (!ended)
    {
      if (at == WINDOW)
        at = 0;
      if (!unpack (gz, r, ring + at, WINDOW - at, Z_BLOCK, &got, &ended, error))
        return FALSE;
      at += got;
      /* At the end of a block that is not the last of its member, or behind the header. */
      if (!ended && (r->stream.data_type & 128) && !(r->stream.data_type & 64)
          && (r->out == 0 || r->out - last >= gz->span))
        {
          if (r->out || gz->points->len == 0)
            add_point (gz, r, ring, at % WINDOW);
          last = r->out;
        }
      if (r->out > G_MAXINT64)
        return set_corrupt (error, gz->packed->name, "it holds more than a file can");
    }
  gz->file.size = r->out;
  return gz->points->len > 0 || set_damaged (gz, r, error);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The last point at or before OFFSET. */
static const Point *
find_point (const GzipFile *gz, guint64 offset)
{
  guint low = 0, high = gz->points->len;

  while (high - low > 1)
    {
      guint middle = low + (high - low) / 2;
      if (((const Point *)gz->points->pdata[middle])->out <= offset)
        low = middle;
      else
        high = middle;
    }
  return gz->points->pdata[low];
}

/* A reader from which OFFSET is reached with the least unpacking; the one that was not used for the
 * longest time is moved when a point is nearer. */
static Reader *
choose_reader (GzipFile *gz, guint64 offset, GError **error)
{
  const Point *point = find_point (gz, offset);
  Reader *best = NULL, *oldest = &gz->readers[0];

  for (guint i = 0; i < MAX_READERS; i++)
    {
      Reader *r = &gz->readers[i];

      if (r->open && r->out <= offset && r->out >= point->out && (!best || r->out > best->out))
        best = r;
      if (!r->open || (oldest->open && r->used < oldest->used))
        oldest = r;
    }
  if (!best)
    best = start_at (gz, oldest, point, error) ? oldest : NULL;
  if (best)
    best->used = ++gz->counter;
  return best;
}

/* Unpack from READER on until block NUMBER is done, and return that. Blocks on the way are kept. */
static GBytes *
unpack_block (GzipFile *gz, Reader *r, guint64 number, GError **error)
{
  g_autofree guint8 *data = g_malloc (BLOCK);

  for (;;)
    {
      guint64 at = r->out / BLOCK, skipped = r->out % BLOCK;
      gsize wanted = (gsize)(MIN (BLOCK, gz->file.size - at * BLOCK) - skipped), got;
      gboolean ended;
      GBytes *block;

      if (!unpack (gz, r, data, wanted, Z_NO_FLUSH, &got, &ended, error))
        return NULL;
      if (got < wanted)
        {
          set_corrupt (error, gz->packed->name, "it changes while it is read");
          return NULL;
        }
      if (skipped) /* it started within the block, at a point */
        continue;
      block = g_bytes_new (data, wanted);
      h2k_cache_put (gz->blocks, at, block);
      if (at == number)
        return block;
      g_bytes_unref (block);
    }
}

static GBytes *
get_block (GzipFile *gz, guint64 number, GError **error)
{
  GBytes *block = h2k_cache_get (gz->blocks, number);
  Reader *r;

  if (block)
    return block;
  g_mutex_lock (&gz->lock);
  block = h2k_cache_get (gz->blocks, number); /* another thread may have made it meanwhile */
  r = block ? NULL : choose_reader (gz, number * BLOCK, error);
  if (r)
    {
      block = unpack_block (gz, r, number, error);
      if (!block)
        close_reader (r);
    }
  g_mutex_unlock (&gz->lock);
  return block;
}

static gboolean
gzip_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  GzipFile *gz = (GzipFile *)file;
  guint8 *out = buffer;

  while (length)
    {
      g_autoptr (GBytes) block = get_block (gz, offset / BLOCK, error);
      gsize n = MIN (length, BLOCK - (gsize)(offset % BLOCK));

      if (!block)
        return FALSE;
      memcpy (out, (const guint8 *)g_bytes_get_data (block, NULL) + offset % BLOCK, n);
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static void
gzip_finalize (H2kFile *file)
{
  GzipFile *gz = (GzipFile *)file;

  for (guint i = 0; i < MAX_READERS; i++)
    close_reader (&gz->readers[i]);
  g_ptr_array_unref (gz->points);
  h2k_cache_free (gz->blocks);
  h2k_file_unref (gz->packed);
  g_mutex_clear (&gz->lock);
}

static const H2kFileOps gzip_ops = {
    .pread = gzip_pread,
    .finalize = gzip_finalize,
};

gboolean
h2k_gzip_probe (const guint8 *head, gsize length)
{
  return length >= 3 && memcmp (head, "\x1f\x8b\x08", 3) == 0;
}

H2kFile *
h2k_gzip_open (H2kFile *packed, GError **error)
{
  GzipFile *gz = g_new0 (GzipFile, 1);
  g_autoptr (H2kFile) file = &gz->file;

  h2k_file_init (file, &gzip_ops, 0, packed->path);
  g_free (file->name);
  file->name = g_strdup_printf ("%s (unpacked)", packed->name);
  file->server = packed->server;
  file->dev = packed->dev;
  file->ino = packed->ino;
  gz->packed = h2k_file_ref (packed);
  gz->points = g_ptr_array_new_with_free_func (g_free);
  gz->span = h2k_gzip_span;
  gz->blocks = h2k_cache_new (BLOCK_CACHE);
  g_mutex_init (&gz->lock);
  return build_index (gz, &gz->readers[0], error) ? g_steal_pointer (&file) : NULL;
}
