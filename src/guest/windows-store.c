/* windows-store.c - follows the boot configuration of a Windows: its devices to partitions of the
 * guest, its paths to files.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"
#include "guest/windows-store.h"

#include <sys/stat.h>

H2kGuestVolume *
h2k_windows_boot_volume (const H2kGuest *guest)
{
  const char *boot = guest->windows->boot;

  if (!boot)
    return NULL;
  if (!*boot)
    return guest->root;
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = guest->volumes->pdata[i];
      if (g_strcmp0 (volume->mountpoint, H2K_WINDOWS_BOOT) == 0)
        return volume;
    }
  return NULL;
}

H2kHive *
h2k_windows_open_store (const H2kGuest *guest, gboolean writable, const char *temp_dir,
                        GError **error)
{
  const H2kGuestVolume *volume = h2k_windows_boot_volume (guest);
  const H2kWindows *w = guest->windows;

  g_return_val_if_fail (volume != NULL && w->bcd != NULL, NULL);
  if (writable && !h2k_fs_check_writable (volume->fs, error))
    return NULL;
  return h2k_hive_open (volume->fs, w->bcd + strlen (w->boot), writable, temp_dir, error);
}

/* --- devices ---------------------------------------------------------------------------------- */

const H2kVolume *
h2k_windows_partition (const H2kGuestVolume *volume)
{
  const H2kNode *node = volume->node;

  return node->kind == H2K_NODE_BITLOCKER ? ((const H2kNode *)node->parents->pdata[0])->volume
                                          : volume->volume;
}

gboolean
h2k_windows_device_of (const H2kGuest *guest, const H2kGuestVolume *volume, H2kBcdDevice *device)
{
  const H2kTable *table = guest->tables->pdata[volume->disk];
  const H2kVolume *part = h2k_windows_partition (volume);

  memset (device, 0, sizeof *device);
  if (part->number == 0 || !table->disk_id)
    return FALSE;
  if (table->type == H2K_TABLE_GPT)
    {
      device->kind = H2K_BCD_GPT;
      return part->part_uuid && h2k_windows_parse_guid (table->disk_id, device->disk)
             && h2k_windows_parse_guid (part->part_uuid, device->partition);
    }
  device->kind = H2K_BCD_MBR;
  device->offset = part->offset;
  device->signature = (guint32)g_ascii_strtoull (table->disk_id, NULL, 16);
  return table->type == H2K_TABLE_MBR && device->signature != 0;
}

/* Partitions only, or what is in one: what is made of others has their disk, but not their place on
 * it. */
static gboolean
is_partition (const H2kGuest *guest, const H2kGuestVolume *volume)
{
  const H2kTable *table = guest->tables->pdata[volume->disk];

  return !volume->node->is_member
         && g_ptr_array_find (table->volumes, h2k_windows_partition (volume), NULL);
}

H2kLeads
h2k_windows_follow (const H2kGuest *guest, const H2kBcdDevice *device, H2kGuestVolume **volume)
{
  if (device->kind == H2K_BCD_LOCATE || device->kind == H2K_BCD_OTHER)
    return H2K_LEADS_UNKNOWN;
  if (device->kind == H2K_BCD_BOOT)
    {
      *volume = h2k_windows_boot_volume (guest);
      return *volume ? H2K_LEADS_TO : H2K_LEADS_NOWHERE;
    }
  for (guint i = 0; i < guest->volumes->len && device->kind != H2K_BCD_NO_DEVICE; i++)
    {
      H2kGuestVolume *candidate = guest->volumes->pdata[i];
      H2kBcdDevice other;

      if (is_partition (guest, candidate) && h2k_windows_device_of (guest, candidate, &other)
          && h2k_bcd_device_equal (device, &other))
        {
          *volume = candidate;
          return H2K_LEADS_TO;
        }
    }
  return H2K_LEADS_NOWHERE;
}

/* --- files ------------------------------------------------------------------------------------ */

char *
h2k_windows_slashes (const char *path)
{
  if (!path || path[0] != '\\' || strchr (path, '/') || strstr (path, "\\.")
      || strlen (path) > 1024)
    return NULL;
  return g_strdelimit (g_strdup (path), "\\", '/');
}

gboolean
h2k_windows_has_file (const H2kGuestVolume *volume, const char *path)
{
  H2kStat st;

  return volume->fs && volume->fs->ops->lstat (volume->fs, path, &st, NULL) && !S_ISDIR (st.mode);
}

static const char *
extension_of (const H2kGuest *guest)
{
  return guest->firmware == H2K_FIRMWARE_UEFI ? "efi" : "exe";
}

char *
h2k_windows_winload (const H2kGuest *guest)
{
  static const char *const places[] = {"/System32/winload.", "/System32/Boot/winload."};

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_autofree char *path
          = g_strconcat (guest->windows->root, places[i], extension_of (guest), NULL);
      if (h2k_windows_has_file (guest->root, path))
        return g_strdelimit (g_steal_pointer (&path), "/", '\\');
    }
  return NULL;
}

/* --- loaders ---------------------------------------------------------------------------------- */

static gboolean
holds_windows (const H2kGuestVolume *volume, const char *root)
{
  g_autofree char *hive = root ? g_strconcat (root, "/System32/config/SYSTEM", NULL) : NULL;

  return hive && h2k_windows_has_file (volume, hive);
}

/* Whether a loader's program is there and one for this firmware. */
static gboolean
fits_path (const H2kGuest *guest, const H2kGuestVolume *volume, const char *path)
{
  const char *dot = path ? strrchr (path, '.') : NULL;

  return dot && g_ascii_strcasecmp (dot + 1, extension_of (guest)) == 0
         && h2k_windows_has_file (volume, path);
}

static H2kLoaderFaults
find_faults (const H2kGuest *guest, const H2kBcdObject *loader, const char *root, gboolean os_ok)
{
  H2kBcdDevice device = h2k_bcd_device (loader, H2K_BCD_DEVICE);
  g_autofree char *text = h2k_bcd_text (loader, H2K_BCD_PATH);
  g_autofree char *path = h2k_windows_slashes (text);
  H2kGuestVolume *volume = NULL;
  H2kLeads leads = h2k_windows_follow (guest, &device, &volume);
  gboolean there = leads == H2K_LEADS_TO && fits_path (guest, volume, path);
  gboolean on_system = fits_path (guest, guest->root, path);
  H2kLoaderFaults faults = os_ok ? 0 : H2K_LOADER_OS_DEVICE;

  /* The program may be on another volume than Windows, if it is there. */
  if (!there && leads != H2K_LEADS_UNKNOWN && (leads == H2K_LEADS_NOWHERE || volume != guest->root))
    faults |= H2K_LOADER_DEVICE;
  if (!there && !on_system)
    faults |= H2K_LOADER_PATH;
  if (!root || g_ascii_strcasecmp (root, guest->windows->root) != 0)
    faults |= H2K_LOADER_ROOT;
  return faults;
}

H2kLoaderOwner
h2k_windows_judge_loader (const H2kGuest *guest, const H2kBcdObject *loader,
                          H2kLoaderFaults *faults)
{
  H2kBcdDevice os = h2k_bcd_device (loader, H2K_BCD_OS_DEVICE);
  H2kBcdDevice program = h2k_bcd_device (loader, H2K_BCD_DEVICE);
  g_autofree char *text = h2k_bcd_text (loader, H2K_BCD_SYSTEM_ROOT);
  g_autofree char *root = h2k_windows_slashes (text);
  gboolean same_root = root && g_ascii_strcasecmp (root, guest->windows->root) == 0;
  H2kGuestVolume *volume = NULL;
  H2kLeads leads = h2k_windows_follow (guest, &os, &volume);

  if (os.kind == H2K_BCD_OTHER || program.kind == H2K_BCD_OTHER)
    return H2K_LOADER_UNKNOWN;
  if (leads == H2K_LEADS_TO && volume != guest->root)
    {
      if (holds_windows (volume, root))
        return H2K_LOADER_ANOTHER;
      /* A volume that is encrypted, say. */
      if (!volume->fs && volume != h2k_windows_boot_volume (guest))
        return H2K_LOADER_UNKNOWN;
    }
  if (!same_root && (leads != H2K_LEADS_TO || volume != guest->root))
    return leads == H2K_LEADS_UNKNOWN ? H2K_LOADER_UNKNOWN : H2K_LOADER_LOST;
  /* Two systems in one volume: each has a folder of its own. */
  if (!same_root && holds_windows (guest->root, root))
    return H2K_LOADER_ANOTHER;
  *faults = find_faults (guest, loader, root, leads == H2K_LEADS_UNKNOWN || volume == guest->root);
  return H2K_LOADER_OURS;
}

/* --- ARC paths -------------------------------------------------------------------------------- */

static gboolean
is_extended (const H2kVolume *part)
{
  return strcmp (h2k_volume_role (part), "extended") == 0;
}

gboolean
h2k_windows_arc_of (const H2kGuest *guest, const H2kGuestVolume *volume, guint *disk,
                    guint *partition)
{
  const H2kTable *table = guest->tables->pdata[volume->disk];
  const H2kGuestVolume *boot = h2k_windows_boot_volume (guest);
  const H2kVolume *own = h2k_windows_partition (volume);
  guint first = boot ? boot->disk : 0;

  if (table->type != H2K_TABLE_MBR || own->number == 0)
    return FALSE;
  *partition = 0;
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *part = table->volumes->pdata[i];
      *partition += !is_extended (part);
      if (part == own)
        {
          /* The BIOS counts from the disk that it starts. */
          *disk = volume->disk == first  ? 0
                  : volume->disk < first ? volume->disk + 1
                                         : volume->disk;
          return TRUE;
        }
    }
  return FALSE;
}

H2kGuestVolume *
h2k_windows_follow_arc (const H2kGuest *guest, const H2kArcPath *arc)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = guest->volumes->pdata[i];
      const H2kTable *table = guest->tables->pdata[volume->disk];
      guint disk, partition;

      if (!is_partition (guest, volume) || !h2k_windows_arc_of (guest, volume, &disk, &partition)
          || partition != arc->partition)
        continue;
      if (arc->kind == H2K_ARC_SIGNATURE
              ? table->disk_id
                    && (guint32)g_ascii_strtoull (table->disk_id, NULL, 16) == arc->signature
              : disk == arc->disk)
        return volume;
    }
  return NULL;
}

gboolean
h2k_windows_arc_is_system (const H2kGuest *guest, const char *path)
{
  H2kArcPath arc;
  g_autofree char *dir = NULL;

  if (!path || !h2k_arc_parse (path, &arc) || arc.kind == H2K_ARC_SCSI)
    return FALSE;
  dir = h2k_windows_slashes (arc.dir);
  return dir && g_ascii_strcasecmp (dir, guest->windows->root) == 0
         && h2k_windows_follow_arc (guest, &arc) == guest->root;
}
