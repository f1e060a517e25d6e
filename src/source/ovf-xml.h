/* ovf-xml.h - the XML tree of an OVF: loading it safely, and its names across dialects.
 *
 * Elements and attributes are meant by their local names. An OVF name may be in the namespace of
 * any version of the standard, in VMware's of the time before it, or in none, as oVirt writes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "source/private.h"

#include <libxml/tree.h>

typedef enum
{
  H2K_OVF_NS_OVF,      /* the envelope's, or none */
  H2K_OVF_NS_SETTINGS, /* CIM's (resource, storage, Ethernet port) allocation and system settings */
  H2K_OVF_NS_VMWARE,
  H2K_OVF_NS_VIRTUALBOX,
  H2K_OVF_NS_OTHER,
} H2kOvfNs;

/* TEXT, NUL-terminated, as a tree without entities, DTDs and anything from elsewhere. Errors:
 * H2K_ERROR_FORMAT, H2K_ERROR_UNSUPPORTED (a DTD). Free with xmlFreeDoc(). */
xmlDoc *h2k_ovf_load (const char *text, const char *name, GError **error);

H2kOvfNs h2k_ovf_ns (const xmlNs *ns);

/* Whether NODE is the element KIND of the OVF namespace; of a "Section" or "Content" the xsi:type
 * counts: "ovf:DiskSection_Type" is a DiskSection. */
gboolean h2k_ovf_is (const xmlNode *node, const char *kind);
/* The first child of NODE (may be NULL), or the first sibling after it, that is a KIND; NULL. */
xmlNode *h2k_ovf_child (const xmlNode *node, const char *kind);
xmlNode *h2k_ovf_next (const xmlNode *node, const char *kind);

/* The OVF attribute KEY of NODE without blanks around it; NULL when there is none. The caller's. */
char *h2k_ovf_attr (const xmlNode *node, const char *key);
/* The same in the namespace NS. */
char *h2k_ovf_attr_ns (const xmlNode *node, H2kOvfNs ns, const char *key);
/* NODE's (may be NULL) text without blanks around it; NULL when it is empty. The caller's. */
char *h2k_ovf_text (const xmlNode *node);
