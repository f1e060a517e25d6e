/* samples.h - the disks of tests/fixtures/volumes/, in memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* The disks of the sample NAME: overlays (H2kDisk *), the caller's. */
GPtrArray *sample_load (const char *name);

/* "1\n2\n" and so on to N: what "numbers" holds in every sample. The caller's. */
char *sample_numbers (guint n);

/* e2fsck finds nothing wrong with DISK. */
void sample_claim_clean (H2kDisk *disk);
