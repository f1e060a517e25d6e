/* two-phase.h - the second definition of a Windows guest, for its first boot, and the small VirtIO
 * disk that it has.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"

typedef struct
{
  char *xml_path;    /* "NAME-bootstrap.xml" */
  char *disk_path;   /* "NAME-bootstrap.img": sparse, all zeros */
  char *named_disk;  /* where it will be, if that is somewhere else; NULL: it stays there */
  H2kDomain *domain; /* NULL: not made yet */
  gboolean wrote_disk, wrote_xml;
} H2kTwoPhase;

/* XML_PATH is the final definition's. */
H2kTwoPhase *h2k_two_phase_new (const char *xml_path);
/* Files that were written stay. */
void h2k_two_phase_free (H2kTwoPhase *two_phase);

/* Make the definition from FINAL, with DRIVER_ISO (may be NULL) attached, and write both files: all
 * of it, or nothing. Existing ones are replaced. Errors: H2K_ERROR_OUTPUT, _NO_SPACE. */
gboolean h2k_two_phase_write (H2kTwoPhase *two_phase, const H2kDomain *final,
                              const char *driver_iso, GError **error);
/* Take the files back that were written. */
void h2k_two_phase_undo (H2kTwoPhase *two_phase);
