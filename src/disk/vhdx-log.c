/* vhdx-log.c - the log of a VHDX file, replayed in memory: a file that shows the updates which a
 * writer logged and did not live to make, over the file as it is.
 *
 * Follows section 2.3 of [MS-VHDX]. The log is a ring of entries, each a header with descriptors
 * and then a data sector for each data descriptor, in units of 4 KiB. It is held in memory as a
 * whole; the updates are ranges that are zeros or point into it, so that a descriptor which zeroes
 * gigabytes costs no more than any other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vhdx.h"

#define SECTOR 4096u
#define DESCRIPTOR 32u /* bytes */
#define MAX_LOG ((guint32)64 << 20)
#define MAX_PATCHES 131072u    /* more than fit into a log of 1 MiB, the usual size */
#define MAX_PADDING (64 << 10) /* of an entry, for hosts with large sectors */

/* All numbers are little-endian. */
typedef struct __attribute__ ((packed))
{
  guint8 signature[4];           /* 0: "loge" */
  guint8 checksum[4];            /* 4: CRC-32C of the whole entry */
  guint8 entry_length[4];        /* 8: bytes */
  guint8 tail[4];                /* 12: offset in the log of the oldest entry still needed */
  guint8 sequence_number[8];     /* 16 */
  guint8 descriptor_count[4];    /* 24 */
  guint8 reserved[4];            /* 28 */
  H2kVhdxGuid log_guid;          /* 32 */
  guint8 flushed_file_offset[8]; /* 48: the file was at least this long */
  guint8 last_file_offset[8];    /* 56: the file has to be at least this long */
} EntryHeader;
G_STATIC_ASSERT (sizeof (EntryHeader) == 64);

typedef struct __attribute__ ((packed))
{
  guint8 signature[4];       /* 0: "desc", or "zero" */
  guint8 trailing_bytes[4];  /* 4: "desc": the last bytes of the update */
  guint8 leading_bytes[8];   /* 8: "desc": its first bytes; "zero": how many bytes */
  guint8 file_offset[8];     /* 16 */
  guint8 sequence_number[8]; /* 24 */
} Descriptor;
G_STATIC_ASSERT (sizeof (Descriptor) == DESCRIPTOR);

typedef struct __attribute__ ((packed))
{
  guint8 signature[4];     /* 0: "data" */
  guint8 sequence_high[4]; /* 4 */
  guint8 data[4084];       /* 8 */
  guint8 sequence_low[4];  /* 4092 */
} DataSector;
G_STATIC_ASSERT (sizeof (DataSector) == SECTOR);

/* A valid entry. */
typedef struct
{
  guint32 offset, length; /* in the log */
  guint32 tail;
  guint32 descriptors;
  guint64 sequence;
  guint64 flushed_size, last_size;
} Entry;

typedef struct
{
  const char *name; /* of the file */
  guint8 *data;
  guint32 length;
  H2kVhdxGuid guid;
} Log;

/* An update, in the place of the file's own bytes. */
typedef struct
{
  guint64 offset, length;
  const guint8 *data; /* NULL: zeros */
} Patch;

typedef struct
{
  H2kFile file;
  H2kFile *base;
  guint8 *log;     /* what the patches point to */
  GArray *patches; /* Patch, by offset, not overlapping */
} ReplayedFile;

static gboolean set_damaged (GError **error, const char *name, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* Always FALSE. */
static gboolean
set_damaged (GError **error, const char *name, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: was not closed cleanly, and the log that would complete it cannot be replayed: "
               "%s; open it once in Hyper-V (Mount-VHD), or use another copy",
               name, what);
  return FALSE;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* The sector INDEX sectors behind OFFSET; the log is a ring. */
static guint8 *
sector_at (const Log *log, guint32 offset, guint64 index)
{
  return log->data + (offset + index * SECTOR) % log->length;
}

guint32
h2k_vhdx_crc (const guint8 *data, gsize length)
{
  static const guint8 zeros[4] = {0};
  guint32 crc = h2k_crc32c (~0u, data, 4);

  crc = h2k_crc32c (crc, zeros, sizeof zeros);
  return h2k_crc32c (crc, data + 8, length - 8);
}

static guint32
entry_crc (const Log *log, const Entry *entry)
{
  guint32 straight = MIN (entry->length, log->length - entry->offset);
  guint32 crc = h2k_vhdx_crc (log->data + entry->offset, straight);

  return ~h2k_crc32c (crc, log->data, entry->length - straight);
}

/* The sectors that COUNT descriptors behind a header take. */
static guint64
descriptor_sectors (guint32 count)
{
  return (sizeof (EntryHeader) + (guint64)count * DESCRIPTOR + SECTOR - 1) / SECTOR;
}

static Descriptor *
descriptor_at (const Log *log, const Entry *entry, guint32 i)
{
  guint64 at = sizeof (EntryHeader) + (guint64)i * DESCRIPTOR;

  return (Descriptor *)(sector_at (log, entry->offset, at / SECTOR) + at % SECTOR);
}

static gboolean
is_data (const Descriptor *descriptor)
{
  return memcmp (descriptor->signature, "desc", 4) == 0;
}

static gboolean
check_descriptor (const Descriptor *descriptor, guint64 sequence)
{
  guint64 offset = h2k_le64 (descriptor->file_offset), length = SECTOR;

  if (memcmp (descriptor->signature, "zero", 4) == 0)
    length = h2k_le64 (descriptor->leading_bytes);
  else if (!is_data (descriptor))
    return FALSE;
  return h2k_le64 (descriptor->sequence_number) == sequence && offset % SECTOR == 0
         && length % SECTOR == 0 && offset <= G_MAXINT64 && length <= G_MAXINT64 - offset;
}

static gboolean
check_data_sector (const guint8 *raw, guint64 sequence)
{
  const DataSector *sector = (const DataSector *)raw;

  return memcmp (sector->signature, "data", 4) == 0
         && h2k_le32 (sector->sequence_high) == sequence >> 32
         && h2k_le32 (sector->sequence_low) == (guint32)sequence;
}

/* Whether every descriptor and data sector of ENTRY bears its sequence number. No sector can pass
 * for a part of two entries, so that looking for entries everywhere takes no more than one pass. */
static gboolean
check_body (const Log *log, const Entry *entry)
{
  guint64 sectors = descriptor_sectors (entry->descriptors), total = entry->length / SECTOR;

  if (sectors > total)
    return FALSE;
  for (guint32 i = 0; i < entry->descriptors; i++)
    {
      const Descriptor *descriptor = descriptor_at (log, entry, i);

      if (!check_descriptor (descriptor, entry->sequence))
        return FALSE;
      if (!is_data (descriptor))
        continue;
      if (sectors == total
          || !check_data_sector (sector_at (log, entry->offset, sectors), entry->sequence))
        return FALSE;
      sectors++;
    }
  return (total - sectors) * SECTOR < MAX_PADDING;
}

/* Whether there is a valid entry at OFFSET of the log; ENTRY is filled in. */
static gboolean
parse_entry (const Log *log, guint32 offset, Entry *entry)
{
  const EntryHeader *header = (const EntryHeader *)(log->data + offset);

  if (memcmp (header->signature, "loge", 4) != 0
      || !h2k_vhdx_guid_equal (&header->log_guid, &log->guid))
    return FALSE;
  *entry = (Entry){
      .offset = offset,
      .length = h2k_le32 (header->entry_length),
      .tail = h2k_le32 (header->tail),
      .descriptors = h2k_le32 (header->descriptor_count),
      .sequence = h2k_le64 (header->sequence_number),
      .flushed_size = h2k_le64 (header->flushed_file_offset),
      .last_size = h2k_le64 (header->last_file_offset),
  };
  return entry->length >= SECTOR && entry->length <= log->length && entry->length % SECTOR == 0
         && entry->tail < log->length && entry->tail % SECTOR == 0 && entry->sequence > 0
         && entry->last_size <= G_MAXINT64 && check_body (log, entry)
         && entry_crc (log, entry) == h2k_le32 (header->checksum);
}

/* All valid entries, by their place. */
static GArray *
find_entries (const Log *log)
{
  GArray *entries = g_array_new (FALSE, FALSE, sizeof (Entry));

  for (guint64 at = 0; at < log->length;)
    {
      Entry entry;
      gboolean valid = parse_entry (log, (guint32)at, &entry);

      if (valid)
        g_array_append_val (entries, entry);
      at += valid ? entry.length : SECTOR;
    }
  return entries;
}

/* --- the active sequence ---------------------------------------------------------------------- */

/* Entry I of the ring that the valid ones are. */
static const Entry *
ring_entry (const GArray *entries, guint i)
{
  return &g_array_index (entries, Entry, i % entries->len);
}

/* Whether entry I was written right behind the one before it. */
static gboolean
continues (const Log *log, const GArray *entries, guint i)
{
  const Entry *entry = ring_entry (entries, i);
  const Entry *before = ring_entry (entries, i + entries->len - 1);

  return ((guint64)before->offset + before->length) % log->length == entry->offset
         && before->sequence + 1 == entry->sequence;
}

/* Find the newest complete sequence: COUNT entries from FIRST (an index into the ring). A run of
 * entries is complete when it holds the one that its last entry calls the tail; what lies before
 * that had reached its place when the last entry was written. */
static gboolean
find_active (const Log *log, const GArray *entries, guint *first, guint *count)
{
  guint64 newest = 0;

  for (guint i = 0; i < entries->len; i++)
    {
      guint head = i, tail = i;

      if (continues (log, entries, i)) /* not the first of its run */
        continue;
      while (head + 1 < i + entries->len && continues (log, entries, head + 1))
        head++;
      while (tail <= head && ring_entry (entries, tail)->offset != ring_entry (entries, head)->tail)
        tail++;
      if (tail > head || ring_entry (entries, head)->sequence <= newest)
        continue;
      newest = ring_entry (entries, head)->sequence;
      *first = tail;
      *count = head - tail + 1;
    }
  return newest > 0;
}

/* --- patches ---------------------------------------------------------------------------------- */

static int
compare_offsets (gconstpointer a, gconstpointer b, gpointer unused)
{
  guint64 x = *(const guint64 *)a, y = *(const guint64 *)b;

  return (x > y) - (x < y);
}

static void
insert_patch (GTree *patches, guint64 offset, guint64 end, const guint8 *data)
{
  Patch *patch;

  if (offset == end)
    return;
  patch = g_new (Patch, 1);
  *patch = (Patch){offset, end - offset, data};
  g_tree_insert (patches, &patch->offset, patch);
  /* cppcheck-suppress memleak ; the tree owns it */
}

/* Take what lies between OFFSET and END out of PATCHES. Only zeros can be left in part: data come
 * by sectors, and every border is a sector's. */
static void
cut_out (GTree *patches, guint64 offset, guint64 end)
{
  GTreeNode *node = g_tree_upper_bound (patches, &offset);
  GTreeNode *before = node ? g_tree_node_previous (node) : g_tree_node_last (patches);

  for (node = before ? before : node; node;)
    {
      Patch patch = *(Patch *)g_tree_node_value (node);

      if (patch.offset >= end)
        break;
      if (patch.offset + patch.length > offset)
        {
          g_tree_remove (patches, &patch.offset);
          insert_patch (patches, patch.offset, MAX (patch.offset, offset), patch.data);
          insert_patch (patches, MIN (end, patch.offset + patch.length),
                        patch.offset + patch.length, patch.data);
        }
      node = g_tree_upper_bound (patches, &patch.offset);
    }
}

/* Make the updates of ENTRY. The bytes of a data sector that its signature and number took the
 * place of are put back, in the log in memory. */
static gboolean
apply_entry (const Log *log, const Entry *entry, GTree *patches, GError **error)
{
  guint64 sector = descriptor_sectors (entry->descriptors);

  for (guint32 i = 0; i < entry->descriptors; i++)
    {
      const Descriptor *descriptor = descriptor_at (log, entry, i);
      guint64 offset = h2k_le64 (descriptor->file_offset);
      guint64 length = is_data (descriptor) ? SECTOR : h2k_le64 (descriptor->leading_bytes);
      guint8 *data = NULL;

      if (is_data (descriptor))
        {
          data = sector_at (log, entry->offset, sector++);
          memcpy (data, descriptor->leading_bytes, 8);
          memcpy (data + SECTOR - 4, descriptor->trailing_bytes, 4);
        }
      cut_out (patches, offset, offset + length);
      insert_patch (patches, offset, offset + length, data);
      if (g_tree_nnodes (patches) > (int)MAX_PATCHES)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                       "%s: its log holds more than %u updates, which is more than is replayed "
                       "here; open it once in Hyper-V (Mount-VHD)",
                       log->name, MAX_PATCHES);
          return FALSE;
        }
    }
  return TRUE;
}

static gboolean
append_patch (gpointer key, gpointer value, gpointer patches)
{
  g_array_append_vals (patches, value, 1);
  return FALSE;
}

/* The updates of COUNT entries from FIRST of the ring, by their place in the file. */
static GArray *
collect_patches (const Log *log, const GArray *entries, guint first, guint count, GError **error)
{
  g_autoptr (GTree) tree = g_tree_new_full (compare_offsets, NULL, NULL, g_free);
  GArray *patches;

  for (guint i = 0; i < count; i++)
    if (!apply_entry (log, ring_entry (entries, first + i), tree, error))
      return NULL;
  patches = g_array_new (FALSE, FALSE, sizeof (Patch));
  g_tree_foreach (tree, append_patch, patches);
  return patches;
}

/* --- the file --------------------------------------------------------------------------------- */

/* The first patch that ends behind OFFSET; NULL behind the last one. */
static const Patch *
find_patch (const ReplayedFile *replayed, guint64 offset)
{
  guint low = 0, high = replayed->patches->len;

  while (low < high)
    {
      guint middle = low + (high - low) / 2;
      const Patch *patch = &g_array_index (replayed->patches, Patch, middle);

      if (patch->offset + patch->length <= offset)
        low = middle + 1;
      else
        high = middle;
    }
  return low < replayed->patches->len ? &g_array_index (replayed->patches, Patch, low) : NULL;
}

static gboolean
replayed_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  const ReplayedFile *replayed = (ReplayedFile *)file;
  guint8 *out = buffer;

  while (length)
    {
      const Patch *patch = find_patch (replayed, offset);
      gboolean patched = patch && patch->offset <= offset;
      guint64 end = !patch ? file->size : patched ? patch->offset + patch->length : patch->offset;
      gsize n = (gsize)MIN (length, end - offset);

      if (patched && patch->data)
        memcpy (out, patch->data + (offset - patch->offset), n);
      else if (patched)
        memset (out, 0, n);
      else if (!h2k_file_pread_or_zero (replayed->base, offset, n, out, error))
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
replayed_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  const ReplayedFile *replayed = (ReplayedFile *)file;
  const Patch *patch = find_patch (replayed, offset);

  if (patch && patch->offset <= offset)
    {
      extent->length = patch->offset + patch->length - offset;
      extent->kind = patch->data ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
      return TRUE;
    }
  if (offset >= replayed->base->size)
    extent->kind = H2K_EXTENT_UNALLOCATED;
  else if (!h2k_file_extent (replayed->base, offset, extent, error))
    return FALSE;
  if (patch)
    extent->length = MIN (extent->length, patch->offset - offset);
  return TRUE;
}

static void
replayed_will_need (H2kFile *file, guint64 offset, guint64 length)
{
  h2k_file_will_need (((ReplayedFile *)file)->base, offset, length);
}

static void
replayed_finalize (H2kFile *file)
{
  ReplayedFile *replayed = (ReplayedFile *)file;

  h2k_file_unref (replayed->base);
  g_array_unref (replayed->patches);
  g_free (replayed->log);
}

static const H2kFileOps replayed_ops = {
    .pread = replayed_pread,
    .extent = replayed_extent,
    .will_need = replayed_will_need,
    .finalize = replayed_finalize,
};

/* BASE under PATCHES, at least SIZE bytes long. Takes PATCHES and LOG. */
static H2kFile *
replayed_new (H2kFile *base, GArray *patches, guint8 *log, guint64 size)
{
  ReplayedFile *replayed = g_new0 (ReplayedFile, 1);

  if (patches->len)
    {
      const Patch *last = &g_array_index (patches, Patch, patches->len - 1);
      size = MAX (size, last->offset + last->length);
    }
  h2k_file_init (&replayed->file, &replayed_ops, MAX (size, base->size), base->path);
  replayed->file.sector_size = base->sector_size;
  replayed->file.is_device = base->is_device;
  replayed->file.dev = base->dev;
  replayed->file.ino = base->ino;
  replayed->base = h2k_file_ref (base);
  replayed->patches = patches;
  replayed->log = log;
  return &replayed->file;
}

static gboolean
check_place (const H2kFile *file, guint64 offset, guint32 length, GError **error)
{
  if (length == 0 || offset > file->size || length > file->size - offset)
    return set_damaged (error, file->name,
                        "the log (%u bytes at %" G_GUINT64_FORMAT
                        ") does not lie within the file, which ends at %" G_GUINT64_FORMAT,
                        length, offset, file->size);
  if (length <= MAX_LOG)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: was not closed cleanly, and its log of %u MiB is larger than the %u MiB that "
               "are replayed here; open it once in Hyper-V (Mount-VHD)",
               file->name, length >> 20, MAX_LOG >> 20);
  return FALSE;
}

H2kFile *
h2k_vhdx_log_replay (H2kFile *file, guint64 offset, guint32 length, const H2kVhdxGuid *guid,
                     GError **error)
{
  g_autoptr (GArray) entries = NULL;
  g_autofree guint8 *data = NULL;
  GArray *patches;
  const Entry *head;
  guint first, count;
  Log log;

  if (!check_place (file, offset, length, error))
    return NULL;
  data = g_malloc (length);
  if (!h2k_file_pread (file, offset, length, data, error))
    return NULL;
  log = (Log){file->name, data, length, *guid};
  entries = find_entries (&log);
  if (!find_active (&log, entries, &first, &count))
    {
      set_damaged (error, file->name, "it has no complete sequence of entries (%u are valid)",
                   entries->len);
      return NULL;
    }
  head = ring_entry (entries, first + count - 1);
  if (file->size < head->flushed_size)
    {
      set_damaged (error, file->name,
                   "the file is truncated, it had %" G_GUINT64_FORMAT
                   " bytes and has %" G_GUINT64_FORMAT,
                   head->flushed_size, file->size);
      return NULL;
    }
  patches = collect_patches (&log, entries, first, count, error);
  if (!patches)
    return NULL;
  g_message ("%s: was not closed cleanly; its log was replayed in memory (%u entries), the file "
             "stays as it is",
             file->name, count);
  return replayed_new (file, patches, g_steal_pointer (&data), head->last_size);
}
