/* bitlocker-usage.c - which blocks of a BitLocker volume are in use, where it has been opened.
 *
 * Its boot sectors, its metadata and what it has moved are, and else what the filesystem inside
 * uses, in whole sectors. What is not in use is then zeros, which decrypt to noise, as in volumes
 * of which only the used space was ever encrypted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "volume/bitlocker.h"

typedef struct
{
  H2kUsage base;
  H2kUsage *inner;
  H2kBitlocker *volume;
} BitlockerUsage;

/* Cut EXTENT to whole sectors; one that is in use in part is in use. */
static void
keep_sectors (H2kExtent *extent, guint64 sector)
{
  if (extent->kind == H2K_EXTENT_DATA || extent->length < sector)
    {
      extent->kind = H2K_EXTENT_DATA;
      extent->length += sector - 1;
    }
  extent->length -= extent->length % sector;
}

static gboolean
bitlocker_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  BitlockerUsage *usage = (BitlockerUsage *)base;
  guint64 sector = usage->volume->sector_size, size = usage->inner->volume->size, end;
  guint64 skip = offset % sector;

  if (h2k_bitlocker_is_own (usage->volume, offset, &end) || offset >= size)
    {
      end = offset >= size ? base->volume->size : end;
      *extent = (H2kExtent){offset, MIN (end, base->volume->size) - offset, H2K_EXTENT_DATA};
      return TRUE;
    }
  if (!usage->inner->ops->used (usage->inner, offset - skip, extent, error))
    return FALSE;
  keep_sectors (extent, sector);
  extent->offset = offset;
  extent->length = MIN (extent->length - skip, MIN (end, size) - offset);
  return TRUE;
}

static void
bitlocker_close (H2kUsage *base)
{
  BitlockerUsage *usage = (BitlockerUsage *)base;

  h2k_usage_free (usage->inner);
  h2k_bitlocker_free (usage->volume);
  g_free (usage);
}

static const H2kUsageOps bitlocker_ops = {
    .name = "bitlocker",
    .used = bitlocker_used,
    .close = bitlocker_close,
};

H2kUsage *
h2k_bitlocker_usage_new (H2kDisk *disk, GHashTable *known, gboolean drop_swap, GError **error)
{
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (disk, error);
  g_autofree char *identity = volume ? h2k_bitlocker_identity (volume) : NULL;
  H2kDisk *content = identity ? g_hash_table_lookup (known, identity) : NULL;
  g_autoptr (H2kUsage) inner = NULL;
  BitlockerUsage *usage;

  if (!volume)
    return NULL;
  if (!content || content->size > disk->size)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: what is in use of a BitLocker volume is known with its key only",
                   disk->name);
      return NULL;
    }
  inner = h2k_usage_open_known (content, known, drop_swap, error);
  if (!inner)
    return NULL;
  usage = g_new0 (BitlockerUsage, 1);
  h2k_usage_init (&usage->base, &bitlocker_ops, disk);
  usage->inner = g_steal_pointer (&inner);
  usage->volume = g_steal_pointer (&volume);
  return &usage->base;
}
