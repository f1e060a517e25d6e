/* source.h - what the files of the driver source share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/catalogue.h"
#include "drivers/tree.h"

struct _H2kDriverSource
{
  gatomicrefcount ref_count;
  H2kCatalogue *catalogue;
  H2kDriverTree *tree;
  char *name; /* the path, escaped */
  char *describe;
  char *label;   /* NULL: a folder */
  char *version; /* NULL: unknown */
  char *path;    /* NULL: not an ISO of this host */
};

/* FOLDER's file NODE as a driver's; it refers to SOURCE. */
H2kDriverFile *h2k_driver_file_new (H2kDriverSource *source, const char *name,
                                    const H2kDriverNode *node);

/* What SOURCE has of DRIVER (NULL: of all that are for storage): "w10 (amd64, x86), w11 (amd64)",
 * "" when it has nothing. The caller's. */
char *h2k_driver_source_list (H2kDriverSource *source, const H2kCatalogueDriver *driver);

/* One folder that may have a driver for a release. */
typedef struct
{
  const char *os; /* the catalogue's name of the release's folder */
  guint rank;     /* its place among the release's folders: 0 is its own */
  const H2kDriverNode *folder;
  gboolean shared; /* other drivers' files are in it, too */
} H2kDriverPlace;

/* The folders of SOURCE that could have DRIVER for RELEASE on ARCH, best first: H2kDriverPlace*. */
GPtrArray *h2k_driver_source_places (H2kDriverSource *source, const H2kCatalogueDriver *driver,
                                     const H2kCatalogueRelease *release, H2kWindowsArch arch);
