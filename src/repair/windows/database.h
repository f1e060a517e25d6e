/* database.h - a driver package in DriverDatabase, as Windows 8 and later look for the drivers of
 * the devices that they find.
 *
 * There is no documentation of it by Microsoft; keys and values are those that installed systems
 * have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/windows/session.h"

/* The key of DRIVER's package, which is the name of its folder in the driver store:
 * "viostor.inf_amd64_0123456789abcdef". INF is the file's content; the caller's. */
char *h2k_windows_package_name (const H2kDriver *driver, const H2kWindowsRelease *release,
                                GBytes *inf);

/* Put DRIVER there as PACKAGE, its files into the driver store and its INF into Windows' folder
 * INF. OEM becomes the name that it has there ("oem3.inf"), the caller's; a package that is there
 * keeps its own. */
gboolean h2k_windows_add_package (H2kRepairContext *context, const H2kDriver *driver,
                                  const char *package, GBytes *inf, char **oem, GError **error);

/* Before Windows 8, in CriticalDeviceDatabase of CONTROL_SET: the device ID leads to SERVICE. */
gboolean h2k_windows_add_critical (H2kRepairContext *context, const char *control_set,
                                   const char *id, const char *service, const char *class_guid,
                                   GError **error);
