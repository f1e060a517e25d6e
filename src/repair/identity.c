/* identity.c - a guest that is to run beside the one that it is a copy of gets an identity of its
 * own: what tells hosts of one network apart, and what no two hosts may share.
 *
 * The machine's id is a new one, not an empty file: that would be filled at boot, but from D-Bus'
 * copy, or not kept where /etc is read-only then; and "uninitialized", or no file, would be a first
 * boot for systemd (machine-id(5)), which presets all units anew and asks questions. An id that
 * is missing stays so.
 *
 * What stays: UUIDs of filesystems and volumes, since each VM sees its own disks alone;
 * systemd's credential.secret, without which encrypted credentials are lost; /etc/hostid, to which
 * ZFS pools are tied; cloud-init's instance, which is what its source of data says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/identity.h"
#include "repair/edit.h"
#include "repair/repairs.h"

#define ID_DIGITS 32
#define MAX_ID 4096u

/* What is made anew when it is missing. */
static const struct
{
  const char *pattern, *reason;
  gboolean secret;
} removed[] = {
#define SEED "two systems that start from one seed have the same random numbers"
#define LEASE "the lease and the client's id in it are the original's"
    {"/var/lib/systemd/random-seed", SEED, TRUE},
    {"/var/lib/random-seed", SEED, TRUE},
    {"/var/lib/urandom/random-seed", SEED, TRUE},
    {"/var/lib/misc/random-seed", SEED, TRUE},
    {"/var/lib/seedrng/seed.*", SEED, TRUE},
    {"/var/lib/NetworkManager/secret_key", "IPv6 addresses and DHCP's ids are made from it", TRUE},
    {"/var/lib/NetworkManager/*.lease", LEASE, FALSE},
    {"/var/lib/dhcp/dhclient*.lease*", LEASE, FALSE},
    {"/var/lib/dhcp3/dhclient*.lease*", LEASE, FALSE},
    {"/var/lib/dhclient/dhclient*.lease*", LEASE, FALSE},
    {"/var/lib/dhcpcd/*.lease*", LEASE, FALSE},
    {"/var/lib/dhcpcd/duid", LEASE, FALSE},
    {"/var/lib/dhcpcd/secret", "IPv6 addresses are made from it", TRUE},
    {"/etc/dhcpcd.duid", LEASE, FALSE},
    {"/etc/dhcpcd.secret", "IPv6 addresses are made from it", TRUE},
    {"/var/lib/wicked/*.xml", LEASE, FALSE},
};

/* Identities that belong to somebody else's books. */
static const struct
{
  const char *path, *what, *advice;
} shared[] = {
    {"/etc/corosync/corosync.conf", "node of a cluster (Corosync)",
     "keep it away from the cluster's network, or take it out of the cluster"},
    {"/etc/kubernetes/kubelet.conf", "node of a Kubernetes cluster",
     "keep it away from the cluster, or reset it with `kubeadm reset`"},
    {"/var/lib/rancher/k3s/agent", "node of a k3s cluster", "keep it away from the cluster"},
    {"/var/lib/etcd/member", "member of an etcd cluster", "keep it away from the cluster"},
    {"/var/lib/docker/swarm/docker-state.json", "node of a Docker swarm",
     "keep it away from the swarm, or `docker swarm leave --force` there"},
    {"/var/lib/ceph/osd", "part of a Ceph cluster", "keep it away from the cluster"},
    {"/etc/krb5.keytab", "Kerberos principal, perhaps a member of a domain",
     "join the domain anew: one of the two loses its place when the key changes"},
    {"/var/lib/samba/private/secrets.tdb", "Samba server, perhaps a member of a domain",
     "join the domain anew"},
    {"/etc/salt/pki/minion/minion.pem", "Salt minion",
     "remove /etc/salt/pki/minion and minion_id there"},
    {"/etc/puppetlabs/puppet/ssl/private_keys", "Puppet agent", "`puppet ssl clean` there"},
    {"/var/lib/puppet/ssl/private_keys", "Puppet agent", "remove /var/lib/puppet/ssl there"},
    {"/etc/pki/consumer/cert.pem", "subscribed system for Red Hat",
     "`subscription-manager clean` and register there"},
    {"/var/lib/ubuntu-advantage/private/machine-token.json", "machine of an Ubuntu Pro contract",
     "`pro detach` there and attach it anew"},
    {"/etc/landscape/client.conf", "Landscape client", "register it anew"},
    {"/var/lib/tailscale/tailscaled.state", "node of a tailnet", "`tailscale logout` there"},
    {"/etc/wireguard/wg0.conf", "WireGuard peer", "give it a key pair of its own"},
    {"/var/lib/mysql/auto.cnf", "MySQL server in replication",
     "remove auto.cnf there if it replicates"},
    {"/etc/dropbear/initramfs", "SSH server in its initramfs (Dropbear)",
     "make new keys there and run update-initramfs"},
    {"/etc/dropbear-initramfs", "SSH server in its initramfs (Dropbear)",
     "make new keys there and run update-initramfs"},
};

gboolean
h2k_identity_remove_secret (H2kRepairContext *context, const char *path, const char *reason,
                            GError **error)
{
  guint changes = context->changes->len;
  H2kChange *change;

  if (!h2k_repair_remove (context, path, reason, error))
    return FALSE;
  if (context->changes->len == changes)
    return TRUE;
  change = context->changes->pdata[changes];
  g_clear_pointer (&change->before, g_bytes_unref);
  if (!change->summary)
    change->summary = g_strdup ("its content is secret and not shown");
  return TRUE;
}

static gboolean
remove_files (H2kRepairContext *context, GError **error)
{
  H2kTree *tree = context->guest->tree;

  for (guint i = 0; i < G_N_ELEMENTS (removed); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (tree, removed[i].pattern);
      for (guint j = 0; j < paths->len; j++)
        {
          const char *path = paths->pdata[j];
          gboolean ok = TRUE;

          if (!h2k_tree_is_file (tree, path) && !h2k_tree_is_link (tree, path))
            continue;
          if (removed[i].secret)
            ok = h2k_identity_remove_secret (context, path, removed[i].reason, error);
          else
            ok = h2k_repair_remove (context, path, removed[i].reason, error);
          if (!ok)
            return FALSE;
        }
    }
  return TRUE;
}

/* --- the machine's id ------------------------------------------------------------------------- */

/* The id in the file; NULL without an error: it has none. */
static char *
read_id (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GBytes) data = NULL;
  gsize length = 0;
  const char *text;

  if (!h2k_tree_is_file (tree, path) || !(data = h2k_tree_read (tree, path, MAX_ID, error)))
    return NULL;
  text = g_bytes_get_data (data, &length);
  for (gsize i = 0; i < ID_DIGITS; i++)
    if (i >= length || !g_ascii_isxdigit (text[i]))
      return NULL;
  if (length > ID_DIGITS && text[ID_DIGITS] != '\n')
    return NULL;
  return g_ascii_strdown (text, ID_DIGITS);
}

/* Boot entries that are named by the id: kernels that are installed later have others. */
static void
warn_entries (H2kRepairContext *context, const char *id)
{
  static const char *const dirs[]
      = {"/boot/loader/entries", "/efi/loader/entries", "/boot/efi/loader/entries"};

  for (guint i = 0; i < G_N_ELEMENTS (dirs); i++)
    {
      g_autofree char *pattern = g_strdup_printf ("%s/%s-*.conf", dirs[i], id);
      g_autoptr (GPtrArray) found = h2k_tree_glob (context->guest->tree, pattern);

      if (found->len)
        h2k_repair_warn (context,
                         "boot entries such as %s are named by the old machine id and stay: they "
                         "start, but are not removed with their kernels; remove them by hand then",
                         (char *)found->pdata[0]);
    }
}

static gboolean
renew_machine_id (H2kRepairContext *context, GError **error)
{
  static const char *const files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};
  H2kTree *tree = context->guest->tree;
  g_autofree char *uuid = g_uuid_string_random ();
  g_auto (GStrv) parts = g_strsplit (uuid, "-", -1);
  g_autofree char *id = g_strjoinv ("", parts);
  g_autofree char *text = g_strconcat (id, "\n", NULL);
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autoptr (GError) local = NULL;
      g_autofree char *old = read_id (tree, files[i], &local);

      if (local)
        {
          g_propagate_error (error, g_steal_pointer (&local));
          return FALSE;
        }
      /* D-Bus' may be a link to the other one. */
      if (!old || strcmp (old, id) == 0)
        continue;
      if (!h2k_repair_write (context, files[i], data, 0444,
                             "journals, DHCP and D-Bus tell machines by it", error))
        return FALSE;
      if (i == 0)
        warn_entries (context, old);
    }
  return TRUE;
}

/* --- storage ---------------------------------------------------------------------------------- */

static gboolean
renew_initiator (H2kRepairContext *context, GError **error)
{
  static const char path[] = "/etc/iscsi/initiatorname.iscsi", key[] = "InitiatorName=";
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);
  g_autofree char *uuid = g_uuid_string_random ();
  gboolean changed = FALSE;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i), *value = line + strlen (key), *colon;
      g_autofree char *new = NULL;

      if (!g_str_has_prefix (line, key) || !*value)
        continue;
      colon = strrchr (value, ':');
      /* The last group of a UUID is 48 random bits, as many as iscsi-iname's name has. */
      new = g_strdup_printf ("%.*s:%s",
                             (int)(colon ? colon - line : (gssize)strcspn (line, " \t\r")), line,
                             strrchr (uuid, '-') + 1);
      h2k_lines_set (lines, i, new);
      changed = TRUE;
    }
  if (!changed)
    return TRUE;
  h2k_repair_warn (context, "the iSCSI initiator has a new name: targets that admit initiators by "
                            "their names have to be told it");
  return h2k_repair_write_lines (context, path, lines,
                                 "a target takes two initiators of one name for one", error);
}

static gboolean
renew_nvme (H2kRepairContext *context, GError **error)
{
  static const struct
  {
    const char *path, *prefix;
  } files[] = {{"/etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:"}, {"/etc/nvme/hostid", ""}};
  g_autofree char *uuid = g_uuid_string_random ();

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autofree char *text = g_strconcat (files[i].prefix, uuid, "\n", NULL);
      g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

      if (h2k_tree_is_file (context->guest->tree, files[i].path)
          && !h2k_repair_write (context, files[i].path, data, 0644,
                                "an NVMe target takes two hosts of one id for one", error))
        return FALSE;
    }
  return TRUE;
}

/* --- the repair ------------------------------------------------------------------------------- */

static void
warn_shared (H2kRepairContext *context)
{
  for (guint i = 0; i < G_N_ELEMENTS (shared); i++)
    if (h2k_tree_exists (context->guest->tree, shared[i].path))
      h2k_repair_warn (context, "%s: this is still the same %s as the original: %s", shared[i].path,
                       shared[i].what, shared[i].advice);
}

static gboolean
applies (H2kRepairContext *context)
{
  return context->options.new_ids || context->options.hostname;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  g_autofree char *hostname = h2k_identity_choose_name (context);

  if (context->options.new_ids)
    {
      if (!renew_machine_id (context, error) || !remove_files (context, error)
          || !renew_initiator (context, error) || !renew_nvme (context, error)
          || !h2k_identity_host_keys (context, hostname, error))
        return FALSE;
      warn_shared (context);
    }
  return !hostname || h2k_identity_host_name (context, hostname, error);
}

const H2kRepair h2k_repair_identity = {
    .name = "identity",
    .flag = H2K_REPAIR_IDENTITY,
    .why = "two systems with one identity cannot run side by side on one network",
    .applies = applies,
    .run = run,
};
