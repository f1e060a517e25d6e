/* hostname.c - names of hosts. See hostname.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/hostname.h"
#include "repair/edit.h"

#define MAX_NAME 64
#define MAX_LABEL 63

const char *
h2k_hostname_problem (const char *name)
{
  gsize length = strlen (name), start = 0;

  if (length == 0)
    return "is empty";
  if (length > MAX_NAME)
    return "has more than 64 characters";
  if (g_hostname_is_ip_address (name))
    return "is an address";
  if (g_ascii_strcasecmp (name, "localhost") == 0)
    return "means every host itself";
  for (gsize i = 0; i <= length; i++)
    {
      if (i < length && (g_ascii_isalnum (name[i]) || name[i] == '-'))
        continue;
      if (i < length && name[i] != '.')
        return "has a character that is no letter, digit, hyphen or dot";
      if (i == start)
        return "has an empty part";
      if (i - start > MAX_LABEL)
        return "has a part of more than 63 characters";
      if (name[start] == '-' || name[i - 1] == '-')
        return "has a part that begins or ends with a hyphen";
      start = i + 1;
    }
  return NULL;
}

char *
h2k_hostname_make (const char *text)
{
  GString *out;

  if (!h2k_hostname_problem (text))
    return g_strdup (text);
  out = g_string_new (NULL);
  for (; *text && out->len < MAX_LABEL; text++)
    if (g_ascii_isalnum (*text))
      g_string_append_c (out, *text);
    else if (out->len && out->str[out->len - 1] != '-')
      g_string_append_c (out, '-');
  if (out->len && out->str[out->len - 1] == '-')
    g_string_truncate (out, out->len - 1);
  if (h2k_hostname_problem (out->str))
    g_string_assign (out, "clone");
  return g_string_free (out, FALSE);
}

/* --- /etc/hosts ------------------------------------------------------------------------------- */

/* The next word of LINE from AT on, up to a comment; FALSE: none. */
static gboolean
next_word (const char *line, gsize *at, gsize *length)
{
  *at += strspn (line + *at, " \t\r");
  *length = strcspn (line + *at, " \t\r#");
  return *length > 0;
}

static gboolean
is_same (const char *word, gsize length, const char *name)
{
  return length == strlen (name) && g_ascii_strncasecmp (word, name, length) == 0;
}

/* WORD is NAME, or NAME in a domain. */
static gboolean
is_in_domain (const char *word, gsize length, const char *name)
{
  gsize n = strlen (name);

  return length >= n && g_ascii_strncasecmp (word, name, n) == 0 && (length == n || word[n] == '.');
}

static gboolean
is_loopback (const char *word, gsize length)
{
  return (length > 4 && strncmp (word, "127.", 4) == 0)
         || (length == 3 && !strncmp (word, "::1", 3));
}

static gboolean
names_host (const char *line, const char *old, const char *short_old)
{
  gsize at = 0, length;
  gboolean loopback;

  if (!next_word (line, &at, &length))
    return FALSE;
  loopback = is_loopback (line + at, length);
  for (at += length; next_word (line, &at, &length); at += length)
    if (is_same (line + at, length, old) || is_same (line + at, length, short_old)
        || (loopback && is_in_domain (line + at, length, short_old)))
      return TRUE;
  return FALSE;
}

/* What stands for WORD, a name of the old host; the caller's. */
static char *
successor (const char *word, gsize length, const char *short_old, const char *new,
           const char *short_new)
{
  gsize n = strlen (short_old);

  if (length == n)
    return g_strdup (short_new);
  if (strchr (new, '.'))
    return g_strdup (new);
  return g_strdup_printf ("%s%.*s", short_new, (int)(length - n), word + n);
}

static char *
replace_in_line (const char *line, const char *short_old, const char *new, const char *short_new)
{
  char *text = g_strdup (line);
  gsize at = 0, length;

  next_word (text, &at, &length);
  for (at += length; next_word (text, &at, &length); at += length)
    if (is_in_domain (text + at, length, short_old))
      {
        g_autofree char *word = successor (text + at, length, short_old, new, short_new);
        char *next = h2k_splice (text, at, length, word);
        g_free (text);
        text = next;
        length = strlen (word);
      }
  return text;
}

gboolean
h2k_hostname_replace_in_hosts (H2kLines *lines, const char *old, const char *new)
{
  g_autofree char *short_old = g_strndup (old, strcspn (old, "."));
  g_autofree char *short_new = g_strndup (new, strcspn (new, "."));
  gboolean found = FALSE;

  for (guint i = 0; i < h2k_lines_count (lines); i++)
    if (names_host (h2k_lines_get (lines, i), old, short_old))
      {
        g_autofree char *line
            = replace_in_line (h2k_lines_get (lines, i), short_old, new, short_new);
        h2k_lines_set (lines, i, line);
        found = TRUE;
      }
  return found;
}

gboolean
h2k_hostname_in_hosts (const H2kLines *lines, const char *name)
{
  for (guint i = 0; i < h2k_lines_count (lines); i++)
    if (names_host (h2k_lines_get (lines, i), name, name))
      return TRUE;
  return FALSE;
}

gboolean
h2k_hostname_in_text (const char *text, const char *name)
{
  gsize length = strlen (name);

  for (const char *at = text; *at; at++)
    {
      const char *end = at + length;
      if ((at == text || !(g_ascii_isalnum (at[-1]) || at[-1] == '-'))
          && g_ascii_strncasecmp (at, name, length) == 0
          && !(g_ascii_isalnum (*end) || *end == '-'))
        return TRUE;
    }
  return FALSE;
}
