/* fstab.c - fstab(5), crypttab(5) and initramfs-tools' resume file name volumes by UUID.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/fstab.h"
#include "repair/edit.h"
#include "repair/repairs.h"

#define FSTAB "/etc/fstab"
#define CRYPTTAB "/etc/crypttab"
#define REASON "device names such as /dev/sda1 change with the disks' bus, UUIDs do not"

static gboolean
fstab_applies (H2kRepairContext *context)
{
  H2kTree *tree = context->guest->tree;

  return h2k_tree_is_file (tree, FSTAB) || h2k_tree_is_file (tree, CRYPTTAB)
         || h2k_tree_is_dir (tree, "/etc/initramfs-tools");
}

/* --- fstab ------------------------------------------------------------------------------------ */

/* Whether the entry's type and what is on the volume exclude each other: then the name means
 * another disk than the one that was given in its place. */
static gboolean
contradicts (const H2kFstabEntry *entry, const H2kGuestVolume *volume)
{
  if (!*volume->id.type || !*entry->type || strcmp (entry->type, "auto") == 0
      || strcmp (entry->type, "none") == 0)
    return FALSE;
  if (g_str_has_prefix (entry->type, "ext") && g_str_has_prefix (volume->id.type, "ext"))
    return FALSE;
  /* One format, several drivers. */
  if (g_str_has_prefix (volume->id.type, "vfat") || g_str_has_prefix (volume->id.type, "ntfs"))
    return g_str_has_prefix (entry->type, "ext") || strcmp (entry->type, "swap") == 0;
  return strcmp (entry->type, volume->id.type) != 0;
}

/* systemd and its predecessors wait for what fstab names and stop in an emergency shell when it
 * does not come, unless the entry says that it may be missing. */
static gboolean
stops_boot (const H2kFstabEntry *entry)
{
  return strcmp (entry->type, "swap") != 0 && !h2k_fstab_has_option (entry, "nofail")
         && !h2k_fstab_has_option (entry, "noauto");
}

static gboolean
unknown_entry (H2kRepairContext *context, const H2kFstabEntry *entry, const char *why,
               GError **error)
{
  g_autofree char *text
      = g_strdup_printf ("%s mounts %s from %s, %s", FSTAB, entry->path, entry->spec, why);
  g_autofree char *safe = h2k_escape_text (text, -1);

  if (!stops_boot (entry))
    {
      h2k_repair_warn (context, "%s; the entry was left as it is, the guest boots without it",
                       text);
      return TRUE;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
               "%s; the guest would stop at boot waiting for it. Give every disk of the VM in its "
               "order, or name the volume by UUID or with the option nofail in the guest's %s",
               safe, FSTAB);
  return FALSE;
}

/* The stable name for an entry in NAME, or NULL when it stays as it is. */
static gboolean
judge_entry (H2kRepairContext *context, const H2kFstabEntry *entry, char **name, GError **error)
{
  H2kGuest *guest = context->guest;
  gboolean stable;
  H2kGuestVolume *volume = h2k_guest_find_volume (guest, entry->spec, &stable);

  *name = NULL;
  if (stable)
    return TRUE;
  if (strcmp (entry->path, "/") == 0)
    volume = guest->root;
  if (!volume)
    return unknown_entry (context, entry, "which is on none of the disks that were given", error);
  if (contradicts (entry, volume))
    {
      g_autofree char *why
          = g_strdup_printf ("but the volume that name would mean holds %s, not %s",
                             volume->id.type, entry->type);
      return unknown_entry (context, entry, why, error);
    }
  *name = h2k_repair_stable_name (guest, volume, H2K_NAME_FSTAB, TRUE);
  if (!*name)
    return unknown_entry (context, entry,
                          "which has neither a UUID nor a PARTUUID of its own (is a copy of "
                          "the disk attached?)",
                          error);
  return TRUE;
}

static gboolean
repair_fstab (H2kRepairContext *context, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, FSTAB, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autoptr (H2kFstabEntry) entry = h2k_fstab_parse (line);
      g_autofree char *name = NULL, *changed = NULL;

      if (!entry || !h2k_fstab_is_device (entry))
        continue;
      if (!judge_entry (context, entry, &name, error))
        return FALSE;
      if (!name)
        continue;
      changed = h2k_splice (line, entry->spec_start, entry->spec_length, name);
      h2k_lines_set (lines, i, changed);
    }
  return !lines || h2k_repair_write_lines (context, FSTAB, lines, REASON, error);
}

/* --- crypttab --------------------------------------------------------------------------------- */

/* Only LUKS has a UUID that stays: a plain volume (swap with a random key) is written over at each
 * start, and what looks like one there is a leftover. */
static char *
crypt_name (H2kGuest *guest, const char *spec, gboolean *stable)
{
  H2kGuestVolume *volume = h2k_guest_find_volume (guest, spec, stable);
  gboolean luks = volume && strcmp (volume->id.type, "crypto_LUKS") == 0;

  return volume && !*stable ? h2k_repair_stable_name (guest, volume, H2K_NAME_FSTAB, luks) : NULL;
}

static gboolean
repair_crypttab (H2kRepairContext *context, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, CRYPTTAB, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autofree char *spec = NULL, *name = NULL, *changed = NULL;
      gsize start, length;
      gboolean stable;

      if (!h2k_fstab_field (line, 1, &start, &length))
        continue;
      spec = g_strndup (line + start, length);
      name = crypt_name (context->guest, spec, &stable);
      if (!stable && !name)
        h2k_repair_warn (context,
                         "%s opens %s, which is on none of the disks or has no UUID; the entry was "
                         "left as it is",
                         CRYPTTAB, spec);
      if (!name)
        continue;
      changed = h2k_splice (line, start, length, name);
      h2k_lines_set (lines, i, changed);
    }
  return !lines || h2k_repair_write_lines (context, CRYPTTAB, lines, REASON, error);
}

/* --- resume ----------------------------------------------------------------------------------- */

static gboolean
repair_resume (H2kRepairContext *context, const char *path, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autofree char *spec = NULL, *name = NULL, *changed = NULL;
      gsize start, length;

      if (!h2k_repair_resume_value (line, &start, &length))
        continue;
      spec = g_strndup (line + start, length);
      switch (h2k_repair_judge_name (context->guest, spec, H2K_NAME_FSTAB, &name))
        {
        case H2K_NAME_CHANGES:
          changed = h2k_splice (line, start, length, name);
          h2k_lines_set (lines, i, changed);
          break;
        case H2K_NAME_UNKNOWN:
          h2k_repair_warn (context, "%s resumes from %s, which is on none of the disks", path,
                           spec);
          break;
        case H2K_NAME_STABLE:
        default:
          break;
        }
    }
  return !lines || h2k_repair_write_lines (context, path, lines, REASON, error);
}

static gboolean
fstab_run (H2kRepairContext *context, GError **error)
{
  static const char *const patterns[]
      = {"/etc/initramfs-tools/initramfs.conf", "/etc/initramfs-tools/conf.d/*"};

  if (!repair_fstab (context, error) || !repair_crypttab (context, error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (patterns); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (context->guest->tree, patterns[i]);
      for (guint k = 0; k < paths->len; k++)
        if (!repair_resume (context, paths->pdata[k], error))
          return FALSE;
    }
  return TRUE;
}

const H2kRepair h2k_repair_fstab = {
    .name = "fstab",
    .flag = H2K_REPAIR_FSTAB,
    .why = "fstab and crypttab must name volumes so that the disks' bus does not matter",
    .applies = fstab_applies,
    .run = fstab_run,
};
