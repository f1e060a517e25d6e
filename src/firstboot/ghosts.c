/* ghosts.c - network adapters of the old machine are removed, so that their names and addresses are
 * free again.
 *
 * The file (UTF-8) has an instance id of a device in each line, as keys below
 * SYSTEM\CurrentControlSet\Enum are named: PCI\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\4&1&0&88.
 * A device is removed only when it is listed, of the class Net, on one of the buses that a
 * machine's own adapters are on, and not there. Its network settings, which would go on holding its
 * connection's name, go then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <cfgmgr32.h>
#include <initguid.h>
#include <setupapi.h>

#define LIST_LIMIT (1 << 20)
#define INSTANCE_LIMIT 256 /* MAX_DEVICE_ID_LEN with its end, and room */
#define PROBLEM_PHANTOM 45

DEFINE_GUID (net_class, 0x4d36e972, 0xe325, 0x11ce, 0xbf, 0xc1, 0x08, 0x00, 0x2b, 0xe1, 0x03, 0x18);

typedef struct
{
  wchar_t **ids;
  size_t count;
  wchar_t *text;
  BOOL dry_run, failed;
} Ghosts;

static BOOL
read_ids (Ghosts *ghosts, const wchar_t *path)
{
  wchar_t *rest = fb_read_text (path, LIST_LIMIT), *line;

  ghosts->text = rest;
  if (rest == NULL)
    return FALSE;
  while ((line = fb_next_line (&rest)) != NULL)
    if (*line != 0 && *line != '#')
      {
        ghosts->ids = fb_grow (ghosts->ids, (ghosts->count + 1) * sizeof *ghosts->ids);
        ghosts->ids[ghosts->count++] = line;
      }
  return TRUE;
}

static BOOL
is_listed (const Ghosts *ghosts, const wchar_t *id)
{
  for (size_t i = 0; i < ghosts->count; i++)
    if (_wcsicmp (ghosts->ids[i], id) == 0)
      return TRUE;
  return FALSE;
}

static BOOL
is_on_bus (const wchar_t *id)
{
  static const wchar_t *const buses[] = {L"PCI\\", L"VMBUS\\", L"XEN\\", L"XENBUS\\", L"XENVIF\\"};

  for (size_t i = 0; i < FB_COUNT (buses); i++)
    if (fb_starts (id, buses[i]))
      return TRUE;
  return FALSE;
}

/* A device that is not there has no node in the tree of those that are. */
static BOOL
is_phantom (DEVINST device)
{
  ULONG status = 0, problem = 0;
  CONFIGRET result = CM_Get_DevNode_Status (&status, &problem, device, 0);

  return result == CR_NO_SUCH_DEVINST
         || (result == CR_SUCCESS && status & DN_HAS_PROBLEM && problem == PROBLEM_PHANTOM);
}

/* Settings of connections whose adapter was ID. */
static void
remove_settings (Ghosts *ghosts, const wchar_t *id)
{
  HKEY key = fb_key_open (FB_NET_KEY, KEY_READ);
  wchar_t *guid;

  for (DWORD i = 0; key != NULL && (guid = fb_key_name (key, i)) != NULL; i++)
    {
      wchar_t *instance = fb_connection_text (guid, L"PnpInstanceID");

      if (instance != NULL && _wcsicmp (instance, id) == 0)
        {
          wchar_t *net = fb_format (FB_NET_KEY L"\\%s", guid);
          wchar_t *tcpip = fb_format (FB_TCPIP_KEY L"\\%s", guid);

          fb_log (L"%s: the settings of connection %s go", id, guid);
          if (!ghosts->dry_run)
            {
              fb_key_delete (tcpip);
              /* The next key has this one's number now. */
              if (fb_key_delete (net) == ERROR_SUCCESS)
                i--;
            }
          fb_free (tcpip);
          fb_free (net);
        }
      fb_free (instance);
      fb_free (guid);
    }
  if (key != NULL)
    RegCloseKey (key);
}

static void
remove_device (Ghosts *ghosts, HDEVINFO set, SP_DEVINFO_DATA *device, const wchar_t *id)
{
  fb_log (L"%s is removed", id);
  if (ghosts->dry_run)
    return;
  if (!SetupDiCallClassInstaller (DIF_REMOVE, set, device))
    {
      DWORD error = GetLastError ();

      fb_log (L"%s cannot be removed (error %lu)", id, error);
      ghosts->failed = TRUE;
    }
}

static void
remove_devices (Ghosts *ghosts)
{
  HDEVINFO set = SetupDiGetClassDevsW (&net_class, NULL, NULL, 0);
  SP_DEVINFO_DATA device = {.cbSize = sizeof device};
  wchar_t id[INSTANCE_LIMIT];

  if (set == INVALID_HANDLE_VALUE)
    {
      fb_log (L"devices cannot be listed (error %lu)", GetLastError ());
      ghosts->failed = TRUE;
      return;
    }
  for (DWORD i = 0; SetupDiEnumDeviceInfo (set, i, &device); i++)
    {
      if (!SetupDiGetDeviceInstanceIdW (set, &device, id, INSTANCE_LIMIT, NULL)
          || !is_listed (ghosts, id))
        continue;
      if (!is_on_bus (id))
        fb_log (L"%s stays: it is on no bus of a machine's own adapters", id);
      else if (!is_phantom (device.DevInst))
        fb_log (L"%s stays: it is there", id);
      else
        remove_device (ghosts, set, &device, id);
    }
  SetupDiDestroyDeviceInfoList (set);
}

static BOOL
is_known (const wchar_t *id)
{
  wchar_t *path = fb_format (L"SYSTEM\\CurrentControlSet\\Enum\\%s", id);
  HKEY key = fb_key_open (path, KEY_READ);

  fb_free (path);
  if (key == NULL)
    return FALSE;
  RegCloseKey (key);
  return TRUE;
}

int
fb_mode_remove_ghosts (int argc, wchar_t **argv)
{
  Ghosts ghosts = {.dry_run = argc > 1 && wcscmp (argv[1], L"--dry-run") == 0};

  if (argc < 1 || !read_ids (&ghosts, argv[0]))
    {
      fb_log (L"there is no list of adapters (error %lu)", GetLastError ());
      return FB_FAILED;
    }
  remove_devices (&ghosts);
  for (size_t i = 0; i < ghosts.count; i++)
    if (is_on_bus (ghosts.ids[i]) && !is_known (ghosts.ids[i]))
      remove_settings (&ghosts, ghosts.ids[i]);
  fb_free (ghosts.ids);
  fb_free (ghosts.text);
  return ghosts.failed ? FB_FAILED : FB_OK;
}
