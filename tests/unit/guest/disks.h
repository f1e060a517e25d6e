/* disks.h - disks for tests, built from a folder as tests/repair/README.md describes: before/,
 * disk, manifest. They are real: sfdisk, mke2fs and mkswap make them. "no-base" leaves out the
 * files that make a system of every folder.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct _TestDisks TestDisks;

TestDisks *test_disks_new (const char *dir);
void test_disks_free (TestDisks *disks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (TestDisks, test_disks_free)

/* H2kDisk *: an overlay over each disk. */
GPtrArray *test_disks_get (const TestDisks *disks);
/* e2fsck finds nothing to complain about, on any filesystem. */
void test_disks_claim_clean (const TestDisks *disks);

/* A file of the case's folder, NULL when it is missing; the same as its lines that are neither
 * empty nor comments; the words of a line. The caller's. */
char *test_text (const char *dir, const char *name);
GPtrArray *test_lines (const char *dir, const char *name);
char **test_words (const char *line);
