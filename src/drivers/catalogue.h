/* catalogue.h - virtio-win.json as structures: which folders serve which release, which drivers
 * there are, and what their INF files should say. What the members mean, the file itself tells.
 *
 * A catalogue is read-only when it has been made, and then thread-safe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/virtio-win.h"

typedef struct
{
  char *name; /* "Windows Server 2022" */
  guint major, minor;
  gboolean server;
  guint64 first_build, last_build; /* inclusive */
  GStrv folders;                   /* "2k22", "2k19"...: the first is its own */
} H2kCatalogueRelease;

/* Devices whose ids begin with ID. */
typedef struct
{
  char *id;
  guint major, minor; /* INF files for releases from this one on should have it; 0: all */
  gboolean optional;  /* they need not have it */
} H2kCatalogueDevice;

typedef struct
{
  char *name;
  GStrv folders;
  GStrv infs;
  H2kDriverRole role;
  gboolean boot;
  char *class_guid;   /* NULL: not said */
  GStrv services;     /* may be empty: no driver of its own */
  GPtrArray *devices; /* H2kCatalogueDevice* */
} H2kCatalogueDriver;

typedef struct
{
  char *name; /* of the file, escaped */
  GStrv installed;
  GStrv roots;
  GStrv architectures[3]; /* by H2kWindowsArch: names of folders */
  GHashTable *folders;    /* a release's folder in lower case, GStrv of its other names */
  GPtrArray *releases;    /* H2kCatalogueRelease* */
  GPtrArray *drivers;     /* H2kCatalogueDriver* */
  GStrv guest_agents[3];  /* by H2kWindowsArch: paths */
} H2kCatalogue;

/* Errors: H2K_ERROR_USAGE; the message has the place in the file NAME (unescaped). */
H2kCatalogue *h2k_catalogue_parse (GBytes *json, const char *name, GError **error);
void h2k_catalogue_free (H2kCatalogue *catalogue);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCatalogue, h2k_catalogue_free)

/* The release of CATALOGUE that RELEASE is; NULL: it is not known. */
const H2kCatalogueRelease *h2k_catalogue_find (const H2kCatalogue *catalogue,
                                               const H2kWindowsRelease *release);
