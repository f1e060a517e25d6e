/* network.c - the addresses and the name that a connection had are given to the new adapter.
 *
 * Adapters are found by their hardware address through iphlpapi, and netsh is what changes them: it
 * is there from XP to 11, takes the same words everywhere (given by their places, since their names
 * have changed), and tells the running stack. Its exit code says little, so that the registry is
 * looked at afterwards; where the addresses are not there, they are written there and a restart is
 * asked for. PowerShell would need one more way for all before Windows 8.
 *
 * The file (UTF-8): [network] with wait=60, the seconds in which adapters may appear, and one
 * section a connection whose name begins with "nic", in the order of the old machine's adapters:
 *
 *   mac=00:50:56:01:02:03    of the new adapter; without, the only PCI adapter left is taken
 *   name=Ethernet0           the connection's old name
 *   dhcp=1                   addresses by DHCP; the keys with addresses do not count then
 *   address=192.0.2.10/24    each IPv4 address, the first one first
 *   gateway=192.0.2.1 10     each gateway, with its metric or without
 *   dns=192.0.2.53           each server in order; none with dhcp=1: DHCP's
 *   suffix=example.com       the connection's DNS suffix
 *   metric=5                 the interface's metric
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "program.h"

#define NETSH_TIME 120000
#define SETTLE_TIME 5000
#define MAX_LIST 64

typedef struct
{
  FbIni *ini;
  DWORD windows;
  BOOL dry_run, names_only;
  BOOL reboot; /* something takes effect at the next boot */
  BOOL failed;
} Net;

/* Texts of one kind: addresses, masks, ... */
typedef struct
{
  wchar_t *items[MAX_LIST];
  size_t count;
} List;

static void
list_add (List *list, wchar_t *text)
{
  if (list->count < MAX_LIST)
    list->items[list->count++] = text;
  else
    fb_free (text);
}

static void
list_clear (List *list)
{
  while (list->count > 0)
    fb_free (list->items[--list->count]);
}

/* A dotted quad at TEXT; where it ends, or NULL. */
static const wchar_t *
parse_address (const wchar_t *text, DWORD *address)
{
  *address = 0;
  for (int i = 0; i < 4; i++)
    {
      DWORD part = 0;
      int digits = 0;

      for (; *text >= '0' && *text <= '9' && digits < 3; text++, digits++)
        part = part * 10 + (*text - '0');
      if (digits == 0 || part > 255 || (i < 3 && *text++ != '.'))
        return NULL;
      *address = *address << 8 | part;
    }
  return text;
}

static wchar_t *
address_text (DWORD address)
{
  return fb_format (L"%lu.%lu.%lu.%lu", address >> 24, address >> 16 & 255, address >> 8 & 255,
                    address & 255);
}

/* KEY's values are "address/length" when MORE is '/', or "address" and perhaps a number. */
static void
read_list (Net *net, const wchar_t *nic, const wchar_t *key, wchar_t more, List *first,
           List *second)
{
  const wchar_t *value;

  for (size_t i = 0; (value = fb_ini_get (net->ini, nic, key, i)) != NULL; i++)
    {
      DWORD address, number = 0;
      const wchar_t *end = parse_address (value, &address);
      BOOL ok = end != NULL && (*end == more || (*end == 0 && more != '/'));

      if (ok && *end != 0)
        ok = fb_number (end + 1 + wcsspn (end + 1, L" "), more == '/' ? 32 : 9999, &number);
      if (!ok)
        {
          fb_log (L"[%s] %s=%s cannot be understood", nic, key, value);
          net->failed = TRUE;
          continue;
        }
      list_add (first, address_text (address));
      if (second != NULL && more == '/')
        list_add (second, address_text (number ? 0xffffffffu << (32 - number) : 0));
      else if (second != NULL)
        list_add (second, fb_format (L"%lu", number));
    }
}

static void
netsh (Net *net, const wchar_t *format, ...)
{
  va_list args;
  wchar_t *arguments;

  va_start (args, format);
  arguments = fb_format_args (format, args);
  va_end (args);
  if (net->dry_run)
    fb_log (L"netsh %s", arguments);
  else
    fb_run_system (L"netsh.exe", arguments, NETSH_TIME);
  fb_free (arguments);
}

/* The adapter's key of TCP/IP, which is there when the protocol is bound to it. */
static HKEY
open_tcpip (const FbAdapter *adapter, REGSAM access)
{
  wchar_t *path = fb_format (FB_TCPIP_KEY L"\\%s", adapter->guid);
  HKEY key = fb_key_open (path, access);

  fb_free (path);
  return key;
}

/* VALUE has just these texts. */
static BOOL
has_list (HKEY key, const wchar_t *value, const List *list)
{
  wchar_t *have = key ? fb_key_list (key, value) : NULL, *at = have;
  BOOL same = have != NULL;

  for (size_t i = 0; same && i < list->count; i++)
    {
      same = wcscmp (at, list->items[i]) == 0;
      at += same ? wcslen (at) + 1 : 0;
    }
  same = same && *at == 0;
  fb_free (have);
  return same;
}

static BOOL
has_static (const FbAdapter *adapter, const List *addresses, const List *masks,
            const List *gateways)
{
  HKEY key = open_tcpip (adapter, KEY_READ);
  DWORD dhcp = 1;
  BOOL same = key != NULL && fb_key_number (key, L"EnableDHCP", &dhcp) && !dhcp
              && has_list (key, L"IPAddress", addresses) && has_list (key, L"SubnetMask", masks)
              && (gateways->count == 0 || has_list (key, L"DefaultGateway", gateways));

  if (key != NULL)
    RegCloseKey (key);
  return same;
}

static void
write_static (Net *net, const FbAdapter *adapter, const List *addresses, const List *masks,
              const List *gateways, const List *metrics)
{
  HKEY key = open_tcpip (adapter, KEY_READ | KEY_WRITE);
  LONG error = key ? ERROR_SUCCESS : ERROR_FILE_NOT_FOUND;

  if (error == ERROR_SUCCESS)
    error = fb_key_set_list (key, L"IPAddress", addresses->items, addresses->count);
  if (error == ERROR_SUCCESS)
    error = fb_key_set_list (key, L"SubnetMask", masks->items, masks->count);
  if (error == ERROR_SUCCESS)
    error = fb_key_set_list (key, L"DefaultGateway", gateways->items, gateways->count);
  if (error == ERROR_SUCCESS)
    error = fb_key_set_list (key, L"DefaultGatewayMetric", metrics->items, metrics->count);
  if (error == ERROR_SUCCESS)
    error = fb_key_set_number (key, L"EnableDHCP", 0);
  if (key != NULL)
    RegCloseKey (key);
  if (error == ERROR_SUCCESS)
    {
      fb_log (L"%s: netsh did not set its addresses; the registry has them, for the next boot",
              adapter->name);
      net->reboot = TRUE;
    }
  else
    {
      fb_log (L"%s: its addresses cannot be set (error %ld)", adapter->name, error);
      net->failed = TRUE;
    }
}

/* Windows XP wants a metric with each gateway; later ones choose a better one by themselves. */
static wchar_t *
metric_text (const Net *net, const wchar_t *metric, const wchar_t *before)
{
  if (wcscmp (metric, L"0") != 0)
    return fb_format (L"%s%s", before, metric);
  return net->windows < 0x600 ? fb_format (L"%s1", before) : fb_copy (L"");
}

static void
netsh_static (Net *net, const wchar_t *name, const List *addresses, const List *masks,
              const List *gateways, const List *metrics)
{
  for (size_t i = 0; i < addresses->count; i++)
    {
      const wchar_t *address = addresses->items[i], *mask = masks->items[i];
      wchar_t *metric
          = gateways->count ? metric_text (net, metrics->items[0], L" ") : fb_copy (L"");

      if (i > 0)
        netsh (net, L"interface ip add address \"%s\" %s %s", name, address, mask);
      else if (gateways->count > 0)
        netsh (net, L"interface ip set address \"%s\" static %s %s %s%s", name, address, mask,
               gateways->items[0], metric);
      else
        netsh (net, L"interface ip set address \"%s\" static %s %s none", name, address, mask);
      fb_free (metric);
    }
  for (size_t i = 1; i < gateways->count; i++)
    {
      wchar_t *metric = metric_text (net, metrics->items[i], L" gwmetric=");

      netsh (net, L"interface ip add address \"%s\" gateway=%s%s", name, gateways->items[i],
             metric);
      fb_free (metric);
    }
}

static void
set_static (Net *net, const wchar_t *nic, const FbAdapter *adapter)
{
  List addresses = {0}, masks = {0}, gateways = {0}, metrics = {0};
  DWORD began = GetTickCount ();
  BOOL done;

  read_list (net, nic, L"address", '/', &addresses, &masks);
  read_list (net, nic, L"gateway", ' ', &gateways, &metrics);
  done = addresses.count == 0 || has_static (adapter, &addresses, &masks, &gateways);
  if (done)
    fb_log (L"%s: %s", adapter->name, addresses.count ? L"has its addresses" : L"is given none");
  else
    netsh_static (net, adapter->name, &addresses, &masks, &gateways, &metrics);
  while (!done && !net->dry_run && GetTickCount () - began < NETSH_TIME)
    {
      done = has_static (adapter, &addresses, &masks, &gateways);
      if (done || GetTickCount () - began > SETTLE_TIME)
        break;
      Sleep (500);
    }
  if (!done && !net->dry_run)
    write_static (net, adapter, &addresses, &masks, &gateways, &metrics);
  list_clear (&addresses);
  list_clear (&masks);
  list_clear (&gateways);
  list_clear (&metrics);
}

static void
set_dhcp (Net *net, const FbAdapter *adapter)
{
  HKEY key = open_tcpip (adapter, KEY_READ);
  DWORD dhcp = 0;

  /* netsh calls it an error when it is so already. */
  if (key == NULL || !fb_key_number (key, L"EnableDHCP", &dhcp) || !dhcp)
    netsh (net, L"interface ip set address \"%s\" dhcp", adapter->name);
  else
    fb_log (L"%s: has DHCP", adapter->name);
  if (key != NULL)
    RegCloseKey (key);
}

/* Since Windows 7 netsh would ask each server whether it is one, which takes long where it cannot
 * be reached yet. */
static void
set_dns (Net *net, const wchar_t *nic, const FbAdapter *adapter, BOOL dhcp)
{
  const wchar_t *validate = net->windows >= 0x601 ? L" validate=no" : L"";
  List servers = {0};

  read_list (net, nic, L"dns", 0, &servers, NULL);
  if (servers.count == 0 && dhcp)
    netsh (net, L"interface ip set dns \"%s\" dhcp", adapter->name);
  for (size_t i = 0; i < servers.count; i++)
    if (i == 0)
      netsh (net, L"interface ip set dns \"%s\" static %s primary%s", adapter->name,
             servers.items[0], validate);
    else
      netsh (net, L"interface ip add dns \"%s\" %s index=%u%s", adapter->name, servers.items[i],
             (unsigned)i + 1, validate);
  list_clear (&servers);
}

/* netsh knows no suffix, and XP's no metric: those are values of the registry, written first since
 * the stack reads them again when addresses change. */
static void
set_others (Net *net, const wchar_t *nic, const FbAdapter *adapter)
{
  const wchar_t *suffix = fb_ini_get (net->ini, nic, L"suffix", 0);
  DWORD metric = fb_ini_number (net->ini, nic, L"metric", 9999, 0);
  HKEY key = open_tcpip (adapter, KEY_READ | KEY_WRITE);

  if (suffix != NULL)
    {
      fb_log (L"%s: DNS suffix %s", adapter->name, suffix);
      if (!net->dry_run && (key == NULL || fb_key_set_text (key, L"Domain", suffix) != 0))
        net->failed = TRUE;
    }
  if (metric != 0 && net->windows >= 0x600)
    netsh (net, L"interface ipv4 set interface \"%s\" metric=%lu", adapter->name, metric);
  else if (metric != 0)
    {
      fb_log (L"%s: metric %lu", adapter->name, metric);
      if (!net->dry_run
          && (key == NULL || fb_key_set_number (key, L"InterfaceMetric", metric) != 0))
        net->failed = TRUE;
    }
  if (key != NULL)
    RegCloseKey (key);
}

static void
set_name (Net *net, const wchar_t *nic, const FbAdapter *adapter)
{
  const wchar_t *name = fb_ini_get (net->ini, nic, L"name", 0);

  if (name == NULL || *name == 0 || wcscmp (name, adapter->name) == 0)
    return;
  if (wcspbrk (name, L"\"\\/:*?<>|") != NULL || wcslen (name) > 255)
    fb_log (L"[%s] name=%s is no name for a connection", nic, name);
  else if (!fb_connection_is_free (name, adapter->guid))
    fb_log (L"%s: another connection is called %s", adapter->name, name);
  else
    netsh (net, L"interface set interface name=\"%s\" newname=\"%s\"", adapter->name, name);
}

static BOOL
parse_mac (const wchar_t *text, BYTE *mac)
{
  for (int i = 0; i < 6; i++)
    {
      DWORD byte = 0;

      for (int digit = 0; digit < 2; digit++, text++)
        {
          wchar_t c = *text | 0x20; /* lower case; digits have the bit */

          if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) || *text < '0')
            return FALSE;
          byte = byte << 4 | (DWORD)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
      mac[i] = (BYTE)byte;
      if (i < 5 && (*text == ':' || *text == '-'))
        text++;
    }
  return *text == 0;
}

static BOOL
is_pci (const FbAdapter *adapter)
{
  return fb_starts (adapter->instance, L"PCI\\");
}

/* By hardware address; teams and bridges have that of a member, so PCI devices come first. */
static FbAdapter *
find_by_mac (const Net *net, const wchar_t *nic, FbAdapter *adapters, size_t count)
{
  const wchar_t *text = fb_ini_get (net->ini, nic, L"mac", 0);
  FbAdapter *found = NULL;
  BYTE mac[6];

  if (text == NULL || !parse_mac (text, mac))
    return NULL;
  for (size_t i = 0; i < count; i++)
    if (memcmp (adapters[i].mac, mac, sizeof mac) == 0
        && (found == NULL || (is_pci (&adapters[i]) && !is_pci (found))))
      found = &adapters[i];
  return found;
}

static FbAdapter *
find_only (FbAdapter *adapters, size_t count)
{
  FbAdapter *found = NULL;
  size_t left = 0;

  for (size_t i = 0; i < count; i++)
    if (!adapters[i].taken && is_pci (&adapters[i]))
      {
        found = &adapters[i];
        left++;
      }
  return left == 1 ? found : NULL;
}

/* FALSE: adapters are missing that may yet come. */
static BOOL
match (const Net *net, FbAdapter *adapters, size_t count, FbAdapter **found, size_t n)
{
  size_t missing = 0, last = 0;

  for (size_t i = 0; i < n; i++)
    {
      found[i] = find_by_mac (net, fb_ini_section (net->ini, L"nic", i), adapters, count);
      if (found[i] != NULL)
        found[i]->taken = TRUE;
      else
        {
          missing++;
          last = i;
        }
    }
  if (missing == 1 && (found[last] = find_only (adapters, count)) != NULL)
    missing = 0;
  return missing == 0;
}

static void
apply (Net *net, const wchar_t *nic, const FbAdapter *adapter)
{
  BOOL dhcp = fb_ini_number (net->ini, nic, L"dhcp", 1, 0) != 0;

  fb_log (L"[%s] is %s %s %s", nic, adapter->name, adapter->guid, adapter->instance);
  if (!net->names_only)
    {
      set_others (net, nic, adapter);
      if (dhcp)
        set_dhcp (net, adapter);
      else
        set_static (net, nic, adapter);
      set_dns (net, nic, adapter, dhcp);
    }
  set_name (net, nic, adapter);
}

static void
configure (Net *net)
{
  DWORD wait = fb_ini_number (net->ini, L"network", L"wait", 3600, 60) * 1000;
  DWORD began = GetTickCount ();
  FbAdapter *found[MAX_LIST] = {0}, *adapters;
  size_t count, n = 0;

  while (n < MAX_LIST && fb_ini_section (net->ini, L"nic", n) != NULL)
    n++;
  adapters = fb_adapters (&count);
  while (!match (net, adapters, count, found, n) && !net->dry_run && GetTickCount () - began < wait)
    {
      fb_adapters_free (adapters, count);
      Sleep (1000);
      adapters = fb_adapters (&count);
    }
  for (size_t i = 0; i < n; i++)
    if (found[i] != NULL)
      apply (net, fb_ini_section (net->ini, L"nic", i), found[i]);
    else
      {
        fb_log (L"[%s] has no adapter here", fb_ini_section (net->ini, L"nic", i));
        net->failed = TRUE;
      }
  fb_adapters_free (adapters, count);
}

int
fb_mode_network (int argc, wchar_t **argv)
{
  Net net = {.windows = fb_windows ()};

  for (int i = 1; i < argc; i++)
    if (wcscmp (argv[i], L"--dry-run") == 0)
      net.dry_run = TRUE;
    else if (wcscmp (argv[i], L"--names-only") == 0)
      net.names_only = TRUE;
    else if (wcscmp (argv[i], L"--as") == 0 && i + 1 < argc && wcslen (argv[i + 1]) == 3)
      {
        i++;
        net.windows = (argv[i][0] - '0') << 8 | (argv[i][2] - '0');
      }
  net.ini = argc > 0 ? fb_ini_load (argv[0]) : NULL;
  if (net.ini == NULL)
    {
      fb_log (L"there is no file with the network's settings (error %lu)", GetLastError ());
      return FB_FAILED;
    }
  configure (&net);
  fb_ini_free (net.ini);
  if (net.failed)
    return FB_FAILED;
  return net.reboot ? FB_REBOOT : FB_OK;
}
