/* differences.h - which files differ between two states of a filesystem.
 *
 * Both trees are walked side by side, a folder at a time, so that memory does not grow with them.
 * Contents are read only where they may differ: where a time, the inode or the size does, or where
 * the file lies on blocks that are known to have changed.
 *
 * Thread-safety: one comparison of the same filesystems at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

typedef enum
{
  H2K_ASPECT_CONTENT = 1 << 0,
  H2K_ASPECT_TYPE = 1 << 1,
  H2K_ASPECT_MODE = 1 << 2,
  H2K_ASPECT_OWNER = 1 << 3,
  H2K_ASPECT_TIMES = 1 << 4,  /* mtime or ctime; of folders not looked at */
  H2K_ASPECT_TARGET = 1 << 5, /* of a symbolic link */
  H2K_ASPECT_DEVICE = 1 << 6, /* the numbers of a device node */
  H2K_ASPECT_XATTRS = 1 << 7, /* extended attributes, ACLs and labels among them */
  H2K_ASPECT_LINKS = 1 << 8,  /* how many names it has; of folders not looked at */
} H2kAspects;

/* "content", "mode", ... of one of them. Static. */
const char *h2k_aspect_name (H2kAspects aspect);

typedef struct
{
  const char *path;        /* not escaped */
  const H2kStat *stats[2]; /* before and after; NULL: it was not there, or cannot be looked at */
  const char *targets[2];  /* of symbolic links; else NULL */
  H2kAspects aspects;      /* what differs; 0 of what was added or removed */
  const char *problem;     /* why it, or what is in it, cannot be compared; NULL: it was */
} H2kFileDifference;

/* FALSE ends the comparison. */
typedef gboolean (*H2kFileDifferenceFunc) (const H2kFileDifference *difference, gpointer data);

typedef struct
{
  H2kFs *fs[2]; /* before and after; NULL: there is none, so all files were added or removed */
  const char *prefix; /* goes before the paths; "" for the root */
  GHashTable *skip;   /* paths (const char *) whose folders are not gone into; NULL: none */
  /* Extents of the filesystems' volumes are data where blocks differ and unallocated where they do
   * not, and both volumes lie at the same place. */
  gboolean marked;
} H2kTreePair;

/* Tell FUNC of every file that differs. What is in a folder follows the folder; names are sorted by
 * their bytes. Damaged places are told as problems. Errors: those of the disks,
 * H2K_ERROR_CANCELLED. */
gboolean h2k_trees_compare (const H2kTreePair *pair, H2kFileDifferenceFunc func, gpointer data,
                            GCancellable *cancellable, GError **error);
