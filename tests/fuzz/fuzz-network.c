/* fuzz-network.c - the parsers of network configuration: any bytes are survived, and what comes out
 * are names and MACs that can be written into other files.
 *
 * The first byte chooses the parser.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/net-config.h"

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static void
parse (GPtrArray *claims, guint8 kind, GBytes *bytes)
{
  g_autoptr (GPtrArray) includes = g_ptr_array_new_with_free_func (g_free);

  switch (kind % 6)
    {
    case 0:
      h2k_net_parse_ifupdown (claims, "/etc/network/interfaces", bytes, includes);
      break;
    case 1:
      h2k_net_parse_netplan (claims, "/etc/netplan/01.yaml", bytes);
      break;
    case 2:
      h2k_net_parse_networkd (claims, "/etc/systemd/network/10.network", bytes);
      break;
    case 3:
      h2k_net_parse_link (claims, "/etc/systemd/network/10.link", bytes);
      break;
    case 4:
      h2k_net_parse_keyfile (claims, "/etc/NetworkManager/system-connections/a", bytes);
      break;
    default:
      h2k_net_parse_ifcfg (claims, "/etc/sysconfig/network-scripts/ifcfg-eth0", bytes);
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  g_autoptr (GPtrArray) claims = h2k_net_claims_new ();
  g_autoptr (GBytes) bytes = NULL;

  if (size == 0)
    return 0;
  bytes = g_bytes_new (data + 1, size - 1);
  parse (claims, data[0], bytes);
  for (guint i = 0; i < claims->len; i++)
    {
      const H2kNetClaim *claim = claims->pdata[i];
      g_assert_true (!claim->name || strlen (claim->name) <= 15
                     || g_str_has_prefix (claim->name, "e"));
      g_assert_true (!claim->name || !strpbrk (claim->name, "/ \t\n\"'=[]*"));
      g_assert_true (!claim->mac || strlen (claim->mac) == 17);
    }
  return 0;
}
