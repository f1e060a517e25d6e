/* keys.h - the passphrases and key files that the user gives for encrypted volumes.
 *
 * A key is named by where it is, never by itself, so that none stands on a command line:
 *
 *   DEV:file:PATH   all:file:PATH   DEV:env:NAME   all:env:NAME
 *
 * DEV is a device as the guest calls it (/dev/sda2, /dev/vg/lv), "UUID=..." or the container's
 * UUID. It is read when a container asks for it and wiped as soon as that has been tried.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct _H2kKeys H2kKeys;

H2kKeys *h2k_keys_new (void);
void h2k_keys_free (H2kKeys *keys);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kKeys, h2k_keys_free)

/* Errors: H2K_ERROR_USAGE: SPEC is not one of the four forms. */
gboolean h2k_keys_add (H2kKeys *keys, const char *spec, GError **error);
/* The keys of SPECS (char *; may be NULL). */
H2kKeys *h2k_keys_parse (GPtrArray *specs, GError **error);

/* The keys for a container that is called NAMES (char *) and has UUID, in the order given, those
 * for all containers last: GBytes *, wiped when they are freed. A passphrase is the first line of
 * its file, without the line's end; a file that holds more than that, and be it the line's end, is
 * tried as a whole, too, as cryptsetup reads key files. KEYS may be NULL. Empty: nothing was given
 * for this one. Errors: H2K_ERROR_SOURCE: a file cannot be read; H2K_ERROR_USAGE: a variable is not
 * set. */
GPtrArray *h2k_keys_find (const H2kKeys *keys, GPtrArray *names, const char *uuid, GError **error);

guint h2k_keys_count (const H2kKeys *keys); /* KEYS may be NULL */
/* What container the key NUMBER is for; NULL: all of them. KEYS'. */
const char *h2k_keys_device (const H2kKeys *keys, guint number);
/* Whether that is the one that is called NAMES (char *) and has UUID. */
gboolean h2k_keys_is_for (const H2kKeys *keys, guint number, GPtrArray *names, const char *uuid);
