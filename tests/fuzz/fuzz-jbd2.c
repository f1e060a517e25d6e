/* fuzz-jbd2.c - any bytes as a journal. The first byte chooses the block size; the rest is the
 * journal, from block 1 of a small volume on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/jbd2.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static gboolean
map (gpointer data, guint32 index, guint64 *block, GError **error)
{
  *block = 1 + (guint64)index;
  return TRUE;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  H2kJournal journal = {.map = map};
  g_autoptr (H2kDisk) disk = NULL;
  guint64 blocks;
  H2kReplay replay;

  if (size < 2)
    return 0;
  journal.block_size = 1024u << (data[0] % 3);
  data++;
  size--;
  blocks = 1 + (size + journal.block_size - 1) / journal.block_size;
  journal.length = (guint32)blocks - 1;
  journal.fs_blocks = blocks + 16;
  disk = h2k_memory_disk_new (journal.fs_blocks * journal.block_size);
  h2k_disk_pwrite (disk, journal.block_size, size, data, NULL);
  /* Again, on what the first time left: a journal can be made to write over itself. */
  if (h2k_jbd2_replay (disk, &journal, &replay, NULL))
    h2k_jbd2_replay (disk, &journal, &replay, NULL);
  return 0;
}
