/* hives.h - filesystems with hives for the tests: real samples, and ones that are made here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "../fs/images.h"
#include "registry/hive.h"

/* A filesystem of SIZE bytes in memory, "fat", "ext" or "ntfs", with a folder /config; skips the
 * test and gives NULL where the tools are missing. */
H2kFs *hives_fs_new (const char *type, guint64 size);
void hives_put (H2kFs *fs, const char *path, GBytes *content);
/* What PATH has; NULL: there is none. The caller's. */
GBytes *hives_get (H2kFs *fs, const char *path);

/* The hive /config/HIVE, which has to be one. */
H2kHive *hives_open (H2kFs *fs, gboolean writable);

/* The sample NAME of the folder "hive" of H2K_TESTDATA, decompressed; skips the test and gives NULL
 * when there are none. The caller's. */
GBytes *hives_sample (const char *name);
/* A hive without keys, of version 1.MINOR. The caller's. */
GBytes *hives_empty (guint minor);

/* Set the checksum of the base block at BASE as it ought to be. */
void hives_seal (guint8 *base);

/* All keys and values of the hive as reglookup, another reader, sees them: lines, sorted, without
 * times; escaped. The caller's. */
GStrv hives_dump (GBytes *hive);
/* Fail unless the lines of B are those of A but for ones that contain one of ALLOWED (NULL at the
 * end). */
void hives_assert_same (GStrv a, GStrv b, const char *const *allowed);
