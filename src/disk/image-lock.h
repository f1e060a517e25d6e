/* image-lock.h - QEMU's locks on image files, looked at and respected.
 *
 * A QEMU that has an image open holds byte-range locks on it: a byte for each thing that it does
 * with the image, and another one for each thing that nobody else may do meanwhile (QEMU's
 * block/file-posix.c; not on filesystems without locks). They are "open file description" locks:
 * they belong to who has the file open, not to a process, so looking at them from the process that
 * holds them is safe.
 *
 * Thread-safety: all functions may be called from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef enum
{
  H2K_IMAGE_FREE,    /* nobody holds a lock, or the filesystem has none */
  H2K_IMAGE_READ,    /* somebody reads it and relies on it not to change */
  H2K_IMAGE_WRITTEN, /* somebody writes to it: a VM is running on it */
} H2kImageUse;

/* What others do with the image PATH. FREE also for what cannot be opened. */
H2kImageUse h2k_image_use (const char *path);
/* The same of one that is open as FD. */
H2kImageUse h2k_image_use_fd (int fd);

/* Hold the image PATH as a QEMU that writes to it would, so that none can start on it. Returns a
 * file descriptor whose close ends this, the caller's, or -1. Errors: H2K_ERROR_SOURCE (it cannot
 * be opened), H2K_ERROR_OUTPUT (somebody has it: the message says who, where that can be seen). */
int h2k_image_lock (const char *path, GError **error);

/* Who has the file PATH open, as far as this user may see it: "qemu-system-x86_64 (PID 4711)";
 * NULL: nobody seen. This process does not count. The caller's. */
char *h2k_file_users (const char *path);
