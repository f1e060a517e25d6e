/* discover.h - what the files of h2k_discover() share. A disk's finding is a JSON object that is
 * filled as the disk is looked at (docs/discover.md has its members); the text for people is drawn
 * from it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/resources.h"
#include "guest/guest.h"
#include "source/attached.h"
#include "volume/zfs-label.h"

#include <json-glib/json-glib.h>

/* What is to be looked at. */
typedef struct
{
  char *path;            /* as given, or the device's */
  char *shown;           /* the same without the secrets of a URI */
  H2kAttached *attached; /* NULL: it is on a server, or not there */
  GError *problem;       /* why it cannot be looked at; NULL: it may be */
  gboolean is_appliance; /* an OVA: all of its disks are looked at together */
} DiscoverSource;

DiscoverSource *discover_source_new (const char *path, H2kAttached *attached);
void discover_source_free (DiscoverSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (DiscoverSource, discover_source_free)

/* The host that the VM would run on, and what it has for all disks. */
typedef struct
{
  guint64 memory_mib;
  guint cpus;
  GPtrArray *keys; /* char *: of LUKS containers */
} DiscoverHost;

/* --- members of JSON objects: texts are escaped, NULL becomes null ---------------------------- */

void discover_set_text (JsonObject *object, const char *name, const char *text);
void discover_set_number (JsonObject *object, const char *name, guint64 number);
/* Append TEXT to the array NAME, which is made when it is missing. */
void discover_add_text (JsonObject *object, const char *name, const char *text);
JsonArray *discover_array (JsonObject *object, const char *name);
/* NULL when it is null or missing. Owned by OBJECT. */
const char *discover_text (JsonObject *object, const char *name);
JsonObject *discover_object (JsonObject *object, const char *name);

/* --- disk.c ----------------------------------------------------------------------------------- */

/* What is known of SOURCE without opening it. The caller's. */
JsonObject *discover_describe (const DiscoverSource *source);
/* Open SOURCE and fill DISK, which discover_describe() made. Never fails: what cannot be read is
 * said in DISK. */
void discover_look (const DiscoverSource *source, const DiscoverHost *host, JsonObject *disk);
/* Say in DISK that it could not be read. ADVICE may be NULL. */
void discover_set_error (JsonObject *disk, const GError *error, const char *advice);

/* --- parts.c: partitions and volumes, and what they are for ----------------------------------- */

/* STACK is what lies on the disks; GUEST (may be NULL) the system that was found there. ZFS labels
 * (H2kZfsLabel *) are added to LABELS. */
void discover_parts (JsonObject *disk, const H2kStack *stack, const H2kGuest *guest,
                     GPtrArray *labels);

/* --- boot.c: firmware ------------------------------------------------------------------------- */

/* Whether the first of DISKS can be started by BIOS and by UEFI. */
void discover_boot (JsonObject *disk, H2kDisk *first, const H2kStack *stack);

/* --- files.c: the images of a folder ---------------------------------------------------------- */

/* The disk images in the folder PATH, each chain and each split image once: DiscoverSource * are
 * added to SOURCES. Errors: H2K_ERROR_SOURCE (it cannot be listed), H2K_ERROR_CANCELLED. */
gboolean discover_folder (const char *path, gboolean recursive, GPtrArray *sources,
                          GCancellable *cancellable, GError **error);

/* --- text.c ----------------------------------------------------------------------------------- */

/* The table for people, in 80 columns; DETAILS: with all partitions. The caller's. */
char *discover_to_text (JsonObject *root, gboolean details);
