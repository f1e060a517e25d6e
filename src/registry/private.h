/* private.h - what the files of the registry share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/regf-tree.h"

#include <hivex.h>

struct _H2kHive
{
  H2kFs *fs;
  char *path, *temp_dir;
  gboolean writable;
  H2kHiveInfo info;
  H2kRegf *regf; /* as found, but replayed */
  H2kDamage *damage;
  hive_h *hivex;         /* of it; with the edits from the first one on */
  gboolean hivex_writes; /* it was opened for writing */
  GPtrArray *logs;       /* char *: paths */
  guint32 highest;       /* the highest sequence number that was found */
  GHashTable *edits;     /* offsets of keys: H2kRegfEdit * */
  char *broken;          /* why the edits cannot be committed; NULL: they can */
};

/* Open hivex on HIVE's copy, for writing or not, in place of what is open. */
gboolean h2k_hive_open_hivex (H2kHive *hive, gboolean writable, GError **error);

/* The key named KEY, or 0; and CHILD in NODE. NODE has no damage that hivex could stumble over. */
hive_node_h h2k_hive_find (H2kHive *hive, const char *key);
hive_node_h h2k_hive_find_child (H2kHive *hive, hive_node_h node, const char *child);

/* Where hivex counts from: the file's start. */
#define H2K_HIVEX_OFFSET(node) ((guint32)((node)-H2K_REGF_BASE))

/* N_UNITS of UTF-16LE, NULs among them too, as UTF-8; unpaired surrogates become U+FFFD. The
 * caller's. */
char *h2k_reg_decode (const guint8 *data, gsize n_units);
/* NAME as Windows compares and sorts names: each character in upper case. The caller's. */
char *h2k_reg_fold (const char *name);
/* Whether two names are the same but for case. */
gboolean h2k_reg_same_name (const char *a, const char *b);
