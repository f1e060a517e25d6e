/* ntfs-wof.c - files that CompactOS compressed: "Windows Overlay Filter", WOF.
 *
 * Such a file has a reparse point that names the filter's provider (WOF_EXTERNAL_INFO and
 * FILE_PROVIDER_EXTERNAL_INFO_V1 of the Windows SDK), an unnamed stream that is one hole of the
 * content's size, and the content, compressed in chunks, in the stream WofCompressedData: a table
 * of where each chunk but the first begins, counted from the table's end, and the chunks. A chunk
 * that is as long as what it holds is stored as it is. XPRESS and LZX ([MS-XCA], [MS-PATCH]) are
 * unpacked by libwim.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#include <wimlib.h>

#define HEADER 8u /* of a reparse point */

/* le32 each, behind the header. */
enum
{
  WOF_VERSION = 0,
  WOF_PROVIDER = 4,
  FILE_VERSION = 8,
  FILE_ALGORITHM = 12,
  WOF_LENGTH = 16,

  PROVIDER_WIM = 1, /* the content is in a WIM file elsewhere */
  PROVIDER_FILE = 2,
};

/* By their number in the reparse point. */
static const struct
{
  enum wimlib_compression_type type;
  guint chunk;
} algorithms[] = {
    {WIMLIB_COMPRESSION_TYPE_XPRESS, 4096},
    {WIMLIB_COMPRESSION_TYPE_LZX, 32768},
    {WIMLIB_COMPRESSION_TYPE_XPRESS, 8192},
    {WIMLIB_COMPRESSION_TYPE_XPRESS, 16384},
};

#define MAX_CHUNK 32768u

#define LE16(c) const_cpu_to_le16 (c)

static ntfschar stream_name[]
    = {LE16 ('W'), LE16 ('o'), LE16 ('f'), LE16 ('C'), LE16 ('o'), LE16 ('m'),
       LE16 ('p'), LE16 ('r'), LE16 ('e'), LE16 ('s'), LE16 ('s'), LE16 ('e'),
       LE16 ('d'), LE16 ('D'), LE16 ('a'), LE16 ('t'), LE16 ('a'), 0};
#define STREAM_NAME_UNITS (G_N_ELEMENTS (stream_name) - 1)

struct _NtfsWof
{
  NtfsFs *ntfs;
  guint64 file;      /* its number */
  ntfs_attr *packed; /* the stream */
  guint64 size;      /* of the content */
  guint64 packed_size, n_chunks;
  guint64 table; /* bytes of the table */
  guint entry;   /* bytes of an entry of it */
  guint chunk;   /* bytes of a chunk, unpacked */
  enum wimlib_compression_type type;
  struct wimlib_decompressor *unpacker;
};

gboolean
h2k_ntfs_wof_known (const guint8 *point, gsize size)
{
  const guint8 *info = point + HEADER;

  return size >= HEADER + WOF_LENGTH && h2k_le32 (info + WOF_VERSION) == 1
         && h2k_le32 (info + WOF_PROVIDER) == PROVIDER_FILE && h2k_le32 (info + FILE_VERSION) == 1
         && h2k_le32 (info + FILE_ALGORITHM) < G_N_ELEMENTS (algorithms);
}

static gboolean
read_point (NtfsWof *wof, ntfs_inode *ni)
{
  g_autoptr (GBytes) point = h2k_ntfs_read_reparse (ni);
  gsize size = 0;
  const guint8 *data = point ? g_bytes_get_data (point, &size) : NULL;
  guint32 algorithm;

  errno = EOPNOTSUPP;
  if (!data || !h2k_ntfs_wof_known (data, size))
    return FALSE;
  algorithm = h2k_le32 (data + HEADER + FILE_ALGORITHM);
  wof->type = algorithms[algorithm].type;
  wof->chunk = algorithms[algorithm].chunk;
  return TRUE;
}

static gboolean
open_stream (NtfsWof *wof, ntfs_inode *ni)
{
  g_autoptr (ntfs_attr) na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);

  if (!na)
    return FALSE;
  wof->packed = ntfs_attr_open (ni, AT_DATA, stream_name, STREAM_NAME_UNITS);
  errno = EIO;
  if (!wof->packed || wof->packed->data_size < 0 || na->data_size < 0)
    return FALSE;
  wof->size = (guint64)na->data_size;
  wof->packed_size = (guint64)wof->packed->data_size;
  wof->n_chunks = wof->size / wof->chunk + (wof->size % wof->chunk != 0);
  wof->entry = wof->size > G_MAXUINT32 ? 8 : 4;
  wof->table = wof->n_chunks ? (wof->n_chunks - 1) * wof->entry : 0;
  return wof->table <= wof->packed_size;
}

NtfsWof *
h2k_ntfs_wof_open (NtfsFs *ntfs, ntfs_inode *ni)
{
  g_autoptr (NtfsWof) wof = g_new0 (NtfsWof, 1);

  wof->ntfs = ntfs;
  wof->file = ni->mft_no;
  if (!read_point (wof, ni) || !open_stream (wof, ni))
    return NULL;
  if (wimlib_create_decompressor (wof->type, wof->chunk, &wof->unpacker) != 0)
    {
      errno = ENOMEM;
      return NULL;
    }
  return g_steal_pointer (&wof);
}

void
h2k_ntfs_wof_free (NtfsWof *wof)
{
  int saved = errno;

  if (!wof)
    return;
  g_clear_pointer (&wof->packed, ntfs_attr_close);
  wimlib_free_decompressor (wof->unpacker);
  g_free (wof);
  errno = saved;
}

/* Where the chunk number INDEX begins in the stream, and how long it is there. */
static gboolean
find_chunk (NtfsWof *wof, guint64 index, guint64 *start, gsize *length)
{
  /* The entries of this chunk and of the next one; the first has none, nor has what ends the last
   * one. */
  guint64 first = index ? index - 1 : 0, last = MIN (index + 1, wof->n_chunks - 1);
  guint64 room = wof->packed_size - wof->table, places[2] = {0, room};
  guint8 entries[16];
  gsize n = (gsize)(last - first);

  if (n && !h2k_ntfs_pread (wof->packed, first * wof->entry, n * wof->entry, entries))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    places[index ? i : 1]
        = wof->entry == 8 ? h2k_le64 (entries + i * 8) : h2k_le32 (entries + i * 4);
  errno = EIO;
  if (places[0] > places[1] || places[1] > room || places[1] - places[0] > wof->chunk)
    return FALSE;
  *start = wof->table + places[0];
  *length = (gsize)(places[1] - places[0]);
  return TRUE;
}

/* The content of the chunk number INDEX, of SIZE bytes. */
static gboolean
unpack_chunk (NtfsWof *wof, guint64 index, guint8 *out, gsize size)
{
  guint8 packed[MAX_CHUNK];
  guint64 start;
  gsize length;

  if (!find_chunk (wof, index, &start, &length))
    return FALSE;
  if (length == size)
    return h2k_ntfs_pread (wof->packed, start, length, out);
  errno = EIO;
  if (length == 0 || length > size || !h2k_ntfs_pread (wof->packed, start, length, packed))
    return FALSE;
  errno = EIO;
  return wimlib_decompress (packed, length, out, size, wof->unpacker) == 0;
}

/* The chunk number INDEX, which is kept: files are read in pieces that end within one. Valid until
 * the next call. */
static const guint8 *
get_chunk (NtfsWof *wof, guint64 index, gsize *size)
{
  NtfsWofChunk *kept = &wof->ntfs->chunk;

  *size = (gsize)MIN (wof->chunk, wof->size - index * wof->chunk);
  if (kept->data && kept->file == wof->file && kept->index == index)
    return kept->data;
  g_clear_pointer (&kept->data, g_free);
  kept->data = g_malloc (*size);
  kept->file = wof->file;
  kept->index = index;
  if (!unpack_chunk (wof, index, kept->data, *size))
    g_clear_pointer (&kept->data, g_free);
  return kept->data;
}

gboolean
h2k_ntfs_wof_read (NtfsWof *wof, guint64 offset, gsize length, guint8 *buffer)
{
  errno = EIO;
  if (offset > wof->size || length > wof->size - offset)
    return FALSE;
  while (length)
    {
      gsize in_chunk = (gsize)(offset % wof->chunk), size, n;
      const guint8 *chunk = get_chunk (wof, offset / wof->chunk, &size);

      if (!chunk)
        return FALSE;
      n = MIN (length, size - in_chunk);
      memcpy (buffer, chunk + in_chunk, n);
      buffer += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

/* --- making an ordinary file of one ----------------------------------------------------------- */

/* Whether the first KEEP bytes can be unpacked: nothing is changed before that is known. */
static gboolean
is_whole (NtfsWof *wof, guint64 keep)
{
  gsize size;

  for (guint64 i = 0; i * wof->chunk < keep; i++)
    if (!get_chunk (wof, i, &size))
      return FALSE;
  return TRUE;
}

static gboolean
remove_stream (ntfs_inode *ni, ntfschar *name, guint32 n)
{
  ntfs_attr *na = ntfs_attr_open (ni, AT_DATA, name, n);
  gboolean ok = na && ntfs_attr_rm (na) == 0;
  int saved = errno;

  ntfs_attr_close (na);
  errno = saved;
  return ok;
}

/* Put an ordinary unnamed stream in the place of the hole. */
static gboolean
unpack_to (NtfsWof *wof, ntfs_inode *ni, guint64 keep)
{
  g_autoptr (ntfs_attr) na = NULL;
  gsize size;

  if (!remove_stream (ni, AT_UNNAMED, 0))
    return FALSE;
  ni->flags &= ~(FILE_ATTR_COMPRESSED | FILE_ATTR_SPARSE_FILE);
  if (ntfs_attr_add (ni, AT_DATA, AT_UNNAMED, 0, NULL, 0) != 0)
    return FALSE;
  na = ntfs_attr_open (ni, AT_DATA, AT_UNNAMED, 0);
  if (!na)
    return FALSE;
  for (guint64 at = 0; at < keep; at += size)
    {
      const guint8 *chunk = get_chunk (wof, at / wof->chunk, &size);
      size = (gsize)MIN (size, keep - at);
      if (!chunk || !h2k_ntfs_write_attr (na, at, chunk, size))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_ntfs_wof_unpack (NtfsFs *ntfs, ntfs_inode *ni, guint64 keep)
{
  g_autoptr (NtfsWof) wof = h2k_ntfs_wof_open (ntfs, ni);
  gboolean ok;

  if (!wof)
    return FALSE;
  keep = MIN (keep, wof->size);
  if (!h2k_ntfs_have_room (ntfs->vol, keep) || !is_whole (wof, keep))
    return FALSE;
  ok = unpack_to (wof, ni, keep);
  g_clear_pointer (&wof->packed, ntfs_attr_close);
  ok = ok && remove_stream (ni, stream_name, STREAM_NAME_UNITS)
       && ntfs_remove_ntfs_reparse_data (ni) == 0;
  ntfs->failed |= !ok;
  return ok;
}
