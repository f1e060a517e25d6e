/* private.h - what the files of this part share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"
#include "util/json.h"

/* Remove PATH and everything below it; links are not followed. What cannot be removed stays. */
void h2k_clone_remove_tree (const char *path);
/* Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_sync_dir (const char *path, GError **error);
/* Make PATH a symbolic link to TARGET, in place of another one. Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_set_link (const char *path, const char *target, GError **error);

/* Replace PATH, readable by its owner only. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_clone_write_json (const char *path, JsonObject *root, GError **error);
/* NULL without an error: there is none. The caller's. Errors: H2K_ERROR_FORMAT: it is damaged;
 * H2K_ERROR_SOURCE: it cannot be read. */
JsonObject *h2k_clone_read_json (const char *path, GError **error);
/* Seconds since 1970 of an ISO 8601 TEXT (may be NULL); 0: it is none. */
gint64 h2k_clone_parse_time (const char *text);

/* The lock of the clone in DIR; a file descriptor, or -1 with errno: EWOULDBLOCK: somebody has it.
 */
int h2k_clone_lock (const char *dir);

/* "../../original", which is how a layer's disk DISK gets to it. The caller's. */
char *h2k_clone_original_name (guint disk);

/* The size of the disk in the qcow2 image PATH, bytes. Errors: H2K_ERROR_SOURCE, _FORMAT. */
gboolean h2k_clone_image_size (const char *path, guint64 *size, GError **error);

#define H2K_CLONE_LIVE "live"
/* Take h2k_clone_live_image()'s name from layer NUMBER. Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_remove_live (const H2kClone *clone, guint number, GError **error);

/* The name and format of the backing file of the qcow2 image PATH, the caller's. Errors: as above;
 * H2K_ERROR_FORMAT, too, when there is none. */
gboolean h2k_clone_image_backing (const char *path, char **name, char **format, GError **error);

/* The images that the VM writes to, held so that no VM can be started on them. NULL with
 * H2K_ERROR_OUTPUT: one runs. Freeing it ends this. */
typedef GArray ImageLocks;
ImageLocks *h2k_clone_lock_images (const H2kClone *clone, GError **error);
void h2k_clone_unlock_images (ImageLocks *locks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImageLocks, h2k_clone_unlock_images)
/* After an operation, done (OK) or not: CLONE as it lies on the disk now. Returns OK, keeps the
 * first error. */
gboolean h2k_clone_settle (H2kClone *clone, gboolean ok, GError **error);

/* Let clone.json say of the originals what the links do, after a rebase that may have been killed;
 * it is written when CLONE is open for a change. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_clone_settle_originals (H2kClone *clone, GError **error);

/* Read the layers and links of CLONE from the disk. Errors: H2K_ERROR_SOURCE. */
gboolean h2k_clone_scan (H2kClone *clone, GError **error);
/* Remove what nothing leads to: what a killed operation left, layers that nobody needs. */
void h2k_clone_collect (H2kClone *clone);
/* Make the folder of an empty layer over PARENT in CLONEDIR, with its NVRAM; NUMBER is its own. It
 * does nothing yet. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_clone_new_layer (const char *clone_dir, guint number, guint parent, guint n_disks,
                              GError **error);
