/* digest.c - digests by libgcrypt. See digest.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/digest.h"

#include <gcrypt.h>

struct _H2kDigest
{
  gcry_md_hd_t handle;
  char *text; /* NULL: not asked for yet */
};

static gpointer
start (gpointer data)
{
  /* A program that uses this library may have done so already. */
  if (!gcry_control (GCRYCTL_INITIALIZATION_FINISHED_P))
    {
      gcry_check_version (NULL);
      gcry_control (GCRYCTL_DISABLE_SECMEM, 0);
      gcry_control (GCRYCTL_INITIALIZATION_FINISHED, 0);
    }
  return NULL;
}

void
h2k_gcrypt_start (void)
{
  static GOnce once = G_ONCE_INIT;

  g_once (&once, start, NULL);
}

static int
algorithm_of (GChecksumType type)
{
  switch (type)
    {
    case G_CHECKSUM_SHA1:
      return GCRY_MD_SHA1;
    case G_CHECKSUM_SHA384:
      return GCRY_MD_SHA384;
    case G_CHECKSUM_SHA512:
      return GCRY_MD_SHA512;
    default:
      return GCRY_MD_SHA256;
    }
}

H2kDigest *
h2k_digest_new (GChecksumType type)
{
  H2kDigest *digest = g_new0 (H2kDigest, 1);

  h2k_gcrypt_start ();
  if (gcry_md_open (&digest->handle, algorithm_of (type), 0))
    g_error ("libgcrypt has no digest %d", algorithm_of (type));
  return digest;
}

void
h2k_digest_update (H2kDigest *digest, const void *data, gsize length)
{
  gcry_md_write (digest->handle, data, length);
}

const char *
h2k_digest_text (H2kDigest *digest)
{
  int algorithm = gcry_md_get_algo (digest->handle);
  guint n = gcry_md_get_algo_dlen (algorithm);
  const guint8 *sum;

  if (digest->text)
    return digest->text;
  sum = gcry_md_read (digest->handle, algorithm);
  digest->text = g_malloc (2 * n + 1);
  for (guint i = 0; i < n; i++)
    g_snprintf (digest->text + (gsize)2 * i, 3, "%02x", sum[i]);
  return digest->text;
}

void
h2k_digest_free (H2kDigest *digest)
{
  if (!digest)
    return;
  gcry_md_close (digest->handle);
  g_free (digest->text);
  g_free (digest);
}

void
h2k_sha256 (const void *data, gsize length, guint8 *sum)
{
  h2k_gcrypt_start ();
  gcry_md_hash_buffer (GCRY_MD_SHA256, sum, data, length);
}

void
h2k_blake2b_256 (const void *data, gsize length, guint8 *sum)
{
  h2k_gcrypt_start ();
  gcry_md_hash_buffer (GCRY_MD_BLAKE2B_256, sum, data, length);
}
