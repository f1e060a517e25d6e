/* windows-private.h - what the files about Windows share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/private.h"
#include "guest/windows.h"

/* PATH below the current control set. The caller's. */
char *h2k_windows_key (const H2kWindows *windows, const char *path);
/* A text without blanks around it; "" when it is missing. The caller's. */
char *h2k_windows_text (H2kHive *hive, const char *key, const char *name);
/* "{03020100-0504-...}" or the same without braces, as Windows has it in memory. */
gboolean h2k_windows_parse_guid (const char *text, guint8 guid[16]);

/* Each fills its part of the structure. */
void h2k_windows_read_devices (H2kWindows *windows, H2kHive *system);
void h2k_windows_read_tools (H2kWindows *windows, H2kHive *system, H2kHive *software);
void h2k_windows_read_state (H2kGuest *guest, H2kHive *system, H2kHive *software);
void h2k_windows_read_hal (H2kWindows *windows, H2kHive *system);
/* TEMP_DIR may be NULL. */
void h2k_windows_find_boot (H2kGuest *guest, const char *temp_dir);
/* What WINDOWS->bcd says. */
void h2k_windows_read_store (H2kGuest *guest, const char *temp_dir);
void h2k_boot_store_free (H2kBootStore *store);
