/* console.c - a serial console's bytes as lines: a small ECMA-48 parser and a bounded history.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/console.h"

#define LINE_MAX_BYTES 2048
#define HISTORY_BYTES (16 * 1024)

typedef enum
{
  GROUND,
  ESCAPE,
  CSI,           /* ESC [ parameters final */
  STRING,        /* OSC, DCS, ...: up to BEL or ESC \ */
  STRING_ESCAPE, /* ESC inside of it */
  CHARSET,       /* ESC ( and the like: one more byte */
} State;

struct _H2kConsole
{
  H2kConsoleFunc func;
  gpointer data;
  State state;
  char parameters[32];
  guint n_parameters;
  guint row;         /* where the guest last put the cursor */
  gboolean returned; /* a carriage return was the last thing */
  GString *line;
  GString *history; /* complete lines */
  char *last;       /* the last of them */
};

H2kConsole *
h2k_console_new (H2kConsoleFunc func, gpointer data)
{
  H2kConsole *console = g_new0 (H2kConsole, 1);

  console->func = func;
  console->data = data;
  console->line = g_string_new (NULL);
  console->history = g_string_new (NULL);
  return console;
}

void
h2k_console_free (H2kConsole *console)
{
  if (console == NULL)
    return;
  g_string_free (console->line, TRUE);
  g_string_free (console->history, TRUE);
  g_free (console->last);
  g_free (console);
}

/* Keep LINE in the history. Screens are drawn with many rows that are empty or the same; one says
 * as much. */
static void
remember (H2kConsole *console, const char *line)
{
  GString *history = console->history;
  g_autofree char *text = g_strchomp (g_strdup (line));

  if (g_strcmp0 (text, console->last) == 0)
    return;
  g_string_append_printf (history, "%s\n", text);
  /* Cut in large steps: erasing moves the rest. */
  if (history->len > 2 * HISTORY_BYTES)
    g_string_erase (history, 0, (gssize)(history->len - HISTORY_BYTES));
  g_free (console->last);
  console->last = g_steal_pointer (&text);
}

static void
end_line (H2kConsole *console)
{
  remember (console, console->line->str);
  if (console->func != NULL)
    console->func (console->line->str, console->data);
  g_string_truncate (console->line, 0);
}

static void
put (H2kConsole *console, guint8 c)
{
  /* Text after a lone carriage return replaces the line: spinners, progress, prompts. */
  if (console->returned && console->line->len > 0)
    end_line (console);
  console->returned = FALSE;
  g_string_append_c (console->line, (char)c);
  if (console->line->len >= LINE_MAX_BYTES)
    end_line (console);
}

static void
ground (H2kConsole *console, guint8 c)
{
  switch (c)
    {
    case '\n':
      console->returned = FALSE;
      end_line (console);
      break;
    case '\r':
      console->returned = TRUE;
      break;
    case '\b':
      if (console->line->len > 0)
        g_string_truncate (console->line, console->line->len - 1);
      break;
    case '\t':
      put (console, ' ');
      break;
    case 0x1b:
      console->state = ESCAPE;
      break;
    default:
      if (c >= 0x20 && c != 0x7f)
        put (console, c);
      break;
    }
}

static void
escape (H2kConsole *console, guint8 c)
{
  console->state = GROUND;
  if (c == '[')
    {
      console->state = CSI;
      console->n_parameters = 0;
    }
  else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_')
    console->state = STRING;
  else if (c >= 0x20 && c <= 0x2f)
    console->state = CHARSET;
  else if ((c == 'c' || c == 'E' || c == 'D') && console->line->len > 0)
    end_line (console); /* reset, next line, index */
}

/* Cursor movements and erasures that put what follows on another line. */
static void
control (H2kConsole *console, guint8 final)
{
  guint row;

  console->parameters[MIN (console->n_parameters, sizeof console->parameters - 1)] = '\0';
  switch (final)
    {
    case 'H':
    case 'f':
    case 'd':
      row = (guint)g_ascii_strtoull (console->parameters, NULL, 10);
      if (row != console->row && console->line->len > 0)
        end_line (console);
      console->row = row;
      break;
    case 'A':
    case 'B':
    case 'E':
    case 'F':
    case 'J':
      if (console->line->len > 0)
        end_line (console);
      break;
    case 'C':
      put (console, ' ');
      break;
    default:
      break;
    }
}

void
h2k_console_feed (H2kConsole *console, const guint8 *data, gsize length)
{
  for (gsize i = 0; i < length; i++)
    {
      guint8 c = data[i];

      switch (console->state)
        {
        case GROUND:
          ground (console, c);
          break;
        case ESCAPE:
          escape (console, c);
          break;
        case CSI:
          if (c == 0x1b)
            console->state = ESCAPE;
          else if (c >= 0x40 && c <= 0x7e)
            {
              console->state = GROUND;
              control (console, c);
            }
          else if (console->n_parameters < sizeof console->parameters - 1)
            console->parameters[console->n_parameters++] = (char)c;
          break;
        case STRING:
          if (c == 0x07 || c == '\n')
            console->state = GROUND; /* no such string spans lines: it was never ended */
          else if (c == 0x1b)
            console->state = STRING_ESCAPE;
          break;
        case STRING_ESCAPE:
        case CHARSET:
          console->state = GROUND;
          break;
        }
    }
}

const char *
h2k_console_partial (const H2kConsole *console)
{
  return console->line->str;
}

char *
h2k_console_tail (const H2kConsole *console, guint lines)
{
  g_autoptr (GString) text = g_string_new (console->history->str);
  const char *start, *floor;

  g_string_append (text, console->line->str);
  while (text->len > 0 && strchr (" \n", text->str[text->len - 1]) != NULL)
    g_string_truncate (text, text->len - 1);
  floor = text->str + (text->len > HISTORY_BYTES ? text->len - HISTORY_BYTES : 0);
  start = text->str + text->len;
  while (start > floor && lines > 0)
    if (*--start == '\n' && --lines == 0)
      start++;
  /* start points at the first byte to show, or after the line end that was one too many. */
  while (*start == '\n')
    start++;
  return h2k_escape_text (start, -1);
}
