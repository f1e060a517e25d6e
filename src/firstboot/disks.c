/* disks.c - disks that Windows took offline, since their controller is a new one, are brought
 * online.
 *
 * By the disk's attributes where they can be set (7 and 2008 R2 on), by diskpart on Vista and 2008;
 * older ones know no offline disks. Letters are not touched: volumes keep theirs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define MAX_DISKS 256
#define DISKPART_TIME 300000
#define GET_ATTRIBUTES 0x000700f0 /* IOCTL_DISK_GET_DISK_ATTRIBUTES */
#define SET_ATTRIBUTES 0x0007c0f4 /* IOCTL_DISK_SET_DISK_ATTRIBUTES */
#define OFFLINE 1
#define READ_ONLY 2
#define SAN_KEY L"SYSTEM\\CurrentControlSet\\Services\\partmgr\\Parameters"
#define SAN_ONLINE_ALL 1

/* GET_DISK_ATTRIBUTES and SET_DISK_ATTRIBUTES, which headers for XP do not have. */
typedef struct
{
  DWORD version;
  DWORD reserved;
  ULONGLONG attributes;
} GetAttributes;

typedef struct
{
  DWORD version;
  BYTE persist;
  BYTE reserved[3];
  ULONGLONG attributes;
  ULONGLONG mask;
  DWORD reserved2[4];
} SetAttributes;

_Static_assert(sizeof (GetAttributes) == 16, "as winioctl.h has it");
_Static_assert(sizeof (SetAttributes) == 40, "as winioctl.h has it");

/* FALSE sets the last error. */
static BOOL
clear_attributes (HANDLE disk, unsigned number, ULONGLONG attributes)
{
  SetAttributes set = {.version = sizeof set, .persist = TRUE, .mask = OFFLINE | READ_ONLY};
  DWORD got;

  fb_log (L"disk %u is%s%s: it is brought online", number, attributes & OFFLINE ? L" offline" : L"",
          attributes & READ_ONLY ? L" read-only" : L"");
  return DeviceIoControl (disk, SET_ATTRIBUTES, &set, sizeof set, NULL, 0, &got, NULL);
}

/* One run of diskpart for a few lines. noerr: that a disk is online already is none. */
static void
diskpart (const wchar_t *lines, BOOL dry_run)
{
  wchar_t folder[MAX_PATH] = L"", *path, *arguments;
  char *bytes = fb_to_utf8 (lines);

  fb_log (L"diskpart: %s", lines);
  GetWindowsDirectoryW (folder, MAX_PATH);
  path = fb_format (L"%s\\Temp\\h2k-diskpart.txt", folder);
  arguments = fb_format (L"/s \"%s\"", path);
  if (!dry_run && fb_replace_file (path, bytes, strlen (bytes)))
    {
      fb_run_system (L"diskpart.exe", arguments, DISKPART_TIME);
      DeleteFileW (path);
    }
  fb_free (arguments);
  fb_free (path);
  fb_free (bytes);
}

static void
bring_online_by_diskpart (unsigned number, BOOL dry_run)
{
  wchar_t *lines = fb_format (L"select disk %u\r\nattributes disk clear readonly noerr\r\n"
                              L"online noerr\r\n",
                              number);

  diskpart (lines, dry_run);
  fb_free (lines);
}

static void
bring_online (unsigned number, BOOL dry_run, BOOL *failed)
{
  wchar_t *path = fb_format (L"\\\\.\\PhysicalDrive%u", number);
  HANDLE disk = CreateFileW (path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                             NULL, OPEN_EXISTING, 0, NULL);
  GetAttributes get = {0};
  DWORD got;

  fb_free (path);
  if (disk == INVALID_HANDLE_VALUE)
    return;
  if (!DeviceIoControl (disk, GET_ATTRIBUTES, NULL, 0, &get, sizeof get, &got, NULL))
    {
      if (fb_windows () == 0x600)
        bring_online_by_diskpart (number, dry_run);
      else
        fb_log (L"disk %u does not tell whether it is offline (error %lu)", number,
                GetLastError ());
    }
  else if ((get.attributes & (OFFLINE | READ_ONLY)) == 0)
    fb_log (L"disk %u is online", number);
  else if (!dry_run && !clear_attributes (disk, number, get.attributes))
    {
      fb_log (L"disk %u cannot be brought online (error %lu)", number, GetLastError ());
      *failed = TRUE;
    }
  CloseHandle (disk);
}

/* Shared disks of a cluster are offline on purpose. */
static BOOL
is_cluster_node (void)
{
  HKEY key = fb_key_open (L"SYSTEM\\CurrentControlSet\\Services\\ClusSvc", KEY_READ);
  DWORD start = 4;

  if (key == NULL)
    return FALSE;
  fb_key_number (key, L"Start", &start);
  RegCloseKey (key);
  return start <= 2;
}

static void
set_policy (BOOL dry_run)
{
  HKEY key = fb_key_open (SAN_KEY, KEY_READ | KEY_SET_VALUE);
  DWORD policy = 0;

  if (key == NULL)
    return;
  if (!fb_key_number (key, L"SanPolicy", &policy) || policy != SAN_ONLINE_ALL)
    {
      fb_log (L"new disks are to come online from now on (SanPolicy %lu before)", policy);
      if (!dry_run)
        fb_key_set_number (key, L"SanPolicy", SAN_ONLINE_ALL);
      diskpart (L"san policy=OnlineAll noerr\r\n", dry_run);
    }
  RegCloseKey (key);
}

int
fb_mode_disks (int argc, wchar_t **argv)
{
  BOOL dry_run = argc > 0 && wcscmp (argv[0], L"--dry-run") == 0, failed = FALSE;

  if (fb_windows () < 0x600)
    fb_log (L"this Windows knows no offline disks");
  else if (is_cluster_node ())
    fb_log (L"a cluster's node: its disks are left alone");
  else
    {
      set_policy (dry_run);
      for (unsigned i = 0; i < MAX_DISKS; i++)
        bring_online (i, dry_run, &failed);
    }
  return failed ? FB_FAILED : FB_OK;
}
