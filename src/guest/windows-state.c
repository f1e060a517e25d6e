/* windows-state.c - whether an installed Windows can be changed safely, and what it has not ended.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"

#include "fs/ntfs.h"

#define CBS "Microsoft\\Windows\\CurrentVersion\\Component Based Servicing"
#define SERVICE_DISABLED 4 /* a service's Start */

static void
read_volume (H2kWindows *w)
{
  const H2kNtfsState *state = h2k_ntfs_state (w->fs);

  if (!state)
    return;
  w->hibernated = state->hibernated;
  w->fast_startup = state->hibernated && state->fast_startup;
  w->not_unmounted = state->log_unclean;
  w->dirty = state->dirty_flag;
}

static void
read_disks (H2kGuest *guest)
{
  H2kWindows *w = guest->windows;

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = guest->volumes->pdata[i];
      const char *role = h2k_volume_role (volume->volume);

      w->bitlocker |= strcmp (volume->id.type, "BitLocker") == 0;
      w->bitlocker_locked |= strcmp (volume->id.type, "BitLocker") == 0 && volume->node->problem;
      /* One that a key opened is as locked to the Windows that starts. */
      if (volume->node->kind == H2K_NODE_BITLOCKER)
        *(volume->node->frozen ? &w->bitlocker_locked : &w->bitlocker_suspended) = TRUE;
      w->refs |= strcmp (volume->id.type, "ReFS") == 0;
      w->dynamic_disks |= strcmp (role, "ldm") == 0;
      w->storage_spaces |= strcmp (role, "storage-spaces") == 0;
    }
}

static gboolean
has_value (H2kHive *hive, const char *key, const char *name)
{
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, name);

  return value && g_bytes_get_size (value->data) > 4;
}

static gboolean
is_set (H2kHive *hive, const char *key, const char *name)
{
  guint32 number;

  return h2k_hive_get_dword (hive, key, name, &number) && number != 0;
}

/* What a restart would go on with. */
static void
read_pending (H2kWindows *w, H2kHive *system, H2kHive *software)
{
  static const char *const servicing[]
      = {CBS "\\RebootPending", CBS "\\RebootInProgress", CBS "\\PackagesPending"};
  g_autofree char *manager = h2k_windows_key (w, "Control\\Session Manager");
  g_autofree char *sysprep
      = h2k_windows_text (software, "Microsoft\\Windows\\CurrentVersion\\Setup\\State",
                          "ImageState");
  g_autofree char *pending = g_build_filename (w->root, "WinSxS", "pending.xml", NULL);
  H2kStat st;

  w->pending_renames = has_value (system, manager, "PendingFileRenameOperations");
  for (guint i = 0; i < G_N_ELEMENTS (servicing); i++)
    w->pending_servicing |= h2k_hive_has_key (software, servicing[i]);
  w->pending_servicing |= is_set (software, CBS "\\SessionsPending", "Exclusive")
                          || w->fs->ops->lstat (w->fs, pending, &st, NULL);
  w->reboot_pending = h2k_hive_has_key (
      software, "Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired");
  w->setup_in_progress = is_set (system, "Setup", "SystemSetupInProgress")
                         || is_set (system, "Setup", "OOBEInProgress");
  if (*sysprep && strcmp (sysprep, "IMAGE_STATE_COMPLETE") != 0)
    w->sysprep = g_steal_pointer (&sysprep);
}

/* A service that removes itself is marked only, until nothing holds it: Windows removes its key
 * when it starts the next time. One that could not be removed is disabled. */
static void
read_first_boot (H2kWindows *w, H2kHive *system)
{
  g_autofree char *key = h2k_windows_key (w, "Services\\" H2K_FIRST_BOOT_SERVICE);
  guint32 start;

  w->first_boot_ahead = !is_set (system, key, "DeleteFlag")
                        && h2k_hive_get_dword (system, key, "Start", &start)
                        && start != SERVICE_DISABLED;
}

/* What the machine had when this Windows last ran. */
static void
read_security (H2kWindows *w, H2kHive *system)
{
  g_autofree char *secure_boot = h2k_windows_key (w, "Control\\SecureBoot\\State");
  g_autofree char *tpm_enum = h2k_windows_key (w, "Services\\TPM\\Enum");

  w->secure_boot = is_set (system, secure_boot, "UEFISecureBootEnabled");
  w->tpm = is_set (system, tpm_enum, "Count");
}

/* Windows 8 and later leave an image when they are shut down, unless it is switched off. */
static void
weigh_fast_startup (H2kWindows *w, H2kHive *system)
{
  g_autofree char *key = h2k_windows_key (w, "Control\\Session Manager\\Power");
  guint32 enabled;

  if (w->fast_startup && h2k_hive_get_dword (system, key, "HiberbootEnabled", &enabled)
      && enabled == 0)
    w->fast_startup = FALSE;
}

static void
warn_of_state (H2kGuest *guest)
{
  const H2kWindows *w = guest->windows;

  if (w->bitlocker_suspended)
    h2k_guest_warn (guest,
                    "BitLocker is suspended: Windows starts without its recovery key as long as it "
                    "stays so. Unless -rebootcount 0 was given, it resumes by itself after a "
                    "restart or two, and the TPM that knew its key stays behind: have the recovery "
                    "key ready, and resume BitLocker when the guest runs on its VirtIO disk "
                    "(manage-bde -protectors -enable DRIVE:)");
  if (w->bitlocker_locked)
    h2k_guest_warn (guest,
                    "a volume is encrypted by BitLocker: Windows will ask for its recovery "
                    "key, since the TPM stays behind; have it ready, or suspend BitLocker "
                    "before the migration (manage-bde -protectors -disable D: -rebootcount 0)");
  if (w->storage_spaces)
    h2k_guest_warn (guest, "a partition belongs to Storage Spaces: it is copied as it is, give "
                           "every disk of the pool");
  if (w->dynamic_disks)
    h2k_guest_warn (guest, "a disk is a dynamic disk: its volumes are copied as they are");
  if (w->pending_servicing || w->reboot_pending)
    h2k_guest_warn (guest, "updates wait for a restart: the first boot goes on with them and takes "
                           "longer");
  if (w->setup_in_progress)
    h2k_guest_warn (guest, "Windows has not been set up to the end: it goes on with that at the "
                           "first boot");
  if (w->product_name && w->version.product == H2K_WINDOWS_DOMAIN_CONTROLLER)
    h2k_guest_warn (guest,
                    "this is a domain controller: the original must not run beside the copy");
}

void
h2k_windows_read_state (H2kGuest *guest, H2kHive *system, H2kHive *software)
{
  H2kWindows *w = guest->windows;

  read_volume (w);
  read_disks (guest);
  read_pending (w, system, software);
  read_security (w, system);
  read_first_boot (w, system);
  weigh_fast_startup (w, system);
  warn_of_state (guest);
}
