/* identity.c - the identifiers that some formats want: made of the disk's content, so that the same
 * conversion gives the same file, and other disks get others.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

#define UUID_LENGTH 16

void
h2k_identity_prepare (H2kChunk *chunk)
{
  gsize n = chunk->length;

  chunk->digest = h2k_is_zero (chunk->data, n) ? 0 : h2k_crc32 (0, chunk->data, n);
}

void
h2k_identity_place (GChecksum *sum, const H2kChunk *chunk)
{
  guint64 words[] = {GUINT64_TO_LE (chunk->offset), GUINT64_TO_LE ((guint64)chunk->digest)};

  if (chunk->digest)
    g_checksum_update (sum, (const guchar *)words, sizeof words);
}

void
h2k_identity_uuid (const GChecksum *sum, const char *purpose, guint64 size, guint8 *uuid)
{
  g_autoptr (GChecksum) copy = g_checksum_copy (sum);
  guint8 digest[32];
  gsize length = sizeof digest;

  size = GUINT64_TO_LE (size);
  g_checksum_update (copy, (const guchar *)&size, sizeof size);
  g_checksum_update (copy, (const guchar *)purpose, -1);
  g_checksum_get_digest (copy, digest, &length);
  memcpy (uuid, digest, UUID_LENGTH);
  /* Version 8 of RFC 9562, which is free-form. */
  uuid[6] = (guint8)((uuid[6] & 0x0f) | 0x80);
  uuid[8] = (guint8)((uuid[8] & 0x3f) | 0x80);
}
