/* discover.c - hyper2kvm discover: which disks hold a system that boots.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

int
cmd_discover (int argc, char **argv)
{
  g_autoptr (H2kDiscoverOptions) options = h2k_discover_options_new ();
  gboolean json = FALSE, details = FALSE;
  g_auto (GStrv) keys = NULL;
  const GOptionEntry entries[] = {
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {"details", 'd', 0, G_OPTION_ARG_NONE, &details, "print partitions and hardware, too", NULL},
      {"recursive", 'r', 0, G_OPTION_ARG_NONE, &options->recursive,
       "look into the folders of a folder", NULL},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys, "a LUKS container's key; may be repeated",
       "DEV:file:F"},
      {NULL},
  };
  int code = cmd_parse (&argc, &argv, "[PATH…]",
                        "Says which attached disks, or which of the devices, images and folders of "
                        "images named, hold\na system that boots, and what a VM of each needs. "
                        "Nothing is written or mounted.",
                        entries, NULL, NULL);
  g_autoptr (H2kDiscovery) discovery = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  if (code >= 0)
    return code;
  for (int i = 1; i < argc; i++)
    g_ptr_array_add (options->paths, g_strdup (argv[i]));
  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (options->keys, g_strdup (keys[i]));
  discovery = h2k_discover (options, cmd_cancellable (), &error);
  if (!discovery)
    return cmd_fail (error);
  text = json ? h2k_discovery_to_json (discovery) : h2k_discovery_to_text (discovery, details);
  fputs (text, stdout);
  if (!g_str_has_suffix (text, "\n"))
    putchar ('\n');
  return cmd_end_output (h2k_discovery_unread (discovery) ? EXIT_SOURCE : EXIT_OK);
}
