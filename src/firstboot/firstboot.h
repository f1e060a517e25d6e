/* firstboot.h - the program that Windows guests run when they first boot on KVM, and its scripts.
 *
 * The other sources of this folder but firstboot.c and embed.S are that program's: they are
 * compiled for Windows, with program.h as their header. service.c documents the values of the
 * service's registry key; run.c firstboot.ini, the lines on the serial port, exit codes and
 * restarts; kinds.c how each kind of script is run.
 *
 * What the guest needs in \Program Files\hyper2kvm\firstboot, which only administrators may write:
 *
 *   h2k-firstboot.exe     the program for the guest's architecture; 32-bit ones do not do on others
 *   firstboot.ini         its settings; not needed
 *   scripts\              standard scripts and the user's own as 5NN-name, run in order of their
 * names drivers\              driver packages, one a folder, with publishers' certificates as *.cer
 *   data\                 what the standard scripts are told, each of them optional:
 *
 *     offline-drivers.txt 010-drivers: registry entries made offline (driver.c)
 *     network.ini         020-network, 030-ghost-nics: addresses and names (network.c)
 *     ghost-nics.txt      030-ghost-nics: adapters of the old machine (ghosts.c)
 *     old-tools.ini       040-old-tools: programs, services, drivers, Run values (tools.c)
 *     qemu-ga.msi         060-guest-agent
 *     restore.reg         900-cleanup: REGEDIT5 text for "reg import", UTF-16LE with its mark
 *
 * A script whose data file is missing does nothing and succeeds. Text files are UTF-8.
 *
 * Thread-safety: any thread. A GBytes is a reference of the caller's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

/* h2k-firstboot.exe for ARCH ("x86_64", "i686", "aarch64"); NULL: this build has none for it. */
GBytes *h2k_firstboot_program (const char *arch);

/* The names of the standard scripts in the order in which they run, ended by NULL. */
const char *const *h2k_firstboot_scripts (void);
/* One of them, with the line ends of Windows; NULL: there is none called NAME. */
GBytes *h2k_firstboot_script (const char *name);
