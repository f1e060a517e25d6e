/* original-reader.h - who reads the originals of clones, and how they are opened again.
 *
 * An original is a disk or an image of this host, an image on a server, or a disk of an exported
 * VM. QEMU reads the first ones itself where it can. The others this program reads and offers to
 * QEMU on a socket (serve.c), which the image over the original has as its backing file. Here
 * such an image's original is always opened where it lies, whether it is being offered or not.
 *
 * Thread-safety: any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "migrate/clone/original.h"
#include "source/appliance.h"

typedef struct
{
  H2kAttached *attached; /* NULL: it is on a server */
  char *path;            /* that it has for good: absolute, or a URI that holds no secret */
  char *appliance; /* "ova", "ovf", "vmx": it is disk NUMBER (0: the first) of the VM that PATH
                    * describes; NULL: it is the disk itself */
  guint number;
  const char *qemu; /* what QEMU calls its format; of one that is served "raw" */
  char *socket;     /* where it is served; NULL: QEMU reads it itself */
} H2kOriginal;

/* What PATH, a file, device or URI that the user named, is; nothing is read of it. Errors: those of
 * h2k_original_look(); H2K_ERROR_USAGE, too, for a URI with a password or a signature in it, which
 * clone.json would keep. */
H2kOriginal *h2k_original_new (const H2kCloneStore *store, const char *path, GError **error);
/* The disk NUMBER of APPLIANCE, which NAMED describes: by itself if it is an image of its own. */
H2kOriginal *h2k_original_new_member (const H2kCloneStore *store, const H2kOriginal *named,
                                      const H2kAppliance *appliance, const char *kind, guint number,
                                      GError **error);
void h2k_original_free (H2kOriginal *original);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kOriginal, h2k_original_free)

/* Decide who reads DISK, which is ORIGINAL, opened: QEMU, if it finds the same disk in it. Else it
 * gets the socket of disk INDEX of the clone UUID. */
void h2k_original_choose_reader (H2kOriginal *original, const H2kDisk *disk, const char *uuid,
                                 guint index);

/* --- as clone.json has them ------------------------------------------------------------------- */

/* Add what was said about ORIGINAL above to OBJECT. */
void h2k_original_to_json (const H2kOriginal *original, JsonObject *object);
/* The disk itself, opened where it lies. OBJECT may be NULL. Errors: the disks'; H2K_ERROR_SOURCE:
 * where it is was lost. */
H2kDisk *h2k_original_open (JsonObject *object, GError **error);
/* Where it is served; NULL: QEMU reads it itself. The caller's. */
char *h2k_original_socket (JsonObject *object);
/* Whether any of CLONE's originals is served. */
gboolean h2k_clone_is_served (const H2kClone *clone);
