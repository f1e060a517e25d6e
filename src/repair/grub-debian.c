/* grub-debian.c - the devices that Debian's and Ubuntu's grub packages install GRUB to, which are
 * answers in debconf's database (debconf-devel(7)).
 *
 * When a device named there is gone, the next upgrade of grub-pc asks for another one, and fails
 * where nobody answers. No name of a whole disk holds on every bus, so that such names go. When
 * none is left, install_devices_empty says that this is meant: upgrades then succeed and leave
 * the boot sector and the modules that belong to it as they are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/grub-debian.h"
#include "repair/edit.h"

#define DATABASE "/var/cache/debconf/config.dat"
#define REASON                                                                                     \
  "the next upgrade of GRUB's package would look for disks by names that are gone; "               \
  "\"dpkg-reconfigure\" of the package chooses new ones"

/* The lines FIRST to LAST of the question NAME; FALSE: there is none. */
static gboolean
find_question (const H2kLines *lines, const char *name, guint *first, guint *last)
{
  H2kLines *l = (H2kLines *)lines;
  guint n = h2k_lines_count (lines);

  for (guint i = 0; i < n; i++)
    {
      const char *line = h2k_lines_get (l, i);

      if (!g_str_has_prefix (line, "Name: ") || strcmp (line + 6, name) != 0)
        continue;
      *first = *last = i;
      while (*last + 1 < n && *h2k_lines_get (l, *last + 1))
        (*last)++;
      return TRUE;
    }
  return FALSE;
}

/* The line of FIELD ("Value:") in a question; FALSE: none. */
static gboolean
find_field (const H2kLines *lines, guint first, guint last, const char *field, guint *at)
{
  for (*at = first; *at <= last; (*at)++)
    if (g_str_has_prefix (h2k_lines_get ((H2kLines *)lines, *at), field))
      return TRUE;
  return FALSE;
}

/* The devices of VALUE that hold on every bus, partitions renamed. NULL: all of them did. */
static char *
stable_devices (H2kGuest *guest, const char *value)
{
  g_auto (GStrv) devices = g_strsplit (value, ",", 64);
  g_autoptr (GString) out = g_string_new (NULL);
  gboolean changed = FALSE;

  for (guint i = 0; devices[i]; i++)
    {
      const char *device = g_strstrip (devices[i]);
      g_autofree char *name = NULL;
      H2kNameVerdict verdict = h2k_repair_judge_name (guest, device, H2K_NAME_PATH, &name);

      changed |= verdict != H2K_NAME_STABLE;
      if (verdict == H2K_NAME_UNKNOWN || !*device)
        continue;
      g_string_append_printf (out, "%s%s", out->len ? ", " : "", name ? name : device);
    }
  return changed ? g_string_free (g_steal_pointer (&out), FALSE) : NULL;
}

/* Answer the question NAME with yes, as if somebody had. */
static void
answer_yes (H2kLines *lines, const char *name)
{
  guint first, last, at;
  g_autofree char *title = g_strconcat ("Name: ", name, NULL);
  g_autofree char *template = g_strconcat ("Template: ", name, NULL);

  if (!find_question (lines, name, &first, &last))
    {
      const char *const stanza[] = {"", "Flags: seen", "Value: true", template, title};

      /* Before the first one, from its last line up. */
      for (guint i = 0; i < G_N_ELEMENTS (stanza); i++)
        h2k_lines_insert (lines, 0, stanza[i]);
      return;
    }
  if (find_field (lines, first, last, "Value:", &at))
    h2k_lines_set (lines, at, "Value: true");
  else
    {
      h2k_lines_insert (lines, first + 1, "Value: true");
      last++;
    }
  if (!find_field (lines, first, last, "Flags:", &at))
    h2k_lines_insert (lines, last + 1, "Flags: seen");
}

static gboolean
repair_question (H2kRepairContext *context, H2kLines *lines, const char *package)
{
  g_autofree char *name = g_strconcat (package, "/install_devices", NULL);
  g_autofree char *empty = g_strconcat (name, "_empty", NULL);
  g_autofree char *devices = NULL, *line = NULL;
  guint first, last, at;

  if (!find_question (lines, name, &first, &last)
      || !find_field (lines, first, last, "Value:", &at))
    return FALSE;
  devices = stable_devices (context->guest, h2k_lines_get (lines, at) + strlen ("Value:"));
  if (!devices)
    return FALSE;
  line = g_strconcat ("Value: ", devices, NULL);
  h2k_lines_set (lines, at, line);
  if (!*devices)
    answer_yes (lines, empty);
  return TRUE;
}

gboolean
h2k_repair_grub_debconf (H2kRepairContext *context, GError **error)
{
  static const char *const packages[] = {"grub-pc", "grub-efi"};
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, DATABASE, &local);
  gboolean changed = FALSE;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < G_N_ELEMENTS (packages); i++)
    changed |= repair_question (context, lines, packages[i]);
  return !changed || h2k_repair_write_lines (context, DATABASE, lines, REASON, error);
}
