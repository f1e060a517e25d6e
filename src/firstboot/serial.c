/* serial.c - lines to COM1, without ever waiting long for who does not read.
 *
 * 115200 bit/s, 8 data bits, no parity, 1 stop bit, no flow control. A thread of its own opens the
 * port and writes, since drivers are not to be trusted to keep to time limits; lines wait for it in
 * a queue. The port may be missing, its driver may come up late, and another program may hold it:
 * it is tried again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define QUEUE_SIZE 65536
#define LINE_LIMIT 1000 /* characters of a line that are sent */
#define WRITE_TIME 2000 /* ms that the driver may take for a part of the queue */
#define ROOM_TIME 2000  /* ms that a line waits for room; then it, and what follows, is dropped */
#define CLOSE_TIME 3000 /* ms in which the rest is to be sent */
#define RETRY_OPEN 1000 /* ms between attempts to open the port */
#define PART_SIZE 256   /* bytes of one write */

/* Bytes from HEAD on, COUNT of them, wait in a ring. All but PATH and OUTPUT under LOCK. */
static struct
{
  wchar_t *path;
  BOOL output;
  CRITICAL_SECTION lock;
  HANDLE thread, wake, room; /* auto-reset events: there are bytes; there is room */
  BOOL deaf;                 /* nobody has made room in time, nor since */
  BOOL closing;
  size_t head, count;
  char queue[QUEUE_SIZE];
} serial;

static HANDLE
open_port (void)
{
  COMMTIMEOUTS timeouts = {.WriteTotalTimeoutConstant = WRITE_TIME};
  DCB dcb = {.DCBlength = sizeof dcb};
  HANDLE port
      = CreateFileW (serial.path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);

  if (port != INVALID_HANDLE_VALUE && GetCommState (port, &dcb))
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
      SetCommState (port, &dcb);
      SetCommTimeouts (port, &timeouts);
    }
  return port;
}

/* The first bytes of the queue, which stay there until they are sent. */
static DWORD
peek (char *part, BOOL *closing)
{
  DWORD size = 0;

  EnterCriticalSection (&serial.lock);
  for (; size < PART_SIZE && size < serial.count; size++)
    part[size] = serial.queue[(serial.head + size) % QUEUE_SIZE];
  *closing = serial.closing;
  LeaveCriticalSection (&serial.lock);
  return size;
}

static void
take (DWORD size)
{
  EnterCriticalSection (&serial.lock);
  serial.head = (serial.head + size) % QUEUE_SIZE;
  serial.count -= size;
  serial.deaf = FALSE;
  LeaveCriticalSection (&serial.lock);
  SetEvent (serial.room);
}

static DWORD WINAPI
send_queue (void *data)
{
  HANDLE port = INVALID_HANDLE_VALUE;
  char part[PART_SIZE];
  BOOL closing = FALSE;

  (void)data;
  for (;;)
    {
      DWORD size = peek (part, &closing), written = 0;

      if (size > 0 && port == INVALID_HANDLE_VALUE)
        port = open_port ();
      if (closing && (size == 0 || port == INVALID_HANDLE_VALUE))
        break;
      if (size == 0)
        WaitForSingleObject (serial.wake, INFINITE);
      else if (port == INVALID_HANDLE_VALUE)
        Sleep (RETRY_OPEN);
      else if (WriteFile (port, part, size, &written, NULL) && written > 0)
        take (written);
      else
        Sleep (100);
    }
  if (port != INVALID_HANDLE_VALUE)
    CloseHandle (port);
  return 0;
}

void
fb_serial_setup (const wchar_t *name, BOOL output)
{
  if (name == NULL || *name == 0)
    return;
  serial.path = fb_format (L"\\\\.\\%s", name);
  serial.output = output;
  InitializeCriticalSection (&serial.lock);
  serial.wake = CreateEventW (NULL, FALSE, FALSE, NULL);
  serial.room = CreateEventW (NULL, FALSE, FALSE, NULL);
  serial.thread = CreateThread (NULL, 0, send_queue, NULL, 0, NULL);
}

BOOL
fb_serial_wants_output (void)
{
  return serial.thread != NULL && serial.output;
}

/* PREFIX and LINE in ASCII into TEXT; the length. */
static size_t
encode (const wchar_t *prefix, const wchar_t *line, char *text)
{
  static const char digits[] = "0123456789abcdef";
  const wchar_t *parts[] = {prefix, line};
  size_t size = 0, n = 0;

  for (size_t i = 0; i < FB_COUNT (parts); i++)
    for (const wchar_t *c = parts[i]; *c && n < LINE_LIMIT; c++, n++)
      if (*c >= ' ' && *c < 0x7f)
        text[size++] = (char)*c;
      else
        {
          text[size++] = '\\';
          text[size++] = 'u';
          for (int shift = 12; shift >= 0; shift -= 4)
            text[size++] = digits[*c >> shift & 15];
        }
  text[size++] = '\r';
  text[size++] = '\n';
  return size;
}

/* FALSE: there is no room. */
static BOOL
put (const char *text, size_t size)
{
  BOOL fits;

  EnterCriticalSection (&serial.lock);
  fits = serial.count + size <= QUEUE_SIZE;
  for (size_t i = 0; fits && i < size; i++)
    serial.queue[(serial.head + serial.count++) % QUEUE_SIZE] = text[i];
  LeaveCriticalSection (&serial.lock);
  SetEvent (serial.wake);
  return fits;
}

void
fb_serial_send (const wchar_t *prefix, const wchar_t *line)
{
  char text[LINE_LIMIT * 6 + 2];
  DWORD began = GetTickCount (), gone;
  size_t size;

  if (serial.thread == NULL)
    return;
  size = encode (prefix, line, text);
  while (!put (text, size))
    {
      gone = GetTickCount () - began;
      if (gone >= ROOM_TIME)
        serial.deaf = TRUE;
      if (serial.deaf)
        return;
      WaitForSingleObject (serial.room, ROOM_TIME - gone);
    }
}

/* A thread that does not end in time is left to the end of the process. */
void
fb_serial_close (void)
{
  if (serial.thread == NULL)
    return;
  EnterCriticalSection (&serial.lock);
  serial.closing = TRUE;
  LeaveCriticalSection (&serial.lock);
  SetEvent (serial.wake);
  WaitForSingleObject (serial.thread, CLOSE_TIME);
  CloseHandle (serial.thread);
  serial.thread = NULL;
}
