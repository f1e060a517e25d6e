/* fstab.h - the lines of fstab(5) and crypttab(5).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

/* One line of fstab: fields decoded, and where the first one lies, so that it can be replaced
 * without touching the rest. */
typedef struct
{
  gsize spec_start, spec_length; /* bytes of the line that hold the first field */
  char *spec;                    /* "/dev/sda1", "UUID=..." */
  char *path;                    /* "/", "none" */
  char *type;                    /* "ext4"; "" when missing */
  char *options;                 /* "defaults,nofail"; "" when missing */
} H2kFstabEntry;

/* NULL for blank lines, comments and lines that are no entry. */
H2kFstabEntry *h2k_fstab_parse (const char *line);
void h2k_fstab_entry_free (H2kFstabEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFstabEntry, h2k_fstab_entry_free)

gboolean h2k_fstab_has_option (const H2kFstabEntry *entry, const char *option);
/* Whether it is a filesystem on a block device (or swap), rather than one that the kernel makes up
 * or a server has, or a bind mount. */
gboolean h2k_fstab_is_device (const H2kFstabEntry *entry);

/* Whether a server has it, or the hypervisor's host. */
gboolean h2k_fstab_is_remote (const H2kFstabEntry *entry);

/* Whether it shows a folder at another place. */
gboolean h2k_fstab_is_bind (const H2kFstabEntry *entry);

/* TEXT with "\040" and the like decoded. The caller's. */
char *h2k_fstab_decode (const char *text);

/* The START and LENGTH of field N (0: the first) in a line of blank-separated fields; FALSE when
 * there are fewer, or the line is a comment. */
gboolean h2k_fstab_field (const char *line, guint n, gsize *start, gsize *length);
