/* check.h - whether an image is consistent in itself: what a check finds, and how it says so.
 *
 * A format's check looks at the structures of one image file (not at the images below it), all of
 * them, and writes nothing. Memory is bounded whatever the image's size: what depends on it is done
 * window by window of the file, with one pass over the tables for each.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

#define H2K_CHECK_FINDINGS 100 /* that are kept as texts; all are counted */

struct _H2kCheck
{
  char *format;      /* what the image is */
  const char *unit;  /* what is counted: "clusters", "grains", "blocks" */
  guint64 units;     /* that the disk has; 0: none are counted */
  guint64 allocated; /* of them, in the file */
  guint64 compressed;
  guint64 image_end;   /* offset behind the last thing in use; 0: not known */
  guint64 corruptions; /* data are lost, or will be when the image is written to */
  guint64 leaks;       /* units of the file that nothing uses: space is wasted, no harm done */
  guint64 notes;
  GPtrArray *findings; /* char *: a line each, safe for terminals */
};

H2kCheck *h2k_check_new (void);
void h2k_check_free (H2kCheck *check);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCheck, h2k_check_free)

/* Check the image PATH. FORMAT as in h2k_disk_open(). TRUE: it could be checked, and CHECK says
 * what was found. Errors: H2K_ERROR_SOURCE, _UNSUPPORTED, and _FORMAT when the image is damaged so
 * badly that nothing more can be said. */
gboolean h2k_disk_check (const char *path, const char *format, H2kCheck *check, GError **error);

/* For formats. */
void h2k_check_corrupt (H2kCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
void h2k_check_leak (H2kCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Something that is worth knowing, but no fault. */
void h2k_check_note (H2kCheck *check, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Whatever can be an error while reading: a corrupt image is a finding and TRUE, since the check
 * goes on; the rest goes to ERROR and is FALSE. Takes FAILURE. */
gboolean h2k_check_failure (H2kCheck *check, GError *failure, GError **error);

/* Which parts of a file are taken, in units: overlaps are found in windows of the file.
 *
 *   H2kClaims *claims = h2k_claims_new (units);
 *   do
 *     walk over the tables, h2k_claims_take() for each thing
 *   while (h2k_claims_next (claims));
 */
typedef struct _H2kClaims H2kClaims;

H2kClaims *h2k_claims_new (guint64 units);
void h2k_claims_free (H2kClaims *claims);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kClaims, h2k_claims_free)
/* FALSE: a part of COUNT units from FIRST on that lies in this window is taken already. What lies
 * behind the last unit is not looked at. */
gboolean h2k_claims_take (H2kClaims *claims, guint64 first, guint64 count);
/* Whether this is the first pass, in which everything else about an entry is said. */
gboolean h2k_claims_first (const H2kClaims *claims);
/* Go on to the next window that something was taken in; FALSE: there is none. */
gboolean h2k_claims_next (H2kClaims *claims);
