/* edit.c - lines of a guest's text files, and stable names for its volumes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/edit.h"

#define MAX_TEXT (16 * 1024 * 1024)

H2kLines *
h2k_repair_read_lines (H2kRepairContext *context, const char *path, GError **error)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, MAX_TEXT, error);
  gsize size = 0;
  const char *text = data ? g_bytes_get_data (data, &size) : NULL;

  if (!data)
    return NULL;
  if (size && memchr (text, '\0', size))
    {
      h2k_repair_warn (context, "%s is not a text file and was left as it is", path);
      return NULL;
    }
  return h2k_lines_new (data);
}

gboolean
h2k_repair_write_lines (H2kRepairContext *context, const char *path, const H2kLines *lines,
                        const char *reason, GError **error)
{
  g_autoptr (GBytes) data = h2k_lines_to_bytes (lines);

  return h2k_repair_write (context, path, data, 0644, reason, error);
}

char *
h2k_splice (const char *text, gsize start, gsize length, const char *replacement)
{
  GString *out = g_string_new_len (text, (gssize)start);

  g_string_append (out, replacement);
  g_string_append (out, text + start + length);
  return g_string_free (out, FALSE);
}

gboolean
h2k_repair_resume_value (const char *line, gsize *start, gsize *length)
{
  const char *p = line + strspn (line, " \t");

  if (!g_str_has_prefix (p, "RESUME="))
    return FALSE;
  p += strlen ("RESUME=");
  p += *p == '"' || *p == '\'';
  *start = (gsize)(p - line);
  *length = strcspn (p, " \t\"'#;\r");
  return *length > 0;
}

/* --- stable names ----------------------------------------------------------------------------- */

static gboolean
is_unique (H2kGuest *guest, const H2kGuestVolume *volume, gboolean partition)
{
  const char *mine = partition ? volume->volume->part_uuid : volume->id.uuid;

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *other = g_ptr_array_index (guest->volumes, i);
      const char *theirs = partition ? other->volume->part_uuid : other->id.uuid;

      if (other != volume && theirs && g_ascii_strcasecmp (mine, theirs) == 0)
        return FALSE;
    }
  return TRUE;
}

/* Identifiers of the image reach configuration files: only those that look like one do. */
static gboolean
is_identifier (const char *text)
{
  return text && *text && text[strspn (text, "0123456789abcdefABCDEF-")] == '\0';
}

char *
h2k_repair_stable_name (H2kGuest *guest, const H2kGuestVolume *volume, H2kNameStyle style,
                        gboolean content)
{
  static const char *const prefixes[][2] = {
      [H2K_NAME_FSTAB] = {"UUID=", "PARTUUID="},
      [H2K_NAME_CMDLINE] = {"UUID=", "PARTUUID="},
      [H2K_NAME_PATH] = {"/dev/disk/by-uuid/", "/dev/disk/by-partuuid/"},
  };
  gboolean by_uuid = content && is_identifier (volume->id.uuid) && is_unique (guest, volume, FALSE);
  gboolean by_part = is_identifier (volume->volume->part_uuid) && is_unique (guest, volume, TRUE);

  /* The kernel itself knows partitions by their UUIDs, filesystems only the initramfs does. */
  if (style == H2K_NAME_CMDLINE && guest->initramfs == H2K_INITRAMFS_NONE)
    by_uuid = FALSE;
  if (by_uuid)
    return g_strconcat (prefixes[style][0], volume->id.uuid, NULL);
  if (by_part)
    return g_strconcat (prefixes[style][1], volume->volume->part_uuid, NULL);
  return NULL;
}

H2kNameVerdict
h2k_repair_judge_name (H2kGuest *guest, const char *spec, H2kNameStyle style, char **name)
{
  gboolean stable;
  H2kGuestVolume *volume = h2k_guest_find_volume (guest, spec, &stable);

  if (stable)
    return H2K_NAME_STABLE;
  *name = volume ? h2k_repair_stable_name (guest, volume, style, TRUE) : NULL;
  return *name ? H2K_NAME_CHANGES : H2K_NAME_UNKNOWN;
}
