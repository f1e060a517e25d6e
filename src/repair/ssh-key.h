/* ssh-key.h - key pairs of SSH servers: what a file holds, new pairs, and files of them.
 *
 * The form of a new file is that of the old one: OpenSSH before 6.5 reads PEM alone, Dropbear its
 * own form alone. Made by libgcrypt, in memory that is wiped; a private key is in nothing but the
 * GBytes of h2k_ssh_key_private(), whose memory is wiped, too.
 *
 * Followed: RFC 4253 (6.6), 5656 (3.1), 8709 for public keys; PROTOCOL.key of OpenSSH; RFC 8017
 * (A.1.2) and 5915 for PEM; signkey.c of Dropbear.
 *
 * Thread-safety: all functions, on distinct objects.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef enum
{
  H2K_SSH_RSA,
  H2K_SSH_DSA,
  H2K_SSH_ECDSA,
  H2K_SSH_ED25519,
} H2kSshKind;

typedef enum
{
  H2K_SSH_FORM_OPENSSH,
  H2K_SSH_FORM_PEM,
  H2K_SSH_FORM_DROPBEAR,
} H2kSshForm;

/* What a file of a private key holds. */
typedef struct
{
  H2kSshKind kind;
  H2kSshForm form;
  guint bits;        /* of the modulus, of DSA's p, or of the curve */
  char *fingerprint; /* "SHA256:..."; NULL: not known */
} H2kSshKeyInfo;

/* DATA is hostile. PUBLIC_LINE, of the file beside it, may be NULL: it tells the size where the
 * private file does so in an encoding that is not read here. FALSE: it is none that can be replaced
 * (encrypted, of protocol 1, on a token, damaged). FINGERPRINT is the caller's. */
gboolean h2k_ssh_key_identify (GBytes *data, const char *public_line, H2kSshKeyInfo *info);

/* "SHA256:...", of a public key as it is on the wire. The caller's. */
char *h2k_ssh_fingerprint (gconstpointer blob, gsize length);

typedef struct _H2kSshKey H2kSshKey;

/* BITS are brought to what servers take today: RSA 2048 to 4096, DSA 1024. Errors: H2K_ERROR_FAILED
 * (libgcrypt does not know the kind, as in FIPS mode). */
H2kSshKey *h2k_ssh_key_new (H2kSshKind kind, guint bits, GError **error);
void h2k_ssh_key_free (H2kSshKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kSshKey, h2k_ssh_key_free)

/* The whole file of the private key; COMMENT is in OpenSSH's form alone. The caller's. */
GBytes *h2k_ssh_key_private (const H2kSshKey *key, H2kSshForm form, const char *comment);
/* "ssh-rsa AAAA... COMMENT\n"; COMMENT may be empty. The caller's. */
char *h2k_ssh_key_public (const H2kSshKey *key, const char *comment);
/* As `ssh-keygen -l` prints it, "SHA256:..."; "RSA, 3072 bits". The caller's. */
char *h2k_ssh_key_fingerprint (const H2kSshKey *key);
char *h2k_ssh_key_describe (const H2kSshKey *key);
