/* host-name.c - a Linux guest gets another name, in every file that its distribution keeps it in.
 *
 * Programs have the name in files of their own, too, where it may mean anything: a mail domain, a
 * key in somebody's database. These are told, not changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/product.h"
#include "repair/edit.h"
#include "repair/hostname.h"
#include "repair/identity.h"

#define MAX_TEXT (1u << 20) /* of what is only looked at */

static const char reason[] = "two hosts of one name cannot be told apart";

/* The whole file is the name; SUSE's is a link to the other one, or what it had before it. */
static const char *const name_files[] = {"/etc/hostname", "/etc/HOSTNAME"};

/* Settings of those that keep it elsewhere: Red Hat's up to 6, Gentoo's, Arch's before systemd. */
static const struct
{
  const char *path, *key;
} settings[] = {
    {"/etc/sysconfig/network", "HOSTNAME="},
    {"/etc/conf.d/hostname", "hostname="},
    {"/etc/rc.conf", "HOSTNAME="},
};

static const char *const mentions[] = {
    "/etc/mailname",
    "/etc/machine-info",
    "/etc/postfix/main.cf",
    "/etc/exim4/update-exim4.conf.conf",
    "/etc/dhcp/dhclient.conf",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/salt/minion_id",
    "/etc/puppet/puppet.conf",
    "/etc/puppetlabs/puppet/puppet.conf",
    "/etc/zabbix/zabbix_agentd.conf",
    "/etc/zabbix/zabbix_agent2.conf",
    "/etc/icinga2/constants.conf",
    "/etc/samba/smb.conf",
    "/etc/snmp/snmpd.conf",
};

/* --- the name --------------------------------------------------------------------------------- */

static gboolean
is_name_line (const char *line)
{
  line += strspn (line, " \t\r");
  return *line && *line != '#';
}

/* FOUND becomes TRUE when the file is there. */
static gboolean
write_name_file (H2kRepairContext *context, const char *path, const char *name, gboolean *found,
                 GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);
  guint i = 0;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!lines)
    return TRUE;
  *found = TRUE;
  while (i < h2k_lines_count (lines) && !is_name_line (h2k_lines_get (lines, i)))
    i++;
  if (i < h2k_lines_count (lines))
    h2k_lines_set (lines, i, name);
  else
    h2k_lines_insert (lines, i, name);
  return h2k_repair_write_lines (context, path, lines, reason, error);
}

static gboolean
write_setting (H2kRepairContext *context, const char *path, const char *key, const char *name,
               gboolean *found, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i), *value;
      g_autofree char *text = NULL;

      if (!g_str_has_prefix (line, key))
        continue;
      value = line + strlen (key);
      value += *value == '"' || *value == '\'';
      text = h2k_splice (line, (gsize)(value - line), strcspn (value, "\"' \t#\r"), name);
      h2k_lines_set (lines, i, text);
      *found = TRUE;
    }
  return !lines || h2k_repair_write_lines (context, path, lines, reason, error);
}

static gboolean
write_name (H2kRepairContext *context, const char *name, GError **error)
{
  g_autofree char *text = g_strconcat (name, "\n", NULL);
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));
  gboolean found = FALSE, is_set = FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (name_files); i++)
    if (!write_name_file (context, name_files[i], name, &found, error))
      return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (settings); i++)
    if (!write_setting (context, settings[i].path, settings[i].key, name, &is_set, error))
      return FALSE;
  if (found || (is_set && context->guest->init != H2K_INIT_SYSTEMD))
    return TRUE;
  return h2k_repair_write (context, name_files[0], data, 0644, reason, error);
}

/* --- /etc/hosts ------------------------------------------------------------------------------- */

static gboolean
is_debian (const H2kGuest *guest)
{
  return g_str_equal (guest->distro, "debian") || strstr (guest->distro_like, "debian");
}

/* Debian's own line for the name of a host that has no fixed address; its programs expect that the
 * name can be looked up. */
static void
add_to_hosts (H2kLines *lines, const char *name)
{
  g_autofree char *line = g_strconcat ("127.0.1.1\t", name, NULL);
  guint i = 0;

  while (i < h2k_lines_count (lines) && !g_str_has_prefix (h2k_lines_get (lines, i), "127.0.0.1"))
    i++;
  h2k_lines_insert (lines, MIN (i + 1, h2k_lines_count (lines)), line);
}

static gboolean
edit_hosts (H2kRepairContext *context, const char *old, const char *name, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, "/etc/hosts", &local);
  gboolean known;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!lines)
    return TRUE;
  known = (old && h2k_hostname_replace_in_hosts (lines, old, name))
          || h2k_hostname_in_hosts (lines, name);
  if (!known && is_debian (context->guest))
    add_to_hosts (lines, name);
  return h2k_repair_write_lines (context, "/etc/hosts", lines,
                                 "the host looks up its own name there", error);
}

/* --- cloud-init ------------------------------------------------------------------------------- */

/* It sets the name that its source of data has for the instance. A clone that still sees that
 * source, as a folder of the guest or a disk, is the same instance for it. */
static gboolean
tell_cloud_init (H2kRepairContext *context, const char *name, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autofree char *text = g_strdup_printf ("preserve_hostname: true\nhostname: %s\n", name);
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

  if (!h2k_tree_is_file (tree, "/etc/cloud/cloud.cfg")
      || h2k_tree_exists (tree, "/etc/cloud/cloud-init.disabled"))
    return TRUE;
  return h2k_repair_write (context, "/etc/cloud/cloud.cfg.d/99-hyper2kvm-hostname.cfg", data, 0644,
                           "cloud-init would set the name that it has for the original", error);
}

/* --- what has the name, too ------------------------------------------------------------------- */

static gboolean
has_name (H2kRepairContext *context, const char *path, const char *name)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, MAX_TEXT, NULL);
  g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    if (is_name_line (h2k_lines_get (lines, i))
        && h2k_hostname_in_text (h2k_lines_get (lines, i), name))
      return TRUE;
  return FALSE;
}

static void
warn_mentions (H2kRepairContext *context, const char *old)
{
  g_autoptr (GString) list = g_string_new (NULL);
  g_autofree char *name = g_strndup (old, strcspn (old, "."));

  for (guint i = 0; i < G_N_ELEMENTS (mentions); i++)
    {
      g_autoptr (GPtrArray) paths = h2k_tree_glob (context->guest->tree, mentions[i]);
      for (guint j = 0; j < MIN (paths->len, 64); j++)
        if (has_name (context, paths->pdata[j], name))
          g_string_append_printf (list, "%s%s", list->len ? ", " : "", (char *)paths->pdata[j]);
    }
  if (list->len)
    h2k_repair_warn (context, "the old name \"%s\" is still in %s: look whether it has to change",
                     name, list->str);
}

/* --- Proxmox VE ------------------------------------------------------------------------------- */

static gboolean
is_proxmox_ve (H2kRepairContext *context)
{
  g_autoptr (H2kProduct) product = h2k_guest_product (context->guest);

  return (product && g_str_equal (product->id, "proxmox-ve"))
         || h2k_tree_is_file (context->guest->tree, "/var/lib/pve-cluster/config.db");
}

/* One that was only made from the clone's name keeps the domain. */
static char *
complete_name (const H2kRepairContext *context)
{
  const char *name = context->options.hostname, *domain = strchr (context->guest->hostname, '.');
  g_autofree char *whole = g_strconcat (name, domain ? domain : "", NULL);

  if (context->options.hostname_made && domain && !strchr (name, '.')
      && !h2k_hostname_problem (whole))
    return g_steal_pointer (&whole);
  return g_strdup (name);
}

char *
h2k_identity_choose_name (H2kRepairContext *context)
{
  const char *old = context->guest->hostname;

  if (!context->options.hostname)
    return NULL;
  if (!is_proxmox_ve (context))
    return complete_name (context);
  h2k_repair_warn (context,
                   "this Proxmox VE keeps its name, %s: its VMs and storage are filed under "
                   "/etc/pve/nodes/%s, and would be out of reach under another name. Do not "
                   "let it see the original's cluster or storage; Proxmox's documentation "
                   "tells how an empty node is renamed",
                   old, old);
  return NULL;
}

gboolean
h2k_identity_host_name (H2kRepairContext *context, const char *name, GError **error)
{
  const char *old = context->guest->hostname;
  gboolean has_old = !h2k_hostname_problem (old) && g_ascii_strcasecmp (old, name) != 0
                     && !g_str_has_prefix (old, "localhost.");

  if (!write_name (context, name, error) || !edit_hosts (context, has_old ? old : NULL, name, error)
      || !tell_cloud_init (context, name, error))
    return FALSE;
  if (has_old)
    warn_mentions (context, old);
  return TRUE;
}
