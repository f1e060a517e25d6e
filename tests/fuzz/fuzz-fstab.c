/* fuzz-fstab.c - lines of fstab, and the line model that keeps every byte.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/fstab.h"
#include "guest/private.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (H2kLines) lines = h2k_lines_new (bytes);

  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autoptr (H2kFstabEntry) entry = h2k_fstab_parse (line);
      g_autofree char *value = h2k_shell_value (line);
      gsize start, length;

      g_assert (!value || strlen (value) <= strlen (line));
      if (h2k_fstab_field (line, 1, &start, &length))
        g_assert (start + length <= strlen (line));
      if (!entry)
        continue;
      g_assert (entry->spec_start + entry->spec_length <= strlen (line));
      g_assert (entry->spec_length > 0);
      h2k_fstab_is_device (entry);
      h2k_version_compare (entry->spec, entry->path);
    }
  return 0;
}
