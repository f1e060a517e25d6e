/* fuzz-lvm.c - any bytes as an LVM2 physical volume, and as the text that describes a group.
 *
 * The checksums of the label, of the first metadata area and of its text are made right, so
 * that what lies behind them is reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define VOLUME_SIZE (1u << 30)
#include "volume.h"

#include "volume/lvm-map.h"

#define LABEL 512u
#define AREA 4096u

static guint32
crc_of (guint32 start, const void *data, gsize length)
{
  return ~h2k_crc32 (~start, data, length);
}

static void
write_le32 (H2kDisk *disk, guint64 offset, guint32 value)
{
  value = GUINT32_TO_LE (value);
  h2k_disk_pwrite (disk, offset, 4, &value, NULL);
}

static void
seal_text (H2kDisk *disk, const guint8 *header)
{
  guint64 offset = h2k_le64 (header + 40), size = h2k_le64 (header + 48);
  guint64 area_size = h2k_le64 (header + 32), first;
  g_autofree guint8 *text = NULL;

  if (area_size > VOLUME_SIZE - AREA || offset >= area_size || size > 65536 || size == 0
      || area_size < 512 + 65536)
    return;
  text = g_malloc (size);
  first = MIN (size, area_size - offset);
  h2k_disk_pread (disk, AREA + offset, first, text, NULL);
  if (first < size)
    h2k_disk_pread (disk, AREA + 512, size - first, text + first, NULL);
  write_le32 (disk, AREA + 56, crc_of (0xf597a6cf, text, size));
}

static H2kDisk *
unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = volume_unpack (data, size);
  guint8 sector[512];

  h2k_disk_pread (disk, LABEL, sizeof sector, sector, NULL);
  write_le32 (disk, LABEL + 16, crc_of (0xf597a6cf, sector + 20, sizeof sector - 20));
  h2k_disk_pread (disk, AREA, sizeof sector, sector, NULL);
  seal_text (disk, sector);
  h2k_disk_pread (disk, AREA, sizeof sector, sector, NULL);
  write_le32 (disk, AREA, crc_of (0xf597a6cf, sector + 4, sizeof sector - 4));
  return disk;
}

/* Read a little of LV. What lies on thin pools and RAID may be found damaged only now. */
static void
read_some (H2kDisk *lv, gboolean surely)
{
  guint8 buffer[512];
  H2kExtent extent;

  for (guint64 at = 0, n = 0; lv && at < lv->size && n < 64; at += extent.length, n++)
    {
      gboolean ok = h2k_disk_extent (lv, at, lv->size, &extent, NULL);
      if (ok)
        g_assert (extent.length > 0 && extent.length <= lv->size - at);
      ok = ok && h2k_disk_pread (lv, at, MIN (sizeof buffer, lv->size - at), buffer, NULL);
      g_assert (ok || !surely);
      if (!ok)
        return;
    }
}

/* Each logical volume that can be one disk, and all of the group, of which no other physical volume
 * is there. */
static void
look_into (H2kDisk *disk)
{
  g_autoptr (H2kLvmMember) member = h2k_lvm_member_read (disk, NULL);
  g_autofree H2kDisk **pvs = NULL;
  g_autoptr (GArray) disks = NULL;

  if (!member || !member->group)
    return;
  for (guint i = 0; i < MIN (member->group->lvs->len, 64); i++)
    {
      g_autoptr (H2kDisk) lv = h2k_lvm_lv_disk (disk, member, member->group->lvs->pdata[i], NULL);
      read_some (lv, TRUE);
    }
  pvs = g_new0 (H2kDisk *, member->group->pvs->len);
  pvs[member->pv] = disk;
  disks = h2k_lvm_group_disks (member->group, pvs);
  for (guint i = 0; i < MIN (disks->len, 64); i++)
    read_some (g_array_index (disks, H2kLvmDisk, i).disk, FALSE);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = unpack (data, size);
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, FALSE, NULL);

  h2k_lvm_group_free (h2k_lvm_group_parse ("text", (const char *)data, size, NULL));
  look_into (disk);
  for (guint64 at = 0, n = 0; usage && at < VOLUME_SIZE && n < 1000; n++)
    {
      H2kExtent extent;
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= VOLUME_SIZE - at);
      at += extent.length;
    }
  return 0;
}
