/* session.h - what the repairs of one Windows share: its hives, opened once and committed when all
 * repairs are made; the drivers that fit it; and what is put there for the first boot.
 *
 * Keys are given below a hive, "ControlSet001\\Services\\viostor". Each change is recorded with its
 * value before and after.
 *
 * Thread-safety: one thread at a time. Errors: H2K_ERROR_REPAIR and those of registry/hive.h,
 * drivers/virtio-win.h and the tree.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/virtio-win.h"
#include "repair/repair.h"

/* CONTEXT must live as long. */
H2kWindowsSession *h2k_windows_session_new (H2kRepairContext *context);
/* What was not committed is gone. */
void h2k_windows_session_free (H2kWindowsSession *session);
/* Whether this Windows may be changed at all. Errors: H2K_ERROR_UNSUPPORTED with what to do: its
 * volume is not to be written (hibernated, not unmounted), it is on a dynamic disk. */
gboolean h2k_windows_session_check (const H2kWindowsSession *session, GError **error);
/* Write the hives; the tree's files are written already. */
gboolean h2k_windows_session_commit (H2kWindowsSession *session, GError **error);

/* --- registry --------------------------------------------------------------------------------- */

typedef enum
{
  H2K_HIVE_SYSTEM,
  H2K_HIVE_SOFTWARE,
} H2kWindowsHiveName;

/* The hive, open for editing, of which nothing but the functions below changes anything; the
 * session's. Errors: the volume cannot be changed (H2K_ERROR_UNSUPPORTED, why is in the message).
 */
H2kHive *h2k_windows_hive (H2kRepairContext *context, H2kWindowsHiveName name, GError **error);

/* VALUE is taken over. What is so already is not recorded. */
gboolean h2k_windows_set (H2kRepairContext *context, H2kWindowsHiveName hive, const char *key,
                          H2kRegValue *value, const char *reason, GError **error);
gboolean h2k_windows_remove_value (H2kRepairContext *context, H2kWindowsHiveName name,
                                   const char *key, const char *value, const char *reason,
                                   GError **error);
/* With everything below it. */
gboolean h2k_windows_remove_key (H2kRepairContext *context, H2kWindowsHiveName hive,
                                 const char *key, const char *reason, GError **error);
gboolean h2k_windows_add_key (H2kRepairContext *context, H2kWindowsHiveName hive, const char *key,
                              const char *reason, GError **error);

/* --- drivers ---------------------------------------------------------------------------------- */

/* Where the drivers come from: opened when it is first asked for; the session's. */
H2kDriverSource *h2k_windows_driver_source (H2kRepairContext *context, GError **error);
/* The same, but NULL without an error when nobody named a source or has opened one. */
H2kDriverSource *h2k_windows_named_driver_source (H2kRepairContext *context, GError **error);
/* Whether there is no source, nobody named one, and the VM does not need its drivers. */
gboolean h2k_windows_does_without_drivers (H2kRepairContext *context);
/* Whether the drivers that were put into this Windows have one for the network. */
gboolean h2k_windows_gets_network_driver (const H2kRepairContext *context);
/* H2kDriver *: those that fit this Windows; the session's. */
GPtrArray *h2k_windows_drivers (H2kRepairContext *context, GError **error);

/* --- first boot ------------------------------------------------------------------------------- */

/* The folder of the first-boot service in the guest's tree, "/Program Files/hyper2kvm/firstboot";
 * the session's. */
const char *h2k_windows_first_boot_dir (H2kRepairContext *context);
/* Put DATA there as NAME ("data/network.ini"); the service is then needed. */
gboolean h2k_windows_first_boot_file (H2kRepairContext *context, const char *name, GBytes *data,
                                      const char *summary, const char *reason, GError **error);
/* Whether something was put there. */
gboolean h2k_windows_needs_first_boot (const H2kRepairContext *context);
/* Whether a first boot will do what is put there: the repair that installs its service was asked
 * for, and this build has the program for the guest's processor. */
gboolean h2k_windows_has_first_boot (const H2kRepairContext *context);
/* Whether a first boot has done all of its work and removed its service: what it was told then
 * needs not be told again. */
gboolean h2k_windows_first_boot_is_over (H2kRepairContext *context);
/* A value of the registry that is to be restored by the first boot's end: KEY with its root,
 * "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\..."; VALUE NULL: is to be removed. */
void h2k_windows_restore_later (H2kRepairContext *context, const char *key, const char *name,
                                const H2kRegValue *value);
/* What is to be restored, as a .reg file in UTF-16; NULL: nothing. The caller's. */
GBytes *h2k_windows_restore_file (H2kRepairContext *context);

/* --- for all ---------------------------------------------------------------------------------- */

/* The guest path of NAME below the folder of Windows: "/Windows/System32/drivers". The caller's. */
char *h2k_windows_path (const H2kRepairContext *context, const char *name);
