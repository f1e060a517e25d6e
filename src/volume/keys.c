/* keys.c - where keys for encrypted volumes are read from; the forms are virt-v2v's, "env" is new.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

/* cryptsetup reads no more of a key file. */
#define MAX_KEY (8u << 20)

typedef struct
{
  char *device; /* "all": any */
  gboolean is_file;
  char *source; /* the file or the variable */
} Key;

struct _H2kKeys
{
  GPtrArray *keys; /* Key * */
};

static void
key_free (gpointer data)
{
  Key *key = data;

  g_free (key->device);
  g_free (key->source);
  g_free (key);
}

H2kKeys *
h2k_keys_new (void)
{
  H2kKeys *keys = g_new0 (H2kKeys, 1);

  keys->keys = g_ptr_array_new_with_free_func (key_free);
  return keys;
}

void
h2k_keys_free (H2kKeys *keys)
{
  if (!keys)
    return;
  g_ptr_array_unref (keys->keys);
  g_free (keys);
}

/* The device's name may have colons (/dev/disk/by-path/...), file names may, too: the first word
 * that says where the key is counts. What may be a secret is not repeated in the message. */
gboolean
h2k_keys_add (H2kKeys *keys, const char *spec, GError **error)
{
  const char *file = strstr (spec, ":file:"), *env = strstr (spec, ":env:");
  gboolean is_file = file && (!env || file < env);
  const char *word = is_file ? file : env;
  const char *source = word ? word + (is_file ? strlen (":file:") : strlen (":env:")) : NULL;
  Key *key;

  if (!word || word == spec || !*source)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "a key is given as DEVICE:file:PATH or DEVICE:env:NAME, where DEVICE is the "
                   "guest's (/dev/sda2, UUID=...) or the word all");
      return FALSE;
    }
  key = g_new0 (Key, 1);
  key->device = g_strndup (spec, (gsize)(word - spec));
  key->is_file = is_file;
  key->source = g_strdup (source);
  g_ptr_array_add (keys->keys, key);
  return TRUE;
}

H2kKeys *
h2k_keys_parse (GPtrArray *specs, GError **error)
{
  g_autoptr (H2kKeys) keys = h2k_keys_new ();

  for (guint i = 0; specs && i < specs->len; i++)
    if (!h2k_keys_add (keys, specs->pdata[i], error))
      return NULL;
  return g_steal_pointer (&keys);
}

/* --- secrets -----------------------------------------------------------------------------------
 */

static void
add_secret (GPtrArray *secrets, const void *data, gsize size)
{
  guint8 *copy;

  g_ptr_array_add (secrets, h2k_secret_new (size, &copy));
  memcpy (copy, data, size);
}

static void
bytes_unref (gpointer data)
{
  g_bytes_unref (data);
}

/* Read from FD to its end; *SIZE is set. -1 and errno, or 0. */
static int
read_all (int fd, guint8 *buffer, gsize capacity, gsize *size)
{
  for (*size = 0; *size < capacity;)
    {
      ssize_t n = read (fd, buffer + *size, capacity - *size);
      if (n == 0)
        return 0;
      if (n < 0 && errno != EINTR)
        return -1;
      *size += n > 0 ? (gsize)n : 0;
    }
  errno = EFBIG;
  return -1;
}

static gboolean
read_file (const char *path, GPtrArray *secrets, GError **error)
{
  int fd = g_open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0), failure = 0;
  guint8 *buffer = fd >= 0 ? g_malloc (MAX_KEY + 1) : NULL;
  gsize size = 0;

  if (fd < 0 || read_all (fd, buffer, MAX_KEY + 1, &size) < 0)
    failure = errno;
  if (fd >= 0)
    close (fd);
  if (failure)
    {
      g_autofree char *safe = h2k_escape_text (path, -1);
      h2k_set_errno (error, H2K_ERROR_SOURCE, failure, "cannot read the key file %s", safe);
    }
  else
    {
      const guint8 *end = memchr (buffer, '\n', size);
      gsize line = end ? (gsize)(end - buffer) : size;
      add_secret (secrets, buffer, line);
      if (line < size)
        add_secret (secrets, buffer, size);
    }
  if (buffer)
    explicit_bzero (buffer, size);
  g_free (buffer);
  return failure == 0;
}

static gboolean
read_key (const Key *key, GPtrArray *secrets, GError **error)
{
  const char *value;

  if (key->is_file)
    return read_file (key->source, secrets, error);
  value = g_getenv (key->source);
  if (value)
    add_secret (secrets, value, strlen (value));
  else
    {
      g_autofree char *safe = h2k_escape_text (key->source, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "the environment variable %s, which should hold a key, is not set", safe);
    }
  return value != NULL;
}

static gboolean
key_is_for (const Key *key, GPtrArray *names, const char *uuid)
{
  const char *device = key->device;

  if (g_ptr_array_find_with_equal_func (names, device, g_str_equal, NULL))
    return TRUE;
  if (g_ascii_strncasecmp (device, "UUID=", 5) == 0)
    device += 5;
  return uuid && g_ascii_strcasecmp (device, uuid) == 0;
}

GPtrArray *
h2k_keys_find (const H2kKeys *keys, GPtrArray *names, const char *uuid, GError **error)
{
  g_autoptr (GPtrArray) secrets = g_ptr_array_new_with_free_func (bytes_unref);

  for (guint pass = 0; keys && pass < 2; pass++)
    for (guint i = 0; i < keys->keys->len; i++)
      {
        const Key *key = keys->keys->pdata[i];
        gboolean for_all = strcmp (key->device, "all") == 0;
        if (pass == 0 ? !for_all && key_is_for (key, names, uuid) : for_all)
          if (!read_key (key, secrets, error))
            return NULL;
      }
  return g_steal_pointer (&secrets);
}

guint
h2k_keys_count (const H2kKeys *keys)
{
  return keys ? keys->keys->len : 0;
}

const char *
h2k_keys_device (const H2kKeys *keys, guint number)
{
  const Key *key = keys->keys->pdata[number];

  return strcmp (key->device, "all") == 0 ? NULL : key->device;
}

gboolean
h2k_keys_is_for (const H2kKeys *keys, guint number, GPtrArray *names, const char *uuid)
{
  return key_is_for (keys->keys->pdata[number], names, uuid);
}
