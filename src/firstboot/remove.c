/* remove.c - nothing of the service is left when its work is done, but the log and the state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define DEPTH 32

void
fb_remove_service (void)
{
  SC_HANDLE manager = OpenSCManagerW (NULL, NULL, SC_MANAGER_CONNECT), service = NULL;
  DWORD error = ERROR_SUCCESS;

  if (manager != NULL)
    service = OpenServiceW (manager, FB_SERVICE, DELETE | SERVICE_CHANGE_CONFIG);
  if (service == NULL || !DeleteService (service))
    error = GetLastError ();
  /* One that cannot be removed is at least not started again. */
  if (error != ERROR_SUCCESS && error != ERROR_SERVICE_MARKED_FOR_DELETE && service != NULL)
    ChangeServiceConfigW (service, SERVICE_NO_CHANGE, SERVICE_DISABLED, SERVICE_NO_CHANGE, NULL,
                          NULL, NULL, NULL, NULL, NULL, NULL);
  if (error != ERROR_SUCCESS)
    fb_log (L"the service cannot be removed (error %lu)", error);
  if (service != NULL)
    CloseServiceHandle (service);
  if (manager != NULL)
    CloseServiceHandle (manager);
}

static void remove_path (const wchar_t *path, DWORD attributes, int depth);

static void
remove_below (const wchar_t *folder, int depth)
{
  wchar_t *pattern = fb_format (L"%s\\*", folder);
  WIN32_FIND_DATAW file;
  HANDLE find = FindFirstFileW (pattern, &file);

  fb_free (pattern);
  if (find == INVALID_HANDLE_VALUE)
    return;
  do
    {
      wchar_t *path = fb_format (L"%s\\%s", folder, file.cFileName);

      if (wcscmp (file.cFileName, L".") != 0 && wcscmp (file.cFileName, L"..") != 0)
        remove_path (path, file.dwFileAttributes, depth);
      fb_free (path);
    }
  while (FindNextFileW (find, &file));
  FindClose (find);
}

/* Links go, what they lead to does not. What is in use goes at the next boot. */
static void
remove_path (const wchar_t *path, DWORD attributes, int depth)
{
  BOOL ok;

  if (attributes & FILE_ATTRIBUTE_READONLY)
    SetFileAttributesW (path, FILE_ATTRIBUTE_NORMAL);
  if (attributes & FILE_ATTRIBUTE_DIRECTORY)
    {
      if (!(attributes & FILE_ATTRIBUTE_REPARSE_POINT) && depth < DEPTH)
        remove_below (path, depth + 1);
      ok = RemoveDirectoryW (path);
    }
  else
    ok = DeleteFileW (path);
  if (!ok && !MoveFileExW (path, NULL, MOVEFILE_DELAY_UNTIL_REBOOT))
    fb_log (L"%s cannot be removed (error %lu)", path, GetLastError ());
}

void
fb_remove_files (const FbContext *context)
{
  static const wchar_t *const names[] = {L"scripts", L"data", L"drivers", L"firstboot.ini"};

  if (fb_ini_number (context->ini, L"firstboot", L"keep", 1, 0) != 0)
    return;
  for (size_t i = 0; i < FB_COUNT (names); i++)
    {
      wchar_t *path = fb_format (L"%s\\%s", context->folder, names[i]);
      DWORD attributes = GetFileAttributesW (path);

      if (attributes != INVALID_FILE_ATTRIBUTES)
        remove_path (path, attributes, 0);
      fb_free (path);
    }
  MoveFileExW (context->exe, NULL, MOVEFILE_DELAY_UNTIL_REBOOT);
}
