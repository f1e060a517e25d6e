/* system.c - what Windows this is, where its programs and DLLs lie.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

FARPROC
fb_function (const wchar_t *dll, const char *name)
{
  HMODULE module = GetModuleHandleW (dll);

  if (module == NULL)
    module = fb_system_library (dll);
  return module ? GetProcAddress (module, name) : NULL;
}

/* GetVersionEx() tells programs without a manifest that Windows 10 were 8. */
DWORD
fb_windows (void)
{
  typedef LONG (WINAPI * GetVersion) (OSVERSIONINFOW *);
  GetVersion get_version = (GetVersion)(void *)fb_function (L"ntdll.dll", "RtlGetVersion");
  OSVERSIONINFOW info = {.dwOSVersionInfoSize = sizeof info};

  if (get_version == NULL || get_version (&info) != 0)
    return 0x501;
  return info.dwMajorVersion << 8 | (info.dwMinorVersion & 0xff);
}

static BOOL
other_word_size (void)
{
  typedef BOOL (WINAPI * IsWow64) (HANDLE, BOOL *);
  IsWow64 is_wow64 = (IsWow64)(void *)fb_function (L"kernel32.dll", "IsWow64Process");
  BOOL wow64 = FALSE;

  return is_wow64 != NULL && is_wow64 (GetCurrentProcess (), &wow64) && wow64;
}

/* A program of the other word size is redirected from System32; Sysnative leads past that. It is
 * unknown to XP and 2003 without a hotfix, which then have to do with what they redirect to. */
wchar_t *
fb_system_path (const wchar_t *name)
{
  wchar_t folder[MAX_PATH] = L"";
  wchar_t *path;

  if (other_word_size () && GetSystemWindowsDirectoryW (folder, MAX_PATH) < MAX_PATH)
    {
      path = fb_format (L"%s\\Sysnative\\%s", folder, name);
      if (fb_exists (path))
        return path;
      fb_free (path);
    }
  if (GetSystemDirectoryW (folder, MAX_PATH) >= MAX_PATH)
    folder[0] = 0;
  return fb_format (L"%s\\%s", folder, name);
}

/* DLLs have this process's word size, so never Sysnative. */
HMODULE
fb_system_library (const wchar_t *name)
{
  wchar_t folder[MAX_PATH] = L"";
  wchar_t *path;
  HMODULE module;

  if (GetSystemDirectoryW (folder, MAX_PATH) >= MAX_PATH)
    return NULL;
  path = fb_format (L"%s\\%s", folder, name);
  module = LoadLibraryExW (path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
  fb_free (path);
  return module;
}

BOOL
fb_exists (const wchar_t *path)
{
  return GetFileAttributesW (path) != INVALID_FILE_ATTRIBUTES;
}

BOOL
fb_privilege (const wchar_t *name)
{
  TOKEN_PRIVILEGES privileges = {.PrivilegeCount = 1};
  HANDLE token;
  BOOL ok;

  if (!OpenProcessToken (GetCurrentProcess (), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token))
    return FALSE;
  privileges.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
  ok = LookupPrivilegeValueW (NULL, name, &privileges.Privileges[0].Luid)
       && AdjustTokenPrivileges (token, FALSE, &privileges, 0, NULL, NULL)
       && GetLastError () == ERROR_SUCCESS;
  CloseHandle (token);
  return ok;
}

wchar_t *
fb_error_text (DWORD error)
{
  wchar_t text[512] = L"";
  DWORD length = FormatMessageW (FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                                 error, 0, text, FB_COUNT (text), NULL);

  while (length > 0 && (text[length - 1] <= ' ' || text[length - 1] == '.'))
    text[--length] = 0;
  return length ? fb_format (L"%s (error %lu)", text, error) : fb_format (L"error %lu", error);
}

void
fb_harden (void)
{
  typedef BOOL (WINAPI * SetDirectory) (const wchar_t *);
  typedef BOOL (WINAPI * SetDirectories) (DWORD);
  /* XP with SP1; 8, and 7 with an update. 0x800: LOAD_LIBRARY_SEARCH_SYSTEM32. */
  SetDirectory set_directory
      = (SetDirectory)(void *)fb_function (L"kernel32.dll", "SetDllDirectoryW");
  SetDirectories set_directories
      = (SetDirectories)(void *)fb_function (L"kernel32.dll", "SetDefaultDllDirectories");

  if (set_directory != NULL)
    set_directory (L"");
  if (set_directories != NULL)
    set_directories (0x800);
  SetErrorMode (SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
}
