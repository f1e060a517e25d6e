/* boot.c - what starts Windows: its boot configuration, the programs that read it, and what the
 * firmware looks for.
 *
 * Nothing is changed that works. What is broken for sure is put right, with the original kept
 * beside it; programs that are missing come from the folder that bcdboot takes them from.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/boot.h"

#include "repair/repairs.h"
#include "repair/windows/session.h"

#define MAX_PROGRAM (16u << 20) /* bytes; boot managers have two to three MiB */
#define MANAGER "/EFI/Microsoft/Boot/bootmgfw.efi"

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

/* --- shared by its parts ---------------------------------------------------------------------- */

gboolean
h2k_windows_keep (H2kRepairContext *context, const char *path, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autofree char *backup = g_strconcat (path, ".h2k-backup", NULL);
  g_autoptr (GBytes) data = NULL;

  if (h2k_tree_exists (tree, backup))
    return TRUE;
  data = h2k_tree_read (tree, path, MAX_PROGRAM, error);
  return data
         && h2k_repair_copy (context, backup, data, 0644, "a copy of what it was",
                             "a boot file is changed, and the original is kept beside it", error);
}

void
h2k_windows_record_place (H2kRepairContext *context, const char *where, const char *before,
                          const char *after, const char *reason)
{
  H2kChange *change = g_new0 (H2kChange, 1);

  change->repair = context->current;
  change->kind = H2K_CHANGE_EDIT;
  change->path = g_strdup (where);
  change->before = g_bytes_new (before, strlen (before));
  change->after = g_bytes_new (after, strlen (after));
  change->reason = g_strdup (reason);
  g_ptr_array_add (context->changes, change);
}

/* --- programs --------------------------------------------------------------------------------- */

/* Programs of the volume that is started, with where Windows has copies of them. */
static const struct
{
  H2kFirmware firmware;
  H2kBootloader bootloader;
  const char *path;
  const char *copies[2]; /* below the folder of Windows */
  const char *advice;
} programs[] = {
    {H2K_FIRMWARE_BIOS,
     H2K_BOOTLOADER_BOOTMGR,
     "/bootmgr",
     {"Boot/PCAT/bootmgr"},
     "run bootrec /fixboot and bcdboot C:\\Windows from Windows' installation medium"},
    {H2K_FIRMWARE_UEFI,
     H2K_BOOTLOADER_BOOTMGR,
     MANAGER,
     {"Boot/EFI/bootmgfw.efi"},
     "run bcdboot C:\\Windows /f UEFI from Windows' installation medium"},
    {H2K_FIRMWARE_BIOS,
     H2K_BOOTLOADER_NTLDR,
     "/ntldr",
     {"ServicePackFiles/i386/ntldr", "Driver Cache/i386/ntldr"},
     "copy it from \\I386 of Windows' installation medium"},
    {H2K_FIRMWARE_BIOS,
     H2K_BOOTLOADER_NTLDR,
     "/NTDETECT.COM",
     {"ServicePackFiles/i386/ntdetect.com", "Driver Cache/i386/ntdetect.com"},
     "copy it from \\I386 of Windows' installation medium"},
};

/* Put PATH there, a copy of what Windows has. */
static gboolean
restore_program (H2kRepairContext *context, guint number, const char *path, GError **error)
{
  for (guint i = 0; i < 2 && programs[number].copies[i]; i++)
    {
      g_autofree char *copy = h2k_windows_path (context, programs[number].copies[i]);
      g_autoptr (GBytes) data
          = h2k_tree_read_optional (context->guest->tree, copy, MAX_PROGRAM, NULL);
      g_autofree char *summary = g_strconcat ("a copy of ", copy, NULL);

      if (data)
        return h2k_repair_copy (context, path, data, 0644, summary,
                                "the program that starts Windows was missing", error);
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
               "%s is missing, without which Windows does not start, and Windows has no copy of "
               "it: %s",
               path, programs[number].advice);
  return FALSE;
}

static gboolean
check_programs (H2kRepairContext *context, GError **error)
{
  const H2kGuest *guest = context->guest;

  for (guint i = 0; i < G_N_ELEMENTS (programs); i++)
    {
      g_autofree char *path = g_strconcat (guest->windows->boot, programs[i].path, NULL);

      if (programs[i].firmware == guest->firmware && programs[i].bootloader == guest->bootloader
          && !h2k_tree_is_file (guest->tree, path) && !restore_program (context, i, path, error))
        return FALSE;
    }
  return TRUE;
}

/* --- the removable-media path ----------------------------------------------------------------- */

/* What UEFI starts from a disk that its variables do not name. */
static const struct
{
  const char *arch, *name;
} fallbacks[] = {
    {"x86_64", "bootx64.efi"},
    {"i686", "bootia32.efi"},
    {"aarch64", "bootaa64.efi"},
};

/* Whether a program is some version of Windows' boot manager: its version resource, in UTF-16,
 * names the file. */
static gboolean
is_boot_manager (GBytes *data)
{
  static const char name[] = "b\0o\0o\0t\0m\0g";
  gsize size;
  const char *p = g_bytes_get_data (data, &size);

  return memmem (p, size, name, sizeof name - 1) != NULL;
}

static gboolean
check_fallback (H2kRepairContext *context, GError **error)
{
  H2kGuest *guest = context->guest;
  g_autofree char *manager = g_strconcat (guest->windows->boot, MANAGER, NULL);
  g_autofree char *path = NULL;
  g_autoptr (GBytes) ours = NULL;
  g_autoptr (GBytes) there = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (fallbacks); i++)
    if (strcmp (fallbacks[i].arch, guest->arch) == 0)
      path = g_strconcat (guest->windows->boot, "/EFI/Boot/", fallbacks[i].name, NULL);
  ours = path ? h2k_tree_read (guest->tree, manager, MAX_PROGRAM, error) : NULL;
  if (!ours)
    return path == NULL;
  if (h2k_tree_is_file (guest->tree, path))
    {
      there = h2k_tree_read_optional (guest->tree, path, MAX_PROGRAM, NULL);
      if (!there || (!g_bytes_equal (there, ours) && !is_boot_manager (there)))
        h2k_repair_warn (context,
                         "%s is not Windows' boot manager, and a new VM starts it until its "
                         "firmware has an entry for %s",
                         path, MANAGER);
      return TRUE;
    }
  return h2k_repair_copy (context, path, ours, 0644, "a copy of Windows' boot manager",
                          "a new VM's firmware has no boot entry and looks here", error);
}

/* --- all -------------------------------------------------------------------------------------- */

static void
warn_of_hal (H2kRepairContext *context)
{
  const H2kWindows *w = context->guest->windows;

  if (w->version.major >= 6 || !w->hal)
    return;
  if (w->max_vcpus)
    h2k_repair_warn (context,
                     "the HAL of this Windows (%s) is one for a single processor: give the VM one "
                     "vCPU, or change the computer's driver in the Device Manager",
                     w->hal);
  if (g_ascii_strncasecmp (w->hal, "acpi", 4) != 0)
    h2k_repair_warn (context,
                     "the HAL of this Windows (%s) has no ACPI: turn ACPI off in the VM's "
                     "definition, and expect that it cannot be shut down from outside",
                     w->hal);
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  H2kGuest *guest = context->guest;
  const H2kWindows *w = guest->windows;

  warn_of_hal (context);
  if (!w->boot)
    {
      /* ntldr does without a boot.ini when Windows is in \WINDOWS of the first partition. */
      if (w->version.major < 6)
        return TRUE;
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_REPAIR,
                           "no volume has the boot configuration (BCD) of this Windows: give all "
                           "of the VM's disks, or run bcdboot C:\\Windows from Windows' "
                           "installation medium, and try again");
      return FALSE;
    }
  if (!(guest->bootloader == H2K_BOOTLOADER_NTLDR ? h2k_windows_repair_boot_ini (context, error)
                                                  : h2k_windows_repair_bcd (context, error)))
    return FALSE;
  if (!check_programs (context, error))
    return FALSE;
  return guest->firmware == H2K_FIRMWARE_UEFI ? check_fallback (context, error)
                                              : h2k_windows_repair_sectors (context, error);
}

const H2kRepair h2k_repair_windows_boot = {
    .name = "windows-boot",
    .flag = H2K_REPAIR_BOOTLOADER,
    .why = "the firmware of a new VM finds Windows' boot manager, and that finds Windows",
    .applies = applies,
    .run = run,
};
