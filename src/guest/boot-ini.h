/* boot-ini.h - boot.ini of Windows before Vista: which systems there are, and where ntldr finds
 * them. Every line that is not changed is kept.
 *
 * Partitions are named by ARC paths, "multi(0)disk(0)rdisk(0)partition(1)\WINDOWS": rdisk counts
 * the disks as the BIOS does, partition counts those of the table from 1, the logical ones last.
 *
 * Texts are the guest's, in its code page, and not safe for terminals. Thread-safe on distinct
 * objects.
 *
 * Format: "Overview of the Boot.ini file", Microsoft KB 99743 and 102873.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

#define H2K_BOOT_INI_MAX (64u * 1024) /* bytes; ntldr reads less */

typedef enum
{
  H2K_ARC_MULTI,     /* by the BIOS */
  H2K_ARC_SCSI,      /* by ntbootdd.sys, the driver of one controller */
  H2K_ARC_SIGNATURE, /* the disk with this signature */
} H2kArcKind;

typedef struct
{
  H2kArcKind kind;
  guint32 signature;
  guint disk;      /* rdisk() */
  guint partition; /* from 1 */
  const char *dir; /* "\WINDOWS", within the text that was parsed */
} H2kArcPath;

typedef struct
{
  guint line;
  char *path;    /* what stands before '=' */
  char *title;   /* without quotes */
  char *options; /* what stands behind it, "/fastdetect"; may be empty */
} H2kBootIniEntry;

typedef struct
{
  H2kLines *lines;
  int loader_line; /* "[boot loader]"; -1: missing, as of the others */
  int default_line;
  int timeout_line;
  int systems_line;   /* "[operating systems]" */
  char *default_path; /* NULL: none */
  gint64 timeout;     /* seconds; -1: none, or it waits for ever */
  GPtrArray *entries; /* H2kBootIniEntry * */
} H2kBootIni;

/* NULL: it is no text, or has no section of systems with an entry. */
H2kBootIni *h2k_boot_ini_parse (GBytes *data);
void h2k_boot_ini_free (H2kBootIni *ini);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kBootIni, h2k_boot_ini_free)

/* FALSE: it is another kind of path, "C:\" for an older system. */
gboolean h2k_arc_parse (const char *text, H2kArcPath *arc);
