/* filesystems.c - the guest's filesystems are checked before the repairs and after them.
 *
 * Those that a libguestfs appliance changes are checked in it just before the first change, which
 * is in the middle of the repairs, and as they are flushed at their end.
 *
 * What is corrupt before is the guest's matter: nothing is built on it. What is corrupt only after
 * the repairs is a defect of this program: nothing of it gets out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs.h"
#include "migrate/migrate.h"

/* Those that the repairs can change. */
static gboolean
is_mounted (const H2kGuestVolume *volume)
{
  return volume->fs && volume->mountpoint;
}

static char *
describe (const H2kGuestVolume *volume)
{
  return g_strdup_printf ("%s (%s)", volume->node->name, volume->id.type);
}

static void
add_texts (JsonObject *entry, const char *key, GPtrArray *texts)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < texts->len; i++)
    json_array_add_string_element (array, texts->pdata[i]);
  json_object_set_array_member (entry, key, array);
}

static JsonObject *
new_entry (H2kReport *report, const H2kGuestVolume *volume, const char *status)
{
  JsonObject *entry = json_object_new ();
  g_autofree char *name = h2k_escape_text (volume->node->name, -1);

  json_object_set_string_member (entry, "volume", name);
  json_object_set_string_member (entry, "type", volume->id.type);
  json_object_set_string_member (entry, "status", status);
  json_array_add_object_element (h2k_report_array (report->root, "filesystems"), entry);
  return entry;
}

static void
fill_entry (JsonObject *entry, const H2kFsCheck *check)
{
  json_object_set_string_member (entry, "status",
                                 !check->checked      ? "not checked"
                                 : check->corruptions ? "corrupt"
                                                      : "clean");
  if (!check->checked)
    {
      json_object_set_string_member (entry, "reason", check->reason);
      return;
    }
  if (json_object_has_member (entry, "reason"))
    json_object_remove_member (entry, "reason");
  json_object_set_string_member (entry, "checked_by", check->by);
  json_object_set_int_member (entry, "corruptions", (gint64)check->corruptions);
  json_object_set_int_member (entry, "notes", (gint64)check->notes);
  json_object_set_boolean_member (entry, "checked_after_repair", FALSE);
  add_texts (entry, "findings", check->findings);
  add_texts (entry, "remarks", check->remarks);
}

static gboolean
refuse_before (const H2kGuestVolume *volume, const H2kFsCheck *check, GError **error)
{
  g_autofree char *name = describe (volume), *found = h2k_fs_check_summary (check);

  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: the filesystem is corrupt: %s. Run %s on it in the virtual machine (or on "
               "a copy of the disk) and migrate again, or give --skip-fsck to migrate it as it "
               "is",
               name, found, g_str_equal (volume->id.type, "ntfs") ? "\"chkdsk /f\"" : "fsck");
  return FALSE;
}

static gboolean
refuse_after (JsonObject *entry, const H2kGuestVolume *volume, const H2kFsCheck *check,
              GError **error)
{
  g_autofree char *name = describe (volume), *found = h2k_fs_check_summary (check);

  fill_entry (entry, check);
  json_object_set_boolean_member (entry, "checked_after_repair", TRUE);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: the filesystem was in order and is corrupt after the repairs: %s. This is a "
               "defect of hyper2kvm, nothing was kept",
               name, found);
  return FALSE;
}

static H2kFsCheck *
check_volume (const H2kFilesystemChecks *checks, const H2kGuestVolume *volume, GError **error)
{
  g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
  g_autoptr (GTimer) timer = g_timer_new ();
  g_autofree char *name = describe (volume);

  check->progress = checks->progress;
  check->progress_data = checks->progress_data;
  if (!h2k_fs_check (volume->fs, check, checks->cancellable, error))
    {
      g_prefix_error (error, "%s: checking the filesystem: ", name);
      return NULL;
    }
  if (!check->checked)
    g_info ("%s: not checked: %s", name, check->reason);
  else
    g_info ("%s: %" G_GUINT64_FORMAT " faults, %" G_GUINT64_FORMAT " remarks, %.2f s", name,
            check->corruptions, check->notes, g_timer_elapsed (timer, NULL));
  for (guint i = 0; i < check->remarks->len; i++)
    g_info ("%s: %s", name, (char *)check->remarks->pdata[i]);
  return g_steal_pointer (&check);
}

gboolean
h2k_check_filesystems_before (const H2kFilesystemChecks *checks, GError **error)
{
  for (guint i = 0; i < checks->guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = checks->guest->volumes->pdata[i];
      g_autoptr (H2kFsCheck) check = NULL;

      if (!is_mounted (volume))
        continue;
      check = check_volume (checks, volume, error);
      if (!check)
        return FALSE;
      fill_entry (new_entry (checks->report, volume, ""), check);
      if (check->corruptions)
        return refuse_before (volume, check, error);
    }
  return TRUE;
}

void
h2k_skip_filesystem_checks (const H2kFilesystemChecks *checks)
{
  for (guint i = 0; i < checks->guest->volumes->len; i++)
    if (is_mounted (checks->guest->volumes->pdata[i]))
      new_entry (checks->report, checks->guest->volumes->pdata[i], "skipped");
}

/* The entry of the mounted volume number I. */
static JsonObject *
nth_entry (const H2kFilesystemChecks *checks, guint i)
{
  JsonArray *array = h2k_report_array (checks->report->root, "filesystems");

  return json_array_get_object_element (array, i);
}

/* Changes were made, and an appliance that cannot tell whether they are sound. */
static void
warn_unchecked (const H2kFilesystemChecks *checks, const H2kGuestVolume *volume,
                const H2kFsCheck *check)
{
  g_autofree char *name = describe (volume);
  g_autofree char *text
      = g_strdup_printf ("%s: it was changed, but is not checked: %s", name, check->reason);

  g_warning ("%s", text);
  h2k_report_warning (checks->report, text);
}

gboolean
h2k_check_filesystems_changed (const H2kFilesystemChecks *checks, gboolean ok, GError **error)
{
  guint n = 0;

  for (guint i = 0; i < checks->guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = checks->guest->volumes->pdata[i];
      const H2kFsCheck *check;
      JsonObject *entry;
      gboolean refused;

      if (!is_mounted (volume))
        continue;
      entry = nth_entry (checks, n++);
      check = h2k_guestfs_last_check (volume->fs, &refused);
      if (!check)
        continue;
      fill_entry (entry, check);
      if (!check->checked)
        warn_unchecked (checks, volume, check);
      if (!check->corruptions || (!ok && !refused))
        continue;
      g_clear_error (error); /* the repair's, which could not change it */
      return refused ? refuse_before (volume, check, error)
                     : refuse_after (entry, volume, check, error);
    }
  return ok;
}

gboolean
h2k_check_filesystems_after (const H2kFilesystemChecks *checks, GError **error)
{
  guint n = 0;

  for (guint i = 0; i < checks->guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = checks->guest->volumes->pdata[i];
      g_autoptr (H2kFsCheck) check = NULL;
      JsonObject *entry;

      if (!is_mounted (volume))
        continue;
      entry = nth_entry (checks, n++);
      if (!volume->fs->writable)
        continue;
      check = check_volume (checks, volume, error);
      if (!check)
        return FALSE;
      if (check->corruptions)
        return refuse_after (entry, volume, check, error);
      if (check->checked)
        json_object_set_boolean_member (entry, "checked_after_repair", TRUE);
    }
  return TRUE;
}
