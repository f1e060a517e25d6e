/* bitlocker.c - the boot sector and the metadata of BitLocker volumes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"

#include "fs/fs.h"

#define SIGNATURE "-FVE-FS-"

/* The boot sector; little-endian, as all of it. */
enum
{
  BOOT_SIGNATURE = 3,
  BOOT_SECTOR_SIZE = 11,
  BOOT_PER_CLUSTER = 13,
  BOOT_SECTORS = 40,     /* Vista: those of NTFS */
  BOOT_METADATA = 56,    /* Vista: the first metadata's cluster, for NTFS' copy of the MFT */
  BOOT_IDENTIFIER = 160, /* not Vista; the offsets of the metadata follow */
  BOOT_TO_GO = 424,      /* the same in volumes that look like FAT */
  BOOT_LENGTH = 512,
};

/* One of the copies of the metadata. */
enum
{
  BLOCK_SIZE = 8, /* up to the validation; in units of 16 bytes since version 2 */
  BLOCK_VERSION = 10,
  BLOCK_STATE = 12,
  BLOCK_NEXT_STATE = 14,
  BLOCK_ENCRYPTED_SIZE = 16, /* not Vista */
  BLOCK_HEADER_SECTORS = 28,
  BLOCK_METADATA = 32,
  BLOCK_HEADER = 56, /* bytes; of Vista: the cluster of NTFS' copy of the MFT */
  /* The entries with a header of their own. */
  DATA_SIZE = 64,
  DATA_HEADER_SIZE = 72,
  DATA_IDENTIFIER = 80,
  DATA_METHOD = 100,
  DATA_ENTRIES = 112,
  /* Behind the block. */
  VALIDATION_CRC = 4,
  VALIDATION_LENGTH = 8,
};

enum
{
  STATE_DECRYPTED = 1,
  STATE_ENCRYPTED = 4,
};

/* Places in Windows' own metadata files. */
#define METADATA_SIZE 65536u
#define METADATA_SIZE_VISTA 16384u
#define PLAIN_VISTA 8192u
#define MAX_SECTOR 4096u

static const guint8 identifier[16] = {0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a,
                                      0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01};
/* Windows 10 and later, while the volume is being encrypted. */
static const guint8 identifier_on_write[16] = {0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d,
                                               0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8};

static const H2kBitlockerCipher ciphers[] = {
    {"AES-CBC 128 with diffuser", 0x8000, FALSE, TRUE, 16, 32, 48},
    {"AES-CBC 256 with diffuser", 0x8001, FALSE, TRUE, 32, 32, 64},
    {"AES-CBC 128", 0x8002, FALSE, FALSE, 16, 0, 16},
    {"AES-CBC 256", 0x8003, FALSE, FALSE, 32, 0, 32},
    {"AES-XTS 128", 0x8004, TRUE, FALSE, 16, 16, 32},
    {"AES-XTS 256", 0x8005, TRUE, FALSE, 32, 32, 64},
};

static const struct
{
  guint16 type;
  guint protector;
} protections[] = {
    {0x0000, H2K_BITLOCKER_CLEAR_KEY},   {0x0100, H2K_BITLOCKER_TPM},
    {0x0200, H2K_BITLOCKER_STARTUP_KEY}, {0x0400, H2K_BITLOCKER_TPM},
    {0x0500, H2K_BITLOCKER_TPM},         {0x0600, H2K_BITLOCKER_TPM},
    {0x0700, H2K_BITLOCKER_TPM},         {0x0800, H2K_BITLOCKER_RECOVERY},
    {0x1000, H2K_BITLOCKER_PUBLIC_KEY},  {0x2000, H2K_BITLOCKER_PASSWORD},
};

static gboolean
unsupported (H2kDisk *disk, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: it is encrypted by BitLocker, and %s",
               disk->name, why);
  return FALSE;
}

static gboolean
damaged (H2kDisk *disk, GError **error, const char *what)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: its BitLocker metadata are damaged: %s. Let repair-bde look at it in Windows",
               disk->name, what);
  return FALSE;
}

/* --- entries -----------------------------------------------------------------------------------
 */

gboolean
h2k_bitlocker_next (const guint8 **at, gsize *left, H2kBitlockerEntry *entry)
{
  gsize size = *left < 8 ? 0 : h2k_le16 (*at);

  if (size < 8 || size > *left)
    return FALSE;
  entry->type = h2k_le16 (*at + 2);
  entry->value = h2k_le16 (*at + 4);
  entry->data = *at + 8;
  entry->length = size - 8;
  *at += size;
  *left -= size;
  return TRUE;
}

guint
h2k_bitlocker_protector (const H2kBitlockerEntry *entry)
{
  guint16 type;

  if (entry->type != H2K_BITLOCKER_ENTRY_VMK || entry->value != H2K_BITLOCKER_VALUE_VMK
      || entry->length < H2K_BITLOCKER_VMK_ENTRIES)
    return 0;
  type = h2k_le16 (entry->data + H2K_BITLOCKER_VMK_PROTECTION);
  for (guint i = 0; i < G_N_ELEMENTS (protections); i++)
    if (protections[i].type == type)
      return protections[i].protector;
  return H2K_BITLOCKER_OTHER;
}

static gboolean
read_entries (H2kDisk *disk, H2kBitlocker *volume, GError **error)
{
  gsize left;
  const guint8 *at = g_bytes_get_data (volume->entries, &left);
  guint64 place = volume->header, size = 0;
  H2kBitlockerEntry entry;

  while (h2k_bitlocker_next (&at, &left, &entry))
    {
      volume->protectors |= h2k_bitlocker_protector (&entry);
      if (entry.type != H2K_BITLOCKER_ENTRY_HEADER || entry.value != H2K_BITLOCKER_VALUE_PLACE
          || entry.length < 8)
        continue;
      place = h2k_le64 (entry.data);
      size = entry.length < 16 ? 0 : h2k_le64 (entry.data + 8);
    }
  if (volume->version == 1)
    return TRUE;
  if (volume->header_size == 0)
    volume->header_size = size;
  if (place != volume->header || (size && size != volume->header_size))
    return damaged (disk, error, "they name two places for the first sectors");
  return TRUE;
}

/* --- places ------------------------------------------------------------------------------------
 */

typedef struct
{
  guint64 offset, length;
} Place;

/* What is not the content's own: the boot sectors, the metadata, the header. Their number. */
static guint
list_places (const H2kBitlocker *volume, Place places[H2K_BITLOCKER_COPIES + 2])
{
  guint n = 0;

  places[n++] = (Place){0, volume->header_size};
  for (guint i = 0; i < H2K_BITLOCKER_COPIES; i++)
    places[n++] = (Place){volume->metadata[i], volume->metadata_size};
  if (volume->header)
    places[n++] = (Place){volume->header, volume->header_size};
  return n;
}

/* Whether all of them lie on the volume, in whole sectors, and apart from each other. */
static gboolean
check_places (H2kDisk *disk, const H2kBitlocker *volume, GError **error)
{
  Place places[H2K_BITLOCKER_COPIES + 2];
  guint n = list_places (volume, places);

  for (guint i = 0; i < n; i++)
    {
      const Place *p = &places[i];

      if (p->length == 0 || p->length > disk->size || p->offset > disk->size - p->length
          || p->offset % volume->sector_size || p->length % volume->sector_size)
        return damaged (disk, error, "they name a place that is not on the volume");
      for (guint k = 0; k < i; k++)
        if (p->offset < places[k].offset + places[k].length
            && places[k].offset < p->offset + p->length)
          return damaged (disk, error, "they name the same place twice");
    }
  return TRUE;
}

gboolean
h2k_bitlocker_is_own (const H2kBitlocker *volume, guint64 offset, guint64 *end)
{
  Place places[H2K_BITLOCKER_COPIES + 2];
  guint n = list_places (volume, places);

  *end = G_MAXUINT64;
  for (guint i = 0; i < n; i++)
    {
      if (offset >= places[i].offset && offset < places[i].offset + places[i].length)
        {
          *end = places[i].offset + places[i].length;
          return TRUE;
        }
      if (places[i].offset > offset)
        *end = MIN (*end, places[i].offset);
    }
  return FALSE;
}

/* --- the boot sector ---------------------------------------------------------------------------
 */

/* Where a boot sector of Windows 7 and later has the identifier; 0: it has none. */
static guint
find_identifier (const guint8 *boot)
{
  static const guint places[] = {BOOT_IDENTIFIER, BOOT_TO_GO};

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    if (memcmp (boot + places[i], identifier, sizeof identifier) == 0)
      return places[i];
  return 0;
}

static gboolean
read_boot_sector (H2kDisk *disk, const guint8 *boot, H2kBitlocker *volume, GError **error)
{
  guint at = find_identifier (boot);
  guint64 cluster;

  volume->sector_size = h2k_le16 (boot + BOOT_SECTOR_SIZE);
  if (volume->sector_size < 512 || volume->sector_size > MAX_SECTOR
      || (volume->sector_size & (volume->sector_size - 1)))
    return damaged (disk, error, "the size of a sector");
  if (at)
    {
      volume->version = 2;
      volume->metadata_size = METADATA_SIZE;
      for (guint i = 0; i < H2K_BITLOCKER_COPIES; i++)
        volume->metadata[i] = h2k_le64 (boot + at + sizeof identifier + i * 8);
      return TRUE;
    }
  if (memcmp (boot + BOOT_IDENTIFIER, identifier_on_write, sizeof identifier_on_write) == 0)
    return unsupported (disk, error,
                        "encryption has not ended: let Windows end it (manage-bde -status), shut "
                        "it down and export the disks again");
  cluster = (guint64)boot[BOOT_PER_CLUSTER] * volume->sector_size;
  if (memcmp (boot + BOOT_SIGNATURE, SIGNATURE, 8) != 0 || boot[1] != 0x52 || cluster == 0
      || (cluster & (cluster - 1)) || h2k_le64 (boot + BOOT_METADATA) > disk->size / cluster)
    return unsupported (disk, error, "this version of it is not known");
  volume->version = 1;
  volume->metadata_cluster = h2k_le64 (boot + BOOT_METADATA);
  volume->metadata[0] = volume->metadata_cluster * cluster;
  volume->metadata_size = (METADATA_SIZE_VISTA + cluster - 1) / cluster * cluster;
  volume->header_size = PLAIN_VISTA;
  return TRUE;
}

/* Vista leaves the boot sector's copy, behind NTFS, as it leaves the boot sector. */
static gboolean
find_boot_copy (H2kDisk *disk, const guint8 *boot, H2kBitlocker *volume, GError **error)
{
  guint64 sectors = h2k_le64 (boot + BOOT_SECTORS);
  guint8 sector[BOOT_LENGTH];
  guint64 at;

  if (volume->version != 1 || sectors >= disk->size / volume->sector_size)
    return TRUE;
  at = sectors * volume->sector_size;
  if (!h2k_disk_pread (disk, at, sizeof sector, sector, error))
    return FALSE;
  if (at >= volume->header_size && memcmp (sector + BOOT_SIGNATURE, SIGNATURE, 8) == 0)
    volume->boot_copy = at;
  return TRUE;
}

/* --- the metadata ------------------------------------------------------------------------------
 */

/* The copy at OFFSET, when its checksum is right: METADATA_SIZE bytes. NULL: it is not, or an
 * error is set. *LENGTH gets how much of it is meant. */
static guint8 *
read_block (H2kDisk *disk, const H2kBitlocker *volume, guint64 offset, gsize *length,
            GError **error)
{
  gsize size = (gsize)volume->metadata_size;
  g_autofree guint8 *block = NULL;

  if (offset < BOOT_LENGTH || offset % volume->sector_size || size > disk->size
      || offset > disk->size - size)
    return NULL;
  block = g_malloc (size);
  if (!h2k_disk_pread (disk, offset, size, block, error))
    return NULL;
  *length = (gsize)h2k_le16 (block + BLOCK_SIZE) * (volume->version == 1 ? 1 : 16);
  if (memcmp (block, SIGNATURE, 8) != 0 || h2k_le16 (block + BLOCK_VERSION) != volume->version
      || *length < DATA_ENTRIES || *length > size - VALIDATION_LENGTH
      || h2k_le32 (block + *length + VALIDATION_CRC) != h2k_crc32 (0, block, *length))
    return NULL;
  return g_steal_pointer (&block);
}

static guint8 *
find_block (H2kDisk *disk, const H2kBitlocker *volume, gsize *length, GError **error)
{
  guint copies = volume->version == 1 ? 1 : H2K_BITLOCKER_COPIES;
  GError *local = NULL;

  for (guint i = 0; i < copies; i++)
    {
      guint8 *block = read_block (disk, volume, volume->metadata[i], length, &local);

      if (block)
        {
          g_clear_error (&local);
          return block;
        }
    }
  /* A copy that cannot be read counts only when none is right. */
  if (local)
    g_propagate_error (error, local);
  else
    damaged (disk, error, "no copy of them is whole");
  return NULL;
}

static gboolean
check_state (H2kDisk *disk, const guint8 *block, GError **error)
{
  guint state = h2k_le16 (block + BLOCK_STATE), next = h2k_le16 (block + BLOCK_NEXT_STATE);

  if (state == STATE_ENCRYPTED && next == STATE_ENCRYPTED)
    return TRUE;
  return unsupported (disk, error,
                      next == STATE_DECRYPTED
                          ? "decryption has not ended: let Windows end it (manage-bde -resume "
                            "DRIVE:, and wait until manage-bde -status says so), shut it down and "
                            "export the disks again"
                          : "encryption has not ended: let Windows end it (manage-bde -resume "
                            "DRIVE:, and wait until manage-bde -status says so), shut it down and "
                            "export the disks again");
}

static gboolean
find_cipher (H2kDisk *disk, const guint8 *block, H2kBitlocker *volume, GError **error)
{
  g_autofree char *why = NULL;
  guint method = h2k_le16 (block + DATA_METHOD);

  for (guint i = 0; i < G_N_ELEMENTS (ciphers); i++)
    if (ciphers[i].method == method)
      volume->cipher = &ciphers[i];
  why = g_strdup_printf ("its method 0x%04x is not known: turn BitLocker off in the running "
                         "Windows (manage-bde -off DRIVE:)",
                         method);
  return volume->cipher || unsupported (disk, error, why);
}

/* As Windows writes it, whose first three fields are numbers. */
static void
format_guid (const guint8 *guid, char *text)
{
  g_snprintf (text, 37, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", h2k_le32 (guid),
              h2k_le16 (guid + 4), h2k_le16 (guid + 6), guid[8], guid[9], guid[10], guid[11],
              guid[12], guid[13], guid[14], guid[15]);
}

/* The places that the block names; those of the copies are the boot sector's, too. */
static gboolean
read_places (H2kDisk *disk, const guint8 *block, H2kBitlocker *volume, GError **error)
{
  guint64 size = h2k_le64 (block + BLOCK_ENCRYPTED_SIZE);

  for (guint i = 0; i < H2K_BITLOCKER_COPIES; i++)
    {
      guint64 named = h2k_le64 (block + BLOCK_METADATA + i * 8);

      if (named != volume->metadata[i] && (volume->version > 1 || i == 0))
        return damaged (disk, error, "the boot sector and they name different places");
      volume->metadata[i] = named;
    }
  if (volume->version == 1)
    {
      volume->mft_mirror = h2k_le64 (block + BLOCK_HEADER);
      volume->encrypted_size = disk->size;
      return TRUE;
    }
  volume->header = h2k_le64 (block + BLOCK_HEADER);
  volume->header_size = (guint64)h2k_le32 (block + BLOCK_HEADER_SECTORS) * volume->sector_size;
  if (size == 0 || volume->header == 0)
    return damaged (disk, error, "the encrypted size");
  /* Windows does not change it when the volume shrinks. */
  volume->encrypted_size = MIN (size, disk->size);
  return TRUE;
}

static gboolean
read_metadata (H2kDisk *disk, H2kBitlocker *volume, GError **error)
{
  gsize length = 0, data;
  g_autofree guint8 *block = find_block (disk, volume, &length, error);

  if (!block)
    return FALSE;
  data = h2k_le32 (block + DATA_SIZE);
  if (h2k_le32 (block + DATA_HEADER_SIZE) != DATA_ENTRIES - DATA_SIZE
      || data < DATA_ENTRIES - DATA_SIZE || data > length - DATA_SIZE)
    return damaged (disk, error, "the size of the entries");
  format_guid (block + DATA_IDENTIFIER, volume->uuid);
  volume->entries = g_bytes_new (block + DATA_ENTRIES, data - (DATA_ENTRIES - DATA_SIZE));
  return check_state (disk, block, error) && find_cipher (disk, block, volume, error)
         && read_places (disk, block, volume, error) && read_entries (disk, volume, error)
         && check_places (disk, volume, error);
}

H2kBitlocker *
h2k_bitlocker_read (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kBitlocker) volume = g_new0 (H2kBitlocker, 1);
  guint8 boot[BOOT_LENGTH];
  H2kFsId id;

  if (!h2k_fs_identify (disk, &id, error))
    return NULL;
  if (strcmp (id.type, "BitLocker") != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: there is no BitLocker volume on it",
                   disk->name);
      return NULL;
    }
  if (!h2k_disk_pread (disk, 0, sizeof boot, boot, error)
      || !read_boot_sector (disk, boot, volume, error) || !read_metadata (disk, volume, error)
      || !find_boot_copy (disk, boot, volume, error))
    return NULL;
  return g_steal_pointer (&volume);
}

void
h2k_bitlocker_free (H2kBitlocker *volume)
{
  if (!volume)
    return;
  g_clear_pointer (&volume->entries, g_bytes_unref);
  g_free (volume);
}

char *
h2k_bitlocker_identity (const H2kBitlocker *volume)
{
  return g_strconcat ("BitLocker ", volume->uuid, NULL);
}

char *
h2k_bitlocker_protectors (const H2kBitlocker *volume)
{
  static const char *const names[] = {"a clear key",
                                      "a TPM",
                                      "a startup key",
                                      "a recovery password",
                                      "a password",
                                      "a public key",
                                      "a kind of key that is not known"};
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (volume->protectors & (1u << i))
      g_string_append_printf (text, "%s%s", text->len ? " or " : "", names[i]);
  return g_string_free (g_steal_pointer (&text), FALSE);
}
