/* ntfs-compressed.c - reads attributes, also compressed ones (LZNT1, [MS-XCA] 2.5).
 *
 * libntfs-3g 2022.10.3 writes past the end of its buffer when a compressed unit makes no sense. So
 * it never gets to see one: they are unpacked here, files are made ordinary ones before they are
 * changed, and what it reads by itself (indexes, security descriptors, its own files) must not be
 * compressed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#define CHUNK 4096u
#define MAX_UNIT (1u << 20)

/* --- LZNT1 ------------------------------------------------------------------------------------ */

/* Copy a phrase of at most CHUNK bytes to OUT, of which AT are there. */
static gboolean
put_phrase (guint8 *out, gsize *at, guint16 token)
{
  guint offset_bits = 4;
  gsize length, offset;

  /* The further on, the more of the token is the offset. */
  while (offset_bits < 12 && (gsize)1 << offset_bits < *at)
    offset_bits++;
  offset = (token >> (16 - offset_bits)) + 1u;
  length = (token & (0xffffu >> offset_bits)) + 3u;
  if (offset > *at || length > CHUNK - *at)
    return FALSE;
  for (; length; length--, ++*at)
    out[*at] = out[*at - offset];
  return TRUE;
}

static gboolean
unpack_chunk (const guint8 *in, gsize size, guint8 *out)
{
  const guint8 *end = in + size;
  gsize at = 0;

  while (in < end)
    {
      guint flags = *in++;
      for (guint i = 0; i < 8 && in < end; i++, flags >>= 1)
        if (!(flags & 1))
          {
            if (at == CHUNK)
              return FALSE;
            out[at++] = *in++;
          }
        else
          {
            if (end - in < 2 || !put_phrase (out, &at, h2k_le16 (in)))
              return FALSE;
            in += 2;
          }
    }
  memset (out + at, 0, CHUNK - at);
  return TRUE;
}

/* A chunk: le16 of its length - 1 (12 bits), 3, and whether it is compressed; each is CHUNK bytes
 * when it is not. */
gboolean
h2k_ntfs_unpack (const guint8 *in, gsize in_size, guint8 *out, gsize out_size)
{
  gsize from = 0, to = 0;

  memset (out, 0, out_size);
  while (to + CHUNK <= out_size && in_size - from >= 2)
    {
      guint16 head = h2k_le16 (in + from);
      gsize length = (head & 0xfffu) + 1u;
      if (head == 0)
        return TRUE;
      from += 2;
      if (length > in_size - from)
        return FALSE;
      if (!(head & 0x8000))
        memcpy (out + to, in + from, MIN (length, CHUNK));
      else if (!unpack_chunk (in + from, length, out + to))
        return FALSE;
      from += length;
      to += CHUNK;
    }
  return TRUE;
}

/* --- units of clusters ------------------------------------------------------------------------ */

/* Read the clusters that the unit which begins at VCN has, up to its hole, into BUFFER; *LENGTH
 * gets their bytes. */
static gboolean
read_unit (ntfs_attr *na, VCN vcn, guint8 *buffer, gsize *length)
{
  ntfs_volume *vol = na->ni->vol;
  VCN end = vcn + na->compression_block_clusters;

  *length = 0;
  while (vcn < end)
    {
      runlist_element *run = ntfs_attr_find_vcn (na, vcn);
      s64 count;
      if (!run || run->lcn == LCN_HOLE)
        return run || errno == ENOENT;
      count = MIN (run->vcn + run->length, end) - vcn;
      if (run->lcn < 0 || count <= 0)
        {
          errno = EIO;
          return FALSE;
        }
      if (ntfs_pread (vol->dev, (run->lcn + vcn - run->vcn) << vol->cluster_size_bits,
                      count << vol->cluster_size_bits, buffer + *length)
          != count << vol->cluster_size_bits)
        {
          errno = EIO;
          return FALSE;
        }
      *length += (gsize)count << vol->cluster_size_bits;
      vcn += count;
    }
  return TRUE;
}

static gboolean
get_unit (ntfs_attr *na, guint64 unit, guint8 *packed, guint8 *out)
{
  gsize size = na->compression_block_size, length;

  if (!read_unit (na, (VCN)unit * na->compression_block_clusters, packed, &length))
    return FALSE;
  if (length == size)
    memcpy (out, packed, size);
  else if (length == 0)
    memset (out, 0, size);
  else if (!h2k_ntfs_unpack (packed, length, out, size))
    {
      errno = EIO;
      return FALSE;
    }
  return TRUE;
}

static gboolean
read_compressed (ntfs_attr *na, guint64 offset, gsize length, guint8 *buffer)
{
  guint size = na->compression_block_size;
  g_autofree guint8 *packed = NULL, *out = NULL;

  if ((na->data_flags & ATTR_COMPRESSION_MASK) != ATTR_IS_COMPRESSED || size < CHUNK
      || size > MAX_UNIT
      || size != (guint)na->compression_block_clusters << na->ni->vol->cluster_size_bits)
    {
      errno = EOPNOTSUPP;
      return FALSE;
    }
  packed = g_malloc (size);
  out = g_malloc (size);
  while (length)
    {
      gsize in_unit = (gsize)(offset % size), n = MIN (length, size - in_unit);
      if (!get_unit (na, offset / size, packed, out))
        return FALSE;
      memcpy (buffer, out + in_unit, n);
      buffer += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

gboolean
h2k_ntfs_pread (ntfs_attr *na, guint64 offset, gsize length, void *buffer)
{
  guint8 *p = buffer;

  if (na->data_flags & ATTR_COMPRESSION_MASK && NAttrNonResident (na))
    {
      guint64 valid = (guint64)MAX (na->initialized_size, 0);
      gsize n = offset < valid ? (gsize)MIN (length, valid - offset) : 0;
      memset (p + n, 0, length - n);
      return read_compressed (na, offset, n, p);
    }
  while (length)
    {
      s64 n = ntfs_attr_pread (na, (s64)offset, (s64)length, p);
      if (n <= 0)
        {
          errno = n == 0 ? EIO : errno;
          return FALSE;
        }
      p += n;
      offset += (guint64)n;
      length -= (gsize)n;
    }
  return TRUE;
}

/* --- trust ------------------------------------------------------------------------------------ */

gboolean
h2k_ntfs_trust (ntfs_inode *ni)
{
  g_autoptr (ntfs_attr_search_ctx) ctx = ntfs_attr_get_search_ctx (ni, NULL);

  if (!ctx)
    return FALSE;
  while (ntfs_attrs_walk (ctx) == 0)
    if (ctx->attr->type != AT_DATA && ctx->attr->non_resident
        && (ctx->attr->flags & ATTR_COMPRESSION_MASK))
      {
        errno = EIO;
        return FALSE;
      }
  return errno == ENOENT;
}

ntfs_inode *
h2k_ntfs_open_record (NtfsFs *ntfs, guint64 ref)
{
  ntfs_inode *ni = ntfs_inode_open (ntfs->vol, MREF (ref));

  if (!ni || h2k_ntfs_trust (ni))
    return ni;
  h2k_ntfs_close (ni);
  errno = EIO;
  return NULL;
}
