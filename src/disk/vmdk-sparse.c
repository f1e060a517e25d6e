/* vmdk-sparse.c - hosted sparse extents and stream-optimised compressed ones, as "H2kVmdkHosted
 * Sparse Extents" and "Stream-Optimized Compressed Sparse Extents" of VMware's "Virtual Disk
 * Format 5.0".
 *
 * The extent's space is cut into grains (64 KiB as a rule). The grain directory (GD) points to
 * grain tables (GT) of 512 entries (GTE), which point to grains; all pointers count sectors of the
 * file, 0 means nothing there. A compressed grain is preceded by a marker with its size and the
 * sector that it belongs to.
 *
 * The directory is held in memory, tables and partly read compressed grains in bounded caches. A
 * read of many compressed grains takes them from the file in large pieces, since they lie there
 * one after the other, and decompresses each into the caller's buffer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk-hosted.h"

#include <libdeflate.h>

#define MAGIC 0x564d444bu /* "KDMV" */
#define VERSION_MAX 3
#define GD_AT_END G_MAXUINT64
#define GRAIN_SECTORS_MIN 8
#define GRAIN_SECTORS_MAX 32768 /* 16 MiB; 128 (64 KiB) is what everybody writes */
#define AHEAD (8u << 20)        /* bytes of the file that are asked for before they are needed */
#define AHEAD_PIECE (256u << 10)
#define SPAN_MAX (1024 * 1024) /* compressed bytes read at once, unless one grain needs more */
#define OPEN_TABLES_MAX 16384  /* read at open: 512 GiB of disk with grains of 64 KiB */
#define EXTENT_TABLES_MAX 8    /* looked into for one answer about extents */

enum
{
  COMPRESSION_NONE = 0,
  COMPRESSION_DEFLATE = 1,
};

enum
{
  MARKER_EOS = 0,
  MARKER_FOOTER = 3,
};

/* The header, and the footer of a stream. */
typedef struct __attribute__ ((packed))
{
  guint32 magicNumber;       /* 0x00 */
  guint32 version;           /* 0x04 */
  guint32 flags;             /* 0x08 */
  guint64 capacity;          /* 0x0c: sectors */
  guint64 grainSize;         /* 0x14: sectors */
  guint64 descriptorOffset;  /* 0x1c: sectors; 0: none */
  guint64 descriptorSize;    /* 0x24: sectors */
  guint32 numGTEsPerGT;      /* 0x2c */
  guint64 rgdOffset;         /* 0x30: the redundant grain directory, sectors */
  guint64 gdOffset;          /* 0x38: sectors */
  guint64 overHead;          /* 0x40: sectors taken by metadata */
  guint8 uncleanShutdown;    /* 0x48 */
  char singleEndLineChar;    /* 0x49: '\n' */
  char nonEndLineChar;       /* 0x4a: ' ' */
  char doubleEndLineChar1;   /* 0x4b: '\r' */
  char doubleEndLineChar2;   /* 0x4c: '\n' */
  guint16 compressAlgorithm; /* 0x4d */
  guint8 pad[433];           /* 0x4f */
} SparseExtentHeader;
G_STATIC_ASSERT (sizeof (SparseExtentHeader) == H2K_VMDK_SECTOR);

/* What precedes metadata, in a sector of its own. */
typedef struct __attribute__ ((packed))
{
  guint64 val;     /* 0x00: sectors of metadata that follow */
  guint32 size;    /* 0x08: 0 */
  guint32 type;    /* 0x0c: MARKER_... */
  guint8 pad[496]; /* 0x10 */
} Marker;
G_STATIC_ASSERT (sizeof (Marker) == H2K_VMDK_SECTOR);

/* --- errors ----------------------------------------------------------------------------------- */

#define set_corrupt(s, error, ...) h2k_set_corrupt (error, "VMDK", (s)->name, __VA_ARGS__)

static gboolean
read_at (const H2kVmdkHosted *s, guint64 offset, gsize length, void *buffer, GError **error)
{
  if (offset > s->file->size || length > s->file->size - offset)
    return set_corrupt (s, error, "it ends before byte %" G_GUINT64_FORMAT, offset + length);
  return h2k_file_pread (s->file, offset, length, buffer, error);
}

/* A large read of a stream is followed by what lies behind it: ask for that now, so that reading
 * goes on while grains are decompressed. ASKED is a hint only: that threads race for it is fine. */
static void
read_ahead (H2kVmdkHosted *s, guint64 end)
{
  guint64 asked = (guint64)g_atomic_int_get (&s->asked) * AHEAD_PIECE;
  guint64 limit = MIN (end + AHEAD, s->file->size);

  if (asked < end || asked > end + 2 * AHEAD)
    asked = end / AHEAD_PIECE * AHEAD_PIECE;
  if (asked + AHEAD_PIECE > limit)
    return;
  limit -= (limit - asked) % AHEAD_PIECE;
  h2k_file_will_need (s->file, asked, limit - asked);
  asked = limit;
  g_atomic_int_set (&s->asked, (gint)(asked / AHEAD_PIECE));
}

/* --- scratch memory of a thread --------------------------------------------------------------- */

typedef struct
{
  struct libdeflate_decompressor *decompressor;
  guint8 *buffer;
  gsize size;
} Scratch;

static void
free_scratch (gpointer data)
{
  Scratch *scratch = data;

  libdeflate_free_decompressor (scratch->decompressor);
  g_free (scratch->buffer);
  g_free (scratch);
}

static Scratch *
get_scratch (gsize size)
{
  static GPrivate key = G_PRIVATE_INIT (free_scratch);
  Scratch *scratch = g_private_get (&key);

  if (!scratch)
    {
      scratch = g_new0 (Scratch, 1);
      scratch->decompressor = libdeflate_alloc_decompressor ();
      if (!scratch->decompressor)
        g_error ("out of memory");
      g_private_set (&key, scratch);
    }
  if (scratch->size < size)
    {
      g_free (scratch->buffer);
      scratch->buffer = g_malloc (size);
      scratch->size = size;
    }
  return scratch;
}

/* --- header ----------------------------------------------------------------------------------- */

static gboolean
check_magic (const H2kVmdkHosted *s, const SparseExtentHeader *h, GError **error)
{
  if (GUINT32_FROM_LE (h->magicNumber) == MAGIC)
    return TRUE;
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_FORMAT,
      "%s is not a VMDK: it is neither a descriptor nor a sparse extent, which starts with "
      "\"KDMV\"; if it should be one, fetch it again, and if it is a raw image, say so "
      "by naming its format",
      s->name);
  return FALSE;
}

/* Bytes that a text-mode transfer changes. A file so damaged has moved the others, too. */
static gboolean
check_newlines (const H2kVmdkHosted *s, const SparseExtentHeader *h, GError **error)
{
  if (!(GUINT32_FROM_LE (h->flags) & H2K_VMDK_FLAG_NEWLINE_TEST)
      || memcmp (&h->singleEndLineChar, "\n \r\n", 4) == 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s was damaged by a transfer that treated it as text (the newline test bytes of "
               "its header are changed): fetch it again in binary mode",
               s->name);
  return FALSE;
}

static gboolean
set_unsupported (const H2kVmdkHosted *s, GError **error, const char *what, guint64 value)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: %s %" G_GUINT64_FORMAT " is not supported: export the VM as OVF or OVA, and "
               "use that",
               s->name, what, value);
  return FALSE;
}

/* Is [FIRST, FIRST + COUNT) sectors inside the file? */
static gboolean
in_file (const H2kVmdkHosted *s, guint64 first, guint64 count)
{
  guint64 sectors = s->file->size / H2K_VMDK_SECTOR;

  return first <= sectors && count <= sectors - first;
}

/* Check header H field by field and take over what is needed. */
static gboolean
parse_header (H2kVmdkHosted *s, const SparseExtentHeader *h, GError **error)
{
  guint64 capacity = GUINT64_FROM_LE (h->capacity), grain = GUINT64_FROM_LE (h->grainSize);
  guint64 tables, descriptor = GUINT64_FROM_LE (h->descriptorOffset);
  guint32 version = GUINT32_FROM_LE (h->version), entries = GUINT32_FROM_LE (h->numGTEsPerGT);
  guint16 algorithm = GUINT16_FROM_LE (h->compressAlgorithm);

  if (!check_newlines (s, h, error))
    return FALSE;
  s->flags = GUINT32_FROM_LE (h->flags);
  s->base.compressed = algorithm == COMPRESSION_DEFLATE;
  if (version < 1 || version > VERSION_MAX)
    return set_unsupported (s, error, "VMDK version", version);
  if (algorithm != COMPRESSION_NONE && algorithm != COMPRESSION_DEFLATE)
    return set_unsupported (s, error, "compression algorithm", algorithm);
  if (s->base.compressed != !!(s->flags & H2K_VMDK_FLAG_COMPRESSED)
      || (s->base.compressed && !(s->flags & H2K_VMDK_FLAG_MARKERS)))
    return set_corrupt (s, error, "its header's flags (0x%x) do not fit compression algorithm %u",
                        s->flags, algorithm);
  if (grain < GRAIN_SECTORS_MIN || grain > GRAIN_SECTORS_MAX || (grain & (grain - 1)))
    return set_corrupt (s, error,
                        "its header has an impossible grain size (%" G_GUINT64_FORMAT " sectors)",
                        grain);
  if (entries != H2K_VMDK_TABLE_ENTRIES)
    return set_corrupt (s, error, "its header says %u entries in a grain table instead of 512",
                        entries);
  if (capacity == 0 || capacity > G_MAXINT64 / H2K_VMDK_SECTOR)
    return set_corrupt (s, error,
                        "its header has an impossible capacity (%" G_GUINT64_FORMAT " sectors)",
                        capacity);
  tables = (capacity - 1) / (grain * H2K_VMDK_TABLE_ENTRIES) + 1;
  if (tables > H2K_VMDK_TABLES_MAX)
    return set_corrupt (s, error,
                        "its header has an impossible capacity (%" G_GUINT64_FORMAT
                        " sectors) for a grain size of %" G_GUINT64_FORMAT " sectors",
                        capacity, grain);
  if (descriptor && !in_file (s, descriptor, GUINT64_FROM_LE (h->descriptorSize)))
    return set_corrupt (s, error, "the embedded descriptor lies past the end of the file");
  if (!in_file (s, GUINT64_FROM_LE (h->overHead), 0))
    return set_corrupt (s, error, "the metadata reaches past the end of the file");

  s->base.size = capacity * H2K_VMDK_SECTOR;
  s->base.grain_size = (guint32)grain * H2K_VMDK_SECTOR;
  s->grains = (capacity - 1) / grain + 1;
  s->base.tables = (guint32)tables;
  s->descriptor_offset = descriptor * H2K_VMDK_SECTOR;
  s->descriptor_size = descriptor ? GUINT64_FROM_LE (h->descriptorSize) * H2K_VMDK_SECTOR : 0;
  if (h->uncleanShutdown)
    g_debug ("%s was not closed cleanly", s->name);
  return TRUE;
}

/* A stream ends with a footer marker, the footer and an end-of-stream marker: the footer is a copy
 * of the header that knows where the directory is. */
static gboolean
read_footer (const H2kVmdkHosted *s, SparseExtentHeader *h, GError **error)
{
  struct
  {
    Marker marker;
    SparseExtentHeader footer;
    Marker end;
  } tail;
  const char *missing = "it is a stream whose end is missing (no footer)";

  if (s->file->size < sizeof *h + sizeof tail || s->file->size % H2K_VMDK_SECTOR)
    return set_corrupt (s, error, "%s", missing);
  if (!read_at (s, s->file->size - sizeof tail, sizeof tail, &tail, error))
    return FALSE;
  if (GUINT32_FROM_LE (tail.footer.magicNumber) != MAGIC || tail.marker.size
      || GUINT32_FROM_LE (tail.marker.type) != MARKER_FOOTER || tail.end.val || tail.end.size
      || GUINT32_FROM_LE (tail.end.type) != MARKER_EOS)
    return set_corrupt (s, error, "%s", missing);
  if (tail.footer.capacity != h->capacity || tail.footer.grainSize != h->grainSize
      || GUINT64_FROM_LE (tail.footer.gdOffset) == GD_AT_END)
    return set_corrupt (s, error, "its footer contradicts its header");
  h->gdOffset = tail.footer.gdOffset;
  h->rgdOffset = tail.footer.rgdOffset;
  return TRUE;
}

/* --- directory and tables --------------------------------------------------------------------- */

/* Entries of table I that stand for grains; the last table may be cut short. */
guint
h2k_vmdk_hosted_table_entries (const H2kVmdkHosted *s, guint64 i)
{
  return (guint)MIN (s->grains - i * H2K_VMDK_TABLE_ENTRIES, H2K_VMDK_TABLE_ENTRIES);
}

gboolean
h2k_vmdk_hosted_has_table (const H2kVmdkHosted *s, guint64 i)
{
  return s->directory[i] > H2K_VMDK_GTE_ZERO;
}

/* Read the directory at SECTOR; FALSE and ERROR when it or one of its tables is not in the file. */
static gboolean
read_directory (H2kVmdkHosted *s, guint64 sector, GError **error)
{
  gsize bytes = (gsize)s->base.tables * 4;

  if (sector == 0 || !in_file (s, sector, (bytes + H2K_VMDK_SECTOR - 1) / H2K_VMDK_SECTOR))
    return set_corrupt (s, error,
                        "the grain directory (sector %" G_GUINT64_FORMAT ") is not inside the file",
                        sector);
  g_free (s->directory);
  s->directory = g_malloc (bytes);
  if (!read_at (s, sector * H2K_VMDK_SECTOR, bytes, s->directory, error))
    return FALSE;
  for (guint32 i = 0; i < s->base.tables; i++)
    {
      s->directory[i] = GUINT32_FROM_LE (s->directory[i]);
      if (h2k_vmdk_hosted_has_table (s, i)
          && (guint64)s->directory[i] * H2K_VMDK_SECTOR + h2k_vmdk_hosted_table_entries (s, i) * 4
                 > s->file->size)
        return set_corrupt (s, error, "grain table %u (sector %u) is not inside the file", i,
                            s->directory[i]);
    }
  return TRUE;
}

/* The primary directory, or the redundant one when the primary is damaged. */
static gboolean
open_directory (H2kVmdkHosted *s, const SparseExtentHeader *h, GError **error)
{
  g_autoptr (GError) primary = NULL;

  s->gd_sector = GUINT64_FROM_LE (h->gdOffset);
  s->rgd_sector = s->flags & H2K_VMDK_FLAG_REDUNDANT_TABLES ? GUINT64_FROM_LE (h->rgdOffset) : 0;
  if (read_directory (s, s->gd_sector, &primary))
    return TRUE;
  if (g_error_matches (primary, H2K_ERROR, H2K_ERROR_FORMAT) && s->rgd_sector
      && read_directory (s, s->rgd_sector, NULL))
    {
      g_message ("%s: the grain directory is damaged; its redundant copy is used", s->name);
      s->by_copy = TRUE;
      return TRUE;
    }
  g_propagate_error (error, g_steal_pointer (&primary));
  return FALSE;
}

/* Table I, which h2k_vmdk_hosted_has_table(); a reference. */
H2kVmdkBlock *
h2k_vmdk_hosted_get_table (H2kVmdkHosted *s, guint64 i, GError **error)
{
  g_autoptr (H2kVmdkBlock) block = h2k_vmdk_cache_get (s->table_cache, s, i);
  gsize bytes = h2k_vmdk_hosted_table_entries (s, i) * 4;

  if (block)
    return g_steal_pointer (&block);
  block = h2k_vmdk_block_new (s, i, H2K_VMDK_TABLE_BYTES);
  memset (block->data + bytes, 0, H2K_VMDK_TABLE_BYTES - bytes);
  if (!read_at (s, (guint64)s->directory[i] * H2K_VMDK_SECTOR, bytes, block->data, error))
    return NULL;
  h2k_vmdk_cache_put (s->table_cache, block);
  return g_steal_pointer (&block);
}

H2kExtentKind
h2k_vmdk_hosted_entry_kind (const H2kVmdkHosted *s, guint32 entry)
{
  if (entry == 0)
    return H2K_EXTENT_UNALLOCATED;
  return entry == H2K_VMDK_GTE_ZERO ? H2K_EXTENT_ZERO : H2K_EXTENT_DATA;
}

static gboolean
set_bad_grain (const H2kVmdkHosted *s, guint64 grain, guint32 entry, const char *why,
               GError **error)
{
  return set_corrupt (s, error,
                      "grain %" G_GUINT64_FORMAT " (at byte %" G_GUINT64_FORMAT
                      " of the disk, at byte %" G_GUINT64_FORMAT " of the file) %s",
                      grain, grain * s->base.grain_size, (guint64)entry * H2K_VMDK_SECTOR, why);
}

/* --- compressed grains ------------------------------------------------------------------------ */

/* The most bytes that a compressed grain can take, marker included; deflate cannot expand data by
 * anything near that. */
static gsize
record_max (const H2kVmdkHosted *s)
{
  return sizeof (H2kVmdkGrainMarker) + 2 * (gsize)s->base.grain_size;
}

/* Check the marker at RECORD (at least a marker's bytes are there): the data's size, or 0. */
gsize
h2k_vmdk_hosted_check_marker (const H2kVmdkHosted *s, guint64 grain, guint32 entry,
                              const guint8 *record, GError **error)
{
  guint64 lba = h2k_le64 (record + G_STRUCT_OFFSET (H2kVmdkGrainMarker, lba));
  guint32 size = h2k_le32 (record + G_STRUCT_OFFSET (H2kVmdkGrainMarker, size));
  guint64 end = (guint64)entry * H2K_VMDK_SECTOR + sizeof (H2kVmdkGrainMarker) + size;

  if (lba != grain * (s->base.grain_size / H2K_VMDK_SECTOR))
    set_bad_grain (s, grain, entry, "has the marker of another grain", error);
  else if (size == 0 || size > record_max (s) - sizeof (H2kVmdkGrainMarker))
    set_bad_grain (s, grain, entry, "has an impossible compressed size", error);
  else if (end > s->file->size)
    set_bad_grain (s, grain, entry, "reaches past the end of the file", error);
  else
    return size;
  return 0;
}

/* Decompress SIZE bytes of DATA into OUT, a whole grain's space. */
gboolean
h2k_vmdk_hosted_inflate (const H2kVmdkHosted *s, guint64 grain, guint32 entry, const guint8 *data,
                         gsize size, guint8 *out, GError **error)
{
  guint64 needed = MIN (s->base.grain_size, s->base.size - grain * s->base.grain_size);
  gsize used, got;
  enum libdeflate_result result;

  result = libdeflate_zlib_decompress_ex (get_scratch (0)->decompressor, data, size, out,
                                          s->base.grain_size, &used, &got);
  if (result == LIBDEFLATE_INSUFFICIENT_SPACE)
    return set_bad_grain (s, grain, entry, "holds more than a grain", error);
  if (result != LIBDEFLATE_SUCCESS)
    return set_bad_grain (s, grain, entry, "cannot be decompressed", error);
  if (got < needed)
    return set_bad_grain (s, grain, entry, "holds less than a grain", error);
  memset (out + got, 0, s->base.grain_size - got);
  return TRUE;
}

/* A grain that has to be read, and where its record lies in the file. */
typedef struct
{
  guint index; /* entry of the table */
  guint64 at;  /* bytes */
  guint64 end; /* at the latest */
} Record;

/* Records that lie close to each other in the file, and are read together. */
typedef struct
{
  guint count;
  guint64 start; /* in the file, bytes */
  gsize length;
} Span;

static int
compare_records (const void *a, const void *b)
{
  const Record *x = a, *y = b;

  return x->at < y->at ? -1 : x->at > y->at;
}

/* Where the record at START ends at the latest; NEXT is where another one starts, which says so
 * more precisely than the largest size that is possible when it lies behind START. */
static guint64
record_end (const H2kVmdkHosted *s, guint64 start, guint64 next)
{
  guint64 end = start + sizeof (H2kVmdkGrainMarker) + s->base.grain_size + s->base.grain_size / 64;

  if (next > start)
    end = MIN (end, next);
  return MIN (end, s->file->size);
}

/* The records of COUNT entries from FIRST of TABLE on, in the file's order, which is not always the
 * table's: writers that compress with several threads mix them. Returns how many there are. */
static guint
find_records (const H2kVmdkHosted *s, const H2kVmdkBlock *table, guint first, guint count,
              Record *records)
{
  guint n = 0;

  for (guint i = first; i < first + count; i++)
    if (h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, i)) == H2K_EXTENT_DATA)
      {
        guint32 next = i + 1 < H2K_VMDK_TABLE_ENTRIES ? h2k_vmdk_hosted_entry (table, i + 1) : 0;
        guint64 at = (guint64)h2k_vmdk_hosted_entry (table, i) * H2K_VMDK_SECTOR;

        if (h2k_vmdk_hosted_entry_kind (s, next) != H2K_EXTENT_DATA)
          next = 0;
        records[n++] = (Record){i, at, record_end (s, at, (guint64)next * H2K_VMDK_SECTOR)};
      }
  qsort (records, n, sizeof *records, compare_records);
  for (guint i = 0; i < n; i++)
    {
      if (i + 1 < n && records[i + 1].at > records[i].at)
        records[i].end = MIN (records[i].end, records[i + 1].at);
      if (records[i].end <= records[i].at) /* outside the file: reading it fails */
        records[i].end = records[i].at + sizeof (H2kVmdkGrainMarker);
    }
  return n;
}

/* The span that starts with the first of COUNT RECORDS. */
static Span
plan_span (const H2kVmdkHosted *s, const Record *records, guint count)
{
  Span span = {1, records->at, (gsize)(records->end - records->at)};

  for (; span.count < count; span.count++)
    {
      const Record *r = &records[span.count];

      if (r->at - r[-1].at > record_max (s) || r->end - span.start > SPAN_MAX
          || r->end > s->file->size)
        break;
      span.length = MAX (span.length, (gsize)(r->end - span.start));
    }
  return span;
}

/* Decompress grain GRAIN, which ENTRY points to, from the span's bytes in BUFFER. */
static gboolean
decode_grain (const H2kVmdkHosted *s, guint64 grain, guint32 entry, const Span *span,
              const guint8 *buffer, guint8 *out, GError **error)
{
  guint64 at = (guint64)entry * H2K_VMDK_SECTOR;
  gsize skip = (gsize)(at - span->start), available = span->length - skip;
  g_autofree guint8 *whole = NULL;
  const guint8 *data;
  gsize size;

  if (available < sizeof (H2kVmdkGrainMarker))
    return set_bad_grain (s, grain, entry, "is not inside the file", error);
  size = h2k_vmdk_hosted_check_marker (s, grain, entry, buffer + skip, error);
  if (size == 0)
    return FALSE;
  data = buffer + skip + sizeof (H2kVmdkGrainMarker);
  if (size > available - sizeof (H2kVmdkGrainMarker))
    {
      /* Incompressible beyond what was foreseen. */
      data = whole = g_malloc (size);
      if (!read_at (s, at + sizeof (H2kVmdkGrainMarker), size, whole, error))
        return FALSE;
    }
  return h2k_vmdk_hosted_inflate (s, grain, entry, data, size, out, error);
}

/* COUNT whole grains from entry FIRST of TABLE on. */
static gboolean
read_compressed (H2kVmdkHosted *s, const H2kVmdkBlock *table, guint first, guint count, guint8 *out,
                 GError **error)
{
  Record records[H2K_VMDK_TABLE_ENTRIES];
  guint n = find_records (s, table, first, count, records);

  for (guint i = first; n < count && i < first + count; i++)
    if (h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, i)) != H2K_EXTENT_DATA)
      memset (out + (gsize)(i - first) * s->base.grain_size, 0, s->base.grain_size);
  for (guint i = 0; i < n;)
    {
      Span span = plan_span (s, &records[i], n - i);
      guint8 *buffer = get_scratch (span.length)->buffer;

      if (span.length >= AHEAD_PIECE)
        read_ahead (s, span.start + span.length);
      if (!read_at (s, span.start, span.length, buffer, error))
        return FALSE;
      for (guint end = i + span.count; i < end; i++)
        {
          guint e = records[i].index;
          if (!decode_grain (s, table->index * H2K_VMDK_TABLE_ENTRIES + e,
                             h2k_vmdk_hosted_entry (table, e), &span, buffer,
                             out + (gsize)(e - first) * s->base.grain_size, error))
            return FALSE;
        }
    }
  return TRUE;
}

/* LENGTH bytes that start WITHIN the compressed grain of entry I: through the cache, since readers
 * of filesystems come back to the same grain many times. */
static gboolean
read_part (H2kVmdkHosted *s, const H2kVmdkBlock *table, guint i, guint32 within, gsize length,
           guint8 *out, GError **error)
{
  guint64 grain = table->index * H2K_VMDK_TABLE_ENTRIES + i;
  g_autoptr (H2kVmdkBlock) block = NULL;

  if (h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, i)) != H2K_EXTENT_DATA)
    {
      memset (out, 0, length);
      return TRUE;
    }
  block = h2k_vmdk_cache_get (s->grain_cache, s, grain);
  if (!block)
    {
      block = h2k_vmdk_block_new (s, grain, s->base.grain_size);
      if (!read_compressed (s, table, i, 1, block->data, error))
        return FALSE;
      h2k_vmdk_cache_put (s->grain_cache, block);
    }
  memcpy (out, block->data + within, length);
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A range inside one table's reach, OFFSET relative to that. */
typedef gboolean (*ReadFunc) (H2kVmdkHosted *s, const H2kVmdkBlock *table, guint64 offset,
                              gsize length, guint8 *out, GError **error);

static gboolean
read_table_compressed (H2kVmdkHosted *s, const H2kVmdkBlock *table, guint64 offset, gsize length,
                       guint8 *out, GError **error)
{
  while (length)
    {
      guint i = (guint)(offset / s->base.grain_size);
      guint32 within = (guint32)(offset % s->base.grain_size);
      gsize n = MIN (length, s->base.grain_size - within);
      gboolean ok;

      if (n == s->base.grain_size)
        {
          n = length - length % s->base.grain_size;
          ok = read_compressed (s, table, i, (guint)(n / s->base.grain_size), out, error);
        }
      else
        ok = read_part (s, table, i, within, n, out, error);
      if (!ok)
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

/* Grains that lie one after the other in the file are read at once. */
static gboolean
read_table_plain (H2kVmdkHosted *s, const H2kVmdkBlock *table, guint64 offset, gsize length,
                  guint8 *out, GError **error)
{
  const guint32 sectors = s->base.grain_size / H2K_VMDK_SECTOR;

  while (length)
    {
      guint i = (guint)(offset / s->base.grain_size);
      guint32 entry = h2k_vmdk_hosted_entry (table, i),
              within = (guint32)(offset % s->base.grain_size);
      gsize n = MIN (length, s->base.grain_size - within);
      gboolean data = h2k_vmdk_hosted_entry_kind (s, entry) == H2K_EXTENT_DATA;
      guint64 at = (guint64)entry * H2K_VMDK_SECTOR + within;

      while (data && n < length
             && h2k_vmdk_hosted_entry (table, i + 1)
                    == (guint64)h2k_vmdk_hosted_entry (table, i) + sectors)
        {
          n += MIN (length - n, s->base.grain_size);
          i++;
        }
      if (!data)
        memset (out, 0, n);
      else if (at > s->file->size || n > s->file->size - at)
        return set_bad_grain (s, table->index * H2K_VMDK_TABLE_ENTRIES + i,
                              h2k_vmdk_hosted_entry (table, i), "is not inside the file", error);
      else if (!read_at (s, at, n, out, error))
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
hosted_pread (H2kVmdkSparse *sparse, guint64 offset, gsize length, guint8 *out, GError **error)
{
  H2kVmdkHosted *s = (H2kVmdkHosted *)sparse;
  const guint64 reach = (guint64)s->base.grain_size * H2K_VMDK_TABLE_ENTRIES;
  const ReadFunc read_table = s->base.compressed ? read_table_compressed : read_table_plain;

  while (length)
    {
      guint64 i = offset / reach;
      gsize n = (gsize)MIN (length, reach - offset % reach);
      if (!h2k_vmdk_hosted_has_table (s, i))
        memset (out, 0, n);
      else
        {
          g_autoptr (H2kVmdkBlock) table = h2k_vmdk_hosted_get_table (s, i, error);
          if (!table || !read_table (s, table, offset % reach, n, out, error))
            return FALSE;
        }
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

/* Grains from GRAIN on, in its table, that are of one KIND, which is set. 0: ERROR is set. */
static guint64
same_kind (H2kVmdkHosted *s, guint64 grain, H2kExtentKind *kind, GError **error)
{
  guint64 i = grain / H2K_VMDK_TABLE_ENTRIES;
  guint first = (guint)(grain % H2K_VMDK_TABLE_ENTRIES), e = first;
  g_autoptr (H2kVmdkBlock) table = NULL;

  if (!h2k_vmdk_hosted_has_table (s, i))
    {
      *kind = h2k_vmdk_hosted_entry_kind (s, s->directory[i]);
      return h2k_vmdk_hosted_table_entries (s, i) - first;
    }
  table = h2k_vmdk_hosted_get_table (s, i, error);
  if (!table)
    return 0;
  *kind = h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, first));
  while (e < h2k_vmdk_hosted_table_entries (s, i)
         && h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, e)) == *kind)
    e++;
  return e - first;
}

static gboolean
hosted_extent (H2kVmdkSparse *sparse, guint64 offset, H2kExtent *extent, GError **error)
{
  H2kVmdkHosted *s = (H2kVmdkHosted *)sparse;
  guint64 first = offset / s->base.grain_size, grain = first;

  for (guint tables = 0; grain < s->grains && tables < EXTENT_TABLES_MAX;)
    {
      H2kExtentKind kind;
      guint64 n = same_kind (s, grain, &kind, error);
      if (n == 0)
        return FALSE;
      if (grain == first)
        extent->kind = kind;
      if (kind != extent->kind)
        break;
      tables += h2k_vmdk_hosted_has_table (s, grain / H2K_VMDK_TABLE_ENTRIES);
      grain += n;
    }
  extent->offset = offset;
  extent->length = MIN (grain * s->base.grain_size, s->base.size) - offset;
  return TRUE;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Whether the grain that lies last in the file is there as a whole: if not, the file was cut off.
 * A footer says the same for a stream; where there is none, the tables have to be read. */
static gboolean
check_end (H2kVmdkHosted *s, GError **error)
{
  guint32 last = 0, budget = OPEN_TABLES_MAX;
  guint64 grain = 0, end;
  guint8 marker[sizeof (H2kVmdkGrainMarker)];

  for (guint32 i = 0; i < s->base.tables && budget; i++)
    {
      g_autoptr (H2kVmdkBlock) table = NULL;
      if (!h2k_vmdk_hosted_has_table (s, i))
        continue;
      budget--;
      table = h2k_vmdk_hosted_get_table (s, i, error);
      if (!table)
        return FALSE;
      for (guint e = 0; e < H2K_VMDK_TABLE_ENTRIES; e++)
        if (h2k_vmdk_hosted_entry_kind (s, h2k_vmdk_hosted_entry (table, e)) == H2K_EXTENT_DATA
            && h2k_vmdk_hosted_entry (table, e) > last)
          {
            last = h2k_vmdk_hosted_entry (table, e);
            grain = (guint64)i * H2K_VMDK_TABLE_ENTRIES + e;
          }
    }
  if (last == 0)
    return TRUE;
  end = (guint64)last * H2K_VMDK_SECTOR
        + (s->base.compressed
               ? sizeof marker
               : MIN (s->base.grain_size, s->base.size - grain * s->base.grain_size));
  if (end > s->file->size)
    return set_bad_grain (s, grain, last, "is not inside the file", error);
  return !s->base.compressed
         || (read_at (s, (guint64)last * H2K_VMDK_SECTOR, sizeof marker, marker, error)
             && h2k_vmdk_hosted_check_marker (s, grain, last, marker, error));
}

static gboolean
open_tables (H2kVmdkHosted *s, GError **error)
{
  SparseExtentHeader header = {0};
  gboolean at_end;

  if (!read_at (s, 0, (gsize)MIN (s->file->size, sizeof header), &header, error))
    return FALSE;
  if (s->file->size >= sizeof header.magicNumber && !check_magic (s, &header, error))
    return FALSE;
  if (s->file->size < sizeof header)
    return set_corrupt (s, error, "it has only %" G_GUINT64_FORMAT " bytes", s->file->size);
  if (!parse_header (s, &header, error))
    return FALSE;
  at_end = GUINT64_FROM_LE (header.gdOffset) == GD_AT_END
           || (s->base.compressed && header.gdOffset == 0);
  if (at_end && !read_footer (s, &header, error))
    return FALSE;
  return open_directory (s, &header, error) && (at_end || check_end (s, error));
}

static void
hosted_free (H2kVmdkSparse *sparse)
{
  H2kVmdkHosted *s = (H2kVmdkHosted *)sparse;

  h2k_file_unref (s->file);
  g_free (s->directory);
  g_free (s);
}

static const H2kVmdkSparseOps hosted_ops = {
    .pread = hosted_pread,
    .extent = hosted_extent,
    .check = h2k_vmdk_hosted_check,
    .free = hosted_free,
};

H2kVmdkSparse *
h2k_vmdk_sparse_open (H2kFile *file, H2kVmdkCache *tables, H2kVmdkCache *grains, GError **error)
{
  H2kVmdkHosted *s = g_new0 (H2kVmdkHosted, 1);
  g_autoptr (H2kVmdkSparse) sparse = &s->base;

  sparse->ops = &hosted_ops;
  s->file = h2k_file_ref (file);
  s->name = file->name;
  s->table_cache = tables;
  s->grain_cache = grains;
  return open_tables (s, error) ? g_steal_pointer (&sparse) : NULL;
}

char *
h2k_vmdk_sparse_read_descriptor (H2kVmdkSparse *sparse, gsize *size, GError **error)
{
  H2kVmdkHosted *s = (H2kVmdkHosted *)sparse;
  g_autofree char *text = NULL;

  if (s->descriptor_size == 0)
    return NULL;
  *size = (gsize)MIN (s->descriptor_size, H2K_VMDK_DESCRIPTOR_MAX);
  text = g_malloc (*size);
  if (!read_at (s, s->descriptor_offset, *size, text, error))
    return NULL;
  return *size && *text ? g_steal_pointer (&text) : NULL;
}
