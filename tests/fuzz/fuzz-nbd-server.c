/* fuzz-nbd-server.c - the input is what an NBD client sends, to a server of a small disk. Its first
 * byte says whether the disk takes writes, and whether the negotiation is spared: then requests
 * follow at once, with structured replies or without.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 200001

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

enum
{
  WRITABLE = 1,
  AT_ONCE = 2,
  SIMPLE = 4,
};

/* Client flags, structured replies, base:allocation, NBD_OPT_GO. */
static const char start[] = "\0\0\0\3"
                            "IHAVEOPT\0\0\0\x8\0\0\0\0"
                            "IHAVEOPT\0\0\0\xa\0\0\0\x1b\0\0\0\0\0\0\0\1\0\0\0\xf"
                            "base:allocation"
                            "IHAVEOPT\0\0\0\x7\0\0\0\6\0\0\0\0\0";
static const char simple_start[] = "\0\0\0\3"
                                   "IHAVEOPT\0\0\0\1\0\0\0";

static H2kDisk *
make_disk (void)
{
  g_autoptr (H2kDisk) base = h2k_memory_disk_new (SIZE);

  if (!h2k_disk_pwrite (base, 70000, 5, "data", NULL))
    g_error ("the disk takes no data");
  return h2k_overlay_new (base, NULL, 1 << 20);
}

/* Send what is in INPUT, one after the other, while reading everything that comes. */
static void
talk (int fd, GByteArray *input)
{
  static guint8 output[1 << 18];
  gsize sent = 0;
  gboolean open = TRUE;

  for (ssize_t n = 1; n != 0;)
    {
      struct pollfd poll_fd = {.fd = fd, .events = (short)(POLLIN | (open ? POLLOUT : 0))};

      if (poll (&poll_fd, 1, 8000) < 0)
        continue;                               /* the fuzzer's timer */
      g_assert_cmpint (poll_fd.revents, !=, 0); /* the server goes on */
      if (open && poll_fd.revents & (POLLOUT | POLLERR | POLLHUP))
        {
          n = send (fd, input->data + sent, input->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
          sent += n > 0 ? (gsize)n : 0;
          open = sent < input->len && (n >= 0 || errno == EAGAIN);
          if (!open)
            shutdown (fd, SHUT_WR);
        }
      n = recv (fd, output, sizeof output, MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN)
        return;
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GByteArray) input = g_byte_array_new ();
  guint mode = size ? *data : 0;
  g_autoptr (H2kDisk) disk = make_disk ();
  H2kNbdServerOptions options = {.writable = mode & WRITABLE, .threads = 1};
  g_autoptr (H2kNbdServer) server = h2k_nbd_server_new (disk, &options);
  int fds[2];

  if (size < 1 || size > 1 << 16)
    return 0;
  if (mode & AT_ONCE && mode & SIMPLE)
    g_byte_array_append (input, (const guint8 *)simple_start, sizeof simple_start);
  else if (mode & AT_ONCE)
    g_byte_array_append (input, (const guint8 *)start, sizeof start);
  g_byte_array_append (input, data + 1, (guint)size - 1);
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0
      || !h2k_nbd_server_add (server, fds[0]))
    g_error ("there is no connection");
  talk (fds[1], input);
  close (fds[1]);
  return 0;
}
