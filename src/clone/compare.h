/* compare.h - in which blocks two states of a clone's disk differ.
 *
 * Only what the images between the two states have themselves is read: the cost is that of what was
 * written, whatever the disk's size. What was written with the bytes that were there before is no
 * difference, nor is a discard of zeros.
 *
 * Thread-safety: any number of threads, each with states of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "clone/clone.h"

/* The unit that ranges are made of, bytes: the least that a guest can write. */
#define H2K_COMPARE_UNIT 512u

/* A state of a disk: the image of a layer, or the original. Start with zeros. */
typedef struct
{
  H2kDisk *disk; /* for reading only */
  guint layers;  /* images from this one down that the other state does not have below it */
} H2kCloneState;

void h2k_clone_state_clear (H2kCloneState *state);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kCloneState, h2k_clone_state_clear)

/* Open disk DISK (0: the first) as it is in the layers FROM and TO of CLONE (0: the original),
 * which may be on different branches. Errors: H2K_ERROR_SOURCE (there is no such layer, an image is
 * missing), those of h2k_disk_open(). */
gboolean h2k_clone_open_states (const H2kClone *clone, guint from, guint to, guint disk,
                                H2kCloneState *a, H2kCloneState *b, GError **error);

/* A range in which they differ; FALSE ends the comparison. */
typedef gboolean (*H2kDifferenceFunc) (guint64 offset, guint64 length, gpointer data);

/* Call FUNC for the ranges in which A and B differ, in the disk's order; they do not touch each
 * other. Of disks of different sizes the smaller one reads as zeros beyond its end. PROGRESS (may
 * be NULL) is told of it in the phase "compare". Errors: those of the disks, H2K_ERROR_CANCELLED.
 */
gboolean h2k_clone_compare_states (const H2kCloneState *a, const H2kCloneState *b,
                                   H2kDifferenceFunc func, gpointer data, H2kProgressFunc progress,
                                   gpointer progress_data, GCancellable *cancellable,
                                   GError **error);

/* --- ranges that were marked ------------------------------------------------------------------ */

/* Sorted ranges of at most so many pieces: where there are more, the nearest ones become one. */
typedef struct
{
  GArray *ranges;  /* H2kExtent */
  guint64 nearest; /* gaps that are smaller are covered, too */
} H2kMarks;

H2kMarks *h2k_marks_new (void);
void h2k_marks_free (H2kMarks *marks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kMarks, h2k_marks_free)
/* Behind, or touching the end of, what was added before. */
void h2k_marks_add (H2kMarks *marks, guint64 offset, guint64 length);

/* DISK with other extents, of which MARKS (it must live as long) are data, and everything else is
 * unallocated, though it reads as DISK does. On volumes made of such disks, h2k_disk_extent() tells
 * whether a range lies on something marked: for readers that go by extents it is not. */
H2kDisk *h2k_marked_disk_new (H2kDisk *disk, const H2kMarks *marks);
