/* journal.c - the journal of a copy: see journal.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/fd-calls.h"
#include "copy/journal.h"

#include <errno.h>
#include <unistd.h>

#define MAGIC "H2Kjrnl1"
#define MAX_IDENTITY (1u << 20)
#define MAX_BODY (1u << 20) /* of a record; far more than any chunk needs */
#define BUFFER (256u << 10)
#define FLUSH_INTERVAL G_USEC_PER_SEC
#define UNIT_KIND_SHIFT 28 /* above the length of a unit */
#define PACKED_PLACE (1u << 31)

typedef struct
{
  guint64 check; /* XXH3 of what follows */
  guint32 bytes; /* of the places and units behind this head */
  guint32 n_places;
  guint64 offset;
  guint32 length;
  guint32 changed;
  guint64 ranges;
  guint64 content[2];
  guint64 stored[2];
} Head;

typedef struct
{
  guint64 file;
  guint32 memory;
  guint32 length; /* | PACKED_PLACE */
} Place;

G_STATIC_ASSERT (sizeof (Head) == 72 && sizeof (Place) == 16);

struct _H2kJournal
{
  int fd;
  char *identity;
  guint64 start;   /* where the records begin */
  guint64 end;     /* of what is in the file */
  guint64 newer;   /* where this run's records begin */
  GByteArray *out; /* not in the file yet */
  gint64 flushed;  /* monotonic time */
};

/* --- records ---------------------------------------------------------------------------------- */

H2kRecord *
h2k_record_new (void)
{
  H2kRecord *record = g_new0 (H2kRecord, 1);

  record->places = g_array_new (FALSE, FALSE, sizeof (H2kPlace));
  record->units = g_array_new (FALSE, FALSE, sizeof (H2kUnit));
  return record;
}

void
h2k_record_free (H2kRecord *record)
{
  if (!record)
    return;
  g_array_unref (record->places);
  g_array_unref (record->units);
  g_free (record);
}

/* The digest of where CHUNK has data. */
static guint64
record_ranges (const H2kChunk *chunk)
{
  return XXH3_64bits (chunk->ranges->data, chunk->ranges->len * sizeof (H2kRange));
}

static gboolean
has_packed (const H2kChunk *chunk)
{
  for (guint i = 0; chunk->packed && i < chunk->n_units; i++)
    if (chunk->units[i].kind == H2K_UNIT_PACKED)
      return TRUE;
  return FALSE;
}

/* The digest of the units as they are stored. */
static XXH128_hash_t
digest_stored (const H2kChunk *chunk, guint32 unit)
{
  XXH3_state_t *state = XXH3_createState ();
  XXH128_hash_t digest;

  XXH3_128bits_reset (state);
  for (guint i = 0; i < chunk->n_units; i++)
    {
      const H2kUnit *u = &chunk->units[i];
      guint32 head[2] = {u->kind, u->kind == H2K_UNIT_PACKED ? u->length : 0};

      XXH3_128bits_update (state, head, sizeof head);
      if (u->kind == H2K_UNIT_PACKED)
        XXH3_128bits_update (state, chunk->packed + u->offset, u->length);
      else if (u->kind == H2K_UNIT_PLAIN)
        XXH3_128bits_update (state, chunk->data + (gsize)i * unit, unit);
    }
  digest = XXH3_128bits_digest (state);
  XXH3_freeState (state);
  return digest;
}

void
h2k_record_take (H2kRecord *record, const H2kChunk *chunk, guint32 unit, gboolean changed)
{
  gboolean packed = has_packed (chunk);

  record->offset = chunk->offset;
  record->length = (guint32)chunk->length;
  record->changed = changed;
  record->ranges = record_ranges (chunk);
  record->content = XXH3_128bits (chunk->data, chunk->length);
  record->stored = packed ? digest_stored (chunk, unit) : (XXH128_hash_t){0, 0};
  g_array_set_size (record->places, 0);
  g_array_set_size (record->units, 0);
  if (packed)
    g_array_append_vals (record->units, chunk->units, chunk->n_units);
}

void
h2k_record_take_zeros (H2kRecord *record, guint64 offset, gsize length)
{
  g_autofree guint8 *zeros = g_malloc0 (length);

  record->offset = offset;
  record->length = (guint32)length;
  record->changed = TRUE;
  record->ranges = 0;
  record->content = XXH3_128bits (zeros, length);
  record->stored = (XXH128_hash_t){0, 0};
  g_array_set_size (record->places, 0);
  g_array_set_size (record->units, 0);
}

/* Whether P points into BASE, CAPACITY bytes, and where. */
static gboolean
is_inside (const guint8 *p, const guint8 *base, gsize capacity, guint32 *at)
{
  if (!base || p < base || p >= base + capacity)
    return FALSE;
  *at = (guint32)(p - base);
  return TRUE;
}

void
h2k_record_set_places (H2kRecord *record, const H2kChunk *chunk)
{
  g_array_set_size (record->places, 0);
  for (guint i = 0; i < chunk->segments->len; i++)
    {
      const H2kSegment *s = &g_array_index (chunk->segments, H2kSegment, i);
      H2kPlace place = {.file = s->offset, .length = (guint32)s->length};
      H2kPlace *last = record->places->len
                           ? &g_array_index (record->places, H2kPlace, record->places->len - 1)
                           : NULL;

      place.packed = is_inside (s->data, chunk->packed, chunk->packed_capacity, &place.memory);
      if (!place.packed && !is_inside (s->data, chunk->data, chunk->capacity, &place.memory))
        continue;
      if (last && last->packed == place.packed && last->file + last->length == place.file
          && last->memory + last->length == place.memory)
        last->length += place.length;
      else
        g_array_append_val (record->places, place);
    }
}

gboolean
h2k_record_same_places (const H2kRecord *a, const H2kRecord *b)
{
  if (a->places->len != b->places->len)
    return FALSE;
  for (guint i = 0; i < a->places->len; i++)
    {
      const H2kPlace *p = &g_array_index (a->places, H2kPlace, i);
      const H2kPlace *q = &g_array_index (b->places, H2kPlace, i);
      if (p->file != q->file || p->memory != q->memory || p->length != q->length
          || p->packed != q->packed)
        return FALSE;
    }
  return TRUE;
}

static gboolean
read_places (const H2kRecord *record, H2kChunk *chunk, int fd)
{
  for (guint i = 0; i < record->places->len; i++)
    {
      const H2kPlace *p = &g_array_index (record->places, H2kPlace, i);
      guint8 *buffer = p->packed ? chunk->packed : chunk->data;
      gsize capacity = p->packed ? chunk->packed_capacity : chunk->capacity;
      gsize done = 0;

      if (!buffer || p->length > capacity || p->memory > capacity - p->length
          || p->file > (guint64)G_MAXINT64 - p->length)
        return FALSE;
      while (done < p->length)
        {
          gssize n
              = pread (fd, buffer + p->memory + done, p->length - done, (off_t)(p->file + done));
          if (n < 0 && errno == EINTR)
            continue;
          if (n <= 0)
            return FALSE;
          done += (gsize)n;
        }
    }
  return TRUE;
}

static gboolean
take_units (const H2kRecord *record, H2kChunk *chunk, guint32 unit)
{
  gsize packed = 0;

  if (!chunk->packed || record->units->len != (chunk->length + unit - 1) / unit)
    return FALSE;
  for (guint i = 0; i < record->units->len; i++)
    {
      chunk->units[i] = g_array_index (record->units, H2kUnit, i);
      if (chunk->units[i].kind != H2K_UNIT_PACKED)
        continue;
      if (packed + chunk->units[i].length > chunk->packed_capacity)
        return FALSE;
      chunk->units[i].offset = (guint32)packed;
      packed += chunk->units[i].length;
    }
  chunk->n_units = record->units->len;
  return TRUE;
}

gboolean
h2k_record_load (const H2kRecord *record, H2kChunk *chunk, guint32 unit, int fd)
{
  if (record->offset != chunk->offset || record->length != chunk->length || record->changed
      || record->ranges != record_ranges (chunk))
    return FALSE;
  memset (chunk->data, 0, chunk->capacity);
  if (!read_places (record, chunk, fd))
    return FALSE;
  if (record->units->len == 0)
    return XXH128_isEqual (record->content, XXH3_128bits (chunk->data, chunk->length));
  return take_units (record, chunk, unit)
         && XXH128_isEqual (record->stored, digest_stored (chunk, unit));
}

void
h2k_record_drop_stored (H2kChunk *chunk)
{
  guint kept = 0;
  guint32 at;

  for (guint i = 0; i < chunk->segments->len; i++)
    {
      H2kSegment s = g_array_index (chunk->segments, H2kSegment, i);
      if (is_inside (s.data, chunk->packed, chunk->packed_capacity, &at)
          || is_inside (s.data, chunk->data, chunk->capacity, &at))
        continue;
      g_array_index (chunk->segments, H2kSegment, kept++) = s;
    }
  g_array_set_size (chunk->segments, kept);
}

static void
append_record (GByteArray *out, const H2kRecord *record)
{
  Head head = {
      .n_places = record->places->len,
      .offset = record->offset,
      .length = record->length,
      .changed = record->changed,
      .ranges = record->ranges,
      .content = {record->content.low64, record->content.high64},
      .stored = {record->stored.low64, record->stored.high64},
  };
  guint start = out->len;

  g_byte_array_append (out, (const guint8 *)&head, sizeof head);
  for (guint i = 0; i < record->places->len; i++)
    {
      const H2kPlace *p = &g_array_index (record->places, H2kPlace, i);
      Place place = {p->file, p->memory, p->length | (p->packed ? PACKED_PLACE : 0)};
      g_byte_array_append (out, (const guint8 *)&place, sizeof place);
    }
  for (guint i = 0; i < record->units->len; i++)
    {
      const H2kUnit *u = &g_array_index (record->units, H2kUnit, i);
      guint32 unit = (guint32)u->kind << UNIT_KIND_SHIFT | u->length;
      g_byte_array_append (out, (const guint8 *)&unit, sizeof unit);
    }
  head.bytes = out->len - start - (guint)sizeof head;
  memcpy (out->data + start, &head, sizeof head);
  head.check
      = XXH3_64bits (out->data + start + sizeof head.check, out->len - start - sizeof head.check);
  memcpy (out->data + start, &head, sizeof head);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* One of the two ascending parts of a journal. */
typedef struct
{
  int fd;
  guint64 at, end;
  guint64 buffer_at; /* where BUFFER's bytes come from */
  GByteArray *buffer;
  gboolean has_record;
  H2kRecord *record; /* the one at AT, which has BYTES */
  gsize bytes;
} Part;

struct _H2kJournalReader
{
  Part parts[2]; /* the older one, the newer one */
};

/* LENGTH bytes at the part's place, or NULL. */
static const guint8 *
peek (Part *part, guint64 at, gsize length)
{
  gsize want;
  gssize n;

  if (at > part->end || length > part->end - at)
    return NULL;
  if (at >= part->buffer_at && at + length <= part->buffer_at + part->buffer->len)
    return part->buffer->data + (at - part->buffer_at);
  want = (gsize)MIN (part->end - at, MAX (length, BUFFER));
  g_byte_array_set_size (part->buffer, (guint)want);
  part->buffer_at = at;
  n = pread (part->fd, part->buffer->data, want, (off_t)at);
  g_byte_array_set_size (part->buffer, n > 0 ? (guint)n : 0);
  return n >= (gssize)length ? part->buffer->data : NULL;
}

static gboolean
decode_units (const guint8 *p, gsize bytes, H2kRecord *record)
{
  for (; bytes >= sizeof (guint32); bytes -= sizeof (guint32), p += sizeof (guint32))
    {
      guint32 word;
      H2kUnit unit = {0};

      memcpy (&word, p, sizeof word);
      if (word >> UNIT_KIND_SHIFT > H2K_UNIT_PACKED)
        return FALSE;
      unit.kind = (H2kUnitKind)(word >> UNIT_KIND_SHIFT);
      unit.length = word & ((1u << UNIT_KIND_SHIFT) - 1);
      g_array_append_val (record->units, unit);
    }
  return bytes == 0;
}

static gboolean
decode (const Head *head, const guint8 *body, H2kRecord *record)
{
  if (head->n_places > head->bytes / sizeof (Place))
    return FALSE;
  record->offset = head->offset;
  record->length = head->length;
  record->changed = head->changed != 0;
  record->ranges = head->ranges;
  record->content = (XXH128_hash_t){head->content[0], head->content[1]};
  record->stored = (XXH128_hash_t){head->stored[0], head->stored[1]};
  g_array_set_size (record->places, 0);
  g_array_set_size (record->units, 0);
  for (guint i = 0; i < head->n_places; i++, body += sizeof (Place))
    {
      Place p;
      H2kPlace place;

      memcpy (&p, body, sizeof p);
      place
          = (H2kPlace){p.file, p.memory, p.length & ~PACKED_PLACE, (p.length & PACKED_PLACE) != 0};
      g_array_append_val (record->places, place);
    }
  return decode_units (body, head->bytes - head->n_places * sizeof (Place), record);
}

/* Decode the record at the part's place, if there is a whole one. */
static void
part_fetch (Part *part)
{
  Head head;
  const guint8 *p = peek (part, part->at, sizeof head);

  part->has_record = FALSE;
  if (!p)
    return;
  memcpy (&head, p, sizeof head);
  if (head.bytes > MAX_BODY)
    return;
  part->bytes = sizeof head + head.bytes;
  p = peek (part, part->at, part->bytes);
  if (!p || XXH3_64bits (p + sizeof head.check, part->bytes - sizeof head.check) != head.check)
    return;
  part->has_record = decode (&head, p + sizeof head, part->record);
}

static void
part_init (Part *part, int fd, guint64 at, guint64 end)
{
  *part = (Part){.fd = fd, .at = at, .end = end, .buffer = g_byte_array_new ()};
  part->record = h2k_record_new ();
  part_fetch (part);
}

static void
part_clear (Part *part)
{
  g_byte_array_unref (part->buffer);
  h2k_record_free (part->record);
}

/* Go on to the next record. */
static void
part_skip (Part *part)
{
  part->at += part->bytes;
  part_fetch (part);
}

H2kJournalReader *
h2k_journal_reader_new (H2kJournal *journal)
{
  H2kJournalReader *reader = g_new0 (H2kJournalReader, 1);

  part_init (&reader->parts[0], journal->fd, journal->start, journal->newer);
  part_init (&reader->parts[1], journal->fd, journal->newer, journal->end);
  return reader;
}

void
h2k_journal_reader_free (H2kJournalReader *reader)
{
  if (!reader)
    return;
  part_clear (&reader->parts[0]);
  part_clear (&reader->parts[1]);
  g_free (reader);
}

gboolean
h2k_journal_reader_next (H2kJournalReader *reader, H2kRecord *record)
{
  Part *older = &reader->parts[0], *newer = &reader->parts[1], *part = newer;
  H2kRecord taken;

  if (older->has_record && (!newer->has_record || older->record->offset < newer->record->offset))
    part = older;
  else if (older->has_record && newer->has_record && older->record->offset == newer->record->offset)
    part_skip (older);
  if (!part->has_record)
    return FALSE;
  taken = *part->record;
  *part->record = *record;
  *record = taken;
  part_skip (part);
  return TRUE;
}

/* --- the file --------------------------------------------------------------------------------- */

static gboolean
write_all (int fd, const guint8 *data, gsize length, guint64 at, GError **error)
{
  while (length)
    {
      struct iovec iov = {(void *)data, length};
      gssize n = h2k_fd_calls.pwritev (fd, &iov, 1, (off_t)at);

      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        {
          int err = n < 0 ? errno : EIO;
          h2k_set_errno (error,
                         err == ENOSPC || err == EDQUOT ? H2K_ERROR_NO_SPACE : H2K_ERROR_OUTPUT,
                         err, "cannot write the journal beside the output");
          return FALSE;
        }
      data += n;
      at += (guint64)n;
      length -= (gsize)n;
    }
  return TRUE;
}

static H2kJournal *
journal_alloc (int fd, const char *identity, gsize length)
{
  H2kJournal *journal = g_new0 (H2kJournal, 1);

  journal->fd = fd;
  journal->identity = g_strndup (identity, length);
  journal->out = g_byte_array_new ();
  journal->start = strlen (MAGIC) + sizeof (guint32) + length;
  journal->end = journal->newer = journal->start;
  journal->flushed = g_get_monotonic_time ();
  return journal;
}

static gboolean
write_header (H2kJournal *journal, int fd, GError **error)
{
  guint32 length = (guint32)strlen (journal->identity);
  g_autoptr (GByteArray) header = g_byte_array_new ();

  g_byte_array_append (header, (const guint8 *)MAGIC, strlen (MAGIC));
  g_byte_array_append (header, (const guint8 *)&length, sizeof length);
  g_byte_array_append (header, (const guint8 *)journal->identity, length);
  return write_all (fd, header->data, header->len, 0, error);
}

H2kJournal *
h2k_journal_new (int fd, const char *identity, GError **error)
{
  g_autoptr (H2kJournal) journal = journal_alloc (fd, identity, strlen (identity));

  return write_header (journal, fd, error) ? g_steal_pointer (&journal) : NULL;
}

void
h2k_journal_free (H2kJournal *journal)
{
  if (!journal)
    return;
  g_free (journal->identity);
  g_byte_array_unref (journal->out);
  g_free (journal);
}

const char *
h2k_journal_identity (H2kJournal *journal)
{
  return journal->identity;
}

gboolean
h2k_journal_flush (H2kJournal *journal, GError **error)
{
  if (!write_all (journal->fd, journal->out->data, journal->out->len, journal->end, error))
    return FALSE;
  journal->end += journal->out->len;
  journal->flushed = g_get_monotonic_time ();
  g_byte_array_set_size (journal->out, 0);
  return TRUE;
}

gboolean
h2k_journal_add (H2kJournal *journal, const H2kRecord *record, GError **error)
{
  append_record (journal->out, record);
  if (journal->out->len < BUFFER && g_get_monotonic_time () - journal->flushed < FLUSH_INTERVAL)
    return TRUE;
  return h2k_journal_flush (journal, error);
}

/* Find the end of what is whole, and where the newer records begin. */
static void
find_parts (H2kJournal *journal, guint64 size)
{
  Part part;
  guint64 last = 0;
  gboolean first = TRUE;

  journal->newer = 0;
  part_init (&part, journal->fd, journal->start, size);
  for (; part.has_record; part_skip (&part))
    {
      if (!first && part.record->offset <= last)
        {
          /* There is no third part: a run that takes up two makes one of them first. */
          if (journal->newer)
            break;
          journal->newer = part.at;
        }
      last = part.record->offset;
      first = FALSE;
    }
  journal->end = part.at;
  if (!journal->newer)
    journal->newer = journal->end;
  part_clear (&part);
}

/* The header's identity, or NULL. */
static char *
read_header (int fd)
{
  char magic[sizeof MAGIC - 1];
  guint32 length;
  g_autofree char *identity = NULL;

  if (pread (fd, magic, sizeof magic, 0) != sizeof magic || memcmp (magic, MAGIC, sizeof magic) != 0
      || pread (fd, &length, sizeof length, sizeof magic) != sizeof length || length > MAX_IDENTITY)
    return NULL;
  identity = g_malloc0 (length + 1);
  if (pread (fd, identity, length, sizeof magic + sizeof length) != (gssize)length
      || strlen (identity) != length)
    return NULL;
  return g_steal_pointer (&identity);
}

H2kJournal *
h2k_journal_resume (int old_fd, int fd, GError **error)
{
  g_autofree char *identity = read_header (old_fd);
  g_autoptr (H2kJournal) old = NULL;
  g_autoptr (H2kJournal) journal = NULL;
  g_autoptr (H2kJournalReader) reader = NULL;
  g_autoptr (H2kRecord) record = h2k_record_new ();
  off_t size = lseek (old_fd, 0, SEEK_END);

  if (!identity || size < 0)
    return NULL;
  old = journal_alloc (old_fd, identity, strlen (identity));
  find_parts (old, (guint64)size);
  reader = h2k_journal_reader_new (old);
  journal = h2k_journal_new (fd, identity, error);
  while (journal && h2k_journal_reader_next (reader, record))
    if (!h2k_journal_add (journal, record, error))
      return NULL;
  if (!journal || !h2k_journal_flush (journal, error))
    return NULL;
  journal->newer = journal->end;
  return g_steal_pointer (&journal);
}
