/* replay.c - runs a fuzz target over the files of the directories named, without a fuzzer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdio.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
main (int argc, char **argv)
{
  guint n = 0;
  for (int i = 1; i < argc; i++)
    {
      g_autoptr (GDir) dir = g_dir_open (argv[i], 0, NULL);
      const char *name;
      if (!dir)
        g_error ("%s: no such corpus", argv[i]);
      while ((name = g_dir_read_name (dir)))
        {
          g_autofree char *path = g_build_filename (argv[i], name, NULL);
          g_autofree char *data = NULL;
          gsize size;
          if (!g_file_get_contents (path, &data, &size, NULL))
            g_error ("%s: cannot be read", path);
          LLVMFuzzerTestOneInput ((const uint8_t *)data, size);
          n++;
        }
    }
  if (n == 0)
    g_error ("the corpus is empty");
  printf ("%u inputs\n", n);
  return 0;
}
