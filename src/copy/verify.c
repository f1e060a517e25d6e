/* verify.c - the finished output read back through the reader of its format.
 *
 * Nothing of the writers is used: what is read is what QEMU will be given, from the disk and not
 * from the page cache. It is compared with the digests in the journal, which were made of what was
 * read from the source while it was copied; what has no digest has to be zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/journal.h"

#include <stdlib.h>

typedef struct
{
  H2kDisk *disk; /* the output */
  gsize window;  /* no record is longer */
  GCancellable *cancellable;
  H2kMeter meter;

  GMutex lock; /* for what follows */
  H2kJournalReader *reader;
  H2kRecord *next; /* the first record behind AT */
  gboolean has_next;
  guint64 at; /* where the next piece begins */
  GError *error;
  guint64 differs; /* lowest offset that is known to differ */
} Verification;

/* A piece of the disk: what has one digest, or what lies between. */
typedef struct
{
  guint64 offset, length;
  gboolean has_digest;
  XXH128_hash_t digest;
} Piece;

/* Called with the lock. FALSE at the end, and when the journal makes no sense. */
static gboolean
next_piece (Verification *v, Piece *piece)
{
  guint64 size = v->disk->size;

  if (v->at >= size)
    return FALSE;
  *piece = (Piece){.offset = v->at, .length = size - v->at};
  if (v->has_next && v->next->offset > v->at)
    piece->length = MIN (piece->length, v->next->offset - v->at);
  else if (v->has_next)
    {
      piece->has_digest = TRUE;
      piece->digest = v->next->content;
      piece->length = v->next->length;
      if (v->next->offset < v->at || piece->length > MIN (v->window, size - v->at)
          || piece->length == 0)
        {
          g_set_error (&v->error, H2K_ERROR, H2K_ERROR_VERIFY,
                       "the journal of %s is damaged, so that it cannot be verified",
                       v->disk->name);
          return FALSE;
        }
      v->has_next = h2k_journal_reader_next (v->reader, v->next);
    }
  v->at += piece->length;
  return TRUE;
}

static gboolean
check_digest (Verification *v, const Piece *piece, guint8 *buffer, guint64 *differs, GError **error)
{
  if (!h2k_disk_pread (v->disk, piece->offset, piece->length, buffer, error))
    return FALSE;
  if (!XXH128_isEqual (piece->digest, XXH3_128bits (buffer, piece->length)))
    *differs = piece->offset;
  h2k_meter_add (&v->meter, piece->length);
  return TRUE;
}

static gboolean
check_zeros (Verification *v, const Piece *piece, guint8 *buffer, guint64 *differs, GError **error)
{
  guint64 end = piece->offset + piece->length;
  H2kExtent extent;

  for (guint64 at = piece->offset; at < end; at = extent.offset + extent.length)
    {
      if (h2k_is_cancelled (v->cancellable, error)
          || !h2k_disk_extent (v->disk, at, MIN (end, at + v->window), &extent, error))
        return FALSE;
      if (extent.kind != H2K_EXTENT_DATA)
        {
          /* Such an extent may be long: ask for all of it. */
          if (!h2k_disk_extent (v->disk, at, end, &extent, error))
            return FALSE;
          continue;
        }
      if (!h2k_disk_pread (v->disk, at, extent.length, buffer, error))
        return FALSE;
      for (gsize i = 0; i < extent.length; i++)
        if (buffer[i])
          {
            *differs = at + i;
            return TRUE;
          }
    }
  return TRUE;
}

static gpointer
verify_thread (gpointer data)
{
  Verification *v = data;
  guint8 *buffer = h2k_aligned_new0 (v->window);
  Piece piece;

  g_mutex_lock (&v->lock);
  while (!v->error && v->differs == G_MAXUINT64 && next_piece (v, &piece))
    {
      guint64 differs = G_MAXUINT64;
      GError *error = NULL;
      gboolean ok;

      g_mutex_unlock (&v->lock);
      ok = !h2k_is_cancelled (v->cancellable, &error)
           && (piece.has_digest ? check_digest (v, &piece, buffer, &differs, &error)
                                : check_zeros (v, &piece, buffer, &differs, &error));
      g_mutex_lock (&v->lock);
      if (!ok)
        h2k_keep_error (&v->error, error);
      v->differs = MIN (v->differs, differs);
    }
  g_mutex_unlock (&v->lock);
  free (buffer);
  return NULL;
}

static gboolean
check_size (H2kDisk *disk, guint64 expected, GError **error)
{
  if (disk->size == expected)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s reads back as a disk of %" G_GUINT64_FORMAT
               " bytes instead of %" G_GUINT64_FORMAT,
               disk->name, disk->size, expected);
  return FALSE;
}

/* The bytes that have a digest. */
static guint64
count_bytes (H2kJournal *journal)
{
  g_autoptr (H2kJournalReader) reader = h2k_journal_reader_new (journal);
  g_autoptr (H2kRecord) record = h2k_record_new ();
  guint64 bytes = 0;

  while (h2k_journal_reader_next (reader, record))
    bytes += record->length;
  return bytes;
}

static void
run (Verification *v, H2kOutput *output, const H2kCopyOptions *options)
{
  g_mutex_init (&v->lock);
  v->next = h2k_record_new ();
  v->reader = h2k_journal_reader_new (output->journal);
  v->has_next = h2k_journal_reader_next (v->reader, v->next);
  h2k_meter_init (&v->meter, options, count_bytes (output->journal));
  h2k_run_threads (h2k_thread_count (options), verify_thread, v);
  if (!v->error)
    h2k_meter_finish (&v->meter);
  h2k_journal_reader_free (v->reader);
  h2k_record_free (v->next);
  g_mutex_clear (&v->lock);
  h2k_meter_clear (&v->meter);
}

gboolean
h2k_verify (H2kOutput *output, const H2kCopyOptions *options, GCancellable *cancellable,
            GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_output_reopen (output, error);
  Verification v = {.cancellable = cancellable,
                    .window = MAX (H2K_WINDOW, output->writer->unit),
                    .differs = G_MAXUINT64};

  if (!disk || !check_size (disk, output->size, error))
    return FALSE;
  v.disk = disk;
  run (&v, output, options);
  if (v.differs == G_MAXUINT64 && v.error)
    {
      g_propagate_error (error, v.error);
      return FALSE;
    }
  g_clear_error (&v.error);
  if (v.differs == G_MAXUINT64)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s, read back, is not what was copied, at offset %" G_GUINT64_FORMAT
               " of the disk or less than %" G_GSIZE_FORMAT
               " bytes behind it; check the storage below it and convert again",
               output->given, v.differs, v.window);
  return FALSE;
}
