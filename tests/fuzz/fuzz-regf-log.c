/* fuzz-regf-log.c - any bytes as the transaction logs of a dirty hive.
 *
 * The first byte says where the second log begins, in sectors; logs get the right checksums and
 * hashes, unless bit 7 is set, so that what lies behind these is reached. The hive is the same each
 * time: four bins, dirty, with number 5; its base block is damaged when bit 6 is set.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/regf-log.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

#define BINS 4u

static H2kRegf *
make_hive (gboolean damaged)
{
  H2kRegf *regf = h2k_regf_new (NULL, H2K_REGF_BASE + BINS * H2K_REGF_PAGE, NULL);
  H2kRegfBase *base = h2k_regf_base (regf);

  memcpy (base->magic, "regf", 4);
  base->sequence1 = GUINT32_TO_LE (6);
  base->sequence2 = GUINT32_TO_LE (5);
  base->major = base->format = base->cluster = GUINT32_TO_LE (1);
  base->minor = GUINT32_TO_LE (5);
  base->root = GUINT32_TO_LE (32);
  base->length = GUINT32_TO_LE (BINS * H2K_REGF_PAGE);
  base->checksum = GUINT32_TO_LE (h2k_regf_checksum (base) ^ (damaged ? 1 : 0));
  for (guint32 i = 0; i < BINS; i++)
    {
      guint8 *bin = regf->data + H2K_REGF_BASE + i * H2K_REGF_PAGE;
      guint32 numbers[2] = {GUINT32_TO_LE (i * H2K_REGF_PAGE), GUINT32_TO_LE (H2K_REGF_PAGE)};
      guint32 cell = GUINT32_TO_LE (H2K_REGF_PAGE - 32);

      memcpy (bin, "hbin", 4);
      memcpy (bin + 4, numbers, 8);
      memcpy (bin + 32, &cell, 4);
    }
  return regf;
}

/* Give what looks like a log the checksum and hashes that it ought to have. */
static void
seal (guint8 *log, gsize size)
{
  guint32 sum;

  if (size < 512)
    return;
  sum = GUINT32_TO_LE (h2k_regf_checksum (log));
  memcpy (log + 508, &sum, 4);
  for (gsize at = 512; at + 512 <= size && memcmp (log + at, "HvLE", 4) == 0;)
    {
      guint32 length = h2k_le32 (log + at + 4);
      guint64 hash;

      if (length < 512 || length % 512 != 0 || length > size - at)
        return;
      hash = GUINT64_TO_LE (h2k_regf_hash (log + at + 40, length - 40));
      memcpy (log + at + 24, &hash, 8);
      hash = GUINT64_TO_LE (h2k_regf_hash (log + at, 32));
      memcpy (log + at + 32, &hash, 8);
      at += length;
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autofree guint8 *copy = NULL;
  g_autofree char *wrong = NULL;
  g_autoptr (H2kRegf) regf = NULL;
  H2kRegfReplay replay = {0};
  H2kRegfLog logs[2];
  gsize split;

  if (size < 1 || size > 1 << 20)
    return 0;
  copy = g_memdup2 (data, size);
  split = MIN ((gsize)(data[0] & 0x3f) * 512, size - 1);
  logs[0] = (H2kRegfLog){"LOG1", copy + 1, split};
  logs[1] = (H2kRegfLog){"LOG2", copy + 1 + split, size - 1 - split};
  if (!(data[0] & 0x80))
    {
      seal (copy + 1, split);
      seal (copy + 1 + split, size - 1 - split);
    }
  regf = make_hive (data[0] & 0x40);
  if (h2k_regf_replay (regf, logs, 2, &replay, NULL))
    {
      g_assert_true (h2k_regf_base_is_valid (regf->data));
      g_assert_true (h2k_regf_base (regf)->sequence1 == h2k_regf_base (regf)->sequence2);
      wrong = h2k_regf_check_bins (regf, TRUE);
    }
  h2k_regf_replay_clear (&replay);
  return 0;
}
