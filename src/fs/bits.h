/* bits.h - bitmaps of what is in use: bit I is bit I % 8 of byte I / 8, 1 is in use.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

static inline gboolean
h2k_bit_get (const guint8 *bits, guint64 i)
{
  return bits[i / 8] >> (i % 8) & 1;
}

/* How many of the bits from FIRST to END are in the state USED, without a gap. */
static inline guint64
h2k_bit_run (const guint8 *bits, guint64 first, guint64 end, gboolean used)
{
  guint8 same = used ? 0xff : 0;
  guint64 i = first;

  while (i < end)
    if (i % 8 == 0 && end - i >= 8 && bits[i / 8] == same)
      i += 8;
    else if (h2k_bit_get (bits, i) == used)
      i++;
    else
      break;
  return i - first;
}
