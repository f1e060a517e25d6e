/* edit.h - what the repairs of text files share: lines of a guest's file, and device names that
 * still hold after the disks' bus has changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/repair.h"

/* The lines of PATH; NULL without an error when it is missing. A file with NUL bytes is no text:
 * NULL, with a warning. */
H2kLines *h2k_repair_read_lines (H2kRepairContext *context, const char *path, GError **error);
gboolean h2k_repair_write_lines (H2kRepairContext *context, const char *path, const H2kLines *lines,
                                 const char *reason, GError **error);

/* Where a name is to be written. */
typedef enum
{
  H2K_NAME_FSTAB,   /* "UUID=...": fstab, crypttab, resume */
  H2K_NAME_CMDLINE, /* the same, or "PARTUUID=..." for kernels that have no initramfs to ask */
  H2K_NAME_PATH,    /* "/dev/disk/by-uuid/..." for programs that want a path */
} H2kNameStyle;

typedef enum
{
  H2K_NAME_STABLE,  /* stays */
  H2K_NAME_CHANGES, /* NAME is what to write instead */
  H2K_NAME_UNKNOWN, /* depends on the bus, and its volume cannot be known */
} H2kNameVerdict;

/* Judge SPEC. NAME (the caller's) is set for H2K_NAME_CHANGES. UUIDs that several volumes have are
 * not used. */
H2kNameVerdict h2k_repair_judge_name (H2kGuest *guest, const char *spec, H2kNameStyle style,
                                      char **name);
/* A stable name of VOLUME; NULL: it has none. The caller's. CONTENT FALSE: its UUID cannot be
 * relied on, since its content is made anew at each start. */
char *h2k_repair_stable_name (H2kGuest *guest, const H2kGuestVolume *volume, H2kNameStyle style,
                              gboolean content);

/* Where the value of initramfs-tools' RESUME= lies in LINE, without its quotes. */
gboolean h2k_repair_resume_value (const char *line, gsize *start, gsize *length);

/* Replace LENGTH bytes at START of TEXT. The caller's. */
char *h2k_splice (const char *text, gsize start, gsize length, const char *replacement);
