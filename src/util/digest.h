/* digest.h - digests by libgcrypt, which uses what the processor has for them: about twice as fast
 * as GLib's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct _H2kDigest H2kDigest;

/* Make libgcrypt ready, once; whoever calls it directly calls this first. Thread-safe. */
void h2k_gcrypt_start (void);

/* A digest of TYPE (SHA-1, SHA-256, SHA-384, SHA-512). Used by one thread at a time. */
H2kDigest *h2k_digest_new (GChecksumType type);
void h2k_digest_update (H2kDigest *digest, const void *data, gsize length);
/* The digest of all that was added, in lower-case hexadecimal. Owned by DIGEST, to which nothing
 * can be added afterwards. */
const char *h2k_digest_text (H2kDigest *digest);
void h2k_digest_free (H2kDigest *digest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDigest, h2k_digest_free)

/* The digests of DATA, 32 bytes each; BLAKE2b as RFC 7693 has it, without a key. */
void h2k_sha256 (const void *data, gsize length, guint8 *sum);
void h2k_blake2b_256 (const void *data, gsize length, guint8 *sum);
