/* marker.h - the unit that a guest with systemd runs in the boot test, and the line it reports.
 *
 * The unit is only ever written into the throw-away overlay. Its line carries a number made for
 * this run, so that old console text proves nothing:
 *
 *   H2K-BOOT-OK id=4f0c... boot=1 net=ens192,10.0.2.15/24,10.0.2.2,00:50:56:01:02:03,virtio_net
 *     systemd=running failed= end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"

#define H2K_MARKER_PORT "org.hyper2kvm.boot.0"

typedef struct
{
  guint boot;      /* 1: the first boot of this overlay */
  char *interface; /* NULL: no interface has an address */
  char *address;   /* "10.0.2.15/24" */
  char *gateway;   /* may be empty */
  char *mac;
  char *driver;
  char *systemd; /* "running", "degraded", "starting" */
  char *failed;  /* names of failed units, separated by commas; may be empty */
  char *line;    /* as it came, escaped */
} H2kMarkerReport;

void h2k_marker_report_free (H2kMarkerReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kMarkerReport, h2k_marker_report_free)

/* The report in LINE; NULL when there is none, it is incomplete, or not for NONCE. */
H2kMarkerReport *h2k_marker_parse (const char *line, const char *nonce);

/* "ens192 up 10.0.2.15/24 (virtio_net)" or "none". The caller's. */
char *h2k_marker_network (const H2kMarkerReport *report);

/* The unit's text. With REBOOT the guest reboots itself once after the first report. The caller's.
 */
char *h2k_marker_unit (const char *nonce, gboolean reboot);

/* Whether GUEST can run the unit. WHY (may be NULL) is set to a static reason when not. */
gboolean h2k_marker_possible (H2kGuest *guest, const char **why);

/* Write the unit into GUEST's tree and flush it. */
gboolean h2k_marker_install (H2kGuest *guest, const char *nonce, gboolean reboot, GError **error);
