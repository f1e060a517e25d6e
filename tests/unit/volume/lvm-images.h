/* lvm-images.h - physical volumes as LVM2 made them, for tests.
 *
 * tests/fuzz/corpus/lvm/ has what pvcreate, vgcreate, lvcreate, vgexport, vgchange and vgcfgrestore
 * (2.03.16) left of a volume of 1 GiB: label, metadata headers, and the text that counts. Each is a
 * list of pieces (le32 offset, le16 length, bytes). The kernel's release and a path in the text
 * were replaced, and the checksums made right again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* The sample NAME, in memory. */
H2kDisk *lvm_load (const char *name);

/* In the text of the metadata area at OFFSET, put TO for FROM, which must occur, wherever it does;
 * the checksums are made right. */
void lvm_edit (H2kDisk *disk, guint64 offset, const char *from, const char *to);
/* The text of the metadata area at OFFSET. The caller's. */
char *lvm_text (H2kDisk *disk, guint64 offset);
/* Make the checksum of the metadata header at OFFSET right. */
void lvm_seal (H2kDisk *disk, guint64 offset);

/* The areas of the sample "linear". */
#define LVM_FIRST_AREA 4096u
#define LVM_SECOND_AREA 1072693248u
