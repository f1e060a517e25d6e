/* migrate.h - the pipeline: open, overlay, inspect, repair, copy, define, prove, report.
 *
 * The public functions of hyper2kvm.h are implemented here; this header holds what the files of
 * this part share. A report is a tree of JSON values that the pipeline fills as it goes, so that
 * a run which fails has one, too; the three renderings read that tree.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "boot/boot.h"
#include "copy/copy.h"
#include "fs/check.h"
#include "repair/repair.h"
#include "source/source.h"

#include <json-glib/json-glib.h>

/* Where the output of the disk number DISK (0: the first) goes when the first one's goes to OUTPUT:
 * "-diskN" before its extension. The caller's. */
char *h2k_disk_output_path (const char *output, guint disk);

struct _H2kReport
{
  JsonObject *root; /* the keys are documented in docs/report.md */
};

H2kReport *h2k_report_new (void);

/* The object or array KEY of OBJECT, made when it is missing. Owned by OBJECT. */
JsonObject *h2k_report_object (JsonObject *object, const char *key);
JsonArray *h2k_report_array (JsonObject *object, const char *key);

/* Append {phase, seconds} to the timings. */
void h2k_report_timing (H2kReport *report, const char *phase, double seconds);
void h2k_report_warning (H2kReport *report, const char *text);
/* What the sources are, from DISKS (H2kDisk *). */
void h2k_report_sources (H2kReport *report, GPtrArray *disks);
/* Say that the images of DISK's chain become one, if there are several. */
void h2k_note_chain (const H2kDisk *disk);
/* What an appliance's description says about the hardware: after the sources. */
void h2k_report_hardware (H2kReport *report, const H2kVm *vm);
/* One entry a repair of the table: what it did, or why it did nothing. */
void h2k_report_repairs (H2kReport *report, H2kRepairContext *context, H2kRepairSet selected);
void h2k_report_boot (H2kReport *report, const H2kBootResult *result);
void h2k_report_error (H2kReport *report, const GError *error);

/* The word of an error code in reports and JSON: "no-space". Static. */
const char *h2k_error_name (H2kError code);
/* Whether PATH's extension is one that h2k_report_save() can write; NULL if not, else the format.
 */
const char *h2k_report_format (const char *path);

/* --- define.c: the definition of the VM ------------------------------------------------------- */

/* What it is made from; all of it is the caller's. */
typedef struct
{
  const H2kMigrateOptions *options;
  const char *name;
  const H2kVm *vm;                 /* the description; NULL: there is none */
  const H2kGuest *guest;           /* NULL: it was not looked at */
  const H2kRepairContext *repairs; /* NULL: none were made */
  GPtrArray *macs;                 /* char *: of the options, else of the description */
  GPtrArray *sources;              /* H2kDisk *: what the outputs are of */
  GPtrArray *disks;                /* char *: paths of the outputs */
  gboolean tpm;                    /* it has one, whatever the description says */
} H2kDefinition;

/* WARNINGS gets what people should know (char *). The caller's. */
H2kDomain *h2k_define (const H2kDefinition *definition, GPtrArray *warnings);

/* --- filesystems.c: the consistency of what the guest mounts --------------------------------- */

typedef struct
{
  H2kGuest *guest;
  H2kReport *report;
  H2kProgressFunc progress; /* may be NULL */
  gpointer progress_data;
  GCancellable *cancellable;
} H2kFilesystemChecks;

/* Before the repairs: a corrupt filesystem is H2K_ERROR_FILESYSTEM. Fills the report's
 * "filesystems". Further errors: the disks', H2K_ERROR_CANCELLED. */
gboolean h2k_check_filesystems_before (const H2kFilesystemChecks *checks, GError **error);
/* Once the repairs were made, or (OK is FALSE, with ERROR) one failed: what was checked on the way,
 * as an appliance made the first change. Returns OK, or FALSE with what was found in place of the
 * repair's error. */
gboolean h2k_check_filesystems_changed (const H2kFilesystemChecks *checks, gboolean ok,
                                        GError **error);
/* After them: the same as before for those that can have been changed. */
gboolean h2k_check_filesystems_after (const H2kFilesystemChecks *checks, GError **error);
/* Instead of both: say so in the report. */
void h2k_skip_filesystem_checks (const H2kFilesystemChecks *checks);

/* --- report-render.c ------------------------------------------------------------------------- */

/* Renderings of the tree; the caller's. */
char *h2k_report_to_markdown (const H2kReport *report);
char *h2k_report_to_html (const H2kReport *report);
