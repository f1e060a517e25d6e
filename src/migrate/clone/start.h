/* start.h - what all ways to start a clone's VM share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"
#include "migrate/clone/clones.h"

/* Whether the VM of CLONE may be started now: it does not run, there is room for what it writes,
 * and its originals are what they were; those that QEMU does not read itself are served from then
 * on, for a minute at least. To be called just before each start, by whatever starts it;
 * a further condition is a line in the table of checks. UNSAFE: an original that has changed is a
 * warning only. Errors: H2K_ERROR_OUTPUT (it runs), _NO_SPACE, _VERIFY (an original has changed),
 * _SOURCE (one is missing). */
gboolean h2k_clone_prepare_start (const H2kClone *clone, gboolean unsafe, GError **error);

/* Whether the originals, with SERVED also those that QEMU does not read itself, are what they were;
 * ADVICE is what the message says that can be done when
 * they cannot be brought back. Errors: H2K_ERROR_VERIFY, _SOURCE, as above. */
gboolean h2k_clone_check_originals (const H2kClone *clone, gboolean served, const char *advice,
                                    GError **error);

/* The most bytes that CLONE's layers may take on the host's disk; 0: there is no limit. */
guint64 h2k_clone_max_size (const H2kClone *clone);
/* What they take now. */
guint64 h2k_clone_stored (const H2kClone *clone);
/* Whether CLONE can grow: its filesystem is not nearly full, nor has it come to its limit. ALL:
 * there is room for all that it may become. Errors: H2K_ERROR_NO_SPACE, _OUTPUT. */
gboolean h2k_clone_check_room (const H2kClone *clone, gboolean all, GError **error);

/* The machine as it was defined, on the disks where they are now. The caller's. */
H2kDomain *h2k_clone_machine (const H2kClone *clone);
