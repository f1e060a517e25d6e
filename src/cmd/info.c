/* info.c - hyper2kvm info: what a disk image is, and the images below it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

int
cmd_info (int argc, char **argv)
{
  g_autofree char *format = NULL;
  gboolean json = FALSE;
  const GOptionEntry entries[] = {
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &format, "the image's format (default: found)",
       "FMT"},
      {NULL},
  };
  int code = cmd_parse (&argc, &argv, "IMAGE",
                        "Says what a disk image is: format, sizes, and the images that it builds "
                        "on.",
                        entries, NULL, NULL);
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  if (code >= 0)
    return code;
  if (argc != 2)
    return cmd_usage ("info", argc < 2 ? "no image is named" : "one image at a time");
  text = h2k_image_info (argv[1], format, json, &error);
  if (!text)
    return cmd_fail (error);
  fputs (text, stdout);
  if (!g_str_has_suffix (text, "\n"))
    putchar ('\n');
  return cmd_end_output (EXIT_OK);
}
