/* guestfs-tools.h - the filesystems' own check programs, as the appliance has them, and what they
 * say.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/check.h"

/* The command that checks filesystems of TYPE and changes nothing, without the device, which comes
 * behind it. NULL: there is none. Static. */
const char *h2k_guestfs_check_command (const char *type);

/* Into CHECK: what this command found, by its exit status as a shell tells it (128 and the signal's
 * number) and its OUTPUT, both streams, of which the beginning is enough. Without a verdict
 * (there is no such program, it was killed, it does not know the filesystem's features) CHECK
 * says why it was not checked. */
void h2k_guestfs_read_check (const char *type, guint status, const char *output, H2kFsCheck *check);
