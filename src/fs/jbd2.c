/* jbd2.c - replays the journal of ext3 and ext4.
 *
 * On-disk format: Documentation/filesystems/ext4/journal.rst of the Linux kernel. Where the
 * document leaves open what a broken log means, this does as the kernel's recovery does.
 *
 *   superblock | descriptor data data ... [revoke] commit | descriptor ... commit | free ...
 *
 * A transaction counts when its commit block is there with the right sequence number and checksum.
 * All numbers of the journal are big-endian.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/jbd2.h"

#define MAGIC 0xc03b3998u

enum
{
  DESCRIPTOR_BLOCK = 1,
  COMMIT_BLOCK = 2,
  SUPERBLOCK_V1 = 3,
  SUPERBLOCK_V2 = 4,
  REVOKE_BLOCK = 5,
};

enum
{
  COMPAT_CHECKSUM = 0x1,
  INCOMPAT_REVOKE = 0x1,
  INCOMPAT_64BIT = 0x2,
  INCOMPAT_ASYNC_COMMIT = 0x4,
  INCOMPAT_CSUM_V2 = 0x8,
  INCOMPAT_CSUM_V3 = 0x10,
  INCOMPAT_FAST_COMMIT = 0x20,
  INCOMPAT_KNOWN = 0x3f,
};

enum
{
  TAG_ESCAPE = 0x1,
  TAG_SAME_UUID = 0x2,
  TAG_LAST = 0x8,
};

enum
{
  CRC32_TYPE = 1,
  CRC32C_TYPE = 4,
};

/* Offsets in the superblock. */
enum
{
  SB_BLOCK_SIZE = 0x0c,
  SB_MAXLEN = 0x10,
  SB_FIRST = 0x14,
  SB_SEQUENCE = 0x18,
  SB_START = 0x1c,
  SB_ERRNO = 0x20,
  SB_COMPAT = 0x24,
  SB_INCOMPAT = 0x28,
  SB_RO_COMPAT = 0x2c,
  SB_UUID = 0x30,
  SB_CHECKSUM_TYPE = 0x50,
  SB_FC_BLOCKS = 0x54,
  SB_CHECKSUM = 0xfc,
  SB_SIZE = 1024,
};

#define HEADER_SIZE 12u
#define DEFAULT_FC_BLOCKS 256u
#define MIN_JOURNAL_BLOCKS 1024u
/* Bounds the memory that a hostile journal can make us use. */
#define MAX_REVOKES (4u << 20)

typedef struct
{
  H2kDisk *volume;
  const H2kJournal *journal;
  H2kReplay *replay;
  guint block_size;
  guint32 first, last;      /* the log's blocks: first <= block < last */
  guint32 fc_first, fc_end; /* of the fast commits; 0: none */
  guint32 start, sequence;  /* where the log begins */
  guint32 end_sequence;     /* the first transaction that does not count */
  guint32 compat, incompat;
  guint32 seed;         /* of the checksums v2 and v3 */
  GHashTable *revoked;  /* block: the last transaction that revoked it */
  guint8 *block, *data; /* a block each */
} Log;

/* One tag of a descriptor block. */
typedef struct
{
  guint64 block;
  guint32 checksum;
  guint flags;
} Tag;

static gboolean corrupt (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
corrupt (GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "the filesystem's journal is corrupt: %s; run e2fsck on a copy of the disk first",
               what);
  return FALSE;
}

/* --- checksums -------------------------------------------------------------------------------- */

static gboolean
has_block_checksums (const Log *log)
{
  return (log->incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3)) != 0;
}

/* CRC-32C of BLOCK with the four bytes at AT taken as zeros. */
static guint32
checksum_without (guint32 seed, const guint8 *block, gsize length, gsize at)
{
  static const guint8 zeros[4];
  guint32 crc = h2k_crc32c (seed, block, at);

  crc = h2k_crc32c (crc, zeros, sizeof zeros);
  return h2k_crc32c (crc, block + at + 4, length - at - 4);
}

/* Descriptor and revoke blocks end in their checksum. */
static gboolean
verify_tail (const Log *log, const guint8 *block)
{
  gsize at = log->block_size - 4;

  return !has_block_checksums (log)
         || h2k_be32 (block + at) == checksum_without (log->seed, block, log->block_size, at);
}

/* The checksum of a data block goes over the sequence number and the block as it is in the log. */
static gboolean
verify_tag (const Log *log, const Tag *tag, guint32 sequence, const guint8 *data)
{
  guint32 number = GUINT32_TO_BE (sequence), crc;

  if (!has_block_checksums (log))
    return TRUE;
  crc = h2k_crc32c (log->seed, &number, sizeof number);
  crc = h2k_crc32c (crc, data, log->block_size);
  return tag->checksum == (log->incompat & INCOMPAT_CSUM_V3 ? crc : crc & 0xffff);
}

static guint32 crc32_be_table[256];

static gpointer
make_crc32_be_table (gpointer unused)
{
  for (guint32 i = 0; i < 256; i++)
    {
      guint32 c = i << 24;
      for (int k = 0; k < 8; k++)
        c = c & 0x80000000u ? (c << 1) ^ 0x04c11db7u : c << 1;
      crc32_be_table[i] = c;
    }
  return NULL;
}

/* The CRC of checksums v1: most significant bit first, nothing inverted. */
static guint32
crc32_be (guint32 crc, const guint8 *data, gsize length)
{
  static GOnce once = G_ONCE_INIT;

  g_once (&once, make_crc32_be_table, NULL);
  while (length--)
    crc = (crc << 8) ^ crc32_be_table[(crc >> 24) ^ *data++];
  return crc;
}

/* Commit blocks: V1 goes over everything since the last one, and is not always there. */
static gboolean
verify_commit (const Log *log, const guint8 *block, guint32 v1)
{
  guint32 found = h2k_be32 (block + 16);
  guint8 type = block[12], size = block[13];

  if (log->compat & COMPAT_CHECKSUM)
    return (type == CRC32_TYPE && size == 4 && found == v1)
           || (type == 0 && size == 0 && found == 0);
  return !has_block_checksums (log)
         || found == checksum_without (log->seed, block, log->block_size, 16);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static gboolean
locate (const Log *log, guint32 index, guint64 *offset, GError **error)
{
  guint64 block = 0;

  if (index >= log->journal->length)
    return corrupt (error, "its block %u is behind its end", index);
  if (!log->journal->map (log->journal->data, index, &block, error))
    return FALSE;
  if (block == 0 || block >= log->journal->fs_blocks)
    return corrupt (error, "its block %u lies outside of the filesystem", index);
  *offset = block * log->block_size;
  return TRUE;
}

static gboolean
read_block (const Log *log, guint32 index, guint8 *buffer, GError **error)
{
  guint64 offset = 0;

  return locate (log, index, &offset, error)
         && h2k_disk_pread (log->volume, offset, log->block_size, buffer, error);
}

/* The block COUNT places behind INDEX in the circular log. */
static guint32
advance (const Log *log, guint32 index, guint32 count)
{
  guint32 size = log->last - log->first;

  return log->first + (guint32)(((guint64)(index - log->first) + count) % size);
}

/* --- the superblock --------------------------------------------------------------------------- */

static gboolean
check_features (const Log *log, const guint8 *sb, GError **error)
{
  guint32 incompat = log->incompat & ~(guint32)INCOMPAT_KNOWN;
  guint32 ro_compat = h2k_be32 (sb + SB_RO_COMPAT);
  guint checksums = !!(log->incompat & INCOMPAT_CSUM_V2) + !!(log->incompat & INCOMPAT_CSUM_V3)
                    + !!(log->compat & COMPAT_CHECKSUM);

  if (incompat || ro_compat)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "the filesystem's journal has features that are not supported (incompat 0x%x, "
                   "ro_compat 0x%x): shut the virtual machine down cleanly first",
                   incompat, ro_compat);
      return FALSE;
    }
  if (checksums > 1)
    return corrupt (error, "it claims several kinds of checksums at once");
  if (!has_block_checksums (log))
    return TRUE;
  if (sb[SB_CHECKSUM_TYPE] != CRC32C_TYPE)
    return corrupt (error, "its checksums are of the unknown type %u", sb[SB_CHECKSUM_TYPE]);
  if (h2k_be32 (sb + SB_CHECKSUM) != checksum_without (~0u, sb, SB_SIZE, SB_CHECKSUM))
    return corrupt (error, "its superblock has a wrong checksum");
  return TRUE;
}

/* Fast commits have the end of the journal to themselves. */
static gboolean
set_areas (Log *log, const guint8 *sb, GError **error)
{
  guint32 maxlen = h2k_be32 (sb + SB_MAXLEN), fc = h2k_be32 (sb + SB_FC_BLOCKS);

  log->first = h2k_be32 (sb + SB_FIRST);
  log->last = maxlen;
  if (log->incompat & INCOMPAT_FAST_COMMIT)
    {
      fc = fc ? fc : DEFAULT_FC_BLOCKS;
      if (fc < maxlen && maxlen - fc >= MIN_JOURNAL_BLOCKS)
        log->last = maxlen - fc;
      log->fc_first = log->last + 1;
      log->fc_end = maxlen;
    }
  if (maxlen > log->journal->length)
    return corrupt (error, "it is to have %u blocks but its file has %u", maxlen,
                    log->journal->length);
  if (log->first == 0 || log->first >= log->last)
    return corrupt (error, "its log reaches from block %u to %u", log->first, log->last);
  if (log->start && (log->start < log->first || log->start >= log->last))
    return corrupt (error, "its log starts at block %u, outside of it", log->start);
  return TRUE;
}

static gboolean
parse_superblock (Log *log, const guint8 *sb, GError **error)
{
  guint32 type = h2k_be32 (sb + 4);

  if (h2k_be32 (sb) != MAGIC || (type != SUPERBLOCK_V1 && type != SUPERBLOCK_V2))
    return corrupt (error, "it has no superblock");
  if (h2k_be32 (sb + SB_BLOCK_SIZE) != log->block_size)
    return corrupt (error, "its blocks have %u bytes, the filesystem's %u",
                    h2k_be32 (sb + SB_BLOCK_SIZE), log->block_size);
  if (type == SUPERBLOCK_V2)
    {
      log->compat = h2k_be32 (sb + SB_COMPAT);
      log->incompat = h2k_be32 (sb + SB_INCOMPAT);
      if (!check_features (log, sb, error))
        return FALSE;
    }
  log->start = h2k_be32 (sb + SB_START);
  log->sequence = h2k_be32 (sb + SB_SEQUENCE);
  log->seed = h2k_crc32c (~0u, sb + SB_UUID, 16);
  log->replay->fs_error = (gint32)h2k_be32 (sb + SB_ERRNO);
  return set_areas (log, sb, error);
}

static void
put_be32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_BE (value);
  memcpy (p, &value, sizeof value);
}

/* Mark the journal empty. */
static gboolean
write_superblock (Log *log, guint8 *sb, GError **error)
{
  guint64 offset = 0;

  put_be32 (sb + SB_START, 0);
  put_be32 (sb + SB_SEQUENCE, log->end_sequence + 1);
  if (has_block_checksums (log))
    put_be32 (sb + SB_CHECKSUM, checksum_without (~0u, sb, SB_SIZE, SB_CHECKSUM));
  return locate (log, 0, &offset, error)
         && h2k_disk_pwrite (log->volume, offset, SB_SIZE, sb, error);
}

/* --- descriptor blocks ------------------------------------------------------------------------ */

static gsize
tag_size (const Log *log)
{
  gsize size = 8;

  if (log->incompat & INCOMPAT_CSUM_V3)
    return 16;
  if (log->incompat & INCOMPAT_64BIT)
    size += 4;
  if (log->incompat & INCOMPAT_CSUM_V2)
    size += 2;
  return size;
}

static Tag
parse_tag (const Log *log, const guint8 *p)
{
  gboolean v3 = (log->incompat & INCOMPAT_CSUM_V3) != 0;
  Tag tag = {
      .block = h2k_be32 (p),
      .checksum = v3 ? h2k_be32 (p + 12) : h2k_be16 (p + 4),
      .flags = v3 ? h2k_be32 (p + 4) : h2k_be16 (p + 6),
  };

  if (log->incompat & INCOMPAT_64BIT)
    tag.block |= (guint64)h2k_be32 (p + 8) << 32;
  return tag;
}

/* The tag at *AT, which moves on; FALSE at the end of the block or behind the last tag. Start with
 * *AT = 0. */
static gboolean
next_tag (const Log *log, const guint8 *block, gsize *at, Tag *tag)
{
  gsize end = log->block_size - (has_block_checksums (log) ? 4 : 0);

  if (*at == 0)
    *at = HEADER_SIZE;
  else if (tag->flags & TAG_LAST)
    return FALSE;
  if (*at > end || tag_size (log) > end - *at)
    return FALSE;
  *tag = parse_tag (log, block + *at);
  *at += tag_size (log);
  if (!(tag->flags & TAG_SAME_UUID))
    *at += 16;
  return TRUE;
}

static guint32
count_tags (const Log *log, const guint8 *block)
{
  gsize at = 0;
  guint32 n = 0;
  Tag tag = {0};

  while (next_tag (log, block, &at, &tag))
    n++;
  return n;
}

static gboolean
replay_block (Log *log, const Tag *tag, guint32 index, guint32 sequence, GError **error)
{
  gpointer revoker;

  if (!read_block (log, index, log->data, error))
    return FALSE;
  /* Revoked by this transaction or a later one; sequence numbers wrap. */
  if (g_hash_table_lookup_extended (log->revoked, &tag->block, NULL, &revoker)
      && (gint32)(sequence - GPOINTER_TO_UINT (revoker)) <= 0)
    {
      log->replay->revoked++;
      return TRUE;
    }
  if (!verify_tag (log, tag, sequence, log->data))
    return corrupt (error, "the copy of block %" G_GUINT64_FORMAT " in it has a wrong checksum",
                    tag->block);
  if (tag->block >= log->journal->fs_blocks)
    return corrupt (error, "it holds a block %" G_GUINT64_FORMAT " behind the filesystem's end",
                    tag->block);
  if (tag->flags & TAG_ESCAPE)
    put_be32 (log->data, MAGIC);
  log->replay->blocks++;
  return h2k_disk_pwrite (log->volume, tag->block * log->block_size, log->block_size, log->data,
                          error);
}

/* Write home what the descriptor in log->block describes; the data starts at INDEX. */
static gboolean
replay_descriptor (Log *log, guint32 index, guint32 sequence, GError **error)
{
  gsize at = 0;
  Tag tag = {0};

  if (!verify_tail (log, log->block))
    return corrupt (error, "a descriptor of transaction %u has a wrong checksum", sequence);
  for (guint32 i = 0; next_tag (log, log->block, &at, &tag); i++)
    if (!replay_block (log, &tag, advance (log, index, i), sequence, error))
      return FALSE;
  return TRUE;
}

/* --- revoke blocks ---------------------------------------------------------------------------- */

static gboolean
collect_revokes (Log *log, guint32 sequence, GError **error)
{
  gsize size = log->incompat & INCOMPAT_64BIT ? 8 : 4;
  gsize max = log->block_size - (has_block_checksums (log) ? 4 : 0);
  gsize end = h2k_be32 (log->block + HEADER_SIZE);

  if (!verify_tail (log, log->block))
    return corrupt (error, "a revoke block of transaction %u has a wrong checksum", sequence);
  if (end > max)
    return corrupt (error, "a revoke block of transaction %u is too long", sequence);
  for (gsize at = HEADER_SIZE + 4; at + size <= end; at += size)
    {
      guint64 block = size == 8 ? h2k_be64 (log->block + at) : h2k_be32 (log->block + at);
      gpointer before;
      if (g_hash_table_lookup_extended (log->revoked, &block, NULL, &before)
          && (gint32)(sequence - GPOINTER_TO_UINT (before)) <= 0)
        continue;
      if (g_hash_table_size (log->revoked) >= MAX_REVOKES)
        return corrupt (error, "it revokes too many blocks");
      g_hash_table_replace (log->revoked, g_memdup2 (&block, sizeof block),
                            GUINT_TO_POINTER (sequence));
    }
  return TRUE;
}

/* --- the passes ------------------------------------------------------------------------------- */

typedef struct
{
  guint32 index, sequence;
  guint64 visited; /* blocks: a log cannot be longer than its area */
} Cursor;

/* The type of the log block at CURSOR, read into log->block; 0 where the log ends. The cursor moves
 * behind it. */
static gboolean
next_block (Log *log, Cursor *cursor, guint32 *type, GError **error)
{
  *type = 0;
  if (cursor->visited >= log->last - log->first)
    return TRUE;
  if (!read_block (log, cursor->index, log->block, error))
    return FALSE;
  cursor->index = advance (log, cursor->index, 1);
  cursor->visited++;
  if (h2k_be32 (log->block) == MAGIC && h2k_be32 (log->block + 8) == cursor->sequence)
    *type = h2k_be32 (log->block + 4);
  return TRUE;
}

static void
skip_blocks (const Log *log, Cursor *cursor, guint32 count)
{
  cursor->index = advance (log, cursor->index, count);
  cursor->visited += count;
}

typedef struct
{
  guint32 v1;        /* checksum over the transaction so far */
  gboolean suspect;  /* a block of it has a wrong checksum */
  guint64 last_time; /* of the last commit, seconds */
} Scan;

/* Pass over the data behind the descriptor in log->block, summing up checksums v1. */
static gboolean
scan_descriptor (Log *log, Cursor *cursor, Scan *scan, GError **error)
{
  guint32 count = count_tags (log, log->block);

  if (!verify_tail (log, log->block))
    scan->suspect = TRUE;
  if (log->compat & COMPAT_CHECKSUM)
    {
      scan->v1 = crc32_be (scan->v1, log->block, log->block_size);
      for (guint32 i = 0; i < count && cursor->visited + i < log->last - log->first; i++)
        {
          if (!read_block (log, advance (log, cursor->index, i), log->data, error))
            return FALSE;
          scan->v1 = crc32_be (scan->v1, log->data, log->block_size);
        }
    }
  skip_blocks (log, cursor, count);
  return TRUE;
}

/* Whether the commit block in log->block completes its transaction; *END is set when the log ends
 * here. Blocks of an earlier round of the log may look like its continuation: a commit older than
 * the one before it gives them away. */
static gboolean
scan_commit (Log *log, Cursor *cursor, Scan *scan, gboolean *end, GError **error)
{
  guint64 time = h2k_be64 (log->block + 48);

  *end = TRUE;
  if (scan->suspect)
    {
      if (time >= scan->last_time)
        return corrupt (error, "a block of transaction %u has a wrong checksum", cursor->sequence);
      return TRUE;
    }
  if (!verify_commit (log, log->block, scan->v1))
    {
      /* With asynchronous commits the block may be written before its transaction: that is no
       * more than an incomplete transaction. */
      if (time >= scan->last_time && !(log->incompat & INCOMPAT_ASYNC_COMMIT))
        log->replay->failed_commit = cursor->sequence;
      return TRUE;
    }
  *end = FALSE;
  scan->last_time = time;
  scan->v1 = ~0u;
  cursor->sequence++;
  log->replay->transactions++;
  return TRUE;
}

/* Find the end of the log. */
static gboolean
scan_pass (Log *log, GError **error)
{
  Cursor cursor = {log->start, log->sequence, 0};
  Scan scan = {~0u, FALSE, 0};
  gboolean end = FALSE;

  while (!end)
    {
      guint32 type;
      if (!next_block (log, &cursor, &type, error))
        return FALSE;
      if (type == DESCRIPTOR_BLOCK)
        {
          if (!scan_descriptor (log, &cursor, &scan, error))
            return FALSE;
        }
      else if (type == REVOKE_BLOCK)
        scan.suspect |= !verify_tail (log, log->block);
      else if (type != COMMIT_BLOCK)
        end = TRUE;
      else if (!scan_commit (log, &cursor, &scan, &end, error))
        return FALSE;
    }
  log->end_sequence = cursor.sequence;
  return TRUE;
}

/* Go through the complete transactions: collect what they revoke, or write the rest home. */
static gboolean
work_pass (Log *log, gboolean revoke, GError **error)
{
  Cursor cursor = {log->start, log->sequence, 0};

  while (cursor.sequence != log->end_sequence)
    {
      guint32 type;
      if (!next_block (log, &cursor, &type, error))
        return FALSE;
      if (type == COMMIT_BLOCK)
        cursor.sequence++;
      else if (type == REVOKE_BLOCK)
        {
          if (revoke && !collect_revokes (log, cursor.sequence, error))
            return FALSE;
        }
      else if (type != DESCRIPTOR_BLOCK)
        return corrupt (error, "transaction %u changed while it was replayed", cursor.sequence);
      else
        {
          guint32 count = count_tags (log, log->block);
          if (!revoke && !replay_descriptor (log, cursor.index, cursor.sequence, error))
            return FALSE;
          skip_blocks (log, &cursor, count);
        }
    }
  return TRUE;
}

/* --- fast commits ----------------------------------------------------------------------------- */

enum
{
  FC_ADD_RANGE = 1,
  FC_PAD = 7,
  FC_TAIL = 8,
  FC_HEAD = 9,
};

/* Look through one block of little-endian records; *CRC goes over what follows the last tail.
 * Returns TRUE while the next block is worth a look; *FOUND is set by a tail that completes a
 * commit. */
static gboolean
scan_fast_block (const Log *log, const guint8 *block, guint32 *crc, gboolean *found)
{
  gsize at = 0;

  while (at + 4 < log->block_size)
    {
      const guint8 *p = block + at;
      guint tag = h2k_le16 (p);
      gsize length = h2k_le16 (p + 2);

      if (length > log->block_size - at - 4)
        return FALSE;
      if (tag == FC_TAIL)
        {
          if (length < 8)
            return FALSE;
          *crc = h2k_crc32c (*crc, p, 8);
          *found = h2k_le32 (p + 4) == log->end_sequence && h2k_le32 (p + 8) == *crc;
          /* The rest of the block is of an older commit. */
          return FALSE;
        }
      if (tag == FC_HEAD)
        {
          if (length < 8 || h2k_le32 (p + 8) != log->end_sequence)
            return FALSE;
        }
      else if (tag < FC_ADD_RANGE || tag > FC_PAD)
        return FALSE;
      *crc = h2k_crc32c (*crc, p, 4 + length);
      at += 4 + length;
    }
  return TRUE;
}

/* Whether the area behind the log holds a complete fast commit on top of the last transaction. */
static gboolean
has_fast_commit (Log *log, gboolean *found, GError **error)
{
  guint32 crc = 0;

  *found = FALSE;
  for (guint32 i = log->fc_first; i < log->fc_end; i++)
    {
      if (!read_block (log, i, log->data, error))
        return FALSE;
      if (!scan_fast_block (log, log->data, &crc, found))
        break;
    }
  return TRUE;
}

/* ---------------------------------------------------------------------------------------------- */

static gboolean
replay_log (Log *log, guint8 *sb, GError **error)
{
  gboolean fast = FALSE;

  if (!parse_superblock (log, sb, error))
    return FALSE;
  if (!log->start)
    return TRUE;
  if (!scan_pass (log, error) || !has_fast_commit (log, &fast, error))
    return FALSE;
  if (fast)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "the filesystem's journal holds fast commits, which cannot be replayed: shut "
                   "the virtual machine down cleanly first");
      return FALSE;
    }
  return work_pass (log, TRUE, error) && work_pass (log, FALSE, error)
         && write_superblock (log, sb, error);
}

gboolean
h2k_jbd2_replay (H2kDisk *volume, const H2kJournal *journal, H2kReplay *replay, GError **error)
{
  guint size = journal->block_size;
  g_autofree guint8 *block = g_malloc (size);
  g_autofree guint8 *data = g_malloc (size);
  g_autofree guint8 *sb = g_malloc (size);
  g_autoptr (GHashTable) revoked
      = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  Log log = {
      .volume = volume,
      .journal = journal,
      .replay = replay,
      .block_size = size,
      .revoked = revoked,
      .block = block,
      .data = data,
  };

  g_assert (size >= SB_SIZE);
  memset (replay, 0, sizeof *replay);
  return read_block (&log, 0, sb, error) && replay_log (&log, sb, error);
}
