/* virt.h - libvirt, as clones use it.
 *
 * Follows libvirt's "Domain XML format" and API reference. Thread-safety: libvirt's own: all
 * functions may be called from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"
#include "migrate/clone/clones.h"

#include <libvirt/libvirt.h>

static inline void
h2k_virt_close (virConnectPtr connection)
{
  virConnectClose (connection);
}

static inline void
h2k_virt_domain_free (virDomainPtr domain)
{
  virDomainFree (domain);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (virConnect, h2k_virt_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (virDomain, h2k_virt_domain_free)

/* Connect to libvirt's QEMU driver on this host; NULL: of the system for root, of the session for
 * others. Errors: H2K_ERROR_USAGE (a URI of another host), H2K_ERROR_TOOL (its daemon does not
 * run). */
virConnectPtr h2k_virt_open (const char *uri, GError **error);

/* What libvirt said last in this thread, the caller's. */
char *h2k_virt_message (void);
/* An error of CODE: FORMAT, and what libvirt said. */
void h2k_virt_set_error (GError **error, H2kError code, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* The text at the XPath WHERE of XML (may be NULL), the caller's; NULL: there is none. */
char *h2k_virt_text_at (const char *xml, const char *where);

/* The URI of the libvirt that CLONE is defined in, CLONE's; NULL: in none. */
const char *h2k_virt_uri (const H2kClone *clone);
/* CLONE's domain at CONNECTION; NULL: there is none. The caller's. */
virDomainPtr h2k_virt_domain (virConnectPtr connection, const H2kClone *clone);
/* The same at the libvirt that it is defined in; NULL without an error: it is defined in none, or
 * no more. */
virDomainPtr h2k_virt_defined (const H2kClone *clone, GError **error);

/* Define CLONE, opened for change, at CONNECTION, or define it anew; domain.xml is written anew,
 * too. NULL: errors: H2K_ERROR_OUTPUT. */
virDomainPtr h2k_virt_define (virConnectPtr connection, H2kClone *clone, GError **error);
/* Start CLONE, opened for change, at CONNECTION; it is defined there first where it is not. An
 * encrypted one is not kept there: its definition names layers, which come and go. Errors:
 * H2K_ERROR_TOOL, _OUTPUT. */
gboolean h2k_virt_start (virConnectPtr connection, H2kClone *clone, GError **error);
/* Take it out of libvirt, with what libvirt keeps of it but CLONE's own NVRAM. Errors:
 * H2K_ERROR_OUTPUT (it runs). */
gboolean h2k_virt_undefine (virDomainPtr domain, GError **error);
/* Have libvirt forget the key of CLONE, if it has one. */
void h2k_virt_forget_secret (const H2kClone *clone);
/* As whom libvirt at CONNECTION runs QEMU, "+UID:+GID", where that is somebody else; NULL: as this
 * user. The caller's. */
char *h2k_virt_owner (virConnectPtr connection);
/* Give the user as whom libvirt at CONNECTION runs QEMU what it needs of CLONE's files, and no
 * more: the current layer to write to, the others to read. The originals' files stay as they are.
 * Errors: H2K_ERROR_SOURCE (an original cannot be read by that user), _OUTPUT. */
gboolean h2k_virt_hand_over (virConnectPtr connection, const H2kClone *clone, GError **error);
/* The same of what MACHINE has for a Windows' first boot besides: its small disk is the user's to
 * write; an ISO that the user cannot read is left out, with a message. Errors: _OUTPUT. */
gboolean h2k_virt_hand_over_media (virConnectPtr connection, H2kDomain *machine, GError **error);

/* From now on libvirt tells what happens to connections that are opened later; FD becomes readable
 * when a write threshold was crossed or a domain changed. Once in a process. -1: it cannot. */
int h2k_virt_listen (void);
/* Wake that FD on CONNECTION's events. */
void h2k_virt_wake_on (virConnectPtr connection);
