/* adapters.c - the network adapters that are there, and the names of connections.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#include <winsock2.h>
#include <iphlpapi.h>

#define MAX_ADAPTERS 256
#define ETHERNET 6
/* Of the addresses only the adapters' own are wanted: no unicast, anycast, multicast, DNS. */
#define FLAGS 0xf

typedef ULONG (WINAPI *GetAddresses) (ULONG, ULONG, void *, IP_ADAPTER_ADDRESSES *, ULONG *);

wchar_t *
fb_connection_text (const wchar_t *guid, const wchar_t *value)
{
  wchar_t *path = fb_format (FB_NET_KEY L"\\%s\\Connection", guid), *text = NULL;
  HKEY key = fb_key_open (path, KEY_READ);

  fb_free (path);
  if (key != NULL)
    {
      text = fb_key_text (key, value);
      RegCloseKey (key);
    }
  return text;
}

BOOL
fb_connection_is_free (const wchar_t *name, const wchar_t *guid)
{
  HKEY key = fb_key_open (FB_NET_KEY, KEY_READ);
  BOOL is_free = TRUE;
  wchar_t *other;

  if (key == NULL)
    return TRUE;
  for (DWORD i = 0; is_free && (other = fb_key_name (key, i)) != NULL; i++)
    {
      wchar_t *other_name = fb_connection_text (other, L"Name");

      is_free
          = other_name == NULL || _wcsicmp (other, guid) == 0 || _wcsicmp (other_name, name) != 0;
      fb_free (other_name);
      fb_free (other);
    }
  RegCloseKey (key);
  return is_free;
}

static IP_ADAPTER_ADDRESSES *
get_addresses (void)
{
  GetAddresses get = (GetAddresses)(void *)fb_function (L"iphlpapi.dll", "GetAdaptersAddresses");
  IP_ADAPTER_ADDRESSES *list = NULL;
  ULONG size = 16384, error = ERROR_BUFFER_OVERFLOW;

  for (int i = 0; get != NULL && error == ERROR_BUFFER_OVERFLOW && i < 8; i++)
    {
      list = fb_grow (list, size);
      error = get (AF_UNSPEC, FLAGS, NULL, list, &size);
    }
  if (error == ERROR_SUCCESS)
    return list;
  fb_free (list);
  return NULL;
}

FbAdapter *
fb_adapters (size_t *count)
{
  IP_ADAPTER_ADDRESSES *list = get_addresses ();
  FbAdapter *adapters = fb_alloc (MAX_ADAPTERS * sizeof *adapters);
  size_t n = 0;

  for (IP_ADAPTER_ADDRESSES *at = list; at != NULL && n < MAX_ADAPTERS; at = at->Next)
    {
      FbAdapter *adapter = &adapters[n];

      if (at->IfType != ETHERNET || at->PhysicalAddressLength != sizeof adapter->mac)
        continue;
      memcpy (adapter->mac, at->PhysicalAddress, sizeof adapter->mac);
      adapter->guid = fb_to_wide (CP_ACP, at->AdapterName, strlen (at->AdapterName));
      adapter->name = fb_copy (at->FriendlyName);
      adapter->instance = fb_connection_text (adapter->guid, L"PnpInstanceID");
      if (adapter->instance == NULL)
        adapter->instance = fb_copy (L"");
      n++;
    }
  fb_free (list);
  *count = n;
  return adapters;
}

void
fb_adapters_free (FbAdapter *adapters, size_t count)
{
  for (size_t i = 0; i < count; i++)
    {
      fb_free (adapters[i].guid);
      fb_free (adapters[i].name);
      fb_free (adapters[i].instance);
    }
  fb_free (adapters);
}
