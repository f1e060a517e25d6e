/* nbd-server.h - a disk offered to others on this host over NBD, for as long as this process wants.
 *
 * One export of one disk. Clients may connect several times and have several requests under way on
 * each connection; what one of them wrote and was told of, all of them read. Clients are not
 * trusted: one that breaks the protocol, goes away or never reads loses its own connection, and
 * holds no more than a bounded amount of memory. Who may connect is decided by who can reach the
 * socket.
 *
 * Thread-safety: the functions may be called by one thread at a time, but for
 * h2k_nbd_server_wait(), _check(), _clients(), _requests() and _stop(), which may be called by any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct _H2kNbdServer H2kNbdServer;

typedef struct
{
  const char *name;        /* of the export; NULL: "", the default one */
  const char *description; /* for people; NULL: none. Both are cut off at 4096 bytes */
  gboolean writable;       /* the disk takes writes by several threads at once: an overlay */
  guint connections;       /* at once, more of them wait; 0: 16 */
  guint threads;           /* a connection: as many requests are worked on; 0: 8 */
} H2kNbdServerOptions;

/* A server of DISK, of which it keeps a reference, without a socket yet. */
H2kNbdServer *h2k_nbd_server_new (H2kDisk *disk, const H2kNbdServerOptions *options);

/* Listen, in one of these ways, once. PATH is a socket to be made, of mode 0600; NULL: one in a
 * folder of its own, of mode 0700, in the folder for temporary files. Errors: H2K_ERROR_USAGE (a
 * path that is too long), _OUTPUT_EXISTS, _OUTPUT. */
gboolean h2k_nbd_server_listen_unix (H2kNbdServer *server, const char *path, GError **error);
/* On 127.0.0.1, where every user of this host gets in. PORT 0: one that is free. */
gboolean h2k_nbd_server_listen_tcp (H2kNbdServer *server, guint16 port, GError **error);
/* On FD, a stream socket that listens already, which is taken over. */
gboolean h2k_nbd_server_listen_fd (H2kNbdServer *server, int fd, GError **error);

/* Serve the client at the other end of FD, a connected stream socket, which is taken over. FALSE:
 * the server is stopping, or no thread could be started. */
gboolean h2k_nbd_server_add (H2kNbdServer *server, int fd);

/* Where it listens, as NBD's doc/uri.md writes it; NULL before it does, and for a listening socket
 * of unknown kind. */
const char *h2k_nbd_server_uri (H2kNbdServer *server);
/* The socket's path; NULL: it is none of this server's making. */
const char *h2k_nbd_server_socket (H2kNbdServer *server);

/* Whether the disk did all that clients asked for. FALSE: ERROR is the first of the disk's own
 * errors that a client was told of. A guest's kernel that writes later than its programs may have
 * nobody to tell. */
gboolean h2k_nbd_server_check (H2kNbdServer *server, GError **error);

/* How many are connected that have begun to use the export. */
guint h2k_nbd_server_clients (H2kNbdServer *server);
/* How many requests were taken from clients; it begins again at 0 after G_MAXUINT. */
guint h2k_nbd_server_requests (H2kNbdServer *server);

/* Wait until CANCELLABLE is cancelled; with UNTIL_LAST also until nobody is connected any more who
 * had begun to use the export. */
void h2k_nbd_server_wait (H2kNbdServer *server, gboolean until_last, GCancellable *cancellable);
/* Listen no more, answer what is under way for at most two seconds, disconnect everybody and join
 * all threads. The socket and its folder are removed. Waits for reads of the disk that cannot be
 * cancelled. Nothing happens the second time. */
void h2k_nbd_server_stop (H2kNbdServer *server);
/* Stops it first. */
void h2k_nbd_server_free (H2kNbdServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kNbdServer, h2k_nbd_server_free)
