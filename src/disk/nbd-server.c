/* nbd-server.c - NBD clients: sockets, connections, and the threads that serve them.
 *
 *   listening thread ── accepts ──► connection: first thread negotiates, then all take turns
 *                                     read a request │ answer it   (up to 8 threads, as needed)
 *
 * Every thread belongs to one connection, so that a client that stalls, at whatever point, holds up
 * nobody else. A thread's buffer is all the memory that requests take, however long they are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define MAX_THREADS 8
#define NEGOTIATION_SECONDS 30
#define GRACE (2 * G_TIME_SPAN_SECOND)
#define PAUSE_US 100000   /* when there is no room for a client that wants in */
#define MAX_COMPLAINTS 20 /* errors that are logged */
#define SKIP_BYTES 65536

/* --- bytes ------------------------------------------------------------------------------------ */

/* Wait until FD is ready for EVENTS; without a deadline the calls themselves wait. */
static gboolean
wait_ready (NbdConnection *c, short events)
{
  struct pollfd poll_fd = {.fd = c->fd, .events = events};
  gint64 left = (c->deadline - g_get_monotonic_time ()) / 1000;

  if (c->deadline == 0)
    return TRUE;
  if (left <= 0)
    return FALSE;
  return poll (&poll_fd, 1, (int)MIN (left, G_MAXINT)) >= 0 || errno == EINTR;
}

static gboolean
may_retry (int err)
{
  return err == EINTR || err == EAGAIN;
}

gboolean
h2k_nbd_receive (NbdConnection *c, void *buffer, gsize length)
{
  int flags = c->deadline ? MSG_DONTWAIT : MSG_WAITALL;

  for (guint8 *p = buffer; length;)
    {
      ssize_t n;

      if (!wait_ready (c, POLLIN))
        return FALSE;
      n = recv (c->fd, p, length, flags);
      if (n == 0 || (n < 0 && !may_retry (errno)))
        return FALSE;
      if (n > 0)
        {
          p += n;
          length -= (gsize)n;
        }
    }
  return TRUE;
}

gboolean
h2k_nbd_skip (NbdConnection *c, guint64 length)
{
  g_autofree guint8 *buffer = length ? g_malloc (MIN (length, SKIP_BYTES)) : NULL;
  gboolean ok = TRUE;

  while (ok && length)
    {
      gsize n = (gsize)MIN (length, SKIP_BYTES);
      ok = h2k_nbd_receive (c, buffer, n);
      length -= n;
    }
  return ok;
}

/* Take LENGTH bytes off the front of what is to be sent. */
static void
advance (struct msghdr *message, gsize length)
{
  while (message->msg_iovlen && length >= message->msg_iov->iov_len)
    {
      length -= message->msg_iov->iov_len;
      message->msg_iov++;
      message->msg_iovlen--;
    }
  if (length)
    {
      message->msg_iov->iov_base = (guint8 *)message->msg_iov->iov_base + length;
      message->msg_iov->iov_len -= length;
    }
}

gboolean
h2k_nbd_send (NbdConnection *c, struct iovec *pieces, guint count)
{
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  int flags = MSG_NOSIGNAL | (c->deadline ? MSG_DONTWAIT : 0);

  while (message.msg_iovlen && wait_ready (c, POLLOUT))
    {
      ssize_t n = sendmsg (c->fd, &message, flags);

      if (n < 0 && !may_retry (errno))
        break;
      advance (&message, n > 0 ? (gsize)n : 0);
    }
  if (message.msg_iovlen == 0)
    return TRUE;
  h2k_nbd_hang_up (c);
  return FALSE;
}

/* The thread that reads then finds the end; the others end as they get their turn. */
void
h2k_nbd_hang_up (NbdConnection *c)
{
  shutdown (c->fd, SHUT_RDWR);
}

void
h2k_nbd_complain (H2kNbdServer *server, const char *text)
{
  if (g_atomic_int_add (&server->complaints, 1) < MAX_COMPLAINTS)
    g_warning ("nbd: %s", text);
}

void
h2k_nbd_note_failure (H2kNbdServer *server, const GError *error)
{
  g_mutex_lock (&server->lock);
  if (!server->failure)
    server->failure = g_error_copy (error);
  g_mutex_unlock (&server->lock);
}

gboolean
h2k_nbd_server_check (H2kNbdServer *server, GError **error)
{
  gboolean ok;

  g_mutex_lock (&server->lock);
  ok = !server->failure;
  if (!ok)
    g_propagate_error (error, g_error_copy (server->failure));
  g_mutex_unlock (&server->lock);
  return ok;
}

guint
h2k_nbd_server_requests (H2kNbdServer *server)
{
  return (guint)g_atomic_int_get (&server->requests);
}

/* --- connections ------------------------------------------------------------------------------ */

static gpointer
run_helper (gpointer data)
{
  NbdConnection *c = data;

  g_cancellable_push_current (c->server->cancellable);
  h2k_nbd_transmit (c);
  g_cancellable_pop_current (c->server->cancellable);
  return NULL;
}

void
h2k_nbd_add_helper (NbdConnection *c)
{
  GThread *thread;

  if (c->helpers->len + 1 >= c->server->max_threads)
    return;
  thread = g_thread_try_new ("nbd", run_helper, c, NULL);
  if (thread)
    g_ptr_array_add (c->helpers, thread);
}

static void
set_user (NbdConnection *c)
{
  H2kNbdServer *server = c->server;

  g_mutex_lock (&server->lock);
  server->users++;
  server->used = TRUE;
  g_mutex_unlock (&server->lock);
}

static void
end_connection (NbdConnection *c, gboolean was_user)
{
  H2kNbdServer *server = c->server;

  g_mutex_lock (&server->lock);
  close (c->fd);
  c->done = TRUE;
  server->living--;
  server->users -= was_user;
  g_cond_broadcast (&server->changed);
  g_mutex_unlock (&server->lock);
  eventfd_write (server->wake, 1);
}

/* A connection's first thread. */
static gpointer
run_connection (gpointer data)
{
  NbdConnection *c = data;
  gboolean user;

  g_cancellable_push_current (c->server->cancellable);
  user = h2k_nbd_negotiate (c);
  c->deadline = 0;
  if (user)
    {
      set_user (c);
      h2k_nbd_transmit (c);
    }
  /* There are no more of them from here on, see h2k_nbd_transmit(). */
  for (guint i = 0; i < c->helpers->len; i++)
    g_thread_join (c->helpers->pdata[i]);
  g_cancellable_pop_current (c->server->cancellable);
  end_connection (c, user);
  return NULL;
}

static void
free_connection (gpointer data)
{
  NbdConnection *c = data;

  g_thread_join (c->thread);
  g_ptr_array_unref (c->helpers);
  g_mutex_clear (&c->read_lock);
  g_mutex_clear (&c->send_lock);
  g_free (c);
}

/* Join the threads of connections that are done. */
static void
reap (H2kNbdServer *server)
{
  g_autoptr (GPtrArray) done = g_ptr_array_new_with_free_func (free_connection);

  g_mutex_lock (&server->lock);
  for (guint i = server->connections->len; i-- > 0;)
    if (((NbdConnection *)server->connections->pdata[i])->done)
      g_ptr_array_add (done, g_ptr_array_remove_index_fast (server->connections, i));
  g_mutex_unlock (&server->lock);
}

gboolean
h2k_nbd_server_add (H2kNbdServer *server, int fd)
{
  NbdConnection *c = g_new0 (NbdConnection, 1);

  reap (server);
  c->server = server;
  c->fd = fd;
  c->deadline = g_get_monotonic_time () + NEGOTIATION_SECONDS * G_TIME_SPAN_SECOND;
  c->helpers = g_ptr_array_new ();
  g_mutex_init (&c->read_lock);
  g_mutex_init (&c->send_lock);
  g_mutex_lock (&server->lock);
  if (!g_atomic_int_get (&server->stopping))
    c->thread = g_thread_try_new ("nbd", run_connection, c, NULL);
  if (c->thread)
    {
      g_ptr_array_add (server->connections, c);
      server->living++;
    }
  g_mutex_unlock (&server->lock);
  if (c->thread)
    return TRUE;
  close (fd);
  g_ptr_array_unref (c->helpers);
  g_mutex_clear (&c->read_lock);
  g_mutex_clear (&c->send_lock);
  g_free (c);
  return FALSE;
}

/* --- listening -------------------------------------------------------------------------------- */

static void
accept_one (H2kNbdServer *server)
{
  int one = 1, fd = accept4 (server->listener, NULL, NULL, SOCK_CLOEXEC), err = errno;

  if (fd >= 0)
    {
      /* Fails on a unix socket, which does not wait for more to send. */
      setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      if (h2k_nbd_server_add (server, fd) || g_atomic_int_get (&server->stopping))
        return;
      err = EAGAIN;
    }
  else if (may_retry (err) || err == ECONNABORTED)
    return;
  h2k_nbd_complain (server, g_strerror (err));
  g_usleep (PAUSE_US);
}

static gpointer
run_listener (gpointer data)
{
  H2kNbdServer *server = data;

  while (!g_atomic_int_get (&server->stopping))
    {
      struct pollfd fds[]
          = {{.fd = server->wake, .events = POLLIN}, {.fd = server->listener, .events = POLLIN}};
      gboolean room;
      eventfd_t count;

      g_mutex_lock (&server->lock);
      room = server->living < server->max_connections;
      g_mutex_unlock (&server->lock);
      if (poll (fds, room ? 2 : 1, -1) < 0)
        continue;
      if (fds[0].revents)
        {
          eventfd_read (server->wake, &count);
          reap (server);
        }
      else if (fds[1].revents)
        accept_one (server);
    }
  return NULL;
}

static gboolean
start_listening (H2kNbdServer *server, int fd, GError **error)
{
  g_assert (server->listener < 0);
  server->listener = fd;
  fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) | O_NONBLOCK); /* a client may have gone meanwhile */
  server->thread = g_thread_try_new ("nbd-listen", run_listener, server, error);
  return server->thread != NULL;
}

static gboolean
set_listen_error (int fd, const char *place, GError **error)
{
  int err = errno;

  if (fd >= 0)
    close (fd);
  if (err == EADDRINUSE)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
                 "%s: is in use already; end the server that listens there, remove the socket if "
                 "there is none, or choose another place",
                 place);
  else
    h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "%s: cannot listen there", place);
  return FALSE;
}

static char *
make_uri (const char *start, const char *name, const char *end)
{
  g_autofree char *escaped = g_uri_escape_string (name, "/", FALSE);

  return g_strconcat (start, escaped, end, NULL);
}

/* A folder of our own, whose paths fit into a socket's address. */
static char *
make_folder (GError **error)
{
  const char *const parents[] = {g_get_tmp_dir (), "/tmp"};

  for (guint i = 0; i < G_N_ELEMENTS (parents); i++)
    {
      char *folder = g_build_filename (parents[i], "hyper2kvm-XXXXXX", NULL);

      if (strlen (folder) + sizeof "/nbd.sock" <= sizeof ((struct sockaddr_un *)NULL)->sun_path
          && g_mkdtemp_full (folder, 0700))
        return folder;
      g_free (folder);
    }
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make a folder for a socket in %s",
                 g_get_tmp_dir ());
  return NULL;
}

/* Linux gives the new socket the mode that its file descriptor has. */
static int
bind_unix (const char *path, GError **error)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_autofree char *safe = h2k_escape_text (path, -1);
  int fd;

  if (strlen (path) >= sizeof address.sun_path)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s: is longer than the %zu bytes that a socket's path can have; choose another "
                   "place",
                   safe, sizeof address.sun_path - 1);
      return -1;
    }
  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && fchmod (fd, 0600) == 0
      && bind (fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  set_listen_error (fd, safe, error);
  return -1;
}

gboolean
h2k_nbd_server_listen_unix (H2kNbdServer *server, const char *path, GError **error)
{
  g_autofree char *absolute = NULL, *escaped = NULL, *end = NULL;
  struct stat st;
  int fd;

  if (!path)
    {
      server->folder = make_folder (error);
      if (!server->folder)
        return FALSE;
    }
  absolute = path ? g_canonicalize_filename (path, NULL)
                  : g_build_filename (server->folder, "nbd.sock", NULL);
  /* A relative path may fit where the absolute one is too long. */
  fd = bind_unix (path ? path : absolute, error);
  if (fd < 0)
    return FALSE;
  if (stat (absolute, &st) == 0)
    {
      server->dev = st.st_dev;
      server->ino = st.st_ino;
    }
  server->socket = g_steal_pointer (&absolute);
  if (listen (fd, SOMAXCONN) != 0)
    return set_listen_error (fd, server->socket, error);
  escaped = g_uri_escape_string (server->socket, "/", FALSE);
  end = g_strconcat ("?socket=", escaped, NULL);
  server->uri = make_uri ("nbd+unix:///", server->name, end);
  return start_listening (server, fd, error);
}

/* The URI of a listening socket; NULL: it is not known how to write it. */
static char *
uri_of (H2kNbdServer *server, int fd)
{
  union
  {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
  } address = {0};
  socklen_t length = sizeof address;
  char host[INET_ADDRSTRLEN];
  g_autofree char *start = NULL, *escaped = NULL, *end = NULL;

  if (getsockname (fd, &address.any, &length) != 0)
    return NULL;
  if (address.any.sa_family == AF_INET
      && inet_ntop (AF_INET, &address.in.sin_addr, host, sizeof host))
    {
      start = g_strdup_printf ("nbd://%s:%u/", host, ntohs (address.in.sin_port));
      return make_uri (start, server->name, NULL);
    }
  if (address.any.sa_family != AF_UNIX || length <= G_STRUCT_OFFSET (struct sockaddr_un, sun_path)
      || address.un.sun_path[0] != '/')
    return NULL;
  start = g_strndup (address.un.sun_path, sizeof address.un.sun_path);
  escaped = g_uri_escape_string (start, "/", FALSE);
  end = g_strconcat ("?socket=", escaped, NULL);
  return make_uri ("nbd+unix:///", server->name, end);
}

gboolean
h2k_nbd_server_listen_tcp (H2kNbdServer *server, guint16 port, GError **error)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons (port)};
  g_autofree char *place = g_strdup_printf ("127.0.0.1:%u", port);
  int one = 1, fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  if (fd < 0 || setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0
      || bind (fd, (struct sockaddr *)&address, sizeof address) != 0 || listen (fd, SOMAXCONN) != 0)
    return set_listen_error (fd, place, error);
  server->uri = uri_of (server, fd);
  return start_listening (server, fd, error);
}

gboolean
h2k_nbd_server_listen_fd (H2kNbdServer *server, int fd, GError **error)
{
  int listens = 0, type = 0;
  socklen_t length = sizeof listens;

  if (getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0
      || getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || !listens
      || type != SOCK_STREAM)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "the file descriptor %d that was handed over is no socket that listens", fd);
      return FALSE;
    }
  server->uri = uri_of (server, fd);
  return start_listening (server, fd, error);
}

/* --- life ------------------------------------------------------------------------------------- */

/* TEXT, cut off behind the last character that is whole within the protocol's bound. */
static char *
bounded (const char *text)
{
  g_autofree char *copy = g_strndup (text ? text : "", NBD_STRING_MAX);
  const char *end;

  g_utf8_validate (copy, -1, &end);
  return g_strndup (copy, (gsize)(end - copy));
}

H2kNbdServer *
h2k_nbd_server_new (H2kDisk *disk, const H2kNbdServerOptions *options)
{
  H2kNbdServer *server = g_new0 (H2kNbdServer, 1);

  g_assert (!options->writable || h2k_disk_is_writable (disk));
  server->disk = h2k_disk_ref (disk);
  server->name = bounded (options->name);
  server->description = bounded (options->description);
  server->writable = options->writable;
  server->max_connections = options->connections ? options->connections : MAX_CONNECTIONS;
  server->max_threads = options->threads ? options->threads : MAX_THREADS;
  server->cancellable = g_cancellable_new ();
  server->listener = -1;
  server->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  g_mutex_init (&server->lock);
  g_cond_init (&server->changed);
  server->connections = g_ptr_array_new ();
  if (server->wake < 0)
    g_error ("eventfd: %s", g_strerror (errno));
  return server;
}

const char *
h2k_nbd_server_uri (H2kNbdServer *server)
{
  return server->uri;
}

const char *
h2k_nbd_server_socket (H2kNbdServer *server)
{
  return server->socket;
}

guint
h2k_nbd_server_clients (H2kNbdServer *server)
{
  guint users;

  g_mutex_lock (&server->lock);
  users = server->users;
  g_mutex_unlock (&server->lock);
  return users;
}

static void
wake_waiting (GCancellable *cancellable, gpointer data)
{
  H2kNbdServer *server = data;

  g_mutex_lock (&server->lock);
  g_cond_broadcast (&server->changed);
  g_mutex_unlock (&server->lock);
}

void
h2k_nbd_server_wait (H2kNbdServer *server, gboolean until_last, GCancellable *cancellable)
{
  gulong id = cancellable
                  ? g_cancellable_connect (cancellable, G_CALLBACK (wake_waiting), server, NULL)
                  : 0;

  g_mutex_lock (&server->lock);
  while (!g_cancellable_is_cancelled (cancellable) && !g_atomic_int_get (&server->stopping)
         && !(until_last && server->used && server->users == 0))
    g_cond_wait (&server->changed, &server->lock);
  g_mutex_unlock (&server->lock);
  if (id)
    g_cancellable_disconnect (cancellable, id);
}

/* Nobody gets in any more. The path goes only while it is still our socket. */
static void
stop_listening (H2kNbdServer *server)
{
  struct stat st;

  eventfd_write (server->wake, 1);
  if (server->thread)
    g_thread_join (g_steal_pointer (&server->thread));
  if (server->listener >= 0)
    close (server->listener);
  server->listener = -1;
  if (server->socket && lstat (server->socket, &st) == 0 && S_ISSOCK (st.st_mode)
      && st.st_dev == server->dev && st.st_ino == server->ino)
    g_unlink (server->socket);
  if (server->folder)
    g_rmdir (server->folder);
}

/* With the lock. */
static void
shut_down_all (H2kNbdServer *server, int how)
{
  for (guint i = 0; i < server->connections->len; i++)
    {
      NbdConnection *c = server->connections->pdata[i];
      if (!c->done)
        shutdown (c->fd, how);
    }
}

void
h2k_nbd_server_stop (H2kNbdServer *server)
{
  gint64 until = g_get_monotonic_time () + GRACE;

  g_mutex_lock (&server->lock);
  if (!g_atomic_int_compare_and_exchange (&server->stopping, FALSE, TRUE))
    {
      g_mutex_unlock (&server->lock);
      return;
    }
  g_cond_broadcast (&server->changed);
  g_mutex_unlock (&server->lock);
  stop_listening (server);

  g_mutex_lock (&server->lock);
  shut_down_all (server, SHUT_RD);
  while (server->living && g_cond_wait_until (&server->changed, &server->lock, until))
    ;
  shut_down_all (server, SHUT_RDWR);
  g_mutex_unlock (&server->lock);
  g_cancellable_cancel (server->cancellable);
  g_mutex_lock (&server->lock);
  while (server->living)
    g_cond_wait (&server->changed, &server->lock);
  g_mutex_unlock (&server->lock);
  reap (server);
}

void
h2k_nbd_server_free (H2kNbdServer *server)
{
  if (!server)
    return;
  h2k_nbd_server_stop (server);
  g_ptr_array_unref (server->connections);
  close (server->wake);
  g_mutex_clear (&server->lock);
  g_cond_clear (&server->changed);
  g_object_unref (server->cancellable);
  h2k_disk_unref (server->disk);
  g_free (server->name);
  g_free (server->description);
  g_free (server->uri);
  g_free (server->socket);
  g_free (server->folder);
  g_clear_error (&server->failure);
  g_free (server);
}
