/* network.c - the network cards keep their names: each name that the guest's configuration uses is
 * tied to the MAC that the domain's card will have, by a systemd.link(5) file, or by a udev rule
 * where udev is too old for those.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/net-config.h"
#include "repair/repairs.h"

#include <ctype.h>

#define MAX_NICS 32

/* --- collecting ------------------------------------------------------------------------------- */

typedef void (*ParseFunc) (GPtrArray *claims, const char *path, GBytes *data);

/* Where each kind of configuration lies. Links that this repair wrote come first: they say what
 * was decided before. */
static const struct
{
  const char *pattern;
  ParseFunc parse;
} sources[] = {
    {"/etc/systemd/network/*.link", h2k_net_parse_link},
    {"/etc/netplan/*.yaml", h2k_net_parse_netplan},
    {"/lib/netplan/*.yaml", h2k_net_parse_netplan},
    {"/etc/systemd/network/*.network", h2k_net_parse_networkd},
    {"/etc/NetworkManager/system-connections/*", h2k_net_parse_keyfile},
    {"/etc/sysconfig/network-scripts/ifcfg-*", h2k_net_parse_ifcfg},
    {"/etc/sysconfig/network/ifcfg-*", h2k_net_parse_ifcfg},
};

static void
parse_matching (H2kTree *tree, GPtrArray *claims, const char *pattern, ParseFunc parse)
{
  g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, pattern);

  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (GBytes) data = h2k_tree_read_optional (tree, paths->pdata[i], 0, NULL);
      if (data)
        parse (claims, paths->pdata[i], data);
    }
}

/* interfaces(5) includes other files, which may include more; each is read once. */
static void
parse_ifupdown (H2kTree *tree, GPtrArray *claims)
{
  g_autoptr (GPtrArray) todo = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  g_ptr_array_add (todo, g_strdup ("/etc/network/interfaces"));
  for (guint i = 0; i < todo->len; i++)
    {
      const char *pattern = todo->pdata[i];
      g_autofree char *absolute
          = *pattern == '/' ? g_strdup (pattern) : g_strconcat ("/etc/network/", pattern, NULL);
      g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, absolute);

      for (guint j = 0; j < paths->len; j++)
        {
          g_autoptr (GBytes) data = NULL;
          if (!g_hash_table_add (seen, g_strdup (paths->pdata[j])))
            continue;
          data = h2k_tree_read_optional (tree, paths->pdata[j], 0, NULL);
          if (data)
            h2k_net_parse_ifupdown (claims, paths->pdata[j], data, todo);
        }
    }
}

static GPtrArray *
collect (H2kTree *tree)
{
  GPtrArray *claims = h2k_net_claims_new ();

  for (guint i = 0; i < G_N_ELEMENTS (sources); i++)
    parse_matching (tree, claims, sources[i].pattern, sources[i].parse);
  parse_ifupdown (tree, claims);
  return claims;
}

/* --- deciding --------------------------------------------------------------------------------- */

/* "ens224" after "ens33" and "eth10" after "eth2": the order in which hypervisors number cards. */
static int
compare_names (gconstpointer a, gconstpointer b)
{
  const char *x = (*(H2kNic *const *)a)->name, *y = (*(H2kNic *const *)b)->name;

  if (!x || !y)
    return !x - !y;
  while (*x && *y)
    {
      if (isdigit ((guchar)*x) && isdigit ((guchar)*y))
        {
          guint64 i = g_ascii_strtoull (x, (char **)&x, 10);
          guint64 j = g_ascii_strtoull (y, (char **)&y, 10);
          if (i != j)
            return i < j ? -1 : 1;
        }
      else if (*x != *y)
        return (guchar)*x - (guchar)*y;
      else
        x++, y++;
    }
  return (guchar)*x - (guchar)*y;
}

static H2kNic *
find_nic (GPtrArray *nics, const char *name, const char *mac)
{
  for (guint i = 0; i < nics->len; i++)
    {
      H2kNic *nic = nics->pdata[i];
      if ((name && g_strcmp0 (nic->name, name) == 0) || (mac && g_strcmp0 (nic->mac, mac) == 0))
        return nic;
    }
  return NULL;
}

/* One card a name or MAC; a claim with both joins the two. */
static void
merge_claims (GPtrArray *claims, GPtrArray *nics)
{
  for (guint i = 0; i < claims->len; i++)
    {
      const H2kNetClaim *claim = claims->pdata[i];
      H2kNic *nic = find_nic (nics, claim->name, claim->mac);

      if (!claim->name && !claim->mac)
        continue;
      if (!nic)
        {
          if (nics->len >= MAX_NICS)
            return;
          nic = g_new0 (H2kNic, 1);
          g_ptr_array_add (nics, nic);
        }
      if (!nic->name)
        nic->name = g_strdup (claim->name);
      if (!nic->mac)
        nic->mac = g_strdup (claim->mac);
    }
}

static const char *
seed (H2kGuest *guest)
{
  return *guest->machine_id ? guest->machine_id : guest->root->id.uuid;
}

/* Replace OLD by NEW, whatever its case, in the file that names it. */
static gboolean
replace_mac (H2kRepairContext *context, const char *path, const char *old, const char *new,
             GError **error)
{
  g_autoptr (GBytes) before = h2k_tree_read (context->guest->tree, path, 0, error);
  g_autofree char *pattern = g_strdup (old);
  g_autoptr (GRegex) regex = NULL;
  g_autofree char *after = NULL;

  if (!before)
    return FALSE;
  for (char *p = pattern; *p; p++)
    if (*p == ':')
      *p = '.';
  regex = g_regex_new (pattern, G_REGEX_CASELESS | G_REGEX_RAW, 0, error);
  if (!regex)
    return FALSE;
  after = g_regex_replace_literal (regex, g_bytes_get_data (before, NULL),
                                   (gssize)g_bytes_get_size (before), 0, new, 0, error);
  if (!after)
    return FALSE;
  g_autoptr (GBytes) data = g_bytes_new (after, strlen (after));
  return h2k_repair_write (context, path, data, 0644,
                           "the VM's card has the MAC that was asked for", error);
}

/* The MACs that the user or the source's metadata gave come first, then those of a seed, then the
 * configuration's own, then one made from the guest's identity, the same each time. */
static gboolean
assign_macs (H2kRepairContext *context, GPtrArray *claims, GPtrArray *nics, GError **error)
{
  for (guint i = 0; i < nics->len; i++)
    {
      H2kNic *nic = nics->pdata[i];
      const char *mac_seed = context->options.mac_seed;
      g_autofree char *new = mac_seed ? h2k_mac_from_seed (mac_seed, i) : NULL;
      const char *given = i < context->macs->len ? context->macs->pdata[i] : new;

      if (!given)
        {
          if (!nic->mac)
            nic->mac = h2k_mac_from_seed (seed (context->guest), i);
          continue;
        }
      for (guint j = 0; nic->mac && j < claims->len; j++)
        {
          const H2kNetClaim *claim = claims->pdata[j];
          if (g_strcmp0 (claim->mac, nic->mac) == 0 && !g_str_equal (claim->mac, given)
              && !replace_mac (context, claim->path, claim->mac, given, error))
            return FALSE;
        }
      g_free (nic->mac);
      nic->mac = g_strdup (given);
    }
  return TRUE;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* systemd's udev reads .link files where this rule is installed. */
static gboolean
reads_link_files (H2kTree *tree)
{
  return h2k_tree_exists (tree, "/usr/lib/udev/rules.d/80-net-setup-link.rules")
         || h2k_tree_exists (tree, "/lib/udev/rules.d/80-net-setup-link.rules");
}

static gboolean
write_link (H2kRepairContext *context, const H2kNic *nic, GError **error)
{
  g_autofree char *path = g_strdup_printf ("/etc/systemd/network/10-hyper2kvm-%s.link", nic->name);
  g_autofree char *reason
      = g_strdup_printf ("the configuration names %s, which a virtio card would not be called",
                         nic->name);
  g_autofree char *text = g_strdup_printf (
      "# Written by hyper2kvm: the network card keeps the name that this system's configuration\n"
      "# uses. Only real cards have a path, not the VLANs, bonds and bridges with the same MAC.\n"
      "[Match]\nMACAddress=%s\nPath=*\n\n[Link]\nName=%s\n",
      nic->mac, nic->name);
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

  return h2k_repair_write (context, path, data, 0644, reason, error);
}

/* The number keeps it before the rules that would write a new persistent name. */
static gboolean
write_rules (H2kRepairContext *context, GPtrArray *nics, GError **error)
{
  g_autoptr (GString) text
      = g_string_new ("# Written by hyper2kvm: the network cards keep the names that this system's "
                      "configuration uses.\n");
  g_autoptr (GBytes) data = NULL;

  for (guint i = 0; i < nics->len; i++)
    {
      const H2kNic *nic = nics->pdata[i];
      if (nic->name)
        g_string_append_printf (text,
                                "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", "
                                "ATTR{address}==\"%s\", ATTR{type}==\"1\", NAME=\"%s\"\n",
                                nic->mac, nic->name);
    }
  data = g_bytes_new (text->str, text->len);
  return h2k_repair_write (context, "/etc/udev/rules.d/70-hyper2kvm-net.rules", data, 0644,
                           "the configuration names cards that virtio ones would not be called",
                           error);
}

static gboolean
any_name (GPtrArray *nics)
{
  for (guint i = 0; i < nics->len; i++)
    if (((H2kNic *)nics->pdata[i])->name)
      return TRUE;
  return FALSE;
}

static gboolean
tie_names (H2kRepairContext *context, GPtrArray *nics, GError **error)
{
  if (!any_name (nics))
    return TRUE;
  if (!reads_link_files (context->guest->tree))
    return write_rules (context, nics, error);
  for (guint i = 0; i < nics->len; i++)
    {
      const H2kNic *nic = nics->pdata[i];
      if (nic->name && !write_link (context, nic, error))
        return FALSE;
    }
  return TRUE;
}

/* Files that choose cards by the hypervisor's driver would choose none any more. */
static gboolean
replace_driver (H2kRepairContext *context, const H2kNetClaim *claim, GError **error)
{
  g_autoptr (GBytes) before = h2k_tree_read (context->guest->tree, claim->path, 0, error);
  g_autoptr (H2kLines) lines = NULL;
  g_autoptr (GBytes) after = NULL;
  g_autoptr (GRegex) regex = NULL;

  if (!before)
    return FALSE;
  regex = g_regex_new ("^(\\s*(?:Driver\\s*=|driver\\s*:)\\s*[\"']?)"
                       "(?:vmxnet3?|e1000e?|pcnet32|vmxnet2|hv_netvsc|ena|xen-netfront|vif)"
                       "([\"']?\\s*(?:#.*)?)$",
                       G_REGEX_RAW, 0, error);
  if (!regex)
    return FALSE;
  lines = h2k_lines_new (before);
  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autofree char *new = g_regex_replace (regex, line, -1, 0, "\\1virtio_net\\2", 0, error);
      if (!new)
        return FALSE;
      if (!g_str_equal (new, line))
        h2k_lines_set (lines, i, new);
    }
  after = h2k_lines_to_bytes (lines);
  return h2k_repair_write (context, claim->path, after, 0644,
                           "the VM's cards are driven by virtio_net", error);
}

static gboolean
repair_matches (H2kRepairContext *context, GPtrArray *claims, GError **error)
{
  for (guint i = 0; i < claims->len; i++)
    {
      const H2kNetClaim *claim = claims->pdata[i];
      if (claim->driver && !replace_driver (context, claim, error))
        return FALSE;
      if (claim->bus)
        h2k_repair_warn (context,
                         "%s chooses its network card by the path %s, where the VM may have none: "
                         "match by Name= or MACAddress= instead",
                         claim->path, claim->bus);
    }
  return TRUE;
}

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  g_autoptr (GPtrArray) claims = collect (context->guest->tree);

  merge_claims (claims, context->nics);
  g_ptr_array_sort (context->nics, compare_names);
  return assign_macs (context, claims, context->nics, error)
         && tie_names (context, context->nics, error) && repair_matches (context, claims, error);
}

const H2kRepair h2k_repair_network = {
    .name = "network",
    .flag = H2K_REPAIR_NETWORK,
    .why = "interface names come from the card's slot and driver, which change; the configuration "
           "goes by the name",
    .applies = applies,
    .run = run,
};
