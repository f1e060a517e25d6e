/* diff.h - what the files of `clone diff` share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/compare.h"
#include "guest/differences.h"
#include "migrate/clone/clones.h"
#include "migrate/migrate.h"

/* What is not told file by file: a volume whose files cannot be read, or blocks outside of all. */
typedef struct
{
  const char *name;  /* "disk 1, partition 2" */
  const char *type;  /* as blkid has it; "" when it is unknown */
  const char *why;   /* why its files were not compared; NULL: there are none */
  guint64 bytes;     /* that differ, there or on what it lies on */
  gboolean is_below; /* the latter */
} H2kVolumeDifference;

typedef struct
{
  H2kFileDifferenceFunc file;
  /* FALSE ends the comparison. VOLUME is the name of the one that the file is on. */
  void (*set_volume) (const char *volume, gpointer data);
  gboolean (*volume) (const H2kVolumeDifference *difference, gpointer data);
  /* Something to be known: how files are named. */
  void (*note) (const char *text, gpointer data);
  gpointer data;
} H2kGuestDifferences;

/* Compare the files on disks (H2kDisk *, before and after) that differ in MARKS (H2kMarks *, one a
 * disk). FUNCS is told of what there is. Errors: those of the disks, H2K_ERROR_USAGE (a key),
 * _CANCELLED. */
gboolean h2k_guests_compare (GPtrArray *before, GPtrArray *after, GPtrArray *marks,
                             const H2kGuestOptions *options, const H2kGuestDifferences *funcs,
                             GCancellable *cancellable, GError **error);
