/* luks-disk.c - what is in a LUKS container, as a disk.
 *
 * A sector's number counts units of 512 bytes, whatever the sector's size.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"

#include "disk/formats.h"

/* How much is decrypted or encrypted in one go. */
#define BUFFER 65536u

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  guint64 start, iv_offset;
  guint32 sector;
  H2kLuksCipher *cipher;
} LuksDisk;

/* LENGTH bytes of whole sectors that lie at OFFSET, in place. */
static gboolean
crypt_sectors (LuksDisk *luks, guint64 offset, guint8 *data, gsize length, gboolean encrypt,
               GError **error)
{
  if (h2k_luks_cipher_run (luks->cipher, offset / 512 + luks->iv_offset, data, length, encrypt,
                           error))
    return TRUE;
  g_prefix_error (error, "%s: ", luks->base.name);
  return FALSE;
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

  h2k_luks_cipher_unref (luks->cipher);
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

H2kDisk *
h2k_luks_disk_new (H2kDisk *disk, const H2kLuksHeader *header, GBytes *key, const char *name,
                   GError **error)
{
  LuksDisk *luks = g_new0 (LuksDisk, 1);
  guint64 size = header->data_length ? header->data_length : disk->size - header->data_offset;

  h2k_disk_init (&luks->base, h2k_disk_is_writable (disk) ? &write_ops : &read_ops,
                 size / header->sector_size * header->sector_size, "luks", name);
  luks->base.sector_size = MAX (header->sector_size, disk->sector_size);
  h2k_disk_add_files (&luks->base, disk);
  luks->disk = h2k_disk_ref (disk);
  luks->start = header->data_offset;
  luks->iv_offset = header->iv_offset;
  luks->sector = header->sector_size;
  luks->cipher = h2k_luks_cipher_new (header->cipher, key, header->sector_size);
  if (luks->cipher)
    return &luks->base;
  h2k_disk_unref (&luks->base);
  {
    g_autofree char *safe = h2k_escape_text (header->cipher, -1);
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: the cipher %s with a key of %" G_GSIZE_FORMAT " bits cannot be used",
                 disk->name, safe, g_bytes_get_size (key) * 8);
  }
  return NULL;
}
