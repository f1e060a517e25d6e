/* fuzz-gpt.c - the input is a disk with a GPT, whose checksums are put right so that the fields
 * behind them are reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/volume.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
put_le32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (p, &value, sizeof value);
}

/* Correct the checksums of the header at LBA, as far as they can be computed. */
static void
sign (guint8 *disk, gsize size, guint64 lba, gsize unit)
{
  guint64 at = lba * unit, entries, bytes;
  guint8 *header;
  guint32 length;

  if (at + unit > size)
    return;
  header = disk + at;
  length = h2k_le32 (header + 12);
  entries = h2k_le64 (header + 72);
  bytes = (guint64)h2k_le32 (header + 80) * h2k_le32 (header + 84);
  if (length < 92 || length > unit)
    return;
  if (entries < size / unit && bytes <= size - entries * unit)
    put_le32 (header + 88, h2k_crc32 (0, disk + entries * unit, bytes));
  put_le32 (header + 16, 0);
  put_le32 (header + 16, h2k_crc32 (0, header, length));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autofree guint8 *copy = g_memdup2 (data, size);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kTable) table = NULL;

  if (size < 512)
    return 0;
  for (gsize unit = 512; unit <= 4096; unit *= 8)
    {
      sign (copy, size, 1, unit);
      if (size / unit > 2)
        sign (copy, size, size / unit - 1, unit);
    }
  disk = h2k_memory_disk_new (size);
  g_assert_true (h2k_disk_pwrite (disk, 0, size, copy, NULL));
  table = h2k_table_read (disk, NULL);
  g_assert_nonnull (table);
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *volume = table->volumes->pdata[i];
      g_assert_cmpuint (volume->offset, <, size);
      g_assert_cmpuint (volume->length, <=, size - volume->offset);
      g_assert_true (!volume->part_label || g_utf8_validate (volume->part_label, -1, NULL));
      g_assert_nonnull (h2k_volume_role (volume));
    }
  return 0;
}
