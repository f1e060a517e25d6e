/* luks-key.c - a LUKS key slot opened with libgcrypt: the passphrase is stretched, the area
 * decrypted with what comes out, its stripes merged, and the result compared with the digest.
 *
 * After "LUKS1 On-Disk Format Specification" 1.2.3, chapters 2.4 and 4.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

#include <errno.h>
#include <gcrypt.h>

static const struct
{
  const char *name;
  int algorithm;
} hashes[] = {
    {"sha1", GCRY_MD_SHA1},
    {"sha224", GCRY_MD_SHA224},
    {"sha256", GCRY_MD_SHA256},
    {"sha384", GCRY_MD_SHA384},
    {"sha512", GCRY_MD_SHA512},
    {"ripemd160", GCRY_MD_RMD160},
    {"whirlpool", GCRY_MD_WHIRLPOOL},
    {"sha3-224", GCRY_MD_SHA3_224},
    {"sha3-256", GCRY_MD_SHA3_256},
    {"sha3-384", GCRY_MD_SHA3_384},
    {"sha3-512", GCRY_MD_SHA3_512},
    {"blake2b-256", GCRY_MD_BLAKE2B_256},
    {"blake2b-384", GCRY_MD_BLAKE2B_384},
    {"blake2b-512", GCRY_MD_BLAKE2B_512},
    {"blake2s-256", GCRY_MD_BLAKE2S_256},
};

static int
find_hash (const char *name)
{
  for (guint i = 0; i < G_N_ELEMENTS (hashes); i++)
    if (strcmp (hashes[i].name, name) == 0)
      return hashes[i].algorithm;
  return GCRY_MD_NONE;
}

static int
result_of (gcry_error_t failure)
{
  if (!failure)
    return 0;
  return gcry_err_code (failure) == GPG_ERR_ENOMEM ? -ENOMEM : -ENOTSUP;
}

/* --- stretching --------------------------------------------------------------------------------
 */

static int
pbkdf2 (const char *hash, const void *passphrase, gsize length, GBytes *salt, guint64 iterations,
        guint8 *out, gsize out_size)
{
  int algorithm = find_hash (hash);
  gsize salt_size;
  const void *salt_data = g_bytes_get_data (salt, &salt_size);

  if (algorithm == GCRY_MD_NONE || iterations > G_MAXULONG)
    return -ENOTSUP;
  return result_of (gcry_kdf_derive (passphrase, length, GCRY_KDF_PBKDF2, algorithm, salt_data,
                                     salt_size, (unsigned long)iterations, out_size, out));
}

static int
argon2 (const H2kLuksSlot *slot, const void *passphrase, gsize length, guint8 *out, gsize out_size)
{
#if GCRYPT_VERSION_NUMBER >= 0x010a00
  int kind = strcmp (slot->kdf, "argon2id") == 0  ? GCRY_KDF_ARGON2ID
             : strcmp (slot->kdf, "argon2i") == 0 ? GCRY_KDF_ARGON2I
                                                  : -1;
  const unsigned long parameters[] = {out_size, (unsigned long)slot->iterations,
                                      (unsigned long)slot->memory_kib, (unsigned long)slot->lanes};
  gsize salt_size;
  const void *salt = g_bytes_get_data (slot->salt, &salt_size);
  gcry_kdf_hd_t handle;
  gcry_error_t failure;

  if (kind < 0)
    return -ENOTSUP;
  failure = gcry_kdf_open (&handle, GCRY_KDF_ARGON2, kind, parameters, G_N_ELEMENTS (parameters),
                           passphrase, length, salt, salt_size, NULL, 0, NULL, 0);
  if (failure)
    return result_of (failure);
  failure = gcry_kdf_compute (handle, NULL);
  if (!failure)
    failure = gcry_kdf_final (handle, out_size, out);
  gcry_kdf_close (handle);
  return result_of (failure);
#else
  return -ENOTSUP;
#endif
}

/* --- the area ----------------------------------------------------------------------------------
 */

/* Each piece of KEY as long as a digest becomes that of its number and itself. */
static void
diffuse (int hash, guint8 *key, gsize size)
{
  gsize step = gcry_md_get_algo_dlen (hash);
  guint8 text[4 + 64], digest[64];

  for (gsize at = 0; at < size; at += step)
    {
      gsize n = MIN (step, size - at);
      guint32 number = GUINT32_TO_BE ((guint32)(at / step));

      memcpy (text, &number, 4);
      memcpy (text + 4, key + at, n);
      gcry_md_hash_buffer (hash, digest, text, 4 + n);
      memcpy (key + at, digest, n);
    }
  explicit_bzero (text, sizeof text);
  explicit_bzero (digest, sizeof digest);
}

static int
merge_stripes (const H2kLuksSlot *slot, const guint8 *stripes, guint8 *key)
{
  int hash = find_hash (slot->af_hash);
  gsize size = slot->volume_key_size;

  if (hash == GCRY_MD_NONE)
    return -ENOTSUP;
  memset (key, 0, size);
  for (gsize s = 0; s < slot->stripes; s++)
    {
      for (gsize i = 0; i < size; i++)
        key[i] ^= stripes[s * size + i];
      if (s + 1 < slot->stripes)
        diffuse (hash, key, size);
    }
  return 0;
}

/* The area is encrypted as the data are, from sector 0 on. */
static int
decrypt_area (const H2kLuksSlot *slot, H2kDisk *area, const guint8 *slot_key, guint8 *key)
{
  const H2kLuksHeader header = {.version = 1, .cipher = slot->cipher, .sector_size = 512};
  g_autoptr (GBytes) bytes = g_bytes_new_static (slot_key, slot->key_size);
  g_autoptr (H2kDisk) content = h2k_luks_disk_new (area, &header, bytes, "key slot", NULL);
  gsize size = h2k_luks_slot_area (slot);
  g_autofree guint8 *stripes = content ? g_try_malloc (size) : NULL;
  int result;

  if (!content)
    return -ENOTSUP;
  if (!stripes)
    return -ENOMEM;
  result = h2k_disk_pread (content, 0, size, stripes, NULL) ? merge_stripes (slot, stripes, key)
                                                            : -EIO;
  explicit_bzero (stripes, size);
  return result;
}

static int
check_key (const H2kLuksSlot *slot, const guint8 *key)
{
  guint8 own[H2K_LUKS_MAX_KEY];
  gsize size;
  const guint8 *digest = g_bytes_get_data (slot->digest, &size);
  int result = pbkdf2 (slot->digest_hash, key, slot->volume_key_size, slot->digest_salt,
                       slot->digest_iterations, own, size);

  return result < 0 ? result : memcmp (own, digest, size) == 0 ? 0 : -EPERM;
}

int
h2k_luks_slot_open (const H2kLuksSlot *slot, H2kDisk *area, const void *passphrase, gsize length,
                    guint8 *key)
{
  guint8 slot_key[H2K_LUKS_MAX_KEY];
  int result = strcmp (slot->kdf, "pbkdf2") == 0
                   ? pbkdf2 (slot->hash, passphrase, length, slot->salt, slot->iterations, slot_key,
                             slot->key_size)
                   : argon2 (slot, passphrase, length, slot_key, slot->key_size);

  if (result == 0)
    result = decrypt_area (slot, area, slot_key, key);
  if (result == 0)
    result = check_key (slot, key);
  explicit_bzero (slot_key, sizeof slot_key);
  return result;
}
