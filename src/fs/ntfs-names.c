/* ntfs-names.c - names of files on NTFS: any 16-bit units, mostly UTF-16.
 *
 * WTF-8 (https://simonsapin.github.io/wtf-8/) is UTF-8 that has surrogates without a partner, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

static gboolean
is_high (guint32 unit)
{
  return (unit & 0xfc00) == 0xd800;
}

static gboolean
is_low (guint32 unit)
{
  return (unit & 0xfc00) == 0xdc00;
}

static gsize
put (guint32 c, char *p)
{
  if (c < 0x80)
    {
      p[0] = (char)c;
      return 1;
    }
  if (c < 0x800)
    {
      p[0] = (char)(0xc0 | c >> 6);
      p[1] = (char)(0x80 | (c & 63));
      return 2;
    }
  if (c < 0x10000)
    {
      p[0] = (char)(0xe0 | c >> 12);
      p[1] = (char)(0x80 | (c >> 6 & 63));
      p[2] = (char)(0x80 | (c & 63));
      return 3;
    }
  p[0] = (char)(0xf0 | c >> 18);
  p[1] = (char)(0x80 | (c >> 12 & 63));
  p[2] = (char)(0x80 | (c >> 6 & 63));
  p[3] = (char)(0x80 | (c & 63));
  return 4;
}

gsize
h2k_ntfs_to_utf8 (const ntfschar *units, gsize n, char *buffer)
{
  gsize length = 0;

  for (gsize i = 0; i < n; i++)
    {
      guint32 c = h2k_le16 (units + i);
      if (is_high (c) && i + 1 < n && is_low (h2k_le16 (units + i + 1)))
        c = 0x10000 + ((c & 0x3ff) << 10) + (h2k_le16 (units + ++i) & 0x3ff);
      length += put (c, buffer + length);
    }
  buffer[length] = '\0';
  return length;
}

/* The character at P, which has LEFT bytes. Returns its length; 0: there is none. */
static gsize
get (const guint8 *p, gsize left, guint32 *c)
{
  static const struct
  {
    guint8 mask, lead;
    guint32 least; /* what takes this many bytes */
  } kinds[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

  for (gsize n = 1; n <= G_N_ELEMENTS (kinds); n++)
    {
      if ((*p & kinds[n - 1].mask) != kinds[n - 1].lead || n > left)
        continue;
      *c = *p & (guint8)~kinds[n - 1].mask;
      for (gsize i = 1; i < n; i++)
        {
          if ((p[i] & 0xc0) != 0x80)
            return 0;
          *c = *c << 6 | (p[i] & 63);
        }
      return *c >= kinds[n - 1].least && *c <= 0x10ffff ? n : 0;
    }
  return 0;
}

int
h2k_ntfs_to_utf16 (const char *text, gsize length, ntfschar *units, gsize max)
{
  gsize n = 0;

  for (gsize at = 0; at < length;)
    {
      guint32 c;
      gsize size = get ((const guint8 *)text + at, length - at, &c);
      if (size == 0 || n + (c > 0xffff) >= max)
        return -1;
      if (c > 0xffff)
        {
          units[n++] = GUINT16_TO_LE (0xd800 | (c - 0x10000) >> 10);
          c = 0xdc00 | ((c - 0x10000) & 0x3ff);
        }
      units[n++] = GUINT16_TO_LE ((guint16)c);
      at += size;
    }
  return (int)n;
}

const char *
h2k_ntfs_judge_name (const ntfschar *units, int n)
{
  guint16 last;

  if (n <= 0)
    return "its name is empty, too long, or no UTF-8";
  for (int i = 0; i < n; i++)
    {
      guint16 c = h2k_le16 (units + i);
      if (c < 0x20 || (c < 0x80 && strchr ("\"*/:<>?\\|", c)))
        return "its name has a character that Windows does not allow";
    }
  last = h2k_le16 (units + n - 1);
  if (last == ' ' || last == '.')
    return "its name ends with a space or a dot, which Windows cuts off";
  return NULL;
}
