/* firstboot.c - reads what the first-boot service reports.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/firstboot.h"

#include <stdio.h>
#include <stdlib.h>

#define PREFIX "H2K-FIRSTBOOT-"
/* Of the failures' names; a guest may send what it likes. */
#define FAILURES_MAX 1024

H2kFirstboot *
h2k_firstboot_new (void)
{
  H2kFirstboot *report = g_new0 (H2kFirstboot, 1);

  report->failures = g_string_new (NULL);
  return report;
}

void
h2k_firstboot_free (H2kFirstboot *report)
{
  if (report == NULL)
    return;
  g_free (report->running);
  g_string_free (report->failures, TRUE);
  g_free (report->error);
  g_free (report->last);
  g_free (report);
}

static void
on_start (H2kFirstboot *report, const char *rest)
{
  g_clear_pointer (&report->running, g_free);
}

static void
on_run (H2kFirstboot *report, const char *rest)
{
  g_free (report->running);
  report->running = h2k_escape_text (rest, -1);
}

/* "name code"; a name may have blanks. Error 3010 and 1641 are Windows' ways to say that a restart
 * completes what has succeeded. */
static void
on_end (H2kFirstboot *report, const char *rest)
{
  const char *blank = strrchr (rest, ' ');
  g_autofree char *name = NULL;
  char *end;
  unsigned long code;

  g_clear_pointer (&report->running, g_free);
  if (blank == NULL)
    return;
  code = strtoul (blank + 1, &end, 10);
  if (*end == '\0' && end != blank + 1 && (code == 0 || code == 3010 || code == 1641))
    return;
  name = h2k_escape_text (rest, blank - rest);
  if (report->failures->len + strlen (name) < FAILURES_MAX)
    g_string_append_printf (report->failures, "%s%s (exit code %lu)",
                            report->failures->len > 0 ? ", " : "", name, code);
}

static void
on_reboot (H2kFirstboot *report, const char *rest)
{
  report->restarts++;
}

static void
on_done (H2kFirstboot *report, const char *rest)
{
  report->done = sscanf (rest, "ok=%u failed=%u", &report->ok, &report->failed) == 2;
}

static void
on_error (H2kFirstboot *report, const char *rest)
{
  g_free (report->error);
  report->error = h2k_escape_text (rest, -1);
}

static const struct
{
  const char *word;
  void (*func) (H2kFirstboot *report, const char *rest);
} words[] = {
    {"START", on_start}, {"RUN", on_run},   {"EXIT", on_end},    {"REBOOT", on_reboot},
    {"STOPPED", NULL},   {"DONE", on_done}, {"ERROR", on_error}, {"WARNING", NULL},
};

gboolean
h2k_firstboot_line (H2kFirstboot *report, const char *line)
{
  /* What the firmware has written may not have ended its line. */
  const char *text = *line == '|' ? NULL : strstr (line, PREFIX), *rest;

  if (text == NULL)
    return FALSE;
  rest = text + strlen (PREFIX);
  for (gsize i = 0; i < G_N_ELEMENTS (words); i++)
    {
      gsize length = strlen (words[i].word);

      if (strncmp (rest, words[i].word, length) != 0
          || (rest[length] != '\0' && rest[length] != ' '))
        continue;
      report->lines++;
      g_free (report->last);
      report->last = h2k_escape_text (text, -1);
      if (words[i].func != NULL)
        words[i].func (report, rest[length] == ' ' ? rest + length + 1 : "");
      return TRUE;
    }
  return FALSE;
}
