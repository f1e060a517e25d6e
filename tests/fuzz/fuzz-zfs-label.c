/* fuzz-zfs-label.c - any bytes as the pairs of a ZFS label, in all of its places.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/zfs-label.h"

#include <stdint.h>

#define DISK_SIZE (64u << 20)
#define PAIRS_AT (16u << 10)
#define PAIRS_SIZE (112u << 10)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const guint64 places[] = {0, 256 << 10, DISK_SIZE - (256 << 10)};
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (DISK_SIZE);
  g_autoptr (GPtrArray) labels
      = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_zfs_label_free);
  g_autofree char *missing = NULL;
  H2kZfsLabel *label;

  size = MIN (size, PAIRS_SIZE);
  for (gsize i = 0; size && i < G_N_ELEMENTS (places); i++)
    h2k_disk_pwrite (disk, places[i] + PAIRS_AT, size, data, NULL);
  label = h2k_zfs_label_read (disk, NULL);
  if (!label)
    return 0;
  g_ptr_array_add (labels, label);
  g_assert (label->guid && label->version);
  if (!h2k_zfs_is_complete (labels, &missing))
    g_assert (missing && *missing);
  return 0;
}
