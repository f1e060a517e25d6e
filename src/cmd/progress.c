/* progress.c - how far a long operation is: a bar, lines, or JSON events.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"
#include "util/util.h"

#include <json-glib/json-glib.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef enum
{
  MODE_AUTO,
  MODE_BAR,
  MODE_PLAIN,
  MODE_JSON,
  MODE_NONE,
} Mode;

static struct
{
  Mode mode;
  char phase[32];
  gint64 started; /* monotonic microseconds */
  gint64 drawn;
  int tenth; /* the last tenth that was printed */
  gboolean on_screen;
} progress;

static const char *const modes[] = {"auto", "bar", "plain", "json", "none"};

gboolean
cmd_progress_set_mode (const char *mode)
{
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++)
    if (g_str_equal (modes[i], mode))
      {
        progress.mode = (Mode)i;
        return TRUE;
      }
  return FALSE;
}

static Mode
mode (void)
{
  if (progress.mode == MODE_AUTO)
    progress.mode = isatty (STDERR_FILENO) && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0
                        ? MODE_BAR
                        : MODE_PLAIN;
  return progress.mode;
}

gboolean
cmd_progress_is_json (void)
{
  return progress.mode == MODE_JSON;
}

void
cmd_progress_clear (void)
{
  if (!progress.on_screen)
    return;
  fputs ("\r\033[K", stderr);
  progress.on_screen = FALSE;
}

static gboolean
is_seconds (void)
{
  return g_str_equal (progress.phase, "boot");
}

static double
rate (guint64 done)
{
  double seconds = (double)(g_get_monotonic_time () - progress.started) / G_USEC_PER_SEC;

  return seconds > 0.2 ? (double)done / seconds : 0;
}

/* "612.0 MiB/s, 0:12 left", or the time-out in phase "boot". */
static char *
describe (guint64 done, guint64 total)
{
  double r = rate (done);
  g_autofree char *per_second = NULL;
  guint left;

  if (is_seconds ())
    return g_strdup_printf ("%" G_GUINT64_FORMAT " s of at most %" G_GUINT64_FORMAT " s", done,
                            total);
  if (r <= 0)
    return g_strdup ("");
  per_second = h2k_format_size ((guint64)r);
  left = (guint)((double)(total - done) / r);
  return g_strdup_printf ("%s/s, %u:%02u left", per_second, left / 60, left % 60);
}

static void
draw_bar (guint64 done, guint64 total)
{
  g_autofree char *text = describe (done, total);
  g_autofree char *bar = NULL;
  struct winsize size = {0};
  int width = 20, filled;

  if (ioctl (STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 60)
    width = MIN (size.ws_col - 50, 60);
  filled = (int)((double)width * (double)done / (double)total);
  bar = g_malloc0 ((gsize)width + 1);
  memset (bar, '-', (gsize)width);
  memset (bar, '#', (gsize)filled);
  fprintf (stderr, "\r\033[K%-7s [%s] %3d%% %s", progress.phase, bar,
           (int)(100.0 * (double)done / (double)total), text);
  fflush (stderr);
  progress.on_screen = TRUE;
}

static void
print_json (guint64 done, guint64 total)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  double r = rate (done);

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "event");
  json_builder_add_string_value (builder, "progress");
  json_builder_set_member_name (builder, "phase");
  json_builder_add_string_value (builder, progress.phase);
  json_builder_set_member_name (builder, "done");
  json_builder_add_int_value (builder, (gint64)done);
  json_builder_set_member_name (builder, "total");
  json_builder_add_int_value (builder, (gint64)total);
  json_builder_set_member_name (builder, "unit");
  json_builder_add_string_value (builder, is_seconds () ? "seconds" : "bytes");
  if (r > 0 && !is_seconds () && total >= done)
    {
      json_builder_set_member_name (builder, "rate");
      json_builder_add_double_value (builder, r);
      json_builder_set_member_name (builder, "eta");
      json_builder_add_double_value (builder, (double)(total - done) / r);
    }
  json_builder_end_object (builder);
  g_autoptr (JsonNode) node = json_builder_get_root (builder);
  g_autofree char *text = json_to_string (node, FALSE);
  fprintf (stderr, "%s\n", text);
}

/* Whether it is time to print again: each tenth for lines, five times a second else. */
static gboolean
due (guint64 done, guint64 total)
{
  gint64 now = g_get_monotonic_time ();
  int tenth = total ? (int)((double)done * 10 / (double)total) : 0;

  if (mode () == MODE_PLAIN)
    {
      if (tenth <= progress.tenth)
        return FALSE;
      progress.tenth = tenth;
      return TRUE;
    }
  if (now - progress.drawn < G_USEC_PER_SEC / 5 && done != total)
    return FALSE;
  progress.drawn = now;
  return TRUE;
}

void
cmd_progress (const char *phase, guint64 done, guint64 total, gpointer data)
{
  if (mode () == MODE_NONE)
    return;
  if (!g_str_equal (phase, progress.phase))
    {
      cmd_progress_clear ();
      g_strlcpy (progress.phase, phase, sizeof progress.phase);
      progress.started = g_get_monotonic_time ();
      progress.drawn = 0;
      progress.tenth = 0;
    }
  if (mode () == MODE_JSON ? !due (done, total) && done != 0 : total == 0 || !due (done, total))
    return;
  if (mode () == MODE_JSON)
    print_json (done, total);
  else if (mode () == MODE_BAR)
    draw_bar (MIN (done, total), total);
  else
    {
      g_autofree char *text = describe (MIN (done, total), total);
      fprintf (stderr, "hyper2kvm: %s: %d%%%s%s\n", phase, progress.tenth * 10, *text ? ", " : "",
               text);
    }
}

void
cmd_progress_finish (void)
{
  cmd_progress_clear ();
}
