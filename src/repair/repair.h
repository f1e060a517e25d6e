/* repair.h - what makes a guest boot on KVM: a table of repairs over the guest's tree.
 *
 * A repair reads the tree, decides, changes it through the functions below, which record each
 * change, and is idempotent: run on its own result it changes nothing. It never runs guest code.
 * A new repair is one file and one line in the table of repair.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

typedef enum
{
  H2K_CHANGE_EDIT,
  H2K_CHANGE_CREATE,
  H2K_CHANGE_REMOVE,
  H2K_CHANGE_APPEND,   /* BEFORE is NULL, AFTER what was appended */
  H2K_CHANGE_SYMLINK,  /* AFTER is the target */
  H2K_CHANGE_REGISTRY, /* PATH is a key, "HKLM\SYSTEM\..."; BEFORE and AFTER are its changed values,
                        * as lines of text */
} H2kChangeKind;

typedef struct
{
  const char *repair; /* the name of the repair; static */
  H2kChangeKind kind;
  char *path;
  GBytes *before; /* NULL: there was nothing, or it is too large to keep */
  GBytes *after;  /* NULL: removed */
  char *summary;  /* for content that is not text: what was added; else NULL */
  char *reason;   /* one sentence */
} H2kChange;

/* A network interface of the guest, for the domain's definition. */
typedef struct
{
  char *name; /* in the guest, "ens192"; NULL: the guest names none */
  char *mac;
} H2kNic;

/* What the repairs are given; all of it may be NULL. Owned by the caller. */
typedef struct
{
  /* Every network card gets a MAC that is made from this, as the VM must not have those of the
   * system that it is a copy of. */
  const char *mac_seed;
  /* H2K_REPAIR_IDENTITY: the name of the host, which is valid; whether it was only made up, so that
   * nothing is to break for it; whether ids and keys are new, too. */
  const char *hostname;
  gboolean hostname_made;
  gboolean new_ids;
  /* Of Windows: */
  const char *virtio_win; /* drivers: as of h2k_driver_source_open() */
  const char *virtio_config;
  const char *guest_agent;     /* path of an MSI on this host */
  const GPtrArray *first_boot; /* char *: paths on this host of scripts and programs */
  const char *temp_dir;        /* for hives that are large */
  gboolean known_disks;        /* the VM's disks stay on SATA or IDE, which Windows has drivers for:
                                * those for VirtIO are welcome, but may be missing */
} H2kRepairOptions;

typedef struct _H2kWindowsSession H2kWindowsSession;

typedef struct
{
  H2kGuest *guest;
  H2kRepairOptions options;
  H2kRepairSet set;           /* those that were asked for; set by h2k_repair_run() */
  H2kWindowsSession *windows; /* windows/session.h; NULL: another system */
  GPtrArray *macs;     /* char *: MACs given by the user or the source's metadata; may be empty */
  GPtrArray *changes;  /* H2kChange *, in order */
  GPtrArray *warnings; /* char * */
  GPtrArray *nics;     /* H2kNic *: filled by the network repair */
  const char *current; /* the repair that runs */
} H2kRepairContext;

typedef struct
{
  const char *name;  /* "fstab" */
  H2kRepairSet flag; /* which option selects it */
  const char *why;   /* one sentence for people */
  /* Whether the guest has what this repair is about. */
  gboolean (*applies) (H2kRepairContext *context);
  /* Errors: H2K_ERROR_REPAIR when the guest would not boot without it; what only would be nicer
   * is h2k_repair_warn(). */
  gboolean (*run) (H2kRepairContext *context, GError **error);
} H2kRepair;

/* The table for GUEST's family, ended by NULL; repairs.h declares what stands in it. */
const H2kRepair *const *h2k_repairs_for (const H2kGuest *guest);

/* OPTIONS may be NULL. */
H2kRepairContext *h2k_repair_context_new (H2kGuest *guest, const H2kRepairOptions *options);
void h2k_repair_context_free (H2kRepairContext *context);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kRepairContext, h2k_repair_context_free)

/* Run the repairs of SET in the table's order, then flush the tree. */
gboolean h2k_repair_run (H2kRepairContext *context, H2kRepairSet set, GError **error);

/* Changes, recorded with REASON. Nothing happens and nothing is recorded when the file already is
 * so. write: creates with MODE or edits. */
gboolean h2k_repair_write (H2kRepairContext *context, const char *path, GBytes *data, guint32 mode,
                           const char *reason, GError **error);
gboolean h2k_repair_append (H2kRepairContext *context, const char *path, GBytes *data,
                            const char *summary, const char *reason, GError **error);
gboolean h2k_repair_remove (H2kRepairContext *context, const char *path, const char *reason,
                            GError **error);
gboolean h2k_repair_symlink (H2kRepairContext *context, const char *target, const char *path,
                             const char *reason, GError **error);
/* As of h2k_repair_write(), for what is no file of text: SUMMARY says what it is. */
gboolean h2k_repair_copy (H2kRepairContext *context, const char *path, GBytes *data, guint32 mode,
                          const char *summary, const char *reason, GError **error);
/* A change of the registry that was made: VALUE ("" the key itself) of KEY was BEFORE and is AFTER
 * (NULL: was missing, is gone). Values of one key with one reason are one change. */
void h2k_repair_record_registry (H2kRepairContext *context, const char *key, const char *value,
                                 const char *before, const char *after, const char *reason);
void h2k_repair_warn (H2kRepairContext *context, const char *format, ...) G_GNUC_PRINTF (2, 3);
