/* bitlocker-crypt.c - sectors of BitLocker volumes, decrypted and encrypted.
 *
 * AES-CBC takes the sector's offset on the volume, encrypted with the key, for an initial value;
 * AES-XTS its number. The diffuser of N. Ferguson, "AES-CBC + Elephant diffuser: A Disk Encryption
 * Algorithm for Windows Vista" (2006), chapter 4, lies between the plain text and AES-CBC.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "disk/luks.h"

#include <gcrypt.h>

#define SECTOR_KEY 32u
/* Rounds of the diffuser's two halves over the whole sector. */
#define A_ROUNDS 5u
#define B_ROUNDS 3u

struct _H2kBitlockerCrypt
{
  const H2kBitlockerCipher *cipher;
  guint32 sector_size;
  gcry_cipher_hd_t data, iv, tweak; /* IV: of AES-CBC, TWEAK: of the diffuser */
};

/* --- the diffuser ------------------------------------------------------------------------------
 */

static const guint a_turns[4] = {9, 0, 13, 0}, b_turns[4] = {0, 10, 0, 25};

static guint32
turn (guint32 value, guint bits)
{
  return bits ? value << bits | value >> (32 - bits) : value;
}

/* N words, a power of two. A word is mixed with those 2 and 5 before it (A) or behind it (B). */
static void
diffuse (guint32 *words, guint n, guint rounds, gboolean behind, const guint *turns)
{
  guint two = behind ? 2 : n - 2, five = behind ? 5 : n - 5;

  for (guint i = 0; i < n * rounds; i++)
    words[i % n] += words[(i + two) % n] ^ turn (words[(i + five) % n], turns[i % 4]);
}

static void
undo_diffuse (guint32 *words, guint n, guint rounds, gboolean behind, const guint *turns)
{
  guint two = behind ? 2 : n - 2, five = behind ? 5 : n - 5;

  for (guint i = n * rounds; i-- > 0;)
    words[i % n] -= words[(i + two) % n] ^ turn (words[(i + five) % n], turns[i % 4]);
}

/* A host of the other byte order turns the words around. */
static void
swap_words (guint32 *words, guint n)
{
  for (guint i = 0; G_BYTE_ORDER != G_LITTLE_ENDIAN && i < n; i++)
    words[i] = GUINT32_FROM_LE (words[i]);
}

static gboolean
mix_sector_key (H2kBitlockerCrypt *crypt, const guint8 number[16], guint8 *data)
{
  guint8 key[SECTOR_KEY];

  memcpy (key, number, 16);
  memcpy (key + 16, number, 16);
  key[31] = 0x80;
  if (gcry_cipher_encrypt (crypt->tweak, key, sizeof key, NULL, 0) != 0)
    return FALSE;
  for (guint i = 0; i < crypt->sector_size; i++)
    data[i] ^= key[i % SECTOR_KEY];
  return TRUE;
}

/* The paper's decryption is what runs forwards. */
static gboolean
scatter (H2kBitlockerCrypt *crypt, const guint8 number[16], guint8 *data, gboolean encrypt)
{
  guint32 words[4096 / 4];
  guint n = crypt->sector_size / 4;

  if (encrypt && !mix_sector_key (crypt, number, data))
    return FALSE;
  memcpy (words, data, crypt->sector_size);
  swap_words (words, n);
  if (encrypt)
    {
      undo_diffuse (words, n, A_ROUNDS, FALSE, a_turns);
      undo_diffuse (words, n, B_ROUNDS, TRUE, b_turns);
    }
  else
    {
      diffuse (words, n, B_ROUNDS, TRUE, b_turns);
      diffuse (words, n, A_ROUNDS, FALSE, a_turns);
    }
  swap_words (words, n);
  memcpy (data, words, crypt->sector_size);
  return encrypt || mix_sector_key (crypt, number, data);
}

/* --- sectors -----------------------------------------------------------------------------------
 */

static gboolean
open_ecb (gcry_cipher_hd_t *handle, int algorithm, const guint8 *key, gsize size)
{
  return gcry_cipher_open (handle, algorithm, GCRY_CIPHER_MODE_ECB, 0) == 0
         && gcry_cipher_setkey (*handle, key, size) == 0;
}

H2kBitlockerCrypt *
h2k_bitlocker_crypt_new (const H2kBitlockerCipher *cipher, const guint8 *fvek, guint32 sector_size)
{
  H2kBitlockerCrypt *crypt = g_new0 (H2kBitlockerCrypt, 1);
  int algorithm = cipher->key_size == 16 ? GCRY_CIPHER_AES128 : GCRY_CIPHER_AES256;
  int mode = cipher->is_xts ? GCRY_CIPHER_MODE_XTS : GCRY_CIPHER_MODE_CBC;

  h2k_luks_start_gcrypt ();
  crypt->cipher = cipher;
  crypt->sector_size = sector_size;
  if (gcry_cipher_open (&crypt->data, algorithm, mode, 0) == 0
      && gcry_cipher_setkey (crypt->data, fvek, cipher->key_size * (cipher->is_xts ? 2 : 1)) == 0
      && (cipher->is_xts || open_ecb (&crypt->iv, algorithm, fvek, cipher->key_size))
      && (!cipher->has_diffuser
          || open_ecb (&crypt->tweak, algorithm, fvek + cipher->second_key, cipher->key_size)))
    return crypt;
  h2k_bitlocker_crypt_free (crypt);
  return NULL;
}

void
h2k_bitlocker_crypt_free (H2kBitlockerCrypt *crypt)
{
  gcry_cipher_close (crypt->data);
  gcry_cipher_close (crypt->iv);
  gcry_cipher_close (crypt->tweak);
  g_free (crypt);
}

static gboolean
crypt_sector (H2kBitlockerCrypt *crypt, guint64 offset, guint8 *data, gboolean encrypt)
{
  guint64 value = GUINT64_TO_LE (crypt->cipher->is_xts ? offset / crypt->sector_size : offset);
  guint8 number[16] = {0}, iv[16];

  memcpy (number, &value, sizeof value);
  memcpy (iv, number, sizeof iv);
  if ((!crypt->cipher->is_xts && gcry_cipher_encrypt (crypt->iv, iv, sizeof iv, NULL, 0) != 0)
      || gcry_cipher_setiv (crypt->data, iv, sizeof iv) != 0)
    return FALSE;
  if (!encrypt)
    return gcry_cipher_decrypt (crypt->data, data, crypt->sector_size, NULL, 0) == 0
           && (!crypt->cipher->has_diffuser || scatter (crypt, number, data, FALSE));
  return (!crypt->cipher->has_diffuser || scatter (crypt, number, data, TRUE))
         && gcry_cipher_encrypt (crypt->data, data, crypt->sector_size, NULL, 0) == 0;
}

gboolean
h2k_bitlocker_crypt_do (H2kBitlockerCrypt *crypt, guint64 offset, guint8 *data, gsize length,
                        gboolean encrypt)
{
  for (gsize at = 0; at < length; at += crypt->sector_size)
    if (!crypt_sector (crypt, offset + at, data + at, encrypt))
      return FALSE;
  return TRUE;
}
