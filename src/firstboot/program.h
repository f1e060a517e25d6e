/* program.h - what the parts of h2k-firstboot.exe share.
 *
 * The program is plain Win32 for Windows XP and later: what came after XP is asked for by
 * GetProcAddress. It imports from kernel32, advapi32, setupapi and msvcrt alone, all of them
 * "known DLLs" that no folder can shadow; others are loaded by their full path.
 *
 * Texts are UTF-16 in memory and UTF-8 in files. What is returned as a pointer that is not const is
 * the caller's, to be freed by fb_free(). There is one thread that does the work; the service
 * manager's only sets events, and that of the serial port takes bytes from a queue.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#define _WIN32_WINNT 0x0501
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <wchar.h>

#define FB_SERVICE L"h2k-firstboot"
#define FB_COUNT(array) (sizeof (array) / sizeof ((array)[0]))

/* Exit codes of helper modes; scripts are judged by the same ones. */
#define FB_OK 0
#define FB_FAILED 1
#define FB_USAGE 2
#define FB_REBOOT ERROR_SUCCESS_REBOOT_REQUIRED /* 3010 */

/* --- text.c: memory, texts, files --- */

/* Zeroed; the process ends where there is no memory. */
void *fb_alloc (size_t size);
void *fb_grow (void *memory, size_t size);
void fb_free (void *memory);
wchar_t *fb_copy (const wchar_t *text);
wchar_t *fb_format (const wchar_t *format, ...);
wchar_t *fb_format_args (const wchar_t *format, va_list args);
char *fb_to_utf8 (const wchar_t *text);
/* SIZE bytes of CODE_PAGE; those that are valid UTF-8 are taken as that whatever CODE_PAGE says. */
wchar_t *fb_to_wide (UINT code_page, const char *bytes, size_t size);
/* TEXT begins with PREFIX, case aside. */
BOOL fb_starts (const wchar_t *text, const wchar_t *prefix);
/* Decimal digits up to MAX; FALSE for anything else. */
BOOL fb_number (const wchar_t *text, DWORD max, DWORD *number);
/* All of a regular file of at most LIMIT bytes, with a NUL behind; NULL sets the last error. */
char *fb_read_file (const wchar_t *path, size_t limit, size_t *size);
/* The text of a file in UTF-8 or, with its mark, UTF-16. NULL sets the last error. */
wchar_t *fb_read_text (const wchar_t *path, size_t limit);
/* PATH has its old or the new content, also when the machine dies. FALSE sets the last error. */
BOOL fb_replace_file (const wchar_t *path, const char *data, size_t size);
/* Take the next line out of *REST; NULL: there is none. Carriage returns and blanks around go. */
wchar_t *fb_next_line (wchar_t **rest);

/* --- system.c: this Windows --- */

/* Major * 0x100 + minor, as the kernel tells it: 0x501 XP, 0x600 Vista, 0x601 7, 0xa00 10 and 11.
 */
DWORD fb_windows (void);
/* Full path of System32\NAME with the programs of this machine's own word size. */
wchar_t *fb_system_path (const wchar_t *name);
HMODULE fb_system_library (const wchar_t *name);
/* A function of a DLL that is loaded, or of System32\DLL. */
FARPROC fb_function (const wchar_t *dll, const char *name);
BOOL fb_exists (const wchar_t *path);
BOOL fb_privilege (const wchar_t *name);
/* "text (error N)" of the system for a Win32 error. */
wchar_t *fb_error_text (DWORD error);
/* Search DLLs in the system's folder alone from here on. */
void fb_harden (void);

/* --- registry.c: of HKEY_LOCAL_MACHINE, the view of the machine's own word size --- */

HKEY fb_key_open (const wchar_t *path, REGSAM access);
/* Keys below, each call the next INDEX; NULL: no more. */
wchar_t *fb_key_name (HKEY key, DWORD index);
/* REG_SZ, REG_EXPAND_SZ (unexpanded) or the first of a REG_MULTI_SZ. NULL: there is none. */
wchar_t *fb_key_text (HKEY key, const wchar_t *value);
BOOL fb_key_number (HKEY key, const wchar_t *value, DWORD *number);
/* A REG_MULTI_SZ with its end; NULL: there is none. */
wchar_t *fb_key_list (HKEY key, const wchar_t *value);
LONG fb_key_set_text (HKEY key, const wchar_t *value, const wchar_t *text);
LONG fb_key_set_number (HKEY key, const wchar_t *value, DWORD number);
/* TEXTS: count of them, as a REG_MULTI_SZ. */
LONG fb_key_set_list (HKEY key, const wchar_t *value, wchar_t *const *texts, size_t count);
/* PATH and all below it; no key is followed to where it links. */
LONG fb_key_delete (const wchar_t *path);

/* --- ini.c --- */

typedef struct FbIni FbIni;

/* Sections [name], keys and values with blanks around them cut off, comments from ; or # at the
 * beginning of a line. Keys may be repeated. NULL sets the last error. */
FbIni *fb_ini_load (const wchar_t *path);
void fb_ini_free (FbIni *ini);
/* The INDEXth value of KEY in SECTION; names are compared without case. NULL: there is none; INI
 * may be NULL. */
const wchar_t *fb_ini_get (const FbIni *ini, const wchar_t *section, const wchar_t *key,
                           size_t index);
DWORD fb_ini_number (const FbIni *ini, const wchar_t *section, const wchar_t *key, DWORD max,
                     DWORD otherwise);
/* The INDEXth different section that begins with PREFIX; NULL: there is none. */
const wchar_t *fb_ini_section (const FbIni *ini, const wchar_t *prefix, size_t index);

/* --- log.c, serial.c --- */

/* Lines go to FOLDER\h2k-firstboot.log (NULL: no file), begun anew when it exceeds LIMIT bytes with
 * one older one kept, and with ECHO to standard output. */
void fb_log_open (const wchar_t *folder, DWORD limit, BOOL echo);
void fb_log_close (void);
void fb_log (const wchar_t *format, ...);
/* A line H2K-FIRSTBOOT-...: on the serial port, too. */
void fb_log_event (const wchar_t *format, ...);
/* A line that a script has written. */
void fb_log_output (const wchar_t *line);

/* Lines go to NAME (COM1), which is opened when there is one; NULL or "": none. With OUTPUT what
 * scripts write is sent, too. Once in a process. */
void fb_serial_setup (const wchar_t *name, BOOL output);
BOOL fb_serial_wants_output (void);
/* One line in ASCII; what is not becomes \uXXXX. Waits for 2 s where nobody reads, and then not
 * again until somebody has. */
void fb_serial_send (const wchar_t *prefix, const wchar_t *line);
/* The rest is sent, which takes 3 s at most. */
void fb_serial_close (void);

/* --- child.c --- */

typedef enum
{
  FB_CHILD_EXITED,
  FB_CHILD_NOT_STARTED, /* code: the Win32 error */
  FB_CHILD_TIMED_OUT,   /* it and all its children were ended */
  FB_CHILD_STOPPED,     /* the same, since STOP was set */
} FbChildEnd;

typedef struct
{
  const wchar_t *program;             /* full path */
  const wchar_t *command_line;        /* begins with the program in quotes */
  const wchar_t *folder;              /* current folder; NULL: the system's */
  DWORD limit;                        /* milliseconds that it may take */
  HANDLE stop;                        /* NULL or an event: end it... */
  const DWORD *stop_wait;             /* ...but give it this many milliseconds to end by itself */
  void (*line) (const wchar_t *line); /* each line that it writes; NULL: dropped */
} FbChild;

/* Standard input is NUL; output and errors come line by line. *CODE: the exit code. */
FbChildEnd fb_child_run (const FbChild *child, DWORD *code);
/* Run System32\PROGRAM with ARGUMENTS, output to the log. The exit code, or a Win32 error. */
DWORD fb_run_system (const wchar_t *program, const wchar_t *arguments, DWORD limit);

/* --- state.c: which scripts there are, and what became of them --- */

typedef enum
{
  FB_PENDING,
  FB_RUNNING, /* begun, its end was not recorded */
  FB_DONE,
  FB_FAIL,
} FbStatus;

typedef struct
{
  wchar_t *name;
  FbStatus status;
  DWORD attempts;
  DWORD code;   /* exit code, with FB_DONE and FB_FAIL */
  BOOL present; /* lies in the folder */
  BOOL refused; /* is no regular file: a reparse point */
} FbScript;

typedef struct
{
  wchar_t *path;
  FbScript *scripts; /* in the order of their names */
  size_t n_scripts;
  DWORD reboots;
} FbState;

/* What the file PATH says, and what lies in FOLDER. NULL with a line in the log: the file is
 * damaged or cannot be read, or FOLDER cannot, so that it is not known what has run. */
FbState *fb_state_load (const wchar_t *path, const wchar_t *folder);
BOOL fb_state_save (const FbState *state);
void fb_state_free (FbState *state);

/* --- kinds.c: how scripts are run --- */

/* NNN-name.ext of a kind that can be run. */
BOOL fb_is_script (const wchar_t *name);
/* The program and command line for the script NAME of FOLDER\scripts, which fb_is_script(). */
void fb_script_command (const wchar_t *folder, const wchar_t *name, wchar_t **program,
                        wchar_t **command_line);

/* --- run.c --- */

typedef struct
{
  wchar_t *folder; /* the program's own */
  wchar_t *exe;
  FbIni *ini;
  BOOL service;    /* FALSE: by hand (--run): no reboot, nothing is removed */
  HANDLE stop;     /* manual-reset event: end soon */
  DWORD stop_wait; /* milliseconds that a running script is given then */
} FbContext;

/* The program's folder, its firstboot.ini, the log and the serial port. */
FbContext *fb_context_new (BOOL service);
void fb_context_free (FbContext *context);
/* Run what is to be run. FB_OK, FB_FAILED (some did), FB_REBOOT (by hand: a script asks for it), or
 * ERROR_CANCELLED when it was stopped. */
int fb_run (FbContext *context);

/* --- reboot.c, remove.c --- */

/* Ask for a restart of the machine and wait until STOP tells that it comes. FALSE with a line in
 * the log: it does not come. */
BOOL fb_reboot (HANDLE stop);
/* Take the service out of the registry, and the program, scripts, data and drivers from FOLDER. */
void fb_remove_service (void);
void fb_remove_files (const FbContext *context);

/* --- service.c --- */

int fb_service_main (void);
int fb_service_install (void);

/* --- helper modes: arguments behind the option's own; the exit code --- */

int fb_mode_install_driver (int argc, wchar_t **argv);
int fb_mode_forget_drivers (int argc, wchar_t **argv);
int fb_mode_network (int argc, wchar_t **argv);
int fb_mode_remove_ghosts (int argc, wchar_t **argv);
int fb_mode_remove_tools (int argc, wchar_t **argv);
int fb_mode_disks (int argc, wchar_t **argv);

/* The class of network adapters, as a key's name. */
#define FB_NET_CLASS L"{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define FB_NET_KEY L"SYSTEM\\CurrentControlSet\\Control\\Network\\" FB_NET_CLASS
#define FB_TCPIP_KEY L"SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces"

/* --- adapters.c: the network adapters that are there --- */

typedef struct
{
  wchar_t *guid;     /* {...}: its key below FB_NET_KEY and FB_TCPIP_KEY */
  wchar_t *name;     /* of the connection */
  wchar_t *instance; /* of the device, PCI\\...; "": not known */
  BYTE mac[6];
  BOOL taken; /* for the caller */
} FbAdapter;

/* Ethernet alone. The array is freed by fb_adapters_free(). */
FbAdapter *fb_adapters (size_t *count);
void fb_adapters_free (FbAdapter *adapters, size_t count);
/* A value of an adapter's Connection key (Name, PnpInstanceID); NULL: there is none. */
wchar_t *fb_connection_text (const wchar_t *guid, const wchar_t *value);
/* No other connection has NAME, those of adapters that are gone included. */
BOOL fb_connection_is_free (const wchar_t *name, const wchar_t *guid);
