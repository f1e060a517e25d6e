/* fs.c - finds the driver for a volume and opens it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"
#include "fs/btrfs.h"
#include "fs/ext.h"
#include "fs/fat.h"
#include "fs/ntfs.h"
#include "fs/xfs.h"

static const H2kFsOps *const drivers[]
    = {&h2k_ext_ops, &h2k_fat_ops, &h2k_ntfs_ops, &h2k_xfs_ops, &h2k_btrfs_ops};

void
h2k_fs_init (H2kFs *fs, const H2kFsOps *ops, H2kDisk *volume, const H2kFsId *id)
{
  fs->ops = ops;
  fs->volume = h2k_disk_ref (volume);
  fs->id = *id;
  fs->writable = ops->write && h2k_disk_is_writable (volume);
}

void
h2k_subvolume_free (H2kSubvolume *subvolume)
{
  if (subvolume)
    g_free (subvolume->path);
  g_free (subvolume);
}

gboolean
h2k_fs_check_writable (H2kFs *fs, GError **error)
{
  if (fs->writable && !fs->frozen)
    return TRUE;
  if (fs->frozen)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: files on it can be read, but not changed, because %s", fs->volume->name,
                 fs->frozen);
  else if (!fs->ops->write)
    g_set_error (
        error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
        "%s: files on a volume of type %s can be read, but not changed without libguestfs, which "
        "--backend=native leaves out",
        fs->volume->name, fs->id.type);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                 "%s: the filesystem is open for reading only", fs->volume->name);
  return FALSE;
}

H2kFs *
h2k_fs_open (H2kDisk *volume, GError **error)
{
  H2kFsId id;

  if (!h2k_fs_identify (volume, &id, error))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (drivers); i++)
    if (drivers[i]->takes (&id))
      /* cppcheck-suppress returnDanglingLifetime ; the driver copies the id */
      return drivers[i]->open (volume, &id, error);

  if (!id.type[0])
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: no known filesystem is on this volume", volume->name);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: files on a volume of type %s cannot be read or changed", volume->name,
                 id.type);
  return NULL;
}

void
h2k_fs_free (H2kFs *fs)
{
  H2kDisk *volume;

  if (!fs)
    return;
  volume = fs->volume;
  g_clear_pointer (&fs->note, g_free);
  g_clear_pointer (&fs->frozen, g_free);
  fs->ops->close (fs);
  h2k_disk_unref (volume);
}
