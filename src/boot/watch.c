/* watch.c - compares what a guest says with the table of signs.
 *
 * A sign that was seen is pending until its time to settle is over. Then a line's sign counts; a
 * prompt's sign counts when the prompt still is the line that has not ended.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/watch.h"

typedef struct
{
  const H2kSign *sign; /* NULL: nothing */
  char *line;          /* escaped */
  gint64 due;
} Seen;

typedef struct
{
  H2kWatch *watch;
  H2kInput number;
  H2kConsole *console;
  guint64 bytes;
} Input;

struct _H2kWatch
{
  Input inputs[H2K_N_INPUTS];
  GRegex **regexes; /* parallel to h2k_signs */
  char *nonce;
  gint64 now; /* while lines are looked at */

  Seen failure;       /* pending, or settled */
  Seen prompt;        /* pending: the login prompt or a failure's prompt */
  Seen screen_prompt; /* the same on the screen */
  char *screen;       /* what stands there */
  char *screen_text;  /* what last stood there that was not blank, as before graphics came */
  Seen hint;
  gboolean failed;
  char *login;
  gint64 login_time;
  gboolean kernel_seen;
  H2kMarkerReport *marker;
  H2kFirstboot *firstboot;
};

static void
seen_clear (Seen *seen)
{
  g_clear_pointer (&seen->line, g_free);
  seen->sign = NULL;
}

static void
seen_set (Seen *seen, const H2kSign *sign, const char *line, gint64 due)
{
  seen_clear (seen);
  seen->sign = sign;
  seen->line = h2k_escape_text (line, -1);
  seen->due = due;
}

static gboolean
matches (const H2kWatch *watch, const H2kSign *sign, const char *text)
{
  return g_regex_match (watch->regexes[sign - h2k_signs], text, 0, NULL);
}

static void
found_login (H2kWatch *watch, const char *line)
{
  if (watch->login != NULL)
    return;
  watch->login = h2k_escape_text (line, -1);
  g_strchomp (watch->login);
  watch->login_time = watch->now;
}

/* Compare LINE with the signs that are not prompts. */
static void
look_for_signs (H2kWatch *watch, const char *line)
{
  for (const H2kSign *sign = h2k_signs; sign->regex != NULL; sign++)
    {
      if (sign->prompt || (sign->kind == H2K_SIGN_KERNEL && watch->kernel_seen)
          || !matches (watch, sign, line))
        continue;
      switch (sign->kind)
        {
        case H2K_SIGN_LOGIN:
          found_login (watch, line);
          break;
        case H2K_SIGN_FAILURE:
          if (watch->failure.sign == NULL)
            seen_set (&watch->failure, sign, line,
                      watch->now + sign->settle_ms * G_TIME_SPAN_MILLISECOND);
          break;
        case H2K_SIGN_HINT:
          seen_set (&watch->hint, sign, line, watch->now);
          break;
        case H2K_SIGN_KERNEL:
          watch->kernel_seen = TRUE;
          break;
        }
    }
}

static void
on_line (const char *line, gpointer data)
{
  Input *input = data;
  H2kWatch *watch = input->watch;

  if (watch->nonce != NULL && input->number != H2K_INPUT_FIRMWARE)
    {
      H2kMarkerReport *report = h2k_marker_parse (line, watch->nonce);

      /* Both ways of the report arrive; the later one says the same. */
      if (report != NULL && (watch->marker == NULL || report->boot > watch->marker->boot))
        {
          h2k_marker_report_free (watch->marker);
          watch->marker = g_steal_pointer (&report);
        }
      h2k_marker_report_free (report);
    }
  if (input->number == H2K_INPUT_MARKER)
    return;
  if (input->number == H2K_INPUT_CONSOLE && h2k_firstboot_line (watch->firstboot, line))
    watch->kernel_seen = TRUE;
  /* What a script writes says nothing of the boot. */
  if (watch->firstboot->lines > 0 && *line == '|')
    return;
  look_for_signs (watch, line);
}

H2kWatch *
h2k_watch_new (const char *nonce)
{
  H2kWatch *watch = g_new0 (H2kWatch, 1);
  guint n = 0;

  while (h2k_signs[n].regex != NULL)
    n++;
  watch->regexes = g_new0 (GRegex *, n + 1);
  for (guint i = 0; i < n; i++)
    {
      /* Guests write what bytes they like: no UTF-8 is assumed. */
      watch->regexes[i] = g_regex_new (h2k_signs[i].regex, G_REGEX_RAW | G_REGEX_OPTIMIZE, 0, NULL);
      g_assert (watch->regexes[i] != NULL);
    }
  watch->nonce = g_strdup (nonce);
  watch->firstboot = h2k_firstboot_new ();
  for (guint i = 0; i < H2K_N_INPUTS; i++)
    {
      watch->inputs[i].watch = watch;
      watch->inputs[i].number = (H2kInput)i;
      watch->inputs[i].console = h2k_console_new (on_line, &watch->inputs[i]);
    }
  return watch;
}

void
h2k_watch_free (H2kWatch *watch)
{
  if (watch == NULL)
    return;
  for (guint i = 0; i < H2K_N_INPUTS; i++)
    h2k_console_free (watch->inputs[i].console);
  for (GRegex **r = watch->regexes; *r != NULL; r++)
    g_regex_unref (*r);
  g_free (watch->regexes);
  seen_clear (&watch->failure);
  seen_clear (&watch->prompt);
  seen_clear (&watch->screen_prompt);
  seen_clear (&watch->hint);
  g_free (watch->screen);
  g_free (watch->screen_text);
  h2k_marker_report_free (watch->marker);
  h2k_firstboot_free (watch->firstboot);
  g_free (watch->login);
  g_free (watch->nonce);
  g_free (watch);
}

/* The sign of PROMPT, the line that something stands at; NULL: it is none. */
static const H2kSign *
prompt_sign (const H2kWatch *watch, const char *prompt)
{
  for (const H2kSign *sign = h2k_signs; *prompt != '\0' && sign->regex != NULL; sign++)
    if (sign->prompt && matches (watch, sign, prompt))
      return sign;
  return NULL;
}

/* SEEN follows what stands at the end of the console or the screen: LINE. It counts when it stands
 * there SAMPLE microseconds longer than its sign asks for. */
static void
track_prompt (H2kWatch *watch, Seen *seen, const char *line, gint64 sample)
{
  const H2kSign *sign = prompt_sign (watch, line);

  if (sign == NULL)
    seen_clear (seen);
  else if (sign != seen->sign)
    seen_set (seen, sign, line, watch->now + sign->settle_ms * G_TIME_SPAN_MILLISECOND + sample);
}

void
h2k_watch_feed (H2kWatch *watch, H2kInput input, const guint8 *data, gsize length, gint64 now)
{
  H2kConsole *console = watch->inputs[input].console;

  watch->now = now;
  watch->inputs[input].bytes += length;
  h2k_console_feed (console, data, length);
  if (input == H2K_INPUT_CONSOLE)
    track_prompt (watch, &watch->prompt, h2k_console_partial (console), 0);
}

void
h2k_watch_screen (H2kWatch *watch, const char *text, gint64 now)
{
  g_auto (GStrv) rows = g_strsplit (text, "\n", -1);
  const char *last = "";

  if (g_strcmp0 (text, watch->screen) == 0)
    return;
  watch->now = now;
  g_free (watch->screen);
  watch->screen = g_strdup (text);
  if (text[strspn (text, " \n")] != '\0')
    {
      g_free (watch->screen_text);
      watch->screen_text = g_strdup (text);
    }
  for (char **row = rows; *row != NULL; row++)
    {
      g_strchomp (*row);
      if (**row == '\0')
        continue;
      look_for_signs (watch, *row);
      last = *row;
    }
  track_prompt (watch, &watch->screen_prompt, last, H2K_SCREEN_INTERVAL);
}

void
h2k_watch_report (H2kWatch *watch, const char *line, gint64 now)
{
  watch->now = now;
  look_for_signs (watch, line);
  watch->failed |= watch->failure.sign != NULL;
}

/* Take what PROMPT stands for when it has stood long enough. */
static void
settle_prompt (H2kWatch *watch, Seen *prompt)
{
  if (prompt->sign == NULL || watch->now < prompt->due)
    return;
  if (prompt->sign->kind == H2K_SIGN_LOGIN)
    found_login (watch, prompt->line);
  else if (!watch->failed)
    {
      seen_set (&watch->failure, prompt->sign, prompt->line, watch->now);
      watch->failed = TRUE;
    }
  /* The sign stays, so that the same prompt is not pending again. */
  prompt->due = G_MAXINT64;
}

static gint64
earlier (gint64 a, const Seen *seen)
{
  if (seen->sign == NULL || seen->due == G_MAXINT64)
    return a;
  return a < 0 ? seen->due : MIN (a, seen->due);
}

gint64
h2k_watch_settle (H2kWatch *watch, gint64 now)
{
  gint64 next;

  watch->now = now;
  /* The line before a prompt says more than the prompt. */
  if (watch->failure.sign != NULL && now >= watch->failure.due)
    watch->failed = TRUE;
  settle_prompt (watch, &watch->prompt);
  settle_prompt (watch, &watch->screen_prompt);
  next = earlier (earlier (-1, &watch->prompt), &watch->screen_prompt);
  return watch->failed ? next : earlier (next, &watch->failure);
}

void
h2k_watch_forget (H2kWatch *watch)
{
  g_clear_pointer (&watch->login, g_free);
  seen_clear (&watch->prompt);
  seen_clear (&watch->screen_prompt);
}

const H2kMarkerReport *
h2k_watch_marker (const H2kWatch *watch)
{
  return watch->marker;
}

const H2kFirstboot *
h2k_watch_firstboot (const H2kWatch *watch)
{
  return watch->firstboot;
}

const char *
h2k_watch_login (const H2kWatch *watch)
{
  return watch->login;
}

gint64
h2k_watch_login_time (const H2kWatch *watch)
{
  return watch->login_time;
}

const H2kSign *
h2k_watch_failure (const H2kWatch *watch, const char **line)
{
  *line = watch->failure.line;
  return watch->failed ? watch->failure.sign : NULL;
}

const H2kSign *
h2k_watch_hint (const H2kWatch *watch, const char **line)
{
  *line = watch->hint.line;
  return watch->hint.sign;
}

gboolean
h2k_watch_kernel_seen (const H2kWatch *watch)
{
  return watch->kernel_seen;
}

guint64
h2k_watch_bytes (const H2kWatch *watch, H2kInput input)
{
  return watch->inputs[input].bytes;
}

char *
h2k_watch_tail (const H2kWatch *watch, guint lines)
{
  g_autoptr (H2kConsole) screen = NULL;

  if (watch->screen_text == NULL || watch->inputs[H2K_INPUT_CONSOLE].bytes > 0)
    return h2k_console_tail (watch->inputs[H2K_INPUT_CONSOLE].console, lines);
  screen = h2k_console_new (NULL, NULL);
  h2k_console_feed (screen, (const guint8 *)watch->screen_text, strlen (watch->screen_text));
  return h2k_console_tail (screen, lines);
}
