/* fat-name.c - names of files on FAT: the short ones (8.3, code page 437 as Linux has it) and the
 * long ones (UTF-16).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat.h"

/* SLOT_CASE: the short name or its extension is shown in lower case (Windows NT, Linux). */
#define LOWER_BASE 0x08u
#define LOWER_EXTENSION 0x10u

/* Code page 437 from 0x80 on. */
static const guint16 code_page[128] = {
    0xc7,   0xfc,   0xe9,   0xe2,   0xe4,   0xe0,   0xe5,   0xe7,   0xea,   0xeb,   0xe8,   0xef,
    0xee,   0xec,   0xc4,   0xc5,   0xc9,   0xe6,   0xc6,   0xf4,   0xf6,   0xf2,   0xfb,   0xf9,
    0xff,   0xd6,   0xdc,   0xa2,   0xa3,   0xa5,   0x20a7, 0x192,  0xe1,   0xed,   0xf3,   0xfa,
    0xf1,   0xd1,   0xaa,   0xba,   0xbf,   0x2310, 0xac,   0xbd,   0xbc,   0xa1,   0xab,   0xbb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x3b1,  0xdf,   0x393,  0x3c0,  0x3a3,  0x3c3,  0xb5,   0x3c4,  0x3a6,  0x398,  0x3a9,  0x3b4,
    0x221e, 0x3c6,  0x3b5,  0x2229, 0x2261, 0xb1,   0x2265, 0x2264, 0x2320, 0x2321, 0xf7,   0x2248,
    0xb0,   0x2219, 0xb7,   0x221a, 0x207f, 0xb2,   0x25a0, 0xa0,
};

/* --- from the volume -------------------------------------------------------------------------- */

gboolean
h2k_fat_decode_long (const guint16 *units, guint n, char name[H2K_FAT_NAME_BYTES])
{
  char *out = name;

  for (guint i = 0; i < n && units[i]; i++)
    {
      gunichar c = units[i];
      if (c >= 0xd800 && c < 0xdc00 && i + 1 < n && units[i + 1] >= 0xdc00 && units[i + 1] < 0xe000)
        c = 0x10000 + ((c - 0xd800) << 10) + (units[++i] - 0xdc00u);
      if (c == '/' || (c >= 0xd800 && c < 0xe000))
        return FALSE;
      out += g_unichar_to_utf8 (c, out);
    }
  *out = 0;
  return *name && strcmp (name, ".") != 0 && strcmp (name, "..") != 0;
}

/* Append LENGTH characters of a short name without the blanks behind them. */
static char *
decode_part (char *out, const guint8 *part, guint length, gboolean lower)
{
  while (length && part[length - 1] == ' ')
    length--;
  for (guint i = 0; i < length; i++)
    {
      guint8 c = part[i];
      out += g_unichar_to_utf8 (c >= 128 ? code_page[c - 128]
                                         : (gunichar)(lower ? g_ascii_tolower ((char)c) : c),
                                out);
    }
  return out;
}

void
h2k_fat_decode_short (const guint8 *slot, char name[H2K_FAT_NAME_BYTES])
{
  guint8 raw[11];
  char *out, *extension;

  memcpy (raw, slot, sizeof raw);
  if (raw[0] == 0x05) /* stands for 0xe5, which would be a free slot */
    raw[0] = SLOT_DELETED;
  *name = 0;
  if (raw[0] == ' ' || memchr (raw, 0, sizeof raw) || memchr (raw, '/', sizeof raw))
    return;
  out = decode_part (name, raw, 8, slot[SLOT_CASE] & LOWER_BASE);
  *out = '.';
  extension = decode_part (out + 1, raw + 8, 3, slot[SLOT_CASE] & LOWER_EXTENSION);
  *(extension > out + 1 ? extension : out) = 0;
  if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
    *name = 0;
}

/* By characters, as Windows does it. What becomes ASCII only by that stays what it is. */
static gunichar
fold (gunichar c)
{
  gunichar upper = g_unichar_toupper (c);

  return upper < 128 && c >= 128 ? c : upper;
}

gboolean
h2k_fat_same_name (const char *a, const char *b)
{
  while (*a && *b && fold (g_utf8_get_char (a)) == fold (g_utf8_get_char (b)))
    {
      a = g_utf8_next_char (a);
      b = g_utf8_next_char (b);
    }
  return *a == 0 && *b == 0;
}

/* --- for the volume --------------------------------------------------------------------------- */

const char *
h2k_fat_encode_long (const char *name, guint16 units[H2K_FAT_MAX_UNITS], guint *n)
{
  g_autofree gunichar2 *utf16
      = g_utf8_validate (name, -1, NULL) ? g_utf8_to_utf16 (name, -1, NULL, NULL, NULL) : NULL;
  gsize length = strlen (name);

  if (!utf16)
    return "the name is not UTF-8";
  if (length == 0 || name[length - 1] == '.' || name[length - 1] == ' ')
    return "no name on a FAT filesystem ends in a dot or a blank";
  for (*n = 0; utf16[*n]; ++*n)
    {
      if (utf16[*n] < 0x20 || (utf16[*n] < 0x80 && strchr ("*?<>|\":/\\", utf16[*n])))
        return "the name has characters that a FAT filesystem does not take";
      if (*n == H2K_FAT_MAX_UNITS)
        return "the name is too long";
      units[*n] = GUINT16_TO_LE (utf16[*n]);
    }
  return NULL;
}

/* Append the characters from NAME to END as they are in a short name; MAX of them. Returns how many
 * there are now; LOSSY becomes TRUE when they are not the same any more. */
static guint
encode_part (const char *name, const char *end, guint8 *part, guint max, gboolean *lossy)
{
  guint n = 0;

  for (const char *p = name; p < end; p = g_utf8_next_char (p))
    {
      gboolean known = g_ascii_isalnum (*p) || (*p > 0 && strchr ("$%'-_@~`!(){}^#&", *p));
      if (!known || n == max)
        *lossy = TRUE;
      if (*p != ' ' && *p != '.' && n < max)
        part[n++] = known ? (guint8)g_ascii_toupper (*p) : '_';
    }
  return n;
}

gboolean
h2k_fat_make_short (const char *name, guint attempt, guint8 raw[11])
{
  const char *start = name + strspn (name, ". "), *dot = strrchr (start, '.');
  gboolean lossy = start > name;
  char tail[12];
  guint n, n_tail;

  memset (raw, ' ', 11);
  n = encode_part (start, dot ? dot : start + strlen (start), raw, 8, &lossy);
  if (dot)
    encode_part (dot + 1, dot + strlen (dot), raw + 8, 3, &lossy);
  if (n == 0)
    raw[n++] = '_';
  if (attempt == 0)
    return !lossy;
  /* The first nine are what anybody would expect; then few names can share their beginning. */
  if (attempt < 10)
    n_tail = (guint)g_snprintf (tail, sizeof tail, "~%u", attempt);
  else
    n_tail = (guint)g_snprintf (tail, sizeof tail, "%04X~%u",
                                (h2k_crc32 (0, name, strlen (name)) + attempt / 9) & 0xffff,
                                attempt % 9 + 1);
  n = MIN (n, attempt < 10 ? 6 : 2);
  memset (raw + n, ' ', 8 - n);
  memcpy (raw + n, tail, n_tail);
  return TRUE;
}

guint8
h2k_fat_name_sum (const guint8 *raw)
{
  guint8 sum = 0;

  for (guint i = 0; i < 11; i++)
    sum = (guint8)((sum >> 1 | sum << 7) + raw[i]);
  return sum;
}
