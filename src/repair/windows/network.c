/* network.c - the addresses of the old network adapters, for the first boot, and their MACs, for
 * the VM's definition.
 *
 * Windows keeps its settings by adapter, and VirtIO's are others. So what each old one was set to
 * is written down with the MAC that its successor will have (the format is that of
 * firstboot/network.c), and the old ones are listed so that their names become free.
 *
 * The registry does not tell plainly which adapters were there in the end: one that was taken out
 * stays in it. Windows 8 and later note when a device was removed (DEVPKEY_Device_LastRemovalDate).
 * Else, of two adapters that cannot have been there together, the one that was installed later
 * counts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"
#include "repair/windows/teams.h"

#define NET_CLASS "{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define DATES "Properties\\{83da6326-97a6-4088-9453-a1923f573b29}"
/* The network store's static IPv6 addresses: each value is named by the interface's LUID and the
 * address, in hexadecimal digits as they are in memory. */
#define IPV6_ADDRESSES "Control\\Nsi\\{eb004a01-9b1a-11d4-9123-0050047759bc}\\10"
#define LUID_DIGITS 16
#define IPV6_DIGITS 32

typedef struct
{
  const H2kWindowsNic *nic;
  char *mac;     /* of the VM's; NULL: which one is not known */
  gboolean gone; /* was not there in the end */
} Card;

static void
card_free (gpointer data)
{
  Card *card = data;

  g_free (card->mac);
  g_free (card);
}

/* How people know NIC; the caller's. */
static char *
shown_name (const H2kWindowsNic *nic)
{
  const char *name = nic->name ? nic->name : nic->device ? nic->device : nic->guid;

  return h2k_escape_text (name, -1);
}

/* --- which were there ------------------------------------------------------------------------- */

/* A time of when the device arrived (0066) or was removed (0067); 0: never. */
static guint64
device_time (H2kHive *hive, const char *device, const char *property)
{
  g_autofree char *key = g_strconcat (device, "\\" DATES "\\", property, NULL);
  g_autoptr (H2kRegValue) value = h2k_hive_get (hive, key, "");

  return value && g_bytes_get_size (value->data) == 8
             ? h2k_le64 (g_bytes_get_data (value->data, NULL))
             : 0;
}

static gboolean
was_removed (H2kHive *hive, const char *set, const H2kWindowsNic *nic)
{
  g_autofree char *device
      = nic->instance ? g_strconcat (set, "\\Enum\\", nic->instance, NULL) : NULL;

  return device && device_time (hive, device, "0067") > device_time (hive, device, "0066");
}

static gboolean
share_address (const H2kWindowsNic *a, const H2kWindowsNic *b)
{
  for (guint i = 0; a->addresses[i]; i++)
    if (g_strv_contains ((const char *const *)b->addresses, a->addresses[i]))
      return TRUE;
  return FALSE;
}

/* Whether both cannot be in one machine: in one place, with one MAC, with one address. */
static gboolean
exclude_each_other (const H2kWindowsNic *a, const H2kWindowsNic *b)
{
  return (a->location && g_strcmp0 (a->location, b->location) == 0)
         || (a->mac && b->mac && g_ascii_strcasecmp (a->mac, b->mac) == 0) || share_address (a, b);
}

/* Card *: in the order of NICS. */
static GPtrArray *
find_cards (H2kHive *hive, const char *set, const GPtrArray *nics)
{
  GPtrArray *cards = g_ptr_array_new_with_free_func (card_free);

  for (guint i = 0; i < nics->len; i++)
    {
      Card *card = g_new0 (Card, 1);

      card->nic = nics->pdata[i];
      card->gone = was_removed (hive, set, card->nic);
      g_ptr_array_add (cards, card);
    }
  for (guint i = 0; i < cards->len; i++)
    for (guint j = 0; j < cards->len; j++)
      {
        Card *card = cards->pdata[i], *other = cards->pdata[j];

        if (!other->gone && strcmp (card->nic->class_key, other->nic->class_key) < 0
            && exclude_each_other (card->nic, other->nic))
          card->gone = TRUE;
      }
  return cards;
}

/* --- which MAC each has ----------------------------------------------------------------------- */

/* The VM has the MACs that were given and no others. Those that Windows knows find their card; the
 * rest are the remaining cards', in order, if there are as many. UNUSED gets what is no card's. */
static void
use_given (const GPtrArray *cards, const GPtrArray *macs, GPtrArray *unused)
{
  guint rest = 0;

  for (guint i = 0; i < macs->len; i++)
    {
      Card *found = NULL;

      for (guint c = 0; c < cards->len && !found; c++)
        {
          Card *card = cards->pdata[c];
          if (!card->gone && !card->mac && card->nic->mac
              && g_ascii_strcasecmp (card->nic->mac, macs->pdata[i]) == 0)
            found = card;
        }
      if (found)
        found->mac = g_ascii_strdown (macs->pdata[i], -1);
      else
        g_ptr_array_add (unused, macs->pdata[i]);
    }
  for (guint c = 0; c < cards->len; c++)
    {
      const Card *card = cards->pdata[c];
      rest += !card->gone && !card->mac;
    }
  if (unused->len != rest)
    return;
  for (guint c = 0, i = 0; c < cards->len; c++)
    {
      Card *card = cards->pdata[c];
      if (!card->gone && !card->mac)
        card->mac = g_ascii_strdown (unused->pdata[i++], -1);
    }
  g_ptr_array_set_size (unused, 0);
}

/* MACs of the seed, or their own, or ones made from their interface's GUID, the same each time. */
static void
use_own (H2kRepairContext *context, const GPtrArray *cards)
{
  for (guint i = 0; i < cards->len; i++)
    {
      Card *card = cards->pdata[i];
      g_autofree char *name = shown_name (card->nic), *guid = NULL;

      if (card->gone)
        continue;
      if (context->options.mac_seed)
        card->mac = h2k_mac_from_seed (context->options.mac_seed, i);
      else if (card->nic->mac)
        card->mac = g_strdup (card->nic->mac);
      if (card->mac)
        continue;
      guid = g_ascii_strdown (card->nic->guid, -1);
      card->mac = h2k_mac_from_seed (guid, 0);
      h2k_repair_warn (context,
                       "this Windows does not tell the MAC of its network adapter \"%s\": the VM's "
                       "gets %s; give --mac if it is to keep the old one",
                       name, card->mac);
    }
}

static void
add_nic (H2kRepairContext *context, const char *name, const char *mac)
{
  H2kNic *nic = g_new0 (H2kNic, 1);

  nic->name = g_strdup (name);
  nic->mac = g_ascii_strdown (mac, -1);
  g_ptr_array_add (context->nics, nic);
}

static void
assign_macs (H2kRepairContext *context, const GPtrArray *cards)
{
  g_autoptr (GPtrArray) unused = g_ptr_array_new ();

  if (context->macs->len)
    use_given (cards, context->macs, unused);
  else
    use_own (context, cards);
  for (guint i = 0; i < cards->len; i++)
    {
      const Card *card = cards->pdata[i];
      if (card->mac)
        add_nic (context, card->nic->name, card->mac);
    }
  for (guint i = 0; i < unused->len; i++)
    add_nic (context, NULL, unused->pdata[i]);
}

/* --- settings --------------------------------------------------------------------------------- */

/* Names that Windows gives by itself: "Ethernet0 2", "Local Area Connection* 3". */
static gboolean
is_own_name (const char *name)
{
  static const char *const words[] = {"Local Area Connection", "Ethernet"};

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (g_str_has_prefix (name, words[i]))
      return strspn (name + strlen (words[i]), " *#0123456789")
             == strlen (name + strlen (words[i]));
  return FALSE;
}

static gboolean
is_ipv4 (const char *text)
{
  return g_hostname_is_ip_address (text) && !strchr (text, ':');
}

/* The ones that MASK begins with; -1: it is no mask. */
static int
mask_length (const char *mask)
{
  g_autoptr (GInetAddress) address = g_inet_address_new_from_string (mask);
  guint32 bits;
  int length = 0;

  if (!address || g_inet_address_get_family (address) != G_SOCKET_FAMILY_IPV4)
    return -1;
  bits = h2k_be32 (g_inet_address_to_bytes (address));
  for (; bits & 0x80000000u; bits <<= 1)
    length++;
  return bits ? -1 : length;
}

static gboolean
has_control (const char *text)
{
  for (; *text; text++)
    if (g_ascii_iscntrl (*text))
      return TRUE;
  return FALSE;
}

static void
add_dns (const H2kWindowsNic *nic, GString *out)
{
  g_auto (GStrv) servers = g_strsplit (nic->dns, ",", -1);

  for (guint i = 0; servers[i]; i++)
    if (is_ipv4 (g_strstrip (servers[i])))
      g_string_append_printf (out, "dns=%s\r\n", servers[i]);
}

static void
add_addresses (H2kRepairContext *context, const H2kWindowsNic *nic, GString *out)
{
  for (guint i = 0; nic->addresses[i]; i++)
    {
      int length = is_ipv4 (nic->addresses[i]) ? mask_length (nic->masks[i]) : -1;
      g_autofree char *name = shown_name (nic), *mask = h2k_escape_text (nic->masks[i], -1);

      if (length >= 0)
        g_string_append_printf (out, "address=%s/%d\r\n", nic->addresses[i], length);
      else
        h2k_repair_warn (context,
                         "the address %s of \"%s\" is left out, since its mask %s is none: set it "
                         "in the VM",
                         nic->addresses[i], name, mask);
    }
  for (guint i = 0; nic->gateways[i]; i++)
    if (is_ipv4 (nic->gateways[i]))
      {
        guint64 metric = g_ascii_strtoull (nic->metrics[i], NULL, 10);

        g_string_append_printf (out, "gateway=%s", nic->gateways[i]);
        if (metric > 0 && metric <= 9999)
          g_string_append_printf (out, " %u", (guint)metric);
        g_string_append (out, "\r\n");
      }
}

/* What NIC was set to, without the head and the MAC; "" when all of it is as Windows does it by
 * itself. */
static char *
describe (H2kRepairContext *context, const H2kWindowsNic *nic)
{
  GString *out = g_string_new (NULL);

  if (nic->addresses[0])
    add_addresses (context, nic, out);
  add_dns (nic, out);
  if (*nic->domain && !has_control (nic->domain))
    g_string_append_printf (out, "suffix=%s\r\n", nic->domain);
  if (nic->interface_metric > 0 && nic->interface_metric <= 9999)
    g_string_append_printf (out, "metric=%u\r\n", nic->interface_metric);
  if (nic->name && !has_control (nic->name) && (out->len || !is_own_name (nic->name)))
    {
      g_autofree char *name = g_strdup_printf ("name=%s\r\n", nic->name);
      g_string_prepend (out, name);
    }
  if (out->len && !nic->addresses[0])
    g_string_prepend (out, "dhcp=1\r\n");
  return g_string_free (out, FALSE);
}

static char *
describe_addresses (const H2kWindowsNic *nic)
{
  return nic->addresses[0] ? g_strjoinv (", ", nic->addresses) : g_strdup ("DHCP");
}

static void
warn_unmatched (H2kRepairContext *context, const H2kWindowsNic *nic)
{
  g_autofree char *name = shown_name (nic), *addresses = describe_addresses (nic);

  h2k_repair_warn (context,
                   "the settings of the network adapter \"%s\" (%s) are not moved, since none of "
                   "the VM's MACs is known to be its: if it is in use, give --mac once for each "
                   "adapter of this Windows, in the order of their places, or set it in the VM",
                   name, addresses);
}

/* network.ini; NULL: nothing is worth keeping. */
static GBytes *
make_settings (H2kRepairContext *context, const GPtrArray *cards)
{
  g_autoptr (GString) out = g_string_new ("; Written by hyper2kvm: what the old network adapters "
                                          "were set to.\r\n");
  guint n = 0;

  for (guint i = 0; i < cards->len; i++)
    {
      const Card *card = cards->pdata[i];
      g_autofree char *text = NULL;

      /* VirtIO's own keep what they have. */
      if (card->gone || card->nic->is_virtio)
        continue;
      text = describe (context, card->nic);
      if (*text && !card->mac)
        warn_unmatched (context, card->nic);
      else if (*text)
        g_string_append_printf (out, "\r\n[nic%u]\r\nmac=%s\r\n%s", ++n, card->mac, text);
    }
  return n ? g_bytes_new (out->str, out->len) : NULL;
}

/* The old machine's adapters, those that are gone included; NULL: none. */
static GBytes *
make_ghosts (const GPtrArray *cards)
{
  static const char *const buses[] = {"PCI\\", "VMBUS\\", "XEN\\", "XENBUS\\", "XENVIF\\"};
  g_autoptr (GString) out = g_string_new (NULL);

  for (guint i = 0; i < cards->len; i++)
    {
      const H2kWindowsNic *nic = ((const Card *)cards->pdata[i])->nic;

      for (guint b = 0; nic->instance && !nic->is_virtio && b < G_N_ELEMENTS (buses); b++)
        if (g_ascii_strncasecmp (nic->instance, buses[b], strlen (buses[b])) == 0
            && !has_control (nic->instance))
          g_string_append_printf (out, "%s\r\n", nic->instance);
    }
  return out->len ? g_bytes_new (out->str, out->len) : NULL;
}

/* --- IPv6 ------------------------------------------------------------------------------------- */

/* The LUID as the network store's names begin with it: 24 bits that are reserved, 24 of the index,
 * 16 of the type, all little-endian. NULL: the class key does not tell. */
static char *
luid_digits (H2kHive *hive, const char *set, const H2kWindowsNic *nic)
{
  g_autofree char *key
      = g_strconcat (set, "\\Control\\Class\\" NET_CLASS "\\", nic->class_key, NULL);
  guint32 index, type;

  if (!h2k_hive_get_dword (hive, key, "NetLuidIndex", &index)
      || !h2k_hive_get_dword (hive, key, "*IfType", &type))
    return NULL;
  return g_strdup_printf ("000000%02x%02x%02x%02x%02x", index & 255, index >> 8 & 255,
                          index >> 16 & 255, type & 255, type >> 8 & 255);
}

static char *
ipv6_text (const char *digits)
{
  guint8 bytes[16];
  g_autoptr (GInetAddress) address = NULL;

  for (guint i = 0; i < sizeof bytes; i++)
    {
      int high = g_ascii_xdigit_value (digits[2 * i]);
      int low = high < 0 ? -1 : g_ascii_xdigit_value (digits[2 * i + 1]);
      if (low < 0)
        return NULL;
      bytes[i] = (guint8)(high << 4 | low);
    }
  address = g_inet_address_new_from_bytes (bytes, G_SOCKET_FAMILY_IPV6);
  return g_inet_address_to_string (address);
}

/* The first boot sets IPv4 alone. */
static void
warn_ipv6_dns (H2kRepairContext *context, H2kHive *hive, const char *set, const H2kWindowsNic *nic)
{
  g_autofree char *key
      = g_strconcat (set, "\\Services\\Tcpip6\\Parameters\\Interfaces\\", nic->guid, NULL);
  g_autofree char *servers = h2k_hive_get_string (hive, key, "NameServer");
  g_autofree char *name = shown_name (nic);

  if (servers && *servers)
    h2k_repair_warn (
        context,
        "the DNS servers %s that \"%s\" has for IPv6 are not moved to the new adapter: "
        "set them in the VM",
        servers, name);
}

static void
warn_ipv6 (H2kRepairContext *context, H2kHive *hive, const char *set, const H2kWindowsNic *nic)
{
  g_autofree char *key = g_strconcat (set, "\\" IPV6_ADDRESSES, NULL);
  g_autofree char *luid = luid_digits (hive, set, nic), *name = shown_name (nic);
  g_autoptr (GPtrArray) values = luid ? h2k_hive_list_values (hive, key) : NULL;

  for (guint i = 0; values && i < values->len; i++)
    {
      const char *value = ((const H2kRegValue *)values->pdata[i])->name;
      g_autofree char *text = NULL;

      if (strlen (value) < LUID_DIGITS + IPV6_DIGITS
          || g_ascii_strncasecmp (value, luid, LUID_DIGITS) != 0)
        continue;
      text = ipv6_text (value + LUID_DIGITS);
      if (text)
        h2k_repair_warn (context,
                         "the static IPv6 address %s of \"%s\" is not moved to the new adapter: "
                         "set it in the VM",
                         text, name);
    }
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static gboolean
write_data (H2kRepairContext *context, GBytes *settings, GBytes *ghosts, GError **error)
{
  if (!(context->set & H2K_REPAIR_FIRSTBOOT))
    {
      if (settings)
        h2k_repair_warn (context, "the settings of network adapters are not moved, since that is "
                                  "the first-boot service's work, which was not asked for: set "
                                  "them in the VM, or give --first-boot-service");
      return TRUE;
    }
  if (settings
      && !h2k_windows_first_boot_file (context, "data/network.ini", settings, NULL,
                                       "the new network adapters get what the old ones were set "
                                       "to at the first boot",
                                       error))
    return FALSE;
  /* One that could not be removed then is not tried again at each migration. */
  if (!ghosts || (!settings && h2k_windows_first_boot_is_over (context)))
    return TRUE;
  return h2k_windows_first_boot_file (context, "data/ghost-nics.txt", ghosts, NULL,
                                      "adapters that are no more hold names and addresses until "
                                      "they are removed",
                                      error);
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const H2kWindows *w = context->guest->windows;
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  g_autoptr (GPtrArray) cards = NULL;
  g_autoptr (GBytes) settings = NULL, ghosts = NULL;

  if (!hive)
    return FALSE;
  cards = find_cards (hive, w->control_set, w->nics);
  assign_macs (context, cards);
  settings = make_settings (context, cards);
  ghosts = make_ghosts (cards);
  for (guint i = 0; i < cards->len; i++)
    {
      const Card *card = cards->pdata[i];
      if (!card->gone && !card->nic->is_virtio)
        {
          warn_ipv6 (context, hive, w->control_set, card->nic);
          warn_ipv6_dns (context, hive, w->control_set, card->nic);
        }
    }
  h2k_windows_warn_teams (context, hive);
  return write_data (context, settings, ghosts, error);
}

const H2kRepair h2k_repair_windows_network = {
    .name = "windows-network",
    .flag = H2K_REPAIR_NETWORK,
    .why = "Windows keeps addresses by network adapter, and VirtIO's is another one",
    .applies = applies,
    .run = run,
};
