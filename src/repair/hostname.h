/* hostname.h - names of hosts: which are valid, and where a guest's files have them.
 *
 * Followed: hostname(7), RFC 1123 (2.1); 64 bytes are all that Linux takes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

/* NULL: NAME can be a host's; else why not, as the end of a sentence. Static. */
const char *h2k_hostname_problem (const char *name);
/* A host's name that is as near to TEXT as can be; TEXT itself if it is one. The caller's. */
char *h2k_hostname_make (const char *text);

/* The lines of /etc/hosts in which OLD names the host itself have NEW instead, with the domain that
 * they had unless NEW has one. Those are the lines that have the whole name, or a name in some
 * domain for a loopback address. FALSE: there are none. */
gboolean h2k_hostname_replace_in_hosts (H2kLines *lines, const char *old, const char *new);
/* Whether the line has NAME as one of its names. */
gboolean h2k_hostname_in_hosts (const H2kLines *lines, const char *name);
/* Whether TEXT has NAME as a whole word of it: of letters, digits and hyphens. */
gboolean h2k_hostname_in_text (const char *text, const char *name);
