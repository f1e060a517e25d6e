/* luks-disk.c - what is in a LUKS container, as a disk.
 *
 * The ciphers and initial values are dm-crypt's (Linux, Documentation/admin-guide/device-mapper).
 * A sector's number counts units of 512 bytes, whatever the sector's size.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/luks.h"

#include "disk/formats.h"

#include <gcrypt.h>

/* How much is decrypted or encrypted in one go. */
#define BUFFER 65536u

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

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  guint64 start, iv_offset;
  guint32 sector;
  int algorithm, salt_algorithm, mode;
  Iv iv;
  guint8 key[128];
  gsize key_size;
  guint8 salt[32];
  GMutex lock;
  GPtrArray *idle; /* Ciphers *: each is used by one thread at a time */
} LuksDisk;

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

/* --- ciphers -----------------------------------------------------------------------------------
 */

static void
ciphers_free (gpointer data)
{
  Ciphers *ciphers = data;

  gcry_cipher_close (ciphers->data); /* wipes the key */
  gcry_cipher_close (ciphers->salt);
  g_free (ciphers);
}

static Ciphers *
ciphers_new (const LuksDisk *luks)
{
  Ciphers *ciphers = g_new0 (Ciphers, 1);

  if (gcry_cipher_open (&ciphers->data, luks->algorithm, luks->mode, 0) == 0
      && gcry_cipher_setkey (ciphers->data, luks->key, luks->key_size) == 0
      && (luks->iv != IV_ESSIV
          || (gcry_cipher_open (&ciphers->salt, luks->salt_algorithm, GCRY_CIPHER_MODE_ECB, 0) == 0
              && gcry_cipher_setkey (ciphers->salt, luks->salt, sizeof luks->salt) == 0)))
    return ciphers;
  ciphers_free (ciphers);
  return NULL;
}

static Ciphers *
take_ciphers (LuksDisk *luks)
{
  Ciphers *ciphers = NULL;

  g_mutex_lock (&luks->lock);
  if (luks->idle->len)
    ciphers = g_ptr_array_steal_index_fast (luks->idle, luks->idle->len - 1);
  g_mutex_unlock (&luks->lock);
  return ciphers ? ciphers : ciphers_new (luks);
}

static void
put_ciphers (LuksDisk *luks, Ciphers *ciphers)
{
  g_mutex_lock (&luks->lock);
  g_ptr_array_add (luks->idle, ciphers);
  g_mutex_unlock (&luks->lock);
}

static gboolean
make_iv (const LuksDisk *luks, Ciphers *ciphers, guint64 number, guint8 iv[16])
{
  guint64 value = GUINT64_TO_LE (luks->iv == IV_PLAIN ? number & 0xffffffff : number);

  memset (iv, 0, 16);
  memcpy (iv, &value, sizeof value);
  return luks->iv != IV_ESSIV || gcry_cipher_encrypt (ciphers->salt, iv, 16, NULL, 0) == 0;
}

/* LENGTH bytes of whole sectors that lie at OFFSET, in place. */
static gboolean
crypt_sectors (LuksDisk *luks, guint64 offset, guint8 *data, gsize length, gboolean encrypt,
               GError **error)
{
  Ciphers *ciphers = take_ciphers (luks);
  gboolean ok = ciphers != NULL;

  for (gsize at = 0; ok && at < length; at += luks->sector)
    {
      guint8 iv[16];
      ok = make_iv (luks, ciphers, (offset + at) / 512 + luks->iv_offset, iv)
           && gcry_cipher_setiv (ciphers->data, iv, sizeof iv) == 0
           && (encrypt ? gcry_cipher_encrypt (ciphers->data, data + at, luks->sector, NULL, 0)
                       : gcry_cipher_decrypt (ciphers->data, data + at, luks->sector, NULL, 0))
                  == 0;
    }
  if (ciphers)
    put_ciphers (luks, ciphers);
  if (!ok)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: libgcrypt failed", luks->base.name);
  return ok;
}

/* --- reading and writing -----------------------------------------------------------------------
 */

static gboolean
read_sectors (LuksDisk *luks, guint64 offset, gsize length, guint8 *data, GError **error)
{
  return h2k_disk_pread (luks->disk, luks->start + offset, length, data, error)
         && crypt_sectors (luks, offset, data, length, FALSE, error);
}

/* What of a request can be done next: up to BUFFER bytes from a sector's start on. */
static gsize
next_run (const LuksDisk *luks, guint64 offset, gsize length, guint64 *first, gsize *skip)
{
  *skip = (gsize)(offset % luks->sector);
  *first = offset - *skip;
  return MIN (length, BUFFER - *skip);
}

static gsize
round_up (const LuksDisk *luks, gsize length)
{
  return (length + luks->sector - 1) / luks->sector * luks->sector;
}

static gboolean
luks_pread (H2kDisk *base, guint64 offset, gsize length, void *buffer, GError **error)
{
  LuksDisk *luks = (LuksDisk *)base;
  g_autofree guint8 *own = NULL;

  /* Whole sectors are decrypted where they are wanted. */
  if (offset % luks->sector == 0 && length % luks->sector == 0)
    return read_sectors (luks, offset, length, buffer, error);
  own = g_malloc (BUFFER);
  for (guint8 *p = buffer; length;)
    {
      guint64 first;
      gsize skip, n = next_run (luks, offset, length, &first, &skip);

      if (!read_sectors (luks, first, round_up (luks, skip + n), own, error))
        return FALSE;
      memcpy (p, own + skip, n);
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
luks_pwrite (H2kDisk *base, guint64 offset, gsize length, const void *buffer, GError **error)
{
  LuksDisk *luks = (LuksDisk *)base;
  g_autofree guint8 *own = g_malloc (BUFFER);

  for (const guint8 *p = buffer; length;)
    {
      guint64 first;
      gsize skip, n = next_run (luks, offset, length, &first, &skip);
      gsize whole = round_up (luks, skip + n);

      /* The rest of the first and the last sector stays. */
      if ((skip && !read_sectors (luks, first, luks->sector, own, error))
          || (skip + n < whole && !(skip && whole == luks->sector)
              && !read_sectors (luks, first + whole - luks->sector, luks->sector,
                                own + whole - luks->sector, error)))
        return FALSE;
      memcpy (own + skip, p, n);
      if (!crypt_sectors (luks, first, own, whole, TRUE, error)
          || !h2k_disk_pwrite (luks->disk, luks->start + first, whole, own, error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
luks_flush (H2kDisk *base, GError **error)
{
  return h2k_disk_flush (((LuksDisk *)base)->disk, error);
}

static void
luks_finalize (H2kDisk *base)
{
  LuksDisk *luks = (LuksDisk *)base;

  g_ptr_array_unref (luks->idle);
  g_mutex_clear (&luks->lock);
  explicit_bzero (luks->key, sizeof luks->key);
  explicit_bzero (luks->salt, sizeof luks->salt);
  h2k_disk_unref (luks->disk);
}

/* What was never written reads as noise: there are no extents but data. */
static const H2kDiskOps read_ops = {
    .pread = luks_pread,
    .finalize = luks_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = luks_pread,
    .pwrite = luks_pwrite,
    .flush = luks_flush,
    .finalize = luks_finalize,
};

/* --- opening -----------------------------------------------------------------------------------
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
choose_cipher (LuksDisk *luks, const char *text)
{
  gsize name_length = strcspn (text, "-");
  const char *mode = text[name_length] ? text + name_length + 1 : "";
  gboolean found = FALSE;
  gsize key_size;

  for (guint i = 0; i < G_N_ELEMENTS (modes) && !found; i++)
    if (strcmp (modes[i].name, mode) == 0)
      {
        luks->mode = modes[i].mode;
        luks->iv = modes[i].iv;
        found = TRUE;
      }
  key_size = luks->mode == GCRY_CIPHER_MODE_XTS ? luks->key_size / 2 : luks->key_size;
  luks->algorithm = find_algorithm (text, name_length, key_size);
  luks->salt_algorithm = find_algorithm (text, name_length, sizeof luks->salt);
  return found && luks->algorithm != GCRY_CIPHER_NONE;
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

H2kDisk *
h2k_luks_disk_new (H2kDisk *disk, const H2kLuksHeader *header, GBytes *key, const char *name,
                   GError **error)
{
  LuksDisk *luks = g_new0 (LuksDisk, 1);
  guint64 size = header->data_length ? header->data_length : disk->size - header->data_offset;
  Ciphers *ciphers = NULL;
  gsize key_size;
  const void *data = g_bytes_get_data (key, &key_size);

  h2k_luks_start_gcrypt ();
  h2k_disk_init (&luks->base, h2k_disk_is_writable (disk) ? &write_ops : &read_ops,
                 size / header->sector_size * header->sector_size, "luks", name);
  luks->base.sector_size = MAX (header->sector_size, disk->sector_size);
  h2k_disk_add_files (&luks->base, disk);
  luks->disk = h2k_disk_ref (disk);
  luks->start = header->data_offset;
  luks->iv_offset = header->iv_offset;
  luks->sector = header->sector_size;
  luks->idle = g_ptr_array_new_with_free_func (ciphers_free);
  g_mutex_init (&luks->lock);
  if (key_size <= sizeof luks->key)
    {
      luks->key_size = key_size;
      memcpy (luks->key, data, key_size);
      gcry_md_hash_buffer (GCRY_MD_SHA256, luks->salt, luks->key, key_size);
      ciphers = choose_cipher (luks, header->cipher) ? ciphers_new (luks) : NULL;
    }
  if (ciphers)
    {
      put_ciphers (luks, ciphers);
      return &luks->base;
    }
  h2k_disk_unref (&luks->base);
  {
    g_autofree char *safe = h2k_escape_text (header->cipher, -1);
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: the cipher %s with a key of %" G_GSIZE_FORMAT " bits cannot be used",
                 disk->name, safe, key_size * 8);
  }
  return NULL;
}
