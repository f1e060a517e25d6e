/* firstboot.h - what the first-boot service of a Windows guest reports on its serial port.
 *
 * Each line begins with H2K-FIRSTBOOT-, then what is written here; src/firstboot/run.c sends them:
 *
 *   START                    the service is up, after each boot
 *   RUN name                 a script is begun
 *   EXIT name code           its end: 0, 3010 and 1641 (with a restart) are success
 *   REBOOT                   the machine restarts
 *   STOPPED                  the service was stopped
 *   DONE ok=N failed=M       all scripts were run
 *   ERROR text, WARNING text
 *
 * Lines with what a script itself has written begin with "| ".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct
{
  guint lines;       /* how many have come */
  gboolean done;     /* all scripts were run */
  guint ok, failed;  /* how many then */
  guint restarts;    /* that the service has announced */
  char *running;     /* the script at work; NULL: none */
  GString *failures; /* "500-net.cmd (exit code 5), ..." */
  char *error;       /* why nothing can be run; NULL: no such thing */
  char *last;        /* the last line; NULL: none has come */
} H2kFirstboot;

H2kFirstboot *h2k_firstboot_new (void);
void h2k_firstboot_free (H2kFirstboot *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFirstboot, h2k_firstboot_free)

/* Look at a line of the console; TRUE when it was the service's. What is kept of it is escaped. */
gboolean h2k_firstboot_line (H2kFirstboot *report, const char *line);
