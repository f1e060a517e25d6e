/* luks-cipher.c - the ciphers of LUKS, with libgcrypt.
 *
 * The ciphers and initial values are dm-crypt's (Linux, Documentation/admin-guide/device-mapper).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

#include <gcrypt.h>

typedef enum
{
  IV_PLAIN,   /* the sector's number, 32 bits */
  IV_PLAIN64, /* 64 bits */
  IV_ESSIV,   /* the same, encrypted by the cipher itself with the key's digest */
} Iv;

typedef struct
{
  gcry_cipher_hd_t data, salt; /* SALT: of IV_ESSIV */
} Ciphers;

struct _H2kLuksCipher
{
  gatomicrefcount ref_count;
  guint32 sector;
  int algorithm, salt_algorithm, mode;
  Iv iv;
  guint8 key[128];
  gsize key_size;
  guint8 salt[32];
  GMutex lock;
  GPtrArray *idle; /* Ciphers *: each is used by one thread at a time */
};

static const struct
{
  const char *name;
  gsize key_size;
  int algorithm;
} algorithms[] = {
    {"aes", 16, GCRY_CIPHER_AES128},           {"aes", 24, GCRY_CIPHER_AES192},
    {"aes", 32, GCRY_CIPHER_AES256},           {"serpent", 16, GCRY_CIPHER_SERPENT128},
    {"serpent", 24, GCRY_CIPHER_SERPENT192},   {"serpent", 32, GCRY_CIPHER_SERPENT256},
    {"twofish", 16, GCRY_CIPHER_TWOFISH128},   {"twofish", 32, GCRY_CIPHER_TWOFISH},
    {"camellia", 16, GCRY_CIPHER_CAMELLIA128}, {"camellia", 32, GCRY_CIPHER_CAMELLIA256},
};

static const struct
{
  const char *name;
  int mode;
  Iv iv;
} modes[] = {
    {"xts-plain64", GCRY_CIPHER_MODE_XTS, IV_PLAIN64},
    {"xts-plain", GCRY_CIPHER_MODE_XTS, IV_PLAIN},
    {"cbc-plain", GCRY_CIPHER_MODE_CBC, IV_PLAIN},
    {"cbc-plain64", GCRY_CIPHER_MODE_CBC, IV_PLAIN64},
    {"cbc-essiv:sha256", GCRY_CIPHER_MODE_CBC, IV_ESSIV},
};

static void
ciphers_free (gpointer data)
{
  Ciphers *ciphers = data;

  gcry_cipher_close (ciphers->data); /* wipes the key */
  gcry_cipher_close (ciphers->salt);
  g_free (ciphers);
}

static Ciphers *
ciphers_new (const H2kLuksCipher *c)
{
  Ciphers *ciphers = g_new0 (Ciphers, 1);

  if (gcry_cipher_open (&ciphers->data, c->algorithm, c->mode, 0) == 0
      && gcry_cipher_setkey (ciphers->data, c->key, c->key_size) == 0
      && (c->iv != IV_ESSIV
          || (gcry_cipher_open (&ciphers->salt, c->salt_algorithm, GCRY_CIPHER_MODE_ECB, 0) == 0
              && gcry_cipher_setkey (ciphers->salt, c->salt, sizeof c->salt) == 0)))
    return ciphers;
  ciphers_free (ciphers);
  return NULL;
}

static Ciphers *
take_ciphers (H2kLuksCipher *c)
{
  Ciphers *ciphers = NULL;

  g_mutex_lock (&c->lock);
  if (c->idle->len)
    ciphers = g_ptr_array_steal_index_fast (c->idle, c->idle->len - 1);
  g_mutex_unlock (&c->lock);
  return ciphers ? ciphers : ciphers_new (c);
}

static void
put_ciphers (H2kLuksCipher *c, Ciphers *ciphers)
{
  g_mutex_lock (&c->lock);
  g_ptr_array_add (c->idle, ciphers);
  g_mutex_unlock (&c->lock);
}

static gboolean
make_iv (const H2kLuksCipher *c, Ciphers *ciphers, guint64 number, guint8 iv[16])
{
  guint64 value = GUINT64_TO_LE (c->iv == IV_PLAIN ? number & 0xffffffff : number);

  memset (iv, 0, 16);
  memcpy (iv, &value, sizeof value);
  return c->iv != IV_ESSIV || gcry_cipher_encrypt (ciphers->salt, iv, 16, NULL, 0) == 0;
}

gboolean
h2k_luks_cipher_run (H2kLuksCipher *c, guint64 number, guint8 *data, gsize length, gboolean encrypt,
                     GError **error)
{
  Ciphers *ciphers = take_ciphers (c);
  gboolean ok = ciphers != NULL;

  for (gsize at = 0; ok && at < length; at += c->sector)
    {
      guint8 iv[16];
      ok = make_iv (c, ciphers, number + at / 512, iv)
           && gcry_cipher_setiv (ciphers->data, iv, sizeof iv) == 0
           && (encrypt ? gcry_cipher_encrypt (ciphers->data, data + at, c->sector, NULL, 0)
                       : gcry_cipher_decrypt (ciphers->data, data + at, c->sector, NULL, 0))
                  == 0;
    }
  if (ciphers)
    put_ciphers (c, ciphers);
  if (!ok)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_FAILED, "libgcrypt failed");
  return ok;
}

/* --- making one --------------------------------------------------------------------------------
 */

/* The algorithm that the first LENGTH characters of NAME mean with a key of KEY_SIZE. */
static int
find_algorithm (const char *name, gsize length, gsize key_size)
{
  for (guint i = 0; i < G_N_ELEMENTS (algorithms); i++)
    if (strlen (algorithms[i].name) == length && strncmp (algorithms[i].name, name, length) == 0
        && algorithms[i].key_size == key_size)
      return algorithms[i].algorithm;
  return GCRY_CIPHER_NONE;
}

/* Find the algorithm and mode that TEXT, "aes-xts-plain64", means with a key of KEY_SIZE. */
static gboolean
choose_cipher (H2kLuksCipher *c, const char *text)
{
  gsize name_length = strcspn (text, "-");
  const char *mode = text[name_length] ? text + name_length + 1 : "";
  gboolean found = FALSE;
  gsize key_size;

  for (guint i = 0; i < G_N_ELEMENTS (modes) && !found; i++)
    if (strcmp (modes[i].name, mode) == 0)
      {
        c->mode = modes[i].mode;
        c->iv = modes[i].iv;
        found = TRUE;
      }
  key_size = c->mode == GCRY_CIPHER_MODE_XTS ? c->key_size / 2 : c->key_size;
  c->algorithm = find_algorithm (text, name_length, key_size);
  c->salt_algorithm = find_algorithm (text, name_length, sizeof c->salt);
  return found && c->algorithm != GCRY_CIPHER_NONE;
}

void
h2k_luks_start_gcrypt (void)
{
  static gsize done;

  if (g_once_init_enter (&done))
    {
      if (!gcry_control (GCRYCTL_INITIALIZATION_FINISHED_P))
        {
          gcry_check_version (NULL);
          gcry_control (GCRYCTL_DISABLE_SECMEM, 0);
          gcry_control (GCRYCTL_INITIALIZATION_FINISHED, 0);
        }
      g_once_init_leave (&done, 1);
    }
}

H2kLuksCipher *
h2k_luks_cipher_new (const char *name, GBytes *key, guint32 sector)
{
  H2kLuksCipher *c = g_new0 (H2kLuksCipher, 1);
  gsize key_size;
  const void *data = g_bytes_get_data (key, &key_size);
  Ciphers *ciphers = NULL;

  h2k_luks_start_gcrypt ();
  g_atomic_ref_count_init (&c->ref_count);
  c->sector = sector;
  c->idle = g_ptr_array_new_with_free_func (ciphers_free);
  g_mutex_init (&c->lock);
  if (key_size <= sizeof c->key)
    {
      c->key_size = key_size;
      memcpy (c->key, data, key_size);
      gcry_md_hash_buffer (GCRY_MD_SHA256, c->salt, c->key, key_size);
      ciphers = choose_cipher (c, name) ? ciphers_new (c) : NULL;
    }
  if (ciphers)
    put_ciphers (c, ciphers);
  else
    g_clear_pointer (&c, h2k_luks_cipher_unref);
  return c;
}

H2kLuksCipher *
h2k_luks_cipher_ref (H2kLuksCipher *c)
{
  g_atomic_ref_count_inc (&c->ref_count);
  return c;
}

void
h2k_luks_cipher_unref (H2kLuksCipher *c)
{
  if (!c || !g_atomic_ref_count_dec (&c->ref_count))
    return;
  g_ptr_array_unref (c->idle);
  g_mutex_clear (&c->lock);
  explicit_bzero (c->key, sizeof c->key);
  explicit_bzero (c->salt, sizeof c->salt);
  g_free (c);
}
