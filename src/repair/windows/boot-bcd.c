/* boot-bcd.c - a BCD whose default entry does not lead to Windows is put right.
 *
 * Devices in a BCD name the disk by its signature or GUID, and break when a disk was cloned or its
 * table was written anew. Entries of other systems, and everything that works, are left alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/boot.h"

#define WHY_DEVICE "the device named a partition that is not on these disks"
#define WHY_DEFAULT "the boot manager had no default entry that leads to Windows"
#define ADVICE                                                                                     \
  "run bootrec /rebuildbcd or bcdboot C:\\Windows from Windows' installation medium and try again"

typedef struct
{
  H2kRepairContext *context;
  H2kGuest *guest;
  H2kHive *hive;
  H2kBcd *bcd; /* as it was */
  const H2kBcdObject *manager;
  gboolean writable;
  H2kBcdDevice lost[2]; /* what the default entry had and led nowhere */
  H2kBcdDevice system;  /* the right one */
} Store;

/* --- changing --------------------------------------------------------------------------------- */

static gboolean
can_write (const Store *s, GError **error)
{
  return s->writable || h2k_fs_check_writable (h2k_windows_boot_volume (s->guest)->fs, error);
}

static void
record (const Store *s, const H2kBcdObject *object, guint32 type, const char *before,
        const char *after, const char *reason)
{
  g_autofree char *key = h2k_bcd_key (object, type);
  g_autofree char *whole = g_strconcat ("HKLM\\BCD00000000\\", key, NULL);
  g_autofree char *shown = h2k_escape_text (whole, -1);

  h2k_repair_record_registry (s->context, shown, "\"Element\"=", before, after, reason);
}

static gboolean
set_text (const Store *s, const H2kBcdObject *object, guint32 type, const char *text,
          const char *reason, GError **error)
{
  g_autofree char *old = h2k_bcd_text (object, type);
  g_autofree char *before = old ? h2k_escape_text (old, -1) : NULL;

  if (!can_write (s, error) || !h2k_bcd_set_text (s->hive, object, type, text, error))
    return FALSE;
  record (s, object, type, before, text, reason);
  return TRUE;
}

static gboolean
set_device (const Store *s, const H2kBcdObject *object, guint32 type, const H2kBcdDevice *device,
            GError **error)
{
  H2kBcdDevice old = h2k_bcd_device (object, type);
  g_autofree char *before = h2k_bcd_device_to_text (&old);
  g_autofree char *after = h2k_bcd_device_to_text (device);

  if (!can_write (s, error) || !h2k_bcd_set_device (s->hive, object, type, device, error))
    return FALSE;
  record (s, object, type, before, after, WHY_DEVICE);
  return TRUE;
}

/* --- the default ------------------------------------------------------------------------------ */

/* Where ID stands in the menu; after all others when it does not. */
static guint
place_of (const Store *s, const char *id)
{
  g_auto (GStrv) order = h2k_bcd_objects (s->manager, H2K_BCD_DISPLAY_ORDER);
  guint i = 0;

  while (order && order[i] && g_ascii_strcasecmp (order[i], id) != 0)
    i++;
  return order && order[i] ? i : G_MAXUINT;
}

/* The entry of this Windows: one that works before one that does not, then the first of the menu.
 */
static const H2kBcdObject *
find_ours (const Store *s, H2kLoaderFaults *faults)
{
  const H2kBcdObject *best = NULL;
  guint best_place = 0;

  for (guint i = 0; i < s->bcd->objects->len; i++)
    {
      const H2kBcdObject *object = s->bcd->objects->pdata[i];
      H2kLoaderFaults its = 0;
      guint place;

      if (object->type != H2K_BCD_TYPE_LOADER
          || h2k_windows_judge_loader (s->guest, object, &its) != H2K_LOADER_OURS)
        continue;
      place = place_of (s, object->id);
      if (!best || (its == 0) > (*faults == 0)
          || ((its == 0) == (*faults == 0) && place < best_place))
        {
          best = object;
          best_place = place;
          *faults = its;
        }
    }
  return best;
}

/* Whether the default entry starts something else, and can. */
static gboolean
is_anothers (const Store *s, const H2kBcdObject *entry)
{
  H2kLoaderFaults faults = 0;
  H2kLoaderOwner owner = entry->type == H2K_BCD_TYPE_LOADER
                             ? h2k_windows_judge_loader (s->guest, entry, &faults)
                             : H2K_LOADER_UNKNOWN;

  return owner == H2K_LOADER_ANOTHER || owner == H2K_LOADER_UNKNOWN;
}

/* The entry that is to start this Windows, made the default where there is no other that works. */
static const H2kBcdObject *
find_entry (const Store *s, H2kLoaderFaults *faults, GError **error)
{
  g_autofree char *id = h2k_bcd_text (s->manager, H2K_BCD_DEFAULT);
  const H2kBcdObject *entry = h2k_bcd_find (s->bcd, id);
  const H2kBcdObject *ours = find_ours (s, faults);
  H2kLoaderFaults its = 0;

  if (entry && entry->type == H2K_BCD_TYPE_LOADER
      && h2k_windows_judge_loader (s->guest, entry, &its) == H2K_LOADER_OURS
      && (its == 0 || *faults != 0))
    {
      *faults = its;
      return entry;
    }
  if (!ours)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                   "%s has no entry for the Windows in %s: " ADVICE, s->guest->windows->bcd,
                   s->guest->windows->root);
      return NULL;
    }
  if (entry && is_anothers (s, entry))
    {
      h2k_repair_warn (s->context, "the default entry of %s (%s) starts another system, and not %s",
                       s->guest->windows->bcd, id, s->guest->pretty_name);
      return ours;
    }
  return set_text (s, s->manager, H2K_BCD_DEFAULT, ours->id, WHY_DEFAULT, error) ? ours : NULL;
}

/* --- entries ---------------------------------------------------------------------------------- */

static gboolean
fix_devices (Store *s, const H2kBcdObject *entry, H2kLoaderFaults faults, GError **error)
{
  static const struct
  {
    H2kLoaderFaults fault;
    guint32 type;
  } devices[] = {
      {H2K_LOADER_DEVICE, H2K_BCD_DEVICE},
      {H2K_LOADER_OS_DEVICE, H2K_BCD_OS_DEVICE},
  };

  if (!(faults & (H2K_LOADER_DEVICE | H2K_LOADER_OS_DEVICE)))
    return TRUE;
  if (!h2k_windows_device_of (s->guest, s->guest->root, &s->system))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                   "the boot configuration does not lead to Windows, and cannot be made to, since "
                   "its disk has no signature or no partitions: " ADVICE);
      return FALSE;
    }
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++)
    if (faults & devices[i].fault)
      {
        H2kBcdDevice old = h2k_bcd_device (entry, devices[i].type);
        H2kGuestVolume *volume;
        if (h2k_windows_follow (s->guest, &old, &volume) == H2K_LEADS_NOWHERE)
          s->lost[i] = old;
        if (!set_device (s, entry, devices[i].type, &s->system, error))
          return FALSE;
      }
  return TRUE;
}

static gboolean
fix_entry (Store *s, const H2kBcdObject *entry, H2kLoaderFaults faults, GError **error)
{
  const H2kWindows *w = s->guest->windows;
  g_autofree char *winload = h2k_windows_winload (s->guest);
  g_autofree char *root = g_strdelimit (g_strdup (w->root), "/", '\\');

  if (faults & H2K_LOADER_PATH && !winload)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                   "%s/System32 has no winload.%s, without which Windows does not start: repair "
                   "its files (sfc /scannow from Windows' installation medium) and try again",
                   w->root, s->guest->firmware == H2K_FIRMWARE_UEFI ? "efi" : "exe");
      return FALSE;
    }
  if (faults & H2K_LOADER_PATH
      && !set_text (s, entry, H2K_BCD_PATH, winload,
                    "the loader was missing, or one for another firmware", error))
    return FALSE;
  if (faults & H2K_LOADER_ROOT
      && !set_text (s, entry, H2K_BCD_SYSTEM_ROOT, root, "Windows is in another folder", error))
    return FALSE;
  return fix_devices (s, entry, faults, error);
}

/* The program that resumes from a hibernation lies beside the loader. */
static gboolean
fix_resume_path (const Store *s, const H2kBcdObject *object, GError **error)
{
  const char *name = s->guest->firmware == H2K_FIRMWARE_UEFI ? "winresume.efi" : "winresume.exe";
  g_autofree char *path = g_strconcat (s->guest->windows->root, "/System32/", name, NULL);
  g_autofree char *text = h2k_bcd_text (object, H2K_BCD_PATH);
  g_autofree char *old = h2k_windows_slashes (text);

  if (!old || h2k_windows_has_file (s->guest->root, old)
      || !h2k_windows_has_file (s->guest->root, path))
    return TRUE;
  g_strdelimit (path, "/", '\\');
  return set_text (s, object, H2K_BCD_PATH, path, "the program was missing", error);
}

static gboolean
is_lost (const Store *s, const H2kBcdDevice *device)
{
  return device->kind != H2K_BCD_NO_DEVICE
         && (h2k_bcd_device_equal (device, &s->lost[0])
             || h2k_bcd_device_equal (device, &s->lost[1]));
}

/* What else has a device that led nowhere: programs of the volume that is started to that, what
 * had the same as the entry of Windows to Windows. */
static gboolean
fix_other (const Store *s, const H2kBcdObject *object, const H2kBcdDevice *boot, GError **error)
{
  static const guint32 types[] = {H2K_BCD_DEVICE, H2K_BCD_OS_DEVICE};
  gboolean of_boot = object->type == H2K_BCD_TYPE_BOOTMGR || object->type == H2K_BCD_TYPE_MEMTEST;
  gboolean changed = FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      H2kBcdDevice device = h2k_bcd_device (object, types[i]);
      H2kGuestVolume *volume;
      const H2kBcdDevice *right = NULL;

      if (device.kind == H2K_BCD_NO_DEVICE
          || h2k_windows_follow (s->guest, &device, &volume) != H2K_LEADS_NOWHERE)
        continue;
      right = of_boot ? boot : is_lost (s, &device) ? &s->system : NULL;
      if (!right)
        continue;
      if (!set_device (s, object, types[i], right, error))
        return FALSE;
      changed = TRUE;
    }
  return !changed || object->type != H2K_BCD_TYPE_RESUME || fix_resume_path (s, object, error);
}

static gboolean
fix_others (Store *s, const H2kBcdObject *entry, GError **error)
{
  H2kBcdDevice boot;
  gboolean has_boot = h2k_windows_device_of (s->guest, h2k_windows_boot_volume (s->guest), &boot);

  for (guint i = 0; i < s->bcd->objects->len; i++)
    {
      const H2kBcdObject *object = s->bcd->objects->pdata[i];
      if (object != entry && !fix_other (s, object, has_boot ? &boot : NULL, error))
        return FALSE;
    }
  return TRUE;
}

/* --- settings --------------------------------------------------------------------------------- */

/* What is as its owner wanted it, but works otherwise in a VM, or keeps the first boot from its
 * work. */
static void
warn_of_settings (const Store *s, const H2kBcdObject *entry)
{
  const struct
  {
    gboolean is;
    const char *text;
  } notes[] = {
      {h2k_bcd_is_set (s->bcd, entry, H2K_BCD_EMS)
           || h2k_bcd_is_set (s->bcd, s->manager, H2K_BCD_BOOT_EMS),
       "Emergency Management Services are on: they use the first serial port, on which the first "
       "boot cannot report then (bcdedit /ems off)"},
      {h2k_bcd_is_set (s->bcd, entry, H2K_BCD_GRAPHICS_DISABLED),
       "graphicsmodedisabled is set: the screen stays black until Windows has a display driver"},
      {h2k_bcd_is_set (s->bcd, entry, H2K_BCD_KERNEL_DEBUG),
       "the kernel debugger is on: it may take the first serial port, and wait for its debugger"},
  };
  g_auto (GStrv) sequence = h2k_bcd_objects (s->manager, H2K_BCD_BOOT_SEQUENCE);
  guint64 mode;

  for (guint i = 0; i < G_N_ELEMENTS (notes); i++)
    if (notes[i].is)
      h2k_repair_warn (s->context, "%s: %s", s->guest->windows->bcd, notes[i].text);
  if (h2k_bcd_number (entry, H2K_BCD_SAFE_BOOT, &mode))
    h2k_repair_warn (s->context,
                     "%s: Windows is to start in safe mode, in which the first boot's service "
                     "does not run (bcdedit /deletevalue safeboot)",
                     s->guest->windows->bcd);
  if (sequence && sequence[0])
    h2k_repair_warn (s->context, "%s: the next start is to be another entry (%s), once",
                     s->guest->windows->bcd, sequence[0]);
}

/* --- all -------------------------------------------------------------------------------------- */

gboolean
h2k_windows_commit_store (H2kRepairContext *context, H2kHive *hive, GError **error)
{
  const H2kHiveInfo *info = h2k_hive_info (hive);
  guint before = info->backups->len;

  if (!h2k_hive_is_changed (hive))
    return TRUE;
  if (!h2k_hive_commit (hive, error))
    return FALSE;
  for (guint i = before; i < info->backups->len; i++)
    {
      H2kChange *change = g_new0 (H2kChange, 1);
      g_autofree char *path
          = g_strconcat (context->guest->windows->boot, info->backups->pdata[i], NULL);

      change->repair = context->current;
      change->kind = H2K_CHANGE_CREATE;
      change->path = h2k_escape_text (path, -1);
      change->summary = g_strdup ("a copy of what it was");
      change->reason = g_strdup ("the boot configuration is changed, and the original is kept "
                                 "beside it");
      g_ptr_array_add (context->changes, change);
    }
  return TRUE;
}

static gboolean
repair (Store *s, GError **error)
{
  H2kLoaderFaults faults = 0;
  const H2kBcdObject *entry = find_entry (s, &faults, error);

  if (!entry || !fix_entry (s, entry, faults, error) || !fix_others (s, entry, error))
    return FALSE;
  warn_of_settings (s, entry);
  return h2k_windows_commit_store (s->context, s->hive, error);
}

gboolean
h2k_windows_repair_bcd (H2kRepairContext *context, GError **error)
{
  H2kGuest *guest = context->guest;
  g_autoptr (GError) local = NULL;
  Store s = {.context = context, .guest = guest};
  g_autoptr (H2kHive) hive = NULL;
  g_autoptr (H2kBcd) bcd = NULL;

  s.writable = h2k_fs_check_writable (h2k_windows_boot_volume (guest)->fs, NULL);
  hive = h2k_windows_open_store (guest, s.writable, context->options.temp_dir, &local);
  bcd = hive ? h2k_bcd_read (hive, &local) : NULL;
  if (!bcd && !g_error_matches (local, H2K_ERROR, H2K_ERROR_FORMAT))
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  s.hive = hive;
  s.bcd = bcd;
  s.manager = bcd ? h2k_bcd_find (bcd, H2K_BCD_BOOTMGR) : NULL;
  if (s.manager)
    return repair (&s, error);
  g_clear_pointer (&hive, h2k_hive_free);
  return h2k_windows_rebuild_bcd (context, local ? local->message : "it has no boot manager",
                                  error);
}
