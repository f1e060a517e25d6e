/* qmp.h - commands to a QEMU that somebody else started, over its QMP socket.
 *
 * Follows QEMU's "QMP Protocol Specification". One client at a time is served by a socket. What
 * QEMU sends is bounded, and waited for no longer than some seconds: a hostile guest may have taken
 * it over.
 *
 * Thread-safety: one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

#include <json-glib/json-glib.h>

typedef struct _H2kQmp H2kQmp;

/* Connect to the socket PATH of any length. NULL: nobody serves it. Errors: H2K_ERROR_TOOL. */
H2kQmp *h2k_qmp_open (const char *path, GError **error);
void h2k_qmp_free (H2kQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kQmp, h2k_qmp_free)

/* Run COMMAND with ARGUMENTS (taken; may be NULL). Returns what it answers, the caller's. Errors:
 * H2K_ERROR_TOOL. */
JsonNode *h2k_qmp_run (H2kQmp *qmp, const char *command, JsonObject *arguments, GError **error);

/* To be polled: there is something to read when an event came, or QEMU has ended. */
int h2k_qmp_fd (const H2kQmp *qmp);
/* Read the events that have come, and forget them. FALSE: QEMU has ended. */
gboolean h2k_qmp_drain (H2kQmp *qmp);
