/* nbd-serve.c - hyper2kvm nbd-serve: offer a disk image over NBD.
 *
 * Started by libnbd's tools between brackets, or by systemd, it serves on the socket that it is
 * given: sd_listen_fds(3) has the protocol.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_LISTEN_FD 3
#define END_SECONDS 5

typedef struct
{
  H2kNbdOptions *options;
  gboolean json, read_only, persistent;
  char *pid_file;
  gboolean has_pid_file; /* it is there, and ours */
  char **command;        /* NULL: none */
  GSubprocess *process;  /* COMMAND */
  GThread *waiter;
} Serve;

static void
serve_clear (Serve *serve)
{
  if (serve->has_pid_file)
    g_unlink (serve->pid_file);
  g_free (serve->pid_file);
  g_clear_object (&serve->process);
  h2k_nbd_options_free (serve->options);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Serve, serve_clear)

/* --- the command ------------------------------------------------------------------------------ */

static void
child_setup (gpointer data)
{
  signal (SIGPIPE, SIG_DFL);
}

/* What it ends with is the end of serving, too. */
static gpointer
wait_for_command (gpointer data)
{
  g_subprocess_wait (data, NULL, NULL);
  g_cancellable_cancel (cmd_cancellable ());
  return NULL;
}

static gboolean
start_command (Serve *serve, const char *uri, GError **error)
{
  g_autoptr (GSubprocessLauncher) launcher
      = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDIN_INHERIT);
  g_autoptr (GError) local = NULL;

  g_subprocess_launcher_setenv (launcher, "uri", uri, TRUE);
  g_subprocess_launcher_set_child_setup (launcher, child_setup, NULL, NULL);
  serve->process
      = g_subprocess_launcher_spawnv (launcher, (const char *const *)serve->command, &local);
  if (!serve->process)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "cannot start %s: %s", serve->command[0],
                   local->message);
      return FALSE;
    }
  serve->waiter = g_thread_new ("command", wait_for_command, serve->process);
  return TRUE;
}

/* The command's exit status as a shell has it. One that still runs, since a signal came, has a few
 * seconds to end. */
static int
finish_command (Serve *serve)
{
  if (!serve->process)
    return EXIT_OK;
  g_subprocess_send_signal (serve->process, SIGTERM);
  for (guint i = 0; i < END_SECONDS * 100 && g_subprocess_get_identifier (serve->process); i++)
    g_usleep (G_USEC_PER_SEC / 100);
  g_subprocess_force_exit (serve->process);
  g_thread_join (serve->waiter);
  return g_subprocess_get_if_exited (serve->process)
             ? g_subprocess_get_exit_status (serve->process)
             : EXIT_SIGNAL + g_subprocess_get_term_sig (serve->process);
}

/* --- ready ------------------------------------------------------------------------------------ */

static gboolean
write_pid (Serve *serve, GError **error)
{
  g_autofree char *text = g_strdup_printf ("%d\n", (int)getpid ());
  g_autoptr (GError) local = NULL;

  if (!serve->pid_file)
    return TRUE;
  serve->has_pid_file = g_file_set_contents_full (serve->pid_file, text, -1,
                                                  G_FILE_SET_CONTENTS_CONSISTENT, 0644, &local);
  if (!serve->has_pid_file)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the PID cannot be written: %s",
                 local->message);
  return serve->has_pid_file;
}

static char *
to_json (const Serve *serve, const char *uri, guint64 size)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *o = json_object_new ();

  json_node_take_object (node, o);
  json_object_set_string_member (o, "uri", uri);
  json_object_set_int_member (o, "size", (gint64)size);
  json_object_set_boolean_member (o, "read-only", !serve->options->writable);
  json_object_set_boolean_member (o, "repaired", serve->options->repair);
  json_object_set_int_member (o, "pid", getpid ());
  return json_to_string (node, FALSE);
}

/* Who handed over the socket knows where it is. */
static gboolean
ready (const char *uri, guint64 size, gpointer data, GError **error)
{
  Serve *serve = data;
  g_autofree char *json = serve->json ? to_json (serve, uri ? uri : "", size) : NULL;

  if (!write_pid (serve, error))
    return FALSE;
  if (serve->command)
    return start_command (serve, uri, error);
  if (serve->options->listen_fd < 0 && (puts (json ? json : uri) < 0 || fflush (stdout) != 0))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the URI cannot be printed: %s",
                   g_strerror (errno));
      return FALSE;
    }
  return TRUE;
}

/* --- options ---------------------------------------------------------------------------------- */

/* A socket that was handed over; nobody who is started gets it. */
static int
take_listen_fd (H2kNbdOptions *options)
{
  const char *pid = g_getenv ("LISTEN_PID"), *fds = g_getenv ("LISTEN_FDS");

  if (!pid || !fds || strtol (pid, NULL, 10) != (long)getpid ())
    return -1;
  if (!g_str_equal (fds, "1"))
    return cmd_usage ("nbd-serve", "%s sockets are handed over, and there can be only one", fds);
  options->listen_fd = FIRST_LISTEN_FD;
  fcntl (FIRST_LISTEN_FD, F_SETFD, FD_CLOEXEC);
  g_unsetenv ("LISTEN_PID");
  g_unsetenv ("LISTEN_FDS");
  g_unsetenv ("LISTEN_FDNAMES");
  return -1;
}

/* What follows "--" is the command: it is taken off ARGV before GOption looks at it. */
static char **
split_command (int *argc, char **argv)
{
  for (int i = 1; i < *argc; i++)
    if (g_str_equal (argv[i], "--"))
      {
        argv[i] = NULL;
        *argc = i;
        return argv + i + 1;
      }
  return NULL;
}

static int
check (Serve *serve, int argc, char **argv, int connections, gboolean has_port)
{
  H2kNbdOptions *o = serve->options;

  if (argc != 2)
    return cmd_usage ("nbd-serve", argc < 2 ? "no disk is named" : "there can be one disk");
  if (serve->command && !serve->command[0])
    return cmd_usage ("nbd-serve", "no command follows --");
  if (serve->read_only && o->writable)
    return cmd_usage ("nbd-serve", "--read-only and --writable exclude each other");
  if (serve->persistent && o->exit_last)
    return cmd_usage ("nbd-serve", "--persistent and --exit-last exclude each other");
  if (serve->command && (o->exit_last || o->listen_fd >= 0))
    return cmd_usage ("nbd-serve", "with a command, the server is its own and ends with it");
  if (connections < 0 || connections > 1000)
    return cmd_usage ("nbd-serve", "--connections=%d: choose 1 to 1000", connections);
  if (has_port && (o->port < 0 || o->port > 65535))
    return cmd_usage ("nbd-serve", "--port=%d: choose 1 to 65535, or 0 for a free one", o->port);
  o->source = g_strdup (argv[1]);
  o->connections = (guint)connections;
  return -1;
}

int
cmd_nbd_serve (int argc, char **argv)
{
  g_auto (Serve) serve = {.options = h2k_nbd_options_new ()};
  H2kNbdOptions *o = serve.options;
  g_auto (GStrv) keys = NULL;
  int connections = 0, no_port = G_MININT;
  const GOptionEntry entries[] = {
      {"format", 'f', 0, G_OPTION_ARG_STRING, &o->source_format,
       "the disk's format (default: found)", "FMT"},
      {"repair", 0, 0, G_OPTION_ARG_NONE, &o->repair,
       "repair the guest first, in an overlay that is dropped at the end", NULL},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &keys,
       "a LUKS container's key, for --repair; may be repeated", "DEV:file:F"},
      {"writable", 0, 0, G_OPTION_ARG_NONE, &serve.options->writable,
       "take writes into an overlay that is dropped at the end", NULL},
      {"read-only", 'r', 0, G_OPTION_ARG_NONE, &serve.read_only, "take no writes (default)", NULL},
      {"socket", 'k', 0, G_OPTION_ARG_FILENAME, &o->socket,
       "make a socket there (default: in a new private folder)", "PATH"},
      {"port", 'p', 0, G_OPTION_ARG_INT, &o->port,
       "listen on 127.0.0.1 instead, where all users of this host get in; 0: a free port", "PORT"},
      {"export-name", 'x', 0, G_OPTION_ARG_STRING, &o->export_name,
       "the export's name (default: empty)", "NAME"},
      {"connections", 'e', 0, G_OPTION_ARG_INT, &connections,
       "at most so many at once, others wait (default: 16)", "N"},
      {"persistent", 't', 0, G_OPTION_ARG_NONE, &serve.persistent,
       "go on when all clients have left (default)", NULL},
      {"exit-last", 0, 0, G_OPTION_ARG_NONE, &o->exit_last, "end when the last client has left",
       NULL},
      {"pid-file", 0, 0, G_OPTION_ARG_FILENAME, &serve.pid_file,
       "write the PID there when clients can connect", "FILE"},
      {"temp-dir", 0, 0, G_OPTION_ARG_FILENAME, &o->temp_dir,
       "for what does not fit in memory (default: $TMPDIR or /var/tmp)", "DIR"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &serve.json, "print JSON instead of the URI", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  gboolean ok, has_port;
  int code;

  serve.command = split_command (&argc, argv);
  o->port = no_port;
  code = cmd_parse (&argc, &argv, "DISK [-- COMMAND…]",
                    "Offers a disk over NBD, prints the URI, and serves until it is interrupted. "
                    "The disk is never\nwritten. With a COMMAND, runs it with $uri in its "
                    "environment, and ends with it.",
                    entries, cmd_windows_entries, NULL);
  cmd_take_windows (&o->virtio_win, &o->virtio_config, &o->guest_agent, o->first_boot,
                    &o->force_dirty);
  o->bus = cmd_bus ();
  for (guint i = 0; keys && keys[i]; i++)
    g_ptr_array_add (o->keys, g_strdup (keys[i]));
  has_port = o->port != no_port;
  if (!has_port)
    o->port = -1;
  if (code < 0)
    code = take_listen_fd (o);
  if (code < 0)
    code = check (&serve, argc, argv, connections, has_port);
  if (code >= 0)
    return code;
  o->ready = ready;
  o->ready_data = &serve;
  ok = h2k_nbd_serve (o, cmd_cancellable (), &error);
  code = finish_command (&serve);
  return ok ? code : cmd_fail (error);
}
