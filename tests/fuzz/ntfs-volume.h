/* ntfs-volume.h - inputs that are NTFS volumes: how they are changed, and what of the library is
 * known. Included once by a target.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#define VOLUME_SIZE (16u << 20)
#include "volume.h"

#include "fs/ntfs.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned int seed);
const char *__lsan_default_suppressions (void);

/* libntfs-3g loses the name of an index that a volume lacks, and what it had opened when a mount
 * fails. What hyper2kvm itself loses of the library's is looked for by the unit tests. */
const char *
__lsan_default_suppressions (void)
{
  return "leak:libntfs-3g.so\n";
}

/* Most of an input is structures that lead to each other: what is inserted or removed would only
 * break the list of pieces. So a few bytes are changed where they are. */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
  static const guint8 values[] = {0, 1, 2, 3, 7, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xfe, 0xff};
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);

  for (gint n = g_rand_int_range (rand, 1, 8); size && n > 0; n--)
    {
      gsize at = g_rand_int (rand) % size;
      gint width = g_rand_int_range (rand, 1, 5);
      for (gint i = 0; i < width && at < size; i++, at++)
        data[at] = g_rand_boolean (rand) ? values[g_rand_int (rand) % sizeof values]
                                         : (guint8)(data[at] + g_rand_int_range (rand, -3, 4));
    }
  return size;
}
