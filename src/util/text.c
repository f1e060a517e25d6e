/* text.c - guest text made safe to print, sizes, MAC addresses, and lines that keep their bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/util.h"

#include <stdio.h>

char *
h2k_escape_text (const char *text, gssize length)
{
  GString *out = g_string_new (NULL);
  const char *end = text + (length < 0 ? strlen (text) : (gsize)length);

  while (text < end)
    {
      gunichar c = g_utf8_get_char_validated (text, end - text);
      gboolean valid = c != (gunichar)-1 && c != (gunichar)-2 && c != 0;
      /* Bidirectional overrides and other format characters can disguise text, too. */
      gboolean safe = valid
                      && (c == '\n' || c == '\t'
                          || !(g_unichar_iscntrl (c) || g_unichar_type (c) == G_UNICODE_FORMAT
                               || g_unichar_type (c) == G_UNICODE_LINE_SEPARATOR
                               || g_unichar_type (c) == G_UNICODE_PARAGRAPH_SEPARATOR));
      gsize n = valid ? (gsize)(g_utf8_next_char (text) - text) : 1;

      if (safe)
        g_string_append_len (out, text, (gssize)n);
      else
        for (gsize i = 0; i < n; i++)
          g_string_append_printf (out, "\\x%02x", (guint8)text[i]);
      text += n;
    }
  return g_string_free (out, FALSE);
}

char *
h2k_escape_line (const char *text)
{
  g_autofree char *safe = h2k_escape_text (text, -1);
  GString *out = g_string_new (NULL);

  for (const char *p = safe; *p; p++)
    if (*p == '\n' || *p == '\t')
      g_string_append_printf (out, "\\x%02x", (guint)*p);
    else
      g_string_append_c (out, *p);
  return g_string_free (out, FALSE);
}

char *
h2k_format_size (guint64 size)
{
  return g_format_size_full (size, G_FORMAT_SIZE_IEC_UNITS);
}

struct _H2kLines
{
  GPtrArray *lines; /* char *: with their line ends */
  const char *eol;  /* the file's own, for new lines */
  GPtrArray *views; /* char *: texts handed out, per line; NULL until asked for */
};

static gsize
eol_length (const char *line)
{
  gsize n = strlen (line);
  if (n >= 2 && line[n - 2] == '\r' && line[n - 1] == '\n')
    return 2;
  return n >= 1 && line[n - 1] == '\n' ? 1 : 0;
}

H2kLines *
h2k_lines_new (GBytes *data)
{
  H2kLines *lines = g_new0 (H2kLines, 1);
  gsize size;
  const char *p = g_bytes_get_data (data, &size);
  const char *end = p + size;

  lines->lines = g_ptr_array_new_with_free_func (g_free);
  lines->views = g_ptr_array_new_with_free_func (g_free);
  lines->eol = "\n";
  while (p < end)
    {
      const char *nl = memchr (p, '\n', (gsize)(end - p));
      gsize n = nl ? (gsize)(nl + 1 - p) : (gsize)(end - p);
      g_ptr_array_add (lines->lines, g_strndup (p, n));
      g_ptr_array_add (lines->views, NULL);
      p += n;
    }
  if (lines->lines->len && eol_length (lines->lines->pdata[0]) == 2)
    lines->eol = "\r\n";
  return lines;
}

void
h2k_lines_free (H2kLines *lines)
{
  if (!lines)
    return;
  g_ptr_array_unref (lines->lines);
  g_ptr_array_unref (lines->views);
  g_free (lines);
}

guint
h2k_lines_count (const H2kLines *lines)
{
  return lines->lines->len;
}

const char *
h2k_lines_get (const H2kLines *lines, guint i)
{
  const char *line = g_ptr_array_index (lines->lines, i);

  if (!lines->views->pdata[i])
    lines->views->pdata[i] = g_strndup (line, strlen (line) - eol_length (line));
  return lines->views->pdata[i];
}

void
h2k_lines_set (H2kLines *lines, guint i, const char *text)
{
  char *old = g_ptr_array_index (lines->lines, i);

  lines->lines->pdata[i] = g_strconcat (text, old + strlen (old) - eol_length (old), NULL);
  g_clear_pointer (&lines->views->pdata[i], g_free);
  g_free (old);
}

void
h2k_lines_insert (H2kLines *lines, guint i, const char *text)
{
  if (i > 0)
    {
      char *previous = lines->lines->pdata[i - 1];
      if (eol_length (previous) == 0)
        {
          lines->lines->pdata[i - 1] = g_strconcat (previous, lines->eol, NULL);
          g_free (previous);
        }
    }
  g_ptr_array_insert (lines->lines, (int)i, g_strconcat (text, lines->eol, NULL));
  g_ptr_array_insert (lines->views, (int)i, NULL);
}

void
h2k_lines_remove (H2kLines *lines, guint i)
{
  g_ptr_array_remove_index (lines->lines, i);
  g_ptr_array_remove_index (lines->views, i);
}

GBytes *
h2k_lines_to_bytes (const H2kLines *lines)
{
  GString *out = g_string_new (NULL);

  for (guint i = 0; i < lines->lines->len; i++)
    g_string_append (out, lines->lines->pdata[i]);
  return g_string_free_to_bytes (out);
}

char *
h2k_mac_parse (const char *text)
{
  guint b[6];

  if (strlen (text) != 17)
    return NULL;
  for (int i = 0; i < 6; i++)
    {
      const char *p = text + 3 * i;
      if (!g_ascii_isxdigit (p[0]) || !g_ascii_isxdigit (p[1]))
        return NULL;
      if (i < 5 && p[2] != ':' && p[2] != '-')
        return NULL;
      b[i] = (guint)(g_ascii_xdigit_value (p[0]) << 4 | g_ascii_xdigit_value (p[1]));
    }
  if (b[0] & 1 || (b[0] | b[1] | b[2] | b[3] | b[4] | b[5]) == 0)
    return NULL;
  return g_strdup_printf ("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

char *
h2k_mac_from_seed (const char *seed, guint index)
{
  g_autofree char *text = g_strdup_printf ("%s/%u", seed, index);
  g_autofree char *digest = g_compute_checksum_for_string (G_CHECKSUM_SHA256, text, -1);

  return g_strdup_printf ("52:54:00:%.2s:%.2s:%.2s", digest, digest + 2, digest + 4);
}
