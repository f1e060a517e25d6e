/* service.c - the service h2k-firstboot: what the service manager sees of it.
 *
 * hyper2kvm installs it offline by these values of Services\h2k-firstboot: Type 0x10, Start 2,
 * ErrorControl 1, ImagePath (REG_EXPAND_SZ) with quotes around the program's path, ObjectName
 * LocalSystem; DependOnService RpcSs is wise, since installers need it. There are no arguments.
 *
 * It is RUNNING at once, since Windows waits for auto-start services. When it is to stop, the
 * script at work is given a while (stop-wait), then it is ended and begun again at the next boot.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#ifndef SERVICE_ACCEPT_PRESHUTDOWN
#  define SERVICE_ACCEPT_PRESHUTDOWN 0x100
#  define SERVICE_CONTROL_PRESHUTDOWN 0xf
#endif

/* Vista and later tell of a shutdown early, and wait up to three minutes then. */
#define PRESHUTDOWN_WAIT 150000

static struct
{
  SERVICE_STATUS_HANDLE handle;
  SERVICE_STATUS status;
  CRITICAL_SECTION lock;
  FbContext *context;
} service;

static void
set_status (DWORD state, DWORD code, DWORD wait)
{
  DWORD accepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN;

  /* XP refuses what it does not know. */
  if (fb_windows () >= 0x600)
    accepted |= SERVICE_ACCEPT_PRESHUTDOWN;
  EnterCriticalSection (&service.lock);
  /* STOPPED is the last word: the handle is no more. */
  if (service.status.dwCurrentState != SERVICE_STOPPED)
    {
      service.status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
      service.status.dwCurrentState = state;
      service.status.dwControlsAccepted = state == SERVICE_RUNNING ? accepted : 0;
      service.status.dwWin32ExitCode = code ? ERROR_SERVICE_SPECIFIC_ERROR : NO_ERROR;
      service.status.dwServiceSpecificExitCode = code;
      service.status.dwWaitHint = wait;
      SetServiceStatus (service.handle, &service.status);
    }
  LeaveCriticalSection (&service.lock);
}

static DWORD WINAPI
control (DWORD code, DWORD type, void *data, void *user)
{
  (void)type, (void)data, (void)user;
  switch (code)
    {
    case SERVICE_CONTROL_PRESHUTDOWN:
      service.context->stop_wait = max (service.context->stop_wait, PRESHUTDOWN_WAIT);
      /* fall through */
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_SHUTDOWN:
      set_status (SERVICE_STOP_PENDING, 0, service.context->stop_wait + 10000);
      SetEvent (service.context->stop);
      return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE:
      return NO_ERROR;
    default:
      return ERROR_CALL_NOT_IMPLEMENTED;
    }
}

static void WINAPI
service_main (DWORD argc, wchar_t **argv)
{
  int result;

  (void)argc, (void)argv;
  InitializeCriticalSection (&service.lock);
  service.context = fb_context_new (TRUE);
  service.handle = RegisterServiceCtrlHandlerExW (FB_SERVICE, control, NULL);
  if (service.handle == NULL)
    {
      fb_log (L"the service manager knows no " FB_SERVICE " (error %lu)", GetLastError ());
      return;
    }
  set_status (SERVICE_RUNNING, 0, 0);
  result = fb_run (service.context);
  /* The context stays: the control handler may still be called. */
  fb_log_close ();
  fb_serial_close ();
  set_status (SERVICE_STOPPED, result == ERROR_CANCELLED ? 0 : result, 0);
}

int
fb_service_main (void)
{
  wchar_t name[] = FB_SERVICE;
  SERVICE_TABLE_ENTRYW table[] = {{name, service_main}, {NULL, NULL}};

  return StartServiceCtrlDispatcherW (table) ? FB_OK : FB_FAILED;
}

int
fb_service_install (void)
{
  wchar_t path[MAX_PATH * 2] = L"";
  wchar_t *quoted;
  SC_HANDLE manager, created = NULL;
  DWORD error = ERROR_SUCCESS;

  GetModuleFileNameW (NULL, path, FB_COUNT (path) - 1);
  quoted = fb_format (L"\"%s\"", path);
  manager = OpenSCManagerW (NULL, NULL, SC_MANAGER_CREATE_SERVICE);
  if (manager != NULL)
    created = CreateServiceW (manager, FB_SERVICE, L"hyper2kvm first boot", SERVICE_ALL_ACCESS,
                              SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL,
                              quoted, NULL, NULL, NULL, NULL, NULL);
  if (created == NULL)
    error = GetLastError ();
  else
    CloseServiceHandle (created);
  if (manager != NULL)
    CloseServiceHandle (manager);
  fb_free (quoted);
  if (error != ERROR_SUCCESS)
    fb_log (L"the service cannot be installed (error %lu)", error);
  return error == ERROR_SUCCESS ? FB_OK : FB_FAILED;
}
