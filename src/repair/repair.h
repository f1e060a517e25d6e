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
  H2K_CHANGE_APPEND,  /* BEFORE is NULL, AFTER what was appended */
  H2K_CHANGE_SYMLINK, /* AFTER is the target */
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

typedef struct
{
  H2kGuest *guest;
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

/* The table, ended by NULL; repairs.h declares what stands in it. */
extern const H2kRepair *const h2k_repairs[];

H2kRepairContext *h2k_repair_context_new (H2kGuest *guest);
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
void h2k_repair_warn (H2kRepairContext *context, const char *format, ...) G_GNUC_PRINTF (2, 3);
