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
