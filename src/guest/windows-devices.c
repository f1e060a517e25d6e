/* windows-devices.c - network interfaces with what they are configured to, VirtIO drivers, and what
 * hypervisors left behind.
 *
 * Windows keeps a configuration for each interface it ever saw, by a GUID, and the devices by their
 * place: "Control\Class\{GUID of network adapters}\NNNN" leads from one to the other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/windows-private.h"

#define NET_CLASS "{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define MAX_KEYS 4096u /* that are looked at in one key */
#define MAX_NICS 256u

/* --- MACs ------------------------------------------------------------------------------------- */

static char *
format_mac (const guint8 *b)
{
  if (b[0] & 1 || !(b[0] | b[1] | b[2] | b[3] | b[4] | b[5]))
    return NULL;
  return g_strdup_printf ("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

/* LENGTH bytes of hexadecimal digits, with separators between them or without. */
static gboolean
parse_hex (const char *text, guint8 *bytes, guint length)
{
  for (guint i = 0; i < length; i++)
    {
      int high, low;
      text += i && (*text == '-' || *text == ':');
      high = g_ascii_xdigit_value (text[0]);
      low = high < 0 ? -1 : g_ascii_xdigit_value (text[1]);
      if (low < 0)
        return FALSE;
      bytes[i] = (guint8)(high << 4 | low);
      text += 2;
    }
  return *text == '\0';
}

/* A PCI Express device with a serial number has that as its instance: of network cards it is the
 * MAC with two bytes in its middle (EUI-64), and ends with the function's number. The bytes are in
 * order, the other way round, or so in each half (VMware's vmxnet3). */
static char *
mac_of_instance (const char *instance)
{
  static const struct
  {
    guint8 middle[2], mac[6]; /* which bytes they are */
  } orders[] = {
      {{3, 4}, {0, 1, 2, 5, 6, 7}},
      {{4, 3}, {7, 6, 5, 2, 1, 0}},
      {{0, 7}, {3, 2, 1, 6, 5, 4}},
  };
  const char *last = strrchr (instance, '\\');
  guint8 b[9];

  if (!last || !parse_hex (last + 1, b, 9))
    return NULL;
  for (guint i = 0; i < G_N_ELEMENTS (orders); i++)
    {
      const guint8 *m = orders[i].mac;
      guint8 second = b[orders[i].middle[1]];
      if (b[orders[i].middle[0]] == 0xff && (second == 0xff || second == 0xfe))
        return format_mac ((const guint8[]){b[m[0]], b[m[1]], b[m[2]], b[m[3]], b[m[4]], b[m[5]]});
    }
  return NULL;
}

/* What Windows 10 and later keep of each interface: the card's own address. */
static char *
permanent_mac (const H2kWindows *w, H2kHive *system, const char *guid)
{
  g_autofree char *path
      = g_strconcat ("Control\\NetworkSetup2\\Interfaces\\", guid, "\\Kernel", NULL);
  g_autofree char *key = h2k_windows_key (w, path);
  g_autoptr (H2kRegValue) value = h2k_hive_get (system, key, "PermanentAddress");

  return value && value->type == H2K_REG_BINARY && g_bytes_get_size (value->data) == 6
             ? format_mac (g_bytes_get_data (value->data, NULL))
             : NULL;
}

/* What was set by hand, what Windows has noted, what the device's instance tells. */
static char *
find_mac (const H2kWindows *w, H2kHive *system, const char *class_key, const char *guid,
          const char *instance)
{
  g_autofree char *address = h2k_windows_text (system, class_key, "NetworkAddress");
  char *mac;
  guint8 b[6];

  if (parse_hex (address, b, 6))
    return format_mac (b);
  mac = permanent_mac (w, system, guid);
  return mac || !instance ? mac : mac_of_instance (instance);
}

/* The DHCPv6 client's identifier (RFC 8415, 11.2 and 11.4) was made from the MAC of a card that was
 * there when it was first needed: that is the only one when there never was another. */
static char *
duid_mac (const H2kWindows *w, H2kHive *system)
{
  g_autofree char *key = h2k_windows_key (w, "Services\\Tcpip6\\Parameters");
  g_autoptr (H2kRegValue) value = h2k_hive_get (system, key, "Dhcpv6DUID");
  gsize size = 0, head;
  const guint8 *duid = value ? g_bytes_get_data (value->data, &size) : NULL;

  if (size < 4 || h2k_be16 (duid + 2) != 1)
    return NULL; /* of another kind than Ethernet */
  head = h2k_be16 (duid) == 1 ? 8 : h2k_be16 (duid) == 3 ? 4 : G_MAXSIZE;
  return head != G_MAXSIZE && size == head + 6 ? format_mac (duid + head) : NULL;
}

/* --- places ----------------------------------------------------------------------------------- */

/* "PCI bus 3, device 0, function 0", or the same at the end of a reference to a translated text,
 * ";(3,0,0)": a text that sorts as the numbers do. NULL: another form. */
static char *
sortable_location (const char *text)
{
  const char *at = strrchr (text, '(');
  guint numbers[3], n = 0;

  for (at = at ? at : text; *at && n < 3;)
    if (g_ascii_isdigit (*at))
      {
        numbers[n++] = (guint)MIN (g_ascii_strtoull (at, NULL, 10), 99999);
        at += strspn (at, "0123456789");
      }
    else
      at++;
  return n == 3 ? g_strdup_printf ("%05u.%05u.%05u", numbers[0], numbers[1], numbers[2]) : NULL;
}

static char *
find_location (const H2kWindows *w, H2kHive *system, const char *instance)
{
  g_autofree char *path = g_strconcat ("Enum\\", instance, NULL);
  g_autofree char *key = h2k_windows_key (w, path);
  g_autofree char *text = h2k_windows_text (system, key, "LocationInformation");

  return sortable_location (text);
}

/* --- interfaces ------------------------------------------------------------------------------- */

/* A value of one text or several. */
static GStrv
read_list (H2kHive *system, const char *key, const char *name)
{
  GStrv list = h2k_hive_get_strings (system, key, name);
  g_autofree char *one = NULL;

  if (list)
    return list;
  one = h2k_windows_text (system, key, name);
  return g_strsplit (one, "\1", *one ? 1 : 0);
}

/* Of LIST what is no address is left out, with its fellow in OTHER; missing fellows become
 * FALLBACK. */
static void
clean_pairs (GStrv *list, GStrv *other, const char *fallback)
{
  GStrvBuilder *kept = g_strv_builder_new (), *fellows = g_strv_builder_new ();
  guint others = g_strv_length (*other);

  for (guint i = 0; (*list)[i]; i++)
    {
      const char *text = g_strstrip ((*list)[i]);
      if (!g_hostname_is_ip_address (text) || strcmp (text, "0.0.0.0") == 0)
        continue;
      g_strv_builder_add (kept, text);
      g_strv_builder_add (fellows, i < others && *(*other)[i] ? (*other)[i] : fallback);
    }
  g_strfreev (*list);
  g_strfreev (*other);
  *list = g_strv_builder_end (kept);
  *other = g_strv_builder_end (fellows);
  g_strv_builder_unref (kept);
  g_strv_builder_unref (fellows);
}

static void
read_addresses (const H2kWindows *w, H2kHive *system, H2kWindowsNic *nic)
{
  g_autofree char *path
      = g_strconcat ("Services\\Tcpip\\Parameters\\Interfaces\\", nic->guid, NULL);
  g_autofree char *key = h2k_windows_key (w, path);
  guint32 number = 1;

  nic->dhcp = !h2k_hive_get_dword (system, key, "EnableDHCP", &number) || number != 0;
  nic->addresses = nic->dhcp ? g_new0 (char *, 1) : read_list (system, key, "IPAddress");
  nic->masks = read_list (system, key, "SubnetMask");
  nic->gateways = nic->dhcp ? g_new0 (char *, 1) : read_list (system, key, "DefaultGateway");
  nic->metrics = read_list (system, key, "DefaultGatewayMetric");
  clean_pairs (&nic->addresses, &nic->masks, "255.255.255.0");
  clean_pairs (&nic->gateways, &nic->metrics, "0");
  nic->dns = h2k_windows_text (system, key, "NameServer");
  g_strdelimit (nic->dns, " ;", ',');
  nic->domain = h2k_windows_text (system, key, "Domain");
  if (h2k_hive_get_dword (system, key, "InterfaceMetric", &number))
    nic->interface_metric = number;
}

static char *
text_or_null (H2kHive *hive, const char *key, const char *name)
{
  char *text = h2k_windows_text (hive, key, name);

  if (*text)
    return text;
  g_free (text);
  return NULL;
}

/* Cards of these buses; tunnels, miniports and the like have none. */
static gboolean
is_hardware (const char *component)
{
  static const char *const buses[] = {"pci\\", "vmbus\\", "xen\\",     "xenvif\\", "xenbus\\",
                                      "usb\\", "prl_eth", "{f8615163-"}; /* VMBus' class id */

  for (guint i = 0; component && i < G_N_ELEMENTS (buses); i++)
    if (g_ascii_strncasecmp (component, buses[i], strlen (buses[i])) == 0)
      return TRUE;
  return FALSE;
}

static H2kWindowsNic *
read_nic (const H2kWindows *w, H2kHive *system, const char *number)
{
  H2kWindowsNic *nic = g_new0 (H2kWindowsNic, 1);
  g_autofree char *path = g_strconcat ("Control\\Class\\" NET_CLASS "\\", number, NULL);
  g_autofree char *key = h2k_windows_key (w, path), *connection_path = NULL, *connection = NULL;

  nic->class_key = g_strdup (number);
  nic->guid = h2k_windows_text (system, key, "NetCfgInstanceId");
  connection_path
      = g_strconcat ("Control\\Network\\" NET_CLASS "\\", nic->guid, "\\Connection", NULL);
  connection = h2k_windows_key (w, connection_path);
  nic->device = text_or_null (system, key, "DriverDesc");
  nic->component = text_or_null (system, key, "ComponentId");
  if (!nic->component)
    nic->component = text_or_null (system, key, "MatchingDeviceId");
  nic->name = text_or_null (system, connection, "Name");
  nic->instance = text_or_null (system, connection, "PnpInstanceID");
  if (!nic->instance)
    nic->instance = text_or_null (system, key, "DeviceInstanceID");
  if (nic->instance)
    {
      g_autofree char *enum_path = g_strconcat ("Enum\\", nic->instance, NULL);
      g_autofree char *enum_key = h2k_windows_key (w, enum_path);
      nic->service = text_or_null (system, enum_key, "Service");
      nic->location = find_location (w, system, nic->instance);
    }
  nic->mac = find_mac (w, system, key, nic->guid, nic->instance);
  nic->is_virtio = nic->component && strncasecmp (nic->component, "pci\\ven_1af4", 12) == 0;
  read_addresses (w, system, nic);
  return nic;
}

static int
compare_nics (gconstpointer a, gconstpointer b)
{
  const H2kWindowsNic *x = *(H2kWindowsNic *const *)a, *y = *(H2kWindowsNic *const *)b;
  int order = g_strcmp0 (x->location ? x->location : "~", y->location ? y->location : "~");

  return order ? order : strcmp (x->class_key, y->class_key);
}

static void
read_nics (H2kWindows *w, H2kHive *system)
{
  g_autofree char *key = h2k_windows_key (w, "Control\\Class\\" NET_CLASS);
  g_autoptr (GPtrArray) numbers = h2k_hive_list_keys (system, key);

  for (guint i = 0; numbers && i < MIN (numbers->len, MAX_KEYS) && w->nics->len < MAX_NICS; i++)
    {
      const char *number = numbers->pdata[i];
      H2kWindowsNic *nic;

      if (strlen (number) != 4 || strspn (number, "0123456789") != 4)
        continue;
      nic = read_nic (w, system, number);
      g_ptr_array_add (w->nics, nic);
      if (!*nic->guid || !is_hardware (nic->component))
        g_ptr_array_remove_index (w->nics, w->nics->len - 1);
    }
  g_ptr_array_sort (w->nics, compare_nics);
  if (w->nics->len == 1)
    {
      H2kWindowsNic *nic = w->nics->pdata[0];
      if (!nic->mac)
        nic->mac = duid_mac (w, system);
    }
}

/* --- drivers ---------------------------------------------------------------------------------- */

static gboolean
has_service (const H2kWindows *w, H2kHive *system, const char *service)
{
  g_autofree char *path = g_strconcat ("Services\\", service, NULL);
  g_autofree char *key = h2k_windows_key (w, path);

  return h2k_hive_has_key (system, key);
}

void
h2k_windows_read_devices (H2kWindows *w, H2kHive *system)
{
  static const char *const virtio[]
      = {"viostor",   "vioscsi", "netkvm",      "BALLOON",     "VirtioSerial", "VirtRng",
         "VioGpuDod", "QxlDod",  "VirtioInput", "VirtioFsDrv", "PVPanic",      "FwCfg"};

  read_nics (w, system);
  for (guint i = 0; i < G_N_ELEMENTS (virtio); i++)
    if (has_service (w, system, virtio[i]))
      g_ptr_array_add (w->virtio, g_strdup (virtio[i]));
}

/* --- tools of hypervisors --------------------------------------------------------------------- */

/* Services and drivers that come with the tools and with nothing else: what is part of Windows
 * (Hyper-V's vmbus, storvsc, since Vista) is not listed. */
static const struct
{
  const char *product;
  const char *displays[6]; /* how DisplayName begins below Uninstall */
  const char *services[40];
} known_tools[] = {
    {"VMware Tools",
     {"VMware Tools"},
     {"VMTools",
      "VGAuthService",
      "vmvss",
      "VMUpgradeHelper",
      "VMware Physical Disk Helper Service",
      "vmhgfs",
      "vmmouse",
      "vmusbmouse",
      "vmmemctl",
      "vmrawdsk",
      "vm3dmp",
      "vm3dmp_loader",
      "vm3dmp-debug",
      "vm3dmp-stats",
      "vm3dservice",
      "vmx_svga",
      "vmxnet",
      "vmxnet3ndis5",
      "vmxnet3ndis6",
      "vmaudio",
      "pvscsi",
      "vmscsi",
      "vmci",
      "vsock",
      "vsockSys",
      "vsepflt",
      "vnetflt",
      "vnetWFP",
      "giappdef",
      "glxgi",
      "GISvc",
      "TPAutoConnSvc",
      "TPVCGateway",
      "vmStatsProvider",
      "VMwareCAFCommAmqpListener",
      "VMwareCAFManagementAgentHost"}},
    {"Xen tools",
     {"Citrix Hypervisor PV", "Citrix XenServer", "Citrix Tools for Virtual Machines", "XenServer",
      "XCP-ng Windows", "Xen PV"},
     {"xenvbd",         "xenbus",   "xenfilt",  "xenvif",  "xennet",    "xeniface",
      "xenhid",         "xenvkbd",  "xendisk",  "xencrsh", "xenevtchn", "xenpci",
      "xenhide",        "xenutil",  "scsifilt", "xensvc",  "xenlite",   "xenagent",
      "xenbus_monitor", "rhelfltr", "rhelnet",  "rhelscsi"}},
    {"Hyper-V integration services",
     {"Hyper-V Guest Components", "Microsoft Hyper-V Guest Components"},
     {NULL}},
    {"Parallels Tools",
     {"Parallels Tools"},
     {"prl_boot",
      "prl_dd",
      "prl_eth5",
      "prl_eth",
      "prl_fs",
      "prl_fs_wmi",
      "prl_kmdd",
      "prl_memdev",
      "prl_mouf",
      "prl_pv32",
      "prl_pv64",
      "prl_scsi",
      "prl_sound",
      "prl_strg",
      "prl_tg",
      "prl_time",
      "prl_tools",
      "prl_tools_service",
      "prl_uprof",
      "prl_va",
      "prl_vid",
      "Parallels Tools Service",
      "Parallels Coherence Service",
      "PrlToolsSrv"}},
    {"VirtualBox Guest Additions",
     {"Oracle VM VirtualBox Guest Additions", "Oracle VirtualBox Guest Additions"},
     {"VBoxGuest", "VBoxMouse", "VBoxSF", "VBoxVideo", "VBoxVideoW8", "VBoxWddm", "VBoxService"}},
};

const char *const *
h2k_windows_tool_services (guint product, const char **name)
{
  if (product >= G_N_ELEMENTS (known_tools))
    return NULL;
  *name = known_tools[product].product;
  return known_tools[product].services;
}

static gboolean
begins_with_one (const char *name, const char *const *displays, gsize count)
{
  for (gsize i = 0; i < count && displays[i]; i++)
    if (g_ascii_strncasecmp (name, displays[i], strlen (displays[i])) == 0)
      return TRUE;
  return FALSE;
}

/* Of one view of the installed programs; the key of PRODUCT's. */
static char *
find_uninstall (H2kHive *software, const char *view, guint product)
{
  g_autoptr (GPtrArray) keys = h2k_hive_list_keys (software, view);

  for (guint i = 0; keys && i < MIN (keys->len, MAX_KEYS); i++)
    {
      g_autofree char *key = g_strconcat (view, "\\", (const char *)keys->pdata[i], NULL);
      g_autofree char *name = h2k_windows_text (software, key, "DisplayName");
      if (begins_with_one (name, known_tools[product].displays,
                           G_N_ELEMENTS (known_tools[product].displays)))
        return g_strdup (keys->pdata[i]);
    }
  return NULL;
}

void
h2k_windows_read_tools (H2kWindows *w, H2kHive *system, H2kHive *software)
{
  static const char *const views[] = {"Microsoft\\Windows\\CurrentVersion\\Uninstall",
                                      "WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall"};

  for (guint i = 0; i < G_N_ELEMENTS (known_tools); i++)
    {
      H2kWindowsTools *tools = g_new0 (H2kWindowsTools, 1);

      tools->product = known_tools[i].product;
      tools->services = g_ptr_array_new_with_free_func (g_free);
      for (guint s = 0; known_tools[i].services[s]; s++)
        if (has_service (w, system, known_tools[i].services[s]))
          g_ptr_array_add (tools->services, g_strdup (known_tools[i].services[s]));
      for (guint v = 0; v < G_N_ELEMENTS (views) && !tools->uninstall; v++)
        {
          tools->uninstall = find_uninstall (software, views[v], i);
          tools->uninstall32 = v == 1;
        }
      g_ptr_array_add (w->tools, tools);
      if (!tools->uninstall && tools->services->len == 0)
        g_ptr_array_remove_index (w->tools, w->tools->len - 1);
    }
}
