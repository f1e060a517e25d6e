/* manifest.h - what a filesystem holds as text, a line a file, so that two readers of it can be
 * compared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

/* The line of the file PATH. WHAT: a link's target, the SHA-256 of a regular file's content, ""
 * else. ATTRIBUTES (char *; they are sorted): from manifest_attribute(). The caller's. */
char *manifest_line (const char *path, const H2kStat *st, const char *what, GPtrArray *attributes);
/* An extended attribute, for a line. The caller's. */
char *manifest_attribute (const char *name, gconstpointer value, gsize length);
/* Sort LINES (char *) and put them together. The caller's. */
char *manifest_text (GPtrArray *lines);
