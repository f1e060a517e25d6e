/* blockmap.h - where the blocks of a disk are: a table of 32-bit entries in a file, which may be
 * large, read by slices, of which a bounded number is kept.
 *
 * Safe for use by several threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

#define H2K_BLOCK_MAP_SLICE 4096 /* entries, 16 KiB */

typedef struct _H2kBlockMap H2kBlockMap;

/* The ENTRIES entries at OFFSET of FILE, which has to outlive the map. Nothing is read yet. */
H2kBlockMap *h2k_block_map_new (H2kFile *file, guint64 offset, guint64 entries);
void h2k_block_map_free (H2kBlockMap *map);
/* The slice that holds entry INDEX: as in the file, starting with the entry whose number is INDEX
 * rounded down to H2K_BLOCK_MAP_SLICE, shorter at the map's end. The caller's reference. Errors:
 * those of h2k_file_pread(). */
GBytes *h2k_block_map_slice (H2kBlockMap *map, guint64 index, GError **error);
