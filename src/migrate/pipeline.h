/* pipeline.h - the steps of a run over one structure, for those who string them together.
 *
 * A migration ends by copying the disks, a clone by saving the overlays. What comes before is the
 * same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "migrate/migrate.h"
#include "migrate/two-phase.h"
#include "source/appliance.h"

typedef struct _H2kCloning H2kCloning;

typedef struct
{
  const H2kMigrateOptions *options;
  GCancellable *cancellable;
  H2kReport *report;
  H2kAppliance *appliance; /* NULL: the sources are disks */
  GThread *digests;        /* compares them with the manifest meanwhile; NULL: none is running */
  GCancellable *stop_digests;
  GError *digest_error;
  GPtrArray *macs;    /* char *: of the options, else of the description */
  H2kKeys *keys;      /* of the options */
  GPtrArray *paths;   /* char *: what is opened: the options' sources, or a step's stand-ins */
  GPtrArray *states;  /* char *: of the sources when they were opened */
  GPtrArray *sources; /* H2kDisk * as opened */
  GPtrArray *disks;   /* H2kDisk *: overlays over the sources */
  H2kGuest *guest;    /* NULL with options->inspect off */
  H2kRepairContext *repairs;
  GPtrArray *views;   /* H2kDisk *: what is copied */
  GPtrArray *outputs; /* H2kOutput * */
  char *name;
  char *xml_path;
  char *sums_path;     /* of the digests; NULL: they are not asked for */
  gboolean committed;  /* the outputs stand under their final names */
  gboolean may_report; /* the report has a name of its own */
  H2kDomain *domain;
  H2kTwoPhase *first_boot; /* NULL: the guest needs none, or none is wanted */
  char *hostname;          /* made for the guest; NULL: that of the options, if any */
  gboolean in_memory;      /* what is changed goes into no temporary file */
  char *mac_seed;          /* see H2kRepairOptions; NULL: the NICs have the MACs that they had */
  H2kCloning *cloning;     /* clone.c's; NULL: the disks are copied */
} H2kMigration;

typedef struct
{
  const char *phase;
  gboolean (*run) (H2kMigration *m, GError **error);
  gboolean writes; /* left out of a dry run */
} H2kStep;

/* The sources opened below overlays. */
gboolean h2k_step_open (H2kMigration *m, GError **error);
/* The system on them; its filesystems checked; its repairs; the filesystems checked again. */
gboolean h2k_step_inspect (H2kMigration *m, GError **error);
gboolean h2k_step_check (H2kMigration *m, GError **error);
gboolean h2k_step_repair (H2kMigration *m, GError **error);
gboolean h2k_step_recheck (H2kMigration *m, GError **error);
/* The boot test of the domain, if one is asked for. */
gboolean h2k_step_boot (H2kMigration *m, GError **error);

/* Every file of this host that is read (char *, the disks'); an output must be none of them. Free
 * with g_ptr_array_unref(). */
GPtrArray *h2k_migration_source_files (H2kMigration *m);
/* Whether PATH, WHAT a small file beside the disks is called, is no source and no disk, and in a
 * folder that takes files. Errors: H2K_ERROR_USAGE, _OUTPUT. */
gboolean h2k_migration_check_side_file (H2kMigration *m, const char *path, const char *what,
                                        GError **error);
/* What OPTIONS say of the guest's identity can be done. Errors: H2K_ERROR_USAGE. */
gboolean h2k_migration_check_identity (const H2kMigrateOptions *options, GError **error);
/* How the guest is opened, now and when it is looked at again. */
H2kGuestOptions h2k_migration_guest_options (const H2kMigration *m);
/* Whether the VM is a Windows that has to meet VirtIO in a running system before it starts from it:
 * its disks do not stay where every system has drivers for them, and nobody wants it otherwise. */
gboolean h2k_migration_needs_first_boot (const H2kMigration *m);
/* The ISO that the drivers came from; NULL: they are in a folder, or none were needed. */
const char *h2k_migration_driver_iso (H2kMigration *m);

/* A warning, and several of them (char *), for the log and the report. */
void h2k_migration_warn (H2kMigration *m, const char *text);
void h2k_migration_take_warnings (H2kMigration *m, GPtrArray *warnings);

/* Run the steps; save the report that OPTIONS name. As of h2k_migrate_vm(), whose OPTIONS were
 * checked. CLONING may be NULL. */
gboolean h2k_migration_run (const H2kMigrateOptions *options, H2kCloning *cloning,
                            const H2kStep *steps, guint n_steps, GCancellable *cancellable,
                            H2kReport **report, GError **error);
