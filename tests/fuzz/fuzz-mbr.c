/* fuzz-mbr.c - the input is the start of a disk: whatever its MBR and extended boot records say,
 * the volumes lie within the disk and do not overlap.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/volume.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  /* The first byte stretches the disk, so that entries may point behind the input. */
  guint64 disk_size = size + (size ? (guint64)data[0] * 4096 : 1);
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (disk_size);
  g_autoptr (H2kTable) table = NULL;
  guint64 end = 0;

  g_assert_true (h2k_disk_pwrite (disk, 0, size, data, NULL));
  table = h2k_table_read (disk, NULL);
  g_assert_nonnull (table);
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *volume = table->volumes->pdata[i];
      g_assert_cmpuint (volume->offset, <, disk_size);
      g_assert_cmpuint (volume->length, <=, disk_size - volume->offset);
      g_assert_cmpuint (volume->disk->size, ==, volume->length);
      g_assert_nonnull (h2k_volume_role (volume));
      end = MAX (end, volume->offset + volume->length);
    }
  g_assert_cmpuint (end, <=, disk_size);
  return 0;
}
