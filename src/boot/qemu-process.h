/* qemu-process.h - one running QEMU and the channels to it.
 *
 * The serial console, QMP, the marker's port and the firmware's log are socket pairs made before
 * QEMU is started: there is no path that another user could connect to, or that could be too long,
 * and an end of file says that QEMU is gone. QEMU is killed when the thread that started it dies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "boot/boot.h"
#include "boot/watch.h"

typedef struct _H2kQemu H2kQemu;

/* What QMP events have said so far. */
typedef struct
{
  guint guest_resets;
  gboolean shutdown; /* the guest powered off */
  gboolean panicked; /* the guest's pvpanic driver reported a panic */
  gboolean io_error; /* a disk request failed and stopped the guest */
  gboolean no_space; /* because the throw-away overlay could not grow */
  guint64
      block_requests; /* of all disks, as of the last h2k_qemu_ask_progress() that was answered */
} H2kQemuEvents;

typedef struct
{
  const H2kDomain *domain;
  const char *accel;
  const char *uefi_code, *uefi_vars; /* NULL: BIOS */
  gboolean headless;
  const char *dir; /* for QEMU's temporary files */
} H2kQemuOptions;

/* Start QEMU. Errors: H2K_ERROR_TOOL. */
H2kQemu *h2k_qemu_start (const H2kQemuOptions *options, GError **error);
/* Kills QEMU when it still runs, and waits for its end. */
void h2k_qemu_free (H2kQemu *qemu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kQemu, h2k_qemu_free)

/* Wait until the guest or QEMU says something, at most until UNTIL (monotonic microseconds), or
 * until CANCELLABLE is cancelled; feed WATCH. FALSE when QEMU has ended. */
gboolean h2k_qemu_wait (H2kQemu *qemu, H2kWatch *watch, gint64 until, GCancellable *cancellable);

const H2kQemuEvents *h2k_qemu_events (const H2kQemu *qemu);

/* Ask for the disks' statistics; the answer comes with a later h2k_qemu_wait(). */
void h2k_qemu_ask_progress (H2kQemu *qemu);
/* Ask for the text on the guest's screen, which h2k_qemu_wait() later gives to the watch. Nothing
 * comes of it when the machine has no VGA, or shows graphics. */
void h2k_qemu_ask_screen (H2kQemu *qemu);
/* Write what is on the guest's screen to PATH, as PNG; waits for it some seconds. FALSE when there
 * is no screen, or QEMU is too old for PNG. */
gboolean h2k_qemu_save_screen (H2kQemu *qemu, H2kWatch *watch, const char *path);
/* Press Ctrl-Alt-Del, on which every Linux init reboots. */
void h2k_qemu_press_reset_keys (H2kQemu *qemu);

/* What QEMU wrote to stderr, escaped. The caller's. */
char *h2k_qemu_messages (const H2kQemu *qemu);
