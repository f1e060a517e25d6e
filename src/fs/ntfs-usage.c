/* ntfs-usage.c - which clusters of an NTFS volume are in use: what its $Bitmap says.
 *
 * Only of a volume that was unmounted cleanly: flags, log file and hibernation file are looked at
 * as ntfs-3g does before it writes. Shadow copies ("restore points") read clusters that their
 * volume has freed long ago, so a volume that has any is copied whole. The bitmap is read window by
 * window when it is asked for; what it does not cover is in use: the rest of the volume behind the
 * last full byte, where the backup boot sector lies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "fs/bits.h"
#include "fs/ntfs-attr.h"
#include "fs/usage.h"

/* Bytes of the bitmap that are read at once, and kept. */
#define WINDOW 16384u
#define MAX_CACHED (64 * WINDOW)
/* Windows that are looked at to make one extent longer. */
#define MAX_MERGE 64u

#define MAX_INDEX_BLOCKS 16384u
#define MAX_SHADOW_BLOCKS 1024u

typedef struct
{
  guint64 first, end; /* clusters */
} Range;

typedef struct
{
  H2kUsage base;
  NtfsVolume ntfs;
  NtfsStream *bitmap;
  guint64 known;   /* clusters that the bitmap tells about */
  GArray *dropped; /* Range, by number, apart from each other: what nobody needs any more */
  H2kCache *windows;
} NtfsUsage;

static gboolean
unclean (const NtfsUsage *usage, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: %s; shut the guest's Windows down fully to leave out unused clusters",
               usage->ntfs.disk->name, why);
  return FALSE;
}

/* --- the bitmap ------------------------------------------------------------------------------- */

/* Clear the bits of WINDOW, which begins with the cluster START and ends before END, that belong to
 * dropped files. */
static void
drop_bits (const GArray *dropped, guint8 *bits, guint64 start, guint64 end)
{
  guint low = 0, high = dropped->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      if (g_array_index (dropped, Range, middle).end <= start)
        low = middle + 1;
      else
        high = middle;
    }
  for (; low < dropped->len; low++)
    {
      const Range *range = &g_array_index (dropped, Range, low);
      guint64 to = MIN (range->end, end);
      if (range->first >= end)
        return;
      for (guint64 i = MAX (range->first, start); i < to; i++)
        bits[(i - start) / 8] &= (guint8) ~(1 << (i - start) % 8);
    }
}

/* The bits of the window that holds CLUSTER (< known). */
static GBytes *
get_window (NtfsUsage *usage, guint64 cluster, GError **error)
{
  guint64 index = cluster / 8 / WINDOW, start = index * WINDOW * 8;
  gsize length = (gsize)MIN (WINDOW, usage->known / 8 - index * WINDOW);
  GBytes *window = h2k_cache_get (usage->windows, index);
  guint8 *bits;

  if (window)
    return window;
  bits = g_malloc (length);
  if (!h2k_ntfs_read (&usage->ntfs, usage->bitmap, index * WINDOW, length, bits, error))
    {
      g_free (bits);
      return NULL;
    }
  drop_bits (usage->dropped, bits, start, start + length * 8);
  if (index == 0)
    bits[0] |= 1; /* the boot sector */
  window = g_bytes_new_take (bits, length);
  h2k_cache_put (usage->windows, index, window);
  return window;
}

/* What the bitmap says of CLUSTER (< known) and of at most COUNT clusters from there on. */
static gboolean
look_up (NtfsUsage *usage, guint64 cluster, guint64 max, guint64 *count, gboolean *used,
         GError **error)
{
  const guint64 per_window = WINDOW * 8;

  *count = 0;
  for (guint merged = 0; merged < MAX_MERGE && *count < max; merged++)
    {
      guint64 at = cluster + *count, start = at / per_window * per_window;
      g_autoptr (GBytes) window = at < usage->known ? get_window (usage, at, error) : NULL;
      const guint8 *bits;
      guint64 n, end;

      if (at >= usage->known)
        break;
      if (!window)
        return FALSE;
      bits = g_bytes_get_data (window, NULL);
      end = MIN (per_window, usage->known - start);
      if (merged == 0)
        *used = h2k_bit_get (bits, at - start);
      n = h2k_bit_run (bits, at - start, end, *used);
      *count += n;
      if (at - start + n < end)
        break;
    }
  *count = MIN (*count, max);
  return TRUE;
}

/* --- is the bitmap right? --------------------------------------------------------------------- */

static gboolean
check_marked (NtfsUsage *usage, const NtfsStream *stream, GError **error)
{
  for (guint i = 0; i < stream->runs->len; i++)
    {
      const NtfsRun *run = &g_array_index (stream->runs, NtfsRun, i);
      for (guint64 at = 0, count; run->lcn != NTFS_SPARSE && at < run->count; at += count)
        {
          gboolean used = TRUE;
          if (run->lcn + at >= usage->known)
            break;
          if (!look_up (usage, run->lcn + at, run->count - at, &count, &used, error))
            return FALSE;
          if (!used)
            return h2k_ntfs_corrupt (&usage->ntfs, error,
                                     "its $Bitmap does not know of the filesystem's own files");
        }
    }
  return TRUE;
}

/* Files whose clusters must be marked as used. */
static const struct
{
  guint record;
  guint32 type;
  const char *name;
  gboolean optional;
} metadata[] = {
    {NTFS_FILE_MFT, NTFS_DATA, "", FALSE},
    {NTFS_FILE_MFT, NTFS_BITMAP, "", FALSE},
    {NTFS_FILE_MFTMIRR, NTFS_DATA, "", FALSE},
    {NTFS_FILE_LOGFILE, NTFS_DATA, "", FALSE},
    {NTFS_FILE_BITMAP, NTFS_DATA, "", FALSE},
    {NTFS_FILE_BOOT, NTFS_DATA, "", FALSE},
    {NTFS_FILE_UPCASE, NTFS_DATA, "", FALSE},
    {NTFS_FILE_SECURE, NTFS_DATA, "$SDS", TRUE},
    {NTFS_FILE_ATTRDEF, NTFS_DATA, "", TRUE},
    {NTFS_FILE_ROOT, NTFS_INDEX_ALLOCATION, "$I30", TRUE},
};

static gboolean
check_metadata (NtfsUsage *usage, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (metadata); i++)
    {
      g_autoptr (NtfsStream) stream = NULL;
      if (!h2k_ntfs_stream (&usage->ntfs, metadata[i].record, 0, metadata[i].type, metadata[i].name,
                            &stream, error))
        return FALSE;
      if (!stream && !metadata[i].optional)
        return h2k_ntfs_corrupt (&usage->ntfs, error, "file record %u is not what it should be",
                                 metadata[i].record);
      if (stream && !check_marked (usage, stream, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
open_bitmap (NtfsUsage *usage, GError **error)
{
  NtfsVolume *ntfs = &usage->ntfs;

  if (!h2k_ntfs_stream (ntfs, NTFS_FILE_BITMAP, 0, NTFS_DATA, "", &usage->bitmap, error))
    return FALSE;
  if (!usage->bitmap || usage->bitmap->flags || usage->bitmap->initialized < ntfs->n_clusters / 8)
    return h2k_ntfs_corrupt (ntfs, error, "its $Bitmap does not cover it");
  usage->known = ntfs->n_clusters / 8 * 8;
  return TRUE;
}

/* --- was it unmounted? ------------------------------------------------------------------------ */

/* $VOLUME_INFORMATION: le64 reserved, version (u8 major, u8 minor), le16 flags. */
static gboolean
check_flags (NtfsUsage *usage, GError **error)
{
  static const struct
  {
    guint16 flag;
    const char *why;
  } reasons[] = {
      {0x0001, "the volume is marked as dirty: it was in use when the disk was taken"},
      {0x0002, "Windows is about to resize the volume's log file"},
      {0x0004, "Windows is about to upgrade the volume when it mounts it"},
      {0x0020, "Windows is about to repair the volume's object identifiers"},
      {0x4000, "chkdsk has not finished with the volume"},
      {0x8000, "chkdsk has changed the volume since Windows last had it"},
  };
  g_autoptr (NtfsStream) info = NULL;
  guint16 flags;

  if (!h2k_ntfs_stream (&usage->ntfs, NTFS_FILE_VOLUME, 0, NTFS_VOLUME_INFORMATION, "", &info,
                        error))
    return FALSE;
  if (!info || !info->value || info->size < 12)
    return h2k_ntfs_corrupt (&usage->ntfs, error, "its $Volume file has no flags");
  if (info->value[8] != 1 && info->value[8] != 3)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: NTFS version %u.%u is not known",
                   usage->ntfs.disk->name, info->value[8], info->value[9]);
      return FALSE;
    }
  flags = h2k_le16 (info->value + 10);
  for (gsize i = 0; i < G_N_ELEMENTS (reasons); i++)
    if (flags & reasons[i].flag)
      return unclean (usage, error, reasons[i].why);
  return TRUE;
}

typedef enum
{
  PAGE_NONE, /* no restart page */
  PAGE_CLEAN,
  PAGE_UNCLEAN,
} PageState;

/* A restart page at POSITION of the log file: "RSTR", le32 16 system page size, le16 24 offset of
 * the restart area, le16 28 major version. The area: le64 0 LSN, le16 12 clients in use (0xffff:
 * none), le16 14 flags (2: the volume is clean). */
static PageState
parse_restart_page (guint8 *page, gsize length, gsize position, guint64 *lsn)
{
  gsize size = h2k_le32 (page + 16), area = h2k_le16 (page + 24);

  if (size < 512 || size > length || (position && position != size) || area < 30
      || area + 48 > MIN (size, 512) || !h2k_ntfs_fix (page, size, "RSTR"))
    return PAGE_NONE;
  *lsn = h2k_le64 (page + area);
  /* Windows 8 and later write version 2 while they have the volume, and go back to version 1 when
   * they are done with it. */
  if (h2k_le16 (page + 28) != 1)
    return PAGE_UNCLEAN;
  return h2k_le16 (page + area + 12) == 0xffff || h2k_le16 (page + area + 14) & 2 ? PAGE_CLEAN
                                                                                  : PAGE_UNCLEAN;
}

#define LOG_HEAD 131072u

static gboolean
check_log (NtfsUsage *usage, GError **error)
{
  g_autoptr (NtfsStream) log = NULL;
  g_autofree guint8 *head = g_malloc (LOG_HEAD), *page = g_malloc (LOG_HEAD);
  PageState newest = PAGE_NONE;
  guint64 newest_lsn = 0;
  gboolean empty = TRUE;
  gsize length;

  if (!h2k_ntfs_stream (&usage->ntfs, NTFS_FILE_LOGFILE, 0, NTFS_DATA, "", &log, error))
    return FALSE;
  if (!log || log->size < 8192)
    return h2k_ntfs_corrupt (&usage->ntfs, error, "its $LogFile is missing");
  length = (gsize)MIN (log->size, LOG_HEAD);
  if (!h2k_ntfs_read (&usage->ntfs, log, 0, length, head, error))
    return FALSE;
  for (gsize i = 0; i < length && empty; i++)
    empty = head[i] == 0xff;
  for (gsize at = 0; at + 512 <= length && at <= LOG_HEAD / 2; at = at ? at * 2 : 512)
    {
      guint64 lsn = 0;
      PageState state;
      memcpy (page, head + at, length - at);
      state = parse_restart_page (page, length - at, at, &lsn);
      if (state == PAGE_NONE || (newest != PAGE_NONE && lsn < newest_lsn))
        continue;
      /* Of two that are equally new both must be clean. */
      if (newest != PAGE_UNCLEAN || lsn > newest_lsn)
        newest = state;
      newest_lsn = lsn;
    }
  if (!empty && newest != PAGE_CLEAN)
    return unclean (usage, error, "the volume's log file has not been replayed");
  return TRUE;
}

/* --- shadow copies, as libvshadow's documentation describes them --------------------------------
 */

static const guint8 vss_id[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
                                  0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};

#define VSS_HEADER 7680u
#define VSS_BLOCK 16384u

/* Whether one block of the catalogue names a shadow copy; *NEXT is the following block. A block
 * that cannot be read as one may do so. */
static gboolean
names_shadow (const guint8 *block, guint64 *next)
{
  *next = h2k_le64 (block + 40);
  if (memcmp (block, vss_id, 16) != 0 || h2k_le32 (block + 20) != 2)
    return TRUE;
  for (gsize at = 128; at < VSS_BLOCK; at += 128)
    if (h2k_le64 (block + at) > 1) /* 0: the end, 1: not used */
      return TRUE;
  return FALSE;
}

static gboolean
check_shadows (NtfsUsage *usage, GError **error)
{
  H2kDisk *disk = usage->ntfs.disk;
  g_autofree guint8 *block = g_malloc (VSS_BLOCK);
  gboolean found = FALSE;
  guint64 next;

  if (disk->size < VSS_HEADER + 512)
    return TRUE;
  if (!h2k_disk_pread (disk, VSS_HEADER, 512, block, error))
    return FALSE;
  if (memcmp (block, vss_id, 16) != 0)
    return TRUE;
  next = h2k_le64 (block + 48);
  for (guint n = 0; next && !found; n++)
    {
      if (n == MAX_SHADOW_BLOCKS || next > disk->size || disk->size - next < VSS_BLOCK)
        found = TRUE;
      else if (!h2k_disk_pread (disk, next, VSS_BLOCK, block, error))
        return FALSE;
      else
        found = names_shadow (block, &next);
    }
  if (found)
    g_set_error (
        error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
        "%s: it has shadow copies (restore points), which need clusters that are no longer "
        "in use; delete them in the guest (vssadmin delete shadows /all) to leave those "
        "clusters out",
        disk->name);
  return !found;
}

/* --- files of the root directory -------------------------------------------------------------- */

typedef enum
{
  FILE_HIBERNATION,
  FILE_PAGES,
  FILE_SWAP,
  N_FILES,
} RootFile;

static const char *const root_files[N_FILES] = {"hiberfil.sys", "pagefile.sys", "swapfile.sys"};

static gboolean
same_name (const guint8 *name, guint length, const char *wanted)
{
  if (length != strlen (wanted))
    return FALSE;
  for (guint i = 0; i < length; i++)
    {
      guint16 c = h2k_le16 (name + i * 2);
      if (c > 127 || g_ascii_tolower ((char)c) != wanted[i])
        return FALSE;
    }
  return TRUE;
}

/* Look through the entries of an index node, whose header is at AT of the SIZE bytes of NODE.
 * An entry: le64 reference, le16 8 its length, le16 10 that of the key, le16 12 flags (2: the
 * last); the key: u8 64 length of the name, 66 the name. */
static gboolean
scan_node (const guint8 *node, gsize size, gsize at, guint64 *refs)
{
  gsize end, entry;

  if (at + 16 > size)
    return FALSE;
  entry = at + h2k_le32 (node + at);
  end = at + h2k_le32 (node + at + 4);
  if (end > size)
    return FALSE;
  while (entry < end && end - entry >= 16)
    {
      const guint8 *p = node + entry;
      gsize length = h2k_le16 (p + 8), key = h2k_le16 (p + 10);

      if (h2k_le16 (p + 12) & 2)
        return TRUE;
      if (length < 16 || length > end - entry || key < 66 || key > length - 16
          || 66 + p[16 + 64] * 2u > key)
        return FALSE;
      for (guint i = 0; i < N_FILES; i++)
        if (same_name (p + 16 + 66, p[16 + 64], root_files[i]))
          refs[i] = h2k_le64 (p);
      entry += length;
    }
  return FALSE;
}

/* Look through those blocks of the root directory's index that are in use. There are few, so they
 * are not searched as the tree that they are: that would need the volume's own idea of upper case.
 */
static gboolean
scan_blocks (NtfsUsage *usage, guint block_size, guint64 *refs, GError **error)
{
  NtfsVolume *ntfs = &usage->ntfs;
  g_autoptr (NtfsStream) nodes = NULL;
  g_autoptr (NtfsStream) bitmap = NULL;
  g_autofree guint8 *block = g_malloc (block_size);
  guint64 n_blocks;

  if (!h2k_ntfs_stream (ntfs, NTFS_FILE_ROOT, 0, NTFS_INDEX_ALLOCATION, "$I30", &nodes, error)
      || !h2k_ntfs_stream (ntfs, NTFS_FILE_ROOT, 0, NTFS_BITMAP, "$I30", &bitmap, error))
    return FALSE;
  n_blocks = nodes ? nodes->size / block_size : 0;
  if (n_blocks > MAX_INDEX_BLOCKS)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: its root directory is too large to look for a hibernation file in",
                   ntfs->disk->name);
      return FALSE;
    }
  for (guint64 i = 0; i < n_blocks; i++)
    {
      guint8 bits;
      if (!bitmap || i / 8 >= bitmap->size)
        return h2k_ntfs_corrupt (ntfs, error, "its root directory is damaged");
      if (!h2k_ntfs_read (ntfs, bitmap, i / 8, 1, &bits, error))
        return FALSE;
      if (!(bits >> (i % 8) & 1))
        continue;
      if (!h2k_ntfs_read (ntfs, nodes, i * block_size, block_size, block, error))
        return FALSE;
      if (!h2k_ntfs_fix (block, block_size, "INDX") || !scan_node (block, block_size, 24, refs))
        return h2k_ntfs_corrupt (ntfs, error, "its root directory is damaged");
    }
  return TRUE;
}

/* The references to the files of root_files; 0: there is none. */
static gboolean
find_root_files (NtfsUsage *usage, guint64 *refs, GError **error)
{
  g_autoptr (NtfsStream) root = NULL;
  guint block_size;

  if (!h2k_ntfs_stream (&usage->ntfs, NTFS_FILE_ROOT, 0, NTFS_INDEX_ROOT, "$I30", &root, error))
    return FALSE;
  /* le32 8 bytes of a block; the node's header at 16, its u8 12 flags (1: there are blocks) */
  if (!root || !root->value || root->size < 32)
    return h2k_ntfs_corrupt (&usage->ntfs, error, "its root directory is damaged");
  block_size = h2k_le32 (root->value + 8);
  if (block_size < 512 || block_size > 65536 || (block_size & (block_size - 1))
      || !scan_node (root->value, root->size, 16, refs))
    return h2k_ntfs_corrupt (&usage->ntfs, error, "its root directory is damaged");
  return !(root->value[16 + 12] & 1) || scan_blocks (usage, block_size, refs, error);
}

static gboolean
open_file (NtfsUsage *usage, guint64 ref, NtfsStream **stream, GError **error)
{
  *stream = NULL;
  return ref == 0
         || h2k_ntfs_stream (&usage->ntfs, ref & 0xffffffffffffull, (guint)(ref >> 48), NTFS_DATA,
                             "", stream, error);
}

/* A Windows that is to continue from HIBERFIL has the volume's changes in its memory image. */
static gboolean
check_hibernation (NtfsUsage *usage, const NtfsStream *hiberfil, GError **error)
{
  char magic[4];

  if (!hiberfil || hiberfil->size < sizeof magic)
    return TRUE;
  if (hiberfil->flags)
    return unclean (usage, error, "its hiberfil.sys is compressed or encrypted");
  if (!h2k_ntfs_read (&usage->ntfs, hiberfil, 0, sizeof magic, magic, error))
    return FALSE;
  if (g_ascii_strncasecmp (magic, "hibr", sizeof magic) == 0)
    return unclean (usage, error, "its Windows is hibernated, or was shut down with fast startup");
  return TRUE;
}

static void
drop_file (NtfsUsage *usage, const NtfsStream *file)
{
  if (!file || file->flags)
    return;
  for (guint i = 0; i < file->runs->len; i++)
    {
      const NtfsRun *run = &g_array_index (file->runs, NtfsRun, i);
      Range range = {run->lcn, run->lcn + run->count};
      if (run->lcn != NTFS_SPARSE)
        g_array_append_val (usage->dropped, range);
    }
}

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const Range *p = a, *q = b;

  return p->first < q->first ? -1 : p->first > q->first;
}

static gboolean
look_at_root (NtfsUsage *usage, gboolean drop_swap, GError **error)
{
  guint64 refs[N_FILES] = {0};

  if (!find_root_files (usage, refs, error))
    return FALSE;
  for (guint i = 0; i < N_FILES; i++)
    {
      g_autoptr (NtfsStream) file = NULL;
      if (i != FILE_HIBERNATION && !drop_swap)
        break;
      if (!open_file (usage, refs[i], &file, error)
          || (i == FILE_HIBERNATION && !check_hibernation (usage, file, error)))
        return FALSE;
      if (drop_swap)
        drop_file (usage, file);
    }
  g_array_sort (usage->dropped, compare_ranges);
  for (guint i = 1; i < usage->dropped->len; i++)
    if (g_array_index (usage->dropped, Range, i).first
        < g_array_index (usage->dropped, Range, i - 1).end)
      return h2k_ntfs_corrupt (&usage->ntfs, error, "two files have the same clusters");
  return TRUE;
}

/* --- the driver ------------------------------------------------------------------------------- */

static gboolean
ntfs_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  NtfsUsage *usage = (NtfsUsage *)base;
  guint size = usage->ntfs.cluster_size;
  guint64 cluster = offset / size, count;
  gboolean used = TRUE;

  *extent = (H2kExtent){offset, base->volume->size - offset, H2K_EXTENT_DATA};
  if (cluster >= usage->known)
    return TRUE;
  if (!look_up (usage, cluster, G_MAXUINT64, &count, &used, error))
    return FALSE;
  extent->length = (cluster + count) * size - offset;
  extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  return TRUE;
}

static void
ntfs_usage_close (H2kUsage *base)
{
  NtfsUsage *usage = (NtfsUsage *)base;

  h2k_ntfs_clear (&usage->ntfs);
  h2k_ntfs_stream_free (usage->bitmap);
  g_array_unref (usage->dropped);
  h2k_cache_free (usage->windows);
  g_free (usage);
}

static H2kUsage *
ntfs_usage_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  NtfsUsage *usage = g_new0 (NtfsUsage, 1);

  h2k_usage_init (&usage->base, &h2k_ntfs_usage_ops, volume);
  usage->dropped = g_array_new (FALSE, FALSE, sizeof (Range));
  usage->windows = h2k_cache_new (MAX_CACHED);
  /* What is dropped comes before the check of the bitmap: it must not be the filesystem's own. */
  if (h2k_ntfs_open (&usage->ntfs, volume, error) && check_flags (usage, error)
      && check_log (usage, error) && check_shadows (usage, error)
      && look_at_root (usage, drop_swap, error) && open_bitmap (usage, error)
      && check_metadata (usage, error))
    return &usage->base;
  h2k_usage_free (&usage->base);
  return NULL;
}

static gboolean
ntfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "ntfs");
}

const H2kUsageOps h2k_ntfs_usage_ops = {
    .name = "ntfs",
    .takes = ntfs_takes,
    .open = ntfs_usage_open,
    .used = ntfs_used,
    .close = ntfs_usage_close,
};
