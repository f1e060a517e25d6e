/* exit-codes.h - the one list of exit codes; docs: hyper2kvm(1), EXIT STATUS.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "hyper2kvm.h"

enum
{
  EXIT_OK = 0,
  EXIT_FAILED = 1,        /* anything without a code of its own */
  EXIT_USAGE = 2,         /* options that do not exist or contradict each other */
  EXIT_SOURCE = 3,        /* a source cannot be opened or read */
  EXIT_FORMAT = 4,        /* a source is corrupt, truncated or of another format */
  EXIT_UNSUPPORTED = 5,   /* a valid format or guest that cannot be handled */
  EXIT_NO_OS = 6,         /* no operating system found */
  EXIT_FILESYSTEM = 7,    /* a guest filesystem is corrupt */
  EXIT_REPAIR = 8,        /* a repair the guest needs could not be made */
  EXIT_OUTPUT_EXISTS = 9, /* an output exists and --force was not given */
  EXIT_OUTPUT = 10,       /* an output cannot be written */
  EXIT_NO_SPACE = 11,     /* not enough space */
  EXIT_VERIFY = 12,       /* the output read back differs */
  EXIT_BOOT = 13,         /* the boot test did not pass */
  EXIT_TOOL = 14,         /* a program that is needed is missing */
  EXIT_LEAKS = 15,        /* an image has leaked space, but no other fault */
  EXIT_SIGNAL = 128,      /* + the signal's number: 130 after Ctrl-C, 143 after SIGTERM, 141
                           * (SIGPIPE) when nobody reads standard output any more */
};

/* The exit code of an error of the library. */
int exit_code (const GError *error);
