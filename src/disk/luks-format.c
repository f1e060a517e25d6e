/* luks-format.c - new LUKS1 headers, made by libcryptsetup in memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

#include <errno.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define KEY_SIZE 64u                /* AES-256 in XTS mode has two keys */
#define HEADER_SIZE (2u << 20)      /* what cryptsetup makes, too: eight key slots */
#define FILE_SIZE (HEADER_SIZE * 2) /* it wants to see room for data */
#define SECTOR 512u

guint32 h2k_luks_format_iterations = 1000000;

static void
log_message (int level, const char *message, void *data)
{
  g_autofree char *safe = g_strchomp (h2k_escape_text (message, -1));

  g_debug ("libcryptsetup: %s", safe);
}

/* Its work, in the file PATH. 0, or a negative errno value. */
static int
format (const char *path, GBytes *passphrase, const guint8 *key)
{
  const struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                         .hash = "sha256",
                                         .iterations = h2k_luks_format_iterations,
                                         .flags = CRYPT_PBKDF_NO_BENCHMARK};
  struct crypt_params_luks1 params = {.hash = "sha256", .data_alignment = HEADER_SIZE / SECTOR};
  struct crypt_device *device = NULL;
  gsize length;
  const char *text = g_bytes_get_data (passphrase, &length);
  int result = crypt_init (&device, path);

  if (result < 0)
    return result;
  crypt_set_log_callback (device, log_message, NULL);
  result = crypt_set_pbkdf_type (device, &pbkdf);
  if (result >= 0)
    result = crypt_format (device, CRYPT_LUKS1, "aes", "xts-plain64", NULL, (const char *)key,
                           KEY_SIZE, &params);
  if (result >= 0)
    result = crypt_keyslot_add_by_volume_key (device, 0, (const char *)key, KEY_SIZE, text, length);
  crypt_free (device);
  return MIN (result, 0);
}

/* Key slots that are not in use hold noise, which is worth no space. */
static gboolean
clear_unused (guint8 *data, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (FILE_SIZE);
  g_autoptr (H2kLuksHeader) header = NULL;
  g_autoptr (H2kLuksSlot) slot = NULL;
  guint64 end;

  if (!h2k_disk_pwrite (disk, 0, HEADER_SIZE, data, error)
      || !(header = h2k_luks_header_read (disk, error))
      || !(slot = h2k_luks_slot_read (disk, header, 0, error)))
    return FALSE;
  g_assert (header->data_offset == HEADER_SIZE);
  end = slot->offset + h2k_luks_slot_area (slot);
  memset (data + end, 0, HEADER_SIZE - end);
  return TRUE;
}

static gboolean
random_key (guint8 *key)
{
  for (gsize done = 0; done < KEY_SIZE;)
    {
      ssize_t n = getrandom (key + done, KEY_SIZE - done, 0);
      if (n < 0 && errno != EINTR)
        return FALSE;
      done += n > 0 ? (gsize)n : 0;
    }
  return TRUE;
}

GBytes *
h2k_luks_format (GBytes *passphrase, GBytes **key, GError **error)
{
  int fd = memfd_create ("hyper2kvm-luks", MFD_CLOEXEC), failure = 0;
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autofree guint8 *data = g_malloc (HEADER_SIZE);
  guint8 *bytes;
  g_autoptr (GBytes) own = h2k_secret_new (KEY_SIZE, &bytes);

  if (fd < 0 || ftruncate (fd, FILE_SIZE) != 0 || !random_key (bytes))
    failure = errno;
  if (!failure)
    failure = -format (path, passphrase, bytes);
  if (!failure)
    failure = h2k_pread_full (fd, data, HEADER_SIZE, 0);
  if (fd >= 0)
    close (fd);
  if (failure)
    {
      h2k_set_errno (error, H2K_ERROR_FAILED, failure, "cannot make a LUKS header");
      return NULL;
    }
  if (!clear_unused (data, error))
    return NULL;
  *key = g_steal_pointer (&own);
  return g_bytes_new_take (g_steal_pointer (&data), HEADER_SIZE);
}
