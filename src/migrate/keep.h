/* keep.h - what stands where outputs will go, kept under another name until the new ones all stand.
 *
 * Each file of the old set gets a second name, PATH.h2k-old, before the first one of the new set
 * takes its name. When the new set stands, these names go; when it does not, they become the files'
 * own again. A run that is killed in between leaves them, and the next one finds the old set by
 * them: so there is the old set or the new one, also then.
 *
 * The definition comes last in the set, as it does in the new one: its second name is the last to
 * be made and the first to go, which tells a set that stands from one that does not.
 *
 * Errors: H2K_ERROR_OUTPUT. One thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "hyper2kvm.h"

typedef struct _H2kKeep H2kKeep;

H2kKeep *h2k_keep_new (void);
/* What is kept still is put back. */
void h2k_keep_free (H2kKeep *keep);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kKeep, h2k_keep_free)

/* Keep PATH; nothing there is no error, a folder is one. */
gboolean h2k_keep_file (H2kKeep *keep, const char *path, GError **error);
/* Whether PATH is kept. */
gboolean h2k_keep_has (const H2kKeep *keep, const char *path);
/* The new set stands: the old one goes. */
void h2k_keep_discard (H2kKeep *keep);

/* Put right what a run that was killed left of the set PATHS (char *), the definition last. */
gboolean h2k_keep_recover (const GPtrArray *paths, GError **error);
