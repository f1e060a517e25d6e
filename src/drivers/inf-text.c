/* inf-text.c - the encodings of INF files: UTF-16 and UTF-8 with a byte order mark, UTF-8, and
 * Windows-1252, which is what an editor on an English Windows meant by ANSI.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

/* 0x80 to 0x9f of Windows-1252, as Windows converts them: what is not assigned stays itself. */
static const gunichar2 cp1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

static char *
decode_ansi (const guint8 *bytes, gsize size)
{
  GString *text = g_string_sized_new (size);

  for (gsize i = 0; i < size; i++)
    if (bytes[i] < 0x80)
      g_string_append_c (text, (char)bytes[i]);
    else
      g_string_append_unichar (text, bytes[i] < 0xa0 ? cp1252[bytes[i] - 0x80] : bytes[i]);
  return g_string_free (text, FALSE);
}

/* NULL: it is not UTF-16, or has NULs in it. */
static char *
decode_utf16 (const guint8 *bytes, gsize size, gboolean big_endian)
{
  g_autofree gunichar2 *units = g_new (gunichar2, size / 2 + 1);
  g_autofree char *text = NULL;
  glong read = 0;

  if (size % 2 != 0)
    return NULL;
  for (gsize i = 0; i < size / 2; i++)
    units[i] = big_endian ? h2k_be16 (bytes + 2 * i) : h2k_le16 (bytes + 2 * i);
  text = g_utf16_to_utf8 (units, (glong)(size / 2), &read, NULL, NULL);
  return text && read == (glong)(size / 2) ? g_steal_pointer (&text) : NULL;
}

/* What old editors leave behind the text: the end-of-file character of DOS, and padding. */
static gsize
trimmed_size (const guint8 *bytes, gsize size, gsize unit)
{
  while (size >= unit && (bytes[size - unit] == 0 || bytes[size - unit] == 0x1a)
         && (unit == 1 || bytes[size - 1] == 0))
    size -= unit;
  return size;
}

char *
h2k_inf_decode (const void *data, gsize size, const char *name, GError **error)
{
  const guint8 *bytes = data;
  g_autofree char *text = NULL;

  if (size >= 2 && h2k_be16 (bytes) == 0xfeff)
    text = decode_utf16 (bytes + 2, size - 2, TRUE);
  else if (size >= 2 && h2k_le16 (bytes) == 0xfeff)
    text = decode_utf16 (bytes + 2, trimmed_size (bytes, size, 2) - 2, FALSE);
  else
    {
      if (size >= 3 && memcmp (bytes, "\xef\xbb\xbf", 3) == 0)
        bytes += 3, size -= 3;
      size = trimmed_size (bytes, size, 1);
      if (size == 0)
        text = g_strdup ("");
      else if (g_utf8_validate ((const char *)bytes, (gssize)size, NULL))
        text = g_strndup ((const char *)bytes, size);
      else if (!memchr (bytes, 0, size))
        text = decode_ansi (bytes, size);
    }
  if (!text)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s: it is not a text in UTF-16 with a byte order mark, UTF-8 or Windows-1252, as "
                 "INF files are: it is damaged or something else",
                 name);
  return g_steal_pointer (&text);
}
