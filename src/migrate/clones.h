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
