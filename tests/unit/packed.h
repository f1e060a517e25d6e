/* packed.h - what lies compressed by zstd below tests/fixtures/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* The disk in the file FOLDER/NAME/FILE there: an overlay in memory, the caller's. NULL when there
 * is no such file. */
H2kDisk *packed_disk (const char *folder, const char *name, const char *file);
/* The text in such a file, which must be there. The caller's. */
char *packed_text (const char *folder, const char *name, const char *file);
