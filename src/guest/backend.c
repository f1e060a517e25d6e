/* backend.c - opens the filesystems on a VM's volumes: by which driver, and why by that one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#include "fs/ntfs.h"

#define NATIVE "native"
#define GUESTFS "libguestfs"
#define BOTH "native, libguestfs"

static void
set_backend (H2kGuestVolume *volume, const char *backend, const char *why)
{
  volume->backend = backend;
  volume->backend_why = why;
}

static gboolean
open_by_guestfs (H2kGuest *guest, H2kGuestVolume *volume, H2kFs *reader, const char *why,
                 GError **error)
{
  set_backend (volume, reader ? BOTH : GUESTFS, why);
  volume->fs = h2k_guestfs_open (guest->guestfs, volume->volume->disk, &volume->id, reader, error);
  return volume->fs != NULL;
}

/* Open VOLUME, which has a type. */
static gboolean
open_volume (H2kGuest *guest, H2kGuestVolume *volume, H2kBackend backend, GError **error)
{
  gboolean guestfs = guest->guestfs && h2k_guestfs_takes (&volume->id);
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (backend == H2K_BACKEND_GUESTFS && guestfs)
    return open_by_guestfs (guest, volume, NULL, "asked for", error);
  fs = h2k_fs_open (volume->volume->disk, &local);
  if (!fs && guestfs && g_error_matches (local, H2K_ERROR, H2K_ERROR_UNSUPPORTED))
    return open_by_guestfs (guest, volume, NULL, "no driver of hyper2kvm reads it", error);
  if (!fs)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (fs->ops->write || !guestfs || fs->frozen || !h2k_disk_is_writable (volume->volume->disk))
    {
      set_backend (volume, NATIVE,
                   fs->ops->write ? "a driver of hyper2kvm reads and writes it"
                                  : "a driver of hyper2kvm reads it");
      volume->fs = g_steal_pointer (&fs);
      return TRUE;
    }
  /* Its log holds changes, which only the kernel replays. */
  if (fs->note)
    return open_by_guestfs (guest, volume, NULL, "it was not unmounted", error);
  return open_by_guestfs (guest, volume, g_steal_pointer (&fs),
                          "a driver of hyper2kvm reads it, libguestfs changes it", error);
}

/* What was opened without looking at it has to stand a look. */
static gboolean
check_volume (H2kGuestVolume *volume, GError **error)
{
  H2kStat st;

  if (strcmp (volume->backend, GUESTFS) != 0
      || volume->fs->ops->lstat (volume->fs, "/", &st, error))
    return TRUE;
  g_clear_pointer (&volume->fs, h2k_fs_free);
  return FALSE;
}

/* Whether VOLUME is one of several that its filesystem lies on, which is a volume of its own. */
static gboolean
is_device (const H2kGuestVolume *volume)
{
  return volume->node->is_member && strcmp (volume->id.type, "btrfs") == 0;
}

/* Whether the files on VOLUME could be changed if its disks could be. */
static gboolean
is_changeable (const H2kGuest *guest, const H2kGuestVolume *volume)
{
  return volume->fs && !volume->fs->frozen
         && (volume->fs->ops->write || (guest->guestfs && h2k_guestfs_takes (&volume->id)));
}

/* Whether WHY is nothing to give up for before it is known that the volume is needed. A filesystem
 * on several devices cannot be read without some of them, which says nothing about the disks. */
static gboolean
is_bearable (const H2kGuestVolume *volume, const GError *why)
{
  return volume->node->problem || g_error_matches (why, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
         || g_error_matches (why, H2K_ERROR, H2K_ERROR_FILESYSTEM)
         || (volume->node->kind == H2K_NODE_BTRFS
             && g_error_matches (why, H2K_ERROR, H2K_ERROR_SOURCE));
}

/* As the user asks for: what the log of an NTFS volume holds is given up. A hibernated one stays
 * as it is, and so does what is only looked at. */
static gboolean
force_dirty (H2kGuest *guest, H2kGuestVolume *volume, GError **error)
{
  const H2kNtfsState *state = h2k_ntfs_state (volume->fs);

  if (!state || !state->log_unclean || state->hibernated
      || !h2k_disk_is_writable (volume->volume->disk))
    return TRUE;
  if (!h2k_ntfs_force (volume->fs, error))
    return FALSE;
  h2k_guest_warn (guest,
                  "%s was not unmounted: what its log held is lost, as --force-dirty asks for; "
                  "Windows checks the volume when it starts",
                  volume->node->name);
  return TRUE;
}

gboolean
h2k_guest_open_filesystems (H2kGuest *guest, const H2kGuestOptions *options, GPtrArray *errors,
                            GError **error)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      GError *why = NULL;

      if (volume->node->problem)
        why = g_error_copy (volume->node->problem);
      else if (*volume->id.type && !is_device (volume))
        open_volume (guest, volume, options->backend, &why);
      if (volume->fs && options->force_dirty && !force_dirty (guest, volume, &why))
        g_clear_pointer (&volume->fs, h2k_fs_free);
      g_ptr_array_add (errors, why);
    }
  /* Only now, since the first look may start the appliance, with all that are known by then. */
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autofree char *name = h2k_guest_volume_name (volume);
      GError **why = (GError **)&errors->pdata[i];

      if (volume->fs)
        check_volume (volume, why);
      if (volume->fs && !volume->fs->frozen)
        volume->fs->frozen = h2k_node_why_read_only (volume->node);
      volume->changeable = is_changeable (guest, volume);
      if (volume->fs && volume->fs->note)
        h2k_guest_warn (guest, "%s (%s): %s", name, volume->id.type, volume->fs->note);
      if (volume->fs)
        g_info ("%s (%s): %s: %s", name, volume->id.type, volume->backend, volume->backend_why);
      if (*why && !is_bearable (volume, *why))
        {
          g_propagate_error (error, g_error_copy (*why));
          return FALSE;
        }
    }
  return TRUE;
}
