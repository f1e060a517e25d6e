/* image-key.c - the passphrase of encrypted images.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/image-key.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LUKS1_UUID 168u

struct _H2kImageKey
{
  gatomicrefcount ref_count;
  GBytes *secret;
  GMutex lock;         /* for what follows: held while a header is unlocked, so that it is once */
  H2kImageLuks latest; /* what was unlocked last */
};

/* --- the file --------------------------------------------------------------------------------- */

static gboolean
check_file (int fd, const char *name, GError **error)
{
  struct stat st;
  const char *wrong = NULL;

  if (fstat (fd, &st) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot read the key file %s", name);
      return FALSE;
    }
  if (!S_ISREG (st.st_mode))
    wrong = "is no regular file";
  else if (st.st_mode & 077)
    wrong = "can be read or written by others than its owner: `chmod 600` it";
  else if (st.st_size == 0)
    wrong = "is empty";
  else if (st.st_size > H2K_IMAGE_KEY_MAX)
    wrong = "has more than 64 KiB, which libvirt does not take";
  if (wrong)
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "the key file %s %s", name, wrong);
  return !wrong;
}

static GBytes *
read_secret (int fd, const char *name, GError **error)
{
  guint8 *buffer;
  g_autoptr (GBytes) all = h2k_secret_new (H2K_IMAGE_KEY_MAX, &buffer);
  ssize_t n = 1;
  gsize length = 0;

  while (n > 0 && length < H2K_IMAGE_KEY_MAX)
    {
      n = read (fd, buffer + length, H2K_IMAGE_KEY_MAX - length);
      if (n < 0 && errno == EINTR)
        n = 1;
      else if (n > 0)
        length += (gsize)n;
    }
  if (n < 0)
    h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot read the key file %s", name);
  else if (length == 0 || !g_utf8_validate ((char *)buffer, (gssize)length, NULL))
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "the key file %s is no text (UTF-8), which QEMU wants: make one, for example with "
                 "`openssl rand -base64 32`",
                 name);
  else
    return g_bytes_new_from_bytes (all, 0, length);
  return NULL;
}

H2kImageKey *
h2k_image_key_read (const char *path, GError **error)
{
  g_autofree char *name = h2k_escape_text (path, -1);
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  GBytes *secret;
  H2kImageKey *key;

  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "cannot open the key file %s", name);
      return NULL;
    }
  secret = check_file (fd, name, error) ? read_secret (fd, name, error) : NULL;
  close (fd);
  if (!secret)
    return NULL;
  key = g_new0 (H2kImageKey, 1);
  g_atomic_ref_count_init (&key->ref_count);
  g_mutex_init (&key->lock);
  key->secret = secret;
  return key;
}

H2kImageKey *
h2k_image_key_ref (H2kImageKey *key)
{
  g_atomic_ref_count_inc (&key->ref_count);
  return key;
}

void
h2k_image_key_unref (H2kImageKey *key)
{
  if (!key || !g_atomic_ref_count_dec (&key->ref_count))
    return;
  h2k_image_luks_clear (&key->latest);
  g_mutex_clear (&key->lock);
  g_bytes_unref (key->secret);
  g_free (key);
}

GBytes *
h2k_image_key_secret (const H2kImageKey *key)
{
  return key->secret;
}

/* --- headers ---------------------------------------------------------------------------------- */

void
h2k_image_luks_clear (H2kImageLuks *luks)
{
  g_clear_pointer (&luks->header, g_bytes_unref);
  g_clear_pointer (&luks->cipher, h2k_luks_cipher_unref);
}

static void
keep (H2kImageLuks *latest, GBytes *header, H2kLuksCipher *cipher)
{
  h2k_image_luks_clear (latest);
  latest->header = g_bytes_ref (header);
  latest->cipher = h2k_luks_cipher_ref (cipher);
}

gboolean
h2k_image_luks_new (H2kImageKey *key, H2kImageLuks *luks, GError **error)
{
  g_autoptr (GBytes) volume_key = NULL;

  luks->header = h2k_luks_format (key->secret, &volume_key, error);
  if (!luks->header)
    return FALSE;
  luks->cipher = h2k_luks_cipher_new ("aes-xts-plain64", volume_key, 512);
  if (!luks->cipher)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_FAILED, "libgcrypt has no AES in XTS mode");
      return FALSE;
    }
  g_mutex_lock (&key->lock);
  keep (&key->latest, luks->header, luks->cipher);
  g_mutex_unlock (&key->lock);
  return TRUE;
}

/* HEADER as a container: LUKS' own checks want to see data behind it. */
static H2kDisk *
container (const char *name, GBytes *header, GError **error)
{
  gsize length;
  const void *data = g_bytes_get_data (header, &length);
  g_autoptr (H2kDisk) memory = h2k_memory_disk_new (length + (1 << 20));
  g_autoptr (H2kDisk) named = h2k_slice_new (memory, 0, memory->size, name, error);

  return named && h2k_disk_pwrite (memory, 0, length, data, error) ? g_steal_pointer (&named)
                                                                   : NULL;
}

/* Damage of an image is no damage of a guest's filesystem. */
static void
say_format (GError **error)
{
  if (error && g_error_matches (*error, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    (*error)->code = H2K_ERROR_FORMAT;
}

static H2kLuksHeader *
read_header (H2kDisk *disk, gsize length, GError **error)
{
  g_autoptr (H2kLuksHeader) header = h2k_luks_header_read (disk, error);

  if (!header)
    return NULL;
  if (header->version != 1)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: its encryption header is LUKS%u, but images have LUKS1", disk->name,
                 header->version);
  else if (header->header_size > length)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s: its encryption header is damaged: the key slots do not fit", disk->name);
  else
    return g_steal_pointer (&header);
  return NULL;
}

static H2kLuksCipher *
unlock (GBytes *secret, const char *name, GBytes *header, GError **error)
{
  g_autoptr (H2kDisk) disk = container (name, header, error);
  g_autoptr (H2kLuksHeader) luks
      = disk ? read_header (disk, g_bytes_get_size (header), error) : NULL;
  g_autoptr (GPtrArray) secrets = g_ptr_array_new ();
  g_autoptr (GError) failure = NULL;
  g_autoptr (GBytes) key = NULL;
  gint64 time_left = H2K_LUKS_TIME;
  H2kLuksCipher *cipher;

  if (!luks)
    return NULL;
  g_ptr_array_add (secrets, secret);
  key = h2k_luks_unlock (disk, luks, secrets, &time_left, &failure);
  if (!key)
    {
      if (failure)
        g_propagate_error (error, g_steal_pointer (&failure));
      else
        g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                     "%s: is encrypted, and the key that was given does not open it: a line's end "
                     "at the end of a key file is part of the key",
                     name);
      return NULL;
    }
  cipher = h2k_luks_cipher_new (luks->cipher, key, 512);
  if (!cipher)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: is encrypted by a cipher that is not there", name);
  return cipher;
}

H2kLuksCipher *
h2k_image_key_unlock (H2kImageKey *key, const char *name, GBytes *header, GError **error)
{
  H2kLuksCipher *cipher;

  g_mutex_lock (&key->lock);
  if (key->latest.header && g_bytes_equal (key->latest.header, header))
    cipher = h2k_luks_cipher_ref (key->latest.cipher);
  else
    {
      cipher = unlock (key->secret, name, header, error);
      if (cipher)
        keep (&key->latest, header, cipher);
    }
  g_mutex_unlock (&key->lock);
  if (!cipher)
    say_format (error);
  return cipher;
}

gboolean
h2k_image_luks_uuid (GBytes *header, char uuid[37])
{
  gsize length;
  const char *data = g_bytes_get_data (header, &length);

  if (length < LUKS1_UUID + 36)
    return FALSE;
  memcpy (uuid, data + LUKS1_UUID, 36);
  uuid[36] = '\0';
  return g_uuid_string_is_valid (uuid);
}
