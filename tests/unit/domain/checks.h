/* checks.h - what the tests of definitions have in common.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <gio/gio.h>

#define CHECK_OSINFO "/usr/share/osinfo/os"

/* The string value of XPath EXPRESSION in XML. */
char *check_xpath (const char *xml, const char *expression);
void check_assert_xpath (const char *xml, const char *expression, const char *expected);

/* Whether there is virt-xml-validate; if not, the test is skipped. */
gboolean check_have_schema (void);
/* Whether libvirt's schema accepts XML; DIR takes a file. */
gboolean check_schema (const char *dir, const char *xml, char **message);

/* Run ARGV with INPUT on its standard input; what it wrote, when it failed or did not end within
 * SECONDS; else NULL. */
char *check_run (const char *const *argv, const char *input, guint seconds);

/* The ids of the installed osinfo-db, as keys. */
GHashTable *check_osinfo_db (void);
