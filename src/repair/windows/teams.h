/* teams.h - network teams and bridges of Windows, which nothing moves to the new adapters.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/windows/session.h"

/* Warn of each one that SYSTEM, the open hive, has in the current control set. */
void h2k_windows_warn_teams (H2kRepairContext *context, H2kHive *system);
