/* stack-private.h - what stack.c shares with the kinds of volumes: stack-lvm.c and its like.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "volume/stack.h"

typedef struct
{
  H2kStack *stack;
  const H2kKeys *keys;  /* may be NULL */
  gboolean alone;       /* no other disk will ever be beside these */
  gint64 unlock_time;   /* microseconds left for opening containers */
  GPtrArray *lvm, *md;  /* members that were found; of the kind's own type */
  GPtrArray *btrfs;     /* the same */
  GHashTable *lvm_done; /* the UUIDs of groups that were put together; GPtrArray * of nodes */
  GHashTable *md_done;
} Builder;

void stack_warn (Builder *builder, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* A node for DISK (taken; NULL: it cannot be read) on PARENTS. */
H2kNode *stack_add_node (Builder *builder, H2kNodeKind kind, const char *name, H2kDisk *disk,
                         GPtrArray *parents);
void stack_add_name (H2kNode *node, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* PROBLEM is taken; the first one of a node stays. */
void stack_set_problem (H2kNode *node, GError *problem);

/* Note NODE as a member. */
void stack_lvm_take (Builder *builder, H2kNode *node);
void stack_md_take (Builder *builder, H2kNode *node);
void stack_btrfs_take (Builder *builder, H2kNode *node);
/* Open NODE at once. */
void stack_luks_take (Builder *builder, H2kNode *node);
void stack_bitlocker_take (Builder *builder, H2kNode *node);

/* Put one more group or array together, with COMPLETE only one whose members are all there; or one
 * more filesystem. FALSE: there is none. */
gboolean stack_lvm_assemble (Builder *builder, gboolean complete);
gboolean stack_md_assemble (Builder *builder, gboolean complete);
gboolean stack_btrfs_assemble (Builder *builder);
/* When all is put together: say why members are left that belong to nothing. */
void stack_lvm_finish (Builder *builder);
/* The same for keys that are for none of the containers. */
void stack_luks_finish (Builder *builder);

void stack_lvm_init (Builder *builder);
void stack_lvm_clear (Builder *builder);
void stack_md_init (Builder *builder);
void stack_md_clear (Builder *builder);
void stack_btrfs_init (Builder *builder);
void stack_btrfs_clear (Builder *builder);

/* Whether DISK, as a whole, is a member of an array, whatever else it looks like. */
gboolean stack_md_is_whole_disk (H2kDisk *disk, gboolean *whole, GError **error);
