/* run.c - the first boot: each script once, in order, across reboots and crashes.
 *
 * firstboot.ini beside the program (UTF-8; every key may be left out):
 *
 *   [firstboot]
 *   timeout=900          seconds that a script may take
 *   attempts=3           how often a script is begun whose end was never seen
 *   reboots=10           how many restarts scripts may ask for, all together
 *   keep=0               1: scripts, data, drivers and the program stay when all is done
 *   log-limit=1048576    bytes after which h2k-firstboot.log becomes h2k-firstboot.log.old
 *   serial=COM1          serial port for the lines below; empty: none
 *   serial-output=1      0: what scripts write goes to the log alone
 *   stop-wait=15         seconds that a script is given when the service is to stop
 *   setup-wait=3600      seconds to wait for a Windows Setup (sysprep) that is under way
 *
 *   [500-name.cmd]       one script
 *   timeout, attempts    as above
 *   required=1           its failure is told in the last line
 *
 * Lines in the log and on the serial port, each begun by "H2K-FIRSTBOOT-":
 *
 *   START                        the service is up
 *   RUN name                     a script is begun
 *   | text                       (without H2K-FIRSTBOOT-) what it wrote
 *   EXIT name code               its end. Codes of ours: 1460 it took too long, 1920 it is a
 * reparse point, 1067 it was begun too often, 2 it is gone, or the Win32 error with which it could
 * not be started REBOOT                       the machine restarts STOPPED                      the
 * service was stopped; it goes on at the next boot DONE ok=N failed=M           all were run; "
 * required-failed=K" follows where K is not 0 ERROR text                   nothing can be run;
 * WARNING text: something is amiss
 *
 * A script succeeds with exit code 0, and with 3010 or 1641 it asks for a restart, too. So does any
 * script that makes a file reboot-requested in the program's folder (H2K_DIR of its environment;
 * H2K_EXE is the program, H2K_DATA the folder of data files). The next script waits for it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

typedef struct
{
  FbContext *context;
  FbState *state;
} Job;

static DWORD
setting (const FbContext *context, const wchar_t *script, const wchar_t *key, DWORD max,
         DWORD otherwise)
{
  otherwise = fb_ini_number (context->ini, L"firstboot", key, max, otherwise);
  return script ? fb_ini_number (context->ini, script, key, max, otherwise) : otherwise;
}

static BOOL
is_stopping (const FbContext *context)
{
  return WaitForSingleObject (context->stop, 0) == WAIT_OBJECT_0;
}

FbContext *
fb_context_new (BOOL service)
{
  FbContext *context = fb_alloc (sizeof *context);
  const wchar_t *port;
  wchar_t *path, *data;

  context->service = service;
  context->stop = CreateEventW (NULL, TRUE, FALSE, NULL);
  context->exe = fb_alloc (32768 * sizeof *context->exe);
  GetModuleFileNameW (NULL, context->exe, 32767);
  context->folder = fb_copy (context->exe);
  if (wcsrchr (context->folder, '\\') != NULL)
    *wcsrchr (context->folder, '\\') = 0;

  path = fb_format (L"%s\\firstboot.ini", context->folder);
  context->ini = fb_ini_load (path);
  fb_free (path);
  context->stop_wait = setting (context, NULL, L"stop-wait", 3600, 15) * 1000;
  port = fb_ini_get (context->ini, L"firstboot", L"serial", 0);
  fb_serial_setup (port ? port : L"COM1", setting (context, NULL, L"serial-output", 1, 1) != 0);
  fb_log_open (context->folder, setting (context, NULL, L"log-limit", 1 << 30, 1 << 20), !service);

  data = fb_format (L"%s\\data", context->folder);
  SetEnvironmentVariableW (L"H2K_DIR", context->folder);
  SetEnvironmentVariableW (L"H2K_EXE", context->exe);
  SetEnvironmentVariableW (L"H2K_DATA", data);
  fb_free (data);
  return context;
}

void
fb_context_free (FbContext *context)
{
  fb_log_close ();
  fb_serial_close ();
  fb_ini_free (context->ini);
  CloseHandle (context->stop);
  fb_free (context->folder);
  fb_free (context->exe);
  fb_free (context);
}

/* After sysprep services start while Setup is still at work, and drivers cannot be installed. */
static void
wait_for_setup (const FbContext *context)
{
  DWORD began = GetTickCount (), busy = 0;
  DWORD limit = setting (context, NULL, L"setup-wait", 86400, 3600) * 1000;
  HKEY key = fb_key_open (L"SYSTEM\\Setup", KEY_READ);

  if (key == NULL)
    return;
  if (fb_key_number (key, L"SystemSetupInProgress", &busy) && busy)
    fb_log (L"waiting for Windows Setup to end");
  while (fb_key_number (key, L"SystemSetupInProgress", &busy) && busy
         && GetTickCount () - began < limit && WaitForSingleObject (context->stop, 2000) != 0)
    ;
  RegCloseKey (key);
}

static BOOL
end_script (Job *job, FbScript *script, DWORD code)
{
  BOOL ok = code == ERROR_SUCCESS || code == ERROR_SUCCESS_REBOOT_REQUIRED
            || code == ERROR_SUCCESS_REBOOT_INITIATED;

  script->status = ok ? FB_DONE : FB_FAIL;
  script->code = code;
  fb_log_event (L"EXIT %s %lu", script->name, code);
  return fb_state_save (job->state);
}

/* FALSE: it is to be tried again, since it was ended by our own stop. */
static BOOL
run_script (Job *job, FbScript *script, DWORD *code)
{
  FbContext *context = job->context;
  FbChild child = {.stop = context->stop, .stop_wait = &context->stop_wait, .line = fb_log_output};
  wchar_t *folder = fb_format (L"%s\\scripts", context->folder), *program, *command_line;
  FbChildEnd end;

  fb_script_command (context->folder, script->name, &program, &command_line);
  child.program = program;
  child.command_line = command_line;
  child.folder = folder;
  child.limit = setting (context, script->name, L"timeout", 1000000, 900) * 1000;
  end = fb_child_run (&child, code);
  if (end == FB_CHILD_NOT_STARTED)
    fb_log (L"%s cannot be started (error %lu)", program, *code);
  if (end == FB_CHILD_TIMED_OUT)
    {
      fb_log (L"%s took more than %lu s and was ended", script->name, child.limit / 1000);
      *code = ERROR_TIMEOUT;
    }
  fb_free (command_line);
  fb_free (program);
  fb_free (folder);
  return end != FB_CHILD_STOPPED;
}

/* Whether the script asks for a restart, and one more is allowed. */
static BOOL
wants_reboot (Job *job, const FbScript *script)
{
  wchar_t *path = fb_format (L"%s\\reboot-requested", job->context->folder);
  DWORD limit = setting (job->context, NULL, L"reboots", 1000, 10);
  BOOL wanted = DeleteFileW (path) || script->code == ERROR_SUCCESS_REBOOT_REQUIRED
                || script->code == ERROR_SUCCESS_REBOOT_INITIATED;

  fb_free (path);
  if (wanted && job->state->reboots >= limit)
    {
      fb_log_event (L"WARNING %s asks for a restart, but there were %lu", script->name, limit);
      return FALSE;
    }
  return wanted;
}

/* FB_OK: go on with the next. */
static int
restart (Job *job)
{
  job->state->reboots++;
  if (!fb_state_save (job->state))
    return FB_FAILED;
  fb_log_event (L"REBOOT");
  if (!job->context->service)
    return FB_REBOOT;
  return fb_reboot (job->context->stop) ? ERROR_CANCELLED : FB_OK;
}

static int
do_script (Job *job, FbScript *script)
{
  DWORD code = ERROR_SUCCESS, limit = setting (job->context, script->name, L"attempts", 1000, 3);

  if (!script->present)
    code = ERROR_FILE_NOT_FOUND;
  else if (script->refused)
    code = ERROR_CANT_ACCESS_FILE;
  else if (script->attempts >= limit)
    code = ERROR_PROCESS_ABORTED;
  else
    {
      script->status = FB_RUNNING;
      script->attempts++;
      if (!fb_state_save (job->state))
        return FB_FAILED;
      fb_log_event (L"RUN %s", script->name);
      if (!run_script (job, script, &code))
        return ERROR_CANCELLED;
    }
  if (!end_script (job, script, code))
    return FB_FAILED;
  return wants_reboot (job, script) ? restart (job) : FB_OK;
}

static int
finish (Job *job)
{
  const FbState *state = job->state;
  unsigned ok = 0, failed = 0, required = 0;

  for (size_t i = 0; i < state->n_scripts; i++)
    if (state->scripts[i].status == FB_DONE)
      ok++;
    else
      {
        failed++;
        required
            += fb_ini_number (job->context->ini, state->scripts[i].name, L"required", 1, 0) != 0;
      }
  if (required > 0)
    fb_log_event (L"DONE ok=%u failed=%u required-failed=%u", ok, failed, required);
  else
    fb_log_event (L"DONE ok=%u failed=%u", ok, failed);
  if (job->context->service)
    {
      fb_remove_service ();
      fb_remove_files (job->context);
    }
  return failed ? FB_FAILED : FB_OK;
}

static int
run_all (Job *job)
{
  int result = FB_OK;
  wchar_t *path = fb_format (L"%s\\reboot-requested", job->context->folder);

  /* Whoever asked for a restart before the machine went down has had it. */
  DeleteFileW (path);
  fb_free (path);
  for (size_t i = 0; i < job->state->n_scripts && result == FB_OK; i++)
    {
      FbScript *script = &job->state->scripts[i];

      if (is_stopping (job->context))
        result = ERROR_CANCELLED;
      else if (script->status == FB_PENDING || script->status == FB_RUNNING)
        result = do_script (job, script);
    }
  if (result == ERROR_CANCELLED)
    fb_log_event (L"STOPPED");
  return result == FB_OK ? finish (job) : result;
}

int
fb_run (FbContext *context)
{
  wchar_t *path = fb_format (L"%s\\h2k-firstboot.state", context->folder);
  wchar_t *folder = fb_format (L"%s\\scripts", context->folder);
  HANDLE lock = CreateMutexW (NULL, FALSE, L"Global\\" FB_SERVICE);
  Job job = {.context = context};
  int result = FB_FAILED;

  if (lock != NULL && GetLastError () == ERROR_ALREADY_EXISTS)
    fb_log_event (L"ERROR another " FB_SERVICE " is at work");
  else
    {
      fb_log_event (L"START");
      wait_for_setup (context);
      job.state = fb_state_load (path, folder);
      if (job.state != NULL)
        {
          result = run_all (&job);
          fb_state_free (job.state);
        }
    }
  if (lock != NULL)
    CloseHandle (lock);
  fb_free (folder);
  fb_free (path);
  return result;
}
