/* flatten.h - a state of a clone copied into images that need neither its layers nor its
 * original, for those who make files or a whole VM of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "migrate/clone/clones.h"

/* Start with zeros, and h2k_flattening_open(). */
typedef struct
{
  const H2kFlattenOptions *options;
  H2kOpenedClone opened;
  guint layer;        /* the number of the one that is copied, with all below it */
  GArray *locks;      /* int: that keep a VM from being started meanwhile */
  GPtrArray *disks;   /* H2kDisk * */
  GPtrArray *states;  /* char *: of what the disks are read from, when they were opened */
  GPtrArray *files;   /* char *: what the clone consists of, the originals included */
  GPtrArray *outputs; /* H2kOutput *: complete, and without their names */
} H2kFlattening;

void h2k_flattening_clear (H2kFlattening *f);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kFlattening, h2k_flattening_clear)

/* Open the disks of the state that OPTIONS name. Without a snapshot no VM can be started on the
 * clone until F is cleared. Errors: those of h2k_clones_open(), H2K_ERROR_OUTPUT (a VM runs and
 * writes to it), _VERIFY (an original is not what it was), _SOURCE (one is missing; no such
 * snapshot), those of the disks. */
gboolean h2k_flattening_open (H2kFlattening *f, const H2kFlattenOptions *options, GError **error);

/* Whether PATH, which need not exist, lies outside the store. Errors: H2K_ERROR_USAGE; _OUTPUT (its
 * folder is not there). */
gboolean h2k_flattening_check_place (const H2kFlattening *f, const char *path, GError **error);

/* Copy the disks into outputs whose final names will be OUTPUT and those of h2k_disk_output_path().
 * Errors: those of h2k_output_new() and h2k_copy(), H2K_ERROR_NO_SPACE with both numbers,
 * _SOURCE (what is read has changed meanwhile). */
gboolean h2k_flattening_copy (H2kFlattening *f, const char *output, GCancellable *cancellable,
                              GError **error);
/* Give the outputs their names: all of them, or none. The first disk's comes last: where it stands,
 * all stand. Errors: H2K_ERROR_OUTPUT, _OUTPUT_EXISTS. */
gboolean h2k_flattening_commit (H2kFlattening *f, GError **error);
