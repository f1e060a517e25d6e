/* ini.c - small INI files in UTF-8, whose keys may be repeated.
 *
 * Windows' own reader knows neither UTF-8 nor repeated keys.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define INI_LIMIT (1 << 20)

typedef struct
{
  const wchar_t *section;
  const wchar_t *key; /* NULL: the section's head */
  const wchar_t *value;
} IniLine;

struct FbIni
{
  wchar_t *text; /* what the lines point into */
  IniLine *lines;
  size_t n_lines;
};

static wchar_t *
trimmed (wchar_t *text)
{
  size_t length;

  text += wcsspn (text, L" \t");
  length = wcslen (text);
  while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
    text[--length] = 0;
  return text;
}

static void
add_line (FbIni *ini, const wchar_t *section, const wchar_t *key, const wchar_t *value)
{
  if ((ini->n_lines & (ini->n_lines - 1)) == 0)
    ini->lines = fb_grow (ini->lines, (ini->n_lines ? ini->n_lines * 2 : 1) * sizeof *ini->lines);
  ini->lines[ini->n_lines++] = (IniLine){section, key, value};
}

FbIni *
fb_ini_load (const wchar_t *path)
{
  wchar_t *text = fb_read_text (path, INI_LIMIT), *line, *rest, *end;
  const wchar_t *section = L"";
  FbIni *ini;

  if (text == NULL)
    return NULL;
  ini = fb_alloc (sizeof *ini);
  ini->text = text;
  for (rest = text; (line = fb_next_line (&rest)) != NULL;)
    {
      if (*line == ';' || *line == '#')
        continue;
      if (*line == '[' && (end = wcsrchr (line, ']')) != NULL)
        {
          *end = 0;
          section = trimmed (line + 1);
          add_line (ini, section, NULL, NULL);
        }
      else if ((end = wcschr (line, '=')) != NULL)
        {
          *end = 0;
          add_line (ini, section, trimmed (line), trimmed (end + 1));
        }
    }
  return ini;
}

void
fb_ini_free (FbIni *ini)
{
  if (ini == NULL)
    return;
  fb_free (ini->text);
  fb_free (ini->lines);
  fb_free (ini);
}

const wchar_t *
fb_ini_get (const FbIni *ini, const wchar_t *section, const wchar_t *key, size_t index)
{
  for (size_t i = 0; ini != NULL && i < ini->n_lines; i++)
    {
      const IniLine *line = &ini->lines[i];

      if (line->key != NULL && _wcsicmp (line->section, section) == 0
          && _wcsicmp (line->key, key) == 0 && index-- == 0)
        return line->value;
    }
  return NULL;
}

DWORD
fb_ini_number (const FbIni *ini, const wchar_t *section, const wchar_t *key, DWORD max,
               DWORD otherwise)
{
  const wchar_t *value = fb_ini_get (ini, section, key, 0);
  DWORD number;

  return value != NULL && fb_number (value, max, &number) ? number : otherwise;
}

const wchar_t *
fb_ini_section (const FbIni *ini, const wchar_t *prefix, size_t index)
{
  for (size_t i = 0; ini != NULL && i < ini->n_lines; i++)
    if (ini->lines[i].key == NULL && fb_starts (ini->lines[i].section, prefix) && index-- == 0)
      return ini->lines[i].section;
  return NULL;
}
