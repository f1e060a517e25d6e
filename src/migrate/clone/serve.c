/* serve.c - originals that QEMU does not read itself, offered to it over NBD by a process of
 * its own that lives as long as somebody needs it.
 *
 * That process is this program, `hyper2kvm clone serve`. Whoever starts a VM on the clone starts it
 * first and waits for its answer, a line of JSON on its standard output: {"uris": [...]}, or
 * {"code": N, "message": "..."} of the error. It ends LINGER seconds after its last client, when
 * nobody came at all, and when the clone is deleted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/fingerprint.h"
#include "clone/server.h"
#include "disk/nbd-server.h"
#include "migrate/clone/serve.h"
#include "migrate/clone/original-reader.h"
#include "migrate/clone/clones.h"
#include "util/json.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINGER (10 * G_USEC_PER_SEC)       /* without clients, once there were some */
#define FIRST_CLIENT (60 * G_USEC_PER_SEC) /* for the first one to come */
#define STEP (G_USEC_PER_SEC / 10)
#define OTHERS_START (90 * G_USEC_PER_SEC) /* of the same process by somebody else */
#define ANSWER_MAX 65536

/* --- the process ------------------------------------------------------------------------------ */

typedef struct
{
  H2kClone *clone; /* not owned */
  H2kCloneServeFlags flags;
  int lock;
  GPtrArray *servers; /* H2kNbdServer * */
  GPtrArray *uris;    /* char *, with a NULL at the end once all are there */
  char *folder;       /* of the sockets */
} Serving;

static void
serving_clear (Serving *s)
{
  g_clear_pointer (&s->servers, g_ptr_array_unref);
  g_clear_pointer (&s->uris, g_ptr_array_unref);
  if (s->folder)
    g_rmdir (s->folder);
  g_clear_pointer (&s->folder, g_free);
  if (s->lock >= 0)
    close (s->lock);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Serving, serving_clear)

/* Whether somebody answers at PATH. */
static gboolean
answers (const char *path)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  gboolean ok = FALSE;

  if (fd >= 0
      && g_strlcpy (address.sun_path, path, sizeof address.sun_path) < sizeof address.sun_path)
    ok = connect (fd, (struct sockaddr *)&address, sizeof address) == 0;
  if (fd >= 0)
    close (fd);
  return ok;
}

/* A socket that a killed process left is removed: the lock says that it is nobody's. */
static gboolean
clear_place (const char *path, GError **error)
{
  struct stat st;

  if (answers (path))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "another process listens at %s: is this clone a copy of one that runs?", path);
      return FALSE;
    }
  if (lstat (path, &st) == 0 && S_ISSOCK (st.st_mode))
    g_unlink (path);
  return TRUE;
}

/* The VMs of the system's libvirt run as a user of their own. */
static void
let_libvirt_in (const char *path)
{
  static const char *const users[] = {"libvirt-qemu", "qemu"};

  for (guint i = 0; geteuid () == 0 && i < G_N_ELEMENTS (users); i++)
    {
      const struct passwd *user = getpwnam (users[i]);
      if (user && lchown (path, user->pw_uid, (gid_t)-1) == 0)
        return;
    }
}

/* What the clone was made of must be what is offered: it is compared on the disk that is open. */
static gboolean
check_unchanged (const Serving *s, guint i, H2kDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GError) local = NULL;
  g_autofree char *all = NULL;

  if (!h2k_clones_compare_original (s->clone, i, disk, FALSE, NULL, g_cancellable_get_current (),
                                    &found, &local))
    {
      if (s->flags & H2K_CLONE_SERVE_UNSAFE && g_error_matches (local, H2K_ERROR, H2K_ERROR_SOURCE))
        return TRUE;
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (found->len == 0)
    return TRUE;
  g_ptr_array_add (found, NULL);
  all = g_strjoinv ("; ", (char **)found->pdata);
  if (s->flags & H2K_CLONE_SERVE_UNSAFE)
    {
      g_warning ("%s: is not what it was: %s", disk->name, all);
      return TRUE;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "the original of the clone %s is not what it was: %s. The clone's disk would be "
               "corrupt: bring the original back, or make another clone of it; --force-unsafe "
               "starts it all the same",
               s->clone->name, all);
  return FALSE;
}

static gboolean
offer (Serving *s, guint i, const char *path, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_original_open (h2k_clones_original (s->clone, i), error);
  g_autofree char *description = NULL;
  H2kNbdServerOptions options = {0};
  H2kNbdServer *server;

  if (!disk || !check_unchanged (s, i, disk, error) || !h2k_clone_server_make_folder (path, error)
      || !clear_place (path, error))
    return FALSE;
  if (!s->folder)
    s->folder = g_path_get_dirname (path);
  description = g_strconcat (disk->name, ", read-only", NULL);
  options.description = description;
  server = h2k_nbd_server_new (disk, &options);
  g_ptr_array_add (s->servers, server);
  g_ptr_array_add (s->uris, h2k_clone_server_uri (path));
  if (!h2k_nbd_server_listen_unix (server, path, error))
    return FALSE;
  let_libvirt_in (path);
  g_message ("nbd: %s", description);
  return TRUE;
}

static gboolean
offer_all (Serving *s, GError **error)
{
  for (guint i = 0; i < s->clone->n_disks; i++)
    {
      g_autofree char *path = h2k_original_socket (h2k_clones_original (s->clone, i));
      if (path && !offer (s, i, path, error))
        return FALSE;
    }
  g_ptr_array_add (s->uris, NULL);
  return TRUE;
}

static gboolean
has_clients (const Serving *s)
{
  for (guint i = 0; i < s->servers->len; i++)
    if (h2k_nbd_server_clients (s->servers->pdata[i]) > 0)
      return TRUE;
  return FALSE;
}

static void
serve_while_needed (Serving *s, GCancellable *cancellable)
{
  gint64 idle_until = g_get_monotonic_time () + FIRST_CLIENT;
  gboolean used = FALSE;

  while (!g_cancellable_is_cancelled (cancellable)
         && h2k_clone_server_holds (s->lock, s->clone->dir)
         && (used || s->flags & H2K_CLONE_SERVE_PERSISTENT || g_get_monotonic_time () < idle_until))
    {
      gboolean now = has_clients (s);
      if (now != used)
        h2k_clone_server_set_used (s->lock, now);
      if (used && !now)
        idle_until = g_get_monotonic_time () + LINGER;
      used = now;
      g_usleep (STEP);
    }
}

/* What went wrong with the originals meanwhile is said in the log. */
static void
say_failures (const Serving *s)
{
  for (guint i = 0; i < s->servers->len; i++)
    {
      g_autoptr (GError) local = NULL;
      if (!h2k_nbd_server_check (s->servers->pdata[i], &local))
        g_warning ("the VM was told of an I/O error: %s", local->message);
    }
}

static gboolean
serve_clone (H2kClone *clone, H2kCloneServeFlags flags, H2kCloneServedFunc ready, gpointer data,
             GCancellable *cancellable, GError **error)
{
  g_auto (Serving) s = {.clone = clone, .flags = flags, .lock = -1};

  s.servers = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_nbd_server_free);
  s.uris = g_ptr_array_new_with_free_func (g_free);
  if (h2k_clone_is_served (clone)
      && ((s.lock = h2k_clone_server_lock (clone->dir, error)) < 0 || !offer_all (&s, error)))
    return FALSE;
  if (s.lock < 0)
    g_ptr_array_add (s.uris, NULL);
  if (!ready ((const char *const *)s.uris->pdata, data, error))
    return FALSE;
  if (s.lock >= 0)
    serve_while_needed (&s, cancellable);
  say_failures (&s);
  return TRUE;
}

gboolean
h2k_clones_serve_here (const char *state_dir, const char *name, H2kCloneServeFlags flags,
                       H2kCloneServedFunc ready, gpointer data, GCancellable *cancellable,
                       GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  gboolean ok;

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error))
    return FALSE;
  /* For what has no argument for it: reads from servers. */
  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = serve_clone (o.clone, flags, ready, data, cancellable, error);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  return ok;
}

/* --- starting it ------------------------------------------------------------------------------ */

/* This program; a program that uses the library finds it where commands are. */
static char *
find_program (GError **error)
{
  g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *base = self ? g_path_get_basename (self) : NULL;
  char *program = g_strcmp0 (base, "hyper2kvm") == 0 ? g_steal_pointer (&self)
                                                     : g_find_program_in_path ("hyper2kvm");

  if (!program)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_TOOL,
                         "the program hyper2kvm, which offers the originals of clones to QEMU, is "
                         "not installed where commands are found");
  return program;
}

/* Away from the terminal; what it has to say goes to the log. */
static void
child_setup (gpointer log)
{
  setsid ();
  dup2 (GPOINTER_TO_INT (log), STDERR_FILENO);
}

static char *
log_path (const H2kClone *clone)
{
  return g_build_filename (clone->dir, "server.log", NULL);
}

/* A file descriptor that its answer can be read from, or -1. */
static int
start (const H2kClone *clone, H2kCloneServeFlags flags, GError **error)
{
  g_autofree char *program = find_program (error), *log = log_path (clone);
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GError) local = NULL;
  int answer = -1, fd;

  if (!program)
    return -1;
  fd = open (log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot write %s", log);
      return -1;
    }
  g_ptr_array_add (argv, program);
  g_ptr_array_add (argv, (char *)"clone");
  g_ptr_array_add (argv, (char *)"serve");
  g_ptr_array_add (argv, (char *)"--answer");
  if (flags & H2K_CLONE_SERVE_UNSAFE)
    g_ptr_array_add (argv, (char *)"--force-unsafe");
  if (flags & H2K_CLONE_SERVE_PERSISTENT)
    g_ptr_array_add (argv, (char *)"--persistent");
  g_ptr_array_add (argv, (char *)"--state-dir");
  g_ptr_array_add (argv, clone->store->dir);
  g_ptr_array_add (argv, clone->name);
  g_ptr_array_add (argv, NULL);
  if (!g_spawn_async_with_pipes ("/", (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, child_setup,
                                 GINT_TO_POINTER (fd), NULL, NULL, &answer, NULL, &local))
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "cannot start %s: %s", program, local->message);
  close (fd);
  return answer;
}

/* All that comes from FD until its end. */
static char *
read_answer (int fd, GCancellable *cancellable, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  char buffer[4096];
  ssize_t n = 1;

  while (n > 0 && text->len < ANSWER_MAX)
    {
      struct pollfd wait = {.fd = fd, .events = POLLIN};
      if (h2k_is_cancelled (cancellable, error))
        return NULL;
      if (poll (&wait, 1, STEP / 1000) <= 0)
        continue;
      n = read (fd, buffer, sizeof buffer);
      if (n > 0)
        g_string_append_len (text, buffer, n);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static gboolean
understand (const H2kClone *clone, const char *answer, GError **error)
{
  g_autoptr (JsonNode) node = h2k_json_parse (answer, strlen (answer), NULL);
  JsonObject *o = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  const char *message = h2k_json_string (o, "message");
  g_autofree char *log = log_path (clone);

  if (h2k_json_array (o, "uris"))
    return TRUE;
  if (message)
    g_set_error_literal (error, H2K_ERROR, (int)h2k_json_int (o, "code", H2K_ERROR_FAILED),
                         message);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED,
                 "the process that is to offer the originals of the clone %s ended at once: see %s",
                 clone->name, log);
  return FALSE;
}

/* --- one that is there ------------------------------------------------------------------------ */

static gboolean
all_answer (const H2kClone *clone)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_original_socket (h2k_clones_original (clone, i));
      if (path && !answers (path))
        return FALSE;
    }
  return TRUE;
}

/* It has compared the originals when it started: what can be seen at a glance is looked at again.
 */
static gboolean
check_files (const H2kClone *clone, H2kCloneServeFlags flags, GError **error)
{
  for (guint i = 0; i < clone->n_disks && !(flags & H2K_CLONE_SERVE_UNSAFE); i++)
    {
      JsonObject *original = h2k_clones_original (clone, i);
      JsonObject *fingerprint = h2k_json_object (original, "fingerprint");

      if (!h2k_json_string (original, "served") || !fingerprint
          || !h2k_fingerprint_files_changed (fingerprint))
        continue;
      g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
                   "the original of the clone %s was written to since: see `hyper2kvm clone verify "
                   "%s`",
                   clone->name, clone->name);
      return FALSE;
    }
  return TRUE;
}

/* Wait for a process that may just be starting. FALSE without an error: there is none. */
static gboolean
meet (const H2kClone *clone, GCancellable *cancellable, GError **error)
{
  gint64 until = g_get_monotonic_time () + OTHERS_START;
  int pid;

  while (h2k_clone_server_use (clone->dir, &pid) != H2K_SERVER_NONE)
    {
      if (all_answer (clone))
        return TRUE;
      if (h2k_is_cancelled (cancellable, error))
        return FALSE;
      if (g_get_monotonic_time () > until)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                       "the process %d is to offer the originals of the clone %s and does not "
                       "answer: end it by `hyper2kvm clone serve --stop %s`",
                       pid, clone->name, clone->name);
          return FALSE;
        }
      g_usleep (STEP);
    }
  return FALSE;
}

static gboolean
serve (const H2kClone *clone, H2kCloneServeFlags flags, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autofree char *answer = NULL;
  int fd;

  if (meet (clone, cancellable, &local))
    return check_files (clone, flags, error);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  fd = start (clone, flags, error);
  if (fd < 0)
    return FALSE;
  answer = read_answer (fd, cancellable, error);
  close (fd);
  if (!answer || understand (clone, answer, &local))
    return answer != NULL;
  /* Two may have started it at once. */
  if (g_error_matches (local, H2K_ERROR, H2K_ERROR_OUTPUT) && meet (clone, cancellable, NULL))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

gboolean
h2k_clone_serve (const H2kClone *clone, H2kCloneServeFlags flags, GCancellable *cancellable,
                 GError **error)
{
  return !h2k_clone_is_served (clone) || serve (clone, flags, cancellable, error);
}

gboolean
h2k_clones_serve (const char *state_dir, const char *name, H2kCloneServeFlags flags,
                  GCancellable *cancellable, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error)
         && h2k_clone_serve (o.clone, flags, cancellable, error);
}

gboolean
h2k_clones_serve_stop (const char *state_dir, const char *name, gboolean force, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error)
         && h2k_clone_server_stop (o.clone->dir, force, error);
}
