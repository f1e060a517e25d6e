/* kinds.c - how each kind of script is run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

typedef struct
{
  const wchar_t *extension;
  const wchar_t *program; /* below System32; NULL: the script itself */
  /* The command line behind the program; the first %s is the script's path, the second a
   * file for the installer's own log. cmd.exe takes the outer pair of
   * quotes off, so that it keeps the inner one. */
  const wchar_t *arguments;
} Kind;

static const Kind kinds[] = {
    {L".cmd", L"cmd.exe", L" /d /s /c \"\"%s\"\""},
    {L".bat", L"cmd.exe", L" /d /s /c \"\"%s\"\""},
    {L".ps1", L"WindowsPowerShell\\v1.0\\powershell.exe",
     L" -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File \"%s\""},
    {L".vbs", L"cscript.exe", L" //Nologo \"%s\""},
    {L".msi", L"msiexec.exe", L" /i \"%s\" /qn /norestart /l* \"%s\""},
    {L".reg", L"reg.exe", L" import \"%s\""},
    {L".exe", NULL, L""},
};

static const Kind *
kind_of (const wchar_t *name)
{
  const wchar_t *dot = wcsrchr (name, '.');

  for (size_t i = 0; dot != NULL && i < FB_COUNT (kinds); i++)
    if (_wcsicmp (dot, kinds[i].extension) == 0)
      return &kinds[i];
  return NULL;
}

/* A percent sign cannot be quoted for cmd.exe; what does not survive UTF-8 would be run for ever,
 * since the state file could not name it. */
BOOL
fb_is_script (const wchar_t *name)
{
  char *bytes = fb_to_utf8 (name);
  wchar_t *again = fb_to_wide (CP_UTF8, bytes, strlen (bytes));
  BOOL ok = wcscmp (name, again) == 0 && wcschr (name, '%') == NULL && kind_of (name) != NULL
            && wcslen (name) > 3 && name[3] == '-';

  for (int i = 0; ok && i < 3; i++)
    ok = name[i] >= '0' && name[i] <= '9';
  fb_free (again);
  fb_free (bytes);
  return ok;
}

void
fb_script_command (const wchar_t *folder, const wchar_t *name, wchar_t **program,
                   wchar_t **command_line)
{
  const Kind *kind = kind_of (name);
  wchar_t *path = fb_format (L"%s\\scripts\\%s", folder, name);
  wchar_t *log = fb_format (L"%s\\%s.log", folder, name);
  wchar_t *arguments = fb_format (kind->arguments, path, log);

  *program = kind->program ? fb_system_path (kind->program) : fb_copy (path);
  *command_line = fb_format (L"\"%s\"%s", *program, arguments);
  fb_free (arguments);
  fb_free (log);
  fb_free (path);
}
