/* guestfs-check.c - filesystems checked by their own tools in the appliance.
 *
 * libguestfs has calls for these checks, but they keep to themselves what xfs_repair(8) finds, and
 * do not tell a check that found something from one that was killed. So the programs are run by
 * guestfsd's "debug sh".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs-private.h"
#include "fs/guestfs-tools.h"

#define OUTPUT_KEPT 65536u /* bytes, from its beginning */
#define STATUS_FILE "/tmp/h2k-check-status"

/* ANSWER is the output, a newline and the exit status. */
static void
read_answer (const char *type, char *answer, H2kFsCheck *check)
{
  char *last = strrchr (g_strchomp (answer), '\n');
  guint64 status;

  if (!last || !g_ascii_string_to_unsigned (last + 1, 10, 0, 255, &status, NULL))
    {
      h2k_fs_check_leave (check, "%s gave no verdict", h2k_guestfs_check_command (type));
      return;
    }
  *last = '\0';
  h2k_guestfs_read_check (type, (guint)status, answer, check);
}

gboolean
h2k_guestfs_run_check (GuestfsFs *fs, GError **error)
{
  g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
  g_autoptr (GError) local = NULL;
  g_autofree char *device = h2k_guestfs_device (fs);
  g_autofree char *script
      = g_strdup_printf ("{ %s %s 2>&1; echo $? >" STATUS_FILE "; } | "
                         "{ head -c %u; cat >/dev/null; }; echo; cat " STATUS_FILE,
                         h2k_guestfs_check_command (fs->base.id.type), device, OUTPUT_KEPT);
  g_autoptr (GTimer) timer = g_timer_new ();
  g_autofree char *answer = h2k_guestfs_shell (fs->guestfs, script, &local);

  check->by = "guestfs";
  if (answer)
    read_answer (fs->base.id.type, answer, check);
  else if (g_error_matches (local, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    h2k_fs_check_leave (check, "%s", local->message); /* the appliance works, but not this */
  else
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  g_info ("%s: %s took %.2f s", fs->base.volume->name, h2k_guestfs_check_command (fs->base.id.type),
          g_timer_elapsed (timer, NULL));
  fs->refused = !fs->check && check->corruptions;
  fs->touched = FALSE;
  h2k_fs_check_free (fs->check);
  fs->check = g_steal_pointer (&check);
  return TRUE;
}

gboolean
h2k_guestfs_is_sound (const GuestfsFs *fs, GError **error)
{
  g_autofree char *found = NULL;

  if (!fs->refused)
    return TRUE;
  found = h2k_fs_check_summary (fs->check);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: the filesystem is corrupt: %s",
               fs->base.volume->name, found);
  return FALSE;
}

gboolean
h2k_guestfs_check (H2kFs *base, H2kFsCheck *check, GError **error)
{
  GuestfsFs *fs = (GuestfsFs *)base;

  check->by = "guestfs";
  if (!h2k_guestfs_check_command (base->id.type))
    h2k_fs_check_leave (check, "there is no check for filesystems of this type");
  else if (!base->writable)
    h2k_fs_check_leave (check, "it is open for reading only");
  else
    {
      fs->wants_check = TRUE;
      /* Mounting it replayed its log. */
      if (fs->mounted && (!h2k_guestfs_unmount (fs, error) || !h2k_guestfs_run_check (fs, error)))
        return FALSE;
      if (fs->check)
        h2k_fs_check_copy (check, fs->check);
      else
        h2k_fs_check_leave (check, "nothing was changed on it, and a libguestfs appliance is not "
                                   "started only to check it");
    }
  return TRUE;
}

const H2kFsCheck *
h2k_guestfs_last_check (H2kFs *base, gboolean *refused)
{
  const GuestfsFs *fs = h2k_guestfs_serves (base) ? (GuestfsFs *)base : NULL;

  if (refused)
    *refused = fs && fs->refused;
  return fs ? fs->check : NULL;
}
