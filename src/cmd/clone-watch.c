/* clone-watch.c - hyper2kvm clone watch, also in the background for VMs that are started.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

gboolean
clone_parse_size (const char *text, guint64 *size)
{
  static const char units[] = "KMGTPE";
  char *end = NULL;
  double number;
  const char *unit;

  if (!g_ascii_isdigit (text[0]))
    return FALSE;
  errno = 0;
  number = g_ascii_strtod (text, &end);
  if (errno != 0 || g_ascii_tolower (text[1]) == 'x')
    return FALSE;
  if (*end != '\0' && (unit = strchr (units, g_ascii_toupper (*end))) != NULL)
    {
      for (; unit >= units; unit--)
        number *= 1024;
      end++;
    }
  if (*end != '\0' || !(number >= 1) || number >= (double)G_MAXINT64)
    return FALSE;
  *size = (guint64)number;
  return TRUE;
}

/* --- in the background ------------------------------------------------------------------------ */

static void
leave_terminal (gpointer data)
{
  /* Ctrl-C is for the VM. */
  setsid ();
  umask (077);
}

void
clone_watch_in_background (const char *name, gboolean on_terminal)
{
  g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *folder = h2k_clones_folder (clone_state_dir, name, NULL);
  g_autofree char *log = folder ? g_build_filename (folder, "watch.log", NULL) : NULL;
  g_autofree char *clones = folder ? g_path_get_dirname (folder) : NULL;
  g_autofree char *store = clones ? g_path_get_dirname (clones) : NULL;
  const char *args[] = {program, "--log-file",      log,  "clone", "watch", "--state-dir",
                        store,   "--until-stopped", "--", name,    NULL};
  g_autoptr (GError) error = NULL;

  if (program && folder
      && g_spawn_async_with_fds (
          NULL, (char **)args, NULL,
          on_terminal ? G_SPAWN_DEFAULT : G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
          leave_terminal, NULL, NULL, -1, on_terminal ? STDERR_FILENO : -1, -1, &error))
    return;
  g_warning ("the growth of %s is not watched%s%s: `hyper2kvm clone watch %s` does it", name,
             error ? ": " : "", error ? error->message : "", name);
}

/* --- the command ------------------------------------------------------------------------------ */

static void
say (const char *line, gpointer data)
{
  /* A VM has made the terminal raw. */
  printf ("%s%s\n", line, isatty (STDOUT_FILENO) ? "\r" : "");
  fflush (stdout);
  g_info ("%s", line);
}

static gboolean
parse_warn (const char *text, H2kCloneWatchOptions *options)
{
  guint64 percent;
  g_autofree char *number
      = g_str_has_suffix (text, "%") ? g_strndup (text, strlen (text) - 1) : NULL;

  if (!number)
    return clone_parse_size (text, &options->warn_bytes);
  if (!g_ascii_string_to_unsigned (number, 10, 1, 99, &percent, NULL))
    return FALSE;
  options->warn_percent = (guint)percent;
  return TRUE;
}

int
cmd_clone_watch (int argc, char **argv)
{
  g_autofree char *warn = NULL;
  g_autofree char *reserve = NULL;
  H2kCloneWatchOptions options = {.interval = 1, .say = say};
  const GOptionEntry entries[] = {
      {"interval", 0, 0, G_OPTION_ARG_DOUBLE, &options.interval,
       "seconds between two looks, beside those when a VM has grown (default: 1)", "S"},
      {"warn", 0, 0, G_OPTION_ARG_STRING, &warn,
       "warn when there is less than this left until the pause (default: 10%)", "PERCENT|SIZE"},
      {"reserve", 0, 0, G_OPTION_ARG_STRING, &reserve,
       "what stays free on the filesystem (default: 2 % of it, at most 1 GiB)", "SIZE"},
      {"once", 0, 0, G_OPTION_ARG_NONE, &options.once, "look once, and say how it is", NULL},
      {"until-stopped", 0, 0, G_OPTION_ARG_NONE, &options.until_stopped,
       "end when none runs any more", NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &options.json, "print JSON, an object a line", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  int code = clone_parse (&argc, &argv, "[NAME…]",
                          "Watches the growth of clones that run, and pauses a VM before its "
                          "filesystem is full.",
                          entries, 0, G_MAXINT - 1);

  if (code >= 0)
    return code;
  if (!(options.interval > 0 && options.interval <= 86400))
    return cmd_usage ("clone watch", "--interval is between 0 and 86400 seconds");
  if ((warn && !parse_warn (warn, &options))
      || (reserve && !clone_parse_size (reserve, &options.reserve)))
    return cmd_usage ("clone watch", "sizes are like 500M, 20G or 1T, and --warn may be like 5%%");
  options.state_dir = clone_state_dir;
  options.names = argc > 1 ? (const char *const *)argv + 1 : NULL;
  if (!h2k_clones_watch (&options, cmd_cancellable (), &error))
    return cmd_fail (error);
  return cmd_end_output (EXIT_OK);
}
