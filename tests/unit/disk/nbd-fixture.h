/* nbd-fixture.h - NBD servers on a socket in the fixture's folder.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "remote-fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

static inline char *
uri_of (Fixture *f)
{
  return g_strdup_printf ("nbd+unix:///?socket=%s/sock", f->folder);
}

/* Until somebody listens there. */
static inline void
wait_for_socket (Fixture *f)
{
  g_autofree char *path = g_build_filename (f->folder, "sock", NULL);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  for (guint i = 0; i < 1000; i++)
    if (connect (fd, (struct sockaddr *)&address, sizeof address) == 0)
      break;
    else
      g_usleep (10000);
  close (fd);
}

static inline GSubprocess *
start_nbdkit (Fixture *f, const char *args)
{
  g_autofree char *path = g_build_filename (f->folder, "sock", NULL);
  GSubprocess *server;

  g_unlink (path);
  server = start_server (f, "nbdkit -f -U sock --log=null %s", args);
  wait_for_socket (f);
  return server;
}

/* How often WORD is in the file "log". */
static inline guint
count_in_log (Fixture *f, const char *word)
{
  gsize size;
  g_autofree char *log = (char *)load (f, "log", &size);
  guint n = 0;

  for (const char *at = log; (at = strstr (at, word)); at++)
    n++;
  return n;
}
