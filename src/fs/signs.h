/* signs.h - signatures of other formats on a volume.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* Making a filesystem does not always wipe the signature of what was there before. Whether VOLUME,
 * found to be of the type OWN (libblkid's name), carries that of another one as well; NULL when
 * not. FALSE: those of the disk. */
gboolean h2k_fs_other_sign (H2kDisk *volume, const char *own, const char **other, GError **error);
