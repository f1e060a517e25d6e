/* text.c - memory, texts and whole files for h2k-firstboot.exe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <stdarg.h>
#include <stdio.h>

void *
fb_alloc (size_t size)
{
  void *memory = HeapAlloc (GetProcessHeap (), HEAP_ZERO_MEMORY, size ? size : 1);

  if (memory == NULL)
    ExitProcess (ERROR_NOT_ENOUGH_MEMORY);
  return memory;
}

void *
fb_grow (void *memory, size_t size)
{
  void *grown
      = memory ? HeapReAlloc (GetProcessHeap (), HEAP_ZERO_MEMORY, memory, size) : fb_alloc (size);

  if (grown == NULL)
    ExitProcess (ERROR_NOT_ENOUGH_MEMORY);
  return grown;
}

void
fb_free (void *memory)
{
  if (memory != NULL)
    HeapFree (GetProcessHeap (), 0, memory);
}

wchar_t *
fb_copy (const wchar_t *text)
{
  size_t size = (wcslen (text) + 1) * sizeof *text;

  return memcpy (fb_alloc (size), text, size);
}

wchar_t *
fb_format_args (const wchar_t *format, va_list args)
{
  size_t size = 256;
  wchar_t *text = NULL;
  int length;

  do
    {
      va_list again;

      size *= 2;
      text = fb_grow (text, size * sizeof *text);
      va_copy (again, args);
      length = _vsnwprintf (text, size - 1, format, again);
      va_end (again);
    }
  while (length < 0 && size < 1 << 20);
  text[size - 1] = 0;
  return text;
}

wchar_t *
fb_format (const wchar_t *format, ...)
{
  va_list args;
  wchar_t *text;

  va_start (args, format);
  text = fb_format_args (format, args);
  va_end (args);
  return text;
}

char *
fb_to_utf8 (const wchar_t *text)
{
  int size = WideCharToMultiByte (CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
  char *bytes = fb_alloc (size > 0 ? size : 1);

  if (size > 0)
    WideCharToMultiByte (CP_UTF8, 0, text, -1, bytes, size, NULL, NULL);
  return bytes;
}

wchar_t *
fb_to_wide (UINT code_page, const char *bytes, size_t size)
{
  DWORD flags = MB_ERR_INVALID_CHARS;
  UINT from = CP_UTF8;
  wchar_t *text;
  int length;

  if (size == 0 || size > 1 << 28)
    return fb_copy (L"");
  length = MultiByteToWideChar (from, flags, bytes, (int)size, NULL, 0);
  if (length == 0)
    {
      from = code_page;
      flags = 0;
      length = MultiByteToWideChar (from, flags, bytes, (int)size, NULL, 0);
    }
  text = fb_alloc ((length + 1) * sizeof *text);
  MultiByteToWideChar (from, flags, bytes, (int)size, text, length);
  return text;
}

BOOL
fb_starts (const wchar_t *text, const wchar_t *prefix)
{
  return _wcsnicmp (text, prefix, wcslen (prefix)) == 0;
}

BOOL
fb_number (const wchar_t *text, DWORD max, DWORD *number)
{
  ULONGLONG value = 0;

  if (*text == 0)
    return FALSE;
  for (; *text; text++)
    {
      if (*text < '0' || *text > '9')
        return FALSE;
      value = value * 10 + (*text - '0');
      if (value > max)
        return FALSE;
    }
  *number = (DWORD)value;
  return TRUE;
}

char *
fb_read_file (const wchar_t *path, size_t limit, size_t *size)
{
  HANDLE file = CreateFileW (path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                             OPEN_EXISTING, 0, NULL);
  LARGE_INTEGER length;
  char *data = NULL;
  DWORD got = 0, error = ERROR_SUCCESS;

  if (file == INVALID_HANDLE_VALUE)
    return NULL;
  if (!GetFileSizeEx (file, &length))
    error = GetLastError ();
  else if (length.QuadPart < 0 || (ULONGLONG)length.QuadPart > limit)
    error = ERROR_FILE_TOO_LARGE;
  else
    {
      data = fb_alloc ((size_t)length.QuadPart + 2);
      if (!ReadFile (file, data, (DWORD)length.QuadPart, &got, NULL))
        error = GetLastError ();
      *size = got;
    }
  CloseHandle (file);
  if (error != ERROR_SUCCESS)
    {
      fb_free (data);
      data = NULL;
      SetLastError (error);
    }
  return data;
}

wchar_t *
fb_read_text (const wchar_t *path, size_t limit)
{
  size_t size;
  char *data = fb_read_file (path, limit, &size);
  wchar_t *text;

  if (data == NULL)
    return NULL;
  if (size >= 2 && memcmp (data, "\xff\xfe", 2) == 0)
    {
      text = fb_alloc (size + sizeof *text);
      memcpy (text, data + 2, (size - 2) & ~(size_t)1);
    }
  else if (size >= 3 && memcmp (data, "\xef\xbb\xbf", 3) == 0)
    text = fb_to_wide (CP_UTF8, data + 3, size - 3);
  else
    text = fb_to_wide (CP_ACP, data, size);
  fb_free (data);
  return text;
}

BOOL
fb_replace_file (const wchar_t *path, const char *data, size_t size)
{
  wchar_t *new_path = fb_format (L"%s.new", path);
  HANDLE file = CreateFileW (new_path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
  DWORD written = 0, error = ERROR_SUCCESS;

  if (file == INVALID_HANDLE_VALUE)
    error = GetLastError ();
  else
    {
      if (!WriteFile (file, data, (DWORD)size, &written, NULL) || !FlushFileBuffers (file))
        error = GetLastError ();
      else if (written != size)
        error = ERROR_DISK_FULL;
      CloseHandle (file);
      if (error == ERROR_SUCCESS
          && !MoveFileExW (new_path, path, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
        error = GetLastError ();
    }
  fb_free (new_path);
  SetLastError (error);
  return error == ERROR_SUCCESS;
}

wchar_t *
fb_next_line (wchar_t **rest)
{
  wchar_t *line = *rest, *end;

  if (line == NULL || *line == 0)
    return NULL;
  end = wcschr (line, '\n');
  *rest = end ? end + 1 : NULL;
  if (end == NULL)
    end = line + wcslen (line);
  while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
    end--;
  *end = 0;
  return line + wcsspn (line, L" \t");
}
