/* bitlocker-key.c - the keys of a BitLocker volume, from what opens it to what its sectors are
 * encrypted with.
 *
 * Keys are encrypted with AES-CCM: a nonce of 12 bytes, a MAC of 16, no associated data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "volume/keys.h"
#include "disk/luks.h"

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

/* --- passwords ---------------------------------------------------------------------------------
 */

#define ROUNDS 0x100000u
#define SALT 16u
#define DIGEST 32u
#define GROUPS 8u
#define DIGITS 6u

/* "471207-278498-...": each number is a multiple of 11, of one of 16 bits. FALSE: SECRET is no such
 * password. */
static gboolean
parse_recovery (GBytes *secret, guint8 key[GROUPS * 2])
{
  gsize length;
  const char *text = g_bytes_get_data (secret, &length);

  if (length != GROUPS * (DIGITS + 1) - 1)
    return FALSE;
  for (guint i = 0; i < GROUPS; i++, text += DIGITS + 1)
    {
      guint32 number = 0;

      for (guint k = 0; k < DIGITS; k++)
        {
          if (!g_ascii_isdigit (text[k]))
            return FALSE;
          number = number * 10 + (guint32)g_ascii_digit_value (text[k]);
        }
      if (number % 11 || number / 11 > G_MAXUINT16 || (i < GROUPS - 1 && text[DIGITS] != '-'))
        return FALSE;
      key[2 * i] = (guint8)(number / 11);
      key[2 * i + 1] = (guint8)(number / 11 >> 8);
    }
  return TRUE;
}

/* What is stretched for a protector of the kind PROTECTOR. FALSE: SECRET cannot be one for it. */
static gboolean
start_digest (GBytes *secret, guint protector, guint8 digest[DIGEST])
{
  guint8 key[GROUPS * 2];
  g_autofree gunichar2 *wide = NULL;
  gsize length;
  const char *text = g_bytes_get_data (secret, &length);
  glong words;

  if (protector == H2K_BITLOCKER_RECOVERY)
    {
      if (!parse_recovery (secret, key))
        return FALSE;
      gcry_md_hash_buffer (GCRY_MD_SHA256, digest, key, sizeof key);
      explicit_bzero (key, sizeof key);
      return TRUE;
    }
  wide = g_utf8_to_utf16 (text, (glong)length, NULL, &words, NULL);
  if (!wide)
    return FALSE;
  for (glong i = 0; i < words; i++)
    wide[i] = GUINT16_TO_LE (wide[i]);
  gcry_md_hash_buffer (GCRY_MD_SHA256, digest, wide, (gsize)words * 2);
  gcry_md_hash_buffer (GCRY_MD_SHA256, digest, digest, DIGEST);
  explicit_bzero (wide, (gsize)words * 2);
  return TRUE;
}

/* FALSE: cancelled. */
static gboolean
stretch (const guint8 *salt, guint8 digest[DIGEST], GError **error)
{
  guint8 state[2 * DIGEST + SALT + 8] = {0};
  gboolean ok = TRUE;

  memcpy (state + DIGEST, digest, DIGEST);
  memcpy (state + 2 * DIGEST, salt, SALT);
  for (guint i = 0; ok && i < ROUNDS; i++)
    {
      guint64 count = GUINT64_TO_LE ((guint64)i);

      memcpy (state + 2 * DIGEST + SALT, &count, sizeof count);
      gcry_md_hash_buffer (GCRY_MD_SHA256, state, state, sizeof state);
      ok = i % 4096 || !h2k_is_cancelled (g_cancellable_get_current (), error);
    }
  memcpy (digest, state, DIGEST);
  explicit_bzero (state, sizeof state);
  return ok;
}

/* The VMK that OUTER has for SECRET; NULL: another secret, or an error is set. */
static GBytes *
open_password (const H2kBitlockerEntry *outer, GBytes *secret, GError **error)
{
  H2kBitlockerEntry salt, encrypted;
  guint8 digest[DIGEST];
  GBytes *vmk = NULL;

  if (!find_property (outer, H2K_BITLOCKER_VALUE_STRETCH, &salt) || salt.length < 4 + SALT
      || !find_property (outer, H2K_BITLOCKER_VALUE_CCM, &encrypted)
      || !start_digest (secret, h2k_bitlocker_protector (outer), digest))
    return NULL;
  if (stretch (salt.data + 4, digest, error))
    vmk = open_entry (&encrypted, digest, VMK);
  explicit_bzero (digest, sizeof digest);
  return vmk;
}

/* --- all ---------------------------------------------------------------------------------------
 */

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

static GBytes *
unlock_with (const H2kBitlocker *volume, GBytes *secret, gint64 end, GError **error)
{
  gsize left;
  const guint8 *at = g_bytes_get_data (volume->entries, &left);
  H2kBitlockerEntry entry;
  GError *local = NULL;

  while (!local && h2k_bitlocker_next (&at, &left, &entry))
    {
      guint kind = h2k_bitlocker_protector (&entry);
      g_autoptr (GBytes) vmk = NULL;
      GBytes *fvek;

      if ((kind != H2K_BITLOCKER_RECOVERY && kind != H2K_BITLOCKER_PASSWORD)
          || g_get_monotonic_time () > end)
        continue;
      vmk = open_password (&entry, secret, &local);
      fvek = vmk ? open_fvek (volume, vmk) : NULL;
      if (fvek)
        return fvek;
    }
  if (local)
    g_propagate_error (error, local);
  return NULL;
}

GBytes *
h2k_bitlocker_unlock (const H2kBitlocker *volume, GPtrArray *secrets, gint64 *time_left,
                      GError **error)
{
  gint64 start = g_get_monotonic_time ();
  GError *local = NULL;
  GBytes *fvek = NULL;

  h2k_luks_start_gcrypt ();
  for (guint i = 0; !fvek && !local && i < secrets->len; i++)
    fvek = unlock_with (volume, secrets->pdata[i], start + *time_left, &local);
  *time_left = MAX (0, *time_left - (g_get_monotonic_time () - start));
  if (local)
    g_propagate_error (error, local);
  return fvek;
}
