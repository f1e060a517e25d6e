/* clones.h - what the files about clones share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"

/* In what the original of disk DISK (0: the first) is not what it was: FOUND gets sentences (char
 * *), empty when it is as it was. PROGRESS and CANCELLABLE may be NULL. Errors: H2K_ERROR_SOURCE
 * (it is missing, or its fingerprint was lost), _USAGE (FULL, and there is no digest of
 * everything), those of the disk. */
gboolean h2k_clones_original_differs (const H2kClone *clone, guint disk, gboolean full,
                                      const H2kCopyOptions *progress, GCancellable *cancellable,
                                      GPtrArray **found, GError **error);

/* The same of SOURCE, which is that original, opened. */
gboolean h2k_clones_compare_original (const H2kClone *clone, guint disk, H2kDisk *source,
                                      gboolean full, const H2kCopyOptions *progress,
                                      GCancellable *cancellable, GPtrArray **found, GError **error);

/* A clone and its store. Start with zeros. */
typedef struct
{
  H2kCloneStore *store;
  H2kClone *clone;
} H2kOpenedClone;

void h2k_opened_clone_clear (H2kOpenedClone *o);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kOpenedClone, h2k_opened_clone_clear)

/* Open the clone NAME of the store STATE_DIR (NULL: the user's own). Errors: those of
 * h2k_clone_store_open() and h2k_clone_open(). */
gboolean h2k_clones_open (const char *state_dir, const char *name, H2kCloneAccess access,
                          H2kOpenedClone *o, GError **error);

/* What clone.json knows of the original of disk DISK (0: the first): CLONE's; NULL: nothing. */
JsonObject *h2k_clones_original (const H2kClone *clone, guint disk);

/* An answer as text, with a line's end. The caller's. */
char *h2k_clones_json (JsonNode *node);

/* Take CLONE, opened for change, out of the libvirt that it is defined in, if it is. Errors:
 * H2K_ERROR_TOOL (libvirt does not run), _OUTPUT (the VM runs). */
gboolean h2k_clone_forget_domain (H2kClone *clone, GError **error);
/* Have libvirt throw away the memory that it may have saved of CLONE's VM (virsh managedsave):
 * started with it on another state of the disk, the VM would corrupt that. Errors:
 * H2K_ERROR_OUTPUT. */
gboolean h2k_clone_drop_memory (const H2kClone *clone, GError **error);
