/* encrypt.h - encrypted clones as their VM's definition and libvirt see them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "domain/domain.h"
#include "migrate/clone/clones.h"

/* libvirt's secret with the key of an encrypted clone. */
typedef struct
{
  char *uuid;
  char *xml;     /* its definition, without the value */
  GBytes *value; /* wiped when it is freed */
} H2kCloneSecret;

void h2k_clone_secret_clear (H2kCloneSecret *secret);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kCloneSecret, h2k_clone_secret_clear)

/* What libvirt has to be told before CLONE's definition can be started: define the secret, and set
 * its value. All zeros: CLONE is not encrypted. Errors: those of h2k_clone_read_key(). */
gboolean h2k_clone_secret (const H2kClone *clone, H2kCloneSecret *secret, GError **error);

/* The same of a clone that is being made, and whose DOMAIN is defined; secret.xml is written.
 * Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_draft_define (const H2kCloneDraft *draft, const char *key_file,
                                 H2kDomain *domain, GError **error);
/* Have DOMAIN's disks be those of CLONE as they are now, with their keys. Nothing to be done for a
 * clone that is not encrypted. */
void h2k_clone_set_encryption (const H2kClone *clone, H2kDomain *domain);

/* Write CLONE's domain.xml anew after an operation, and the secret's definition beside it: it names
 * each layer of an encrypted clone. Nothing to be done for others. Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_write_definition (const H2kClone *clone, GError **error);
