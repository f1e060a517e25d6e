/* bytes.c - zero detection, checksums, exact reads and writes, errno errors.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/util.h"

#include <errno.h>
#include <libdeflate.h>
#include <unistd.h>

G_DEFINE_QUARK (hyper2kvm - error - quark, h2k_error)

const char *
h2k_version (void)
{
  return H2K_VERSION;
}

gboolean
h2k_is_zero (const void *data, gsize length)
{
  const guint8 *p = data;
  gsize head = MIN (length, 16);

  for (gsize i = 0; i < head; i++)
    if (p[i])
      return FALSE;
  /* Every byte equals the one 16 before it, and the first 16 are zero. */
  return length <= 16 || memcmp (p, p + 16, length - 16) == 0;
}

guint32
h2k_crc32 (guint32 crc, const void *data, gsize length)
{
  return libdeflate_crc32 (crc, data, length);
}

static guint32 crc32c_table[256];

static gpointer
make_crc32c_table (gpointer unused)
{
  for (guint32 i = 0; i < 256; i++)
    {
      guint32 c = i;
      for (int k = 0; k < 8; k++)
        c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
      crc32c_table[i] = c;
    }
  return NULL;
}

guint32
h2k_crc32c (guint32 crc, const void *data, gsize length)
{
  static GOnce once = G_ONCE_INIT;
  const guint8 *p = data;

  g_once (&once, make_crc32c_table, NULL);
  while (length--)
    crc = crc32c_table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
  return crc;
}

void
h2k_set_errno (GError **error, H2kError code, int err, const char *format, ...)
{
  g_autofree char *prefix = NULL;
  va_list args;

  va_start (args, format);
  prefix = g_strdup_vprintf (format, args);
  va_end (args);
  if (err == ENOSPC || err == EDQUOT)
    code = H2K_ERROR_NO_SPACE;
  g_set_error (error, H2K_ERROR, (int)code, "%s: %s", prefix,
               err == ENODATA ? "unexpected end of file" : g_strerror (err));
}

int
h2k_pread_full (int fd, void *buffer, gsize length, guint64 offset)
{
  guint8 *p = buffer;

  while (length)
    {
      gssize n = pread (fd, p, length, (off_t)offset);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return errno;
      if (n == 0)
        return ENODATA;
      p += n;
      offset += (gsize)n;
      length -= (gsize)n;
    }
  return 0;
}

int
h2k_pwrite_full (int fd, const void *buffer, gsize length, guint64 offset)
{
  const guint8 *p = buffer;

  while (length)
    {
      gssize n = pwrite (fd, p, length, (off_t)offset);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return errno;
      p += n;
      offset += (gsize)n;
      length -= (gsize)n;
    }
  return 0;
}

gboolean
h2k_is_cancelled (GCancellable *cancellable, GError **error)
{
  if (!cancellable || !g_cancellable_is_cancelled (cancellable))
    return FALSE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "interrupted");
  return TRUE;
}
