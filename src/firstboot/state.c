/* state.c - the state file: which scripts were begun, how often, and how they ended.
 *
 * UTF-8, written anew as a whole before and after each script:
 *
 *   h2k-firstboot-state 1
 *   reboots N
 *   script STATUS ATTEMPTS CODE NAME      STATUS: pending, running, done, failed
 *   end
 *
 * A file that does not read so is damaged, and nothing is run: a script must not run twice because
 * it was forgotten.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <stdlib.h>

#define STATE_LIMIT (4 << 20)
#define MAX_SCRIPTS 4096
#define HEAD L"h2k-firstboot-state 1"

static const wchar_t *const status_names[] = {L"pending", L"running", L"done", L"failed"};

static FbScript *
add_script (FbState *state, const wchar_t *name)
{
  FbScript *script;

  state->scripts = fb_grow (state->scripts, (state->n_scripts + 1) * sizeof *state->scripts);
  script = &state->scripts[state->n_scripts++];
  script->name = fb_copy (name);
  return script;
}

static FbScript *
find_script (FbState *state, const wchar_t *name)
{
  for (size_t i = 0; i < state->n_scripts; i++)
    if (_wcsicmp (state->scripts[i].name, name) == 0)
      return &state->scripts[i];
  return NULL;
}

/* The word at *TEXT, which moves behind the blank after it. */
static const wchar_t *
next_word (wchar_t **text)
{
  wchar_t *word = *text, *blank = wcschr (word, ' ');

  if (blank == NULL)
    *text = word + wcslen (word);
  else
    {
      *blank = 0;
      *text = blank + 1;
    }
  return word;
}

static BOOL
read_script (FbState *state, wchar_t *text)
{
  const wchar_t *status = next_word (&text);
  const wchar_t *attempts = next_word (&text), *code = next_word (&text);
  FbScript read = {0}, *script;

  while (read.status < FB_COUNT (status_names) && wcscmp (status, status_names[read.status]) != 0)
    read.status++;
  if (read.status == FB_COUNT (status_names) || !fb_number (attempts, 1000000, &read.attempts)
      || !fb_number (code, MAXDWORD, &read.code) || *text == 0 || find_script (state, text) != NULL
      || state->n_scripts >= MAX_SCRIPTS)
    return FALSE;
  script = add_script (state, text);
  script->status = read.status;
  script->attempts = read.attempts;
  script->code = read.code;
  return TRUE;
}

static BOOL
read_lines (FbState *state, wchar_t *text)
{
  wchar_t *rest = text, *line = fb_next_line (&rest);

  if (line == NULL || wcscmp (line, HEAD) != 0)
    return FALSE;
  while ((line = fb_next_line (&rest)) != NULL && wcscmp (line, L"end") != 0)
    {
      const wchar_t *word = next_word (&line);

      if (wcscmp (word, L"reboots") == 0
              ? !fb_number (line, 1000000, &state->reboots)
              : wcscmp (word, L"script") != 0 || !read_script (state, line))
        return FALSE;
    }
  return line != NULL;
}

static BOOL
read_state (FbState *state)
{
  wchar_t *text = fb_read_text (state->path, STATE_LIMIT);
  BOOL ok;

  if (text == NULL)
    {
      DWORD error = GetLastError ();

      if (error == ERROR_FILE_NOT_FOUND)
        return TRUE;
      fb_log_event (L"ERROR the state file cannot be read (error %lu): nothing is run", error);
      return FALSE;
    }
  ok = read_lines (state, text);
  if (!ok)
    fb_log_event (L"ERROR the state file %s is damaged: nothing is run; remove it to run all",
                  state->path);
  fb_free (text);
  return ok;
}

static BOOL
take_file (FbState *state, const WIN32_FIND_DATAW *file)
{
  FbScript *script;

  if (file->dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY
      && !(file->dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
    return TRUE;
  if (!fb_is_script (file->cFileName))
    {
      if (wcscmp (file->cFileName, L".") != 0 && wcscmp (file->cFileName, L"..") != 0)
        fb_log (L"%s is left alone: it is no NNN-name.ext that can be run", file->cFileName);
      return TRUE;
    }
  script = find_script (state, file->cFileName);
  if (script == NULL && state->n_scripts >= MAX_SCRIPTS)
    {
      fb_log_event (L"ERROR there are more than %d scripts: nothing is run", MAX_SCRIPTS);
      return FALSE;
    }
  if (script == NULL)
    script = add_script (state, file->cFileName);
  script->present = TRUE;
  script->refused = (file->dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
  return TRUE;
}

static BOOL
list_folder (FbState *state, const wchar_t *folder)
{
  wchar_t *pattern = fb_format (L"%s\\*", folder);
  DWORD attributes = GetFileAttributesW (folder);
  WIN32_FIND_DATAW file;
  HANDLE find = INVALID_HANDLE_VALUE;
  BOOL ok = FALSE;

  if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_REPARSE_POINT)
    SetLastError (ERROR_CANT_ACCESS_FILE);
  else
    find = FindFirstFileW (pattern, &file);
  if (find == INVALID_HANDLE_VALUE)
    {
      /* No scripts are no error: they are removed first in the end. */
      DWORD error = GetLastError ();

      ok = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND;
      if (!ok)
        fb_log_event (L"ERROR %s cannot be listed (error %lu): nothing is run", folder, error);
    }
  else
    {
      do
        ok = take_file (state, &file);
      while (ok && FindNextFileW (find, &file));
      FindClose (find);
    }
  fb_free (pattern);
  return ok;
}

static int
compare_scripts (const void *a, const void *b)
{
  const FbScript *one = a, *two = b;

  return _wcsicmp (one->name, two->name);
}

FbState *
fb_state_load (const wchar_t *path, const wchar_t *folder)
{
  FbState *state = fb_alloc (sizeof *state);

  state->path = fb_copy (path);
  if (!read_state (state) || !list_folder (state, folder))
    {
      fb_state_free (state);
      return NULL;
    }
  if (state->n_scripts > 0)
    qsort (state->scripts, state->n_scripts, sizeof *state->scripts, compare_scripts);
  return state;
}

BOOL
fb_state_save (const FbState *state)
{
  wchar_t *text = fb_format (L"%s\r\nreboots %lu\r\n", HEAD, state->reboots);
  size_t size = wcslen (text);
  char *bytes;
  BOOL ok;

  for (size_t i = 0; i <= state->n_scripts; i++)
    {
      const FbScript *script = &state->scripts[i];
      wchar_t *line = i < state->n_scripts
                          ? fb_format (L"script %s %lu %lu %s\r\n", status_names[script->status],
                                       script->attempts, script->code, script->name)
                          : fb_copy (L"end\r\n");
      size_t length = wcslen (line);

      text = fb_grow (text, (size + length + 1) * sizeof *text);
      memcpy (text + size, line, (length + 1) * sizeof *text);
      size += length;
      fb_free (line);
    }
  bytes = fb_to_utf8 (text);
  ok = fb_replace_file (state->path, bytes, strlen (bytes));
  if (!ok)
    fb_log_event (L"ERROR the state file cannot be written (error %lu)", GetLastError ());
  fb_free (bytes);
  fb_free (text);
  return ok;
}

void
fb_state_free (FbState *state)
{
  for (size_t i = 0; i < state->n_scripts; i++)
    fb_free (state->scripts[i].name);
  fb_free (state->scripts);
  fb_free (state->path);
  fb_free (state);
}
