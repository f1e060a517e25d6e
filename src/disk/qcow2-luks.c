/* qcow2-luks.c - encrypted qcow2 images: their LUKS header, and what is in their clusters.
 *
 * Follows docs/interop/qcow2.txt of QEMU, "Full disk encryption header pointer": metadata and the
 * LUKS header are not encrypted, clusters are, with numbers of sectors by their place in the file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/qcow2.h"

#define SECTOR 512u

GBytes *
h2k_qcow2_luks_header (H2kFile *file, const H2kQcow2Header *header, GError **error)
{
  gsize length = (gsize)header->luks_length;
  g_autofree guint8 *data = g_malloc (length);

  return h2k_file_pread (file, header->luks_offset, length, data, error)
             ? g_bytes_new_take (g_steal_pointer (&data), length)
             : NULL;
}

gboolean
h2k_image_luks_read (const char *path, H2kImageKey *key, H2kImageLuks *luks, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_auto (H2kQcow2Header) header = {0};

  if (!file || !h2k_qcow2_header_read (file, FALSE, &header, error))
    return FALSE;
  if (!header.encrypted)
    return TRUE;
  luks->header = h2k_qcow2_luks_header (file, &header, error);
  if (luks->header && key)
    luks->cipher = h2k_image_key_unlock (key, file->name, luks->header, error);
  return luks->header && (!key || luks->cipher);
}

static gboolean
read_sectors (H2kLuksCipher *cipher, H2kFile *file, guint64 offset, gsize length, guint8 *out,
              GError **error)
{
  if (!h2k_file_pread_or_zero (file, offset, length, out, error))
    return FALSE;
  if (h2k_luks_cipher_run (cipher, offset / SECTOR, out, length, FALSE, error))
    return TRUE;
  g_prefix_error (error, "%s: ", file->name);
  return FALSE;
}

gboolean
h2k_qcow2_luks_read (H2kLuksCipher *cipher, H2kFile *file, guint64 offset, gsize length,
                     guint8 *out, GError **error)
{
  gsize skip = (gsize)(offset % SECTOR), whole = (skip + length + SECTOR - 1) / SECTOR * SECTOR;
  g_autofree guint8 *own = NULL;

  if (skip == 0 && whole == length)
    return read_sectors (cipher, file, offset, length, out, error);
  own = g_malloc (whole);
  if (!read_sectors (cipher, file, offset - skip, whole, own, error))
    return FALSE;
  memcpy (out, own + skip, length);
  return TRUE;
}
