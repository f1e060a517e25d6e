/* inspect.c - hyper2kvm inspect: what is installed on a VM's disks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

int
cmd_inspect (int argc, char **argv)
{
  g_autofree char *format = NULL;
  g_auto (GStrv) keys = NULL;
  gboolean json = FALSE;
  const GOptionEntry entries[] = {
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &format, "the disks' format (default: found)", "FMT"},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys, "a LUKS container's key; may be repeated",
       "DEV:file:F"},
      {"backend", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_backend,
       "what reads the guest's files: auto (default), native or guestfs", "WHICH"},
      {NULL},
  };
  int code = cmd_parse (&argc, &argv, "DISK…",
                        "Says what is installed on the disks of one VM, first disk first. "
                        "Nothing is written.",
                        entries, NULL, NULL);
  g_autoptr (GPtrArray) paths = g_ptr_array_new (), specs = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  if (code >= 0)
    return code;
  for (int i = 1; i < argc; i++)
    g_ptr_array_add (paths, argv[i]);
  if (paths->len == 0)
    return cmd_usage ("inspect", "no disk is named");
  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (specs, keys[i]);
  g_cancellable_push_current (cmd_cancellable ());
  text = h2k_inspect (paths, format, specs, cmd_backend (), json, &error);
  if (!text)
    return cmd_fail (error);
  fputs (text, stdout);
  if (!g_str_has_suffix (text, "\n"))
    putchar ('\n');
  return cmd_end_output (EXIT_OK);
}
