/* server.h - the process that offers a clone's originals to QEMU, as the clone's folder knows it.
 *
 * Originals that QEMU does not read itself are read by this program and offered over NBD on
 * sockets; the images over them name these as what they are backed by. The process that does it has
 * the clone's server.lock locked for as long as it lives: a record lock on the first byte, and one
 * on the second while somebody is connected. The kernel says who has a record lock, so nobody else
 * is ever taken for it, and no file has to be believed or tidied up after a crash.
 *
 * A process loses its record locks when it closes any descriptor of the file: the one that has them
 * must not call the other functions.
 *
 * Thread-safety: any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef enum
{
  H2K_SERVER_NONE, /* there is no such process */
  H2K_SERVER_IDLE, /* it waits for QEMU */
  H2K_SERVER_USED, /* somebody is connected */
} H2kServerUse;

/* Whether there is one for the clone in DIR; PID (may be NULL): which process, 0 if that cannot be
 * said. */
H2kServerUse h2k_clone_server_use (const char *dir, int *pid);

/* Become it: a file descriptor whose close ends that, or -1 with H2K_ERROR_OUTPUT: another process
 * is it, or the clone is gone. */
int h2k_clone_server_lock (const char *dir, GError **error);
/* Whether the lock FD is still that of the clone in DIR: not when the clone was deleted. */
gboolean h2k_clone_server_holds (int fd, const char *dir);
/* Say that somebody is connected, or no longer. */
void h2k_clone_server_set_used (int fd, gboolean used);

/* End it, if there is one, and wait until it is gone. FORCE: also while somebody is connected.
 * Errors: H2K_ERROR_OUTPUT (somebody is, or it cannot be ended). */
gboolean h2k_clone_server_stop (const char *dir, gboolean force, GError **error);

/* The socket for the disk DISK (0: the first) of the clone with this UUID: below $XDG_RUNTIME_DIR,
 * for root /run, short enough for an address wherever the store is. The caller's. */
char *h2k_clone_server_socket (const char *uuid, guint disk);
/* The name by which QEMU connects to SOCKET, and the other way round (NULL: it is none). The
 * caller's. */
char *h2k_clone_server_uri (const char *socket);
char *h2k_clone_server_uri_socket (const char *uri);
/* Make the folders of SOCKET, which nobody else may write to. Errors: H2K_ERROR_OUTPUT. */
gboolean h2k_clone_server_make_folder (const char *socket, GError **error);
