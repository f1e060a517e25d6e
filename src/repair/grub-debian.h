/* grub-debian.h - the devices that Debian's grub packages install GRUB to at an upgrade.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/repair.h"

gboolean h2k_repair_grub_debconf (H2kRepairContext *context, GError **error);
