/* boot-sector.c - what a BIOS loads before any file: the master boot record, and the boot sector of
 * the active partition.
 *
 * Boot sectors say where their partition starts and which geometry the BIOS reports. The code in
 * them believes it: with a wrong start nothing is found, and with wrong heads that of Windows XP
 * stops with a blinking cursor. SeaBIOS reports 255 heads and 63 sectors for disks of more than
 * about 4 GiB.
 *
 * Formats: the BIOS parameter block of Microsoft's FAT specification, which NTFS has, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/boot.h"

#include "volume/tables.h"

#define SECTOR 512u
#define CODE_SIZE 440u
#define TABLE_OFFSET 446u
#define HEADS 255u
#define SECTORS 63u
/* Sectors from which on SeaBIOS' translation reports 255 heads, whatever the table says: it divides
 * by 63 sectors and 1024 cylinders. */
#define LARGE_DISK (G_GUINT64_CONSTANT (129) * 1024 * 63)
#define ADVICE "run bootrec /fixmbr and bootrec /fixboot from Windows' installation medium"

/* Of a boot sector: what is looked at. */
enum
{
  AT_OEM = 3, /* 8 bytes: "NTFS    " */
  AT_SECTORS_PER_TRACK = 24,
  AT_HEADS = 26,
  AT_HIDDEN = 28,      /* sectors before the partition */
  AT_NTFS_TOTAL = 40,  /* 64 bits: sectors without the last, which has the copy */
  AT_FAT_SIZE_16 = 22, /* 0: FAT32 */
  AT_FAT32_COPY = 50,  /* sector of the copy */
};

static void
put16 (guint8 *p, guint16 value)
{
  value = GUINT16_TO_LE (value);
  memcpy (p, &value, sizeof value);
}

static void
put32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (p, &value, sizeof value);
}

/* --- the boot sector -------------------------------------------------------------------------- */

/* What SECTOR says, in words. */
static char *
describe (const guint8 *sector)
{
  return g_strdup_printf ("hidden sectors %u\nheads %u\nsectors per track %u\n",
                          h2k_le32 (sector + AT_HIDDEN), h2k_le16 (sector + AT_HEADS),
                          h2k_le16 (sector + AT_SECTORS_PER_TRACK));
}

/* Set what is wrong in SECTOR; FALSE: nothing is. */
static gboolean
correct (const H2kGuest *guest, const H2kGuestVolume *volume, guint8 *sector)
{
  const H2kDisk *disk = guest->disks->pdata[volume->disk];
  guint64 start = h2k_windows_partition (volume)->offset / SECTOR;
  gboolean changed = FALSE;

  if (start <= G_MAXUINT32 && h2k_le32 (sector + AT_HIDDEN) != start)
    {
      put32 (sector + AT_HIDDEN, (guint32)start);
      changed = TRUE;
    }
  /* Later boot sectors read by numbers of sectors. */
  if (guest->bootloader == H2K_BOOTLOADER_NTLDR && disk->size / SECTOR >= LARGE_DISK
      && (h2k_le16 (sector + AT_HEADS) != HEADS
          || h2k_le16 (sector + AT_SECTORS_PER_TRACK) != SECTORS))
    {
      put16 (sector + AT_HEADS, HEADS);
      put16 (sector + AT_SECTORS_PER_TRACK, SECTORS);
      changed = TRUE;
    }
  return changed;
}

/* Where the copy of the boot sector SECTOR is; 0: there is none. */
static guint64
copy_of (const guint8 *sector, guint64 size)
{
  guint64 number = 0;

  if (memcmp (sector + AT_OEM, "NTFS    ", 8) == 0)
    number = h2k_le64 (sector + AT_NTFS_TOTAL);
  else if (h2k_le16 (sector + AT_FAT_SIZE_16) == 0)
    number = h2k_le16 (sector + AT_FAT32_COPY);
  return number < size / SECTOR && number != 0xffff ? number * SECTOR : 0;
}

/* The copy differs in nothing but what is corrected; another thing is not one. */
static gboolean
write_copy (const H2kGuest *guest, H2kGuestVolume *volume, const guint8 *old, GError **error)
{
  H2kDisk *disk = volume->volume->disk;
  guint64 offset = copy_of (old, disk->size);
  guint8 copy[SECTOR];

  if (offset == 0)
    return TRUE;
  if (!h2k_disk_pread (disk, offset, SECTOR, copy, error))
    return FALSE;
  if (memcmp (copy + AT_OEM, old + AT_OEM, 8) != 0 || !h2k_is_filesystem_boot_sector (copy)
      || !correct (guest, volume, copy))
    return TRUE;
  return h2k_disk_pwrite (disk, offset, SECTOR, copy, error);
}

static gboolean
check_volume (H2kRepairContext *context, H2kGuestVolume *volume, GError **error)
{
  H2kDisk *disk = volume->volume->disk;
  guint8 old[SECTOR], sector[SECTOR];
  g_autofree char *where = NULL;
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;

  if (disk->size < SECTOR || !h2k_disk_pread (disk, 0, SECTOR, old, error))
    return disk->size < SECTOR;
  memcpy (sector, old, SECTOR);
  if (!h2k_is_filesystem_boot_sector (sector) || !correct (context->guest, volume, sector))
    return TRUE;
  if (!h2k_fs_check_writable (volume->fs, error)
      || !h2k_disk_pwrite (disk, 0, SECTOR, sector, error)
      || !write_copy (context->guest, volume, old, error))
    return FALSE;
  where = g_strdup_printf ("(boot sector of partition %u)", h2k_windows_partition (volume)->number);
  before = describe (old);
  after = describe (sector);
  h2k_windows_record_place (context, where, before, after,
                            "the boot code relies on where its partition starts and on the "
                            "geometry that the BIOS reports");
  return TRUE;
}

/* --- the master boot record ------------------------------------------------------------------- */

static gboolean
activate (H2kRepairContext *context, H2kGuestVolume *volume, GError **error)
{
  H2kDisk *disk = context->guest->disks->pdata[volume->disk];
  guint number = h2k_windows_partition (volume)->number;
  const guint8 active = 0x80;
  g_autofree char *after = g_strdup_printf ("active partition %u\n", number);

  if (!h2k_disk_pwrite (disk, TABLE_OFFSET + 16 * (number - 1), 1, &active, error))
    return FALSE;
  h2k_windows_record_place (context, "(master boot record)", "active partition none\n", after,
                            "the boot code starts the active partition, and none was");
  return TRUE;
}

static gboolean
check_record (H2kRepairContext *context, H2kGuestVolume *volume, GError **error)
{
  H2kDisk *disk = context->guest->disks->pdata[volume->disk];
  guint number = h2k_windows_partition (volume)->number, active = 0;
  H2kMbrEntry entries[4];
  guint8 sector[SECTOR];

  if (!h2k_disk_pread (disk, 0, SECTOR, sector, error))
    return FALSE;
  if (!h2k_mbr_parse (sector, entries))
    return TRUE;
  if (h2k_is_zero (sector, CODE_SIZE))
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_REPAIR,
                           "the disk that Windows starts from has no boot code in its first "
                           "sector: " ADVICE ", or give the disk that has it");
      return FALSE;
    }
  for (guint i = 4; i > 0; i--)
    if (entries[i - 1].active & 0x80)
      active = i;
  if (active == 0 && number >= 1 && number <= 4)
    return activate (context, volume, error);
  if (active != 0 && active != number)
    h2k_repair_warn (context,
                     "the active partition is %u, but what starts Windows is on partition %u",
                     active, number);
  return TRUE;
}

gboolean
h2k_windows_repair_sectors (H2kRepairContext *context, GError **error)
{
  H2kGuestVolume *volume = h2k_windows_boot_volume (context->guest);
  const H2kTable *table = context->guest->tables->pdata[volume->disk];
  const H2kDisk *disk = context->guest->disks->pdata[volume->disk];

  /* A BIOS starts from an MBR with sectors of 512 bytes. */
  if (table->type != H2K_TABLE_MBR || disk->sector_size != SECTOR)
    return TRUE;
  return check_record (context, volume, error) && check_volume (context, volume, error);
}
