/* ntfs-attr.c - boot sector, file records, attributes and runs of an NTFS volume.
 *
 * Records are checked as a whole when they are read, so that looking for an attribute in one cannot
 * go wrong.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-attr.h"

/* NTFS puts a check value at the end of each 512 bytes, whatever the sector size. */
#define STRIDE 512u
#define MAX_CLUSTER (2u << 20)
#define MAX_RECORD 65536u
/* An attribute list is no longer than this by definition. */
#define MAX_LIST (256u << 10)
#define MAX_RUNS (256u << 10)

/* --- records ---------------------------------------------------------------------------------- */

gboolean
h2k_ntfs_fix (guint8 *record, gsize length, const char *magic)
{
  gsize array = h2k_le16 (record + 4), count = h2k_le16 (record + 6);
  const guint8 *check;

  if (memcmp (record, magic, 4) != 0 || length % STRIDE || count != length / STRIDE + 1 || array % 2
      || array < 8 || array + count * 2 > STRIDE - 2)
    return FALSE;
  check = record + array;
  for (gsize i = 1; i < count; i++)
    {
      guint8 *end = record + i * STRIDE - 2;
      if (memcmp (end, check, 2) != 0)
        return FALSE;
      memcpy (end, check + i * 2, 2);
    }
  return TRUE;
}

/* Whether name, value and runs of the attribute lie inside its LENGTH bytes. */
static gboolean
check_attribute (const guint8 *attr, guint32 length)
{
  guint head = attr[8] ? 64 : 24;

  if (length < head || length % 8 || (guint64)h2k_le16 (attr + 10) + attr[9] * 2u > length)
    return FALSE;
  if (attr[8])
    return h2k_le16 (attr + 32) >= head && h2k_le16 (attr + 32) < length;
  return (guint64)h2k_le16 (attr + 20) + h2k_le32 (attr + 16) <= length;
}

gboolean
h2k_ntfs_check_record (const guint8 *record, guint32 size)
{
  guint32 at = h2k_le16 (record + 20), used = h2k_le32 (record + 24);

  if (!(h2k_le16 (record + 22) & 1) || used > size || at < 42 || at % 8)
    return FALSE;
  while (at + 8 <= used)
    {
      guint32 length = h2k_le32 (record + at + 4);
      if (h2k_le32 (record + at) == NTFS_END)
        return TRUE;
      if (length < 24 || length > used - at || !check_attribute (record + at, length))
        return FALSE;
      at += length;
    }
  return FALSE;
}

/* The file record NUMBER, a piece of the file BASE; the caller's. SEQUENCE 0: any. */
static guint8 *
read_record (NtfsVolume *volume, guint64 number, guint sequence, guint64 base, GError **error)
{
  g_autofree guint8 *record = g_malloc (volume->record_size);
  guint64 owner;

  /* The $MFT's own record is needed to find all the others. */
  if (number == NTFS_FILE_MFT)
    {
      if (!h2k_disk_pread (volume->disk, volume->mft * volume->cluster_size, volume->record_size,
                           record, error))
        return NULL;
    }
  else if (number > G_MAXUINT64 / MAX_RECORD - 1
           || !h2k_ntfs_read (volume, volume->mft_stream, number * volume->record_size,
                              volume->record_size, record, error))
    return NULL;
  if (!h2k_ntfs_fix (record, volume->record_size, "FILE")
      || !h2k_ntfs_check_record (record, volume->record_size)
      || (sequence && sequence != h2k_le16 (record + 16)))
    {
      h2k_ntfs_corrupt (volume, error, "file record %" G_GUINT64_FORMAT " is damaged", number);
      return NULL;
    }
  owner = NTFS_RECORD_NUMBER (h2k_le64 (record + 32));
  if (owner != (number == base ? 0 : base))
    {
      h2k_ntfs_corrupt (volume, error,
                        "file record %" G_GUINT64_FORMAT
                        " does not belong to file %" G_GUINT64_FORMAT,
                        number, base);
      return NULL;
    }
  return g_steal_pointer (&record);
}

static gboolean
name_is (const guint8 *name, guint length, const char *wanted)
{
  if (length != strlen (wanted))
    return FALSE;
  for (guint i = 0; i < length; i++)
    if (h2k_le16 (name + i * 2) != (guchar)wanted[i])
      return FALSE;
  return TRUE;
}

/* The attribute of RECORD, or NULL. INSTANCE -1: any. */
static const guint8 *
find_attribute (const guint8 *record, guint32 type, const char *name, int instance)
{
  const guint8 *attr = record + h2k_le16 (record + 20);

  for (; h2k_le32 (attr) != NTFS_END; attr += h2k_le32 (attr + 4))
    if (h2k_le32 (attr) == type && name_is (attr + h2k_le16 (attr + 10), attr[9], name)
        && (instance < 0 || instance == h2k_le16 (attr + 14)))
      return attr;
  return NULL;
}

/* --- streams ---------------------------------------------------------------------------------- */

static NtfsStream *
stream_new (void)
{
  NtfsStream *stream = g_new0 (NtfsStream, 1);

  stream->runs = g_array_new (FALSE, FALSE, sizeof (NtfsRun));
  return stream;
}

void
h2k_ntfs_stream_free (NtfsStream *stream)
{
  if (!stream)
    return;
  g_array_unref (stream->runs);
  g_free (stream->value);
  g_free (stream);
}

static guint64
n_clusters (const NtfsStream *stream)
{
  const NtfsRun *last;

  if (stream->runs->len == 0)
    return 0;
  last = &g_array_index (stream->runs, NtfsRun, stream->runs->len - 1);
  return last->vcn + last->count;
}

/* A little-endian number of LENGTH (at most 8) bytes. */
static guint64
get_number (const guint8 *p, guint length, gboolean is_signed)
{
  guint64 value = is_signed && length && p[length - 1] & 0x80 ? G_MAXUINT64 : 0;

  for (guint i = length; i-- > 0;)
    value = value << 8 | p[i];
  return value;
}

void
h2k_ntfs_runs_begin (NtfsRuns *runs, const guint8 *attr)
{
  runs->p = attr + h2k_le16 (attr + 32);
  runs->end = attr + h2k_le32 (attr + 4);
  runs->vcn = h2k_le64 (attr + 16);
  runs->lcn = 0;
  runs->damaged = FALSE;
}

gboolean
h2k_ntfs_runs_next (const NtfsVolume *volume, NtfsRuns *runs, NtfsRun *run)
{
  const guint8 *p = runs->p;
  guint length_size, lcn_size;

  if (p < runs->end && !*p)
    return FALSE;
  runs->damaged = TRUE;
  if (p >= runs->end)
    return FALSE;
  length_size = *p & 15;
  lcn_size = *p >> 4;
  if (!length_size || length_size > 8 || lcn_size > 8
      || (gsize)(runs->end - p) < 1 + length_size + lcn_size)
    return FALSE;
  *run = (NtfsRun){runs->vcn, NTFS_SPARSE, get_number (p + 1, length_size, FALSE)};
  if (!run->count || runs->vcn > G_MAXINT64 / MAX_CLUSTER
      || run->count > G_MAXINT64 / MAX_CLUSTER - runs->vcn)
    return FALSE;
  if (lcn_size)
    {
      runs->lcn += get_number (p + 1 + length_size, lcn_size, TRUE);
      if (runs->lcn >= volume->n_clusters || run->count > volume->n_clusters - runs->lcn)
        return FALSE;
      run->lcn = runs->lcn;
    }
  runs->damaged = FALSE;
  runs->vcn += run->count;
  runs->p += 1 + length_size + lcn_size;
  return TRUE;
}

/* Add the runs of the attribute ATTR. */
static gboolean
add_runs (NtfsVolume *volume, NtfsStream *stream, const guint8 *attr)
{
  NtfsRuns runs;
  NtfsRun run;

  h2k_ntfs_runs_begin (&runs, attr);
  while (h2k_ntfs_runs_next (volume, &runs, &run))
    {
      if (stream->runs->len >= MAX_RUNS)
        return FALSE;
      g_array_append_val (stream->runs, run);
    }
  return !runs.damaged;
}

/* Add what the attribute ATTR holds: all of the stream, or its next piece. */
static gboolean
add_piece (NtfsVolume *volume, NtfsStream *stream, const guint8 *attr)
{
  guint64 first = h2k_le64 (attr + 16), last;

  if (!attr[8])
    {
      if (stream->value || stream->runs->len)
        return FALSE;
      stream->size = stream->initialized = h2k_le32 (attr + 16);
      stream->flags = h2k_le16 (attr + 12);
      stream->value = g_malloc0 (MAX (stream->size, 1));
      memcpy (stream->value, attr + h2k_le16 (attr + 20), stream->size);
      return TRUE;
    }
  last = h2k_le64 (attr + 24);
  if (stream->value || first != n_clusters (stream))
    return FALSE;
  if (first == 0)
    {
      stream->flags = h2k_le16 (attr + 12);
      stream->size = h2k_le64 (attr + 48);
      stream->initialized = MIN (h2k_le64 (attr + 56), stream->size);
    }
  return add_runs (volume, stream, attr) && n_clusters (stream) == last + 1;
}

static gboolean
is_complete (const NtfsVolume *volume, const NtfsStream *stream)
{
  return stream->value || stream->size <= n_clusters (stream) * volume->cluster_size;
}

NtfsStream *
h2k_ntfs_read_list (NtfsVolume *volume, const guint8 *attr, GError **error)
{
  g_autoptr (NtfsStream) list = stream_new ();
  g_autofree guint8 *value = NULL;

  if (!add_piece (volume, list, attr) || !is_complete (volume, list) || list->size > MAX_LIST)
    {
      h2k_ntfs_corrupt (volume, error, "an attribute list is damaged");
      return NULL;
    }
  value = g_malloc0 (MAX (list->size, 1));
  if (!h2k_ntfs_read (volume, list, 0, list->size, value, error))
    return NULL;
  g_free (list->value);
  list->value = g_steal_pointer (&value);
  return g_steal_pointer (&list);
}

gsize
h2k_ntfs_list_end (const NtfsStream *list, gsize at)
{
  const guint8 *entry = list->value + at;
  guint length;

  if (list->size - at < 26)
    return 0;
  length = h2k_le16 (entry + 4);
  return length >= 26 && length <= list->size - at && entry[7] + entry[6] * 2u <= length
             ? at + length
             : 0;
}

/* Add the pieces of a stream that LIST names. */
static gboolean
add_listed (NtfsVolume *volume, NtfsStream *stream, const NtfsStream *list, guint64 base,
            guint32 type, const char *name, gboolean *found, GError **error)
{
  for (gsize at = 0, next; at < list->size; at = next)
    {
      const guint8 *entry = list->value + at;
      g_autofree guint8 *record = NULL;
      const guint8 *attr;
      guint64 ref;

      next = h2k_ntfs_list_end (list, at);
      if (!next)
        return h2k_ntfs_corrupt (volume, error, "an attribute list is damaged");
      if (h2k_le32 (entry) != type || !name_is (entry + entry[7], entry[6], name))
        continue;
      ref = h2k_le64 (entry + 16);
      record = read_record (volume, NTFS_RECORD_NUMBER (ref), (guint)(ref >> 48), base, error);
      if (!record)
        return FALSE;
      attr = find_attribute (record, type, name, h2k_le16 (entry + 24));
      if (!attr || !add_piece (volume, stream, attr))
        return h2k_ntfs_corrupt (volume, error,
                                 "the runs of file %" G_GUINT64_FORMAT " are damaged", base);
      *found = TRUE;
    }
  return TRUE;
}

/* Fill STREAM with an attribute of the file BASE, whose first record is RECORD. It is of use for
 * reading as soon as it has its first piece: where the later pieces of the $MFT are is said in the
 * earlier ones. */
static gboolean
load_from (NtfsVolume *volume, NtfsStream *stream, const guint8 *record, guint64 base, guint32 type,
           const char *name, gboolean *found, GError **error)
{
  const guint8 *attr;
  gboolean ok;

  *found = FALSE;
  attr = find_attribute (record, NTFS_ATTRIBUTE_LIST, "", -1);
  if (attr)
    {
      g_autoptr (NtfsStream) list = h2k_ntfs_read_list (volume, attr, error);
      if (!list || !add_listed (volume, stream, list, base, type, name, found, error))
        return FALSE;
      ok = TRUE;
    }
  else
    {
      attr = find_attribute (record, type, name, -1);
      *found = attr != NULL;
      ok = !attr || add_piece (volume, stream, attr);
    }
  return (ok && is_complete (volume, stream))
         || h2k_ntfs_corrupt (volume, error, "the runs of file %" G_GUINT64_FORMAT " are damaged",
                              base);
}

static gboolean
load (NtfsVolume *volume, NtfsStream *stream, guint64 base, guint sequence, guint32 type,
      const char *name, gboolean *found, GError **error)
{
  g_autofree guint8 *record = read_record (volume, base, sequence, base, error);

  *found = FALSE;
  return record && load_from (volume, stream, record, base, type, name, found, error);
}

gboolean
h2k_ntfs_stream_in (NtfsVolume *volume, const guint8 *record, guint64 number, guint32 type,
                    const char *name, NtfsStream **stream, GError **error)
{
  g_autoptr (NtfsStream) result = stream_new ();
  gboolean found;

  *stream = NULL;
  if (!load_from (volume, result, record, number, type, name, &found, error))
    return FALSE;
  if (found)
    *stream = g_steal_pointer (&result);
  return TRUE;
}

gboolean
h2k_ntfs_stream (NtfsVolume *volume, guint64 record, guint sequence, guint32 type, const char *name,
                 NtfsStream **stream, GError **error)
{
  g_autoptr (NtfsStream) result = stream_new ();
  gboolean found;

  *stream = NULL;
  if (!load (volume, result, record, sequence, type, name, &found, error))
    return FALSE;
  if (found)
    *stream = g_steal_pointer (&result);
  return TRUE;
}

/* The run that holds VCN, or NULL. */
static const NtfsRun *
find_run (const NtfsStream *stream, guint64 vcn)
{
  guint low = 0, high = stream->runs->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      const NtfsRun *run = &g_array_index (stream->runs, NtfsRun, middle);
      if (run->vcn + run->count <= vcn)
        low = middle + 1;
      else
        high = middle;
    }
  return low < stream->runs->len ? &g_array_index (stream->runs, NtfsRun, low) : NULL;
}

static gboolean
read_runs (NtfsVolume *volume, const NtfsStream *stream, guint64 offset, gsize length, guint8 *p,
           GError **error)
{
  while (length)
    {
      const NtfsRun *run = find_run (stream, offset / volume->cluster_size);
      guint64 in_run;
      gsize n;

      if (!run)
        return h2k_ntfs_corrupt (volume, error, "a file ends before what is needed of it");
      in_run = offset - run->vcn * volume->cluster_size;
      n = (gsize)MIN (run->count * volume->cluster_size - in_run, length);
      if (run->lcn == NTFS_SPARSE)
        memset (p, 0, n);
      else if (!h2k_disk_pread (volume->disk, run->lcn * volume->cluster_size + in_run, n, p,
                                error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

gboolean
h2k_ntfs_read (NtfsVolume *volume, const NtfsStream *stream, guint64 offset, gsize length,
               void *buffer, GError **error)
{
  gsize real;

  if (offset > stream->size || length > stream->size - offset)
    return h2k_ntfs_corrupt (volume, error, "a file ends before what is needed of it");
  if (stream->value)
    {
      memcpy (buffer, stream->value + offset, length);
      return TRUE;
    }
  real = offset < stream->initialized ? (gsize)MIN (length, stream->initialized - offset) : 0;
  memset ((guint8 *)buffer + real, 0, length - real);
  return read_runs (volume, stream, offset, real, buffer, error);
}

/* --- the boot sector -------------------------------------------------------------------------- */

/* Sizes are a count of UNIT, or a negative power of two. 0: neither. */
static guint64
get_size (guint8 value, guint64 unit, guint8 max_count)
{
  return value <= max_count ? value * unit : value >= 0xe1 ? 1ull << (256 - value) : 0;
}

static gboolean
is_power_of_2 (guint64 n)
{
  return n && !(n & (n - 1));
}

gboolean
h2k_ntfs_open (NtfsVolume *volume, H2kDisk *disk, GError **error)
{
  guint64 sectors, cluster, record;
  guint8 boot[512];
  gboolean found;
  guint sector;

  *volume = (NtfsVolume){.disk = disk};
  if (!h2k_disk_pread (disk, 0, sizeof boot, boot, error))
    return FALSE;
  sector = h2k_le16 (boot + 11);
  sectors = h2k_le64 (boot + 40);
  cluster = get_size (boot[13], 1, 128) * sector;
  record = get_size (boot[64], cluster, 127);
  if (sector < 256 || sector > 4096 || !is_power_of_2 (sector) || !is_power_of_2 (cluster)
      || cluster > MAX_CLUSTER || !is_power_of_2 (record) || record < STRIDE || record > MAX_RECORD
      || sectors > disk->size / sector)
    return h2k_ntfs_corrupt (volume, error, "its boot sector makes no sense");
  volume->cluster_size = (guint)cluster;
  volume->record_size = (guint)record;
  volume->n_clusters = sectors * sector / cluster;
  volume->mft = h2k_le64 (boot + 48);
  if (volume->mft >= volume->n_clusters || record > disk->size - volume->mft * cluster)
    return h2k_ntfs_corrupt (volume, error, "its $MFT lies outside of it");
  volume->mft_stream = stream_new ();
  return load (volume, volume->mft_stream, NTFS_FILE_MFT, 0, NTFS_DATA, "", &found, error)
         && (found || h2k_ntfs_corrupt (volume, error, "its $MFT has no data"));
}

void
h2k_ntfs_clear (NtfsVolume *volume)
{
  g_clear_pointer (&volume->mft_stream, h2k_ntfs_stream_free);
}
