/* check.c - what the checks of all formats share: findings, and the parts of a file that are taken.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"

#define WINDOW_BITS ((guint64)1 << 28) /* units: 32 MiB of memory */

struct _H2kClaims
{
  guint64 units;
  guint64 start, end; /* of the window */
  guint64 next;       /* the first unit behind it that is taken */
  gboolean first;
  guint8 *taken; /* a bit a unit of the window */
};

/* --- findings --------------------------------------------------------------------------------- */

H2kCheck *
h2k_check_new (void)
{
  H2kCheck *check = g_new0 (H2kCheck, 1);

  check->findings = g_ptr_array_new_with_free_func (g_free);
  check->unit = "blocks";
  return check;
}

void
h2k_check_free (H2kCheck *check)
{
  if (!check)
    return;
  g_ptr_array_unref (check->findings);
  g_free (check->format);
  g_free (check);
}

static void
add_finding (H2kCheck *check, const char *kind, const char *format, va_list args)
{
  g_autofree char *text = NULL;

  if (check->findings->len >= H2K_CHECK_FINDINGS)
    return;
  text = g_strdup_vprintf (format, args);
  g_ptr_array_add (check->findings, g_strdup_printf ("%s: %s", kind, text));
}

void
h2k_check_corrupt (H2kCheck *check, const char *format, ...)
{
  va_list args;

  check->corruptions++;
  va_start (args, format);
  add_finding (check, "corrupt", format, args);
  va_end (args);
}

void
h2k_check_leak (H2kCheck *check, const char *format, ...)
{
  va_list args;

  check->leaks++;
  va_start (args, format);
  add_finding (check, "leak", format, args);
  va_end (args);
}

void
h2k_check_note (H2kCheck *check, const char *format, ...)
{
  va_list args;

  check->notes++;
  va_start (args, format);
  add_finding (check, "note", format, args);
  va_end (args);
}

gboolean
h2k_check_failure (H2kCheck *check, GError *failure, GError **error)
{
  if (!g_error_matches (failure, H2K_ERROR, H2K_ERROR_FORMAT))
    {
      g_propagate_error (error, failure);
      return FALSE;
    }
  h2k_check_corrupt (check, "%s", failure->message);
  g_error_free (failure);
  return TRUE;
}

/* --- claims ----------------------------------------------------------------------------------- */

static void
set_window (H2kClaims *claims, guint64 start)
{
  claims->start = start;
  claims->end = start + MIN (claims->units - start, WINDOW_BITS);
  claims->next = G_MAXUINT64;
  memset (claims->taken, 0, (MIN (claims->units, WINDOW_BITS) + 7) / 8);
}

H2kClaims *
h2k_claims_new (guint64 units)
{
  H2kClaims *claims = g_new0 (H2kClaims, 1);

  claims->units = units;
  claims->taken = g_malloc ((MIN (units, WINDOW_BITS) + 7) / 8 + 1);
  claims->first = TRUE;
  set_window (claims, 0);
  return claims;
}

void
h2k_claims_free (H2kClaims *claims)
{
  if (!claims)
    return;
  g_free (claims->taken);
  g_free (claims);
}

gboolean
h2k_claims_take (H2kClaims *claims, guint64 first, guint64 count)
{
  guint64 stop = first >= claims->units ? first : first + MIN (count, claims->units - first);
  gboolean ok = TRUE;

  if (stop > claims->end && stop > first)
    claims->next = MIN (claims->next, MAX (first, claims->end));
  for (guint64 i = MAX (first, claims->start); i < MIN (stop, claims->end); i++)
    {
      guint8 *byte = claims->taken + (i - claims->start) / 8;
      guint8 bit = (guint8)(1u << ((i - claims->start) % 8));

      if ((i - claims->start) % 8 == 0 && MIN (stop, claims->end) - i >= 8)
        {
          ok = ok && *byte == 0;
          *byte = 0xff;
          i += 7;
          continue;
        }
      ok = ok && !(*byte & bit);
      *byte |= bit;
    }
  return ok;
}

gboolean
h2k_claims_first (const H2kClaims *claims)
{
  return claims->first;
}

gboolean
h2k_claims_next (H2kClaims *claims)
{
  claims->first = FALSE;
  if (claims->next == G_MAXUINT64)
    return FALSE;
  set_window (claims, claims->next);
  return TRUE;
}
