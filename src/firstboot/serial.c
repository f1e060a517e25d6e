/* serial.c - lines to COM1, without ever waiting long for who does not read.
 *
 * 115200 bit/s, 8 data bits, no parity, 1 stop bit, no flow control. The port may be missing, its
 * driver may come up late, and another program may hold it: it is tried again with later lines.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define WRITE_TIME 2000   /* ms for a line; at 115200 bit/s it holds 23 KB */
#define LINE_LIMIT 1000   /* characters of a line that are sent */
#define RETRY_OPEN 5000   /* ms until a port that could not be opened is tried again */
#define RETRY_WRITE 30000 /* ms for which nothing is sent after nobody read */

static struct
{
  wchar_t *path;
  BOOL output;
  HANDLE port;
  DWORD paused_at, paused_for; /* ticks; 0: not paused */
  /* The driver's until the write has ended, which it might never: so not on the stack. */
  OVERLAPPED overlapped;
  char line[LINE_LIMIT * 6 + 64];
  BOOL stuck;
} serial = {.port = INVALID_HANDLE_VALUE};

void
fb_serial_setup (const wchar_t *name, BOOL output)
{
  fb_serial_close ();
  serial.output = output;
  if (name != NULL && *name != 0)
    serial.path = fb_format (L"\\\\.\\%s", name);
}

BOOL
fb_serial_wants_output (void)
{
  return serial.path != NULL && serial.output;
}

static void
pause_for (DWORD time)
{
  serial.paused_at = GetTickCount ();
  serial.paused_for = time;
}

static BOOL
is_paused (void)
{
  return serial.paused_for != 0 && GetTickCount () - serial.paused_at < serial.paused_for;
}

/* Something that is no serial port but can be written (a pipe, a file) does as well. */
static BOOL
open_port (void)
{
  COMMTIMEOUTS timeouts = {.WriteTotalTimeoutConstant = WRITE_TIME};
  DCB dcb = {.DCBlength = sizeof dcb};

  if (serial.port != INVALID_HANDLE_VALUE)
    return TRUE;
  serial.port = CreateFileW (serial.path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                             FILE_FLAG_OVERLAPPED, NULL);
  if (serial.port == INVALID_HANDLE_VALUE)
    {
      pause_for (RETRY_OPEN);
      return FALSE;
    }
  if (serial.overlapped.hEvent == NULL)
    serial.overlapped.hEvent = CreateEventW (NULL, TRUE, FALSE, NULL);
  if (GetCommState (serial.port, &dcb))
    {
      dcb = (DCB){.DCBlength = sizeof dcb,
                  .BaudRate = CBR_115200,
                  .fBinary = TRUE,
                  .ByteSize = 8,
                  .Parity = NOPARITY,
                  .StopBits = ONESTOPBIT,
                  .fDtrControl = DTR_CONTROL_ENABLE,
                  .fRtsControl = RTS_CONTROL_ENABLE,
                  .XonChar = 0x11,
                  .XoffChar = 0x13};
      SetCommState (serial.port, &dcb);
      SetCommTimeouts (serial.port, &timeouts);
    }
  return TRUE;
}

/* The line as ASCII into serial.line; its length. */
static DWORD
encode (const wchar_t *prefix, const wchar_t *line)
{
  static const char digits[] = "0123456789abcdef";
  const wchar_t *parts[] = {prefix, line};
  DWORD size = 0, n = 0;

  for (size_t i = 0; i < FB_COUNT (parts); i++)
    for (const wchar_t *c = parts[i]; *c && n < LINE_LIMIT; c++, n++)
      if (*c >= ' ' && *c < 0x7f)
        serial.line[size++] = (char)*c;
      else
        {
          serial.line[size++] = '\\';
          serial.line[size++] = 'u';
          for (int shift = 12; shift >= 0; shift -= 4)
            serial.line[size++] = digits[*c >> shift & 15];
        }
  serial.line[size++] = '\r';
  serial.line[size++] = '\n';
  return size;
}

/* FALSE: nobody has read it in time. What is left of it is called back. */
static BOOL
write_line (DWORD size)
{
  DWORD written = 0;

  ResetEvent (serial.overlapped.hEvent);
  serial.overlapped.Offset = serial.overlapped.OffsetHigh = 0xffffffff; /* files: append */
  if (!WriteFile (serial.port, serial.line, size, NULL, &serial.overlapped)
      && GetLastError () != ERROR_IO_PENDING)
    return FALSE;
  if (WaitForSingleObject (serial.overlapped.hEvent, WRITE_TIME + 500) != WAIT_OBJECT_0)
    {
      CancelIo (serial.port);
      serial.stuck = WaitForSingleObject (serial.overlapped.hEvent, 500) != WAIT_OBJECT_0;
      return FALSE;
    }
  return GetOverlappedResult (serial.port, &serial.overlapped, &written, FALSE) && written == size;
}

void
fb_serial_send (const wchar_t *prefix, const wchar_t *line, BOOL urgent)
{
  if (serial.path == NULL || serial.stuck || (is_paused () && !urgent) || !open_port ())
    return;
  serial.paused_for = 0;
  if (!write_line (encode (prefix, line)))
    pause_for (RETRY_WRITE);
}

void
fb_serial_close (void)
{
  if (serial.port != INVALID_HANDLE_VALUE)
    CloseHandle (serial.port);
  serial.port = INVALID_HANDLE_VALUE;
  fb_free (serial.path);
  serial.path = NULL;
  serial.paused_for = 0;
}
