/* jbd2.h - replaying the journal of ext3 and ext4.
 *
 * Documentation/filesystems/ext4/journal.rst of the Linux kernel. The log is gone through three
 * times: to find its end, to collect the revoked blocks, and to write the others home.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* Where the journal lies. */
typedef struct
{
  guint block_size;  /* of the filesystem and the journal */
  guint32 length;    /* blocks that the journal's file has */
  guint64 fs_blocks; /* blocks of the filesystem: none may be written behind them */
  /* The block of the volume that holds block INDEX (< length) of the journal, which is checked
   * again by the caller. */
  gboolean (*map) (gpointer data, guint32 index, guint64 *block, GError **error);
  gpointer data;
} H2kJournal;

typedef struct
{
  guint64 blocks;        /* written home */
  guint64 revoked;       /* passed over because they were revoked later */
  guint32 transactions;  /* complete ones */
  guint32 failed_commit; /* the transaction whose checksum is wrong, at which the kernel stops and
                            refuses to mount; 0: none */
  gint32 fs_error;       /* the error that the kernel noted in the journal; 0: none */
} H2kReplay;

/* Write what the journal on VOLUME holds to where it belongs and mark the journal empty. An empty
 * journal is no error.
 * Errors: H2K_ERROR_FILESYSTEM (corrupt), H2K_ERROR_UNSUPPORTED (unknown features, fast commits),
 * those of the disk. */
gboolean h2k_jbd2_replay (H2kDisk *volume, const H2kJournal *journal, H2kReplay *replay,
                          GError **error);
