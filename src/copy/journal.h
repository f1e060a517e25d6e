/* journal.h - what a copy has done: a record of each chunk, in a file.
 *
 * A record has the digest of the chunk's content, by which the output is verified without reading
 * the source again, and where the chunk lies in the output file, so that an interrupted copy can be
 * taken up: the chunk is then read from the unfinished output, and counts if its digest is right.
 * The journal is a hint, therefore: a record that is missing, damaged or older than the output
 * only makes a chunk be copied once more.
 *
 *   header:  magic, length of the identity, the identity (text that says what is copied to what)
 *   records: ascending offsets of the disk; those of a run that took up another one's work begin
 *            anew behind the old ones, and count in their place
 *
 * Digests are XXH3 with 128 bits: they detect damage, not malice. Numbers are in the order of the
 * machine, which is the one that goes on.
 *
 * Thread-safety: h2k_journal_add() and _flush() may be called by one thread at a time, a reader is
 * used by one thread at a time, and both at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "copy/internal.h"

#include <xxhash.h>
#ifdef H2K_XXH_DISPATCH
#  include <xxh_x86dispatch.h> /* the same functions by other names, with the processor's AVX2 */
#endif

/* Where a part of a chunk lies in the output file. */
typedef struct
{
  guint64 file;
  guint32 memory; /* in the chunk's data, or in its packed units if PACKED */
  guint32 length;
  gboolean packed;
} H2kPlace;

struct _H2kRecord
{
  guint64 offset; /* of the chunk on the disk */
  guint32 length;
  gboolean changed; /* the overlay had changes there */
  guint64 ranges;   /* digest of where the chunk has data */
  XXH128_hash_t content;
  XXH128_hash_t stored; /* of the units as they are stored, if any of them is packed; else 0 */
  GArray *places;       /* H2kPlace */
  GArray *units;        /* H2kUnit; empty if none is packed */
};

H2kRecord *h2k_record_new (void);
void h2k_record_free (H2kRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kRecord, h2k_record_free)

/* The record of CHUNK, which was read and prepared in units of UNIT bytes; where it lies is added
 * by _set_places() after it got its place. */
void h2k_record_take (H2kRecord *record, const H2kChunk *chunk, guint32 unit, gboolean changed);
/* The record of what is zero now. */
void h2k_record_take_zeros (H2kRecord *record, guint64 offset, gsize length);
void h2k_record_set_places (H2kRecord *record, const H2kChunk *chunk);
gboolean h2k_record_same_places (const H2kRecord *a, const H2kRecord *b);
/* Fill CHUNK, whose ranges were found, from the output file FD as RECORD says, instead of reading
 * and, if units are packed, preparing it. FALSE: that is not what the chunk has to hold, or not
 * what the file holds. */
gboolean h2k_record_load (const H2kRecord *record, H2kChunk *chunk, guint32 unit, int fd);
/* Take out of CHUNK's segments what the file holds already. */
void h2k_record_drop_stored (H2kChunk *chunk);

/* Begin a journal in FD, which is empty; the caller keeps FD open. */
H2kJournal *h2k_journal_new (int fd, const char *identity, GError **error);
/* Take up the journal in OLD_FD: FD, which is empty, becomes a copy of it, with two runs' records
 * in one order and without what is damaged at its end. Returns NULL without an error when there is
 * no journal in OLD_FD. Errors: as _add(). */
H2kJournal *h2k_journal_resume (int old_fd, int fd, GError **error);
void h2k_journal_free (H2kJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kJournal, h2k_journal_free)

const char *h2k_journal_identity (H2kJournal *journal);
/* Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_journal_add (H2kJournal *journal, const H2kRecord *record, GError **error);
gboolean h2k_journal_flush (H2kJournal *journal, GError **error);

/* Goes through the records that are in the journal's file now, by offset; of two for one chunk the
 * newer one counts. */
typedef struct _H2kJournalReader H2kJournalReader;
H2kJournalReader *h2k_journal_reader_new (H2kJournal *journal);
void h2k_journal_reader_free (H2kJournalReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kJournalReader, h2k_journal_reader_free)
/* FALSE at the end; what cannot be read is the end, too. */
gboolean h2k_journal_reader_next (H2kJournalReader *reader, H2kRecord *record);
