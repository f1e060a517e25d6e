/* log.c - the log file in UTF-8, and which of its lines the serial port gets.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <stdarg.h>

static struct
{
  wchar_t *path;
  HANDLE file;
  DWORD limit;
  BOOL echo;
} log_ = {.file = INVALID_HANDLE_VALUE};

/* A file that somebody has made read-only is ours all the same. */
static void
open_file (void)
{
  for (int i = 0; i < 2 && log_.file == INVALID_HANDLE_VALUE; i++)
    {
      if (i > 0 && !SetFileAttributesW (log_.path, FILE_ATTRIBUTE_NORMAL))
        return;
      log_.file = CreateFileW (log_.path, FILE_APPEND_DATA | SYNCHRONIZE,
                               FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                               OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    }
}

void
fb_log_open (const wchar_t *folder, DWORD limit, BOOL echo)
{
  fb_log_close ();
  log_.limit = limit;
  log_.echo = echo;
  if (folder == NULL)
    return;
  log_.path = fb_format (L"%s\\h2k-firstboot.log", folder);
  open_file ();
  if (log_.file == INVALID_HANDLE_VALUE)
    fb_serial_send (L"H2K-FIRSTBOOT-WARNING ", L"the log file cannot be written");
}

void
fb_log_close (void)
{
  if (log_.file != INVALID_HANDLE_VALUE)
    {
      FlushFileBuffers (log_.file);
      CloseHandle (log_.file);
    }
  log_.file = INVALID_HANDLE_VALUE;
  fb_free (log_.path);
  log_.path = NULL;
}

/* One older file is kept; where it cannot be moved there, the log begins anew in place, and where
 * that cannot be, either, it ends. */
static void
bound_size (void)
{
  wchar_t *old;
  LARGE_INTEGER size;

  if (!GetFileSizeEx (log_.file, &size) || size.QuadPart < (LONGLONG)log_.limit)
    return;
  old = fb_format (L"%s.old", log_.path);
  CloseHandle (log_.file);
  log_.file = INVALID_HANDLE_VALUE;
  if (!MoveFileExW (log_.path, old, MOVEFILE_REPLACE_EXISTING))
    DeleteFileW (log_.path);
  open_file ();
  if (log_.file != INVALID_HANDLE_VALUE && GetFileSizeEx (log_.file, &size)
      && size.QuadPart >= (LONGLONG)log_.limit * 2)
    {
      CloseHandle (log_.file);
      log_.file = INVALID_HANDLE_VALUE;
    }
  fb_free (old);
}

/* Control characters and halves of surrogate pairs could be made to look like something else. */
static wchar_t *
escaped (const wchar_t *line)
{
  size_t size = 0;
  wchar_t *text = fb_alloc ((wcslen (line) * 6 + 1) * sizeof *text);

  for (; *line; line++)
    if ((*line >= ' ' && *line < 0x7f) || *line >= 0xa0 || *line == '\t')
      text[size++] = *line;
    else
      size += _snwprintf (text + size, 7, L"\\u%04x", *line);
  return text;
}

static void
append (HANDLE file, wchar_t *text)
{
  char *bytes = fb_to_utf8 (text);
  DWORD written;

  WriteFile (file, bytes, (DWORD)strlen (bytes), &written, NULL);
  fb_free (bytes);
  fb_free (text);
}

/* The echo has no times: that of a helper becomes part of the service's log. */
static void
write_line (const wchar_t *mark, const wchar_t *line)
{
  wchar_t *safe = escaped (line);
  SYSTEMTIME now;

  if (log_.echo)
    append (GetStdHandle (STD_OUTPUT_HANDLE), fb_format (L"%s%s\r\n", mark, safe));
  if (log_.file != INVALID_HANDLE_VALUE)
    {
      GetSystemTime (&now);
      append (log_.file, fb_format (L"%04u-%02u-%02uT%02u:%02u:%02u.%03uZ %s%s\r\n", now.wYear,
                                    now.wMonth, now.wDay, now.wHour, now.wMinute, now.wSecond,
                                    now.wMilliseconds, mark, safe));
      bound_size ();
    }
  fb_free (safe);
}

void
fb_log (const wchar_t *format, ...)
{
  va_list args;
  wchar_t *line;

  va_start (args, format);
  line = fb_format_args (format, args);
  va_end (args);
  write_line (L"", line);
  fb_free (line);
}

void
fb_log_event (const wchar_t *format, ...)
{
  va_list args;
  wchar_t *line;

  va_start (args, format);
  line = fb_format_args (format, args);
  va_end (args);
  write_line (L"H2K-FIRSTBOOT-", line);
  fb_serial_send (L"H2K-FIRSTBOOT-", line);
  fb_free (line);
}

/* Behind a mark, so that no script can forge a line of ours. */
void
fb_log_output (const wchar_t *line)
{
  write_line (L"| ", line);
  if (fb_serial_wants_output ())
    fb_serial_send (L"| ", line);
}
