/* compare.c - hyper2kvm compare: whether guests see the same on two images.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

static void
print_text (const H2kComparison *c, gboolean strict)
{
  if (!c->same_content)
    printf ("Content differs at offset %" G_GUINT64_FORMAT "\n", c->offset);
  else if (!c->same_size)
    printf ("%s: the sizes differ, and what only one has is zeros\n",
            strict ? "Images differ" : "Images have the same content");
  else
    puts ("Images are identical.");
}

static void
print_json (const H2kComparison *c)
{
  printf ("{\"same-content\": %s, \"same-size\": %s", c->same_content ? "true" : "false",
          c->same_size ? "true" : "false");
  if (!c->same_content)
    printf (", \"offset\": %" G_GUINT64_FORMAT, c->offset);
  puts ("}");
}

int
cmd_compare (int argc, char **argv)
{
  g_autofree char *format_a = NULL, *format_b = NULL;
  gboolean json = FALSE, strict = FALSE;
  int threads = 0;
  const GOptionEntry entries[] = {
      {"format", 'f', 0, G_OPTION_ARG_STRING, &format_a,
       "the first image's format (default: found)", "FMT"},
      {"second-format", 'F', 0, G_OPTION_ARG_STRING, &format_b, "the second one's", "FMT"},
      {"strict", 's', 0, G_OPTION_ARG_NONE, &strict, "the sizes have to be the same, too", NULL},
      {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "1 to 64 (default: one a CPU)", "N"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
      {NULL},
  };
  int code = cmd_parse (&argc, &argv, "IMAGE IMAGE",
                        "Compares what guests see of two images, whatever their formats. The exit "
                        "status is 0 when\nthat is the same, 1 when it differs, larger after "
                        "trouble.",
                        entries, NULL, NULL);
  H2kComparison result;
  g_autoptr (GError) error = NULL;
  gboolean ok;

  if (code >= 0)
    return code;
  if (argc != 3)
    return cmd_usage ("compare", "two images are needed");
  if (threads < 0 || threads > 64)
    return cmd_usage ("compare", "--threads=%d: choose 1 to 64", threads);
  ok = h2k_images_compare (argv[1], format_a, argv[2], format_b, (guint)threads, cmd_progress, NULL,
                           cmd_cancellable (), &result, &error);
  cmd_progress_finish ();
  if (!ok)
    {
      code = cmd_fail (error);
      return code == EXIT_FAILED ? EXIT_SOURCE : code; /* 1 says that they differ */
    }
  if (json)
    print_json (&result);
  else
    print_text (&result, strict);
  return cmd_end_output (result.same_content && (result.same_size || !strict) ? EXIT_OK
                                                                              : EXIT_FAILED);
}
