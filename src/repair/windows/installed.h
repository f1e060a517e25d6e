/* installed.h - a driver that Windows has already: its file, its package, and whether it is newer
 * than another one.
 *
 * Windows ranks driver packages of one device by the date of DriverVer, then by its version; so do
 * these functions where Windows knows the package. Where it does not, the version resources of the
 * two files are compared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/pe.h"
#include "repair/windows/session.h"

typedef struct
{
  char *path;  /* guest path of the driver's file */
  char *image; /* what ImagePath has to say for it */
  char *wrong; /* why Windows cannot load the file: "is cut off"; NULL: nothing is wrong */
  H2kPe pe;    /* all zeros when WRONG */
  H2kInf *inf; /* the newest package of the service that Windows knows; NULL: none */
  char *oem;   /* "oem3.inf" of that */
} H2kInstalledDriver;

void h2k_installed_driver_free (H2kInstalledDriver *installed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kInstalledDriver, h2k_installed_driver_free)

/* The driver of SERVICE; NULL: there is none. FILE is the name of its file ("viostor.sys"), which
 * is looked for in System32\drivers where the service does not lead to one. The caller's. */
H2kInstalledDriver *h2k_windows_installed_driver (H2kRepairContext *context, const char *service,
                                                  const char *file);

/* Whether INSTALLED (may be NULL) is to stay in the place of DRIVER's FILE, since it is newer. WHY
 * becomes the reason, for people: that it stays, or why it is replaced; NULL when there is nothing
 * to say. The caller's. */
gboolean h2k_windows_keeps_driver (const H2kInstalledDriver *installed, const H2kDriver *driver,
                                   const char *file, char **why);
