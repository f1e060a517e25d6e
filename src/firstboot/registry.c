/* registry.c - HKEY_LOCAL_MACHINE, whose values are not trusted to be what they should.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define VALUE_LIMIT (1 << 20)
#define NAME_LIMIT 256 /* of a key, with its end */
#define DEPTH 64

/* A 32-bit program on 64-bit Windows would see a redirected SOFTWARE. */
HKEY
fb_key_open (const wchar_t *path, REGSAM access)
{
  HKEY key;

  if (RegOpenKeyExW (HKEY_LOCAL_MACHINE, path, 0, access | KEY_WOW64_64KEY, &key) != ERROR_SUCCESS)
    return NULL;
  return key;
}

wchar_t *
fb_key_name (HKEY key, DWORD index)
{
  wchar_t name[NAME_LIMIT] = L"";
  DWORD length = NAME_LIMIT;

  if (RegEnumKeyExW (key, index, name, &length, NULL, NULL, NULL, NULL) != ERROR_SUCCESS)
    return NULL;
  return fb_copy (name);
}

/* The value's bytes with two NUL characters behind. */
static void *
read_value (HKEY key, const wchar_t *value, DWORD *type)
{
  DWORD size = 0;
  char *data;

  if (RegQueryValueExW (key, value, NULL, type, NULL, &size) != ERROR_SUCCESS || size > VALUE_LIMIT)
    return NULL;
  data = fb_alloc (size + 2 * sizeof (wchar_t));
  if (RegQueryValueExW (key, value, NULL, type, (BYTE *)data, &size) == ERROR_SUCCESS)
    return data;
  fb_free (data);
  return NULL;
}

wchar_t *
fb_key_text (HKEY key, const wchar_t *value)
{
  DWORD type;
  wchar_t *text = read_value (key, value, &type);

  if (text == NULL || type == REG_SZ || type == REG_EXPAND_SZ || type == REG_MULTI_SZ)
    return text;
  fb_free (text);
  return NULL;
}

wchar_t *
fb_key_list (HKEY key, const wchar_t *value)
{
  DWORD type;
  wchar_t *list = read_value (key, value, &type);

  if (list == NULL || type == REG_MULTI_SZ)
    return list;
  fb_free (list);
  return NULL;
}

BOOL
fb_key_number (HKEY key, const wchar_t *value, DWORD *number)
{
  DWORD type, size = sizeof *number;

  return RegQueryValueExW (key, value, NULL, &type, (BYTE *)number, &size) == ERROR_SUCCESS
         && type == REG_DWORD;
}

LONG
fb_key_set_text (HKEY key, const wchar_t *value, const wchar_t *text)
{
  return RegSetValueExW (key, value, 0, REG_SZ, (const BYTE *)text,
                         (DWORD)((wcslen (text) + 1) * sizeof *text));
}

LONG
fb_key_set_number (HKEY key, const wchar_t *value, DWORD number)
{
  return RegSetValueExW (key, value, 0, REG_DWORD, (const BYTE *)&number, sizeof number);
}

LONG
fb_key_set_list (HKEY key, const wchar_t *value, wchar_t *const *texts, size_t count)
{
  size_t size = 1, at = 0;
  wchar_t *list;
  LONG error;

  for (size_t i = 0; i < count; i++)
    size += wcslen (texts[i]) + 1;
  list = fb_alloc (size * sizeof *list);
  for (size_t i = 0; i < count; i++)
    {
      wcscpy (list + at, texts[i]);
      at += wcslen (texts[i]) + 1;
    }
  error = RegSetValueExW (key, value, 0, REG_MULTI_SZ, (const BYTE *)list,
                          (DWORD)(size * sizeof *list));
  fb_free (list);
  return error;
}

static LONG
delete_below (HKEY key, int depth)
{
  LONG error = depth < DEPTH ? ERROR_SUCCESS : ERROR_STACK_OVERFLOW;
  wchar_t *name;

  while (error == ERROR_SUCCESS && (name = fb_key_name (key, 0)) != NULL)
    {
      HKEY below;

      error = RegOpenKeyExW (key, name, REG_OPTION_OPEN_LINK,
                             KEY_READ | KEY_WRITE | DELETE | KEY_WOW64_64KEY, &below);
      if (error == ERROR_SUCCESS)
        {
          error = delete_below (below, depth + 1);
          RegCloseKey (below);
        }
      if (error == ERROR_SUCCESS)
        error = RegDeleteKeyW (key, name);
      fb_free (name);
    }
  return error;
}

LONG
fb_key_delete (const wchar_t *path)
{
  const wchar_t *name = wcsrchr (path, '\\');
  wchar_t *parent_path = fb_copy (path);
  HKEY key = fb_key_open (path, KEY_READ | KEY_WRITE | DELETE), parent;
  LONG error = key ? ERROR_SUCCESS : ERROR_FILE_NOT_FOUND;

  if (name != NULL)
    parent_path[name - path] = 0;
  parent = fb_key_open (parent_path, KEY_READ | KEY_WRITE);
  if (name == NULL || parent == NULL)
    error = ERROR_INVALID_PARAMETER;
  if (error == ERROR_SUCCESS)
    error = delete_below (key, 0);
  if (key != NULL)
    RegCloseKey (key);
  if (error == ERROR_SUCCESS)
    error = RegDeleteKeyW (parent, name + 1);
  if (parent != NULL)
    RegCloseKey (parent);
  fb_free (parent_path);
  return error;
}
