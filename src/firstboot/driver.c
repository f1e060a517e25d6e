/* driver.c - drivers are installed where pnputil is not, and registry entries made offline
 * forgotten.
 *
 * Installing is for XP and 2003, and for when pnputil fails: SetupCopyOEMInf puts the package into
 * the driver store, UpdateDriverForPlugAndPlayDevices onto the devices that it names. Nothing is
 * asked: a package that Windows would ask about fails instead.
 *
 * The list of entries made offline (UTF-8) has three fields a line with tabs between them: the
 * INF's own name, the key below DriverDatabase\DriverPackages, and the oemN.inf that was made up
 * for it:
 *
 *   viostor.inf	viostor.inf_amd64_0123456789abcdef	oem5.inf
 *
 * They go when a package of the same INF is installed and no device uses theirs any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <setupapi.h>

#define LIST_LIMIT (1 << 20)
#define DATABASE L"SYSTEM\\DriverDatabase"
#define CLASSES L"SYSTEM\\CurrentControlSet\\Control\\Class"

typedef BOOL (WINAPI *UpdateDriver) (HWND, const wchar_t *, const wchar_t *, DWORD, BOOL *);

typedef struct
{
  const wchar_t *inf;
  UpdateDriver update;
  DWORD devices; /* that have the driver now */
  DWORD error;   /* of a device whose driver could not be changed */
  BOOL reboot;
} Install;

static void
update_devices (Install *install, const wchar_t *id)
{
  BOOL reboot = FALSE;
  DWORD error;

  if (install->update (NULL, id, install->inf, 0, &reboot))
    {
      fb_log (L"%s has the driver", id);
      install->devices++;
      install->reboot |= reboot;
      return;
    }
  error = GetLastError ();
  /* Not there, or there with one that is as good. */
  if (error == ERROR_NO_SUCH_DEVINST || error == ERROR_NO_MORE_ITEMS)
    return;
  fb_log (L"%s cannot be given the driver (error 0x%lx)", id, error);
  install->error = error;
}

/* Each id of a model: fields 2 and later of a line "description = install-section, id, ...". */
static void
update_model (Install *install, INFCONTEXT *line)
{
  wchar_t id[512];

  for (DWORD i = 2; i <= SetupGetFieldCount (line); i++)
    if (SetupGetStringFieldW (line, i, id, FB_COUNT (id), NULL) && id[0] != 0)
      update_devices (install, id);
}

/* The models of a manufacturer "name = models, decoration, ...": one section for each decoration.
 */
static void
update_manufacturer (Install *install, HINF inf, INFCONTEXT *manufacturer)
{
  wchar_t models[256], decoration[128];

  if (!SetupGetStringFieldW (manufacturer, 1, models, FB_COUNT (models), NULL))
    return;
  for (DWORD i = 1; i <= SetupGetFieldCount (manufacturer); i++)
    {
      INFCONTEXT line;
      wchar_t *section = fb_copy (models);

      if (i > 1 && SetupGetStringFieldW (manufacturer, i, decoration, FB_COUNT (decoration), NULL))
        {
          fb_free (section);
          section = fb_format (L"%s.%s", models, decoration);
        }
      if (SetupFindFirstLineW (inf, section, NULL, &line))
        do
          update_model (install, &line);
        while (SetupFindNextLine (&line, &line));
      fb_free (section);
    }
}

static void
update_all (Install *install)
{
  INFCONTEXT manufacturer;
  HINF inf = SetupOpenInfFileW (install->inf, NULL, INF_STYLE_WIN4, NULL);

  if (inf == INVALID_HANDLE_VALUE)
    {
      install->error = GetLastError ();
      return;
    }
  if (SetupFindFirstLineW (inf, L"Manufacturer", NULL, &manufacturer))
    do
      update_manufacturer (install, inf, &manufacturer);
    while (SetupFindNextLine (&manufacturer, &manufacturer));
  SetupCloseInfFile (inf);
}

int
fb_mode_install_driver (int argc, wchar_t **argv)
{
  wchar_t path[MAX_PATH] = L"", copied[MAX_PATH] = L"";
  Install install = {.inf = path};

  if (argc < 1 || GetFullPathNameW (argv[0], MAX_PATH, path, NULL) >= MAX_PATH || !fb_exists (path))
    {
      fb_log (L"there is no such INF");
      return FB_FAILED;
    }
  SetupSetNonInteractiveMode (TRUE);
  if (!SetupCopyOEMInfW (path, NULL, SPOST_PATH, 0, copied, MAX_PATH, NULL, NULL)
      && GetLastError () != ERROR_FILE_EXISTS)
    {
      fb_log (L"%s cannot be put into the driver store (error 0x%lx)", path, GetLastError ());
      return FB_FAILED;
    }
  fb_log (L"%s is %s", path, copied);
  install.update
      = (UpdateDriver)(void *)fb_function (L"newdev.dll", "UpdateDriverForPlugAndPlayDevicesW");
  if (install.update != NULL)
    update_all (&install);
  fb_log (L"%lu kinds of devices have it", install.devices);
  if (install.error != ERROR_SUCCESS)
    return FB_FAILED;
  return install.reboot ? FB_REBOOT : FB_OK;
}

/* Another package of the same INF for the same architecture: inf_arch_ and another hash. */
static BOOL
is_replaced (const wchar_t *package)
{
  HKEY key = fb_key_open (DATABASE L"\\DriverPackages", KEY_READ);
  const wchar_t *hash = wcsrchr (package, '_');
  BOOL found = FALSE;
  wchar_t *name;

  for (DWORD i = 0; key && hash && !found && (name = fb_key_name (key, i)) != NULL; i++)
    {
      found = _wcsnicmp (name, package, hash - package + 1) == 0 && _wcsicmp (name, package) != 0;
      fb_free (name);
    }
  if (key != NULL)
    RegCloseKey (key);
  return found;
}

/* InfPath of one device of a class. */
static BOOL
class_uses (const wchar_t *class_path, const wchar_t *inf)
{
  HKEY key = fb_key_open (class_path, KEY_READ);
  BOOL used = FALSE;
  wchar_t *name;

  for (DWORD i = 0; key && !used && (name = fb_key_name (key, i)) != NULL; i++)
    {
      wchar_t *path = fb_format (L"%s\\%s", class_path, name);
      HKEY device = fb_key_open (path, KEY_READ);
      wchar_t *inf_path = device ? fb_key_text (device, L"InfPath") : NULL;

      used = inf_path != NULL && _wcsicmp (inf_path, inf) == 0;
      fb_free (inf_path);
      if (device != NULL)
        RegCloseKey (device);
      fb_free (path);
      fb_free (name);
    }
  if (key != NULL)
    RegCloseKey (key);
  return used;
}

static BOOL
is_used (const wchar_t *inf)
{
  HKEY classes = fb_key_open (CLASSES, KEY_READ);
  BOOL used = FALSE;
  wchar_t *name;

  for (DWORD i = 0; classes && !used && (name = fb_key_name (classes, i)) != NULL; i++)
    {
      wchar_t *path = fb_format (CLASSES L"\\%s", name);

      used = class_uses (path, inf);
      fb_free (path);
      fb_free (name);
    }
  if (classes != NULL)
    RegCloseKey (classes);
  return used;
}

/* Values named INF of DeviceIds, of buses, and of their ids. */
static void
forget_ids (const wchar_t *path, const wchar_t *inf, int depth)
{
  HKEY key = fb_key_open (path, KEY_READ | KEY_SET_VALUE);
  wchar_t *name;

  if (key == NULL)
    return;
  RegDeleteValueW (key, inf);
  for (DWORD i = 0; depth < 2 && (name = fb_key_name (key, i)) != NULL; i++)
    {
      wchar_t *below = fb_format (L"%s\\%s", path, name);

      forget_ids (below, inf, depth + 1);
      fb_free (below);
      fb_free (name);
    }
  RegCloseKey (key);
}

/* oemN.inf is ours as long as it leads to our package; the real one may have got its number. */
static BOOL
leads_to (const wchar_t *inf, const wchar_t *package)
{
  wchar_t *path = fb_format (DATABASE L"\\DriverInfFiles\\%s", inf);
  HKEY key = fb_key_open (path, KEY_READ);
  wchar_t *text = key ? fb_key_text (key, NULL) : NULL;
  BOOL ours = text != NULL && _wcsicmp (text, package) == 0;

  fb_free (text);
  if (key != NULL)
    RegCloseKey (key);
  fb_free (path);
  return ours;
}

static BOOL
forget (const wchar_t *package, const wchar_t *inf, BOOL dry_run)
{
  wchar_t *package_path = fb_format (DATABASE L"\\DriverPackages\\%s", package);
  wchar_t *inf_path = fb_format (DATABASE L"\\DriverInfFiles\\%s", inf);
  LONG error = ERROR_SUCCESS;

  if (!is_replaced (package))
    fb_log (L"%s stays: no other package of it is installed", package);
  else if (is_used (inf))
    fb_log (L"%s stays: a device uses %s", package, inf);
  else
    {
      fb_log (L"%s and %s are forgotten", package, inf);
      if (!dry_run && leads_to (inf, package))
        {
          forget_ids (DATABASE L"\\DeviceIds", inf, 0);
          error = fb_key_delete (inf_path);
        }
      if (!dry_run && error == ERROR_SUCCESS)
        error = fb_key_delete (package_path);
      if (error != ERROR_SUCCESS && error != ERROR_FILE_NOT_FOUND)
        fb_log (L"%s cannot be forgotten (error %ld)", package, error);
    }
  fb_free (inf_path);
  fb_free (package_path);
  return error == ERROR_SUCCESS || error == ERROR_FILE_NOT_FOUND;
}

int
fb_mode_forget_drivers (int argc, wchar_t **argv)
{
  BOOL dry_run = argc > 1 && wcscmp (argv[1], L"--dry-run") == 0, ok = TRUE;
  wchar_t *text = argc > 0 ? fb_read_text (argv[0], LIST_LIMIT) : NULL, *rest = text, *line;

  if (text == NULL)
    {
      fb_log (L"there is no list of drivers (error %lu)", GetLastError ());
      return FB_FAILED;
    }
  while ((line = fb_next_line (&rest)) != NULL)
    {
      wchar_t *package = wcschr (line, '\t'), *inf = package ? wcschr (package + 1, '\t') : NULL;

      if (inf == NULL)
        continue;
      *inf++ = 0;
      /* A backslash would lead to another key. */
      if (package[1] != 0 && *inf != 0 && wcspbrk (package + 1, L"\\\t") == NULL
          && wcspbrk (inf, L"\\\t") == NULL)
        ok &= forget (package + 1, inf, dry_run);
    }
  fb_free (text);
  return ok ? FB_OK : FB_FAILED;
}
