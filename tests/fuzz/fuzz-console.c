/* fuzz-console.c - what a guest says while it boots: the first byte chooses where, and in pieces of
 * which length it comes. What is told of it is fit for a terminal.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/watch.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* No control character but the ends of lines. */
static void
assert_harmless (const char *text)
{
  g_assert (g_utf8_validate (text, -1, NULL));
  for (const char *p = text; *p; p++)
    g_assert (*p == '\n' || !g_ascii_iscntrl (*p));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kWatch) watch = h2k_watch_new ("0123456789abcdef");
  g_autofree char *tail = NULL;
  H2kInput input = size ? data[0] % H2K_N_INPUTS : H2K_INPUT_CONSOLE;
  gsize piece = size ? data[0] / H2K_N_INPUTS + 1 : 1;
  gint64 now = 1000000;
  const char *line;

  for (gsize at = 1; at < size; at += piece, now += 50000)
    {
      h2k_watch_feed (watch, input, data + at, MIN (piece, size - at), now);
      h2k_watch_settle (watch, now);
    }
  if (size > 1 && size < 4000)
    {
      g_autofree char *screen = g_utf8_make_valid ((const char *)data + 1, (gssize)size - 1);
      h2k_watch_screen (watch, screen, now);
      h2k_watch_screen (watch, screen, now + H2K_SCREEN_INTERVAL);
    }
  h2k_watch_settle (watch, now + 600 * G_TIME_SPAN_SECOND);
  tail = h2k_watch_tail (watch, 20);
  if (tail)
    assert_harmless (tail);
  if (h2k_watch_failure (watch, &line) || h2k_watch_hint (watch, &line))
    g_assert (line);
  h2k_watch_forget (watch);
  return 0;
}
