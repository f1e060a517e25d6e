/* regf-tree.h - all keys of a hive: whether they are intact, and whether two hives have the same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/regf.h"

/* What is damaged. */
typedef enum
{
  H2K_DAMAGED_KEYS = 1,   /* of a key: its list of keys */
  H2K_DAMAGED_VALUES = 2, /* of a key: its list of values */
  H2K_DAMAGED_VALUE = 4,  /* a value, or its data */
  H2K_DAMAGED_OTHER = 8,  /* of a key: its security or parent, which only edits need */
} H2kDamageKind;

typedef struct
{
  GHashTable *places; /* offsets of keys and values: H2kDamageKind */
  GPtrArray *texts;   /* char *: of the first few, escaped, with the path */
  guint n;
  guint n_values; /* of these, how many are values only, which do not keep other keys from being
                   * edited */
} H2kDamage;

H2kDamage *h2k_damage_new (void);
void h2k_damage_free (H2kDamage *damage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDamage, h2k_damage_free)
/* PATH may be NULL: it is of no key. */
void h2k_damage_add (H2kDamage *damage, guint32 offset, H2kDamageKind kind, const char *path,
                     const char *what);
gboolean h2k_damage_has (const H2kDamage *damage, guint32 offset, H2kDamageKind kind);

/* Look at every key and value that the root leads to. h2k_regf_check_bins() comes first. */
void h2k_regf_check_tree (const H2kRegf *regf, H2kDamage *damage);

/* What is to become of one key, by its offset, which stays while it is edited. */
typedef struct
{
  GHashTable *values; /* folded name: H2kRegValue *, or NULL for one that is to be absent */
  GHashTable *keys;   /* folded name: whether it is to be there */
  gboolean is_new;    /* made by the edit itself */
} H2kRegfEdit;

H2kRegfEdit *h2k_regf_edit_new (void);
void h2k_regf_edit_free (H2kRegfEdit *edit);

/* Whether AFTER is BEFORE with EDITS (offset: H2kRegfEdit *) and without any other change; keys
 * that are in AFTER alone must be made by EDITS, too. Returns NULL, or what differs, escaped; the
 * caller's. Both are intact. */
char *h2k_regf_compare (const H2kRegf *before, const H2kRegf *after, GHashTable *edits);

/* Bring the list of keys of the key at OFFSET, which had EDIT, into the form that Windows relies
 * on: what was made sorted by names in upper case, with the right hashes, no leaf empty; and set
 * its time of the last change to NOW. */
void h2k_regf_tidy_key (H2kRegf *regf, guint32 offset, const H2kRegfEdit *edit, guint64 now);
