/* windows-boot.c - finds the partition that Windows is started from, and what starts it.
 *
 * With UEFI that is the EFI system partition, with BIOS the active partition of the disk, which is
 * the Windows volume itself or a small one before it. It is mounted as "/boot:", a name that no
 * file of Windows can have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"
#include "guest/windows-store.h"

static gboolean
exists_on (const H2kGuestVolume *volume, const char *path)
{
  H2kStat st;

  return volume->fs && volume->fs->ops->lstat (volume->fs, path, &st, NULL);
}

/* What volumes are started from, with the file that says how. */
static const struct
{
  const char *store, *loader;
  H2kFirmware firmware;
} stores[] = {
    {"/EFI/Microsoft/Boot/BCD", "bootmgr", H2K_FIRMWARE_UEFI},
    {"/Boot/BCD", "bootmgr", H2K_FIRMWARE_BIOS},
    {"/boot.ini", "ntldr", H2K_FIRMWARE_BIOS},
};

/* How well VOLUME fits as the one that is started: 0 is not at all. */
static guint
weight_of (const H2kGuest *guest, const H2kGuestVolume *volume, guint store)
{
  const H2kVolume *part = h2k_windows_partition (volume);
  gboolean is_esp = strcmp (h2k_volume_role (part), "esp") == 0;
  gboolean same_disk = volume->disk == guest->root->disk;

  if (!exists_on (volume, stores[store].store))
    return 0;
  /* On another volume than that of UEFI it may be what was copied there from an installation DVD.
   */
  if (stores[store].firmware == H2K_FIRMWARE_UEFI)
    return is_esp ? (same_disk ? 200 : 35) : 5 + same_disk;
  return (part->active ? 40 : volume == guest->root ? 20 : 10) + same_disk;
}

static void
mount_boot (H2kGuest *guest, H2kGuestVolume *volume)
{
  if (volume == guest->root)
    return;
  h2k_tree_mount (guest->tree, H2K_WINDOWS_BOOT, volume->fs);
  volume->mountpoint = g_strdup (H2K_WINDOWS_BOOT);
}

void
h2k_windows_find_boot (H2kGuest *guest, const char *temp_dir)
{
  H2kWindows *w = guest->windows;
  H2kGuestVolume *found = NULL;
  guint best = 0, kind = 0;

  for (guint i = 0; i < guest->volumes->len; i++)
    for (guint s = 0; s < G_N_ELEMENTS (stores); s++)
      {
        H2kGuestVolume *volume = guest->volumes->pdata[i];
        guint weight = weight_of (guest, volume, s);
        if (weight > best)
          {
            best = weight;
            found = volume;
            kind = s;
          }
      }
  guest->firmware = H2K_FIRMWARE_BIOS;
  if (!found)
    {
      for (guint i = 0; i < guest->volumes->len; i++)
        if (strcmp (h2k_volume_role (((H2kGuestVolume *)guest->volumes->pdata[i])->volume), "esp")
            == 0)
          guest->firmware = H2K_FIRMWARE_UEFI;
      h2k_guest_warn (guest, "nothing was found that starts Windows (BCD or boot.ini)");
      return;
    }
  guest->firmware = stores[kind].firmware;
  guest->bootloader
      = strcmp (stores[kind].loader, "ntldr") == 0 ? H2K_BOOTLOADER_NTLDR : H2K_BOOTLOADER_BOOTMGR;
  mount_boot (guest, found);
  w->boot = found == guest->root ? "" : H2K_WINDOWS_BOOT;
  w->bcd = g_strconcat (w->boot, stores[kind].store, NULL);
  h2k_windows_read_store (guest, temp_dir);
}
