/* lvm-text.h - the language in which LVM2 describes volume groups.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef enum
{
  LVM_SECTION,
  LVM_ARRAY,
  LVM_STRING,
  LVM_NUMBER,
} LvmKind;

/* A node of the text: everything is an offset into it or an index, 0: none. */
typedef struct
{
  guint32 key, key_length;     /* length 0: an element of an array */
  guint32 value, value_length; /* of strings (without the quotes) and numbers */
  guint32 child, next;
  LvmKind kind;
} LvmNode;

typedef struct
{
  const char *text; /* the caller's */
  GArray *nodes;    /* LvmNode; the first one is the section around everything */
} LvmText;

/* FALSE: TEXT is not in the language; *LINE is where. Clear TREE in either case. */
gboolean lvm_text_parse (LvmText *tree, const char *text, gsize length, guint *line);
void lvm_text_clear (LvmText *tree);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (LvmText, lvm_text_clear)

/* Children; NULL: there is none of this KIND. */
const LvmNode *lvm_text_root (const LvmText *tree);
const LvmNode *lvm_text_first (const LvmText *tree, const LvmNode *node);
const LvmNode *lvm_text_next (const LvmText *tree, const LvmNode *node);
const LvmNode *lvm_text_find (const LvmText *tree, const LvmNode *node, const char *key,
                              LvmKind kind);

/* The value of a string, or the key of a section. The caller's. */
char *lvm_text_string (const LvmText *tree, const LvmNode *node);
char *lvm_text_key (const LvmText *tree, const LvmNode *node);
gboolean lvm_text_key_is (const LvmText *tree, const LvmNode *node, const char *key);
/* Whether NODE is a number from 0 to MAX. */
gboolean lvm_text_number (const LvmText *tree, const LvmNode *node, guint64 max, guint64 *value);
