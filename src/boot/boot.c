/* boot.c - boots a throw-away copy of a VM and judges by what it says.
 *
 *   scratch copy ──► QEMU ──► console, marker, firmware log ──► watch ──► judge ──► verdict
 *                      └────► QMP events ──────────────────────────────────┘
 *
 * An attempt under KVM that hangs before the kernel speaks is repeated under emulation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/kvm.h"
#include "boot/qemu-process.h"
#include "boot/scratch.h"
#include "domain/arch.h"

#include <sys/utsname.h>

#define SECOND G_TIME_SPAN_SECOND
/* A guest that restarts this often before it has come up does not come up. Windows restarts while
 * it gets used to new hardware: so often without a word of the first-boot service is too often. */
#define MAX_RESETS 3
#define MAX_WINDOWS_RESETS 6
/* A guest that has asked its disks for so much runs, under KVM, too, though it says nothing. */
#define RUNNING_REQUESTS 2000
/* Without output, disk requests or a kernel for so long under KVM, KVM is what hangs. */
#define STALL (30 * SECOND)
/* How long the report of the marker unit may come after the login prompt: it waits a minute for the
 * network, and half a minute for the other units. */
#define MARKER_AFTER_LOGIN (150 * SECOND)
#define TAIL_LINES 15

typedef enum
{
  OUTCOME_NONE, /* not yet */
  OUTCOME_PASS,
  OUTCOME_FAILURE,
  OUTCOME_STOPPED,
  OUTCOME_TIMEOUT,
  OUTCOME_STALLED, /* under KVM: try emulation */
  OUTCOME_NO_SPACE,
  OUTCOME_CANCELLED,
} Outcome;

/* One attempt. */
typedef struct
{
  const H2kDomain *domain;
  const H2kBootOptions *options;
  GCancellable *cancellable;
  const H2kScratch *scratch;
  const char *accel;
  gboolean may_stall; /* emulation is left to try */
  gboolean firstboot; /* the proof is the first-boot service's report */
  H2kQemu *qemu;
  H2kWatch *watch;
  gboolean alive;
  gint64 start, end, now;

  /* The reboot inside the guest that was asked for: */
  gboolean rebooting;
  guint resets_before; /* when it was asked for */
  gboolean reset_seen;

  guint firstboot_lines; /* that had come when RESETS_BEFORE was set for the last time */

  guint64 activity; /* a sum that changes with everything the guest does */
  gint64 active;    /* when it last changed */
  gint64 asked;

  char *evidence;
  char *reason; /* why not: one sentence and what to do */
} Attempt;

void
h2k_boot_result_free (H2kBootResult *result)
{
  if (result == NULL)
    return;
  g_free (result->accel);
  g_free (result->accel_why);
  g_free (result->evidence);
  g_free (result->network);
  g_free (result->console);
  g_free (result->screen);
  g_free (result);
}

/* --- judging ---------------------------------------------------------------------------------- */

static guint
timeout_seconds (const Attempt *a)
{
  guint seconds = strcmp (a->accel, "kvm") == 0 ? 300 : 900;

  if (a->options->timeout > 0)
    return a->options->timeout;
  return a->firstboot ? seconds * 4 : seconds;
}

static void
set_reason (Attempt *a, const H2kSign *sign, const char *line)
{
  g_free (a->reason);
  a->reason = g_strdup_printf ("%s (\"%s\"): %s", sign->meaning, line, sign->advice);
}

/* Proof that the guest came up (again, when REBOOTING). Sets A's evidence. */
static gboolean
proof_seen (Attempt *a)
{
  const H2kMarkerReport *marker = h2k_watch_marker (a->watch);
  const H2kFirstboot *firstboot = h2k_watch_firstboot (a->watch);
  const char *login = h2k_watch_login (a->watch);
  const char *proof = NULL;

  if (a->firstboot)
    proof = firstboot->done && firstboot->failed == 0 ? firstboot->last : NULL;
  else if (marker != NULL && marker->boot >= (a->rebooting ? 2 : 1))
    proof = marker->line;
  else if (login != NULL && (!a->rebooting || a->reset_seen))
    {
      gint64 waited = a->now - h2k_watch_login_time (a->watch);

      /* The marker says more than the prompt, so it is waited for, but only so long. */
      if (a->scratch->nonce == NULL
          || (a->options->evidence == H2K_EVIDENCE_AUTO && waited > MARKER_AFTER_LOGIN))
        proof = login;
    }
  if (proof == NULL)
    return FALSE;
  g_free (a->evidence);
  a->evidence = g_strdup (proof);
  return TRUE;
}

/* The guest has come up, and is to do so once more. */
static void
start_reboot (Attempt *a)
{
  g_info ("boot: proof seen, now the guest reboots: %s", a->evidence);
  a->rebooting = TRUE;
  a->resets_before = h2k_qemu_events (a->qemu)->guest_resets;
  a->end = a->now + timeout_seconds (a) * SECOND;
  /* The marker unit reboots by itself. */
  if (h2k_watch_marker (a->watch) == NULL)
    h2k_qemu_press_reset_keys (a->qemu);
  h2k_watch_forget (a->watch);
}

/* The service's report is the guest's own word that not all is well. */
static Outcome
judge_firstboot (Attempt *a)
{
  const H2kFirstboot *report = h2k_watch_firstboot (a->watch);

  if (report->lines != a->firstboot_lines)
    {
      a->firstboot_lines = report->lines;
      a->resets_before = h2k_qemu_events (a->qemu)->guest_resets;
    }
  if (report->error != NULL)
    a->reason = g_strdup_printf ("Windows came up, but its first-boot service cannot do its work: "
                                 "%s",
                                 report->error);
  else if (report->done && report->failed > 0)
    a->reason = g_strdup_printf (
        "Windows came up, but %u of the first-boot service's scripts failed: %s; the lines above "
        "say why",
        report->failed, report->failures->len > 0 ? report->failures->str : "before this boot");
  return a->reason != NULL ? OUTCOME_FAILURE : OUTCOME_NONE;
}

static Outcome
judge_events (Attempt *a)
{
  const H2kQemuEvents *events = h2k_qemu_events (a->qemu);
  guint resets = events->guest_resets - a->resets_before;
  guint max = a->firstboot ? MAX_WINDOWS_RESETS : MAX_RESETS;

  if (events->no_space)
    return OUTCOME_NO_SPACE;
  if (events->io_error)
    {
      a->reason = g_strdup ("a disk could not be read or written: check the disk file");
      return OUTCOME_FAILURE;
    }
  if (a->rebooting && resets > 0 && !a->reset_seen)
    {
      a->reset_seen = TRUE;
      /* Prompts from before do not prove the second boot. */
      h2k_watch_forget (a->watch);
    }
  if (resets > max)
    {
      a->reason = g_strdup_printf ("the guest restarted %u times without coming up: its kernel "
                                   "most likely %s at once; look at its screen",
                                   resets, a->firstboot ? "stops" : "panics");
      return OUTCOME_FAILURE;
    }
  if (events->panicked)
    {
      a->reason = g_strdup (a->firstboot ? "Windows stopped with a stop error (blue screen)"
                                         : "the guest's kernel panicked: the console says why");
      return OUTCOME_FAILURE;
    }
  if (events->shutdown)
    {
      a->reason = g_strdup ("the guest powered off before it had come up");
      return OUTCOME_STOPPED;
    }
  return OUTCOME_NONE;
}

/* Whether KVM seems to hang: the kernel never spoke and nothing moves. */
static gboolean
stalled (Attempt *a)
{
  const H2kQemuEvents *events = h2k_qemu_events (a->qemu);
  guint64 activity = events->block_requests + events->guest_resets;

  if (!a->may_stall || h2k_watch_kernel_seen (a->watch)
      || (a->firstboot && events->block_requests > RUNNING_REQUESTS))
    return FALSE;
  for (guint i = 0; i < H2K_N_INPUTS; i++)
    activity += h2k_watch_bytes (a->watch, (H2kInput)i);
  if (activity != a->activity)
    {
      a->activity = activity;
      a->active = a->now;
    }
  return a->now - a->active > STALL;
}

static Outcome
judge (Attempt *a)
{
  const char *line;
  const H2kSign *failure;
  Outcome outcome;

  if (g_cancellable_is_cancelled (a->cancellable))
    return OUTCOME_CANCELLED;
  outcome = a->firstboot ? judge_firstboot (a) : OUTCOME_NONE;
  if (outcome == OUTCOME_NONE)
    outcome = judge_events (a);
  /* What QEMU showed last proves nothing when it has ended. */
  if (a->alive && proof_seen (a))
    {
      if (!a->options->reboot || a->rebooting)
        return OUTCOME_PASS;
      start_reboot (a);
    }
  failure = h2k_watch_failure (a->watch, &line);
  if (failure != NULL)
    {
      set_reason (a, failure, line);
      return OUTCOME_FAILURE;
    }
  if (outcome != OUTCOME_NONE)
    return outcome;
  if (!a->alive)
    return a->may_stall && !h2k_watch_kernel_seen (a->watch) ? OUTCOME_STALLED : OUTCOME_STOPPED;
  if (a->now >= a->end)
    return OUTCOME_TIMEOUT;
  return stalled (a) ? OUTCOME_STALLED : OUTCOME_NONE;
}

static void
explain_firstboot (Attempt *a)
{
  const H2kFirstboot *report = h2k_watch_firstboot (a->watch);

  if (report->running != NULL)
    a->reason = g_strdup_printf ("Windows came up, and its first-boot service was still at \"%s\"; "
                                 "give more time with --boot-timeout",
                                 report->running);
  else if (report->lines > 0)
    a->reason = g_strdup_printf ("Windows came up, but its first-boot service has not ended; its "
                                 "last word was \"%s\"",
                                 report->last);
  else
    a->reason = g_strdup ("nothing was heard of the first-boot service, which a migration puts "
                          "into Windows: look at the guest's screen, or give more time with "
                          "--boot-timeout");
}

/* Why the time ran out, as far as it can be known. */
static void
explain_timeout (Attempt *a)
{
  const char *line, *why = a->scratch->no_marker_why;
  const H2kSign *hint = h2k_watch_hint (a->watch, &line);
  const char *serial = h2k_arch_get (a->domain->arch)->serial;

  if (hint != NULL)
    set_reason (a, hint, line);
  else if (a->firstboot)
    explain_firstboot (a);
  else if (h2k_watch_bytes (a->watch, H2K_INPUT_CONSOLE) == 0)
    a->reason = g_strdup_printf (
        "nothing came over the serial console: add console=%s to the guest's kernel command line "
        "(GRUB_CMDLINE_LINUX in /etc/default/grub), or look at its screen%s%s%s",
        serial, why != NULL ? " (the marker unit could not be used: " : "", why != NULL ? why : "",
        why != NULL ? ")" : "");
  else if (a->rebooting)
    a->reason = g_strdup ("the guest came up once, but not again after a reboot");
  else if (h2k_watch_login (a->watch) != NULL)
    a->reason = g_strdup ("the login prompt appeared, but the marker unit did not report; "
                          "--evidence=login takes the prompt for proof");
  else
    a->reason = g_strdup_printf (
        "the serial console shows output, but no login prompt: if the guest does come up, enable "
        "one with \"systemctl enable serial-getty@%s\", or give more time with --boot-timeout",
        serial);
}

/* --- one attempt ------------------------------------------------------------------------------ */

static void
report_progress (Attempt *a)
{
  if (a->options->progress != NULL)
    a->options->progress ("boot", (guint64)((a->now - a->start) / SECOND),
                          (guint64)((a->end - a->start) / SECOND), a->options->progress_data);
}

/* Ask QEMU now and then for what it does not say by itself. */
static void
ask (Attempt *a)
{
  if (a->now - a->asked < H2K_SCREEN_INTERVAL)
    return;
  a->asked = a->now;
  if (a->may_stall)
    h2k_qemu_ask_progress (a->qemu);
  /* Once the kernel speaks on the console, that has the whole story; but not after a restart, which
   * Windows' service announces. */
  if (a->firstboot || !h2k_watch_kernel_seen (a->watch))
    h2k_qemu_ask_screen (a->qemu);
}

static Outcome
watch_until_verdict (Attempt *a)
{
  Outcome outcome;

  a->start = a->now = a->active = g_get_monotonic_time ();
  a->end = a->start + timeout_seconds (a) * SECOND;
  a->alive = TRUE;
  for (;;)
    {
      /* Once QEMU has ended nothing can refute what is pending any more. */
      gint64 next = h2k_watch_settle (a->watch, a->alive ? a->now : G_MAXINT64 - 1);

      outcome = judge (a);
      if (outcome != OUTCOME_NONE)
        return outcome;
      report_progress (a);
      ask (a);
      next = next < 0 ? a->end : MIN (next, a->end);
      a->alive = h2k_qemu_wait (a->qemu, a->watch, MIN (next, a->now + SECOND), a->cancellable);
      a->now = g_get_monotonic_time ();
    }
}

static void
explain_stop (Attempt *a)
{
  g_autofree char *messages = h2k_qemu_messages (a->qemu);

  if (a->reason != NULL)
    return;
  if (strstr (messages, "lock") != NULL)
    a->reason = g_strdup_printf ("QEMU could not open the disk, which another program uses; shut "
                                 "down the VM that runs from it: %s",
                                 messages);
  else
    a->reason
        = g_strdup_printf ("QEMU ended by itself%s%s", *messages != '\0' ? ": " : "", messages);
}

/* A picture of the screen at the place that was asked for; the name, the caller's. NULL: there is
 * none. */
static char *
save_screen (Attempt *a)
{
  g_autofree char *path = g_build_filename (a->scratch->dir, "screen.png", NULL);
  g_autofree char *data = NULL;
  g_autoptr (GError) error = NULL;
  gsize length;

  if (a->options->screen == NULL || !a->alive || !h2k_qemu_save_screen (a->qemu, a->watch, path))
    return NULL;
  /* What people see on a screen is not for everybody. */
  if (g_file_get_contents (path, &data, &length, &error)
      && g_file_set_contents_full (a->options->screen, data, (gssize)length,
                                   G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
    return g_strdup (a->options->screen);
  g_warning ("the picture of the guest's screen could not be saved: %s", error->message);
  return NULL;
}

static H2kBootResult *
make_result (Attempt *a, Outcome outcome, const char *accel_why)
{
  H2kBootResult *result = g_new0 (H2kBootResult, 1);
  const H2kMarkerReport *marker = h2k_watch_marker (a->watch);
  const char *line = NULL;

  result->verdict = outcome == OUTCOME_PASS      ? H2K_VERDICT_PASS
                    : outcome == OUTCOME_FAILURE ? H2K_VERDICT_FAILURE
                    : outcome == OUTCOME_TIMEOUT ? H2K_VERDICT_TIMEOUT
                                                 : H2K_VERDICT_STOPPED;
  result->accel = g_strdup (a->accel);
  result->accel_why = g_strdup (accel_why);
  if (outcome == OUTCOME_PASS)
    result->evidence = g_strdup (a->evidence);
  else if (h2k_watch_failure (a->watch, &line) != NULL)
    result->evidence = g_strdup (line);
  else if (a->firstboot && outcome == OUTCOME_FAILURE)
    result->evidence = g_strdup (h2k_watch_firstboot (a->watch)->last);
  result->network = marker == NULL ? NULL : h2k_marker_network (marker);
  result->seconds = (double)(a->now - a->start) / (double)SECOND;
  result->console = h2k_watch_tail (a->watch, G_MAXUINT);
  result->reboots = h2k_qemu_events (a->qemu)->guest_resets;
  if (outcome != OUTCOME_PASS && outcome != OUTCOME_CANCELLED)
    result->screen = save_screen (a);
  return result;
}

static void
set_outcome_error (Attempt *a, Outcome outcome, GError **error)
{
  const H2kDomainDisk *disk = g_ptr_array_index (a->domain->disks, 0);
  g_autofree char *tail = h2k_watch_tail (a->watch, TAIL_LINES);
  H2kError code = H2K_ERROR_BOOT;

  if (outcome == OUTCOME_CANCELLED)
    {
      h2k_is_cancelled (a->cancellable, error);
      return;
    }
  if (outcome == OUTCOME_NO_SPACE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
                   "the boot test ran out of space for its throw-away overlay in %s: free some, or "
                   "choose another place with --temp-dir",
                   a->scratch->dir);
      return;
    }
  if (outcome == OUTCOME_TIMEOUT)
    explain_timeout (a);
  if (outcome == OUTCOME_STOPPED)
    {
      explain_stop (a);
      /* QEMU itself, not the guest. */
      if (!h2k_qemu_events (a->qemu)->shutdown)
        code = H2K_ERROR_TOOL;
    }
  g_set_error (error, H2K_ERROR, code, "%s did not boot%s: %s%s%s", disk->path,
               outcome == OUTCOME_TIMEOUT ? " in time" : "", a->reason,
               *tail != '\0' ? "\nThe last lines of the console:\n" : "", tail);
}

/* Boot once under ACCEL. */
static Outcome
attempt (const H2kDomain *domain, const H2kBootOptions *options, const char *accel,
         const char *accel_why, gboolean may_stall, GCancellable *cancellable,
         H2kBootResult **result, GError **error)
{
  g_autoptr (H2kScratch) scratch = h2k_scratch_new (domain, options, error);
  g_autoptr (H2kWatch) watch = NULL;
  g_autoptr (H2kQemu) qemu = NULL;
  Attempt a = {.domain = domain,
               .options = options,
               .cancellable = cancellable,
               .scratch = scratch,
               .accel = accel,
               .may_stall = may_stall,
               .firstboot = h2k_boot_by_firstboot (domain, options)};
  H2kQemuOptions start = {.accel = accel, .headless = options->headless};
  Outcome outcome;

  if (scratch == NULL || h2k_is_cancelled (cancellable, error))
    return OUTCOME_CANCELLED;
  start.dir = scratch->dir;
  start.domain = scratch->domain;
  start.uefi_code = scratch->uefi_code;
  start.uefi_vars = scratch->uefi_vars;
  a.watch = watch = h2k_watch_new (scratch->nonce);
  a.qemu = qemu = h2k_qemu_start (&start, error);
  if (qemu == NULL)
    return OUTCOME_CANCELLED;
  outcome = watch_until_verdict (&a);
  if (outcome != OUTCOME_STALLED)
    *result = make_result (&a, outcome, accel_why);
  if (outcome != OUTCOME_PASS && outcome != OUTCOME_STALLED)
    set_outcome_error (&a, outcome, error);
  g_free (a.evidence);
  g_free (a.reason);
  return outcome;
}

/* --- the accelerator -------------------------------------------------------------------------- */

/* The accelerator to begin with; NULL on error. WHY: why not KVM. */
static const char *
choose_accel (const H2kDomain *domain, const H2kBootOptions *options, const char **why,
              GError **error)
{
  gboolean forced = g_strcmp0 (options->accel, "kvm") == 0;
  struct utsname host;

  *why = NULL;
  if (g_strcmp0 (options->accel, "tcg") == 0)
    *why = "emulation was asked for";
  else if (options->accel != NULL && !forced)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "\"%s\" is no accelerator: \"kvm\" or \"tcg\"", options->accel);
      return NULL;
    }
  else if (uname (&host) != 0 || strcmp (host.machine, h2k_arch_get (domain->arch)->libvirt) != 0)
    *why = "the guest is for another architecture than this host's";
  else
    h2k_kvm_works (why);
  if (*why == NULL)
    return "kvm";
  if (!forced)
    return "tcg";
  g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
               "KVM does not work here: %s; leave the accelerator open for emulation", *why);
  return NULL;
}

gboolean
h2k_boot_domain (const H2kDomain *domain, const H2kBootOptions *options, GCancellable *cancellable,
                 H2kBootResult **result, GError **error)
{
  g_autoptr (H2kBootResult) seen = NULL;
  const char *accel, *why;
  Outcome outcome;

  g_return_val_if_fail (domain->disks->len > 0, FALSE);
  if (result != NULL)
    *result = NULL;
  if (h2k_is_cancelled (cancellable, error))
    return FALSE;
  if (options->reboot && h2k_boot_by_firstboot (domain, options))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "the boot test cannot ask Windows for a reboot: its first-boot service, which "
                   "is the proof, restarts it as often as it has to");
      return FALSE;
    }
  accel = choose_accel (domain, options, &why, error);
  if (accel == NULL)
    return FALSE;
  if (why != NULL)
    g_info ("boot: emulation, since %s", why);
  outcome
      = attempt (domain, options, accel, why, strcmp (accel, "kvm") == 0 && options->accel == NULL,
                 cancellable, &seen, error);
  if (outcome == OUTCOME_STALLED)
    {
      why = "the guest hung under KVM before its kernel said anything";
      g_message ("boot: %s; once more under emulation", why);
      outcome = attempt (domain, options, "tcg", why, FALSE, cancellable, &seen, error);
    }
  if (result != NULL)
    *result = g_steal_pointer (&seen);
  return outcome == OUTCOME_PASS;
}
