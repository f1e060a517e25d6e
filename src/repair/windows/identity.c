/* identity.c - a Windows gets another computer name.
 *
 * Its name is in the registry twice, for NetBIOS (at most 15 characters, upper case) and for DNS,
 * and Windows takes both from there when it starts. The rest of its identity is not changed here:
 * the machine's SID is part of accounts, of the rights to files and of profiles, which sysprep
 * alone replaces; MachineGuid is what licences of programs are tied to, and no network sees it;
 * what a domain knows of a computer is a secret that both know.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/hostname.h"
#include "repair/repairs.h"
#include "repair/windows/session.h"

#define MAX_NETBIOS 15
#define SERVICE_AUTO_START 2

static const char reason[] = "two computers of one name cannot be on one network";

static gboolean
applies (H2kRepairContext *context)
{
  return context->options.new_ids || context->options.hostname;
}

/* --- what it is ------------------------------------------------------------------------------- */

static gboolean
is_domain_controller (H2kHive *hive, const char *set)
{
  g_autofree char *key = g_strconcat (set, "\\Control\\ProductOptions", NULL);
  g_autofree char *type = h2k_hive_get_string (hive, key, "ProductType");

  return type && g_ascii_strcasecmp (type, "LanmanNT") == 0;
}

/* The DNS name of the domain that it is a member of; NULL: none. Netlogon starts by itself on
 * members alone; a computer may have a DNS suffix without being one. The caller's. */
static char *
domain_of (H2kHive *hive, const char *set)
{
  g_autofree char *netlogon = g_strconcat (set, "\\Services\\Netlogon", NULL);
  g_autofree char *tcpip = g_strconcat (set, "\\Services\\Tcpip\\Parameters", NULL);
  g_autofree char *domain = h2k_hive_get_string (hive, tcpip, "NV Domain");
  guint32 start = 0;

  if (!domain)
    domain = h2k_hive_get_string (hive, tcpip, "Domain");
  if (!h2k_hive_get_dword (hive, netlogon, "Start", &start) || start != SERVICE_AUTO_START
      || !domain || !*domain)
    return NULL;
  return g_steal_pointer (&domain);
}

static void
warn_sid (H2kRepairContext *context, gboolean is_controller, const char *domain)
{
  if (is_controller)
    h2k_repair_warn (context, "this is a domain controller: a second copy of it damages the "
                              "directory. Never let it reach the domain's network");
  else if (domain)
    h2k_repair_warn (
        context,
        "this is a member of the domain %s, and shares its machine account with the "
        "original: one of the two loses the domain's trust when the password changes. "
        "Join it to the domain anew under a name of its own, or keep it away from there",
        domain);
  h2k_repair_warn (context,
                   "the machine's SID and MachineGuid are the original's, since they cannot "
                   "be changed offline: run sysprep /generalize in the VM where that "
                   "matters (domains, WSUS, management)");
}

/* --- the name --------------------------------------------------------------------------------- */

static gboolean
is_number (const char *text)
{
  return text[strspn (text, "0123456789")] == '\0';
}

/* The first part of the name that was asked for, which is all that a computer name has. */
static char *
choose_name (H2kRepairContext *context, GError **error)
{
  const char *wanted = context->options.hostname;
  g_autofree char *name = g_strndup (wanted, strcspn (wanted, "."));

  if (strchr (wanted, '.'))
    h2k_repair_warn (context,
                     "of the name %s, %s becomes the computer's name; set its DNS suffix "
                     "in the VM",
                     wanted, name);
  if (!is_number (name))
    return g_steal_pointer (&name);
  if (context->options.hostname_made)
    return g_strconcat ("VM-", name, NULL);
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "%s: Windows takes no computer name that consists of digits alone: give another "
               "--hostname",
               name);
  return NULL;
}

static gboolean
set_text (H2kRepairContext *context, const char *set, const char *key, const char *value,
          const char *text, GError **error)
{
  g_autofree char *path = g_strconcat (set, key, NULL);

  return h2k_windows_set (context, H2K_HIVE_SYSTEM, path, h2k_reg_string (value, H2K_REG_SZ, text),
                          reason, error);
}

static gboolean
rename_in (H2kRepairContext *context, H2kHive *hive, const char *set, const char *name,
           const char *netbios, GError **error)
{
  static const char active[] = "\\Control\\ComputerName\\ActiveComputerName";
  g_autofree char *active_key = g_strconcat (set, active, NULL);

  /* Windows makes this one when it starts; where it was kept it is the last one. */
  if (h2k_hive_has_key (hive, active_key)
      && !set_text (context, set, active, "ComputerName", netbios, error))
    return FALSE;
  return set_text (context, set, "\\Control\\ComputerName\\ComputerName", "ComputerName", netbios,
                   error)
         && set_text (context, set, "\\Services\\Tcpip\\Parameters", "NV Hostname", name, error)
         && set_text (context, set, "\\Services\\Tcpip\\Parameters", "Hostname", name, error);
}

static gboolean
rename_computer (H2kRepairContext *context, H2kHive *hive, GError **error)
{
  const H2kWindows *w = context->guest->windows;
  g_autofree char *name = choose_name (context, error);
  g_autofree char *netbios = name ? g_ascii_strup (name, -1) : NULL;

  if (!name)
    return FALSE;
  if (strlen (netbios) > MAX_NETBIOS)
    {
      netbios[MAX_NETBIOS] = '\0';
      while (g_str_has_suffix (netbios, "-"))
        netbios[strlen (netbios) - 1] = '\0';
      h2k_repair_warn (context,
                       "%s is longer than the 15 characters of a NetBIOS name, which is "
                       "%s",
                       name, netbios);
    }
  if (w->hostname && g_ascii_strcasecmp (w->hostname, netbios) == 0)
    h2k_repair_warn (context,
                     "the computer's NetBIOS name stays %s: give another --hostname if "
                     "the original is on the same network",
                     netbios);
  for (guint i = 0; i < w->control_sets->len; i++)
    if (!rename_in (context, hive, w->control_sets->pdata[i], name, netbios, error))
      return FALSE;
  return TRUE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const char *set = context->guest->windows->control_set;
  H2kHive *hive = h2k_windows_hive (context, H2K_HIVE_SYSTEM, error);
  gboolean is_controller = hive && is_domain_controller (hive, set);
  g_autofree char *domain = hive ? domain_of (hive, set) : NULL;

  if (!hive)
    return FALSE;
  warn_sid (context, is_controller, domain);
  if (!context->options.hostname)
    return TRUE;
  /* A name that nobody asked for is not worth what would break. */
  if (!is_controller && !(domain && context->options.hostname_made))
    return rename_computer (context, hive, error);
  h2k_repair_warn (context, "the computer keeps its name, %s, since %s",
                   context->guest->windows->hostname,
                   is_controller ? "a domain controller is found by it"
                                 : "the domain knows it by that; --hostname changes it");
  return TRUE;
}

const H2kRepair h2k_repair_windows_identity = {
    .name = "windows-identity",
    .flag = H2K_REPAIR_IDENTITY,
    .why = "two computers of one name cannot be on one network",
    .applies = applies,
    .run = run,
};
