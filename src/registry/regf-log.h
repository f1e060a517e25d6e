/* regf-log.h - transaction logs of a hive, and what Windows does with them.
 *
 * Old logs ("DIRT", up to Windows 8) hold the base block, a bitmap of sectors and these: one
 * transaction. New logs ("HvLE", from 8.1 on) hold the base block and a chain of transactions, each
 * with a sequence number and Marvin32 hashes. A hive is dirty when its base block has two sequence
 * numbers or a wrong checksum; logs of one that is clean mean nothing.
 *
 * Old: a log fits that was written at the same time as the base block, the first one that does;
 * when there is none, the latest one that is later (Windows 8, and 7 as updated in 2016). Without a
 * valid base block the time of the first bin counts, and the base block is the log's.
 *
 * New: transactions of both logs are applied in the order of their sequence numbers, until a gap, a
 * wrong hash or the end. The first one has the number in its log's base block, which is not less
 * than the second number of the hive's. Without a valid base block of the hive only the later log
 * is used, and the base block is that one's.
 *
 * Format: "Windows registry file format specification", M. Suhanov.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/regf.h"

typedef struct
{
  const char *name;
  const guint8 *data;
  gsize size;
} H2kRegfLog;

typedef struct
{
  gboolean was_dirty;
  gboolean header_recovered;
  GPtrArray *replayed;      /* char *: names of logs */
  GPtrArray *notes;         /* char * */
  guint n_entries, n_pages; /* as in H2kHiveInfo */
  guint32 sequence;         /* of the state that was reached */
  guint32 highest;          /* of all numbers that the hive and its logs have */
} H2kRegfReplay;

/* Bring REGF into the state that Windows would load. LOGS are tried in this order. When the hive
 * was dirty, it is clean afterwards. Errors: H2K_ERROR_FORMAT (no base block, and none in a log),
 * H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_regf_replay (H2kRegf *regf, const H2kRegfLog *logs, guint n_logs,
                          H2kRegfReplay *replay, GError **error);
void h2k_regf_replay_clear (H2kRegfReplay *replay);

/* Hash-1 and Hash-2 of an entry: Marvin32 with the seed of the registry. */
guint64 h2k_regf_hash (const guint8 *data, gsize length);
