/* cmdline.h - kernel command lines and the bootloaders' files that hold them, as pure functions
 * of text: what to write for a device is the caller's to say.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

/* What to write instead of the device SPEC of parameter KEY ("root"); NULL: it stays. */
typedef char *(*H2kRenameFunc) (const char *key, const char *spec, gpointer data);

/* TEXT with the devices of its kernel parameters (root=, resume=, ...) renamed, wherever they stand
 * and however they are quoted. NULL: nothing changes. The caller's. */
char *h2k_cmdline_rename (const char *text, H2kRenameFunc rename, gpointer data);

/* What kind of lines hold kernel parameters in a file. */
typedef enum
{
  H2K_LINES_GRUB_CFG,     /* linux, linux16, linuxefi, module..., and "set" of variables */
  H2K_LINES_GRUB_LEGACY,  /* kernel, module, and Debian's "# kopt=" */
  H2K_LINES_GRUB_DEFAULT, /* GRUB_CMDLINE_*= of the shell file /etc/default/grub */
  H2K_LINES_BLS,          /* options */
  H2K_LINES_EXTLINUX,     /* append */
  H2K_LINES_DRACUT,       /* kernel_cmdline= */
  H2K_LINES_ANY,          /* every line but comments */
} H2kLinesKind;

/* Whether LINE holds kernel parameters. */
gboolean h2k_line_has_parameters (H2kLinesKind kind, const char *line);

/* Rename in every line FIRST..LAST (G_MAXUINT: to the end) that holds parameters. Returns how many
 * lines changed. */
guint h2k_lines_rename (H2kLines *lines, H2kLinesKind kind, guint first, guint last,
                        H2kRenameFunc rename, gpointer data);

/* A GRUB environment block (GRUB manual, "environment block"): NULL when DATA is none. */
GBytes *h2k_grubenv_rename (GBytes *data, H2kRenameFunc rename, gpointer data_of_rename,
                            GError **error);
/* The value of a variable in the block; NULL: none. The caller's. */
char *h2k_grubenv_get (GBytes *data, const char *key);

/* The lines FIRST..LAST of the top-level entry that grub.cfg boots by default, given the variable
 * saved_entry (may be NULL). FALSE: there is no entry. */
gboolean h2k_grub_default_entry (const H2kLines *lines, const char *saved_entry, guint *first,
                                 guint *last);
