/* reboot.c - restarting the machine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define TRIES 6
#define TRY_TIME 10000     /* ms between two of them */
#define COMING_TIME 600000 /* ms that Windows may take to end services */

/* Planned, for a change of the operating system's configuration. */
#define REASON 0x80020004

#define SHUTDOWN_IS_SCHEDULED 1190 /* since Vista */

static DWORD
ask_for_it (void)
{
  wchar_t message[] = L"hyper2kvm adapts this system to its new machine.";
  DWORD error;

  if (InitiateSystemShutdownExW (NULL, message, 0, TRUE, TRUE, REASON))
    return ERROR_SUCCESS;
  error = GetLastError ();
  if (error == ERROR_SHUTDOWN_IN_PROGRESS || error == SHUTDOWN_IS_SCHEDULED)
    return ERROR_SUCCESS;
  fb_log (L"the system refuses to restart (error %lu)", error);
  return error;
}

BOOL
fb_reboot (HANDLE stop)
{
  if (!fb_privilege (SE_SHUTDOWN_NAME))
    fb_log (L"the right to restart the system could not be had (error %lu)", GetLastError ());
  for (int i = 0; i < TRIES; i++)
    {
      if (ask_for_it () == ERROR_SUCCESS)
        {
          if (WaitForSingleObject (stop, COMING_TIME) == WAIT_OBJECT_0)
            return TRUE;
          break;
        }
      if (WaitForSingleObject (stop, TRY_TIME) == WAIT_OBJECT_0)
        return TRUE;
    }
  fb_log_event (L"WARNING the system did not restart; going on without");
  return FALSE;
}
