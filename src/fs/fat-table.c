/* fat-table.c - the boot sector of a FAT volume, and its table's entries. "Microsoft Extensible
 * Firmware Initiative FAT32 File System Specification" 1.03.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat-table.h"

/* --- the boot sector -------------------------------------------------------------------------- */

static gboolean
is_power_of_2 (guint n)
{
  return n && !(n & (n - 1));
}

/* Which kind it is, by the specification: by the number of clusters and nothing else. But all
 * systems take what has FAT32's boot sector for FAT32, however small it is, and near to the limit
 * between FAT12 and FAT16 they do not agree. */
static gboolean
choose_bits (H2kDisk *volume, H2kFatLayout *layout, gboolean fat32, guint64 clusters,
             GError **error)
{
  layout->bits = fat32 ? 32 : clusters < 4085 ? 12 : 16;
  if ((fat32 && clusters < 0x0ffffff5) || (!fat32 && clusters < 4085 - 16)
      || (!fat32 && clusters > 4085 + 16 && clusters < 65525))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: a FAT filesystem with %" G_GUINT64_FORMAT
               " clusters could be of either of two kinds",
               volume->name, clusters);
  return FALSE;
}

/* Which copies of the table count. */
static gboolean
choose_copies (H2kDisk *volume, H2kFatLayout *layout, const guint8 *boot, GError **error)
{
  guint flags = layout->bits == 32 ? h2k_le16 (boot + 40) : 0;

  layout->copies = boot[16];
  if (!(flags & 0x80))
    return TRUE;
  layout->copies = 1;
  layout->table += (flags & 15) * layout->table_size;
  return (flags & 15) < boot[16] || h2k_fat_corrupt (volume, error, "it has no active table");
}

/* What the boot sector says beyond the places of things. */
static void
parse_extras (H2kFatLayout *layout, const guint8 *boot, guint64 reserved)
{
  gboolean fat32 = layout->bits == 32;
  guint info = h2k_le16 (boot + 48), extended = boot[fat32 ? 66 : 38];

  layout->info = fat32 && info && info < reserved ? (guint64)info * layout->sector : 0;
  layout->medium = boot[21];
  layout->state_at = fat32 ? 65 : 37;
  layout->state = boot[layout->state_at];
  layout->state_kept = extended == 0x28 || extended == 0x29;
}

gboolean
h2k_fat_read_layout (H2kDisk *volume, H2kFatLayout *layout, GError **error)
{
  guint64 sectors, reserved, root_sectors, first, clusters;
  guint8 boot[512];
  gboolean fat32;

  *layout = (H2kFatLayout){0};
  if (!h2k_disk_pread (volume, 0, sizeof boot, boot, error))
    return FALSE;
  layout->sector = h2k_le16 (boot + 11);
  layout->cluster = boot[13] * layout->sector;
  reserved = h2k_le16 (boot + 14);
  sectors = h2k_le16 (boot + 19) ? h2k_le16 (boot + 19) : h2k_le32 (boot + 32);
  fat32 = h2k_le16 (boot + 22) == 0;
  if (layout->sector < 512 || layout->sector > 4096 || !is_power_of_2 (layout->sector)
      || !is_power_of_2 (boot[13]) || !reserved || !boot[16] || boot[16] > 4
      || fat32 != (h2k_le16 (boot + 17) == 0) || (fat32 && h2k_le16 (boot + 42) != 0))
    return h2k_fat_corrupt (volume, error, "its boot sector makes no sense");
  if (sectors > volume->size / layout->sector)
    return h2k_fat_corrupt (volume, error, "it is larger than its volume");

  layout->table = reserved * layout->sector;
  layout->table_size
      = (guint64)(fat32 ? h2k_le32 (boot + 36) : h2k_le16 (boot + 22)) * layout->sector;
  root_sectors = (h2k_le16 (boot + 17) * 32u + layout->sector - 1) / layout->sector;
  first = reserved + boot[16] * (layout->table_size / layout->sector) + root_sectors;
  if (!layout->table_size || first >= sectors)
    return h2k_fat_corrupt (volume, error, "its boot sector makes no sense");
  layout->data = first * layout->sector;
  layout->root_size = h2k_le16 (boot + 17) * 32u;
  layout->root = fat32 ? h2k_le32 (boot + 44) : layout->data - root_sectors * layout->sector;
  clusters = (sectors - first) / boot[13];
  if (!choose_bits (volume, layout, fat32, clusters, error)
      || !choose_copies (volume, layout, boot, error))
    return FALSE;
  layout->end = MIN (clusters + 2, layout->table_size * 8 / layout->bits);
  parse_extras (layout, boot, reserved);
  return layout->end >= 3 || h2k_fat_corrupt (volume, error, "its table has no entries");
}

/* --- the table -------------------------------------------------------------------------------- */

guint64
h2k_fat_window_at (const H2kFatLayout *layout, guint64 index, gsize *length)
{
  gsize bytes = H2K_FAT_WINDOW / 8 * layout->bits;
  guint64 at = index * bytes;

  *length = (gsize)MIN (bytes, layout->table_size - at);
  return at;
}

gboolean
h2k_fat_read_window (H2kDisk *volume, const H2kFatLayout *layout, guint64 index, guint8 *window,
                     gboolean *agree, GError **error)
{
  g_autofree guint8 *other = NULL;
  gsize length;
  guint64 at = h2k_fat_window_at (layout, index, &length);

  memset (window + length, 0xff, H2K_FAT_WINDOW_BYTES - length);
  if (!h2k_disk_pread (volume, layout->table + at, length, window, error))
    return FALSE;
  if (!agree)
    return TRUE;
  *agree = TRUE;
  other = layout->copies > 1 ? g_malloc (length) : NULL;
  for (guint i = 1; i < layout->copies && *agree; i++)
    {
      if (!h2k_disk_pread (volume, layout->table + i * layout->table_size + at, length, other,
                           error))
        return FALSE;
      *agree = memcmp (window, other, length) == 0;
    }
  return TRUE;
}

guint32
h2k_fat_entry (const H2kFatLayout *layout, const guint8 *window, guint i)
{
  guint16 pair;

  if (layout->bits == 32)
    return h2k_le32 (window + i * 4) & 0x0fffffff;
  if (layout->bits == 16)
    return h2k_le16 (window + i * 2);
  pair = h2k_le16 (window + i + i / 2);
  return i % 2 ? pair >> 4 : pair & 0xfff;
}

static void
put_le16 (guint8 *p, guint value)
{
  guint16 v = GUINT16_TO_LE ((guint16)value);
  memcpy (p, &v, sizeof v);
}

void
h2k_fat_set_entry (const H2kFatLayout *layout, guint8 *window, guint i, guint32 entry)
{
  guint8 *p = window + i + i / 2;
  guint32 v;

  if (layout->bits == 32)
    {
      v = GUINT32_TO_LE ((h2k_le32 (window + i * 4) & 0xf0000000) | entry);
      memcpy (window + i * 4, &v, sizeof v);
    }
  else if (layout->bits == 16)
    put_le16 (window + i * 2, entry);
  else if (i % 2)
    put_le16 (p, (h2k_le16 (p) & 0xfu) | entry << 4);
  else
    put_le16 (p, (h2k_le16 (p) & 0xf000u) | entry);
}

guint32
h2k_fat_ones (const H2kFatLayout *layout)
{
  return layout->bits == 12 ? 0xfff : layout->bits == 16 ? 0xffff : 0x0fffffff;
}

/* The two topmost bits of cluster 1's entry; FAT12 has no room for them. */
gboolean
h2k_fat_left_clean (const H2kFatLayout *layout, guint32 entry)
{
  guint32 clean = (h2k_fat_ones (layout) >> 1) + 1, both = clean | clean / 2;

  return layout->bits == 12 || (entry & both) == both;
}
