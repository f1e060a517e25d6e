/* ntfs-check-own.c - what a volume that is checked needs itself: boot sectors, the first file
 * records and their copies, the table of upper case, security descriptors.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-check.h"

#define SECTOR 512u
#define MIRRORED 4u /* records */

#define UPCASE_SIZE 131072u

/* Entries of $SDS lie in blocks of 256 KiB, each with a copy behind it. */
#define SDS_BLOCK (256u << 10)

/* --- boot sectors ----------------------------------------------------------------------------- */

/* The copy lies behind the last sector that belongs to the filesystem. Windows does not look at it,
 * nor do its tools keep it the same. */
static gboolean
check_boot (NtfsCheck *c, GError **error)
{
  H2kDisk *disk = c->volume.disk;
  guint8 boot[SECTOR], copy[SECTOR];
  guint64 at;

  if (!h2k_disk_pread (disk, 0, SECTOR, boot, error))
    return FALSE;
  at = h2k_le64 (boot + 40) * h2k_le16 (boot + 11);
  if (at > disk->size || disk->size - at < SECTOR)
    {
      h2k_fs_check_note (c->result, "there is no copy of the boot sector behind the filesystem");
      return TRUE;
    }
  if (!h2k_disk_pread (disk, at, SECTOR, copy, error))
    return FALSE;
  if (memcmp (boot, copy, SECTOR) != 0)
    h2k_fs_check_note (c->result, "the copy of the boot sector is not the same");
  return TRUE;
}

/* --- the $MFT's copy -------------------------------------------------------------------------- */

/* Whether the records A and B, as they lie on the disk, say the same: their update sequences need
 * not be the same. */
static gboolean
same_record (NtfsCheck *c, guint8 *a, guint8 *b)
{
  guint size = c->volume.record_size, used;

  if (!h2k_ntfs_fix (a, size, "FILE") || !h2k_ntfs_fix (b, size, "FILE")
      || !h2k_ntfs_check_record (a, size) || !h2k_ntfs_check_record (b, size))
    return FALSE;
  used = h2k_le32 (a + 24);
  return h2k_le32 (b + 24) == used && h2k_le16 (a + 20) == h2k_le16 (b + 20)
         && memcmp (a + 16, b + 16, 26) == 0
         && memcmp (a + h2k_le16 (a + 20), b + h2k_le16 (a + 20), used - h2k_le16 (a + 20)) == 0;
}

static gboolean
check_mirror (NtfsCheck *c, GError **error)
{
  gsize size = c->volume.record_size * MIRRORED;
  g_autofree guint8 *records = g_malloc (size), *copies = g_malloc (size);
  g_autoptr (NtfsStream) mirror = NULL;
  g_autoptr (GError) local = NULL;

  if (!h2k_ntfs_stream (&c->volume, NTFS_FILE_MFTMIRR, 0, NTFS_DATA, "", &mirror, &local)
      || (mirror && mirror->size >= size
          && (!h2k_ntfs_read (&c->volume, mirror, 0, size, copies, &local)
              || !h2k_ntfs_read (&c->volume, c->volume.mft_stream, 0, size, records, &local))))
    return h2k_ntfs_check_failure (c, NTFS_FILE_MFTMIRR, "it cannot be read",
                                   g_steal_pointer (&local), error);
  if (!mirror || mirror->size < size)
    {
      h2k_ntfs_check_say (c, NTFS_FILE_MFTMIRR, "it is too short");
      return TRUE;
    }
  for (guint i = 0; i < MIRRORED; i++)
    if (!same_record (c, records + i * c->volume.record_size, copies + i * c->volume.record_size))
      h2k_ntfs_check_say (c, NTFS_FILE_MFTMIRR, "its copy of file record %u is not the same", i);
  return TRUE;
}

/* --- upper case ------------------------------------------------------------------------------- */

/* Which characters have which one differs with the release of Windows; those of ASCII do not. */
static gboolean
is_sane (const guint16 *upcase)
{
  for (guint i = 0; i < 128; i++)
    if (upcase[i] != (guint)g_ascii_toupper ((char)i))
      return FALSE;
  return TRUE;
}

static gboolean
read_upcase (NtfsCheck *c, GError **error)
{
  g_autoptr (NtfsStream) stream = NULL;
  g_autoptr (GError) local = NULL;
  g_autofree guint16 *upcase = g_malloc (UPCASE_SIZE);

  if (!h2k_ntfs_stream (&c->volume, NTFS_FILE_UPCASE, 0, NTFS_DATA, "", &stream, &local)
      || (stream && stream->size == UPCASE_SIZE
          && !h2k_ntfs_read (&c->volume, stream, 0, UPCASE_SIZE, upcase, &local)))
    return h2k_ntfs_check_failure (c, NTFS_FILE_UPCASE, "it cannot be read",
                                   g_steal_pointer (&local), error);
  for (guint i = 0; i < UPCASE_SIZE / 2; i++)
    upcase[i] = GUINT16_FROM_LE (upcase[i]);
  if (!stream || stream->size != UPCASE_SIZE || !is_sane (upcase))
    h2k_ntfs_check_say (c, NTFS_FILE_UPCASE, "it is no table of upper case");
  else
    c->upcase = g_steal_pointer (&upcase);
  return TRUE;
}

/* --- security descriptors --------------------------------------------------------------------- */

/* The sum that Windows finds a descriptor by. */
static guint32
hash_descriptor (const guint8 *p, gsize size)
{
  guint32 hash = 0;

  for (; size >= 4; p += 4, size -= 4)
    hash = h2k_le32 (p) + (hash << 3 | hash >> 29);
  return hash;
}

/* Whether the SIZE bytes from AT on of $SDS, which are BLOCK, have the entry that SECURITY names.
 */
static gboolean
is_sound (const NtfsCheckSecurity *security, guint64 at, const guint8 *block, gsize size)
{
  const guint8 *entry = block + (security->offset - at);

  return security->length >= H2K_NTFS_SDS_HEADER
         && security->length <= size - (security->offset - at)
         && h2k_le32 (entry + 4) == security->id && h2k_le64 (entry + 8) == security->offset
         && h2k_le32 (entry + 16) == security->length
         && hash_descriptor (entry + H2K_NTFS_SDS_HEADER, security->length - H2K_NTFS_SDS_HEADER)
                == h2k_le32 (entry);
}

static int
compare_offsets (gconstpointer a, gconstpointer b)
{
  guint64 x = ((const NtfsCheckSecurity *)a)->offset, y = ((const NtfsCheckSecurity *)b)->offset;

  return x < y ? -1 : x > y;
}

/* How many of SECURITIES, which are sorted by their offsets, have no entry in STREAM. */
static gboolean
count_damaged (NtfsCheck *c, const NtfsStream *stream, const GArray *securities, guint *n,
               GError **error)
{
  g_autofree guint8 *block = g_malloc (SDS_BLOCK);
  guint64 at = G_MAXUINT64;
  gsize size = 0;

  for (guint i = 0; i < securities->len; i++)
    {
      const NtfsCheckSecurity *security = &g_array_index (securities, NtfsCheckSecurity, i);
      guint64 start = security->offset / SDS_BLOCK * SDS_BLOCK;

      if (security->offset >= stream->size)
        {
          *n += securities->len - i;
          return TRUE;
        }
      if (start != at)
        {
          at = start;
          size = (gsize)MIN (SDS_BLOCK, stream->size - at);
          if (!h2k_ntfs_read (&c->volume, stream, at, size, block, error))
            return FALSE;
        }
      *n += !is_sound (security, at, block, size);
    }
  return TRUE;
}

/* Each id must have its descriptor. */
static gboolean
check_descriptors (NtfsCheck *c, const NtfsStream *stream, GError **error)
{
  g_autoptr (GArray) securities = g_array_copy (c->securities);
  g_autoptr (GError) local = NULL;
  guint n = 0;

  g_array_sort (securities, compare_offsets);
  if (!count_damaged (c, stream, securities, &n, &local))
    return h2k_ntfs_check_failure (c, NTFS_FILE_SECURE, "$SDS cannot be read",
                                   g_steal_pointer (&local), error);
  if (n)
    h2k_ntfs_check_say (c, NTFS_FILE_SECURE, "%u of its %u security descriptors are damaged", n,
                        securities->len);
  return TRUE;
}

static gboolean
check_secure (NtfsCheck *c, GError **error)
{
  g_autoptr (NtfsStream) stream = NULL;
  g_autoptr (GError) local = NULL;
  guint64 n_ids, n_hashes, corruptions;

  if (!h2k_ntfs_stream (&c->volume, NTFS_FILE_SECURE, 0, NTFS_DATA, "$SDS", &stream, &local))
    return h2k_ntfs_check_failure (c, NTFS_FILE_SECURE, "$SDS cannot be found",
                                   g_steal_pointer (&local), error);
  if (!stream)
    return TRUE; /* of version 1 */
  corruptions = c->result->corruptions;
  c->securities = g_array_new (FALSE, FALSE, sizeof (NtfsCheckSecurity));
  if (!h2k_ntfs_check_index (c, NTFS_FILE_SECURE, NULL, "$SII", NTFS_CHECK_IDS, &n_ids, error)
      || !h2k_ntfs_check_index (c, NTFS_FILE_SECURE, NULL, "$SDH", NTFS_CHECK_HASHES, &n_hashes,
                                error))
    return FALSE;
  if (c->result->corruptions == corruptions && n_ids != n_hashes)
    h2k_ntfs_check_say (c, NTFS_FILE_SECURE, "its indexes $SII and $SDH do not agree");
  if (c->result->corruptions == corruptions)
    return check_descriptors (c, stream, error);
  /* Which ids there are is not known. */
  g_clear_pointer (&c->securities, g_array_unref);
  return TRUE;
}

gboolean
h2k_ntfs_check_own (NtfsCheck *c, GError **error)
{
  return check_boot (c, error) && check_mirror (c, error) && read_upcase (c, error)
         && check_secure (c, error);
}
