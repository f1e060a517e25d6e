/* tools.c - programs of the old hypervisor are uninstalled where Windows Installer knows them, and
 * what is left of them is disabled.
 *
 * Off their hypervisor many refuse to be uninstalled. Services and drivers are disabled, not
 * deleted, so that their own uninstaller finds them; no file is touched.
 *
 * The file (UTF-8):
 *
 *   [tools]
 *   timeout=300              seconds for each uninstaller
 *   product=VMware Tools     Windows Installer products whose DisplayName begins so, case aside
 *   service=VMTools          a service or driver that is to be disabled
 *   run=VMware User Process  a value below SOFTWARE\Microsoft\Windows\CurrentVersion\Run
 *
 * Each but timeout may be repeated. A driver that a class names as a filter stays enabled, since
 * Windows starts no device of that class without it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define SERVICES L"SYSTEM\\CurrentControlSet\\Services"
#define CLASSES L"SYSTEM\\CurrentControlSet\\Control\\Class"
#define DISABLED 4

typedef struct
{
  FbIni *ini;
  BOOL dry_run, failed, reboot;
} Tools;

/* The programs of both word sizes. */
static const wchar_t *const software[]
    = {L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion",
       L"SOFTWARE\\Wow6432Node\\Microsoft\\Windows\\CurrentVersion"};

static BOOL
is_product_code (const wchar_t *name)
{
  return wcslen (name) == 38 && name[0] == '{' && name[37] == '}'
         && wcsspn (name + 1, L"0123456789ABCDEFabcdef-") == 36;
}

static BOOL
is_wanted (const Tools *tools, const wchar_t *title)
{
  const wchar_t *product;

  for (size_t i = 0; (product = fb_ini_get (tools->ini, L"tools", L"product", i)) != NULL; i++)
    if (*product != 0 && fb_starts (title, product))
      return TRUE;
  return FALSE;
}

static void
uninstall (Tools *tools, const wchar_t *code, const wchar_t *title)
{
  DWORD limit = fb_ini_number (tools->ini, L"tools", L"timeout", 3600, 300) * 1000, result;
  wchar_t *arguments = fb_format (L"/x %s /qn /norestart REBOOT=ReallySuppress", code);

  fb_log (L"%s: %s", title, tools->dry_run ? arguments : L"is uninstalled");
  if (!tools->dry_run)
    {
      result = fb_run_system (L"msiexec.exe", arguments, limit);
      if (result == ERROR_SUCCESS_REBOOT_REQUIRED || result == ERROR_SUCCESS_REBOOT_INITIATED)
        tools->reboot = TRUE;
      else if (result != ERROR_SUCCESS && result != ERROR_UNKNOWN_PRODUCT)
        fb_log (L"%s cannot be uninstalled (%lu): its services are disabled", title, result);
    }
  fb_free (arguments);
}

static void
uninstall_below (Tools *tools, const wchar_t *base)
{
  wchar_t *path = fb_format (L"%s\\Uninstall", base), *name;
  HKEY key = fb_key_open (path, KEY_READ);
  wchar_t **found = NULL;
  size_t count = 0;

  /* Listed before any of them goes: keys have numbers. */
  for (DWORD i = 0; key != NULL && (name = fb_key_name (key, i)) != NULL; i++)
    {
      found = fb_grow (found, (count + 1) * sizeof *found);
      found[count++] = name;
    }
  for (size_t i = 0; i < count; i++)
    {
      wchar_t *product_path = fb_format (L"%s\\%s", path, found[i]);
      HKEY product = fb_key_open (product_path, KEY_READ);
      wchar_t *title = product ? fb_key_text (product, L"DisplayName") : NULL;

      if (product != NULL)
        RegCloseKey (product);
      if (title != NULL && is_product_code (found[i]) && is_wanted (tools, title))
        uninstall (tools, found[i], title);
      fb_free (title);
      fb_free (product_path);
      fb_free (found[i]);
    }
  if (key != NULL)
    RegCloseKey (key);
  fb_free (found);
  fb_free (path);
}

static BOOL
names (const wchar_t *list, const wchar_t *name)
{
  for (; list != NULL && *list; list += wcslen (list) + 1)
    if (_wcsicmp (list, name) == 0)
      return TRUE;
  return FALSE;
}

static BOOL
is_filter (const wchar_t *service)
{
  HKEY classes = fb_key_open (CLASSES, KEY_READ);
  BOOL found = FALSE;
  wchar_t *guid;

  for (DWORD i = 0; classes && !found && (guid = fb_key_name (classes, i)) != NULL; i++)
    {
      wchar_t *path = fb_format (CLASSES L"\\%s", guid);
      HKEY key = fb_key_open (path, KEY_READ);
      wchar_t *upper = key ? fb_key_list (key, L"UpperFilters") : NULL;
      wchar_t *lower = key ? fb_key_list (key, L"LowerFilters") : NULL;

      found = names (upper, service) || names (lower, service);
      fb_free (lower);
      fb_free (upper);
      if (key != NULL)
        RegCloseKey (key);
      fb_free (path);
      fb_free (guid);
    }
  if (classes != NULL)
    RegCloseKey (classes);
  return found;
}

static void
disable (Tools *tools, const wchar_t *service)
{
  wchar_t *path = fb_format (SERVICES L"\\%s", service);
  HKEY key = fb_key_open (path, KEY_READ | KEY_SET_VALUE);
  DWORD start = DISABLED;

  if (*service == 0 || wcschr (service, '\\') != NULL || key == NULL
      || !fb_key_number (key, L"Start", &start) || start == DISABLED)
    ; /* is not there any more, or has no say any more */
  else if (is_filter (service))
    fb_log (L"%s stays enabled: devices name it as their filter", service);
  else
    {
      fb_log (L"%s is disabled", service);
      if (!tools->dry_run && fb_key_set_number (key, L"Start", DISABLED) != ERROR_SUCCESS)
        {
          fb_log (L"%s cannot be disabled", service);
          tools->failed = TRUE;
        }
    }
  if (key != NULL)
    RegCloseKey (key);
  fb_free (path);
}

static void
remove_run (Tools *tools, const wchar_t *base, const wchar_t *value)
{
  wchar_t *path = fb_format (L"%s\\Run", base);
  HKEY key = fb_key_open (path, KEY_READ | KEY_SET_VALUE);
  wchar_t *text = key && *value ? fb_key_text (key, value) : NULL;

  if (text != NULL)
    {
      fb_log (L"%s is not started any more: %s", value, text);
      if (!tools->dry_run)
        RegDeleteValueW (key, value);
    }
  fb_free (text);
  if (key != NULL)
    RegCloseKey (key);
  fb_free (path);
}

int
fb_mode_remove_tools (int argc, wchar_t **argv)
{
  Tools tools = {.dry_run = argc > 1 && wcscmp (argv[1], L"--dry-run") == 0};
  const wchar_t *name;

  tools.ini = argc > 0 ? fb_ini_load (argv[0]) : NULL;
  if (tools.ini == NULL)
    {
      fb_log (L"there is no list of the old machine's tools (error %lu)", GetLastError ());
      return FB_FAILED;
    }
  for (size_t i = 0; i < FB_COUNT (software); i++)
    uninstall_below (&tools, software[i]);
  for (size_t i = 0; (name = fb_ini_get (tools.ini, L"tools", L"service", i)) != NULL; i++)
    disable (&tools, name);
  for (size_t i = 0; (name = fb_ini_get (tools.ini, L"tools", L"run", i)) != NULL; i++)
    for (size_t j = 0; j < FB_COUNT (software); j++)
      remove_run (&tools, software[j], name);
  fb_ini_free (tools.ini);
  if (tools.failed)
    return FB_FAILED;
  return tools.reboot ? FB_REBOOT : FB_OK;
}
