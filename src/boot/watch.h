/* watch.h - recognises proof and failure in what a booting guest says.
 *
 * It is fed the bytes of the guest's serial console, of the marker's port, and of the firmware's
 * log, and the text on its screen, and compares lines and prompts with one table of signs. Most
 * signs have to stand for a while before they count: a later proof refutes a failure, later text
 * refutes a prompt.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "boot/console.h"
#include "boot/firstboot.h"
#include "boot/marker.h"

typedef enum
{
  H2K_SIGN_LOGIN,   /* proof: a login prompt */
  H2K_SIGN_FAILURE, /* the boot has failed */
  H2K_SIGN_HINT,    /* not a failure by itself; explains a later one or a time out */
  H2K_SIGN_KERNEL,  /* the kernel, or what it started, speaks */
} H2kSignKind;

typedef enum
{
  H2K_INPUT_CONSOLE,  /* the serial console */
  H2K_INPUT_MARKER,   /* the marker's virtio port */
  H2K_INPUT_FIRMWARE, /* the firmware's debug log */
  H2K_N_INPUTS,
} H2kInput;

typedef struct
{
  H2kSignKind kind;
  /* Matches the line that has not ended, and has to stay there; else complete lines. */
  gboolean prompt;
  guint settle_ms;
  const char *regex;
  const char *meaning; /* one sentence for people */
  const char *advice;  /* what to do next */
} H2kSign;

/* Ended by a NULL regex. */
extern const H2kSign h2k_signs[];

typedef struct _H2kWatch H2kWatch;

/* NONCE (may be NULL) is what marker lines have to carry. */
H2kWatch *h2k_watch_new (const char *nonce);
void h2k_watch_free (H2kWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kWatch, h2k_watch_free)

/* NOW and the other times are microseconds of one clock. */
void h2k_watch_feed (H2kWatch *watch, H2kInput input, const guint8 *data, gsize length, gint64 now);

/* How often the screen is looked at: a prompt that is seen once may be gone a moment later. */
#define H2K_SCREEN_INTERVAL (2 * G_TIME_SPAN_SECOND)

/* The text that stands on the guest's screen now, rows ended by newlines. A boot loader without
 * its configuration speaks nowhere else. */
void h2k_watch_screen (H2kWatch *watch, const char *text, gint64 now);

/* A line that did not come from the guest, but says what became of it: a failure counts at once. */
void h2k_watch_report (H2kWatch *watch, const char *line, gint64 now);

/* Look at what has settled by NOW. Returns when to look again, or -1 when nothing is pending. */
gint64 h2k_watch_settle (H2kWatch *watch, gint64 now);

/* Forget the proof that was seen: the guest reboots. Marker lines of earlier boots stay known. */
void h2k_watch_forget (H2kWatch *watch);

/* What has been seen; NULL: not yet. Owned by WATCH. */
const H2kMarkerReport *h2k_watch_marker (const H2kWatch *watch); /* of the latest boot */
const H2kFirstboot *h2k_watch_firstboot (const H2kWatch *watch); /* never NULL */
const char *h2k_watch_login (const H2kWatch *watch);             /* the prompt */
gint64 h2k_watch_login_time (const H2kWatch *watch);
const H2kSign *h2k_watch_failure (const H2kWatch *watch, const char **line);
const H2kSign *h2k_watch_hint (const H2kWatch *watch, const char **line); /* the latest */
gboolean h2k_watch_kernel_seen (const H2kWatch *watch);
/* Bytes of console text seen, and when the last came. */
guint64 h2k_watch_bytes (const H2kWatch *watch, H2kInput input);

/* The console's tail, as h2k_console_tail(); the screen when nothing came over the console. */
char *h2k_watch_tail (const H2kWatch *watch, guint lines);
