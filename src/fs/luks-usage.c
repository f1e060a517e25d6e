/* luks-usage.c - which blocks of a LUKS container are in use, where it has been opened.
 *
 * The header and the key slots are, and of the data what the filesystem inside uses, in whole
 * sectors of the cipher. What is not in use is then zeros, which decrypt to noise: drivers must not
 * call a block unused because it reads as zeros, and none does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "disk/luks.h"
#include "volume/volume.h"

typedef struct
{
  H2kUsage base;
  H2kUsage *inner;
  guint64 start;  /* bytes: where the content begins */
  guint64 sector; /* bytes */
} LuksUsage;

/* What the sector of the content that begins at AT is, and those that follow and are alike. */
static gboolean
used_inside (const LuksUsage *luks, guint64 at, H2kExtent *extent, GError **error)
{
  guint64 sector = luks->sector, size = luks->inner->volume->size;

  if (!luks->inner->ops->used (luks->inner, at, extent, error))
    return FALSE;
  if (extent->kind == H2K_EXTENT_DATA || extent->length < sector)
    {
      extent->kind = H2K_EXTENT_DATA;
      extent->length = (extent->length - 1) / sector * sector + sector;
    }
  extent->length = MIN (extent->length / sector * sector, size - at);
  return TRUE;
}

static gboolean
luks_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  LuksUsage *luks = (LuksUsage *)base;
  guint64 end = luks->start + luks->inner->volume->size, skip;

  if (offset < luks->start || offset >= end)
    {
      end = offset < luks->start ? luks->start : base->volume->size;
      *extent = (H2kExtent){offset, end - offset, H2K_EXTENT_DATA};
      return TRUE;
    }
  skip = (offset - luks->start) % luks->sector;
  if (!used_inside (luks, offset - luks->start - skip, extent, error))
    return FALSE;
  extent->offset = offset;
  extent->length -= skip;
  return TRUE;
}

static void
luks_close (H2kUsage *base)
{
  h2k_usage_free (((LuksUsage *)base)->inner);
  g_free (base);
}

static const H2kUsageOps luks_ops = {
    .name = "luks",
    .used = luks_used,
    .close = luks_close,
};

/* The usage of CONTENT, unless it is divided further. */
static H2kUsage *
open_content (H2kDisk *content, GHashTable *known, gboolean drop_swap, GError **error)
{
  g_autoptr (H2kTable) table = h2k_table_read (content, error);

  if (!table)
    return NULL;
  if (table->type == H2K_TABLE_NONE)
    return h2k_usage_open_known (content, known, drop_swap, error);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: it has partitions", content->name);
  return NULL;
}

H2kUsage *
h2k_luks_usage_new (H2kDisk *volume, GHashTable *known, gboolean drop_swap, GError **error)
{
  g_autoptr (H2kLuksHeader) header = h2k_luks_header_read (volume, error);
  g_autofree char *identity = header ? h2k_luks_identity (header) : NULL;
  H2kDisk *content = identity ? g_hash_table_lookup (known, identity) : NULL;
  g_autoptr (H2kUsage) inner = NULL;
  LuksUsage *luks;

  if (!header)
    return NULL;
  if (!content || content->size > volume->size - header->data_offset)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: what is in use of a LUKS container is known with its key only",
                   volume->name);
      return NULL;
    }
  inner = open_content (content, known, drop_swap, error);
  if (!inner)
    return NULL;
  luks = g_new0 (LuksUsage, 1);
  h2k_usage_init (&luks->base, &luks_ops, volume);
  luks->inner = g_steal_pointer (&inner);
  luks->start = header->data_offset;
  luks->sector = header->sector_size;
  return &luks->base;
}
