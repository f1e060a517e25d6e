/* check.c - hyper2kvm check: whether a disk image is consistent in itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

int
cmd_check (int argc, char **argv)
{
  static const int codes[] = {
      [H2K_CHECK_CLEAN] = EXIT_OK,       /* as qemu-img check */
      [H2K_CHECK_LEAKS] = EXIT_LEAKS,    /* 3 there */
      [H2K_CHECK_CORRUPT] = EXIT_FORMAT, /* 2 there */
  };
  g_autofree char *format = NULL;
  gboolean json = FALSE;
  const GOptionEntry entries[] = {
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {"format", 'f', 0, G_OPTION_ARG_STRING, &format, "the image's format (default: found)",
       "FMT"},
      {NULL},
  };
  int code = cmd_parse (&argc, &argv, "IMAGE",
                        "Looks at every structure of a disk image, and says where they contradict "
                        "each other\nand what space nothing uses. Nothing is written. Exits with 0 "
                        "when all is well,\n4 when the image is corrupt, 15 when it only leaks "
                        "space.",
                        entries, NULL, NULL);
  H2kCheckVerdict verdict;
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  if (code >= 0)
    return code;
  if (argc != 2)
    return cmd_usage ("check", argc < 2 ? "no image is named" : "one image at a time");
  text = h2k_image_check (argv[1], format, json, &verdict, &error);
  if (!text)
    return cmd_fail (error);
  fputs (text, stdout);
  if (!g_str_has_suffix (text, "\n"))
    putchar ('\n');
  return cmd_end_output (codes[verdict]);
}
