/* identify.c - what a volume holds, from the magic numbers of its superblock.
 *
 * One function a format, named in the table at the end, which is in the order of libblkid: what is
 * put around filesystems (RAID, LVM, LUKS) comes before what may lie inside. Types, UUIDs and
 * labels are written as libblkid writes them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"

/* A reader that remembers whether the disk failed, as opposed to being too short. */
typedef struct
{
  H2kDisk *disk;
  GError *error;
} Volume;

static gboolean
get (Volume *volume, guint64 offset, gsize length, void *buffer)
{
  if (volume->error || offset > volume->disk->size || length > volume->disk->size - offset)
    return FALSE;
  return h2k_disk_pread (volume->disk, offset, length, buffer, &volume->error);
}

/* --- text ------------------------------------------------------------------------------------- */

static void
set_type (H2kFsId *id, const char *type)
{
  g_strlcpy (id->type, type, sizeof id->type);
}

/* A label of at most LENGTH bytes: ends at a NUL, trailing blanks do not count. */
static void
set_label (H2kFsId *id, const void *text, gsize length)
{
  const char *p = text;
  g_autofree char *escaped = NULL;
  const char *end = memchr (p, 0, length);

  if (end)
    length = (gsize)(end - p);
  while (length && g_ascii_isspace (p[length - 1]))
    length--;
  escaped = h2k_escape_text (p, (gssize)length);
  if (strlen (escaped) >= sizeof id->label)
    {
      /* Cut between characters. */
      char *cut = escaped + sizeof id->label - 1;
      while (cut > escaped && ((guint8)*cut & 0xc0) == 0x80)
        cut--;
      *cut = 0;
    }
  g_strlcpy (id->label, escaped, sizeof id->label);
}

static void
set_label_utf16 (H2kFsId *id, const guint8 *text, gsize units, gboolean big_endian)
{
  g_autofree gunichar2 *utf16 = g_new0 (gunichar2, units + 1);
  g_autofree char *utf8 = NULL;
  glong written = 0;

  for (gsize i = 0; i < units; i++)
    utf16[i] = big_endian ? h2k_be16 (text + 2 * i) : h2k_le16 (text + 2 * i);
  utf8 = g_utf16_to_utf8 (utf16, (glong)units, NULL, &written, NULL);
  if (utf8)
    set_label (id, utf8, (gsize)written);
}

/* The 16 bytes of a UUID; all zeros are none. */
void
h2k_fs_format_uuid (const guint8 *uuid, char *text)
{
  for (guint i = 0; i < 16; i++, text += 2)
    {
      if (i == 4 || i == 6 || i == 8 || i == 10)
        *text++ = '-';
      g_snprintf (text, 3, "%02x", uuid[i]);
    }
}

static void
set_uuid (H2kFsId *id, const guint8 *uuid)
{
  if (!h2k_is_zero (uuid, 16))
    h2k_fs_format_uuid (uuid, id->uuid);
}

/* --- md RAID: Documentation/admin-guide/md.rst, drivers/md/md_p.h ------------------------------
 */

#define MD_MAGIC 0xa92b4efcu

static gboolean
probe_md_old (Volume *volume, H2kFsId *id)
{
  guint64 size = volume->disk->size, offset;
  guint8 sb[64], uuid[16];
  gboolean little;

  if (size < 65536)
    return FALSE;
  offset = (size & ~(guint64)65535) - 65536;
  if (!get (volume, offset, sizeof sb, sb))
    return FALSE;
  little = h2k_le32 (sb) == MD_MAGIC;
  if (!little && h2k_be32 (sb) != MD_MAGIC)
    return FALSE;
  /* Major version 0; words 5 and, since version 0.90, 13 to 15 are the UUID, printed as numbers. */
  if ((little ? h2k_le32 (sb + 4) : h2k_be32 (sb + 4)) != 0)
    return FALSE;
  memset (uuid, 0, sizeof uuid);
  for (guint i = 0; i < 4; i++)
    {
      const guint8 *word = sb + (i == 0 ? 20 : 48 + 4 * i);
      guint32 value = GUINT32_TO_BE (little ? h2k_le32 (word) : h2k_be32 (word));
      if (i == 0 || (little ? h2k_le32 (sb + 8) : h2k_be32 (sb + 8)) >= 90)
        memcpy (uuid + 4 * i, &value, 4);
    }
  set_uuid (id, uuid);
  return TRUE;
}

static gboolean
probe_md_new (Volume *volume, H2kFsId *id)
{
  guint64 sectors = volume->disk->size / 512;
  /* Versions 1.1, 1.2 and 1.0: at the start, 4 KiB behind it, near the end. */
  const guint64 places[] = {0, 8, sectors >= 16 ? (sectors - 16) & ~(guint64)7 : 0};

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      guint8 sb[256];
      if (!get (volume, places[i] * 512, sizeof sb, sb) || h2k_le32 (sb) != MD_MAGIC
          || h2k_le32 (sb + 4) != 1 || h2k_le64 (sb + 144) != places[i])
        continue;
      set_uuid (id, sb + 16);
      set_label (id, sb + 32, 32);
      return TRUE;
    }
  return FALSE;
}

static gboolean
probe_md (Volume *volume, H2kFsId *id)
{
  return probe_md_new (volume, id) || probe_md_old (volume, id);
}

/* --- LVM: the label in one of the first four sectors -------------------------------------------
 */

static gboolean
probe_lvm (Volume *volume, H2kFsId *id)
{
  for (guint64 sector = 0; sector < 4; sector++)
    {
      guint8 label[512];
      guint32 header;
      if (!get (volume, sector * 512, sizeof label, label) || memcmp (label, "LABELONE", 8) != 0
          || memcmp (label + 24, "LVM2 001", 8) != 0 || h2k_le64 (label + 8) != sector)
        continue;
      header = h2k_le32 (label + 20);
      if (header > sizeof label - 32)
        continue;
      /* 32 letters in groups of 6, 4, 4, 4, 4, 4, 6. */
      for (guint i = 0, at = 0; i < 32; i++)
        {
          char c = (char)label[header + i];
          if (i == 6 || i == 10 || i == 14 || i == 18 || i == 22 || i == 26)
            id->uuid[at++] = '-';
          id->uuid[at++] = g_ascii_isalnum (c) ? c : '?';
        }
      return TRUE;
    }
  return FALSE;
}

/* --- LUKS: "LUKS On-Disk Format Specification", versions 1.2 and 2 ------------------------------
 */

static gboolean
probe_luks (Volume *volume, H2kFsId *id)
{
  guint8 header[208];
  guint version;

  if (!get (volume, 0, sizeof header, header) || memcmp (header, "LUKS\xba\xbe", 6) != 0)
    return FALSE;
  version = h2k_be16 (header + 6);
  if (version != 1 && version != 2)
    return FALSE;
  for (guint i = 0; i < 40 && (g_ascii_isxdigit (header[168 + i]) || header[168 + i] == '-'); i++)
    id->uuid[i] = (char)header[168 + i];
  if (version == 2)
    set_label (id, header + 24, 48);
  return TRUE;
}

/* --- swap: mm/swapfile.c, include/linux/swap.h --------------------------------------------------
 */

/* Marks that software suspend leaves in place of the signature while a memory image is stored. */
static const char *const suspend_marks[]
    = {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"};

static gboolean
is_suspend_mark (const guint8 *magic)
{
  for (guint i = 0; i < G_N_ELEMENTS (suspend_marks); i++)
    if (memcmp (magic, suspend_marks[i], strlen (suspend_marks[i])) == 0)
      return TRUE;
  return FALSE;
}

static gboolean
probe_swap (Volume *volume, H2kFsId *id)
{
  for (guint64 page = 4096; page <= 65536; page *= 2)
    {
      guint8 magic[10], header[44];
      gboolean suspended;
      if (!get (volume, page - 10, sizeof magic, magic))
        return FALSE;
      suspended = is_suspend_mark (magic);
      if (memcmp (magic, "SWAP-SPACE", 10) == 0)
        return TRUE; /* version 0 has neither UUID nor label */
      if (!suspended && memcmp (magic, "SWAPSPACE2", 10) != 0)
        continue;
      if (!get (volume, 1024, sizeof header, header)
          || (h2k_le32 (header) != 1 && h2k_be32 (header) != 1))
        continue;
      set_uuid (id, header + 12);
      set_label (id, header + 28, 16);
      if (suspended)
        g_message ("%s: the swap space holds a suspended system: it will be lost, shut the "
                   "virtual machine down properly if that matters",
                   volume->disk->name);
      return TRUE;
    }
  return FALSE;
}

/* --- ext2, ext3, ext4 ---------------------------------------------------------------------------
 */

enum
{
  EXT_HAS_JOURNAL = 0x4,
  EXT_JOURNAL_DEV = 0x8,
  EXT_TEST_FILESYS = 0x4,
  EXT2_RO_COMPAT = 0x1 | 0x2 | 0x4, /* sparse_super, large_file, btree_dir */
  EXT2_INCOMPAT = 0x2 | 0x10,       /* filetype, meta_bg */
  EXT3_INCOMPAT = EXT2_INCOMPAT | 0x4,
};

static gboolean
probe_ext (Volume *volume, H2kFsId *id)
{
  guint8 sb[256];
  guint32 compat, incompat, ro_compat;
  gboolean newer;

  if (!get (volume, 1024, sizeof sb, sb) || h2k_le16 (sb + 56) != 0xef53)
    return FALSE;
  compat = h2k_le32 (sb + 92);
  incompat = h2k_le32 (sb + 96);
  ro_compat = h2k_le32 (sb + 100);
  set_uuid (id, sb + 104);
  set_label (id, sb + 120, 16);

  /* The type is the oldest driver that understands all the features. */
  newer = (ro_compat & ~(guint32)EXT2_RO_COMPAT) || (incompat & ~(guint32)EXT3_INCOMPAT);
  if (incompat & EXT_JOURNAL_DEV)
    set_type (id, "jbd");
  else if (newer)
    set_type (id, "ext4");
  else if (compat & EXT_HAS_JOURNAL)
    set_type (id, "ext3");
  else
    set_type (id, incompat & ~(guint32)EXT2_INCOMPAT ? "ext4" : "ext2");
  return TRUE;
}

/* --- XFS, Btrfs ---------------------------------------------------------------------------------
 */

static gboolean
probe_xfs (Volume *volume, H2kFsId *id)
{
  guint8 sb[120];

  if (!get (volume, 0, sizeof sb, sb) || memcmp (sb, "XFSB", 4) != 0)
    return FALSE;
  set_uuid (id, sb + 32);
  set_label (id, sb + 108, 12);
  return TRUE;
}

static gboolean
probe_btrfs (Volume *volume, H2kFsId *id)
{
  guint8 sb[1024];

  if (!get (volume, 65536, sizeof sb, sb) || memcmp (sb + 64, "_BHRfS_M", 8) != 0)
    return FALSE;
  set_uuid (id, sb + 32);
  set_label (id, sb + 299, 256);
  return TRUE;
}

/* --- NTFS: the boot sector and, for the label, the file record 3 ($Volume) -----------------------
 */

#define NTFS_MAX_RECORD 4096u

/* The volume's name among the attributes of the file record. */
static void
find_ntfs_label (const guint8 *record, guint size, H2kFsId *id)
{
  guint at = h2k_le16 (record + 20);

  while (at <= size - 24)
    {
      guint32 type = h2k_le32 (record + at), length = h2k_le32 (record + at + 4);
      if (type == 0xffffffff || length < 24 || length > size - at)
        return;
      if (type == 0x60 && record[at + 8] == 0) /* $VOLUME_NAME, resident */
        {
          guint32 value_length = h2k_le32 (record + at + 16);
          guint32 value = h2k_le16 (record + at + 20);
          if (value <= length && value_length <= length - value)
            set_label_utf16 (id, record + at + value, value_length / 2, FALSE);
          return;
        }
      at += length;
    }
}

static gboolean
probe_ntfs (Volume *volume, H2kFsId *id)
{
  guint8 boot[512], record[NTFS_MAX_RECORD];
  guint sector, record_size;
  guint64 per_cluster, mft, serial;

  if (!get (volume, 0, sizeof boot, boot) || memcmp (boot + 3, "NTFS    ", 8) != 0)
    return FALSE;
  sector = h2k_le16 (boot + 11);
  /* More than 128 sectors are written as a negative power of two. */
  per_cluster = boot[13] <= 128 ? boot[13] : boot[13] >= 0xe1 ? 1ull << (256 - boot[13]) : 0;
  if (sector < 256 || sector > 4096 || (sector & (sector - 1)) || !per_cluster
      || (per_cluster & (per_cluster - 1)))
    return FALSE;
  serial = h2k_le64 (boot + 72);
  g_snprintf (id->uuid, sizeof id->uuid, "%016" G_GINT64_MODIFIER "X", serial);

  record_size = boot[64] < 128     ? (guint)(boot[64] * per_cluster * sector)
                : boot[64] >= 0xe1 ? 1u << (256 - boot[64])
                                   : 0;
  mft = h2k_le64 (boot + 48);
  if (record_size < 512 || record_size > NTFS_MAX_RECORD
      || mft > volume->disk->size / (per_cluster * sector))
    return TRUE;
  if (get (volume, mft * per_cluster * sector + 3 * record_size, record_size, record)
      && memcmp (record, "FILE", 4) == 0)
    find_ntfs_label (record, record_size, id);
  return TRUE;
}

/* BitLocker, as [MS] "BitLocker Drive Encryption" volumes of Vista and later begin; those made on
 * removable disks look like FAT but for an identifier. */
static gboolean
probe_bitlocker (Volume *volume, H2kFsId *id)
{
  static const guint8 to_go[16] = {0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a,
                                   0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01};
  guint8 boot[512];

  return get (volume, 0, sizeof boot, boot) && boot[0] == 0xeb
         && (memcmp (boot + 3, "-FVE-FS-", 8) == 0
             || (memcmp (boot + 3, "MSWIN4.1", 8) == 0
                 && memcmp (boot + 424, to_go, sizeof to_go) == 0));
}

/* The volume boot record of ReFS, any version. */
static gboolean
probe_refs (Volume *volume, H2kFsId *id)
{
  guint8 boot[512];

  return get (volume, 0, sizeof boot, boot) && memcmp (boot + 3, "ReFS\0\0\0\0", 8) == 0
         && memcmp (boot + 16, "FSRS", 4) == 0;
}

/* --- FAT: "Microsoft Extensible Firmware Initiative FAT32 File System Specification" 1.03 --------
 */

typedef struct
{
  guint sector, cluster;   /* bytes, sectors */
  guint64 fat, fat_length; /* sectors */
  guint64 root, data;      /* sectors */
  guint32 root_entries;    /* 0: FAT32 */
  guint32 root_cluster;
  guint64 clusters;
} Fat;

static gboolean
parse_fat (const guint8 *boot, Fat *fat)
{
  guint64 sectors = h2k_le16 (boot + 19) ? h2k_le16 (boot + 19) : h2k_le32 (boot + 32);
  guint fats = boot[16], media = boot[21];

  fat->sector = h2k_le16 (boot + 11);
  fat->cluster = boot[13];
  fat->fat = h2k_le16 (boot + 14);
  fat->fat_length = h2k_le16 (boot + 22) ? h2k_le16 (boot + 22) : h2k_le32 (boot + 36);
  fat->root_entries = h2k_le16 (boot + 17);
  fat->root_cluster = fat->root_entries ? 0 : h2k_le32 (boot + 44);
  if (h2k_le16 (boot + 510) != 0xaa55 || fat->sector < 512 || fat->sector > 4096
      || (fat->sector & (fat->sector - 1)) || !fat->cluster || (fat->cluster & (fat->cluster - 1))
      || !fat->fat || !fats || fats > 4 || !fat->fat_length || (media != 0xf0 && media < 0xf8))
    return FALSE;
  fat->root = fat->fat + fats * fat->fat_length;
  fat->data = fat->root + ((guint64)fat->root_entries * 32 + fat->sector - 1) / fat->sector;
  if (sectors <= fat->data)
    return FALSE;
  fat->clusters = (sectors - fat->data) / fat->cluster;
  return fat->clusters > 0;
}

/* The entry with the volume's label in LENGTH bytes of a directory; FALSE: go on behind them. */
static gboolean
find_fat_label (const guint8 *entries, gsize length, H2kFsId *id)
{
  for (gsize at = 0; at + 32 <= length; at += 32)
    {
      const guint8 *entry = entries + at;
      if (entry[0] == 0)
        return TRUE;
      /* Parts of long names have all the low attributes; a label has no cluster. */
      if (entry[0] == 0xe5 || (entry[11] & 0x3f) == 0x0f || (entry[11] & 0x18) != 0x08
          || h2k_le16 (entry + 20) || h2k_le16 (entry + 26))
        continue;
      set_label (id, entry, 11);
      if (entry[0] == 0x05)
        id->label[0] = '\0';
      return TRUE;
    }
  return FALSE;
}

static void
read_fat_label (Volume *volume, const Fat *fat, H2kFsId *id)
{
  guint8 sector[4096];
  guint32 cluster = fat->root_cluster;

  for (guint64 i = 0; i < (fat->root_entries ? fat->data - fat->root : 0); i++)
    if (!get (volume, (fat->root + i) * fat->sector, fat->sector, sector)
        || find_fat_label (sector, fat->sector, id))
      return;
  /* FAT32 keeps the root as a chain; one of honest length has its label early. */
  for (guint n = 0; !fat->root_entries && n < 64; n++)
    {
      guint8 next[4];
      if (cluster < 2 || cluster - 2 >= fat->clusters)
        return;
      for (guint i = 0; i < fat->cluster; i++)
        if (!get (volume, (fat->data + (guint64)(cluster - 2) * fat->cluster + i) * fat->sector,
                  fat->sector, sector)
            || find_fat_label (sector, fat->sector, id))
          return;
      if (!get (volume, fat->fat * fat->sector + (guint64)cluster * 4, 4, next))
        return;
      cluster = h2k_le32 (next) & 0x0fffffff;
    }
}

static gboolean
probe_fat (Volume *volume, H2kFsId *id)
{
  guint8 boot[512];
  const guint8 *extended;
  Fat fat;

  if (!get (volume, 0, sizeof boot, boot) || !parse_fat (boot, &fat))
    return FALSE;
  /* The extended boot signature and the serial number behind it. */
  extended = boot + (h2k_le16 (boot + 22) ? 38 : 66);
  if ((extended[0] == 0x29 || extended[0] == 0x28) && h2k_le32 (extended + 1))
    g_snprintf (id->uuid, sizeof id->uuid, "%02X%02X-%02X%02X", extended[4], extended[3],
                extended[2], extended[1]);
  else if (memcmp (boot + 54, "FAT", 3) != 0 && memcmp (boot + 82, "FAT", 3) != 0)
    return FALSE; /* any boot sector could look like a FAT without a name */
  read_fat_label (volume, &fat, id);
  return TRUE;
}

/* --- ISO 9660 (ECMA-119) ------------------------------------------------------------------------
 */

/* A date of 16 digits as blkid prints it: 2024-01-31-12-00-00-00. */
static gboolean
set_iso_uuid (H2kFsId *id, const guint8 *date)
{
  static const guint8 groups[] = {4, 2, 2, 2, 2, 2, 2};
  guint at = 0;

  for (guint i = 0; i < 16; i++)
    if (!g_ascii_isdigit (date[i]))
      return FALSE;
  if (memcmp (date, "0000000000000000", 16) == 0 && date[16] == 0)
    return FALSE;
  for (guint g = 0; g < G_N_ELEMENTS (groups); g++)
    {
      if (g)
        id->uuid[at++] = '-';
      memcpy (id->uuid + at, date, groups[g]);
      at += groups[g];
      date += groups[g];
    }
  return TRUE;
}

static gboolean
probe_iso (Volume *volume, H2kFsId *id)
{
  guint8 vd[2048];
  gboolean found = FALSE;

  for (guint64 i = 16; i < 32; i++)
    {
      if (!get (volume, i * 2048, sizeof vd, vd) || memcmp (vd + 1, "CD001", 5) != 0
          || vd[0] == 255)
        break;
      if (vd[0] == 1 && !found)
        {
          found = TRUE;
          set_label (id, vd + 40, 32);
          if (!set_iso_uuid (id, vd + 830))
            set_iso_uuid (id, vd + 813);
        }
      /* Joliet has the label in UCS-2; it is taken when it is the longer form of the same. */
      else if (vd[0] == 2 && found && vd[88] == '%' && vd[89] == '/' && strchr ("@CE", vd[90])
               && vd[90])
        {
          H2kFsId joliet = {0};
          set_label_utf16 (&joliet, vd + 40, 16, TRUE);
          if (joliet.label[0] && strlen (id->label) <= 16)
            g_strlcpy (id->label, joliet.label, sizeof id->label);
        }
    }
  return found;
}

/* --- the table ----------------------------------------------------------------------------------
 */

typedef struct
{
  const char *type; /* NULL: the function sets it */
  gboolean (*probe) (Volume *volume, H2kFsId *id);
} Probe;

static const Probe probes[] = {
    {"linux_raid_member", probe_md},
    {"LVM2_member", probe_lvm},
    {"crypto_LUKS", probe_luks},
    {"BitLocker", probe_bitlocker}, /* before FAT, which it can look like */
    {"vfat", probe_fat},
    {"swap", probe_swap},
    {"xfs", probe_xfs},
    {NULL, probe_ext},
    {"ntfs", probe_ntfs},
    {"ReFS", probe_refs},
    {"iso9660", probe_iso},
    {"btrfs", probe_btrfs},
};

gboolean
h2k_fs_identify (H2kDisk *disk, H2kFsId *id, GError **error)
{
  Volume volume = {disk};

  for (gsize i = 0; i < G_N_ELEMENTS (probes); i++)
    {
      memset (id, 0, sizeof *id);
      if (probes[i].probe (&volume, id) && !volume.error)
        {
          if (probes[i].type)
            set_type (id, probes[i].type);
          return TRUE;
        }
      if (volume.error)
        break;
    }
  memset (id, 0, sizeof *id);
  if (!volume.error)
    return TRUE;
  g_propagate_prefixed_error (error, volume.error,
                              "%s: cannot look for a filesystem: ", disk->name);
  return FALSE;
}
