/* udev.c - rules that gave a name to the MAC of a network card of the old hypervisor go.
 *
 * Old udev wrote them by itself (75-persistent-net-generator.rules); a VM that gets a new MAC then
 * finds its eth0 taken and comes up as eth1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"

static const char *const files[] = {
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/udev/rules.d/30-net_persistent_names.rules",
    "/etc/udev/rules.d/z25_persistent-net.rules",
};

/* A rule that names a network card by its MAC, in either of udev's ways to write it. */
static gboolean
is_net_name_rule (const char *line)
{
  return *line != '#' && strstr (line, "NAME=")
         && (strstr (line, "ATTR{address}") || strstr (line, "ATTRS{address}")
             || strstr (line, "SYSFS{address}"))
         && (strstr (line, "\"net\"") || strstr (line, "KERNEL==\"eth"));
}

static gboolean
is_empty_or_comment (const char *line)
{
  line += strspn (line, " \t");
  return *line == '\0' || *line == '#';
}

/* Remove the file, or only the rules in question when it holds others. */
static gboolean
clean (H2kRepairContext *context, const char *path, GBytes *data, GError **error)
{
  static const char reason[] = "the names are tied to MACs of the old hypervisor's network cards";
  g_autoptr (H2kLines) lines = h2k_lines_new (data);
  gboolean others = FALSE;

  for (guint i = h2k_lines_count (lines); i-- > 0;)
    {
      const char *line = h2k_lines_get (lines, i);
      if (is_net_name_rule (line))
        h2k_lines_remove (lines, i);
      else
        others |= !is_empty_or_comment (line);
    }
  if (!others)
    return h2k_repair_remove (context, path, reason, error);
  g_autoptr (GBytes) after = h2k_lines_to_bytes (lines);
  return h2k_repair_write (context, path, after, 0644, reason, error);
}

static gboolean
applies (H2kRepairContext *context)
{
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    if (h2k_tree_is_link (context->guest->tree, files[i])
        || h2k_tree_exists (context->guest->tree, files[i]))
      return TRUE;
  return FALSE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  H2kTree *tree = context->guest->tree;

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autoptr (GBytes) data = NULL;
      /* A link to /dev/null is how administrators turn the generator off. */
      if (!h2k_tree_is_file (tree, files[i]))
        continue;
      data = h2k_tree_read (tree, files[i], 0, error);
      if (!data || !clean (context, files[i], data, error))
        return FALSE;
    }
  return TRUE;
}

const H2kRepair h2k_repair_udev = {
    .name = "udev",
    .flag = H2K_REPAIR_UDEV,
    .why = "persistent-net rules hold the MACs of network cards that are gone",
    .applies = applies,
    .run = run,
};
