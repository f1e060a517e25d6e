/* mbr.c - the master boot record of PCs and the chain of extended boot records.
 *
 * UEFI specification 2.10, chapter 5.2 (legacy MBR); the extended records as Linux reads them
 * (block/partitions/msdos.c), which is what the partitions' numbers have to agree with.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/tables.h"

#define MAX_NUMBER 255 /* of a partition */

typedef struct __attribute__ ((packed))
{
  guint8 boot_indicator;  /* 0: 0x80 or 0 */
  guint8 start_chs[3];    /* 1: not used */
  guint8 os_type;         /* 4 */
  guint8 end_chs[3];      /* 5: not used */
  guint8 starting_lba[4]; /* 8: little-endian; relative in an extended boot record */
  guint8 size_in_lba[4];  /* 12 */
} MbrPartition;
G_STATIC_ASSERT (sizeof (MbrPartition) == 16);

typedef struct __attribute__ ((packed))
{
  guint8 boot_code[440];     /* 0 */
  guint8 signature[4];       /* 440: of the disk, little-endian */
  guint8 unknown[2];         /* 444 */
  MbrPartition partition[4]; /* 446 */
  guint8 magic[2];           /* 510: 55 aa */
} Mbr;
G_STATIC_ASSERT (sizeof (Mbr) == 512);

/* The walk along one chain of extended boot records. */
typedef struct
{
  H2kTable *table;
  H2kDisk *disk;
  guint32 signature;
  guint next_number;
} Walk;

gboolean
h2k_mbr_parse (const guint8 *sector, H2kMbrEntry entries[4])
{
  const Mbr *mbr = (const Mbr *)sector;

  if (mbr->magic[0] != 0x55 || mbr->magic[1] != 0xaa)
    return FALSE;
  for (int i = 0; i < 4; i++)
    entries[i] = (H2kMbrEntry){
        .active = mbr->partition[i].boot_indicator,
        .type = mbr->partition[i].os_type,
        .start = h2k_le32 (mbr->partition[i].starting_lba),
        .count = h2k_le32 (mbr->partition[i].size_in_lba),
    };
  return TRUE;
}

gboolean
h2k_mbr_is_protective (const H2kMbrEntry entries[4])
{
  for (int i = 0; i < 4; i++)
    if (entries[i].type == 0xee)
      return TRUE;
  return FALSE;
}

/* A FAT boot sector has no magic of its own: its parameter block has to make sense. */
static gboolean
is_fat (const guint8 *sector)
{
  guint16 bytes = h2k_le16 (sector + 11);
  guint8 cluster = sector[13], fats = sector[16], media = sector[21];

  return (bytes == 512 || bytes == 1024 || bytes == 2048 || bytes == 4096) && cluster != 0
         && (cluster & (cluster - 1)) == 0 && h2k_le16 (sector + 14) != 0
         && (fats == 1 || fats == 2) && (media == 0xf0 || media >= 0xf8)
         && (h2k_le16 (sector + 19) || h2k_le32 (sector + 32))  /* sectors in all */
         && (h2k_le16 (sector + 22) || h2k_le32 (sector + 36)); /* sectors a FAT */
}

gboolean
h2k_is_filesystem_boot_sector (const guint8 *sector)
{
  return memcmp (sector + 3, "NTFS    ", 8) == 0 || memcmp (sector + 3, "EXFAT   ", 8) == 0
         || memcmp (sector + 3, "-FVE-FS-", 8) == 0 /* BitLocker */
         || is_fat (sector);
}

static gboolean
is_used (const H2kMbrEntry *entry)
{
  return entry->type != 0 && entry->count != 0;
}

static gboolean
is_extended (const H2kMbrEntry *entry)
{
  return is_used (entry) && (entry->type == 0x05 || entry->type == 0x0f || entry->type == 0x85);
}

/* START is the entry's, made absolute. */
static void
add_partition (Walk *walk, guint number, const H2kMbrEntry *entry, guint64 start)
{
  guint32 unit = walk->disk->sector_size;
  H2kVolume *volume = h2k_volume_new (number, start * unit, (guint64)entry->count * unit);

  volume->mbr_type = entry->type;
  volume->active = entry->active == 0x80;
  if (walk->signature)
    volume->part_uuid = g_strdup_printf ("%08x-%02x", walk->signature, number);
  h2k_table_add (walk->table, walk->disk, volume);
}

/* One extended boot record: its logical partitions are added, the next record is returned, 0 at
 * the chain's end. */
static guint64
read_record (Walk *walk, const H2kMbrEntry entries[4], guint64 here, guint64 base, guint64 end)
{
  guint64 next = 0;

  for (int i = 0; i < 4; i++)
    {
      guint64 start = here + entries[i].start;

      if (!is_used (&entries[i]))
        continue;
      if (is_extended (&entries[i]))
        {
          if (!next)
            next = base + entries[i].start;
          continue;
        }
      /* Only the first two slots are for use; some programs leave garbage in the others. */
      if (i >= 2 && (start < base || start + entries[i].count > end))
        continue;
      if (walk->next_number > MAX_NUMBER)
        return 0;
      if (start < base || start + entries[i].count > end)
        h2k_table_warn (walk->table, "partition %u lies outside of its extended partition",
                        walk->next_number);
      add_partition (walk, walk->next_number, &entries[i], start);
      walk->next_number++;
    }
  return next;
}

static gboolean
read_chain (Walk *walk, const H2kMbrEntry *extended, GError **error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  guint64 base = extended->start, end = base + extended->count;
  guint32 unit = walk->disk->sector_size;

  for (guint64 here = base; here;)
    {
      guint8 sector[512];
      H2kMbrEntry entries[4];

      if (here * unit + sizeof sector > walk->disk->size || here < base || here >= end)
        {
          h2k_table_warn (walk->table,
                          "the chain of logical partitions leaves its extended partition at sector "
                          "%" G_GUINT64_FORMAT "; the rest of it is passed over",
                          here);
          return TRUE;
        }
      if (!g_hash_table_add (seen, g_memdup2 (&here, sizeof here)))
        {
          h2k_table_warn (walk->table,
                          "the chain of logical partitions comes back to sector %" G_GUINT64_FORMAT
                          "; the rest of it is passed over",
                          here);
          return TRUE;
        }
      if (g_hash_table_size (seen) > 2 * MAX_NUMBER || walk->next_number > MAX_NUMBER)
        {
          h2k_table_warn (walk->table,
                          "there are more than %d partitions; the rest of them is "
                          "passed over",
                          MAX_NUMBER);
          return TRUE;
        }
      if (!h2k_disk_pread (walk->disk, here * unit, sizeof sector, sector, error))
        return FALSE;
      if (!h2k_mbr_parse (sector, entries))
        {
          h2k_table_warn (walk->table,
                          "there is no boot record at sector %" G_GUINT64_FORMAT
                          ", where the chain of logical partitions goes on; the rest of it is "
                          "passed over",
                          here);
          return TRUE;
        }
      here = read_record (walk, entries, here, base, end);
    }
  return TRUE;
}

/* Boot code or text in the place of a table has odd boot indicators, no types, or starts nowhere
 * on the disk. */
static gboolean
makes_sense (H2kDisk *disk, const H2kMbrEntry entries[4])
{
  gboolean any = FALSE;

  for (int i = 0; i < 4; i++)
    {
      if (entries[i].active != 0 && entries[i].active != 0x80)
        return FALSE;
      if (is_used (&entries[i]) && entries[i].start > 0
          && (guint64)entries[i].start * disk->sector_size < disk->size)
        any = TRUE;
    }
  return any;
}

gboolean
h2k_mbr_read (H2kTable *table, H2kDisk *disk, const guint8 *sector, const H2kMbrEntry entries[4],
              GError **error)
{
  Walk walk = {table, disk, h2k_le32 (((const Mbr *)sector)->signature), 5};

  if (!makes_sense (disk, entries))
    return FALSE;
  if (walk.signature)
    table->disk_id = g_strdup_printf ("%08x", walk.signature);
  for (guint i = 0; i < 4; i++)
    if (is_used (&entries[i]))
      {
        if (entries[i].start == 0)
          h2k_table_warn (table, "partition %u is passed over: it starts at the table itself",
                          i + 1);
        else
          add_partition (&walk, i + 1, &entries[i], entries[i].start);
      }
  for (guint i = 0; i < 4; i++)
    if (is_extended (&entries[i]) && entries[i].start > 0
        && !read_chain (&walk, &entries[i], error))
      return FALSE;
  return TRUE;
}
