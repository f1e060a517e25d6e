/* repairs.h - every repair there is. Each is one file that defines one of these; a line in the
 * table of repair.c puts it in its place.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/repair.h"

extern const H2kRepair h2k_repair_fstab;
extern const H2kRepair h2k_repair_bootloader;
extern const H2kRepair h2k_repair_initramfs;
extern const H2kRepair h2k_repair_udev;
extern const H2kRepair h2k_repair_network;
extern const H2kRepair h2k_repair_tools;
extern const H2kRepair h2k_repair_identity;

extern const H2kRepair h2k_repair_windows_storage;
extern const H2kRepair h2k_repair_windows_controllers;
extern const H2kRepair h2k_repair_windows_boot;
extern const H2kRepair h2k_repair_windows_leftovers;
extern const H2kRepair h2k_repair_windows_drivers;
extern const H2kRepair h2k_repair_windows_network;
extern const H2kRepair h2k_repair_windows_first_boot;
extern const H2kRepair h2k_repair_windows_identity;
