/* firstboot.h - the program that Windows guests run when they first boot on KVM.
 *
 * The other sources of this folder but firstboot.c and embed.S are that program's: they are
 * compiled for Windows (program.h is their header; run.c documents firstboot.ini, the lines on the
 * serial port and exit codes; service.c the values of the service's registry key).
 *
 * Thread-safety: any thread. What is returned lives as long as the library.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

/* h2k-firstboot.exe for ARCH ("x86_64", "i686", "aarch64"); NULL: this build has none for it. */
GBytes *h2k_firstboot_program (const char *arch);
