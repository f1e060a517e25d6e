/* kvm.h - finding out whether KVM runs guests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "boot/boot.h"

/* Run the probe of kvm-probe.S in EMULATOR with accelerator ACCEL ("kvm", "tcg" in tests).
 * WHY (may be NULL) is set to a static reason when it does not reach its end in time. */
gboolean h2k_accel_probe (const char *emulator, const char *accel, const char **why);
