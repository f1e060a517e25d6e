/* fuzz-bitlocker.c - BitLocker's metadata, what opens them, and the content as they lay it out.
 *
 * The input is a volume as volume.h has it, behind a byte of options: 1: the checksums of the
 * metadata are made right, so that what they protect is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define VOLUME_SIZE (1u << 20)
#include "volume.h"

#include "volume/bitlocker.h"

#define METADATA 65536u

/* The copy at AT, which may be of Vista, gets the checksum that it should have. */
static void
seal (H2kDisk *disk, guint64 at)
{
  g_autofree guint8 *block = g_malloc (METADATA);
  guint8 crc[4];
  gsize length;

  if (at > VOLUME_SIZE - METADATA || !h2k_disk_pread (disk, at, METADATA, block, NULL))
    return;
  length = h2k_le16 (block + 8) * (h2k_le16 (block + 10) == 1 ? 1u : 16u);
  if (length > METADATA - 8)
    return;
  *(guint32 *)(void *)crc = GUINT32_TO_LE (h2k_crc32 (0, block, length));
  h2k_disk_pwrite (disk, at + length + 4, sizeof crc, crc, NULL);
}

static void
seal_all (H2kDisk *disk)
{
  guint8 boot[512];

  h2k_disk_pread (disk, 0, sizeof boot, boot, NULL);
  for (guint i = 0; i < H2K_BITLOCKER_COPIES; i++)
    seal (disk, h2k_le64 (boot + 176 + i * 8));
  seal (disk, h2k_le64 (boot + 56) % VOLUME_SIZE * boot[13] * h2k_le16 (boot + 11));
}

/* What BitLocker has for itself comes to an end, and reads as zeros but at the start. */
static void
look_at_own (const H2kBitlocker *volume, H2kDisk *content)
{
  guint8 bytes[512];
  guint64 end, at = 0;

  for (guint n = 0; n < 20 && at < VOLUME_SIZE; n++, at = end)
    {
      gboolean own = h2k_bitlocker_is_own (volume, at, &end);

      g_assert (end > at);
      if (own && content && at >= volume->header_size)
        {
          g_assert (h2k_disk_pread (content, at, sizeof bytes, bytes, NULL));
          g_assert (h2k_is_zero (bytes, sizeof bytes));
        }
    }
}

/* What is written is read again, and the content can be read everywhere. */
static void
look_at_content (H2kDisk *content, guint8 options)
{
  guint8 bytes[700], again[700];
  guint64 last = content->size - sizeof bytes, at = last * options / 255;

  for (guint64 i = 0; i <= 64; i++)
    g_assert (h2k_disk_pread (content, last * i / 64, sizeof bytes, bytes, NULL));
  memset (bytes, options, sizeof bytes);
  if (!h2k_disk_pwrite (content, at, sizeof bytes, bytes, NULL))
    return;
  g_assert (h2k_disk_pread (content, at, sizeof again, again, NULL));
  g_assert (memcmp (bytes, again, sizeof bytes) == 0);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) content = NULL;
  g_autoptr (H2kBitlocker) volume = NULL;
  g_autoptr (GBytes) fvek = NULL;
  g_autofree char *protectors = NULL;
  static const guint8 zeros[64] = {1};

  if (size == 0)
    return 0;
  disk = volume_unpack (data + 1, size - 1);
  if (data[0] & 1)
    seal_all (disk);
  volume = h2k_bitlocker_read (disk, NULL);
  if (!volume)
    return 0;
  protectors = h2k_bitlocker_protectors (volume);
  fvek = h2k_bitlocker_clear_key (volume, "volume", NULL);
  /* Whatever the key is, what they say is on the volume. */
  if (!fvek)
    fvek = g_bytes_new_static (zeros, sizeof zeros);
  content = h2k_bitlocker_disk_new (disk, volume, fvek, "content", NULL);
  look_at_own (volume, content);
  if (content)
    look_at_content (content, data[0]);
  return 0;
}
