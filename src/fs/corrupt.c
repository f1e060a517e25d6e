/* corrupt.c - one wording for what is wrong with a filesystem, whatever its type.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/corrupt.h"

gboolean
h2k_set_fs_corrupt (const H2kDisk *volume, GError **error, const char *type, const char *advice,
                    const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: the %s filesystem is corrupt: %s; %s",
               volume->name, type, what, advice);
  return FALSE;
}
