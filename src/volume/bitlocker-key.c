/* bitlocker-key.c - the keys of a BitLocker volume, from what opens it to what its sectors are
 * encrypted with.
 *
 * Keys are encrypted with AES-CCM: a nonce of 12 bytes, a MAC of 16, no associated data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "volume/keys.h"
#include "volume/luks.h"

#include <gcrypt.h>

#define NONCE 12u
#define MAC 16u
/* What is encrypted: size (4), version (2), 2 more bytes, method (4); the key follows. */
#define KEY_HEADER 12u
#define VMK 32u /* and so are the keys that it is encrypted with */
#define MAX_KEY 256u

static gboolean
decrypt_ccm (const guint8 *key, const guint8 *nonce, const guint8 *mac, guint8 *data, gsize length)
{
  guint64 lengths[3] = {length, 0, MAC};
  gcry_cipher_hd_t handle;
  gboolean ok;

  if (gcry_cipher_open (&handle, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CCM, 0) != 0)
    return FALSE;
  ok = gcry_cipher_setkey (handle, key, VMK) == 0 && gcry_cipher_setiv (handle, nonce, NONCE) == 0
       && gcry_cipher_ctl (handle, GCRYCTL_SET_CCM_LENGTHS, lengths, sizeof lengths) == 0
       && gcry_cipher_decrypt (handle, data, length, NULL, 0) == 0
       && gcry_cipher_checktag (handle, mac, MAC) == 0;
  gcry_cipher_close (handle);
  return ok;
}

/* The key in ENTRY, at least SIZE bytes, that is encrypted with KEY; NULL: with another one. */
static GBytes *
open_entry (const H2kBitlockerEntry *entry, const guint8 *key, gsize size)
{
  gsize length = entry->length < NONCE + MAC ? 0 : entry->length - NONCE - MAC;
  GBytes *secret = NULL;
  guint8 data[KEY_HEADER + MAX_KEY], *out;

  if (entry->value != H2K_BITLOCKER_VALUE_CCM || length < KEY_HEADER + size || length > sizeof data)
    return NULL;
  memcpy (data, entry->data + NONCE + MAC, length);
  if (decrypt_ccm (key, entry->data, entry->data + NONCE, data, length)
      && h2k_le32 (data) == length)
    {
      secret = h2k_secret_new (length - KEY_HEADER, &out);
      memcpy (out, data + KEY_HEADER, length - KEY_HEADER);
    }
  explicit_bzero (data, sizeof data);
  return secret;
}

/* The first entry that holds VALUE among those of the VMK in OUTER. */
static gboolean
find_property (const H2kBitlockerEntry *outer, H2kBitlockerValue value, H2kBitlockerEntry *entry)
{
  const guint8 *at = outer->data + H2K_BITLOCKER_VMK_ENTRIES;
  gsize left = outer->length - H2K_BITLOCKER_VMK_ENTRIES;

  while (h2k_bitlocker_next (&at, &left, entry))
    if (entry->value == value)
      return TRUE;
  return FALSE;
}

/* The VMK that OUTER has a clear key for. */
static GBytes *
open_clear_key (const H2kBitlockerEntry *outer)
{
  H2kBitlockerEntry key, encrypted;

  if (!find_property (outer, H2K_BITLOCKER_VALUE_KEY, &key) || key.length != 4 + VMK
      || !find_property (outer, H2K_BITLOCKER_VALUE_CCM, &encrypted))
    return NULL;
  return open_entry (&encrypted, key.data + 4, VMK);
}

/* The FVEK, by the VMK. */
static GBytes *
open_fvek (const H2kBitlocker *volume, GBytes *vmk)
{
  gsize left;
  const guint8 *at = g_bytes_get_data (volume->entries, &left);
  H2kBitlockerEntry entry;

  while (h2k_bitlocker_next (&at, &left, &entry))
    if (entry.type == H2K_BITLOCKER_ENTRY_FVEK)
      {
        GBytes *fvek = open_entry (&entry, g_bytes_get_data (vmk, NULL), volume->cipher->fvek_size);
        if (fvek)
          return fvek;
      }
  return NULL;
}

GBytes *
h2k_bitlocker_clear_key (const H2kBitlocker *volume, const char *name, GError **error)
{
  gsize left;
  const guint8 *at = g_bytes_get_data (volume->entries, &left);
  H2kBitlockerEntry entry;

  h2k_luks_start_gcrypt ();
  while (h2k_bitlocker_next (&at, &left, &entry))
    if (h2k_bitlocker_protector (&entry) == H2K_BITLOCKER_CLEAR_KEY)
      {
        g_autoptr (GBytes) vmk = open_clear_key (&entry);
        GBytes *fvek = vmk ? open_fvek (volume, vmk) : NULL;
        if (fvek)
          return fvek;
      }
  if (volume->protectors & H2K_BITLOCKER_CLEAR_KEY)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                 "%s: its BitLocker metadata are damaged: the clear key does not open it. Let "
                 "repair-bde look at it in Windows",
                 name);
  return NULL;
}
