/* tree.h - the folders and files of a driver source, whether it is an ISO or a folder of this host.
 *
 * All folders are read when the tree is made; files are read when they are asked for. Names are
 * looked up without case. Depth, number of entries and sizes are bounded; symbolic links are
 * followed in folders of this host, and left out in ISO images. Read-only when it has been made:
 * thread-safe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/iso9660.h"

typedef struct _H2kDriverTree H2kDriverTree;

/* A folder or file. */
typedef struct _H2kDriverNode H2kDriverNode;
struct _H2kDriverNode
{
  char *name; /* as the source writes it; valid UTF-8 */
  char *path; /* from the top, with slashes; "" is the top itself */
  gboolean is_folder;
  guint64 size;
  guint64 offset;      /* in an ISO */
  GPtrArray *children; /* H2kDriverNode*, of a folder, in order of their names */
  GHashTable *by_name; /* name in lower case, H2kDriverNode* */
};

/* Read the folders of ISO (which the tree then owns) or of the folder PATH. NAME is for messages,
 * escaped. Errors: H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
H2kDriverTree *h2k_driver_tree_new_iso (H2kIso *iso, const char *name, GError **error);
H2kDriverTree *h2k_driver_tree_new_folder (const char *path, const char *name, GError **error);
void h2k_driver_tree_free (H2kDriverTree *tree);

/* The node at PATH, below NODE (NULL: the top); NULL: there is none. */
const H2kDriverNode *h2k_driver_tree_find (const H2kDriverTree *tree, const H2kDriverNode *node,
                                           const char *path);
/* The bytes of the file NODE, which is no larger than H2K_DRIVER_FILE_MAX. Errors:
 * H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
GBytes *h2k_driver_tree_read (H2kDriverTree *tree, const H2kDriverNode *node, GError **error);
