/* gpt.c - the GUID partition table, from its primary or its backup copy.
 *
 * UEFI specification 2.10, chapter 5.3.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/tables.h"

#define MAX_ENTRIES 4096
#define ATTRIBUTE_LEGACY_BOOT ((guint64)1 << 2)

/* All numbers are little-endian. */
typedef struct __attribute__ ((packed))
{
  guint8 signature[8];        /* 0: "EFI PART" */
  guint8 revision[4];         /* 8 */
  guint8 header_size[4];      /* 12: 92 up to a sector */
  guint8 header_crc32[4];     /* 16: of the header with this field zero */
  guint8 reserved[4];         /* 20 */
  guint8 my_lba[8];           /* 24 */
  guint8 alternate_lba[8];    /* 32: of the other copy */
  guint8 first_usable_lba[8]; /* 40 */
  guint8 last_usable_lba[8];  /* 48 */
  guint8 disk_guid[16];       /* 56 */
  guint8 entry_lba[8];        /* 72 */
  guint8 entry_count[4];      /* 80 */
  guint8 entry_size[4];       /* 84: 128 x 2^n */
  guint8 entries_crc32[4];    /* 88 */
} GptHeader;
G_STATIC_ASSERT (sizeof (GptHeader) == 92);

typedef struct __attribute__ ((packed))
{
  guint8 type[16];        /* 0: zero: not used */
  guint8 unique[16];      /* 16 */
  guint8 starting_lba[8]; /* 32 */
  guint8 ending_lba[8];   /* 40: inclusive */
  guint8 attributes[8];   /* 48 */
  guint8 name[72];        /* 56: UTF-16 */
} GptEntry;
G_STATIC_ASSERT (sizeof (GptEntry) == 128);

/* One copy of the table, checked. */
typedef struct
{
  GptHeader header;
  guint8 *entries;
  guint32 entry_count, entry_size;
} Gpt;

static char *
format_guid (const guint8 *g)
{
  return g_strdup_printf ("%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", h2k_le32 (g),
                          h2k_le16 (g + 4), h2k_le16 (g + 6), g[8], g[9], g[10], g[11], g[12],
                          g[13], g[14], g[15]);
}

/* UTF-16 up to a NUL or the end; half surrogate pairs become U+FFFD. */
static char *
decode_name (const guint8 *name, gsize units)
{
  g_autoptr (GString) out = g_string_new (NULL);

  for (gsize i = 0; i < units; i++)
    {
      gunichar c = h2k_le16 (name + 2 * i), low;

      if (c == 0)
        break;
      if (c >= 0xd800 && c < 0xe000)
        {
          low = c < 0xdc00 && i + 1 < units ? h2k_le16 (name + 2 * i + 2) : 0;
          if (low >= 0xdc00 && low < 0xe000)
            {
              c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
              i++;
            }
          else
            c = 0xfffd;
        }
      g_string_append_unichar (out, c);
    }
  return out->len ? g_strdup (out->str) : NULL;
}

/* Why the header is no good, or NULL. */
static const char *
check_header (const guint8 *sector, guint32 sector_size, guint64 lba)
{
  const GptHeader *header = (const GptHeader *)sector;
  guint32 size = h2k_le32 (header->header_size), zero = 0, crc;

  if (memcmp (header->signature, "EFI PART", 8) != 0)
    return "has no signature";
  if (size < sizeof *header || size > sector_size)
    return "has an impossible size";
  crc = h2k_crc32 (0, sector, G_STRUCT_OFFSET (GptHeader, header_crc32));
  crc = h2k_crc32 (crc, &zero, sizeof zero);
  crc = h2k_crc32 (crc, header->reserved, size - G_STRUCT_OFFSET (GptHeader, reserved));
  if (crc != h2k_le32 (header->header_crc32))
    return "has a wrong checksum";
  if (h2k_le64 (header->my_lba) != lba)
    return "belongs to another sector";
  return NULL;
}

/* Where the entries are, or why they cannot be, as with check_header(). */
static const char *
check_entries (const Gpt *gpt, guint64 sectors, guint32 sector_size)
{
  guint64 lba = h2k_le64 (gpt->header.entry_lba), bytes;

  if (gpt->entry_size < sizeof (GptEntry) || gpt->entry_size > 4096
      || (gpt->entry_size & (gpt->entry_size - 1)))
    return "has entries of an impossible size";
  if (gpt->entry_count == 0 || gpt->entry_count > MAX_ENTRIES)
    return "has an impossible number of entries";
  bytes = (guint64)gpt->entry_count * gpt->entry_size;
  if (lba < 2 || lba >= sectors || bytes > (sectors - lba) * sector_size)
    return "has entries outside of the disk";
  return NULL;
}

/* Read and check the copy whose header is at LBA. NULL and no error when it is no good; WHY then
 * says it. */
static gboolean
read_copy (Gpt *gpt, H2kDisk *disk, guint64 lba, guint32 sector_size, const char **why,
           GError **error)
{
  guint64 sectors = disk->size / sector_size;
  g_autofree guint8 *sector = g_malloc (sector_size);
  gsize bytes;

  if (lba < 1 || lba >= sectors)
    {
      *why = "lies outside of the disk";
      return FALSE;
    }
  if (!h2k_disk_pread (disk, lba * sector_size, sector_size, sector, error))
    return FALSE;
  *why = check_header (sector, sector_size, lba);
  if (*why)
    return FALSE;
  memcpy (&gpt->header, sector, sizeof gpt->header);
  gpt->entry_count = h2k_le32 (gpt->header.entry_count);
  gpt->entry_size = h2k_le32 (gpt->header.entry_size);
  *why = check_entries (gpt, sectors, sector_size);
  if (*why)
    return FALSE;

  bytes = (gsize)gpt->entry_count * gpt->entry_size;
  g_free (gpt->entries);
  gpt->entries = g_malloc (bytes);
  if (!h2k_disk_pread (disk, h2k_le64 (gpt->header.entry_lba) * sector_size, bytes, gpt->entries,
                       error))
    return FALSE;
  if (h2k_crc32 (0, gpt->entries, bytes) != h2k_le32 (gpt->header.entries_crc32))
    *why = "has entries with a wrong checksum";
  return *why == NULL;
}

gboolean
h2k_gpt_is_there (H2kDisk *disk, guint32 sector_size)
{
  guint8 signature[8];

  return disk->size >= 2 * (guint64)sector_size
         && h2k_disk_pread (disk, sector_size, sizeof signature, signature, NULL)
         && memcmp (signature, "EFI PART", 8) == 0;
}

/* The primary copy, else the backup: where the primary header says, else in the last sector. */
static gboolean
find_copy (Gpt *gpt, H2kTable *table, H2kDisk *disk, guint32 sector_size, GError **error)
{
  guint64 last = disk->size / sector_size - 1, where[2] = {last, last};
  const char *why_primary = NULL, *why_backup = NULL;

  if (read_copy (gpt, disk, 1, sector_size, &why_primary, error))
    return TRUE;
  if (*error)
    return FALSE;
  /* The header itself can be good while its entries are not. */
  if (memcmp (gpt->header.signature, "EFI PART", 8) == 0)
    where[0] = h2k_le64 (gpt->header.alternate_lba);
  for (int i = 0; i < 2 && !*error; i++)
    if (read_copy (gpt, disk, where[i], sector_size, &why_backup, error))
      {
        table->from_backup = TRUE;
        h2k_table_warn (table, "the primary GPT %s; its backup is used", why_primary);
        return TRUE;
      }
  if (!*error && h2k_gpt_is_there (disk, sector_size))
    h2k_table_warn (table, "the primary GPT %s and its backup %s", why_primary, why_backup);
  return FALSE;
}

static void
add_entry (H2kTable *table, H2kDisk *disk, guint number, const GptEntry *entry, guint32 unit)
{
  guint64 first = h2k_le64 (entry->starting_lba), last = h2k_le64 (entry->ending_lba);
  H2kVolume *volume;

  if (h2k_is_zero (entry->type, sizeof entry->type))
    return;
  if (first == 0 || first > last || last >= disk->size / unit)
    {
      h2k_table_warn (table,
                      "partition %u is passed over: its sectors %" G_GUINT64_FORMAT
                      " to %" G_GUINT64_FORMAT " do not fit the disk of %" G_GUINT64_FORMAT,
                      number, first, last, disk->size / unit);
      return;
    }
  volume = h2k_volume_new (number, first * unit, (last - first + 1) * unit);
  volume->active = (h2k_le64 (entry->attributes) & ATTRIBUTE_LEGACY_BOOT) != 0;
  volume->type_guid = format_guid (entry->type);
  volume->part_uuid = format_guid (entry->unique);
  volume->part_label = decode_name (entry->name, sizeof entry->name / 2);
  h2k_table_add (table, disk, volume);
}

gboolean
h2k_gpt_read (H2kTable *table, H2kDisk *disk, guint32 sector_size, GError **error)
{
  Gpt gpt = {0};
  gboolean ok;

  if (disk->size < 3 * (guint64)sector_size)
    return FALSE;
  ok = find_copy (&gpt, table, disk, sector_size, error);
  if (ok)
    {
      table->sector_size = sector_size;
      table->disk_id = format_guid (gpt.header.disk_guid);
      for (guint i = 0; i < gpt.entry_count; i++)
        add_entry (table, disk, i + 1, (const GptEntry *)(gpt.entries + (gsize)i * gpt.entry_size),
                   sector_size);
      for (guint i = 0; i < table->volumes->len; i++)
        ((H2kVolume *)table->volumes->pdata[i])->disk->sector_size = sector_size;
    }
  g_free (gpt.entries);
  return ok;
}
