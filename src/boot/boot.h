/* boot.h - starts a throw-away overlay of a VM and gives a verdict from evidence.
 *
 * QEMU's serial console and QMP are watched. KVM is used where it really runs guests, emulation
 * where not. A verdict is one of: proof seen; a known failure seen (panic, emergency shell,
 * initramfs prompt, GRUB rescue, no bootable device, a stop error of Windows); the guest stopped;
 * time out. Only the first is a pass. A Windows guest proves that it has come up by its first-boot
 * service, which may restart it on the way.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

#include <json-glib/json-glib.h>

typedef enum
{
  H2K_VERDICT_PASS,
  H2K_VERDICT_FAILURE, /* a known failure on the console */
  H2K_VERDICT_STOPPED, /* QEMU ended or the guest powered off before proof */
  H2K_VERDICT_TIMEOUT,
} H2kVerdict;

typedef struct
{
  H2kVerdict verdict;
  char *accel;     /* "kvm" or "tcg" */
  char *accel_why; /* why not KVM; NULL when KVM was used */
  char *evidence;  /* the line that decided: "hyper login:"; NULL: none */
  char *network;   /* what the marker unit said of the network, "ens192 up 10.0.2.15/24"; NULL */
  double seconds;  /* from QEMU's start to the verdict */
  char *console;   /* the serial console's last 16 KiB, escaped */
  guint reboots;   /* reboots inside the guest that were seen to the proof */
  char *screen;    /* the file with the last picture of the screen; NULL: there is none */
} H2kBootResult;

void h2k_boot_result_free (H2kBootResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kBootResult, h2k_boot_result_free)

/* The result with its fields' names as keys; what was not seen is null. The caller's. */
JsonObject *h2k_boot_result_to_json (const H2kBootResult *result);

/* Boot a throw-away overlay of DOMAIN's disks, which are not written. OPTIONS' disks, bus, format,
 * memory and MACs are ignored: DOMAIN says them. RESULT (may be NULL) is set whenever QEMU ran.
 * Errors: H2K_ERROR_BOOT when there was no proof, _TOOL, _CANCELLED. */
gboolean h2k_boot_domain (const H2kDomain *domain, const H2kBootOptions *options,
                          GCancellable *cancellable, H2kBootResult **result, GError **error);

/* Whether KVM runs guests on this host: QEMU is started for a moment to find out; the answer is
 * kept for the process. WHY (may be NULL) is set to a static reason when not. */
gboolean h2k_kvm_works (const char **why);
