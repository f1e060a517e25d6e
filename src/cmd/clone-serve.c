/* clone-serve.c - hyper2kvm clone serve.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/clone.h"

#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <unistd.h>

/* Print O, which is freed, as the one line that whoever started this waits for, and have nothing
 * more to do with its standard output. */
static void
answer (JsonObject *o)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = NULL;
  int null = open ("/dev/null", O_WRONLY | O_CLOEXEC);

  json_node_take_object (node, o);
  text = json_to_string (node, FALSE);
  puts (text);
  fflush (stdout);
  dup2 (null, STDOUT_FILENO);
  close (null);
}

static gboolean
ready (const char *const *uris, gpointer data, GError **error)
{
  gboolean for_program = *(gboolean *)data;
  JsonArray *array;
  JsonObject *o;

  if (!for_program)
    {
      for (; *uris; uris++)
        puts (*uris);
      fflush (stdout);
      return TRUE;
    }
  array = json_array_new ();
  for (; *uris; uris++)
    json_array_add_string_element (array, *uris);
  o = json_object_new ();
  json_object_set_array_member (o, "uris", array);
  answer (o);
  return TRUE;
}

static int
serve_here (const char *name, H2kCloneServeFlags flags, gboolean for_program)
{
  g_autoptr (GError) error = NULL;
  JsonObject *o;

  if (h2k_clones_serve_here (clone_state_dir, name, flags, ready, &for_program, cmd_cancellable (),
                             &error))
    return EXIT_OK;
  if (for_program)
    {
      o = json_object_new ();
      json_object_set_int_member (o, "code", error->code);
      json_object_set_string_member (o, "message", error->message);
      answer (o);
    }
  return cmd_fail (error);
}

int
cmd_clone_serve (int argc, char **argv)
{
  gboolean foreground = FALSE, unsafe = FALSE, persistent = FALSE, stop = FALSE, force = FALSE;
  gboolean for_program = FALSE;
  const GOptionEntry entries[] = {
      {"foreground", 0, 0, G_OPTION_ARG_NONE, &foreground,
       "serve from this process, until nobody needs it or it is interrupted", NULL},
      {"persistent", 0, 0, G_OPTION_ARG_NONE, &persistent, "go on when all clients have left",
       NULL},
      {"force-unsafe", 0, 0, G_OPTION_ARG_NONE, &unsafe,
       "serve it although the original has changed", NULL},
      {"stop", 0, 0, G_OPTION_ARG_NONE, &stop, "end it, unless somebody reads", NULL},
      {"force", 0, 0, G_OPTION_ARG_NONE, &force, "with --stop: whoever reads gets I/O errors",
       NULL},
      {"answer", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &for_program, "for programs", NULL},
      {NULL},
  };
  g_autoptr (GError) error = NULL;
  H2kCloneServeFlags flags;
  int code
      = clone_parse (&argc, &argv, "NAME",
                     "Offers originals of a clone that QEMU does not read itself to QEMU, from a "
                     "process of its own:\nrun and start do that by themselves.",
                     entries, 1, 1);

  if (code >= 0)
    return code;
  if (force && !stop)
    return cmd_usage ("clone serve", "--force goes with --stop");
  if (stop && (foreground || persistent || unsafe))
    return cmd_usage ("clone serve", "--stop and the other options exclude each other");
  if (stop)
    return clone_done (h2k_clones_serve_stop (clone_state_dir, argv[1], force, &error), &error);
  flags = (unsafe ? H2K_CLONE_SERVE_UNSAFE : 0) | (persistent ? H2K_CLONE_SERVE_PERSISTENT : 0);
  if (foreground || for_program)
    return serve_here (argv[1], flags, for_program);
  return clone_done (h2k_clones_serve (clone_state_dir, argv[1], flags, cmd_cancellable (), &error),
                     &error);
}
