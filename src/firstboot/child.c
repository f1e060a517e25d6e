/* child.c - one program run to its end: output line by line, a time limit, no child left behind.
 *
 * A job object holds the program and all that it starts. Where the system does not let it into one
 * (before Windows 8 jobs do not nest), the program alone can be ended.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define POLL_TIME 50     /* ms between two looks at the pipe */
#define LINE_LIMIT 2000  /* bytes of output that make a line at the most */
#define DRAIN_LIMIT 1000 /* reads after its end: children may go on writing */

typedef struct
{
  const FbChild *child;
  HANDLE pipe; /* where output is read */
  HANDLE job;  /* NULL: none could be had */
  PROCESS_INFORMATION process;
  char line[LINE_LIMIT];
  size_t line_size;
} Run;

static void
flush_line (Run *run)
{
  wchar_t *line;

  while (run->line_size > 0 && strchr ("\r \t", run->line[run->line_size - 1]) != NULL)
    run->line_size--;
  if (run->child->line != NULL && run->line_size > 0)
    {
      line = fb_to_wide (CP_OEMCP, run->line, run->line_size);
      run->child->line (line);
      fb_free (line);
    }
  run->line_size = 0;
}

static void
take_output (Run *run, const char *bytes, DWORD size)
{
  for (DWORD i = 0; i < size; i++)
    {
      if (bytes[i] == '\n' || run->line_size == LINE_LIMIT)
        flush_line (run);
      /* NULs are those of UTF-16, which some of Windows' programs write. */
      if (bytes[i] != '\n' && bytes[i] != 0)
        run->line[run->line_size++] = bytes[i];
    }
}

/* Everything that is in the pipe now. FALSE: nothing was. */
static BOOL
read_output (Run *run)
{
  char buffer[4096];
  DWORD available = 0, got = 0;

  if (!PeekNamedPipe (run->pipe, NULL, 0, NULL, &available, NULL) || available == 0
      || !ReadFile (run->pipe, buffer, min (available, sizeof buffer), &got, NULL) || got == 0)
    return FALSE;
  take_output (run, buffer, got);
  return TRUE;
}

/* Whether children go when the handle does: while the program runs, so that ours is no reason for
 * them to outlive it; no more when it has ended well, since it may have started something to stay.
 */
static void
set_kill_on_close (HANDLE job, BOOL kill)
{
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits
      = {.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION};

  if (kill)
    limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
  SetInformationJobObject (job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
}

static void
join_job (Run *run)
{
  run->job = CreateJobObjectW (NULL, NULL);
  if (run->job == NULL)
    return;
  set_kill_on_close (run->job, TRUE);
  if (!AssignProcessToJobObject (run->job, run->process.hProcess))
    {
      fb_log (L"no job object for it, so that its children cannot be ended with it (error %lu)",
              GetLastError ());
      CloseHandle (run->job);
      run->job = NULL;
    }
}

static DWORD
create_process (Run *run, STARTUPINFOW *startup)
{
  const FbChild *child = run->child;
  wchar_t *command_line = fb_copy (child->command_line); /* is written to */
  DWORD error = ERROR_SUCCESS;

  if (!CreateProcessW (child->program, command_line, NULL, NULL, TRUE,
                       CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT, NULL,
                       child->folder, startup, &run->process))
    error = GetLastError ();
  fb_free (command_line);
  return error;
}

static DWORD
start (Run *run)
{
  SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
  STARTUPINFOW startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
  DWORD error = ERROR_SUCCESS;

  startup.hStdInput = CreateFileW (L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                   &inherited, OPEN_EXISTING, 0, NULL);
  if (!CreatePipe (&run->pipe, &startup.hStdOutput, &inherited, 1 << 16))
    error = GetLastError ();
  else
    {
      SetHandleInformation (run->pipe, HANDLE_FLAG_INHERIT, 0);
      startup.hStdError = startup.hStdOutput;
      error = create_process (run, &startup);
      CloseHandle (startup.hStdOutput);
    }
  if (startup.hStdInput != INVALID_HANDLE_VALUE)
    CloseHandle (startup.hStdInput);
  if (error == ERROR_SUCCESS)
    {
      join_job (run);
      ResumeThread (run->process.hThread);
      CloseHandle (run->process.hThread);
    }
  else if (run->pipe != NULL)
    CloseHandle (run->pipe);
  return error;
}

static FbChildEnd
wait_for (Run *run)
{
  const FbChild *child = run->child;
  DWORD began = GetTickCount (), stop_began = 0;
  BOOL stopping = FALSE;

  while (WaitForSingleObject (run->process.hProcess, POLL_TIME) == WAIT_TIMEOUT)
    {
      for (int i = 0; i < 64 && read_output (run); i++)
        ;
      if (!stopping && child->stop != NULL && WaitForSingleObject (child->stop, 0) == WAIT_OBJECT_0)
        {
          stopping = TRUE;
          stop_began = GetTickCount ();
        }
      if (stopping && GetTickCount () - stop_began >= (child->stop_wait ? *child->stop_wait : 0))
        return FB_CHILD_STOPPED;
      if (GetTickCount () - began >= child->limit)
        return FB_CHILD_TIMED_OUT;
    }
  return FB_CHILD_EXITED;
}

static void
end_all (Run *run)
{
  if (run->job != NULL)
    TerminateJobObject (run->job, ERROR_TIMEOUT);
  else
    TerminateProcess (run->process.hProcess, ERROR_TIMEOUT);
  WaitForSingleObject (run->process.hProcess, 5000);
}

FbChildEnd
fb_child_run (const FbChild *child, DWORD *code)
{
  Run *run = fb_alloc (sizeof *run);
  FbChildEnd end = FB_CHILD_NOT_STARTED;

  run->child = child;
  *code = start (run);
  if (*code == ERROR_SUCCESS)
    {
      end = wait_for (run);
      if (end != FB_CHILD_EXITED)
        end_all (run);
      GetExitCodeProcess (run->process.hProcess, code);
      for (int i = 0; i < DRAIN_LIMIT && read_output (run); i++)
        ;
      flush_line (run);
      if (run->job != NULL)
        {
          set_kill_on_close (run->job, end != FB_CHILD_EXITED);
          CloseHandle (run->job);
        }
      CloseHandle (run->process.hProcess);
      CloseHandle (run->pipe);
    }
  fb_free (run);
  return end;
}

DWORD
fb_run_system (const wchar_t *program, const wchar_t *arguments, DWORD limit)
{
  wchar_t *path = fb_system_path (program);
  wchar_t *line = fb_format (L"\"%s\" %s", path, arguments);
  FbChild child = {.program = path, .command_line = line, .limit = limit, .line = fb_log_output};
  DWORD code;

  if (fb_child_run (&child, &code) == FB_CHILD_TIMED_OUT)
    code = ERROR_TIMEOUT;
  fb_log (L"%s %s: %lu", program, arguments, code);
  fb_free (line);
  fb_free (path);
  return code;
}
