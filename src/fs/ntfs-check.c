/* ntfs-check.c - whether an NTFS volume is consistent: every file record is sound, no cluster
 * belongs to two files, and names and directories agree.
 *
 * The $MFT is read once, in large pieces, and directories when their records come up. Memory: 20
 * bytes a file record, a bit a cluster (of large volumes in pieces of 64 MiB, with a pass over the
 * $MFT for each), the blocks of one directory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-check.h"
#include "fs/bits.h"
#include "fs/ntfs-node.h"
#include "fs/ntfs-private.h"

#include <xxhash.h>

/* More file records than this are not checked: 320 MiB. */
#define MAX_RECORDS (16u << 20)
#define MAX_CLUSTERS (512u << 20) /* of a pass */
#define PIECE (4u << 20)
#define BITMAP_PIECE (1u << 20)
#define MAX_PATH_DEPTH 64u

/* Windows keeps these for itself, in use or not. */
#define FIRST_RESERVED 12u
#define FIRST_USER 24u

/* --- findings --------------------------------------------------------------------------------- */

/* The first name of the file NUMBER, and *PARENT. NULL: it has none that can be read. */
static char *
first_name (NtfsCheck *c, guint64 number, guint64 *parent)
{
  g_autoptr (NtfsStream) stream = NULL;
  g_autofree ntfschar *units = NULL;
  const guint8 *name;
  char *text;
  guint n;

  if (number >= c->n_records
      || !h2k_ntfs_stream (&c->volume, number, 0, NTFS_FILE_NAME, "", &stream, NULL) || !stream
      || !stream->value || stream->size < H2K_NTFS_NAME)
    return NULL;
  name = stream->value;
  n = name[H2K_NTFS_NAME_UNITS];
  if (!n || stream->size < H2K_NTFS_NAME + n * 2)
    return NULL;
  *parent = NTFS_RECORD_NUMBER (h2k_le64 (name));
  units = g_memdup2 (name + H2K_NTFS_NAME, n * 2);
  text = g_malloc (n * 3 + 1);
  h2k_ntfs_to_utf8 (units, n, text);
  return text;
}

/* " (PATH)", or nothing. */
static char *
describe (NtfsCheck *c, guint64 number)
{
  g_autofree char *path = NULL, *escaped = NULL;

  for (guint depth = 0; depth < MAX_PATH_DEPTH && number != NTFS_FILE_ROOT; depth++)
    {
      guint64 parent;
      g_autofree char *name = first_name (c, number, &parent);
      char *longer;

      if (!name)
        break;
      longer = g_strconcat ("/", name, path, NULL);
      g_free (path);
      path = longer;
      number = parent;
    }
  if (!path)
    return g_strdup (number == NTFS_FILE_ROOT ? " (/)" : "");
  escaped = h2k_escape_text (path, -1);
  return g_strdup_printf (" (%s)", escaped);
}

void
h2k_ntfs_check_say (NtfsCheck *c, guint64 number, const char *format, ...)
{
  g_autofree char *text = NULL, *name = NULL;
  va_list args;

  /* What is only counted needs no text. */
  if (c->result->findings->len >= H2K_FS_CHECK_FINDINGS)
    {
      c->result->corruptions++;
      return;
    }
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  name = describe (c, number);
  h2k_fs_check_corrupt (c->result, "file %" G_GUINT64_FORMAT "%s: %s", number, name, text);
}

gboolean
h2k_ntfs_check_failure (NtfsCheck *c, guint64 number, const char *what, GError *failure,
                        GError **error)
{
  if (!g_error_matches (failure, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      g_propagate_error (error, failure);
      return FALSE;
    }
  g_info ("%s", failure->message);
  g_error_free (failure);
  h2k_ntfs_check_say (c, number, "%s", what);
  return TRUE;
}

guint32
h2k_ntfs_check_name_sum (guint64 dir, guint64 child, const guint8 *name, guint n)
{
  guint64 ends[2] = {dir, child};

  return (guint32)XXH3_64bits_withSeed (name, n * 2, XXH3_64bits (ends, sizeof ends));
}

/* --- the $MFT --------------------------------------------------------------------------------- */

static gboolean
is_marked (const NtfsCheck *c, guint64 number)
{
  return h2k_bit_get (c->records_used, number);
}

/* Whether Windows keeps the record for itself. */
static gboolean
is_reserved (guint64 number)
{
  return number >= FIRST_RESERVED && number < FIRST_USER;
}

/* The file record NUMBER as it lies on the disk. */
static gboolean
check_record (NtfsCheck *c, guint64 number, guint8 *record, GError **error)
{
  gboolean is_record = memcmp (record, "FILE", 4) == 0, marked = is_marked (c, number);

  if (!is_record || !(h2k_le16 (record + 22) & 1))
    {
      if (!c->first_pass || !marked || is_reserved (number))
        return TRUE;
      if (is_record)
        c->n_unused++;
      else
        {
          c->files[number].flags |= NTFS_CHECK_IN_USE | NTFS_CHECK_DAMAGED;
          c->lost = TRUE;
          h2k_ntfs_check_say (c, number, "its file record is none");
        }
      return TRUE;
    }
  if (!h2k_ntfs_fix (record, c->volume.record_size, "FILE")
      || !h2k_ntfs_check_record (record, c->volume.record_size))
    {
      c->files[number].flags |= NTFS_CHECK_IN_USE | NTFS_CHECK_DAMAGED;
      c->lost = TRUE;
      if (c->first_pass)
        h2k_ntfs_check_say (c, number, "its file record is damaged");
      return TRUE;
    }
  if (c->first_pass && !marked)
    h2k_ntfs_check_say (c, number, "its file record is in use, but free in the bitmap of $MFT");
  /* Since version 3.1 a record says which one it is. */
  if (c->first_pass && h2k_le16 (record + 4) >= 48 && h2k_le32 (record + 44) != (guint32)number)
    h2k_ntfs_check_say (c, number, "its file record says that it is number %u",
                        h2k_le32 (record + 44));
  return h2k_ntfs_check_file (c, number, record, error);
}

static gboolean
check_records (NtfsCheck *c, GError **error)
{
  guint size = c->volume.record_size;
  guint64 per_piece = PIECE / size;
  g_autofree guint8 *piece = g_malloc (PIECE);

  for (guint64 first = 0; first < c->n_records; first += per_piece)
    {
      guint64 n = MIN (per_piece, c->n_records - first);

      if (h2k_is_cancelled (c->cancellable, error)
          || !h2k_ntfs_read (&c->volume, c->volume.mft_stream, first * size, (gsize)n * size, piece,
                             error))
        return FALSE;
      if (c->result->progress)
        c->result->progress ("check", first * size, c->n_records * size, c->result->progress_data);
      for (guint64 i = 0; i < n; i++)
        if (!check_record (c, first + i, piece + i * size, error))
          return FALSE;
    }
  return TRUE;
}

/* --- clusters --------------------------------------------------------------------------------- */

/* Where the bits of this pass that are set in A but not in B begin and end, from FIRST on. */
static gboolean
next_difference (const guint8 *a, const guint8 *b, guint64 *first, guint64 *last, guint64 end)
{
  guint64 i = *first;

  while (i < end && !(h2k_bit_get (a, i) && !h2k_bit_get (b, i)))
    i += i % 8 == 0 && !(a[i / 8] & ~b[i / 8]) ? 8 : 1;
  *first = i;
  while (i < end && h2k_bit_get (a, i) && !h2k_bit_get (b, i))
    i++;
  *last = i;
  return *first < end;
}

/* Compare N clusters from FIRST of this pass on with BITS of $Bitmap. */
static void
compare_bits (NtfsCheck *c, guint64 first, guint64 n, const guint8 *bits, guint64 *n_spare)
{
  const guint8 *taken = c->taken + first / 8;
  guint64 at = 0, end;

  for (; next_difference (taken, bits, &at, &end, n); at = end)
    h2k_fs_check_corrupt (c->result,
                          "the clusters from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                          " belong to a file, but are free in $Bitmap",
                          c->first + first + at, c->first + first + end - 1);
  for (at = 0; next_difference (bits, taken, &at, &end, n); at = end)
    *n_spare += end - at;
}

static gboolean
check_bitmap (NtfsCheck *c, guint64 *n_spare, GError **error)
{
  g_autoptr (NtfsStream) stream = NULL;
  g_autoptr (GError) local = NULL;
  g_autofree guint8 *bits = g_malloc (BITMAP_PIECE);
  guint64 n = c->end - c->first;

  if (!h2k_ntfs_stream (&c->volume, NTFS_FILE_BITMAP, 0, NTFS_DATA, "", &stream, &local))
    return h2k_ntfs_check_failure (c, NTFS_FILE_BITMAP, "it cannot be read",
                                   g_steal_pointer (&local), error);
  if (!stream || stream->size < (c->end + 7) / 8)
    {
      h2k_ntfs_check_say (c, NTFS_FILE_BITMAP, "it is too short for the volume");
      return TRUE;
    }
  for (guint64 at = 0; at < n; at += BITMAP_PIECE * 8ull)
    {
      guint64 count = MIN (BITMAP_PIECE * 8ull, n - at);
      if (h2k_is_cancelled (c->cancellable, error)
          || !h2k_ntfs_read (&c->volume, stream, (c->first + at) / 8, (gsize)(count + 7) / 8, bits,
                             error))
        return FALSE;
      compare_bits (c, at, count, bits, n_spare);
    }
  return TRUE;
}

static gboolean
check_clusters (NtfsCheck *c, GError **error)
{
  guint64 n_spare = 0;

  c->taken = g_malloc0 (MIN (c->volume.n_clusters, MAX_CLUSTERS) / 8 + 1);
  c->first_pass = TRUE;
  for (c->first = 0; c->first < c->volume.n_clusters; c->first = c->end, c->first_pass = FALSE)
    {
      c->end = MIN (c->first + MAX_CLUSTERS, c->volume.n_clusters);
      if (!c->first_pass)
        memset (c->taken, 0, MAX_CLUSTERS / 8);
      if (!check_records (c, error) || !check_bitmap (c, &n_spare, error))
        return FALSE;
    }
  if (n_spare)
    h2k_fs_check_note (c->result,
                       "%" G_GUINT64_FORMAT " clusters are marked as used, but belong to no file",
                       n_spare);
  return TRUE;
}

/* --- what was counted ------------------------------------------------------------------------- */

static void
judge_names (NtfsCheck *c, guint64 number, const NtfsCheckFile *file)
{
  if (file->n_names != file->links && !is_reserved (number))
    h2k_ntfs_check_say (c, number, "it counts %u names, but has %u", file->links, file->n_names);
  if (!file->n_names && !is_reserved (number))
    h2k_ntfs_check_say (c, number, "it is in use, but has no name");
  if (file->n_entries > file->n_names)
    h2k_ntfs_check_say (c, number,
                        "directories have %u entries that lead to it, but it has %u names",
                        file->n_entries, file->n_names);
  else if (file->n_entries < file->n_names && !c->lost)
    h2k_ntfs_check_say (c, number, "%u of its names stand in no directory",
                        file->n_names - file->n_entries);
  else if (file->n_entries == file->n_names && file->names)
    h2k_ntfs_check_say (c, number,
                        "its names, or the number of times its record was used, are "
                        "others in directories than in its record");
}

static void
judge_file (NtfsCheck *c, guint64 number)
{
  const NtfsCheckFile *file = &c->files[number];

  if (file->flags & NTFS_CHECK_DAMAGED)
    return;
  if (!(file->flags & NTFS_CHECK_IN_USE) || file->flags & NTFS_CHECK_PART)
    {
      const char *why
          = file->flags & NTFS_CHECK_PART ? "is a part of another file" : "is not in use";
      if (file->n_entries)
        h2k_ntfs_check_say (c, number, "a directory has an entry that leads to it, but it %s", why);
      if (file->parts)
        h2k_ntfs_check_say (c, number, "other file records say that they belong to it, but it %s",
                            why);
      return;
    }
  judge_names (c, number, file);
  if (file->parts && !c->lost)
    h2k_ntfs_check_say (c, number, "its attribute list and its attributes do not agree");
}

static void
judge (NtfsCheck *c)
{
  for (guint64 i = 0; i < c->n_records; i++)
    judge_file (c, i);
  if (c->n_unused)
    h2k_fs_check_note (c->result,
                       "%" G_GUINT64_FORMAT
                       " file records are marked as used in the bitmap of $MFT, but are not",
                       c->n_unused);
  if (c->n_spare)
    h2k_fs_check_note (c->result,
                       "%" G_GUINT64_FORMAT
                       " blocks of directories are marked as used, but hold nothing",
                       c->n_spare);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Find out how many records there are, and which of them are marked as used. *OK: nothing keeps
 * them from being looked at. */
static gboolean
open_mft (NtfsCheck *c, gboolean *ok, GError **error)
{
  const NtfsStream *mft = c->volume.mft_stream;
  g_autoptr (NtfsStream) stream = NULL;
  g_autoptr (GError) local = NULL;
  gsize size;

  *ok = FALSE;
  c->n_records = mft->initialized / c->volume.record_size;
  if (mft->flags || !mft->runs->len || mft->initialized > c->volume.disk->size)
    {
      c->n_records = 0;
      h2k_ntfs_check_say (c, NTFS_FILE_MFT, "its size, or that it is compressed, is impossible");
      return TRUE;
    }
  if (c->n_records > MAX_RECORDS)
    {
      h2k_fs_check_leave (c->result, "it has more than %u files", MAX_RECORDS);
      return TRUE;
    }
  size = (gsize)(c->n_records + 7) / 8;
  c->files = g_new0 (NtfsCheckFile, c->n_records);
  c->records_used = g_malloc0 (size + 1);
  if (!h2k_ntfs_stream (&c->volume, NTFS_FILE_MFT, 0, NTFS_BITMAP, "", &stream, &local)
      || (stream && stream->size >= size
          && !h2k_ntfs_read (&c->volume, stream, 0, size, c->records_used, &local)))
    return h2k_ntfs_check_failure (c, NTFS_FILE_MFT, "its bitmap cannot be read",
                                   g_steal_pointer (&local), error);
  *ok = stream && stream->size >= size;
  if (!*ok)
    h2k_ntfs_check_say (c, NTFS_FILE_MFT, "its bitmap is too short");
  return TRUE;
}

static gboolean
check_all (NtfsCheck *c, H2kDisk *disk, GError **error)
{
  g_autoptr (GError) local = NULL;
  gboolean ok;

  if (!h2k_ntfs_open (&c->volume, disk, &local))
    return h2k_ntfs_check_failure (c, NTFS_FILE_MFT, "its record is damaged",
                                   g_steal_pointer (&local), error);
  if (!open_mft (c, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (!h2k_ntfs_check_own (c, error) || !check_clusters (c, error))
    return FALSE;
  judge (c);
  return TRUE;
}

static void
clear (NtfsCheck *c)
{
  h2k_ntfs_clear (&c->volume);
  g_free (c->files);
  g_free (c->records_used);
  g_free (c->taken);
  g_free (c->upcase);
  if (c->securities)
    g_array_unref (c->securities);
}

gboolean
h2k_ntfs_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error)
{
  const H2kNtfsState *state = h2k_ntfs_state (fs);
  NtfsCheck c = {.result = check, .cancellable = cancellable};
  gboolean ok;

  if (fs->frozen)
    {
      h2k_fs_check_leave (check, "%s", fs->frozen);
      return TRUE;
    }
  if (state->forced)
    {
      h2k_fs_check_leave (check,
                          "what its log held was dropped, so that it need not be consistent: "
                          "Windows runs chkdsk on it when it starts");
      return TRUE;
    }
  ok = check_all (&c, fs->volume, error);
  clear (&c);
  return ok;
}
