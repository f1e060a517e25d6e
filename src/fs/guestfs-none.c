/* guestfs-none.c - in place of the others where libguestfs was left out at build time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs.h"

H2kGuestfs *
h2k_guestfs_new (H2kKvmFunc kvm_works)
{
  return NULL;
}

void
h2k_guestfs_free (H2kGuestfs *guestfs)
{
}

gboolean
h2k_guestfs_available (void)
{
  return FALSE;
}

gboolean
h2k_guestfs_takes (const H2kFsId *id)
{
  return FALSE;
}

H2kFs *
h2k_guestfs_open (H2kGuestfs *guestfs, H2kDisk *volume, const H2kFsId *id, H2kFs *reader,
                  GError **error)
{
  h2k_fs_free (reader);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: this hyper2kvm was built without libguestfs, which %s needs", volume->name,
               id->type);
  return NULL;
}

gboolean
h2k_guestfs_serves (const H2kFs *fs)
{
  return FALSE;
}

gboolean
h2k_guestfs_check (H2kFs *fs, H2kFsCheck *check, GError **error)
{
  return TRUE;
}

const H2kFsCheck *
h2k_guestfs_last_check (H2kFs *fs, gboolean *refused)
{
  return NULL;
}
