/* identity.h - the parts of the repair that gives a guest an identity of its own (identity.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/repair.h"

/* Remove PATH, of whose content nothing gets into the report. Missing is no error. */
gboolean h2k_identity_remove_secret (H2kRepairContext *context, const char *path,
                                     const char *reason, GError **error);

/* New keys of the SSH servers (host-keys.c). HOSTNAME, for the keys' comments, may be NULL: the old
 * one. */
gboolean h2k_identity_host_keys (H2kRepairContext *context, const char *hostname, GError **error);

/* The name that the guest gets, by the context's options; NULL: none, with a warning if one was
 * asked for. The caller's (host-name.c). */
char *h2k_identity_choose_name (H2kRepairContext *context);
/* The guest is called NAME. */
gboolean h2k_identity_host_name (H2kRepairContext *context, const char *name, GError **error);
