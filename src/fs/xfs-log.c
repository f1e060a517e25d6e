/* xfs-log.c - whether an XFS log has to be replayed.
 *
 * After "XFS Algorithms & Data Structures", 3rd edition, chapter 15 (journaling log). The log is a
 * ring of 512-byte blocks. Each block carries the number of the round (the cycle) in which it was
 * written: record headers in their second word, others in the first one. The head of the log is
 * where the number drops; the record before it tells whether the filesystem was unmounted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/xfs.h"

#define SB_UUID 32u /* in the superblock */
#define BLOCK 512u
#define RECORD_MAGIC 0xfeedbabeu
/* Each header block describes so many bytes of a version 2 record. */
#define HEADER_COVERS 32768u
/* Eight buffers of 256 KiB can be under way at once: so far around the head may lie blocks that
 * arrived out of order before a crash. */
#define UNDER_WAY (8u * 262144 / BLOCK)

enum
{
  OP_FLAGS = 9, /* offset in an operation's header */
  OP_UNMOUNT = 0x20,
};

/* struct xlog_rec_header, up to what is needed here; big-endian */
enum
{
  H_MAGIC = 0,
  H_CYCLE = 4,
  H_VERSION = 8,
  H_LEN = 12,
  H_LSN = 16,
  H_NUM_OPS = 40,
  H_FS_UUID = 304,
  H_SIZE = 320,
};

typedef struct
{
  H2kDisk *volume;
  guint64 offset;      /* bytes */
  guint32 n;           /* blocks */
  guint32 first, last; /* the cycles of the first and of the last block */
  guint32 head;        /* the block behind the newest one, 1 to N */
} Log;

static gboolean
read_block (const Log *log, guint32 block, guint8 *data, GError **error)
{
  return h2k_disk_pread (log->volume, log->offset + (guint64)block * BLOCK, BLOCK, data, error);
}

static guint32
cycle_of (const guint8 *block)
{
  return h2k_be32 (block) == RECORD_MAGIC ? h2k_be32 (block + H_CYCLE) : h2k_be32 (block);
}

/* Set HEAD. *FOUND is FALSE when the cycles are not those of a ring. */
static gboolean
find_head (Log *log, gboolean *found, GError **error)
{
  guint32 low = 0, high = log->n - 1; /* written in cycle FIRST; in cycle LAST or never */
  guint8 block[BLOCK];

  *found = FALSE;
  if (!read_block (log, low, block, error))
    return FALSE;
  log->first = cycle_of (block);
  if (!read_block (log, high, block, error))
    return FALSE;
  log->last = cycle_of (block);
  /* Cycle 0: never written. The number that would look like a record header is left out. */
  if (log->first == 0 || log->last == RECORD_MAGIC)
    return TRUE;
  if (log->first == log->last)
    {
      log->head = log->n;
      *found = TRUE;
      return TRUE;
    }
  if (log->first != log->last + 1
      && !(log->last == RECORD_MAGIC - 1 && log->first == RECORD_MAGIC + 1))
    return TRUE;
  while (high - low > 1)
    {
      guint32 middle = low + (high - low) / 2, cycle;
      if (!read_block (log, middle, block, error))
        return FALSE;
      cycle = cycle_of (block);
      if (cycle == log->first)
        low = middle;
      else if (cycle == log->last || cycle == 0)
        high = middle;
      else
        return TRUE;
    }
  log->head = high;
  *found = TRUE;
  return TRUE;
}

/* What xfs_repair and xfs_db write when they make a log leaves a gap of zeros behind the head. */
static gboolean
is_in_place (const Log *log, guint32 block, guint32 cycle)
{
  return block < log->head ? cycle == log->first : cycle == log->last || cycle == 0;
}

/* Look at the COUNT blocks from FROM on, around the end of the ring. *WHOLE stays TRUE when all
 * have the cycle that their place calls for; *RECORD becomes the last one that begins a record. */
static gboolean
scan (const Log *log, guint32 from, guint32 count, gboolean *whole, guint32 *record, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (65536);

  while (count)
    {
      guint32 n = MIN (MIN (count, log->n - from), 65536 / BLOCK);
      if (!h2k_disk_pread (log->volume, log->offset + (guint64)from * BLOCK, n * BLOCK, buffer,
                           error))
        return FALSE;
      for (guint32 i = 0; i < n; i++)
        {
          const guint8 *block = buffer + i * BLOCK;
          if (!is_in_place (log, from + i, cycle_of (block)))
            *whole = FALSE;
          if (record && h2k_be32 (block) == RECORD_MAGIC)
            *record = from + i;
        }
      from = (from + n) % log->n;
      count -= n;
    }
  return TRUE;
}

/* Whether the record at block RECORD is what unmounting writes, with nothing behind it. */
static gboolean
is_unmount_record (const Log *log, guint32 record, const guint8 *uuid, gboolean *result,
                   GError **error)
{
  guint8 header[BLOCK], op[BLOCK];
  guint64 headers = 1, end, lsn;
  guint32 version;

  *result = FALSE;
  if (!read_block (log, record, header, error))
    return FALSE;
  version = h2k_be32 (header + H_VERSION);
  if (version == 2 && h2k_be32 (header + H_SIZE) > HEADER_COVERS)
    headers = ((guint64)h2k_be32 (header + H_SIZE) + HEADER_COVERS - 1) / HEADER_COVERS;
  else if (version != 1 && version != 2)
    return TRUE;
  end = record + headers + ((guint64)h2k_be32 (header + H_LEN) + BLOCK - 1) / BLOCK;
  lsn = (guint64)(record < log->head ? log->first : log->last) << 32 | record;
  if (h2k_be32 (header + H_NUM_OPS) != 1 || h2k_be32 (header + H_LEN) == 0
      || h2k_be64 (header + H_LSN) != lsn || end % log->n != log->head % log->n
      || end - record > log->n
      || (memcmp (header + H_FS_UUID, uuid, 16) != 0 && !h2k_is_zero (header + H_FS_UUID, 16)))
    return TRUE;
  if (!read_block (log, (guint32)((record + headers) % log->n), op, error))
    return FALSE;
  *result = (op[OP_FLAGS] & OP_UNMOUNT) != 0;
  return TRUE;
}

gboolean
h2k_xfs_log_is_clean (H2kDisk *volume, const H2kXfsLayout *layout, gboolean *clean, GError **error)
{
  Log log = {volume, layout->log, (guint32)(layout->log_size / BLOCK)};
  guint32 around, record = G_MAXUINT32;
  gboolean whole = TRUE;
  guint8 uuid[16];

  *clean = FALSE;
  if (layout->log_size / BLOCK < 8 || layout->log_size / BLOCK > G_MAXINT32)
    return TRUE;
  /* The log carries the UUID that users see, which is not always the one in the structures. */
  if (!h2k_disk_pread (volume, SB_UUID, sizeof uuid, uuid, error))
    return FALSE;
  if (!find_head (&log, clean, error))
    return FALSE;
  if (!*clean)
    return TRUE;
  *clean = FALSE;
  around = MIN (UNDER_WAY, log.n / 2);
  if (!scan (&log, (log.head + log.n - around) % log.n, around, &whole, &record, error)
      || !scan (&log, log.head % log.n, around, &whole, NULL, error))
    return FALSE;
  return !whole || record == G_MAXUINT32 || is_unmount_record (&log, record, uuid, clean, error);
}
