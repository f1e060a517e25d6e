/* console.h - what a guest writes to its serial console, as plain lines.
 *
 * Terminal control sequences (ECMA-48) are taken out, so that text drawn by GRUB or coloured by
 * systemd can be compared, and nothing of it reaches the user's terminal.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct _H2kConsole H2kConsole;

/* A complete line, without its end. */
typedef void (*H2kConsoleFunc) (const char *line, gpointer data);

H2kConsole *h2k_console_new (H2kConsoleFunc func, gpointer data);
void h2k_console_free (H2kConsole *console);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kConsole, h2k_console_free)

void h2k_console_feed (H2kConsole *console, const guint8 *data, gsize length);

/* The line that has not ended yet: a prompt. Owned by CONSOLE until the next feed. */
const char *h2k_console_partial (const H2kConsole *console);

/* The last lines, at most LINES and 16 KiB, escaped. The caller's. */
char *h2k_console_tail (const H2kConsole *console, guint lines);
