/* windows.h - a hive looked at as Windows does it: keys found by binary search and hashes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/regf.h"

/* HIVE in a copy, with its bins checked. */
H2kRegf *windows_load (GBytes *hive);
/* Where KEY (as h2k_hive_find()) is; H2K_REGF_NONE: Windows would not find it. */
guint32 windows_find (const H2kRegf *regf, const char *key);
/* Fail unless the base block is that of a clean hive, all keys of all lists are sorted and hashed
 * as Windows needs it, and security descriptors know how many keys have them. */
void windows_assert_sound (const H2kRegf *regf);
