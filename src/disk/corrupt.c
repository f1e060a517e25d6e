/* corrupt.c - one wording for what is wrong with an image, whatever its format.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

gboolean
h2k_set_corrupt (GError **error, const char *kind, const char *name, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: the %s image is truncated or corrupt: %s; fetch it again and compare checksums "
               "with the original, or look at all of it with \"hyper2kvm check\"",
               name, kind, what);
  return FALSE;
}

gboolean
h2k_set_missing (GError **error, const char *image, const char *what, const char *named,
                 const char *place)
{
  g_autofree char *safe = h2k_escape_text (named, -1), *safe_place = h2k_escape_text (place, -1);

  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s: the chain is broken: its %s \"%s\" is missing; it was looked for %s; fetch it "
               "from where the image comes from and put it there: a disk is complete only with all "
               "its files",
               image, what, safe, safe_place);
  return FALSE;
}
