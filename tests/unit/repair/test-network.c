/* test-network.c - which cards a network configuration is about.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/net-config.h"

typedef void (*ParseFunc) (GPtrArray *claims, const char *path, GBytes *data);

/* "name/mac/driver" of each claim, '-' for what is not said, joined by spaces. */
static char *
summary (GPtrArray *claims)
{
  GString *out = g_string_new (NULL);

  for (guint i = 0; i < claims->len; i++)
    {
      const H2kNetClaim *claim = claims->pdata[i];
      g_string_append_printf (out, "%s%s/%s/%s", i ? " " : "", claim->name ? claim->name : "-",
                              claim->mac ? claim->mac : "-", claim->driver ? claim->driver : "-");
    }
  return g_string_free (out, FALSE);
}

static void
parse_ifupdown (GPtrArray *claims, const char *path, GBytes *data)
{
  g_autoptr (GPtrArray) includes = g_ptr_array_new_with_free_func (g_free);

  h2k_net_parse_ifupdown (claims, path, data, includes);
}

static const struct
{
  const char *name;
  ParseFunc parse;
  const char *path, *text, *expected;
} cases[] = {
    {"ifupdown/dhcp", parse_ifupdown, "/etc/network/interfaces",
     "auto lo ens192\niface lo inet loopback\niface ens192 inet dhcp\n", "ens192/-/-"},
    {"ifupdown/alias-and-vlan", parse_ifupdown, "/etc/network/interfaces",
     "iface eth0 inet static\n address 1.2.3.4/24\niface eth0:1 inet static\n"
     "iface eth1.20 inet manual\n",
     "eth0/-/- eth0/-/- eth1/-/-"},
    {"ifupdown/bridge", parse_ifupdown, "/etc/network/interfaces",
     "iface vmbr0 inet static\n\tbridge-ports ens192 ens224\n", "ens192/-/- ens224/-/-"},
    {"ifupdown/bond-continued", parse_ifupdown, "/etc/network/interfaces",
     "iface bond0 inet manual\n  bond-slaves \\\n  eth0 eth1\n  bond-mode 1\n",
     "eth0/-/- eth1/-/-"},
    {"ifupdown/mapping", parse_ifupdown, "/etc/network/interfaces",
     "auto eth0 lan0\nmapping eth0\n\tscript /bin/choose\n\tmap HOME eth0-home\n"
     "iface eth0-home inet dhcp\niface lan0 inet dhcp\n",
     "lan0/-/-"},
    {"ifupdown/comment", parse_ifupdown, "/etc/network/interfaces",
     "# iface eth0 inet dhcp\n  #iface eth1 inet dhcp\n", ""},
    {"netplan/name", h2k_net_parse_netplan, "/etc/netplan/a.yaml",
     "network:\n  version: 2\n  ethernets:\n    ens192:\n      dhcp4: true\n      nameservers:\n"
     "        addresses: [1.1.1.1]\n    ens224: {dhcp4: false}\n",
     "ens192/-/- ens224/-/-"},
    {"netplan/cloud-init", h2k_net_parse_netplan, "/etc/netplan/50-cloud-init.yaml",
     "network:\n  ethernets:\n    id0:\n      match:\n        macaddress: 00:50:56:AA:BB:CC\n"
     "      set-name: ens192\n",
     "ens192/00:50:56:aa:bb:cc/-"},
    {"netplan/pattern", h2k_net_parse_netplan, "/etc/netplan/a.yaml",
     "network: {ethernets: {all: {match: {name: 'en*'}, dhcp4: true}}}", ""},
    {"netplan/driver", h2k_net_parse_netplan, "/etc/netplan/a.yaml",
     "network:\n  ethernets:\n    all:\n      match: {driver: vmxnet3}\n", "-/-/vmxnet3"},
    {"netplan/bridges-are-none", h2k_net_parse_netplan, "/etc/netplan/a.yaml",
     "network:\n  bridges:\n    br0:\n      interfaces: [eth0]\n  vlans:\n    v5: {id: 5, link: "
     "eth0}\n",
     ""},
    {"netplan/broken", h2k_net_parse_netplan, "/etc/netplan/a.yaml", "network: [\n  ethernets: {",
     ""},
    {"networkd/name", h2k_net_parse_networkd, "/etc/systemd/network/a.network",
     "[Match]\nName=ens192\n\n[Network]\nDHCP=yes\n", "ens192/-/-"},
    {"networkd/patterns", h2k_net_parse_networkd, "/etc/systemd/network/a.network",
     "[Match]\nName=en* !ens1 eth0\n", "eth0/-/-"},
    {"networkd/mac", h2k_net_parse_networkd, "/etc/systemd/network/a.network",
     "[Match]\nMACAddress=00-50-56-aa-bb-cc\n[Network]\nName=eth5\n", "-/00:50:56:aa:bb:cc/-"},
    {"networkd/driver", h2k_net_parse_networkd, "/etc/systemd/network/a.network",
     "[Match]\nDriver=vmxnet3\n", "-/-/vmxnet3"},
    {"link", h2k_net_parse_link, "/etc/systemd/network/a.link",
     "[Match]\nMACAddress=52:54:00:01:02:03\nPath=*\n\n[Link]\nName=ens192\n",
     "ens192/52:54:00:01:02:03/-"},
    {"link/default", h2k_net_parse_link, "/etc/systemd/network/99-default.link",
     "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep\n", ""},
    {"keyfile", h2k_net_parse_keyfile, "/etc/NetworkManager/system-connections/a.nmconnection",
     "[connection]\nid=a\ntype=ethernet\ninterface-name=ens192\n", "ens192/-/-"},
    {"keyfile/mac", h2k_net_parse_keyfile, "/etc/NetworkManager/system-connections/a",
     "[connection]\ntype=802-3-ethernet\n[802-3-ethernet]\nmac-address=00:0C:29:11:22:33\n",
     "-/00:0c:29:11:22:33/-"},
    {"keyfile/bridge", h2k_net_parse_keyfile, "/etc/NetworkManager/system-connections/a",
     "[connection]\ntype=bridge\ninterface-name=br0\n", ""},
    {"ifcfg/rhel", h2k_net_parse_ifcfg, "/etc/sysconfig/network-scripts/ifcfg-ens192",
     "TYPE=\"Ethernet\"\nDEVICE=\"ens192\"\nHWADDR='00:0C:29:11:22:33'\n",
     "ens192/00:0c:29:11:22:33/-"},
    {"ifcfg/suse", h2k_net_parse_ifcfg, "/etc/sysconfig/network/ifcfg-eth0",
     "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n", "eth0/-/-"},
    {"ifcfg/bridge", h2k_net_parse_ifcfg, "/etc/sysconfig/network-scripts/ifcfg-br0",
     "DEVICE=br0\nTYPE=Bridge\n", ""},
    {"ifcfg/loopback", h2k_net_parse_ifcfg, "/etc/sysconfig/network-scripts/ifcfg-lo",
     "DEVICE=lo\n", ""},
    {"ifcfg/backup", h2k_net_parse_ifcfg, "/etc/sysconfig/network-scripts/ifcfg-eth0.rpmsave",
     "DEVICE=eth0\n", ""},
};

static void
test_case (gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data);
  g_autoptr (GPtrArray) claims = h2k_net_claims_new ();
  g_autoptr (GBytes) bytes = g_bytes_new (cases[i].text, strlen (cases[i].text));
  g_autofree char *got = NULL;

  cases[i].parse (claims, cases[i].path, bytes);
  got = summary (claims);
  g_assert_cmpstr (got, ==, cases[i].expected);
}

/* Each real sample is survived; the ones that name a card are found to. */
static void
test_samples (void)
{
  static const struct
  {
    const char *path, *guest_path, *expected;
    ParseFunc parse;
  } samples[] = {
      {"net/netplan/examples/dhcp.yaml", "/etc/netplan/a.yaml", "enp3s0/-/-",
       h2k_net_parse_netplan},
      {"net/augeas/tests/root/etc/sysconfig/network-scripts/ifcfg-eth0",
       "/etc/sysconfig/network-scripts/ifcfg-eth0", "eth0/-/-", h2k_net_parse_ifcfg},
      {"net/augeas/tests/root/etc/sysconfig/network-scripts/ifcfg-br0",
       "/etc/sysconfig/network-scripts/ifcfg-br0", "", h2k_net_parse_ifcfg},
      {"net/augeas/tests/root/etc/network/interfaces", "/etc/network/interfaces", NULL,
       parse_ifupdown},
  };
  const char *dir = g_getenv ("H2K_TESTDATA");

  if (!dir)
    {
      g_test_skip ("H2K_TESTDATA does not name the real samples");
      return;
    }
  for (guint i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *path = g_build_filename (dir, samples[i].path, NULL);
      g_autoptr (GPtrArray) claims = h2k_net_claims_new ();
      g_autofree char *text = NULL, *got = NULL;
      gsize size;

      g_assert_true (g_file_get_contents (path, &text, &size, NULL));
      g_autoptr (GBytes) bytes = g_bytes_new (text, size);
      samples[i].parse (claims, samples[i].guest_path, bytes);
      got = summary (claims);
      g_test_message ("%s: %s", samples[i].path, got);
      if (samples[i].expected)
        g_assert_cmpstr (got, ==, samples[i].expected);
      else
        g_assert_cmpuint (claims->len, >, 0);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strconcat ("/network/", cases[i].name, NULL);
      g_test_add_data_func (name, GUINT_TO_POINTER (i), test_case);
    }
  g_test_add_func ("/network/samples", test_samples);
  return g_test_run ();
}
