/* mounted-files.h - files as the tests of fs need them, in a filesystem that is mounted. It needs
 * nothing but GLib, so that it can be used on the kernel of another machine, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

/* Where the file NAME of the filesystem is: mounted.c has it for tests. */
char *mounted_path (const char *name);
/* Write LENGTH bytes at OFFSET of the file NAME. PERIOD: how well they can be packed; 0: not. */
void mounted_put (const char *name, guint64 offset, gsize length, guint period);
void mounted_punch (const char *name, guint64 offset, guint64 length);
/* A directory of ENTRIES names, all of one file; each REMOVED_EVERY-th (0: none) is removed again.
 */
void mounted_make_dir (const char *name, guint entries, guint removed_every);
/* The file NAME with these times. */
void mounted_put_times (const char *name, gint64 atime, gint64 mtime);

/* COUNT attributes of LENGTH bytes each, of a file of their own. */
typedef struct
{
  const char *name, *attribute;
  guint length, count;
} MountedAttributes;

void mounted_set_attributes (const MountedAttributes *sets, gsize n);
