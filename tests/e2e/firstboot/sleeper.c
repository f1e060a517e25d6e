/* sleeper.c - a program for Windows that stays: sleeper SECONDS FILE [child]
 *
 * It and, with "child", one more of its kind append a byte to FILE five times a second.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static void
start_child (char **argv)
{
  STARTUPINFOA startup = {.cb = sizeof startup};
  PROCESS_INFORMATION process;
  char line[1024];

  snprintf (line, sizeof line, "\"%s\" %s \"%s\"", argv[0], argv[1], argv[2]);
  if (!CreateProcessA (NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process))
    exit (1);
}

int
main (int argc, char **argv)
{
  if (argc < 3)
    return 2;
  if (argc > 3)
    start_child (argv);
  for (int i = 0; i < atoi (argv[1]) * 5; i++)
    {
      FILE *file = fopen (argv[2], "ab");

      if (file == NULL)
        return 1;
      fputc ('x', file);
      fclose (file);
      Sleep (200);
    }
  return 0;
}
