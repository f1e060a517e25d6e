/* modules.h - the kernel modules of one installed kernel, by depmod's text indexes.
 *
 * Names are modprobe's: "virtio_blk", with "_" for "-" and without ".ko" and its compression.
 * Paths are relative to the kernel's module directory. Formats: depmod(8), modules.dep(5), and
 * Linux, Documentation/kbuild/kbuild.rst for modules.builtin.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct
{
  GHashTable *paths;    /* name -> char *: where the module's file is */
  GHashTable *needs;    /* name -> char *: the paths of modules.dep's line, separated by spaces */
  GHashTable *softdeps; /* name -> char *: names of its "pre:" soft dependencies, by spaces */
  GHashTable *aliases;  /* those of modules.alias without wildcards: alias -> char *: names */
  GHashTable *builtin;  /* a set of names */
} H2kModules;

/* From the contents of the indexes, each of which may be NULL. VERSION is the kernel's: indexes of
 * before module-init-tools 3.9 hold absolute paths. */
H2kModules *h2k_modules_new (const char *version, GBytes *dep, GBytes *softdep, GBytes *alias,
                             GBytes *builtin);
void h2k_modules_free (H2kModules *modules);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kModules, h2k_modules_free)

/* The name of the module in the file PATH; NULL when it is none (no ".ko"). The caller's. */
char *h2k_module_name (const char *path);

/* NAME and every module it needs, soft dependencies included, as names; nothing when the guest has
 * no such module. Names that are in SET (a set of the caller's names) already are passed over. */
void h2k_modules_closure (const H2kModules *modules, const char *name, GHashTable *set);

/* The names of SET in alphabetical order; they stay the set's. */
GPtrArray *h2k_modules_sorted (GHashTable *set);
