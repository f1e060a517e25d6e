/* controllers.c - Windows' own drivers of SATA and IDE, for the first boot, or for VMs whose disks
 * stay there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/database.h"

#define BOOT_START 0u
#define WHY "the VM has its disk on this kind of controller, at least at its first boot"

/* Windows' own drivers of what the definition of the first boot has its disks on, SATA or IDE. A
 * system that was installed on SCSI has them switched off. */
static const struct
{
  const char *service;
  guint from, before; /* releases, MAJOR * 100 + MINOR */
} controllers[] = {
    {"atapi", 0, 99999},  {"intelide", 0, 602},     {"pciide", 0, 602},
    {"msahci", 601, 602}, {"storahci", 602, 99999}, {"pciidex", 0, 501},
};

/* Ids that XP and 2003 need a driver for before Plug and Play: the IDE controllers of the i440FX's
 * and PIIX4's south bridges, and what hangs on them. */
static const struct
{
  const char *id, *service, *class_guid;
} old_devices[] = {
    {"primary_ide_channel", "atapi", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"secondary_ide_channel", "atapi", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"*pnp0600", "atapi", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"pci#cc_0101", "pciide", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"pci#ven_8086&dev_7010", "intelide", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"pci#ven_8086&dev_7111", "intelide", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"},
    {"gendisk", "disk", "{4D36E967-E325-11CE-BFC1-08002BE10318}"},
};

static gboolean
start_controller (H2kRepairContext *context, H2kHive *system, const char *control_set,
                  const char *service, gboolean *found, GError **error)
{
  g_autofree char *key = g_strconcat (control_set, "\\Services\\", service, NULL);
  g_autofree char *override = g_strconcat (key, "\\StartOverride", NULL);
  guint32 start;

  if (!h2k_hive_get_dword (system, key, "Start", &start))
    return TRUE;
  *found = TRUE;
  return h2k_windows_set (context, H2K_HIVE_SYSTEM, key, h2k_reg_dword ("Start", BOOT_START), WHY,
                          error)
         && h2k_windows_remove_key (context, H2K_HIVE_SYSTEM, override, "it would override Start",
                                    error);
}

static gboolean
add_old_devices (H2kRepairContext *context, const char *control_set, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (old_devices); i++)
    if (!h2k_windows_add_critical (context, control_set, old_devices[i].id, old_devices[i].service,
                                   old_devices[i].class_guid, error))
      return FALSE;
  return TRUE;
}

static gboolean
start_in (H2kRepairContext *context, H2kHive *system, const char *control_set, gboolean *found,
          GError **error)
{
  const H2kWindows *w = context->guest->windows;
  guint release = w->version.major * 100 + w->version.minor;

  for (guint i = 0; i < G_N_ELEMENTS (controllers); i++)
    if (release >= controllers[i].from && release < controllers[i].before
        && !start_controller (context, system, control_set, controllers[i].service, found, error))
      return FALSE;
  return release >= 600 || !*found || add_old_devices (context, control_set, error);
}

/* --- the repair ------------------------------------------------------------------------------- */

/* Who repairs the boot configuration alone has not asked for drivers, unless the VM's disks will be
 * there for good. */
static gboolean
applies (H2kRepairContext *context)
{
  return context->set & H2K_REPAIR_VIRTIO || context->options.known_disks;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const H2kWindows *w = context->guest->windows;
  H2kHive *system = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  gboolean found = FALSE;

  if (!system)
    return FALSE;
  for (guint i = 0; i < w->control_sets->len; i++)
    if (!start_in (context, system, w->control_sets->pdata[i], &found, error))
      return FALSE;
  if (found)
    return TRUE;
  if (context->options.known_disks)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_REPAIR,
                           "Windows has no driver of its own for SATA or IDE controllers: leave "
                           "out --bus, so that its disks are on VirtIO");
      return FALSE;
    }
  h2k_repair_warn (context, "Windows has no driver of its own for SATA or IDE controllers: use the "
                            "definition with VirtIO disks at once");
  return TRUE;
}

/* A definition with disks there needs them also when VirtIO's drivers are left out. */
const H2kRepair h2k_repair_windows_controllers = {
    .name = "windows-controllers",
    .flag = H2K_REPAIR_VIRTIO | H2K_REPAIR_BOOTLOADER,
    .why = "Windows stops with INACCESSIBLE_BOOT_DEVICE unless the driver of the SATA or IDE "
           "controller that its disk is on is started with the kernel",
    .applies = applies,
    .run = run,
};
