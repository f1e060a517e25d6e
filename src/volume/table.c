/* table.c - which partition table a disk has, the volumes in it, and what they are for.
 *
 * The choice follows Linux and blkid: a GPT counts where the MBR is a protective (or hybrid) one;
 * an MBR counts unless its sector is a filesystem's boot sector or its entries make no sense.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/tables.h"

static void
volume_free (gpointer data)
{
  H2kVolume *volume = data;

  if (!volume)
    return;
  g_free (volume->type_guid);
  g_free (volume->part_uuid);
  g_free (volume->part_label);
  h2k_disk_unref (volume->disk);
  g_free (volume);
}

H2kVolume *
h2k_volume_new (guint number, guint64 offset, guint64 length)
{
  H2kVolume *volume = g_new0 (H2kVolume, 1);

  volume->number = number;
  volume->offset = offset;
  volume->length = length;
  return volume;
}

void
h2k_table_warn (H2kTable *table, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_ptr_array_add (table->warnings, g_strdup_vprintf (format, args));
  va_end (args);
}

static gboolean
is_extended (const H2kVolume *volume)
{
  return !volume->type_guid
         && (volume->mbr_type == 0x05 || volume->mbr_type == 0x0f || volume->mbr_type == 0x85);
}

/* The volume of TABLE that shares bytes with VOLUME, or NULL. */
static const H2kVolume *
find_overlap (const H2kTable *table, const H2kVolume *volume)
{
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *other = table->volumes->pdata[i];
      if (is_extended (other) == is_extended (volume)
          && volume->offset < other->offset + other->length
          && other->offset < volume->offset + volume->length)
        return other;
    }
  return NULL;
}

void
h2k_table_add (H2kTable *table, H2kDisk *disk, H2kVolume *volume)
{
  g_autofree char *name = volume->number
                              ? g_strdup_printf ("%s, partition %u", disk->name, volume->number)
                              : g_strdup (disk->name);
  const H2kVolume *other = NULL;

  volume->disk = h2k_slice_new (disk, volume->offset, volume->length, name, NULL);
  if (volume->disk)
    other = find_overlap (table, volume);
  if (volume->disk && !other)
    {
      g_ptr_array_add (table->volumes, volume);
      return;
    }

  if (other)
    h2k_table_warn (table, "partition %u is passed over: it overlaps partition %u", volume->number,
                    other->number);
  else
    h2k_table_warn (table,
                    "partition %u is passed over: its %" G_GUINT64_FORMAT
                    " bytes at offset %" G_GUINT64_FORMAT
                    " do not fit the disk of %" G_GUINT64_FORMAT " bytes",
                    volume->number, volume->length, volume->offset, disk->size);
  volume_free (volume);
}

static int
compare_volumes (gconstpointer a, gconstpointer b)
{
  const H2kVolume *x = *(const H2kVolume *const *)a, *y = *(const H2kVolume *const *)b;

  return x->number < y->number ? -1 : x->number > y->number;
}

/* The GPT behind a protective MBR: with the disk's sectors, or, in the image of a disk with others,
 * with those that show a header. */
static gboolean
read_gpt (H2kTable *table, H2kDisk *disk, GError **error)
{
  guint32 other = disk->sector_size == 512 ? 4096 : 512, size = disk->sector_size;

  if (!h2k_gpt_is_there (disk, size) && h2k_gpt_is_there (disk, other))
    size = other;
  if (h2k_gpt_read (table, disk, size, error))
    return TRUE;
  /* No primary header: the backup may tell the sector size. */
  return !*error && !h2k_gpt_is_there (disk, size) && h2k_gpt_read (table, disk, other, error);
}

static void
read_table (H2kTable *table, H2kDisk *disk, GError **error)
{
  guint8 sector[512];
  H2kMbrEntry entries[4];

  if (disk->size < sizeof sector || !h2k_disk_pread (disk, 0, sizeof sector, sector, error))
    return;
  if (h2k_mbr_parse (sector, entries))
    {
      if (h2k_mbr_is_protective (entries))
        {
          table->type = H2K_TABLE_GPT;
          if (!read_gpt (table, disk, error) && !*error)
            h2k_table_warn (table, "the MBR announces a GPT, but neither of its copies is good; "
                                   "restore it, for example with gdisk, and try again");
          return;
        }
      if (!h2k_is_filesystem_boot_sector (sector)
          && h2k_mbr_read (table, disk, sector, entries, error))
        {
          table->type = H2K_TABLE_MBR;
          return;
        }
    }
  if (!*error && h2k_gpt_is_there (disk, disk->sector_size))
    h2k_table_warn (table, "a GPT without its protective MBR is passed over, as Linux does");
}

static H2kTable *
table_new (void)
{
  H2kTable *table = g_new0 (H2kTable, 1);

  table->volumes = g_ptr_array_new_with_free_func (volume_free);
  table->warnings = g_ptr_array_new_with_free_func (g_free);
  return table;
}

H2kTable *
h2k_table_whole (H2kDisk *disk)
{
  H2kTable *table = table_new ();

  table->sector_size = disk->sector_size;
  if (disk->size > 0)
    h2k_table_add (table, disk, h2k_volume_new (0, 0, disk->size));
  return table;
}

H2kTable *
h2k_table_read (H2kDisk *disk, GError **error)
{
  H2kTable *table = table_new ();
  GError *failure = NULL;

  table->sector_size = disk->sector_size;
  read_table (table, disk, &failure);
  if (failure)
    {
      g_propagate_error (error, failure);
      h2k_table_free (table);
      return NULL;
    }
  if (table->type == H2K_TABLE_NONE && disk->size > 0)
    h2k_table_add (table, disk, h2k_volume_new (0, 0, disk->size));
  g_ptr_array_sort (table->volumes, compare_volumes);
  return table;
}

void
h2k_table_free (H2kTable *table)
{
  if (!table)
    return;
  g_free (table->disk_id);
  g_ptr_array_unref (table->volumes);
  g_ptr_array_unref (table->warnings);
  g_free (table);
}

/* UEFI 2.10 and the Discoverable Partitions Specification. */
static const struct
{
  const char *guid, *role;
} gpt_roles[] = {
    {"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "esp"},
    {"21686148-6449-6e6f-744e-656564454649", "bios-boot"},
    {"9e1a2d38-c612-4316-aa26-8b49521e5a8b", "prep"},
    {"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "swap"},
    {"e6d6d379-f507-44c2-a23c-238f2a3df928", "lvm"},
    {"a19d880f-05fc-4d3b-a006-743f0f84911e", "raid"},
    {"0fc63daf-8483-4772-8e79-3d69d8477de4", "linux"},
    {"bc13c2ff-59e6-4262-a352-b275fd6f7172", "linux"},     /* extended boot loader */
    {"44479540-f297-41b2-9af7-d131d5f0458a", "linux"},     /* root, x86 */
    {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "linux"},     /* root, x86-64 */
    {"b921b045-1df0-41c3-af44-4c6f280d3fae", "linux"},     /* root, arm64 */
    {"8484680c-9521-48c6-9c11-b0720656f69e", "linux"},     /* usr, x86-64 */
    {"b0e01050-ee5f-4390-949a-9101b17104e9", "linux"},     /* usr, arm64 */
    {"933ac7e1-2eb4-4f13-b844-0e14e2aef915", "linux"},     /* home */
    {"3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "linux"},     /* srv */
    {"4d21b016-b534-45c2-a9fb-5c16e091fd2d", "linux"},     /* var */
    {"7ec6f557-3bc5-4aca-b293-16ef5df639d1", "linux"},     /* var/tmp */
    {"ca7d7ccb-63ed-4c53-861c-1742536059cc", "linux"},     /* LUKS */
    {"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "microsoft"}, /* basic data */
    {"e3c9e316-0b5c-4db8-817d-f92df00215ae", "msr"},       /* Microsoft reserved */
    {"de94bba4-06d1-4d40-a16a-bfd50179d6ac", "recovery"},
    {"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "ldm"}, /* dynamic disk metadata */
    {"af9b60a0-1431-4f62-bc68-3311714a69ad", "ldm"}, /* dynamic disk data */
    {"e75caf8f-f680-4cee-afa3-b001e56efc2d", "storage-spaces"},
};

static const struct
{
  guint8 type;
  const char *role;
} mbr_roles[] = {
    {0x01, "microsoft"}, {0x04, "microsoft"}, {0x05, "extended"},  {0x06, "microsoft"},
    {0x07, "microsoft"}, {0x0b, "microsoft"}, {0x0c, "microsoft"}, {0x0e, "microsoft"},
    {0x0f, "extended"},  {0x11, "microsoft"}, {0x14, "microsoft"}, {0x16, "microsoft"},
    {0x17, "microsoft"}, {0x1b, "microsoft"}, {0x1c, "microsoft"}, {0x1e, "microsoft"},
    {0x27, "recovery"},  {0x41, "prep"},      {0x42, "ldm"},       {0x82, "swap"},
    {0x83, "linux"},     {0x85, "extended"},  {0x8e, "lvm"},       {0xef, "esp"},
    {0xfd, "raid"},
};

const char *
h2k_volume_role (const H2kVolume *volume)
{
  if (volume->type_guid)
    {
      for (gsize i = 0; i < G_N_ELEMENTS (gpt_roles); i++)
        if (g_str_equal (gpt_roles[i].guid, volume->type_guid))
          return gpt_roles[i].role;
      return "";
    }
  for (gsize i = 0; i < G_N_ELEMENTS (mbr_roles); i++)
    if (mbr_roles[i].type == volume->mbr_type)
      return mbr_roles[i].role;
  return "";
}
