/* fd-calls.h - the system calls by which files and devices are written, in a table: tests put calls
 * in it that fail, or write less than they were asked to, at a point of their choice. Nobody else
 * changes it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

typedef struct
{
  ssize_t (*pwritev) (int fd, const struct iovec *iov, int n, off_t offset);
  int (*fsync) (int fd);
  int (*ftruncate) (int fd, off_t length);
} H2kFdCalls;

extern H2kFdCalls h2k_fd_calls;
